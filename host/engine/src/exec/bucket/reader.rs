//! The rows of some buckets of a port, in batches of a size that depends on the rows alone: not on what was in memory,
//! and not on how they came.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::coalesce::BatchCoalescer;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use odibi_story::failure::Failure;

use super::plan::Shelf;
use super::shape::Shape;
use super::store::Part;
use crate::failure::{During, classify};
use crate::limits::BATCH_BYTES_MAX;
use crate::read::columns::Filler;

/// Whose order the rows have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Bucket by bucket, inside a bucket that of the source.
    Buckets,
    /// That of the source, by the last column.
    Source,
}

/// Reads some buckets of a port.
pub(crate) struct BucketReader {
    shelf: Arc<Shelf>,
    store: usize,
    buckets: Range<usize>,
    order: Order,
    filler: Filler,
    coalescer: BatchCoalescer,
    part: usize,
    bucket: usize,
    open: Option<Part>,
    ended: bool,
}

impl BucketReader {
    /// Over the store of the shelf that has this index, in batches of so many rows at most.
    pub(crate) fn new(
        shelf: &Arc<Shelf>,
        store: usize,
        buckets: Range<usize>,
        shape: &Shape,
        order: Order,
        batch_rows: usize,
    ) -> Self {
        let weight = shelf.weight(store, buckets.clone());
        let rows = (weight.rows * BATCH_BYTES_MAX as u64) / weight.bytes.max(1);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let rows = rows.clamp(1, batch_rows.max(1));
        Self {
            shelf: Arc::clone(shelf),
            store,
            order: if buckets.len() > 1 {
                order
            } else {
                Order::Buckets
            },
            bucket: buckets.start,
            buckets,
            filler: shape.filler(),
            coalescer: BatchCoalescer::new(Arc::clone(shape.stored()), rows),
            part: 0,
            open: None,
            ended: false,
        }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if let Some(batch) = self.coalescer.next_completed_batch() {
                let rows = batch.num_rows();
                return self.filler.fill(batch.columns().to_vec(), rows).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            let piece = match self.order {
                Order::Buckets => self.of_buckets()?,
                Order::Source => self.of_source()?,
            };
            let taken = match piece {
                Some(piece) => self.coalescer.push_batch(piece),
                None => {
                    self.ended = true;
                    self.coalescer.finish_buffered_batch()
                }
            };
            taken.map_err(|e| classify(&e, During::Run))?;
        }
    }

    fn of_buckets(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let store = self.shelf.store(self.store);
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return batch.map(Some);
            }
            if self.part == store.parts() {
                (self.part, self.bucket) = (0, self.bucket + 1);
            }
            if self.bucket >= self.buckets.end || store.parts() == 0 {
                return Ok(None);
            }
            self.open = Some(store.part(self.part, self.bucket)?);
            self.part += 1;
        }
    }

    /// The rows of all buckets in the next part: as many as fit into memory at once, since a part was written from there.
    fn of_source(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let store = self.shelf.store(self.store);
        while self.part < store.parts() {
            let mut pieces = Vec::new();
            for bucket in self.buckets.clone() {
                for batch in store.part(self.part, bucket)? {
                    pieces.push(batch?);
                }
            }
            self.part += 1;
            if !pieces.is_empty() {
                return in_order(&pieces).map(Some);
            }
        }
        Ok(None)
    }
}

impl Iterator for BucketReader {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// By the number of the row, which is the last column.
fn in_order(pieces: &[RecordBatch]) -> Result<RecordBatch, Failure> {
    let failed = |e| classify(&e, During::Run);
    let batch = concat_batches(pieces[0].schema_ref(), pieces).map_err(failed)?;
    let last = batch.num_columns() - 1;
    let numbers = batch.column(last).as_primitive::<UInt64Type>().values();
    if numbers.is_sorted() {
        return Ok(batch);
    }
    let mut rows: Vec<u32> = (0_u32..).take(batch.num_rows()).collect();
    rows.sort_unstable_by_key(|row| numbers[*row as usize]);
    take_record_batch(&batch, &UInt32Array::from(rows)).map_err(failed)
}
