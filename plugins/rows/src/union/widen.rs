//! One type for two, without loss.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "types that are not named here stay apart"
)]

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    BinaryArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray, StringViewArray,
    make_array, new_null_array,
};
use arrow_schema::{DECIMAL128_MAX_PRECISION, TimeUnit};
use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

/// The largest integer up to which a 64-bit float holds every one.
const EXACT_INTEGER_MAX: u64 = 1 << f64::MANTISSA_DIGITS;

/// The type that holds the values of both.
pub(super) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Decimal128, Dictionary, LargeBinary, LargeUtf8, Null, Utf8, Utf8View,
    };
    match (a, b) {
        _ if a == b => Some(a.clone()),
        (Null, other) | (other, Null) => Some(other.clone()),
        // Only text is worth unpacking: gathering values of any type would be a third of the component.
        (Dictionary(_, values), other) | (other, Dictionary(_, values)) if is_text(values) => {
            match other {
                Dictionary(_, others) => common(values, others),
                plain => common(values, plain),
            }
        }
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => {
            Some(if *a == LargeUtf8 || *b == LargeUtf8 {
                LargeUtf8
            } else {
                Utf8
            })
        }
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => {
            Some(if *a == LargeBinary || *b == LargeBinary {
                LargeBinary
            } else {
                Binary
            })
        }
        (Decimal128(..), _) | (_, Decimal128(..)) => decimal(digits(a)?, digits(b)?),
        _ => number(a, b).or_else(|| moment(a, b)),
    }
}

/// Signed, bits.
fn integer(data_type: &DataType) -> Option<(bool, u8)> {
    match data_type {
        DataType::Int8 => Some((true, 8)),
        DataType::Int16 => Some((true, 16)),
        DataType::Int32 => Some((true, 32)),
        DataType::Int64 => Some((true, 64)),
        DataType::UInt8 => Some((false, 8)),
        DataType::UInt16 => Some((false, 16)),
        DataType::UInt32 => Some((false, 32)),
        DataType::UInt64 => Some((false, 64)),
        _ => None,
    }
}

fn number(a: &DataType, b: &DataType) -> Option<DataType> {
    match (integer(a), integer(b)) {
        (Some((signed, _)), Some((other, _))) if signed == other => {
            Some(if integer(a) > integer(b) {
                a.clone()
            } else {
                b.clone()
            })
        }
        (Some((_, a_bits)), Some((b_signed, b_bits))) => {
            let (signed, unsigned) = if b_signed {
                (b_bits, a_bits)
            } else {
                (a_bits, b_bits)
            };
            match signed.max(unsigned.checked_mul(2)?) {
                16 => Some(DataType::Int16),
                32 => Some(DataType::Int32),
                64 => Some(DataType::Int64),
                _ => None,
            }
        }
        (Some((_, bits)), None) if b.is_floating() => {
            Some(float(bits > 16 || *b == DataType::Float64))
        }
        (None, Some((_, bits))) if a.is_floating() => {
            Some(float(bits > 16 || *a == DataType::Float64))
        }
        (None, None) if a.is_floating() && b.is_floating() => {
            Some(float(*a == DataType::Float64 || *b == DataType::Float64))
        }
        _ => None,
    }
}

fn float(double: bool) -> DataType {
    if double {
        DataType::Float64
    } else {
        DataType::Float32
    }
}

/// Digits before and after the point.
fn digits(data_type: &DataType) -> Option<(i16, i8)> {
    match (data_type, integer(data_type)) {
        (DataType::Decimal128(precision, scale), _) => {
            Some((i16::from(*precision) - i16::from(*scale), *scale))
        }
        (_, Some((_, 8))) => Some((3, 0)),
        (_, Some((_, 16))) => Some((5, 0)),
        (_, Some((_, 32))) => Some((10, 0)),
        (_, Some((signed, _))) => Some((if signed { 19 } else { 20 }, 0)),
        (_, None) => None,
    }
}

fn decimal(a: (i16, i8), b: (i16, i8)) -> Option<DataType> {
    let scale = a.1.max(b.1);
    let precision = u8::try_from(a.0.max(b.0) + i16::from(scale)).ok()?;
    (precision <= DECIMAL128_MAX_PRECISION).then_some(DataType::Decimal128(precision, scale))
}

