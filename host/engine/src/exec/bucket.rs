//! The operator that runs a step by key: it reads the ports to their ends, divides their rows into buckets by the hash of
//! their keys, and gives some buckets to each of many instances, a few at a time.
//!
//! How many instances there are follows from what was read: a small input goes to one, and none gets more than it is
//! likely to have memory for. What does not fit into the run's memory meanwhile lies on disk. Results stand behind each
//! other in the order of the buckets; those that come before their turn are kept, in memory or on disk.

pub(crate) mod divide;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod shape;
pub(crate) mod shared;
pub(crate) mod spill;
pub(crate) mod store;
pub(crate) mod workers;

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream::{self, StreamExt as _};
use odibi_run::port::InputPlan;
use odibi_story::failure::Failure;

use self::plan::{Partition, Shelf};
use self::reader::{BucketReader, Order};
use self::shape::{Shape, retyped};
use self::store::{Collector, Keeping, Store};
use super::node_run::NodeRun;
use super::pump::{End, Outlet, pump};
use super::transform::StepSpec;
use super::{is_shared, sort_order};
use crate::failure::{During, cancelled, carry, classify};

/// What a step may take of the memory of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Instances at the same time.
    pub(crate) instances: usize,
    /// Bytes of the needed columns that one instance is given, unless one key has more.
    pub(crate) data_bytes_max: u64,
    /// Bytes of what was read that stay in memory.
    pub(crate) held_bytes_max: u64,
    /// What is smaller goes to one instance.
    pub(crate) whole_bytes_max: u64,
}

/// Runs a step by key. Its ports are its children, in order.
#[derive(Debug)]
pub(crate) struct BucketsExec {
    spec: Arc<StepSpec>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl BucketsExec {
    pub(crate) fn new(spec: Arc<StepSpec>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spec.plan.output)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self {
            spec,
            inputs,
            properties,
        }
    }
}

impl DisplayAs for BucketsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepSpec {
            index, operation, ..
        } = self.spec.as_ref();
        write!(f, "BucketsExec: step={index} operation={operation}")
    }
}

impl ExecutionPlan for BucketsExec {
    fn name(&self) -> &'static str {
        "BucketsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
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
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            inputs.push(input.execute(0, Arc::clone(&context))?);
        }
        let spec = Arc::clone(&self.spec);
        let name = format!("odibi-buckets-{}", spec.index);
        pump(self.schema(), &name, run, move |outlet| {
            let ports = Ports::new(spec, outlet.run(), &inputs, context)?;
            let (shelf, partitions) = ports.read(outlet, inputs)?;
            let job = Arc::new(Job { ports, shelf });
            workers::run(outlet, job, partitions)
        })
    }
}

/// The ports of a step, and how each is kept.
pub(crate) struct Ports {
    pub(crate) spec: Arc<StepSpec>,
    pub(crate) context: Arc<TaskContext>,
    shapes: Vec<Shape>,
    /// The ports in the order of their stores: those that are divided come first.
    order: Vec<usize>,
    keyed: usize,
    keeping: Keeping,
}

/// All that the instances of a step work on.
pub(crate) struct Job {
    pub(crate) ports: Ports,
    /// Holds what every instance is given.
    shelf: Arc<Shelf>,
}

impl Ports {
    fn new(
        spec: Arc<StepSpec>,
        run: &NodeRun,
        inputs: &[SendableRecordBatchStream],
        context: Arc<TaskContext>,
    ) -> std::result::Result<Self, Failure> {
        let shapes = inputs.iter().zip(&spec.needed);
        let shapes = shapes
            .map(|(input, needed)| Shape::new(&input.schema(), needed))
            .collect::<std::result::Result<_, _>>()?;
        let (keyed, shared): (Vec<usize>, Vec<usize>) =
            (0..inputs.len()).partition(|port| !is_shared(&spec.plan.inputs[*port]));
        Ok(Self {
            keeping: keeping(&spec, run, &context),
            spec,
            context,
            shapes,
            keyed: keyed.len(),
            order: [keyed, shared].concat(),
        })
    }

    fn wants(&self, port: usize) -> &InputPlan {
        &self.spec.plan.inputs[port]
    }

