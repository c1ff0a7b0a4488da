//! Alerts through the command line: receivers that answer badly and heal, runs that are killed, two at once.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Project;
use support::recorder::{Recorded, Recorder, Reply};

/// Part of every address: it must not show anywhere.
const CANARY: &str = "hunter2canary";

const YAML: &str = "project: shop
connections: {here: {type: local, base_path: .}}
story: {connection: here, path: stories}
alerts:
  - name: hook
    type: webhook
    url: ${HOOK}
    on_events: [EVENTS]
    metadata: {throttle_minutes: THROTTLE}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: here, format: csv, path: out.csv}
";
const GOOD: &str = "id,city\n1,Bern\n2,Basel\n";
/// A row too long.
const BAD: &str = "id,city\n1,Bern,x\n";

/// A project whose alerts go to the recorder.
fn project(recorder: &Recorder, events: &str, throttle: &str, orders: &str) -> Project {
    let yaml = YAML.replace("EVENTS", events).replace("THROTTLE", throttle);
    Project::with(&yaml)
        .file("orders.csv", orders)
        .variable("HOOK", &recorder.url(CANARY))
}

fn bodies(recorded: &[Recorded]) -> Vec<Value> {
    let parse = |one: &Recorded| serde_json::from_slice(&one.body).unwrap();
    recorded.iter().map(parse).collect()
}

fn words(recorded: &[Recorded]) -> Vec<String> {
    let word = |body: &Value| body["event"].as_str().unwrap().to_owned();
    bodies(recorded).iter().map(word).collect()
}

/// What the story of the only pipeline says of its alerts, as `channel event state`.
fn told(result: &Value) -> Vec<String> {
    let alerts = result["pipelines"][0]["story"]["alerts"]
        .as_array()
        .cloned();
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap().to_owned();
    let alerts = alerts.unwrap_or_default();
    alerts
        .iter()
        .map(|alert| {
            ["channel", "about", "state"]
                .map(|key| text(alert, key))
                .join(" ")
        })
        .collect()
}

/// No file below the project, and nothing that was printed, holds an address.
#[track_caller]
fn check_secret(project: &Project, printed: &[&str]) {
    for text in printed {
        assert!(!text.contains(CANARY), "{text}");
    }
    let mut open = vec![project.path("")];
    let mut files = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
        assert!(!found, "{}", path.display());
    }
    assert!(files > 5);
}

#[test]
fn run_tells_of_its_beginning_and_its_end_once() {
    let recorder = Recorder::start([]);
    let project = project(&recorder, "on_start, on_success, on_failure", "0", GOOD);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    let mut found = words(&recorder.taken());
    found.sort();
    assert_eq!(found, ["on_start", "on_success"]);
    assert_eq!(
        told(&result),
        ["hook on_start delivered", "hook on_success delivered"]
    );
    let body = &bodies(&recorder.taken())[1];
    assert_eq!(body["run_id"], result["run_id"]);
    assert_eq!(body["pipelines"][0]["rows_written"], 2);
    // The story says what became of the alerts, and the alert where the story is.
    let page = body["pipelines"][0]["story"][2].as_str().unwrap();
    let page = std::fs::read_to_string(project.path(page)).unwrap();
    assert!(page.contains("on_success delivered"), "{page}");
    let listed = project.odibi(&["alerts", "list"]).exits(0);
    assert_eq!(
        listed.stdout.matches("delivered").count(),
        2,
        "{}",
        listed.stdout
    );
    check_secret(
        &project,
        &[&listed.stdout, &listed.stderr, &result.to_string()],
    );
}

#[test]
fn failing_receiver_changes_nothing_and_gets_each_alert_once_when_it_has_healed() {
    for replies in [
        vec![Reply::Status(500); 50],
        vec![Reply::Redirect("http://127.0.0.1:1/".to_owned()); 50],
        vec![Reply::Reset; 50],
        vec![Reply::Endless(503); 50],
        vec![Reply::Never; 50],
    ] {
        let recorder = Recorder::start(replies.clone());
        let project =
            project(&recorder, "on_success", "0", GOOD).variable("ODIBI_ALERTS_WAIT", "300ms");
        let first = project.odibi(&["run"]).exits(0);
        assert!(recorder.taken().is_empty());
        assert!(
            first.stderr.contains("alert `hook`: on_success waiting"),
            "{replies:?}: {}",
            first.stderr
        );
        recorder.heal();
        let project = project.variable("ODIBI_ALERTS_WAIT", "60s");
        let (code, second) = project.run_json(&[]);
        assert_eq!(code, 0);
        let taken = recorder.taken();
        let mut ids: Vec<&String> = taken.iter().map(|r| &r.headers["webhook-id"]).collect();
        assert_eq!(ids.len(), 2, "one for each run: {replies:?}");
        ids.dedup();
        assert_eq!(ids.len(), 2);
        assert_eq!(told(&second), ["hook on_success delivered"]);
        check_secret(
            &project,
            &[&first.stdout, &first.stderr, &second.to_string()],
        );
    }
}

