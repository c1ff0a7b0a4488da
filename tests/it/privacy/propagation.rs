//! Where sensitivity goes, where it ends, and what is still told.

use serde_json::{Value, json};
use support::Project;

const PEOPLE: &str = "id,email,city\n1,ann@example.com,Rome\n2,bob@example.com,Oslo\n3,,Oslo\n";

/// Nodes of one pipeline, or several pipelines when the text begins one.
fn project(nodes: &str) -> Project {
    let yaml = format!(
        "project: p\nconnections: {{here: {{type: local, base_path: .}}}}\nplugins: {{evil: {{path: evil.wasm}}}}\nstory: {{connection: here, path: stories}}\npipelines:\n  - pipeline: p\n    nodes:\n{nodes}"
    );
    Project::with(&yaml)
        .file("in.csv", PEOPLE)
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

fn node<'a>(result: &'a Value, name: &str) -> &'a Value {
    let pipelines = result["pipelines"].as_array().unwrap();
    let mut nodes = pipelines
        .iter()
        .flat_map(|p| p["story"]["nodes"].as_array().unwrap());
    nodes.find(|node| node["name"] == name).unwrap()
}

/// The sample of a node, as `name: cells of the first row`.
#[track_caller]
fn sample(result: &Value, name: &str) -> Vec<(String, Value)> {
    let sample = &node(result, name)["facts"]["sample"];
    let columns = sample["columns"].as_array().unwrap();
    let row = sample["rows"][0].as_array().unwrap();
    let named = columns.iter().map(|name| name.as_str().unwrap().to_owned());
    named.zip(row.iter().cloned()).collect()
}

#[track_caller]
fn check(nodes: &str, args: &[&str], expect: &[(&str, &[(&str, &str)])]) {
    let (code, result) = project(nodes).run_json(args);
    assert_eq!(code, 0, "{result:#}");
    for (name, cells) in expect {
        let cells = cells
            .iter()
            .map(|(column, cell)| ((*column).to_owned(), json!(cell)));
        assert_eq!(sample(&result, name), cells.collect::<Vec<_>>(), "{name}");
    }
}

const READ: &str = "read: {connection: here, format: csv, path: in.csv}";
const HIDDEN: &str = "[REDACTED]";

#[test]
fn what_is_sensitive_stays_so_through_steps_nodes_and_files() {
    let nodes = format!(
        "      - {{name: a, {READ}, sensitive: [email]}}
      - name: b
        inputs: {{df: a}}
        transform: {{steps: [{{operation: rename_columns, params: {{mapping: {{email: mail}}}}}}]}}
      - name: c
        inputs: {{df: b}}
        transform: {{steps: ['SELECT id, city, upper(mail) AS big FROM df']}}
        write: {{connection: here, format: parquet, path: c.parquet}}
      - name: d
        inputs: {{df: c}}
        privacy: {{declassify: [big]}}
  - pipeline: q
    nodes:
      - {{name: e, read: {{connection: here, format: parquet, path: './c.parquet'}}, depends_on: [$p.c]}}
"
    );
    check(
        &nodes,
        &[],
        &[
            ("a", &[("id", "1"), ("email", HIDDEN), ("city", "Rome")]),
            ("b", &[("id", "1"), ("mail", HIDDEN), ("city", "Rome")]),
            (
                "d",
                &[("id", "1"), ("city", "Rome"), ("big", "ANN@EXAMPLE.COM")],
            ),
        ],
    );
    // A query that is given a sensitive column may put it anywhere; what it passes by it does not touch.
    let (_, result) = project(&nodes).run_json(&[]);
    for name in ["c", "e"] {
        let cells = sample(&result, name);
        let big = cells.iter().find(|(column, _)| column == "big").unwrap();
        assert_eq!(big.1, HIDDEN, "{name}: {cells:?}");
    }
    let declassified = &node(&result, "d")["facts"]["privacy"]["declassified"];
    assert_eq!(declassified, &json!(["big"]));
}

