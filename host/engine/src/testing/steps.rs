//! Steps over fake operations: order, spreading, ports, early stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use odibi_run::port::{SortKey, Spread};
use odibi_story::event::Ledger;
use serde_json::json;

use super::fakes::{column, even, first_of_key, identity, limit, numbers, uneven};
use super::{Body, Build as _, Call, Fake, House, csv_in, csv_out, more, node, plan_like};

#[test]
fn rows_keep_their_order_through_every_spread() {
    let text = numbers(1_000);
    for (name, fake) in [
        ("single", identity(Spread::Single)),
        ("per partition without keys", identity(Spread::PerPartition)),
        ("per batch", identity(Spread::PerBatch)),
        ("uneven", uneven()),
    ] {
        let house = House::new().operation("x", fake);
        house.put("a.csv", &text);
        let facts = house
            .run(
                &node()
                    .read(csv_in(), "a.csv")
                    .step("x")
                    .step("x")
                    .write(csv_out(), "o.csv"),
            )
            .unwrap();
        assert_eq!(house.text("o.csv"), text, "{name}");
        assert_eq!((facts.rows_in, facts.rows_out), (1_000, 1_000));
        assert_eq!(facts.operations.len(), 2);
        for operation in &facts.operations {
            assert_eq!(
                (operation.ledger.rows_in, operation.ledger.rows_out),
                (1_000, 1_000),
                "{name}"
            );
            assert!(!operation.notes.is_empty());
        }
    }
}

#[test]
fn per_batch_runs_several_instances_and_reuses_them() {
    let house = House::with(|o| {
        o.batch_rows = 3;
        o.instances_max = 3;
    })
    .operation("x", uneven());
    house.put("a.csv", numbers(3_000));
    let facts = house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .step("x")
                .write(csv_out(), "o.csv"),
        )
        .unwrap();
    let ledger = &facts.operations[0].ledger;
    assert!(ledger.instances > 1 && ledger.instances <= 3, "{ledger:?}");
    assert_eq!(ledger.batches_in, 1_000);
    // Which instance sees which batch is chance, so none has a partition of its own.
    let instances = &facts.operations[0].instances;
    assert_eq!(instances.len(), ledger.instances as usize);
    assert!(instances.iter().all(|i| i.partition == 0), "{instances:?}");
}

#[test]
fn equal_keys_meet_in_one_instance_and_the_order_is_the_same_every_time() {
    let house = House::new()
        .operation("x", first_of_key(Vec::new()))
        .operation("same", identity(Spread::PerBatch));
    house.put("a.csv", numbers(1_000));
    let node = node()
        .read(csv_in(), "a.csv")
        .step("same")
        .step("x")
        .step("same")
        .write(csv_out(), "o.csv");
    let facts = house.run(&node).unwrap();
    assert_eq!(facts.operations[1].ledger.instances, 4);
    let listed = &facts.operations[1].instances;
    let partitions: Vec<u32> = listed.iter().map(|i| i.partition).collect();
    assert_eq!(partitions, [0, 1, 2, 3]);
    let mut sum = Ledger::default();
    listed.iter().for_each(|i| sum.add(&i.ledger));
    assert_eq!(sum, facts.operations[1].ledger);
    let once = house.text("o.csv");
    let mut rows: Vec<&str> = once.lines().skip(1).collect();
    rows.sort_unstable();
    assert_eq!(rows, ["0,0", "1,1", "2,2", "3,3", "4,4", "5,5", "6,6"]);
    for _ in 0..5 {
        house.run(&node).unwrap();
        assert_eq!(house.text("o.csv"), once);
    }
}

