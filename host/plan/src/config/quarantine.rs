//! `on_row_error` with `quarantine`: what becomes of the rows that a step fails on.
//!
//! ```yaml
//! on_row_error: quarantine
//! quarantine: {connection: lake, path: rejects/orders, format: parquet}
//! ```

use super::Text;
use super::path::{self, Purpose};
use super::reader::{Reader, words};
use super::write;
use crate::diagnostic::{Diagnostic, Span, codes};
use crate::plan::WriteFormat;
use crate::yaml::Entry;

/// Columns that rejected rows are given, by ODIBI's names.
pub(super) const COLUMNS_ADDED: &[&str] = &["rejection_reason", "rejected_at", "source_batch_id"];

/// Columns of ODIBI among them that change nothing, and those that this version does not write.
pub(super) const COLUMNS_IGNORED: &[&str] = &["failed_tests"];
pub(super) const COLUMNS_LATER: &[&str] = &["original_node"];
/// Keys of ODIBI that change nothing.
pub(super) const IGNORED: &[&str] = &["retention_days"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &["max_rows", "sample_fraction"];

const WORDS: [(&str, Word); 2] = [("fail", Word::Fail), ("quarantine", Word::Quarantine)];

/// The words of `on_row_error`.
pub(super) fn on_row_error_words() -> Vec<&'static str> {
    words(&WORDS)
}

/// What becomes of rows that a step fails on.
#[derive(Debug, Clone, PartialEq)]
pub enum OnRowError {
    /// The node fails, and the failure names the rows. The default.
    Fail,
    /// They are set aside, and the node goes on.
    Quarantine(Quarantine),
}

/// Where rejected rows go.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantine {
    /// Name of the connection.
    pub connection: Text,
    /// Format and its options; default parquet.
    pub format: WriteFormat,
    /// A directory below the connection.
    pub path: Text,
}

#[derive(Clone, Copy)]
enum Word {
    Fail,
    Quarantine,
}

/// `bad_rows` is the place of a read that sends the rows here that it cannot understand.
pub(super) fn read(node: &mut Reader<'_>, bad_rows: Option<Span>) -> OnRowError {
    let policy = node.optional("on_row_error");
    let word = policy
        .and_then(|entry| node.as_text(entry))
        .and_then(|text| node.choice(&text, "on_row_error", &WORDS, &[]));
    let target = node.entry("quarantine");
    match (word, policy) {
        (Some(Word::Quarantine), Some(policy)) => {
            if bad_rows.is_none() && !has_steps(node) && !node.truncated() {
                let why = "the node has no steps that could reject a row";
                ineffective(node, policy, why);
            }
            match node.required("quarantine") {
                Some(entry) => place(node, entry).map_or(OnRowError::Fail, OnRowError::Quarantine),
                None => OnRowError::Fail,
            }
        }
        (Some(Word::Fail), _) | (None, None) => {
            if let Some(span) = bad_rows.filter(|_| !node.truncated()) {
                let message = format!(
                    "`on_bad_row: quarantine` of {} has no place for the rows",
                    node.subject()
                );
                let made = Diagnostic::error(&codes::MISSING_KEY, span, message);
                node.context().report(made.hint(
                    "add `on_row_error: quarantine` and `quarantine: {connection: …, path: …}` to the node",
                ));
                return OnRowError::Fail;
            }
            if let Some(entry) = target.filter(|entry| !entry.value.is_null()) {
                ineffective(node, entry, "`on_row_error` is not `quarantine`");
                let _ = place(node, entry);
            }
            OnRowError::Fail
        }
        // A policy that was refused is reported already.
        (_, _) => OnRowError::Fail,
    }
}

fn has_steps(node: &mut Reader<'_>) -> bool {
    ["transformer", "transform"]
        .iter()
        .any(|key| node.entry(key).is_some())
}

fn ineffective(node: &Reader<'_>, entry: &Entry, why: &str) {
    let message = format!("`{}` of {} has no effect: {why}", entry.key, node.subject());
    node.context().report(Diagnostic::warning(
        &codes::IGNORED_KEY,
        entry.key_span,
        message,
    ));
}

fn place(node: &Reader<'_>, entry: &Entry) -> Option<Quarantine> {
    let subject = format!("`quarantine` of {}", node.subject());
    let mut reader = Reader::new(node.context(), &entry.value, entry.key_span, subject)?;
    let other_target = reader.not_yet(write::TARGETS_LATER);
    let connection = reader.connection();
    let path = if other_target {
        let _ = reader.entry("path");
        None
    } else {
        path::read(&mut reader, Purpose::Directory)
    };
    let format = write::format_or_parquet(&mut reader);
    columns_added(&mut reader);
    reader.ignored(IGNORED, "odibi removes no file of its own accord");
    reader.not_yet(LATER);
    reader.finish_with(&[
        ("file", "path"),
        ("directory", "path"),
        ("type", "format"),
        ("compression", "options"),
    ]);
    Some(Quarantine {
        connection: connection?,
        format: format?,
        path: path?,
    })
}

/// `add_columns`, as far as it asks for what is done anyway.
fn columns_added(quarantine: &mut Reader<'_>) {
    let Some(mut reader) = quarantine.mapping("add_columns") else {
        return;
    };
    for column in COLUMNS_ADDED {
        let Some(entry) = reader.optional(column) else {
            continue;
        };
        if !reader.boolean(column, true) {
            let message = format!(
                "`{column}: false` of {} is not supported yet",
                reader.subject()
            );
            let made = Diagnostic::error(&codes::NOT_YET, entry.key_span, message);
            reader
                .context()
                .report(made.hint("remove it: the column is always written"));
        }
    }
    reader.ignored(COLUMNS_IGNORED, "a step rejects the rows, not a test");
    reader.not_yet(COLUMNS_LATER);
    reader.finish();
}
