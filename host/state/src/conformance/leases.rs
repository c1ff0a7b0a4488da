//! Leases and the fence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use odibi_run::port::BatchState;

use super::{Begun, ask, everywhere, id, request, slot, take};
use crate::LeaseRequest;
use crate::testing::{at, record};

const TARGET: &str = "lake:orders.parquet";

#[test]
fn lease_is_held_once_and_says_by_whom() {
    everywhere(|home| {
        let (one, two) = (home.open(), home.open());
        let held = take(&one, "first");
        let holder = ask(&two, "second").unwrap_err();
        assert_eq!(
            (holder.pipeline.as_str(), holder.run_id.as_str()),
            ("orders", "first")
        );
        assert_eq!((holder.pid, holder.since), (std::process::id(), at(0)));
        assert_eq!(holder.failure().code, "state/lease-held");
        let other_project = LeaseRequest {
            project: "x",
            ..request("orders", "second")
        };
        let others = [request("x", "second"), other_project].map(|r| two.lease(&r).unwrap());
        assert_eq!(others.map(|lease| lease.unwrap().epoch()), [1, 1]);
        drop(held);
        assert_eq!(take(&two, "second").epoch(), 2);
    });
}

#[test]
fn of_many_at_once_one_holds_it_and_epochs_only_grow() {
    everywhere(|home| {
        let holders = AtomicU32::new(0);
        let one = |thread: usize| {
            let state = home.open();
            let (mut epochs, mut tries) = (Vec::new(), 0);
            while epochs.len() < 10 {
                tries += 1;
                if let Ok(held) = ask(&state, &format!("{thread}-{tries}")) {
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    epochs.push(held.epoch());
                    assert_eq!(holders.fetch_sub(1, Ordering::SeqCst), 1);
                }
            }
            epochs
        };
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|t| scope.spawn(move || one(t))).collect();
            let epochs = threads.into_iter().map(|t| t.join().unwrap());
            epochs.flatten().collect()
        });
        all.sort_unstable();
        assert_eq!(all, (1..=40).collect::<Vec<u64>>());
    });
}

#[test]
fn who_was_taken_over_writes_nothing_more() {
    everywhere(|home| {
        let (first, second) = (id(1), id(2));
        let zombie = Begun::new(home.open(), &first);
        zombie.log.staged(&record(&first, "early")).unwrap();
        let state = home.open();
        assert!(ask(&state, &second).is_err());
        let over = LeaseRequest {
            take_over: true,
            ..request("orders", &second)
        };
        let lease = state.lease(&over).unwrap().unwrap();
        assert_eq!(lease.epoch(), 2);
        // What the stopped one has written is gone on with.
        assert_eq!(slot(&state).as_deref(), Some(first.as_str()));
        let run = Begun::under(state, lease, &second);
        assert_eq!(run.log.pending(TARGET).unwrap().len(), 1);
        run.log.staged(&record(&second, "early")).unwrap();
        run.log.committed(TARGET, "early").unwrap();
        let lost = |result: Result<(), odibi_story::Failure>| {
            assert_eq!(result.unwrap_err().code, "state/lease-lost");
        };
        lost(zombie.log.staged(&record(&first, "late")));
        lost(zombie.log.committed(TARGET, "early"));
        lost(zombie.log.aborted(TARGET, "early"));
        let early = run.log.find(TARGET, "early").unwrap().unwrap();
        assert_eq!(
            (early.run_id.as_str(), early.state),
            (second.as_str(), BatchState::Committed)
        );
        assert_eq!(run.log.find(TARGET, "late"), Ok(None));
        drop(zombie);
        let third = home.open();
        assert!(ask(&third, "third").is_err(), "it is held by the second");
        run.end(odibi_story::Outcome::Succeeded);
        assert_eq!(take(&third, "third").epoch(), 3);
        assert_eq!(slot(&third), None);
    });
}

#[test]
fn lease_that_is_let_go_of_leaves_a_run_to_be_gone_on_with() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        drop(run);
        let state = home.open();
        let lease = take(&state, &id(2));
        assert_eq!(slot(&state), Some(id(1)));
        // One that never began changes nothing of that.
        drop(lease);
        let state = home.open();
        let lease = take(&state, &id(3));
        assert_eq!(slot(&state), Some(id(1)));
        Begun::under(Arc::clone(&state), lease, &id(3)).end(odibi_story::Outcome::Failed);
        let _lease = take(&state, &id(4));
        assert_eq!(slot(&state), None, "it came to an end, if to a bad one");
    });
}
