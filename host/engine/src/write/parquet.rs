//! One Parquet file. The Arrow schema is not embedded: readers then choose their own types, and pandas can filter. Times of
//! whole seconds, for which Parquet has no type, become milliseconds.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use odibi_plan::plan::{Compression, ParquetWrite};
use odibi_story::failure::Failure;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::WriteTable;
use crate::failure::{During, classify};
use crate::limits::ROW_GROUP_BYTES_MAX;

/// Zstandard level.
const ZSTD_LEVEL: i32 = 3;

/// Writes Parquet.
pub(crate) struct ParquetWriter {
    writer: ArrowWriter<BufWriter<File>>,
    schema: SchemaRef,
    shown: String,
}

impl ParquetWriter {
    pub(crate) fn new(
        schema: &SchemaRef,
        file: BufWriter<File>,
        options: ParquetWrite,
        shown: &str,
    ) -> Result<Self, Failure> {
        let fault = |e: parquet::errors::ParquetError| classify(&e, During::Write(shown));
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
        let writer = ArrowWriter::try_new_with_options(file, SchemaRef::clone(&schema), arrow)
            .map_err(fault)?;
        Ok(Self {
            writer,
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
        let fault = |e: parquet::errors::ParquetError| classify(&e, During::Write(&self.shown));
        let seconds = batch.schema_ref().fields() != self.schema.fields();
        if seconds {
            self.writer.write(&self.cast(batch)?).map_err(fault)?;
        } else {
            self.writer.write(batch).map_err(fault)?;
        }
        if self.writer.memory_size() > ROW_GROUP_BYTES_MAX {
            self.writer.flush().map_err(fault)?;
        }
        Ok(())
    }

    fn note(&mut self, key: &str, value: &str) {
        let note = KeyValue::new(key.to_owned(), value.to_owned());
        self.writer.append_key_value_metadata(note);
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let file = self
            .writer
            .into_inner()
            .map_err(|e| classify(&e, During::Write(&self.shown)))?;
        file.into_inner()
            .map(drop)
            .map_err(|e| classify(e.error(), During::Write(&self.shown)))
    }
}
