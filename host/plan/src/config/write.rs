//! `write`: where the result of a node goes.
//!
//! ```yaml
//! write: {connection: lake, format: parquet, path: out/clean.parquet, options: {compression: zstd}}
//! ```

mod columns;
pub(super) mod mode;

use super::Text;
use super::delta;
use super::format::{WriteWord, write_options};
use super::path::{self, Purpose};
use super::read::INTO_OPTIONS;
use super::reader::{Reader, words};
use crate::plan::{ColumnName, DeltaWrite, SchemaPolicy, TargetLayout, WriteFormat, WriteMode};
use crate::yaml::Entry;

/// The format that only the write of a node has.
const DELTA: &str = "delta";
/// Formats of ODIBI that are to come.
const FORMATS_LATER: &[&str] = &["delta", "sql", "excel", "avro", "sql_server", "azure_sql"];

/// A key of ODIBI that changes nothing.
pub(super) const IGNORED: &[&str] = &["auto_optimize"];
/// Another target of ODIBI, in place of a `path`.
pub(super) const TARGETS_LATER: &[&str] = &["table"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &[
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
];

/// The words of `format`.
pub(super) fn formats() -> Vec<&'static str> {
    let mut formats = words(WriteWord::WORDS);
    formats.push(DELTA);
    formats
}

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
    /// What becomes of columns that differ from those of the target.
    pub schema_policy: Option<SchemaPolicy>,
    /// `overwrite_schema`: the columns of the result replace those of the target.
    pub overwrites_schema: bool,
}

pub(super) fn read(node: &Reader<'_>, entry: &Entry) -> Option<Write> {
    let subject = format!("`write` of {}", node.subject());
    let mut reader = Reader::new(node.context(), &entry.value, entry.key_span, subject)?;
    let other_target = reader.not_yet(TARGETS_LATER);
    let connection = reader.connection();
    let word = reader.required_text("format").and_then(|text| {
        if text.value == DELTA {
            return Some(WriteWord::Delta);
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
    let columns = columns::columns(&mut reader, mode.as_ref());
    let format = match word {
        Some(WriteWord::Delta) => {
            delta::write_options(&mut reader);
            let overwrite_schema = columns.is_some_and(|columns| columns.overwrite);
            Some(WriteFormat::Delta(DeltaWrite { overwrite_schema }))
        }
        Some(word) => write_options(&mut reader, word, path.as_ref()),
        None => reader.entry("options").and(None),
    };
    reader.ignored(IGNORED, "there is nothing to tune");
    reader.not_yet(LATER);
    reader.finish_with(&[
        ("file", "path"),
        ("type", "format"),
        ("compression", INTO_OPTIONS),
        ("header", INTO_OPTIONS),
        ("delimiter", INTO_OPTIONS),
    ]);
    let (layout, partition_by) = layout?;
    let columns = columns?;
    Some(Write {
        connection: connection?,
        format: format?,
        path: path?,
        layout,
        partition_by,
        mode: mode?,
        schema_policy: columns.policy,
        overwrites_schema: columns.overwrite,
    })
}

/// `format` and `options` of something that is Parquet unless it says otherwise.
pub(super) fn format_or_parquet(reader: &mut Reader<'_>) -> Option<WriteFormat> {
    let word = match reader.text("format") {
        Some(text) => word(reader, &text)?,
        None => WriteWord::Parquet,
    };
    write_options(reader, word, None)
}

fn word(reader: &Reader<'_>, text: &Text) -> Option<WriteWord> {
    reader.choice(text, "format", WriteWord::WORDS, FORMATS_LATER)
}
