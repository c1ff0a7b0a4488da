//! Every mode on a table of its own: what is in it afterwards, and what a second run does.

use odibi_plan::plan::SchemaPolicy;

use super::*;

both! {
    an_upsert_replaces_and_inserts_and_a_second_one_commits_nothing
    a_late_retry_of_an_old_batch_changes_nothing
    a_table_that_was_made_anew_is_another_one
    append_once_keeps_the_first_and_append_keeps_all
    partitions_are_written_and_read_with_any_text_in_them
    partition_columns_among_the_keys_leave_other_files_unread
    columns_change_only_when_the_yaml_says_so
    keys_that_do_not_tell_rows_apart_are_refused_or_decided
    an_empty_batch_makes_an_empty_table_and_changes_none
}

#[test]
fn every_mode_makes_a_table_and_counts_its_rows() {
    for mode in [
        WriteMode::Overwrite,
        WriteMode::Append,
        once(),
        upsert(),
        WriteMode::AppendOnce(None),
    ] {
        let bench = Bench::new();
        let fact = bench.write("a", &mode, few(&[(1, "a"), (2, "é")])).unwrap();
        effect(&fact, WriteEffect::Published, 2, 0);
        assert_eq!(
            (fact.version_before, fact.version_after),
            (None, Some("0".into()))
        );
        assert_eq!((fact.files_added, fact.files_removed), (1, 0));
        assert_eq!(bench.rows(), ["1:a", "2:é"], "{mode:?}");
    }
}

fn an_upsert_replaces_and_inserts_and_a_second_one_commits_nothing(new: fn() -> Bench) {
    let bench = new();
    bench
        .write("a", &upsert(), few(&[(1, "a"), (2, "b")]))
        .unwrap();
    let second = || few(&[(2, "B"), (3, "c")]);
    let fact = bench.write("b", &upsert(), second()).unwrap();
    effect(&fact, WriteEffect::Published, 1, 1);
    assert_eq!((fact.files_added, fact.files_removed), (1, 1));
    let again = bench.write("b", &upsert(), second()).unwrap();
    effect(&again, WriteEffect::AlreadyApplied, 0, 0);
    let other = bench.write("c", &upsert(), second()).unwrap();
    effect(&other, WriteEffect::Unchanged, 0, 0);
    assert_eq!(other.rows_unchanged, 2);
    assert_eq!(bench.versions(), 2);
    assert_eq!(bench.rows(), ["1:a", "2:B", "3:c"]);
}

fn a_late_retry_of_an_old_batch_changes_nothing(new: fn() -> Bench) {
    let bench = new();
    bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
    bench.write("same", &upsert(), few(&[(1, "a")])).unwrap();
    bench.write("b", &upsert(), few(&[(1, "b")])).unwrap();
    for old in ["a", "same", "a", "same"] {
        // As an earlier version has left it.
        bench.log.adopt("t@c", "c:t").unwrap();
        let fact = bench.write(old, &upsert(), few(&[(1, "a")])).unwrap();
        effect(&fact, WriteEffect::AlreadyApplied, 0, 0);
    }
    assert_eq!(bench.rows(), ["1:b"]);
}

fn a_table_that_was_made_anew_is_another_one(new: fn() -> Bench) {
    let bench = new();
    for _ in 0..2 {
        bench.write("a", &upsert(), few(&[(1, "a")])).unwrap();
        bench.write("same", &upsert(), few(&[(1, "a")])).unwrap();
        assert_eq!(bench.rows(), ["1:a"]);
        std::fs::remove_dir_all(bench.table()).unwrap();
    }
}

fn append_once_keeps_the_first_and_append_keeps_all(new: fn() -> Bench) {
    let bench = new();
    bench.write("a", &once(), few(&[(1, "a")])).unwrap();
    let fact = bench
        .write("b", &once(), few(&[(1, "b"), (2, "b")]))
        .unwrap();
    effect(&fact, WriteEffect::Published, 1, 0);
    assert_eq!(fact.rows_present, 1);
    assert_eq!(fact.files_removed, 0);
    assert_eq!(bench.rows(), ["1:a", "2:b"]);
    for (batch, wanted) in [
        ("c", WriteEffect::Published),
        ("c", WriteEffect::AlreadyApplied),
    ] {
        let fact = bench
            .write(batch, &WriteMode::Append, few(&[(1, "c")]))
            .unwrap();
        assert_eq!(fact.effect, wanted);
    }
    assert_eq!(bench.rows(), ["1:a", "1:c", "2:b"]);
}

