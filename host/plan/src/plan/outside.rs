//! Whom a run tells what: alerts, lineage events, traces and metrics.

use super::Secret;

/// A place that alerts go to.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertChannel {
    /// Unique in the project: what is waiting for a channel is kept under its name.
    pub name: String,
    /// Which form it takes.
    pub kind: AlertKind,
    /// Where to. Who knows it may write there, so it is a secret.
    pub url: Secret,
    /// What it is told of.
    pub on_events: Vec<AlertEvent>,
    /// The only pipeline that it is told of; `None` for all of the project.
    pub pipeline: Option<String>,
    /// Of one event of the same pipelines, no second alert within this time (default 15 minutes; 0 for no limit).
    pub throttle_ms: u64,
    /// Of one event of the same pipelines, at most so many in an hour (default 10).
    pub hourly_max: u32,
    /// Time of one try (default 10 s).
    pub timeout_ms: u64,
    /// Whom to call, as the service writes it.
    pub mention: Vec<String>,
    /// Whom to call beside them when a run failed.
    pub mention_on_failure: Vec<String>,
    /// Channel of Slack, where the webhook may choose one.
    pub slack_channel: Option<String>,
    /// Further entries of `metadata`, sent along.
    pub metadata: Vec<(String, String)>,
    /// Key of the signature; webhooks only.
    pub signing_key: Option<Secret>,
    /// Further headers; webhooks only.
    pub headers: Vec<(String, Secret)>,
}

/// The form of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// Block Kit.
    Slack,
    /// Adaptive Card, for a webhook of Workflows.
    Teams,
    /// JSON of our own.
    Webhook,
}

impl AlertKind {
    /// As the YAML says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Webhook => "webhook",
        }
    }
}

/// What an alert can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertEvent {
    /// A run begins.
    Start,
    /// It succeeded.
    Success,
    /// It failed, was interrupted or killed.
    Failure,
    /// It succeeded after a failure: of one of its attempts, or of the run before it.
    Recovered,
    /// Rows were set aside.
    Quarantine,
    /// A gate kept a result from being written.
    GateBlock,
    /// Rows or times are far from those of the last successful run.
    ThresholdBreach,
}

impl AlertEvent {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Success,
        Self::Failure,
        Self::Recovered,
        Self::Quarantine,
        Self::GateBlock,
        Self::ThresholdBreach,
    ];

    /// As the YAML says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "on_start",
            Self::Success => "on_success",
            Self::Failure => "on_failure",
            Self::Recovered => "on_recovered",
            Self::Quarantine => "on_quarantine",
            Self::GateBlock => "on_gate_block",
            Self::ThresholdBreach => "on_threshold_breach",
        }
    }
}

/// `lineage:` where OpenLineage events go.
#[derive(Debug, Clone, PartialEq)]
pub struct LineageTarget {
    /// URL of the server; `None` is left to `OPENLINEAGE_URL`.
    pub url: Option<Secret>,
    /// File that they are added to, relative to the directory of the project file.
    pub file: Option<String>,
    /// Path of events below the URL.
    pub endpoint: String,
    /// Namespace of jobs; `None` for the project's name.
    pub namespace: Option<String>,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<Secret>,
    /// Time of one try.
    pub timeout_ms: u64,
}

/// `telemetry:` where traces and metrics are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// URL of the collector, of OTLP over HTTP; `None` is left to `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: Option<Secret>,
    /// Name of the service; `None` is left to `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// Time that sending may take.
    pub timeout_ms: u64,
}
