//! A Delta table as a source: the version that was asked for, the columns that are needed, one file after the other.

use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, lit};
use deltalake::kernel::transaction::PROTOCOL;
use deltalake::{DeltaTable, DeltaTableError};
use futures::StreamExt as _;
use odibi_engine::driver::{Batches, Bound, DriverTable, Lent, Place, Relation};
use odibi_plan::plan::{Read, ReadFormat};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use crate::batch::column;
use crate::failure::{During, classify, internal};
use crate::location::Location;
use crate::session::session;

#[derive(Debug)]
struct DeltaSource {
    location: Location,
    lent: Lent,
    table: DeltaTable,
    schema: SchemaRef,
    fact: FileFact,
    version: String,
}

/// Loads the version of the table that the read names.
pub(crate) fn open(
    place: Place,
    read: &Read,
    lent: &Lent,
) -> Result<Arc<dyn DriverTable>, Failure> {
    let ReadFormat::Delta(how) = &read.format else {
        return Err(internal("the driver of Delta was given another format"));
    };
    let location = Location::new(place)?;
    let handle = lent.handle.clone();
    let source = handle.block_on(async move {
        let Some(table) = location.load_at(&how.at).await? else {
            let message = format!("no Delta table at `{}`", location.shown);
            return Err(
                Failure::new(FailureClass::Missing, code::READ_MISSING, message)
                    .hint("it has no `_delta_log`: check the path, or the format"),
            );
        };
        let during = During::Read(&location.shown);
        let failed = |e: DeltaTableError| classify(&e, during);
        let state = table.snapshot().map_err(failed)?;
        PROTOCOL
            .can_read_from(state.snapshot())
            .map_err(|e| failed(e.into()))?;
        let schema = state.snapshot().arrow_schema();
        let number = state.version();
        let bytes = state.log_data().into_iter();
        let bytes = bytes
            .filter_map(|file| u64::try_from(file.size()).ok())
            .sum();
        let modified = location.commit_time(&table, number).await.ok();
        let modified = modified
            .and_then(|time| jiff::Timestamp::from_millisecond(time.timestamp_millis()).ok());
        Ok(DeltaSource {
            fact: FileFact {
                connection: location.connection.clone(),
                path: location.path.clone(),
                bytes,
                modified,
                version: Some(number.to_string()),
            },
            version: format!("delta {} {number}", state.metadata().id()),
            schema,
            table,
            lent: lent.clone(),
            location,
        })
    })?;
    Ok(Arc::new(source))
}

impl DriverTable for DeltaSource {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn facts(&self) -> Vec<FileFact> {
        vec![self.fact.clone()]
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn scan(
        &self,
        columns: &[usize],
        bounds: &[Bound],
        batch_rows: usize,
    ) -> Result<Box<dyn Batches>, Failure> {
        let shown = &self.location.shown;
        let mut lent = self.lent.clone();
        lent.batch_rows = batch_rows;
        let context = session(&lent, shown)?;
        let fields = columns
            .iter()
            .map(|i| Arc::new(self.schema.field(*i).clone()));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let names: Vec<_> = schema.fields().iter().map(|f| column(f.name())).collect();
        let stream = lent.handle.block_on(async {
            self.table.update_datafusion_session(&context.state())?;
            let provider = self.table.table_provider().await?;
            let mut rows = context.read_table(provider)?;
            for bound in bounds {
                if let Some(condition) = condition(&self.schema, bound)? {
                    rows = rows.filter(condition)?;
                }
            }
            let rows = rows.select(names)?;
            Ok::<_, DeltaTableError>(rows.execute_stream().await?)
        });
        Ok(Box::new(DeltaBatches {
            stream: stream.map_err(|e| classify(&e, During::Read(shown)))?,
            schema,
            shown: shown.clone(),
            lent,
        }))
    }
}

/// A bound as a filter, from which the scan tells the files to leave out. None of timestamps: writers cut those of the statistics of
/// a file to milliseconds.
fn condition(schema: &Schema, bound: &Bound) -> Result<Option<Expr>, DataFusionError> {
    let field = schema.field(bound.column);
    if matches!(field.data_type(), DataType::Timestamp(_, _)) {
        return Ok(None);
    }
    let literals = (0..bound.values.len()).map(|at| ScalarValue::try_from_array(&bound.values, at));
    let literals = literals
        .map(|value| Ok(lit(value?)))
        .collect::<Result<Vec<_>, DataFusionError>>()?;
    let own = column(field.name());
    Ok(match (bound.relation, &*literals) {
        (Relation::Eq, [_, _, ..]) => Some(own.in_list(literals, false)),
        (Relation::Eq, [value]) => Some(own.eq(value.clone())),
        (Relation::Lt, [value]) => Some(own.lt(value.clone())),
        (Relation::LtEq, [value]) => Some(own.lt_eq(value.clone())),
        (Relation::Gt, [value]) => Some(own.gt(value.clone())),
        (Relation::GtEq, [value]) => Some(own.gt_eq(value.clone())),
        _ => None,
    })
}

struct DeltaBatches {
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
    shown: String,
    lent: Lent,
}

impl Batches for DeltaBatches {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        let during = During::Read(&self.shown);
        let next = self.lent.handle.block_on(self.stream.next());
        let Some(batch) = next.transpose().map_err(|e| classify(&e, during))? else {
            return Ok(None);
        };
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| arrow_cast::cast(column, field.data_type()));
        let columns: Result<Vec<_>, _> = columns.collect();
        let columns = columns.map_err(|e| classify(&e, during))?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map(Some).map_err(|e| classify(&e, during))
    }
}
