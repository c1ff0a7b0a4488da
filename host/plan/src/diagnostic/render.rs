//! A diagnostic as text for people and as JSON for programs.
//!
//! ```text
//! error[config/unknown-node]: node `orders_clean` depends on `ordrs_raw`, which does not exist
//!   --> pipelines/orders.yaml:14:20
//!    |
//! 14 |       depends_on: [ordrs_raw]
//!    |                    ^^^^^^^^^ not a node of pipeline `orders`
//!    |
//! hint: did you mean `orders_raw`?
//! ```

use std::fmt::Write as _;

use serde_json::json;
use unicode_width::UnicodeWidthChar as _;

use super::{Diagnostic, FileId, Label, Severity, Sources, Span};
use crate::limits::SNIPPET_COLUMNS_MAX;

/// Columns kept before the place when a line is cut.
const SNIPPET_COLUMNS_BEFORE: usize = 40;
/// Columns a tab takes in a snippet.
const TAB_COLUMNS: usize = 4;

/// The text form, several lines, ending with a line break. `colour` adds ANSI escapes.
#[must_use]
pub fn render(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let paint = Paint { colour };
    let (word, style) = match diagnostic.severity {
        Severity::Error => ("error", Style::Error),
        Severity::Warning => ("warning", Style::Warning),
    };
    let head = paint.put(style, &format!("{word}[{}]", diagnostic.code.name));
    let mut out = format!(
        "{head}: {}\n",
        paint.put(Style::Strong, &visible(&diagnostic.message))
    );
    snippets(&mut out, &diagnostic.labels, sources, paint, style);
    for hint in &diagnostic.hints {
        let _ = writeln!(out, "{}: {}", paint.put(Style::Hint, "hint"), visible(hint));
    }
    out
}

/// The lines of one place with a mark below them, as they stand in the text form of a diagnostic.
#[must_use]
pub fn excerpt(span: Span, sources: &Sources, colour: bool) -> String {
    let label = Label {
        span,
        text: String::new(),
    };
    let mut out = String::new();
    snippets(&mut out, &[label], sources, Paint { colour }, Style::Error);
    out
}

fn snippets(out: &mut String, labels: &[Label], sources: &Sources, paint: Paint, style: Style) {
    let blocks = blocks(labels, sources);
    let widest = blocks
        .iter()
        .flat_map(|b| &b.lines)
        .map(|l| l.number)
        .max()
        .unwrap_or(0);
    let gutter = widest.to_string().len();
    for (index, block) in blocks.iter().enumerate() {
        snippet(
            out,
            block,
            sources,
            &Look {
                paint,
                style,
                gutter,
                first: index == 0,
            },
        );
    }
}

/// The JSON form: `code`, `severity`, `message`, `places` (file, line, column, end_line, end_column, label) and `hints`.
#[must_use]
pub fn render_json(diagnostic: &Diagnostic, sources: &Sources) -> serde_json::Value {
    let places: Vec<serde_json::Value> = diagnostic
        .labels
        .iter()
        .map(|label| {
            let at = sources.position(label.span);
            json!({
                "file": at.file, "line": at.line, "column": at.column,
                "end_line": at.end_line, "end_column": at.end_column, "label": label.text,
            })
        })
        .collect();
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "code": diagnostic.code.name, "severity": severity, "message": diagnostic.message,
        "places": places, "hints": diagnostic.hints,
    })
}

#[derive(Clone, Copy)]
enum Style {
    Error,
    Warning,
    Strong,
    Frame,
    Hint,
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn put(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Error => "1;31",
            Style::Warning => "1;33",
            Style::Strong => "1",
            Style::Frame => "1;34",
            Style::Hint => "1;36",
        };
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

struct Look {
    paint: Paint,
    style: Style,
    gutter: usize,
    first: bool,
}

/// The labels of one file.
struct Block<'a> {
    file: FileId,
    /// Line and column of the label that stands in the heading.
    at: (usize, usize),
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    number: usize,
    /// Byte range in the line, true for the main label, text.
    marks: Vec<(usize, usize, bool, &'a str)>,
}

fn blocks<'a>(labels: &'a [Label], sources: &Sources) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        let file = label.span.file;
        let at = sources.line_column(file, label.span.start);
        let known = blocks.iter().position(|b| b.file == file);
        let position = known.unwrap_or_else(|| {
            blocks.push(Block {
                file,
                at,
                lines: Vec::new(),
            });
            blocks.len() - 1
        });
        let lines = &mut blocks[position].lines;
        let line = lines
            .iter()
            .position(|l| l.number == at.0)
            .unwrap_or_else(|| {
                lines.push(Line {
                    number: at.0,
                    marks: Vec::new(),
                });
                lines.len() - 1
            });
        let (first, last) = sources.line_range(file, at.0).unwrap_or((0, 0));
        let start = (label.span.start as usize).clamp(first, last) - first;
        let end = (label.span.end as usize).clamp(first + start, last) - first;
        lines[line]
            .marks
            .push((start, end, index == 0, &label.text));
    }
    for block in &mut blocks {
        block.lines.sort_by_key(|line| line.number);
        for line in &mut block.lines {
            line.marks.sort_by_key(|mark| mark.0);
        }
    }
    blocks
}

