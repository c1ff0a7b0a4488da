//! Drives one session from the first batch to `finish`.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use odibi_run::port::{Appetite, OperationPlan, Session, SessionContext};
use odibi_story::failure::{Failure, FailureClass, code};

use super::blame::{after_the_last, untold};
use super::bucket::shared::Lookups;
use super::every_instance_gets;
use super::node_run::NodeRun;
use super::pump::{End, Outlet};
use super::rebatch::Rebatch;
use super::transform::StepSpec;
use crate::failure::{cancelled, internal, panic_text};

/// A session, and where its costs go. Its record is taken when it is dropped, however it ended.
pub(crate) struct Driven {
    session: Box<dyn Session>,
    run: Arc<NodeRun>,
    spec: Arc<StepSpec>,
    partition: u32,
    broken: bool,
    /// Of the last call of `process`.
    call_cpu_ns: u64,
    /// Rows in and out of a call that failed: they count elsewhere, or not at all.
    rows_lost: (u64, u64),
}

impl Driven {
    /// Opens a session for a partition.
    pub(crate) fn open(
        run: &Arc<NodeRun>,
        spec: &Arc<StepSpec>,
        place: Place,
    ) -> Result<Self, Failure> {
        let mut context = run.context.clone();
        context.partition = u32::try_from(place.partition).unwrap_or(u32::MAX);
        context.partitions = u32::try_from(place.of).unwrap_or(u32::MAX);
        Self::open_in(run, spec, context)
    }

    /// Opens a session for any batches, and gives it what every instance is given.
    pub(crate) fn open_with(
        run: &Arc<NodeRun>,
        spec: &Arc<StepSpec>,
        lookups: &Lookups,
    ) -> Result<Self, Failure> {
        let mut driven = Self::open(run, spec, Place::ONLY)?;
        driven.prepare(lookups)?;
        Ok(driven)
    }

    /// Opens a session that searches for the rows a batch fails on.
    pub(crate) fn open_search(
        run: &Arc<NodeRun>,
        spec: &Arc<StepSpec>,
        lookups: &Lookups,
    ) -> Result<Self, Failure> {
        let mut context = run.context.clone();
        (context.partitions, context.searching) = (1, true);
        let mut driven = Self::open_in(run, spec, context)?;
        driven.prepare(lookups)?;
        Ok(driven)
    }

