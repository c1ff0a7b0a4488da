//! Events of a run as lines of the log: one for each change of state, with its numbers.

use std::collections::BTreeMap;

use odibi_plan::config::LogLevel;
use odibi_story::event::{AlertFact, AlertState, Event, NodeFacts, NodeRef, Outcome, RunEvent};
use odibi_story::failure::Failure;
use odibi_story::render::{count, duration};

use super::entry::Joined;
use super::{Entry, Log};

/// Tells what happens in a run. Keeps what the closing line of a pipeline sums up.
pub(crate) struct Teller {
    log: Log,
    attempts: BTreeMap<NodeRef, Attempt>,
    sums: BTreeMap<String, Sum>,
}

/// What is known of a node at work.
#[derive(Default)]
struct Attempt {
    number: u32,
    rows_read: u64,
    rows_out: u64,
}

/// What the nodes of a pipeline did.
#[derive(Default)]
struct Sum {
    succeeded: u64,
    failed: u64,
    skipped: u64,
    cancelled: u64,
    numbers: Numbers,
}

#[derive(Default)]
struct Numbers {
    rows_read: u64,
    rows_out: u64,
    rows_written: u64,
    rows_quarantined: u64,
    bytes_read: u64,
    bytes: u64,
}

impl Teller {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            attempts: BTreeMap::new(),
            sums: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, event: &Event) {
        match &event.kind {
            RunEvent::RunStarted(run) => {
                let said = format!(
                    "run of `{}` started, odibi {}",
                    run.project, run.odibi_version
                );
                self.info(&Entry::new("run_started", &said));
            }
            RunEvent::PipelineStarted {
                pipeline, nodes, ..
            } => {
                let said = format!(
                    "pipeline `{pipeline}` started: {}",
                    count(nodes.len() as u64, "node")
                );
                self.info(&of(pipeline, Entry::new("pipeline_started", &said)));
            }
            RunEvent::AttemptStarted { node, attempt } => self.started(node, *attempt),
            RunEvent::NodeProgress {
                node,
                rows_read,
                rows_out,
            } => self.moved(node, *rows_read, *rows_out),
            RunEvent::AttemptFailed {
                node,
                attempt,
                failure,
                retry_in_ms,
            } => self.again(node, *attempt, failure, *retry_in_ms),
            RunEvent::NodeFinished {
                node,
                outcome,
                attempts,
                duration_ms,
                facts,
                failure,
            } => {
                let end = End {
                    node,
                    outcome: *outcome,
                    attempts: *attempts,
                    duration_ms: *duration_ms,
                    facts: facts.as_deref(),
                    failure: failure.as_ref(),
                };
                self.node_finished(&end);
            }
            RunEvent::PipelineFinished {
                pipeline,
                outcome,
                duration_ms,
            } => self.pipeline_finished(pipeline, *outcome, *duration_ms),
            RunEvent::RunFinished {
                outcome,
                duration_ms,
            } => self.run_finished(*outcome, *duration_ms),
            RunEvent::StoryWritten { .. }
            | RunEvent::StoryFailed { .. }
            | RunEvent::FailureCaptured { .. }
            | RunEvent::CaptureGivenUp { .. }
            | RunEvent::AlertSettled { .. }
            | RunEvent::SendingFailed { .. }
            | RunEvent::ExitDecided { .. }
            | RunEvent::RunCrashed { .. } => self.beside(&event.kind),
        }
    }

    /// What is said around the work itself.
    fn beside(&self, event: &RunEvent) {
        match event {
            RunEvent::StoryWritten { pipeline, paths } => {
                let said = format!("story of pipeline `{pipeline}` written");
                let entry = Entry {
                    path: paths.first().map(String::as_str),
                    ..Entry::new("story_written", &said)
                };
                self.info(&of(pipeline, entry));
            }
            RunEvent::StoryFailed { pipeline, failure } => {
                let said = format!("story of pipeline `{pipeline}`: {}", failure.message);
                let joined = Joined::of(failure);
                let entry = Entry::new("story_failed", &said).of_failure(failure, &joined);
                self.log.entry(LogLevel::Warning, &of(pipeline, entry));
            }
            RunEvent::FailureCaptured { node, step, path } => {
                let entry = Entry {
                    step: Some(*step as u64 + 1),
                    path: Some(path),
                    ..Entry::new("failure_captured", "the failure of a plugin was recorded")
                };
                self.info(&entry.of_node(node));
            }
            RunEvent::CaptureGivenUp {
                node,
                step,
                failure,
            } => {
                let said = format!(
                    "no capsule of `{node}`, step {}: {}",
                    step + 1,
                    failure.message
                );
                let joined = Joined::of(failure);
                let entry = Entry::new("capture_given_up", &said).of_failure(failure, &joined);
                self.log.entry(LogLevel::Warning, &entry.of_node(node));
            }
            RunEvent::AlertSettled { alert } => self.alert(alert),
            RunEvent::SendingFailed { what, failure } => {
                let said = format!("{}: {}", what.word(), failure.message);
                let joined = Joined::of(failure);
                let entry = Entry::new("sending_failed", &said).of_failure(failure, &joined);
                self.log.entry(LogLevel::Warning, &entry);
            }
            RunEvent::ExitDecided { exit_code } => {
                let said = format!("exit code {exit_code}");
                let entry = Entry {
                    exit_code: Some(u64::from(*exit_code)),
                    ..Entry::new("exit_decided", &said)
                };
                self.info(&entry);
            }
            RunEvent::RunCrashed { found_by } => {
                let said = format!("the run was killed before its end; found by run {found_by}");
                self.log
                    .entry(LogLevel::Warning, &Entry::new("run_crashed", &said));
            }
            RunEvent::RunStarted(_)
            | RunEvent::PipelineStarted { .. }
            | RunEvent::AttemptStarted { .. }
            | RunEvent::NodeProgress { .. }
            | RunEvent::AttemptFailed { .. }
            | RunEvent::NodeFinished { .. }
            | RunEvent::PipelineFinished { .. }
            | RunEvent::RunFinished { .. } => {}
        }
    }

    fn alert(&self, alert: &AlertFact) {
        let state = alert.state.word();
        let said = format!("alert `{}`: {} {state}", alert.channel, alert.about);
        let entry = Entry::new("alert_settled", &said);
        let level = match alert.state {
            AlertState::Delivered | AlertState::HeldBack => LogLevel::Info,
            AlertState::Waiting | AlertState::Failed => LogLevel::Warning,
        };
        match &alert.failure {
            Some(failure) => {
                let joined = Joined::of(failure);
                self.log.entry(level, &entry.of_failure(failure, &joined));
            }
            None => self.log.entry(level, &entry),
        }
    }

    fn info(&self, entry: &Entry<'_>) {
        self.log.entry(LogLevel::Info, entry);
    }

    fn started(&mut self, node: &NodeRef, number: u32) {
        let attempt = Attempt {
            number,
            ..Attempt::default()
        };
        self.attempts.insert(node.clone(), attempt);
        let said = format!("`{node}` started, attempt {number}");
        let entry = Entry {
            attempt: Some(number),
            ..Entry::new("attempt_started", &said)
        };
        self.info(&entry.of_node(node));
    }

    fn moved(&mut self, node: &NodeRef, rows_read: u64, rows_out: u64) {
        let attempt = self.attempts.entry(node.clone()).or_default();
        (attempt.rows_read, attempt.rows_out) = (rows_read, rows_out);
        let entry = Entry {
            attempt: Some(attempt.number),
            rows_read: Some(rows_read),
            rows_out: Some(rows_out),
            ..Entry::new("node_progress", "rows so far")
        };
        self.log.entry(LogLevel::Debug, &entry.of_node(node));
    }

    fn again(&mut self, node: &NodeRef, number: u32, failure: &Failure, retry_in_ms: u64) {
        let said = format!(
            "`{node}`: attempt {number} failed, again in {}: {}",
            duration(retry_in_ms),
            failure.message
        );
        let joined = Joined::of(failure);
        let entry = Entry {
            attempt: Some(number),
            retry_in_ms: Some(retry_in_ms),
            ..Entry::new("attempt_failed", &said).of_failure(failure, &joined)
        };
        self.log.entry(LogLevel::Warning, &entry.of_node(node));
    }

    fn node_finished(&mut self, end: &End<'_>) {
        let attempt = self.attempts.remove(end.node).unwrap_or_default();
        let numbers = Numbers::of(end.facts, &attempt);
        let mut said = format!("`{}` {}", end.node, end.outcome.word());
        if end.outcome != Outcome::Skipped {
            said.push_str(&format!(" in {}", duration(end.duration_ms)));
        }
        match (end.failure, end.facts) {
            (Some(failure), _) => said.push_str(&format!(": {}", failure.message)),
            (None, Some(facts)) => said.push_str(&format!(": {}", count(facts.rows_out, "row"))),
            (None, None) => {}
        }
        let joined = end.failure.map(Joined::of).unwrap_or_default();
        let mut entry = Entry::new("node_finished", &said);
        if let Some(failure) = end.failure {
            entry = entry.of_failure(failure, &joined);
        }
        let ran = end.attempts > 0;
        let entry = Entry {
            attempt: ran.then_some(end.attempts),
            outcome: Some(end.outcome.word()),
            duration_ms: Some(end.duration_ms),
            ..numbers.fill(entry)
        };
        let level = match end.outcome {
            Outcome::Succeeded => LogLevel::Info,
            Outcome::Recovered | Outcome::Skipped | Outcome::Cancelled => LogLevel::Warning,
            Outcome::Failed => LogLevel::Error,
        };
        self.log.entry(level, &entry.of_node(end.node));
        self.sums
            .entry(end.node.pipeline.clone())
            .or_default()
            .add(end.outcome, &numbers);
    }

    fn pipeline_finished(&mut self, pipeline: &str, outcome: Outcome, duration_ms: u64) {
        let said = format!(
            "pipeline `{pipeline}` {} in {}",
            outcome.word(),
            duration(duration_ms)
        );
        let sum = self.sums.remove(pipeline).unwrap_or_default();
        let entry = Entry {
            outcome: Some(outcome.word()),
            duration_ms: Some(duration_ms),
            nodes_succeeded: Some(sum.succeeded),
            nodes_failed: Some(sum.failed),
            nodes_skipped: Some(sum.skipped),
            nodes_cancelled: Some(sum.cancelled),
            ..sum.numbers.fill(Entry::new("pipeline_finished", &said))
        };
        self.log.entry(of_outcome(outcome), &of(pipeline, entry));
    }

    fn run_finished(&self, outcome: Outcome, duration_ms: u64) {
        let said = format!("run {} in {}", outcome.word(), duration(duration_ms));
        let entry = Entry {
            outcome: Some(outcome.word()),
            duration_ms: Some(duration_ms),
            ..Entry::new("run_finished", &said)
        };
        self.log.entry(of_outcome(outcome), &entry);
    }
}

