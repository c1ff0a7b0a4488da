//! A column that an operation did not ask for is not in its memory: an operation looks through all of it.
//!
//! What is looked for crosses in disguise, so that a find is never the question itself; a control that does ask for the
//! columns proves that the look finds what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int64Array, ListArray, RecordBatch, StringArray,
    UInt32Array,
};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::take::take_record_batch;
use odibi_run::port::{Cancel, Session};
use odibi_sandbox::Sandbox;
use odibi_story::event::GuestNote;
use serde_json::Value;

use crate::{Done, context, drive, resolve, run_with, sandbox, still_works};

const DISGUISE: u8 = 0x5a;
const TEXT: &str = "canary of the text column";
const WORD: &str = "canary of the dictionary";
const NUMBER: i64 = 0x1d3a_95c7_e2b8_604f;
const BLOB: &[u8] = &[0xfe, 0x01, 0xdc, 0x23, 0xba, 0x45, 0x98, 0x67];
const ITEM: i64 = 0x6b29_f04d_71c5_8ea3;

/// Columns: one to ask for, then the secret ones, one for each needle.
const PLAIN: usize = 0;
const SECRET: [usize; 5] = [1, 2, 3, 4, 5];

fn needles() -> [Vec<u8>; 5] {
    [
        TEXT.into(),
        NUMBER.to_le_bytes().into(),
        BLOB.into(),
        WORD.into(),
        ITEM.to_le_bytes().into(),
    ]
}

/// A batch with a canary in every row of every secret column.
fn batch(rows: usize) -> RecordBatch {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Int64, false),
        Field::new("blob", DataType::Binary, true),
        Field::new(
            "word",
            DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
            true,
        ),
        Field::new(
            "list",
            DataType::List(Arc::new(Field::new("item", DataType::Int64, true))),
            true,
        ),
    ];
    let words: DictionaryArray<Int32Type> = (0..rows).map(|_| Some(WORD)).collect();
    let lists = (0..rows).map(|_| Some([Some(ITEM)]));
    let list = ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(lists);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
        Arc::new(StringArray::from(vec![TEXT; rows])),
        Arc::new(Int64Array::from(vec![NUMBER; rows])),
        Arc::new(BinaryArray::from(vec![BLOB; rows])),
        Arc::new(words),
        Arc::new(list),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn params(columns: &[usize]) -> Value {
    let columns: Vec<String> = columns.iter().map(usize::to_string).collect();
    let hex = |needle: &Vec<u8>| -> String {
        needle
            .iter()
            .map(|b| format!("{:02x}", b ^ DISGUISE))
            .collect()
    };
    let needles: Vec<String> = needles().iter().map(hex).collect();
    Value::String(format!("{}|{}", columns.join(","), needles.join(",")))
}

