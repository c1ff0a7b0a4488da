//! The schema against projects that are sound and such that are not, and against the reader.

use std::collections::BTreeSet;

use super::*;
use crate::config::reader::{forget_keys, known_keys};
use crate::diagnostic::Sources;
use crate::operation::schema::check;
use crate::yaml::{self, Node, Resolved, Value as Tree};

const EXAMPLES: &[(&str, &str)] = &[
    (
        "flights",
        include_str!("../../../../../examples/flights/odibi.yaml"),
    ),
    (
        "full",
        include_str!("../../../../../tests/ui/valid_full.yaml"),
    ),
    (
        "imports",
        include_str!("../../../../../tests/ui/valid_imports.yaml"),
    ),
    (
        "outside",
        include_str!("../../../../../tests/ui/valid_outside.yaml"),
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

/// What the checker of params finds. It knows neither patterns nor conditions: tests/it/project_schema.rs has the whole
/// truth. In a project without references, no text counts as one.
fn faults(text: &str) -> Vec<String> {
    let mut sources = Sources::default();
    let file = sources.add("t.yaml", text);
    let (tree, faults) = yaml::parse(&sources, file);
    assert_eq!(faults, []);
    let mut schema = schema();
    if !text.contains("${") {
        schema["$defs"]["reference"] = Value::Bool(false);
    }
    let found = check(&schema, &document(&tree.root));
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
        "system: {path: x}",
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
        "environments: {prod: {timeout: 3s}}",
        "recipes: {a: {template: {red: {}}}}",
        "recipes: {a: {template: {read: {conection: c}}}}",
        "recipes: {a: {template: {read: {format: cvs}}}}",
        "recipes: {a: {template: {write: {mode: upser}}}}",
        "recipes: {a: {template: {validation: {tests: [x]}}}}",
        "recipes: {a: {template: {transform: {steps: [{operaton: x}]}}}}",
    ] {
        assert_ne!(
            faults(&format!("{good}{bad}\n")),
            Vec::<String>::new(),
            "{bad}"
        );
    }
}

fn top(piece: &str) -> String {
    format!(
        "project: p\nconnections: {{c: {{type: local}}}}\npipelines: [{{pipeline: p, nodes: [{{name: n}}]}}]\n{piece}\n"
    )
}

fn in_node(piece: &str) -> String {
    format!(
        "project: p\nconnections: {{c: {{type: local}}}}\npipelines: [{{pipeline: p, nodes: [{{name: n, {piece}}}]}}]\n"
    )
}

fn in_connection(piece: &str) -> String {
    format!("project: p\nconnections: {{c: {{{piece}}}}}\npipelines: []\n")
}

/// Where keys stand in the schema, the first word of what the reader calls the mapping, where pieces belong, and pieces in
/// which the reader asks for all of its keys.
type Place = (
    &'static str,
    &'static str,
    fn(&str) -> String,
    &'static [&'static str],
);

