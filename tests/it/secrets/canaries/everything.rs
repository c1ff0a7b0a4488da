//! Projects with a text in every place that takes one. Free texts, with which a project can be run whatever they are, hold
//! one of two words in whose place a canary is put.

use serde_json::{Value, json};
use support::recorder::Recorder;

use super::Servers;

/// Any text will do.
pub(super) const ANY: &str = "<any>";
/// Letters and digits alone: in headers and URLs.
pub(super) const PLAIN: &str = "<plain>";

/// Every key that a project may have, and every way to fail. Nodes that are to fail say so in their names.
pub(super) fn everything(servers: &Servers) -> Value {
    let url = |server: &Recorder| server.url("").trim_end_matches('/').to_owned();
    let (stores, hooks, takers) = (
        url(&servers.stores),
        url(&servers.hooks),
        url(&servers.takers),
    );
    let mut all = json!({
        "project": "x", "description": ANY, "version": ANY, "owner": ANY,
        "vars": {"v": ANY, "e": "laptop"},
        "environments": {"prod": {"vars": {"e": ANY}}},
        "engine": "pandas",
        "retry": {
            "enabled": true, "max_attempts": 1, "backoff": "constant", "delay": "1ms", "max_delay": "1ms",
            "jitter": false, "deadline": "1m",
        },
        "timeout": "5m", "on_error": "fail_later",
        "limits": {"cpu": "20s", "memory": "256MiB", "total_output": "1GiB"},
        "logging": {"level": "DEBUG", "structured": false, "metadata": {"team": ANY}},
        "lineage": {
            "url": format!("{takers}/{PLAIN}"), "endpoint": "api/v1/lineage", "namespace": "shop", "api_key": PLAIN,
            "timeout": "2s", "file": "lineage/events.jsonl",
        },
        "telemetry": {
            "endpoint": format!("{takers}/{PLAIN}"), "service_name": "shop", "headers": {"x-api-key": PLAIN},
            "timeout": "2s",
        },
        "system": {"connection": "here", "path": "state"},
        "plugins": {"evil": {"path": "evil.wasm", "grants": ["clock"], "limits": {"wall": "1m"}}},
    });
    all["recipes"] = json!({"padded": {
        "description": "d", "required_vars": ["mark"], "optional_vars": {"column": "s"},
        "template": {"transform": {"steps": [
            {"operation": "add_suffix", "params": {"suffix": "${recipe.mark}", "columns": ["${recipe.column}"]}},
        ]}},
    }});
    all["connections"] = connections(&stores);
    all["alerts"] = alerts(&hooks);
    all["story"] = json!({
        "connection": "here", "path": "stories", "max_sample_rows": 5, "retention_days": 30,
        "retention_count": 50, "auto_generate": true, "record_user": true,
        "docs": {
            "enabled": true, "output_path": "docs",
            "outputs": {"readme": true, "technical_details": true, "node_cards": true, "run_memo": true},
            "include": {"sql": true, "config_snapshot": true, "schema": true},
        },
    });
    let bad = [refused(), failing()].concat();
    all["pipelines"] = json!([
        {
            "pipeline": "fine", "description": ANY, "layer": ANY, "owner": ANY, "tags": [ANY],
            "alerts": [{
                "type": "teams", "url": format!("{hooks}/teams/{PLAIN}"), "on_events": ["on_start", "on_success"],
                "metadata": {"throttle_minutes": 0, "mention_on_failure": "me@example.com"},
            }],
            "nodes": fine(),
        },
        {"pipeline": "bad", "nodes": bad},
    ]);
    all
}

fn connections(stores: &str) -> Value {
    let azure = |auth: Value| {
        json!({
            "type": "azure_blob", "account_name": "acme", "container": "raw", "path_prefix": "a",
            "endpoint": stores, "auth": auth,
        })
    };
    let web = |auth: Value| json!({"type": "http", "base_url": stores, "auth": auth});
    let string = format!("AccountName=acme;AccountKey={PLAIN};BlobEndpoint={stores}");
    let mut all = json!({
        "here": {"type": "local", "base_path": "."},
        "bearer": web(json!({"mode": "bearer", "token": PLAIN})),
        "basic": web(json!({"mode": "basic", "username": ANY, "password": ANY})),
        "api": web(json!({
            "mode": "api_key", "api_key": PLAIN, "header_name": "X-Key", "value_template": "Key {token}",
        })),
        "azure": azure(json!({"mode": "account_key", "account_key": ANY})),
        "sas": azure(json!({"mode": "sas", "sas_token": format!("sv=1&sig={PLAIN}")})),
        "flat": {
            "type": "azure_adls", "account": "acme", "container_name": "raw", "endpoint": stores,
            "auth_mode": "account_key", "account_key": ANY,
        },
        "text": {
            "type": "azure_blob", "container": "raw",
            "auth": {"mode": "connection_string", "connection_string": string},
        },
        "s3": {
            "type": "s3", "bucket": "acme", "region": "eu-west-1", "endpoint": stores, "path_prefix": "a",
            "access_key_id": PLAIN, "secret_access_key": ANY, "session_token": PLAIN,
        },
        "gcs": {
            "type": "gcs", "bucket": "acme", "path_prefix": "a", "endpoint": stores, "service_account_key": ANY,
        },
    });
    all["basic"]["headers"] = json!({"X-A": PLAIN, "Accept": "text/csv"});
    all
}

