//! One attempt of one node, from its files to data that lies ready: runs on a thread of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use futures::StreamExt as _;
use odibi_plan::plan::{InputSource, NodeId, OnBadRow, OnRowError, PlannedNode};
use odibi_run::port::{BatchLog, Operation, Progress, SessionContext};
use odibi_run::{Shaded, Shades, Shading};
use odibi_story::event::{NodeFacts, OperationFact, StepFlow};
use odibi_story::failure::Failure;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::Publish;
use crate::chain;
use crate::driven::{self, Driven, Drivers, SpooledRows};
use crate::exec::isolate::may_be_of_rows;
use crate::exec::node_run::NodeRun;
use crate::exec::{Layout, PlannedStep, build, check_plan, handed_out};
use crate::facts::{Tally, columns, flow};
use crate::failure::{During, cancelled, classify, internal};
use crate::guest_log::{self, GuestLog};
use crate::read::Table;
use crate::read::columns::{plain_schema, to_plain};
use crate::store::{Stores, Upload};
use crate::target::align::Alignment;
use crate::target::batch::batch_id;
use crate::target::dates::DatedKeys;
use crate::target::keys::KeyMaker;
use crate::target::parted::{Parted, Parter};
use crate::target::{self, Rows, Target};
use crate::write::WriteTable;
use crate::write::bad_rows::Unread;
use crate::write::quarantine::Quarantine;
use crate::write::spool::{Spool, SpoolWriter};

/// All that an attempt needs.
pub(crate) struct NodeAttempt {
    pub(crate) node: PlannedNode,
    pub(crate) operations: Vec<Arc<dyn Operation>>,
    /// By what a step may be chained to the one after it.
    pub(crate) links: Vec<Option<Arc<dyn Operation>>>,
    /// For each input that is another node's output.
    pub(crate) spools: Vec<Option<Arc<Spool>>>,
    pub(crate) context: SessionContext,
    pub(crate) sample_rows_max: usize,
    pub(crate) progress: Arc<Progress>,
    pub(crate) abandoned: Arc<AtomicBool>,
    pub(crate) handle: Handle,
    pub(crate) stores: Arc<Stores>,
    pub(crate) scratch_dir: PathBuf,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) layout: Layout,
    pub(crate) drivers: Drivers,
    /// Whose writes these are.
    pub(crate) slot: String,
    pub(crate) batch_log: Arc<dyn BatchLog>,
    /// What of the results of this run's nodes so far is sensitive.
    pub(crate) shades: HashMap<NodeId, Shades>,
    /// Hears what guests say.
    pub(crate) guest_log: Option<Arc<dyn GuestLog>>,
}

/// What lies ready.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) run_id: String,
    pub(crate) node: NodeId,
    pub(crate) facts: NodeFacts,
    pub(crate) write: Option<Box<dyn Publish>>,
    pub(crate) quarantine: Vec<Box<dyn Upload>>,
    pub(crate) spool: Option<Arc<Spool>>,
    /// What of the result is sensitive.
    pub(crate) shades: Shades,
}

impl NodeAttempt {
    fn stopped(&self) -> bool {
        self.context.cancel.is_cancelled() || self.abandoned.load(Ordering::Acquire)
    }

    /// Does it all. Nothing visible has changed, whatever it returns.
    pub(crate) fn run(mut self) -> Result<Ready, Failure> {
        let mut chained = Vec::new();
        let failure = match self.attempt(&mut chained) {
            Err(failure) if may_be_of_rows(&failure) && !self.stopped() => failure,
            ended => return ended,
        };
        // Which step of a chain is to blame, only the steps can say.
        if failure.step.is_none_or(|step| !chained.contains(&step)) {
            return Err(failure);
        }
        self.links.clear();
        self.progress.rows_read.store(0, Ordering::Relaxed);
        self.progress.rows_out.store(0, Ordering::Relaxed);
        self.attempt(&mut Vec::new())
    }

