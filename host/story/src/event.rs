//! What a run says as it goes: the only thing a run produces. A serialised format, see [`FORMAT_VERSION`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

mod flow;
mod outside;
mod privacy;
mod profile;

pub use flow::{ColumnFlow, InputOrigin, InputOutline, PassedColumn, PortFlow, StepFlow};
pub use outside::{AlertFact, AlertState, Sending};
pub use privacy::{PrivacyFact, SensitiveInput};
pub use profile::{ColumnProfile, InputFact, Profile, Sample, ValueCount};

/// Version of the event log's format. A reader refuses a higher one.
pub const FORMAT_VERSION: u32 = 1;

/// An event with its place in the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// 0, 1, 2, …. Progress counts too but is not logged, so a log has gaps.
    pub seq: u64,
    /// When it was said.
    #[cfg_attr(test, schemars(with = "String"))]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: RunEvent,
}

/// Everything that can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// First event of a run.
    RunStarted(RunStarted),
    /// A pipeline begins.
    PipelineStarted {
        /// Its name.
        pipeline: String,
        /// Free text of the author.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Its nodes, in dependency order.
        nodes: Vec<NodeOutline>,
    },
    /// One attempt of a node begins.
    AttemptStarted {
        /// Which node.
        node: NodeRef,
        /// From 1.
        attempt: u32,
    },
    /// Rows so far. Said a few times a second at most.
    NodeProgress {
        /// Which node.
        node: NodeRef,
        /// Rows read so far.
        rows_read: u64,
        /// Rows that left the last step so far.
        rows_out: u64,
    },
    /// An attempt failed and another will follow.
    AttemptFailed {
        /// Which node.
        node: NodeRef,
        /// From 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// Pause before the next attempt.
        retry_in_ms: u64,
    },
    /// A node has ended.
    NodeFinished {
        /// Which node.
        node: NodeRef,
        /// How.
        outcome: Outcome,
        /// Attempts made; 0 for a skipped node.
        attempts: u32,
        /// From the first attempt's start to now.
        duration_ms: u64,
        /// What is known of its data. Absent when it did not get that far.
        facts: Option<Box<NodeFacts>>,
        /// Why it failed, was cancelled or skipped.
        failure: Option<Failure>,
    },
    /// A pipeline has ended.
    PipelineFinished {
        /// Its name.
        pipeline: String,
        /// How.
        outcome: Outcome,
        /// From its start to now.
        duration_ms: u64,
    },
    /// A story was written.
    StoryWritten {
        /// Of which pipeline.
        pipeline: String,
        /// Where, as a person would type it.
        paths: Vec<String>,
    },
    /// A story could not be written. Never changes the outcome.
    StoryFailed {
        /// Of which pipeline.
        pipeline: String,
        /// Why.
        failure: Failure,
    },
    /// A failure of a plugin was recorded: `odibi plugin replay` shows it again.
    FailureCaptured {
        /// Of which node.
        node: NodeRef,
        /// Index of its step.
        step: usize,
        /// Where, as a person would type it.
        path: String,
    },
    /// A failure of a plugin could not be recorded. Never changes the outcome.
    CaptureGivenUp {
        /// Of which node.
        node: NodeRef,
        /// Index of its step.
        step: usize,
        /// Why.
        failure: Failure,
    },
    /// What became of an alert. Never changes the outcome.
    AlertSettled {
        /// The alert.
        alert: AlertFact,
    },
    /// Lineage events, traces, metrics or alerts could not be sent. Never changes the outcome.
    SendingFailed {
        /// What was to be sent.
        what: Sending,
        /// Why.
        failure: Failure,
    },
    /// The code that the process will end with; said before the stories are written.
    ExitDecided {
        /// 0 for success.
        exit_code: u8,
    },
    /// The run was killed before its end. Said by a later run, which found that out.
    RunCrashed {
        /// That run.
        found_by: String,
    },
    /// The nodes have all ended; only stories follow.
    RunFinished {
        /// How.
        outcome: Outcome,
        /// From its start to now.
        duration_ms: u64,
    },
}

