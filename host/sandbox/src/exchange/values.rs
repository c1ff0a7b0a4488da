//! Values that arrow's validation lets through and that would do harm later: times that no calendar holds, decimals beyond
//! their precision, nulls that hide in a dictionary, and a few bytes that stand for very many.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow_array::{
    AnyDictionaryArray, Array, ArrayRef, GenericByteArray, OffsetSizeTrait, RecordBatch,
};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use odibi_story::failure::Failure;

use super::{broken, layout};
use crate::limits::{Limits, exceeded};

const DAY_SECONDS: i64 = 86_400;
/// About 250,000 years on both sides of 1970: a little less than what arrow can cast and print.
const TIME_SECONDS_MAX: i64 = 8_000_000_000_000;

/// Checks every column of a decoded batch, whose dictionaries have been checked by [`dictionary`].
///
/// # Errors
/// `contract/ipc`, `contract/schema`, `limit/batch-output`.
pub(crate) fn check(batch: &RecordBatch, limits: &Limits) -> Result<(), Failure> {
    let mut walk = Walk {
        column: "",
        own: false,
        expanded_bytes: 0,
        limits,
    };
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        walk.column = field.name();
        walk.array(field, column.as_ref(), None)?;
    }
    Ok(())
}

/// Checks the values of a dictionary.
///
/// # Errors
/// `contract/ipc`.
pub(crate) fn dictionary(values: &ArrayRef, limits: &Limits) -> Result<(), Failure> {
    let mut walk = Walk {
        column: "of a dictionary",
        own: false,
        expanded_bytes: 0,
        limits,
    };
    walk.scalars(values.as_ref())
}

/// Counts what the host's own rows come to when each value is written out where it stands, dictionaries and views included:
/// a guest may pick a row with one large value millions of times. Returns `so_far` and that.
///
/// # Errors
/// `limit/batch-output`.
pub(crate) fn written_out(
    field: &Field,
    column: &ArrayRef,
    so_far: u64,
    limits: &Limits,
) -> Result<u64, Failure> {
    let mut walk = Walk {
        column: field.name(),
        own: true,
        expanded_bytes: so_far,
        limits,
    };
    walk.array(field, column.as_ref(), None)?;
    Ok(walk.expanded_bytes)
}

struct Walk<'a> {
    column: &'a str,
    /// The host's own values: there are nulls and times where there are.
    own: bool,
    /// Bytes of this batch if each value were written out where it stands.
    expanded_bytes: u64,
    limits: &'a Limits,
}

