//! Documents below a connection's root, stories and the state: written whole, listed, read and removed.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use odibi_plan::plan::Connection;
use odibi_story::failure::Failure;

use crate::failure::{During, classify};
use crate::store::{Expect, Purpose, Put, Store, Stores, normal};

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

    /// Names of documents and directories right below a directory, sorted; `""` is the root.
    ///
    /// # Errors
    /// `read/denied`, `read/failed`.
    pub fn names(&self, dir: &str) -> Result<Vec<String>, Failure> {
        let dir = match dir {
            "" => String::new(),
            dir => normal(dir, Purpose::Read)?,
        };
        let children = self.store.children(&dir)?;
        Ok(children.into_iter().map(|child| child.name).collect())
    }

    /// Reads a document of at most so many bytes; `None` where nothing is.
    ///
    /// # Errors
    /// `read/denied`, `read/bad-file` for one that is too large.
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.read_version(path, bytes_max)?;
        Ok(found.map(|(bytes, _)| bytes))
    }

    /// As [`Self::read`], with the version of the document.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_version(
        &self,
        path: &str,
        bytes_max: usize,
    ) -> Result<Option<(Vec<u8>, String)>, Failure> {
        let path = normal(path, Purpose::Read)?;
        let found = self.store.whole(&path, bytes_max)?;
        Ok(found.map(|(bytes, stat)| (bytes.to_vec(), stat.version)))
    }

    /// Writes a document if it is still of this version, or is not there for `None`, in one atomic step. Its new version;
    /// `None` when something else is there, which is as it was.
    ///
    /// # Errors
    /// As [`Self::write`]. Whether the document is there is not known then.
    pub fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        version: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let expect = version.map_or(Expect::Absent, |version| {
            Expect::Version(version.to_owned())
        });
        match self.put(path, bytes, &expect)?.1 {
            Put::Done(stat) => Ok(Some(stat.version)),
            Put::Changed => Ok(None),
        }
    }

    /// Writes a document in one atomic step, and returns its path as a person would type it.
    ///
    /// # Errors
    /// `write/denied`, `write/disk-full`, `write/bad-target`, `write/failed`.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        Ok(self.put(path, bytes, &Expect::Anything)?.0)
    }

    fn put(&self, path: &str, bytes: &[u8], expect: &Expect) -> Result<(String, Put), Failure> {
        let path = normal(path, Purpose::Write)?;
        let mut staged = self.store.create(&path)?;
        let shown = staged.shown().to_owned();
        staged
            .writer()?
            .write_all(bytes)
            .map_err(|e| classify(&e, During::Write(&shown)))?;
        let put = staged.put(expect)?;
        Ok((shown, put))
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
