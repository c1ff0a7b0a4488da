//! What the shared state needs of an object store, and how its documents are read and changed there.
//!
//! Nothing is ever put blindly: a document is made where none is, or replaces exactly the version that was read. After an
//! answer was lost the document is read back before anything is said.

use std::sync::Arc;
use std::time::Duration;

use odibi_story::failure::{Failure, FailureClass, code};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{FORMAT_VERSION, Sealed};

/// Longest document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// Times that a document is changed by somebody else before a change of it is given up.
const CHANGES_MAX: u32 = 60;
/// Tries of a put that the store answers with an error which may pass.
const PUTS_MAX: u32 = 4;
/// The first pause between two tries; it grows.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Documents of an object store. Calls block.
pub trait Shelf: std::fmt::Debug + Send + Sync {
    /// A path, as messages show it.
    fn shown(&self, path: &str) -> String;

    /// A document of at most so many bytes, with its version. `None` only if it is certain that none is there.
    ///
    /// # Errors
    /// The store cannot be read.
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Sheet>, Failure>;

    /// Puts a document if what is there is as expected, in one atomic step. Its new version; `None` when something else
    /// is there, which is as it was.
    ///
    /// # Errors
    /// The store cannot be written. Whether the document is there is not known.
    fn put(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure>;

    /// Removes a document. It is no failure when none is there.
    ///
    /// # Errors
    /// The store cannot be written.
    fn remove(&self, path: &str) -> Result<(), Failure>;

    /// Names of documents and directories right below a directory, sorted; none where it is not there.
    ///
    /// # Errors
    /// The store cannot be read.
    fn names(&self, dir: &str) -> Result<Vec<String>, Failure>;
}

/// A document as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Changes with every put.
    pub version: String,
}

/// What has to be there for a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Nothing.
    Absent,
    /// This version.
    Version(&'a str),
}

/// What becomes of a document that was read to be changed.
pub(super) enum Change<T, R> {
    /// It is put.
    Put(T, R),
    /// It stays as it is.
    Leave(R),
}

/// The documents below one directory of a store.
#[derive(Debug)]
pub(super) struct Desk {
    shelf: Arc<dyn Shelf>,
    root: String,
}

impl Desk {
    pub(super) fn new(shelf: Arc<dyn Shelf>, root: &str) -> Self {
        let root = root.trim_matches('/');
        let root = if root == "." { "" } else { root }.to_owned();
        Self { shelf, root }
    }

    fn at(&self, path: &str) -> String {
        match (self.root.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.root.clone(),
            (false, false) => format!("{}/{path}", self.root),
        }
    }

    /// A path, as messages show it.
    pub(super) fn shown(&self, path: &str) -> String {
        self.shelf.shown(&self.at(path))
    }