/// Dates and timestamps; a time zone on one side only would have to be guessed.
fn moment(a: &DataType, b: &DataType) -> Option<DataType> {
    let finer = if ticks_per_day(a)? >= ticks_per_day(b)? {
        a
    } else {
        b
    };
    match (a, b) {
        (DataType::Timestamp(_, zone), DataType::Timestamp(_, other))
            if zone.is_some() != other.is_some() =>
        {
            None
        }
        (DataType::Timestamp(_, zone), DataType::Timestamp(..)) => with_zone(finer, zone.clone()),
        (DataType::Timestamp(_, Some(_)), _) | (_, DataType::Timestamp(_, Some(_))) => None,
        // A date in milliseconds beside a timestamp in seconds.
        (DataType::Timestamp(..), DataType::Date64)
        | (DataType::Date64, DataType::Timestamp(..)) => with_zone(finer, None),
        _ => Some(finer.clone()),
    }
}

fn with_zone(data_type: &DataType, zone: Option<Arc<str>>) -> Option<DataType> {
    match data_type {
        DataType::Timestamp(unit, _) => Some(DataType::Timestamp(*unit, zone)),
        DataType::Date64 => Some(DataType::Timestamp(TimeUnit::Millisecond, zone)),
        _ => None,
    }
}

fn ticks_per_day(data_type: &DataType) -> Option<i64> {
    const SECONDS: i64 = 86_400;
    match data_type {
        DataType::Date32 => Some(1),
        DataType::Timestamp(TimeUnit::Second, _) => Some(SECONDS),
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => Some(SECONDS * 1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(SECONDS * 1_000_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(SECONDS * 1_000_000_000),
        _ => None,
    }
}

/// Brings an array to a type that [`common`] gave for its own and others.
///
/// # Errors
/// `bad-value` where a single value does not fit: an integer that a float cannot hold, a date that a timestamp cannot.
pub(super) fn widen(array: &ArrayRef, to: &DataType, column: &str) -> Result<ArrayRef> {
    let from = array.data_type();
    match (from, to) {
        _ if from == to => Ok(Arc::clone(array)),
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (DataType::Dictionary(..), DataType::LargeUtf8) => Ok(Arc::new(
            Text::of(array)?.iter().collect::<LargeStringArray>(),
        )),
        (DataType::Dictionary(..), DataType::Utf8View) => Ok(Arc::new(
            Text::of(array)?.iter().collect::<StringViewArray>(),
        )),
        (DataType::Dictionary(..), _) => {
            Ok(Arc::new(Text::of(array)?.iter().collect::<StringArray>()))
        }
        (DataType::Int64, DataType::Float64) => {
            let values = array.as_primitive::<Int64Type>();
            must_fit(values, column, FLOAT, |v| {
                v.unsigned_abs() <= EXACT_INTEGER_MAX
            })?;
            Ok(Arc::new(values.unary::<_, Float64Type>(|v| v as f64)))
        }
        (DataType::UInt64, DataType::Float64) => {
            let values = array.as_primitive::<UInt64Type>();
            must_fit(values, column, FLOAT, |v| v <= EXACT_INTEGER_MAX)?;
            Ok(Arc::new(values.unary::<_, Float64Type>(|v| v as f64)))
        }
        (_, DataType::Decimal128(precision, scale)) => {
            to_decimal(array, *precision, *scale, column)
        }
        _ => match (ticks_per_day(from), ticks_per_day(to)) {
            (Some(from), Some(ticks)) => to_moment(array, ticks / from, to, column),
            _ => to_text(array, to)
                .or_else(|| to_number(array, to))
                .ok_or_else(|| {
                    Failure::internal(format!("column `{column}` has no way from {from} to: {to}"))
                }),
        },
    }
}

const FLOAT: &str = "an integer beyond 2^53 cannot become a float without loss";
const MOMENT: &str = "a date or timestamp lies outside of what the finer timestamp can hold";
const DECIMAL: &str = "a number has more digits than its type allows";

fn must_fit<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    column: &str,
    message: &str,
    fits: impl Fn(T::Native) -> bool,
) -> Result<()> {
    match array.iter().position(|v| v.is_some_and(|v| !fits(v))) {
        Some(row) => Err(Failure::data(row, column, message)),
        None => Ok(()),
    }
}

fn to_moment(array: &ArrayRef, factor: i64, to: &DataType, column: &str) -> Result<ArrayRef> {
    let ticks: PrimitiveArray<Int64Type> = match array.as_primitive_opt::<Date32Type>() {
        Some(days) => days.unary(i64::from),
        None => PrimitiveArray::from(
            array
                .to_data()
                .into_builder()
                .data_type(DataType::Int64)
                .build()?,
        ),
    };
    must_fit(&ticks, column, MOMENT, |v| v.checked_mul(factor).is_some())?;
    let ticks = ticks.unary::<_, Int64Type>(|v| v.wrapping_mul(factor));
    Ok(make_array(
        ticks
            .into_data()
            .into_builder()
            .data_type(to.clone())
            .build()?,
    ))
}

fn to_decimal(array: &ArrayRef, precision: u8, scale: i8, column: &str) -> Result<ArrayRef> {
    let (own_scale, values) = match array.data_type() {
        DataType::Decimal128(_, own_scale) => {
            (*own_scale, array.as_primitive::<Decimal128Type>().clone())
        }
        _ => {
            let unit = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);
            let values =
                to_number(array, &unit).ok_or_else(|| Failure::internal("not a number"))?;
            (0, values.as_primitive::<Decimal128Type>().clone())
        }
    };
    let factor = u32::try_from(i16::from(scale) - i16::from(own_scale))
        .ok()
        .and_then(|e| 10i128.checked_pow(e));
    let factor = factor
        .ok_or_else(|| Failure::internal(format!("column `{column}` cannot reach its scale")))?;
    must_fit(&values, column, DECIMAL, |v| {
        v.checked_mul(factor).is_some()
    })?;
    let scaled = values.unary::<_, Decimal128Type>(|v| v.wrapping_mul(factor));
    Ok(Arc::new(scaled.with_precision_and_scale(precision, scale)?))
}

