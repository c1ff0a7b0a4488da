//! The digests of one column, by its type.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTimestampType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{ArrayAccessor, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::TimeUnit;
use md5::{Digest as _, Md5};
use odibi_sdk::iso;
use odibi_sdk::prelude::*;
use sha2::Sha256;

use super::Algorithm;

const DAY_MILLIS: i64 = 86_400_000;
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Algorithm {
    fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Md5 => 32,
        }
    }
}

/// None for types whose values have no text.
///
/// # Errors
/// More rows than the digests of which fit one array.
pub(super) fn of(column: &ArrayRef, algorithm: Algorithm) -> Result<Option<StringArray>> {
    written(column, Some(algorithm))
}

/// What `of` hashes. None for types whose values have no text, and for binary values.
///
/// # Errors
/// The texts outgrow one array.
pub(crate) fn texts(column: &ArrayRef) -> Result<Option<StringArray>> {
    if has_bytes(column.data_type()) {
        return Ok(None);
    }
    written(column, None)
}

fn has_bytes(data_type: &DataType) -> bool {
    if let DataType::Dictionary(_, values) = data_type {
        return has_bytes(values);
    }
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_)
    )
}

/// Digests, or without an algorithm the texts themselves.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types are nested or intervals"
)]
fn written(column: &ArrayRef, algorithm: Option<Algorithm>) -> Result<Option<StringArray>> {
    let hex = Hex::new(column, algorithm)?;
    let digests = match column.data_type() {
        DataType::Null => StringArray::new_null(column.len()),
        DataType::Utf8 => hex.of_bytes(column.as_string::<i32>())?,
        DataType::LargeUtf8 => hex.of_bytes(column.as_string::<i64>())?,
        DataType::Binary => hex.of_bytes(column.as_binary::<i32>())?,
        DataType::LargeBinary => hex.of_bytes(column.as_binary::<i64>())?,
        DataType::FixedSizeBinary(_) => hex.of_bytes(column.as_fixed_size_binary())?,
        DataType::Boolean => hex.of_texts(column.as_boolean(), |v, out| {
            out.push_str(if v { "true" } else { "false" })
        })?,
        DataType::Int8 => hex.of_numbers::<Int8Type>(column)?,
        DataType::Int16 => hex.of_numbers::<Int16Type>(column)?,
        DataType::Int32 => hex.of_numbers::<Int32Type>(column)?,
        DataType::Int64 => hex.of_numbers::<Int64Type>(column)?,
        DataType::UInt8 => hex.of_numbers::<UInt8Type>(column)?,
        DataType::UInt16 => hex.of_numbers::<UInt16Type>(column)?,
        DataType::UInt32 => hex.of_numbers::<UInt32Type>(column)?,
        DataType::UInt64 => hex.of_numbers::<UInt64Type>(column)?,
        DataType::Float16 => hex.of_numbers::<Float16Type>(column)?,
        DataType::Float32 => hex.of_numbers::<Float32Type>(column)?,
        DataType::Float64 => hex.of_numbers::<Float64Type>(column)?,
        DataType::Decimal32(p, s) => hex.of_decimals::<Decimal32Type>(column, *p, *s)?,
        DataType::Decimal64(p, s) => hex.of_decimals::<Decimal64Type>(column, *p, *s)?,
        DataType::Decimal128(p, s) => hex.of_decimals::<Decimal128Type>(column, *p, *s)?,
        DataType::Decimal256(p, s) => hex.of_decimals::<Decimal256Type>(column, *p, *s)?,
        DataType::Date32 => hex.of_texts(column.as_primitive::<Date32Type>(), |days, out| {
            iso::push_date(out, i64::from(days))
        })?,
        DataType::Date64 => hex.of_texts(column.as_primitive::<Date64Type>(), |millis, out| {
            iso::push_date(out, millis.div_euclid(DAY_MILLIS));
        })?,
        DataType::Time32(TimeUnit::Second) => {
            hex.of_times::<Time32SecondType>(column, TimeUnit::Second)?
        }
        DataType::Time32(_) => {
            hex.of_times::<Time32MillisecondType>(column, TimeUnit::Millisecond)?
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            hex.of_times::<Time64MicrosecondType>(column, TimeUnit::Microsecond)?
        }
        DataType::Time64(_) => {
            hex.of_times::<Time64NanosecondType>(column, TimeUnit::Nanosecond)?
        }
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => hex.of_timestamps::<TimestampSecondType>(column, zone.is_some())?,
            TimeUnit::Millisecond => {
                hex.of_timestamps::<TimestampMillisecondType>(column, zone.is_some())?
            }
            TimeUnit::Microsecond => {
                hex.of_timestamps::<TimestampMicrosecondType>(column, zone.is_some())?
            }
            TimeUnit::Nanosecond => {
                hex.of_timestamps::<TimestampNanosecondType>(column, zone.is_some())?
            }
        },
        DataType::Dictionary(_, _) => return of_dictionary(hex, column, algorithm),
        _ => return Ok(None),
    };
    Ok(Some(digests))
}

