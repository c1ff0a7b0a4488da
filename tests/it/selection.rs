//! Selections that go by what is remembered, through the command line: what is run, what is read back, and what `plan`
//! says of it.

use serde_json::Value;
use support::Project;

const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
plugins: {geo: {path: geo.wasm}}
pipelines:
  - pipeline: orders
    nodes:
      - name: raw
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: here, format: parquet, path: out/raw.parquet}
      - name: text
        inputs: {df: raw}
        write: {connection: here, format: csv, path: out/text.csv}
      - name: upper
        inputs: {df: raw}
        transform: {steps: [{operation: clean_text, params: {columns: [city], case: upper}}]}
        write: {connection: here, format: parquet, path: out/upper.parquet}
      - name: report
        inputs: {df: upper}
        tags: [gold]
        write: {connection: here, format: csv, path: out/report.csv}
      - name: copy
        inputs: {df: text}
        write: {connection: here, format: csv, path: out/copy.csv}
";
const ORDERS: &str = "id,city\n1,Bern\n2,Basel\n3,Bern\n";

fn project() -> Project {
    Project::with(YAML)
        .file("orders.csv", ORDERS)
        .file("geo.wasm", std::fs::read(support::hostile()).unwrap())
}

fn change(project: &Project, from: &str, to: &str) {
    let text = project.text("odibi.yaml");
    assert!(text.contains(from), "{from}");
    std::fs::write(project.path("odibi.yaml"), text.replace(from, to)).unwrap();
}

/// `action name` of each node that `plan` speaks of, and the names that it lists.
#[track_caller]
fn planned(project: &Project, words: &[&str]) -> (Vec<String>, Vec<String>) {
    let args = [&["plan", "--output", "json"], words].concat();
    let plan = project.odibi(&args).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap()
            .trim_start_matches("orders.")
            .to_owned()
    };
    let told = plan["selection"].as_array().unwrap().iter();
    let told = told.map(|one| format!("{} {}", text(&one["action"]), text(&one["node"])));
    let nodes = plan["nodes"].as_array().unwrap().iter();
    let mut nodes: Vec<String> = nodes.map(|node| text(&node["name"])).collect();
    nodes.sort();
    (told.collect(), nodes)
}

