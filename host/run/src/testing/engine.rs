//! An engine without data: it does what the script of each node says and writes down how it was called.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use odibi_story::event::{FileFact, NodeFacts};
use odibi_story::failure::{Failure, FailureClass};

use super::{SimClock, lock};
use crate::port::{Attempt, Clock as _, Engine, Published, Staged};

/// Time between two growths of the progress, in simulated milliseconds. Each adds as many rows.
const PROGRESS_STEP_MS: u64 = 100;

/// What one attempt of a node does.
#[derive(Debug, Clone)]
pub struct Script {
    /// Time in `stage`, on the simulated clock. One row is read and put out for each millisecond.
    pub takes_ms: u64,
    /// How it ends.
    pub end: End,
}

impl Script {
    /// An attempt that takes no time.
    #[must_use]
    pub fn at_once(end: End) -> Self {
        Self::taking_ms(0, end)
    }

    /// An attempt that takes some time.
    #[must_use]
    pub fn taking_ms(takes_ms: u64, end: End) -> Self {
        Self { takes_ms, end }
    }
}

/// How an attempt ends.
#[derive(Debug, Clone)]
pub enum End {
    /// Staged and published with these facts.
    Succeed(Box<NodeFacts>),
    /// `stage` fails.
    FailStage(Failure),
    /// `stage` succeeds, `publish` fails.
    FailPublish(Failure),
    /// `stage` panics.
    PanicInStage(&'static str),
    /// `stage` succeeds, `publish` panics.
    PanicInPublish(&'static str),
    /// `stage` goes on until the run is cancelled and then fails as cancelled.
    UntilCancelled,
    /// `stage` cancels the run at its very end and succeeds.
    CancelRun,
    /// `publish` cancels the run and succeeds.
    CancelRunInPublish,
}

impl End {
    /// Success without facts.
    #[must_use]
    pub fn succeed() -> Self {
        Self::Succeed(Box::default())
    }

    /// `stage` fails with this class and the code `test/failed`.
    #[must_use]
    pub fn fail(class: FailureClass) -> Self {
        Self::FailStage(Failure::new(class, "test/failed", "as the script says"))
    }
}

/// The engine. Clones share scripts and notes.
#[derive(Debug, Clone)]
pub struct MemoryEngine {
    clock: SimClock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    scripts: BTreeMap<String, Vec<Script>>,
    calls: Vec<String>,
    staged: Vec<(String, End, crate::port::Cancel)>,
    busy: usize,
    busy_max: usize,
}

impl MemoryEngine {
    /// An engine on this clock. Nodes without a script succeed at once.
    #[must_use]
    pub fn new(clock: &SimClock) -> Self {
        Self {
            clock: clock.clone(),
            state: Arc::default(),
        }
    }

    /// Says what the attempts of a node (`pipeline.node`) do; further attempts do as the last one.
    pub fn script(&self, node: &str, attempts: impl IntoIterator<Item = Script>) {
        lock(&self.state)
            .scripts
            .insert(node.to_owned(), attempts.into_iter().collect());
    }

    /// The calls so far, in order: `stage pipeline.node #attempt`, `publish pipeline.node`, `discard pipeline.node`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        lock(&self.state).calls.clone()
    }

    /// The most nodes that were in `stage` at the same time.
    #[must_use]
    pub fn busy_max(&self) -> usize {
        lock(&self.state).busy_max
    }

    fn script_of(&self, node: &str, attempt: u32) -> Script {
        let state = lock(&self.state);
        let scripts = state.scripts.get(node).map_or(&[][..], Vec::as_slice);
        let at = usize::try_from(attempt.saturating_sub(1))
            .unwrap_or(usize::MAX)
            .min(scripts.len().saturating_sub(1));
        scripts
            .get(at)
            .cloned()
            .unwrap_or_else(|| Script::at_once(End::succeed()))
    }

    /// Passes the scripted time, row by row. Stops early when `until_cancelled` and the run is.
    async fn work(&self, script: &Script, attempt: &Attempt<'_>) {
        let mut left_ms = script.takes_ms;
        let until_cancelled = matches!(script.end, End::UntilCancelled);
        while left_ms > 0 || (until_cancelled && !attempt.cancel.is_cancelled()) {
            let step_ms = if until_cancelled {
                PROGRESS_STEP_MS
            } else {
                left_ms.min(PROGRESS_STEP_MS)
            };
            self.clock.sleep_ms(step_ms).await;
            left_ms = left_ms.saturating_sub(step_ms);
            attempt
                .progress
                .rows_read
                .fetch_add(step_ms, Ordering::Relaxed);
            attempt
                .progress
                .rows_out
                .fetch_add(step_ms, Ordering::Relaxed);
        }
    }

    fn staged(&self, token: u64, call: &str) -> (String, End, crate::port::Cancel) {
        let mut state = lock(&self.state);
        let staged = usize::try_from(token)
            .ok()
            .and_then(|at| state.staged.get(at))
            .cloned();
        let staged = staged.unwrap_or_else(|| panic!("{call} of what was never staged: {token}"));
        state.calls.push(format!("{call} {}", staged.0));
        staged
    }
}

/// Counts a node as busy for as long as it lives, through a panic too.
struct Busy<'a>(&'a Mutex<State>);

impl<'a> Busy<'a> {
    fn new(state: &'a Mutex<State>) -> Self {
        let mut now = lock(state);
        now.busy += 1;
        now.busy_max = now.busy_max.max(now.busy);
        drop(now);
        Self(state)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(self.0).busy -= 1;
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn stage(&self, attempt: Attempt<'_>) -> Result<Staged, Failure> {
        let node = format!("{}.{}", attempt.node.pipeline, attempt.node.name);
        lock(&self.state)
            .calls
            .push(format!("stage {node} #{}", attempt.attempt));
        let _busy = Busy::new(&self.state);
        let script = self.script_of(&node, attempt.attempt);
        self.work(&script, &attempt).await;
        let facts = match &script.end {
            End::FailStage(failure) => return Err(failure.clone()),
            End::PanicInStage(message) => panic!("{message}"),
            End::UntilCancelled => {
                return Err(Failure::new(
                    FailureClass::Cancelled,
                    "run/cancelled",
                    "the run was asked to stop",
                ));
            }
            End::Succeed(facts) => (**facts).clone(),
            End::CancelRun => {
                attempt.cancel.cancel();
                NodeFacts::default()
            }
            End::FailPublish(_) | End::PanicInPublish(_) | End::CancelRunInPublish => {
                NodeFacts::default()
            }
        };
        let mut state = lock(&self.state);
        state.staged.push((node, script.end, attempt.cancel));
        Ok(Staged {
            facts,
            token: state.staged.len() as u64 - 1,
        })
    }

    async fn publish(&self, token: u64) -> Result<Published, Failure> {
        let (node, end, cancel) = self.staged(token, "publish");
        let nothing = Published::default();
        match end {
            End::FailPublish(failure) => Err(failure),
            End::PanicInPublish(message) => panic!("{message}"),
            End::CancelRunInPublish => {
                cancel.cancel();
                Ok(nothing)
            }
            End::Succeed(_) => Ok(Published {
                target: Some(FileFact {
                    connection: "memory".to_owned(),
                    path: node,
                    bytes: 1,
                    modified: None,
                    version: None,
                }),
                write: None,
            }),
            End::FailStage(_) | End::PanicInStage(_) | End::UntilCancelled | End::CancelRun => {
                Ok(nothing)
            }
        }
    }

    async fn discard(&self, token: u64) {
        self.staged(token, "discard");
    }
}
