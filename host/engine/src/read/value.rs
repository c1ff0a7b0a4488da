//! Texts as values: what type a text looks like, and its value. Strict, so that a value read as a number or a date can
//! be written back as it was: `007` is text, and so is ` 5`.

use arrow_schema::{DataType, TimeUnit};

/// Set of what the values of a column looked like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const BOOLEAN: Self = Self(1);
    pub(crate) const INTEGER: Self = Self(2);
    pub(crate) const NUMBER: Self = Self(4);
    pub(crate) const DATE: Self = Self(8);
    pub(crate) const TIMESTAMP: Self = Self(16);
    pub(crate) const INSTANT: Self = Self(32);
    pub(crate) const TEXT: Self = Self(64);

    /// Both together.
    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Nothing more can change the type.
    pub(crate) fn is_text(self) -> bool {
        self.0 & Self::TEXT.0 != 0
    }

    /// The type that holds them all. A column without values is text.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::BOOLEAN => DataType::Boolean,
            Self::INTEGER => DataType::Int64,
            Self::NUMBER => DataType::Float64,
            Self::DATE => DataType::Date32,
            Self::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::INSTANT => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            both if both == Self::INTEGER.with(Self::NUMBER) => DataType::Float64,
            _ => DataType::Utf8,
        }
    }
}

/// What a text looks like. The empty text must have been dealt with.
pub(crate) fn kind(text: &[u8]) -> Kinds {
    match text.first() {
        Some(b'0'..=b'9' | b'-' | b'.') => number_or_time(text),
        Some(b't' | b'T' | b'f' | b'F') if boolean(text).is_some() => Kinds::BOOLEAN,
        Some(b'n' | b'N' | b'i' | b'I') if special(text).is_some() => Kinds::NUMBER,
        _ => Kinds::TEXT,
    }
}

fn number_or_time(text: &[u8]) -> Kinds {
    match shape(text) {
        Shape::Integer if integer(text).is_some() => Kinds::INTEGER,
        Shape::Number if number(text).is_some() => Kinds::NUMBER,
        Shape::Integer | Shape::Number => Kinds::TEXT,
        Shape::Other => {
            if date(text).is_some() {
                Kinds::DATE
            } else {
                match timestamp(text) {
                    Some((_, false)) => Kinds::TIMESTAMP,
                    Some((_, true)) => Kinds::INSTANT,
                    None if special(text).is_some() => Kinds::NUMBER,
                    None => Kinds::TEXT,
                }
            }
        }
    }
}

enum Shape {
    Integer,
    Number,
    Other,
}

/// `-?(0|[1-9][0-9]*)` is an integer; a point with digits beside it or an exponent makes it a number.
fn shape(text: &[u8]) -> Shape {
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let start = usize::from(text.first() == Some(&b'-'));
    let whole = digits(start);
    if whole > 1 && text[start] == b'0' {
        return Shape::Other;
    }
    let mut at = start + whole;
    let mut fraction = 0;
    let mut shape = Shape::Integer;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
        shape = Shape::Number;
    }
    if whole + fraction == 0 {
        return Shape::Other;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = text.get(at..).map_or(0, |_| digits(at));
        if exponent == 0 {
            return Shape::Other;
        }
        at += exponent;
        shape = Shape::Number;
    }
    if at == text.len() {
        shape
    } else {
        Shape::Other
    }
}

/// `true` and `false`, in any case.
pub(crate) fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

/// A whole number of 64 bits.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(byte - b'0');
        let shifted = value.checked_mul(10)?;
        value = if negative {
            shifted.checked_sub(digit)?
        } else {
            shifted.checked_add(digit)?
        };
    }
    Some(value)
}

/// A whole number with any zeros in front and perhaps a `+`.
pub(crate) fn whole(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: i128 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { -value } else { value })
}

