//! Sound batches of every type that may cross the border: what the mutations start from.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, NullArray, RecordBatch, RecordBatchOptions};
use arrow_array::{StringArray, make_array};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use odibi_sandbox::testing;

use super::random::Random;

/// A planned schema, and a batch of it.
pub(crate) struct Seed {
    pub(crate) name: &'static str,
    pub(crate) batch: RecordBatch,
    /// The batch as an honest guest sends it.
    pub(crate) bytes: Vec<u8>,
}

/// One for each family of types, in several shapes. The last ones are large.
pub(crate) fn all() -> Vec<Seed> {
    let random = &mut Random::new(1);
    let mut seeds = Vec::new();
    for (name, types) in families() {
        seeds.push(seed(name, table(&types, 24, Some(true), random)));
    }
    let every: Vec<DataType> = families()
        .into_iter()
        .flat_map(|(_, types)| types)
        .collect();
    let holding = |t: &&DataType| **t != DataType::Null;
    let some: Vec<DataType> = every.iter().filter(holding).cloned().collect();
    seeds.push(seed("required", table(&some, 9, Some(false), random)));
    seeds.push(seed("mixed", table(&every, 13, None, random)));
    seeds.push(seed("empty", table(&every, 0, None, random)));
    let rows = RecordBatchOptions::new().with_row_count(Some(77));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &rows);
    seeds.push(seed("no columns", none.unwrap()));
    seeds.push(seed(
        "wide",
        table(&vec![DataType::Int32; 300], 3, Some(true), random),
    ));
    let plain = [DataType::Int64, DataType::Utf8, DataType::Decimal128(20, 3)];
    seeds.push(seed("large", table(&plain, 2_500, Some(true), random)));
    let shared = [DataType::Utf8View, words(DataType::UInt16, DataType::Utf8)];
    seeds.push(seed(
        "large views",
        table(&shared, 4_000, Some(true), random),
    ));
    seeds.push(seed("huge", table(&plain, 20_000, None, random)));
    seeds
}

/// How many of the last seeds are too large to be taken as often as the others.
pub(crate) const LARGE: usize = 3;

pub(crate) fn families() -> Vec<(&'static str, Vec<DataType>)> {
    [flat(), nested()].concat()
}

fn flat() -> Vec<(&'static str, Vec<DataType>)> {
    use DataType::*;
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let zones = [None, Some("Europe/Berlin"), Some("+05:30"), None];
    let times = vec![
        Date32,
        Date64,
        Time32(units[0]),
        Time32(units[1]),
        Time64(units[2]),
        Time64(units[3]),
    ];
    let stamps = units
        .iter()
        .zip(zones)
        .map(|(u, z)| Timestamp(*u, z.map(Into::into)));
    let mut spans: Vec<DataType> = units.iter().map(|u| Duration(*u)).collect();
    let intervals = [
        IntervalUnit::YearMonth,
        IntervalUnit::DayTime,
        IntervalUnit::MonthDayNano,
    ];
    spans.extend(intervals.map(Interval));
    let keys = [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64];
    let values = [
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        Decimal128(9, 2),
        Time32(units[0]),
        FixedSizeBinary(3),
        Float64,
    ];
    let dictionaries = keys.iter().cloned().zip(values).map(|(k, v)| words(k, v));
    vec![
        ("integers", keys.to_vec()),
        (
            "floats and booleans",
            vec![Float16, Float32, Float64, Boolean],
        ),
        (
            "decimals",
            vec![
                Decimal32(5, 2),
                Decimal64(12, 0),
                Decimal128(20, -3),
                Decimal256(50, 10),
            ],
        ),
        ("times", times),
        ("timestamps", stamps.collect()),
        ("spans", spans),
        ("texts", vec![Utf8, LargeUtf8, Binary, LargeBinary]),
        ("views", vec![Utf8View, BinaryView, Utf8View]),
        (
            "fixed binary",
            vec![FixedSizeBinary(16), FixedSizeBinary(3)],
        ),
        ("dictionaries", dictionaries.collect()),
    ]
}

fn nested() -> Vec<(&'static str, Vec<DataType>)> {
    use DataType::*;
    let word = || words(Int8, Utf8);
    vec![
        (
            "dictionaries inside",
            vec![
                record(vec![word(), Int64]),
                List(item(word(), true)),
                FixedSizeList(item(words(UInt8, Date32), true), 2),
                record(vec![List(item(
                    record(vec![words(Int64, Utf8View)]),
                    false,
                ))]),
            ],
        ),
        (
            "lists",
            vec![
                List(item(Int32, true)),
                LargeList(item(Utf8, false)),
                FixedSizeList(item(Float32, true), 3),
                FixedSizeList(item(Int64, false), 1),
                List(item(Utf8View, true)),
            ],
        ),
        (
            "maps and structs",
            vec![
                map(Utf8, Int64),
                map(Int32, List(item(Boolean, true))),
                record(vec![Int8, Utf8, Timestamp(TimeUnit::Microsecond, None)]),
                record(vec![]),
            ],
        ),
        (
            "deep",
            vec![
                List(item(
                    LargeList(item(
                        record(vec![map(Utf8, record(vec![Decimal64(4, 0)]))]),
                        true,
                    )),
                    true,
                )),
                record(vec![record(vec![FixedSizeList(
                    item(List(item(Binary, false)), true),
                    2,
                )])]),
            ],
        ),
        (
            "nulls",
            vec![
                Null,
                List(item(Null, true)),
                FixedSizeList(item(Null, true), 4),
            ],
        ),
    ]
}

