//! Files and plugins that are not what they should be: a clear failure, and nothing lost.

use serde_json::Value;
use support::Project;

/// One node that reads `in.csv` and writes `out.parquet`.
const COPY: &str = r"project: p
connections: {here: {type: local, base_path: .}}
pipelines:
  - pipeline: p
    nodes:
      - name: n
        read: {connection: here, format: csv, path: in.csv}
        write: {connection: here, format: parquet, path: out.parquet}
";

fn failure(result: &Value, node: &str) -> Value {
    let nodes = result["pipelines"][0]["story"]["nodes"].as_array().unwrap();
    let found = nodes
        .iter()
        .find(|n| n["name"] == node)
        .unwrap_or_else(|| panic!("no node {node}: {result:#}"));
    assert_eq!(found["outcome"], "failed", "{found:#}");
    found["failure"].clone()
}

/// Runs [`COPY`] over a file and expects a failure with this code whose message or causes hold these texts.
#[track_caller]
fn check(content: &[u8], code: &str, texts: &[&str]) {
    let project = Project::with(COPY)
        .file("in.csv", content)
        .file("out.parquet", "what was there before");
    let (exit, result) = project.run_json(&[]);
    assert_eq!(exit, 1, "{result:#}");
    let failure = failure(&result, "n");
    assert_eq!(failure["code"], code, "{failure:#}");
    for text in texts {
        assert!(
            failure.to_string().contains(text),
            "`{text}` is not in {failure:#}"
        );
    }
    assert_eq!(
        project.text("out.parquet"),
        "what was there before",
        "the target was touched"
    );
    let left: Vec<_> = std::fs::read_dir(project.path("."))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with(".odibi-") || n.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn row_with_too_few_fields_names_file_and_line() {
    check(b"a,b\n1,2\n3\n4,5\n", "read/bad-row", &["in.csv", "3"]);
}

#[test]
fn row_with_too_many_fields_names_file_and_line() {
    check(b"a,b\n1,2\n3,4,5\n", "read/bad-row", &["in.csv", "3"]);
}

#[test]
fn line_number_counts_quoted_newlines() {
    check(
        b"a,b\n\"x\ny\nz\",2\n3,4\n5\n",
        "read/bad-row",
        &["in.csv", "6"],
    );
}

#[test]
fn bytes_that_are_not_utf8_name_the_line() {
    check(b"a,b\n1,2\n\xff\xfe,3\n", "read/bad-row", &["in.csv", "3"]);
}

#[test]
fn duplicate_column_names_are_refused() {
    check(b"a,a\n1,2\n", "read/duplicate-column", &["in.csv", "`a`"]);
}

#[test]
fn missing_file_names_the_nearest_one() {
    let project = Project::with(COPY).file("im.csv", "a\n1\n");
    let (exit, result) = project.run_json(&[]);
    assert_eq!(exit, 1);
    let failure = failure(&result, "n");
    assert_eq!(failure["code"], "read/missing", "{failure:#}");
    assert!(
        failure["hints"].to_string().contains("im.csv"),
        "{failure:#}"
    );
}

#[test]
fn truncated_parquet_is_a_bad_file() {
    let yaml = COPY.replace(
        "format: csv, path: in.csv",
        "format: parquet, path: in.parquet",
    );
    let good = Project::with(COPY).file("in.csv", "a\n1\n2\n");
    assert_eq!(good.run_json(&[]).0, 0);
    let bytes = std::fs::read(good.path("out.parquet")).unwrap();
    for length in [0, 4, bytes.len() / 2, bytes.len() - 1] {
        let project = Project::with(&yaml).file("in.parquet", &bytes[..length]);
        let (exit, result) = project.run_json(&[]);
        assert_eq!(exit, 1, "{length} bytes: {result:#}");
        assert_eq!(
            failure(&result, "n")["code"],
            "read/bad-file",
            "{length} bytes"
        );
    }
}

#[test]
fn header_without_rows_is_an_empty_table_with_its_columns() {
    let project = Project::with(COPY).file("in.csv", "a,b\n");
    let (exit, result) = project.run_json(&[]);
    assert_eq!(exit, 0, "{result:#}");
    assert_eq!(
        result["pipelines"][0]["story"]["nodes"][0]["facts"]["rows_written"],
        0
    );
}

#[test]
fn link_out_of_the_connection_is_denied() {
    let yaml = COPY.replace("base_path: .", "base_path: data");
    let project = Project::with(&yaml)
        .file("secret.csv", "a\n1\n")
        .file("data/other.csv", "a\n1\n");
    std::os::unix::fs::symlink(project.path("secret.csv"), project.path("data/in.csv")).unwrap();
    let (exit, result) = project.run_json(&[]);
    assert_eq!(exit, 1);
    assert_eq!(failure(&result, "n")["code"], "read/denied");
}

const PLUGIN: &str = r"project: p
connections: {here: {type: local, base_path: .}}
plugins: {x: {path: x.wasm}}
pipelines:
  - pipeline: p
    nodes:
      - name: n
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: x/identity}]}
";

