//! `limit`: the first rows, in the order of the source. No value enters the sandbox, and the host stops reading when
//! there are enough.

use std::ops::Range;

use odibi_sdk::prelude::*;

/// Params of `limit`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// Rows to keep.
    n: u64,
    /// Rows to leave out before that.
    #[serde(default)]
    offset: u64,
}

impl Operation for Limit {
    const NAME: &'static str = "limit";
    const SUMMARY: &'static str = "Keeps the first rows, in the order of the source";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps two rows",
                json!({ "n": 2 }),
                ["id\n7\n8\n9\n"],
                "id\n7\n8\n",
            ),
            Example::new(
                "leaves one row out before that",
                json!({ "n": 1, "offset": 1 }),
                ["id\n7\n8\n9\n"],
                "id\n8\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        Ok(Plan::from(Outline::of(schema))
            .input(0, InputPlan::only([]).keep_order())
            .spread(Spread::Single))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(LimitSession {
            skip: self.offset,
            left: self.n,
        }))
    }
}

struct LimitSession {
    /// Rows still to be left out.
    skip: u64,
    /// Rows still to be kept.
    left: u64,
}

impl LimitSession {
    /// Which of so many rows stay.
    fn take(&mut self, rows: u64) -> Range<u64> {
        let start = self.skip.min(rows);
        let end = rows.min(start.saturating_add(self.left));
        self.skip -= start;
        self.left -= end - start;
        start..end
    }
}

impl Session for LimitSession {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let rows = batch.num_rows() as u64;
        let taken = self.take(rows);
        let appetite = if taken == (0..rows) {
            out.same_rows(Vec::new())?
        } else {
            let row = |r: u64| {
                u32::try_from(r).map_err(|_| Failure::internal("batch has more than 2^32 rows"))
            };
            let picked: Vec<u32> = (row(taken.start)?..row(taken.end)?).collect();
            out.picked(Vec::new(), &picked)?
        };
        Ok(if self.left == 0 {
            Appetite::Enough
        } else {
            appetite
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, int_column};

    #[track_caller]
    fn check(rows: usize, params: Value, expect: Range<i64>) {
        let table = batch(vec![testing::ids(rows)]);
        let output = harness::run(&crate::plugin(), "limit", params, &[table]).unwrap();
        assert_eq!(
            int_column(&output, "id")
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            expect.collect::<Vec<_>>()
        );
    }

    #[test]
    fn rows_after_the_offset_are_kept() {
        check(10, json!({ "n": 3 }), 0..3);
        check(10, json!({ "n": 3, "offset": 6 }), 6..9);
        check(10, json!({ "n": 30, "offset": 9 }), 9..10);
        check(10, json!({ "n": 1, "offset": 10 }), 0..0);
        check(10, json!({ "n": 0 }), 0..0);
        check(0, json!({ "n": 5 }), 0..0);
        check(10, json!({ "n": u64::MAX, "offset": 2 }), 2..10);
        check(10, json!({ "n": 2, "offset": u64::MAX }), 0..0);
    }

    /// Batches of three rows: what is taken of each, up to the one after which no more is wanted.
    #[track_caller]
    fn check_batches(skip: u64, left: u64, expect: &[(u64, u64)]) {
        let mut session = LimitSession { skip, left };
        let mut taken = Vec::new();
        while taken.is_empty() || (session.left > 0 && taken.len() < 4) {
            let rows = session.take(3);
            taken.push((rows.start, rows.end));
        }
        assert_eq!(taken, expect);
    }

    #[test]
    fn no_more_is_wanted_as_soon_as_there_is_enough() {
        check_batches(0, 3, &[(0, 3)]);
        check_batches(2, 2, &[(2, 3), (0, 1)]);
        check_batches(0, 0, &[(0, 0)]);
        check_batches(3, 7, &[(3, 3), (0, 3), (0, 3), (0, 1)]);
        check_batches(0, 100, &[(0, 3); 4]);
    }

    #[test]
    fn no_column_enters_the_sandbox() {
        let table = harness::table("a,b\n1,2\n");
        assert_eq!(
            harness::needs(&crate::plugin(), "limit", json!({ "n": 1 }), &[table]).unwrap(),
            [Vec::<usize>::new()]
        );
    }

    #[test]
    fn negative_numbers_are_refused() {
        for param in ["n", "offset"] {
            let mut params = json!({ "n": 1 });
            params[param] = json!(-1);
            let failure =
                harness::run_csv(&crate::plugin(), "limit", params, &["a\n1\n"]).unwrap_err();
            assert_eq!(failure.param, Some(format!("/{param}")));
        }
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_skip_and_take(rows in 0..40usize, n in 0..50u64, offset in 0..50u64) {
            let ids = 0..i64::try_from(rows).unwrap();
            let (n_rows, skipped) = (usize::try_from(n).unwrap(), usize::try_from(offset).unwrap());
            let expect: Vec<i64> = ids.skip(skipped).take(n_rows).collect();
            let (first, last) = (expect.first().copied().unwrap_or(0), expect.last().map_or(0, |l| l + 1));
            check(rows, json!({ "n": n, "offset": offset }), first..last);
        }
    }
}
