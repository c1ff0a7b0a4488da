//! Lines of a text, as they stand there. A quoted field of CSV may hold line ends.

use std::io::Read;

use odibi_story::failure::Failure;

use super::super::unreadable;
use super::Dialect;
use crate::failure::{During, classify};
use crate::limits::RECORD_BYTES_MAX;

const BUFFER_BYTES: usize = 256 * 1024;
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Gives one line after the other, without its end.
pub(super) struct Splitter {
    input: Box<dyn Read>,
    /// Delimiter and quote of CSV.
    csv: Option<(u8, u8)>,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    line: Vec<u8>,
    /// Lines given so far.
    count: u64,
    /// Fields of the first line of CSV.
    width: Option<usize>,
    shown: String,
}

impl Splitter {
    pub(super) fn new(dialect: &Dialect, input: Box<dyn Read>, shown: &str) -> Self {
        Self {
            input,
            csv: match dialect {
                Dialect::Csv {
                    delimiter, quote, ..
                } => Some((*delimiter, *quote)),
                Dialect::Json { .. } => None,
            },
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            at: 0,
            filled: 0,
            line: Vec::new(),
            count: 0,
            width: None,
            shown: shown.to_owned(),
        }
    }

    /// The next line that is a row. Of CSV, readers skip lines without a byte: space is a value.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        loop {
            let Some(fields) = self.read_line()? else {
                return Ok(None);
            };
            if self.count == 0 && self.line.starts_with(MARK) {
                self.line.drain(..MARK.len());
            }
            let skipped = match self.csv {
                Some(_) => self.line.iter().all(|byte| *byte == b'\r'),
                None => self.line.iter().all(u8::is_ascii_whitespace),
            };
            if skipped {
                continue;
            }
            self.count += 1;
            if self.csv.is_some() && *self.width.get_or_insert(fields) != fields {
                let what = format!(
                    "row {} has another number of fields than the first",
                    self.count
                );
                return Err(unreadable(&self.shown, &what));
            }
            return Ok(Some(&self.line));
        }
    }

    /// Reads up to a line end. Says how many fields there were; `None` at the end.
    fn read_line(&mut self) -> Result<Option<usize>, Failure> {
        self.line.clear();
        let (mut fields, mut any) = (1, false);
        // Inside quotes; in a field that began with one; at the start of a field.
        let (mut quoted, mut opened, mut at_start) = (false, false, true);
        loop {
            if self.at == self.filled {
                self.at = 0;
                self.filled = loop {
                    match self.input.read(&mut self.buffer) {
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        other => {
                            break other.map_err(|e| classify(&e, During::Read(&self.shown)))?;
                        }
                    }
                };
                if self.filled == 0 {
                    if quoted {
                        return Err(unreadable(&self.shown, "a quote is never closed"));
                    }
                    return Ok(any.then_some(fields));
                }
            }
            let start = self.at;
            let mut end = None;
            for (at, byte) in self.buffer[start..self.filled].iter().enumerate() {
                match (*byte, self.csv) {
                    (b'\n', _) if !quoted => {
                        end = Some(start + at);
                        break;
                    }
                    (byte, Some((delimiter, _))) if byte == delimiter && !quoted => {
                        fields += 1;
                        (opened, at_start) = (false, true);
                    }
                    // A doubled quote closes and opens again.
                    (byte, Some((_, quote))) if byte == quote => {
                        opened |= at_start;
                        quoted ^= opened;
                        at_start = false;
                    }
                    // A mark at the very start stands before the first field.
                    (byte, _)
                        if self.count == 0
                            && at_start
                            && MARK.get(self.line.len() + at) == Some(&byte) => {}
                    _ => at_start = false,
                }
            }
            any = true;
            let stop = end.unwrap_or(self.filled);
            self.line.extend_from_slice(&self.buffer[start..stop]);
            self.at = end.map_or(self.filled, |end| end + 1);
            if self.line.len() > RECORD_BYTES_MAX {
                return Err(unreadable(&self.shown, "a line is too long"));
            }
            if end.is_some() {
                return Ok(Some(fields));
            }
        }
    }
}

