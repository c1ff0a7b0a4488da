//! Rows of CSV and JSON lines, as the lines that stand in the file.

mod split;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::builder::{ArrayBuilder as _, BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BinaryArray, RecordBatch};
use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use odibi_plan::plan::{JsonLayout, TextCompression, WriteFormat};
use odibi_story::failure::Failure;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use self::split::{Splitter, fields};
use super::{mismatch, side, unreadable, unreadable_for};
use crate::failure::{During, cancelled, classify};
use crate::limits::DECODE_BYTES_MAX;
use crate::read::Stop;
use crate::store::Blob;
use crate::store::blob::BlobReader;
use crate::target::keys::KeyMaker;
use crate::target::merge::{Keyed, KeyedRows};
use crate::write::WriteTable;

const LINE: &str = "line";
/// Bytes between the lines and the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// What lines look like.
#[derive(Debug, Clone)]
pub(crate) enum Dialect {
    Csv {
        delimiter: u8,
        quote: u8,
        header: bool,
    },
    Json,
}

impl Dialect {
    pub(crate) fn of(format: &WriteFormat) -> Option<Self> {
        match format {
            WriteFormat::Csv(csv) => {
                let plain = csv.compression == TextCompression::None
                    && csv.null_value.is_empty()
                    && !csv.mark;
                plain.then_some(Self::Csv {
                    delimiter: csv.delimiter,
                    quote: csv.quote,
                    header: csv.header,
                })
            }
            WriteFormat::Json(json) => {
                let plain =
                    json.compression == TextCompression::None && json.layout == JsonLayout::Lines;
                plain.then_some(Self::Json)
            }
            WriteFormat::Parquet(_) | WriteFormat::Arrow(_) | WriteFormat::Delta(_) => None,
        }
    }

    fn has_header(&self) -> bool {
        matches!(self, Self::Csv { header: true, .. })
    }

    /// The first line of a file with a header.
    pub(super) fn header_of(&self, file: &File, shown: &str) -> Result<Option<Vec<u8>>, Failure> {
        if !self.has_header() {
            return Ok(None);
        }
        let mut splitter = Splitter::new(self, Box::new(FileReader::new(file)?), shown);
        splitter.next().map(|line| line.map(<[u8]>::to_vec))
    }
}

/// Rows of files, one after the other.
pub(crate) struct LineRows {
    dialect: Dialect,
    blobs: std::vec::IntoIter<Arc<dyn Blob>>,
    open: Option<Splitter>,
    keys: Option<KeyMaker>,
    /// Columns of the result, in order.
    names: Vec<String>,
    schema: SchemaRef,
    batch_rows: usize,
    existing: bool,
    shown: String,
    hash: Arc<Mutex<Sha256>>,
    ended: bool,
}

impl LineRows {
    pub(crate) fn existing(
        dialect: &Dialect,
        blobs: Vec<Arc<dyn Blob>>,
        keys: Option<KeyMaker>,
        names: Vec<String>,
        batch_rows: usize,
        shown: &str,
    ) -> Self {
        Self {
            dialect: dialect.clone(),
            blobs: blobs.into_iter(),
            open: None,
            keys,
            names,
            schema: schema(),
            batch_rows,
            existing: true,
            shown: shown.to_owned(),
            hash: Arc::default(),
            ended: false,
        }
    }

    pub(crate) fn batch(
        dialect: &Dialect,
        file: &File,
        keys: Option<KeyMaker>,
        names: Vec<String>,
        batch_rows: usize,
        shown: &str,
    ) -> Result<Self, Failure> {
        let mut rows = Self::existing(dialect, Vec::new(), keys, names, batch_rows, shown);
        rows.existing = false;
        rows.open(Box::new(FileReader::new(file)?))?;
        Ok(rows)
    }

    fn open(&mut self, bytes: Box<dyn Read>) -> Result<(), Failure> {
        let mut splitter = Splitter::new(&self.dialect, bytes, &self.shown);
        if self.dialect.has_header() {
            let _ = splitter.next()?;
        }
        self.open = Some(splitter);
        Ok(())
    }

    pub(super) fn digest(&mut self) -> Option<String> {
        let hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.then(|| hex(&hash.clone().finalize()))
    }

