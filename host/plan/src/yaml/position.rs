//! From the parser's places, counted in characters, to byte offsets.

use saphyr_parser::Marker;

use crate::diagnostic::{FileId, Span};

/// Characters between two remembered offsets.
const STRIDE: usize = 64;

/// Finds byte offsets in one text.
pub(super) struct Positions<'a> {
    text: &'a str,
    file: FileId,
    /// Byte offset of every [`STRIDE`]th character; empty for an ASCII text, where both counts agree.
    offsets: Vec<usize>,
}

impl<'a> Positions<'a> {
    pub(super) fn new(text: &'a str, file: FileId) -> Self {
        let offsets = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices()
                .step_by(STRIDE)
                .map(|(offset, _)| offset)
                .collect()
        };
        Self {
            text,
            file,
            offsets,
        }
    }

    pub(super) fn byte(&self, marker: Marker) -> usize {
        let index = marker.index();
        if self.offsets.is_empty() {
            return index.min(self.text.len());
        }
        let Some(base) = self.offsets.get(index / STRIDE).copied() else {
            return self.text.len();
        };
        let rest = &self.text[base..];
        base + rest
            .char_indices()
            .nth(index % STRIDE)
            .map_or(rest.len(), |(offset, _)| offset)
    }

    /// The span between two markers, without white space at its end.
    pub(super) fn span(&self, from: Marker, to: Marker) -> Span {
        self.bytes(self.byte(from), self.byte(to))
    }

    pub(super) fn bytes(&self, start: usize, end: usize) -> Span {
        let end = end.max(start).min(self.text.len());
        let end = start
            + self
                .text
                .get(start..end)
                .map_or(0, |text| text.trim_end().len());
        // A file has at most 1 MiB.
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            file: self.file,
            start: number(start),
            end: number(end),
        }
    }

    /// Past an anchor (`&name`) and a tag (`!name`) that stand before a value.
    pub(super) fn after_properties(&self, start: usize) -> usize {
        let mut at = start;
        while matches!(self.at(at), Some(b'&' | b'!')) {
            at = self.words(at).1;
        }
        at
    }

    /// The tag that begins here or after an anchor.
    pub(super) fn tag(&self, start: usize) -> Span {
        let start = if self.at(start) == Some(b'&') {
            self.words(start).1
        } else {
            start
        };
        self.bytes(start, self.words(start).0)
    }

    /// The end of a word and the start of the next one.
    fn words(&self, start: usize) -> (usize, usize) {
        let rest = self.text.get(start..).unwrap_or_default();
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let gap = rest[word..]
            .find(|c: char| !c.is_whitespace())
            .unwrap_or(rest.len() - word);
        (start + word, start + word + gap)
    }

    /// The last character before an offset that is no white space.
    pub(super) fn before(&self, offset: usize) -> Span {
        let text = self.text.get(..offset).unwrap_or(self.text).trim_end();
        let last = text.chars().next_back().map_or(0, char::len_utf8);
        self.bytes(text.len() - last, text.len())
    }

    /// The line that holds an offset.
    pub(super) fn line(&self, offset: usize) -> &'a str {
        let (before, after) = self
            .text
            .split_at_checked(offset)
            .unwrap_or((self.text, ""));
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = after.find('\n').map_or(self.text.len(), |at| offset + at);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The byte at an offset.
    pub(super) fn at(&self, offset: usize) -> Option<u8> {
        self.text.as_bytes().get(offset).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_agrees_with_char_indices() {
        let text: String = "aé日𝄞\n".repeat(50);
        let positions = Positions::new(&text, FileId(0));
        for (index, (offset, _)) in text.char_indices().enumerate() {
            assert_eq!(positions.byte(Marker::new(index, 1, 0)), offset);
        }
        assert_eq!(positions.byte(Marker::new(10_000, 1, 0)), text.len());
        assert_eq!(
            Positions::new("abc", FileId(0)).byte(Marker::new(9, 1, 0)),
            3
        );
    }
}
