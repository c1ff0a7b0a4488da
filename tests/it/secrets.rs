//! Secrets through the whole program: from the vault into a connection, what is said when there is none, and canaries in
//! every place of a project, of which nothing that is printed or written may show one.

mod children;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use support::{Project, base64};

/// What the vaults' login takes for ours.
pub(crate) const CLIENT_SECRET: &str = "right-client-secret";

/// The vaults, for as long as this process lives: they end with their standard input.
fn servers() -> &'static Value {
    static SERVERS: OnceLock<(Child, Value)> = OnceLock::new();
    let (_, places) = SERVERS.get_or_init(|| {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("servers/vaults.py");
        let mut command = Command::new("python3");
        let piped = command
            .arg("-B")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = piped.spawn().expect("no Python for the vaults");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let places =
            serde_json::from_str(&line).expect("the vaults do not start: is there `openssl`?");
        (child, places)
    });
    places
}

/// What leads to the vaults, and proves who asks.
pub(crate) fn variables() -> Vec<(&'static str, String)> {
    let places = servers();
    let word = |name: &str| places[name].as_str().unwrap().to_owned();
    let hosts = places["hosts"].as_array().unwrap().iter();
    let hosts =
        hosts.map(|host| format!("{}=127.0.0.1:{}", host.as_str().unwrap(), places["secure"]));
    vec![
        ("ODIBI_CA_FILE", word("ca")),
        ("ODIBI_RESOLVE", hosts.collect::<Vec<_>>().join(",")),
        ("AZURE_TENANT_ID", word("tenant")),
        ("AZURE_CLIENT_ID", word("client_id")),
        ("AZURE_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        (
            "VAULT_ADDR",
            format!("https://vault.example.com:{}", places["secure"]),
        ),
        ("VAULT_TOKEN", "hvs.right".to_owned()),
    ]
}

/// A project whose environment leads to the vaults.
fn project(yaml: &str) -> Project {
    let project = Project::with(yaml).file("in.csv", "n,s\n1,a\n2,b\n");
    let set = variables().into_iter();
    set.fold(project, |project, (name, value)| {
        project.variable(name, &value)
    })
}

const START: &str = "project: x\nconnections:\n  here: {type: local, base_path: .}\n";
const END: &str = "pipelines:
  - pipeline: p
    nodes:
      - {name: n, read: {connection: here, format: csv, path: in.csv}, write: {connection: here, format: csv, path: out.csv}}
";

#[test]
fn check_prints_names_and_never_values() {
    let keys = "  web: {type: http, base_url: \"https://example.com\", headers: {A: \"${keyvault:acme/plain}\", B: \"${vault:kv/app#user}\"}}
  lake: {type: azure_adls, account_name: acme, container: raw, auth: {mode: key_vault, key_vault: acme, secret: lake-key}}
";
    let good = project(&format!("{START}{keys}{END}"));
    let said = good.odibi(&["secrets", "check"]).exits(0);
    assert_eq!(
        said.stdout,
        "ok      keyvault:acme/lake-key\nok      keyvault:acme/plain\nok      vault:kv/app#user\n"
    );
    assert_eq!(said.stderr, "");
    let bad = project(&format!(
        "{START}  web: {{type: http, base_url: \"https://example.com\", headers: {{A: \"${{keyvault:acme/expired}}\"}}}}\n{END}"
    ));
    let said = bad
        .odibi(&["secrets", "check", "--output", "json"])
        .exits(3);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["secrets"][0]["code"], "secret/expired");
    assert_eq!(found["secrets"][0]["places"][0]["line"], 4);
    let said = bad.odibi(&["validate", "--connect"]).exits(3);
    assert!(
        said.stdout
            .contains("failed  keyvault:acme/expired: the secret has expired"),
        "{}",
        said.stdout
    );
    // Nobody is asked.
    let _ = bad.odibi(&["validate"]).exits(0);
}