const PLACES: &[Place] = &[
    ("/properties", "project", top, &[""]),
    ("/$defs/pipeline/properties", "pipeline", top, &[""]),
    ("/$defs/retry/properties", "retry", top, &["retry: {}"]),
    ("/$defs/limits/properties", "limits", top, &["limits: {}"]),
    (
        "/$defs/plugin/properties",
        "plugin",
        top,
        &["plugins: {a: {path: x}}"],
    ),
    (
        "/$defs/story/properties",
        "story",
        top,
        &["story: {connection: c}"],
    ),
    (
        "/$defs/story/properties/docs/properties",
        "documents",
        top,
        &["story: {connection: c, docs: {}}"],
    ),
    (
        "/$defs/story/properties/docs/properties/outputs/properties",
        "outputs",
        top,
        &["story: {connection: c, docs: {outputs: {}}}"],
    ),
    (
        "/$defs/story/properties/docs/properties/include/properties",
        "what",
        top,
        &["story: {connection: c, docs: {include: {}}}"],
    ),
    (
        "/$defs/system/properties",
        "system",
        top,
        &["system: {connection: c}"],
    ),
    (
        "/$defs/logging/properties",
        "logging",
        top,
        &["logging: {}"],
    ),
    (
        "/$defs/alert/properties",
        "alert",
        top,
        &["alerts: [{name: a, type: slack, url: x}]"],
    ),
    (
        "/$defs/alert/properties/metadata/properties",
        "metadata",
        top,
        &["alerts: [{name: a, type: slack, url: x, metadata: {}}]"],
    ),
    (
        "/$defs/lineage/properties",
        "lineage",
        top,
        &["lineage: {}"],
    ),
    (
        "/$defs/telemetry/properties",
        "telemetry",
        top,
        &["telemetry: {}"],
    ),
    (
        "/$defs/node/properties",
        "node",
        in_node,
        &["depends_on: []"],
    ),
    (
        "/$defs/full_node/properties",
        "node",
        in_node,
        &["depends_on: []"],
    ),
    (
        "/$defs/node/properties/transform/properties",
        "transform",
        in_node,
        &["transform: {steps: []}"],
    ),
    (
        "/$defs/full_node/properties/transform/properties",
        "transform",
        in_node,
        &["transform: {steps: []}"],
    ),
    (
        "/$defs/step/anyOf/1/properties",
        "a",
        in_node,
        &["transform: {steps: [{operation: distinct}]}"],
    ),
    (
        "/$defs/privacy/properties",
        "privacy",
        in_node,
        &["privacy: {method: hash}"],
    ),
    (
        "/$defs/column/anyOf/1/properties",
        "column",
        in_node,
        &["columns: {a: {}}"],
    ),
    (
        "/$defs/schema_policy/properties",
        "schema_policy",
        in_node,
        &["schema_policy: {}"],
    ),
    (
        "/$defs/quarantine/properties",
        "quarantine",
        in_node,
        &["on_row_error: quarantine, quarantine: {connection: c, path: r}"],
    ),
    (
        "/$defs/quarantine/properties/add_columns/properties",
        "add_columns",
        in_node,
        &["on_row_error: quarantine, quarantine: {add_columns: {}}"],
    ),
    (
        "/$defs/read/properties",
        "read",
        in_node,
        &["read: {format: csv}", "read: {format: delta}"],
    ),
    (
        "/$defs/time_travel/properties",
        "time_travel",
        in_node,
        &["read: {format: delta, time_travel: {}}"],
    ),
    (
        "/$defs/csv_read_options/properties",
        "options",
        in_node,
        &["read: {format: csv, options: {}}"],
    ),
    (
        "/$defs/json_read_options/properties",
        "options",
        in_node,
        &[
            "read: {format: json, options: {}}",
            "read: {format: jsonl, options: {}}",
        ],
    ),
    (
        "/$defs/read_options/properties",
        "options",
        in_node,
        &[
            "read: {format: parquet, options: {}}",
            "read: {format: feather, options: {}}",
            "read: {format: avro, options: {}}",
        ],
    ),
    (
        "/$defs/delta_read_options/properties",
        "options",
        in_node,
        &["read: {format: delta, options: {}}"],
    ),
    (
        "/$defs/write/properties",
        "write",
        in_node,
        &["write: {format: csv}", "write: {format: delta}"],
    ),
    (
        "/$defs/csv_write_options/properties",
        "options",
        in_node,
        &["write: {format: csv, options: {}}"],
    ),
    (
        "/$defs/json_write_options/properties",
        "options",
        in_node,
        &[
            "write: {format: json, options: {}}",
            "write: {format: jsonl, options: {}}",
        ],
    ),
    (
        "/$defs/parquet_write_options/properties",
        "options",
        in_node,
        &[
            "write: {format: parquet, options: {}}",
            "on_row_error: quarantine, quarantine: {options: {}}",
        ],
    ),
    (
        "/$defs/arrow_write_options/properties",
        "options",
        in_node,
        &["write: {format: arrow, options: {}}"],
    ),
    (
        "/$defs/delta_write_options/properties",
        "options",
        in_node,
        &["write: {format: delta, options: {}}"],
    ),
    (
        "/$defs/local_connection/properties",
        "connection",
        in_connection,
        &["type: local"],
    ),
    (
        "/$defs/azure_connection/properties",
        "connection",
        in_connection,
        &[
            "type: azure_adls, auth: {}",
            "type: azure_adls",
            "type: azure_adls, auth_mode: account_key",
            "type: azure_adls, auth_mode: sas",
            "type: azure_blob, auth_mode: connection_string",
            "type: azure_blob, auth_mode: service_principal",
            "type: azure_blob, auth_mode: managed_identity",
            "type: azure_blob, auth_mode: workload_identity",
            "type: azure_blob, auth_mode: key_vault",
        ],
    ),
    (
        "/$defs/azure_connection/properties/auth/properties",
        "auth",
        in_connection,
        &[
            "type: azure_adls, auth: {}",
            "type: azure_adls, auth: {mode: service_principal}",
            "type: azure_adls, auth: {mode: workload_identity}",
            "type: azure_adls, auth: {mode: key_vault}",
        ],
    ),
    (
        "/$defs/s3_connection/properties",
        "connection",
        in_connection,
        &["type: s3, auth: {}", "type: s3, auth_mode: keys"],
    ),
    (
        "/$defs/s3_connection/properties/auth/properties",
        "auth",
        in_connection,
        &["type: s3, auth: {mode: keys}"],
    ),
    (
        "/$defs/gcs_connection/properties",
        "connection",
        in_connection,
        &["type: gcs, auth: {}", "type: gcs"],
    ),
    (
        "/$defs/gcs_connection/properties/auth/properties",
        "auth",
        in_connection,
        &["type: gcs, auth: {}"],
    ),
    (
        "/$defs/http_connection/properties",
        "connection",
        in_connection,
        &["type: http"],
    ),
    (
        "/$defs/http_connection/properties/auth/properties",
        "auth",
        in_connection,
        &[
            "type: http, auth: {mode: basic}",
            "type: http, auth: {mode: bearer}",
            "type: http, auth: {mode: api_key}",
        ],
    ),
];

