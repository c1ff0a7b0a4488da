//! Steps by key over more data than memory: who meets whom, in which order, how many instances, and what is left behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use odibi_plan::plan::PlannedNode;
use odibi_run::memory::Holder;
use odibi_run::port::{Cancel, InputPlan, SortKey, Spread};
use odibi_story::event::{NodeFacts, OperationFact};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::json;

use super::fakes::{column, first_of_key, numbers};
use super::{Build as _, Call, Fake, House, csv_in, csv_out, more, node, plan_like};

const MIB: u64 = 1024 * 1024;

/// For each key, the partitions that saw it, with the rows from either port.
type Seen = BTreeMap<String, BTreeMap<u32, [u64; 2]>>;

/// The highest that the engine has held, as the steps saw it.
type Peak = Arc<AtomicU64>;

fn small(memory_bytes_max: u64, instances_max: usize) -> House {
    House::with(|options| {
        options.memory_bytes_max = memory_bytes_max;
        options.instances_max = instances_max;
        options.batch_rows = 512;
    })
}

/// `n`, `k`, and a pad of so many bytes.
fn wide(pad: &str, from: i64, keys: i64) -> RecordBatch {
    let n = Int64Array::from_iter_values(from..from + 100);
    let k = Int64Array::from_iter_values(n.values().iter().map(|n| (n * 7919) % keys));
    let pads = StringArray::from_iter_values(std::iter::repeat_n(pad, 100));
    let columns: Vec<ArrayRef> = vec![Arc::new(n), Arc::new(k), Arc::new(pads)];
    RecordBatch::try_new(wide_schema(), columns).unwrap()
}

fn wide_schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("n", DataType::Int64),
        field("k", DataType::Int64),
        field("pad", DataType::Utf8),
    ]))
}

/// Makes 100 rows of each row of its input; tells what the engine holds, and says each `n` before it does.
fn grow(
    pad: usize,
    keys: i64,
    peak: Peak,
    before: impl Fn(i64) + Send + Sync + 'static,
) -> Arc<Fake> {
    let (pad, before) = (Arc::new("p".repeat(pad)), Arc::new(before));
    Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::Single);
            plan.output = wide_schema();
            plan.pass_through = vec![None; 3];
            plan
        },
        move |context| {
            let (memory, peak) = (context.memory.clone(), Arc::clone(&peak));
            let (pad, before) = (Arc::clone(&pad), Arc::clone(&before));
            Box::new(move |call| {
                // Also behind the last of its batches: what they became is held then, or on disk but for the last of it.
                peak.fetch_max(memory.held(Holder::Engine), Ordering::Relaxed);
                let Call::Process(_, batch) = call else {
                    return more(Vec::new());
                };
                let rows = column(batch, 0).values().iter();
                more(
                    rows.map(|n| {
                        before(*n);
                        wide(&pad, n * 100, keys)
                    })
                    .collect(),
                )
            })
        },
    )
}

/// Counts under each `k` the rows of both ports, the second drained first; fails over so many rows.
fn meet(rows_max: usize, peak: Peak) -> Arc<Fake> {
    Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::PerPartition);
            plan.inputs
                .iter_mut()
                .for_each(|i| i.partition_by = vec![1]);
            plan.inputs[1].drained_first = true;
            plan.output = Arc::new(wide_schema().project(&[0, 1]).unwrap());
            plan.pass_through = vec![None; 2];
            plan
        },
        move |context| {
            let (memory, peak) = (context.memory.clone(), Arc::clone(&peak));
            let mut counts = BTreeMap::<i64, [i64; 2]>::new();
            let mut rows = 0;
            Box::new(move |call| match call {
                Call::Process(port, batch) => {
                    peak.fetch_max(memory.held(Holder::Engine), Ordering::Relaxed);
                    rows += batch.num_rows();
                    if rows > rows_max {
                        let message = format!("{rows} rows in one instance");
                        return Err(Failure::new(
                            FailureClass::Limit,
                            code::LIMIT_GUEST_MEMORY,
                            message,
                        ));
                    }
                    for k in column(batch, 1).values() {
                        counts.entry(*k).or_default()[port] += 1;
                    }
                    more(Vec::new())
                }
                Call::Drain(_) => more(Vec::new()),
                Call::Finish => {
                    let keys = Int64Array::from_iter_values(counts.keys().copied());
                    let met = counts.values().map(|[a, b]| a * 1_000_000 + b);
                    let met = Int64Array::from_iter_values(met);
                    let schema = Arc::new(wide_schema().project(&[0, 1]).unwrap());
                    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(met)];
                    more(vec![RecordBatch::try_new(schema, columns).unwrap()])
                }
            })
        },
    )
}

