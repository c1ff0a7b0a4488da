//! The state on an object store, through the whole program: every directory of a test is a container of its own, and the
//! next one knows what the last one did. S3 is moto, Azure is Azurite.

use std::path::Path;

use odibi_engine::Documents;
use odibi_plan::Sources;
use rustix::process::Signal;
use serde_json::Value;
use support::Project;
use support::recorder::{Recorder, Reply};

use crate::connect::Servers;
use crate::running::Running;

const STORES: [&str; 2] = ["s3", "azure"];
/// A killed run is found out in this time: short, since tests wait for it.
const TIMEOUT: &str = "3s";

/// A place on a store that no other test uses.
struct Yard {
    servers: Servers,
    prefix: String,
    store: &'static str,
}

impl Yard {
    fn new(store: &'static str, prefix: &str) -> Self {
        Self {
            servers: Servers::start(),
            prefix: prefix.to_owned(),
            store,
        }
    }

    fn yaml(&self, nodes: &str, more: &str) -> String {
        let yaml = format!(
            "project: shop\nconnections:\n  here: {{type: local, base_path: .}}\n{}system: {{connection: STORE, path: state}}\n\
             {more}pipelines:\n  - pipeline: orders\n    nodes:\n{nodes}",
            self.servers.connections(&self.prefix),
        );
        yaml.replace("STORE", self.store)
    }

    /// A new container with the project.
    fn container(&self, nodes: &str, more: &str) -> Project {
        Project::with(&self.yaml(nodes, more)).variable("ODIBI_LEASE_TIMEOUT", TIMEOUT)
    }

    /// Has the last run come to its very end? It may be killed after that, when nothing is left to be done.
    fn has_ended(&self) -> bool {
        let lease = self
            .documents()
            .read("state/shop/leases/orders.json", 1 << 20);
        let Some(lease) = lease.unwrap() else {
            return false;
        };
        let lease: Value = serde_json::from_slice(&lease).unwrap();
        lease["last"]["ended"] == true && lease["holder"].is_null()
    }

    fn documents(&self) -> Documents {
        let project = self.container(WRITES, "");
        let mut sources = Sources::default();
        let text = project.text("odibi.yaml");
        let (loaded, _) = odibi_plan::load("odibi.yaml", &text, &|_| None, &mut sources);
        let connection = loaded.connection(self.store).unwrap().resolved().unwrap();
        let scratch = std::env::temp_dir();
        Documents::open(&connection, &scratch, &scratch).unwrap()
    }

    /// First cells of the rows of a table, as others read them.
    fn ids(&self, format: &str, path: &str) -> Vec<String> {
        let place = format!("{}/{}/{path}", self.store, self.prefix);
        let places = self.servers.1.to_string();
        let said = support::run_python(
            "remote_table.py",
            &[Path::new(format), Path::new(&place), Path::new(&places)],
        );
        let said: Value = serde_json::from_str(&said).unwrap();
        let rows = said["rows"].as_array().unwrap().iter();
        let mut ids: Vec<String> = rows
            .map(|row| row[0].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }
}

fn start(project: &Project, args: &[&str]) -> Running {
    let variables = [("ODIBI_LEASE_TIMEOUT", TIMEOUT)];
    Running::start(project, args, &support::cache_dir(), &variables)
}

const WRITES: &str = "      - {name: a, read: {connection: STORE, format: csv, path: in.csv}, write: {connection: STORE, format: parquet, path: t/append.parquet, mode: append}}
      - {name: b, depends_on: [a], read: {connection: STORE, format: csv, path: in.csv}, write: {connection: STORE, format: csv, path: t/append.csv, mode: append}}
      - {name: c, depends_on: [b], read: {connection: STORE, format: csv, path: in.csv}, write: {connection: STORE, format: parquet, path: t/once.parquet, mode: append_once}}
      - {name: d, depends_on: [c], read: {connection: STORE, format: csv, path: in.csv}, write: {connection: STORE, format: parquet, path: t/upsert.parquet, mode: upsert, keys: [id]}}
";
const TABLES: [(&str, &str); 4] = [
    ("parquet", "t/append.parquet"),
    ("csv", "t/append.csv"),
    ("parquet", "t/once.parquet"),
    ("parquet", "t/upsert.parquet"),
];

/// Three rows that no other round has.
fn batch(round: usize) -> String {
    let rows = (0..3).map(|n| format!("{},r{round}\n", round * 3 + n + 100));
    "id,of\n".to_owned() + &rows.collect::<String>()
}

/// Kills a run once its log holds so many lines. False when it had ended before.
fn killed_at(project: &Project, lines: usize) -> bool {
    let mut run = start(project, &["-q"]);
    loop {
        if run.child.try_wait().unwrap().is_some() {
            return run.kill();
        }
        let runs = std::fs::read_dir(project.path(".odibi/runs"));
        let logs = runs.into_iter().flatten().flatten();
        let said = logs.map(|run| std::fs::read(run.path().join("events.jsonl")));
        let said: usize = said
            .flatten()
            .map(|said| said.iter().filter(|byte| **byte == b'\n').count())
            .sum();
        if said >= lines {
            return run.kill();
        }
        std::thread::yield_now();
    }
}

#[test]
fn run_that_was_killed_is_gone_on_with_in_another_container() {
    for store in STORES {
        let yard = Yard::new(store, "gone-on");
        let mut killed = 0;
        for (round, lines) in [0, 2, 4, 7, 10, 14].into_iter().enumerate() {
            // A file of another machine is another input: only one that both see is the same.
            let rows = batch(round);
            yard.documents().write("in.csv", rows.as_bytes()).unwrap();
            let first = yard.container(WRITES, "");
            if killed_at(&first, lines) && !yard.has_ended() {
                killed += 1;
                let next = yard.container(WRITES, "");
                let (code, result) = next.run_json(&[]);
                assert_eq!(code, 0, "{store} at {lines}: {result:#}");
            }
            let expected: Vec<String> = (100..103 + round * 3).map(|id| id.to_string()).collect();
            for (format, path) in TABLES {
                let found = yard.ids(format, path);
                assert_eq!(found, expected, "{store}: {path}, killed at line {lines}");
            }
        }
        assert!(killed >= 4, "only {killed} were killed in time");
        let last = yard.container(WRITES, "");
        let listed = last.odibi(&["runs", "list", "--output", "json"]).exits(0);
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let outcomes: Vec<&str> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["outcome"].as_str().unwrap())
            .collect();
        assert!(outcomes.contains(&"crashed"), "{outcomes:?}");
        assert!(!outcomes.contains(&"running"), "{outcomes:?}");
    }
}

