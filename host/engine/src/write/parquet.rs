//! One Parquet file. The Arrow schema is not embedded: readers then choose their own types, and pandas can filter. Times of
//! whole seconds, for which Parquet has no type, become milliseconds. Columns are encoded side by side.

use std::fs::File;
use std::io::BufWriter;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use odibi_plan::plan::{Compression, ParquetWrite};
use odibi_story::failure::Failure;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, ArrowWriterOptions,
    compute_leaves,
};
use parquet::basic;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::WriteTable;
use crate::failure::{During, classify};
use crate::limits::ROW_GROUP_BYTES_MAX;

/// Zstandard level.
const ZSTD_LEVEL: i32 = 3;

/// Threads that encode one batch: one alone is what a run with few steps waits for.
const THREADS_MAX: usize = 4;
/// Values for which another thread is worth its start.
const VALUES_MIN: usize = 16_384;

/// Writes Parquet.
pub(crate) struct ParquetWriter {
    writer: SerializedFileWriter<BufWriter<File>>,
    encoders: ArrowRowGroupWriterFactory,
    group: Option<Group>,
    group_rows_max: usize,
    threads: usize,
    schema: SchemaRef,
    shown: String,
}

/// A row group that is not in the file yet.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl ParquetWriter {
    pub(crate) fn new(
        schema: &SchemaRef,
        file: BufWriter<File>,
        options: ParquetWrite,
        shown: &str,
    ) -> Result<Self, Failure> {
        let fault = |e: ParquetError| classify(&e, During::Write(shown));
        let compression = match options.compression {
            Compression::None => basic::Compression::UNCOMPRESSED,
            Compression::Snappy => basic::Compression::SNAPPY,
            Compression::Zstd => {
                basic::Compression::ZSTD(basic::ZstdLevel::try_new(ZSTD_LEVEL).map_err(fault)?)
            }
            Compression::Gzip => basic::Compression::GZIP(basic::GzipLevel::default()),
            Compression::Lz4 => basic::Compression::LZ4_RAW,
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(options.row_group_rows))
            .set_statistics_enabled(if options.statistics {
                EnabledStatistics::Page
            } else {
                EnabledStatistics::None
            })
            .set_created_by(format!("odibi version {}", env!("CARGO_PKG_VERSION")))
            .build();
        let arrow = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let schema = stored(schema);
        let (writer, encoders) =
            ArrowWriter::try_new_with_options(file, SchemaRef::clone(&schema), arrow)
                .and_then(ArrowWriter::into_serialized_writer)
                .map_err(fault)?;
        Ok(Self {
            writer,
            encoders,
            group: None,
            group_rows_max: options.row_group_rows.max(1),
            threads: thread::available_parallelism().map_or(1, usize::from),
            schema,
            shown: shown.to_owned(),
        })
    }
}

impl ParquetWriter {
    fn cast(&self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        let failed = |e| classify(&e, During::Write(&self.shown));
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)
    }

    /// Encodes rows into as many row groups as they need.
    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut done = 0;
        while done < batch.num_rows() {
            let group = match &mut self.group {
                Some(group) => group,
                none => none.insert(Group {
                    columns: (self.encoders)
                        .create_column_writers(self.writer.flushed_row_groups().len())?,
                    rows: 0,
                }),
            };
            let rows = (batch.num_rows() - done).min(self.group_rows_max - group.rows);
            group.encode(&batch.slice(done, rows), self.threads)?;
            done += rows;
            if group.rows == self.group_rows_max || group.bytes() > ROW_GROUP_BYTES_MAX {
                self.end_group()?;
            }
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let mut to = self.writer.next_row_group()?;
        for column in group.columns {
            column.close()?.append_to_row_group(&mut to)?;
        }
        to.close().map(drop)
    }
}

