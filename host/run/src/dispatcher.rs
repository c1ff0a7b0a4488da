//! The run as a whole: which node starts when, what is said of it, how it ends. The only place that numbers events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use odibi_plan::Plan;
use odibi_plan::plan::NodeId;
use odibi_story::Withhold;
use odibi_story::event::{Event, FORMAT_VERSION, Outcome, RunEvent, RunStarted};
use odibi_story::failure::{Failure, FailureClass, Place, code};
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};

use crate::executor::{Executor, NodeEnd, Said, SaidWhat, cancelled, panicked};
use crate::port::{Cancel, Clock, EventSink, Ports, Progress};

mod endings;
mod outline;
mod schedule;

use endings::{PipelineRun, worst};
use outline::reference;
use schedule::Schedule;

/// Pause between two looks at the progress of running nodes.
const PROGRESS_INTERVAL_MS: u64 = 250;
/// Messages from executors that may wait for the dispatcher.
const MESSAGES_MAX: usize = 64;

/// Finds the place in the configuration that a failure of a node belongs to.
pub type PlaceOf = Arc<dyn Fn(NodeId, &Failure) -> Option<Place> + Send + Sync>;

/// How a plan is to be run.
#[derive(Clone, Default)]
pub struct Settings {
    /// UUIDv7.
    pub run_id: String,
    /// Earlier run that this one goes on with, or repeats.
    pub continues: Option<String>,
    /// Whose writes a pipeline makes: the id of the earlier run that it goes on with. Its own, where there is none.
    pub slots: BTreeMap<String, String>,
    /// Nodes run side by side, at most; 0 counts as 1.
    pub workers: usize,
    /// Version of odibi, for the events.
    pub odibi_version: String,
    /// The run's logical time: what guests see as the clock.
    pub logical_time: Timestamp,
    /// Sample rows kept for each node.
    pub sample_rows_max: usize,
    /// Gives failures their place.
    pub place: Option<PlaceOf>,
    /// Name of the machine, for the events.
    pub host: Option<String>,
    /// Git commit of the project's directory, for the events.
    pub git_commit: Option<String>,
    /// Environment that was chosen, for the events.
    pub environment: Option<String>,
    /// Who started it, when that is to be told.
    pub user: Option<String>,
    /// Key of the fingerprints that stand for withheld text: random, and kept nowhere.
    pub fingerprint_key: [u8; 32],
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The worst of its nodes: failed, then cancelled, skipped, recovered, succeeded. Nodes whose `on_error` is `ignore` do
    /// not count when they failed or were skipped.
    pub outcome: Outcome,
    /// Nodes that succeeded at the first attempt.
    pub succeeded: usize,
    /// Nodes that succeeded at a later one.
    pub recovered: usize,
    /// Nodes that failed.
    pub failed: usize,
    /// Nodes that were not tried because of another.
    pub skipped: usize,
    /// Nodes that were interrupted, or not started because the run was.
    pub cancelled: usize,
}

/// Runs a plan to its end. Must be called inside a tokio runtime: every node is a task of its own, and all of them are
/// aborted when the future is dropped.
///
/// Says everything to `sink`, from `RunStarted` to `RunFinished`. What a failed node stops is told by its `on_error`. When
/// `cancel` is asked no further node starts, running ones are told, and the run ends when they have.
pub async fn run(
    plan: &Plan,
    ports: &Ports,
    settings: &Settings,
    cancel: &Cancel,
    sink: &mut dyn EventSink,
) -> Summary {
    let (tell, said) = mpsc::channel(MESSAGES_MAX);
    let voice = Voice {
        sink,
        clock: ports.clock.clone(),
        seq: 0,
        withhold: plan
            .is_private()
            .then(|| Withhold::new(settings.fingerprint_key)),
    };
    let started_ms = ports.clock.monotonic_ms();
    let mut dispatcher = Dispatcher {
        plan,
        ports,
        settings,
        cancel,
        voice,
        schedule: Schedule::new(plan),
        tasks: JoinSet::new(),
        running: BTreeMap::new(),
        ids: HashMap::new(),
        pipelines: PipelineRun::all(plan),
        outcomes: Vec::new(),
        tell,
        said,
        started_ms,
    };
    dispatcher.run_started();
    dispatcher.run_nodes().await;
    dispatcher.run_finished()
}