impl Walk<'_> {
    /// `parent` are the nulls of the struct or list of fixed size around this array: under them anything goes.
    fn array(
        &mut self,
        field: &Field,
        array: &dyn Array,
        parent: Option<&NullBuffer>,
    ) -> Result<(), Failure> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all other types hold values only"
        )]
        match field.data_type() {
            DataType::Dictionary(_, _) => self.keys(field, array, parent),
            DataType::List(item) => self.array(item, array.as_list::<i32>().values(), None),
            DataType::LargeList(item) => self.array(item, array.as_list::<i64>().values(), None),
            DataType::Map(entries, _) => self.array(entries, array.as_map().entries(), None),
            DataType::FixedSizeList(item, size) => {
                let lists = array.as_fixed_size_list();
                // Only keys into a dictionary need to be compared with it.
                let spread = match (lists.nulls(), item.data_type()) {
                    (Some(nulls), DataType::Dictionary(_, _)) if !item.is_nullable() => {
                        Some(nulls.expand(usize::try_from(*size).unwrap_or(0)))
                    }
                    _ => None,
                };
                self.array(item, lists.values(), spread.as_ref())
            }
            DataType::Struct(children) => {
                let parent = array.as_struct();
                children
                    .iter()
                    .zip(parent.columns())
                    .try_for_each(|(child, column)| self.array(child, column, parent.nulls()))
            }
            _ => self.scalars(array),
        }
    }

    /// A key may be there and its value a null: arrow counts only the keys.
    fn keys(
        &mut self,
        field: &Field,
        array: &dyn Array,
        parent: Option<&NullBuffer>,
    ) -> Result<(), Failure> {
        let column = array.as_any_dictionary();
        if !self.own
            && !field.is_nullable()
            && let Some(nulls) = array.logical_nulls().filter(|n| n.null_count() > 0)
            && !parent.is_some_and(|parent| parent.contains(&nulls))
        {
            return Err(broken(
                "schema",
                format!(
                    "column `{}` was planned without nulls but its dictionary has some",
                    self.column
                ),
            ));
        }
        let longest = longest(column.values().as_ref());
        let rows = array.len() as u64;
        let bytes = if rows.saturating_mul(longest) <= self.limits.gathered_bytes_max {
            // Near enough, and no need to look at each key.
            0
        } else {
            keyed_bytes(column)
        };
        self.expand(bytes)
    }

    fn expand(&mut self, bytes: u64) -> Result<(), Failure> {
        self.expanded_bytes = self.expanded_bytes.saturating_add(bytes);
        let max = self.limits.gathered_bytes_max;
        if self.expanded_bytes > max {
            return Err(exceeded("batch-expanded", max, self.expanded_bytes));
        }
        Ok(())
    }

    fn scalars(&mut self, array: &dyn Array) -> Result<(), Failure> {
        let second = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        let day = |unit| (0, DAY_SECONDS * second(unit) - 1);
        let ever = |unit| {
            let most = TIME_SECONDS_MAX * second(unit);
            (-most, most)
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all values of all other types will do"
        )]
        let fits = match array.data_type() {
            DataType::Utf8View => {
                let views = array.as_string_view().views();
                return self.expand(viewed_bytes(views));
            }
            DataType::BinaryView => {
                let views = array.as_binary_view().views();
                return self.expand(viewed_bytes(views));
            }
            _ if self.own => true,
            DataType::Decimal32(p, _) => return self.decimals::<Decimal32Type>(array, *p),
            DataType::Decimal64(p, _) => return self.decimals::<Decimal64Type>(array, *p),
            DataType::Decimal128(p, _) => return self.decimals::<Decimal128Type>(array, *p),
            DataType::Decimal256(p, _) => return self.decimals::<Decimal256Type>(array, *p),
            DataType::Date32 => {
                let most = TIME_SECONDS_MAX / DAY_SECONDS;
                within::<Date32Type>(array, (-most, most))
            }
            DataType::Date64 => within::<Date64Type>(array, ever(&TimeUnit::Millisecond)),
            DataType::Time32(unit @ TimeUnit::Second) => {
                within::<Time32SecondType>(array, day(unit))
            }
            DataType::Time32(unit) => within::<Time32MillisecondType>(array, day(unit)),
            DataType::Time64(unit @ TimeUnit::Microsecond) => {
                within::<Time64MicrosecondType>(array, day(unit))
            }
            DataType::Time64(unit) => within::<Time64NanosecondType>(array, day(unit)),
            DataType::Timestamp(unit, _) => match unit {
                TimeUnit::Second => within::<TimestampSecondType>(array, ever(unit)),
                TimeUnit::Millisecond => within::<TimestampMillisecondType>(array, ever(unit)),
                TimeUnit::Microsecond => within::<TimestampMicrosecondType>(array, ever(unit)),
                // 64 bits of nanoseconds are 584 years.
                TimeUnit::Nanosecond => true,
            },
            _ => true,
        };
        if fits {
            return Ok(());
        }
        let (name, data_type) = (self.column, array.data_type());
        Err(broken(
            "ipc",
            format!("column `{name}` holds a time that no calendar has, as {data_type}"),
        ))
    }

    /// Arrow's own check of a whole column refuses negative scales.
    fn decimals<T: DecimalType>(&self, array: &dyn Array, precision: u8) -> Result<(), Failure> {
        let fits = |value: T::Native| T::is_valid_decimal_precision(value, precision);
        if all::<T>(array, fits) {
            return Ok(());
        }
        let name = self.column;
        Err(broken(
            "ipc",
            format!("column `{name}` holds a decimal that does not fit its precision: {precision}"),
        ))
    }
}

/// Are all values that are not null in this range, both ends included?
fn within<T: ArrowPrimitiveType<Native: Into<i64>>>(
    array: &dyn Array,
    (low, high): (i64, i64),
) -> bool {
    let in_range = |value: T::Native| (low..=high).contains(&value.into());
    if low == 0 {
        // A time of day: the bits of some of them together are often more than a day.
        return all::<T>(array, in_range);
    }
    // What lies under nulls too at first. The bits of all values together, those below zero turned over, are no less than any
    // of them, and quicker to come by than comparisons, of which processors do fewer at once.
    let values = array.as_primitive::<T>().values().iter();
    let (bits, signs) = values.fold((0, 0), |(bits, signs), value| {
        let value: i64 = (*value).into();
        let sign = value >> 63;
        (bits | (value ^ sign), signs | sign)
    });
    let below_zero = signs == 0 || low <= -1 - bits;
    (bits <= high && below_zero) || all::<T>(array, in_range)
}

