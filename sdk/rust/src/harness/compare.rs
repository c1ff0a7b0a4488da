//! Are two results the same?

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use arrow_select::take::take_record_batch;

/// Sums in another order differ in the last bits.
const FLOAT_RELATIVE_ERROR_MAX: f64 = 1e-9;

/// Panics when schemas or rows differ; without `ordered`, rows are brought into one order first.
#[track_caller]
pub(super) fn assert_same(expect: &RecordBatch, got: &RecordBatch, ordered: bool, what: &str) {
    assert_eq!(
        expect.schema(),
        got.schema(),
        "{what}: the schema depends on the cut"
    );
    assert_eq!(
        expect.num_rows(),
        got.num_rows(),
        "{what}: the number of rows depends on the cut"
    );
    let (expect, got) = if ordered {
        (expect.clone(), got.clone())
    } else {
        (sorted(expect), sorted(got))
    };
    for ((field, left), right) in expect
        .schema()
        .fields()
        .iter()
        .zip(expect.columns())
        .zip(got.columns())
    {
        let first = (0..left.len()).find(|row| !same_value(left, right, *row));
        if let Some(row) = first {
            let show = |array: &ArrayRef| format!("{:?}", array.slice(row, 1));
            panic!(
                "{what}: column `{}` differs in row {row}: {} / {}",
                field.name(),
                show(left),
                show(right)
            );
        }
    }
}

fn same_value(left: &ArrayRef, right: &ArrayRef, row: usize) -> bool {
    if left.slice(row, 1).to_data() == right.slice(row, 1).to_data() {
        return true;
    }
    match (float_at(left, row), float_at(right, row)) {
        (Some(a), Some(b)) => {
            (a.is_nan() && b.is_nan())
                || (a - b).abs() <= FLOAT_RELATIVE_ERROR_MAX * a.abs().max(b.abs())
        }
        _ => false,
    }
}

fn float_at(array: &ArrayRef, row: usize) -> Option<f64> {
    if array.is_null(row) {
        return None;
    }
    if let Some(array) = array.as_primitive_opt::<Float64Type>() {
        return Some(array.value(row));
    }
    array
        .as_primitive_opt::<Float32Type>()
        .map(|array| f64::from(array.value(row)))
}

/// All columns are sort keys; floats are rounded for the purpose, or nearly equal ones would change places.
fn sorted(batch: &RecordBatch) -> RecordBatch {
    let keys: Vec<ArrayRef> = batch.columns().iter().map(rounded).collect();
    let fields = keys
        .iter()
        .map(|k| SortField::new(k.data_type().clone()))
        .collect();
    let order = sorted_order(fields, &keys, batch.num_rows());
    take_record_batch(batch, &order).unwrap_or_else(|e| panic!("rows cannot be taken: {e}"))
}

fn rounded(column: &ArrayRef) -> ArrayRef {
    if *column.data_type() != DataType::Float64 {
        return Arc::clone(column);
    }
    let rounded: Float64Array = column
        .as_primitive::<Float64Type>()
        .unary(|v| format!("{v:.8e}").parse().unwrap_or(v));
    Arc::new(rounded)
}

/// Row numbers in the order of the keys; equal rows stay as they are.
#[track_caller]
pub(super) fn sorted_order(fields: Vec<SortField>, keys: &[ArrayRef], rows: usize) -> UInt32Array {
    let mut order: Vec<u32> =
        (0..u32::try_from(rows).unwrap_or_else(|e| panic!("too many rows: {e}"))).collect();
    if !keys.is_empty() {
        let converter = RowConverter::new(fields);
        let encoded = converter.and_then(|c| c.convert_columns(keys));
        let encoded = encoded.unwrap_or_else(|e| panic!("columns cannot be sorted: {e}"));
        order.sort_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)));
    }
    UInt32Array::from(order)
}

/// A batch of some columns, in the given order; it keeps its rows even without columns.
#[track_caller]
pub(super) fn project(batch: &RecordBatch, columns: &[usize]) -> RecordBatch {
    let schema = batch
        .schema()
        .project(columns)
        .unwrap_or_else(|e| panic!("the plan needs a missing column: {e}"));
    let arrays = columns
        .iter()
        .map(|c| Arc::clone(batch.column(*c)))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
        .unwrap_or_else(|e| panic!("columns cannot be chosen: {e}"))
}
