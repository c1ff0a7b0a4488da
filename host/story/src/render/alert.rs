//! Alerts: what those who are told of a run read, in the form that their channel takes. Pure; whoever calls it sends them.
//!
//! [`AlertBody`] is what there is to say. A webhook of one's own gets it as it is; Slack and Teams get cards made of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use odibi_plan::plan::{AlertChannel, AlertEvent, AlertKind};
use serde::{Deserialize, Serialize};

use super::MESSAGE_CHARS_MAX;
use super::escape::{cut, plain};
use super::section::compare::anomaly_words;
use super::words::{count, duration};
use crate::event::NodeFacts;
use crate::failure::Place;
use crate::story::compare::Anomaly;
use crate::story::{NodeStory, Status, Story};

mod slack;
mod teams;
#[cfg(test)]
mod tests;

/// Version of the format of [`AlertBody`].
pub const FORMAT_VERSION: u32 = 1;
/// Pipelines that one alert lists; the others are counted.
const PIPELINES_MAX: usize = 50;
/// Failed nodes of one pipeline that an alert lists; the others are in its counts.
const FAILURES_MAX: usize = 20;
/// Anomalies of one pipeline that an alert lists.
const ANOMALIES_MAX: usize = 50;

/// One alert. A serialised format: what a webhook receives, described by `docs/alert.schema.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertBody {
    /// [`FORMAT_VERSION`]. Within a version, fields are only added.
    pub format_version: u32,
    /// The same for every try to deliver this alert.
    pub id: String,
    /// What it is about: `on_failure`.
    pub event: String,
    /// True for one that `odibi alerts test` has sent: nothing has happened.
    pub test: bool,
    /// `project:` of the YAML.
    pub project: String,
    /// Environment that was chosen.
    pub environment: Option<String>,
    /// UUIDv7.
    pub run_id: String,
    /// When the run began.
    #[cfg_attr(test, schemars(with = "String"))]
    pub started_at: Timestamp,
    /// How the run ended; absent when it has only begun.
    pub outcome: Option<Status>,
    /// How long it took; absent when it has only begun.
    pub duration_ms: Option<u64>,
    /// Name of the machine.
    pub host: Option<String>,
    /// Version of odibi.
    pub odibi_version: String,
    /// Alerts of the same kind that were held back before this one.
    pub held_back: u64,
    /// What `metadata` of the channel says besides.
    pub metadata: BTreeMap<String, String>,
    /// The pipelines that it tells of.
    pub pipelines: Vec<AlertPipeline>,
    /// Further ones, which are not listed.
    pub pipelines_omitted: u64,
}

/// A pipeline of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertPipeline {
    /// Its name.
    pub pipeline: String,
    /// How it ended; absent when it has only begun.
    pub outcome: Option<Status>,
    /// How long it took.
    pub duration_ms: u64,
    /// Its nodes.
    pub nodes: u64,
    /// How many nodes have each outcome.
    pub counts: BTreeMap<String, u64>,
    /// Rows that its nodes wrote.
    pub rows_written: u64,
    /// Rows that were set aside, or could not be understood.
    pub rows_quarantined: u64,
    /// Files of its story, as a person would type them.
    pub story: Vec<String>,
    /// Nodes that failed.
    pub failures: Vec<AlertFailure>,
    /// What is far from the last successful run.
    pub anomalies: Vec<Anomaly>,
    /// It succeeded, and the run before it had not.
    pub previous_failed: bool,
}

/// A node that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertFailure {
    /// Its name.
    pub node: String,
    /// Attempts that were made.
    pub attempts: u64,
    /// Class of the failure.
    pub class: String,
    /// Its code, which `odibi explain` knows.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// Where in the configuration.
    pub place: Option<Place>,
    /// What to do.
    pub hints: Vec<String>,
}

/// What the stories of a run give cause to tell. Of its ending there is one thing to say for each channel, see [`picks`].
#[must_use]
pub fn occasions(stories: &[&Story]) -> Vec<AlertEvent> {
    let Some(outcome) = outcome(stories) else {
        return Vec::new();
    };
    let nodes = || stories.iter().flat_map(|story| &story.nodes);
    let has_recovered = || stories.iter().any(|s| previous_failed(s));
    let mut found = vec![match outcome {
        Status::Succeeded if has_recovered() => AlertEvent::Recovered,
        Status::Succeeded => AlertEvent::Success,
        Status::Recovered => AlertEvent::Recovered,
        Status::Failed
        | Status::Skipped
        | Status::Cancelled
        | Status::Unfinished
        | Status::Crashed
        | Status::NotStarted => AlertEvent::Failure,
    }];
    if nodes().any(|node| set_aside(node) > 0) {
        found.push(AlertEvent::Quarantine);
    }
    if nodes().any(is_gate_block) {
        found.push(AlertEvent::GateBlock);
    }
    if stories.iter().any(|story| !anomalies(story).is_empty()) {
        found.push(AlertEvent::ThresholdBreach);
    }
    found
}

