//! What events say of a plan before anything runs.

use odibi_plan::Plan;
use odibi_plan::plan::{Connection, Input, InputSource, PlannedNode};
use odibi_story::event::{InputOrigin, InputOutline, NodeOutline, NodeRef};

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
        inputs: inputs(node, plan),
    }
}

fn inputs(node: &PlannedNode, plan: &Plan) -> Vec<InputOutline> {
    let origin = |source: &InputSource| match source {
        InputSource::Read(read) => {
            Some(InputOrigin::Dataset(dataset(&read.connection, &read.path)))
        }
        InputSource::Node(id) => plan
            .nodes
            .get(id.0)
            .map(|node| InputOrigin::Node(reference(node))),
    };
    let outline = |input: &Input| {
        Some(InputOutline {
            name: input.name.clone(),
            from: origin(&input.source)?,
        })
    };
    // All or none: steps name them by their place.
    let inputs: Option<Vec<_>> = node.inputs.iter().map(outline).collect();
    inputs.unwrap_or_default()
}

fn dataset(connection: &Connection, path: &str) -> String {
    format!("{}:{path}", connection.name)
}
