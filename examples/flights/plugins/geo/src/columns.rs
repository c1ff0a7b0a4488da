//! Reading columns of the types that a host may send for a text or a number.

use odibi_sdk::arrow::array::Float64Array;
use odibi_sdk::arrow::array::cast::AsArray;
use odibi_sdk::arrow::array::types::{Float64Type, Int64Type};
use odibi_sdk::prelude::*;

/// Fails when the column `name` does not hold texts; `pointer` is the param that names it.
pub(crate) fn must_be_text(pointer: &str, name: &str, schema: &Schema) -> Result<usize> {
    must_be(
        pointer,
        name,
        schema,
        &[DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View],
        "texts",
    )
}

/// Fails when the column `name` does not hold numbers; `pointer` is the param that names it.
pub(crate) fn must_be_number(pointer: &str, name: &str, schema: &Schema) -> Result<usize> {
    must_be(
        pointer,
        name,
        schema,
        &[DataType::Float64, DataType::Int64],
        "numbers",
    )
}

fn must_be(
    pointer: &str,
    name: &str,
    schema: &Schema,
    types: &[DataType],
    what: &str,
) -> Result<usize> {
    let index = find(pointer, name, schema)?;
    let found = schema.field(index).data_type();
    if types.contains(found) {
        return Ok(index);
    }
    Err(Failure::param(
        pointer,
        format!("column `{name}` must hold {what}, is: {found}"),
    )
    .code("wrong-type"))
}

/// The texts of a column that [`must_be_text`] accepted.
pub(crate) fn texts(array: &dyn Array) -> Result<Box<dyn Iterator<Item = Option<&str>> + '_>> {
    if let Some(array) = array.as_string_opt::<i32>() {
        return Ok(Box::new(array.iter()));
    }
    if let Some(array) = array.as_string_opt::<i64>() {
        return Ok(Box::new(array.iter()));
    }
    let views = array
        .as_string_view_opt()
        .ok_or_else(|| unplanned(array, "texts"))?;
    Ok(Box::new(views.iter()))
}

/// The numbers of a column that [`must_be_number`] accepted.
pub(crate) fn numbers(array: &dyn Array) -> Result<Float64Array> {
    if let Some(integers) = array.as_primitive_opt::<Int64Type>() {
        #[expect(clippy::cast_precision_loss, reason = "degrees are far below 2^53")]
        return Ok(integers.unary(|n| n as f64));
    }
    array
        .as_primitive_opt::<Float64Type>()
        .cloned()
        .ok_or_else(|| unplanned(array, "numbers"))
}

fn unplanned(array: &dyn Array, what: &str) -> Failure {
    Failure::internal(format!(
        "planned were {what}, sent were: {}",
        array.data_type()
    ))
}