#[test]
fn receiver_that_refuses_is_told_of_in_story_and_log() {
    let recorder = Recorder::start([Reply::Status(404)]);
    let project = project(&recorder, "on_failure", "0", BAD);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1);
    let alert = &result["pipelines"][0]["story"]["alerts"][0];
    assert_eq!(alert["state"], "failed");
    assert_eq!(alert["failure"]["code"], "alert/refused");
    let log = std::fs::read_to_string(result["events"].as_str().unwrap()).unwrap();
    assert!(
        log.contains("alert_settled") && log.contains("it answered 404"),
        "{log}"
    );
    // When the address is right again, it can be sent after all.
    let waiting = project.odibi(&["alerts", "flush"]).exits(0);
    assert!(
        waiting.stderr.contains("nothing waits"),
        "{}",
        waiting.stderr
    );
    let flushed = project.odibi(&["alerts", "flush", "--failed"]).exits(0);
    assert!(flushed.stdout.contains("delivered"), "{}", flushed.stdout);
    assert_eq!(words(&recorder.taken()), ["on_failure"]);
    let body = &bodies(&recorder.taken())[0];
    assert_eq!(body["pipelines"][0]["failures"][0]["node"], "load");
    check_secret(&project, &[&flushed.stdout, &waiting.stderr, &log]);
}

#[test]
fn alerts_of_one_kind_are_held_back_across_runs() {
    let recorder = Recorder::start([]);
    let project = project(&recorder, "on_failure", "15", BAD);
    let (_, first) = project.run_json(&[]);
    let (_, second) = project.run_json(&[]);
    assert_eq!(told(&first), ["hook on_failure delivered"]);
    assert_eq!(told(&second), ["hook on_failure held_back"]);
    assert_eq!(recorder.recorded().len(), 1);
}

