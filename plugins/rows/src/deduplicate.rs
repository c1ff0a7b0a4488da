//! `deduplicate`: one row for each key.
//!
//! With an order, the host brings the rows of a key together and sorts them (it can spill to disk), and one key is
//! remembered; the result stands in the order of the keys. Without one, rows come in the order of their source, every
//! key is remembered, and the rows that stay keep their order. Keys of floats or of nested types are always remembered,
//! because the host would tell -0 from 0.

use odibi_sdk::prelude::*;

use crate::{keys, order};

/// Params of `deduplicate`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deduplicate {
    /// Columns that make the key. Null equals null.
    keys: Vec<String>,
    /// Which row of a key stays: the first in this order, like `updated_at DESC, id`; each column may be followed by
    /// `ASC` or `DESC` and by `NULLS FIRST` or `NULLS LAST` (nulls are last unless said otherwise), names with blanks
    /// stand in double quotes. Among equal rows, and without an order, the first in the order of the source stays.
    #[serde(default)]
    order_by: Option<String>,
}

impl Operation for Deduplicate {
    const NAME: &'static str = "deduplicate";
    const SUMMARY: &'static str = "Keeps one row for each key, the first in a given order";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps the latest version of each order",
                json!({ "keys": ["order_id"], "order_by": "updated_at DESC" }),
                [
                    "order_id,updated_at,status\n1,2026-01-01,new\n2,2026-01-01,new\n1,2026-01-03,paid\n1,,lost\n",
                ],
                "order_id,updated_at,status\n1,2026-01-03,paid\n2,2026-01-01,new\n",
            ),
            Example::new(
                "keeps the row that comes first",
                json!({ "keys": ["email"] }),
                ["email,name\na@example.org,Ann\n,Bob\na@example.org,Anna\n,Rob\n"],
                "email,name\na@example.org,Ann\n,Bob\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let keys = keys::columns("/keys", &self.keys, schema)?;
        let mut input = InputPlan::only(keys.iter().copied());
        if let Some(text) = &self.order_by {
            let order = order::parse("/order_by", text, schema)?;
            for key in &order {
                keys::must_compare(schema.field(key.column))
                    .map_err(|f| f.at_param("/order_by"))?;
            }
            input.sorted_by = if keys::are_plain(&schema.project(&keys)?) {
                keys::runs(&keys, order)
            } else {
                order
            };
        }
        Ok(keys::meet(
            Plan::from(Outline::of(schema)),
            input,
            &keys,
            schema,
        ))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        let keys = start
            .inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        if self.order_by.is_some() && keys::are_plain(keys) {
            keys::FirstOfRun::open(keys)
        } else {
            keys::first_seen(keys)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use arrow_array::{BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray};
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, int_column, words};

    #[track_caller]
    fn check(params: Value, table: &str, expect: &str) {
        assert_eq!(
            harness::run_csv(&crate::plugin(), "deduplicate", params, &[table]).unwrap(),
            expect
        );
    }

    #[track_caller]
    fn check_failure(params: Value, code: &str, param: &str, message: &str) {
        let table = "id,größe,ts\n1,2,3\n";
        let failure =
            harness::run_csv(&crate::plugin(), "deduplicate", params, &[table]).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.param.as_deref()),
            (code, Some(param))
        );
        assert_eq!(failure.message, message);
    }

    /// Values of the last column, `id`, that stay.
    #[track_caller]
    fn check_kept(params: Value, table: &RecordBatch, expect: &[i64]) {
        let output = harness::run(
            &crate::plugin(),
            "deduplicate",
            params,
            std::slice::from_ref(table),
        )
        .unwrap();
        assert_eq!(output.schema(), table.schema());
        let mut kept: Vec<i64> = int_column(&output, "id").into_iter().flatten().collect();
        kept.sort_unstable();
        assert_eq!(kept, expect);
    }

    #[test]
    fn first_row_in_order_stays() {
        let table = "k,ts,v\na,1,x\na,3,y\na,2,z\nb,,u\nb,5,w\n";
        check(
            json!({ "keys": ["k"], "order_by": "ts DESC" }),
            table,
            "k,ts,v\na,3,y\nb,5,w\n",
        );
        check(
            json!({ "keys": ["k"], "order_by": "ts" }),
            table,
            "k,ts,v\na,1,x\nb,5,w\n",
        );
        check(
            json!({ "keys": ["k"], "order_by": "ts ASC NULLS FIRST" }),
            table,
            "k,ts,v\na,1,x\nb,,u\n",
        );
        check(json!({ "keys": ["k"] }), table, "k,ts,v\na,1,x\nb,,u\n");
    }

    #[test]
    fn first_row_of_the_source_stays_among_equals() {
        let table = "k,ts,v\n1,5,first\n1,5,second\n0,5,third\n";
        check(
            json!({ "keys": ["k"], "order_by": "ts DESC" }),
            table,
            "k,ts,v\n0,5,third\n1,5,first\n",
        );
        check(
            json!({ "keys": ["k"] }),
            table,
            "k,ts,v\n1,5,first\n0,5,third\n",
        );
        check(
            json!({ "keys": ["k"], "order_by": "k" }),
            table,
            "k,ts,v\n0,5,third\n1,5,first\n",
        );
    }

    #[test]
    fn null_keys_are_one_key_and_no_rows_stay_none() {
        let empty = batch(vec![
            ("k", Arc::new(StringArray::from(vec![None::<&str>; 5]))),
            testing::ids(5),
        ]);
        check_kept(json!({ "keys": ["k"] }), &empty, &[0]);
        check_kept(
            json!({ "keys": ["k"], "order_by": "id DESC" }),
            &empty,
            &[4],
        );
        check_kept(json!({ "keys": ["k"] }), &empty.slice(0, 0), &[]);
        check_kept(
            json!({ "keys": ["k"], "order_by": "id DESC" }),
            &empty.slice(0, 0),
            &[],
        );
        let nulls = batch(vec![
            ("k", arrow_array::new_null_array(&DataType::Null, 3)),
            testing::ids(3),
        ]);
        check_kept(
            json!({ "keys": ["k"], "order_by": "id DESC" }),
            &nulls,
            &[2],
        );
    }

    #[test]
    fn dictionaries_unicode_and_slices_compare_by_value() {
        let text = ["straße", "ß", "straße", "日本", "ß", "日本", "STRASSE"];
        let dictionary: DictionaryArray<arrow_array::types::Int8Type> = text.into_iter().collect();
        for column in [
            Arc::new(dictionary) as ArrayRef,
            Arc::new(StringArray::from(text.to_vec())),
        ] {
            let table = batch(vec![("schlüssel", column), testing::ids(7)]);
            let keys = json!({ "keys": ["schlüssel"] });
            check_kept(keys.clone(), &table, &[0, 1, 3, 6]);
            check_kept(keys, &table.slice(2, 4), &[2, 3, 4]);
            check_kept(
                json!({ "keys": ["schlüssel"], "order_by": "id DESC" }),
                &table,
                &[2, 4, 5, 6],
            );
        }
    }

    #[test]
    fn float_keys_know_one_zero_and_one_nan() {
        let floats = Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0, -0.0]);
        let table = batch(vec![
            ("k", Arc::new(floats)),
            ("g", words(&["a"; 6])),
            testing::ids(6),
        ]);
        for keys in [json!(["k"]), json!(["k", "g"])] {
            check_kept(json!({ "keys": keys }), &table, &[0, 2, 4]);
            check_kept(
                json!({ "keys": keys, "order_by": "id DESC" }),
                &table,
                &[3, 4, 5],
            );
        }
    }

    #[test]
    fn keys_of_several_types_count_together() {
        let flags = BooleanArray::from(vec![Some(true), None, Some(true), None]);
        let table = batch(vec![
            ("a", Arc::new(flags)),
            ("b", words(&["", "", "", "x"])),
            testing::ids(4),
        ]);
        check_kept(json!({ "keys": ["b", "a"] }), &table, &[0, 1, 3]);
        check_kept(
            json!({ "keys": ["a"], "order_by": "b DESC" }),
            &table,
            &[0, 3],
        );
    }

    #[test]
    fn only_keys_enter_the_sandbox() {
        let table = harness::table("id,größe,ts\n1,2,3\n");
        let params = json!({ "keys": ["größe"], "order_by": "ts" });
        assert_eq!(
            harness::needs(&crate::plugin(), "deduplicate", params, &[table]).unwrap(),
            [vec![1]]
        );
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let near = "unknown column `grösse`, did you mean `größe`?";
        check_failure(
            json!({ "keys": ["grösse"] }),
            "unknown-column",
            "/keys/0",
            near,
        );
        check_failure(
            json!({ "keys": [] }),
            "invalid-param",
            "/keys",
            "at least one column must be named",
        );
        let twice = "column `id` is named twice";
        check_failure(
            json!({ "keys": ["id", "id"] }),
            "duplicate-column",
            "/keys/1",
            twice,
        );
        let direction = "expected `ASC`, `DESC`, `NULLS` or a comma: `up`";
        check_failure(
            json!({ "keys": ["id"], "order_by": "ts up" }),
            "invalid-param",
            "/order_by",
            direction,
        );
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_a_map(
            rows in proptest::collection::vec((0..4i64, 0..3u8, proptest::option::of(-3..3i64)), 0..60),
            descending: bool,
        ) {
            let word = |n: u8| [None, Some("ä"), Some("")][usize::from(n)];
            let table = batch(vec![
                ("a", Arc::new(Int64Array::from_iter(rows.iter().map(|r| (r.0 > 0).then_some(r.0))))),
                ("b", Arc::new(rows.iter().map(|r| word(r.1)).collect::<StringArray>())),
                ("ts", Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.2)))),
                testing::ids(rows.len()),
            ]);
            let mut first: BTreeMap<(i64, u8), i64> = BTreeMap::new();
            let mut best = BTreeMap::new();
            for (id, row) in (0i64..).zip(&rows) {
                first.entry((row.0, row.1)).or_insert(id);
                let value = row.2.map_or(0, |v| if descending { v } else { -v });
                let rank = (row.2.is_some(), value, Reverse(id), id);
                let entry = best.entry((row.0, row.1)).or_insert(rank);
                *entry = rank.max(*entry);
            }
            let mut expect: Vec<i64> = first.into_values().collect();
            expect.sort_unstable();
            check_kept(json!({ "keys": ["a", "b"] }), &table, &expect);
            let mut expect: Vec<i64> = best.into_values().map(|rank| rank.3).collect();
            expect.sort_unstable();
            let order = if descending { "ts DESC" } else { "ts" };
            check_kept(json!({ "keys": ["a", "b"], "order_by": order }), &table, &expect);
        }
    }
}
