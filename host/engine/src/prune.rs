//! What the filter in front of a node cannot let through, so that it need not be read.
//!
//! The filter itself runs in its sandbox, over every row that was read. Here its condition is only looked at: comparisons of
//! a column with a literal, joined by AND, that hold for every row it keeps. Files in directories named after a value, row
//! groups of Parquet and files of Delta that hold no such row are passed over. What is not understood bounds nothing.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of dozens of types and expressions a few bound something"
)]

mod text;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Scalar, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_ord::cmp;
use arrow_schema::{DataType, Schema, TimeUnit};
use serde_json::Value;

use self::text::{Comparison, Literal};
use crate::exec::PlannedStep;
use crate::read::columns::plain_type;

/// How a value of a column compares with one of some values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Equal.
    Eq,
    /// Less.
    Lt,
    /// Less or equal.
    LtEq,
    /// Greater.
    Gt,
    /// Greater or equal.
    GtEq,
}

/// What holds for every row that is of use. A scan may leave out rows for which it does not hold, and need not.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Index of the column.
    pub column: usize,
    /// The value of the column is so …
    pub relation: Relation,
    /// … to one of these, which are of the column's type: an integer, text, a date or a timestamp. None is null.
    pub values: ArrayRef,
}

impl Bound {
    /// Can a row be of use whose value lies between these two, themselves among them? Each is an array of one value. When in
    /// doubt it can.
    #[must_use]
    pub fn admits(&self, least: &dyn Array, most: &dyn Array) -> bool {
        self.admits_known(least, most).unwrap_or(true)
    }

    fn admits_known(&self, least: &dyn Array, most: &dyn Array) -> Option<bool> {
        let data_type = common(self.values.data_type())?;
        let values = lossless(&self.values, &data_type)?;
        let edge = |array: &dyn Array| {
            let same = common(&plain_type(array.data_type())).as_ref() == Some(&data_type);
            let array = lossless(array, &data_type).filter(|array| same && array.len() == 1)?;
            array.is_valid(0).then(|| Scalar::new(array))
        };
        let (least, most) = (edge(least)?, edge(most)?);
        let some = |compared: Result<arrow_array::BooleanArray, _>| {
            compared.ok().map(|compared| compared.true_count() > 0)
        };
        match self.relation {
            Relation::Eq => {
                let above = cmp::lt_eq(&least, &values).ok()?;
                let below = cmp::gt_eq(&most, &values).ok()?;
                let between = above
                    .iter()
                    .zip(&below)
                    .any(|both| both == (Some(true), Some(true)));
                Some(between)
            }
            Relation::Lt => some(cmp::lt(&least, &values)),
            Relation::LtEq => some(cmp::lt_eq(&least, &values)),
            Relation::Gt => some(cmp::gt(&most, &values)),
            Relation::GtEq => some(cmp::gt_eq(&most, &values)),
        }
    }
}

/// The type in which values of both types compare as the filter compares them; `None` where that is not certain. Floats are
/// not: the statistics of files say nothing of values that are no number.
fn common(data_type: &DataType) -> Option<DataType> {
    match data_type {
        integer if integer.is_integer() => Some(DataType::Int64),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8),
        DataType::Date32 => Some(DataType::Date32),
        DataType::Timestamp(_, zone) => {
            Some(DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))
        }
        _ => None,
    }
}

fn lossless(array: &dyn Array, data_type: &DataType) -> Option<ArrayRef> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, data_type, &strict).ok()
}

