//! The mark of a run: a file that is locked while its process lives, and gone when the run came to its end. Where the state
//! is shared, the leases of the run are its mark.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use odibi_story::failure::Failure;

use crate::db::{Fault, StateDb, beside, try_lock};
use crate::shared::SharedLease;

/// Name of the mark in the directory of a run.
const MARK: &str = "running";

/// Says that a run is at work. Dropped without [`RunMark::remove`], it says from then on that the run was interrupted.
#[derive(Debug)]
pub struct RunMark(Mark);

#[derive(Debug)]
enum Mark {
    File { path: PathBuf, _lock: File },
    Leases(Vec<Arc<SharedLease>>),
}

impl RunMark {
    /// Marks a run, before it is noted with [`StateDb::begin`]. Makes its directory, `runs/<run id>`.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn create(db: &StateDb, run_id: &str) -> Result<Self, Failure> {
        let path = path(db.directory(), run_id);
        let made = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| File::options().create_new(true).write(true).open(&path))
            .and_then(|file| file.lock().map(|()| file));
        let lock = made.map_err(|error| beside(&error, &path))?;
        Ok(Self(Mark::File { path, _lock: lock }))
    }

    pub(crate) fn shared(leases: Vec<Arc<SharedLease>>) -> Self {
        Self(Mark::Leases(leases))
    }

    /// The very last thing that a run does: what comes after it is another run's. That it is not made durable makes no
    /// difference: a mark that a power failure brings back is of another boot.
    ///
    /// # Errors
    /// The next run will go on with this one's writes.
    pub fn remove(self) -> Result<(), Failure> {
        match self.0 {
            Mark::File { path, .. } => {
                std::fs::remove_file(&path).map_err(|error| beside(&error, &path))
            }
            Mark::Leases(leases) => {
                // Each is let go of, whatever becomes of the others.
                let ended: Vec<_> = leases.iter().map(|lease| lease.release(true)).collect();
                ended.into_iter().collect()
            }
        }
    }
}

/// True while the process of a run lives.
pub(super) fn is_running(directory: &Path, run_id: &str) -> Result<bool, Fault> {
    let path = path(directory, run_id);
    let free = match File::open(&path) {
        Ok(file) => try_lock(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    };
    let free = free.map_err(|error| beside(&error, &path))?;
    Ok(!free)
}

/// True when the process of a run is gone and did not remove the mark.
pub(super) fn is_left(directory: &Path, run_id: &str) -> Result<bool, Fault> {
    let path = path(directory, run_id);
    let exists = path.try_exists().map_err(|error| beside(&error, &path))?;
    Ok(exists && !is_running(directory, run_id)?)
}

/// Changes with each start of the machine. Empty where the system does not tell.
pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

fn path(directory: &Path, run_id: &str) -> PathBuf {
    directory.join("runs").join(run_id).join(MARK)
}
