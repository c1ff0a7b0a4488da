//! `write`: where the result of a node goes.
//!
//! ```yaml
//! write: {connection: lake, format: parquet, path: out/clean.parquet, options: {compression: zstd}}
//! ```

mod mode;

use super::Text;
use super::delta;
use super::path::{self, Purpose};
use super::read::{INTO_OPTIONS, delimiter, lines};
use super::reader::Reader;
use crate::plan::{ColumnName, Compression, TargetLayout, WriteFormat, WriteMode};
use crate::yaml::{Entry, Value};

/// Formats of ODIBI that are to come.
const FORMATS_LATER: &[&str] = &["delta", "sql", "excel", "avro", "sql_server", "azure_sql"];
const COMMA: u8 = b',';

/// A write of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Name of the connection.
    pub connection: Text,
    /// Format and its options.
    pub format: WriteFormat,
    /// Path of the file or directory, below the connection.
    pub path: Text,
    /// Which of the two it is.
    pub layout: TargetLayout,
    /// Columns whose values become directories, in order.
    pub partition_by: Vec<ColumnName>,
    /// What happens to what is there; default overwrite.
    pub mode: WriteMode,
}

#[derive(Clone, Copy)]
enum Word {
    Csv,
    Parquet,
    Json,
    Delta,
}

pub(super) fn read(node: &Reader<'_>, entry: &Entry) -> Option<Write> {
    let subject = format!("`write` of {}", node.subject());
    let mut reader = Reader::new(node.context(), &entry.value, entry.key_span, subject)?;
    let other_target = reader.not_yet(&["table"]);
    let connection = reader.connection();
    let word = reader.required_text("format").and_then(|text| {
        if text.value == "delta" {
            return Some(Word::Delta);
        }
        word(&reader, &text)
    });
    let path = if other_target {
        None
    } else {
        path::read(&mut reader, Purpose::Write)
    };
    let layout = mode::layout(&mut reader, path.as_ref());
    let mode = mode::mode(&mut reader);
    let is_delta = matches!(word, Some(Word::Delta));
    let format = match word {
        Some(Word::Delta) => delta::write(&mut reader, mode.as_ref()).map(WriteFormat::Delta),
        Some(word) => options(&mut reader, word),
        None => reader.entry("options").and(None),
    };
    if !is_delta {
        reader.not_yet(&["merge_schema", "overwrite_schema"]);
    }
    reader.ignored(&["auto_optimize"], "there is nothing to tune");
    reader.not_yet(&[
        "add_metadata",
        "first_run_query",
        "merge_keys",
        "merge_options",
        "overwrite_options",
        "register_table",
        "skip_hash_columns",
        "skip_hash_sort_columns",
        "skip_if_unchanged",
        "streaming",
        "table_properties",
        "zorder_by",
    ]);
    reader.finish_with(&[
        ("file", "path"),
        ("type", "format"),
        ("compression", INTO_OPTIONS),
        ("header", INTO_OPTIONS),
        ("delimiter", INTO_OPTIONS),
    ]);
    let (layout, partition_by) = layout?;
    Some(Write {
        connection: connection?,
        format: format?,
        path: path?,
        layout,
        partition_by,
        mode: mode?,
    })
}

/// `format` and `options` of something that is Parquet unless it says otherwise.
pub(super) fn format_or_parquet(reader: &mut Reader<'_>) -> Option<WriteFormat> {
    let word = match reader.text("format") {
        Some(text) => word(reader, &text)?,
        None => Word::Parquet,
    };
    options(reader, word)
}

fn word(reader: &Reader<'_>, text: &Text) -> Option<Word> {
    let words = [
        ("csv", Word::Csv),
        ("parquet", Word::Parquet),
        ("json", Word::Json),
        ("jsonl", Word::Json),
    ];
    reader.choice(text, "format", &words, FORMATS_LATER)
}

fn options(reader: &mut Reader<'_>, word: Word) -> Option<WriteFormat> {
    let present = reader
        .entry("options")
        .is_some_and(|entry| entry.value.value == Value::Missing);
    let Some(mut options) = reader.mapping("options") else {
        return match word {
            _ if present => None,
            Word::Csv => Some(WriteFormat::Csv {
                header: true,
                delimiter: COMMA,
            }),
            Word::Parquet => Some(WriteFormat::Parquet {
                compression: Compression::Snappy,
            }),
            Word::Json => Some(WriteFormat::JsonLines),
            Word::Delta => None,
        };
    };
    let format = match word {
        Word::Csv => {
            let header = options.boolean("header", true);
            let delimiter = delimiter(&mut options);
            options.not_yet(&[
                "columns",
                "compression",
                "date_format",
                "encoding",
                "float_format",
                "na_rep",
                "quoting",
            ]);
            delimiter.map(|delimiter| WriteFormat::Csv { header, delimiter })
        }
        Word::Parquet => {
            compression(&mut options).map(|compression| WriteFormat::Parquet { compression })
        }
        Word::Json => {
            lines(&mut options);
            options.not_yet(&["compression", "date_format", "orient"]);
            Some(WriteFormat::JsonLines)
        }
        Word::Delta => None,
    };
    // Read with the mode.
    let _ = options.entry("keys");
    options.not_yet(&["deep_diagnostics", "diff_keys", "index"]);
    options.finish_with(&[("codec", "compression"), ("separator", "delimiter")]);
    format
}

fn compression(options: &mut Reader<'_>) -> Option<Compression> {
    let Some(text) = options.text("compression") else {
        return Some(Compression::Snappy);
    };
    let words = [
        ("snappy", Compression::Snappy),
        ("zstd", Compression::Zstd),
        ("lz4", Compression::Lz4),
        ("none", Compression::None),
    ];
    options.choice(&text, "compression", &words, &["gzip", "brotli"])
}
