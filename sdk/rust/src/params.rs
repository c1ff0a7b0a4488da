//! Params: JSON in, the author's type out, and a JSON Pointer to whatever does not fit.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::failure::{Failure, Result};

/// Anything that serde can read and schemars can describe.
pub trait Params: DeserializeOwned + JsonSchema + 'static {}

impl<T: DeserializeOwned + JsonSchema + 'static> Params for T {}

/// Reads params.
///
/// # Errors
/// Code `invalid-param`, with the pointer of the value that does not fit.
pub fn read<T: Params>(json: &str) -> Result<T> {
    let json = if json.trim().is_empty() { "null" } else { json };
    let value: Value = serde_json::from_str(json)
        .map_err(|e| Failure::param("", format!("params are not JSON: {e}")))?;
    // YAML without `params:` is YAML with none of them.
    let value = if value.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        value
    };
    serde_path_to_error::deserialize(value).map_err(|e| {
        let pointer = pointer_of(e.path());
        Failure::param(pointer, e.into_inner().to_string())
    })
}

/// The JSON Schema (2020-12) of params.
pub(crate) fn schema<T: Params>() -> Value {
    schemars::SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Appends one segment to a JSON Pointer: `child("/columns", "a/b")` is `/columns/a~1b`.
#[must_use]
pub fn child(pointer: &str, segment: impl std::fmt::Display) -> String {
    let segment = segment.to_string().replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{segment}")
}

fn pointer_of(path: &Path) -> String {
    path.iter()
        .fold(String::new(), |pointer, segment| match segment {
            Segment::Seq { index } => child(&pointer, index),
            Segment::Map { key } => child(&pointer, key),
            Segment::Enum { variant } => child(&pointer, variant),
            Segment::Unknown => pointer,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Sample {
        columns: Vec<String>,
        #[serde(default)]
        rename: BTreeMap<String, String>,
    }

    #[track_caller]
    fn check(json: &str, pointer: &str, message: &str) {
        let failure = read::<Sample>(json).unwrap_err();
        assert_eq!(
            (failure.param.as_deref(), failure.message.as_str()),
            (Some(pointer), message)
        );
    }

    #[test]
    fn wrong_params_carry_the_pointer_of_the_value() {
        check(
            r#"{"columns": ["a", 3]}"#,
            "/columns/1",
            "invalid type: integer `3`, expected a string",
        );
        check(
            r#"{"columns": [], "rename": {"a/b~c": 1}}"#,
            "/rename/a~1b~0c",
            "invalid type: integer `1`, expected a string",
        );
        check(
            r#"{"colums": []}"#,
            "/colums",
            "unknown field `colums`, expected `columns` or `rename`",
        );
        check("{}", "", "missing field `columns`");
        check("", "", "missing field `columns`");
        check("null", "", "missing field `columns`");
        check(
            "[",
            "",
            "params are not JSON: EOF while parsing a list at line 1 column 1",
        );
    }

    #[test]
    fn schema_describes_the_object() {
        let schema = schema::<Sample>();
        assert_eq!(schema["properties"]["columns"]["type"], "array");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["columns"]));
    }
}
