//! Splits CSV bytes into records and fields, and knows the line of every one.

use std::io::{self, Read};

use crate::limits::RECORD_BYTES_MAX;

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Fields of some rows, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    text: Vec<u8>,
    /// End of every field in `text`.
    ends: Vec<usize>,
    /// Line that every row begins in.
    lines: Vec<u64>,
    /// Line that the row begins in which is not ended yet.
    started: Option<u64>,
    width: usize,
}

impl Rows {
    /// Rows that are complete.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of all fields.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// A field.
    pub(crate) fn field(&self, row: usize, column: usize) -> &[u8] {
        let (start, end) = self.range(row, column);
        &self.text[start..end]
    }

    /// Where a field lies in [`Rows::text`].
    pub(crate) fn range(&self, row: usize, column: usize) -> (usize, usize) {
        let at = row * self.width + column;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        (start, self.ends[at])
    }

    /// All fields, without anything between.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Fields of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Line that a row begins in.
    pub(crate) fn line(&self, row: usize) -> u64 {
        self.lines.get(row).copied().unwrap_or_default()
    }

    /// Line of the row that is not ended yet.
    pub(crate) fn started(&self) -> Option<u64> {
        self.started
    }

    /// Takes the row that was just read, which has so many fields.
    pub(crate) fn end_row(&mut self, width: usize) {
        self.width = width;
        self.lines.extend(self.started.take());
    }

    /// Forgets the row that is not ended, and returns its fields as one line of CSV.
    pub(crate) fn take_started(&mut self, delimiter: u8) -> String {
        let whole = self.lines.len() * self.width;
        let from = if whole == 0 { 0 } else { self.ends[whole - 1] };
        let mut starts = vec![from];
        starts.extend_from_slice(&self.ends[whole..]);
        starts.push(self.text.len());
        let mut fields: Vec<&[u8]> = starts
            .windows(2)
            .map(|pair| &self.text[pair[0]..pair[1]])
            .collect();
        if fields.len() > 1 && fields.last().is_some_and(|last| last.is_empty()) {
            fields.pop();
        }
        let line = as_line(fields.into_iter(), delimiter);
        self.text.truncate(from);
        self.ends.truncate(whole);
        self.started = None;
        line
    }

    /// Adds a row of line 0.
    pub(crate) fn push_row<'a>(&mut self, fields: impl Iterator<Item = &'a [u8]>) {
        let before = self.ends.len();
        for field in fields {
            self.text.extend_from_slice(field);
            self.ends.push(self.text.len());
        }
        self.width = self.ends.len() - before;
        self.lines.push(0);
    }

    /// A row as one line of CSV.
    pub(crate) fn as_line(&self, row: usize, delimiter: u8) -> String {
        as_line((0..self.width).map(|c| self.field(row, c)), delimiter)
    }

    /// Keeps only these rows.
    pub(crate) fn retain(&mut self, kept: &[bool]) {
        let mut left = Self {
            width: self.width,
            ..Self::default()
        };
        for row in (0..self.len()).filter(|row| kept[*row]) {
            for column in 0..self.width {
                left.text.extend_from_slice(self.field(row, column));
                left.ends.push(left.text.len());
            }
            left.lines.push(self.lines[row]);
        }
        *self = left;
    }

    /// Forgets everything but the memory.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.lines.clear();
        self.started = None;
    }
}

fn as_line<'a>(fields: impl Iterator<Item = &'a [u8]>, delimiter: u8) -> String {
    let mut line = String::new();
    for (index, field) in fields.enumerate() {
        if index > 0 {
            line.push(char::from(delimiter));
        }
        let text = String::from_utf8_lossy(field);
        let special = |b: u8| b == delimiter || matches!(b, b'"' | b'\n' | b'\r');
        if text.bytes().any(special) {
            line.push('"');
            line.push_str(&text.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&text);
        }
    }
    line
}

/// What is wrong with a record.
#[derive(Debug)]
pub(crate) struct Fault {
    /// From 1.
    pub(crate) line: u64,
    /// From 0.
    pub(crate) field: usize,
    pub(crate) kind: FaultKind,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    Io(io::Error),
    Unclosed,
    AfterQuote,
    TooLong,
}

/// The bytes that mean something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    /// Makes the next byte part of the text.
    pub(crate) escape: Option<u8>,
    /// Begins a line that is no row.
    pub(crate) comment: Option<u8>,
}

