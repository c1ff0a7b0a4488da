//! What a run and the commands that look at runs ask of the state, whatever it is kept in.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use odibi_run::port::{BatchLog, Outbox};
use odibi_story::event::{NodeRef, Outcome};
use odibi_story::failure::Failure;

use crate::alert::{AlertRecord, AlertSender, NewAlert, Posted};
use crate::batch::Batches;
use crate::db::{StateDb, beside};
use crate::lease::{Holder, Lease, LeaseRequest};
use crate::run::{Interrupted, Made, NewRun, NodeEnd, NodeRecord, RunFilter, RunMark, RunRecord};

/// What odibi remembers between runs. Calls block; what is noted is durable when a call returns, but for how nodes end,
/// which may follow a moment later and is whole when [`State::end`] returns. What cannot be read is a failure and never
/// an empty answer.
pub trait State: Debug + Send + Sync {
    /// Takes a lease; or says who holds it.
    ///
    /// # Errors
    /// The state cannot be used.
    fn lease(&self, request: &LeaseRequest<'_>) -> Result<Result<Lease, Holder>, Failure>;

    /// Notes a run before its first node starts. Its leases are those of its pipelines.
    ///
    /// # Errors
    /// The state cannot be used, or a lease is lost: the run must not begin.
    fn start(&self, run: &NewRun, leases: &[Lease]) -> Result<RunMark, Failure>;

    /// Notes what the nodes of a run are: hashes of what their rows follow from.
    ///
    /// # Errors
    /// The state cannot be used.
    fn note_digests(
        &self,
        run_id: &str,
        digests: &BTreeMap<NodeRef, String>,
    ) -> Result<(), Failure>;

    /// Notes how a node ended.
    ///
    /// # Errors
    /// The state cannot be used: the next run may repeat the node.
    fn node_ended(&self, run_id: &str, end: &NodeEnd<'_>) -> Result<(), Failure>;

    /// Notes how a run ended. Until its [`RunMark`] is removed as well, the next run goes on with its writes.
    ///
    /// # Errors
    /// The state cannot be used: the next run takes this one for killed.
    fn end(
        &self,
        run_id: &str,
        outcome: Outcome,
        exit_code: u8,
        at: Timestamp,
    ) -> Result<(), Failure>;

    /// Notes of every run whose process is gone without its end that it crashed; and returns those of a project whose
    /// story was not brought to its end yet, the oldest first.
    ///
    /// # Errors
    /// The state cannot be used.
    fn crashed(&self, project: &str) -> Result<Vec<RunRecord>, Failure>;

    /// Notes that the story of a crashed run has its end. `outcome` when its events say that it had ended after all.
    ///
    /// # Errors
    /// The state cannot be used: it will be told again.
    fn told(&self, run_id: &str, outcome: Option<Outcome>) -> Result<(), Failure>;

    /// Of these pipelines those whose last run in the same environment did not come to its end. Their leases are held by
    /// the caller.
    ///
    /// # Errors
    /// The state cannot be used.
    fn interrupted(
        &self,
        project: &str,
        environment: Option<&str>,
        pipelines: &[&str],
    ) -> Result<BTreeMap<String, Interrupted>, Failure>;

    /// Slots of the pipelines of a run.
    ///
    /// # Errors
    /// The state cannot be used.
    fn slots(&self, run_id: &str) -> Result<BTreeMap<String, String>, Failure>;

    /// Runs, the newest first.
    ///
    /// # Errors
    /// The state cannot be used.
    fn runs(&self, filter: &RunFilter<'_>) -> Result<Vec<RunRecord>, Failure>;

    /// The run of an id, or of the beginning of one; `last` is the newest of the project.
    ///
    /// # Errors
    /// `state/no-run`; the state cannot be used.
    fn run(&self, project: &str, name: &str) -> Result<RunRecord, Failure>;

    /// The nodes of a run, in order; those that were kept come last.
    ///
    /// # Errors
    /// The state cannot be used.
    fn nodes(&self, run_id: &str) -> Result<Vec<NodeRecord>, Failure>;

    /// The last success of each node of a project.
    ///
    /// # Errors
    /// The state cannot be used.
    fn made(&self, project: &str) -> Result<BTreeMap<NodeRef, Made>, Failure>;

    /// The batches of a project, as a run that holds these leases sees and changes them.
    fn batches(self: Arc<Self>, project: &str, run_id: &str, leases: &[Lease]) -> Arc<dyn Journal>;

    /// Where the events of a run lie, as messages show it.
    fn events_shown(&self, run_id: &str) -> String;

    /// What a run has said, as far as that is known here; `None` when nothing is.
    ///
    /// # Errors
    /// The state cannot be read.
    fn events(&self, run_id: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Where the events of a run are copied to, when the directory of this machine is not where others look for them.
    fn events_copy(&self, run_id: &str) -> Option<Box<dyn EventsCopy>>;

    /// Posts an alert. `render` makes its text, and is told how many of its kind were held back before it.
    ///
    /// # Errors
    /// The state cannot be used: it is not posted.
    fn post(&self, alert: &NewAlert<'_>, render: &dyn Fn(u64) -> String)
    -> Result<Posted, Failure>;

    /// Alerts of a project, the newest first; of one run, when that is named.
    ///
    /// # Errors
    /// The state cannot be used.
    fn alerts(
        &self,
        project: &str,
        run_id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AlertRecord>, Failure>;

    /// One alert.
    ///
    /// # Errors
    /// The state cannot be used.
    fn alert(&self, project: &str, id: &str) -> Result<Option<AlertRecord>, Failure>;

    /// Lets alerts that were given up be sent again, and those that are put off be sent now. How many wait then.
    ///
    /// # Errors
    /// The state cannot be used.
    fn alerts_again(
        &self,
        project: &str,
        environment: &str,
        failed_too: bool,
    ) -> Result<usize, Failure>;

    /// Sends the alerts of one project and environment, under a name that no other sender has.
    ///
    /// # Errors
    /// The state cannot be used.
    fn sender(
        self: Arc<Self>,
        claimant: &str,
        project: &str,
        environment: &str,
    ) -> Result<Arc<dyn Outbox>, Failure>;
}

/// The batches of one project, and how far it has read.
pub trait Journal: BatchLog {
    /// As [`BatchLog::committed`]; watermarks advance with it, and none is ever ahead of its target.
    ///
    /// # Errors
    /// As `committed`.
    fn committed_with(
        &self,
        target: &str,
        batch: &str,
        watermarks: &[(&str, &str)],
    ) -> Result<(), Failure>;

    /// How far something was read; `None` when nothing was noted of it.
    ///
    /// # Errors
    /// The memory cannot be read.
    fn watermark(&self, key: &str) -> Result<Option<String>, Failure>;
}

/// The events of one run, where others can read them. Only one process writes them at a time.
pub trait EventsCopy: Debug + Send {
    /// Replaces what was copied before.
    ///
    /// # Errors
    /// `state/lease-lost` when somebody else has brought the events to their end; the store cannot be written.
    fn put(&mut self, events: &[u8]) -> Result<(), Failure>;
}

impl State for StateDb {
    fn lease(&self, request: &LeaseRequest<'_>) -> Result<Result<Lease, Holder>, Failure> {
        self.lease(request)
    }

    fn start(&self, run: &NewRun, _: &[Lease]) -> Result<RunMark, Failure> {
        let mark = RunMark::create(self, &run.id)?;
        self.begin(run)?;
        Ok(mark)
    }

    fn note_digests(
        &self,
        run_id: &str,
        digests: &BTreeMap<NodeRef, String>,
    ) -> Result<(), Failure> {
        self.note_digests(run_id, digests)
    }

    fn node_ended(&self, run_id: &str, end: &NodeEnd<'_>) -> Result<(), Failure> {
        self.node_ended(run_id, end)
    }

    fn end(
        &self,
        run_id: &str,
        outcome: Outcome,
        exit_code: u8,
        at: Timestamp,
    ) -> Result<(), Failure> {
        self.end(run_id, outcome, exit_code, at)
    }

    fn crashed(&self, project: &str) -> Result<Vec<RunRecord>, Failure> {
        self.crashed(project)
    }

    fn told(&self, run_id: &str, outcome: Option<Outcome>) -> Result<(), Failure> {
        self.told(run_id, outcome)
    }

    fn interrupted(
        &self,
        project: &str,
        environment: Option<&str>,
        pipelines: &[&str],
    ) -> Result<BTreeMap<String, Interrupted>, Failure> {
        self.interrupted(project, environment, pipelines.iter().copied())
    }

    fn slots(&self, run_id: &str) -> Result<BTreeMap<String, String>, Failure> {
        self.slots(run_id)
    }

    fn runs(&self, filter: &RunFilter<'_>) -> Result<Vec<RunRecord>, Failure> {
        self.runs(filter)
    }

    fn run(&self, project: &str, name: &str) -> Result<RunRecord, Failure> {
        self.run(project, name)
    }

    fn nodes(&self, run_id: &str) -> Result<Vec<NodeRecord>, Failure> {
        self.nodes(run_id)
    }

    fn made(&self, project: &str) -> Result<BTreeMap<NodeRef, Made>, Failure> {
        self.made(project)
    }

    fn batches(self: Arc<Self>, project: &str, run_id: &str, leases: &[Lease]) -> Arc<dyn Journal> {
        let epochs = leases.iter().map(|l| (l.pipeline().to_owned(), l.epoch()));
        Arc::new(Batches::new(self, project, run_id, epochs.collect()))
    }

    fn events_shown(&self, run_id: &str) -> String {
        self.events_path(run_id).display().to_string()
    }

    fn events(&self, run_id: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.events_path(run_id);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(beside(&error, &path)),
        }
    }

    fn events_copy(&self, _: &str) -> Option<Box<dyn EventsCopy>> {
        None
    }

    fn post(
        &self,
        alert: &NewAlert<'_>,
        render: &dyn Fn(u64) -> String,
    ) -> Result<Posted, Failure> {
        self.post(alert, render)
    }

    fn alerts(
        &self,
        project: &str,
        run_id: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AlertRecord>, Failure> {
        self.alerts(project, run_id, limit)
    }

    fn alert(&self, _: &str, id: &str) -> Result<Option<AlertRecord>, Failure> {
        self.alert(id)
    }

    fn alerts_again(
        &self,
        project: &str,
        environment: &str,
        failed_too: bool,
    ) -> Result<usize, Failure> {
        self.alerts_again(project, environment, failed_too)
    }

    fn sender(
        self: Arc<Self>,
        claimant: &str,
        project: &str,
        environment: &str,
    ) -> Result<Arc<dyn Outbox>, Failure> {
        let sender = AlertSender::new(self, claimant, project, environment)?;
        Ok(Arc::new(sender))
    }
}
