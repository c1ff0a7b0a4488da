//! A fault of the project: code, message, places in the YAML, hints.

pub mod codes;
mod nearest;
mod refused;
mod render;
mod within;

pub use codes::all_codes;
pub use nearest::nearest;
pub use refused::{Refusal, refused, unknown_sensitive, untold_key};
pub use render::{excerpt, render, render_json};
pub use within::within;

use crate::limits::{DIAGNOSTICS_MAX, QUOTED_CHARS_MAX};

/// A configuration file among [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A stretch of a configuration file: byte offsets, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Byte offset of the first byte.
    pub start: u32,
    /// Byte offset after the last.
    pub end: u32,
}

/// The texts that spans point into.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

#[derive(Debug, Clone)]
struct SourceFile {
    name: String,
    text: String,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    /// No YAML: the whole text is one value.
    verbatim: bool,
}

impl Sources {
    /// Adds a YAML text under the name that diagnostics show.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        self.push(name.into(), text.into(), false)
    }

    /// Adds a text that is no YAML: a file of SQL.
    pub fn add_verbatim(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        self.push(name.into(), text.into(), true)
    }

    /// True for a text that is no YAML.
    #[must_use]
    pub fn is_verbatim(&self, file: FileId) -> bool {
        self.files.get(file.0 as usize).is_some_and(|f| f.verbatim)
    }

    fn push(&mut self, name: String, text: String, verbatim: bool) -> FileId {
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(i, _)| i + 1))
            .collect();
        self.files.push(SourceFile {
            name,
            text,
            lines,
            verbatim,
        });
        FileId(u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX))
    }

    /// The name a file was added under.
    #[must_use]
    pub fn name(&self, file: FileId) -> &str {
        self.files
            .get(file.0 as usize)
            .map_or("<unknown>", |f| &f.name)
    }

    /// The texts, in the order in which they were added.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.text.as_str())
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, file: FileId) -> &str {
        self.files.get(file.0 as usize).map_or("", |f| &f.text)
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    #[must_use]
    pub fn line_column(&self, file: FileId, offset: u32) -> (usize, usize) {
        let text = self.text(file);
        let mut at = (offset as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let Some(found) = self.files.get(file.0 as usize) else {
            return (1, 1);
        };
        let line = found.lines.partition_point(|start| *start <= at);
        let start = found.lines.get(line - 1).copied().unwrap_or(0);
        (line, text[start..at].chars().count() + 1)
    }

    /// The text of a line, counted from 1, without its line break; empty when there is none.
    #[must_use]
    pub fn line(&self, file: FileId, line: usize) -> &str {
        self.line_range(file, line)
            .map_or("", |(start, end)| &self.text(file)[start..end])
    }

    /// Byte offsets of a line, counted from 1, without its line break.
    fn line_range(&self, file: FileId, line: usize) -> Option<(usize, usize)> {
        let found = self.files.get(file.0 as usize)?;
        let start = *found.lines.get(line.checked_sub(1)?)?;
        let end = found
            .lines
            .get(line)
            .map_or(found.text.len(), |next| next - 1);
        let text = &found.text[start..end];
        Some((start, start + text.strip_suffix('\r').unwrap_or(text).len()))
    }
}

/// Where the main label of a diagnostic begins and ends; lines and columns from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Name of the file.
    pub file: String,
    /// Line of the first character.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// Line after the last character.
    pub end_line: usize,
    /// Column after the last character.
    pub end_column: usize,
}

impl Sources {
    /// Where a span lies, for people and for machine-readable output.
    #[must_use]
    pub fn position(&self, span: Span) -> Position {
        let (line, column) = self.line_column(span.file, span.start);
        let (end_line, end_column) = self.line_column(span.file, span.end);
        Position {
            file: self.name(span.file).to_owned(),
            line,
            column,
            end_line,
            end_column,
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The run goes ahead.
    Warning,
    /// No node runs.
    Error,
}

/// A stable word for a kind of fault, and the paragraph `odibi explain` prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `config/unknown-node`
    pub name: &'static str,
    /// Some sentences: what it means, why it matters, what to do.
    pub explanation: &'static str,
}

/// A place and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// Shown beside the carets; may be empty.
    pub text: String,
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: &'static Code,
    /// How bad.
    pub severity: Severity,
    /// A lowercase fragment without a full stop, names in backticks.
    pub message: String,
    /// The first is the main one.
    pub labels: Vec<Label>,
    /// Imperative sentences.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error with one place.
    #[must_use]
    pub fn error(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: vec![Label {
                span,
                text: String::new(),
            }],
            hints: Vec::new(),
        }
    }

    /// A warning with one place.
    #[must_use]
    pub fn warning(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message)
        }
    }

    /// Puts a text beside the carets of the main place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.text = text.into();
        }
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Adds "did you mean" when one of the candidates is close.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(name, candidates) {
            Some(found) => self.hint(format!("did you mean {}?", quoted(found))),
            None => self,
        }
    }

    /// The main place.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }

    /// A fault with no place in a file: something given on the command line.
    #[must_use]
    pub fn placeless(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            hints: Vec::new(),
        }
    }
}

