//! Options of reads.

use super::text::text_read;
use super::types::types;
use super::{ORIENTS, ORIENTS_LATER, byte, differ, options_lost, texts};
use crate::config::reader::Reader;
use crate::plan::{CsvRead, JsonLayout, JsonRead, OnBadRow, ReadFormat, ReadOptions};

/// Options of `pandas.read_csv` that projects use and this version does not carry out.
pub(in crate::config) const CSV_LATER: &[&str] = &[
    "columns",
    "date_format",
    "decimal",
    "engine",
    "index_col",
    "inferSchema",
    "multiLine",
    "nrows",
    "parse_dates",
    "query",
    "skipfooter",
    "thousands",
    "usecols",
];
/// Options of `pandas.read_json`, likewise.
pub(in crate::config) const JSON_LATER: &[&str] = &["convert_dates", "nrows"];
/// Lines at the beginning of a file that can be left out.
pub(in crate::config) const LINES_LEFT_OUT_MAX: usize = 1_000_000;

/// The words of `on_bad_row`.
pub(in crate::config) const ON_BAD_ROW: &[(&str, OnBadRow)] = &[
    ("fail", OnBadRow::Fail),
    ("skip", OnBadRow::Skip),
    ("quarantine", OnBadRow::Quarantine),
];
/// The words of `on_bad_lines`, as pandas has it.
pub(in crate::config) const ON_BAD_LINES: &[(&str, OnBadRow)] = &[
    ("error", OnBadRow::Fail),
    ("warn", OnBadRow::Skip),
    ("skip", OnBadRow::Skip),
];

/// Formats of reads as `format` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ReadWord {
    Csv,
    Parquet,
    Json,
    JsonLines,
    Arrow,
    Avro,
    /// Not of files; its options are read elsewhere.
    Delta,
}

