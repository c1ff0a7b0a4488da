//! Reading and writing files of every format, through a node without steps.

use odibi_plan::plan::{Compression, CsvRead, CsvWrite, ParquetWrite, ReadFormat, WriteFormat};
use odibi_story::failure::FailureClass;

use super::{
    Build as _, House, csv_in, csv_options, json_lines_in, json_lines_out, node, parquet_out,
};

/// Reads one CSV file; expects types and the same rows as CSV.
#[track_caller]
fn check(options: CsvRead, text: &[u8], types: &[&str], expected: &str) {
    let house = House::new();
    house.put("a.csv", text);
    let (facts, copy) = house.copy(ReadFormat::Csv(options), "a.csv").unwrap();
    let found: Vec<&str> = facts
        .schema_in
        .iter()
        .map(|c| c.data_type.as_str())
        .collect();
    assert_eq!(found, types, "types of {:?}", String::from_utf8_lossy(text));
    assert_eq!(copy, expected);
    assert_eq!(facts.rows_in, facts.rows_out);
}

/// Reads one CSV file; expects a failure with this code and message.
#[track_caller]
fn check_failure(options: CsvRead, text: &[u8], code: &str, message: &str) {
    let house = House::new();
    house.put("a.csv", text);
    let failure = house.copy(ReadFormat::Csv(options), "a.csv").unwrap_err();
    let shown = house.path("a.csv").display().to_string();
    assert_eq!(
        (
            failure.code.as_str(),
            failure.message.replace(&shown, "a.csv").as_str()
        ),
        (code, message)
    );
    assert_eq!(house.entries(""), ["a.csv"], "nothing is left behind");
}

#[test]
fn csv_types_come_from_the_whole_file() {
    let mut text = String::from("i,f,mixed,b,d,t,z,s,none\n");
    let mut expected = text.clone();
    for n in 0..10_000 {
        let last = n == 9_999;
        let mixed = if last { "2.5" } else { "1" };
        text += &format!(
            "{n},{n}.5,{mixed},true,2013-01-31,2013-01-31 05:00:00,2013-01-31T05:00:00Z,007,\n"
        );
        let mixed = if last { "2.5" } else { "1.0" };
        expected += &format!(
            "{n},{n}.5,{mixed},true,2013-01-31,2013-01-31T05:00:00,2013-01-31T05:00:00Z,007,\n"
        );
    }
    let types = [
        "Int64",
        "Float64",
        "Float64",
        "Boolean",
        "Date32",
        "Timestamp(µs)",
        "Timestamp(µs, \"UTC\")",
        "Utf8",
        "Utf8",
    ];
    check(csv_options(), text.as_bytes(), &types, &expected);
}

#[test]
fn csv_shapes() {
    check(
        csv_options(),
        b"a,b\n1,x\n",
        &["Int64", "Utf8"],
        "a,b\n1,x\n",
    );
    check(
        csv_options(),
        b"a,b\r\n1,x\r\n2,y",
        &["Int64", "Utf8"],
        "a,b\n1,x\n2,y\n",
    );
    check(
        csv_options(),
        "\u{feff}a,b\n1,é\n".as_bytes(),
        &["Int64", "Utf8"],
        "a,b\n1,é\n",
    );
    check(
        csv_options(),
        "größe,名前\n1,x\n".as_bytes(),
        &["Int64", "Utf8"],
        "größe,名前\n1,x\n",
    );
    check(csv_options(), b"a,b\n", &["Utf8", "Utf8"], "a,b\n");
    check(csv_options(), b"a,b", &["Utf8", "Utf8"], "a,b\n");
    check(
        csv_options(),
        b",b\n0,x\n",
        &["Int64", "Utf8"],
        "column_1,b\n0,x\n",
    );
    check(csv_options(), b"a\n\n1\n\n", &["Int64"], "a\n1\n");
    check(
        csv_options(),
        b"a,b\n\"x\ny\",\"p\"\"q\"\n",
        &["Utf8", "Utf8"],
        "a,b\n\"x\ny\",\"p\"\"q\"\n",
    );
    check(
        csv_options(),
        b"a\n1\n\"\"\n3\n",
        &["Int64"],
        "a\n1\n\"\"\n3\n",
    );
    check(
        csv_options(),
        b"a,b\n1,NA\n2,3\n",
        &["Int64", "Utf8"],
        "a,b\n1,NA\n2,3\n",
    );
    check(
        csv_options(),
        b"a,b\n9223372036854775808,1\n",
        &["Utf8", "Int64"],
        "a,b\n9223372036854775808,1\n",
    );
}

