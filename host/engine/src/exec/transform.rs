//! The operator that runs one step. It holds plain data only: the operation's name, params, planned schemas. The code
//! behind the name is found where it executes, so that the same plan can run elsewhere.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexRequirement, OrderingRequirements, Partitioning,
    PhysicalExpr,
};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};
use odibi_plan::plan::OperationRef;
use odibi_run::port::{OperationPlan, Spread};

use super::bucket::Share;
use super::node_run::NodeRun;
use super::pump::pump;
use super::session::Place;
use super::{handed_out, parallel, session, sort_order};

/// A step as plain data.
#[derive(Debug)]
pub(crate) struct StepSpec {
    /// Index of the step in its node.
    pub(crate) index: usize,
    /// Which operation.
    pub(crate) operation: OperationRef,
    /// Params, schemas and the operation's own state.
    pub(crate) plan: Arc<OperationPlan>,
    /// For each port, which of its columns anybody needs.
    pub(crate) needed: Vec<Vec<bool>>,
    /// What it may take of the memory of the run.
    pub(crate) share: Share,
    /// Instances at the same time.
    pub(crate) instances_max: usize,
    /// Rows of a batch at most.
    pub(crate) batch_rows: usize,
    /// Rows that it fails on are set aside where they can be told.
    pub(crate) quarantines: bool,
}

/// Runs a step over its ports.
#[derive(Debug)]
pub(crate) struct TransformExec {
    spec: Arc<StepSpec>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl TransformExec {
    /// The inputs are the ports, in order.
    pub(crate) fn new(spec: Arc<StepSpec>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spec.plan.output)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            spec,
            inputs,
            properties,
        }
    }
}

impl DisplayAs for TransformExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StepSpec {
            index,
            operation,
            plan,
            ..
        } = self.spec.as_ref();
        let spread = match plan.spread {
            Spread::Single => "single",
            Spread::PerPartition => "per-partition",
            Spread::PerBatch => "per-batch",
        };
        write!(
            f,
            "TransformExec: step={index} operation={operation} spread={spread}"
        )
    }
}

impl ExecutionPlan for TransformExec {
    fn name(&self) -> &'static str {
        "TransformExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let wants = vec![Distribution::SinglePartition; self.inputs.len()];
        InputDistributionRequirements::new(wants)
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let order = |input| {
            let order = sort_order(input)?;
            LexRequirement::new(order.into_iter().map(Into::into)).map(OrderingRequirements::new)
        };
        self.spec.plan.inputs.iter().map(order).collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(Arc::clone(&self.spec), children)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let run = NodeRun::of(&context)?;
        let inputs = self
            .inputs
            .iter()
            .map(|input| input.execute(0, Arc::clone(&context)))
            .collect::<Result<Vec<_>>>()?;
        let spec = Arc::clone(&self.spec);
        if let Some(port) = handed_out(&spec.plan) {
            return parallel::execute(run, spec, port, inputs, context);
        }
        let name = format!("odibi-step-{}", spec.index);
        let below = self.inputs.clone();
        pump(self.schema(), &name, run, move |outlet| {
            let mut put = |batch| outlet.send(batch);
            let driven = session::drive(outlet, &spec, Place::ONLY, inputs, &mut put);
            let spilled = below
                .iter()
                .filter_map(|input| input.metrics()?.spilled_bytes());
            let spilled: usize = spilled.sum();
            outlet.run().spilled(spec.index, spilled as u64);
            driven
        })
    }
}
