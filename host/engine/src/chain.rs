//! Steps that run as one: neighbours of one component, each answering batch by batch, cross the sandbox's border once.
//!
//! A component that can do that has the operation `chain`; only first-party ones are asked. What a chain gives is what its
//! steps give, or it is not used: its plan must have the columns that the last step planned. What fails inside a chain is
//! run again step by step, so that a failure names its step as always.

use std::sync::Arc;

use odibi_plan::plan::{OnRowError, OperationRef, PlannedNode, Step};
use odibi_run::port::{Operation, OperationPlan, Spread, Transforms};
use serde_json::{Value, json};

use crate::exec::PlannedStep;

/// Name of the operation that chains those of its component.
const CHAIN: &str = "chain";

/// The operation `chain` of a step's component, for each step that may be chained to the one after it.
pub(crate) async fn links(
    node: &PlannedNode,
    operations: &[Arc<dyn Operation>],
    transforms: &Arc<dyn Transforms>,
) -> Vec<Option<Arc<dyn Operation>>> {
    let mut links = Vec::with_capacity(operations.len());
    for (steps, pair) in node.steps.windows(2).zip(operations.windows(2)) {
        let mut link = None;
        if may_be_linked(node, &steps[0], &steps[1])
            && pair[0].identity().digest == pair[1].identity().digest
        {
            let chain = OperationRef {
                plugin: None,
                name: CHAIN.to_owned(),
            };
            // A component without it is no fault.
            let found = transforms.resolve(&chain, &steps[0].limits).await.ok();
            link = found.filter(|c| c.identity().digest == pair[0].identity().digest);
        }
        links.push(link);
    }
    links
}

fn may_be_linked(node: &PlannedNode, one: &Step, next: &Step) -> bool {
    // Rejected rows are told by the step that rejects them, with what it was offered.
    node.on_row_error == OnRowError::Fail
        && one.operation.plugin.is_none()
        && next.operation.plugin.is_none()
        && one.further_inputs.is_empty()
        && next.further_inputs.is_empty()
        && one.limits == next.limits
}

/// Puts planned steps together where they can be. The order of what is left is that of the steps.
pub(crate) fn chained(
    planned: Vec<PlannedStep>,
    links: &[Option<Arc<dyn Operation>>],
) -> Vec<PlannedStep> {
    let mut result: Vec<PlannedStep> = Vec::with_capacity(planned.len());
    let mut planned = planned.into_iter().peekable();
    while let Some(first) = planned.next() {
        let mut run = vec![first];
        while let Some(link) = links
            .get(run[0].at + run.len() - 1)
            .and_then(Option::as_ref)
            && planned
                .peek()
                .is_some_and(|next| is_link(&run[run.len() - 1].plan) && is_link(&next.plan))
            && link.identity().digest == run[0].operation.identity().digest
        {
            run.extend(planned.next());
        }
        let chain = links.get(run[0].at).and_then(Option::as_ref);
        match chain.and_then(|chain| as_one(&run, chain)) {
            Some(one) => result.push(one),
            None => result.append(&mut run),
        }
    }
    result
}

fn is_link(plan: &OperationPlan) -> bool {
    plan.spread == Spread::PerBatch && plan.inputs.len() == 1
}

/// The steps as a step that is planned like them; `None` where they are only one, or the chain would differ.
fn as_one(run: &[PlannedStep], chain: &Arc<dyn Operation>) -> Option<PlannedStep> {
    let [first, .., last] = run else {
        return None;
    };
    let steps: Vec<Value> = run
        .iter()
        .map(|planned| {
            json!({ "operation": planned.step.operation.name, "params": planned.step.params.value })
        })
        .collect();
    let params = json!({ "steps": steps });
    let offered = [Arc::clone(&first.plan.inputs[0].offered)];
    let plan = chain.plan(&params, &offered).ok()?;
    if !is_link(&plan) || plan.output.fields() != last.plan.output.fields() {
        return None;
    }
    crate::exec::check_plan(&plan, &offered).ok()?;
    Some(PlannedStep {
        at: first.at,
        steps: run.len(),
        step: first.step.clone(),
        operation: Arc::clone(chain),
        plan: Arc::new(plan),
    })
}
