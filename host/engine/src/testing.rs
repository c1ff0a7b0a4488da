//! Fakes for the tests of this crate: native operations, a project directory, nodes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod buckets;
mod chains;
pub(crate) mod changing;
mod failing;
mod fakes;
mod files;
mod formats;
mod publishing;
mod rows;
mod shared;
mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use jiff::Timestamp;
use odibi_plan::GuestLimits;
use odibi_plan::diagnostic::{FileId, Span};
use odibi_plan::plan::{
    Attempts, Connection, ConnectionKind, CsvRead, CsvWrite, Input, InputSource, JsonLayout,
    JsonRead, JsonWrite, NodeId, OnError, OnRowError, OperationRef, Params, ParquetWrite,
    PlannedNode, Quarantine, Read, ReadFormat, ReadOptions, Step, TargetLayout, Write, WriteFormat,
    WriteMode,
};
use odibi_run::port::{
    Appetite, Attempt, BatchLog, Cancel, Engine as _, InputPlan, Operation, OperationPlan,
    Progress, Published, Session, SessionContext, Spread, Staged, Transforms,
};
use odibi_story::event::{GuestNote, Ledger, NodeFacts, OperationIdentity};
use odibi_story::failure::{Failure, FailureClass};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{DataEngine, EngineOptions};

/// A safety net only: no test comes near it.
const HANGING_SECONDS: u64 = 120;

/// What a fake session is asked.
pub(crate) enum Call<'a> {
    Process(usize, &'a RecordBatch),
    Drain(usize),
    Finish,
}

pub(crate) type Answer = Result<(Vec<RecordBatch>, Appetite), Failure>;
pub(crate) type Body = Box<dyn FnMut(Call<'_>) -> Answer + Send>;
type Planner = Box<dyn Fn(&[SchemaRef]) -> OperationPlan + Send + Sync>;
type Opener = Box<dyn Fn(&SessionContext) -> Body + Send + Sync>;

/// Wants more, with these batches.
pub(crate) fn more(batches: Vec<RecordBatch>) -> Answer {
    Ok((batches, Appetite::More))
}

/// An operation in native code.
pub(crate) struct Fake {
    planner: Planner,
    opener: Opener,
}

impl Fake {
    pub(crate) fn new(
        planner: impl Fn(&[SchemaRef]) -> OperationPlan + Send + Sync + 'static,
        opener: impl Fn(&SessionContext) -> Body + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            planner: Box::new(planner),
            opener: Box::new(opener),
        })
    }

    /// One input, output of the same columns, all columns needed; each batch goes through `map`.
    pub(crate) fn map(
        spread: Spread,
        map: impl Fn(&RecordBatch) -> Answer + Clone + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(
            move |inputs| plan_like(inputs, spread),
            move |_| {
                let map = map.clone();
                Box::new(move |call| match call {
                    Call::Process(_, batch) => map(batch),
                    Call::Drain(_) | Call::Finish => more(Vec::new()),
                })
            },
        )
    }
}

/// Output of the main input's columns, everything needed, nothing asked for.
pub(crate) fn plan_like(inputs: &[SchemaRef], spread: Spread) -> OperationPlan {
    let input = |offered: &SchemaRef| InputPlan {
        offered: Arc::clone(offered),
        need: (0..offered.fields().len()).collect(),
        drained_first: false,
        partition_by: Vec::new(),
        sorted_by: Vec::new(),
        keep_order: false,
    };
    OperationPlan {
        params: json!({}),
        inputs: inputs.iter().map(input).collect(),
        output: Arc::clone(&inputs[0]),
        pass_through: vec![None; inputs[0].fields().len()],
        spread,
        batch_rows_max: None,
        state: Vec::new(),
    }
}

impl Operation for Fake {
    fn identity(&self) -> OperationIdentity {
        OperationIdentity {
            reference: "fake".into(),
            plugin: "fake".into(),
            version: "1".into(),
            digest: "0".into(),
        }
    }

    fn plan(&self, params: &Value, inputs: &[SchemaRef]) -> Result<OperationPlan, Failure> {
        match params.get("refuse") {
            Some(_) => Err(
                Failure::new(FailureClass::Guest, "guest/refused", "refused").at_param("/refuse"),
            ),
            None => Ok((self.planner)(inputs)),
        }
    }

    fn open(
        &self,
        _: &Arc<OperationPlan>,
        context: &SessionContext,
    ) -> Result<Box<dyn Session>, Failure> {
        Ok(Box::new(FakeSession {
            body: (self.opener)(context),
            ledger: Ledger {
                instances: 1,
                ..Ledger::default()
            },
        }))
    }
}

struct FakeSession {
    body: Body,
    ledger: Ledger,
}

