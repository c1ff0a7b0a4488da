//! Text columns whatever their layout: plain, large, view, or dictionary-encoded.

use arrow_array::cast::AsArray;
use arrow_array::{Array, LargeStringArray, StringArray, StringViewArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use crate::failure::{Failure, Result};

/// A text column, read row by row.
#[derive(Debug)]
pub struct Text<'a> {
    values: Values<'a>,
    /// Rows of a dictionary column, as positions among `values`.
    keys: Option<Vec<usize>>,
    nulls: Option<NullBuffer>,
    rows: usize,
}

#[derive(Debug)]
enum Values<'a> {
    Plain(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

/// Is this one of the layouts that [`Text`] reads?
#[must_use]
pub fn is_text(data_type: &DataType) -> bool {
    if let DataType::Dictionary(_, values) = data_type {
        return is_text(values);
    }
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

impl<'a> Text<'a> {
    /// # Errors
    /// `internal` for another type: the outline should have refused it, see
    /// [`Outline::read_text`](crate::Outline::read_text).
    pub fn of(array: &'a dyn Array) -> Result<Self> {
        let (keys, source) = match array.as_any_dictionary_opt() {
            // With no values every key is null, and there is nothing to look up.
            Some(dictionary) if dictionary.values().is_empty() => {
                (Some(vec![0; array.len()]), dictionary.values().as_ref())
            }
            Some(dictionary) => (
                Some(dictionary.normalized_keys()),
                dictionary.values().as_ref(),
            ),
            None => (None, array),
        };
        let values = if let Some(plain) = source.as_string_opt::<i32>() {
            Values::Plain(plain)
        } else if let Some(large) = source.as_string_opt::<i64>() {
            Values::Large(large)
        } else if let Some(view) = source.as_string_view_opt() {
            Values::View(view)
        } else {
            return Err(Failure::internal(format!(
                "column is not text: {}",
                array.data_type()
            )));
        };
        Ok(Self {
            values,
            keys,
            nulls: array.logical_nulls(),
            rows: array.len(),
        })
    }

    /// The value of a row; `None` is null.
    ///
    /// # Panics
    /// When the row is out of range.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let at = self.keys.as_ref().map_or(row, |keys| keys[row]);
        Some(match &self.values {
            Values::Plain(values) => values.value(at),
            Values::Large(values) => values.value(at),
            Values::View(values) => values.value(at),
        })
    }

    /// All rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&'a str>> + '_ {
        (0..self.rows).map(|row| self.get(row))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use arrow_array::types::Int8Type;
    use arrow_array::{ArrayRef, DictionaryArray, Int64Array};

    use super::*;

    #[test]
    fn every_layout_reads_the_same() {
        let rows = [
            Some("a"),
            None,
            Some("a longer value, beyond twelve bytes"),
            Some("a"),
        ];
        let arrays: [ArrayRef; 4] = [
            Arc::new(StringArray::from_iter(rows)),
            Arc::new(LargeStringArray::from_iter(rows)),
            Arc::new(StringViewArray::from_iter(rows)),
            Arc::new(DictionaryArray::<Int8Type>::from_iter(rows)),
        ];
        for array in arrays {
            assert!(is_text(array.data_type()));
            assert_eq!(Text::of(&array).unwrap().iter().collect::<Vec<_>>(), rows);
            assert_eq!(
                Text::of(&array.slice(1, 2))
                    .unwrap()
                    .iter()
                    .collect::<Vec<_>>(),
                rows[1..3]
            );
        }
    }

    #[test]
    fn a_dictionary_of_nulls_only_reads_as_nulls() {
        let array = DictionaryArray::<Int8Type>::from_iter([None::<&str>, None]);
        assert_eq!(
            Text::of(&array).unwrap().iter().collect::<Vec<_>>(),
            [None, None]
        );
    }

    #[test]
    fn numbers_are_refused() {
        assert_eq!(
            Text::of(&Int64Array::from(vec![1])).unwrap_err().message,
            "column is not text: Int64"
        );
    }
}