    fn keyed(&self, lines: BinaryArray) -> Result<Keyed, Failure> {
        let count = lines.len();
        let (keys, order) = match &self.keys {
            None => (BinaryArray::new_null(count), None),
            Some(maker) => {
                let columns = match &self.dialect {
                    Dialect::Csv { .. } => self.csv_columns(&lines, &maker.names())?,
                    Dialect::Json => self.json_columns(&lines, &maker.names())?,
                };
                let made = maker.make(&columns, side(self.existing))?;
                (made.keys, made.order)
            }
        };
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(lines)]);
        Ok(Keyed {
            rows: rows.map_err(|e| classify(&e, During::Run))?,
            keys,
            order,
        })
    }

    fn csv_columns(&self, lines: &BinaryArray, names: &[String]) -> Result<Vec<ArrayRef>, Failure> {
        let places: Vec<usize> = names
            .iter()
            .filter_map(|name| self.names.iter().position(|other| other == name))
            .collect();
        let mut builders: Vec<StringBuilder> =
            places.iter().map(|_| StringBuilder::new()).collect();
        for line in lines.iter().flatten() {
            let found = fields(&self.dialect, line);
            for (place, builder) in places.iter().zip(&mut builders) {
                match found.get(*place) {
                    Some(None) => builder.append_null(),
                    Some(Some(field)) => match std::str::from_utf8(field) {
                        Ok(text) => builder.append_value(text),
                        Err(_) => return Err(unreadable(&self.shown, "a key is not UTF-8")),
                    },
                    None => return Err(unreadable(&self.shown, "a row has too few fields")),
                }
            }
        }
        Ok(builders
            .into_iter()
            .map(|mut builder| Arc::new(builder.finish()) as ArrayRef)
            .collect())
    }

    /// Values as the text that stands in the line, so that no digit of a number is lost.
    fn json_columns(
        &self,
        lines: &BinaryArray,
        names: &[String],
    ) -> Result<Vec<ArrayRef>, Failure> {
        let fields: Vec<Field> = names
            .iter()
            .map(|name| Field::new(name, DataType::Utf8, true))
            .collect();
        let failed = |e: arrow_schema::ArrowError| {
            let _ = e;
            unreadable(
                &self.shown,
                "a line is no object with keys of one value each",
            )
        };
        let mut decoder = ReaderBuilder::new(Arc::new(Schema::new(fields)))
            .with_coerce_primitive(true)
            .with_batch_size(lines.len().max(1))
            .build_decoder()
            .map_err(failed)?;
        for line in lines.iter().flatten() {
            for bytes in [line, b"\n"] {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let used = decoder.decode(rest).map_err(failed)?;
                    if used == 0 {
                        break;
                    }
                    rest = &rest[used..];
                }
            }
        }
        let batch = decoder.flush().map_err(failed)?;
        let batch = batch.filter(|batch| batch.num_rows() == lines.len());
        let batch =
            batch.ok_or_else(|| unreadable(&self.shown, "a line holds no object, or two"))?;
        Ok(batch.columns().to_vec())
    }
}

impl KeyedRows for LineRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        let mut lines = BinaryBuilder::new();
        let mut bytes = 0;
        while lines.len() < self.batch_rows.max(1) && bytes < DECODE_BYTES_MAX {
            let Some(splitter) = self.open.as_mut() else {
                let Some(blob) = self.blobs.next() else {
                    self.ended = true;
                    break;
                };
                let hash = Arc::clone(&self.hash);
                self.open(Box::new(Hashed(BlobReader::new(blob), hash)))?;
                continue;
            };
            let line = match splitter.next() {
                Err(failure) if self.existing => return Err(unreadable_for(&self.shown, failure)),
                other => other?,
            };
            match line {
                Some(line) => {
                    bytes += line.len();
                    lines.append_value(line);
                }
                None => self.open = None,
            }
        }
        let lines = lines.finish();
        if lines.is_empty() {
            return Ok(None);
        }
        self.keyed(lines).map(Some)
    }
}

