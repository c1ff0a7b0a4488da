//! The story of one pipeline in one run: what a person wants to know afterwards. A serialised format, see [`FORMAT_VERSION`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{AlertFact, Column, NodeFacts, NodeOutline, Outcome};
use crate::failure::{Failure, FailureClass};

mod columns;
pub mod compare;
mod fold;
mod lineage;
mod origins;
#[cfg(test)]
mod schema;
pub mod shelf;

pub use columns::{ColumnChange, ColumnChanges};
pub use fold::{Fold, fold};
pub use lineage::{Edge, Lineage, Vertex, VertexKind};
pub use origins::{ColumnOrigin, ColumnSource, DatasetOrigins};

use compare::{Comparison, PastRun};

/// Version of the story's format. A reader refuses a higher one.
pub const FORMAT_VERSION: u32 = 1;

/// One pipeline of one run, folded from the run's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Story {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// UUIDv7; empty when the events do not tell.
    pub run_id: String,
    /// `project:` of the YAML.
    pub project: String,
    /// The pipeline.
    pub pipeline: String,
    /// Free text of the author.
    pub description: Option<String>,
    /// How it ended, if it did.
    pub outcome: Status,
    /// When the pipeline began.
    #[cfg_attr(test, schemars(with = "String"))]
    pub started_at: Timestamp,
    /// When it ended; `None` while it is [`Status::Unfinished`], and when it [`Status::Crashed`].
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ended_at: Option<Timestamp>,
    /// From its start to its end, or to the last thing that was said of it.
    pub duration_ms: u64,
    /// What guests saw as the clock.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub logical_time: Option<Timestamp>,
    /// Version of odibi.
    pub odibi_version: String,
    /// SHA-256 of the configuration, hex.
    pub config_digest: String,
    /// Configuration files.
    pub config_files: Vec<String>,
    /// Nodes run side by side, at most.
    pub workers: usize,
    /// In dependency order.
    pub nodes: Vec<NodeStory>,
    /// What was read, by which node, and what was written.
    pub lineage: Lineage,
    /// Name of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Git commit of the project's directory, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Environment that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Name of the user who started it, when the project asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Earlier run that this one goes on with, or repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// The code that the process ended with, as far as the events tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Where the columns of what was written come from, through all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_lineage: Vec<DatasetOrigins>,
    /// What became of the alerts that tell of it, as far as that was known when the story was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertFact>,
    /// What differs from the last successful run. Not of the events: whoever writes the story looks it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Runs before this one, oldest first; likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastRun>,
}

/// What became of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeStory {
    /// What was known before it ran.
    #[serde(flatten)]
    pub outline: NodeOutline,
    /// How it ended, if it did.
    pub outcome: Status,
    /// When its first attempt began.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ended_at: Option<Timestamp>,
    /// From the first attempt's start to the end, or to the last thing that was said of the pipeline.
    pub duration_ms: u64,
    /// From the first on.
    pub attempts: Vec<AttemptStory>,
    /// What is known of its data.
    pub facts: Option<NodeFacts>,
    /// Rows so far, for a node that has not ended.
    pub progress: Option<RowsSoFar>,
    /// How the columns of the result differ from those of the main input.
    pub columns: ColumnChanges,
    /// Where the columns of the result come from; empty when that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_origins: Vec<ColumnOrigin>,
    /// Why it failed, was cancelled or skipped.
    pub failure: Option<Failure>,
}

/// One attempt of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AttemptStory {
    /// From 1.
    pub attempt: u32,
    /// When it began.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub started_at: Option<Timestamp>,
    /// How it ended, if it did.
    pub outcome: Status,
    /// Why it failed or was cancelled.
    pub failure: Option<Failure>,
    /// Pause after it, when another followed.
    pub retry_in_ms: Option<u64>,
}

/// Rows of a node that is still at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RowsSoFar {
    /// Rows read.
    pub rows_read: u64,
    /// Rows that left the last step.
    pub rows_out: u64,
}

/// An [`Outcome`], or the lack of one. The events of a killed run stop, until a later run says that it crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At the first attempt.
    Succeeded,
    /// After a failed attempt.
    Recovered,
    /// No attempt succeeded.
    Failed,
    /// Not tried, because something before it failed.
    Skipped,
    /// Interrupted.
    Cancelled,
    /// It began, and the events stop before its end: odibi is still running, or was killed.
    Unfinished,
    /// It began, and odibi was killed before its end.
    Crashed,
    /// The events stop before it began.
    NotStarted,
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Recovered => Self::Recovered,
            Outcome::Failed => Self::Failed,
            Outcome::Skipped => Self::Skipped,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

impl Status {
    /// Every status, in the order in which counts are listed.
    pub const ALL: [Self; 8] = [
        Self::Succeeded,
        Self::Recovered,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
        Self::Unfinished,
        Self::Crashed,
        Self::NotStarted,
    ];

    /// The word that is shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Unfinished => "unfinished",
            Self::Crashed => "crashed",
            Self::NotStarted => "not started",
        }
    }
}

impl Story {
    /// True when a node met a bug in odibi.
    #[must_use]
    pub fn has_internal_failure(&self) -> bool {
        let mut failures = self.nodes.iter().flat_map(NodeStory::failures);
        failures.any(|failure| failure.class == FailureClass::Internal)
    }

    /// How many nodes have each status; those that none has are left out.
    #[must_use]
    pub fn counts(&self) -> Vec<(Status, usize)> {
        let of = |status| {
            self.nodes
                .iter()
                .filter(|node| node.outcome == status)
                .count()
        };
        Status::ALL
            .into_iter()
            .map(|status| (status, of(status)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

impl NodeStory {
    /// Every failure that was met, those of attempts that were followed by another included.
    fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.failure.as_ref())
            .chain(&self.failure)
    }

    /// Columns of the main input.
    #[must_use]
    pub fn schema_in(&self) -> &[Column] {
        self.facts.as_ref().map_or(&[], |facts| &facts.schema_in)
    }

    /// Columns of the result.
    #[must_use]
    pub fn schema_out(&self) -> &[Column] {
        self.facts.as_ref().map_or(&[], |facts| &facts.schema_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn counts_leave_out_what_no_node_has() {
        let counts = [
            (Status::Succeeded, 1),
            (Status::Recovered, 1),
            (Status::Failed, 1),
            (Status::Skipped, 1),
        ];
        assert_eq!(example::story().counts(), counts);
    }

    #[test]
    fn internal_failure_of_any_attempt_is_found() {
        let mut story = example::story();
        assert!(!story.has_internal_failure());
        story.nodes[1].attempts[0].failure =
            Some(Failure::new(FailureClass::Internal, "run/panic", "boom"));
        assert!(story.has_internal_failure());
    }

    #[test]
    fn words_are_those_of_outcomes() {
        for outcome in [
            Outcome::Succeeded,
            Outcome::Recovered,
            Outcome::Failed,
            Outcome::Skipped,
            Outcome::Cancelled,
        ] {
            assert_eq!(Status::from(outcome).word(), outcome.word());
            assert_eq!(
                serde_json::to_value(Status::from(outcome)).ok(),
                serde_json::to_value(outcome).ok()
            );
        }
    }
}
