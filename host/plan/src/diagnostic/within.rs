//! From a range of a value's text to its place in the file: through quotes, escapes, block indentation and folding.

use std::ops::Range;

use super::{Sources, Span};

/// Where the bytes `range` of a value stand. `place` is the place of the value, `text` the value itself. When the two do
/// not belong together, because the text came from an alias or a variable, it is the place of the whole value.
#[must_use]
pub fn within(sources: &Sources, place: Span, text: &str, range: Range<usize>) -> Span {
    let file = sources.text(place.file);
    let (from, to) = (place.start as usize, place.end as usize);
    let Some(written) = file.get(from..to) else {
        return place;
    };
    // A block is decoded from its header on, which its place does not cover.
    let (base, units) = if sources.is_verbatim(place.file) {
        (from, verbatim(written))
    } else if let Some(header) = header(&file[..from]) {
        (header, block(&file[header..to], &file[..header]))
    } else {
        (from, decode(written))
    };
    let end = range.end.min(text.len());
    let range = range.start.min(end)..end;
    let Some((start, end)) = units.find(text, &range) else {
        return place;
    };
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span {
        file: place.file,
        start: number(base + start),
        end: number(base + end),
    }
}

/// What a value's text is made of: for each byte, the range of the file that it came from.
#[derive(Default)]
struct Units {
    text: Vec<u8>,
    places: Vec<(usize, usize)>,
}

impl Units {
    fn push(&mut self, c: char, start: usize, end: usize) {
        let mut buffer = [0; 4];
        for byte in c.encode_utf8(&mut buffer).bytes() {
            self.text.push(byte);
            self.places.push((start, end));
        }
    }

    /// Takes a stretch as it stands.
    fn copy(&mut self, from: &str, range: Range<usize>) {
        for (at, c) in from[range.clone()].char_indices() {
            let start = range.start + at;
            self.push(c, start, start + c.len_utf8());
        }
    }

    /// `range` of a text that agrees with what was decoded up to there, or from there on.
    fn find(&self, text: &str, range: &Range<usize>) -> Option<(usize, usize)> {
        let text = text.as_bytes();
        let same = |(a, b): (&u8, &u8)| a == b;
        let front = text.iter().zip(&self.text).take_while(|&p| same(p)).count();
        if range.end <= front {
            return self.cut(range.start, range.end);
        }
        let pairs = text.iter().rev().zip(self.text.iter().rev());
        let back = pairs.take_while(|&p| same(p)).count();
        if text.len() - range.start <= back {
            let start = self.text.len() - (text.len() - range.start);
            return self.cut(start, start + range.len());
        }
        // Line breaks at the end of a block stand nowhere in its place.
        let rest = text.get(front..)?;
        if front == self.text.len() && rest.iter().all(|b| *b == b'\n') {
            return self.cut(range.start.min(front), front);
        }
        None
    }

    fn cut(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let behind = || self.places.last().map(|place| place.1);
        let from = match self.places.get(start) {
            Some(place) => place.0,
            None => behind()?,
        };
        let to = match end.checked_sub(1).filter(|_| end > start) {
            Some(last) => self.places.get(last)?.1,
            None => from,
        };
        Some((from, to.max(from)))
    }
}

fn verbatim(written: &str) -> Units {
    let mut units = Units::default();
    units.copy(written, 0..written.len());
    units
}

fn decode(written: &str) -> Units {
    let style = match written.chars().next() {
        Some('\'') => Style::Single,
        Some('"') => Style::Double,
        Some(_) | None => Style::Plain,
    };
    flow(written, style)
}

/// Where the `|` or `>` stands that makes a block of the text which follows.
fn header(before: &str) -> Option<usize> {
    let text = before.trim_end_matches([' ', '\t', '\n', '\r']);
    if !before[text.len()..].contains('\n') {
        return None;
    }
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    let line = &text[start..];
    let line = line.find(" #").map_or(line, |at| &line[..at]).trim_end();
    let head = line.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
    let head = head.strip_suffix(['|', '>'])?;
    (head.is_empty() || head.ends_with([' ', '\t'])).then_some(start + head.len())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// A plain or quoted scalar: line breaks between words are folded, a doubled quote or an escape is one character.
fn flow(written: &str, style: Style) -> Units {
    let mut units = Units::default();
    let (mut at, end) = match style {
        Style::Plain => (0, written.len()),
        Style::Single | Style::Double => (1, written.len().saturating_sub(1).max(1)),
    };
    while let Some(c) = written.get(at..end).and_then(|rest| rest.chars().next()) {
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            at = fold(written, at, end, &mut units);
            continue;
        }
        let mut next = at + c.len_utf8();
        let rest = &written[next..end];
        match (style, c) {
            (Style::Single, '\'') if rest.starts_with('\'') => {
                next += 1;
                units.push('\'', at, next);
            }
            (Style::Double, '\\') => {
                if let Some((unescaped, length)) = escape(rest) {
                    next += length;
                    if let Some(c) = unescaped {
                        units.push(c, at, next);
                    }
                } else {
                    // No escape of YAML: what follows cannot be placed.
                    return units;
                }
            }
            _ => units.push(c, at, next),
        }
        at = next;
    }
    units
}

