//! The shared state as [`State`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use odibi_run::port::Outbox;
use odibi_story::event::{NodeRef, Outcome};
use odibi_story::failure::Failure;

use super::SharedState;
use super::batch::SharedBatches;
use super::run::node_record;
use crate::alert::{AlertRecord, NewAlert, Posted};
use crate::lease::{Holder, Lease, LeaseRequest};
use crate::port::{EventsCopy, Journal, State};
use crate::run::{Interrupted, Made, NewRun, NodeEnd, NodeRecord, RunFilter, RunMark, RunRecord};

impl State for SharedState {
    fn lease(&self, request: &LeaseRequest<'_>) -> Result<Result<Lease, Holder>, Failure> {
        let taken = self.take(request)?;
        if taken.is_ok() {
            self.beat()?;
        }
        Ok(taken)
    }

    fn start(&self, run: &NewRun, leases: &[Lease]) -> Result<RunMark, Failure> {
        self.begin(run, leases)
    }

    fn note_digests(
        &self,
        run_id: &str,
        digests: &BTreeMap<NodeRef, String>,
    ) -> Result<(), Failure> {
        self.digests(run_id, digests)
    }

    fn node_ended(&self, run_id: &str, end: &NodeEnd<'_>) -> Result<(), Failure> {
        self.node_end(run_id, end)
    }

    fn end(
        &self,
        run_id: &str,
        outcome: Outcome,
        exit_code: u8,
        at: Timestamp,
    ) -> Result<(), Failure> {
        self.finish(run_id, outcome, exit_code, at)
    }

    fn crashed(&self, project: &str) -> Result<Vec<RunRecord>, Failure> {
        self.find_crashed(project)
    }

    fn told(&self, run_id: &str, outcome: Option<Outcome>) -> Result<(), Failure> {
        self.note_told(run_id, outcome)
    }

    fn interrupted(
        &self,
        project: &str,
        environment: Option<&str>,
        pipelines: &[&str],
    ) -> Result<BTreeMap<String, Interrupted>, Failure> {
        self.find_interrupted(project, environment, pipelines)
    }

    fn slots(&self, run_id: &str) -> Result<BTreeMap<String, String>, Failure> {
        let sheet = self.run_sheet(run_id)?;
        let slots = sheet.into_iter().flat_map(|sheet| sheet.pipelines);
        Ok(slots.map(|p| (p.pipeline, p.slot)).collect())
    }

    fn runs(&self, filter: &RunFilter<'_>) -> Result<Vec<RunRecord>, Failure> {
        self.find_runs(filter)
    }

    fn run(&self, project: &str, name: &str) -> Result<RunRecord, Failure> {
        self.find_run(project, name)
    }

    fn nodes(&self, run_id: &str) -> Result<Vec<NodeRecord>, Failure> {
        let sheet = self.run_sheet(run_id)?;
        let nodes = sheet.into_iter().flat_map(|sheet| sheet.nodes);
        Ok(nodes.map(node_record).collect())
    }

    fn made(&self, project: &str) -> Result<BTreeMap<NodeRef, Made>, Failure> {
        self.find_made(project)
    }

    fn batches(self: Arc<Self>, project: &str, run_id: &str, leases: &[Lease]) -> Arc<dyn Journal> {
        Arc::new(SharedBatches::new(self, project, run_id, leases))
    }

    fn events_shown(&self, run_id: &str) -> String {
        self.shown_events(run_id)
    }

    fn events(&self, run_id: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.read_events(run_id)
    }

    fn events_copy(&self, run_id: &str) -> Option<Box<dyn EventsCopy>> {
        Some(self.copy_of_events(run_id))
    }

    fn post(
        &self,
        alert: &NewAlert<'_>,
        render: &dyn Fn(u64) -> String,
    ) -> Result<Posted, Failure> {
        self.post_alert(alert, render)
    }

    fn alerts(
        &self,
        project: &str,
        run_id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AlertRecord>, Failure> {
        let mut all = self.all_alerts(project)?;
        all.retain(|alert| run_id.is_none_or(|id| alert.run_id == id));
        all.truncate(limit);
        Ok(all)
    }

    fn alert(&self, project: &str, id: &str) -> Result<Option<AlertRecord>, Failure> {
        let all = self.all_alerts(project)?;
        Ok(all.into_iter().find(|alert| alert.id == id))
    }

    fn alerts_again(
        &self,
        project: &str,
        environment: &str,
        failed_too: bool,
    ) -> Result<usize, Failure> {
        self.wake_alerts(project, environment, failed_too)
    }

    fn sender(
        self: Arc<Self>,
        claimant: &str,
        project: &str,
        environment: &str,
    ) -> Result<Arc<dyn Outbox>, Failure> {
        self.outbox(claimant, project, environment)
    }
}
