//! Every vault end to end, through the real clients, against `tests/servers/vaults.py` on loopback.
#![allow(clippy::unwrap_used, reason = "tests: a panic is the message")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are an adapter of their own"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use odibi_plan::SecretRef;
use odibi_run::port::Secrets as _;
use odibi_run::secrets::fetch_all;
use odibi_vault::{Options, Vaults};
use serde_json::Value;

/// The vaults, for as long as this process lives: they end with their standard input.
struct Servers {
    _child: Child,
    places: Value,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/vaults.py");
        let python = std::env::var("ODIBI_TEST_VAULTS_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = Command::new(python);
        command.arg("-B").arg(script);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("no Python for the vaults");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let places =
            serde_json::from_str(&line).expect("the vaults do not start: is there `openssl`?");
        Servers {
            _child: child,
            places,
        }
    })
}

fn place(name: &str) -> String {
    let place = &servers().places[name];
    place
        .as_str()
        .map_or_else(|| place.to_string(), str::to_owned)
}

/// How to reach the servers, and nothing of who we are.
fn network() -> Vec<(String, String)> {
    let hosts = servers().places["hosts"].as_array().unwrap();
    let hosts = hosts
        .iter()
        .map(|host| format!("{}=127.0.0.1:{}", host.as_str().unwrap(), place("secure")));
    let given = [
        ("ODIBI_CA_FILE", place("ca")),
        ("ODIBI_RESOLVE", hosts.collect::<Vec<_>>().join(",")),
        // Nobody is there.
        (
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            "http://127.0.0.1:9".to_owned(),
        ),
        (
            "VAULT_ADDR",
            format!("https://vault.example.com:{}", place("secure")),
        ),
        ("AWS_ENDPOINT_URL", place("aws")),
        ("AWS_REGION", "eu-west-1".to_owned()),
    ];
    given
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn principal() -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_TENANT_ID", place("tenant")),
        ("AZURE_CLIENT_ID", place("client_id")),
    ]
}

fn with_secret() -> Vec<(&'static str, String)> {
    let mut given = principal();
    given.push(("AZURE_CLIENT_SECRET", "right-client-secret".to_owned()));
    given
}

fn vaults(given: &[(&str, String)], timeout: Duration) -> Vaults {
    let mut variables: BTreeMap<String, String> = network().into_iter().collect();
    variables.extend(
        given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    Vaults::new(Options {
        variable: Arc::new(move |name| variables.get(name).cloned()),
        directory: std::env::temp_dir(),
        timeout,
    })
    .unwrap()
}

fn reference(text: &str) -> SecretRef {
    SecretRef::parse(text).unwrap().unwrap()
}

const LONG: Duration = Duration::from_secs(60);

/// The value, or code, message and causes in one text.
fn ask(vaults: &Vaults, text: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(vaults.fetch(&reference(text)));
    found
        .map(|secret| secret.expose().to_owned())
        .map_err(|f| format!("{}: {} {:?} {:?}", f.code, f.message, f.causes, f.hints))
}

#[track_caller]
fn gets(vaults: &Vaults, text: &str, value: &str) {
    assert_eq!(ask(vaults, text).as_deref(), Ok(value), "{text}");
}

#[track_caller]
fn fails(vaults: &Vaults, text: &str, words: &[&str]) {
    let said = ask(vaults, text).expect_err(text);
    for word in words {
        assert!(said.contains(word), "{text}: no `{word}` in {said}");
    }
    for secret in ["right-", "value-of", "hvs.", "token-of"] {
        assert!(!said.contains(secret), "{text}: {said}");
    }
}

#[test]
fn key_vault_gives_secrets_and_says_why_not() {
    let vaults = vaults(&with_secret(), LONG);
    gets(&vaults, "keyvault:acme/plain", "value-of-plain");
    gets(
        &vaults,
        "keyvault:acme.vault.azure.net/plain",
        "value-of-plain",
    );
    let version = "0123456789abcdef0123456789abcdef";
    gets(
        &vaults,
        &format!("keyvault:acme/versioned/{version}"),
        &format!("version-{version}"),
    );
    // Twice 429 with `Retry-After`.
    gets(&vaults, "keyvault:acme/busy", "value-of-busy");
    fails(
        &vaults,
        "keyvault:acme/missing",
        &["secret/missing:", "SecretNotFound", "404"],
    );
    fails(
        &vaults,
        "keyvault:acme/no-role",
        &[
            "secret/denied:",
            "ForbiddenByRbac",
            "Key Vault Secrets User",
        ],
    );
    fails(
        &vaults,
        "keyvault:acme/told-disabled",
        &["secret/disabled:", "disabled"],
    );
    fails(&vaults, "keyvault:acme/told-expired", &["secret/expired:"]);
    fails(
        &vaults,
        "keyvault:acme/told-early",
        &["secret/not-yet-valid:"],
    );
    fails(&vaults, "keyvault:acme/disabled", &["secret/disabled:"]);
    fails(
        &vaults,
        "keyvault:acme/expired",
        &["secret/expired:", "has expired at 2"],
    );
    fails(
        &vaults,
        "keyvault:acme/early",
        &["secret/not-yet-valid:", "not valid before 2"],
    );
    fails(&vaults, "keyvault:acme/empty", &["secret/empty:"]);
    fails(&vaults, "keyvault:locked/plain", &["secret/denied:", "401"]);
}

#[test]
fn a_vault_that_does_not_answer_ends_with_the_timeout() {
    let slow = vaults(&with_secret(), Duration::from_secs(2));
    fails(
        &slow,
        "keyvault:acme/slow",
        &["secret/timeout:", "2.0 s", "ODIBI_SECRETS_TIMEOUT"],
    );
}

#[test]
fn every_way_to_log_in_to_azure_works() {
    let mut certificate = principal();
    certificate.push(("AZURE_CLIENT_CERTIFICATE_PATH", place("client")));
    gets(
        &vaults(&certificate, LONG),
        "keyvault:acme/plain",
        "value-of-plain",
    );
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "federated-token").unwrap();
    let mut workload = principal();
    workload.push(("AZURE_FEDERATED_TOKEN_FILE", token.display().to_string()));
    gets(
        &vaults(&workload, LONG),
        "keyvault:acme/plain",
        "value-of-plain",
    );
    let machine = [(
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        format!("http://127.0.0.1:{}", place("plain")),
    )];
    gets(
        &vaults(&machine, LONG),
        "keyvault:acme/plain",
        "value-of-plain",
    );
}

