//! Runs that were killed: their event logs and stories are brought to their end by the next run of the project in the
//! same environment.
//!
//! A run counts as told once its story is written, or can never be, its alerts are posted and its log is whole. When
//! anything of that fails, the next start does all of it again: a story has one place, an alert one id, and a log is
//! replaced as a whole.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use odibi_engine::DataEngine;
use odibi_plan::plan;
use odibi_state::{NodeEnd, NodeRecord, RunRecord, State};
use odibi_story::Outcome;
use odibi_story::event::{Event, FORMAT_VERSION, NodeOutline, RunEvent, RunStarted};
use odibi_story::failure::{Failure, FailureClass, code};

use crate::kept::StatePlace;
use crate::outside::Outside;
use crate::printer::Printer;
use crate::stories;

/// Locked, beside the log of a killed run, by the process that tells of it.
const LOCK: &str = "recovery.lock";
/// Extension of what a log was, where some of its lines cannot be read.
const DAMAGED: &str = "damaged.jsonl";

/// Who finds, and with what.
pub(crate) struct Finder<'a> {
    pub(crate) state: &'a dyn State,
    pub(crate) place: &'a StatePlace,
    pub(crate) engine: &'a DataEngine,
    pub(crate) project: &'a str,
    /// Only runs of the same are told: the stories and alerts of others have other receivers.
    pub(crate) environment: Option<&'a str>,
    pub(crate) story: Option<&'a plan::Story>,
    pub(crate) outside: &'a Outside,
    pub(crate) run_id: &'a str,
    pub(crate) now: Timestamp,
}

/// Tells of every run of the project and environment that was killed since. What goes wrong keeps no run from starting,
/// and leaves the killed one to the next start.
pub(crate) fn recover(finder: &Finder<'_>, printer: &Printer) -> Result<(), Failure> {
    for run in untold(finder)? {
        recover_one(finder, &run, printer)?;
    }
    Ok(())
}

fn recover_one(finder: &Finder<'_>, run: &RunRecord, printer: &Printer) -> Result<(), Failure> {
    let path = finder.place.log_path(&run.id);
    let later = |error: &std::io::Error| {
        printer.warning(&format!(
            "run {} was killed, and its end could not be told: {error}; the next start tries again, and does without the event log if it is removed: {}",
            run.id,
            path.display()
        ));
    };
    let _alone = match Alone::beside(&path) {
        Ok(Some(alone)) => alone,
        // Another start tells of it right now.
        Ok(None) => return Ok(()),
        Err(error) => {
            later(&error);
            return Ok(());
        }
    };
    // Who was alone with it before has told of it.
    if !untold(finder)?.iter().any(|one| one.id == run.id) {
        return Ok(());
    }
    match tell(finder, run, &path, printer) {
        Ok(outcome) => {
            finder.state.told(&run.id, outcome)?;
            if outcome.is_none() {
                printer.info(&format!("run {} was killed before its end", run.id));
            }
        }
        Err(error) => later(&error),
    }
    Ok(())
}

fn untold(finder: &Finder<'_>) -> Result<Vec<RunRecord>, Failure> {
    let mut runs = finder.state.crashed(finder.project)?;
    runs.retain(|run| run.selection.environment.as_deref() == finder.environment);
    Ok(runs)
}

/// The events of a log up to where it was cut off.
pub(crate) fn read_log(bytes: &[u8]) -> std::io::Result<Vec<Event>> {
    lines(bytes).map(event).collect()
}

/// Whole lines.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    bytes[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

fn event(line: &[u8]) -> std::io::Result<Event> {
    let event: Event = serde_json::from_slice(line).map_err(std::io::Error::other)?;
    check_version(&event)?;
    Ok(event)
}

fn check_version(event: &Event) -> std::io::Result<()> {
    if let RunEvent::RunStarted(run) = &event.kind
        && run.format_version > FORMAT_VERSION
    {
        let what = "its event log was written by a newer odibi";
        return Err(std::io::Error::other(what));
    }
    Ok(())
}

/// The outcome of a run that had ended after all.
fn tell(
    finder: &Finder<'_>,
    run: &RunRecord,
    path: &Path,
    printer: &Printer,
) -> std::io::Result<Option<Outcome>> {
    let run_id = &run.id;
    let known = log_of(finder, run_id, path)?;
    let mut log = Log::read(&known)?;
    // The thread that notes how nodes end may have been killed behind the log.
    for end in log.events.iter().filter_map(node_end) {
        let noted = finder.state.node_ended(run_id, &end);
        noted.map_err(std::io::Error::other)?;
    }
    let ended = log.events.iter().find_map(|event| {
        if let RunEvent::RunFinished { outcome, .. } = event.kind {
            Some(outcome)
        } else {
            None
        }
    });
    for kind in beginning(finder.state, run, &log)? {
        log.say(run.started_at, kind);
    }
    let said = |event: &Event| matches!(event.kind, RunEvent::RunCrashed { .. });
    if ended.is_none() && !log.events.iter().any(said) {
        let crashed = RunEvent::RunCrashed {
            found_by: finder.run_id.to_owned(),
        };
        log.say(finder.now, crashed);
    }
    let events = log.events.clone();
    let mut unwritten = Ok(());
    let mut say = |kind: RunEvent| {
        if let RunEvent::StoryFailed { failure, .. } = &kind
            && failure.class == FailureClass::Transient
        {
            unwritten = Err(failure.clone());
        }
        log.say(finder.now, kind);
    };
    let written = stories::write(&events, finder.story, finder.engine, finder.now, &mut say);
    let posted = finder.outside.found(&written);
    if log.damaged > 0 {
        keep_damaged(run_id, path, &known, log.damaged, printer)?;
    }
    log.put(path, finder.run_id)?;
    if let Some(mut copy) = finder.state.events_copy(run_id) {
        match copy.put(&log.text) {
            // Another machine has brought it to its end as well.
            Err(failure) if failure.code == code::STATE_LEASE_LOST.name => {}
            copied => copied.map_err(std::io::Error::other)?,
        }
    }
    posted.and(unwritten).map_err(std::io::Error::other)?;
    Ok(ended)
}