fn to_text(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    match (array.data_type(), to) {
        (Utf8View, Utf8) => Some(Arc::new(
            array.as_string_view().iter().collect::<StringArray>(),
        )),
        (Utf8View, LargeUtf8) => Some(Arc::new(
            array.as_string_view().iter().collect::<LargeStringArray>(),
        )),
        (Utf8, LargeUtf8) => Some(Arc::new(
            array
                .as_string::<i32>()
                .iter()
                .collect::<LargeStringArray>(),
        )),
        (BinaryView, Binary) => Some(Arc::new(
            array.as_binary_view().iter().collect::<BinaryArray>(),
        )),
        (BinaryView, LargeBinary) => Some(Arc::new(
            array.as_binary_view().iter().collect::<LargeBinaryArray>(),
        )),
        (Binary, LargeBinary) => Some(Arc::new(
            array
                .as_binary::<i32>()
                .iter()
                .collect::<LargeBinaryArray>(),
        )),
        _ => None,
    }
}

fn convert<From: ArrowPrimitiveType, To: ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
where
    To::Native: std::convert::From<From::Native>,
{
    Arc::new(
        array
            .as_primitive::<From>()
            .unary::<_, To>(To::Native::from),
    )
}

macro_rules! conversions {
    ($array:ident, $to:ident, $($from:ident $source:ident => $($into:pat => $target:ident),+;)+) => {
        match ($array.data_type(), $to) {
            $($((DataType::$from, $into) => Some(convert::<$source, $target>($array)),)+)+
            _ => None,
        }
    };
}

fn to_number(array: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    use DataType as D;
    conversions!(array, to,
        Int8 Int8Type => D::Int16 => Int16Type, D::Int32 => Int32Type, D::Int64 => Int64Type,
            D::Float32 => Float32Type, D::Float64 => Float64Type, D::Decimal128(..) => Decimal128Type;
        Int16 Int16Type => D::Int32 => Int32Type, D::Int64 => Int64Type,
            D::Float32 => Float32Type, D::Float64 => Float64Type, D::Decimal128(..) => Decimal128Type;
        Int32 Int32Type => D::Int64 => Int64Type, D::Float64 => Float64Type, D::Decimal128(..) => Decimal128Type;
        Int64 Int64Type => D::Decimal128(..) => Decimal128Type;
        UInt8 UInt8Type => D::UInt16 => UInt16Type, D::UInt32 => UInt32Type, D::UInt64 => UInt64Type,
            D::Int16 => Int16Type, D::Int32 => Int32Type, D::Int64 => Int64Type,
            D::Float32 => Float32Type, D::Float64 => Float64Type, D::Decimal128(..) => Decimal128Type;
        UInt16 UInt16Type => D::UInt32 => UInt32Type, D::UInt64 => UInt64Type,
            D::Int32 => Int32Type, D::Int64 => Int64Type,
            D::Float32 => Float32Type, D::Float64 => Float64Type, D::Decimal128(..) => Decimal128Type;
        UInt32 UInt32Type => D::UInt64 => UInt64Type, D::Int64 => Int64Type,
            D::Float64 => Float64Type, D::Decimal128(..) => Decimal128Type;
        UInt64 UInt64Type => D::Decimal128(..) => Decimal128Type;
        Float16 Float16Type => D::Float32 => Float32Type, D::Float64 => Float64Type;
        Float32 Float32Type => D::Float64 => Float64Type;
    )
}
