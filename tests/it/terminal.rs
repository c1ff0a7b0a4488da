//! What a person sees on a terminal, in CI and through a pipe; colours written as `<1;31>`.

use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use support::Project;

/// Nodes that succeed, one that fails, one that is skipped; the file that is to blame holds a colour.
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
        .file("faulty.yaml", YAML.replace("{df: load}", "{df: laod}"))
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

/// The project's directory, times, and the width of columns that follows from them are taken out.
fn normal(line: &str, project: &Project) -> String {
    let directory = project.path("").display().to_string();
    let line = line.replace(directory.trim_end_matches('/'), "PROJECT");
    let line = match line.split_once("PROJECT/stories/") {
        Some((before, _)) => format!("{before}STORY"),
        None => line,
    };
    let line = support::without_durations(&line);
    let text = line.trim_start();
    let words = text.split("  ").map(str::trim).filter(|w| !w.is_empty());
    let indent = &line[..line.len() - text.len()];
    format!("{indent}{}", words.collect::<Vec<_>>().join("  "))
}

/// The component must be compiled, so that nothing is said of that.
fn warm() {
    let _ = project().odibi(&["run", "--node", "clean"]).exits(0);
}

#[track_caller]
fn on_terminal(args: &[&str], variables: &[(&str, &str)], expect: &Expect) {
    let project = project();
    warm();
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
    let lines: Vec<String> = text.lines().map(|line| normal(line, &project)).collect();
    expect.assert_eq(&(lines.join("\n") + "\n"));
}

const RUN: [&str; 3] = ["run", "--workers", "1"];