/// Its second node is done once [`Gate`] is open: until then a run of it is at work, whatever the machine.
const GATED: &str = "      - {name: load, read: {connection: here, format: csv, path: in.csv}, write: {connection: STORE, format: parquet, path: s/load.parquet}}
      - {name: gate, depends_on: [load], retry: {max_attempts: 100, backoff: constant, delay: 1s}, read: {connection: web, format: csv, path: gate.csv}}
      - {name: last, depends_on: [gate], read: {connection: here, format: csv, path: in.csv}, write: {connection: STORE, format: csv, path: s/last.csv, mode: append}}
";

/// A web server with a file that [`GATED`] waits for.
struct Gate(Recorder);

impl Gate {
    fn closed() -> Self {
        let gate = Self(Recorder::start([]));
        gate.close();
        gate
    }

    fn close(&self) {
        self.0.always(Reply::Status(503));
    }

    fn open(&self) {
        self.0.always(Reply::File("id\n1\n".to_owned()));
    }

    fn container(&self, yard: &Yard, round: usize, more: &str) -> Project {
        let web = format!(
            "  web: {{type: http, base_url: \"{}\"}}\n  here:",
            self.0.url("")
        );
        let yaml = yard.yaml(GATED, more).replacen("  here:", &web, 1);
        yard.container(GATED, more)
            .file("odibi.yaml", yaml)
            .file("in.csv", batch(round))
    }

    /// Starts a run that stands before it.
    fn run(&self, project: &Project) -> Running {
        self.close();
        let mut run = start(project, &[]);
        run.until("orders.gate", "started");
        run
    }
}

#[test]
fn second_run_waits_or_fails_and_takes_over_one_that_hangs() {
    for store in STORES {
        let (yard, gate) = (Yard::new(store, "two"), Gate::closed());
        let [one, two, three] = [0, 1, 2].map(|round| gate.container(&yard, round, ""));
        let first = gate.run(&one);
        let held = two.odibi(&["run"]).exits(3);
        assert!(
            held.stderr.contains("error[state/lease-held]"),
            "{}",
            held.stderr
        );
        assert!(
            held.stderr
                .contains(&format!("(process {} on ", first.child.id())),
            "{}",
            held.stderr
        );
        let shown = two.odibi(&["runs", "show", "--output", "json"]).exits(0);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["outcome"], "running");
        // It hangs. The other one waits, sees that, and does its work.
        first.signal(Signal::STOP);
        gate.open();
        let (code, result) = two.run_json(&["--wait", "60s"]);
        assert_eq!(code, 0, "{result:#}");
        assert_eq!(result["continues"], shown["run_id"]);
        first.signal(Signal::CONT);
        let (code, said) = first.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("state/lease-lost"), "{said}");
        let written: Vec<String> = (103..106).map(|id| id.to_string()).collect();
        assert_eq!(
            yard.ids("csv", "s/last.csv"),
            written,
            "{store}: nothing of the first one"
        );
        let shown = two.odibi(&["runs", "show", shown["run_id"].as_str().unwrap()]);
        assert!(shown.exits(0).stdout.contains(": crashed"), "{store}");
        // And the state is as it should be: the next run has it at once.
        let (code, result) = three.run_json(&[]);
        assert_eq!(
            (code, &result["continues"]),
            (0, &Value::Null),
            "{result:#}"
        );
        // Taken over at work, without waiting to see whether it hangs.
        let fourth = gate.run(&one);
        fourth.signal(Signal::STOP);
        gate.open();
        let over = three.odibi(&["run", "--take-over"]).exits(0);
        assert!(
            over.stderr.contains("going on with run "),
            "{}",
            over.stderr
        );
        fourth.signal(Signal::CONT);
        let (code, said) = fourth.end();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("state/lease-lost"), "{said}");
    }
}