impl ReadWord {
    pub(in crate::config) const WORDS: &[(&'static str, Self)] = &[
        ("csv", Self::Csv),
        ("parquet", Self::Parquet),
        ("json", Self::Json),
        ("jsonl", Self::JsonLines),
        ("arrow", Self::Arrow),
        ("feather", Self::Arrow),
        ("avro", Self::Avro),
        ("delta", Self::Delta),
    ];
}

/// The format with its options, and what does not depend on it. `None` when they cannot be judged.
pub(in crate::config) fn read_options(
    reader: &mut Reader<'_>,
    word: ReadWord,
) -> Option<(ReadFormat, ReadOptions)> {
    let lost = options_lost(reader);
    let Some(mut options) = reader.mapping("options") else {
        let format = match word {
            ReadWord::Csv => ReadFormat::Csv(CsvRead::default()),
            ReadWord::Json => ReadFormat::Json(JsonRead::default()),
            ReadWord::JsonLines => ReadFormat::Json(JsonRead {
                layout: Some(JsonLayout::Lines),
                ..JsonRead::default()
            }),
            ReadWord::Parquet => ReadFormat::Parquet,
            ReadWord::Arrow => ReadFormat::Arrow,
            ReadWord::Avro => ReadFormat::Avro,
            ReadWord::Delta => return None,
        };
        return (!lost).then(|| (format, ReadOptions::default()));
    };
    let format = match word {
        ReadWord::Csv => csv(&mut options).map(ReadFormat::Csv),
        ReadWord::Json | ReadWord::JsonLines => json(&mut options, word).map(ReadFormat::Json),
        ReadWord::Parquet => Some(ReadFormat::Parquet),
        ReadWord::Arrow => Some(ReadFormat::Arrow),
        ReadWord::Avro => Some(ReadFormat::Avro),
        ReadWord::Delta => None,
    };
    let hive = options.optional("hive_partitioning").is_some();
    let hive_partitioning = hive.then(|| options.boolean("hive_partitioning", false));
    let common = ReadOptions {
        hive_partitioning,
        types: types(&mut options),
        schema_policy: None,
    };
    options.finish_with(&[
        ("separator", "delimiter"),
        ("nulls", "null_values"),
        ("hive", "hive_partitioning"),
        ("types", "schema"),
        ("dtypes", "schema"),
        ("codec", "compression"),
        ("charset", "encoding"),
    ]);
    format.map(|format| (format, common))
}

fn csv(options: &mut Reader<'_>) -> Option<CsvRead> {
    let default = CsvRead::default();
    let header = options.boolean("header", default.header);
    let names = options.texts("names");
    let delimiter = byte(options, &["delimiter", "sep"]);
    let quote = byte(options, &["quote", "quotechar"]);
    let escape = byte(options, &["escape", "escapechar"]);
    let comment = byte(options, &["comment"]);
    let skip_rows = ["skip_rows", "skiprows"].map(|key| {
        let there = options.optional(key)?;
        Some((there, options.integer(key, 0..=LINES_LEFT_OUT_MAX)))
    });
    if let [Some((first, _)), Some((second, _))] = skip_rows {
        options.exclusive(first, second);
    }
    let null_values = match options.one_of(&["null_values", "na_values"]) {
        Some(entry) => texts(options, entry),
        None => Vec::new(),
    };
    let infer_rows = options.integer("infer_rows", 1..=usize::MAX);
    let on_bad_row = on_bad_row(options);
    let text = text_read(options);
    options.not_yet(CSV_LATER);
    let (delimiter, quote) = (
        delimiter.ok()?.unwrap_or(default.delimiter),
        quote.ok()?.unwrap_or(default.quote),
    );
    let (escape, comment) = (escape.ok()?, comment.ok()?);
    let all = [
        ("delimiter", Some(delimiter)),
        ("quote", Some(quote)),
        ("escape", escape),
        ("comment", comment),
    ];
    for (index, first) in all.iter().enumerate() {
        for second in &all[index + 1..] {
            // An escape that is the quote is what doubled quotes are anyway.
            let doubled = first.0 == "quote" && second.0 == "escape";
            if !doubled && !differ(options, *first, *second) {
                return None;
            }
        }
    }
    Some(CsvRead {
        header,
        names: names.into_iter().map(|name| name.value).collect(),
        delimiter,
        quote,
        escape: escape.filter(|escape| *escape != quote),
        comment,
        skip_rows: skip_rows
            .into_iter()
            .flatten()
            .find_map(|(_, rows)| rows)
            .unwrap_or_default(),
        null_values,
        infer_rows,
        on_bad_row: on_bad_row?,
        text: text?,
    })
}

/// `on_bad_row`, or `on_bad_lines` as pandas has it.
fn on_bad_row(options: &mut Reader<'_>) -> Option<OnBadRow> {
    let Some(entry) = options.one_of(&["on_bad_row", "on_bad_lines"]) else {
        return Some(OnBadRow::Fail);
    };
    let text = options.as_text(entry)?;
    let words = if entry.key == "on_bad_row" {
        ON_BAD_ROW
    } else {
        ON_BAD_LINES
    };
    options.choice(&text, &entry.key, words, &[])
}

/// ODIBI's `lines` says how the objects stand; `jsonl` is always lines.
fn json(options: &mut Reader<'_>, word: ReadWord) -> Option<JsonRead> {
    let said = options.optional("lines").is_some();
    let lines = options.boolean("lines", true);
    let text = text_read(options);
    options.not_yet(JSON_LATER);
    if let Some(text) = options.text("orient") {
        options.choice(&text, "orient", ORIENTS, ORIENTS_LATER)?;
    }
    let layout = match (said, lines, word) {
        (true, true, _) | (false, _, ReadWord::JsonLines) => Some(JsonLayout::Lines),
        (true, false, _) => Some(JsonLayout::Array),
        (false, _, _) => None,
    };
    Some(JsonRead {
        layout,
        text: text?,
    })
}
