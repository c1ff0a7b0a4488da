//! Keys of few bits: all key columns of a row in one number, equal where the keys are.
//!
//! Numbers, times and flags have their bits side by side, and before those of a column that may be null stands one that
//! says whether it is not. A set of numbers needs neither an allocation nor a comparison of bytes for each row.

use std::hash::Hash;
use std::ops::{BitOrAssign, Shl};

use odibi_sdk::arrow::buffer::{ArrowNativeType, BooleanBuffer, NullBuffer, ScalarBuffer};
use odibi_sdk::prelude::*;

use super::canonical;

/// A number that keys are packed into.
pub(crate) trait Word:
    Copy + Default + Eq + Hash + From<u64> + Shl<u32, Output = Self> + BitOrAssign + 'static
{
    /// How many bits it has.
    const BITS: u32;
}

impl Word for u64 {
    const BITS: u32 = Self::BITS;
}

impl Word for u128 {
    const BITS: u32 = Self::BITS;
}

/// Where each key column lies.
#[derive(Debug, Clone)]
pub(crate) struct Packing {
    columns: Vec<Place>,
    /// Of all columns.
    bits: u32,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first of its bits.
    at: u32,
    nullable: bool,
}

impl Packing {
    /// Every column of the schema belongs to the key; `None` if one of them has a type of no fixed width, or of more than
    /// 64 bits.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        let mut columns = Vec::with_capacity(schema.fields().len());
        let mut at = 0;
        for field in schema.fields() {
            let nullable = field.is_nullable();
            columns.push(Place { at, nullable });
            at += width(field.data_type())? + u32::from(nullable);
        }
        Some(Self { columns, bits: at })
    }

    /// Does the key fit into such a number?
    pub(crate) fn fits<K: Word>(&self) -> bool {
        self.bits <= K::BITS
    }

    /// The key of each row, which must fit.
    pub(crate) fn pack<K: Word>(&self, batch: &RecordBatch, keys: &mut Vec<K>) {
        keys.clear();
        keys.resize(batch.num_rows(), K::default());
        for (place, column) in self.columns.iter().zip(batch.columns()) {
            let column = canonical(column);
            let nulls = column.nulls().filter(|n| n.null_count() > 0);
            match Values::of(&column) {
                Values::Flags(v) => place.put(keys, v.iter().map(u64::from), nulls),
                Values::Bits8(v) => place.put(keys, v.iter().map(|v| u64::from(*v)), nulls),
                Values::Bits16(v) => place.put(keys, v.iter().map(|v| u64::from(*v)), nulls),
                Values::Bits32(v) => place.put(keys, v.iter().map(|v| u64::from(*v)), nulls),
                Values::Bits64(v) => place.put(keys, v.iter().copied(), nulls),
            }
        }
    }
}

impl Place {
    fn put<K: Word>(
        self,
        keys: &mut [K],
        values: impl Iterator<Item = u64>,
        nulls: Option<&NullBuffer>,
    ) {
        let at = self.at;
        let rows = keys.iter_mut().zip(values);
        match (self.nullable, nulls) {
            (false, _) => rows.for_each(|(key, value)| *key |= K::from(value) << at),
            (true, None) => rows.for_each(|(key, value)| {
                *key |= K::from(1) << at;
                *key |= K::from(value) << (at + 1);
            }),
            // What lies under a null does not count.
            (true, Some(nulls)) => rows.zip(nulls.iter()).for_each(|((key, value), there)| {
                let there = u64::from(there);
                *key |= K::from(there) << at;
                *key |= K::from(value & there.wrapping_neg()) << (at + 1);
            }),
        }
    }
}

/// Bits of a value without its null.
fn width(data_type: &DataType) -> Option<u32> {
    if *data_type == DataType::Boolean {
        return Some(1);
    }
    // Those of eight bytes are two numbers, and may lie where a number of eight bytes may not.
    if matches!(data_type, DataType::Interval(_)) {
        return None;
    }
    match data_type.primitive_width()? {
        1 => Some(8),
        2 => Some(16),
        4 => Some(32),
        8 => Some(64),
        _ => None,
    }
}

