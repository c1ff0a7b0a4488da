//! Which node comes before which: references resolved, order, cycles, selection.

mod order;
mod selection;
mod selector;

pub use order::{cycles, order};
pub use selection::{Remembered, Selection, asked, select};
pub use selector::NodeResult;

use std::collections::HashMap;

use crate::config::Project;
use crate::diagnostic::{Collector, Diagnostic, Span, codes, quoted};

/// A dependency of one node on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Index of the node that comes first.
    pub to: usize,
    /// Where the reference is written.
    pub span: Span,
}

/// The nodes of a project, by their index in [`Project::nodes`], and what each depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// For each node its dependencies, in the order they are written.
    pub edges: Vec<Vec<Edge>>,
    index: HashMap<(String, String), usize>,
}

impl Graph {
    /// Resolves every reference. What cannot be found is reported and left out.
    #[must_use]
    pub fn new(project: &Project) -> (Self, Vec<Diagnostic>) {
        let mut graph = Self::default();
        for (at, (pipeline, node)) in project.nodes().enumerate() {
            // Of two nodes of one name, which is reported, the first counts.
            graph
                .index
                .entry((pipeline.name.value.clone(), node.name.value.clone()))
                .or_insert(at);
        }
        let mut faults = Collector::default();
        for (pipeline, node) in project.nodes() {
            let mut edges = Vec::new();
            for reference in node.references() {
                match graph.find(&pipeline.name.value, &reference.value) {
                    Some(to) => edges.push(Edge {
                        to,
                        span: reference.span,
                    }),
                    None => faults.push_with(|| unknown(project, pipeline, node, reference)),
                }
            }
            graph.edges.push(edges);
        }
        (graph, faults.finish())
    }

    /// The node that a reference in `pipeline` means: a name in the same pipeline, or `$pipeline.node`.
    #[must_use]
    pub fn find(&self, pipeline: &str, reference: &str) -> Option<usize> {
        let (pipeline, node) = split(pipeline, reference);
        self.index
            .get(&(pipeline.to_owned(), node.to_owned()))
            .copied()
    }
}

fn split<'a>(pipeline: &'a str, reference: &'a str) -> (&'a str, &'a str) {
    match reference.strip_prefix('$') {
        Some(rest) => rest.split_once('.').unwrap_or((rest, "")),
        None => (pipeline, reference),
    }
}

fn unknown(
    project: &Project,
    pipeline: &crate::config::Pipeline,
    node: &crate::config::Node,
    reference: &crate::config::Text,
) -> Diagnostic {
    let (target, name) = split(&pipeline.name.value, &reference.value);
    let message = format!(
        "node {} depends on {}, which does not exist",
        quoted(node.name.shown()),
        quoted(reference.shown())
    );
    let made = Diagnostic::error(&codes::UNKNOWN_NODE, reference.span, message);
    let Some(there) = project.pipelines.iter().find(|p| p.name.value == target) else {
        let label = if reference.written.is_some() {
            String::new()
        } else {
            format!("there is no pipeline {}", quoted(target))
        };
        let made = made.label(label);
        let names = project.pipelines.iter().map(|p| p.name.value.as_str());
        return match crate::diagnostic::nearest(target, names) {
            Some(found) => made.hint(format!(
                "did you mean {}?",
                quoted(&format!("${found}.{name}"))
            )),
            None => made,
        };
    };
    let made = made.label(format!(
        "not a node of pipeline {}",
        quoted(there.name.shown())
    ));
    let prefix = if reference.value.starts_with('$') {
        format!("${target}.")
    } else {
        String::new()
    };
    if let Some(found) = crate::diagnostic::nearest(name, there.node_names()) {
        return made.hint(format!(
            "did you mean {}?",
            quoted(&format!("{prefix}{found}"))
        ));
    }
    let elsewhere = project
        .pipelines
        .iter()
        .find(|p| p.name.written.is_none() && p.position(name).is_some());
    match elsewhere {
        Some(other) => {
            let full = format!("${}.{name}", other.name.value);
            made.hint(format!(
                "write {} for the node of pipeline {}",
                quoted(&full),
                quoted(&other.name.value)
            ))
        }
        None => made,
    }
}
