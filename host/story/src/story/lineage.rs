//! The graph of a pipeline: data sets, nodes, and what flows where.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{NodeStory, Status};

/// Data sets and nodes as vertices, joined by reads, writes and dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lineage {
    /// Data sets that are read, nodes, data sets that are only written, nodes of other pipelines.
    pub vertices: Vec<Vertex>,
    /// In the order of the nodes.
    pub edges: Vec<Edge>,
}

/// A data set or a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Vertex {
    /// Unique in the graph: a letter and a number.
    pub id: String,
    /// What it is.
    pub kind: VertexKind,
    /// `connection:path`, the name of a node, or `pipeline.node`.
    pub name: String,
    /// For nodes of this pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Status>,
}

/// What a vertex is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VertexKind {
    /// A file or a pattern of files. One that a node writes and another reads is one vertex.
    Dataset,
    /// A node of this pipeline.
    Node,
    /// A node of another pipeline.
    OtherPipeline,
}

/// From where to where data flows, or what waits for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Edge {
    /// Id of a vertex.
    pub from: String,
    /// Id of a vertex.
    pub to: String,
}

impl Lineage {
    /// Draws the graph of a pipeline's nodes.
    #[must_use]
    pub(crate) fn of(pipeline: &str, nodes: &[NodeStory]) -> Self {
        let mut graph = Drawing::default();
        for node in nodes {
            for read in &node.outline.reads {
                graph.vertex(VertexKind::Dataset, read);
            }
        }
        for node in nodes {
            let id = graph.vertex(VertexKind::Node, &node.outline.name);
            if let Some(vertex) = graph
                .lineage
                .vertices
                .iter_mut()
                .find(|vertex| vertex.id == id)
            {
                vertex.outcome = Some(node.outcome);
            }
        }
        for node in nodes {
            let to = graph.vertex(VertexKind::Node, &node.outline.name);
            for before in &node.outline.depends_on {
                let from = if before.pipeline == pipeline {
                    graph.vertex(VertexKind::Node, &before.name)
                } else {
                    graph.vertex(VertexKind::OtherPipeline, &before.to_string())
                };
                graph.edge(from, to.clone());
            }
            for read in &node.outline.reads {
                let from = graph.vertex(VertexKind::Dataset, read);
                graph.edge(from, to.clone());
            }
            if let Some(write) = &node.outline.writes {
                let target = graph.vertex(VertexKind::Dataset, write);
                graph.edge(to, target);
            }
        }
        graph.lineage
    }
}

/// A graph while it grows.
#[derive(Default)]
struct Drawing {
    lineage: Lineage,
    ids: BTreeMap<(char, String), String>,
    edges: BTreeSet<(String, String)>,
}

impl Drawing {
    fn vertex(&mut self, kind: VertexKind, name: &str) -> String {
        let letter = match kind {
            VertexKind::Dataset => 'd',
            VertexKind::Node => 'n',
            VertexKind::OtherPipeline => 'x',
        };
        let key = (letter, name.to_owned());
        if let Some(id) = self.ids.get(&key) {
            return id.clone();
        }
        let id = format!(
            "{letter}{}",
            self.lineage
                .vertices
                .iter()
                .filter(|v| v.kind == kind)
                .count()
        );
        self.lineage.vertices.push(Vertex {
            id: id.clone(),
            kind,
            name: name.to_owned(),
            outcome: None,
        });
        self.ids.insert(key, id.clone());
        id
    }

    fn edge(&mut self, from: String, to: String) {
        if self.edges.insert((from.clone(), to.clone())) {
            self.lineage.edges.push(Edge { from, to });
        }
    }
}