/// Who runs what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunStarted {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// UUIDv7.
    pub run_id: String,
    /// `project:` of the YAML.
    pub project: String,
    /// Version of odibi.
    pub odibi_version: String,
    /// The run's logical time: what guests see as the clock.
    #[cfg_attr(test, schemars(with = "String"))]
    pub logical_time: Timestamp,
    /// SHA-256 of the configuration, hex.
    pub config_digest: String,
    /// Configuration files.
    pub config_files: Vec<String>,
    /// Nodes run side by side, at most.
    pub workers: usize,
    /// Name of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Git commit of the project's directory, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Earlier run that this one goes on with, or repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// Environment that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Name of the user who started it, when the project asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A node of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeRef {
    /// Its pipeline.
    pub pipeline: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.pipeline, self.name)
    }
}

/// What is known of a node before it runs: enough to draw the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeOutline {
    /// Its name.
    pub name: String,
    /// Free text of the author.
    pub description: Option<String>,
    /// Nodes it waits for.
    pub depends_on: Vec<NodeRef>,
    /// `connection:path` of what it reads.
    pub reads: Vec<String>,
    /// `connection:path` of what it writes.
    pub writes: Option<String>,
    /// Names of its operations.
    pub operations: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The tables it starts from, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputOutline>,
}

impl NodeOutline {
    /// A node of which only the name is known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            depends_on: Vec::new(),
            reads: Vec::new(),
            writes: None,
            operations: Vec::new(),
            tags: Vec::new(),
            inputs: Vec::new(),
        }
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
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
}

impl Outcome {
    /// The word that is shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// True for `succeeded` and `recovered`.
    #[must_use]
    pub fn is_success(self) -> bool {
        match self {
            Self::Succeeded | Self::Recovered => true,
            Self::Failed | Self::Skipped | Self::Cancelled => false,
        }
    }
}

/// What is known of a node's data after it ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeFacts {
    /// Rows of all inputs.
    pub rows_in: u64,
    /// Rows that left the last step.
    pub rows_out: u64,
    /// Rows written to the target; `None` without a write.
    pub rows_written: Option<u64>,
    /// Columns of the main input.
    pub schema_in: Vec<Column>,
    /// Columns of the result.
    pub schema_out: Vec<Column>,
    /// Nulls in each column of the result, in its order.
    pub nulls_out: Vec<u64>,
    /// The first rows of the result.
    pub sample: Sample,
    /// Smallest and largest values of the result, and frequent ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What was read of each input, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputFact>,
    /// Files read.
    pub sources: Vec<FileFact>,
    /// The file written.
    pub target: Option<FileFact>,
    /// What the write did to the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<WriteFact>,
    /// The steps, in order.
    pub operations: Vec<OperationFact>,
    /// Rows that steps failed on and that were set aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_quarantined: u64,
    /// Where they went and why, for each step that rejected any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<QuarantineFact>,
    /// Rows of files that could not be understood and were left out, as the project asks. None of `rows_in`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_unread: u64,
    /// Why, and where they went, for each input that has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<UnreadFact>,
    /// Columns whose values must not be seen, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Box<PrivacyFact>>,
}

/// Rows of an input that could not be understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnreadFact {
    /// Name of the input.
    pub input: String,
    /// How many.
    pub rows: u64,
    /// Why, the most frequent first, capped. For these, `rows_first` are lines of the files.
    pub reasons: Vec<RejectionFact>,
    /// Rows with a reason that is not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_of_other_reasons: u64,
    /// The file that holds them; without one they are only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFact>,
}

/// What a write did to its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WriteFact {
    /// Word of the mode.
    pub mode: String,
    /// Hash of what the rows come from, hex: a second try of the same has the same.
    pub batch: String,
    /// What became visible.
    pub effect: WriteEffect,
    /// Rows that were not there before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_inserted: u64,
    /// Rows that took the place of others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_updated: u64,
    /// Rows that were there already, with the same values (upsert).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_unchanged: u64,
    /// Rows whose key was there already, and that were left out (append_once).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_present: u64,
    /// Rows left out because another row of the batch has their key (`duplicate_keys: first` or `last`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_duplicate: u64,
    /// Files that became part of the target, where it has many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_added: u64,
    /// Files that are no longer part of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub files_removed: u64,
    /// Version of the target before; none when there was no target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_before: Option<String>,
    /// Version of the target after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_after: Option<String>,
    /// What in the target proves that it holds the batch: `footer …`, `file …`, `txn …`, `log …` or `sha256 …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// What became visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WriteEffect {
    /// The batch.
    Published,
    /// Nothing: the target holds all of it, so it is as it was.
    Unchanged,
    /// Nothing: the same batch was written before.
    AlreadyApplied,
}

