//! `row_number`: numbers rows from 1, in each group.
//!
//! The host brings the rows of a group together and sorts them; a count and the last key are remembered. Groups of
//! floats or of nested types are counted on one instance, with a count for each key, because the host would tell -0 from 0.

use std::collections::HashMap;

use odibi_sdk::hash::BuildQuick;
use odibi_sdk::prelude::*;

use crate::keys::{self, Keys};
use crate::order::{self, Orders};

/// Params of `row_number`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowNumber {
    /// Column that receives the number.
    #[serde(default = "row_num")]
    output: String,
    /// Columns that make a group; each group is numbered from 1, null is a group like any other. Without, all rows are
    /// one group.
    #[serde(default)]
    partition_by: Option<Vec<String>>,
    /// Order in which rows are numbered, like `updated_at DESC`: a column or a list of them, each may be followed by
    /// `ASC` or `DESC` and by `NULLS FIRST` or `NULLS LAST` (nulls are last unless said otherwise). Rows come out in this
    /// order. Among equal rows, and without an order, the order of the source counts.
    #[serde(default)]
    order_by: Option<Orders>,
}

fn row_num() -> String {
    "row_num".to_owned()
}

impl Operation for RowNumber {
    const NAME: &'static str = "row_number";
    const SUMMARY: &'static str = "Numbers rows from 1, in each group and in a given order";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "numbers the rows as they come",
                json!({}),
                ["name\nann\nbo\n"],
                "name,row_num\nann,1\nbo,2\n",
            ),
            Example::new(
                "numbers the orders of each customer, the latest first",
                json!({ "output": "rank", "partition_by": ["customer"], "order_by": ["day DESC"] }),
                ["customer,day\nann,2026-01-01\nbo,2026-01-02\nann,2026-01-03\n"],
                "customer,day,rank\nann,2026-01-03,1\nann,2026-01-01,2\nbo,2026-01-02,1\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let groups = match self.partition_by.as_deref() {
            None | Some([]) => Vec::new(),
            Some(names) => keys::columns("/partition_by", names, schema)?,
        };
        let order = match &self.order_by {
            Some(orders) => order::of("/order_by", orders, schema, false)?,
            None => Vec::new(),
        };
        let outline =
            Outline::of(schema).add("/output", Field::new(&self.output, DataType::Int64, false))?;
        let input = InputPlan::only(groups.iter().copied()).keep_order();
        let in_runs = !groups.is_empty() && keys::are_plain(&schema.project(&groups)?);
        if in_runs {
            let input = input
                .sorted_by(keys::runs(&groups, order))
                .partition_by(groups);
            return Ok(Plan::from(outline).input(0, input));
        }
        let input = input.sorted_by(order);
        Ok(Plan::from(outline).input(0, input).spread(Spread::Single))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        let groups = start
            .inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        if groups.fields().is_empty() {
            return Ok(Box::new(Counting { rows: 0 }));
        }
        let keys = Keys::new(groups)?;
        if keys::are_plain(groups) {
            return Ok(Box::new(InRuns {
                keys,
                last: None,
                rows: 0,
            }));
        }
        Ok(Box::new(Scattered {
            keys,
            rows: HashMap::default(),
        }))
    }
}

/// All rows are one group.
struct Counting {
    rows: i64,
}

impl Session for Counting {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let first = self.rows + 1;
        let numbers: Int64Array = (first..).take(batch.num_rows()).collect();
        self.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        out.same_rows(vec![Arc::new(numbers)])
    }
}

/// The rows of a group lie together.
struct InRuns {
    keys: Keys,
    last: Option<Vec<u8>>,
    rows: i64,
}

impl Session for InRuns {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let Self { keys, last, rows } = self;
        let mut previous: Option<&[u8]> = last.as_deref();
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for key in keys.of(&batch)? {
            let key = key.data();
            if previous != Some(key) {
                previous = Some(key);
                *rows = 0;
            }
            *rows += 1;
            numbers.push(*rows);
        }
        *last = previous.map(<[u8]>::to_vec);
        out.same_rows(vec![Arc::new(Int64Array::from(numbers))])
    }
}

