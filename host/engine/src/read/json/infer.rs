//! The Arrow type that holds all JSON values of a column.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use serde_json::Value;

/// What was seen of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Only nulls.
    Nothing,
    Boolean,
    Integer,
    Number,
    /// Text, or scalars of several types.
    Text,
    List(Box<Shape>),
    Object(Vec<(String, Shape)>),
}

impl Shape {
    /// An object without fields yet.
    pub(crate) fn object() -> Self {
        Self::Object(Vec::new())
    }

    /// Widens it to hold a value. The error is the name of the column that cannot.
    pub(crate) fn merge_value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Null => Ok(()),
            Value::Bool(_) => self.merge_scalar(Self::Boolean),
            Value::Number(n) if n.is_i64() => self.merge_scalar(Self::Integer),
            Value::Number(n) if n.is_f64() => self.merge_scalar(Self::Number),
            Value::Number(_) | Value::String(_) => self.merge_scalar(Self::Text),
            Value::Array(items) => {
                if *self == Self::Nothing {
                    *self = Self::List(Box::new(Self::Nothing));
                }
                let Self::List(inner) = self else {
                    return Err(String::new());
                };
                items.iter().try_for_each(|item| inner.merge_value(item))
            }
            Value::Object(map) => {
                if *self == Self::Nothing {
                    *self = Self::object();
                }
                let Self::Object(fields) = self else {
                    return Err(String::new());
                };
                for (index, (name, value)) in map.iter().enumerate() {
                    // Objects mostly have the same names in the same order.
                    let at = match fields.get(index) {
                        Some((known, _)) if known == name => index,
                        _ => fields
                            .iter()
                            .position(|(known, _)| known == name)
                            .unwrap_or_else(|| {
                                fields.push((name.clone(), Self::Nothing));
                                fields.len() - 1
                            }),
                    };
                    fields[at]
                        .1
                        .merge_value(value)
                        .map_err(|inner| match inner.as_str() {
                            "" => name.clone(),
                            inner => format!("{name}.{inner}"),
                        })?;
                }
                Ok(())
            }
        }
    }

    /// Widens it to hold what another one holds. The error is the name of the column that cannot.
    pub(crate) fn merge_shape(&mut self, other: &Self) -> Result<(), String> {
        match (&mut *self, other) {
            (_, Self::Nothing) => Ok(()),
            (Self::Nothing, _) => {
                *self = other.clone();
                Ok(())
            }
            (Self::List(inner), Self::List(theirs)) => inner.merge_shape(theirs),
            (Self::Object(fields), Self::Object(theirs)) => {
                for (name, shape) in theirs {
                    match fields.iter_mut().find(|(known, _)| known == name) {
                        Some((_, known)) => known.merge_shape(shape).map_err(|_| name.clone())?,
                        None => fields.push((name.clone(), shape.clone())),
                    }
                }
                Ok(())
            }
            (_, Self::List(_) | Self::Object(_)) => Err(String::new()),
            (_, scalar) => self.merge_scalar(scalar.clone()),
        }
    }

    fn merge_scalar(&mut self, other: Self) -> Result<(), String> {
        let merged = match (&*self, other) {
            (Self::List(_) | Self::Object(_), _) => return Err(String::new()),
            (Self::Nothing, other) => other,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            (this, other) if *this == other => return Ok(()),
            _ => Self::Text,
        };
        *self = merged;
        Ok(())
    }

    /// The fields of an object, as they were seen.
    pub(crate) fn into_fields(self) -> Vec<(String, Self)> {
        match self {
            Self::Object(fields) => fields,
            Self::Nothing
            | Self::Boolean
            | Self::Integer
            | Self::Number
            | Self::Text
            | Self::List(_) => Vec::new(),
        }
    }

    /// The fields of an object.
    pub(crate) fn fields(&self) -> Fields {
        match self {
            Self::Object(fields) => fields
                .iter()
                .map(|(name, shape)| Field::new(name, shape.data_type(), true))
                .collect(),
            Self::Nothing
            | Self::Boolean
            | Self::Integer
            | Self::Number
            | Self::Text
            | Self::List(_) => Fields::empty(),
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Nothing | Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::List(inner) => {
                DataType::List(Arc::new(Field::new_list_field(inner.data_type(), true)))
            }
            // An object that is always empty has no Arrow type that every format can hold.
            Self::Object(fields) if fields.is_empty() => DataType::Utf8,
            Self::Object(_) => DataType::Struct(self.fields()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[(&str, &str)]) {
        let mut shape = Shape::object();
        for line in lines {
            shape
                .merge_value(&serde_json::from_str(line).unwrap())
                .unwrap();
        }
        let fields = shape.fields();
        let found: Vec<(&str, String)> = fields
            .iter()
            .map(|f| (f.name().as_str(), f.data_type().to_string()))
            .collect();
        let expected: Vec<(&str, String)> = expected
            .iter()
            .map(|(n, t)| (*n, (*t).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn values_widen_the_type() {
        check(&[r#"{"a":1}"#, r#"{"a":1.5}"#], &[("a", "Float64")]);
        check(
            &[r#"{"a":null}"#, r#"{"b":true,"a":1}"#],
            &[("a", "Int64"), ("b", "Boolean")],
        );
        check(&[r#"{"a":1}"#, r#"{"a":"x"}"#], &[("a", "Utf8")]);
        check(&[r#"{"a":true}"#, r#"{"a":1}"#], &[("a", "Utf8")]);
        check(&[r#"{"a":18446744073709551615}"#], &[("a", "Utf8")]);
        check(&[r#"{"a":null}"#], &[("a", "Utf8")]);
        check(&[r#"{"a":{}}"#], &[("a", "Utf8")]);
    }

    #[test]
    fn scalars_and_lists_do_not_mix() {
        let mut shape = Shape::object();
        shape
            .merge_value(&serde_json::json!({"a": {"b": [1]}}))
            .unwrap();
        assert_eq!(
            shape
                .merge_value(&serde_json::json!({"a": {"b": 1}}))
                .unwrap_err(),
            "a.b"
        );
        assert_eq!(
            shape.merge_value(&serde_json::json!({"a": 1})).unwrap_err(),
            "a"
        );
    }
}
