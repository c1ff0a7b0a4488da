//! One node: its attempts, the pauses between them, and the fixed order of an attempt: stage, then publish or discard.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use odibi_plan::plan::{NodeId, PlannedNode};
use odibi_story::event::{NodeFacts, Outcome};
use odibi_story::failure::{Failure, FailureClass, code};
use tokio::sync::mpsc;

use crate::port::{Attempt, Cancel, Clock, Engine, Progress, Published, Staged, Transforms};

/// How often and after which pauses a node is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; 1 means that nothing is tried again.
    pub attempts_max: u32,
    /// Pause after the first failed attempt.
    pub delay_ms: u64,
    /// Each further pause is this many times the one before.
    pub backoff_factor: u32,
    /// No pause is longer. A guest that asks for a longer one is not called again.
    pub delay_ms_max: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 1,
            delay_ms: 1_000,
            backoff_factor: 2,
            delay_ms_max: 60_000,
        }
    }
}

impl RetryPolicy {
    /// The pause before the next attempt, or `None` when there is none. `attempt` is the one that failed, from 1;
    /// `conflicts` counts those that ended in a conflict, this one included.
    ///
    /// Transient failures and what a guest asks to have repeated go by the policy; a conflict is repeated once, at once,
    /// because the next attempt reads afresh; nothing else is.
    #[must_use]
    pub fn pause_ms(&self, failure: &Failure, attempt: u32, conflicts: u32) -> Option<u64> {
        let by_policy = (attempt < self.attempts_max).then(|| self.backoff_ms(attempt));
        match failure.class {
            FailureClass::Conflict => (conflicts <= 1).then_some(0),
            FailureClass::Transient | FailureClass::Guest | FailureClass::Data => {
                match failure.retry_after_ms {
                    Some(asked_ms) if asked_ms <= self.delay_ms_max => {
                        by_policy.map(|ms| ms.max(asked_ms))
                    }
                    Some(_) => None,
                    None if failure.class == FailureClass::Transient => by_policy,
                    None => None,
                }
            }
            FailureClass::Trap
            | FailureClass::Limit
            | FailureClass::Contract
            | FailureClass::Denied
            | FailureClass::Missing
            | FailureClass::Cancelled
            | FailureClass::Internal => None,
        }
    }

    fn backoff_ms(&self, attempt: u32) -> u64 {
        let factor = u64::from(self.backoff_factor).saturating_pow(attempt.saturating_sub(1));
        self.delay_ms.saturating_mul(factor).min(self.delay_ms_max)
    }
}

/// What an executor says while its node runs.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) node: NodeId,
    pub(crate) attempt: u32,
    pub(crate) what: SaidWhat,
}

#[derive(Debug)]
pub(crate) enum SaidWhat {
    Started {
        progress: Arc<Progress>,
    },
    Failed {
        failure: Box<Failure>,
        retry_in_ms: u64,
    },
}

/// How a node ended.
#[derive(Debug)]
pub(crate) struct NodeEnd {
    pub(crate) outcome: Outcome,
    pub(crate) attempts: u32,
    pub(crate) duration_ms: u64,
    pub(crate) facts: Option<Box<NodeFacts>>,
    pub(crate) failure: Option<Failure>,
}

/// One node on its way, with everything it needs.
pub(crate) struct Executor {
    pub(crate) node: PlannedNode,
    pub(crate) run_id: String,
    pub(crate) slot: String,
    pub(crate) logical_time: Timestamp,
    pub(crate) sample_rows_max: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) transforms: Arc<dyn Transforms>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cancel: Cancel,
    pub(crate) said: mpsc::Sender<Said>,
}

