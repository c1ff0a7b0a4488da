//! The documents of the shared state, as they stand in the store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of all of them. An odibi that knows a lower one leaves them as they are.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A document with its version.
#[derive(Debug, Serialize)]
pub(super) struct Sealed<'a, T> {
    pub(super) format_version: u32,
    #[serde(flatten)]
    pub(super) document: &'a T,
}

/// `format.json`: says that the directory is a state, and when it was made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) kind: String,
    /// The store has shown that it refuses a second writer.
    pub(super) checked: bool,
    pub(super) made_at: Timestamp,
    pub(super) odibi_version: String,
}

/// `leases/PIPELINE.json`: who works on a pipeline, and whose writes the next one goes on with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LeaseSheet {
    pub(super) pipeline: String,
    /// Grows with each holder.
    pub(super) epoch: u64,
    pub(super) holder: Option<HolderSheet>,
    /// The last run that began.
    pub(super) last: Option<LastSheet>,
    /// By environment the last run before it, where that is another one and the run did not come to its end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) others: BTreeMap<String, LastSheet>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HolderSheet {
    pub(super) run_id: String,
    pub(super) pid: u32,
    pub(super) host: Option<String>,
    /// For people; nobody compares it.
    pub(super) since: Timestamp,
    /// Grows for as long as the holder lives.
    pub(super) beat: u64,
    /// When it has not grown for so long, the holder counts for dead.
    pub(super) timeout_ms: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LastSheet {
    pub(super) run_id: String,
    pub(super) slot: String,
    /// Its process came to its very end.
    pub(super) ended: bool,
    /// Its environment, `""` for none. Earlier versions have noted it in the document of the run alone.
    #[serde(default)]
    pub(super) environment: Option<String>,
}

/// `running/RUN.json`: a run that has begun, and of which not all has been told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RunningSheet {
    pub(super) pipelines: Vec<String>,
}

/// `runs/MONTH/DAY/RUN.json`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RunSheet {
    pub(super) id: String,
    pub(super) project: String,
    pub(super) config_path: String,
    pub(super) config_digest: String,
    pub(super) selection: SelectionSheet,
    pub(super) continues: Option<String>,
    pub(super) logical_time: Timestamp,
    pub(super) odibi_version: String,
    pub(super) pid: u32,
    pub(super) host: Option<String>,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) outcome: Option<String>,
    pub(super) exit_code: Option<u8>,
    pub(super) told: bool,
    pub(super) pipelines: Vec<SlotSheet>,
    pub(super) nodes: Vec<NodeSheet>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SelectionSheet {
    pub(super) pipelines: Vec<String>,
    pub(super) nodes: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) select: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) environment: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SlotSheet {
    pub(super) pipeline: String,
    pub(super) slot: String,
    pub(super) epoch: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeSheet {
    pub(super) pipeline: String,
    pub(super) node: String,
    pub(super) outcome: Option<String>,
    pub(super) attempts: u32,
    pub(super) duration_ms: u64,
    pub(super) rows_written: Option<u64>,
    pub(super) failure_code: Option<String>,
    pub(super) target_bytes: Option<u64>,
    pub(super) target_modified: Option<Timestamp>,
    /// What the node was: see `RunSheet`'s run.
    pub(super) digest: Option<String>,
}

/// `made/PIPELINE.json`: the last success of each node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct MadeSheet {
    pub(super) nodes: BTreeMap<String, MadeNode>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MadeNode {
    /// Of two, that of the later run counts.
    pub(super) run_id: String,
    pub(super) node: NodeSheet,
}

/// `targets/TARGET.json`: batches of which it is open whether they are in the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TargetSheet {
    pub(super) target: String,
    /// Highest epoch that has written here, by pipeline: a lower one is refused.
    pub(super) fence: BTreeMap<String, u64>,
    pub(super) open: Vec<BatchSheet>,
    /// Of a name that earlier versions had for a target: which target has taken it over, by environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) adopted: BTreeMap<String, String>,
}

impl TargetSheet {
    pub(super) fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            fence: BTreeMap::new(),
            open: Vec::new(),
            adopted: BTreeMap::new(),
        }
    }
}

/// `batches/TARGET/BATCH.json`, once it is committed or aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchSheet {
    pub(super) target: String,
    pub(super) batch: String,
    pub(super) run_id: String,
    pub(super) pipeline: String,
    pub(super) node: String,
    pub(super) mode: String,
    pub(super) state: BatchWord,
    pub(super) rows: u64,
    pub(super) evidence: String,
    pub(super) epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BatchWord {
    Staged,
    Committed,
    Aborted,
}

/// `watermarks/KEY.json`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WatermarkSheet {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) run_id: String,
    pub(super) epoch: u64,
}

/// `alerts/ENVIRONMENT/CHANNEL.json`, in the order in which they were posted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct AlertsSheet {
    pub(super) alerts: Vec<AlertSheet>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AlertSheet {
    pub(super) id: String,
    pub(super) environment: String,
    pub(super) channel: String,
    pub(super) kind: String,
    pub(super) about: String,
    pub(super) subject: Vec<String>,
    pub(super) run_id: String,
    pub(super) body: String,
    pub(super) state: AlertWord,
    pub(super) attempts: u32,
    pub(super) created_at: Timestamp,
    pub(super) due_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) claimed_by: Option<String>,
    pub(super) failure_code: Option<String>,
    pub(super) failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AlertWord {
    Waiting,
    Delivered,
    Failed,
    HeldBack,
}

/// `senders/NAME.json`: a process that sends alerts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SenderSheet {
    /// Grows for as long as it lives.
    pub(super) beat: u64,
}