/// Those of the occasions that a channel is told of. A recovery is a success for one that does not ask for recoveries.
#[must_use]
pub fn picks(occasions: &[AlertEvent], asked: &[AlertEvent]) -> Vec<AlertEvent> {
    let mut picked = Vec::new();
    for occasion in occasions {
        if asked.contains(occasion) {
            picked.push(*occasion);
        } else if *occasion == AlertEvent::Recovered && asked.contains(&AlertEvent::Success) {
            picked.push(AlertEvent::Success);
        }
    }
    picked
}

/// What an alert is about beside its event, so that alerts can be told apart: the pipelines that gave cause for it.
#[must_use]
pub fn subject(about: AlertEvent, stories: &[&Story]) -> Vec<String> {
    let all = |_: &Story| true;
    let concerned: &dyn Fn(&Story) -> bool = match about {
        AlertEvent::Start | AlertEvent::Success => &all,
        AlertEvent::Recovered => {
            &|story| story.outcome == Status::Recovered || previous_failed(story)
        }
        AlertEvent::Failure => {
            &|story| !matches!(story.outcome, Status::Succeeded | Status::Recovered)
        }
        AlertEvent::Quarantine => &|story| story.nodes.iter().any(|node| set_aside(node) > 0),
        AlertEvent::GateBlock => &|story| story.nodes.iter().any(is_gate_block),
        AlertEvent::ThresholdBreach => &|story| !anomalies(story).is_empty(),
    };
    let stories = stories.iter().filter(|story| concerned(story));
    stories.map(|story| story.pipeline.clone()).collect()
}

/// The text of an alert in the form that its channel takes: JSON.
#[must_use]
pub fn render(body: &AlertBody, channel: &AlertChannel) -> String {
    let value = match channel.kind {
        AlertKind::Slack => slack::payload(body, channel),
        AlertKind::Teams => teams::payload(body, channel),
        AlertKind::Webhook => {
            let mut body = body.clone();
            body.metadata = channel.metadata.iter().cloned().collect();
            serde_json::to_value(body).unwrap_or_default()
        }
    };
    value.to_string()
}

impl AlertBody {
    /// What there is to say of a run that has ended. `paths` are the files of the story of a pipeline.
    #[must_use]
    pub fn of(about: AlertEvent, stories: &[&Story], paths: &dyn Fn(&str) -> Vec<String>) -> Self {
        let first = stories.iter().min_by_key(|story| story.started_at);
        let ended = stories.iter().filter_map(|story| story.ended_at).max();
        let started_at = first.map_or(Timestamp::UNIX_EPOCH, |story| story.started_at);
        let longest = stories.iter().map(|story| story.duration_ms).max();
        let whole = ended.map(|at| at.as_millisecond() - started_at.as_millisecond());
        let whole = whole.and_then(|ms| u64::try_from(ms).ok());
        let text = |of: fn(&Story) -> &String| first.map_or_else(String::new, |s| of(s).clone());
        Self {
            format_version: FORMAT_VERSION,
            id: String::new(),
            event: about.word().to_owned(),
            test: false,
            project: text(|story| &story.project),
            environment: None,
            run_id: text(|story| &story.run_id),
            started_at,
            outcome: outcome(stories),
            duration_ms: whole.max(longest),
            host: first.and_then(|story| story.host.clone()),
            odibi_version: text(|story| &story.odibi_version),
            held_back: 0,
            metadata: BTreeMap::new(),
            pipelines: stories
                .iter()
                .take(PIPELINES_MAX)
                .map(|story| pipeline(story, paths(&story.pipeline)))
                .collect(),
            pipelines_omitted: stories.len().saturating_sub(PIPELINES_MAX) as u64,
        }
    }

    /// What it is about. Alerts are only made of events that are known.
    fn about(&self) -> AlertEvent {
        let mut all = AlertEvent::ALL.into_iter();
        all.find(|event| event.word() == self.event)
            .unwrap_or(AlertEvent::Failure)
    }

