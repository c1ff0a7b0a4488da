//! Runs that end, are killed, and are gone on with.

use super::*;
use crate::testing::{Other, at, begin, new_run, node, open};

fn state() -> (tempfile::TempDir, std::sync::Arc<StateDb>) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    (dir, db)
}

fn slot(db: &StateDb) -> Option<String> {
    let found = db.interrupted("shop", ["orders", "other"]).unwrap();
    assert!(!found.contains_key("other"));
    found.get("orders").map(|last| last.slot.clone())
}

fn end(db: &StateDb, id: &str, outcome: Outcome) {
    db.end(id, outcome, 0, at(9)).unwrap();
}

#[test]
fn run_is_read_back_as_it_was_noted() {
    let (_dir, db) = state();
    let new = NewRun {
        selection: RunSelection {
            pipelines: vec!["orders".to_owned()],
            nodes: vec!["clean".to_owned(), "load".to_owned()],
            tags: vec!["daily".to_owned()],
            select: vec!["load+".to_owned()],
            exclude: vec!["tag:slow".to_owned()],
            environment: Some("prod".to_owned()),
        },
        ..new_run("0190-a", "0190-a")
    };
    let mark = RunMark::create(&db, "0190-a").unwrap();
    db.begin(&new).unwrap();
    let target = FileFact {
        connection: "lake".to_owned(),
        path: "orders.parquet".to_owned(),
        bytes: 12,
        modified: Some(at(3)),
        version: None,
    };
    let load = node("load");
    let ended = NodeEnd {
        node: &load,
        outcome: Outcome::Recovered,
        attempts: 2,
        duration_ms: 40,
        rows_written: Some(7),
        target: Some(&target),
        failure_code: None,
    };
    db.node_ended("0190-a", &ended).unwrap();
    assert_eq!(db.run("shop", "last").unwrap().outcome, None);
    db.end("0190-a", Outcome::Failed, 1, at(9)).unwrap();
    mark.remove().unwrap();
    let run = db.run("shop", "0190").unwrap();
    assert_eq!(run.selection, new.selection);
    assert_eq!(
        (run.logical_time, run.started_at, run.ended_at),
        (at(1), at(2), Some(at(9)))
    );
    assert_eq!(
        (run.outcome.as_deref(), run.exit_code),
        (Some("failed"), Some(1))
    );
    assert_eq!(run.pipelines, ["orders"]);
    let nodes = db.nodes("0190-a").unwrap();
    assert_eq!(
        nodes[0],
        NodeRecord {
            node: load.clone(),
            outcome: Some("recovered".to_owned()),
            attempts: 2,
            duration_ms: 40,
            rows_written: Some(7),
            failure_code: None,
            target_bytes: Some(12),
            target_modified: Some(at(3)),
        }
    );
    assert!(nodes[0].is_success() && !nodes[1].is_success());
    assert_eq!(nodes[1].outcome, None);
}

#[test]
fn runs_are_found_by_id_prefix_and_filter() {
    let (_dir, db) = state();
    let code = |name| db.run("shop", name).map_err(|f| f.code);
    assert_eq!(code("last"), Err("state/no-run".to_owned()));
    for (id, outcome) in [
        ("aa", Outcome::Succeeded),
        ("ab", Outcome::Failed),
        ("b%", Outcome::Cancelled),
    ] {
        begin(&db, id, id).remove().unwrap();
        end(&db, id, outcome);
    }
    assert_eq!(code("last").unwrap().id, "b%");
    assert_eq!(code("ab").unwrap().id, "ab");
    for name in ["a", "c", "%", ""] {
        assert_eq!(code(name), Err("state/no-run".to_owned()), "{name}");
    }
    let ids = |filter: RunFilter<'_>| -> Vec<String> {
        db.runs(&filter)
            .unwrap()
            .into_iter()
            .map(|r| r.id)
            .collect()
    };
    assert_eq!(ids(RunFilter::default()), ["b%", "ab", "aa"]);
    assert_eq!(
        ids(RunFilter {
            failed: true,
            ..RunFilter::default()
        }),
        ["b%", "ab"]
    );
    assert_eq!(
        ids(RunFilter {
            count_max: Some(1),
            ..RunFilter::default()
        }),
        ["b%"]
    );
    let none: [&str; 0] = [];
    assert_eq!(
        ids(RunFilter {
            pipeline: Some("x"),
            ..RunFilter::default()
        }),
        none
    );
    assert_eq!(
        ids(RunFilter {
            project: Some("x"),
            ..RunFilter::default()
        }),
        none
    );
    assert_eq!(
        ids(RunFilter {
            project: Some("shop"),
            pipeline: Some("orders"),
            ..RunFilter::default()
        })
        .len(),
        3
    );
}

