//! An object that is read by ranges, all of one version, with a little read ahead.
//!
//! Each place that is read from in order has a segment of its own, which grows the longer the order holds. So the columns
//! of a Parquet file do not push each other out, and a CSV file is read in few requests.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use object_store::client::{HttpClient, HttpError, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, FailureCode, code};
use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use super::pool::block;
use super::{Reach, version};
use crate::failure::{During, changed_meanwhile, classify};
use crate::limits::{
    BLOB_CACHE_BYTES_MAX, READ_AHEAD_BYTES, READ_AHEAD_BYTES_MAX, WHOLE_FILE_BYTES_MAX,
};
use crate::store::{Blob, Stat, document_too_large};

/// Further tries to fetch a whole file, and the wait before the first of them, which doubles.
const RETRIES_MAX: u32 = 4;
const WAIT_FIRST: Duration = Duration::from_millis(100);

/// An open object.
#[derive(Debug)]
pub(super) struct RangeBlob {
    reach: Arc<Reach>,
    key: Path,
    shown: String,
    fact: FileFact,
    version: String,
    e_tag: Option<String>,
    segments: Mutex<Vec<Segment>>,
    /// The whole file, of a server that has no ranges.
    whole: OnceLock<File>,
}

/// Bytes that were read, the last used one at the end of the list.
#[derive(Debug)]
struct Segment {
    start: u64,
    bytes: Bytes,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl RangeBlob {
    pub(super) fn new(
        reach: &Arc<Reach>,
        path: &str,
        fact: FileFact,
        meta: &ObjectMeta,
    ) -> Result<Self, Failure> {
        Ok(Self {
            reach: Arc::clone(reach),
            key: reach.key(path)?,
            shown: reach.shown(path),
            fact,
            version: version(meta),
            // A weak one does not promise equal bytes, and no server compares by it.
            e_tag: meta.e_tag.clone().filter(|tag| !tag.starts_with("W/")),
            segments: Mutex::default(),
            whole: OnceLock::new(),
        })
    }

    /// Of a server that says nothing of a file without sending it.
    pub(super) fn whole(reach: &Arc<Reach>, path: &str) -> Result<Self, Failure> {
        let (file, head) = download(reach, path)?;
        let meta = file.metadata().map_err(|e| classify(&e, During::Scratch))?;
        let fact = FileFact {
            connection: reach.connection.clone(),
            path: path.to_owned(),
            bytes: meta.len(),
            modified: None,
            version: None,
        };
        Ok(Self {
            reach: Arc::clone(reach),
            key: reach.key(path)?,
            shown: reach.shown(path),
            version: head.e_tag.unwrap_or(head.digest),
            fact,
            e_tag: None,
            segments: Mutex::default(),
            whole: OnceLock::from(file),
        })
    }

    /// The segment that holds a place, read now if it is not held.
    fn segment(&self, offset: u64, wanted: usize) -> Result<(u64, Bytes), Failure> {
        let mut grown = READ_AHEAD_BYTES;
        {
            let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            let holds = |s: &Segment| s.start <= offset && offset < s.end();
            if let Some(at) = segments.iter().position(holds) {
                let segment = segments.remove(at);
                let found = (segment.start, segment.bytes.clone());
                segments.push(segment);
                return Ok(found);
            }
            // Whoever has read a segment to its end does not come back to it.
            if let Some(at) = segments.iter().position(|s| s.end() == offset) {
                let before = segments.remove(at);
                grown = (before.bytes.len() as u64 * 2).clamp(grown, READ_AHEAD_BYTES_MAX);
            }
        }
        let length = self.fact.bytes;
        let end = offset.saturating_add(grown.max(wanted as u64)).min(length);
        // Towards the end, from a little earlier on: a Parquet footer is read from its end.
        let start = offset.min(length.saturating_sub(READ_AHEAD_BYTES));
        let start = if end == length { start } else { offset };
        let bytes = self.fetch(start, end)?;
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held: usize = segments.iter().map(|s| s.bytes.len()).sum();
        while held + bytes.len() > BLOB_CACHE_BYTES_MAX && !segments.is_empty() {
            held -= segments.remove(0).bytes.len();
        }
        segments.push(Segment {
            start,
            bytes: bytes.clone(),
        });
        Ok((start, bytes))
    }

    fn fetch(&self, start: u64, end: u64) -> Result<Bytes, Failure> {
        let (store, key) = (Arc::clone(&self.reach.store), self.key.clone());
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..end)),
            if_match: self.e_tag.clone(),
            ..GetOptions::default()
        };
        let got = block(async move { store.get_opts(&key, options).await?.bytes().await })?;
        match got {
            Ok(bytes) if bytes.len() as u64 == end - start => Ok(bytes),
            Ok(_) => Err(changed_meanwhile(&self.shown)),
            Err(error) if Fault::of(&error) == Fault::Missing => {
                Err(changed_meanwhile(&self.shown))
            }
            Err(error) => Err(self.reach.failure(error, During::Read(&self.shown))),
        }
    }

    /// From a copy of the whole file, where ranges are not to be had.
    fn read_whole(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        let file = match self.whole.get() {
            Some(file) => file,
            None => {
                let (file, head) = download(&self.reach, &self.fact.path)?;
                let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
                let (before, now) = (self.e_tag.as_deref(), head.e_tag.as_deref());
                if before.zip(now).is_some_and(|(a, b)| opaque(a) != opaque(b)) {
                    return Err(changed_meanwhile(&self.shown));
                }
                self.whole.get_or_init(|| file)
            }
        };
        file.read_at(buffer, offset)
            .map_err(|e| classify(&e, During::Scratch))
    }
}

