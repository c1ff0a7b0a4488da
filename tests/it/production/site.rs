//! The example with everything around it that production has, on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::Project;
use support::proxy::Proxy;
use support::recorder::{Recorded, Recorder};

use super::example;
use crate::connect::Servers;
use crate::{logs, secrets};

/// Parts of addresses, and keys: nothing may show them.
const SLACK: &str = "T0-slack-canary-5f0c";
const TEAMS: &str = "teams-canary-91ab";
const ONCALL: &str = "oncall-canary-77de";
const ONCALL_KEY: &str = "signing-canary-40aa";
/// Parts of values of sensitive columns, each of a customer's name, address or number.
pub(super) const SENSITIVE: [&str; 10] = [
    "Keller",
    "keller",
    "Moser",
    "moser",
    "Favre",
    "favre",
    "david.ott",
    "111 11",
    "333 33",
    "Kanarek",
];
pub(super) const TARGETS: [&str; 3] = [
    "retail/silver/customers.parquet",
    "retail/silver/orders.parquet",
    "retail/gold/revenue.csv",
];

/// The example with everything around it that production has.
pub(super) struct Production {
    servers: Servers,
    pub(super) proxy: Proxy,
    pub(super) project: Project,
    variables: BTreeMap<&'static str, String>,
    slack: Recorder,
    teams: Recorder,
    oncall: Recorder,
    pub(super) lineage: Recorder,
}

/// What a run left.
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) result: Value,
    pub(super) lines: Vec<Value>,
}

impl Production {
    pub(super) fn start() -> Self {
        let servers = Servers::start();
        let azure = servers.1["azure"].as_str().unwrap();
        let (address, account) = azure
            .trim_start_matches("http://")
            .split_once('/')
            .expect("a host and an account");
        let proxy = Proxy::before(address);
        let endpoint = format!("http://{}/{account}", proxy.address());
        // Kept shorter than the example has it, so that a test can see both.
        let overlay = format!(
            "connections:\n  landing: {{endpoint: \"{endpoint}\"}}\n  lake: {{endpoint: \"{endpoint}\"}}\nretry: {{delay: 100ms}}\n\
             story: {{retention_count: 3}}\n"
        );
        let project = example().file("production/env.prod.yaml", overlay);
        let [slack, teams, oncall, lineage] = std::array::from_fn(|_| Recorder::start([]));
        let mut variables: BTreeMap<&str, String> = secrets::variables().into_iter().collect();
        variables.extend([
            (
                "ODIBI_CACHE_DIR",
                support::cache_dir().display().to_string(),
            ),
            ("ODIBI_ALERTS_WAIT", "60s".to_owned()),
            ("ADLS_ACCOUNT_NAME", account.to_owned()),
            ("KEY_VAULT_NAME", "acme".to_owned()),
            ("KEY_VAULT_ENTRY", "azurite-key".to_owned()),
            ("SLACK_WEBHOOK_URL", slack.url(SLACK)),
            ("TEAMS_WEBHOOK_URL", teams.url(TEAMS)),
            ("ONCALL_WEBHOOK_URL", oncall.url(ONCALL)),
            ("ONCALL_WEBHOOK_SECRET", ONCALL_KEY.to_owned()),
            ("OPENLINEAGE_URL", lineage.url("")),
        ]);
        let production = Self {
            servers,
            proxy,
            project,
            variables,
            slack,
            teams,
            oncall,
            lineage,
        };
        for name in ["customers.csv", "orders.csv"] {
            let file = production
                .project
                .path("production/data/landing")
                .join(name);
            production.land(name, &std::fs::read(file).unwrap());
        }
        production
    }

    /// Puts a file into the landing zone.
    pub(super) fn land(&self, name: &str, content: &[u8]) {
        let file = self.project.path("landed");
        std::fs::write(&file, content).unwrap();
        let name = format!("retail/{name}");
        let words = ["put", "landing", &name].map(Path::new);
        self.blobs_of(&[&words[..], &[&file]].concat());
    }

    fn blobs_of(&self, words: &[&Path]) -> String {
        let places = self.servers.1.to_string();
        support::run_python("blobs.py", &[&[Path::new(&places)], words].concat())
    }

