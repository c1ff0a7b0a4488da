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
use super::{directory_field, mismatch, side, unreadable, unreadable_for};
use crate::failure::{During, cancelled, classify};
use crate::limits::DECODE_BYTES_MAX;
use crate::read::Stop;
use crate::read::unpack;
use crate::store::Blob;
use crate::store::blob::BlobReader;
use crate::target::keys::KeyMaker;
use crate::target::merge::{Keyed, KeyedRows};
use crate::target::source::{Partition, Piece, Source};
use crate::write::WriteTable;
use crate::write::packed::Packed;

const LINE: &str = "line";
const MARK: &[u8] = "\u{feff}".as_bytes();
/// Bytes between the lines and the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// What lines look like.
#[derive(Debug, Clone)]
pub(crate) enum Dialect {
    Csv {
        delimiter: u8,
        quote: u8,
        header: bool,
        /// What null is written as, besides nothing.
        null: Vec<u8>,
        /// Files begin with a byte order mark.
        mark: bool,
        compression: TextCompression,
    },
    Json {
        compression: TextCompression,
    },
}

impl Dialect {
    pub(crate) fn of(format: &WriteFormat) -> Option<Self> {
        match format {
            WriteFormat::Csv(csv) => Some(Self::Csv {
                delimiter: csv.delimiter,
                quote: csv.quote,
                header: csv.header,
                null: csv.null_value.clone().into_bytes(),
                mark: csv.mark,
                compression: csv.compression,
            }),
            WriteFormat::Json(json) => {
                let lines = json.layout == JsonLayout::Lines;
                lines.then_some(Self::Json {
                    compression: json.compression,
                })
            }
            WriteFormat::Parquet(_) | WriteFormat::Arrow(_) | WriteFormat::Delta(_) => None,
        }
    }

    fn has_header(&self) -> bool {
        matches!(self, Self::Csv { header: true, .. })
    }

    fn compression(&self) -> TextCompression {
        match self {
            Self::Csv { compression, .. } | Self::Json { compression } => *compression,
        }
    }

    fn has_mark(&self) -> bool {
        matches!(self, Self::Csv { mark: true, .. })
    }

    fn splitter(&self, raw: impl Read + Send + 'static, shown: &str) -> Result<Splitter, Failure> {
        let bytes = unpack::bytes(raw, self.compression(), shown)?;
        Ok(Splitter::new(self, bytes, shown))
    }

    /// The first line of a file with a header.
    pub(super) fn header_of(&self, file: &File, shown: &str) -> Result<Option<Vec<u8>>, Failure> {
        if !self.has_header() {
            return Ok(None);
        }
        let mut splitter = self.splitter(FileReader::new(file)?, shown)?;
        splitter.next().map(|line| line.map(<[u8]>::to_vec))
    }

    /// A line of a file that lacks so many columns at its end, with nulls for them.
    fn widened(&self, line: &[u8], lacking: usize) -> Vec<u8> {
        let Self::Csv {
            delimiter, null, ..
        } = self
        else {
            return line.to_vec();
        };
        let (text, end) = match line.strip_suffix(b"\r") {
            Some(text) => (text, &b"\r"[..]),
            None => (line, &b""[..]),
        };
        let mut wide = text.to_vec();
        for _ in 0..lacking {
            wide.push(*delimiter);
            wide.extend_from_slice(null);
        }
        wide.extend_from_slice(end);
        wide
    }
}

/// Rows of files, one after the other.
pub(crate) struct LineRows {
    dialect: Dialect,
    sources: std::vec::IntoIter<Source>,
    pieces: std::vec::IntoIter<Piece>,
    open: Option<Splitter>,
    /// Of the open file.
    partition: Option<Arc<Partition>>,
    /// Columns that the open file lacks at its end.
    lacking: usize,
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
    /// Lines of the target.
    pub(crate) fn existing(
        dialect: &Dialect,
        sources: &[Source],
        keys: Option<KeyMaker>,
        names: Vec<String>,
        batch_rows: usize,
        shown: &str,
    ) -> Self {
        let parted = sources.iter().any(|source| source.partition.is_some());
        Self {
            dialect: dialect.clone(),
            sources: Vec::from(sources).into_iter(),
            pieces: Vec::new().into_iter(),
            open: None,
            partition: None,
            lacking: 0,
            keys,
            names,
            schema: schema(parted),
            batch_rows,
            existing: true,
            shown: shown.to_owned(),
            hash: Arc::default(),
            ended: false,
        }
    }

