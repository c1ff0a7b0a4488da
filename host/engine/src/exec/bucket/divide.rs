//! Rows by the hash of their key: which bucket each belongs to, and how much lies in each.

use arrow_array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::DataType;
use arrow_select::take::take_record_batch;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use odibi_story::failure::Failure;

use crate::failure::{During, classify};
use crate::limits::BUCKETS;

/// Bits of the hash that one division uses.
const BITS: u32 = BUCKETS.ilog2();
/// Times that a bucket can be divided again.
pub(crate) const LEVELS_MAX: u32 = 4;

/// A batch whose rows stand bucket by bucket, inside a bucket in their order.
#[derive(Debug)]
pub(crate) struct Divided {
    pub(crate) batch: RecordBatch,
    /// Where each bucket begins, and where the last ends.
    bounds: Vec<usize>,
}

/// What lies in a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) rows: u64,
    /// Arrow bytes of all columns.
    pub(crate) bytes: u64,
    /// Arrow bytes of the columns that enter the sandbox.
    pub(crate) bytes_of_need: u64,
}

impl Weight {
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.bytes_of_need += other.bytes_of_need;
    }
}

impl Divided {
    /// All rows in one bucket.
    pub(crate) fn whole(batch: RecordBatch) -> Self {
        let bounds = vec![0, batch.num_rows()];
        Self { batch, bounds }
    }

    /// By the hash of these columns. Rows with equal keys of equal types meet in one bucket, whatever batch they are of.
    pub(crate) fn by_hash(batch: RecordBatch, keys: &[usize], level: u32) -> Result<Self, Failure> {
        let buckets = buckets(&batch, keys, level)?;
        let mut bounds = vec![0; BUCKETS + 1];
        for bucket in &buckets {
            bounds[bucket + 1] += 1;
        }
        if bounds.contains(&buckets.len()) {
            // One bucket has them all.
            (1..=BUCKETS).for_each(|at| bounds[at] += bounds[at - 1]);
            return Ok(Self { batch, bounds });
        }
        (1..=BUCKETS).for_each(|at| bounds[at] += bounds[at - 1]);
        let mut next = bounds.clone();
        let mut order = vec![0_u32; buckets.len()];
        for (row, bucket) in (0_u32..).zip(&buckets) {
            order[next[*bucket]] = row;
            next[*bucket] += 1;
        }
        let batch = take_record_batch(&batch, &UInt32Array::from(order))
            .map_err(|e| classify(&e, During::Run))?;
        Ok(Self { batch, bounds })
    }

    /// How many buckets there are.
    pub(crate) fn buckets(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The rows of a bucket; `None` when there are none.
    pub(crate) fn of(&self, bucket: usize) -> Option<RecordBatch> {
        let (start, end) = (self.bounds[bucket], self.bounds[bucket + 1]);
        (start < end).then(|| self.batch.slice(start, end - start))
    }

    /// Adds what lies in each bucket; `need` are the columns that enter the sandbox.
    pub(crate) fn weigh(&self, need: &[usize], weights: &mut [Weight]) {
        let rows = self.batch.num_rows() as u64;
        for (at, weight) in weights.iter_mut().enumerate() {
            weight.rows += (self.bounds[at + 1] - self.bounds[at]) as u64;
        }
        for (index, column) in self.batch.columns().iter().enumerate() {
            let (all, needed) = (bytes(column), need.contains(&index));
            for (at, weight) in weights.iter_mut().enumerate() {
                let (start, end) = (self.bounds[at], self.bounds[at + 1]);
                let bytes = match end - start {
                    0 => continue,
                    len if len as u64 == rows => all,
                    len if is_uneven(column.data_type()) => bytes(&column.slice(start, len)),
                    len => (all * len as u64).div_ceil(rows),
                };
                weight.bytes += bytes;
                if needed {
                    weight.bytes_of_need += bytes;
                }
            }
        }
    }
}

/// Are the values of different lengths, and is a part of them cheap to measure?
fn is_uneven(data_type: &DataType) -> bool {
    data_type.is_string() || data_type.is_binary()
}

fn bytes(column: &ArrayRef) -> u64 {
    let bytes = column.to_data().get_slice_memory_size();
    bytes.unwrap_or_else(|_| column.get_array_memory_size()) as u64
}

fn buckets(batch: &RecordBatch, keys: &[usize], level: u32) -> Result<Vec<usize>, Failure> {
    let columns: Vec<ArrayRef> = keys
        .iter()
        .map(|key| ArrayRef::clone(batch.column(*key)))
        .collect();
    let mut hashes = vec![0; batch.num_rows()];
    create_hashes(&columns, &RandomState::with_seed(0), &mut hashes)
        .map_err(|e| classify(&e, During::Run))?;
    let shift = u64::BITS - BITS * (level + 1);
    let last = BUCKETS as u64 - 1;
    let bucket = |hash: &u64| usize::try_from((mixed(*hash) >> shift) & last).unwrap_or_default();
    Ok(hashes.iter().map(bucket).collect())
}

/// Spreads what distinguishes two hashes over all bits: the hash is made for tables, which use a few of them.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