/// The rows of a group may lie anywhere.
struct Scattered {
    keys: Keys,
    rows: HashMap<Box<[u8]>, i64, BuildQuick>,
}

impl Session for Scattered {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let Self { keys, rows } = self;
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for key in keys.of(&batch)? {
            let number = match rows.get_mut(key.data()) {
                Some(number) => {
                    *number += 1;
                    *number
                }
                None => {
                    rows.insert(key.data().into(), 1);
                    1
                }
            };
            numbers.push(number);
        }
        out.same_rows(vec![Arc::new(Int64Array::from(numbers))])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use arrow_array::Float64Array;
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, check_csv, check_failure, int_column};

    const TABLE: &str = "k,größe\nb,2\na,\nb,1\n,5\n,4\n";

    #[test]
    fn numbers_begin_anew_in_each_group() {
        let check = |params, expect| check_csv("row_number", params, TABLE, expect);
        check(
            json!({ "partition_by": ["k"] }),
            "k,größe,row_num\na,,1\nb,2,1\nb,1,2\n,5,1\n,4,2\n",
        );
        check(
            json!({ "partition_by": ["k"], "order_by": "größe" }),
            "k,größe,row_num\na,,1\nb,1,1\nb,2,2\n,4,1\n,5,2\n",
        );
        check(
            json!({ "order_by": "größe DESC", "output": "n", "partition_by": [] }),
            "k,größe,n\n,5,1\n,4,2\nb,2,3\nb,1,4\na,,5\n",
        );
        check_csv("row_number", json!({}), "a\n", "a,row_num\n");
    }

    #[test]
    fn float_groups_know_one_zero_and_one_nan() {
        let floats = Float64Array::from(vec![0.0, f64::NAN, -0.0, -f64::NAN, 1.0, 0.0]);
        let table = batch(vec![("k", Arc::new(floats)), testing::ids(6)]);
        let run = |params| {
            let output = harness::run(
                &crate::plugin(),
                "row_number",
                params,
                std::slice::from_ref(&table),
            );
            let numbers = int_column(&output.unwrap(), "row_num");
            numbers.into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(run(json!({ "partition_by": ["k"] })), [1, 1, 2, 2, 1, 3]);
        assert_eq!(
            run(json!({ "partition_by": ["k"], "order_by": ["id DESC"] })),
            [1, 1, 1, 2, 2, 3]
        );
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure("row_number", params, TABLE, code, param, message);
        };
        let near = "unknown column `K`, did you mean `k`?";
        check(
            json!({ "partition_by": ["K"] }),
            "unknown-column",
            "/partition_by/0",
            near,
        );
        check(
            json!({ "order_by": ["k", "K"] }),
            "unknown-column",
            "/order_by/1",
            near,
        );
        let exists = "column `k` exists already";
        check(
            json!({ "output": "k" }),
            "duplicate-column",
            "/output",
            exists,
        );
        let wrong = "invalid type: string \"k\", expected a sequence";
        check(
            json!({ "partition_by": "k" }),
            "invalid-param",
            "/partition_by",
            wrong,
        );
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn numbers_are_those_of_a_count_for_each_group(
            rows in proptest::collection::vec((proptest::option::of(0..4i64), -9..9i64), 0..50),
        ) {
            let table = batch(vec![
                ("k", Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>())),
                ("v", Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>())),
                testing::ids(rows.len()),
            ]);
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|row| rows[*row].1);
            let mut counts: BTreeMap<Option<i64>, i64> = BTreeMap::new();
            let mut expect = vec![0; rows.len()];
            for row in order {
                let count = counts.entry(rows[row].0).or_default();
                *count += 1;
                expect[row] = *count;
            }
            let params = json!({ "partition_by": ["k"], "order_by": "v" });
            let output = harness::run(&crate::plugin(), "row_number", params, &[table]).unwrap();
            let mut numbers = vec![0; rows.len()];
            for (id, number) in int_column(&output, "id").into_iter().zip(int_column(&output, "row_num")) {
                numbers[usize::try_from(id.unwrap()).unwrap()] = number.unwrap();
            }
            prop_assert_eq!(numbers, expect);
        }
    }
}
