//! Alerts on their way: kept beside the state until they are delivered, so that a run that is killed still tells of itself.
//!
//! An alert is claimed before it is sent, by a process that lives; a claim of one that was killed counts no more.

use jiff::Timestamp;
use odibi_story::failure::Failure;

/// An alert that is about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxAlert {
    /// The same for every try, and for no other alert.
    pub id: String,
    /// Run that it tells of.
    pub run_id: String,
    /// What it is about: `on_failure`.
    pub about: String,
    /// What is sent.
    pub body: String,
    /// Tries before.
    pub attempts: u32,
}

/// Keeps alerts. Calls block; every one is durable when it returns.
pub trait Outbox: Send + Sync {
    /// Claims the oldest alert of a channel that may be sent now, but for those that are skipped.
    ///
    /// # Errors
    /// The memory cannot be used.
    fn claim(
        &self,
        channel: &str,
        now: Timestamp,
        skipped: &[String],
    ) -> Result<Option<OutboxAlert>, Failure>;

    /// Notes that an alert was delivered. It is never sent again.
    ///
    /// # Errors
    /// The memory cannot be used: it may be sent again, with the same id.
    fn delivered(&self, id: &str, now: Timestamp) -> Result<(), Failure>;

    /// Notes that a try failed, and lets go of the claim. Nobody sends it before `not_before`, where the receiver asked
    /// for that.
    ///
    /// # Errors
    /// The memory cannot be used.
    fn put_off(
        &self,
        id: &str,
        why: &Failure,
        not_before: Option<Timestamp>,
    ) -> Result<(), Failure>;

    /// Notes that an alert will not be delivered.
    ///
    /// # Errors
    /// The memory cannot be used.
    fn give_up(&self, id: &str, why: &Failure, now: Timestamp) -> Result<(), Failure>;

    /// When the next alert of a channel may be sent; `None` when none is waiting, but for those that are skipped and those
    /// that another process has claimed.
    ///
    /// # Errors
    /// The memory cannot be used.
    fn next_due(&self, channel: &str, skipped: &[String]) -> Result<Option<Timestamp>, Failure>;
}
