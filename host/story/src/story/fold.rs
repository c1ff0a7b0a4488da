//! Events into stories, one event at a time. Total: any events in any order make a story.
//!
//! Where two events contradict each other the one with the higher `seq` counts, so that the order in which they arrive
//! does not matter.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    AttemptStory, ColumnChanges, FORMAT_VERSION, Lineage, NodeStory, RowsSoFar, Status, Story,
    origins::Origins,
};
use crate::event::{
    AlertFact, Event, NodeFacts, NodeOutline, NodeRef, Outcome, RunEvent, RunStarted,
};
use crate::failure::Failure;

/// The story of `pipeline` as far as `events` tell it; `None` when they do not mention it.
#[must_use]
pub fn fold(events: &[Event], pipeline: &str) -> Option<Story> {
    let mut fold = Fold::default();
    for event in events {
        fold.push(event);
    }
    fold.take(pipeline)
}

/// Takes events as they come and tells the stories so far.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    run: Said<RunStarted>,
    exit_code: Said<u8>,
    crashed: Said<()>,
    /// By channel and event.
    alerts: BTreeMap<(String, String), Said<AlertFact>>,
    pipelines: BTreeMap<String, Pipeline>,
}

/// The newest thing that was said of something, with the `seq` and time of its event.
#[derive(Debug, Clone)]
struct Said<T>(Option<(u64, Timestamp, T)>);

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Said<T> {
    fn say(&mut self, event: &Event, value: T) {
        if self.0.as_ref().is_none_or(|(seq, _, _)| event.seq > *seq) {
            self.0 = Some((event.seq, event.at, value));
        }
    }

    fn what(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, _, value)| value)
    }

    fn what_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut().map(|(_, _, value)| value)
    }

    fn at(&self) -> Option<Timestamp> {
        self.0.as_ref().map(|(_, at, _)| *at)
    }
}

#[derive(Debug, Clone)]
struct Pipeline {
    seq_first: u64,
    at_first: Timestamp,
    at_last: Timestamp,
    started: Said<Started>,
    finished: Said<(Outcome, u64)>,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone)]
struct Started {
    description: Option<String>,
    nodes: Vec<NodeOutline>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    attempts: BTreeMap<u32, Attempt>,
    progress: Said<RowsSoFar>,
    finished: Said<Finished>,
}

#[derive(Debug, Clone, Default)]
struct Attempt {
    started: Said<()>,
    failed: Said<(Failure, u64)>,
}

#[derive(Debug, Clone)]
struct Finished {
    outcome: Outcome,
    attempts: u32,
    duration_ms: u64,
    facts: Option<Box<NodeFacts>>,
    failure: Option<Failure>,
}