struct Dispatcher<'a> {
    plan: &'a Plan,
    ports: &'a Ports,
    settings: &'a Settings,
    cancel: &'a Cancel,
    voice: Voice<'a>,
    schedule: Schedule,
    tasks: JoinSet<NodeEnd>,
    /// Of the nodes that run.
    running: BTreeMap<usize, Watched>,
    ids: HashMap<task::Id, usize>,
    pipelines: Vec<PipelineRun>,
    /// Of every node that ended, and whether it counts for the run.
    outcomes: Vec<(Outcome, bool)>,
    tell: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    started_ms: u64,
}

/// The progress of a running node.
#[derive(Default)]
struct Watched {
    attempt: u32,
    progress: Arc<Progress>,
    told: (u64, u64),
}

/// Gives events their number and time.
struct Voice<'a> {
    sink: &'a mut dyn EventSink,
    clock: Arc<dyn Clock>,
    seq: u64,
    /// Where a column of the run is sensitive: what every event goes through.
    withhold: Option<Withhold>,
}

impl Voice<'_> {
    fn say(&mut self, mut kind: RunEvent) {
        match &self.withhold {
            Some(withhold) => withhold.event(&mut kind),
            None => untold(&mut kind),
        }
        let event = Event {
            seq: self.seq,
            at: self.clock.now(),
            kind,
        };
        self.seq += 1;
        self.sink.emit(&event);
    }
}

/// Where nothing is sensitive there is nothing to tell of it.
fn untold(event: &mut RunEvent) {
    if let RunEvent::NodeFinished {
        facts: Some(facts), ..
    } = event
    {
        facts.privacy = None;
    }
}

