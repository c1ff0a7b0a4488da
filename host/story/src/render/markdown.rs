//! A story as Markdown: readable as plain text, drawn on GitHub.

use std::fmt::Write as _;

use super::escape::{Inline, prose};
use super::{MESSAGE_CHARS_MAX, words};
use crate::story::{NodeStory, Status, Story};

mod data;
mod mermaid;
mod node;
mod quarantine;
mod table;

use table::{Align, Table};

/// The story as a Markdown document.
#[must_use]
pub fn render(story: &Story) -> String {
    let mut document = Document::default();
    document.line(&format!(
        "# Pipeline {}: {}",
        Inline::code(&story.pipeline),
        story.outcome.word()
    ));
    if let Some(description) = story.description.as_deref() {
        document.prose(description);
    }
    document.line(&closing_line(story));
    if story.outcome == Status::Unfinished {
        document.line("The events stop before the end of the pipeline: odibi was killed, or is still at work.");
    }
    if story.outcome == Status::Crashed {
        document.line("odibi was killed before the end of the pipeline; the duration is that to the last thing it said.");
    }
    document.block(&run_facts(story).to_string());
    document.line("## Lineage");
    document.block(&mermaid::graph(&story.lineage));
    document.line("## Nodes");
    document.block(&overview(&story.nodes).to_string());
    for node in &story.nodes {
        node::tell(node, &story.pipeline, &mut document);
    }
    document.text
}

/// Blocks of Markdown with an empty line between them.
#[derive(Default)]
struct Document {
    text: String,
}

impl Document {
    /// A paragraph or heading that is safe already.
    fn line(&mut self, line: &str) {
        self.block(line);
    }

    /// A paragraph of somebody's prose.
    fn prose(&mut self, text: &str) {
        let text = prose(&super::escape::cut(text, MESSAGE_CHARS_MAX));
        if !text.is_empty() {
            self.block(&text);
        }
    }

    /// A block that is safe already.
    fn block(&mut self, block: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{}", block.trim_end_matches('\n'));
    }
}

/// `3 nodes: 1 succeeded, 1 failed, 1 skipped. It took 1.24 s.`
fn closing_line(story: &Story) -> String {
    let counts = story.counts();
    let counts: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{count} {}", status.word()))
        .collect();
    let nodes = words::count(story.nodes.len() as u64, "node");
    let of_which = if counts.is_empty() {
        String::new()
    } else {
        format!(": {}", counts.join(", "))
    };
    format!(
        "{nodes}{of_which}. It took {}.",
        words::duration(story.duration_ms)
    )
}

fn run_facts(story: &Story) -> Table {
    let instant = |at| Inline::text(&words::instant(at));
    let mut table = Table::new([("Run", Align::Left), ("", Align::Left)]);
    let mut fact = |name: &'static str, value: Inline| table.row([Inline::host(name), value]);
    fact("Project", Inline::code(&story.project));
    fact("Run id", Inline::code(&story.run_id));
    fact("Started", instant(story.started_at));
    fact(
        "Ended",
        story.ended_at.map_or(Inline::host("unknown"), instant),
    );
    fact(
        "Duration",
        Inline::text(&words::duration(story.duration_ms)),
    );
    if let Some(logical_time) = story.logical_time {
        fact("Logical time", Inline::text(&logical_time.to_string()));
    }
    fact(
        "Workers",
        Inline::text(&words::thousands(story.workers as u64)),
    );
    fact("Odibi version", Inline::text(&story.odibi_version));
    let files = story.config_files.iter().map(|file| Inline::code(file));
    fact("Configuration", Inline::list(files, ", ", "unknown"));
    fact("Configuration digest", digest(&story.config_digest));
    table
}

/// The first digits of a SHA-256, enough to tell two apart; the JSON holds all of them.
fn digest(hex: &str) -> Inline {
    const DIGITS: usize = 12;
    Inline::code(&hex.chars().take(DIGITS).collect::<String>())
}

fn overview(nodes: &[NodeStory]) -> Table {
    let mut table = Table::new([
        ("Node", Align::Left),
        ("Outcome", Align::Left),
        ("Duration", Align::Right),
        ("Rows in", Align::Right),
        ("Rows out", Align::Right),
        ("Rows written", Align::Right),
    ]);
    for node in nodes {
        let facts = node.facts.as_ref();
        let rows = |number: Option<u64>| {
            number.map_or(Inline::host(""), |n| Inline::text(&words::thousands(n)))
        };
        table.row([
            Inline::code(&node.outline.name),
            Inline::host(node.outcome.word()),
            if node.attempts.is_empty() {
                Inline::host("")
            } else {
                Inline::text(&words::duration(node.duration_ms))
            },
            rows(
                facts
                    .map(|f| f.rows_in)
                    .or(node.progress.map(|p| p.rows_read)),
            ),
            rows(
                facts
                    .map(|f| f.rows_out)
                    .or(node.progress.map(|p| p.rows_out)),
            ),
            rows(facts.and_then(|f| f.rows_written)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests;
