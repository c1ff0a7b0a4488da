//! What stands in the way: logs and files that are damaged, disks that are full, others that are faster.

use std::fs;
use std::os::unix::fs::symlink;

use odibi_run::port::{BatchRecord, BatchState};

use super::*;

#[track_caller]
fn check(damage: impl Fn(&Bench), read: &str, write: &str) {
    for bench in [Bench::new(), Bench::on_disk()] {
        check_on(&bench, &damage, read, write);
    }
}

#[track_caller]
fn check_on(bench: &Bench, damage: &impl Fn(&Bench), read: &str, write: &str) {
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    bench.write("b", &upsert(), few(&[(2, "b")])).unwrap();
    damage(bench);
    let before = tree(&bench.table());
    let failure = bench.read_at(TableVersion::Latest).unwrap_err();
    assert_eq!(failure.code, read, "{failure:?}");
    for mode in [upsert(), once()] {
        let failure = bench.write("c", &mode, few(&[(1, "c")])).unwrap_err();
        assert_eq!(failure.code, write, "{failure:?}");
        assert!(
            !failure.message.is_empty() && !failure.causes.is_empty(),
            "{failure:?}"
        );
    }
    assert_eq!(tree(&bench.table()), before, "the table has changed");
}

/// Path and bytes of every file.
fn tree(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(tree(&path));
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            all.push((path, bytes));
        }
    }
    all.sort();
    all
}

fn log(bench: &Bench, version: u64) -> std::path::PathBuf {
    bench.table().join(format!("_delta_log/{version:020}.json"))
}

fn data_files(bench: &Bench) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(bench.table()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn a_log_that_cannot_be_read_is_never_an_empty_table() {
    let cut = |bench: &Bench| {
        let text = fs::read_to_string(log(bench, 1)).unwrap();
        fs::write(log(bench, 1), &text[..text.len() / 2]).unwrap();
    };
    check(cut, "read/bad-file", "write/bad-target");
    check(
        |bench| fs::write(log(bench, 0), "").unwrap(),
        "read/bad-file",
        "write/bad-target",
    );
    check(
        |bench| fs::remove_file(log(bench, 0)).unwrap(),
        "read/bad-file",
        "write/bad-target",
    );
    let replaced = |bench: &Bench| {
        fs::remove_file(log(bench, 1)).unwrap();
        fs::create_dir(log(bench, 1)).unwrap();
        fs::remove_file(log(bench, 0)).unwrap();
        fs::write(log(bench, 0), "not json").unwrap();
    };
    check(replaced, "read/bad-file", "write/bad-target");
}

#[test]
fn a_data_file_that_is_not_there_or_damaged_fails_the_merge() {
    let gone = |bench: &Bench| {
        data_files(bench)
            .iter()
            .for_each(|path| fs::remove_file(path).unwrap());
    };
    check(gone, "read/bad-file", "write/bad-target");
    let cut = |bench: &Bench| {
        for path in data_files(bench) {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        }
    };
    check(cut, "read/bad-file", "write/bad-target");
}

#[test]
fn nothing_outside_of_the_connection_is_read() {
    let outside = tempfile::tempdir().unwrap();
    let led_out = |bench: &Bench| {
        for path in data_files(bench) {
            let moved = outside.path().join(path.file_name().unwrap());
            fs::copy(&path, &moved).unwrap();
            fs::remove_file(&path).unwrap();
            symlink(&moved, &path).unwrap();
        }
    };
    check(led_out, "read/denied", "write/denied");
    let whole_url = |bench: &Bench| {
        for path in data_files(bench) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let moved = outside.path().join(&name);
            fs::rename(&path, &moved).unwrap();
            for version in 0..2 {
                let text = fs::read_to_string(log(bench, version)).unwrap();
                let url = format!("file://{}", moved.display());
                fs::write(log(bench, version), text.replace(&name, &url)).unwrap();
            }
        }
    };
    check(whole_url, "read/bad-file", "write/bad-target");
}

#[test]
fn a_directory_without_a_log_is_no_table() {
    let bench = Bench::new();
    let failure = bench.read_at(TableVersion::Latest).unwrap_err();
    assert_eq!(failure.code, "read/missing");
    fs::write(bench.table(), "a file").unwrap();
    let failure = bench.write("a", &upsert(), few(&[(1, "a")])).unwrap_err();
    assert_eq!(failure.code, "write/bad-target", "{failure:?}");
}

/// Sets a property of the table, as its first version has it.
fn set(bench: &Bench, key: &str, value: &str) {
    let text = fs::read_to_string(log(bench, 0)).unwrap();
    let configured = format!("\"configuration\":{{\"{key}\":\"{value}\"}}");
    assert!(text.contains("\"configuration\":{}"), "{text}");
    let text = text.replace("\"configuration\":{}", &configured);
    fs::write(log(bench, 0), text).unwrap();
}

