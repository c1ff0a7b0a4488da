//! Which node may start, and what falls when one did not succeed. Plain state, no time, no tasks.

use std::collections::BTreeSet;

use odibi_plan::Plan;
use odibi_plan::plan::{InputSource, OnError, PlannedNode};

/// Nodes by their index in the plan.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Dependencies that have not succeeded yet.
    waits_for: Vec<usize>,
    dependents: Vec<BTreeSet<usize>>,
    /// Of each node those that it reads, which it cannot do without.
    reads: Vec<BTreeSet<usize>>,
    /// What only comes after it does not mind its end.
    tolerated: Vec<bool>,
    /// May start.
    ready: BTreeSet<usize>,
    /// Have neither started nor fallen; the ready ones included.
    open: BTreeSet<usize>,
}

/// A node that cannot run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fallen {
    pub(super) node: usize,
    /// Its own dependency that did not succeed.
    pub(super) through: usize,
}

impl Schedule {
    pub(super) fn new(plan: &Plan) -> Self {
        let count = plan.nodes.len();
        let mut dependents = vec![BTreeSet::new(); count];
        let mut waits_for = vec![0; count];
        for (node, planned) in plan.nodes.iter().enumerate() {
            let before: BTreeSet<usize> = planned.depends_on.iter().map(|id| id.0).collect();
            waits_for[node] = before.len();
            for dependency in before {
                // One that is not in the plan never succeeds; the node stays open and the dispatcher says so.
                if let Some(list) = dependents.get_mut(dependency) {
                    list.insert(node);
                }
            }
        }
        let reads = |node: &PlannedNode| {
            let inputs = node.inputs.iter().filter_map(|input| match input.source {
                InputSource::Node(id) => Some(id.0),
                InputSource::Read(_) => None,
            });
            inputs.collect()
        };
        let ready = (0..count).filter(|node| waits_for[*node] == 0).collect();
        Self {
            waits_for,
            dependents,
            reads: plan.nodes.iter().map(reads).collect(),
            tolerated: plan
                .nodes
                .iter()
                .map(|node| node.on_error == OnError::Ignore)
                .collect(),
            ready,
            open: (0..count).collect(),
        }
    }

    /// Takes the first node of the plan that may start.
    pub(super) fn start_next(&mut self) -> Option<usize> {
        let node = self.ready.pop_first()?;
        self.open.remove(&node);
        Some(node)
    }

    /// A node succeeded: others may become ready.
    pub(super) fn succeeded(&mut self, node: usize) {
        for dependent in self.dependents[node].clone() {
            self.done_for(dependent);
        }
    }

    fn done_for(&mut self, dependent: usize) {
        self.waits_for[dependent] -= 1;
        if self.waits_for[dependent] == 0 && self.open.contains(&dependent) {
            self.ready.insert(dependent);
        }
    }

    /// A node did not succeed: everything behind it falls, but for what can do without it. In the order of the plan.
    pub(super) fn fell(&mut self, node: usize) -> Vec<Fallen> {
        let mut fallen = Vec::new();
        let mut roots = vec![node];
        while let Some(through) = roots.pop() {
            for dependent in self.dependents[through].clone() {
                if self.tolerated[through] && !self.reads[dependent].contains(&through) {
                    self.done_for(dependent);
                } else if self.open.remove(&dependent) {
                    fallen.push(Fallen {
                        node: dependent,
                        through,
                    });
                    roots.push(dependent);
                }
            }
        }
        fallen.sort_unstable_by_key(|fallen| fallen.node);
        fallen
    }

    /// Takes all nodes that have not started, in the order of the plan.
    pub(super) fn take_open(&mut self) -> Vec<usize> {
        self.ready.clear();
        std::mem::take(&mut self.open).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plan_of, reads};

    const NONE: [usize; 0] = [];

    fn schedule() -> Schedule {
        // a ─► b ─► d ◄─ c,   e alone
        Schedule::new(&plan_of(&[
            ("p.a", &[]),
            ("p.b", &["p.a"]),
            ("p.c", &[]),
            ("p.d", &["p.b", "p.c"]),
            ("p.e", &[]),
        ]))
    }

    fn drain(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| schedule.start_next()).collect()
    }

    #[test]
    fn ready_nodes_start_in_plan_order() {
        let mut schedule = schedule();
        assert_eq!(drain(&mut schedule), [0, 2, 4]);
        schedule.succeeded(2);
        assert_eq!(drain(&mut schedule), NONE);
        schedule.succeeded(0);
        assert_eq!(drain(&mut schedule), [1]);
        schedule.succeeded(1);
        assert_eq!(drain(&mut schedule), [3]);
        assert_eq!(schedule.take_open(), NONE);
    }

    #[test]
    fn dependents_fall_once_and_name_their_own_dependency() {
        let mut schedule = schedule();
        assert_eq!(drain(&mut schedule), [0, 2, 4]);
        assert_eq!(
            schedule.fell(0),
            [
                Fallen {
                    node: 1,
                    through: 0
                },
                Fallen {
                    node: 3,
                    through: 1
                }
            ]
        );
        assert_eq!(schedule.fell(2), []);
        schedule.succeeded(2);
        assert_eq!(drain(&mut schedule), NONE);
        assert_eq!(schedule.take_open(), NONE);
    }

    #[test]
    fn what_only_comes_after_a_tolerated_node_starts_without_it() {
        // a ─► b (reads) ─► c,   a ─► d ◄─ b
        let mut plan = plan_of(&[
            ("p.a", &[]),
            ("p.b", &["p.a"]),
            ("p.c", &["p.b"]),
            ("p.d", &["p.a", "p.b"]),
        ]);
        plan.nodes[0].on_error = OnError::Ignore;
        plan.nodes[1].on_error = OnError::Ignore;
        reads(&mut plan, 1, 0);
        let mut schedule = Schedule::new(&plan);
        assert_eq!(drain(&mut schedule), [0]);
        assert_eq!(
            schedule.fell(0),
            [Fallen {
                node: 1,
                through: 0
            }]
        );
        assert_eq!(drain(&mut schedule), [2, 3]);
    }

    #[test]
    fn open_nodes_are_taken_once() {
        let mut schedule = schedule();
        assert_eq!(schedule.start_next(), Some(0));
        assert_eq!(schedule.take_open(), [1, 2, 3, 4]);
        schedule.succeeded(0);
        assert_eq!(drain(&mut schedule), NONE);
    }

    #[test]
    fn node_with_an_unknown_dependency_stays_open() {
        let mut plan = plan_of(&[("p.a", &[])]);
        plan.nodes[0].depends_on = vec![odibi_plan::plan::NodeId(7)];
        let mut schedule = Schedule::new(&plan);
        assert_eq!(drain(&mut schedule), NONE);
        assert_eq!(schedule.take_open(), [0]);
    }
}
