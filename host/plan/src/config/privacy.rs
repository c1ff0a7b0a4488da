//! `sensitive`, `columns` and `privacy`: which columns must not be seen, and what becomes of their values.
//!
//! ```yaml
//! sensitive: [email]
//! columns: {email: {pii: true}}
//! privacy: {method: hash, salt: "${SALT}", declassify: [country]}
//! ```

use std::collections::BTreeMap;

use serde_json::json;

use super::params::StepParams;
use super::reader::{Reader, words};
use super::{Step, Text};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::plan::{ColumnName, Marks, Params};
use crate::yaml::Value;

/// The operation that changes the values of personal columns. Which they are is filled in when the columns are known.
pub const OPERATION: &str = "protect_columns";

/// What a node of the file says of columns that must not be seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Privacy {
    /// `sensitive`
    pub sensitive: Marks,
    /// `columns` with `pii: true`
    pub pii: Vec<ColumnName>,
    /// `privacy.declassify`
    pub declassify: Vec<ColumnName>,
    /// `privacy.method`, as a step behind all others.
    pub step: Option<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Hash,
    Mask,
    Redact,
}

const METHODS: [(&str, Method); 3] = [
    ("hash", Method::Hash),
    ("mask", Method::Mask),
    ("redact", Method::Redact),
];

/// Keys of a column that change nothing.
pub(super) const COLUMN_IGNORED: &[&str] = &["description", "tags"];

/// The words of `method`.
pub(super) fn methods() -> Vec<&'static str> {
    words(&METHODS)
}

pub(super) fn read(node: &mut Reader<'_>) -> Privacy {
    let sensitive = sensitive(node);
    let pii = personal(node);
    let (declassify, step) = privacy(node);
    Privacy {
        sensitive,
        pii,
        declassify,
        step,
    }
}

/// `true`, `false`, or a list of columns.
pub(super) fn sensitive(owner: &mut Reader<'_>) -> Marks {
    let Some(entry) = owner.optional("sensitive") else {
        return Marks::None;
    };
    if let Value::Sequence(_) = entry.value.value {
        return Marks::Columns(marks(owner, "sensitive"));
    }
    if let Value::Scalar(scalar) = &entry.value.value
        && let Some(all) = scalar.as_boolean()
    {
        return if all { Marks::All } else { Marks::None };
    }
    if entry.value.value != Value::Missing {
        let subject = format!("`sensitive` of {}", owner.subject());
        let context = owner.context();
        let mut made = context.wrong_type(&entry.value, &subject, "`true` or a list of columns");
        if let Value::Scalar(scalar) = &entry.value.value {
            let list = quoted(&format!("sensitive: [{}]", scalar.shown())).to_string();
            made = made.hint(format!("write {list}"));
        }
        context.report(made);
    }
    // Nothing runs with a fault; until then the most is hidden.
    Marks::All
}

/// A list of columns, each named once.
fn marks(owner: &mut Reader<'_>, key: &'static str) -> Vec<ColumnName> {
    let mut marks: Vec<ColumnName> = Vec::new();
    for text in owner.texts(key) {
        if text.value.is_empty() {
            let message = format!("a column in `{key}` of {} has no name", owner.subject());
            let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
            owner.context().report(made);
        } else if !marks.iter().any(|mark| mark.name == text.value) {
            marks.push(mark(text));
        }
    }
    marks
}

fn mark(text: Text) -> ColumnName {
    ColumnName {
        name: text.value,
        span: text.span,
    }
}

/// `columns`, as far as it says that a column is personal.
fn personal(node: &mut Reader<'_>) -> Vec<ColumnName> {
    let mut pii = Vec::new();
    let Some(entry) = node.optional("columns") else {
        return pii;
    };
    for column in node.named(entry) {
        let subject = format!("column {} of {}", quoted(&column.key), node.subject());
        if column.value.is_null() {
            continue;
        }
        let Some(mut reader) = Reader::new(node.context(), &column.value, column.key_span, subject)
        else {
            continue;
        };
        if reader.boolean("pii", false) {
            pii.push(ColumnName {
                name: column.key.clone(),
                span: column.key_span,
            });
        }
        reader.ignored(COLUMN_IGNORED, "stories do not show it yet");
        reader.finish_with(&[("sensitive", "pii"), ("private", "pii")]);
    }
    pii
}

fn privacy(node: &mut Reader<'_>) -> (Vec<ColumnName>, Option<Step>) {
    let Some(mut reader) = node.mapping("privacy") else {
        return (Vec::new(), None);
    };
    let span = reader.span();
    let declassify = marks(&mut reader, "declassify");
    let text = if declassify.is_empty() {
        reader.required_text("method")
    } else {
        reader.text("method")
    };
    let method = text.and_then(|text| {
        let method = reader.choice(&text, "method", &METHODS, &[])?;
        Some((text, method))
    });
    let salt = salt(&mut reader, method.as_ref().map(|(_, method)| *method));
    reader.finish_with(&[
        (
            "columns",
            "write `columns: {NAME: {pii: true}}` on the node",
        ),
        ("algorithm", "method"),
    ]);
    let step = method.and_then(|(text, method)| match (method, salt) {
        (Method::Hash, None) => None,
        (_, salt) => Some(step(&text, salt, span)),
    });
    (declassify, step)
}

fn salt(reader: &mut Reader<'_>, method: Option<Method>) -> Option<Text> {
    if method == Some(Method::Hash) {
        let salt = reader.required_text("salt");
        return reader.filled(salt, "salt");
    }
    let entry = reader.optional("salt")?;
    if let Some(Method::Mask | Method::Redact) = method {
        let message = format!(
            "`salt` of {} has no effect: only `method: hash` takes one",
            reader.subject()
        );
        let made = Diagnostic::warning(&codes::IGNORED_KEY, entry.key_span, message);
        reader.context().report(made);
    }
    None
}

fn step(method: &Text, salt: Option<Text>, span: Span) -> Step {
    let mut params = Params {
        value: json!({ "method": method.value, "columns": [] }),
        places: BTreeMap::from([(String::new(), span), ("/method".to_owned(), method.span)]),
        written: BTreeMap::new(),
    };
    if let Some(salt) = salt {
        params.places.insert("/salt".to_owned(), salt.span);
        // A value that a message never shows, wherever it stands.
        let written = salt.written.unwrap_or_else(|| "…".to_owned());
        params.written.insert("/salt".to_owned(), written);
        params.value["salt"] = salt.value.into();
    }
    Step {
        operation: Text {
            value: OPERATION.to_owned(),
            span: method.span,
            written: None,
        },
        params: StepParams {
            params,
            keys: BTreeMap::new(),
            booleans: BTreeMap::new(),
        },
        sql: None,
    }
}
