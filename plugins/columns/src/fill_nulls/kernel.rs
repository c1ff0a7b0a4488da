//! Fills one column, by its type. A column without nulls is returned as it is.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, ArrowTimestampType, Date32Type, Date64Type,
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    DictionaryArray, Float64Array, GenericStringArray, Int64Array, OffsetSizeTrait, PrimitiveArray,
    StringArray,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, TimeUnit};
use odibi_sdk::prelude::*;

use super::value::FillValue;

const DAY_MILLIS: i64 = 86_400_000;

/// Why a column cannot be filled with a value.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// It takes other values: these.
    Takes(String),
    /// No value fits its type.
    Unsupported,
    /// The texts outgrow the offsets.
    TooLarge,
    /// The key type has no number left for the value.
    KeysFull,
    /// Arrow refuses what was built.
    Broken(ArrowError),
}

impl From<ArrowError> for Misfit {
    fn from(error: ArrowError) -> Self {
        Self::Broken(error)
    }
}

type Filled = Result<ArrayRef, Misfit>;

/// An empty column says whether the value fits its type.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types have no such values"
)]
pub(crate) fn filled(column: &ArrayRef, value: &FillValue) -> Filled {
    match column.data_type() {
        DataType::Null => constant(column.len(), value),
        DataType::Boolean => boolean(column, value),
        DataType::Int8 => integer::<Int8Type>(column, value, i8::MIN, i8::MAX),
        DataType::Int16 => integer::<Int16Type>(column, value, i16::MIN, i16::MAX),
        DataType::Int32 => integer::<Int32Type>(column, value, i32::MIN, i32::MAX),
        DataType::Int64 => integer::<Int64Type>(column, value, i64::MIN, i64::MAX),
        DataType::UInt8 => integer::<UInt8Type>(column, value, u8::MIN, u8::MAX),
        DataType::UInt16 => integer::<UInt16Type>(column, value, u16::MIN, u16::MAX),
        DataType::UInt32 => integer::<UInt32Type>(column, value, u32::MIN, u32::MAX),
        DataType::UInt64 => integer::<UInt64Type>(column, value, u64::MIN, u64::MAX),
        DataType::Float32 => primitive::<Float32Type>(column, value.float32(), || "numbers".into()),
        DataType::Float64 => primitive::<Float64Type>(column, value.float64(), || "numbers".into()),
        DataType::Decimal32(p, s) => decimal::<Decimal32Type>(column, value, *p, *s),
        DataType::Decimal64(p, s) => decimal::<Decimal64Type>(column, value, *p, *s),
        DataType::Decimal128(p, s) => decimal::<Decimal128Type>(column, value, *p, *s),
        DataType::Decimal256(p, s) => decimal::<Decimal256Type>(column, value, *p, *s),
        DataType::Utf8 => texts(column.as_string::<i32>(), value),
        DataType::LargeUtf8 => texts(column.as_string::<i64>(), value),
        DataType::Dictionary(key, _) => dictionary(column, key, value),
        DataType::Date32 => primitive::<Date32Type>(column, value.date(), dates),
        DataType::Date64 => {
            let millis = value.date().map(|days| i64::from(days) * DAY_MILLIS);
            primitive::<Date64Type>(column, millis, dates)
        }
        DataType::Time32(TimeUnit::Second) => {
            time::<Time32SecondType>(column, value, TimeUnit::Second)
        }
        DataType::Time32(_) => time::<Time32MillisecondType>(column, value, TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => {
            time::<Time64MicrosecondType>(column, value, TimeUnit::Microsecond)
        }
        DataType::Time64(_) => time::<Time64NanosecondType>(column, value, TimeUnit::Nanosecond),
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => timestamp::<TimestampSecondType>(column, value, zone.as_deref()),
            TimeUnit::Millisecond => {
                timestamp::<TimestampMillisecondType>(column, value, zone.as_deref())
            }
            TimeUnit::Microsecond => {
                timestamp::<TimestampMicrosecondType>(column, value, zone.as_deref())
            }
            TimeUnit::Nanosecond => {
                timestamp::<TimestampNanosecondType>(column, value, zone.as_deref())
            }
        },
        _ => Err(Misfit::Unsupported),
    }
}

