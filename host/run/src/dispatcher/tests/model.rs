//! Random graphs with random failures against a reference that knows no time: outcomes must be equal.

use std::collections::BTreeMap;

use odibi_story::event::{Outcome, RunEvent};
use odibi_story::failure::FailureClass;
use proptest::prelude::*;

use super::{Case, assert_well_formed};
use crate::testing::{End, Script};

#[derive(Debug, Clone)]
struct RandomNode {
    before: Vec<prop::sample::Index>,
    pipeline: usize,
    takes_ms: u64,
    /// 0 fails, 1 panics, others succeed.
    end: u8,
}

impl RandomNode {
    fn succeeds(&self) -> bool {
        self.end > 1
    }
}

fn random_nodes() -> impl Strategy<Value = Vec<RandomNode>> {
    let node = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        0..3usize,
        0..900u64,
        0..8u8,
    )
        .prop_map(|(before, pipeline, takes_ms, end)| RandomNode {
            before,
            pipeline,
            takes_ms,
            end,
        });
    prop::collection::vec(node, 1..16)
}

/// Names and, for each node, the indices of those it depends on: earlier ones only.
fn graph(nodes: &[RandomNode]) -> (Vec<String>, Vec<Vec<usize>>) {
    let names = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| format!("p{}.n{at}", node.pipeline))
        .collect();
    let before = |(at, node): (usize, &RandomNode)| match at {
        0 => Vec::new(),
        _ => node.before.iter().map(|index| index.index(at)).collect(),
    };
    (names, nodes.iter().enumerate().map(before).collect())
}

/// The reference: what must come out, whatever the timing.
fn model(nodes: &[RandomNode], before: &[Vec<usize>]) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (node, before) in nodes.iter().zip(before) {
        let outcome = if before.iter().any(|at| outcomes[*at] != Outcome::Succeeded) {
            Outcome::Skipped
        } else if node.succeeds() {
            Outcome::Succeeded
        } else {
            Outcome::Failed
        };
        outcomes.push(outcome);
    }
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn outcomes_equal_those_of_the_model(nodes in random_nodes(), workers in 1..5usize) {
        let (names, before) = graph(&nodes);
        let names_before: Vec<Vec<&str>> = before.iter().map(|b| b.iter().map(|at| names[*at].as_str()).collect()).collect();
        let listed: Vec<(&str, &[&str])> =
            names.iter().zip(&names_before).map(|(name, before)| (name.as_str(), before.as_slice())).collect();
        let scripts: Vec<(&str, Script)> = names.iter().zip(&nodes).map(|(name, node)| {
            let end = match node.end {
                0 => End::fail(FailureClass::Trap),
                1 => End::PanicInPublish("as planned"),
                _ => End::succeed(),
            };
            (name.as_str(), Script::taking_ms(node.takes_ms, end))
        }).collect();
        let ran = Case { nodes: &listed, scripts: &scripts, workers }.run();

        let told: BTreeMap<String, Outcome> = ran.events.iter().filter_map(|event| match &event.kind {
            RunEvent::NodeFinished { node, outcome, .. } => Some((node.to_string(), *outcome)),
            _ => None,
        }).collect();
        let expect: BTreeMap<String, Outcome> = names.iter().cloned().zip(model(&nodes, &before)).collect();
        prop_assert_eq!(told, expect);
        prop_assert!(ran.engine.busy_max() <= workers);
        let by_name = listed.iter().map(|(name, before)| {
            ((*name).to_owned(), before.iter().map(|b| (*b).to_owned()).collect())
        }).collect();
        assert_well_formed(&ran.events, &by_name);

        let story = odibi_story::fold(&ran.events, &ran.events.iter().find_map(|event| match &event.kind {
            RunEvent::PipelineStarted { pipeline, .. } => Some(pipeline.clone()),
            _ => None,
        }).expect("some pipeline")).expect("was told");
        prop_assert!(story.ended_at.is_some());
        prop_assert!(story.nodes.iter().all(|node| node.ended_at.is_some()));
    }
}
