//! `rename_columns`: gives columns other names.

use std::collections::BTreeMap;

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::passing::{Passing, Renamed, only_input, renamed};

/// Gives columns other names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameColumns {
    /// Old name to new name. All at once, so that two columns can swap their names; the order of the columns stays.
    mapping: BTreeMap<String, String>,
}

impl Operation for RenameColumns {
    const NAME: &'static str = "rename_columns";
    const SUMMARY: &'static str = "gives columns other names";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "renames one column",
                json!({ "mapping": { "amt": "amount" } }),
                ["id,amt\n1,10\n2,20\n"],
                "id,amount\n1,10\n2,20\n",
            ),
            Example::new(
                "swaps two names",
                json!({ "mapping": { "net": "gross", "gross": "net" } }),
                ["id,net,gross\n1,12,10\n"],
                "id,gross,net\n1,12,10\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let input = only_input(inputs)?;
        let mut names: Vec<Option<Renamed>> = input.fields().iter().map(|_| None).collect();
        for (old, new) in &self.mapping {
            let pointer = child("/mapping", old);
            let index = find(&pointer, old, input)?;
            if new.is_empty() {
                return Err(Failure::param(
                    pointer,
                    format!("the new name of column `{old}` is empty"),
                ));
            }
            names[index] = Some(Renamed {
                name: new.clone(),
                pointer,
            });
        }
        renamed(input, &names)
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_csv, check_failure};
    use odibi_sdk::prelude::json;

    const TABLE: &str = "a,b,c\n1,x,10\n2,,20\n";
    const OPERATION: &str = "rename_columns";

    #[test]
    fn order_stays_and_names_can_change_places() {
        check_csv(
            OPERATION,
            json!({ "mapping": { "b": "d" } }),
            TABLE,
            "a,d,c\n1,x,10\n2,,20\n",
        );
        check_csv(
            OPERATION,
            json!({ "mapping": { "a": "b", "b": "a" } }),
            TABLE,
            "b,a,c\n1,x,10\n2,,20\n",
        );
        check_csv(
            OPERATION,
            json!({ "mapping": { "a": "b", "b": "c", "c": "a" } }),
            "a,b,c\n1,2,3\n",
            "b,c,a\n1,2,3\n",
        );
        check_csv(OPERATION, json!({ "mapping": { "a": "a" } }), TABLE, TABLE);
        check_csv(OPERATION, json!({ "mapping": {} }), TABLE, TABLE);
        check_csv(
            OPERATION,
            json!({ "mapping": { "a": "Straße 🛣" } }),
            "a,b\n",
            "Straße 🛣,b\n",
        );
    }

    #[test]
    fn wrong_names_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message)
        };
        let unknown = "unknown column `A`, did you mean `a`?";
        check(
            json!({ "mapping": { "b": "d", "A": "e" } }),
            "unknown-column",
            "/mapping/A",
            unknown,
        );
        check(
            json!({ "mapping": { "x/y~": "d" } }),
            "unknown-column",
            "/mapping/x~1y~0",
            "unknown column `x/y~`",
        );
        let exists = "column `c` exists already";
        check(
            json!({ "mapping": { "a": "c" } }),
            "duplicate-column",
            "/mapping/a",
            exists,
        );
        let exists = "column `d` exists already";
        check(
            json!({ "mapping": { "a": "d", "b": "d" } }),
            "duplicate-column",
            "/mapping/b",
            exists,
        );
        let empty = "the new name of column `a` is empty";
        check(
            json!({ "mapping": { "a": "" } }),
            "invalid-param",
            "/mapping/a",
            empty,
        );
        let wrong = "invalid type: integer `1`, expected a string";
        check(
            json!({ "mapping": { "a": 1 } }),
            "invalid-param",
            "/mapping/a",
            wrong,
        );
        check(
            json!({ "columns": {} }),
            "invalid-param",
            "/columns",
            "unknown field `columns`, expected `mapping`",
        );
    }
}
