//! The host's part of the contract, in small.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{Schema, SchemaRef, SortOptions};
use arrow_select::concat::concat_batches;
use arrow_select::take::{take, take_record_batch};
use serde_json::Value;

use super::Cut;
use super::compare::{project, sorted_order};
use crate::failure::Failure;
use crate::operation::{Appetite, Context};
use crate::output::{Origin, Refusal, Sink};
use crate::plan::{Feed, InputPlan, Need, Spread};
use crate::plugin::Plugin;
use crate::session::{self, NodePlan, Running};
use crate::wire::{self, Decoder, Encoder, Trust};

/// An operation planned for given params and schemas.
pub(super) struct Planned<'a> {
    plugin: &'a Plugin,
    operation: &'a str,
    params: String,
    plan: NodePlan,
    output: SchemaRef,
    offered: Vec<SchemaRef>,
}

impl<'a> Planned<'a> {
    #[track_caller]
    pub(super) fn new(
        plugin: &'a Plugin,
        operation: &'a str,
        params: &Value,
        inputs: &[RecordBatch],
    ) -> Result<Self, Failure> {
        let offered: Vec<SchemaRef> = inputs.iter().map(RecordBatch::schema).collect();
        let schemas: Vec<Vec<u8>> = offered.iter().map(|s| encode_schema(s)).collect();
        let params = params.to_string();
        let plan = session::plan(plugin, operation, &params, &schemas)?;
        assert!(
            session::plan(plugin, operation, &params, &schemas).as_ref() == Ok(&plan),
            "`{operation}` plans differently the second time"
        );
        let output = wire::decode_schema(&plan.schema)
            .unwrap_or_else(|e| panic!("`{operation}` plans no schema: {e}"));
        for passed in &plan.pass_through {
            let source = offered[passed.port].field(passed.input);
            let target = output.field(passed.output);
            assert_eq!(
                source.data_type(),
                target.data_type(),
                "`{}` changes type while passing",
                target.name()
            );
        }
        Ok(Self {
            plugin,
            operation,
            params,
            plan,
            output,
            offered,
        })
    }

    pub(super) fn spread(&self) -> Spread {
        self.plan.spread
    }

    pub(super) fn needs(&self) -> Vec<Vec<usize>> {
        (0..self.offered.len())
            .map(|port| self.need(port))
            .collect()
    }

    fn need(&self, port: usize) -> Vec<usize> {
        match &self.plan.inputs[port].need {
            Need::All => (0..self.offered[port].fields().len()).collect(),
            Need::Only(columns) => columns.clone(),
        }
    }

    /// One result for all partitions.
    #[track_caller]
    pub(super) fn run(&self, cut: Cut, inputs: &[RecordBatch]) -> Result<RecordBatch, Failure> {
        let batches = if self.plan.spread == Spread::PerBatch && cut.partitions > 1 {
            self.run_any_instance(cut, &inputs[0])?
        } else {
            let mut batches = Vec::new();
            for partition in 0..cut.partitions {
                let shares = inputs.iter().zip(&self.plan.inputs);
                let shares: Vec<RecordBatch> = shares
                    .map(|(table, input)| share(table, input, partition, cut.partitions))
                    .collect();
                batches.extend(self.run_partition(cut, partition, &shares)?);
            }
            batches
        };
        Ok(concat_batches(&self.output, &batches)
            .unwrap_or_else(|e| panic!("`{}`: {e}", self.operation)))
    }

    /// Per-batch operations see batches in any order on any instance.
    #[track_caller]
    fn run_any_instance(&self, cut: Cut, input: &RecordBatch) -> Result<Vec<RecordBatch>, Failure> {
        let mut instances = Vec::new();
        for partition in 0..cut.partitions {
            instances.push(Instance::open(self, cut, partition)?);
        }
        let batches = cut_batches(input, self.rows_max(cut));
        let mut results: Vec<Vec<RecordBatch>> = vec![Vec::new(); batches.len()];
        for (i, batch) in batches.iter().enumerate().rev() {
            let instance = &mut instances[i % cut.partitions];
            instance.process(0, batch)?;
            results[i] = std::mem::take(&mut instance.emitted);
        }
        for mut instance in instances {
            instance.drain(0)?;
            instance.finish()?;
            assert!(
                instance.emitted.is_empty(),
                "`{}` keeps rows, so it is not per batch",
                self.operation
            );
        }
        Ok(results.concat())
    }

