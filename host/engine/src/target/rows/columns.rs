//! Rows of Parquet files, as columns of the types that Parquet has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use odibi_story::failure::{Failure, FailureClass};
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ArrowSchemaConverter, parquet_to_arrow_schema};
use parquet::file::metadata::KeyValue;
use parquet::file::reader::ChunkReader;

use super::{Batch, directory_field, mismatch, side, unreadable, unreadable_for};
use crate::failure::{During, classify, internal, panic_text};
use crate::store::Blob;
use crate::store::blob::Chunks;
use crate::target::keys::KeyMaker;
use crate::target::merge::{Keyed, KeyedRows};
use crate::target::source::{Partition, Piece, Source};

/// Rows of Parquet files, one after the other.
pub(crate) struct ColumnRows {
    /// Columns of the files.
    file_schema: SchemaRef,
    /// Those, and the directory where there are partitions.
    schema: SchemaRef,
    keys: Option<KeyMaker>,
    sources: std::vec::IntoIter<Source>,
    pieces: std::vec::IntoIter<Piece>,
    open: Option<Opened>,
    batch_rows: usize,
    existing: bool,
    shown: String,
}

struct Opened {
    reader: ParquetRecordBatchReader,
    /// Of each column of the schema, its place in the file, if it has one.
    places: Vec<Option<usize>>,
    partition: Option<Arc<Partition>>,
}

impl ColumnRows {
    /// Rows of the target, in the order of its own columns. They must be those of the batch.
    pub(crate) fn existing(
        sources: &[Source],
        batch: &Batch<'_>,
        shown: &str,
    ) -> Result<Self, Failure> {
        let own = own_schema(batch, shown)?;
        let evolves = batch.evolves;
        let mut schema: Option<SchemaRef> = None;
        for source in sources {
            let found = file_schema(source, shown)?;
            schema = Some(match schema {
                Some(first) if evolves => union(&first, &found, shown)?,
                Some(first) => {
                    check(&found, &first, false, shown)?;
                    nullable(&first, &found)
                }
                None => found,
            });
        }
        let schema = schema.unwrap_or_else(|| Arc::clone(&own));
        check(&own, &schema, evolves, shown)?;
        let schema = union(&schema, &own, shown)?;
        let parted = sources.iter().any(|source| source.partition.is_some());
        Ok(Self {
            schema: with_directory(&schema, parted),
            file_schema: schema,
            keys: batch.key_maker(shown)?,
            sources: Vec::from(sources).into_iter(),
            pieces: Vec::new().into_iter(),
            open: None,
            batch_rows: batch.batch_rows,
            existing: true,
            shown: shown.to_owned(),
        })
    }

    /// Rows of the batch, in the columns of the target.
    pub(crate) fn batch(
        batch: &Batch<'_>,
        schema: Option<SchemaRef>,
        shown: &str,
    ) -> Result<Self, Failure> {
        let schema = match schema {
            Some(schema) => schema,
            None => own_schema(batch, shown)?,
        };
        let parted = batch.pieces.iter().any(|piece| piece.partition.is_some());
        Ok(Self {
            schema: with_directory(&schema, parted),
            file_schema: schema,
            keys: batch.key_maker(shown)?,
            sources: Vec::new().into_iter(),
            pieces: batch.pieces.clone().into_iter(),
            open: None,
            batch_rows: batch.batch_rows,
            existing: false,
            shown: shown.to_owned(),
        })
    }

    /// Columns of the files.
    pub(super) fn file_schema(&self) -> SchemaRef {
        Arc::clone(&self.file_schema)
    }

    /// Begins the next file; false at the end of all.
    fn begin_next(&mut self) -> Result<bool, Failure> {
        let (schema, rows, shown) = (&self.file_schema, self.batch_rows, &self.shown);
        if let Some(source) = self.sources.next() {
            let opened = guarded(shown, || {
                let builder = builder(Chunks(source.open()?), shown)?;
                open(builder, schema, source.partition.clone(), rows, shown)
            });
            self.open = Some(opened.map_err(|failure| unreadable_for(shown, failure))?);
            return Ok(true);
        }
        let Some(piece) = self.pieces.next() else {
            return Ok(false);
        };
        let builder = builder(piece.open()?, shown)?;
        self.open = Some(open(builder, schema, piece.partition.clone(), rows, shown)?);
        Ok(true)
    }

