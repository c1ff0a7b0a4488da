//! Rows of Parquet files, as columns of the types that Parquet has.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use odibi_story::failure::{Failure, FailureClass};
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::KeyValue;
use parquet::file::reader::ChunkReader;

use super::{mismatch, side, unreadable, unreadable_for};
use crate::failure::{During, classify, panic_text};
use crate::store::Blob;
use crate::store::blob::Chunks;
use crate::target::keys::KeyMaker;
use crate::target::merge::{Keyed, KeyedRows};

/// Rows of Parquet files, one after the other.
pub(crate) struct ColumnRows {
    schema: SchemaRef,
    keys: Option<KeyMaker>,
    files: std::vec::IntoIter<Opened>,
    open: Option<Opened>,
    existing: bool,
    shown: String,
}

struct Opened {
    reader: ParquetRecordBatchReader,
    /// Of each column of the schema, its place in the file.
    places: Vec<usize>,
}

impl ColumnRows {
    /// Rows of the target, in the order of its own columns. They must be those of the batch.
    pub(crate) fn existing(
        blobs: &[Arc<dyn Blob>],
        batch: &File,
        keys: Option<KeyMaker>,
        batch_rows: usize,
        shown: &str,
    ) -> Result<Self, Failure> {
        let own = builder(cloned(batch)?, shown)?.schema().clone();
        let mut schema: Option<SchemaRef> = None;
        let mut opened = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let builder = guarded(shown, || builder(Chunks(Arc::clone(blob)), shown))
                .map_err(|failure| unreadable_for(shown, failure))?;
            let found = builder.schema().clone();
            let first = schema.get_or_insert_with(|| Arc::clone(&found));
            check(first, &found, shown)?;
            let merged = nullable(first, &found);
            *first = merged;
            opened.push((builder, found));
        }
        let schema = schema.unwrap_or_else(|| Arc::clone(&own));
        check(&schema, &own, shown)?;
        let schema = nullable(&schema, &own);
        let mut files = Vec::with_capacity(opened.len());
        for (builder, found) in opened {
            files.push(open(builder, &found, &schema, batch_rows, shown)?);
        }
        Ok(Self {
            schema,
            keys,
            files: files.into_iter(),
            open: None,
            existing: true,
            shown: shown.to_owned(),
        })
    }

    /// Rows of the batch, in the columns of the target.
    pub(crate) fn batch(
        file: &File,
        schema: Option<SchemaRef>,
        keys: Option<KeyMaker>,
        batch_rows: usize,
        shown: &str,
    ) -> Result<Self, Failure> {
        let builder = builder(cloned(file)?, shown)?;
        let own = builder.schema().clone();
        let schema = schema.unwrap_or_else(|| Arc::clone(&own));
        let opened = open(builder, &own, &schema, batch_rows, shown)?;
        Ok(Self {
            schema,
            keys,
            files: vec![opened].into_iter(),
            open: None,
            existing: false,
            shown: shown.to_owned(),
        })
    }

    fn keyed(&self, rows: RecordBatch) -> Result<Keyed, Failure> {
        let Some(maker) = &self.keys else {
            return Ok(Keyed {
                keys: BinaryArray::new_null(rows.num_rows()),
                rows,
                order: None,
            });
        };
        let columns: Option<Vec<ArrayRef>> = maker
            .names()
            .iter()
            .map(|name| rows.column_by_name(name).cloned())
            .collect();
        let columns = columns.ok_or_else(|| mismatch(&self.shown, "a key column is not there"))?;
        let made = maker.make(&columns, side(self.existing))?;
        Ok(Keyed {
            rows,
            keys: made.keys,
            order: made.order,
        })
    }
}

