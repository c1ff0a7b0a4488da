//! What a write does to its target: rows of a batch into a file or a directory, so that it counts once.
//!
//! Every write goes the same way, whatever store is behind it: take the lock; look which version is there; settle what
//! killed runs have left; leave a batch alone that is known; make the new file out of sight; note in the log that it lies
//! ready; put it, if the target still is what was read; note that it is there. What tells that a batch is in the target
//! becomes visible in the same step as its rows: in the footer of a Parquet file, in the log of a directory, or as the
//! digest of a text file.

pub(crate) mod align;
pub(crate) mod batch;
pub(crate) mod dates;
mod directory;
mod file;
pub(crate) mod keys;
pub(crate) mod merge;
pub(crate) mod parted;
pub(crate) mod rows;
mod settle;
mod source;
mod spread;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use odibi_plan::plan::{TargetLayout, Write, WriteMode};
use odibi_run::port::{BatchLog, BatchRecord, BatchState, Cancel, Published};
use odibi_story::event::{WriteEffect, WriteFact};
use odibi_story::failure::{Failure, FailureClass, code};

use self::align::{Alignment, align};
use self::dates::DateFormat;
use self::merge::{Counts, Workspace};
use self::parted::{Parted, file_columns};
use self::rows::{Batch, RowFormat};
use self::source::{Piece, Source};
use crate::Publish;
use crate::driver::Reach;
use crate::failure::{During, classify, internal};
use crate::read::Stop;
use crate::store::{Purpose, Store, Stores, Upload, normal};

/// Key of a Parquet footer under which the batches stand that the file holds.
const FOOTER_KEY: &str = "odibi.batches";
/// Characters of a batch's hash that a target keeps.
const ID_CHARS: usize = 32;
/// Batches that a target names at most, the oldest forgotten first. The log of batches knows all.
const BATCHES_NAMED_MAX: usize = 500;
/// Tries when somebody else is faster.
const TRIES_MAX: usize = 16;

/// A write that can be done.
#[derive(Debug)]
pub(crate) struct Target {
    store: Arc<dyn Store>,
    path: String,
    /// As the log of batches names it.
    id: String,
    write: Write,
}

/// The rows that are to be written.
#[derive(Debug)]
pub(crate) enum Rows {
    /// The whole new file of an overwrite.
    Whole(Box<dyn Upload>),
    /// A file in the scratch directory, in the format of the target.
    Batch(Arc<File>),
    /// Such a file for each partition.
    Parts(Parted),
    /// They are not there yet, or were put.
    Gone,
}

/// A write that lies ready.
pub(crate) struct Ready {
    pub(crate) target: Target,
    pub(crate) rows: Rows,
    pub(crate) schema: SchemaRef,
    pub(crate) rows_count: u64,
    pub(crate) batch: String,
    pub(crate) run_id: String,
    pub(crate) pipeline: String,
    pub(crate) node: String,
    pub(crate) log: Arc<dyn BatchLog>,
    pub(crate) scratch: PathBuf,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) batch_rows: usize,
    pub(crate) cancel: Cancel,
    /// Something is visible.
    pub(crate) appeared: bool,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} into {:?}", self.batch, self.target)
    }
}

impl Target {
    /// Opens the store, and refuses what cannot be done there.
    pub(crate) fn open(write: &Write, stores: &Stores) -> Result<Self, Failure> {
        let path = normal(&write.path, Purpose::Write)?;
        let store = stores.open(&write.connection, Purpose::Write)?;
        // Whoever writes a directory by a link holds the lock of those who write it by its name.
        let path = match write.layout {
            TargetLayout::Directory => store.real_dir(&path)?,
            TargetLayout::File => path,
        };
        let id = stores.name_of_place(&write.connection, &path)?;
        let target = Self {
            store,
            path,
            id,
            write: write.clone(),
        };
        target.check()?;
        Ok(target)
    }

    fn check(&self) -> Result<(), Failure> {
        let write = &self.write;
        let refuse = |what: &str, hint: &str| {
            Err(Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, what).hint(hint))
        };
        let whole = write.mode == WriteMode::Overwrite;
        let adds = matches!(write.mode, WriteMode::Append | WriteMode::AppendOnce(None));
        let many = self.is_directory() && (!adds || !write.partition_by.is_empty());
        if many && matches!(self.store.reach()?, Reach::Objects(..)) {
            let what = format!(
                "an object store cannot replace a directory in one step: `{}`",
                self.shown()
            );
            return refuse(&what, "use format `delta`, or write one file");
        }
        if !whole && RowFormat::of(&write.format).is_none() {
            let what = format!(
                "mode `{}` cannot be done in this format with these options",
                write.mode.word()
            );
            return refuse(
                &what,
                "write Parquet, CSV or JSON lines, or use mode `overwrite`",
            );
        }
        Ok(())
    }

    /// Where the rows go while they are made. Done before any work, so that a target that cannot be written is known first.
    pub(crate) fn begin(&self, scratch: &std::path::Path) -> Result<Rows, Failure> {
        if !self.write.partition_by.is_empty() {
            return Ok(Rows::Gone);
        }
        if !self.is_directory() {
            let upload = self.store.create(&self.path)?;
            if self.write.mode == WriteMode::Overwrite {
                return Ok(Rows::Whole(upload));
            }
        }
        let in_scratch = tempfile::tempfile_in(scratch);
        let in_scratch = in_scratch.map_err(|e| classify(&e, During::Scratch))?;
        Ok(Rows::Batch(Arc::new(in_scratch)))
    }

    /// How a result of these columns becomes what is written, where the project says that its columns may be others than
    /// those of the target; `None` when it is written as it is.
    pub(crate) fn align(
        &self,
        result: &SchemaRef,
        stop: Stop<'_>,
    ) -> Result<Option<Alignment>, Failure> {
        let Some(policy) = self.write.schema_policy else {
            return Ok(None);
        };
        let shown = self.shown();
        let format = RowFormat::of(&self.write.format);
        let format = format.ok_or_else(|| internal("a format without rows was planned"))?;
        let sources = if self.is_directory() {
            directory::sources(self, result)?
        } else {
            let there = self.store.stat(&self.path)?.is_some();
            let blob = there.then(|| self.store.open(&self.path)).transpose()?;
            blob.into_iter().map(Source::of).collect()
        };
        if sources.is_empty() {
            return Ok(None);
        }
        let known = format.known(&sources, &shown, stop)?;
        let (file, _) = file_columns(result, &self.write.partition_by);
        let stored = format.stored(&file, &shown)?;
        let partition_by = &self.write.partition_by;
        align(
            result,
            stored.as_ref(),
            &known,
            partition_by,
            policy,
            &shown,
        )
        .map(Some)
    }

    pub(crate) fn shown(&self) -> String {
        self.store.shown(&self.path)
    }

    pub(crate) fn write(&self) -> &Write {
        &self.write
    }

    /// As the log of batches names it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// As it was named before: in another environment the connection may lead to another place.
    fn id_before(&self) -> String {
        format!("{}:{}", self.store.connection(), self.path)
    }

    fn is_directory(&self) -> bool {
        self.write.layout == TargetLayout::Directory
    }
}

