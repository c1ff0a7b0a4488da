//! A port that is fed whole to every instance: read once, kept, and read again for each of them.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use odibi_story::failure::Failure;

use super::keeping;
use super::plan::Shelf;
use super::reader::{BucketReader, Order};
use super::shape::{Shape, retyped};
use super::store::{Collector, Keeping, Store};
use crate::exec::pump::{End, Outlet};
use crate::exec::transform::StepSpec;

/// What every instance of a step is given before its first batch.
pub(crate) struct Lookups {
    shelf: Arc<Shelf>,
    ports: Vec<(usize, Shape)>,
}

impl Lookups {
    /// Reads the ports to their ends.
    pub(crate) fn read<T: Send>(
        outlet: &Outlet<T>,
        spec: &StepSpec,
        context: &TaskContext,
        inputs: Vec<(usize, SendableRecordBatchStream)>,
    ) -> Result<Self, End> {
        let keeping = Keeping {
            whole_bytes_max: u64::MAX,
            ..keeping(spec, outlet.run(), context)
        };
        let mut ports = Vec::with_capacity(inputs.len());
        let mut stores = Vec::with_capacity(inputs.len());
        for (port, input) in &inputs {
            let shape = Shape::new(&input.schema(), &spec.needed[*port])?;
            let need = shape.places(&spec.plan.inputs[*port].need)?;
            let stored = Arc::clone(shape.stored());
            stores.push(Store::new(stored, Vec::new(), need, 0));
            ports.push((*port, shape));
        }
        let mut collector = Collector::new(stores, keeping);
        for (at, (_, mut input)) in inputs.into_iter().enumerate() {
            while let Some(batch) = outlet.receive(&mut input)? {
                collector.push(at, ports[at].1.store(&batch)?)?;
            }
        }
        let (shelf, bytes_spilled) = Shelf::new(collector.finish()?);
        outlet.run().spilled(spec.index, bytes_spilled);
        let shelf = Arc::new(shelf);
        Ok(Self { shelf, ports })
    }

    /// The ports, in order.
    pub(crate) fn ports(&self) -> impl Iterator<Item = usize> {
        self.ports.iter().map(|(port, _)| *port)
    }

    /// Gives all batches of a port, until somebody has had enough.
    pub(crate) fn each(
        &self,
        spec: &StepSpec,
        port: usize,
        take: &mut dyn FnMut(RecordBatch) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let Some(at) = self.ports.iter().position(|(p, _)| *p == port) else {
            return Ok(());
        };
        let shape = &self.ports[at].1;
        let rows = spec.batch_rows;
        let reader = BucketReader::new(&self.shelf, at, 0..1, shape, Order::Buckets, rows);
        for batch in reader {
            for batch in retyped(&batch?, &spec.plan.inputs[port].offered)? {
                if take(batch)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
