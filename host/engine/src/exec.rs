//! The one physical plan of a node: scans, and a [`transform::TransformExec`] for each step.
//!
//! ```text
//! ScanExec ─► [OrdinalExec ─► RepartitionExec ─► SortExec] ─► TransformExec ─► [ConcatExec] ─► … ─► the sink
//! ```
//! Between two steps there is always one ordered stream of batches. A step that wants its rows by key gets them from a
//! hash repartition of that stream, one instance for each partition, and its outputs are put behind each other in the
//! order of the partitions: a run on the same machine gives the same rows in the same order. How many partitions there
//! are depends on the number of instances and on the size of the input, so the order may differ between machines.

pub(crate) mod blame;
pub(crate) mod concat;
pub(crate) mod held;
pub(crate) mod isolate;
pub(crate) mod node_run;
pub(crate) mod ordinal;
pub(crate) mod parallel;
pub(crate) mod pump;
pub(crate) mod rebatch;
pub(crate) mod scan;
pub(crate) mod session;
pub(crate) mod transform;

use std::sync::Arc;

use arrow_schema::{SchemaRef, SortOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use odibi_plan::plan::Step;
use odibi_run::port::{InputPlan, OperationPlan, Spread};
use odibi_story::failure::{Failure, FailureClass, code};

use self::concat::ConcatExec;
use self::ordinal::OrdinalExec;
use self::scan::ScanExec;
use self::transform::{StepSpec, TransformExec};
use crate::failure::{During, classify};
use crate::read::Table;

/// How a plan is to be laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Instances of one step at the same time, and partitions of one.
    pub(crate) instances_max: usize,
    /// Rows of a batch.
    pub(crate) batch_rows: usize,
    /// Inputs smaller than this are not partitioned.
    pub(crate) partition_bytes_min: u64,
}

/// A step with what its operation planned.
#[derive(Debug, Clone)]
pub(crate) struct PlannedStep {
    /// The step.
    pub(crate) step: Step,
    /// What it does.
    pub(crate) plan: Arc<OperationPlan>,
}

/// Builds the physical plan of a node.
pub(crate) fn build(
    tables: &[Arc<Table>],
    steps: &[PlannedStep],
    layout: Layout,
    quarantines: bool,
) -> Result<Arc<dyn ExecutionPlan>, Failure> {
    let bytes: u64 = tables.iter().map(|t| t.bytes).sum();
    let needs = needs(steps, tables, quarantines);
    let scan = |input: usize, needed: &[bool]| -> Arc<dyn ExecutionPlan> {
        Arc::new(ScanExec::new(
            Arc::clone(&tables[input]),
            input,
            needed.to_vec(),
            layout.batch_rows,
        ))
    };
    let mut current = scan(0, &needs.main);
    for (index, planned) in steps.iter().enumerate() {
        let mut ports = vec![current];
        for (at, input) in planned.step.further_inputs.iter().enumerate() {
            ports.push(scan(*input, &needs.further[index][at]));
        }
        let partitions = if bytes >= layout.partition_bytes_min {
            layout.instances_max.max(1)
        } else {
            1
        };
        let spec = StepSpec {
            index,
            operation: planned.step.operation.clone(),
            plan: Arc::clone(&planned.plan),
            partitions: if by_key(&planned.plan) { partitions } else { 1 },
            instances_max: if stateless(&planned.plan) {
                layout.instances_max
            } else {
                1
            },
            batch_rows: planned
                .plan
                .batch_rows_max
                .map_or(layout.batch_rows, |rows| rows.clamp(1, layout.batch_rows)),
            quarantines,
        };
        current = step(spec, ports).map_err(|e| classify(&e, During::Run))?;
    }
    SanityCheckPlan::new()
        .optimize(current, &ConfigOptions::default())
        .map_err(|e| classify(&e, During::Run))
}

fn step(spec: StepSpec, ports: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    let partitions = spec.partitions;
    let inputs = ports
        .into_iter()
        .zip(&spec.plan.inputs)
        .map(|(port, input)| arrange(port, input, partitions))
        .collect::<Result<Vec<_>>>()?;
    let step: Arc<dyn ExecutionPlan> = Arc::new(TransformExec::new(spec, inputs));
    Ok(if partitions > 1 {
        Arc::new(ConcatExec::new(step))
    } else {
        step
    })
}

/// Does no batch depend on another? An operation with several ports keeps state between them, whatever it says.
pub(crate) fn stateless(plan: &OperationPlan) -> bool {
    plan.spread == Spread::PerBatch && plan.inputs.len() == 1
}

/// Can the step run in several partitions? All ports must name keys, of the same types, so that equal keys meet.
fn by_key(plan: &OperationPlan) -> bool {
    let types = |input: &InputPlan| -> Vec<_> {
        input
            .partition_by
            .iter()
            .map(|c| input.offered.field(*c).data_type().clone())
            .collect()
    };
    plan.spread == Spread::PerPartition
        && plan.inputs.iter().all(|i| !i.partition_by.is_empty())
        && plan.inputs.windows(2).all(|w| types(&w[0]) == types(&w[1]))
}