impl Rows {
    /// A handle to write through.
    pub(crate) fn writer(&self) -> Result<File, Failure> {
        match self {
            Self::Whole(upload) => upload.writer(),
            Self::Batch(file) => file.try_clone().map_err(|e| classify(&e, During::Scratch)),
            Self::Parts(_) | Self::Gone => Err(internal("rows are written that were put")),
        }
    }
}

/// The note that goes into the footer of a file that holds a batch alone.
pub(crate) fn footer_note(batch: &str) -> (&'static str, String) {
    (FOOTER_KEY, short(batch).to_owned())
}

fn short(batch: &str) -> &str {
    batch.get(..ID_CHARS).unwrap_or(batch)
}

impl Publish for Ready {
    fn publish(&mut self) -> Result<Published, Failure> {
        let target = &self.target;
        self.log.adopt(&target.id_before(), target.id())?;
        let (target, write) = if self.target.is_directory() {
            directory::publish(self)
        } else {
            file::publish(self)
        }?;
        Ok(Published {
            target: Some(target),
            write: Some(write),
        })
    }

    fn has_appeared(&self) -> bool {
        self.appeared
    }
}

impl Ready {
    fn record(&self, evidence: String) -> BatchRecord {
        BatchRecord {
            target: self.target.id().to_owned(),
            batch: self.batch.clone(),
            run_id: self.run_id.clone(),
            pipeline: self.pipeline.clone(),
            node: self.node.clone(),
            mode: self.target.write.mode.word().to_owned(),
            state: BatchState::Staged,
            rows: self.rows_count,
            evidence,
        }
    }

    fn fact(&self, effect: WriteEffect, counts: Counts) -> WriteFact {
        WriteFact {
            mode: self.target.write.mode.word().to_owned(),
            batch: self.batch.clone(),
            effect,
            rows_inserted: counts.inserted,
            rows_updated: counts.updated,
            rows_unchanged: counts.unchanged,
            rows_present: counts.present,
            rows_duplicate: counts.duplicate,
            files_added: 0,
            files_removed: 0,
            version_before: None,
            version_after: None,
            evidence: None,
        }
    }

    /// The rows, unless they are the whole file.
    fn batch(&self) -> Result<Batch<'_>, Failure> {
        let pieces = match &self.rows {
            Rows::Batch(file) => vec![Piece::of(file)],
            Rows::Parts(parted) => parted.pieces(),
            Rows::Whole(_) | Rows::Gone => return Err(internal("a merge has no batch")),
        };
        let write = &self.target.write;
        Ok(Batch {
            pieces,
            schema: file_columns(&self.schema, &write.partition_by).0,
            whole: &self.schema,
            keys: write.mode.keys(),
            batch_rows: self.batch_rows,
            evolves: write.schema_policy.is_some(),
            dates: DateFormat::of(&write.format),
        })
    }

    fn workspace<'a>(&self, stop: crate::read::Stop<'a>) -> Workspace<'a> {
        Workspace {
            scratch: self.scratch.clone(),
            runtime: Arc::clone(&self.runtime),
            memory_bytes_max: self.memory_bytes_max,
            batch_rows: self.batch_rows,
            stop,
        }
    }

    /// With its note in the log; the rows are visible, so nothing that goes wrong from here on matters to them.
    fn committed(&self) {
        // What is not noted is found in the target by the next writer.
        let _ = self.log.committed(self.target.id(), &self.batch);
    }
}

/// Copies a file from its start.
fn copy(from: &File, to: &mut File, shown: &str) -> Result<(), Failure> {
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        let read = from.read_at(&mut buffer, at);
        let read = read.map_err(|e| classify(&e, During::Scratch))?;
        if read == 0 {
            return Ok(());
        }
        at += read as u64;
        io::Write::write_all(to, &buffer[..read])
            .map_err(|e| classify(&e, During::Write(shown)))?;
    }
}

fn conflict(shown: &str) -> Failure {
    let message = format!("others kept changing `{shown}` while it was written");
    Failure::new(FailureClass::Conflict, code::WRITE_CONFLICT, message)
        .hint("run again, or let fewer runs write it at the same time")
}

#[cfg(test)]
mod tests;