impl KeyedRows for ColumnRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        loop {
            if self.open.is_none() {
                self.open = self.files.next();
            }
            let Some(open) = self.open.as_mut() else {
                return Ok(None);
            };
            let read = guarded(&self.shown, || {
                let next = open.reader.next().transpose();
                next.map_err(|e| classify(&e, During::Read(&self.shown)))
            });
            let read = match read {
                Err(failure) if self.existing => return Err(unreadable_for(&self.shown, failure)),
                other => other?,
            };
            let Some(batch) = read else {
                self.open = None;
                continue;
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let columns = open.places.iter().map(|at| Arc::clone(batch.column(*at)));
            let options =
                arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let rows = RecordBatch::try_new_with_options(
                Arc::clone(&self.schema),
                columns.collect(),
                &options,
            );
            return self
                .keyed(rows.map_err(|e| classify(&e, During::Run))?)
                .map(Some);
        }
    }
}

/// What stands in the footer of a Parquet file under a key.
pub(crate) fn footer(
    blob: &Arc<dyn Blob>,
    key: &str,
    shown: &str,
) -> Result<Option<String>, Failure> {
    let read = guarded(shown, || builder(Chunks(Arc::clone(blob)), shown));
    let builder = read.map_err(|failure| unreadable_for(shown, failure))?;
    let metadata = builder.metadata().file_metadata();
    let pairs: &[KeyValue] = metadata.key_value_metadata().map_or(&[], Vec::as_slice);
    let found = pairs.iter().find(|pair| pair.key == key);
    Ok(found.and_then(|pair| pair.value.clone()))
}

fn builder<T: ChunkReader + 'static>(
    file: T,
    shown: &str,
) -> Result<ParquetRecordBatchReaderBuilder<T>, Failure> {
    // The types of Parquet, and not those that another writer has noted beside them.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|e| classify(&e, During::Read(shown)))
}

fn open<T: ChunkReader + 'static>(
    builder: ParquetRecordBatchReaderBuilder<T>,
    found: &Schema,
    schema: &Schema,
    batch_rows: usize,
    shown: &str,
) -> Result<Opened, Failure> {
    let places: Option<Vec<usize>> = schema
        .fields()
        .iter()
        .map(|field| found.index_of(field.name()).ok())
        .collect();
    let places = places.ok_or_else(|| mismatch(shown, "a column is missing"))?;
    let reader = builder.with_batch_size(batch_rows.max(1)).build();
    let reader = reader.map_err(|e| classify(&e, During::Read(shown)))?;
    Ok(Opened { reader, places })
}

/// The same names, in any order, with the same types.
fn check(wanted: &Schema, found: &Schema, shown: &str) -> Result<(), Failure> {
    for field in found.fields() {
        let Ok(other) = wanted.field_with_name(field.name()) else {
            let what = format!("column `{}` is new", field.name());
            return Err(mismatch(shown, &what));
        };
        if !other.data_type().equals_datatype(field.data_type()) {
            let what = format!(
                "column `{}` is {} and not {}",
                field.name(),
                field.data_type(),
                other.data_type()
            );
            return Err(mismatch(shown, &what));
        }
    }
    let missing = wanted
        .fields()
        .iter()
        .find(|field| found.field_with_name(field.name()).is_err());
    match missing {
        Some(field) => {
            let what = format!("column `{}` is missing", field.name());
            Err(mismatch(shown, &what))
        }
        None => Ok(()),
    }
}

/// A column may be null when it may be null in either. Inner fields are those of the first.
fn nullable(first: &Schema, second: &Schema) -> SchemaRef {
    let fields: Vec<Field> = first
        .fields()
        .iter()
        .map(|field| {
            let other = second.field_with_name(field.name());
            let nulls = field.is_nullable() || other.is_ok_and(Field::is_nullable);
            field.as_ref().clone().with_nullable(nulls)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Handles on one file share a position; the reader of Parquet sets it before it reads.
fn cloned(file: &File) -> Result<File, Failure> {
    file.try_clone().map_err(|e| classify(&e, During::Scratch))
}

/// The reader panics on some damaged files.
fn guarded<T>(shown: &str, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let mut failure = unreadable(shown, "the file is damaged");
        failure.class = FailureClass::Data;
        Err(failure.cause(panic_text(panic.as_ref())))
    })
}
