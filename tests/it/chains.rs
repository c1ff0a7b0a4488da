//! SQL and operations that are SQL, one behind the other: one crossing, the same answer, and the step that fails is named.

use serde_json::Value;
use support::Project;

const PROJECT: &str = r#"
project: shop
connections: {here: {type: local, base_path: .}}
pipelines:
- pipeline: p
  nodes:
  - name: clean
    read: {connection: here, format: csv, path: in.csv}
    transform:
      steps:
      - SELECT id, trim(name) AS name, price, quantity FROM df WHERE quantity > 0
      - {operation: derive_columns, params: {derivations: {total: price * quantity}}}
      - {operation: filter_rows, params: {condition: "100 / (id - LIMIT) < 1000"}}
      - SELECT upper(name) AS name, total FROM df ORDER BY total
    write: {connection: here, format: csv, path: out.csv}
"#;
const IN: &str = "id,name,price,quantity\n1, ann ,2.5,4\n2,bob,9.9,0\n3,zoë,1.0,1\n";

fn project(limit: &str) -> Project {
    Project::with(&PROJECT.replace("LIMIT", limit)).file("in.csv", IN)
}

fn chained_to(result: &Value) -> Vec<Option<u64>> {
    let facts = &result["pipelines"][0]["story"]["nodes"][0]["facts"];
    let operations = facts["operations"].as_array();
    let operations = operations.unwrap_or_else(|| panic!("{result:#}"));
    operations
        .iter()
        .map(|o| o["chained_to"].as_u64())
        .collect()
}

#[test]
fn steps_that_answer_batch_by_batch_cross_once() {
    let project = project("10");
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(chained_to(&result), [None, Some(0), Some(0), None]);
    let together = project.text("out.csv");
    assert_eq!(together, "name,total\nZOË,1.0\nANN,10.0\n");
    // A recording needs every step by itself.
    let (code, result) = project.run_json(&["--capture-failures", "caps"]);
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(chained_to(&result), [None; 4]);
    assert_eq!(project.text("out.csv"), together);
}

#[test]
fn a_failure_inside_is_shown_at_its_step() {
    // `id - 3` is 0 in the last row.
    let project = project("3");
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1, "{result:#}");
    let failure = &result["pipelines"][0]["story"]["nodes"][0]["failure"];
    assert_eq!(failure["step"], 2, "{failure:#}");
    assert_eq!(failure["place"]["line"], 13, "{failure:#}");
    assert!(!project.path("out.csv").exists());
}