    /// Reads them all, and lays what came out over instances.
    fn read(
        &self,
        outlet: &Outlet<RecordBatch>,
        inputs: Vec<SendableRecordBatchStream>,
    ) -> std::result::Result<(Arc<Shelf>, Vec<Partition>), End> {
        let mut stores = Vec::with_capacity(self.order.len());
        for port in &self.order {
            let (shape, wants) = (&self.shapes[*port], self.wants(*port));
            let keys = shape.places(&wants.partition_by)?;
            let need = shape.places(&wants.need)?;
            stores.push(Store::new(Arc::clone(shape.stored()), keys, need, 0));
        }
        let mut collector = Collector::new(stores, self.keeping.clone());
        let mut inputs: Vec<_> = inputs.into_iter().enumerate().collect();
        inputs.sort_by_key(|(port, _)| !self.wants(*port).drained_first);
        for (port, mut input) in inputs {
            let store = self.order.iter().position(|at| *at == port);
            while let (Some(store), Some(batch)) = (store, outlet.receive(&mut input)?) {
                collector.push(store, self.shapes[port].store(&batch)?)?;
            }
        }
        let (shelf, spilled) = Shelf::new(collector.finish()?);
        let shelf = Arc::new(shelf);
        let stop = || match outlet.run().stopped() {
            true => Err(cancelled()),
            false => Ok(()),
        };
        let (partitions, spilled_further) =
            plan::partitions(&shelf, self.keyed, &self.spec.share, &self.keeping, &stop)?;
        let run = outlet.run();
        run.divided(self.spec.index, partitions.len());
        run.spilled(self.spec.index, spilled + spilled_further);
        Ok((shelf, partitions))
    }
}

/// How a step keeps what it reads.
pub(crate) fn keeping(spec: &StepSpec, run: &NodeRun, context: &TaskContext) -> Keeping {
    Keeping {
        held_bytes_max: spec.share.held_bytes_max,
        whole_bytes_max: spec.share.whole_bytes_max,
        scratch: run.scratch.clone(),
        pool: Arc::clone(context.memory_pool()),
        file: Arc::default(),
    }
}

/// Sorts of a partition; what they have spilled is known when they are through.
type Sorts = Vec<Arc<dyn ExecutionPlan>>;

impl Job {
    /// What one instance is given, port by port, and the sorts in it.
    pub(crate) fn inputs(
        &self,
        partition: &Partition,
    ) -> Result<(Vec<SendableRecordBatchStream>, Sorts)> {
        let ports = &self.ports;
        let mut sorts = Vec::new();
        let mut inputs = Vec::with_capacity(ports.order.len());
        for port in 0..ports.order.len() {
            let wants = ports.wants(port);
            let Some(store) = ports.order.iter().position(|at| *at == port) else {
                continue;
            };
            let (shelf, buckets) = if store < ports.keyed {
                (&partition.shelf, partition.buckets.clone())
            } else {
                (&self.shelf, 0..1)
            };
            let order = match wants.keep_order && wants.sorted_by.is_empty() {
                true => Order::Source,
                false => Order::Buckets,
            };
            let rows = ports.spec.batch_rows;
            let reader = BucketReader::new(shelf, store, buckets, &ports.shapes[port], order, rows);
            let stream = match sort_order(wants) {
                // What every instance is given was sorted before it was kept.
                Some(order) if store < ports.keyed => {
                    let source = Source::of(reader, ports.shapes[port].plain());
                    let sort: Arc<dyn ExecutionPlan> = Arc::new(SortExec::new(order, source?));
                    sorts.push(Arc::clone(&sort));
                    sort.execute(0, Arc::clone(&ports.context))?
                }
                Some(_) | None => stream_of(reader, ports.shapes[port].plain()),
            };
            inputs.push(typed(stream, &wants.offered));
        }
        Ok((inputs, sorts))
    }
}

fn stream_of(reader: BucketReader, schema: &SchemaRef) -> SendableRecordBatchStream {
    let batches = stream::iter(reader.map(|batch| batch.map_err(carry)));
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches))
}

/// Batches as they were offered: without what the host has added, with their dictionaries.
fn typed(input: SendableRecordBatchStream, offered: &SchemaRef) -> SendableRecordBatchStream {
    let schema = Arc::clone(offered);
    let batches = input.flat_map(move |batch| {
        let batches = batch
            .map_err(|e| classify(&e, During::Run))
            .and_then(|batch| retyped(&batch, &schema));
        stream::iter(match batches {
            Ok(batches) => batches.into_iter().map(Ok).collect(),
            Err(failure) => vec![Err(carry(failure))],
        })
    });
    let schema = Arc::clone(offered);
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// A reader where a plan begins: it can be asked once.
struct Source {
    schema: SchemaRef,
    reader: std::sync::Mutex<Option<BucketReader>>,
}

impl Source {
    fn of(reader: BucketReader, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = Arc::clone(schema);
        let source: Arc<dyn PartitionStream> = Arc::new(Self {
            schema: Arc::clone(&schema),
            reader: std::sync::Mutex::new(Some(reader)),
        });
        let plan = StreamingTableExec::try_new(schema, vec![source], None, [], false, None)?;
        Ok(Arc::new(plan))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("buckets")
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        match super::node_run::lock(&self.reader).take() {
            Some(reader) => stream_of(reader, &schema),
            None => Box::pin(RecordBatchStreamAdapter::new(schema, stream::empty())),
        }
    }
}
