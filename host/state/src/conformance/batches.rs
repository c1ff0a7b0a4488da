//! Batches and watermarks.

use std::sync::Arc;

use odibi_run::port::{BatchLog, BatchRecord, BatchState, ORIGIN};
use odibi_story::Outcome;

use super::{Begun, everywhere, id, request};
use crate::testing::record;

const TARGET: &str = "lake:orders.parquet";

#[test]
fn batch_goes_from_staged_to_committed_or_aborted() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        let log = &run.log;
        assert_eq!(log.find(TARGET, "b"), Ok(None));
        assert_eq!(log.pending(TARGET), Ok(vec![]));
        let one = record(&run.id, "b");
        log.staged(&one).unwrap();
        assert_eq!(log.find(TARGET, "b"), Ok(Some(one.clone())));
        assert_eq!(log.find("lake:other.parquet", "b"), Ok(None));
        let other = record(&run.id, "c/d e");
        log.staged(&other).unwrap();
        assert_eq!(log.pending(TARGET), Ok(vec![one.clone(), other]));
        log.committed(TARGET, "b").unwrap();
        log.aborted(TARGET, "c/d e").unwrap();
        assert_eq!(log.pending(TARGET), Ok(vec![]));
        let state = |batch| log.find(TARGET, batch).unwrap().unwrap().state;
        assert_eq!(
            [state("b"), state("c/d e")],
            [BatchState::Committed, BatchState::Aborted]
        );
        // Staged again, by another try: what was known is replaced.
        let again = BatchRecord {
            evidence: "other".to_owned(),
            ..one
        };
        log.staged(&again).unwrap();
        assert_eq!(log.find(TARGET, "b"), Ok(Some(again.clone())));
        assert_eq!(log.pending(TARGET), Ok(vec![again]));
        log.committed(TARGET, "b").unwrap();
        log.committed(TARGET, "b").unwrap();
        assert_eq!(state("b"), BatchState::Committed);
    });
}

#[test]
fn what_was_noted_is_there_for_the_next_process() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        run.log.staged(&record(&id(1), "b")).unwrap();
        drop(run);
        let next = Begun::new(home.open(), &id(2));
        let open = next.log.pending(TARGET).unwrap();
        assert_eq!(open, [record(&id(1), "b")]);
        next.log.committed(TARGET, "b").unwrap();
        let found = next.log.find(TARGET, "b").unwrap().unwrap();
        assert_eq!((found.run_id, found.state), (id(1), BatchState::Committed));
    });
}

/// Two pipelines write one target. What a killed run of one has left there, a run of the other sees, and says so: after
/// its own write it could not be seen any more.
#[test]
fn batch_that_another_pipeline_has_left_is_noted_by_who_sees_it() {
    everywhere(|home| {
        let killed = Begun::new(home.open(), &id(1));
        let left = ["there", "absent", "later"].map(|batch| record(&id(1), batch));
        for one in &left {
            killed.log.staged(one).unwrap();
        }
        drop(killed);
        let [there, absent, later] = left;

        let state = home.open();
        let lease = state.lease(&request("other", &id(2))).unwrap().unwrap();
        let other = Arc::clone(&state).batches("shop", &id(2), &[lease]);
        other.observed(&there, true).unwrap();
        other.observed(&there, true).unwrap();
        other.observed(&absent, false).unwrap();
        assert_eq!(other.pending(TARGET), Ok(vec![later.clone()]));
        let state_of = |log: &dyn BatchLog, batch| log.find(TARGET, batch).unwrap().unwrap();
        let expected = |record: &BatchRecord, state| BatchRecord {
            state,
            ..record.clone()
        };
        let there_now = expected(&there, BatchState::Committed);
        assert_eq!(state_of(other.as_ref(), "there"), there_now);
        let absent_now = expected(&absent, BatchState::Aborted);
        assert_eq!(state_of(other.as_ref(), "absent"), absent_now);
        // It is not told how far that pipeline has read, nor may it say so of a batch it has not seen.
        let failure = other.committed_with(TARGET, "later", &[("orders", "1")]);
        assert_eq!(failure.unwrap_err().code, "internal/state");

        let next = Begun::new(home.open(), &id(3));
        assert_eq!(state_of(next.log.as_ref(), "there"), there_now);
        // Made ready anew meanwhile: what was seen before says nothing of it.
        let again = record(&id(3), "later");
        next.log.observed(&later, false).unwrap();
        next.log.staged(&again).unwrap();
        for is_there in [true, false] {
            other.observed(&later, is_there).unwrap();
            assert_eq!(other.pending(TARGET), Ok(vec![again.clone()]), "{is_there}");
        }
        next.log.observed(&again, true).unwrap();
        assert_eq!(next.log.pending(TARGET), Ok(vec![]));
    });
}