#[test]
fn csv_options_are_obeyed() {
    let options = CsvRead {
        null_values: vec!["NA".into(), "-".into()],
        ..csv_options()
    };
    check(
        options,
        b"a,b\n1,NA\n-,3\n",
        &["Int64", "Int64"],
        "a,b\n1,\n,3\n",
    );
    let options = CsvRead {
        header: false,
        delimiter: b';',
        quote: b'\'',
        ..csv_options()
    };
    check(
        options,
        b"1;'x;y'\n2;z\n",
        &["Int64", "Utf8"],
        "column_1,column_2\n1,x;y\n2,z\n",
    );
    let options = CsvRead {
        infer_rows: Some(1),
        ..csv_options()
    };
    check(options, b"a\n1\n2\n", &["Int64"], "a\n1\n2\n");
    let options = CsvRead {
        infer_rows: Some(0),
        ..csv_options()
    };
    check(options, b"a\n1\n2\n", &["Utf8"], "a\n1\n2\n");
}

#[test]
fn bad_csv_rows_name_file_line_and_column() {
    let cases: [(&[u8], &str); 7] = [
        (
            b"a,b\n1,2\n1\n",
            "bad row in `a.csv`, line 3: 1 field where 2 are expected",
        ),
        (
            b"a,b\n1,2,3\n",
            "bad row in `a.csv`, line 2: 3 fields where 2 are expected",
        ),
        (
            b"a,b\n\"x\n\ny\",2\n1,2,3\n",
            "bad row in `a.csv`, line 5: 3 fields where 2 are expected",
        ),
        (
            b"a,b\n1,\"x\n2,y\n",
            "bad row in `a.csv`, line 2: a quote is never closed in column `b`",
        ),
        (
            b"a,b\n\"x\"y,2\n",
            "bad row in `a.csv`, line 2: there is text after the closing quote in column `a`",
        ),
        (
            b"a,b\n1,2\n1,\xff\n",
            "bad row in `a.csv`, line 3: column `b` holds bytes that are not UTF-8",
        ),
        // Each field is broken, the whole is not.
        (
            b"a,b\n\xc3,\xa9\n",
            "bad row in `a.csv`, line 2: column `a` holds bytes that are not UTF-8",
        ),
    ];
    for (text, message) in cases {
        check_failure(csv_options(), text, "read/bad-row", message);
    }
    let options = CsvRead {
        infer_rows: Some(1),
        ..csv_options()
    };
    let message =
        "bad row in `a.csv`, line 5: column `b` holds something that is not a whole number";
    check_failure(
        options,
        b"a,b\n\"x\ny\",2\ny,3\nz,secret\n",
        "read/bad-row",
        message,
    );
}

#[test]
fn bad_csv_files() {
    check_failure(
        csv_options(),
        b"",
        "read/empty",
        "the CSV input is empty: it has no header row",
    );
    check_failure(
        csv_options(),
        b"\n\n",
        "read/empty",
        "the CSV input is empty: it has no header row",
    );
    check_failure(
        csv_options(),
        b"a,b,a\n",
        "read/duplicate-column",
        "`a.csv` has two columns of one name: `a`",
    );
    check_failure(
        csv_options(),
        b"\x1f\x8b\x08\x00",
        "read/bad-file",
        "cannot read `a.csv`: it is compressed with gzip",
    );
    check_failure(
        csv_options(),
        b"\xff\xfea\0",
        "read/bad-file",
        "cannot read `a.csv`: it is UTF-16 text",
    );
    let wide = vec!["x"; 5_000].join(",");
    check_failure(
        csv_options(),
        wide.as_bytes(),
        "read/too-large",
        "`a.csv` has too many columns: 5000",
    );
}

#[test]
fn files_of_a_pattern_share_one_schema_and_keep_their_order() {
    let house = House::new();
    house.put("in/b.csv", "a,b\n2.5,x\n");
    house.put("in/a.csv", "a,b\n1,\n");
    house.put("in/c.csv", "b,a\ny,3\n");
    house.put("in/empty.csv", "");
    let (facts, copy) = house.copy(csv_in(), "in/*.csv").unwrap();
    assert_eq!(copy, "a,b\n1.0,\n2.5,x\n3.0,y\n");
    let paths: Vec<&str> = facts.sources.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths, ["in/a.csv", "in/b.csv", "in/c.csv", "in/empty.csv"]);
    house.put("in/d.csv", "a,c\n1,2\n");
    let failure = house.copy(csv_in(), "in/*.csv").unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Data, "read/schema-mismatch")
    );
    assert_eq!(
        house.copy(csv_in(), "in/*.txt").unwrap_err().code,
        "read/missing"
    );
    assert_eq!(
        house.copy(csv_in(), "../x").unwrap_err().code,
        "read/denied"
    );
}

