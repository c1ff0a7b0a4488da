//! A directory of this machine as a [`Store`].

mod generation;
mod root;
mod staged;

use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use self::generation::LocalGeneration;
use self::root::Root;
pub(super) use self::staged::is_hidden;
use self::staged::{Dirs, Staged, fsync_dir, lock_name};
use super::{
    Blob, Child, ChildKind, Generation, Lock, Purpose, Stat, Store, Upload, join, split,
    with_nearest,
};
use crate::driver::Reach;
use crate::failure::{During, cancelled, classify};
use crate::limits::{LIST_DEPTH_MAX, LIST_FILES_MAX};
use crate::read::Stop;

/// Between two looks at a lock that somebody else holds.
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// A local connection.
#[derive(Debug)]
pub(crate) struct LocalStore {
    dirs: Arc<Dirs>,
}

impl LocalStore {
    /// Opens the root directory; for writing, makes it.
    pub(crate) fn open(connection: &str, path: PathBuf, purpose: Purpose) -> Result<Self, Failure> {
        Root::open(connection, path, purpose).map(|root| Self {
            dirs: Dirs::below(root),
        })
    }

    fn root(&self) -> &Root {
        &self.dirs.root
    }

    /// Adds the files below `dir` to `found`.
    fn walk(&self, dir: &str, depth: usize, found: &mut Vec<Stat>) -> Result<(), Failure> {
        let shown = self.shown(dir);
        let limit = |what: &str, which: &str, max: usize| {
            let message = format!("`{shown}` holds too many {what}");
            Err(
                Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message).of_limit(
                    which,
                    max as u64,
                    max as u64 + 1,
                ),
            )
        };
        if depth > LIST_DEPTH_MAX {
            return limit("levels of directories", "levels", LIST_DEPTH_MAX);
        }
        let names = match self.root().names(dir) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(|e| read_fault(e, &shown))?,
        };
        for name in names {
            if is_hidden(&name) {
                continue;
            }
            let path = join(dir, &name);
            if name.contains('\u{fffd}') {
                return Err(not_utf8(&self.shown(&path)));
            }
            match self.look(&path)? {
                None => {}
                Some(meta) if meta.is_dir() => self.walk(&path, depth + 1, found)?,
                Some(meta) if meta.is_file() => found.push(stat_of(&path, &meta)),
                Some(_) => {}
            }
            if found.len() > LIST_FILES_MAX {
                return limit("files", "files", LIST_FILES_MAX);
            }
        }
        Ok(())
    }

    fn look(&self, path: &str) -> Result<Option<Metadata>, Failure> {
        match self.root().look(path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Ok(None),
            other => other
                .map_err(std::io::Error::from)
                .and_then(|fd| File::from(fd).metadata())
                .map(Some)
                .map_err(|e| classify(&e, During::Read(&self.shown(path)))),
        }
    }
}

impl Store for LocalStore {
    fn connection(&self) -> &str {
        self.root().connection()
    }

    fn shown(&self, path: &str) -> String {
        self.root().shown(path)
    }