/// Each value of the dictionary is hashed once.
fn of_dictionary(
    mut hex: Hex,
    column: &ArrayRef,
    algorithm: Option<Algorithm>,
) -> Result<Option<StringArray>> {
    let dictionary = column.as_any_dictionary();
    let Some(values) = written(dictionary.values(), algorithm)? else {
        return Ok(None);
    };
    if values.is_empty() {
        return Ok(Some(StringArray::new_null(column.len())));
    }
    for (row, key) in dictionary.normalized_keys().into_iter().enumerate() {
        if !hex.is_null(row) {
            hex.digits.extend_from_slice(values.value(key).as_bytes());
        }
        hex.end_row();
    }
    hex.finish().map(Some)
}

/// Collects digests.
struct Hex {
    algorithm: Option<Algorithm>,
    digits: Vec<u8>,
    offsets: Vec<i32>,
    nulls: Option<NullBuffer>,
}

impl Hex {
    /// Room for the digests of every row, or a failure at once.
    fn new(column: &ArrayRef, algorithm: Option<Algorithm>) -> Result<Self> {
        let digits_max = algorithm.map_or(0, |a| column.len().saturating_mul(a.hex_digits()));
        if i32::try_from(digits_max).is_err() {
            return Err(crate::text::too_large());
        }
        let mut offsets = Vec::with_capacity(column.len() + 1);
        offsets.push(0);
        let nulls = column.logical_nulls().filter(|n| n.null_count() > 0);
        Ok(Self {
            algorithm,
            digits: Vec::with_capacity(digits_max),
            offsets,
            nulls,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    fn of_bytes<A: ArrayAccessor<Item: AsRef<[u8]>>>(mut self, array: A) -> Result<StringArray> {
        for row in 0..array.len() {
            if !self.is_null(row) {
                self.push(array.value(row).as_ref());
            }
            self.end_row();
        }
        self.finish()
    }

    fn of_texts<A: ArrayAccessor>(
        mut self,
        array: A,
        write: impl Fn(A::Item, &mut String),
    ) -> Result<StringArray> {
        let mut text = String::new();
        for row in 0..array.len() {
            if !self.is_null(row) {
                text.clear();
                write(array.value(row), &mut text);
                self.push(text.as_bytes());
            }
            self.end_row();
        }
        self.finish()
    }

    fn of_numbers<T: ArrowPrimitiveType<Native: std::fmt::Display>>(
        self,
        column: &ArrayRef,
    ) -> Result<StringArray> {
        self.of_texts(column.as_primitive::<T>(), |value, out| {
            let _ = write!(out, "{value}");
        })
    }

    fn of_decimals<T: DecimalType>(
        self,
        column: &ArrayRef,
        precision: u8,
        scale: i8,
    ) -> Result<StringArray> {
        self.of_texts(column.as_primitive::<T>(), |v, out| {
            out.push_str(&T::format_decimal(v, precision, scale))
        })
    }

    fn of_times<T: ArrowPrimitiveType<Native: Into<i64>>>(
        self,
        column: &ArrayRef,
        unit: TimeUnit,
    ) -> Result<StringArray> {
        self.of_texts(column.as_primitive::<T>(), |value, out| {
            iso::push_time(out, value.into(), unit)
        })
    }

    fn of_timestamps<T: ArrowTimestampType>(
        self,
        column: &ArrayRef,
        zoned: bool,
    ) -> Result<StringArray> {
        self.of_texts(column.as_primitive::<T>(), |value, out| {
            iso::push_timestamp(out, value, T::UNIT, zoned)
        })
    }

    fn push(&mut self, bytes: &[u8]) {
        match self.algorithm {
            Some(Algorithm::Sha256) => push_hex(&mut self.digits, &Sha256::digest(bytes)),
            Some(Algorithm::Md5) => push_hex(&mut self.digits, &Md5::digest(bytes)),
            None => self.digits.extend_from_slice(bytes),
        }
    }

    fn end_row(&mut self) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "`finish` compares the whole"
        )]
        self.offsets.push(self.digits.len() as i32);
    }

    fn finish(self) -> Result<StringArray> {
        if i32::try_from(self.digits.len()).is_err() {
            return Err(crate::text::too_large());
        }
        let offsets = OffsetBuffer::new(self.offsets.into());
        Ok(StringArray::try_new(
            offsets,
            Buffer::from_vec(self.digits),
            self.nulls,
        )?)
    }
}

