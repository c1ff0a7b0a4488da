//! What the modes guarantee, on files and directories in every format, through the whole engine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod objects;
mod parts;
mod places;
mod schema;
mod texts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use odibi_plan::diagnostic::{FileId, Span};
use odibi_plan::plan::{
    ColumnName, DuplicateKeys, Keys, NullKeys, PlannedNode, TargetLayout, WriteFormat, WriteMode,
};
use odibi_run::port::{BatchLog, BatchRecord, MemoryBatchLog};
use odibi_story::event::{NodeFacts, WriteEffect};
use odibi_story::failure::{Failure, FailureClass};

use crate::testing::{
    Build as _, House, csv_in, csv_out, json_lines_out, node, parquet_in, parquet_out,
};

fn keys(name: &str) -> Keys {
    Keys {
        columns: vec![ColumnName {
            name: name.to_owned(),
            span: Span {
                file: FileId(0),
                start: 0,
                end: 0,
            },
        }],
        null_keys: NullKeys::Error,
        duplicate_keys: DuplicateKeys::Error,
    }
}

fn upsert() -> WriteMode {
    WriteMode::Upsert(keys("id"))
}

fn once_keyed() -> WriteMode {
    WriteMode::AppendOnce(Some(keys("id")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Parquet,
    Csv,
    Json,
    ParquetDir,
    CsvDir,
}

const KINDS: [Kind; 5] = [
    Kind::Parquet,
    Kind::Csv,
    Kind::Json,
    Kind::ParquetDir,
    Kind::CsvDir,
];

impl Kind {
    fn format(self) -> WriteFormat {
        match self {
            Self::Parquet | Self::ParquetDir => parquet_out(),
            Self::Csv | Self::CsvDir => csv_out(),
            Self::Json => json_lines_out(),
        }
    }

    fn is_dir(self) -> bool {
        matches!(self, Self::ParquetDir | Self::CsvDir)
    }

    fn node(self, source: &str, mode: WriteMode) -> PlannedNode {
        let mut node = node().read(csv_in(), source).write(self.format(), "t");
        let write = node.write.as_mut().unwrap();
        write.mode = mode;
        if self.is_dir() {
            write.layout = TargetLayout::Directory;
        }
        node
    }

    /// The rows of the target as CSV without the header; sorted for a directory, whose files have no order.
    fn rows(self, house: &House) -> Vec<String> {
        let text = match self {
            Self::Csv => house.text("t"),
            Self::Parquet => house.copy(parquet_in(), "t").unwrap().1,
            Self::Json => {
                let text = house.text("t");
                let strip = |line: &str| {
                    let value: serde_json::Value = serde_json::from_str(line).unwrap();
                    let cells = value.as_object().unwrap().values();
                    let cell = |v: &serde_json::Value| match (v.is_null(), v.as_str()) {
                        (true, _) => String::new(),
                        (_, Some(text)) => text.to_owned(),
                        (_, None) => v.to_string(),
                    };
                    cells.map(cell).collect::<Vec<_>>().join(",")
                };
                return text.lines().map(strip).collect();
            }
            Self::ParquetDir => house.copy(parquet_in(), "t/*.parquet").unwrap().1,
            Self::CsvDir => house.copy(csv_in(), "t/*.csv").unwrap().1,
        };
        let mut rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        if self.is_dir() {
            rows.sort();
        }
        rows
    }

    /// Bytes of the target, files in order.
    fn bytes(self, house: &House) -> Vec<(String, Vec<u8>)> {
        if !self.is_dir() {
            return vec![("t".to_owned(), std::fs::read(house.path("t")).unwrap())];
        }
        let names = house
            .entries("t")
            .into_iter()
            .filter(|name| name != "_odibi");
        names
            .map(|name| {
                let bytes = std::fs::read(house.path(&format!("t/{name}"))).unwrap();
                (name, bytes)
            })
            .collect()
    }
}

#[track_caller]
fn effect(facts: &NodeFacts) -> WriteEffect {
    facts.write.as_ref().unwrap().effect
}

fn counts(facts: &NodeFacts) -> [u64; 4] {
    let w = facts.write.as_ref().unwrap();
    [
        w.rows_inserted,
        w.rows_updated,
        w.rows_unchanged,
        w.rows_present,
    ]
}

#[test]
fn each_mode_does_to_each_kind_what_it_says() {
    for kind in KINDS {
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n2,y\n3,z\n");
        house.put("b.csv", "id,s\n4,w\n2,Y\n3,z\n");
        let run = |run: &str, source: &str, mode: WriteMode| {
            let facts = house.run_in(run, &kind.node(source, mode));
            facts.unwrap_or_else(|failure| panic!("{kind:?}: {failure:?}"))
        };
        let facts = run("1", "a.csv", upsert());
        assert_eq!(
            (effect(&facts), counts(&facts)),
            (WriteEffect::Published, [3, 0, 0, 0])
        );
        let facts = run("2", "b.csv", upsert());
        assert_eq!(
            (effect(&facts), counts(&facts)),
            (WriteEffect::Published, [1, 1, 1, 0])
        );
        assert_eq!(facts.rows_written, Some(2));
        let expected = ["1,x", "2,Y", "3,z", "4,w"];
        assert_eq!(kind.rows(&house), expected, "{kind:?}");
        let before = kind.bytes(&house);
        // An old batch again, after a newer one.
        let facts = run("3", "a.csv", upsert());
        assert_eq!(effect(&facts), WriteEffect::AlreadyApplied);
        // The same rows from another file: another batch, and nothing to do.
        house.put("c.csv", house.text("b.csv"));
        let facts = run("4", "c.csv", upsert());
        assert_eq!(
            (effect(&facts), counts(&facts)),
            (WriteEffect::Unchanged, [0, 0, 3, 0])
        );
        let facts = run("5", "c.csv", once_keyed());
        assert_eq!(
            (effect(&facts), counts(&facts)),
            (WriteEffect::Unchanged, [0, 0, 0, 3])
        );
        assert_eq!(
            kind.bytes(&house),
            before,
            "{kind:?}: byte by byte as before"
        );

        house.put("d.csv", "id,s\n5,v\n1,no\n");
        let facts = run("6", "d.csv", once_keyed());
        assert_eq!(counts(&facts), [1, 0, 0, 1]);
        assert_eq!(
            kind.rows(&house),
            ["1,x", "2,Y", "3,z", "4,w", "5,v"],
            "{kind:?}"
        );

        house.put("e.csv", "id,s\n6,u\n6,u\n");
        run("7", "e.csv", WriteMode::AppendOnce(None));
        let facts = run("8", "e.csv", WriteMode::AppendOnce(None));
        assert_eq!(effect(&facts), WriteEffect::AlreadyApplied);
        run("9", "e.csv", WriteMode::Append);
        let facts = run("9", "e.csv", WriteMode::Append);
        assert_eq!(
            effect(&facts),
            WriteEffect::AlreadyApplied,
            "a run appends once"
        );
        run("10", "e.csv", WriteMode::Append);
        let rows = kind.rows(&house);
        assert_eq!(rows.len(), 5 + 2 + 2 + 2, "{kind:?}: {rows:?}");
        run("11", "a.csv", WriteMode::Overwrite);
        assert_eq!(kind.rows(&house), ["1,x", "2,y", "3,z"], "{kind:?}");
        let facts = run("12", "a.csv", WriteMode::Overwrite);
        assert_eq!(effect(&facts), WriteEffect::Published);
        let hidden = house.entries("").into_iter().filter(|n| n.starts_with('.'));
        assert_eq!(hidden.count(), 0, "{kind:?} leaves nothing");
        assert_eq!(house.scratch_files(), 0);
    }
}

#[test]
fn a_target_that_was_removed_is_written_again() {
    for kind in KINDS {
        let house = House::new();
        house.put("a.csv", "id\n1\n");
        house.run_in("1", &kind.node("a.csv", upsert())).unwrap();
        let path = house.path("t");
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        let facts = house.run_in("2", &kind.node("a.csv", upsert())).unwrap();
        assert_eq!(effect(&facts), WriteEffect::Published, "{kind:?}");
        assert_eq!(kind.rows(&house), ["1"]);
    }
}

#[test]
fn texts_keep_the_lines_that_others_wrote() {
    let house = House::new();
    house.put("a.csv", "id,s\n2,new\n");
    house.put("t", "id,s\r\n01,\"a \"\"b\"\"\nc\"\r\n2, x \n3,\"\"");
    house
        .run_in("1", &Kind::Csv.node("a.csv", upsert()))
        .unwrap();
    assert_eq!(
        house.text("t"),
        "id,s\n01,\"a \"\"b\"\"\nc\"\r\n2,new\n3,\"\"\n"
    );
    house.put("t", "{\"s\": \"x\", \"id\": 1}\n{\"id\":2,\"s\":1.50}");
    house
        .run_in("2", &Kind::Json.node("a.csv", once_keyed()))
        .unwrap();
    assert_eq!(
        house.text("t"),
        "{\"s\": \"x\", \"id\": 1}\n{\"id\":2,\"s\":1.50}"
    );
    house.put("b.csv", "id,s\n2,y\n4,\n");
    house
        .run_in("2", &Kind::Json.node("b.csv", upsert()))
        .unwrap();
    assert_eq!(
        house.text("t"),
        "{\"s\": \"x\", \"id\": 1}\n{\"id\":2,\"s\":\"y\"}\n{\"id\":4,\"s\":null}\n"
    );
}

#[track_caller]
fn refused(kind: Kind, target: Option<&[u8]>, batch: &str, mode: WriteMode, code: &str) {
    let house = House::new();
    house.put("a.csv", batch);
    if let Some(bytes) = target {
        house.put("t", bytes);
    }
    let failure = house.run_in("1", &kind.node("a.csv", mode)).unwrap_err();
    assert_eq!(failure.code, code, "{kind:?}: {failure:?}");
    assert!(!failure.hints.is_empty(), "{failure:?}");
    match target {
        Some(bytes) => assert_eq!(std::fs::read(house.path("t")).unwrap(), bytes),
        None => assert_eq!(house.entries(""), ["a.csv"], "nothing was made"),
    }
    assert!(house.entries("").iter().all(|name| !name.starts_with('.')));
}

#[test]
fn what_cannot_be_right_is_refused_and_changes_nothing() {
    for kind in KINDS {
        refused(kind, None, "id,s\n1,x\n,y\n", upsert(), "write/null-key");
        refused(
            kind,
            None,
            "id,s\n1,x\n1,y\n",
            once_keyed(),
            "write/duplicate-key",
        );
        refused(kind, None, "id,s\n1.5,x\n", upsert(), "write/bad-key");
        refused(kind, None, "di,s\n1,x\n", upsert(), "write/bad-key");
    }
    let modes = [
        upsert(),
        once_keyed(),
        WriteMode::Append,
        WriteMode::AppendOnce(None),
    ];
    for mode in modes {
        let unreadable = "write/unreadable-target";
        let mismatch = "write/schema-mismatch";
        let row = "id,s\n1,x\n";
        let check = |kind, target: &str, code| {
            refused(kind, Some(target.as_bytes()), row, mode.clone(), code);
        };
        check(Kind::Csv, "", unreadable);
        check(Kind::Csv, "id,s\n1,\"x\n", unreadable);
        check(Kind::Csv, "id,s\n1,x\n2\n", unreadable);
        check(Kind::Csv, "id\n1\n", mismatch);
        check(Kind::Csv, "s,id\nx,1\n", mismatch);
        check(Kind::Json, "{\"id\":1,\"s\":\"x\"}\n{\"id\":", unreadable);
        check(Kind::Json, "[1]\n", unreadable);
        check(Kind::Json, "{\"id\":1}\n", mismatch);
        check(Kind::Json, "{\"id\":1,\"s\":2,\"t\":3}\n", mismatch);
        check(Kind::Parquet, "", unreadable);
        check(Kind::Parquet, "PAR1 and nothing more PAR1", unreadable);
        check(Kind::ParquetDir, "a file", "write/bad-target");
    }
    refused(
        Kind::Csv,
        Some(b"id,s\nx,1\n"),
        "id,s\n1,x\n",
        upsert(),
        "write/schema-mismatch",
    );
    refused(
        Kind::Csv,
        Some(b"id,s\n1,1\n1,2\n"),
        "id,s\n1,x\n",
        upsert(),
        "write/duplicate-key",
    );
}

#[test]
fn a_damaged_or_foreign_parquet_target_stays_as_it_is() {
    for mode in [upsert(), once_keyed(), WriteMode::Append] {
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n");
        house.put("b.csv", "id,s\n2,y\n");
        house
            .run_in("1", &Kind::Parquet.node("a.csv", WriteMode::Overwrite))
            .unwrap();
        let good = std::fs::read(house.path("t")).unwrap();
        for cut in [1, good.len() / 2, good.len() - 1] {
            house.put("t", &good[..cut]);
            let failure = house
                .run_in("2", &Kind::Parquet.node("b.csv", mode.clone()))
                .unwrap_err();
            assert_eq!(failure.code, "write/unreadable-target", "{failure:?}");
            assert_eq!(std::fs::read(house.path("t")).unwrap(), good[..cut]);
        }
        house.put("t", &good);
        house.put("c.csv", "id,s\n2,2.5\n");
        let failure = house
            .run_in("3", &Kind::Parquet.node("c.csv", mode.clone()))
            .unwrap_err();
        assert_eq!(failure.code, "write/schema-mismatch");
        assert_eq!(std::fs::read(house.path("t")).unwrap(), good);
        // A directory in its place.
        std::fs::remove_file(house.path("t")).unwrap();
        house.put("t/x", "keep");
        let failure = house
            .run_in("4", &Kind::Parquet.node("b.csv", mode.clone()))
            .unwrap_err();
        assert_eq!(failure.class, FailureClass::Denied, "{failure:?}");
        assert_eq!(house.text("t/x"), "keep");
    }
}

#[test]
fn a_directory_with_other_files_is_not_replaced() {
    for mode in [WriteMode::Overwrite, upsert()] {
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n");
        house.put("t/notes.txt", "keep");
        let failure = house
            .run_in("1", &Kind::ParquetDir.node("a.csv", mode))
            .unwrap_err();
        assert_eq!(failure.code, "write/bad-target");
        assert_eq!(house.text("t/notes.txt"), "keep");
        assert_eq!(house.entries("t"), ["notes.txt"]);
    }
}

/// A log whose process dies at a moment of its life: what it was told before stays.
#[derive(Debug, Default)]
struct Dying {
    log: MemoryBatchLog,
    /// 1: before `staged` is answered; 2: before `committed` is noted.
    at: AtomicU8,
}

fn dead() -> Failure {
    Failure::new(FailureClass::Internal, "engine/internal", "killed")
}

impl BatchLog for Dying {
    fn find(&self, target: &str, batch: &str) -> Result<Option<BatchRecord>, Failure> {
        self.log.find(target, batch)
    }
    fn pending(&self, target: &str) -> Result<Vec<BatchRecord>, Failure> {
        self.log.pending(target)
    }
    fn staged(&self, record: &BatchRecord) -> Result<(), Failure> {
        self.log.staged(record)?;
        match self.at.load(Ordering::Relaxed) {
            1 => Err(dead()),
            _ => Ok(()),
        }
    }
    fn committed(&self, target: &str, batch: &str) -> Result<(), Failure> {
        match self.at.load(Ordering::Relaxed) {
            2 => Err(dead()),
            _ => self.log.committed(target, batch),
        }
    }
    fn aborted(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.log.aborted(target, batch)
    }
    fn observed(&self, seen: &BatchRecord, is_there: bool) -> Result<(), Failure> {
        self.log.observed(seen, is_there)
    }
    fn adopt(&self, before: &str, target: &str) -> Result<(), Failure> {
        self.log.adopt(before, target)
    }
}

#[test]
fn whatever_moment_a_run_dies_at_its_rows_count_once() {
    for kind in KINDS {
        for mode in [
            WriteMode::Append,
            WriteMode::AppendOnce(None),
            once_keyed(),
            upsert(),
        ] {
            let log = Arc::new(Dying::default());
            let house = House::new().log(Arc::clone(&log) as Arc<dyn BatchLog>);
            house.put("a.csv", "id\n1\n");
            house.put("b.csv", "id\n2\n");
            house.put("c.csv", "id\n3\n");
            let run = |run: &str, source: &str| house.run_in(run, &kind.node(source, mode.clone()));
            run("1", "a.csv").unwrap();
            let before = kind.bytes(&house);
            log.at.store(1, Ordering::Relaxed);
            run("2", "b.csv").unwrap_err();
            assert_eq!(kind.bytes(&house), before, "{kind:?}");
            log.at.store(2, Ordering::Relaxed);
            assert_eq!(effect(&run("2", "b.csv").unwrap()), WriteEffect::Published);
            log.at.store(0, Ordering::Relaxed);
            // Another run settles it, and the first one tries again.
            run("3", "c.csv").unwrap();
            let facts = run("2", "b.csv").unwrap();
            assert_eq!(
                effect(&facts),
                WriteEffect::AlreadyApplied,
                "{kind:?} {mode:?}"
            );
            let mut rows = kind.rows(&house);
            rows.sort();
            assert_eq!(rows, ["1", "2", "3"], "{kind:?} {mode:?}");
            let name = places::name(&house, "t");
            let known = log.find(&name, &facts.write.unwrap().batch).unwrap();
            assert!(known.is_some(), "{kind:?} {mode:?}");
            let pending = log.pending(&name).unwrap();
            assert_eq!(pending, [], "{kind:?} {mode:?}");
        }
    }
}

#[test]
fn a_text_that_was_changed_after_a_crash_is_not_guessed_at() {
    let log = Arc::new(Dying::default());
    let house = House::new().log(Arc::clone(&log) as Arc<dyn BatchLog>);
    house.put("a.csv", "id\n1\n");
    log.at.store(2, Ordering::Relaxed);
    house
        .run_in("1", &Kind::Csv.node("a.csv", WriteMode::Append))
        .unwrap();
    log.at.store(0, Ordering::Relaxed);
    house.put("t", "id\n1\n9\n");
    let node = Kind::Csv.node("a.csv", WriteMode::Append);
    let failure = house.run_in("1", &node).unwrap_err();
    assert_eq!(failure.code, "write/unsettled");
    assert_eq!(house.text("t"), "id\n1\n9\n");
    // Other runs go on.
    house.run_in("2", &node).unwrap();
    assert_eq!(house.text("t"), "id\n1\n9\n1\n");
}

#[test]
fn writers_side_by_side_lose_nothing() {
    for kind in [Kind::Parquet, Kind::Csv, Kind::ParquetDir] {
        let house = House::new();
        house.put("zero.csv", "id,by\n");
        for writer in 0..4 {
            for turn in 0..3 {
                let rows: String = (0..6)
                    .map(|n| format!("{},{writer}\n", n + turn * 3))
                    .collect();
                house.put(&format!("{writer}-{turn}.csv"), format!("id,by\n{rows}"));
            }
        }
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (house, upsert) = (&house, upsert());
                scope.spawn(move || {
                    for turn in 0..3 {
                        let node = kind.node(&format!("{writer}-{turn}.csv"), upsert.clone());
                        house.run_in(&format!("{writer}-{turn}"), &node).unwrap();
                    }
                });
            }
        });
        let rows = kind.rows(&house);
        let mut ids: Vec<i64> = rows
            .iter()
            .map(|row| row.split(',').next().unwrap().parse().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..12).collect::<Vec<_>>(), "{kind:?}");
    }
}

