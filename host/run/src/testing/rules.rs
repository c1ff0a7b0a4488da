//! The rules that the events of every run keep.

use std::collections::BTreeMap;

use odibi_story::event::{Event, NodeRef, Outcome, RunEvent};

/// Checks the events of a whole run. `before` names for each node (`pipeline.node`) those that must succeed before it starts.
///
/// # Panics
/// When a rule is broken.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other events may stand anywhere"
)]
pub fn assert_well_formed(events: &[Event], before: &BTreeMap<String, Vec<String>>) {
    let mut open_pipelines = BTreeMap::new();
    let mut ended: BTreeMap<NodeRef, Outcome> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event.seq, at as u64, "numbered without a gap");
        assert_eq!(at == 0, matches!(event.kind, RunEvent::RunStarted(_)));
        assert_eq!(
            at + 1 == events.len(),
            matches!(event.kind, RunEvent::RunFinished { .. })
        );
        match &event.kind {
            RunEvent::PipelineStarted {
                pipeline, nodes, ..
            } => {
                assert_eq!(
                    open_pipelines.insert(pipeline.clone(), nodes.len()),
                    None,
                    "starts once"
                );
            }
            RunEvent::PipelineFinished { pipeline, .. } => {
                assert_eq!(
                    open_pipelines.get(pipeline),
                    Some(&0),
                    "ends after its nodes"
                );
            }
            RunEvent::AttemptStarted { node, .. } => {
                assert!(
                    open_pipelines.contains_key(&node.pipeline),
                    "inside its pipeline"
                );
                for name in &before[&node.to_string()] {
                    let done = ended
                        .iter()
                        .any(|(node, outcome)| node.to_string() == *name && outcome.is_success());
                    assert!(done, "{node} started before {name} succeeded");
                }
            }
            RunEvent::NodeFinished { node, outcome, .. } => {
                assert_eq!(ended.insert(node.clone(), *outcome), None, "ends once");
                *open_pipelines
                    .get_mut(&node.pipeline)
                    .expect("inside its pipeline") -= 1;
            }
            _ => {}
        }
    }
}
