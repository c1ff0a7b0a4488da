//! What only the shared state has to do: holders that fall silent, answers that are lost, processes that are killed at
//! any change of the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use odibi_run::port::{BatchRecord, BatchState};
use odibi_story::Outcome;
use odibi_story::failure::Failure;

use super::testing::{Fault, Faulty, MemoryShelf, Store, TIMEOUT_MS, TestClock, open, terms};
use super::*;
use crate::conformance::{Begun, ask, id, request, take};
use crate::testing::{at, new_run, node, record};
use crate::{LeaseRequest, NewAlert, NodeEnd, RunFilter, State};

const TARGET: &str = "lake:orders.parquet";
const LEASE: &str = "sys/state/shop/leases/orders.json";

fn code(result: Result<(), Failure>) -> String {
    result.map_or_else(|failure| failure.code, |()| "ok".to_owned())
}

/// Asks again and again, as a run does that waits.
fn wait(state: &Arc<SharedState>, clock: &TestClock, run_id: &str) -> Result<u64, u64> {
    let mut passed_ms = 0;
    while passed_ms <= 2 * TIMEOUT_MS {
        match state.lease(&request("orders", run_id)).unwrap() {
            Ok(_) => return Ok(passed_ms),
            Err(holder) if !holder.is_silent => return Err(passed_ms),
            Err(holder) => {
                clock.pass_ms(holder.pause_ms);
                passed_ms += holder.pause_ms;
            }
        }
    }
    panic!("it never finds out");
}

#[test]
fn holder_that_lives_is_found_out_soon_and_a_dead_one_after_its_time() {
    let store = Store::default();
    let theirs = Arc::new(TestClock::default());
    let holder = store.process_on(Arc::<MemoryShelf>::clone(&store.shelf), &theirs);
    let dynamic: Arc<dyn State> = Arc::<SharedState>::clone(&holder);
    let run = Begun::new(dynamic, &id(1));
    let other = store.process();
    let first = other
        .lease(&request("orders", &id(2)))
        .unwrap()
        .unwrap_err();
    assert!(first.is_silent, "nothing is known of it yet");
    assert!(
        first.failure().message.contains(" on host-1, since "),
        "{}",
        first.failure().message
    );
    theirs.pass_ms(TIMEOUT_MS / 6);
    holder.keep_alive();
    assert!(wait(&other, &store.clock, &id(2)).is_err(), "it lives");
    // From here on it does nothing. Clocks of machines may show what they like.
    let late = store.process();
    let waited = wait(&late, &store.clock, &id(2)).unwrap();
    assert_eq!(waited, TIMEOUT_MS);
    // What it does when it wakes up is refused.
    assert_eq!(
        code(run.log.staged(&record(&id(1), "b"))),
        "state/lease-lost"
    );
    theirs.pass_ms(TIMEOUT_MS / 6);
    holder.keep_alive();
    assert!(run.leases[0].document().unwrap().is_over());
    assert_eq!(code(run.mark.remove()), "ok", "it holds nothing any more");
}

#[test]
fn killed_run_crashed_once_its_lease_is_taken() {
    let store = Store::default();
    let theirs = Arc::new(TestClock::default());
    let holder = store.process_on(Arc::<MemoryShelf>::clone(&store.shelf), &theirs);
    let dynamic: Arc<dyn State> = Arc::<SharedState>::clone(&holder);
    let run = Begun::new(dynamic, &id(1));
    run.log.staged(&record(&id(1), "b")).unwrap();
    let mut events = holder.events_copy(&id(1)).unwrap();
    events.put(b"one\n").unwrap();
    events.put(b"one\ntwo\n").unwrap();
    let other = store.process();
    assert_eq!(other.crashed("shop").unwrap(), [], "nobody can tell");
    wait(&other, &store.clock, &id(2)).unwrap();
    let crashed = other.crashed("shop").unwrap();
    assert_eq!(crashed.len(), 1);
    assert_eq!(crashed[0].outcome.as_deref(), Some("crashed"));
    assert_eq!(other.events(&id(1)).unwrap().unwrap(), b"one\ntwo\n");
    other
        .events_copy(&id(1))
        .unwrap()
        .put(b"one\ntwo\nend\n")
        .unwrap();
    other.told(&id(1), None).unwrap();
    assert_eq!(other.crashed("shop").unwrap(), []);
    // The one that was taken for dead changes nothing of that.
    assert_eq!(code(events.put(b"late\n")), "state/lease-lost");
    let end = run.state.end(&id(1), Outcome::Succeeded, 0, at(9));
    assert_eq!(code(end), "state/lease-lost");
    let after = other.run("shop", &id(1)).unwrap();
    assert_eq!(after.outcome.as_deref(), Some("crashed"));
    assert_eq!(other.events(&id(1)).unwrap().unwrap(), b"one\ntwo\nend\n");
}

