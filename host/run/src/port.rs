//! What the outside implements: the engine, the transforms, the clock, and the sink of events.

mod batch_log;
mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use jiff::Timestamp;
use odibi_plan::GuestLimits;
use odibi_plan::plan::{Grants, OperationRef, PlannedNode};
use odibi_plan::{Secret, SecretRef};
use odibi_story::event::{
    ComponentOrigin, Event, FileFact, GuestNote, Ledger, NodeFacts, OperationIdentity, WriteFact,
};
use odibi_story::failure::Failure;
use serde_json::Value;
use tokio::sync::Notify;

pub use self::batch_log::{BatchLog, BatchRecord, BatchState, MemoryBatchLog, ORIGIN};
pub use self::outbox::{Outbox, OutboxAlert};

use crate::memory::MemoryBudget;

/// Everything a run needs from outside.
pub struct Ports {
    /// Reads, drives the steps, writes.
    pub engine: Arc<dyn Engine>,
    /// Finds operations and opens sessions.
    pub transforms: Arc<dyn Transforms>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Time, as a run sees it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Wall clock, for people.
    fn now(&self) -> Timestamp;
    /// Milliseconds since an arbitrary start; never goes back.
    fn monotonic_ms(&self) -> u64;
    /// Waits.
    async fn sleep_ms(&self, ms: u64);
}

/// Vaults, as a run sees them.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The value that a reference names. Asked again, it says the same for as long as the run lasts.
    ///
    /// # Errors
    /// `Denied`, `Missing`, `Transient`; never with a value in it.
    async fn fetch(&self, reference: &SecretRef) -> Result<Secret, Failure>;
}

/// Where events go. Called from one task, in order.
pub trait EventSink: Send {
    /// Takes the next event.
    fn emit(&mut self, event: &Event);
}

/// Asks a run to stop. Cloned freely.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    asked: Arc<Notify>,
}

impl Cancel {
    /// Asks.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Release);
        self.asked.notify_waiters();
    }

    /// Was it asked?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Waits until it is asked.
    pub async fn cancelled(&self) {
        let asked = self.asked.notified();
        let mut asked = std::pin::pin!(asked);
        // From here on a notification is not missed; one before it has set the flag.
        asked.as_mut().enable();
        if !self.is_cancelled() {
            asked.await;
        }
    }
}

/// Rows so far; written by the engine, read by the dispatcher.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows read.
    pub rows_read: AtomicU64,
    /// Rows that left the last step.
    pub rows_out: AtomicU64,
}

/// One attempt of one node, as the engine is asked to do it.
pub struct Attempt<'a> {
    /// The node.
    pub node: &'a PlannedNode,
    /// UUIDv7 of the run.
    pub run_id: &'a str,
    /// Whose writes this attempt makes: the run's id, or that of the interrupted run which it continues. A batch of mode
    /// `append` counts once for each.
    pub slot: &'a str,
    /// From 1.
    pub attempt: u32,
    /// The run's logical time.
    pub logical_time: Timestamp,
    /// Rows kept as a sample.
    pub sample_rows_max: usize,
    /// Where to find the operations.
    pub transforms: Arc<dyn Transforms>,
    /// To be kept up to date.
    pub progress: Arc<Progress>,
    /// To be looked at between batches.
    pub cancel: Cancel,
}

/// Data that lies ready but is not visible yet.
#[derive(Debug)]
pub struct Staged {
    /// What is known of the data.
    pub facts: NodeFacts,
    /// Names the staged data inside the engine.
    pub token: u64,
}

/// What publishing did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The target; `None` without a write.
    pub target: Option<FileFact>,
    /// What the write did to it.
    pub write: Option<WriteFact>,
}

/// The data side of a run.
///
/// The executor calls, for each attempt, `stage` and then `publish`; or `discard` when it will not publish.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Reads, transforms and writes where nobody sees it. Nothing visible has changed when this fails.
    ///
    /// # Errors
    /// Whatever went wrong; nothing is staged then.
    async fn stage(&self, attempt: Attempt<'_>) -> Result<Staged, Failure>;

    /// Makes staged data visible in one atomic step, and the node's output readable for its dependents.
    ///
    /// # Errors
    /// The target is as it was before, or it is not known whether it is; the executor then calls `discard` with the
    /// token.
    async fn publish(&self, token: u64) -> Result<Published, Failure>;

    /// Throws staged data away. Never fails: what cannot be removed is left to the next start.
    async fn discard(&self, token: u64);
}

/// Metadata of a schema without columns that stands for one nobody knows yet. Only `sql` is asked about such a schema,
/// and then answers no more than that its text can be understood.
pub const UNKNOWN_SCHEMA: &str = "odibi:unknown";

/// The sandbox side of a run.
#[async_trait]
pub trait Transforms: Send + Sync {
    /// Finds an operation, loading and compiling its component if need be. Whatever is done with it is done under these
    /// limits.
    ///
    /// # Errors
    /// `Missing`, `Contract`, `Denied`, `Limit`.
    async fn resolve(
        &self,
        reference: &OperationRef,
        limits: &GuestLimits,
    ) -> Result<Arc<dyn Operation>, Failure>;
}