    /// As [`Self::run`]; says which steps stand for several.
    fn attempt(&self, chained: &mut Vec<usize>) -> Result<Ready, Failure> {
        // First, so that a target that cannot be written is known before any work.
        let write = self.node.write.as_ref();
        let driven = write.map(|write| self.drivers.target(write, &self.stores));
        let driven = driven.transpose()?.flatten();
        let target = write.filter(|_| driven.is_none());
        let target = target.map(|write| Target::open(write, &self.stores));
        let target = target.transpose()?;
        let rows = target
            .as_ref()
            .map(|target| target.begin(&self.scratch_dir));
        let rows = rows.transpose()?;
        let tables = self.tables()?;
        let (planned, shaded) = self.plan(&tables)?;
        let batch = self.batch(&tables, &planned);
        let told = self.told(&planned, &shaded);
        let steps = chain::chained(planned, &self.links);
        chained.extend(steps.iter().filter(|s| s.steps > 1).map(|s| s.at));
        let quarantine = self.quarantine(&steps)?;
        let quarantines = quarantine.is_some();
        let plan = build(&tables, &steps, self.layout, quarantines)?;
        let run = NodeRun::new(
            self.handle.clone(),
            SessionContext {
                sensitive: Arc::new(shaded.given.clone()),
                ..self.context.clone()
            },
            Arc::clone(&self.progress),
            Arc::clone(&self.abandoned),
            self.scratch_dir.clone(),
            self.running(&steps),
            tables.len(),
        );
        let unread = self.unread(&tables)?;
        let run = run
            .with_quarantine(quarantine)
            .with_unread(unread)
            .with_sample_rows(self.sample_rows_max);
        let run = Arc::new(run);
        let result = plain_schema(&plan.schema());
        let to = target.as_ref().zip(rows.as_ref());
        let mut sink = Sink::new(self, to, driven.is_some(), &batch, &result)?;
        self.executed(plan, &run, &mut sink, !chained.is_empty())?;
        let Sunk {
            tally,
            spool,
            written,
            parts,
        } = sink.finish(&batch)?;
        let rows = parts.map(Rows::Parts).or(rows);
        let spool = spool.map(Arc::new);
        let rows_count = tally.rows;
        let mut facts = self.facts(&tables, &result, (&run, &steps), tally);
        for (fact, told) in facts.operations.iter_mut().zip(told) {
            (fact.flow, fact.params, fact.sensitive) = (Some(told.flow), told.params, told.given);
        }
        facts.privacy = Some(Box::new(shaded.fact));
        let mut write: Option<Box<dyn Publish>> = None;
        if let Some((target, rows)) = target.zip(rows) {
            write = Some(Box::new(target::Ready {
                target,
                rows,
                schema: written,
                rows_count,
                batch,
                run_id: self.context.run_id.clone(),
                pipeline: self.node.pipeline.clone(),
                node: self.node.name.clone(),
                log: Arc::clone(&self.batch_log),
                scratch: self.scratch_dir.clone(),
                runtime: Arc::clone(&self.runtime),
                memory_bytes_max: self.layout.memory_bytes_max,
                batch_rows: self.layout.batch_rows,
                cancel: self.context.cancel.clone(),
                appeared: false,
            }));
        } else if let (Some(mut driven), Some(spool)) = (driven, &spool) {
            let rows = SpooledRows {
                spool: Arc::clone(spool),
                count: rows_count,
            };
            let (node, slot) = (&self.node, &self.slot);
            driven.stage(driven::batch(node, slot, &self.context, batch, rows))?;
            write = Some(Box::new(Driven(driven)));
        }
        let quarantine = rejected(&run, &mut facts)?;
        Ok(Ready {
            run_id: self.context.run_id.clone(),
            node: self.node.id,
            facts,
            write,
            quarantine,
            spool: spool.filter(|_| self.node.has_dependents),
            shades: shaded.result,
        })
    }

    /// As [`Self::execute`]; what guests said is told, however it ends.
    fn executed(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        run: &Arc<NodeRun>,
        sink: &mut Sink,
        chained: bool,
    ) -> Result<(), Failure> {
        let drained = self.execute(plan, run, sink);
        // Of a chain that failed, the steps say the same once more.
        if let Some(log) = &self.guest_log
            && (drained.is_ok() || !chained)
        {
            guest_log::tell(log.as_ref(), run);
        }
        drained
    }

