//! Types that a project declares for columns, as words: `int64`, `decimal(10, 2)`.

use crate::config::reader::{Reader, words};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{ColumnType, ColumnTypes};

const WORDS: &[(&str, ColumnType)] = &[
    ("string", ColumnType::Text),
    ("int64", ColumnType::Int(64)),
    ("float64", ColumnType::Float(64)),
    ("boolean", ColumnType::Boolean),
    ("date", ColumnType::Date),
    ("timestamp", ColumnType::Timestamp),
    ("timestamp_utc", ColumnType::TimestampUtc),
    ("int8", ColumnType::Int(8)),
    ("int16", ColumnType::Int(16)),
    ("int32", ColumnType::Int(32)),
    ("uint8", ColumnType::UInt(8)),
    ("uint16", ColumnType::UInt(16)),
    ("uint32", ColumnType::UInt(32)),
    ("uint64", ColumnType::UInt(64)),
    ("float32", ColumnType::Float(32)),
    // Further spellings, which messages do not list.
    ("str", ColumnType::Text),
    ("text", ColumnType::Text),
    ("object", ColumnType::Text),
    ("int", ColumnType::Int(64)),
    ("integer", ColumnType::Int(64)),
    ("long", ColumnType::Int(64)),
    ("bigint", ColumnType::Int(64)),
    ("float", ColumnType::Float(64)),
    ("double", ColumnType::Float(64)),
    ("bool", ColumnType::Boolean),
    ("datetime", ColumnType::Timestamp),
    ("datetime64", ColumnType::Timestamp),
];
const WORDS_LISTED: usize = 15;
/// Digits of a decimal number of 128 bits.
const PRECISION_MAX: u8 = 38;

/// The words of types, and how many of them messages list.
pub(in crate::config) fn type_words() -> (Vec<&'static str>, usize) {
    (words(WORDS), WORDS_LISTED)
}

/// `schema`, or `dtype` as pandas has it: a type for each of some columns.
pub(super) fn types(options: &mut Reader<'_>) -> ColumnTypes {
    let mut types = ColumnTypes::new();
    let Some(entry) = options.one_of(&["schema", "dtype"]) else {
        return types;
    };
    for column in options.named(entry) {
        let subject = format!(
            "the type of column {} of {}",
            quoted(&column.key),
            options.subject()
        );
        let Some(text) = options.node_as_text(&column.value, &subject) else {
            continue;
        };
        match column_type(&text.value) {
            Some(found) => {
                types.insert(column.key.clone(), found);
            }
            None => options.context().report_with(|| {
                let message = format!("{subject} is not known: {}", quoted(text.shown()));
                let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message)
                    .suggest(&text.value, WORDS.iter().map(|(word, _)| *word));
                if made.hints.is_empty() {
                    let words = WORDS[..WORDS_LISTED].iter().map(|(word, _)| quoted(word));
                    let listed: Vec<String> = words.collect();
                    made.hint(format!(
                        "use one of: {}, `decimal(PRECISION, SCALE)`",
                        listed.join(", ")
                    ))
                } else {
                    made
                }
            }),
        }
    }
    types
}

fn column_type(text: &str) -> Option<ColumnType> {
    let word = text.trim().to_ascii_lowercase();
    if let Some((_, found)) = WORDS.iter().find(|(known, _)| *known == word) {
        return Some(*found);
    }
    let inner = word.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let fits = (1..=PRECISION_MAX).contains(&precision)
        && scale >= 0
        && u8::try_from(scale).is_ok_and(|scale| scale <= precision);
    fits.then_some(ColumnType::Decimal(precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_types() {
        for (word, expected) in [
            ("int", Some(ColumnType::Int(64))),
            (" Int32 ", Some(ColumnType::Int(32))),
            ("decimal(10,2)", Some(ColumnType::Decimal(10, 2))),
            ("DECIMAL(38, 38)", Some(ColumnType::Decimal(38, 38))),
            ("decimal(5)", Some(ColumnType::Decimal(5, 0))),
            ("decimal(39,2)", None),
            ("decimal(0,0)", None),
            ("decimal(2,3)", None),
            ("decimal(2,-1)", None),
            ("decimal", None),
            ("list", None),
            ("", None),
        ] {
            assert_eq!(column_type(word), expected, "{word}");
        }
        for (word, declared) in &WORDS[WORDS_LISTED..] {
            assert!(
                WORDS[..WORDS_LISTED].iter().any(|w| w.1 == *declared),
                "{word}"
            );
        }
    }
}
