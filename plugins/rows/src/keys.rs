//! Which rows have the same key: keys as bytes that can be compared, and the sessions that keep one row of each.
//!
//! Null equals null. Of floats, -0 equals 0 and every NaN equals every other; inside lists and structs floats are
//! compared bit by bit. Text is compared byte by byte.

mod packed;

use std::collections::HashSet;

use arrow_array::ArrowPrimitiveType;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_row::{RowConverter, Rows, SortField};
use odibi_sdk::hash::BuildQuick;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use packed::{Packing, Word};

/// Indices of key columns, each named once.
///
/// # Errors
/// `unknown-column`, `duplicate-column`, `unfit-schema` for a type that cannot be compared.
pub(crate) fn columns(pointer: &str, names: &[String], schema: &Schema) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Err(Failure::param(pointer, "at least one column must be named"));
    }
    let columns = find_each(pointer, names, schema)?;
    for (i, column) in columns.iter().enumerate() {
        let (pointer, name) = (child(pointer, i), &names[i]);
        if columns[..i].contains(column) {
            return Err(
                Failure::param(pointer, format!("column `{name}` is named twice"))
                    .code("duplicate-column"),
            );
        }
        must_compare(schema.field(*column)).map_err(|f| f.at_param(pointer))?;
    }
    Ok(columns)
}

/// # Errors
/// `unfit-schema`.
pub(crate) fn must_compare(field: &Field) -> Result<()> {
    if RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]) {
        return Ok(());
    }
    Err(Failure::schema(format!(
        "values of column `{}` cannot be compared: {}",
        field.name(),
        field.data_type()
    )))
}

/// Is the host's idea of equal and ours the same? Then it may partition and sort by the column.
pub(crate) fn is_plain(data_type: &DataType) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other types are")]
    match data_type {
        DataType::Dictionary(_, values) => is_plain(values),
        DataType::Null
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Interval(_) => false,
        nested if nested.is_nested() => false,
        _ => true,
    }
}

/// Are all columns of the key plain?
pub(crate) fn are_plain(keys: &Schema) -> bool {
    keys.fields().iter().all(|f| is_plain(f.data_type()))
}

/// The order in which the rows of a key lie together, and within a key in the order given.
pub(crate) fn runs(keys: &[usize], within: Vec<SortKey>) -> Vec<SortKey> {
    let within = within.into_iter().filter(|k| !keys.contains(&k.column));
    let keys = keys.iter().map(|k| SortKey::ascending(*k));
    keys.chain(within).collect()
}

/// Takes a plan's shape and lets rows with equal keys meet: on one instance when no key is plain.
pub(crate) fn meet(plan: Plan, input: InputPlan, keys: &[usize], schema: &Schema) -> Plan {
    let plain = keys
        .iter()
        .copied()
        .filter(|k| is_plain(schema.field(*k).data_type()));
    let input = input.partition_by(plain).keep_order();
    let spread = if input.partition_by.is_empty() {
        Spread::Single
    } else {
        Spread::PerPartition
    };
    plan.input(0, input).spread(spread)
}

/// All columns of a batch, as one comparable byte string for each row.
pub(crate) struct Keys {
    converter: RowConverter,
    rows: Rows,
}

impl Keys {
    /// Every column of the schema belongs to the key.
    ///
    /// # Errors
    /// A type that cannot be compared.
    pub(crate) fn new(schema: &Schema) -> Result<Self> {
        let fields = schema
            .fields()
            .iter()
            .map(|f| SortField::new(f.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let rows = converter.empty_rows(0, 0);
        Ok(Self { converter, rows })
    }

    /// One key for each row.
    ///
    /// # Errors
    /// Arrow refuses.
    pub(crate) fn of(&mut self, batch: &RecordBatch) -> Result<&Rows> {
        let columns: Vec<ArrayRef> = batch.columns().iter().map(canonical).collect();
        self.rows.clear();
        self.converter.append(&mut self.rows, &columns)?;
        Ok(&self.rows)
    }
}

/// One zero and one NaN.
fn canonical(array: &ArrayRef) -> ArrayRef {
    type F16 = <Float16Type as ArrowPrimitiveType>::Native;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other types are as they are"
    )]
    match array.data_type() {
        DataType::Float16 => Arc::new(array.as_primitive::<Float16Type>().unary::<_, Float16Type>(
            |v| {
                if v.is_nan() { F16::NAN } else { v + F16::ZERO }
            },
        )),
        DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(
            |v| {
                if v.is_nan() { f32::NAN } else { v + 0.0 }
            },
        )),
        DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(
            |v| {
                if v.is_nan() { f64::NAN } else { v + 0.0 }
            },
        )),
        DataType::Dictionary(_, values) if values.is_floating() => {
            let dictionary = array.as_any_dictionary();
            dictionary.with_values(canonical(dictionary.values()))
        }
        _ => Arc::clone(array),
    }
}