impl Fold {
    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        match &event.kind {
            RunEvent::RunStarted(run) => self.run.say(event, run.clone()),
            RunEvent::ExitDecided { exit_code } => self.exit_code.say(event, *exit_code),
            RunEvent::PipelineStarted {
                pipeline,
                description,
                nodes,
            } => {
                let started = Started {
                    description: description.clone(),
                    nodes: nodes.clone(),
                };
                self.pipeline(event, pipeline).started.say(event, started);
            }
            RunEvent::AttemptStarted { node, attempt } => {
                self.node(event, node)
                    .attempts
                    .entry(*attempt)
                    .or_default()
                    .started
                    .say(event, ());
            }
            RunEvent::NodeProgress {
                node,
                rows_read,
                rows_out,
            } => {
                let rows = RowsSoFar {
                    rows_read: *rows_read,
                    rows_out: *rows_out,
                };
                self.node(event, node).progress.say(event, rows);
            }
            RunEvent::AttemptFailed {
                node,
                attempt,
                failure,
                retry_in_ms,
            } => {
                let attempts = &mut self.node(event, node).attempts;
                attempts
                    .entry(*attempt)
                    .or_default()
                    .failed
                    .say(event, (failure.clone(), *retry_in_ms));
            }
            RunEvent::NodeFinished {
                node,
                outcome,
                attempts,
                duration_ms,
                facts,
                failure,
            } => {
                let finished = Finished {
                    outcome: *outcome,
                    attempts: *attempts,
                    duration_ms: *duration_ms,
                    facts: facts.clone(),
                    failure: failure.clone(),
                };
                self.node(event, node).finished.say(event, finished);
            }
            RunEvent::PipelineFinished {
                pipeline,
                outcome,
                duration_ms,
            } => {
                self.pipeline(event, pipeline)
                    .finished
                    .say(event, (*outcome, *duration_ms));
            }
            RunEvent::RunCrashed { .. } => self.crashed.say(event, ()),
            RunEvent::AlertSettled { alert } => {
                let key = (alert.channel.clone(), alert.about.clone());
                if alert.of_run.is_none() {
                    let said = self.alerts.entry(key).or_default();
                    said.say(event, alert.clone());
                }
            }
            // A story does not tell of stories, a recorded failure names its capsule itself, and the end of the run is not
            // the end of a pipeline.
            RunEvent::StoryWritten { .. }
            | RunEvent::StoryFailed { .. }
            | RunEvent::FailureCaptured { .. }
            | RunEvent::CaptureGivenUp { .. }
            | RunEvent::SendingFailed { .. }
            | RunEvent::RunFinished { .. } => {}
        }
    }

    /// The pipelines that were mentioned, in the order of their first mention.
    #[must_use]
    pub fn pipelines(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .pipelines
            .iter()
            .map(|(name, p)| (p.seq_first, name.as_str()))
            .collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// The story of a pipeline so far; `None` when it was not mentioned yet.
    #[must_use]
    pub fn story(&self, pipeline: &str) -> Option<Story> {
        let told = self.pipelines.get(pipeline)?.clone();
        Some(self.tell(pipeline, told))
    }

    /// As [`Self::story`], for the last time: what is known of the pipeline is not copied, and forgotten.
    #[must_use]
    pub fn take(&mut self, pipeline: &str) -> Option<Story> {
        let told = self.pipelines.remove(pipeline)?;
        Some(self.tell(pipeline, told))
    }

    fn tell(&self, pipeline: &str, mut told: Pipeline) -> Story {
        let run = self.run.what();
        let started_at = told.started.at().unwrap_or(told.at_first);
        let crashed = self.crashed.what().is_some();
        let cut_short = if crashed {
            Status::Crashed
        } else {
            Status::Unfinished
        };
        let mut nodes = told.node_stories(cut_short);
        let origins = Origins::of(pipeline, &nodes);
        for (node, origins) in nodes.iter_mut().zip(origins.nodes) {
            node.column_origins = origins;
        }
        Story {
            format_version: FORMAT_VERSION,
            run_id: run.map(|r| r.run_id.clone()).unwrap_or_default(),
            project: run.map(|r| r.project.clone()).unwrap_or_default(),
            pipeline: pipeline.to_owned(),
            description: told.started.what().and_then(|s| s.description.clone()),
            outcome: told
                .finished
                .what()
                .map_or(cut_short, |(outcome, _)| (*outcome).into()),
            started_at,
            ended_at: told.finished.at(),
            duration_ms: told
                .finished
                .what()
                .map_or_else(|| between_ms(started_at, told.at_last), |(_, ms)| *ms),
            logical_time: run.map(|r| r.logical_time),
            odibi_version: run.map(|r| r.odibi_version.clone()).unwrap_or_default(),
            config_digest: run.map(|r| r.config_digest.clone()).unwrap_or_default(),
            config_files: run.map(|r| r.config_files.clone()).unwrap_or_default(),
            workers: run.map(|r| r.workers).unwrap_or_default(),
            host: run.and_then(|r| r.host.clone()),
            git_commit: run.and_then(|r| r.git_commit.clone()),
            environment: run.and_then(|r| r.environment.clone()),
            user: run.and_then(|r| r.user.clone()),
            continues: run.and_then(|r| r.continues.clone()),
            exit_code: self.exit_code.what().copied(),
            lineage: Lineage::of(pipeline, &nodes),
            column_lineage: origins.datasets,
            alerts: self.alerts_of(pipeline),
            comparison: None,
            history: Vec::new(),
            nodes,
        }
    }

    /// Alerts that tell of the pipeline, or of all.
    #[must_use]
    pub fn alerts_of(&self, pipeline: &str) -> Vec<AlertFact> {
        let alerts = self.alerts.values().filter_map(Said::what);
        let concerns = |alert: &&AlertFact| {
            alert.pipelines.is_empty() || alert.pipelines.iter().any(|name| name == pipeline)
        };
        alerts.filter(concerns).cloned().collect()
    }

    fn pipeline(&mut self, event: &Event, name: &str) -> &mut Pipeline {
        let pipeline = self
            .pipelines
            .entry(name.to_owned())
            .or_insert_with(|| Pipeline {
                seq_first: event.seq,
                at_first: event.at,
                at_last: event.at,
                started: Said::default(),
                finished: Said::default(),
                nodes: BTreeMap::new(),
            });
        pipeline.seq_first = pipeline.seq_first.min(event.seq);
        pipeline.at_first = pipeline.at_first.min(event.at);
        pipeline.at_last = pipeline.at_last.max(event.at);
        pipeline
    }

    fn node(&mut self, event: &Event, node: &NodeRef) -> &mut Node {
        self.pipeline(event, &node.pipeline)
            .nodes
            .entry(node.name.clone())
            .or_default()
    }
}

