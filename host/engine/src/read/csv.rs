//! CSV after RFC 4180: the columns and types of a set of files, and their rows as batches.
//!
//! The types are settled before the first batch, from the whole of every file unless `infer_rows` says otherwise, so
//! that a late value cannot contradict them. Names are matched by name when files differ in the order of columns.

pub(crate) mod arrays;
pub(crate) mod records;

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use odibi_plan::plan::CsvRead;
use odibi_story::failure::{Failure, FailureClass, code};

use self::arrays::{build, check_text};
use self::records::{Fault, FaultKind, Records, Rows};
use super::columns::Filler;
use super::value::{Kinds, kind};
use super::{Decode, Stop, bad_row, check_names, sniff};
use crate::failure::{During, cancelled, classify};
use crate::limits::{COLUMNS_MAX, DECODE_BYTES_MAX};
use crate::store::Store;
use crate::store::blob::BlobReader;

/// Rows that inference looks at before it lets go of them.
const INFER_CHUNK_ROWS: usize = 4_096;

/// The files of one `read:`.
#[derive(Debug)]
pub(crate) struct CsvFiles {
    store: Arc<dyn Store>,
    files: Vec<CsvFile>,
    options: CsvRead,
    nulls: HashSet<Vec<u8>>,
}

#[derive(Debug)]
struct CsvFile {
    path: String,
    /// For each column of the table, its place in this file.
    places: Vec<usize>,
}

/// Names and kinds of the columns of one file.
type Columns = (Vec<String>, Vec<Kinds>);

impl CsvFiles {
    /// Settles the columns of all files.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        paths: Vec<String>,
        options: &CsvRead,
        stop: Stop<'_>,
    ) -> Result<(SchemaRef, Self), Failure> {
        let nulls = options
            .null_values
            .iter()
            .map(|t| t.clone().into_bytes())
            .collect();
        let mut this = Self {
            store,
            files: Vec::new(),
            options: options.clone(),
            nulls,
        };
        let mut names: Option<(Vec<String>, String)> = None;
        let mut kinds: Vec<Kinds> = Vec::new();
        for path in paths {
            let shown = this.store.shown(&path);
            let Some((found, found_kinds)) = this.infer(&path, &shown, stop)? else {
                continue;
            };
            let (names, first) = names.get_or_insert_with(|| (found.clone(), shown.clone()));
            let places = places(names, first, &found, &shown)?;
            kinds.resize(names.len(), Kinds::NONE);
            for (column, place) in places.iter().enumerate() {
                kinds[column] = kinds[column].with(found_kinds[*place]);
            }
            this.files.push(CsvFile { path, places });
        }
        let Some((names, _)) = names else {
            return Err(Failure::new(
                FailureClass::Data,
                code::READ_EMPTY,
                "the CSV input is empty: it has no header row",
            )
            .hint("write at least the header row"));
        };
        let fields: Vec<Field> = names
            .into_iter()
            .zip(&kinds)
            .map(|(name, kind)| Field::new(name, kind.data_type(), true))
            .collect();
        Ok((Arc::new(Schema::new(fields)), this))
    }

    /// Names and kinds of one file; `None` when it has no bytes.
    fn infer(&self, path: &str, shown: &str, stop: Stop<'_>) -> Result<Option<Columns>, Failure> {
        let mut records = self.records(path, shown)?;
        let mut rows = Rows::default();
        let Some(names) = self.names(&mut records, &mut rows, shown)? else {
            return Ok(None);
        };
        let mut kinds = vec![Kinds::NONE; names.len()];
        let mut left = self.options.infer_rows.unwrap_or(usize::MAX);
        while left > 0 {
            if stop() {
                return Err(cancelled());
            }
            let more = read_rows(
                &mut records,
                &mut rows,
                &names,
                left.min(INFER_CHUNK_ROWS),
                shown,
            )?;
            check_text(&rows, shown, &|column| names[column].clone())?;
            for row in 0..rows.len() {
                for (column, kinds) in kinds.iter_mut().enumerate() {
                    let text = rows.field(row, column);
                    if !kinds.is_text() && !text.is_empty() && !self.nulls.contains(text) {
                        *kinds = kinds.with(kind(text));
                    }
                }
            }
            left -= rows.len();
            rows.clear();
            if !more {
                break;
            }
        }
        Ok(Some((names, kinds)))
    }

    /// Reads the header. Without one, leaves the first row in `rows` and counts its fields.
    fn names(
        &self,
        records: &mut Records<BlobReader>,
        rows: &mut Rows,
        shown: &str,
    ) -> Result<Option<Vec<String>>, Failure> {
        let Some(width) = records.next_row(rows).map_err(|f| fault(f, shown, &[]))? else {
            return Ok(None);
        };
        if width > COLUMNS_MAX {
            return too_wide(shown, width);
        }
        rows.end_row(width);
        check_text(rows, shown, &|column| format!("column_{}", column + 1))?;
        let mut names: Vec<String> = (1..=width).map(|n| format!("column_{n}")).collect();
        if self.options.header {
            for (column, name) in names.iter_mut().enumerate() {
                let text = rows.field(0, column);
                if !text.is_empty() {
                    *name = String::from_utf8_lossy(text).into_owned();
                }
            }
            rows.clear();
        }
        check_names(names.iter().map(String::as_str), shown)?;
        Ok(Some(names))
    }

    fn records(&self, path: &str, shown: &str) -> Result<Records<BlobReader>, Failure> {
        let file = BlobReader::new(self.store.open(path)?);
        let mut records = Records::new(file, self.options.delimiter, self.options.quote);
        let head = records
            .head()
            .map_err(|e| classify(&e, During::Read(shown)))?;
        sniff(shown, head)?;
        Ok(records)
    }
}

