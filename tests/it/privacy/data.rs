//! The table of the matrix: every kind of value, a canary in each cell of a sensitive column.

use std::sync::Arc;

use arrow_array::builder::{
    Decimal128Builder, ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{DataType, Field};

use super::canaries::{KINDS, ROWS, canary};

/// Kinds that a text file can hold.
pub(super) const FLAT: [&str; 5] = ["text", "number", "amount", "born", "word"];

/// As an Arrow file.
pub(super) fn arrow() -> Vec<u8> {
    let batch = table();
    let mut bytes = Vec::new();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// As CSV, with the flat kinds.
pub(super) fn csv() -> String {
    let mut text = format!("id,grp,{}\n", FLAT.join(","));
    for row in 0..ROWS {
        text.push_str(&line(row));
    }
    text
}

/// As CSV with rows that cannot be understood: too many fields, and a text where a date is declared.
pub(super) fn broken_csv() -> String {
    let mut text = csv();
    text.push_str(line(1).trim_end());
    text.push_str(",more,fields\n");
    text.push_str(&line(2).replace("1873", &canary("text", 2)));
    text
}

fn line(row: usize) -> String {
    let cells: Vec<String> = FLAT.iter().map(|kind| canary(kind, row)).collect();
    format!("{row},g{},{}\n", row % 3, cells.join(","))
}

fn table() -> RecordBatch {
    let texts = |kind: &'static str| (0..ROWS).map(move |row| canary(kind, row));
    let numbers = |kind: &'static str| texts(kind).map(|text| text.parse::<i64>().unwrap());
    let mut amounts = Decimal128Builder::new();
    for number in numbers("amount") {
        amounts.append_value(i128::from(number));
    }
    let amounts = amounts.finish().with_precision_and_scale(20, 2).unwrap();
    let born = texts("born").map(|day| {
        let day: jiff::civil::Date = day.parse().unwrap();
        (day - jiff::civil::date(1970, 1, 1)).get_days()
    });
    let blobs: Vec<Vec<u8>> = texts("blob").map(String::into_bytes).collect();
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    let mut tags = ListBuilder::new(StringBuilder::new());
    let mut attrs = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..ROWS {
        words.append_value(canary("word", row));
        tags.values().append_value(canary("tags", row));
        tags.append(true);
        attrs.keys().append_value(canary("attrs", row));
        attrs.values().append_value("x");
        attrs.append(true).unwrap();
    }
    let emails: ArrayRef = Arc::new(
        texts("person")
            .collect::<Vec<_>>()
            .into_iter()
            .map(Some)
            .collect::<StringArray>(),
    );
    let person = StructArray::from(vec![(
        Arc::new(Field::new("email", DataType::Utf8, true)),
        emails,
    )]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(texts("text").map(Some).collect::<StringArray>()),
        Arc::new(numbers("number").collect::<Int64Array>()),
        Arc::new(amounts),
        Arc::new(Date32Array::from(born.collect::<Vec<i32>>())),
        Arc::new(BinaryArray::from_iter_values(&blobs)),
        Arc::new(words.finish()),
        Arc::new(tags.finish()),
        Arc::new(person),
        Arc::new(attrs.finish()),
    ];
    let ids: ArrayRef = Arc::new((0..ROWS as i64).collect::<Int64Array>());
    let groups = (0..ROWS).map(|row| Some(format!("g{}", row % 3)));
    let groups: ArrayRef = Arc::new(groups.collect::<StringArray>());
    let named = [("id", ids), ("grp", groups)];
    RecordBatch::try_from_iter(named.into_iter().chain(KINDS.into_iter().zip(columns))).unwrap()
}
