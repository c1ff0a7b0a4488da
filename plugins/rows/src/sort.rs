//! `sort`: puts rows in order. The host sorts, and can spill to disk; no value enters the sandbox.

use odibi_sdk::prelude::*;

use crate::order::{self, Orders};

/// Params of `sort`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sort {
    /// A column, or a list of them, the most significant first. Each may be followed by `ASC` or `DESC` and by
    /// `NULLS FIRST` or `NULLS LAST` (nulls are last unless said otherwise). Equal rows keep the order of the source.
    by: Orders,
    /// Smallest first. A column with `ASC` or `DESC` of its own keeps to that.
    #[serde(default = "yes")]
    ascending: bool,
}

fn yes() -> bool {
    true
}

impl Operation for Sort {
    const NAME: &'static str = "sort";
    const SUMMARY: &'static str = "Puts rows in order";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "sorts by one column",
                json!({ "by": "price" }),
                ["id,price\n1,30\n2,\n3,10\n"],
                "id,price\n3,10\n1,30\n2,\n",
            ),
            Example::new(
                "sorts by two columns in different directions",
                json!({ "by": ["shop", "price DESC NULLS FIRST"] }),
                ["shop,price\nb,1\na,2\na,3\na,\n"],
                "shop,price\na,\na,3\na,2\nb,1\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let keys = order::of("/by", &self.by, schema, !self.ascending)?;
        if keys.is_empty() {
            return Err(Failure::param("/by", "at least one column must be named"));
        }
        Ok(Plan::from(Outline::of(schema))
            .input(0, InputPlan::only([]).sorted_by(keys).keep_order())
            .spread(Spread::Single))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

struct Passing;

impl Session for Passing {
    fn process(
        &mut self,
        _port: usize,
        _batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        out.same_rows(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::Int64Array;
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, check_csv, check_failure, int_column};

    const TABLE: &str = "id,größe,no x\n1,b,3\n2,,1\n3,ä,\n4,a,2\n";

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let check = |params, expect: &str| {
            let output = harness::run_csv(&crate::plugin(), "sort", params, &[TABLE]).unwrap();
            let ids: String = output.lines().skip(1).map(|l| &l[..1]).collect();
            assert_eq!(ids, expect);
        };
        check(json!({ "by": "größe" }), "4132");
        check(json!({ "by": "größe", "ascending": false }), "3142");
        check(json!({ "by": ["größe NULLS FIRST"] }), "2413");
        check(json!({ "by": "no x" }), "2413");
        check(json!({ "by": ["no x"], "ascending": false }), "1423");
        check(json!({ "by": "größe ASC, id", "ascending": false }), "4132");
        check(json!({ "by": ["größe DESC", "größe"] }), "3142");
    }

    #[test]
    fn empty_tables_stay_empty_and_nothing_enters() {
        check_csv("sort", json!({ "by": "a" }), "a,b\n", "a,b\n");
        let table = harness::table(TABLE);
        let needs = harness::needs(&crate::plugin(), "sort", json!({ "by": "id" }), &[table]);
        assert_eq!(needs.unwrap(), [Vec::<usize>::new()]);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure("sort", params, TABLE, code, param, message);
        };
        let near = "unknown column `grösse`, did you mean `größe`?";
        check(
            json!({ "by": ["id", "grösse"] }),
            "unknown-column",
            "/by/1",
            near,
        );
        check(json!({ "by": "grösse" }), "unknown-column", "/by", near);
        let none = "at least one column must be named";
        check(json!({ "by": [] }), "invalid-param", "/by", none);
        let wrong = "expected a column, or a list of columns";
        check(json!({ "by": 1 }), "invalid-param", "/by", wrong);
        let wrong = "expected `ASC`, `DESC`, `NULLS` or a comma: `up`";
        check(json!({ "by": ["id up"] }), "invalid-param", "/by/0", wrong);
        check(json!({}), "invalid-param", "", "missing field `by`");
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_a_stable_sort(
            values in proptest::collection::vec(proptest::option::of(-4..4i64), 0..40),
            ascending: bool,
        ) {
            let table = batch(vec![
                ("v", Arc::new(values.iter().copied().collect::<Int64Array>())),
                testing::ids(values.len()),
            ]);
            let mut expect: Vec<usize> = (0..values.len()).collect();
            expect.sort_by_key(|row| {
                let value = values[*row];
                (value.is_none(), value.map(|v| if ascending { v } else { -v }))
            });
            let params = json!({ "by": "v", "ascending": ascending });
            let output = harness::run(&crate::plugin(), "sort", params, &[table]).unwrap();
            let ids: Vec<usize> = int_column(&output, "id").into_iter().flatten().map(|v| usize::try_from(v).unwrap()).collect();
            prop_assert_eq!(ids, expect);
        }
    }
}
