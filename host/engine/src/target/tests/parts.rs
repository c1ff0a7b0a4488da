//! Targets with partitions: every mode, strange values, and files that stay what they are.

use std::os::unix::fs::MetadataExt as _;

use super::*;

fn parted(format: WriteFormat, source: &str, mode: WriteMode, by: &[&str]) -> PlannedNode {
    let mut node = node().read(csv_in(), source).write(format, "t");
    let write = node.write.as_mut().unwrap();
    write.mode = mode;
    write.layout = TargetLayout::Directory;
    write.partition_by = by.iter().map(|name| column(name)).collect();
    node
}

fn column(name: &str) -> ColumnName {
    keys(name).columns.remove(0)
}

/// `path: rows` of every data file, the rows as the format's own text where it is one.
fn files(house: &House, extension: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(dir) = open.pop() {
        for name in house.entries(&format!("t/{dir}")) {
            let path = format!("{dir}{name}");
            if house.path(&format!("t/{path}")).is_dir() && !name.starts_with('_') {
                open.push(format!("{path}/"));
            } else if name.ends_with(extension) {
                let rows = match extension {
                    ".parquet" => house.copy(parquet_in(), &format!("t/{path}")).unwrap().1,
                    _ => house.text(&format!("t/{path}")),
                };
                let rows = rows.lines().map(str::to_owned).collect();
                found.push((dir.trim_end_matches('/').to_owned(), rows));
            }
        }
    }
    found.sort();
    found
}

fn dirs(found: &[(String, Vec<String>)]) -> Vec<&str> {
    found.iter().map(|(dir, _)| dir.as_str()).collect()
}

const FIRST: &str = "id,day,s\n1,mo,x\n2,tu,y\n3,mo,z\n4,,w\n";

#[test]
fn each_mode_writes_its_partitions() {
    for (format, extension) in [
        (parquet_out(), ".parquet"),
        (csv_out(), ".csv"),
        (json_lines_out(), ".jsonl"),
    ] {
        let house = House::new();
        house.put("a.csv", FIRST);
        let run = |run: &str, source: &str, mode: WriteMode| {
            let node = parted(format.clone(), source, mode, &["day"]);
            let facts = house.run_in(run, &node);
            facts.unwrap_or_else(|failure| panic!("{extension}: {failure:?}"))
        };
        let facts = run("1", "a.csv", WriteMode::Overwrite);
        assert_eq!(facts.write.as_ref().unwrap().files_added, 3);
        let found = files(&house, extension);
        let null = "day=__HIVE_DEFAULT_PARTITION__";
        assert_eq!(dirs(&found), [null, "day=mo", "day=tu"], "{extension}");
        if extension != ".jsonl" {
            assert_eq!(found[1].1, ["id,s", "1,x", "3,z"], "{extension}");
        }

        // Rows move to another partition with their new value; others stay.
        house.put("b.csv", "id,day,s\n1,tu,x\n4,mo,w\n2,tu,Y\n5,we,v\n");
        let facts = run("2", "b.csv", upsert());
        assert_eq!(counts(&facts), [1, 3, 0, 0], "{extension}");
        let found = files(&house, extension);
        assert_eq!(dirs(&found), ["day=mo", "day=tu", "day=we"], "{extension}");
        if extension != ".jsonl" {
            assert_eq!(found[0].1, ["id,s", "4,w", "3,z"], "{extension}");
            assert_eq!(found[1].1, ["id,s", "1,x", "2,Y"], "{extension}");
        }
        assert_eq!(
            effect(&run("3", "b.csv", upsert())),
            WriteEffect::AlreadyApplied
        );
        house.put("c.csv", house.text("b.csv"));
        assert_eq!(effect(&run("4", "c.csv", upsert())), WriteEffect::Unchanged);

        house.put("d.csv", "id,day,s\n5,mo,no\n6,mo,u\n");
        assert_eq!(counts(&run("5", "d.csv", once_keyed())), [1, 0, 0, 1]);
        // One partition is one more file; several appear at once.
        house.put("e.csv", "id,day,s\n7,mo,t\n");
        run("6", "e.csv", WriteMode::Append);
        assert_eq!(
            effect(&run("6", "e.csv", WriteMode::Append)),
            WriteEffect::AlreadyApplied
        );
        let facts = run("7", "b.csv", WriteMode::AppendOnce(None));
        assert_eq!(facts.write.as_ref().unwrap().files_added, 3);
        let again = run("8", "b.csv", WriteMode::AppendOnce(None));
        assert_eq!(effect(&again), WriteEffect::AlreadyApplied);
        let rows: usize = files(&house, extension).iter().map(|(_, r)| r.len()).sum();
        let headers = if extension == ".jsonl" {
            0
        } else {
            files(&house, extension).len()
        };
        assert_eq!(rows - headers, 6 + 1 + 4, "{extension}");
    }
}

