//! Parquet files, row group after row group.

use std::sync::Arc;

use odibi_story::failure::Failure;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::unify::Described;
use super::{Chunk, FileDecode, Wanted, guarded, unpack};
use crate::failure::{During, classify};
use crate::store::Blob;
use crate::store::blob::Chunks;

/// The columns of a file, from its footer.
pub(crate) fn describe(blob: &Arc<dyn Blob>, shown: &str) -> Result<Described, Failure> {
    let builder = builder(blob, shown)?;
    check_sizes(&builder, shown)?;
    Described::typed(builder.schema(), shown)
}

fn builder(
    blob: &Arc<dyn Blob>,
    shown: &str,
) -> Result<ParquetRecordBatchReaderBuilder<Chunks>, Failure> {
    guarded(shown, || {
        ParquetRecordBatchReaderBuilder::try_new(Chunks(Arc::clone(blob)))
            .map_err(|e| classify(&e, During::Read(shown)))
    })
}

/// A column of a row group must not grow beyond all measure when it is unpacked.
fn check_sizes(
    builder: &ParquetRecordBatchReaderBuilder<Chunks>,
    shown: &str,
) -> Result<(), Failure> {
    for group in builder.metadata().row_groups() {
        for column in group.columns() {
            let bytes = |n: i64| u64::try_from(n).unwrap_or_default();
            unpack::check_ratio(
                bytes(column.compressed_size()),
                bytes(column.uncompressed_size()),
                shown,
            )?;
        }
    }
    Ok(())
}

/// Rows of a file.
pub(crate) struct ParquetDecoder {
    reader: ParquetRecordBatchReader,
    shown: String,
    /// For each wanted column, its place among the columns of the reader.
    places: Vec<usize>,
}

impl ParquetDecoder {
    pub(crate) fn open(
        blob: &Arc<dyn Blob>,
        shown: &str,
        wanted: &[Wanted],
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let builder = builder(blob, shown)?;
        let mut read: Vec<usize> = wanted.iter().map(|w| w.place).collect();
        read.sort_unstable();
        let places = wanted
            .iter()
            .filter_map(|w| read.iter().position(|r| *r == w.place))
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), read);
        let reader = guarded(shown, || {
            builder
                .with_projection(mask)
                .with_batch_size(batch_rows)
                .build()
                .map_err(|e| classify(&e, During::Read(shown)))
        })?;
        Ok(Self {
            reader,
            shown: shown.to_owned(),
            places,
        })
    }
}

impl FileDecode for ParquetDecoder {
    fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        let (reader, shown) = (&mut self.reader, &self.shown);
        let next = guarded(shown, || {
            reader
                .next()
                .transpose()
                .map_err(|e| classify(&e, During::Read(shown)))
        })?;
        Ok(next.map(|batch| {
            let column = |place: &usize| Arc::clone(batch.column(*place));
            let arrays = self.places.iter().map(column).collect();
            Chunk::new(arrays, batch.num_rows())
        }))
    }
}
