//! Runs and their nodes: one document each, below the day on which they began, so that the newest are found without
//! reading the rest.

mod find;
mod sheet;

use std::collections::BTreeMap;

use jiff::Timestamp;
use odibi_story::event::{NodeRef, Outcome};
use odibi_story::failure::Failure;

pub(super) use self::sheet::{events_path, node_record};
use self::sheet::{noted, record, run_path, run_sheet, running_path};
use super::document::{LastSheet, MadeNode, MadeSheet, NodeSheet, RunSheet, RunningSheet};
use super::shelf::{Change, Expected};
use super::{SharedState, lock, name_of};
use crate::batch::internal;
use crate::lease::{Lease, lost_run};
use crate::run::{CRASHED, Interrupted, NewRun, NodeEnd, PipelineSlot, RunMark, RunRecord};

/// How a node ends is noted together with what ends within this time.
const FLUSH_MS: u64 = 1_000;

/// A run that this process has begun. Nobody else changes its document, but who takes it for dead.
#[derive(Debug)]
pub(super) struct Own {
    sheet: RunSheet,
    version: String,
    /// Nodes whose success is not in `made` yet.
    made: Vec<usize>,
    is_dirty: bool,
    flushed_ms: u64,
}

impl SharedState {
    pub(super) fn begin(&self, run: &NewRun, leases: &[Lease]) -> Result<RunMark, Failure> {
        let held: Vec<_> = leases.iter().filter_map(Lease::document).cloned().collect();
        if held.len() < run.pipelines.len() {
            return Err(internal(format!("run {} holds too few leases", run.id)));
        }
        let running = RunningSheet {
            pipelines: run.pipelines.iter().map(|p| p.pipeline.clone()).collect(),
        };
        let path = running_path(&run.project, &run.id);
        let made = self.desk.put(&path, &running, Expected::Absent)?;
        let sheet = run_sheet(run, self.terms.host.clone());
        let path = run_path(&run.project, &run.id);
        let noted = self.desk.put(&path, &sheet, Expected::Absent)?;
        let (Some(_), Some(version)) = (made, noted) else {
            return Err(internal(format!("run {} has begun before", run.id)));
        };
        let environment = run.selection.environment.as_deref().unwrap_or_default();
        for PipelineSlot { pipeline, slot, .. } in &run.pipelines {
            let lease = held.iter().find(|lease| lease.pipeline == *pipeline);
            let lease = lease.ok_or_else(|| {
                internal(format!("the run has no lease of pipeline `{pipeline}`"))
            })?;
            let sheet = self.lease_sheet(&run.project, pipeline)?;
            let last = sheet.and_then(|sheet| sheet.last);
            let before = last.map(|last| self.environment_of(&last)).transpose()?;
            lease.begun(slot, environment, before.flatten().as_deref())?;
        }
        let own = Own {
            sheet,
            version,
            made: Vec::new(),
            is_dirty: false,
            flushed_ms: self.clock.monotonic_ms(),
        };
        lock(&self.own).insert(run.id.clone(), own);
        self.beat()?;
        Ok(RunMark::shared(held))
    }

    pub(super) fn digests(
        &self,
        run_id: &str,
        digests: &BTreeMap<NodeRef, String>,
    ) -> Result<(), Failure> {
        let note = |sheet: &mut RunSheet| {
            for node in &mut sheet.nodes {
                if let Some(digest) = digests.get(&node.name()) {
                    node.digest = Some(digest.clone());
                }
            }
        };
        if let Some(own) = lock(&self.own).get_mut(run_id) {
            note(&mut own.sheet);
            own.is_dirty = true;
            return self.flush(own);
        }
        self.change_run(run_id, |sheet| {
            note(sheet);
            true
        })
    }