fn all<T: ArrowPrimitiveType>(array: &dyn Array, fits: impl Fn(T::Native) -> bool) -> bool {
    let column = array.as_primitive::<T>();
    // What lies under nulls too at first, without an early end, so that the compiler can compare several at once.
    let values = column.values().iter();
    values.fold(true, |so_far, value| so_far & fits(*value)) || column.iter().flatten().all(fits)
}

/// Bytes of all views, which may all lead to the same ones.
fn viewed_bytes(views: &[u128]) -> u64 {
    let length = |view: &u128| view & u128::from(u32::MAX);
    let sum = views
        .iter()
        .map(|view| u64::try_from(length(view)).unwrap_or(u64::MAX));
    sum.fold(0, u64::saturating_add)
}

/// Bytes of the longest value.
fn longest(values: &dyn Array) -> u64 {
    (0..values.len())
        .map(|i| value_bytes(values, i))
        .max()
        .unwrap_or(0)
}

fn keyed_bytes(column: &dyn AnyDictionaryArray) -> u64 {
    let values = column.values().as_ref();
    if values.is_empty() {
        return 0;
    }
    let keys = column.normalized_keys();
    keys.iter().fold(0, |sum: u64, key| {
        sum.saturating_add(value_bytes(values, *key))
    })
}