    #[track_caller]
    fn run_partition(
        &self,
        cut: Cut,
        partition: usize,
        inputs: &[RecordBatch],
    ) -> Result<Vec<RecordBatch>, Failure> {
        let mut instance = Instance::open(self, cut, partition)?;
        for feed in [Feed::DrainedFirst, Feed::Streamed] {
            for (port, table) in inputs
                .iter()
                .enumerate()
                .filter(|(p, _)| self.plan.inputs[*p].feed == feed)
            {
                for batch in cut_batches(table, self.rows_max(cut)) {
                    if instance.process(port, &batch)? == Appetite::Enough {
                        break;
                    }
                }
                instance.drain(port)?;
            }
        }
        instance.finish()?;
        Ok(instance.emitted)
    }

    fn rows_max(&self, cut: Cut) -> usize {
        cut.batch_rows_max
            .min(
                self.plan
                    .batch_rows
                    .map_or(usize::MAX, |rows| rows as usize),
            )
            .max(1)
    }
}

/// One open session and what it emitted.
struct Instance<'a> {
    planned: &'a Planned<'a>,
    running: Running,
    encoders: Vec<Encoder>,
    gate: Gate,
    emitted: Vec<RecordBatch>,
}

/// Turns emitted bytes into whole batches, and believes nothing.
struct Gate {
    whole: Decoder,
    computed: Decoder,
}

