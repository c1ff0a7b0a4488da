//! What can only be judged with the whole project in view: names of connections and nodes, cycles, targets.

use std::collections::HashMap;

use super::reader::Context;
use super::{OnRowError, Project, Text};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::graph::{self, Graph};
use crate::limits::{CYCLE_SHOWN_MAX, LISTED_MAX};
use crate::plan::{ConnectionKind, TargetLayout};

pub(super) fn check(context: &Context, project: &Project) {
    connections(context, project);
    system(context, project);
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

/// State is kept where something can be written.
fn system(context: &Context, project: &Project) {
    let Some(system) = &project.system else {
        return;
    };
    let found = project.connection(&system.connection.value);
    match found.and_then(|connection| connection.kind.as_ref()) {
        None
        | Some(
            ConnectionKind::Local { .. }
            | ConnectionKind::Azure(_)
            | ConnectionKind::S3(_)
            | ConnectionKind::Gcs(_),
        ) => {}
        Some(ConnectionKind::Http(_)) => context.report_with(|| {
            let message = format!(
                "state cannot be kept on connection {}, because a web server takes no files",
                quoted(system.connection.shown())
            );
            Diagnostic::error(&codes::UNSUPPORTED_WRITE, system.connection.span, message).hint(
                "name a connection to a directory or an object store, or remove `system`: state is then kept beside the project file",
            )
        }),
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

/// A place that a node writes to.
struct Target<'a> {
    /// Base path and path.
    place: String,
    path: &'a Text,
    node: &'a Text,
    kind: TargetKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TargetKind {
    File,
    /// A directory that a write owns.
    Directory,
    /// A directory of rejected rows.
    Rejected,
}

/// Two enabled nodes must not write one file, nor anything where rejected rows or the files of another write go.
fn targets(context: &Context, project: &Project) {
    let mut first: HashMap<String, Target<'_>> = HashMap::new();
    for target in all_targets(project) {
        let Some(other) = first.get(&target.place) else {
            first.insert(target.place.clone(), target);
            continue;
        };
        let shown = quoted(target.path.shown());
        let rejected = |target: &Target<'_>| target.kind == TargetKind::Rejected;
        let message = match (rejected(other), rejected(&target)) {
            (false, false) if target.kind == TargetKind::Directory => {
                format!("two nodes write the same directory: {shown}")
            }
            (false, false) => format!("two nodes write the same file: {shown}"),
            (true, true) => format!("two nodes set rows aside in the same directory: {shown}"),
            (_, _) => format!("rejected rows go where a result is written: {shown}"),
        };
        let hint = match (rejected(other), rejected(&target)) {
            (false, false) | (true, true) => "give each node its own path",
            (_, _) => "give the rejected rows a directory of their own",
        };
        let made = Diagnostic::error(&codes::SAME_TARGET, target.path.span, message);
        context.report(
            made.label("written again here")
                .also(other.path.span, "first written here")
                .hint(hint),
        );
    }
    let mut inner: Vec<&Target<'_>> = first.values().collect();
    inner.sort_by_key(|target| target.path.span.start);
    for target in inner {
        let above = target
            .place
            .match_indices('/')
            .map(|(at, _)| &target.place[..at]);
        let owner = above.filter_map(|place| first.get(place)).find(|owner| {
            let below_rejected = owner.kind == TargetKind::Rejected;
            let file_below_file =
                target.kind != TargetKind::Rejected && owner.kind == TargetKind::File;
            !below_rejected && !file_below_file
        });
        if let Some(owner) = owner {
            context.report(below(target, owner));
        }
    }
}

/// Something is written below what another node writes.
fn below(target: &Target<'_>, owner: &Target<'_>) -> Diagnostic {
    let what = match target.kind {
        TargetKind::Rejected => "the rejected rows of",
        TargetKind::File | TargetKind::Directory => "the result of",
    };
    let (a, label) = match owner.kind {
        TargetKind::File => ("a file", "a file here"),
        TargetKind::Directory | TargetKind::Rejected => ("a directory", "a directory here"),
    };
    let verb = match target.kind {
        TargetKind::Rejected => "go",
        TargetKind::File | TargetKind::Directory => "goes",
    };
    let message = format!(
        "{what} node {} {verb} below {a} that node {} writes: {}",
        quoted(target.node.shown()),
        quoted(owner.node.shown()),
        quoted(target.path.shown())
    );
    let hint = match target.kind {
        TargetKind::Rejected => "give the rejected rows a directory of their own",
        TargetKind::File | TargetKind::Directory => "give it a path of its own",
    };
    Diagnostic::error(&codes::SAME_TARGET, target.path.span, message)
        .also(owner.path.span, label)
        .hint(hint)
}

fn all_targets<'a>(project: &'a Project) -> Vec<Target<'a>> {
    let mut targets = Vec::new();
    for (_, node) in project.nodes().filter(|(_, node)| node.enabled) {
        let mut add = |connection: &Text, path: &'a Text, kind| {
            let found = project
                .connection(&connection.value)
                .and_then(|c| c.kind.as_ref());
            if let Some(found) = found {
                targets.push(Target {
                    place: found.place(&path.value),
                    path,
                    node: &node.name,
                    kind,
                });
            }
        };
        if let Some(write) = &node.write {
            let kind = match write.layout {
                TargetLayout::File => TargetKind::File,
                TargetLayout::Directory => TargetKind::Directory,
            };
            add(&write.connection, &write.path, kind);
        }
        if let OnRowError::Quarantine(quarantine) = &node.on_row_error {
            add(
                &quarantine.connection,
                &quarantine.path,
                TargetKind::Rejected,
            );
        }
    }
    targets
}
