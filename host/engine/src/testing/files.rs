//! Files of every kind: packed, in other encodings, with bad rows, below directories of partitions, damaged.

use std::io::Write as _;

use odibi_plan::plan::{
    ArrowCompression, ArrowWrite, ColumnType, CsvRead, CsvWrite, Encoding, InputSource, JsonLayout,
    JsonRead, JsonWrite, OnBadRow, OnMissingColumns, OnNewColumns, ParquetWrite, PlannedNode,
    ReadFormat, ReadOptions, SchemaPolicy, TextCompression, TextRead, WriteFormat,
};
use odibi_story::failure::{Failure, FailureClass};

use super::{Build as _, House, csv_in, csv_options, csv_out, node, parquet_out};

fn with_options(mut node: PlannedNode, options: ReadOptions) -> PlannedNode {
    for input in &mut node.inputs {
        if let InputSource::Read(read) = &mut input.source {
            read.options = options.clone();
        }
    }
    node
}

/// Reads with options, and returns the rows as CSV.
fn copied(
    house: &House,
    format: ReadFormat,
    path: &str,
    options: ReadOptions,
) -> Result<String, Failure> {
    let node = with_options(node().read(format, path), options);
    house.run(&node.write(csv_out(), "copy.csv"))?;
    Ok(house.text("copy.csv"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn in_encoding(encoding: Encoding) -> ReadFormat {
    ReadFormat::Csv(CsvRead {
        text: TextRead {
            encoding,
            ..TextRead::default()
        },
        ..csv_options()
    })
}

#[test]
fn packed_text_is_unpacked_and_damage_is_told() {
    let house = House::new();
    let text = "a,b\n1,x\n2,é\n";
    let packed = gzip(text.as_bytes());
    house.put("a.csv.gz", &packed);
    house.put("b.csv.zst", zstd::encode_all(text.as_bytes(), 3).unwrap());
    let twice = [&packed[..], &gzip(b"3,z\n")].concat();
    house.put("c.csv.gz", twice);
    let read = |path: &str| house.copy(csv_in(), path).map(|(_, copy)| copy);
    assert_eq!(read("a.csv.gz").unwrap(), text);
    assert_eq!(read("b.csv.zst").unwrap(), text);
    assert_eq!(
        read("c.csv.gz").unwrap(),
        "a,b\n1,x\n2,é\n3,z\n",
        "members follow one another"
    );
    house.put("cut.csv.gz", &packed[..packed.len() - 5]);
    house.put("plain.csv.gz", text);
    house.put("empty.csv.gz", "");
    let zeros = vec![b'0'; 80 * 1024 * 1024];
    let bomb = [&b"a\n"[..], &zeros].concat();
    house.put("bomb.csv.gz", gzip(&bomb));
    for (path, class, message) in [
        (
            "cut.csv.gz",
            FailureClass::Data,
            "the compressed data ends too early",
        ),
        (
            "plain.csv.gz",
            FailureClass::Data,
            "it is not compressed with gzip",
        ),
        (
            "empty.csv.gz",
            FailureClass::Data,
            "it is not compressed with gzip",
        ),
    ] {
        let failure = read(path).unwrap_err();
        assert_eq!(failure.class, class, "{path}: {failure:?}");
        assert!(failure.message.ends_with(message), "{path}: {failure:?}");
        assert!(failure.message.contains(path), "{failure:?}");
    }
    // One record of 80 MB is too long before it is too much; either way it ends.
    let failure = read("bomb.csv.gz").unwrap_err();
    assert!(
        matches!(failure.code.as_str(), "read/bad-row" | "read/too-large"),
        "{failure:?}"
    );
    let lines = b"0\n".repeat(60 * 1024 * 1024);
    house.put("lines.csv.gz", gzip(&lines));
    let failure = read("lines.csv.gz").unwrap_err();
    assert_eq!(failure.code, "read/too-large", "{failure:?}");
}

#[test]
fn texts_in_other_encodings() {
    let house = House::new();
    house.put("a.csv", b"a\n\xe9\x85\n");
    let read = |encoding| {
        house
            .copy(in_encoding(encoding), "a.csv")
            .map(|(_, copy)| copy)
    };
    assert_eq!(read(Encoding::Latin1).unwrap(), "a\né\u{85}\n");
    assert_eq!(read(Encoding::Other("windows-1252")).unwrap(), "a\né…\n");
    let failure = read(Encoding::Utf8).unwrap_err();
    assert!(
        failure
            .message
            .ends_with("line 2: column `a` holds bytes that are not UTF-8")
    );
    house.put("a.csv", b"a\nx\ny\x81\n");
    let failure = house
        .copy(in_encoding(Encoding::Other("windows-1252")), "a.csv")
        .unwrap_err();
    assert!(
        failure
            .message
            .ends_with("line 3: there are bytes that are not windows-1252"),
        "{failure:?}"
    );
    for (encoding, mark, big) in [
        (Encoding::Utf16, &b"\xff\xfe"[..], false),
        (Encoding::Utf16, b"\xfe\xff", true),
        (Encoding::Other("utf-16le"), b"", false),
        (Encoding::Other("utf-16le"), b"\xff\xfe", false),
    ] {
        let units = "a,b\n1,名😀\n".encode_utf16();
        let bytes = units.flat_map(|u| {
            if big {
                u.to_be_bytes()
            } else {
                u.to_le_bytes()
            }
        });
        house.put(
            "a.csv",
            mark.iter().copied().chain(bytes).collect::<Vec<u8>>(),
        );
        let (_, copy) = house.copy(in_encoding(encoding), "a.csv").unwrap();
        assert_eq!(copy, "a,b\n1,名😀\n", "{encoding:?} {mark:?}");
    }
    house.put("a.csv", b"\xff\xfea\0\n\0\x00\xd8\n\0");
    let failure = house
        .copy(in_encoding(Encoding::Utf16), "a.csv")
        .unwrap_err();
    assert!(
        failure.message.contains("line 2: "),
        "a lone surrogate: {failure:?}"
    );
}

#[test]
fn declared_types_names_and_skipped_lines() {
    let house = House::new();
    house.put(
        "a.csv",
        "made by hand\nid;price;when;flag\n# no row\n007;1.50;2024-02-29;1\n8;;2024-03-01;false\n",
    );
    let format = ReadFormat::Csv(CsvRead {
        delimiter: b';',
        skip_rows: 1,
        comment: Some(b'#'),
        names: ["id", "price", "day", "flag"].map(String::from).to_vec(),
        ..csv_options()
    });
    let types = [
        ("id", ColumnType::Int(16)),
        ("price", ColumnType::Decimal(9, 3)),
        ("day", ColumnType::Timestamp),
        ("flag", ColumnType::Boolean),
    ];
    let options = ReadOptions {
        types: types.map(|(name, t)| (name.to_owned(), t)).into(),
        ..ReadOptions::default()
    };
    assert_eq!(
        copied(&house, format.clone(), "a.csv", options).unwrap(),
        "id,price,day,flag\n7,1.500,2024-02-29T00:00:00,true\n8,,2024-03-01T00:00:00,false\n"
    );
    let typed = |name: &str, t| ReadOptions {
        types: [(name.to_owned(), t)].into(),
        ..ReadOptions::default()
    };
    let failure = copied(
        &house,
        format.clone(),
        "a.csv",
        typed("day", ColumnType::Int(8)),
    )
    .unwrap_err();
    assert!(
        failure
            .message
            .ends_with("line 4: column `day` holds something that is not of type Int8"),
        "{failure:?}"
    );
    let failure = copied(&house, format, "a.csv", typed("prise", ColumnType::Text)).unwrap_err();
    assert_eq!(failure.hints, ["did you mean `price`?"]);
}

#[test]
fn bad_rows_are_set_aside_where_the_project_asks() {
    let house = House::new();
    house.put("a.csv", b"a,b\n1,x\n1,2,3\nz,y\n\"q\"r,s\n5,\xff\n6,w\n");
    let format = |on_bad_row| {
        ReadFormat::Csv(CsvRead {
            on_bad_row,
            ..csv_options()
        })
    };
    let options = ReadOptions {
        types: [("a".to_owned(), ColumnType::Int(64))].into(),
        ..ReadOptions::default()
    };
    let read = |on_bad_row| with_options(node().read(format(on_bad_row), "a.csv"), options.clone());
    let facts = house
        .run(&read(OnBadRow::Skip).write(csv_out(), "copy.csv"))
        .unwrap();
    assert_eq!(house.text("copy.csv"), "a,b\n1,x\n6,w\n");
    assert_eq!(
        (facts.rows_in, facts.rows_out, facts.rows_unread),
        (2, 2, 4)
    );
    assert!(facts.unread[0].file.is_none());
    let node = read(OnBadRow::Quarantine)
        .quarantine("bad")
        .write(csv_out(), "copy.csv");
    let facts = house.run(&node).unwrap();
    assert_eq!(facts.rows_unread, 4);
    let file = facts.unread[0].file.as_ref().unwrap();
    let written = house.text(&file.path);
    let rows: Vec<&str> = written.lines().collect();
    assert_eq!(rows.len(), 5, "{written}");
    for start in [
        "a.csv,3,\"1,2,3\",3 fields where 2 are expected,",
        "a.csv,4,\"z,y\",column `a` holds something that is not a whole number,",
        "a.csv,5,\"\"\"qr,s\"\"\",there is text after the closing quote in column `a`,",
        "a.csv,6,\"5,\u{fffd}\",column `b` holds bytes that are not UTF-8,",
    ] {
        assert!(
            rows.iter().any(|row| row.starts_with(start)),
            "{start}\n{written}"
        );
    }
    let failure = house
        .run(&read(OnBadRow::Fail).write(csv_out(), "copy.csv"))
        .unwrap_err();
    assert_eq!(failure.code, "read/bad-row");
}

#[test]
fn directories_are_columns() {
    let house = House::new();
    for (path, text) in [
        ("t/year=2023/city=S%C3%A3o%20Paulo/a.csv", "v\n1\n"),
        (
            "t/year=2024/city=__HIVE_DEFAULT_PARTITION__/a.csv",
            "v\n2\n",
        ),
        ("t/year=2024/city=x/_log/0.csv", "broken\n"),
        ("t/year=2024/city=x/b.csv", "v\n3\n"),
    ] {
        house.put(path, text);
    }
    let rows = "v,year,city\n1,2023,São Paulo\n2,2024,\n3,2024,x\n";
    let read = |path: &str, hive| {
        let options = ReadOptions {
            hive_partitioning: hive,
            ..ReadOptions::default()
        };
        copied(&house, csv_in(), path, options)
    };
    assert_eq!(read("t", None).unwrap(), rows);
    assert_eq!(read("t/", Some(false)).unwrap(), "v\n1\n2\n3\n");
    assert_eq!(read("t/*/*/*.csv", Some(true)).unwrap(), rows);
    assert_eq!(read("t/*/*/*.csv", None).unwrap(), "v\n1\n2\n3\n");
    assert_eq!(read("**/city=x/b.csv", None).unwrap(), "v\n3\n");
    let text = ReadOptions {
        types: [("year".to_owned(), ColumnType::Text)].into(),
        ..ReadOptions::default()
    };
    assert_eq!(copied(&house, csv_in(), "t", text).unwrap(), rows);
    house.put("t/year=2025/c.csv", "v\n4\n");
    let failure = read("t", None).unwrap_err();
    assert_eq!(failure.code, "read/schema-mismatch", "{failure:?}");
}

#[test]
fn files_that_differ_follow_the_policy() {
    let house = House::new();
    house.put("in/1.csv", "a,b\n1,x\n");
    house.put("in/2.csv", "a,c\n2,true\n");
    let read = |on_new_columns, on_missing_columns| {
        let options = ReadOptions {
            schema_policy: Some(SchemaPolicy {
                on_new_columns,
                on_missing_columns,
            }),
            ..ReadOptions::default()
        };
        copied(&house, csv_in(), "in/*.csv", options).map_err(|failure| failure.code)
    };
    let (fill, mismatch) = (
        OnMissingColumns::FillNull,
        Err("read/schema-mismatch".to_owned()),
    );
    assert_eq!(
        read(OnNewColumns::Ignore, fill),
        Ok("a,b\n1,x\n2,\n".into())
    );
    assert_eq!(
        read(OnNewColumns::AddNullable, fill),
        Ok("a,b,c\n1,x,\n2,,true\n".into())
    );
    assert_eq!(read(OnNewColumns::Fail, fill), mismatch);
    assert_eq!(read(OnNewColumns::Ignore, OnMissingColumns::Fail), mismatch);
}

/// Every format that is written, with each of its compressions.
fn outs() -> Vec<(&'static str, WriteFormat, ReadFormat)> {
    let mut all = Vec::new();
    for compression in [
        ArrowCompression::None,
        ArrowCompression::Lz4,
        ArrowCompression::Zstd,
    ] {
        for stream in [false, true] {
            let out = ArrowWrite {
                stream,
                compression,
            };
            all.push(("a.arrow", WriteFormat::Arrow(out), ReadFormat::Arrow));
        }
    }
    for (path, compression) in [
        ("a.json", TextCompression::None),
        ("a.json.gz", TextCompression::Gzip),
        ("a.json.zst", TextCompression::Zstd),
    ] {
        for layout in [JsonLayout::Lines, JsonLayout::Array] {
            let out = JsonWrite {
                layout,
                compression,
            };
            all.push((
                path,
                WriteFormat::Json(out),
                ReadFormat::Json(JsonRead::default()),
            ));
        }
        let out = CsvWrite {
            compression,
            mark: true,
            quote_all: true,
            ..CsvWrite::default()
        };
        let path = if compression == TextCompression::Gzip {
            "a.csv.gz"
        } else {
            "a.csv2"
        };
        let text = TextRead {
            compression: Some(compression),
            ..TextRead::default()
        };
        let back = ReadFormat::Csv(CsvRead {
            text,
            ..csv_options()
        });
        all.push((path, WriteFormat::Csv(out), back));
    }
    let out = ParquetWrite {
        row_group_rows: 2,
        statistics: false,
        ..ParquetWrite::default()
    };
    all.push(("a.parquet", WriteFormat::Parquet(out), ReadFormat::Parquet));
    all
}

#[test]
fn what_is_written_is_read_back() {
    let house = House::new();
    let text = "i,f,b,s\n1,1.5,true,x\n,,,\n3,2.0,false,\"é\"\"\n,\"\n";
    house.put("in.csv", text);
    for (path, out, back) in outs() {
        house
            .run(&node().read(csv_in(), "in.csv").write(out.clone(), path))
            .unwrap();
        let (_, copy) = house.copy(back, path).unwrap();
        assert_eq!(copy, text, "{out:?}");
    }
    house.put("empty.csv", "i,s\n");
    for (path, out, back) in outs() {
        if matches!(out, WriteFormat::Json(_)) {
            continue;
        }
        house
            .run(&node().read(csv_in(), "empty.csv").write(out.clone(), path))
            .unwrap();
        assert_eq!(house.copy(back, path).unwrap().1, "i,s\n", "{out:?}");
    }
}

/// A file of Avro with two columns: `{"a": 1, "b": "x"}` and `{"a": -2, "b": null}`.
fn avro(codec: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let schema = r#"{"type":"record","name":"r","fields":[{"name":"a","type":"long"},{"name":"b","type":["null","string"]}]}"#;
    let mut file = b"Obj\x01\x04".to_vec();
    let put = |file: &mut Vec<u8>, text: &[u8]| {
        let mut rest = text.len() << 1;
        while rest >= 0x80 {
            file.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        file.push(u8::try_from(rest).unwrap());
        file.extend_from_slice(text);
    };
    put(&mut file, b"avro.codec");
    put(&mut file, codec.as_bytes());
    put(&mut file, b"avro.schema");
    put(&mut file, schema.as_bytes());
    file.push(0);
    file.extend_from_slice(&[7; 16]);
    file.push(4);
    put(&mut file, &pack(&[2, 2, 2, b'x', 3, 0]));
    file.extend_from_slice(&[7; 16]);
    file
}

#[test]
fn avro_is_read() {
    let house = House::new();
    let deflate = |data: &[u8]| {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let snappy = |data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let mut packed = snap::raw::Encoder::new().compress_vec(data).unwrap();
        packed.extend_from_slice(&crc.sum().to_be_bytes());
        packed
    };
    for file in [
        avro("null", <[u8]>::to_vec),
        avro("deflate", deflate),
        avro("snappy", snappy),
        avro("zstandard", |data| zstd::encode_all(data, 3).unwrap()),
    ] {
        house.put("a.avro", &file);
        let (_, copy) = house.copy(ReadFormat::Avro, "a.avro").unwrap();
        assert_eq!(copy, "a,b\n1,x\n-2,\n");
        house.put("a.avro", &file[..file.len() - 3]);
        let failure = house.copy(ReadFormat::Avro, "a.avro").unwrap_err();
        assert_eq!(failure.code, "read/bad-file", "{failure:?}");
    }
    house.put("a.avro", avro("bzip2", <[u8]>::to_vec));
    let failure = house.copy(ReadFormat::Avro, "a.avro").unwrap_err();
    assert!(
        failure.message.ends_with("not supported: `bzip2`"),
        "{failure:?}"
    );
}

/// Mutated files are read or refused, by a failure that names the file; nothing else happens.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the long form of a test is asked for by the environment"
)]
fn damaged_files_of_every_format_are_refused_or_read() {
    let house = House::new();
    house.put("in.csv", "i,s\n1,x\n2,y\n,\n4,\"long, long text\"\n");
    let mut seeds: Vec<(ReadFormat, Vec<u8>)> = Vec::new();
    for (path, out, back) in outs() {
        house
            .run(&node().read(csv_in(), "in.csv").write(out, path))
            .unwrap();
        seeds.push((back, std::fs::read(house.path(path)).unwrap()));
    }
    house
        .run(
            &node()
                .read(csv_in(), "in.csv")
                .write(parquet_out(), "p.parquet"),
        )
        .unwrap();
    seeds.push((
        ReadFormat::Parquet,
        std::fs::read(house.path("p.parquet")).unwrap(),
    ));
    seeds.push((ReadFormat::Avro, avro("null", <[u8]>::to_vec)));
    let rounds: u64 = std::env::var("ODIBI_FUZZ_FILES").map_or(40, |n| n.parse().unwrap());
    let mut state: u64 = std::env::var("ODIBI_FUZZ_SEED").map_or(1, |n| n.parse().unwrap());
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % n.max(1)
    };
    for round in 0..rounds {
        for (index, (format, seed)) in seeds.iter().enumerate() {
            let mut bytes = seed.clone();
            match below(4) {
                0 => bytes.truncate(below(seed.len())),
                1 => {
                    let at = below(bytes.len());
                    bytes.splice(at..at, seed[below(seed.len())..].iter().copied());
                }
                _ => {
                    for _ in 0..=below(4) {
                        let at = below(bytes.len());
                        bytes[at] = [
                            0,
                            0xff,
                            0x80,
                            bytes[at] ^ 1,
                            u8::try_from(below(256)).unwrap(),
                        ][below(5)];
                    }
                }
            }
            house.put("mutated", &bytes);
            if let Err(failure) = house.copy(format.clone(), "mutated") {
                let typed = matches!(failure.class, FailureClass::Data | FailureClass::Limit);
                let at = format!("round {round}, file {index}: {failure:?}");
                assert!(typed, "{at}");
                let named = failure.message.contains("mutated") || failure.code == "read/empty";
                assert!(named || failure.code.starts_with("write/"), "{at}");
            }
        }
    }
}
