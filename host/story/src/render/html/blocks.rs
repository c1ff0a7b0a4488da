//! The blocks of a section as HTML.

use std::collections::BTreeMap;

use super::mark;
use super::markup::Markup;
use crate::render::document::{Align, Block, Inline, Span, Table};
use crate::render::{CELL_CHARS_MAX, MESSAGE_CHARS_MAX, escape};
use crate::story::{NodeStory, Story};

/// Where the sections of nodes are.
#[derive(Default)]
pub(super) struct Links<'a>(BTreeMap<&'a str, String>);

impl<'a> Links<'a> {
    pub(super) fn of(story: &'a Story) -> Self {
        let id = |(at, node): (usize, &'a NodeStory)| (node.outline.name.as_str(), node_id(at));
        Self(story.nodes.iter().enumerate().map(id).collect())
    }

    /// `#n3`
    pub(super) fn to(&self, node: &str) -> Option<String> {
        self.0.get(node).map(|id| format!("#{id}"))
    }
}

/// The id of a node's section.
pub(super) fn node_id(at: usize) -> String {
    format!("n{at}")
}

/// Writes blocks; `about` names what their tables belong to.
pub(super) fn write(blocks: &[Block], about: &str, links: &Links<'_>, page: &mut Markup) {
    let mut heading = String::new();
    for block in blocks {
        match block {
            Block::Heading(level, text) => {
                heading = words(text);
                let tag = match level {
                    0..=2 => "h2",
                    3 => "h3",
                    _ => "h4",
                };
                page.element(tag, &[], |h| inline(text, links, h));
            }
            Block::Line(line) => {
                page.element("p", &[], |p| inline(line, links, p));
            }
            Block::Prose(text) => {
                let text = escape::cut(text.trim(), MESSAGE_CHARS_MAX);
                page.element("p", &[("class", "prose")], |p| {
                    for (at, line) in text.lines().enumerate() {
                        if at > 0 {
                            p.host("<br>");
                        }
                        p.text(line.trim());
                    }
                });
            }
            Block::Table(table) if is_list(table) => list(table, links, page),
            Block::Table(table) => scrolled(&label(&heading, about), page, |inside| {
                self::table(table, links, inside);
            }),
            Block::Code { language, text } => {
                let class = if *language == "text" {
                    "failure"
                } else {
                    "code"
                };
                let label = label(&heading, about);
                let attributes = [
                    ("class", class),
                    ("tabindex", "0"),
                    ("role", "group"),
                    ("aria-label", label.as_str()),
                ];
                page.element("pre", &attributes, |pre| {
                    pre.lines(text.trim_end_matches('\n'));
                });
            }
        }
        page.newline();
    }
}

fn label(heading: &str, about: &str) -> String {
    match (heading, about) {
        ("", about) => about.to_owned(),
        (heading, "") => heading.to_owned(),
        (heading, about) => format!("{heading}: {about}"),
    }
}

/// What may be wider than the page scrolls by itself.
pub(super) fn scrolled(label: &str, page: &mut Markup, inside: impl FnOnce(&mut Markup)) {
    let attributes = [
        ("class", "scroll"),
        ("tabindex", "0"),
        ("role", "group"),
        ("aria-label", label),
    ];
    page.element("div", &attributes, inside);
}

/// Names and values, and no header over the values.
fn is_list(table: &Table) -> bool {
    table.headers.len() == 2 && table.headers[1].0 == Inline::default()
}

fn list(table: &Table, links: &Links<'_>, page: &mut Markup) {
    page.element("dl", &[], |dl| {
        for row in &table.rows {
            dl.element("div", &[], |pair| {
                for (cell, tag) in row.iter().zip(["dt", "dd"]) {
                    pair.element(tag, &[], |inside| inline(cell, links, inside));
                }
            });
        }
    });
}

fn table(table: &Table, links: &Links<'_>, page: &mut Markup) {
    page.element("table", &[], |t| {
        t.element("thead", &[], |head| {
            head.element("tr", &[], |tr| {
                for (header, align) in &table.headers {
                    if *header == Inline::default() {
                        tr.host("<td></td>");
                    } else {
                        let attributes = [("scope", "col"), class(*align)];
                        tr.element("th", &attributes, |th| inline(header, links, th));
                    }
                }
            });
        });
        t.newline();
        t.element("tbody", &[], |body| {
            for row in &table.rows {
                body.element("tr", &[], |tr| {
                    for (cell, (_, align)) in row.iter().zip(&table.headers) {
                        tr.element("td", &[class(*align)], |td| inline(cell, links, td));
                    }
                });
                body.newline();
            }
        });
    });
}

fn class(align: Align) -> (&'static str, &'static str) {
    match align {
        Align::Left => ("class", "l"),
        Align::Right => ("class", "r"),
    }
}

/// Writes a line or the inside of a cell.
pub(super) fn inline(line: &Inline, links: &Links<'_>, page: &mut Markup) {
    for span in &line.0 {
        match span {
            Span::Host(literal) => page.text(literal),
            Span::Words(words) => page.text(words),
            Span::Text(text) if text.is_empty() => page.host("<span class=\"none\">\"\"</span>"),
            Span::Text(text) => page.text(&escape::cut(text, CELL_CHARS_MAX)),
            Span::Code(text) => page.leaf("code", &[], &escape::cut(text, CELL_CHARS_MAX)),
            Span::Null => page.host("<em class=\"none\">null</em>"),
            Span::Tag(word) => page.leaf("span", &[("class", "tag")], word),
            Span::Status(status) => mark::status(*status, page),
            Span::Link { text, target } => page.leaf("a", &[("href", target)], text),
            Span::Node(name) => {
                let shown = escape::cut(name, CELL_CHARS_MAX);
                match links.to(name) {
                    Some(target) => page.element("a", &[("href", &target)], |a| {
                        a.leaf("code", &[], &shown);
                    }),
                    None => page.leaf("code", &[], &shown),
                }
            }
        };
    }
}

/// The same without markup.
fn words(line: &Inline) -> String {
    let word = |span: &Span| match span {
        Span::Host(literal) | Span::Tag(literal) => (*literal).to_owned(),
        Span::Words(text)
        | Span::Text(text)
        | Span::Code(text)
        | Span::Node(text)
        | Span::Link { text, .. } => text.clone(),
        Span::Null => "null".to_owned(),
        Span::Status(status) => status.word().to_owned(),
    };
    line.0.iter().map(word).collect()
}
