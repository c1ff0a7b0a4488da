//! The rows that steps of a node rejected or that could not be read, as Markdown: how many, why, and where they are.

use super::{Align, Document, Table};
use crate::event::{NodeFacts, RejectionFact};
use crate::render::escape::Inline;
use crate::render::{TABLE_ROWS_MAX, words};

/// Writes the sections, if there is anything to tell.
pub(super) fn tell(facts: &NodeFacts, document: &mut Document) {
    unread(facts, document);
    if facts.quarantine.is_empty() {
        return;
    }
    document.line("#### Quarantine");
    for fact in &facts.quarantine {
        let operation = facts.operations.get(fact.step);
        let named = operation.map_or(Inline::host(""), |o| Inline::code(&o.operation.reference));
        let file = &fact.file;
        document.line(&format!(
            "{} rejected {}, now in {} ({}):",
            Inline::list(
                [
                    Inline::text(&format!("Step {}", fact.step.saturating_add(1))),
                    named
                ],
                ", ",
                ""
            ),
            words::count(fact.rows, "row"),
            Inline::code(&format!("{}:{}", file.connection, file.path)),
            words::bytes(file.bytes),
        ));
        let table = reasons(&fact.reasons, fact.rows_of_other_reasons, "First rows");
        document.block(&table.to_string());
    }
}

fn unread(facts: &NodeFacts, document: &mut Document) {
    if facts.unread.is_empty() {
        return;
    }
    document.line("#### Unread rows");
    for fact in &facts.unread {
        let place = match &fact.file {
            Some(file) => format!(
                "now in {} ({})",
                Inline::code(&format!("{}:{}", file.connection, file.path)),
                words::bytes(file.bytes)
            ),
            None => "left out".to_owned(),
        };
        document.line(&format!(
            "{} of input {} could not be understood, {place}:",
            words::count(fact.rows, "row"),
            Inline::code(&fact.input),
        ));
        let table = reasons(&fact.reasons, fact.rows_of_other_reasons, "First lines");
        document.block(&table.to_string());
    }
}

fn reasons(reasons: &[RejectionFact], rows_of_other_reasons: u64, first: &'static str) -> Table {
    let mut table = Table::new([
        ("Reason", Align::Left),
        ("Message", Align::Left),
        ("Rows", Align::Right),
        (first, Align::Right),
    ]);
    for reason in reasons.iter().take(TABLE_ROWS_MAX) {
        let first: Vec<String> = reason.rows_first.iter().map(u64::to_string).collect();
        table.row([
            Inline::text(&reason.code),
            Inline::text(&reason.message),
            Inline::text(&words::thousands(reason.rows)),
            Inline::text(&first.join(", ")),
        ]);
    }
    if rows_of_other_reasons > 0 {
        table.row([
            Inline::host("others"),
            Inline::host(""),
            Inline::text(&words::thousands(rows_of_other_reasons)),
            Inline::host(""),
        ]);
    }
    table
}