fn snippet(out: &mut String, block: &Block<'_>, sources: &Sources, look: &Look) {
    let width = look.gutter;
    let frame = |text: String| look.paint.put(Style::Frame, &text);
    let arrow = if look.first { "-->" } else { ":::" };
    let (line, column) = block.at;
    let name = visible(sources.name(block.file));
    let _ = writeln!(
        out,
        "{} {name}:{line}:{column}",
        frame(format!("{:width$}{arrow}", ""))
    );
    let bar = frame(format!("{:width$} |", ""));
    let _ = writeln!(out, "{bar}");
    let mut before: Option<usize> = None;
    for line in &block.lines {
        if before.is_some_and(|last| last + 1 < line.number) {
            let _ = writeln!(out, "{}", frame("...".to_owned()));
        }
        before = Some(line.number);
        let text = sources.line(block.file, line.number);
        let shown = Shown::of(text, line.marks.first().map_or(0, |mark| mark.0));
        let number = frame(format!("{:>width$} |", line.number));
        let _ = writeln!(out, "{}", format!("{number} {}", shown.text).trim_end());
        for (start, end, main, label) in &line.marks {
            let from = shown.column(*start);
            let length = shown.column(*end).saturating_sub(from).max(1);
            let carets = if *main { "^" } else { "-" }.repeat(length);
            let style = if *main { look.style } else { Style::Frame };
            let said = format!("{carets} {}", visible(label));
            let said = look.paint.put(style, said.trim_end());
            let _ = writeln!(out, "{bar} {:from$}{said}", "");
        }
    }
    let _ = writeln!(out, "{bar}");
}

/// A source line made printable, with the columns of its bytes.
struct Shown {
    text: String,
    /// Byte offset in the source line and the column it is shown at; ascending, the last is the end.
    columns: Vec<(usize, usize)>,
}

impl Shown {
    /// `focus` is the byte offset that must stay in sight.
    fn of(line: &str, focus: usize) -> Self {
        let (from, cut_left) = window_start(line, focus);
        let mut text = String::from(if cut_left { "…" } else { "" });
        let mut column = usize::from(cut_left);
        let mut columns = Vec::new();
        let mut end = line.len();
        for (offset, c) in line[from..].char_indices() {
            if column >= SNIPPET_COLUMNS_MAX {
                text.push('…');
                end = from + offset;
                break;
            }
            columns.push((from + offset, column));
            let piece = piece(c);
            column += columns_of(&piece, c);
            text.push_str(&piece);
        }
        columns.push((end, column));
        Self { text, columns }
    }

    fn column(&self, offset: usize) -> usize {
        let index = self.columns.partition_point(|(at, _)| *at <= offset);
        self.columns
            .get(index.saturating_sub(1))
            .map_or(0, |(_, column)| *column)
    }
}

/// Where a long line begins to be shown, and whether something is left out before it.
fn window_start(line: &str, focus: usize) -> (usize, bool) {
    let mut focus = focus.min(line.len());
    while !line.is_char_boundary(focus) {
        focus -= 1;
    }
    let wide = line[..focus]
        .chars()
        .take(SNIPPET_COLUMNS_MAX)
        .map(|c| columns_of(&piece(c), c))
        .sum::<usize>();
    if wide + SNIPPET_COLUMNS_BEFORE <= SNIPPET_COLUMNS_MAX {
        return (0, false);
    }
    let back = line[..focus]
        .char_indices()
        .rev()
        .nth(SNIPPET_COLUMNS_BEFORE - 1);
    back.map_or((0, false), |(start, _)| (start, start > 0))
}

fn columns_of(piece: &str, c: char) -> usize {
    if piece.len() == c.len_utf8() && piece.starts_with(c) {
        c.width().unwrap_or(0)
    } else {
        piece.chars().count()
    }
}

/// The text with everything that a terminal could obey made visible.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                "␉".to_owned()
            } else {
                piece(c)
            }
        })
        .collect()
}

