//! One holder at a time, whatever becomes of it.

use std::sync::atomic::{AtomicU32, Ordering};

use odibi_run::port::{BatchLog as _, BatchState};
use rustix::process::Signal;

use super::*;
use crate::testing::{Other, at, batches, lease, open, record, request};

#[test]
fn lease_is_held_once_and_says_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let held = lease(&db, "first");
    let holder = db.lease(&request("second")).unwrap().unwrap_err();
    assert_eq!(
        holder,
        Holder {
            pipeline: "orders".to_owned(),
            run_id: "first".to_owned(),
            pid: std::process::id(),
            host: None,
            since: at(0),
            is_silent: false,
            pause_ms: PAUSE_MS,
        }
    );
    let message = holder.failure().message;
    let expect = format!(
        "pipeline `orders` is being run by run first (process {}, since 2027-01-15 08:00:00 UTC)",
        std::process::id()
    );
    assert_eq!(message, expect);
    let other_pipeline = LeaseRequest {
        pipeline: "x",
        ..request("second")
    };
    let other_project = LeaseRequest {
        project: "x",
        ..request("second")
    };
    let others = [other_pipeline, other_project].map(|r| db.lease(&r).unwrap().unwrap());
    assert_eq!(others.map(|l| l.epoch()), [1, 1]);
    drop(held);
    assert_eq!(lease(&db, "second").epoch(), 2);
    let left = std::fs::read_dir(dir.path().join(DIRECTORY))
        .unwrap()
        .count();
    assert_eq!(left, 0, "locks are removed with their leases");
}

#[test]
fn of_many_at_once_one_holds_it_and_epochs_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    let holders = AtomicU32::new(0);
    let one = |thread: usize| {
        let db = open(dir.path());
        let (mut epochs, mut id) = (Vec::new(), 0);
        while epochs.len() < 10 {
            id += 1;
            let run_id = format!("{thread}-{id}");
            if let Ok(held) = db.lease(&request(&run_id)).unwrap() {
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                epochs.push(held.epoch());
                assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
            }
        }
        epochs
    };
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|t| scope.spawn(move || one(t))).collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    assert_eq!(all, (1..=40).collect::<Vec<u64>>());
}

#[test]
fn killed_holder_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for round in 1..=10 {
        let mut other = Other::start("commit-forever", dir.path());
        let _ = other.hear();
        let holder = db.lease(&request("late")).unwrap().unwrap_err();
        assert_ne!(holder.pid, std::process::id());
        let _ = other.kill();
        assert_eq!(lease(&db, "late").epoch(), 2 * round);
    }
}

/// A process that is stopped, whose work another one takes over and finishes: what it does when it goes on is refused.
#[test]
fn stopped_holder_that_was_taken_over_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let state = dir.path().join(round.to_string());
        let mut zombie = Other::start("hold", &state);
        assert_eq!(zombie.hear(), "held");
        zombie.signal(Signal::STOP);
        let db = open(&state);
        assert!(db.lease(&request("second")).unwrap().is_err());
        let over = LeaseRequest {
            take_over: true,
            ..request("second")
        };
        let held = db.lease(&over).unwrap().unwrap();
        assert_eq!(held.epoch(), 2);
        // What the stopped one has written is gone on with.
        let last = db.interrupted("shop", None, ["orders"]).unwrap();
        assert_eq!(last["orders"].slot, "zombie");
        let log = batches(&db, "second", &held);
        let target = "lake:orders.parquet";
        assert_eq!(log.pending(target).unwrap().len(), 1);
        log.staged(&record("second", "early")).unwrap();
        log.committed(target, "early").unwrap();
        zombie.signal(Signal::CONT);
        zombie.tell();
        assert_eq!(zombie.hear(), "state/lease-lost state/lease-lost");
        let early = log.find(target, "early").unwrap().unwrap();
        assert_eq!(
            (early.run_id.as_str(), early.state),
            ("second", BatchState::Committed)
        );
        assert_eq!(log.find(target, "late"), Ok(None));
        assert!(
            db.lease(&request("third")).unwrap().is_err(),
            "it is still held"
        );
        zombie.tell();
        zombie.wait();
        assert!(
            db.lease(&request("third")).unwrap().is_err(),
            "by the second"
        );
    }
}