/// Rows that one step failed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QuarantineFact {
    /// Index of the step.
    pub step: usize,
    /// How many.
    pub rows: u64,
    /// Why, the most frequent first, capped.
    pub reasons: Vec<RejectionFact>,
    /// Rows with a reason that is not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_of_other_reasons: u64,
    /// The file that holds them.
    pub file: FileFact,
}

/// Rows that were rejected for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RejectionFact {
    /// Code of the failure.
    pub code: String,
    /// Its message, without control characters.
    pub message: String,
    /// How many rows.
    pub rows: u64,
    /// The first of them, counted from 1 over the input of the step, capped.
    pub rows_first: Vec<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Column {
    /// Name.
    pub name: String,
    /// Arrow type, as arrow prints it (`Int64`, `Timestamp(ms)`).
    #[serde(rename = "type")]
    pub data_type: String,
    /// May hold nulls.
    pub nullable: bool,
}

/// A file that was read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileFact {
    /// Connection.
    pub connection: String,
    /// Path below its root.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Modification time, where the store tells.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub modified: Option<Timestamp>,
    /// Changes with every write, of a file that was read: the ETag, or what the disk tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Instances of one step that are listed one by one; the rest is in the sum alone.
pub const INSTANCES_LISTED_MAX: usize = 64;

/// What one instance of a step cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InstanceFact {
    /// Its partition, from 0. Instances that share the batches of one input all have 0.
    pub partition: u32,
    /// Its share.
    pub ledger: Ledger,
}

/// How a component came to be ready: cold or warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum ComponentOrigin {
    /// Compiled for this step.
    Compiled {
        /// How long that took.
        compile_ms: u64,
    },
    /// Loaded for this step from the store of compiled components.
    Stored,
    /// In memory already.
    Loaded,
}

/// One step: which code ran, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OperationFact {
    /// The operation.
    pub operation: OperationIdentity,
    /// What its plugin was granted, as the YAML says it. Empty: its results depend on its input alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Params, as JSON.
    pub params: serde_json::Value,
    /// All instances together.
    pub ledger: Ledger,
    /// Each instance when there were several, by partition; at most [`INSTANCES_LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceFact>,
    /// Instances that its rows were divided over by key; 0 when they were not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partitions: u64,
    /// Index of the step whose instances ran this one too, in the same pass over each batch; what both cost stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chained_to: Option<usize>,
    /// Bytes that the host wrote to scratch files for it, because memory was short.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_spilled: u64,
    /// How its component came to be ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentOrigin>,
    /// Log lines and notes of the guest, capped.
    pub notes: Vec<GuestNote>,
    /// What it does with columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<StepFlow>,
    /// True when a sensitive column entered the sandbox: whatever the operation makes is sensitive too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

/// Which code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OperationIdentity {
    /// As the YAML names it.
    pub reference: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, hex.
    pub digest: String,
}

/// What a step cost: the sum over its instances, peaks as the maximum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ledger {
    /// Instances used.
    pub instances: u32,
    /// CPU time inside the guest.
    pub guest_cpu_ns: u64,
    /// CPU time of encoding for and decoding from the guest, together.
    pub exchange_cpu_ns: u64,
    /// CPU time of encoding what the guest was given.
    #[serde(default)]
    pub encode_cpu_ns: u64,
    /// CPU time of checking and decoding what it emitted.
    #[serde(default)]
    pub decode_cpu_ns: u64,
    /// Highest linear memory of one instance.
    pub memory_bytes_peak: u64,
    /// Its limit.
    pub memory_bytes_max: u64,
    /// Growths of memory that were refused.
    pub growths_refused: u64,
    /// Batches given to the guest.
    pub batches_in: u64,
    /// Calls of `emit`.
    pub emits: u64,
    /// Rows offered.
    pub rows_in: u64,
    /// Rows that came out.
    pub rows_out: u64,
    /// Arrow bytes that entered the sandbox.
    pub bytes_in: u64,
    /// Arrow bytes that left it.
    pub bytes_out: u64,
    /// Log lines over the cap.
    pub log_lines_dropped: u64,
    /// Instructions of the guest, weighed by cost; counted in metered runs only, without calls that were stopped.
    /// Equal on every machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<u64>,
}