/// A column without a type takes that of the value.
fn constant(rows: usize, value: &FillValue) -> Filled {
    let whole = || Misfit::Takes(format!("whole numbers from {} to {}", i64::MIN, i64::MAX));
    Ok(match value {
        FillValue::Bool(value) => Arc::new(BooleanArray::from(vec![*value; rows])),
        FillValue::Int(_) => Arc::new(Int64Array::from_value(
            value.integer().ok_or_else(whole)?,
            rows,
        )),
        FillValue::Float(value) => Arc::new(Float64Array::from_value(*value, rows)),
        FillValue::Text(_) => return texts(&StringArray::new_null(rows), value),
    })
}

fn integer<T>(column: &ArrayRef, value: &FillValue, min: T::Native, max: T::Native) -> Filled
where
    T: ArrowPrimitiveType<Native: TryFrom<i128> + std::fmt::Display>,
{
    primitive::<T>(column, value.integer(), || {
        format!("whole numbers from {min} to {max}")
    })
}

fn decimal<T>(column: &ArrayRef, value: &FillValue, precision: u8, scale: i8) -> Filled
where
    T: DecimalType + ArrowPrimitiveType<Native: std::str::FromStr>,
{
    let native = value
        .decimal(precision, scale)
        .and_then(|digits| digits.parse().ok());
    primitive::<T>(column, native, || {
        format!("numbers of at most {precision} digits, {scale} of them after the point")
    })
}

fn dates() -> String {
    "dates such as \"2026-01-31\"".into()
}

fn time<T: ArrowPrimitiveType<Native: TryFrom<i64>>>(
    column: &ArrayRef,
    value: &FillValue,
    unit: TimeUnit,
) -> Filled {
    let native = value.time(unit).and_then(|t| t.try_into().ok());
    primitive::<T>(column, native, || {
        format!("times such as \"13:45:00\"{}", precision(unit))
    })
}

fn timestamp<T: ArrowTimestampType>(
    column: &ArrayRef,
    value: &FillValue,
    zone: Option<&str>,
) -> Filled {
    primitive::<T>(column, value.timestamp(T::UNIT, zone), || match zone {
        Some(_) => format!(
            "timestamps with their offset such as \"2026-01-31T13:45:00+01:00\"{}",
            precision(T::UNIT)
        ),
        None => format!(
            "timestamps without offset such as \"2026-01-31T13:45:00\"{}",
            precision(T::UNIT)
        ),
    })
}

fn precision(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => " in whole seconds",
        TimeUnit::Millisecond => " in whole milliseconds",
        TimeUnit::Microsecond => " in whole microseconds",
        TimeUnit::Nanosecond => "",
    }
}

fn primitive<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    value: Option<T::Native>,
    takes: impl FnOnce() -> String,
) -> Filled {
    let value = value.ok_or_else(|| Misfit::Takes(takes()))?;
    let array = column.as_primitive::<T>();
    let Some(nulls) = some_nulls(array.nulls()) else {
        return Ok(Arc::clone(column));
    };
    let mut values = array.values().to_vec();
    put_at_nulls(&mut values, nulls, value);
    Ok(Arc::new(
        PrimitiveArray::<T>::try_new(values.into(), None)?
            .with_data_type(column.data_type().clone()),
    ))
}

fn boolean(column: &ArrayRef, value: &FillValue) -> Filled {
    let value = value
        .bool()
        .ok_or_else(|| Misfit::Takes("true or false".into()))?;
    let array = column.as_boolean();
    let Some(nulls) = some_nulls(array.nulls()) else {
        return Ok(Arc::clone(column));
    };
    let valid = nulls.inner();
    let values = if value {
        array.values() | &!valid
    } else {
        array.values() & valid
    };
    Ok(Arc::new(BooleanArray::new(values, None)))
}

