//! The rows that steps of a node rejected: how many, why, and where they are.

use crate::event::{NodeFacts, QuarantineFact};
use crate::render::document::{Align, Document, Inline, Table};
use crate::render::{TABLE_ROWS_MAX, words};

/// Writes the section, if there is anything to tell.
pub(in crate::render) fn tell(facts: &NodeFacts, document: &mut Document) {
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
        document.table(reasons(fact));
    }
}

fn reasons(fact: &QuarantineFact) -> Table {
    let mut table = Table::new([
        ("Reason", Align::Left),
        ("Message", Align::Left),
        ("Rows", Align::Right),
        ("First rows", Align::Right),
    ]);
    for reason in fact.reasons.iter().take(TABLE_ROWS_MAX) {
        let first: Vec<String> = reason.rows_first.iter().map(u64::to_string).collect();
        table.row([
            Inline::text(&reason.code),
            Inline::text(&reason.message),
            Inline::text(words::thousands(reason.rows)),
            Inline::text(first.join(", ")),
        ]);
    }
    if fact.rows_of_other_reasons > 0 {
        table.row([
            Inline::host("others"),
            Inline::host(""),
            Inline::text(words::thousands(fact.rows_of_other_reasons)),
            Inline::host(""),
        ]);
    }
    table
}
