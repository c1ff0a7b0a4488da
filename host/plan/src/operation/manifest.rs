//! Reading a manifest: JSON that a plugin wrote, so nothing of it is believed before it is checked.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Example, FurtherInputs, Manifest, OperationSpec};
use crate::limits::{MANIFEST_BYTES_MAX, NAME_CHARS_MAX, OPERATIONS_MAX};

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest is larger than {MANIFEST_BYTES_MAX} bytes: {0}")]
    TooLarge(usize),
    /// More than [`OPERATIONS_MAX`].
    #[error("the manifest lists more than {OPERATIONS_MAX} operations: {0}")]
    TooManyOperations(usize),
    /// Not JSON.
    #[error("the manifest is not JSON: {0}")]
    Json(String),
    /// A field is missing or has another type. Holds its JSON Pointer and what it should be.
    #[error("`{at}` of the manifest is not {expected}")]
    Field {
        /// JSON Pointer of the field.
        at: String,
        /// What it should be, with its article.
        expected: &'static str,
    },
    /// A name that cannot stand in the YAML.
    #[error("`{at}` of the manifest is not a name of letters, digits and underscores: {name:?}")]
    Name {
        /// JSON Pointer of the name.
        at: String,
        /// What stands there, cut when long.
        name: String,
    },
    /// An operation that is listed twice.
    #[error("the manifest lists operation `{0}` twice")]
    Duplicate(String),
}

impl Manifest {
    /// Reads the JSON text that a component's `describe` returns. Unknown fields are ignored, so that later versions
    /// may add some.
    ///
    /// # Errors
    /// When the text is too large, no JSON, or lacks something that odibi needs.
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        if json.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge(json.len()));
        }
        let value: Value =
            serde_json::from_str(json).map_err(|e| ManifestError::Json(e.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads a manifest that is JSON already. The caller has bounded its size.
    ///
    /// # Errors
    /// When it lacks something that odibi needs.
    pub fn from_value(value: &Value) -> Result<Self, ManifestError> {
        let at = Pointer(String::new());
        let object = at.object(value)?;
        let name = at.text(object, "name")?;
        check_name(&at.key("name"), &name, true)?;
        let listed = at.list(object, "operations")?;
        if listed.len() > OPERATIONS_MAX {
            return Err(ManifestError::TooManyOperations(listed.len()));
        }
        let mut seen = BTreeSet::new();
        let mut operations = Vec::with_capacity(listed.len());
        for (index, item) in listed.iter().enumerate() {
            let made = operation(&at.key("operations").key(index), item)?;
            if !seen.insert(made.name.clone()) {
                return Err(ManifestError::Duplicate(made.name));
            }
            operations.push(made);
        }
        Ok(Self {
            name,
            version: at.text(object, "version")?,
            operations,
        })
    }
}

fn operation(at: &Pointer, value: &Value) -> Result<OperationSpec, ManifestError> {
    let object = at.object(value)?;
    let name = at.text(object, "name")?;
    check_name(&at.key("name"), &name, false)?;
    let params = object
        .get("params")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    at.key("params").object(&params)?;
    let examples = match object.get("examples") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => {
            let list = at.list(object, "examples")?;
            let at = at.key("examples");
            list.iter()
                .enumerate()
                .map(|(i, item)| example(&at.key(i), item))
                .collect::<Result<_, _>>()?
        }
    };
    let further_inputs = further_inputs(&at.key("further_inputs"), object.get("further_inputs"))?;
    Ok(OperationSpec {
        name,
        summary: at.optional_text(object, "summary")?,
        params,
        further_inputs,
        examples,
    })
}

fn further_inputs(at: &Pointer, value: Option<&Value>) -> Result<FurtherInputs, ManifestError> {
    let Some(value) = value.filter(|v| !v.is_null()) else {
        return Ok(FurtherInputs::None);
    };
    let object = at.object(value)?;
    let param = at.text(object, "param")?;
    match object.get("many") {
        None | Some(Value::Null | Value::Bool(false)) => Ok(FurtherInputs::One { param }),
        Some(Value::Bool(true)) => Ok(FurtherInputs::Many { param }),
        Some(_) => Err(at.key("many").is_not("`true` or `false`")),
    }
}

fn example(at: &Pointer, value: &Value) -> Result<Example, ManifestError> {
    let object = at.object(value)?;
    let inputs = at.list(object, "inputs")?;
    let texts = inputs.iter().enumerate().map(|(i, input)| {
        input
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| at.key("inputs").key(i).is_not("a text"))
    });
    Ok(Example {
        summary: at.optional_text(object, "summary")?,
        params: object
            .get("params")
            .cloned()
            .unwrap_or_else(|| Value::Object(Map::new())),
        inputs: texts.collect::<Result<_, _>>()?,
        output: at.text(object, "output")?,
    })
}

