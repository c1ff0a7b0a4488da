//! Random graphs with retries and all kinds of `on_error` against a reference that knows time but no tasks: every status
//! and the end of the run must be equal.

use std::collections::BTreeMap;

use odibi_plan::plan::{Attempts, Backoff, OnError};
use odibi_story::event::{Outcome, RunEvent};
use odibi_story::failure::FailureClass;
use proptest::prelude::*;

use super::assert_well_formed;
use crate::testing::{self, End, MemoryEngine, Script, SimClock, VecSink, plan_of};

#[derive(Debug, Clone)]
struct Node {
    /// Earlier nodes, and whether it reads them.
    before: Vec<(usize, bool)>,
    takes_ms: u64,
    /// Attempts that fail, and whether they may be repeated.
    failing: u32,
    transient: bool,
    attempts: Attempts,
    on_error: OnError,
}

/// The reference, in the words of the documentation. `None` when two nodes end at once: which is first is not said.
mod reference {
    use super::{Attempts, Backoff, Node, OnError, Outcome};

    pub(super) struct Model<'a> {
        pub(super) nodes: &'a [Node],
        pub(super) ended: Vec<Option<Outcome>>,
        running: Vec<(u64, usize)>,
        now_ms: u64,
    }

    impl<'a> Model<'a> {
        pub(super) fn run(nodes: &'a [Node], workers: usize) -> Option<Self> {
            let mut model = Self {
                nodes,
                ended: vec![None; nodes.len()],
                running: Vec::new(),
                now_ms: 0,
            };
            loop {
                for (at, node) in nodes.iter().enumerate() {
                    if model.running.len() < workers && model.may_start(at) {
                        let took_ms = ending(node).1;
                        model.running.push((model.now_ms + took_ms, at));
                    }
                }
                model.running.sort_unstable();
                match model.running.as_slice() {
                    [] => return Some(model),
                    [(one, _), (two, _), ..] if one == two => return None,
                    _ => {}
                }
                let (now_ms, at) = model.running.remove(0);
                model.now_ms = now_ms;
                model.end(at, ending(&nodes[at]).0);
            }
        }

        fn may_start(&self, at: usize) -> bool {
            let is_done = |before: usize, read: bool| match self.ended[before] {
                Some(Outcome::Succeeded | Outcome::Recovered) => true,
                Some(_) => !read && self.nodes[before].on_error == OnError::Ignore,
                None => false,
            };
            self.ended[at].is_none()
                && !self.running.iter().any(|(_, running)| *running == at)
                && self.nodes[at]
                    .before
                    .iter()
                    .all(|(b, read)| is_done(*b, *read))
        }

        fn end(&mut self, at: usize, outcome: Outcome) {
            self.ended[at] = Some(outcome);
            let fast = outcome == Outcome::Failed && self.nodes[at].on_error == OnError::FailFast;
            for other in 0..self.nodes.len() {
                let running = self.running.iter().any(|(_, running)| *running == other);
                let misses = self.nodes[other].before.iter().any(|(before, read)| {
                    *before == at && (*read || self.nodes[at].on_error != OnError::Ignore)
                });
                let falls = matches!(outcome, Outcome::Failed | Outcome::Skipped) && misses;
                if self.ended[other].is_none() && !running && (fast || falls) {
                    self.end(other, Outcome::Skipped);
                }
            }
        }

        /// The worst of those that count.
        pub(super) fn outcome(&self) -> Outcome {
            let counts = |at: usize| match self.ended[at] {
                Some(Outcome::Failed | Outcome::Skipped) => {
                    self.nodes[at].on_error != OnError::Ignore
                }
                _ => true,
            };
            let order = [Outcome::Failed, Outcome::Skipped, Outcome::Recovered];
            let any =
                |word| (0..self.nodes.len()).any(|at| self.ended[at] == Some(word) && counts(at));
            order
                .into_iter()
                .find(|word| any(*word))
                .unwrap_or(Outcome::Succeeded)
        }
    }

    /// How a node ends that may start, and how long it takes.
    fn ending(node: &Node) -> (Outcome, u64) {
        let policy: Attempts = node.attempts;
        let (mut attempt, mut took_ms) = (1, node.takes_ms);
        while attempt <= node.failing {
            let pause_ms = match policy.backoff {
                Backoff::Exponential => policy.delay_ms * 2_u64.pow(attempt - 1),
                Backoff::Linear => policy.delay_ms * u64::from(attempt),
                Backoff::Constant => policy.delay_ms,
            };
            let pause_ms = pause_ms.min(policy.delay_ms_max);
            let late = policy.deadline_ms.is_some_and(|ms| took_ms + pause_ms > ms);
            if !node.transient || attempt == policy.attempts_max || late {
                return (Outcome::Failed, took_ms);
            }
            took_ms += pause_ms + node.takes_ms;
            attempt += 1;
        }
        let first = attempt == 1;
        (
            if first {
                Outcome::Succeeded
            } else {
                Outcome::Recovered
            },
            took_ms,
        )
    }
}

