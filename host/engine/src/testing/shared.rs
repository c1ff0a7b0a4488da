//! Inputs that every instance is fed whole before its first batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use odibi_plan::plan::PlannedNode;
use odibi_run::port::{OperationPlan, SortKey, Spread};
use odibi_story::failure::{Failure, FailureClass};
use serde_json::json;

use super::fakes::{column, numbers};
use super::{Build as _, Call, Fake, House, csv_in, csv_out, more, node, plan_like};

const MIB: u64 = 1024 * 1024;

/// Puts the `n` of the second input in the place of each `k` of the first, where `k` is the key of both. Spins a little
/// for every other batch, so that instances overtake each other; crashes at these `n`.
fn lookup(
    change: impl Fn(&mut OperationPlan) + Send + Sync + 'static,
    bad: &'static [i64],
) -> Arc<Fake> {
    let turns = AtomicUsize::new(0);
    let turns = Arc::new(turns);
    Fake::new(
        move |inputs| {
            let mut plan = plan_like(inputs, Spread::PerBatch);
            plan.inputs[1].drained_first = true;
            change(&mut plan);
            plan
        },
        move |_| {
            let turns = Arc::clone(&turns);
            let (mut names, mut drained) = (BTreeMap::new(), false);
            Box::new(move |call| match call {
                Call::Process(1, batch) => {
                    assert!(!drained);
                    let pairs = column(batch, 1)
                        .values()
                        .iter()
                        .zip(column(batch, 0).values());
                    names.extend(pairs.map(|(k, n)| (*k, *n)));
                    more(Vec::new())
                }
                Call::Process(_, batch) => {
                    assert!(drained, "the whole lookup comes first");
                    if column(batch, 0).values().iter().any(|n| bad.contains(n)) {
                        let message = "the plugin crashed";
                        return Err(Failure::new(
                            FailureClass::Trap,
                            "trap/unreachable",
                            message,
                        ));
                    }
                    if turns.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                        (0..20_000).for_each(|_| std::hint::spin_loop());
                    }
                    let found = column(batch, 1).values().iter();
                    let found: Int64Array = found.map(|k| names.get(k).copied()).collect();
                    let columns: Vec<ArrayRef> = vec![Arc::clone(batch.column(0)), Arc::new(found)];
                    more(vec![RecordBatch::try_new(batch.schema(), columns).unwrap()])
                }
                Call::Drain(port) => {
                    drained |= port == 1;
                    more(Vec::new())
                }
                Call::Finish => more(Vec::new()),
            })
        },
    )
}

fn steps() -> PlannedNode {
    let steps = node().read(csv_in(), "a.csv").read(csv_in(), "b.csv");
    steps
        .step_with("x", json!({}), &[1])
        .write(csv_out(), "o.csv")
}

/// `n` = 100 + `k`, for these `k`, twice: the second time is what counts.
fn names(keys: std::ops::Range<i64>) -> String {
    let line = |k: i64, n: i64| format!("{n},{k}\n");
    let stale: String = keys.clone().map(|k| line(k, k)).collect();
    let fresh: String = keys.map(|k| line(k, 100 + k)).collect();
    format!("n,k\n{stale}{fresh}")
}

fn found(rows: i64, keys: i64, bad: &[i64]) -> String {
    let name = |n: i64| {
        if n % 7 < keys {
            (100 + n % 7).to_string()
        } else {
            String::new()
        }
    };
    let rows = (0..rows).filter(|n| !bad.contains(n));
    let rows: String = rows.map(|n| format!("{n},{}\n", name(n))).collect();
    format!("n,k\n{rows}")
}

#[test]
fn every_instance_has_the_whole_lookup_and_the_rows_keep_their_order() {
    for keys in [7, 5, 0] {
        let house = House::new().operation("x", lookup(|_| (), &[]));
        house.put("a.csv", numbers(20_000));
        house.put("b.csv", names(0..keys));
        let facts = house.run(&steps()).unwrap();
        assert_eq!(house.text("o.csv"), found(20_000, keys, &[]), "{keys} keys");
        let ledger = &facts.operations[0].ledger;
        let instances = u64::from(ledger.instances);
        assert!((2..=4).contains(&instances), "{instances}");
        let fed = instances * 2 * u64::try_from(keys).unwrap();
        assert_eq!(ledger.rows_in, 20_000 + fed, "each is fed all of it");
        assert_eq!(
            (facts.rows_out, facts.operations[0].bytes_spilled),
            (20_000, 0)
        );
    }
}