    /// `TEST: shop (prod) failed`
    fn title(&self) -> String {
        let mut name = cut(&plain(&self.project), 60);
        if let Some(environment) = &self.environment {
            name = format!("{name} ({})", cut(&plain(environment), 30));
        }
        let sum = |of: fn(&AlertPipeline) -> u64| self.pipelines.iter().map(of).sum::<u64>();
        let what = match self.about() {
            AlertEvent::Start => " started".to_owned(),
            AlertEvent::Success => " succeeded".to_owned(),
            AlertEvent::Recovered => " recovered".to_owned(),
            AlertEvent::Failure => match self.outcome {
                Some(Status::Cancelled) => " was interrupted".to_owned(),
                Some(Status::Crashed | Status::Unfinished) => " was killed".to_owned(),
                _ => " failed".to_owned(),
            },
            AlertEvent::Quarantine => {
                format!(
                    ": {} quarantined",
                    count(sum(|p| p.rows_quarantined), "row")
                )
            }
            AlertEvent::GateBlock => ": a gate kept a result from being written".to_owned(),
            AlertEvent::ThresholdBreach => match sum(|p| p.anomalies.len() as u64) {
                1 => ": 1 anomaly".to_owned(),
                n => format!(": {n} anomalies"),
            },
        };
        let test = if self.test { "TEST: " } else { "" };
        format!("{test}{name}{what}")
    }

    /// What stands beside the title, for who looks at it from afar.
    fn tone(&self) -> Tone {
        match self.about() {
            _ if self.test => Tone::Neutral,
            AlertEvent::Start => Tone::Neutral,
            AlertEvent::Success | AlertEvent::Recovered => Tone::Good,
            AlertEvent::Failure | AlertEvent::GateBlock => Tone::Bad,
            AlertEvent::Quarantine | AlertEvent::ThresholdBreach => Tone::Odd,
        }
    }

    /// One line for each pipeline, of so many at most.
    fn lines(&self, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.pipelines.iter().take(most).map(line).collect();
        let more = self.pipelines.len().saturating_sub(most) as u64 + self.pipelines_omitted;
        if more > 0 {
            lines.push(format!("and {}", count(more, "further pipeline")));
        }
        if self.test {
            lines.push("This is a test: nothing has happened.".to_owned());
        }
        lines
    }

    /// `orders.clean after 3 attempts, error[guest/params]: …`, of so many at most, each of so many characters.
    fn failures(&self, most: usize, chars_max: usize) -> Vec<String> {
        let all = self.pipelines.iter();
        let all = all.flat_map(|p| p.failures.iter().map(move |f| (p, f)));
        let lines = all.take(most).map(|(pipeline, failure)| {
            let mut text = format!("{}.{}", plain(&pipeline.pipeline), plain(&failure.node));
            if failure.attempts > 1 {
                text += &format!(" after {} attempts", failure.attempts);
            }
            text += &format!(
                ", error[{}]: {}",
                plain(&failure.code),
                plain(&failure.message)
            );
            if let Some(place) = &failure.place {
                text += &format!(" ({})", plain(&place.to_string()));
            }
            for hint in failure.hints.iter().take(1) {
                text += &format!("; {}", plain(hint));
            }
            cut(&text, chars_max)
        });
        lines.collect()
    }

    /// `orders.clean: rows 100 → 12`, of so many at most.
    fn anomalies(&self, most: usize) -> Vec<String> {
        let all = self.pipelines.iter();
        let all = all.flat_map(|p| p.anomalies.iter().map(move |a| (p, a)));
        let lines = all.take(most).map(|(pipeline, anomaly)| {
            let node = format!("{}.{}", plain(&pipeline.pipeline), plain(&anomaly.node));
            format!("{node}: {}", anomaly_words(anomaly))
        });
        lines.collect()
    }

    /// What is of use for who wants to look further.
    fn footer(&self) -> Vec<String> {
        let mut parts = vec![format!("run {}", plain(&self.run_id))];
        if let Some(host) = &self.host {
            parts.push(format!("on {}", cut(&plain(host), 60)));
        }
        parts.push(super::words::instant(self.started_at));
        parts.push(format!("odibi {}", plain(&self.odibi_version)));
        if self.held_back > 0 {
            let held = count(self.held_back, "alert");
            parts.push(format!("{held} of this kind held back before this one"));
        }
        parts
    }

    /// The page of each story, of so many at most.
    fn pages(&self, most: usize) -> Vec<String> {
        let page = |p: &AlertPipeline| {
            let mut paths = p.story.iter();
            let found = paths.clone().find(|path| path.ends_with(".html"));
            found.or(paths.next()).cloned()
        };
        let pages = self.pipelines.iter().filter_map(page);
        pages.take(most).map(|path| plain(&path)).collect()
    }

    /// Whom to call.
    fn mentions<'a>(&self, channel: &'a AlertChannel) -> Vec<&'a str> {
        let failed = matches!(self.about(), AlertEvent::Failure | AlertEvent::GateBlock);
        let more = channel.mention_on_failure.iter().filter(|_| failed);
        let all = channel.mention.iter().chain(more);
        let mut found: Vec<&str> = Vec::new();
        for mention in all {
            if !found.contains(&mention.as_str()) {
                found.push(mention);
            }
        }
        found
    }
}

/// What stands beside a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Odd,
    Neutral,
}

