//! A step whose operation refused its params or its columns.

use std::collections::HashSet;
use std::ops::Range;

use super::{Diagnostic, Sources, codes, quoted};
use crate::plan::{ColumnName, Params, PlannedNode};

/// What an operation says when it refuses.
#[derive(Debug, Clone)]
pub struct Refusal<'a> {
    /// Index of the step in its node.
    pub step: usize,
    /// A fragment, as of a diagnostic.
    pub message: &'a str,
    /// JSON Pointer to the param to blame.
    pub param: Option<&'a str>,
    /// The bytes to blame in the text of that param.
    pub text: Option<Range<usize>>,
    /// Imperative sentences.
    pub hints: &'a [String],
}

/// The diagnostic of a refusal. Values of variables that stand in the params are taken out of what it says.
#[must_use]
pub fn refused(sources: &Sources, node: &PlannedNode, refusal: &Refusal<'_>) -> Diagnostic {
    let Some(step) = node.steps.get(refusal.step) else {
        return Diagnostic::error(&codes::REFUSED_STEP, node.span, refusal.message);
    };
    let secrets = secrets(&step.params);
    let span = step.place(sources, refusal.param, refusal.text.clone());
    let label = format!("step {} of node {}", refusal.step + 1, quoted(&node.name));
    let message = without(refusal.message, &secrets);
    let mut made = Diagnostic::error(&codes::REFUSED_STEP, span, message).label(label);
    if span.file != step.span.file {
        made = made.also(step.span, "named here");
    }
    made.hints = refusal.hints.iter().map(|h| without(h, &secrets)).collect();
    made
}

/// Words of params that variables put in, in lower case.
fn secrets(params: &Params) -> HashSet<String> {
    let mut found = HashSet::new();
    for (at, written) in &params.written {
        let value = match params.value.pointer(at) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => continue,
        };
        let open: HashSet<String> = words(written).map(str::to_lowercase).collect();
        let all = words(&value).map(str::to_lowercase);
        found.extend(all.filter(|word| !open.contains(word)));
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn without(text: &str, secrets: &HashSet<String>) -> String {
    if secrets.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        if secrets.contains(&word.to_lowercase()) {
            out.push('…');
            out.push_str(&piece[word.len()..]);
        } else {
            out.push_str(piece);
        }
    }
    out
}

/// The diagnostic of a column that must not be seen and that neither the inputs of a node nor its steps have.
#[must_use]
pub fn unknown_sensitive<'a>(
    node: &PlannedNode,
    column: &ColumnName,
    names: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    let message = format!(
        "node {} has no column {}, which must not be seen",
        quoted(&node.name),
        quoted(&column.name)
    );
    Diagnostic::error(&codes::UNKNOWN_SENSITIVE, column.span, message)
        .label("neither an input nor a step has it")
        .suggest(&column.name, names)
}

/// The diagnostic of a key in a CSV target that is a date or a time and that `date_format` does not write as a whole.
#[must_use]
pub fn untold_key(node: &PlannedNode, column: &ColumnName) -> Diagnostic {
    let message = format!(
        "node {} cannot be written: `date_format` leaves out a part of the key {}",
        quoted(&node.name),
        quoted(&column.name)
    );
    Diagnostic::error(&codes::UNSUPPORTED_WRITE, column.span, message)
        .label("rows could not be told apart by what is written of it")
        .hint("write all of it, for example `%Y-%m-%d`, or leave out `date_format`")
}
