//! What events say of a plan before anything runs.

use odibi_plan::Plan;
use odibi_plan::plan::{Connection, InputSource, PlannedNode};
use odibi_story::event::{NodeOutline, NodeRef};

/// The name of a node in events.
pub(super) fn reference(node: &PlannedNode) -> NodeRef {
    NodeRef {
        pipeline: node.pipeline.clone(),
        name: node.name.clone(),
    }
}

/// What a story needs to draw the node.
pub(super) fn outline(node: &PlannedNode, plan: &Plan) -> NodeOutline {
    let reads = node.inputs.iter().filter_map(|input| match &input.source {
        InputSource::Read(read) => Some(dataset(&read.connection, &read.path)),
        InputSource::Node(_) => None,
    });
    NodeOutline {
        name: node.name.clone(),
        description: node.description.clone(),
        depends_on: node
            .depends_on
            .iter()
            .filter_map(|id| plan.nodes.get(id.0))
            .map(reference)
            .collect(),
        reads: reads.collect(),
        writes: node
            .write
            .as_ref()
            .map(|write| dataset(&write.connection, &write.path)),
        operations: node
            .steps
            .iter()
            .map(|step| step.operation.to_string())
            .collect(),
        tags: node.tags.clone(),
    }
}

fn dataset(connection: &Connection, path: &str) -> String {
    format!("{}:{path}", connection.name)
}
