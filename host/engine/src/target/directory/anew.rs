//! A directory made anew: what is there with the batch in it, files that need not change as links.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use odibi_plan::plan::{Keys, WriteMode};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::json;

use super::super::file::{begin, fill, pour};
use super::super::merge::{Counts, Workspace};
use super::super::rows::{DIRECTORY, Existing};
use super::super::source::Source;
use super::super::spread::Spread;
use super::super::{BATCHES_NAMED_MAX, Ready, Rows, copy, short};
use super::seen::Seen;
use super::{Done, FORMAT_VERSION, LOG_DIR, extension, part_name, row_format};
use crate::failure::{During, classify};
use crate::store::{Generation, join};

/// Makes it, and puts it in the place of the old one. Nothing is put when nothing changes.
pub(super) fn anew(
    ready: &mut Ready,
    seen: &Seen,
    rewrites: bool,
    work: &Workspace<'_>,
) -> Result<Done, Failure> {
    let shown = ready.target.shown();
    let mode = ready.target.write.mode.clone();
    let overwrites = mode == WriteMode::Overwrite;
    check_files(ready, seen, &shown)?;
    let parted = matches!(ready.rows, Rows::Parts(_));
    if parted && ready.rows_count == 0 && seen.exists && !overwrites {
        ready
            .log
            .staged(&ready.record(short(&ready.batch).to_owned()))?;
        return Ok(nothing(Counts::default()));
    }
    let store = Arc::clone(&ready.target.store);
    let mut generation = store.generation(&ready.target.path)?;
    let mut work_on = Work {
        ready,
        seen,
        rewrites,
        work,
        shown: &shown,
        generation: generation.as_mut(),
        kept: 0,
        added: 0,
        bytes: 0,
    };
    let counts = if parted {
        work_on.parts()?
    } else {
        work_on.one()?
    };
    let (kept, added, bytes) = (work_on.kept, work_on.added, work_on.bytes);
    ready
        .log
        .staged(&ready.record(short(&ready.batch).to_owned()))?;
    if counts.is_nothing() && seen.exists && !overwrites {
        return Ok(nothing(counts));
    }
    log_entry(ready, seen, generation.as_mut(), &shown)?;
    if !overwrites {
        for path in &seen.hidden {
            generation.keep(path)?;
        }
    }
    let put = generation.put();
    ready.appeared |= generation.is_put();
    put?;
    Ok(Done {
        counts,
        bytes,
        files_added: added,
        files_removed: seen.data.len() as u64 - kept,
    })
}

fn nothing(counts: Counts) -> Done {
    Done {
        counts,
        bytes: 0,
        files_added: 0,
        files_removed: 0,
    }
}

/// All of the directory is replaced, so there must be nothing else in it.
fn check_files(ready: &Ready, seen: &Seen, shown: &str) -> Result<(), Failure> {
    let extension = extension(&ready.target.write.format);
    let Some(other) = seen.data.iter().find(|path| !path.ends_with(&extension)) else {
        return Ok(());
    };
    let what = format!("`{shown}` holds a file that is no `{extension}`: `{other}`");
    Err(
        Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, what).hint(
            "write to a directory of its own, or move that file: all of the directory is replaced",
        ),
    )
}

struct Work<'a> {
    ready: &'a Ready,
    seen: &'a Seen,
    rewrites: bool,
    work: &'a Workspace<'a>,
    shown: &'a str,
    generation: &'a mut dyn Generation,
    kept: u64,
    added: u64,
    bytes: u64,
}

impl<'a> Work<'a> {
    fn overwrites(&self) -> bool {
        self.ready.target.write.mode == WriteMode::Overwrite
    }

    fn inserted(&self) -> Counts {
        Counts {
            inserted: self.ready.rows_count,
            ..Counts::default()
        }
    }

    /// All rows in one file.
    fn one(&mut self) -> Result<Counts, Failure> {
        let mut part = self.generation.file(&part_name(self.ready))?;
        let batch = self.ready.batch()?;
        let counts = if self.overwrites() {
            for piece in &batch.pieces {
                copy(&piece.open()?, &mut part, self.shown)?;
            }
            self.inserted()
        } else {
            let format = row_format(self.ready)?;
            let sources = self.seen.sources(&self.ready.target, &self.ready.schema)?;
            let mut existing = match sources.is_empty() {
                true => None,
                false => Some(format.existing(&sources, &batch, self.shown, self.work.stop)?),
            };
            let notes = [short(&self.ready.batch).to_owned()];
            let out = part.try_clone();
            let out = out.map_err(|e| classify(&e, During::Write(self.shown)))?;
            fill(
                self.ready,
                &format,
                existing.as_mut(),
                out,
                &notes,
                self.shown,
                self.work,
            )?
        };
        self.added = 1;
        self.bytes = part.metadata().map_or(0, |meta| meta.len());
        Ok(counts)
    }

    /// Each partition in a file of its own. Files of partitions that the batch cannot touch are kept.
    fn parts(&mut self) -> Result<Counts, Failure> {
        let sources = if self.overwrites() {
            Vec::new()
        } else {
            self.seen.sources(&self.ready.target, &self.ready.schema)?
        };
        let (read, kept) = self.divide(sources)?;
        self.kept = kept.len() as u64;
        for path in kept {
            self.generation.keep(path)?;
        }
        if self.ready.target.write.mode.keys().is_none() && read.is_empty() {
            return self.copies();
        }
        self.merged(&read)
    }

