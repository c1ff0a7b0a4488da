//! Columns that must not be seen: which they are, what was changed, and what the project declassified.

use crate::event::{NodeFacts, PrivacyFact};
use crate::render::document::{Document, Inline};
use crate::render::words;

/// Columns that one line names.
const COLUMNS_SHOWN_MAX: usize = 50;

/// Writes the section, if there is anything to tell.
pub(in crate::render) fn tell(facts: &NodeFacts, document: &mut Document) {
    let Some(privacy) = facts.privacy.as_deref().filter(|p| !p.is_empty()) else {
        return;
    };
    document.heading(4, Inline::host("Privacy"));
    for input in &privacy.inputs {
        document.line(Inline::format(
            "Sensitive in input {}: {}.",
            [Inline::code(&input.input), columns(&input.columns)],
        ));
    }
    if !privacy.columns.is_empty() {
        let named = columns(&privacy.columns);
        document.line(Inline::format("Sensitive in the result: {}.", [named]));
    }
    changed(privacy, document);
    if !privacy.declassified.is_empty() {
        document.line(Inline::format(
            "Declassified by the project, and shown: {}.",
            [columns(&privacy.declassified)],
        ));
    }
}

fn changed(privacy: &PrivacyFact, document: &mut Document) {
    if privacy.changed.is_empty() {
        return;
    }
    let method = Inline::code(privacy.method.as_deref().unwrap_or_default());
    document.line(Inline::format(
        "Values changed by {}: {}.",
        [method, columns(&privacy.changed)],
    ));
}

fn columns(names: &[String]) -> Inline {
    let mut parts: Vec<Inline> = (names.iter().take(COLUMNS_SHOWN_MAX))
        .map(Inline::code)
        .collect();
    let more = names.len().saturating_sub(COLUMNS_SHOWN_MAX) as u64;
    if more > 0 {
        parts.push(Inline::words(format!(
            "and {} more",
            words::thousands(more)
        )));
    }
    Inline::list(parts, ", ", "none")
}
