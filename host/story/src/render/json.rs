//! A story as JSON, for programs.

use std::io::{Result, Write};

use serde::Serialize as _;
use serde_json::ser::Formatter;

use super::escape::is_hidden;
use crate::story::Story;
use crate::story::compare::Comparison;

/// The story as indented JSON with a line break at its end; what lies deep, such as a row of a sample, stands on one line.
///
/// Characters that are not seen, or that turn text around, stand as `\u` escapes: the same text for a parser, and safe
/// for whoever looks at the file in a terminal.
#[must_use]
pub fn render(story: &Story) -> String {
    // Counted first: a text that grows is held twice at times, and it may be long.
    let mut bytes = Count(1);
    let counted = write(story, &mut bytes);
    let mut json = Vec::with_capacity(bytes.0);
    let written = counted.and_then(|()| write(story, &mut json));
    safe(written.map(|()| String::from_utf8(json).expect("JSON is UTF-8")))
}

fn write(story: &Story, to: impl Write) -> serde_json::Result<()> {
    let mut writer = serde_json::Serializer::with_formatter(to, Indented::default());
    story.serialize(&mut writer)
}

/// Takes bytes and keeps how many they are.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What differs between two runs, likewise.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    safe(serde_json::to_string_pretty(comparison))
}

/// Ends the text with a line break and hides nothing in it.
pub(super) fn safe(text: serde_json::Result<String>) -> String {
    let text = text.expect("a story has no maps with keys other than strings");
    let mut safe = if text.chars().any(hides) {
        escape_hidden(&text)
    } else {
        text
    };
    safe.push('\n');
    safe
}

fn hides(c: char) -> bool {
    c != '\n' && is_hidden(c)
}

/// Rewrites hidden characters of a JSON text. They can only stand inside strings.
pub(super) fn escape_hidden(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if hides(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Lists and objects in so many others have no line breaks.
const DEPTH_MAX: usize = 6;

/// Indents by two, down to [`DEPTH_MAX`].
#[derive(Default)]
struct Indented {
    depth: usize,
    /// Whether something was written at the present depth.
    filled: bool,
}

impl Indented {
    fn begin(&mut self, bracket: u8, to: &mut (impl Write + ?Sized)) -> Result<()> {
        self.depth += 1;
        self.filled = false;
        to.write_all(&[bracket])
    }

    fn end(&mut self, bracket: u8, to: &mut (impl Write + ?Sized)) -> Result<()> {
        let breaks = self.filled && self.depth <= DEPTH_MAX;
        self.depth -= 1;
        self.filled = true;
        if breaks {
            self.line(to)?;
        }
        to.write_all(&[bracket])
    }

    fn item(&self, first: bool, to: &mut (impl Write + ?Sized)) -> Result<()> {
        if self.depth <= DEPTH_MAX {
            to.write_all(if first { b"" } else { b"," })?;
            self.line(to)
        } else {
            to.write_all(if first { b"" } else { b", " })
        }
    }

    fn line(&self, to: &mut (impl Write + ?Sized)) -> Result<()> {
        to.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| to.write_all(b"  "))
    }
}

impl Formatter for Indented {
    fn begin_array<W: Write + ?Sized>(&mut self, to: &mut W) -> Result<()> {
        self.begin(b'[', to)
    }

    fn end_array<W: Write + ?Sized>(&mut self, to: &mut W) -> Result<()> {
        self.end(b']', to)
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> Result<()> {
        self.item(first, to)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _: &mut W) -> Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, to: &mut W) -> Result<()> {
        self.begin(b'{', to)
    }

    fn end_object<W: Write + ?Sized>(&mut self, to: &mut W) -> Result<()> {
        self.end(b'}', to)
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, to: &mut W, first: bool) -> Result<()> {
        self.item(first, to)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, to: &mut W) -> Result<()> {
        to.write_all(b": ")
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> Result<()> {
        self.filled = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn story_reads_back_as_it_was() {
        for story in [example::story(), example::unfinished()] {
            let text = render(&story);
            assert!(text.ends_with("}\n"));
            assert_eq!(
                serde_json::from_str::<Story>(&text).expect("reads back"),
                story
            );
        }
    }

    #[test]
    fn what_lies_deep_stands_on_one_line() {
        let text = render(&example::story());
        let value: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
        let rows = &value["nodes"][0]["facts"]["sample"]["rows"];
        let rows = rows.as_array().expect("it has a sample");
        for row in rows {
            let cells = row
                .as_array()
                .expect("cells")
                .iter()
                .map(|cell| cell.to_string());
            let line = format!("[{}]", cells.collect::<Vec<_>>().join(", "));
            assert!(
                text.lines().any(|l| l.trim().trim_end_matches(',') == line),
                "{line}"
            );
        }
        assert!(!rows.is_empty());
        assert!(
            text.contains("\n  \"format_version\": 1,\n") && !text.contains("[ "),
            "{text}"
        );
    }

    #[test]
    fn story_says_its_format_version() {
        let value: serde_json::Value =
            serde_json::from_str(&render(&example::story())).expect("is JSON");
        assert_eq!(value["format_version"], 1);
        assert_eq!(value["outcome"], "failed");
        assert_eq!(value["nodes"][0]["name"], "orders_raw");
    }

    #[test]
    fn hidden_characters_are_escaped_without_loss() {
        let odd = "\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{e0041}\n\u{feff}";
        let story = Story {
            project: odd.to_owned(),
            ..example::story()
        };
        let text = render(&story);
        assert!(
            text.contains(r"\u001b[31m\u007f\u009b\u202e\udb40\udc41\n\ufeff"),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Story>(&text)
                .expect("reads back")
                .project,
            odd
        );
    }
}