    /// Lets the plan run to its end, and every thread of it.
    fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        run: &Arc<NodeRun>,
        sink: &mut Sink,
    ) -> Result<(), Failure> {
        let config = SessionConfig::new()
            .with_batch_size(self.layout.batch_rows)
            .with_target_partitions(self.layout.instances_max)
            .with_extension(Arc::clone(run));
        let context = Arc::new(
            TaskContext::default()
                .with_session_config(config)
                .with_runtime(Arc::clone(&self.runtime)),
        );
        let drained = {
            let _in_runtime = self.handle.enter();
            plan.execute(0, context)
                .map_err(|e| classify(&e, During::Run))
                .and_then(|mut stream| self.drain(&mut stream, sink))
        };
        drop(plan);
        // The streams are gone, so every thread comes to its end; their costs are known then.
        run.join();
        drained
    }

    /// The hash of what the result comes from.
    fn batch(&self, tables: &[Arc<Table>], planned: &[PlannedStep]) -> String {
        let origins: Vec<String> = tables.iter().map(|table| table.identity()).collect();
        let mut node = self.node.clone();
        for (step, planned) in node.steps.iter_mut().zip(planned) {
            // With the columns that were filled in.
            step.params.value = planned.step.params.value.clone();
        }
        batch_id(&node, &origins, &self.operations, &self.slot)
    }

    fn tables(&self) -> Result<Vec<Arc<Table>>, Failure> {
        if self.node.inputs.is_empty() {
            return Err(internal("a node without inputs was planned"));
        }
        let stop = || self.stopped();
        let mut tables = Vec::with_capacity(self.node.inputs.len());
        for (input, spool) in self.node.inputs.iter().zip(&self.spools) {
            tables.push(Arc::new(match (&input.source, spool) {
                (InputSource::Read(read), _) => match self.drivers.table(read, &self.stores)? {
                    Some(table) => Table::of_driver(table),
                    None => Table::open(read, &self.stores, &stop)?,
                },
                (InputSource::Node(_), Some(spool)) => Table::of_spool(Arc::clone(spool)),
                (InputSource::Node(_), None) => {
                    return Err(internal(format!(
                        "the output of input `{}` is not there",
                        input.name
                    )));
                }
            }));
        }
        Ok(tables)
    }

    /// Where the node says so: a place for the rejected rows of every step whose rows can be told.
    fn quarantine(&self, steps: &[PlannedStep]) -> Result<Option<Quarantine>, Failure> {
        let OnRowError::Quarantine(wanted) = &self.node.on_row_error else {
            return Ok(None);
        };
        let inputs = steps
            .iter()
            .map(|step| handed_out(&step.plan).map(|at| Arc::clone(&step.plan.inputs[at].offered)));
        let made = Quarantine::open(
            wanted,
            &self.stores,
            &self.context.run_id,
            self.context.logical_time,
            inputs,
        );
        made.map(Some)
    }

    /// Where a read says so: a place for the rows that cannot be understood.
    fn unread(&self, tables: &[Arc<Table>]) -> Result<Option<Unread>, Failure> {
        if tables
            .iter()
            .all(|table| table.on_bad_row() == OnBadRow::Fail)
        {
            return Ok(None);
        }
        let names = self.node.inputs.iter().map(|input| input.name.as_str());
        let wanted = match &self.node.on_row_error {
            OnRowError::Quarantine(wanted) => Some(wanted),
            OnRowError::Fail => None,
        };
        let made = Unread::open(
            names.zip(tables.iter().map(|table| table.on_bad_row())),
            wanted,
            &self.stores,
            &self.context.run_id,
            self.context.logical_time,
        );
        made.map(Some)
    }

    /// Asks the operations one after the other; the output of one is what the next is offered.
    fn plan(&self, tables: &[Arc<Table>]) -> Result<(Vec<PlannedStep>, Shaded), Failure> {
        let mut shading = self.shading(tables)?;
        let mut current: SchemaRef = Arc::clone(&tables[0].schema);
        let mut planned = Vec::with_capacity(self.node.steps.len());
        for (index, (step, operation)) in self.node.steps.iter().zip(&self.operations).enumerate() {
            if self.stopped() {
                return Err(cancelled());
            }
            let at = |failure: Failure| {
                if failure.step.is_some() {
                    failure
                } else {
                    failure.at_step(index)
                }
            };
            let mut offered = vec![current];
            for input in &step.further_inputs {
                let table = tables
                    .get(*input)
                    .ok_or_else(|| at(internal("a step names an input that is not there")))?;
                offered.push(Arc::clone(&table.schema));
            }
            let context = SessionContext {
                step: index,
                ..self.context.clone()
            };
            let params = shading.params(index, step, &offered[0]).map_err(at)?;
            let plan = operation
                .plan_within(&params, &offered, &context)
                .map_err(at)?;
            check_plan(&plan, &offered).map_err(at)?;
            shading.step(index, step, &plan);
            let mut step = step.clone();
            step.params.value = params;
            current = Arc::clone(&plan.output);
            planned.push(PlannedStep {
                at: index,
                steps: 1,
                operation: Arc::clone(operation),
                step,
                plan: Arc::new(plan),
            });
        }
        Ok((planned, shading.finish()?))
    }

    /// What of the inputs is sensitive.
    fn shading(&self, tables: &[Arc<Table>]) -> Result<Shading<'_>, Failure> {
        let known = |id: NodeId| self.shades.get(&id).cloned();
        let mut shaded = Vec::with_capacity(tables.len());
        for (input, table) in self.node.inputs.iter().zip(tables) {
            let shades = match &input.source {
                InputSource::Node(id) => known(*id)
                    .ok_or_else(|| internal("it is not known what of an input is sensitive"))?,
                InputSource::Read(read) => Shades::of_files(read, &table.schema, &known),
            };
            shaded.push((table.schema.as_ref(), shades));
        }
        Ok(Shading::new(&self.node, shaded))
    }

    /// What is told of each step. A salt never is.
    fn told(&self, planned: &[PlannedStep], shaded: &Shaded) -> Vec<StepTold> {
        let told = |(planned, given): (&PlannedStep, &Vec<String>)| {
            let mut params = planned.step.params.value.clone();
            if self.node.privacy.step == Some(planned.at)
                && let Some(salt) = params.get_mut("salt")
            {
                *salt = Value::from(odibi_plan::config::MASK);
            }
            StepTold {
                flow: flow(planned.at, planned),
                params,
                given: !given.is_empty(),
            }
        };
        planned.iter().zip(&shaded.given).map(told).collect()
    }

    /// What runs for each step.
    fn running(&self, steps: &[PlannedStep]) -> Vec<Arc<dyn Operation>> {
        let mut running = self.operations.clone();
        for step in steps {
            running[step.at] = Arc::clone(&step.operation);
        }
        running
    }

    fn drain(
        &self,
        stream: &mut datafusion::execution::SendableRecordBatchStream,
        sink: &mut Sink,
    ) -> Result<(), Failure> {
        while let Some(batch) = self.handle.block_on(stream.next()) {
            let batch = batch.map_err(|e| classify(&e, During::Run))?;
            if self.stopped() {
                return Err(cancelled());
            }
            sink.write(&batch)?;
            self.progress
                .rows_out
                .fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
        // A step that saw the stop sign may have ended its stream early.
        if self.stopped() {
            Err(cancelled())
        } else {
            Ok(())
        }
    }

    fn facts(
        &self,
        tables: &[Arc<Table>],
        result: &SchemaRef,
        (run, planned): (&NodeRun, &[PlannedStep]),
        tally: Tally,
    ) -> NodeFacts {
        let operations = self
            .node
            .steps
            .iter()
            .zip(&self.operations)
            .zip(run.records())
            .enumerate()
            .map(|(at, ((_, operation), record))| OperationFact {
                chained_to: planned
                    .iter()
                    .find(|p| p.at < at && at < p.at + p.steps)
                    .map(|p| p.at),
                flow: None,
                sensitive: false,
                operation: operation.identity(),
                grants: operation
                    .grants()
                    .words()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                params: Value::Null,
                ledger: record.ledger,
                instances: record.instances,
                component: operation.origin(),
                notes: record.notes,
                partitions: record.partitions,
                bytes_spilled: record.bytes_spilled,
            })
            .collect();
        let (rows_out, nulls_out) = (tally.rows, tally.nulls.clone());
        let (sample, profile) = tally.values();
        let names = self.node.inputs.iter().map(|input| input.name.as_str());
        NodeFacts {
            rows_in: run.rows_in(),
            rows_out,
            rows_written: self.node.write.as_ref().map(|_| rows_out),
            schema_in: columns(&tables[0].schema),
            schema_out: columns(result),
            nulls_out,
            sample,
            profile,
            inputs: run.inputs(names),
            sources: tables
                .iter()
                .flat_map(|t| t.files.iter().cloned())
                .collect(),
            operations,
            ..NodeFacts::default()
        }
    }
}

