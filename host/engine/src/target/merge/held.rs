//! Rows of a batch in memory, found by their key.
//!
//! They stay in the chunks that they came in: however large the memory is, texts of more than 2 GiB have no offsets in one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BinaryArray, RecordBatch, UInt32Array};
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_schema::SortOptions;
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use odibi_plan::plan::DuplicateKeys;
use odibi_story::failure::Failure;

use super::{Counts, How, Keyed, Out, Stream, Workspace};
use crate::failure::{During, classify};
use crate::limits::MERGED_BYTES_MAX;
use crate::target::keys::duplicate_in_target;

/// Bytes of the index for each row, besides its key.
const INDEX_BYTES: usize = 64;
/// The index holds keys as well.
const KEY_COPIES: usize = 2;

/// A chunk, and a row of it.
type Place = (usize, usize);

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
        let order = keyed.order.as_ref();
        self.bytes += keyed.rows.get_array_memory_size()
            + keyed.keys.value_data().len() * KEY_COPIES
            + order.map_or(0, |order| order.value_data().len())
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
    chunks: Vec<RecordBatch>,
    /// Of each key, the row that stays.
    index: HashMap<Box<[u8]>, Place>,
    /// Of each row of each chunk: does it stay?
    stays: Vec<Vec<bool>>,
    counts: Counts,
    /// Rows with the key of another one, where that is a fault.
    duplicates: u64,
}

impl<'a> Held<'a> {
    pub(super) fn new(loaded: Loaded, how: How<'a>) -> Self {
        let rows = loaded.chunks.iter().map(|chunk| chunk.rows.num_rows());
        let mut held = Self {
            how,
            index: HashMap::with_capacity(rows.clone().sum()),
            stays: rows.map(|rows| vec![true; rows]).collect(),
            chunks: Vec::with_capacity(loaded.chunks.len()),
            counts: Counts::default(),
            duplicates: 0,
        };
        let mut orders: Vec<Option<BinaryArray>> = Vec::with_capacity(loaded.chunks.len());
        for (at, chunk) in loaded.chunks.into_iter().enumerate() {
            held.chunks.push(chunk.rows);
            orders.push(chunk.order);
            for (row, key) in chunk.keys.iter().enumerate() {
                if let Some(key) = key {
                    held.add(key, (at, row), &orders);
                }
            }
        }
        held
    }

    fn add(&mut self, key: &[u8], place: Place, orders: &[Option<BinaryArray>]) {
        let mut entry = match self.index.entry(key.into()) {
            Entry::Vacant(free) => {
                free.insert(place);
                return;
            }
            Entry::Occupied(entry) => entry,
        };
        let before = *entry.get();
        let order = |place: Place| orders[place.0].as_ref().map(|order| order.value(place.1));
        let wins = match (
            &self.how.keys.duplicate_keys,
            order(place).zip(order(before)),
        ) {
            (DuplicateKeys::Error, _) => {
                self.duplicates += 1;
                false
            }
            (DuplicateKeys::First(_), Some((this, before))) => this < before,
            (DuplicateKeys::Last(_), Some((this, before))) => this >= before,
            (DuplicateKeys::First(_), None) => false,
            (DuplicateKeys::Last(_), None) => true,
        };
        self.counts.duplicate += 1;
        let loser = if wins { entry.insert(place) } else { place };
        self.stays[loser.0][loser.1] = false;
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
        let mut met: Vec<Vec<bool>> = self
            .stays
            .iter()
            .map(|rows| vec![false; rows.len()])
            .collect();
        while let Some(chunk) = existing.next()? {
            work.check()?;
            self.replace(&chunk, &mut met, out)?;
        }
        for (at, rows) in self.chunks.iter().enumerate() {
            let is_new = |row: usize| self.stays[at][row] && !met[at][row];
            let new: Vec<u32> = (0..rows.num_rows())
                .zip(0_u32..)
                .filter_map(|(row, number)| is_new(row).then_some(number))
                .collect();
            self.counts.inserted += new.len() as u64;
            for some in new.chunks(work.batch_rows.max(1)) {
                work.check()?;
                let rows = take_record_batch(rows, &UInt32Array::from(some.to_vec()));
                out(&rows.map_err(|e| classify(&e, During::Run))?)?;
            }
        }
        Ok((self.counts, 0))
    }

