//! Failures that depend on what came before: what a recording must reproduce.

use arrow_array::cast::AsArray;
use arrow_schema::SchemaRef;

use crate::honest::whole_plan;
use crate::{Columns, Failure, FailureKind, NodePlan, Origin, Spread, State, failure, send, wire};

/// `fails_at_third` reports how many rows it saw when its third batch comes, `panics_at_third` panics then, and
/// `panics_in_finish` in the end. `per_batch_fails` keeps no state, sees the second column only, passes both through, and
/// fails on the text `name 13`.
pub const OPERATIONS: &[&str] = &[
    "fails_at_third",
    "panics_at_third",
    "panics_in_finish",
    "per_batch_fails",
];

static POISON: &str = "name 13";

pub fn plan(operation: &str, inputs: &[SchemaRef]) -> Option<NodePlan> {
    (operation == "per_batch_fails").then(|| NodePlan {
        spread: Spread::PerBatch,
        ..whole_plan(&inputs[0], &inputs[0], Columns::Only(vec![1]), 2)
    })
}

/// Whether the batch is dealt with.
pub fn process(
    operation: &str,
    state: &mut State,
    port: u32,
    bytes: &[u8],
) -> Result<bool, Failure> {
    match operation {
        "fails_at_third" | "panics_at_third" => {
            let schema = &state.inputs[port as usize];
            let batch = wire::decode(schema, bytes.to_vec(), &mut state.dictionaries);
            state.rows += batch.num_rows() as i64;
            let said = format!("batch {} came, and {} rows", state.batches, state.rows);
            match (state.batches, operation) {
                (3, "fails_at_third") => Err(failure(FailureKind::Data, &said)),
                (3, _) => panic!("{said}"),
                _ => Ok(true),
            }
        }
        "per_batch_fails" => {
            let schema = &state.inputs[port as usize];
            let batch = wire::decode(schema, bytes.to_vec(), &mut state.dictionaries);
            let names = batch.column(0).as_string::<i32>();
            // Not folded into the code, so that a test can repair it in the bytes of the component.
            let poison = std::hint::black_box(POISON);
            if let Some(row) = names.iter().position(|name| name == Some(poison)) {
                let message = format!("`{poison}` in row {row} of {}", batch.num_rows());
                return Err(failure(FailureKind::Data, &message));
            }
            send(&[], Origin::SameRows)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

pub fn finish(state: &State) {
    if state.operation == "panics_in_finish" {
        panic!("the end came after {} batches", state.batches);
    }
}
