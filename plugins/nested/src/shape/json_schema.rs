//! Types as a JSON Schema describes them. Only what names types and fields is looked at; values are not validated.

use odibi_sdk::failure::unknown_name;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use super::{NESTING_MAX, list_of, map_of, struct_of, timestamp};

const TYPES: [&str; 6] = ["object", "array", "string", "integer", "number", "boolean"];
/// One value could then be of several types.
const UNSUPPORTED: [&str; 5] = ["$ref", "anyOf", "oneOf", "allOf", "patternProperties"];

/// # Errors
/// `invalid-param`, `unknown-type`, at the place below `pointer`.
pub(super) fn read(pointer: &str, schema: &Value) -> Result<DataType> {
    data_type(pointer, schema, 0)
}

fn data_type(pointer: &str, schema: &Value, depth: usize) -> Result<DataType> {
    if depth > NESTING_MAX {
        let message = format!("the schema is nested deeper than {NESTING_MAX} levels");
        return Err(Failure::param(pointer, message));
    }
    if *schema == Value::Bool(true) {
        return Ok(DataType::Utf8);
    }
    let schema = schema
        .as_object()
        .ok_or_else(|| Failure::param(pointer, "a schema must be an object"))?;
    if let Some(keyword) = UNSUPPORTED.iter().find(|k| schema.contains_key(**k)) {
        let message = format!("`{keyword}` is not supported");
        return Err(Failure::param(child(pointer, keyword), message).hint(
            "name one type and its fields; a field without a type becomes text that holds JSON",
        ));
    }
    match kind(pointer, schema)? {
        Some("object") => object(pointer, schema, depth),
        Some("array") => match schema.get("items") {
            Some(items) => Ok(list_of(data_type(
                &child(pointer, "items"),
                items,
                depth + 1,
            )?)),
            None => Ok(list_of(DataType::Utf8)),
        },
        Some("integer") => Ok(DataType::Int64),
        Some("number") => Ok(DataType::Float64),
        Some("boolean") => Ok(DataType::Boolean),
        Some(_) => Ok(match schema.get("format").and_then(Value::as_str) {
            Some("date") => DataType::Date32,
            Some("date-time") => timestamp(true),
            Some(_) | None => DataType::Utf8,
        }),
        None => Ok(DataType::Utf8),
    }
}

/// `None`: it says nothing of a type.
fn kind<'a>(pointer: &str, schema: &'a serde_json::Map<String, Value>) -> Result<Option<&'a str>> {
    let pointer = child(pointer, "type");
    let named = match schema.get("type") {
        None if schema.contains_key("properties") => return Ok(Some("object")),
        None if schema.contains_key("items") => return Ok(Some("array")),
        None => return Ok(None),
        Some(Value::Array(several)) => {
            let mut types = several.iter().filter(|t| *t != "null");
            match (types.next(), types.next()) {
                (Some(only), None) => only,
                _ => {
                    let message = "a value must be of one type, besides `null`";
                    return Err(Failure::param(pointer, message));
                }
            }
        }
        Some(one) => one,
    };
    let name = named
        .as_str()
        .ok_or_else(|| Failure::param(&pointer, "a type must be text"))?;
    if TYPES.contains(&name) {
        return Ok(Some(name));
    }
    Err(unknown_name("type", pointer, name, TYPES))
}

fn object(
    pointer: &str,
    schema: &serde_json::Map<String, Value>,
    depth: usize,
) -> Result<DataType> {
    let pointer_of = |keyword: &str| child(pointer, keyword);
    let properties = match schema.get("properties") {
        None => None,
        Some(Value::Object(properties)) => Some(properties),
        Some(_) => {
            let message = "`properties` must be an object";
            return Err(Failure::param(pointer_of("properties"), message));
        }
    };
    if let Some(properties) = properties.filter(|p| !p.is_empty()) {
        let pointer = pointer_of("properties");
        let fields = properties.iter().map(|(name, schema)| {
            let data_type = data_type(&child(&pointer, name), schema, depth + 1)?;
            Ok((name.clone(), data_type))
        });
        return Ok(struct_of(fields.collect::<Result<_>>()?));
    }
    match schema.get("additionalProperties") {
        Some(value @ Value::Object(_)) => {
            let pointer = pointer_of("additionalProperties");
            Ok(map_of(data_type(&pointer, value, depth + 2)?))
        }
        Some(_) | None => Ok(DataType::Utf8),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[track_caller]
    fn check_wrong(schema: &Value, param: &str, message: &str) {
        let failure = read("/s", schema).unwrap_err();
        assert_eq!(
            (failure.param.as_deref(), failure.message.as_str()),
            (Some(param), message)
        );
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        check_wrong(
            &json!({ "properties": { "a/b": { "type": "int" } } }),
            "/s/properties/a~1b/type",
            "unknown type `int`",
        );
        check_wrong(
            &json!({ "type": "struct", "fields": [] }),
            "/s/type",
            "unknown type `struct`",
        );
        check_wrong(
            &json!({ "items": { "type": ["string", "integer"] } }),
            "/s/items/type",
            "a value must be of one type, besides `null`",
        );
        check_wrong(
            &json!({ "type": ["null"] }),
            "/s/type",
            "a value must be of one type, besides `null`",
        );
        check_wrong(
            &json!({ "properties": { "a": { "anyOf": [] } } }),
            "/s/properties/a/anyOf",
            "`anyOf` is not supported",
        );
        check_wrong(
            &json!({ "properties": { "a": 1 } }),
            "/s/properties/a",
            "a schema must be an object",
        );
        check_wrong(
            &json!({ "properties": [] }),
            "/s/properties",
            "`properties` must be an object",
        );
        check_wrong(&json!({ "type": 1 }), "/s/type", "a type must be text");
        let deep = (0..20).fold(
            json!({ "type": "string" }),
            |inner, _| json!({ "items": inner }),
        );
        let pointer = format!("/s{}", "/items".repeat(NESTING_MAX + 1));
        check_wrong(
            &deep,
            &pointer,
            "the schema is nested deeper than 16 levels",
        );
    }
}
