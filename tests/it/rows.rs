//! Rows that a sandboxed operation fails on: named where the node fails, set aside where it says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use odibi_engine::{DataEngine, EngineOptions};
use odibi_plan::plan::PlannedNode;
use odibi_plan::{Operations, Selection, Sources};
use odibi_run::port::{Attempt, Cancel, Engine as _};
use odibi_sandbox::{Compiler, Limits, Options, Sandbox};
use odibi_story::event::NodeFacts;
use odibi_story::failure::{Failure, FailureClass};
use serde_json::{Value, json};
use support::Project;

/// Rows 2, 5 and 6 are unlucky.
const TABLE: &str = "id,name\n1,a\n13,b\n2,\n,d\n13,\n13,f\n3,g\n";
const LUCKY: &str = "id,name\n1,a\n2,\n,d\n3,g\n";

const HEAD: &str = r"project: p
connections: {here: {type: local, base_path: .}}
plugins: {evil: {path: evil.wasm}}
story: {connection: here, path: stories}
pipelines:
  - pipeline: p
    nodes:
";

/// A node that runs an attack; with a quarantine in this format, or failing.
fn node(attack: &str, name: &str, quarantine: Option<&str>) -> String {
    let aside = quarantine.map_or_else(String::new, |format| {
        format!("        on_row_error: quarantine\n        quarantine: {{connection: here, path: rejects/{name}, format: {format}}}\n")
    });
    format!(
        "      - name: {name}\n        read: {{connection: here, format: csv, path: in.csv}}\n        transform: {{steps: [{{operation: evil/{attack}}}]}}\n        write: {{connection: here, format: csv, path: {name}.csv}}\n{aside}"
    )
}

fn project(nodes: &[String]) -> Project {
    Project::with(&format!("{HEAD}{}", nodes.concat()))
        .file("in.csv", TABLE)
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

fn story_node<'a>(result: &'a Value, name: &str) -> &'a Value {
    let nodes = result["pipelines"][0]["story"]["nodes"].as_array().unwrap();
    nodes.iter().find(|n| n["name"] == name).unwrap()
}

fn story_markdown(project: &Project, result: &Value) -> String {
    let paths = result["pipelines"][0]["story_paths"].as_array().unwrap();
    let path = paths
        .iter()
        .filter_map(Value::as_str)
        .find(|p| p.ends_with(".md"));
    project.text(path.unwrap())
}

/// Files of a directory, sorted by name.
fn files(project: &Project, path: &str) -> Vec<std::path::PathBuf> {
    let Ok(dir) = std::fs::read_dir(project.path(path)) else {
        return Vec::new();
    };
    let mut files: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn bad_rows_go_to_the_quarantine_and_the_others_to_the_target() {
    let attacks = [
        ("row_panics", "trap/unreachable", "the plugin crashed"),
        ("row_fails", "guest/data", "a row is unlucky"),
        ("row_hogs_memory", "limit/guest-memory", "memory"),
    ];
    let project = project(&attacks.map(|(attack, ..)| node(attack, attack, Some("csv"))));
    let (code, result) = project.run_json(&["--workers", "2"]);
    assert_eq!(code, 0, "{result:#}");
    let run = result["run_id"].as_str().unwrap();
    for (attack, code, message) in attacks {
        assert_eq!(project.text(&format!("{attack}.csv")), LUCKY);
        let facts = &story_node(&result, attack)["facts"];
        assert_eq!(
            (
                &facts["rows_in"],
                &facts["rows_out"],
                &facts["rows_quarantined"]
            ),
            (&json!(7), &json!(4), &json!(3))
        );
        let reason = &facts["quarantine"][0]["reasons"][0];
        assert_eq!(
            (&reason["code"], &reason["rows_first"]),
            (&json!(code), &json!([2, 5, 6]))
        );
        let rejected = files(&project, &format!("rejects/{attack}"));
        assert_eq!(rejected.len(), 1, "{rejected:?}");
        assert!(
            rejected[0].ends_with(format!("{run}-step-1.csv")),
            "{rejected:?}"
        );
        let text = std::fs::read_to_string(&rejected[0]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "id,name,_rejection_reason,_rejected_at,_source_batch_id,_row"
        );
        for (line, (row, number)) in
            lines[1..]
                .iter()
                .zip([("13,b,", 2), ("13,,", 5), ("13,f,", 6)])
        {
            assert!(line.starts_with(row), "{line}");
            assert!(line.contains(code) && line.contains(message), "{line}");
            assert!(line.ends_with(&format!(",{run},{number}")), "{line}");
        }
    }
    let story = story_markdown(&project, &result);
    assert!(story.contains("#### Quarantine"), "{story}");
    assert!(story.contains("2, 5, 6"), "{story}");
    let summary = project.odibi(&["run", "-q"]).exits(0);
    assert!(
        summary
            .stdout
            .contains("3 rows quarantined: here:rejects/row_fails/"),
        "{}",
        summary.stdout
    );
    assert_eq!(
        files(&project, "rejects/row_fails").len(),
        2,
        "a file for each run"
    );
    let project = project.file("in.csv", LUCKY);
    let _ = project.odibi(&["run", "-q"]).exits(0);
    assert_eq!(
        files(&project, "rejects/row_fails").len(),
        2,
        "and none for a run without bad rows"
    );
}

#[test]
fn a_failing_node_names_the_rows_and_leaves_nothing() {
    let project = project(&[node("row_panics", "x", None)]);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1);
    let failure = &story_node(&result, "x")["failure"];
    assert_eq!(failure["code"], "trap/unreachable");
    assert_eq!(
        failure["causes"][0],
        "3 rows of the node's input fail alone: 2, 5, 6"
    );
    assert!(!project.path("x.csv").exists());
    let plan = project.odibi(&["plan"]).exits(0);
    assert!(!plan.stdout.contains("rejects"), "{}", plan.stdout);
}

