//! A target that is a directory of part files.
//!
//! Rows that are only added come as one more file, whose name tells the batch. Anything else makes the whole directory
//! anew beside it, and swaps the two. `_odibi/log` in it names the batches that files do not name any more; readers leave
//! names with `_` alone.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use odibi_plan::plan::{WriteFormat, WriteMode};
use odibi_run::port::BatchRecord;
use odibi_story::event::{FileFact, WriteEffect, WriteFact};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::{Value, json};

use super::file::fill;
use super::merge::{Counts, Workspace};
use super::rows::{RowFormat, unreadable};
use super::settle::{Settled, Verdict, settle};
use super::{BATCHES_NAMED_MAX, Ready, Rows, TRIES_MAX, conflict, copy, short};
use crate::failure::{During, classify, internal};
use crate::store::blob::BlobReader;
use crate::store::{Blob, Expect, Put, Store, join};

/// Version of the entries in `_odibi/log`.
const FORMAT_VERSION: u64 = 1;
const LOG_DIR: &str = "_odibi/log";
/// Bytes of an entry that are read: it is small.
const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Publishes.
pub(super) fn publish(ready: &mut Ready) -> Result<(FileFact, WriteFact), Failure> {
    let cancel = ready.cancel.clone();
    let stop = move || cancel.is_cancelled();
    let store = Arc::clone(&ready.target.store);
    let dir = ready.target.path.clone();
    let shown = ready.target.shown();
    for _ in 0..TRIES_MAX {
        let _lock = store.lock(&dir, &stop)?;
        // What is left is no reason not to write.
        let _ = store.sweep_generations(&dir);
        let seen = Seen::new(store.as_ref(), &dir, &shown)?;
        let target = ready.target.id();
        let ask = |record: &BatchRecord| {
            Ok(if seen.holds(&record.batch) {
                Verdict::There
            } else {
                Verdict::Absent
            })
        };
        let log = Arc::clone(&ready.log);
        let settled = settle(
            log.as_ref(),
            &target,
            &ready.batch,
            &shown,
            |_| Ok(seen.batches.len() >= BATCHES_NAMED_MAX),
            ask,
        )?;
        let overwrites = ready.target.write.mode == WriteMode::Overwrite;
        let settled = match settled {
            Some(settled) if overwrites || !seen.holds(&ready.batch) => settled,
            None if overwrites => Settled::default(),
            Some(_) | None => {
                let mut fact = ready.fact(WriteEffect::AlreadyApplied, Counts::default());
                fact.version_before = seen.version();
                fact.version_after = seen.version();
                fact.evidence = Some(seen.proof(ready));
                return Ok((file_fact(ready, 0), fact));
            }
        };
        let work = ready.workspace(&stop);
        let adds = match &ready.target.write.mode {
            WriteMode::Append | WriteMode::AppendOnce(None) => true,
            WriteMode::Overwrite | WriteMode::AppendOnce(Some(_)) | WriteMode::Upsert(_) => false,
        };
        let done = if adds {
            add(ready, &seen, &shown, &work)?
        } else {
            anew(ready, &seen, &shown, &work)?
        };
        let Some((counts, bytes)) = done else {
            continue;
        };
        ready.committed();
        settled.note(ready.log.as_ref(), &target, &ready.batch);
        let effect = if ready.appeared {
            WriteEffect::Published
        } else {
            WriteEffect::Unchanged
        };
        let mut fact = ready.fact(effect, counts);
        if ready.appeared {
            fact.files_added = 1;
            fact.files_removed = if adds { 0 } else { seen.data.len() as u64 };
        }
        fact.version_before = seen.version();
        let now = Seen::new(store.as_ref(), &dir, &shown)?;
        fact.version_after = now.version();
        fact.evidence = now.holds(&ready.batch).then(|| now.proof(ready));
        return Ok((file_fact(ready, bytes), fact));
    }
    Err(conflict(&shown))
}