/// The values of a column as they lie in memory, whatever they mean.
enum Values {
    Flags(BooleanBuffer),
    Bits8(ScalarBuffer<u8>),
    Bits16(ScalarBuffer<u16>),
    Bits32(ScalarBuffer<u32>),
    Bits64(ScalarBuffer<u64>),
}

impl Values {
    /// The type has a width.
    fn of(column: &ArrayRef) -> Self {
        fn values<T: ArrowNativeType>(column: &ArrayRef) -> ScalarBuffer<T> {
            let data = column.to_data();
            ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
        }
        if let Some(flags) = column.as_boolean_opt() {
            return Self::Flags(flags.values().clone());
        }
        match column.data_type().primitive_width() {
            Some(1) => Self::Bits8(values(column)),
            Some(2) => Self::Bits16(values(column)),
            Some(4) => Self::Bits32(values(column)),
            _ => Self::Bits64(values(column)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    #![allow(
        clippy::cast_possible_truncation,
        reason = "any value of the type will do"
    )]

    use arrow_array::types::{
        Date32Type, Date64Type, Decimal32Type, Decimal64Type, DurationNanosecondType, Float16Type,
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32SecondType,
        Time64MicrosecondType, TimestampMicrosecondType, TimestampSecondType, UInt8Type,
        UInt16Type, UInt32Type, UInt64Type,
    };
    use arrow_array::{ArrowPrimitiveType, PrimitiveArray};
    use proptest::prelude::*;

    use super::*;
    use crate::keys::Keys;
    use crate::testing;

    type F16 = <Float16Type as ArrowPrimitiveType>::Native;
    type Cells = [Option<i64>];

    fn of<T: ArrowPrimitiveType>(cells: &Cells, make: impl Fn(i64) -> T::Native) -> ArrayRef {
        // A null hides another value each time.
        let values = cells.iter().zip(7..);
        let values: Vec<T::Native> = values.map(|(c, at)| make(c.unwrap_or(at))).collect();
        let nulls: NullBuffer = cells.iter().map(Option::is_some).collect();
        let nulls = Some(nulls).filter(|n| n.null_count() > 0);
        Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
    }

    /// Few different values, among them zeros and numbers that are none.
    fn float(value: i64) -> f64 {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63 | 7);
        match value {
            0 => 0.0,
            1 => -0.0,
            2 => f64::NAN,
            3 => negative_nan,
            4 => f64::NEG_INFINITY,
            value => value as f64 / 4.0,
        }
    }

    const KINDS: usize = 21;

