//! The JSON Schema of a project file, for editors. It says what keys there are and what they take; what it cannot say,
//! `odibi validate` does. Sections of connections, reads and writes are open: their keys depend on type and format.

use serde_json::{Map, Value, json};

use super::{LOG_LEVELS, ON_ERRORS};
use crate::guest_limits::{GuestLimit, Unit};
use crate::limits::{ATTEMPTS_MAX, SAMPLE_ROWS_MAX};
use crate::plan::AlertEvent;

/// Version of JSON Schema that it is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema, as `odibi schema` prints it.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": DIALECT,
        "title": "odibi project",
        "type": "object",
        "properties": project(),
        "additionalProperties": false,
        "anyOf": [{ "required": ["project", "connections", "pipelines"] }, { "required": ["imports"] }],
        "$defs": {
            "text": { "type": ["string", "number"] },
            "texts": { "type": "array", "items": to("text") },
            "boolean": { "anyOf": [{ "type": "boolean" }, { "type": "string" }] },
            "time": { "type": ["string", "number"], "description": "`500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds" },
            "on_error": { "enum": ON_ERRORS.iter().map(|(word, _)| *word).collect::<Vec<_>>(), "default": "fail_later" },
            "retry": retry(),
            "limits": limits(),
            "connection": open(json!({ "type": to("text") }), &["type"]),
            "plugin": plugin(),
            "story": story(),
            "logging": logging(),
            "pipeline": pipeline(),
            "node": node(),
            "read": open(json!({ "connection": to("text"), "format": to("text"), "sensitive": to("sensitive") }), &[]),
            "write": open(json!({ "connection": to("text"), "format": to("text"), "path": to("text") }), &[]),
            "step": step(),
            "recipe": recipe(),
            "sensitive": { "anyOf": [to("boolean"), to("texts")] },
            "column": column(),
            "privacy": privacy(),
            "alert": alert(),
            "lineage": lineage(),
            "telemetry": telemetry(),
            "headers": { "type": "object", "additionalProperties": to("text") },
        },
    })
}

fn to(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn described(name: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}"), "description": description })
}

