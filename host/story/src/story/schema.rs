//! The published schema of a story's JSON, `docs/story.schema.json`, is what the types say; every story of the tests
//! is valid by it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use odibi_plan::plan::AlertEvent;

use super::Story;
use crate::example;
use crate::render::alert::AlertBody;
use crate::render::json;

const SCHEMA: &str = include_str!("../../../../docs/story.schema.json");

#[test]
fn published_schema_is_that_of_the_types() {
    let mut schema = serde_json::to_value(schemars::schema_for!(Story)).expect("serialises");
    schema["title"] = "The story of one pipeline in one run of odibi".into();
    let text = format!("{schema:#}\n");
    expect_test::expect_file!["../../../../docs/story.schema.json"].assert_eq(&text);
}

#[test]
fn stories_are_valid() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("is JSON");
    let mut quarantining = example::story();
    quarantining.nodes[1].facts = Some(example::quarantining());
    let stories = [
        example::story(),
        example::unfinished(),
        example::with_history(),
        quarantining,
    ];
    for story in stories {
        let value: Value = serde_json::from_str(&json::render(&story)).expect("is JSON");
        assert_eq!(faults(&schema, &value), Vec::<String>::new());
    }
}

#[test]
fn published_schema_of_alerts_is_that_of_the_types() {
    let mut schema = serde_json::to_value(schemars::schema_for!(AlertBody)).expect("serialises");
    schema["title"] = "What odibi sends to a webhook".into();
    let text = format!("{schema:#}\n");
    expect_test::expect_file!["../../../../docs/alert.schema.json"].assert_eq(&text);
}

#[test]
fn alerts_are_valid() {
    const SCHEMA: &str = include_str!("../../../../docs/alert.schema.json");
    let schema: Value = serde_json::from_str(SCHEMA).expect("is JSON");
    for story in [
        example::story(),
        example::unfinished(),
        example::with_history(),
    ] {
        for about in AlertEvent::ALL {
            let body = AlertBody::of(about, &[&story], &|_| vec!["run.html".to_owned()]);
            let mut value = serde_json::to_value(body).expect("serialises");
            assert_eq!(faults(&schema, &value), Vec::<String>::new());
            value["outcome"] = "fine".into();
            assert_ne!(faults(&schema, &value), Vec::<String>::new());
        }
    }
}

#[test]
fn what_is_no_story_is_not_valid() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("is JSON");
    let whole = serde_json::to_value(example::story()).expect("serialises");
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut value = whole.clone();
        edit(&mut value);
        faults(&schema, &value)
    };
    assert!(!with(&|v| v["format_version"] = "1".into()).is_empty());
    assert!(!with(&|v| v["outcome"] = "fine".into()).is_empty());
    assert!(!with(&|v| v["nodes"][0]["facts"]["rows_in"] = Value::Null).is_empty());
    assert!(!with(&|v| drop(v.as_object_mut().map(|o| o.remove("run_id")))).is_empty());
    assert_eq!(
        with(&|v| v["later"] = 1.into()),
        Vec::<String>::new(),
        "fields may be added"
    );
}

fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

/// As much of JSON Schema as the types need; any other keyword is a panic.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let nothing = Map::new();
    let rules = if schema == &Value::Bool(true) {
        &nothing
    } else {
        schema.as_object().expect("a schema is an object")
    };
    for (keyword, rule) in rules {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "format" | "default" => true,
            "$ref" => {
                let pointer = rule
                    .as_str()
                    .and_then(|r| r.strip_prefix('#'))
                    .expect("a pointer");
                check(
                    root,
                    root.pointer(pointer).expect("it is there"),
                    value,
                    at,
                    found,
                );
                true
            }
            "type" => {
                let is = |name: &Value| match name.as_str() {
                    Some("null") => value.is_null(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_i64() || value.is_u64(),
                    Some("string") => value.is_string(),
                    Some("array") => value.is_array(),
                    Some("object") => value.is_object(),
                    other => panic!("type {other:?}"),
                };
                rule.as_array()
                    .map_or_else(|| is(rule), |names| names.iter().any(is))
            }
            "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
            "const" => rule == value,
            "minimum" => value
                .as_f64()
                .is_none_or(|number| rule.as_f64().is_some_and(|least| number >= least)),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| rule.as_f64().is_some_and(|most| number <= most)),
            "required" => {
                let names = rule
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                let missing: Vec<&str> = names.filter(|name| value.get(*name).is_none()).collect();
                missing.is_empty()
            }
            "properties" => {
                let properties: BTreeMap<_, _> =
                    rule.as_object().expect("properties").iter().collect();
                for (name, property) in properties {
                    if let Some(inside) = value.get(name) {
                        check(root, property, inside, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{at}/{index}"), found);
                }
                true
            }
            "oneOf" | "anyOf" => {
                let schemas = rule.as_array().expect("schemas").iter();
                let valid = schemas.filter(|schema| {
                    let mut inside = Vec::new();
                    check(root, schema, value, at, &mut inside);
                    inside.is_empty()
                });
                let valid = valid.count();
                valid == 1 || valid > 0 && keyword == "anyOf"
            }
            "additionalProperties" => {
                !rule.is_boolean() || rule == &Value::Bool(true) || {
                    let known = rules.get("properties").and_then(Value::as_object);
                    let names = value.as_object().into_iter().flatten();
                    names
                        .map(|(name, _)| name)
                        .all(|name| known.is_some_and(|known| known.contains_key(name)))
                }
            }
            other => panic!("keyword `{other}` at `{at}`"),
        };
        if !holds {
            found.push(format!("{at}: {keyword}"));
        }
    }
}
