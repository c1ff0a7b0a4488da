//! A target that is a directory of part files, or of directories of them, one for each partition.
//!
//! Rows that are only added come as one more file, whose name tells the batch. Anything else makes the whole directory
//! anew beside it, and swaps the two; files that stay as they are become links. `_odibi/log` in it names the batches that
//! files do not name any more; readers leave names with `_` alone.

mod anew;
mod seen;

use std::sync::Arc;

use arrow_schema::SchemaRef;
use odibi_plan::plan::{WriteFormat, WriteMode};
use odibi_run::port::BatchRecord;
use odibi_story::event::{FileFact, WriteEffect, WriteFact};
use odibi_story::failure::Failure;

use self::anew::anew;
use self::seen::Seen;
use super::merge::{Counts, Workspace};
use super::rows::RowFormat;
use super::settle::{Settled, Verdict, settle};
use super::source::Source;
use super::{BATCHES_NAMED_MAX, Ready, Rows, TRIES_MAX, Target, conflict, copy, short};
use crate::failure::internal;
use crate::store::{Expect, Put, join};

/// Version of the entries in `_odibi/log`.
const FORMAT_VERSION: u64 = 1;
const LOG_DIR: &str = "_odibi/log";

/// What was done.
struct Done {
    counts: Counts,
    bytes: u64,
    files_added: u64,
    files_removed: u64,
}

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
        let seen = Seen::new(&ready.target)?;
        let target = ready.target.id().to_owned();
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
                let effect = if ready.appeared {
                    WriteEffect::Published
                } else {
                    WriteEffect::AlreadyApplied
                };
                let mut fact = ready.fact(effect, Counts::default());
                fact.version_before = seen.version();
                fact.version_after = seen.version();
                fact.evidence = Some(seen.proof(ready));
                return Ok((file_fact(ready, 0), fact));
            }
        };
        let work = ready.workspace(&stop);
        let done = match how(ready, &seen, &work)? {
            How::Add => add(ready, &seen, &shown, &work)?,
            How::Anew { rewrites } => anew(ready, &seen, rewrites, &work).map(Some)?,
        };
        let Some(done) = done else {
            continue;
        };
        ready.committed();
        settled.note(ready.log.as_ref(), &ready.batch);
        let effect = if ready.appeared {
            WriteEffect::Published
        } else {
            WriteEffect::Unchanged
        };
        let mut fact = ready.fact(effect, done.counts);
        if ready.appeared {
            fact.files_added = done.files_added;
            fact.files_removed = done.files_removed;
        }
        fact.version_before = seen.version();
        let now = Seen::new(&ready.target)?;
        fact.version_after = now.version();
        fact.evidence = now.holds(&ready.batch).then(|| now.proof(ready));
        return Ok((file_fact(ready, done.bytes), fact));
    }
    Err(conflict(&shown))
}

/// The files of a target, as far as there are any.
pub(super) fn sources(target: &Target, result: &SchemaRef) -> Result<Vec<Source>, Failure> {
    Seen::new(target)?.sources(target, result)
}

/// How the rows get there.
enum How {
    /// As one more file.
    Add,
    /// With the directory made anew. `rewrites`: also the files whose rows stay, because their columns change.
    Anew { rewrites: bool },
}

fn how(ready: &Ready, seen: &Seen, work: &Workspace<'_>) -> Result<How, Failure> {
    let write = &ready.target.write;
    let adds = matches!(write.mode, WriteMode::Append | WriteMode::AppendOnce(None));
    let rewrites = write.mode != WriteMode::Overwrite && lacks(ready, seen, work)?;
    let one = match &ready.rows {
        Rows::Parts(parted) => parted.pieces().len() == 1,
        Rows::Batch(_) | Rows::Whole(_) | Rows::Gone => true,
    };
    Ok(if adds && one && !rewrites {
        How::Add
    } else {
        How::Anew { rewrites }
    })
}

/// Has the batch columns that the target is to get? All files of a directory have the same.
fn lacks(ready: &Ready, seen: &Seen, work: &Workspace<'_>) -> Result<bool, Failure> {
    if ready.target.write.schema_policy.is_none() {
        return Ok(false);
    }
    if matches!(ready.target.write.format, WriteFormat::Json(_)) {
        // A name that is not there is null.
        return Ok(false);
    }
    let sources = seen.sources(&ready.target, &ready.schema)?;
    if sources.is_empty() {
        return Ok(false);
    }
    let known = row_format(ready)?.known(&sources, &ready.target.shown(), work.stop)?;
    let batch = ready.batch()?;
    let mut fields = batch.schema.fields().iter();
    Ok(fields.any(|field| known.iter().all(|(name, _)| name != field.name())))
}

/// One more file. `None`: somebody was faster.
fn add(
    ready: &mut Ready,
    seen: &Seen,
    shown: &str,
    work: &Workspace<'_>,
) -> Result<Option<Done>, Failure> {
    let batch = ready.batch()?;
    if let Some(newest) = seen.sources(&ready.target, &ready.schema)?.pop() {
        // Only for what it checks.
        row_format(ready)?.existing(&[newest], &batch, shown, work.stop)?;
    }
    let piece = batch.pieces.first().cloned();
    let piece = piece.ok_or_else(|| internal("a batch without a file is added"))?;
    drop(batch);
    let dir = match &piece.partition {
        Some(partition) => join(&ready.target.path, &partition.dir),
        None => ready.target.path.clone(),
    };
    let path = join(&dir, &part_name(ready));
    let mut upload = ready.target.store.create_swept(&path, "part")?;
    copy(&piece.open()?, &mut upload.writer()?, shown)?;
    let bytes = upload.sync()?.bytes;
    ready
        .log
        .staged(&ready.record(short(&ready.batch).to_owned()))?;
    let put = upload.put(&Expect::Absent);
    ready.appeared |= upload.is_put();
    match put? {
        Put::Done(_) => {}
        Put::Changed => return Ok(None),
    }
    ready.appeared = true;
    Ok(Some(Done {
        counts: Counts {
            inserted: ready.rows_count,
            ..Counts::default()
        },
        bytes,
        files_added: 1,
        files_removed: 0,
    }))
}

fn row_format(ready: &Ready) -> Result<RowFormat, Failure> {
    RowFormat::of(&ready.target.write.format)
        .ok_or_else(|| internal("a format without rows was planned"))
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
