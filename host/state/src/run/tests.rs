//! Runs that end, are killed, and are gone on with.

use super::*;
use crate::testing::{Other, at, begin, node, open};

fn state() -> (tempfile::TempDir, std::sync::Arc<StateDb>) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    (dir, db)
}

fn slot(db: &StateDb) -> Option<String> {
    let found = db.interrupted("shop", None, ["orders", "other"]).unwrap();
    assert!(!found.contains_key("other"));
    found.get("orders").map(|last| last.slot.clone())
}

fn end(db: &StateDb, id: &str, outcome: Outcome) {
    db.end(id, outcome, 0, at(9)).unwrap();
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