#[test]
fn a_batch_larger_than_memory_is_merged_on_disk() {
    let house = House::with(|options| {
        options.memory_bytes_max = 4 * 1024 * 1024;
        options.batch_rows = 4_096;
    });
    let text = |from: u64, to: u64, tag: &str| {
        let rows = (from..to).map(|n| format!("{},{tag}-{n}-some-text\n", n * 7_919 % 1_000_003));
        format!("id,s\n{}", rows.collect::<String>())
    };
    house.put("a.csv", text(0, 60_000, "old"));
    house.put("b.csv", text(30_000, 90_000, "new"));
    for kind in [Kind::Parquet, Kind::Csv] {
        let _ = std::fs::remove_file(house.path("t"));
        house.run_in("1", &kind.node("a.csv", upsert())).unwrap();
        let facts = house.run_in("2", &kind.node("b.csv", upsert())).unwrap();
        assert_eq!(counts(&facts), [30_000, 30_000, 0, 0], "{kind:?}");
        let mut rows = kind.rows(&house);
        rows.sort();
        let mut expected: Vec<String> = text(0, 30_000, "old")
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect();
        expected.extend(
            text(30_000, 90_000, "new")
                .lines()
                .skip(1)
                .map(str::to_owned),
        );
        expected.sort();
        assert!(rows == expected, "{kind:?}: {} rows", rows.len());
    }
}