/// In lowercase hexadecimal digits.
pub(crate) fn push_hex(digits: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        digits.push(HEX_DIGITS[usize::from(byte >> 4)]);
        digits.push(HEX_DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray,
        FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray,
        NullArray, Time32MillisecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt64Array,
    };

    use super::*;

    /// The digests are those of the texts; also when cut out of a larger array.
    #[track_caller]
    fn check(array: impl Array + 'static, texts: &[Option<&str>]) {
        let column: ArrayRef = Arc::new(array);
        let expect: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
            let expect = of(&expect, algorithm).unwrap().unwrap();
            assert_eq!(
                of(&column, algorithm).unwrap().unwrap(),
                expect,
                "{algorithm:?}"
            );
            let tail = of(&column.slice(1, column.len() - 1), algorithm)
                .unwrap()
                .unwrap();
            assert_eq!(
                tail,
                expect.slice(1, column.len() - 1),
                "{algorithm:?}, sliced"
            );
        }
    }

    #[test]
    fn digests_are_the_published_ones() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(""), Some("abc"), None]));
        let sha256 = of(&texts, Algorithm::Sha256).unwrap().unwrap();
        assert_eq!(
            sha256.value(0),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            sha256.value(1),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(sha256.is_null(2));
        let md5 = of(&texts, Algorithm::Md5).unwrap().unwrap();
        assert_eq!(
            (md5.value(0), md5.value(1)),
            (
                "d41d8cd98f00b204e9800998ecf8427e",
                "900150983cd24fb0d6963f7d28e17f72"
            )
        );
    }

    #[test]
    fn values_hash_as_their_texts() {
        check(
            LargeStringArray::from(vec![Some("ß"), None, Some("e\u{301}")]),
            &[Some("ß"), None, Some("e\u{301}")],
        );
        check(
            Int64Array::from(vec![Some(-7), None, Some(i64::MAX)]),
            &[Some("-7"), None, Some("9223372036854775807")],
        );
        check(
            UInt64Array::from(vec![0, u64::MAX]),
            &[Some("0"), Some("18446744073709551615")],
        );
        let floats = [
            Some(1.0),
            Some(0.1),
            Some(1e21),
            Some(-0.0),
            Some(f64::NAN),
            None,
        ];
        let texts = [
            Some("1"),
            Some("0.1"),
            Some("1000000000000000000000"),
            Some("-0"),
            Some("NaN"),
            None,
        ];
        check(Float64Array::from(floats.to_vec()), &texts);
        check(
            Float32Array::from(vec![0.1, f32::INFINITY]),
            &[Some("0.1"), Some("inf")],
        );
        check(
            BooleanArray::from(vec![Some(true), None, Some(false)]),
            &[Some("true"), None, Some("false")],
        );
        let decimals = Decimal128Array::from(vec![Some(150), None, Some(-5)])
            .with_precision_and_scale(9, 2)
            .unwrap();
        check(decimals, &[Some("1.50"), None, Some("-0.05")]);
        check(
            BinaryArray::from_iter([Some(b"abc".as_slice()), None]),
            &[Some("abc"), None],
        );
        let fixed = FixedSizeBinaryArray::try_from_iter([b"ab", b"cd"].into_iter()).unwrap();
        check(fixed, &[Some("ab"), Some("cd")]);
        check(NullArray::new(2), &[None, None]);
    }

    #[test]
    fn dates_and_times_hash_as_iso_8601() {
        check(
            Date32Array::from(vec![Some(0), None, Some(20_484)]),
            &[Some("1970-01-01"), None, Some("2026-01-31")],
        );
        check(
            Date64Array::from(vec![-86_400_000, 0]),
            &[Some("1969-12-31"), Some("1970-01-01")],
        );
        check(
            Time32MillisecondArray::from(vec![1_500, 86_399_000]),
            &[Some("00:00:01.5"), Some("23:59:59")],
        );
        check(
            TimestampSecondArray::from(vec![0, 1]),
            &[Some("1970-01-01T00:00:00"), Some("1970-01-01T00:00:01")],
        );
        let zoned =
            TimestampMillisecondArray::from(vec![Some(1_250), None]).with_timezone("Europe/Berlin");
        check(zoned, &[Some("1970-01-01T00:00:01.25Z"), None]);
        let nanos = TimestampNanosecondArray::from(vec![1_250_000_000, -1]);
        check(
            nanos,
            &[
                Some("1970-01-01T00:00:01.25"),
                Some("1969-12-31T23:59:59.999999999"),
            ],
        );
    }

    #[test]
    fn dictionaries_hash_as_their_values() {
        let keys = Int8Array::from(vec![Some(1), None, Some(0), Some(2), Some(1)]);
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None]));
        check(
            DictionaryArray::new(keys.clone(), words),
            &[Some("b"), None, Some("a"), None, Some("b")],
        );
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30]));
        check(
            DictionaryArray::new(keys, numbers),
            &[Some("20"), None, Some("10"), Some("30"), Some("20")],
        );
        let empty: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        check(
            DictionaryArray::new(Int8Array::from(vec![None, None]), empty),
            &[None, None],
        );
    }

    #[test]
    fn nested_types_have_no_text() {
        let lists = arrow_array::new_empty_array(&DataType::new_list(DataType::Int32, true));
        assert!(of(&lists, Algorithm::Sha256).unwrap().is_none());
    }
}