/// Both sides grown from so many rows.
fn join() -> PlannedNode {
    let steps = node().read(csv_in(), "a.csv").of_node(1).step("grow");
    steps
        .step_with("meet", json!({}), &[1])
        .write(csv_out(), "o.csv")
}

fn other_side(house: &House) {
    let other = node().number(1).read(csv_in(), "b.csv").step("grow");
    house.run(&other.depended_on()).unwrap();
}

/// Rows without the header, sorted as text.
fn sorted(text: &str) -> Vec<String> {
    let mut rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    rows.sort_unstable();
    rows
}

/// Files below a directory, at any depth.
fn files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

fn scratch(house: &House) -> std::path::PathBuf {
    house.path("../scratch")
}

fn by_key(facts: &NodeFacts) -> &OperationFact {
    facts.operations.last().unwrap()
}

#[test]
fn a_join_ten_times_as_large_as_the_memory_completes() {
    let (memory, peak) = (8 * MIB, Peak::default());
    // An instance gets a quarter of half of the memory; 1,000 bytes and a bit is a row.
    let rows_max = usize::try_from(memory / 8 / 1_000).unwrap();
    let house = small(memory, 4)
        .operation("grow", grow(1_000, 5_000, Arc::clone(&peak), |_| ()))
        .operation("meet", meet(rows_max, Arc::clone(&peak)));
    house.put("a.csv", numbers(500));
    house.put("b.csv", numbers(350));
    other_side(&house);
    let spools = files(&scratch(&house));
    let facts = house.run(&join()).unwrap();
    let mut expected = BTreeMap::<i64, [i64; 2]>::new();
    for (port, rows) in [50_000, 35_000].into_iter().enumerate() {
        (0..rows).for_each(|n: i64| expected.entry((n * 7919) % 5_000).or_default()[port] += 1);
    }
    let expected: String = expected
        .iter()
        .map(|(k, [a, b])| format!("{k},{}\n", a * 1_000_000 + b))
        .collect();
    assert_eq!(
        sorted(&house.text("o.csv")),
        sorted(&format!("n,k\n{expected}"))
    );
    let fact = by_key(&facts);
    assert!(fact.partitions >= 80, "{}", fact.partitions);
    assert_eq!(u64::from(fact.ledger.instances), fact.partitions);
    assert!(
        fact.bytes_spilled >= 85_000 * 1_000,
        "{}",
        fact.bytes_spilled
    );
    assert!(
        fact.bytes_spilled < 95_000 * 1_000,
        "{}",
        fact.bytes_spilled
    );
    assert_eq!(fact.ledger.rows_in, 85_000);
    let peak = peak.load(Ordering::Relaxed);
    assert!((1..=memory / 2).contains(&peak), "{peak}");
    assert_eq!(
        files(&scratch(&house)),
        spools,
        "nothing is left but what was there"
    );
}

#[test]
fn buckets_that_are_too_large_are_divided_again_and_one_key_is_not() {
    // More than 128 times what an instance gets of one key's share: 256 KiB.
    for (keys, rows_max, divided) in [(40_000, 262, true), (1, 100_000, false)] {
        let house = small(64 * 1024, 2)
            .operation("grow", grow(1_000, keys, Peak::default(), |_| ()))
            .operation("meet", meet(rows_max, Peak::default()));
        house.put("a.csv", numbers(400));
        house.put("b.csv", "n,k\n");
        other_side(&house);
        let facts = house.run(&join()).unwrap();
        let fact = by_key(&facts);
        assert_eq!(fact.ledger.rows_in, 40_000);
        assert_eq!(fact.partitions > 128, divided, "{}", fact.partitions);
        assert!(divided || fact.partitions == 1, "{}", fact.partitions);
    }
}

#[test]
fn one_key_that_is_too_large_fails_in_its_instance() {
    let house = small(8 * MIB, 2)
        .operation("grow", grow(1_000, 1, Peak::default(), |_| ()))
        .operation("meet", meet(2_000, Peak::default()));
    house.put("a.csv", numbers(100));
    house.put("b.csv", numbers(1));
    other_side(&house);
    let spools = files(&scratch(&house));
    let failure = house.run(&join()).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.step),
        ("limit/guest-memory", Some(1)),
        "{failure:?}"
    );
    assert_eq!(files(&scratch(&house)), spools);
}

