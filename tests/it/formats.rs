//! Values keep their meaning on the way through files; pyarrow is the judge of what we write.

use serde_json::{Value, json};
use support::Project;

const TABLE: &str = "int,float,flag,day,moment,text\n\
    1,1.5,true,2013-01-31,2013-01-31T23:59:59Z,Zürich\n\
    -9007199254740993,-0.25,false,1969-12-31,1969-12-31T00:00:00Z,\"quoted, with \"\"quotes\"\"\"\n\
    ,,,,,\n";

/// What pyarrow reads: column types and rows.
fn read_back(path: &std::path::Path) -> Value {
    serde_json::from_str(&support::run_python("read_table.py", &[path])).unwrap()
}

fn chain(formats: &[&str]) -> Project {
    let mut yaml = String::from(
        "project: p\nconnections: {here: {type: local, base_path: .}}\npipelines:\n  - pipeline: p\n    nodes:\n",
    );
    let mut previous = ("csv", "in.csv".to_owned());
    for (position, format) in formats.iter().enumerate() {
        let target = format!("step{position}.{format}");
        // Files are handed on between pipelines' nodes by path; `depends_on` makes the order.
        let after = if position == 0 {
            String::new()
        } else {
            format!("        depends_on: [n{}]\n", position - 1)
        };
        yaml.push_str(&format!(
            "      - name: n{position}\n{after}        read: {{connection: here, format: {}, path: {}}}\n        write: {{connection: here, format: {format}, path: {target}}}\n",
            previous.0, previous.1
        ));
        previous = (format, target);
    }
    let project = Project::with(&yaml).file("in.csv", TABLE);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    project
}

#[test]
fn csv_to_parquet_has_the_types_and_values_pyarrow_expects() {
    let read = read_back(&chain(&["parquet"]).path("step0.parquet"));
    assert_eq!(
        read["types"],
        json!({ "int": "int64", "float": "double", "flag": "bool", "day": "date32[day]", "moment": "timestamp[us, tz=UTC]", "text": "string" })
    );
    assert_eq!(
        read["rows"],
        json!([
            [
                "1",
                "1.5",
                "True",
                "2013-01-31",
                "2013-01-31 23:59:59+00:00",
                "Zürich"
            ],
            [
                "-9007199254740993",
                "-0.25",
                "False",
                "1969-12-31",
                "1969-12-31 00:00:00+00:00",
                "quoted, with \"quotes\""
            ],
            [null, null, null, null, null, null]
        ])
    );
}

#[test]
fn parquet_to_csv_and_back_changes_nothing() {
    let project = chain(&["parquet", "csv", "parquet"]);
    assert_eq!(
        read_back(&project.path("step0.parquet")),
        read_back(&project.path("step2.parquet"))
    );
}

#[test]
fn json_lines_keep_numbers_and_nulls() {
    let project = chain(&["json"]);
    let rows: Vec<Value> = project
        .text("step0.json")
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["int"], 1);
    assert_eq!(rows[0]["flag"], true);
    assert_eq!(rows[1]["int"], -9_007_199_254_740_993_i64);
    assert_eq!(rows[0]["text"], "Zürich");
    assert!(
        rows[2].as_object().unwrap().values().all(Value::is_null),
        "{}",
        rows[2]
    );
}

#[test]
fn empty_table_keeps_its_columns_in_parquet() {
    let yaml = "project: p\nconnections: {here: {type: local, base_path: .}}\npipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        read: {connection: here, format: csv, path: in.csv}\n        transform: {steps: [{operation: limit, params: {n: 0}}]}\n        write: {connection: here, format: parquet, path: out.parquet}\n";
    let project = Project::with(yaml).file("in.csv", TABLE);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    let read = read_back(&project.path("out.parquet"));
    assert_eq!(read["rows"], json!([]));
    assert_eq!(read["types"].as_object().unwrap().len(), 6);
}
