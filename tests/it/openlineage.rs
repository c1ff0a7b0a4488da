//! Lineage events, by the classes that OpenLineage publishes: of runs that end well, badly, by a signal, or not at all.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use support::Project;
use support::recorder::Recorder;

use crate::running::Running;

/// `load` renames a column and changes another, `report` reads its result, `slow` stands beside them.
const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
story: {connection: here}
lineage: {url: \"URL\"}
pipelines:
  - pipeline: orders
    description: What was sold.
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
        transform:
          steps:
            - {operation: rename_columns, params: {mapping: {city: town}}}
            - {operation: trim_whitespace, params: {columns: [town]}}
        write: {connection: here, format: parquet, path: load.parquet}
      - name: report
        description: As it is printed.
        inputs: {df: load}
        transform:
          steps:
            - {operation: rename_columns, params: {mapping: {town: place}}}
        write: {connection: here, format: csv, path: report.csv}
      - name: slow
        read: {connection: here, format: csv, path: many.csv}
        write: {connection: here, format: csv, path: slow.csv}
";
const ORDERS: &str = "id,city\n1, Bern\n2,Basel \n3,Bern\n";

/// So many rows that a run of them is always met at work.
fn many() -> String {
    let rows = (0..400_000).map(|n| format!("{n},city of number {n}\n"));
    rows.fold("id,city\n".to_owned(), |all, row| all + &row)
}

/// Whether the judge takes the events of some files, and what it says.
fn judge(files: &[PathBuf]) -> (bool, String) {
    let output = Command::new(support::python())
        .arg(support::root().join("tests/python/lineage_events.py"))
        .args(files)
        .output()
        .unwrap();
    let (said, good) = match output.status.success() {
        true => (output.stdout, true),
        false => (output.stderr, false),
    };
    (good, String::from_utf8_lossy(&said).into_owned())
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn word<'a>(event: &'a Value, at: &str) -> &'a str {
    event.pointer(at).unwrap().as_str().unwrap()
}

/// Jobs and how they ended, in order.
fn ends(events: &[Value]) -> Vec<(&str, &str)> {
    let all = events.iter();
    let all = all.map(|event| (word(event, "/job/name"), word(event, "/eventType")));
    all.filter(|(_, state)| *state != "START").collect()
}

/// Runs the project in a process of its own until `slow` is at work.
fn at_work(project: &Project) -> Running {
    let mut run = Running::start(project, &[], &support::cache_dir(), &[]);
    run.until("orders.slow", "started");
    run
}

/// The run that began last, by its UUIDv7.
fn newest(project: &Project) -> String {
    let runs = std::fs::read_dir(project.path(".odibi/runs")).unwrap();
    let names = runs.map(|run| run.unwrap().file_name().into_string().unwrap());
    names.max().unwrap()
}

#[test]
fn events_are_those_of_the_published_specification_however_a_run_ends() {
    let recorder = Recorder::start([]);
    let project = Project::with(&YAML.replace("URL", &recorder.url("")))
        .file("orders.csv", ORDERS)
        .file("many.csv", many());
    let run = at_work(&project);
    run.signal(Signal::TERM);
    assert_eq!(run.end().0, Some(143));
    let cancelled = newest(&project);
    assert!(at_work(&project).kill(), "it had ended already");
    let crashed = newest(&project);
    let project = project.file("many.csv", ORDERS);
    let (code, good) = project.run_json(&["--workers", "1"]);
    assert_eq!(code, 0, "{good:#}");
    let good = newest(&project);
    let project = project.file("orders.csv", "id,id\n1,2\n");
    assert_eq!(project.run_json(&["--workers", "1"]).0, 1);
    let bad = newest(&project);

    let (load, report, slow) = ("orders.load", "orders.report", "orders.slow");
    let complete = [load, report, slow, "orders"].map(|job| (job, "COMPLETE"));
    let stopped = [
        (load, "COMPLETE"),
        (report, "COMPLETE"),
        (slow, "ABORT"),
        ("orders", "ABORT"),
    ];
    let failed = [(load, "FAIL"), (slow, "COMPLETE"), ("orders", "FAIL")];
    let sent = recorder.taken();
    let sent: Vec<Value> = sent
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    let mut files = Vec::new();
    let mut count = 0;
    for (run, name, expect) in [
        (&cancelled, "cancelled.ndjson", &stopped[..]),
        (&crashed, "crashed.ndjson", &stopped[..]),
        (&good, "good.ndjson", &complete[..]),
        (&bad, "bad.ndjson", &failed[..]),
    ] {
        let _ = project.odibi(&["story", "export", run, name]).exits(0);
        let events = lines(&project.text(name));
        assert_eq!(ends(&events), expect, "{name}");
        count += events.len();
        files.push(project.path(name));
        // The server has got the same, each once.
        for event in &events {
            let same = sent.iter().filter(|sent| *sent == event).count();
            assert_eq!(same, 1, "{name}: {event:#}");
        }
    }
    assert_eq!(sent.len(), count);
    assert_eq!(judge(&files), (true, format!("{count}\n")));
    columns(&lines(&project.text("good.ndjson")));
    the_judge_sees_what_is_wrong(&project, "good.ndjson", "COMPLETE");
    the_judge_sees_what_is_wrong(&project, "cancelled.ndjson", "ABORT");
}

/// Columns that pass are told apart from those that are made, through steps and from node to node.
fn columns(events: &[Value]) {
    let origin = |job: &str, column: &str| {
        let found = events
            .iter()
            .find(|e| e["job"]["name"] == job && e["eventType"] == "COMPLETE");
        let facets = &found.unwrap()["outputs"][0]["facets"];
        let fields = &facets["columnLineage"]["fields"][column]["inputFields"];
        let one = |field: &Value| {
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            let name = format!("{}/{}", word(&field["name"]), word(&field["field"]));
            (name, word(&field["transformations"][0]["subtype"]))
        };
        let fields = fields
            .as_array()
            .unwrap_or_else(|| panic!("{job}: {facets:#}"));
        fields.iter().map(one).collect::<Vec<_>>()
    };
    let of = |name: &str, subtype: &str| (name.to_owned(), subtype.to_owned());
    assert_eq!(
        origin("orders.load", "id"),
        [of("orders.csv/id", "IDENTITY")]
    );
    let town = origin("orders.load", "town");
    assert!(
        town.contains(&of("orders.csv/city", "TRANSFORMATION")),
        "{town:?}"
    );
    assert_eq!(
        origin("orders.report", "place"),
        [of("orders.load/town", "IDENTITY")]
    );
    assert_eq!(
        origin("orders.slow", "city"),
        [of("many.csv/city", "IDENTITY")]
    );
}

#[track_caller]
fn the_judge_sees_what_is_wrong(project: &Project, name: &str, state: &str) {
    let text = project.text(name);
    let state = format!("\"eventType\":\"{state}\"");
    for (right, wrong) in [
        ("\"runId\"", "\"runid\""),
        ("\"eventType\":\"START\"", "\"eventType\":\"BEGIN\""),
        (state.as_str(), "\"eventType\":\"ENDED\""),
        ("\"jobType\"", "\"schema\""),
        ("\"processingType\":", "\"kind\":"),
        ("\"inputFields\":", "\"fields\":"),
        ("\"subtype\":", "\"kind\":"),
    ] {
        assert!(text.contains(right), "{right}");
        let path = project.path("wrong.ndjson");
        std::fs::write(&path, text.replace(right, wrong)).unwrap();
        assert!(!judge(&[path]).0, "{wrong}");
    }
}