impl Dispatcher<'_> {
    fn run_started(&mut self) {
        self.voice.say(RunEvent::RunStarted(RunStarted {
            format_version: FORMAT_VERSION,
            run_id: self.settings.run_id.clone(),
            project: self.plan.project.clone(),
            odibi_version: self.settings.odibi_version.clone(),
            logical_time: self.settings.logical_time,
            config_digest: self.plan.config_digest.clone(),
            config_files: self.plan.config_files.clone(),
            workers: self.settings.workers.max(1),
            host: self.settings.host.clone(),
            git_commit: self.settings.git_commit.clone(),
            continues: self.settings.continues.clone(),
            environment: self.settings.environment.clone(),
            user: self.settings.user.clone(),
        }));
        for pipeline in 0..self.pipelines.len() {
            if self.pipelines[pipeline].nodes_left == 0 {
                self.pipeline_started(pipeline);
                self.pipeline_finished(pipeline);
            }
        }
    }

    async fn run_nodes(&mut self) {
        let clock = self.ports.clock.clone();
        let mut look = clock.sleep_ms(PROGRESS_INTERVAL_MS);
        let mut cancelling = false;
        loop {
            if self.cancel.is_cancelled() {
                cancelling = true;
                for node in self.schedule.take_open() {
                    self.not_tried(node, Outcome::Cancelled, cancelled());
                }
            }
            self.start_ready();
            if self.tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(said) = self.said.recv() => self.hear(said),
                Some(ended) = self.tasks.join_next_with_id() => self.task_ended(ended),
                () = self.cancel.cancelled(), if !cancelling => {}
                () = &mut look => {
                    self.look_at_progress();
                    look = clock.sleep_ms(PROGRESS_INTERVAL_MS);
                }
            }
        }
        // Empty unless the plan itself is broken: a dependency that is not in it, or a cycle.
        for node in self.schedule.take_open() {
            let message = "the dependencies of this node can never be met";
            self.not_tried(
                node,
                Outcome::Failed,
                Failure::new(FailureClass::Internal, code::RUN_STUCK, message),
            );
        }
    }

    fn run_finished(mut self) -> Summary {
        let count = |outcome| self.outcomes.iter().filter(|o| o.0 == outcome).count();
        let counted = self.outcomes.iter().filter(|(_, counts)| *counts);
        let counted: Vec<Outcome> = counted.map(|(outcome, _)| *outcome).collect();
        let summary = Summary {
            outcome: worst(&counted),
            succeeded: count(Outcome::Succeeded),
            recovered: count(Outcome::Recovered),
            failed: count(Outcome::Failed),
            skipped: count(Outcome::Skipped),
            cancelled: count(Outcome::Cancelled),
        };
        let duration_ms = self.since_ms(self.started_ms);
        self.voice.say(RunEvent::RunFinished {
            outcome: summary.outcome,
            duration_ms,
        });
        summary
    }

    fn start_ready(&mut self) {
        while self.running.len() < self.settings.workers.max(1) {
            let Some(node) = self.schedule.start_next() else {
                break;
            };
            let planned = &self.plan.nodes[node];
            self.pipeline_of_node_started(node);
            let executor = Executor {
                // The index is the identity here, whatever the node says of itself.
                node: odibi_plan::plan::PlannedNode {
                    id: NodeId(node),
                    ..planned.clone()
                },
                run_id: self.settings.run_id.clone(),
                slot: self
                    .settings
                    .slots
                    .get(&planned.pipeline)
                    .unwrap_or(&self.settings.run_id)
                    .clone(),
                logical_time: self.settings.logical_time,
                sample_rows_max: self.settings.sample_rows_max,
                engine: self.ports.engine.clone(),
                transforms: self.ports.transforms.clone(),
                clock: self.ports.clock.clone(),
                cancel: self.cancel.clone(),
                said: self.tell.clone(),
            };
            let handle = self.tasks.spawn(executor.run());
            self.ids.insert(handle.id(), node);
            self.running.insert(node, Watched::default());
        }
    }

    fn hear(&mut self, said: Said) {
        let Said {
            node: NodeId(index),
            attempt,
            what,
        } = said;
        let node = reference(&self.plan.nodes[index]);
        match what {
            SaidWhat::Started { progress } => {
                self.running.insert(
                    index,
                    Watched {
                        attempt,
                        progress,
                        told: (0, 0),
                    },
                );
                self.voice.say(RunEvent::AttemptStarted { node, attempt });
            }
            SaidWhat::Failed {
                failure,
                retry_in_ms,
            } => {
                let failure = self.placed(index, *failure);
                self.voice.say(RunEvent::AttemptFailed {
                    node,
                    attempt,
                    failure,
                    retry_in_ms,
                });
            }
        }
    }

    fn look_at_progress(&mut self) {
        for (node, watched) in &mut self.running {
            let rows = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let now = (
                rows(&watched.progress.rows_read),
                rows(&watched.progress.rows_out),
            );
            if now != watched.told {
                watched.told = now;
                let node = reference(&self.plan.nodes[*node]);
                self.voice.say(RunEvent::NodeProgress {
                    node,
                    rows_read: now.0,
                    rows_out: now.1,
                });
            }
        }
    }

    fn task_ended(&mut self, ended: Result<(task::Id, NodeEnd), JoinError>) {
        // What the node said before it ended may still wait.
        while let Ok(said) = self.said.try_recv() {
            self.hear(said);
        }
        let (id, end) = match ended {
            Ok((id, end)) => (id, Ok(end)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(node) = self.ids.remove(&id) else {
            return;
        };
        let watched = self.running.remove(&node).unwrap_or_default();
        let end = end.unwrap_or_else(|error| NodeEnd {
            outcome: Outcome::Failed,
            attempts: watched.attempt,
            duration_ms: 0,
            facts: None,
            failure: Some(error.try_into_panic().map_or_else(
                |_| {
                    Failure::new(
                        FailureClass::Internal,
                        code::RUN_PANIC,
                        "the task of this node was aborted",
                    )
                },
                |payload| panicked(&*payload),
            )),
        });
        self.node_ended(node, end);
    }
}

#[cfg(test)]
mod tests;
