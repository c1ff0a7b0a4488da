//! Batches and watermarks. What is open at a target stands in one document of that target, what is not in a document of
//! its own: however many batches there were, a write reads and puts a few small documents.
//!
//! The document of the target carries the highest epoch of each pipeline that has written to it. A run that slept through
//! its own end is refused by it, and by the lease before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use odibi_run::port::{BatchLog, BatchRecord, BatchState, ORIGIN};
use odibi_story::failure::Failure;

use super::document::{BatchSheet, BatchWord, TargetSheet, WatermarkSheet};
use super::shelf::Change;
use super::{SharedState, digest, lock, name_of};
use crate::batch::internal;
use crate::lease::{Lease, lost};
use crate::port::Journal;

/// The batches of one project, as one run sees and changes them.
#[derive(Debug)]
pub(super) struct SharedBatches {
    state: Arc<SharedState>,
    project: String,
    run_id: String,
    /// Of the leases that the run holds, by pipeline.
    epochs: BTreeMap<String, u64>,
    /// Names that earlier versions had for targets, of those that have taken them over.
    before: Mutex<BTreeMap<String, String>>,
}

impl SharedBatches {
    pub(super) fn new(
        state: Arc<SharedState>,
        project: &str,
        run_id: &str,
        leases: &[Lease],
    ) -> Self {
        let epochs = leases.iter().map(|l| (l.pipeline().to_owned(), l.epoch()));
        Self {
            state,
            project: project.to_owned(),
            run_id: run_id.to_owned(),
            epochs: epochs.collect(),
            before: Mutex::default(),
        }
    }

    fn target_path(&self, target: &str) -> String {
        let project = name_of(&self.project);
        format!("{project}/targets/{}.json", digest(target))
    }

    fn batch_path(&self, target: &str, batch: &str) -> String {
        let (project, batch) = (name_of(&self.project), name_of(batch));
        format!("{project}/batches/{}/{batch}.json", digest(target))
    }

    fn watermark_path(&self, key: &str) -> String {
        format!(
            "{}/watermarks/{}.json",
            name_of(&self.project),
            name_of(key)
        )
    }

    /// What is open at a target.
    fn open(&self, target: &str) -> Result<Vec<BatchSheet>, Failure> {
        let path = self.target_path(target);
        let read = self.state.desk.read::<TargetSheet>(&path)?;
        Ok(read.map(|(sheet, _)| sheet.open).unwrap_or_default())
    }

    fn closed(&self, target: &str, batch: &str) -> Result<Option<BatchSheet>, Failure> {
        let path = self.batch_path(target, batch);
        let read = self.state.desk.read::<BatchSheet>(&path)?;
        Ok(read.map(|(sheet, _)| sheet))
    }

    fn epoch(&self, pipeline: &str) -> Result<u64, Failure> {
        let held = self.epochs.get(pipeline).copied();
        held.ok_or_else(|| internal(format!("the run has no lease of pipeline `{pipeline}`")))
    }

    /// The epoch under which a pipeline may be changed, if this run still may.
    fn fenced(&self, pipeline: &str) -> Result<u64, Failure> {
        let held = self.epoch(pipeline)?;
        match self.state.lease_sheet(&self.project, pipeline)? {
            Some(sheet) if sheet.epoch == held => Ok(held),
            Some(sheet) => {
                let holder = sheet.holder.as_ref().map(|holder| holder.run_id.as_str());
                Err(lost(pipeline, holder))
            }
            None => Err(internal(format!(
                "the lease of pipeline `{pipeline}` is gone"
            ))),
        }
    }

    /// Changes what is open at a target, unless a later holder of the lease has.
    fn change(
        &self,
        target: &str,
        pipeline: &str,
        body: impl Fn(&mut Vec<BatchSheet>),
    ) -> Result<(), Failure> {
        let path = self.target_path(target);
        self.state.desk.change(&path, |known: Option<TargetSheet>| {
            // Looked at after the document was read: who has taken over since then changes it, and this put fails.
            let epoch = self.fenced(pipeline)?;
            let mut sheet = known.unwrap_or_else(|| TargetSheet::new(target));
            let fence = sheet.fence.entry(pipeline.to_owned()).or_default();
            if *fence > epoch {
                return Err(lost(pipeline, None));
            }
            *fence = epoch;
            body(&mut sheet.open);
            Ok(Change::Put(sheet, ()))
        })
    }

