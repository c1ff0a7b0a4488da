//! What a connection reaches: files by path, read by ranges and replaced in one atomic step.
//!
//! Everything that reads or writes is written once against [`Store`]; which kind of connection lies behind it shows
//! nowhere else.

pub(crate) mod blob;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]
pub(crate) mod conformance;
mod local;
mod object;
pub(crate) mod pattern;
mod place;

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use odibi_plan::plan::{Connection, ConnectionKind};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use self::local::LocalStore;
use self::object::ObjectFiles;
use crate::driver::Reach;
use crate::failure::internal;
use crate::limits::PATH_BYTES_MAX;
use crate::read::Stop;

/// Similarity (0 to 1) from which a file name is offered as a correction.
const SIMILARITY_MIN: f64 = 0.5;

/// Files by path. Paths are [`normal`]. Calls block.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Name of the connection.
    fn connection(&self) -> &str;

    /// A path, as messages show it.
    fn shown(&self, path: &str) -> String;

    /// Opens a file for reading: `read/missing`, with a name that is like it, `read/denied`, `read/bad-file`.
    fn open(&self, path: &str) -> Result<Arc<dyn Blob>, Failure>;

    /// A small file as a whole, and what is known of it. `None` only if it is certain that nothing is there.
    fn whole(&self, path: &str, bytes_max: usize) -> Result<Option<(Bytes, Stat)>, Failure> {
        let Some(stat) = self.stat(path)? else {
            return Ok(None);
        };
        let blob = self.open(path)?;
        let bytes = usize::try_from(blob.len()).unwrap_or(usize::MAX);
        if bytes > bytes_max {
            return Err(document_too_large(&self.shown(path)));
        }
        let version = blob.version().to_owned();
        Ok(Some((blob.read_at(0, bytes)?, Stat { version, ..stat })))
    }

    /// What lies at a path. `None` only if it is certain that nothing does. A directory is a failure.
    fn stat(&self, path: &str) -> Result<Option<Stat>, Failure>;

    /// All files below a directory, however deep, sorted by path; none where the directory is not there. `""` is the
    /// root. Files that are being written are not listed.
    fn list(&self, dir: &str) -> Result<Vec<Stat>, Failure>;

    /// Files and directories right below a directory, sorted by name; none where it is not there.
    fn children(&self, dir: &str) -> Result<Vec<Child>, Failure>;

    /// Keeps other processes and threads from the lock of a path, as long as the answer lives. Waits. An object store has
    /// no locks: there, [`Expect`] alone tells that somebody was faster.
    fn lock(&self, path: &str, stop: Stop<'_>) -> Result<Lock, Failure>;

    /// Begins a file that nobody sees until it is put.
    fn create(&self, path: &str) -> Result<Box<dyn Upload>, Failure> {
        self.create_swept(path, split(path).1)
    }

    /// As [`Store::create`], for files whose name is never the same again: what killed writers of the same `sweep_key`
    /// have left in the directory is removed.
    fn create_swept(&self, path: &str, sweep_key: &str) -> Result<Box<dyn Upload>, Failure>;

    /// The path of a directory that is to be made anew: where its own is a link, that of the directory which it leads to. An
    /// object store has no links.
    fn real_dir(&self, dir: &str) -> Result<String, Failure> {
        Ok(dir.to_owned())
    }

    /// Begins a directory anew, out of sight. Only for who holds its lock. An object store has no directories.
    fn generation(&self, dir: &str) -> Result<Box<dyn Generation>, Failure> {
        let message = format!(
            "the store cannot replace a directory in one step: `{}`",
            self.shown(dir)
        );
        Err(
            Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, message)
                .hint("use format `delta`, or write one file"),
        )
    }

    /// Removes what killed runs have left of directories made anew. Only for who holds the lock of the directory.
    fn sweep_generations(&self, _dir: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// Makes sure that the root is there and may be read.
    fn check(&self) -> Result<(), Failure>;

    /// The way to its root, for drivers: what they touch must lie below it.
    fn reach(&self) -> Result<Reach, Failure>;

    /// Removes a file, durably. It is no failure when it is not there.
    fn remove(&self, path: &str) -> Result<(), Failure>;

    /// Removes a directory that holds nothing any more; one that does stays. An object store has no directories.
    fn remove_empty(&self, _dir: &str) {}
}