/// What is told of a step besides its costs.
struct StepTold {
    flow: StepFlow,
    params: Value,
    /// Was it given a sensitive column?
    given: bool,
}

/// What a sink leaves behind.
struct Sunk {
    tally: Tally,
    spool: Option<Spool>,
    /// Columns that were written.
    written: SchemaRef,
    parts: Option<Parted>,
}

/// Where the result goes: counted, written, spooled.
struct Sink {
    schema: SchemaRef,
    tally: Tally,
    alignment: Option<Alignment>,
    dated: Option<DatedKeys>,
    writer: Option<Writer>,
    spool: Option<SpoolWriter>,
}

/// What takes the rows for the target.
enum Writer {
    Table(Box<dyn WriteTable>),
    Parts(Box<Parter>),
}

impl Sink {
    fn new(
        attempt: &NodeAttempt,
        target: Option<(&Target, &Rows)>,
        keeps_rows: bool,
        batch: &str,
        schema: &SchemaRef,
    ) -> Result<Self, Failure> {
        let alignment = match target {
            Some((target, _)) => target.align(schema, &|| attempt.stopped())?,
            None => None,
        };
        let written = alignment.as_ref().map_or(schema, |to| &to.schema);
        let dated = match target {
            Some((target, _)) => DatedKeys::new(target.write(), written, &target.shown())?,
            None => None,
        };
        let writer = match target {
            Some((target, rows)) => Some(Writer::new(
                target,
                rows,
                &attempt.scratch_dir,
                batch,
                written,
            )?),
            None => None,
        };
        let spool = if attempt.node.has_dependents || keeps_rows {
            Some(SpoolWriter::create(&attempt.scratch_dir, schema)?)
        } else {
            None
        };
        let tally = Tally::new(schema, attempt.sample_rows_max);
        Ok(Self {
            schema: Arc::clone(schema),
            tally,
            alignment,
            dated,
            writer,
            spool,
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let plain = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| to_plain(column, field.data_type(), During::Run))
            .collect::<Result<Vec<_>, _>>()?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), plain, &options)
            .map_err(|e| classify(&e, During::Run))?;
        self.tally.add(&batch);
        if let Some(writer) = &mut self.writer {
            let aligned = self.alignment.as_ref().map(|to| to.apply(&batch));
            let aligned = aligned.transpose()?;
            let rows = aligned.as_ref().unwrap_or(&batch);
            if let Some(dated) = &self.dated {
                dated.check(rows)?;
            }
            match writer {
                Writer::Table(writer) => writer.write(rows)?,
                Writer::Parts(parter) => parter.write(rows)?,
            }
        }
        if let Some(spool) = &mut self.spool {
            spool.write(&batch)?;
        }
        Ok(())
    }

    fn finish(self, batch: &str) -> Result<Sunk, Failure> {
        let mut parts = None;
        match self.writer {
            Some(Writer::Table(writer)) => writer.finish()?,
            Some(Writer::Parts(parter)) => {
                let (key, value) = target::footer_note(batch);
                parts = Some(parter.finish((key, &value))?);
            }
            None => {}
        }
        let spool = self.spool.map(|spool| spool.finish(batch)).transpose()?;
        let written = self.alignment.map(|to| to.schema);
        Ok(Sunk {
            tally: self.tally,
            spool,
            written: written.unwrap_or(self.schema),
            parts,
        })
    }
}

