//! A bucket, a container or a web server as a [`Store`], through the crate `object_store`.
//!
//! Such a store has no directories, no locks and no renames: a path is the key of an object, a write is one request, and
//! what it expects of the object before it goes with that request.

mod blob;
mod build;
mod fault;
mod pool;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectMeta, ObjectStore};
use odibi_plan::plan::{Connection, ConnectionKind};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use self::blob::RangeBlob;
use self::build::Recipe;
use self::fault::{Fault, Scrub};
use self::pool::block;
use self::upload::Scratch;
use super::local::{is_hidden, not_utf8};
use super::{Blob, Child, ChildKind, Lock, Stat, Store, Upload, join, with_nearest};
use crate::driver;
use crate::failure::During;
use crate::limits::LIST_FILES_MAX;
use crate::read::Stop;

/// Metadata of an object that stands for a directory, in a data lake with a hierarchical namespace.
const DIRECTORY_MARK: &str = "hdi_isfolder";

/// A connection to objects.
#[derive(Debug)]
pub(crate) struct ObjectFiles {
    reach: Arc<Reach>,
}

/// What all parts of a connection share.
pub(super) struct Reach {
    connection: String,
    kind: ConnectionKind,
    /// As messages show it.
    root: String,
    /// Directory that all paths begin at; may be empty.
    prefix: String,
    store: Arc<dyn ObjectStore>,
    /// The same, for requests that must not be tried again unseen.
    once: Arc<dyn ObjectStore>,
    recipe: Recipe,
    scratch_dir: PathBuf,
    scrub: Scrub,
    /// The bucket was seen. Until then "not found" may mean the bucket.
    proven: AtomicBool,
    /// Parts are put together only if nothing is there, and only over the right version: see `upload`.
    completes_if_absent: OnceLock<bool>,
    completes_if_same: OnceLock<bool>,
}

/// The clients under it would show credentials.
impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Reach");
        shown.field("connection", &self.connection);
        shown.field("root", &self.root).finish_non_exhaustive()
    }
}

impl ObjectFiles {
    /// Makes the clients. Nothing is asked of the store yet.
    pub(crate) fn open(
        connection: &Connection,
        project_dir: PathBuf,
        scratch_dir: PathBuf,
    ) -> Result<Self, Failure> {
        let recipe = Recipe::new(connection, project_dir);
        let scrub = Scrub::of(&connection.kind);
        let store = recipe.build(None, &scrub)?;
        let once = recipe.once().build(None, &scrub)?;
        Ok(Self {
            reach: Arc::new(Reach {
                connection: connection.name.clone(),
                kind: connection.kind.clone(),
                root: connection.kind.root(),
                prefix: prefix(&connection.kind).to_owned(),
                store,
                once,
                recipe,
                scratch_dir,
                scrub,
                proven: AtomicBool::new(false),
                completes_if_absent: OnceLock::new(),
                completes_if_same: OnceLock::new(),
            }),
        })
    }

    fn reads_only(&self) -> Result<(), Failure> {
        if !self.reach.is_http() {
            return Ok(());
        }
        let message = format!(
            "connection `{}` is a web server and can only be read",
            self.reach.connection
        );
        Err(
            Failure::new(FailureClass::Denied, code::WRITE_DENIED, message)
                .hint("write to a connection of another type"),
        )
    }

    fn has_lists(&self, dir: &str) -> Result<(), Failure> {
        if !self.reach.is_http() {
            return Ok(());
        }
        let message = format!(
            "a web server does not tell which files it has: `{}`",
            self.shown(dir)
        );
        Err(
            Failure::new(FailureClass::Denied, code::READ_DENIED, message)
                .hint("name one file in `path`, without wildcards"),
        )
    }
}

impl Reach {
    fn is_http(&self) -> bool {
        matches!(self.kind, ConnectionKind::Http(_))
    }

    fn shown(&self, path: &str) -> String {
        if path.is_empty() {
            self.root.clone()
        } else {
            format!("{}/{path}", self.root)
        }
    }