impl<'a> Instance<'a> {
    #[track_caller]
    fn open(planned: &'a Planned<'a>, cut: Cut, partition: usize) -> Result<Self, Failure> {
        let sent: Vec<Schema> = (0..planned.offered.len())
            .map(|port| planned.offered[port].project(&planned.need(port)))
            .collect::<Result<_, _>>()
            .unwrap_or_else(|e| panic!("`{}` needs a missing column: {e}", planned.operation));
        let schemas: Vec<Vec<u8>> = sent.iter().map(encode_schema).collect();
        let context = Context {
            run_id: "harness".into(),
            pipeline: "harness".into(),
            node: planned.operation.into(),
            partition: u32::try_from(partition).unwrap_or(u32::MAX),
            partitions: u32::try_from(cut.partitions).unwrap_or(u32::MAX),
            attempt: 1,
        };
        let state = &planned.plan.state;
        let running = Running::open(
            planned.plugin,
            context,
            planned.operation,
            &planned.params,
            state,
            &schemas,
        )?;
        let encoders = sent
            .iter()
            .map(|s| Encoder::new(s).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        Ok(Self {
            planned,
            running,
            encoders,
            gate: Gate::new(planned),
            emitted: Vec::new(),
        })
    }

    #[track_caller]
    fn process(&mut self, port: usize, batch: &RecordBatch) -> Result<Appetite, Failure> {
        let sent = project(batch, &self.planned.need(port));
        let parts = self.encoders[port]
            .encode(&sent)
            .unwrap_or_else(|e| panic!("input cannot be encoded: {e}"));
        let mut sink = HostSink {
            planned: self.planned,
            gate: &mut self.gate,
            emitted: &mut self.emitted,
            input: Some((port, batch)),
        };
        self.running.process(
            u32::try_from(port).unwrap_or(u32::MAX),
            parts.concat(),
            &mut sink,
        )
    }

    fn drain(&mut self, port: usize) -> Result<(), Failure> {
        let mut sink = HostSink {
            planned: self.planned,
            gate: &mut self.gate,
            emitted: &mut self.emitted,
            input: None,
        };
        self.running
            .drain(u32::try_from(port).unwrap_or(u32::MAX), &mut sink)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let mut sink = HostSink {
            planned: self.planned,
            gate: &mut self.gate,
            emitted: &mut self.emitted,
            input: None,
        };
        self.running.finish(&mut sink).map(|_note| ())
    }
}

impl Gate {
    fn new(planned: &Planned<'_>) -> Self {
        let passed = |i: &usize| planned.plan.pass_through.iter().any(|p| p.output == *i);
        let computed: Vec<usize> = (0..planned.output.fields().len())
            .filter(|i| !passed(i))
            .collect();
        let computed = planned
            .output
            .project(&computed)
            .unwrap_or_else(|e| panic!("{e}"));
        // Once through the wire: that is how fields get the dictionary ids of what is sent.
        let computed =
            wire::decode_schema(&encode_schema(&computed)).unwrap_or_else(|e| panic!("{e}"));
        let whole = Decoder::new(Arc::clone(&planned.output), Trust::Nobody);
        Self {
            whole,
            computed: Decoder::new(computed, Trust::Nobody),
        }
    }
}

struct HostSink<'a> {
    planned: &'a Planned<'a>,
    gate: &'a mut Gate,
    emitted: &'a mut Vec<RecordBatch>,
    input: Option<(usize, &'a RecordBatch)>,
}

impl Sink for HostSink<'_> {
    fn emit(&mut self, port: u32, parts: &[&[u8]], origin: Origin<'_>) -> Result<(), Refusal> {
        assert_eq!(port, 0, "there is one output port");
        let name = self.planned.operation;
        let wrong = |e| panic!("`{name}` emits a batch that does not match its plan: {e}");
        let batch = match origin {
            Origin::Fresh => self.gate.whole.decode(parts.concat()).unwrap_or_else(wrong),
            Origin::SameRows => self.attach(parts, None),
            Origin::Picked(rows) => self.attach(parts, Some(&UInt32Array::from(rows.to_vec()))),
            Origin::Kept(bitmap) => {
                let rows = self.input.map_or(0, |(_, input)| input.num_rows());
                let kept = kept_rows(bitmap, rows);
                let kept = kept.unwrap_or_else(|why| panic!("`{name}` keeps rows by {why}"));
                self.attach(parts, Some(&kept))
            }
        };
        self.emitted.push(batch);
        Ok(())
    }
}

impl HostSink<'_> {
    fn attach(&mut self, parts: &[&[u8]], picked: Option<&UInt32Array>) -> RecordBatch {
        let name = self.planned.operation;
        let Some((at, input)) = self.input else {
            panic!("`{name}` emits rows of a batch while there is none")
        };
        let rows = picked.map_or(input.num_rows(), arrow_array::Array::len);
        let computed: Vec<ArrayRef> = if self.gate.computed.schema().fields().is_empty() {
            assert!(
                parts.is_empty(),
                "`{name}` emits bytes although every column passes through"
            );
            Vec::new()
        } else {
            let batch = self.gate.computed.decode(parts.concat());
            let batch = batch.unwrap_or_else(|e| {
                panic!("`{name}` emits a batch that does not match its plan: {e}")
            });
            assert_eq!(
                batch.num_rows(),
                rows,
                "`{name}` emits another number of rows than it says"
            );
            batch.columns().to_vec()
        };
        let mut computed = computed.into_iter();
        let columns = (0..self.planned.output.fields().len()).map(|output| {
            let passed = self
                .planned
                .plan
                .pass_through
                .iter()
                .find(|p| p.output == output);
            match passed {
                None => computed
                    .next()
                    .unwrap_or_else(|| panic!("`{name}` emits too few columns")),
                Some(passed) => {
                    assert_eq!(
                        passed.port, at,
                        "`{name}` passes a column of a port that is not being processed"
                    );
                    let column = input.column(passed.input);
                    picked.map_or_else(
                        || Arc::clone(column),
                        |rows| take(column, rows, None).unwrap_or_else(|e| panic!("{e}")),
                    )
                }
            }
        });
        let columns: Vec<ArrayRef> = columns.collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.planned.output), columns, &options)
            .unwrap_or_else(|e| panic!("`{name}` breaks its own schema: {e}"))
    }
}

