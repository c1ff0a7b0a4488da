//! Arrow IPC: the file format, which is Feather 2, or the stream format.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use arrow_array::RecordBatch;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::SchemaRef;
use odibi_plan::plan::{ArrowCompression, ArrowWrite};
use odibi_story::failure::Failure;

use super::WriteTable;
use crate::failure::{During, classify};

/// Writes Arrow IPC.
pub(crate) struct ArrowWriter {
    writer: Writer,
    shown: String,
}

enum Writer {
    File(FileWriter<BufWriter<File>>),
    Stream(StreamWriter<BufWriter<File>>),
}

impl ArrowWriter {
    pub(crate) fn new(
        schema: &SchemaRef,
        file: BufWriter<File>,
        options: ArrowWrite,
        shown: &str,
    ) -> Result<Self, Failure> {
        let fault = |e: arrow_schema::ArrowError| classify(&e, During::Write(shown));
        let compression = match options.compression {
            ArrowCompression::None => None,
            ArrowCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
            ArrowCompression::Zstd => Some(CompressionType::ZSTD),
        };
        let ipc = IpcWriteOptions::default()
            .try_with_compression(compression)
            .map_err(fault)?;
        let writer = if options.stream {
            Writer::Stream(StreamWriter::try_new_with_options(file, schema, ipc).map_err(fault)?)
        } else {
            Writer::File(FileWriter::try_new_with_options(file, schema, ipc).map_err(fault)?)
        };
        Ok(Self {
            writer,
            shown: shown.to_owned(),
        })
    }
}

impl WriteTable for ArrowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let written = match &mut self.writer {
            Writer::File(writer) => writer.write(batch),
            Writer::Stream(writer) => writer.write(batch),
        };
        written.map_err(|e| classify(&e, During::Write(&self.shown)))
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let shown = self.shown;
        let fault = |e: arrow_schema::ArrowError| classify(&e, During::Write(&shown));
        // `into_inner` ends the file.
        let mut file = match self.writer {
            Writer::File(writer) => writer.into_inner().map_err(fault)?,
            Writer::Stream(writer) => writer.into_inner().map_err(fault)?,
        };
        file.flush()
            .map_err(|e| classify(&e, During::Write(&shown)))
    }
}