#[test]
fn a_run_without_its_secrets_does_not_begin() {
    let bad = project(&format!(
        "{START}  web: {{type: http, base_url: \"https://example.com\", headers: {{A: \"${{keyvault:acme/no-role}}\"}}}}\n{END}"
    ));
    let said = bad.odibi(&["run"]).exits(3);
    for word in [
        "error[secret/denied]: cannot get the secret `keyvault:acme/no-role`",
        "ForbiddenByRbac",
        "odibi.yaml:4:",
        "Key Vault Secrets User",
    ] {
        assert!(said.stderr.contains(word), "no `{word}` in {}", said.stderr);
    }
    assert!(!bad.path("out.csv").exists());
    assert!(!bad.path(".odibi").exists());
}

#[test]
fn what_a_value_holds_changes_nothing_but_that_value() {
    let values = [
        "a\nb: c\n- d",
        "\"quoted\" and 'single'",
        "{a: [b]}",
        "a: b",
        "a # b",
        "!!int 5",
        "&x *y",
        "${HOME} ${keyvault:acme/plain} $${X}",
        "%TAG ! x",
        "--- \n...",
        "\u{feff}\u{2028}é",
    ];
    let params = |value: &str| {
        let yaml = format!(
            "{START}pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        description: \"${{VALUE}}\"\n        read: \
             {{connection: here, format: csv, path: in.csv}}\n        transform:\n          steps:\n            - operation: \
             fill_nulls\n              params: {{values: {{s: \"${{VALUE}}\"}}}}\n        write: {{connection: here, format: csv, \
             path: out.csv}}\n"
        );
        let project = project(&yaml).variable("VALUE", value);
        let shown = project
            .odibi(&["config", "show", "--resolved", "--output", "json"])
            .exits(0);
        let mut config = serde_json::from_str::<Value>(&shown.stdout).unwrap()["config"].take();
        let node = &mut config["pipelines"][0]["nodes"][0];
        assert_eq!(node["description"], value);
        assert_eq!(
            node["transform"]["steps"][0]["params"]["values"]["s"],
            value
        );
        node["description"] = Value::Null;
        node["transform"]["steps"][0]["params"]["values"]["s"] = Value::Null;
        config
    };
    let plain = params("plain");
    for value in values {
        assert_eq!(params(value), plain, "{value:?}");
    }
}

#[test]
fn a_value_of_a_vault_is_one_value_whatever_it_holds() {
    let yaml = format!(
        "{START}pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        read: {{connection: here, format: csv, path: \
         in.csv}}\n        transform:\n          steps:\n            - {{operation: fill_nulls, params: {{values: {{s: \
         \"${{keyvault:acme/odd}}\"}}}}}}\n        write: {{connection: here, format: json, path: out.json}}\n"
    );
    let project = project(&yaml).file("in.csv", "n,s\n1,\n2,b\n");
    let said = project.odibi(&["run", "-vv"]).exits(0);
    let row: Value =
        serde_json::from_str(project.text("out.json").lines().next().unwrap()).unwrap();
    let odd = "a: b # c\n- {d: ${HOME}} !!str 'e' \"f\" ${keyvault:acme/other}";
    assert_eq!(row["s"], odd, "{row}");
    assert!(
        !said.stderr.contains("{d: $") && !said.stdout.contains("{d: $"),
        "{}",
        said.stderr
    );
}

// --- Canaries ---------------------------------------------------------------------------------------------------------

const CANARIES: usize = 40;

fn canary(n: usize) -> String {
    if n % 2 == 1 {
        format!("CNRY{:06}{:09}xQ", n * 7919, n * 104_729)
    } else {
        format!("CnRy/{:06}+Zé {:09}&y", n * 7919, n * 104_729)
    }
}

