//! Values of the data: a profile of the result, samples of what was read and of what came out.

use crate::event::{ColumnProfile, InputFact, NodeFacts, Sample};
use crate::render::document::{Align, Document, Inline, Table};
use crate::render::{SAMPLE_COLUMNS_MAX, TABLE_ROWS_MAX, words};

/// Nulls, smallest and largest values, and frequent ones, for each column of the result.
pub(super) fn profile(facts: &NodeFacts, document: &mut Document) {
    let Some(profile) = &facts.profile else {
        return;
    };
    if facts.rows_out == 0 || profile.columns.is_empty() {
        return;
    }
    let mut table = Table::new([
        ("Column", Align::Left),
        ("Null", Align::Right),
        ("Smallest", Align::Left),
        ("Largest", Align::Left),
        ("Different", Align::Right),
        ("Most frequent", Align::Left),
    ]);
    let value = |value: &Option<String>| value.as_deref().map_or(Inline::default(), Inline::text);
    for (at, column) in profile.columns.iter().enumerate().take(TABLE_ROWS_MAX) {
        let nulls = facts.nulls_out.get(at);
        table.row([
            Inline::code(&column.column),
            nulls.map_or(Inline::default(), |nulls| {
                Inline::text(words::share(*nulls, facts.rows_out))
            }),
            value(&column.min),
            value(&column.max),
            column.distinct.map_or(Inline::default(), |distinct| {
                Inline::text(words::thousands(distinct))
            }),
            frequent(column),
        ]);
    }
    document.heading(4, Inline::host("Values"));
    document.table(table);
    let left_out = facts
        .schema_out
        .len()
        .saturating_sub(table_len(profile.columns.len()));
    left_out_columns(left_out as u64, document);
    let counts = profile.columns.iter().any(|c| c.distinct.is_some());
    if counts && profile.rows_counted < facts.rows_out {
        document.line(Inline::words(format!(
            "Different values were counted in the first {}.",
            words::count(profile.rows_counted, "row")
        )));
    }
}

fn table_len(columns: usize) -> usize {
    columns.min(TABLE_ROWS_MAX)
}

/// `Bern` 12, `Basel` 3
fn frequent(column: &ColumnProfile) -> Inline {
    let counted = column.top.iter().map(|top| {
        let rows = Inline::text(words::thousands(top.rows));
        Inline::format("{} {}", [Inline::code(&top.value), rows])
    });
    Inline::list(counted, ", ", "")
}

/// The samples.
pub(super) fn tell(facts: &NodeFacts, document: &mut Document) {
    inputs(&facts.inputs, document);
    for input in &facts.inputs {
        if !input.sample.rows.is_empty() {
            let heading = Inline::format("Sample of input {}", [Inline::code(&input.name)]);
            sample(heading, &input.sample, document);
        }
    }
    if !facts.sample.rows.is_empty() {
        sample(
            Inline::host("Sample of the result"),
            &facts.sample,
            document,
        );
    }
}

/// What was read of each input, where that is more than the sum says.
fn inputs(inputs: &[InputFact], document: &mut Document) {
    if inputs.len() < 2 && inputs.iter().all(|input| input.columns_unread == 0) {
        return;
    }
    let mut table = Table::new([
        ("Input", Align::Left),
        ("Rows", Align::Right),
        ("Columns not needed, so not read", Align::Right),
    ]);
    for input in inputs.iter().take(TABLE_ROWS_MAX) {
        table.row([
            Inline::code(&input.name),
            Inline::text(words::thousands(input.rows)),
            Inline::text(words::thousands(input.columns_unread)),
        ]);
    }
    document.heading(4, Inline::host("Inputs"));
    document.table(table);
}

fn sample(heading: Inline, sample: &Sample, document: &mut Document) {
    if sample.columns.is_empty() {
        return;
    }
    let headers = sample
        .columns
        .iter()
        .take(SAMPLE_COLUMNS_MAX)
        .map(|name| (Inline::code(name), Align::Left));
    let mut table = Table::with_headers(headers.collect());
    for row in sample.rows.iter().take(TABLE_ROWS_MAX) {
        table.row(
            row.iter()
                .map(|cell| cell.as_deref().map_or(Inline::null(), Inline::text)),
        );
    }
    document.heading(4, heading);
    document.table(table);
    let left_out = sample.columns.len().saturating_sub(SAMPLE_COLUMNS_MAX) as u64;
    left_out_columns(left_out + sample.columns_left_out, document);
}

fn left_out_columns(left_out: u64, document: &mut Document) {
    if left_out > 0 {
        let columns = words::count(left_out, "column");
        document.line(Inline::words(format!("{columns} left out here.")));
    }
}
