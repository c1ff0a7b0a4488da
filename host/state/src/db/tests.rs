//! Opening, damage, full disks, and many at once.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::RunFilter;
use crate::testing::{Other, begin, open};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn runs(db: &StateDb) -> usize {
    db.runs(&RunFilter::default()).unwrap().len()
}

#[track_caller]
fn refused(directory: &Path, code: &str) -> Failure {
    let failure = StateDb::open(directory).unwrap_err();
    assert_eq!(failure.code, code, "{failure:?}");
    failure
}

#[test]
fn nothing_is_made_where_only_reading_is_asked_for() {
    let dir = directory();
    let missing = dir.path().join("none");
    assert!(StateDb::open_existing(&missing).unwrap().is_none());
    assert!(!missing.exists());
    drop(open(&missing));
    assert!(StateDb::open_existing(&missing).unwrap().is_some());
}

#[test]
fn a_clean_end_leaves_no_log() {
    let dir = directory();
    let db = open(dir.path());
    begin(&db, "a", "a").remove().unwrap();
    assert!(dir.path().join(LOG).exists());
    drop(db);
    assert!(!dir.path().join(LOG).exists());
    assert_eq!(runs(&open(dir.path())), 1);
}

#[test]
fn many_threads_open_and_write_at_once() {
    let dir = directory();
    let one = |thread: usize| {
        let db = StateDb::open(dir.path()).unwrap();
        for number in 0..5 {
            let id = format!("{thread}-{number}");
            begin(&db, &id, &id).remove().unwrap();
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || one(thread));
        }
    });
    assert_eq!(runs(&open(dir.path())), 80);
}

#[test]
fn many_processes_open_and_write_at_once() {
    let dir = directory();
    let others: Vec<Other> = (0..8).map(|_| Other::start("write", dir.path())).collect();
    others.into_iter().for_each(Other::wait);
    assert_eq!(runs(&open(dir.path())), 80);
}

#[test]
fn what_was_killed_while_it_made_the_file_is_no_hindrance() {
    let dir = directory();
    std::fs::write(dir.path().join(UNFINISHED), "half").unwrap();
    std::fs::write(dir.path().join(format!("{UNFINISHED}-wal")), "half").unwrap();
    assert_eq!(runs(&open(dir.path())), 0);
}

#[test]
fn damaged_files_are_refused_and_left_as_they_are() {
    let dir = directory();
    let path = dir.path().join(DATABASE);
    let check = |bytes: &[u8], cause: &str| {
        std::fs::write(&path, bytes).unwrap();
        let failure = refused(dir.path(), "state/corrupt");
        assert!(failure.causes.concat().contains(cause), "{failure:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    };
    check(b"", "empty");
    check(b"no database, but longer than its header would be: 0123456789012345678901234567890123456789", "not a database");
    drop(open(&dir.path().join("other")));
    let good = std::fs::read(dir.path().join("other").join(DATABASE)).unwrap();
    check(&good[..good.len() / 2], "");
    let mut torn = good.clone();
    torn[100..4096].fill(0xa5);
    check(&torn, "");
}

#[test]
fn missing_file_beside_its_log_is_not_made_anew() {
    let dir = directory();
    std::fs::write(dir.path().join(LOG), "changes").unwrap();
    let failure = refused(dir.path(), "state/corrupt");
    assert!(
        failure.causes.concat().contains("its log is still there"),
        "{failure:?}"
    );
    assert!(!dir.path().join(DATABASE).exists());
}

#[test]
fn file_that_is_removed_while_in_use_is_not_made_anew() {
    let dir = directory();
    let db = open(dir.path());
    std::fs::remove_file(dir.path().join(DATABASE)).unwrap();
    std::fs::remove_file(dir.path().join(LOG)).unwrap();
    let failure = refused(dir.path(), "state/corrupt");
    assert!(failure.causes.concat().contains("in use"), "{failure:?}");
    drop(db);
}

#[test]
fn damage_after_an_unclean_stop_is_found_at_once() {
    let dir = directory();
    let killed = Other::start("commit-forever", dir.path());
    let mut killed = killed;
    for _ in 0..50 {
        let _ = killed.hear();
    }
    let _ = killed.kill();
    let log = std::fs::metadata(dir.path().join(LOG)).unwrap();
    assert!(log.len() > 0);
    // A page in the middle of the tables: only the check looks at it.
    drop(open(dir.path()));
    let path = dir.path().join(DATABASE);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(dir.path().join(LOG), "unclean").unwrap();
    let _ = refused(dir.path(), "state/corrupt");
}

#[test]
fn full_disk_is_a_typed_failure_and_loses_nothing() {
    let dir = directory();
    drop(open(dir.path()));
    let mut other = Other::start_limited("fill", dir.path(), 512);
    let mut staged = 0;
    let end = loop {
        let said = other.hear();
        match said.strip_prefix("end ") {
            Some(code) => break code.to_owned(),
            None => staged += 1,
        }
    };
    other.wait();
    assert!(
        ["state/disk-full", "state/failed"].contains(&end.as_str()),
        "{end}"
    );
    assert!(staged > 5, "{staged}");
    let db = open(dir.path());
    let found: i64 = db
        .read(|t| Ok(t.query_row("SELECT count(*) FROM batch", (), |row| row.get(0))?))
        .unwrap();
    assert_eq!(found, staged);
    // With room again it goes on.
    begin(&db, "a", "a").remove().unwrap();
}

#[test]
fn sqlite_s_own_full_disk_is_typed() {
    let dir = directory();
    let db = open(dir.path());
    db.connection()
        .pragma_update(None, "max_page_count", 1)
        .unwrap();
    let failure = (0..10_000).find_map(|number| {
        let id = format!("{number:0>300}");
        db.begin(&crate::testing::new_run(&id, &id)).err()
    });
    assert_eq!(failure.unwrap().code, "state/disk-full");
}

#[test]
fn directory_that_cannot_be_used_is_refused() {
    let dir = directory();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let _ = refused(&dir.path().join("file"), "state/denied");
    let shut = dir.path().join("shut");
    std::fs::create_dir(&shut).unwrap();
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere.
    if !rustix::process::geteuid().is_root() {
        let _ = refused(&shut, "state/denied");
    }
}

#[test]
fn one_who_holds_the_database_too_long_is_named() {
    let dir = directory();
    let (db, other) = (open(dir.path()), open(dir.path()));
    db.connection().busy_timeout(Duration::ZERO).unwrap();
    let failure = other.write(|_| Ok(db.begin(&crate::testing::new_run("a", "a")).unwrap_err()));
    assert_eq!(failure.unwrap().code, "state/locked");
    assert_eq!(runs(&db), 0);
}

#[test]
fn networks_are_known_by_their_numbers() {
    assert_eq!(network(0x6969), Some("NFS"));
    assert_eq!(network(0xffff_ffff_fe53_4d42), Some("SMB"));
    assert_eq!(network(0xef53), None, "ext4");
    assert_eq!(network(0x0102_1994), None, "tmpfs");
}