/// How a node ended.
struct End<'a> {
    node: &'a NodeRef,
    outcome: Outcome,
    attempts: u32,
    duration_ms: u64,
    facts: Option<&'a NodeFacts>,
    failure: Option<&'a Failure>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome, of: &Numbers) {
        *match outcome {
            Outcome::Succeeded | Outcome::Recovered => &mut self.succeeded,
            Outcome::Failed => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
        let all = &mut self.numbers;
        for (all, one) in [
            (&mut all.rows_read, of.rows_read),
            (&mut all.rows_out, of.rows_out),
            (&mut all.rows_written, of.rows_written),
            (&mut all.rows_quarantined, of.rows_quarantined),
            (&mut all.bytes_read, of.bytes_read),
            (&mut all.bytes, of.bytes),
        ] {
            *all = all.saturating_add(one);
        }
    }
}

impl Numbers {
    /// Of a node that got to its end, or as far as it got.
    fn of(facts: Option<&NodeFacts>, attempt: &Attempt) -> Self {
        let Some(facts) = facts else {
            return Self {
                rows_read: attempt.rows_read,
                rows_out: attempt.rows_out,
                ..Self::default()
            };
        };
        let sources = facts.sources.iter().map(|file| file.bytes);
        Self {
            rows_read: facts.rows_in,
            rows_out: facts.rows_out,
            rows_written: facts.rows_written.unwrap_or(0),
            rows_quarantined: facts.rows_quarantined,
            bytes_read: sources.fold(0, u64::saturating_add),
            bytes: facts.target.as_ref().map_or(0, |file| file.bytes),
        }
    }

    fn fill<'a>(&self, entry: Entry<'a>) -> Entry<'a> {
        Entry {
            rows_read: Some(self.rows_read),
            rows_out: Some(self.rows_out),
            rows_written: Some(self.rows_written),
            rows_quarantined: Some(self.rows_quarantined),
            bytes_read: Some(self.bytes_read),
            bytes: Some(self.bytes),
            ..entry
        }
    }
}

fn of<'a>(pipeline: &'a str, entry: Entry<'a>) -> Entry<'a> {
    Entry {
        pipeline: Some(pipeline),
        ..entry
    }
}

fn of_outcome(outcome: Outcome) -> LogLevel {
    if outcome.is_success() {
        LogLevel::Info
    } else {
        LogLevel::Error
    }
}
