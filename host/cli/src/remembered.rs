//! A run's place among the others: the leases it holds, whose writes it goes on with, and what is noted of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use odibi_plan::Plan;
use odibi_run::port::BatchLog;
use odibi_run::port::Clock as _;
use odibi_state::{
    Lease, LeaseRequest, NewRun, NodeEnd, NodeRecord, PipelineSlot, RunMark, RunSelection, State,
};
use odibi_story::event::{Event, FileFact, NodeRef, Outcome};
use odibi_story::failure::Failure;

use crate::args::Options;
use crate::clock::SystemClock;
use crate::printer::Printer;
use crate::recovery::node_end;

/// A run that is about to begin.
pub(crate) struct Beginning<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) plan: &'a Plan,
    pub(crate) config_path: String,
    pub(crate) selection: RunSelection,
    pub(crate) logical_time: Timestamp,
    /// Of all its pipelines.
    pub(crate) leases: Vec<Lease>,
    /// The run that is repeated or resumed, on purpose.
    pub(crate) repeats: Option<Repeated>,
}

/// A run that is repeated in part.
pub(crate) struct Repeated {
    pub(crate) run_id: String,
    /// Its slots, by pipeline.
    pub(crate) slots: BTreeMap<String, String>,
    /// Nodes that are not run again.
    pub(crate) kept: Vec<NodeRecord>,
}

/// A run that has begun. Dropped without [`Remembered::end`], it was interrupted.
pub(crate) struct Remembered {
    state: Arc<dyn State>,
    run_id: String,
    project: String,
    leases: Vec<Lease>,
    slots: BTreeMap<String, String>,
    continues: Option<String>,
    notes: mpsc::Sender<Note>,
    writer: JoinHandle<Result<(), Failure>>,
    mark: RunMark,
}

/// How a node ended, on its way to the thread that writes it down.
struct Note {
    node: NodeRef,
    outcome: Outcome,
    attempts: u32,
    duration_ms: u64,
    rows_written: Option<u64>,
    target: Option<FileFact>,
    failure_code: Option<String>,
}

impl Remembered {
    /// Notes the run.
    ///
    /// # Errors
    /// The state cannot be used.
    pub(crate) fn begin(
        state: Arc<dyn State>,
        run: Beginning<'_>,
        clock: &SystemClock,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let leases = run.leases;
        let project = &run.plan.project;
        let names: Vec<&str> = leases.iter().map(Lease::pipeline).collect();
        let environment = run.selection.environment.as_deref();
        let interrupted = state.interrupted(project, environment, &names)?;
        let mut slots = BTreeMap::new();
        let mut continues = None;
        if let Some(repeated) = &run.repeats {
            slots.clone_from(&repeated.slots);
            continues = Some(repeated.run_id.clone());
        } else {
            for (pipeline, last) in interrupted {
                printer.info(&format!(
                    "going on with run {}, which was interrupted: what it wrote of pipeline `{pipeline}` counts",
                    last.run_id
                ));
                continues = continues.max(Some(last.run_id));
                slots.insert(pipeline, last.slot);
            }
        }
        let pipelines = leases.iter().map(|lease| PipelineSlot {
            pipeline: lease.pipeline().to_owned(),
            slot: slots
                .get(lease.pipeline())
                .map_or_else(|| run.run_id.to_owned(), String::clone),
            epoch: lease.epoch(),
        });
        let new = NewRun {
            id: run.run_id.to_owned(),
            project: project.clone(),
            config_path: run.config_path,
            config_digest: run.plan.config_digest.clone(),
            selection: run.selection,
            continues: continues.clone(),
            logical_time: run.logical_time,
            odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: clock.now(),
            pipelines: pipelines.collect(),
            nodes: run
                .plan
                .nodes
                .iter()
                .map(|node| NodeRef {
                    pipeline: node.pipeline.clone(),
                    name: node.name.clone(),
                })
                .collect(),
            kept: run
                .repeats
                .map(|repeated| repeated.kept)
                .unwrap_or_default(),
        };
        let mark = state.start(&new, &leases)?;
        let (notes, taken) = mpsc::channel();
        let writer = writer(Arc::clone(&state), run.run_id.to_owned(), taken)?;
        Ok(Self {
            state,
            run_id: run.run_id.to_owned(),
            project: project.clone(),
            leases,
            slots,
            continues,
            notes,
            writer,
            mark,
        })
    }

