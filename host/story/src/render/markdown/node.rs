//! One node of a story as Markdown.

use odibi_plan::guest_limits::GuestLimit;

use super::{Align, Document, Table, data};
use crate::event::NodeRef;
use crate::failure::Failure;
use crate::render::escape::{Inline, cut, fence, plain};
use crate::render::{CELL_CHARS_MAX, MESSAGE_CHARS_MAX, TABLE_ROWS_MAX, words};
use crate::story::NodeStory;

/// Writes the section of a node.
pub(super) fn tell(node: &NodeStory, pipeline: &str, document: &mut Document) {
    document.line(&format!(
        "### {}: {}",
        Inline::code(&node.outline.name),
        node.outcome.word()
    ));
    if let Some(description) = node.outline.description.as_deref() {
        document.prose(description);
    }
    document.line(&in_numbers(node));
    if let Some(line) = surroundings(node, pipeline) {
        document.line(&line);
    }
    if let Some(failure) = &node.failure {
        document.line("#### Failure");
        document.block(&failure_text(failure, &node.outline.operations));
    }
    if node.attempts.len() > 1 {
        attempts(node, document);
    }
    if let Some(facts) = &node.facts {
        data::tell(node, facts, document);
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
fn surroundings(node: &NodeStory, pipeline: &str) -> Option<String> {
    let outline = &node.outline;
    let list =
        |names: &[String]| Inline::list(names.iter().map(|name| Inline::code(name)), ", ", "");
    let mut parts = Vec::new();
    if !outline.reads.is_empty() {
        parts.push(format!("Reads {}.", list(&outline.reads)));
    }
    if !outline.depends_on.is_empty() {
        let name = |node: &NodeRef| {
            if node.pipeline == pipeline {
                Inline::code(&node.name)
            } else {
                Inline::code(&node.to_string())
            }
        };
        parts.push(format!(
            "Waits for {}.",
            Inline::list(outline.depends_on.iter().map(name), ", ", "")
        ));
    }
    if node
        .facts
        .as_ref()
        .is_none_or(|facts| facts.operations.is_empty())
        && !outline.operations.is_empty()
    {
        parts.push(format!("Runs {}.", list(&outline.operations)));
    }
    if let Some(write) = &outline.writes {
        parts.push(format!("Writes {}.", Inline::code(write)));
    }
    if !outline.tags.is_empty() {
        parts.push(format!("Tags: {}.", list(&outline.tags)));
    }
    if parts.is_empty() {
        None
    } else {
        Some(parts.join(" "))
    }
}

/// The failure as a fenced block: it keeps its lines and nothing in it is acted on.
fn failure_text(failure: &Failure, operations: &[String]) -> String {
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
    fence("text", &text)
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
            Inline::text(&attempt.attempt.to_string()),
            attempt
                .started_at
                .map_or(Inline::host(""), |at| Inline::text(&words::instant(at))),
            Inline::host(attempt.outcome.word()),
            failure,
            attempt
                .retry_in_ms
                .map_or(Inline::host(""), |ms| Inline::text(&words::duration(ms))),
        ]);
    }
    document.line("#### Attempts");
    document.block(&table.to_string());
}