#[test]
fn change_data_are_written_also_where_memory_is_short() {
    let bench = Bench::on_disk();
    bench
        .write("a", &upsert(), few(&[(1, "a"), (2, "b")]))
        .unwrap();
    set(&bench, "delta.enableChangeDataFeed", "true");
    bench.write("b", &upsert(), few(&[(1, "A")])).unwrap();
    assert_eq!(bench.rows(), ["1:A", "2:b"]);
    let changes = fs::read_dir(bench.table().join("_change_data"));
    assert!(changes.unwrap().count() > 0);
}

#[test]
fn a_table_that_forgets_its_batches_or_only_grows_is_refused() {
    let bench = Bench::new();
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    set(
        &bench,
        "delta.setTransactionRetentionDuration",
        "interval 1 hours",
    );
    let failure = bench.write("b", &upsert(), few(&[(1, "b")])).unwrap_err();
    assert_eq!(failure.code, "write/unsupported-table", "{failure:?}");
    let bench = Bench::new();
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    set(&bench, "delta.appendOnly", "true");
    let failure = bench.write("b", &upsert(), few(&[(1, "b")])).unwrap_err();
    assert_eq!(failure.code, "write/unsupported-table", "{failure:?}");
    bench
        .write("c", &WriteMode::Append, few(&[(1, "c")]))
        .unwrap();
}

#[test]
fn features_that_nobody_here_has_are_refused_by_name() {
    let bench = Bench::new();
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    let text = fs::read_to_string(log(&bench, 0)).unwrap();
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["rowTracking","domainMetadata"]}}"#;
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            if line.starts_with("{\"protocol\"") {
                protocol
            } else {
                line
            }
        })
        .collect();
    fs::write(log(&bench, 0), lines.join("\n")).unwrap();
    let failure = bench.write("b", &upsert(), few(&[(1, "b")])).unwrap_err();
    assert_eq!(failure.code, "write/unsupported-table", "{failure:?}");
    assert!(failure.message.contains("rowTracking"), "{failure:?}");
    assert_eq!(bench.rows(), ["1:a"]);
}

#[test]
fn a_commit_that_was_lost_on_the_way_is_found_again() {
    // Committed, and killed before anybody was told: the log of batches knows of it as staged.
    let bench = Bench::new();
    bench
        .write("a", &WriteMode::Append, few(&[(1, "a")]))
        .unwrap();
    let forgetful = Bench {
        dir: bench.dir,
        log: Arc::new(MemoryBatchLog::default()),
        ..Bench::new()
    };
    let fact = forgetful
        .write("a", &WriteMode::Append, few(&[(1, "a")]))
        .unwrap();
    effect(&fact, WriteEffect::AlreadyApplied, 0, 0);
    assert_eq!(forgetful.rows(), ["1:a"]);
}

/// The table, as the log of batches names it.
const TARGET: &str = "t@c";

/// As a run leaves it that was killed between making a batch ready and noting what became of it.
fn leave_open(bench: &Bench, pipeline: &str, batch: &str) {
    let record = BatchRecord {
        target: TARGET.into(),
        batch: batch.into(),
        run_id: "killed".into(),
        pipeline: pipeline.into(),
        node: "n".into(),
        mode: "upsert".into(),
        state: BatchState::Staged,
        rows: 1,
        evidence: format!("odibi/{pipeline}/n/{batch} new"),
    };
    bench.log.staged(&record).unwrap();
}

#[test]
fn what_a_killed_run_left_open_is_closed_by_the_next_commit() {
    let bench = Bench::new();
    let open = || {
        let open = bench.log.pending(TARGET).unwrap().into_iter();
        open.map(|record| record.batch).collect::<Vec<_>>()
    };
    let state = |batch| bench.log.find(TARGET, batch).unwrap().unwrap().state;
    // The input has changed since: nobody tries these batches again.
    leave_open(&bench, "p", "killed before there was a table");
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    assert_eq!(open(), Vec::<String>::new());
    assert_eq!(
        state("killed before there was a table"),
        BatchState::Aborted
    );
    // Of this one it is only not known that it is there.
    leave_open(&bench, "p", "a");
    leave_open(&bench, "p", "killed");
    leave_open(&bench, "q", "of another pipeline");
    // Whoever was only taken for dead could still commit: nothing has come between.
    let fact = bench.write("b", &upsert(), few(&[(1, "a")])).unwrap();
    effect(&fact, WriteEffect::Unchanged, 0, 0);
    assert_eq!(open(), ["killed", "of another pipeline"]);
    assert_eq!(state("a"), BatchState::Committed);
    bench.write("c", &upsert(), few(&[(1, "c")])).unwrap();
    assert_eq!(open(), ["of another pipeline"]);
    assert_eq!(state("killed"), BatchState::Aborted);
    assert_eq!(bench.rows(), ["1:c"]);
    // The same input after all: it is a batch as any other.
    let fact = bench.write("killed", &upsert(), few(&[(2, "k")])).unwrap();
    effect(&fact, WriteEffect::Published, 1, 0);
    assert_eq!(state("killed"), BatchState::Committed);
}
