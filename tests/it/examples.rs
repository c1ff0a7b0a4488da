//! Every directory of `examples/`, run as a reader would run it, and judged by Python.

use serde_json::Value;
use support::Project;

#[test]
fn flights_runs_and_pandas_computes_the_same() {
    let project = Project::new();
    support::copy_tree(
        &support::root().join("examples/flights"),
        &project.path("flights"),
    );
    std::fs::copy(support::geo(), project.path("flights/plugins/geo.wasm")).unwrap();
    let (code, result) = project.run_json(&["flights"]);
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(result["outcome"], "succeeded");
    let mut stories = 0;
    for pipeline in result["pipelines"].as_array().unwrap() {
        for path in pipeline["story_paths"].as_array().unwrap() {
            let text = std::fs::read_to_string(project.path(path.as_str().unwrap())).unwrap();
            assert!(text.contains(result["run_id"].as_str().unwrap()));
            stories += 1;
        }
    }
    assert!(stories >= 2, "a Markdown and a JSON story: {result:#}");
    let nodes: Vec<&Value> = result["pipelines"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|p| p["story"]["nodes"].as_array().unwrap())
        .collect();
    assert!(nodes.len() >= 4, "at least four nodes");
    support::run_python("check_flights.py", &[&project.path("flights")]);
}

#[test]
fn flights_runs_again_and_writes_the_same_rows() {
    let project = Project::new();
    support::copy_tree(
        &support::root().join("examples/flights"),
        &project.path("flights"),
    );
    std::fs::copy(support::geo(), project.path("flights/plugins/geo.wasm")).unwrap();
    for _ in 0..2 {
        let _ = project.odibi(&["run", "-q", "flights/odibi.yaml"]).exits(0);
        support::run_python("check_flights.py", &[&project.path("flights")]);
    }
}

fn production() -> Project {
    let project = Project::new();
    let example = support::root().join("examples/production");
    support::copy_tree(&example, &project.path("production"));
    project
}

/// What each write did, by node.
fn effects(result: &Value) -> Vec<(String, String)> {
    let nodes = result["pipelines"][0]["story"]["nodes"].as_array().unwrap();
    let effect = |node: &Value| {
        let write = &node["facts"]["write"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (word(&node["name"]), word(&write["effect"]))
    };
    nodes.iter().map(effect).collect()
}

/// Its second run changes nothing.
#[test]
fn production_runs_on_a_laptop_and_its_second_run_changes_nothing() {
    let project = production();
    let (code, first) = project.run_json(&["production/project.yaml"]);
    assert_eq!(code, 0, "{first:#}");
    let lake = project.path("production/data/lake");
    let read = |path: &str| std::fs::read(lake.join(path)).unwrap();
    let written = [
        "silver/customers.parquet",
        "silver/orders.parquet",
        "gold/revenue.csv",
    ];
    let before = written.map(read);
    let revenue = String::from_utf8(before[2].clone()).unwrap();
    assert_eq!(
        revenue,
        "city,currency,orders,revenue\nBern,CHF,2,87.25\nLausanne,CHF,1,310.0\nZürich,CHF,2,140.4\nbasel,CHF,1,42.1\n"
    );
    let (code, second) = project.run_json(&["production/project.yaml"]);
    assert_eq!(code, 0, "{second:#}");
    assert_eq!(written.map(read), before);
    for (node, effect) in effects(&second) {
        assert!(
            node == "revenue" || effect != "published",
            "{node}: {effect}"
        );
    }
}

/// The log is lines of JSON, as the project asks; in production too, before a byte has been moved.
#[test]
fn production_is_valid_with_its_variables_and_says_which_are_missing() {
    let project = production()
        .variable("AZURE_STORAGE_ACCOUNT", "acc")
        .variable("AZURE_STORAGE_KEY", "c2VjcmV0LWtleS1vZi10aGUtYWNjb3VudA==");
    let args = ["--env", "prod", "production/project.yaml"];
    let planned = project.odibi(&[&["plan"], &args[..]].concat()).exits(0);
    assert!(
        planned
            .stdout
            .contains("silver/customers.parquet (parquet, upsert)"),
        "{}",
        planned.stdout
    );
    let shown = format!("{}{}", planned.stdout, planned.stderr);
    assert!(!shown.contains("c2VjcmV0"), "{shown}");
    let missing = production()
        .odibi(&[&["validate"], &args[..]].concat())
        .exits(78);
    let lines: Vec<Value> = missing
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["message"]
            .as_str()
            .unwrap()
            .contains("AZURE_STORAGE_KEY")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .all(|line| line["metadata"]["service"] == "retail"),
        "{lines:#?}"
    );
}
