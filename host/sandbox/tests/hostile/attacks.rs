//! Attacks whose traces are looked at more closely than the containment suite does.

use std::sync::Arc;

use arrow_array::types::UInt8Type;
use arrow_array::{Array as _, ArrayRef, DictionaryArray, RecordBatch};
use arrow_schema::{Field, Schema};
use odibi_run::MemoryBudget;
use odibi_run::memory::Holder;
use odibi_run::port::{Cancel, SessionContext};
use odibi_story::failure::FailureClass;

use odibi_sandbox::{Limits, Options, Sandbox};

use crate::{
    component, context, limits, options, resolve, run, sandbox, scratch, still_works, table,
};

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
fn refused_growth_is_in_the_ledger() {
    let done = run(sandbox(), "memory", &[table(1)]);
    assert!(
        done.ledger.growths_refused > 0 && done.ledger.memory_bytes_peak <= 96 << 20,
        "{:?}",
        done.ledger
    );
    still_works(sandbox());
}

#[test]
fn a_leak_in_every_batch_ends_at_the_limit() {
    let done = run(sandbox(), "leak", &vec![table(1); 200]);
    assert_eq!(done.failure().code, "limit/guest-memory");
    let (batches, peak) = (done.ledger.batches_in, done.ledger.memory_bytes_peak);
    assert!((80..96).contains(&batches), "{:?}", done.ledger);
    assert!((90 << 20..=96 << 20).contains(&peak), "{:?}", done.ledger);
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
fn sound_batches_without_end_are_held_against_the_memory_of_the_run() {
    let operation = resolve(sandbox(), None, "copy_forever").unwrap();
    let input = table(2_000);
    let plan = operation.plan(&serde_json::Value::Null, &[input.schema()]);
    let memory = MemoryBudget::new(32 << 20);
    let context = SessionContext {
        memory: memory.clone(),
        ..context(Cancel::default())
    };
    let mut session = operation.open(&Arc::new(plan.unwrap()), &context).unwrap();
    let mut out = Vec::new();
    let failure = session.process(0, &input, &mut out).unwrap_err();
    assert_eq!(failure.code, "limit/run-memory", "{failure}");
    assert!(out.is_empty());
    drop(session);
    assert_eq!(memory.held(Holder::Guests), 0);
}

#[test]
fn a_dictionary_key_past_the_end_is_refused() {
    let column: DictionaryArray<UInt8Type> = ["x", "y"].into_iter().collect();
    let schema = Schema::new(vec![Field::new("d", column.data_type().clone(), true)]);
    let input = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column) as ArrayRef]).unwrap();
    check_on(sandbox(), &input, "dictionary_key", "contract/ipc", "200");
}

#[test]
fn a_failed_session_stays_failed() {
    let operation = resolve(sandbox(), None, "panic").unwrap();
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

#[test]
fn text_that_plays_tricks_is_said_plainly() {
    let done = run(sandbox(), "tricks", &[table(1)]);
    assert_eq!(done.batches().len(), 1);
    let trick = r#"]0;t[2J  {"event":"run_finished"}31m"#;
    let said: Vec<(&str, &str)> = done
        .notes
        .iter()
        .map(|n| (n.kind.as_str(), n.text.as_str()))
        .collect();
    let expect = [
        ("warn", format!("{trick} {trick}={trick}")),
        (trick, trick.to_owned()),
        ("counter", format!("{trick}=1")),
        ("gauge", format!("{trick}=NaN")),
    ];
    for (kind, text) in &expect {
        assert!(said.contains(&(*kind, text.as_str())), "{kind}: {said:?}");
    }
    assert!(!format!("{said:?}").contains("\\u{"), "{said:?}");
}

#[test]
fn a_plan_cannot_be_left_to_chance() {
    let operation = resolve(sandbox(), None, "plan_random").unwrap();
    let plan = || {
        let plan = operation.plan(&serde_json::Value::Null, &[table(1).schema()]);
        plan.unwrap().output
    };
    let first = plan();
    // Time, randomness, addresses: the name of its only column is made of them.
    assert!(first.field(0).name().contains("SystemTime"), "{first}");
    assert!((0..10).all(|_| plan() == first));
}

#[test]
fn a_known_manifest_does_not_make_an_operation() {
    let lie =
        r#"{"name":"odibi-hostile","version":"9","operations":[{"name":"ghost"},{"name":"copy"}]}"#;
    let mut options = options(component().to_vec(), Some(scratch().join("store")));
    options.first_party[0].manifest = Some(lie.to_owned());
    let sandbox = Sandbox::new(options).unwrap();
    let failure = resolve(&sandbox, None, "ghost").err().unwrap();
    assert_eq!(failure.code, "plugin/missing", "{failure}");
    // What the component itself says counts as soon as it runs.
    let copy = resolve(&sandbox, None, "copy").unwrap();
    assert_eq!(copy.identity().version, "0.1.0");
}