impl Pipeline {
    /// The nodes of the outline in its order, then others that were mentioned, by name.
    fn node_stories(&mut self, cut_short: Status) -> Vec<NodeStory> {
        let outlines = self.started.what().map(|started| started.nodes.clone());
        let mut outlines = outlines.unwrap_or_default();
        let known: BTreeSet<&str> = outlines.iter().map(|o| o.name.as_str()).collect();
        let unknown = self
            .nodes
            .keys()
            .filter(|name| !known.contains(name.as_str()));
        let extra: Vec<NodeOutline> = unknown.map(|name| NodeOutline::named(name)).collect();
        outlines.extend(extra);
        let told = |outline: NodeOutline| {
            let node = self.nodes.remove(&outline.name).unwrap_or_default();
            node.story(outline, self.at_last, cut_short)
        };
        outlines.into_iter().map(told).collect()
    }
}

impl Node {
    /// `cut_short` is what became of that which began and did not end.
    fn story(mut self, outline: NodeOutline, at_last: Timestamp, cut_short: Status) -> NodeStory {
        let facts = self.finished.what_mut().and_then(|f| f.facts.take());
        let facts = facts.map(|facts| *facts);
        let finished = self.finished.what();
        let started_at = self.attempts.values().filter_map(|a| a.started.at()).min();
        let begun = !self.attempts.is_empty() || self.progress.what().is_some();
        let so_far_ms = started_at.map_or(0, |started| between_ms(started, at_last));
        let columns = facts
            .as_ref()
            .map(|facts| ColumnChanges::between(&facts.schema_in, &facts.schema_out))
            .unwrap_or_default();
        NodeStory {
            outline,
            outcome: match finished {
                Some(finished) => finished.outcome.into(),
                None if begun => cut_short,
                None => Status::NotStarted,
            },
            started_at,
            ended_at: self.finished.at(),
            duration_ms: finished.map_or(so_far_ms, |f| f.duration_ms),
            attempts: self.attempt_stories(cut_short),
            progress: if finished.is_some() {
                None
            } else {
                self.progress.what().copied()
            },
            facts,
            columns,
            column_origins: Vec::new(),
            failure: finished.and_then(|f| f.failure.clone()),
        }
    }

    fn attempt_stories(&self, cut_short: Status) -> Vec<AttemptStory> {
        let finished = self.finished.what();
        let story = |(number, attempt): (&u32, &Attempt)| {
            let last = finished.filter(|finished| finished.attempts == *number);
            let failed = attempt.failed.what();
            let outcome = match (failed, last) {
                // Also when the node was cancelled in the pause that followed.
                (Some(_), _) => Status::Failed,
                (None, Some(finished)) => match finished.outcome {
                    // A node recovers; the attempt that did it succeeded.
                    Outcome::Recovered => Status::Succeeded,
                    Outcome::Succeeded
                    | Outcome::Failed
                    | Outcome::Skipped
                    | Outcome::Cancelled => finished.outcome.into(),
                },
                (None, None) => cut_short,
            };
            AttemptStory {
                attempt: *number,
                started_at: attempt.started.at(),
                outcome,
                failure: failed.map_or_else(
                    || last.and_then(|f| f.failure.clone()),
                    |(f, _)| Some(f.clone()),
                ),
                retry_in_ms: failed.map(|(_, ms)| *ms),
            }
        };
        self.attempts.iter().map(story).collect()
    }
}

fn between_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond().saturating_sub(from.as_millisecond())).unwrap_or(0)
}

#[cfg(test)]
mod tests;