/// An open file. Where the store can, all reads are of one version.
pub(crate) trait Blob: fmt::Debug + Send + Sync {
    /// As events name it.
    fn fact(&self) -> &FileFact;

    /// Which version it is: see [`Stat::version`].
    fn version(&self) -> &str;

    /// Bytes in it, when it was opened.
    fn len(&self) -> u64 {
        self.fact().bytes
    }

    /// Fills a buffer from `offset` on, and says how far; 0 is the end.
    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure>;

    /// So many bytes from `offset` on, or what there is up to the end.
    fn read_at(&self, offset: u64, bytes: usize) -> Result<Bytes, Failure> {
        let mut buffer = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match self.read_into(offset + filled as u64, &mut buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        buffer.truncate(filled);
        Ok(buffer.into())
    }
}

/// A file that is being written: first to this machine's disk, then visible in one step. Dropping it removes what was
/// not put.
pub(crate) trait Upload: fmt::Debug + Send {
    /// Its path, as messages show it.
    fn shown(&self) -> &str;

    /// A handle to write through, and to read back what was written. All handles share one position.
    fn writer(&self) -> Result<File, Failure>;

    /// Brings the bytes to this machine's disk, and says how many they are.
    fn sync(&self) -> Result<FileFact, Failure>;

    /// Makes the file visible under its path, if that is as expected, in one atomic and durable step. After an error it
    /// may be visible nevertheless: [`Upload::is_put`] says whether that is certain.
    fn put(&mut self, expect: &Expect) -> Result<Put, Failure>;

    /// Is it certainly visible?
    fn is_put(&self) -> bool;

    /// Takes the file back, put or not. For files of which no older version was there.
    fn revoke(self: Box<Self>);
}

/// A directory that is made anew. Dropping it removes what was not put.
pub(crate) trait Generation: fmt::Debug {
    /// Begins a file in it.
    fn file(&mut self, path: &str) -> Result<File, Failure>;

    /// Takes over a file of the old directory.
    fn keep(&mut self, path: &str) -> Result<(), Failure>;

    /// Makes all of it durable, and puts it in the place of the old directory in one atomic step.
    fn put(&mut self) -> Result<(), Failure>;

    /// Is it certainly visible?
    fn is_put(&self) -> bool;
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Below the root.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) modified: Option<Timestamp>,
    /// Changes with every write: the ETag; on a local disk inode, size and time of change.
    pub(crate) version: String,
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Child {
    /// What is not UTF-8 in it is U+FFFD.
    pub(crate) name: String,
    pub(crate) kind: ChildKind,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChildKind {
    File,
    Dir,
    /// A link that leads nowhere, or where it may not.
    Unknown,
}

/// What has to be at a path, so that a put may replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Whatever.
    Anything,
    /// Nothing.
    Absent,
    /// This version. On a local disk that is only sure for those who hold the lock.
    Version(String),
}

/// How a put went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    Done(Stat),
    /// Something else is there than was expected; it is as it was.
    Changed,
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Nothing, where a store has no locks.
    _held: Option<local::FileLock>,
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    /// Also makes the root directory.
    Write,
}

/// The stores of a project.
#[derive(Debug)]
pub(crate) struct Stores {
    project_dir: PathBuf,
    scratch_dir: PathBuf,
    state_dir: Option<PathBuf>,
    /// Those with clients that are worth keeping.
    open: Mutex<Vec<(Connection, Arc<dyn Store>)>>,
}

impl Stores {
    /// Relative roots begin at `project_dir`; what is on its way from or to another machine lies in `scratch_dir`.
    pub(crate) fn new(project_dir: impl Into<PathBuf>, scratch_dir: impl Into<PathBuf>) -> Self {
        Self {
            project_dir: project_dir.into(),
            scratch_dir: scratch_dir.into(),
            state_dir: None,
            open: Mutex::default(),
        }
    }