impl Executor {
    /// Tries until it succeeds, must not be tried again, or the run is cancelled.
    pub(crate) async fn run(self) -> NodeEnd {
        let started_ms = self.clock.monotonic_ms();
        let (mut attempt, mut conflicts) = (0, 0);
        let (outcome, facts, failure) = loop {
            attempt += 1;
            let failure = match self.attempt(attempt).await {
                Ok(facts) if attempt == 1 => break (Outcome::Succeeded, Some(facts), None),
                Ok(facts) => break (Outcome::Recovered, Some(facts), None),
                Err(failure) => failure,
            };
            conflicts += u32::from(failure.class == FailureClass::Conflict);
            match self.retry.pause_ms(&failure, attempt, conflicts) {
                Some(retry_in_ms) if !self.cancel.is_cancelled() => {
                    self.say(
                        attempt,
                        SaidWhat::Failed {
                            failure: Box::new(failure),
                            retry_in_ms,
                        },
                    )
                    .await;
                    self.pause(retry_in_ms).await;
                    if self.cancel.is_cancelled() {
                        break (Outcome::Cancelled, None, Some(cancelled()));
                    }
                }
                Some(_) | None => break (outcome_of(&failure), None, Some(failure)),
            }
        };
        let duration_ms = self.clock.monotonic_ms().saturating_sub(started_ms);
        NodeEnd {
            outcome,
            attempts: attempt,
            duration_ms,
            facts,
            failure,
        }
    }

    /// Stage, then publish; or discard when it must not be published any more or could not be.
    async fn attempt(&self, number: u32) -> Result<Box<NodeFacts>, Failure> {
        let progress = Arc::new(Progress::default());
        self.say(
            number,
            SaidWhat::Started {
                progress: progress.clone(),
            },
        )
        .await;
        let attempt = Attempt {
            node: &self.node,
            run_id: &self.run_id,
            slot: &self.slot,
            attempt: number,
            logical_time: self.logical_time,
            sample_rows_max: self.sample_rows_max,
            transforms: self.transforms.clone(),
            progress,
            cancel: self.cancel.clone(),
        };
        let Staged { mut facts, token } =
            caught(async { self.engine.stage(attempt).await }).await??;
        if self.cancel.is_cancelled() {
            self.discard(token).await;
            return Err(cancelled());
        }
        // Not interrupted: half a publish would be worse than a late end.
        match caught(async { self.engine.publish(token).await }).await? {
            Ok(Published { target, write }) => {
                if let Some(write) = &write {
                    facts.rows_written =
                        Some(write.rows_inserted.saturating_add(write.rows_updated));
                }
                facts.target = target.or(facts.target);
                facts.write = write;
                Ok(Box::new(facts))
            }
            Err(failure) => {
                self.discard(token).await;
                Err(failure)
            }
        }
    }

    async fn discard(&self, token: u64) {
        // What a panic leaves behind is cleared at the next start, and the node has its failure already.
        let _ = caught(async { self.engine.discard(token).await }).await;
    }

    async fn pause(&self, ms: u64) {
        tokio::select! {
            () = self.clock.sleep_ms(ms) => {}
            () = self.cancel.cancelled() => {}
        }
    }

    async fn say(&self, attempt: u32, what: SaidWhat) {
        // Nobody listens only when the run itself is being dropped.
        let _ = self
            .said
            .send(Said {
                node: self.node.id,
                attempt,
                what,
            })
            .await;
    }
}

/// The failure of a node that was interrupted.
pub(crate) fn cancelled() -> Failure {
    Failure::new(
        FailureClass::Cancelled,
        code::RUN_CANCELLED,
        "the run was asked to stop",
    )
}

/// The failure of a node whose execution panicked.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Failure {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Failure::new(
        FailureClass::Internal,
        code::RUN_PANIC,
        format!("odibi panicked: {text}"),
    )
    .hint("report this bug with the run id and the event log")
}

fn outcome_of(failure: &Failure) -> Outcome {
    if failure.class == FailureClass::Cancelled {
        Outcome::Cancelled
    } else {
        Outcome::Failed
    }
}

/// Turns a panic into a failure. The engine is shared with other nodes; its locks must bear a panic.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|payload| panicked(&*payload))
}

#[cfg(test)]
mod tests;
