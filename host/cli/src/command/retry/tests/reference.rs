//! The reference, in the words of the documentation.

use odibi_plan::plan::{Attempts, Backoff, OnError};
use odibi_story::event::Outcome;

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Earlier nodes, and whether it reads them.
    pub(super) before: Vec<(usize, bool)>,
    pub(super) takes_ms: u64,
    /// Attempts that fail, and whether they may be repeated.
    pub(super) failing: u32,
    pub(super) transient: bool,
    pub(super) attempts: Attempts,
    pub(super) on_error: OnError,
    /// What it writes is exactly what it hands over.
    pub(super) reads_back: bool,
}

/// A run of nodes that are all of it.
pub(super) struct Model<'a> {
    nodes: &'a [Node],
    ended: Vec<Option<Outcome>>,
    running: Vec<(u64, usize)>,
    now_ms: u64,
}

impl<'a> Model<'a> {
    /// `None` when two nodes end at once: which is first is not said.
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

    pub(super) fn ended(&self) -> Vec<Outcome> {
        let ended = self.ended.iter();
        ended.map(|outcome| outcome.expect("nodes end")).collect()
    }

    /// 0 when every node that counts has succeeded, else 1.
    pub(super) fn exit_code(&self) -> u8 {
        let mut ended = self.nodes.iter().zip(&self.ended);
        let fails = ended.any(|(node, outcome)| {
            node.on_error != OnError::Ignore
                && matches!(outcome, Some(Outcome::Failed | Outcome::Skipped))
        });
        u8::from(fails)
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

/// Nodes that are run again: those that are asked for and what depends on them, and then whatever they need of nodes that do
/// not stand, or whose output cannot be read back.
pub(super) fn again(nodes: &[Node], asked: Vec<bool>, stands: &[bool]) -> Vec<usize> {
    let mut again = asked;
    for (at, node) in nodes.iter().enumerate() {
        again[at] |= node.before.iter().any(|(before, _)| again[*before]);
    }
    for (at, node) in nodes.iter().enumerate().rev() {
        if !again[at] {
            continue;
        }
        for (before, read) in &node.before {
            let there = stands[*before] && (!read || nodes[*before].reads_back);
            again[*before] |= !there;
        }
    }
    (0..nodes.len()).filter(|at| again[*at]).collect()
}

/// A graph of these nodes alone, that fail as they do now.
pub(super) fn only(nodes: &[Node], part: &[usize], failing: &[u32]) -> Vec<Node> {
    let place = |at: usize| part.iter().position(|other| *other == at);
    let one = |at: &usize| Node {
        before: nodes[*at]
            .before
            .iter()
            .filter_map(|(before, read)| Some((place(*before)?, *read)))
            .collect(),
        failing: failing[*at],
        ..nodes[*at].clone()
    };
    part.iter().map(one).collect()
}
