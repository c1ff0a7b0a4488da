//! `distinct`: each different row once, the first of the source; the rows that stay keep their order. Every different
//! row is remembered.

use odibi_sdk::prelude::*;

use crate::keys;

/// Params of `distinct`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Distinct {
    /// The columns that count and that come out, in this order. Without them, all do.
    #[serde(default)]
    columns: Option<Vec<String>>,
}

impl Operation for Distinct {
    const NAME: &'static str = "distinct";
    const SUMMARY: &'static str = "Keeps each different row once";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "drops rows that are equal in every column",
                json!({}),
                ["city,country\nBonn,DE\nLyon,FR\nBonn,DE\nBonn,\n"],
                "city,country\nBonn,DE\nLyon,FR\nBonn,\n",
            ),
            Example::new(
                "lists the different values of two columns",
                json!({ "columns": ["country", "plan"] }),
                ["id,plan,country\n1,basic,DE\n2,pro,DE\n3,basic,DE\n"],
                "country,plan\nDE,basic\nDE,pro\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let mut outline = Outline::of(schema);
        let columns = match &self.columns {
            Some(names) => {
                let columns = keys::columns("/columns", names, schema)?;
                outline = outline.select("/columns", names)?;
                columns
            }
            None => {
                schema
                    .fields()
                    .iter()
                    .try_for_each(|f| keys::must_compare(f))?;
                (0..schema.fields().len()).collect()
            }
        };
        let input = InputPlan::only(columns.iter().copied());
        Ok(keys::meet(Plan::from(outline), input, &columns, schema))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        let columns = start
            .inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        keys::first_seen(columns)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeSet;

    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::{DictionaryArray, Float32Array, StringArray};
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, words};

    #[track_caller]
    fn check(params: Value, table: &str, expect: &str) {
        assert_eq!(
            harness::run_csv(&crate::plugin(), "distinct", params, &[table]).unwrap(),
            expect
        );
    }

    #[track_caller]
    fn check_rows(params: Value, table: &RecordBatch, expect: usize) {
        let output = harness::run(
            &crate::plugin(),
            "distinct",
            params,
            std::slice::from_ref(table),
        )
        .unwrap();
        assert_eq!(output.num_rows(), expect);
    }

    #[test]
    fn equal_rows_come_once() {
        let table = "a,b\n1,x\n2,\n1,x\n,\n2,\n,\n1,y\n";
        check(json!({}), table, "a,b\n1,x\n2,\n,\n1,y\n");
        check(json!({ "columns": null }), table, "a,b\n1,x\n2,\n,\n1,y\n");
        check(json!({}), "a,b\n", "a,b\n");
    }

    #[test]
    fn named_columns_alone_count_and_come_out() {
        let table = "a,b,c\n1,x,1\n1,x,2\n2,x,3\n";
        check(json!({ "columns": ["b", "a"] }), table, "b,a\nx,1\nx,2\n");
        check(json!({ "columns": ["b"] }), table, "b\nx\n");
    }

    #[test]
    fn every_type_that_can_be_compared_counts() {
        let dictionary: DictionaryArray<arrow_array::types::UInt16Type> =
            ["é", "é", "e", "é"].into_iter().collect();
        let table = batch(vec![
            ("d", Arc::new(dictionary)),
            ("s", words(&["", "", "", ""])),
        ]);
        check_rows(json!({}), &table, 2);
        check_rows(json!({}), &table.slice(1, 1), 1);
        let floats = batch(vec![(
            "f",
            Arc::new(Float32Array::from(vec![0.0, -0.0, f32::NAN, -f32::NAN])),
        )]);
        check_rows(json!({}), &floats, 2);
        let mut lists = ListBuilder::new(Int64Builder::new());
        for list in [vec![1, 2], vec![], vec![1, 2], vec![1]] {
            lists.append_value(list.into_iter().map(Some));
        }
        check_rows(json!({}), &batch(vec![("l", Arc::new(lists.finish()))]), 3);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let run = |params| {
            harness::run_csv(&crate::plugin(), "distinct", params, &["a,b\n1,2\n"]).unwrap_err()
        };
        let unknown = run(json!({ "columns": ["a", "c"] }));
        assert_eq!(
            (unknown.code.as_str(), unknown.param.as_deref()),
            ("unknown-column", Some("/columns/1"))
        );
        let twice = run(json!({ "columns": ["a", "a"] }));
        assert_eq!(
            (twice.code.as_str(), twice.param.as_deref()),
            ("duplicate-column", Some("/columns/1"))
        );
        assert_eq!(
            run(json!({ "columns": [] })).param.as_deref(),
            Some("/columns")
        );
    }

    #[test]
    fn only_columns_that_count_enter_the_sandbox() {
        let table = harness::table("a,b,c\n1,2,3\n");
        let params = json!({ "columns": ["c", "a"] });
        assert_eq!(
            harness::needs(&crate::plugin(), "distinct", params, &[table]).unwrap(),
            [vec![2, 0]]
        );
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_a_set(rows in proptest::collection::vec(("[aä]{0,2}", proptest::option::of("[01]")), 0..60)) {
            let table = batch(vec![
                ("a", Arc::new(rows.iter().map(|r| Some(&r.0)).collect::<StringArray>())),
                ("b", Arc::new(rows.iter().map(|r| r.1.as_ref()).collect::<StringArray>())),
            ]);
            check_rows(json!({}), &table, rows.iter().collect::<BTreeSet<_>>().len());
            let params = json!({ "columns": ["b"] });
            check_rows(params, &table, rows.iter().map(|r| &r.1).collect::<BTreeSet<_>>().len());
        }
    }
}
