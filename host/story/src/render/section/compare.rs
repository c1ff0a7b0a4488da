//! What differs from an earlier run, in words and tables.

use crate::render::document::{Align, Document, Inline, Table};
use crate::render::{TABLE_ROWS_MAX, words};
use crate::story::Status;
use crate::story::compare::{Anomaly, AnomalyKind, Change, Comparison, NodeComparison, PastRun};

/// Writes the blocks below the heading.
pub(in crate::render) fn tell(comparison: &Comparison, document: &mut Document) {
    let before = &comparison.before;
    document.line(Inline::format(
        "Compared with run {} of {}, which {} in {}.",
        [
            Inline::code(&before.run_id),
            Inline::text(words::instant(before.started_at)),
            Inline::status(before.outcome),
            Inline::text(words::duration(before.duration_ms)),
        ],
    ));
    if comparison.is_quiet() {
        document.line(Inline::host(
            "Rows, columns, nulls, configuration and plugins are the same.",
        ));
        return;
    }
    for anomaly in comparison.anomalies.iter().take(TABLE_ROWS_MAX) {
        document.line(Inline::format(
            "{} {}: {}.",
            [
                Inline::tag("anomaly"),
                Inline::node(&anomaly.node),
                Inline::words(anomaly_words(anomaly)),
            ],
        ));
    }
    for line in changes_of_run(comparison) {
        document.line(line);
    }
    if !comparison.nodes.is_empty() {
        document.table(nodes(&comparison.nodes));
    }
    details(&comparison.nodes, document);
}

/// `rows fell from 1,000 to 10`
pub(in crate::render) fn anomaly_words(anomaly: &Anomaly) -> String {
    let Change { before, after } = anomaly.number;
    match anomaly.kind {
        AnomalyKind::RowsFell => {
            format!(
                "rows fell from {} to {}",
                words::thousands(before),
                words::thousands(after)
            )
        }
        AnomalyKind::RowsRose => {
            format!(
                "rows rose from {} to {}",
                words::thousands(before),
                words::thousands(after)
            )
        }
        AnomalyKind::DurationRose => {
            format!(
                "it took {} instead of {}",
                words::duration(after),
                words::duration(before)
            )
        }
    }
}

fn changes_of_run(comparison: &Comparison) -> Vec<Inline> {
    let mut lines = Vec::new();
    if comparison.config_changed {
        lines.push(Inline::host("The configuration changed."));
    }
    if let Some(version) = &comparison.odibi_version {
        lines.push(Inline::format(
            "odibi was {} and is {}.",
            [Inline::text(&version.before), Inline::text(&version.after)],
        ));
    }
    let list = |names: &[String]| {
        let shown = names.iter().take(TABLE_ROWS_MAX).map(Inline::code);
        Inline::list(shown, ", ", "")
    };
    if !comparison.nodes_added.is_empty() {
        lines.push(Inline::format(
            "New nodes: {}.",
            [list(&comparison.nodes_added)],
        ));
    }
    if !comparison.nodes_removed.is_empty() {
        lines.push(Inline::format(
            "Nodes no longer there: {}.",
            [list(&comparison.nodes_removed)],
        ));
    }
    lines
}

fn nodes(nodes: &[NodeComparison]) -> Table {
    let ended_apart = nodes.iter().any(|node| node.outcome.is_some());
    let mut headers = vec![("Node", Align::Left)];
    if ended_apart {
        headers.extend([("Outcome before", Align::Left), ("Outcome", Align::Left)]);
    }
    headers.extend([
        ("Rows before", Align::Right),
        ("Rows", Align::Right),
        ("Change", Align::Right),
        ("Duration before", Align::Right),
        ("Duration", Align::Right),
    ]);
    let headers = headers
        .into_iter()
        .map(|(name, align)| (Inline::host(name), align));
    let mut table = Table::with_headers(headers.collect());
    for node in nodes.iter().take(TABLE_ROWS_MAX) {
        let rows = node.rows_out.as_ref();
        let number = |number: Option<u64>| {
            number.map_or(Inline::default(), |n| Inline::text(words::thousands(n)))
        };
        let mut row = vec![Inline::node(&node.node)];
        if ended_apart {
            let outcome = node.outcome.as_ref();
            let shown = |status: Option<Status>| status.map_or(Inline::default(), Inline::status);
            row.push(shown(outcome.map(|change| change.before)));
            row.push(shown(outcome.map(|change| change.after)));
        }
        row.extend([
            number(rows.map(|rows| rows.before)),
            number(rows.map(|rows| rows.after)),
            rows.map_or(Inline::default(), |rows| Inline::text(percent(rows))),
            Inline::text(words::duration(node.duration_ms.before)),
            Inline::text(words::duration(node.duration_ms.after)),
        ]);
        table.row(row);
    }
    table
}

