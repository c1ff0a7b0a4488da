//! `connections`: named places that reads and writes reach.
//!
//! ```yaml
//! connections:
//!   lake: {type: local, base_path: ./data}
//! ```

use super::Text;
use super::reader::{Context, Reader, is_name};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::ConnectionKind;
use crate::yaml::Entry;

/// Root of a local connection that gives none, as in ODIBI.
const BASE_PATH_DEFAULT: &str = "./data";
/// Types of ODIBI that are to come.
const TYPES_LATER: &[&str] = &[
    "azure_blob",
    "azure_adls",
    "delta",
    "unity_catalog",
    "sql_server",
    "azure_sql",
    "postgres",
    "postgresql",
    "http",
];

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

fn kind(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let word = reader.required_text("type")?;
    // Keys of another type than `local` are unknown here; only the type is spoken of.
    reader.choice(&word, "type", &[("local", ())], TYPES_LATER)?;
    let base_path = match reader.text("base_path") {
        Some(text) => reader.filled(Some(text), "base_path"),
        None => Some(Text {
            value: BASE_PATH_DEFAULT.to_owned(),
            span: reader.span(),
            written: None,
        }),
    };
    reader.ignored(
        &["validation_mode"],
        "a connection is checked when it is used",
    );
    let subject = reader.subject().to_owned();
    let context = reader.context();
    reader.finish_with(&[("path", "base_path"), ("root", "base_path")]);
    let base_path = base_path?;
    let fault = if base_path.value.contains("://") || base_path.value.starts_with("dbfs:") {
        Some((
            &codes::NOT_YET,
            "is not a directory of this machine, which is not supported yet",
        ))
    } else if base_path.value.chars().any(char::is_control) {
        Some((&codes::BAD_PATH, "holds a control character"))
    } else {
        None
    };
    if let Some((code, what)) = fault {
        let message = format!(
            "`base_path` of {subject} {what}: {}",
            quoted(base_path.shown())
        );
        context.report(Diagnostic::error(code, base_path.span, message));
        return None;
    }
    Some(ConnectionKind::Local {
        base_path: base_path.value,
    })
}
