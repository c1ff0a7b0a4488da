//! `format` and `options` of reads and writes: every option read once, with its default and its rule.

pub(super) mod policy;
pub(super) mod reading;
pub(super) mod text;
pub(super) mod types;
pub(super) mod writing;

pub(super) use policy::policy;
pub(super) use reading::{ReadWord, read_options};
pub(super) use writing::{WriteWord, write_options};

use super::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::yaml::{Entry, Value};

/// How the objects of a JSON file stand, as pandas says it.
pub(super) const ORIENTS: &[(&str, ())] = &[("records", ())];
const ORIENTS_LATER: &[&str] = &["columns", "index", "split", "values", "table"];

/// True when the options stand there and could not be read: the format is not known then.
fn options_lost(reader: &mut Reader<'_>) -> bool {
    reader
        .entry("options")
        .is_some_and(|entry| entry.value.value == Value::Missing)
}

/// One ASCII character under one of several keys; `\t` may be written in any quotes. The error is reported.
fn byte(options: &mut Reader<'_>, keys: &[&'static str]) -> Result<Option<u8>, ()> {
    let Some(entry) = options.one_of(keys) else {
        return Ok(None);
    };
    let text = options.as_text(entry).ok_or(())?;
    match text.value.as_bytes() {
        [b'\\', b't'] => return Ok(Some(b'\t')),
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'\0') => {
            return Ok(Some(*byte));
        }
        _ => {}
    }
    let message = format!(
        "{} of {} must be one ASCII character: {}",
        quoted(&entry.key),
        options.subject(),
        quoted(text.shown())
    );
    let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
    options.context().report(made);
    Err(())
}

/// Reports two options that must be different characters and are not.
fn differ(options: &Reader<'_>, first: (&str, Option<u8>), second: (&str, Option<u8>)) -> bool {
    if first.1.is_none() || first.1 != second.1 {
        return true;
    }
    let message = format!(
        "{} and {} of {} are the same character",
        first.0,
        second.0,
        options.subject()
    );
    let made = Diagnostic::error(&codes::BAD_VALUE, options.span(), message);
    options.context().report(made);
    false
}

/// One text or a list of them. Every scalar counts as it is written, `null` and `NaN` too.
fn texts(options: &Reader<'_>, entry: &Entry) -> Vec<String> {
    let single = std::slice::from_ref(&entry.value);
    let items = match &entry.value.value {
        Value::Scalar(_) => single,
        Value::Sequence(items) => items,
        Value::Missing => return Vec::new(),
        Value::Mapping(_) => {
            let subject = format!("{} of {}", quoted(&entry.key), options.subject());
            let made = options
                .context()
                .wrong_type(&entry.value, &subject, "a list");
            options.context().report(made);
            return Vec::new();
        }
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
