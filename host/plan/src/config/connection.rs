//! `connections`: named places that reads and writes reach.
//!
//! ```yaml
//! connections:
//!   lake: {type: local, base_path: ./data}
//!   cloud: {type: azure_adls, account_name: acme, container: raw, auth: {mode: managed_identity}}
//! ```

pub(super) mod azure;
pub(super) mod gcs;
pub(super) mod http;
pub(super) mod s3;
mod url;

pub(super) use http::headers;
pub(super) use url::{host, is_loopback};

use super::Text;
use super::path::{self, normal_path};
use super::reader::{Context, Reader, is_name, words};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{ConnectionKind, Secret};
use crate::yaml::Entry;

/// Root of a local connection that gives none, as in ODIBI.
const BASE_PATH_DEFAULT: &str = "./data";
/// Types of ODIBI that are to come.
const TYPES_LATER: &[&str] = &[
    "delta",
    "unity_catalog",
    "sql_server",
    "azure_sql",
    "postgres",
    "postgresql",
];

/// Keys of ODIBI that change nothing.
pub(super) const IGNORED: &[&str] = &["validation_mode", "validate"];
/// Types, each with what reads its keys.
const TYPES: [(&str, ReadKind); 6] = [
    ("local", local),
    ("azure_adls", azure::read),
    ("azure_blob", azure::read),
    ("s3", s3::read),
    ("gcs", gcs::read),
    ("http", http::read),
];

/// The words of `type`.
pub(super) fn types() -> Vec<&'static str> {
    words(&TYPES)
}

/// A connection of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Its name.
    pub name: Text,
    /// What it reaches; `None` when that was refused and reported.
    pub kind: Option<ConnectionKind>,
}

impl Connection {
    /// As the plan holds it.
    #[must_use]
    pub fn resolved(&self) -> Option<crate::plan::Connection> {
        Some(crate::plan::Connection {
            name: self.name.value.clone(),
            kind: self.kind.clone()?,
        })
    }
}

pub(super) fn read_all(project: &mut Reader<'_>) -> Vec<Connection> {
    let Some(entry) = project.required("connections") else {
        return Vec::new();
    };
    let context = project.context();
    project
        .named(entry)
        .iter()
        .map(|entry| read(context, entry))
        .collect()
}

/// The name of a connection or plugin, which is a key; a bad one is reported and kept, so that references to it are not
/// reported too.
pub(super) fn key_name(context: &Context, entry: &Entry, what: &str) -> Text {
    if !is_name(&entry.key) {
        let message = format!(
            "the name of a {what} is not made of letters, digits and underscores: {}",
            quoted(&entry.key)
        );
        context.report(Diagnostic::error(&codes::BAD_NAME, entry.key_span, message));
    }
    Text {
        value: entry.key.clone(),
        span: entry.key_span,
        written: None,
    }
}

fn read(context: &Context, entry: &Entry) -> Connection {
    let name = key_name(context, entry, "connection");
    let subject = format!("connection {}", quoted(&name.value));
    let kind = Reader::new(context, &entry.value, entry.key_span, subject).and_then(kind);
    Connection { name, kind }
}

/// Reads the keys of one type.
type ReadKind = fn(Reader<'_>) -> Option<ConnectionKind>;

fn kind(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let word = reader.required_text("type")?;
    // Keys of a type that is not known are unknown; only the type is spoken of.
    let read = reader.choice(&word, "type", &TYPES, TYPES_LATER)?;
    reader.ignored(
        IGNORED,
        "a connection is checked when it is used, and by `odibi validate --connect`",
    );
    read(reader)
}

fn local(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let base_path = match reader.text("base_path") {
        Some(text) => reader.filled(Some(text), "base_path"),
        None => Some(Text {
            value: BASE_PATH_DEFAULT.to_owned(),
            span: reader.span(),
            written: None,
        }),
    };
    let subject = reader.subject().to_owned();
    let context = reader.context();
    reader.finish_with(&[("path", "base_path"), ("root", "base_path")]);
    let base_path = base_path?;
    let fault = if base_path.value.contains("://") || base_path.value.starts_with("dbfs:") {
        Some((
            &codes::NOT_YET,
            "is not a directory of this machine, which is not supported yet",
            Some("name the store in `type`: `azure_adls`, `s3`, `gcs` or `http`"),
        ))
    } else if base_path.value.chars().any(char::is_control) {
        Some((&codes::BAD_PATH, "holds a control character", None))
    } else {
        None
    };
    if let Some((code, what, hint)) = fault {
        let message = format!(
            "`base_path` of {subject} {what}: {}",
            quoted(base_path.shown())
        );
        let made = Diagnostic::error(code, base_path.span, message);
        context.report(match hint {
            Some(hint) => made.hint(hint),
            None => made,
        });
        return None;
    }
    Some(ConnectionKind::Local {
        base_path: base_path.value,
    })
}

/// A text that is not empty.
fn filled(reader: &mut Reader<'_>, key: &'static str) -> Option<Text> {
    let text = reader.text(key)?;
    reader.filled(Some(text), key)
}

/// A text that is not empty, and must be there.
fn required(reader: &mut Reader<'_>, key: &'static str) -> Option<Text> {
    let text = reader.required_text(key);
    reader.filled(text, key)
}

/// A text that messages never show, whether a variable was put in or not.
fn secret(reader: &mut Reader<'_>, key: &'static str) -> Option<Secret> {
    filled(reader, key).map(|text| Secret::new(text.value))
}

fn required_secret(reader: &mut Reader<'_>, key: &'static str) -> Option<Secret> {
    required(reader, key).map(|text| Secret::new(text.value))
}

/// The name of a bucket or container; `may` says which characters there may be besides lowercase letters and digits.
fn bucket(
    reader: &mut Reader<'_>,
    keys: &[&'static str],
    chars: std::ops::RangeInclusive<usize>,
    may: &str,
) -> Option<String> {
    let entry = reader.required_one_of(keys)?;
    let text = reader.as_text(entry)?;
    let ok = chars.contains(&text.value.chars().count())
        && text
            .value
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || may.contains(c));
    if ok {
        return Some(text.value);
    }
    let message = format!(
        "{} of {} is not made of {} to {} lowercase letters, digits and `{may}`: {}",
        quoted(&entry.key),
        reader.subject(),
        chars.start(),
        chars.end(),
        quoted(text.shown())
    );
    let mut made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
    if text.value.contains('/') {
        made = made.hint("name the directory in `path_prefix`");
    }
    reader.context().report(made);
    None
}

/// `path_prefix`: the directory that all paths begin at; the root where it is not given.
fn path_prefix(reader: &mut Reader<'_>) -> Option<String> {
    let Some(mut text) = reader.text("path_prefix") else {
        return Some(String::new());
    };
    text.value = text.value.trim_matches('/').to_owned();
    match path::fault(&text.value, path::Purpose::Directory) {
        None => Some(normal_path(&text.value)),
        Some((what, _)) => {
            let message = format!(
                "`path_prefix` of {} {what}: {}",
                reader.subject(),
                quoted(text.shown())
            );
            let made = Diagnostic::error(&codes::BAD_PATH, text.span, message);
            reader.context().report(
                made.hint("name a directory of the container or bucket, for example `raw/sales`"),
            );
            None
        }
    }
}
