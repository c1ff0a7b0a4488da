//! The log: who decides its level and form, and that a structured one holds JSON lines and nothing else, however the
//! invocation ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Project;

/// One node for each way to end: `good` and `written` succeed, `sinking` fails, `after` is skipped.
const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
plugins: {evil: {path: evil.wasm}}
story: {connection: here, path: stories}
retry: {max_attempts: 1}
pipelines:
  - pipeline: orders
    nodes:
      - name: good
        read: {connection: here, format: csv, path: orders.csv}
      - name: written
        inputs: {df: good}
        transform: {steps: [{operation: evil/tricks}]}
        write: {connection: here, format: csv, path: out/written.csv}
      - name: sinking
        inputs: {df: good}
        transform: {steps: [{operation: evil/panic}]}
        write: {connection: here, format: csv, path: out/sinking.csv}
      - name: after
        depends_on: [sinking]
        read: {connection: here, format: csv, path: orders.csv}
  - pipeline: slow
    nodes:
      - name: late
        timeout: 200ms
        retry: {max_attempts: 2, delay: 0s}
        read: {connection: here, format: csv, path: orders.csv}
        transform: {steps: [{operation: evil/spin_in_process}]}
";
const ORDERS: &str = "id,city\n1,Bern\n2,Basel\n3,Bern\n";

fn project(yaml: &str) -> Project {
    Project::with(yaml)
        .file("orders.csv", ORDERS)
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

fn command(project: &Project, args: &[&str]) -> Command {
    let mut command = Command::new(support::binary());
    command
        .args(args)
        .current_dir(project.path(""))
        .env("ODIBI_CACHE_DIR", support::cache_dir())
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null());
    command
}

/// The exit code and the lines of stderr, each of which must be what a structured line is.
#[track_caller]
fn lines(project: &Project, args: &[&str], variables: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let mut command = command(project, args);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), parsed(&text))
}

/// The lines of a structured log, each of which must be what such a line is.
#[track_caller]
pub(crate) fn parsed(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(parse).collect()
}

#[track_caller]
fn parse(line: &str) -> Value {
    let hidden = line.chars().find(|c| odibi_story::render::is_hidden(*c));
    assert_eq!(hidden, None, "{line}");
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let object = value.as_object().unwrap_or_else(|| panic!("{line}"));
    let first: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
    let always = [
        "timestamp",
        "level",
        "message",
        "event",
        "run_id",
        "pipeline",
        "node",
        "attempt",
    ];
    assert_eq!(first, always, "{line}");
    let at: &str = value["timestamp"].as_str().unwrap();
    assert!(at.parse::<jiff::Timestamp>().is_ok(), "{line}");
    let levels = ["ERROR", "WARNING", "INFO", "DEBUG", "TRACE"];
    assert!(levels.contains(&value["level"].as_str().unwrap()), "{line}");
    assert!(
        value["message"].is_string() && value["event"].is_string(),
        "{line}"
    );
    value
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[track_caller]
fn one<'a>(lines: &'a [Value], event: &str, node: &str) -> &'a Value {
    let found = of(lines, event);
    let found: Vec<&&Value> = found.iter().filter(|line| line["node"] == node).collect();
    assert_eq!(found.len(), 1, "{event} of {node}: {lines:#?}");
    found[0]
}

#[test]
fn run_is_told_in_json_lines_with_its_numbers() {
    let project = project(YAML);
    let args = ["run", "--log-format", "json", "--log-level", "debug"];
    let (code, lines) = lines(&project, &args, &[]);
    assert_eq!(code, 1);
    let run_id = &lines.last().unwrap()["run_id"];
    assert_eq!(run_id.as_str().unwrap().len(), 36);
    let began = lines
        .iter()
        .position(|l| l["event"] == "run_started")
        .unwrap();
    assert!(lines[began..].iter().all(|line| &line["run_id"] == run_id));

    let written = one(&lines, "node_finished", "written");
    let bytes = std::fs::metadata(project.path("out/written.csv"))
        .unwrap()
        .len();
    for (field, expect) in [
        ("level", Value::from("INFO")),
        ("pipeline", "orders".into()),
        ("attempt", 1.into()),
        ("outcome", "succeeded".into()),
        ("rows_read", 3.into()),
        ("rows_out", 3.into()),
        ("rows_written", 3.into()),
        ("rows_quarantined", 0.into()),
        ("bytes", bytes.into()),
    ] {
        assert_eq!(written[field], expect, "{field}: {written}");
    }
    assert!(written["duration_ms"].is_u64());
    let good = one(&lines, "node_finished", "good");
    assert_eq!(good["bytes_read"], ORDERS.len(), "{good}");

    let sinking = one(&lines, "node_finished", "sinking");
    assert_eq!(sinking["level"], "ERROR");
    assert_eq!(sinking["outcome"], "failed");
    assert_eq!(sinking["failure_class"], "trap", "{sinking}");
    assert_eq!(sinking["failure_code"], "trap/unreachable", "{sinking}");
    assert_eq!(
        (&sinking["file"], &sinking["line"]),
        (&"odibi.yaml".into(), &18.into())
    );
    let after = one(&lines, "node_finished", "after");
    assert_eq!(after["outcome"], "skipped");
    assert_eq!(
        (&after["level"], &after["attempt"]),
        (&"WARNING".into(), &Value::Null)
    );

    let again = one(&lines, "attempt_failed", "late");
    assert_eq!(
        (&again["attempt"], &again["retry_in_ms"]),
        (&1.into(), &0.into())
    );
    assert_eq!(again["failure_code"], "run/timeout");
    let late = one(&lines, "node_finished", "late");
    assert_eq!(
        (&late["attempt"], &late["failure_class"]),
        (&2.into(), &"transient".into())
    );

    let ends = of(&lines, "pipeline_finished");
    assert_eq!(ends.len(), 2);
    let orders = ends
        .iter()
        .find(|line| line["pipeline"] == "orders")
        .unwrap();
    assert_eq!(orders["nodes_succeeded"], 2, "{orders}");
    assert_eq!(orders["nodes_failed"], 1);
    assert_eq!(orders["nodes_skipped"], 1);
    assert_eq!(orders["rows_written"], 3);
    assert_eq!(orders["bytes"], bytes);
    assert_eq!(of(&lines, "exit_decided")[0]["exit_code"], 1);
}

