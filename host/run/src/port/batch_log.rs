//! What was written to targets before: the memory that makes a write count once, whatever is killed or started again.
//!
//! A **batch** is what one node writes at one time. It has an id made of what it comes from, so a second try has the same
//! id. The order is always: [`BatchLog::staged`], then the one step that makes the batch visible, then
//! [`BatchLog::committed`]. After anything in between went wrong, the target is asked, with the evidence that `staged` kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use odibi_story::failure::Failure;

/// Name of a record that is of no batch: it says which file a target is, of several that were made and removed in one
/// place. For targets that cannot say that themselves.
pub const ORIGIN: &str = "origin";

/// How far a batch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// It lies ready; whether it is visible, only the target knows.
    Staged,
    /// It is in the target.
    Committed,
    /// It is not in the target, and will not be.
    Aborted,
}

/// One batch at one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// Where it lies: the same for the same place and for no other, whatever the connection is called.
    pub target: String,
    /// Hash of what the batch comes from, hex.
    pub batch: String,
    /// Run that staged it last.
    pub run_id: String,
    /// Pipeline.
    pub pipeline: String,
    /// Node.
    pub node: String,
    /// Word of the write mode.
    pub mode: String,
    /// How far it came.
    pub state: BatchState,
    /// Rows of the batch.
    pub rows: u64,
    /// By what the target shows that it holds the batch: the digest of a file, the name of a part, a version.
    pub evidence: String,
}

/// Remembers batches. Calls block; every one is durable when it returns.
pub trait BatchLog: std::fmt::Debug + Send + Sync {
    /// What is known of a batch at a target.
    ///
    /// # Errors
    /// The memory cannot be read. That never means that the batch is unknown.
    fn find(&self, target: &str, batch: &str) -> Result<Option<BatchRecord>, Failure>;

    /// Batches of a target that were staged and neither committed nor aborted: what a killed run has left.
    ///
    /// # Errors
    /// The memory cannot be read.
    fn pending(&self, target: &str) -> Result<Vec<BatchRecord>, Failure>;

    /// Notes that a batch lies ready; replaces what was known of it.
    ///
    /// # Errors
    /// Nothing is noted: the batch must not become visible.
    fn staged(&self, record: &BatchRecord) -> Result<(), Failure>;

    /// Notes that a staged batch is visible.
    ///
    /// # Errors
    /// It is visible all the same; the next start asks the target.
    fn committed(&self, target: &str, batch: &str) -> Result<(), Failure>;

    /// Notes that a staged batch is not in the target.
    ///
    /// # Errors
    /// The next start asks the target.
    fn aborted(&self, target: &str, batch: &str) -> Result<(), Failure>;

    /// Notes whether the target holds a batch that [`BatchLog::pending`] has told of, be it of another pipeline: what the
    /// target shows is so whoever looks. Nothing is noted if it was staged anew since.
    ///
    /// # Errors
    /// The next writer asks the target again. Where the target only shows its newest batch, it must not be changed before.
    fn observed(&self, seen: &BatchRecord, is_there: bool) -> Result<(), Failure>;

    /// Takes over what is remembered of a target under the name that an earlier odibi had for it, as far as runs of the
    /// same environment have noted it. That name may have stood for several places: for an environment, the first one
    /// that asks has it.
    ///
    /// # Errors
    /// The memory cannot be used. What the target holds is not known then.
    fn adopt(&self, before: &str, target: &str) -> Result<(), Failure>;
}

/// A log that forgets with the process: for tests, and for runs of which nothing is kept.
#[derive(Debug, Default)]
pub struct MemoryBatchLog {
    batches: Mutex<BTreeMap<(String, String), BatchRecord>>,
}

impl MemoryBatchLog {
    fn with<T>(&self, then: impl FnOnce(&mut BTreeMap<(String, String), BatchRecord>) -> T) -> T {
        then(&mut self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn mark(&self, target: &str, batch: &str, state: BatchState) {
        self.with(|batches| {
            if let Some(record) = batches.get_mut(&(target.to_owned(), batch.to_owned())) {
                record.state = state;
            }
        });
    }
}

impl BatchLog for MemoryBatchLog {
    fn find(&self, target: &str, batch: &str) -> Result<Option<BatchRecord>, Failure> {
        let key = (target.to_owned(), batch.to_owned());
        Ok(self.with(|batches| batches.get(&key).cloned()))
    }

    fn pending(&self, target: &str) -> Result<Vec<BatchRecord>, Failure> {
        Ok(self.with(|batches| {
            let of_target = batches.values().filter(|r| r.target == target);
            let open = of_target.filter(|r| r.state == BatchState::Staged);
            open.cloned().collect()
        }))
    }

    fn staged(&self, record: &BatchRecord) -> Result<(), Failure> {
        let key = (record.target.clone(), record.batch.clone());
        self.with(|batches| batches.insert(key, record.clone()));
        Ok(())
    }

    fn committed(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.mark(target, batch, BatchState::Committed);
        Ok(())
    }

    fn aborted(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.mark(target, batch, BatchState::Aborted);
        Ok(())
    }

    fn observed(&self, seen: &BatchRecord, is_there: bool) -> Result<(), Failure> {
        let state = if is_there {
            BatchState::Committed
        } else {
            BatchState::Aborted
        };
        let key = (seen.target.clone(), seen.batch.clone());
        self.with(|batches| {
            if let Some(record) = batches.get_mut(&key).filter(|record| *record == seen) {
                record.state = state;
            }
        });
        Ok(())
    }

    fn adopt(&self, before: &str, target: &str) -> Result<(), Failure> {
        self.with(|batches| {
            let known = std::mem::take(batches);
            let (old, new): (BTreeMap<_, _>, _) =
                known.into_iter().partition(|((of, _), _)| of == before);
            *batches = new;
            for ((_, batch), mut record) in old {
                target.clone_into(&mut record.target);
                batches.entry((target.to_owned(), batch)).or_insert(record);
            }
        });
        Ok(())
    }
}
