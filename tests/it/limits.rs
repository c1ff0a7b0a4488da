//! `limits:` from the YAML to the failure that names them: the whole way through the CLI.

use expect_test::expect;
use serde_json::{Value, json};
use support::Project;

/// The same greed three times: under the project's limits, the plugin's and the node's. And honest work beside it.
const YAML: &str = r"project: p
connections: {here: {type: local, base_path: .}}
limits: {memory: 8MiB}
plugins:
  evil: {path: evil.wasm, limits: {memory: 16MiB, emits: 100}}
pipelines:
  - pipeline: p
    nodes:
      - name: by_plugin
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: evil/memory}]}
      - name: by_node
        read: {connection: here, format: csv, path: in.csv}
        limits: {memory: 32MiB}
        transform: {steps: [{operation: evil/copy}, {operation: evil/memory}]}
      - name: looping
        read: {connection: here, format: csv, path: in.csv}
        limits: {cpu: 100ms}
        transform: {steps: [{operation: evil/spin_in_process}]}
      - name: emitting
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: evil/copy_forever}]}
      - name: honest
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: evil/copy}]}
        write: {connection: here, format: csv, path: out.csv}
";

fn project() -> Project {
    Project::with(YAML)
        .file("in.csv", "id,name\n1,Zürich\n")
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

#[test]
fn the_nearest_limit_holds_and_the_failure_names_it() {
    let project = project();
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1);
    let nodes = result["pipelines"][0]["story"]["nodes"].as_array().unwrap();
    let failure =
        |name: &str| -> &Value { &nodes.iter().find(|n| n["name"] == name).unwrap()["failure"] };
    let check = |name: &str, which: &str, limit: u64, key: &str, hint: &str| {
        let failure = failure(name);
        assert_eq!(failure["limit"]["which"], which, "{failure:#}");
        assert_eq!(failure["limit"]["limit"], limit, "{failure:#}");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains(&format!("its limit `{key}`")), "{message}");
        let hints = failure["hints"].as_array().unwrap();
        let whole = format!("set `limits: {{{hint}}}` on the node or its plugin to allow more");
        assert!(hints.contains(&json!(whole)), "{whole}: {failure:#}");
    };
    let mib = |n: u64| n << 20;
    check(
        "by_plugin",
        "guest-memory",
        mib(16),
        "memory",
        "memory: 32MiB",
    );
    check(
        "by_node",
        "guest-memory",
        mib(32),
        "memory",
        "memory: 64MiB",
    );
    check("looping", "guest-cpu", 100, "cpu", "cpu: 200ms");
    check("emitting", "emits", 100, "emits", "emits: 200");
    assert_eq!(failure("honest"), &Value::Null);
    assert_eq!(project.text("out.csv"), project.text("in.csv"));
}

/// Components that come with odibi have no entry under `plugins:`.
#[test]
fn limits_of_the_project_hold_for_its_own_operations() {
    let yaml = r"project: p
connections: {here: {type: local, base_path: .}}
limits: {batch_rows: 1}
pipelines:
  - pipeline: p
    nodes:
      - name: a
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: clean_text, params: {columns: [b], case: upper}}]}
";
    let project = Project::with(yaml).file("in.csv", "a,b\n1,x\n2,y\n");
    let run = project.odibi(&["run"]).exits(1);
    let said = "asked for 2, limit 1";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert!(run.stderr.contains("limit/batch-output"), "{}", run.stderr);
}

#[test]
fn plan_shows_limits_that_are_not_the_default() {
    let project = project();
    let text = project.odibi(&["plan", "-v", "--node", "by_node"]).exits(0);
    expect![[r#"
        pipeline p
          by_node
            reads   df = here:in.csv (csv)
            step    evil/copy {}
            limits  memory: 32MiB, emits: 100
            gives   id Int64, name Utf8
            step    evil/memory {}
            limits  memory: 32MiB, emits: 100
            gives   id Int64, name Utf8
            columns id Int64, name Utf8
    "#]]
    .assert_eq(&text.stdout);
    let brief = project.odibi(&["plan", "--node", "by_node"]).exits(0);
    assert!(!brief.stdout.contains("limits"), "{}", brief.stdout);
    let plan = project.odibi(&["plan", "--output", "json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(
        plan["nodes"][2]["steps"][0]["limits"],
        json!({"memory": 16 << 20, "emits": 100, "cpu": 100})
    );
}

#[test]
fn every_limit_is_listed_with_its_default_and_range() {
    let project = project();
    let text = project.odibi(&["list", "limits"]).exits(0).stdout;
    let first = text.lines().next().unwrap_or_default();
    expect!["memory             256MiB  1MiB..4GiB          linear memory of one instance"]
        .assert_eq(first);
    let listed = project.odibi(&["list", "limits", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed.exits(0).stdout).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), text.lines().count());
    assert_eq!(
        listed[1],
        json!({"name": "cpu", "unit": "milliseconds", "default": 30_000, "min": 10,
            "max": 86_400_000, "summary": "CPU time of one call into the plugin"})
    );
}

#[test]
fn a_limit_that_cannot_be_is_an_error_at_its_place() {
    let project = Project::with(&YAML.replace("{cpu: 100ms}", "{cpu: 100MiB}"));
    let checked = project.odibi(&["validate"]).exits(78);
    assert!(
        checked.stderr.contains("config/bad-limit") && checked.stderr.contains("odibi.yaml:18:23"),
        "{}",
        checked.stderr
    );
}
