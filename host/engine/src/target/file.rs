//! A target that is one file.

use std::fs::File;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use odibi_plan::plan::WriteMode;
use odibi_run::port::{BatchRecord, ORIGIN};
use odibi_story::event::{FileFact, WriteEffect, WriteFact};
use odibi_story::failure::{Failure, FailureClass};

use super::merge::{Counts, How, KeyedRows, Out, Workspace, merge};
use super::rows::columns::footer;
use super::rows::lines::{digest_of, digest_of_file};
use super::rows::{Batch, Existing, RowFormat};
use super::settle::{Verdict, settle};
use super::source::Source;
use super::{BATCHES_NAMED_MAX, FOOTER_KEY, Ready, Rows, TRIES_MAX, conflict, copy, short};
use crate::failure::internal;
use crate::store::{Blob, Expect, Put, Stat, Store, Upload};
use crate::write::WriteTable;

/// Where no file was.
const NOTHING: &str = "nothing";

/// Publishes.
pub(super) fn publish(ready: &mut Ready) -> Result<(FileFact, WriteFact), Failure> {
    let cancel = ready.cancel.clone();
    let stop = move || cancel.is_cancelled();
    let mut asked_again: Option<Counts> = None;
    for _ in 0..TRIES_MAX {
        let store = Arc::clone(&ready.target.store);
        let path = ready.target.path.clone();
        let shown = ready.target.shown();
        let _lock = store.lock(&path, &stop)?;
        let overwrites = ready.target.write.mode == WriteMode::Overwrite;
        let stat = match store.stat(&path) {
            // Whatever it is, it is replaced.
            Err(_) if overwrites => None,
            other => other?,
        };
        // Whoever replaces it while it is read: what was read is of no use, and the next try begins with the new one.
        let replaced = |failure: &Failure| {
            let version = |stat: &Option<Stat>| stat.as_ref().map(|stat| stat.version.clone());
            failure.class == FailureClass::Transient
                && !overwrites
                && (store.stat(&path)).is_ok_and(|now| version(&now) != version(&stat))
        };
        let seen = match Seen::new(store.as_ref(), &path, stat.as_ref(), ready) {
            Err(failure) if replaced(&failure) => continue,
            other => other?,
        };
        let target = ready.target.id().to_owned();
        let settled = settle(
            ready.log.as_ref(),
            &target,
            &ready.batch,
            &shown,
            |record| seen.believes(record),
            |record| seen.ask(record),
        );
        let settled = match settled {
            Err(failure) if replaced(&failure) => continue,
            other => other?,
        };
        let settled = match settled {
            Some(settled) if !seen.holds(&ready.batch) || overwrites => settled,
            // An overwrite restores the file whatever happened to it since, unless it was put a moment ago.
            None if overwrites && asked_again.is_none() => super::settle::Settled::default(),
            Some(_) | None => {
                let effect = match asked_again {
                    Some(_) => WriteEffect::Published,
                    None => WriteEffect::AlreadyApplied,
                };
                let counts = asked_again.unwrap_or_default();
                let (file, mut fact) = as_it_was(ready, effect, counts, stat);
                fact.evidence = seen.proof(&ready.batch);
                return Ok((file, fact));
            }
        };
        let expect = match &stat {
            _ if overwrites => Expect::Anything,
            None => Expect::Absent,
            Some(stat) => Expect::Version(stat.version.clone()),
        };
        let made = match make(ready, &seen, &shown, &ready.workspace(&stop)) {
            Err(failure) if replaced(&failure) => continue,
            other => other?,
        };
        if made.counts.is_nothing() && stat.is_some() && !overwrites {
            // Noted as well, so that a late second try of it does not change what is newer then.
            ready.log.staged(&ready.record(made.evidence))?;
            ready.committed();
            return Ok(as_it_was(ready, WriteEffect::Unchanged, made.counts, stat));
        }
        let proof = seen.proof_to_be(&made.evidence, &ready.batch);
        ready.log.staged(&ready.record(made.evidence))?;
        let mut upload = match made.upload {
            Some(upload) => upload,
            None => match std::mem::replace(&mut ready.rows, Rows::Gone) {
                Rows::Whole(upload) => upload,
                Rows::Batch(_) | Rows::Parts(_) | Rows::Gone => {
                    return Err(internal("a file is published twice"));
                }
            },
        };
        let put = upload.put(&expect);
        ready.appeared |= upload.is_put();
        match put {
            Ok(Put::Done(after)) => {
                ready.appeared = true;
                ready.committed();
                settled.note(ready.log.as_ref(), &ready.batch);
                let mut fact = ready.fact(WriteEffect::Published, made.counts);
                fact.version_before = stat.map(|stat| stat.version);
                fact.version_after = Some(after.version.clone());
                fact.evidence = proof;
                return Ok((file_fact(ready, Some(dated(ready, after))), fact));
            }
            // It is certain that nothing was put: a text could not tell.
            Ok(Put::Changed) => ready.log.aborted(&target, &ready.batch)?,
            // Whether it is there, the target is asked.
            Err(failure)
                if failure.class == FailureClass::Transient
                    && !overwrites
                    && asked_again.is_none() =>
            {
                asked_again = Some(made.counts);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(conflict(&ready.target.shown()))
}

/// With the time at which the store put it, which some do not tell by themselves. A retry knows by it what stands.
fn dated(ready: &Ready, after: Stat) -> Stat {
    if after.modified.is_some() {
        return after;
    }
    match ready.target.store.stat(&ready.target.path) {
        Ok(Some(now)) if now.version == after.version => now,
        // It is published, whatever else could not be asked.
        Ok(_) | Err(_) => after,
    }
}

/// What is told when the file stays.
fn as_it_was(
    ready: &Ready,
    effect: WriteEffect,
    counts: Counts,
    stat: Option<Stat>,
) -> (FileFact, WriteFact) {
    let mut fact = ready.fact(effect, counts);
    let version = stat.as_ref().map(|stat| stat.version.clone());
    fact.version_before.clone_from(&version);
    fact.version_after = version;
    (file_fact(ready, stat), fact)
}

fn file_fact(ready: &Ready, stat: Option<Stat>) -> FileFact {
    FileFact {
        connection: ready.target.store.connection().to_owned(),
        path: ready.target.path.clone(),
        bytes: stat.as_ref().map_or(0, |stat| stat.bytes),
        modified: stat.and_then(|stat| stat.modified),
        version: None,
    }
}

/// What is at the target.
struct Seen {
    blob: Option<Arc<dyn Blob>>,
    /// Batches that a Parquet file names; `None` for a text.
    named: Option<Vec<String>>,
    digest: std::cell::OnceCell<String>,
    /// Of a text: which file it is, of several that were made and removed under this path.
    origin: String,
}

impl Seen {
    /// What will prove that the batch is there once it is put.
    fn proof_to_be(&self, evidence: &str, batch: &str) -> Option<String> {
        match self.named {
            Some(_) => Some(proof_in_footer(batch)),
            None => (evidence.split_once(' ')).map(|(digest, _)| proof_by_digest(digest)),
        }
    }

    fn new(
        store: &dyn Store,
        path: &str,
        stat: Option<&Stat>,
        ready: &Ready,
    ) -> Result<Self, Failure> {
        let overwrites = ready.target.write.mode == WriteMode::Overwrite;
        let blob = match stat {
            None => None,
            Some(_) => match store.open(path) {
                // Whatever it is, it is replaced.
                Err(_) if overwrites => None,
                other => Some(other?),
            },
        };
        let shown = ready.target.shown();
        let columns = matches!(
            RowFormat::of(&ready.target.write.format),
            Some(RowFormat::Parquet(_))
        );
        let named = match (&blob, columns) {
            (_, false) => None,
            (None, true) => Some(Vec::new()),
            (Some(blob), true) => match footer(blob, FOOTER_KEY, &shown) {
                Err(_) if overwrites => Some(Vec::new()),
                other => Some(list(other?.as_deref())),
            },
        };
        let origin = if named.is_some() {
            String::new()
        } else {
            let noted = ready.log.find(ready.target.id(), ORIGIN)?;
            noted.map_or_else(String::new, |record| record.evidence)
        };
        Ok(Self {
            blob,
            named,
            digest: std::cell::OnceCell::new(),
            origin,
        })
    }

    fn holds(&self, batch: &str) -> bool {
        let named = self.named.iter().flatten();
        named.into_iter().any(|named| named == short(batch))
    }

    /// Does it count that the log has this batch for committed?
    fn believes(&self, record: &BatchRecord) -> Result<bool, Failure> {
        Ok(match (&self.blob, &self.named) {
            (None, _) => false,
            // Rewritten by others, or with more batches than it names.
            (Some(_), Some(named)) => named.is_empty() || named.len() >= BATCHES_NAMED_MAX,
            (Some(_), None) => record.evidence.split(' ').nth(2).unwrap_or_default() == self.origin,
        })
    }

    /// What shows that the batch is there, as far as that is known.
    fn proof(&self, batch: &str) -> Option<String> {
        match &self.named {
            Some(_) => self.holds(batch).then(|| proof_in_footer(batch)),
            None => self.digest.get().map(|digest| proof_by_digest(digest)),
        }
    }

    fn digest(&self) -> Result<String, Failure> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest.clone());
        }
        let digest = match &self.blob {
            Some(blob) => digest_of(Arc::clone(blob))?,
            None => NOTHING.to_owned(),
        };
        Ok(self.digest.get_or_init(|| digest).clone())
    }

    fn ask(&self, record: &BatchRecord) -> Result<Verdict, Failure> {
        if self.named.is_some() {
            return Ok(if self.holds(&record.batch) {
                Verdict::There
            } else {
                Verdict::Absent
            });
        }
        // A text cannot name its batches: it is known by its digest, before and after.
        let mut words = record.evidence.split(' ');
        let (Some(after), Some(before)) = (words.next(), words.next()) else {
            return Ok(Verdict::Absent);
        };
        let now = self.digest()?;
        Ok(if now == after {
            Verdict::There
        } else if now == before || record.mode == WriteMode::Overwrite.word() {
            Verdict::Absent
        } else {
            Verdict::Unclear
        })
    }
}

