//! Values of partition columns as names of directories, and back: `year=2024/city=S%C3%A3o`, as Hive writes them.

use std::fmt::Write as _;

use arrow_array::{Array as _, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;

use crate::read::value::{Kinds, kind};

/// Stands for null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes of a name that file systems take.
const NAME_BYTES_MAX: usize = 255;

/// The directory of a value: `name=value`. Null and the empty text have names of their own. `None` when it would be
/// longer than file systems allow.
pub(crate) fn encode(name: &str, value: Option<&str>) -> Option<String> {
    let mut directory = String::new();
    escape(&mut directory, name);
    directory.push('=');
    match value {
        None => directory.push_str(NULL),
        // Escaped, the same text is a value.
        Some(NULL) => {
            directory.push_str("%5F");
            directory.push_str(&NULL[1..]);
        }
        Some(value) => escape(&mut directory, value),
    }
    (directory.len() <= NAME_BYTES_MAX).then_some(directory)
}

/// Name and value of a directory, or `None` when it is none of a partition.
pub(crate) fn decode(directory: &str) -> Option<(String, Option<String>)> {
    let (name, value) = directory.split_once('=')?;
    if name.is_empty() {
        return None;
    }
    let value = if value == NULL {
        None
    } else {
        Some(unescape(value)?)
    };
    Some((unescape(name)?, value))
}

/// Percent-encodes what Hive does, and what a name of a file cannot hold.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        let special = c.is_control() || "\"#%'*/:=?\\{}[]^<>|~&+ ".contains(c);
        if special {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing into a text cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
}

/// `None` when the bytes are not UTF-8. A `%` without two digits stands for itself.
fn unescape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(byte) = digits.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Types whose values can be names of directories and be read back. Floating point numbers cannot: two texts may be
/// one number.
pub(crate) fn is_partition_type(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Boolean
                | DataType::Date32
                | DataType::Timestamp(_, _)
                | DataType::Decimal128(_, _)
        )
}

/// The value of each row as text; `None` for null. The outer `None`: a value has no text, or the type is another.
pub(crate) fn texts(column: &ArrayRef) -> Option<Vec<Option<String>>> {
    if !is_partition_type(column.data_type()) {
        return None;
    }
    let options = FormatOptions::new().with_display_error(false);
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).ok()?;
    let text = |row: usize| {
        if column.is_null(row) {
            return Some(None);
        }
        let mut text = String::new();
        formatter.value(row).write(&mut text).ok()?;
        Some(Some(text))
    };
    (0..column.len()).map(text).collect()
}

/// What a value of a partition looks like: a whole number, a date, or text. `1.5` and `true` stay text, as everywhere.
pub(crate) fn kind_of(value: Option<&str>) -> Kinds {
    match value {
        None => Kinds::NONE,
        Some("") => Kinds::TEXT,
        Some(text) => match kind(text.as_bytes()) {
            found if found == Kinds::INTEGER || found == Kinds::DATE => found,
            _ => Kinds::TEXT,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Date32Array, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn values_have_directories() {
        for (name, value, directory) in [
            ("year", Some("2024"), "year=2024"),
            ("city", Some("São Paulo"), "city=São%20Paulo"),
            ("c", None, "c=__HIVE_DEFAULT_PARTITION__"),
            ("c", Some(""), "c="),
            ("c", Some(NULL), "c=%5F_HIVE_DEFAULT_PARTITION__"),
            ("a/b=c", Some("1/2=3%\n"), "a%2Fb%3Dc=1%2F2%3D3%25%0A"),
            ("t", Some("2024-01-01 05:00"), "t=2024-01-01%2005%3A00"),
            ("d", Some(".."), "d=.."),
        ] {
            assert_eq!(encode(name, value).as_deref(), Some(directory));
            let back = decode(directory).unwrap();
            assert_eq!((back.0.as_str(), back.1.as_deref()), (name, value));
        }
        assert_eq!(encode("c", Some(&"x".repeat(254))), None);
    }

    #[test]
    fn directories_of_others_are_understood() {
        for (directory, expected) in [
            ("plain", None),
            ("=x", None),
            ("a=b=c", Some(("a", Some("b=c")))),
            ("a=%C3%A9", Some(("a", Some("é")))),
            ("a=%c3%a9+x", Some(("a", Some("é+x")))),
            ("a=100%", Some(("a", Some("100%")))),
            ("a=%zz%+1", Some(("a", Some("%zz%+1")))),
            ("a=%ff", None),
        ] {
            let found = decode(directory);
            let found = found.as_ref().map(|(n, v)| (n.as_str(), v.as_deref()));
            assert_eq!(found, expected, "{directory}");
        }
    }

    #[test]
    fn any_text_survives() {
        let pieces = [
            "a", "%", "=", "/", "..", ".", "é", "\u{0}", "\n", " ", "+", "%41", "__HIVE",
            "\u{feff}", "名", "\\", "~",
        ];
        let mut seed: u64 = 1;
        let mut below = |n: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % n
        };
        for round in 0..5_000 {
            let mut text = |least: usize| -> String {
                (0..least + below(6))
                    .map(|_| pieces[below(pieces.len())])
                    .collect()
            };
            let (name, value) = (text(1), text(0));
            let directory = encode(&name, Some(&value)).unwrap();
            assert!(
                !directory.contains(['/', '\0', '\\']),
                "{round}: {directory}"
            );
            assert_eq!(decode(&directory), Some((name, Some(value))), "{round}");
        }
    }

    #[test]
    fn values_of_columns_have_texts() {
        let text = |column: ArrayRef| texts(&column).map(|texts| texts[0].clone());
        let some = |t: &str| Some(Some(t.to_owned()));
        assert_eq!(text(Arc::new(Int64Array::from(vec![-5]))), some("-5"));
        assert_eq!(
            text(Arc::new(Date32Array::from(vec![0]))),
            some("1970-01-01")
        );
        assert_eq!(text(Arc::new(BooleanArray::from(vec![true]))), some("true"));
        assert_eq!(text(Arc::new(StringArray::from(vec![""]))), some(""));
        assert_eq!(text(Arc::new(Int64Array::from(vec![None]))), Some(None));
        assert_eq!(text(Arc::new(Float64Array::from(vec![1.0]))), None);
    }
}