    /// Everything in the lake: ETag and text.
    pub(super) fn lake(&self) -> BTreeMap<String, (String, String)> {
        let said = self.blobs_of(&["list", "lake"].map(Path::new));
        let said: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&said).unwrap();
        let pair = |of: &BTreeMap<String, String>| (of["etag"].clone(), of["text"].clone());
        said.iter()
            .map(|(name, of)| (name.clone(), pair(of)))
            .collect()
    }

    pub(super) fn targets(&self) -> Vec<(String, String)> {
        let lake = self.lake();
        TARGETS.iter().map(|name| lake[*name].clone()).collect()
    }

    /// Rows of a table of the lake, sorted, as pyarrow reads them.
    pub(super) fn rows(&self, format: &str, path: &str) -> Vec<String> {
        let mut places = self.servers.1.clone();
        places["bucket"] = "lake".into();
        let (place, places) = (format!("azure/retail/{path}"), places.to_string());
        let words = [format, &place, &places].map(Path::new);
        let said = support::run_python("remote_table.py", &words);
        let said: Value = serde_json::from_str(&said).unwrap();
        let row = |row: &Value| {
            let cells = row.as_array().unwrap().iter();
            let cells = cells.map(|cell| cell.as_str().unwrap_or("-"));
            cells.collect::<Vec<_>>().join("|")
        };
        said["rows"].as_array().unwrap().iter().map(row).collect()
    }

    /// The program itself, with these variables and no other.
    pub(super) fn odibi(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(support::binary())
            .args(args)
            .args(["--env", "prod", "project.yaml"])
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.project.path("production"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        self.check_shown("stdout", &stdout);
        self.check_shown("stderr", &stderr);
        (output.status.code().unwrap(), stdout, stderr)
    }

    pub(super) fn run(&self) -> Ran {
        let (code, stdout, stderr) = self.odibi(&["run", "--output", "json"]);
        let lines = logs::parsed(&stderr);
        assert!(!lines.is_empty());
        for line in &lines {
            assert_eq!(line["metadata"]["service"], "retail", "{line}");
            assert_eq!(line["metadata"]["environment"], "prod", "{line}");
        }
        let result: Value = serde_json::from_str(&stdout).unwrap();
        // What lies where others read it, and what stays on the machine.
        for (name, (_, text)) in self.lake() {
            if !TARGETS.contains(&name.as_str()) {
                self.check_shown(&name, &text);
            }
        }
        for path in support::files_below(&self.project.path("production/.odibi")) {
            let bytes = std::fs::read(&path).unwrap();
            self.check_shown(
                &path.display().to_string(),
                &String::from_utf8_lossy(&bytes),
            );
        }
        for event in self.lineage.recorded() {
            self.check_shown("lineage", &event.text());
        }
        Ran {
            code,
            result,
            lines,
        }
    }

    /// Neither a secret nor a value of a sensitive column.
    #[track_caller]
    fn check_shown(&self, place: &str, text: &str) {
        let key = self.servers.1["azure_key"].as_str().unwrap();
        let hidden = [
            SLACK,
            TEAMS,
            ONCALL,
            ONCALL_KEY,
            secrets::CLIENT_SECRET,
            key,
        ];
        for word in hidden.iter().chain(&SENSITIVE) {
            assert!(!text.contains(word), "{word} in {place}: {text}");
        }
    }

    /// What has come to the receivers since so many requests: `channel event`, sorted, each message looked at.
    pub(super) fn alerts(&self, seen: &mut Seen, run: &Ran) -> Vec<String> {
        let mut told = Vec::new();
        for request in new(&self.slack, &mut seen.slack) {
            told.push(format!("slack {}", slack(&body(&request))));
        }
        for request in new(&self.teams, &mut seen.teams) {
            told.push(format!("teams {}", teams(&body(&request))));
        }
        for request in new(&self.oncall, &mut seen.oncall) {
            let body = body(&request);
            assert_eq!(body["run_id"], run.result["run_id"], "{body}");
            assert_eq!(body["id"], request.headers["webhook-id"].as_str());
            assert!(request.headers["webhook-signature"].starts_with("v1,"));
            told.push(format!("oncall {}", webhook(&body)));
            let id = request.headers["webhook-id"].clone();
            assert!(seen.ids.insert(id), "delivered twice: {body}");
        }
        told.sort();
        told
    }
}

/// How many requests were looked at.
#[derive(Default)]
pub(super) struct Seen {
    slack: usize,
    teams: usize,
    oncall: usize,
    ids: BTreeSet<String>,
}

fn new(recorder: &Recorder, seen: &mut usize) -> Vec<Recorded> {
    let all = recorder.recorded();
    let new = all[*seen..].to_vec();
    *seen = all.len();
    new
}

fn body(request: &Recorded) -> Value {
    for word in SENSITIVE {
        assert!(!request.text().contains(word), "{}", request.text());
    }
    serde_json::from_slice(&request.body).unwrap()
}

/// The last word of its title: `failed`.
fn title(text: &str) -> String {
    let (name, word) = text.rsplit_once(' ').unwrap();
    assert!(name.ends_with("retail (prod)"), "{text}");
    word.to_owned()
}

/// A message of Block Kit; of a failure it calls people.
fn slack(body: &Value) -> String {
    let blocks = body["blocks"].as_array().unwrap();
    assert_eq!(blocks[0]["type"], "header", "{body}");
    assert_eq!(blocks[0]["text"]["type"], "plain_text", "{body}");
    assert!(blocks.iter().any(|block| block["type"] == "context"));
    let last = blocks.last().unwrap();
    let page = last["elements"][0]["url"].as_str().unwrap_or_default();
    assert!(
        last["type"] == "actions" && page.contains("/stories/sales/") && page.ends_with(".html"),
        "{body}"
    );
    let word = title(blocks[0]["text"]["text"].as_str().unwrap());
    let calls = blocks
        .iter()
        .any(|block| block["text"]["type"] == "mrkdwn" && block["text"]["text"] == "<!here>");
    assert_eq!(calls, word == "failed", "{body}");
    word
}

/// An Adaptive Card in the envelope of a workflow.
fn teams(body: &Value) -> String {
    let attachment = &body["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let card = &attachment["content"];
    assert_eq!(
        (&card["type"], &card["version"]),
        (&"AdaptiveCard".into(), &"1.4".into())
    );
    title(card["body"][0]["inlines"][0]["text"].as_str().unwrap())
}

/// What a program gets: what happened, and where the story of it is.
fn webhook(body: &Value) -> String {
    let event = body["event"].as_str().unwrap();
    for (key, value) in [("project", "retail"), ("environment", "prod")] {
        assert_eq!(body[key], value, "{body}");
    }
    assert_eq!(body["metadata"]["team"], "data-platform", "{body}");
    let pipeline = &body["pipelines"][0];
    assert_eq!(pipeline["pipeline"], "sales", "{body}");
    if event != "on_start" {
        let story = pipeline["story"].as_array().unwrap();
        assert!(story.len() >= 3, "{body}");
    }
    if event == "on_failure" {
        let failure = &pipeline["failures"][0];
        assert_eq!(
            (&failure["node"], &failure["class"]),
            (&"customers".into(), &"data".into())
        );
    }
    event.to_owned()
}