/// Puts the repartition and the sort that a port asks for above its input.
fn arrange(
    input: Arc<dyn ExecutionPlan>,
    wants: &InputPlan,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut plan = input;
    if !wants.sorted_by.is_empty() {
        plan = Arc::new(OrdinalExec::new(plan));
    }
    if partitions > 1 {
        let keys = key_columns(&wants.offered, &wants.partition_by);
        plan = Arc::new(RepartitionExec::try_new(
            plan,
            Partitioning::Hash(keys, partitions),
        )?);
    }
    if let Some(order) = sort_order(wants) {
        plan = Arc::new(SortExec::new(order, plan).with_preserve_partitioning(partitions > 1));
    }
    Ok(plan)
}

/// Columns as expressions.
pub(crate) fn key_columns(schema: &SchemaRef, columns: &[usize]) -> Vec<Arc<dyn PhysicalExpr>> {
    columns
        .iter()
        .map(|c| Arc::new(Column::new(schema.field(*c).name(), *c)) as Arc<dyn PhysicalExpr>)
        .collect()
}

/// The order a port asks for; rows that are equal in it keep the order of their source, by their ordinal.
pub(crate) fn sort_order(wants: &InputPlan) -> Option<LexOrdering> {
    let mut keys: Vec<PhysicalSortExpr> = Vec::new();
    for key in &wants.sorted_by {
        let column = Arc::new(Column::new(
            wants.offered.field(key.column).name(),
            key.column,
        ));
        keys.push(PhysicalSortExpr::new(
            column,
            SortOptions {
                descending: key.descending,
                nulls_first: key.nulls_first,
            },
        ));
    }
    if !keys.is_empty() {
        keys.push(ordinal::ascending(wants.offered.fields().len()));
    }
    LexOrdering::new(keys)
}

/// Which columns of every scan anybody needs.
struct Needs {
    main: Vec<bool>,
    /// For each step, for each of its further ports.
    further: Vec<Vec<Vec<bool>>>,
}

/// Goes backwards from the result, of which every column is wanted, as of rows that may be set aside.
fn needs(steps: &[PlannedStep], tables: &[Arc<Table>], quarantines: bool) -> Needs {
    let last = steps.last().map_or(&tables[0].schema, |s| &s.plan.output);
    let mut wanted = vec![true; last.fields().len()];
    let mut further: Vec<Vec<Vec<bool>>> = Vec::new();
    for planned in steps.iter().rev() {
        let plan = &planned.plan;
        let mut ports: Vec<Vec<bool>> = plan
            .inputs
            .iter()
            .map(|input| {
                let mut needed = vec![false; input.offered.fields().len()];
                let keys = input.sorted_by.iter().map(|k| k.column);
                for column in input
                    .need
                    .iter()
                    .copied()
                    .chain(input.partition_by.iter().copied())
                    .chain(keys)
                {
                    needed[column] = true;
                }
                needed
            })
            .collect();
        for (output, passed) in plan.pass_through.iter().enumerate() {
            if let Some((port, column)) = passed
                && wanted[output]
            {
                ports[*port][*column] = true;
            }
        }
        if quarantines && stateless(plan) {
            ports.iter_mut().for_each(|columns| columns.fill(true));
        }
        let mut ports = ports.into_iter();
        wanted = ports.next().unwrap_or_default();
        further.push(ports.collect());
    }
    further.reverse();
    Needs {
        main: wanted,
        further,
    }
}

/// Refuses a plan that names ports or columns that were not offered.
pub(crate) fn check_plan(plan: &OperationPlan, offered: &[SchemaRef]) -> Result<(), Failure> {
    let wrong = |what: &str| {
        Err(Failure::new(
            FailureClass::Contract,
            code::ENGINE_BAD_PLAN,
            format!("the operation's plan is wrong: {what}"),
        ))
    };
    if plan.inputs.len() != offered.len() {
        return wrong("it plans another number of inputs than it was offered");
    }
    for (input, schema) in plan.inputs.iter().zip(offered) {
        if input.offered.fields() != schema.fields() {
            return wrong("it names other columns than it was offered");
        }
        let columns = schema.fields().len();
        let sorted = input.sorted_by.iter().map(|k| &k.column);
        if input
            .need
            .iter()
            .chain(&input.partition_by)
            .chain(sorted)
            .any(|c| *c >= columns)
        {
            return wrong("it asks for a column that does not exist");
        }
    }
    if plan.pass_through.len() != plan.output.fields().len() {
        return wrong("its list of columns that pass through has the wrong length");
    }
    let exists = |(port, column): &(usize, usize)| {
        offered
            .get(*port)
            .is_some_and(|s| *column < s.fields().len())
    };
    if !plan.pass_through.iter().flatten().all(exists) {
        return wrong("a column passes through that does not exist");
    }
    Ok(())
}