/// What of a canary survives every way of writing it down: its digits, and their encodings.
fn traces(n: usize) -> Vec<Vec<u8>> {
    let value = canary(n);
    let digits = format!("{:06}", n * 7919);
    let core = format!("{:09}", n * 104_729);
    let mut traces = vec![
        value.clone(),
        value.replace('/', "%2F").replace('+', "%2B"),
        // Whatever stands between them.
        digits.clone() + "+Z",
        digits.clone() + "%2BZ",
        digits.clone() + "%2bZ",
        digits + &core,
        core.clone() + "xQ",
        core.clone() + "&y",
        core.clone() + "%26y",
        core + "&amp;y",
        value.bytes().map(|b| format!("{b:02x}")).collect(),
    ];
    traces.extend((0..3).map(|offset| base64(value.as_bytes(), offset)));
    traces.into_iter().map(String::into_bytes).collect()
}

/// A project with a text in every place that takes one.
fn everything() -> Value {
    json!({
        "project": "x", "description": "d", "version": "1", "owner": "o",
        "vars": {"v": "text"},
        "connections": {
            "here": {"type": "local", "base_path": "."},
            "azure": {"type": "azure_adls", "account_name": "acme", "container": "raw", "path_prefix": "a", "auth": {"mode": "account_key", "account_key": "aGVsbG8gd29ybGQ="}},
            "sas": {"type": "azure_blob", "account_name": "acme", "container": "raw", "auth": {"mode": "sas", "sas_token": "sv=1&sig=abcdefgh"}},
            "app": {"type": "azure_blob", "account_name": "acme", "container": "raw", "auth": {"mode": "service_principal", "tenant_id": "t", "client_id": "c", "client_secret": "s"}},
            "text": {"type": "azure_blob", "container": "raw", "auth": {"mode": "connection_string", "connection_string": "AccountName=acme;AccountKey=aGVsbG8="}},
            "s3": {"type": "s3", "bucket": "acme", "region": "eu-west-1", "endpoint": "https://127.0.0.1:9", "path_prefix": "a", "access_key_id": "id", "secret_access_key": "key", "session_token": "token"},
            "gcs": {"type": "gcs", "bucket": "acme", "path_prefix": "a", "service_account_key": "{}"},
            "basic": {"type": "http", "base_url": "https://127.0.0.1:9", "headers": {"X-A": "a"}, "auth": {"mode": "basic", "username": "u", "password": "p"}},
            "bearer": {"type": "http", "base_url": "https://127.0.0.1:9", "auth": {"mode": "bearer", "token": "t"}},
            "api": {"type": "http", "base_url": "https://127.0.0.1:9", "auth": {"mode": "api_key", "api_key": "k", "header_name": "X-Key", "value_template": "Key {token}"}},
        },
        "story": {"connection": "here", "path": "stories"},
        "system": {"connection": "here", "path": "state"},
        "pipelines": [{
            "pipeline": "p", "description": "d", "layer": "gold",
            "nodes": [
                {
                    "name": "good", "description": "d", "tags": ["t"],
                    "read": {"connection": "here", "format": "csv", "path": "in.csv", "options": {"delimiter": ","}},
                    "transform": {"steps": [
                        {"operation": "add_prefix", "params": {"prefix": "p_", "columns": ["s"]}},
                        {"operation": "rename_columns", "params": {"mapping": {"n": "m"}}},
                    ]},
                    "write": {"connection": "here", "format": "csv", "path": "out/good.csv", "mode": "overwrite"},
                },
                {
                    "name": "cast",
                    "read": {"connection": "here", "format": "csv", "path": "in.csv"},
                    "transform": {"steps": [{"operation": "add_suffix", "params": {"suffix": "_c", "columns": ["s"]}}]},
                    "write": {"connection": "here", "format": "csv", "path": "out/cast.csv"},
                },
                {"name": "last", "depends_on": ["good"], "read": {"connection": "here", "format": "csv", "path": "out/good.csv"}},
            ],
        }],
    })
}

/// JSON Pointers of all texts.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                leaves(item, &format!("{at}/{i}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                leaves(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Puts a reference in place of a text.
fn plant(document: &mut Value, at: &str, n: usize) {
    let place = document.pointer_mut(at).unwrap();
    *place = Value::from(format!("${{keyvault:acme/canary-{n}}}"));
}