#[test]
fn an_overwrite_replaces_and_old_versions_can_be_read() {
    let bench = Bench::new();
    bench
        .write("a", &WriteMode::Overwrite, few(&[(1, "a")]))
        .unwrap();
    bench
        .write("b", &WriteMode::Overwrite, few(&[(2, "b")]))
        .unwrap();
    let fact = bench
        .write("b", &WriteMode::Overwrite, few(&[(2, "b")]))
        .unwrap();
    effect(&fact, WriteEffect::AlreadyApplied, 0, 0);
    assert_eq!(bench.rows(), ["2:b"]);
    let first = bench.read_at(TableVersion::Number(0)).unwrap();
    assert_eq!(sorted(&first), ["1:a"]);
    let failure = bench.read_at(TableVersion::Number(2)).unwrap_err();
    assert_eq!(failure.code, "read/no-version");
    let failure = bench.read_at(TableVersion::Time(0)).unwrap_err();
    assert_eq!(failure.code, "read/no-version");
    let now = bench
        .read_at(TableVersion::Time(i64::MAX / 2_000_000))
        .unwrap_err();
    assert_eq!(now.code, "read/no-version", "a time of this year 1970");
}

fn partitions_are_written_and_read_with_any_text_in_them(new: fn() -> Bench) {
    let bench = new();
    let parts = [(1, "a b"), (2, "ü/%:"), (3, "=?&#"), (4, "a\u{1}\\\"'")];
    let how = How::default();
    let rows = vec![few(&parts), batch(&[(Some(5), None)])];
    bench.write_how("a", &upsert(), how, &["t"], rows).unwrap();
    let moved = vec![few(&[(1, "ü/%:"), (9, "new")])];
    bench.write_how("b", &upsert(), how, &["t"], moved).unwrap();
    assert_eq!(
        bench.rows(),
        [
            "1:ü/%:",
            "2:ü/%:",
            "3:=?&#",
            "4:a\u{1}\\\"'",
            "5:-",
            "9:new"
        ]
    );
    let empty = bench.write_how("c", &upsert(), how, &[], vec![few(&[(1, "")])]);
    assert_eq!(empty.unwrap_err().code, "write/bad-value");
    let other = bench.write_how("c", &upsert(), how, &["id"], vec![few(&[(1, "x")])]);
    assert_eq!(other.unwrap_err().code, "write/schema");
}

fn partition_columns_among_the_keys_leave_other_files_unread(new: fn() -> Bench) {
    let bench = new();
    let rows: Vec<_> = (0..8)
        .map(|i| (i, if i % 2 == 0 { "even" } else { "odd" }))
        .collect();
    let mut keys = keys(NullKeys::Error, DuplicateKeys::Error);
    keys.columns.push(named("t"));
    let mode = WriteMode::Upsert(keys);
    let how = How::default();
    bench
        .write_how("a", &mode, how, &["t"], vec![few(&rows)])
        .unwrap();
    // A file of another partition that is not even there.
    let odd = std::fs::read_dir(bench.table().join("t=odd")).unwrap();
    std::fs::remove_file(odd.into_iter().next().unwrap().unwrap().path()).unwrap();
    let fact = bench.write_how("b", &mode, how, &["t"], vec![few(&[(10, "even")])]);
    effect(&fact.unwrap(), WriteEffect::Published, 1, 0);
}

