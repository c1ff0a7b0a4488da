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
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::root::Root;
use super::{stat_of, write_fault};
use crate::failure::{During, classify, internal};
use crate::store::{Expect, Put, Stat, Upload, split};

/// Tries to find a hidden name that is free.
const NAME_TRIES_MAX: u32 = 64;
const HIDDEN_START: &str = ".odibi-";
const HIDDEN_END: &str = ".tmp";
const LOCK_END: &str = ".lock";

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file that is not visible yet. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Staged {
    dirs: Arc<Dirs>,
    path: String,
    shown: String,
    dir: OwnedFd,
    hidden: String,
    file: File,
    published: bool,
}

/// Where files are staged. Those that share it share the directories made for them: with the last of them, the empty
/// ones go.
#[derive(Debug)]
pub(crate) struct Dirs {
    pub(super) root: Root,
    created: Mutex<Vec<String>>,
}

impl Dirs {
    pub(crate) fn below(root: Root) -> Arc<Self> {
        let created = Mutex::default();
        Arc::new(Self { root, created })
    }

    /// Makes a directory if it is not there, and a file in it. Somebody who made the directory, too, may remove it in
    /// between, as long as it is empty.
    pub(super) fn make_in<T>(
        &self,
        path: &str,
        mut make: impl FnMut(&OwnedFd) -> Result<T, Errno>,
    ) -> Result<(OwnedFd, T), Errno> {
        for _ in 0..NAME_TRIES_MAX {
            let dir = {
                let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
                make_dirs(&self.root, path, &mut created)
            };
            match dir.and_then(|dir| Ok((make(&dir)?, dir))) {
                Err(Errno::NOENT) => {}
                made => return made.map(|(made, dir)| (dir, made)),
            }
        }
        Err(Errno::NOENT)
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
    /// Creates the hidden file, and the directories that lead to it. Leftovers of the same `sweep_key` in the directory are
    /// removed.
    pub(crate) fn create(dirs: &Arc<Dirs>, path: &str, sweep_key: &str) -> Result<Self, Failure> {
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
        let stem = hidden_stem(sweep_key);
        let made = dirs.make_in(dir_path, |dir| {
            sweep(root, dir, dir_path, &stem);
            new_hidden(dir, &stem)
        });
        let (dir, (hidden, file)) = made.map_err(|e| write_fault(e, &shown))?;
        Ok(Self {
            path: path.to_owned(),
            shown,
            dir,
            hidden,
            file,
            published: false,
            dirs: Arc::clone(dirs),
        })
    }

    fn target(&self) -> Result<Option<Stat>, Failure> {
        match self.dirs.root.look(&self.path) {
            Err(Errno::NOENT) => Ok(None),
            other => other
                .map_err(std::io::Error::from)
                .and_then(|fd| File::from(fd).metadata())
                .map(|meta| Some(stat_of(&self.path, &meta)))
                .map_err(|e| classify(&e, During::Write(&self.shown))),
        }
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        let name = split(&self.path).1;
        rustix::fs::renameat_with(&self.dir, &self.hidden, &self.dir, name, flags)
    }

    /// Renames where nothing is. Where the system cannot, links: that fails as well where something is.
    fn rename_new(&self) -> Result<(), Errno> {
        match self.rename(RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let name = split(&self.path).1;
                let (from, to) = (&self.dir, &self.dir);
                rustix::fs::linkat(from, &self.hidden, to, name, AtFlags::empty())?;
                rustix::fs::unlinkat(&self.dir, &self.hidden, AtFlags::empty())
            }
            other => other,
        }
    }
}

impl Upload for Staged {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn writer(&self) -> Result<File, Failure> {
        let cloned = self.file.try_clone();
        cloned.map_err(|e| classify(&e, During::Write(&self.shown)))
    }

    fn sync(&self) -> Result<FileFact, Failure> {
        let synced = self.file.sync_all().and_then(|()| self.file.metadata());
        let meta = synced.map_err(|e| classify(&e, During::Write(&self.shown)))?;
        let stat = stat_of(&self.path, &meta);
        Ok(FileFact {
            connection: self.dirs.root.connection().to_owned(),
            path: stat.path,
            bytes: stat.bytes,
            modified: stat.modified,
            version: None,
        })
    }

    fn put(&mut self, expect: &Expect) -> Result<Put, Failure> {
        if self.published {
            return Err(internal("a file is put twice"));
        }
        self.sync()?;
        let renamed = match expect {
            Expect::Anything => self.rename(RenameFlags::empty()),
            Expect::Absent => self.rename_new(),
            Expect::Version(version) => {
                if self.target()?.is_none_or(|stat| stat.version != *version) {
                    return Ok(Put::Changed);
                }
                self.rename(RenameFlags::empty())
            }
        };
        match renamed {
            Ok(()) => {}
            Err(Errno::EXIST) if *expect == Expect::Absent => return Ok(Put::Changed),
            Err(errno) => return Err(write_fault(errno, &self.shown)),
        }
        self.published = true;
        // The rename is done; a file system that cannot sync a directory does not undo it.
        fsync_dir(&self.dir).map_err(|e| write_fault(e, &self.shown))?;
        let meta = self.file.metadata();
        let meta = meta.map_err(|e| classify(&e, During::Write(&self.shown)))?;
        Ok(Put::Done(stat_of(&self.path, &meta)))
    }

