//! A node's output kept for the nodes that read it: an uncompressed Arrow IPC stream in the scratch directory, removed
//! when nobody holds it any more.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use odibi_story::failure::Failure;
use tempfile::TempPath;

use crate::failure::{During, classify};

/// A complete spool.
#[derive(Debug)]
pub(crate) struct Spool {
    path: TempPath,
    schema: SchemaRef,
    batch: String,
}

impl Spool {
    /// Hash of what the rows come from.
    pub(crate) fn batch(&self) -> &str {
        &self.batch
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

/// Writes a spool.
pub(crate) struct SpoolWriter {
    path: TempPath,
    schema: SchemaRef,
    writer: StreamWriter<BufWriter<File>>,
}

impl SpoolWriter {
    /// Creates the file.
    pub(crate) fn create(scratch: &Path, schema: &SchemaRef) -> Result<Self, Failure> {
        let file = tempfile::Builder::new()
            .prefix("node-")
            .suffix(".arrow")
            .tempfile_in(scratch)
            .map_err(|e| classify(&e, During::Scratch))?;
        let (file, path) = file.into_parts();
        let writer = StreamWriter::try_new(BufWriter::with_capacity(256 * 1024, file), schema)
            .map_err(|e| classify(&e, During::Scratch))?;
        Ok(Self {
            path,
            schema: SchemaRef::clone(schema),
            writer,
        })
    }

    /// Appends a batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.writer
            .write(batch)
            .map_err(|e| classify(&e, During::Scratch))
    }

    /// Ends the stream. `batch` is the hash of what the rows come from.
    pub(crate) fn finish(self, batch: &str) -> Result<Spool, Failure> {
        self.writer
            .into_inner()
            .map_err(|e| classify(&e, During::Scratch))?
            .into_inner()
            .map_err(|e| classify(e.error(), During::Scratch))?;
        Ok(Spool {
            path: self.path,
            schema: self.schema,
            batch: batch.to_owned(),
        })
    }
}
