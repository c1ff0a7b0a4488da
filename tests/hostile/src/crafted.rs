//! `crafted` says what it is told: each row of its binary input is emitted as it is, as a batch of the schema that the params
//! name. What crosses is then the host's own choice, and can be any bytes at all. `crafted_same_rows` says besides that they
//! are the rows it was given.

use arrow_array::cast::AsArray;

use crate::{
    Appetite, Columns, Failure, FailureKind, Feed, InputPlan, NodePlan, Origin, OutputPlan, Spread,
    emit, failure, session::State, wire,
};

pub const OPERATIONS: &[&str] = &["crafted", "crafted_same_rows"];

/// The params are `{"schema": "HEX"}`: the Schema message, byte by byte.
pub fn plan(operation: &str, params: &str) -> Option<Result<NodePlan, Failure>> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    let hex = params.split('"').nth(3).unwrap_or_default();
    let digits = hex.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let Some(schema) = digits.collect::<Option<Vec<u8>>>() else {
        return Some(Err(failure(
            FailureKind::Params,
            "`schema` must be hexadecimal",
        )));
    };
    Some(Ok(NodePlan {
        inputs: vec![InputPlan {
            need: Columns::All,
            feed: Feed::Streamed,
            partition_by: vec![],
            sorted_by: vec![],
            keep_order: true,
        }],
        outputs: vec![OutputPlan {
            schema,
            pass_through: vec![],
        }],
        spread: Spread::Single,
        batch_rows: None,
        state: vec![],
    }))
}

pub fn process(
    operation: &str,
    state: &mut State,
    batch: &[u8],
) -> Option<Result<Appetite, Failure>> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    let batch = wire::decode(&state.inputs[0], batch.to_vec(), &mut state.dictionaries);
    for row in batch.column(0).as_binary::<i32>().iter().flatten() {
        // The host must not care where the parts begin.
        let cut = row.iter().fold(7_usize, |sum, b| {
            sum.wrapping_mul(31).wrapping_add((*b).into())
        });
        let (first, rest) = row.split_at(cut % (row.len() + 1));
        let (second, third) = rest.split_at(cut / 7 % (rest.len() + 1));
        let origin = match operation {
            "crafted_same_rows" => Origin::SameRows,
            _ => Origin::Fresh,
        };
        if let Err(refusal) = emit(0, &[first, second, third], origin) {
            let why = format!("emit was refused: {refusal:?}");
            return Some(Err(failure(FailureKind::Internal, &why)));
        }
    }
    Some(Ok(Appetite::More))
}
