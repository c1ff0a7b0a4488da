//! What goes wrong with the file, as failures.

use std::io;
use std::path::Path;

use odibi_story::failure::{Failure, FailureClass, code};
use rusqlite::{Error, ErrorCode};

/// What ends a transaction: the database, or what was found in it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite says so.
    Database(Error),
    /// The caller must not go on.
    Refused(Box<Failure>),
}

impl Fault {
    pub(crate) fn into_failure(self, path: &Path) -> Failure {
        match self {
            Self::Database(error) => from_sqlite(&error, path),
            Self::Refused(failure) => *failure,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Refused(Box::new(failure))
    }
}

pub(super) fn from_sqlite(error: &Error, path: &Path) -> Failure {
    let shown = path.display();
    let failure = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::new(
            FailureClass::Transient,
            code::STATE_LOCKED,
            format!("another process keeps the state from being changed: {shown}"),
        )
        .hint("look for an odibi that hangs; its number is shown by `odibi runs list`"),
        Some(ErrorCode::DiskFull) => full(path),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(path),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            denied(path)
        }
        // What SQLite maps into memory cannot grow on a full disk, and that is all it says.
        Some(ErrorCode::SystemIoFailure) if is_full(path) => full(path),
        Some(ErrorCode::SystemIoFailure) => failed(path),
        _ => Failure::new(
            FailureClass::Internal,
            code::INTERNAL_STATE,
            format!("the state cannot be used: {shown}"),
        ),
    };
    failure.cause(error.to_string())
}

pub(super) fn from_io(error: &io::Error, path: &Path) -> Failure {
    use io::ErrorKind as K;
    let kind = error.kind();
    let is = |kinds: &[K]| kinds.contains(&kind);
    let failure = if is(&[
        K::PermissionDenied,
        K::ReadOnlyFilesystem,
        K::NotADirectory,
        K::AlreadyExists,
    ]) {
        denied(path)
    } else if is(&[K::StorageFull, K::QuotaExceeded, K::FileTooLarge]) {
        full(path)
    } else {
        failed(path)
    };
    failure.cause(error.to_string())
}

pub(super) fn corrupt(path: &Path) -> Failure {
    let message = format!("the state is damaged: {}", path.display());
    Failure::new(FailureClass::Data, code::STATE_CORRUPT, message)
        .hint("restore the state directory from a backup; `odibi explain state/corrupt` says what is lost without one")
}

pub(super) fn newer(path: &Path, found: i64, known: i64) -> Failure {
    let message = format!(
        "the state was written by a newer odibi (version {found} of its tables, this one knows {known}): {}",
        path.display()
    );
    Failure::new(FailureClass::Data, code::STATE_NEWER, message)
        .hint("use that version of odibi, or a later one")
}

fn denied(path: &Path) -> Failure {
    let message = format!("the state cannot be written: {}", path.display());
    Failure::new(FailureClass::Denied, code::STATE_DENIED, message)
        .hint("set `ODIBI_STATE_DIR` to a directory that can be written")
}

fn full(path: &Path) -> Failure {
    let message = format!("no room is left for the state: {}", path.display());
    Failure::new(FailureClass::Limit, code::STATE_DISK_FULL, message)
        .hint("make room, then run again")
}

/// Less than what the log's index takes when it begins.
fn is_full(path: &Path) -> bool {
    const INDEX_BYTES: u64 = 32 << 10;
    let dir = path.parent().unwrap_or(path);
    rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_bavail * stat.f_frsize < INDEX_BYTES)
}

fn failed(path: &Path) -> Failure {
    let message = format!("the system failed on the state: {}", path.display());
    Failure::new(FailureClass::Transient, code::STATE_FAILED, message)
}
