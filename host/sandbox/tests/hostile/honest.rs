//! Honest sessions: every origin, several batches, types of all kinds, the books, and determinism.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float64Array, Int64Array, ListArray, NullArray, RecordBatch, StringArray, StringViewArray,
    StructArray, UInt32Array,
};
use arrow_schema::{Field, Schema};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use odibi_sandbox::{Limits, Sandbox};
use odibi_story::failure::TextSpan;
use serde_json::json;

use crate::{component, options, run, sandbox, scratch, table};

#[test]
fn identity_gives_back_the_hosts_own_buffers() {
    let input = table(1_000);
    let done = run(sandbox(), "identity", std::slice::from_ref(&input));
    let [output] = done.batches() else {
        panic!("one batch")
    };
    assert_eq!(*output, input);
    for (a, b) in output.columns().iter().zip(input.columns()) {
        assert!(Arc::ptr_eq(a, b), "a passed column was copied");
    }
    assert!(
        done.ledger.bytes_in < 500,
        "columns that are not needed entered the sandbox: {:?}",
        done.ledger
    );
    assert_eq!(done.ledger.bytes_out, 0);
}

#[test]
fn copy_sends_every_row_through_the_gate() {
    let batches = [table(1_000), table(1), table(70_000)];
    let done = run(sandbox(), "copy", &batches);
    let schema = batches[0].schema();
    assert_eq!(
        concat_batches(&schema, done.batches()).unwrap(),
        concat_batches(&schema, &batches).unwrap()
    );
    // The last batch is over the size that is sent at once, four times.
    assert_eq!((done.ledger.batches_in, done.ledger.emits), (6, 6));
    assert_eq!(
        (done.ledger.rows_in, done.ledger.rows_out),
        (71_001, 71_001)
    );
    assert!(
        done.ledger.guest_cpu_ns > 0
            && done.ledger.encode_cpu_ns > 0
            && done.ledger.decode_cpu_ns > 0
            && done.ledger.exchange_cpu_ns == done.ledger.encode_cpu_ns + done.ledger.decode_cpu_ns,
        "{:?}",
        done.ledger
    );
    assert!(
        done.ledger.memory_bytes_peak > 1 << 20 && done.ledger.memory_bytes_max == 96 << 20,
        "{:?}",
        done.ledger
    );
}

#[test]
fn picked_rows_are_taken_from_the_hosts_columns() {
    for (rows, picked) in [(6, vec![0, 2, 4]), (5, vec![4, 2, 0])] {
        let input = table(rows);
        let done = run(sandbox(), "picked", std::slice::from_ref(&input));
        let expect = take_record_batch(&input, &UInt32Array::from(picked)).unwrap();
        assert_eq!(done.batches(), [expect]);
    }
}

#[test]
fn kept_rows_are_filtered_from_the_hosts_columns() {
    for rows in [0, 1, 2, 3, 8, 9, 64, 65, 70_001] {
        let input = table(rows);
        let done = run(sandbox(), "kept", std::slice::from_ref(&input));
        let kept: UInt32Array = (1..u32::try_from(rows).unwrap()).step_by(2).collect();
        let kept = take_record_batch(&input, &kept).unwrap();
        let output = concat_batches(&done.plan.as_ref().unwrap().output, done.batches()).unwrap();
        assert_eq!(output.columns()[..2], *kept.columns(), "{rows}");
        let doubled: Int64Array = kept.column(0).as_primitive::<Int64Type>().unary(|n| n * 2);
        assert_eq!(output.column(2).as_primitive(), &doubled, "{rows}");
    }
}

#[test]
fn same_rows_join_computed_and_passed_columns() {
    let input = table(100);
    let done = run(sandbox(), "same_rows", std::slice::from_ref(&input));
    let [output] = done.batches() else {
        panic!("one batch")
    };
    assert_eq!(output.columns()[..2], *input.columns());
    let doubled: Vec<i64> = output
        .column(2)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    assert_eq!(doubled, (0..100).map(|i| i * 2).collect::<Vec<_>>());
}

