//! Operations without state between batches that fail on rows whose first column is 13, each in another way.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::SchemaRef;

use crate::{
    Appetite, Columns, Failure, FailureKind, NodePlan, Origin, Spread, State, attack, failure,
    greed, honest, send, wire,
};

pub const OPERATIONS: &[&str] = &["row_panics", "row_fails", "row_spins", "row_hogs_memory"];

const UNLUCKY: i64 = 13;

/// All columns pass through; the first one is looked at.
pub fn plan(operation: &str, inputs: &[SchemaRef]) -> Option<NodePlan> {
    let input = OPERATIONS
        .contains(&operation)
        .then(|| inputs.first())
        .flatten()?;
    let columns = input.fields().len();
    Some(NodePlan {
        spread: Spread::PerBatch,
        ..honest::whole_plan(input, input, Columns::Only(vec![0]), columns)
    })
}

pub fn process(
    operation: &str,
    state: &mut State,
    bytes: &[u8],
) -> Option<Result<Appetite, Failure>> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    let batch = wire::decode(&state.inputs[0], bytes.to_vec(), &mut state.dictionaries);
    let ids = batch.column(0).as_primitive::<Int64Type>();
    if ids.iter().flatten().any(|id| id == UNLUCKY) {
        match operation {
            "row_panics" => panic!("a row is unlucky"),
            "row_spins" => attack::spin(),
            "row_hogs_memory" => greed::memory(),
            _ => return Some(Err(failure(FailureKind::Data, "a row is unlucky"))),
        }
    }
    Some(send(&[], Origin::SameRows).map(|()| Appetite::More))
}