    /// Hands on a chunk of the target with its rows replaced.
    fn replace(
        &mut self,
        chunk: &Keyed,
        met: &mut [Vec<bool>],
        out: Out<'_>,
    ) -> Result<(), Failure> {
        let mut places: Vec<(usize, Place)> = Vec::new();
        let mut equal: HashMap<usize, Vec<Option<DynComparator>>> = HashMap::new();
        for (row, key) in chunk.keys.iter().enumerate() {
            let Some(found) = key.and_then(|key| self.index.get(key)).copied() else {
                continue;
            };
            let again = std::mem::replace(&mut met[found.0][found.1], true);
            if !self.how.replaces {
                self.counts.present += u64::from(!again);
                continue;
            }
            if again {
                return Err(duplicate_in_target(self.how.shown));
            }
            let held = &self.chunks[found.0];
            let equal = equal
                .entry(found.0)
                .or_insert_with(|| comparators(&chunk.rows, held));
            let same = equal.iter().all(|compare| {
                let compare = compare.as_ref();
                compare.is_some_and(|compare| compare(row, found.1).is_eq())
            });
            if same {
                self.counts.unchanged += 1;
            } else {
                self.counts.updated += 1;
                places.push((row, found));
            }
        }
        if places.is_empty() {
            return out(&chunk.rows);
        }
        let mut sources = vec![&chunk.rows];
        let mut known: HashMap<usize, usize> = HashMap::new();
        let mut picks: Vec<Place> = (0..chunk.rows.num_rows()).map(|row| (0, row)).collect();
        for (row, (at, found)) in places {
            let source = *known.entry(at).or_insert_with(|| {
                sources.push(&self.chunks[at]);
                sources.len() - 1
            });
            picks[row] = (source, found);
        }
        for part in parts(&sources, &picks) {
            let rows = interleave_record_batch(&sources, part);
            out(&rows.map_err(|e| classify(&e, During::Run))?)?;
        }
        Ok(())
    }
}

/// Cuts rows so that what is picked for one batch has room in it.
fn parts<'p>(sources: &[&RecordBatch], picks: &'p [Place]) -> Vec<&'p [Place]> {
    // No row is picked twice.
    let columns = sources.iter().flat_map(|rows| rows.columns());
    if columns.map(bytes_of).fold(0, usize::saturating_add) <= MERGED_BYTES_MAX {
        return vec![picks];
    }
    let (mut parts, mut from, mut bytes) = (Vec::new(), 0, 0_usize);
    for (at, (source, row)) in picks.iter().enumerate() {
        let columns = sources[*source].columns().iter();
        let more = columns
            .map(|column| row_bytes(column, *row))
            .fold(0, usize::saturating_add);
        if at > from && bytes.saturating_add(more) > MERGED_BYTES_MAX {
            parts.push(&picks[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(more);
    }
    parts.push(&picks[from..]);
    parts
}

/// What is not known is taken for large.
fn bytes_of(column: &ArrayRef) -> usize {
    let bytes = column.to_data().get_slice_memory_size();
    bytes.unwrap_or(MERGED_BYTES_MAX)
}

fn row_bytes(column: &ArrayRef, row: usize) -> usize {
    let length = |length: i32| usize::try_from(length).unwrap_or(MERGED_BYTES_MAX);
    if let Some(texts) = column.as_binary_opt::<i32>() {
        length(texts.value_length(row))
    } else if let Some(texts) = column.as_string_opt::<i32>() {
        length(texts.value_length(row))
    } else if let Some(width) = column.data_type().primitive_width() {
        width
    } else {
        bytes_of(&column.slice(row, 1))
    }
}

/// Compares columns of two batches; none where a type has no order: such rows count as different.
fn comparators(left: &RecordBatch, right: &RecordBatch) -> Vec<Option<DynComparator>> {
    let pairs = left.columns().iter().zip(right.columns());
    pairs
        .map(|(a, b)| make_comparator(a.as_ref(), b.as_ref(), SortOptions::default()).ok())
        .collect()
}