#[test]
fn a_quarantine_is_parquet_that_others_can_read() {
    let project = project(&[node("row_fails", "x", Some("parquet"))]);
    let plan = project.odibi(&["plan"]).exits(0);
    assert!(
        plan.stdout
            .contains("    rejects here:rejects/x (parquet, a file for each run)\n"),
        "{}",
        plan.stdout
    );
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    let rejected = files(&project, "rejects/x");
    let read: Value =
        serde_json::from_str(&support::run_python("read_table.py", &[&rejected[0]])).unwrap();
    assert_eq!(
        read["types"],
        json!({
            "id": "int64", "name": "string", "_rejection_reason": "string",
            "_rejected_at": "timestamp[us, tz=UTC]", "_source_batch_id": "string", "_row": "int64"
        })
    );
    let rows = read["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows[1][1], &rows[1][2], &rows[1][5]),
        (
            &Value::Null,
            &json!("guest/data: a row is unlucky"),
            &json!("5")
        )
    );
}

/// Stages and publishes the one node of a project, in a sandbox that loses patience soon.
fn run_impatiently(directory: &Path) -> Result<NodeFacts, Failure> {
    let text = std::fs::read_to_string(directory.join("odibi.yaml")).unwrap();
    let mut sources = Sources::default();
    let (project, _) = odibi_plan::load("odibi.yaml", &text, &|_| None, &mut sources);
    let sandbox = Sandbox::new(Options {
        store_dir: Some(support::cache_dir()),
        project_dir: directory.to_owned(),
        first_party: Vec::new(),
        plugins: BTreeMap::from([("evil".to_owned(), "evil.wasm".into())]),
        grants: std::collections::BTreeMap::default(),
        limits: Limits {
            call_cpu_ms_max: 60,
            ..Limits::default()
        },
        plugin_limits: BTreeMap::new(),
        on_compile: None,
        capture: None,
        compiler: Compiler::InProcess,
    })
    .unwrap();
    let mut operations = Operations::default();
    let manifest = sandbox.manifest("evil").unwrap();
    operations.plugins.insert("evil".to_owned(), manifest);
    let (plan, faults) = odibi_plan::plan::plan(&project, &Selection::all(), &operations);
    assert_eq!(faults, Vec::new());
    let node: &PlannedNode = &plan.nodes[0];
    let options = EngineOptions::new(directory, directory.join("scratch"));
    let engine = DataEngine::new(options).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let staged = engine
            .stage(Attempt {
                node,
                run_id: "run",
                slot: "run",
                attempt: 1,
                logical_time: Timestamp::UNIX_EPOCH,
                sample_rows_max: 0,
                transforms: Arc::new(sandbox.clone()),
                progress: Arc::default(),
                cancel: Cancel::default(),
            })
            .await?;
        engine.publish(staged.token).await?;
        Ok(staged.facts)
    })
}

#[test]
fn rows_that_never_end_are_found_within_their_limit() {
    let quarantining = project(&[node("row_spins", "x", Some("csv"))]);
    let directory = quarantining.path("");
    let facts = run_impatiently(&directory).unwrap();
    assert_eq!(quarantining.text("x.csv"), LUCKY);
    assert_eq!((facts.rows_out, facts.rows_quarantined), (4, 3));
    assert_eq!(facts.quarantine[0].reasons[0].code, "limit/guest-cpu");
    let ledger = &facts.operations[0].ledger;
    assert_eq!((ledger.rows_in, ledger.rows_out), (4, 4));

    let failing = project(&[node("row_spins", "x", None)]);
    let failure = run_impatiently(&failing.path("")).unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Limit, "limit/guest-cpu")
    );
    assert_eq!(
        failure.causes[0],
        "3 rows of the node's input fail alone: 2, 5, 6"
    );
    assert!(!failing.path("x.csv").exists());
}
