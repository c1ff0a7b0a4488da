//! Each attack, and the class and code it ends with.

use std::sync::Arc;

use arrow_array::types::UInt8Type;
use arrow_array::{Array as _, ArrayRef, DictionaryArray, RecordBatch};
use arrow_schema::{Field, Schema};
use odibi_run::port::Cancel;
use odibi_story::failure::FailureClass;

use odibi_sandbox::{Limits, Options, Sandbox};

use crate::{
    component, context, drive, impatient, limits, options, resolve, run, sandbox, scratch,
    still_works, table,
};

/// Runs an attack on an ordinary table.
#[track_caller]
fn check(operation: &str, code: &str, word: &str) {
    check_on(sandbox(), &table(10), operation, code, word);
}

#[track_caller]
fn check_on(sandbox: &Sandbox, input: &RecordBatch, operation: &str, code: &str, word: &str) {
    let done = run(sandbox, operation, std::slice::from_ref(input));
    let failure = done.failure();
    let said = format!("{failure} {:?}", failure.causes);
    assert_eq!(failure.code, code, "{operation}: {said}");
    assert_eq!(
        failure.class.word(),
        code.split('/').next().unwrap(),
        "{operation}"
    );
    assert!(
        said.contains(word),
        "{operation}: `{word}` is not in: {said}"
    );
    assert!(!said.chars().any(char::is_control), "{operation}: {said:?}");
    assert_eq!(
        failure.limit.is_some(),
        failure.class == FailureClass::Limit,
        "{operation}"
    );
}

#[test]
fn crashes_are_traps() {
    check(
        "panic",
        "trap/unreachable",
        "the guest panics with [31mcolour",
    );
    check("unreachable", "trap/unreachable", "function");
    check("exit_zero", "trap/exit", "success");
    check("exit_one", "trap/exit", "failure");
    check("recursion", "trap/stack-overflow", "stack");
    check("out_of_bounds", "trap/memory-out-of-bounds", "outside");
    check("null_call", "trap/other", "table");
    check(
        "panic_in_plan",
        "trap/unreachable",
        "a panic while planning",
    );
    still_works(sandbox());
}

#[test]
fn endless_loops_are_stopped_wherever_they_are() {
    for place in ["plan", "open", "process", "drain", "finish", "host_calls"] {
        check_on(
            impatient(),
            &table(10),
            &format!("spin_in_{place}"),
            "limit/guest-cpu",
            "CPU time",
        );
    }
    still_works(impatient());
}

#[test]
fn memory_is_capped_and_the_cap_is_named() {
    check("memory", "limit/guest-memory", "memory");
    check("memory_in_plan", "limit/guest-memory", "memory");
    // A guest that takes no for an answer reports its own failure.
    check("memory_politely", "guest/failed", "not enough memory");
    let done = run(sandbox(), "memory", &[table(1)]);
    assert!(
        done.ledger.growths_refused > 0 && done.ledger.memory_bytes_peak <= 96 << 20,
        "{:?}",
        done.ledger
    );
    still_works(sandbox());
}

#[test]
fn floods_of_text_are_counted_and_dropped() {
    for (operation, lines, dropped) in [
        ("log_flood", 1_000, 99_000),
        ("stderr_flood", 1_000, 99_000),
        ("note_flood", 1_000, 99_000),
    ] {
        let done = run(sandbox(), operation, &[table(10)]);
        assert_eq!(done.batches().len(), 1, "{operation}");
        assert_eq!(
            (done.notes.len(), done.ledger.log_lines_dropped),
            (lines, dropped),
            "{operation}"
        );
    }
    let done = run(sandbox(), "metric_flood", &[table(10)]);
    assert_eq!(
        (done.notes.len(), done.ledger.log_lines_dropped),
        (64, 10_000 - 64)
    );
    let done = run(sandbox(), "huge_log", &[table(10)]);
    assert_eq!(done.notes[0].text.len(), 2 << 10);
    let done = run(sandbox(), "huge_message", &[table(10)]);
    assert_eq!(
        (done.failure().message.len(), done.failure().retry_after_ms),
        (4 << 10, Some(0))
    );
    check("ansi", "guest/data", "]0;title[2Jrow  ::error::fake");
}

#[test]
fn output_is_capped() {
    check("batch_output", "limit/batch-output", "batch");
    check("emit_flood", "contract/ipc", "empty");
    check("part_flood", "contract/ipc", "parts");
    check("list_flood", "limit/batch-output", "data");
    check("output_flood", "contract/ipc", "marker");
    still_works(sandbox());
}

#[test]
fn sound_batches_without_end_are_capped() {
    type Lower = fn(&mut Limits);
    let cases: [(Lower, &str); 4] = [
        (|l| l.call_emits_max = 100, "limit/emits"),
        (|l| l.call_output_bytes_max = 100_000, "limit/output"),
        (|l| l.call_rows_max = 1_000, "limit/output"),
        (|l| l.batch_rows_max = 9, "limit/batch-output"),
    ];
    for (lower, code) in cases {
        let mut limits = limits();
        lower(&mut limits);
        let options = Options {
            limits,
            ..options(component().to_vec(), Some(scratch().join("store")))
        };
        let sandbox = Sandbox::new(options).unwrap();
        check_on(&sandbox, &table(10), "copy_forever", code, "asked for");
    }
}

