//! Merges whose sides do not fit into memory.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::*;

/// Enough for DataFusion to count keys, and far less than the rows.
const MEMORY_BYTES: usize = 4 << 20;
const TEXT_BYTES: usize = 200;
const TABLE_ROWS: i64 = 60_000;
const BATCH_ROWS: i64 = 40_000;
/// Files of the table, and batches of rows.
const PIECES: i64 = 4;

fn text(id: i64, version: &str) -> String {
    let mut text = format!("{id} {version} ");
    text.extend(std::iter::repeat_n('x', TEXT_BYTES - text.len()));
    text
}

fn texts(rows: impl Iterator<Item = (i64, String)>) -> RecordBatch {
    let (ids, texts): (Vec<i64>, Vec<String>) = rows.unzip();
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("t", texts, true)]).unwrap()
}

/// Every third row of those that the table has is as it is there; the others are not.
fn changed(id: i64) -> String {
    text(id, if id % 3 == 0 { "old" } else { "new" })
}

/// A table of some files, whose rows do not lie in the order of their keys.
fn table(bench: &Bench) -> BTreeMap<i64, String> {
    for piece in 0..PIECES {
        let ids = (0..TABLE_ROWS).rev().filter(|id| id % PIECES == piece);
        let rows = texts(ids.map(|id| (id, text(id, "old"))));
        let name = format!("piece {piece}");
        bench.write(&name, &WriteMode::Append, rows).unwrap();
    }
    (0..TABLE_ROWS).map(|id| (id, text(id, "old"))).collect()
}

/// Rows of which half are in the table.
fn incoming() -> Vec<RecordBatch> {
    let first = TABLE_ROWS - BATCH_ROWS / 2;
    let pieces = (0..PIECES).map(|piece| {
        let ids = (first..first + BATCH_ROWS).filter(move |id| id % PIECES == piece);
        texts(ids.map(|id| (id, changed(id))))
    });
    pieces.collect()
}

fn check(mode: &WriteMode, replaces: bool) {
    let mut bench = Bench::new();
    let mut model = table(&bench);
    let versions = bench.versions();
    bench.limit_memory(MEMORY_BYTES);
    bench.reserved_bytes.store(0, Ordering::Relaxed);
    let write = |batch: &str| bench.write_how(batch, mode, How::default(), &[], incoming());
    let fact = write("a").unwrap();
    for id in TABLE_ROWS - BATCH_ROWS / 2..TABLE_ROWS + BATCH_ROWS / 2 {
        if replaces || id >= TABLE_ROWS {
            model.insert(id, changed(id));
        }
    }
    let half = BATCH_ROWS as u64 / 2;
    let same = (TABLE_ROWS - BATCH_ROWS / 2..TABLE_ROWS).filter(|id| id % 3 == 0);
    let same = same.count() as u64;
    let updated = if replaces { half - same } else { 0 };
    effect(&fact, WriteEffect::Published, half, updated);
    let left = fact.rows_unchanged + fact.rows_present;
    assert_eq!(left, if replaces { same } else { half });
    assert_eq!(fact.files_removed, if replaces { PIECES as u64 } else { 0 });
    assert_eq!(bench.versions(), versions + 1, "one commit");
    let rows: Vec<String> = model.iter().map(|(id, t)| format!("{id}:{t}")).collect();
    let mut found = bench.rows();
    found.sort_by_key(|row| row.split(':').next().unwrap().parse::<i64>().unwrap());
    assert!(found == rows, "{} rows and not {}", found.len(), rows.len());
    let files = bench.data_files();
    effect(&write("b").unwrap(), WriteEffect::Unchanged, 0, 0);
    effect(&write("a").unwrap(), WriteEffect::AlreadyApplied, 0, 0);
    assert_eq!(
        (bench.versions(), bench.data_files()),
        (versions + 1, files)
    );
    let reserved = bench.reserved_bytes.load(Ordering::Relaxed);
    assert!((1..=MEMORY_BYTES).contains(&reserved), "{reserved} bytes");
    let bytes = incoming().iter().map(RecordBatch::get_array_memory_size);
    assert!(
        bytes.sum::<usize>() > MEMORY_BYTES,
        "the batch alone is larger"
    );
}

