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
        "error[config/refused-step]: unknown column `citty`, did you mean `city`?\n  --> odibi.yaml:12:38\n",
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
    let project = Project::with(&yaml).file("orders.csv", format!("id\n{}", row.repeat(90_000)));
    let verbose = project.odibi(&["validate", "-v"]).exits(0);
    assert_eq!(
        verbose.stderr,
        "note: orders.load: the columns of `df` are not known: `orders.csv` would have to be read first\n"
    );
}

#[test]
fn sql_faults_point_at_the_word() {
    let cases = [
        ("            - SELECT id, citty FROM df\n", "11:26", "^^^^^"),
        (
            "            - |\n              SELECT id,\n                citty\n              FROM df\n",
            "13:17",
            "^^^^^",
        ),
        (
            "            - sql: 'SELECT ''x'', citty FROM df'\n",
            "11:35",
            "^^^^^",
        ),
        (
            "            - SELECT id FROM df\n            - SELECT city FROM df\n",
            "12:22",
            "^^^^",
        ),
        ("            - SELECT * FROM ordres\n", "11:29", "^^^^^^"),
        ("            - SELECT id FORM df\n", "11:30", "^^"),
    ];
    for (steps, place, mark) in cases {
        let project = project(steps);
        let found = project.odibi(&["validate"]).exits(78).stderr;
        assert!(found.contains("error[config/refused-step]: "), "{found}");
        assert!(
            found.contains(&format!("  --> odibi.yaml:{place}")),
            "{found}"
        );
        assert!(found.contains(&format!(" {mark} step ")), "{found}");
    }
}

#[test]
fn sql_file_faults_point_into_the_file() {
    let project = project("            - sql_file: sql/q.sql\n")
        .file("sql/q.sql", "-- é\nSELECT id,\n  citty\nFROM df\n");
    let found = project.odibi(&["validate"]).exits(78).stderr;
    assert!(found.contains("  --> sql/q.sql:3:3\n"), "{found}");
    assert!(found.contains("odibi.yaml:11:25"), "{found}");
    let json = project
        .odibi(&["validate", "--output", "json"])
        .exits(78)
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let first = &json["diagnostics"][0];
    assert_eq!(
        (&first["file"], &first["line"], &first["column"]),
        (&"sql/q.sql".into(), &3.into(), &3.into())
    );
}

#[cfg(unix)]
#[test]
fn sql_file_that_leaves_the_project_is_refused() {
    let project = project("            - sql_file: q.sql\n");
    std::os::unix::fs::symlink("/etc/hostname", project.path("q.sql")).expect("a link");
    let found = project.odibi(&["validate"]).exits(78).stderr;
    assert!(
        found.contains("lies outside the project's directory"),
        "{found}"
    );
}

#[test]
fn sql_is_parsed_even_where_no_column_is_known() {
    let yaml = |sql: &str| {
        format!(
            "{HEAD}      - name: load\n        read: {{connection: here, format: csv, path: none.csv}}\n        transform: {{steps: [{sql}]}}\n"
        )
    };
    let good = Project::with(&yaml("SELECT nobody_knows FROM df"));
    let _ = good.odibi(&["validate"]).exits(0);
    let bad = Project::with(&yaml("SELECT nobody knows it FROM df"));
    let found = bad.odibi(&["validate"]).exits(78).stderr;
    assert!(found.contains(" --> odibi.yaml:8:"), "{found}");
}

#[test]
fn sql_runs_with_its_tables_and_steps_chain() {
    let yaml = format!(
        "{HEAD}{LOAD}      - {{name: people, read: {{connection: here, format: csv, path: people.csv}}}}\n      - name: joined\n        inputs: {{orders: load, p: people}}\n        depends_on: [people]\n        transform:\n          steps:\n            - SELECT o.id, o.city, p.name FROM orders o JOIN p USING (id) WHERE o.city <> 'df'\n            - sql_file: sql/second.sql\n            - operation: drop\n              params: {{columns: city}}\n        write: {{connection: here, format: csv, path: out.csv}}\n"
    );
    let project = Project::with(&yaml)
        .file("orders.csv", ORDERS)
        .file("people.csv", "id,name\n1,Ann\n2,Béa\n")
        .file(
            "sql/second.sql",
            "SELECT df.*, (SELECT count(*) FROM people) AS n, (SELECT max(price) FROM orders) AS top\nFROM df ORDER BY id",
        );
    let plan = project.odibi(&["plan"]).exits(0).stdout;
    assert!(
        plan.contains("    columns id Int64, name Utf8, n Int64, top Float64\n"),
        "{plan}"
    );
    let _ = project.odibi(&["run"]).exits(0);
    assert_eq!(
        project.text("out.csv"),
        "id,name,n,top\n1,Ann,2,3.0\n2,Béa,2,3.0\n"
    );
}

#[test]
fn a_failing_run_shows_the_word_in_the_sql() {
    let project = project("            - SELECT id, citty FROM df\n");
    let found = project.odibi(&["run"]).exits(1).stderr;
    assert!(found.contains("  --> odibi.yaml:11:26\n"), "{found}");
    assert!(found.contains("^^^^^\n"), "{found}");
}
