//! A batch into the rows of a target, by keys: the rows that replace or are left out, then the new ones.
//!
//! The batch is held in memory and the target streams past it, in its order, updated rows in their places and new rows
//! behind. A batch that is too large for that is divided by the hash of its keys, with the target, on disk; the rows come
//! bucket by bucket then, inside each as above.

mod buckets;
mod held;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{BinaryArray, RecordBatch};
use arrow_schema::SchemaRef;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::runtime_env::RuntimeEnv;
use odibi_plan::plan::{Keys, WriteMode};
use odibi_story::failure::Failure;

use self::held::{Held, Loaded};
use super::keys::duplicate_keys;
use crate::failure::cancelled;
use crate::read::Stop;

/// One part in so many of the run's memory holds the rows of a batch.
const HELD_SHARE: u64 = 4;

/// Some rows with their keys.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) rows: RecordBatch,
    /// Null: equals nothing.
    pub(crate) keys: BinaryArray,
    /// By what rows of one batch with equal keys are told apart, where a column decides.
    pub(crate) order: Option<BinaryArray>,
}

/// Rows with keys, one chunk after the other; all of one schema.
pub(crate) trait KeyedRows {
    fn schema(&self) -> SchemaRef;
    fn next(&mut self) -> Result<Option<Keyed>, Failure>;
}

/// Where the merged rows go.
pub(crate) type Out<'a> = &'a mut dyn FnMut(&RecordBatch) -> Result<(), Failure>;

/// What a merge needs besides the rows.
pub(crate) struct Workspace<'a> {
    pub(crate) scratch: PathBuf,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) batch_rows: usize,
    pub(crate) stop: Stop<'a>,
}

impl Workspace<'_> {
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if (self.stop)() {
            Err(cancelled())
        } else {
            Ok(())
        }
    }
}

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    /// Equal to what is there (upsert).
    pub(crate) unchanged: u64,
    /// Left out, because the key is there (append_once).
    pub(crate) present: u64,
    /// Left out, because another row of the batch has the key.
    pub(crate) duplicate: u64,
}

impl Counts {
    /// Nothing of the target differs from before.
    pub(crate) fn is_nothing(&self) -> bool {
        self.inserted == 0 && self.updated == 0
    }

    fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.present += other.present;
        self.duplicate += other.duplicate;
    }
}

/// How rows are merged.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) keys: &'a Keys,
    /// Rows whose key is there replace; otherwise they are left out.
    pub(crate) replaces: bool,
    /// The target, as messages show it.
    pub(crate) shown: &'a str,
}

impl<'a> How<'a> {
    /// `None` for a mode without keys.
    pub(crate) fn of(mode: &'a WriteMode, shown: &'a str) -> Option<Self> {
        Some(Self {
            keys: mode.keys()?,
            replaces: matches!(mode, WriteMode::Upsert(_)),
            shown,
        })
    }
}

/// Merges. `rows` is the number of rows of the batch.
pub(crate) fn merge(
    existing: Option<&mut dyn KeyedRows>,
    batch: &mut dyn KeyedRows,
    rows: u64,
    how: How<'_>,
    work: &Workspace<'_>,
    out: Out<'_>,
) -> Result<Counts, Failure> {
    let bytes_max = usize::try_from(work.memory_bytes_max / HELD_SHARE).unwrap_or(usize::MAX);
    let consumer = MemoryConsumer::new("rows of a write");
    let reservation = consumer.register(&work.runtime.memory_pool);
    let mut loaded = Loaded::default();
    let mut fits = true;
    while let Some(keyed) = batch.next()? {
        work.check()?;
        loaded.push(keyed);
        let bytes = loaded.bytes();
        if bytes > bytes_max || reservation.try_resize(bytes).is_err() {
            fits = false;
            break;
        }
    }
    let (counts, duplicates) = if fits {
        let held = Held::new(loaded, how);
        let mut source = Chunks(existing);
        held.merge(&mut source, work, out)?
    } else {
        reservation.free();
        let bytes_all = loaded.estimate(rows);
        let parts = buckets::count(bytes_all, bytes_max);
        let made = buckets::divide(loaded, batch, existing, parts, work)?;
        let (mut counts, mut duplicates) = (Counts::default(), 0);
        for at in 0..parts {
            let loaded = made.batch(at)?;
            // Without a place in the pool nothing can be done but to go on: the parts are small.
            let _ = reservation.try_resize(loaded.bytes());
            let held = Held::new(loaded, how);
            let mut source = made.existing(at);
            let (more, twice) = held.merge(&mut source, work, out)?;
            counts.add(&more);
            duplicates += twice;
        }
        (counts, duplicates)
    };
    if duplicates > 0 {
        return Err(duplicate_keys(how.keys, duplicates));
    }
    Ok(counts)
}

/// Chunks of the target.
trait Stream {
    fn next(&mut self) -> Result<Option<Keyed>, Failure>;
}

struct Chunks<'a>(Option<&'a mut dyn KeyedRows>);

impl Stream for Chunks<'_> {
    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        match &mut self.0 {
            Some(rows) => rows.next(),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