#[test]
fn partition_columns_among_the_keys_leave_other_files_alone() {
    for (format, extension) in [(parquet_out(), ".parquet"), (csv_out(), ".csv")] {
        let house = House::new();
        house.put("a.csv", FIRST);
        let mode = || {
            let mut keys = keys("id");
            keys.columns.push(column("day"));
            keys.null_keys = NullKeys::Equal;
            WriteMode::Upsert(keys)
        };
        let node = |source: &str| parted(format.clone(), source, mode(), &["day"]);
        house.run_in("1", &node("a.csv")).unwrap();
        let inode = |day: &str| {
            let name = house.entries(&format!("t/day={day}")).remove(0);
            let path = house.path(&format!("t/day={day}/{name}"));
            (std::fs::metadata(&path).unwrap().ino(), path)
        };
        let (before, tuesday) = inode("tu");
        // It could not even be read.
        std::fs::write(&tuesday, "damaged").unwrap();
        house.put("b.csv", "id,day,s\n1,mo,X\n4,,W\n9,mo,new\n");
        let facts = house.run_in("2", &node("b.csv")).unwrap();
        assert_eq!(counts(&facts), [1, 2, 0, 0], "{extension}");
        let write = facts.write.unwrap();
        assert_eq!((write.files_added, write.files_removed), (2, 2));
        assert_eq!(inode("tu").0, before, "{extension}: the same file");
        house.put("c.csv", "id,day,s\n2,tu,Y\n");
        let failure = house.run_in("3", &node("c.csv")).unwrap_err();
        let code = match extension {
            ".csv" => "write/schema-mismatch",
            _ => "write/unreadable-target",
        };
        assert_eq!(failure.code, code);
    }
}

#[test]
fn any_value_has_a_directory_of_its_own() {
    let house = House::new();
    let values = [
        "a/b",
        "..",
        "ü ñ",
        "100%",
        "=",
        "__HIVE_DEFAULT_PARTITION__",
        "",
        "x\u{1}",
    ];
    let rows: String = (0..)
        .zip(values)
        .map(|(n, v)| format!("{n},\"{v}\"\n"))
        .collect();
    house.put("a.csv", format!("id,v\n{rows}"));
    let overwrite = parted(parquet_out(), "a.csv", WriteMode::Overwrite, &["v"]);
    house.run_in("1", &overwrite).unwrap();
    assert_eq!(files(&house, ".parquet").len(), values.len());
    // What was written is found again under its value.
    let mut both = keys("id");
    both.columns.push(column("v"));
    // An empty field of CSV is null.
    both.null_keys = NullKeys::Equal;
    let upsert = parted(parquet_out(), "a.csv", WriteMode::Upsert(both), &["v"]);
    let facts = house.run_in("2", &upsert).unwrap();
    assert_eq!(counts(&facts), [0, 0, 8, 0]);

    house.put("long.csv", format!("id,v\n1,{}\n", "é".repeat(130)));
    let long = parted(parquet_out(), "long.csv", WriteMode::Overwrite, &["v"]);
    assert_eq!(
        house.run_in("3", &long).unwrap_err().code,
        "write/bad-value"
    );
}

#[test]
fn numbers_and_days_are_directories_whatever_their_spelling() {
    let house = House::new();
    house.put("a.csv", "id,n,d\n1,7,2026-01-31\n2,-8,1969-12-31\n");
    let node = |mode| parted(csv_out(), "a.csv", mode, &["n", "d"]);
    house.run_in("1", &node(WriteMode::Overwrite)).unwrap();
    assert_eq!(
        dirs(&files(&house, ".csv")),
        ["n=-8/d=1969-12-31", "n=7/d=2026-01-31"]
    );
    // As another program may have called it.
    std::fs::rename(house.path("t/n=7"), house.path("t/n=007")).unwrap();
    let mut all = keys("id");
    all.columns.extend(["n", "d"].map(column));
    let facts = house.run_in("2", &node(WriteMode::Upsert(all))).unwrap();
    assert_eq!(counts(&facts), [0, 0, 2, 0]);
    std::fs::rename(house.path("t/n=007"), house.path("t/n=seven")).unwrap();
    let failure = house.run_in("3", &node(upsert())).unwrap_err();
    assert_eq!(failure.code, "write/unreadable-target");
}

