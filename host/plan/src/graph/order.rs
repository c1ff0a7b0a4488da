//! Topological order and cycles of a graph given as lists of dependencies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The nodes so that each comes after all it depends on; of those that could come next, the lowest index first. Nodes
/// on a cycle, and those that depend on them, are left out.
#[must_use]
pub fn order(dependencies: &[Vec<usize>]) -> Vec<usize> {
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); dependencies.len()];
    let mut waiting: Vec<usize> = vec![0; dependencies.len()];
    for (node, list) in dependencies.iter().enumerate() {
        for &before in list.iter().filter(|before| **before < dependencies.len()) {
            dependents[before].push(node);
            waiting[node] += 1;
        }
    }
    let ready = waiting.iter().enumerate().filter(|(_, count)| **count == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.map(|(node, _)| Reverse(node)).collect();
    let mut out = Vec::with_capacity(dependencies.len());
    while let Some(Reverse(node)) = ready.pop() {
        out.push(node);
        for &next in &dependents[node] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    out
}

/// Cycles, each as the nodes on it: every node depends on the next, the last on the first. At least one is found when
/// there are any; a cycle begins with its lowest index.
#[must_use]
pub fn cycles(dependencies: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut left: Vec<bool> = vec![true; dependencies.len()];
    order(dependencies)
        .into_iter()
        .for_each(|node| left[node] = false);
    let mut seen = vec![false; dependencies.len()];
    let mut found = Vec::new();
    for start in (0..dependencies.len()).filter(|node| left[*node]) {
        let mut path: Vec<usize> = Vec::new();
        let mut at = start;
        while !seen[at] {
            seen[at] = true;
            path.push(at);
            // A node that is left has a dependency that is left.
            match dependencies[at]
                .iter()
                .copied()
                .find(|next| left.get(*next) == Some(&true))
            {
                Some(next) => at = next,
                None => break,
            }
        }
        if let Some(first) = path.iter().position(|node| *node == at) {
            let mut cycle = path.split_off(first);
            let lowest = cycle
                .iter()
                .enumerate()
                .min_by_key(|(_, node)| **node)
                .map_or(0, |(i, _)| i);
            cycle.rotate_left(lowest);
            found.push(cycle);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(dependencies: &[&[usize]], expect_order: &[usize], expect_cycles: &[&[usize]]) {
        let graph: Vec<Vec<usize>> = dependencies.iter().map(|list| list.to_vec()).collect();
        assert_eq!(order(&graph), expect_order);
        assert_eq!(cycles(&graph), expect_cycles);
    }

    #[test]
    fn order_keeps_the_file_where_it_may() {
        check(&[], &[], &[]);
        check(&[&[], &[], &[]], &[0, 1, 2], &[]);
        check(&[&[2], &[], &[]], &[1, 2, 0], &[]);
        check(&[&[], &[0, 0], &[1], &[0]], &[0, 1, 2, 3], &[]);
    }

    #[test]
    fn cycles_are_found_and_their_dependents_left_out() {
        check(&[&[0]], &[], &[&[0]]);
        check(&[&[1], &[0], &[]], &[2], &[&[0, 1]]);
        check(&[&[1], &[2], &[3], &[1], &[]], &[4], &[&[1, 2, 3]]);
        check(&[&[1], &[0], &[3], &[2]], &[], &[&[0, 1], &[2, 3]]);
    }

    fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (0_usize..12)
            .prop_flat_map(|n| prop::collection::vec(prop::collection::vec(0..n.max(1), 0..4), n))
    }

    proptest! {
        #[test]
        fn order_is_topological_and_complete_without_cycles(graph in graphs()) {
            let order = order(&graph);
            let place = |node: usize| order.iter().position(|n| *n == node);
            for &node in &order {
                for &before in &graph[node] {
                    prop_assert!(place(before) < place(node) && place(before).is_some());
                }
            }
            let mut unique = order.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), order.len());
            let cycles = cycles(&graph);
            prop_assert_eq!(cycles.is_empty(), order.len() == graph.len());
            for cycle in cycles {
                for (i, node) in cycle.iter().enumerate() {
                    prop_assert!(graph[*node].contains(&cycle[(i + 1) % cycle.len()]));
                }
            }
        }
    }
}
