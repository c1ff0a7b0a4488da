//! The objects of a JSON file one by one, as text, each with the line it begins in: one for each line, or the items of
//! one list. The list is never held as a whole.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use odibi_plan::plan::{JsonLayout, JsonRead};
use odibi_story::failure::Failure;

use crate::failure::{During, classify};
use crate::limits::RECORD_BYTES_MAX;
use crate::read::{bad_file, bad_row, unpack};
use crate::store::Blob;

const BUFFER_BYTES: usize = 256 * 1024;

/// Reads objects.
pub(crate) struct Objects {
    input: BufReader<Box<dyn Read + Send>>,
    layout: JsonLayout,
    pub(crate) shown: String,
    /// The object, without space around it.
    pub(crate) text: Vec<u8>,
    /// Line that it begins in, from 1.
    pub(crate) line: u64,
    /// Line that comes next, from 1.
    at_line: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first item of a list.
    First,
    /// Behind an item of a list.
    Behind,
    Ended,
}

impl Objects {
    pub(crate) fn open(
        blob: &Arc<dyn Blob>,
        shown: &str,
        options: JsonRead,
    ) -> Result<Self, Failure> {
        let input = unpack::text(blob, shown, options.text)?;
        Self::new(input, shown, options.layout)
    }

    fn new(
        input: Box<dyn Read + Send>,
        shown: &str,
        layout: Option<JsonLayout>,
    ) -> Result<Self, Failure> {
        let mut this = Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            layout: JsonLayout::Lines,
            shown: shown.to_owned(),
            text: Vec::new(),
            line: 0,
            at_line: 1,
            state: State::First,
        };
        if layout == Some(JsonLayout::Lines) {
            return Ok(this);
        }
        match this.visible()? {
            Some(b'[') => {
                this.layout = JsonLayout::Array;
                this.input.consume(1);
            }
            Some(_) if layout.is_some() => {
                return Err(bad_file(shown, "it does not begin with a list")
                    .hint("set `lines: true` for one object on each line"));
            }
            Some(_) | None => {}
        }
        Ok(this)
    }

    /// Reads the next object. False at the end.
    pub(crate) fn next(&mut self) -> Result<bool, Failure> {
        self.text.clear();
        match self.layout {
            JsonLayout::Lines => self.next_line(),
            JsonLayout::Array => self.next_item(),
        }
    }

    fn next_line(&mut self) -> Result<bool, Failure> {
        loop {
            self.text.clear();
            let limit = RECORD_BYTES_MAX as u64 + 1;
            let taken = (&mut self.input)
                .take(limit)
                .read_until(b'\n', &mut self.text)
                .map_err(|e| classify(&e, During::Read(&self.shown)))?;
            if taken == 0 {
                return Ok(false);
            }
            self.line = self.at_line;
            self.at_line += 1;
            if taken > RECORD_BYTES_MAX {
                return Err(bad_row(&self.shown, self.line, "the line is too long"));
            }
            let end = self.text.trim_ascii_end().len();
            self.text.truncate(end);
            if !self.text.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn next_item(&mut self) -> Result<bool, Failure> {
        if self.state == State::Ended {
            return Ok(false);
        }
        let mut found = self.visible()?;
        if self.state == State::Behind && found == Some(b',') {
            self.input.consume(1);
            found = self.visible()?;
            // A comma before the end is no JSON.
            if found == Some(b']') {
                return Err(self.fault("there is a comma behind the last item"));
            }
        } else if self.state == State::Behind && found.is_some() && found != Some(b']') {
            return Err(self.fault("a comma is missing between two items"));
        }
        match found {
            None => Err(self
                .fault("the list is not closed")
                .hint("look whether the file was written to its end")),
            Some(b']') => {
                self.input.consume(1);
                self.state = State::Ended;
                match self.visible()? {
                    None => Ok(false),
                    Some(_) => Err(self.fault("there is text behind the list")),
                }
            }
            Some(_) => {
                self.line = self.at_line;
                self.take_item()?;
                self.state = State::Behind;
                Ok(true)
            }
        }
    }

    /// Takes bytes up to the end of the item; whether they are JSON is for the parser to say.
    fn take_item(&mut self) -> Result<(), Failure> {
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(classify(&e, During::Read(&self.shown))),
            };
            if chunk.is_empty() {
                return Err(self
                    .fault("the list is not closed")
                    .hint("look whether the file was written to its end"));
            }
            let mut length = 0;
            let mut whole = false;
            for byte in chunk {
                if quoted {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => quoted = false,
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => quoted = true,
                        b'{' | b'[' => depth += 1,
                        b',' | b']' | b'}' if depth == 0 => {
                            whole = true;
                            break;
                        }
                        b'}' | b']' => {
                            depth -= 1;
                            if depth == 0 {
                                length += 1;
                                whole = true;
                                break;
                            }
                        }
                        _ => {}
                    }
                }
                length += 1;
            }
            self.text.extend_from_slice(&chunk[..length]);
            self.at_line += chunk[..length]
                .iter()
                .map(|b| u64::from(*b == b'\n'))
                .sum::<u64>();
            self.input.consume(length);
            if self.text.len() > RECORD_BYTES_MAX {
                return Err(bad_row(&self.shown, self.line, "the item is too long"));
            }
            if whole {
                let end = self.text.trim_ascii_end().len();
                self.text.truncate(end);
                return Ok(());
            }
        }
    }

    /// Steps over space, and says what stands there.
    fn visible(&mut self) -> Result<Option<u8>, Failure> {
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(classify(&e, During::Read(&self.shown))),
            };
            if chunk.is_empty() {
                return Ok(None);
            }
            let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
            let length = chunk.iter().take_while(|b| space(b)).count();
            let found = chunk.get(length).copied();
            let lines = chunk[..length].iter().filter(|b| **b == b'\n').count();
            self.at_line += lines as u64;
            self.input.consume(length);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn fault(&self, what: &str) -> Failure {
        bad_row(&self.shown, self.at_line, what)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Gives one byte at a time, so that every boundary of the buffer is met.
    struct Drip(Vec<u8>);

    impl Read for Drip {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() || out.is_empty() {
                return Ok(0);
            }
            out[0] = self.0.remove(0);
            Ok(1)
        }
    }

    type Found = Result<Vec<(u64, String)>, String>;

    fn read(input: Box<dyn Read + Send>, layout: Option<JsonLayout>) -> Found {
        let mut objects = Objects::new(input, "a", layout).map_err(|f| f.message)?;
        let mut found = Vec::new();
        while objects.next().map_err(|f| f.message)? {
            let text = String::from_utf8(objects.text.clone()).unwrap();
            found.push((objects.line, text));
        }
        Ok(found)
    }

    #[track_caller]
    fn check(text: &str, layout: Option<JsonLayout>, expected: Result<&[(u64, &str)], &str>) {
        let expected: Found = match expected {
            Ok(found) => Ok(found.iter().map(|(l, t)| (*l, (*t).to_owned())).collect()),
            Err(message) => Err(message.to_owned()),
        };
        let whole = Box::new(io::Cursor::new(text.as_bytes().to_vec()));
        assert_eq!(read(whole, layout), expected, "{text:?}");
        let drip = Box::new(Drip(text.as_bytes().to_vec()));
        assert_eq!(read(drip, layout), expected, "byte by byte: {text:?}");
    }

    #[test]
    fn objects_stand_on_lines_or_in_a_list() {
        check("", None, Ok(&[]));
        check(
            "{\"a\":1}\n\n {\"b\":2} \r\n",
            None,
            Ok(&[(1, "{\"a\":1}"), (3, " {\"b\":2}")]),
        );
        check(" \n[ ]\n", None, Ok(&[]));
        check(
            "[\n {\"a\": [1, \"]\\\"\"]},\n\n{\"b\":\n{}} ]",
            None,
            Ok(&[(2, "{\"a\": [1, \"]\\\"\"]}"), (4, "{\"b\":\n{}}")]),
        );
        check("[1,null]", None, Ok(&[(1, "1"), (1, "null")]));
        check("[1]", Some(JsonLayout::Lines), Ok(&[(1, "[1]")]));
        check(
            "{}",
            Some(JsonLayout::Array),
            Err("cannot read `a`: it does not begin with a list"),
        );
        for (text, line, what) in [
            ("[", 1, "the list is not closed"),
            ("[{\"a\":1}\n", 2, "the list is not closed"),
            ("[{\"a\":\n1", 2, "the list is not closed"),
            ("[{}{}]", 1, "a comma is missing between two items"),
            ("[{},]", 1, "there is a comma behind the last item"),
            ("[{}]\nx", 2, "there is text behind the list"),
        ] {
            check(
                text,
                None,
                Err(&format!("bad row in `a`, line {line}: {what}")),
            );
        }
    }
}
