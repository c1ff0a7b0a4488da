//! `mode` of a write with its keys, and `layout` with `partition_by`.
//!
//! ```yaml
//! write: {mode: upsert, keys: [id], null_keys: error, duplicate_keys: last, order_by: updated_at, …}
//! ```

use crate::config::Text;
use crate::config::reader::{Reader, words};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::plan::{ColumnName, DuplicateKeys, Keys, NullKeys, TargetLayout, WriteMode};
use crate::yaml::{Entry, Value};

/// Modes of ODIBI that are to come.
const MODES_LATER: &[&str] = &["merge"];
const NO_KEYS: &str = "use mode `upsert` or `append_once`, or remove it";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Overwrite,
    Append,
    AppendOnce,
    Upsert,
}

impl Word {
    const fn text(self) -> &'static str {
        match self {
            Self::Overwrite => "overwrite",
            Self::Append => "append",
            Self::AppendOnce => "append_once",
            Self::Upsert => "upsert",
        }
    }
}

#[derive(Clone, Copy)]
enum Duplicates {
    Error,
    First,
    Last,
}

const MODES: [(&str, Word); 4] = [
    (Word::Overwrite.text(), Word::Overwrite),
    (Word::Append.text(), Word::Append),
    (Word::AppendOnce.text(), Word::AppendOnce),
    (Word::Upsert.text(), Word::Upsert),
];
const DUPLICATE_KEYS: [(&str, Duplicates); 3] = [
    ("error", Duplicates::Error),
    ("first", Duplicates::First),
    ("last", Duplicates::Last),
];
const NULL_KEYS: [NullKeys; 3] = [NullKeys::Error, NullKeys::Distinct, NullKeys::Equal];
/// The words of `layout`.
pub(in crate::config) const LAYOUTS: &[(&str, TargetLayout)] = &[
    ("file", TargetLayout::File),
    ("directory", TargetLayout::Directory),
];

/// The words of `mode`.
pub(in crate::config) fn modes() -> Vec<&'static str> {
    words(&MODES)
}

/// The words of `null_keys`.
pub(in crate::config) fn null_key_words() -> Vec<&'static str> {
    NULL_KEYS.map(NullKeys::word).to_vec()
}

/// The words of `duplicate_keys`.
pub(in crate::config) fn duplicate_key_words() -> Vec<&'static str> {
    words(&DUPLICATE_KEYS)
}

/// Reads `mode`, `keys` (also below `options`, as ODIBI has it), `null_keys`, `duplicate_keys` and `order_by`.
pub(super) fn mode(reader: &mut Reader<'_>) -> Option<WriteMode> {
    let at = reader.optional("mode").map(|entry| entry.value.span);
    let word = match reader.text("mode") {
        Some(text) => reader.choice(&text, "mode", &MODES, MODES_LATER),
        None => Some(Word::Overwrite),
    };
    let (keys_entry, keys) = keys(reader);
    let null_keys = null_keys(reader);
    let duplicate_keys = duplicate_keys(reader);
    let word = word?;
    if !matches!(word, Word::AppendOnce | Word::Upsert) {
        for entry in keys_entry.into_iter().chain(settings(reader)) {
            misplaced(
                reader,
                entry,
                &format!("has no meaning in mode {}", quoted(word.text())),
                NO_KEYS,
            );
        }
    } else if keys_entry.is_none() && !reader.truncated() {
        if word == Word::Upsert {
            needs_keys(reader, at.unwrap_or(reader.span()));
        }
        for entry in settings(reader) {
            misplaced(
                reader,
                entry,
                "has no meaning without `keys`",
                "add `keys`, or remove it",
            );
        }
    }
    let keys = keys
        .filter(|columns| !columns.is_empty())
        .and_then(|columns| {
            Some(Keys {
                columns,
                null_keys: null_keys?,
                duplicate_keys: duplicate_keys?,
            })
        });
    match word {
        Word::Overwrite => Some(WriteMode::Overwrite),
        Word::Append => Some(WriteMode::Append),
        // Keys that were refused are reported; without them it would be another mode.
        Word::AppendOnce if keys_entry.is_some() && keys.is_none() => None,
        Word::AppendOnce => Some(WriteMode::AppendOnce(keys)),
        Word::Upsert => keys.map(WriteMode::Upsert),
    }
}

/// Reads `partition_by` and `layout`; a path that ends in `/` is a directory as well.
pub(super) fn layout(
    reader: &mut Reader<'_>,
    path: Option<&Text>,
) -> Option<(TargetLayout, Vec<ColumnName>)> {
    let partition_by = reader
        .optional("partition_by")
        .map(|entry| columns(reader, entry));
    let word = reader
        .text("layout")
        .map(|text| (text.span, reader.choice(&text, "layout", LAYOUTS, &[])));
    let slash = path.filter(|path| path.value.ends_with('/') || path.value.ends_with("/."));
    let partition_by = match partition_by {
        Some(columns) => columns?,
        None => Vec::new(),
    };
    let directory = slash.is_some() || !partition_by.is_empty();
    match word {
        None if directory => Some((TargetLayout::Directory, partition_by)),
        None => Some((TargetLayout::File, partition_by)),
        Some((span, Some(TargetLayout::File))) if directory => {
            let (other, hint) = match slash {
                Some(_) => ("a `path` that ends in `/`", "remove `layout`, or the `/`"),
                None => (
                    "`partition_by`",
                    "remove one of them: partitions are directories",
                ),
            };
            let message = format!("`layout: file` of {} contradicts {other}", reader.subject());
            let made = Diagnostic::error(&codes::WRITE_MODE, span, message);
            reader.context().report(made.hint(hint));
            None
        }
        Some((_, layout)) => Some((layout?, partition_by)),
    }
}

