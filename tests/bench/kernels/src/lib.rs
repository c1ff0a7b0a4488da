//! What the benchmark `boundary` runs natively and in the sandbox: plain functions over record batches, and operations
//! that call the same functions. Each function sees only the columns that its constant names, in that order.

mod operations;
pub mod peer;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, PrimitiveArray, RecordBatch,
    UInt64Array,
};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

odibi_sdk::export!(
    name = "kernels",
    columns = [operations::Derive, operations::Parse],
    rows = [operations::Filter],
    operations = [operations::Identity, operations::Aggregate],
);

/// What [`filter`] reads.
pub const FILTER: [&str; 2] = ["price", "quantity"];
/// What [`derive`] reads.
pub const DERIVE: [&str; 4] = ["price", "quantity", "at", "name"];
/// What [`parse`] reads.
pub const PARSE: [&str; 2] = ["name", "amount"];
/// What [`Groups::add`] reads.
pub const AGGREGATE: [&str; 3] = ["customer", "price", "quantity"];

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The table: eight columns, about 64 bytes a row.
#[must_use]
pub fn table() -> SchemaRef {
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("customer", DataType::Int32, false),
        Field::new(
            "at",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
        Field::new("price", DataType::Float64, false),
        Field::new("quantity", DataType::Int32, false),
        Field::new("category", words, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("amount", DataType::Utf8, true),
    ]))
}

/// True for about half of the rows.
#[must_use]
pub fn filter(batch: &RecordBatch) -> BooleanArray {
    let price = batch.column(0).as_primitive::<Float64Type>().values();
    let quantity = batch.column(1).as_primitive::<Int32Type>().values();
    let keep = |row: usize| price[row] > 40.0 && quantity[row] < 9;
    BooleanArray::new(BooleanBuffer::collect_bool(batch.num_rows(), keep), None)
}

/// The columns that [`derive`] makes.
#[must_use]
pub fn derived() -> [Field; 4] {
    [
        Field::new("total", DataType::Float64, false),
        Field::new("net", DataType::Float64, false),
        Field::new("day", DataType::Date32, false),
        Field::new("label", DataType::Utf8, false),
    ]
}

/// Two products, a date and a text in capitals.
#[must_use]
pub fn derive(batch: &RecordBatch) -> Vec<ArrayRef> {
    let price = batch.column(0).as_primitive::<Float64Type>().values();
    let quantity = batch.column(1).as_primitive::<Int32Type>().values();
    let at = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let name = batch.column(3).as_string::<i32>();
    let total = price.iter().zip(quantity).map(|(p, q)| p * f64::from(*q));
    let total: Float64Array = Float64Array::from_iter_values(total);
    let net: Float64Array = total.unary(|t| (t / 1.19 * 100.0).round() / 100.0);
    let day: PrimitiveArray<Date32Type> =
        at.unary(|micros| i32::try_from(micros.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX));
    let mut label = StringBuilder::with_capacity(name.len(), name.value_data().len());
    let mut capitals = String::new();
    for row in 0..name.len() {
        capitals.clear();
        capitals.push_str(name.value(row));
        capitals.make_ascii_uppercase();
        label.append_value(&capitals);
    }
    vec![
        Arc::new(total),
        Arc::new(net),
        Arc::new(day),
        Arc::new(label.finish()),
    ]
}

/// The columns that [`parse`] makes.
#[must_use]
pub fn parsed() -> [Field; 2] {
    [
        Field::new("number", DataType::Int64, true),
        Field::new("amount_value", DataType::Float64, true),
    ]
}

/// Reads numbers out of text, row by row; what is no number is null.
#[must_use]
pub fn parse(batch: &RecordBatch) -> Vec<ArrayRef> {
    let name = batch.column(0).as_string::<i32>();
    let amount = batch.column(1).as_string::<i32>();
    let mut number = Int64Builder::with_capacity(name.len());
    let mut value = Float64Builder::with_capacity(amount.len());
    for row in 0..name.len() {
        let digits = name.value(row).rsplit_once('-').map(|(_, digits)| digits);
        number.append_option(digits.and_then(|d| d.parse().ok()));
        let text = amount.is_valid(row).then(|| amount.value(row));
        value.append_option(text.and_then(|t| t.parse().ok()));
    }
    vec![Arc::new(number.finish()), Arc::new(value.finish())]
}

/// Sums by customer.
#[derive(Debug, Default)]
pub struct Groups {
    places: HashMap<i32, usize, BuildHasherDefault<Spread>>,
    customers: Vec<i32>,
    rows: Vec<u64>,
    totals: Vec<f64>,
    largest: Vec<i32>,
}

impl Groups {
    /// What [`Groups::finish`] makes.
    #[must_use]
    pub fn output() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("customer", DataType::Int32, false),
            Field::new("rows", DataType::UInt64, false),
            Field::new("total", DataType::Float64, false),
            Field::new("largest", DataType::Int32, false),
        ]))
    }

    /// Adds a batch.
    pub fn add(&mut self, batch: &RecordBatch) {
        let customer = batch.column(0).as_primitive::<Int32Type>().values();
        let price = batch.column(1).as_primitive::<Float64Type>().values();
        let quantity = batch.column(2).as_primitive::<Int32Type>().values();
        let Self {
            places,
            customers,
            rows,
            totals,
            largest,
        } = self;
        for ((customer, price), quantity) in customer.iter().zip(price).zip(quantity) {
            let place = *places.entry(*customer).or_insert_with(|| {
                customers.push(*customer);
                rows.push(0);
                totals.push(0.0);
                largest.push(i32::MIN);
                customers.len() - 1
            });
            rows[place] += 1;
            totals[place] += price * f64::from(*quantity);
            largest[place] = largest[place].max(*quantity);
        }
    }

    /// One row for each customer, in the order in which they came.
    ///
    /// # Errors
    /// Never: the columns are of one length.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let groups = std::mem::take(self);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(groups.customers)),
            Arc::new(UInt64Array::from(groups.rows)),
            Arc::new(Float64Array::from(groups.totals)),
            Arc::new(Int32Array::from(groups.largest)),
        ];
        RecordBatch::try_new(Self::output(), columns)
    }
}

/// A hash for small integers: the benchmark is not about `SipHash`.
#[derive(Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_i32(&mut self, value: i32) {
        self.0 = u64::from(value.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