    /// The key of a path.
    fn key(&self, path: &str) -> Result<Path, Failure> {
        let refused = |cause: String| {
            let message = format!("no object can have this path: `{}`", self.shown(path));
            Failure::new(FailureClass::Denied, code::READ_DENIED, message).cause(cause)
        };
        // Some servers take it for a slash: `..` behind one would lead out of the prefix.
        if path.contains('\\') {
            return Err(refused("it holds a backslash".to_owned()));
        }
        Path::parse(join(&self.prefix, path)).map_err(|error| refused(error.to_string()))
    }

    /// The key that all paths below a directory begin with; `None` for the root of the bucket.
    fn dir_key(&self, dir: &str) -> Result<Option<Path>, Failure> {
        let key = self.key(dir)?;
        Ok((!key.as_ref().is_empty()).then_some(key))
    }

    /// The path of a key.
    fn path(&self, key: &Path) -> Option<String> {
        let rest = key.as_ref().strip_prefix(&self.prefix)?;
        if self.prefix.is_empty() {
            return Some(rest.to_owned());
        }
        rest.strip_prefix('/').map(str::to_owned)
    }

    fn failure(&self, error: object_store::Error, during: During<'_>) -> Failure {
        Fault::of(&error).failure(&error, during, &self.scrub)
    }

    /// What is known of an object. `None` only where the bucket is there and the object is not.
    fn head(&self, path: &str) -> Result<Option<(ObjectMeta, Attributes)>, Failure> {
        match self.ask(path)? {
            Ok(found) => Ok(Some(found)),
            Err(error) if Fault::of(&error) == Fault::Missing => {
                self.prove()?;
                Ok(None)
            }
            Err(error) => Err(self.failure(error, During::Read(&self.shown(path)))),
        }
    }