#[test]
fn plans_that_lie_are_refused() {
    check("plan_need", "contract/plan", "99");
    check("plan_twice", "contract/plan", "twice");
    check("plan_passed_type", "contract/plan", "another type");
    check("plan_no_output", "contract/plan", "one output");
    check("plan_no_input", "contract/plan", "inputs");
    check("plan_state", "limit/plan-size", "plan");
    check("plan_columns", "limit/plan-size", "columns");
    check("plan_bad_schema", "contract/ipc", "length");
    check("plan_big_schema", "limit/plan-size", "plan");
    check("plan_emits", "contract/port", "planning");
    check("plan_utf8", "contract/abi", "utf-8");
}

#[test]
fn rows_and_ports_that_lie_are_refused() {
    check("wrong_schema", "contract/ipc", "");
    check("fewer_columns", "contract/ipc", "empty");
    check("wrong_rows", "contract/rows", "1000000");
    check("picked_outside", "contract/rows", "1073741824");
    check("picked_long", "limit/batch-output", "rows");
    check("unknown_port", "contract/port", "9");
    check("emit_in_open", "contract/port", "outside");
    check("late_same_rows", "contract/rows", "no");
    // The breach counts, whatever the guest says afterwards.
    check("ignores_refusal", "contract/ipc", "cut short");
    check("fails_after_emit", "contract/ipc", "cut short");
    still_works(sandbox());
}

#[test]
fn malformed_bytes_never_get_through() {
    check("empty", "contract/ipc", "empty");
    check("rubbish", "contract/ipc", "marker");
    check("truncated", "contract/ipc", "length");
    check("trailing", "contract/ipc", "marker");
    check("schema_again", "contract/ipc", "in front");
    check("two_batches", "contract/ipc", "in front");
    check("compressed", "contract/ipc", "compressed");
    check("tensor", "contract/ipc", "");
    check("old_version", "contract/ipc", "version");
    check("negative_length", "contract/ipc", "-1");
    check("huge_length", "contract/ipc", "cannot have");
    check("negative_offset", "contract/ipc", "outside");
    check("offset_outside", "contract/ipc", "outside");
    check("misaligned", "contract/ipc", "outside");
    check("overlong_buffer", "contract/ipc", "outside");
    check("many_rows", "limit/batch-output", "rows");
    check("null_count_lie", "contract/schema", "without nulls");
    check("null_in_required", "contract/schema", "without nulls");
    check("fewer_nodes", "contract/ipc", "node");
    check("fewer_buffers", "contract/ipc", "values");
    check("more_buffers", "contract/ipc", "more");
    check("bad_utf8", "contract/ipc", "utf-8");
    check("decreasing_offsets", "contract/ipc", "");
    check("offsets_outside", "contract/ipc", "");
    check("huge_metadata", "contract/ipc", "2147483647");
    check("body_lie", "contract/ipc", "body");
    check("unknown_dictionary", "contract/ipc", "no column");
    still_works(sandbox());
}

#[test]
fn a_dictionary_key_past_the_end_is_refused() {
    let column: DictionaryArray<UInt8Type> = ["x", "y"].into_iter().collect();
    let schema = Schema::new(vec![Field::new("d", column.data_type().clone(), true)]);
    let input = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column) as ArrayRef]).unwrap();
    check_on(sandbox(), &input, "dictionary_key", "contract/ipc", "200");
}

#[test]
fn a_cancelled_run_stops_a_spinning_guest() {
    let operation = resolve(sandbox(), "spin_in_process").unwrap();
    let input = table(10);
    let plan = Arc::new(
        operation
            .plan(&serde_json::Value::Null, &[input.schema()])
            .unwrap(),
    );
    let cancel = Cancel::default();
    let mut session = operation.open(&plan, &context(cancel.clone())).unwrap();
    cancel.cancel();
    let failure = drive(session.as_mut(), &[input]).unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Cancelled, "run/cancelled")
    );
    assert!(
        session.ledger().guest_cpu_ns < 1_000_000_000,
        "{:?}",
        session.ledger()
    );
}

#[test]
fn a_failed_session_stays_failed() {
    let operation = resolve(sandbox(), "panic").unwrap();
    let input = table(10);
    let plan = Arc::new(
        operation
            .plan(&serde_json::Value::Null, &[input.schema()])
            .unwrap(),
    );
    let mut session = operation.open(&plan, &context(Cancel::default())).unwrap();
    let mut out = Vec::new();
    let first = session.process(0, &input, &mut out).unwrap_err();
    assert_eq!(session.finish(&mut out).unwrap_err(), first);
    assert!(out.is_empty());
}
