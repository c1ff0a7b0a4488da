//! A node that reads what another one writes must come before or after it.

use std::collections::HashMap;

use super::{Connection, InputSource, NodeId, OnRowError, PlannedNode, Read, TargetLayout};
use crate::config::normal_path;
use crate::diagnostic::{Collector, Diagnostic, Span, codes, quoted};

/// What a node leaves behind for others to read.
struct Written<'a> {
    node: &'a PlannedNode,
    span: Span,
    what: &'static str,
    before: &'static str,
}

/// Warns of every read of a file that a node without a dependency either way writes, and of every read below a directory
/// that a node writes. Wildcards are not looked at otherwise.
pub(super) fn check(nodes: &[PlannedNode], faults: &mut Collector) {
    let (mut files, mut directories) = (HashMap::new(), HashMap::new());
    for node in nodes {
        if let Some(write) = &node.write {
            let place = target(&write.connection, &write.path);
            let (known, what, before) = match write.layout {
                TargetLayout::File => (&mut files, "the file that", "it is written"),
                TargetLayout::Directory => (&mut directories, "files that", "they are written"),
            };
            let span = write.span;
            known.insert(
                place,
                Written {
                    node,
                    span,
                    what,
                    before,
                },
            );
        }
        if let OnRowError::Quarantine(quarantine) = &node.on_row_error {
            let written = Written {
                node,
                span: quarantine.span,
                what: "rejected rows that",
                before: "they are written",
            };
            directories.insert(target(&quarantine.connection, &quarantine.path), written);
        }
    }
    for reader in nodes {
        for input in &reader.inputs {
            let InputSource::Read(read) = &input.source else {
                continue;
            };
            let (root, path) = target(&read.connection, &read.path);
            let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            let rejected = above
                .filter_map(|dir| directories.get(&(root.clone(), dir)))
                .next_back();
            let written = files.get(&(root.clone(), path.clone())).or(rejected);
            if let Some(written) = written {
                judge(nodes, reader, read.span, written, faults);
            }
        }
    }
}

fn judge(
    nodes: &[PlannedNode],
    reader: &PlannedNode,
    place: Span,
    written: &Written<'_>,
    faults: &mut Collector,
) {
    let writer = written.node;
    if writer.id == reader.id
        || depends(nodes, reader.id, writer.id)
        || depends(nodes, writer.id, reader.id)
    {
        return;
    }
    let message = format!(
        "node {} reads {} node {} writes, and may do so before {}",
        quoted(&reader.name),
        written.what,
        quoted(&writer.name),
        written.before
    );
    let name = if reader.pipeline == writer.pipeline {
        writer.name.clone()
    } else {
        format!("${}.{}", writer.pipeline, writer.name)
    };
    faults.push(
        Diagnostic::warning(&codes::UNORDERED_READ, place, message)
            .label("read here")
            .also(written.span, "written here")
            .hint(format!("add {} to `depends_on`", quoted(&name))),
    );
}

/// The node that writes a file which the read takes in, as far as paths tell, and does not come after the reader.
pub(super) fn writer_of<'a>(
    nodes: &'a [PlannedNode],
    reader: &PlannedNode,
    read: &Read,
) -> Option<&'a PlannedNode> {
    let (root, path) = target(&read.connection, &read.path);
    let fixed = path.find(['*', '?', '[']).map(|at| &path[..at]);
    let writes = |node: &PlannedNode| {
        node.write.as_ref().is_some_and(|write| {
            let (to, written) = target(&write.connection, &write.path);
            let below = write.layout == TargetLayout::Directory
                && path
                    .strip_prefix(&written)
                    .is_some_and(|rest| rest.starts_with('/'));
            to == root
                && match fixed {
                    Some(fixed) => below || written.starts_with(fixed),
                    None => below || written == path,
                }
        })
    };
    let after = |node: &PlannedNode| node.id == reader.id || depends(nodes, node.id, reader.id);
    nodes.iter().find(|node| writes(node) && !after(node))
}

fn target(connection: &Connection, path: &str) -> (String, String) {
    (connection.kind.root(), normal_path(path))
}

/// True when `node` comes after `other`. Nodes stand in dependency order, so only those between are walked.
fn depends(nodes: &[PlannedNode], node: NodeId, other: NodeId) -> bool {
    let mut seen = vec![false; nodes.len()];
    let mut open = vec![node];
    while let Some(at) = open.pop() {
        for &before in nodes
            .get(at.0)
            .map(|n| &n.depends_on[..])
            .unwrap_or_default()
        {
            if before == other {
                return true;
            }
            if before > other && !std::mem::replace(&mut seen[before.0], true) {
                open.push(before);
            }
        }
    }
    false
}
