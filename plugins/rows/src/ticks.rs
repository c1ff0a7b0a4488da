//! Timestamps of any unit as whole numbers, and back.

use arrow_array::types::{
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use odibi_sdk::arrow::schema::TimeUnit;
use odibi_sdk::prelude::*;

/// How many of this unit make a second.
pub(crate) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Unit and zone of a timestamp column.
///
/// # Errors
/// `unknown-column`, `wrong-type`.
pub(crate) fn unit_of(
    pointer: &str,
    name: &str,
    schema: &Schema,
) -> Result<(TimeUnit, Option<Arc<str>>)> {
    let field = schema.field(find(pointer, name, schema)?);
    if let DataType::Timestamp(unit, zone) = field.data_type() {
        return Ok((*unit, zone.clone()));
    }
    let message = format!(
        "column `{name}` must be a timestamp, is: {}",
        field.data_type()
    );
    Err(Failure::param(pointer, message)
        .code("wrong-type")
        .hint("cast it before, for example with `cast_columns`"))
}

/// The numbers inside a timestamp column.
///
/// # Errors
/// It is none.
pub(crate) fn of(array: &ArrayRef) -> Result<(Int64Array, TimeUnit)> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Err(Failure::internal(format!(
            "planned a timestamp, was sent: {}",
            array.data_type()
        )));
    };
    let ticks = match unit {
        TimeUnit::Second => array
            .as_primitive::<TimestampSecondType>()
            .reinterpret_cast::<Int64Type>(),
        TimeUnit::Millisecond => array
            .as_primitive::<TimestampMillisecondType>()
            .reinterpret_cast(),
        TimeUnit::Microsecond => array
            .as_primitive::<TimestampMicrosecondType>()
            .reinterpret_cast(),
        TimeUnit::Nanosecond => array
            .as_primitive::<TimestampNanosecondType>()
            .reinterpret_cast(),
    };
    Ok((ticks, *unit))
}

/// A timestamp column of these numbers.
pub(crate) fn back(ticks: &Int64Array, unit: TimeUnit, zone: Option<Arc<str>>) -> ArrayRef {
    match unit {
        TimeUnit::Second => Arc::new(
            ticks
                .reinterpret_cast::<TimestampSecondType>()
                .with_timezone_opt(zone),
        ),
        TimeUnit::Millisecond => Arc::new(
            ticks
                .reinterpret_cast::<TimestampMillisecondType>()
                .with_timezone_opt(zone),
        ),
        TimeUnit::Microsecond => Arc::new(
            ticks
                .reinterpret_cast::<TimestampMicrosecondType>()
                .with_timezone_opt(zone),
        ),
        TimeUnit::Nanosecond => Arc::new(
            ticks
                .reinterpret_cast::<TimestampNanosecondType>()
                .with_timezone_opt(zone),
        ),
    }
}
