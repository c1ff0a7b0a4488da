//! The identity of a batch: a hash of what it comes from. Never of the clock, the machine or the attempt, so that a second
//! try of the same has the same.

use std::sync::Arc;

use odibi_plan::plan::{PlannedNode, WriteMode};
use odibi_run::port::Operation;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The hash, hex. `origins` tells for each input where its rows come from: files, a version of a table, or the batch of
/// another node. `slot` counts only for mode `append`, which writes once in each run.
pub(crate) fn batch_id(
    node: &PlannedNode,
    origins: &[String],
    operations: &[Arc<dyn Operation>],
    slot: &str,
) -> String {
    let sources: Vec<Value> = node
        .inputs
        .iter()
        .zip(origins)
        .map(|(input, origin)| json!([input.name, origin]))
        .collect();
    let steps: Vec<Value> = node
        .steps
        .iter()
        .zip(operations)
        .map(|(step, operation)| {
            json!([
                step.operation.to_string(),
                step.params.value,
                step.further_inputs,
                operation.identity().digest
            ])
        })
        .collect();
    let write = node.write.as_ref().map(|write| {
        let keys = write.mode.keys();
        let columns = keys.map(|keys| keys.columns.iter().map(|c| &c.name).collect::<Vec<_>>());
        let rules = keys.map(|keys| {
            let order = keys.duplicate_keys.order_by().map(|column| &column.name);
            json!([keys.null_keys.word(), keys.duplicate_keys.word(), order])
        });
        let slot = (write.mode == WriteMode::Append).then_some(slot);
        json!([
            write.connection.name,
            write.path,
            write.mode.word(),
            columns,
            rules,
            slot
        ])
    });
    let all = json!([
        "odibi batch 1",
        node.pipeline,
        node.name,
        sources,
        steps,
        write
    ]);
    let digest = Sha256::digest(all.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
