//! Outputs: batches into a file of a connection, in one of the formats, and into the spool for dependent nodes.

pub(crate) mod arrow;
pub(crate) mod bad_rows;
pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod packed;
pub(crate) mod parquet;
pub(crate) mod quarantine;
pub(crate) mod spool;
pub(crate) mod times;

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use odibi_plan::plan::WriteFormat;
use odibi_story::failure::{Failure, FailureClass, code};

/// Bytes collected before they go to the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// Writes batches in a format.
pub(crate) trait WriteTable: Send {
    /// Appends a batch of the schema.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure>;
    /// Leaves a note for those who know where to look, in formats that have a place for it.
    fn note(&mut self, _key: &str, _value: &str) {}
    /// Writes what is left.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// Begins a file. `shown` names the target in messages.
pub(crate) fn begin(
    format: &WriteFormat,
    schema: &SchemaRef,
    file: File,
    shown: &str,
) -> Result<Box<dyn WriteTable>, Failure> {
    let mut seen = HashSet::new();
    if let Some(twice) = schema.fields().iter().find(|f| !seen.insert(f.name())) {
        let message = format!("the result has two columns of one name: `{}`", twice.name());
        return Err(
            Failure::new(FailureClass::Data, code::WRITE_DUPLICATE_COLUMN, message)
                .hint("rename one of them before the write"),
        );
    }
    let file = BufWriter::with_capacity(BUFFER_BYTES, file);
    Ok(match format {
        WriteFormat::Csv(options) => Box::new(csv::CsvWriter::new(schema, file, options, shown)?),
        WriteFormat::Json(options) => Box::new(json::JsonWriter::new(file, *options, shown)?),
        WriteFormat::Parquet(options) => {
            Box::new(parquet::ParquetWriter::new(schema, file, *options, shown)?)
        }
        WriteFormat::Arrow(options) => {
            Box::new(arrow::ArrowWriter::new(schema, file, *options, shown)?)
        }
        WriteFormat::Delta(_) => return Err(crate::failure::internal("no driver writes `delta`")),
    })
}
