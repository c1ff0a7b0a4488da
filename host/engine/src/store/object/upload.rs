//! A file that is written to a scratch file of this machine, and then becomes an object in one request that matters.
//!
//! Small files are one PUT. Large ones are sent in parts that nobody sees, and the request that puts them together carries
//! what is expected of the object before. Every put carries a token of its own: after an answer was lost, the object tells
//! whether it is ours.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, UpdateVersion,
};
use odibi_plan::plan::ConnectionKind;
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use super::build::Condition;
use super::fault::Fault;
use super::pool::block;
use super::{Reach, version};
use crate::failure::{During, classify, internal};
use crate::limits::{CONDITIONAL_PUT_BYTES_MAX, PART_BYTES, PARTS_AT_ONCE, PARTS_MAX};
use crate::store::{Expect, Put, Stat, Upload, hidden_name, join, split};

/// Further tries of a put that expects something and of a removal, and the pause before the first of them.
const TRIES_MAX: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// Metadata that says which put an object comes from.
const TOKEN_KEY: &str = "odibiput";

/// A file that is being written for an object.
#[derive(Debug)]
pub(super) struct Scratch {
    reach: Arc<Reach>,
    path: String,
    shown: String,
    file: File,
    is_put: bool,
}

impl Scratch {
    pub(super) fn create(reach: &Arc<Reach>, path: &str) -> Result<Self, Failure> {
        // Refused now, and not when all is written.
        reach.key(path)?;
        let file = tempfile::tempfile_in(&reach.scratch_dir);
        Ok(Self {
            reach: Arc::clone(reach),
            path: path.to_owned(),
            shown: reach.shown(path),
            file: file.map_err(|e| classify(&e, During::Scratch))?,
            is_put: false,
        })
    }

    fn bytes(&self) -> Result<u64, Failure> {
        let meta = self.file.metadata();
        Ok(meta.map_err(|e| classify(&e, During::Scratch))?.len())
    }

    /// The way to the object that this store, this size and this expectation allow.
    fn send(&self, bytes: u64, expect: &Expect, token: &str) -> Result<Sent, Failure> {
        if bytes <= PART_BYTES {
            return self.put_at_once(expect, token);
        }
        let condition = match expect {
            Expect::Anything => {
                return self.put_parts(&self.path, Arc::clone(&self.reach.store), token);
            }
            Expect::Absent => Condition::Absent,
            Expect::Version(version) => Condition::Is(version.clone()),
        };
        if self.reach.completes_conditionally(&condition)? {
            let store = self
                .reach
                .recipe
                .build(Some(condition), &self.reach.scrub)?;
            return self.put_parts(&self.path, store, token);
        }
        match expect {
            _ if bytes <= CONDITIONAL_PUT_BYTES_MAX => self.put_at_once(expect, token),
            Expect::Absent if !matches!(self.reach.kind, ConnectionKind::S3(_)) => {
                self.put_copied(token)
            }
            Expect::Anything | Expect::Absent | Expect::Version(_) => Err(self.too_large(bytes)),
        }
    }

    fn too_large(&self, bytes: u64) -> Failure {
        let message = format!(
            "`{}` is too large to be replaced only if nobody else has changed it",
            self.shown
        );
        Failure::new(FailureClass::Limit, code::WRITE_FAILED, message)
            .of_limit("bytes", CONDITIONAL_PUT_BYTES_MAX, bytes)
            .hint("write a Delta table or a directory of files, which grow by files of their own")
    }

    fn put_at_once(&self, expect: &Expect, token: &str) -> Result<Sent, Failure> {
        let bytes = usize::try_from(self.bytes()?).unwrap_or(usize::MAX);
        let mut buffer = Vec::with_capacity(bytes);
        At(&self.file, 0)
            .read_to_end(&mut buffer)
            .map_err(|e| classify(&e, During::Scratch))?;
        let mode = match expect {
            Expect::Anything => PutMode::Overwrite,
            Expect::Absent => PutMode::Create,
            Expect::Version(expected) => match self.update(expected)? {
                Some(update) => PutMode::Update(update),
                None => return Ok(Err(Fault::Changed.into())),
            },
        };
        let options = PutOptions {
            mode,
            attributes: attributes(token),
            ..PutOptions::default()
        };
        let store = match expect {
            Expect::Anything => &self.reach.store,
            Expect::Absent | Expect::Version(_) => &self.reach.once,
        };
        let (store, key) = (Arc::clone(store), self.reach.key(&self.path)?);
        let payload = PutPayload::from(buffer);
        let put = block(async move { store.put_opts(&key, payload, options).await })?;
        Ok(put.map_err(Unsent::Store))
    }

    /// What the store wants to hear to replace that version only. Google knows versions by a number besides the ETag.
    fn update(&self, expected: &str) -> Result<Option<UpdateVersion>, Failure> {
        if !matches!(self.reach.kind, ConnectionKind::Gcs(_)) {
            return Ok(Some(UpdateVersion {
                e_tag: Some(expected.to_owned()),
                version: None,
            }));
        }
        let found = self.reach.head(&self.path)?;
        let same = found.filter(|(meta, _)| version(meta) == expected);
        Ok(same.map(|(meta, _)| UpdateVersion {
            e_tag: meta.e_tag,
            version: meta.version,
        }))
    }