/// `+12.5 %`
fn percent(rows: &Change<u64>) -> String {
    if rows.before == rows.after {
        return "0 %".to_owned();
    }
    if rows.before == 0 {
        return "new".to_owned();
    }
    let (sign, apart) = if rows.after > rows.before {
        ('+', rows.after - rows.before)
    } else {
        ('-', rows.before - rows.after)
    };
    let tenths =
        (u128::from(apart) * 1_000 + u128::from(rows.before) / 2) / u128::from(rows.before);
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

/// Columns, nulls and steps that differ, one line each.
fn details(nodes: &[NodeComparison], document: &mut Document) {
    let mut table = Table::new([
        ("Node", Align::Left),
        ("What", Align::Left),
        ("Before", Align::Left),
        ("Now", Align::Left),
    ]);
    let none = Inline::default;
    for node in nodes {
        let mut row = |what: Inline, before: Inline, now: Inline| {
            table.row([Inline::node(&node.node), what, before, now]);
        };
        let column = |name: &String| Inline::format("column {}", [Inline::code(name)]);
        for added in &node.columns.added {
            row(
                column(&added.name),
                none(),
                Inline::list(
                    [Inline::tag("added"), Inline::text(&added.data_type)],
                    " ",
                    "",
                ),
            );
        }
        for removed in &node.columns.removed {
            row(
                column(&removed.name),
                Inline::text(&removed.data_type),
                Inline::tag("removed"),
            );
        }
        for changed in &node.columns.changed {
            row(
                column(&changed.after.name),
                super::data::column_type(&changed.before),
                super::data::column_type(&changed.after),
            );
        }
        for nulls in &node.nulls {
            row(
                Inline::format("nulls of {}", [Inline::code(&nulls.column)]),
                Inline::text(words::thousands(nulls.nulls.before)),
                Inline::text(words::thousands(nulls.nulls.after)),
            );
        }
        for step in &node.steps {
            let name = |name: &Option<String>| name.as_ref().map_or(none(), Inline::code);
            let what = Inline::format("step {}", [Inline::text((step.step + 1).to_string())]);
            if step.operation.before != step.operation.after {
                row(
                    what.clone(),
                    name(&step.operation.before),
                    name(&step.operation.after),
                );
            }
            let operation = name(&step.operation.after);
            let what = Inline::format("{}, {}", [what, operation]);
            if let Some(digest) = &step.digest {
                let what = Inline::list([what.clone(), Inline::host("plugin")], ", ", "");
                row(
                    what,
                    super::run::digest(&digest.before),
                    super::run::digest(&digest.after),
                );
            }
            if step.params_changed {
                row(
                    Inline::list([what, Inline::host("params")], ", ", ""),
                    none(),
                    Inline::tag("changed"),
                );
            }
        }
    }
    let left_out = table.rows.len().saturating_sub(TABLE_ROWS_MAX);
    table.rows.truncate(TABLE_ROWS_MAX);
    if table.rows.is_empty() {
        return;
    }
    document.table(table);
    if left_out > 0 {
        let left_out = words::count(left_out as u64, "difference");
        document.line(Inline::words(format!("{left_out} left out here.")));
    }
}

/// Earlier runs, the newest first.
pub(in crate::render) fn history(runs: &[PastRun]) -> Table {
    let mut table = Table::new([
        ("Run", Align::Left),
        ("Started", Align::Left),
        ("Outcome", Align::Left),
        ("Duration", Align::Right),
        ("Rows written", Align::Right),
    ]);
    for run in runs.iter().rev().take(TABLE_ROWS_MAX) {
        table.row([
            Inline::code(&run.run_id),
            Inline::text(words::instant(run.started_at)),
            Inline::status(run.outcome),
            Inline::text(words::duration(run.duration_ms)),
            Inline::text(words::thousands(run.rows_written)),
        ]);
    }
    table
}
