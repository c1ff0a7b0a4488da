//! The metered engine: a count of work that is equal in every run, beside the fast engine in one store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow_array::RecordBatch;
use odibi_sandbox::Sandbox;
use odibi_story::event::ComponentOrigin;

use crate::{component, options, resolve, run, sandbox, scratch, table};

fn store() -> PathBuf {
    scratch().join("store-metered")
}

fn metered() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::metered(options(component().to_vec(), Some(store()))).unwrap())
}

#[track_caller]
fn work(sandbox: &Sandbox, operation: &str, batches: &[RecordBatch]) -> u64 {
    let done = run(sandbox, operation, batches);
    let _ = done.batches();
    done.ledger.work.expect("a metered engine counts")
}

#[test]
fn work_is_equal_in_every_run_and_the_rows_are_those_of_the_fast_engine() {
    let batches = [table(1_000), table(1), table(70_000)];
    for operation in ["identity", "copy", "same_rows", "picked", "kept", "count"] {
        let (fast, counted) = (
            run(sandbox(), operation, &batches),
            run(metered(), operation, &batches),
        );
        assert_eq!(fast.batches(), counted.batches(), "{operation}");
        assert_eq!(fast.ledger.work, None, "{operation}");
        let first = counted.ledger.work.expect("a metered engine counts");
        assert!(first > 10_000, "{operation}: {first}");
        assert_eq!(work(metered(), operation, &batches), first, "{operation}");
    }
}

#[test]
fn work_is_equal_however_busy_the_machine_is() {
    let batches = [table(10_000), table(5_000)];
    let alone = work(metered(), "copy", &batches);
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let one = || work(metered(), "copy", &batches);
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(counts, [alone; 6]);
}

#[test]
fn work_follows_the_rows_and_the_batches_they_come_in() {
    let whole = work(metered(), "copy", &[table(2_000)]);
    let more = work(metered(), "copy", &[table(20_000)]);
    let cut = work(metered(), "copy", &vec![table(1_000); 2]);
    assert!(more > whole, "{more} for ten times the rows of {whole}");
    assert!(cut > whole, "{cut} in two batches, {whole} in one");
}

#[test]
fn a_metered_guest_is_stopped_by_limits_and_not_by_fuel() {
    let impatient = || {
        let mut options = options(component().to_vec(), Some(store()));
        options.limits.call_cpu_ms_max = 250;
        Sandbox::metered(options).unwrap()
    };
    let sandbox = impatient();
    let stopped = || {
        let done = run(&sandbox, "spin_in_process", &[table(10)]);
        assert_eq!(done.failure().code, "limit/guest-cpu");
        done.ledger.work.expect("a metered engine counts")
    };
    // When it is stopped differs; what it did before that call does not.
    assert_eq!(stopped(), stopped());
    assert!(work(&sandbox, "copy", &[table(10)]) > 0);
}

#[test]
fn artifacts_of_both_engines_lie_side_by_side_and_neither_stands_in_for_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let origin = |start: &dyn Fn() -> Sandbox| {
        let operation = resolve(&start(), None, "copy").unwrap();
        operation.origin().unwrap()
    };
    let fast = || Sandbox::new(options(component().to_vec(), Some(store.clone()))).unwrap();
    let slow = || Sandbox::metered(options(component().to_vec(), Some(store.clone()))).unwrap();
    assert!(matches!(
        origin(&fast),
        ComponentOrigin::Compiled { compile_ms } if compile_ms > 0
    ));
    assert!(matches!(origin(&slow), ComponentOrigin::Compiled { .. }));
    assert_eq!(origin(&fast), ComponentOrigin::Stored);
    assert_eq!(origin(&slow), ComponentOrigin::Stored);
    assert_eq!(artifacts(&store), 2);
    assert_eq!(run(&fast(), "copy", &[table(3)]).ledger.work, None);
    assert!(work(&slow(), "copy", &[table(3)]) > 0);
}

#[test]
fn the_first_step_that_uses_a_component_carries_its_loading() {
    let sandbox = Sandbox::new(options(component().to_vec(), None)).unwrap();
    let first = resolve(&sandbox, None, "copy").unwrap().origin();
    let second = resolve(&sandbox, None, "count").unwrap().origin();
    assert!(
        matches!(first, Some(ComponentOrigin::Compiled { .. })),
        "{first:?}"
    );
    assert_eq!(second, Some(ComponentOrigin::Loaded));
}

fn artifacts(store: &Path) -> usize {
    fs::read_dir(store)
        .unwrap()
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "cwasm"))
        .count()
}
