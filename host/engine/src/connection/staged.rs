//! A file that appears under its name in one step: written beside its target under a hidden name, synced, renamed.
//!
//! The hidden file is locked while its writer lives. A later writer of the same target removes hidden files that
//! nobody holds, so that a crash leaves nothing for long.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{Root, split};
use crate::failure::{During, classify};

/// Tries to find a hidden name that is free.
const NAME_TRIES_MAX: u32 = 64;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file that is not visible yet. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Staged {
    dirs: Arc<Dirs>,
    path: String,
    shown: String,
    dir: OwnedFd,
    hidden: String,
    file: Option<File>,
    published: bool,
}

/// Where files are staged. Those that share it share the directories made for them: with the last of them, the empty
/// ones go.
#[derive(Debug)]
pub(crate) struct Dirs {
    root: Root,
    created: Mutex<Vec<String>>,
}

impl Dirs {
    pub(crate) fn below(root: Root) -> Arc<Self> {
        let created = Mutex::default();
        Arc::new(Self { root, created })
    }

    fn make(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        make_dirs(&self.root, path, &mut created)
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        let created = self
            .created
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        remove_dirs(&self.root, created);
    }
}

impl Staged {
    /// Creates the hidden file, and the directories that lead to it.
    pub(crate) fn create(root: Root, path: &str) -> Result<Self, Failure> {
        Self::create_in(Dirs::below(root), path, split(path).1)
    }

    /// As [`Self::create`], among other files. Leftovers of the same `sweep_key` in the directory are removed, for files
    /// whose name is never the same again.
    pub(crate) fn create_in(dirs: Arc<Dirs>, path: &str, sweep_key: &str) -> Result<Self, Failure> {
        let root = &dirs.root;
        let shown = root.shown(path);
        if root.is_dir(path) {
            return Err(Failure::new(
                FailureClass::Denied,
                code::WRITE_BAD_TARGET,
                format!("`{shown}` is a directory"),
            )
            .hint("name a file in `path`"));
        }
        let dir_path = split(path).0;
        let dir = dirs.make(dir_path).map_err(|e| root.fault(e, &shown))?;
        let stem = hidden_stem(sweep_key);
        sweep(root, &dir, dir_path, &stem);
        let (hidden, file) = new_hidden(&dir, &stem).map_err(|e| root.fault(e, &shown))?;
        Ok(Self {
            path: path.to_owned(),
            shown,
            dir,
            hidden,
            file: Some(file),
            published: false,
            dirs,
        })
    }

    /// The target, as messages show it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// A handle to write through.
    pub(crate) fn writer(&self) -> Result<File, Failure> {
        match &self.file {
            Some(file) => file
                .try_clone()
                .map_err(|e| classify(&e, During::Write(&self.shown))),
            None => Err(crate::failure::internal("the staged file is closed")),
        }
    }

    /// Brings the bytes to the disk, and says how many they are.
    pub(crate) fn sync(&self) -> Result<FileFact, Failure> {
        match &self.file {
            Some(file) => {
                file.sync_all()
                    .map_err(|e| classify(&e, During::Write(&self.shown)))?;
                self.dirs.root.fact(&self.path, file)
            }
            None => Err(crate::failure::internal("the staged file is closed")),
        }
    }

    /// Makes the file visible under its name. It may be visible even when this fails: see [`Self::is_published`].
    pub(crate) fn publish(&mut self) -> Result<FileFact, Failure> {
        let fact = self.sync()?;
        let name = split(&self.path).1;
        rustix::fs::renameat(&self.dir, &self.hidden, &self.dir, name)
            .map_err(|e| self.dirs.root.fault(e, &self.shown))?;
        self.published = true;
        // The rename is done; a file system that cannot sync a directory does not undo it.
        match rustix::fs::fsync(&self.dir) {
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(fact),
            Err(errno) => Err(self.dirs.root.fault(errno, &self.shown)),
        }
    }

    /// Is it visible?
    pub(crate) fn is_published(&self) -> bool {
        self.published
    }

    /// Takes the file back, published or not. For files of which no older version was there.
    pub(crate) fn revoke(self) {
        if self.published {
            let name = split(&self.path).1;
            // What cannot be removed stays: it is a whole file, and the next attempt replaces it.
            let _ = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty());
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed is swept by the next writer of the target.
            let _ = rustix::fs::unlinkat(&self.dir, &self.hidden, AtFlags::empty());
        }
    }
}

fn hidden_stem(sweep_key: &str) -> String {
    let digest = Sha256::digest(sweep_key.as_bytes());
    let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!(".odibi-{hex}-")
}

fn new_hidden(dir: &OwnedFd, stem: &str) -> Result<(String, File), Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..NAME_TRIES_MAX {
        let hidden = format!(
            "{stem}{}-{}.tmp",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        match rustix::fs::openat(dir, &hidden, flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => {
                let file = File::from(fd);
                // A sweeping neighbour may have taken it for a leftover before the lock was there.
                let locked =
                    rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive);
                if locked.is_ok() && rustix::fs::fstat(&file).is_ok_and(|s| s.st_nlink > 0) {
                    return Ok((hidden, file));
                }
                if matches!(locked, Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK)) {
                    return Ok((hidden, file));
                }
                let _ = rustix::fs::unlinkat(dir, &hidden, AtFlags::empty());
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EXIST)
}