#[test]
fn a_file_of_another_pipeline_is_known_in_a_run_of_its_own() {
    let nodes = format!(
        "      - {{name: a, {READ}, sensitive: [email], write: {{connection: here, format: parquet, path: mid/a.parquet}}}}
  - pipeline: q
    nodes:
      - {{name: one, read: {{connection: here, format: parquet, path: mid/a.parquet}}}}
      - {{name: all, read: {{connection: here, format: parquet, path: 'mid/*.parquet'}}}}
      - {{name: other, read: {{connection: here, format: csv, path: in.csv}}}}
"
    );
    let project = project(&nodes);
    let (code, _) = project.run_json(&["--pipeline", "p"]);
    assert_eq!(code, 0);
    let (code, result) = project.run_json(&["--pipeline", "q"]);
    assert_eq!(code, 0, "{result:#}");
    for (name, email) in [
        ("one", HIDDEN),
        ("all", HIDDEN),
        ("other", "ann@example.com"),
    ] {
        let expect = [("id", "1"), ("email", email), ("city", "Rome")];
        let expect = expect.map(|(column, cell)| (column.to_owned(), json!(cell)));
        assert_eq!(sample(&result, name), expect, "{name}");
    }
}

#[test]
fn privacy_changes_personal_values_and_follows_their_names() {
    let project = project(&format!(
        "      - {{name: a, {READ}, columns: {{email: {{pii: true}}}}}}
      - name: hashed
        inputs: {{df: a}}
        transform: {{steps: [{{operation: rename_columns, params: {{mapping: {{email: mail}}}}}}]}}
        privacy: {{method: hash, salt: '${{SALT}}'}}
        write: {{connection: here, format: csv, path: hashed.csv}}
      - {{name: masked, inputs: {{df: a}}, privacy: {{method: mask}}, write: {{connection: here, format: csv, path: masked.csv}}}}
      - {{name: redacted, inputs: {{df: a}}, privacy: {{method: redact}}, write: {{connection: here, format: csv, path: redacted.csv}}}}
      - {{name: kept, inputs: {{df: a}}, privacy: {{declassify: [email]}}, write: {{connection: here, format: csv, path: kept.csv}}}}
"
    ))
    .variable("SALT", "pepper-of-this-test");
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    // sha256("ann@example.com" + salt)
    let digest = <sha2::Sha256 as sha2::Digest>::digest("ann@example.compepper-of-this-test");
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        project
            .text("hashed.csv")
            .starts_with(&format!("id,mail,city\n1,{digest},Rome\n")),
        "{}",
        project.text("hashed.csv")
    );
    assert_eq!(
        project.text("masked.csv"),
        "id,email,city\n1,***********.com,Rome\n2,***********.com,Oslo\n3,,Oslo\n"
    );
    assert_eq!(
        project.text("redacted.csv"),
        "id,email,city\n1,[REDACTED],Rome\n2,[REDACTED],Oslo\n3,[REDACTED],Oslo\n"
    );
    assert_eq!(project.text("kept.csv"), PEOPLE);
    let privacy = &node(&result, "hashed")["facts"]["privacy"];
    assert_eq!(
        (&privacy["method"], &privacy["changed"]),
        (&json!("hash"), &json!(["mail"]))
    );
    for path in super::canaries::files(&project.path(""), &["in.csv", "evil.wasm"]) {
        let bytes = std::fs::read(&path).unwrap();
        let salt = bytes
            .windows(19)
            .any(|window| window == b"pepper-of-this-test");
        assert!(!salt, "{}", path.display());
    }
}

#[test]
fn privacy_without_a_column_to_change_fails() {
    let project = project(&format!(
        "      - {{name: a, {READ}, privacy: {{method: mask}}, write: {{connection: here, format: csv, path: a.csv}}}}\n"
    ));
    let told = project.odibi(&["validate"]).exits(78);
    assert!(
        told.stderr.contains("`privacy` has no column to change"),
        "{}",
        told.stderr
    );
    assert!(!project.path("a.csv").exists());
}

