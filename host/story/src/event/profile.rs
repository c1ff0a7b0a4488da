//! Values of the data that events hold: samples of what was read and of the result, and a profile of the result. All of
//! it is bounded, and it is all of the data that a story can show.

use serde::{Deserialize, Serialize};

use super::is_zero;

/// Some rows, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sample {
    /// Names.
    pub columns: Vec<String>,
    /// Cells; `None` is null.
    pub rows: Vec<Vec<Option<String>>>,
    /// Columns that are not among them, because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns_left_out: u64,
}

/// What was read of one input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InputFact {
    /// Name of the input.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Columns that nobody asked for, so that they were not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns_unread: u64,
    /// The first rows, of the columns that were read.
    #[serde(default, skip_serializing_if = "sample_is_empty")]
    pub sample: Sample,
}

/// What the values of a result are like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Profile {
    /// Rows from the first on in which values were counted.
    pub rows_counted: u64,
    /// As the columns of the result; fewer when there are too many.
    pub columns: Vec<ColumnProfile>,
}

/// What the values of one column are like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ColumnProfile {
    /// Name.
    pub column: String,
    /// Smallest value of all rows, cut like a cell of a sample. Absent where values have no order, or there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// Largest value, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// Different values in the rows in which they were counted, nulls aside. Absent when there are many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// The most frequent of them, when they are few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<ValueCount>,
}

/// How often a value occurs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValueCount {
    /// The value, as text.
    pub value: String,
    /// In so many rows.
    pub rows: u64,
}

fn sample_is_empty(sample: &Sample) -> bool {
    sample.rows.is_empty() && sample.columns.is_empty()
}
