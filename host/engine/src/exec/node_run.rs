//! What the operators of one attempt share: the operations, counters, the stop signs, the threads. The plan itself is
//! plain data; operators find this in the session's extensions.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use arrow_array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use odibi_run::port::{Cancel, Operation, Progress, SessionContext};
use odibi_story::event::{GuestNote, INSTANCES_LISTED_MAX, InputFact, InstanceFact, Ledger};
use odibi_story::failure::{Failure, FailureClass, code};
use tokio::runtime::Handle;

use crate::facts::Sampler;
use crate::failure::{carry, internal};
use crate::limits::{NOTES_MAX, STACK_BYTES};
use crate::read::BadRows;
use crate::reason::Reason;
use crate::write::bad_rows::Unread;
use crate::write::quarantine::Quarantine;

/// One attempt of one node.
pub(crate) struct NodeRun {
    /// To wait for streams from a thread.
    pub(crate) handle: Handle,
    /// Where sessions belong; partition and partitions are filled in for each.
    pub(crate) context: SessionContext,
    /// Kept up to date.
    pub(crate) progress: Arc<Progress>,
    /// Set when nobody waits for the attempt any more.
    pub(crate) abandoned: Arc<AtomicBool>,
    /// Where files are put that nobody asked for.
    pub(crate) scratch: PathBuf,
    /// By index of the step.
    pub(crate) operations: Vec<Arc<dyn Operation>>,
    rows_in: Vec<Mutex<Vec<Arc<AtomicU64>>>>,
    samples_in: Vec<Mutex<InputSample>>,
    sample_rows_max: usize,
    records: Mutex<Vec<StepRecord>>,
    quarantine: Mutex<Option<Quarantine>>,
    unread: Mutex<Option<Unread>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a step cost and said.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepRecord {
    pub(crate) ledger: Ledger,
    /// The first that ended, or none when there was but one.
    pub(crate) instances: Vec<InstanceFact>,
    pub(crate) notes: Vec<GuestNote>,
    /// How many instances its rows were divided over by key.
    pub(crate) partitions: u64,
    /// Written to scratch files because memory was short.
    pub(crate) bytes_spilled: u64,
}

/// What the first scan of an input met.
#[derive(Debug, Default)]
pub(crate) struct InputSample {
    pub(crate) columns_unread: u64,
    sampler: Option<Sampler>,
}

impl NodeRun {
    /// For a node with so many inputs.
    pub(crate) fn new(
        handle: Handle,
        context: SessionContext,
        progress: Arc<Progress>,
        abandoned: Arc<AtomicBool>,
        scratch: PathBuf,
        operations: Vec<Arc<dyn Operation>>,
        inputs: usize,
    ) -> Self {
        let records = vec![StepRecord::default(); operations.len()];
        Self {
            handle,
            context,
            progress,
            abandoned,
            scratch,
            operations,
            rows_in: (0..inputs).map(|_| Mutex::default()).collect(),
            samples_in: (0..inputs).map(|_| Mutex::default()).collect(),
            sample_rows_max: 0,
            records: Mutex::new(records),
            quarantine: Mutex::default(),
            unread: Mutex::default(),
            threads: Mutex::default(),
        }
    }

    /// The one that an operator runs for.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        context
            .session_config()
            .get_extension::<Self>()
            .ok_or_else(|| carry(internal("a plan of a node runs outside of a node")))
    }

    /// Should everything come to an end?
    pub(crate) fn stopped(&self) -> bool {
        self.cancel().is_cancelled() || self.abandoned.load(Ordering::Acquire)
    }

