//! The open root directory of a local connection. Nothing below it is reached but through it.
//!
//! Every file is opened relative to the root with `openat2` and `RESOLVE_BENEATH`, so that neither `..` nor a symbolic
//! link reaches outside, not even one that is swapped in between. Where the system has no `openat2`, the resolved path
//! is compared with the resolved root instead.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use odibi_story::failure::Failure;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::failure::{During, classify};
use crate::store::{Purpose, split};

/// Tries of `openat2` when directories are renamed under it.
const RESOLVE_TRIES_MAX: usize = 32;

/// The open root directory.
#[derive(Debug)]
pub(crate) struct Root {
    connection: String,
    path: PathBuf,
    dir: OwnedFd,
}

impl Root {
    /// Opens the root; for writing, creates it first.
    pub(crate) fn open(connection: &str, path: PathBuf, purpose: Purpose) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let during = match purpose {
            Purpose::Read => During::Read(&shown),
            Purpose::Write => During::Write(&shown),
        };
        if purpose == Purpose::Write {
            fs::create_dir_all(&path).map_err(|e| classify(&e, during))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| {
            classify(&std::io::Error::from(e), during)
                .hint(format!("check `base_path` of connection `{connection}`"))
        })?;
        Ok(Self {
            connection: connection.to_owned(),
            path,
            dir,
        })
    }

    /// Name of the connection.
    pub(crate) fn connection(&self) -> &str {
        &self.connection
    }

    /// A path below the root, as messages show it.
    pub(crate) fn shown(&self, path: &str) -> String {
        let joined: PathBuf = self.path.join(path).components().collect();
        joined
            .strip_prefix("./")
            .unwrap_or(&joined)
            .display()
            .to_string()
    }

    /// Opens a file for reading, whatever it is.
    pub(crate) fn open_file(&self, path: &str) -> Result<File, Errno> {
        // Without NONBLOCK, opening a named pipe waits for its writer.
        self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC)
            .map(File::from)
    }

    /// A handle that tells what lies there and gives nothing more; links are followed.
    pub(crate) fn look(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH | OFlags::CLOEXEC)
    }

    /// Opens a directory below the root; `""` is the root itself.
    pub(crate) fn open_dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    /// Names in a directory, sorted. What is not UTF-8 in a name becomes U+FFFD.
    pub(crate) fn names(&self, dir: &str) -> Result<Vec<String>, Errno> {
        let fd = self.open_dir(dir)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(fd.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// True for a directory, links followed.
    pub(crate) fn is_dir(&self, path: &str) -> bool {
        self.look(path)
            .and_then(|fd| rustix::fs::fstat(&fd))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// True where the last part of a path is a symbolic link.
    pub(super) fn is_link(&self, path: &str) -> bool {
        let (parent, name) = split(path);
        self.open_dir(parent)
            .and_then(|parent| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    /// The path of a directory, without links; `""` is the root.
    pub(super) fn real_dir(&self, path: &str) -> Result<String, Errno> {
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        let opened = rustix::fs::fstat(self.open_dir(path)?)?;
        let root = self.path.canonicalize().map_err(errno)?;
        let full = root.join(path).canonicalize().map_err(errno)?;
        let real = full.strip_prefix(&root).map_err(|_| Errno::XDEV)?;
        let real = real.to_str().ok_or(Errno::INVAL)?;
        // The name was not found through the open root, so it need not lead to the same.
        let found = rustix::fs::fstat(self.open_dir(real)?)?;
        if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino) {
            Ok(real.to_owned())
        } else {
            Err(Errno::AGAIN)
        }
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RESOLVE_TRIES_MAX {
            match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) => {}
                // Some sandboxes answer an unknown system call with EPERM.
                Err(Errno::NOSYS | Errno::PERM) => return self.resolve_by_name(path, flags),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    pub(super) fn resolve_by_name(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        let root = self.path.canonicalize().map_err(errno)?;
        let full = root.join(path).canonicalize().map_err(errno)?;
        if !full.starts_with(&root) {
            return Err(Errno::XDEV);
        }
        rustix::fs::open(&full, flags | OFlags::NOFOLLOW, Mode::empty())
    }
}
