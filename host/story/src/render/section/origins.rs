//! Where columns come from, as a table.

use crate::event::InputOrigin;
use crate::render::document::{Align, Inline, Table};
use crate::render::{TABLE_ROWS_MAX, words};
use crate::story::{ColumnOrigin, ColumnSource};

/// Sources of one column that are shown.
const SOURCES_SHOWN_MAX: usize = 8;

/// A line for each column; nothing when no origin is known.
pub(in crate::render) fn table(columns: &[ColumnOrigin], pipeline: &str) -> Option<Table> {
    let mut table = Table::new([
        ("Column", Align::Left),
        ("", Align::Left),
        ("From", Align::Left),
    ]);
    for origin in columns.iter().take(TABLE_ROWS_MAX) {
        table.row([
            Inline::code(&origin.column),
            Inline::tag(if origin.unchanged {
                "unchanged"
            } else {
                "made of"
            }),
            sources(origin, pipeline),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// `raw:orders.csv` `a`, `b`; `orders_raw` `c`: grouped by table, as they are sorted.
fn sources(origin: &ColumnOrigin, pipeline: &str) -> Inline {
    let mut parts = Vec::new();
    let mut last: Option<&InputOrigin> = None;
    for ColumnSource { table, column } in origin.from.iter().take(SOURCES_SHOWN_MAX) {
        let column = Inline::code(column);
        if last == Some(table) {
            parts.push(column);
            continue;
        }
        let name = match table {
            InputOrigin::Dataset(name) => Inline::code(name),
            InputOrigin::Node(node) if node.pipeline == pipeline => Inline::node(&node.name),
            InputOrigin::Node(node) => Inline::code(node.to_string()),
        };
        parts.push(Inline::list([name, column], " → ", ""));
        last = Some(table);
    }
    let more = (origin.from.len().saturating_sub(SOURCES_SHOWN_MAX) as u64)
        .saturating_add(origin.from_more);
    if more > 0 {
        parts.push(Inline::words(format!(
            "and {} more",
            words::thousands(more)
        )));
    }
    Inline::list(parts, ", ", "no column")
}