#[test]
fn who_cannot_log_in_is_told_what_was_tried() {
    let nobody = vaults(&[("AZURE_TOKEN_CREDENTIALS", "prod".to_owned())], LONG);
    fails(
        &nobody,
        "keyvault:acme/plain",
        &[
            "secret/credentials:",
            "client secret: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` are not set",
            "client certificate:",
            "workload identity:",
            "managed identity: nobody answers at 127.0.0.1:9",
            "az command line: not tried",
        ],
    );
    let mut wrong = principal();
    wrong.push(("AZURE_CLIENT_SECRET", "wrong".to_owned()));
    let wrong = vaults(&wrong, LONG);
    fails(
        &wrong,
        "keyvault:acme/plain",
        &["client secret: ", "AADSTS7000215", "nothing else was tried"],
    );
    // Known by now, and nobody is asked again.
    fails(&wrong, "keyvault:acme/busy", &["AADSTS7000215"]);
    let unknown = vaults(&[("AZURE_TOKEN_CREDENTIALS", "magic".to_owned())], LONG);
    fails(
        &unknown,
        "keyvault:acme/plain",
        &["secret/bad-setting:", "`magic`", "`prod`"],
    );
    let mut empty = principal();
    empty.push(("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere/x.pem".to_owned()));
    empty.push(("AZURE_TOKEN_CREDENTIALS", "prod".to_owned()));
    fails(
        &vaults(&empty, LONG),
        "keyvault:acme/plain",
        &["client certificate: cannot read"],
    );
}

#[test]
fn many_are_fetched_side_by_side_with_one_token_each_once() {
    let vaults = vaults(&with_secret(), LONG);
    let names: BTreeSet<SecretRef> = (0..40)
        .map(|i| reference(&format!("keyvault:acme/many-{i}")))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(fetch_all(&vaults, names.clone()));
    assert_eq!(found.len(), 40);
    assert!(found.values().all(Result::is_ok), "{found:?}");
    assert!(!format!("{found:?}").contains("value-of"));
    let again = runtime.block_on(fetch_all(&vaults, names));
    assert!(again.values().all(Result::is_ok));
    for i in 0..40 {
        let path = format!("GET /secrets/many-{i}/");
        let asked = log().iter().filter(|line| line.ends_with(&path)).count();
        // Once without a token, and once with one; the first may already have one.
        assert!((1..=2).contains(&asked), "{path}: {asked}");
    }
}

