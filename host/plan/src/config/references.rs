//! What can only be judged with the whole project in view: names of connections and nodes, cycles, targets.

use std::collections::HashMap;

use super::reader::Context;
use super::{Project, Text, normal_path};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::graph::{self, Graph};
use crate::limits::{CYCLE_SHOWN_MAX, LISTED_MAX};
use crate::plan::ConnectionKind;

pub(super) fn check(context: &Context, project: &Project) {
    connections(context, project);
    let (graph, unknown) = Graph::new(project);
    context.report_all(unknown);
    cycles(context, project, &graph);
    targets(context, project);
}

fn connections(context: &Context, project: &Project) {
    let names = || project.connections.iter().map(|c| c.name.value.as_str());
    for (name, user) in context.take_connections() {
        if project.connection(&name.value).is_some() {
            continue;
        }
        context.report_with(|| {
            let message = format!(
                "{user} uses connection {}, which does not exist",
                quoted(name.shown())
            );
            let made = Diagnostic::error(&codes::UNKNOWN_CONNECTION, name.span, message);
            let made = made.suggest(&name.value, names());
            if made.hints.is_empty() && (1..=LISTED_MAX).contains(&project.connections.len()) {
                return made.hint(format!(
                    "use one of: {}",
                    names().map(quoted).collect::<Vec<_>>().join(", ")
                ));
            }
            made
        });
    }
}

fn cycles(context: &Context, project: &Project, graph: &Graph) {
    let nodes: Vec<_> = project.nodes().collect();
    let name = |at: usize| {
        let (pipeline, node) = nodes[at];
        if project.pipelines.len() > 1 {
            quoted(&format!("{}.{}", pipeline.name.shown(), node.name.shown()))
        } else {
            quoted(node.name.shown())
        }
    };
    let plain: Vec<Vec<usize>> = graph
        .edges
        .iter()
        .map(|list| list.iter().map(|e| e.to).collect())
        .collect();
    for cycle in graph::cycles(&plain) {
        let mut shown: Vec<String> = cycle
            .iter()
            .take(CYCLE_SHOWN_MAX)
            .map(|at| name(*at))
            .collect();
        shown.push(if cycle.len() > CYCLE_SHOWN_MAX {
            "…".to_owned()
        } else {
            name(cycle[0])
        });
        let message = match cycle.len() {
            1 => format!("node {} depends on itself", shown[0]),
            _ => format!(
                "nodes depend on each other in a circle: {}",
                shown.join(" → ")
            ),
        };
        let mut made: Option<Diagnostic> = None;
        for (i, at) in cycle.iter().enumerate().take(CYCLE_SHOWN_MAX) {
            let next = cycle[(i + 1) % cycle.len()];
            let Some(edge) = graph.edges[*at].iter().find(|edge| edge.to == next) else {
                continue;
            };
            let text = format!("{} depends on {}", name(*at), name(next));
            made = Some(match made {
                None => Diagnostic::error(&codes::CYCLE, edge.span, message.clone()).label(text),
                Some(made) => made.also(edge.span, text),
            });
        }
        if let Some(made) = made {
            context.report(made.hint("remove one of these dependencies"));
        }
    }
}

/// Two enabled nodes must not write one file.
fn targets(context: &Context, project: &Project) {
    let mut first: HashMap<String, &Text> = HashMap::new();
    for (_, node) in project.nodes().filter(|(_, node)| node.enabled) {
        let Some(write) = &node.write else { continue };
        let root = match project
            .connection(&write.connection.value)
            .and_then(|c| c.kind.as_ref())
        {
            Some(ConnectionKind::Local { base_path }) => normal_path(base_path),
            None => continue,
        };
        let path = normal_path(&write.path.value);
        let target = if root.is_empty() {
            path
        } else {
            format!("{root}/{path}")
        };
        let Some(other) = first.get(&target) else {
            first.insert(target, &write.path);
            continue;
        };
        let message = format!(
            "two nodes write the same file: {}",
            quoted(write.path.shown())
        );
        let made = Diagnostic::error(&codes::SAME_TARGET, write.path.span, message);
        context.report(
            made.label("written again here")
                .also(other.span, "first written here")
                .hint("give each node its own path"),
        );
    }
}