/// Fields of a line of CSV; an empty field without quotes is null, and what null is written as.
pub(super) fn fields(dialect: &Dialect, line: &[u8]) -> Vec<Option<Vec<u8>>> {
    let Dialect::Csv {
        delimiter,
        quote,
        null,
        ..
    } = dialect
    else {
        return Vec::new();
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let (field, behind) = if rest.first() == Some(quote) {
            quoted(&rest[1..], *quote)
        } else {
            let end = rest
                .iter()
                .position(|b| b == delimiter)
                .unwrap_or(rest.len());
            let text = &rest[..end];
            let is_null = text.is_empty() || text == null.as_slice();
            ((!is_null).then(|| text.to_vec()), &rest[end..])
        };
        found.push(field);
        // What stands between a closing quote and the delimiter is no part of the field.
        let Some(next) = behind.iter().position(|b| b == delimiter) else {
            return found;
        };
        rest = &behind[next + 1..];
    }
}

/// The text up to the closing quote, and what stands behind it.
fn quoted(text: &[u8], quote: u8) -> (Option<Vec<u8>>, &[u8]) {
    let mut field = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte == quote {
            if text.get(at + 1) != Some(&quote) {
                return (Some(field), &text[at + 1..]);
            }
            at += 1;
        }
        field.push(byte);
        at += 1;
    }
    (Some(field), &[])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use odibi_plan::plan::TextCompression;

    use super::*;

    const CSV: Dialect = Dialect::Csv {
        delimiter: b',',
        quote: b'"',
        header: false,
        null: Vec::new(),
        mark: false,
        compression: TextCompression::None,
    };

    /// Gives a byte at a time, so that every boundary occurs.
    struct Slow(Vec<u8>, usize);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some(byte) = self.0.get(self.1) else {
                return Ok(0);
            };
            buffer[0] = *byte;
            self.1 += 1;
            Ok(1)
        }
    }

    #[track_caller]
    fn check(dialect: &Dialect, text: &str, expected: &[&str]) {
        for input in [
            Box::new(Slow(text.into(), 0)) as Box<dyn Read>,
            Box::new(std::io::Cursor::new(text.to_owned())),
        ] {
            let mut splitter = Splitter::new(dialect, input, "t");
            let mut found = Vec::new();
            while let Some(line) = splitter.next().unwrap() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn lines_come_as_they_stand() {
        check(&CSV, "", &[]);
        check(&CSV, "a,b\n1,2", &["a,b", "1,2"]);
        check(&CSV, "\u{feff}a\n\n1\r\n", &["a", "1\r"]);
        check(
            &CSV,
            "\u{feff}\"a\n\",1\n\"\u{feff},\",2\n",
            &["\"a\n\",1", "\"\u{feff},\",2"],
        );
        check(&CSV, "a\n \n\t\n\r\n\r\r\n  ", &["a", " ", "\t", "  "]);
        check(
            &CSV,
            "1,\"x\ny\"\n2,\"\"\"\n\"\n",
            &["1,\"x\ny\"", "2,\"\"\"\n\""],
        );
        check(&CSV, "a\"b,2\nc\"\",3\n", &["a\"b,2", "c\"\",3"]);
        check(&CSV, "\"\"\n", &["\"\""]);
        check(&CSV, ",\n,\n", &[",", ","]);
        check(
            &Dialect::Json {
                compression: TextCompression::None,
            },
            "{\"a\":\"\\\"\"}\n\n \t\r\n{}\n",
            &["{\"a\":\"\\\"\"}", "{}"],
        );
    }

    #[test]
    fn faults_are_found() {
        for text in ["a,b\n1\n", "a,b\n1,2\n \n", "a\n\"x\n", "a\n1,2\n"] {
            let mut splitter = Splitter::new(&CSV, Box::new(std::io::Cursor::new(text)), "t");
            let failure = loop {
                match splitter.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{text:?} was understood"),
                    Err(failure) => break failure,
                }
            };
            assert_eq!(failure.code, "write/unreadable-target", "{text:?}");
        }
    }

    #[test]
    fn fields_know_null_from_empty() {
        let text = |t: &str| Some(t.as_bytes().to_vec());
        assert_eq!(
            fields(&CSV, b"1,,\"\",x"),
            [text("1"), None, text(""), text("x")]
        );
        assert_eq!(fields(&CSV, b"\"a,\"\"b\",c\r"), [text("a,\"b"), text("c")]);
        assert_eq!(fields(&CSV, b""), [None]);
    }
}
