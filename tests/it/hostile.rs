//! A plugin that misbehaves takes its own node down and nothing else: the whole way through the CLI.

use serde_json::Value;
use support::Project;

/// One node for each attack beside an honest chain; returns the story's nodes.
fn run_beside_honest_nodes(attacks: &[&str]) -> (u8, Vec<Value>) {
    let mut yaml = String::from(
        r"project: p
connections: {here: {type: local, base_path: .}}
plugins: {evil: {path: evil.wasm}}
story: {connection: here, path: stories}
pipelines:
  - pipeline: p
    nodes:
      - name: source
        read: {connection: here, format: csv, path: in.csv}
      - name: honest
        inputs: {df: source}
        transform: {steps: [{operation: evil/copy}]}
        write: {connection: here, format: csv, path: honest.csv}
",
    );
    for attack in attacks {
        yaml.push_str(&format!(
            "      - name: {attack}\n        inputs: {{df: source}}\n        transform: {{steps: [{{operation: evil/{attack}}}]}}\n        write: {{connection: here, format: csv, path: {attack}.csv}}\n      - name: after_{attack}\n        inputs: {{df: {attack}}}\n"
        ));
    }
    let project = Project::with(&yaml)
        .file("in.csv", "id,name\n1,Zürich\n2,Genève\n3,\n")
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap());
    let (code, result) = project.run_json(&[]);
    assert_eq!(
        project.text("honest.csv"),
        project.text("in.csv"),
        "the honest node did its work"
    );
    for attack in attacks {
        assert!(
            !project.path(&format!("{attack}.csv")).exists(),
            "`{attack}` wrote something"
        );
    }
    (
        code,
        result["pipelines"][0]["story"]["nodes"]
            .as_array()
            .unwrap()
            .clone(),
    )
}

#[track_caller]
fn check(expected: &[(&str, &str)]) {
    let attacks: Vec<&str> = expected.iter().map(|(attack, _)| *attack).collect();
    let (code, nodes) = run_beside_honest_nodes(&attacks);
    assert_eq!(code, 1);
    let node = |name: &str| {
        nodes
            .iter()
            .find(|n| n["name"] == name)
            .unwrap_or_else(|| panic!("no node {name}"))
    };
    assert_eq!(node("honest")["outcome"], "succeeded");
    for (attack, failure) in expected {
        assert_eq!(node(attack)["outcome"], "failed", "{attack}");
        assert_eq!(
            node(attack)["failure"]["code"],
            *failure,
            "{attack}: {:#}",
            node(attack)["failure"]
        );
        let place = node(attack)["failure"]["place"]["line"].as_u64();
        assert!(
            place.is_some(),
            "{attack} has no place: {:#}",
            node(attack)["failure"]
        );
        assert_eq!(
            node(&format!("after_{attack}"))["outcome"],
            "skipped",
            "after {attack}"
        );
    }
}

#[test]
fn crashes_end_as_traps() {
    check(&[
        ("panic", "trap/unreachable"),
        ("unreachable", "trap/unreachable"),
        ("exit_zero", "trap/exit"),
        ("recursion", "trap/stack-overflow"),
    ]);
}

#[test]
fn greed_ends_as_a_limit() {
    check(&[
        ("memory", "limit/guest-memory"),
        ("batch_output", "limit/batch-output"),
    ]);
}

/// Takes as long as the limit of CPU time of one call.
#[test]
fn endless_loop_ends_as_a_limit() {
    check(&[("spin_in_process", "limit/guest-cpu")]);
}

#[test]
fn lies_end_as_breaches_of_contract() {
    check(&[
        // The schema crosses once, in `plan`: what does not fit it later shows as bytes that do not fit.
        ("wrong_schema", "contract/ipc"),
        ("wrong_rows", "contract/rows"),
        ("picked_outside", "contract/rows"),
        ("kept_long", "contract/rows"),
        ("kept_rows", "contract/rows"),
        ("unknown_port", "contract/port"),
    ]);
}

#[test]
fn a_guest_that_asks_to_be_called_again_is_not_called_for_ever() {
    check(&[
        ("retry_now", "guest/transient"),
        ("retry_late", "guest/transient"),
    ]);
}

/// The hungry guest would be allowed 256 MiB; the run has less. What it held is free again for the honest ones.
#[test]
fn memory_of_all_guests_is_the_runs() {
    let yaml = r"project: p
connections: {here: {type: local, base_path: .}}
plugins: {evil: {path: evil.wasm}}
pipelines:
  - pipeline: p
    nodes:
      - name: hungry
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: evil/memory}]}
      - name: honest
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: evil/copy}]}
        write: {connection: here, format: csv, path: out.csv}
";
    let project = Project::with(yaml)
        .file("in.csv", "id,name\n1,Zürich\n")
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap());
    let run = project
        .odibi(&["run", "--memory", "64", "--workers", "1"])
        .exits(1);
    assert!(run.stderr.contains("limit/run-memory"), "{}", run.stderr);
    assert!(
        run.stderr.contains("of 64 MiB are held by plugins"),
        "{}",
        run.stderr
    );
    assert_eq!(project.text("out.csv"), project.text("in.csv"));
}