    fn is_put(&self) -> bool {
        self.published
    }

    fn revoke(self: Box<Self>) {
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

/// Is it a name that this module gives? Such files belong to nobody's data.
pub(in crate::store) fn is_hidden(name: &str) -> bool {
    name.starts_with(HIDDEN_START) && (name.ends_with(HIDDEN_END) || name.ends_with(LOCK_END))
}

/// The file that stands for the lock of a name.
pub(super) fn lock_name(name: &str) -> String {
    let mut stem = hidden_stem(name);
    stem.pop();
    stem + LOCK_END
}

/// What names of new generations of a directory begin with; they end as all hidden files do.
pub(super) fn generation_stem(name: &str) -> String {
    format!("{}gen-", hidden_stem(name))
}

/// Makes the names in a directory durable, where the file system knows how.
pub(super) fn fsync_dir(dir: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::fsync(dir) {
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

fn hidden_stem(sweep_key: &str) -> String {
    let digest = Sha256::digest(sweep_key.as_bytes());
    let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{HIDDEN_START}{hex}-")
}

fn new_hidden(dir: &OwnedFd, stem: &str) -> Result<(String, File), Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..NAME_TRIES_MAX {
        let hidden = format!(
            "{stem}{}-{}{HIDDEN_END}",
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
        Ok(()) => {
            created.push(path.to_owned());
            fsync_dir(&parent)?;
        }
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

    use super::*;
    use crate::store::Purpose;

    fn dirs(dir: &Path) -> Arc<Dirs> {
        Dirs::below(Root::open("c", dir.to_owned(), Purpose::Write).unwrap())
    }

    fn create(dir: &Path, path: &str) -> Result<Staged, Failure> {
        Staged::create(&dirs(dir), path, split(path).1)
    }

    fn put(mut staged: Staged) -> Stat {
        match staged.put(&Expect::Anything).unwrap() {
            Put::Done(stat) => stat,
            Put::Changed => panic!("anything was expected"),
        }
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
        let staged = create(dir.path(), "t").unwrap();
        staged.writer().unwrap().write_all(b"new!").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("t")).unwrap(), "old");
        let stat = put(staged);
        assert_eq!((stat.bytes, stat.path.as_str()), (4, "t"));
        assert_eq!(fs::read_to_string(dir.path().join("t")).unwrap(), "new!");
        assert_eq!(entries(dir.path()), ["t"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_not_even_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        drop(create(dir.path(), "a/b/t").unwrap());
        assert_eq!(entries(dir.path()), Vec::<String>::new());
        put(create(dir.path(), "a/b/t").unwrap());
        assert_eq!(entries(&dir.path().join("a/b")), ["t"]);
    }

    #[test]
    fn rejected_rows_stay_when_the_target_appears_and_its_publishing_fails_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str, syncs: bool| {
            let mut staged = create(dir.path(), path).unwrap();
            if !syncs {
                // Files in it can be renamed, and it cannot be synced.
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                staged.dir = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
            }
            Box::new(staged) as Box<dyn Upload>
        };
        #[derive(Debug)]
        struct Target(Box<dyn Upload>);
        impl crate::Publish for Target {
            fn publish(&mut self) -> Result<odibi_run::port::Published, Failure> {
                self.0.put(&Expect::Anything)?;
                Ok(odibi_run::port::Published::default())
            }
            fn has_appeared(&self) -> bool {
                self.0.is_put()
            }
        }
        let rejected = vec![open("q/1", true), open("q/2", true)];
        let target = |file| Some(Box::new(Target(file)) as Box<dyn crate::Publish>);
        crate::make_visible(rejected, target(open("t", false))).unwrap_err();
        assert_eq!(entries(dir.path()), ["q", "t"]);
        assert_eq!(entries(&dir.path().join("q")), ["1", "2"]);

        let rejected = vec![open("r", true), open("s", false)];
        crate::make_visible(rejected, target(open("u", true))).unwrap_err();
        assert_eq!(entries(dir.path()), ["q", "t"]);
    }

    #[test]
    fn leftovers_are_swept_and_files_in_use_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let alive = create(dir.path(), "t").unwrap();
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
        let second = create(dir.path(), "t").unwrap();
        assert_eq!(entries(dir.path()).len(), 3, "{:?}", entries(dir.path()));
        put(alive);
        put(second);
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
            let failure = create(&base, path).unwrap_err();
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
        put(create(&base, "t").unwrap());
        assert_eq!(
            fs::read_to_string(dir.path().join("outside")).unwrap(),
            "keep"
        );
        assert!(base.join("t").symlink_metadata().unwrap().is_file());
    }
}
