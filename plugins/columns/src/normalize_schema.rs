//! `normalize_schema`: renames, drops and orders columns in one step.

use std::collections::BTreeMap;

use odibi_sdk::outline::duplicate_column;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::passing::{Passing, only_input};

/// Renames, drops and orders columns in one step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NormalizeSchema {
    /// Old name to new name, all at once.
    #[serde(default)]
    rename: Option<BTreeMap<String, String>>,
    /// Columns to leave out, by their old names; those that are not there are passed over.
    #[serde(default)]
    drop: Option<Vec<String>>,
    /// New names in the order the columns should have; columns that are not named follow in their old order.
    #[serde(default)]
    select_order: Option<Vec<String>>,
}

impl Operation for NormalizeSchema {
    const NAME: &'static str = "normalize_schema";
    const SUMMARY: &'static str = "renames, drops and orders columns in one step";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "renames a column, drops one, puts the key first",
                json!({ "rename": { "amt": "amount" }, "drop": ["note"], "select_order": ["id", "amount"] }),
                ["amt,note,id\n10,x,1\n"],
                "id,amount\n1,10\n",
            ),
            Example::new(
                "columns that are not named follow",
                json!({ "select_order": ["id"] }),
                ["name,total,id\nann,10,1\n"],
                "id,name,total\n1,ann,10\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let input = only_input(inputs)?;
        let mut new_names: BTreeMap<usize, (String, &String)> = BTreeMap::new();
        let dropped = self.drop.as_deref().unwrap_or_default();
        for (old, new) in self.rename.iter().flatten() {
            let pointer = child("/rename", old);
            let index = find(&pointer, old, input)?;
            let wrong = if dropped.contains(old) {
                Some(format!("column `{old}` is dropped, and cannot be renamed"))
            } else if new.is_empty() {
                Some(format!("the new name of column `{old}` is empty"))
            } else {
                None
            };
            if let Some(message) = wrong {
                return Err(Failure::param(pointer, message));
            }
            new_names.insert(index, (pointer, new));
        }
        let mut columns: Vec<OutputColumn> = Vec::new();
        for (index, field) in input.fields().iter().enumerate() {
            if dropped.contains(field.name()) {
                continue;
            }
            let field = match new_names.get(&index) {
                Some((_, new)) => Arc::new(field.as_ref().clone().with_name(*new)),
                None => Arc::clone(field),
            };
            columns.push(OutputColumn::Passed {
                field,
                port: 0,
                input: index,
            });
        }
        for (index, (pointer, new)) in &new_names {
            let twins = columns.iter().filter(|c| c.field().name() == *new).count();
            // The pair is reported once, at the second of two renamed columns.
            let later = new_names
                .iter()
                .any(|(other, (_, name))| other > index && name == new);
            if twins > 1 && !later {
                return Err(duplicate_column(pointer, new));
            }
        }
        Ok(Plan::new([InputPlan::only([])], self.ordered(columns)?).spread(Spread::PerBatch))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

impl NormalizeSchema {
    fn ordered(&self, mut columns: Vec<OutputColumn>) -> Result<Vec<OutputColumn>> {
        let fields = columns.iter().map(|c| Arc::clone(c.field()));
        let output = Schema::new(fields.collect::<Vec<_>>());
        let mut ordered = Vec::with_capacity(columns.len());
        for (i, name) in self.select_order.iter().flatten().enumerate() {
            let pointer = child("/select_order", i);
            let _ = find(&pointer, name, &output)?;
            match columns.iter().position(|c| c.field().name() == name) {
                Some(at) => ordered.push(columns.remove(at)),
                None => {
                    let message = format!("column `{name}` is named twice");
                    return Err(Failure::param(pointer, message)
                        .code("repeated-column")
                        .hint("leave one of the two out"));
                }
            }
        }
        ordered.append(&mut columns);
        Ok(ordered)
    }
}

#[cfg(test)]
mod tests {
    use odibi_sdk::prelude::json;

    use crate::testing::{check_csv, check_failure};

    const TABLE: &str = "a,b,größe\n1,x,10\n2,,20\n";
    const OPERATION: &str = "normalize_schema";

    #[test]
    fn columns_are_renamed_dropped_and_ordered() {
        let check = |params, expect| check_csv(OPERATION, params, TABLE, expect);
        check(json!({}), TABLE);
        check(
            json!({ "rename": null, "drop": null, "select_order": null }),
            TABLE,
        );
        check(
            json!({ "rename": { "a": "b", "b": "a" } }),
            "b,a,größe\n1,x,10\n2,,20\n",
        );
        check(
            json!({ "rename": { "a": "b" }, "drop": ["b", "z"] }),
            "b,größe\n1,10\n2,20\n",
        );
        check(
            json!({ "rename": { "a": "🎉" }, "select_order": ["größe", "🎉"] }),
            "größe,🎉,b\n10,1,x\n20,2,\n",
        );
        check_csv(OPERATION, json!({ "drop": ["a"] }), "a,b\n", "b\n");
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message);
        };
        let near = "unknown column `A`, did you mean `a`?";
        check(
            json!({ "rename": { "A": "x" } }),
            "unknown-column",
            "/rename/A",
            near,
        );
        check(
            json!({ "select_order": ["b", "A"] }),
            "unknown-column",
            "/select_order/1",
            near,
        );
        let twice = "column `b` is named twice";
        check(
            json!({ "select_order": ["b", "b"] }),
            "repeated-column",
            "/select_order/1",
            twice,
        );
        let exists = "column `b` exists already";
        check(
            json!({ "rename": { "a": "b" } }),
            "duplicate-column",
            "/rename/a",
            exists,
        );
        let exists = "column `x` exists already";
        check(
            json!({ "rename": { "a": "x", "b": "x" } }),
            "duplicate-column",
            "/rename/b",
            exists,
        );
        let gone = "column `a` is dropped, and cannot be renamed";
        check(
            json!({ "rename": { "a": "x" }, "drop": ["a"] }),
            "invalid-param",
            "/rename/a",
            gone,
        );
        let wrong = "invalid type: string \"a\", expected a sequence";
        check(json!({ "drop": "a" }), "invalid-param", "/drop", wrong);
    }
}