/// A decimal number, without its point. More digits behind the point than `scale` are none, unless they are zeros.
pub(crate) fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (sign, rest) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        all => (1, all),
    };
    let point = rest.iter().position(|b| *b == b'.').unwrap_or(rest.len());
    let (before, behind) = (&rest[..point], rest.get(point + 1..).unwrap_or_default());
    let kept = &behind[..behind.len().min(scale)];
    let lost = &behind[kept.len()..];
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if before.len() + behind.len() == 0
        || !digits(before)
        || !digits(kept)
        || lost.iter().any(|b| *b != b'0')
    {
        return None;
    }
    let mut value: i128 = 0;
    for byte in before.iter().chain(kept) {
        value = value
            .checked_mul(10)?
            .checked_add(i128::from(byte - b'0'))?;
    }
    for _ in kept.len()..scale {
        value = value.checked_mul(10)?;
    }
    (value < 10_i128.pow(u32::from(precision.min(38)))).then_some(sign * value)
}

/// A number of 64 bits. A text that is too large for one is none.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    if let Some(special) = special(text) {
        return Some(special);
    }
    if !matches!(text.first(), Some(b'0'..=b'9' | b'-' | b'.')) {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

fn special(text: &[u8]) -> Option<f64> {
    match text {
        b"nan" | b"NaN" | b"NAN" => Some(f64::NAN),
        b"inf" | b"Inf" | b"Infinity" => Some(f64::INFINITY),
        b"-inf" | b"-Inf" | b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// `2013-01-31` as days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    if text.len() == 10 { days(text) } else { None }
}

/// ISO 8601 date and time, with `T` or a space between, as microseconds since 1970. True when it names its offset.
pub(crate) fn timestamp(text: &[u8]) -> Option<(i64, bool)> {
    if text.len() < 16 || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let day = i64::from(days(text)?);
    let (hour, minute) = (pair(text, 11, 24)?, pair(text, 14, 60)?);
    if text[13] != b':' {
        return None;
    }
    let mut at = 16;
    let mut second = 0;
    let mut micros = 0;
    if text.get(at) == Some(&b':') {
        second = pair(text, at + 1, 60)?;
        at += 3;
        if text.get(at) == Some(&b'.') {
            let digits = text[at + 1..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            // Finer than a microsecond would be lost, so it stays text.
            if digits == 0 || digits > 6 {
                return None;
            }
            micros = integer(&text[at + 1..=at + digits])?;
            micros *= 10_i64.pow(u32::try_from(6 - digits).ok()?);
            at += 1 + digits;
        }
    }
    let (offset_minutes, zoned) = offset(&text[at..])?;
    let seconds = day * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    Some((seconds * 1_000_000 + micros, zoned))
}

/// Nothing, `Z`, `+01`, `+0100` or `+01:00`.
fn offset(text: &[u8]) -> Option<(i64, bool)> {
    let (sign, rest) = match text {
        [] => return Some((0, false)),
        b"Z" | b"z" => return Some((0, true)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let minutes = match rest.len() {
        2 => pair(rest, 0, 24)? * 60,
        4 => pair(rest, 0, 24)? * 60 + pair(rest, 2, 60)?,
        5 if rest[2] == b':' => pair(rest, 0, 24)? * 60 + pair(rest, 3, 60)?,
        _ => return None,
    };
    Some((sign * minutes, true))
}

fn pair(text: &[u8], at: usize, below: i64) -> Option<i64> {
    let value = integer(
        text.get(at..at + 2)
            .filter(|t| t.iter().all(u8::is_ascii_digit))?,
    )?;
    (value < below).then_some(value)
}

fn days(text: &[u8]) -> Option<i32> {
    if text.len() < 10
        || text[4] != b'-'
        || text[7] != b'-'
        || !text[..4].iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let year = integer(&text[..4])?;
    let (month, day) = (pair(text, 5, 13)?, pair(text, 8, 32)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > length {
        return None;
    }
    // Days from civil, after Howard Hinnant: years begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    i32::try_from(days).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_look_like_their_types() {
        for (kind_of, texts) in [
            (Kinds::BOOLEAN, vec!["true", "False", "TRUE"]),
            (
                Kinds::INTEGER,
                vec![
                    "0",
                    "-1",
                    "9223372036854775807",
                    "-9223372036854775808",
                    "10",
                ],
            ),
            (
                Kinds::NUMBER,
                vec![
                    "1.5", ".5", "5.", "-0.1", "1e5", "1E-5", "1.5e+3", "NaN", "inf", "-inf", "0.5",
                ],
            ),
            (
                Kinds::DATE,
                vec!["2013-01-31", "2012-02-29", "0001-01-01", "9999-12-31"],
            ),
            (
                Kinds::TIMESTAMP,
                vec![
                    "2013-01-01 05:00:00",
                    "2013-01-01T05:00",
                    "2013-01-01T05:00:00.123456",
                ],
            ),
            (
                Kinds::INSTANT,
                vec![
                    "2013-01-01T05:00:00Z",
                    "2013-01-01 05:00:00.5+01:00",
                    "2013-01-01T05:00-0530",
                ],
            ),
            (
                Kinds::TEXT,
                vec![
                    "007",
                    "-01",
                    "00.5",
                    "+5",
                    " 5",
                    "5 ",
                    "1,000",
                    "1_000",
                    "0x10",
                    "9223372036854775808",
                    "1e999",
                    "-",
                    ".",
                    "-.",
                    "e5",
                    "1e",
                    "1e+",
                    "--1",
                    "1.2.3",
                    "2013-02-29",
                    "2013-13-01",
                    "2013-1-1",
                    "2013-00-10",
                    "2013-01-01T25:00:00",
                    "2013-01-01 05:60",
                    "2013-01-01T05:00:00.1234567",
                    "2013-01-01X05:00:00",
                    "2013-01-01T05:00:00+1",
                    "yes",
                    "nanny",
                    "t",
                    "truex",
                    "12:30",
                    "1/2/2013",
                    "tail",
                    "infinite",
                    "é",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(kind(text.as_bytes()), kind_of, "{text:?}");
            }
        }
    }

    #[test]
    fn declared_numbers_have_their_values() {
        for (text, expected) in [
            ("007", Some(7)),
            ("+5", Some(5)),
            ("-0", Some(0)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("1.0", None),
            ("", None),
            ("+", None),
            ("1e3", None),
        ] {
            assert_eq!(whole(text.as_bytes()), expected, "{text}");
        }
        for (text, expected) in [
            ("1.5", Some(150)),
            ("-1.50", Some(-150)),
            ("1.500", Some(150)),
            (".5", Some(50)),
            ("5.", Some(500)),
            ("007", Some(700)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("1.505", None),
            (".", None),
            ("1e2", None),
            ("1,5", None),
        ] {
            assert_eq!(decimal(text.as_bytes(), 5, 2), expected, "{text}");
        }
    }

    #[test]
    fn times_have_their_values() {
        assert_eq!(date(b"1970-01-01"), Some(0));
        assert_eq!(date(b"1969-12-31"), Some(-1));
        assert_eq!(date(b"2000-03-01"), Some(11_017));
        assert_eq!(date(b"0000-01-01"), Some(-719_528));
        assert_eq!(
            timestamp(b"1970-01-01T00:00:01.000002"),
            Some((1_000_002, false))
        );
        assert_eq!(
            timestamp(b"1970-01-01T01:00:00.5+01:00"),
            Some((500_000, true))
        );
        assert_eq!(timestamp(b"1969-12-31 23:59:59Z"), Some((-1_000_000, true)));
        assert_eq!(
            timestamp(b"9999-12-31 23:59:59"),
            Some((253_402_300_799_000_000, false))
        );
    }

    #[test]
    fn kinds_merge_to_a_type_that_holds_all() {
        for (kinds, expected) in [
            (vec![Kinds::INTEGER, Kinds::NUMBER], DataType::Float64),
            (vec![Kinds::INTEGER, Kinds::BOOLEAN], DataType::Utf8),
            (vec![Kinds::DATE, Kinds::TIMESTAMP], DataType::Utf8),
            (vec![Kinds::INTEGER, Kinds::NONE], DataType::Int64),
            (vec![Kinds::NONE], DataType::Utf8),
        ] {
            assert_eq!(
                kinds.into_iter().fold(Kinds::NONE, Kinds::with).data_type(),
                expected
            );
        }
    }
}
