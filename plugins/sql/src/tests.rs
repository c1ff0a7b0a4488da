//! The engine against itself: every query in pieces and whole, and against DataFusion as it comes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod chain;
mod dialect;
mod injection;
mod layouts;
mod logictest;
mod models;
mod operations;
mod overflow;
mod queries;
mod tables;
mod unfit_columns;
mod values;

use odibi_sdk::harness;
use odibi_sdk::prelude::*;

#[test]
fn every_example_gives_what_it_shows() {
    let plugin = crate::plugin();
    harness::check_examples(&plugin);
    for entry in &plugin.operations {
        let name = entry.name;
        assert!(
            entry.examples().len() >= 2,
            "`{name}` has fewer than two examples"
        );
    }
}

/// Params of `sql` over `df` and these tables.
pub(crate) fn params(sql: &str, tables: &[&str]) -> Value {
    json!({ "sql": sql, "tables": tables })
}

#[track_caller]
fn check(sql: &str, table: &str, expect: &str) {
    let got = harness::run_csv(&crate::plugin(), "sql", params(sql, &[]), &[table]);
    assert_eq!(got.unwrap(), expect, "{sql}");
}

fn place(sql: &str, at: usize) -> String {
    let before = &sql[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!(" (line {line}, column {column} of the SQL)")
}

#[track_caller]
fn check_fault(sql: &str, code: &str, message: &str) {
    let got = harness::run_csv(
        &crate::plugin(),
        "sql",
        params(sql, &[]),
        &["id,Grösse,ts\n1,2,3\n"],
    );
    let failure = got.unwrap_err();
    let said = match &failure.span {
        Some(span) => format!("{}{}", failure.message, place(sql, span.start)),
        None => failure.message.clone(),
    };
    assert_eq!(
        (failure.code.as_str(), said.as_str()),
        (code, message),
        "{sql}"
    );
    assert_eq!(failure.param.as_deref(), Some("/sql"), "{sql}");
}

#[test]
fn faults_say_what_and_where() {
    check_fault(
        "SELECT",
        "sql-syntax",
        "expected: an expression, found: EOF",
    );
    check_fault(
        "SELECT nme FROM df",
        "unknown-column",
        "column `nme` does not exist (line 1, column 8 of the SQL)",
    );
    check_fault(
        "SELECT id\nFROM df\nWHERE größe > 1 AND x = 2",
        "unknown-column",
        "column `größe` does not exist (line 3, column 7 of the SQL)",
    );
    check_fault(
        "SELECT 1 FROM nowhere",
        "unknown-table",
        "table `nowhere` does not exist (line 1, column 15 of the SQL)",
    );
    check_fault(
        "DROP TABLE df",
        "not-a-query",
        "a step takes a query, not a statement that begins with `DROP` (line 1, column 1 of the SQL)",
    );
    check_fault(
        "COPY df TO 'x.csv'",
        "not-a-query",
        "a step takes a query, not a statement that begins with `COPY` (line 1, column 1 of the SQL)",
    );
    check_fault(
        "SELECT id INTO t FROM df",
        "not-a-query",
        "`SELECT … INTO` would make a table; a step only answers a query",
    );
    check_fault(
        "SELECT 1; SELECT 2",
        "sql-syntax",
        "a step takes one query; found after its end: `SELECT` (line 1, column 11 of the SQL)",
    );
    check_fault("  ", "empty-sql", "the SQL text is empty");
    check_fault(
        "SELECT id, id FROM df",
        "duplicate-column",
        "two columns are called `id`",
    );
    check_fault(
        "SELECT upperr(id) FROM df",
        "unknown-function",
        "function `upperr` does not exist (line 1, column 8 of the SQL)",
    );
    check_fault(
        "SELECT * FROM 'secret.csv'",
        "unknown-table",
        "table `secret.csv` does not exist (line 1, column 16 of the SQL)",
    );
    check_fault(
        "SELECT * FROM read_csv('secret.csv')",
        "invalid-sql",
        "table function 'read_csv' not found (line 1, column 15 of the SQL)",
    );
    check_fault(
        "SELECT id + 'x' || ts * true FROM df",
        "invalid-sql",
        "cannot coerce arithmetic expression Utf8 * Boolean to valid types",
    );
    check_fault(
        "SELECT id FROM df WHERE",
        "sql-syntax",
        "expected: an expression, found: EOF",
    );
    check_fault(
        "SELECT FROM df WHERE id = = 2",
        "sql-syntax",
        "expected: an expression, found: = (line 1, column 27 of the SQL)",
    );
}

#[test]
fn names_and_literals() {
    let table = "id,Name,größe\n1,df,2\n2,x,3\n";
    check("SELECT id FROM df WHERE Name = 'df'", table, "id\n1\n");
    check(
        "SELECT NAME, ID FROM DF WHERE \"größe\" > 2",
        table,
        "Name,id\nx,2\n",
    );
    check("SELECT größe AS Größe FROM df", table, "größe\n2\n3\n");
    check(
        "SELECT d.* FROM df AS d WHERE d.name = 'x'",
        table,
        "id,Name,größe\n2,x,3\n",
    );
    check(
        "SELECT upper(\"Name\") AS name FROM df",
        table,
        "name\nDF\nX\n",
    );
    check(
        "-- first\nSELECT /* df */ 'df' AS df, id FROM df;",
        table,
        "df,id\ndf,1\ndf,2\n",
    );
}

#[test]
fn the_schema_shows_what_is_left_out() {
    let defaults = json!({
        "case_when": { "default": "NULL" },
        "coalesce_columns": { "drop_source": false },
        "concat_columns": { "separator": "" },
        "convert_timezone": { "source_tz": "UTC" },
        "cross_check": { "threshold": 0.0 },
        "date_diff": { "unit": "day" },
        "extract_date_parts": { "parts": ["year", "month", "day"] },
        "join": { "how": "left" },
        "pivot": { "agg_func": "sum" },
        "sql": { "tables": [] },
        "unpivot": { "var_name": "variable", "value_name": "value" },
        "validate_and_flag": { "flag_col": "_issues" },
        "window_calculation": { "partition_by": [] },
    });
    harness::check_defaults(&crate::plugin(), &defaults);
}

/// `UPDATE_MANIFESTS=1 cargo test manifest` writes the file.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the switch that rewrites a committed file"
)]
fn manifest_is_the_committed_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json");
    let manifest = serde_json::to_string_pretty(&crate::plugin().manifest()).unwrap() + "\n";
    if std::env::var_os("UPDATE_MANIFESTS").is_some() {
        std::fs::write(path, &manifest).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == manifest,
        "manifest.json is out of date: run this test with UPDATE_MANIFESTS=1"
    );
}