    fn put_parts(
        &self,
        path: &str,
        store: Arc<dyn ObjectStore>,
        token: &str,
    ) -> Result<Sent, Failure> {
        let (key, file) = (self.reach.key(path)?, self.writer()?);
        send_parts(store, key, file, self.bytes()?, attributes(token))
    }

    /// In parts under a name of its own, then copied within the store.
    fn put_copied(&self, token: &str) -> Result<Sent, Failure> {
        let beside = join(split(&self.path).0, token);
        let sent = self.put_parts(&beside, Arc::clone(&self.reach.store), token)?;
        if sent.is_err() {
            return Ok(sent);
        }
        let store = Arc::clone(&self.reach.store);
        let (from, to) = (self.reach.key(&beside)?, self.reach.key(&self.path)?);
        let copied = block(async move {
            let copied = store.copy_if_not_exists(&from, &to).await;
            let _ = store.delete(&from).await;
            copied
        })?;
        if let Err(error) = copied {
            return Ok(Err(Unsent::Store(error)));
        }
        // A copy that goes on in the background is no commit.
        match self.reach.head(&self.path)? {
            Some((meta, _)) if meta.size == self.bytes()? => Ok(Ok(PutResult {
                e_tag: meta.e_tag,
                version: meta.version,
            })),
            Some(_) | None => {
                let message = format!("the store did not finish copying `{}`", self.shown);
                Err(Failure::new(
                    FailureClass::Transient,
                    code::WRITE_FAILED,
                    message,
                ))
            }
        }
    }

    fn done(&mut self, result: PutResult, bytes: u64, token: &str) -> Result<Put, Failure> {
        self.is_put = true;
        self.reach.proven.store(true, Ordering::Relaxed);
        match result.e_tag.or(result.version) {
            Some(version) => Ok(Put::Done(Stat {
                path: self.path.clone(),
                bytes,
                modified: None,
                version,
            })),
            None => self
                .is_ours(token)?
                .map(Put::Done)
                .ok_or_else(|| internal("an object is gone that was just put")),
        }
    }

    /// Is what the put expects still there, for certain? It has not been put then, by us or by others.
    fn is_as_before(&self, expect: &Expect) -> bool {
        match (expect, self.reach.head(&self.path)) {
            (Expect::Absent, Ok(found)) => found.is_none(),
            (Expect::Version(expected), Ok(Some((meta, _)))) => version(&meta) == *expected,
            // Such a put is tried again by its client.
            (Expect::Anything | Expect::Version(_), _) | (Expect::Absent, Err(_)) => false,
        }
    }

    /// After any answer but "done": is the object ours?
    fn is_ours(&self, token: &str) -> Result<Option<Stat>, Failure> {
        let Some((meta, attributes)) = self.reach.head(&self.path)? else {
            return Ok(None);
        };
        let found = attributes.get(&Attribute::Metadata(TOKEN_KEY.into()));
        let ours = found.is_some_and(|value| value.as_ref() == token);
        Ok(ours.then(|| self.reach.stat_of(self.path.clone(), &meta)))
    }
}

impl Upload for Scratch {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn writer(&self) -> Result<File, Failure> {
        let cloned = self.file.try_clone();
        cloned.map_err(|e| classify(&e, During::Scratch))
    }

    fn sync(&self) -> Result<FileFact, Failure> {
        Ok(FileFact {
            connection: self.reach.connection.clone(),
            path: self.path.clone(),
            bytes: self.bytes()?,
            modified: None,
            version: None,
        })
    }

    fn put(&mut self, expect: &Expect) -> Result<Put, Failure> {
        if self.is_put {
            return Err(internal("a file is put twice"));
        }
        let (bytes, token) = (self.bytes()?, hidden_name()?);
        let mut tries = 0;
        let error = loop {
            match self.send(bytes, expect, &token)? {
                Ok(result) => return self.done(result, bytes, &token),
                Err(Unsent::Changed) => return Ok(Put::Changed),
                Err(Unsent::Store(error)) => {
                    tries += 1;
                    let transient = Fault::of(&error) == Fault::Transient;
                    if !transient || tries > TRIES_MAX || !self.is_as_before(expect) {
                        break error;
                    }
                    pause(tries)?;
                }
            }
        };
        let fault = Fault::of(&error);
        let failure = match fault {
            Fault::Missing => super::fault::no_bucket(&self.reach.kind, &self.reach.connection),
            Fault::Denied
            | Fault::Changed
            | Fault::Transient
            | Fault::Unsupported
            | Fault::Refused => self.reach.failure(error, During::Write(&self.shown)),
        };
        // A try before the last one may have done it.
        match self.is_ours(&token) {
            Ok(Some(stat)) => {
                self.is_put = true;
                Ok(Put::Done(stat))
            }
            Ok(None) if fault == Fault::Changed && *expect != Expect::Anything => Ok(Put::Changed),
            Ok(None) => Err(failure),
            Err(_) if matches!(fault, Fault::Denied | Fault::Missing) => Err(failure),
            Err(unknown) => Err(failure
                .cause(unknown.message)
                .hint("whether the file was written is not known; the next run finds out")),
        }
    }

