//! What became of that which a run tells the outside.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What became of one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlertFact {
    /// Name of its channel.
    pub channel: String,
    /// Type of the channel: `slack`, `teams`, `webhook`.
    pub kind: String,
    /// What it is about: `on_failure`.
    pub about: String,
    /// The pipelines that gave cause for it.
    pub pipelines: Vec<String>,
    /// How far it came.
    pub state: AlertState,
    /// Tries so far.
    pub attempts: u32,
    /// Why it was not delivered, when it was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Run that it tells of, when that is an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_run: Option<String>,
}

/// How far an alert came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Its receiver has it.
    Delivered,
    /// It is kept, and sent when the next run starts.
    Waiting,
    /// It is given up.
    Failed,
    /// It was not sent, because one of its kind had been sent shortly before.
    HeldBack,
}

impl AlertState {
    /// The word that is shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::HeldBack => "held back",
        }
    }
}

/// What a run sends besides alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Sending {
    /// OpenLineage events.
    Lineage,
    /// Traces and metrics.
    Telemetry,
    /// Alerts, when it is not known what became of them.
    Alerts,
}

impl Sending {
    /// The word that is shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lineage => "lineage",
            Self::Telemetry => "telemetry",
            Self::Alerts => "alerts",
        }
    }
}
