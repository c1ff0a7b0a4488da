//! Values of a column looked up in a mapping of the params, by the column's type.

use std::collections::{BTreeMap, HashMap};

use arrow_array::new_null_array;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_buffer::{ArrowNativeType, NullBuffer, ScalarBuffer};
use arrow_row::{RowConverter, SortField};
use odibi_sdk::hash::BuildQuick;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::fill_nulls::kernel::{self, Misfit};
use crate::fill_nulls::value::FillValue;

/// One value as an array of this type; a text is read as a number or as true or false where the type asks for it. `what`
/// says whose value it is.
///
/// # Errors
/// `unfit-value`, `unfit-column`.
pub(crate) fn typed(
    pointer: &str,
    value: &FillValue,
    field: &Field,
    what: &str,
) -> Result<ArrayRef> {
    let read = match value {
        FillValue::Text(text) => read(text, field.data_type()),
        FillValue::Bool(_) | FillValue::Int(_) | FillValue::Float(_) => None,
    };
    let value = read.as_ref().unwrap_or(value);
    let null = new_null_array(field.data_type(), 1);
    kernel::filled(&null, value).map_err(|misfit| {
        let (name, data_type) = (field.name(), field.data_type());
        match misfit {
            Misfit::Takes(wanted) => {
                let message = format!(
                    "{what} of column `{name}` of type {data_type} must be {wanted}, is: {value}"
                );
                let failure = Failure::param(pointer, message).code("unfit-value");
                match value.hint(data_type) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
            Misfit::Unsupported => {
                crate::named::unfit(pointer, field, "has values that a mapping cannot name")
            }
            Misfit::TooLarge | Misfit::KeysFull => crate::text::too_large().at_param(pointer),
            Misfit::Broken(error) => Failure::from(error),
        }
    })
}

/// Keys of a mapping are always text.
fn read(text: &str, data_type: &DataType) -> Option<FillValue> {
    if let DataType::Dictionary(_, values) = data_type {
        return read(text, values);
    }
    if *data_type == DataType::Boolean || data_type.is_numeric() {
        return match serde_json::from_str(text).ok()? {
            FillValue::Text(_) => None,
            value @ (FillValue::Bool(_) | FillValue::Int(_) | FillValue::Float(_)) => Some(value),
        };
    }
    None
}

/// The entry of a value that the mapping does not have. Entries count from 1.
pub(crate) const NONE: u32 = 0;
/// As many places are looked up without a hash, where the keys are whole numbers that lie so close together.
const DENSE_MAX: u64 = 4096;

/// Which entry of a mapping each value of a column is.
#[derive(Debug)]
pub(crate) struct Lookup(Entries);

/// The keys by what they are compared as.
#[derive(Debug)]
enum Entries {
    /// There is nothing to find.
    Empty,
    /// Of up to 64 bits, as they lie in memory.
    Numbers(HashMap<i64, u32, BuildQuick>),
    /// Such as lie close together: the smallest, and what there is from there on.
    Dense(i64, Vec<u32>),
    /// Text.
    Texts(HashMap<Box<[u8]>, u32, BuildQuick>),
    /// Others, as bytes that can be compared.
    Rows(RowConverter, HashMap<Box<[u8]>, u32, BuildQuick>),
}

impl Lookup {
    /// Keys in the order of the mapping; the pointer is the mapping's.
    ///
    /// # Errors
    /// As `typed`, or two keys are one value, like `1` and `1.0`.
    pub(crate) fn new<V>(
        pointer: &str,
        mapping: &BTreeMap<String, V>,
        field: &Field,
    ) -> Result<Self> {
        let sort_field = SortField::new(field.data_type().clone());
        if !RowConverter::supports_fields(std::slice::from_ref(&sort_field)) {
            let wanted = "has values that a mapping cannot name";
            return Err(crate::named::unfit(pointer, field, wanted));
        }
        // A column without a type holds nothing but nulls.
        if mapping.is_empty() || *field.data_type() == DataType::Null {
            return Ok(Self(Entries::Empty));
        }
        let entries = if is_number(field.data_type()) {
            Entries::Numbers(HashMap::default())
        } else if crate::text::is_text(field.data_type()) {
            Entries::Texts(HashMap::default())
        } else {
            Entries::Rows(RowConverter::new(vec![sort_field])?, HashMap::default())
        };
        Self::filled(entries, pointer, mapping, field)
    }

    fn filled<V>(
        mut entries: Entries,
        pointer: &str,
        mapping: &BTreeMap<String, V>,
        field: &Field,
    ) -> Result<Self> {
        for (entry, key) in (1..).zip(mapping.keys()) {
            let pointer = child(pointer, key);
            let value = typed(&pointer, &FillValue::Text(key.clone()), field, "a value")?;
            if entries.insert(&value, entry)?.is_some() {
                let message = format!("the value `{key}` stands in the mapping twice");
                return Err(Failure::param(pointer, message));
            }
        }
        Ok(Self(entries.dense()))
    }

    /// The entry of each value; `NONE` for null and for values that the mapping does not have.
    ///
    /// # Errors
    /// Arrow refuses; the column is of another type.
    pub(crate) fn of(&self, column: &ArrayRef) -> Result<Vec<u32>> {
        match &self.0 {
            Entries::Empty => Ok(vec![NONE; column.len()]),
            Entries::Numbers(entries) => {
                let find = |number| entries.get(&number).copied().unwrap_or(NONE);
                Ok(without(column.nulls(), numbers(column, find)?))
            }
            Entries::Dense(first, entries) => {
                let find = |number: i64| {
                    let at = number.wrapping_sub(*first).cast_unsigned();
                    let at = usize::try_from(at).unwrap_or(usize::MAX);
                    entries.get(at).copied().unwrap_or(NONE)
                };
                Ok(without(column.nulls(), numbers(column, find)?))
            }
            Entries::Texts(entries) => texts(column, entries),
            Entries::Rows(converter, entries) => {
                let rows = converter.convert_columns(&[one_zero(column)])?;
                let find = |row: &[u8]| entries.get(row).copied().unwrap_or(NONE);
                Ok(rows.iter().map(|row| find(row.data())).collect())
            }
        }
    }
}

impl Entries {
    /// Adds the one value of the array. Returns the entry that had it before.
    fn insert(&mut self, value: &ArrayRef, entry: u32) -> Result<Option<u32>> {
        let none = || Failure::internal("a key without a value");
        match self {
            Self::Empty | Self::Dense(..) => Err(Failure::internal("nothing can be added")),
            Self::Numbers(entries) => {
                let number = numbers(value, |number| number)?.pop().ok_or_else(none)?;
                Ok(entries.insert(number, entry))
            }
            Self::Texts(entries) => {
                let text = Text::of(value)?.iter().next().flatten().ok_or_else(none)?;
                Ok(entries.insert(text.as_bytes().into(), entry))
            }
            Self::Rows(converter, entries) => {
                let rows = converter.convert_columns(&[one_zero(value)])?;
                Ok(entries.insert(rows.row(0).data().into(), entry))
            }
        }
    }

    /// A table where that is small.
    fn dense(self) -> Self {
        let Self::Numbers(entries) = &self else {
            return self;
        };
        let (Some(first), Some(last)) = (entries.keys().min(), entries.keys().max()) else {
            return self;
        };
        let places = last.abs_diff(*first).saturating_add(1);
        if places > DENSE_MAX {
            return self;
        }
        let all = (*first..=*last).map(|number| entries.get(&number).copied().unwrap_or(NONE));
        Self::Dense(*first, all.collect())
    }
}

/// True or false, and what has a fixed width of up to 64 bits. Keys are never intervals.
fn is_number(data_type: &DataType) -> bool {
    let width = data_type.primitive_width().unwrap_or(usize::MAX);
    *data_type == DataType::Boolean || (width <= 8 && !matches!(data_type, DataType::Interval(_)))
}

/// What is made of the bits of each value, nulls included; -0 is 0.
fn numbers<R>(column: &ArrayRef, make: impl Fn(i64) -> R) -> Result<Vec<R>> {
    fn each<T, R>(column: &ArrayRef, make: impl Fn(i64) -> R) -> Vec<R>
    where
        T: ArrowNativeType + Into<i64>,
    {
        let data = column.to_data();
        let values: ScalarBuffer<T> =
            ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len());
        values.iter().map(|value| make((*value).into())).collect()
    }
    if let Some(flags) = column.as_boolean_opt() {
        return Ok(flags
            .values()
            .iter()
            .map(|flag| make(flag.into()))
            .collect());
    }
    let column = &one_zero(column);
    match column.data_type().primitive_width() {
        Some(1) => Ok(each::<i8, R>(column, make)),
        Some(2) => Ok(each::<i16, R>(column, make)),
        Some(4) => Ok(each::<i32, R>(column, make)),
        Some(8) => Ok(each::<i64, R>(column, make)),
        _ => Err(Failure::internal(format!(
            "planned numbers, was sent: {}",
            column.data_type()
        ))),
    }
}