/// A run that was taken over may have put its rows nevertheless: what it had ready is not forgotten.
#[test]
fn evidence_of_both_is_kept_until_it_is_settled() {
    let store = Store::default();
    let zombie = Begun::new(store.process(), &id(1));
    let with = |run: &str, evidence: &str| BatchRecord {
        evidence: evidence.to_owned(),
        ..record(run, "b")
    };
    zombie.log.staged(&with(&id(1), "theirs")).unwrap();
    let state: Arc<dyn State> = store.process();
    let second = id(2);
    let over = LeaseRequest {
        take_over: true,
        ..request("orders", &second)
    };
    let lease = state.lease(&over).unwrap().unwrap();
    let run = Begun::under(state, lease, &id(2));
    run.log.staged(&with(&id(2), "ours")).unwrap();
    let evidence = || -> Vec<String> {
        let pending = run.log.pending(TARGET).unwrap();
        pending.into_iter().map(|open| open.evidence).collect()
    };
    assert_eq!(evidence(), ["theirs", "ours"]);
    // Somebody else was faster: only what this run had ready is gone.
    run.log.aborted(TARGET, "b").unwrap();
    assert_eq!(evidence(), ["theirs"]);
    run.log.staged(&with(&id(2), "again")).unwrap();
    run.log.committed(TARGET, "b").unwrap();
    assert_eq!(evidence(), Vec::<String>::new());
    let found = run.log.find(TARGET, "b").unwrap().unwrap();
    assert_eq!(
        (found.state, found.evidence.as_str()),
        (BatchState::Committed, "again")
    );
    // What is committed is not taken back by who comes late.
    run.log.aborted(TARGET, "b").unwrap();
    let found = run.log.find(TARGET, "b").unwrap().unwrap();
    assert_eq!(found.state, BatchState::Committed);
}

/// All that a run asks of the state. What it was told of before it stopped.
fn whole_run(state: Arc<SharedState>, run_id: &str, said: &mut Vec<String>) -> Result<(), Failure> {
    let Ok(lease) = state.lease(&request("orders", run_id))? else {
        panic!("the lease of {run_id} is held");
    };
    let last = state.interrupted("shop", None, &["orders"])?;
    let slot = last.get("orders").map_or(run_id, |last| last.slot.as_str());
    let leases = vec![lease];
    let mut run = new_run(run_id, slot);
    run.pipelines[0].epoch = leases[0].epoch();
    let mark = state.start(&run, &leases)?;
    said.push("started".to_owned());
    let load = node("load");
    state.note_digests(run_id, &BTreeMap::from([(load.clone(), "d".to_owned())]))?;
    let log = Arc::clone(&state).batches("shop", run_id, &leases);
    for batch in ["b", "c"] {
        let batch = format!("{run_id}-{batch}");
        log.staged(&record(run_id, &batch))?;
        said.push(format!("staged {batch}"));
        log.committed_with(TARGET, &batch, &[("orders", &batch)])?;
        said.push(format!("committed {batch}"));
    }
    let end = NodeEnd {
        node: &load,
        outcome: Outcome::Succeeded,
        attempts: 1,
        duration_ms: 1,
        rows_written: None,
        target: None,
        failure_code: None,
    };
    state.node_ended(run_id, &end)?;
    state.events_copy(run_id).unwrap().put(b"said\n")?;
    state.end(run_id, Outcome::Succeeded, 0, at(9))?;
    said.push("ended".to_owned());
    drop(leases);
    mark.remove()?;
    said.push("left".to_owned());
    Ok(())
}

