//! Which column types survive which format: every type through every format, and pyarrow says what came of it.
//!
//! `types.tsv` holds the answers; `UPDATE_EXPECT=1` writes them anew. docs/formats.md tells users.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use support::Project;

const FORMATS: [(&str, &str); 5] = [
    ("parquet", "parquet"),
    ("csv", "csv"),
    ("jsonl", "jsonl"),
    ("arrow", "out.arrow"),
    ("delta", "delta"),
];

fn python(what: &str, dir: &Path) -> Value {
    let said = support::run_python("types_table.py", &[Path::new(what), dir]);
    serde_json::from_str(&said).unwrap()
}

#[test]
fn every_type_through_every_format_is_what_the_table_says() {
    let project = Project::new().file("data/here", "");
    let made = python("make", &project.path("data"));
    let types: Vec<&str> = made
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut yaml = String::from(
        "project: p\nconnections: {here: {type: local, base_path: data}}\npipelines:\n  - pipeline: p\n    nodes:\n",
    );
    for (number, name) in types.iter().enumerate() {
        for (format, end) in FORMATS {
            writeln!(
                yaml,
                "      - {{name: n{number}_{format}, read: {{connection: here, format: arrow, path: \"{name}.arrow\"}}, \
                 write: {{connection: here, format: {format}, path: \"{name}.{end}\"}}}}"
            )
            .unwrap();
        }
    }
    let project = project.file("odibi.yaml", &yaml);
    let (_, result) = project.run_json(&[]);
    let failures: BTreeMap<String, String> = result["pipelines"][0]["story"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|node| {
            let code = node["failure"]["code"].as_str()?;
            Some((node["name"].as_str()?.to_owned(), code.to_owned()))
        })
        .collect();
    let read = python("read", &project.path("data"));
    let mut table = String::from("type\tparquet\tcsv\tjson lines\tarrow\tdelta\n");
    for (number, name) in types.iter().enumerate() {
        table.push_str(name);
        for (format, end) in FORMATS {
            let failure = failures.get(&format!("n{number}_{format}"));
            let cell = match (failure, read[format!("{name} {end}")].as_str()) {
                (Some(code), _) => code,
                (None, Some(cell)) => cell,
                (None, None) => "nothing was written",
            };
            write!(table, "\t{cell}").unwrap();
        }
        table.push('\n');
    }
    let path = support::root().join("tests/it/types.tsv");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(&path).unwrap_or_default());
}
