//! What a person sees on a terminal, in CI and through a pipe; colours written as `<1;31>`.

use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use support::Project;

/// A node that succeeds, one that recovers nothing, one that is skipped; a name with a colour of its own.
const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
story: {connection: here, path: stories}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
      - name: clean
        inputs: {df: load}
        transform: {steps: [{operation: clean_text, params: {columns: [city], case: upper}}]}
        write: {connection: here, format: csv, path: out/clean.csv}
      - name: broken
        read: {connection: here, format: csv, path: broken.csv}
      - name: report
        depends_on: [broken]
        read: {connection: here, format: csv, path: orders.csv}
";

fn project() -> Project {
    Project::with(YAML)
        .file("orders.csv", "id,city\n1,Bern\n2,Basel\n3,Bern\n")
        .file("broken.csv", "id,city\n1,\u{1b}[31mBern\n2\n")
}

fn command(program: &std::path::Path, project: &Project, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(project.path(""))
        .env_clear()
        .env("ODIBI_CACHE_DIR", support::cache_dir())
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Times, the run's id and dates are taken out.
fn normal(text: &str) -> String {
    let text = support::without_durations(text);
    let words = text.split(' ').map(|word| {
        let is_story = word.starts_with("stories/") || word.contains("/stories/");
        if is_story { "STORY" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The components must be compiled, so that nothing is said of that.
fn warm(project: &Project) {
    let _ = project.odibi(&["plugin", "compile"]).exits(0);
}

#[track_caller]
fn on_terminal(args: &[&str], variables: &[(&str, &str)], expect: &Expect) {
    let project = project();
    warm(&project);
    let mut command = command(&support::python(), &project, variables);
    command
        .arg(support::root().join("tests/python/on_terminal.py"))
        .arg(support::binary())
        .args(args);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<String> = text.lines().map(normal).collect();
    expect.assert_eq(&(lines.join("\n") + "\n"));
}

const RUN: [&str; 3] = ["run", "--workers", "1"];

#[test]
fn on_a_terminal_there_are_colours_and_bars() {
    on_terminal(&RUN, &[], &expect![[""]]);
}

#[test]
fn no_color_takes_the_colours_and_leaves_the_bars() {
    on_terminal(&RUN, &[("NO_COLOR", "1")], &expect![[""]]);
}

#[test]
fn in_ci_there_are_no_bars() {
    on_terminal(&RUN, &[("CI", "true")], &expect![[""]]);
}

#[test]
fn dumb_terminal_gets_text() {
    on_terminal(&RUN, &[("TERM", "dumb")], &expect![[""]]);
}

#[test]
fn invalid_project_on_a_terminal() {
    on_terminal(&["validate", "--config", "x"], &[], &expect![[""]]);
}

#[test]
fn through_a_pipe_there_is_neither() {
    for variables in [&[][..], &[("CI", "true")], &[("NO_COLOR", "1")]] {
        let project = project();
        warm(&project);
        let output = command(&support::binary(), &project, variables)
            .args(RUN)
            .output()
            .unwrap();
        let both = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        for text in both {
            let steering = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(steering, None, "{text:?}");
            assert!(text.contains("orders"), "{text}");
        }
    }
}
