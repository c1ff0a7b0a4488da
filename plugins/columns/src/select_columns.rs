//! `select_columns`: keeps the named columns in the given order.

use odibi_sdk::prelude::*;

/// Keeps the named columns, in the given order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectColumns {
    /// Columns to keep, in the order they should have.
    columns: Vec<String>,
}

impl Columns for SelectColumns {
    const NAME: &'static str = "select_columns";
    const SUMMARY: &'static str = "Keeps the named columns, in the given order";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps two of three columns and swaps them",
                json!({ "columns": ["total", "id"] }),
                ["id,note,total\n1,first,10\n2,,20\n"],
                "total,id\n10,1\n20,2\n",
            ),
            Example::new(
                "keeps every column and puts the key first",
                json!({ "columns": ["id", "name", "total"] }),
                ["name,total,id\nann,10,1\n,20,2\n"],
                "id,name,total\n1,ann,10\n2,,20\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        Outline::of(input).select("/columns", &self.columns)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use odibi_sdk::harness;

    use super::*;

    const TABLE: &str = "id,note,total\n1,first,10\n2,,20\n";

    #[track_caller]
    fn check(params: Value, expect: &str) {
        let output = harness::run_csv(&crate::plugin(), "select_columns", params, &[TABLE]);
        assert_eq!(output.unwrap(), expect);
    }

    #[track_caller]
    fn check_failure(params: Value, code: &str, param: &str, message: &str) {
        let failure =
            harness::run_csv(&crate::plugin(), "select_columns", params, &[TABLE]).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.param.as_deref()),
            (code, Some(param))
        );
        assert_eq!(failure.message, message);
    }

    #[test]
    fn columns_come_in_the_order_of_the_params() {
        check(
            json!({ "columns": ["note", "id"] }),
            "note,id\nfirst,1\n,2\n",
        );
        check(
            json!({ "columns": ["total", "note", "id"] }),
            "total,note,id\n10,first,1\n20,,2\n",
        );
    }

    #[test]
    fn wrong_names_are_shown_where_they_stand() {
        let unknown = "unknown column `totl`, did you mean `total`?";
        check_failure(
            json!({ "columns": ["id", "totl"] }),
            "unknown-column",
            "/columns/1",
            unknown,
        );
        let twice = "column `id` exists already";
        check_failure(
            json!({ "columns": ["id", "id"] }),
            "duplicate-column",
            "/columns/1",
            twice,
        );
        let wrong = "unknown field `column`, expected `columns`";
        check_failure(json!({ "column": "id" }), "invalid-param", "/column", wrong);
    }

    #[test]
    fn nothing_enters_the_sandbox() {
        let params = json!({ "columns": ["id", "note"] });
        let needs = harness::needs(
            &crate::plugin(),
            "select_columns",
            params,
            &[harness::table(TABLE)],
        )
        .unwrap();
        assert_eq!(needs, [Vec::<usize>::new()]);
    }
}
