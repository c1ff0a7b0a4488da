//! A story as Markdown: readable as plain text, drawn on GitHub.

use std::fmt::Write as _;

use super::document::{Block, Document, Inline, Span};
use super::escape::{self, prose};
use super::{MESSAGE_CHARS_MAX, section};
use crate::story::compare::Comparison;
use crate::story::{Status, Story};

mod mermaid;
mod table;

/// The story as a Markdown document.
#[must_use]
pub fn render(story: &Story) -> String {
    let mut top = Document::default();
    top.heading(
        1,
        Inline::format(
            "Pipeline {}: {}",
            [Inline::code(&story.pipeline), Inline::status(story.outcome)],
        ),
    );
    if let Some(description) = story.description.as_deref() {
        top.prose(description);
    }
    top.line(Inline::words(section::run::closing_line(story)));
    if story.outcome == Status::Unfinished {
        top.line(Inline::host("The events stop before the end of the pipeline: odibi was killed, or is still at work."));
    }
    if story.outcome == Status::Crashed {
        top.line(Inline::host("odibi was killed before the end of the pipeline; the duration is that to the last thing it said."));
    }
    top.table(section::run::facts(story));
    if let Some(comparison) = &story.comparison {
        top.heading(2, Inline::host("Since the last successful run"));
        section::compare::tell(comparison, &mut top);
    }
    top.heading(2, Inline::host("Lineage"));
    let mut text = write(&top);
    push(&mut text, &mermaid::graph(&story.lineage));
    // Written part by part: of a thousand nodes, one is held at a time.
    let mut part = |tell: &dyn Fn(&mut Document)| {
        let mut document = Document::default();
        tell(&mut document);
        if !document.blocks.is_empty() {
            push(&mut text, &write(&document));
        }
    };
    part(&|nodes| {
        nodes.heading(2, Inline::host("Nodes"));
        nodes.table(section::run::overview(&story.nodes));
    });
    for node in &story.nodes {
        part(&|document| section::node::tell(node, &story.pipeline, document));
    }
    if !story.column_lineage.is_empty() {
        part(&|columns| columns.heading(2, Inline::host("Columns of what was written")));
    }
    for dataset in &story.column_lineage {
        if let Some(table) = section::origins::table(&dataset.columns, &story.pipeline) {
            part(&|columns| {
                columns.heading(3, Inline::code(&dataset.dataset));
                columns.table(table.clone());
            });
        }
    }
    if !story.history.is_empty() {
        part(&|history| {
            history.heading(2, Inline::host("Earlier runs"));
            history.table(section::compare::history(&story.history));
        });
    }
    text
}

/// What differs between two runs, as a Markdown document.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    let mut document = Document::default();
    section::compare::tell(comparison, &mut document);
    write(&document)
}

/// The blocks with an empty line between them.
pub(super) fn write(document: &Document) -> String {
    let mut text = String::new();
    for block in &document.blocks {
        let block = match block {
            Block::Heading(level, heading) => {
                format!("{} {}", "#".repeat(usize::from(*level)), inline(heading))
            }
            Block::Line(line) => inline(line),
            Block::Prose(text) => prose(&escape::cut(text, MESSAGE_CHARS_MAX)),
            Block::Table(table) => table::write(table),
            Block::Code { language, text } => escape::fence(language, text),
        };
        push(&mut text, &block);
    }
    text
}

fn push(text: &mut String, block: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{}", block.trim_end_matches('\n'));
}

/// A piece of a Markdown line that fits everywhere on it, in a cell of a table too.
fn inline(inline: &Inline) -> String {
    let span = |span: &Span| match span {
        Span::Host(literal) | Span::Tag(literal) => (*literal).to_owned(),
        Span::Words(words) => prose(words),
        Span::Text(text) => escape::inline_text(text),
        Span::Code(text) | Span::Node(text) => escape::inline_code(text),
        Span::Null => "*null*".to_owned(),
        Span::Status(status) => status.word().to_owned(),
        Span::Link { text, target } => format!("[{}]({target})", prose(text)),
    };
    inline.0.iter().map(span).collect()
}

#[cfg(test)]
mod tests;
