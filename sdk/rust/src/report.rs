//! The side channel to the run, and stand-ins for time and entropy.
//!
//! In a component these reach the host. Natively, under the harness, what is said is dropped and the answers are
//! constants, so that tests give the same result everywhere.

/// How loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the author.
    Trace,
    /// For the author.
    Debug,
    /// For whoever looks.
    Info,
    /// Somebody should look.
    Warn,
    /// Somebody must look.
    Error,
}

/// One log line. Lines over the host's cap are counted and dropped.
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    outside::log(level, message, fields);
}

/// Adds to a counter of the run report.
pub fn count(name: &str, delta: u64) {
    outside::count(name, delta);
}

/// Sets a gauge of the run report.
pub fn gauge(name: &str, value: f64) {
    outside::gauge(name, value);
}

/// A finding for the story.
pub fn note(kind: &str, body: &serde_json::Value) {
    outside::note(kind, &body.to_string());
}

/// True once the host wants the operation to wind down.
#[must_use]
pub fn cancelled() -> bool {
    outside::cancelled()
}

/// The run's logical time, milliseconds since the Unix epoch: the same for every call of a run.
#[must_use]
pub fn run_time_ms() -> u64 {
    outside::run_time_ms()
}

/// Entropy that is the same whenever the same run is repeated; derived from pipeline, node and partition.
#[must_use]
pub fn seed() -> u64 {
    outside::seed()
}

#[cfg(target_arch = "wasm32")]
use crate::guest::outside;

#[cfg(not(target_arch = "wasm32"))]
mod outside {
    //! The harness's answers.

    use super::Level;

    /// 2026-01-01T00:00:00Z.
    const RUN_TIME_MS: u64 = 1_767_225_600_000;

    pub(super) fn log(_level: Level, _message: &str, _fields: &[(&str, &str)]) {}
    pub(super) fn count(_name: &str, _delta: u64) {}
    pub(super) fn gauge(_name: &str, _value: f64) {}
    pub(super) fn note(_kind: &str, _body: &str) {}
    pub(super) fn cancelled() -> bool {
        false
    }
    pub(super) fn run_time_ms() -> u64 {
        RUN_TIME_MS
    }
    pub(super) fn seed() -> u64 {
        42
    }
}
