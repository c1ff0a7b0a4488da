//! The data side of odibi: reads, drives the steps inside one streaming DataFusion plan, writes.
//!
//! [`DataEngine`] implements `odibi_run::port::Engine`. No type of DataFusion or Arrow's readers shows in its
//! signatures; every error leaves as a [`Failure`].
//!
//! What it promises:
//! - Rows keep the order of their source, through scans, steps and node outputs, except behind a step that asks for
//!   its rows by key (`partition_by`) on an input of some size: there the rows come bucket by bucket. The order is the
//!   same in every run with the same memory and number of instances.
//! - Memory does not grow with the data. Sorts and buckets spill to the scratch directory.
//! - A target is as it was, until `publish` replaces it in one step.

mod chain;
mod documents;
mod driven;
pub mod driver;
mod exec;
mod facts;
mod failure;
mod guest_log;
pub mod limits;
mod partition;
pub mod parts;
mod pool;
mod probe;
mod profile;
mod prune;
mod read;
mod reason;
mod stage;
mod store;
mod target;
#[cfg(test)]
mod testing;
mod write;

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use odibi_plan::plan::{Connection, InputSource, NodeId};
use odibi_run::port::{
    Attempt, BatchLog, Engine, MemoryBatchLog, Published, SessionContext, Staged,
};
use odibi_run::{MemoryBudget, Shades};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use self::documents::Documents;
pub use self::guest_log::{GuestLog, GuestSaid};
pub use self::probe::{Probe, probe};
pub use self::read::schema_of;
pub use self::target::dates::untold_key;

use self::driven::Drivers;
use self::driver::{Driver, Lent};
use self::exec::Layout;
use self::exec::node_run::lock;
use self::failure::{During, classify, internal, panic_text};
use self::limits::{
    BATCH_ROWS_DEFAULT, BATCH_ROWS_MAX, MEMORY_BYTES_DEFAULT, MEMORY_GUESTS_SHARE,
    PARTITION_BYTES_MIN, STACK_BYTES,
};
use self::pool::BudgetPool;
use self::stage::{NodeAttempt, Ready};
use self::store::{Expect, Purpose, Put, Stores, Upload, normal};
use self::write::spool::Spool;

/// Consumers of memory that are named when it runs out.
const MEMORY_CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// How an engine works.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory of the project file: relative `base_path`s begin here.
    pub project_dir: PathBuf,
    /// For spilled data and the outputs of nodes. The engine makes a directory of its own in it and removes it.
    pub scratch_dir: PathBuf,
    /// Directory that the log of batches lies in, where it is one of this machine. When it lies in the directory of the
    /// project, targets there are still the same ones after both were moved.
    pub state_dir: Option<PathBuf>,
    /// Memory of all nodes together: for sorts and repartitions, and for the guests of the steps.
    pub memory_bytes_max: u64,
    /// Instances of one step at the same time.
    pub instances_max: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
}

impl EngineOptions {
    /// The defaults: 512 MiB, an instance for each core, 32,768 rows.
    #[must_use]
    pub fn new(project_dir: impl Into<PathBuf>, scratch_dir: impl Into<PathBuf>) -> Self {
        Self {
            project_dir: project_dir.into(),
            scratch_dir: scratch_dir.into(),
            state_dir: None,
            memory_bytes_max: MEMORY_BYTES_DEFAULT,
            instances_max: std::thread::available_parallelism().map_or(1, usize::from),
            batch_rows: BATCH_ROWS_DEFAULT,
        }
    }
}

/// Reads, drives the steps, writes.
#[derive(Debug)]
pub struct DataEngine {
    stores: Arc<Stores>,
    scratch: TempDir,
    memory: MemoryBudget,
    runtime: Arc<RuntimeEnv>,
    layout: Layout,
    chains: bool,
    tokens: AtomicU64,
    ready: Mutex<HashMap<u64, Ready>>,
    /// Outputs of published nodes, by run and node.
    spools: Mutex<HashMap<(String, NodeId), Arc<Spool>>>,
    /// What of those is sensitive, also of nodes that nobody reads.
    shades: Mutex<HashMap<(String, NodeId), Shades>>,
    /// What was written to targets before.
    batch_log: Arc<dyn BatchLog>,
    drivers: BTreeMap<&'static str, Arc<dyn Driver>>,
    /// Hears what guests say.
    guest_log: Option<Arc<dyn GuestLog>>,
}