    pub(super) fn node_end(&self, run_id: &str, end: &NodeEnd<'_>) -> Result<(), Failure> {
        if let Some(own) = lock(&self.own).get_mut(run_id) {
            let Some(at) = noted(&mut own.sheet, end) else {
                return Ok(());
            };
            own.is_dirty = true;
            if end.outcome.is_success() {
                own.made.push(at);
            }
            let since_ms = self.clock.monotonic_ms().saturating_sub(own.flushed_ms);
            if since_ms >= FLUSH_MS {
                return self.flush(own);
            }
            return Ok(());
        }
        // Of a run that was killed, as its events tell.
        let mut made = None;
        self.change_run(run_id, |sheet| {
            let before = sheet.nodes.clone();
            let at = noted(sheet, end).filter(|_| end.outcome.is_success());
            made = at.map(|at| sheet.nodes[at].clone());
            let is_new = before != sheet.nodes;
            made = made.take().filter(|_| is_new);
            is_new
        })?;
        match made {
            Some(node) => self.note_made(&self.project, run_id, &[node]),
            None => Ok(()),
        }
    }

    /// Brings the documents of this process's runs up to date. What fails is tried again, and told at the end of the run.
    pub(super) fn flush_runs(&self) {
        let mut own = lock(&self.own);
        for own in own.values_mut().filter(|own| own.is_dirty) {
            let _ = self.flush(own);
        }
    }

    fn flush(&self, own: &mut Own) -> Result<(), Failure> {
        let sheet = &own.sheet;
        let made: Vec<NodeSheet> = own.made.iter().map(|at| sheet.nodes[*at].clone()).collect();
        self.note_made(&sheet.project, &sheet.id, &made)?;
        own.made.clear();
        if !own.is_dirty {
            return Ok(());
        }
        let path = run_path(&sheet.project, &sheet.id);
        let expected = Expected::Version(&own.version);
        match self.desk.put(&path, sheet, expected)? {
            Some(version) => {
                own.version = version;
                own.is_dirty = false;
                own.flushed_ms = self.clock.monotonic_ms();
                Ok(())
            }
            None => Err(lost_run(&sheet.id)),
        }
    }

    fn note_made(&self, project: &str, run_id: &str, nodes: &[NodeSheet]) -> Result<(), Failure> {
        let mut by_pipeline: BTreeMap<&str, Vec<&NodeSheet>> = BTreeMap::new();
        for node in nodes {
            by_pipeline.entry(&node.pipeline).or_default().push(node);
        }
        for (pipeline, nodes) in by_pipeline {
            let path = format!("{}/made/{}.json", name_of(project), name_of(pipeline));
            self.desk.change(&path, |known: Option<MadeSheet>| {
                let mut sheet = known.unwrap_or_default();
                let mut is_new = false;
                for node in &nodes {
                    let known = sheet.nodes.get(&node.node);
                    if known.is_none_or(|known| known.run_id.as_str() <= run_id) {
                        let made = MadeNode {
                            run_id: run_id.to_owned(),
                            node: (*node).clone(),
                        };
                        sheet.nodes.insert(node.node.clone(), made);
                        is_new = true;
                    }
                }
                Ok(match is_new {
                    true => Change::Put(sheet, ()),
                    false => Change::Leave(()),
                })
            })?;
        }
        Ok(())
    }

    pub(super) fn finish(
        &self,
        run_id: &str,
        outcome: Outcome,
        exit_code: u8,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let note = |sheet: &mut RunSheet| {
            sheet.outcome = Some(outcome.word().to_owned());
            sheet.exit_code = Some(exit_code);
            sheet.ended_at = Some(at);
            sheet.told = true;
        };
        let project = {
            let mut all = lock(&self.own);
            let Some(own) = all.get_mut(run_id) else {
                return Err(internal(format!("run {run_id} was never begun")));
            };
            note(&mut own.sheet);
            own.is_dirty = true;
            self.flush(own)?;
            own.sheet.project.clone()
        };
        lock(&self.own).remove(run_id);
        self.desk.remove(&running_path(&project, run_id))
    }