/// Plugins, unlike operations, may have a hyphen in the name they give themselves.
fn check_name(at: &Pointer, name: &str, hyphen: bool) -> Result<(), ManifestError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (hyphen && c == '-');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.len() <= NAME_CHARS_MAX && name.chars().all(good) {
        return Ok(());
    }
    Err(ManifestError::Name {
        at: at.0.clone(),
        name: name.chars().take(NAME_CHARS_MAX).collect(),
    })
}

/// JSON Pointer of the place that is being read.
struct Pointer(String);

impl Pointer {
    fn key(&self, key: impl std::fmt::Display) -> Self {
        Self(format!("{}/{key}", self.0))
    }

    fn is_not(&self, expected: &'static str) -> ManifestError {
        ManifestError::Field {
            at: self.0.clone(),
            expected,
        }
    }

    fn object<'a>(&self, value: &'a Value) -> Result<&'a Map<String, Value>, ManifestError> {
        value.as_object().ok_or_else(|| self.is_not("an object"))
    }

    fn list<'a>(
        &self,
        object: &'a Map<String, Value>,
        key: &str,
    ) -> Result<&'a Vec<Value>, ManifestError> {
        object
            .get(key)
            .and_then(Value::as_array)
            .ok_or_else(|| self.key(key).is_not("a list"))
    }

    fn text(&self, object: &Map<String, Value>, key: &str) -> Result<String, ManifestError> {
        let found = object.get(key).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| self.key(key).is_not("a text"))
    }

    fn optional_text(
        &self,
        object: &Map<String, Value>,
        key: &str,
    ) -> Result<String, ManifestError> {
        match object.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(_) => self.text(object, key),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;

    #[test]
    fn whole_manifest_is_read() {
        let text = r#"{"name": "odibi-rows", "version": "0.1.0", "interface": "0.1.0", "later": 1, "operations": [
            {"name": "union", "summary": "s", "params": {"type": "object"},
             "further_inputs": {"param": "datasets", "many": true},
             "examples": [{"summary": "e", "params": {"datasets": ["b"]}, "inputs": ["a\n1\n", "a\n2\n"], "output": "a\n1\n2\n"}]},
            {"name": "limit", "params": {}, "further_inputs": null}]}"#;
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(
            (manifest.name.as_str(), manifest.version.as_str()),
            ("odibi-rows", "0.1.0")
        );
        let [union, limit] = &manifest.operations[..] else {
            panic!("{manifest:?}")
        };
        assert_eq!(
            union.further_inputs,
            FurtherInputs::Many {
                param: "datasets".into()
            }
        );
        assert_eq!(union.examples[0].inputs, ["a\n1\n", "a\n2\n"]);
        assert_eq!(
            (&limit.further_inputs, limit.summary.as_str()),
            (&FurtherInputs::None, "")
        );
    }

    #[track_caller]
    fn refused(value: &Value, expect: &str) {
        assert_eq!(
            Manifest::parse(&value.to_string()).unwrap_err().to_string(),
            expect
        );
    }

    #[test]
    fn faulty_manifests_are_refused_with_the_place() {
        let with =
            |operations: Value| json!({"name": "a", "version": "1", "operations": operations});
        refused(&json!([]), "`` of the manifest is not an object");
        refused(
            &json!({"version": "1"}),
            "`/name` of the manifest is not a text",
        );
        refused(
            &json!({"name": "a", "version": "1"}),
            "`/operations` of the manifest is not a list",
        );
        refused(
            &with(json!([{"name": "x"}, {"name": "x"}])),
            "the manifest lists operation `x` twice",
        );
        refused(
            &with(json!([{"name": "x y"}])),
            "`/operations/0/name` of the manifest is not a name of letters, digits and underscores: \"x y\"",
        );
        refused(
            &with(json!([{"name": "x", "params": 1}])),
            "`/operations/0/params` of the manifest is not an object",
        );
        refused(
            &with(json!([{"name": "x", "further_inputs": {"param": "p", "many": 2}}])),
            "`/operations/0/further_inputs/many` of the manifest is not `true` or `false`",
        );
        refused(
            &with(json!([{"name": "x", "examples": [{"inputs": [1], "output": ""}]}])),
            "`/operations/0/examples/0/inputs/0` of the manifest is not a text",
        );
    }

    #[test]
    fn oversized_or_deep_manifest_is_refused() {
        let large = " ".repeat(MANIFEST_BYTES_MAX + 1);
        assert_eq!(
            Manifest::parse(&large),
            Err(ManifestError::TooLarge(MANIFEST_BYTES_MAX + 1))
        );
        assert!(matches!(
            Manifest::parse(&"[".repeat(5000)),
            Err(ManifestError::Json(_))
        ));
        let operations: Vec<Value> = (0..=OPERATIONS_MAX)
            .map(|n| json!({"name": format!("o{n}")}))
            .collect();
        let many = json!({"name": "a", "version": "1", "operations": operations});
        assert_eq!(
            Manifest::from_value(&many),
            Err(ManifestError::TooManyOperations(OPERATIONS_MAX + 1))
        );
    }
}