/// One more file. `None`: somebody was faster.
fn add(
    ready: &mut Ready,
    seen: &Seen,
    shown: &str,
    work: &Workspace<'_>,
) -> Result<Option<(Counts, u64)>, Failure> {
    let format = row_format(ready)?;
    if let Some(blob) = seen.newest(ready.target.store.as_ref())? {
        let Rows::Batch(file) = &ready.rows else {
            return Err(internal("a directory is written without a batch"));
        };
        // Only for what it checks.
        format.existing(&[blob], &ready.batch_of(file), shown, work.stop)?;
    }
    let path = join(&ready.target.path, &part_name(ready));
    let mut upload = ready.target.store.create_swept(&path, "part")?;
    copy(batch_file(ready)?, &mut upload.writer()?, shown)?;
    let bytes = upload.sync()?.bytes;
    ready
        .log
        .staged(&ready.record(short(&ready.batch).to_owned()))?;
    let put = upload.put(&Expect::Absent);
    ready.appeared |= upload.is_put();
    Ok(match put? {
        Put::Done(_) => {
            ready.appeared = true;
            let inserted = ready.rows_count;
            Some((
                Counts {
                    inserted,
                    ..Counts::default()
                },
                bytes,
            ))
        }
        Put::Changed => None,
    })
}

/// The directory anew.
fn anew(
    ready: &mut Ready,
    seen: &Seen,
    shown: &str,
    work: &Workspace<'_>,
) -> Result<Option<(Counts, u64)>, Failure> {
    let overwrites = ready.target.write.mode == WriteMode::Overwrite;
    let extension = extension(&ready.target.write.format);
    if let Some(other) = seen.data.iter().find(|path| !path.ends_with(&extension)) {
        let what = format!("`{shown}` holds a file that is no `{extension}`: `{other}`");
        return Err(Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, what)
            .hint("write to a directory of its own, or move that file: all of the directory is replaced"));
    }
    let store = Arc::clone(&ready.target.store);
    let mut generation = store.generation(&ready.target.path)?;
    let mut part = generation.file(&part_name(ready))?;
    let counts = if overwrites {
        copy(batch_file(ready)?, &mut part, shown)?;
        Counts {
            inserted: ready.rows_count,
            ..Counts::default()
        }
    } else {
        let format = row_format(ready)?;
        let mut blobs: Vec<Arc<dyn Blob>> = Vec::with_capacity(seen.data.len());
        for path in &seen.data {
            blobs.push(store.open(&join(&ready.target.path, path))?);
        }
        let batch = ready.batch_of(batch_file(ready)?);
        let mut existing = match blobs.is_empty() {
            true => None,
            false => Some(format.existing(&blobs, &batch, shown, work.stop)?),
        };
        let notes = [short(&ready.batch).to_owned()];
        let out = part
            .try_clone()
            .map_err(|e| classify(&e, During::Write(shown)))?;
        fill(ready, &format, existing.as_mut(), out, &notes, shown, work)?
    };
    ready
        .log
        .staged(&ready.record(short(&ready.batch).to_owned()))?;
    if counts.is_nothing() && seen.exists && !overwrites {
        return Ok(Some((counts, 0)));
    }
    let mut batches = if overwrites {
        Vec::new()
    } else {
        seen.batches.clone()
    };
    batches.push(short(&ready.batch).to_owned());
    let from = batches.len().saturating_sub(BATCHES_NAMED_MAX);
    let entry = json!({
        "format_version": FORMAT_VERSION,
        "mode": ready.target.write.mode.word(),
        "run_id": ready.run_id,
        "batches": batches[from..],
    });
    let path = format!("{LOG_DIR}/{:020}.json", seen.number + 1);
    let mut log = generation.file(&path)?;
    let written = log.write_all(format!("{entry}\n").as_bytes());
    written.map_err(|e| classify(&e, During::Write(shown)))?;
    if !overwrites {
        for path in &seen.hidden {
            generation.keep(path)?;
        }
    }
    let bytes = part.metadata().map_or(0, |meta| meta.len());
    let put = generation.put();
    ready.appeared |= generation.is_put();
    put?;
    Ok(Some((counts, bytes)))
}

fn row_format(ready: &Ready) -> Result<RowFormat, Failure> {
    RowFormat::of(&ready.target.write.format)
        .ok_or_else(|| internal("a format without rows was planned"))
}

fn batch_file(ready: &Ready) -> Result<&File, Failure> {
    match &ready.rows {
        Rows::Batch(file) => Ok(file),
        Rows::Whole(_) | Rows::Gone => Err(internal("a directory is written without a batch")),
    }
}

fn part_name(ready: &Ready) -> String {
    let extension = extension(&ready.target.write.format);
    format!("part-{}-0{extension}", short(&ready.batch))
}

