//! Columns that differ from those of the target, where the project says what becomes of them.

use odibi_plan::plan::{OnMissingColumns, OnNewColumns, SchemaPolicy};

use super::*;

const IGNORE: SchemaPolicy = SchemaPolicy {
    on_new_columns: OnNewColumns::Ignore,
    on_missing_columns: OnMissingColumns::FillNull,
};

fn with(policy: Option<SchemaPolicy>, mut node: PlannedNode) -> PlannedNode {
    node.write.as_mut().unwrap().schema_policy = policy;
    node
}

/// Rows with the names of the columns in front.
fn table(kind: Kind, house: &House) -> Vec<String> {
    let (format, path) = match kind {
        Kind::Parquet => (parquet_in(), "t"),
        Kind::Csv => (csv_in(), "t"),
        Kind::Json => (crate::testing::json_lines_in(), "t"),
        Kind::ParquetDir => (parquet_in(), "t/*.parquet"),
        Kind::CsvDir => (csv_in(), "t/*.csv"),
    };
    let text = house.copy(format, path).unwrap().1;
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows[1..].sort();
    rows
}

#[test]
fn new_columns_are_added_and_missing_ones_are_null() {
    for kind in KINDS {
        for mode in [
            WriteMode::Append,
            WriteMode::AppendOnce(None),
            once_keyed(),
            upsert(),
        ] {
            let house = House::new();
            house.put("a.csv", "id,s,gone\n1,x,g\n2,y,h\n");
            house.put("b.csv", "new,s,id\nn,Z,3\n");
            house
                .run_in("1", &kind.node("a.csv", mode.clone()))
                .unwrap();
            let node = kind.node("b.csv", mode.clone());
            let before = kind.bytes(&house);
            let failure = house.run_in("2", &node).unwrap_err();
            assert_eq!(failure.code, "write/schema-mismatch", "{kind:?}");
            assert_eq!(kind.bytes(&house), before);
            let failure = house.run_in("3", &with(Some(SchemaPolicy::STRICT), node.clone()));
            assert_eq!(failure.unwrap_err().code, "write/schema", "{kind:?}");
            assert_eq!(kind.bytes(&house), before);
            let facts = house
                .run_in("4", &with(Some(SchemaPolicy::UNION), node))
                .unwrap();
            assert_eq!(counts(&facts), [1, 0, 0, 0], "{kind:?} {mode:?}");
            let expected = ["id,s,gone,new", "1,x,g,", "2,y,h,", "3,Z,,n"];
            assert_eq!(table(kind, &house), expected, "{kind:?} {mode:?}");
            // The target has them now.
            house.put("c.csv", "id,s\n4,w\n");
            let node = with(Some(SchemaPolicy::UNION), kind.node("c.csv", mode.clone()));
            house.run_in("5", &node).unwrap();
            assert_eq!(table(kind, &house)[4], "4,w,,", "{kind:?} {mode:?}");
        }
    }
}

#[test]
fn an_upsert_into_new_columns_changes_what_differs_only() {
    for kind in KINDS {
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n2,y\n");
        house.put("b.csv", "id,s,n\n1,x,\n2,y,7\n");
        house.run_in("1", &kind.node("a.csv", upsert())).unwrap();
        let node = with(Some(SchemaPolicy::UNION), kind.node("b.csv", upsert()));
        let facts = house.run_in("2", &node).unwrap();
        let updated = if kind == Kind::Json { 2 } else { 1 };
        assert_eq!(counts(&facts)[1], updated, "{kind:?}");
        assert_eq!(table(kind, &house), ["id,s,n", "1,x,", "2,y,7"], "{kind:?}");
    }
}

#[test]
fn new_columns_are_ignored_where_the_policy_says_so() {
    for kind in KINDS {
        let house = House::new();
        house.put("a.csv", "id,s\n1,x\n");
        house.put("b.csv", "s,extra,id\ny,e,2\n");
        for (run, source) in [("1", "a.csv"), ("2", "b.csv")] {
            let node = with(Some(IGNORE), kind.node(source, upsert()));
            house.run_in(run, &node).unwrap();
        }
        assert_eq!(table(kind, &house), ["id,s", "1,x", "2,y"], "{kind:?}");
        // An overwrite replaces rows, and the columns stay as well.
        house.put("c.csv", "id,other\n3,o\n");
        let node = kind.node("c.csv", WriteMode::Overwrite);
        house
            .run_in("3", &with(Some(IGNORE), node.clone()))
            .unwrap();
        if kind != Kind::Json {
            assert_eq!(table(kind, &house), ["id,s", "3,"], "{kind:?}");
        }
        house.run_in("4", &with(None, node)).unwrap();
        assert_eq!(table(kind, &house), ["id,other", "3,o"], "{kind:?}");
    }
}