impl Blob for RangeBlob {
    fn fact(&self) -> &FileFact {
        &self.fact
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        if offset >= self.fact.bytes || buffer.is_empty() {
            return Ok(0);
        }
        if self.whole.get().is_some() {
            return self.read_whole(offset, buffer);
        }
        let (start, bytes) = match self.segment(offset, buffer.len()) {
            Err(failure) if self.reach.is_http() && failure.class == FailureClass::Denied => {
                // It has no ranges, then; or it has become forbidden, which the next request says.
                return self.read_whole(offset, buffer);
            }
            other => other?,
        };
        let from = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let found = bytes.get(from..).unwrap_or_default();
        let taken = found.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&found[..taken]);
        Ok(taken)
    }
}

/// A small object in one request.
pub(super) fn whole(
    reach: &Reach,
    path: &str,
    bytes_max: usize,
) -> Result<Option<(Bytes, Stat)>, Failure> {
    let (store, key) = (Arc::clone(&reach.store), reach.key(path)?);
    let got = block(async move {
        let found = store.get_opts(&key, GetOptions::default()).await?;
        let meta = found.meta.clone();
        if meta.size > bytes_max as u64 {
            return Ok((meta, None));
        }
        let bytes = found.bytes().await?;
        Ok::<_, object_store::Error>((meta, Some(bytes)))
    })?;
    let shown = reach.shown(path);
    match got {
        Ok((meta, Some(bytes))) => Ok(Some((bytes, reach.stat_of(path.to_owned(), &meta)))),
        Ok((_, None)) => Err(document_too_large(&shown)),
        Err(error) if Fault::of(&error) == Fault::Missing => {
            reach.prove()?;
            Ok(None)
        }
        Err(error) => Err(reach.failure(error, During::Read(&shown))),
    }
}

/// Fetches everything from a web server, into a file without a name.
fn download(reach: &Reach, path: &str) -> Result<(File, Head), Failure> {
    let shown = reach.shown(path);
    let (client, url) = reach.recipe.browser(path, &reach.scrub)?;
    let scratch = || {
        let file = tempfile::tempfile_in(&reach.scratch_dir);
        file.map_err(|e| classify(&e, During::Scratch))
    };
    let fault = |class, code: FailureCode, cause: &str| {
        let failure = Failure::new(class, code, format!("cannot read `{shown}`"));
        failure.cause(reach.scrub.clean_text(cause))
    };
    let mut tries = 0;
    loop {
        let file = scratch()?;
        let target = file
            .try_clone()
            .map_err(|e| classify(&e, During::Scratch))?;
        let got = block(get(client.clone(), url.clone(), target))?;
        tries += 1;
        let transient = match got {
            Ok(head) => return Ok((file, head)),
            Err(Got::Disk(error)) => return Err(classify(&error, During::Scratch)),
            Err(Got::TooLarge) => {
                let message = format!("`{shown}` is too large for a server that has no ranges");
                let failure = Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message);
                let max = WHOLE_FILE_BYTES_MAX;
                return Err(failure.of_limit("bytes", max, max + 1));
            }
            Err(Got::Status(404 | 410)) => {
                let message = format!("no such file: `{shown}`");
                let failure = Failure::new(FailureClass::Missing, code::READ_MISSING, message);
                return Err(failure);
            }
            Err(Got::Status(status @ (408 | 425 | 429 | 500..))) => format!("status {status}"),
            Err(Got::Status(status)) => {
                let cause = format!("the server answered with status {status}");
                return Err(fault(FailureClass::Denied, code::READ_DENIED, &cause)
                    .hint("check `auth` and `headers` of the connection"));
            }
            Err(Got::Http(error)) => format!("{error}"),
        };
        if tries > RETRIES_MAX {
            return Err(fault(
                FailureClass::Transient,
                code::READ_FAILED,
                &transient,
            ));
        }
        let wait = WAIT_FIRST * 2_u32.pow(tries - 1);
        block(async move { tokio::time::sleep(wait).await })?;
    }
}

/// What a server says of a file.
struct Head {
    e_tag: Option<String>,
    /// Of all its bytes, hex: some servers say nothing else that tells versions apart.
    digest: String,
}

/// How a download can fail.
enum Got {
    Status(u16),
    Http(HttpError),
    Disk(std::io::Error),
    TooLarge,
}

async fn get(client: HttpClient, url: String, mut target: File) -> Result<Head, Got> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    let odd = std::io::ErrorKind::InvalidInput;
    *request.uri_mut() = url.parse().map_err(|_| Got::Disk(odd.into()))?;
    let answer = client.execute(request).await.map_err(Got::Http)?;
    if !answer.status().is_success() {
        return Err(Got::Status(answer.status().as_u16()));
    }
    let e_tag = answer
        .headers()
        .get("etag")
        .and_then(|tag| tag.to_str().ok());
    let e_tag = e_tag.map(str::to_owned);
    let mut stream = answer.into_body().bytes_stream();
    let (mut total, mut hash) = (0_u64, Sha256::new());
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(Got::Http)?;
        total += bytes.len() as u64;
        if total > WHOLE_FILE_BYTES_MAX {
            return Err(Got::TooLarge);
        }
        hash.update(&bytes);
        target.write_all(&bytes).map_err(Got::Disk)?;
    }
    let digest = hash.finalize();
    let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Head { e_tag, digest })
}
