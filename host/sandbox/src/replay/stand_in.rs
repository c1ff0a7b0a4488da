//! Stand-ins for the columns that never entered the sandbox, and what they cost: rows of them take no bytes in a capsule.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, StructArray, make_array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field};

use crate::exchange::layout;

/// About what a column costs however short it is.
const COLUMN_BYTES: u64 = 256;

/// At least the bytes of a stand-in of so many rows, to be asked before one is made.
pub(super) fn stand_in_bytes(data_type: &DataType, rows: u64) -> u64 {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other types hold no values that grow with the rows"
    )]
    let values = match data_type {
        DataType::Null => 0,
        DataType::Struct(fields) => fields.iter().fold(0, |sum: u64, field| {
            sum.saturating_add(stand_in_bytes(field.data_type(), rows))
        }),
        DataType::FixedSizeList(child, size) => {
            let size = u64::try_from(*size).unwrap_or(u64::MAX);
            stand_in_bytes(child.data_type(), rows.saturating_mul(size))
        }
        DataType::Dictionary(key, value) => {
            stand_in_bytes(key, rows).saturating_add(stand_in_bytes(value, 1))
        }
        // Offsets take 4 or 8 bytes, views 16.
        other => layout::bits(other).map_or(rows.saturating_mul(16), |bits| {
            rows.saturating_mul(bits.div_ceil(8))
        }),
    };
    // Nulls are a bit each; of a column of nulls too, so that no product of sizes is left uncounted.
    values
        .saturating_add(rows.div_ceil(8))
        .saturating_add(COLUMN_BYTES)
}

/// A column whose values do not matter: nulls, or where none may be, whatever is all zeros.
pub(super) fn stand_in(field: &Field, rows: usize) -> Result<ArrayRef, ArrowError> {
    if field.is_nullable() {
        return Ok(new_null_array(field.data_type(), rows));
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other types hold no values that could be null"
    )]
    match field.data_type() {
        DataType::Struct(fields) if !fields.is_empty() => {
            let children = fields.iter().map(|f| stand_in(f, rows));
            let children = children.collect::<Result<_, _>>()?;
            Ok(Arc::new(StructArray::try_new(
                fields.clone(),
                children,
                None,
            )?))
        }
        DataType::FixedSizeList(child, size) => {
            let values = stand_in(child, rows * usize::try_from(*size).unwrap_or(0))?;
            let list = FixedSizeListArray::try_new(Arc::clone(child), *size, values, None)?;
            Ok(Arc::new(list))
        }
        DataType::Dictionary(key, value) => {
            let value = stand_in(&Field::new("", value.as_ref().clone(), false), 1)?;
            let keys = stand_in(&Field::new("", key.as_ref().clone(), false), rows)?;
            let data = keys.to_data().into_builder();
            let data = data
                .data_type(field.data_type().clone())
                .child_data(vec![value.to_data()]);
            Ok(make_array(data.build()?))
        }
        other => {
            let nulls = new_null_array(other, rows).to_data();
            Ok(make_array(nulls.into_builder().nulls(None).build()?))
        }
    }
}
