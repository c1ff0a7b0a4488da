//! Stories on a disk, in S3, Azure and Google Cloud Storage: written, listed, shown; and many of them, of which most go.
//!
//! `ODIBI_TEST_STORIES=10000 tests/run --test it story_shelves -- --nocapture` is the long form, which prints figures.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use odibi_engine::Documents;
use odibi_plan::Sources;
use serde_json::Value;
use support::Project;

use crate::connect::Servers;

const STORIES: usize = 150;
/// What a story may add to the memory of a command that looks at all of them: its place in the index, and in a listing.
const STORY_BYTES_MAX: u64 = 8 * 1024;
/// What a command may take more than one that looks at a few, whatever their number: buffers of one story at a time.
const SLACK_BYTES: u64 = 48 << 20;
/// Threads that fill a shelf.
const WRITERS: usize = 8;

fn yaml(servers: &Value, connection: &str, keep: usize) -> String {
    let word = |name: &str| servers[name].as_str().unwrap();
    format!(
        "project: shelves
connections:
  disk: {{type: local, base_path: .}}
  s3: {{type: s3, bucket: {bucket}, endpoint: \"{s3}\", path_prefix: shelf, access_key_id: id, secret_access_key: hunter2}}
  azure: {{type: azure_adls, account_name: {account}, container: {bucket}, endpoint: \"{azure}\", account_key: \"{key}\"}}
  gcs: {{type: gcs, bucket: {bucket}, endpoint: \"{gcs}\", auth: {{mode: none}}}}
story: {{connection: {connection}, path: told/{keep}, retention_count: {keep}, docs: {{enabled: true, output_path: docs/{keep}}}}}
pipelines:
  - pipeline: p
    nodes:
      - {{name: n, read: {{connection: disk, format: csv, path: a.csv}}, write: {{connection: disk, format: csv, path: b.csv}}}}
",
        bucket = word("bucket"),
        s3 = word("s3"),
        account = word("azure_account"),
        azure = word("azure"),
        key = word("azure_key"),
        gcs = word("gcs"),
    )
}

fn project(servers: &Servers, connection: &str, keep: usize) -> Project {
    Project::with(&yaml(&servers.1, connection, keep)).file("a.csv", "n\n1\n2\n")
}

/// The documents of a connection of a project.
fn documents(project: &Project, connection: &str) -> Documents {
    let mut sources = Sources::default();
    let text = project.text("odibi.yaml");
    let (loaded, faults) = odibi_plan::load("odibi.yaml", &text, &|_| None, &mut sources);
    assert!(faults.is_empty(), "{faults:?}");
    let connection = loaded.connection(connection).unwrap().resolved().unwrap();
    Documents::open(&connection, &project.path(""), &project.path("")).unwrap()
}

fn run_id(result: &Value) -> String {
    result["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn stories_lie_on_any_store() {
    let servers = Servers::start();
    for connection in ["s3", "azure", "gcs"] {
        let project = project(&servers, connection, 2);
        let ids: Vec<String> = (0..3)
            .map(|_| {
                let (code, result) = project.run_json(&[]);
                assert_eq!(code, 0, "{connection}: {result:#}");
                let pipeline = &result["pipelines"][0];
                assert_eq!(
                    pipeline["story_paths"].as_array().unwrap().len(),
                    4,
                    "{pipeline:#}"
                );
                run_id(&result)
            })
            .collect();
        let list = project.odibi(&["story", "list"]).exits(0).stdout;
        let listed: Vec<bool> = ids.iter().map(|id| list.contains(id)).collect();
        assert_eq!(listed, [false, true, true], "{connection}: {list}");
        let shown = project.odibi(&["story", "show", &ids[2], "--format", "json"]);
        let shown: Value = serde_json::from_str(&shown.exits(0).stdout).unwrap();
        assert_eq!(
            shown["comparison"]["before"]["run_id"], ids[1],
            "{connection}"
        );
        let diff = project.odibi(&["story", "diff", &ids[1], &ids[2]]);
        assert!(
            diff.exits(0).stdout.contains("are the same"),
            "{connection}"
        );
        let open = project.odibi(&["story", "open"]).exits(0).stdout;
        assert!(
            open.contains(&format!("{}.html", ids[2])),
            "{connection}: {open}"
        );
        let there = documents(&project, connection);
        let files = there.list("told/2/p").unwrap();
        let of_runs = |files: &[String]| files.iter().filter(|path| path.contains("/run_")).count();
        // The page, both texts and the memo of each run that is kept.
        assert_eq!(of_runs(&files), 8, "{connection}: {files:?}");
        for name in ["index.json", "index.md", "index.html"] {
            assert!(
                files.contains(&format!("told/2/p/{name}")),
                "{connection}: {files:?}"
            );
        }
        let docs = there.list("docs/2/p").unwrap();
        let names = ["README.md", "TECHNICAL_DETAILS.md", "node_cards/n.md"];
        assert_eq!(
            docs,
            names.map(|name| format!("docs/2/p/{name}")),
            "{connection}"
        );
        // An index that is gone is made anew from what is there.
        there.remove("told/2/p/index.json").unwrap();
        assert_eq!(
            project.odibi(&["story", "list"]).exits(0).stdout,
            list,
            "{connection}"
        );
    }
}

#[test]
fn nothing_goes_while_the_clock_of_the_store_shows_another_day() {
    let servers = Servers::start();
    let yaml = yaml(&servers.1, "gcs", 2);
    let right = Project::with(&yaml);
    let wrong = Project::with(&yaml.replace("path: told/", "path: wrong-clock/"));
    for (project, dir, kept) in [(right, "told/2/p", 2), (wrong, "wrong-clock/2/p", 4)] {
        let project = project.file("a.csv", "n\n1\n2\n");
        for _ in 0..4 {
            let _ = project.odibi(&["run"]).exits(0);
        }
        assert_eq!(
            runs_of_index(&documents(&project, "gcs"), dir).len(),
            kept,
            "{dir}"
        );
        let code = if kept == 4 { 3 } else { 0 };
        let said = project.odibi(&["story", "prune"]).exits(code);
        let told = "the clock of the store shows another day than that of this machine";
        assert_eq!(
            said.stderr.contains(told),
            kept == 4,
            "{dir}: {}",
            said.stderr
        );
        let _ = project.odibi(&["story", "prune", "--yes"]).exits(0);
        assert_eq!(
            runs_of_index(&documents(&project, "gcs"), dir).len(),
            2,
            "{dir}"
        );
    }
}

#[test]
fn many_stories_are_pruned_on_every_store_in_bounded_memory() {
    let stories = std::env::var("ODIBI_TEST_STORIES");
    let stories = stories.map_or(STORIES, |text| text.parse().expect("a number of stories"));
    let servers = Servers::start();
    for connection in ["disk", "s3", "azure"] {
        prune(&servers, connection, stories);
    }
}

#[allow(clippy::print_stdout, reason = "the figures of the long form")]
fn prune(servers: &Servers, connection: &str, stories: usize) {
    let keep = stories / 10;
    let project = project(servers, connection, keep);
    let (code, first) = project.run_json(&[]);
    assert_eq!(code, 0, "{first:#}");
    let (_, few) = measured(&project, &["story", "prune", "--dry-run"]);
    let there = documents(&project, connection);
    let filled = fill(&there, &first, stories);
    let dir = format!("told/{keep}/p");
    let bytes_max = few + SLACK_BYTES + STORY_BYTES_MAX * stories as u64;
    let bounded = |told: &(Value, u64)| {
        assert!(
            told.1 <= bytes_max,
            "{connection}: {} bytes, {few} for one story",
            told.1
        );
    };

    // Nobody said yes: all stay, and the index knows them now.
    let refused = measured(&project, &["story", "prune"]);
    assert_eq!(refused.0["code"], 3, "{:#}", refused.0);
    bounded(&refused);
    assert_eq!(runs_of_index(&there, &dir).len(), stories + 1);
    // A run is not disturbed, but says so.
    let run = measured(&project, &["run", "--output", "json"]);
    assert_eq!(run.0["code"], 0, "{:#}", run.0);
    bounded(&run);
    let after: Value = serde_json::from_str(run.0["stdout"].as_str().unwrap()).unwrap();
    let log = std::fs::read_to_string(after["events"].as_str().unwrap()).unwrap();
    assert!(log.contains("story/retention-refused"), "{log}");

    let pruned = measured(&project, &["story", "prune", "--yes"]);
    assert_eq!(pruned.0["code"], 0, "{:#}", pruned.0);
    bounded(&pruned);
    let left = runs_of_index(&there, &dir);
    let mut expect = filled.newest(keep - 2);
    expect.extend(filled.always);
    expect.extend([run_id(&first), run_id(&after)]);
    expect.sort();
    assert_eq!(left, expect, "{connection}");
    let files = there.list(&dir).unwrap();
    let json = files
        .iter()
        .filter(|path| path.contains("/run_") && path.ends_with(".json"));
    assert_eq!(json.count(), expect.len(), "{connection}");
    let days = files.iter().filter_map(|path| path.split('/').nth(3));
    if connection == "disk" {
        let left = std::fs::read_dir(project.path(&dir)).unwrap().flatten();
        let left = left.filter(|entry| entry.path().is_dir()).count();
        let days: std::collections::BTreeSet<&str> =
            days.filter(|day| !day.contains('.')).collect();
        assert_eq!(
            left,
            days.len(),
            "directories of days without stories are gone"
        );
    }
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{connection}: {stories} stories: prune, index made anew {:.1} s, {} MiB; run {:.1} s, {} MiB; prune --yes {:.1} s, {} MiB; one story {} MiB",
        refused.0["seconds"].as_f64().unwrap(),
        mib(refused.1),
        run.0["seconds"].as_f64().unwrap(),
        mib(run.1),
        pruned.0["seconds"].as_f64().unwrap(),
        mib(pruned.1),
        mib(few),
    );
}

/// What a command answers, and the most memory that it took.
fn measured(project: &Project, arguments: &[&str]) -> (Value, u64) {
    let (directory, cache, binary) = (project.path(""), support::cache_dir(), support::binary());
    let mut words: Vec<&Path> = vec![&directory, &cache, &binary];
    words.extend(arguments.iter().map(Path::new));
    let said = support::run_python("measured.py", &words);
    let told: Value = serde_json::from_str(&said).unwrap();
    let bytes = told["bytes"].as_u64().unwrap();
    (told, bytes)
}

fn runs_of_index(there: &Documents, dir: &str) -> Vec<String> {
    let text = there
        .read(&format!("{dir}/index.json"), usize::MAX)
        .unwrap()
        .unwrap();
    let index: Value = serde_json::from_slice(&text).unwrap();
    let mut runs: Vec<String> = index["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(run_id)
        .collect();
    runs.sort();
    runs
}

/// Stories that were added.
struct Filled {
    /// Those that stay whatever their age: the last failure, and one that has no end.
    always: Vec<String>,
    /// The others, oldest first.
    others: Vec<String>,
}

impl Filled {
    fn newest(&self, count: usize) -> Vec<String> {
        self.others[self.others.len() - count..].to_vec()
    }
}

/// Adds stories like that of a run, one an hour, all before it.
fn fill(there: &Documents, first: &Value, stories: usize) -> Filled {
    let path = first["pipelines"][0]["story_paths"][0].as_str().unwrap();
    let dir = path.find("told/").map(|at| &path[at..]).unwrap();
    let (dir, _) = dir.split_once("/p/").unwrap();
    let whole = first["pipelines"][0]["story"].clone();
    let start: Timestamp = whole["started_at"].as_str().unwrap().parse().unwrap();
    let mut filled = Filled {
        always: Vec::new(),
        others: Vec::new(),
    };
    let mut written = Vec::new();
    for at in 0..stories {
        let began = start - SignedDuration::from_hours(i64::try_from(stories - at).unwrap());
        let id = format!("made-{at:06}");
        let mut story = whole.clone();
        story["run_id"] = id.clone().into();
        story["started_at"] = began.to_string().into();
        story["outcome"] = match at {
            3 => "unfinished",
            5 => "failed",
            _ => "succeeded",
        }
        .into();
        let list = if matches!(at, 3 | 5) {
            &mut filled.always
        } else {
            &mut filled.others
        };
        list.push(id.clone());
        let base = format!("{dir}/p/{}_{id}", began.strftime("%Y-%m-%d/run_%H-%M-%S"));
        written.push((base, format!("{story:#}\n")));
    }
    let share = written.len().div_ceil(WRITERS);
    std::thread::scope(|scope| {
        for share in written.chunks(share) {
            scope.spawn(move || {
                for (base, text) in share {
                    for (ending, text) in [(".json", text.as_str()), (".md", "-"), (".html", "-")] {
                        there
                            .write(&format!("{base}{ending}"), text.as_bytes())
                            .unwrap();
                    }
                }
            });
        }
    });
    filled
}
