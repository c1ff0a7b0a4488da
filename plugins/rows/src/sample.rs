//! `sample`: a random part of the rows, the same one each time.
//!
//! Whether a row stays depends on the seed and on its number in the source, and on nothing else: not on how rows are cut
//! into batches. No value enters the sandbox.

use odibi_sdk::prelude::*;
use odibi_sdk::report;

/// Params of `sample`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sample {
    /// How likely each row stays, from 0 to 1: 0.1 keeps about a tenth of the rows.
    #[schemars(range(min = 0.0, max = 1.0))]
    fraction: f64,
    /// The same seed over the same rows keeps the same rows. Without, the run's own seed counts, which depends on the
    /// pipeline and the node.
    #[serde(default)]
    seed: Option<i64>,
}

impl Operation for Sample {
    const NAME: &'static str = "sample";
    const SUMMARY: &'static str = "Keeps a random part of the rows, the same one for the same seed";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps each row with an even chance",
                json!({ "fraction": 0.5, "seed": 1 }),
                ["id\n1\n2\n3\n4\n5\n6\n"],
                "id\n3\n6\n",
            ),
            Example::new(
                "keeps every row",
                json!({ "fraction": 1.0 }),
                ["id\n1\n2\n"],
                "id\n1\n2\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        if !(0.0..=1.0).contains(&self.fraction) {
            let message = format!("`fraction` must be from 0 to 1: {}", self.fraction);
            return Err(
                Failure::param("/fraction", message).hint("0.1 keeps about a tenth of the rows")
            );
        }
        Ok(Plan::from(Outline::of(schema))
            .input(0, InputPlan::only([]).keep_order())
            .spread(Spread::Single))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        let seed = self.seed.map_or_else(report::seed, i64::cast_unsigned);
        Ok(Box::new(Sampling {
            fraction: self.fraction,
            seed: mixed(seed),
            row: 0,
            picked: Vec::new(),
        }))
    }
}

struct Sampling {
    fraction: f64,
    seed: u64,
    /// Number of the next row, from 0.
    row: u64,
    /// Kept for its memory.
    picked: Vec<u32>,
}

impl Session for Sampling {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let rows = u32::try_from(batch.num_rows())
            .map_err(|_| Failure::internal("batch has more than 2^32 rows"))?;
        let (first, seed, fraction) = (self.row, self.seed, self.fraction);
        self.row += u64::from(rows);
        self.picked.clear();
        self.picked
            .extend((0..rows).filter(|r| stays(seed, first + u64::from(*r), fraction)));
        if self.picked.len() == batch.num_rows() {
            return out.same_rows(Vec::new());
        }
        out.picked(Vec::new(), &self.picked)
    }
}

/// The upper 53 bits are a number from 0 to below 1, which a float holds exactly.
fn stays(seed: u64, row: u64, fraction: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let draw = (mixed(seed ^ mixed(row)) >> 11) as f64 / (1u64 << 53) as f64;
    draw < fraction
}

/// Each bit of the input turns about half of those of the output: the finalizer of `SplitMix64` (Steele, Lea, Flood,
/// "Fast splittable pseudorandom number generators", OOPSLA 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, check_csv, check_failure, int_column};

    fn kept(rows: usize, params: Value) -> Vec<i64> {
        let table = batch(vec![testing::ids(rows)]);
        let output = harness::run(&crate::plugin(), "sample", params, &[table]).unwrap();
        int_column(&output, "id").into_iter().flatten().collect()
    }

    #[test]
    fn about_the_fraction_stays_whatever_the_seed() {
        for seed in [0, 1, -1, i64::MAX, 42] {
            for (fraction, expect) in [(0.1, 400), (0.5, 2000), (0.9, 3600)] {
                let rows = kept(4000, json!({ "fraction": fraction, "seed": seed })).len();
                // Five standard deviations and more.
                assert!(rows.abs_diff(expect) < 160, "{seed} {fraction}: {rows}");
            }
        }
        let all: Vec<i64> = (0..50).collect();
        assert_eq!(kept(50, json!({ "fraction": 1 })), all);
        assert!(kept(50, json!({ "fraction": 0 })).is_empty());
    }

    #[test]
    fn seeds_differ_and_repeat() {
        let run = |seed| kept(100, json!({ "fraction": 0.5, "seed": seed }));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let default = json!({ "fraction": 0.5 });
        assert_eq!(kept(100, default.clone()), kept(100, default));
    }

    #[test]
    fn empty_tables_stay_empty_and_nothing_enters() {
        check_csv("sample", json!({ "fraction": 0.5 }), "ä\n", "ä\n");
        let table = harness::table("a,b\n1,2\n");
        let needs = harness::needs(
            &crate::plugin(),
            "sample",
            json!({ "fraction": 0.5 }),
            &[table],
        );
        assert_eq!(needs.unwrap(), [Vec::<usize>::new()]);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, param, message: &str| {
            check_failure("sample", params, "a\n1\n", "invalid-param", param, message);
        };
        let range = "`fraction` must be from 0 to 1: ";
        check(
            json!({ "fraction": 1.5 }),
            "/fraction",
            &format!("{range}1.5"),
        );
        check(
            json!({ "fraction": -1 }),
            "/fraction",
            &format!("{range}-1"),
        );
        let wrong = "invalid type: string \"x\", expected i64";
        check(json!({ "fraction": 1, "seed": "x" }), "/seed", wrong);
        check(json!({}), "", "missing field `fraction`");
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn a_larger_fraction_keeps_the_rows_of_a_smaller_one(seed: i64, small in 0.0..1.0f64, more in 0.0..1.0f64) {
            let large = (small + more).min(1.0);
            let run = |fraction: f64| kept(60, json!({ "fraction": fraction, "seed": seed }));
            let larger = run(large);
            prop_assert!(run(small).iter().all(|row| larger.contains(row)));
        }
    }
}
