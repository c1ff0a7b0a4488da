//! The sandbox against `tests/hostile`: a component that misbehaves on request. After each attack an honest session on
//! the same engine must still work.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attacks;
mod crafted;
mod gate;
mod honest;
mod loading;

#[path = "../streams/message.rs"]
mod message;
#[path = "../streams/mutate.rs"]
mod mutate;
#[path = "../streams/random.rs"]
mod random;
#[path = "../streams/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use odibi_plan::plan::OperationRef;
use odibi_run::port::{Cancel, Operation, OperationPlan, Session, SessionContext, Transforms};
use odibi_sandbox::{ComponentSource, Limits, Options, Sandbox};
use odibi_story::event::{GuestNote, Ledger};
use odibi_story::failure::Failure;
use serde_json::Value;

/// Where this test keeps things between runs.
fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The hostile component, built once for a run of the tests.
fn component() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/Cargo.toml");
        let target = scratch().join("hostile");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
            .args([
                "--manifest-path".as_ref(),
                manifest.as_os_str(),
                "--target-dir".as_ref(),
                target.as_os_str(),
            ])
            // Flags for the host, such as those of a coverage run, are wrong for the guest.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status();
        assert!(
            built.unwrap().success(),
            "the hostile component does not build"
        );
        std::fs::read(target.join("wasm32-wasip2/release/odibi_hostile.wasm")).unwrap()
    })
}

/// A component like the hostile one, with one text in it overwritten by another of the same length.
fn overwritten(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = component().to_vec();
    let at: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from.as_bytes()))
        .collect();
    assert!(!at.is_empty(), "`{from}` is not in the component");
    at.into_iter()
        .for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    bytes
}

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
        digest: None,
        manifest: None,
    };
    Options {
        store_dir,
        project_dir: scratch().to_owned(),
        first_party: vec![source],
        plugins: BTreeMap::new(),
        limits: limits(),
        on_compile: None,
    }
}

/// One sandbox for most tests: attacks share an engine with everybody else.
fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        Sandbox::new(options(component().to_vec(), Some(scratch().join("store")))).unwrap()
    })
}

/// One that loses patience soon, for guests that never end.
fn impatient() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let limits = Limits {
            call_cpu_ms_max: 250,
            ..limits()
        };
        Sandbox::new(Options {
            limits,
            ..options(component().to_vec(), Some(scratch().join("store")))
        })
        .unwrap()
    })
}

fn resolve(sandbox: &Sandbox, name: &str) -> Result<Arc<dyn Operation>, Failure> {
    let reference = OperationRef {
        plugin: None,
        name: name.to_owned(),
    };
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(sandbox.resolve(&reference))
}

/// `id` without nulls, `name` with one.
fn table(rows: i64) -> RecordBatch {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ];
    let ids = Int64Array::from_iter_values(0..rows);
    let names: StringArray = (0..rows)
        .map(|i| (i % 7 != 3).then(|| format!("name {i}")))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![Arc::new(ids) as ArrayRef, Arc::new(names)],
    )
    .unwrap()
}

fn context(cancel: Cancel) -> SessionContext {
    SessionContext {
        run_id: "run".into(),
        pipeline: "pipeline".into(),
        node: "node".into(),
        partition: 0,
        partitions: 1,
        attempt: 1,
        logical_time: "2024-02-29T12:34:56.789Z".parse().unwrap(),
        cancel,
    }
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
    let mut done = Done {
        result: Ok((Vec::new(), None)),
        plan: None,
        ledger: Ledger::default(),
        notes: Vec::new(),
    };
    done.result = (|| {
        let operation = resolve(sandbox, operation)?;
        let inputs: [SchemaRef; 1] = [batches[0].schema()];
        let plan = Arc::new(operation.plan(&serde_json::json!({"column": "x"}), &inputs)?);
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