#[test]
fn a_sort_orders_each_partition_and_keeps_the_source_order_of_equal_rows() {
    let by_n = vec![SortKey {
        column: 0,
        descending: true,
        nulls_first: false,
    }];
    let by_k = vec![SortKey {
        column: 1,
        descending: false,
        nulls_first: false,
    }];
    for (sorted_by, expected) in [
        (
            by_n,
            [
                "993,6", "994,0", "995,1", "996,2", "997,3", "998,4", "999,5",
            ],
        ),
        // All rows of a key are equal in this order: the first of the source wins.
        (by_k, ["0,0", "1,1", "2,2", "3,3", "4,4", "5,5", "6,6"]),
    ] {
        let house = House::new().operation("x", first_of_key(sorted_by));
        house.put("a.csv", numbers(1_000));
        house
            .run(
                &node()
                    .read(csv_in(), "a.csv")
                    .step("x")
                    .write(csv_out(), "o.csv"),
            )
            .unwrap();
        let text = house.text("o.csv");
        let mut rows: Vec<&str> = text.lines().skip(1).collect();
        rows.sort_unstable();
        assert_eq!(rows, expected);
    }
}

#[test]
fn a_small_input_is_one_partition_in_source_order() {
    let mut house = House::new().operation("x", first_of_key(Vec::new()));
    house.engine = house.engine.with_partition_bytes_min(1_000_000);
    house.put("a.csv", numbers(100));
    let facts = house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .step("x")
                .write(csv_out(), "o.csv"),
        )
        .unwrap();
    assert_eq!(facts.operations[0].ledger.instances, 1);
    assert_eq!(
        house.text("o.csv"),
        "n,k\n0,0\n1,1\n2,2\n3,3\n4,4\n5,5\n6,6\n"
    );
}

#[test]
fn sorting_more_than_the_memory_spills() {
    let house = House::with(|o| {
        o.memory_bytes_max = 24 * 1024 * 1024;
        o.batch_rows = 1_024;
        o.instances_max = 1;
    });
    let sorted = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::Single);
            plan.inputs[0].sorted_by = vec![SortKey {
                column: 0,
                descending: true,
                nulls_first: false,
            }];
            plan
        },
        |_| {
            Box::new(|call| match call {
                Call::Process(_, batch) => more(vec![batch.clone()]),
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    );
    let house = house.operation("x", sorted);
    let pad = "p".repeat(200);
    let mut text = String::from("n,pad\n");
    for n in 0..150_000 {
        text += &format!("{n},{pad}\n");
    }
    house.put("a.csv", text);
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .step("x")
                .write(csv_out(), "o.csv"),
        )
        .unwrap();
    let out = house.text("o.csv");
    for (at, line) in out.lines().skip(1).enumerate() {
        assert_eq!(
            line.split(',').next(),
            Some((149_999 - at).to_string().as_str())
        );
    }
}

#[test]
fn enough_stops_the_reading() {
    for name in ["single", "per batch", "by key"] {
        let middle = match name {
            "single" => identity(Spread::Single),
            "per batch" => identity(Spread::PerBatch),
            _ => first_of_key(vec![SortKey {
                column: 0,
                descending: false,
                nulls_first: false,
            }]),
        };
        let house = House::new()
            .operation("middle", middle)
            .operation("limit", limit(4));
        house.put("a.csv", numbers(30_000));
        let steps = node().read(csv_in(), "a.csv").step("middle").step("limit");
        let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
        assert_eq!(facts.rows_out, 4, "{name}");
        if name != "by key" {
            assert_eq!(house.text("o.csv"), numbers(4), "{name}");
            assert!(facts.rows_in < 1_000, "{name} read {} rows", facts.rows_in);
        }
        assert!(
            facts.operations.iter().all(|o| o.ledger.instances > 0),
            "{name}: {:?}",
            facts.operations
        );
    }
}