#[test]
fn a_directory_behind_a_link_is_made_anew_every_time() {
    for kind in [Kind::ParquetDir, Kind::CsvDir] {
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n");
        house.put("b.csv", "id,s\n1,y\n2,z\n");
        std::fs::create_dir_all(house.path("real/out")).unwrap();
        let link = |to: &str| {
            let _ = std::fs::remove_file(house.path("t"));
            std::os::unix::fs::symlink(to, house.path("t")).unwrap();
        };
        link("real/out");
        for (run, source) in [("1", "a.csv"), ("2", "b.csv"), ("3", "a.csv")] {
            let node = kind.node(source, WriteMode::Overwrite);
            house.run_in(run, &node).unwrap();
        }
        assert_eq!(kind.rows(&house), ["1,x"], "{kind:?}");
        house.run_in("4", &kind.node("b.csv", upsert())).unwrap();
        assert_eq!(kind.rows(&house), ["1,y", "2,z"], "{kind:?}");
        // By its own name it is the same table, under the same lock.
        let mut node = kind.node("b.csv", upsert());
        node.write.as_mut().unwrap().path = "real/out".to_owned();
        let facts = house.run_in("5", &node).unwrap();
        assert_eq!(effect(&facts), WriteEffect::Unchanged, "{kind:?}");
        let to = std::fs::read_link(house.path("t")).unwrap();
        assert_eq!(to.to_str(), Some("real/out"));
        for dir in ["", "real"] {
            let hidden = house
                .entries(dir)
                .into_iter()
                .filter(|n| n.starts_with('.'));
            assert_eq!(hidden.count(), 0, "{kind:?} leaves nothing");
        }
        for (to, code) in [
            ("nowhere", "write/bad-target"),
            (".", "write/bad-target"),
            ("../scratch", "write/denied"),
            ("a.csv", "write/bad-target"),
        ] {
            link(to);
            let node = kind.node("a.csv", WriteMode::Overwrite);
            let failure = house.run_in("6", &node).unwrap_err();
            assert_eq!(failure.code, code, "{kind:?} {to}: {failure:?}");
            assert!(
                std::fs::symlink_metadata(house.path("t"))
                    .unwrap()
                    .is_symlink()
            );
        }
    }
}
