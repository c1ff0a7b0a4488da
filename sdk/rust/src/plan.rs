//! What an operation decides before it sees data: what it needs, in which order, and what comes out.

use arrow_schema::{FieldRef, Schema, SchemaRef};
use std::sync::Arc;

use crate::failure::{Failure, Result};

/// The answer of `plan`. Build it with [`Plan::fresh`] or from an [`Outline`](crate::Outline), then adjust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One for each port.
    pub inputs: Vec<InputPlan>,
    /// The columns that come out, in order.
    pub output: Vec<OutputColumn>,
    /// How instances may be spread.
    pub spread: Spread,
    /// Preferred upper bound of rows in a batch; the host may send fewer.
    pub batch_rows: Option<u32>,
    /// The author's own bytes, handed back in [`Start::state`](crate::Start). Keep it small.
    pub state: Vec<u8>,
}

/// A column of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputColumn {
    /// The host re-attaches its own buffers; nothing of it enters the sandbox unless it is also needed.
    Passed {
        /// As it is called in the output; type and nullability are the input's.
        field: FieldRef,
        /// Input port.
        port: usize,
        /// Index into the offered schema of that port.
        input: usize,
    },
    /// The operation makes it.
    Computed(FieldRef),
}

/// What one input asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputPlan {
    /// Columns that enter the sandbox.
    pub need: Need,
    /// When it is fed.
    pub feed: Feed,
    /// Indices into the offered schema: equal values reach the same instance.
    pub partition_by: Vec<usize>,
    /// Order of the rows inside a partition.
    pub sorted_by: Vec<SortKey>,
    /// Rows must come in the order of their source.
    pub keep_order: bool,
}

/// Columns that enter the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Need {
    /// Every one.
    #[default]
    All,
    /// Indices into the offered schema, in the order in which they are sent. With none, batches have rows but no columns.
    Only(Vec<usize>),
}

/// When an input is fed, relative to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Feed {
    /// Completely, before any streamed input.
    DrainedFirst,
    /// After the drained ones, one after the other in port order.
    #[default]
    Streamed,
}

/// One key of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// Index into the offered schema.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Nulls before values.
    pub nulls_first: bool,
}

/// How instances may be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// One instance, batches in order.
    Single,
    /// One for each partition.
    PerPartition,
    /// No state between batches: any instance for any batch; the host restores the order.
    PerBatch,
}

impl OutputColumn {
    /// Name, type and nullability.
    #[must_use]
    pub fn field(&self) -> &FieldRef {
        match self {
            Self::Passed { field, .. } | Self::Computed(field) => field,
        }
    }
}

impl SortKey {
    /// Smallest first, nulls last.
    #[must_use]
    pub fn ascending(column: usize) -> Self {
        Self {
            column,
            descending: false,
            nulls_first: false,
        }
    }

    /// Largest first, nulls last.
    #[must_use]
    pub fn descending(column: usize) -> Self {
        Self {
            column,
            descending: true,
            nulls_first: false,
        }
    }

    /// Nulls before values.
    #[must_use]
    pub fn nulls_first(mut self) -> Self {
        self.nulls_first = true;
        self
    }
}

impl InputPlan {
    /// Needs every column.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Needs these columns, in this order.
    #[must_use]
    pub fn only(columns: impl IntoIterator<Item = usize>) -> Self {
        Self {
            need: Need::Only(columns.into_iter().collect()),
            ..Self::default()
        }
    }

    /// To be fed completely before any streamed input.
    #[must_use]
    pub fn drained_first(mut self) -> Self {
        self.feed = Feed::DrainedFirst;
        self
    }

    /// Equal values of these columns (offered indices) reach the same instance.
    #[must_use]
    pub fn partition_by(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        self.partition_by = columns.into_iter().collect();
        self
    }

    /// Order of the rows inside a partition (offered indices).
    #[must_use]
    pub fn sorted_by(mut self, keys: impl IntoIterator<Item = SortKey>) -> Self {
        self.sorted_by = keys.into_iter().collect();
        self
    }