/// Appends the inputs; the second is fed first when `drained_first`.
fn union(drained_first: bool) -> Arc<Fake> {
    Fake::new(
        move |inputs| {
            let mut plan = plan_like(inputs, Spread::Single);
            plan.inputs[1].drained_first = drained_first;
            plan
        },
        |_| -> Body {
            let mut drained = Vec::new();
            Box::new(move |call| match call {
                Call::Process(port, batch) => {
                    assert!(
                        !drained.contains(&port),
                        "no batch of a port after its drain"
                    );
                    more(vec![batch.clone()])
                }
                Call::Drain(port) => {
                    drained.push(port);
                    more(Vec::new())
                }
                Call::Finish => {
                    assert_eq!(drained.len(), 2);
                    more(Vec::new())
                }
            })
        },
    )
}

#[test]
fn ports_are_fed_one_after_the_other_and_drained_first_before_all() {
    for (drained_first, expected) in [
        (false, "n,k\n0,0\n1,1\n9,9\n"),
        (true, "n,k\n9,9\n0,0\n1,1\n"),
    ] {
        let house = House::new().operation("x", union(drained_first));
        house.put("a.csv", numbers(2));
        house.put("b.csv", "n,k\n9,9\n");
        let steps = node()
            .read(csv_in(), "a.csv")
            .read(csv_in(), "b.csv")
            .step_with("x", json!({}), &[1]);
        let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
        assert_eq!(house.text("o.csv"), expected);
        assert_eq!(
            (
                facts.rows_in,
                facts.operations[0].ledger.instances,
                facts.sources.len()
            ),
            (3, 1, 2)
        );
    }
}

#[test]
fn an_input_used_twice_counts_once() {
    let house = House::new().operation("x", union(false));
    house.put("a.csv", numbers(20));
    let steps = node()
        .read(csv_in(), "a.csv")
        .step_with("x", json!({}), &[0])
        .step_with("x", json!({}), &[0]);
    let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
    assert_eq!((facts.rows_in, facts.rows_out), (20, 60));
    assert_eq!(house.progress.rows_read.load(Ordering::Relaxed), 20);
    assert_eq!(house.progress.rows_out.load(Ordering::Relaxed), 60);
}

#[test]
fn two_inputs_with_keys_of_one_type_meet_in_partitions() {
    // Counts the rows of both ports that meet under a key; emits `n` = key, `k` = count.
    let meet = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::PerPartition);
            plan.inputs[0].partition_by = vec![1];
            plan.inputs[1].partition_by = vec![0];
            plan.inputs[1].drained_first = true;
            plan
        },
        |_| {
            let mut counts = std::collections::BTreeMap::<i64, [i64; 2]>::new();
            Box::new(move |call| match call {
                Call::Process(port, batch) => {
                    for key in column(batch, 1 - port).iter().flatten() {
                        counts.entry(key).or_default()[port] += 1;
                    }
                    more(Vec::new())
                }
                Call::Drain(_) => more(Vec::new()),
                Call::Finish => {
                    let n: ArrayRef =
                        Arc::new(Int64Array::from_iter_values(counts.keys().copied()));
                    let k: ArrayRef = Arc::new(Int64Array::from_iter_values(
                        counts.values().map(|c| c[0] * 1_000 + c[1]),
                    ));
                    let field = |name: &str| Field::new(name, DataType::Int64, true);
                    let schema = Arc::new(Schema::new(vec![field("n"), field("k")]));
                    more(vec![RecordBatch::try_new(schema, vec![n, k]).unwrap()])
                }
            })
        },
    );
    let house = House::new().operation("x", meet);
    house.put("a.csv", numbers(70));
    house.put("b.csv", "key\n0\n1\n2\n3\n4\n5\n6\n6\n");
    let steps = node()
        .read(csv_in(), "a.csv")
        .read(csv_in(), "b.csv")
        .step_with("x", json!({}), &[1]);
    let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
    assert_eq!(facts.operations[0].ledger.instances, 4);
    let text = house.text("o.csv");
    let mut rows: Vec<&str> = text.lines().skip(1).collect();
    rows.sort_unstable();
    assert_eq!(
        rows,
        [
            "0,10001", "1,10001", "2,10001", "3,10001", "4,10001", "5,10001", "6,10002"
        ]
    );
}

