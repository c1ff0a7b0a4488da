//! Documents below a connection's root, stories above all: written whole, listed, read and removed.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use odibi_plan::plan::Connection;
use odibi_story::failure::{Failure, FailureClass, code};

use crate::failure::{During, classify};
use crate::store::{Expect, Purpose, Store, Stores, normal};

/// Groups of documents that are removed at the same time.
const REMOVERS_MAX: usize = 8;

/// The documents of one connection. Calls block.
#[derive(Debug)]
pub struct Documents {
    store: Arc<dyn Store>,
}

impl Documents {
    /// Those that a connection reaches; a relative root begins at `project_dir`, and what is on its way to another
    /// machine lies in `scratch_dir`.
    ///
    /// # Errors
    /// As reading and writing a table of the connection.
    pub fn open(
        connection: &Connection,
        project_dir: &Path,
        scratch_dir: &Path,
    ) -> Result<Self, Failure> {
        Self::of(&Stores::new(project_dir, scratch_dir), connection)
    }

    pub(crate) fn of(stores: &Stores, connection: &Connection) -> Result<Self, Failure> {
        let store = stores.open(connection, Purpose::Write)?;
        Ok(Self { store })
    }

    /// A path as a person would type it.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        self.store.shown(path)
    }

    /// Paths below a directory, sorted.
    ///
    /// # Errors
    /// `read/denied`, `read/failed`.
    pub fn list(&self, dir: &str) -> Result<Vec<String>, Failure> {
        let dir = normal(dir, Purpose::Read)?;
        let files = self.store.list(&dir)?;
        Ok(files.into_iter().map(|stat| stat.path).collect())
    }

    /// Reads a document of at most so many bytes; `None` where nothing is.
    ///
    /// # Errors
    /// `read/denied`, `read/bad-file` for one that is too large.
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Failure> {
        let path = normal(path, Purpose::Read)?;
        if self.store.stat(&path)?.is_none() {
            return Ok(None);
        }
        let blob = self.store.open(&path)?;
        let bytes = usize::try_from(blob.len()).unwrap_or(usize::MAX);
        if bytes > bytes_max {
            let what = format!("the document is too large: {}", self.store.shown(&path));
            return Err(Failure::new(FailureClass::Data, code::READ_BAD_FILE, what));
        }
        blob.read_at(0, bytes).map(|bytes| Some(bytes.to_vec()))
    }

    /// Writes a document in one atomic step, and returns its path as a person would type it.
    ///
    /// # Errors
    /// `write/denied`, `write/disk-full`, `write/bad-target`, `write/failed`.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        let path = normal(path, Purpose::Write)?;
        let mut staged = self.store.create(&path)?;
        let shown = staged.shown().to_owned();
        staged
            .writer()?
            .write_all(bytes)
            .map_err(|e| classify(&e, During::Write(&shown)))?;
        staged.put(&Expect::Anything)?;
        Ok(shown)
    }

    /// When the store last saw a document written, by its own clock.
    ///
    /// # Errors
    /// `read/denied`, `read/failed`.
    pub fn modified(&self, path: &str) -> Result<Option<Timestamp>, Failure> {
        let stat = self.store.stat(&normal(path, Purpose::Read)?)?;
        Ok(stat.and_then(|stat| stat.modified))
    }

    /// Removes groups of documents, several groups at a time, the documents of one in their order. Whether all are gone
    /// or not: a failure is the first that was met, after which no further group is begun.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_all(&self, groups: &[Vec<String>]) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<Failure>> = Mutex::default();
        let work = || {
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                let removed = group.iter().try_for_each(|path| self.remove(path));
                if let Err(failure) = removed {
                    next.store(groups.len(), Ordering::Relaxed);
                    let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(failure);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..REMOVERS_MAX.min(groups.len()) {
                scope.spawn(work);
            }
            work();
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), Err)
    }

    /// Removes a directory that holds nothing any more.
    pub fn remove_empty(&self, dir: &str) {
        if let Ok(dir) = normal(dir, Purpose::Write) {
            self.store.remove_empty(&dir);
        }
    }

    /// Removes a document. It is no failure when it is not there.
    ///
    /// # Errors
    /// `write/denied`, `write/failed`.
    pub fn remove(&self, path: &str) -> Result<(), Failure> {
        self.store.remove(&normal(path, Purpose::Write)?)
    }
}
