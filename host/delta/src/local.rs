//! A directory of this machine as an object store that cannot be left and forgets nothing.
//!
//! Every name is resolved with `openat2` below the directory, so neither `..` nor a link reaches outside, whatever a log
//! says. What is put is synced before it is visible, and its directory after: a commit that was acknowledged survives a
//! loss of power. A file that is being written has no name, so that a killed run leaves none behind.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, UploadPart,
};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As errors name it.
const STORE: &str = "local";
/// Tries of `openat2` when directories are renamed under it.
const RESOLVE_TRIES_MAX: usize = 32;
/// Names tried for a file that needs one while it is written.
const NAME_TRIES_MAX: usize = 64;

/// A directory.
#[derive(Debug, Clone)]
pub(crate) struct LocalDir {
    dir: Arc<OwnedFd>,
}

impl LocalDir {
    /// Everything below an open directory.
    pub(crate) fn new(dir: OwnedFd) -> Self {
        Self { dir: Arc::new(dir) }
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..RESOLVE_TRIES_MAX {
            match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) => {}
                // Some sandboxes answer an unknown system call with EPERM.
                Err(Errno::NOSYS | Errno::PERM) => return self.walk(path, flags),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Part by part, without any link.
    fn walk(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let through = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (dirs, name) = split(path);
        let mut at = rustix::fs::openat(&self.dir, ".", through, Mode::empty())?;
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            if part == ".." {
                return Err(Errno::XDEV);
            }
            at = rustix::fs::openat(&at, part, through, Mode::empty())?;
        }
        if name == ".." {
            return Err(Errno::XDEV);
        }
        rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())
    }

    fn dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// A directory that is made when it is not there, with what lies above it.
    pub(crate) fn made_dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        match self.dir(path) {
            Err(Errno::NOENT) if !path.is_empty() => {}
            other => return other,
        }
        let (above, name) = split(path);
        let parent = self.made_dir(above)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => rustix::fs::fsync(&parent)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        self.dir(path)
    }

    fn open(&self, location: &Path) -> Result<(File, ObjectMeta)> {
        // Without NONBLOCK, opening a named pipe waits for its writer.
        let opened = self.resolve(location.as_ref(), OFlags::RDONLY | OFlags::NONBLOCK);
        let file = File::from(opened.map_err(|e| fault(e, location))?);
        let meta = file.metadata().map_err(|e| io_fault(e, location))?;
        if !meta.is_file() {
            return Err(fault(Errno::NOENT, location));
        }
        let stat = rustix::fs::fstat(&file).map_err(|e| fault(e, location))?;
        Ok((file, meta_of(location.clone(), &stat)))
    }

    fn put_whole(&self, location: &Path, payload: &PutPayload, create: bool) -> Result<PutResult> {
        let mut unseen = self.unseen(location)?;
        for bytes in payload {
            unseen
                .file
                .write_all(bytes)
                .map_err(|e| io_fault(e, location))?;
        }
        unseen.publish(location, create)
    }

    /// A file beside where `location` will be.
    fn unseen(&self, location: &Path) -> Result<Unseen> {
        let dir = self.made_dir(split(location.as_ref()).0);
        Unseen::create(dir.map_err(|e| fault(e, location))?).map_err(|e| fault(e, location))
    }

    fn remove(&self, location: &Path) -> Result<()> {
        let (above, name) = split(location.as_ref());
        let dir = self.dir(above).map_err(|e| fault(e, location))?;
        rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(|e| fault(e, location))?;
        rustix::fs::fsync(&dir).map_err(|e| fault(e, location))
    }

    fn copy(&self, from: &Path, to: &Path, create: bool) -> Result<()> {
        let (mut source, _) = self.open(from)?;
        let mut unseen = self.unseen(to)?;
        io::copy(&mut source, &mut unseen.file).map_err(|e| io_fault(e, to))?;
        unseen.publish(to, create).map(drop)
    }

    /// Files below a directory, sorted; what is in no directory at all is no fault.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is neither file nor directory is not listed"
    )]
    fn files(&self, prefix: &str, deep: bool) -> Result<(Vec<ObjectMeta>, Vec<Path>)> {
        let (mut objects, mut dirs) = (Vec::new(), Vec::new());
        let mut open = vec![prefix.to_owned()];
        while let Some(at) = open.pop() {
            let shown = Path::from(at.as_str());
            let dir = match self.dir(&at) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other.map_err(|e| fault(e, &shown))?,
            };
            for entry in Dir::read_from(dir.as_fd()).map_err(|e| fault(e, &shown))? {
                let entry = entry.map_err(|e| fault(e, &shown))?;
                let Some(name) = entry.file_name().to_str().ok().filter(|n| is_name(n)) else {
                    continue;
                };
                let path = if at.is_empty() {
                    name.to_owned()
                } else {
                    format!("{at}/{name}")
                };
                let Ok(location) = Path::parse(&path) else {
                    continue;
                };
                // Gone since, or a link that leads outside.
                let Ok(found) = self.resolve(&path, OFlags::PATH) else {
                    continue;
                };
                let Ok(stat) = rustix::fs::fstat(&found) else {
                    continue;
                };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => objects.push(meta_of(location, &stat)),
                    FileType::Directory if deep => open.push(path),
                    FileType::Directory => dirs.push(location),
                    _ => {}
                }
            }
        }
        objects.sort_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
        dirs.sort();
        Ok((objects, dirs))
    }
}

