//! The texts of one column by its type, and what is made of them: digests, or something else.

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
use odibi_sdk::arrow::select::interleave::interleave;
use odibi_sdk::iso;
use odibi_sdk::prelude::*;
use sha2::Sha256;

use super::Algorithm;

const DAY_MILLIS: i64 = 86_400_000;

/// What is made of the text of each value.
#[derive(Clone, Copy)]
struct Change<'a> {
    /// How long each result is, where they all are alike.
    bytes_each: usize,
    /// Puts the result behind those of the rows before.
    push: &'a dyn Fn(&[u8], &mut Vec<u8>),
}

/// None for types whose values have no text.
///
/// # Errors
/// More rows than the digests of which fit one array.
pub(super) fn of(column: &ArrayRef, algorithm: Algorithm) -> Result<Option<StringArray>> {
    let change = match algorithm {
        Algorithm::Sha256 => Change {
            bytes_each: 64,
            push: &|text: &[u8], out: &mut Vec<u8>| push_hex(out, &Sha256::digest(text)),
        },
        Algorithm::Md5 => Change {
            bytes_each: 32,
            push: &|text: &[u8], out: &mut Vec<u8>| push_hex(out, &Md5::digest(text)),
        },
    };
    written(column, change)
}

/// What `of` hashes. None for types whose values have no text, and for binary values.
///
/// # Errors
/// The texts outgrow one array.
pub(crate) fn texts(column: &ArrayRef) -> Result<Option<StringArray>> {
    match column.as_string_opt::<i32>() {
        Some(texts) => Ok(Some(texts.clone())),
        None => changed(column, 0, &|text, out| out.extend_from_slice(text)),
    }
}

/// As `texts`, with something else in place of each: `push` puts it behind what is there, UTF-8 again. Where all are of
/// one length, `bytes_each` says it, and there is room at once.
///
/// # Errors
/// The texts outgrow one array.
pub(crate) fn changed(
    column: &ArrayRef,
    bytes_each: usize,
    push: &dyn Fn(&[u8], &mut Vec<u8>),
) -> Result<Option<StringArray>> {
    if has_bytes(column.data_type()) {
        return Ok(None);
    }
    written(column, Change { bytes_each, push })
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

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types are nested or intervals"
)]
fn written(column: &ArrayRef, change: Change<'_>) -> Result<Option<StringArray>> {
    let writer = Writer::new(column, change)?;
    let made = match column.data_type() {
        DataType::Null => StringArray::new_null(column.len()),
        DataType::Utf8 => writer.of_bytes(column.as_string::<i32>())?,
        DataType::LargeUtf8 => writer.of_bytes(column.as_string::<i64>())?,
        DataType::Binary => writer.of_bytes(column.as_binary::<i32>())?,
        DataType::LargeBinary => writer.of_bytes(column.as_binary::<i64>())?,
        DataType::FixedSizeBinary(_) => writer.of_bytes(column.as_fixed_size_binary())?,
        DataType::Boolean => writer.of_texts(column.as_boolean(), |v, out| {
            out.push_str(if v { "true" } else { "false" })
        })?,
        DataType::Int8 => writer.of_numbers::<Int8Type>(column)?,
        DataType::Int16 => writer.of_numbers::<Int16Type>(column)?,
        DataType::Int32 => writer.of_numbers::<Int32Type>(column)?,
        DataType::Int64 => writer.of_numbers::<Int64Type>(column)?,
        DataType::UInt8 => writer.of_numbers::<UInt8Type>(column)?,
        DataType::UInt16 => writer.of_numbers::<UInt16Type>(column)?,
        DataType::UInt32 => writer.of_numbers::<UInt32Type>(column)?,
        DataType::UInt64 => writer.of_numbers::<UInt64Type>(column)?,
        DataType::Float16 => writer.of_numbers::<Float16Type>(column)?,
        DataType::Float32 => writer.of_numbers::<Float32Type>(column)?,
        DataType::Float64 => writer.of_numbers::<Float64Type>(column)?,
        DataType::Decimal32(p, s) => writer.of_decimals::<Decimal32Type>(column, *p, *s)?,
        DataType::Decimal64(p, s) => writer.of_decimals::<Decimal64Type>(column, *p, *s)?,
        DataType::Decimal128(p, s) => writer.of_decimals::<Decimal128Type>(column, *p, *s)?,
        DataType::Decimal256(p, s) => writer.of_decimals::<Decimal256Type>(column, *p, *s)?,
        DataType::Date32 => writer.of_texts(column.as_primitive::<Date32Type>(), |days, out| {
            iso::push_date(out, i64::from(days))
        })?,
        DataType::Date64 => {
            writer.of_texts(column.as_primitive::<Date64Type>(), |millis, out| {
                iso::push_date(out, millis.div_euclid(DAY_MILLIS));
            })?
        }
        DataType::Time32(TimeUnit::Second) => {
            writer.of_times::<Time32SecondType>(column, TimeUnit::Second)?
        }
        DataType::Time32(_) => {
            writer.of_times::<Time32MillisecondType>(column, TimeUnit::Millisecond)?
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            writer.of_times::<Time64MicrosecondType>(column, TimeUnit::Microsecond)?
        }
        DataType::Time64(_) => {
            writer.of_times::<Time64NanosecondType>(column, TimeUnit::Nanosecond)?
        }
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => {
                writer.of_timestamps::<TimestampSecondType>(column, zone.is_some())?
            }
            TimeUnit::Millisecond => {
                writer.of_timestamps::<TimestampMillisecondType>(column, zone.is_some())?
            }
            TimeUnit::Microsecond => {
                writer.of_timestamps::<TimestampMicrosecondType>(column, zone.is_some())?
            }
            TimeUnit::Nanosecond => {
                writer.of_timestamps::<TimestampNanosecondType>(column, zone.is_some())?
            }
        },
        DataType::Dictionary(_, _) => return of_dictionary(writer, column),
        _ => return Ok(None),
    };
    Ok(Some(made))
}

