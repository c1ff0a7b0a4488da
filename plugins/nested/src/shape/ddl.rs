//! Types as DDL writes them: `a INT, b ARRAY<STRING>, c STRUCT<x: INT>`, or one type alone.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;

use odibi_sdk::failure::unknown_name;
use odibi_sdk::prelude::*;

use super::{NESTING_MAX, list_of, map_of, struct_of, timestamp};
use crate::number::PRECISION_MAX;

/// Said in the hint of an unknown type; each has synonyms.
const TYPES: [&str; 15] = [
    "STRING",
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NTZ",
    "ARRAY",
    "MAP",
    "STRUCT",
];
/// Precision and scale of a bare `DECIMAL`.
const DECIMAL: (u8, u8) = (10, 0);

/// # Errors
/// `invalid-param`, `unknown-type`, with the bytes of the text.
pub(super) fn read(pointer: &str, text: &str) -> Result<DataType> {
    let mut parser = Parser {
        pointer,
        text,
        at: 0,
    };
    if parser.peek().is_none() {
        return Err(parser.wrong(0..text.len(), "names no field"));
    }
    // A name is followed by its type: something else follows a type that stands alone.
    let mut ahead = Parser { ..parser };
    let alone = ahead.word().is_ok() && !ahead.begins_name() && ahead.peek() != Some(':');
    let data_type = if alone {
        parser.data_type(0)?
    } else {
        parser.fields(0, None)?
    };
    match parser.peek() {
        None => Ok(data_type),
        Some(_) => Err(parser.expected("`,` or the end")),
    }
}

