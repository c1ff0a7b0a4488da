//! The one physical plan of a node: scans, and a [`transform::TransformExec`] or [`bucket::BucketsExec`] for each step.
//!
//! ```text
//! ScanExec ─► [OrdinalExec ─► SortExec] ─► TransformExec ─► … ─► the sink
//! ScanExec ─► [OrdinalExec] ─► BucketsExec (in it, for each partition: [SortExec]) ─► … ─► the sink
//! ```
//! Between two steps there is always one ordered stream of batches. A step that wants its rows by key divides that stream
//! into buckets, and its outputs are put behind each other in the order of the buckets: a run on the same machine with
//! the same memory gives the same rows in the same order.

pub(crate) mod blame;
pub(crate) mod bucket;
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
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use odibi_plan::GuestLimit;
use odibi_plan::plan::Step;
use odibi_run::port::{InputPlan, Operation, OperationPlan, Spread};
use odibi_story::failure::{Failure, FailureClass, code};

use self::bucket::{BucketsExec, Share};
use self::ordinal::OrdinalExec;
use self::scan::ScanExec;
use self::transform::{StepSpec, TransformExec};
use crate::failure::{During, classify};
use crate::limits::{
    BUCKETS_HELD_SHARE, GUEST_BYTES_MIN, GUEST_FACTOR, GUESTS_SHARE, PARTITION_DATA_BYTES_MIN,
};
use crate::prune::{Bound, bounds};
use crate::read::Table;
use crate::read::columns::plain_type;

/// How a plan is to be laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Instances of one step at the same time.
    pub(crate) instances_max: usize,
    /// Memory of the run.
    pub(crate) memory_bytes_max: u64,
    /// Rows of a batch.
    pub(crate) batch_rows: usize,
    /// Inputs smaller than this are not partitioned.
    pub(crate) partition_bytes_min: u64,
}

