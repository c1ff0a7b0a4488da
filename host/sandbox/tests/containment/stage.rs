//! Where the cases are played: one sandbox for all, and honest sessions beside each attack.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use odibi_run::port::{Cancel, OperationPlan, Session};
use odibi_sandbox::{Compiler, ComponentSource, Limits, Options, Sandbox};
use odibi_story::failure::Failure;
use serde_json::Value;

use crate::cases::{Case, Route};
use crate::guest::{component, context, resolve, scratch, table};

/// CPU time of one call into the guest.
pub(crate) const CALL_CPU_MS_MAX: u64 = 150;

/// Rows of the batches that go in.
const ROWS: i64 = 10;

pub(crate) struct Stage {
    sandbox: Sandbox,
    /// Has so much patience that only a cancelled run ends a loop.
    patient: Sandbox,
    honest: [(Arc<dyn odibi_run::port::Operation>, Arc<OperationPlan>); 2],
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
fn limits(call_cpu_ms_max: u64) -> Limits {
    Limits {
        memory_bytes_max: 96 << 20,
        call_cpu_ms_max,
        batch_rows_max: 1 << 20,
        // What a slow machine emits within that CPU time.
        call_emits_max: 4_096,
        ..Limits::default()
    }
}

fn sandbox(plugins: BTreeMap<String, PathBuf>, call_cpu_ms_max: u64) -> Sandbox {
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
        limits: limits(call_cpu_ms_max),
        plugin_limits: BTreeMap::new(),
        on_compile: None,
        capture: None,
        compiler: Compiler::InProcess,
    })
    .unwrap()
}

/// Attacks that the component has, in its order.
pub(crate) fn known_attacks() -> Vec<String> {
    let manifests = sandbox(BTreeMap::new(), CALL_CPU_MS_MAX).first_party();
    let operations = manifests.unwrap().remove(0).operations;
    let attack = operations.into_iter().find(|o| o.name == "attack").unwrap();
    attack.summary.split(' ').map(str::to_owned).collect()
}

impl Stage {
    pub(crate) fn new(cases: &[Case], known: Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut plugins = BTreeMap::new();
        for case in cases {
            if let Route::Load(spoilt) = &case.route {
                let path = dir.path().join(format!("{}.wasm", case.name));
                std::fs::write(&path, spoilt.bytes()).unwrap();
                plugins.insert(case.name.clone(), path);
            }
        }
        let sandbox = sandbox(plugins, CALL_CPU_MS_MAX);
        let planned = |name: &str| {
            let operation = resolve(&sandbox, None, name).unwrap();
            let schema = table(ROWS).schema();
            let plan = operation.plan(&Value::Null, &[schema]).unwrap();
            (operation, Arc::new(plan))
        };
        Self {
            honest: [planned("count"), planned("copy")],
            patient: self::sandbox(BTreeMap::new(), 60_000),
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
            } => self.session(operation, params, *cancel_before, &mut played.notes),
        };
        played
    }

    fn session(
        &mut self,
        operation: &str,
        params: &str,
        cancel_before: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<RecordBatch>, Failure> {
        let sandbox = match cancel_before {
            Some(_) => &self.patient,
            None => &self.sandbox,
        };
        let operation = resolve(sandbox, None, operation)?;
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