impl Group {
    fn encode(&mut self, rows: &RecordBatch, threads: usize) -> Result<(), ParquetError> {
        let mut leaves = Vec::with_capacity(self.columns.len());
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            leaves.append(&mut compute_leaves(field, column)?);
        }
        let values = rows.num_rows() * leaves.len();
        let threads = (threads.min(THREADS_MAX))
            .min(leaves.len())
            .min(values / VALUES_MIN);
        // Each takes the next column: one of long texts takes longer than ten of numbers.
        let left = Mutex::new(self.columns.iter_mut().zip(&leaves));
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Result<(), ParquetError> {
            while let Some((column, leaf)) = next() {
                let leaf: &ArrowLeafColumn = leaf;
                column.write(leaf)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads)
                // Without another thread this one does it all.
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut ended = work();
            for other in others {
                let theirs = other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                ended = ended.and(theirs);
            }
            ended
        })?;
        self.rows += rows.num_rows();
        Ok(())
    }

    /// Bytes it holds.
    fn bytes(&self) -> usize {
        self.columns
            .iter()
            .map(ArrowColumnWriter::memory_size)
            .sum()
    }
}

/// Columns as Parquet can hold them: it has no times of whole seconds, and would keep bare numbers.
pub(crate) fn stored(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let DataType::Timestamp(TimeUnit::Second, zone) = field.data_type() else {
            return Arc::clone(field);
        };
        let wider = DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
        Arc::new(field.as_ref().clone().with_data_type(wider))
    };
    Arc::new(Schema::new(
        schema.fields().iter().map(field).collect::<Vec<_>>(),
    ))
}

impl WriteTable for ParquetWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let seconds = batch.schema_ref().fields() != self.schema.fields();
        let encoded = if seconds {
            self.encode(&self.cast(batch)?)
        } else {
            self.encode(batch)
        };
        encoded.map_err(|e| classify(&e, During::Write(&self.shown)))
    }

    fn note(&mut self, key: &str, value: &str) {
        let note = KeyValue::new(key.to_owned(), value.to_owned());
        self.writer.append_key_value_metadata(note);
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        let ended = self.end_group();
        let Self { writer, shown, .. } = *self;
        let file = (ended.and_then(|()| writer.into_inner()))
            .map_err(|e| classify(&e, During::Write(&shown)))?;
        file.into_inner()
            .map(drop)
            .map_err(|e| classify(e.error(), During::Write(&shown)))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringArray, StructArray};
    use arrow_select::concat::concat_batches;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// Rows with nulls, long texts, and a struct, which is two columns of the file.
    fn rows(first: i64, rows: i64) -> RecordBatch {
        let ids = || first..first + rows;
        let text = |i: i64| (i % 7 != 0).then(|| "ä".repeat(usize::try_from(i % 50).unwrap()));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(ids()));
        let texts: ArrayRef = Arc::new(ids().map(text).collect::<StringArray>());
        let flags: ArrayRef = Arc::new(ids().map(|i| Some(i % 3 == 0)).collect::<BooleanArray>());
        let inner = |name, column: &ArrayRef| {
            let field = Field::new(name, column.data_type().clone(), true);
            (Arc::new(field), Arc::clone(column))
        };
        let both: ArrayRef = Arc::new(StructArray::from(vec![
            inner("a", &texts),
            inner("b", &flags),
        ]));
        RecordBatch::try_from_iter_with_nullable([
            ("id", numbers, true),
            ("s", texts, true),
            ("both", both, true),
            ("b", flags, true),
        ])
        .unwrap()
    }

    #[test]
    fn columns_that_are_encoded_side_by_side_are_the_rows_that_came() {
        let parts = [rows(0, 3), rows(3, 0), rows(3, 60_000), rows(60_003, 9_997)];
        let all = concat_batches(&parts[0].schema(), &parts).unwrap();
        for (group_rows, groups) in [(1_000_000, 1), (32_000, 3), (70_000, 1), (7_000, 10)] {
            for threads in [1, 2, 16] {
                let (dir, options) = (tempfile::tempdir().unwrap(), ParquetWrite::default());
                let path = dir.path().join("t.parquet");
                let file = BufWriter::new(File::create(&path).unwrap());
                let options = ParquetWrite {
                    row_group_rows: group_rows,
                    ..options
                };
                let mut writer = ParquetWriter::new(&all.schema(), file, options, "t").unwrap();
                writer.threads = threads;
                parts.iter().for_each(|part| writer.write(part).unwrap());
                Box::new(writer).finish().unwrap();
                let reader =
                    ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
                assert_eq!(reader.metadata().num_row_groups(), groups, "{group_rows}");
                let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
                let read = concat_batches(&read[0].schema(), &read).unwrap();
                assert_eq!(read.columns(), all.columns(), "{group_rows} {threads}");
            }
        }
    }
}
