//! JSON lines: one object for each line. The columns are those of all files, in the order in which they first appear.

pub(crate) mod infer;

use std::io::{self, BufRead, BufReader, Read as _};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::reader::{Decoder, ReaderBuilder};
use arrow_schema::{Fields, Schema, SchemaRef};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::Value;

use self::infer::Shape;
use super::columns::Filler;
use super::{Decode, Stop, bad_row, check_names, sniff};
use crate::failure::{During, cancelled, classify};
use crate::limits::{DECODE_BYTES_MAX, RECORD_BYTES_MAX};
use crate::store::Store;
use crate::store::blob::BlobReader;

/// Lines between two looks at the stop sign.
const STOP_EVERY_LINES: u64 = 4_096;
/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The files of one `read:`.
#[derive(Debug)]
pub(crate) struct JsonFiles {
    store: Arc<dyn Store>,
    paths: Vec<String>,
}

impl JsonFiles {
    /// Settles the columns of all files.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        paths: Vec<String>,
        stop: Stop<'_>,
    ) -> Result<(SchemaRef, Self), Failure> {
        let mut shape = Shape::object();
        let mut any = false;
        for path in &paths {
            let mut lines = Lines::open(store.as_ref(), path)?;
            while lines.next()? {
                any = true;
                if lines.number % STOP_EVERY_LINES == 0 && stop() {
                    return Err(cancelled());
                }
                let value: Value = serde_json::from_slice(lines.text.trim_ascii_end())
                    .map_err(|e| not_json(&lines, &e))?;
                if !value.is_object() {
                    return Err(
                        bad_row(&lines.shown, lines.number, "the line is not an object")
                            .hint("put one object on each line, without a list around them"),
                    );
                }
                shape.merge_value(&value).map_err(|column| {
                    let what = format!("column `{column}` holds a list or an object here and something else elsewhere");
                    bad_row(&lines.shown, lines.number, &what)
                })?;
            }
        }
        if !any {
            return Err(Failure::new(
                FailureClass::Data,
                code::READ_EMPTY,
                "the JSON lines input is empty",
            ));
        }
        let schema = Arc::new(Schema::new(shape.fields()));
        check_names(
            schema.fields().iter().map(|f| f.name().as_str()),
            &store.shown(&paths[0]),
        )?;
        Ok((schema, Self { store, paths }))
    }
}

fn not_json(lines: &Lines, error: &serde_json::Error) -> Failure {
    // The message of the library may quote the text.
    let what = if error.is_eof() {
        "the object is not complete"
    } else {
        "this is not JSON"
    };
    bad_row(
        &lines.shown,
        lines.number,
        &format!("{what}, at character {}", error.column()),
    )
    .hint("put one whole object on each line")
}

/// The lines of a file that hold anything.
#[derive(Debug)]
struct Lines {
    input: BufReader<BlobReader>,
    shown: String,
    text: Vec<u8>,
    /// Of `text`, from 1.
    number: u64,
}

impl Lines {
    fn open(store: &dyn Store, path: &str) -> Result<Self, Failure> {
        let shown = store.shown(path);
        let mut input = BufReader::with_capacity(BUFFER_BYTES, BlobReader::new(store.open(path)?));
        let head = input
            .fill_buf()
            .map_err(|e| classify(&e, During::Read(&shown)))?;
        sniff(&shown, head)?;
        if head.starts_with(&[0xef, 0xbb, 0xbf]) {
            input.consume(3);
        }
        Ok(Self {
            input,
            shown,
            text: Vec::new(),
            number: 0,
        })
    }

