//! What a capsule says of its failure: everything but the bytes that crossed. A serialised format.

use std::path::PathBuf;

use jiff::Timestamp;
use odibi_run::MemoryBudget;
use odibi_run::port::{Cancel, SessionContext};
use odibi_story::event::OperationIdentity;
use odibi_story::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::Limits;

/// Version of the format of capsules. A reader refuses a higher one.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The first part of a capsule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub format_version: u32,
    /// Version of the odibi that recorded it.
    pub odibi_version: String,
    /// Which code failed.
    pub operation: OperationIdentity,
    /// Name of the operation inside its component.
    pub name: String,
    /// Where the component lay. Absent for one that comes with odibi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// What the plugin was granted, as the YAML says it. With any, a replay may end otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Params of the step.
    pub params: Value,
    /// The limits it ran under.
    pub limits: Limits,
    /// Where the session belonged.
    pub session: SessionOrigin,
    /// For each input: indices of the offered columns that are recorded. Empty for a failure of `plan`.
    pub need: Vec<Vec<usize>>,
    /// The call that failed.
    pub phase: Phase,
    /// How.
    pub failure: Failure,
}

/// Where a session belonged, and what its guest took for time and entropy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOrigin {
    /// UUIDv7 of the run.
    pub run_id: String,
    /// Pipeline.
    pub pipeline: String,
    /// Node.
    pub node: String,
    /// Index of the step in its node.
    pub step: usize,
    /// From 0.
    pub partition: u32,
    /// How many.
    pub partitions: u32,
    /// From 1.
    pub attempt: u32,
    /// The run's logical time.
    pub logical_time: Timestamp,
    /// What the guest got for entropy.
    pub seed: u64,
}

impl SessionOrigin {
    pub(crate) fn new(context: &SessionContext, seed: u64) -> Self {
        Self {
            run_id: context.run_id.clone(),
            pipeline: context.pipeline.clone(),
            node: context.node.clone(),
            step: context.step,
            partition: context.partition,
            partitions: context.partitions,
            attempt: context.attempt,
            logical_time: context.logical_time,
            seed,
        }
    }

    /// The same session again, with this much memory.
    pub(crate) fn context(&self, memory: MemoryBudget) -> SessionContext {
        SessionContext {
            sensitive: std::sync::Arc::default(),
            run_id: self.run_id.clone(),
            pipeline: self.pipeline.clone(),
            node: self.node.clone(),
            step: self.step,
            searching: false,
            memory,
            partition: self.partition,
            partitions: self.partitions,
            attempt: self.attempt,
            logical_time: self.logical_time,
            cancel: Cancel::default(),
        }
    }
}

/// A call into a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `plan`
    Plan,
    /// `open`
    Open,
    /// `process`
    Process,
    /// `drain`
    Drain,
    /// `finish`
    Finish,
}

impl Phase {
    /// As the contract names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Open => "open",
            Self::Process => "process",
            Self::Drain => "drain",
            Self::Finish => "finish",
        }
    }
}