fn without(nulls: Option<&NullBuffer>, mut entries: Vec<u32>) -> Vec<u32> {
    if let Some(nulls) = nulls.filter(|n| n.null_count() > 0) {
        for (entry, there) in entries.iter_mut().zip(nulls) {
            *entry = if there { *entry } else { NONE };
        }
    }
    entries
}

/// Each value of a dictionary is looked up once, if it has no more than there are rows.
fn texts(column: &ArrayRef, entries: &HashMap<Box<[u8]>, u32, BuildQuick>) -> Result<Vec<u32>> {
    let small = |values: &ArrayRef| !values.is_empty() && values.len() <= column.len();
    match column.as_any_dictionary_opt() {
        Some(dictionary) if small(dictionary.values()) => {
            let found = texts(dictionary.values(), entries)?;
            let keys = dictionary.normalized_keys().into_iter();
            let rows = keys.map(|key| found[key]).collect();
            Ok(without(dictionary.keys().nulls(), rows))
        }
        Some(_) | None => {
            let find = |text: &str| entries.get(text.as_bytes()).copied().unwrap_or(NONE);
            let texts = Text::of(column)?;
            Ok(texts.iter().map(|t| t.map_or(NONE, find)).collect())
        }
    }
}

/// -0 is 0.
fn one_zero(column: &ArrayRef) -> ArrayRef {
    if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        Arc::new(floats.unary::<_, Float64Type>(|v| v + 0.0))
    } else if let Some(floats) = column.as_primitive_opt::<Float32Type>() {
        Arc::new(floats.unary::<_, Float32Type>(|v| v + 0.0))
    } else {
        Arc::clone(column)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{DictionaryArray, Float32Array, Int8Array, UInt64Array};
    use arrow_schema::TimeUnit;
    use odibi_sdk::arrow::select::concat::concat;
    use proptest::prelude::*;

    use super::*;

    const WHOLE: [&str; 7] = ["0", "1", "2", "3", "100", "127", "1.0"];
    const FLOATS: [&str; 8] = ["0", "-0.0", "1", "1.0", "1.5", "-2.25", "1e30", "16777216"];
    const DECIMALS: [&str; 6] = ["0", "1", "1.50", "-0.05", "99.99", "1.5"];
    const TEXTS: [&str; 7] = [
        "",
        "a",
        "A",
        "ß",
        "article-1",
        "article-2",
        "a longer text, of which there is one",
    ];
    const DATES: [&str; 5] = [
        "1970-01-01",
        "1969-12-31",
        "2026-01-31",
        "1900-03-01",
        "2026-02-01",
    ];
    const TIMES: [&str; 4] = ["00:00:00", "13:45:00", "23:59:59", "13:45"];
    const STAMPS: [&str; 5] = [
        "1970-01-01T00:00:00",
        "1969-12-31T23:59:59",
        "2026-01-31T13:45:00",
        "2026-01-31 13:45",
        "2026-01-31",
    ];

    /// Types, and texts that are values of them; some are the same value twice.
    fn pools() -> Vec<(DataType, Vec<&'static str>)> {
        use DataType as T;
        let texts = |key, value| T::Dictionary(Box::new(key), Box::new(value));
        let stamp = |unit, zone: Option<&str>| T::Timestamp(unit, zone.map(Into::into));
        let mut pools = vec![
            (T::Boolean, vec!["true", "false"]),
            (T::Float32, FLOATS.to_vec()),
            (T::Float64, FLOATS.to_vec()),
            (T::Decimal32(9, 2), DECIMALS.to_vec()),
            (T::Decimal64(18, 2), DECIMALS.to_vec()),
            (T::Decimal128(38, 2), DECIMALS.to_vec()),
            (T::Decimal256(70, 2), DECIMALS.to_vec()),
            (T::Utf8, TEXTS.to_vec()),
            (T::LargeUtf8, TEXTS.to_vec()),
            (texts(T::Int8, T::Utf8), TEXTS.to_vec()),
            (texts(T::UInt32, T::LargeUtf8), TEXTS.to_vec()),
            (T::Date32, DATES.to_vec()),
            (T::Date64, DATES.to_vec()),
            (T::Time32(TimeUnit::Second), TIMES.to_vec()),
            (T::Time64(TimeUnit::Nanosecond), TIMES.to_vec()),
            (stamp(TimeUnit::Second, None), STAMPS.to_vec()),
            (stamp(TimeUnit::Microsecond, None), STAMPS.to_vec()),
            (stamp(TimeUnit::Nanosecond, Some("UTC")), STAMPS.to_vec()),
        ];
        let signed = [T::Int8, T::Int16, T::Int32, T::Int64];
        let unsigned = [T::UInt8, T::UInt16, T::UInt32, T::UInt64];
        pools.extend(unsigned.map(|t| (t, WHOLE.to_vec())));
        pools.extend(signed.map(|t| (t, [&WHOLE[..], &["-1", "-128", "-0"]].concat())));
        pools.push((
            T::Int64,
            vec!["9223372036854775807", "-9223372036854775808", "0"],
        ));
        pools.push((
            T::UInt64,
            vec!["18446744073709551615", "9223372036854775808", "0"],
        ));
        pools.push((T::Int32, vec!["1000000", "1000001", "1004095", "1004096"]));
        pools
    }

    /// Null where the text is a key that the type does not have, like 1.0 among whole numbers.
    fn cell(text: Option<&str>, field: &Field) -> ArrayRef {
        let text = text.map(|text| FillValue::Text(text.to_owned()));
        let value = text.and_then(|text| typed("", &text, field, "a cell").ok());
        value.unwrap_or_else(|| new_null_array(field.data_type(), 1))
    }

    fn column(cells: &[Option<&str>], field: &Field) -> ArrayRef {
        let cells: Vec<ArrayRef> = cells.iter().map(|c| cell(*c, field)).collect();
        let mut arrays: Vec<&dyn Array> = cells.iter().map(|a| a.as_ref()).collect();
        let none = new_null_array(field.data_type(), 0);
        arrays.push(&none);
        concat(&arrays).unwrap()
    }

    fn by_rows(mapping: &BTreeMap<String, ()>, field: &Field) -> Result<Lookup> {
        let converter = RowConverter::new(vec![SortField::new(field.data_type().clone())]).unwrap();
        let entries = Entries::Rows(converter, HashMap::default());
        Lookup::filled(entries, "/mapping", mapping, field)
    }

    /// The same as if all values were compared as bytes; of the whole column and of a part.
    fn check(data_type: &DataType, cells: &[Option<&str>], keys: &[&str], start: usize) {
        let field = Field::new("c", data_type.clone(), true);
        let mapping = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        let column = column(cells, &field);
        let start = start.min(column.len());
        let part = column.slice(start, column.len() - start);
        let what = format!("{data_type} {cells:?} {keys:?}");
        match (
            Lookup::new("/mapping", &mapping, &field),
            by_rows(&mapping, &field),
        ) {
            (Ok(quick), Ok(rows)) => {
                let expect = rows.of(&column).unwrap();
                assert_eq!(quick.of(&column).unwrap(), expect, "{what}");
                assert_eq!(quick.of(&part).unwrap(), expect[start..], "{what}, a part");
            }
            (Err(quick), Err(rows)) => {
                assert_eq!(quick.to_string(), rows.to_string(), "{what}");
                assert_eq!(quick.param, rows.param, "{what}");
            }
            (quick, rows) => panic!("{what}: {quick:?} is not like {rows:?}"),
        }
    }

    #[test]
    fn every_value_of_every_type_is_found() {
        for (data_type, pool) in pools() {
            let mut cells: Vec<Option<&str>> = pool.iter().map(|text| Some(*text)).collect();
            cells.insert(1, None);
            for keys in [&pool[..], &pool[..1], &pool[1..2], &[]] {
                check(&data_type, &cells, keys, 2);
            }
            let field = Field::new("c", data_type.clone(), true);
            let mapping = BTreeMap::from([(pool[1].to_owned(), ())]);
            let lookup = Lookup::new("", &mapping, &field).unwrap();
            let found = lookup.of(&column(&[Some(pool[1]), None], &field)).unwrap();
            assert_eq!(found, [1, NONE], "{data_type}");
        }
    }

    #[test]
    fn what_is_no_number_and_infinity_are_never_keys() {
        let floats = vec![f32::NAN, -f32::NAN, f32::INFINITY, -0.0, 0.0, 1.0];
        let column: ArrayRef = Arc::new(Float32Array::from(floats));
        let field = Field::new("c", DataType::Float32, false);
        let mapping = BTreeMap::from([("0".to_owned(), ()), ("1".to_owned(), ())]);
        let found = Lookup::new("", &mapping, &field).unwrap().of(&column);
        assert_eq!(found.unwrap(), [NONE, NONE, NONE, 1, 1, 2]);
    }

    #[test]
    fn what_lies_under_a_null_is_not_found() {
        let nulls = Some(vec![true, false].into());
        let column: ArrayRef = Arc::new(UInt64Array::new(vec![7, 7].into(), nulls));
        let field = Field::new("c", DataType::UInt64, true);
        let mapping = BTreeMap::from([("7".to_owned(), ())]);
        let found = Lookup::new("", &mapping, &field).unwrap().of(&column);
        assert_eq!(found.unwrap(), [1, NONE]);
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("7"), None, Some("8")]));
        let mapping = BTreeMap::from([("7".to_owned(), ()), ("8".to_owned(), ())]);
        let check = |keys: Vec<Option<i8>>, words: &ArrayRef, expect: &[u32]| {
            let keys = Int8Array::from(keys);
            let column: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::clone(words)));
            let field = Field::new("c", column.data_type().clone(), true);
            let found = Lookup::new("", &mapping, &field).unwrap().of(&column);
            assert_eq!(found.unwrap(), expect);
        };
        check(
            vec![Some(2), None, Some(1), Some(0), Some(2)],
            &words,
            &[2, NONE, NONE, 1, 2],
        );
        // Fewer rows than values, and none at all.
        check(vec![Some(2), None], &words, &[2, NONE]);
        let nothing: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
        check(vec![None, None], &nothing, &[NONE, NONE]);
    }

    #[test]
    fn another_type_than_planned_is_no_panic() {
        let field = Field::new("c", DataType::Int32, true);
        let lookup = Lookup::new("", &BTreeMap::from([("7".to_owned(), ())]), &field).unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["7"]));
        assert!(lookup.of(&texts).is_err());
    }

    proptest! {
        #[test]
        fn quick_ways_find_what_rows_find(
            pool in 0..64usize,
            cells in proptest::collection::vec(proptest::option::of(0..16usize), 0..20),
            keys in proptest::collection::btree_set(0..16usize, 0..6),
            start in 0..20usize,
        ) {
            let pools = pools();
            let (data_type, pool) = &pools[pool % pools.len()];
            let text = |at: usize| pool[at % pool.len()];
            let cells: Vec<Option<&str>> = cells.into_iter().map(|c| c.map(text)).collect();
            let keys: Vec<&str> = keys.into_iter().map(text).collect();
            check(data_type, &cells, &keys, start);
        }
    }
}