    fn column(kind: usize, cells: &Cells) -> ArrayRef {
        match kind {
            0 => of::<Int8Type>(cells, |v| v as i8),
            1 => of::<Int16Type>(cells, |v| v as i16),
            2 => of::<Int32Type>(cells, |v| v as i32),
            3 => of::<Int64Type>(cells, |v| v),
            4 => of::<UInt8Type>(cells, |v| v as u8),
            5 => of::<UInt16Type>(cells, |v| v as u16),
            6 => of::<UInt32Type>(cells, |v| v as u32),
            7 => of::<UInt64Type>(cells, |v| v as u64),
            8 => of::<Date32Type>(cells, |v| v as i32),
            9 => of::<Date64Type>(cells, |v| v),
            10 => of::<Time32SecondType>(cells, |v| v as i32),
            11 => of::<Time64MicrosecondType>(cells, |v| v),
            12 => of::<TimestampSecondType>(cells, |v| v),
            13 => of::<TimestampMicrosecondType>(cells, |v| v),
            14 => of::<DurationNanosecondType>(cells, |v| v),
            15 => of::<Decimal32Type>(cells, |v| v as i32),
            16 => of::<Decimal64Type>(cells, |v| v),
            17 => of::<Float16Type>(cells, |v| F16::from_f64(float(v))),
            18 => of::<Float32Type>(cells, |v| float(v) as f32),
            19 => of::<Float64Type>(cells, float),
            _ => Arc::new(
                cells
                    .iter()
                    .map(|c| c.map(|v| v % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
        }
    }

    fn table(columns: Vec<(ArrayRef, bool)>) -> RecordBatch {
        let columns = columns.into_iter().enumerate();
        let columns = columns.map(|(at, (array, nullable))| (at.to_string(), array, nullable));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    /// Two rows have the same number where their bytes are the same; however the batch is cut.
    #[track_caller]
    fn check<K: Word + std::fmt::Debug>(batch: &RecordBatch, cut: usize) {
        let packing = Packing::of(&batch.schema()).unwrap();
        assert!(packing.fits::<K>());
        let mut keys: Vec<K> = Vec::new();
        packing.pack(batch, &mut keys);
        let mut bytes = Keys::new(&batch.schema()).unwrap();
        let rows = bytes.of(batch).unwrap();
        assert_eq!(keys.len(), rows.num_rows());
        for a in 0..keys.len() {
            for b in 0..a {
                let same = rows.row(a) == rows.row(b);
                assert_eq!(keys[a] == keys[b], same, "rows {a} and {b} of {batch:?}");
            }
        }
        let cut = cut.min(batch.num_rows());
        let mut part: Vec<K> = Vec::new();
        packing.pack(&batch.slice(0, cut), &mut part);
        assert_eq!(part, keys[..cut]);
        packing.pack(&batch.slice(cut, batch.num_rows() - cut), &mut part);
        assert_eq!(part, keys[cut..]);
    }

    #[test]
    fn a_key_of_many_bits_is_no_number() {
        let schema = |kinds: &[(DataType, bool)]| {
            let fields = kinds.iter().enumerate();
            let fields = fields.map(|(at, (t, n))| Field::new(at.to_string(), t.clone(), *n));
            Schema::new(fields.collect::<Vec<_>>())
        };
        let bits = |kinds: &[(DataType, bool)]| Packing::of(&schema(kinds)).map(|p| p.bits);
        let (int, long, text) = (DataType::Int32, DataType::Int64, DataType::Utf8);
        assert_eq!(
            bits(&[(int.clone(), false), (int.clone(), false)]),
            Some(64)
        );
        assert_eq!(bits(&[(int.clone(), true), (int.clone(), false)]), Some(65));
        assert_eq!(
            bits(&[(long.clone(), false), (long.clone(), false)]),
            Some(128)
        );
        assert_eq!(bits(&[(DataType::Boolean, true)]), Some(2));
        assert_eq!(bits(&[(int, false), (text, false)]), None);
        assert_eq!(bits(&[(DataType::Decimal128(9, 2), false)]), None);
        let two = Packing::of(&schema(&[(long.clone(), true), (long, false)])).unwrap();
        assert!(!two.fits::<u64>() && !two.fits::<u128>());
    }

    #[test]
    fn ends_of_the_range_do_not_touch_their_neighbours() {
        let ends = [i64::MIN, -1, 0, 1, i64::MAX].map(Some);
        let mut cells = vec![None];
        cells.extend(ends);
        for kind in 0..KINDS {
            let all = column(kind, &cells);
            check::<u128>(
                &table(vec![(Arc::clone(&all), true), (column(0, &cells), true)]),
                3,
            );
            check::<u128>(&table(vec![(column(6, &cells), true), (all, true)]), 3);
            let some = column(kind, &ends);
            check::<u64>(&table(vec![(Arc::clone(&some), false)]), 2);
            check::<u128>(&table(vec![(column(3, &ends), false), (some, false)]), 2);
        }
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn numbers_are_equal_where_keys_are(
            kinds in proptest::collection::vec((0..KINDS, any::<bool>()), 1..4),
            rows in proptest::collection::vec(proptest::array::uniform3(proptest::option::weighted(0.8, -2..6i64)), 0..30),
            cut in 0..30usize,
        ) {
            let columns = kinds.iter().enumerate().map(|(at, (kind, nullable))| {
                let cells: Vec<_> = rows.iter().map(|r| if *nullable { r[at] } else { r[at].or(Some(0)) }).collect();
                (column(*kind, &cells), *nullable)
            });
            let batch = table(columns.collect());
            let packing = Packing::of(&batch.schema()).unwrap();
            if packing.fits::<u64>() {
                check::<u64>(&batch, cut);
            }
            if packing.fits::<u128>() {
                check::<u128>(&batch, cut);
            }
        }
    }
}