    fn prepare(&mut self, lookups: &Lookups) -> Result<(), Failure> {
        let spec = Arc::clone(&self.spec);
        for port in lookups.ports() {
            let mut rebatch = Rebatch::new(&spec.plan.inputs[port].offered, spec.batch_rows);
            let mut enough = false;
            lookups.each(&spec, port, &mut |batch| {
                for batch in rebatch.push(batch)? {
                    if self.take_in(port, &batch)? == Appetite::Enough {
                        enough = true;
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
            let left = if enough { Vec::new() } else { rebatch.flush()? };
            for batch in left {
                if self.take_in(port, &batch)? == Appetite::Enough {
                    break;
                }
            }
            let out = self.drain(port).map_err(after_the_last)?;
            self.check_silent(port, &out)?;
        }
        Ok(())
    }

    fn take_in(&mut self, port: usize, batch: &RecordBatch) -> Result<Appetite, Failure> {
        if self.run.stopped() {
            return Err(cancelled());
        }
        let (out, appetite) = self.process(port, batch)?;
        self.check_silent(port, &out)?;
        Ok(appetite)
    }

    /// A port that every instance is fed must give nothing: it would come once for each of them.
    pub(crate) fn check_silent(&self, port: usize, out: &[RecordBatch]) -> Result<(), Failure> {
        let plan = &self.spec.plan;
        if out.iter().all(|batch| batch.num_rows() == 0) || !every_instance_gets(plan, port) {
            return Ok(());
        }
        let message = "the step put rows out while it was fed an input that every instance gets";
        let failure = Failure::new(FailureClass::Contract, code::ENGINE_BAD_OUTPUT, message);
        Err(failure.at_step(self.spec.index))
    }

    fn open_in(
        run: &Arc<NodeRun>,
        spec: &Arc<StepSpec>,
        mut context: SessionContext,
    ) -> Result<Self, Failure> {
        let operation = run
            .operations
            .get(spec.index)
            .ok_or_else(|| internal("a step has no operation"))?;
        context.step = spec.index;
        let opened = catch_unwind(AssertUnwindSafe(|| operation.open(&spec.plan, &context)))
            .unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        let session = opened.map_err(|f| at(f, spec.index))?;
        Ok(Self {
            session,
            run: Arc::clone(run),
            spec: Arc::clone(spec),
            partition: context.partition,
            broken: false,
            call_cpu_ns: 0,
            rows_lost: (0, 0),
        })
    }

    /// Guest CPU time of the last call of `process`.
    pub(crate) fn call_cpu_ns(&self) -> u64 {
        self.call_cpu_ns
    }

    /// Gives a batch; returns what came out.
    pub(crate) fn process(
        &mut self,
        port: usize,
        batch: &RecordBatch,
    ) -> Result<(Vec<RecordBatch>, Appetite), Failure> {
        let mut out = Vec::new();
        let before = self.session.ledger();
        let answer = self.call(|session| session.process(port, batch, &mut out));
        if !self.broken {
            let after = self.session.ledger();
            self.call_cpu_ns = after.guest_cpu_ns.saturating_sub(before.guest_cpu_ns);
            if answer.is_err() {
                self.rows_lost = (
                    after.rows_in.saturating_sub(before.rows_in),
                    after.rows_out.saturating_sub(before.rows_out),
                );
            }
        }
        let appetite = answer?;
        Ok((
            checked(out, &self.spec.plan).map_err(|f| at(f, self.spec.index))?,
            appetite,
        ))
    }

    /// Ends a port; returns what came out.
    pub(crate) fn drain(&mut self, port: usize) -> Result<Vec<RecordBatch>, Failure> {
        let mut out = Vec::new();
        self.call(|session| session.drain(port, &mut out))?;
        checked(out, &self.spec.plan).map_err(|f| at(f, self.spec.index))
    }

    /// Ends the session; returns what came out.
    pub(crate) fn finish(&mut self) -> Result<Vec<RecordBatch>, Failure> {
        let mut out = Vec::new();
        self.call(|session| session.finish(&mut out))?;
        checked(out, &self.spec.plan).map_err(|f| at(f, self.spec.index))
    }

    fn call<T>(
        &mut self,
        body: impl FnOnce(&mut dyn Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let session = self.session.as_mut();
        match catch_unwind(AssertUnwindSafe(|| body(session))) {
            Ok(answer) => answer.map_err(|f| at(f, self.spec.index)),
            Err(panic) => {
                self.broken = true;
                Err(at(panicked(panic.as_ref()), self.spec.index))
            }
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if !self.broken {
            let notes = self.session.take_notes();
            let mut ledger = self.session.ledger();
            ledger.rows_in = ledger.rows_in.saturating_sub(self.rows_lost.0);
            ledger.rows_out = ledger.rows_out.saturating_sub(self.rows_lost.1);
            self.run
                .record(self.spec.index, self.partition, ledger, notes);
        }
    }
}

/// Which partition a session works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// From 0.
    pub(crate) partition: usize,
    /// How many there are.
    pub(crate) of: usize,
}

impl Place {
    /// The only one.
    pub(crate) const ONLY: Self = Self {
        partition: 0,
        of: 1,
    };
}

/// Where the batches of a session go.
type Put<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<(), End>;

/// Feeds one session with all ports: those to be drained first, then the streamed ones, each in port order.
pub(crate) fn drive<T: Send>(
    outlet: &Outlet<T>,
    spec: &Arc<StepSpec>,
    place: Place,
    inputs: Vec<SendableRecordBatchStream>,
    put: Put<'_>,
) -> Result<(), End> {
    let mut driven = Driven::open(outlet.run(), spec, place)?;
    let mut ports: Vec<(usize, SendableRecordBatchStream)> =
        inputs.into_iter().enumerate().collect();
    ports.sort_by_key(|(port, _)| !spec.plan.inputs[*port].drained_first);
    for (port, mut input) in ports {
        feed(outlet, spec, &mut driven, port, &mut input, put)?;
        // Ends the threads above before the next port begins.
        drop(input);
        let out = driven.drain(port).map_err(after_the_last)?;
        driven.check_silent(port, &out)?;
        emit(put, out)?;
    }
    emit(put, driven.finish().map_err(after_the_last)?)
}

fn feed<T: Send>(
    outlet: &Outlet<T>,
    spec: &StepSpec,
    driven: &mut Driven,
    port: usize,
    input: &mut SendableRecordBatchStream,
    put: Put<'_>,
) -> Result<(), End> {
    let mut rebatch = Rebatch::new(&spec.plan.inputs[port].offered, spec.batch_rows);
    loop {
        let next = outlet.receive(input)?;
        let ended = next.is_none();
        let ready = match next {
            Some(batch) => rebatch.push(offered(&batch, &spec.plan.inputs[port].offered)?)?,
            None => rebatch.flush()?,
        };
        for batch in ready {
            if outlet.run().stopped() {
                return Err(crate::failure::cancelled().into());
            }
            let (out, appetite) = driven.process(port, &batch).map_err(|f| untold(f, spec))?;
            driven.check_silent(port, &out)?;
            emit(put, out)?;
            if appetite == Appetite::Enough {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}

fn emit(put: Put<'_>, batches: Vec<RecordBatch>) -> Result<(), End> {
    batches
        .into_iter()
        .filter(|b| b.num_rows() > 0)
        .try_for_each(put)
}

/// A batch of an input under the offered schema: without the ordinal that the sort needed.
pub(crate) fn offered(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
    let columns = batch.columns()[..schema.fields().len().min(batch.num_columns())].to_vec();
    with_schema(schema, columns, batch.num_rows())
        .ok_or_else(|| internal("a step was given a table that it was not planned for"))
}

/// The host relies on the planned types when it writes.
fn checked(batches: Vec<RecordBatch>, plan: &OperationPlan) -> Result<Vec<RecordBatch>, Failure> {
    batches
        .into_iter()
        .map(|batch| {
            if Arc::ptr_eq(batch.schema_ref(), &plan.output) {
                return Ok(batch);
            }
            with_schema(&plan.output, batch.columns().to_vec(), batch.num_rows()).ok_or_else(|| {
                let message = "the step returned a table that it did not plan";
                Failure::new(FailureClass::Contract, code::ENGINE_BAD_OUTPUT, message)
            })
        })
        .collect()
}

fn with_schema(
    schema: &SchemaRef,
    columns: Vec<arrow_array::ArrayRef>,
    rows: usize,
) -> Option<RecordBatch> {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).ok()
}

fn at(failure: Failure, step: usize) -> Failure {
    if failure.step.is_some() {
        failure
    } else {
        failure.at_step(step)
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    internal("the step panicked in the host").cause(panic_text(panic))
}
