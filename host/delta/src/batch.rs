//! The batch as a table of DataFusion, and its keys: no nulls where none may be, no key twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Column;
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt as _, lit};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{DataFrame, SessionContext};
use odibi_engine::driver::DriverRows;
use odibi_plan::plan::{DuplicateKeys, Keys, NullKeys};
use odibi_story::failure::{Failure, FailureClass, FailureCode, code};

use crate::columns::{cast, no_column};
use crate::failure::{During, classify, internal};

/// Number of a row, where its order decides.
const ORDINAL: &str = "__odibi_ordinal";
/// Number of a row among those with its key.
const RANK: &str = "__odibi_rank";
/// Batches read ahead.
const QUEUE_BATCHES: usize = 2;

/// A column by its name, whatever characters it has.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// Arrow bytes of a batch, known once it was read to its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured(Arc<AtomicU64>);

impl Measured {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, bytes: u64) {
        self.0.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// Arrow bytes of these rows alone, whatever their buffers hold besides.
pub(crate) fn bytes_of(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
    bytes.sum::<usize>() as u64
}

/// A batch on its way into a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) rows: &'a Arc<dyn DriverRows>,
    /// Its columns in the types of the table.
    pub(crate) schema: &'a SchemaRef,
    /// Columns that the table is partitioned by.
    pub(crate) partitions: &'a [String],
    /// The table, as messages show it.
    pub(crate) shown: &'a str,
    /// Told when it was read.
    pub(crate) measured: &'a Measured,
}

/// The batch in the columns of its schema.
pub(crate) fn frame(
    context: &SessionContext,
    incoming: Incoming<'_>,
) -> Result<DataFrame, DataFusionError> {
    read(context, incoming, false)
}

fn read(context: &SessionContext, incoming: Incoming<'_>, numbered: bool) -> PlanResult<DataFrame> {
    let Incoming { rows, schema, .. } = incoming;
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    if numbered {
        fields.push(Field::new(ORDINAL, DataType::UInt64, false));
    }
    let shown = Arc::new(Schema::new(fields));
    let stream = Stream {
        rows: Arc::clone(rows),
        wanted: Arc::clone(schema),
        shown: Arc::clone(&shown),
        partitions: incoming.partitions.to_vec(),
        measured: incoming.measured.clone(),
        numbered,
    };
    let table = StreamingTable::try_new(shown, vec![Arc::new(stream)])?;
    context.read_table(Arc::new(table))
}

/// Reads the rows anew each time.
struct Stream {
    rows: Arc<dyn DriverRows>,
    wanted: SchemaRef,
    shown: SchemaRef,
    partitions: Vec<String>,
    measured: Measured,
    numbered: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch")
    }
}

impl PartitionStream for Stream {
    fn schema(&self) -> &SchemaRef {
        &self.shown
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.shown), QUEUE_BATCHES);
        let send = stream.tx();
        let (rows, wanted, shown) = (
            Arc::clone(&self.rows),
            Arc::clone(&self.wanted),
            Arc::clone(&self.shown),
        );
        let (numbered, partitions) = (self.numbered, self.partitions.clone());
        let measured = self.measured.clone();
        stream.spawn_blocking(move || {
            let carried = |failure: Failure| DataFusionError::External(Box::new(failure));
            let mut batches = rows.scan().map_err(carried)?;
            let (mut ordinal, mut bytes) = (0_u64, 0);
            while let Some(batch) = batches.next().map_err(carried)? {
                let mut batch = cast(&batch, &wanted).map_err(carried)?;
                no_empty_partition(&batch, &partitions).map_err(carried)?;
                bytes += bytes_of(&batch);
                if numbered {
                    let end = ordinal + batch.num_rows() as u64;
                    let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(ordinal..end));
                    let mut columns = batch.columns().to_vec();
                    columns.push(numbers);
                    batch = RecordBatch::try_new(Arc::clone(&shown), columns)?;
                    ordinal = end;
                }
                if send.blocking_send(Ok(batch)).is_err() {
                    return Ok(());
                }
            }
            measured.note(bytes);
            Ok(())
        });
        stream.build()
    }
}

/// Delta takes an empty text in a partition for null.
fn no_empty_partition(batch: &RecordBatch, partitions: &[String]) -> Result<(), Failure> {
    for name in partitions {
        let texts = batch.column_by_name(name);
        let texts = texts.and_then(|column| column.as_any().downcast_ref::<StringArray>());
        if texts.is_some_and(|texts| texts.iter().flatten().any(str::is_empty)) {
            let message = format!("column `{name}` holds an empty text and is a partition");
            return Err(Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message)
                .hint("Delta takes an empty text in a partition for null: make it null, or another text"));
        }
    }
    Ok(())
}

/// What [`keyed`] has found: as a table of this schema, without partitions, the batch can be written, and has no key twice.
/// It holds for the rows that it has read, whenever they are read again.
#[derive(Debug)]
pub(crate) struct Single {
    schema: SchemaRef,
    measured: Measured,
}

impl Single {
    /// The batch as it is, when it goes into such a table.
    pub(crate) fn frame(
        &self,
        context: &SessionContext,
        incoming: Incoming<'_>,
    ) -> Option<PlanResult<DataFrame>> {
        if self.schema.fields() != incoming.schema.fields() || !incoming.partitions.is_empty() {
            return None;
        }
        incoming.measured.note(self.measured.bytes());
        Some(frame(context, incoming))
    }
}

