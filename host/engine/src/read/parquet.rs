//! Parquet files, row group after row group.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef};
use odibi_story::failure::Failure;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::statistics::Statistics;

use super::unify::Described;
use super::{Chunk, FileDecode, Wanted, guarded, unpack};
use crate::failure::{During, classify};
use crate::prune::Bound;
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

/// Row groups that may hold rows of use, by what their statistics say. Each bound comes with the place of its column.
fn groups(
    builder: &ParquetRecordBatchReaderBuilder<Chunks>,
    bounds: &[(usize, &Bound)],
) -> Vec<usize> {
    let all = builder.metadata().row_groups();
    let mut kept = vec![true; all.len()];
    for (place, bound) in bounds {
        let (Some(least), Some(most)) = edges(builder, *place) else {
            continue;
        };
        for (group, kept) in kept.iter_mut().enumerate() {
            *kept &= bound.admits(&least.slice(group, 1), &most.slice(group, 1));
        }
    }
    (0..all.len()).filter(|group| kept[*group]).collect()
}

/// The least and the greatest value of the column in each row group, or null where that is not known.
fn edges(
    builder: &ParquetRecordBatchReaderBuilder<Chunks>,
    place: usize,
) -> (Option<ArrayRef>, Option<ArrayRef>) {
    let (schema, groups) = (builder.parquet_schema(), builder.metadata().row_groups());
    let mut leaves =
        (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == place);
    let (Some(leaf), None) = (leaves.next(), leaves.next()) else {
        return (None, None);
    };
    // Old writers compared texts and unsigned numbers as if they were signed.
    let is_old = groups.iter().any(|group| {
        let statistics = group.column(leaf).statistics();
        statistics.is_some_and(Statistics::is_min_max_deprecated)
    });
    let field = builder.schema().field(place);
    let converter = StatisticsConverter::from_column_index(leaf, field, schema);
    match converter {
        Ok(converter) if !is_old => (
            converter.row_group_mins(groups).ok(),
            converter.row_group_maxes(groups).ok(),
        ),
        Ok(_) | Err(_) => (None, None),
    }
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
        bounds: &[(usize, &Bound)],
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let mut builder = builder(blob, shown)?;
        if !bounds.is_empty() {
            let groups = guarded(shown, || Ok(groups(&builder, bounds)))?;
            builder = builder.with_row_groups(groups);
        }
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
