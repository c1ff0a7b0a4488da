//! Records what plugins fail on: operations and sessions that keep what they pass on, until it is known whether it is
//! needed. Stands in front of the sandbox's own; without a [`Capture`] nothing of this is there.

mod tape;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use odibi_run::port::{Appetite, Operation, OperationPlan, Session, SessionContext};
use odibi_story::event::{GuestNote, Ledger, OperationIdentity};
use odibi_story::failure::{Failure, FailureClass};
use serde_json::Value;

use self::tape::Tape;
use crate::capsule::header::{FORMAT_VERSION, SessionOrigin};
use crate::capsule::{self, Header, Phase};
use crate::exchange::schema;
use crate::limits::{CAPSULE_BYTES_MAX, CAPSULES_PER_STEP_MAX};
use crate::operation::{Found, seed};

/// Characters of a node's name in the name of a capsule.
const NAME_CHARS_MAX: usize = 80;

/// What of a step would be recorded. A capsule holds data, so whoever knows which columns are not to be kept decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Pipeline.
    pub pipeline: &'a str,
    /// Node.
    pub node: &'a str,
    /// Index of the step in its node.
    pub step: usize,
    /// Columns whose values would be in the capsule, for each input.
    pub columns: Vec<Vec<&'a str>>,
}

/// May a step be recorded?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// All of it.
    Allowed,
    /// Nothing of it, because of these columns.
    Refused {
        /// Names.
        columns: Vec<String>,
    },
}

/// Says whether a step may be recorded; called from any thread.
pub type MayCapture = Arc<dyn Fn(&Subject<'_>) -> Permission + Send + Sync>;

/// A failure was recorded, or could not be.
#[derive(Debug, Clone)]
pub struct CaptureNotice {
    /// Pipeline.
    pub pipeline: String,
    /// Node.
    pub node: String,
    /// Index of the step in its node.
    pub step: usize,
    /// The capsule, or why there is none.
    pub capsule: Result<PathBuf, Failure>,
}

/// Hears of recordings; called from any thread.
pub type OnCapture = Arc<dyn Fn(CaptureNotice) + Send + Sync>;

/// Where failures of plugins are recorded, and how much of them.
#[derive(Clone)]
pub struct Capture {
    /// Directory of the capsules. It must exist.
    pub dir: PathBuf,
    /// Bytes of the calls of one session that are recorded (256 MiB).
    pub bytes_max: u64,
    /// Failures of one step that are recorded (8).
    pub per_step_max: u32,
    /// Decides for each step.
    pub may: MayCapture,
    /// Hears what became of it.
    pub tell: OnCapture,
}

impl Capture {
    /// Records everything in a directory, which is made if need be, for this user only.
    ///
    /// # Errors
    /// `capture/not-written` when it cannot be made.
    pub fn new(dir: PathBuf, tell: OnCapture) -> Result<Self, Failure> {
        capsule::make_dir(&dir).map_err(|e| not_written(&dir, &e))?;
        Ok(Self {
            dir,
            bytes_max: CAPSULE_BYTES_MAX,
            per_step_max: CAPSULES_PER_STEP_MAX,
            may: Arc::new(|_| Permission::Allowed),
            tell,
        })
    }
}

/// A capture at work: numbers the capsules of each step.
pub(crate) struct Recorder {
    capture: Capture,
    numbers: Mutex<HashMap<String, u32>>,
}

/// A failure about to be recorded.
struct Failed<'a> {
    header: Header,
    schemas: Result<Vec<Vec<u8>>, Failure>,
    state: &'a [u8],
}

impl Recorder {
    pub(crate) fn new(capture: Capture) -> Self {
        Self {
            capture,
            numbers: Mutex::default(),
        }
    }

    /// Records a failure, tells of it, and returns the failure with a hint at the capsule.
    fn keep(&self, failed: Failed<'_>, tape: Tape) -> Failure {
        let (failure, origin) = (failed.header.failure.clone(), failed.header.session.clone());
        let Some(capsule) = self.write(failed, tape).transpose() else {
            return failure;
        };
        let hinted = match &capsule {
            Ok(path) => failure.hint(format!(
                "run `odibi plugin replay {}` to see it again",
                path.display()
            )),
            Err(_) => failure,
        };
        (self.capture.tell)(CaptureNotice {
            pipeline: origin.pipeline,
            node: origin.node,
            step: origin.step,
            capsule,
        });
        hinted
    }

    /// `None`: there is nothing new to say.
    fn write(&self, failed: Failed<'_>, tape: Tape) -> Result<Option<PathBuf>, Failure> {
        let Failed {
            header,
            schemas,
            state,
        } = failed;
        let mut played = tape.play()?;
        let schemas = schemas?;
        let dir = &self.capture.dir;
        let stem = stem(&header.session);
        let number = self.number(&stem);
        let max = self.capture.per_step_max;
        if number > max {
            // Said once.
            return if number == max + 1 {
                let message = format!(
                    "further failures of the step are not recorded, the limit is reached: {max}"
                );
                Err(
                    Failure::new(FailureClass::Limit, "capture/too-many", message).of_limit(
                        "capsules-per-step",
                        u64::from(max),
                        u64::from(number),
                    ),
                )
            } else {
                Ok(None)
            };
        }
        let name = format!("{stem}-{number}.{}", capsule::EXTENSION);
        capsule::write(dir, &name, &header, &schemas, state, &mut |to| {
            played.write(to)
        })
        .map(Some)
        .map_err(|e| not_written(dir, &e))
    }

    fn number(&self, stem: &str) -> u32 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.entry(stem.to_owned()).or_default();
        *number = number.saturating_add(1);
        *number
    }
}

/// `<run id>-<node>-<step>`, as one plain file name. The step counts from 1, as in stories.
fn stem(origin: &SessionOrigin) -> String {
    let mut stem = String::new();
    // Writing to a string cannot fail.
    let _ = write!(stem, "{}-{}", origin.run_id, origin.node);
    let mut stem: String = stem
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(NAME_CHARS_MAX)
        .collect();
    let _ = write!(stem, "-{}", origin.step + 1);
    stem
}

fn not_written(dir: &std::path::Path, error: &io::Error) -> Failure {
    let message = format!("a failure cannot be recorded below: {}", dir.display());
    Failure::new(FailureClass::Denied, "capture/not-written", message)
        .cause(error.to_string())
        .hint("name a directory that can be written and has room")
}

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
        Sketch(Header {
            format_version: FORMAT_VERSION,
            odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
            operation: self.found.identity(),
            name: self.found.name.clone(),
            path: self.path.clone(),
            params: params.clone(),
            limits: self.found.loaded.ready.limits.as_ref().clone(),
            session: SessionOrigin::new(context, seed(context)),
            need: Vec::new(),
            phase,
            // Known only in the end.
            failure: Failure::new(FailureClass::Internal, "internal/session", ""),
        })
    }

    fn tape(&self, plan: &OperationPlan, context: &SessionContext) -> Tape {
        let names = |input: &odibi_run::port::InputPlan| -> Vec<String> {
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
}

impl Operation for Captured {
    fn identity(&self) -> OperationIdentity {
        self.found.identity()
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
            Err(failure) if worth_keeping(&failure) => failure,
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