impl FakeSession {
    fn call(&mut self, call: Call<'_>, out: &mut Vec<RecordBatch>) -> Result<Appetite, Failure> {
        let (batches, appetite) = (self.body)(call)?;
        self.ledger.rows_out += batches.iter().map(|b| b.num_rows() as u64).sum::<u64>();
        out.extend(batches);
        Ok(appetite)
    }
}

impl Session for FakeSession {
    fn process(
        &mut self,
        port: usize,
        batch: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Appetite, Failure> {
        self.ledger.rows_in += batch.num_rows() as u64;
        self.ledger.batches_in += 1;
        self.call(Call::Process(port, batch), out)
    }

    fn drain(&mut self, port: usize, out: &mut Vec<RecordBatch>) -> Result<(), Failure> {
        self.call(Call::Drain(port), out).map(|_| ())
    }

    fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<Option<Value>, Failure> {
        self.call(Call::Finish, out).map(|_| None)
    }

    fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    fn take_notes(&mut self) -> Vec<GuestNote> {
        vec![GuestNote {
            kind: "info".into(),
            text: "done".into(),
        }]
    }
}

/// Operations by name.
#[derive(Default)]
struct Fakes(Mutex<BTreeMap<String, Arc<Fake>>>);

#[async_trait]
impl Transforms for Fakes {
    async fn resolve(
        &self,
        reference: &OperationRef,
        _: &GuestLimits,
    ) -> Result<Arc<dyn Operation>, Failure> {
        match self.0.lock().unwrap().get(&reference.name) {
            Some(fake) => Ok(Arc::clone(fake) as Arc<dyn Operation>),
            None => Err(Failure::new(
                FailureClass::Missing,
                "plugin/missing",
                "no such operation",
            )),
        }
    }
}

/// A project directory with an engine.
pub(crate) struct House {
    dir: TempDir,
    pub(crate) engine: DataEngine,
    pub(crate) cancel: Cancel,
    pub(crate) progress: Arc<Progress>,
    fakes: Arc<Fakes>,
}

impl House {
    /// Batches of three rows, four instances, partitions whatever the size.
    pub(crate) fn new() -> Self {
        Self::with(|options| {
            options.batch_rows = 3;
            options.instances_max = 4;
        })
    }