fn words(key: DataType, value: DataType) -> DataType {
    DataType::Dictionary(Box::new(key), Box::new(value))
}

fn item(of: DataType, nullable: bool) -> Arc<Field> {
    Arc::new(Field::new("item", of, nullable))
}

fn record(types: Vec<DataType>) -> DataType {
    let fields = types.into_iter().enumerate();
    DataType::Struct(
        fields
            .map(|(i, t)| Field::new(format!("f{i}"), t, i % 2 == 0))
            .collect(),
    )
}

fn map(key: DataType, value: DataType) -> DataType {
    let fields = vec![
        Field::new("key", key, false),
        Field::new("value", value, true),
    ];
    DataType::Map(
        Arc::new(Field::new(
            "entries",
            DataType::Struct(fields.into()),
            false,
        )),
        false,
    )
}

fn seed(name: &'static str, batch: RecordBatch) -> Seed {
    let bytes = testing::encode(&batch, (0..batch.num_columns()).collect()).unwrap();
    Seed { name, batch, bytes }
}

/// Columns of these types; `None`: every other one may hold nulls.
pub(crate) fn table(
    types: &[DataType],
    rows: usize,
    nullable: Option<bool>,
    random: &mut Random,
) -> RecordBatch {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (i, data_type) in types.iter().enumerate() {
        let nullable = nullable.unwrap_or(i % 2 == 0) || *data_type == DataType::Null;
        fields.push(Field::new(format!("c{i}"), data_type.clone(), nullable));
        columns.push(column(data_type, rows, nullable, random));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn column(data_type: &DataType, rows: usize, nullable: bool, random: &mut Random) -> ArrayRef {
    let nulls = nullable.then(|| {
        (0..rows)
            .map(|_| !random.once_in(5))
            .collect::<NullBuffer>()
    });
    let data = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls);
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all other types are of fixed width"
    )]
    let data = match data_type {
        DataType::Null => return Arc::new(NullArray::new(rows)),
        DataType::Boolean => {
            let bits: BooleanArray = (0..rows).map(|_| Some(random.once_in(2))).collect();
            data.add_buffer(bits.values().inner().clone())
        }
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => return texts(data_type, rows, nullable, random),
        DataType::FixedSizeBinary(width) => {
            data.add_buffer(small(rows, usize::try_from(*width).unwrap(), random))
        }
        DataType::Dictionary(key, value) => {
            // As many as keys of eight bits with a sign may have.
            let values = column(value, 127, false, random);
            data.add_buffer(small(rows, key.primitive_width().unwrap(), random))
                .add_child_data(values.to_data())
        }
        DataType::List(of) | DataType::Map(of, _) => {
            let (offsets, items) = offsets(rows, random);
            let narrow: Vec<i32> = offsets.iter().map(|o| i32::try_from(*o).unwrap()).collect();
            data.add_buffer(Buffer::from_vec(narrow))
                .add_child_data(child(of, items, random))
        }
        DataType::LargeList(of) => {
            let (offsets, items) = offsets(rows, random);
            data.add_buffer(Buffer::from_vec(offsets))
                .add_child_data(child(of, items, random))
        }
        DataType::FixedSizeList(of, size) => {
            data.add_child_data(child(of, rows * usize::try_from(*size).unwrap(), random))
        }
        DataType::Struct(fields) => data.child_data(children(fields, rows, random)),
        other => data.add_buffer(small(rows, other.primitive_width().unwrap(), random)),
    };
    make_array(data.build().unwrap())
}

fn child(field: &Field, rows: usize, random: &mut Random) -> ArrayData {
    column(field.data_type(), rows, field.is_nullable(), random).to_data()
}

fn children(fields: &Fields, rows: usize, random: &mut Random) -> Vec<ArrayData> {
    fields
        .iter()
        .map(|field| child(field, rows, random))
        .collect()
}

fn offsets(rows: usize, random: &mut Random) -> (Vec<i64>, usize) {
    let mut offsets = vec![0];
    let mut end = 0;
    for _ in 0..rows {
        end += random.below(4);
        offsets.push(end as i64);
    }
    (offsets, end)
}

/// Values of this many bytes, all from 0 to 99: those any type of fixed width can hold, and a dictionary too.
fn small(rows: usize, width: usize, random: &mut Random) -> Buffer {
    let mut bytes = vec![0; rows * width];
    if width > 0 {
        bytes
            .iter_mut()
            .step_by(width)
            .for_each(|b| *b = u8::try_from(random.below(100)).unwrap());
    }
    // Aligned for every type.
    Buffer::from_slice_ref(bytes)
}

fn texts(data_type: &DataType, rows: usize, nullable: bool, random: &mut Random) -> ArrayRef {
    let text = |random: &mut Random| "äbc – ".repeat(random.below(5));
    let texts: StringArray = (0..rows)
        .map(|_| (!nullable || !random.once_in(5)).then(|| text(random)))
        .collect();
    arrow_cast::cast(&texts, data_type).unwrap()
}
