//! Batches in a database whose processes are killed. All else is asked of every state in `conformance`.

use super::*;
use crate::testing::{Other, batches, lease, open};

const TARGET: &str = "lake:orders.parquet";

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
