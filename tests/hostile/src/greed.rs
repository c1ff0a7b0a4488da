//! Too much of everything: memory, output, log lines, messages.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{ArrayRef, NullArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

use crate::honest::whole_plan;
use crate::{Columns, Failure, FailureKind, NodePlan, Origin, Retry, emit, failure, report, wire};

pub const OPERATIONS: &[&str] = &[
    "memory",
    "memory_politely",
    "memory_in_plan",
    "leak",
    "log_flood",
    "stderr_flood",
    "note_flood",
    "metric_flood",
    "huge_log",
    "huge_message",
    "batch_output",
    "output_flood",
    "emit_flood",
    "part_flood",
    "list_flood",
    "ansi",
    "tricks",
    "null_rows",
    "null_rows_forever",
    "retry_now",
    "retry_late",
];

pub fn plan(operation: &str) {
    if operation == "memory_in_plan" {
        memory();
    }
}

pub fn process(operation: &str) -> Result<(), Failure> {
    match operation {
        "memory" => memory(),
        "memory_politely" => {
            let mut much: Vec<u8> = Vec::new();
            if much.try_reserve_exact(3 << 30).is_err() {
                return Err(failure(FailureKind::Internal, "there is not enough memory"));
            }
        }
        // Honest but for what it never gives back.
        "leak" => {
            black_box(vec![1_u8; 1 << 20].leak());
        }
        "log_flood" => {
            (0..100_000).for_each(|i| report::log(report::Level::Debug, &format!("line {i}"), &[]))
        }
        "stderr_flood" => (0..100_000).for_each(|i| eprintln!("line {i}")),
        "note_flood" => (0..100_000).for_each(|_| report::note("flood", "{}")),
        "metric_flood" => (0..10_000).for_each(|i| report::count(&format!("metric {i}"), u64::MAX)),
        "huge_log" => report::log(
            report::Level::Error,
            &"x".repeat(32 << 20),
            &[("field", &"y".repeat(32 << 20))],
        ),
        "huge_message" => {
            return Err(Failure {
                retry: Retry::FreshInstance,
                ..failure(FailureKind::Data, &"z".repeat(32 << 20))
            });
        }
        "ansi" => {
            return Err(failure(
                FailureKind::Data,
                "\u{1b}]0;title\u{7}\u{1b}[2Jrow\r\n\u{202e}::error::fake",
            ));
        }
        "tricks" => {
            let trick =
                "\u{1b}]0;t\u{7}\u{1b}[2J\r\n\u{202e}{\"event\":\"run_finished\"}\0\u{9b}31m";
            report::log(report::Level::Warn, trick, &[(trick, trick)]);
            report::note(trick, trick);
            report::count(trick, 1);
            report::gauge(trick, f64::NAN);
            eprintln!("{trick}");
            println!("{trick}");
        }
        // Rows without a byte.
        "null_rows" => drop(emit(0, &[&nulls(1_000_000_000)], Origin::Fresh)),
        "null_rows_forever" => {
            let many = nulls(1 << 20);
            while emit(0, &[&many], Origin::Fresh).is_ok() {}
        }
        "retry_now" | "retry_late" => {
            let ms = if operation == "retry_now" {
                0
            } else {
                u32::MAX
            };
            return Err(Failure {
                retry: Retry::After(ms),
                ..failure(FailureKind::Transient, "come again")
            });
        }
        "batch_output" => {
            let chunk = vec![0_u8; 1 << 20];
            let parts: Vec<&[u8]> = (0..65).map(|_| chunk.as_slice()).collect();
            let _ = emit(0, &parts, Origin::Fresh);
        }
        "output_flood" => {
            // The host may refuse each, but must stop counting somewhere.
            let chunk = vec![0_u8; 32 << 20];
            (0..1_000).for_each(|_| {
                let _ = emit(0, &[&chunk], Origin::Fresh);
            });
        }
        "emit_flood" => loop {
            let _ = emit(0, &[], Origin::SameRows);
        },
        "part_flood" => {
            let parts: Vec<&[u8]> = vec![&[]; 100_000];
            let _ = emit(0, &parts, Origin::Fresh);
        }
        "list_flood" => {
            let parts: Vec<&[u8]> = vec![&[]; 5_000_000];
            let _ = emit(0, &parts, Origin::Fresh);
        }
        _ => {}
    }
    Ok(())
}

pub fn null_plan(input: &Schema) -> NodePlan {
    let output = Schema::new(vec![Field::new("n", DataType::Null, true)]);
    whole_plan(input, &output, Columns::All, 0)
}

fn nulls(rows: usize) -> Vec<u8> {
    let column = Arc::new(NullArray::new(rows)) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([("n", column, true)]);
    wire::encode(&batch.expect("one column"))
}

/// Grows until the host refuses, and then aborts, as Rust does.
pub fn memory() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; 1 << 20]);
        black_box(&held);
    }
}