/// The rows whose bit is set, or what is wrong with the bitmap.
fn kept_rows(bitmap: &[u8], rows: usize) -> Result<UInt32Array, String> {
    if bitmap.len() != rows.div_ceil(8) {
        let length = bitmap.len();
        return Err(format!("{length} bytes of bits for a batch of {rows} rows"));
    }
    let bits = BooleanBuffer::new(bitmap.into(), 0, bitmap.len() * 8);
    let kept: UInt32Array = bits.set_indices_u32().collect();
    match kept.values().last() {
        Some(last) if *last as usize >= rows => Err(format!("a bit past the last of {rows} rows")),
        _ => Ok(kept),
    }
}

/// The rows of one partition, in the order that the plan asks for.
///
/// Without `partition_by`, a streamed table is dealt out row by row, and one that is drained first goes to everybody.
fn share(
    table: &RecordBatch,
    input: &InputPlan,
    partition: usize,
    partitions: usize,
) -> RecordBatch {
    let everybody =
        partitions == 1 || (input.partition_by.is_empty() && input.feed == Feed::DrainedFirst);
    let mine = if everybody {
        table.clone()
    } else {
        let owners = owners(table, &input.partition_by, partitions);
        let rows = owners
            .iter()
            .enumerate()
            .filter(|(_, owner)| **owner == partition);
        let rows: UInt32Array = rows
            .map(|(row, _)| u32::try_from(row).unwrap_or(u32::MAX))
            .collect();
        take_record_batch(table, &rows).unwrap_or_else(|e| panic!("{e}"))
    };
    if input.sorted_by.is_empty() {
        return mine;
    }
    let keys: Vec<ArrayRef> = input
        .sorted_by
        .iter()
        .map(|k| Arc::clone(mine.column(k.column)))
        .collect();
    let fields = input.sorted_by.iter().zip(&keys).map(|(key, column)| {
        let options = SortOptions {
            descending: key.descending,
            nulls_first: key.nulls_first,
        };
        SortField::new_with_options(column.data_type().clone(), options)
    });
    let order = sorted_order(fields.collect(), &keys, mine.num_rows());
    take_record_batch(&mine, &order).unwrap_or_else(|e| panic!("{e}"))
}

fn owners(table: &RecordBatch, partition_by: &[usize], partitions: usize) -> Vec<usize> {
    if partition_by.is_empty() {
        return (0..table.num_rows()).map(|row| row % partitions).collect();
    }
    let keys: Vec<ArrayRef> = partition_by
        .iter()
        .map(|c| Arc::clone(table.column(*c)))
        .collect();
    let fields = keys
        .iter()
        .map(|k| SortField::new(k.data_type().clone()))
        .collect();
    let rows = RowConverter::new(fields).and_then(|c| c.convert_columns(&keys));
    let rows = rows.unwrap_or_else(|e| panic!("columns cannot be partitioned by: {e}"));
    let owner = |row: arrow_row::Row<'_>| {
        let mut hasher = DefaultHasher::new();
        row.as_ref().hash(&mut hasher);
        usize::try_from(hasher.finish() % partitions as u64).unwrap_or(0)
    };
    rows.iter().map(owner).collect()
}

fn cut_batches(table: &RecordBatch, rows_max: usize) -> Vec<RecordBatch> {
    let starts = (0..table.num_rows()).step_by(rows_max);
    starts
        .map(|start| table.slice(start, rows_max.min(table.num_rows() - start)))
        .collect()
}

#[track_caller]
fn encode_schema(schema: &Schema) -> Vec<u8> {
    wire::encode_schema(schema).unwrap_or_else(|e| panic!("schema cannot be encoded: {e}"))
}