    /// Names right below a directory.
    pub(super) fn names(&self, dir: &str) -> Result<Vec<String>, Failure> {
        let names = self.shelf.names(&self.at(dir));
        names.map_err(|failure| self.failure(&failure, dir))
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            match self.shelf.remove(&self.at(path)) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.class == FailureClass::Transient && attempt < PUTS_MAX => {
                    pause(attempt);
                    attempt += 1;
                }
                Err(failure) => return Err(self.failure(&failure, path)),
            }
        }
    }

    /// The bytes of something that is no document of ours.
    pub(super) fn bytes(&self, path: &str) -> Result<Option<Sheet>, Failure> {
        let read = self.shelf.read(&self.at(path), usize::MAX);
        read.map_err(|failure| self.failure(&failure, path))
    }

    /// A document, and its version.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<(T, String)>, Failure> {
        let read = self.shelf.read(&self.at(path), DOCUMENT_BYTES_MAX);
        let Some(sheet) = read.map_err(|failure| self.failure(&failure, path))? else {
            return Ok(None);
        };
        Ok(Some((self.parse(path, &sheet.bytes)?, sheet.version)))
    }

    /// Puts a document if what is there is as expected. Its version; `None` when something else is there.
    pub(super) fn put<T: Serialize>(
        &self,
        path: &str,
        document: &T,
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure> {
        let sealed = Sealed {
            format_version: FORMAT_VERSION,
            document,
        };
        let bytes = serde_json::to_vec(&sealed).map_err(|error| {
            let message = format!("a document of the state cannot be written: {error}");
            Failure::new(FailureClass::Internal, code::INTERNAL_STATE, message)
        })?;
        self.put_bytes(path, &bytes, expected)
    }

    /// As [`Desk::put`], for bytes.
    pub(super) fn put_bytes(
        &self,
        path: &str,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<Option<String>, Failure> {
        let full = self.at(path);
        for attempt in 1.. {
            let failure = match self.shelf.put(&full, bytes, expected) {
                Ok(Some(version)) => return Ok(Some(version)),
                // A try before this one may have been ours.
                Ok(None) if attempt == 1 => return Ok(None),
                Ok(None) => None,
                Err(failure) => Some(failure),
            };
            let is = self.shelf.read(&full, usize::MAX);
            let is = match (is, failure.as_ref()) {
                (Ok(is), _) => is,
                (Err(_), Some(failure)) => return Err(self.failure(failure, path)),
                (Err(failure), None) => return Err(self.failure(&failure, path)),
            };
            let as_before = match (&is, expected) {
                (Some(is), _) if is.bytes == bytes => return Ok(Some(is.version.clone())),
                (Some(is), Expected::Version(version)) => is.version == version,
                (None, expected) => expected == Expected::Absent,
                (Some(_), Expected::Absent) => false,
            };
            match failure {
                Some(failure) if as_before => {
                    if failure.class != FailureClass::Transient || attempt >= PUTS_MAX {
                        return Err(self.failure(&failure, path));
                    }
                }
                Some(_) | None => return Ok(None),
            }
            pause(attempt);
        }
        Ok(None)
    }

    /// Reads a document, and puts what is made of it, until nobody else was faster.
    pub(super) fn change<T: DeserializeOwned + Serialize, R>(
        &self,
        path: &str,
        mut body: impl FnMut(Option<T>) -> Result<Change<T, R>, Failure>,
    ) -> Result<R, Failure> {
        for attempt in 1..=CHANGES_MAX {
            let (known, version) = self.read::<T>(path)?.unzip();
            let expected = version
                .as_deref()
                .map_or(Expected::Absent, Expected::Version);
            match body(known)? {
                Change::Leave(answer) => return Ok(answer),
                Change::Put(document, answer) => {
                    if self.put(path, &document, expected)?.is_some() {
                        return Ok(answer);
                    }
                }
            }
            pause(attempt);
        }
        let message = format!(
            "other processes keep changing the state: {}",
            self.shown(path)
        );
        Err(Failure::new(
            FailureClass::Transient,
            code::STATE_LOCKED,
            message,
        ))
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, Failure> {
        let damaged = |cause: String| {
            let message = format!("the state is damaged: {}", self.shown(path));
            Failure::new(FailureClass::Data, code::STATE_CORRUPT, message)
                .cause(cause)
                .hint("bring that object back from a backup or an earlier version of it; `odibi explain state/corrupt` says what is lost without one")
        };
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let found = value.get("format_version").and_then(Value::as_u64);
        match found {
            None => return Err(damaged("it does not say which version it is of".to_owned())),
            Some(found) if found > u64::from(FORMAT_VERSION) => {
                let message = format!(
                    "the state was written by a newer odibi (version {found} of its documents, this one knows {FORMAT_VERSION}): {}",
                    self.shown(path)
                );
                return Err(Failure::new(FailureClass::Data, code::STATE_NEWER, message)
                    .hint("use that version of odibi, or a later one"));
            }
            Some(_) => {}
        }
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
    }

    /// What a failure of the store is to the state.
    fn failure(&self, failure: &Failure, path: &str) -> Failure {
        let shown = self.shown(path);
        let (class, code, message) = match failure.class {
            FailureClass::Denied | FailureClass::Missing => (
                FailureClass::Denied,
                code::STATE_DENIED,
                format!("the store does not let the state be used: {shown}"),
            ),
            FailureClass::Data => (
                FailureClass::Data,
                code::STATE_CORRUPT,
                format!("the state is damaged: {shown}"),
            ),
            FailureClass::Guest
            | FailureClass::Trap
            | FailureClass::Limit
            | FailureClass::Contract
            | FailureClass::Conflict
            | FailureClass::Transient
            | FailureClass::Cancelled
            | FailureClass::Internal => (
                FailureClass::Transient,
                code::STATE_FAILED,
                format!("the store failed on the state: {shown}"),
            ),
        };
        let mut told = Failure::new(class, code, message).cause(failure.message.clone());
        for cause in &failure.causes {
            told = told.cause(cause.clone());
        }
        for hint in &failure.hints {
            told = told.hint(hint.clone());
        }
        told
    }
}

fn pause(attempt: u32) {
    std::thread::sleep((PAUSE * attempt.pow(2)).min(PAUSE_MAX));
}

/// Does something for each of many, a few at a time; the answers are in their order.
pub(super) fn at_once<T: Sync, R: Send>(items: &[T], body: impl Fn(&T) -> R + Sync) -> Vec<R> {
    const THREADS_MAX: usize = 8;
    let chunk = items.len().div_ceil(THREADS_MAX).max(1);
    if items.len() <= 1 {
        return items.iter().map(body).collect();
    }
    std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = items
            .chunks(chunk)
            .map(|part| scope.spawn(move || part.iter().map(body).collect::<Vec<R>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| match thread.join() {
                Ok(answers) => answers,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}
