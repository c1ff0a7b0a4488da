//! Stand-ins for the ports, for tests of this crate and of others: an engine that follows a script, a clock that jumps,
//! a sink that remembers. Nothing here reads files, waits or depends on the machine's speed.
//!
//! ```
//! use odibi_run::testing::{self, End, MemoryEngine, Script, SimClock, VecSink};
//!
//! let clock = SimClock::default();
//! let engine = MemoryEngine::new(&clock);
//! engine.script("p.a", [Script::taking_ms(40, End::succeed())]);
//! let plan = testing::plan_of(&[("p.a", &[]), ("p.b", &["p.a"])]);
//! let mut sink = VecSink::default();
//! let summary = testing::run(&clock, &engine, &plan, 2, &mut sink);
//! assert_eq!(summary.succeeded, 2);
//! assert_eq!(engine.calls(), ["stage p.a #1", "publish p.a", "stage p.b #1", "publish p.b"]);
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use odibi_plan::GuestLimits;
use odibi_plan::Plan;
use odibi_plan::diagnostic::{FileId, Span};
use odibi_plan::plan::{
    Attempts, Input, InputSource, NodeId, OnError, OperationRef, PlannedNode, PlannedPipeline,
};
use odibi_story::event::Event;
use odibi_story::failure::{Failure, FailureClass};

use crate::dispatcher::{self, Settings, Summary};
use crate::port::{Cancel, EventSink, Operation, Ports, Transforms};

mod clock;
mod engine;
mod rules;

pub use clock::{SimClock, block_on};
pub use engine::{End, MemoryEngine, Script};
pub use rules::assert_well_formed;

/// Keeps every event.
#[derive(Debug, Default)]
pub struct VecSink {
    /// In order.
    pub events: Vec<Event>,
}

impl EventSink for VecSink {
    fn emit(&mut self, event: &Event) {
        self.events.push(event.clone());
    }
}

/// Knows no operation.
#[derive(Debug, Default)]
pub struct NoTransforms;

#[async_trait]
impl Transforms for NoTransforms {
    async fn resolve(
        &self,
        reference: &OperationRef,
        _: &GuestLimits,
    ) -> Result<Arc<dyn Operation>, Failure> {
        Err(Failure::new(
            FailureClass::Missing,
            "plugin/missing",
            format!("no such operation: `{reference}`"),
        ))
    }
}

/// A plan of bare nodes, each tried once: `("pipeline.node", &["pipeline.node it depends on"])`. Pipelines stand in the order of their
/// first mention. A dependency that is not listed becomes one that is not in the plan.
#[must_use]
pub fn plan_of(nodes: &[(&str, &[&str])]) -> Plan {
    let index: BTreeMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (*name, at))
        .collect();
    let mut pipelines: Vec<PlannedPipeline> = Vec::new();
    let mut planned = Vec::new();
    for (at, (full_name, before)) in nodes.iter().enumerate() {
        let (pipeline, name) = full_name.split_once('.').unwrap_or(("p", full_name));
        let depends_on = before
            .iter()
            .map(|name| NodeId(index.get(name).copied().unwrap_or(usize::MAX)))
            .collect();
        planned.push(bare_node(NodeId(at), pipeline, name, depends_on));
        match pipelines.iter_mut().find(|known| known.name == pipeline) {
            Some(known) => known.nodes.push(NodeId(at)),
            None => pipelines.push(PlannedPipeline {
                name: pipeline.to_owned(),
                description: None,
                nodes: vec![NodeId(at)],
            }),
        }
    }
    for at in 0..planned.len() {
        planned[at].has_dependents = planned
            .iter()
            .any(|node| node.depends_on.contains(&NodeId(at)));
    }
    Plan {
        project: "test".to_owned(),
        pipelines,
        nodes: planned,
        story: None,
        plugins: BTreeMap::new(),
        alerts: Vec::new(),
        lineage: None,
        telemetry: None,
        config_digest: "00".to_owned(),
        config_files: vec!["odibi.yaml".to_owned()],
    }
}

/// Makes a node read the output of another one, on which it depends already.
pub fn reads(plan: &mut Plan, node: usize, other: usize) {
    let node = &mut plan.nodes[node];
    node.inputs.push(Input {
        name: format!("input_{other}"),
        source: InputSource::Node(NodeId(other)),
        span: node.span,
    });
}

fn bare_node(id: NodeId, pipeline: &str, name: &str, depends_on: Vec<NodeId>) -> PlannedNode {
    PlannedNode {
        id,
        pipeline: pipeline.to_owned(),
        name: name.to_owned(),
        span: Span {
            file: FileId(0),
            start: 0,
            end: 0,
        },
        description: None,
        tags: Vec::new(),
        depends_on,
        inputs: Vec::new(),
        steps: Vec::new(),
        write: None,
        on_row_error: odibi_plan::plan::OnRowError::Fail,
        attempts: Attempts::once(),
        on_error: OnError::FailLater,
        has_dependents: false,
        privacy: odibi_plan::plan::Privacy::default(),
    }
}

/// Ports with a scripted engine, no operations and a simulated clock.
#[must_use]
pub fn ports(clock: &SimClock, engine: &MemoryEngine) -> Ports {
    Ports {
        engine: Arc::new(engine.clone()),
        transforms: Arc::new(NoTransforms),
        clock: Arc::new(clock.clone()),
    }
}

/// Runs a plan on the simulated clock, without retries.
pub fn run(
    clock: &SimClock,
    engine: &MemoryEngine,
    plan: &Plan,
    workers: usize,
    sink: &mut VecSink,
) -> Summary {
    let settings = Settings {
        run_id: "run".to_owned(),
        workers,
        ..Settings::default()
    };
    run_with(clock, engine, plan, &settings, sink)
}

/// Runs a plan on the simulated clock.
pub fn run_with(
    clock: &SimClock,
    engine: &MemoryEngine,
    plan: &Plan,
    settings: &Settings,
    sink: &mut VecSink,
) -> Summary {
    let (ports, cancel) = (ports(clock, engine), Cancel::default());
    block_on(
        clock,
        dispatcher::run(plan, &ports, settings, &cancel, sink),
    )
}

/// A panic while a lock is held is what some tests are about.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
