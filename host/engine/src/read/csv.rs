//! CSV after RFC 4180: the columns and types of a file, and its rows as batches.
//!
//! The types are settled before the first batch, from the whole of every file unless `infer_rows` or `schema` says
//! otherwise, so that a late value cannot contradict them. A row that cannot be understood is a failure, or is set aside.

pub(crate) mod arrays;
pub(crate) mod records;

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use arrow_array::ArrayRef;
use odibi_plan::plan::{ColumnTypes, CsvRead, OnBadRow};
use odibi_story::failure::{Failure, FailureClass, code};

use self::arrays::{Column, noun};
use self::records::{Dialect, Fault, FaultKind, Records, Rows};
use super::unify::{Described, Seen};
use super::value::{Kinds, kind};
use super::{BadRow, Chunk, FileDecode, Stop, Wanted, bad_row, check_names, unpack};
use crate::failure::{During, cancelled, classify};
use crate::limits::{BAD_ROW_CHARS_MAX, COLUMNS_MAX, DECODE_BYTES_MAX};
use crate::store::Blob;

/// Rows that inference looks at before it lets go of them.
const INFER_CHUNK_ROWS: usize = 4_096;

/// How the files of one `read:` are understood.
#[derive(Debug)]
pub(crate) struct CsvFormat {
    options: CsvRead,
    types: ColumnTypes,
    nulls: HashSet<Vec<u8>>,
}

type Input = Records<Box<dyn Read + Send>>;

impl CsvFormat {
    pub(crate) fn new(options: &CsvRead, types: &ColumnTypes) -> Self {
        let nulls = options.null_values.iter();
        Self {
            options: options.clone(),
            types: types.clone(),
            nulls: nulls.map(|text| text.clone().into_bytes()).collect(),
        }
    }

    /// Names and kinds of the columns of a file.
    pub(crate) fn describe(
        &self,
        blob: &Arc<dyn Blob>,
        shown: &str,
        stop: Stop<'_>,
    ) -> Result<Described, Failure> {
        let mut open = self.start(blob, shown)?;
        let Some(names) = open.names.clone() else {
            return Ok(Described::Empty);
        };
        let mut kinds = vec![Kinds::NONE; names.len()];
        let open_types = names.iter().any(|name| !self.types.contains_key(name));
        let mut left = self.options.infer_rows.unwrap_or(usize::MAX);
        if !open_types {
            left = 0;
        }
        while left > 0 {
            if stop() {
                return Err(cancelled());
            }
            let more = open.fill(self, &names, left.min(INFER_CHUNK_ROWS))?;
            let rows = &open.rows;
            for row in 0..rows.len() {
                for (column, kinds) in kinds.iter_mut().enumerate() {
                    let text = rows.field(row, column);
                    if !kinds.is_text() && !text.is_empty() && !self.nulls.contains(text) {
                        *kinds = kinds.with(kind(text));
                    }
                }
            }
            left -= rows.len();
            open.rows.clear();
            open.bad.clear();
            if !more {
                break;
            }
        }
        let seen = kinds.into_iter().map(Seen::Kinds);
        Ok(Described::Columns(names.into_iter().zip(seen).collect()))
    }

    /// Begins to read the rows of a file.
    pub(crate) fn open(
        self: &Arc<Self>,
        blob: &Arc<dyn Blob>,
        shown: &str,
        width: usize,
        wanted: Vec<Wanted>,
        batch_rows: usize,
    ) -> Result<Box<dyn FileDecode>, Failure> {
        let mut open = self.start(blob, shown)?;
        let names = open.names.take().unwrap_or_default();
        if names.len() != width {
            return Err(bad_row(shown, 1, "the file changed while it was read"));
        }
        Ok(Box::new(CsvDecoder {
            format: Arc::clone(self),
            open,
            names,
            wanted,
            batch_rows,
            ended: false,
        }))
    }

    /// Opens a file and reads its header. Without one, leaves the first row among the rows and counts its fields.
    fn start(&self, blob: &Arc<dyn Blob>, shown: &str) -> Result<OpenFile, Failure> {
        let options = &self.options;
        let dialect = Dialect {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            comment: options.comment,
        };
        let mut open = OpenFile {
            records: Records::new(unpack::text(blob, shown, options.text)?, dialect),
            rows: Rows::default(),
            bad: Vec::new(),
            names: None,
            shown: shown.to_owned(),
        };
        open.records
            .skip_lines(options.skip_rows)
            .map_err(|e| classify(&e, During::Read(shown)))?;
        open.names = self.names(&mut open.records, &mut open.rows, shown)?;
        Ok(open)
    }

