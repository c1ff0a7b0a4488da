//! Runs that were killed, as the next start tells of them: in their own environment, once, and again where it did not
//! work. And what environments of one project do not share.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::Project;
use support::recorder::Recorder;

use crate::running::Running;
use crate::state::many;

const YAML: &str = "project: shop
connections:
  here: {type: local, base_path: .}
story: {connection: here, path: stories/dev}
alerts:
  - {name: hook, type: webhook, url: '${HOOK}', on_events: [on_failure]}
environments:
  dev: {}
  prod: {story: {path: stories/prod}}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: here, format: parquet, path: out/load.parquet}
      - name: slow
        read: {connection: here, format: csv, path: many.csv}
        write: {connection: here, format: csv, path: out/slow.csv}
";
const ORDERS: &str = "id,city\n1,Bern\n2,Basel\n3,Bern\n";

/// A project, what hears its alerts, and the run that was killed at work.
struct Killed {
    project: Project,
    recorder: Recorder,
    id: String,
}

impl Killed {
    fn new(environment: &str) -> Self {
        let recorder = Recorder::start([]);
        let hook = recorder.url("x");
        let project = Project::with(YAML)
            .variable("HOOK", &hook)
            .file("orders.csv", ORDERS)
            .file("many.csv", many());
        let variables = [("HOOK", hook.as_str())];
        let args = ["--env", environment];
        let mut run = Running::start(&project, &args, &support::cache_dir(), &variables);
        run.until("orders.slow", "started");
        assert!(run.kill(), "it had ended already");
        let mut runs = std::fs::read_dir(project.path(".odibi/runs")).unwrap();
        let id = runs.next().unwrap().unwrap().file_name();
        Self {
            // The next runs are short.
            project: project.file("many.csv", ORDERS),
            recorder,
            id: id.into_string().unwrap(),
        }
    }

    /// A file in the directory of the killed run.
    fn file(&self, name: &str) -> String {
        format!(".odibi/runs/{}/{name}", self.id)
    }

    fn log(&self) -> String {
        self.project.text(&self.file("events.jsonl"))
    }

    fn events(&self) -> Vec<Value> {
        let log = self.log();
        let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
        events.collect()
    }

    fn count(&self, kind: &str) -> usize {
        let events = self.events();
        events.iter().filter(|event| event["event"] == kind).count()
    }

    /// How the runs ended that have stories there, the oldest first.
    fn outcomes(&self, environment: &str) -> Vec<String> {
        let dir = self.project.path(&format!("stories/{environment}/orders"));
        if !dir.exists() {
            return Vec::new();
        }
        let files = support::files_below(&dir).into_iter().filter(|path| {
            path.extension().is_some_and(|e| e == "json") && !path.ends_with("index.json")
        });
        let outcome = |path: std::path::PathBuf| {
            let story = std::fs::read_to_string(path).unwrap();
            let story: Value = serde_json::from_str(&story).unwrap();
            story["outcome"].as_str().unwrap().to_owned()
        };
        files.map(outcome).collect()
    }

    /// The alerts that were delivered: of which run, and in which environment.
    fn alerts(&self) -> Vec<(String, String)> {
        let taken = self.recorder.taken();
        let told = taken.iter().map(|alert| {
            let body: Value = serde_json::from_slice(&alert.body).unwrap();
            assert_eq!(body["event"], "on_failure");
            assert_eq!(body["outcome"], "crashed");
            ["run_id", "environment"].map(|key| body[key].as_str().unwrap().to_owned())
        });
        told.map(|[run, environment]| (run, environment)).collect()
    }

    fn alert(&self, environment: &str) -> Vec<(String, String)> {
        vec![(self.id.clone(), environment.to_owned())]
    }
}