/// What the first step asks of the main input. `schema` is that of the input.
pub(crate) fn bounds(steps: &[PlannedStep], schema: &Schema) -> Vec<Bound> {
    let Some(first) = steps.first() else {
        return Vec::new();
    };
    // A later step that reads the input once more needs all of it.
    if steps.iter().any(|s| s.step.further_inputs.contains(&0)) {
        return Vec::new();
    }
    let (operation, params) = (&first.step.operation, &first.step.params.value);
    if operation.plugin.is_some() || !first.step.further_inputs.is_empty() {
        return Vec::new();
    }
    let of_param = |key: &str| params.get(key).and_then(Value::as_str);
    let comparisons = match operation.name.as_str() {
        "filter_rows" => of_param("condition").map(text::of_condition),
        "sql" => of_param("sql").map(|sql| text::of_query(sql, of_param("main"))),
        _ => None,
    };
    let comparisons = comparisons.unwrap_or_default();
    comparisons
        .iter()
        .filter_map(|comparison| bound(comparison, schema))
        .collect()
}

fn bound(comparison: &Comparison, schema: &Schema) -> Option<Bound> {
    let mut found = schema.fields().iter().enumerate().filter(|(_, field)| {
        if comparison.exact {
            *field.name() == comparison.column
        } else {
            field.name().to_lowercase() == comparison.column.to_lowercase()
        }
    });
    let (Some((column, field)), None) = (found.next(), found.next()) else {
        return None;
    };
    let literals = &comparison.literals;
    let values: Option<Vec<ArrayRef>> = literals
        .iter()
        .map(|l| value(l, field.data_type()))
        .collect();
    let values = values.filter(|values| !values.is_empty())?;
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Some(Bound {
        column,
        relation: comparison.relation,
        values: arrow_select::concat::concat(&values).ok()?,
    })
}

/// A literal as the filter compares it with a column of this type, if it can be one value of that type.
fn value(literal: &Literal, data_type: &DataType) -> Option<ArrayRef> {
    common(data_type)?;
    let array: ArrayRef = match (literal, data_type) {
        (Literal::Integer(number), integer) if integer.is_integer() => {
            Arc::new(arrow_array::Int64Array::from(vec![*number]))
        }
        (Literal::Text(text) | Literal::Date(text), DataType::Date32) => {
            Arc::new(StringArray::from(vec![date(text)?]))
        }
        (Literal::Text(text), other) if !other.is_integer() => {
            Arc::new(StringArray::from(vec![text.as_str()]))
        }
        (Literal::Integer(_) | Literal::Text(_) | Literal::Date(_), _) => return None,
    };
    let value = lossless(&array, data_type)?;
    // More digits than the column has: the filter may round, or not.
    if let DataType::Timestamp(_, _) = data_type {
        let finest = common(data_type)?;
        let (own, finest_own) = (lossless(&value, &finest)?, lossless(&array, &finest)?);
        if own.to_data() != finest_own.to_data() {
            return None;
        }
    }
    value.is_valid(0).then_some(value)
}