    fn names(
        &self,
        records: &mut Input,
        rows: &mut Rows,
        shown: &str,
    ) -> Result<Option<Vec<String>>, Failure> {
        let Some(width) = records.next_row(rows).map_err(|f| fault(f, shown, &[]))? else {
            return Ok(None);
        };
        if width > COLUMNS_MAX {
            return too_wide(shown, width);
        }
        let line = rows.started().unwrap_or_default();
        rows.end_row(width);
        let mut names: Vec<String> = (1..=width).map(|n| format!("column_{n}")).collect();
        if let Some(column) = not_text(rows, 0) {
            return Err(not_utf8(shown, rows.line(0), &names[column]));
        }
        if self.options.header {
            for (column, name) in names.iter_mut().enumerate() {
                let text = rows.field(0, column);
                if !text.is_empty() {
                    *name = String::from_utf8_lossy(text).into_owned();
                }
            }
            rows.clear();
        }
        let given = &self.options.names;
        if !given.is_empty() {
            if given.len() != width {
                let what = format!("{} where `names` has {}", fields(width), given.len());
                return Err(bad_row(shown, line, &what));
            }
            names.clone_from(given);
        }
        check_names(names.iter().map(String::as_str), shown)?;
        Ok(Some(names))
    }
}

fn fields(width: usize) -> String {
    match width {
        1 => "1 field".to_owned(),
        _ => format!("{width} fields"),
    }
}

fn unexpected(width: usize, expected: usize) -> String {
    let are = if expected == 1 { "is" } else { "are" };
    format!("{} where {expected} {are} expected", fields(width))
}

fn too_wide<T>(shown: &str, width: usize) -> Result<T, Failure> {
    let message = format!("`{shown}` has too many columns: {width}");
    Err(
        Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message)
            .hint("check `delimiter` and `quote`")
            .of_limit("columns", COLUMNS_MAX as u64, width as u64),
    )
}

/// The first field of a row that is not UTF-8.
fn not_text(rows: &Rows, row: usize) -> Option<usize> {
    (0..rows.width()).find(|column| std::str::from_utf8(rows.field(row, *column)).is_err())
}

fn not_utf8(shown: &str, line: u64, column: &str) -> Failure {
    let what = format!("column `{column}` holds bytes that are not UTF-8");
    bad_row(shown, line, &what).hint("set `encoding`, or save the file as UTF-8")
}

fn fault(fault: Fault, shown: &str, names: &[String]) -> Failure {
    let column = names.get(fault.field).map_or_else(
        || format!("field {}", fault.field + 1),
        |n| format!("column `{n}`"),
    );
    match fault.kind {
        FaultKind::Io(error) => classify(&error, During::Read(shown)),
        FaultKind::Unclosed => bad_row(
            shown,
            fault.line,
            &format!("a quote is never closed in {column}"),
        ),
        FaultKind::AfterQuote => bad_row(shown, fault.line, &after_quote(&column))
            .hint("double a quote that belongs to the text"),
        FaultKind::TooLong => bad_row(
            shown,
            fault.line,
            &format!("the row is too long; it grew in {column}"),
        )
        .hint("look for a quote that is not closed"),
    }
}

fn after_quote(column: &str) -> String {
    format!("there is text after the closing quote in {column}")
}

struct OpenFile {
    records: Input,
    rows: Rows,
    /// Rows that were set aside.
    bad: Vec<BadRow>,
    names: Option<Vec<String>>,
    shown: String,
}

impl OpenFile {
    /// Reads up to so many rows. False when the file has ended.
    fn fill(
        &mut self,
        format: &CsvFormat,
        names: &[String],
        rows_max: usize,
    ) -> Result<bool, Failure> {
        let more = self.read_rows(format, names, rows_max)?;
        if self.rows.text().is_ascii() {
            return Ok(more);
        }
        let mut kept = vec![true; self.rows.len()];
        for (row, kept) in kept.iter_mut().enumerate() {
            let Some(column) = not_text(&self.rows, row) else {
                continue;
            };
            let line = self.rows.line(row);
            if format.options.on_bad_row == OnBadRow::Fail {
                return Err(not_utf8(&self.shown, line, &names[column]));
            }
            *kept = false;
            let what = format!("column `{}` holds bytes that are not UTF-8", names[column]);
            let text = self.rows.as_line(row, format.options.delimiter);
            self.set_aside(line, what, text);
        }
        if kept.contains(&false) {
            self.rows.retain(&kept);
        }
        Ok(more)
    }