/// Beside the log that tells what can be read lies what it was.
fn keep_damaged(
    run_id: &str,
    path: &Path,
    known: &[u8],
    damaged: usize,
    printer: &Printer,
) -> std::io::Result<()> {
    let kept = path.with_extension(DAMAGED);
    make_dir(&kept)?;
    std::fs::write(&kept, known)?;
    let kept = kept.display();
    printer.warning(&format!(
        "lines of the event log of run {run_id} that cannot be read are left out: {damaged}; as it was it is kept: {kept}"
    ));
    Ok(())
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
    Ok(if here.len() >= there.len() {
        here
    } else {
        there
    })
}

/// What is known of a run that was killed before it told which pipelines it has, or whose words cannot be read.
fn beginning(state: &dyn State, run: &RunRecord, log: &Log) -> std::io::Result<Vec<RunEvent>> {
    let has = |is: &dyn Fn(&RunEvent) -> bool| log.events.iter().any(|event| is(&event.kind));
    let mut told = Vec::new();
    if !has(&|kind| matches!(kind, RunEvent::RunStarted(_))) {
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
    if log.damaged == 0 && has(&|kind| matches!(kind, RunEvent::PipelineStarted { .. })) {
        return Ok(told);
    }
    let nodes = state.nodes(&run.id).map_err(std::io::Error::other)?;
    for name in &run.pipelines {
        let begun = |kind: &RunEvent| matches!(kind, RunEvent::PipelineStarted { pipeline, .. } if pipeline == name);
        if has(&begun) {
            continue;
        }
        let known = |node: &&NodeRecord| {
            node.node.pipeline == *name && node.outcome.as_deref() != Some("kept")
        };
        let nodes = nodes.iter().filter(known);
        told.push(RunEvent::PipelineStarted {
            pipeline: name.clone(),
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

/// What a run has said, and what is said of it now.
#[derive(Default)]
struct Log {
    events: Vec<Event>,
    /// The same as it is written.
    text: Vec<u8>,
    /// Lines that cannot be read.
    damaged: usize,
    failed: Option<serde_json::Error>,
}

impl Log {
    /// All that can be read. What a newer odibi has written is left to it.
    fn read(bytes: &[u8]) -> std::io::Result<Self> {
        let mut log = Self::default();
        for line in lines(bytes) {
            let Ok(event) = serde_json::from_slice::<Event>(line) else {
                log.damaged += 1;
                continue;
            };
            check_version(&event)?;
            log.text.extend_from_slice(line);
            log.text.push(b'\n');
            log.events.push(event);
        }
        Ok(log)
    }

    fn say(&mut self, at: Timestamp, kind: RunEvent) {
        let last = self.events.iter().map(|event| event.seq).max();
        let seq = last.map_or(0, |seq| seq + 1);
        let event = Event { seq, at, kind };
        match serde_json::to_vec(&event) {
            Ok(line) => {
                self.text.extend(line);
                self.text.push(b'\n');
            }
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
        self.events.push(event);
    }

    /// Replaces the log in one step: others see it as it was, or whole. No two processes have the same `name`.
    fn put(&mut self, path: &Path, name: &str) -> std::io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error.into());
        }
        make_dir(path)?;
        let unfinished = path.with_extension(format!("{name}.new"));
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(&self.text)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, path)
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    }
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// Keeps the other processes of this machine from telling of the same run.
struct Alone {
    path: PathBuf,
    _lock: File,
}

impl Alone {
    /// `None` while another process tells of the run.
    fn beside(log: &Path) -> std::io::Result<Option<Self>> {
        let path = log.with_file_name(LOCK);
        make_dir(&path)?;
        loop {
            let lock = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            match lock.try_lock() {
                // A file system may have no locks. What two do then comes to the same.
                Ok(()) | Err(TryLockError::Error(_)) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
            }
            // Whoever held it has removed the file, and another may have made a new one.
            if lock.metadata()?.nlink() > 0 {
                return Ok(Some(Self { path, _lock: lock }));
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // While the lock is held.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What keeps a run from starting, or its end from being noted.
pub(crate) fn warn(what: &str, failure: &Failure, printer: &Printer) {
    printer.warning(what);
    printer.failure(failure);
}
