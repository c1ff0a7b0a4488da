//! What JSON texts hold, as the author of the pipeline writes it down: in DDL or as a JSON Schema. It must be known
//! before there is data, so it is never guessed from texts.

mod ddl;
mod json_schema;

use std::fmt;
use std::sync::Arc;

use odibi_sdk::arrow::schema::{Fields, TimeUnit};
use odibi_sdk::prelude::*;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Levels of lists, maps and structs inside each other: what the host takes. A map counts twice.
const NESTING_MAX: usize = 16;
const UTC: &str = "UTC";

/// The text of a DDL, or a JSON Schema as an object or a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Text(String),
    Object(serde_json::Map<String, Value>),
}

impl Shape {
    /// The type that it means. `pointer` is the param.
    ///
    /// # Errors
    /// `invalid-param` and `unknown-type`, with the place in the text or the object.
    pub(crate) fn data_type(&self, pointer: &str) -> Result<DataType> {
        match self {
            Self::Object(schema) => json_schema::read(pointer, &Value::Object(schema.clone())),
            Self::Text(text) if text.trim_start().starts_with('{') => {
                let schema = serde_json::from_str(text).map_err(|e| {
                    Failure::param(pointer, format!("a JSON Schema must be JSON: {e}"))
                })?;
                // There is no place inside a text that the host could show.
                json_schema::read("", &schema).map_err(|failure| {
                    let inside = failure.param.clone().unwrap_or_default();
                    Failure {
                        message: format!("{}, at `{inside}` of the JSON Schema", failure.message),
                        ..failure.at_param(pointer)
                    }
                })
            }
            Self::Text(text) => ddl::read(pointer, text),
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("DDL such as `a INT, b STRING`, or a JSON Schema")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Shape, E> {
                Ok(Shape::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let mut object = serde_json::Map::new();
                while let Some((name, value)) = map.next_entry()? {
                    object.insert(name, value);
                }
                Ok(Shape::Object(object))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Shape {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shape".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "object"] })
    }
}

/// What DDL calls a type.
pub(crate) fn name_of(data_type: &DataType) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type is made here")]
    match data_type {
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::List(_) => "ARRAY".to_owned(),
        DataType::Map(_, _) => "MAP".to_owned(),
        DataType::Struct(_) => "STRUCT".to_owned(),
        other => other.to_string(),
    }
}

fn timestamp(utc: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, utc.then(|| UTC.into()))
}

/// JSON may leave out any field and hold null anywhere.
fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn map_of(value: DataType) -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries), false)),
        false,
    )
}

fn struct_of(fields: Vec<(String, DataType)>) -> DataType {
    let fields = fields
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type, true));
    DataType::Struct(fields.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// DDL and JSON Schema of the same type.
    #[track_caller]
    fn check(ddl: &str, schema: Value) {
        let Value::Object(object) = schema.clone() else {
            panic!("not an object: {schema}")
        };
        let expect = Shape::Text(ddl.to_owned()).data_type("/s").unwrap();
        assert_eq!(Shape::Object(object).data_type("/s"), Ok(expect.clone()));
        let text = format!(" {schema:#}");
        assert_eq!(Shape::Text(text).data_type("/s"), Ok(expect));
    }

    #[test]
    fn both_forms_mean_the_same() {
        check(
            "a BIGINT, ä STRING",
            json!({ "type": "object", "required": ["a"], "properties": {
                "a": { "type": ["null", "integer"], "minimum": 1 },
                "ä": { "type": "string", "maxLength": 4 },
            } }),
        );
        check(
            "x DOUBLE, b BOOLEAN, d DATE, t TIMESTAMP, l ARRAY<STRING>, any STRING",
            json!({ "properties": {
                "x": { "type": "number" },
                "b": { "type": "boolean" },
                "d": { "type": "string", "format": "date" },
                "t": { "type": "string", "format": "date-time" },
                "l": { "items": { "type": "string", "format": "email" } },
                "any": { "description": "whatever" },
            } }),
        );
        check(
            "ARRAY<STRUCT<m: MAP<STRING, BIGINT>, o: STRING>>",
            json!({ "type": "array", "items": { "type": "object", "properties": {
                "m": { "type": "object", "additionalProperties": { "type": "integer" } },
                "o": { "type": "object" },
            } } }),
        );
    }

    #[test]
    fn a_text_has_no_places_inside() {
        let text = r##"{"properties": {"a": {"$ref": "#/x"}}}"##;
        let failure = Shape::Text(text.to_owned()).data_type("/s").unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("/s"));
        assert_eq!(
            failure.message,
            "`$ref` is not supported, at `/properties/a/$ref` of the JSON Schema"
        );
        let failure = Shape::Text("{".to_owned()).data_type("/s").unwrap_err();
        assert!(
            failure
                .message
                .starts_with("a JSON Schema must be JSON: EOF")
        );
    }
}
