//! What is remembered between runs, through the command line: runs that are killed, that fail, and two at once.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Project;

const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
story: {connection: here, path: stories}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: here, format: parquet, path: out/load.parquet}
      - name: slow
        read: {connection: here, format: csv, path: many.csv}
        write: {connection: here, format: csv, path: out/slow.csv}
";
const ORDERS: &str = "id,city\n1,Bern\n2,Basel\n3,Bern\n";

/// So many rows that a run of them is always met at work.
fn many() -> String {
    (0..400_000)
        .map(|n| format!("{n},city of number {n}\n"))
        .fold("id,city\n".to_owned(), |all, row| all + &row)
}

fn project() -> Project {
    Project::with(YAML)
        .file("orders.csv", ORDERS)
        .file("many.csv", many())
}

/// `odibi run` as a process.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(project: &Project) -> Self {
        let mut child = Command::new(support::binary())
            .args(["run", "--workers", "1"])
            .current_dir(project.path(""))
            .env("ODIBI_CACHE_DIR", project.path("cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Reads what it says until a node has come to a state.
    #[track_caller]
    fn until(&mut self, node: &str, state: &str) {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.stderr.read_line(&mut line).unwrap(),
                0,
                "it ended:\n{all}"
            );
            let mut words = line.split_whitespace();
            if words.next() == Some(node) && words.next() == Some(state) {
                return;
            }
            all += &line;
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(
            self.child.wait().unwrap().code(),
            None,
            "it had ended already"
        );
    }
}

fn run_dirs(project: &Project) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project.path(".odibi/runs")).unwrap();
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    // UUIDv7: by time.
    dirs.sort();
    dirs
}

fn events(dir: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

fn id(dir: &std::path::Path) -> String {
    dir.file_name().unwrap().to_str().unwrap().to_owned()
}

fn stories(project: &Project) -> Vec<Value> {
    let days = std::fs::read_dir(project.path("stories/orders")).unwrap();
    // Beside the days lies the index.
    let days = days
        .map(|day| day.unwrap().path())
        .filter(|day| day.is_dir());
    let files = days.flat_map(|day| std::fs::read_dir(day).unwrap());
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect()
}

#[test]
fn killed_run_has_one_end_and_is_gone_on_with() {
    let project = project();
    for _ in 0..2 {
        let mut run = Running::start(&project);
        run.until("orders.slow", "started");
        run.kill();
    }
    // As if it had been killed in the middle of a line.
    let dirs = run_dirs(&project);
    let torn = std::fs::read_to_string(dirs[1].join("events.jsonl")).unwrap() + "{\"seq\":9";
    std::fs::write(dirs[1].join("events.jsonl"), torn).unwrap();
    let small = project.file("many.csv", ORDERS);
    let (code, result) = small.run_json(&[]);
    assert_eq!(code, 0);
    // A chain of crashes: the second run went on with the first, the third with the second.
    assert_eq!(result["continues"], Value::from(id(&dirs[1])));
    let second = events(&dirs[1]);
    assert_eq!(second[0]["continues"], Value::from(id(&dirs[0])));
    for dir in &dirs {
        let events = events(dir);
        let crashes = kinds(&events)
            .iter()
            .filter(|kind| **kind == "run_crashed")
            .count();
        assert_eq!(crashes, 1);
        assert_eq!(kinds(&events).last(), Some(&"story_written"));
    }
    let outcomes: Vec<Value> = stories(&small)
        .iter()
        .map(|story| story["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["crashed", "crashed", "succeeded"]);
    let crashed = &stories(&small)[0];
    let nodes: Vec<_> = crashed["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["outcome"].clone())
        .collect();
    assert_eq!(nodes, ["succeeded", "crashed"]);
    // The next one is a run of its own, and tells of nothing more.
    let (_, result) = small.run_json(&[]);
    assert_eq!(result["continues"], Value::Null);
    assert_eq!(stories(&small).len(), 4);
    let left = std::fs::read_dir(small.path(".odibi/scratch"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn second_run_of_a_pipeline_waits_or_fails_or_takes_over() {
    let project = project();
    let mut first = Running::start(&project);
    first.until("orders.slow", "started");
    first.signal(Signal::STOP);
    let first_id = id(&run_dirs(&project)[0]);
    let second = project.odibi(&["run"]).exits(3);
    let held = format!(
        "pipeline `orders` is being run by run {first_id} (process {}, since 20",
        first.child.id()
    );
    assert!(second.stderr.contains(&held), "{}", second.stderr);
    assert!(
        second.stderr.contains("state/lease-held"),
        "{}",
        second.stderr
    );
    let second = project.odibi(&["run", "--wait", "120ms"]).exits(3);
    assert!(
        second.stderr.contains("waiting: pipeline `orders`"),
        "{}",
        second.stderr
    );
    assert_eq!(run_dirs(&project).len(), 1, "they never began");
    // Of another pipeline nobody waits.
    let other = YAML.replace("pipeline: orders", "pipeline: other");
    let project = project.file("other.yaml", other).file("many.csv", ORDERS);
    let _ = project.odibi(&["run", "other.yaml"]).exits(0);
    let third = project
        .odibi(&["run", "--take-over", "--output", "json"])
        .exits(0);
    let third: Value = serde_json::from_str(&third.stdout).unwrap();
    assert_eq!(third["continues"], Value::from(first_id));
    first.kill();
    let (code, _) = project.run_json(&[]);
    assert_eq!(code, 0);
}

#[test]
fn run_that_waits_begins_when_the_other_one_ends() {
    let project = project();
    let mut first = Running::start(&project);
    first.until("orders.slow", "started");
    let second = project.odibi(&["run", "--wait", "10m"]).exits(0);
    assert!(
        second.stderr.contains("waiting: pipeline `orders`"),
        "{}",
        second.stderr
    );
    assert_eq!(first.child.wait().unwrap().code(), Some(0));
    let ends: Vec<Value> = run_dirs(&project)
        .iter()
        .map(|dir| events(dir)[0]["continues"].clone())
        .collect();
    assert_eq!(ends, [Value::Null, Value::Null]);
}

#[test]
fn state_that_cannot_be_read_starts_no_run() {
    let project = Project::with(YAML)
        .file("orders.csv", ORDERS)
        .file("many.csv", ORDERS);
    let _ = project.odibi(&["run", "-q"]).exits(0);
    let damaged = project.file(
        ".odibi/state.db",
        "not a database, and never was one; but rather long, it must be said, to be read",
    );
    let refused = damaged.odibi(&["run"]).exits(3);
    assert!(
        refused.stderr.contains("error[state/corrupt]"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("a file that is not a database")
            || refused.stderr.contains("not a database"),
        "{}",
        refused.stderr
    );
    assert_eq!(run_dirs(&damaged).len(), 1);
    assert!(
        damaged
            .text(".odibi/state.db")
            .starts_with("not a database")
    );
}