    /// With the directory that the log of batches lies in.
    pub(crate) fn with_state_dir(mut self, state_dir: Option<PathBuf>) -> Self {
        self.state_dir = state_dir;
        self
    }

    /// Opens what a connection reaches.
    pub(crate) fn open(
        &self,
        connection: &Connection,
        purpose: Purpose,
    ) -> Result<Arc<dyn Store>, Failure> {
        let name = connection.name.as_str();
        match &connection.kind {
            ConnectionKind::Local { base_path } => {
                let path = self.project_dir.join(base_path);
                Ok(Arc::new(LocalStore::open(name, path, purpose)?))
            }
            ConnectionKind::Azure(_)
            | ConnectionKind::S3(_)
            | ConnectionKind::Gcs(_)
            | ConnectionKind::Http(_) => {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((_, store)) = open.iter().find(|(of, _)| of == connection) {
                    return Ok(Arc::clone(store));
                }
                let (project_dir, scratch_dir) =
                    (self.project_dir.clone(), self.scratch_dir.clone());
                let made = ObjectFiles::open(connection, project_dir, scratch_dir)?;
                let store: Arc<dyn Store> = Arc::new(made);
                open.push((connection.clone(), Arc::clone(&store)));
                Ok(store)
            }
        }
    }
}

/// A path as the YAML gives it, checked and without `.` and empty parts.
pub(crate) fn normal(path: &str, purpose: Purpose) -> Result<String, Failure> {
    let deny = |what: &str| {
        let code = if purpose == Purpose::Read {
            code::READ_DENIED
        } else {
            code::WRITE_DENIED
        };
        Err(
            Failure::new(FailureClass::Denied, code, format!("{what}: `{path}`"))
                .hint("name a path below the connection's root"),
        )
    };
    if path.len() > PATH_BYTES_MAX {
        return deny("the path is too long");
    }
    if path.contains('\0') {
        return deny("the path holds a zero byte");
    }
    if path.starts_with('/') {
        return deny("the path is absolute");
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return deny("the path leaves the connection's root"),
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return deny("the path names no file");
    }
    Ok(parts.join("/"))
}

fn document_too_large(shown: &str) -> Failure {
    let what = format!("the document is too large: {shown}");
    Failure::new(FailureClass::Data, code::READ_BAD_FILE, what)
}

/// Directory and name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A path below a directory; `""` is the root.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

/// A name that nobody has, of a file that no list shows.
pub(crate) fn hidden_name() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| internal("the system has no random numbers").cause(error.to_string()))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(".odibi-{token}.tmp"))
}

/// Adds the name that is most like the first part of `path` which is not there.
pub(crate) fn with_nearest(store: &dyn Store, failure: Failure, path: &str) -> Failure {
    let mut dir = "";
    let mut children = store.children(dir).unwrap_or_default();
    let mut rest = path;
    while let Some((part, behind)) = rest.split_once('/')
        && children
            .iter()
            .any(|c| c.kind == ChildKind::Dir && c.name == part)
    {
        dir = &path[..path.len() - behind.len() - 1];
        rest = behind;
        children = store.children(dir).unwrap_or_default();
    }
    let wanted = rest.split('/').next().unwrap_or_default().to_lowercase();
    let visible = children.iter().filter(|c| !c.name.starts_with('.'));
    let best = visible
        .map(|c| {
            let name = c.name.to_lowercase();
            (strsim::normalized_damerau_levenshtein(&name, &wanted), c)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, child)) if score >= SIMILARITY_MIN => {
            failure.hint(format!("did you mean `{}`?", join(dir, &child.name)))
        }
        Some(_) | None => failure.hint(format!(
            "check the path; `{}` holds {} entries",
            store.shown(dir),
            children.len()
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_denied() {
        for path in [
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a\0b",
            "",
            ".",
            "./",
            "a/..",
        ] {
            let failure = normal(path, Purpose::Read).unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (FailureClass::Denied, "read/denied"),
                "{path:?}"
            );
        }
        assert_eq!(
            normal("./a//b/./c.csv", Purpose::Read).unwrap(),
            "a/b/c.csv"
        );
        assert_eq!(normal("a..b/..c", Purpose::Read).unwrap(), "a..b/..c");
    }
}