fn too_wide<T>(shown: &str, width: usize) -> Result<T, Failure> {
    let message = format!("`{shown}` has too many columns: {width}");
    Err(
        Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message)
            .hint("check `delimiter` and `quote`")
            .of_limit("columns", COLUMNS_MAX as u64, width as u64),
    )
}

/// Where the columns of the first file stand in another.
fn places(
    names: &[String],
    first: &str,
    found: &[String],
    shown: &str,
) -> Result<Vec<usize>, Failure> {
    let mismatch = |message: String| {
        Failure::new(FailureClass::Data, code::READ_SCHEMA_MISMATCH, message)
            .hint("read files with different columns in nodes of their own")
    };
    if names == found {
        return Ok((0..names.len()).collect());
    }
    if let Some(extra) = found.iter().find(|n| !names.contains(n)) {
        return Err(mismatch(format!(
            "`{shown}` has a column that `{first}` does not have: `{extra}`"
        )));
    }
    names
        .iter()
        .map(|name| {
            let missing = || {
                mismatch(format!(
                    "`{shown}` does not have a column of `{first}`: `{name}`"
                ))
            };
            found.iter().position(|n| n == name).ok_or_else(missing)
        })
        .collect()
}

/// Reads up to so many rows. False when the file has ended.
fn read_rows(
    records: &mut Records<BlobReader>,
    rows: &mut Rows,
    names: &[String],
    rows_max: usize,
    shown: &str,
) -> Result<bool, Failure> {
    while rows.len() < rows_max && rows.bytes() < DECODE_BYTES_MAX {
        let line = records.line();
        match records.next_row(rows).map_err(|f| fault(f, shown, names))? {
            None => return Ok(false),
            Some(width) if width == names.len() => rows.end_row(width),
            Some(width) => {
                let line = rows.started().unwrap_or(line);
                return Err(bad_row(
                    shown,
                    line,
                    &format!("{width} fields where {} are expected", names.len()),
                )
                .hint("quote fields that hold the delimiter, and check `delimiter`"));
            }
        }
    }
    Ok(true)
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
        FaultKind::AfterQuote => bad_row(
            shown,
            fault.line,
            &format!("there is text after the closing quote in {column}"),
        )
        .hint("double a quote that belongs to the text"),
        FaultKind::TooLong => bad_row(
            shown,
            fault.line,
            &format!("the row is too long; it grew in {column}"),
        )
        .hint("look for a quote that is not closed"),
    }
}

/// Rows of all files, one after the other.
pub(crate) struct CsvDecoder {
    files: Arc<CsvFiles>,
    filler: Filler,
    batch_rows: usize,
    next_file: usize,
    open: Option<OpenFile>,
    rows: Rows,
}

struct OpenFile {
    records: Records<BlobReader>,
    index: usize,
    shown: String,
    names: Vec<String>,
    ended: bool,
}

impl CsvDecoder {
    pub(crate) fn new(files: Arc<CsvFiles>, filler: Filler, batch_rows: usize) -> Self {
        Self {
            files,
            filler,
            batch_rows,
            next_file: 0,
            open: None,
            rows: Rows::default(),
        }
    }

    fn open_next(&mut self) -> Result<bool, Failure> {
        let Some(file) = self.files.files.get(self.next_file) else {
            return Ok(false);
        };
        let shown = self.files.store.shown(&file.path);
        let mut records = self.files.records(&file.path, &shown)?;
        let names = self
            .files
            .names(&mut records, &mut self.rows, &shown)?
            .unwrap_or_default();
        if names.len() != file.places.len() {
            return Err(bad_row(&shown, 1, "the file changed while it was read"));
        }
        self.open = Some(OpenFile {
            records,
            index: self.next_file,
            shown,
            names,
            ended: false,
        });
        self.next_file += 1;
        Ok(true)
    }
}

impl Decode for CsvDecoder {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(open) = self.open.as_mut() else {
                continue;
            };
            if !open.ended {
                open.ended = !read_rows(
                    &mut open.records,
                    &mut self.rows,
                    &open.names,
                    self.batch_rows,
                    &open.shown,
                )?;
            }
            if self.rows.len() == 0 {
                self.open = None;
                continue;
            }
            check_text(&self.rows, &open.shown, &|column| {
                open.names[column].clone()
            })?;
            let places = &self.files.files[open.index].places;
            let mut arrays = Vec::new();
            for column in self.filler.wanted() {
                let field = self.filler.schema().field(column);
                let built = build(
                    &self.rows,
                    places[column],
                    field.data_type(),
                    &self.files.nulls,
                );
                arrays.push(built.map_err(|row| {
                    let what = format!("column `{}` holds something that is not {}", field.name(), arrays::noun(field.data_type()));
                    let failure = bad_row(&open.shown, self.rows.line(row), &what);
                    match self.files.options.infer_rows {
                        Some(_) => failure.hint("raise `infer_rows`, or leave it out so that the whole file decides the types"),
                        None => failure.hint("the file changed while it was read; run again"),
                    }
                })?);
            }
            let rows = self.rows.len();
            self.rows.clear();
            return self.filler.fill(arrays, rows).map(Some);
        }
    }
}