/// A session that keeps the first row of each key, wherever the rows of a key lie. Every column of the schema belongs to
/// the key; every key is remembered.
///
/// # Errors
/// A type that cannot be compared.
pub(crate) fn first_seen(schema: &Schema) -> Result<Box<dyn Session>> {
    Ok(match Packing::of(schema) {
        Some(packing) if packing.fits::<u64>() => Box::new(FirstPacked::<u64>::new(packing)),
        Some(packing) if packing.fits::<u128>() => Box::new(FirstPacked::<u128>::new(packing)),
        Some(_) | None => Box::new(FirstSeen::new(schema)?),
    })
}

/// Keys of any length.
struct FirstSeen {
    keys: Keys,
    seen: HashSet<Box<[u8]>, BuildQuick>,
    picked: Vec<u32>,
}

impl FirstSeen {
    fn new(schema: &Schema) -> Result<Self> {
        Ok(Self {
            keys: Keys::new(schema)?,
            seen: HashSet::default(),
            picked: Vec::new(),
        })
    }
}

impl Session for FirstSeen {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let Self { keys, seen, picked } = self;
        picked.clear();
        for (row, key) in (0u32..).zip(keys.of(&batch)?) {
            if !seen.contains(key.as_ref()) {
                seen.insert(key.as_ref().into());
                picked.push(row);
            }
        }
        emit(picked, batch.num_rows(), out)
    }
}

/// Keys that fit into a number.
struct FirstPacked<K> {
    packing: Packing,
    keys: Vec<K>,
    seen: HashSet<K, BuildQuick>,
    picked: Vec<u32>,
}

impl<K: Word> FirstPacked<K> {
    fn new(packing: Packing) -> Self {
        Self {
            packing,
            keys: Vec::new(),
            seen: HashSet::default(),
            picked: Vec::new(),
        }
    }
}

impl<K: Word> Session for FirstPacked<K> {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let Self {
            packing,
            keys,
            seen,
            picked,
        } = self;
        picked.clear();
        packing.pack(&batch, keys);
        for (row, key) in (0u32..).zip(&*keys) {
            if seen.insert(*key) {
                picked.push(row);
            }
        }
        emit(picked, batch.num_rows(), out)
    }
}

/// Keeps the first row of each key, where rows of a key lie together. Remembers one key.
pub(crate) struct FirstOfRun {
    keys: Keys,
    last: Option<Vec<u8>>,
    picked: Vec<u32>,
}

impl FirstOfRun {
    /// Every column of the schema belongs to the key.
    pub(crate) fn open(schema: &Schema) -> Result<Box<dyn Session>> {
        Ok(Box::new(Self {
            keys: Keys::new(schema)?,
            last: None,
            picked: Vec::new(),
        }))
    }
}

impl Session for FirstOfRun {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let Self { keys, last, picked } = self;
        picked.clear();
        let mut previous: Option<&[u8]> = last.as_deref();
        for (row, key) in (0u32..).zip(keys.of(&batch)?) {
            let key = key.data();
            if previous != Some(key) {
                picked.push(row);
                previous = Some(key);
            }
        }
        *last = previous.map(<[u8]>::to_vec);
        emit(picked, batch.num_rows(), out)
    }
}

/// `picked` is ascending.
fn emit(picked: &[u32], rows: usize, out: &mut Output<'_>) -> Result<Appetite> {
    if picked.len() == rows {
        out.same_rows(Vec::new())
    } else {
        out.picked(Vec::new(), picked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{DictionaryArray, Float32Array, Int8Array};

    use super::*;

    #[track_caller]
    fn check(column: ArrayRef, expect: &[usize]) {
        let field = Field::new("k", column.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap();
        let mut keys = Keys::new(&batch.schema()).unwrap();
        let rows = keys.of(&batch).unwrap();
        let first = |row: usize| {
            (0..=row)
                .find(|earlier| rows.row(*earlier) == rows.row(row))
                .unwrap()
        };
        assert_eq!((0..rows.num_rows()).map(first).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn floats_have_one_zero_and_one_nan() {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63 | 7);
        let floats = [
            Some(0.0),
            Some(-0.0),
            None,
            Some(f64::NAN),
            Some(negative_nan),
            Some(1.0),
        ];
        let expect = [0, 0, 2, 3, 3, 5];
        let floats = Float64Array::from_iter(floats);
        let narrow = [
            Some(0.0),
            Some(-0.0),
            None,
            Some(f32::NAN),
            Some(-f32::NAN),
            Some(1.0),
        ];
        check(Arc::new(Float32Array::from_iter(narrow)), &expect);
        check(Arc::new(floats.clone()), &expect);
        let keys = Int8Array::from_iter_values(0..6);
        check(
            Arc::new(DictionaryArray::new(keys, Arc::new(floats))),
            &expect,
        );
    }

    #[test]
    fn dictionaries_compare_by_value_and_null_keys_equal_null_values() {
        let keys = Int8Array::from(vec![Some(0), Some(1), None, Some(2)]);
        let values = Int64Array::from(vec![Some(5), Some(5), None]);
        check(
            Arc::new(DictionaryArray::new(keys, Arc::new(values))),
            &[0, 0, 2, 2],
        );
    }
}