struct Parser<'a> {
    pointer: &'a str,
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    /// The next character that is no blank.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at = self.text.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.take(c) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{c}`")))
        }
    }

    fn begins_name(&mut self) -> bool {
        self.peek().is_some_and(|c| c == '`' || in_word(c))
    }

    /// A keyword, a type or a bare name, and where it stands.
    fn word(&mut self) -> Result<(String, Range<usize>)> {
        self.peek();
        let rest = &self.text[self.at..];
        let word = &rest[..rest.find(|c| !in_word(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            return Err(self.expected("a word"));
        }
        let start = self.at;
        self.at += word.len();
        Ok((word.to_owned(), start..self.at))
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let before = self.at;
        let there = self
            .word()
            .is_ok_and(|(word, _)| word.eq_ignore_ascii_case(keyword));
        if !there {
            self.at = before;
        }
        there
    }

    /// A bare name, or anything between backticks; two of them stand for one.
    fn name(&mut self) -> Result<(String, Range<usize>)> {
        if self.peek() != Some('`') {
            return self
                .word()
                .map_err(|_| self.expected("the name of a field"));
        }
        let start = self.at;
        let name = self.quoted('`')?;
        if name.is_empty() {
            return Err(self.wrong(start..self.at, "names a field without a name"));
        }
        Ok((name, start..self.at))
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let start = self.at;
        let mut out = String::new();
        let mut rest = self.text[start..].char_indices().skip(1).peekable();
        while let Some((at, c)) = rest.next() {
            if c != quote {
                out.push(c);
            } else if rest.next_if(|(_, next)| *next == quote).is_some() {
                out.push(quote);
            } else {
                self.at = start + at + quote.len_utf8();
                return Ok(out);
            }
        }
        Err(self.wrong(
            start..self.text.len(),
            format!("has a `{quote}` without its end"),
        ))
    }

    /// Up to the end, or up to a closing bracket.
    fn fields(&mut self, depth: usize, closing: Option<char>) -> Result<DataType> {
        let mut fields = Vec::new();
        let mut names = BTreeSet::new();
        loop {
            let (name, span) = self.name()?;
            if !names.insert(name.clone()) {
                return Err(self.wrong(span, format!("names the field `{name}` twice")));
            }
            self.take(':');
            let data_type = self.data_type(depth + 1)?;
            self.remarks()?;
            fields.push((name, data_type));
            if self.take(',') {
                continue;
            }
            if let Some(closing) = closing
                && !self.take(closing)
            {
                return Err(self.expected(&format!("`,` or `{closing}`")));
            }
            return Ok(struct_of(fields));
        }
    }

    /// `NOT NULL` and `COMMENT '…'` change nothing: JSON may leave a field out all the same.
    fn remarks(&mut self) -> Result<()> {
        loop {
            if self.take_word("NOT") {
                if !self.take_word("NULL") {
                    return Err(self.expected("`NULL`"));
                }
            } else if self.take_word("COMMENT") {
                match self.peek() {
                    Some(quote @ ('\'' | '"')) => self.quoted(quote)?,
                    _ => return Err(self.expected("a text in quotes")),
                };
            } else {
                return Ok(());
            }
        }
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        let (word, span) = self.word().map_err(|_| self.expected("a type"))?;
        if depth > NESTING_MAX {
            return Err(self.wrong(span, format!("is nested deeper than {NESTING_MAX} levels")));
        }
        Ok(match word.to_ascii_uppercase().as_str() {
            "STRING" | "TEXT" => DataType::Utf8,
            "VARCHAR" | "CHAR" | "CHARACTER" => {
                self.numbers()?;
                DataType::Utf8
            }
            "BOOLEAN" | "BOOL" => DataType::Boolean,
            "TINYINT" | "BYTE" => DataType::Int8,
            "SMALLINT" | "SHORT" => DataType::Int16,
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" | "LONG" => DataType::Int64,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => timestamp(true),
            "TIMESTAMP_NTZ" => timestamp(false),
            "ARRAY" => {
                self.expect('<')?;
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                list_of(item)
            }
            "MAP" => {
                self.expect('<')?;
                let (_, key) = self.word().map_err(|_| self.expected("a type"))?;
                if !self.text[key.clone()].eq_ignore_ascii_case("STRING") {
                    return Err(self.wrong(key, "has a map whose keys are not STRING"));
                }
                self.expect(',')?;
                let value = self.data_type(depth + 2)?;
                self.expect('>')?;
                map_of(value)
            }
            "STRUCT" => {
                self.expect('<')?;
                self.fields(depth, Some('>'))?
            }
            _ => return Err(unknown_name("type", self.pointer, &word, TYPES).at_text(span)),
        })
    }

    fn decimal(&mut self) -> Result<DataType> {
        self.peek();
        let start = self.at;
        let (precision, scale) = match self.numbers()?.as_slice() {
            [] => (Some(DECIMAL.0), Some(DECIMAL.1)),
            [precision] => (u8::try_from(*precision).ok(), Some(0)),
            [precision, scale] => (u8::try_from(*precision).ok(), u8::try_from(*scale).ok()),
            _ => (None, None),
        };
        let fits = precision.zip(scale).filter(|(precision, scale)| {
            (1..=PRECISION_MAX).contains(precision) && scale <= precision
        });
        let scale =
            fits.and_then(|(precision, scale)| Some((precision, i8::try_from(scale).ok()?)));
        scale.map(|(precision, scale)| DataType::Decimal128(precision, scale)).ok_or_else(|| {
            let message = format!(
                "has a decimal that is not `DECIMAL(precision, scale)` of 1 to {PRECISION_MAX} digits"
            );
            self.wrong(start..self.at, message)
        })
    }

    /// `(1, 2)`, or nothing.
    fn numbers(&mut self) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        if !self.take('(') {
            return Ok(numbers);
        }
        loop {
            let (word, span) = self.word().map_err(|_| self.expected("a number"))?;
            let number = word.parse();
            numbers
                .push(number.map_err(|_| self.wrong(span, format!("has `{word}` for a number")))?);
            if !self.take(',') {
                self.expect(')')?;
                return Ok(numbers);
            }
        }
    }

    fn expected(&mut self, wanted: &str) -> Failure {
        let found = match self.peek() {
            Some(c) => format!("`{c}`"),
            None => "its end".to_owned(),
        };
        let end = self.at + self.peek().map_or(0, char::len_utf8);
        self.wrong(
            self.at..end,
            format!("should have {wanted} in place of {found}"),
        )
    }

    fn wrong(&self, span: Range<usize>, what: impl std::fmt::Display) -> Failure {
        let at = match self.text.get(..span.start).map(|head| head.chars().count()) {
            Some(chars) if chars > 0 => format!(", at character {}", chars + 1),
            _ => String::new(),
        };
        Failure::param(self.pointer, format!("the DDL {what}{at}"))
            .at_text(span)
            .hint("write it like `id INT, tags ARRAY<STRING>, at STRUCT<x: DOUBLE, y: DOUBLE>`")
    }
}

/// Digits too: names such as `2xx` are common in JSON.
fn in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '@')
}
