//! Each limit that a project may set holds where it is set, and says so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::RecordBatch;
use odibi_plan::guest_limits::{GuestLimit, GuestLimits};
use odibi_sandbox::{Options, Sandbox};
use serde_json::json;

use crate::{Done, component, options, resolve, run_under, sandbox, still_works, table};

/// Odd, so that `picked` turns the rows around and the host has to gather them.
const ROWS: i64 = 2_001;

/// Runs the operation on one batch with one limit set.
fn run(limit: GuestLimit, value: u64, operation: &str) -> Done {
    let set = GuestLimits::from_iter([(limit, value)]);
    let params = match operation.split_once('@') {
        Some(_) => json!(operation),
        None => json!({}),
    };
    let operation = operation.split_once('@').map_or(operation, |_| "attack");
    run_under(sandbox(), &set, operation, &params, &[table(ROWS)])
}

/// How it must show that a limit holds.
#[derive(Debug)]
enum Expect {
    /// A failure that calls it so.
    Fails(&'static str),
    /// The batch is cut into this many at least.
    Cuts(u64),
    /// This many lines are kept, of this many bytes each, and the rest is counted.
    Drops(usize, usize),
}
use Expect::{Cuts, Drops, Fails};

fn cases() -> Vec<(GuestLimit, u64, &'static str, Expect)> {
    use GuestLimit as L;
    vec![
        (L::Memory, 8 << 20, "memory", Fails("guest-memory")),
        (L::Cpu, 50, "spin_in_process", Fails("guest-cpu")),
        (L::Wall, 50, "spin_in_process", Fails("guest-wall")),
        (L::InputRows, 600, "copy", Cuts(4)),
        (L::InputBytes, 10_000, "copy", Cuts(4)),
        (L::BatchOutput, 1 << 10, "copy", Fails("batch-output")),
        (L::BatchRows, 2_000, "copy", Fails("batch-rows")),
        (L::Output, 100_000, "copy_forever", Fails("output")),
        (
            L::TotalOutput,
            100_000,
            "copy_forever",
            Fails("total-output"),
        ),
        (L::OutputRows, 10_000, "copy_forever", Fails("output-rows")),
        (L::Emits, 10, "copy_forever", Fails("emits")),
        (L::Gathered, 1 << 10, "picked", Fails("gathered")),
        (L::Columns, 1, "copy", Fails("plan-columns")),
        (L::Schema, 64, "copy", Fails("plan-schema")),
        (L::State, 6, "copy", Fails("plan-state")),
        (L::TableElements, 1, "copy", Fails("guest-table")),
        (L::Handles, 8, "handles@process", Fails("guest-handles")),
        (L::LogLines, 10, "log_flood", Drops(10, 10)),
        (L::LogBytes, 12, "log_flood", Drops(2, 6)),
        (L::LogLine, 4, "log_flood", Drops(1_000, 4)),
        (L::Metrics, 3, "metric_flood", Drops(3, 40)),
        (L::Random, 8, "random_flood@process", Fails("random")),
    ]
}

#[track_caller]
fn check(limit: GuestLimit, value: u64, operation: &str, expect: &Expect) {
    let key = limit.spec().key;
    let done = run(limit, value, operation);
    match *expect {
        Fails(which) => {
            let failure = done.result.as_ref().expect_err(key);
            let reached = failure.limit.as_ref();
            assert_eq!(
                reached.map(|l| (l.which.as_str(), l.limit, l.asked > value)),
                Some((which, value, true)),
                "{key}: {failure}"
            );
            assert!(failure.message.contains(&format!("`{key}`")), "{failure}");
        }
        Cuts(batches) => {
            let rows: usize = done.batches().iter().map(RecordBatch::num_rows).sum();
            assert!(
                rows as i64 == ROWS && done.ledger.batches_in >= batches,
                "{key}: {:?}",
                done.ledger
            );
        }
        Drops(lines, bytes) => {
            assert_eq!(done.batches().len(), 1);
            assert_eq!(done.notes.len(), lines, "{key}");
            let longest = done.notes.iter().map(|n| n.text.len()).max();
            assert!(longest <= Some(bytes), "{key}: {longest:?}");
            assert!(done.ledger.log_lines_dropped > 0, "{key}");
        }
    }
}

#[test]
fn each_limit_bites_where_it_is_set_and_names_itself() {
    let cases = cases();
    for (limit, value, operation, expect) in &cases {
        check(*limit, *value, operation, expect);
    }
    let tried: Vec<GuestLimit> = cases.iter().map(|(limit, ..)| *limit).collect();
    assert_eq!(tried, GuestLimit::ALL, "a limit has no case");
    still_works(sandbox());
}

#[test]
fn a_limit_can_be_raised_as_well() {
    let run = |rows: u64| run(GuestLimit::LogLines, rows, "log_flood").notes.len();
    assert_eq!((run(1_000), run(2_000)), (1_000, 2_000));
}

/// A component asks for its memory before it says anything of itself.
#[test]
fn limits_of_a_plugin_hold_when_it_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("evil.wasm"), component()).unwrap();
    let load = |memory: u64| {
        let limits = GuestLimits::from_iter([(GuestLimit::Memory, memory)]);
        let sandbox = Sandbox::new(Options {
            project_dir: dir.path().to_owned(),
            first_party: Vec::new(),
            plugins: BTreeMap::from([("evil".to_owned(), PathBuf::from("evil.wasm"))]),
            plugin_limits: BTreeMap::from([("evil".to_owned(), limits)]),
            ..options(component().to_vec(), None)
        });
        resolve(&sandbox.unwrap(), Some("evil"), "copy").map(drop)
    };
    let refused = load(64 << 10).unwrap_err();
    assert_eq!(refused.code, "limit/guest-memory", "{refused}");
    assert_eq!(refused.limit.map(|l| l.limit), Some(64 << 10));
    assert!(load(16 << 20).is_ok());
}