#[test]
fn columns_that_nobody_needs_are_not_read() {
    // Needs `n`, passes `t` through, drops the rest.
    let picky = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::PerBatch);
            plan.inputs[0].need = vec![0];
            let keep = [0, 3];
            plan.output = Arc::new(inputs[0].project(&keep).unwrap());
            plan.pass_through = vec![None, Some((0, 3))];
            plan
        },
        |_| {
            Box::new(|call| match call {
                Call::Process(_, batch) => {
                    assert_eq!((batch.num_columns(), batch.column(0).null_count()), (4, 0));
                    assert_eq!(
                        batch.column(1).null_count(),
                        batch.num_rows(),
                        "stands in for what is not read"
                    );
                    assert_eq!(batch.column(2).null_count(), batch.num_rows());
                    more(vec![batch.project(&[0, 3]).unwrap()])
                }
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    );
    let text = "n,k,s,t\n0,1,a,x\n1,2,b,y\n2,3,c,z\n3,4,d,w\n";
    let house = House::new().operation("x", picky);
    house.put("a.csv", text);
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .write(super::parquet_out(), "a.parquet"),
        )
        .unwrap();
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .write(super::json_lines_out(), "a.jsonl"),
        )
        .unwrap();
    house
        .run(&node().read(csv_in(), "a.csv").number(1).depended_on())
        .unwrap();
    for from in [
        node().read(csv_in(), "a.csv"),
        node().read(odibi_plan::plan::ReadFormat::Parquet, "a.parquet"),
        node().read(super::json_lines_in(), "a.jsonl"),
        node().of_node(1),
    ] {
        house
            .run(&from.step("x").write(csv_out(), "o.csv"))
            .unwrap();
        assert_eq!(house.text("o.csv"), "n,t\n0,x\n1,y\n2,z\n3,w\n");
    }
}

#[test]
fn an_empty_input_still_runs_to_the_end() {
    for (name, fake) in [
        ("single", even(Spread::Single)),
        ("batch", even(Spread::PerBatch)),
        (
            "key",
            first_of_key(vec![SortKey {
                column: 0,
                descending: false,
                nulls_first: true,
            }]),
        ),
    ] {
        let house = House::new().operation("x", fake);
        house.put("a.csv", "n,k\n");
        let facts = house
            .run(
                &node()
                    .read(csv_in(), "a.csv")
                    .step("x")
                    .step("x")
                    .write(csv_out(), "o.csv"),
            )
            .unwrap();
        assert_eq!(
            (facts.rows_out, house.text("o.csv").as_str()),
            (0, "n,k\n"),
            "{name}"
        );
    }
}

#[test]
fn filters_and_tallies_agree() {
    let house = House::new().operation("x", even(Spread::PerBatch));
    house.put("a.csv", numbers(11));
    let facts = house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .step("x")
                .write(csv_out(), "o.csv"),
        )
        .unwrap();
    assert_eq!(
        (facts.rows_in, facts.rows_out, facts.rows_written),
        (11, 6, Some(6))
    );
    let cell = |t: &str| Some(t.to_owned());
    assert_eq!(facts.sample.columns, ["n", "k"]);
    assert_eq!(
        facts.sample.rows,
        [
            [cell("0"), cell("0")],
            [cell("2"), cell("2")],
            [cell("4"), cell("4")]
        ]
    );
    let target = facts.target.unwrap();
    assert_eq!(
        (target.path.as_str(), target.connection.as_str()),
        ("o.csv", "local")
    );
    assert_eq!(
        target.bytes,
        std::fs::metadata(house.path("o.csv")).unwrap().len()
    );
    assert_eq!(
        facts.sources[0].bytes,
        std::fs::metadata(house.path("a.csv")).unwrap().len()
    );
    assert!(facts.sources[0].modified.is_some());
}