    pub(crate) fn with(change: impl FnOnce(&mut EngineOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = EngineOptions::new(dir.path(), dir.path().join("scratch"));
        change(&mut options);
        let engine = DataEngine::new(options)
            .unwrap()
            .with_partition_bytes_min(0);
        Self {
            dir,
            engine,
            cancel: Cancel::default(),
            progress: Arc::default(),
            fakes: Arc::default(),
        }
    }

    pub(crate) fn operation(self, name: &str, fake: Arc<Fake>) -> Self {
        self.fakes.0.lock().unwrap().insert(name.to_owned(), fake);
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("data").join(path)
    }

    pub(crate) fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// Names of everything below `data`, hidden files too.
    pub(crate) fn entries(&self, path: &str) -> Vec<String> {
        let Ok(dir) = std::fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = dir
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Files in the engine's scratch directory.
    pub(crate) fn scratch_files(&self) -> usize {
        let dirs = std::fs::read_dir(self.dir.path().join("scratch")).unwrap();
        dirs.flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap())
            .filter(|e| e.as_ref().unwrap().path().is_file())
            .count()
    }

    fn block<T>(&self, future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let net = Duration::from_secs(HANGING_SECONDS);
        runtime.block_on(async {
            tokio::time::timeout(net, future)
                .await
                .expect("the engine hangs")
        })
    }

    pub(crate) fn stage(&self, node: &PlannedNode) -> Result<Staged, Failure> {
        self.stage_in("run", node)
    }

    pub(crate) fn stage_in(&self, run_id: &str, node: &PlannedNode) -> Result<Staged, Failure> {
        self.block(self.engine.stage(Attempt {
            node,
            run_id,
            slot: run_id,
            attempt: 1,
            logical_time: Timestamp::UNIX_EPOCH,
            sample_rows_max: 3,
            transforms: Arc::clone(&self.fakes) as Arc<dyn Transforms>,
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
        }))
    }

    pub(crate) fn publish(&self, staged: &Staged) -> Result<Published, Failure> {
        self.block(self.engine.publish(staged.token))
    }

    /// Remembers batches there.
    pub(crate) fn log(mut self, log: Arc<dyn BatchLog>) -> Self {
        self.engine = self.engine.with_batch_log(log);
        self
    }

    pub(crate) fn discard(&self, staged: &Staged) {
        self.block(self.engine.discard(staged.token));
    }

    /// Stages and publishes.
    pub(crate) fn run(&self, node: &PlannedNode) -> Result<NodeFacts, Failure> {
        self.run_in("run", node)
    }

    /// As the executor does it.
    pub(crate) fn run_in(&self, run_id: &str, node: &PlannedNode) -> Result<NodeFacts, Failure> {
        let mut staged = self.stage_in(run_id, node)?;
        let published = self.publish(&staged)?;
        if let Some(write) = &published.write {
            staged.facts.rows_written = Some(write.rows_inserted + write.rows_updated);
        }
        staged.facts.target = published.target;
        staged.facts.write = published.write;
        Ok(staged.facts)
    }

    /// Reads a file as it is and writes it as CSV.
    pub(crate) fn copy(
        &self,
        format: ReadFormat,
        path: &str,
    ) -> Result<(NodeFacts, String), Failure> {
        let facts = self.run(&node().read(format, path).write(csv_out(), "copy.csv"))?;
        Ok((facts, self.text("copy.csv")))
    }
}

const NOWHERE: Span = Span {
    file: FileId(0),
    start: 0,
    end: 0,
};

fn connection() -> Connection {
    Connection {
        name: "local".into(),
        kind: ConnectionKind::Local {
            base_path: "data".into(),
        },
    }
}

/// The defaults of `format: csv`.
pub(crate) fn csv_options() -> CsvRead {
    CsvRead::default()
}

pub(crate) fn csv_in() -> ReadFormat {
    ReadFormat::Csv(csv_options())
}

pub(crate) fn json_lines_in() -> ReadFormat {
    ReadFormat::Json(JsonRead {
        layout: Some(JsonLayout::Lines),
        ..JsonRead::default()
    })
}

pub(crate) fn csv_out() -> WriteFormat {
    WriteFormat::Csv(CsvWrite::default())
}

pub(crate) fn json_lines_out() -> WriteFormat {
    WriteFormat::Json(JsonWrite::default())
}

pub(crate) fn parquet_in() -> ReadFormat {
    ReadFormat::Parquet
}

pub(crate) fn parquet_out() -> WriteFormat {
    WriteFormat::Parquet(ParquetWrite::default())
}

/// An empty node, number 0.
pub(crate) fn node() -> PlannedNode {
    PlannedNode {
        id: NodeId(0),
        pipeline: "p".into(),
        name: "n".into(),
        span: NOWHERE,
        description: None,
        tags: Vec::new(),
        depends_on: Vec::new(),
        inputs: Vec::new(),
        steps: Vec::new(),
        write: None,
        on_row_error: OnRowError::Fail,
        attempts: Attempts::once(),
        on_error: OnError::FailLater,
        has_dependents: false,
        privacy: odibi_plan::plan::Privacy::default(),
    }
}

/// Builds nodes.
pub(crate) trait Build {
    fn read(self, format: ReadFormat, path: &str) -> Self;
    fn of_node(self, id: usize) -> Self;
    fn step(self, name: &str) -> Self;
    fn step_with(self, name: &str, params: Value, further: &[usize]) -> Self;
    fn write(self, format: WriteFormat, path: &str) -> Self;
    fn quarantine(self, path: &str) -> Self;
    fn number(self, id: usize) -> Self;
    fn depended_on(self) -> Self;
}

impl Build for PlannedNode {
    fn read(mut self, format: ReadFormat, path: &str) -> Self {
        let read = Read {
            connection: connection(),
            format,
            path: path.into(),
            options: ReadOptions::default(),
            sensitive: odibi_plan::plan::Marks::None,
            writers: Vec::new(),
            span: NOWHERE,
        };
        self.inputs.push(Input {
            name: format!("in{}", self.inputs.len()),
            source: InputSource::Read(read),
            span: NOWHERE,
        });
        self
    }

    fn of_node(mut self, id: usize) -> Self {
        let source = InputSource::Node(NodeId(id));
        self.inputs.push(Input {
            name: format!("in{}", self.inputs.len()),
            source,
            span: NOWHERE,
        });
        self
    }

    fn step(self, name: &str) -> Self {
        self.step_with(name, json!({}), &[])
    }

    fn step_with(mut self, name: &str, params: Value, further: &[usize]) -> Self {
        self.steps.push(Step {
            operation: OperationRef {
                plugin: None,
                name: name.into(),
            },
            params: Params {
                value: params,
                ..Params::default()
            },
            further_inputs: further.to_vec(),
            limits: GuestLimits::default(),
            span: NOWHERE,
        });
        self
    }

    fn write(mut self, format: WriteFormat, path: &str) -> Self {
        let mode = WriteMode::Overwrite;
        self.write = Some(Write {
            connection: connection(),
            format,
            path: path.into(),
            layout: TargetLayout::File,
            partition_by: Vec::new(),
            mode,
            schema_policy: None,
            span: NOWHERE,
        });
        self
    }

    fn quarantine(mut self, path: &str) -> Self {
        self.on_row_error = OnRowError::Quarantine(Quarantine {
            connection: connection(),
            format: csv_out(),
            path: path.into(),
            span: NOWHERE,
        });
        self
    }

    fn number(mut self, id: usize) -> Self {
        self.id = NodeId(id);
        self
    }

    fn depended_on(mut self) -> Self {
        self.has_dependents = true;
        self
    }
}