/// Runs of values are copied whole.
fn texts<O: OffsetSizeTrait>(array: &GenericStringArray<O>, value: &FillValue) -> Filled {
    let fill = value.text().ok_or_else(|| Misfit::Takes("text".into()))?;
    let Some(nulls) = some_nulls(array.nulls()) else {
        return Ok(Arc::new(array.clone()));
    };
    let (before, bytes) = (array.value_offsets(), array.value_data());
    let valid_bytes = (before[array.len()] - before[0]).as_usize();
    let bytes_max = fill
        .len()
        .checked_mul(nulls.null_count())
        .and_then(|b| b.checked_add(valid_bytes));
    // An upper bound, as the slots of nulls may hold bytes too.
    let bytes_max = bytes_max
        .filter(|b| O::from_usize(*b).is_some())
        .ok_or(Misfit::TooLarge)?;
    let mut values: Vec<u8> = Vec::with_capacity(bytes_max);
    let mut offsets: Vec<O> = Vec::with_capacity(before.len());
    offsets.push(O::default());
    let push_fill = |values: &mut Vec<u8>, offsets: &mut Vec<O>, rows: std::ops::Range<usize>| {
        for _ in rows {
            values.extend_from_slice(fill.as_bytes());
            offsets.push(O::usize_as(values.len()));
        }
    };
    let mut row = 0;
    for (start, end) in nulls.valid_slices() {
        push_fill(&mut values, &mut offsets, row..start);
        let at = O::usize_as(values.len());
        offsets.extend(
            before[start + 1..=end]
                .iter()
                .map(|o| *o - before[start] + at),
        );
        values.extend_from_slice(&bytes[before[start].as_usize()..before[end].as_usize()]);
        row = end;
    }
    push_fill(&mut values, &mut offsets, row..array.len());
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(GenericStringArray::<O>::try_new(
        offsets,
        Buffer::from_vec(values),
        None,
    )?))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "keys are integers")]
fn dictionary(column: &ArrayRef, key: &DataType, value: &FillValue) -> Filled {
    match key {
        DataType::Int8 => keyed(column.as_dictionary::<Int8Type>(), value),
        DataType::Int16 => keyed(column.as_dictionary::<Int16Type>(), value),
        DataType::Int32 => keyed(column.as_dictionary::<Int32Type>(), value),
        DataType::Int64 => keyed(column.as_dictionary::<Int64Type>(), value),
        DataType::UInt8 => keyed(column.as_dictionary::<UInt8Type>(), value),
        DataType::UInt16 => keyed(column.as_dictionary::<UInt16Type>(), value),
        DataType::UInt32 => keyed(column.as_dictionary::<UInt32Type>(), value),
        DataType::UInt64 => keyed(column.as_dictionary::<UInt64Type>(), value),
        _ => Err(Misfit::Unsupported),
    }
}

fn keyed<K: ArrowDictionaryKeyType>(array: &DictionaryArray<K>, value: &FillValue) -> Filled {
    if let Some(values) = array.values().as_string_opt::<i32>() {
        return keyed_texts(array, values, value);
    }
    match array.values().as_string_opt::<i64>() {
        Some(values) => keyed_texts(array, values, value),
        None => Err(Misfit::Unsupported),
    }
}

