//! Operations and sessions that keep what they pass on, until it is known whether it is needed.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use odibi_plan::config::PRIVACY_OPERATION;
use odibi_plan::plan::Grants;
use odibi_run::port::{Appetite, InputPlan, Operation, OperationPlan, Session, SessionContext};
use odibi_story::event::{ComponentOrigin, GuestNote, Ledger, OperationIdentity};
use odibi_story::failure::{Failure, FailureClass};
use serde_json::Value;

use super::tape::Tape;
use super::{Failed, Permission, Recorder, Subject};
use crate::capsule::header::{FORMAT_VERSION, SessionOrigin};
use crate::capsule::{Header, Phase};
use crate::exchange::schema;
use crate::operation::{Found, seed};

/// Is it the plugin's, or ours about the plugin? The rest has nothing to replay.
fn worth_keeping(failure: &Failure) -> bool {
    match failure.class {
        FailureClass::Guest
        | FailureClass::Trap
        | FailureClass::Limit
        | FailureClass::Contract
        | FailureClass::Internal => true,
        FailureClass::Data
        | FailureClass::Denied
        | FailureClass::Missing
        | FailureClass::Conflict
        | FailureClass::Transient
        | FailureClass::Cancelled => false,
    }
}

/// An operation whose failures are recorded.
pub(crate) struct Captured {
    found: Found,
    path: Option<PathBuf>,
    recorder: Arc<Recorder>,
}

impl Captured {
    pub(crate) fn new(found: Found, path: Option<PathBuf>, recorder: Arc<Recorder>) -> Self {
        Self {
            found,
            path,
            recorder,
        }
    }

    fn header(&self, params: &Value, context: &SessionContext, phase: Phase) -> Sketch {
        let words = self.found.grants.words();
        Sketch(Header {
            format_version: FORMAT_VERSION,
            odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
            operation: self.found.identity(),
            name: self.found.name.clone(),
            path: self.path.clone(),
            grants: words.into_iter().map(str::to_owned).collect(),
            params: params.clone(),
            limits: self.found.ready.limits.as_ref().clone(),
            session: SessionOrigin::new(context, seed(context)),
            need: Vec::new(),
            phase,
            // Known only in the end.
            failure: Failure::new(FailureClass::Internal, "internal/session", ""),
        })
    }

    /// A salt among the params: no capsule may hold it.
    fn holds_secret(&self) -> bool {
        self.found.identity().reference == PRIVACY_OPERATION
    }

    fn tape(&self, plan: &OperationPlan, context: &SessionContext) -> Tape {
        let names = |input: &InputPlan| -> Vec<String> {
            let need = input.need.iter();
            need.map(|i| input.offered.field(*i).name().clone())
                .collect()
        };
        let names: Vec<Vec<String>> = plan.inputs.iter().map(names).collect();
        let subject = Subject {
            pipeline: &context.pipeline,
            node: &context.node,
            step: context.step,
            columns: (names.iter())
                .map(|input| input.iter().map(String::as_str).collect())
                .collect(),
            sensitive: (context.sensitive.get(context.step)).map_or(&[], Vec::as_slice),
            secret: self.holds_secret(),
        };
        match (self.recorder.capture.may)(&subject) {
            Permission::Allowed => Tape::new(plan, &self.recorder.capture),
            Permission::Refused { columns } => Tape::Lost(refused(&columns)),
        }
    }
}

/// A header that lacks its failure.
#[derive(Clone)]
struct Sketch(Header);

impl Sketch {
    fn of(&self, phase: Phase, failure: &Failure) -> Header {
        Header {
            phase,
            failure: failure.clone(),
            ..self.0.clone()
        }
    }
}

fn refused(columns: &[String]) -> Failure {
    let named: Vec<String> = columns.iter().map(|c| format!("`{c}`")).collect();
    let message = format!(
        "the failure is not recorded, because columns of its step may not be kept: {}",
        named.join(", ")
    );
    Failure::new(FailureClass::Denied, "capture/refused", message)
        .hint("name each of them with `--capture-column` to keep their values in the file")
}

impl Operation for Captured {
    fn identity(&self) -> OperationIdentity {
        self.found.identity()
    }