/// Before, a target was called by the name of its connection, which is another place in another environment.
#[test]
fn target_takes_over_what_its_environment_has_noted_under_its_old_name() {
    everywhere(|home| {
        let run = Begun::within(home.open(), &id(1), Some("dev"));
        for batch in ["of dev", ORIGIN] {
            run.log.staged(&record(&id(1), batch)).unwrap();
            run.log.committed(TARGET, batch).unwrap();
        }
        run.end(Outcome::Succeeded);
        let killed = Begun::within(home.open(), &id(2), Some("prod"));
        for batch in ["of prod", "open"] {
            killed.log.staged(&record(&id(2), batch)).unwrap();
        }
        killed.log.committed(TARGET, "of prod").unwrap();
        drop(killed);

        let run = Begun::within(home.open(), &id(3), Some("prod"));
        let log = &run.log;
        let state = |target: &str, batch: &str| {
            let found = log.find(target, batch).unwrap();
            found.map(|found| {
                assert_eq!(
                    (found.target.as_str(), found.batch.as_str()),
                    (target, batch)
                );
                found.state
            })
        };
        // Twice is as once, and another place comes too late.
        for (target, has) in [("prod", true), ("prod", true), ("elsewhere", false)] {
            log.adopt(TARGET, target).unwrap();
            assert_eq!(state(target, "of dev"), None, "{target}");
            let expected = has.then_some(BatchState::Committed);
            assert_eq!(state(target, "of prod"), expected, "{target}");
            assert_eq!(state(target, ORIGIN), expected, "{target}");
            let pending = log.pending(target).unwrap();
            let pending: Vec<&str> = pending.iter().map(|open| open.batch.as_str()).collect();
            assert_eq!(pending, ["open"][..usize::from(has)], "{target}");
        }
        log.committed("prod", "open").unwrap();
        log.committed("prod", "of prod").unwrap();
        assert_eq!(log.pending("prod"), Ok(vec![]));
        run.end(Outcome::Succeeded);

        let run = Begun::within(home.open(), &id(4), Some("dev"));
        run.log.adopt(TARGET, "dev").unwrap();
        let has = |batch| run.log.find("dev", batch).unwrap().is_some();
        assert_eq!([has("of dev"), has(ORIGIN)], [true, true]);
        assert_eq!([has("of prod"), has("open")], [false, false]);
        assert_eq!(run.log.pending("dev"), Ok(vec![]));
        drop(run);
        // The next process finds it so.
        let run = Begun::within(home.open(), &id(5), Some("prod"));
        run.log.adopt(TARGET, "prod").unwrap();
        let found = run.log.find("prod", "open").unwrap();
        assert_eq!(found.map(|found| found.state), Some(BatchState::Committed));
    });
}

#[test]
fn projects_do_not_see_each_other() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        run.log.staged(&record(&id(1), "b")).unwrap();
        let other = home.open().batches("other", "s", &[]);
        assert_eq!(other.find(TARGET, "b"), Ok(None));
        assert_eq!(other.pending(TARGET), Ok(vec![]));
    });
}

#[test]
fn watermark_advances_with_its_batch_or_not_at_all() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        let log = &run.log;
        assert_eq!(log.watermark("orders"), Ok(None));
        let unknown = log.committed_with(TARGET, "b", &[("orders", "1")]);
        assert_eq!(unknown.unwrap_err().code, "internal/state");
        assert_eq!(log.watermark("orders"), Ok(None));
        for (batch, value) in [("b", "1"), ("c", "2")] {
            log.staged(&record(&run.id, batch)).unwrap();
            log.committed_with(TARGET, batch, &[("orders", value)])
                .unwrap();
            assert_eq!(log.watermark("orders"), Ok(Some(value.to_owned())));
        }
    });
}

#[test]
fn change_without_a_lease_is_a_bug() {
    everywhere(|home| {
        let log = home.open().batches("shop", "r", &[]);
        let failure = log.staged(&record("r", "b")).unwrap_err();
        assert_eq!(failure.code, "internal/state");
    });
}

/// Many nodes of one run write at the same time.
#[test]
fn nothing_is_lost_among_writers_of_one_run() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (log, run_id) = (Arc::clone(&run.log), run.id.clone());
                scope.spawn(move || {
                    for number in 0..5 {
                        let batch = format!("{thread}-{number}");
                        log.staged(&record(&run_id, &batch)).unwrap();
                        if number < 4 {
                            log.committed(TARGET, &batch).unwrap();
                        }
                    }
                });
            }
        });
        let open = run.log.pending(TARGET).unwrap();
        let open: Vec<&str> = open.iter().map(|open| open.batch.as_str()).collect();
        assert_eq!(open, ["0-4", "1-4", "2-4", "3-4"]);
        for thread in 0..4 {
            for number in 0..4 {
                let found = run.log.find(TARGET, &format!("{thread}-{number}"));
                assert_eq!(found.unwrap().unwrap().state, BatchState::Committed);
            }
        }
    });
}