/// Refuses files whose columns are not those of the result: CSV by the header, or the number of fields; JSON by the names
/// that occur.
pub(super) fn check_columns(
    dialect: &Dialect,
    blobs: &[Arc<dyn Blob>],
    names: &[String],
    shown: &str,
    stop: Stop<'_>,
) -> Result<(), Failure> {
    let mut found = BTreeSet::new();
    let mut lines = 0_u64;
    for blob in blobs {
        let reader = Box::new(BlobReader::new(Arc::clone(blob)));
        let mut splitter = Splitter::new(dialect, reader, shown);
        let failed = |failure| unreadable_for(shown, failure);
        match dialect {
            Dialect::Csv { header, .. } => {
                let Some(line) = splitter.next().map_err(failed)? else {
                    if *header {
                        return Err(unreadable(shown, "it has no header"));
                    }
                    continue;
                };
                let columns = fields(dialect, line);
                if columns.len() != names.len() {
                    let what = format!("it has {} columns, not {}", columns.len(), names.len());
                    return Err(mismatch(shown, &what));
                }
                let same = |(column, name): (&Option<Vec<u8>>, &String)| {
                    column.as_deref().unwrap_or_default() == name.as_bytes()
                };
                if *header && !columns.iter().zip(names).all(same) {
                    let what = "its header names others, or in another order";
                    return Err(mismatch(shown, what));
                }
            }
            Dialect::Json => {
                while let Some(line) = splitter.next().map_err(failed)? {
                    lines += 1;
                    if lines.is_multiple_of(4_096) && stop() {
                        return Err(cancelled());
                    }
                    let object: HashMap<String, IgnoredAny> = serde_json::from_slice(line)
                        .map_err(|e| {
                            let what = format!("line {lines} is no JSON object");
                            unreadable(shown, &what).cause(format!("column {}", e.column()))
                        })?;
                    for name in object.into_keys() {
                        found.insert(name);
                    }
                }
            }
        }
    }
    let wanted: BTreeSet<String> = names.iter().cloned().collect();
    if lines == 0 || found == wanted {
        return Ok(());
    }
    let what = match (
        found.difference(&wanted).next(),
        wanted.difference(&found).next(),
    ) {
        (Some(name), _) => format!("column `{name}` is missing"),
        (None, Some(name)) => format!("column `{name}` is new"),
        (None, None) => return Ok(()),
    };
    Err(mismatch(shown, &what))
}

/// Writes lines.
pub(super) struct LineWriter {
    out: BufWriter<File>,
    shown: String,
}

impl LineWriter {
    pub(super) fn new(file: File, header: Option<&[u8]>, shown: &str) -> Result<Self, Failure> {
        let mut writer = Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            shown: shown.to_owned(),
        };
        if let Some(header) = header {
            writer.line(header)?;
        }
        Ok(writer)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self
            .out
            .write_all(line)
            .and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|e| classify(&e, During::Write(&self.shown)))
    }
}

impl WriteTable for LineWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        for line in batch.column(0).as_binary::<i32>().iter().flatten() {
            self.line(line)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.out
            .flush()
            .map_err(|e| classify(&e, During::Write(&self.shown)))
    }
}

/// Reads a file from its start, whatever the position of its handle is.
struct FileReader {
    file: File,
    at: u64,
}

impl FileReader {
    fn new(file: &File) -> Result<Self, Failure> {
        let file = file
            .try_clone()
            .map_err(|e| classify(&e, During::Scratch))?;
        Ok(Self { file, at: 0 })
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Hashes what passes.
struct Hashed<R>(R, Arc<Mutex<Sha256>>);

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        let mut hash = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// Hash of a whole file.
pub(crate) fn digest_of(blob: Arc<dyn Blob>) -> Result<String, Failure> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut hash, mut at) = (Sha256::new(), 0);
    loop {
        match blob.read_into(at, &mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            read => {
                hash.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
}

/// As [`digest_of`], of a file of this machine.
pub(crate) fn digest_of_file(file: &File) -> Result<String, Failure> {
    let mut reader = FileReader::new(file)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hash = Sha256::new();
    loop {
        let read = reader.read(&mut buffer);
        match read.map_err(|e| classify(&e, During::Scratch))? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(LINE, DataType::Binary, false)]))
}
