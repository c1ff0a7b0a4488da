//! The file: opening, checking, transactions. Tables belong to the modules that use them.
//!
//! Nothing else may open `state.db`: closing any file handle of it would free the locks that SQLite holds in this
//! process. Beside it lies `state.lock`: whoever has the database open holds it shared, whoever is alone with it, exclusive.

mod fault;
mod schema;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use odibi_story::failure::{Failure, FailureClass, code};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub(crate) use self::fault::Fault;
use self::fault::{from_io, from_sqlite};

/// Name of the database in the state directory.
const DATABASE: &str = "state.db";
/// Name of its log of changes, which SQLite makes and removes.
const LOG: &str = "state.db-wal";
/// Name that a new database has until it is whole.
const UNFINISHED: &str = "state.db.new";
/// What SQLite may put beside a file.
const COMPANIONS: [&str; 4] = ["", "-journal", "-wal", "-shm"];
/// Name of the file whose lock says that the database is open.
const LOCK: &str = "state.lock";
/// Waits no longer for another process that writes.
const BUSY_MS_MAX: u64 = 30_000;

/// The database of one state directory.
#[derive(Debug)]
pub struct StateDb {
    directory: PathBuf,
    path: PathBuf,
    connection: Mutex<Connection>,
    _open: File,
}

impl StateDb {
    /// Opens the database of a directory, and makes both where there is none.
    ///
    /// # Errors
    /// `state/denied`, `state/locked`, `state/disk-full`, `state/corrupt`, `state/newer`, `state/network`, `state/failed`.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory).map_err(|error| from_io(&error, directory))?;
        Self::open_in(directory)
    }

    /// As [`StateDb::open`]; `None` where there is none yet, and nothing is made then.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_existing(directory: &Path) -> Result<Option<Self>, Failure> {
        let bytes = |name| bytes_of(&directory.join(name));
        if bytes(DATABASE)?.is_none() && bytes(LOG)?.is_none() {
            return Ok(None);
        }
        Self::open_in(directory).map(Some)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the events of a run lie.
    pub(crate) fn events_path(&self, run_id: &str) -> PathBuf {
        let runs = self.directory.join("runs");
        runs.join(run_id).join("events.jsonl")
    }

    /// The state directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn open_in(directory: &Path) -> Result<Self, Failure> {
        refuse_network(directory)?;
        let path = directory.join(DATABASE);
        let lock_path = directory.join(LOCK);
        let failed = |error: io::Error| from_io(&error, &lock_path);
        let open = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(failed)?;
        let alone = try_lock(&open).map_err(failed)?;
        if !alone {
            // Waits for one who is alone with it: it is being made, or checked.
            open.lock_shared().map_err(failed)?;
        }
        let log_bytes = bytes_of(&directory.join(LOG))?.unwrap_or(0);
        match bytes_of(&path)? {
            Some(0) => return Err(corrupt(&path, "the file is empty")),
            Some(_) => {}
            None if log_bytes > 0 => {
                return Err(corrupt(
                    &path,
                    "the file is gone, and its log is still there",
                ));
            }
            None if !alone => {
                return Err(corrupt(&path, "the file was removed while it was in use"));
            }
            None => create(directory)?,
        }
        let mut connection =
            connect(&path, OpenFlags::empty()).map_err(|e| from_sqlite(&e, &path))?;
        if alone && log_bytes > 0 {
            check(&connection, &path)?;
        }
        schema::migrate(&mut connection, &path)?;
        if alone {
            open.lock_shared().map_err(failed)?;
        }
        Ok(Self {
            directory: directory.to_path_buf(),
            path,
            connection: Mutex::new(connection),
            _open: open,
        })
    }

    /// Reads from one moment of the database.
    pub(crate) fn read<T>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Failure> {
        self.within(TransactionBehavior::Deferred, body)
    }

    /// Changes all or nothing; no other process changes anything meanwhile.
    pub(crate) fn write<T>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Failure> {
        self.within(TransactionBehavior::Immediate, body)
    }

    fn within<T>(
        &self,
        behavior: TransactionBehavior,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Failure> {
        let mut connection = self.connection();
        let result = connection
            .transaction_with_behavior(behavior)
            .map_err(Fault::from)
            .and_then(|transaction| {
                let value = body(&transaction)?;
                transaction.commit()?;
                Ok(value)
            });
        result.map_err(|fault| fault.into_failure(&self.path))
    }

    /// A panic in between has rolled its transaction back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// True when the lock was free and is now held.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// What a failure of a file beside the database is.
pub(crate) fn beside(error: &io::Error, path: &Path) -> Failure {
    from_io(error, path)
}

fn connect(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    debug_assert_eq!(mode, "wal");
    Ok(connection)
}

/// Makes the database under another name, whole, before it gets its own. The caller is alone.
fn create(directory: &Path) -> Result<(), Failure> {
    let unfinished = directory.join(UNFINISHED);
    for companion in COMPANIONS {
        let path = directory.join(format!("{UNFINISHED}{companion}"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(from_io(&error, &path));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let mut connection = connect(&unfinished, OpenFlags::SQLITE_OPEN_CREATE)
        .map_err(|e| from_sqlite(&e, &unfinished))?;
    schema::create(&mut connection).map_err(|e| from_sqlite(&e, &unfinished))?;
    // Closing moves the log into the file and removes it.
    connection
        .close()
        .map_err(|(_, e)| from_sqlite(&e, &unfinished))?;
    let path = directory.join(DATABASE);
    std::fs::rename(&unfinished, &path)
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| from_io(&error, &path))
}

/// After a stop that was not clean: is every page what it should be?
fn check(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))
        .map_err(|e| from_sqlite(&e, path))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(corrupt(path, &verdict))
    }
}

fn corrupt(path: &Path, what: &str) -> Failure {
    fault::corrupt(path).cause(what.to_owned())
}

fn bytes_of(path: &Path) -> Result<Option<u64>, Failure> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(from_io(&error, path)),
    }
}

/// SQLite's log needs memory that all processes share, and locks that hold: no network gives both.
fn refuse_network(directory: &Path) -> Result<(), Failure> {
    let kind = rustix::fs::statfs(directory)
        .map_err(|error| from_io(&error.into(), directory))?
        .f_type;
    match network(u64::try_from(kind).unwrap_or(0)) {
        None => Ok(()),
        Some(name) => {
            let shown = directory.display();
            let message =
                format!("the state directory is on a network file system ({name}): {shown}");
            Err(
                Failure::new(FailureClass::Denied, code::STATE_NETWORK, message)
                    .hint("set `ODIBI_STATE_DIR` to a directory on a disk of this machine"),
            )
        }
    }
}

/// Magic numbers of `statfs`.
fn network(kind: u64) -> Option<&'static str> {
    Some(match kind & 0xffff_ffff {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0bd0_0bd0 => "Lustre",
        0x00c3_6400 => "Ceph",
        0x4750_4653 => "GPFS",
        0x5346_414f => "AFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