    /// One HEAD request.
    #[allow(
        clippy::type_complexity,
        reason = "the outer failure is ours, the inner one the store's"
    )]
    fn ask(
        &self,
        path: &str,
    ) -> Result<Result<(ObjectMeta, Attributes), object_store::Error>, Failure> {
        let (store, key) = (Arc::clone(&self.store), self.key(path)?);
        let asked = block(async move {
            let options = GetOptions {
                head: true,
                ..GetOptions::default()
            };
            let found = store.get_opts(&key, options).await?;
            Ok((found.meta, found.attributes))
        })?;
        if asked.is_ok() {
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(asked)
    }

    /// Makes sure that the bucket is there, by a list of it.
    fn prove(&self) -> Result<(), Failure> {
        if self.is_http() || self.proven.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (store, key) = (Arc::clone(&self.store), self.dir_key("")?);
        let listed = block(async move { store.list(key.as_ref()).try_next().await.map(|_| ()) })?;
        match listed {
            Ok(()) => {
                self.proven.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if Fault::of(&error) == Fault::Missing => {
                Err(fault::no_bucket(&self.kind, &self.connection))
            }
            // Who may not list is told 403 for an object that is not there, and 404 only with the right to know.
            Err(error) if Fault::of(&error) == Fault::Denied => Ok(()),
            Err(error) => Err(self.failure(error, During::Read(&self.root))),
        }
    }

    fn stat_of(&self, path: String, meta: &ObjectMeta) -> Stat {
        Stat {
            path,
            bytes: meta.size,
            modified: modified(meta),
            version: version(meta),
        }
    }
}

impl Store for ObjectFiles {
    fn connection(&self) -> &str {
        &self.reach.connection
    }

    fn shown(&self, path: &str) -> String {
        self.reach.shown(path)
    }

    fn reach(&self) -> Result<driver::Reach, Failure> {
        self.has_lists("")?;
        let (store, prefix) = (Arc::clone(&self.reach.store), self.reach.prefix.clone());
        Ok(driver::Reach::Objects(store, prefix))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn Blob>, Failure> {
        let reach = &self.reach;
        let shown = reach.shown(path);
        let meta = match reach.ask(path)? {
            Ok((_, attributes)) if is_directory(&attributes) => {
                let message = format!("`{shown}` is a directory");
                return Err(
                    Failure::new(FailureClass::Data, code::READ_BAD_FILE, message)
                        .hint(format!("name its files, for example `{shown}/*`")),
                );
            }
            Ok((meta, _)) => meta,
            // A web server need not answer HEAD, and need not say how long a file is.
            Err(error) if reach.is_http() => match Fault::of(&error) {
                Fault::Missing | Fault::Refused | Fault::Unsupported => {
                    let hint = "check `path`, and `base_url` of the connection";
                    let opened = RangeBlob::whole(reach, path);
                    return Ok(Arc::new(opened.map_err(|failure| failure.hint(hint))?));
                }
                Fault::Denied | Fault::Changed | Fault::Transient => {
                    return Err(reach.failure(error, During::Read(&shown)));
                }
            },
            Err(error) if Fault::of(&error) == Fault::Missing => {
                reach.prove()?;
                let message = format!("no such file: `{shown}`");
                let failure = Failure::new(FailureClass::Missing, code::READ_MISSING, message);
                return Err(with_nearest(self, failure, path));
            }
            Err(error) => return Err(reach.failure(error, During::Read(&shown))),
        };
        let fact = FileFact {
            connection: reach.connection.clone(),
            path: path.to_owned(),
            bytes: meta.size,
            modified: modified(&meta),
            version: None,
        };
        Ok(Arc::new(RangeBlob::new(reach, path, fact, &meta)?))
    }

    fn whole(&self, path: &str, bytes_max: usize) -> Result<Option<(Bytes, Stat)>, Failure> {
        blob::whole(&self.reach, path, bytes_max)
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>, Failure> {
        if self.reach.is_http() {
            return match self.open(path) {
                Ok(blob) => Ok(Some(Stat {
                    path: path.to_owned(),
                    bytes: blob.len(),
                    modified: blob.fact().modified,
                    version: blob.version().to_owned(),
                })),
                Err(failure) if failure.code == code::READ_MISSING.name => Ok(None),
                Err(failure) => Err(failure),
            };
        }
        let found = self.reach.head(path)?;
        let file = found.filter(|(_, attributes)| !is_directory(attributes));
        Ok(file.map(|(meta, _)| self.reach.stat_of(path.to_owned(), &meta)))
    }

    fn list(&self, dir: &str) -> Result<Vec<Stat>, Failure> {
        self.has_lists(dir)?;
        let (store, key) = (Arc::clone(&self.reach.store), self.reach.dir_key(dir)?);
        let listed = block(async move {
            let mut stream = store.list(key.as_ref());
            let mut found = Vec::new();
            while let Some(meta) = stream.try_next().await? {
                found.push(meta);
                if found.len() > LIST_FILES_MAX {
                    break;
                }
            }
            Ok(found)
        })?;
        let shown = self.shown(dir);
        let listed: Vec<ObjectMeta> = match listed {
            Ok(listed) => listed,
            Err(error) if Fault::of(&error) == Fault::Missing => {
                return Err(fault::no_bucket(&self.reach.kind, &self.reach.connection));
            }
            Err(error) => return Err(self.reach.failure(error, During::Read(&shown))),
        };
        if listed.len() > LIST_FILES_MAX {
            let message = format!("`{shown}` holds too many files");
            return Err(
                Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message).of_limit(
                    "files",
                    LIST_FILES_MAX as u64,
                    listed.len() as u64,
                ),
            );
        }
        self.reach.proven.store(true, Ordering::Relaxed);
        let paths = listed.iter().filter_map(|meta| {
            let path = self.reach.path(&meta.location)?;
            let name = path.rsplit('/').next().unwrap_or_default();
            (!is_hidden(name)).then(|| self.reach.stat_of(path.clone(), meta))
        });
        let mut found: Vec<Stat> = paths.collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        self.without_markers(found)
    }

    fn children(&self, dir: &str) -> Result<Vec<Child>, Failure> {
        self.has_lists(dir)?;
        let (store, key) = (Arc::clone(&self.reach.store), self.reach.dir_key(dir)?);
        let listed = block(async move { store.list_with_delimiter(key.as_ref()).await })?;
        let shown = self.shown(dir);
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) if Fault::of(&error) == Fault::Missing => {
                return Err(fault::no_bucket(&self.reach.kind, &self.reach.connection));
            }
            Err(error) => return Err(self.reach.failure(error, During::Read(&shown))),
        };
        self.reach.proven.store(true, Ordering::Relaxed);
        let child = |key: &Path, kind| {
            let name = key.filename()?;
            (!is_hidden(name)).then(|| Child {
                name: name.to_owned(),
                kind,
            })
        };
        let dirs = listed.common_prefixes.iter();
        let mut found: Vec<Child> = dirs.filter_map(|key| child(key, ChildKind::Dir)).collect();
        for meta in &listed.objects {
            // The marker of a directory that has files.
            let is_marker = meta.size == 0 && listed.common_prefixes.contains(&meta.location);
            if !is_marker {
                found.extend(child(&meta.location, ChildKind::File));
            }
        }
        found.sort();
        match found.iter().find(|child| child.name.contains('\u{fffd}')) {
            Some(odd) => Err(not_utf8(&self.shown(&join(dir, &odd.name)))),
            None => Ok(found),
        }
    }

    fn lock(&self, _: &str, _: Stop<'_>) -> Result<Lock, Failure> {
        Ok(Lock { _held: None })
    }

    fn create_swept(&self, path: &str, _: &str) -> Result<Box<dyn Upload>, Failure> {
        self.reads_only()?;
        Ok(Box::new(Scratch::create(&self.reach, path)?))
    }

    fn check(&self) -> Result<(), Failure> {
        let reach = &self.reach;
        if reach.is_http() {
            // Few servers have anything at the root; who answers at all, and lets us in, is well.
            return match reach.ask("")? {
                Err(error) if matches!(Fault::of(&error), Fault::Denied | Fault::Transient) => {
                    Err(reach.failure(error, During::Read(&reach.root)))
                }
                Ok(_) | Err(_) => Ok(()),
            };
        }
        let (store, key) = (Arc::clone(&reach.store), reach.dir_key("")?);
        let listed = block(async move { store.list(key.as_ref()).try_next().await.map(|_| ()) })?;
        match listed {
            Ok(()) => Ok(()),
            Err(error) if Fault::of(&error) == Fault::Missing => {
                Err(fault::no_bucket(&reach.kind, &reach.connection))
            }
            Err(error) => Err(reach.failure(error, During::Read(&reach.root))),
        }
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        self.reads_only()?;
        self.reach.delete(path)
    }
}