/// One operation of one component. Calls block the thread: use a blocking one.
pub trait Operation: Send + Sync {
    /// Which code this is.
    fn identity(&self) -> OperationIdentity;

    /// How its component came to be ready, where that is known.
    fn origin(&self) -> Option<ComponentOrigin> {
        None
    }

    /// What its plugin was granted. With anything granted, sessions are not deterministic.
    fn grants(&self) -> Grants {
        Grants::default()
    }

    /// Checks params and infers the output. Pure.
    ///
    /// # Errors
    /// `Guest` with `param` when a param is to blame; `Trap`, `Limit`, `Contract`.
    fn plan(&self, params: &Value, inputs: &[SchemaRef]) -> Result<OperationPlan, Failure>;

    /// As [`Operation::plan`], inside an attempt: who records failures learns where this one belongs.
    ///
    /// # Errors
    /// As `plan`.
    fn plan_within(
        &self,
        params: &Value,
        inputs: &[SchemaRef],
        _context: &SessionContext,
    ) -> Result<OperationPlan, Failure> {
        self.plan(params, inputs)
    }

    /// A fresh instance, opened.
    ///
    /// # Errors
    /// As `plan`.
    fn open(
        &self,
        plan: &Arc<OperationPlan>,
        context: &SessionContext,
    ) -> Result<Box<dyn Session>, Failure>;
}

/// What an operation decided for given params and schemas. Host-side mirror of `node-plan` in the WIT.
#[derive(Debug, Clone)]
pub struct OperationPlan {
    /// Params it was planned with.
    pub params: Value,
    /// One for each port.
    pub inputs: Vec<InputPlan>,
    /// Schema of the whole output, columns that pass through included.
    pub output: SchemaRef,
    /// For each output column: `Some((port, offered index))` when the host re-attaches it.
    pub pass_through: Vec<Option<(usize, usize)>>,
    /// How instances may be spread.
    pub spread: Spread,
    /// Preferred upper bound of rows in a batch.
    pub batch_rows_max: Option<usize>,
    /// The guest's own bytes, handed back at `open`.
    pub state: Vec<u8>,
}

/// What one input port asks for.
#[derive(Debug, Clone)]
pub struct InputPlan {
    /// The schema that was offered.
    pub offered: SchemaRef,
    /// Indices of the columns that enter the sandbox, in order.
    pub need: Vec<usize>,
    /// Before the streamed inputs, completely.
    pub drained_first: bool,
    /// Equal values of these columns reach the same instance.
    pub partition_by: Vec<usize>,
    /// Order inside a partition.
    pub sorted_by: Vec<SortKey>,
    /// Rows must come in the order of their source.
    pub keep_order: bool,
}

/// One key of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// Index into the offered schema.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Nulls before values.
    pub nulls_first: bool,
}

/// How instances may be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// One instance.
    Single,
    /// One for each partition.
    PerPartition,
    /// Any instance for any batch; the host restores the order.
    PerBatch,
}

/// Where a session belongs.
#[derive(Debug, Clone)]
pub struct SessionContext {
    /// UUIDv7 of the run.
    pub run_id: String,
    /// Pipeline.
    pub pipeline: String,
    /// Node.
    pub node: String,
    /// Index of the step in its node.
    pub step: usize,
    /// Rows are searched for that make a batch fail: that failure is known, and what fails now only repeats it.
    pub searching: bool,
    /// From 0.
    pub partition: u32,
    /// How many.
    pub partitions: u32,
    /// From 1.
    pub attempt: u32,
    /// The run's logical time: the guest's clock.
    pub logical_time: Timestamp,
    /// Stops the guest within two ticks of the epoch.
    pub cancel: Cancel,
    /// What the guest's memory is charged to.
    pub memory: MemoryBudget,
    /// For each step of the node, the sensitive columns that enter its sandbox.
    pub sensitive: Arc<Vec<Vec<String>>>,
}

/// Wants more, or has enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// Send more on this port.
    More,
    /// Nothing further on this port changes the result.
    Enough,
}

/// One open instance. Calls block the thread. After an error it must be dropped.
pub trait Session: Send {
    /// Gives one batch of the offered schema; whole output batches are appended to `out`.
    ///
    /// # Errors
    /// `Guest`, `Trap`, `Limit`, `Contract`, `Cancelled`.
    fn process(
        &mut self,
        port: usize,
        batch: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Appetite, Failure>;

    /// Says that a port has ended.
    ///
    /// # Errors
    /// As `process`.
    fn drain(&mut self, port: usize, out: &mut Vec<RecordBatch>) -> Result<(), Failure>;

    /// Says that all ports have ended.
    ///
    /// # Errors
    /// As `process`.
    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<Option<Value>, Failure>;

    /// What it cost so far.
    fn ledger(&self) -> Ledger;

    /// What the guest said so far, capped. Emptied by the call.
    fn take_notes(&mut self) -> Vec<GuestNote>;
}