#[test]
fn a_type_never_changes() {
    for kind in [Kind::Parquet, Kind::ParquetDir] {
        for mode in [WriteMode::Append, upsert(), WriteMode::Overwrite] {
            let house = House::new();
            house.put("a.csv", "id,s\n1,x\n");
            house.put("b.csv", "id,s\n1,2\n");
            house
                .run_in("1", &kind.node("a.csv", mode.clone()))
                .unwrap();
            let node = with(Some(SchemaPolicy::UNION), kind.node("b.csv", mode.clone()));
            let failure = house.run_in("2", &node).unwrap_err();
            assert_eq!(failure.code, "write/schema", "{kind:?} {mode:?}");
            assert_eq!(table(kind, &house), ["id,s", "1,x"]);
        }
    }
}

#[test]
fn partitions_evolve_as_one() {
    for (format, read) in [(parquet_out(), parquet_in()), (csv_out(), csv_in())] {
        for mode in [WriteMode::Append, upsert()] {
            let house = House::new();
            house.put("a.csv", "id,p,s\n1,a,x\n2,b,y\n");
            house.put("b.csv", "p,id,n\nb,3,7\n");
            for (run, source) in [("1", "a.csv"), ("2", "b.csv")] {
                let mut node = node().read(csv_in(), source).write(format.clone(), "t");
                let write = node.write.as_mut().unwrap();
                write.mode = mode.clone();
                write.layout = TargetLayout::Directory;
                write.partition_by = keys("p").columns;
                write.schema_policy = Some(SchemaPolicy::UNION);
                house.run_in(run, &node).unwrap();
            }
            let text = house.copy(read.clone(), "t").unwrap().1;
            let mut rows: Vec<&str> = text.lines().collect();
            rows[1..].sort_unstable();
            assert_eq!(rows, ["id,s,n,p", "1,x,,a", "2,y,,b", "3,,7,b"], "{mode:?}");
        }
    }
}

/// Files that were compressed, have a mark or another word for null are merged as they are.
#[test]
fn packed_and_marked_texts_are_merged() {
    use odibi_plan::plan::{CsvWrite, JsonWrite, TextCompression};
    for compression in [
        TextCompression::None,
        TextCompression::Gzip,
        TextCompression::Zstd,
    ] {
        let csv = CsvWrite {
            compression,
            mark: true,
            null_value: "NA".into(),
            ..CsvWrite::default()
        };
        let json = JsonWrite {
            compression,
            ..JsonWrite::default()
        };
        let end = match compression {
            TextCompression::None => "",
            TextCompression::Gzip => ".gz",
            TextCompression::Zstd => ".zst",
        };
        let mut read = crate::testing::csv_options();
        read.null_values = vec!["NA".into()];
        for (format, read) in [
            (
                WriteFormat::Csv(csv),
                odibi_plan::plan::ReadFormat::Csv(read),
            ),
            (WriteFormat::Json(json), crate::testing::json_lines_in()),
        ] {
            let house = House::new();
            house.put("a.csv", "id,s\n1,x\n2,\n3,z\n");
            house.put("b.csv", "id,s\n2,y\n3,\n4,w\n");
            let path = format!("t.x{end}");
            let run = |run: &str, source: &str, mode: WriteMode, policy| {
                let mut node = node().read(csv_in(), source).write(format.clone(), &path);
                node.write.as_mut().unwrap().mode = mode;
                house.run_in(run, &with(policy, node)).unwrap()
            };
            run("1", "a.csv", upsert(), None);
            let facts = run("2", "b.csv", upsert(), None);
            assert_eq!(counts(&facts), [1, 2, 0, 0]);
            assert_eq!(
                effect(&run("3", "b.csv", upsert(), None)),
                WriteEffect::AlreadyApplied
            );
            house.put("c.csv", house.text("b.csv"));
            assert_eq!(
                effect(&run("4", "c.csv", upsert(), None)),
                WriteEffect::Unchanged
            );
            house.put("d.csv", "id,s,n\n5,v,q\n");
            run("5", "d.csv", WriteMode::Append, Some(SchemaPolicy::UNION));
            let text = house.copy(read, &path).unwrap().1;
            assert_eq!(
                text, "id,s,n\n1,x,\n2,y,\n3,,\n4,w,\n5,v,q\n",
                "{compression:?}"
            );
            let bytes = std::fs::read(house.path(&path)).unwrap();
            if matches!(format, WriteFormat::Csv(_)) && compression == TextCompression::None {
                assert!(bytes.starts_with("\u{feff}id,s,n\n1,x,NA\n".as_bytes()));
            }
        }
    }
}
