//! Rows of a batch in memory, found by their key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow_array::{Array as _, BinaryArray, RecordBatch, UInt32Array};
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_schema::{SchemaRef, SortOptions};
use arrow_select::concat::{concat, concat_batches};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use odibi_plan::plan::DuplicateKeys;
use odibi_story::failure::Failure;

use super::{Counts, How, Keyed, Out, Stream, Workspace};
use crate::failure::{During, classify};
use crate::target::keys::duplicate_in_target;

/// Bytes of the index for each row, besides its key.
const INDEX_BYTES: usize = 64;
/// Chunks are put into one batch: for a moment there are two of everything.
const COPIES: usize = 2;

/// Chunks of a batch.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(super) chunks: Vec<Keyed>,
    bytes: usize,
    rows: u64,
}

impl Loaded {
    pub(super) fn push(&mut self, keyed: Keyed) {
        let rows = keyed.rows.num_rows();
        self.bytes += keyed.rows.get_array_memory_size() * COPIES
            + keyed.keys.value_data().len() * COPIES
            + rows * INDEX_BYTES;
        self.rows += rows as u64;
        self.chunks.push(keyed);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of so many rows, as far as these tell.
    pub(super) fn estimate(&self, rows: u64) -> u64 {
        let each = self.bytes as u64 / self.rows.max(1);
        each.saturating_mul(rows).max(self.bytes as u64)
    }
}

/// A batch with its index.
pub(super) struct Held<'a> {
    how: How<'a>,
    rows: RecordBatch,
    /// Of each key, the row that stays.
    index: HashMap<Box<[u8]>, usize>,
    /// Of each row: does it stay?
    stays: Vec<bool>,
    counts: Counts,
    /// Rows with the key of another one, where that is a fault.
    duplicates: u64,
}

impl<'a> Held<'a> {
    pub(super) fn new(schema: SchemaRef, loaded: Loaded, how: How<'a>) -> Result<Self, Failure> {
        let failed = |e| classify(&e, During::Run);
        let chunks = loaded.chunks;
        let rows = concat_batches(&schema, chunks.iter().map(|c| &c.rows)).map_err(failed)?;
        let order = order(&chunks)?;
        let mut held = Self {
            how,
            index: HashMap::with_capacity(rows.num_rows()),
            stays: vec![true; rows.num_rows()],
            rows,
            counts: Counts::default(),
            duplicates: 0,
        };
        let keys = chunks.iter().flat_map(|chunk| chunk.keys.iter());
        for (row, key) in keys.enumerate() {
            if let Some(key) = key {
                held.add(key, row, order.as_ref());
            }
        }
        Ok(held)
    }

    fn add(&mut self, key: &[u8], row: usize, order: Option<&BinaryArray>) {
        let mut entry = match self.index.entry(key.into()) {
            Entry::Vacant(free) => {
                free.insert(row);
                return;
            }
            Entry::Occupied(entry) => entry,
        };
        let before = *entry.get();
        let wins = match (&self.how.keys.duplicate_keys, order) {
            (DuplicateKeys::Error, _) => {
                self.duplicates += 1;
                false
            }
            (DuplicateKeys::First(_), Some(order)) => order.value(row) < order.value(before),
            (DuplicateKeys::Last(_), Some(order)) => order.value(row) >= order.value(before),
            (DuplicateKeys::First(_), None) => false,
            (DuplicateKeys::Last(_), None) => true,
        };
        self.counts.duplicate += 1;
        if wins {
            self.stays[before] = false;
            entry.insert(row);
        } else {
            self.stays[row] = false;
        }
    }

    /// Streams the target past the batch. Says what was done, and how many rows are duplicates that should not be.
    pub(super) fn merge(
        mut self,
        existing: &mut dyn Stream,
        work: &Workspace<'_>,
        out: Out<'_>,
    ) -> Result<(Counts, u64), Failure> {
        if self.duplicates > 0 {
            return Ok((self.counts, self.duplicates));
        }
        let mut met = vec![false; self.rows.num_rows()];
        while let Some(chunk) = existing.next()? {
            work.check()?;
            match self.replaced(&chunk, &mut met)? {
                Some(rows) => out(&rows)?,
                None => out(&chunk.rows)?,
            }
        }
        let new = (0..self.rows.num_rows()).filter(|row| self.stays[*row] && !met[*row]);
        let new: Vec<u32> = new.filter_map(|row| u32::try_from(row).ok()).collect();
        self.counts.inserted += new.len() as u64;
        for some in new.chunks(work.batch_rows.max(1)) {
            work.check()?;
            let rows = take_record_batch(&self.rows, &UInt32Array::from(some.to_vec()));
            out(&rows.map_err(|e| classify(&e, During::Run))?)?;
        }
        Ok((self.counts, 0))
    }

    /// The chunk with its rows replaced; `None` when none is.
    fn replaced(
        &mut self,
        chunk: &Keyed,
        met: &mut [bool],
    ) -> Result<Option<RecordBatch>, Failure> {
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut equal: Option<Vec<Option<DynComparator>>> = None;
        for (row, key) in chunk.keys.iter().enumerate() {
            let Some(found) = key.and_then(|key| self.index.get(key)).copied() else {
                continue;
            };
            let again = std::mem::replace(&mut met[found], true);
            if !self.how.replaces {
                self.counts.present += u64::from(!again);
                continue;
            }
            if again {
                return Err(duplicate_in_target(self.how.shown));
            }
            let equal = equal.get_or_insert_with(|| comparators(&chunk.rows, &self.rows));
            let same = equal.iter().all(|compare| {
                let compare = compare.as_ref();
                compare.is_some_and(|compare| compare(row, found).is_eq())
            });
            if same {
                self.counts.unchanged += 1;
            } else {
                self.counts.updated += 1;
                places.push((row, found));
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let mut picks: Vec<(usize, usize)> =
            (0..chunk.rows.num_rows()).map(|row| (0, row)).collect();
        for (row, found) in places {
            picks[row] = (1, found);
        }
        interleave_record_batch(&[&chunk.rows, &self.rows], &picks)
            .map(Some)
            .map_err(|e| classify(&e, During::Run))
    }
}

fn order(chunks: &[Keyed]) -> Result<Option<BinaryArray>, Failure> {
    let parts: Option<Vec<&dyn arrow_array::Array>> = chunks
        .iter()
        .map(|chunk| chunk.order.as_ref().map(|o| o as &dyn arrow_array::Array))
        .collect();
    let Some(parts) = parts.filter(|parts| !parts.is_empty()) else {
        return Ok(None);
    };
    let all = concat(&parts).map_err(|e| classify(&e, During::Run))?;
    Ok(all.as_any().downcast_ref::<BinaryArray>().cloned())
}

/// Compares columns of two batches; none where a type has no order: such rows count as different.
fn comparators(left: &RecordBatch, right: &RecordBatch) -> Vec<Option<DynComparator>> {
    let pairs = left.columns().iter().zip(right.columns());
    pairs
        .map(|(a, b)| make_comparator(a.as_ref(), b.as_ref(), SortOptions::default()).ok())
        .collect()
}
