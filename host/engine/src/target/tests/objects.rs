//! The modes on object stores: S3 (moto) and Azure (Azurite).

use std::sync::atomic::AtomicU32;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use odibi_plan::plan::{Connection, InputSource, ReadFormat};

use super::*;
use crate::driver::Reach;
use crate::store::conformance::lost::{Mishap, relay};
use crate::store::conformance::places::{connections, connections_at};
use crate::store::{Expect, Purpose, Stores};
use crate::testing::changing::interrupted;

fn at(connection: &Connection, mut node: PlannedNode) -> PlannedNode {
    node.write.as_mut().unwrap().connection = connection.clone();
    node
}

/// What is at a path, as CSV without the header; sorted where there are several files.
fn rows(house: &House, connection: &Connection, format: ReadFormat, path: &str) -> Vec<String> {
    let mut node = node().read(format, path).write(csv_out(), "copy.csv");
    if let InputSource::Read(read) = &mut node.inputs[0].source {
        read.connection = connection.clone();
    }
    house.run(&node).unwrap();
    let text = house.text("copy.csv");
    let mut rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    if path.contains('*') {
        rows.sort();
    }
    rows
}

#[test]
fn each_mode_does_to_one_object_what_it_says() {
    let formats = [
        (parquet_out(), parquet_in()),
        (csv_out(), csv_in()),
        (json_lines_out(), crate::testing::json_lines_in()),
    ];
    for connection in connections() {
        for (number, (format, read)) in formats.iter().enumerate() {
            let house = House::new();
            house.put("a.csv", "id,s\n1,x\n2,y\n3,z\n");
            house.put("b.csv", "id,s\n4,w\n2,Y\n3,z\n");
            house.put("c.csv", "id,s\n5,v\n1,no\n");
            let path = format!("t{number}");
            let run = |run: &str, source: &str, mode: WriteMode| {
                let mut node = node().read(csv_in(), source).write(format.clone(), &path);
                node.write.as_mut().unwrap().mode = mode;
                house.run_in(run, &at(&connection, node)).unwrap()
            };
            let rows = || rows(&house, &connection, read.clone(), &path);
            assert_eq!(counts(&run("1", "a.csv", upsert())), [3, 0, 0, 0]);
            assert_eq!(counts(&run("2", "b.csv", upsert())), [1, 1, 1, 0]);
            assert_eq!(rows(), ["1,x", "2,Y", "3,z", "4,w"]);
            assert_eq!(
                effect(&run("3", "a.csv", upsert())),
                WriteEffect::AlreadyApplied
            );
            assert_eq!(counts(&run("4", "c.csv", once_keyed())), [1, 0, 0, 1]);
            run("5", "c.csv", WriteMode::Append);
            run("6", "a.csv", WriteMode::AppendOnce(None));
            let again = run("7", "a.csv", WriteMode::AppendOnce(None));
            assert_eq!(effect(&again), WriteEffect::AlreadyApplied);
            assert_eq!(
                rows(),
                [
                    "1,x", "2,Y", "3,z", "4,w", "5,v", "5,v", "1,no", "1,x", "2,y", "3,z"
                ]
            );
            run("8", "b.csv", WriteMode::Overwrite);
            assert_eq!(rows(), ["4,w", "2,Y", "3,z"]);
        }
    }
}

