//! What a node knows of columns that must not be seen. Names of columns, never a value.

use serde::{Deserialize, Serialize};

/// Columns of a node that must not be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PrivacyFact {
    /// Sensitive columns of each input that has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<SensitiveInput>,
    /// Sensitive columns of the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Columns whose values `privacy` changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// How it changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Columns of the result that would be sensitive, if the project did not declassify them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declassified: Vec<String>,
    /// Columns whose names are values. Never told: the names are replaced before the event is said.
    #[serde(skip)]
    pub value_names: Vec<String>,
}

/// Sensitive columns of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SensitiveInput {
    /// Name of the input.
    pub input: String,
    /// Names of columns.
    pub columns: Vec<String>,
}

impl PrivacyFact {
    /// True when there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
