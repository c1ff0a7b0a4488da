//! What joins without touching the executor: table formats and databases that do their own reading and writing.
//!
//! A [`Driver`] is registered under the word of its `format:`. The engine opens the connection for it, runs the steps,
//! and hands over a whole batch that lies on disk; the driver makes it visible in one atomic step of its own. All calls
//! block the thread; a driver that works asynchronously waits on [`Lent::handle`].

use std::any::Any;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use object_store::ObjectStore;
use odibi_plan::plan::{Read, Write};
use odibi_run::port::{BatchLog, Cancel, Published};
use odibi_story::event::FileFact;
use odibi_story::failure::Failure;
use tokio::runtime::Handle;

pub use crate::prune::{Bound, Relation};

/// Reads and writes one format.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Word of `format:`.
    fn format(&self) -> &'static str;

    /// Finds a table and settles its columns.
    ///
    /// # Errors
    /// Whatever stands in the way of reading it.
    fn open(&self, place: Place, read: &Read, lent: &Lent)
    -> Result<Arc<dyn DriverTable>, Failure>;

    /// Looks at a target, before any row is read. What can never be written is refused here.
    ///
    /// # Errors
    /// It cannot be read, or not be written.
    fn target(
        &self,
        place: Place,
        write: &Write,
        lent: &Lent,
    ) -> Result<Box<dyn DriverTarget>, Failure>;
}

/// A table whose columns are known.
pub trait DriverTable: fmt::Debug + Send + Sync {
    /// Its columns.
    fn schema(&self) -> &SchemaRef;

    /// What a story lists as its source.
    fn facts(&self) -> Vec<FileFact>;

    /// What it is read from, in words that change when its rows may have: a batch made of it is known by them.
    fn version(&self) -> String;

    /// Begins to read these columns, by index and ascending. Rows for which one of `bounds` does not hold are of no use and may
    /// be left out.
    ///
    /// # Errors
    /// As [`Batches::next`].
    fn scan(
        &self,
        columns: &[usize],
        bounds: &[Bound],
        batch_rows: usize,
    ) -> Result<Box<dyn Batches>, Failure>;
}

/// Batches, one after the other.
pub trait Batches: Send {
    /// The next one, or `None` at the end.
    ///
    /// # Errors
    /// Whatever stands in the way of reading it.
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure>;
}

/// A target that a node is about to write.
pub trait DriverTarget: fmt::Debug + Send {
    /// Checks a batch and makes it ready. Nothing visible changes.
    ///
    /// # Errors
    /// The batch cannot be written there.
    fn stage(&mut self, batch: DriverBatch) -> Result<(), Failure>;

    /// Makes what was staged visible, in one atomic step; or finds that it is already.
    ///
    /// # Errors
    /// The target is as it was before, or as another writer has made it.
    fn publish(&mut self) -> Result<Published, Failure>;
}

/// The whole result of a node.
#[derive(Debug)]
pub struct DriverBatch {
    /// Hash of what it comes from, hex: a second try has the same.
    pub id: String,
    /// Whose write it is: the run, or the interrupted one that it continues.
    pub slot: String,
    /// The run.
    pub run_id: String,
    /// Pipeline of the node.
    pub pipeline: String,
    /// The node.
    pub node: String,
    /// Its rows.
    pub rows: Arc<dyn DriverRows>,
}

/// Rows that lie on disk and can be read again and again.
pub trait DriverRows: fmt::Debug + Send + Sync {
    /// Their columns. Text is `Utf8`, never a view.
    fn schema(&self) -> &SchemaRef;

    /// How many.
    fn count(&self) -> u64;

    /// Begins to read all columns.
    ///
    /// # Errors
    /// The scratch directory cannot be read.
    fn scan(&self) -> Result<Box<dyn Batches>, Failure>;
}

/// Where a table lies.
#[derive(Debug)]
pub struct Place {
    /// Name of the connection.
    pub connection: String,
    /// Path below its root.
    pub path: String,
    /// As messages show it.
    pub shown: String,
    /// As the log of batches names it: the same for every connection that reaches it.
    pub name: String,
    /// How to get there.
    pub reach: Reach,
}

/// How a driver gets to the root of a connection. Nothing outside of it may be touched.
pub enum Reach {
    /// An open directory of this machine.
    Directory(OwnedFd),
    /// An object store, and the prefix of every path; `""` for none.
    Objects(Arc<dyn ObjectStore>, String),
}

/// The client of a store would show its credentials.
impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => f.debug_tuple("Directory").field(directory).finish(),
            Self::Objects(_, prefix) => f.debug_tuple("Objects").field(prefix).finish(),
        }
    }
}

/// What the engine lends to a driver for one attempt.
#[derive(Clone)]
pub struct Lent {
    /// To wait for what is asynchronous.
    pub handle: Handle,
    /// To be looked at between batches.
    pub cancel: Cancel,
    /// Where batches are remembered.
    pub batch_log: Arc<dyn BatchLog>,
    /// For files that nobody asked for.
    pub scratch_dir: PathBuf,
    /// Rows of a batch.
    pub batch_rows: usize,
    shared: Arc<dyn Any + Send + Sync>,
}

impl Lent {
    /// Lends something that only those know who are built with the same libraries: the engine its runtime environment,
    /// with the memory and the spill files of the run.
    #[must_use]
    pub fn new(
        handle: Handle,
        cancel: Cancel,
        batch_log: Arc<dyn BatchLog>,
        scratch_dir: PathBuf,
        batch_rows: usize,
        shared: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            handle,
            cancel,
            batch_log,
            scratch_dir,
            batch_rows,
            shared,
        }
    }

    /// What is lent, when it is of this type.
    #[must_use]
    pub fn shared<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.shared).downcast().ok()
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("batch_rows", &self.batch_rows)
            .finish_non_exhaustive()
    }
}
