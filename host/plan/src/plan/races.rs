//! A node that reads what another one writes must come before or after it.

use std::collections::HashMap;

use super::{Connection, ConnectionKind, InputSource, NodeId, PlannedNode};
use crate::config::normal_path;
use crate::diagnostic::{Collector, Diagnostic, codes, quoted};

/// Warns of every read of a file that a node without a dependency either way writes. Wildcards are not looked at.
pub(super) fn check(nodes: &[PlannedNode], faults: &mut Collector) {
    let mut writers = HashMap::new();
    for node in nodes {
        if let Some(write) = &node.write {
            writers.insert(target(&write.connection, &write.path), (node, write));
        }
    }
    for reader in nodes {
        for input in &reader.inputs {
            let InputSource::Read(read) = &input.source else {
                continue;
            };
            let Some((writer, write)) = writers.get(&target(&read.connection, &read.path)) else {
                continue;
            };
            if writer.id == reader.id
                || depends(nodes, reader.id, writer.id)
                || depends(nodes, writer.id, reader.id)
            {
                continue;
            }
            let message = format!(
                "node {} reads the file that node {} writes, and may do so before it is written",
                quoted(&reader.name),
                quoted(&writer.name)
            );
            let name = if reader.pipeline == writer.pipeline {
                writer.name.clone()
            } else {
                format!("${}.{}", writer.pipeline, writer.name)
            };
            let made = Diagnostic::warning(&codes::UNORDERED_READ, read.span, message);
            faults.push(
                made.label("read here")
                    .also(write.span, "written here")
                    .hint(format!("add {} to `depends_on`", quoted(&name))),
            );
        }
    }
}

fn target(connection: &Connection, path: &str) -> (String, String) {
    let ConnectionKind::Local { base_path } = &connection.kind;
    (normal_path(base_path), normal_path(path))
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
