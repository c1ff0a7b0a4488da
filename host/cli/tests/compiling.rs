//! The program compiles plugins in a process of its own, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROJECT: &str = r"
project: one
connections: {here: {type: local, base_path: .}}
pipelines:
  - pipeline: one
    nodes:
      - name: only
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: distinct}]}
        write: {connection: here, format: csv, path: out.csv, mode: overwrite}
";

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("odibi.yaml"), PROJECT).unwrap();
    fs::write(dir.path().join("in.csv"), "a\n1\n1\n").unwrap();
    dir
}

fn start(program: &Path, args: &[&str], project: &Path) -> Output {
    Command::new(program)
        .args(args)
        .current_dir(project)
        .env("ODIBI_CACHE_DIR", project.join("cache"))
        .output()
        .unwrap()
}

fn odibi() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_odibi"))
}

#[test]
fn first_run_on_a_machine_compiles_and_the_second_does_not() {
    let project = project();
    let first = start(odibi(), &["run"], project.path());
    let said = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{said}");
    assert!(said.contains("compiled plugin"), "{said}");
    let out = fs::read_to_string(project.path().join("out.csv")).unwrap();
    assert_eq!(out, "a\n1\n");
    let second = start(odibi(), &["run"], project.path());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        second.status.success() && !said.contains("compil"),
        "{said}"
    );
}

/// There is no way around the child: where it cannot be started, nothing is compiled.
#[test]
fn a_program_whose_file_is_gone_cannot_compile_and_says_so() {
    let project = project();
    let linked = odibi().with_file_name(format!("odibi-removed-{}", std::process::id()));
    fs::hard_link(odibi(), &linked).unwrap();
    let script = r#"exec 3<"$0" && rm "$0" && exec /proc/self/fd/3 run"#;
    let args = ["-c", script, linked.to_str().unwrap()];
    let output = start(Path::new("/bin/sh"), &args, project.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("resources/compiler"), "{said}");
    assert!(
        said.contains("gave up compiling plugin") && !said.contains("compiled plugin"),
        "{said}"
    );
    assert!(!project.path().join("out.csv").exists());
}

#[test]
fn the_child_talks_to_odibi_only() {
    let project = project();
    let stranger = start(odibi(), &["compile-component"], project.path());
    assert!(!stranger.status.success() && stranger.stdout.is_empty());
}
