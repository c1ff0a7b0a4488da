//! Connections to stores of other machines, through the whole program: `doctor`, `validate --connect`, and a run.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::Project;

/// The servers of the stores, for as long as this lives.
pub(crate) struct Servers(Child, pub(crate) Value);

impl Servers {
    pub(crate) fn start() -> Self {
        let script = std::env::var_os("ODIBI_TEST_SERVERS")
            .expect("ODIBI_TEST_SERVERS is not set: run `tests/run --test it stores`, which installs the servers");
        let mut command = Command::new(script);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped
            .spawn()
            .expect("the servers of the stores do not start");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let places = serde_json::from_str(&line).expect("the servers of the stores do not start");
        Self(child, places)
    }

    /// The connections `s3` and `azure`, all of whose paths begin so.
    pub(crate) fn connections(&self, prefix: &str) -> String {
        let word = |name: &str| self.1[name].as_str().unwrap();
        format!(
            "  s3: {{type: s3, bucket: {bucket}, endpoint: \"{s3}\", path_prefix: {prefix}, access_key_id: id, secret_access_key: hunter2}}
  azure: {{type: azure_adls, account_name: {account}, container: {bucket}, endpoint: \"{azure}\", path_prefix: {prefix}, account_key: \"{key}\"}}
",
            bucket = word("bucket"),
            s3 = word("s3"),
            account = word("azure_account"),
            azure = word("azure"),
            key = word("azure_key"),
        )
    }

    fn project(&self, azure_key: &str) -> Project {
        let word = |name: &str| self.1[name].as_str().unwrap();
        let yaml = format!(
            "project: clouds
connections:
  here: {{type: local, base_path: .}}
  s3: {{type: s3, bucket: {bucket}, endpoint: \"{s3}\", path_prefix: it, access_key_id: id, secret_access_key: hunter2}}
  azure: {{type: azure_adls, account_name: {account}, container: {bucket}, endpoint: \"{azure}\", account_key: \"${{KEY}}\"}}
  gcs: {{type: gcs, bucket: {bucket}, endpoint: \"{gcs}\", auth: {{mode: none}}}}
  web: {{type: http, base_url: \"{web}/plain\"}}
story: {{connection: gcs, path: stories}}
pipelines:
  - pipeline: p
    nodes:
      - {{name: up, read: {{connection: here, format: csv, path: a.csv}}, write: {{connection: s3, format: parquet, path: t/a.parquet}}}}
      - {{name: over, depends_on: [up], read: {{connection: s3, format: parquet, path: \"t/*.parquet\"}}, write: {{connection: azure, format: csv, path: t/b.csv}}}}
      - {{name: down, depends_on: [over], read: {{connection: azure, format: csv, path: t/b.csv}}, write: {{connection: here, format: csv, path: c.csv}}}}
",
            bucket = word("bucket"),
            s3 = word("s3"),
            account = word("azure_account"),
            azure = word("azure"),
            gcs = word("gcs"),
            web = word("web"),
        );
        Project::with(&yaml)
            .file("a.csv", "n,s\n1,ü\n2,\n3,\"a,b\"\n")
            .variable("KEY", azure_key)
    }
}

#[test]
fn connections_are_tried_and_rows_go_from_store_to_store() {
    let servers = Servers::start();
    let project = servers.project(servers.1["azure_key"].as_str().unwrap());
    let doctor = project.odibi(&["doctor"]).exits(0);
    let lines: Vec<&str> = doctor.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", doctor.stdout);
    for (name, what) in [
        (
            "here [local]",
            "(read and write; a second writer is refused)",
        ),
        ("s3 [s3]", "(read and write; a second writer is refused)"),
        (
            "azure [azure_blob]",
            "(read and write; a second writer is refused)",
        ),
        ("gcs [gcs]", "(read and write; a second writer is refused)"),
        ("web [http]", "(read)"),
    ] {
        let found = lines
            .iter()
            .any(|line| line.starts_with(&format!("ok      {name}: ")) && line.ends_with(what));
        assert!(found, "{name}: {}", doctor.stdout);
    }
    let _ = project.odibi(&["run"]).exits(0);
    assert_eq!(project.text("c.csv"), project.text("a.csv"));
    let checked = project.odibi(&["validate", "--connect"]).exits(0);
    assert!(
        checked.stdout.contains("ok      s3 [s3]"),
        "{}",
        checked.stdout
    );

    let locked = servers.project("aHVudGVyMi13cm9uZw==");
    let checked = locked.odibi(&["validate", "--connect"]).exits(3);
    let failed: Vec<&str> = checked
        .stdout
        .lines()
        .filter(|line| line.starts_with("failed"))
        .collect();
    assert_eq!(failed.len(), 1, "{}", checked.stdout);
    assert!(
        failed[0].starts_with("failed  azure [azure_blob]: "),
        "{failed:?}"
    );
    assert!(failed[0].contains("check the credentials"), "{failed:?}");
    let run = locked.odibi(&["run"]).exits(1);
    let everything = format!(
        "{}{}{}{}",
        checked.stdout, checked.stderr, run.stdout, run.stderr
    );
    assert!(
        !everything.contains("aHVudGVyMi13cm9uZw") && !everything.contains("hunter2"),
        "{everything}"
    );
}

/// Those that Azurite knows: the key, a signature, and both in a connection string as the portal shows it.
#[test]
fn every_way_into_azure_reads_and_writes() {
    let servers = Servers::start();
    let word = |name: &str| servers.1[name].as_str().unwrap();
    let (account, url) = (word("azure_account"), word("azure"));
    let (_, signature) = word("azure_sas").rsplit_once("sig=").unwrap();
    let named = format!("account_name: {account}");
    let at = format!("{named}, endpoint: \"{url}\"");
    let ways = [
        format!("{at}, account_key: \"${{KEY}}\""),
        format!("{at}, auth: {{mode: sas, sas_token: \"${{SAS}}\"}}"),
        format!("{at}, auth_mode: sas_token, sas_token: \"?${{SAS}}\""),
        format!(
            "connection_string: \"DefaultEndpointsProtocol=http;AccountName={account};AccountKey=${{KEY}};BlobEndpoint={url};\""
        ),
        format!(
            "{named}, auth: {{mode: connection_string, connection_string: \"BlobEndpoint={url}/;SharedAccessSignature=${{SAS}}\"}}"
        ),
    ];
    let mut connections = String::from("  here: {type: local, base_path: .}\n");
    let mut nodes = String::new();
    let mut from = "read: {connection: here, format: csv, path: a.csv}".to_owned();
    // From each to the next.
    for (number, way) in ways.iter().enumerate() {
        connections += &format!(
            "  way{number}: {{type: azure_blob, container: {}, path_prefix: ways, {way}}}\n",
            word("bucket")
        );
        let to = format!("connection: way{number}, format: csv, path: {number}.csv");
        nodes += &format!(
            "      - {{name: n{number}, {from}, write: {{{to}, mode: upsert, keys: [n]}}}}\n"
        );
        from = format!("depends_on: [n{number}], read: {{{to}}}");
    }
    nodes += &format!(
        "      - {{name: down, {from}, write: {{connection: here, format: csv, path: c.csv}}}}\n"
    );
    let yaml = format!(
        "project: ways\nconnections:\n{connections}pipelines:\n  - pipeline: p\n    nodes:\n{nodes}"
    );
    let project = Project::with(&yaml)
        .file("a.csv", "n,s\n1,ü\n2,\n")
        .variable("KEY", word("azure_key"))
        .variable("SAS", word("azure_sas"));
    let doctor = project.odibi(&["doctor"]).exits(0);
    let well = doctor.stdout.lines().filter(|line| {
        line.starts_with("ok      way")
            && line.ends_with("(read and write; a second writer is refused)")
    });
    assert_eq!(well.count(), ways.len(), "{}", doctor.stdout);
    let ran = project.odibi(&["run"]).exits(0);
    assert_eq!(project.text("c.csv"), project.text("a.csv"));
    let said = [doctor.stdout, doctor.stderr, ran.stdout, ran.stderr].concat();
    // So many of its letters are the same whether it is written for a URL or not.
    for secret in [&signature[..8], word("azure_key")] {
        assert!(!said.contains(secret), "{said}");
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // They end with their standard input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
