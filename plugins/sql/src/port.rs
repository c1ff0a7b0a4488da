//! A table of the host: what the planner knows of it, and the operator that hands on what the host pushes.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr, expressions,
};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, StatisticsArgs,
};
use futures::Stream;
use odibi_sdk::SortKey;

/// What the planner assumes of the main input: far larger than a table it is joined with.
const MAIN_ROWS: usize = 1_000_000_000;
/// What the planner assumes of every other table.
const FURTHER_ROWS: usize = 1_000_000;

/// A table of the host.
#[derive(Debug)]
pub(crate) struct PortTable {
    /// Which input of the operation.
    pub(crate) port: usize,
    /// The offered schema.
    pub(crate) schema: SchemaRef,
    /// Offered columns in the order in which the host sends them; `None` while that is being found out.
    sent: Option<Vec<usize>>,
    /// The order in which the host sends the rows, offered columns.
    sorted_by: Vec<SortKey>,
    /// Does any part of the query read the table more than once?
    rereads: bool,
    feeds: Mutex<Vec<Arc<Feed>>>,
}

impl PortTable {
    /// For planning: nothing is sent yet.
    pub(crate) fn offered(port: usize, schema: SchemaRef) -> Self {
        Self {
            port,
            schema,
            sent: None,
            sorted_by: Vec::new(),
            rereads: false,
            feeds: Mutex::default(),
        }
    }

    /// For a session.
    pub(crate) fn fed(
        port: usize,
        schema: SchemaRef,
        sent: Vec<usize>,
        sorted_by: Vec<SortKey>,
        rereads: bool,
    ) -> Self {
        Self {
            sent: Some(sent),
            sorted_by,
            rereads,
            ..Self::offered(port, schema)
        }
    }

    /// One batch of the host, in the layout of `sent`.
    pub(crate) fn push(&self, batch: &RecordBatch) {
        for feed in lock(&self.feeds).iter() {
            lock(&feed.state).batches.push_back(batch.clone());
        }
    }

    /// The host has no more.
    pub(crate) fn end(&self) {
        for feed in lock(&self.feeds).iter() {
            lock(&feed.state).ended = true;
        }
    }

    /// Scans of this table in the physical plan.
    pub(crate) fn scans(&self) -> usize {
        lock(&self.feeds).len()
    }
}

#[async_trait]
impl TableProvider for PortTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let offered: Vec<usize> =
            projection.map_or_else(|| (0..self.schema.fields().len()).collect(), Clone::clone);
        let place = |column: &usize| match &self.sent {
            None => Ok(*column),
            Some(sent) => sent.iter().position(|c| c == column).ok_or_else(|| {
                DataFusionError::Internal(format!("column {column} of the table was not asked for"))
            }),
        };
        let columns = offered.iter().map(place).collect::<Result<Vec<_>>>()?;
        let feed = Arc::new(Feed {
            columns,
            keeps: self.rereads,
            state: Mutex::default(),
        });
        lock(&self.feeds).push(Arc::clone(&feed));
        let schema = Arc::new(self.schema.project(&offered)?);
        let order = self.sorted_by.iter().map_while(|key| {
            let at = offered.iter().position(|c| *c == key.column)?;
            let column = expressions::Column::new(schema.field(at).name(), at);
            let options = arrow_schema::SortOptions {
                descending: key.descending,
                nulls_first: key.nulls_first,
            };
            Some(PhysicalSortExpr::new(Arc::new(column), options))
        });
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        if let Some(order) = LexOrdering::new(order) {
            equivalence.add_ordering(order);
        }
        let properties = PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(PortExec {
            port: self.port,
            feed,
            properties: Arc::new(properties),
        }))
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics(self.port, &self.schema))
    }
}

/// Makes the planner build hash tables of the further tables and stream the main one.
fn statistics(port: usize, schema: &SchemaRef) -> Statistics {
    let rows = if port == 0 { MAIN_ROWS } else { FURTHER_ROWS };
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Inexact(rows);
    statistics.total_byte_size = Precision::Inexact(rows.saturating_mul(8));
    statistics
}

/// What the host pushed and a scan has not taken yet.
#[derive(Debug)]
struct Feed {
    /// Positions in the batches of the host.
    columns: Vec<usize>,
    /// Stay the batches for another reading?
    keeps: bool,
    state: Mutex<FeedState>,
}

#[derive(Debug, Default)]
struct FeedState {
    batches: VecDeque<RecordBatch>,
    ended: bool,
}

/// Reads a table of the host.
#[derive(Debug)]
pub(crate) struct PortExec {
    /// Which input of the operation.
    pub(crate) port: usize,
    feed: Arc<Feed>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for PortExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PortExec: port={} columns={:?}",
            self.port, self.feed.columns
        )
    }
}

impl ExecutionPlan for PortExec {
    fn name(&self) -> &'static str {
        "PortExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(FeedStream {
            schema: self.schema(),
            feed: Arc::clone(&self.feed),
            taken: 0,
        }))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::new(statistics(self.port, &self.schema())))
    }
}

struct FeedStream {
    schema: SchemaRef,
    feed: Arc<Feed>,
    /// Batches taken so far, where they stay in the feed.
    taken: usize,
}

impl Stream for FeedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (batch, ended) = {
            let mut state = lock(&self.feed.state);
            let batch = if self.feed.keeps {
                state.batches.get(self.taken).cloned()
            } else {
                state.batches.pop_front()
            };
            (batch, state.ended)
        };
        match batch {
            Some(batch) => {
                self.taken += 1;
                Poll::Ready(Some(project(&batch, &self.feed.columns, &self.schema)))
            }
            None if ended => Poll::Ready(None),
            // Nobody has to be woken: the session polls again when the host has pushed or ended.
            None => Poll::Pending,
        }
    }
}

impl RecordBatchStream for FeedStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

fn project(batch: &RecordBatch, columns: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let arrays = columns
        .iter()
        .map(|c| Arc::clone(batch.column(*c)))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        arrays,
        &options,
    )?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