    /// Notes what became of a batch that is open.
    fn close(
        &self,
        target: &str,
        batch: &str,
        word: BatchWord,
        watermarks: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let of_batch: Vec<BatchSheet> = self
            .open(target)?
            .into_iter()
            .filter(|open| open.batch == batch)
            .collect();
        // Several when a run that was taken over had it open as well. What this run says, it says of its own.
        let mine = of_batch.iter().find(|open| open.run_id == self.run_id);
        let newest = of_batch.iter().max_by_key(|open| open.epoch);
        let Some(open) = mine.or(newest).cloned() else {
            return match self.known(target, batch)? {
                // It was closed together with another one of this name, or before an answer was lost.
                Some(closed) => self.fenced(&closed.pipeline).map(drop),
                None => Err(internal(format!("a batch of `{target}` was never staged"))),
            };
        };
        let epoch = self.fenced(&open.pipeline)?;
        let closed = BatchSheet {
            state: word,
            epoch,
            ..open.clone()
        };
        let is_committed = word == BatchWord::Committed;
        let others = is_committed || mine.is_none();
        if is_committed || !self.is_committed(target, batch)? {
            let path = self.batch_path(target, batch);
            self.state.desk.change(&path, |known: Option<BatchSheet>| {
                let later =
                    |known: &BatchSheet| known.pipeline == closed.pipeline && known.epoch > epoch;
                if known.as_ref().is_some_and(later) {
                    return Err(lost(&closed.pipeline, None));
                }
                Ok(match known {
                    Some(known) if known == closed => Change::Leave(()),
                    Some(_) | None => Change::Put(closed.clone(), ()),
                })
            })?;
        }
        for (key, value) in watermarks {
            self.advance(key, value, epoch)?;
        }
        self.change(target, &open.pipeline, |all| {
            all.retain(|one| {
                let is_it = one.batch == batch && (others || one.run_id == self.run_id);
                !is_it
            });
        })
    }

    fn is_committed(&self, target: &str, batch: &str) -> Result<bool, Failure> {
        let closed = self.closed(target, batch)?;
        Ok(closed.is_some_and(|closed| closed.state == BatchWord::Committed))
    }

    fn advance(&self, key: &str, value: &str, epoch: u64) -> Result<(), Failure> {
        let path = self.watermark_path(key);
        self.state.desk.change(&path, |_: Option<WatermarkSheet>| {
            let sheet = WatermarkSheet {
                key: key.to_owned(),
                value: value.to_owned(),
                run_id: self.run_id.clone(),
                epoch,
            };
            Ok(Change::Put(sheet, ()))
        })
    }
}

impl BatchLog for SharedBatches {
    fn find(&self, target: &str, batch: &str) -> Result<Option<BatchRecord>, Failure> {
        let open = self.open(target)?.into_iter();
        let newest = open
            .filter(|open| open.batch == batch)
            .max_by_key(|open| open.epoch);
        let found = match newest {
            Some(open) if self.is_closed(&open)? => self.closed(target, batch)?,
            Some(open) => Some(open),
            None => self.known(target, batch)?,
        };
        Ok(found.map(record))
    }

    fn pending(&self, target: &str) -> Result<Vec<BatchRecord>, Failure> {
        let mut pending = Vec::new();
        for open in self.open(target)? {
            if !self.is_closed(&open)? {
                pending.push(open);
            }
        }
        pending.sort_by(|a, b| (&a.batch, a.epoch).cmp(&(&b.batch, b.epoch)));
        Ok(pending.into_iter().map(record).collect())
    }