#[test]
fn directories_grow_by_objects_and_are_never_replaced() {
    for connection in connections() {
        for kind in [Kind::ParquetDir, Kind::CsvDir] {
            let house = House::new();
            house.put("a.csv", "id,s\n1,x\n2,y\n");
            house.put("b.csv", "id,s\n3,z\n");
            let mut once = kind.node("a.csv", WriteMode::AppendOnce(None));
            once.write.as_mut().unwrap().path = format!("{kind:?}");
            let mut append = once.clone();
            append.write.as_mut().unwrap().mode = WriteMode::Append;
            let run = |run: &str, node: &PlannedNode| {
                let facts = house.run_in(run, &at(&connection, node.clone())).unwrap();
                effect(&facts)
            };
            assert_eq!(run("1", &once), WriteEffect::Published);
            // Another project knows nothing of it: the name of the object is the proof.
            let other = House::new();
            other.put("a.csv", house.text("a.csv"));
            let time = std::fs::metadata(house.path("a.csv"))
                .unwrap()
                .modified()
                .unwrap();
            let copy = std::fs::File::options()
                .write(true)
                .open(other.path("a.csv"))
                .unwrap();
            copy.set_modified(time).unwrap();
            let facts = other.run_in("2", &at(&connection, once.clone())).unwrap();
            assert_eq!(effect(&facts), WriteEffect::AlreadyApplied, "{kind:?}");
            assert_eq!(run("3", &append), WriteEffect::Published);
            assert_eq!(run("3", &append), WriteEffect::AlreadyApplied);
            let (read, end) = if kind == Kind::CsvDir {
                (csv_in(), "csv")
            } else {
                (parquet_in(), "parquet")
            };
            let found = rows(&house, &connection, read, &format!("{kind:?}/*.{end}"));
            assert_eq!(found, ["1,x", "1,x", "2,y", "2,y"]);

            for mode in [WriteMode::Overwrite, upsert(), once_keyed()] {
                let mut node = append.clone();
                node.write.as_mut().unwrap().mode = mode;
                let failure = house.run_in("4", &at(&connection, node)).unwrap_err();
                assert_eq!(failure.code, "write/bad-target");
                assert!(failure.hints[0].contains("`delta`"), "{failure:?}");
            }
            let mut parts = append.clone();
            parts.write.as_mut().unwrap().partition_by = keys("s").columns;
            let failure = house.run_in("5", &at(&connection, parts)).unwrap_err();
            assert_eq!(failure.code, "write/bad-target");
        }
    }
}

#[test]
fn writers_of_one_object_side_by_side_lose_nothing() {
    for connection in connections() {
        for kind in [Kind::Parquet, Kind::Csv] {
            let house = House::new();
            for writer in 0..3 {
                let rows: String = (0..6)
                    .map(|n| format!("{},{writer}\n", n + writer))
                    .collect();
                house.put(&format!("{writer}.csv"), format!("id,by\n{rows}"));
            }
            let path = format!("{kind:?}");
            std::thread::scope(|scope| {
                for writer in 0..3 {
                    let (house, connection, path) = (&house, &connection, &path);
                    scope.spawn(move || {
                        let mut node = kind.node(&format!("{writer}.csv"), upsert());
                        node.write.as_mut().unwrap().path.clone_from(path);
                        house
                            .run_in(&format!("{writer}"), &at(connection, node))
                            .unwrap();
                    });
                }
            });
            let read = if kind == Kind::Csv {
                csv_in()
            } else {
                parquet_in()
            };
            let rows = rows(&house, &connection, read, &path);
            let mut ids: Vec<&str> = rows
                .iter()
                .map(|row| row.split(',').next().unwrap())
                .collect();
            ids.sort_unstable();
            assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6", "7"], "{kind:?}");
        }
    }
}

#[test]
fn a_write_whose_answer_is_lost_counts_once() {
    for kind in [Kind::Parquet, Kind::Csv, Kind::ParquetDir] {
        let lost = Arc::new(AtomicU32::new(0));
        let before = |origin: &str| relay(origin, "PUT ", Mishap::Lost, Arc::clone(&lost));
        for (shaky, steady) in connections_at(before) {
            let what = format!("{kind:?} at {}", steady.kind.root());
            let house = House::new();
            house.put("a.csv", "id,s\n1,x\n2,y\n");
            let mut node = kind.node("a.csv", WriteMode::Append);
            if kind == Kind::ParquetDir {
                // Nothing but the name tells.
                node.write.as_mut().unwrap().mode = WriteMode::AppendOnce(None);
            }
            house.run_in("1", &at(&steady, node.clone())).unwrap();
            house.put("a.csv", "id,s\n3,z\n");
            lost.store(1, Ordering::SeqCst);
            let facts = house.run_in("2", &at(&shaky, node.clone())).unwrap();
            assert_eq!(lost.load(Ordering::SeqCst), 0, "{what}: it was lost");
            assert_eq!(effect(&facts), WriteEffect::Published, "{what}");
            // The same place: a text has nothing but the log.
            let again = house.run_in("2", &at(&shaky, node)).unwrap();
            assert_eq!(effect(&again), WriteEffect::AlreadyApplied, "{what}");
            assert_eq!(seen(kind, &house, &steady), ["1,x", "2,y", "3,z"], "{what}");
        }
    }
}

/// The rows of the target, sorted.
fn seen(kind: Kind, house: &House, connection: &Connection) -> Vec<String> {
    let read = if kind == Kind::Csv {
        csv_in()
    } else {
        parquet_in()
    };
    let path = if kind == Kind::ParquetDir {
        "t/*.parquet"
    } else {
        "t"
    };
    let mut found = rows(house, connection, read, path);
    found.sort();
    found
}

