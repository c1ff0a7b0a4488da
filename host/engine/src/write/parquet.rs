//! One Parquet file. The Arrow schema is not embedded: readers then choose their own types, and pandas can filter.

use std::fs::File;
use std::io::BufWriter;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
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
        let writer = ArrowWriter::try_new_with_options(file, SchemaRef::clone(schema), arrow)
            .map_err(fault)?;
        Ok(Self {
            writer,
            shown: shown.to_owned(),
        })
    }
}

impl WriteTable for ParquetWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let fault = |e: parquet::errors::ParquetError| classify(&e, During::Write(&self.shown));
        self.writer.write(batch).map_err(fault)?;
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