    fn staged(&self, staged: &BatchRecord) -> Result<(), Failure> {
        let epoch = self.epoch(&staged.pipeline)?;
        let sheet = BatchSheet {
            target: staged.target.clone(),
            batch: staged.batch.clone(),
            run_id: staged.run_id.clone(),
            pipeline: staged.pipeline.clone(),
            node: staged.node.clone(),
            mode: staged.mode.clone(),
            state: BatchWord::Staged,
            rows: staged.rows,
            evidence: staged.evidence.clone(),
            epoch,
        };
        self.change(&staged.target, &staged.pipeline, |open| {
            // What a run that was taken over had ready may appear all the same: its evidence is kept until that is settled.
            open.retain(|one| one.batch != sheet.batch || one.run_id != sheet.run_id);
            open.push(sheet.clone());
        })
    }

    fn committed(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.close(target, batch, BatchWord::Committed, &[])
    }

    fn aborted(&self, target: &str, batch: &str) -> Result<(), Failure> {
        self.close(target, batch, BatchWord::Aborted, &[])
    }

    fn observed(&self, seen: &BatchRecord, is_there: bool) -> Result<(), Failure> {
        let (target, batch) = (seen.target.as_str(), seen.batch.as_str());
        let word = if is_there {
            BatchWord::Committed
        } else {
            BatchWord::Aborted
        };
        if self.epochs.contains_key(&seen.pipeline) {
            return self.close(target, batch, word, &[]);
        }
        let was_seen = |one: &BatchSheet| {
            one.batch == batch && one.run_id == seen.run_id && one.evidence == seen.evidence
        };
        let Some(open) = self.open(target)?.into_iter().find(was_seen) else {
            return Ok(());
        };
        let closed = BatchSheet {
            state: word,
            ..open
        };
        let path = self.batch_path(target, batch);
        self.state.desk.change(&path, |known: Option<BatchSheet>| {
            let knows_better = |known: &BatchSheet| {
                known.epoch > closed.epoch || known.state == BatchWord::Committed
            };
            Ok(match known {
                Some(known) if knows_better(&known) => Change::Leave(()),
                Some(_) | None => Change::Put(closed.clone(), ()),
            })
        })?;
        let path = self.target_path(target);
        self.state.desk.change(&path, |known: Option<TargetSheet>| {
            let Some(mut sheet) = known else {
                return Ok(Change::Leave(()));
            };
            sheet.open.retain(|one| !was_seen(one));
            Ok(Change::Put(sheet, ()))
        })
    }

    fn adopt(&self, before: &str, target: &str) -> Result<(), Failure> {
        if lock(&self.before).contains_key(target) {
            return Ok(());
        }
        let path = self.target_path(before);
        // Mostly there is none.
        if self.state.desk.read::<TargetSheet>(&path)?.is_none() {
            return Ok(());
        }
        let environment = self.state.environment(&self.run_id)?.unwrap_or_default();
        let taken = self
            .state
            .desk
            .change(&path, |known: Option<TargetSheet>| {
                let Some(mut sheet) = known else {
                    return Ok(Change::Leave(None));
                };
                let by = sheet.adopted.get(&environment).cloned();
                Ok(match by {
                    Some(by) if by == target => Change::Leave(Some(sheet)),
                    Some(_) => Change::Leave(None),
                    None => {
                        let by = target.to_owned();
                        sheet.adopted.insert(environment.clone(), by);
                        Change::Put(sheet.clone(), Some(sheet))
                    }
                })
            })?;
        let Some(sheet) = taken else {
            return Ok(());
        };
        self.adopt_open(&sheet, target)?;
        lock(&self.before).insert(target.to_owned(), before.to_owned());
        Ok(())
    }
}