fn piece(c: char) -> String {
    match c {
        '\t' => " ".repeat(TAB_COLUMNS),
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c))
            .unwrap_or('\u{fffd}')
            .to_string(),
        '\u{7f}' => "␡".to_owned(),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => c.escape_unicode().to_string(),
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Span, codes};

    fn at(sources: &Sources, needle: &str) -> Span {
        let file = FileId(0);
        let start = sources.text(file).find(needle).unwrap_or(0);
        let number = |n: usize| u32::try_from(n).unwrap_or(0);
        Span {
            file,
            start: number(start),
            end: number(start + needle.len()),
        }
    }

    #[track_caller]
    fn check(text: &str, needle: &str, expect: &str) {
        let mut sources = Sources::default();
        sources.add("a.yaml", text);
        let made = Diagnostic::error(&codes::WRONG_TYPE, at(&sources, needle), "bad").label("here");
        assert_eq!(render(&made, &sources, false), expect);
    }

    #[test]
    fn render_matches_the_form_of_the_design() {
        let mut sources = Sources::default();
        sources.add(
            "pipelines/orders.yaml",
            format!("{}      depends_on: [ordrs_raw]\n", "\n".repeat(13)),
        );
        let message = "node `orders_clean` depends on `ordrs_raw`, which does not exist";
        let made = Diagnostic::error(&codes::UNKNOWN_NODE, at(&sources, "ordrs_raw"), message)
            .label("not a node of pipeline `orders`")
            .hint("did you mean `orders_raw`?");
        let expect = "\
error[config/unknown-node]: node `orders_clean` depends on `ordrs_raw`, which does not exist
  --> pipelines/orders.yaml:14:20
   |
14 |       depends_on: [ordrs_raw]
   |                    ^^^^^^^^^ not a node of pipeline `orders`
   |
hint: did you mean `orders_raw`?
";
        assert_eq!(render(&made, &sources, false), expect);
    }

    #[test]
    fn carets_stand_under_wide_characters_and_tabs() {
        check(
            "日本: x",
            "x",
            "error[config/wrong-type]: bad\n --> a.yaml:1:5\n  |\n1 | 日本: x\n  |       ^ here\n  |\n",
        );
        check(
            "\ta: x",
            "x",
            "error[config/wrong-type]: bad\n --> a.yaml:1:5\n  |\n1 |     a: x\n  |        ^ here\n  |\n",
        );
    }

    #[test]
    fn control_characters_are_made_visible() {
        check(
            "a: \x1b[31m\u{202e}x",
            "x",
            "error[config/wrong-type]: bad\n --> a.yaml:1:10\n  |\n1 | a: ␛[31m\\u{202e}x\n  |                 ^ here\n  |\n",
        );
    }

    #[test]
    fn span_over_several_lines_marks_the_first() {
        check(
            "a: [\n b]",
            "[\n b]",
            "error[config/wrong-type]: bad\n --> a.yaml:1:4\n  |\n1 | a: [\n  |    ^ here\n  |\n",
        );
    }

    #[test]
    fn long_line_is_cut_around_the_place() {
        let mut sources = Sources::default();
        sources.add(
            "a.yaml",
            format!("{}NEEDLE{}", "x".repeat(5000), "y".repeat(5000)),
        );
        let made = Diagnostic::error(&codes::WRONG_TYPE, at(&sources, "NEEDLE"), "bad");
        let text = render(&made, &sources, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[3].chars().count() < 160, "{text}");
        let caret = lines[4].chars().position(|c| c == '^');
        let shown: String = lines[3].chars().skip(caret.unwrap_or(0)).take(6).collect();
        assert_eq!(shown, "NEEDLE");
    }

    #[test]
    fn further_labels_stand_in_line_order() {
        let mut sources = Sources::default();
        sources.add("a.yaml", "a: 1\nb: 2\nc: 3\n\na: 4\n");
        let second = Span {
            file: FileId(0),
            start: 16,
            end: 17,
        };
        let made = Diagnostic::error(&codes::DUPLICATE_KEY, second, "twice").also(
            Span {
                file: FileId(0),
                start: 0,
                end: 1,
            },
            "first here",
        );
        let expect = "\
error[yaml/duplicate-key]: twice
 --> a.yaml:5:1
  |
1 | a: 1
  | - first here
...
5 | a: 4
  | ^
  |
";
        assert_eq!(render(&made, &sources, false), expect);
    }

    #[test]
    fn colour_changes_no_text() {
        let mut sources = Sources::default();
        sources.add("a.yaml", "a: 1\n");
        let made = Diagnostic::warning(&codes::WRONG_TYPE, at(&sources, "1"), "bad").hint("do");
        let plain = render(&made, &sources, false);
        let mut stripped = render(&made, &sources, true);
        for code in [
            "\x1b[1;33m",
            "\x1b[1;34m",
            "\x1b[1;36m",
            "\x1b[1m",
            "\x1b[0m",
        ] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn json_form_holds_every_place() {
        let mut sources = Sources::default();
        sources.add("a.yaml", "a: bc\n");
        let made = Diagnostic::error(&codes::WRONG_TYPE, at(&sources, "bc"), "bad").label("here");
        let expect = serde_json::json!({
            "code": "config/wrong-type", "severity": "error", "message": "bad",
            "places": [{"file": "a.yaml", "line": 1, "column": 4, "end_line": 1, "end_column": 6, "label": "here"}],
            "hints": [],
        });
        assert_eq!(render_json(&made, &sources), expect);
    }
}
