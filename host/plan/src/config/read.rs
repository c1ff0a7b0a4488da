//! `read`: one table from files of a connection.
//!
//! ```yaml
//! read: {connection: lake, format: csv, path: in/*.csv, options: {delimiter: ";", null_values: [NA]}}
//! ```

use super::Text;
use super::delta;
use super::format::{ReadWord, policy, read_options};
use super::path::{self, Purpose};
use super::privacy;
use super::reader::{Context, Reader};
use crate::diagnostic::Span;
use crate::plan::{Marks, ReadFormat, ReadOptions};
use crate::yaml;

/// Formats of ODIBI that are to come.
const FORMATS_LATER: &[&str] = &[
    "sql",
    "api",
    "excel",
    "cloudFiles",
    "sql_server",
    "azure_sql",
    "simulation",
];
/// Other sources of ODIBI: a read has one of them in place of a `path`.
pub(super) const SOURCES_LATER: &[&str] = &["table", "query", "sql_file"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &[
    "filter",
    "incremental",
    "streaming",
    "schema_ddl",
    "archive_options",
];
pub(super) const INTO_OPTIONS: &str = "move it into `options`";

/// A read of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Name of the connection.
    pub connection: Text,
    /// Format and its options.
    pub format: ReadFormat,
    /// Path below the connection; may hold wildcards.
    pub path: Text,
    /// Options that do not depend on the format.
    pub options: ReadOptions,
    /// `sensitive`
    pub sensitive: Marks,
}

/// `span` is the key the read stands under.
pub(super) fn read(
    context: &Context,
    node: &yaml::Node,
    span: Span,
    subject: &str,
) -> Option<Read> {
    let mut reader = Reader::new(context, node, span, subject)?;
    let other_source = reader.not_yet(SOURCES_LATER);
    let connection = reader.connection();
    let word = reader
        .required_text("format")
        .and_then(|text| reader.choice(&text, "format", ReadWord::WORDS, FORMATS_LATER));
    let path = if other_source {
        None
    } else {
        path::read(&mut reader, Purpose::Read)
    };
    let is_delta = word == Some(ReadWord::Delta);
    let fits = !is_delta || delta::check_path(&reader, path.as_ref());
    let path = path.filter(|_| fits);
    let format = match word {
        Some(ReadWord::Delta) => {
            let format = delta::read(&mut reader).map(ReadFormat::Delta);
            format.map(|format| (format, ReadOptions::default()))
        }
        Some(word) => read_options(&mut reader, word),
        // Options of an unknown format cannot be judged.
        None => reader.entry("options").and(None),
    };
    let mut schema_policy = None;
    if is_delta {
        reader.not_yet(&["schema_policy"]);
    } else {
        schema_policy = policy(&mut reader);
        reader.not_yet(&["time_travel"]);
    }
    let sensitive = privacy::sensitive(&mut reader);
    reader.not_yet(LATER);
    reader.finish_with(&[
        ("file", "path"),
        ("type", "format"),
        ("delimiter", INTO_OPTIONS),
        ("sep", INTO_OPTIONS),
        ("header", INTO_OPTIONS),
        ("encoding", INTO_OPTIONS),
        ("compression", INTO_OPTIONS),
        ("hive_partitioning", INTO_OPTIONS),
    ]);
    let (format, options) = format?;
    Some(Read {
        connection: connection?,
        format,
        path: path?,
        options: ReadOptions {
            schema_policy,
            ..options
        },
        sensitive,
    })
}
