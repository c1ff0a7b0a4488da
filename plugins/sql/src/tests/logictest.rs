//! Queries that nobody here wrote: DataFusion's own sqllogictest files (`slt/`, see its README), as steps.
//!
//! Taken are the queries that stand alone: no table made before, no setting, no plan shown. What differs from the file is
//! listed in `slt/differences.tsv` with its reason; a query that comes to differ, or comes to agree, turns the test red.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use arrow_array::Array as _;
use arrow_cast::display::{ArrayFormatter, DurationFormat, FormatOptions};
use arrow_schema::DataType;
use odibi_sdk::harness::{self, Cut};
use odibi_sdk::prelude::*;

/// What a query is checked by.
enum Expect {
    Rows { lines: Vec<String>, sorted: bool },
    Fault,
}

struct Record {
    line: usize,
    sql: String,
    expect: Expect,
}

/// How a query ended.
enum Outcome {
    Agrees,
    /// It speaks of a table that another statement of the file makes.
    NeedsTable,
    Differs(String),
}

/// Statements that show or set something, and are no queries of ours.
const OTHERS: [&str; 8] = [
    "explain", "show", "describe", "set", "prepare", "execute", "insert", "copy",
];

fn dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/slt"))
}

/// The queries of a file up to the first setting: after it, others would be asked.
fn records(text: &str) -> Vec<Record> {
    let mut records = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    let mut conditional = false;
    while let Some((at, line)) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(&("onlyif" | "skipif")) => conditional = true,
            Some(&"halt") => break,
            Some(&"statement") => {
                let body = until_blank(&mut lines).join(" ").to_lowercase();
                if body.starts_with("set ") {
                    break;
                }
                conditional = false;
            }
            Some(&"query") => {
                let body = until_blank(&mut lines);
                let parts = body.iter().position(|l| l.trim() == "----");
                let (sql, rows) = body.split_at(parts.unwrap_or(body.len()));
                let rows = rows.iter().skip(1).map(|l| (*l).to_owned()).collect();
                let sql = sql.join("\n").trim().trim_end_matches(';').to_owned();
                let first = sql.split_whitespace().next().unwrap_or_default();
                let other = OTHERS.contains(&first.to_lowercase().as_str());
                if !std::mem::take(&mut conditional) && !other {
                    let expect = if words.get(1) == Some(&"error") {
                        Expect::Fault
                    } else {
                        Expect::Rows {
                            lines: rows,
                            sorted: words.contains(&"rowsort"),
                        }
                    };
                    let line = at + 1;
                    records.push(Record { line, sql, expect });
                }
            }
            _ => {}
        }
    }
    records
}

fn until_blank<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Vec<&'a str> {
    lines
        .map(|(_, line)| line)
        .take_while(|line| !line.trim().is_empty())
        .collect()
}

fn outcome(record: &Record) -> Outcome {
    let table = RecordBatch::try_from_iter([(
        "only_here",
        Arc::new(Int64Array::from(vec![1])) as ArrayRef,
    )]);
    let params = json!({ "sql": record.sql });
    let got = harness::run_cut(
        &crate::plugin(),
        "sql",
        params,
        &[table.unwrap()],
        Cut::WHOLE,
    );
    match (got, &record.expect) {
        (Err(failure), _) if failure.code == "unknown-table" => Outcome::NeedsTable,
        (Err(_), Expect::Fault) => Outcome::Agrees,
        (Ok(_), Expect::Fault) => Outcome::Differs("no fault".to_owned()),
        (Err(failure), Expect::Rows { .. }) => {
            let message = failure.message.lines().next().unwrap_or_default();
            Outcome::Differs(format!("{}: {message}", failure.code))
        }
        (Ok(batch), Expect::Rows { lines, sorted }) => {
            let (mut ours, mut theirs) = (shown(&batch), lines.clone());
            if *sorted {
                ours.sort();
                theirs.sort();
            }
            if ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(o, t)| same(o, t)) {
                return Outcome::Agrees;
            }
            let differing = ours.iter().zip(&theirs).find(|(o, t)| !same(o, t));
            Outcome::Differs(match differing {
                Some((ours, theirs)) => format!("gives {ours}, not {theirs}"),
                None => format!("{} rows, not {}", ours.len(), theirs.len()),
            })
        }
    }
}

/// Equal words, numbers as numbers: the files round to 12 digits.
fn same(ours: &str, theirs: &str) -> bool {
    let mut words = (ours.split_whitespace(), theirs.split_whitespace());
    loop {
        match (words.0.next(), words.1.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(a), Ok(b)) if (a - b).abs() <= 1e-12 * a.abs().max(1.0) => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// A line for each row, as the files write them.
fn shown(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_duration_format(DurationFormat::Pretty);
    let columns = batch.columns();
    let formatters: Vec<_> = columns
        .iter()
        .map(|c| ArrayFormatter::try_new(c, &options).unwrap())
        .collect();
    let cell = |row: usize, at: usize| {
        if columns[at].is_null(row) {
            return "NULL".to_owned();
        }
        let text = formatters[at].value(row).to_string();
        match columns[at].data_type() {
            DataType::Utf8 | DataType::LargeUtf8 if text.is_empty() => "(empty)".to_owned(),
            DataType::Utf8 | DataType::LargeUtf8 => {
                text.trim_end_matches('\n').replace('\0', "\\0")
            }
            DataType::Float32 | DataType::Float64 => match text.as_str() {
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                _ => text,
            },
            _ => text,
        }
    };
    let line = |row| {
        let cells: Vec<String> = (0..columns.len()).map(|at| cell(row, at)).collect();
        cells.join(" ")
    };
    (0..batch.num_rows()).map(line).collect()
}

/// `UPDATE_DIFFERENCES=1` writes the list anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the switch that rewrites a committed file"
)]
fn queries_of_others_give_what_they_say() {
    // Frames of a debug build are many times those of the component.
    let roomy = std::thread::Builder::new().stack_size(64 << 20);
    let (agree, alone, differences) = roomy.spawn(all).unwrap().join().unwrap();
    let mut found = format!("{agree} of {alone} queries agree\nfile\tline\treason\n");
    for ((file, line), reason) in &differences {
        writeln!(found, "{file}\t{line}\t{reason}").unwrap();
    }
    let path = dir().join("differences.tsv");
    if std::env::var_os("UPDATE_DIFFERENCES").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        agree > 1_000,
        "{agree} of {alone}: this compares too little"
    );
    assert!(
        listed == found,
        "{} is out of date: run this test with UPDATE_DIFFERENCES=1 and read what has changed\n{found}",
        path.display()
    );
}

/// Those that agree, all that stand alone, and what differs by file and line.
fn all() -> (usize, usize, BTreeMap<(String, usize), String>) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .collect();
    files.sort();
    let (mut agree, mut alone) = (0_usize, 0_usize);
    let mut differences = BTreeMap::new();
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for record in records(&std::fs::read_to_string(&path).unwrap()) {
            match outcome(&record) {
                Outcome::NeedsTable => continue,
                Outcome::Agrees => agree += 1,
                Outcome::Differs(reason) => {
                    let reason = reason.replace(['\t', '\n'], " ");
                    differences.insert((name.clone(), record.line), reason);
                }
            }
            alone += 1;
        }
    }
    (agree, alone, differences)
}