/// What the next process finds has to agree with what the last one was told.
fn judge(store: &Store, run_id: &str, said: &[String], what: &str) {
    let next = store.process();
    wait(&next, &store.clock, "look").unwrap();
    let has = |word: &str| said.iter().any(|one| one == word);
    let log = Arc::clone(&next).batches("shop", "look", &[]);
    let pending = log.pending(TARGET).unwrap();
    assert!(pending.len() <= 1, "{what}: {pending:?}");
    for batch in ["b", "c"] {
        let batch = format!("{run_id}-{batch}");
        let found = log.find(TARGET, &batch).unwrap();
        let state = found.map(|found| found.state);
        if has(&format!("committed {batch}")) {
            assert_eq!(state, Some(BatchState::Committed), "{what}: {batch}");
        } else if has(&format!("staged {batch}")) {
            assert!(state.is_some(), "{what}: {batch} is forgotten");
        }
    }
    let crashed = next.crashed("shop").unwrap();
    if has("started")
        && !has("ended")
        && next.run("shop", run_id).unwrap().outcome.as_deref() != Some("succeeded")
    {
        assert_eq!(crashed.len(), 1, "{what}: it crashed");
    }
    for run in crashed {
        next.told(&run.id, None).unwrap();
    }
    let last = next.interrupted("shop", None, &["orders"]).unwrap();
    if has("left") {
        assert_eq!(last.len(), 0, "{what}: nothing is left");
    } else if has("started") {
        // Unless it was killed behind the very last change.
        let ended = store.shelf.text(LEASE).contains("\"ended\":true");
        assert!(ended || last["orders"].slot == run_id, "{what}: {last:?}");
    }
    assert_eq!(next.crashed("shop").unwrap(), [], "{what}");
}

#[test]
fn killed_at_any_change_it_has_kept_what_it_said() {
    for fault in [Fault::Killed, Fault::KilledBehind] {
        let mut at = 0;
        loop {
            let store = Store::default();
            let shelf = Faulty::new(&store.shelf, fault, at);
            // Its clock stands: it keeps nothing alive.
            let clock = Arc::new(TestClock::default());
            let mut said = Vec::new();
            let run = open(Arc::<Faulty>::clone(&shelf) as Arc<dyn Shelf>, &clock)
                .and_then(|state| whole_run(state, &id(1), &mut said));
            let what = format!("{fault:?} at change {at}");
            judge(&store, &id(1), &said, &what);
            // And the next run does everything.
            let mut next = Vec::new();
            let state = store.process();
            whole_run(state, &id(2), &mut next).unwrap_or_else(|f| panic!("{what}: {f:?}"));
            judge(&store, &id(2), &next, &what);
            if shelf.changes() <= at {
                assert!(run.is_ok(), "{what}: {run:?}");
                break;
            }
            at += 1;
        }
        assert!(at > 20, "only {at} changes");
    }
}

#[test]
fn one_lost_answer_or_one_refusal_changes_nothing() {
    let paths = |store: &Store| store.shelf.paths();
    let well = Store::default();
    whole_run(well.process(), &id(1), &mut Vec::new()).unwrap();
    for fault in [Fault::AnswerLost, Fault::Refused] {
        for at in 0.. {
            let store = Store::default();
            let shelf = Faulty::new(&store.shelf, fault, at);
            let run = open(Arc::<Faulty>::clone(&shelf) as Arc<dyn Shelf>, &store.clock)
                .and_then(|state| whole_run(state, &id(1), &mut Vec::new()));
            if shelf.changes() <= at {
                break;
            }
            run.unwrap_or_else(|failure| panic!("{fault:?} {at}: {failure:?}"));
            assert_eq!(paths(&store), paths(&well), "{fault:?} {at}");
            assert_eq!(store.shelf.text(LEASE), well.shelf.text(LEASE));
        }
    }
}

/// Earlier versions noted the environment of the last run in its own document alone.
#[test]
fn lease_that_does_not_tell_its_environment_is_that_of_its_run() {
    let store = Store::default();
    let forget = || {
        let text = store.shelf.text(LEASE);
        let older = text.replace(",\"environment\":\"dev\"", "");
        assert_ne!(older, text);
        store.shelf.force(LEASE, &older);
    };
    drop(Begun::within(store.process(), &id(1), Some("dev")));
    forget();
    let slot = |environment| {
        let found = store
            .process()
            .interrupted("shop", environment, &["orders"]);
        found.unwrap().remove("orders").map(|last| last.slot)
    };
    assert_eq!(slot(Some("dev")), Some(id(1)));
    assert_eq!((slot(Some("prod")), slot(None)), (None, None));
    // A run of another environment in between leaves it to its own.
    Begun::within(store.process(), &id(2), Some("prod")).end(Outcome::Succeeded);
    assert_eq!(slot(Some("dev")), Some(id(1)));
    assert_eq!((slot(Some("prod")), slot(None)), (None, None));
}