impl Writer {
    fn new(
        target: &Target,
        rows: &Rows,
        scratch: &Path,
        batch: &str,
        schema: &SchemaRef,
    ) -> Result<Self, Failure> {
        let (write, shown) = (target.write(), target.shown());
        if let Some(keys) = write.mode.keys() {
            // Only for what it refuses, before any row is made.
            KeyMaker::new(keys, schema, &shown)?;
        }
        if !write.partition_by.is_empty() {
            let parter = Parter::new(write, schema, scratch, &shown)?;
            return Ok(Self::Parts(Box::new(parter)));
        }
        let mut writer = crate::write::begin(&write.format, schema, rows.writer()?, &shown)?;
        let (key, value) = target::footer_note(batch);
        writer.note(key, &value);
        Ok(Self::Table(writer))
    }
}

/// The files of rows that were set aside, with what is said of them.
fn rejected(run: &NodeRun, facts: &mut NodeFacts) -> Result<Vec<Box<dyn Upload>>, Failure> {
    let mut rejected = Vec::new();
    if let Some(quarantine) = run.take_quarantine() {
        (rejected, facts.quarantine) = quarantine.finish()?;
        facts.rows_quarantined = facts.quarantine.iter().map(|q| q.rows).sum();
    }
    if let Some(unread) = run.take_unread() {
        let (staged, found) = unread.finish()?;
        rejected.extend(staged);
        facts.rows_unread = found.iter().map(|fact| fact.rows).sum();
        facts.unread = found;
    }
    Ok(rejected)
}