#[test]
fn guests_are_named_and_cannot_write_lines_of_their_own() {
    let project = project(YAML);
    let args = [
        "run",
        "--log-format=json",
        "--log-level=trace",
        "--node",
        "written",
    ];
    let (code, lines) = lines(&project, &args, &[]);
    assert_eq!(code, 0);
    let said = of(&lines, "guest");
    assert!(!said.is_empty(), "{lines:#?}");
    for line in &said {
        assert_eq!(line["plugin"], "odibi-hostile");
        assert_eq!(line["operation"], "evil/tricks");
        assert_eq!(
            (&line["pipeline"], &line["node"]),
            (&"orders".into(), &"written".into())
        );
        assert_eq!((&line["attempt"], &line["step"]), (&1.into(), &1.into()));
    }
    let warned = said.iter().find(|line| line["kind"] == "warn").unwrap();
    assert_eq!(warned["level"], "WARNING");
    assert!(
        warned["message"].as_str().unwrap().contains("run_finished"),
        "{warned}"
    );
    assert_eq!(of(&lines, "run_finished").len(), 1, "the guest's is none");
}

#[test]
fn guest_that_crashes_has_said_what_it_said() {
    let project = project(YAML);
    let args = ["run", "--log-format=json", "--node", "sinking"];
    let (_, lines) = lines(&project, &args, &[]);
    let said = of(&lines, "guest");
    let panic = said.iter().find(|line| line["kind"] == "stderr");
    let panic = panic.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(panic["node"], "sinking");
}

#[test]
fn what_never_runs_is_told_in_json_lines_too() {
    let json = [("ODIBI_LOG_FORMAT", "json")];
    let flag = "--log-format=json";
    let good = project(YAML);
    let check =
        |project: &Project, args: &[&str], variables: &[(&str, &str)], code: i32, event: &str| {
            let (ended, lines) = lines(project, args, variables);
            assert_eq!(ended, code, "{args:?}: {lines:#?}");
            assert!(
                lines.iter().any(|line| line["event"] == event),
                "{args:?}: {lines:#?}"
            );
            lines
        };
    // The command line.
    check(&good, &["run", "--nope"], &json, 2, "usage");
    check(&good, &["run", flag, "--nope"], &[], 2, "usage");
    check(
        &good,
        &["run", "--log-format", "json", "--workers=x"],
        &[],
        2,
        "usage",
    );
    check(&good, &[], &json, 2, "usage");
    check(&good, &["explain", "no/such"], &json, 2, "message");
    check(&good, &["run", "no.yaml"], &json, 2, "failure");
    check(&good, &["run", "--node", "nobody"], &json, 78, "diagnostic");
    let both = [("ODIBI_LOG_FORMAT", "json"), ("ODIBI_LOG_LEVEL", "loud")];
    check(&good, &["run"], &both, 2, "message");
    // The project.
    let faulty = project(&YAML.replace("depends_on: [sinking]", "depends_on: [sunk]"));
    let found = check(&faulty, &["run", flag], &[], 78, "diagnostic");
    let fault = of(&found, "diagnostic")[0];
    assert_eq!(fault["code"], "config/unknown-node", "{fault}");
    assert_eq!(
        (&fault["file"], &fault["line"], &fault["column"]),
        (&"odibi.yaml".into(), &21.into(), &22.into())
    );
    assert_eq!(
        (&fault["level"], &fault["run_id"]),
        (&"ERROR".into(), &Value::Null)
    );
    check(
        &faulty,
        &["run", flag, "--output", "json"],
        &[],
        78,
        "diagnostic",
    );
    check(&faulty, &["validate"], &json, 78, "diagnostic");
    check(&faulty, &["plan"], &json, 78, "diagnostic");
    let broken = project(&format!("{YAML}  - [\u{1b}[31m\n"));
    check(&broken, &["run"], &json, 78, "diagnostic");
    let no_plugin = project(&YAML.replace("path: evil.wasm", "path: good.wasm"));
    check(&no_plugin, &["run"], &json, 78, "diagnostic");
    // What the project asks for holds for its own faults.
    let asked = project(&format!(
        "{YAML}logging: {{structured: true, metadata: {{team: sales}}}}\nnope: 1\n"
    ));
    let found = check(&asked, &["run"], &[], 78, "diagnostic");
    assert!(
        found.iter().all(|line| line["metadata"]["team"] == "sales"),
        "{found:#?}"
    );
    // The state.
    let blocked = project(YAML).file(".odibi", "no directory");
    check(&blocked, &["run"], &json, 3, "failure");
}

