//! Options of writes.

use super::text::compression;
use super::{ORIENTS, ORIENTS_LATER, byte, differ, options_lost};
use crate::config::Text;
use crate::config::reader::{Reader, words};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{
    ArrowCompression, ArrowWrite, Compression, CsvWrite, JsonLayout, JsonWrite, ParquetWrite,
    TextCompression, WriteFormat,
};

/// Conversions of `strftime` that dates can be written with.
const DATE_CONVERSIONS: &str = "YmdHMSfyjbBaApIeGVuFTDRsZz%";
const DATE_FORMAT_BYTES_MAX: usize = 64;
/// Rows of a row group that can be asked for.
pub(in crate::config) const ROW_GROUP_ROWS_MAX: usize = 64 * 1024 * 1024;

/// Options of ODIBI and pandas that this version does not carry out: of every format, of CSV, of JSON.
pub(in crate::config) const LATER: &[&str] = &["deep_diagnostics", "diff_keys", "index"];
pub(in crate::config) const CSV_LATER: &[&str] = &[
    "columns",
    "decimal",
    "escapechar",
    "float_format",
    "lineterminator",
];
pub(in crate::config) const JSON_LATER: &[&str] = &["date_format", "date_unit", "indent"];

const QUOTINGS: [(&str, Quoting); 4] = [
    ("minimal", Quoting::Minimal),
    ("all", Quoting::All),
    ("0", Quoting::Minimal),
    ("1", Quoting::All),
];
/// The words of `encoding`; true for those with a byte order mark.
pub(in crate::config) const ENCODINGS: &[(&str, bool)] = &[
    ("utf-8", false),
    ("utf-8-sig", true),
    ("utf8", false),
    ("utf_8_sig", true),
];
/// The words of `compression` of Parquet files.
pub(in crate::config) const PARQUET_COMPRESSIONS: &[(&str, Compression)] = &[
    ("snappy", Compression::Snappy),
    ("zstd", Compression::Zstd),
    ("gzip", Compression::Gzip),
    ("lz4", Compression::Lz4),
    ("none", Compression::None),
];
/// The words of `compression` of Arrow files.
pub(in crate::config) const ARROW_COMPRESSIONS: &[(&str, ArrowCompression)] = &[
    ("lz4", ArrowCompression::Lz4),
    ("zstd", ArrowCompression::Zstd),
    ("none", ArrowCompression::None),
    ("uncompressed", ArrowCompression::None),
];

/// The words of `quoting`.
pub(in crate::config) fn quotings() -> Vec<&'static str> {
    words(&QUOTINGS)
}

/// Formats of writes as `format` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum WriteWord {
    Csv,
    Parquet,
    Json,
    JsonLines,
    Arrow,
    /// Not of files; its options are read elsewhere.
    Delta,
}