/// A file that nobody sees yet.
#[derive(Debug)]
struct Unseen {
    dir: OwnedFd,
    file: File,
    /// Where the file system has no files without a name.
    name: Option<String>,
}

impl Unseen {
    fn create(dir: OwnedFd) -> Result<Self, Errno> {
        let mode = Mode::from_raw_mode(0o666);
        let nameless = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(&dir, ".", nameless, mode) {
            Ok(file) => {
                let file = File::from(file);
                return Ok(Self {
                    dir,
                    file,
                    name: None,
                });
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let named = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for _ in 0..NAME_TRIES_MAX {
            let name = scratch_name();
            match rustix::fs::openat(&dir, &name, named, mode) {
                Err(Errno::EXIST) => {}
                file => {
                    let (file, name) = (File::from(file?), Some(name));
                    return Ok(Self { dir, file, name });
                }
            }
        }
        Err(Errno::EXIST)
    }

    /// Syncs the file, gives it its name, and syncs the directory.
    fn publish(mut self, location: &Path, create: bool) -> Result<PutResult> {
        let name = split(location.as_ref()).1;
        self.file.sync_all().map_err(|e| io_fault(e, location))?;
        self.link(name, create).map_err(|e| fault(e, location))?;
        rustix::fs::fsync(&self.dir).map_err(|e| fault(e, location))?;
        let stat = rustix::fs::fstat(&self.file).map_err(|e| fault(e, location))?;
        Ok(PutResult {
            e_tag: Some(e_tag(&stat)),
            version: None,
        })
    }

    fn link(&mut self, name: &str, create: bool) -> Result<(), Errno> {
        match self.link_new(name) {
            Err(Errno::EXIST) if !create => {}
            other => return other,
        }
        let scratch = match &self.name {
            Some(own) => own.clone(),
            None => {
                let own = scratch_name();
                self.link_new(&own)?;
                self.name = Some(own.clone());
                own
            }
        };
        rustix::fs::renameat(&self.dir, &scratch, &self.dir, name)?;
        self.name = None;
        Ok(())
    }

    fn link_new(&self, name: &str) -> Result<(), Errno> {
        if let Some(own) = &self.name {
            return rustix::fs::linkat(&self.dir, own, &self.dir, name, AtFlags::empty());
        }
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let follow = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(rustix::fs::CWD, own, &self.dir, name, follow)
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let _ = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty());
        }
    }
}

