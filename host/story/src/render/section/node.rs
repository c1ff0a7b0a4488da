//! One node of a story.

use odibi_plan::guest_limits::GuestLimit;

use super::data;
use crate::event::NodeRef;
use crate::failure::Failure;
use crate::render::document::{Align, Document, Inline, Table};
use crate::render::escape::{cut, plain};
use crate::render::{CELL_CHARS_MAX, MESSAGE_CHARS_MAX, TABLE_ROWS_MAX, words};
use crate::story::NodeStory;

/// Writes the section of a node.
pub(in crate::render) fn tell(node: &NodeStory, pipeline: &str, document: &mut Document) {
    document.heading(
        3,
        Inline::format(
            "{}: {}",
            [
                Inline::code(&node.outline.name),
                Inline::status(node.outcome),
            ],
        ),
    );
    body(node, pipeline, document);
}

/// What stands below the heading of a node.
pub(in crate::render) fn body(node: &NodeStory, pipeline: &str, document: &mut Document) {
    introduce(node, pipeline, document);
    if let Some(failure) = &node.failure {
        document.heading(4, Inline::host("Failure"));
        document.code("text", failure_text(failure, &node.outline.operations));
    }
    if node.attempts.len() > 1 {
        attempts(node, document);
    }
    if let Some(facts) = &node.facts {
        data::tell(node, facts, pipeline, document);
    }
}

/// What it is for, what happened in numbers, what stands around it.
pub(in crate::render) fn introduce(node: &NodeStory, pipeline: &str, document: &mut Document) {
    if let Some(description) = node.outline.description.as_deref() {
        document.prose(description);
    }
    document.line(Inline::words(in_numbers(node)));
    if let Some(line) = surroundings(node, pipeline) {
        document.line(line);
    }
}

/// `1 attempt, 1.24 s, 1,000 rows in, 990 rows out, 990 rows written.`
fn in_numbers(node: &NodeStory) -> String {
    let mut parts = Vec::new();
    if node.attempts.is_empty() {
        parts.push("not tried".to_owned());
    } else {
        parts.push(words::count(node.attempts.len() as u64, "attempt"));
        parts.push(words::duration(node.duration_ms));
    }
    if let Some(facts) = &node.facts {
        parts.push(format!("{} in", words::count(facts.rows_in, "row")));
        parts.push(format!("{} out", words::count(facts.rows_out, "row")));
        parts.extend(
            facts
                .rows_written
                .map(|rows| format!("{} written", words::count(rows, "row"))),
        );
        if facts.rows_unread > 0 {
            let rows = words::count(facts.rows_unread, "row");
            parts.push(format!("{rows} unread"));
        }
        if facts.rows_quarantined > 0 {
            let rows = words::count(facts.rows_quarantined, "row");
            parts.push(format!("{rows} quarantined"));
        }
    }
    if let Some(rows) = node.progress {
        parts.push(format!(
            "{} read so far",
            words::count(rows.rows_read, "row")
        ));
        parts.push(format!("{} out so far", words::count(rows.rows_out, "row")));
    }
    let mut line = parts.join(", ");
    line.push('.');
    line.replace_range(..1, &line[..1].to_uppercase());
    line
}

/// What stands around the node: reads, writes, dependencies, tags. The operations too when there is no table of them.
fn surroundings(node: &NodeStory, pipeline: &str) -> Option<Inline> {
    let outline = &node.outline;
    let list = |names: &[String]| Inline::list(names.iter().map(Inline::code), ", ", "");
    let mut parts = Vec::new();
    if !outline.reads.is_empty() {
        parts.push(Inline::format("Reads {}.", [list(&outline.reads)]));
    }
    if !outline.depends_on.is_empty() {
        let name = |node: &NodeRef| {
            if node.pipeline == pipeline {
                Inline::node(&node.name)
            } else {
                Inline::code(node.to_string())
            }
        };
        let names = Inline::list(outline.depends_on.iter().map(name), ", ", "");
        parts.push(Inline::format("Waits for {}.", [names]));
    }
    if node
        .facts
        .as_ref()
        .is_none_or(|facts| facts.operations.is_empty())
        && !outline.operations.is_empty()
    {
        parts.push(Inline::format("Runs {}.", [list(&outline.operations)]));
    }
    if let Some(write) = &outline.writes {
        parts.push(Inline::format("Writes {}.", [Inline::code(write)]));
    }
    if !outline.tags.is_empty() {
        parts.push(Inline::format("Tags: {}.", [list(&outline.tags)]));
    }
    (!parts.is_empty()).then(|| Inline::list(parts, " ", ""))
}

/// The failure as lines that are shown as they are.
pub(in crate::render) fn failure_text(failure: &Failure, operations: &[String]) -> String {
    // Further lines of a text stand under its first, so that none looks like a line of ours.
    let entry = |label: &str, text: &str| {
        let indent = format!("\n{}", " ".repeat(label.chars().count()));
        format!(
            "{label}{}\n",
            cut(text, MESSAGE_CHARS_MAX)
                .trim_end()
                .replace('\n', &indent)
        )
    };
    let code = cut(&plain(&failure.code), CELL_CHARS_MAX);
    let mut text = entry(&format!("{code} ({}): ", failure.class), &failure.message);
    if let Some(place) = &failure.place {
        text.push_str(&entry("at: ", &place.to_string()));
    }
    if let Some(step) = failure.step {
        let operation = operations
            .get(step)
            .map(|name| format!(", {name}"))
            .unwrap_or_default();
        text.push_str(&entry(
            "step: ",
            &format!("{}{operation}", step.saturating_add(1)),
        ));
    }
    if let Some(param) = &failure.param {
        text.push_str(&entry("param: ", param));
    }
    if let Some(limit) = &failure.limit {
        // Other limits name their unit only in their documentation; memory is in bytes for certain.
        let (most, asked) = match GuestLimit::of_failure(&limit.which) {
            Some(set) => {
                let unit = set.spec().unit;
                let asked = unit.shown_over(limit.limit, limit.asked);
                (unit.shown(limit.limit), asked)
            }
            None if limit.which.ends_with("memory") => {
                (words::bytes(limit.limit), words::bytes(limit.asked))
            }
            None => (words::thousands(limit.limit), words::thousands(limit.asked)),
        };
        text.push_str(&entry(
            "limit: ",
            &format!("{} {most}, asked {asked}", limit.which),
        ));
    }
    for cause in &failure.causes {
        text.push_str(&entry("caused by: ", cause));
    }
    for hint in &failure.hints {
        text.push_str(&entry("hint: ", hint));
    }
    text
}

fn attempts(node: &NodeStory, document: &mut Document) {
    let mut table = Table::new([
        ("Attempt", Align::Right),
        ("Started", Align::Left),
        ("Outcome", Align::Left),
        ("Failure", Align::Left),
        ("Pause after it", Align::Right),
    ]);
    for attempt in node.attempts.iter().take(TABLE_ROWS_MAX) {
        let failure = attempt
            .failure
            .as_ref()
            .map_or(Inline::host(""), |failure| {
                Inline::list(
                    [Inline::text(&failure.code), Inline::text(&failure.message)],
                    ": ",
                    "",
                )
            });
        table.row([
            Inline::text(attempt.attempt.to_string()),
            attempt
                .started_at
                .map_or(Inline::host(""), |at| Inline::text(words::instant(at))),
            Inline::status(attempt.outcome),
            failure,
            attempt
                .retry_in_ms
                .map_or(Inline::host(""), |ms| Inline::text(words::duration(ms))),
        ]);
    }
    document.heading(4, Inline::host("Attempts"));
    document.table(table);
}
