//! Where the vertices of a graph stand when it is drawn from left to right: layers, the order in each, heights.

use std::collections::BTreeMap;

use crate::story::Lineage;

/// A place in the drawing: of a vertex, or of a bend of an edge that passes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot {
    /// From 0, at the left.
    pub(super) layer: usize,
    /// Middle, in units of one vertex, from 0.
    pub(super) y: f64,
}

/// Places of the vertices of a graph, in their order, and the spots that each edge passes, its ends included.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) vertices: Vec<Spot>,
    pub(super) edges: Vec<Vec<Spot>>,
    pub(super) layers: usize,
    pub(super) height: f64,
}

/// Passes over the layers that bring neighbours next to each other.
const SWEEPS: usize = 8;
/// Room of a bend, in units of one vertex.
const BEND: f64 = 0.35;

/// Lays a graph out. A cycle, which a story from elsewhere may hold, is cut where it closes.
pub(super) fn lay_out(lineage: &Lineage) -> Layers {
    let count = lineage.vertices.len();
    let index: BTreeMap<&str, usize> = (0..count)
        .map(|at| (lineage.vertices[at].id.as_str(), at))
        .collect();
    let edges: Vec<Option<(usize, usize)>> = lineage
        .edges
        .iter()
        .map(|edge| {
            Some((
                *index.get(edge.from.as_str())?,
                *index.get(edge.to.as_str())?,
            ))
        })
        .collect();
    let layer = layer_of_each(count, &edges);
    let mut grid = Grid::new(&layer);
    let chains: Vec<Vec<usize>> = edges
        .iter()
        .map(|edge| edge.map_or_else(Vec::new, |(from, to)| grid.chain(from, to)))
        .collect();
    for sweep in 0..SWEEPS {
        grid.sort(sweep % 2 == 0);
    }
    grid.settle();
    let spot = |at: usize| Spot {
        layer: grid.layer[at],
        y: grid.y[at],
    };
    let chain = |(chain, edge): (&Vec<usize>, &Option<(usize, usize)>)| match edge {
        Some((from, to)) if chain.is_empty() => vec![spot(*from), spot(*to)],
        _ => chain.iter().map(|at| spot(*at)).collect(),
    };
    Layers {
        vertices: (0..count).map(spot).collect(),
        edges: chains.iter().zip(&edges).map(chain).collect(),
        layers: grid.columns.len(),
        height: grid.height(),
    }
}

/// The longest way from a vertex without predecessors.
fn layer_of_each(count: usize, edges: &[Option<(usize, usize)>]) -> Vec<usize> {
    let mut layer = vec![0; count];
    let mut open = vec![0_usize; count];
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in edges.iter().flatten().filter(|(from, to)| from != to) {
        next[*from].push(*to);
        open[*to] += 1;
    }
    let mut ready: Vec<usize> = (0..count).filter(|at| open[*at] == 0).collect();
    let mut seen = ready.len();
    while seen <= count {
        while let Some(at) = ready.pop() {
            for to in std::mem::take(&mut next[at]) {
                layer[to] = layer[to].max(layer[at] + 1);
                open[to] = open[to].saturating_sub(1);
                if open[to] == 0 {
                    ready.push(to);
                    seen += 1;
                }
            }
        }
        // What is left stands in a cycle: cut it before its first vertex.
        let Some(at) = (0..count).find(|at| open[*at] > 0) else {
            break;
        };
        open[at] = 0;
        ready.push(at);
        seen += 1;
    }
    layer
}

/// Vertices and bends, by layer.
struct Grid {
    layer: Vec<usize>,
    bend: Vec<bool>,
    y: Vec<f64>,
    columns: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

impl Grid {
    fn new(layer: &[usize]) -> Self {
        let layers = layer.iter().max().map_or(0, |most| most + 1);
        let mut columns = vec![Vec::new(); layers];
        for (at, layer) in layer.iter().enumerate() {
            columns[*layer].push(at);
        }
        Self {
            layer: layer.to_vec(),
            bend: vec![false; layer.len()],
            y: vec![0.0; layer.len()],
            columns,
            before: vec![Vec::new(); layer.len()],
            after: vec![Vec::new(); layer.len()],
        }
    }

    /// Joins two vertices, with a bend in each layer between them. Empty for an edge that runs back.
    fn chain(&mut self, from: usize, to: usize) -> Vec<usize> {
        if self.layer[from] >= self.layer[to] {
            return Vec::new();
        }
        let mut chain = vec![from];
        for layer in self.layer[from] + 1..self.layer[to] {
            let at = self.layer.len();
            self.layer.push(layer);
            self.bend.push(true);
            self.y.push(0.0);
            self.columns[layer].push(at);
            self.before.push(Vec::new());
            self.after.push(Vec::new());
            chain.push(at);
        }
        chain.push(to);
        for pair in chain.windows(2) {
            self.after[pair[0]].push(pair[1]);
            self.before[pair[1]].push(pair[0]);
        }
        chain
    }

    fn room(&self, at: usize) -> f64 {
        if self.bend[at] { BEND } else { 1.0 }
    }

