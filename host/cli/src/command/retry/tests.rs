//! Random graphs with retries, all kinds of `on_error` and partial restarts against a reference that knows time but no
//! tasks: what is run again, every status and the exit code must be equal.

mod reference;

use std::cell::Cell;
use std::collections::BTreeMap;

use odibi_plan::plan::{
    Attempts, Backoff, Connection, ConnectionKind, OnError, ParquetWrite, TargetLayout, Write,
    WriteFormat, WriteMode,
};
use odibi_run::testing::{self, End, MemoryEngine, Script, SimClock, VecSink};
use odibi_story::FailureClass;
use odibi_story::event::{NodeRef, Outcome, RunEvent};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestCaseResult, TestRunner};
use reference::{Model, Node};

use super::*;

/// Graphs that are played, and restarts of them that must have been among that.
const GRAPHS: u32 = 300;
const RESTARTS_MIN: u32 = 200;

/// What happens between two runs. Nodes by their bit.
#[derive(Debug, Clone)]
struct Restart {
    again: u8,
    from: prop::sample::Index,
    /// They fail no more.
    healed: u16,
    /// Somebody has changed what they wrote.
    touched: u16,
}

/// What a graph is played on, and what is known of its nodes.
struct Played<'a> {
    nodes: &'a [Node],
    plan: Plan,
    workers: usize,
    known: Vec<NodeRecord>,
}

impl<'a> Played<'a> {
    fn new(nodes: &'a [Node], workers: usize) -> Self {
        let names: Vec<String> = (0..nodes.len()).map(name).collect();
        let before: Vec<Vec<&str>> = nodes
            .iter()
            .map(|node| node.before.iter().map(|(b, _)| &*names[*b]).collect())
            .collect();
        let listed: Vec<(&str, &[&str])> = names
            .iter()
            .zip(&before)
            .map(|(name, before)| (&**name, &**before))
            .collect();
        let mut plan = testing::plan_of(&listed);
        for (at, node) in nodes.iter().enumerate() {
            plan.nodes[at].attempts = node.attempts;
            plan.nodes[at].on_error = node.on_error;
            plan.nodes[at].write = node.reads_back.then(|| parquet(&plan.nodes[at]));
            for (other, _) in node.before.iter().filter(|(_, read)| *read) {
                testing::reads(&mut plan, at, *other);
            }
        }
        Self {
            nodes,
            plan,
            workers,
            known: Vec::new(),
        }
    }

    /// Runs a plan of some of the nodes, `failing` as they do now: their outcomes, and the exit code.
    fn run(&mut self, plan: &Plan, failing: &[u32]) -> (BTreeMap<String, Outcome>, u8) {
        let clock = SimClock::default();
        let engine = MemoryEngine::new(&clock);
        for (at, node) in self.nodes.iter().enumerate() {
            let class = if node.transient {
                FailureClass::Transient
            } else {
                FailureClass::Data
            };
            let attempt = |number: u32| {
                let fails = number < failing[at];
                let end = if fails {
                    End::fail(class)
                } else {
                    End::succeed()
                };
                Script::taking_ms(node.takes_ms, end)
            };
            engine.script(&name(at), (0..=failing[at]).map(attempt));
        }
        let mut sink = VecSink::default();
        let summary = testing::run(&clock, &engine, plan, self.workers, &mut sink);
        // A node after one that is ignored is no fault of the order.
        if self
            .nodes
            .iter()
            .all(|node| node.on_error != OnError::Ignore)
        {
            let named = |node: &PlannedNode| format!("{}.{}", node.pipeline, node.name);
            let before = plan.nodes.iter().map(|node| {
                let before = node.depends_on.iter().map(|id| named(&plan.nodes[id.0]));
                (named(node), before.collect())
            });
            testing::assert_well_formed(&sink.events, &before.collect());
        }
        let mut told = BTreeMap::new();
        for event in &sink.events {
            if let RunEvent::NodeFinished { node, outcome, .. } = &event.kind {
                told.insert(node.to_string(), *outcome);
                self.known.push(record(node, outcome.word()));
            }
        }
        (told, exit::of_run(summary.outcome, None))
    }
}

fn name(at: usize) -> String {
    format!("p.n{at}")
}

fn record(node: &NodeRef, outcome: &str) -> NodeRecord {
    NodeRecord {
        node: node.clone(),
        outcome: Some(outcome.to_owned()),
        attempts: 1,
        duration_ms: 0,
        rows_written: None,
        failure_code: None,
        target_bytes: None,
        target_modified: None,
    }
}

/// What can be read back exactly.
fn parquet(node: &PlannedNode) -> Write {
    Write {
        connection: Connection {
            name: "here".to_owned(),
            kind: ConnectionKind::Local {
                base_path: ".".to_owned(),
            },
        },
        format: WriteFormat::Parquet(ParquetWrite::default()),
        path: format!("{}.parquet", node.name),
        layout: TargetLayout::File,
        partition_by: Vec::new(),
        mode: WriteMode::Overwrite,
        schema_policy: None,
        span: node.span,
    }
}

