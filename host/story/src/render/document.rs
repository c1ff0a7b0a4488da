//! What a story says, before it is Markdown or HTML: headings, lines, tables, code. Foreign texts stand apart from the
//! program's own words until a writer escapes them.

use crate::story::Status;

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// A literal of the program.
    Host(&'static str),
    /// Words of the program with numbers in them; long ones are not cut.
    Words(String),
    /// A value.
    Text(String),
    /// A name, or another text of which every character counts.
    Code(String),
    /// No value.
    Null,
    /// A word of the program about a value: `added`.
    Tag(&'static str),
    /// How something ended.
    Status(Status),
    /// The name of a node of this story, which a writer may make a link to its section.
    Node(String),
    /// A link to a file near by. The target is percent-encoded.
    Link {
        /// What is shown.
        text: String,
        /// Relative to the document.
        target: String,
    },
}

/// A line, or what stands in a cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inline(pub(super) Vec<Span>);

impl Inline {
    /// A literal of the program.
    pub(super) fn host(literal: &'static str) -> Self {
        if literal.is_empty() {
            Self::default()
        } else {
            Self(vec![Span::Host(literal)])
        }
    }

    /// Words of the program with numbers in them.
    pub(super) fn words(words: impl Into<String>) -> Self {
        Self(vec![Span::Words(words.into())])
    }

    /// A value. The empty one is shown as `""`.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self(vec![Span::Text(text.into())])
    }

    /// A name.
    pub(super) fn code(text: impl Into<String>) -> Self {
        Self(vec![Span::Code(text.into())])
    }

    /// No value.
    pub(super) fn null() -> Self {
        Self(vec![Span::Null])
    }

    /// A word of the program about a value; nothing when it is empty.
    pub(super) fn tag(word: &'static str) -> Self {
        if word.is_empty() {
            Self::default()
        } else {
            Self(vec![Span::Tag(word)])
        }
    }

    /// How something ended.
    pub(super) fn status(status: Status) -> Self {
        Self(vec![Span::Status(status)])
    }

    /// The name of a node of this story.
    pub(super) fn node(name: impl Into<String>) -> Self {
        Self(vec![Span::Node(name.into())])
    }

    /// A link to a file below the document's directory, without its extension.
    pub(super) fn file(text: impl Into<String>, path: &str, extension: &'static str) -> Self {
        let mut target = String::new();
        for byte in path.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'/' => {
                    target.push(char::from(byte));
                }
                byte => target.push_str(&format!("%{byte:02X}")),
            }
        }
        let (text, target) = (text.into(), format!("{target}.{extension}"));
        Self(vec![Span::Link { text, target }])
    }

    /// A template of the program; each `{}` in it stands for the next part.
    pub(super) fn format<const N: usize>(template: &'static str, parts: [Self; N]) -> Self {
        let mut spans = Vec::new();
        let mut parts = parts.into_iter();
        for (at, literal) in template.split("{}").enumerate() {
            if at > 0 {
                spans.extend(parts.next().unwrap_or_default().0);
            }
            if !literal.is_empty() {
                spans.push(Span::Host(literal));
            }
        }
        Self(spans)
    }

    /// Several, with a literal between them; `none` when there are none.
    pub(super) fn list(
        parts: impl IntoIterator<Item = Self>,
        between: &'static str,
        none: &'static str,
    ) -> Self {
        let mut spans = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                spans.push(Span::Host(between));
            }
            spans.extend(part.0);
        }
        if spans.is_empty() {
            Self::host(none)
        } else {
            Self(spans)
        }
    }
}

/// On which side the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Headers and rows. Every row has as many cells as there are headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) headers: Vec<(Inline, Align)>,
    pub(super) rows: Vec<Vec<Inline>>,
}

impl Table {
    /// A table with headers of the program.
    pub(super) fn new<const N: usize>(headers: [(&'static str, Align); N]) -> Self {
        Self::with_headers(
            headers
                .into_iter()
                .map(|(header, align)| (Inline::host(header), align))
                .collect(),
        )
    }

    /// A table with headers that came from outside.
    pub(super) fn with_headers(headers: Vec<(Inline, Align)>) -> Self {
        Self {
            headers,
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty, further ones are left out.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Inline>) {
        let padding = std::iter::repeat_with(Inline::default);
        self.rows.push(
            cells
                .into_iter()
                .chain(padding)
                .take(self.headers.len())
                .collect(),
        );
    }
}

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A heading, from 1 for the document's own.
    Heading(u8, Inline),
    /// A line.
    Line(Inline),
    /// A paragraph of somebody's prose.
    Prose(String),
    /// A table.
    Table(Table),
    /// Lines that are shown as they are.
    Code {
        /// Of what: a literal of the program.
        language: &'static str,
        /// The lines.
        text: String,
    },
}

/// Blocks one below the other.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) blocks: Vec<Block>,
}

impl Document {
    /// A heading.
    pub(super) fn heading(&mut self, level: u8, heading: Inline) {
        self.blocks.push(Block::Heading(level, heading));
    }

    /// A line.
    pub(super) fn line(&mut self, line: Inline) {
        self.blocks.push(Block::Line(line));
    }

    /// A paragraph of somebody's prose; nothing when it is empty.
    pub(super) fn prose(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.blocks.push(Block::Prose(text.to_owned()));
        }
    }

    /// A table.
    pub(super) fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Lines that are shown as they are.
    pub(super) fn code(&mut self, language: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.blocks.push(Block::Code { language, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_takes_its_parts_in_order() {
        let line = Inline::format("a {}, {}.", [Inline::code("x"), Inline::host("y")]);
        let expect = [
            Span::Host("a "),
            Span::Code("x".to_owned()),
            Span::Host(", "),
            Span::Host("y"),
            Span::Host("."),
        ];
        assert_eq!(line.0, expect);
    }

    #[test]
    fn row_has_as_many_cells_as_there_are_headers() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Right)]);
        table.row([Inline::host("x")]);
        table.row([Inline::host("x"), Inline::host("y"), Inline::host("z")]);
        assert!(table.rows.iter().all(|row| row.len() == 2));
    }
}
