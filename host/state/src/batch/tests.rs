//! Batches from staged to committed, across processes that are killed.

use super::*;
use crate::testing::{Other, batches, lease, open, record};

const TARGET: &str = "lake:orders.parquet";

#[test]
fn batch_goes_from_staged_to_committed_or_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let held = lease(&db, "r");
    let log = batches(&db, "r", &held);
    assert_eq!(log.find(TARGET, "b"), Ok(None));
    let one = record("r", "b");
    log.staged(&one).unwrap();
    assert_eq!(log.find(TARGET, "b"), Ok(Some(one.clone())));
    assert_eq!(log.find("lake:other.parquet", "b"), Ok(None));
    log.staged(&record("r", "c")).unwrap();
    assert_eq!(log.pending(TARGET), Ok(vec![one.clone(), record("r", "c")]));
    log.committed(TARGET, "b").unwrap();
    log.aborted(TARGET, "c").unwrap();
    assert_eq!(log.pending(TARGET), Ok(vec![]));
    let state = |batch| log.find(TARGET, batch).unwrap().unwrap().state;
    assert_eq!(
        [state("b"), state("c")],
        [BatchState::Committed, BatchState::Aborted]
    );
    // Staged again, by another try: what was known is replaced.
    let again = BatchRecord {
        evidence: "other".to_owned(),
        ..one
    };
    log.staged(&again).unwrap();
    assert_eq!(log.find(TARGET, "b"), Ok(Some(again)));
}

#[test]
fn what_was_noted_is_there_after_the_process() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = open(dir.path());
        let held = lease(&db, "r");
        batches(&db, "r", &held).staged(&record("r", "b")).unwrap();
    }
    let db = open(dir.path());
    let held = lease(&db, "s");
    assert_eq!(
        batches(&db, "s", &held).pending(TARGET),
        Ok(vec![record("r", "b")])
    );
}

#[test]
fn projects_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let held = lease(&db, "r");
    batches(&db, "r", &held).staged(&record("r", "b")).unwrap();
    let other = Batches::new(db, "other", "s", BTreeMap::new());
    assert_eq!(other.find(TARGET, "b"), Ok(None));
    assert_eq!(other.pending(TARGET), Ok(vec![]));
}

#[test]
fn watermark_advances_with_its_batch_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let held = lease(&db, "r");
    let log = batches(&db, "r", &held);
    assert_eq!(log.watermark("orders"), Ok(None));
    let unknown = log.committed_with(TARGET, "b", &[("orders", "1")]);
    assert_eq!(unknown.unwrap_err().code, "internal/state");
    assert_eq!(log.watermark("orders"), Ok(None));
    for (batch, value) in [("b", "1"), ("c", "2")] {
        log.staged(&record("r", batch)).unwrap();
        log.committed_with(TARGET, batch, &[("orders", value)])
            .unwrap();
        assert_eq!(log.watermark("orders"), Ok(Some(value.to_owned())));
    }
}

#[test]
fn change_without_a_lease_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let log = Batches::new(db, "shop", "r", BTreeMap::new());
    assert_eq!(
        log.staged(&record("r", "b")).unwrap_err().code,
        "internal/state"
    );
}

/// What it had said was committed is committed, and one more at most.
#[test]
fn killed_at_any_moment_it_has_kept_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut said: Vec<String> = Vec::new();
    for round in 0..20 {
        let mut other = Other::start("commit-forever", dir.path());
        for _ in 0..=round * 3 {
            said.push(other.hear());
        }
        said.extend(other.kill());
    }
    let db = open(dir.path());
    let held = lease(&db, "r");
    let log = batches(&db, "r", &held);
    for batch in &said {
        let found = log.find(TARGET, batch).unwrap().expect(batch);
        assert_eq!(found.state, BatchState::Committed, "{batch}");
    }
    assert_eq!(held.epoch(), 21);
    assert!(log.pending(TARGET).unwrap().len() <= 20);
    let committed: i64 = db
        .read(|t| {
            let sql = "SELECT count(*) FROM batch WHERE state = 'committed'";
            Ok(t.query_row(sql, (), |row| row.get(0))?)
        })
        .unwrap();
    let committed = usize::try_from(committed).unwrap();
    assert!(
        (said.len()..=said.len() + 20).contains(&committed),
        "{committed}"
    );
}
