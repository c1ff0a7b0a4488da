//! Random tables, the same every time.

use arrow_array::types::Date32Type;
use arrow_array::{Date32Array, Decimal128Array, PrimitiveArray, TimestampMicrosecondArray};
use odibi_sdk::prelude::*;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> i64 {
        i64::try_from(self.next() % n).unwrap()
    }

    /// Null in one of ten.
    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(10) == 0 {
            None
        } else {
            Some(value(self))
        }
    }
}

const WORDS: [&str; 7] = ["ant", "Bär", "", "df", "zoë", "日本", "a'b\"c"];

/// `id, k, g, v, n, d, t, b`
pub(crate) fn df(rows: usize, seed: u64) -> RecordBatch {
    let mut r = Random(seed);
    let ids: Vec<i64> = (0..rows).map(|i| i64::try_from(i).unwrap()).collect();
    let k: Vec<Option<i64>> = (0..rows).map(|_| r.maybe(|r| r.below(6))).collect();
    let g: Vec<Option<&str>> = (0..rows)
        .map(|_| r.maybe(|r| WORDS[usize::try_from(r.below(7)).unwrap()]))
        .collect();
    let v: Vec<Option<f64>> = (0..rows)
        .map(|_| r.maybe(|r| f64::from(u8::try_from(r.below(200)).unwrap()) / 4.0 - 20.0))
        .collect();
    let n: Vec<Option<i128>> = (0..rows)
        .map(|_| r.maybe(|r| i128::from(r.below(100_000)) - 50_000))
        .collect();
    let d: Vec<Option<i32>> = (0..rows)
        .map(|_| r.maybe(|r| 20_000 + i32::try_from(r.below(60)).unwrap()))
        .collect();
    let t: Vec<Option<i64>> = (0..rows)
        .map(|_| r.maybe(|r| 1_700_000_000_000_000 + r.below(500) * 60_000_000))
        .collect();
    let b: Vec<Option<bool>> = (0..rows).map(|_| r.maybe(|r| r.below(2) == 0)).collect();
    let dates: PrimitiveArray<Date32Type> = Date32Array::from(d);
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef, false),
        ("k", Arc::new(Int64Array::from(k)), true),
        ("g", Arc::new(StringArray::from(g)), true),
        ("v", Arc::new(Float64Array::from(v)), true),
        (
            "n",
            Arc::new(
                Decimal128Array::from(n)
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
            true,
        ),
        ("d", Arc::new(dates), true),
        ("t", Arc::new(TimestampMicrosecondArray::from(t)), true),
        ("b", Arc::new(BooleanArray::from(b)), true),
    ])
    .unwrap()
}

/// `k, g, label, w`: keys repeat, some are missing, some are null.
pub(crate) fn other(rows: usize, seed: u64) -> RecordBatch {
    let mut r = Random(seed);
    let k: Vec<Option<i64>> = (0..rows).map(|_| r.maybe(|r| r.below(9))).collect();
    let g: Vec<Option<&str>> = (0..rows)
        .map(|_| r.maybe(|r| WORDS[usize::try_from(r.below(7)).unwrap()]))
        .collect();
    let label: Vec<String> = (0..rows).map(|i| format!("label {i}")).collect();
    let w: Vec<Option<i64>> = (0..rows).map(|_| r.maybe(|r| r.below(50))).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(Int64Array::from(k)) as ArrayRef, true),
        ("g", Arc::new(StringArray::from(g)), true),
        ("label", Arc::new(StringArray::from(label)), true),
        ("w", Arc::new(Int64Array::from(w)), true),
    ])
    .unwrap()
}