    /// Lines of a batch.
    pub(crate) fn batch(
        dialect: &Dialect,
        pieces: &[Piece],
        keys: Option<KeyMaker>,
        names: Vec<String>,
        batch_rows: usize,
        shown: &str,
    ) -> Self {
        let mut rows = Self::existing(dialect, &[], keys, names, batch_rows, shown);
        rows.existing = false;
        rows.schema = schema(pieces.iter().any(|piece| piece.partition.is_some()));
        rows.pieces = Vec::from(pieces).into_iter();
        rows
    }

    fn begin(
        &mut self,
        raw: impl Read + Send + 'static,
        partition: Option<Arc<Partition>>,
    ) -> Result<(), Failure> {
        let mut splitter = self.dialect.splitter(raw, &self.shown)?;
        self.lacking = 0;
        if self.dialect.has_header() {
            let header = splitter.next()?;
            let width = header.map(|line| fields(&self.dialect, line).len());
            if let Some(width) = width.filter(|_| self.existing) {
                self.lacking = self.names.len().saturating_sub(width);
            }
        }
        (self.open, self.partition) = (Some(splitter), partition);
        Ok(())
    }

    /// Begins the next file; false at the end of all.
    fn begin_next(&mut self) -> Result<bool, Failure> {
        if let Some(source) = self.sources.next() {
            let hash = Arc::clone(&self.hash);
            let blob = source.open()?;
            let begun = self.begin(Hashed(BlobReader::new(blob), hash), source.partition);
            return begun
                .map(|()| true)
                .map_err(|failure| unreadable_for(&self.shown, failure));
        }
        if let Some(piece) = self.pieces.next() {
            let (file, partition) = (piece.open()?, piece.partition);
            self.begin(FileReader::new(&file)?, partition)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Of the bytes that were read, when all were, and they are those of the file.
    pub(super) fn digest(&mut self) -> Option<String> {
        let whole = self.ended && self.dialect.compression() == TextCompression::None;
        let hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        whole.then(|| hex(&hash.clone().finalize()))
    }

    fn keyed(&self, lines: BinaryArray) -> Result<Keyed, Failure> {
        let count = lines.len();
        let (keys, order) = match &self.keys {
            None => (BinaryArray::new_null(count), None),
            Some(maker) => {
                let columns = self.key_columns(&lines, &maker.names())?;
                let made = maker.make(&columns, side(self.existing))?;
                (made.keys, made.order)
            }
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(lines)];
        columns.extend(self.partition.iter().map(|partition| partition.dirs(count)));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        Ok(Keyed {
            rows: rows.map_err(|e| classify(&e, During::Run))?,
            keys,
            order,
        })
    }

    /// The columns of these names: of the lines, or of the directory of the file.
    fn key_columns(&self, lines: &BinaryArray, names: &[String]) -> Result<Vec<ArrayRef>, Failure> {
        let mut fixed = Vec::with_capacity(names.len());
        for name in names {
            fixed.push(match &self.partition {
                Some(partition) => partition.column(name, lines.len())?,
                None => None,
            });
        }
        let inside: Vec<String> = names
            .iter()
            .zip(&fixed)
            .filter(|(_, fixed)| fixed.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let found = match &self.dialect {
            Dialect::Csv { .. } => self.csv_columns(lines, &inside)?,
            Dialect::Json { .. } => self.json_columns(lines, &inside)?,
        };
        let mut found = found.into_iter();
        Ok(fixed
            .into_iter()
            .filter_map(|fixed| fixed.or_else(|| found.next()))
            .collect())
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
                // Rows of one chunk are of one directory.
                if self.partition.is_some() && !lines.is_empty() {
                    break;
                }
                if !self.begin_next()? {
                    self.ended = true;
                    break;
                }
                continue;
            };
            let line = match splitter.next() {
                Err(failure) if self.existing => return Err(unreadable_for(&self.shown, failure)),
                other => other?,
            };
            match line {
                Some(line) if self.lacking > 0 => {
                    let wide = self.dialect.widened(line, self.lacking);
                    bytes += wide.len();
                    lines.append_value(wide);
                }
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
/// that occur. A target that evolves may lack some at the end.
pub(super) fn check_columns(
    dialect: &Dialect,
    sources: &[Source],
    (names, evolves): (&[String], bool),
    shown: &str,
    stop: Stop<'_>,
) -> Result<(), Failure> {
    let mut found = BTreeSet::new();
    let mut lines = 0_u64;
    for source in sources {
        let failed = |failure| unreadable_for(shown, failure);
        let reader = BlobReader::new(source.open()?);
        let mut splitter = dialect.splitter(reader, shown).map_err(failed)?;
        match dialect {
            Dialect::Csv { header, .. } => {
                let Some(line) = splitter.next().map_err(failed)? else {
                    if *header {
                        return Err(unreadable(shown, "it has no header"));
                    }
                    continue;
                };
                let columns = fields(dialect, line);
                let lacks = *header && evolves && columns.len() < names.len();
                if columns.len() != names.len() && !lacks {
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
            Dialect::Json { .. } => {
                lines += json_names(&mut splitter, &mut found, shown, stop)?;
            }
        }
    }
    let wanted: BTreeSet<String> = names.iter().cloned().collect();
    if lines == 0 || found == wanted || (evolves && found.is_subset(&wanted)) {
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

/// Adds the names that occur in the objects of a file, and says how many objects there are.
fn json_names(
    splitter: &mut Splitter,
    found: &mut BTreeSet<String>,
    shown: &str,
    stop: Stop<'_>,
) -> Result<u64, Failure> {
    let mut lines = 0_u64;
    loop {
        let line = splitter.next().map_err(|f| unreadable_for(shown, f))?;
        let Some(line) = line else {
            return Ok(lines);
        };
        lines += 1;
        if lines.is_multiple_of(4_096) && stop() {
            return Err(cancelled());
        }
        let object: HashMap<String, IgnoredAny> = serde_json::from_slice(line).map_err(|e| {
            let what = format!("line {lines} is no JSON object");
            unreadable(shown, &what).cause(format!("column {}", e.column()))
        })?;
        for name in object.into_keys() {
            found.insert(name);
        }
    }
}

/// Names of the columns that files have: of CSV as the header of the first says, and then others; of JSON sorted.
pub(super) fn column_names(
    dialect: &Dialect,
    sources: &[Source],
    shown: &str,
    stop: Stop<'_>,
) -> Result<Vec<String>, Failure> {
    let (mut names, mut found) = (Vec::new(), BTreeSet::new());
    for source in sources {
        let failed = |failure| unreadable_for(shown, failure);
        let reader = BlobReader::new(source.open()?);
        let mut splitter = dialect.splitter(reader, shown).map_err(failed)?;
        if let Dialect::Json { .. } = dialect {
            json_names(&mut splitter, &mut found, shown, stop)?;
            continue;
        }
        let line = splitter.next().map_err(failed)?;
        let line = line.filter(|_| dialect.has_header());
        let line = line.ok_or_else(|| unreadable(shown, "it has no header"))?;
        for field in fields(dialect, line) {
            let name = String::from_utf8(field.unwrap_or_default());
            let name = name.map_err(|_| unreadable(shown, "its header is not UTF-8"))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.extend(found);
    Ok(names)
}

/// Writes lines.
pub(super) struct LineWriter {
    out: Packed,
    shown: String,
}

impl LineWriter {
    pub(super) fn new(
        dialect: &Dialect,
        file: File,
        header: Option<&[u8]>,
        shown: &str,
    ) -> Result<Self, Failure> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut writer = Self {
            out: Packed::new(file, dialect.compression(), shown)?,
            shown: shown.to_owned(),
        };
        if dialect.has_mark() {
            let written = writer.out.write_all(MARK);
            written.map_err(|e| classify(&e, During::Write(shown)))?;
        }
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

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.out.finish(&self.shown)
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

fn schema(parted: bool) -> SchemaRef {
    let line = Field::new(LINE, DataType::Binary, false);
    let mut fields = vec![Arc::new(line)];
    fields.extend(parted.then(directory_field));
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The fields of all lines of a text, as a merge sees them.
    pub(crate) fn lines_of(dialect: &Dialect, text: &str) -> Vec<Vec<Option<String>>> {
        let input = std::io::Cursor::new(text.to_owned());
        let mut splitter = Splitter::new(dialect, Box::new(input), "t");
        let mut found = Vec::new();
        while let Some(line) = splitter.next().unwrap() {
            let fields = fields(dialect, line).into_iter();
            let texts = fields.map(|field| field.map(|text| String::from_utf8(text).unwrap()));
            found.push(texts.collect());
        }
        found
    }
}
