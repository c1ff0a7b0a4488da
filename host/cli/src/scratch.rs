//! The scratch directory of a run, and the end of those that killed runs have left.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Locked for as long as the run lives.
const LOCK: &str = "lock";
/// Extension of a directory whose lock is just being made.
const UNFINISHED: &str = "new";

/// A directory that lives as long as the run. A lock in it tells other runs that it is in use.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Removes what killed runs have left beside it, and makes it.
    ///
    /// # Errors
    /// The directory around it cannot be written.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let around = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(around)?;
        sweep(around);
        // Nobody sweeps meanwhile: what has no lock yet is not taken for abandoned.
        let making = File::open(around)?;
        // Where the file system has no such lock, nobody sweeps what has none.
        let _ = making.lock_shared();
        let unnamed = path.with_extension(UNFINISHED);
        std::fs::create_dir(&unnamed)?;
        let lock = File::create(unnamed.join(LOCK))?;
        // Locked before it has its name.
        lock.lock()?;
        std::fs::rename(&unnamed, &path)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// Removes directories whose lock nobody holds. While somebody else sweeps or makes one, those without a lock stay, and
/// those whose lock is being made. Best effort.
fn sweep(around: &Path) {
    let gate = File::open(around);
    let alone = gate.as_ref().is_ok_and(|gate| gate.try_lock().is_ok());
    for entry in std::fs::read_dir(around).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let unfinished = path.extension().is_some_and(|e| e == UNFINISHED);
        let lock = File::open(path.join(LOCK));
        let abandoned = match &lock {
            Ok(lock) => (alone || !unfinished) && lock.try_lock().is_ok(),
            Err(error) => alone && error.kind() == io::ErrorKind::NotFound,
        };
        if abandoned {
            let _ = remove(&path);
        }
    }
}

/// The lock goes last: until then others see whether somebody holds it.
fn remove(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(around: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(around).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What killed runs leave: before they have their lock, before its directory has its name, at work, and while they
    /// remove it.
    fn killed(around: &Path) {
        for dir in ["a.new", "b.new", "c", "d"] {
            std::fs::create_dir_all(around.join(dir).join("engine-1")).unwrap();
            std::fs::write(around.join(dir).join("engine-1/spool"), "much").unwrap();
        }
        for dir in ["b.new", "c"] {
            std::fs::write(around.join(dir).join(LOCK), "").unwrap();
        }
    }

    #[test]
    fn whatever_killed_runs_leave_is_removed_and_what_lives_stays() {
        let dir = tempfile::tempdir().unwrap();
        let around = dir.path();
        let alive = Scratch::create(around.join("alive")).unwrap();
        std::fs::write(alive.path.join("spool"), "more").unwrap();
        killed(around);
        // Others have a link to somewhere else; nothing behind it is touched.
        std::os::unix::fs::symlink("/", around.join("link")).unwrap();
        let next = Scratch::create(around.join("next")).unwrap();
        assert_eq!(left(around), ["alive", "link", "next"]);
        assert!(alive.path.join("spool").is_file());
        drop((alive, next));
        assert_eq!(left(around), ["link"]);
    }

    #[test]
    fn what_is_just_being_made_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let around = dir.path();
        killed(around);
        let making = File::open(around).unwrap();
        making.lock_shared().unwrap();
        sweep(around);
        assert_eq!(left(around), ["a.new", "b.new", "d"]);
        drop(making);
        sweep(around);
        assert_eq!(left(around), [""; 0]);
    }
}