    fn next(&mut self) -> Result<bool, Failure> {
        loop {
            self.text.clear();
            let taken = self
                .read_line()
                .map_err(|e| classify(&e, During::Read(&self.shown)))?;
            if taken == 0 {
                return Ok(false);
            }
            self.number += 1;
            if taken > RECORD_BYTES_MAX as u64 {
                return Err(bad_row(&self.shown, self.number, "the line is too long"));
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn read_line(&mut self) -> io::Result<u64> {
        let limit = RECORD_BYTES_MAX as u64 + 1;
        (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.text)
            .map(|n| n as u64)
    }
}

/// Rows of all files, one after the other.
pub(crate) struct JsonDecoder {
    files: Arc<JsonFiles>,
    filler: Filler,
    wanted: SchemaRef,
    decoder: Decoder,
    batch_rows: usize,
    next_file: usize,
    lines: Option<Lines>,
    text: Vec<u8>,
    /// File's name, line and end in `text` of every line in it.
    origins: Vec<(u64, usize)>,
}

impl JsonDecoder {
    pub(crate) fn new(
        files: Arc<JsonFiles>,
        filler: Filler,
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let fields: Fields = filler
            .wanted()
            .into_iter()
            .map(|i| Arc::clone(&filler.schema().fields()[i]))
            .collect();
        let wanted = Arc::new(Schema::new(fields));
        let decoder = decoder(&wanted, batch_rows)?;
        Ok(Self {
            files,
            filler,
            wanted,
            decoder,
            batch_rows,
            next_file: 0,
            lines: None,
            text: Vec::new(),
            origins: Vec::new(),
        })
    }

    /// Collects lines of one file. False when all files have ended.
    fn collect(&mut self) -> Result<bool, Failure> {
        self.text.clear();
        self.origins.clear();
        loop {
            if self.lines.is_none() {
                let Some(path) = self.files.paths.get(self.next_file) else {
                    return Ok(false);
                };
                self.lines = Some(Lines::open(self.files.store.as_ref(), path)?);
                self.next_file += 1;
            }
            let Some(lines) = self.lines.as_mut() else {
                continue;
            };
            while self.origins.len() < self.batch_rows && self.text.len() < DECODE_BYTES_MAX {
                if !lines.next()? {
                    break;
                }
                self.text.extend_from_slice(&lines.text);
                if self.text.last() != Some(&b'\n') {
                    self.text.push(b'\n');
                }
                self.origins.push((lines.number, self.text.len()));
            }
            if !self.origins.is_empty() {
                return Ok(true);
            }
            self.lines = None;
        }
    }

    /// Decodes the collected lines one by one to find the bad one.
    fn blame(&self) -> Failure {
        let shown = self.lines.as_ref().map_or("", |l| l.shown.as_str());
        let mut start = 0;
        for (line, end) in &self.origins {
            let text = &self.text[start..*end];
            start = *end;
            if decodes(&self.wanted, text) {
                continue;
            }
            let fields = self.wanted.fields();
            let column = fields.iter().find(|f| {
                let one = Arc::new(Schema::new(vec![f.as_ref().clone()]));
                !decodes(&one, text)
            });
            let what = column.map_or_else(
                || "this is not JSON".to_owned(),
                |f| {
                    format!(
                        "column `{}` holds something that is not of type {}",
                        f.name(),
                        f.data_type()
                    )
                },
            );
            return bad_row(shown, *line, &what);
        }
        bad_row(
            shown,
            self.origins.first().map_or(0, |o| o.0),
            "the lines from here on cannot be understood",
        )
    }
}

fn decoder(schema: &SchemaRef, rows: usize) -> Result<Decoder, Failure> {
    ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(rows)
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(|e| classify(&e, During::Run))
}

fn decodes(schema: &SchemaRef, text: &[u8]) -> bool {
    let Ok(mut decoder) = decoder(schema, 1) else {
        return false;
    };
    decoder.decode(text).is_ok_and(|n| n == text.len())
        && decoder.flush().is_ok_and(|b| b.is_some())
}

impl Decode for JsonDecoder {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        if !self.collect()? {
            return Ok(None);
        }
        let read = self.decoder.decode(&self.text);
        let batch = match read {
            Ok(_) => self.decoder.flush(),
            Err(error) => Err(error),
        };
        match batch {
            Ok(Some(batch)) if batch.num_rows() == self.origins.len() => {
                let rows = batch.num_rows();
                self.filler.fill(batch.columns().to_vec(), rows).map(Some)
            }
            Ok(_) | Err(_) => Err(self.blame()),
        }
    }
}