#[test]
fn sides_without_rows_are_joined_too() {
    for (left, right) in [(0, 0), (3, 0), (0, 3)] {
        let house = House::new()
            .operation("grow", grow(1, 7, Peak::default(), |_| ()))
            .operation("meet", meet(10_000, Peak::default()));
        house.put("a.csv", numbers(left));
        house.put("b.csv", numbers(right));
        other_side(&house);
        let facts = house.run(&join()).unwrap();
        let met = sorted(&house.text("o.csv"));
        assert_eq!(met.len(), if left + right > 0 { 7 } else { 0 });
        assert!(by_key(&facts).ledger.instances > 0);
    }
}

#[test]
fn a_run_is_cancelled_while_it_spills_and_leaves_nothing() {
    let house = small(MIB, 2);
    let cancel: Cancel = house.cancel.clone();
    let stop = move |n| {
        if n == 300 {
            cancel.cancel();
        }
    };
    let house = house
        .operation("grow", grow(1_000, 5_000, Peak::default(), stop))
        .operation("key", first_of_key(Vec::new()));
    house.put("a.csv", numbers(2_000));
    let steps = node().read(csv_in(), "a.csv").step("grow").step("key");
    let failure = house.run(&steps.write(csv_out(), "o.csv")).unwrap_err();
    assert_eq!(failure.class, FailureClass::Cancelled);
    assert_eq!(
        (files(&scratch(&house)), house.entries("")),
        (0, vec!["a.csv".to_owned()])
    );
}

#[test]
fn a_scratch_directory_that_is_gone_is_named() {
    let house = small(MIB, 2);
    let dir = scratch(&house);
    let remove = move |n| {
        if n == 0 {
            std::fs::remove_dir_all(&dir).unwrap();
        }
    };
    let house = house
        .operation("grow", grow(1_000, 5_000, Peak::default(), remove))
        .operation("key", first_of_key(Vec::new()));
    house.put("a.csv", numbers(2_000));
    let steps = node().read(csv_in(), "a.csv").step("grow").step("key");
    let failure = house.run(&steps.write(csv_out(), "o.csv")).unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Transient, "resources/disk"),
        "{failure:?}"
    );
    assert_eq!(house.entries(""), ["a.csv"]);
}

