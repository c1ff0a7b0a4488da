//! SIGINT and SIGTERM: a run that is stopped is stopped cleanly, and one that is not to be waited for ends at once.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Project;

/// `done` ends, `spin` never does, `after` waits for it.
const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
plugins: {evil: {path: evil.wasm}}
story: {connection: here, path: stories}
limits: {cpu: 10m, wall: 10m}
pipelines:
  - pipeline: orders
    nodes:
      - name: done
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: here, format: csv, path: out/done.csv}
      - name: spin
        inputs: {df: done}
        transform: {steps: [{operation: evil/spin_in_process}]}
        write: {connection: here, format: csv, path: out/spin.csv}
      - name: after
        inputs: {df: spin}
        write: {connection: here, format: csv, path: out/after.csv}
";
const ORDERS: &str = "id,city\n1,Bern\n2,Basel\n3,Bern\n";

fn project(yaml: &str) -> Project {
    Project::with(yaml)
        .file("orders.csv", ORDERS)
        .file("out/spin.csv", "what was there\n")
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    fn start(project: &Project) -> Self {
        let mut child = Command::new(support::binary())
            .args(["run", "--log-format=json"])
            .current_dir(project.path(""))
            .env("ODIBI_CACHE_DIR", support::cache_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            stderr,
            said: String::new(),
        }
    }

    /// Waits until it has said something.
    #[track_caller]
    fn until(&mut self, is_it: impl Fn(&Value) -> bool) {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "it ended:\n{}", self.said);
            self.said += &line;
            if is_it(&serde_json::from_str(&line).unwrap()) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, and all that it said.
    fn end(mut self) -> (Option<i32>, Vec<Value>) {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let code = self.child.wait().unwrap().code();
        let lines = self.said.lines();
        (
            code,
            lines.map(|l| serde_json::from_str(l).unwrap()).collect(),
        )
    }
}

fn is_at_work(node: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == "attempt_started" && line["node"] == node
}

fn files(project: &Project, below: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(project.path(below))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn story(project: &Project) -> Value {
    let found = support::files_below(&project.path("stories"));
    let json: Vec<&PathBuf> = found
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "index"))
        .collect();
    assert_eq!(json.len(), 1, "{found:?}");
    serde_json::from_str(&std::fs::read_to_string(json[0]).unwrap()).unwrap()
}

#[test]
fn stopped_run_leaves_everything_whole() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let project = project(YAML);
        let mut run = Running::start(&project);
        run.until(is_at_work("spin"));
        run.signal(signal);
        let (ended, lines) = run.end();
        assert_eq!(ended, Some(code));
        let outcome = |node: &str| {
            let end = lines
                .iter()
                .find(|l| l["event"] == "node_finished" && l["node"] == node);
            end.unwrap()["outcome"].as_str().unwrap().to_owned()
        };
        assert_eq!(outcome("done"), "succeeded");
        assert_eq!(outcome("spin"), "cancelled");
        assert_eq!(outcome("after"), "cancelled");
        // Nothing half-published, nothing left lying about.
        assert_eq!(project.text("out/done.csv"), ORDERS);
        assert_eq!(project.text("out/spin.csv"), "what was there\n");
        assert_eq!(files(&project, "out"), ["done.csv", "spin.csv"]);
        assert_eq!(files(&project, ".odibi/scratch"), Vec::<String>::new());
        assert_eq!(files(&project, ".odibi/runs").len(), 1);
        // The story is there, and tells the code.
        let story = story(&project);
        assert_eq!(story["outcome"], "cancelled", "{story:#}");
        assert_eq!(story["exit_code"], code, "{story:#}");
        // It came to its end: nothing is gone on with, and nothing is in the way.
        let shown = project
            .odibi(&["runs", "list", "--output", "json"])
            .exits(0);
        let runs: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(runs[0]["outcome"], "cancelled", "{runs:#}");
        assert_eq!(runs[0]["exit_code"], code, "{runs:#}");
        let next = project.odibi(&["run", "--node", "done"]).exits(0);
        assert!(
            !next.stderr.contains("going on with run"),
            "{}",
            next.stderr
        );
    }
}

#[test]
fn node_that_waits_for_its_next_attempt_stops_waiting() {
    let yaml = YAML.replace(
        "        inputs: {df: done}\n",
        "        inputs: {df: done}\n        timeout: 100ms\n        retry: {max_attempts: 5, delay: 1h, max_delay: 1h, jitter: false}\n",
    );
    let project = project(&yaml);
    let mut run = Running::start(&project);
    run.until(|line| line["event"] == "attempt_failed");
    run.signal(Signal::TERM);
    let (code, lines) = run.end();
    assert_eq!(code, Some(143));
    let spin = lines
        .iter()
        .find(|l| l["event"] == "node_finished" && l["node"] == "spin")
        .unwrap();
    assert_eq!(spin["outcome"], "cancelled", "{spin}");
}

/// Where the story goes, nobody answers: the first signal ends the nodes, and the run waits for the story.
#[test]
fn second_signal_ends_it_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let yaml = YAML.replace(
        "story: {connection: here, path: stories}\n",
        "story: {connection: far, path: stories}\n",
    );
    let far = format!(
        "connections:\n  far: {{type: azure_adls, account_name: acc, container: con, account_key: a2V5, endpoint: 'http://127.0.0.1:{port}'}}\n"
    );
    let project = project(&yaml.replace("connections:\n", &far));
    let mut run = Running::start(&project);
    run.until(is_at_work("spin"));
    run.signal(Signal::INT);
    run.until(|line| line["event"] == "exit_decided");
    // Somebody asks for something, and gets no answer.
    let (_connection, _) = silent.accept().unwrap();
    run.signal(Signal::TERM);
    let (code, lines) = run.end();
    assert_eq!(code, Some(143));
    let signals = lines.iter().filter(|l| l["event"] == "signal");
    let said: Vec<&str> = signals.map(|l| l["message"].as_str().unwrap()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[1].starts_with("terminated: stopped at once"),
        "{said:?}"
    );
    assert_eq!(project.text("out/spin.csv"), "what was there\n");
}

#[test]
fn run_that_has_done_everything_succeeds_whatever_comes_late() {
    let project = project(YAML.split("      - name: spin").next().unwrap());
    let mut run = Running::start(&project);
    run.until(|line| line["event"] == "run_finished");
    run.signal(Signal::INT);
    let (code, lines) = run.end();
    // It hears it while it writes the story, or not at all: it has done its work.
    assert_eq!(code, Some(0), "{lines:#?}");
}
