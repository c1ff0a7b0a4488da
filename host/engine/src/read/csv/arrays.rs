//! Columns of rows as Arrow arrays.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::records::Rows;
use crate::read::value;

/// What a value of a type is called in messages.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "these are the types that a text can be read as"
)]
pub(super) fn noun(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "`true` or `false`".into(),
        DataType::Int64 => "a whole number".into(),
        DataType::Float64 => "a number".into(),
        DataType::Date32 => "a date (`2013-01-31`)".into(),
        DataType::Timestamp(_, Some(_)) => {
            "a date and time with an offset (`2013-01-31T05:00:00Z`)".into()
        }
        DataType::Timestamp(_, None) => "a date and time (`2013-01-31 05:00:00`)".into(),
        DataType::Utf8 => "text".into(),
        other => format!("of type {other}"),
    }
}

/// How a column's texts become values.
pub(super) struct Column<'a> {
    pub(super) rows: &'a Rows,
    /// Its place in the rows.
    pub(super) place: usize,
    pub(super) nulls: &'a HashSet<Vec<u8>>,
    /// The project says the type: other spellings of a value are taken too.
    pub(super) declared: bool,
}

impl Column<'_> {
    /// The values. The error is the row whose value is not of the type.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "these are the types that a text can be read as"
    )]
    pub(super) fn build(&self, data_type: &DataType) -> Result<ArrayRef, usize> {
        match data_type {
            DataType::Boolean => {
                let mut builder = BooleanBuilder::with_capacity(self.rows.len());
                for row in 0..self.rows.len() {
                    match self.text(row) {
                        None => builder.append_null(),
                        Some(text) => builder.append_value(self.boolean(text).ok_or(row)?),
                    }
                }
                Ok(Arc::new(builder.finish()))
            }
            DataType::Int8 => self.whole::<Int8Type>(data_type),
            DataType::Int16 => self.whole::<Int16Type>(data_type),
            DataType::Int32 => self.whole::<Int32Type>(data_type),
            DataType::Int64 if self.declared => self.whole::<Int64Type>(data_type),
            DataType::UInt8 => self.whole::<UInt8Type>(data_type),
            DataType::UInt16 => self.whole::<UInt16Type>(data_type),
            DataType::UInt32 => self.whole::<UInt32Type>(data_type),
            DataType::UInt64 => self.whole::<UInt64Type>(data_type),
            DataType::Int64 => self.primitive::<Int64Type>(data_type, |text| {
                let digits = text.strip_prefix(b"-").unwrap_or(text);
                if digits.len() > 1 && digits[0] == b'0' {
                    None
                } else {
                    value::integer(text)
                }
            }),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounding is what is asked for"
            )]
            DataType::Float32 => self.primitive::<Float32Type>(data_type, |text| {
                let wide = value::number(text)?;
                let narrow = wide as f32;
                (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
            }),
            DataType::Float64 => self.primitive::<Float64Type>(data_type, value::number),
            DataType::Decimal128(precision, scale) => self
                .primitive::<Decimal128Type>(data_type, |text| {
                    value::decimal(text, *precision, *scale)
                }),
            DataType::Date32 => self.primitive::<Date32Type>(data_type, value::date),
            DataType::Timestamp(_, zone) => {
                let zoned = zone.is_some();
                self.primitive::<TimestampMicrosecondType>(data_type, |text| {
                    let found = value::timestamp(text).filter(|t| t.1 == zoned).map(|t| t.0);
                    let day = || value::date(text).map(|d| i64::from(d) * 86_400_000_000);
                    found.or_else(|| if self.declared && !zoned { day() } else { None })
                })
            }
            _ => self.strings(),
        }
    }

    /// True where the value of a row is null or of the type.
    pub(super) fn fits(&self, data_type: &DataType, row: usize) -> bool {
        let mut one = Rows::default();
        one.push_row([self.rows.field(row, self.place)].into_iter());
        let alone = Column {
            rows: &one,
            place: 0,
            ..*self
        };
        alone.build(data_type).is_ok()
    }

    fn text(&self, row: usize) -> Option<&[u8]> {
        let text = self.rows.field(row, self.place);
        if text.is_empty() || (!self.nulls.is_empty() && self.nulls.contains(text)) {
            None
        } else {
            Some(text)
        }
    }

    fn boolean(&self, text: &[u8]) -> Option<bool> {
        match text {
            b"1" if self.declared => Some(true),
            b"0" if self.declared => Some(false),
            _ => value::boolean(text),
        }
    }

    fn whole<T: ArrowPrimitiveType>(&self, data_type: &DataType) -> Result<ArrayRef, usize>
    where
        T::Native: TryFrom<i128>,
    {
        self.primitive::<T>(data_type, |text| value::whole(text)?.try_into().ok())
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