/// Tells the sizes of its batches, and gives them back.
fn listening(
    change: impl Fn(&mut InputPlan) + Send + Sync + 'static,
    seen: Arc<Mutex<BTreeMap<u32, Vec<RecordBatch>>>>,
) -> Arc<Fake> {
    Fake::new(
        move |inputs| {
            let mut plan = plan_like(inputs, Spread::PerPartition);
            plan.inputs[0].partition_by = vec![1];
            change(&mut plan.inputs[0]);
            plan
        },
        move |context| {
            let (partition, seen) = (context.partition, Arc::clone(&seen));
            Box::new(move |call| match call {
                Call::Process(_, batch) => {
                    let mut seen = seen.lock().unwrap();
                    seen.entry(partition).or_default().push(batch.clone());
                    more(vec![batch.clone()])
                }
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    )
}

#[test]
fn order_and_batches_do_not_depend_on_what_was_in_memory() {
    type Change = fn(&mut InputPlan);
    let plain: Change = |_| ();
    let kept: Change = |input| input.keep_order = true;
    let by_k: Change = |input| {
        input.sorted_by = vec![SortKey {
            column: 1,
            descending: true,
            nulls_first: false,
        }];
    };
    for (name, change) in [("plain", plain), ("kept", kept), ("sorted", by_k)] {
        let mut all = Vec::new();
        for (memory, instances) in [(512 * MIB, 1), (48 * MIB, 1), (512 * MIB, 4), (64 * MIB, 4)] {
            let seen = Arc::default();
            let house = small(memory, instances)
                .operation("grow", grow(400, 997, Peak::default(), |_| ()))
                .operation("x", listening(change, Arc::clone(&seen)));
            house.put("a.csv", numbers(400));
            let steps = node().read(csv_in(), "a.csv").step("grow").step("x");
            let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
            assert_eq!(facts.rows_out, 40_000);
            let spilled = by_key(&facts).bytes_spilled > 0;
            assert_eq!(spilled, memory < 100 * MIB, "{name}");
            let mut sizes = Vec::new();
            for (partition, batches) in seen.lock().unwrap().iter() {
                let of = |at| {
                    batches
                        .iter()
                        .flat_map(move |b: &RecordBatch| column(b, at).values())
                };
                let rows: Vec<(i64, i64)> = of(0).copied().zip(of(1).copied()).collect();
                match name {
                    "kept" => assert!(rows.is_sorted(), "{memory} {partition}"),
                    "sorted" => assert!(rows.is_sorted_by_key(|(n, k)| (-k, *n)), "{memory}"),
                    _ => {}
                }
                sizes.push(
                    batches
                        .iter()
                        .map(RecordBatch::num_rows)
                        .collect::<Vec<_>>(),
                );
            }
            all.push((facts.operations[1].partitions, sizes, house.text("o.csv")));
        }
        // Bucket by bucket: whatever the number of instances.
        for (partitions, sizes, text) in &all[1..] {
            if *partitions == all[0].0 {
                assert_eq!(*sizes, all[0].1, "{name}");
            }
            if name == "plain" || *partitions == all[0].0 {
                assert!(*text == all[0].2, "{name}, {partitions} partitions");
            }
        }
    }
}

/// Gives this table in pieces, for the first batch it sees.
fn table(batch: RecordBatch) -> Arc<Fake> {
    let schema = batch.schema();
    Fake::new(
        move |inputs| {
            let mut plan = plan_like(inputs, Spread::Single);
            plan.pass_through = vec![None; schema.fields().len()];
            plan.output = Arc::clone(&schema);
            plan
        },
        move |_| {
            let mut left = Some(batch.clone());
            Box::new(move |call| match call {
                Call::Process(..) => {
                    let batch = left.take().unwrap();
                    let pieces = (0..batch.num_rows()).step_by(90);
                    more(
                        pieces
                            .map(|at| batch.slice(at, 90.min(batch.num_rows() - at)))
                            .collect(),
                    )
                }
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    )
}

fn texts(batch: &RecordBatch, keys: usize) -> Vec<String> {
    let columns: Vec<ArrayRef> = batch.columns()[..keys]
        .iter()
        .map(|c| arrow_cast::cast(c, &DataType::Utf8).unwrap())
        .collect();
    let cell = |c: &ArrayRef, row| {
        let texts = c.as_any().downcast_ref::<StringArray>().unwrap();
        if texts.is_null(row) {
            "null".to_owned()
        } else {
            texts.value(row).to_owned()
        }
    };
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| cell(c, row) + "|").collect())
        .collect()
}

/// Under each key of both ports, which partitions saw it: one.
#[track_caller]
fn check_keys(types: &[DataType]) {
    let make = |rows: i64, dictionaries: bool| {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (at, data_type) in types.iter().enumerate() {
            let spread = if *data_type == DataType::Boolean {
                2
            } else {
                59 - i64::try_from(at).unwrap()
            };
            let numbers: Int64Array = (0..rows)
                .map(|n| (n % 11 != 3).then_some((n * 31) % spread))
                .collect();
            let numbers: ArrayRef = Arc::new(numbers);
            #[expect(clippy::wildcard_enum_match_arm, reason = "all others are plain")]
            let plain = match data_type {
                DataType::Dictionary(_, value) => value.as_ref(),
                DataType::Binary => &DataType::Utf8,
                other => other,
            };
            let mut column = arrow_cast::cast(&numbers, plain).unwrap();
            if dictionaries || *data_type == DataType::Binary {
                column = arrow_cast::cast(&column, data_type).unwrap();
            }
            columns.push(column);
        }
        let pad = "p".repeat(500);
        let pads = std::iter::repeat_n(pad, usize::try_from(rows).unwrap());
        columns.push(Arc::new(StringArray::from_iter_values(pads)));
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(at, c)| Field::new(format!("c{at}"), c.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    };
    let keys = types.len();
    for memory in [512 * MIB, 16 * 1024] {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let told = Arc::clone(&seen);
        let witness = Fake::new(
            move |inputs| {
                let mut plan = plan_like(inputs, Spread::PerPartition);
                plan.inputs
                    .iter_mut()
                    .for_each(|i| i.partition_by = (0..keys).collect());
                plan.inputs[1].drained_first = true;
                plan
            },
            move |context| {
                let (partition, seen) = (context.partition, Arc::clone(&told));
                Box::new(move |call| match call {
                    Call::Process(port, batch) => {
                        let mut seen = seen.lock().unwrap();
                        for text in texts(batch, keys) {
                            seen.entry(text).or_default().entry(partition).or_default()[port] += 1;
                        }
                        more(if port == 0 {
                            vec![batch.clone()]
                        } else {
                            Vec::new()
                        })
                    }
                    Call::Drain(_) | Call::Finish => more(Vec::new()),
                })
            },
        );
        let (left, right) = (make(1_000, true), make(700, false));
        let mut expected = BTreeMap::<String, [u64; 2]>::new();
        for (port, batch) in [&left, &right].into_iter().enumerate() {
            for text in texts(batch, keys) {
                expected.entry(text).or_default()[port] += 1;
            }
        }
        let house = small(memory, 4)
            .operation("left", table(left))
            .operation("right", table(right))
            .operation("x", witness);
        house.put("a.csv", "n\n1\n");
        let right = node().number(1).read(csv_in(), "a.csv").step("right");
        house.run(&right.depended_on()).unwrap();
        let steps = node().read(csv_in(), "a.csv").of_node(1).step("left");
        let facts = house.run(&steps.step_with("x", json!({}), &[1])).unwrap();
        let fact = by_key(&facts);
        assert!(fact.partitions > 1, "{types:?}: {}", fact.partitions);
        assert_eq!(fact.bytes_spilled > 0, memory < MIB, "{types:?}");
        let seen = seen.lock().unwrap();
        let met: BTreeMap<String, [u64; 2]> = seen
            .iter()
            .map(|(text, at)| {
                assert_eq!(at.len(), 1, "{types:?}: {text} was in partitions {at:?}");
                (text.clone(), *at.values().next().unwrap())
            })
            .collect();
        assert_eq!(met, expected, "{types:?}");
    }
}

#[test]
fn equal_keys_of_both_ports_meet_whatever_their_type() {
    use DataType::{
        Binary, Boolean, Date32, Date64, Decimal128, Decimal256, Dictionary, Duration, Float32,
        Float64, Int8, Int16, Int32, Int64, LargeUtf8, Time64, Timestamp, UInt8, UInt64, Utf8,
    };
    let zone = || Some("Europe/Berlin".into());
    let dictionary = |key, value| Dictionary(Box::new(key), Box::new(value));
    for one in [
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt64,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Binary,
        Date32,
        Date64,
        Time64(TimeUnit::Microsecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Nanosecond, zone()),
        Duration(TimeUnit::Millisecond),
        Decimal128(12, 2),
        Decimal256(40, 3),
        dictionary(Int8, Utf8),
        dictionary(Int32, Int64),
    ] {
        check_keys(&[one]);
    }
    check_keys(&[Boolean, Boolean]);
    check_keys(&[Int64, Utf8]);
    check_keys(&[Date32, Decimal128(12, 2), dictionary(Int16, Utf8)]);
}

#[test]
fn a_sort_ten_times_as_large_as_the_memory_completes() {
    let (memory, peak) = (24 * MIB, Peak::default());
    let sorted = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::Single);
            plan.inputs[0].sorted_by = vec![SortKey {
                column: 1,
                descending: false,
                nulls_first: false,
            }];
            plan.output = Arc::new(wide_schema().project(&[0, 1]).unwrap());
            plan.pass_through = vec![None; 2];
            plan
        },
        |_| {
            Box::new(|call| match call {
                Call::Process(_, batch) => more(vec![batch.project(&[0, 1]).unwrap()]),
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    );
    let house = small(memory, 2)
        .operation("grow", grow(4_000, 1_000, Arc::clone(&peak), |_| ()))
        .operation("sorted", sorted);
    house.put("a.csv", numbers(630));
    let steps = node().read(csv_in(), "a.csv").step("grow").step("sorted");
    let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
    let rows: Vec<(i64, i64)> = house
        .text("o.csv")
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(n, k)| (k.parse().unwrap(), n.parse().unwrap()))
        .collect();
    assert_eq!(rows.len(), 63_000);
    assert!(
        rows.is_sorted(),
        "equal rows keep the order of their source"
    );
    assert!(by_key(&facts).bytes_spilled > 240_000_000, "{facts:?}");
    let peak = peak.load(Ordering::Relaxed);
    assert!((1..=memory).contains(&peak), "{peak}");
    assert_eq!(files(&scratch(&house)), 0);
}