impl ObjectFiles {
    /// Leaves out objects without bytes that stand for directories. Where a name alone does not tell, asks.
    fn without_markers(&self, found: Vec<Stat>) -> Result<Vec<Stat>, Failure> {
        let mut files: Vec<Stat> = Vec::with_capacity(found.len());
        let paths: Vec<String> = found.iter().map(|stat| stat.path.clone()).collect();
        for stat in found {
            if stat.bytes > 0 {
                files.push(stat);
                continue;
            }
            let below = format!("{}/", stat.path);
            let at = paths.partition_point(|path| path.as_str() < below.as_str());
            let has_files = paths.get(at).is_some_and(|path| path.starts_with(&below));
            // An empty file that is meant to be one has its key without a slash behind it.
            if !has_files && self.stat(&stat.path)?.is_some() {
                files.push(stat);
            }
        }
        Ok(files)
    }
}

fn prefix(kind: &ConnectionKind) -> &str {
    match kind {
        ConnectionKind::Azure(azure) => &azure.path_prefix,
        ConnectionKind::S3(s3) => &s3.path_prefix,
        ConnectionKind::Gcs(gcs) => &gcs.path_prefix,
        ConnectionKind::Http(_) | ConnectionKind::Local { .. } => "",
    }
}

fn is_directory(attributes: &Attributes) -> bool {
    let mark = attributes.get(&Attribute::Metadata(DIRECTORY_MARK.into()));
    mark.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// When an object was written; a server that does not tell leaves the beginning of time.
fn modified(meta: &ObjectMeta) -> Option<Timestamp> {
    let nanos = meta.last_modified.timestamp_nanos_opt()?;
    let time = Timestamp::from_nanosecond(i128::from(nanos)).ok()?;
    (time != Timestamp::UNIX_EPOCH).then_some(time)
}

fn version(meta: &ObjectMeta) -> String {
    let known = meta.e_tag.clone().or_else(|| meta.version.clone());
    known.unwrap_or_else(|| format!("{}-{}", meta.size, meta.last_modified.timestamp()))
}