/// Each value that a row has is changed once.
fn of_dictionary(mut writer: Writer<'_>, column: &ArrayRef) -> Result<Option<StringArray>> {
    let dictionary = column.as_any_dictionary();
    let all = dictionary.values();
    // Filtered rows keep their whole dictionary.
    let places = if all.len() > column.len() {
        Some(places(column))
    } else {
        None
    };
    let used = match &places {
        Some(places) => {
            let used = places.iter().enumerate();
            let used = used.filter_map(|(at, place)| place.map(|_| (0, at)));
            interleave(&[all.as_ref()], &used.collect::<Vec<_>>())?
        }
        None => Arc::clone(all),
    };
    let Some(values) = written(&used, writer.change)? else {
        return Ok(None);
    };
    if all.is_empty() {
        return Ok(Some(StringArray::new_null(column.len())));
    }
    for (row, key) in dictionary.normalized_keys().into_iter().enumerate() {
        if !writer.is_null(row) {
            let at = places.as_ref().map_or(Some(key), |places| places[key]);
            let at = at.ok_or_else(|| Failure::internal("a key of no row"))?;
            writer.made.extend_from_slice(values.value(at).as_bytes());
        }
        writer.end_row();
    }
    writer.finish().map(Some)
}

/// For each value of a dictionary that a row has, its place among those.
fn places(column: &ArrayRef) -> Vec<Option<usize>> {
    let dictionary = column.as_any_dictionary();
    let mut places = vec![None; dictionary.values().len()];
    for (row, key) in dictionary.normalized_keys().into_iter().enumerate() {
        if dictionary.keys().is_valid(row) {
            places[key] = Some(0);
        }
    }
    for (place, used) in places.iter_mut().flatten().enumerate() {
        *used = place;
    }
    places
}