/// White space: as it stands within a line; a break is a space, and empty lines are breaks. Gives the offset behind it.
fn fold(written: &str, at: usize, end: usize, units: &mut Units) -> usize {
    let rest = &written[at..end];
    let length = rest
        .find(|c| !matches!(c, ' ' | '\t' | '\n' | '\r'))
        .unwrap_or(rest.len());
    let space = &rest[..length];
    let breaks: Vec<usize> = space.match_indices('\n').map(|(i, _)| at + i).collect();
    match breaks.as_slice() {
        [] => units.copy(written, at..at + length),
        [one] => units.push(' ', *one, one + 1),
        [_, more @ ..] => more.iter().for_each(|i| units.push('\n', *i, i + 1)),
    }
    at + length
}

/// What an escape means and its length without the backslash. An escaped line break means nothing.
fn escape(rest: &str) -> Option<(Option<char>, usize)> {
    let c = rest.chars().next()?;
    let hex = |digits: usize| {
        let code = u32::from_str_radix(rest.get(1..=digits)?, 16).ok()?;
        Some((Some(char::from_u32(code)?), 1 + digits))
    };
    let plain = |c| Some((Some(c), 1));
    match c {
        '0' => plain('\0'),
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        't' | '\t' => plain('\t'),
        'n' => plain('\n'),
        'v' => plain('\u{b}'),
        'f' => plain('\u{c}'),
        'r' => plain('\r'),
        'e' => plain('\u{1b}'),
        ' ' | '"' | '/' | '\\' => plain(c),
        'N' => plain('\u{85}'),
        '_' => plain('\u{a0}'),
        'L' => plain('\u{2028}'),
        'P' => plain('\u{2029}'),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '\n' | '\r' => {
            let blank = rest.find(|c| !matches!(c, ' ' | '\t' | '\n' | '\r'));
            Some((None, blank.unwrap_or(rest.len())))
        }
        _ => None,
    }
}

/// A literal (`|`) or folded (`>`) block, from its header on. `before` is the file up to there.
fn block(written: &str, before: &str) -> Units {
    let mut units = Units::default();
    let folded = written.starts_with('>');
    let Some(header) = written.find('\n') else {
        return units;
    };
    let lines = lines(written, header + 1);
    let indent = indent(written, &written[..header], &lines, before);
    // The break that ends the last line with text, when it was not folded away.
    let mut pending: Vec<(usize, usize)> = Vec::new();
    let mut previous: Option<bool> = None;
    for (start, end) in lines {
        let line = &written[start..end];
        let blank = line.bytes().take_while(|b| *b == b' ').count();
        let break_at = (end, (end + 1).min(written.len()));
        if blank >= line.len() && blank <= indent {
            pending.push(break_at);
            continue;
        }
        let from = start + indent.min(blank);
        let more = written[from..end].starts_with([' ', '\t']);
        flush(&mut units, &pending, folded, previous, more);
        pending.clear();
        let text = written[from..end].trim_end_matches('\r');
        units.copy(written, from..from + text.len());
        pending.push(break_at);
        previous = Some(more);
    }
    flush(&mut units, &pending, false, previous, false);
    units
}

/// Breaks between two lines. Folded, a single one is a space and of several the first is dropped; not beside a line
/// that is indented further.
fn flush(
    units: &mut Units,
    pending: &[(usize, usize)],
    folded: bool,
    previous: Option<bool>,
    more: bool,
) {
    let kept = match (folded, previous, pending) {
        (true, Some(false), [one]) if !more => {
            units.push(' ', one.0, one.1);
            return;
        }
        (true, Some(false), [_, rest @ ..]) if !more => rest,
        _ => pending,
    };
    for (start, end) in kept {
        units.push('\n', *start, *end);
    }
}

fn lines(written: &str, from: usize) -> Vec<(usize, usize)> {
    let mut lines = Vec::new();
    let mut start = from;
    while start < written.len() {
        let end = written[start..]
            .find('\n')
            .map_or(written.len(), |at| start + at);
        lines.push((start, end));
        start = end + 1;
    }
    lines
}