    pub(super) fn find_crashed(&self, project: &str) -> Result<Vec<RunRecord>, Failure> {
        let mut crashed = Vec::new();
        for name in self.desk.names(&format!("{}/running", name_of(project)))? {
            let Some(run_id) = name.strip_suffix(".json") else {
                continue;
            };
            let running = self
                .desk
                .read::<RunningSheet>(&running_path(project, run_id))?;
            let Some((running, _)) = running else {
                continue;
            };
            // Whether a run lives that holds a lease, only who waits for that lease finds out.
            let mut holds = false;
            let is_dead = lock(&self.dead).contains(run_id);
            for pipeline in running.pipelines.iter().filter(|_| !is_dead) {
                let sheet = self.lease_sheet(project, pipeline)?;
                let holder = sheet.and_then(|sheet| sheet.holder);
                holds |= holder.is_some_and(|holder| holder.run_id == run_id);
            }
            if holds {
                continue;
            }
            let path = run_path(project, run_id);
            let found = self.desk.change(&path, |known: Option<RunSheet>| {
                Ok(match known {
                    // It was killed before it was noted.
                    None => Change::Leave(None),
                    Some(sheet) if sheet.outcome.is_some() => Change::Leave(Some(sheet)),
                    Some(mut sheet) => {
                        sheet.outcome = Some(CRASHED.to_owned());
                        Change::Put(sheet.clone(), Some(sheet))
                    }
                })
            })?;
            match found.filter(|sheet| !sheet.told) {
                Some(sheet) => crashed.push(record(sheet)),
                None => self.desk.remove(&running_path(project, run_id))?,
            }
        }
        crashed.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(crashed)
    }

    pub(super) fn note_told(&self, run_id: &str, outcome: Option<Outcome>) -> Result<(), Failure> {
        self.change_run(run_id, |sheet| {
            sheet.told = true;
            if let Some(outcome) = outcome {
                sheet.outcome = Some(outcome.word().to_owned());
            }
            true
        })?;
        // Whatever it was sending, it sends no more.
        self.desk
            .remove(&super::alert::sender_path(&self.project, run_id))?;
        self.desk.remove(&running_path(&self.project, run_id))
    }

    pub(super) fn find_interrupted(
        &self,
        project: &str,
        environment: Option<&str>,
        pipelines: &[&str],
    ) -> Result<BTreeMap<String, Interrupted>, Failure> {
        let environment = environment.unwrap_or_default();
        let mut found = BTreeMap::new();
        for pipeline in pipelines {
            let Some(mut sheet) = self.lease_sheet(project, pipeline)? else {
                continue;
            };
            let mut last = sheet.last;
            if let Some(one) = &last
                && let Some(of) = self.environment_of(one)?
                && of != environment
            {
                last = sheet.others.remove(environment);
            }
            if let Some(last) = last.filter(|last| !last.ended) {
                let interrupted = Interrupted {
                    run_id: last.run_id,
                    slot: last.slot,
                };
                found.insert((*pipeline).to_owned(), interrupted);
            }
        }
        Ok(found)
    }

    /// `""` for none; `None` where nobody knows it any more.
    fn environment_of(&self, last: &LastSheet) -> Result<Option<String>, Failure> {
        match &last.environment {
            Some(environment) => Ok(Some(environment.clone())),
            None => self.environment(&last.run_id),
        }
    }

    /// The environment of a run, `""` for none; `None` where the run is not known, or not any more.
    pub(super) fn environment(&self, run_id: &str) -> Result<Option<String>, Failure> {
        let of = |sheet: &RunSheet| sheet.selection.environment.clone().unwrap_or_default();
        if let Some(own) = lock(&self.own).get(run_id) {
            return Ok(Some(of(&own.sheet)));
        }
        Ok(self.run_sheet(run_id)?.as_ref().map(of))
    }

    /// The document of a run of this project; none where it is not there.
    pub(super) fn run_sheet(&self, run_id: &str) -> Result<Option<RunSheet>, Failure> {
        let read = self
            .desk
            .read::<RunSheet>(&run_path(&self.project, run_id))?;
        Ok(read.map(|(sheet, _)| sheet))
    }

    fn change_run(
        &self,
        run_id: &str,
        mut body: impl FnMut(&mut RunSheet) -> bool,
    ) -> Result<(), Failure> {
        let path = run_path(&self.project, run_id);
        self.desk.change(&path, |known: Option<RunSheet>| {
            let Some(mut sheet) = known else {
                return Ok(Change::Leave(()));
            };
            Ok(match body(&mut sheet) {
                true => Change::Put(sheet, ()),
                false => Change::Leave(()),
            })
        })
    }
}
