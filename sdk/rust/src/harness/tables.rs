//! Tables as text, for examples and tests: CSV, or JSON lines where a column is a list or a struct.

use std::io::Cursor;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_csv::reader::Format;
use arrow_csv::{ReaderBuilder, WriterBuilder};
use arrow_select::concat::concat_batches;

/// Reads CSV text with a header, or JSON lines when it begins with a brace. Types are inferred (of CSV: integers, floats,
/// booleans, dates, timestamps, else text), an empty value is null. Lines may be indented.
///
/// # Panics
/// When the text is neither.
#[must_use]
#[track_caller]
pub fn table(text: &str) -> RecordBatch {
    let text = trimmed_lines(text).join("\n") + "\n";
    if is_json(&text) {
        return json_table(&text);
    }
    let format = Format::default().with_header(true);
    let inferred = format.infer_schema(Cursor::new(&text), None);
    let (schema, _rows) = inferred.unwrap_or_else(|e| panic!("not a CSV table: {e}\n{text}"));
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(Arc::clone(&schema))
        .with_header(true)
        .build(Cursor::new(&text));
    let batches = reader.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let whole = batches.and_then(|b| concat_batches(&schema, &b));
    whole.unwrap_or_else(|e| panic!("not a CSV table: {e}\n{text}"))
}

/// Is this table written as JSON lines?
#[must_use]
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

#[track_caller]
fn json_table(text: &str) -> RecordBatch {
    let inferred = arrow_json::reader::infer_json_schema(Cursor::new(text), None);
    let (schema, _rows) = inferred.unwrap_or_else(|e| panic!("not JSON lines: {e}\n{text}"));
    let schema = Arc::new(schema);
    let reader = arrow_json::ReaderBuilder::new(Arc::clone(&schema)).build(Cursor::new(text));
    let batches = reader.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let whole = batches.and_then(|b| concat_batches(&schema, &b));
    whole.unwrap_or_else(|e| panic!("not JSON lines: {e}\n{text}"))
}

/// Writes a table as JSON lines; null is written out.
///
/// # Panics
/// When a column's type cannot be written as JSON.
#[must_use]
#[track_caller]
pub fn json_lines(batch: &RecordBatch) -> String {
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow_json::writer::LineDelimited>(Vec::new());
    let written = writer.write(batch).and_then(|()| writer.finish());
    written.unwrap_or_else(|e| panic!("cannot be written as JSON: {e}"));
    let text = String::from_utf8(writer.into_inner());
    text.unwrap_or_else(|e| panic!("arrow wrote JSON that is not UTF-8: {e}"))
}

/// Writes a table as CSV text with a header; null is an empty value.
///
/// # Panics
/// When a column's type cannot be written as CSV (lists, structs).
#[must_use]
#[track_caller]
pub fn csv(batch: &RecordBatch) -> String {
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().with_header(true).build(&mut bytes);
    writer
        .write(batch)
        .unwrap_or_else(|e| panic!("cannot be written as CSV: {e}"));
    drop(writer);
    String::from_utf8(bytes).unwrap_or_else(|e| panic!("arrow wrote CSV that is not UTF-8: {e}"))
}

/// Compares texts line by line, blanks at the ends aside.
#[track_caller]
pub(super) fn assert_same_text(expect: &str, got: &str, ordered: bool, what: &str) {
    let lines = |text: &str| {
        let mut lines: Vec<String> = trimmed_lines(text).into_iter().map(str::to_owned).collect();
        if !ordered && lines.len() > 1 {
            // JSON lines have no header.
            lines[usize::from(!is_json(text))..].sort();
        }
        lines
    };
    assert!(
        lines(expect) == lines(got),
        "{what} should give\n{expect}\nbut gives\n{got}"
    );
}

fn trimmed_lines(text: &str) -> Vec<&str> {
    text.trim().lines().map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;

    use super::*;

    #[test]
    fn tables_come_back_as_they_were_written() {
        let text = "id,name,price,day,ok\n1,ann,1.5,2026-01-02,true\n2,,,,\n";
        let batch = table(text);
        let types: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        let expect = [
            DataType::Int64,
            DataType::Utf8,
            DataType::Float64,
            DataType::Date32,
            DataType::Boolean,
        ];
        assert_eq!(types, expect);
        assert_eq!(csv(&batch), text);
    }

    #[test]
    fn json_lines_come_back_as_they_were_written() {
        let text = "{\"a\":1,\"l\":[\"ä\"],\"s\":{\"x\":null,\"y\":1.5}}\n{\"a\":null,\"l\":[],\"s\":{\"x\":true,\"y\":null}}\n";
        assert_eq!(json_lines(&table(text)), text);
    }

    #[test]
    fn a_header_alone_is_a_table_without_rows() {
        let batch = table("a,b\n");
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, 2));
        assert_eq!(csv(&batch), "a,b\n");
    }
}