#[test]
fn an_upsert_larger_than_memory_completes_within_it() {
    check(&upsert(), true);
}

#[test]
fn new_keys_larger_than_memory_are_appended_within_it() {
    check(&once(), false);
}

#[test]
fn rows_keep_their_order_and_new_ones_come_behind() {
    let bench = Bench::on_disk();
    let rows: Vec<_> = [9, 2, 7, 4].map(|id| (id, "a")).to_vec();
    bench.write("a", &upsert(), few(&rows)).unwrap();
    let batch = few(&[(8, "b"), (7, "b"), (1, "b"), (9, "a")]);
    let fact = bench.write("b", &upsert(), batch).unwrap();
    effect(&fact, WriteEffect::Published, 2, 1);
    let read = bench.read_at(TableVersion::Latest).unwrap();
    let ids = read.iter().flat_map(|batch| {
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>();
        ids.unwrap().values().to_vec()
    });
    assert_eq!(ids.collect::<Vec<_>>(), [9, 2, 7, 4, 8, 1]);
    assert_eq!(bench.rows(), ["1:b", "2:a", "4:a", "7:b", "8:b", "9:a"]);
}

#[test]
fn files_without_a_difference_stay_and_those_of_other_keys_are_not_read() {
    let bench = Bench::on_disk();
    for (name, from) in [("a", 0), ("b", 10), ("c", 20)] {
        let rows: Vec<_> = (from..from + 4).map(|id| (id, "a")).collect();
        bench.write(name, &WriteMode::Append, few(&rows)).unwrap();
    }
    let entry = std::fs::read_to_string(bench.table().join("_delta_log/00000000000000000002.json"));
    let entry = entry.unwrap();
    let name = entry.split("\"path\":\"").nth(1).unwrap();
    let name = name.split('"').next().unwrap();
    // The file with the ids from 20 on.
    std::fs::remove_file(bench.table().join(name)).unwrap();
    let batch = few(&[(1, "a"), (12, "b"), (15, "b")]);
    let fact = bench.write("d", &upsert(), batch).unwrap();
    effect(&fact, WriteEffect::Published, 1, 1);
    assert_eq!((fact.files_added, fact.files_removed), (1, 1));
    assert_eq!(fact.rows_unchanged, 1);
}

#[test]
fn a_key_that_the_table_has_twice_is_updated_twice() {
    for new in [Bench::new, Bench::on_disk] {
        let bench = new();
        for name in ["a", "b"] {
            bench
                .write(name, &WriteMode::Append, few(&[(1, name), (2, "x")]))
                .unwrap();
        }
        bench.write("c", &upsert(), few(&[(1, "c")])).unwrap();
        assert_eq!(bench.rows(), ["1:c", "1:c", "2:x", "2:x"]);
    }
}

#[test]
fn a_commit_says_that_it_is_a_merge_and_whose() {
    let bench = Bench::on_disk();
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    bench.write("b", &upsert(), few(&[(1, "b")])).unwrap();
    let entry = std::fs::read_to_string(bench.table().join("_delta_log/00000000000000000001.json"));
    let entry = entry.unwrap();
    let actions = entry
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let actions: Vec<serde_json::Value> = actions.collect();
    let info = actions
        .iter()
        .find_map(|action| action.get("commitInfo"))
        .unwrap();
    assert_eq!(info["operation"], "MERGE");
    assert_eq!(info["odibiBatch"], "b");
    assert_eq!(info["operationMetrics"]["num_target_rows_updated"], 1);
    let ids = actions
        .iter()
        .filter_map(|action| action.pointer("/txn/appId"));
    let ids: Vec<_> = ids.filter_map(|id| id.as_str()).collect();
    assert_eq!(ids, ["odibi/p/n/b", "odibi-serial"]);
}