impl Ledger {
    /// Adds another instance of the same step.
    pub fn add(&mut self, other: &Self) {
        self.instances += other.instances;
        self.guest_cpu_ns += other.guest_cpu_ns;
        self.exchange_cpu_ns += other.exchange_cpu_ns;
        self.encode_cpu_ns += other.encode_cpu_ns;
        self.decode_cpu_ns += other.decode_cpu_ns;
        self.memory_bytes_peak = self.memory_bytes_peak.max(other.memory_bytes_peak);
        self.memory_bytes_max = self.memory_bytes_max.max(other.memory_bytes_max);
        self.growths_refused += other.growths_refused;
        self.batches_in += other.batches_in;
        self.emits += other.emits;
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.log_lines_dropped += other.log_lines_dropped;
        self.work = match (self.work, other.work) {
            (Some(work), Some(more)) => Some(work.saturating_add(more)),
            (work, more) => work.or(more),
        };
    }
}

/// Something the guest said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GuestNote {
    /// `trace`, `debug`, `info`, `warn`, `error`, or the kind of a note.
    pub kind: String,
    /// Its text, without control characters.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn events_are_written_as_one_line_of_json_each() {
        let lines: Vec<String> = example::run()
            .iter()
            .map(|event| serde_json::to_string(event).expect("serialises") + "\n")
            .collect();
        expect_test::expect_file!["testdata/events.jsonl"].assert_eq(&lines.concat());
    }

    #[test]
    fn events_read_back_as_they_were() {
        for event in example::run() {
            let line = serde_json::to_string(&event).expect("serialises");
            assert_eq!(
                serde_json::from_str::<Event>(&line).expect("reads back"),
                event
            );
        }
    }

    #[test]
    fn what_is_absent_in_a_line_is_absent_in_the_event() {
        let line = r#"{"seq":1,"at":"2026-11-23T08:30:00Z","event":"pipeline_started","pipeline":"p","nodes":[]}"#;
        let event: Event = serde_json::from_str(line).expect("reads");
        let kind = RunEvent::PipelineStarted {
            pipeline: "p".to_owned(),
            description: None,
            nodes: Vec::new(),
        };
        assert_eq!(event.kind, kind);
        assert_eq!(serde_json::to_string(&event).expect("serialises"), line);
    }

    #[test]
    fn facts_without_a_quarantine_do_not_mention_it() {
        let silent = serde_json::to_string(&NodeFacts::default()).expect("serialises");
        assert!(!silent.contains("quarantine"), "{silent}");
        let facts = example::quarantining();
        let text = serde_json::to_string(&facts).expect("serialises");
        assert_eq!(
            serde_json::from_str::<NodeFacts>(&text).expect("reads back"),
            facts
        );
    }

    #[test]
    fn a_ledger_from_before_encode_decode_and_work_is_read() {
        let old = r#"{"instances":1,"guest_cpu_ns":5,"exchange_cpu_ns":7,"memory_bytes_peak":0,"memory_bytes_max":0,"growths_refused":0,"batches_in":0,"emits":0,"rows_in":0,"rows_out":0,"bytes_in":0,"bytes_out":0,"log_lines_dropped":0}"#;
        let expect = Ledger {
            instances: 1,
            guest_cpu_ns: 5,
            exchange_cpu_ns: 7,
            ..Ledger::default()
        };
        assert_eq!(serde_json::from_str::<Ledger>(old).expect("reads"), expect);
        let mut sum = Ledger::default();
        sum.add(&expect);
        assert_eq!(sum, expect, "nothing was counted, so there is no count");
    }

    #[test]
    fn ledger_adds_costs_and_keeps_the_highest_peak() {
        let one = |memory_bytes_peak| Ledger {
            instances: 1,
            guest_cpu_ns: 5,
            memory_bytes_peak,
            work: Some(11),
            ..Ledger::default()
        };
        let mut sum = one(7);
        sum.add(&one(3));
        assert_eq!(
            sum,
            Ledger {
                instances: 2,
                guest_cpu_ns: 10,
                memory_bytes_peak: 7,
                work: Some(22),
                ..Ledger::default()
            }
        );
    }
}