#[test]
fn killed_run_crashed_and_is_gone_on_with_until_one_ends() {
    let (_dir, db) = state();
    assert_eq!(slot(&db), None);
    let killed = begin(&db, "a", "a");
    assert_eq!(db.crashed("shop").unwrap(), [], "it lives");
    drop(killed);
    let crashed = db.crashed("shop").unwrap();
    assert_eq!(crashed.len(), 1);
    assert_eq!(crashed[0].outcome.as_deref(), Some("crashed"));
    assert_eq!(db.crashed("other").unwrap(), []);
    // Until its story is told it is found again.
    assert_eq!(db.crashed("shop").unwrap().len(), 1);
    db.told("a", None).unwrap();
    assert_eq!(db.crashed("shop").unwrap(), []);
    assert_eq!(slot(&db).as_deref(), Some("a"));
    // A chain of crashes keeps the first slot.
    drop(begin(&db, "b", "a"));
    assert_eq!(db.crashed("shop").unwrap().len(), 1);
    assert_eq!(slot(&db).as_deref(), Some("a"));
    // One that comes to an end, also a bad one, ends the chain.
    let failed = begin(&db, "c", "a");
    end(&db, "c", Outcome::Failed);
    failed.remove().unwrap();
    assert_eq!(slot(&db), None);
    assert_eq!(
        db.slots("c").unwrap()["orders"],
        "a",
        "which a retry takes up"
    );
}

/// A process that is killed between noting its end and leaving has told nobody of it.
#[test]
fn run_with_an_end_and_a_mark_is_gone_on_with() {
    let (_dir, db) = state();
    let mark = begin(&db, "a", "a");
    end(&db, "a", Outcome::Succeeded);
    assert_eq!(slot(&db), None, "it is about to leave");
    drop(mark);
    assert_eq!(slot(&db).as_deref(), Some("a"));
    assert_eq!(db.crashed("shop").unwrap(), []);
    assert_eq!(
        db.run("shop", "a").unwrap().outcome.as_deref(),
        Some("succeeded")
    );
    // A mark that a power failure has brought back says nothing.
    let other_boot = |t: &Transaction<'_>| Ok(t.execute("UPDATE run SET boot = 'x'", ())?);
    assert_eq!(db.write(other_boot), Ok(1));
    assert_eq!(slot(&db), None);
}

#[test]
fn events_may_say_that_a_crashed_run_had_ended() {
    let (_dir, db) = state();
    drop(begin(&db, "a", "a"));
    assert_eq!(db.crashed("shop").unwrap().len(), 1);
    db.told("a", Some(Outcome::Failed)).unwrap();
    assert_eq!(
        db.run("shop", "a").unwrap().outcome.as_deref(),
        Some("failed")
    );
}

#[test]
fn nodes_that_are_kept_stand_in_the_new_run() {
    let (_dir, db) = state();
    begin(&db, "a", "a").remove().unwrap();
    let kept = NodeRecord {
        outcome: Some("succeeded".to_owned()),
        target_bytes: Some(5),
        target_modified: Some(at(4)),
        ..db.nodes("a").unwrap()[0].clone()
    };
    let run = NewRun {
        nodes: vec![node("clean")],
        kept: vec![kept],
        ..new_run("b", "a")
    };
    db.begin(&run).unwrap();
    let nodes = db.nodes("b").unwrap();
    assert_eq!(nodes[0].node, node("clean"));
    assert_eq!(
        (nodes[1].outcome.as_deref(), nodes[1].target_bytes),
        (Some("kept"), Some(5))
    );
    assert!(nodes[1].is_success());
}

#[test]
fn run_of_a_killed_process_is_told_from_that_of_a_living_one() {
    let (dir, db) = state();
    let mut other = Other::start("hold", dir.path());
    assert_eq!(other.hear(), "held");
    assert_eq!(db.crashed("shop").unwrap(), []);
    assert_eq!(
        slot(&db).as_deref(),
        Some("zombie"),
        "were its lease taken over"
    );
    let _ = other.kill();
    assert_eq!(db.crashed("shop").unwrap().len(), 1);
}

#[test]
fn last_success_of_a_node_is_known_with_what_it_was() {
    let (_dir, db) = state();
    let note = |id: &str, node: &str, digest: &str, outcome| {
        let name = crate::testing::node(node);
        db.note_digests(id, &BTreeMap::from([(name.clone(), digest.to_owned())]))
            .unwrap();
        let end = NodeEnd {
            node: &name,
            outcome,
            attempts: 1,
            duration_ms: 1,
            rows_written: None,
            target: None,
            failure_code: None,
        };
        db.node_ended(id, &end).unwrap();
    };
    assert_eq!(db.made("shop").unwrap(), BTreeMap::new());
    for id in ["a", "b", "c"] {
        begin(&db, id, id).remove().unwrap();
    }
    note("a", "load", "1", Outcome::Succeeded);
    note("a", "clean", "1", Outcome::Failed);
    note("b", "load", "2", Outcome::Recovered);
    note("c", "load", "3", Outcome::Failed);
    note("nobody", "load", "4", Outcome::Succeeded);
    let made = db.made("shop").unwrap();
    let names: Vec<&str> = made.keys().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["load"]);
    let load = &made[&node("load")];
    assert_eq!(load.digest.as_deref(), Some("2"));
    assert_eq!(load.record.outcome.as_deref(), Some("recovered"));
    assert_eq!(db.made("other").unwrap(), BTreeMap::new());
    note("c", "load", "5", Outcome::Succeeded);
    db.note_digests("c", &BTreeMap::new()).unwrap();
    assert_eq!(
        db.made("shop").unwrap()[&node("load")].digest.as_deref(),
        Some("5")
    );
}
