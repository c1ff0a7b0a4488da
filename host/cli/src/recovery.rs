//! Runs that were killed: their event logs and stories are brought to their end by the next run of the project.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use odibi_engine::DataEngine;
use odibi_plan::plan;
use odibi_state::{NodeEnd, StateDb};
use odibi_story::event::{Event, FORMAT_VERSION, RunEvent};
use odibi_story::failure::Failure;

use crate::outside::Outside;
use crate::printer::Printer;
use crate::{project, stories};

/// Who finds, and with what.
pub(crate) struct Finder<'a> {
    pub(crate) db: &'a StateDb,
    pub(crate) engine: &'a DataEngine,
    pub(crate) project: &'a str,
    pub(crate) story: Option<&'a plan::Story>,
    pub(crate) outside: &'a Outside,
    pub(crate) run_id: &'a str,
    pub(crate) now: Timestamp,
}

/// Tells of every run of the project that was killed since. What goes wrong keeps no run from starting.
pub(crate) fn recover(finder: &Finder<'_>, printer: &Printer) -> Result<(), Failure> {
    for run in finder.db.crashed(finder.project)? {
        let path = log_path(finder.db, &run.id);
        let outcome = match tell(finder, &run.id, &path) {
            Ok(outcome) => outcome,
            Err(error) => {
                let warning = printer.styled("1;33", "warning:");
                let path = path.display();
                printer.problem(&format!(
                    "{warning} the event log of run {} could not be brought to its end: {path}: {error}\n",
                    run.id
                ));
                None
            }
        };
        finder.db.told(&run.id, outcome)?;
        if outcome.is_none() {
            printer.info(&format!("run {} was killed before its end\n", run.id));
        }
    }
    Ok(())
}

/// Where the events of a run lie.
pub(crate) fn log_path(db: &StateDb, run_id: &str) -> PathBuf {
    db.directory()
        .join("runs")
        .join(run_id)
        .join("events.jsonl")
}

/// The events of a log up to where it was cut off, and how many bytes they are.
pub(crate) fn read_log(path: &Path) -> std::io::Result<(Vec<Event>, u64)> {
    let bytes = std::fs::read(path)?;
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
    run_id: &str,
    path: &Path,
) -> std::io::Result<Option<odibi_story::Outcome>> {
    let (mut events, whole_bytes) = read_log(path)?;
    // The thread that notes how nodes end may have been killed behind the log.
    for end in events.iter().filter_map(node_end) {
        let noted = finder.db.node_ended(run_id, &end);
        noted.map_err(std::io::Error::other)?;
    }
    let ended = events.iter().find_map(|event| {
        if let RunEvent::RunFinished { outcome, .. } = event.kind {
            Some(outcome)
        } else {
            None
        }
    });
    let file = File::options().append(true).open(path)?;
    file.set_len(whole_bytes)?;
    let mut log = Log { file, failed: None };
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
    let written = stories::write(&events, finder.story, finder.engine, &mut say);
    finder.outside.ended(&written);
    log.failed.map_or(Ok(ended), Err)
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
    printer.problem(&format!("{} {what}\n", printer.styled("1;33", "warning:")));
    project::print_failure(failure, printer);
}