/// What the servers were asked, by all tests.
fn log() -> Vec<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{}", place("plain"))).unwrap();
    stream
        .write_all(b"GET /log HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn hashicorp_vault_is_read_in_both_versions() {
    let token = vaults(&[("VAULT_TOKEN", "hvs.right".to_owned())], LONG);
    gets(&token, "vault:kv/app#password", "value-of-vault");
    gets(&token, "vault:kv/app#port", "5432");
    gets(&token, "vault:old/app#password", "value-of-vault");
    gets(&token, "vault:hidden/app#password", "value-of-vault");
    gets(&token, "vault:kv/throttled#user", "me");
    fails(
        &token,
        "vault:kv/app#pass",
        &["secret/missing-field:", "`password`", "`user`"],
    );
    fails(&token, "vault:kv/none#x", &["secret/missing:", "404"]);
    fails(
        &token,
        "vault:kv/deleted#x",
        &["secret/disabled:", "2026-01-02T03:04:05Z"],
    );
    fails(
        &token,
        "vault:kv/denied#x",
        &["secret/denied:", "permission denied", "MOUNT/data/PATH"],
    );
    fails(&token, "vault:kv/team#x", &["secret/missing:"]);
    let within = [
        ("VAULT_TOKEN", "hvs.right".to_owned()),
        ("VAULT_NAMESPACE", "acme/data".to_owned()),
    ];
    gets(&vaults(&within, LONG), "vault:kv/team#user", "me");
}

#[test]
fn every_way_to_log_in_to_hashicorp_vault_works() {
    let role = |secret: &str| {
        vec![
            ("VAULT_ROLE_ID", "role".to_owned()),
            ("VAULT_SECRET_ID", secret.to_owned()),
        ]
    };
    gets(
        &vaults(&role("right-secret-id"), LONG),
        "vault:kv/app#user",
        "me",
    );
    let mut elsewhere = role("right-secret-id");
    elsewhere.push(("VAULT_APPROLE_MOUNT", "other".to_owned()));
    gets(&vaults(&elsewhere, LONG), "vault:kv/app#user", "me");
    fails(
        &vaults(&role("wrong-one"), LONG),
        "vault:kv/app#user",
        &["secret/credentials:", "auth/approle", "invalid role"],
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pod"), "pod-token\n").unwrap();
    let pod = [
        ("VAULT_K8S_ROLE", "odibi".to_owned()),
        (
            "VAULT_K8S_TOKEN_FILE",
            dir.path().join("pod").display().to_string(),
        ),
    ];
    gets(&vaults(&pod, LONG), "vault:kv/app#user", "me");
    std::fs::write(dir.path().join(".vault-token"), "hvs.right").unwrap();
    let home = [("HOME", dir.path().display().to_string())];
    gets(&vaults(&home, LONG), "vault:kv/app#user", "me");
    let nobody = vaults(&[("HOME", "/nowhere".to_owned())], LONG);
    fails(
        &nobody,
        "vault:kv/app#user",
        &[
            "secret/credentials:",
            "VAULT_TOKEN",
            "VAULT_ROLE_ID",
            "VAULT_K8S_ROLE",
            ".vault-token",
        ],
    );
    let open = vaults(
        &[("VAULT_ADDR", "http://vault.example.com".to_owned())],
        LONG,
    );
    fails(
        &open,
        "vault:kv/app#user",
        &["secret/bad-setting:", "https"],
    );
}

#[test]
fn secrets_manager_is_asked_with_signed_requests() {
    assert_ne!(
        place("aws"),
        "null",
        "no moto: run `tests/run --test vaults`, which installs it"
    );
    let keys = [
        ("AWS_ACCESS_KEY_ID", "id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "right-key".to_owned()),
    ];
    let vaults = vaults(&keys, LONG);
    gets(&vaults, "aws-sm:plain", "value-of-aws");
    gets(&vaults, "aws-sm:prod/db#password", "value-of-field");
    fails(
        &vaults,
        "aws-sm:plain#password",
        &["secret/missing-field:", "no JSON object"],
    );
    fails(
        &vaults,
        "aws-sm:prod/db#pass",
        &["secret/missing-field:", "`password`"],
    );
    fails(
        &vaults,
        "aws-sm:none",
        &["secret/missing:", "ResourceNotFoundException"],
    );
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let mut given = with_secret();
    given.push(("ODIBI_CA_FILE", String::new()));
    given.push(("VAULT_TOKEN", "hvs.right".to_owned()));
    let vaults = vaults(&given, LONG);
    fails(
        &vaults,
        "vault:kv/app#user",
        &["secret/unreachable:", "certificate"],
    );
    assert!(ask(&vaults, "keyvault:acme/plain").is_err());
}