    /// Files whose rows are needed, and paths of those that stay.
    fn divide(&self, sources: Vec<Source>) -> Result<(Vec<Source>, Vec<&'a str>), Failure> {
        let seen: &'a Seen = self.seen;
        let write = &self.ready.target.write;
        let batch = self.ready.batch()?;
        let touched: HashSet<&str> = batch
            .pieces
            .iter()
            .filter_map(|piece| Some(piece.partition.as_ref()?.dir.as_str()))
            .collect();
        let names = |keys: &Keys, name: &str| keys.columns.iter().any(|key| key.name == name);
        let by_partition = |keys: &Keys| write.partition_by.iter().all(|c| names(keys, &c.name));
        let (mut read, mut kept) = (Vec::new(), Vec::new());
        for (source, path) in sources.into_iter().zip(&seen.data) {
            let dir = source.partition.as_ref().map_or("", |p| p.dir.as_str());
            let needed = match write.mode.keys() {
                Some(keys) if by_partition(keys) => touched.contains(dir),
                Some(_) => true,
                None => false,
            };
            if needed || self.rewrites {
                read.push(source);
            } else {
                kept.push(path.as_str());
            }
        }
        Ok((read, kept))
    }

    /// The files of the batch as they are.
    fn copies(&mut self) -> Result<Counts, Failure> {
        let batch = self.ready.batch()?;
        for piece in &batch.pieces {
            let dir = piece.partition.as_ref().map_or("", |p| p.dir.as_str());
            let mut part = self.generation.file(&join(dir, &part_name(self.ready)))?;
            copy(&piece.open()?, &mut part, self.shown)?;
            self.added += 1;
            self.bytes += part.metadata().map_or(0, |meta| meta.len());
        }
        Ok(self.inserted())
    }

    /// What is read and the batch, by directory.
    fn merged(&mut self, read: &[Source]) -> Result<Counts, Failure> {
        let (ready, shown) = (self.ready, self.shown);
        let (format, batch) = (row_format(ready)?, ready.batch()?);
        let mut existing = match read.is_empty() {
            true => None,
            false => Some(format.existing(read, &batch, shown, self.work.stop)?),
        };
        let mut rows = format.batch(&batch, existing.as_ref(), shown)?;
        let mut spread = Spread::new(&self.work.scratch, shown)?;
        let existing = existing.as_mut().map(Existing::rows);
        let counts = pour(
            ready,
            existing,
            rows.as_mut(),
            shown,
            self.work,
            &mut |rows| by_directory(rows, &mut spread),
        )?;
        if counts.is_nothing() && self.seen.exists {
            return Ok(counts);
        }
        let schema = without_directory(&rows.schema());
        let notes = [short(&ready.batch).to_owned()];
        for (dir, rows) in spread.finish()? {
            self.work.check()?;
            let part = self.generation.file(&join(&dir, &part_name(ready)))?;
            let out = part.try_clone();
            let out = out.map_err(|e| classify(&e, During::Write(shown)))?;
            let mut writer = begin(&format, &schema, &batch, out, &notes, shown)?;
            for rows in rows {
                writer.write(&rows?)?;
            }
            writer.finish()?;
            self.added += 1;
            self.bytes += part.metadata().map_or(0, |meta| meta.len());
        }
        Ok(counts)
    }
}

fn without_directory(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().filter(|f| f.name() != DIRECTORY);
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// Rows that tell their directory, without that column.
fn by_directory(rows: &RecordBatch, spread: &mut Spread) -> Result<(), Failure> {
    let failed = |e| classify(&e, During::Run);
    let width = rows.num_columns() - 1;
    let files = rows
        .project(&(0..width).collect::<Vec<_>>())
        .map_err(failed)?;
    let dirs = rows.column(width).as_string::<i32>();
    let mut groups: Vec<(&str, Vec<u32>)> = Vec::new();
    for (number, dir) in (0_u32..).zip(dirs.iter().flatten()) {
        // Rows of one directory follow each other, but for some.
        match groups.iter_mut().rev().find(|(other, _)| *other == dir) {
            Some((_, places)) => places.push(number),
            None => groups.push((dir, vec![number])),
        }
    }
    if let [(dir, places)] = &groups[..]
        && places.len() == files.num_rows()
    {
        return spread.push(dir, files);
    }
    for (dir, places) in groups {
        let some = take_record_batch(&files, &UInt32Array::from(places)).map_err(failed)?;
        spread.push(dir, some)?;
    }
    Ok(())
}

/// Names the batches that are in the directory.
fn log_entry(
    ready: &Ready,
    seen: &Seen,
    generation: &mut dyn Generation,
    shown: &str,
) -> Result<(), Failure> {
    let mode = &ready.target.write.mode;
    let mut batches = if *mode == WriteMode::Overwrite {
        Vec::new()
    } else {
        seen.batches.clone()
    };
    batches.push(short(&ready.batch).to_owned());
    let from = batches.len().saturating_sub(BATCHES_NAMED_MAX);
    let entry = json!({
        "format_version": FORMAT_VERSION,
        "mode": mode.word(),
        "run_id": ready.run_id,
        "batches": batches[from..],
    });
    let path = format!("{LOG_DIR}/{:020}.json", seen.number + 1);
    let mut log = generation.file(&path)?;
    let written = log.write_all(format!("{entry}\n").as_bytes());
    written.map_err(|e| classify(&e, During::Write(shown)))
}
