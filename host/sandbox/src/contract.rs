//! The types of `wit/odibi-node.wit` as wasmtime lifts and lowers them. Field order is that of the WIT.

#![expect(dead_code, reason = "wasmtime makes these values, not we")]

use wasmtime::component::{ComponentType, Lift, Lower, WasmList};

/// The version this host serves; components built against a semver-compatible one run.
pub(crate) const VERSION: (u64, u64, u64) = (0, 2, 0);
pub(crate) const PLANNING: &str = "odibi:node/planning";
pub(crate) const EXECUTION: &str = "odibi:node/execution";

/// `interface@version` of one of ours.
pub(crate) fn versioned(interface: &str) -> String {
    let (major, minor, patch) = VERSION;
    format!("{interface}@{major}.{minor}.{patch}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum Retry {
    #[component(name = "never")]
    Never,
    #[component(name = "fresh-instance")]
    FreshInstance,
    #[component(name = "after")]
    After(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum FailureKind {
    #[component(name = "params")]
    Params,
    #[component(name = "schema")]
    Schema,
    #[component(name = "data")]
    Data,
    #[component(name = "denied")]
    Denied,
    #[component(name = "transient")]
    Transient,
    #[component(name = "internal")]
    Internal,
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct Location {
    pub(crate) port: u32,
    pub(crate) row: Option<u64>,
    pub(crate) column: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct TextSpan {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct GuestFailure {
    pub(crate) kind: FailureKind,
    pub(crate) retry: Retry,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) span: Option<TextSpan>,
    pub(crate) at: Option<Location>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl Level {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum RowOrigin {
    #[component(name = "fresh")]
    Fresh,
    #[component(name = "same-rows")]
    SameRows,
    #[component(name = "picked")]
    /// Still in the guest's memory: it is copied when its length is known to be in bounds.
    Picked(WasmList<u32>),
    #[component(name = "kept")]
    /// Likewise.
    Kept(WasmList<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Refusal {
    #[component(name = "stop")]
    Stop,
    #[component(name = "misuse")]
    Misuse,
    #[component(name = "invalid")]
    Invalid,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Columns {
    #[component(name = "all")]
    All,
    #[component(name = "only")]
    Only(Vec<u32>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Feed {
    #[component(name = "drained-first")]
    DrainedFirst,
    #[component(name = "streamed")]
    Streamed,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct SortKey {
    pub(crate) column: u32,
    pub(crate) descending: bool,
    #[component(name = "nulls-first")]
    pub(crate) nulls_first: bool,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct InputPlan {
    pub(crate) need: Columns,
    pub(crate) feed: Feed,
    #[component(name = "partition-by")]
    pub(crate) partition_by: Vec<u32>,
    #[component(name = "sorted-by")]
    pub(crate) sorted_by: Vec<SortKey>,
    #[component(name = "keep-order")]
    pub(crate) keep_order: bool,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct PassedColumn {
    pub(crate) output: u32,
    pub(crate) port: u32,
    pub(crate) input: u32,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct OutputPlan {
    pub(crate) schema: Vec<u8>,
    #[component(name = "pass-through")]
    pub(crate) pass_through: Vec<PassedColumn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Spread {
    #[component(name = "single")]
    Single,
    #[component(name = "per-partition")]
    PerPartition,
    #[component(name = "per-batch")]
    PerBatch,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct NodePlan {
    pub(crate) inputs: Vec<InputPlan>,
    pub(crate) outputs: Vec<OutputPlan>,
    pub(crate) spread: Spread,
    #[component(name = "batch-rows")]
    pub(crate) batch_rows: Option<u32>,
    pub(crate) state: Vec<u8>,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Context {
    #[component(name = "run-id")]
    pub(crate) run_id: String,
    pub(crate) pipeline: String,
    pub(crate) node: String,
    pub(crate) partition: u32,
    pub(crate) partitions: u32,
    pub(crate) attempt: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Appetite {
    #[component(name = "more")]
    More,
    #[component(name = "enough")]
    Enough,
}