#[test]
fn run_that_waits_begins_when_the_other_one_ends() {
    let (yard, gate) = (Yard::new("s3", "waits"), Gate::closed());
    let [one, two] = [0, 1].map(|round| gate.container(&yard, round, ""));
    let first = gate.run(&one);
    let mut second = start(&two, &["--wait", "10m"]);
    second.until("waiting:", "pipeline");
    gate.open();
    assert_eq!(first.end().0, Some(0));
    let (code, said) = second.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("going on with"), "{said}");
    assert_eq!(yard.ids("csv", "s/last.csv").len(), 6);
}

const CHAIN: &str = "      - {name: load, read: {connection: here, format: csv, path: orders.csv}, write: {connection: STORE, format: parquet, path: c/load.parquet}}
      - {name: text, inputs: {df: load}, write: {connection: STORE, format: csv, path: c/text.csv}}
      - {name: late, read: {connection: here, format: csv, path: late.csv}}
      - {name: report, inputs: {df: late, more: load}, write: {connection: STORE, format: csv, path: c/report.csv}}
";
const ORDERS: &str = "id,city\n1,Bern\n2,Basel\n3,Bern\n";

#[test]
fn every_command_knows_the_runs_of_other_containers() {
    for store in STORES {
        let yard = Yard::new(store, "commands");
        let container = || yard.container(CHAIN, "").file("orders.csv", ORDERS);
        let looks = container();
        let none = looks.odibi(&["runs", "list"]).exits(0);
        assert_eq!(none.stderr, "no runs\n");
        assert!(!looks.path(".odibi").exists(), "looking makes nothing");
        let (code, failed) = container().run_json(&[]);
        assert_eq!(code, 1, "{failed:#}");
        let id = failed["run_id"].as_str().unwrap();
        let listed = container().odibi(&["runs", "list", "--failed"]).exits(0);
        assert!(listed.stdout.starts_with(id), "{}", listed.stdout);
        let shown = container()
            .odibi(&["runs", "show", &id[..23]])
            .exits(0)
            .stdout;
        for part in [
            "failed",
            "state/shop/runs/",
            ".events.jsonl",
            "late",
            "no such file",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let again = container().file("late.csv", ORDERS);
        let plan = again
            .odibi(&["plan", "--select", "result:failed+"])
            .exits(0)
            .stdout;
        assert!(plan.contains("late") && plan.contains("report"), "{plan}");
        let dry = again.odibi(&["retry", "--dry-run"]).exits(0).stdout;
        assert!(
            dry.contains("kept  orders.text: succeeded")
                && dry.contains("read  orders.load: what it wrote is read")
                && dry.contains("run   orders.late: failed"),
            "{dry}"
        );
        let resumed = again
            .odibi(&["run", "--resume", "--output", "json"])
            .exits(0);
        let resumed: Value = serde_json::from_str(&resumed.stdout).unwrap();
        assert_eq!(resumed["continues"], id);
        let nothing = container().odibi(&["run", "--resume"]).exits(0);
        assert!(
            nothing.stderr.contains("nothing to resume"),
            "{}",
            nothing.stderr
        );
        let diff = container()
            .odibi(&["runs", "diff", id, "last"])
            .exits(0)
            .stdout;
        assert!(diff.contains("pipeline orders"), "{diff}");
        // What has not changed is not run again, wherever it was run.
        let same = container().file("late.csv", ORDERS);
        let nothing = same.odibi(&["run", "--select", "state:modified"]).exits(4);
        assert!(
            nothing.stderr.contains("the selection holds no node"),
            "{}",
            nothing.stderr
        );
        let changed = CHAIN
            .replace("c/text.csv, ", "c/text.csv")
            .replace("path: c/text.csv}", "path: c/other.csv}");
        let changed = yard
            .container(&changed, "")
            .file("orders.csv", ORDERS)
            .file("late.csv", ORDERS);
        // What `load` wrote stands in the store and is read.
        let (code, result) = changed.run_json(&["--select", "state:modified"]);
        assert_eq!(
            (code, &result["nodes"]["succeeded"]),
            (0, &1.into()),
            "{result:#}"
        );
        let tried = container().odibi(&["doctor"]).exits(0).stdout;
        let lines: Vec<&str> = tried
            .lines()
            .filter(|line| line.ends_with("keeps the state)"))
            .collect();
        assert_eq!(lines.len(), 1, "{tried}");
        assert!(
            lines[0].starts_with(&format!("ok      {store} [")),
            "{tried}"
        );
        let bad = container()
            .variable("ODIBI_LEASE_TIMEOUT", "soon")
            .odibi(&["run"]);
        assert!(bad.exits(3).stderr.contains("state/bad-setting"));
    }
}

const ALERTS: &str = "alerts:
  - {name: hook, type: webhook, url: HOOK, on_events: [on_start, on_failure, on_success], metadata: {throttle_minutes: 0}}
";

fn told(recorder: &Recorder) -> Vec<(String, String)> {
    let bodies = recorder.taken().into_iter();
    let bodies = bodies.map(|one| serde_json::from_slice::<Value>(&one.body).unwrap());
    let word = |body: &Value, key: &str| body[key].as_str().unwrap().to_owned();
    bodies
        .map(|body| (word(&body, "run_id"), word(&body, "event")))
        .collect()
}

#[test]
fn alerts_of_a_killed_run_are_sent_by_the_next_container() {
    for store in STORES {
        let (yard, gate) = (Yard::new(store, "alerts"), Gate::closed());
        let recorder = Recorder::start([]);
        let hook = ALERTS.replace("HOOK", &recorder.url("x"));
        let one = gate.container(&yard, 0, &hook);
        let first = gate.run(&one);
        // Delivered, and noted as such.
        let three = gate.container(&yard, 0, &hook);
        let listed = || three.odibi(&["alerts", "list"]).exits(0).stdout;
        while !listed().contains("delivered") {}
        assert!(first.kill(), "it had ended already");
        let killed = told(&recorder)[0].0.clone();
        // Its receiver is gone for the second one: what it posts is kept.
        let gone = ALERTS.replace("HOOK", "http://127.0.0.1:1/x");
        gate.open();
        let two = gate
            .container(&yard, 1, &gone)
            .variable("ODIBI_ALERTS_WAIT", "300ms");
        let (code, second) = two.run_json(&[]);
        assert_eq!(code, 0, "{second:#}");
        let second = second["run_id"].as_str().unwrap().to_owned();
        let waiting = two.odibi(&["alerts", "list"]).exits(0).stdout;
        assert_eq!(waiting.matches("waiting").count(), 3, "{waiting}");
        assert_eq!(told(&recorder).len(), 1);
        let _ = three.odibi(&["alerts", "flush"]).exits(0);
        let expected = [
            (killed.as_str(), "on_start"),
            (killed.as_str(), "on_failure"),
            (second.as_str(), "on_start"),
            (second.as_str(), "on_success"),
        ];
        let expected = expected.map(|(run, event)| (run.to_owned(), event.to_owned()));
        assert_eq!(told(&recorder), expected, "{store}");
        assert_eq!(listed().matches("delivered").count(), 4, "{}", listed());
        let _ = three.odibi(&["alerts", "flush"]).exits(0);
        assert_eq!(told(&recorder).len(), 4, "each once");
    }
}

#[test]
fn state_that_cannot_be_reached_starts_no_run() {
    let yard = Yard::new("s3", "denied");
    let yaml = yard.yaml(CHAIN, "");
    let endpoint = yard.servers.1["s3"].as_str().unwrap();
    let missing = yaml.replace(
        "bucket: odibi-test, endpoint: \"",
        "bucket: no-such-bucket, endpoint: \"",
    );
    assert_ne!(missing, yaml);
    let refused = Project::with(&missing).odibi(&["run"]).exits(3);
    assert!(
        refused.stderr.contains("error[state/denied]"),
        "{}",
        refused.stderr
    );
    let away = yaml.replace(endpoint, "http://127.0.0.1:9");
    let refused = Project::with(&away).odibi(&["runs", "list"]).exits(3);
    assert!(
        refused.stderr.contains("error[state/failed]"),
        "{}",
        refused.stderr
    );
    let web = yard.servers.1["web"].as_str().unwrap();
    let web = yaml
        .replace(
            "  here:",
            &format!("  web: {{type: http, base_url: \"{web}/plain\"}}\n  here:"),
        )
        .replace("system: {connection: s3", "system: {connection: web");
    let refused = Project::with(&web).odibi(&["run"]).exits(78);
    assert!(
        refused.stderr.contains("config/unsupported-write"),
        "{}",
        refused.stderr
    );
}
