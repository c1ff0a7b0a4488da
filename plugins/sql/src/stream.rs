//! A query in general: the host pushes, the operators of the engine are polled, what they give is emitted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::Result as EngineResult;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt as _, stream};
use odibi_sdk::{Appetite, Failure, Output, Result, Session};
use serde_json::Value;

use crate::port::{PortExec, PortTable};
use crate::types;
use crate::{fault, groups};

/// Rows that are emitted together, where the engine gives fewer.
pub(crate) const EMIT_ROWS: usize = 32_768;

/// Ports in the order in which the operators first ask for them.
pub(crate) fn asked_in_order(plan: &Arc<dyn ExecutionPlan>) -> Vec<usize> {
    fn walk(plan: &Arc<dyn ExecutionPlan>, ports: &mut Vec<usize>) {
        if let Some(scan) = plan.downcast_ref::<PortExec>()
            && !ports.contains(&scan.port)
        {
            ports.push(scan.port);
        }
        for child in plan.children() {
            walk(child, ports);
        }
    }
    let mut ports = Vec::new();
    walk(plan, &mut ports);
    ports
}

/// A running query.
pub(crate) struct Running {
    tables: HashMap<usize, Arc<PortTable>>,
    stream: SendableRecordBatchStream,
    computed: SchemaRef,
    wake: Arc<Woken>,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    ended: bool,
}

impl Running {
    /// Starts the operators.
    pub(crate) fn new(
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        tables: HashMap<usize, Arc<PortTable>>,
        computed: SchemaRef,
    ) -> Result<Self> {
        let plan = one_after_the_other(plan)
            .and_then(groups::replace)
            .map_err(|e| fault::of_run(&e))?;
        let stream = plan.execute(0, context).map_err(|e| fault::of_run(&e))?;
        Ok(Self {
            tables,
            stream,
            computed,
            wake: Arc::default(),
            waiting: Vec::new(),
            waiting_rows: 0,
            ended: false,
        })
    }

    /// Emits what is ready. True when the query has ended.
    fn advance(&mut self, out: &mut Output<'_>) -> Result<Appetite> {
        let waker = Waker::from(Arc::clone(&self.wake));
        let mut context = Context::from_waker(&waker);
        while !self.ended {
            match self.stream.poll_next_unpin(&mut context) {
                Poll::Ready(Some(batch)) => {
                    let batch = batch.map_err(|e| fault::of_run(&e))?;
                    if self.take(batch, out)? == Appetite::Enough {
                        self.ended = true;
                    }
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending if self.wake.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending => return Ok(Appetite::More),
            }
        }
        self.flush(out)?;
        Ok(Appetite::Enough)
    }

    fn take(&mut self, batch: RecordBatch, out: &mut Output<'_>) -> Result<Appetite> {
        self.waiting_rows += batch.num_rows();
        self.waiting.push(batch);
        if self.waiting_rows >= EMIT_ROWS {
            self.flush(out)
        } else {
            Ok(Appetite::More)
        }
    }

    fn flush(&mut self, out: &mut Output<'_>) -> Result<Appetite> {
        let Some(first) = self.waiting.first() else {
            return Ok(Appetite::More);
        };
        let whole = match self.waiting.as_slice() {
            [one] => one.clone(),
            many => arrow_select::concat::concat_batches(&first.schema(), many)?,
        };
        self.waiting.clear();
        self.waiting_rows = 0;
        let columns = types::crossing(whole.columns(), &self.computed)?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(whole.num_rows()));
        let whole =
            RecordBatch::try_new_with_options(Arc::clone(&self.computed), columns, &options)?;
        out.fresh(&whole)
    }
}

impl Session for Running {
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        match self.tables.get(&port) {
            Some(table) if table.scans() > 0 => table.push(&batch),
            _ => return Ok(Appetite::Enough),
        }
        self.advance(out)
    }

    fn drain(&mut self, port: usize, out: &mut Output<'_>) -> Result<()> {
        if let Some(table) = self.tables.get(&port) {
            table.end();
        }
        self.advance(out).map(|_| ())
    }

    fn finish(&mut self, out: &mut Output<'_>) -> Result<Option<Value>> {
        for table in self.tables.values() {
            table.end();
        }
        match self.advance(out)? {
            Appetite::Enough => Ok(None),
            Appetite::More => Err(Failure::internal(
                "the query waits for something that nobody does",
            )),
        }
    }
}

/// Remembers that a stream asked to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The engine gathers partitions with a task for each. There is one thread here: they come one after the other.
fn one_after_the_other(plan: Arc<dyn ExecutionPlan>) -> EngineResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(gather) = node.downcast_ref::<CoalescePartitionsExec>() else {
            return Ok(Transformed::no(node));
        };
        let made = InTurnExec::new(Arc::clone(gather.input()), gather.fetch());
        Ok(Transformed::yes(Arc::new(made) as Arc<dyn ExecutionPlan>))
    })
    .map(
        |t| match t.data.properties().output_partitioning().partition_count() {
            1 => t.data,
            _ => Arc::new(InTurnExec::new(t.data, None)) as Arc<dyn ExecutionPlan>,
        },
    )
}

/// All partitions of its input, one after the other.
#[derive(Debug)]
struct InTurnExec {
    input: Arc<dyn ExecutionPlan>,
    rows_max: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl InTurnExec {
    fn new(input: Arc<dyn ExecutionPlan>, rows_max: Option<usize>) -> Self {
        let of = input.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            of.emission_type,
            of.boundedness,
        );
        Self {
            input,
            rows_max,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for InTurnExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InTurnExec")
    }
}

impl ExecutionPlan for InTurnExec {
    fn name(&self) -> &'static str {
        "InTurnExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> EngineResult<TreeNodeRecursion>,
    ) -> EngineResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input, self.rows_max))),
            None => Err(crate::database::internal("no input")),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input, self.rows_max))),
            None => Err(crate::database::internal("no input")),
        }
    }

    fn execute(
        &self,
        _: usize,
        context: Arc<TaskContext>,
    ) -> EngineResult<SendableRecordBatchStream> {
        let partitions = self
            .input
            .properties()
            .output_partitioning()
            .partition_count();
        let parts = (0..partitions)
            .map(|at| self.input.execute(at, Arc::clone(&context)))
            .collect::<EngineResult<Vec<_>>>()?;
        let mut left = self.rows_max.unwrap_or(usize::MAX);
        let rows = stream::iter(parts).flatten().map(move |batch| {
            let batch = batch?;
            let taken = batch.num_rows().min(left);
            left -= taken;
            Ok(batch.slice(0, taken))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.input.schema(),
            rows,
        )))
    }
}
