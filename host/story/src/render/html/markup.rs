//! HTML while it is written. Foreign text has one way in, [`Markup::text`] and attribute values, and is escaped there.

use crate::render::escape;

/// A piece of a page.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

/// Name and value of an attribute. The name stands in the program, the value is escaped.
pub(super) type Attribute<'a> = (&'static str, &'a str);

impl Markup {
    /// Markup that stands in the program.
    pub(super) fn host(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Text, on one line.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escape::html(text));
        self
    }

    /// Text that keeps its lines.
    pub(super) fn lines(&mut self, text: &str) -> &mut Self {
        self.0.push_str(&escape::html_lines(text));
        self
    }

    /// An element with something inside.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: &[Attribute<'_>],
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.start(tag, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
        self
    }

    /// An element with text inside.
    pub(super) fn leaf(
        &mut self,
        tag: &'static str,
        attributes: &[Attribute<'_>],
        text: &str,
    ) -> &mut Self {
        self.element(tag, attributes, |inside| {
            inside.text(text);
        })
    }

    /// An SVG element with nothing inside.
    pub(super) fn shape(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) -> &mut Self {
        self.start(tag, attributes);
        self.0.push_str("/>");
        self
    }

    /// An attribute, where one can stand.
    pub(super) fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push_str("=\"");
        self.0.push_str(&escape::html(value));
        self.0.push('"');
        self
    }

    /// Markup that was written before.
    pub(super) fn piece(&mut self, piece: Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A line break of the source.
    pub(super) fn newline(&mut self) -> &mut Self {
        self.0.push('\n');
        self
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn start(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.attribute(name, value);
        }
    }
}
