//! Columns of rows as Arrow arrays.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use odibi_story::failure::Failure;

use super::records::Rows;
use crate::read::{bad_row, value};

/// What a value of a type is called in messages.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "inference knows five types besides text"
)]
pub(super) fn noun(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "`true` or `false`",
        DataType::Int64 => "a whole number",
        DataType::Float64 => "a number",
        DataType::Date32 => "a date (`2013-01-31`)",
        DataType::Timestamp(_, Some(_)) => {
            "a date and time with an offset (`2013-01-31T05:00:00Z`)"
        }
        DataType::Timestamp(_, None) => "a date and time (`2013-01-31 05:00:00`)",
        _ => "text",
    }
}

/// Refuses fields that are not UTF-8.
pub(super) fn check_text(
    rows: &Rows,
    shown: &str,
    name: &dyn Fn(usize) -> String,
) -> Result<(), Failure> {
    let text = rows.text();
    if text.is_ascii() {
        return Ok(());
    }
    for row in 0..rows.len() {
        for column in 0..rows.width() {
            if std::str::from_utf8(rows.field(row, column)).is_err() {
                let what = format!("column `{}` holds bytes that are not UTF-8", name(column));
                return Err(bad_row(shown, rows.line(row), &what).hint("save the file as UTF-8"));
            }
        }
    }
    Ok(())
}

/// One column. The error is the row whose value is not of the type.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "inference knows five types besides text"
)]
pub(super) fn build(
    rows: &Rows,
    column: usize,
    data_type: &DataType,
    nulls: &HashSet<Vec<u8>>,
) -> Result<ArrayRef, usize> {
    let column = Column {
        rows,
        column,
        nulls,
    };
    match data_type {
        DataType::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(rows.len());
            for row in 0..rows.len() {
                match column.text(row) {
                    None => builder.append_null(),
                    Some(text) => builder.append_value(value::boolean(text).ok_or(row)?),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        DataType::Int64 => column.primitive::<Int64Type>(data_type, |text| {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            if digits.len() > 1 && digits[0] == b'0' {
                None
            } else {
                value::integer(text)
            }
        }),
        DataType::Float64 => column.primitive::<Float64Type>(data_type, value::number),
        DataType::Date32 => column.primitive::<Date32Type>(data_type, value::date),
        DataType::Timestamp(_, zone) => {
            let zoned = zone.is_some();
            column.primitive::<TimestampMicrosecondType>(data_type, |text| {
                value::timestamp(text).filter(|t| t.1 == zoned).map(|t| t.0)
            })
        }
        _ => column.strings(),
    }
}

struct Column<'a> {
    rows: &'a Rows,
    column: usize,
    nulls: &'a HashSet<Vec<u8>>,
}

impl Column<'_> {
    fn text(&self, row: usize) -> Option<&[u8]> {
        let text = self.rows.field(row, self.column);
        if text.is_empty() || (!self.nulls.is_empty() && self.nulls.contains(text)) {
            None
        } else {
            Some(text)
        }
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        data_type: &DataType,
        parse: impl Fn(&[u8]) -> Option<T::Native>,
    ) -> Result<ArrayRef, usize> {
        let mut builder =
            PrimitiveBuilder::<T>::with_capacity(self.rows.len()).with_data_type(data_type.clone());
        for row in 0..self.rows.len() {
            match self.text(row) {
                None => builder.append_null(),
                Some(text) => builder.append_value(parse(text).ok_or(row)?),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// The text was checked to be UTF-8.
    fn strings(&self) -> Result<ArrayRef, usize> {
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        let mut valid = NullBufferBuilder::new(self.rows.len());
        offsets.push(0_i32);
        for row in 0..self.rows.len() {
            let text = self.text(row);
            bytes.extend_from_slice(text.unwrap_or_default());
            valid.append(text.is_some());
            // A batch holds far less text than 2 GiB.
            offsets.push(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let array = StringArray::try_new(offsets, Buffer::from_vec(bytes), valid.finish())
            .map_err(|_| 0_usize)?;
        Ok(Arc::new(array))
    }
}