/// Spaces before each line: that of the first line with text, or what the header says beyond the parent's.
fn indent(written: &str, header: &str, lines: &[(usize, usize)], before: &str) -> usize {
    let blank = |line: &str| line.bytes().take_while(|b| *b == b' ').count();
    let said = header.bytes().find(u8::is_ascii_digit);
    let with_text = lines.iter().map(|(start, end)| &written[*start..*end]);
    let first = with_text
        .filter(|line| blank(line) < line.trim_end_matches('\r').len())
        .map(blank)
        .next()
        .unwrap_or(0);
    match said {
        // The parent's indentation is that of its line, hyphens of lists counted as spaces.
        Some(digit) => {
            let line = before.rfind('\n').map_or(before, |at| &before[at + 1..]);
            let parent = line
                .bytes()
                .take_while(|b| matches!(b, b' ' | b'-'))
                .count();
            (parent + usize::from(digit - b'0')).min(first)
        }
        None => first,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::yaml::{self, Value};

    /// Every word of the value of `q` is found where it stands in the file.
    #[track_caller]
    fn check(yaml: &str, words: &[(&str, &str)]) {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", yaml);
        let (tree, faults) = yaml::parse(&sources, file);
        assert_eq!(faults, Vec::new());
        let Value::Mapping(root) = &tree.root.value else {
            panic!("{yaml}")
        };
        let node = &root.get("q").unwrap().value;
        let Value::Scalar(scalar) = &node.value else {
            panic!("{yaml}")
        };
        for (word, place) in words {
            let at = scalar
                .text
                .find(word)
                .unwrap_or_else(|| panic!("{word} in {:?}", scalar.text));
            let span = within(&sources, node.span, &scalar.text, at..at + word.len());
            let found = sources.position(span);
            let shown = format!(
                "{}:{}-{}:{}",
                found.line, found.column, found.end_line, found.end_column
            );
            assert_eq!(&shown, place, "{word} of {yaml}");
        }
    }

    #[test]
    fn plain_and_quoted_texts() {
        check(
            "q: SELECT a, b",
            &[("SELECT", "1:4-1:10"), ("b", "1:14-1:15")],
        );
        check("é: x\nq: 'é b'", &[("b", "2:7-2:8")]);
        check(
            "q: SELECT a,\n  b\n\n  c",
            &[("b", "2:3-2:4"), ("c", "4:3-4:4"), ("a, b", "1:11-2:4")],
        );
        check(
            "q: 'a ''x'' b'",
            &[("b", "1:13-1:14"), ("'x'", "1:7-1:12"), ("x", "1:9-1:10")],
        );
        check(
            r#"q: "a \"x\" \u00e9 b""#,
            &[("b", "1:20-1:21"), ("é", "1:13-1:19")],
        );
        check(
            "q: \"a \\\n    b\n    c\"",
            &[("b", "2:5-2:6"), ("c", "3:5-3:6")],
        );
        check("q: \"a\n\n    b\"", &[("b", "3:5-3:6")]);
    }

    #[test]
    fn blocks() {
        check(
            "q: |\n  SELECT a\n    , b\n\n  FROM df\n",
            &[("SELECT", "2:3-2:9"), ("b", "3:7-3:8"), ("df", "5:8-5:10")],
        );
        check("q: |-\n  a\n  b", &[("b", "3:3-3:4")]);
        check(
            "q: |2\n    a\n   b\n",
            &[("  a", "2:3-2:6"), ("b", "3:4-3:5")],
        );
        check("q: |\n\n  a\n", &[("a", "3:3-3:4")]);
        check("q: |\r\n  a\r\n  b\r\n", &[("b", "3:3-3:4")]);
        check(
            "q: >\n  a\n  b\n\n  c\n\n\n  d\n",
            &[("b", "3:3-3:4"), ("c", "5:3-5:4"), ("d", "8:3-8:4")],
        );
        check(
            "q: >-\n  a\n   x\n  b\n  c\n",
            &[("x", "3:4-3:5"), ("b", "4:3-4:4"), ("c", "5:3-5:4")],
        );
        check("q: | # why\n  é b\n", &[("b", "2:5-2:6")]);
        check("q: |\n  a\n  b\nr: 1", &[("b\n", "3:3-3:4")]);
    }

    #[test]
    fn ends_of_a_text_have_a_place() {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", "q: |\n  a b\n");
        let span = |start, end| Span { file, start, end };
        let at = |range| within(&sources, span(7, 10), "a b\n", range);
        assert_eq!(at(2..3), span(9, 10));
        assert_eq!(at(3..3), span(10, 10));
        assert_eq!(at(4..4), span(10, 10));
        assert_eq!(at(90..99), span(10, 10));
    }

    #[test]
    fn what_a_variable_or_alias_put_in_is_the_whole_value() {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", "q: a ${X} b");
        let place = Span {
            file,
            start: 3,
            end: 11,
        };
        let at = |text: &str, range| {
            let span = within(&sources, place, text, range);
            (span.start, span.end)
        };
        assert_eq!(at("a value b", 0..1), (3, 4));
        assert_eq!(at("a value b", 8..9), (10, 11));
        assert_eq!(at("a value b", 2..7), (3, 11));
        assert_eq!(at("elsewhere", 2..4), (3, 11));
        assert_eq!(at("", 0..0), (3, 3));
        let far = Span {
            file,
            start: 3,
            end: 99,
        };
        assert_eq!(within(&sources, far, "a", 0..1), far);
    }

    #[test]
    fn a_file_of_its_own_is_taken_as_it_stands() {
        let mut sources = Sources::default();
        let file = sources.add_verbatim("q.sql", "SELECT 'it''s',\r\n  nme");
        let place = Span {
            file,
            start: 0,
            end: 22,
        };
        let text = sources.text(file).to_owned();
        let at = text.find("nme").unwrap();
        let span = within(&sources, place, &text, at..at + 3);
        assert_eq!(sources.line_column(file, span.start), (2, 3));
        assert_eq!(sources.line_column(file, span.end), (2, 6));
    }
}
