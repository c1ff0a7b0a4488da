//! A [`Blob`] as the libraries want it: a stream of bytes, or ranges of a Parquet file.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::Blob;

/// Bytes that Parquet's parser of page headers reads at once.
const PAGE_BUFFER_BYTES: usize = 8 * 1024;

/// Reads a blob from its start to its end. Not buffered: ask for much at once.
#[derive(Debug)]
pub(crate) struct BlobReader {
    blob: Arc<dyn Blob>,
    at: u64,
}

impl BlobReader {
    pub(crate) fn new(blob: Arc<dyn Blob>) -> Self {
        Self::starting_at(blob, 0)
    }

    pub(crate) fn starting_at(blob: Arc<dyn Blob>, at: u64) -> Self {
        Self { blob, at }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let filled = self.blob.read_into(self.at, buffer);
        let filled = filled.map_err(io::Error::other)?;
        self.at += filled as u64;
        Ok(filled)
    }
}

/// A blob for Parquet's reader.
#[derive(Debug)]
pub(crate) struct Chunks(pub(crate) Arc<dyn Blob>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<BlobReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let blob = Arc::clone(&self.0);
        let reader = BlobReader { blob, at: start };
        Ok(BufReader::with_capacity(PAGE_BUFFER_BYTES, reader))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A damaged footer can name any length.
        if start.saturating_add(length as u64) > self.0.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are beyond the end"
            )));
        }
        let read = self.0.read_at(start, length);
        let bytes = read.map_err(|failure| ParquetError::External(Box::new(failure)))?;
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(ParquetError::EOF(format!(
                "{length} bytes were expected at {start}, there are {}",
                bytes.len()
            )))
        }
    }
}
