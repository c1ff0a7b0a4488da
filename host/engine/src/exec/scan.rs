//! The operator that reads a table: one partition, in the order of the source, decoded ahead on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::node_run::NodeRun;
use super::pump::pump;
use crate::failure::cancelled;
use crate::prune::Bound;
use crate::read::Table;

/// Reads one input of the node.
#[derive(Debug)]
pub(crate) struct ScanExec {
    table: Arc<Table>,
    input: usize,
    needed: Vec<bool>,
    bounds: Arc<[Bound]>,
    batch_rows: usize,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    /// Columns that are not `needed` come as nulls; rows that are out of `bounds` may be left out.
    pub(crate) fn new(
        table: Arc<Table>,
        input: usize,
        needed: Vec<bool>,
        bounds: Vec<Bound>,
        batch_rows: usize,
    ) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&table.schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            table,
            input,
            needed,
            bounds: bounds.into(),
            batch_rows,
            properties,
        }
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .table
            .schema
            .fields()
            .iter()
            .zip(&self.needed)
            .filter(|(_, needed)| **needed)
            .map(|(field, _)| field.name().as_str())
            .collect();
        write!(
            f,
            "ScanExec: {} input={} columns=[{}]",
            self.table.format(),
            self.input,
            names.join(", ")
        )?;
        // The values may be those of sensitive columns.
        let fields = self.table.schema.fields();
        let mut bounded: Vec<&str> = (self.bounds.iter())
            .map(|bound| fields[bound.column].name().as_str())
            .collect();
        bounded.dedup();
        if !bounded.is_empty() {
            write!(f, " bounded=[{}]", bounded.join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "ScanExec"
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

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let run = NodeRun::of(&context)?;
        let input = self.input;
        let (counter, first) = run.count_rows_in(input);
        let (table, needed, batch_rows) = (
            Arc::clone(&self.table),
            self.needed.clone(),
            self.batch_rows,
        );
        let bounds = Arc::clone(&self.bounds);
        pump(self.schema(), "odibi-scan", run, move |outlet| {
            let mut decode = table.decode(&needed, &bounds, batch_rows)?;
            while let Some(batch) = decode.next()? {
                if outlet.run().stopped() {
                    return Err(cancelled().into());
                }
                // A second scan of the same input meets the same rows.
                for bad in decode.take_bad_rows() {
                    if first {
                        outlet.run().set_aside(input, &bad)?;
                    }
                }
                let rows = batch.num_rows() as u64;
                if rows == 0 {
                    continue;
                }
                counter.fetch_add(rows, Ordering::Relaxed);
                if first {
                    outlet
                        .run()
                        .progress
                        .rows_read
                        .fetch_add(rows, Ordering::Relaxed);
                    outlet.run().sample_in(input, &batch, &needed);
                }
                outlet.send(batch)?;
            }
            Ok(())
        })
    }
}