#[test]
fn what_cannot_be_partitioned_is_refused_and_changes_nothing() {
    let house = House::new();
    house.put("a.csv", "id,f,day\n1,1.5,mo\n");
    let refused = |by: &[&str], mode: WriteMode, code: &str| {
        let failure = house.run_in("1", &parted(parquet_out(), "a.csv", mode, by));
        assert_eq!(failure.unwrap_err().code, code, "{by:?}");
    };
    refused(&["none"], WriteMode::Overwrite, "write/schema");
    refused(&["f"], WriteMode::Overwrite, "write/unsupported-type");
    house.put("all.csv", "id,day\n1,mo\n");
    let all = parted(
        parquet_out(),
        "all.csv",
        WriteMode::Overwrite,
        &["id", "day"],
    );
    assert_eq!(house.run_in("1", &all).unwrap_err().code, "write/schema");
    assert!(house.entries("t").is_empty());
    house
        .run_in(
            "1",
            &parted(parquet_out(), "a.csv", WriteMode::Overwrite, &["day"]),
        )
        .unwrap();
    refused(&["id"], upsert(), "write/schema-mismatch");
    refused(&[], upsert(), "write/unreadable-target");
    assert_eq!(dirs(&files(&house, ".parquet")), ["day=mo"]);
    house.put("b.csv", "id,_x\n1,a\n");
    let hidden = parted(parquet_out(), "b.csv", WriteMode::Overwrite, &["_x"]);
    assert_eq!(house.run_in("2", &hidden).unwrap_err().code, "write/schema");
}

#[test]
fn a_table_without_rows_has_no_partitions() {
    let house = House::new();
    house.put("none.csv", "id,day\n");
    house.put("a.csv", "id,day\n1,mo\n");
    let run = |run: &str, source: &str, mode| {
        house
            .run_in(run, &parted(csv_out(), source, mode, &["day"]))
            .unwrap()
    };
    run("1", "none.csv", WriteMode::Append);
    assert_eq!(house.entries("t"), ["_odibi"]);
    run("2", "a.csv", WriteMode::Append);
    assert_eq!(
        effect(&run("3", "none.csv", upsert())),
        WriteEffect::Unchanged
    );
    assert_eq!(dirs(&files(&house, ".csv")), ["day=mo"]);
    run("4", "none.csv", WriteMode::Overwrite);
    assert_eq!(house.entries("t"), ["_odibi"]);
}

#[test]
fn partitions_may_be_many_up_to_a_limit() {
    let house = House::with(|options| options.batch_rows = 1_000);
    let rows: String = (0..900_u32)
        .map(|n| format!("{n},{}\n", n * 7_919 % 300))
        .collect();
    house.put("a.csv", format!("id,p\n{rows}"));
    let node = |mode| parted(csv_out(), "a.csv", mode, &["p"]);
    house.run_in("1", &node(WriteMode::Overwrite)).unwrap();
    let facts = house.run_in("2", &node(upsert())).unwrap();
    assert_eq!(counts(&facts), [0, 0, 900, 0]);
    assert_eq!(house.entries("t").len(), 301);

    let rows: String = (0..10_001_u32).map(|n| format!("{n},{n}\n")).collect();
    house.put("a.csv", format!("id,p\n{rows}"));
    let failure = house.run_in("3", &node(WriteMode::Overwrite)).unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Limit, "write/too-many-partitions")
    );
}

#[test]
fn writers_of_partitions_side_by_side_lose_nothing() {
    let house = House::new();
    for writer in 0..4 {
        let rows: String = (0..12)
            .map(|n| format!("{n},{},{writer}\n", n % 3))
            .collect();
        house.put(&format!("{writer}.csv"), format!("id,p,by\n{rows}"));
    }
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let house = &house;
            scope.spawn(move || {
                let source = format!("{writer}.csv");
                let node = parted(parquet_out(), &source, upsert(), &["p"]);
                house.run_in(&format!("{writer}"), &node).unwrap();
            });
        }
    });
    let found = files(&house, ".parquet");
    assert_eq!(dirs(&found), ["p=0", "p=1", "p=2"]);
    let rows: usize = found.iter().map(|(_, rows)| rows.len() - 1).sum();
    assert_eq!(rows, 12);
}
