//! `examples/flights`, run as a reader would run it, and judged by Python. `examples/production` has a module of its own.

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