/// A step with what its operation planned, or several that run as one.
#[derive(Clone)]
pub(crate) struct PlannedStep {
    /// Its place in the node; of several, that of the first.
    pub(crate) at: usize,
    /// How many steps of the node it is.
    pub(crate) steps: usize,
    /// The step; of several, the first.
    pub(crate) step: Step,
    /// What runs.
    pub(crate) operation: Arc<dyn Operation>,
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
    let needs = needs(steps, tables, quarantines);
    let scan = |input: usize, needed: &[bool], bounds: Vec<Bound>| -> Arc<dyn ExecutionPlan> {
        Arc::new(ScanExec::new(
            Arc::clone(&tables[input]),
            input,
            needed.to_vec(),
            bounds,
            layout.batch_rows,
        ))
    };
    // Which rows are set aside must not depend on which are read.
    let bounds = match quarantines {
        true => Vec::new(),
        false => bounds(steps, &tables[0].schema),
    };
    let mut current = scan(0, &needs.main, bounds);
    for (planned, needed) in steps.iter().zip(needs.steps) {
        let mut ports = vec![current];
        for (at, input) in planned.step.further_inputs.iter().enumerate() {
            ports.push(scan(*input, &needed[at + 1], Vec::new()));
        }
        let spec = StepSpec {
            index: planned.at,
            operation: planned.step.operation.clone(),
            plan: Arc::clone(&planned.plan),
            needed,
            share: share(planned, layout),
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
        current = step(spec, ports);
    }
    SanityCheckPlan::new()
        .optimize(current, &ConfigOptions::default())
        .map_err(|e| classify(&e, During::Run))
}

fn step(spec: StepSpec, ports: Vec<Arc<dyn ExecutionPlan>>) -> Arc<dyn ExecutionPlan> {
    let by_key = by_key(&spec.plan);
    let inputs = ports
        .into_iter()
        .zip(&spec.plan.inputs)
        .map(|(port, input)| arrange(port, input, by_key && !is_shared(input)))
        .collect();
    let spec = Arc::new(spec);
    if by_key {
        Arc::new(BucketsExec::new(spec, inputs))
    } else {
        Arc::new(TransformExec::new(spec, inputs))
    }
}

/// What a step by key may take: half of the memory of the run is for its instances, or a quarter where they stand beside
/// sorts.
fn share(planned: &PlannedStep, layout: Layout) -> Share {
    let memory = layout.memory_bytes_max;
    let sorts = planned.plan.inputs.iter().any(|i| !i.sorted_by.is_empty());
    let guests = memory
        / if sorts {
            2 * GUESTS_SHARE
        } else {
            GUESTS_SHARE
        };
    let instances = usize::try_from(guests / GUEST_BYTES_MIN).unwrap_or(usize::MAX);
    let instances = instances.clamp(1, layout.instances_max.max(1));
    let mut limits = planned.step.limits.iter();
    let limit = limits.find(|(limit, _)| *limit == GuestLimit::Memory);
    let limit = limit.map_or(GuestLimit::Memory.spec().default, |(_, bytes)| bytes);
    let guest = limit.min(guests / instances as u64);
    let data_bytes_max = (guest / GUEST_FACTOR).max(PARTITION_DATA_BYTES_MIN);
    Share {
        instances,
        data_bytes_max,
        held_bytes_max: memory / BUCKETS_HELD_SHARE,
        whole_bytes_max: layout.partition_bytes_min.min(data_bytes_max),
    }
}

/// Is the port fed whole to every instance, when there are several?
pub(crate) fn is_shared(input: &InputPlan) -> bool {
    input.drained_first && input.partition_by.is_empty()
}

/// The port whose batches go to any instance: the only one that is not fed whole to every instance. An operation with
/// more of them keeps state between them, whatever it says.
pub(crate) fn handed_out(plan: &OperationPlan) -> Option<usize> {
    let mut ports = (0..plan.inputs.len())
        .filter(|port| plan.inputs.len() == 1 || !is_shared(&plan.inputs[*port]));
    match (plan.spread, ports.next(), ports.next()) {
        (Spread::PerBatch, Some(port), None) => Some(port),
        _ => None,
    }
}

/// Does no batch depend on another?
pub(crate) fn stateless(plan: &OperationPlan) -> bool {
    handed_out(plan).is_some()
}

/// Can the step run in several partitions? All ports that are not fed whole to every instance must name keys, of the same
/// types, so that equal keys meet.
fn by_key(plan: &OperationPlan) -> bool {
    let types = |input: &InputPlan| -> Vec<_> {
        let keys = input.partition_by.iter();
        keys.map(|c| plain_type(input.offered.field(*c).data_type()))
            .collect()
    };
    let divided: Vec<_> = plan.inputs.iter().filter(|i| !is_shared(i)).collect();
    plan.spread == Spread::PerPartition
        && !divided.is_empty()
        && divided.iter().all(|i| !i.partition_by.is_empty())
        && divided.windows(2).all(|w| types(w[0]) == types(w[1]))
}

/// Does every instance get the whole of this port, however many there are?
pub(crate) fn every_instance_gets(plan: &OperationPlan, port: usize) -> bool {
    is_shared(&plan.inputs[port])
        && (by_key(plan) || handed_out(plan).is_some_and(|other| other != port))
}

/// Puts the sort that a port asks for above its input; for a port that is divided first, only what that sort will need.
fn arrange(
    input: Arc<dyn ExecutionPlan>,
    wants: &InputPlan,
    divided: bool,
) -> Arc<dyn ExecutionPlan> {
    let mut plan = input;
    if !wants.sorted_by.is_empty() || (divided && wants.keep_order) {
        plan = Arc::new(OrdinalExec::new(plan));
    }
    match sort_order(wants) {
        Some(order) if !divided => Arc::new(SortExec::new(order, plan)),
        _ => plan,
    }
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

/// Which columns anybody needs.
struct Needs {
    /// Of the main input.
    main: Vec<bool>,
    /// For each step, for each of its ports.
    steps: Vec<Vec<Vec<bool>>>,
}

/// Goes backwards from the result, of which every column is wanted, as of rows that may be set aside.
fn needs(steps: &[PlannedStep], tables: &[Arc<Table>], quarantines: bool) -> Needs {
    let last = steps.last().map_or(&tables[0].schema, |s| &s.plan.output);
    let mut wanted = vec![true; last.fields().len()];
    let mut needed: Vec<Vec<Vec<bool>>> = Vec::new();
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
        wanted = ports.first().cloned().unwrap_or_default();
        needed.push(ports);
    }
    needed.reverse();
    Needs {
        main: wanted,
        steps: needed,
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
