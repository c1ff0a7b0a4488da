//! Parquet files, row group after row group.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use odibi_story::failure::{Failure, FailureClass, code};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::columns::{Filler, plain_schema, to_plain};
use super::{Decode, bad_file, check_names};
use crate::failure::{During, classify, panic_text};
use crate::store::Store;
use crate::store::blob::Chunks;

/// The files of one `read:`.
#[derive(Debug)]
pub(crate) struct ParquetFiles {
    store: Arc<dyn Store>,
    files: Vec<ParquetFile>,
}

#[derive(Debug)]
struct ParquetFile {
    path: String,
    /// For each column of the table, its place in this file.
    places: Vec<usize>,
}

impl ParquetFiles {
    /// Reads the footers; all files must have the same columns.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        paths: Vec<String>,
    ) -> Result<(SchemaRef, Self), Failure> {
        let mut schema: Option<SchemaRef> = None;
        let mut files = Vec::with_capacity(paths.len());
        let mut first_shown = String::new();
        for path in paths {
            let shown = store.shown(&path);
            let found = plain_schema(builder(store.as_ref(), &path)?.schema());
            check_names(found.fields().iter().map(|f| f.name().as_str()), &shown)?;
            let schema = schema.get_or_insert_with(|| {
                first_shown.clone_from(&shown);
                Arc::clone(&found)
            });
            let places = places(schema, &first_shown, &found, &shown)?;
            let nullable = plain_nulls(schema, &found, &places);
            *schema = nullable;
            files.push(ParquetFile { path, places });
        }
        match schema {
            Some(schema) if !schema.fields().is_empty() => Ok((schema, Self { store, files })),
            Some(_) | None => Err(bad_file(&first_shown, "it has no columns")),
        }
    }
}

fn places(
    schema: &SchemaRef,
    first: &str,
    found: &SchemaRef,
    shown: &str,
) -> Result<Vec<usize>, Failure> {
    let mismatch = |what: String| {
        Failure::new(FailureClass::Data, code::READ_SCHEMA_MISMATCH, what)
            .hint("read files with different columns in nodes of their own")
    };
    if let Some(extra) = found
        .fields()
        .iter()
        .find(|f| schema.index_of(f.name()).is_err())
    {
        return Err(mismatch(format!(
            "`{shown}` has a column that `{first}` does not have: `{}`",
            extra.name()
        )));
    }
    let mut places = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Ok(place) = found.index_of(field.name()) else {
            return Err(mismatch(format!(
                "`{shown}` does not have a column of `{first}`: `{}`",
                field.name()
            )));
        };
        let (have, want) = (found.field(place).data_type(), field.data_type());
        if !have.equals_datatype(want) {
            let name = field.name();
            return Err(mismatch(format!(
                "column `{name}` is {want} in `{first}` and {have} in `{shown}`"
            )));
        }
        places.push(place);
    }
    Ok(places)
}

/// A column may be null when it may be null in any file.
fn plain_nulls(schema: &SchemaRef, found: &SchemaRef, places: &[usize]) -> SchemaRef {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .zip(places)
        .map(|(f, place)| {
            f.as_ref()
                .clone()
                .with_nullable(f.is_nullable() || found.field(*place).is_nullable())
        })
        .collect();
    Arc::new(arrow_schema::Schema::new(fields))
}

fn builder(
    store: &dyn Store,
    path: &str,
) -> Result<ParquetRecordBatchReaderBuilder<Chunks>, Failure> {
    let shown = store.shown(path);
    let file = Chunks(store.open(path)?);
    guarded(&shown, || {
        ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| classify(&e, During::Read(&shown)))
    })
}

/// The reader panics on some damaged files.
fn guarded<T>(shown: &str, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(bad_file(shown, "the file is damaged").cause(panic_text(panic.as_ref())))
    })
}

/// Rows of all files, one after the other.
pub(crate) struct ParquetDecoder {
    files: Arc<ParquetFiles>,
    filler: Filler,
    batch_rows: usize,
    next_file: usize,
    open: Option<OpenFile>,
}

struct OpenFile {
    reader: ParquetRecordBatchReader,
    shown: String,
    /// For each wanted column, its place among the columns of the reader.
    places: Vec<usize>,
}

impl ParquetDecoder {
    pub(crate) fn new(files: Arc<ParquetFiles>, filler: Filler, batch_rows: usize) -> Self {
        Self {
            files,
            filler,
            batch_rows,
            next_file: 0,
            open: None,
        }
    }

    fn open_next(&mut self) -> Result<bool, Failure> {
        let Some(file) = self.files.files.get(self.next_file) else {
            return Ok(false);
        };
        let shown = self.files.store.shown(&file.path);
        let builder = builder(self.files.store.as_ref(), &file.path)?;
        let wanted: Vec<usize> = self
            .filler
            .wanted()
            .into_iter()
            .map(|c| file.places[c])
            .collect();
        let mut read: Vec<usize> = wanted.clone();
        read.sort_unstable();
        let places = wanted
            .iter()
            .filter_map(|w| read.iter().position(|r| r == w))
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let rows = self.batch_rows;
        let reader = guarded(&shown, || {
            builder
                .with_projection(mask)
                .with_batch_size(rows)
                .build()
                .map_err(|e| classify(&e, During::Read(&shown)))
        })?;
        self.open = Some(OpenFile {
            reader,
            shown,
            places,
        });
        self.next_file += 1;
        Ok(true)
    }
}

impl Decode for ParquetDecoder {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(OpenFile {
                reader,
                shown,
                places,
            }) = self.open.as_mut()
            else {
                continue;
            };
            let next = guarded(shown, || {
                reader
                    .next()
                    .transpose()
                    .map_err(|e| classify(&e, During::Read(shown)))
            })?;
            let Some(batch) = next else {
                self.open = None;
                continue;
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let mut columns: Vec<ArrayRef> = Vec::with_capacity(places.len());
            for (place, column) in places.iter().zip(self.filler.wanted()) {
                let wanted = self.filler.schema().field(column).data_type();
                columns.push(to_plain(batch.column(*place), wanted, During::Read(shown))?);
            }
            return self.filler.fill(columns, batch.num_rows()).map(Some);
        }
    }
}