#[test]
fn killed_run_is_told_of_and_gone_on_with_in_its_own_environment() {
    let killed = Killed::new("prod");
    let log = killed.log();
    let (code, result) = killed.project.run_json(&["--env", "dev"]);
    assert_eq!(
        (code, &result["continues"]),
        (0, &Value::Null),
        "{result:#}"
    );
    assert_eq!(killed.outcomes("dev"), ["succeeded"]);
    assert_eq!(killed.outcomes("prod"), [""; 0]);
    assert!(killed.alerts().is_empty());
    assert_eq!(killed.log(), log);
    let (code, result) = killed.project.run_json(&["--env", "prod"]);
    assert_eq!(
        (code, &result["continues"]),
        (0, &Value::from(killed.id.as_str())),
        "{result:#}"
    );
    assert_eq!(killed.outcomes("dev"), ["succeeded"]);
    assert_eq!(killed.outcomes("prod"), ["crashed", "succeeded"]);
    assert_eq!(killed.alerts(), killed.alert("prod"));
    assert_eq!(killed.count("run_crashed"), 1);
}

#[test]
fn what_could_not_be_told_is_told_by_a_later_start() {
    let killed = Killed::new("dev");
    let log = killed.project.path(&killed.file("events.jsonl"));
    let said = std::fs::read(&log).unwrap();
    // Nobody can read it now.
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let run = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
    let warned = format!(
        "run {} was killed, and its end could not be told",
        killed.id
    );
    assert!(run.stderr.contains(&warned), "{}", run.stderr);
    assert_eq!(killed.outcomes("dev"), ["succeeded"]);
    assert!(killed.alerts().is_empty());
    std::fs::remove_dir(&log).unwrap();
    std::fs::write(&log, said).unwrap();
    let run = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
    assert!(!run.stderr.contains("not be told"), "{}", run.stderr);
    assert_eq!(
        killed.outcomes("dev"),
        ["crashed", "succeeded", "succeeded"]
    );
    assert_eq!(killed.alerts(), killed.alert("dev"));
    // And never again.
    let run = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
    assert!(!run.stderr.contains(&killed.id), "{}", run.stderr);
    assert_eq!(killed.alerts().len(), 1);
}

#[test]
fn story_whose_store_is_away_is_written_by_a_later_start() {
    let killed = Killed::new("dev");
    let yaml = killed.project.text("odibi.yaml");
    let connection = "  away: {type: s3, bucket: stories, endpoint: 'http://127.0.0.1:9', access_key_id: nobody, \
                      secret_access_key: nobody-knows}\nstory: {connection: away";
    let away = yaml.replace("story: {connection: here", connection);
    assert_ne!(away, yaml);
    let project = killed.project.file("odibi.yaml", away);
    let run = project.odibi(&["run", "--env", "dev"]).exits(0);
    assert!(run.stderr.contains("not be told"), "{}", run.stderr);
    let killed = Killed {
        project: project.file("odibi.yaml", yaml),
        ..killed
    };
    // It does not wait for its story.
    assert_eq!(killed.alerts(), killed.alert("dev"));
    assert_eq!(killed.count("run_crashed"), 1);
    assert!(killed.outcomes("dev").is_empty());
    let run = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
    assert!(!run.stderr.contains("not be told"), "{}", run.stderr);
    assert_eq!(killed.outcomes("dev"), ["crashed", "succeeded"]);
    assert_eq!(killed.alerts(), killed.alert("dev"));
    assert_eq!(killed.count("run_crashed"), 1);
}

#[test]
fn log_that_was_damaged_tells_what_can_be_read() {
    for at in 0..2 {
        let killed = Killed::new("dev");
        let log = killed.log();
        let mut lines: Vec<&str> = log.lines().collect();
        lines[at] = "\u{0}\u{0}{\"seq\":";
        let damaged = lines.join("\n") + "\n";
        std::fs::write(killed.project.path(&killed.file("events.jsonl")), &damaged).unwrap();
        let run = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
        let warned = format!(
            "lines of the event log of run {} that cannot be read are left out: 1",
            killed.id
        );
        assert!(run.stderr.contains(&warned), "{}", run.stderr);
        assert_eq!(killed.outcomes("dev"), ["crashed", "succeeded"]);
        assert_eq!(killed.alerts(), killed.alert("dev"));
        let kept = killed.project.text(&killed.file("events.damaged.jsonl"));
        assert_eq!(kept, damaged);
        for kind in ["run_started", "pipeline_started", "run_crashed"] {
            assert_eq!(killed.count(kind), 1, "{kind}, line {at}");
        }
        let shown = killed.project.odibi(&["runs", "show", &killed.id]).exits(0);
        assert!(!shown.stderr.contains("cannot be read"), "{}", shown.stderr);
        let run = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
        assert!(!run.stderr.contains(&killed.id), "{}", run.stderr);
    }
}