#[test]
fn json_lines_are_read_with_the_types_that_hold_all_values() {
    let house = House::new();
    house.put(
        "a.jsonl",
        "\u{feff}{\"a\":1,\"b\":\"x\",\"c\":true}\n\n{\"b\":2,\"a\":1.5,\"d\":null}\r\n",
    );
    house.put("b.jsonl", "{\"a\":3}");
    let (facts, copy) = house.copy(json_lines_in(), "*.jsonl").unwrap();
    assert_eq!(copy, "a,b,c,d\n1.0,x,true,\n1.5,2,,\n3.0,,,\n");
    let types: Vec<&str> = facts
        .schema_in
        .iter()
        .map(|c| c.data_type.as_str())
        .collect();
    assert_eq!(types, ["Float64", "Utf8", "Boolean", "Utf8"]);
}

#[test]
fn bad_json_lines_name_file_line_and_column() {
    for (text, message) in [
        (
            "{\"a\":1}\n{\"a\":\n",
            "line 2: the object is not complete, at character 5",
        ),
        (
            "{\"a\":1}\n\n{a:1}\n",
            "line 3: this is not JSON, at character 2",
        ),
        ("[{\"a\":1}]\n", "line 1: this is not an object"),
        (
            "{\"a\":[1]}\n{\"a\":\"secret\"}\n",
            "line 2: column `a` holds a list or an object here and something else elsewhere",
        ),
        (
            "{\"a\":1} {\"a\":2}\n",
            "line 1: this is not JSON, at character 9",
        ),
    ] {
        let house = House::new();
        house.put("a.jsonl", text);
        let failure = house.copy(json_lines_in(), "a.jsonl").unwrap_err();
        let shown = house.path("a.jsonl").display().to_string();
        assert_eq!(failure.code, "read/bad-row");
        assert_eq!(failure.message, format!("bad row in `{shown}`, {message}"));
    }
    let house = House::new();
    house.put("a.jsonl", "");
    assert_eq!(
        house.copy(json_lines_in(), "a.jsonl").unwrap_err().code,
        "read/empty"
    );
}

#[test]
fn every_format_gives_back_what_was_written() {
    let house = House::new();
    let text = "i,f,b,d,t,z,s\n1,1.5,true,2013-01-31,2013-01-31T05:00:00,2013-01-31T05:00:00Z,x\n,,,,,,\n\
                3,2.0,false,0001-01-01,9999-12-31T23:59:59.999999,1969-12-31T23:59:59Z,é\n";
    house.put("a.csv", text);
    for compression in [
        Compression::None,
        Compression::Snappy,
        Compression::Zstd,
        Compression::Lz4,
        Compression::Gzip,
    ] {
        let out = WriteFormat::Parquet(ParquetWrite::with(compression));
        let facts = house
            .run(
                &node()
                    .read(csv_in(), "a.csv")
                    .write(out, "deep/er/a.parquet"),
            )
            .unwrap();
        assert_eq!(
            (facts.rows_in, facts.rows_out, facts.rows_written),
            (3, 3, Some(3))
        );
        let (back, copy) = house
            .copy(ReadFormat::Parquet, "deep/er/*.parquet")
            .unwrap();
        assert_eq!(copy, text, "{compression:?}");
        assert_eq!(back.schema_in, facts.schema_out);
        assert_eq!(back.nulls_out, [1; 7]);
    }
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .write(json_lines_out(), "a.jsonl"),
        )
        .unwrap();
    let (_, copy) = house.copy(json_lines_in(), "a.jsonl").unwrap();
    assert_eq!(copy, text);
}

#[test]
fn an_empty_result_is_a_valid_file() {
    let house = House::new();
    house.put("a.csv", "a,b\n");
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .write(parquet_out(), "a.parquet"),
        )
        .unwrap();
    let (facts, copy) = house.copy(ReadFormat::Parquet, "a.parquet").unwrap();
    assert_eq!((facts.rows_out, copy.as_str()), (0, "a,b\n"));
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .write(json_lines_out(), "a.jsonl"),
        )
        .unwrap();
    assert_eq!(house.text("a.jsonl"), "");
    house
        .run(&node().read(csv_in(), "a.csv").write(
            WriteFormat::Csv(CsvWrite {
                header: false,
                ..CsvWrite::default()
            }),
            "b.csv",
        ))
        .unwrap();
    assert_eq!(house.text("b.csv"), "");
}