/// Removes hidden files of the same sweep key whose writer is gone.
fn sweep(root: &Root, dir: &OwnedFd, dir_path: &str, stem: &str) {
    for name in root.names(dir_path).unwrap_or_default() {
        if !name.starts_with(stem) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::openat(dir, &name, flags, Mode::empty())
            && rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = rustix::fs::unlinkat(dir, &name, AtFlags::empty());
        }
    }
}

fn make_dirs(root: &Root, path: &str, created: &mut Vec<String>) -> Result<OwnedFd, Errno> {
    match root.open_dir(path) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = split(path);
    let parent = make_dirs(root, parent, created)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => created.push(path.to_owned()),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    root.open_dir(path)
}

fn remove_dirs(root: &Root, created: &[String]) {
    for path in created.iter().rev() {
        let (parent, name) = split(path);
        if let Ok(parent) = root.open_dir(parent) {
            // Fails when someone else has put something there, as it should.
            let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use odibi_plan::plan::{Connection, ConnectionKind};

    use super::super::Purpose;
    use super::*;

    fn root(dir: &Path) -> Root {
        let kind = ConnectionKind::Local {
            base_path: dir.display().to_string(),
        };
        Root::open(
            &Connection {
                name: "c".into(),
                kind,
            },
            Path::new(""),
            Purpose::Write,
        )
        .unwrap()
    }

    fn entries(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_visible_only_after_publish() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("t"), "old").unwrap();
        let mut staged = Staged::create(root(dir.path()), "t").unwrap();
        staged.writer().unwrap().write_all(b"new!").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("t")).unwrap(), "old");
        let fact = staged.publish().unwrap();
        assert_eq!((fact.bytes, fact.path.as_str()), (4, "t"));
        assert_eq!(fs::read_to_string(dir.path().join("t")).unwrap(), "new!");
        assert_eq!(entries(dir.path()), ["t"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_not_even_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        drop(Staged::create(root(dir.path()), "a/b/t").unwrap());
        assert_eq!(entries(dir.path()), Vec::<String>::new());
        Staged::create(root(dir.path()), "a/b/t")
            .unwrap()
            .publish()
            .unwrap();
        assert_eq!(entries(&dir.path().join("a/b")), ["t"]);
    }

    #[test]
    fn rejected_rows_stay_when_the_target_appears_and_its_publishing_fails_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str, syncs: bool| {
            let mut staged = Staged::create(root(dir.path()), path).unwrap();
            if !syncs {
                // Files in it can be renamed, and it cannot be synced.
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                staged.dir = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
            }
            staged
        };
        let rejected = vec![open("q/1", true), open("q/2", true)];
        crate::make_visible(rejected, Some(open("t", false))).unwrap_err();
        assert_eq!(entries(dir.path()), ["q", "t"]);
        assert_eq!(entries(&dir.path().join("q")), ["1", "2"]);

        let rejected = vec![open("r", true), open("s", false)];
        crate::make_visible(rejected, Some(open("u", true))).unwrap_err();
        assert_eq!(entries(dir.path()), ["q", "t"]);
    }

    #[test]
    fn leftovers_are_swept_and_files_in_use_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut alive = Staged::create(root(dir.path()), "t").unwrap();
        fs::write(
            dir.path().join(format!("{}1-1.tmp", hidden_stem("t"))),
            "crashed",
        )
        .unwrap();
        fs::write(
            dir.path().join(format!("{}1-1.tmp", hidden_stem("other"))),
            "not ours",
        )
        .unwrap();
        let mut second = Staged::create(root(dir.path()), "t").unwrap();
        assert_eq!(entries(dir.path()).len(), 3, "{:?}", entries(dir.path()));
        alive.publish().unwrap();
        second.publish().unwrap();
        assert_eq!(entries(dir.path()).len(), 2);
    }

    #[test]
    fn a_target_outside_or_over_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::create_dir_all(base.join("d")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        symlink("../outside", base.join("link")).unwrap();
        fs::write(base.join("f"), "").unwrap();
        for (path, code) in [
            ("d", "write/bad-target"),
            ("link/t", "write/denied"),
            ("link/n/t", "write/denied"),
            ("f/t", "write/bad-target"),
        ] {
            let failure = Staged::create(root(&base), path).unwrap_err();
            assert_eq!(failure.code, code, "{path}: {failure:?}");
        }
        assert_eq!(entries(&dir.path().join("outside")), Vec::<String>::new());
    }

    #[test]
    fn a_link_at_the_target_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::create_dir(&base).unwrap();
        fs::write(dir.path().join("outside"), "keep").unwrap();
        symlink("../outside", base.join("t")).unwrap();
        Staged::create(root(&base), "t").unwrap().publish().unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("outside")).unwrap(),
            "keep"
        );
        assert!(base.join("t").symlink_metadata().unwrap().is_file());
    }
}