/// The whole graph, and then what each restart asks for. Tells how many restarts ran something.
fn play(nodes: &[Node], workers: usize, restarts: &[Restart]) -> Result<u32, TestCaseError> {
    let mut failing: Vec<u32> = nodes.iter().map(|node| node.failing).collect();
    let Some(model) = Model::run(nodes, workers) else {
        return Err(TestCaseError::reject("two nodes end at once"));
    };
    let mut played = Played::new(nodes, workers);
    let whole = played.plan.clone();
    let (told, code) = played.run(&whole, &failing);
    let mut ended = model.ended();
    let all: Vec<usize> = (0..nodes.len()).collect();
    prop_assert_eq!(told, named(&all, &ended));
    prop_assert_eq!(code, model.exit_code());
    let mut count = 0;
    for restart in restarts {
        let bit = |bits: u16, at: usize| bits >> at & 1 == 1;
        let from = restart.from.index(nodes.len());
        let again = match restart.again {
            0 => Again::Unsuccessful,
            1 => Again::Failed,
            2 => Again::Skipped,
            _ => Again::From(name(from)),
        };
        for (at, failing) in failing.iter_mut().enumerate() {
            if bit(restart.healed, at) {
                *failing = 0;
            }
        }
        let asked: Vec<bool> = (0..nodes.len())
            .map(|at| match again {
                Again::Unsuccessful => !ended[at].is_success(),
                Again::Failed => ended[at] == Outcome::Failed,
                Again::Skipped => ended[at] == Outcome::Skipped,
                Again::From(_) => at == from,
            })
            .collect();
        let stands: Vec<bool> = (0..nodes.len())
            .map(|at| ended[at].is_success() && !bit(restart.touched, at))
            .collect();
        let part = reference::again(nodes, asked, &stands);
        let narrowed = chosen(&again, &whole, &played.known, &|node, _| {
            !bit(restart.touched, node.id.0)
        });
        let chosen_names: Vec<&str> = narrowed.plan.nodes.iter().map(|n| &*n.name).collect();
        let part_names: Vec<String> = part.iter().map(|at| format!("n{at}")).collect();
        prop_assert_eq!(chosen_names, part_names, "{:?}", again);
        if part.is_empty() {
            continue;
        }
        let now: Vec<Node> = reference::only(nodes, &part, &failing);
        let Some(model) = Model::run(&now, workers) else {
            break;
        };
        // As the state remembers them.
        played.known = kept(&whole, &narrowed.fates, &played.known);
        for record in &mut played.known {
            if record.is_success() {
                record.outcome = Some("kept".to_owned());
            }
        }
        let (told, code) = played.run(&narrowed.plan, &failing);
        for (at, outcome) in part.iter().zip(model.ended()) {
            ended[*at] = outcome;
        }
        prop_assert_eq!(told, named(&part, &ended), "{:?}", again);
        prop_assert_eq!(code, model.exit_code(), "{:?}", again);
        count += 1;
    }
    Ok(count)
}

fn named(part: &[usize], ended: &[Outcome]) -> BTreeMap<String, Outcome> {
    part.iter().map(|at| (name(*at), ended[*at])).collect()
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
        any::<bool>(),
    )
        .prop_map(
            |(before, takes_ms, failing, transient, attempts, on_error, reads_back)| {
                let node = Node {
                    before: Vec::new(),
                    takes_ms,
                    failing,
                    transient,
                    attempts,
                    on_error,
                    reads_back,
                };
                (before, node)
            },
        )
}

/// At most 15 of them: they are named by the bits of a number.
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

fn random_restarts() -> impl Strategy<Value = Vec<Restart>> {
    let restart = (
        0..4_u8,
        any::<prop::sample::Index>(),
        any::<u16>(),
        any::<u16>(),
        any::<u16>(),
    )
        .prop_map(|(again, from, healed, touched, rarely)| Restart {
            again,
            from,
            healed,
            touched: touched & rarely,
        });
    prop::collection::vec(restart, 1..5)
}

#[test]
fn statuses_and_exit_codes_equal_those_of_the_reference() {
    let cases = Cases {
        failure_persistence: None,
        ..Cases::with_cases(GRAPHS)
    };
    let restarts = Cell::new(0);
    let case = |(nodes, workers, again): (Vec<Node>, usize, Vec<Restart>)| -> TestCaseResult {
        restarts.set(restarts.get() + play(&nodes, workers, &again)?);
        Ok(())
    };
    let graphs = (random_nodes(), 1..5_usize, random_restarts());
    TestRunner::new(cases).run(&graphs, case).unwrap();
    assert!(restarts.get() >= RESTARTS_MIN, "{}", restarts.get());
}

#[test]
fn codes_of_runs_are_those_of_the_table() {
    for (outcome, stopped, code) in [
        (Outcome::Succeeded, None, 0),
        (Outcome::Recovered, None, 0),
        (Outcome::Failed, None, 1),
        (Outcome::Skipped, None, 1),
        (Outcome::Cancelled, None, 1),
        (Outcome::Succeeded, Some(exit::INTERRUPTED), 0),
        (Outcome::Cancelled, Some(exit::INTERRUPTED), 130),
        (Outcome::Failed, Some(exit::TERMINATED), 143),
    ] {
        assert_eq!(exit::of_run(outcome, stopped), code, "{outcome:?}");
    }
}