fn columns_change_only_when_the_yaml_says_so(new: fn() -> Bench) {
    let wide = |id: i64, t: &'static str, n: i64| {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        let few = few(&[(id, t)]);
        let mut columns: Vec<_> = vec![
            ("id", few.column(0).clone(), true),
            ("t", few.column(1).clone(), true),
        ];
        columns.push(("n", n, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    let merging = How {
        policy: SchemaPolicy::UNION,
        ..How::default()
    };
    let replacing = How {
        overwrite: true,
        ..How::default()
    };
    for mode in [WriteMode::Append, once(), upsert()] {
        let bench = new();
        bench.write("a", &mode, few(&[(1, "a")])).unwrap();
        let failure = bench.write("b", &mode, wide(2, "b", 7)).unwrap_err();
        assert_eq!(failure.code, "write/schema", "{mode:?}");
        assert_eq!(bench.data_files(), 1, "{mode:?}");
        bench
            .write_how("b", &mode, merging, &[], vec![wide(2, "b", 7)])
            .unwrap();
        bench
            .write_how("c", &mode, merging, &[], vec![few(&[(3, "c")])])
            .unwrap();
        assert_eq!(bench.rows(), ["1:a", "2:b", "3:c"], "{mode:?}");
        let again = bench
            .write_how("d", &mode, merging, &[], vec![wide(2, "b", 7)])
            .unwrap();
        let same = if mode == WriteMode::Append {
            WriteEffect::Published
        } else {
            WriteEffect::Unchanged
        };
        assert_eq!(again.effect, same, "{mode:?}");
    }
    let bench = new();
    bench
        .write("a", &WriteMode::Overwrite, wide(1, "a", 1))
        .unwrap();
    let failure = bench
        .write("b", &WriteMode::Overwrite, few(&[(2, "b")]))
        .unwrap_err();
    assert_eq!(failure.code, "write/schema");
    bench
        .write_how(
            "b",
            &WriteMode::Overwrite,
            replacing,
            &[],
            vec![few(&[(2, "b")])],
        )
        .unwrap();
    let columns = bench.read_at(TableVersion::Latest).unwrap()[0].num_columns();
    assert_eq!((bench.rows(), columns), (vec!["2:b".to_owned()], 2));
}

fn keys_that_do_not_tell_rows_apart_are_refused_or_decided(new: fn() -> Bench) {
    let twice = || few(&[(1, "b"), (2, "x"), (1, "a")]);
    let nulls = || batch(&[(None, Some("a")), (Some(1), Some("b")), (None, Some("c"))]);
    let check = |null_keys, duplicate_keys, rows: RecordBatch, wanted: Result<&[&str], &str>| {
        let bench = new();
        let mode = WriteMode::Upsert(keys(null_keys, duplicate_keys));
        for id in ["a", "b"] {
            let fact = bench.write(id, &mode, rows.clone());
            let found = fact.map(|_| bench.rows()).map_err(|f| f.code);
            let rows = wanted.map(|rows| rows.iter().map(|r| (*r).to_owned()).collect());
            assert_eq!(found, rows.map_err(str::to_owned));
        }
    };
    let by = || Some(named("t"));
    check(
        NullKeys::Error,
        DuplicateKeys::Error,
        twice(),
        Err("write/duplicate-key"),
    );
    check(
        NullKeys::Error,
        DuplicateKeys::First(None),
        twice(),
        Ok(&["1:b", "2:x"]),
    );
    check(
        NullKeys::Error,
        DuplicateKeys::Last(None),
        twice(),
        Ok(&["1:a", "2:x"]),
    );
    check(
        NullKeys::Error,
        DuplicateKeys::First(by()),
        twice(),
        Ok(&["1:a", "2:x"]),
    );
    check(
        NullKeys::Error,
        DuplicateKeys::Last(by()),
        twice(),
        Ok(&["1:b", "2:x"]),
    );
    check(
        NullKeys::Error,
        DuplicateKeys::Error,
        nulls(),
        Err("write/null-key"),
    );
    check(
        NullKeys::Equal,
        DuplicateKeys::Error,
        nulls(),
        Err("write/duplicate-key"),
    );
    check(
        NullKeys::Equal,
        DuplicateKeys::Last(None),
        nulls(),
        Ok(&["-:c", "1:b"]),
    );
    let bench = new();
    let mode = WriteMode::Upsert(keys(NullKeys::Distinct, DuplicateKeys::Error));
    bench.write("a", &mode, nulls()).unwrap();
    bench.write("b", &mode, nulls()).unwrap();
    assert_eq!(bench.rows(), ["-:a", "-:a", "-:c", "-:c", "1:b"]);
    let floats: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![1.0]));
    let floats = RecordBatch::try_from_iter([("id", floats)]).unwrap();
    let failure = new().write("a", &upsert(), floats).unwrap_err();
    assert_eq!(failure.code, "write/bad-key");
}

fn an_empty_batch_makes_an_empty_table_and_changes_none(new: fn() -> Bench) {
    let empty = || few(&[]);
    for mode in [WriteMode::Overwrite, WriteMode::Append, once(), upsert()] {
        let bench = new();
        bench.write("a", &mode, empty()).unwrap();
        assert!(bench.rows().is_empty(), "{mode:?}");
        bench.write("b", &mode, few(&[(1, "a")])).unwrap();
        bench.write("c", &mode, empty()).unwrap();
        let left = usize::from(mode != WriteMode::Overwrite);
        assert_eq!(bench.rows().len(), left, "{mode:?}");
    }
}