fn value_bytes(values: &dyn Array, index: usize) -> u64 {
    fn bytes<T: arrow_array::types::ByteArrayType>(values: &GenericByteArray<T>, i: usize) -> u64
    where
        T::Offset: OffsetSizeTrait,
    {
        values.value_length(i).as_usize() as u64
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other values have a fixed width"
    )]
    match values.data_type() {
        DataType::Utf8 => bytes(values.as_string::<i32>(), index),
        DataType::LargeUtf8 => bytes(values.as_string::<i64>(), index),
        DataType::Binary => bytes(values.as_binary::<i32>(), index),
        DataType::LargeBinary => bytes(values.as_binary::<i64>(), index),
        DataType::Utf8View => viewed_bytes(&values.as_string_view().views()[index..=index]),
        DataType::BinaryView => viewed_bytes(&values.as_binary_view().views()[index..=index]),
        fixed => layout::bits(fixed).unwrap_or(0).div_ceil(8),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use arrow_array::builder::StringViewBuilder;
    use arrow_array::types::{Int8Type, Int32Type};
    use arrow_array::{
        Date32Array, Decimal128Array, DictionaryArray, Int8Array, StringArray, Time32SecondArray,
        Time64NanosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
        TimestampSecondArray, make_array,
    };
    use arrow_buffer::Buffer;
    use arrow_data::ArrayData;
    use arrow_schema::Schema;

    use super::*;

    #[track_caller]
    fn check_one(column: ArrayRef, nullable: bool, expect: Result<(), &str>) {
        let limits = Limits {
            gathered_bytes_max: 10_000,
            ..Limits::default()
        };
        let field = Field::new("c", column.data_type().clone(), nullable);
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
        let got = check(&batch, &limits).map_err(|f| f.code);
        assert_eq!(got, expect.map_err(str::to_owned));
    }

    #[test]
    fn times_must_be_ones_that_a_calendar_has() {
        let bad = Err("contract/ipc");
        check_one(
            Arc::new(Time32SecondArray::from(vec![0, 86_399])),
            false,
            Ok(()),
        );
        check_one(Arc::new(Time32SecondArray::from(vec![86_400])), false, bad);
        check_one(Arc::new(Time32SecondArray::from(vec![-1])), false, bad);
        check_one(
            Arc::new(Time64NanosecondArray::from(vec![i64::MAX])),
            false,
            bad,
        );
        check_one(
            Arc::new(Date32Array::from(vec![-90_000_000, 90_000_000])),
            false,
            Ok(()),
        );
        check_one(Arc::new(Date32Array::from(vec![i32::MIN])), false, bad);
        check_one(
            Arc::new(TimestampSecondArray::from(vec![i64::MAX])),
            false,
            bad,
        );
        check_one(
            Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN])),
            false,
            bad,
        );
        check_one(
            Arc::new(TimestampNanosecondArray::from(vec![i64::MIN])),
            false,
            Ok(()),
        );
        let most = TIME_SECONDS_MAX;
        for (seconds, expect) in [
            (-most, Ok(())),
            (most, Ok(())),
            (-most - 1, bad),
            (most + 1, bad),
        ] {
            // The exact ends, beside values whose bits hide nothing and beside some that do.
            for other in [0, -1, most, -most] {
                let column = TimestampSecondArray::from(vec![other, seconds]);
                check_one(Arc::new(column), false, expect);
            }
        }
        // Under a null anything may lie.
        let hidden = TimestampSecondArray::new(
            vec![i64::MAX, 0].into(),
            Some(NullBuffer::from(vec![false, true])),
        );
        check_one(Arc::new(hidden), true, Ok(()));
    }

    /// The column, which holds no nulls, around as the reader of arrow builds it: its constructors check more.
    fn around(
        data_type: DataType,
        rows: usize,
        column: &ArrayRef,
        valid: Option<[bool; 2]>,
    ) -> ArrayRef {
        let data = ArrayData::builder(data_type.clone())
            .len(rows)
            .nulls(valid.map(|valid| NullBuffer::from(valid.to_vec())))
            .add_child_data(column.to_data());
        let offsets = [0, i32::try_from(column.len()).unwrap()];
        let data = if matches!(data_type, DataType::List(_)) {
            data.add_buffer(Buffer::from_slice_ref(offsets))
        } else {
            data
        };
        make_array(data.build().unwrap())
    }

    fn inside(column: &ArrayRef) -> Arc<Field> {
        Arc::new(Field::new("x", column.data_type().clone(), false))
    }

    /// The column in a list, and in a struct in a list.
    fn nested(column: &ArrayRef) -> [ArrayRef; 2] {
        let list = |item: &ArrayRef| around(DataType::List(inside(item)), 1, item, None);
        let record = DataType::Struct(vec![inside(column)].into());
        let record = around(record, column.len(), column, None);
        [list(column), list(&record)]
    }

    #[test]
    fn values_are_checked_at_every_depth() {
        let decimal = Decimal128Array::from(vec![10_000]).with_precision_and_scale(4, -2);
        let columns = [
            Arc::new(decimal.unwrap()) as ArrayRef,
            Arc::new(Time32SecondArray::from(vec![86_400])),
        ];
        for column in columns {
            check_one(Arc::clone(&column), false, Err("contract/ipc"));
            for nested in nested(&column) {
                check_one(nested, false, Err("contract/ipc"));
            }
        }
    }

    fn with_null_value() -> DictionaryArray<Int8Type> {
        let values = Arc::new(StringArray::from(vec![Some("a"), None]));
        DictionaryArray::new(Int8Array::from(vec![0, 1]), values)
    }

    #[test]
    fn nulls_cannot_hide_in_a_dictionary() {
        let column = Arc::new(with_null_value()) as ArrayRef;
        check_one(Arc::clone(&column), true, Ok(()));
        check_one(Arc::clone(&column), false, Err("contract/schema"));
        for nested in nested(&column) {
            check_one(nested, false, Err("contract/schema"));
        }
        // Under a null parent they may.
        let record = DataType::Struct(vec![inside(&column)].into());
        let list = DataType::FixedSizeList(inside(&column), 1);
        for parent in [record, list] {
            let parent = |valid| around(parent.clone(), 2, &column, Some(valid));
            check_one(parent([true, false]), true, Ok(()));
            check_one(parent([false, true]), true, Err("contract/schema"));
        }
    }

    #[test]
    fn a_few_bytes_cannot_stand_for_very_many() {
        let text = "x".repeat(1_000);
        let limit = Err("limit/batch-output");
        for (rows, expect) in [(10, Ok(())), (11, limit)] {
            let values = Arc::new(StringArray::from(vec![text.as_str(), ""]));
            let keys = Int8Array::from(vec![0; rows]);
            check_one(
                Arc::new(DictionaryArray::<Int8Type>::new(keys, values)),
                true,
                expect,
            );
            let mut views = StringViewBuilder::new().with_deduplicate_strings();
            (0..rows).for_each(|_| views.append_value(&text));
            check_one(Arc::new(views.finish()), true, expect);
        }
        // Many keys for short values are what dictionaries are for.
        let values = Arc::new(StringArray::from(vec![text.as_str(), "a"]));
        let keys = arrow_array::Int32Array::from(vec![1; 5_000]);
        check_one(
            Arc::new(DictionaryArray::<Int32Type>::new(keys, values)),
            true,
            Ok(()),
        );
    }

    #[test]
    fn values_of_dictionaries_are_checked_when_they_arrive() {
        let values = Arc::new(Time32SecondArray::from(vec![86_400])) as ArrayRef;
        let failure = dictionary(&values, &Limits::default()).unwrap_err();
        assert_eq!(failure.code, "contract/ipc");
    }
}
