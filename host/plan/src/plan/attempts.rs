//! How often and how long a node is tried, and what its failure means for the run.

/// How a node is tried. Only failures that say so are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts in all, the first included; 1 means that nothing is tried again.
    pub attempts_max: u32,
    /// How pauses grow.
    pub backoff: Backoff,
    /// The first pause.
    pub delay_ms: u64,
    /// No pause is longer. A guest that asks for a longer one is not called again.
    pub delay_ms_max: u64,
    /// Pauses are shortened by up to a half, each run and node differently.
    pub jitter: bool,
    /// No attempt starts later than this after the first one.
    pub deadline_ms: Option<u64>,
    /// The time of one attempt, up to the publishing of its result.
    pub timeout_ms: Option<u64>,
}

/// How the pauses between attempts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Each is twice the one before.
    Exponential,
    /// Each is longer than the one before by the first.
    Linear,
    /// All are equal.
    Constant,
}

/// What the failure of a node means for the others and for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// What depends on it is skipped, everything else runs, the run fails.
    #[default]
    FailLater,
    /// No further node starts, the run fails.
    FailFast,
    /// The run does not fail for it. What reads its result is skipped; what only comes after it runs.
    Ignore,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff: Backoff::Exponential,
            delay_ms: 1_000,
            delay_ms_max: 60_000,
            jitter: true,
            deadline_ms: None,
            timeout_ms: None,
        }
    }
}

impl Attempts {
    /// One attempt, as long as it takes.
    #[must_use]
    pub fn once() -> Self {
        Self {
            attempts_max: 1,
            jitter: false,
            ..Self::default()
        }
    }
}
