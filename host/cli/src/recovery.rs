//! Runs that were killed: their event logs and stories are brought to their end by the next run of the project.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;
use odibi_engine::DataEngine;
use odibi_plan::plan;
use odibi_state::{NodeEnd, NodeRecord, RunRecord, State};
use odibi_story::event::{Event, FORMAT_VERSION, NodeOutline, RunEvent, RunStarted};
use odibi_story::failure::Failure;

use crate::kept::StatePlace;
use crate::outside::Outside;
use crate::printer::Printer;
use crate::stories;

/// Who finds, and with what.
pub(crate) struct Finder<'a> {
    pub(crate) state: &'a dyn State,
    pub(crate) place: &'a StatePlace,
    pub(crate) engine: &'a DataEngine,
    pub(crate) project: &'a str,
    pub(crate) story: Option<&'a plan::Story>,
    pub(crate) outside: &'a Outside,
    pub(crate) run_id: &'a str,
    pub(crate) now: Timestamp,
}

/// Tells of every run of the project that was killed since. What goes wrong keeps no run from starting.
pub(crate) fn recover(finder: &Finder<'_>, printer: &Printer) -> Result<(), Failure> {
    for run in finder.state.crashed(finder.project)? {
        let path = finder.place.log_path(&run.id);
        let outcome = match tell(finder, &run, &path) {
            Ok(outcome) => outcome,
            Err(error) => {
                let path = path.display();
                printer.warning(&format!(
                    "the event log of run {} could not be brought to its end: {path}: {error}",
                    run.id
                ));
                None
            }
        };
        finder.state.told(&run.id, outcome)?;
        if outcome.is_none() {
            printer.info(&format!("run {} was killed before its end", run.id));
        }
    }
    Ok(())
}

/// The events of a log up to where it was cut off, and how many bytes they are.
pub(crate) fn read_log(bytes: &[u8]) -> std::io::Result<(Vec<Event>, u64)> {
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut events = Vec::new();
    for line in bytes[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let event: Event = serde_json::from_slice(line).map_err(std::io::Error::other)?;
        if let RunEvent::RunStarted(run) = &event.kind
            && run.format_version > FORMAT_VERSION
        {
            let what = "it was written by a newer odibi";
            return Err(std::io::Error::other(what));
        }
        events.push(event);
    }
    Ok((events, whole as u64))
}

/// The outcome of a run that had ended after all.
fn tell(
    finder: &Finder<'_>,
    run: &RunRecord,
    path: &Path,
) -> std::io::Result<Option<odibi_story::Outcome>> {
    let run_id = &run.id;
    let known = log_of(finder, run_id, path)?;
    let (mut events, whole_bytes) = read_log(&known)?;
    // The thread that notes how nodes end may have been killed behind the log.
    for end in events.iter().filter_map(node_end) {
        let noted = finder.state.node_ended(run_id, &end);
        noted.map_err(std::io::Error::other)?;
    }
    let ended = events.iter().find_map(|event| {
        if let RunEvent::RunFinished { outcome, .. } = event.kind {
            Some(outcome)
        } else {
            None
        }
    });
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    file.set_len(whole_bytes)?;
    let mut log = Log { file, failed: None };
    for kind in beginning(finder.state, run, &events)? {
        log.say(&mut events, run.started_at, kind);
    }
    let said = |events: &[Event]| {
        events
            .iter()
            .any(|event| matches!(event.kind, RunEvent::RunCrashed { .. }))
    };
    if ended.is_none() && !said(&events) {
        let crashed = RunEvent::RunCrashed {
            found_by: finder.run_id.to_owned(),
        };
        log.say(&mut events, finder.now, crashed);
    }
    let mut more = events.clone();
    let mut say = |kind| log.say(&mut more, finder.now, kind);
    let written = stories::write(&events, finder.story, finder.engine, finder.now, &mut say);
    finder.outside.found(&written);
    if let Some(mut copy) = finder.state.events_copy(run_id) {
        copy.put(&std::fs::read(path)?)
            .map_err(std::io::Error::other)?;
    }
    log.failed.map_or(Ok(ended), Err)
}

/// What a run has said: nothing, when it was killed before it said anything. What this machine has of it is longer than
/// what others see, when it was run here.
fn log_of(finder: &Finder<'_>, run_id: &str, path: &Path) -> std::io::Result<Vec<u8>> {
    let here = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    if !finder.place.is_shared() {
        return Ok(here);
    }
    let there = finder.state.events(run_id).map_err(std::io::Error::other)?;
    let there = there.unwrap_or_default();
    if here.len() >= there.len() {
        return Ok(here);
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, &there)?;
    Ok(there)
}

/// What is known of a run that was killed before it told which pipelines it has.
fn beginning(
    state: &dyn State,
    run: &RunRecord,
    events: &[Event],
) -> std::io::Result<Vec<RunEvent>> {
    let begun = |event: &Event| matches!(event.kind, RunEvent::PipelineStarted { .. });
    if events.iter().any(begun) {
        return Ok(Vec::new());
    }
    let mut told = Vec::new();
    if events.is_empty() {
        told.push(RunEvent::RunStarted(RunStarted {
            format_version: FORMAT_VERSION,
            run_id: run.id.clone(),
            project: run.project.clone(),
            odibi_version: run.odibi_version.clone(),
            logical_time: run.logical_time,
            config_digest: run.config_digest.clone(),
            config_files: vec![run.config_path.clone()],
            workers: 0,
            host: None,
            git_commit: None,
            continues: run.continues.clone(),
            environment: run.selection.environment.clone(),
            user: None,
        }));
    }
    let nodes = state.nodes(&run.id).map_err(std::io::Error::other)?;
    for pipeline in &run.pipelines {
        let known = |node: &&NodeRecord| {
            node.node.pipeline == *pipeline && node.outcome.as_deref() != Some("kept")
        };
        let nodes = nodes.iter().filter(known);
        told.push(RunEvent::PipelineStarted {
            pipeline: pipeline.clone(),
            description: None,
            nodes: nodes
                .map(|node| NodeOutline::named(&node.node.name))
                .collect(),
        });
    }
    Ok(told)
}

/// How a node ended, when an event says that.
pub(crate) fn node_end(event: &Event) -> Option<NodeEnd<'_>> {
    let RunEvent::NodeFinished {
        node,
        outcome,
        attempts,
        duration_ms,
        facts,
        failure,
    } = &event.kind
    else {
        return None;
    };
    Some(NodeEnd {
        node,
        outcome: *outcome,
        attempts: *attempts,
        duration_ms: *duration_ms,
        rows_written: facts.as_ref().and_then(|facts| facts.rows_written),
        target: facts.as_ref().and_then(|facts| facts.target.as_ref()),
        failure_code: failure.as_ref().map(|failure| failure.code.as_str()),
    })
}

struct Log {
    file: File,
    failed: Option<std::io::Error>,
}

impl Log {
    fn say(&mut self, events: &mut Vec<Event>, at: Timestamp, kind: RunEvent) {
        let seq = events.last().map_or(0, |event| event.seq + 1);
        let event = Event { seq, at, kind };
        let written = serde_json::to_vec(&event)
            .map_err(std::io::Error::other)
            .and_then(|mut line| {
                line.push(b'\n');
                self.file.write_all(&line)
            });
        self.failed = self.failed.take().or(written.err());
        events.push(event);
    }
}

/// What keeps a run from starting, or its end from being noted.
pub(crate) fn warn(what: &str, failure: &Failure, printer: &Printer) {
    printer.warning(what);
    printer.failure(failure);
}
