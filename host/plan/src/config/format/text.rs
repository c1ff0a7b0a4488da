//! How bytes become text: `encoding` and `compression`.

use crate::config::reader::{Reader, words};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{Encoding, TextCompression, TextRead};

/// Spellings of encodings, lower case and with `-`; the other names of Python and of the web are among them.
const ENCODINGS: &[(&str, Encoding)] = &[
    ("utf-8", Encoding::Utf8),
    ("latin1", Encoding::Latin1),
    ("windows-1252", Encoding::Other("windows-1252")),
    ("utf-16", Encoding::Utf16),
    ("utf-16le", Encoding::Other("utf-16le")),
    ("utf-16be", Encoding::Other("utf-16be")),
    ("iso-8859-2", Encoding::Other("iso-8859-2")),
    ("iso-8859-15", Encoding::Other("iso-8859-15")),
    ("windows-1250", Encoding::Other("windows-1250")),
    ("windows-1251", Encoding::Other("windows-1251")),
    ("koi8-r", Encoding::Other("koi8-r")),
    ("shift_jis", Encoding::Other("shift_jis")),
    ("euc-jp", Encoding::Other("euc-jp")),
    ("euc-kr", Encoding::Other("euc-kr")),
    ("gb18030", Encoding::Other("gb18030")),
    ("big5", Encoding::Other("big5")),
    // Further spellings, which messages do not list.
    ("utf8", Encoding::Utf8),
    ("utf-8-sig", Encoding::Utf8),
    ("ascii", Encoding::Utf8),
    ("us-ascii", Encoding::Utf8),
    ("latin-1", Encoding::Latin1),
    ("iso-8859-1", Encoding::Latin1),
    ("iso8859-1", Encoding::Latin1),
    ("cp1252", Encoding::Other("windows-1252")),
    ("cp1250", Encoding::Other("windows-1250")),
    ("cp1251", Encoding::Other("windows-1251")),
    ("utf16", Encoding::Utf16),
    ("utf-16-le", Encoding::Other("utf-16le")),
    ("utf-16-be", Encoding::Other("utf-16be")),
    ("latin9", Encoding::Other("iso-8859-15")),
    ("shift-jis", Encoding::Other("shift_jis")),
    ("sjis", Encoding::Other("shift_jis")),
    ("gbk", Encoding::Other("gb18030")),
    ("gb2312", Encoding::Other("gb18030")),
];
/// Those that messages list.
const ENCODINGS_LISTED: usize = 16;

/// The words of `compression`.
pub(in crate::config) const COMPRESSIONS: &[(&str, Option<TextCompression>)] = &[
    ("infer", None),
    ("gzip", Some(TextCompression::Gzip)),
    ("zstd", Some(TextCompression::Zstd)),
    ("none", Some(TextCompression::None)),
];

/// The words of `encoding`, and how many of them messages list.
pub(in crate::config) fn encodings() -> (Vec<&'static str>, usize) {
    (words(ENCODINGS), ENCODINGS_LISTED)
}

/// `encoding` and `compression` of a read.
pub(super) fn text_read(options: &mut Reader<'_>) -> Option<TextRead> {
    let encoding = encoding(options);
    let compression = compression(options);
    Some(TextRead {
        encoding: encoding?,
        compression: compression?,
    })
}

fn encoding(options: &mut Reader<'_>) -> Option<Encoding> {
    let Some(text) = options.text("encoding") else {
        return Some(Encoding::Utf8);
    };
    let wanted = text.value.trim().to_ascii_lowercase().replace('_', "-");
    let found = ENCODINGS
        .iter()
        .find(|(name, _)| name.replace('_', "-") == wanted);
    if let Some((_, encoding)) = found {
        return Some(*encoding);
    }
    let listed = ENCODINGS[..ENCODINGS_LISTED].iter().map(|(name, _)| *name);
    let message = format!(
        "`encoding` of {} is not one that is known: {}",
        options.subject(),
        quoted(text.shown())
    );
    options.context().report_with(|| {
        let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message)
            .suggest(&wanted, ENCODINGS.iter().map(|(name, _)| *name));
        if made.hints.is_empty() {
            let listed: Vec<String> = listed.map(quoted).collect();
            made.hint(format!("use one of: {}", listed.join(", ")))
        } else {
            made
        }
    });
    None
}

/// `compression`; the outer `None` is a fault, the inner one is what the name of the file says.
pub(super) fn compression(options: &mut Reader<'_>) -> Option<Option<TextCompression>> {
    let Some(text) = options.text("compression") else {
        return Some(None);
    };
    let later = ["bz2", "xz", "zip", "tar"];
    options.choice(&text, "compression", COMPRESSIONS, &later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_reachable_by_its_listed_name() {
        let names: Vec<&str> = ENCODINGS[..ENCODINGS_LISTED].iter().map(|e| e.0).collect();
        for (_, encoding) in ENCODINGS {
            let listed = ENCODINGS[..ENCODINGS_LISTED]
                .iter()
                .any(|e| e.1 == *encoding);
            assert!(listed, "{encoding:?} is not among {names:?}");
        }
    }
}
