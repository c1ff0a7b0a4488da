//! What a person or a script sees: exit code, stdout and stderr of each command.

use expect_test::expect;
use serde_json::Value;
use support::Project;

const GOOD: &str = r"project: shop
connections:
  here: {type: local, base_path: .}
story: {connection: here, path: stories}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        tags: [raw]
        read: {connection: here, format: csv, path: orders.csv}
      - name: clean
        depends_on: [load]
        transform:
          steps:
            - operation: clean_text
              params: {columns: [city], case: upper}
        write: {connection: here, format: csv, path: out/clean.csv}
      - name: cities
        inputs: {df: clean}
        transform:
          steps:
            - {operation: select_columns, params: {columns: [city]}}
            - {operation: distinct}
        write: {connection: here, format: json, path: out/cities.jsonl}
";
const ORDERS: &str = "id,city\n1, Bern\n2,Basel \n3,bern\n";

fn good() -> Project {
    Project::with(GOOD).file("orders.csv", ORDERS)
}

#[test]
fn run_prints_state_changes_on_stderr_and_the_summary_on_stdout() {
    let project = good();
    let run = project.odibi(&["run", "--workers", "1"]).exits(0);
    assert!(run.stdout.contains("orders"), "{}", run.stdout);
    assert!(run.stdout.contains("story: "), "{}", run.stdout);
    let lines: Vec<&str> = run
        .stderr
        .lines()
        .filter(|l| !l.starts_with("compil"))
        .collect();
    let states: Vec<Vec<&str>> = lines
        .iter()
        .map(|l| l.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        states,
        [
            ["orders.load", "started"],
            ["orders.load", "succeeded"],
            ["orders.clean", "started"],
            ["orders.clean", "succeeded"],
            ["orders.cities", "started"],
            ["orders.cities", "succeeded"]
        ]
    );
    assert_eq!(
        project.text("out/clean.csv"),
        "id,city\n1,BERN\n2,BASEL\n3,BERN\n"
    );
    let mut cities: Vec<String> = project
        .text("out/cities.jsonl")
        .lines()
        .map(str::to_owned)
        .collect();
    cities.sort();
    assert_eq!(cities, [r#"{"city":"BASEL"}"#, r#"{"city":"BERN"}"#]);
}

#[test]
fn run_as_json_holds_the_story_and_nothing_else_is_on_stdout() {
    let project = good();
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0);
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["nodes"]["succeeded"], 3);
    let story = &result["pipelines"][0]["story"];
    let clean = story["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|n| n["name"] == "clean")
        .unwrap();
    assert_eq!(clean["facts"]["rows_in"], 3, "{clean:#}");
    assert_eq!(clean["facts"]["rows_written"], 3);
    let operation = &clean["facts"]["operations"][0];
    assert_eq!(operation["operation"]["plugin"], "columns");
    assert_eq!(operation["operation"]["digest"].as_str().unwrap().len(), 64);
    assert!(operation["ledger"]["memory_bytes_peak"].as_u64().unwrap() > 0);
    assert!(operation["ledger"]["guest_cpu_ns"].as_u64().unwrap() > 0);
    let events = std::fs::read_to_string(result["events"].as_str().unwrap()).unwrap();
    let kinds: Vec<String> = events
        .lines()
        .map(|l| {
            serde_json::from_str::<Value>(l).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("run_started"));
    assert!(kinds.iter().any(|k| k == "story_written"));
}

#[test]
fn quiet_run_prints_only_the_result() {
    let run = good().odibi(&["run", "-q"]).exits(0);
    assert_eq!(run.stderr, "");
}

#[test]
fn selection_pulls_in_what_a_node_needs() {
    let project = good();
    let (code, result) = project.run_json(&["--node", "clean"]);
    assert_eq!((code, &result["nodes"]["succeeded"]), (0, &Value::from(2)));
    assert!(!project.path("out/cities.jsonl").exists());
    let (code, result) = project.run_json(&["--tag", "raw"]);
    assert_eq!((code, &result["nodes"]["succeeded"]), (0, &Value::from(1)));
}

#[test]
fn nothing_selected_is_an_exit_code_of_its_own() {
    let yaml = "project: p\npipelines: [{pipeline: p, nodes: [{name: a, enabled: false, read: {connection: c, format: csv, path: a.csv}}]}]\nconnections: {c: {type: local}}\n";
    let _ = Project::with(yaml).odibi(&["run"]).exits(4);
}

#[test]
fn usage_is_2_and_help_names_the_exit_codes() {
    let project = Project::new();
    let _ = project.odibi(&["runn"]).exits(2);
    let help = project.odibi(&["--help"]).exits(0);
    assert!(
        help.stdout.contains("78  the project is invalid"),
        "{}",
        help.stdout
    );
    let version = project.odibi(&["--version"]).exits(0);
    assert_eq!(
        version.stdout,
        format!("odibi {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn no_project_file_says_what_was_looked_for() {
    let run = Project::new().odibi(&["run"]).exits(2);
    assert!(run.stderr.contains("`odibi.yaml`"), "{}", run.stderr);
}

#[test]
fn validate_shows_all_faults_with_place_snippet_and_hint() {
    let yaml = GOOD
        .replace("depends_on: [load]", "depends_on: [laod]")
        .replace("distinct}", "distnct}");
    let invocation = Project::with(&yaml).odibi(&["validate"]).exits(78);
    expect![[r#"
        exit: 78
        --- stdout
        --- stderr
        error[config/unknown-node]: node `clean` depends on `laod`, which does not exist
          --> odibi.yaml:12:22
           |
        12 |         depends_on: [laod]
           |                      ^^^^ not a node of pipeline `orders`
           |
        hint: did you mean `load`?

        error[config/unknown-operation]: operation `distnct` does not exist
          --> odibi.yaml:23:27
           |
        23 |             - {operation: distnct}
           |                           ^^^^^^^
           |
        hint: did you mean `distinct`?

        invalid project: 2 errors; no node was run
    "#]]
    .assert_eq(&invocation.snapshot());
}

#[test]
fn plan_lists_what_would_happen() {
    let invocation = good().odibi(&["plan"]);
    expect![[r#"
        exit: 0
        --- stdout
        pipeline orders
          load
            reads   df = here:orders.csv (csv)
            columns id Int64, city Utf8
          clean
            reads   df = node orders.load
            step    clean_text {"columns":["city"],"case":"upper"}
            columns id Int64, city Utf8
            writes  here:out/clean.csv (csv, overwrite)
          cities
            reads   df = node orders.clean
            step    select_columns {"columns":["city"]}
            step    distinct {}
            columns city Utf8
            writes  here:out/cities.jsonl (json lines, overwrite)
        --- stderr
    "#]]
    .assert_eq(&invocation.snapshot());
}

#[test]
fn failing_node_skips_its_dependents_only() {
    let yaml = GOOD.replace("path: out/clean.csv}", "path: out/clean.csv}\n      - name: lone\n        read: {connection: here, format: csv, path: orders.csv}\n        write: {connection: here, format: parquet, path: out/lone.parquet}");
    let project = Project::with(&yaml).file("orders.csv", "id,city\n1,Bern\n2\n");
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1);
    // `load` and `lone` read the broken file, `clean` and `cities` wait for `load`.
    assert_eq!(result["nodes"]["failed"], 2, "{result:#}");
    assert_eq!(result["nodes"]["skipped"], 2);
}

#[test]
fn explain_prints_the_paragraph_of_a_code_as_pasted() {
    let project = Project::new();
    let explained = project
        .odibi(&["explain", "error[config/unknown-node]:"])
        .exits(0);
    assert!(
        explained.stdout.starts_with("config/unknown-node\n\n"),
        "{}",
        explained.stdout
    );
    let unknown = project.odibi(&["explain", "config/unknown-nod"]).exits(2);
    assert!(
        unknown
            .stderr
            .contains("did you mean `config/unknown-node`?"),
        "{}",
        unknown.stderr
    );
    let all = project.odibi(&["explain"]).exits(0);
    for code in all.stdout.lines() {
        let page = project.odibi(&["explain", code]).exits(0);
        assert!(
            page.stdout.len() > code.len() + 40,
            "`{code}` deserves more than this: {}",
            page.stdout
        );
    }
}

#[test]
fn list_and_show_tell_params_and_examples() {
    let project = Project::new();
    let listed = project.odibi(&["list", "operations"]).exits(0);
    assert!(
        listed.stdout.lines().any(|l| l.starts_with("deduplicate ")),
        "{}",
        listed.stdout
    );
    let shown = project.odibi(&["show", "deduplicate"]).exits(0);
    assert!(
        shown.stdout.contains("keys") && shown.stdout.contains("required"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("Example"), "{}", shown.stdout);
    let unknown = project.odibi(&["show", "dedupe"]).exits(2);
    assert!(unknown.stderr.contains("hint:"), "{}", unknown.stderr);
}

#[test]
fn scratch_of_a_killed_run_is_removed_and_that_of_a_running_one_is_not() {
    let project = good()
        .file(".odibi/scratch/killed/lock", "")
        .file(".odibi/scratch/killed/spool", "much")
        .file(".odibi/scratch/running/lock", "");
    let held = std::fs::File::open(project.path(".odibi/scratch/running/lock")).unwrap();
    held.lock().unwrap();
    let _ = project.odibi(&["run", "-q"]).exits(0);
    assert!(!project.path(".odibi/scratch/killed").exists());
    assert!(project.path(".odibi/scratch/running").exists());
    let left = std::fs::read_dir(project.path(".odibi/scratch"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "the run left its own");
}

/// In process it would put its limits on whoever calls it.
#[test]
fn compiling_is_hidden_and_needs_a_process_of_its_own() {
    let project = Project::new();
    let help = project.odibi(&["--help"]).exits(0).stdout;
    assert!(!help.contains("compile-component"), "{help}");
    let refused = project.odibi(&["compile-component"]).exits(2).stderr;
    assert!(refused.contains("process of its own"), "{refused}");
}
