//! Where the cases are played: one sandbox for all, and honest sessions beside each attack.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use odibi_plan::{GuestLimit, GuestLimits};
use odibi_run::port::{Cancel, Operation, OperationPlan, Session};
use odibi_sandbox::{Compiler, ComponentSource, Limits, Options, Sandbox};
use odibi_story::failure::Failure;
use serde_json::Value;

use crate::cases::{Case, Route};
use crate::guest::{component, context, resolve, resolve_under, scratch, table};

/// CPU time of one call into a guest that is to run out of it.
pub(crate) const CALL_CPU_MS_MAX: u64 = 150;
/// That of any other call: so much that on no machine it is what ends an attack on something else.
const CALL_CPU_MS_AMPLE: u64 = 60_000;

/// Rows of the batches that go in.
const ROWS: i64 = 10;

pub(crate) struct Stage {
    sandbox: Sandbox,
    honest: [(Arc<dyn Operation>, Arc<OperationPlan>); 2],
    known: Vec<String>,
    /// Calls into guests so far.
    pub(crate) calls: u64,
    _plugins: tempfile::TempDir,
}

/// What came out, and what was said.
pub(crate) struct Played {
    pub(crate) result: Result<Vec<RecordBatch>, Failure>,
    pub(crate) notes: Vec<String>,
}

/// Small, so that a round takes less than a minute in a debug build of the host.
fn limits() -> Limits {
    Limits {
        memory_bytes_max: 96 << 20,
        call_cpu_ms_max: CALL_CPU_MS_AMPLE,
        batch_rows_max: 1 << 20,
        call_emits_max: 4_096,
        ..Limits::default()
    }
}

/// What the case sets besides.
fn limits_of(case: &Case) -> GuestLimits {
    let cpu = (GuestLimit::Cpu, CALL_CPU_MS_MAX);
    case.runs_out_of_cpu().then_some(cpu).into_iter().collect()
}

fn sandbox(
    plugins: BTreeMap<String, PathBuf>,
    plugin_limits: BTreeMap<String, GuestLimits>,
) -> Sandbox {
    let hostile = ComponentSource {
        name: "hostile".into(),
        bytes: component().to_vec().into(),
        manifest: None,
    };
    Sandbox::new(Options {
        store_dir: Some(scratch().join("store")),
        project_dir: scratch().to_owned(),
        first_party: vec![hostile],
        plugins,
        grants: std::collections::BTreeMap::default(),
        limits: limits(),
        plugin_limits,
        on_compile: None,
        capture: None,
        compiler: Compiler::InProcess,
    })
    .unwrap()
}

/// Attacks that the component has, in its order.
pub(crate) fn known_attacks() -> Vec<String> {
    let manifests = sandbox(BTreeMap::new(), BTreeMap::new()).first_party();
    let operations = manifests.unwrap().remove(0).operations;
    let attack = operations.into_iter().find(|o| o.name == "attack").unwrap();
    attack.summary.split(' ').map(str::to_owned).collect()
}

impl Stage {
    pub(crate) fn new(cases: &[Case], known: Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut plugins = BTreeMap::new();
        let mut plugin_limits = BTreeMap::new();
        for case in cases {
            if let Route::Load(spoilt) = &case.route {
                let path = dir.path().join(format!("{}.wasm", case.name));
                std::fs::write(&path, spoilt.bytes()).unwrap();
                plugins.insert(case.name.clone(), path);
                plugin_limits.insert(case.name.clone(), limits_of(case));
            }
        }
        let sandbox = sandbox(plugins, plugin_limits);
        let planned = |name: &str| {
            let operation = resolve(&sandbox, None, name).unwrap();
            let schema = table(ROWS).schema();
            let plan = operation.plan(&Value::Null, &[schema]).unwrap();
            (operation, Arc::new(plan))
        };
        Self {
            honest: [planned("count"), planned("copy")],
            sandbox,
            known,
            calls: 0,
            _plugins: dir,
        }
    }