impl DataEngine {
    /// Makes the scratch directory ready.
    ///
    /// # Errors
    /// The scratch directory cannot be used.
    pub fn new(options: EngineOptions) -> Result<Self, Failure> {
        let EngineOptions {
            project_dir,
            scratch_dir,
            state_dir,
            memory_bytes_max,
            instances_max,
            batch_rows,
        } = options;
        std::fs::create_dir_all(&scratch_dir).map_err(|e| classify(&e, During::Scratch))?;
        let scratch = tempfile::Builder::new()
            .prefix("engine-")
            .tempdir_in(&scratch_dir)
            .map_err(|e| classify(&e, During::Scratch))?;
        let memory = MemoryBudget::new(memory_bytes_max);
        let reserved_max = memory_bytes_max.saturating_sub(memory_bytes_max / MEMORY_GUESTS_SHARE);
        let pool = BudgetPool::new(
            usize::try_from(reserved_max).unwrap_or(usize::MAX),
            memory.clone(),
        );
        let pool = TrackConsumersPool::new(pool, MEMORY_CONSUMERS_NAMED);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![
                scratch.path().to_path_buf(),
            ]))
            .with_max_temp_directory_size(u64::MAX);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|e| classify(&e, During::Scratch))?;
        let layout = Layout {
            instances_max: instances_max.max(1),
            memory_bytes_max,
            batch_rows: batch_rows.clamp(1, BATCH_ROWS_MAX),
            partition_bytes_min: PARTITION_BYTES_MIN,
        };
        Ok(Self {
            stores: Arc::new(Stores::new(project_dir, scratch.path()).with_state_dir(state_dir)),
            scratch,
            memory,
            runtime,
            layout,
            chains: true,
            tokens: AtomicU64::new(1),
            ready: Mutex::default(),
            spools: Mutex::default(),
            shades: Mutex::default(),
            batch_log: Arc::new(MemoryBatchLog::default()),
            drivers: BTreeMap::new(),
            guest_log: None,
        })
    }

    /// Remembers batches there, and not only as long as the engine lives.
    #[must_use]
    pub fn with_batch_log(mut self, log: Arc<dyn BatchLog>) -> Self {
        self.batch_log = log;
        self
    }

    /// Reads and writes a further format.
    #[must_use]
    pub fn with_driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.drivers.insert(driver.format(), driver);
        self
    }

    /// Tells what guests say.
    #[must_use]
    pub fn with_guest_log(mut self, log: Arc<dyn GuestLog>) -> Self {
        self.guest_log = Some(log);
        self
    }

    /// Partitions inputs of this size already. For tests of partitioning with small data.
    #[must_use]
    pub fn with_partition_bytes_min(mut self, bytes: u64) -> Self {
        self.layout.partition_bytes_min = bytes;
        self
    }

    /// What a file of a connection is now; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn fact_of(
        &self,
        connection: &Connection,
        path: &str,
    ) -> Result<Option<FileFact>, Failure> {
        let path = normal(path, Purpose::Read)?;
        let found = self.stores.open(connection, Purpose::Read)?.stat(&path)?;
        Ok(found.map(|stat| FileFact {
            connection: connection.name.clone(),
            path: stat.path,
            bytes: stat.bytes,
            modified: stat.modified,
            version: None,
        }))
    }

    /// Runs every step by itself, also those that could run as one: for records of what a step was sent.
    #[must_use]
    pub fn without_chains(mut self) -> Self {
        self.chains = false;
        self
    }

    /// Writes a document below a connection's root, in one atomic step, and returns its path as a person would type it.
    ///
    /// # Errors
    /// `write/denied`, `write/disk-full`, `write/bad-target`, `write/failed`.
    pub fn write_document(
        &self,
        connection: &Connection,
        path: &str,
        bytes: &[u8],
    ) -> Result<String, Failure> {
        self.documents(connection)?.write(path, bytes)
    }

    /// The documents of a connection, stories above all.
    ///
    /// # Errors
    /// As reading and writing a table of the connection.
    pub fn documents(&self, connection: &Connection) -> Result<Documents, Failure> {
        Documents::of(&self.stores, connection)
    }

    async fn prepare(
        &self,
        attempt: &Attempt<'_>,
        abandoned: Arc<AtomicBool>,
    ) -> Result<NodeAttempt, Failure> {
        let node = attempt.node;
        let mut operations = Vec::with_capacity(node.steps.len());
        for (index, step) in node.steps.iter().enumerate() {
            let transforms = &attempt.transforms;
            let resolved = transforms.resolve(&step.operation, &step.limits).await;
            operations.push(resolved.map_err(|f| {
                if f.step.is_some() {
                    f
                } else {
                    f.at_step(index)
                }
            })?);
        }
        let links = if self.chains {
            chain::links(node, &operations, &attempt.transforms).await
        } else {
            Vec::new()
        };
        let spools = lock(&self.spools);
        let spool = |source: &InputSource| match source {
            InputSource::Node(id) => spools.get(&(attempt.run_id.to_owned(), *id)).cloned(),
            InputSource::Read(_) => None,
        };
        Ok(NodeAttempt {
            operations,
            links,
            spools: node.inputs.iter().map(|i| spool(&i.source)).collect(),
            context: SessionContext {
                run_id: attempt.run_id.to_owned(),
                pipeline: node.pipeline.clone(),
                node: node.name.clone(),
                step: 0,
                searching: false,
                partition: 0,
                partitions: 1,
                attempt: attempt.attempt,
                logical_time: attempt.logical_time,
                cancel: attempt.cancel.clone(),
                memory: self.memory.clone(),
                sensitive: Arc::default(),
            },
            sample_rows_max: attempt.sample_rows_max,
            progress: Arc::clone(&attempt.progress),
            abandoned,
            handle: Handle::current(),
            stores: Arc::clone(&self.stores),
            scratch_dir: self.scratch.path().to_path_buf(),
            drivers: Drivers {
                by_format: Arc::new(self.drivers.clone()),
                lent: Lent::new(
                    Handle::current(),
                    attempt.cancel.clone(),
                    Arc::clone(&self.batch_log),
                    self.scratch.path().to_path_buf(),
                    self.layout.batch_rows,
                    Arc::clone(&self.runtime) as Arc<dyn Any + Send + Sync>,
                ),
            },
            slot: attempt.slot.to_owned(),
            runtime: Arc::clone(&self.runtime),
            layout: self.layout,
            batch_log: Arc::clone(&self.batch_log),
            shades: lock(&self.shades)
                .iter()
                .filter(|((run, _), _)| run == attempt.run_id)
                .map(|((_, node), shades)| (*node, shades.clone()))
                .collect(),
            guest_log: self.guest_log.clone(),
            node: node.clone(),
        })
    }
}