impl WriteWord {
    pub(in crate::config) const WORDS: &[(&'static str, Self)] = &[
        ("csv", Self::Csv),
        ("parquet", Self::Parquet),
        ("json", Self::Json),
        ("jsonl", Self::JsonLines),
        ("arrow", Self::Arrow),
        ("feather", Self::Arrow),
    ];
}

/// The format with its options; the name of the file says how text is compressed, unless they do.
pub(in crate::config) fn write_options(
    reader: &mut Reader<'_>,
    word: WriteWord,
    path: Option<&Text>,
) -> Option<WriteFormat> {
    let by_name = path.map_or(TextCompression::None, |path| {
        TextCompression::of_path(&path.value)
    });
    let lost = options_lost(reader);
    let Some(mut options) = reader.mapping("options") else {
        let format = match word {
            WriteWord::Csv => WriteFormat::Csv(CsvWrite {
                compression: by_name,
                ..CsvWrite::default()
            }),
            WriteWord::Json | WriteWord::JsonLines => WriteFormat::Json(JsonWrite {
                compression: by_name,
                ..JsonWrite::default()
            }),
            WriteWord::Parquet => WriteFormat::Parquet(ParquetWrite::default()),
            WriteWord::Arrow => WriteFormat::Arrow(ArrowWrite::default()),
            WriteWord::Delta => return None,
        };
        return (!lost).then_some(format);
    };
    let format = match word {
        WriteWord::Csv => csv(&mut options, by_name).map(WriteFormat::Csv),
        WriteWord::Json | WriteWord::JsonLines => {
            json(&mut options, word, by_name).map(WriteFormat::Json)
        }
        WriteWord::Parquet => parquet(&mut options).map(WriteFormat::Parquet),
        WriteWord::Arrow => arrow(&mut options).map(WriteFormat::Arrow),
        WriteWord::Delta => None,
    };
    // Read with the mode.
    let _ = options.entry("keys");
    options.not_yet(LATER);
    options.finish_with(&[
        ("codec", "compression"),
        ("separator", "delimiter"),
        ("row_group_size", "row_group_rows"),
    ]);
    format
}

#[derive(Clone, Copy)]
enum Quoting {
    Minimal,
    All,
}

fn csv(options: &mut Reader<'_>, by_name: TextCompression) -> Option<CsvWrite> {
    let default = CsvWrite::default();
    let header = options.boolean("header", default.header);
    let delimiter = byte(options, &["delimiter", "sep"]);
    let quote = byte(options, &["quote", "quotechar"]);
    let quoting = match options.text("quoting") {
        Some(text) => {
            let later = ["nonnumeric", "none", "2", "3"];
            options.choice(&text, "quoting", &QUOTINGS, &later)
        }
        None => Some(Quoting::Minimal),
    };
    let null = options.one_of(&["null_value", "na_rep"]);
    let null_value = match null {
        Some(entry) => options.as_text(entry).map(Some),
        None => Some(None),
    };
    let date_format = date_format(options);
    let mark = match options.text("encoding") {
        Some(text) => {
            let later = [
                "latin1",
                "latin-1",
                "iso-8859-1",
                "cp1252",
                "windows-1252",
                "utf-16",
            ];
            options.choice(&text, "encoding", ENCODINGS, &later)
        }
        None => Some(false),
    };
    let compression = compression(options);
    options.not_yet(CSV_LATER);
    let delimiter = delimiter.ok()?.unwrap_or(default.delimiter);
    let quote = quote.ok()?.unwrap_or(default.quote);
    if !differ(
        options,
        ("delimiter", Some(delimiter)),
        ("quote", Some(quote)),
    ) {
        return None;
    }
    let null_value = null_value?;
    let special = |b: u8| b == delimiter || b == quote || b == b'\n' || b == b'\r';
    if let Some(text) = null_value.as_ref().filter(|t| t.value.bytes().any(special)) {
        let message = format!(
            "`{}` of {} holds a delimiter, a quote or a line end: {}",
            null.map_or("null_value", |entry| entry.key.as_str()),
            options.subject(),
            quoted(text.shown())
        );
        let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
        options.context().report(made);
        return None;
    }
    Some(CsvWrite {
        header,
        delimiter,
        quote,
        quote_all: matches!(quoting?, Quoting::All),
        null_value: null_value.map(|text| text.value).unwrap_or_default(),
        mark: mark?,
        date_format: date_format?,
        compression: compression?.unwrap_or(by_name),
    })
}

/// `date_format`; the outer `None` is a fault.
fn date_format(options: &mut Reader<'_>) -> Option<Option<String>> {
    let Some(text) = options.text("date_format") else {
        return Some(None);
    };
    let mut rest = text.value.chars();
    let mut known = text.value.len() <= DATE_FORMAT_BYTES_MAX;
    while let Some(c) = rest.next() {
        if c == '%' {
            known &= rest.next().is_some_and(|c| DATE_CONVERSIONS.contains(c));
        }
    }
    if known {
        return Some(Some(text.value));
    }
    let message = format!(
        "`date_format` of {} holds a conversion that is not known: {}",
        options.subject(),
        quoted(text.shown())
    );
    let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
    options
        .context()
        .report(made.hint("write for example `%Y-%m-%d` or `%d.%m.%Y %H:%M:%S`"));
    None
}

fn json(options: &mut Reader<'_>, word: WriteWord, by_name: TextCompression) -> Option<JsonWrite> {
    let lines = options.boolean("lines", true);
    if let Some(text) = options.text("orient") {
        options.choice(&text, "orient", ORIENTS, ORIENTS_LATER)?;
    }
    let compression = compression(options);
    options.not_yet(JSON_LATER);
    let layout = if lines || word == WriteWord::JsonLines {
        JsonLayout::Lines
    } else {
        JsonLayout::Array
    };
    if !lines && word == WriteWord::JsonLines {
        let message = format!(
            "`lines: false` of {} is not what `jsonl` is",
            options.subject()
        );
        let made = Diagnostic::error(&codes::BAD_VALUE, options.span(), message);
        options.context().report(made.hint("set `format: json`"));
        return None;
    }
    Some(JsonWrite {
        layout,
        compression: compression?.unwrap_or(by_name),
    })
}

fn parquet(options: &mut Reader<'_>) -> Option<ParquetWrite> {
    let default = ParquetWrite::default();
    let compression = match options.text("compression") {
        Some(text) => options.choice(&text, "compression", PARQUET_COMPRESSIONS, &["brotli"]),
        None => Some(default.compression),
    };
    let rows = options.integer("row_group_rows", 1..=ROW_GROUP_ROWS_MAX);
    let statistics = options.boolean("statistics", default.statistics);
    Some(ParquetWrite {
        compression: compression?,
        row_group_rows: rows.unwrap_or(default.row_group_rows),
        statistics,
    })
}

fn arrow(options: &mut Reader<'_>) -> Option<ArrowWrite> {
    let stream = options.boolean("stream", false);
    let compression = match options.text("compression") {
        Some(text) => options.choice(&text, "compression", ARROW_COMPRESSIONS, &[]),
        None => Some(ArrowCompression::None),
    };
    Some(ArrowWrite {
        stream,
        compression: compression?,
    })
}
