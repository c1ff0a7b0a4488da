//! Types as DDL writes them: `a INT, b ARRAY<STRING>, c STRUCT<x: INT>`, or one type alone.

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::super::name_of;
    use super::*;

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are no nested types"
    )]
    fn shown(data_type: &DataType) -> String {
        match data_type {
            DataType::List(item) => format!("ARRAY<{}>", shown(item.data_type())),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(kv) => format!("MAP<STRING, {}>", shown(kv[1].data_type())),
                other => panic!("no map has entries of {other}"),
            },
            DataType::Struct(fields) => {
                let field = |f: &Arc<Field>| {
                    format!(
                        "`{}`: {}",
                        f.name().replace('`', "``"),
                        shown(f.data_type())
                    )
                };
                format!(
                    "STRUCT<{}>",
                    fields.iter().map(field).collect::<Vec<_>>().join(", ")
                )
            }
            other => name_of(other),
        }
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(shown(&read("/s", text).unwrap()), expect, "{text}");
    }

    #[test]
    fn fields_and_types_are_read() {
        check("a INT, b STRING", "STRUCT<`a`: INT, `b`: STRING>");
        check(" a : int ,b:String ", "STRUCT<`a`: INT, `b`: STRING>");
        check(
            "c ARRAY<INT>, d STRUCT<x: INT>",
            "STRUCT<`c`: ARRAY<INT>, `d`: STRUCT<`x`: INT>>",
        );
        check(
            "a STRUCT<x DOUBLE, y: ARRAY<ARRAY<DATE>>>",
            "STRUCT<`a`: STRUCT<`x`: DOUBLE, `y`: ARRAY<ARRAY<DATE>>>>",
        );
        check(
            "größe BIGINT NOT NULL COMMENT 'it''s, <big>'",
            "STRUCT<`größe`: BIGINT>",
        );
        check(
            "`a b` INT, `c``d` INT, `,>` INT",
            "STRUCT<`a b`: INT, `c``d`: INT, `,>`: INT>",
        );
        check(
            "struct STRING, map MAP<string, boolean>",
            "STRUCT<`struct`: STRING, `map`: MAP<STRING, BOOLEAN>>",
        );
        check(
            "struct struct<array: array<int>>",
            "STRUCT<`struct`: STRUCT<`array`: ARRAY<INT>>>",
        );
        check("array: INT", "STRUCT<`array`: INT>");
        check(
            "a TINYINT, b short, c LONG, d REAL, e dec, f NUMERIC(5), g Decimal( 12 , 3 ), h varchar(20), i TIMESTAMP, j TIMESTAMP_NTZ",
            "STRUCT<`a`: TINYINT, `b`: SMALLINT, `c`: BIGINT, `d`: FLOAT, `e`: DECIMAL(10,0), `f`: DECIMAL(5,0), `g`: DECIMAL(12,3), `h`: STRING, `i`: TIMESTAMP, `j`: TIMESTAMP_NTZ>",
        );
    }

    #[test]
    fn a_type_may_stand_alone() {
        check("ARRAY < STRUCT<a INT> >", "ARRAY<STRUCT<`a`: INT>>");
        check("map<STRING,DOUBLE>", "MAP<STRING, DOUBLE>");
        check("INT", "INT");
        check("DECIMAL(3,1)", "DECIMAL(3,1)");
    }

    #[track_caller]
    fn check_wrong(text: &str, blamed: &str, message: &str) {
        let failure = read("/s", text).unwrap_err();
        assert_eq!(
            (failure.param.as_deref(), failure.message.as_str()),
            (Some("/s"), message)
        );
        assert_eq!(&text[failure.span.unwrap()], blamed, "{text}");
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        check_wrong("", "", "the DDL names no field");
        check_wrong("  ", "  ", "the DDL names no field");
        check_wrong("a INTT", "INTT", "unknown type `INTT`, did you mean `INT`?");
        check_wrong("ä BINARY", "BINARY", "unknown type `BINARY`");
        check_wrong("foo", "foo", "unknown type `foo`");
        check_wrong(
            "a INT b INT",
            "b",
            "the DDL should have `,` or the end in place of `b`, at character 7",
        );
        check_wrong(
            "a INT,",
            "",
            "the DDL should have the name of a field in place of its end, at character 7",
        );
        check_wrong(
            "a ARRAY",
            "",
            "the DDL should have `<` in place of its end, at character 8",
        );
        check_wrong(
            "ä ARRAY<INT",
            "",
            "the DDL should have `>` in place of its end, at character 12",
        );
        check_wrong(
            "a STRUCT<>",
            ">",
            "the DDL should have the name of a field in place of `>`, at character 10",
        );
        check_wrong(
            "a STRUCT<x INT",
            "",
            "the DDL should have `,` or `>` in place of its end, at character 15",
        );
        check_wrong(
            "a INT, a STRING",
            "a",
            "the DDL names the field `a` twice, at character 8",
        );
        check_wrong(
            "a MAP<INT, INT>",
            "INT",
            "the DDL has a map whose keys are not STRING, at character 7",
        );
        check_wrong("`a INT", "`a INT", "the DDL has a ``` without its end");
        check_wrong("`` INT", "``", "the DDL names a field without a name");
        check_wrong(
            "a INT NOT",
            "",
            "the DDL should have `NULL` in place of its end, at character 10",
        );
        check_wrong(
            "a INT COMMENT x",
            "x",
            "the DDL should have a text in quotes in place of `x`, at character 15",
        );
        let decimal = "the DDL has a decimal that is not `DECIMAL(precision, scale)` of 1 to 38 digits, at character 10";
        check_wrong("a DECIMAL(39)", "(39)", decimal);
        check_wrong("a DECIMAL(2,3)", "(2,3)", decimal);
        check_wrong("a DECIMAL(1,1,1)", "(1,1,1)", decimal);
        check_wrong(
            "a DECIMAL(x)",
            "x",
            "the DDL has `x` for a number, at character 11",
        );
    }

    #[test]
    fn nesting_has_an_end() {
        let nested =
            |levels: usize| format!("a {}INT{}", "ARRAY<".repeat(levels), ">".repeat(levels));
        assert!(read("/s", &nested(NESTING_MAX - 1)).is_ok());
        let failure = read("/s", &nested(100_000)).unwrap_err();
        assert_eq!(
            failure.message,
            "the DDL is nested deeper than 16 levels, at character 99"
        );
    }

    proptest! {
        #![proptest_config(crate::testing::cases())]

        #[test]
        fn what_is_shown_is_read_again(
            names in proptest::collection::btree_set("[a-zß` ,<>]{1,4}", 1..5), kinds in proptest::collection::vec(0..15usize, 5),
        ) {
            let ddl = names.iter().zip(kinds).map(|(name, kind)| {
                let data_type = match TYPES[kind] {
                    "ARRAY" => "ARRAY<MAP<STRING, DATE>>",
                    "MAP" => "MAP<STRING, STRUCT<`x y`: INT, `y`: ARRAY<INT>>>",
                    "STRUCT" => "STRUCT<`a`: DECIMAL(7,7)>",
                    "DECIMAL" => "DECIMAL(38,2)",
                    plain => plain,
                };
                format!("`{}`: {data_type}", name.replace('`', "``"))
            });
            let ddl = format!("STRUCT<{}>", ddl.collect::<Vec<_>>().join(", "));
            prop_assert_eq!(shown(&read("/s", &ddl).unwrap()), ddl);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[aß`<>(),: '0-9INTARYSUCDE]{0,30}") {
            let _ = read("/s", &text);
        }
    }
}