/// A text that is a date and nothing more.
fn date(text: &str) -> Option<&str> {
    (text.len() == "2024-02-29".len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        Date32Array, Float64Array, Int32Array, TimestampMillisecondArray, UInt64Array,
    };
    use arrow_schema::Field;

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("Country", DataType::Utf8, true),
            Field::new("day", DataType::Date32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("share", DataType::Float64, true),
            Field::new("size", DataType::UInt64, true),
        ])
    }

    /// How many bounds there are, and whether rows between two values of a column can be of use.
    fn admitted(condition: &str, least: &dyn Array, most: &dyn Array) -> (usize, bool) {
        let comparisons = text::of_condition(condition);
        let bounds: Vec<_> = comparisons
            .iter()
            .filter_map(|c| bound(c, &schema()))
            .collect();
        (
            bounds.len(),
            bounds.iter().all(|bound| bound.admits(least, most)),
        )
    }

    #[test]
    fn a_range_is_passed_over_only_when_no_value_in_it_can_be_kept() {
        let check = |condition: &str, least: i32, most: i32, expected: bool| {
            let (least, most) = (Int32Array::from(vec![least]), Int32Array::from(vec![most]));
            let got = admitted(condition, &least, &most);
            assert_eq!(got, (1, expected), "{condition}");
        };
        check("id = 5", 1, 4, false);
        check("id = 5", 1, 5, true);
        check("id = 5", 6, 9, false);
        check("id < 5", 5, 9, false);
        check("id < 5", 4, 9, true);
        check("id <= 5", 5, 9, true);
        check("id <= 5", 6, 9, false);
        check("id > 5", 1, 5, false);
        check("id > 5", 1, 6, true);
        check("id >= -5", -9, -6, false);
        check("id >= -5", -9, -5, true);
        check("5 < id", 1, 5, false);
        check("5 >= id", 6, 9, false);
        check("id IN (3, 30)", 10, 20, false);
        check("id IN (3, 15, 30)", 10, 20, true);
    }

    #[test]
    fn text_dates_and_timestamps_compare_as_the_filter_compares_them() {
        let text = |text: &str| StringArray::from(vec![text]);
        assert_eq!(
            admitted("country = 'DE'", &text("AT"), &text("CH")),
            (1, false)
        );
        assert_eq!(
            admitted("\"Country\" >= 'ÖS'", &text("AT"), &text("ÖZ")),
            (1, true)
        );
        assert_eq!(
            admitted("\"country\" = 'DE'", &text("AT"), &text("CH")),
            (0, true)
        );
        let day = |day: i32| Date32Array::from(vec![day]);
        assert_eq!(
            admitted("day >= '2024-01-01'", &day(0), &day(19_722)),
            (1, false)
        );
        assert_eq!(
            admitted("day >= DATE '2024-01-01'", &day(0), &day(19_723)),
            (1, true)
        );
        assert_eq!(
            admitted("day > '2024-01-01T12:00'", &day(0), &day(1)),
            (0, true)
        );
        let at = |ms: i64| TimestampMillisecondArray::from(vec![ms]);
        assert_eq!(
            admitted("at > '1970-01-01T00:00:01'", &at(0), &at(1_000)),
            (1, false)
        );
        assert_eq!(
            admitted("at > '1970-01-01T00:00:01'", &at(0), &at(1_001)),
            (1, true)
        );
        assert_eq!(
            admitted("at > '1970-01-01T00:00:01.0005'", &at(0), &at(1)),
            (0, true)
        );
    }

    #[test]
    fn what_is_not_certain_bounds_nothing() {
        let (least, most) = (Float64Array::from(vec![1.0]), Float64Array::from(vec![2.0]));
        assert_eq!(admitted("share > 5", &least, &most), (0, true));
        // Bounds, but the file says nothing, or of another type.
        let none = Int32Array::from(vec![None]);
        assert_eq!(admitted("id > 5", &none, &none), (1, true));
        assert_eq!(admitted("id > 5", &least, &most), (1, true));
        let huge = UInt64Array::from(vec![u64::MAX]);
        assert_eq!(admitted("size < 5", &huge, &huge), (1, true));
        let check = |condition: &str| {
            let one = Int32Array::from(vec![1]);
            assert_eq!(admitted(condition, &one, &one), (0, true), "{condition}");
        };
        check("id > 5 OR id < 3");
        check("NOT id > 5");
        check("id <> 5");
        check("id > 5.5");
        check("id > 99999999999");
        check("id > '5'");
        check("id + 1 > 5");
        check("id > size");
        check("abs(id) > 5");
        check("missing > 5");
        check("id > (SELECT max(id) FROM df)");
        check("id IN (1, NULL)");
        check("id NOT IN (1, 2)");
        check("id NOT BETWEEN 3 AND 5");
        check("country > 5");
        check("country > DATE '2024-01-01'");
        check("at > DATE '2024-01-01'");
        check("id > 5 >");
        check("id > 5; DROP TABLE df");
    }

    #[test]
    fn every_part_of_a_conjunction_bounds() {
        let five = Int32Array::from(vec![5]);
        assert_eq!(
            admitted(
                "(id BETWEEN 3 AND 5) AND abs(id) = 7 AND share > 0.5",
                &five,
                &five
            ),
            (2, true)
        );
        assert_eq!(admitted("id BETWEEN 6 AND 9", &five, &five), (2, false));
    }
}
