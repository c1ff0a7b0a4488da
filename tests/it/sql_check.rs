//! What `validate` and `plan` say of columns before any row is read, and where they point.

use support::Project;

const HEAD: &str = "project: shop\nconnections: {here: {type: local, base_path: .}}\npipelines:\n  - pipeline: orders\n    nodes:\n";
const LOAD: &str =
    "      - {name: load, read: {connection: here, format: csv, path: orders.csv}}\n";
const ORDERS: &str = "id,city,price\n1,Bern,2.5\n2,Basel,3\n";

/// A node `clean` behind `load`, with these steps.
fn project(steps: &str) -> Project {
    let yaml = format!(
        "{HEAD}{LOAD}      - name: clean\n        depends_on: [load]\n        transform:\n          steps:\n{steps}"
    );
    Project::with(&yaml).file("orders.csv", ORDERS)
}

/// `validate` refuses; what it shows begins with this.
#[track_caller]
fn refuses(project: &Project, expect: &str) {
    let invocation = project.odibi(&["validate"]).exits(78);
    let found: Vec<&str> = invocation
        .stderr
        .lines()
        .filter(|line| !line.starts_with("compil"))
        .collect();
    let found = found.join("\n");
    assert!(
        found.starts_with(expect),
        "expected\n{expect}\nfound\n{found}"
    );
    let planned = project.odibi(&["plan"]).exits(78);
    assert!(planned.stderr.contains(expect), "{}", planned.stderr);
}

#[test]
fn a_missing_column_is_shown_at_its_param() {
    refuses(
        &project(
            "            - operation: select_columns\n              params: {columns: [id, citty]}\n",
        ),
        "error[config/refused-step]: column `citty` does not exist\n  --> odibi.yaml:12:38\n",
    );
}

#[test]
fn a_column_that_an_earlier_step_took_away_is_missing() {
    let steps = "            - operation: select_columns\n              params: {columns: [id]}\n            - operation: clean_text\n              params: {columns: [city]}\n";
    refuses(&project(steps), "error[config/refused-step]");
}

#[test]
fn files_that_are_not_there_are_no_fault() {
    let yaml = format!(
        "{HEAD}      - name: load\n        read: {{connection: here, format: parquet, path: none.parquet}}\n        transform: {{steps: [{{operation: select_columns, params: {{columns: [id]}}}}]}}\n      - {{name: next, depends_on: [load], transform: {{steps: [{{operation: distinct}}]}}}}\n"
    );
    let project = Project::with(&yaml);
    let quiet = project.odibi(&["validate"]).exits(0);
    assert_eq!(quiet.stderr, "");
    let verbose = project.odibi(&["validate", "-v"]).exits(0);
    let notes: Vec<&str> = verbose.stderr.lines().collect();
    assert!(
        notes[0].starts_with("note: orders.load: the columns of `df` are not known: "),
        "{notes:?}"
    );
    assert_eq!(
        notes[1],
        "note: orders.next: the columns of `df` are not known: those of node `load` are not known"
    );
    let plan = project.odibi(&["plan"]).exits(0);
    assert_eq!(
        plan.stdout.matches("    columns not known yet\n").count(),
        2
    );
}

#[test]
fn plan_shows_the_columns_of_nodes_and_steps() {
    let steps = "            - operation: select_columns\n              params: {columns: [price, id]}\n            - operation: rename_columns\n              params: {mapping: {id: number}}\n";
    let project = project(steps);
    let plan = project.odibi(&["plan"]).exits(0).stdout;
    assert!(
        plan.contains("    columns id Int64, city Utf8, price Float64\n"),
        "{plan}"
    );
    assert!(
        plan.contains("    columns price Float64, number Int64\n"),
        "{plan}"
    );
    assert!(!plan.contains("gives"), "{plan}");
    let plan = project.odibi(&["plan", "-v"]).exits(0).stdout;
    assert!(
        plan.contains("    gives   price Float64, id Int64\n"),
        "{plan}"
    );
    let plan = project.odibi(&["plan", "--output", "json"]).exits(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let node = &plan["nodes"][1];
    let names = |columns: &serde_json::Value| -> Vec<String> {
        let columns = columns.as_array().expect("a list");
        columns
            .iter()
            .map(|c| format!("{} {}", c["name"], c["type"]))
            .collect()
    };
    assert_eq!(
        names(&node["columns"]),
        ["\"price\" \"Float64\"", "\"number\" \"Int64\""]
    );
    assert_eq!(
        names(&node["steps"][0]["columns"]),
        ["\"price\" \"Float64\"", "\"id\" \"Int64\""]
    );
}

#[test]
fn a_large_text_file_is_not_read_to_validate() {
    let yaml = format!("{HEAD}{LOAD}");
    let row = format!("{}\n", "1".repeat(99));
    let project = Project::with(&yaml).file("orders.csv", &format!("id\n{}", row.repeat(90_000)));
    let verbose = project.odibi(&["validate", "-v"]).exits(0);
    assert_eq!(
        verbose.stderr,
        "note: orders.load: the columns of `df` are not known: `orders.csv` would have to be read first\n"
    );
}
