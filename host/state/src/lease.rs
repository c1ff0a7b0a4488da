//! Leases: one run at a time works on a pipeline.
//!
//! Where the state is a database, who holds a lease holds the lock of a file, so the system frees it with the process. Each holder gets a number larger
//! than all before it, its **epoch**, and a file of its own: a lease can be taken from a run that hangs, whose lock
//! stays where it is and counts no more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use odibi_story::failure::{Failure, FailureClass, code};
use rusqlite::{OptionalExtension as _, params};

use crate::db::{StateDb, beside, try_lock};
use crate::shared::SharedLease;

/// Directory of the locks, below the state directory.
const DIRECTORY: &str = "leases";
/// Pause between two tries to get a lease of this machine.
const PAUSE_MS: u64 = 50;

/// Who wants to work on what.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// Project.
    pub project: &'a str,
    /// Pipeline.
    pub pipeline: &'a str,
    /// The run that will hold it.
    pub run_id: &'a str,
    /// From when on, for people.
    pub now: Timestamp,
    /// Also when a run holds it that is alive.
    pub take_over: bool,
}

/// Who works on a pipeline now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Pipeline.
    pub pipeline: String,
    /// Run.
    pub run_id: String,
    /// Process.
    pub pid: u32,
    /// Its machine, where that may be another one.
    pub host: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Whether it lives is not known yet: asked again until it is not silent any more, the state finds out.
    pub is_silent: bool,
    /// Time after which it is worth asking again.
    pub pause_ms: u64,
}

/// The right to work on one pipeline, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lease {
    pipeline: String,
    epoch: u64,
    held: Held,
}

/// By what it is held.
#[derive(Debug)]
enum Held {
    /// A lock of this machine.
    Lock { path: PathBuf, _lock: File },
    /// A document that others see.
    Document(Arc<SharedLease>),
}

impl Lease {
    pub(crate) fn shared(lease: Arc<SharedLease>) -> Self {
        Self {
            pipeline: lease.pipeline.clone(),
            epoch: lease.epoch,
            held: Held::Document(lease),
        }
    }

    /// What holds it, where that is a document.
    pub(crate) fn document(&self) -> Option<&Arc<SharedLease>> {
        match &self.held {
            Held::Lock { .. } => None,
            Held::Document(lease) => Some(lease),
        }
    }

    /// The pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Larger than that of every lease of this pipeline before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Held::Lock { path, .. } = &self.held {
            // Whoever has it open already finds out that it is nobody's; a new lease has a new file.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Holder {
    /// Why a run cannot start now.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let host = self.host.as_ref();
        let message = format!(
            "pipeline `{}` is being run by run {} (process {}{}, since {})",
            self.pipeline,
            self.run_id,
            self.pid,
            host.map(|host| format!(" on {host}")).unwrap_or_default(),
            self.since.strftime("%Y-%m-%d %H:%M:%S UTC"),
        );
        Failure::new(FailureClass::Conflict, code::STATE_LEASE_HELD, message)
            .hint("wait for it with `--wait 10m`, say")
            .hint("if it hangs, `--take-over` goes on without it: nothing that it still writes counts")
    }
}

impl StateDb {
    /// Takes a lease; or says who holds it.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn lease(&self, request: &LeaseRequest<'_>) -> Result<Result<Lease, Holder>, Failure> {
        let directory = self.directory().join(DIRECTORY);
        std::fs::create_dir_all(&directory).map_err(|e| beside(&e, &directory))?;
        let answer = self.write(|t| {
            let LeaseRequest {
                project,
                pipeline,
                run_id,
                ..
            } = *request;
            let known: Option<(i64, i64, Holder)> = t
                .query_row(
                    "SELECT id, epoch, run_id, pid, since_ms FROM lease WHERE project = ?1 AND pipeline = ?2",
                    params![project, pipeline],
                    |row| {
                        let holder = Holder {
                            pipeline: pipeline.to_owned(),
                            run_id: row.get(2)?,
                            pid: row.get(3)?,
                            host: None,
                            since: Timestamp::from_millisecond(row.get(4)?).unwrap_or_default(),
                            is_silent: false,
                            pause_ms: PAUSE_MS,
                        };
                        Ok((row.get(0)?, row.get(1)?, holder))
                    },
                )
                .optional()?;
            let before = known.as_ref().map(|(id, epoch, _)| path(&directory, *id, *epoch));
            if let (Some((_, _, holder)), Some(before), false) = (&known, &before, request.take_over)
                && is_held(before).map_err(|e| beside(&e, before))?
            {
                return Ok(Err(holder.clone()));
            }
            let epoch = known.as_ref().map_or(1, |(_, epoch, _)| epoch + 1);
            let id: i64 = t.query_row(
                "INSERT INTO lease (project, pipeline, epoch, run_id, pid, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (project, pipeline) DO UPDATE SET epoch = excluded.epoch, run_id = excluded.run_id, \
                 pid = excluded.pid, since_ms = excluded.since_ms RETURNING id",
                params![project, pipeline, epoch, run_id, std::process::id(), request.now.as_millisecond()],
                |row| row.get(0),
            )?;
            let path = path(&directory, id, epoch);
            let lock = lock_new(&path).map_err(|e| beside(&e, &path))?;
            let lease = Lease {
                pipeline: pipeline.to_owned(),
                epoch: u64::try_from(epoch).unwrap_or(0),
                held: Held::Lock { path, _lock: lock },
            };
            Ok(Ok((lease, before)))
        })?;
        Ok(answer.map(|(lease, before)| {
            if let Some(before) = before {
                // One that was taken over keeps its lock, on a file without a name.
                let _ = std::fs::remove_file(before);
            }
            lease
        }))
    }
}

/// Why a run may not write any more: another one works on the pipeline.
pub(crate) fn lost(pipeline: &str, other: Option<&str>) -> Failure {
    let who = other.map_or_else(|| "another run".to_owned(), |id| format!("run {id}"));
    let message = format!("{who} has taken pipeline `{pipeline}` over");
    Failure::new(FailureClass::Conflict, code::STATE_LEASE_LOST, message)
        .hint("look at that run: it does the work of this one")
}

/// Why a run may not go on: it was taken for dead, and its end was noted.
pub(crate) fn lost_run(run_id: &str) -> Failure {
    let message = format!("run {run_id} was taken for dead, and another run has gone on with it");
    Failure::new(FailureClass::Conflict, code::STATE_LEASE_LOST, message)
        .hint("look at `odibi runs list`: the run that follows does the work of this one")
}

fn path(directory: &Path, id: i64, epoch: i64) -> PathBuf {
    directory.join(format!("{id}-{epoch}.lock"))
}

fn is_held(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => Ok(!try_lock(&file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A lock that nobody else can know of yet, but for one who noted it and did not live to keep the note.
fn lock_new(path: &Path) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    if try_lock(&file)? {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the lock of a new lease is held",
        ))
    }
}

#[cfg(test)]
mod tests;