/// The entry of `keys`, and its columns unless they are refused.
fn keys<'a>(reader: &mut Reader<'a>) -> (Option<&'a Entry>, Option<Vec<ColumnName>>) {
    let direct = reader.optional("keys");
    let below = reader
        .optional("options")
        .and_then(|options| match &options.value.value {
            Value::Mapping(options) => options.get("keys"),
            Value::Missing | Value::Scalar(_) | Value::Sequence(_) => None,
        });
    let below = below.filter(|entry| !entry.value.is_null());
    if let (Some(direct), Some(below)) = (direct, below) {
        reader.exclusive(direct, below);
    }
    let Some(entry) = direct.or(below) else {
        return (None, None);
    };
    let found = columns(reader, entry);
    if found.as_ref().is_some_and(Vec::is_empty) {
        let message = format!(
            "{} of {} names no column",
            quoted(&entry.key),
            reader.subject()
        );
        let made = Diagnostic::error(&codes::BAD_VALUE, entry.value.span, message);
        reader
            .context()
            .report(made.hint("name the columns that tell rows apart"));
    }
    (Some(entry), found)
}

/// Names of columns, each once; `None` when one of them is refused.
fn columns(reader: &Reader<'_>, entry: &Entry) -> Option<Vec<ColumnName>> {
    let subject = format!("an item of {} of {}", quoted(&entry.key), reader.subject());
    let items = match &entry.value.value {
        Value::Sequence(items) => items,
        Value::Missing => return None,
        Value::Scalar(_) | Value::Mapping(_) => {
            reader.wants_list(entry);
            return None;
        }
    };
    let mut found: Vec<ColumnName> = Vec::with_capacity(items.len());
    let mut good = true;
    for item in items {
        let text = reader.node_as_text(item, &subject);
        let Some(text) = reader.filled(text, &entry.key) else {
            good = false;
            continue;
        };
        if let Some(first) = found.iter().find(|column| column.name == text.value) {
            let message = format!(
                "{} of {} names a column twice: {}",
                quoted(&entry.key),
                reader.subject(),
                quoted(text.shown())
            );
            let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
            reader
                .context()
                .report(made.also(first.span, "first named here"));
            good = false;
            continue;
        }
        found.push(ColumnName {
            name: text.value,
            span: text.span,
        });
    }
    good.then_some(found)
}

fn null_keys(reader: &mut Reader<'_>) -> Option<NullKeys> {
    let Some(text) = reader.text("null_keys") else {
        return Some(NullKeys::Error);
    };
    let words = NULL_KEYS.map(|word| (word.word(), word));
    reader.choice(&text, "null_keys", &words, &[])
}

fn duplicate_keys(reader: &mut Reader<'_>) -> Option<DuplicateKeys> {
    let text = reader.text("duplicate_keys");
    let entry = reader.optional("order_by");
    let column = entry.and_then(|entry| {
        let text = reader.as_text(entry);
        let text = reader.filled(text, "order_by")?;
        Some(ColumnName {
            name: text.value,
            span: text.span,
        })
    });
    let word = match text {
        Some(text) => reader.choice(&text, "duplicate_keys", &DUPLICATE_KEYS, &[])?,
        None => Duplicates::Error,
    };
    match (word, entry) {
        (Duplicates::Error, Some(entry)) => {
            let hint = "add `duplicate_keys: first` or `duplicate_keys: last`, or remove it";
            misplaced(
                reader,
                entry,
                "decides nothing while duplicate keys are an error",
                hint,
            );
            None
        }
        (Duplicates::Error, None) => Some(DuplicateKeys::Error),
        (Duplicates::First, _) => Some(DuplicateKeys::First(column)),
        (Duplicates::Last, _) => Some(DuplicateKeys::Last(column)),
    }
}

/// Entries that mean something only beside keys.
fn settings<'a>(reader: &mut Reader<'a>) -> Vec<&'a Entry> {
    let entries = ["null_keys", "duplicate_keys"].map(|key| reader.optional(key));
    entries.into_iter().flatten().collect()
}

fn needs_keys(reader: &Reader<'_>, span: Span) {
    let message = format!("mode `upsert` of {} needs `keys`", reader.subject());
    let made = Diagnostic::error(&codes::MISSING_KEY, span, message);
    let hint = "add `keys: [id]`, with the columns that tell rows apart";
    reader.context().report(made.hint(hint));
}

fn misplaced(reader: &Reader<'_>, entry: &Entry, what: &str, hint: &str) {
    let message = format!("{} of {} {what}", quoted(&entry.key), reader.subject());
    let made = Diagnostic::error(&codes::WRITE_MODE, entry.key_span, message);
    reader.context().report(made.hint(hint));
}