fn proof_in_footer(batch: &str) -> String {
    format!("footer {FOOTER_KEY} {}", short(batch))
}

fn proof_by_digest(digest: &str) -> String {
    format!("sha256 {digest}")
}

fn list(text: Option<&str>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split(',')
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A new file, out of sight.
struct Made {
    /// None for an overwrite, whose file was made before.
    upload: Option<Box<dyn Upload>>,
    counts: Counts,
    evidence: String,
}

fn make(ready: &Ready, seen: &Seen, shown: &str, work: &Workspace<'_>) -> Result<Made, Failure> {
    let file = match &ready.rows {
        Rows::Batch(file) => file,
        Rows::Whole(_) => {
            let counts = Counts {
                inserted: ready.rows_count,
                ..Counts::default()
            };
            // Of no use: an overwrite is done again whatever the target holds.
            let evidence = String::new();
            return Ok(Made {
                upload: None,
                counts,
                evidence,
            });
        }
        Rows::Parts(_) | Rows::Gone => return Err(internal("a file is published twice")),
    };
    let format = RowFormat::of(&ready.target.write.format)
        .ok_or_else(|| internal("a format without rows was planned"))?;
    let upload = ready.target.store.create(&ready.target.path)?;
    let batch = ready.batch()?;
    let how = How::of(&ready.target.write.mode, shown);
    let sources: Vec<Source> = seen.blob.iter().cloned().map(Source::of).collect();
    let mut before = NOTHING.to_owned();
    let counts = if sources.is_empty() && how.is_none() {
        copy(file, &mut upload.writer()?, shown)?;
        Counts {
            inserted: ready.rows_count,
            ..Counts::default()
        }
    } else {
        let mut existing = match sources.is_empty() {
            true => None,
            false => Some(format.existing(&sources, &batch, shown, work.stop)?),
        };
        let mut notes = seen.named.clone().unwrap_or_default();
        notes.push(short(&ready.batch).to_owned());
        let counts = fill(
            ready,
            &format,
            existing.as_mut(),
            upload.writer()?,
            &notes,
            shown,
            work,
        )?;
        if let Some(existing) = existing.as_mut().filter(|_| seen.named.is_none()) {
            before = match existing.digest() {
                Some(digest) => digest,
                None => seen.digest()?,
            };
        }
        counts
    };
    let evidence = match seen.named {
        Some(_) => short(&ready.batch).to_owned(),
        None => {
            let after = match seen.blob {
                Some(_) if counts.is_nothing() => before.clone(),
                Some(_) | None => digest_of_file(&upload.writer()?)?,
            };
            format!("{after} {before} {}", origin(ready, seen)?)
        }
    };
    Ok(Made {
        upload: Some(upload),
        counts,
        evidence,
    })
}

/// The file that the text is, or becomes: what was written to one that has been removed since does not count for it.
fn origin(ready: &Ready, seen: &Seen) -> Result<String, Failure> {
    if seen.blob.is_some() {
        return Ok(seen.origin.clone());
    }
    let origin = format!("{}-{}", ready.run_id, short(&ready.batch));
    let mut record = ready.record(origin.clone());
    ORIGIN.clone_into(&mut record.batch);
    ready.log.staged(&record)?;
    // Only that it is noted counts.
    let _ = ready.log.committed(&record.target, ORIGIN);
    Ok(origin)
}

/// Writes what is there and the batch, merged where the mode has keys.
pub(super) fn fill(
    ready: &Ready,
    format: &RowFormat,
    mut existing: Option<&mut Existing>,
    out: File,
    notes: &[String],
    shown: &str,
    work: &Workspace<'_>,
) -> Result<Counts, Failure> {
    let batch = ready.batch()?;
    let mut rows = format.batch(&batch, existing.as_deref(), shown)?;
    let mut writer = begin(format, &rows.schema(), &batch, out, notes, shown)?;
    let existing = existing.as_mut().map(|existing| existing.rows());
    let counts = pour(ready, existing, rows.as_mut(), shown, work, &mut |rows| {
        writer.write(rows)
    })?;
    writer.finish()?;
    Ok(counts)
}

/// Begins a file that names its batches, the newest of them.
pub(super) fn begin(
    format: &RowFormat,
    schema: &SchemaRef,
    batch: &Batch<'_>,
    out: File,
    notes: &[String],
    shown: &str,
) -> Result<Box<dyn WriteTable>, Failure> {
    let mut writer = format.begin(schema, batch, out, shown)?;
    let from = notes.len().saturating_sub(BATCHES_NAMED_MAX);
    writer.note(FOOTER_KEY, &notes[from..].join(","));
    Ok(writer)
}

/// What is there, then the batch; merged where the mode has keys.
pub(super) fn pour(
    ready: &Ready,
    mut existing: Option<&mut dyn KeyedRows>,
    batch: &mut dyn KeyedRows,
    shown: &str,
    work: &Workspace<'_>,
    out: Out<'_>,
) -> Result<Counts, Failure> {
    if let Some(how) = How::of(&ready.target.write.mode, shown) {
        return merge(existing, batch, ready.rows_count, how, work, out);
    }
    if let Some(existing) = existing.as_mut() {
        while let Some(keyed) = existing.next()? {
            work.check()?;
            out(&keyed.rows)?;
        }
    }
    while let Some(keyed) = batch.next()? {
        work.check()?;
        out(&keyed.rows)?;
    }
    Ok(Counts {
        inserted: ready.rows_count,
        ..Counts::default()
    })
}