    /// The run's stop sign.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.context.cancel
    }

    /// A counter for one scan of an input. True for the first scan, whose rows are the progress.
    pub(crate) fn count_rows_in(&self, input: usize) -> (Arc<AtomicU64>, bool) {
        let counter = Arc::new(AtomicU64::new(0));
        let mut first = false;
        if let Some(scans) = self.rows_in.get(input) {
            let mut scans = lock(scans);
            first = scans.is_empty();
            scans.push(Arc::clone(&counter));
        }
        (counter, first)
    }

    /// Keeps so many rows of each input as a sample.
    pub(crate) fn with_sample_rows(mut self, rows_max: usize) -> Self {
        self.sample_rows_max = rows_max;
        self
    }

    /// Takes rows of the first scan of an input, in which only the needed columns are there.
    pub(crate) fn sample_in(&self, input: usize, batch: &RecordBatch, needed: &[bool]) {
        let Some(kept) = self.samples_in.get(input) else {
            return;
        };
        let mut kept = lock(kept);
        if kept.sampler.is_none() {
            kept.columns_unread = needed.iter().filter(|needed| !**needed).count() as u64;
        }
        let sampler = kept.sampler.get_or_insert_with(|| {
            Sampler::new(&batch.schema(), |at| needed[at], self.sample_rows_max)
        });
        sampler.add(batch);
    }

    /// What was read of each input.
    pub(crate) fn inputs<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<InputFact> {
        let kept = self.samples_in.iter().zip(self.rows_of_inputs());
        names
            .zip(kept)
            .map(|(name, (kept, rows))| {
                let mut kept = lock(kept);
                let sampler = kept.sampler.take().unwrap_or_default();
                InputFact {
                    name: name.to_owned(),
                    rows,
                    columns_unread: kept.columns_unread,
                    sample: sampler.sample,
                }
            })
            .collect()
    }

    /// Rows of all inputs; an input that is scanned twice counts once.
    pub(crate) fn rows_in(&self) -> u64 {
        self.rows_of_inputs().sum()
    }

    fn rows_of_inputs(&self) -> impl Iterator<Item = u64> {
        let longest = |scans: &Mutex<Vec<Arc<AtomicU64>>>| {
            lock(scans)
                .iter()
                .map(|c| c.load(Ordering::Relaxed))
                .max()
                .unwrap_or_default()
        };
        self.rows_in.iter().map(longest)
    }

    /// Takes what a session of a step cost and said.
    pub(crate) fn record(
        &self,
        step: usize,
        partition: u32,
        ledger: Ledger,
        notes: Vec<GuestNote>,
    ) {
        if let Some(record) = lock(&self.records).get_mut(step) {
            record.ledger.add(&ledger);
            if record.instances.len() < INSTANCES_LISTED_MAX {
                record.instances.push(InstanceFact { partition, ledger });
            }
            let room = NOTES_MAX.saturating_sub(record.notes.len());
            record.notes.extend(notes.into_iter().take(room));
        }
    }

    /// Says over how many instances the rows of a step were divided.
    pub(crate) fn divided(&self, step: usize, partitions: usize) {
        if let Some(record) = lock(&self.records).get_mut(step) {
            record.partitions = partitions as u64;
        }
    }

    /// Adds to what a step wrote because memory was short.
    pub(crate) fn spilled(&self, step: usize, bytes: u64) {
        if let Some(record) = lock(&self.records).get_mut(step) {
            record.bytes_spilled += bytes;
        }
    }

    /// What every step cost and said.
    pub(crate) fn records(&self) -> Vec<StepRecord> {
        let mut records = lock(&self.records).clone();
        for record in &mut records {
            record.instances.sort_by_key(|i| i.partition);
            if record.ledger.instances < 2 {
                record.instances.clear();
            }
        }
        records
    }

    /// Sets rows of a batch aside.
    pub(crate) fn reject(
        &self,
        step: usize,
        batch: &RecordBatch,
        rows: &[(u64, usize, Reason)],
    ) -> Result<(), Failure> {
        match lock(&self.quarantine).as_mut() {
            Some(quarantine) => quarantine.add(step, batch, rows),
            None => Err(internal("rows were rejected, and there is no quarantine")),
        }
    }

    /// Has a place for rows that are set aside.
    pub(crate) fn with_quarantine(self, quarantine: Option<Quarantine>) -> Self {
        *lock(&self.quarantine) = quarantine;
        self
    }

    /// Hands the quarantine over, once every thread has ended.
    pub(crate) fn take_quarantine(&self) -> Option<Quarantine> {
        lock(&self.quarantine).take()
    }

    /// Sets rows of a file aside that could not be understood.
    pub(crate) fn set_aside(&self, input: usize, bad: &BadRows) -> Result<(), Failure> {
        match lock(&self.unread).as_mut() {
            Some(unread) => unread.add(input, bad),
            None => Err(internal(
                "rows were set aside, and there is no place for them",
            )),
        }
    }

    /// Has a place for rows of files that are set aside.
    pub(crate) fn with_unread(self, unread: Option<Unread>) -> Self {
        *lock(&self.unread) = unread;
        self
    }

    /// Hands it over, once every thread has ended.
    pub(crate) fn take_unread(&self) -> Option<Unread> {
        lock(&self.unread).take()
    }

    /// Starts a thread of its own. Threads of a pool would run out: every stage of every node holds one while it waits.
    pub(crate) fn spawn(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), Failure> {
        let thread = Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(body)
            .map_err(|e| {
                Failure::new(
                    FailureClass::Limit,
                    code::RESOURCES_THREADS,
                    "the system refused to start a thread",
                )
                .cause(e.to_string())
                .hint("run fewer nodes side by side")
            })?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Waits for all threads. All streams must have been dropped.
    pub(crate) fn join(&self) {
        loop {
            let Some(thread) = lock(&self.threads).pop() else {
                return;
            };
            // A thread catches its own panics.
            let _ = thread.join();
        }
    }
}

/// A panic in another thread does not make the counters wrong.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
