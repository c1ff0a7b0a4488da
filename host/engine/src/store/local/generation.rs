//! A directory that is made anew beside the old one, under a hidden name, and swapped with it in one step.
//!
//! Only who holds the lock of the directory may do so: whatever lies there under such a name then is left of a killed
//! run, and removed.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use odibi_story::failure::{Failure, FailureClass, code};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::root::Root;
use super::staged::{Dirs, fsync_dir, generation_stem};
use super::{bad_link, write_fault};
use crate::failure::{During, classify};
use crate::store::{Generation, split};

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory out of sight. Dropping it removes what was not put.
#[derive(Debug)]
pub(super) struct LocalGeneration {
    dirs: Arc<Dirs>,
    path: String,
    shown: String,
    parent: OwnedFd,
    hidden: String,
    dir: OwnedFd,
    /// Paths of the files in it, and of the directories.
    files: Vec<String>,
    below: BTreeSet<String>,
    put: bool,
}

impl LocalGeneration {
    pub(super) fn create(dirs: &Arc<Dirs>, path: &str, shown: &str) -> Result<Self, Failure> {
        let (parent_path, name) = split(path);
        let stem = generation_stem(name);
        let hidden = format!("{stem}{}.tmp", std::process::id());
        let failed = |e: Errno| write_fault(e, shown);
        let made = dirs.make_in(parent_path, |parent| {
            sweep(&dirs.root, path)?;
            rustix::fs::mkdirat(parent, &hidden, Mode::from_raw_mode(0o777))?;
            rustix::fs::openat(parent, &hidden, DIR_FLAGS, Mode::empty())
        });
        let (parent, dir) = made.map_err(failed)?;
        Ok(Self {
            dirs: Arc::clone(dirs),
            path: path.to_owned(),
            shown: shown.to_owned(),
            parent,
            hidden,
            dir,
            files: Vec::new(),
            below: BTreeSet::new(),
            put: false,
        })
    }

    /// The directory of a path below, made where it is not there.
    fn dir_of(&mut self, path: &str) -> Result<OwnedFd, Errno> {
        let dir = split(path).0;
        let mut at = self.dir.try_clone().map_err(|_| Errno::MFILE)?;
        for (end, name) in parts(dir) {
            if self.below.insert(dir[..end].to_owned()) {
                match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
            at = rustix::fs::openat(&at, name, DIR_FLAGS, Mode::empty())?;
        }
        Ok(at)
    }

    /// Brings files and directories to the disk, one after the other: there may be more than can be open.
    fn sync(&self) -> Result<(), Failure> {
        let failed = |e: Errno| write_fault(e, &self.shown);
        let open = |path: &str, flags: OFlags| {
            let mut at = self.dir.try_clone().map_err(|_| Errno::MFILE)?;
            let last = path.len();
            for (end, name) in parts(path) {
                let flags = if end == last { flags } else { DIR_FLAGS };
                at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
            }
            Ok(at)
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for path in &self.files {
            let file = File::from(open(path, flags).map_err(failed)?);
            let synced = file.sync_all();
            synced.map_err(|e| classify(&e, During::Write(&self.shown)))?;
        }
        for path in self.below.iter().rev() {
            let dir = open(path, DIR_FLAGS).map_err(failed)?;
            fsync_dir(&dir).map_err(failed)?;
        }
        fsync_dir(&self.dir).map_err(failed)
    }

    fn swap(&self) -> Result<(), Errno> {
        let name = split(&self.path).1;
        let rename = |flags| {
            rustix::fs::renameat_with(&self.parent, &self.hidden, &self.parent, name, flags)
        };
        match rename(RenameFlags::EXCHANGE) {
            Err(Errno::NOENT) => rename(RenameFlags::NOREPLACE),
            other => other,
        }
    }
}

impl Generation for LocalGeneration {
    fn file(&mut self, path: &str) -> Result<File, Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = self.dir_of(path).and_then(|dir| {
            rustix::fs::openat(&dir, split(path).1, flags, Mode::from_raw_mode(0o666))
        });
        let file = File::from(made.map_err(|e| write_fault(e, &self.shown))?);
        self.files.push(path.to_owned());
        Ok(file)
    }

    fn keep(&mut self, path: &str) -> Result<(), Failure> {
        let (dir, name) = split(path);
        let linked = self.dir_of(path).and_then(|to| {
            let from = match dir {
                "" => self.dirs.root.open_dir(&self.path),
                dir => self.dirs.root.open_dir(&format!("{}/{dir}", self.path)),
            }?;
            rustix::fs::linkat(&from, name, &to, name, AtFlags::empty())
        });
        linked.map_err(|e| write_fault(e, &self.shown))
    }

    fn put(&mut self) -> Result<(), Failure> {
        self.sync()?;
        // The link itself would be swapped, and not what it leads to.
        if self.dirs.root.is_link(&self.path) {
            return Err(bad_link(&self.shown, "was not there before"));
        }
        match self.swap() {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let message = format!("the file system cannot swap directories: `{}`", self.shown);
                return Err(
                    Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, message)
                        .hint("write one file in place of a directory, or to another file system"),
                );
            }
            Err(errno) => return Err(write_fault(errno, &self.shown)),
        }
        self.put = true;
        fsync_dir(&self.parent).map_err(|e| write_fault(e, &self.shown))
    }

    fn is_put(&self) -> bool {
        self.put
    }
}

impl Drop for LocalGeneration {
    fn drop(&mut self) {
        // Put or not, what has the hidden name now is not wanted any more. What cannot be removed goes with the next one.
        let _ = remove_tree(&self.parent, &self.hidden);
    }
}

/// The parts of a path, each with where it ends.
fn parts(path: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut end = 0;
    path.split('/')
        .map(move |name| {
            end += name.len() + 1;
            (end - 1, name)
        })
        .filter(|(_, name)| !name.is_empty())
}

/// Removes what killed runs have left.
pub(super) fn sweep(root: &Root, path: &str) -> Result<(), Errno> {
    let (parent_path, name) = split(path);
    let parent = match root.open_dir(parent_path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let stem = generation_stem(name);
    for name in root.names(parent_path)? {
        if name.starts_with(&stem) {
            remove_tree(&parent, &name)?;
        }
    }
    Ok(())
}

/// Removes a directory and all below it, or a link, as a swap can leave one. Links are not followed.
fn remove_tree(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    let dir = match rustix::fs::openat(parent, name, DIR_FLAGS, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            };
        }
        other => other?,
    };
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir.as_fd())? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in entries {
        let unlinked = rustix::fs::unlinkat(&dir, &name, AtFlags::empty());
        match (unlinked, kind, name.to_str()) {
            (Ok(()) | Err(Errno::NOENT), _, _) => {}
            (
                Err(Errno::ISDIR | Errno::PERM),
                FileType::Directory | FileType::Unknown,
                Ok(name),
            ) => {
                remove_tree(&dir, name)?;
            }
            (Err(errno), _, _) => return Err(errno),
        }
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