/// Points the nulls to the value, which is added to the dictionary if it is not there.
fn keyed_texts<K: ArrowDictionaryKeyType, O: OffsetSizeTrait>(
    array: &DictionaryArray<K>,
    values: &GenericStringArray<O>,
    value: &FillValue,
) -> Filled {
    let fill = value.text().ok_or_else(|| Misfit::Takes("text".into()))?;
    let logical = array.logical_nulls();
    let Some(nulls) = some_nulls(logical.as_ref()) else {
        return Ok(Arc::new(array.clone()));
    };
    let found = values.iter().position(|v| v == Some(fill));
    let key = K::Native::from_usize(found.unwrap_or(values.len())).ok_or(Misfit::KeysFull)?;
    let values: ArrayRef = match found {
        Some(_) => Arc::clone(array.values()),
        None => Arc::new(
            values
                .iter()
                .chain([Some(fill)])
                .collect::<GenericStringArray<O>>(),
        ),
    };
    let mut keys = array.keys().values().to_vec();
    put_at_nulls(&mut keys, nulls, key);
    let keys = PrimitiveArray::<K>::try_new(keys.into(), None)?;
    Ok(Arc::new(DictionaryArray::<K>::try_new(keys, values)?))
}

fn some_nulls(nulls: Option<&NullBuffer>) -> Option<&NullBuffer> {
    nulls.filter(|n| n.null_count() > 0)
}