/// A project whose plugin is this file ends as invalid, with this code at the plugin's line.
#[track_caller]
fn check_plugin(bytes: Option<&[u8]>, code: &str) {
    let mut project = Project::with(PLUGIN).file("in.csv", "a\n1\n");
    if let Some(bytes) = bytes {
        project = project.file("x.wasm", bytes);
    }
    for command in ["validate", "run"] {
        let invocation = project.odibi(&[command]).exits(78);
        assert!(
            invocation.stderr.contains(&format!("error[{code}]")),
            "{}",
            invocation.stderr
        );
        assert!(
            invocation.stderr.contains("odibi.yaml:3:"),
            "{}",
            invocation.stderr
        );
    }
}

#[test]
fn plugin_file_that_is_not_there() {
    check_plugin(None, "plugin/missing");
}

#[test]
fn plugin_that_is_not_wasm() {
    check_plugin(Some(b"#!/bin/sh\n"), "plugin/not-a-component");
}

#[test]
fn plugin_that_is_empty() {
    check_plugin(Some(b""), "plugin/not-a-component");
}

#[test]
fn plugin_that_is_a_core_module() {
    check_plugin(Some(b"\0asm\x01\0\0\0"), "plugin/not-a-component");
}

#[test]
fn plugin_that_is_cut_short() {
    let whole = std::fs::read(support::hostile()).unwrap();
    check_plugin(Some(&whole[..whole.len() / 2]), "plugin/not-a-component");
}

#[test]
fn component_without_our_exports_has_no_interface_version() {
    check_plugin(Some(b"\0asm\x0d\0\x01\0"), "plugin/interface-version");
}

#[test]
fn component_of_another_interface_version_is_refused_by_both_numbers() {
    // Same length, so that every name in the binary stays well-formed.
    let bytes = std::fs::read(support::hostile()).unwrap();
    let other = replace_all(&bytes, b"@0.2.0", b"@0.9.0");
    assert_ne!(bytes, other);
    check_plugin(Some(&other), "plugin/interface-version");
}

#[test]
fn component_that_wants_files_is_denied_before_it_is_compiled() {
    let bytes = std::fs::read(support::hostile()).unwrap();
    // `wasi:cli/environment` and its kin are granted; an interface of that length which is not:
    let other = replace_all(&bytes, b"wasi:cli/environment@", b"wasi:fil/environment@");
    assert_ne!(
        bytes, other,
        "the guest no longer imports wasi:cli/environment"
    );
    check_plugin(Some(&other), "plugin/denied-import");
}

fn replace_all(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if &bytes[at..at + from.len()] == from {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
        at += 1;
    }
    bytes
}

#[test]
fn bad_param_is_shown_at_its_line_even_when_only_the_plugin_knows() {
    let yaml = COPY.replace(
        "        write:",
        "        transform:\n          steps:\n            - operation: select_columns\n              params:\n                columns: [a, bb]\n        write:",
    );
    let project = Project::with(&yaml).file("in.csv", "a,b\n1,2\n");
    let invocation = project.odibi(&["run"]).exits(1);
    assert!(
        invocation.stderr.contains("odibi.yaml:12:30"),
        "{}",
        invocation.stderr
    );
    assert!(invocation.stderr.contains("`bb`"), "{}", invocation.stderr);
}