#[test]
fn interrupted_run_is_told_in_json_lines() {
    let yaml = YAML.replace("        timeout: 200ms\n", "");
    let project = project(&yaml);
    let mut child = command(&project, &["run", "--log-format=json", "--pipeline=slow"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("\"event\":\"attempt_started\"") {
        assert_ne!(stderr.read_line(&mut text).unwrap(), 0, "{text}");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let lines = parsed(&text);
    assert_eq!(of(&lines, "signal").len(), 1);
    let late = one(&lines, "node_finished", "late");
    assert_eq!(
        (&late["outcome"], &late["failure_class"]),
        (&"cancelled".into(), &"cancelled".into())
    );
    assert_eq!(of(&lines, "exit_decided")[0]["exit_code"], 130);
}

/// Flag, then variable, then project, then default.
#[test]
fn nearest_word_decides_level_and_format() {
    let plain = "project: p\nconnections: {here: {type: local, base_path: .}}\npipelines: [{pipeline: p, nodes: [{name: a, read: {connection: here, format: csv, path: orders.csv}}]}]\n";
    let asking = format!("{plain}logging: {{level: ERROR, structured: true}}\n");
    let check =
        |yaml: &str, args: &[&str], variables: &[(&str, &str)], structured: bool, started: bool| {
            let project = Project::with(yaml).file("orders.csv", ORDERS);
            let output = command(&project, &[&["run"], args].concat())
                .envs(variables.iter().copied())
                .output()
                .unwrap();
            assert!(output.status.success());
            let text = String::from_utf8(output.stderr).unwrap();
            let found = (text.starts_with('{'), text.contains("started"));
            let expect = (structured && started, started);
            assert_eq!(found, expect, "{args:?} {variables:?}\n{text}");
        };
    let level = |word| [("ODIBI_LOG_LEVEL", word)];
    let format = |word| [("ODIBI_LOG_FORMAT", word)];
    check(plain, &[], &[], false, true);
    check(plain, &["-q"], &[], false, false);
    check(plain, &["--log-level", "WARN"], &[], false, false);
    check(plain, &[], &level("warning"), false, false);
    check(plain, &["--log-level=info"], &level("error"), false, true);
    check(plain, &["-v"], &level("error"), false, true);
    check(plain, &[], &format("JSON"), true, true);
    check(plain, &["--log-format=text"], &format("json"), false, true);
    check(&asking, &[], &[], true, false);
    check(&asking, &["--log-level=info"], &[], true, true);
    check(&asking, &[], &level("info"), true, true);
    check(&asking, &["--log-level=info"], &format("text"), false, true);
    check(
        &asking,
        &["--log-level=info", "--log-format=text"],
        &[],
        false,
        true,
    );
}

#[test]
fn both_short_flags_and_a_level_contradict_each_other() {
    let project = Project::new();
    for args in [
        ["run", "-q", "--log-level=info"],
        ["run", "-v", "--log-level=info"],
    ] {
        let refused = project.odibi(&args).exits(2);
        assert!(
            refused.stderr.contains("cannot be used with"),
            "{}",
            refused.stderr
        );
    }
    let refused = project.odibi(&["run", "--log-level=loud"]).exits(2);
    assert!(refused.stderr.contains("loud"), "{}", refused.stderr);
    let refused = Project::new()
        .variable("ODIBI_LOG_LEVEL", "s3cret")
        .odibi(&["run"])
        .exits(2);
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
}

/// Names of the project may hold anything that YAML can say.
#[test]
fn no_text_of_a_project_steers_a_terminal() {
    let yaml = YAML
        .replace("orders.csv", "\"no\\e[31m\\u202e.csv\"")
        .replace("evil.wasm", "\"evil\\e[2J.wasm\"");
    let project = Project::with(&yaml).variable("NO_COLOR", "1");
    for args in [
        ["run", "--color=never"],
        ["validate", "--color=never"],
        ["run", "\u{1b}[31mx\u{7}.yaml"],
        ["\u{1b}[31mrun", "--color=never"],
        ["explain", "\u{9b}31m"],
        ["show", "\u{9b}31m"],
        ["man", "\u{9b}31m"],
    ] {
        let world = project.on_terminal(&args);
        let hidden = |text: &str| text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(hidden(&world.stderr), None, "{args:?}: {:?}", world.stderr);
        assert_eq!(hidden(&world.stdout), None, "{args:?}: {:?}", world.stdout);
    }
}