#[test]
fn damaged_parquet_files_are_bad_files() {
    let house = House::new();
    house.put("a.csv", "a,b\n1,x\n2,y\n");
    house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .write(parquet_out(), "a.parquet"),
        )
        .unwrap();
    let good = std::fs::read(house.path("a.parquet")).unwrap();
    let cut = &good[..good.len() / 2];
    let mut footer = good.clone();
    let at = footer.len() - 8;
    footer[at..at + 4].copy_from_slice(&[0xff; 4]);
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"a,b\n1,2\n"),
        ("cut", cut),
        ("footer", &footer),
    ] {
        house.put("bad.parquet", bytes);
        let failure = house.copy(ReadFormat::Parquet, "bad.parquet").unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Data, "read/bad-file"),
            "{name}: {failure:?}"
        );
    }
    for at in (4..good.len() - 8).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        house.put("bad.parquet", &bytes);
        match house.copy(ReadFormat::Parquet, "bad.parquet") {
            Ok((facts, _)) => assert!(facts.rows_out < 100, "byte {at}"),
            Err(failure) => assert_eq!(failure.class, FailureClass::Data, "byte {at}: {failure:?}"),
        }
    }
}

#[test]
fn parquet_files_of_a_pattern_must_have_the_same_columns() {
    let house = House::new();
    house.put("a.csv", "a,b\n1,x\n");
    house.put("b.csv", "b,a\ny,2\n");
    house.put("c.csv", "a,b\n1.5,x\n");
    for name in ["a", "b", "c"] {
        let read = node().read(csv_in(), &format!("{name}.csv"));
        house
            .run(&read.write(parquet_out(), &format!("p/{name}.parquet")))
            .unwrap();
    }
    assert_eq!(
        house.copy(ReadFormat::Parquet, "p/[ab].parquet").unwrap().1,
        "a,b\n1,x\n2,y\n"
    );
    let failure = house.copy(ReadFormat::Parquet, "p/*.parquet").unwrap_err();
    assert_eq!(failure.code, "read/schema-mismatch");
}

#[test]
fn a_missing_file_names_the_nearest() {
    let house = House::new();
    house.put("raw/flights.csv", "a\n");
    let failure = house.copy(csv_in(), "raw/flight.csv").unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Missing, "read/missing")
    );
    assert_eq!(failure.hints, ["did you mean `raw/flights.csv`?"]);
}

/// A small generator, so that a failing table can be made again from its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

#[test]
fn any_text_survives_writing_and_reading_csv() {
    let house = House::new();
    let pieces = [
        "a", ",", "\"", "\n", "\r", "\r\n", " ", "é", "\u{feff}", ";", "'", "null",
    ];
    for seed in 0..60 {
        let mut chance = Chance(seed);
        let columns = 1 + chance.below(3);
        let mut text = String::new();
        let mut cells = Vec::new();
        for row in 0..=chance.below(12) {
            let cell = |c: &mut Chance| -> String {
                (0..=c.below(5))
                    .map(|_| pieces[c.below(pieces.len())])
                    .collect()
            };
            let cells_of_row: Vec<String> = (0..columns)
                .map(|n| {
                    if row == 0 {
                        format!("c{n}")
                    } else {
                        cell(&mut chance)
                    }
                })
                .collect();
            let quoted = |c: &String| format!("\"{}\"", c.replace('"', "\"\""));
            text += &(cells_of_row
                .iter()
                .map(quoted)
                .collect::<Vec<_>>()
                .join(",")
                + "\r\n");
            cells.push(cells_of_row);
        }
        house.put("a.csv", &text);
        let (facts, once) = house.copy(csv_in(), "a.csv").unwrap();
        house.put("b.csv", &once);
        let (_, twice) = house.copy(csv_in(), "b.csv").unwrap();
        assert_eq!(once, twice, "seed {seed}");
        for (sample, row) in facts.sample.rows.iter().zip(&cells[1..]) {
            let expected: Vec<Option<String>> = row.iter().cloned().map(Some).collect();
            assert_eq!(sample, &expected, "seed {seed}");
        }
        assert_eq!(facts.rows_out, cells.len() as u64 - 1, "seed {seed}");
    }
}