    fn keyed(&self, file: &RecordBatch, partition: Option<&Partition>) -> Result<Keyed, Failure> {
        let count = file.num_rows();
        let mut columns = file.columns().to_vec();
        columns.extend(partition.map(|partition| partition.dirs(count)));
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| classify(&e, During::Run))?;
        let Some(maker) = &self.keys else {
            return Ok(Keyed {
                keys: BinaryArray::new_null(count),
                rows,
                order: None,
            });
        };
        let mut columns: Vec<ArrayRef> = Vec::new();
        for name in maker.names() {
            let fixed = match partition {
                Some(partition) => partition.column(&name, count)?,
                None => None,
            };
            let column = fixed.or_else(|| file.column_by_name(&name).cloned());
            columns.push(column.ok_or_else(|| mismatch(&self.shown, "a key column is not there"))?);
        }
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
            if self.open.is_none() && !self.begin_next()? {
                return Ok(None);
            }
            let Some(open) = self.open.as_mut() else {
                continue;
            };
            let shown = &self.shown;
            let read = guarded(shown, || {
                let next = open.reader.next().transpose();
                next.map_err(|e| classify(&e, During::Read(shown)))
            });
            let read = match read {
                Err(failure) if self.existing => return Err(unreadable_for(shown, failure)),
                other => other?,
            };
            let Some(batch) = read else {
                self.open = None;
                continue;
            };
            if batch.num_rows() == 0 {
                continue;
            }
            let fields = self.file_schema.fields().iter();
            let columns = open.places.iter().zip(fields).map(|(at, field)| match at {
                Some(at) => Arc::clone(batch.column(*at)),
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let rows = RecordBatch::try_new_with_options(
                Arc::clone(&self.file_schema),
                columns.collect(),
                &options,
            );
            let rows = rows.map_err(|e| classify(&e, During::Run))?;
            let partition = open.partition.clone();
            return self.keyed(&rows, partition.as_deref()).map(Some);
        }
    }
}

/// Columns of a file of the target.
pub(crate) fn file_schema(source: &Source, shown: &str) -> Result<SchemaRef, Failure> {
    let found = guarded(shown, || {
        let builder = builder(Chunks(source.open()?), shown)?;
        Ok(Arc::clone(builder.schema()))
    });
    found.map_err(|failure| unreadable_for(shown, failure))
}

/// Columns as they come back from a file.
pub(crate) fn stored(schema: &Schema, shown: &str) -> Result<Schema, Failure> {
    let failed = |e| classify(&e, During::Write(shown));
    let written = ArrowSchemaConverter::new()
        .convert(&crate::write::parquet::stored(schema))
        .map_err(failed)?;
    parquet_to_arrow_schema(&written, None).map_err(failed)
}

/// Columns of the batch, in the types that Parquet has.
fn own_schema(batch: &Batch<'_>, shown: &str) -> Result<SchemaRef, Failure> {
    let piece = batch.pieces.first();
    let piece = piece.ok_or_else(|| internal("a batch without a file is merged"))?;
    Ok(Arc::clone(builder(piece.open()?, shown)?.schema()))
}

fn with_directory(schema: &SchemaRef, parted: bool) -> SchemaRef {
    let own = schema.fields().iter().cloned();
    let fields: Vec<_> = own.chain(parted.then(directory_field)).collect();
    Arc::new(Schema::new(fields))
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
    schema: &Schema,
    partition: Option<Arc<Partition>>,
    batch_rows: usize,
    shown: &str,
) -> Result<Opened, Failure> {
    let found = builder.schema();
    let places = schema
        .fields()
        .iter()
        .map(|field| found.index_of(field.name()).ok())
        .collect();
    let reader = builder.with_batch_size(batch_rows.max(1)).build();
    let reader = reader.map_err(|e| classify(&e, During::Read(shown)))?;
    Ok(Opened {
        reader,
        places,
        partition,
    })
}

/// The same names, in any order, with the same types. `lacks`: those that are found may be fewer.
fn check(wanted: &Schema, found: &Schema, lacks: bool, shown: &str) -> Result<(), Failure> {
    for field in found.fields() {
        let Ok(other) = wanted.field_with_name(field.name()) else {
            let what = format!("column `{}` is missing", field.name());
            return Err(mismatch(shown, &what));
        };
        same_type(field, other, shown)?;
    }
    let new = wanted
        .fields()
        .iter()
        .find(|field| found.field_with_name(field.name()).is_err());
    match new.filter(|_| !lacks) {
        Some(field) => {
            let what = format!("column `{}` is new", field.name());
            Err(mismatch(shown, &what))
        }
        None => Ok(()),
    }
}

fn same_type(there: &Field, own: &Field, shown: &str) -> Result<(), Failure> {
    if there.data_type().equals_datatype(own.data_type()) {
        return Ok(());
    }
    let what = format!(
        "column `{}` is {} and not {}",
        own.name(),
        own.data_type(),
        there.data_type()
    );
    Err(mismatch(shown, &what))
}

/// A column may be null when it may be null in either. Inner fields are those of the first.
fn nullable(first: &Schema, second: &Schema) -> SchemaRef {
    let fields: Vec<Field> = first
        .fields()
        .iter()
        .map(|field| {
            let other = second.field_with_name(field.name());
            let nulls = field.is_nullable() || other.map_or(true, Field::is_nullable);
            field.as_ref().clone().with_nullable(nulls)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The columns of both, those that only the second has behind.
pub(crate) fn union(first: &Schema, second: &Schema, shown: &str) -> Result<SchemaRef, Failure> {
    let mut fields: Vec<Arc<Field>> = nullable(first, second).fields().iter().cloned().collect();
    for field in second.fields() {
        match first.field_with_name(field.name()) {
            Ok(there) => same_type(there, field, shown)?,
            Err(_) => fields.push(Arc::new(field.as_ref().clone().with_nullable(true))),
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The reader panics on some damaged files.
fn guarded<T>(shown: &str, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let mut failure = unreadable(shown, "the file is damaged");
        failure.class = FailureClass::Data;
        Err(failure.cause(panic_text(panic.as_ref())))
    })
}
