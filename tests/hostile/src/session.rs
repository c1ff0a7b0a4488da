//! Sessions of the operations that speak Arrow.

use std::cell::RefCell;

use arrow_schema::SchemaRef;

use crate::{
    Appetite, Failure, FailureKind, NodePlan, aim, attack, bytes, canary, crafted, failure, greed,
    honest, late, leak, lies, rows, wire,
};

/// What `open` leaves for the calls that follow.
pub struct State {
    pub operation: String,
    pub params: String,
    pub inputs: Vec<SchemaRef>,
    pub dictionaries: wire::Dictionaries,
    pub encoder: Option<wire::Encoder>,
    pub batches: u64,
    pub rows: i64,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Attacks that are operations of their own, so that a pipeline can name them: operation, attack, and where it goes off.
const CRASHES: &[(&str, &str, &str)] = &[
    ("panic", "panic", "process"),
    ("unreachable", "unreachable", "process"),
    ("exit_zero", "exit_zero", "process"),
    ("exit_one", "exit_one", "process"),
    ("recursion", "recursion", "process"),
    ("out_of_bounds", "read_outside", "process"),
    ("panic_in_plan", "panic", "plan"),
    ("spin_in_plan", "spin", "plan"),
    ("spin_in_open", "spin", "open"),
    ("spin_in_process", "spin", "process"),
    ("spin_in_drain", "spin", "drain"),
];

fn crash(operation: &str, place: &str) {
    let crash = CRASHES
        .iter()
        .find(|(name, _, at)| *name == operation && *at == place);
    if let Some((_, attack, _)) = crash {
        attack::run(attack::number(attack));
    }
}

pub fn operations() -> Vec<&'static str> {
    let crashes: Vec<&str> = CRASHES.iter().map(|(operation, _, _)| *operation).collect();
    [
        crashes.as_slice(),
        honest::OPERATIONS,
        greed::OPERATIONS,
        late::OPERATIONS,
        leak::OPERATIONS,
        lies::OPERATIONS,
        bytes::OPERATIONS,
        canary::OPERATIONS,
        crafted::OPERATIONS,
        rows::OPERATIONS,
    ]
    .concat()
}

pub fn plan(operation: &str, params: &str, inputs: &[Vec<u8>]) -> Result<NodePlan, Failure> {
    let schemas: Vec<SchemaRef> = inputs
        .iter()
        .map(|bytes| wire::read_schema(bytes))
        .collect();
    crash(operation, "plan");
    greed::plan(operation);
    if let Some(plan) = canary::plan(operation, params, &schemas) {
        return Ok(plan);
    }
    if let Some(plan) = crafted::plan(operation, params) {
        return plan;
    }
    if let Some(plan) = lies::plan(operation, &schemas) {
        return plan;
    }
    if let Some(plan) = late::plan(operation, &schemas) {
        return Ok(plan);
    }
    if let Some(plan) = rows::plan(operation, &schemas) {
        return Ok(plan);
    }
    if let Some(plan) = leak::plan(operation, &schemas) {
        return Ok(plan);
    }
    honest::plan(operation, params, &schemas)
}

pub fn open(operation: String, params: &str, inputs: &[Vec<u8>]) -> Result<(), Failure> {
    crash(&operation, "open");
    lies::open(&operation);
    STATE.set(Some(State {
        operation,
        params: params.to_owned(),
        inputs: inputs
            .iter()
            .map(|bytes| wire::read_schema(bytes))
            .collect(),
        dictionaries: Default::default(),
        encoder: None,
        batches: 0,
        rows: 0,
    }));
    Ok(())
}

pub fn process(port: u32, batch: Vec<u8>) -> Result<Appetite, Failure> {
    if STATE.with_borrow(Option::is_none) {
        return aim::process(&batch);
    }
    with(|state| {
        state.batches += 1;
        let operation = state.operation.clone();
        crash(&operation, "process");
        greed::process(&operation)?;
        if let Some(result) = canary::process(&operation, state, &batch) {
            return result;
        }
        if let Some(result) = crafted::process(&operation, state, &batch) {
            return result;
        }
        if let Some(result) = leak::process(&operation, state, &batch) {
            return result;
        }
        if let Some(result) = lies::process(&operation, state, &batch) {
            return result;
        }
        if let Some(result) = rows::process(&operation, state, &batch) {
            return result;
        }
        if late::process(&operation, state, port, &batch)? {
            return Ok(Appetite::More);
        }
        if bytes::process(&operation, state, &batch) {
            return Ok(Appetite::More);
        }
        honest::process(&operation, state, port, batch)
    })
}

pub fn drain() {
    if let Some(operation) = STATE.with_borrow(|state| state.as_ref().map(|s| s.operation.clone()))
    {
        crash(&operation, "drain");
    }
}

pub fn finish() -> Result<Option<String>, Failure> {
    if STATE.with_borrow(Option::is_none) {
        return Ok(None);
    }
    with(|state| {
        lies::finish(&state.operation);
        late::finish(state);
        canary::finish(state);
        if let Some(summary) = leak::finish(state) {
            return Ok(Some(summary));
        }
        honest::finish(state)
    })
}

fn with<T>(f: impl FnOnce(&mut State) -> Result<T, Failure>) -> Result<T, Failure> {
    STATE.with_borrow_mut(|state| match state {
        Some(state) => f(state),
        None => Err(failure(FailureKind::Internal, "no session is open")),
    })
}