#[test]
fn a_lookup_that_memory_does_not_hold_comes_from_disk() {
    let house = House::with(|options| {
        options.memory_bytes_max = 64 * 1024;
        options.instances_max = 3;
        options.batch_rows = 64;
    });
    let house = house.operation("x", lookup(|_| (), &[]));
    house.put("a.csv", numbers(5_000));
    house.put("b.csv", names(0..5_000));
    let facts = house.run(&steps()).unwrap();
    assert_eq!(house.text("o.csv"), found(5_000, 5_000, &[]));
    assert!(facts.operations[0].bytes_spilled > 100_000);
}

#[test]
fn a_sorted_lookup_is_sorted_once_for_all() {
    // Backwards, so that the stale names come last and win.
    let sorted = |plan: &mut OperationPlan| {
        plan.inputs[1].sorted_by = vec![SortKey {
            column: 0,
            descending: true,
            nulls_first: false,
        }];
    };
    let house = House::new().operation("x", lookup(sorted, &[]));
    house.put("a.csv", numbers(1_000));
    house.put("b.csv", names(0..7));
    house.run(&steps()).unwrap();
    assert_eq!(
        house.text("o.csv"),
        numbers(1_000),
        "each `k` is its own name"
    );
}

#[test]
fn rows_to_blame_are_found_with_the_lookup_in_place() {
    let bad: &[i64] = &[5, 1_234];
    let house = House::with(|o| (o.batch_rows, o.instances_max) = (100, 2));
    let house = house.operation("x", lookup(|_| (), bad));
    house.put("a.csv", numbers(5_000));
    house.put("b.csv", names(0..7));
    let facts = house.run(&steps().quarantine("q")).unwrap();
    assert_eq!(house.text("o.csv"), found(5_000, 7, bad));
    assert_eq!(facts.quarantine[0].reasons[0].rows_first, [6, 1_235]);
    let failure = house.run(&steps()).unwrap_err();
    assert_eq!(failure.causes, ["row 6 of the node's input fails alone"]);
}

#[test]
fn partitions_are_fed_the_whole_of_a_port_without_keys() {
    for memory in [512 * MIB, 64 * 1024] {
        let by_key = |plan: &mut OperationPlan| {
            plan.spread = Spread::PerPartition;
            plan.inputs[0].partition_by = vec![1];
        };
        let house = House::with(|options| {
            options.memory_bytes_max = memory;
            options.instances_max = 4;
            options.batch_rows = 100;
        });
        let house = house.operation("x", lookup(by_key, &[]));
        house.put("a.csv", numbers(7_000));
        house.put("b.csv", names(0..6));
        let facts = house.run(&steps()).unwrap();
        let text = house.text("o.csv");
        let mut rows: Vec<&str> = text.lines().skip(1).collect();
        rows.sort_unstable_by_key(|row| row.split(',').next().unwrap().parse::<i64>().unwrap());
        assert_eq!(format!("n,k\n{}\n", rows.join("\n")), found(7_000, 6, &[]));
        let ledger = &facts.operations[0].ledger;
        if memory > MIB {
            assert_eq!(ledger.instances, 4);
        }
        let instances = u64::from(ledger.instances);
        assert_eq!(ledger.rows_in, 7_000 + instances * 12);
    }
}

#[test]
fn what_comes_of_a_lookup_would_come_many_times_and_is_refused() {
    let loud = |spread, at_end: bool| {
        Fake::new(
            move |inputs| {
                let mut plan = plan_like(inputs, spread);
                plan.inputs[0].partition_by = vec![1];
                plan.inputs[1].drained_first = true;
                plan
            },
            move |_| {
                let mut held: Vec<RecordBatch> = Vec::new();
                Box::new(move |call| match call {
                    Call::Process(1, batch) if at_end => {
                        held.push(batch.clone());
                        more(Vec::new())
                    }
                    Call::Process(_, batch) => more(vec![batch.clone()]),
                    Call::Drain(_) => more(std::mem::take(&mut held)),
                    Call::Finish => more(Vec::new()),
                })
            },
        )
    };
    for spread in [Spread::PerBatch, Spread::PerPartition, Spread::Single] {
        for at_end in [false, true] {
            let house = House::new().operation("x", loud(spread, at_end));
            house.put("a.csv", numbers(20));
            house.put("b.csv", names(0..3));
            let ended = house.run(&steps());
            if spread == Spread::Single {
                assert_eq!(ended.unwrap().rows_out, 26, "one instance may");
                continue;
            }
            let failure = ended.unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str(), failure.step),
                (FailureClass::Contract, "engine/bad-output", Some(0)),
                "{spread:?}"
            );
        }
    }
}
