//! What is kept of the rows of a port: the columns that anybody needs, in types that can be put together.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use odibi_story::failure::Failure;

use crate::failure::{During, classify, internal};
use crate::read::columns::{Filler, plain_schema, to_plain};

/// How the batches of a port are kept.
#[derive(Debug)]
pub(crate) struct Shape {
    /// All columns of the port, without dictionaries: those of several batches may not fit into one.
    plain: SchemaRef,
    needed: Vec<bool>,
    /// Indices of what is kept.
    kept: Vec<usize>,
    stored: SchemaRef,
}

impl Shape {
    /// Of a port whose `needed` columns are kept; those behind them, which the host has added, always are.
    pub(crate) fn new(input: &SchemaRef, needed: &[bool]) -> Result<Self, Failure> {
        let plain = plain_schema(input);
        let mut needed = needed.to_vec();
        needed.resize(plain.fields().len(), true);
        let kept = Filler::new(&plain, &needed).wanted();
        let stored = plain
            .project(&kept)
            .map_err(|e| classify(&e, During::Run))?;
        Ok(Self {
            plain,
            needed,
            kept,
            stored: Arc::new(stored),
        })
    }

    /// All columns of the port.
    pub(crate) fn plain(&self) -> &SchemaRef {
        &self.plain
    }

    /// The columns that are kept.
    pub(crate) fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    /// Where columns of the port stand among those that are kept.
    pub(crate) fn places(&self, columns: &[usize]) -> Result<Vec<usize>, Failure> {
        let place = |column| self.kept.iter().position(|kept| kept == column);
        let places: Option<Vec<usize>> = columns.iter().map(place).collect();
        places.ok_or_else(|| internal("a column that a step needs is not kept"))
    }

    /// A batch of the port as it is kept.
    pub(crate) fn store(&self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        let columns = self.kept.iter().zip(self.stored.fields());
        let columns = columns
            .map(|(at, field)| to_plain(batch.column(*at), field.data_type(), During::Run))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.stored), columns, &options)
            .map_err(|e| classify(&e, During::Run))
    }

    /// Puts stand-ins where columns were not kept.
    pub(crate) fn filler(&self) -> Filler {
        Filler::new(&self.plain, &self.needed)
    }
}

/// A batch with the first columns of `batch` under another schema, cast where its types say so. Dictionaries whose keys
/// cannot count the values of so many rows are cut.
pub(crate) fn retyped(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>, Failure> {
    let columns: Result<Vec<_>, _> = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
        .collect();
    let rows = batch.num_rows();
    match columns {
        Ok(columns) => {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
                .map(|batch| vec![batch])
                .map_err(|e| classify(&e, During::Run))
        }
        Err(error) if rows < 2 => Err(classify(&error, During::Run)),
        Err(_) => {
            let half = rows / 2;
            let mut halves = retyped(&batch.slice(0, half), schema)?;
            halves.extend(retyped(&batch.slice(half, rows - half), schema)?);
            Ok(halves)
        }
    }
}

/// Does a column hold dictionaries, at any depth? Then batches are not put together.
pub(crate) fn has_dictionaries(schema: &Schema) -> bool {
    let plain = plain_schema(schema);
    let mut pairs = plain.fields().iter().zip(schema.fields());
    pairs.any(|(plain, field)| plain.data_type() != field.data_type())
}