/// Tells the threads of an attempt when nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[async_trait]
impl Engine for DataEngine {
    async fn stage(&self, attempt: Attempt<'_>) -> Result<Staged, Failure> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let _waiting = Waiting(Arc::clone(&abandoned));
        let prepared = self.prepare(&attempt, abandoned).await?;
        let ready = on_thread("odibi-node", move || prepared.run()).await?;
        let token = self.tokens.fetch_add(1, Ordering::Relaxed);
        let facts = ready.facts.clone();
        lock(&self.ready).insert(token, ready);
        Ok(Staged { facts, token })
    }

    async fn publish(&self, token: u64) -> Result<Published, Failure> {
        let taken = lock(&self.ready).remove(&token);
        let Some(Ready {
            run_id,
            node,
            write,
            quarantine,
            spool,
            shades,
            ..
        }) = taken
        else {
            return Err(internal("nothing is staged under this token"));
        };
        let visible = move || make_visible(quarantine, write);
        let published = on_thread("odibi-publish", visible).await?;
        lock(&self.shades).insert((run_id.clone(), node), shades);
        if let Some(spool) = spool {
            lock(&self.spools).insert((run_id, node), spool);
        }
        Ok(published)
    }

    async fn discard(&self, token: u64) {
        let taken = lock(&self.ready).remove(&token);
        // Dropping removes the files.
        let _ = on_thread("odibi-discard", move || {
            drop(taken);
            Ok(())
        })
        .await;
    }
}

/// A write that lies ready.
pub(crate) trait Publish: std::fmt::Debug + Send {
    /// Makes it visible.
    fn publish(&mut self) -> Result<Published, Failure>;
    /// Is it certainly visible?
    fn has_appeared(&self) -> bool;
}

/// Rejected rows first: when the target appears, what is missing in it has a place already. They stay only with a target
/// that has appeared, which it may have even when this fails.
fn make_visible(
    mut quarantine: Vec<Box<dyn Upload>>,
    mut write: Option<Box<dyn Publish>>,
) -> Result<Published, Failure> {
    let mut publish = || {
        for rejected in &mut quarantine {
            put(rejected.as_mut())?;
        }
        let published = write.as_mut().map(|write| write.publish()).transpose()?;
        Ok(published.unwrap_or_default())
    };
    let published = publish();
    let appeared = write.as_ref().is_some_and(|write| write.has_appeared());
    if published.is_err() && !appeared {
        quarantine.into_iter().for_each(Upload::revoke);
    }
    published
}

/// A file of rejected rows, whose name is its own.
fn put(file: &mut dyn Upload) -> Result<(), Failure> {
    match file.put(&Expect::Anything)? {
        Put::Done(_) => Ok(()),
        Put::Changed => Err(internal("a put that expects anything found a change")),
    }
}

/// Runs blocking code on a thread of its own.
async fn on_thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    let thread = move || {
        let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            Err(internal("the data engine panicked").cause(panic_text(panic.as_ref())))
        });
        // When nobody waits, what was made is dropped and thereby removed.
        let _ = answer.send(result);
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(thread)
        .map_err(|e| {
            Failure::new(
                FailureClass::Limit,
                code::RESOURCES_THREADS,
                "the system refused to start a thread",
            )
            .cause(e.to_string())
        })?;
    answered
        .await
        .unwrap_or_else(|_| Err(internal("a thread of the data engine is gone")))
}
