//! Dates and times that ISO 8601 can write: the years 0 to 9999. Arrow's own JSON writer would put an error text in
//! the place of any other.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use odibi_story::failure::{Failure, FailureClass, code};

/// 0000-01-01 in days since 1970.
const FIRST_DAY: i64 = -719_528;
/// 9999-12-31 in days since 1970.
const LAST_DAY: i64 = 2_932_896;
const DAY_SECONDS: i64 = 86_400;

/// Refuses a batch that holds a date or time that cannot be written.
pub(crate) fn check_times(batch: &RecordBatch, shown: &str) -> Result<(), Failure> {
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !writable(column) {
            let message = format!(
                "cannot write `{shown}`: column `{}` holds a date or time out of range",
                field.name()
            );
            return Err(
                Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message).hint(
                    "dates are written for the years 0 to 9999; write Parquet to keep others",
                ),
            );
        }
    }
    Ok(())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all other types have a text form for every value"
)]
fn writable(array: &ArrayRef) -> bool {
    let days = |per_day: i64| (FIRST_DAY * per_day, (LAST_DAY + 1) * per_day - 1);
    match array.data_type() {
        DataType::Date32 => within::<Date32Type>(array, days(1)),
        DataType::Date64 => within::<Date64Type>(array, days(DAY_SECONDS * 1_000)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            within::<TimestampSecondType>(array, days(DAY_SECONDS))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            within::<TimestampMillisecondType>(array, days(DAY_SECONDS * 1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            within::<TimestampMicrosecondType>(array, days(DAY_SECONDS * 1_000_000))
        }
        DataType::Time32(TimeUnit::Second) => {
            within::<Time32SecondType>(array, (0, DAY_SECONDS - 1))
        }
        DataType::Time32(_) => within::<Time32MillisecondType>(array, (0, DAY_SECONDS * 1_000 - 1)),
        DataType::Time64(TimeUnit::Microsecond) => {
            within::<Time64MicrosecondType>(array, (0, DAY_SECONDS * 1_000_000 - 1))
        }
        DataType::Time64(_) => {
            within::<Time64NanosecondType>(array, (0, DAY_SECONDS * 1_000_000_000 - 1))
        }
        DataType::List(_) => writable(array.as_list::<i32>().values()),
        DataType::LargeList(_) => writable(array.as_list::<i64>().values()),
        DataType::FixedSizeList(_, _) => writable(array.as_fixed_size_list().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().all(writable),
        DataType::Map(_, _) => array.as_map().entries().columns().iter().all(writable),
        // Nanoseconds of 64 bits stay between 1677 and 2262.
        _ => true,
    }
}

fn within<T: ArrowPrimitiveType>(array: &ArrayRef, (first, last): (i64, i64)) -> bool
where
    T::Native: Into<i64>,
{
    array
        .as_primitive::<T>()
        .iter()
        .flatten()
        .map(Into::into)
        .all(|v: i64| (first..=last).contains(&v))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Date32Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn only_the_years_0_to_9999_are_written() {
        let dates = |days: &[i32]| -> ArrayRef { Arc::new(Date32Array::from(days.to_vec())) };
        assert!(writable(&dates(&[-719_528, 0, 2_932_896])));
        assert!(!writable(&dates(&[-719_529])));
        assert!(!writable(&dates(&[2_932_897])));
        let times = |micros: Option<i64>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![micros]))
        };
        assert!(writable(&times(Some(253_402_300_799_999_999))));
        assert!(!writable(&times(Some(253_402_300_800_000_000))));
        assert!(!writable(&times(Some(i64::MIN))));
        assert!(writable(&times(None)));
    }
}
