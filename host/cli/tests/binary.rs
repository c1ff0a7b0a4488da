//! The program itself, started as a process. That this test exists also makes `cargo test --workspace` build the binary,
//! which tests of other packages start.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn odibi(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_odibi"))
        .args(args)
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

#[track_caller]
fn check(args: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = odibi(args);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(
        out.contains(stdout) && (!stdout.is_empty() || out.is_empty()),
        "{out}"
    );
    assert!(
        err.contains(stderr) && (!stderr.is_empty() || err.is_empty()),
        "{err}"
    );
}

#[test]
fn results_go_to_stdout_and_problems_to_stderr() {
    check(&["--version"], 0, env!("CARGO_PKG_VERSION"), "");
    check(
        &["explain", "config/unknown-node"],
        0,
        "config/unknown-node",
        "",
    );
    check(&["--no-such-option"], 2, "", "--no-such-option");
    check(&["run", "no/such/project.yaml"], 2, "", "cli/no-project");
}