/// Checks the keys of a batch. Returns it with one row for each key, where the YAML says which, and whether that was so
/// already.
pub(crate) async fn keyed(
    context: &SessionContext,
    incoming: Incoming<'_>,
    keys: &Keys,
) -> Result<(DataFrame, Option<Single>), Failure> {
    let Incoming { schema, shown, .. } = incoming;
    check_types(keys, schema, shown)?;
    let failed = |e: DataFusionError| classify(&e, During::Write(shown));
    let names = || keys.columns.iter().map(|k| k.name.as_str());
    let has_null = names()
        .map(|name| column(name).is_null())
        .reduce(Expr::or)
        .ok_or_else(|| internal("keys without columns were planned"))?;
    let plain = frame(context, incoming).map_err(failed)?;
    if keys.null_keys == NullKeys::Error {
        let nulls = plain.clone().filter(has_null.clone()).map_err(failed)?;
        let nulls = number(nulls).await.map_err(failed)?;
        if nulls > 0 {
            return Err(bad_keys(code::WRITE_NULL_KEY, "null", nulls, shown).hint(
                "fill or filter them before the write, or set `null_keys` to `distinct` or `equal`",
            ));
        }
    }
    let compared = match keys.null_keys {
        NullKeys::Distinct => plain.clone().filter(has_null.clone().is_false()),
        NullKeys::Error | NullKeys::Equal => Ok(plain.clone()),
    };
    let twice = compared
        .and_then(|rows| {
            let by = names().map(column).collect();
            rows.aggregate(by, vec![count(lit(1)).alias(RANK)])
        })
        .and_then(|rows| rows.filter(column(RANK).gt(lit(1_i64))));
    let twice = number(twice.map_err(failed)?).await.map_err(failed)?;
    if twice == 0 {
        let single = Single {
            schema: Arc::clone(schema),
            measured: incoming.measured.clone(),
        };
        return Ok((plain, Some(single)));
    }
    let (ascending, order_by) = match &keys.duplicate_keys {
        DuplicateKeys::Error => {
            return Err(
                bad_keys(code::WRITE_DUPLICATE_KEY, "duplicate", twice, shown).hint(
                    "remove the duplicates before the write, for example with `deduplicate`, \
                 or set `duplicate_keys` to `first` or `last`",
                ),
            );
        }
        DuplicateKeys::First(by) => (true, by),
        DuplicateKeys::Last(by) => (false, by),
    };
    if let Some(by) = order_by
        && schema.fields().find(&by.name).is_none()
    {
        return Err(no_column("order_by", &by.name, schema));
    }
    let mut order = Vec::new();
    // Null is the least value.
    order.extend(
        order_by
            .iter()
            .map(|by| column(&by.name).sort(ascending, ascending)),
    );
    order.push(column(ORDINAL).sort(ascending, ascending));
    let one_of_each = || {
        let rank = row_number()
            .partition_by(names().map(column).collect())
            .order_by(order)
            .build()?;
        let first = column(RANK).eq(lit(1_u64));
        let kept = match keys.null_keys {
            NullKeys::Distinct => first.or(has_null),
            NullKeys::Error | NullKeys::Equal => first,
        };
        read(context, incoming, true)?
            .window(vec![rank.alias(RANK)])?
            .filter(kept)?
            .sort(vec![column(ORDINAL).sort(true, true)])?
            .select(
                schema
                    .fields()
                    .iter()
                    .map(|f| column(f.name()))
                    .collect::<Vec<_>>(),
            )
    };
    Ok((one_of_each().map_err(failed)?, None))
}

/// Keys of these columns can be compared.
fn check_types(keys: &Keys, schema: &Schema, shown: &str) -> Result<(), Failure> {
    for key in &keys.columns {
        let Some((_, field)) = schema.fields().find(&key.name) else {
            return Err(no_column("keys", &key.name, schema));
        };
        let data_type = field.data_type();
        if data_type.is_floating() || data_type.is_nested() {
            let message = format!(
                "column `{}` of type {data_type} cannot be a key of `{shown}`",
                key.name
            );
            return Err(
                Failure::new(FailureClass::Data, code::WRITE_BAD_KEY, message).hint(
                    "name columns of whole numbers, text, dates or decimals, or cast it before",
                ),
            );
        }
    }
    Ok(())
}

fn bad_keys(code: FailureCode, what: &str, rows: u64, shown: &str) -> Failure {
    let keys = if rows == 1 { "key" } else { "keys" };
    Failure::new(
        FailureClass::Data,
        code,
        format!("the batch for `{shown}` has {rows} {what} {keys}"),
    )
}

/// How many rows there are.
async fn number(rows: DataFrame) -> PlanResult<u64> {
    let counted = rows.aggregate(Vec::new(), vec![count(lit(1)).alias(RANK)])?;
    let batches = counted.collect().await?;
    let first = batches.first().and_then(|batch| {
        let counts = batch.column(0).as_any();
        let counts = counts.downcast_ref::<arrow_array::Int64Array>()?;
        (!counts.is_empty()).then(|| counts.value(0))
    });
    Ok(first
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or_default())
}
