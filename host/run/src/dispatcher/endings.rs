//! What follows when a node ends: what falls with it, when its pipeline ends, and how a whole ends whose parts did.

use odibi_plan::Plan;
use odibi_plan::plan::{NodeId, OnError};
use odibi_story::event::{Outcome, RunEvent};
use odibi_story::failure::{Failure, FailureClass, code};

use super::Dispatcher;
use super::outline::{outline, reference};
use super::schedule::Fallen;
use crate::executor::NodeEnd;

/// A pipeline on its way.
pub(super) struct PipelineRun {
    pub(super) started_ms: Option<u64>,
    pub(super) nodes_left: usize,
    outcomes: Vec<Outcome>,
}

impl PipelineRun {
    pub(super) fn all(plan: &Plan) -> Vec<Self> {
        let of = |name: &str| {
            plan.nodes
                .iter()
                .filter(|node| node.pipeline == name)
                .count()
        };
        let new = |nodes_left| Self {
            started_ms: None,
            nodes_left,
            outcomes: Vec::new(),
        };
        plan.pipelines
            .iter()
            .map(|pipeline| new(of(&pipeline.name)))
            .collect()
    }
}

impl Dispatcher<'_> {
    pub(super) fn node_ended(&mut self, node: usize, end: NodeEnd) {
        let outcome = end.outcome;
        self.node_finished(node, end);
        if outcome.is_success() {
            self.schedule.succeeded(node);
            return;
        }
        if outcome == Outcome::Failed && self.plan.nodes[node].on_error == OnError::FailFast {
            for open in self.schedule.take_open() {
                let failure = failed_fast(self.plan, node);
                self.not_tried(open, Outcome::Skipped, failure);
            }
            return;
        }
        // A run that is being cancelled takes along what would have come after.
        let after = if outcome == Outcome::Cancelled {
            Outcome::Cancelled
        } else {
            Outcome::Skipped
        };
        for Fallen {
            node: fallen,
            through,
        } in self.schedule.fell(node)
        {
            let failure = upstream_failed(self.plan, node, through, outcome);
            self.not_tried(fallen, after, failure);
        }
    }

    pub(super) fn not_tried(&mut self, node: usize, outcome: Outcome, failure: Failure) {
        self.pipeline_of_node_started(node);
        let end = NodeEnd {
            outcome,
            attempts: 0,
            duration_ms: 0,
            facts: None,
            failure: Some(failure),
        };
        self.node_finished(node, end);
    }

    fn node_finished(&mut self, node: usize, end: NodeEnd) {
        let failure = end.failure.map(|failure| self.placed(node, failure));
        // What is ignored neither fails the run nor its pipeline.
        let ignored = self.plan.nodes[node].on_error == OnError::Ignore
            && matches!(end.outcome, Outcome::Failed | Outcome::Skipped);
        let failure = failure.map(|failure| {
            if ignored && end.outcome == Outcome::Failed {
                failure.own_hint("the run does not fail for this node: its `on_error` is `ignore`")
            } else {
                failure
            }
        });
        self.outcomes.push((end.outcome, !ignored));
        self.voice.say(RunEvent::NodeFinished {
            node: reference(&self.plan.nodes[node]),
            outcome: end.outcome,
            attempts: end.attempts,
            duration_ms: end.duration_ms,
            facts: end.facts,
            failure,
        });
        if let Some(pipeline) = self.pipeline_of(node) {
            let run = &mut self.pipelines[pipeline];
            run.outcomes.extend((!ignored).then_some(end.outcome));
            run.nodes_left = run.nodes_left.saturating_sub(1);
            if run.nodes_left == 0 {
                self.pipeline_finished(pipeline);
            }
        }
    }

    fn pipeline_of(&self, node: usize) -> Option<usize> {
        let name = &self.plan.nodes[node].pipeline;
        self.plan
            .pipelines
            .iter()
            .position(|pipeline| pipeline.name == *name)
    }

    pub(super) fn pipeline_of_node_started(&mut self, node: usize) {
        if let Some(pipeline) = self.pipeline_of(node)
            && self.pipelines[pipeline].started_ms.is_none()
        {
            self.pipeline_started(pipeline);
        }
    }

    pub(super) fn pipeline_started(&mut self, pipeline: usize) {
        self.pipelines[pipeline].started_ms = Some(self.ports.clock.monotonic_ms());
        let planned = &self.plan.pipelines[pipeline];
        let nodes = self
            .plan
            .nodes
            .iter()
            .filter(|node| node.pipeline == planned.name);
        self.voice.say(RunEvent::PipelineStarted {
            pipeline: planned.name.clone(),
            description: planned.description.clone(),
            nodes: nodes.map(|node| outline(node, self.plan)).collect(),
        });
    }

    pub(super) fn pipeline_finished(&mut self, pipeline: usize) {
        let run = &self.pipelines[pipeline];
        let duration_ms = run
            .started_ms
            .map_or(0, |started_ms| self.since_ms(started_ms));
        let (name, outcome) = (
            self.plan.pipelines[pipeline].name.clone(),
            worst(&run.outcomes),
        );
        self.voice.say(RunEvent::PipelineFinished {
            pipeline: name,
            outcome,
            duration_ms,
        });
    }

    pub(super) fn placed(&self, node: usize, mut failure: Failure) -> Failure {
        // Nothing in the configuration is to blame for these.
        let blameless = [
            code::RUN_CANCELLED.name,
            code::RUN_UPSTREAM_FAILED.name,
            code::RUN_FAILED_FAST.name,
        ]
        .contains(&failure.code.as_str());
        if let (None, false, Some(place)) = (&failure.place, blameless, &self.settings.place) {
            failure.place = place(NodeId(node), &failure);
        }
        failure
    }

    pub(super) fn since_ms(&self, started_ms: u64) -> u64 {
        self.ports.clock.monotonic_ms().saturating_sub(started_ms)
    }
}

fn failed_fast(plan: &Plan, node: usize) -> Failure {
    let message = format!(
        "not tried, because node `{}` failed, and its `on_error` is `fail_fast`",
        reference(&plan.nodes[node])
    );
    Failure::new(FailureClass::Cancelled, code::RUN_FAILED_FAST, message)
}

/// Names the node that failed, and the one in between when it is not a direct dependency.
fn upstream_failed(plan: &Plan, root: usize, through: usize, outcome: Outcome) -> Failure {
    let name = |node: usize| reference(&plan.nodes[node]);
    let was = if outcome == Outcome::Cancelled {
        "was cancelled"
    } else {
        "failed"
    };
    let message = format!("not tried, because node `{}` {was}", name(root));
    let failure = Failure::new(FailureClass::Cancelled, code::RUN_UPSTREAM_FAILED, message);
    if through == root {
        failure
    } else {
        failure.own_cause(format!(
            "it depends on node `{}`, which was not tried",
            name(through)
        ))
    }
}

/// The outcome of a whole whose parts ended so.
pub(super) fn worst(outcomes: &[Outcome]) -> Outcome {
    let order = [
        Outcome::Failed,
        Outcome::Cancelled,
        Outcome::Skipped,
        Outcome::Recovered,
    ];
    order
        .into_iter()
        .find(|outcome| outcomes.contains(outcome))
        .unwrap_or(Outcome::Succeeded)
}