/// A mapping from names to something.
fn named(of: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

fn closed(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn open(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

/// Keys of ODIBI that load and change nothing.
fn ignored(properties: &mut Value, keys: &[&str]) {
    noted(properties, keys, "has no effect here");
}

/// Keys of ODIBI that are refused, unless their value asks for nothing.
fn later(properties: &mut Value, keys: &[&str]) {
    noted(properties, keys, "not supported yet");
}

fn noted(properties: &mut Value, keys: &[&str], note: &str) {
    if let Value::Object(map) = properties {
        let note = json!({ "deprecated": true, "description": note });
        map.extend(keys.iter().map(|key| ((*key).to_owned(), note.clone())));
    }
}

fn attempts(properties: &mut Value) {
    if let Value::Object(map) = properties {
        let keys = [
            ("retry", described("retry", "what is tried again, and when")),
            ("timeout", described("time", "time of one attempt")),
            (
                "on_error",
                described("on_error", "what a failure means for the run"),
            ),
        ];
        map.extend(keys.map(|(key, value)| (key.to_owned(), value)));
    }
}

fn limited(properties: &mut Value) {
    if let Value::Object(map) = properties {
        map.insert(
            "limits".to_owned(),
            described("limits", "what plugins may use"),
        );
    }
}

fn project() -> Value {
    let mut properties = json!({
        "project": described("text", "name of the project"),
        "description": to("text"),
        "version": to("text"),
        "owner": to("text"),
        "imports": { "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }], "description": "files that are laid over this one" },
        "vars": { "type": "object", "description": "values for `${vars.name}`" },
        "environments": { "type": "object", "description": "by name, what is different there" },
        "recipes": named(&to("recipe")),
        "connections": named(&to("connection")),
        "plugins": named(&to("plugin")),
        "pipelines": { "type": "array", "items": to("pipeline") },
        "story": to("story"),
        "system": { "type": "object", "description": "where state is kept" },
        "alerts": { "type": "array", "items": to("alert"), "description": "who is told when a run begins and ends" },
        "lineage": to("lineage"),
        "telemetry": to("telemetry"),
        "logging": to("logging"),
    });
    attempts(&mut properties);
    limited(&mut properties);
    ignored(&mut properties, &["engine", "performance"]);
    later(&mut properties, &["semantic"]);
    properties
}

fn pipeline() -> Value {
    let mut properties = json!({
        "pipeline": described("text", "name of the pipeline"),
        "name": described("text", "another word for `pipeline`"),
        "description": to("text"),
        "layer": to("text"),
        "owner": to("text"),
        "tags": to("texts"),
        "nodes": { "type": "array", "items": to("node") },
        "alerts": { "type": "array", "items": to("alert"), "description": "who is told of this pipeline" },
    });
    attempts(&mut properties);
    ignored(&mut properties, &["auto_cache_threshold"]);
    later(&mut properties, &["freshness_sla", "freshness_anchor"]);
    closed(properties, &["nodes"])
}

fn node() -> Value {
    let mut properties = json!({
        "name": described("text", "unique in its pipeline"),
        "description": to("text"),
        "tags": to("texts"),
        "enabled": to("boolean"),
        "depends_on": to("texts"),
        "read": to("read"),
        "inputs": { "type": "object", "additionalProperties": { "anyOf": [{ "type": "string" }, to("read")] } },
        "transformer": described("text", "an operation, before the steps of `transform`"),
        "params": { "type": "object" },
        "pattern": { "type": "object", "properties": { "type": to("text"), "params": { "type": "object" } }, "required": ["type"], "additionalProperties": false },
        "recipe": to("text"),
        "recipe_vars": { "type": "object" },
        "transform": { "type": "object", "properties": { "steps": { "type": "array", "items": to("step") } }, "required": ["steps"], "additionalProperties": false },
        "write": to("write"),
        "on_row_error": to("text"),
        "quarantine": { "type": "object" },
        "schema_policy": { "type": "object" },
        "sensitive": described("sensitive", "columns whose values no report shows"),
        "columns": named(&to("column")),
        "privacy": to("privacy"),
    });
    attempts(&mut properties);
    limited(&mut properties);
    let without = [
        "cache",
        "log_level",
        "explanation",
        "explanation_file",
        "runbook_url",
    ];
    ignored(&mut properties, &without);
    let to_come = [
        "contracts",
        "incremental",
        "materialized",
        "post_sql",
        "pre_sql",
        "streaming",
        "validation",
    ];
    later(&mut properties, &to_come);
    closed(properties, &["name"])
}

fn step() -> Value {
    let required =
        ["operation", "function", "sql", "sql_file"].map(|key| json!({ "required": [key] }));
    json!({
        "anyOf": [
            { "type": "string", "description": "SQL" },
            {
                "type": "object",
                "properties": {
                    "operation": to("text"),
                    "function": to("text"),
                    "sql": to("text"),
                    "sql_file": to("text"),
                    "params": { "type": "object" },
                },
                "additionalProperties": false,
                "anyOf": required,
            },
        ],
    })
}

fn column() -> Value {
    let mut properties = json!({
        "pii": described("boolean", "personal: as `sensitive`, and changed by `privacy`"),
    });
    ignored(&mut properties, &["description", "tags"]);
    json!({ "anyOf": [{ "type": "null" }, closed(properties, &[])] })
}

fn privacy() -> Value {
    let mut made = closed(
        json!({
            "method": { "enum": ["hash", "mask", "redact"], "description": "what becomes of values of personal columns" },
            "salt": described("text", "what `hash` puts behind each value; keep it secret"),
            "declassify": described("texts", "columns of the result that may be seen"),
        }),
        &[],
    );
    made["anyOf"] = json!([{ "required": ["method"] }, { "required": ["declassify"] }]);
    made
}

fn recipe() -> Value {
    closed(
        json!({
            "description": to("text"),
            "extends": to("text"),
            "template": { "type": "object" },
            "required_vars": to("texts"),
            "optional_vars": { "type": "object" },
        }),
        &[],
    )
}

fn plugin() -> Value {
    closed(
        json!({
            "path": to("text"),
            "grants": to("texts"),
            "limits": to("limits"),
        }),
        &["path"],
    )
}

fn story() -> Value {
    open(
        json!({
            "connection": to("text"),
            "path": to("text"),
            "max_sample_rows": { "type": ["integer", "string"], "minimum": 0, "maximum": SAMPLE_ROWS_MAX, "default": 10 },
            "retention_days": { "type": ["integer", "string"], "minimum": 1, "maximum": 36_500 },
            "retention_count": { "type": ["integer", "string"], "minimum": 1, "maximum": 1_000_000 },
            "auto_generate": to("boolean"),
            "record_user": to("boolean"),
            "docs": closed(
                json!({
                    "enabled": to("boolean"),
                    "output_path": to("text"),
                    "outputs": closed(
                        json!({
                            "readme": to("boolean"),
                            "technical_details": to("boolean"),
                            "node_cards": to("boolean"),
                            "run_memo": to("boolean"),
                        }),
                        &[],
                    ),
                    "include": closed(
                        json!({ "sql": to("boolean"), "config_snapshot": to("boolean"), "schema": to("boolean") }),
                        &[],
                    ),
                }),
                &[],
            ),
        }),
        &["connection"],
    )
}

fn logging() -> Value {
    let words = LOG_LEVELS.iter().map(|(word, _)| *word);
    let words: Vec<String> = words.map(str::to_uppercase).collect();
    closed(
        json!({
            "level": { "anyOf": [{ "enum": words }, { "type": "string" }], "default": "INFO" },
            "structured": described("boolean", "JSON lines on stderr and nothing else"),
            "metadata": { "type": "object", "additionalProperties": to("text"), "description": "stands in every structured line" },
        }),
        &[],
    )
}

fn alert() -> Value {
    let events: Vec<&str> = AlertEvent::ALL.iter().map(|event| event.word()).collect();
    let mention = json!({ "anyOf": [to("text"), to("texts")], "description": "whom to call" });
    closed(
        json!({
            "name": described("text", "unique in the project"),
            "type": { "enum": ["slack", "teams", "teams_workflow", "webhook"] },
            "url": described("text", "a secret: take it from a variable or vault"),
            "on_events": { "type": "array", "items": { "enum": events }, "default": ["on_failure"] },
            "metadata": {
                "type": "object",
                "properties": {
                    "throttle_minutes": { "type": ["integer", "string"], "minimum": 0, "default": 15 },
                    "max_per_hour": { "type": ["integer", "string"], "minimum": 1, "default": 10 },
                    "channel": described("text", "channel of Slack"),
                    "mention": mention,
                    "mention_on_failure": mention,
                },
            },
            "timeout": described("time", "time of one try"),
            "secret": described("text", "key of the signature; webhooks only"),
            "headers": described("headers", "webhooks only"),
            "allow_http": to("boolean"),
        }),
        &["type", "url"],
    )
}

fn lineage() -> Value {
    closed(
        json!({
            "url": described("text", "of a server that takes OpenLineage events"),
            "endpoint": described("text", "path of events below it"),
            "namespace": described("text", "namespace of jobs; the project's name without it"),
            "api_key": described("text", "sent as a bearer token"),
            "timeout": described("time", "time of one try"),
            "allow_http": to("boolean"),
        }),
        &[],
    )
}

fn telemetry() -> Value {
    closed(
        json!({
            "endpoint": described("text", "of a collector, OTLP over HTTP"),
            "service_name": to("text"),
            "headers": to("headers"),
            "timeout": described("time", "time that sending may take"),
            "allow_http": to("boolean"),
        }),
        &[],
    )
}

fn retry() -> Value {
    closed(
        json!({
            "enabled": to("boolean"),
            "max_attempts": { "type": ["integer", "string"], "minimum": 1, "maximum": ATTEMPTS_MAX, "default": 3 },
            "backoff": { "enum": ["exponential", "linear", "constant"], "default": "exponential" },
            "delay": to("time"),
            "max_delay": to("time"),
            "jitter": to("boolean"),
            "deadline": to("time"),
        }),
        &[],
    )
}

fn limits() -> Value {
    let one = |limit: &GuestLimit| {
        let spec = limit.spec();
        let kind = match spec.unit {
            Unit::Count => json!(["integer", "string"]),
            Unit::Bytes | Unit::Milliseconds => json!(["string", "integer"]),
        };
        let written = spec.unit.written(spec.default);
        let value = json!({ "type": kind, "description": spec.doc, "default": written });
        (spec.key.to_owned(), value)
    };
    let properties: Map<String, Value> = GuestLimit::ALL.iter().map(one).collect();
    closed(Value::Object(properties), &[])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::reader::known_keys;
    use crate::diagnostic::Sources;
    use crate::operation::schema::check;
    use crate::yaml::{self, Node, Resolved, Value as Tree};

    const EXAMPLES: &[(&str, &str)] = &[
        (
            "flights",
            include_str!("../../../../examples/flights/odibi.yaml"),
        ),
        ("full", include_str!("../../../../tests/ui/valid_full.yaml")),
        (
            "minimal",
            include_str!("../../../../tests/ui/valid_minimal.yaml"),
        ),
        (
            "imports",
            include_str!("../../../../tests/ui/valid_imports.yaml"),
        ),
        (
            "limits",
            include_str!("../../../../tests/ui/valid_limits.yaml"),
        ),
        (
            "extras",
            include_str!("../../../../tests/ui/valid_odibi_extras.yaml"),
        ),
        ("sql", include_str!("../../../../tests/ui/valid_sql.yaml")),
        (
            "outside",
            include_str!("../../../../tests/ui/valid_outside.yaml"),
        ),
        (
            "quickstart",
            include_str!("../../../cli/templates/quickstart/odibi.yaml"),
        ),
        (
            "star-schema",
            include_str!("../../../cli/templates/star-schema/odibi.yaml"),
        ),
        (
            "azure",
            include_str!("../../../cli/templates/azure/odibi.yaml"),
        ),
    ];

    fn document(node: &Node) -> Value {
        match &node.value {
            Tree::Missing => Value::Null,
            Tree::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => Value::Null,
                Resolved::Boolean(value) => Value::from(value),
                Resolved::Integer(value) => Value::from(i64::try_from(value).unwrap_or(i64::MAX)),
                Resolved::Float(value) => Value::from(value),
                Resolved::Text => Value::from(scalar.text.as_str()),
            },
            Tree::Sequence(items) => items.iter().map(document).collect(),
            Tree::Mapping(mapping) => {
                // A key without a value is as if it were not there.
                let entries = mapping.entries.iter().filter(|e| !e.value.is_null());
                Value::Object(
                    entries
                        .map(|e| (e.key.clone(), document(&e.value)))
                        .collect(),
                )
            }
        }
    }

    fn faults(text: &str) -> Vec<String> {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", text);
        let (tree, faults) = yaml::parse(&sources, file);
        assert_eq!(faults, []);
        let found = check(&schema(), &document(&tree.root));
        found
            .iter()
            .map(|v| format!("{} {:?}", v.pointer, v.problem))
            .collect()
    }

    #[test]
    fn good_projects_fit() {
        for (name, text) in EXAMPLES {
            let text = text.split("\n#~").next().unwrap_or_default();
            assert_eq!(faults(text), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn faulty_projects_do_not_fit() {
        let good = "project: p\nconnections: {c: {type: local}}\npipelines: [{pipeline: p, nodes: [{name: n}]}]\n";
        assert_eq!(faults(good), Vec::<String>::new());
        for bad in [
            "projct: p",
            "retry: 3",
            "retry: {max_attempts: 0}",
            "retry: {attempts: 3}",
            "retry: {backoff: fibonacci}",
            "on_error: stop",
            "story: {path: x}",
            "limits: {memry: 1MiB}",
            "logging: {lvl: INFO}",
            "plugins: {a: {grants: [clock]}}",
            "vars: [1]",
            "alerts: [{type: slack}]",
            "alerts: [{type: mail, url: x}]",
            "alerts: [{type: slack, url: x, on_events: [failure]}]",
            "lineage: {uri: x}",
            "telemetry: {endpoint: [x]}",
            "recipes: {a: {templat: {}}}",
        ] {
            assert_ne!(
                faults(&format!("{good}{bad}\n")),
                Vec::<String>::new(),
                "{bad}"
            );
        }
        for bad in [
            "{nam: n}",
            "{name: n, red: {}}",
            "{name: n, transform: {steps: [{operaton: x}]}}",
        ] {
            assert_ne!(
                faults(&good.replace("{name: n}", bad)),
                Vec::<String>::new(),
                "{bad}"
            );
        }
    }

    /// What the readers ask for is in the schema, and the schema offers nothing that they do not know.
    #[test]
    fn keys_are_those_of_the_readers() {
        for (_, text) in EXAMPLES {
            let _ = crate::config::load("t.yaml", text, &|_| None, &mut Sources::default());
        }
        let made = schema();
        for (subject, pointer) in [
            ("project", "/properties"),
            ("pipeline", "/$defs/pipeline/properties"),
            ("node", "/$defs/node/properties"),
            ("retry", "/$defs/retry/properties"),
            ("alert", "/$defs/alert/properties"),
            ("lineage", "/$defs/lineage/properties"),
            ("telemetry", "/$defs/telemetry/properties"),
        ] {
            let offered = made
                .pointer(pointer)
                .and_then(Value::as_object)
                .expect("properties");
            let offered: BTreeSet<&str> = offered.keys().map(String::as_str).collect();
            let (listed, all) = known_keys(subject);
            let missing: Vec<&&str> = listed.difference(&offered).collect();
            assert!(
                missing.is_empty(),
                "not in the schema of {subject}: {missing:?}"
            );
            let unknown: Vec<&&str> = offered.difference(&all).collect();
            assert!(
                unknown.is_empty(),
                "unknown to the reader of {subject}: {unknown:?}"
            );
        }
    }
}