/// A target's old name is taken over in more than one step, and any of them may be the last.
#[test]
fn killed_while_it_takes_a_target_over_it_has_lost_nothing() {
    for fault in [Fault::Killed, Fault::KilledBehind] {
        let mut at = 0;
        loop {
            let store = Store::default();
            let killed = Begun::new(store.process(), &id(1));
            for batch in ["b", "open"] {
                killed.log.staged(&record(&id(1), batch)).unwrap();
            }
            killed.log.committed(TARGET, "b").unwrap();
            drop(killed);
            let shelf = Faulty::new(&store.shelf, fault, at);
            let clock = Arc::new(TestClock::default());
            let adopt = |state: Arc<SharedState>, run_id: &str| {
                let run = Arc::clone(&state).batches("shop", run_id, &[]);
                run.adopt(TARGET, "new")
            };
            let state = open(Arc::<Faulty>::clone(&shelf) as Arc<dyn Shelf>, &clock);
            let first = state.and_then(|state| adopt(state, &id(2)));
            let run = Begun::new(store.process(), &id(3));
            run.log.adopt(TARGET, "new").unwrap();
            let what = format!("{fault:?} at change {at}");
            let found = run.log.find("new", "b").unwrap();
            let found = found.map(|found| found.state);
            assert_eq!(found, Some(BatchState::Committed), "{what}");
            let pending = run.log.pending("new").unwrap();
            assert_eq!(pending.len(), 1, "{what}");
            assert_eq!(pending[0].batch, "open", "{what}");
            run.log.committed("new", "open").unwrap();
            assert_eq!(run.log.pending("new"), Ok(vec![]), "{what}");
            if shelf.changes() <= at {
                assert!(first.is_ok(), "{what}: {first:?}");
                break;
            }
            at += 1;
        }
        assert!(at > 2, "only {at} changes");
    }
}

#[test]
fn names_of_projects_and_pipelines_become_paths() {
    assert_eq!(name_of("sales_daily-2"), "sales_daily-2");
    assert_eq!(name_of("a/../b c.ü"), "a=2F=2E=2E=2Fb=20c=2E=C3=BC");
    assert_eq!(name_of(""), "=");
    let long = name_of(&"x".repeat(300));
    assert!(long.len() < 100 && long != name_of(&"x".repeat(301)));
}

/// Puts whatever is there.
#[derive(Debug)]
struct Careless(Arc<MemoryShelf>, bool);

impl Shelf for Careless {
    fn shown(&self, path: &str) -> String {
        self.0.shown(path)
    }

    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Sheet>, Failure> {
        self.0.read(path, bytes_max)
    }

    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure> {
        if expected == Expected::Absent && self.1 {
            return self.0.put(path, bytes, expected);
        }
        self.0.force(path, std::str::from_utf8(bytes).unwrap());
        let sheet = self.0.read(path, usize::MAX)?;
        Ok(sheet.map(|sheet| sheet.version))
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.0.remove(path)
    }

    fn names(&self, dir: &str) -> Result<Vec<String>, Failure> {
        self.0.names(dir)
    }
}

#[test]
fn store_that_lets_a_second_writer_through_is_refused() {
    for makes_once in [false, true] {
        let store = Store::default();
        let careless = Arc::new(Careless(Arc::clone(&store.shelf), makes_once));
        for _ in 0..2 {
            let failure = open(Arc::<Careless>::clone(&careless) as _, &store.clock).unwrap_err();
            assert_eq!(failure.code, "write/unsafe");
        }
        assert_eq!(store.shelf.paths(), Vec::<String>::new());
    }
}

#[test]
fn what_cannot_be_understood_starts_no_run_and_stays() {
    let store = Store::default();
    let format = "sys/state/format.json";
    drop(Begun::new(store.process(), &id(1)));
    let kept = store.shelf.text(LEASE);
    for (text, code) in [
        ("", "state/corrupt"),
        ("{\"epoch\": 3}", "state/corrupt"),
        ("{\"format_version\": 1, \"epoch\": -1}", "state/corrupt"),
        ("{\"format_version\": 2}", "state/newer"),
    ] {
        store.shelf.force(LEASE, text);
        let failure = store.process().lease(&request("orders", "x")).unwrap_err();
        assert_eq!(failure.code, code, "{text}");
        assert!(
            failure.message.ends_with(&format!("memory:{LEASE}")),
            "{failure:?}"
        );
        assert_eq!(store.shelf.text(LEASE), text);
    }
    store.shelf.force(LEASE, &kept);
    store.shelf.force(format, "{\"format_version\": 2}");
    let opened = open(Arc::<MemoryShelf>::clone(&store.shelf), &store.clock);
    assert_eq!(opened.unwrap_err().code, "state/newer");
    // Without it everything else would be forgotten.
    store.shelf.remove(format).unwrap();
    let opened = open(Arc::<MemoryShelf>::clone(&store.shelf), &store.clock);
    assert_eq!(opened.unwrap_err().code, "state/corrupt");
}

