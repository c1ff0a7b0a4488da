//! Which columns of a table are decoded, and the stand-ins for those that are not; types as the steps see them.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use odibi_story::failure::Failure;

use crate::failure::{During, classify};

/// Puts decoded columns and stand-ins together to whole batches.
#[derive(Debug)]
pub(crate) struct Filler {
    schema: SchemaRef,
    needed: Vec<bool>,
    nulls: Vec<Option<ArrayRef>>,
}

impl Filler {
    /// Columns that may not be null are always needed, and at least one column is: it carries the row count.
    pub(crate) fn new(schema: &SchemaRef, needed: &[bool]) -> Self {
        let mut needed: Vec<bool> = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, f)| needed.get(i).copied().unwrap_or(true) || !f.is_nullable())
            .collect();
        if !needed.contains(&true)
            && let Some(first) = needed.first_mut()
        {
            *first = true;
        }
        Self {
            schema: Arc::clone(schema),
            nulls: vec![None; needed.len()],
            needed,
        }
    }

    /// The whole schema.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Indices of the columns to decode, ascending.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        (0..self.needed.len()).filter(|i| self.needed[*i]).collect()
    }

    /// A batch from the decoded columns, which come in the order of [`Filler::wanted`].
    pub(crate) fn fill(
        &mut self,
        decoded: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch, Failure> {
        let mut decoded = decoded.into_iter();
        let mut columns = Vec::with_capacity(self.needed.len());
        for (i, needed) in self.needed.iter().enumerate() {
            if *needed {
                columns.extend(decoded.next());
                continue;
            }
            let kept = self.nulls[i].take().filter(|a| a.len() >= rows);
            let array =
                kept.unwrap_or_else(|| new_null_array(self.schema.field(i).data_type(), rows));
            columns.push(array.slice(0, rows));
            self.nulls[i] = Some(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| classify(&e, During::Run))
    }
}

/// The type that the steps and writers see: no views, no dictionaries, no metadata.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only views, dictionaries and what nests them change"
)]
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::List(f) => DataType::List(plain_field(f)),
        DataType::LargeList(f) => DataType::LargeList(plain_field(f)),
        DataType::ListView(f) => DataType::List(plain_field(f)),
        DataType::LargeListView(f) => DataType::LargeList(plain_field(f)),
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(plain_field(f), *n),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(plain_field).collect::<Fields>())
        }
        DataType::Map(f, sorted) => DataType::Map(plain_field(f), *sorted),
        other => other.clone(),
    }
}

fn plain_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(Field::new(
        field.name(),
        plain_type(field.data_type()),
        field.is_nullable(),
    ))
}

/// The schema that the steps and writers see.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(plain_field).collect::<Fields>(),
    ))
}

/// Casts a column to its plain type, if it is not of it.
pub(crate) fn to_plain(
    array: &ArrayRef,
    wanted: &DataType,
    during: During<'_>,
) -> Result<ArrayRef, Failure> {
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    arrow_cast::cast(array, wanted).map_err(|e| classify(&e, during))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use arrow_array::{Array, Int64Array};

    use super::*;

    #[test]
    fn unneeded_columns_come_as_nulls_and_needed_ones_in_place() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8, true),
            Field::new("b", DataType::Int64, true),
            Field::new("c", DataType::Int64, false),
        ]));
        let mut filler = Filler::new(&schema, &[false, true, false]);
        assert_eq!(filler.wanted(), [1, 2], "c may not be null");
        for rows in [2, 3, 1] {
            let column =
                |from: i64| Arc::new(Int64Array::from_iter_values(from..from + rows)) as ArrayRef;
            let batch = filler
                .fill(vec![column(0), column(10)], usize::try_from(rows).unwrap())
                .unwrap();
            assert_eq!(batch.column(0).null_count(), batch.num_rows());
            assert_eq!(
                (batch.column(1), batch.column(2)),
                (&column(0), &column(10))
            );
        }
    }

    #[test]
    fn a_batch_without_needed_columns_still_counts_its_rows() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
        assert_eq!(Filler::new(&schema, &[false]).wanted(), [0]);
    }

    #[test]
    fn views_and_dictionaries_become_plain_at_every_depth() {
        let item = |t: DataType| Arc::new(Field::new("item", t, true));
        let dictionary =
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8View));
        assert_eq!(
            plain_type(&DataType::List(item(dictionary))),
            DataType::List(item(DataType::Utf8))
        );
    }
}