/// Collects what is made of the texts.
struct Writer<'a> {
    change: Change<'a>,
    made: Vec<u8>,
    offsets: Vec<i32>,
    nulls: Option<NullBuffer>,
}

impl<'a> Writer<'a> {
    /// Room for the results of every row, or a failure at once.
    fn new(column: &ArrayRef, change: Change<'a>) -> Result<Self> {
        let bytes = column.len().saturating_mul(change.bytes_each);
        if i32::try_from(bytes).is_err() {
            return Err(crate::text::too_large());
        }
        let mut offsets = Vec::with_capacity(column.len() + 1);
        offsets.push(0);
        let nulls = column.logical_nulls().filter(|n| n.null_count() > 0);
        Ok(Self {
            change,
            made: Vec::with_capacity(bytes),
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

    fn push(&mut self, text: &[u8]) {
        (self.change.push)(text, &mut self.made);
    }

    fn end_row(&mut self) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "`finish` compares the whole"
        )]
        self.offsets.push(self.made.len() as i32);
    }

    fn finish(self) -> Result<StringArray> {
        if i32::try_from(self.made.len()).is_err() {
            return Err(crate::text::too_large());
        }
        let offsets = OffsetBuffer::new(self.offsets.into());
        Ok(StringArray::try_new(
            offsets,
            Buffer::from_vec(self.made),
            self.nulls,
        )?)
    }
}

/// In lowercase hexadecimal digits.
pub(crate) fn push_hex(digits: &mut Vec<u8>, bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<16>();
    for bytes in whole {
        // Of one length, and without a table: the compiler then makes all of them at once.
        let mut pairs = [[0; 2]; 16];
        for (pair, byte) in pairs.iter_mut().zip(bytes) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        digits.extend_from_slice(pairs.as_flattened());
    }
    for byte in rest {
        digits.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

fn digit(of: u8) -> u8 {
    let letter = if of > 9 { b'a' - b'9' - 1 } else { 0 };
    b'0' + of + letter
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

    /// What rows that a filter left give: their dictionary has more values than there are rows.
    #[test]
    fn of_a_large_dictionary_only_what_rows_have_is_changed() {
        let words: ArrayRef = Arc::new(StringArray::from(vec![
            Some("a"),
            Some("b"),
            None,
            Some("c"),
            Some("b"),
            Some("d"),
        ]));
        let keys = Int8Array::from(vec![Some(4), Some(3), None, Some(2), Some(4)]);
        check(
            DictionaryArray::new(keys, Arc::clone(&words)),
            &[Some("b"), Some("c"), None, None, Some("b")],
        );
        let seen = std::cell::RefCell::new(Vec::new());
        let keys = Int8Array::from(vec![Some(3), None, Some(3)]);
        let column: ArrayRef = Arc::new(DictionaryArray::new(keys, words));
        let made = changed(&column, 0, &|text, out| {
            seen.borrow_mut().push(text.to_vec());
            out.extend_from_slice(text);
            out.push(b'!');
        });
        let expect = StringArray::from(vec![Some("c!"), None, Some("c!")]);
        assert_eq!(made.unwrap().unwrap(), expect);
        assert_eq!(seen.into_inner(), [b"c"]);
    }

    #[test]
    fn every_byte_has_its_two_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        for length in [0, 1, 15, 16, 17, 32, 47, 256] {
            for bytes in bytes.windows(length.max(1)).map(|b| &b[..length]) {
                let mut digits = b"0x".to_vec();
                push_hex(&mut digits, bytes);
                let expect: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(String::from_utf8(digits).unwrap(), format!("0x{expect}"));
            }
        }
    }

    #[test]
    fn nested_types_have_no_text() {
        let lists = arrow_array::new_empty_array(&DataType::new_list(DataType::Int32, true));
        assert!(of(&lists, Algorithm::Sha256).unwrap().is_none());
    }
}
