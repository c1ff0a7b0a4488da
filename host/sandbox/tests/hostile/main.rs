//! The sandbox against `tests/hostile`: a component that misbehaves on request. After each attack an honest session on
//! the same engine must still work.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attacks;
mod canary;
mod crafted;
mod gate;
mod grants;
mod guest;
mod honest;
mod loading;
mod metered;
mod replay;
mod set_limits;

#[path = "../streams/message.rs"]
mod message;
#[path = "../streams/mutate.rs"]
mod mutate;
#[path = "../streams/odd.rs"]
mod odd;
#[path = "../streams/random.rs"]
mod random;
#[path = "../streams/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use odibi_plan::GuestLimits;
use odibi_run::port::{Cancel, OperationPlan, Session};
use odibi_sandbox::{Compiler, ComponentSource, Limits, Options, Sandbox};
use odibi_story::event::{GuestNote, Ledger};
use odibi_story::failure::Failure;
use serde_json::Value;

use guest::{component, context, resolve, resolve_under, scratch, table};

/// Tight enough for quick tests, wide enough for honest work.
fn limits() -> Limits {
    Limits {
        memory_bytes_max: 96 << 20,
        call_cpu_ms_max: 10_000,
        ..Limits::default()
    }
}

fn options(bytes: Vec<u8>, store_dir: Option<PathBuf>) -> Options {
    let source = ComponentSource {
        name: "hostile".into(),
        bytes: bytes.into(),
        manifest: None,
    };
    Options {
        store_dir,
        project_dir: scratch().to_owned(),
        first_party: vec![source],
        plugins: BTreeMap::new(),
        grants: std::collections::BTreeMap::default(),
        limits: limits(),
        plugin_limits: BTreeMap::new(),
        compiler: Compiler::InProcess,
        on_compile: None,
        capture: None,
    }
}

/// One sandbox for most tests: attacks share an engine with everybody else.
fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        Sandbox::new(options(component().to_vec(), Some(scratch().join("store")))).unwrap()
    })
}

/// All there is to know of a session.
struct Done {
    result: Result<(Vec<RecordBatch>, Option<Value>), Failure>,
    plan: Option<Arc<OperationPlan>>,
    ledger: Ledger,
    notes: Vec<GuestNote>,
}

impl Done {
    #[track_caller]
    fn batches(&self) -> &[RecordBatch] {
        match &self.result {
            Ok((batches, _)) => batches,
            Err(failure) => panic!("{}: {failure} {:?}", failure.code, failure.causes),
        }
    }

    #[track_caller]
    fn failure(&self) -> &Failure {
        match &self.result {
            Ok((batches, _)) => panic!("the session succeeded with {} batches", batches.len()),
            Err(failure) => failure,
        }
    }
}

/// Plans, opens, processes each batch, drains and finishes.
fn run(sandbox: &Sandbox, operation: &str, batches: &[RecordBatch]) -> Done {
    run_with(
        sandbox,
        operation,
        &serde_json::json!({"column": "x"}),
        batches,
    )
}

fn run_with(sandbox: &Sandbox, operation: &str, params: &Value, batches: &[RecordBatch]) -> Done {
    run_under(sandbox, &GuestLimits::default(), operation, params, batches)
}

/// As `run_with`, for a step with limits of its own.
fn run_under(
    sandbox: &Sandbox,
    limits: &GuestLimits,
    operation: &str,
    params: &Value,
    batches: &[RecordBatch],
) -> Done {
    let mut done = Done {
        result: Ok((Vec::new(), None)),
        plan: None,
        ledger: Ledger::default(),
        notes: Vec::new(),
    };
    done.result = (|| {
        let operation = resolve_under(sandbox, None, operation, limits)?;
        let inputs: [SchemaRef; 1] = [batches[0].schema()];
        let plan = Arc::new(operation.plan(params, &inputs)?);
        done.plan = Some(Arc::clone(&plan));
        let mut session = operation.open(&plan, &context(Cancel::default()))?;
        let result = drive(session.as_mut(), batches);
        (done.ledger, done.notes) = (session.ledger(), session.take_notes());
        result
    })();
    done
}

fn drive(
    session: &mut dyn Session,
    batches: &[RecordBatch],
) -> Result<(Vec<RecordBatch>, Option<Value>), Failure> {
    let mut out = Vec::new();
    for batch in batches {
        session.process(0, batch, &mut out)?;
    }
    session.drain(0, &mut out)?;
    let summary = session.finish(&mut out)?;
    Ok((out, summary))
}

/// The host is well: an honest session gives the right answer.
#[track_caller]
fn still_works(sandbox: &Sandbox) {
    let input = table(10);
    assert_eq!(
        run(sandbox, "copy", std::slice::from_ref(&input)).batches(),
        [input]
    );
}