fn extension(format: &WriteFormat) -> String {
    format!(".{}", format.extension())
}

fn file_fact(ready: &Ready, bytes: u64) -> FileFact {
    FileFact {
        connection: ready.target.store.connection().to_owned(),
        path: format!("{}/", ready.target.path),
        bytes,
        modified: None,
        version: None,
    }
}

/// What is in the directory. Paths are below it.
struct Seen {
    dir: String,
    exists: bool,
    data: Vec<String>,
    /// Other files that readers leave alone.
    hidden: Vec<String>,
    batches: Vec<String>,
    /// Of the newest entry in the log.
    number: u64,
}

impl Seen {
    fn new(store: &dyn Store, dir: &str, shown: &str) -> Result<Self, Failure> {
        let exists = match store.stat(dir) {
            Ok(None) => false,
            Ok(Some(_)) => {
                let what = format!("`{shown}` is a file and not a directory");
                return Err(
                    Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, what)
                        .hint("remove the `/` at the end of `path`, or move the file"),
                );
            }
            // What a directory answers; anything else comes again below.
            Err(failure) if failure.code == code::READ_BAD_FILE.name => true,
            Err(failure) => return Err(failure),
        };
        let mut seen = Self {
            dir: dir.to_owned(),
            exists,
            data: Vec::new(),
            hidden: Vec::new(),
            batches: Vec::new(),
            number: 0,
        };
        let mut newest = None;
        for stat in store.list(dir)? {
            let path = stat.path[dir.len()..].trim_start_matches('/').to_owned();
            if let Some(name) = path.strip_prefix(LOG_DIR) {
                let number = name
                    .trim_start_matches('/')
                    .trim_end_matches(".json")
                    .parse();
                let number: u64 = number
                    .map_err(|_| unreadable(shown, "its log holds a file with another name"))?;
                seen.number = seen.number.max(number);
                newest = Some(stat.path);
            } else if path.starts_with("_odibi/") {
            } else if path.split('/').any(|part| part.starts_with(['_', '.'])) {
                seen.hidden.push(path);
            } else if path.contains('/') {
                let what = format!("it holds directories, for example `{path}`");
                return Err(unreadable(shown, &what));
            } else {
                let id = path
                    .strip_prefix("part-")
                    .and_then(|rest| rest.split_once('-'));
                seen.batches.extend(id.map(|(id, _)| id.to_owned()));
                seen.data.push(path);
            }
        }
        if let Some(newest) = newest {
            seen.batches.splice(0..0, entry(store, &newest, shown)?);
        }
        let mut named = std::collections::HashSet::new();
        seen.batches.retain(|batch| named.insert(batch.clone()));
        Ok(seen)
    }

    /// What shows that a batch is there that it holds.
    fn proof(&self, ready: &Ready) -> String {
        let part = part_name(ready);
        if self.data.contains(&part) {
            format!("file {part}")
        } else {
            format!("log {LOG_DIR} {}", short(&ready.batch))
        }
    }

    fn holds(&self, batch: &str) -> bool {
        self.batches.iter().any(|named| named == short(batch))
    }

    /// Entries of the log and files.
    fn version(&self) -> Option<String> {
        self.exists
            .then(|| format!("{}-{}", self.number, self.data.len()))
    }

    fn newest(&self, store: &dyn Store) -> Result<Option<Arc<dyn Blob>>, Failure> {
        let last = self.data.last();
        last.map(|path| store.open(&join(&self.dir, path)))
            .transpose()
    }
}

/// Batches that an entry of the log names.
fn entry(store: &dyn Store, path: &str, shown: &str) -> Result<Vec<String>, Failure> {
    let blob = store.open(path)?;
    let mut bytes = Vec::new();
    let limit = ENTRY_BYTES_MAX as u64;
    let read = std::io::Read::read_to_end(
        &mut std::io::Read::take(BlobReader::new(blob), limit),
        &mut bytes,
    );
    read.map_err(|e| classify(&e, During::Read(shown)))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|e| unreadable(shown, "its log is damaged").cause(e.to_string()))?;
    if value["format_version"]
        .as_u64()
        .is_none_or(|v| v > FORMAT_VERSION)
    {
        return Err(unreadable(shown, "its log is of a newer odibi"));
    }
    let batches = value["batches"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(batches
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}