/// What the readers ask for is in the schema, and the schema offers nothing else.
#[test]
fn keys_are_those_of_the_readers() {
    let made = schema();
    for (pointer, word, whole, pieces) in PLACES {
        forget_keys();
        for piece in *pieces {
            let text = whole(piece);
            let _ = crate::config::load("t.yaml", &text, &|_| None, &mut Sources::default());
        }
        let offered = made
            .pointer(pointer)
            .and_then(Value::as_object)
            .unwrap_or_else(|| panic!("nothing at {pointer}"));
        let offered: BTreeSet<&str> = offered.keys().map(String::as_str).collect();
        let (_, asked) = known_keys(word);
        assert_eq!(offered, asked, "{pointer}, in {pieces:?}");
    }
}

/// Every mapping with a list of keys is one of those above, or its keys come from the table of who reads it.
#[test]
fn every_list_of_keys_is_compared() {
    fn visit(value: &Value, at: &str, found: &mut Vec<String>) {
        let Value::Object(map) = value else {
            if let Value::Array(items) = value {
                for (index, item) in items.iter().enumerate() {
                    visit(item, &format!("{at}/{index}"), found);
                }
            }
            return;
        };
        if map.get("additionalProperties") == Some(&Value::Bool(false)) {
            found.push(format!("{at}/properties"));
        }
        for (key, value) in map {
            visit(value, &format!("{at}/{key}"), found);
        }
    }
    let mut found = Vec::new();
    visit(&schema(), "", &mut found);
    let known = |pointer: &str| {
        PLACES.iter().any(|place| place.0 == pointer)
            || [
                "/$defs/environment/properties",
                "/$defs/recipe/properties",
                "/$defs/node/properties/pattern/properties",
                "/$defs/full_node/properties/pattern/properties",
                "/$defs/any_connection/properties",
                "/$defs/any_read_options/properties",
                "/$defs/any_write_options/properties",
            ]
            .contains(&pointer)
    };
    found.retain(|pointer| !known(pointer));
    assert_eq!(found, Vec::<String>::new());
}