const COMMANDS: [(&str, &[&str]); 12] = [
    ("validate", &["validate", "--output", "json"]),
    ("plan", &["plan", "-vv"]),
    ("config", &["config", "show", "--resolved"]),
    ("run", &["run", "-vv", "--capture-failures", "capsules"]),
    ("story", &["story", "last"]),
    ("page", &["story", "last", "--format", "html"]),
    ("markdown", &["story", "last", "--format", "md"]),
    ("story as data", &["story", "last", "--format", "json"]),
    ("lineage", &["story", "last", "--format", "openlineage"]),
    ("run as data", &["run", "--output", "json"]),
    (
        "run as log",
        &["run", "--log-format", "json", "--log-level", "trace"],
    ),
    ("runs", &["runs", "show", "--output", "json"]),
];

/// Runs every command on a project with canary `n` at a place, and tells in which sinks it came to light.
fn cells(at: &str, n: usize, blind: bool, hits: &mut BTreeMap<String, BTreeSet<String>>) -> usize {
    let mut document = everything();
    plant(&mut document, at, n);
    let mut project = project(&document.to_string());
    if blind {
        project = project.blind();
    }
    let traces = traces(n);
    let mut look = |sink: &str, bytes: &[u8]| {
        if traces
            .iter()
            .any(|trace| bytes.windows(trace.len()).any(|w| w == trace))
        {
            hits.entry(sink.to_owned())
                .or_default()
                .insert(at.to_owned());
        }
    };
    for (name, args) in COMMANDS {
        let said = project.odibi(args);
        look(&format!("{name} stdout"), said.stdout.as_bytes());
        look(&format!("{name} stderr"), said.stderr.as_bytes());
    }
    files(&project.path(""), &mut |path, bytes| {
        let path = path.display().to_string();
        // The project itself, and what it was asked to write.
        let own = ["odibi.yaml", "/out/"]
            .iter()
            .any(|part| path.contains(part));
        if !own {
            let ending = path
                .rsplit(['.', '/'])
                .next()
                .unwrap_or_default()
                .to_owned();
            look(&format!("file .{ending}"), bytes);
        }
        look("name of a file", path.as_bytes());
    });
    COMMANDS.len()
}

fn files(dir: &Path, each: &mut dyn FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, each);
        } else {
            each(&path, &std::fs::read(&path).unwrap());
        }
    }
}

/// Of commands, at so many places.
const CELLS_MIN: usize = 300;

/// The short form looks at a part of the places; `ODIBI_CANARIES=all` looks at each of them.
fn places() -> Vec<String> {
    let mut all = Vec::new();
    leaves(&everything(), "", &mut all);
    let step = if support::all_canaries() { 1 } else { 12 };
    all.into_iter().step_by(step).collect()
}

#[test]
fn no_canary_is_seen_anywhere() {
    let (mut hits, mut count) = (BTreeMap::new(), 0);
    for (i, at) in places().iter().enumerate() {
        count += cells(at, i % CANARIES + 1, false, &mut hits);
    }
    assert_eq!(hits, BTreeMap::new(), "of {count} cells");
    assert!(
        !support::all_canaries() || count >= CELLS_MIN,
        "{count} cells"
    );
}

/// Where the filter is switched off, canaries are seen: the test above can fail.
#[test]
fn without_the_filter_canaries_are_seen_in_many_places() {
    let mut hits = BTreeMap::new();
    for (i, at) in [
        "/pipelines/0/nodes/0/transform/steps/0/params/prefix",
        "/pipelines/0/nodes/1/transform/steps/0/params/suffix",
    ]
    .iter()
    .enumerate()
    {
        cells(at, 2 * i + 1, true, &mut hits);
    }
    let sinks: Vec<&String> = hits.keys().collect();
    assert!(sinks.len() >= 10, "{sinks:?}");
}