/// Key, ETag and bytes of all that lies at a connection, hidden objects too.
fn objects(connection: &Connection) -> Vec<(String, Option<String>, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::new(dir.path(), dir.path());
    let store = stores.open(connection, Purpose::Read).unwrap();
    let Reach::Objects(store, prefix) = store.reach().unwrap() else {
        panic!("no object store")
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    runtime.block_on(async {
        let root = Path::parse(prefix).unwrap();
        let listed: Vec<ObjectMeta> = store.list(Some(&root)).try_collect().await.unwrap();
        let mut found = Vec::new();
        for meta in listed {
            let object = store.get(&meta.location).await.unwrap();
            let bytes = object.bytes().await.unwrap().to_vec();
            found.push((meta.location.to_string(), meta.e_tag, bytes));
        }
        found.sort();
        found
    })
}

fn busy(kind: Kind, mode: &WriteMode, begins: &'static str) {
    let lost = Arc::new(AtomicU32::new(0));
    let before = |origin: &str| relay(origin, begins, Mishap::Busy, Arc::clone(&lost));
    for (shaky, steady) in connections_at(before) {
        let what = format!("{kind:?}, {begins}at {}", steady.kind.root());
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n2,y\n");
        let node = kind.node("a.csv", mode.clone());
        house.run_in("1", &at(&steady, node.clone())).unwrap();
        let before = objects(&steady);
        assert_eq!(before.len(), 1, "{what}");
        house.put("a.csv", "id,s\n2,Z\n3,z\n");
        lost.store(u32::MAX, Ordering::SeqCst);
        let failure = house.run_in("2", &at(&shaky, node.clone())).unwrap_err();
        let code = match begins {
            "PUT " => "write/failed",
            // Of a directory this is its list.
            "GET " if !kind.is_dir() => "write/unreadable-target",
            _ => "read/failed",
        };
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Transient, code),
            "{what}: {failure:?}"
        );
        let repair = failure.hints.iter().any(|hint| hint.contains("repair"));
        assert!(!repair, "{what}: {failure:?}");
        assert!(lost.load(Ordering::SeqCst) < u32::MAX, "{what}");
        assert!(objects(&steady) == before, "{what}: byte by byte as before");
        lost.store(0, Ordering::SeqCst);
        house.run_in("2", &at(&shaky, node)).unwrap();
        let expected: &[&str] = if mode.keys().is_some() {
            &["1,x", "2,Z", "3,z"]
        } else {
            &["1,x", "2,Z", "2,y", "3,z"]
        };
        assert_eq!(seen(kind, &house, &steady), expected, "{what}");
    }
}

#[test]
fn an_object_that_is_replaced_between_two_looks_fails_the_attempt() {
    for connection in connections() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::new(dir.path(), dir.path());
        let store = stores.open(&connection, Purpose::Write).unwrap();
        let put = move |text: &str| {
            let mut upload = store.create("latest.csv").unwrap();
            std::io::Write::write_all(&mut upload.writer().unwrap(), text.as_bytes()).unwrap();
            upload.put(&Expect::Anything).unwrap();
        };
        put("n\n1\n2\n");
        let change = interrupted(move || put("n\n3\n4\n"));
        let house = House::new().operation("step", change);
        let mut node = node().read(csv_in(), "latest.csv").step("step");
        if let InputSource::Read(read) = &mut node.inputs[0].source {
            read.connection = connection.clone();
        }
        let mut node = node.write(csv_out(), "t");
        node.write.as_mut().unwrap().mode = WriteMode::AppendOnce(None);
        let failure = house.run_in("1", &node).unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient, "{failure:?}");
        assert!(failure.message.contains("latest.csv"), "{failure:?}");
        house.run_in("1", &node).unwrap();
        let facts = house.run_in("2", &node).unwrap();
        assert_eq!(effect(&facts), WriteEffect::AlreadyApplied);
        assert_eq!(house.text("t"), "n\n3\n4\n");
    }
}

#[test]
fn a_busy_store_leaves_the_target_as_it_is() {
    let cases = [
        (Kind::Parquet, upsert()),
        (Kind::Csv, upsert()),
        // There it only grows.
        (Kind::ParquetDir, WriteMode::AppendOnce(None)),
    ];
    // Each waits most of the time.
    std::thread::scope(|scope| {
        for (kind, mode) in &cases {
            for begins in ["PUT ", "GET ", "HEAD "] {
                scope.spawn(move || busy(*kind, mode, begins));
            }
        }
    });
}