#[test]
fn on_a_terminal_there_are_colours_and_bars() {
    on_terminal(
        &RUN,
        &[],
        &expect![[r#"
            orders.load  <32>succeeded<0>  3 rows  <time>
            orders.clean  <32>succeeded<0>  3 rows  <time>
            orders.broken  <1;31>failed  <0>  <time>
            <1;31>error[read/bad-row]:<0> bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
            <1;34>  --><0> odibi.yaml:14:15
            <1;34>  |<0>
            <1;34>14 |<0>  - name: broken
            <1;34>  |<0>  <1;31>^^^^^^<0>
            <1;34>  |<0>
            <1;36>hint:<0> quote fields that hold the delimiter, and check `delimiter`
            orders.report  <33>skipped  <0>  not tried, because node `orders.broken` failed
            <1>orders<0> <1;31>failed<0> in <time> (2 succeeded, 1 failed, 1 skipped)
            <2>  node  outcome  time  rows in  rows out  written<0>
              load  <32>succeeded<0>  <time>  3  3
              clean  <32>succeeded<0>  <time>  3  3  3
              broken  <1;31>failed<0>  <time>
                <1;31>error[read/bad-row]<0>: bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
                  --> odibi.yaml:14:15
                <1>hint:<0> quote fields that hold the delimiter, and check `delimiter`
              report  <2>skipped<0>
            story: STORY
            drawn over: yes
            exit: 1
        "#]],
    );
}

#[test]
fn no_color_takes_the_colours_and_leaves_the_bars() {
    on_terminal(
        &RUN,
        &[("NO_COLOR", "1")],
        &expect![[r#"
            orders.load  succeeded  3 rows  <time>
            orders.clean  succeeded  3 rows  <time>
            orders.broken  failed  <time>
            error[read/bad-row]: bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
              --> odibi.yaml:14:15
               |
            14 |  - name: broken
               |  ^^^^^^
               |
            hint: quote fields that hold the delimiter, and check `delimiter`
            orders.report  skipped  not tried, because node `orders.broken` failed
            orders failed in <time> (2 succeeded, 1 failed, 1 skipped)
              node  outcome  time  rows in  rows out  written
              load  succeeded  <time>  3  3
              clean  succeeded  <time>  3  3  3
              broken  failed  <time>
                error[read/bad-row]: bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
                  --> odibi.yaml:14:15
                hint: quote fields that hold the delimiter, and check `delimiter`
              report  skipped
            story: STORY
            drawn over: yes
            exit: 1
        "#]],
    );
}

#[test]
fn in_ci_there_are_no_bars() {
    on_terminal(
        &RUN,
        &[("CI", "true")],
        &expect![[r#"
            orders.load  <36>started  <0>
            orders.load  <32>succeeded<0>  3 rows  <time>
            orders.clean  <36>started  <0>
            orders.clean  <32>succeeded<0>  3 rows  <time>
            orders.broken  <36>started  <0>
            orders.broken  <1;31>failed  <0>  <time>
            <1;31>error[read/bad-row]:<0> bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
            <1;34>  --><0> odibi.yaml:14:15
            <1;34>  |<0>
            <1;34>14 |<0>  - name: broken
            <1;34>  |<0>  <1;31>^^^^^^<0>
            <1;34>  |<0>
            <1;36>hint:<0> quote fields that hold the delimiter, and check `delimiter`
            orders.report  <33>skipped  <0>  not tried, because node `orders.broken` failed
            <1>orders<0> <1;31>failed<0> in <time> (2 succeeded, 1 failed, 1 skipped)
            <2>  node  outcome  time  rows in  rows out  written<0>
              load  <32>succeeded<0>  <time>  3  3
              clean  <32>succeeded<0>  <time>  3  3  3
              broken  <1;31>failed<0>  <time>
                <1;31>error[read/bad-row]<0>: bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
                  --> odibi.yaml:14:15
                <1>hint:<0> quote fields that hold the delimiter, and check `delimiter`
              report  <2>skipped<0>
            story: STORY
            drawn over: no
            exit: 1
        "#]],
    );
}

#[test]
fn dumb_terminal_gets_text() {
    on_terminal(
        &RUN,
        &[("TERM", "dumb")],
        &expect![[r#"
            orders.load  started
            orders.load  succeeded  3 rows  <time>
            orders.clean  started
            orders.clean  succeeded  3 rows  <time>
            orders.broken  started
            orders.broken  failed  <time>
            error[read/bad-row]: bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
              --> odibi.yaml:14:15
               |
            14 |  - name: broken
               |  ^^^^^^
               |
            hint: quote fields that hold the delimiter, and check `delimiter`
            orders.report  skipped  not tried, because node `orders.broken` failed
            orders failed in <time> (2 succeeded, 1 failed, 1 skipped)
              node  outcome  time  rows in  rows out  written
              load  succeeded  <time>  3  3
              clean  succeeded  <time>  3  3  3
              broken  failed  <time>
                error[read/bad-row]: bad row in `PROJECT/broken.csv`, line 3: 1 field where 2 are expected
                  --> odibi.yaml:14:15
                hint: quote fields that hold the delimiter, and check `delimiter`
              report  skipped
            story: STORY
            drawn over: no
            exit: 1
        "#]],
    );
}

#[test]
fn invalid_project_on_a_terminal() {
    on_terminal(
        &["validate", "faulty.yaml"],
        &[],
        &expect![[r#"
            <1;31>error[config/unknown-node]<0>: <1>node `clean` depends on `laod`, which does not exist<0>
            <1;34>  --><0> faulty.yaml:11:22
            <1;34>  |<0>
            <1;34>11 |<0>  inputs: {df: laod}
            <1;34>  |<0>  <1;31>^^^^ not a node of pipeline `orders`<0>
            <1;34>  |<0>
            <1;36>hint<0>: did you mean `load`?

            <1;31>invalid project:<0> 1 error; no node was run
            drawn over: no
            exit: 78
        "#]],
    );
}

#[test]
fn through_a_pipe_there_is_neither() {
    for variables in [&[][..], &[("CI", "true")], &[("NO_COLOR", "1")]] {
        let project = project();
        warm();
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