/// Reads records one after the other.
#[derive(Debug)]
pub(crate) struct Records<R> {
    input: R,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    dialect: Dialect,
    line: u64,
}

enum End {
    Field,
    Record,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(input: R, dialect: Dialect) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self {
            input,
            buffer,
            at: 0,
            filled: 0,
            dialect,
            line: 1,
        }
    }

    /// The line that comes next, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Steps over so many lines, whatever is in them.
    pub(crate) fn skip_lines(&mut self, lines: usize) -> io::Result<()> {
        for _ in 0..lines {
            if !self.skip_line()? {
                break;
            }
        }
        Ok(())
    }

    /// Steps over the rest of the line. False at the end.
    pub(crate) fn skip_line(&mut self) -> io::Result<bool> {
        self.rest_of_line(&mut |_| {})
    }

    /// Appends the rest of the line, the fields of which are not told apart any more.
    pub(crate) fn take_line(&mut self, rows: &mut Rows) -> io::Result<()> {
        self.rest_of_line(&mut |part| {
            let room = RECORD_BYTES_MAX.saturating_sub(rows.text.len());
            rows.text.extend_from_slice(&part[..part.len().min(room)]);
        })
        .map(drop)
    }

    fn rest_of_line(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        loop {
            if self.peek()?.is_none() {
                return Ok(false);
            }
            let chunk = &self.buffer[self.at..self.filled];
            let stop = chunk.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let length = stop.unwrap_or(chunk.len());
            take(&chunk[..length]);
            self.at += length;
            if stop.is_some() {
                self.newline()?;
                return Ok(true);
            }
        }
    }

    /// Appends the fields of the next record and returns their number; `None` at the end. Empty lines are no records.
    pub(crate) fn next_row(&mut self, rows: &mut Rows) -> Result<Option<usize>, Fault> {
        loop {
            match self.peek().map_err(|e| self.fault(0, FaultKind::Io(e)))? {
                None => return Ok(None),
                Some(b'\n' | b'\r') => self
                    .newline()
                    .map_err(|e| self.fault(0, FaultKind::Io(e)))?,
                found if found == self.dialect.comment => {
                    self.skip_line()
                        .map_err(|e| self.fault(0, FaultKind::Io(e)))?;
                }
                Some(_) => break,
            }
        }
        rows.started = Some(self.line);
        let start = rows.text.len();
        let mut fields = 0;
        loop {
            let end = match self
                .peek()
                .map_err(|e| self.fault(fields, FaultKind::Io(e)))?
            {
                Some(b) if b == self.dialect.quote => self.quoted(rows, start, fields)?,
                _ => self.unquoted(rows, start, fields)?,
            };
            rows.ends.push(rows.text.len());
            fields += 1;
            match end {
                End::Field => {}
                End::Record => return Ok(Some(fields)),
            }
        }
    }

    fn unquoted(&mut self, rows: &mut Rows, start: usize, field: usize) -> Result<End, Fault> {
        loop {
            let Dialect {
                delimiter, escape, ..
            } = self.dialect;
            let chunk = &self.buffer[self.at..self.filled];
            let ends = |b: &u8| *b == delimiter || *b == b'\n' || *b == b'\r';
            let stop = match escape {
                None => chunk.iter().position(ends),
                Some(escape) => chunk.iter().position(|b| ends(b) || *b == escape),
            };
            rows.text
                .extend_from_slice(&chunk[..stop.unwrap_or(chunk.len())]);
            self.at += stop.unwrap_or(chunk.len());
            self.check_length(rows, start, field)?;
            if stop.is_some() {
                if escape.is_some() && Some(self.buffer[self.at]) == escape {
                    self.escaped(rows, field)?;
                    continue;
                }
                return self.end_field(field);
            }
            if self
                .peek()
                .map_err(|e| self.fault(field, FaultKind::Io(e)))?
                .is_none()
            {
                return Ok(End::Record);
            }
        }
    }

    fn quoted(&mut self, rows: &mut Rows, start: usize, field: usize) -> Result<End, Fault> {
        let opened = self.line;
        self.at += 1;
        loop {
            if self
                .peek()
                .map_err(|e| self.fault(field, FaultKind::Io(e)))?
                .is_none()
            {
                return Err(Fault {
                    line: opened,
                    field,
                    kind: FaultKind::Unclosed,
                });
            }
            let Dialect { quote, escape, .. } = self.dialect;
            let chunk = &self.buffer[self.at..self.filled];
            let stop = match escape {
                None => chunk.iter().position(|b| *b == quote),
                Some(escape) => chunk.iter().position(|b| *b == quote || *b == escape),
            };
            let part = &chunk[..stop.unwrap_or(chunk.len())];
            rows.text.extend_from_slice(part);
            self.line += part.iter().map(|b| u64::from(*b == b'\n')).sum::<u64>();
            self.at += part.len();
            self.check_length(rows, start, field)?;
            if stop.is_none() {
                continue;
            }
            if escape.is_some() && Some(self.buffer[self.at]) == escape {
                self.escaped(rows, field)?;
                continue;
            }
            self.at += 1;
            match self
                .peek()
                .map_err(|e| self.fault(field, FaultKind::Io(e)))?
            {
                Some(b) if b == self.dialect.quote => {
                    rows.text.push(b);
                    self.at += 1;
                }
                None => return Ok(End::Record),
                Some(b) if b == self.dialect.delimiter || b == b'\n' || b == b'\r' => {
                    return self.end_field(field);
                }
                Some(_) => return Err(self.fault(field, FaultKind::AfterQuote)),
            }
        }
    }

    /// Steps over the escape, and takes the byte behind it as it is. At the very end it stands for itself.
    fn escaped(&mut self, rows: &mut Rows, field: usize) -> Result<(), Fault> {
        let escape = self.buffer[self.at];
        self.at += 1;
        let next = self
            .peek()
            .map_err(|e| self.fault(field, FaultKind::Io(e)))?;
        rows.text.push(next.unwrap_or(escape));
        if let Some(byte) = next {
            self.at += 1;
            self.line += u64::from(byte == b'\n');
        }
        Ok(())
    }

    /// Steps over a delimiter or a line end.
    fn end_field(&mut self, field: usize) -> Result<End, Fault> {
        match self
            .peek()
            .map_err(|e| self.fault(field, FaultKind::Io(e)))?
        {
            Some(b) if b == self.dialect.delimiter => {
                self.at += 1;
                Ok(End::Field)
            }
            Some(_) => {
                self.newline()
                    .map_err(|e| self.fault(field, FaultKind::Io(e)))?;
                Ok(End::Record)
            }
            None => Ok(End::Record),
        }
    }

    /// Steps over `\n`, `\r\n` or `\r`.
    fn newline(&mut self) -> io::Result<()> {
        let first = self.peek()?;
        self.at += 1;
        if first == Some(b'\r') && self.peek()? == Some(b'\n') {
            self.at += 1;
        }
        self.line += 1;
        Ok(())
    }

    fn check_length(&self, rows: &Rows, start: usize, field: usize) -> Result<(), Fault> {
        if rows.text.len() - start > RECORD_BYTES_MAX {
            let line = rows.started().unwrap_or(self.line);
            return Err(Fault {
                line,
                field,
                kind: FaultKind::TooLong,
            });
        }
        Ok(())
    }

    fn fault(&self, field: usize, kind: FaultKind) -> Fault {
        Fault {
            line: self.line,
            field,
            kind,
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        while self.at == self.filled {
            self.at = 0;
            self.filled = 0;
            match self.input.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(n) => self.filled = n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(self.buffer[self.at]))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Gives one byte at a time, so that every boundary of the buffer is met.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(1).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    type Found = Vec<(u64, Vec<String>)>;

    fn read(input: impl Read) -> Result<Found, (u64, usize, String)> {
        read_as(input, DIALECT)
    }

    const DIALECT: Dialect = Dialect {
        delimiter: b',',
        quote: b'"',
        escape: None,
        comment: None,
    };

    fn read_as(input: impl Read, dialect: Dialect) -> Result<Found, (u64, usize, String)> {
        let mut records = Records::new(input, dialect);
        let mut found = Vec::new();
        loop {
            let mut rows = Rows::default();
            let Some(width) = records
                .next_row(&mut rows)
                .map_err(|f| (f.line, f.field, format!("{:?}", f.kind)))?
            else {
                return Ok(found);
            };
            rows.end_row(width);
            let fields = (0..width)
                .map(|c| String::from_utf8(rows.field(0, c).to_vec()).unwrap())
                .collect();
            found.push((rows.line(0), fields));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[(u64, &[&str])]) {
        let expected: Vec<(u64, Vec<String>)> = expected
            .iter()
            .map(|(line, f)| (*line, f.iter().map(|s| (*s).to_owned()).collect()))
            .collect();
        assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
        assert_eq!(
            read(Drip(text.as_bytes())).unwrap(),
            expected,
            "byte by byte: {text:?}"
        );
    }

    #[test]
    fn records_and_their_lines() {
        check("", &[]);
        check("a,b\n1,2", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("a\r\nb\r\n\r\nc", &[(1, &["a"]), (2, &["b"]), (4, &["c"])]);
        check("a\rb\r", &[(1, &["a"]), (2, &["b"])]);
        check(
            "a,\n,b\n,",
            &[(1, &["a", ""]), (2, &["", "b"]), (3, &["", ""])],
        );
        check(
            "\"x\ny\",1\nz,2\n",
            &[(1, &["x\ny", "1"]), (3, &["z", "2"])],
        );
        check("\"a\"\"b\",\"\"\n", &[(1, &["a\"b", ""])]);
        check("a\"b,c\n", &[(1, &["a\"b", "c"])]);
        check("\"\"\n\"\"", &[(1, &[""]), (2, &[""])]);
        check("\n\n\"a,b\"", &[(3, &["a,b"])]);
    }

    #[test]
    fn escapes_and_comments() {
        let dialect = Dialect {
            escape: Some(b'\\'),
            comment: Some(b'#'),
            ..DIALECT
        };
        for (text, expected) in [
            ("a\\,b,c\n", vec![(1, vec!["a,b", "c"])]),
            ("\"a\\\"b\",c\n", vec![(1, vec!["a\"b", "c"])]),
            ("a\\\nb\nc\n", vec![(1, vec!["a\nb"]), (3, vec!["c"])]),
            ("\\\\,\\", vec![(1, vec!["\\", "\\"])]),
            (
                "#x,\"\na\n# y\n\n#\nb#c",
                vec![(2, vec!["a"]), (6, vec!["b#c"])],
            ),
            ("#", vec![]),
        ] {
            let expected: Found = expected
                .into_iter()
                .map(|(line, f)| (line, f.into_iter().map(str::to_owned).collect()))
                .collect();
            assert_eq!(
                read_as(text.as_bytes(), dialect).unwrap(),
                expected,
                "{text:?}"
            );
            assert_eq!(
                read_as(Drip(text.as_bytes()), dialect).unwrap(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_row_that_is_given_up_leaves_no_trace() {
        let mut records = Records::new(&b"a,b\n1,\"x\"y,z\n2,3\n"[..], DIALECT);
        let mut rows = Rows::default();
        assert_eq!(records.next_row(&mut rows).unwrap(), Some(2));
        rows.end_row(2);
        records.next_row(&mut rows).unwrap_err();
        records.take_line(&mut rows).unwrap();
        assert_eq!(rows.take_started(b','), "1,\"xy,z\"");
        assert_eq!(records.next_row(&mut rows).unwrap(), Some(2));
        rows.end_row(2);
        let line = |row| rows.as_line(row, b',');
        assert_eq!(
            (rows.len(), line(0), line(1)),
            (2, "a,b".into(), "2,3".into())
        );
        assert_eq!(rows.line(1), 3);
        rows.retain(&[false, true]);
        assert_eq!(
            (rows.len(), rows.as_line(0, b','), rows.line(0)),
            (1, "2,3".into(), 3)
        );
    }

    #[test]
    fn faults_name_line_and_field() {
        for (text, line, field, kind) in [
            ("a,b\n1,\"x\ny", 2, 1, "Unclosed"),
            ("a\n\"x\ny\"z\n", 3, 0, "AfterQuote"),
            ("\"", 1, 0, "Unclosed"),
        ] {
            assert_eq!(
                read(text.as_bytes()).unwrap_err(),
                (line, field, kind.to_owned()),
                "{text:?}"
            );
            assert_eq!(
                read(Drip(text.as_bytes())).unwrap_err(),
                (line, field, kind.to_owned()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_endless_record_is_a_fault_and_not_a_full_memory() {
        let endless = io::Read::chain(&b"a,\""[..], io::repeat(b'x'));
        let (line, field, kind) = read(endless).unwrap_err();
        assert_eq!((line, field, kind.as_str()), (1, 1, "TooLong"));
    }
}
