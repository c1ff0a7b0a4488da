//! `read`: one table from files of a connection.
//!
//! ```yaml
//! read: {connection: lake, format: csv, path: in/*.csv, options: {delimiter: ";", null_values: [NA]}}
//! ```

use super::Text;
use super::delta;
use super::path::{self, Purpose};
use super::reader::{Context, Reader};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::plan::{CsvRead, ReadFormat};
use crate::yaml::{self, Value};

/// Formats of ODIBI that are to come.
const FORMATS_LATER: &[&str] = &[
    "sql",
    "api",
    "excel",
    "avro",
    "cloudFiles",
    "sql_server",
    "azure_sql",
    "simulation",
];
/// Options of `pandas.read_csv` that projects use and this version does not carry out.
const CSV_LATER: &[&str] = &[
    "columns",
    "comment",
    "compression",
    "date_format",
    "decimal",
    "dtype",
    "encoding",
    "engine",
    "escape",
    "escapechar",
    "index_col",
    "inferSchema",
    "multiLine",
    "names",
    "nrows",
    "on_bad_lines",
    "parse_dates",
    "query",
    "schema",
    "skipfooter",
    "skiprows",
    "thousands",
    "usecols",
];
pub(super) const INTO_OPTIONS: &str = "move it into `options`";
const COMMA: u8 = b',';
const QUOTE: u8 = b'"';

/// A read of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Name of the connection.
    pub connection: Text,
    /// Format and its options.
    pub format: ReadFormat,
    /// Path below the connection; may hold wildcards.
    pub path: Text,
}

#[derive(Clone, Copy)]
enum Word {
    Csv,
    Parquet,
    Json,
    JsonLines,
    Delta,
}

/// `span` is the key the read stands under.
pub(super) fn read(
    context: &Context,
    node: &yaml::Node,
    span: Span,
    subject: &str,
) -> Option<Read> {
    let mut reader = Reader::new(context, node, span, subject)?;
    let other_source = reader.not_yet(&["table", "query", "sql_file"]);
    let connection = reader.connection();
    let word = reader.required_text("format").and_then(|text| {
        let words = [
            ("csv", Word::Csv),
            ("parquet", Word::Parquet),
            ("json", Word::Json),
            ("jsonl", Word::JsonLines),
            ("delta", Word::Delta),
        ];
        reader.choice(&text, "format", &words, FORMATS_LATER)
    });
    let path = if other_source {
        None
    } else {
        path::read(&mut reader, Purpose::Read)
    };
    let is_delta = matches!(word, Some(Word::Delta));
    let fits = !is_delta || delta::check_path(&reader, path.as_ref());
    let path = path.filter(|_| fits);
    let format = match word {
        Some(Word::Delta) => delta::read(&mut reader).map(ReadFormat::Delta),
        Some(word) => options(&mut reader, word),
        // Options of an unknown format cannot be judged.
        None => reader.entry("options").and(None),
    };
    if !is_delta {
        reader.not_yet(&["time_travel"]);
    }
    reader.not_yet(&[
        "filter",
        "incremental",
        "streaming",
        "schema_ddl",
        "archive_options",
    ]);
    reader.finish_with(&[
        ("file", "path"),
        ("type", "format"),
        ("delimiter", INTO_OPTIONS),
        ("sep", INTO_OPTIONS),
        ("header", INTO_OPTIONS),
    ]);
    Some(Read {
        connection: connection?,
        format: format?,
        path: path?,
    })
}

fn options(reader: &mut Reader<'_>, word: Word) -> Option<ReadFormat> {
    let present = reader
        .entry("options")
        .is_some_and(|entry| entry.value.value == Value::Missing);
    let Some(mut options) = reader.mapping("options") else {
        return match word {
            _ if present => None,
            Word::Csv => Some(ReadFormat::Csv(csv_default())),
            Word::Parquet => Some(ReadFormat::Parquet),
            Word::Json | Word::JsonLines => Some(ReadFormat::JsonLines),
            Word::Delta => None,
        };
    };
    let format = match word {
        Word::Csv => csv(&mut options).map(ReadFormat::Csv),
        Word::Parquet => Some(ReadFormat::Parquet),
        Word::Json | Word::JsonLines => {
            lines(&mut options);
            Some(ReadFormat::JsonLines)
        }
        Word::Delta => None,
    };
    options.finish_with(&[("separator", "delimiter"), ("nulls", "null_values")]);
    format
}

/// JSON is read and written as one object for each line; ODIBI's `lines: true` says so.
pub(super) fn lines(options: &mut Reader<'_>) {
    if options.boolean("lines", true) {
        return;
    }
    let Some(entry) = options.entry("lines") else {
        return;
    };
    let message = format!(
        "`lines: false` of {} is not supported yet: JSON is one object for each line",
        options.subject()
    );
    options.context().report(Diagnostic::error(
        &codes::NOT_YET,
        entry.value.span,
        message,
    ));
}

fn csv_default() -> CsvRead {
    CsvRead {
        header: true,
        delimiter: COMMA,
        quote: QUOTE,
        null_values: Vec::new(),
        infer_rows: None,
    }
}

fn csv(options: &mut Reader<'_>) -> Option<CsvRead> {
    let default = csv_default();
    let header = options.boolean("header", default.header);
    let delimiter = delimiter(options);
    let quote = byte(options, &["quote", "quotechar"], QUOTE);
    let null_values = null_values(options);
    let infer_rows = options.integer("infer_rows", 1..=usize::MAX);
    options.not_yet(CSV_LATER);
    let (delimiter, quote) = (delimiter?, quote?);
    if delimiter == quote {
        let message = format!(
            "delimiter and quote of {} are the same character",
            options.subject()
        );
        options.context().report(Diagnostic::error(
            &codes::BAD_VALUE,
            options.span(),
            message,
        ));
        return None;
    }
    Some(CsvRead {
        header,
        delimiter,
        quote,
        null_values,
        infer_rows,
    })
}

/// `delimiter`, or `sep` as pandas has it; a comma when absent.
pub(super) fn delimiter(options: &mut Reader<'_>) -> Option<u8> {
    byte(options, &["delimiter", "sep"], COMMA)
}

/// One ASCII character; `\t` may be written in any quotes.
fn byte(options: &mut Reader<'_>, keys: &[&'static str], default: u8) -> Option<u8> {
    let Some(entry) = options.one_of(keys) else {
        return Some(default);
    };
    let text = options.as_text(entry)?;
    match text.value.as_bytes() {
        [b'\\', b't'] => return Some(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'\0') => return Some(*byte),
        _ => {}
    }
    let message = format!(
        "{} of {} must be one ASCII character: {}",
        quoted(&entry.key),
        options.subject(),
        quoted(text.shown())
    );
    options
        .context()
        .report(Diagnostic::error(&codes::BAD_VALUE, text.span, message));
    None
}

/// Texts that mean null. Every scalar counts as it is written, `null` and `NaN` too.
fn null_values(options: &mut Reader<'_>) -> Vec<String> {
    let Some(entry) = options.one_of(&["null_values", "na_values"]) else {
        return Vec::new();
    };
    let single = std::slice::from_ref(&entry.value);
    let items = if matches!(entry.value.value, Value::Scalar(_)) {
        single
    } else {
        options.as_list(entry)
    };
    let subject = format!("an item of {} of {}", quoted(&entry.key), options.subject());
    items
        .iter()
        .filter_map(|item| match &item.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            Value::Missing | Value::Sequence(_) | Value::Mapping(_) => {
                options.node_as_text(item, &subject).map(|text| text.value)
            }
        })
        .collect()
}