impl SharedBatches {
    /// What is open moves to the new name: first it is there, then it is not here any more.
    fn adopt_open(&self, old: &TargetSheet, target: &str) -> Result<(), Failure> {
        let (mut ours, mut open) = (Vec::new(), Vec::new());
        for one in &old.open {
            if !self.is_ours(&one.run_id)? {
                continue;
            }
            ours.push((one.batch.clone(), one.run_id.clone()));
            if !self.is_closed(one)? && self.closed(target, &one.batch)?.is_none() {
                open.push(BatchSheet {
                    target: target.to_owned(),
                    ..one.clone()
                });
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        let path = self.target_path(target);
        self.state
            .desk
            .change(&path, |known: Option<TargetSheet>| {
                let mut sheet = known.unwrap_or_else(|| TargetSheet {
                    fence: old.fence.clone(),
                    ..TargetSheet::new(target)
                });
                for one in &open {
                    let is_it = |it: &BatchSheet| it.batch == one.batch && it.run_id == one.run_id;
                    if !sheet.open.iter().any(is_it) {
                        sheet.open.push(one.clone());
                    }
                }
                Ok(Change::Put(sheet, ()))
            })?;
        let path = self.target_path(&old.target);
        self.state.desk.change(&path, |known: Option<TargetSheet>| {
            let Some(mut sheet) = known else {
                return Ok(Change::Leave(()));
            };
            let is_ours = |one: &BatchSheet| {
                let mut ours = ours.iter();
                ours.any(|(batch, run_id)| one.batch == *batch && one.run_id == *run_id)
            };
            sheet.open.retain(|one| !is_ours(one));
            Ok(Change::Put(sheet, ()))
        })
    }

    /// Has a run of the same environment noted it? What nobody knows any more counts for all.
    fn is_ours(&self, run_id: &str) -> Result<bool, Failure> {
        let Some(of) = self.state.environment(run_id)? else {
            return Ok(true);
        };
        let own = self.state.environment(&self.run_id)?;
        Ok(own.unwrap_or_default() == of)
    }

    /// What is not open, also under the name that the target had before.
    fn known(&self, target: &str, batch: &str) -> Result<Option<BatchSheet>, Failure> {
        let closed = self.closed(target, batch)?;
        let before = lock(&self.before).get(target).cloned();
        let (None, Some(before)) = (&closed, before) else {
            return Ok(closed);
        };
        let Some(old) = self.closed(&before, batch)? else {
            return Ok(None);
        };
        // Whoever noted it last, batches of every environment refer to it.
        let counts = batch == ORIGIN || self.is_ours(&old.run_id)?;
        Ok(counts.then(|| BatchSheet {
            target: target.to_owned(),
            ..old
        }))
    }

    /// A process may have been killed between closing a batch and taking it from what is open. What an earlier holder of
    /// the lease had open of a batch that is committed is settled as well.
    fn is_closed(&self, open: &BatchSheet) -> Result<bool, Failure> {
        let closed = self.closed(&open.target, &open.batch)?;
        Ok(closed.is_some_and(|closed| {
            let same = closed.run_id == open.run_id && closed.evidence == open.evidence;
            closed.state == BatchWord::Committed && (same || open.epoch < closed.epoch)
        }))
    }
}

impl Journal for SharedBatches {
    fn committed_with(
        &self,
        target: &str,
        batch: &str,
        watermarks: &[(&str, &str)],
    ) -> Result<(), Failure> {
        self.close(target, batch, BatchWord::Committed, watermarks)
    }

    fn watermark(&self, key: &str) -> Result<Option<String>, Failure> {
        let path = self.watermark_path(key);
        let read = self.state.desk.read::<WatermarkSheet>(&path)?;
        Ok(read.map(|(sheet, _)| sheet.value))
    }
}

fn record(sheet: BatchSheet) -> BatchRecord {
    BatchRecord {
        target: sheet.target,
        batch: sheet.batch,
        run_id: sheet.run_id,
        pipeline: sheet.pipeline,
        node: sheet.node,
        mode: sheet.mode,
        state: match sheet.state {
            BatchWord::Staged => BatchState::Staged,
            BatchWord::Committed => BatchState::Committed,
            BatchWord::Aborted => BatchState::Aborted,
        },
        rows: sheet.rows,
        evidence: sheet.evidence,
    }
}
