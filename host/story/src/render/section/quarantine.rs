//! The rows that steps of a node rejected or that could not be read: how many, why, and where they are.

use crate::event::{NodeFacts, RejectionFact};
use crate::render::document::{Align, Document, Inline, Table};
use crate::render::{TABLE_ROWS_MAX, words};

/// Writes the sections, if there is anything to tell.
pub(in crate::render) fn tell(facts: &NodeFacts, document: &mut Document) {
    unread(facts, document);
    if facts.quarantine.is_empty() {
        return;
    }
    document.heading(4, Inline::host("Quarantine"));
    for fact in &facts.quarantine {
        let operation = facts.operations.get(fact.step);
        let named = operation.map_or(Inline::host(""), |o| Inline::code(&o.operation.reference));
        let file = &fact.file;
        let step = Inline::text(format!("Step {}", fact.step.saturating_add(1)));
        document.line(Inline::format(
            "{} rejected {}, now in {} ({}):",
            [
                Inline::list([step, named], ", ", ""),
                Inline::text(words::count(fact.rows, "row")),
                Inline::code(format!("{}:{}", file.connection, file.path)),
                Inline::text(words::bytes(file.bytes)),
            ],
        ));
        let table = reasons(&fact.reasons, fact.rows_of_other_reasons, "First rows");
        document.table(table);
    }
}

fn unread(facts: &NodeFacts, document: &mut Document) {
    if facts.unread.is_empty() {
        return;
    }
    document.heading(4, Inline::host("Unread rows"));
    for fact in &facts.unread {
        let rows = Inline::text(words::count(fact.rows, "row"));
        let input = Inline::code(&fact.input);
        document.line(match &fact.file {
            Some(file) => Inline::format(
                "{} of input {} could not be understood, now in {} ({}):",
                [
                    rows,
                    input,
                    Inline::code(format!("{}:{}", file.connection, file.path)),
                    Inline::text(words::bytes(file.bytes)),
                ],
            ),
            None => Inline::format(
                "{} of input {} could not be understood, and left out:",
                [rows, input],
            ),
        });
        let table = reasons(&fact.reasons, fact.rows_of_other_reasons, "First lines");
        document.table(table);
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
            Inline::text(words::thousands(reason.rows)),
            Inline::text(first.join(", ")),
        ]);
    }
    if rows_of_other_reasons > 0 {
        table.row([
            Inline::host("others"),
            Inline::host(""),
            Inline::text(words::thousands(rows_of_other_reasons)),
            Inline::host(""),
        ]);
    }
    table
}