fn counters(notes: &[GuestNote]) -> BTreeMap<String, u64> {
    let counters = notes.iter().filter(|note| note.kind == "counter");
    counters
        .map(|note| {
            let (name, value) = note.text.split_once('=').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// How often each needle was found, in all looks of a session.
fn finds(notes: &[GuestNote]) -> [u64; 5] {
    let counters = counters(notes);
    assert!(counters["scanned"] > 1 << 20, "{counters:?}");
    [0, 1, 2, 3, 4].map(|needle| {
        ["process", "finish"]
            .iter()
            .filter_map(|place| counters.get(&format!("{place} {needle}")))
            .sum()
    })
}

fn batches() -> [RecordBatch; 4] {
    let large = batch(5_000);
    // A slice shares the buffers of the whole: what lies beside it must stay out too.
    [batch(10), large.slice(1_000, 100), batch(1), large]
}

fn scanned(operation: &str, columns: &[usize]) -> Done {
    run_with(sandbox(), operation, &params(columns), &batches())
}

#[test]
fn a_column_that_was_asked_for_is_seen() {
    let all = scanned("scan", &SECRET);
    assert!(
        finds(&all.notes).iter().all(|found| *found > 0),
        "{:?}",
        all.notes
    );
    // Each on its own, and nothing but it.
    for (needle, column) in SECRET.into_iter().enumerate() {
        let done = scanned("scan", &[column]);
        let seen: Vec<usize> = (finds(&done.notes).iter().enumerate())
            .filter(|(_, found)| **found > 0)
            .map(|(needle, _)| needle)
            .collect();
        assert_eq!(seen, [needle], "column {column}: {:?}", done.notes);
    }
}

#[test]
fn a_column_that_was_not_asked_for_never_enters() {
    for (operation, columns) in [
        ("scan", &[][..]),
        ("scan", &[PLAIN]),
        ("scan_picked", &[PLAIN]),
        ("hoard", &[PLAIN]),
    ] {
        let done = scanned(operation, columns);
        assert_eq!(finds(&done.notes), [0; 5], "{operation}: {:?}", done.notes);
        // The secret columns left by the host's hand all the same.
        let expect: Vec<RecordBatch> = batches()
            .iter()
            .map(|batch| match operation {
                "scan_picked" => {
                    let rows = (0..u32::try_from(batch.num_rows()).unwrap()).step_by(2);
                    take_record_batch(batch, &UInt32Array::from_iter_values(rows)).unwrap()
                }
                _ => batch.clone(),
            })
            .collect();
        assert_eq!(done.batches(), expect, "{operation}");
    }
}

#[test]
fn rows_beside_a_slice_do_not_enter_with_it() {
    let whole = batch(100);
    let plain = StringArray::from(vec!["nothing to see"; 50]);
    let schema = Schema::new(vec![Field::new("text", DataType::Utf8, true)]);
    let secret = whole.column(1).slice(0, 50);
    let both = arrow_select::concat::concat(&[&plain, &secret, &plain]).unwrap();
    let text = RecordBatch::try_new(Arc::new(schema), vec![both]).unwrap();
    for slice in [text.slice(0, 50), text.slice(100, 50)] {
        let done = run_with(sandbox(), "scan", &params(&[0]), &[slice]);
        assert_eq!(finds(&done.notes), [0; 5], "{:?}", done.notes);
    }
    let done = run_with(sandbox(), "scan", &params(&[0]), &[text.slice(99, 2)]);
    assert!(finds(&done.notes)[0] > 0, "{:?}", done.notes);
}

fn opened(sandbox: &Sandbox, operation: &str, columns: &[usize]) -> Box<dyn Session> {
    let operation = resolve(sandbox, None, operation).unwrap();
    let plan = operation.plan(&params(columns), &[batch(1).schema()]);
    operation
        .open(&Arc::new(plan.unwrap()), &context(Cancel::default()))
        .unwrap()
}

#[test]
fn nothing_of_one_session_is_in_the_next() {
    let mut out = Vec::new();
    for _ in 0..3 {
        let mut hoarder = opened(sandbox(), "hoard", &SECRET);
        let mut beside = opened(sandbox(), "scan", &[PLAIN]);
        hoarder.process(0, &batch(5_000), &mut out).unwrap();
        beside.process(0, &batch(10), &mut out).unwrap();
        let hoard = drive(hoarder.as_mut(), &[batch(5_000)]).map(drop);
        hoard.unwrap();
        let kept = hoarder.take_notes();
        // A dictionary crosses once, the other columns with every batch.
        let found = finds(&kept);
        assert!(
            found[0] >= 10_000 && found.iter().all(|n| *n > 0),
            "{kept:?}"
        );
        drop(hoarder);
        let mut after = opened(sandbox(), "scan", &[PLAIN]);
        for session in [&mut beside, &mut after] {
            drive(session.as_mut(), &[batch(10)]).unwrap();
            let notes = session.take_notes();
            assert_eq!(finds(&notes), [0; 5], "{notes:?}");
            // Its statics are fresh too.
            assert_eq!(counters(&notes)["sessions"], 1, "{notes:?}");
        }
    }
    still_works(sandbox());
}
