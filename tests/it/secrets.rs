//! Secrets through the whole program: from the vault into a connection, what is said when there is none, and canaries in
//! every place of a project, of which nothing that is printed or written may show one.

mod canaries;
mod children;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use support::Project;

use canaries::{canary, traces};

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