fn alerts(hooks: &str) -> Value {
    json!([
        {
            "name": "hook", "type": "webhook", "url": format!("{hooks}/{PLAIN}"),
            "on_events": ["on_start", "on_success", "on_failure", "on_recovered", "on_quarantine"],
            "secret": ANY, "headers": {"X-Sign": PLAIN}, "timeout": "2s",
            "metadata": {"throttle_minutes": 0, "max_per_hour": 1000, "team": "sales"},
        },
        {
            "type": "slack", "url": format!("{hooks}/slack/{PLAIN}"), "on_events": ["on_failure"],
            "metadata": {
                "throttle_minutes": 0, "channel": "#sales", "mention": "@here", "mention_on_failure": ["@here"],
            },
        },
    ])
}

fn csv(path: &str) -> Value {
    json!({"connection": "here", "format": "csv", "path": path})
}

/// Nodes that succeed.
fn fine() -> Vec<Value> {
    let mut nodes = vec![json!({
        "name": "good", "description": ANY, "tags": [ANY], "explanation": ANY,
        "read": {
            "connection": "here", "format": "csv", "path": "in.csv",
            "options": {
                "delimiter": ",", "quote": "\"", "encoding": "utf-8", "null_values": [ANY],
                "schema": {"s": "string"}, "on_bad_row": "fail", "compression": "none",
            },
            "schema_policy": {"mode": "enforce", "on_new_columns": "ignore", "on_missing_columns": "fill_null"},
        },
        "transform": {"steps": [
            {"operation": "add_prefix", "params": {"prefix": ANY, "columns": ["s"]}},
            {"operation": "rename_columns", "params": {"mapping": {"n": ANY}}},
        ]},
        "write": {
            "connection": "here", "format": "csv", "path": "out/good.csv", "mode": "overwrite",
            "options": {
                "delimiter": ";", "quote": "'", "quoting": "minimal", "null_value": ANY,
                "date_format": "%Y-%m-%d", "encoding": "utf-8",
            },
        },
    })];
    nodes.extend([
        json!({
            "name": "of_a_recipe", "recipe": "padded", "recipe_vars": {"mark": ANY}, "read": csv("in.csv"),
            "write": {
                "connection": "here", "format": "json", "path": "out/recipe.json", "options": {"lines": true},
            },
        }),
        json!({
            "name": "of_a_pattern", "read": csv("in.csv"),
            "pattern": {"type": "add_suffix", "params": {"suffix": ANY, "columns": ["s"]}},
            "write": csv("out/pattern.csv"),
        }),
        json!({
            "name": "of_vars", "read": csv("in.csv"),
            "transformer": "trim_whitespace", "params": {"columns": ["s"]},
            "transform": {"steps": [
                {"operation": "fill_nulls", "params": {"values": {"s": "${vars.v}"}}},
                {"operation": "add_suffix", "params": {"suffix": "${vars.e}", "columns": ["n"]}},
            ]},
            "write": {
                "connection": "here", "format": "parquet", "path": "out/vars.parquet",
                "options": {"compression": "snappy"},
            },
        }),
        json!({
            "name": "of_sql", "read": csv("in.csv"),
            "transform": {"steps": [{"sql": format!("SELECT n, '{ANY}' AS t FROM df")}]},
            "write": csv("out/sql.csv"),
        }),
        telling("tells", "log", &json!({})),
        json!({
            "name": "sets_aside", "read": csv("in.csv"), "on_row_error": "quarantine",
            "quarantine": {
                "connection": "here", "path": "rejects", "format": "csv", "options": {"delimiter": ","},
            },
            "transform": {"steps": [
                {"sql": format!("SELECT n, '{PLAIN}' AS t FROM df WHERE n = 13")},
                {"operation": "evil/leak_row"},
            ]},
            "write": csv("out/sets_aside.csv"),
        }),
        json!({"name": "last", "depends_on": ["of_sql"], "read": csv("out/sql.csv")}),
    ]);
    nodes
}