fn random_node() -> impl Strategy<Value = (Vec<(prop::sample::Index, bool)>, Node)> {
    let attempts = (
        1..5_u32,
        prop::sample::select(vec![
            Backoff::Exponential,
            Backoff::Linear,
            Backoff::Constant,
        ]),
        0..5_000_u64,
        0..9_000_u64,
        prop::option::of(1..20_000_u64),
    )
        .prop_map(
            |(attempts_max, backoff, delay_ms, delay_ms_max, deadline_ms)| Attempts {
                attempts_max,
                backoff,
                delay_ms,
                delay_ms_max,
                deadline_ms,
                ..Attempts::once()
            },
        );
    let on_error = prop::sample::select(vec![
        OnError::FailLater,
        OnError::FailLater,
        OnError::FailFast,
        OnError::Ignore,
        OnError::Ignore,
    ]);
    let failing = prop::sample::select(vec![0, 0, 0, 1, 2, 9]);
    let before = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4);
    (
        before,
        1..10_000_u64,
        failing,
        prop::bool::weighted(0.8),
        attempts,
        on_error,
    )
        .prop_map(
            |(before, takes_ms, failing, transient, attempts, on_error)| {
                let node = Node {
                    before: Vec::new(),
                    takes_ms,
                    failing,
                    transient,
                    attempts,
                    on_error,
                };
                (before, node)
            },
        )
}

fn random_nodes() -> impl Strategy<Value = Vec<Node>> {
    prop::collection::vec(random_node(), 1..16).prop_map(|list| {
        let nodes = list.into_iter().enumerate().map(|(at, (before, node))| {
            let mut known: BTreeMap<usize, bool> = BTreeMap::new();
            for (index, read) in before.into_iter().filter(|_| at > 0) {
                *known.entry(index.index(at.max(1))).or_default() |= read;
            }
            Node {
                before: known.into_iter().collect(),
                ..node
            }
        });
        nodes.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn statuses_and_exit_equal_those_of_the_reference(nodes in random_nodes(), workers in 1..5_usize) {
        let Some(expect) = reference::Model::run(&nodes, workers) else {
            return Err(TestCaseError::reject("two nodes end at once"));
        };
        let names: Vec<String> = (0..nodes.len()).map(|at| format!("p.n{at}")).collect();
        let before: Vec<Vec<&str>> =
            nodes.iter().map(|node| node.before.iter().map(|(at, _)| names[*at].as_str()).collect()).collect();
        let listed: Vec<(&str, &[&str])> =
            names.iter().zip(&before).map(|(name, before)| (name.as_str(), before.as_slice())).collect();
        let mut plan = plan_of(&listed);
        let clock = SimClock::default();
        let engine = MemoryEngine::new(&clock);
        for (at, node) in nodes.iter().enumerate() {
            plan.nodes[at].attempts = node.attempts;
            plan.nodes[at].on_error = node.on_error;
            for (other, _) in node.before.iter().filter(|(_, read)| *read) {
                testing::reads(&mut plan, at, *other);
            }
            let class = if node.transient { FailureClass::Transient } else { FailureClass::Data };
            let attempt = |number: u32| {
                let end = if number < node.failing { End::fail(class) } else { End::succeed() };
                Script::taking_ms(node.takes_ms, end)
            };
            engine.script(&names[at], (0..=node.failing).map(attempt));
        }
        let mut sink = VecSink::default();
        let summary = testing::run(&clock, &engine, &plan, workers, &mut sink);

        let told: BTreeMap<String, Option<Outcome>> = sink.events.iter().filter_map(|event| match &event.kind {
            RunEvent::NodeFinished { node, outcome, .. } => Some((node.to_string(), Some(*outcome))),
            _ => None,
        }).collect();
        prop_assert_eq!(told, names.iter().cloned().zip(expect.ended.clone()).collect::<BTreeMap<_, _>>());
        prop_assert_eq!(summary.outcome, expect.outcome());
        let by_name = listed.iter().map(|(name, before)| {
            ((*name).to_owned(), before.iter().map(|b| (*b).to_owned()).collect())
        }).collect();
        // A node after one that is ignored is no fault of the order.
        if nodes.iter().all(|node| node.on_error != OnError::Ignore) {
            assert_well_formed(&sink.events, &by_name);
        }
    }
}