    fn reach(&self) -> Result<Reach, Failure> {
        let root = self.root().open_dir("");
        let root = root.map_err(|e| read_fault(e, &self.shown("")))?;
        Ok(Reach::Directory(root))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn Blob>, Failure> {
        let shown = self.shown(path);
        let file = self.root().open_file(path).map_err(|e| {
            let failure = read_fault(e, &shown);
            if failure.code == code::READ_MISSING.name {
                with_nearest(self, failure, path)
            } else {
                failure
            }
        })?;
        let meta = file.metadata();
        let meta = meta.map_err(|e| classify(&e, During::Read(&shown)))?;
        check_regular(&meta, &shown)?;
        let Stat {
            bytes,
            modified,
            version,
            ..
        } = stat_of(path, &meta);
        let fact = FileFact {
            connection: self.connection().to_owned(),
            path: path.to_owned(),
            bytes,
            modified,
            version: None,
        };
        Ok(Arc::new(LocalFile {
            file,
            shown,
            fact,
            version,
        }))
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>, Failure> {
        let Some(meta) = self.look(path)? else {
            return Ok(None);
        };
        check_regular(&meta, &self.shown(path))?;
        Ok(Some(stat_of(path, &meta)))
    }

    fn list(&self, dir: &str) -> Result<Vec<Stat>, Failure> {
        let mut found = Vec::new();
        self.walk(dir, 0, &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn children(&self, dir: &str) -> Result<Vec<Child>, Failure> {
        let names = match self.root().names(dir) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            other => other.map_err(|e| read_fault(e, &self.shown(dir)))?,
        };
        let child = |name: String| Child {
            kind: match self.look(&join(dir, &name)) {
                Ok(Some(meta)) if meta.is_dir() => ChildKind::Dir,
                Ok(Some(_)) => ChildKind::File,
                Ok(None) | Err(_) => ChildKind::Unknown,
            },
            name,
        };
        let visible = names.into_iter().filter(|name| !is_hidden(name));
        Ok(visible.map(child).collect())
    }

    fn lock(&self, path: &str, stop: Stop<'_>) -> Result<Lock, Failure> {
        let shown = self.shown(path);
        let lock = FileLock::take(&self.dirs, path, &shown, stop)?;
        Ok(Lock { _held: Some(lock) })
    }

    fn create_swept(&self, path: &str, sweep_key: &str) -> Result<Box<dyn Upload>, Failure> {
        Ok(Box::new(Staged::create(&self.dirs, path, sweep_key)?))
    }

    fn real_dir(&self, dir: &str) -> Result<String, Failure> {
        if !self.root().is_link(dir) {
            return Ok(dir.to_owned());
        }
        let shown = self.shown(dir);
        match self.root().real_dir(dir) {
            Ok(real) if real.is_empty() => Err(bad_link(&shown, "leads to the root")),
            Ok(real) => Ok(real),
            Err(Errno::NOENT) => Err(bad_link(&shown, "leads nowhere")),
            // A file in the place of a directory is told of by who looks into it.
            Err(Errno::NOTDIR) => Ok(dir.to_owned()),
            Err(errno) => Err(write_fault(errno, &shown)),
        }
    }

    fn generation(&self, dir: &str) -> Result<Box<dyn Generation>, Failure> {
        let shown = self.shown(dir);
        Ok(Box::new(LocalGeneration::create(&self.dirs, dir, &shown)?))
    }

    fn sweep_generations(&self, dir: &str) -> Result<(), Failure> {
        generation::sweep(self.root(), dir).map_err(|e| write_fault(e, &self.shown(dir)))
    }

    fn check(&self) -> Result<(), Failure> {
        let listed = self.root().names("").map(|_| ());
        listed.map_err(|e| read_fault(e, &self.shown("")))
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        let (dir, name) = split(path);
        let removed = self.root().open_dir(dir).and_then(|dir| {
            rustix::fs::unlinkat(&dir, name, AtFlags::empty())?;
            fsync_dir(&dir)
        });
        match removed {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(errno) => Err(write_fault(errno, &self.shown(path))),
        }
    }

    fn remove_empty(&self, dir: &str) {
        let (parent, name) = split(dir);
        if name.is_empty() {
            return;
        }
        // What cannot be removed does no harm.
        let _ = self.root().open_dir(parent).map(|parent| {
            let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        });
    }
}

/// An open file of this machine.
#[derive(Debug)]
struct LocalFile {
    file: File,
    shown: String,
    fact: FileFact,
    version: String,
}

impl Blob for LocalFile {
    fn fact(&self) -> &FileFact {
        &self.fact
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other.map_err(|e| classify(&e, During::Read(&self.shown))),
            }
        }
    }
}

/// A lock between processes and threads: a hidden file beside its target, gone when nobody needs it.
#[derive(Debug)]
pub(crate) struct FileLock {
    dir: OwnedFd,
    name: String,
    _file: File,
    /// The directory of the lock stays as long as it does, and goes with it if it was made for it.
    _dirs: Arc<Dirs>,
}

impl FileLock {
    fn take(dirs: &Arc<Dirs>, path: &str, shown: &str, stop: Stop<'_>) -> Result<Self, Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (dir_path, name) = split(path);
        let name = lock_name(name);
        let mode = Mode::from_raw_mode(0o666);
        loop {
            let opened = dirs.make_in(dir_path, |dir| rustix::fs::openat(dir, &name, flags, mode));
            let (dir, file) = opened.map_err(|e| write_fault(e, shown))?;
            let file = File::from(file);
            loop {
                match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => break,
                    Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                    Err(errno) => {
                        let hint = "write to a file system that has locks, or to an object store";
                        return Err(write_fault(errno, shown).hint(hint));
                    }
                }
                if stop() {
                    return Err(cancelled());
                }
                std::thread::sleep(LOCK_WAIT);
            }
            // Whoever held it may have removed the file, and another have made a new one.
            let links = rustix::fs::fstat(&file).map_err(|e| write_fault(e, shown))?;
            if links.st_nlink > 0 {
                return Ok(Self {
                    dir,
                    name,
                    _file: file,
                    _dirs: Arc::clone(dirs),
                });
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // While the lock is held: whoever waits for it then sees that its file has no name any more, and makes a new one.
        let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
    }
}

fn read_fault(errno: Errno, shown: &str) -> Failure {
    classify(&std::io::Error::from(errno), During::Read(shown))
}

/// The failure of a link in the place of a directory that is to be made anew.
fn bad_link(shown: &str, what: &str) -> Failure {
    let message = format!("`{shown}` is a link that {what}");
    Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, message)
        .hint("name a directory in `path`, or let the link lead to one below `base_path`")
}

fn write_fault(errno: Errno, shown: &str) -> Failure {
    classify(&std::io::Error::from(errno), During::Write(shown))
}

/// Leaving such a file out would drop its rows silently.
pub(super) fn not_utf8(shown: &str) -> Failure {
    let message = format!("the name of a file is not UTF-8: `{shown}`");
    Failure::new(FailureClass::Data, code::READ_BAD_FILE, message).hint("rename the file")
}

fn check_regular(meta: &Metadata, shown: &str) -> Result<(), Failure> {
    let bad = |what: &str| {
        let message = format!("`{shown}` is {what}");
        Failure::new(FailureClass::Data, code::READ_BAD_FILE, message)
    };
    if meta.is_dir() {
        let example = format!("name its files, for example `{shown}/*`");
        Err(bad("a directory").hint(example))
    } else if meta.is_file() {
        Ok(())
    } else {
        Err(bad("not a regular file"))
    }
}

fn stat_of(path: &str, meta: &Metadata) -> Stat {
    let modified = meta.modified().ok();
    Stat {
        path: path.to_owned(),
        bytes: meta.len(),
        modified: modified.and_then(|t| Timestamp::try_from(t).ok()),
        version: format!(
            "{}-{}-{}.{:09}",
            meta.ino(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::blob::BlobReader;
    use crate::store::{Expect, Put};

    fn store(dir: &Path) -> LocalStore {
        LocalStore::open("c", dir.join("data"), Purpose::Write).unwrap()
    }

    fn put(store: &LocalStore, path: &str, text: &str, expect: &Expect) -> Put {
        let mut upload = store.create(path).unwrap();
        upload.writer().unwrap().write_all(text.as_bytes()).unwrap();
        upload.put(expect).unwrap()
    }

    fn text(store: &LocalStore, path: &str) -> String {
        let mut text = String::new();
        let mut reader = BlobReader::new(store.open(path).unwrap());
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn links_inside_the_root_work_and_links_outside_are_denied() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        fs::write(dir.path().join("secret"), "s").unwrap();
        fs::write(dir.path().join("data/a"), "inside").unwrap();
        symlink("a", dir.path().join("data/near")).unwrap();
        symlink("../secret", dir.path().join("data/far")).unwrap();
        symlink(dir.path().join("secret"), dir.path().join("data/absolute")).unwrap();
        symlink("..", dir.path().join("data/up")).unwrap();
        symlink("loop", dir.path().join("data/loop")).unwrap();
        assert_eq!(text(&store, "near"), "inside");
        for path in ["far", "absolute", "up/secret", "loop"] {
            let failure = store.open(path).unwrap_err();
            assert_eq!(failure.code, "read/denied", "{path}: {failure:?}");
            assert_eq!(store.stat(path).unwrap_err().code, "read/denied", "{path}");
        }
        let outside = store
            .root()
            .resolve_by_name("far", OFlags::RDONLY)
            .unwrap_err();
        assert_eq!(outside, Errno::XDEV, "the way without openat2 denies too");
    }

    #[test]
    fn a_link_that_was_swapped_with_a_directory_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        put(&store, "real/t", "keep", &Expect::Anything);
        let left = format!("{}7.tmp", super::staged::generation_stem("d"));
        symlink("real", dir.path().join("data").join(left)).unwrap();
        for _ in 0..2 {
            let mut generation = store.generation("d").unwrap();
            generation.file("x").unwrap();
            generation.put().unwrap();
        }
        assert_eq!(store.root().names("").unwrap(), ["d", "real"]);
        assert_eq!(text(&store, "real/t"), "keep");
        // One that appears in between is left alone.
        let mut generation = store.generation("e").unwrap();
        symlink("real", dir.path().join("data/e")).unwrap();
        assert_eq!(generation.put().unwrap_err().code, "write/bad-target");
        drop(generation);
        assert_eq!(store.root().names("").unwrap(), ["d", "e", "real"]);
        assert_eq!(store.real_dir("e").unwrap(), "real");
    }

    #[test]
    fn a_missing_file_names_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        fs::create_dir(dir.path().join("data/raw")).unwrap();
        fs::write(dir.path().join("data/raw/flights.csv"), "").unwrap();
        for (path, hint) in [
            ("raw/flihgts.csv", "did you mean `raw/flights.csv`?"),
            ("rwa/flights.csv", "did you mean `raw`?"),
            ("raw/zzzz", "check the path; "),
        ] {
            let failure = store.open(path).unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (FailureClass::Missing, "read/missing")
            );
            assert!(failure.hints[0].starts_with(hint), "{failure:?}");
        }
    }

    #[test]
    fn directories_and_pipes_are_not_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        fs::create_dir(dir.path().join("data/d")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("data/p"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        for path in ["d", "p"] {
            assert_eq!(
                store.open(path).unwrap_err().code,
                "read/bad-file",
                "{path}"
            );
        }
    }

    #[test]
    fn a_put_replaces_only_what_it_expects() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let Put::Done(first) = put(&store, "d/t", "1", &Expect::Absent) else {
            panic!("nothing was there");
        };
        assert_eq!(store.stat("d/t").unwrap(), Some(first.clone()));
        assert_eq!(store.open("d/t").unwrap().version(), first.version);
        assert_eq!(put(&store, "d/t", "2", &Expect::Absent), Put::Changed);
        let expect = Expect::Version(first.version);
        assert!(matches!(put(&store, "d/t", "three", &expect), Put::Done(_)));
        assert_eq!(put(&store, "d/t", "4", &expect), Put::Changed);
        assert_eq!(put(&store, "d/none", "5", &expect), Put::Changed);
        assert_eq!(text(&store, "d/t"), "three");
        let listed: Vec<String> = store
            .list("")
            .unwrap()
            .into_iter()
            .map(|s| s.path)
            .collect();
        assert_eq!(listed, ["d/t"]);
        store.remove("d/t").unwrap();
        store.remove("d/t").unwrap();
        store.remove("e/t").unwrap();
        assert_eq!(store.stat("d/t").unwrap(), None);
        assert_eq!(store.stat("d/t/x").unwrap(), None);
    }

    #[test]
    fn links_that_lead_back_up_end_a_listing_with_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        put(&store, "a/t", "", &Expect::Anything);
        symlink("../a", dir.path().join("data/a/again")).unwrap();
        assert_eq!(store.list("").unwrap_err().code, "read/too-large");
        assert_eq!(store.list("none").unwrap(), []);
    }

    #[test]
    fn a_lock_is_held_by_one_at_a_time_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let inside = AtomicU32::new(0);
        let total = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let store = store(dir.path());
                    for _ in 0..8 {
                        let _lock = store.lock("n/t", &|| false).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        total.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 64);
        let store = store(dir.path());
        let held = store.lock("t", &|| false).unwrap();
        let failure = store.lock("t", &|| true).unwrap_err();
        assert_eq!(failure.class, FailureClass::Cancelled);
        store.lock("other", &|| true).unwrap();
        drop(held);
        drop(store);
        let left = fs::read_dir(dir.path().join("data")).unwrap().count();
        assert_eq!(left, 0, "no lock file and no directory made for one");
    }
}
