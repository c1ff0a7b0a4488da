//! A component that misbehaves on request: the name of the operation selects how.
//!
//! A few operations are honest, so that a test can show that the host still works after an attack. Each module is one
//! family of attacks. `describe` and the start function know no operation: for them a test overwrites [`SWITCH`] in the
//! bytes of the built component.

mod bytes;
mod crafted;
mod crash;
mod greed;
mod honest;
mod lies;
mod wire;

use std::cell::RefCell;

use arrow_schema::SchemaRef;

wit_bindgen::generate!({
    path: "../../wit/odibi-node.wit",
    world: "transform",
    ownership: Borrowing { duplicate_if_necessary: false },
});

use exports::odibi::node::execution::{Appetite, Context, Guest as Execution};
use exports::odibi::node::planning::{
    Columns, Feed, Guest as Planning, InputPlan, NodePlan, OutputPlan, PassedColumn, Spread,
};
use odibi::node::output::{Origin, emit};
use odibi::node::report;
use odibi::node::types::{Failure, FailureKind, Retry};

struct Hostile;
export!(Hostile);

/// The byte after `=`: `d` spins in `describe`, `m` describes nonsense, `s` spins when the instance starts.
#[used]
static SWITCH: [u8; 24] = *b"odibi-hostile-switch=-\n\n";

fn switch() -> u8 {
    // Volatile: the compiler must not fold in what a test overwrites afterwards.
    unsafe { std::ptr::read_volatile(&raw const SWITCH[21]) }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    if switch() == b's' {
        crash::spin();
    }
}

/// What `open` leaves for the calls that follow.
struct State {
    operation: String,
    inputs: Vec<SchemaRef>,
    dictionaries: wire::Dictionaries,
    encoder: Option<wire::Encoder>,
    batches: u64,
    rows: i64,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

impl Planning for Hostile {
    fn describe() -> String {
        match switch() {
            b'd' => crash::spin(),
            b'm' => return "[".repeat(100_000),
            _ => {}
        }
        let families = [
            honest::OPERATIONS,
            crash::OPERATIONS,
            greed::OPERATIONS,
            lies::OPERATIONS,
            bytes::OPERATIONS,
            crafted::OPERATIONS,
        ];
        let names = families.concat();
        let listed: Vec<String> = names
            .iter()
            .map(|n| format!(r#"{{"name":"{n}","summary":"","params":{{}}}}"#))
            .collect();
        format!(
            r#"{{"name":"odibi-hostile","version":"0.1.0","operations":[{}]}}"#,
            listed.join(",")
        )
    }

    fn plan(operation: String, params: String, inputs: Vec<Vec<u8>>) -> Result<NodePlan, Failure> {
        let schemas: Vec<SchemaRef> = inputs
            .iter()
            .map(|bytes| wire::read_schema(bytes))
            .collect();
        crash::plan(&operation);
        greed::plan(&operation);
        if let Some(plan) = lies::plan(&operation, &schemas) {
            return plan;
        }
        if let Some(plan) = crafted::plan(&operation, &params) {
            return plan;
        }
        honest::plan(&operation, &params, &schemas)
    }
}

impl Execution for Hostile {
    fn open(
        _: Context,
        operation: String,
        _: String,
        _: Vec<u8>,
        inputs: Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        crash::open(&operation);
        lies::open(&operation);
        let inputs = inputs
            .iter()
            .map(|bytes| wire::read_schema(bytes))
            .collect();
        STATE.set(Some(State {
            operation,
            inputs,
            dictionaries: Default::default(),
            encoder: None,
            batches: 0,
            rows: 0,
        }));
        Ok(())
    }

    fn process(port: u32, batch: Vec<u8>) -> Result<Appetite, Failure> {
        with(|state| {
            state.batches += 1;
            let operation = state.operation.clone();
            crash::process(&operation);
            greed::process(&operation)?;
            if let Some(result) = lies::process(&operation, state) {
                return result;
            }
            if let Some(result) = crafted::process(&operation, state, &batch) {
                return result;
            }
            if bytes::process(&operation, state, &batch) {
                return Ok(Appetite::More);
            }
            honest::process(&operation, state, port, batch)
        })
    }

    fn drain(_: u32) -> Result<(), Failure> {
        with(|state| {
            crash::drain(&state.operation);
            Ok(())
        })
    }

    fn finish() -> Result<Option<String>, Failure> {
        with(|state| {
            crash::finish(&state.operation);
            lies::finish(&state.operation);
            honest::finish(state)
        })
    }
}

fn with<T>(f: impl FnOnce(&mut State) -> Result<T, Failure>) -> Result<T, Failure> {
    STATE.with_borrow_mut(|state| match state {
        Some(state) => f(state),
        None => Err(failure(FailureKind::Internal, "no session is open")),
    })
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure {
        kind,
        retry: Retry::Never,
        code: "hostile".into(),
        message: message.into(),
        param: None,
        at: None,
    }
}

fn send(parts: &[&[u8]], origin: Origin<'_>) -> Result<(), Failure> {
    emit(0, parts, origin).map_err(|refusal| {
        failure(
            FailureKind::Internal,
            &format!("emit was refused: {refusal:?}"),
        )
    })
}
