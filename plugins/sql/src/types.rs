//! Types that may not cross the boundary, and what they cross as.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
};
use arrow_schema::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION,
    DECIMAL256_MAX_PRECISION, DataType, Field, Schema, SchemaRef,
};
use odibi_sdk::{Failure, Result};

use crate::fault;

/// Views become what they are views of; nothing else changes.
pub(crate) fn plain(kind: &DataType) -> DataType {
    let field = |f: &Arc<Field>| Arc::new(f.as_ref().clone().with_data_type(plain(f.data_type())));
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(f) | DataType::ListView(f) => DataType::List(field(f)),
        DataType::LargeList(f) | DataType::LargeListView(f) => DataType::LargeList(field(f)),
        DataType::FixedSizeList(f, size) => DataType::FixedSizeList(field(f), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(f, sorted) => DataType::Map(field(f), *sorted),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        other => other.clone(),
    }
}

/// The columns in the types of `planned`.
pub(crate) fn crossing(columns: &[ArrayRef], planned: &SchemaRef) -> Result<Vec<ArrayRef>> {
    let cast = |(column, field): (&ArrayRef, &Arc<Field>)| {
        if column.data_type() == field.data_type() {
            return fits(column, field).map(|()| Arc::clone(column));
        }
        Ok(arrow_cast::cast(column, field.data_type())?)
    };
    columns.iter().zip(planned.fields()).map(cast).collect()
}

/// The engine fails where a decimal does not fit into its bytes. In a type of as many digits as there can be they hold more.
fn fits(column: &ArrayRef, field: &Field) -> Result<()> {
    let fits = match column.data_type() {
        DataType::Decimal32(DECIMAL32_MAX_PRECISION, _) => in_digits::<Decimal32Type>(column),
        DataType::Decimal64(DECIMAL64_MAX_PRECISION, _) => in_digits::<Decimal64Type>(column),
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) => in_digits::<Decimal128Type>(column),
        DataType::Decimal256(DECIMAL256_MAX_PRECISION, _) => in_digits::<Decimal256Type>(column),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let (name, kind) = (field.name(), field.data_type());
    let message = format!("a value of column `{name}` does not fit into {kind}");
    Err(fault::overflow(&message))
}

fn in_digits<T: DecimalType>(column: &ArrayRef) -> bool {
    let fits = |value: T::Native| T::is_valid_decimal_precision(value, T::MAX_PRECISION);
    column.as_primitive::<T>().iter().flatten().all(fits)
}

/// What a query gives, as it crosses: without metadata, nulls allowed everywhere.
pub(crate) fn output(schema: &Schema) -> Result<Vec<Arc<Field>>> {
    let mut seen = std::collections::BTreeSet::new();
    let one = |field: &Arc<Field>| {
        if !seen.insert(field.name().clone()) {
            let message = format!("two columns of the result are called `{}`", field.name());
            let failure = Failure::param("", message).code("duplicate-column");
            return Err(failure.hint("give one of them another name with AS, or leave it out"));
        }
        if field.data_type() == &DataType::Null {
            let message = format!(
                "column `{}` of the result is null and has no type",
                field.name()
            );
            return Err(Failure::param("", message)
                .code("no-type")
                .hint("cast it: CAST(NULL AS VARCHAR)"));
        }
        Ok(Arc::new(Field::new(
            field.name(),
            plain(field.data_type()),
            true,
        )))
    };
    schema.fields().iter().map(one).collect()
}