#[test]
fn a_column_that_is_nowhere_is_a_fault_of_the_project() {
    let project = project(&format!(
        "      - {{name: a, {READ}, sensitive: [emial]}}
      - {{name: b, read: {{connection: here, format: csv, path: in.csv, sensitive: [city, phone]}}}}
      - {{name: c, {READ}, columns: {{mail: {{pii: true}}}}, privacy: {{declassify: [town]}}, transform: {{steps: [{{operation: rename_columns, params: {{mapping: {{email: mail}}}}}}]}}}}
"
    ));
    let told = project.odibi(&["validate"]).exits(78);
    for word in [
        "`emial`",
        "did you mean `email`?",
        "`phone`",
        "`town`",
        "config/unknown-sensitive",
    ] {
        assert!(told.stderr.contains(word), "{word}: {}", told.stderr);
    }
    assert!(!told.stderr.contains("`mail`"), "{}", told.stderr);
}

#[test]
fn a_column_that_is_nowhere_fails_the_node_when_columns_are_known_only_then() {
    let project = project(
        "      - {name: a, read: {connection: here, format: csv, path: made.csv}, write: {connection: here, format: csv, path: mid.csv}}
      - {name: b, read: {connection: here, format: csv, path: mid.csv}, depends_on: [a], sensitive: [emial], write: {connection: here, format: csv, path: b.csv}}
",
    )
    .file("made.csv", PEOPLE);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1, "{result:#}");
    let failure = &node(&result, "b")["failure"];
    assert_eq!(failure["code"], "privacy/unknown-column", "{failure:#}");
    assert!(!project.path("b.csv").exists());
}

#[test]
fn failures_tell_place_and_number_and_no_text() {
    let project = project(
        "      - {name: a, read: {connection: here, format: csv, path: bad.csv}, sensitive: [email]}
      - name: b
        read: {connection: here, format: csv, path: unlucky.csv}
        sensitive: [email]
        transform: {steps: [{operation: evil/leak_row}]}
        write: {connection: here, format: csv, path: b.csv}
      - {name: c, read: {connection: here, format: csv, path: none.csv}}
",
    )
    .file("bad.csv", "id,email\n1,ann@example.com\n2,bob@example.com,more\n")
    .file("unlucky.csv", "id,email\n1,ann@example.com\n13,bob@example.com\n");
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1, "{result:#}");
    let failure = |name: &str| node(&result, name)["failure"].clone();
    assert_eq!(failure("a")["message"], "bad row in `bad.csv`, line 3");
    let unlucky = failure("b");
    assert_eq!(unlucky["code"], "guest/data");
    let message = unlucky["message"].as_str().unwrap();
    assert!(message.starts_with("[withheld: "), "{message}");
    assert_eq!(
        unlucky["causes"][0],
        "row 2 of the node's input fails alone"
    );
    assert_eq!(failure("c")["message"], "no such file: `none.csv`");
    assert!(!result.to_string().contains("example.com"), "{result:#}");
}

#[test]
fn a_recording_holds_sensitive_columns_only_by_name() {
    let project = project(&format!(
        "      - name: a
        {READ}
        sensitive: [email]
        transform: {{steps: [{{operation: evil/leak_error}}]}}
        write: {{connection: here, format: csv, path: a.csv}}
"
    ));
    let capture = ["--capture-failures", "caps"];
    let (_, result) = project.run_json(&capture);
    let events = std::fs::read_to_string(result["events"].as_str().unwrap()).unwrap();
    assert!(
        events.contains("\"capture/refused\"") && events.contains("`email`"),
        "{events}"
    );
    let held = |dir: &str| std::fs::read_dir(project.path(dir)).unwrap().count();
    assert_eq!(held("caps"), 0);
    let (_, _) = project.run_json(&[&capture[..], &["--capture-column", "phone"]].concat());
    assert_eq!(held("caps"), 0);
    let (_, result) = project.run_json(&[&capture[..], &["--capture-column", "email"]].concat());
    assert_eq!(held("caps"), 1, "{result:#}");
}
