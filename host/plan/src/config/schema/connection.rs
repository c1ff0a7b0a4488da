//! Connections in the schema: which keys there are follows from `type`.

use serde_json::{Value, json};

use super::kind::{
    about, add, any_of, closed, defaulting, described, ignored, needs, open, to, words,
};
use crate::config::connection::{self, azure, gcs, http, s3};

/// Definitions of the keys, each with the types that have them.
const KINDS: [(&str, &[&str]); 5] = [
    ("local", &["local"]),
    ("azure", &["azure_adls", "azure_blob"]),
    ("s3", &["s3"]),
    ("gcs", &["gcs"]),
    ("http", &["http"]),
];

/// Definitions, by name.
pub(super) fn definitions() -> Vec<(String, Value)> {
    let kinds: Vec<Value> = KINDS.iter().map(|(kind, _)| keys(kind)).collect();
    let any = any_of(&kinds.iter().collect::<Vec<_>>());
    let names = KINDS.iter().map(|(kind, _)| format!("{kind}_connection"));
    let mut all: Vec<(String, Value)> = names.zip(kinds).collect();
    all.push(("any_connection".to_owned(), any));
    all.push(("connection".to_owned(), part()));
    all.push(("whole_connection".to_owned(), whole()));
    all
}

/// Some keys of a connection, as environments have them.
fn part() -> Value {
    let of_type = |(kind, types): &(&str, &[&str])| {
        let then = to(&format!("{kind}_connection"));
        json!({ "if": is_type(types), "then": then })
    };
    let by_type: Vec<Value> = KINDS.iter().map(of_type).collect();
    let mut made = open();
    made["properties"] = json!({ "type": types() });
    made["if"] = json!({ "required": ["type"] });
    made["then"] = json!({ "allOf": by_type });
    made["else"] = to("any_connection");
    made
}

fn whole() -> Value {
    let one_of = |keys: [&str; 2]| {
        let forms = keys.map(|key| json!({ "required": [key] }));
        json!({ "anyOf": forms })
    };
    let required: Vec<Value> = KINDS
        .iter()
        .filter_map(|(kind, types)| {
            let then = match *kind {
                "azure" => one_of(["container", "container_name"]),
                "s3" | "gcs" => one_of(["bucket", "bucket_name"]),
                "http" => json!({ "required": ["base_url"] }),
                _ => return None,
            };
            Some(json!({ "if": is_type(types), "then": then }))
        })
        .collect();
    let mut made = needs(to("connection"), &["type"]);
    made["allOf"] = required.into();
    made
}

fn is_type(types: &[&str]) -> Value {
    json!({ "properties": { "type": { "enum": types } }, "required": ["type"] })
}

fn types() -> Value {
    about(words(&connection::types()), "what it reaches")
}

/// All keys of connections of one kind.
fn keys(kind: &str) -> Value {
    let mut keys = match kind {
        "azure" => of_azure(),
        "s3" => of_s3(),
        "gcs" => of_gcs(),
        "http" => of_http(),
        _ => of_local(),
    };
    add(&mut keys, &["type"], &types());
    ignored(&mut keys, connection::IGNORED);
    let mut made = closed(keys);
    let beside = credentials(kind);
    if !beside.is_empty() {
        // What stands under `auth` stands nowhere else.
        let mut elsewhere = json!({ "auth_mode": false });
        add(&mut elsewhere, &beside, &Value::Bool(false));
        made["if"] = json!({ "type": "object", "required": ["auth"] });
        made["then"] = json!({ "properties": elsewhere });
    }
    made
}

fn of_local() -> Value {
    let base_path = described(
        "text",
        "directory, relative to the project file; nothing outside is reached",
    );
    json!({ "base_path": defaulting(base_path, "./data") })
}

/// Keys of all that is on the web.
fn on_the_web(keys: &mut Value, endpoint: &str) {
    add(
        keys,
        &["path_prefix"],
        &described("text", "directory that all paths begin at"),
    );
    add(keys, &["endpoint"], &described("text", endpoint));
    add(keys, &["allow_http"], &allow_http());
}

fn allow_http() -> Value {
    let value = described("boolean", "plain HTTP with other machines than this one");
    defaulting(value, false)
}

/// Keys of `auth`, which may stand beside the others as well.
fn credentials(kind: &str) -> Vec<&'static str> {
    match kind {
        "azure" => vec![
            "account_key",
            "sas_token",
            "connection_string",
            "key_vault_name",
            "key_vault",
            "secret_name",
            "secret",
            "tenant_id",
            "client_id",
            "client_secret",
            "federated_token_file",
        ],
        "s3" => vec!["access_key_id", "secret_access_key", "session_token"],
        "gcs" => vec!["service_account_file", "service_account_key"],
        _ => Vec::new(),
    }
}

/// `auth` with its `mode`, and the same beside the other keys with an `auth_mode`.
fn with_auth(keys: &mut Value, kind: &str, modes: &[&str]) {
    let mode = about(
        words(modes),
        "how it is opened; the keys that are there tell it, too",
    );
    let mut under = json!({ "mode": mode });
    add(&mut under, &credentials(kind), &to("text"));
    add(keys, &["auth"], &closed(under));
    add(keys, &["auth_mode"], &mode);
    add(keys, &credentials(kind), &to("text"));
}

fn of_azure() -> Value {
    let mut keys = json!({
        "account_name": described("text", "the account alone, without `.blob.core.windows.net`"),
        "account": described("text", "another word for `account_name`"),
        "container": to("text"),
        "container_name": described("text", "another word for `container`"),
        "use_emulator": defaulting(described("boolean", "Azurite on this machine"), false),
    });
    on_the_web(&mut keys, "of another cloud, or of an emulator");
    with_auth(&mut keys, "azure", &azure::modes());
    keys
}

fn of_s3() -> Value {
    let mut keys = json!({
        "bucket": to("text"),
        "bucket_name": described("text", "another word for `bucket`"),
        "region": described("text", "`AWS_REGION` without it, and else `us-east-1`"),
        "virtual_hosted": defaulting(described("boolean", "the bucket stands in the host name"), false),
    });
    on_the_web(&mut keys, "of a server that speaks like S3");
    with_auth(&mut keys, "s3", &s3::modes());
    keys
}

fn of_gcs() -> Value {
    let mut keys = json!({
        "bucket": to("text"),
        "bucket_name": described("text", "another word for `bucket`"),
    });
    on_the_web(&mut keys, "of a server that speaks like Google's");
    with_auth(&mut keys, "gcs", &gcs::modes());
    keys
}

fn of_http() -> Value {
    let mode = words(&http::modes());
    json!({
        "base_url": described("text", "paths are put behind it; without a query"),
        "allow_http": allow_http(),
        "headers": described("headers", "sent with every request"),
        "auth": closed(json!({
            "mode": mode,
            "type": about(mode.clone(), "another word for `mode`"),
            "username": to("text"),
            "password": to("text"),
            "token": to("text"),
            "api_key": to("text"),
            "header_name": defaulting(to("text"), "Authorization"),
            "value_template": defaulting(described("text", "holds `{token}` once"), "Bearer {token}"),
        })),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_type_has_its_keys() {
        let ours: BTreeSet<&str> = KINDS
            .iter()
            .flat_map(|(_, types)| types.iter().copied())
            .collect();
        assert_eq!(ours, connection::types().into_iter().collect());
    }
}