fn put_at_nulls<T: Copy>(values: &mut [T], nulls: &NullBuffer, value: T) {
    let at = !nulls.inner();
    for row in at.set_indices() {
        values[row] = value;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{
        Date64Array, Decimal128Array, Decimal256Array, Float32Array, Int8Array, LargeStringArray,
        NullArray, Time64NanosecondArray, TimestampMillisecondArray, UInt64Array, new_empty_array,
    };
    use arrow_buffer::i256;

    use super::*;

    fn text(text: &str) -> FillValue {
        FillValue::Text(text.to_owned())
    }

    /// Whole, cut out of the middle, empty, and again: a filled column is left alone.
    #[track_caller]
    fn check(input: impl Array + 'static, value: &FillValue, expect: impl Array + 'static) {
        let (input, expect): (ArrayRef, ArrayRef) = (Arc::new(input), Arc::new(expect));
        let output = filled(&input, value).unwrap();
        assert_eq!(&output, &expect);
        for (start, length) in [(1, input.len() - 1), (1, input.len() - 2), (0, 1), (1, 0)] {
            assert_eq!(
                filled(&input.slice(start, length), value).unwrap().as_ref(),
                expect.slice(start, length).as_ref()
            );
        }
        let again = filled(&output, value).unwrap();
        assert!(again.to_data().ptr_eq(&output.to_data()));
        let nulls = arrow_array::new_null_array(input.data_type(), 9);
        assert_eq!(filled(&nulls, value).unwrap().logical_null_count(), 0);
    }

    #[test]
    fn primitives_are_filled() {
        let int = FillValue::Int;
        check(
            Int64Array::from(vec![None, Some(1), None]),
            &int(-7),
            Int64Array::from(vec![-7, 1, -7]),
        );
        check(
            UInt64Array::from(vec![Some(1), None]),
            &int(u64::MAX.into()),
            UInt64Array::from(vec![1, u64::MAX]),
        );
        check(
            Int8Array::from(vec![None, Some(1), Some(2)]),
            &int(-128),
            Int8Array::from(vec![-128, 1, 2]),
        );
        let nan = f64::NAN;
        check(
            Float64Array::from(vec![Some(1.5), None, None]),
            &int(2),
            Float64Array::from(vec![1.5, 2.0, 2.0]),
        );
        let output = filled(
            &(Arc::new(Float64Array::from(vec![Some(nan), None])) as ArrayRef),
            &int(0),
        )
        .unwrap();
        assert!(output.as_primitive::<Float64Type>().value(0).is_nan());
        check(
            Float32Array::from(vec![Some(1.5), None]),
            &FillValue::Float(0.1),
            Float32Array::from(vec![1.5, 0.1]),
        );
        let dates = Date64Array::from(vec![Some(0), None]);
        check(
            dates,
            &text("1970-01-02"),
            Date64Array::from(vec![0, 86_400_000]),
        );
        let times = Time64NanosecondArray::from(vec![None, Some(5)]);
        check(
            times,
            &text("00:00:01.000000001"),
            Time64NanosecondArray::from(vec![1_000_000_001, 5]),
        );
        let zoned =
            |values: Vec<Option<i64>>| TimestampMillisecondArray::from(values).with_timezone("UTC");
        check(
            zoned(vec![Some(1), None]),
            &text("1970-01-01T00:00:01Z"),
            zoned(vec![Some(1), Some(1000)]),
        );
        let decimals = |v: Vec<Option<i128>>| {
            Decimal128Array::from(v)
                .with_precision_and_scale(9, 2)
                .unwrap()
        };
        check(
            decimals(vec![Some(1), None]),
            &FillValue::Float(1.5),
            decimals(vec![Some(1), Some(150)]),
        );
        let wide = |v: Vec<Option<i256>>| {
            Decimal256Array::from(v)
                .with_precision_and_scale(60, 2)
                .unwrap()
        };
        let one = Some(i256::from_i128(100));
        check(
            wide(vec![None, one]),
            &text("-1.00"),
            wide(vec![Some(i256::from_i128(-100)), one]),
        );
    }

    #[test]
    fn booleans_are_filled() {
        let input = BooleanArray::from(vec![None, Some(true), Some(false), None]);
        check(
            input.clone(),
            &FillValue::Bool(true),
            BooleanArray::from(vec![true, true, false, true]),
        );
        check(
            input,
            &FillValue::Bool(false),
            BooleanArray::from(vec![false, true, false, false]),
        );
    }

    #[test]
    fn columns_without_a_type_take_that_of_the_value() {
        let check_typed = |value: FillValue, expect: &dyn Array| {
            let nulls: ArrayRef = Arc::new(NullArray::new(2));
            assert_eq!(filled(&nulls, &value).unwrap().as_ref(), expect);
            assert_eq!(
                filled(&nulls.slice(1, 0), &value).unwrap().data_type(),
                expect.data_type()
            );
        };
        check_typed(FillValue::Int(1), &Int64Array::from(vec![1, 1]));
        check_typed(FillValue::Float(0.5), &Float64Array::from(vec![0.5, 0.5]));
        check_typed(FillValue::Bool(true), &BooleanArray::from(vec![true, true]));
        check_typed(text("ß"), &StringArray::from(vec!["ß", "ß"]));
    }

    #[test]
    fn texts_are_filled() {
        let input = vec![None, Some("a"), Some("ß🎉"), None, None, Some(""), None];
        let expect = vec!["Ü", "a", "ß🎉", "Ü", "Ü", "", "Ü"];
        check(
            StringArray::from(input.clone()),
            &text("Ü"),
            StringArray::from(expect.clone()),
        );
        check(
            LargeStringArray::from(input.clone()),
            &text("Ü"),
            LargeStringArray::from(expect),
        );
        let expect: Vec<&str> = input.iter().map(|v| v.unwrap_or_default()).collect();
        check(
            StringArray::from(input),
            &text(""),
            StringArray::from(expect),
        );
    }

    #[test]
    fn bytes_in_the_slots_of_nulls_are_left_behind() {
        let nulls = Some(vec![false, true].into());
        let values = Buffer::from_slice_ref(b"junkok");
        let input: ArrayRef = Arc::new(StringArray::new(
            OffsetBuffer::from_lengths([4, 2]),
            values,
            nulls,
        ));
        let expect = StringArray::from(vec!["x", "ok"]);
        assert_eq!(
            filled(&input, &text("x")).unwrap().as_ref(),
            &expect as &dyn Array
        );
    }

    #[test]
    fn dictionaries_gain_the_value_once() {
        let input: DictionaryArray<Int8Type> =
            [Some("a"), None, Some("b"), None].into_iter().collect();
        let check_values = |fill: &str, expect: &[&str]| {
            let output = filled(&(Arc::new(input.clone()) as ArrayRef), &text(fill)).unwrap();
            let output = output.as_dictionary::<Int8Type>();
            assert_eq!(
                output.values().as_ref(),
                &StringArray::from(expect.to_vec()) as &dyn Array
            );
            let texts = output.downcast_dict::<StringArray>().unwrap();
            assert_eq!(
                texts.into_iter().collect::<Vec<_>>(),
                [Some("a"), Some(fill), Some("b"), Some(fill)]
            );
        };
        check_values("x", &["a", "b", "x"]);
        check_values("b", &["a", "b"]);
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let null_value: ArrayRef =
            Arc::new(DictionaryArray::new(Int8Array::from(vec![0, 1]), values));
        let output = filled(&null_value, &text("x")).unwrap();
        let texts = output
            .as_dictionary::<Int8Type>()
            .downcast_dict::<StringArray>()
            .unwrap();
        assert_eq!(
            texts.into_iter().collect::<Vec<_>>(),
            [Some("a"), Some("x")]
        );
    }

    #[test]
    fn a_full_dictionary_says_so() {
        let values: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..=127).map(|i| i.to_string()),
        ));
        let keys = Int8Array::from(vec![Some(0), None]);
        let input: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
        assert!(matches!(filled(&input, &text("x")), Err(Misfit::KeysFull)));
        assert_eq!(
            filled(&input, &text("127")).unwrap().logical_null_count(),
            0
        );
    }

    #[track_caller]
    fn check_refused(data_type: &DataType, value: &FillValue, takes: &str) {
        match filled(&new_empty_array(data_type), value) {
            Err(Misfit::Takes(what)) => assert_eq!(what, takes),
            other => panic!("{data_type} with {value} gives {other:?}"),
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let bytes = "whole numbers from -128 to 127";
        check_refused(&DataType::Int8, &FillValue::Int(128), bytes);
        check_refused(
            &DataType::UInt8,
            &FillValue::Int(-1),
            "whole numbers from 0 to 255",
        );
        check_refused(&DataType::Int8, &FillValue::Bool(true), bytes);
        check_refused(&DataType::Float64, &text("1.5"), "numbers");
        check_refused(&DataType::Float32, &FillValue::Bool(false), "numbers");
        check_refused(&DataType::LargeUtf8, &FillValue::Float(1.0), "text");
        let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        check_refused(&words, &FillValue::Int(1), "text");
        let decimals = "numbers of at most 5 digits, 2 of them after the point";
        check_refused(
            &DataType::Decimal128(5, 2),
            &FillValue::Float(0.001),
            decimals,
        );
        check_refused(
            &DataType::Date32,
            &FillValue::Int(0),
            "dates such as \"2026-01-31\"",
        );
        check_refused(
            &DataType::Date32,
            &text("2025-02-29"),
            "dates such as \"2026-01-31\"",
        );
        let seconds = "times such as \"13:45:00\" in whole seconds";
        check_refused(
            &DataType::Time32(TimeUnit::Second),
            &text("00:00:00.5"),
            seconds,
        );
        let plain =
            "timestamps without offset such as \"2026-01-31T13:45:00\" in whole milliseconds";
        check_refused(
            &DataType::Timestamp(TimeUnit::Millisecond, None),
            &text("2026-01-31T13:45:00Z"),
            plain,
        );
        let zoned =
            "timestamps with their offset such as \"2026-01-31T13:45:00+01:00\" in whole seconds";
        let berlin = DataType::Timestamp(TimeUnit::Second, Some("Europe/Berlin".into()));
        check_refused(&berlin, &text("2026-01-31T13:45:00"), zoned);
        let unfit = filled(&new_empty_array(&DataType::Binary), &text("x"));
        assert!(matches!(unfit, Err(Misfit::Unsupported)));
    }
}