#[test]
fn count_emits_at_the_end_and_gives_a_summary() {
    let done = run(sandbox(), "count", &[table(7), table(8)]);
    let [output] = done.batches() else {
        panic!("one batch")
    };
    assert_eq!(
        output.column(0).as_primitive::<Int64Type>().values()[..],
        [15]
    );
    assert_eq!(
        done.result.as_ref().unwrap().1,
        Some(json!({"rows": 15, "batches": 2}))
    );
}

#[test]
fn columns_of_many_types_survive_the_way_in_and_out() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let inner = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "float",
            Arc::new(Float64Array::from(vec![f64::NAN, -0.0, f64::INFINITY])),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(19_782), None, Some(-1)])),
        ),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![1, -2, 3])
                    .with_precision_and_scale(20, 4)
                    .unwrap(),
            ),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
        ),
        (
            "view",
            Arc::new(StringViewArray::from(vec![
                Some("short"),
                None,
                Some("a text too long to be inlined"),
            ])),
        ),
        (
            "words",
            Arc::new(
                ["a", "b", "a"]
                    .into_iter()
                    .collect::<DictionaryArray<Int8Type>>(),
            ),
        ),
        ("list", Arc::new(list)),
        (
            "nested",
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("x", inner.data_type().clone(), true)),
                inner,
            )])),
        ),
        ("nothing", Arc::new(NullArray::new(3))),
    ];
    let input =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
            .unwrap();
    let done = run(sandbox(), "copy", std::slice::from_ref(&input));
    let [output] = done.batches() else {
        panic!("one batch")
    };
    assert_eq!(format!("{output:?}"), format!("{input:?}"));
}

#[test]
fn dictionaries_are_kept_and_replaced_between_batches() {
    let batch = |words: &[&str]| {
        let column: DictionaryArray<Int8Type> = words.iter().copied().collect();
        let schema = Schema::new(vec![Field::new("d", column.data_type().clone(), true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column) as ArrayRef]).unwrap()
    };
    // The second brings no dictionary of its own, the third another one.
    let first = batch(&["a", "b"]);
    let batches = [first.clone(), first.slice(1, 1), batch(&["c", "a", "c"])];
    for operation in ["copy", "alternating"] {
        let done = run(sandbox(), operation, &batches);
        let words = |batches: &[RecordBatch]| batches.iter().map(words).collect::<Vec<_>>();
        assert_eq!(words(done.batches()), words(&batches), "{operation}");
    }
}

fn words(batch: &RecordBatch) -> Vec<String> {
    let column = batch.column(0).as_dictionary::<Int8Type>();
    let typed = column.downcast_dict::<StringArray>().unwrap();
    typed.into_iter().flatten().map(str::to_owned).collect()
}

#[test]
fn a_table_without_rows_or_columns_is_no_trouble() {
    let empty = table(0);
    assert_eq!(
        run(sandbox(), "copy", std::slice::from_ref(&empty)).batches(),
        []
    );
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(5));
    let bare =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let done = run(sandbox(), "copy", std::slice::from_ref(&bare));
    assert_eq!(
        done.batches()
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        5
    );
}

#[test]
fn wide_rows_are_cut_into_smaller_batches() {
    let wide = Limits {
        input_bytes_max: 10_000,
        memory_bytes_max: 96 << 20,
        ..Limits::default()
    };
    let options = crate::Options {
        limits: wide,
        ..options(component().to_vec(), Some(scratch().join("store")))
    };
    let input = table(2_000);
    let done = run(
        &Sandbox::new(options).unwrap(),
        "copy",
        std::slice::from_ref(&input),
    );
    assert!(done.ledger.batches_in >= 4, "{:?}", done.ledger);
    assert_eq!(
        concat_batches(&input.schema(), done.batches()).unwrap(),
        input
    );
}

