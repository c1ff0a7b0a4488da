//! The kinds of values in the schema, and mappings of them.
//!
//! A text with a reference in it (`${NAME}`) may stand for every value of a pipeline, a connection or a setting, also for a
//! list or a mapping: what it becomes is not known before it is read. Everything here takes one.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

/// What a text with a reference matches.
const REFERENCE: &str = r"\$\{";
/// The words for booleans that are not booleans of JSON.
const BOOLEAN_WORDS: [&str; 4] = ["yes", "no", "on", "off"];

/// A definition of the schema.
pub(super) fn to(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// A definition, and what it is for at this place.
pub(super) fn described(name: &str, description: &str) -> Value {
    about(to(name), description)
}

/// A value, and what it is for.
pub(super) fn about(value: Value, description: &str) -> Value {
    with(value, json!({ "description": description }))
}

/// A value with further keywords.
pub(super) fn with(mut value: Value, more: Value) -> Value {
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// A value, and what stands for it when it is left out.
pub(super) fn defaulting(value: Value, default: impl Into<Value>) -> Value {
    let default: Value = default.into();
    with(value, json!({ "default": default }))
}

/// Of a mapping, these keys are there.
pub(super) fn needs(value: Value, required: &[&str]) -> Value {
    with(value, json!({ "required": required }))
}

/// A value whose texts match a pattern, and what editors say of one that does not.
pub(super) fn takes(value: Value, noun: &str) -> Value {
    with(
        value,
        json!({ "patternErrorMessage": format!("takes {noun}") }),
    )
}

/// A mapping with these keys and no others, written out.
pub(super) fn plain(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A mapping with these keys and no others.
pub(super) fn closed(properties: Value) -> Value {
    or_reference(plain(properties), "a mapping")
}

/// A mapping from names to something.
pub(super) fn named(of: Value) -> Value {
    let made = json!({ "type": "object", "additionalProperties": of });
    or_reference(made, "a mapping")
}

/// A mapping that this schema knows nothing of.
pub(super) fn open() -> Value {
    or_reference(json!({ "type": "object" }), "a mapping")
}

/// A list of something.
pub(super) fn list(of: Value) -> Value {
    or_reference(json!({ "type": "array", "items": of }), "a list")
}

fn or_reference(mut value: Value, noun: &str) -> Value {
    value["type"] = json!([value["type"], "string"]);
    value["pattern"] = REFERENCE.into();
    takes(value, noun)
}

/// A text with a reference in it.
pub(super) fn reference() -> Value {
    json!({ "type": "string", "pattern": REFERENCE })
}

pub(super) fn boolean() -> Value {
    let words = BOOLEAN_WORDS.map(any_case).join("|");
    let made = json!({ "type": ["boolean", "string"], "pattern": or_pattern(&words) });
    takes(made, "`true` or `false`")
}

/// `true`, `false`, or a list of columns.
pub(super) fn sensitive() -> Value {
    let words = BOOLEAN_WORDS.map(any_case).join("|");
    let kinds = ["boolean", "array", "string"];
    let made = json!({ "type": kinds, "items": to("text"), "pattern": or_pattern(&words) });
    takes(made, "`true` or a list of columns")
}

pub(super) fn integer(range: RangeInclusive<usize>) -> Value {
    let mut made = or_reference(json!({ "type": "integer" }), "a whole number");
    made["minimum"] = json!(range.start());
    if *range.end() != usize::MAX {
        made["maximum"] = json!(range.end());
    }
    made
}

/// One of these words.
pub(super) fn words(words: &[&str]) -> Value {
    let mut all: Vec<Value> = words.iter().copied().map(Value::from).collect();
    // Without quotes, `1` is a number.
    let numbers = words.iter().filter_map(|word| word.parse::<u64>().ok());
    all.extend(numbers.map(Value::from));
    json!({ "anyOf": [{ "enum": all }, to("reference")] })
}

/// One of these words in small or large letters; `patterns` are further spellings. Those that are offered stand first.
pub(super) fn spellings(offered: &[&str], patterns: &[String]) -> Value {
    let pattern = or_pattern(&patterns.join("|"));
    json!({ "anyOf": [{ "enum": offered }, { "type": "string", "pattern": pattern }] })
}

/// A pattern that matches all of a text, or a reference.
pub(super) fn or_pattern(pattern: &str) -> String {
    format!(r"^\s*({pattern})\s*$|{REFERENCE}")
}

/// A pattern of a word in small or large letters.
pub(super) fn any_case(word: &str) -> String {
    let one = |c: char| {
        if c.is_ascii_alphabetic() {
            format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase())
        } else {
            c.to_string()
        }
    };
    word.chars().map(one).collect()
}

/// Keys of ODIBI that load and change nothing.
pub(super) fn ignored(properties: &mut Value, keys: &[&str]) {
    add(properties, keys, &to("ignored"));
}

/// Keys of ODIBI that are refused, unless their value asks for nothing.
pub(super) fn later(properties: &mut Value, keys: &[&str]) {
    add(properties, keys, &to("later"));
}

/// Gives several keys the same value.
pub(super) fn add(properties: &mut Value, keys: &[&str], value: &Value) {
    if let Value::Object(map) = properties {
        map.extend(keys.iter().map(|key| ((*key).to_owned(), value.clone())));
    }
}

/// See [`ignored`].
pub(super) fn ignored_value() -> Value {
    json!({ "deprecated": true, "description": "has no effect here" })
}

/// See [`later`].
pub(super) fn later_value() -> Value {
    let nothing = json!({ "enum": [false, null, [], {}, "no", "off"] });
    json!({ "deprecated": true, "description": "not supported yet", "anyOf": [nothing, to("reference")] })
}

/// A mapping with the keys of several, whatever they hold.
pub(super) fn any_of(mappings: &[&Value]) -> Value {
    let keys = mappings
        .iter()
        .filter_map(|mapping| mapping.get("properties")?.as_object())
        .flat_map(Map::keys);
    let properties: Map<String, Value> = keys.map(|key| (key.clone(), json!({}))).collect();
    closed(Value::Object(properties))
}
