//! `add_prefix` and `add_suffix`: put something before or after column names.

use odibi_sdk::prelude::*;

use crate::named;
use crate::passing::{Passing, Renamed, only_input, renamed};

/// Puts a prefix before column names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddPrefix {
    /// What to put before the names.
    prefix: String,
    /// Columns to rename; all when left out.
    columns: Option<Vec<String>>,
    /// Columns that keep their names all the same.
    exclude: Option<Vec<String>>,
}

/// Puts a suffix after column names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddSuffix {
    /// What to put after the names.
    suffix: String,
    /// Columns to rename; all when left out.
    columns: Option<Vec<String>>,
    /// Columns that keep their names all the same.
    exclude: Option<Vec<String>>,
}

impl Operation for AddPrefix {
    const NAME: &'static str = "add_prefix";
    const SUMMARY: &'static str = "puts a prefix before column names";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "marks every column except the key",
                json!({ "prefix": "crm_", "exclude": ["id"] }),
                ["id,name,total\n1,ann,10\n2,bo,20\n"],
                "id,crm_name,crm_total\n1,ann,10\n2,bo,20\n",
            ),
            Example::new(
                "marks the columns that another table has as well",
                json!({ "prefix": "customer_", "columns": ["id", "name"] }),
                ["id,name,city\n7,ann,oslo\n8,,bern\n"],
                "customer_id,customer_name,city\n7,ann,oslo\n8,,bern\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let rename = |name: &str| format!("{}{name}", self.prefix);
        plan(
            only_input(inputs)?,
            "/prefix",
            self.columns.as_deref(),
            self.exclude.as_deref(),
            rename,
        )
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

impl Operation for AddSuffix {
    const NAME: &'static str = "add_suffix";
    const SUMMARY: &'static str = "puts a suffix after column names";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "says the unit of two columns",
                json!({ "suffix": "_eur", "columns": ["net", "gross"] }),
                ["id,net,gross\n1,10,12\n2,20,24\n"],
                "id,net_eur,gross_eur\n1,10,12\n2,20,24\n",
            ),
            Example::new(
                "says the year of every column except the key",
                json!({ "suffix": "_2025", "exclude": ["shop"] }),
                ["shop,sales,costs\nbern,10,7\noslo,20,\n"],
                "shop,sales_2025,costs_2025\nbern,10,7\noslo,20,\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let rename = |name: &str| format!("{name}{}", self.suffix);
        plan(
            only_input(inputs)?,
            "/suffix",
            self.columns.as_deref(),
            self.exclude.as_deref(),
            rename,
        )
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

fn plan(
    input: &Schema,
    pointer: &str,
    columns: Option<&[String]>,
    exclude: Option<&[String]>,
    rename: impl Fn(&str) -> String,
) -> Result<Plan> {
    let chosen = columns
        .map(|names| named::each_once("/columns", names, input))
        .transpose()?;
    let excluded = named::each_once("/exclude", exclude.unwrap_or_default(), input)?;
    let names = input.fields().iter().enumerate().map(|(index, field)| {
        let touched =
            chosen.as_ref().is_none_or(|c| c.contains(&index)) && !excluded.contains(&index);
        touched.then(|| Renamed {
            name: rename(field.name()),
            pointer: pointer.to_owned(),
        })
    });
    renamed(input, &names.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_csv, check_failure};
    use odibi_sdk::prelude::json;

    const TABLE: &str = "a,b,x_a\n1,x,10\n2,,20\n";

    #[test]
    fn chosen_less_excluded_columns_are_renamed() {
        let check = |params, expect| check_csv("add_prefix", params, "a,b,c\n1,2,3\n", expect);
        check(json!({ "prefix": "x_" }), "x_a,x_b,x_c\n1,2,3\n");
        check(
            json!({ "prefix": "x_", "columns": null, "exclude": null }),
            "x_a,x_b,x_c\n1,2,3\n",
        );
        check(
            json!({ "prefix": "x_", "columns": ["c", "a"] }),
            "x_a,b,x_c\n1,2,3\n",
        );
        check(
            json!({ "prefix": "x_", "exclude": ["b"] }),
            "x_a,b,x_c\n1,2,3\n",
        );
        check(
            json!({ "prefix": "x_", "columns": ["c", "a"], "exclude": ["a", "b"] }),
            "a,b,x_c\n1,2,3\n",
        );
        check(json!({ "prefix": "x_", "columns": [] }), "a,b,c\n1,2,3\n");
        check(json!({ "prefix": "" }), "a,b,c\n1,2,3\n");
        check_csv("add_suffix", json!({ "suffix": "ß" }), "a,b\n", "aß,bß\n");
        check_csv(
            "add_suffix",
            json!({ "suffix": "_x", "exclude": ["a"] }),
            "a,b\n1,2\n",
            "a,b_x\n1,2\n",
        );
    }

    #[test]
    fn names_that_all_move_do_not_collide() {
        check_csv(
            "add_prefix",
            json!({ "prefix": "x_" }),
            TABLE,
            "x_a,x_b,x_x_a\n1,x,10\n2,,20\n",
        );
        check_csv(
            "add_suffix",
            json!({ "suffix": "_" }),
            "a_,a\n1,2\n",
            "a__,a_\n1,2\n",
        );
    }

    #[test]
    fn wrong_names_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure("add_prefix", params, TABLE, code, param, message)
        };
        let exists = "column `x_a` exists already";
        check(
            json!({ "prefix": "x_", "columns": ["a"] }),
            "duplicate-column",
            "/prefix",
            exists,
        );
        check(
            json!({ "prefix": "x_", "exclude": ["x_a"] }),
            "duplicate-column",
            "/prefix",
            exists,
        );
        let unknown = "unknown column `B`, did you mean `b`?";
        check(
            json!({ "prefix": "x_", "columns": ["a", "B"] }),
            "unknown-column",
            "/columns/1",
            unknown,
        );
        check(
            json!({ "prefix": "x_", "exclude": ["B"] }),
            "unknown-column",
            "/exclude/0",
            unknown,
        );
        let twice = "column `a` is named twice";
        check(
            json!({ "prefix": "x_", "columns": ["a", "a"] }),
            "repeated-column",
            "/columns/1",
            twice,
        );
        check(
            json!({ "prefix": "x_", "exclude": ["a", "a"] }),
            "repeated-column",
            "/exclude/1",
            twice,
        );
        check(
            json!({ "prefix": 1 }),
            "invalid-param",
            "/prefix",
            "invalid type: integer `1`, expected a string",
        );
        let wrong = "unknown field `prefix`, expected one of `suffix`, `columns`, `exclude`";
        check_failure(
            "add_suffix",
            json!({ "prefix": "x" }),
            TABLE,
            "invalid-param",
            "/prefix",
            wrong,
        );
    }
}