#[test]
fn batches_larger_than_the_cache_cross_in_parts_unless_their_rows_share_bytes() {
    let rows = 60_000;
    let long = |row| format!("a text that is longer than a view: {row}");
    let views: StringViewArray = (0..rows).map(|row| Some(long(row))).collect();
    let words = StringArray::from_iter_values((0..30_000).map(long));
    let keys = (0..rows).map(|row| Some(i32::try_from(row % 30_000).unwrap()));
    let keyed = DictionaryArray::<Int32Type>::new(keys.collect(), Arc::new(words));
    let one = |column: ArrayRef| RecordBatch::try_from_iter([("c", column)]).unwrap();
    for (input, calls) in [
        (table(15_000), 1),
        (table(30_000), 2),
        (table(rows), 3),
        (one(Arc::new(views)), 1),
        (one(Arc::new(keyed)), 1),
    ] {
        let done = run(sandbox(), "copy", std::slice::from_ref(&input));
        let schema = input.schema();
        assert_eq!(done.ledger.batches_in, calls, "{schema}");
        assert_eq!(concat_batches(&schema, done.batches()).unwrap(), input);
    }
    // A column of 8 bytes that is read, and one that is made of it.
    for (rows, calls) in [(100_000, 2), (60_000, 1)] {
        let done = run(sandbox(), "same_rows", &[table(rows)]);
        assert_eq!(done.ledger.batches_in, calls);
    }
}

#[test]
fn a_message_that_is_sent_back_is_the_hosts_own_batch() {
    let inputs = [table(1_000), table(100)];
    let done = run(sandbox(), "returned", &inputs);
    assert_eq!(done.batches(), inputs);
    let columns = |batches: &[RecordBatch]| {
        let columns = batches.iter().flat_map(|batch| batch.columns().to_vec());
        columns.collect::<Vec<_>>()
    };
    for (a, b) in columns(done.batches()).iter().zip(columns(&inputs)) {
        assert!(Arc::ptr_eq(a, &b), "a column that came back was copied");
    }
    assert_eq!(done.ledger.bytes_in, done.ledger.bytes_out);
}

#[test]
fn the_guests_world_is_empty_and_the_same_each_time() {
    let (first, second) = (
        run(sandbox(), "environment", &[table(1)]),
        run(sandbox(), "environment", &[table(1)]),
    );
    assert_eq!(first.notes, second.notes);
    let texts: Vec<&str> = first.notes.iter().map(|n| n.text.as_str()).collect();
    assert_eq!(
        texts[..7],
        [
            "variables value=0",
            "arguments value=0",
            "stdin value=Ok(0)",
            "time value=1709210096789",
            "slept value=3600",
            "thread value=Err(Unsupported)",
            r#"directory value=Ok("/")"#,
        ]
    );
    assert!(texts.contains(&"logical value=1709210096789"), "{texts:?}");
    let kinds: Vec<&str> = first.notes.iter().map(|n| n.kind.as_str()).collect();
    assert_eq!(
        kinds[10..],
        ["stdout", "stderr", "finding", "counter", "gauge"],
        "{texts:?}"
    );
    assert_eq!(
        texts[10..],
        [
            "a line on stdout",
            "a line on stderr",
            r#"{"a":1}"#,
            "honest=5",
            "level=0.5"
        ]
    );
}

#[test]
fn what_a_plugin_reports_reaches_the_person() {
    let done = run(sandbox(), "refuses", &[table(1)]);
    let failure = done.failure();
    assert_eq!(failure.code, "guest/params");
    assert_eq!(
        failure.message,
        r#"[31mno such column[0m in {"column":"x"}"#
    );
    assert_eq!(
        (failure.param.as_deref(), failure.retry_after_ms),
        (Some("/column"), Some(1_500))
    );
    // `x`, of which the plugin says that 99 bytes are to blame.
    assert_eq!(failure.span, Some(TextSpan { start: 0, end: 1 }));
    assert_eq!(failure.causes, ["the plugin's code: no-such-column"]);
}