    /// Rows must come in the order of their source.
    #[must_use]
    pub fn keep_order(mut self) -> Self {
        self.keep_order = true;
        self
    }
}

impl Plan {
    /// New rows: every output column is computed. Inputs need all columns; one instance, unless an input is partitioned
    /// (then [`Spread::PerPartition`]).
    #[must_use]
    pub fn fresh(inputs: impl IntoIterator<Item = InputPlan>, output: &Schema) -> Self {
        let output = output
            .fields()
            .iter()
            .map(|f| OutputColumn::Computed(Arc::clone(f)))
            .collect();
        Self::new(inputs, output)
    }

    /// As [`Plan::fresh`], with columns that pass through as well.
    #[must_use]
    pub fn new(inputs: impl IntoIterator<Item = InputPlan>, output: Vec<OutputColumn>) -> Self {
        let inputs: Vec<InputPlan> = inputs.into_iter().collect();
        let partitioned = inputs.iter().any(|i| !i.partition_by.is_empty());
        let spread = if partitioned {
            Spread::PerPartition
        } else {
            Spread::Single
        };
        Self {
            inputs,
            output,
            spread,
            batch_rows: None,
            state: Vec::new(),
        }
    }

    /// Replaces what one port asks for. When it is partitioned, the spread becomes [`Spread::PerPartition`].
    #[must_use]
    pub fn input(mut self, port: usize, input: InputPlan) -> Self {
        if !input.partition_by.is_empty() {
            self.spread = Spread::PerPartition;
        }
        self.inputs
            .resize_with(self.inputs.len().max(port + 1), InputPlan::default);
        self.inputs[port] = input;
        self
    }

    /// Sets the spread.
    #[must_use]
    pub fn spread(mut self, spread: Spread) -> Self {
        self.spread = spread;
        self
    }

    /// Sets the preferred upper bound of rows in a batch.
    #[must_use]
    pub fn batch_rows(mut self, rows: u32) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// Sets the bytes that [`Start::state`](crate::Start) brings back.
    #[must_use]
    pub fn state(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.state = state.into();
        self
    }

    /// Schema of the whole output.
    #[must_use]
    pub fn output_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.output
                .iter()
                .map(|c| Arc::clone(c.field()))
                .collect::<Vec<_>>(),
        ))
    }

    /// Schema of the columns that the operation makes.
    #[must_use]
    pub fn computed_schema(&self) -> SchemaRef {
        let computed = self.output.iter().filter_map(|c| match c {
            OutputColumn::Computed(field) => Some(Arc::clone(field)),
            OutputColumn::Passed { .. } => None,
        });
        Arc::new(Schema::new(computed.collect::<Vec<_>>()))
    }

    /// Catches an author's slips before the host does.
    pub(crate) fn check(&self, offered: &[SchemaRef]) -> Result<()> {
        if self.inputs.len() != offered.len() {
            let message = format!(
                "the plan speaks of {} inputs, offered were: {}",
                self.inputs.len(),
                offered.len()
            );
            return Err(Failure::internal(message));
        }
        for (port, (input, schema)) in self.inputs.iter().zip(offered).enumerate() {
            let needed: &[usize] = match &input.need {
                Need::All => &[],
                Need::Only(columns) => columns,
            };
            let sorted = input.sorted_by.iter().map(|k| &k.column);
            let mut named = needed.iter().chain(&input.partition_by).chain(sorted);
            if let Some(column) = named.find(|c| **c >= schema.fields().len()) {
                return Err(Failure::internal(format!(
                    "the plan names a column that port {port} does not have: {column}"
                )));
            }
        }
        for column in &self.output {
            let OutputColumn::Passed { field, port, input } = column else {
                continue;
            };
            let source = offered.get(*port).and_then(|s| s.fields().get(*input));
            let fits = source.is_some_and(|s| {
                s.data_type() == field.data_type() && s.is_nullable() == field.is_nullable()
            });
            if !fits {
                let message = format!(
                    "column `{}` cannot pass through from port {port}, index {input}",
                    field.name()
                );
                return Err(Failure::internal(message));
            }
        }
        Ok(())
    }
}