/// Parts written in place, at their offsets.
#[derive(Debug)]
struct Upload {
    location: Path,
    unseen: Arc<Mutex<Option<Unseen>>>,
    bytes: u64,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (unseen, location) = (Arc::clone(&self.unseen), self.location.clone());
        let mut offset = self.bytes;
        self.bytes += data.content_length() as u64;
        Box::pin(blocking(move || {
            let unseen = unseen.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(unseen) = unseen.as_ref() else {
                return Err(fault(Errno::BADF, &location));
            };
            for bytes in &data {
                let written = unseen.file.write_all_at(bytes, offset);
                written.map_err(|e| io_fault(e, &location))?;
                offset += bytes.len() as u64;
            }
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let taken = self.take();
        let location = self.location.clone();
        blocking(move || match taken {
            Some(unseen) => unseen.publish(&location, false),
            None => Err(fault(Errno::BADF, &location)),
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        drop(self.take());
        Ok(())
    }
}

impl Upload {
    fn take(&self) -> Option<Unseen> {
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        unseen.take()
    }
}

impl fmt::Display for LocalDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a local directory")
    }
}

#[async_trait]
impl ObjectStore for LocalDir {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(not_implemented("put_opts with PutMode::Update")),
        };
        let (this, location) = (self.clone(), location.clone());
        blocking(move || this.put_whole(&location, &payload, create)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let (this, at) = (self.clone(), location.clone());
        let unseen = blocking(move || this.unseen(&at)).await?;
        Ok(Box::new(Upload {
            location: location.clone(),
            unseen: Arc::new(Mutex::new(Some(unseen))),
            bytes: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (this, location) = (self.clone(), location.clone());
        blocking(move || {
            let (file, meta) = this.open(&location)?;
            options.check_preconditions(&meta)?;
            let range = match &options.range {
                Some(range) => range
                    .as_range(meta.size)
                    .map_err(|e| generic(Box::new(e)))?,
                None => 0..meta.size,
            };
            Ok(GetResult {
                payload: GetResultPayload::File(file, location.as_ref().into()),
                meta,
                range,
                attributes: Attributes::default(),
            })
        })
        .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let remove = move |location: Result<Path>| {
            let this = this.clone();
            blocking(move || {
                let location = location?;
                this.remove(&location).map(|()| location)
            })
        };
        locations.then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = self.clone();
        let prefix = prefix.map_or_else(String::new, |p| p.as_ref().to_owned());
        let listed = blocking(move || this.files(&prefix, true).map(|(objects, _)| objects));
        let stream = futures::stream::once(listed).map(|listed| match listed {
            Ok(objects) => futures::stream::iter(objects).map(Ok).boxed(),
            Err(error) => futures::stream::once(std::future::ready(Err(error))).boxed(),
        });
        stream.flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let this = self.clone();
        let prefix = prefix.map_or_else(String::new, |p| p.as_ref().to_owned());
        let (objects, common_prefixes) = blocking(move || this.files(&prefix, false)).await?;
        Ok(ListResult {
            common_prefixes,
            objects,
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (this, from, to) = (self.clone(), from.clone(), to.clone());
        let create = matches!(options.mode, CopyMode::Create);
        blocking(move || this.copy(&from, &to, create)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Directory and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn is_name(name: &str) -> bool {
    name != "." && name != ".."
}

fn scratch_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".odibi-{}-{count}.tmp", std::process::id())
}

fn meta_of(location: Path, stat: &rustix::fs::Stat) -> ObjectMeta {
    let seconds = stat.st_mtime;
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    ObjectMeta {
        location,
        last_modified: DateTime::<Utc>::from_timestamp(seconds, nanos).unwrap_or_default(),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        e_tag: Some(e_tag(stat)),
        version: None,
    }
}

fn e_tag(stat: &rustix::fs::Stat) -> String {
    let (inode, bytes) = (stat.st_ino, stat.st_size);
    format!(
        "{inode:x}-{bytes:x}-{:x}.{:x}",
        stat.st_mtime, stat.st_mtime_nsec
    )
}

fn fault(errno: Errno, location: &Path) -> Error {
    io_fault(errno.into(), location)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others have no counterpart"
)]
fn io_fault(error: io::Error, location: &Path) -> Error {
    let path = location.to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path,
            source: error.into(),
        },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists {
            path,
            source: error.into(),
        },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied {
            path,
            source: error.into(),
        },
        _ => generic(error.into()),
    }
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic {
        store: STORE,
        source,
    }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: STORE.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use futures::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    use super::*;

    fn store(dir: &std::path::Path) -> LocalDir {
        LocalDir::new(File::open(dir).unwrap().into())
    }

    fn names(objects: &[ObjectMeta]) -> Vec<&str> {
        objects.iter().map(|o| o.location.as_ref()).collect()
    }

    #[tokio::test]
    async fn one_of_two_creators_wins_and_no_trace_of_the_other_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let at = Path::from("log/0.json");
        let put = |text: &'static str, mode: PutMode| {
            let (store, at) = (store.clone(), at.clone());
            async move { store.put_opts(&at, text.into(), mode.into()).await }
        };
        put("a", PutMode::Create).await.unwrap();
        let second = put("b", PutMode::Create).await.unwrap_err();
        assert!(matches!(second, Error::AlreadyExists { .. }), "{second}");
        assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "a");
        put("cc", PutMode::Overwrite).await.unwrap();
        assert_eq!(store.get_range(&at, 1..9).await.unwrap(), "c");
        assert_eq!(fs::read_dir(dir.path().join("log")).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn parts_come_together_and_an_upload_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (whole, given_up) = (Path::from("p=ü %/whole"), Path::from("gone"));
        let mut upload = store.put_multipart(&whole).await.unwrap();
        let parts = [upload.put_part("one".into()), upload.put_part("two".into())];
        futures::future::try_join_all(parts).await.unwrap();
        assert!(store.head(&whole).await.is_err());
        upload.complete().await.unwrap();
        assert_eq!(
            store.get(&whole).await.unwrap().bytes().await.unwrap(),
            "onetwo"
        );
        let mut upload = store.put_multipart(&given_up).await.unwrap();
        upload.put_part("x".into()).await.unwrap();
        drop(upload);
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(names(&listed), [whole.as_ref()]);
        store.delete(&whole).await.unwrap();
        assert!(store.list(None).next().await.is_none());
    }

    #[tokio::test]
    async fn listings_are_sorted_by_their_whole_paths() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        for path in ["b", "a/z", "a.x", "a/b/c"] {
            store.put(&Path::from(path), "".into()).await.unwrap();
        }
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(names(&listed), ["a.x", "a/b/c", "a/z", "b"]);
        let top = store.list_with_delimiter(None).await.unwrap();
        assert_eq!(names(&top.objects), ["a.x", "b"]);
        assert_eq!(top.common_prefixes, [Path::from("a")]);
        let none = store.list(Some(&Path::from("nowhere"))).next().await;
        assert!(none.is_none());
    }

    #[tokio::test]
    async fn nothing_outside_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("t")).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        symlink("../secret", dir.path().join("t/link")).unwrap();
        symlink("..", dir.path().join("t/up")).unwrap();
        symlink("/etc", dir.path().join("t/etc")).unwrap();
        let store = store(&dir.path().join("t"));
        for path in ["link", "up/secret", "etc/passwd"] {
            let at = Path::from(path);
            assert!(store.get(&at).await.is_err(), "{path} was read");
            let put = store
                .put(&Path::from(format!("{path}/x")), "x".into())
                .await;
            assert!(put.is_err(), "{path} was written through");
        }
        assert!(store.resolve("../secret", OFlags::RDONLY).is_err());
        assert!(store.walk("../secret", OFlags::RDONLY).is_err());
        assert!(store.walk("up/secret", OFlags::RDONLY).is_err());
        assert!(store.list(None).next().await.is_none());
    }
}