/// The names of the nodes that a run ran.
#[track_caller]
fn run(project: &Project, words: &[&str]) -> Vec<String> {
    let (code, result) = project.run_json(words);
    assert_eq!(code, 0, "{result:#}");
    let nodes = result["pipelines"][0]["story"]["nodes"].as_array().unwrap();
    let mut names: Vec<String> = nodes
        .iter()
        .map(|node| node["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn all() -> Vec<String> {
    ["copy", "raw", "report", "text", "upper"]
        .map(str::to_owned)
        .to_vec()
}

const MODIFIED: [&str; 2] = ["--select", "state:modified"];

#[test]
fn before_the_first_run_everything_is_modified() {
    let project = project();
    assert_eq!(planned(&project, &MODIFIED).1, all());
    assert_eq!(run(&project, &MODIFIED), all());
    let _ = project.odibi(&[&["run"], &MODIFIED[..]].concat()).exits(4);
    let _ = project
        .odibi(&["run", "--select", "result:failed"])
        .exits(4);
}

#[test]
fn what_was_changed_is_run_and_what_it_needs_is_read_where_it_stands() {
    let project = project();
    let _ = project.odibi(&["run", "-q"]).exits(0);
    // What says nothing of the rows.
    change(
        &project,
        "project: shop",
        "# a word\nproject: shop\nretry: {max_attempts: 5}",
    );
    change(
        &project,
        "tags: [gold]",
        "tags: [silver]\n        description: d",
    );
    let _ = project.odibi(&[&["plan"], &MODIFIED[..]].concat()).exits(4);
    // A param: what the node needs is one Parquet file.
    change(&project, "case: upper", "case: lower");
    let (told, nodes) = planned(&project, &MODIFIED);
    assert_eq!(told, ["read raw", "run upper"]);
    assert_eq!(nodes, ["upper"]);
    let (told, nodes) = planned(&project, &["--select", "state:modified+"]);
    assert_eq!(told, ["read raw", "run upper", "run report"]);
    assert_eq!(nodes, ["report", "upper"]);
    let (told, _) = planned(&project, &["--select", "+state:modified"]);
    assert_eq!(told, ["run raw", "run upper"]);
    assert_eq!(
        run(&project, &["--select", "state:modified+"]),
        ["report", "upper"]
    );
    assert_eq!(
        project.text("out/report.csv"),
        "id,city\n1,bern\n2,basel\n3,bern\n"
    );
    let _ = project.odibi(&[&["run"], &MODIFIED[..]].concat()).exits(4);
    // What wrote text cannot be read back: its types are gone.
    change(&project, "path: out/copy.csv", "path: out/copied.csv");
    let (told, nodes) = planned(&project, &MODIFIED);
    assert_eq!(told, ["read raw", "run text", "run copy"]);
    assert_eq!(nodes, ["copy", "text"]);
    // Nor a file that is not what it was.
    std::fs::remove_file(project.path("out/raw.parquet")).unwrap();
    let (told, _) = planned(&project, &MODIFIED);
    assert_eq!(told, ["run raw", "run text", "run copy"]);
}

#[test]
fn another_plugin_makes_its_nodes_another() {
    let project = project();
    change(
        &project,
        "operation: clean_text, params: {columns: [city], case: upper}",
        "operation: geo/copy",
    );
    let _ = project.odibi(&["run", "-q"]).exits(0);
    let _ = project.odibi(&[&["run"], &MODIFIED[..]].concat()).exits(4);
    let mut bytes = std::fs::read(project.path("geo.wasm")).unwrap();
    // A custom section: the code is the same, the component is not.
    bytes.extend([0, 3, 1, b'x', b'y']);
    std::fs::write(project.path("geo.wasm"), bytes).unwrap();
    assert_eq!(planned(&project, &MODIFIED).1, ["upper"]);
    change(
        &project,
        "path: geo.wasm}",
        "path: geo.wasm, grants: [clock]}",
    );
    assert_eq!(planned(&project, &MODIFIED).1, ["upper"]);
}

#[test]
fn results_of_the_last_run_select() {
    let project = project();
    change(
        &project,
        "columns: [city], case: upper",
        "columns: [city], case: upper}}, {operation: geo/panic, params: {",
    );
    let failed = project.run_json(&[]);
    assert_eq!(failed.0, 1, "{:#}", failed.1);
    let check = |words: &[&str], expect: &[&str]| {
        let (told, _) = planned(&project, words);
        assert_eq!(told, expect, "{words:?}");
    };
    check(&["--select", "result:failed"], &["read raw", "run upper"]);
    check(
        &["--select", "result:failed+"],
        &["read raw", "run upper", "run report"],
    );
    check(
        &["--select", "result:skipped"],
        &["read raw", "run upper", "run report"],
    );
    check(
        &["--select", "result:succeeded"],
        &["run raw", "run text", "run copy"],
    );
    check(
        &["--select", "result:failed tag:gold"],
        &["read raw", "run upper", "run report"],
    );
    check(
        &["--select", "result:failed+", "--exclude", "tag:gold"],
        &["read raw", "run upper"],
    );
    // Without a word of this kind in `--select`, everything is made.
    let (told, nodes) = planned(&project, &["--exclude", "result:failed"]);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(nodes, ["copy", "raw", "text"]);
    // Mended and run; then the last run is this one, and nothing of it failed.
    change(&project, ", {operation: geo/panic, params: {}}", "");
    assert_eq!(
        run(&project, &["--select", "result:failed+"]),
        ["report", "upper"]
    );
    assert_eq!(
        project.text("out/report.csv"),
        "id,city\n1,BERN\n2,BASEL\n3,BERN\n"
    );
    let _ = project
        .odibi(&["run", "--select", "result:failed"])
        .exits(4);
}

/// What was selected by what was then, is repeated by name.
#[test]
fn retry_repeats_the_nodes_that_were_selected_then() {
    let project = project();
    let _ = project.odibi(&["run", "-q"]).exits(0);
    change(
        &project,
        "columns: [city], case: upper",
        "columns: [city], case: lower}}, {operation: geo/panic, params: {",
    );
    let _ = project
        .odibi(&["run", "-q", "--select", "state:modified+"])
        .exits(1);
    let dry = project
        .odibi(&["retry", "--dry-run", "--output", "json"])
        .exits(0);
    let dry: Value = serde_json::from_str(&dry.stdout).unwrap();
    let again: Vec<&str> = dry["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["action"] == "run")
        .map(|node| node["node"].as_str().unwrap())
        .collect();
    assert!(
        again.contains(&"orders.upper") && again.contains(&"orders.report"),
        "{dry:#}"
    );
    assert!(!again.contains(&"orders.text"), "{dry:#}");
}

#[test]
fn other_words_are_refused() {
    let project = project();
    for word in ["state:new", "result:error", "result:"] {
        let refused = project.odibi(&["plan", "--select", word]).exits(78);
        assert!(
            refused.stderr.contains("`result:skipped`"),
            "{}",
            refused.stderr
        );
    }
}
