//! Random histories against a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

both! {
    histories_end_as_those_of_a_map
    writers_side_by_side_leave_what_some_order_of_them_would
}

/// `ODIBI_DELTA_HISTORIES=1000` for the long form.
#[expect(
    clippy::disallowed_methods,
    reason = "the long form of a test is asked for by the environment"
)]
fn cases() -> u32 {
    let asked = std::env::var("ODIBI_DELTA_HISTORIES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(60)
}

#[derive(Debug, Clone)]
enum Act {
    Upsert(BTreeMap<i64, Option<u8>>),
    Once(BTreeMap<i64, Option<u8>>),
    /// The batch of so many acts ago again.
    Again(usize),
}

fn rows() -> impl Strategy<Value = BTreeMap<i64, Option<u8>>> {
    proptest::collection::btree_map(0..12_i64, proptest::option::of(0..4_u8), 0..8)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => rows().prop_map(Act::Upsert),
        2 => rows().prop_map(Act::Once),
        1 => (1..4_usize).prop_map(Act::Again),
    ]
}

fn made(rows: &BTreeMap<i64, Option<u8>>) -> RecordBatch {
    const TEXTS: [&str; 4] = ["a", "é", "", "x y"];
    let text = |t: &Option<u8>| t.map(|t| TEXTS[usize::from(t)]);
    batch(
        &rows
            .iter()
            .map(|(id, t)| (Some(*id), text(t)))
            .collect::<Vec<_>>(),
    )
}

fn shown(model: &BTreeMap<i64, Option<u8>>) -> Vec<String> {
    sorted(&[made(model)])
}

fn histories_end_as_those_of_a_map(new: fn() -> Bench) {
    let mut runner = TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    });
    let histories = proptest::collection::vec(act(), 1..6);
    let ran = runner.run(&histories, |acts| {
        let bench = new();
        let mut model: BTreeMap<i64, Option<u8>> = BTreeMap::new();
        for (at, act) in acts.iter().enumerate() {
            let (at, act, again) = match act {
                Act::Again(back) if *back <= at => (at - back, &acts[at - back], true),
                Act::Again(_) => continue,
                Act::Upsert(_) | Act::Once(_) => (at, act, false),
            };
            let (mode, rows) = match act {
                Act::Upsert(rows) => (upsert(), rows),
                Act::Once(rows) => (once(), rows),
                Act::Again(_) => continue,
            };
            let fact = bench
                .write(&format!("batch {at}"), &mode, made(rows))
                .unwrap();
            if again {
                prop_assert_eq!(fact.effect, WriteEffect::AlreadyApplied);
            } else {
                for (id, t) in rows {
                    match act {
                        Act::Upsert(_) => drop(model.insert(*id, *t)),
                        Act::Once(_) | Act::Again(_) => drop(model.entry(*id).or_insert(*t)),
                    }
                }
            }
            prop_assert_eq!(bench.rows(), shown(&model));
        }
        Ok(())
    });
    ran.unwrap();
}

fn writers_side_by_side_leave_what_some_order_of_them_would(new: fn() -> Bench) {
    const WRITERS: i64 = 4;
    const BATCHES: i64 = 5;
    let bench = new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let bench = &bench;
            scope.spawn(move || {
                for at in 0..BATCHES {
                    let text: &'static str = Box::leak(format!("{writer}.{at}").into_boxed_str());
                    // Ids 0 to 4 are everybody's; the others nobody else's.
                    let own = 100 * (writer + 1) + at;
                    let rows: Vec<_> = (0..5).map(|id| (id, text)).chain([(own, text)]).collect();
                    bench.write(text, &upsert(), few(&rows)).unwrap();
                }
            });
        }
    });
    let rows = bench.rows();
    let common: Vec<_> = rows.iter().filter(|row| row.find(':') == Some(1)).collect();
    assert_eq!(rows.len() as i64, 5 + WRITERS * BATCHES, "{rows:?}");
    let last = &common[0][2..];
    assert!(common.iter().all(|row| &row[2..] == last), "{common:?}");
    assert!(
        last.ends_with(&format!(".{}", BATCHES - 1)),
        "{last} came last"
    );
    let files = bench.data_files();
    let read = bench.read_at(TableVersion::Latest).unwrap();
    assert_eq!(bench.versions() as i64, WRITERS * BATCHES);
    assert!(!read.is_empty() && files > 0);
}
