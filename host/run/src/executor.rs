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

mod pauses;

/// What an attempt that was told to stop may still take, before it is dropped.
const GRACE_MS: u64 = 30_000;

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
            match self.pause_before_next(&failure, attempt, conflicts, started_ms) {
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

    /// `None` when the node is not tried again.
    fn pause_before_next(
        &self,
        failure: &Failure,
        attempt: u32,
        conflicts: u32,
        started_ms: u64,
    ) -> Option<u64> {
        let policy = &self.node.attempts;
        let seed = format!("{} {}.{}", self.run_id, self.node.pipeline, self.node.name);
        let pause_ms = pauses::pause_ms(policy, &seed, failure, attempt, conflicts)?;
        let next_ms = self.clock.monotonic_ms().saturating_add(pause_ms);
        let passed = policy
            .deadline_ms
            .is_some_and(|deadline_ms| next_ms > started_ms.saturating_add(deadline_ms));
        (!passed).then_some(pause_ms)
    }

    /// Stages, within the time that an attempt may take.
    async fn stage(&self, attempt: Attempt<'_>) -> Result<Staged, Failure> {
        let Some(timeout_ms) = self.node.attempts.timeout_ms else {
            return caught(async { self.engine.stage(attempt).await }).await?;
        };
        let own = attempt.cancel.clone();
        let mut stage = std::pin::pin!(caught(async { self.engine.stage(attempt).await }));
        let mut timeout = self.clock.sleep_ms(timeout_ms);
        let (mut told, mut late) = (false, false);
        loop {
            tokio::select! {
                biased;
                staged = &mut stage => {
                    let staged = staged.and_then(|staged| staged);
                    return match staged {
                        Ok(staged) if late => {
                            self.discard(staged.token).await;
                            Err(timed_out(timeout_ms))
                        }
                        Err(failure) if late && failure.class == FailureClass::Cancelled => {
                            Err(timed_out(timeout_ms))
                        }
                        staged => staged,
                    };
                }
                () = self.cancel.cancelled(), if !told => {
                    told = true;
                    own.cancel();
                }
                () = &mut timeout => {
                    if late {
                        // It does not listen. What it leaves is cleared at the next start.
                        return Err(timed_out(timeout_ms));
                    }
                    late = true;
                    own.cancel();
                    timeout = self.clock.sleep_ms(GRACE_MS);
                }
            }
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
            // One that may be stopped alone has its own.
            cancel: match self.node.attempts.timeout_ms {
                Some(_) => Cancel::default(),
                None => self.cancel.clone(),
            },
        };
        let Staged { mut facts, token } = self.stage(attempt).await?;
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

/// The failure of an attempt that took too long. Another may be luckier.
fn timed_out(timeout_ms: u64) -> Failure {
    let message = format!("the attempt took longer than its `timeout`: {timeout_ms} ms");
    Failure::new(FailureClass::Transient, code::RUN_TIMEOUT, message)
        .hint("raise `timeout`, or find out what is slow: the story shows rows and times")
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