#[test]
fn looking_makes_nothing() {
    let store = Store::default();
    let shelf = Arc::<MemoryShelf>::clone(&store.shelf);
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&store.clock);
    let found = SharedState::open_existing(shelf, "sys/state", "shop", clock, terms());
    assert!(found.unwrap().is_none());
    assert_eq!(store.shelf.paths(), Vec::<String>::new());
}

#[test]
fn newest_runs_are_found_without_reading_the_others() {
    let store = Store::default();
    let state: Arc<dyn State> = store.process();
    // Two a day for half a year.
    let id = |number: u64| {
        let ms = 0x0192_0000_0000_u64 + number * 43_200_000;
        let hex = format!("{ms:012x}");
        format!("{}-{}-7abc-8000-000000000000", &hex[..8], &hex[8..])
    };
    for number in 0..360 {
        let leases = vec![take(&state, &id(number))];
        let run = new_run(&id(number), &id(number));
        let mark = state.start(&run, &leases).unwrap();
        state
            .end(&id(number), Outcome::Succeeded, 0, at(9))
            .unwrap();
        drop(leases);
        mark.remove().unwrap();
    }
    let reads = |body: &dyn Fn()| {
        let before = store.shelf.reads.load(Ordering::SeqCst);
        body();
        store.shelf.reads.load(Ordering::SeqCst) - before
    };
    let listed = reads(&|| {
        let filter = RunFilter {
            count_max: Some(10),
            ..RunFilter::default()
        };
        let found = state.runs(&filter).unwrap();
        let found: Vec<String> = found.into_iter().map(|run| run.id).collect();
        let newest: Vec<String> = (350..360).rev().map(id).collect();
        assert_eq!(found, newest);
    });
    assert!(listed <= 16, "{listed} documents were read");
    let one = reads(&|| {
        assert_eq!(state.run("shop", "last").unwrap().id, id(359));
        assert_eq!(state.run("shop", &id(7)).unwrap().id, id(7));
        assert_eq!(state.run("shop", &id(7)[..13]).unwrap().id, id(7));
    });
    assert_eq!(one, 3);
    assert_eq!(reads(&|| assert_eq!(state.crashed("shop").unwrap(), [])), 0);
    assert!(ask(&state, "x").is_ok());
}

#[test]
fn claims_of_a_killed_sender_are_free_when_its_run_is_told_or_it_is_silent() {
    for told in [true, false] {
        let store = Store::default();
        let theirs = Arc::new(TestClock::default());
        let killed = store.process_on(Arc::<MemoryShelf>::clone(&store.shelf), &theirs);
        let run = Begun::new(Arc::<SharedState>::clone(&killed) as _, &id(1));
        let alert = NewAlert {
            id: "a",
            project: "shop",
            environment: "",
            channel: "slack",
            kind: "slack",
            about: "on_failure",
            subject: &[],
            run_id: "r",
            now: at(0),
            throttle_ms: 0,
            hourly_max: None,
        };
        killed.post(&alert, &|_| "text".to_owned()).unwrap();
        let sender = Arc::clone(&killed).sender(&id(1), "shop", "").unwrap();
        assert!(sender.claim("slack", at(1), &[]).unwrap().is_some());
        let next = store.process();
        let mine = Arc::clone(&next).sender(&id(2), "shop", "").unwrap();
        let claim = || mine.claim("slack", at(2), &[]).unwrap();
        assert_eq!(claim(), None);
        if told {
            wait(&next, &store.clock, &id(2)).unwrap();
            assert_eq!(next.crashed("shop").unwrap().len(), 1);
            next.told(&id(1), None).unwrap();
        } else {
            for _ in 0..3 {
                store.clock.pass_ms(TIMEOUT_MS / 3);
                theirs.pass_ms(TIMEOUT_MS / 3);
                killed.keep_alive();
                assert_eq!(claim(), None, "it lives");
            }
            for _ in 0..2 {
                store.clock.pass_ms(TIMEOUT_MS / 2);
                let _ = claim();
            }
        }
        let claimed = match told {
            true => claim(),
            false => {
                let record = next.alert("shop", "a").unwrap().unwrap();
                assert_eq!(record.attempts, 0);
                claim()
            }
        };
        assert_eq!(claimed.unwrap().body, "text", "told: {told}");
        drop(run);
    }
}