    fn read_rows(
        &mut self,
        format: &CsvFormat,
        names: &[String],
        rows_max: usize,
    ) -> Result<bool, Failure> {
        let fails = format.options.on_bad_row == OnBadRow::Fail;
        let delimiter = format.options.delimiter;
        // Set aside rows count too, so that a file full of them does not fill the memory.
        while self.rows.len() + self.bad.len() < rows_max && self.rows.bytes() < DECODE_BYTES_MAX {
            let line = self.records.line();
            let (line, what) = match self.records.next_row(&mut self.rows) {
                Ok(None) => return Ok(false),
                Ok(Some(width)) if width == names.len() => {
                    self.rows.end_row(width);
                    continue;
                }
                Ok(Some(width)) => {
                    let line = self.rows.started().unwrap_or(line);
                    let what = unexpected(width, names.len());
                    if fails {
                        let hint = "quote fields that hold the delimiter, and check `delimiter`";
                        return Err(bad_row(&self.shown, line, &what).hint(hint));
                    }
                    (line, what)
                }
                Err(Fault {
                    field,
                    kind: FaultKind::AfterQuote,
                    ..
                }) if !fails => {
                    let line = self.rows.started().unwrap_or(line);
                    self.records
                        .take_line(&mut self.rows)
                        .map_err(|e| classify(&e, During::Read(&self.shown)))?;
                    let column = names.get(field).map_or("", String::as_str);
                    (line, after_quote(&format!("column `{column}`")))
                }
                // Behind a quote that is never closed no row can be told from another.
                Err(found) => return Err(fault(found, &self.shown, names)),
            };
            let text = self.rows.take_started(delimiter);
            self.set_aside(line, what, text);
        }
        Ok(true)
    }

    fn set_aside(&mut self, line: u64, what: String, text: String) {
        let text = match text.char_indices().nth(BAD_ROW_CHARS_MAX) {
            Some((at, _)) => text[..at].to_owned(),
            None => text,
        };
        self.bad.push(BadRow { line, what, text });
    }
}

/// Rows of a file.
struct CsvDecoder {
    format: Arc<CsvFormat>,
    open: OpenFile,
    names: Vec<String>,
    wanted: Vec<Wanted>,
    batch_rows: usize,
    ended: bool,
}

impl CsvDecoder {
    /// Sets the rows aside that hold a value which is not of the type of its column. All columns are wanted then, so
    /// that the rows do not depend on what the steps need.
    fn sift(&mut self) {
        let format = &self.format;
        let certain = format.options.infer_rows.is_none();
        let mut kept = vec![true; self.open.rows.len()];
        for wanted in &self.wanted {
            let declared = format.types.contains_key(wanted.field.name());
            if certain && !declared {
                continue;
            }
            let column = Column {
                rows: &self.open.rows,
                place: wanted.place,
                nulls: &format.nulls,
                declared,
            };
            let data_type = wanted.field.data_type();
            if column.build(data_type).is_ok() {
                continue;
            }
            for (row, kept) in kept.iter_mut().enumerate().filter(|(_, kept)| **kept) {
                if column.fits(data_type, row) {
                    continue;
                }
                *kept = false;
                self.open.bad.push(BadRow {
                    line: self.open.rows.line(row),
                    what: not_of_type(wanted),
                    text: self.open.rows.as_line(row, format.options.delimiter),
                });
            }
        }
        if kept.contains(&false) {
            self.open.rows.retain(&kept);
        }
    }
}

fn not_of_type(wanted: &Wanted) -> String {
    format!(
        "column `{}` holds something that is not {}",
        wanted.field.name(),
        noun(wanted.field.data_type())
    )
}

impl FileDecode for CsvDecoder {
    fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        if !self.ended {
            let format = Arc::clone(&self.format);
            self.ended = !self.open.fill(&format, &self.names, self.batch_rows)?;
            if format.options.on_bad_row != OnBadRow::Fail {
                self.sift();
            }
        }
        let rows = self.open.rows.len();
        if rows == 0 && self.ended && self.open.bad.is_empty() {
            return Ok(None);
        }
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.wanted.len());
        for wanted in &self.wanted {
            let declared = self.format.types.contains_key(wanted.field.name());
            let column = Column {
                rows: &self.open.rows,
                place: wanted.place,
                nulls: &self.format.nulls,
                declared,
            };
            arrays.push(column.build(wanted.field.data_type()).map_err(|row| {
                let line = self.open.rows.line(row);
                let failure = bad_row(&self.open.shown, line, &not_of_type(wanted));
                if declared {
                    failure.hint("correct the file, `schema` or `null_values`")
                } else if self.format.options.infer_rows.is_some() {
                    failure.hint("raise `infer_rows`, or leave it out so that the whole file decides the types")
                } else {
                    failure.hint("the file changed while it was read; run again")
                }
            })?);
        }
        self.open.rows.clear();
        let bad = std::mem::take(&mut self.open.bad);
        Ok(Some(Chunk { arrays, rows, bad }))
    }
}
