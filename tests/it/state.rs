//! What is remembered between runs, through the command line: runs that are killed, that fail, and two at once.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::Project;

use crate::running::Running;

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
pub(crate) fn many() -> String {
    (0..400_000)
        .map(|n| format!("{n},city of number {n}\n"))
        .fold("id,city\n".to_owned(), |all, row| all + &row)
}

fn project() -> Project {
    Project::with(YAML)
        .file("orders.csv", ORDERS)
        .file("many.csv", many())
}

fn start(project: &Project) -> Running {
    Running::start(project, &[], &project.path("cache"), &[])
}

#[track_caller]
fn kill(run: Running) {
    assert!(run.kill(), "it had ended already");
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
        let mut run = start(&project);
        run.until("orders.slow", "started");
        kill(run);
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

/// Kills a run as soon as its log holds so many lines; that it may come to its end before is right as well.
fn kill_at(project: &Project, lines: usize) {
    let known = run_ids(project);
    let mut child = Command::new(support::binary())
        .args(["run", "--workers", "1"])
        .current_dir(project.path(""))
        .env("ODIBI_CACHE_DIR", project.path("cache"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() {
        let new = run_ids(project).into_iter().find(|id| !known.contains(id));
        let log = new.map(|id| project.path(&format!(".odibi/runs/{id}/events.jsonl")));
        let said = log.and_then(|log| std::fs::read(log).ok());
        if said.is_some_and(|said| said.iter().filter(|byte| **byte == b'\n').count() >= lines) {
            let _ = child.kill();
        }
        std::thread::yield_now();
    }
}

fn run_ids(project: &Project) -> Vec<String> {
    let runs = std::fs::read_dir(project.path(".odibi/runs"));
    let runs = runs.into_iter().flatten().flatten();
    runs.map(|run| run.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn run_killed_at_any_point_has_one_story_after_the_next_start() {
    let project = Project::with(YAML)
        .file("orders.csv", ORDERS)
        .file("many.csv", ORDERS);
    let (code, _) = project.run_json(&[]);
    assert_eq!(code, 0);
    let lines = events(&run_dirs(&project)[0]).len();
    for at in 0..=lines {
        kill_at(&project, at);
    }
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    let stories = stories(&project);
    let told: Vec<&str> = stories
        .iter()
        .map(|story| story["run_id"].as_str().unwrap())
        .collect();
    let mut runs = run_ids(&project);
    runs.sort();
    assert_eq!(told, runs);
    let killed = stories.iter().filter(|story| story["outcome"] == "crashed");
    assert!(killed.count() > 0, "none was killed in time");
    let index: Value = serde_json::from_str(&project.text("stories/orders/index.json")).unwrap();
    assert_eq!(index["runs"].as_array().unwrap().len(), runs.len());
}

#[test]
fn run_killed_before_it_said_anything_has_a_story_too() {
    for said in [None, Some(""), Some("{\"seq\":0,\"at\"")] {
        let project = project();
        let mut run = start(&project);
        run.until("orders.slow", "started");
        kill(run);
        let dir = run_dirs(&project).remove(0);
        // As if it had been killed that early.
        match said {
            None => std::fs::remove_dir_all(&dir).unwrap(),
            Some(text) => std::fs::write(dir.join("events.jsonl"), text).unwrap(),
        }
        let small = project.file("many.csv", ORDERS);
        assert_eq!(small.run_json(&[]).0, 0);
        let stories = stories(&small);
        assert_eq!(stories.len(), 2, "{said:?}");
        assert_eq!(stories[0]["run_id"], id(&dir));
        assert_eq!(stories[0]["outcome"], "crashed");
        assert_eq!(stories[0]["project"], "shop");
        let nodes = stories[0]["nodes"].as_array().unwrap();
        let nodes: Vec<&Value> = nodes.iter().map(|node| &node["name"]).collect();
        assert_eq!(nodes, ["load", "slow"]);
        let shown = small.odibi(&["runs", "show", &id(&dir)]);
        assert!(shown.exits(0).stdout.contains("crashed"));
    }
}

#[test]
fn second_run_of_a_pipeline_waits_or_fails_or_takes_over() {
    let project = project();
    let mut first = start(&project);
    first.until("orders.slow", "started");
    // Stopped in the middle of a change it would hold the whole state: not before it has noted what it had to.
    let noted = || {
        let shown = project
            .odibi(&["runs", "show", "--output", "json"])
            .exits(0);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        shown["nodes"][0]["outcome"] == "succeeded"
    };
    while !noted() {}
    assert!(noted(), "and has let go of it: looking takes the same lock");
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
    kill(first);
    let (code, _) = project.run_json(&[]);
    assert_eq!(code, 0);
}

#[test]
fn run_that_waits_begins_when_the_other_one_ends() {
    let project = project();
    let mut first = start(&project);
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

const CHAIN: &str = "project: shop
connections:
  here: {type: local, base_path: .}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: here, format: parquet, path: out/load.parquet}
      - name: text
        inputs: {df: load}
        write: {connection: here, format: csv, path: out/text.csv}
      - name: late
        read: {connection: here, format: csv, path: late.csv}
      - name: report
        inputs: {df: late, more: load}
        write: {connection: here, format: csv, path: out/report.csv}
";

/// A run of which one node failed and another was skipped.
fn failed() -> (Project, String) {
    let project = Project::with(CHAIN).file("orders.csv", ORDERS);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1);
    assert_eq!(
        (&result["nodes"]["failed"], &result["nodes"]["skipped"]),
        (&1.into(), &1.into())
    );
    let run_id = result["run_id"].as_str().unwrap().to_owned();
    (project, run_id)
}

/// Without ids, times and durations.
fn bare(text: &str, ids: &[&str]) -> String {
    let mut text = text.to_owned();
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("RUN{number}"));
    }
    let words = text.lines().map(|line| {
        let words = line.split_whitespace().filter(|word| {
            let digits = word.trim_matches(|c: char| !c.is_ascii_digit());
            let is_time = word.contains(':') && digits == *word
                || word.starts_with("20") && word.contains('-');
            !is_time && !["ms", "s", "UTC"].contains(word) && word.parse::<f64>().is_err()
        });
        words.collect::<Vec<_>>().join(" ")
    });
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn retry_does_what_was_left_and_reads_what_stands() {
    let (project, first) = failed();
    let project = project.file("late.csv", ORDERS);
    let dry = project.odibi(&["retry", "--dry-run"]).exits(0);
    assert_eq!(
        bare(&dry.stdout, &[&first]),
        "run RUN0 once more:\n\
         read orders.load: what it wrote is read\n\
         kept orders.text: succeeded\n\
         run orders.late: failed\n\
         run orders.report: skipped"
    );
    assert_eq!(run_dirs(&project).len(), 1, "nothing was run");
    let written = std::fs::metadata(project.path("out/text.csv"))
        .unwrap()
        .modified()
        .unwrap();
    let retried = project
        .odibi(&["retry", &first[..30], "--output", "json"])
        .exits(0);
    let retried: Value = serde_json::from_str(&retried.stdout).unwrap();
    assert_eq!(retried["nodes"]["succeeded"], 2);
    assert_eq!(retried["continues"], Value::from(first.as_str()));
    let again = std::fs::metadata(project.path("out/text.csv"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(written, again);
    assert_eq!(project.text("out/report.csv"), ORDERS);
    // The logical time is that of the run that is repeated.
    let times: Vec<Value> = run_dirs(&project)
        .iter()
        .map(|d| events(d)[0]["logical_time"].clone())
        .collect();
    assert_eq!(times[0], times[1]);
    let resumed = project.odibi(&["run", "--resume"]).exits(0);
    assert!(
        resumed.stderr.starts_with("nothing to resume: run "),
        "{}",
        resumed.stderr
    );
    let _ = project.odibi(&["retry"]).exits(4);
    let _ = project.odibi(&["retry", "--from", "no-such-node"]).exits(4);
    // Of the retried run everything stands, also what only its forerunner ran.
    let from = project
        .odibi(&["retry", "--from", "orders.text", "--dry-run"])
        .exits(0);
    let second = retried["run_id"].as_str().unwrap();
    assert_eq!(
        bare(&from.stdout, &[second]),
        "run RUN0 once more:\n\
         read orders.load: what it wrote is read\n\
         run orders.text: kept\n\
         kept orders.late: succeeded\n\
         kept orders.report: succeeded"
    );
}

#[test]
fn what_is_resumed_is_the_last_run_of_the_environment_that_is_named() {
    let pipelines = "
pipelines:
  - pipeline: orders
    nodes:
      - {name: load, read: {connection: here, format: csv, path: \"${vars.from}\"},
         write: {connection: here, format: parquet, path: \"out/${vars.from}.parquet\"}}
";
    let head = "project: shop
connections: {here: {type: local, base_path: .}}
story: {connection: here}
vars: {from: orders.csv}
environments: {dev: {}, prod: {vars: {from: late.csv}}, test: {}}
";
    let project = Project::new()
        .file("odibi.yaml", format!("{head}{pipelines}"))
        .file("orders.csv", ORDERS);
    let none = project.odibi(&["run", "--resume", "--env", "dev"]).exits(2);
    assert!(none.stderr.contains("no run yet"), "{}", none.stderr);
    let _ = project.odibi(&["run", "--env", "prod"]).exits(1);
    let _ = project.odibi(&["run", "--env", "dev"]).exits(0);
    let project = project.file("late.csv", ORDERS);
    let dev = project.odibi(&["run", "--resume", "--env", "dev"]).exits(0);
    assert!(
        dev.stderr.starts_with("nothing to resume: run "),
        "{}",
        dev.stderr
    );
    assert!(!project.path("out/late.csv.parquet").exists());
    let _ = project
        .odibi(&["run", "--resume", "--env", "prod"])
        .exits(0);
    assert!(project.path("out/late.csv.parquet").exists());
    let never = project
        .odibi(&["run", "--resume", "--env", "test"])
        .exits(2);
    assert!(
        never
            .stderr
            .contains("project `shop`, environment `test`: no run yet"),
        "{}",
        never.stderr
    );
}

#[test]
fn target_that_was_changed_since_is_made_again() {
    let (project, first) = failed();
    let project = project
        .file("late.csv", ORDERS)
        .file("out/load.parquet", "somebody else's");
    let dry = project.odibi(&["retry", "--skipped", "--dry-run"]).exits(0);
    assert_eq!(
        bare(&dry.stdout, &[&first]),
        "run RUN0 once more:\n\
         run orders.load: orders.report needs its output, which nobody has kept\n\
         kept orders.text: succeeded\n\
         run orders.late: orders.report needs its output, which nobody has kept\n\
         run orders.report: skipped"
    );
    let _ = project.odibi(&["retry", "--skipped"]).exits(0);
    assert_eq!(project.text("out/report.csv"), ORDERS);
}

#[test]
fn killed_run_is_resumed_without_what_it_had_done() {
    let project = project();
    let mut run = start(&project);
    run.until("orders.slow", "started");
    kill(run);
    let killed = id(&run_dirs(&project)[0]);
    let project = project.file("many.csv", ORDERS);
    let shown = project
        .odibi(&["runs", "show", "--output", "json"])
        .exits(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["outcome"], "crashed");
    let resumed = project
        .odibi(&["run", "--resume", "--output", "json"])
        .exits(0);
    let told = bare(&resumed.stderr, &[&killed]);
    assert!(
        told.contains("kept orders.load: succeeded\nrun orders.slow: it did not come to its end"),
        "{told}"
    );
    let resumed: Value = serde_json::from_str(&resumed.stdout).unwrap();
    assert_eq!(
        (&resumed["nodes"]["succeeded"], &resumed["continues"]),
        (&1.into(), &Value::from(killed))
    );
    assert_eq!(project.text("out/slow.csv"), ORDERS);
    let outcomes: Vec<Value> = stories(&project)
        .iter()
        .map(|story| story["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["crashed", "succeeded"]);
}

#[test]
fn runs_are_listed_and_shown() {
    let none = Project::with(CHAIN);
    let listed = none.odibi(&["runs", "list"]).exits(0);
    assert_eq!(
        (listed.stdout.as_str(), listed.stderr.as_str()),
        ("", "no runs\n")
    );
    assert!(!none.path(".odibi").exists(), "looking makes nothing");
    let missing = none.odibi(&["runs", "show", "last"]).exits(2);
    assert!(
        missing.stderr.contains("project `shop` has no run yet"),
        "{}",
        missing.stderr
    );
    let _ = none.odibi(&["retry"]).exits(2);
    let (project, first) = failed();
    let project = project.file("late.csv", ORDERS);
    let _ = project.odibi(&["retry", "-q"]).exits(0);
    let second = id(&run_dirs(&project)[1]);
    let ids = [first.as_str(), second.as_str()];
    let listed = project.odibi(&["runs", "list"]).exits(0);
    assert_eq!(
        bare(&listed.stdout, &ids),
        "RUN1 succeeded orders (continues RUN0)\nRUN0 failed orders"
    );
    for filter in [&["--failed"][..], &["--limit", "1", "--failed"]] {
        let listed = project
            .odibi(&[&["runs", "list"], filter].concat())
            .exits(0);
        assert_eq!(bare(&listed.stdout, &ids), "RUN0 failed orders");
    }
    let listed = project
        .odibi(&["runs", "list", "--pipeline", "other"])
        .exits(0);
    assert_eq!(listed.stdout, "");
    let shown = project.odibi(&["runs", "show"]).exits(0);
    let head: Vec<&str> = shown.stdout.lines().take(8).collect();
    let head = bare(&head.join("\n"), &ids);
    assert!(
        head.starts_with("run RUN1: succeeded\nproject shop ("),
        "{head}"
    );
    assert!(
        head.contains("\ncontinues RUN0\nkept orders.load, orders.text\nevents "),
        "{head}"
    );
    assert!(
        shown.stdout.contains("\norders succeeded in "),
        "{}",
        shown.stdout
    );
    let shown = project
        .odibi(&["runs", "show", &first, "--output", "json"])
        .exits(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let nodes: Vec<(&str, &str)> = shown["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (n["node"].as_str().unwrap(), n["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        nodes,
        [
            ("load", "succeeded"),
            ("text", "succeeded"),
            ("late", "failed"),
            ("report", "skipped")
        ]
    );
    assert_eq!(shown["nodes"][2]["failure"], "read/missing");
    assert_eq!(shown["exit_code"], 1);
    assert_eq!(shown["stories"][0]["outcome"], "failed");
    let unknown = project.odibi(&["runs", "show", "ffff"]).exits(2);
    assert!(
        unknown.stderr.contains("error[state/no-run]"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn state_lies_where_the_project_says() {
    let yaml = CHAIN.replace(
        "pipelines:",
        "system: {connection: here, path: kept/here}\npipelines:",
    );
    let project = Project::with(&yaml)
        .file("orders.csv", ORDERS)
        .file("late.csv", ORDERS);
    let _ = project.odibi(&["run", "-q"]).exits(0);
    assert!(project.path("kept/here/state.db").is_file());
    assert!(!project.path(".odibi").exists());
    let listed = project.odibi(&["runs", "list"]).exits(0);
    assert_eq!(listed.stdout.lines().count(), 1);
    let project = project.variable("ODIBI_STATE_DIR", "elsewhere");
    let listed = project.odibi(&["runs", "list"]).exits(0);
    assert_eq!(listed.stdout, "");
}