    /// The batches of the project, as this run may change them.
    pub(crate) fn batches(&self) -> Arc<dyn BatchLog> {
        let state = Arc::clone(&self.state);
        state.batches(&self.project, &self.run_id, &self.leases)
    }

    /// Whose writes its pipelines make, where not its own.
    pub(crate) fn slots(&self) -> &BTreeMap<String, String> {
        &self.slots
    }

    /// The earlier run that it goes on with, or repeats.
    pub(crate) fn continues(&self) -> Option<&String> {
        self.continues.as_ref()
    }

    /// Notes how a node ended; soon, on another thread.
    pub(crate) fn note(&self, event: &Event) {
        let Some(end) = node_end(event) else { return };
        // A writer that has given up says so at the end.
        let _ = self.notes.send(Note {
            node: end.node.clone(),
            outcome: end.outcome,
            attempts: end.attempts,
            duration_ms: end.duration_ms,
            rows_written: end.rows_written,
            target: end.target.cloned(),
            failure_code: end.failure_code.map(str::to_owned),
        });
    }

    /// Notes how the run ended, and lets others work on its pipelines. To remove the mark is the last thing to be done.
    ///
    /// # Errors
    /// The next run takes this one for killed.
    pub(crate) fn end(
        self,
        outcome: Outcome,
        exit_code: u8,
        at: Timestamp,
    ) -> Result<RunMark, Failure> {
        drop(self.notes);
        let written = self.writer.join().unwrap_or_else(|_| {
            Err(thread_failed(
                "the thread that notes how nodes end panicked",
            ))
        });
        written.and_then(|()| self.state.end(&self.run_id, outcome, exit_code, at))?;
        Ok(self.mark)
    }
}

fn writer(
    state: Arc<dyn State>,
    run_id: String,
    notes: mpsc::Receiver<Note>,
) -> Result<JoinHandle<Result<(), Failure>>, Failure> {
    let body = move || {
        notes.into_iter().try_for_each(|note| {
            let end = NodeEnd {
                node: &note.node,
                outcome: note.outcome,
                attempts: note.attempts,
                duration_ms: note.duration_ms,
                rows_written: note.rows_written,
                target: note.target.as_ref(),
                failure_code: note.failure_code.as_deref(),
            };
            state.node_ended(&run_id, &end)
        })
    };
    std::thread::Builder::new()
        .name("odibi-state".to_owned())
        .spawn(body)
        .map_err(|error| {
            thread_failed("the system refused to start a thread").cause(error.to_string())
        })
}

fn thread_failed(message: &str) -> Failure {
    let class = odibi_story::FailureClass::Limit;
    Failure::new(
        class,
        odibi_story::failure::code::RESOURCES_THREADS,
        message,
    )
}

/// Those of all pipelines of the plan, in the order of their names: no two runs can wait for each other.
///
/// # Errors
/// `state/lease-held`; the state cannot be used.
pub(crate) fn leases(
    state: &dyn State,
    run_id: &str,
    plan: &Plan,
    options: &Options,
    clock: &SystemClock,
    printer: &Printer,
) -> Result<Vec<Lease>, Failure> {
    let pipelines = plan.nodes.iter().map(|node| node.pipeline.as_str());
    let pipelines: BTreeSet<&str> = pipelines.collect();
    let wait_ms = u64::try_from(options.wait.as_millis()).unwrap_or(u64::MAX);
    let until_ms = clock.monotonic_ms().saturating_add(wait_ms);
    let mut leases = Vec::new();
    for pipeline in pipelines {
        let mut told = false;
        let lease = loop {
            let request = LeaseRequest {
                project: &plan.project,
                pipeline,
                run_id,
                now: clock.now(),
                take_over: options.take_over,
            };
            let holder = match state.lease(&request)? {
                Ok(lease) => break lease,
                Err(holder) => holder,
            };
            let left_ms = until_ms.saturating_sub(clock.monotonic_ms());
            // Who was killed holds nothing, but that may take a while to be seen.
            if left_ms == 0 && !holder.is_silent {
                return Err(holder.failure());
            }
            if !std::mem::replace(&mut told, true) {
                let what = match left_ms {
                    0 => "looking whether that run is alive",
                    _ => "waiting",
                };
                printer.info(&format!("{what}: {}", holder.failure().message));
            }
            let pause_ms = match left_ms {
                0 => holder.pause_ms,
                left_ms => holder.pause_ms.min(left_ms),
            };
            std::thread::sleep(Duration::from_millis(pause_ms));
        };
        leases.push(lease);
    }
    Ok(leases)
}