    fn is_put(&self) -> bool {
        self.is_put
    }

    fn revoke(self: Box<Self>) {
        if self.is_put {
            // What cannot be removed stays: it is a whole file, and the next attempt replaces it.
            let _ = self.reach.delete(&self.path);
        }
    }
}

/// Waits before the next try, the longer the more there were.
fn pause(tries: u32) -> Result<(), Failure> {
    block(async move { tokio::time::sleep(PAUSE * tries).await })
}

impl Reach {
    /// Removes an object; a lost answer is no reason to give up. Azure's client sends a POST, which it never repeats by
    /// itself.
    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        let key = self.key(path)?;
        let mut tries = 0;
        loop {
            let (store, key) = (Arc::clone(&self.store), key.clone());
            let Err(error) = block(async move { store.delete(&key).await })? else {
                return Ok(());
            };
            tries += 1;
            match Fault::of(&error) {
                Fault::Missing => return Ok(()),
                Fault::Transient if tries <= TRIES_MAX => {
                    pause(tries)?;
                }
                Fault::Denied
                | Fault::Changed
                | Fault::Transient
                | Fault::Unsupported
                | Fault::Refused => {
                    return Err(self.failure(error, During::Write(&self.shown(path))));
                }
            }
        }
    }
}

impl Reach {
    /// Does the store look at what the request demands that puts parts together? Only S3 is asked, with a small object of a
    /// name of its own: who does not know the demand would overlook it, and overwrite.
    fn completes_conditionally(&self, condition: &Condition) -> Result<bool, Failure> {
        if !matches!(self.kind, ConnectionKind::S3(_)) {
            return Ok(false);
        }
        let (known, demand) = match condition {
            Condition::Absent => (&self.completes_if_absent, Condition::Absent),
            Condition::Is(_) => (&self.completes_if_same, Condition::Is("\"0\"".to_owned())),
        };
        if let Some(known) = known.get() {
            return Ok(*known);
        }
        let path = hidden_name()?;
        let (store, key) = (Arc::clone(&self.store), self.key(&path)?);
        let first = {
            let key = key.clone();
            block(async move { store.put(&key, PutPayload::from_static(b"probe")).await })?
        };
        first.map_err(|error| self.failure(error, During::Write(&self.shown(&path))))?;
        let demanding = self.recipe.build(Some(demand), &self.scrub)?;
        let mut part =
            tempfile::tempfile_in(&self.scratch_dir).map_err(|e| classify(&e, During::Scratch))?;
        part.write_all(b"other")
            .map_err(|e| classify(&e, During::Scratch))?;
        let second = send_parts(demanding, key, part, 5, Attributes::new())?;
        let refused = matches!(&second, Err(Unsent::Store(e)) if Fault::of(e) == Fault::Changed);
        self.delete(&path)?;
        Ok(*known.get_or_init(|| refused))
    }
}

/// Sends a file in parts and puts them together.
fn send_parts(
    store: Arc<dyn ObjectStore>,
    key: Path,
    file: File,
    total: u64,
    attributes: Attributes,
) -> Result<Sent, Failure> {
    let part = PART_BYTES.max(total.div_ceil(PARTS_MAX));
    let options = PutMultipartOptions {
        attributes,
        ..PutMultipartOptions::default()
    };
    let sent = block(async move {
        let mut upload = store.put_multipart_opts(&key, options).await?;
        let result = async {
            let mut running = FuturesUnordered::new();
            let mut at = 0;
            while at < total {
                let length = usize::try_from(part.min(total - at)).unwrap_or(usize::MAX);
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, at).map_err(disk)?;
                running.push(upload.put_part(PutPayload::from(buffer)));
                at += length as u64;
                if running.len() >= PARTS_AT_ONCE
                    && let Some(done) = running.next().await
                {
                    done?;
                }
            }
            while let Some(done) = running.next().await {
                done?;
            }
            drop(running);
            upload.complete().await
        }
        .await;
        if result.is_err() {
            // Parts that nobody puts together cost storage. What cannot be removed, the store's own rules remove.
            let _ = upload.abort().await;
        }
        result
    })?;
    Ok(sent.map_err(Unsent::Store))
}

type Sent = Result<PutResult, Unsent>;

/// Why nothing was written, as far as it is known.
enum Unsent {
    /// Something else is there.
    Changed,
    Store(object_store::Error),
}

impl From<Fault> for Unsent {
    fn from(_: Fault) -> Self {
        Self::Changed
    }
}

/// Reads a file from a place on, whatever the position of its other handles.
struct At<'a>(&'a File, u64);

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read_at(buffer, self.1)?;
        self.1 += read as u64;
        Ok(read)
    }
}

fn disk(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "scratch",
        source: Box::new(error),
    }
}

fn attributes(token: &str) -> Attributes {
    let mut attributes = Attributes::new();
    let key = Attribute::Metadata(TOKEN_KEY.into());
    attributes.insert(key, token.to_owned().into());
    attributes
}