/// `orders: failed after 1.24 s, 3 nodes (1 succeeded, 1 failed, 1 skipped), 12 rows written, 3 rows quarantined`
fn line(pipeline: &AlertPipeline) -> String {
    let name = plain(&pipeline.pipeline);
    let nodes = count(pipeline.nodes, "node");
    let Some(outcome) = pipeline.outcome else {
        return format!("{name}: {nodes}");
    };
    let word = match outcome {
        Status::Succeeded | Status::Recovered => format!("{} in", outcome.word()),
        Status::Failed
        | Status::Skipped
        | Status::Cancelled
        | Status::Unfinished
        | Status::Crashed
        | Status::NotStarted => format!("{} after", outcome.word()),
    };
    let mut text = format!("{name}: {word} {}, {nodes}", duration(pipeline.duration_ms));
    let counts = Status::ALL.iter().filter_map(|status| {
        let count = pipeline.counts.get(status.word())?;
        Some(format!("{count} {}", status.word()))
    });
    let counts: Vec<String> = counts.collect();
    if !counts.is_empty() {
        text += &format!(" ({})", counts.join(", "));
    }
    if pipeline.rows_written > 0 {
        text += &format!(", {} written", count(pipeline.rows_written, "row"));
    }
    if pipeline.rows_quarantined > 0 {
        text += &format!(", {} quarantined", count(pipeline.rows_quarantined, "row"));
    }
    if pipeline.previous_failed {
        text += "; the run before had failed";
    }
    text
}

/// The worst of several outcomes; `None` of none.
fn outcome(stories: &[&Story]) -> Option<Status> {
    const WORST_FIRST: [Status; 8] = [
        Status::Crashed,
        Status::Unfinished,
        Status::Failed,
        Status::Cancelled,
        Status::NotStarted,
        Status::Skipped,
        Status::Recovered,
        Status::Succeeded,
    ];
    let has = |status: &Status| stories.iter().any(|story| story.outcome == *status);
    WORST_FIRST.into_iter().find(has)
}

fn pipeline(story: &Story, paths: Vec<String>) -> AlertPipeline {
    let sum = |of: &dyn Fn(&NodeStory) -> u64| {
        let all = story.nodes.iter().map(of);
        all.fold(0, u64::saturating_add)
    };
    let written = |node: &NodeStory| node.facts.as_ref().and_then(|f| f.rows_written);
    let failures = story.nodes.iter().filter_map(failure).take(FAILURES_MAX);
    let counts = story.counts().into_iter();
    AlertPipeline {
        pipeline: story.pipeline.clone(),
        outcome: Some(story.outcome),
        duration_ms: story.duration_ms,
        nodes: story.nodes.len() as u64,
        counts: counts
            .map(|(status, count)| (status.word().to_owned(), count as u64))
            .collect(),
        rows_written: sum(&|node| written(node).unwrap_or(0)),
        rows_quarantined: sum(&set_aside),
        story: paths,
        failures: failures.collect(),
        anomalies: anomalies(story)
            .iter()
            .take(ANOMALIES_MAX)
            .cloned()
            .collect(),
        previous_failed: previous_failed(story),
    }
}

/// How a node failed; a skipped one is in the counts alone.
fn failure(node: &NodeStory) -> Option<AlertFailure> {
    let failure = node.failure.as_ref()?;
    if !matches!(node.outcome, Status::Failed | Status::Cancelled) {
        return None;
    }
    let cut = |text: &String| cut(text, MESSAGE_CHARS_MAX);
    Some(AlertFailure {
        node: node.outline.name.clone(),
        attempts: node.attempts.len() as u64,
        class: failure.class.word().to_owned(),
        code: failure.code.clone(),
        message: cut(&failure.message),
        place: failure.place.clone(),
        hints: failure.hints.iter().take(5).map(cut).collect(),
    })
}

fn set_aside(node: &NodeStory) -> u64 {
    let of = |facts: &NodeFacts| facts.rows_quarantined.saturating_add(facts.rows_unread);
    node.facts.as_ref().map_or(0, of)
}

/// Codes of gates begin so. There are no gates yet, and so no such code.
const GATE: &str = "gate/";

fn is_gate_block(node: &NodeStory) -> bool {
    let failure = node.failure.as_ref();
    node.outcome == Status::Failed && failure.is_some_and(|failure| failure.code.starts_with(GATE))
}

fn anomalies(story: &Story) -> &[Anomaly] {
    story.comparison.as_ref().map_or(&[], |c| &c.anomalies)
}

/// It succeeded, and the run before it had not.
fn previous_failed(story: &Story) -> bool {
    let bad = |status| matches!(status, Status::Failed | Status::Crashed | Status::Cancelled);
    matches!(story.outcome, Status::Succeeded | Status::Recovered)
        && story.history.last().is_some_and(|run| bad(run.outcome))
}