/// A plugin that cannot be used, at the place where the project names it. `code` is one of the `plugin/…` codes;
/// another becomes `plugin/bad-manifest`.
#[must_use]
pub fn plugin(name: &str, span: Span, code: &str, message: &str, hints: &[String]) -> Diagnostic {
    let known = all_codes()
        .iter()
        .find(|c| c.name == code && c.name.starts_with("plugin/"));
    let code = known.copied().unwrap_or(&codes::PLUGIN_BAD_MANIFEST);
    let mut made = Diagnostic::error(code, span, message).label(format!("plugin {}", quoted(name)));
    made.hints.extend_from_slice(hints);
    made
}

/// True when no node may run.
#[must_use]
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// Puts diagnostics in file order and drops repetitions (an aliased value is checked at each use).
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    let last = |d: &Diagnostic| d.code == &codes::TOO_MANY;
    let key = |d: &Diagnostic| {
        (
            last(d),
            d.span(),
            std::cmp::Reverse(d.severity),
            d.code.name,
            d.message.clone(),
        )
    };
    diagnostics.sort_by_cached_key(key);
    diagnostics.dedup();
}

/// The text in backticks, cut when long, with control characters made visible.
#[must_use]
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", render::visible(&text[..end])),
        None => format!("`{}`", render::visible(text)),
    }
}

/// Collects diagnostics up to [`DIAGNOSTICS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Collector {
    list: Vec<Diagnostic>,
    /// More were found.
    full: bool,
}

impl Collector {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.push_with(|| diagnostic);
    }

    /// For diagnostics that cost something to make.
    pub(crate) fn push_with(&mut self, make: impl FnOnce() -> Diagnostic) {
        if self.list.len() < DIAGNOSTICS_MAX {
            self.list.push(make());
        } else {
            self.full = true;
        }
    }

    pub(crate) fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            if diagnostic.code == &codes::TOO_MANY {
                self.full = true;
            } else {
                self.push(diagnostic);
            }
        }
    }

    /// In file order; the last says that some were left out, if any were.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        sort(&mut self.list);
        if self.full {
            let last =
                Diagnostic::placeless(&codes::TOO_MANY, "more faults were found than are shown");
            self.list
                .push(last.hint("mend the ones above and check again"));
        }
        self.list
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[track_caller]
    fn check_place(text: &str, offset: u32, expect: (usize, usize)) {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml", text);
        assert_eq!(sources.line_column(file, offset), expect);
    }

    #[test]
    fn line_column_counts_characters_from_one() {
        check_place("", 0, (1, 1));
        check_place("ab\ncd", 0, (1, 1));
        check_place("ab\ncd", 2, (1, 3));
        check_place("ab\ncd", 3, (2, 1));
        check_place("é: x\né: y", 5, (1, 5));
        check_place("é: x\né: y", 8, (2, 2));
        check_place("é", 1, (1, 1));
        check_place("a\n", 99, (2, 1));
    }

    #[test]
    fn line_leaves_out_its_break() {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml", "one\r\ntwo\n");
        let lines: Vec<&str> = (0..5).map(|n| sources.line(file, n)).collect();
        assert_eq!(lines, ["", "one", "two", "", ""]);
    }

    #[test]
    fn collector_says_that_it_left_some_out() {
        let mut collector = Collector::default();
        for n in 0..DIAGNOSTICS_MAX + 3 {
            collector.push(Diagnostic::placeless(&codes::WRONG_TYPE, n.to_string()));
        }
        let all = collector.finish();
        assert_eq!(all.len(), DIAGNOSTICS_MAX + 1);
        assert_eq!(all.last().unwrap().code, &codes::TOO_MANY);
        let mut second = Collector::default();
        second.extend(all.clone());
        assert_eq!(second.finish(), all);
    }

    #[test]
    fn sort_puts_file_order_and_drops_repetitions() {
        let at = |start| Span {
            file: FileId(0),
            start,
            end: start,
        };
        let one = |start| Diagnostic::error(&codes::WRONG_TYPE, at(start), "x");
        let mut list = vec![
            one(5),
            one(1),
            one(5),
            Diagnostic::placeless(&codes::WRONG_TYPE, "y"),
        ];
        sort(&mut list);
        let starts: Vec<Option<u32>> = list.iter().map(|d| d.span().map(|s| s.start)).collect();
        assert_eq!(starts, [None, Some(1), Some(5)]);
    }
}