/// A node with a plugin that tells what is in its rows: a canary. One row and one column, so that the plugin does not cut it
/// where it cuts what it tells; nobody can find pieces.
fn telling(name: &str, leak: &str, more: &Value) -> Value {
    let mut node = json!({
        "name": name,
        "read": csv("in.csv"),
        "transform": {"steps": [
            {"sql": format!("SELECT '{ANY}' AS t FROM df WHERE n = 1")},
            {"operation": format!("evil/leak_{leak}")},
        ]},
        "write": csv(&format!("out/{name}.csv")),
    });
    for (key, value) in more.as_object().unwrap() {
        node[key] = value.clone();
    }
    node
}

/// Nodes that read from stores which refuse the credentials, or are given credentials that are none.
fn refused() -> Vec<Value> {
    let stores = [
        "bearer", "basic", "api", "azure", "sas", "flat", "text", "s3", "gcs",
    ];
    let node = |store: &str| {
        json!({
            "name": format!("fails_at_{store}"),
            "read": {"connection": store, "format": "csv", "path": "a.csv"},
        })
    };
    stores.map(node).to_vec()
}

/// Nodes that fail in data, in a write, at a limit, or with their plugin.
fn failing() -> Vec<Value> {
    let cast = format!("SELECT CAST(concat(n, '{ANY}') AS BIGINT) AS c FROM df");
    vec![
        json!({
            "name": "fails_to_cast", "read": csv("in.csv"), "transform": {"steps": [{"sql": cast}]},
        }),
        json!({
            "name": "fails_to_read",
            "read": {
                "connection": "here", "format": "csv", "path": "bad.csv", "options": {"schema": {"n": "int64"}},
            },
        }),
        json!({
            "name": "fails_to_merge", "read": csv("in.csv"),
            "transform": {"steps": [{"sql": format!("SELECT n, '{ANY}' AS t FROM df")}]},
            "write": {
                "connection": "here", "format": "csv", "path": "out/merged.csv", "mode": "upsert", "keys": ["t"],
                "null_keys": "error", "duplicate_keys": "error",
            },
        }),
        json!({
            "name": "fails_to_write", "read": csv("in.csv"), "on_error": "ignore",
            "transform": {"steps": [
                {"operation": "add_suffix", "params": {"suffix": ANY, "columns": ["s"]}},
            ]},
            "write": csv("blocked/x.csv"),
        }),
        telling("fails_with_error", "error", &json!({})),
        telling(
            "fails_again",
            "again",
            &json!({
                "retry": {"max_attempts": 2, "backoff": "linear", "delay": "1ms"}, "timeout": "1m",
            }),
        ),
        telling("fails_in_panic", "panic", &json!({})),
        telling("fails_in_trap", "trap", &json!({})),
        telling("fails_to_end", "spin", &json!({"limits": {"cpu": "100ms"}})),
        telling(
            "fails_to_fit",
            "memory",
            &json!({"limits": {"memory": "32MiB"}}),
        ),
        telling("fails_to_tell", "schema", &json!({})),
        json!({
            "name": "fails_behind", "inputs": {"df": "fails_in_panic"},
            "write": {"connection": "here", "format": "arrow", "path": "out/behind.arrow"},
        }),
    ]
}

/// Of connections that would reach somebody else, and with columns that must not be seen.
pub(super) fn apart() -> Value {
    let azure = |auth: Value| json!({"type": "azure_blob", "account_name": "acme", "container": "raw", "auth": auth});
    json!({
        "project": "y",
        "connections": {
            "here": {"type": "local", "base_path": "."},
            "app": azure(json!({
                "mode": "service_principal", "tenant_id": ANY, "client_id": ANY, "client_secret": ANY,
            })),
            "pod": azure(json!({
                "mode": "workload_identity", "tenant_id": ANY, "client_id": ANY, "federated_token_file": "token",
            })),
            "machine": azure(json!({"mode": "managed_identity", "client_id": ANY})),
            "file": {"type": "gcs", "bucket": "acme", "service_account_file": "key.json"},
        },
        "story": {"connection": "here"},
        "environments": {"prod": {"vars": {"unused": "text"}}},
        "pipelines": [{
            "name": "p",
            "nodes": [
                {
                    "name": "hashed",
                    "read": {"connection": "here", "format": "csv", "path": "in.csv", "sensitive": ["s"]},
                    "columns": {"s": {"pii": true}}, "privacy": {"method": "hash", "salt": ANY},
                    "write": csv("out/hashed.csv"),
                },
                {
                    "name": "masked", "read": csv("in.csv"), "sensitive": ["s"],
                    "columns": {"s": {"pii": true}}, "privacy": {"method": "mask", "declassify": ["n"]},
                    "transform": {"steps": [{"operation": "fill_nulls", "params": {"values": {"s": ANY}}}]},
                    "write": csv("out/masked.csv"),
                },
            ],
        }],
    })
}