/// `odibi run` as a process.
fn start(project: &Project, recorder: &Recorder) -> std::process::Child {
    Command::new(support::binary())
        .arg("run")
        .current_dir(project.path(""))
        .env("ODIBI_CACHE_DIR", project.path("cache"))
        .env("HOOK", recorder.url(CANARY))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn run_that_is_killed_before_delivery_is_told_of_by_the_next() {
    // The first is not answered: it is killed while it waits, after its end and before delivery.
    let recorder = Recorder::start([Reply::Never]);
    let project = project(&recorder, "on_success", "0", GOOD);
    let mut first = start(&project, &recorder);
    let asked = recorder.wait_for(1);
    kill_process(Pid::from_child(&first), Signal::KILL).unwrap();
    assert_eq!(first.wait().unwrap().code(), None);
    assert!(recorder.taken().is_empty());
    let (code, _) = project.run_json(&[]);
    assert_eq!(code, 0);
    let taken = recorder.taken();
    assert_eq!(taken.len(), 2);
    assert_eq!(
        taken[0].headers["webhook-id"],
        asked[0].headers["webhook-id"]
    );
    assert_ne!(
        taken[1].headers["webhook-id"],
        asked[0].headers["webhook-id"]
    );
}

#[test]
fn run_that_is_killed_at_work_is_told_of_as_killed() {
    let recorder = Recorder::start([]);
    let many: String = (0..400_000).map(|n| format!("{n},city {n}\n")).collect();
    let project = project(
        &recorder,
        "on_start, on_failure",
        "0",
        &format!("id,city\n{many}"),
    );
    let mut first = start(&project, &recorder);
    recorder.wait_for(1);
    kill_process(Pid::from_child(&first), Signal::KILL).unwrap();
    assert_eq!(first.wait().unwrap().code(), None, "it had ended already");
    let project = project.file("orders.csv", GOOD);
    let (code, _) = project.run_json(&[]);
    assert_eq!(code, 0);
    let taken = bodies(&recorder.taken());
    let killed: Vec<&Value> = taken
        .iter()
        .filter(|b| b["event"] == "on_failure")
        .collect();
    assert_eq!(killed.len(), 1);
    assert_eq!(killed[0]["outcome"], "crashed");
    assert_eq!(killed[0]["run_id"], taken[0]["run_id"]);
    // And never again.
    let _ = project.run_json(&[]);
    let words = words(&recorder.taken());
    assert_eq!(words.iter().filter(|word| *word == "on_failure").count(), 1);
}

#[test]
fn two_processes_at_once_deliver_once() {
    // What waits is of earlier runs; both processes find it.
    let recorder = Recorder::start(vec![Reply::Status(500); 50]);
    let project = project(&recorder, "on_success", "0", GOOD).variable("ODIBI_ALERTS_WAIT", "0s");
    for _ in 0..3 {
        assert_eq!(project.run_json(&[]).0, 0);
    }
    recorder.heal();
    let flush = || {
        Command::new(support::binary())
            .args(["alerts", "flush"])
            .current_dir(project.path(""))
            .env("HOOK", recorder.url(CANARY))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [flush(), flush()];
    for one in &mut both {
        one.wait().unwrap();
    }
    let taken = recorder.taken();
    let ids: std::collections::BTreeSet<&String> =
        taken.iter().map(|r| &r.headers["webhook-id"]).collect();
    assert_eq!((taken.len(), ids.len()), (3, 3));
}

#[test]
fn channels_are_tried_without_a_run() {
    let recorder = Recorder::start([Reply::Status(200), Reply::Status(403)]);
    let project = project(&recorder, "on_success", "0", GOOD);
    let tried = project.odibi(&["alerts", "test"]).exits(0);
    assert_eq!(
        tried.stdout,
        "ok      hook [webhook]: it took the message\n"
    );
    let body = &bodies(&recorder.taken())[0];
    assert_eq!(
        (&body["test"], &body["project"]),
        (&true.into(), &"shop".into())
    );
    let refused = project
        .odibi(&["alerts", "test", "--channel", "hook"])
        .exits(3);
    assert!(
        refused.stdout.contains("it answered 403"),
        "{}",
        refused.stdout
    );
    let unknown = project
        .odibi(&["alerts", "test", "--channel", "x"])
        .exits(3);
    assert!(
        unknown.stderr.contains("use one of: `hook`"),
        "{}",
        unknown.stderr
    );
    // Nothing is left of it.
    let listed = project.odibi(&["alerts", "list"]).exits(0);
    assert!(listed.stderr.contains("no alerts"), "{}", listed.stderr);
}

#[test]
fn lineage_and_telemetry_reach_their_servers_and_never_fail_a_run() {
    let recorder = Recorder::start([]);
    let yaml = YAML.split("alerts:").next().unwrap().to_owned()
        + "lineage: {url: '${SERVER}', namespace: warehouse, api_key: '${SERVER}'}\n"
        + "telemetry: {endpoint: '${SERVER}'}\n"
        + &YAML[YAML.find("pipelines:").unwrap()..];
    let project = Project::with(&yaml)
        .file("orders.csv", GOOD)
        .variable("SERVER", &recorder.url(CANARY));
    let good = project.odibi(&["run"]).exits(0);
    assert!(!good.stderr.contains("warning"), "{}", good.stderr);
    let paths: Vec<String> = recorder.taken().iter().map(|r| r.path.clone()).collect();
    let count = |end: &str| paths.iter().filter(|path| path.ends_with(end)).count();
    // The pipeline and its node, each begins and ends.
    assert_eq!(count("/api/v1/lineage"), 4, "{paths:?}");
    assert_eq!(
        (count("/v1/traces"), count("/v1/metrics")),
        (1, 1),
        "{paths:?}"
    );
    recorder.then(vec![Reply::Status(403); 20]);
    let bad = project.odibi(&["run"]).exits(0);
    for code in ["lineage: 0 of 4", "telemetry: the traces"] {
        assert!(bad.stderr.contains(code), "{}", bad.stderr);
    }
    check_secret(&project, &[&bad.stdout, &bad.stderr]);
}

#[test]
fn lineage_is_added_to_a_file_and_never_fails_a_run() {
    let recorder = Recorder::start([]);
    let yaml = |file: &str| {
        YAML.split("alerts:").next().unwrap().to_owned()
            + &format!("lineage: {{file: {file}, namespace: warehouse}}\n")
            + &YAML[YAML.find("pipelines:").unwrap()..]
    };
    let project = Project::with(&yaml("told/lineage.jsonl"))
        .file("orders.csv", GOOD)
        // The project says where its events go.
        .variable("OPENLINEAGE_URL", &recorder.url(CANARY));
    let run = |number: usize| {
        let said = project.odibi(&["run"]).exits(0);
        assert!(!said.stderr.contains("warning"), "{}", said.stderr);
        let text = project.text("told/lineage.jsonl");
        let events: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        // The pipeline and its node, each begins and ends.
        assert_eq!(events.len(), 4 * number, "{text}");
        assert!(text.ends_with('\n'), "{text}");
        text
    };
    run(1);
    let text = run(2);
    assert!(text.contains("\"namespace\":\"warehouse\""), "{text}");
    let judged = support::run_python("lineage_events.py", &[&project.path("told/lineage.jsonl")]);
    assert_eq!(judged.trim(), "8");
    // A line without its end is ended; what a killed process has left of one is taken away.
    let whole = text.trim_end();
    let project = &project;
    let put = |text: String| std::fs::write(project.path("told/lineage.jsonl"), text).unwrap();
    put(whole.to_owned());
    run(3);
    let line = text.lines().next().unwrap();
    put(format!("{text}{}", &line[..line.len() / 2]));
    let found = run(3);
    assert!(found.starts_with(&text), "{found}");
    assert_eq!(recorder.recorded().len(), 0);
    // A directory is no file, nor is there one below a file.
    for file in ["told", "orders.csv/x"] {
        std::fs::write(project.path("odibi.yaml"), yaml(file)).unwrap();
        let bad = project.odibi(&["run"]).exits(0);
        let told = bad.stderr.contains("lineage: no event was added to ");
        assert!(told, "{}", bad.stderr);
    }
}
