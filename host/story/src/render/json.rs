//! A story as JSON, for programs.

use super::escape::is_hidden;
use crate::story::Story;
use crate::story::compare::Comparison;

/// The story as indented JSON with a line break at its end.
///
/// Characters that are not seen, or that turn text around, stand as `\u` escapes: the same text for a parser, and safe
/// for whoever looks at the file in a terminal.
#[must_use]
pub fn render(story: &Story) -> String {
    safe(serde_json::to_string_pretty(story))
}

/// What differs between two runs, likewise.
#[must_use]
pub fn comparison(comparison: &Comparison) -> String {
    safe(serde_json::to_string_pretty(comparison))
}

/// Ends the text with a line break and hides nothing in it.
pub(super) fn safe(text: serde_json::Result<String>) -> String {
    let mut safe = escape_hidden(&text.expect("a story has no maps with keys other than strings"));
    safe.push('\n');
    safe
}

/// Rewrites hidden characters of a JSON text. They can only stand inside strings.
pub(super) fn escape_hidden(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_hidden(c) {
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
