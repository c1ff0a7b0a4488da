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

use super::node_run::NodeRun;
use super::pump::pump;
use super::{key_columns, parallel, session, sort_order, stateless};

/// A step as plain data.
#[derive(Debug)]
pub(crate) struct StepSpec {
    /// Index of the step in its node.
    pub(crate) index: usize,
    /// Which operation.
    pub(crate) operation: OperationRef,
    /// Params, schemas and the operation's own state.
    pub(crate) plan: Arc<OperationPlan>,
    /// Partitions of input and output.
    pub(crate) partitions: usize,
    /// Instances at the same time within one partition.
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
    pub(crate) fn new(spec: StepSpec, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        Self::with(Arc::new(spec), inputs)
    }

    fn with(spec: Arc<StepSpec>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spec.plan.output)),
            Partitioning::UnknownPartitioning(spec.partitions),
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
            partitions,
            ..
        } = self.spec.as_ref();
        let spread = match plan.spread {
            Spread::Single => "single",
            Spread::PerPartition => "per-partition",
            Spread::PerBatch => "per-batch",
        };
        write!(
            f,
            "TransformExec: step={index} operation={operation} spread={spread} partitions={partitions}"
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
        let wants = self.spec.plan.inputs.iter().map(|input| {
            if self.spec.partitions > 1 {
                Distribution::KeyPartitioned(key_columns(&input.offered, &input.partition_by))
            } else {
                Distribution::SinglePartition
            }
        });
        if self.inputs.len() > 1 && self.spec.partitions > 1 {
            InputDistributionRequirements::co_partitioned(wants.collect())
        } else {
            InputDistributionRequirements::new(wants.collect())
        }
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
        Ok(Arc::new(Self::with(Arc::clone(&self.spec), children)))
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

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let run = NodeRun::of(&context)?;
        let mut inputs = self
            .inputs
            .iter()
            .map(|input| input.execute(partition, Arc::clone(&context)))
            .collect::<Result<Vec<_>>>()?;
        let spec = Arc::clone(&self.spec);
        if stateless(&spec.plan)
            && let Some(input) = inputs.pop()
        {
            return parallel::execute(run, spec, input);
        }
        let name = format!("odibi-step-{}", spec.index);
        pump(self.schema(), &name, run, move |outlet| {
            session::drive(outlet, &spec, partition, inputs)
        })
    }
}