    pub(crate) fn play(&mut self, case: &Case) -> Played {
        let mut played = Played {
            result: Ok(Vec::new()),
            notes: Vec::new(),
        };
        played.result = match &case.route {
            Route::Load(_) => {
                self.calls += 2;
                resolve(&self.sandbox, Some(&case.name), "attack").map(|_| Vec::new())
            }
            Route::Session {
                operation,
                params,
                cancel_before,
            } => {
                let limits = limits_of(case);
                let operation = resolve_under(&self.sandbox, None, operation, &limits);
                operation.and_then(|operation| {
                    self.session(&*operation, params, *cancel_before, &mut played.notes)
                })
            }
        };
        played
    }

    fn session(
        &mut self,
        operation: &dyn Operation,
        params: &str,
        cancel_before: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<RecordBatch>, Failure> {
        let input = table(ROWS);
        let cancel = Cancel::default();
        let mut call = |step: &str| {
            self.calls += 1;
            if cancel_before == Some(step) {
                cancel.cancel();
            }
        };
        call("plan");
        let plan = operation.plan(&Value::String(params.to_owned()), &[input.schema()])?;
        call("open");
        let mut context = context(cancel.clone());
        if let Some(attack) = params.strip_suffix("@start") {
            // The number of the attack is the time.
            let number = self.known.iter().position(|k| k == attack).unwrap() + 1;
            context.logical_time = format!("2001-09-09T01:46:40.{number:03}Z").parse().unwrap();
        }
        let mut session = operation.open(&Arc::new(plan), &context)?;
        let mut out = Vec::new();
        let result = (|| {
            for _ in 0..2 {
                call("process");
                session.process(0, &input, &mut out)?;
            }
            call("drain");
            session.drain(0, &mut out)?;
            call("finish");
            session.finish(&mut out).map(drop)
        })();
        notes.extend(session.take_notes().into_iter().map(|n| n.text));
        result.map(|()| out)
    }

    /// An honest session that has begun before the attack.
    pub(crate) fn bystander(&mut self) -> Result<Box<dyn Session>, Failure> {
        let (operation, plan) = &self.honest[0];
        let mut session = operation.open(plan, &context(Cancel::default()))?;
        session.process(0, &table(ROWS), &mut Vec::new())?;
        self.calls += 2;
        Ok(session)
    }

    /// It ends after the attack with the right count.
    pub(crate) fn ended_well(&mut self, mut bystander: Box<dyn Session>) -> Result<(), String> {
        self.calls += 3;
        let mut out = Vec::new();
        let end = bystander
            .process(0, &table(ROWS), &mut out)
            .and_then(|_| bystander.drain(0, &mut out))
            .and_then(|()| bystander.finish(&mut out));
        end.map_err(|failure| format!("the session beside it failed: {failure}"))?;
        let counted = out
            .iter()
            .map(|batch| batch.column(0).as_primitive::<Int64Type>().value(0));
        match counted.collect::<Vec<_>>()[..] {
            [count] if count == 2 * ROWS => Ok(()),
            ref other => Err(format!("the session beside it counted {other:?}")),
        }
    }

    /// A fresh session after the attack gives back what it was given.
    pub(crate) fn still_works(&mut self) -> Result<(), String> {
        self.calls += 4;
        let (operation, plan) = &self.honest[1];
        let input = table(ROWS);
        let mut out = Vec::new();
        let end = operation
            .open(plan, &context(Cancel::default()))
            .and_then(|mut session| {
                session.process(0, &input, &mut out)?;
                session.drain(0, &mut out)?;
                session.finish(&mut out)
            });
        end.map_err(|failure| format!("the session after it failed: {failure}"))?;
        if out == [input] {
            Ok(())
        } else {
            Err(format!("the session after it gave {out:?}"))
        }
    }
}

/// The right answer of every operation that is let through.
pub(crate) fn right_answer(batches: &[RecordBatch]) -> bool {
    batches.len() == 2 && batches.iter().all(|batch| *batch == table(ROWS))
}