    fn origin(&self) -> Option<ComponentOrigin> {
        self.found.origin()
    }

    fn grants(&self) -> Grants {
        self.found.grants
    }

    fn plan(&self, params: &Value, inputs: &[SchemaRef]) -> Result<OperationPlan, Failure> {
        self.found.plan(params, inputs)
    }

    fn plan_within(
        &self,
        params: &Value,
        inputs: &[SchemaRef],
        context: &SessionContext,
    ) -> Result<OperationPlan, Failure> {
        let failure = match self.found.plan_within(params, inputs, context) {
            Err(failure) if worth_keeping(&failure) && !self.holds_secret() => failure,
            other => return other,
        };
        // No row was given yet: the capsule holds params and names of columns, so nobody is asked.
        let header = self
            .header(params, context, Phase::Plan)
            .of(Phase::Plan, &failure);
        let failed = Failed {
            header,
            schemas: inputs.iter().map(|s| schema::write(s)).collect(),
            state: &[],
        };
        Err(self.recorder.keep(failed, Tape::blank()))
    }

    fn open(
        &self,
        plan: &Arc<OperationPlan>,
        context: &SessionContext,
    ) -> Result<Box<dyn Session>, Failure> {
        if context.searching {
            return self.found.open(plan, context);
        }
        let mut sketch = self.header(&plan.params, context, Phase::Open);
        sketch.0.need = plan.inputs.iter().map(|i| i.need.clone()).collect();
        let tape = self.tape(plan, context);
        match self.found.open(plan, context) {
            Ok(session) => Ok(Box::new(Taped {
                session,
                sketch,
                plan: Arc::clone(plan),
                recorder: Arc::clone(&self.recorder),
                tape: Some(tape),
            })),
            // A refused tape is never written, so no header with a salt is.
            Err(failure) if worth_keeping(&failure) => {
                let failed = failed(sketch.of(Phase::Open, &failure), plan);
                Err(self.recorder.keep(failed, tape))
            }
            Err(failure) => Err(failure),
        }
    }
}

fn failed(header: Header, plan: &OperationPlan) -> Failed<'_> {
    let schemas = plan.inputs.iter().map(|i| schema::write(&i.offered));
    Failed {
        header,
        schemas: schemas.collect(),
        state: &plan.state,
    }
}

/// A session whose calls are recorded.
struct Taped {
    session: Box<dyn Session>,
    sketch: Sketch,
    plan: Arc<OperationPlan>,
    recorder: Arc<Recorder>,
    /// `None` once the session has failed.
    tape: Option<Tape>,
}

impl Taped {
    fn record(&mut self, record: impl FnOnce(&mut Tape)) {
        if let Some(tape) = &mut self.tape {
            record(tape);
        }
    }

    fn judge<T>(&mut self, phase: Phase, answer: Result<T, Failure>) -> Result<T, Failure> {
        let failure = match answer {
            Ok(value) => {
                self.record(Tape::forget);
                return Ok(value);
            }
            Err(failure) => failure,
        };
        match self.tape.take() {
            Some(tape) if worth_keeping(&failure) => {
                let failed = failed(self.sketch.of(phase, &failure), &self.plan);
                Err(self.recorder.keep(failed, tape))
            }
            _ => Err(failure),
        }
    }
}

impl Session for Taped {
    fn process(
        &mut self,
        port: usize,
        batch: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Appetite, Failure> {
        self.record(|tape| tape.process(port, batch));
        let answer = self.session.process(port, batch, out);
        self.judge(Phase::Process, answer)
    }

    fn drain(&mut self, port: usize, out: &mut Vec<RecordBatch>) -> Result<(), Failure> {
        self.record(|tape| tape.drain(port));
        let answer = self.session.drain(port, out);
        self.judge(Phase::Drain, answer)
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<Option<Value>, Failure> {
        self.record(Tape::finish);
        let answer = self.session.finish(out);
        self.judge(Phase::Finish, answer)
    }

    fn ledger(&self) -> Ledger {
        self.session.ledger()
    }

    fn take_notes(&mut self) -> Vec<GuestNote> {
        self.session.take_notes()
    }
}
