//! TPC-H: the 22 queries as SQL steps through the real binary, and DuckDB's answers on the same files.

use std::fmt::{Display, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};
use support::Project;
use tpchgen::generators as tables;

/// 600,572 rows of `lineitem`, 866,602 in all.
const SCALE: f64 = 0.1;
const QUERIES: usize = 22;
const TABLES: [&str; 8] = [
    "region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem",
];

/// The format of the TPC's own generator: values followed by `|`, one row a line.
fn rows<R: Display>(rows: impl Iterator<Item = R>) -> String {
    rows.fold(String::new(), |mut text, row| {
        writeln!(text, "{row}").unwrap();
        text
    })
}

fn generated(table: &str) -> String {
    match table {
        "region" => rows(tables::RegionGenerator::new(SCALE, 1, 1).iter()),
        "nation" => rows(tables::NationGenerator::new(SCALE, 1, 1).iter()),
        "supplier" => rows(tables::SupplierGenerator::new(SCALE, 1, 1).iter()),
        "part" => rows(tables::PartGenerator::new(SCALE, 1, 1).iter()),
        "partsupp" => rows(tables::PartSuppGenerator::new(SCALE, 1, 1).iter()),
        "customer" => rows(tables::CustomerGenerator::new(SCALE, 1, 1).iter()),
        "orders" => rows(tables::OrderGenerator::new(SCALE, 1, 1).iter()),
        "lineitem" => rows(tables::LineItemGenerator::new(SCALE, 1, 1).iter()),
        other => panic!("no table `{other}`"),
    }
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// One node for each query, with the tables it speaks of.
fn node(number: usize, sql: &str) -> Value {
    let name = format!("q{number:02}");
    let inputs: Map<String, Value> = TABLES
        .iter()
        .filter(|table| words(sql).any(|word| word == **table))
        .map(|table| {
            let path = format!("{table}.parquet");
            let read = json!({ "connection": "tables", "format": "parquet", "path": path });
            ((*table).to_owned(), read)
        })
        .collect();
    json!({
        "name": name,
        "inputs": inputs,
        "transform": { "steps": [{ "sql_file": format!("{name}.sql") }] },
        "write": {
            "connection": "out", "format": "parquet", "path": format!("{name}.parquet"), "mode": "overwrite",
        },
    })
}

#[test]
fn answers_equal_those_of_duckdb() {
    let mut nodes = Vec::new();
    let mut project = Project::new();
    for number in 1..=QUERIES {
        let file = format!("q{number:02}.sql");
        let sql = std::fs::read_to_string(support::root().join("tests/tpch").join(&file)).unwrap();
        nodes.push(node(number, &sql));
        project = project.file(&file, sql);
    }
    for table in TABLES {
        project = project.file(&format!("tables/{table}.tbl"), generated(table));
    }
    let yaml = json!({
        "project": "tpch",
        "connections": {
            "tables": { "type": "local", "base_path": "tables" },
            "out": { "type": "local", "base_path": "out" },
        },
        "pipelines": [{ "pipeline": "tpch", "nodes": nodes }],
    });
    let project = project.file("odibi.yaml", yaml.to_string());
    support::run_python("tpch.py", &[Path::new("make"), &project.path("tables")]);
    let _ = project.odibi(&["run", "-q"]).exits(0);
    let said = support::run_python(
        "tpch.py",
        &[
            Path::new("check"),
            &project.path("tables"),
            &project.path("out"),
            &support::root().join("tests/tpch"),
        ],
    );
    assert_eq!(said.lines().last(), Some("22 answers equal"), "{said}");
}