    /// Orders each layer by the mean place of the neighbours before it, or behind it.
    fn sort(&mut self, forward: bool) {
        let layers = self.columns.len();
        let mut place = vec![0.0; self.layer.len()];
        for column in &self.columns {
            number(column, &mut place);
        }
        for step in 0..layers {
            let layer = if forward { step } else { layers - 1 - step };
            let neighbours = if forward { &self.before } else { &self.after };
            let wish = |at: &usize| {
                mean(neighbours[*at].iter().map(|to| place[*to])).unwrap_or(place[*at])
            };
            let mut column: Vec<(f64, usize)> = self.columns[layer]
                .iter()
                .map(|at| (wish(at), *at))
                .collect();
            column.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.columns[layer] = column.into_iter().map(|(_, at)| at).collect();
            number(&self.columns[layer], &mut place);
        }
    }

    /// Gives every vertex its height: near the middle of its neighbours, and clear of those beside it.
    fn settle(&mut self) {
        for column in 0..self.columns.len() {
            self.place(column, |_| None);
        }
        for sweep in 0..SWEEPS {
            let forward = sweep % 2 == 0;
            for step in 0..self.columns.len() {
                let column = if forward {
                    step
                } else {
                    self.columns.len() - 1 - step
                };
                let (y, neighbours) = (
                    self.y.clone(),
                    if forward { &self.before } else { &self.after },
                );
                let wishes: Vec<Option<f64>> = self.columns[column]
                    .iter()
                    .map(|at| mean(neighbours[*at].iter().map(|to| y[*to])))
                    .collect();
                self.place(column, |at| wishes[at]);
            }
        }
        let top = |at: usize| self.y[at] - self.room(at) / 2.0;
        let least = (0..self.y.len()).map(top).fold(f64::INFINITY, f64::min);
        if least.is_finite() {
            self.y.iter_mut().for_each(|y| *y -= least);
        }
    }

    /// Places a layer: each as it wishes, then pushed apart, then moved back by half of the push.
    fn place(&mut self, column: usize, wish: impl Fn(usize) -> Option<f64>) {
        let members = self.columns[column].clone();
        let mut floor = f64::NEG_INFINITY;
        let mut pushed = 0.0;
        for (at, member) in members.iter().enumerate() {
            let wanted = wish(at).unwrap_or(self.y[*member]);
            let half = self.room(*member) / 2.0;
            let y = wanted.max(floor + half);
            pushed += y - wanted;
            self.y[*member] = y;
            floor = y + half;
        }
        let back = if members.is_empty() {
            0.0
        } else {
            pushed / members.len() as f64
        };
        members.iter().for_each(|member| self.y[*member] -= back);
    }

    fn height(&self) -> f64 {
        let bottom = |at: usize| self.y[at] + self.room(at) / 2.0;
        (0..self.y.len()).map(bottom).fold(0.0, f64::max)
    }
}

fn number(column: &[usize], place: &mut [f64]) {
    for (at, member) in column.iter().enumerate() {
        place[*member] = at as f64 / column.len().max(1) as f64;
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Edge, Vertex, VertexKind};
    use proptest::prelude::*;

    fn graph(count: usize, edges: &[(usize, usize)]) -> Lineage {
        let vertex = |at: usize| Vertex {
            id: format!("n{at}"),
            kind: VertexKind::Node,
            name: String::new(),
            outcome: None,
        };
        let edge = |(from, to): &(usize, usize)| Edge {
            from: format!("n{from}"),
            to: format!("n{to}"),
        };
        Lineage {
            vertices: (0..count).map(vertex).collect(),
            edges: edges.iter().map(edge).collect(),
        }
    }

    fn clear_of_each_other(layers: &Layers) -> bool {
        let mut sorted = layers.vertices.clone();
        sorted.sort_by(|a, b| {
            (a.layer, a.y)
                .partial_cmp(&(b.layer, b.y))
                .expect("numbers")
        });
        sorted
            .windows(2)
            .all(|w| w[0].layer != w[1].layer || w[1].y - w[0].y > 0.999)
    }

    #[test]
    fn chain_is_one_line() {
        let layers = lay_out(&graph(3, &[(0, 1), (1, 2)]));
        let expect: Vec<_> = (0..3).map(|layer| Spot { layer, y: 0.5 }).collect();
        assert_eq!(layers.vertices, expect);
    }

    #[test]
    fn edge_over_a_layer_bends_around_what_stands_there() {
        let layers = lay_out(&graph(3, &[(0, 1), (1, 2), (0, 2)]));
        assert_eq!(layers.edges[2].len(), 3);
        let (vertex, bend) = (layers.vertices[1], layers.edges[2][1]);
        assert_eq!(bend.layer, vertex.layer);
        assert!((bend.y - vertex.y).abs() > 0.6, "{layers:?}");
    }

    proptest! {
        #[test]
        fn any_graph_has_a_place_for_everything(
            edges in proptest::collection::vec((0_usize..14, 0_usize..14), 0..40),
        ) {
            let layers = lay_out(&graph(12, &edges));
            prop_assert_eq!(layers.vertices.len(), 12);
            prop_assert!(layers.vertices.iter().all(|spot| spot.y.is_finite() && spot.y >= 0.0 && spot.y <= layers.height));
            prop_assert!(clear_of_each_other(&layers), "{:?}", layers);
        }
    }
}