#[test]
fn who_is_telling_of_a_run_is_not_disturbed() {
    let killed = Killed::new("dev");
    let before = killed.log();
    let path = killed.project.path(&killed.file("recovery.lock"));
    let telling = File::create(&path).unwrap();
    telling.lock().unwrap();
    let _ = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
    assert_eq!(killed.outcomes("dev"), ["succeeded"]);
    assert_eq!(killed.log(), before);
    // It was killed as well.
    drop(telling);
    let _ = killed.project.odibi(&["run", "--env", "dev"]).exits(0);
    assert_eq!(
        killed.outcomes("dev"),
        ["crashed", "succeeded", "succeeded"]
    );
    assert_eq!(killed.count("run_crashed"), 1);
    assert!(!path.exists());
}

#[test]
fn starts_side_by_side_leave_one_whole_log() {
    let killed = Killed::new("dev");
    let start = || {
        Command::new(support::binary())
            .args(["run", "--env", "dev", "--wait", "10m"])
            .current_dir(killed.project.path(""))
            .env("ODIBI_CACHE_DIR", support::cache_dir())
            .env("HOOK", killed.recorder.url("x"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let starts: Vec<Child> = (0..4).map(|_| start()).collect();
    for mut start in starts {
        assert!(start.wait().unwrap().success());
    }
    let events = killed.events();
    let seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert_eq!(killed.count("run_crashed"), 1);
    assert_eq!(killed.count("story_written"), 1);
    let mut outcomes = killed.outcomes("dev");
    outcomes.sort();
    assert_eq!(outcomes[0], "crashed");
    assert_eq!(outcomes[1..], ["succeeded"; 4]);
    assert_eq!(killed.alerts(), killed.alert("dev"));
}

const ONCE: &str = "project: shop
connections:
  here: {type: local, base_path: .}
  out: {type: local, base_path: dev}
environments:
  dev: {}
  prod: {connections: {out: {base_path: prod}}}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        read: {connection: here, format: csv, path: orders.csv}
        write: {connection: out, format: csv, path: orders.csv, mode: append_once}
";
const OLD: &str = "id,city\n9,Zug\n";
const BOTH: &str = "id,city\n9,Zug\n1,Bern\n2,Basel\n3,Bern\n";

#[test]
fn batch_of_one_environment_is_none_of_another() {
    let project = Project::with(ONCE)
        .file("orders.csv", ORDERS)
        .file("dev/orders.csv", OLD)
        .file("prod/orders.csv", OLD);
    for _ in 0..2 {
        for environment in ["dev", "prod"] {
            let _ = project.odibi(&["run", "-q", "--env", environment]).exits(0);
            let written = project.text(&format!("{environment}/orders.csv"));
            assert_eq!(written, BOTH, "{environment}");
        }
    }
}

#[test]
fn project_that_was_moved_knows_its_batches() {
    let project = Project::new()
        .file("here/odibi.yaml", ONCE)
        .file("here/orders.csv", ORDERS)
        .file("here/dev/orders.csv", OLD);
    let _ = project.odibi(&["run", "-q", "here/odibi.yaml"]).exits(0);
    std::fs::rename(project.path("here"), project.path("there")).unwrap();
    let _ = project.odibi(&["run", "-q", "there/odibi.yaml"]).exits(0);
    assert_eq!(project.text("there/dev/orders.csv"), BOTH);
}
