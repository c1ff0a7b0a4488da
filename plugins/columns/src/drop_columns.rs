//! `drop_columns`: leaves the named columns out.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::named;

/// Leaves the named columns out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DropColumns {
    /// Columns to leave out; the others keep their order. At least one must be left.
    columns: Vec<String>,
}

impl Columns for DropColumns {
    const NAME: &'static str = "drop_columns";
    const SUMMARY: &'static str = "leaves the named columns out";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "leaves one of three columns out",
                json!({ "columns": ["note"] }),
                ["id,note,total\n1,first,10\n2,,20\n"],
                "id,total\n1,10\n2,20\n",
            ),
            Example::new(
                "leaves two out, named in any order",
                json!({ "columns": ["phone", "email"] }),
                ["id,email,phone,total\n1,ann@example.com,0301234,10\n2,,,20\n"],
                "id,total\n1,10\n2,20\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let dropped = named::each_once("/columns", &self.columns, input)?;
        if !dropped.is_empty() && dropped.len() == input.fields().len() {
            return Err(Failure::param("/columns", "no column would be left")
                .hint("keep at least one column"));
        }
        let names = self.columns.iter().enumerate();
        let mut names = names.map(|(i, name)| (child("/columns", i), name));
        names.try_fold(Outline::of(input), |outline, (pointer, name)| {
            outline.drop_column(&pointer, name)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_csv, check_failure};
    use odibi_sdk::prelude::json;

    const TABLE: &str = "id,note,total\n1,first,10\n2,,20\n";
    const OPERATION: &str = "drop_columns";

    #[test]
    fn other_columns_keep_their_order() {
        check_csv(
            OPERATION,
            json!({ "columns": ["total", "id"] }),
            TABLE,
            "note\nfirst\n\"\"\n",
        );
        check_csv(OPERATION, json!({ "columns": [] }), TABLE, TABLE);
        check_csv(
            OPERATION,
            json!({ "columns": ["note"] }),
            "id,note\n",
            "id\n",
        );
    }

    #[test]
    fn wrong_names_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message)
        };
        let unknown = "unknown column `totl`, did you mean `total`?";
        check(
            json!({ "columns": ["id", "totl"] }),
            "unknown-column",
            "/columns/1",
            unknown,
        );
        check(
            json!({ "columns": ["ID"] }),
            "unknown-column",
            "/columns/0",
            "unknown column `ID`, did you mean `id`?",
        );
        let twice = "column `id` is named twice";
        check(
            json!({ "columns": ["id", "note", "id"] }),
            "repeated-column",
            "/columns/2",
            twice,
        );
        let none = "no column would be left";
        check(
            json!({ "columns": ["id", "note", "total"] }),
            "invalid-param",
            "/columns",
            none,
        );
        check(json!({}), "invalid-param", "", "missing field `columns`");
    }
}
