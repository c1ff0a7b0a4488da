//! Values that must not be seen, in every way of marking them, through every way that a run can end, into every kind of
//! target: whatever a run prints, writes and sends is searched for them.
//!
//! A cell is one of each. `cargo test` looks at 60 of them, `ODIBI_CANARIES=all` at all.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a mark that a place does not name is nothing special there"
)]

mod canary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Project;
use support::recorder::{Recorder, Reply};

/// What is marked, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// Nothing: a control.
    Nothing,
    /// All columns of the node.
    All,
    /// The columns of the node by name.
    Columns,
    /// The columns of the file by name.
    Read,
    /// As personal.
    Personal,
    /// A field of a struct, which is all there is.
    Field,
    /// Columns of a node before.
    Before,
    /// Columns of a node before, that are renamed.
    Renamed,
    /// Columns of a node before, of which SQL makes others.
    Made,
    /// Columns of a node of another pipeline, that writes the file which is read.
    File,
}
use Mark::{All, Before, Columns, Field, File, Made, Nothing, Personal, Read, Renamed};
const MARKS: [Mark; 9] = [
    All, Columns, Read, Personal, Field, Before, Renamed, Made, File,
];

/// How the node ends that works on the marked columns.
struct End {
    name: &'static str,
    /// Its step, without braces; empty for none. `TEXT` is a column of text, quoted for SQL.
    step: &'static str,
    /// Further keys of the node, one a line.
    keys: &'static str,
    /// More about its write; `KEY` is the name of a column of text.
    write: &'static str,
    /// Code of its failure.
    fails: Option<&'static str>,
}

const fn end(name: &'static str, step: &'static str, fails: Option<&'static str>) -> End {
    End {
        name,
        step,
        keys: "",
        write: "",
        fails,
    }
}

const ENDS: &[End] = &[
    end("nothing done", "", None),
    end("log", "operation: evil/leak_log", None),
    end("summary", "operation: evil/leak_summary", None),
    end("error", "operation: evil/leak_error", Some("guest/data")),
    End {
        keys: "retry: {max_attempts: 2, delay: 1ms}",
        ..end(
            "again",
            "operation: evil/leak_again",
            Some("guest/transient"),
        )
    },
    end(
        "panic",
        "operation: evil/leak_panic",
        Some("trap/unreachable"),
    ),
    end(
        "trap",
        "operation: evil/leak_trap",
        Some("trap/unreachable"),
    ),
    End {
        keys: "limits: {cpu: 100ms}",
        ..end(
            "endless",
            "operation: evil/leak_spin",
            Some("limit/guest-cpu"),
        )
    },
    End {
        keys: "limits: {memory: 32MiB}",
        ..end(
            "memory",
            "operation: evil/leak_memory",
            Some("limit/guest-memory"),
        )
    },
    end(
        "schema",
        "operation: evil/leak_schema",
        Some("contract/ipc"),
    ),
    End {
        keys: "on_row_error: quarantine\nquarantine: {connection: here, path: rejects}",
        ..end("quarantine", "operation: evil/leak_row", None)
    },
    end("bad row", "operation: evil/leak_row", Some("guest/data")),
    end(
        "cast",
        "sql: \"SELECT CAST(TEXT AS BIGINT) AS n FROM df\"",
        Some("guest/data"),
    ),
    end(
        "literal",
        "sql: \"SELECT id, concat(TEXT, '-') AS made FROM df WHERE TEXT <> 'x'\"",
        None,
    ),
    End {
        write: "mode: upsert, keys: [KEY]",
        ..end(
            "key twice",
            "sql: \"SELECT * FROM df UNION ALL SELECT * FROM df\"",
            Some("write/duplicate-key"),
        )
    },
    End {
        write: "mode: append_once, keys: [KEY]",
        ..end("append once", "", None)
    },
    End {
        write: "partition_by: [KEY]",
        ..end("partitions", "", None)
    },
    end(
        "rows that are no rows",
        "read bad.csv",
        Some("read/bad-row"),
    ),
    end("rows set aside while reading", "read aside bad.csv", None),
    end("values in names of directories", "read days", None),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Json,
    File,
    Directory,
    Delta,
}
const TARGETS: [Target; 4] = [Target::Json, Target::File, Target::Directory, Target::Delta];

#[derive(Clone, Copy)]
struct Cell {
    mark: Mark,
    end: &'static End,
    target: Target,
}

impl Cell {
    /// Those that can be.
    fn all(marks: &[Mark]) -> Vec<Self> {
        let mut cells = Vec::new();
        for end in ENDS {
            for &mark in marks {
                for target in TARGETS {
                    let cell = Self { mark, end, target };
                    if cell.is_possible() {
                        cells.push(cell);
                    }
                }
            }
        }
        cells
    }

    fn is_possible(self) -> bool {
        let by_key = self.end.write.contains("KEY");
        // Of a struct no column is a key.
        let without_key = self.mark == Field && by_key;
        // One file has no partitions, and appending rows with keys to a directory is refused for none.
        let one_file = matches!(self.target, Target::Json | Target::File);
        let partitioned = self.end.write.contains("partition_by") && one_file;
        // These files have one column to mark, in the node that reads them.
        let other_file = self.reads_another() && matches!(self.mark, Field | Renamed | Made | File);
        !(without_key || partitioned || other_file)
    }

    fn reads_another(self) -> bool {
        self.end.step.starts_with("read ")
    }

    fn label(self) -> String {
        format!("{} · {:?} · {:?}", self.end.name, self.mark, self.target)
    }

    /// A column of text of the table that the last step is given: its name.
    fn text_column(self) -> &'static str {
        match self.mark {
            Field => "person",
            Renamed => "renamed_email",
            Made => "made_email",
            _ => "email",
        }
    }

    fn yaml(self, urls: &Urls) -> String {
        let named = canary::SENSITIVE.join(", ");
        let read = |file: &str| {
            format!("read: {{connection: here, format: arrow, path: in/{file}.arrow}}")
        };
        let marked = format!("sensitive: [{named}]");
        let other = match self.end.step {
            "read bad.csv" => {
                Some("format: csv, path: in/bad.csv, options: {schema: {email: int64}}")
            }
            "read aside bad.csv" => Some(
                "format: csv, path: in/bad.csv, options: {schema: {email: int64}, on_bad_row: quarantine}",
            ),
            "read days" => Some("format: csv, path: in/days"),
            _ => None,
        };
        let mut before = String::new();
        let (input, marks) = match (other, self.mark) {
            (Some(other), Read) => (
                format!("read: {{connection: here, {other}, sensitive: [email]}}"),
                String::new(),
            ),
            (Some(other), Before) => {
                // What is wrong with the file is found in the node that reads it.
                before = format!(
                    "      - name: before\n        read: {{connection: here, {other}}}\n        sensitive: [email]\n{}",
                    aside(self)
                );
                ("inputs: {df: before}".to_owned(), String::new())
            }
            (Some(other), mark) => {
                let marks = match mark {
                    All => "sensitive: true",
                    Columns => "sensitive: [email]",
                    Personal => "columns: {email: {pii: true}}",
                    _ => "",
                };
                (
                    format!("read: {{connection: here, {other}}}"),
                    marks.to_owned(),
                )
            }
            (None, Nothing) => (read("all"), String::new()),
            (None, All) => (read("all"), "sensitive: true".to_owned()),
            (None, Columns) => (read("all"), marked),
            (None, Read) => (
                format!("{}, {marked}}}", read("all").trim_end_matches('}')),
                String::new(),
            ),
            (None, Personal) => {
                let each = canary::SENSITIVE
                    .map(|column| format!("{column}: {{pii: true}}"))
                    .join(", ");
                (read("all"), format!("columns: {{{each}}}"))
            }
            (None, Field) => (read("person"), "sensitive: [person.email]".to_owned()),
            (None, Before | Renamed | Made) => {
                before = format!(
                    "      - name: before\n        {}\n        {marked}\n",
                    read("all")
                );
                ("inputs: {df: before}".to_owned(), String::new())
            }
            (None, File) => {
                before = format!(
                    "      - name: before\n        {}\n        {marked}\n        write: {{connection: here, format: parquet, path: mid/before.parquet}}\n",
                    read("all")
                );
                (
                    "depends_on: [$first.before]\n        read: {connection: here, format: parquet, path: mid/before.parquet}"
                        .to_owned(),
                    String::new(),
                )
            }
        };
        let mut steps = Vec::new();
        match self.mark {
            Renamed => {
                let each = canary::SENSITIVE.map(|column| format!("{column}: renamed_{column}")).join(", ");
                steps.push(format!("operation: rename_columns, params: {{mapping: {{{each}}}}}"));
            }
            Made => steps.push(
                "sql: \"SELECT id, country, concat(email, ' ') AS made_email, phone + 0 AS p, salary, birthday AS b, token, person['email'] AS e, nicks FROM df\"".to_owned(),
            ),
            _ => {}
        }
        let text = match self.mark {
            Field => "person['email']",
            _ => self.text_column(),
        };
        if !self.reads_another() && !self.end.step.is_empty() {
            steps.push(self.end.step.replace("TEXT", text));
        }
        let steps: String = steps
            .iter()
            .map(|step| format!("            - {{{step}}}\n"))
            .collect();
        let transform = if steps.is_empty() {
            String::new()
        } else {
            format!("        transform:\n          steps:\n{steps}")
        };
        let (format, path) = match self.target {
            Target::Json => ("json", "out/rows.json"),
            Target::File => ("parquet", "out/rows.parquet"),
            Target::Directory => ("parquet", "out/rows/"),
            Target::Delta => ("delta", "out/table"),
        };
        let more = self.end.write.replace("KEY", self.text_column());
        let more = if more.is_empty() {
            more
        } else {
            format!(", {more}")
        };
        let keys: String = [marks.as_str()]
            .into_iter()
            .chain(self.end.keys.lines())
            .filter(|key| !key.is_empty())
            .map(|key| format!("        {key}\n"))
            .collect();
        let aside = if self.mark == Before {
            String::new()
        } else {
            aside(self)
        };
        let last = format!(
            "      - name: last\n        {input}\n{keys}{aside}{transform}        write: {{connection: here, format: {format}, path: {path}{more}}}\n"
        );
        let pipelines = match self.mark {
            File => format!(
                "  - pipeline: first\n    nodes:\n{before}  - pipeline: second\n    nodes:\n{last}"
            ),
            _ => format!("  - pipeline: second\n    nodes:\n{before}{last}"),
        };
        format!(
            "project: p
connections: {{here: {{type: local, base_path: .}}}}
plugins: {{evil: {{path: evil.wasm}}}}
story: {{connection: here, path: stories, docs: {{enabled: true, output_path: docs}}}}
alerts:
  - {{type: webhook, url: \"{alerts}\", on_events: [on_start, on_success, on_failure, on_quarantine], metadata: {{throttle_minutes: 0}}}}
  - {{type: slack, url: \"{alerts}\", on_events: [on_success, on_failure], metadata: {{throttle_minutes: 0}}}}
lineage: {{url: \"{lineage}\", file: told/lineage.jsonl}}
telemetry: {{endpoint: \"{telemetry}\"}}
pipelines:
{pipelines}",
            alerts = urls.alerts,
            lineage = urls.lineage,
            telemetry = urls.telemetry,
        )
    }
}

fn aside(cell: Cell) -> String {
    match cell.end.step {
        "read aside bad.csv" => "        on_row_error: quarantine\n        quarantine: {connection: here, path: rejects}\n".to_owned(),
        _ => String::new(),
    }
}

struct Urls {
    alerts: String,
    lineage: String,
    telemetry: String,
}

/// Where canaries were seen: channel, and what stood around the first one.
type Hits = BTreeMap<String, String>;

/// What a person or a program may ask after a run.
const QUESTIONS: &[(&str, &[&str])] = &[
    ("validate", &["validate", "--output", "json"]),
    ("plan", &["plan", "-vv"]),
    ("story", &["story", "last"]),
    ("story md", &["story", "last", "--format", "md"]),
    ("story html", &["story", "last", "--format", "html"]),
    ("story json", &["story", "last", "--format", "json"]),
    (
        "story openlineage",
        &["story", "last", "--format", "openlineage"],
    ),
    ("runs show", &["runs", "show", "--output", "json"]),
    ("alerts list", &["alerts", "list", "--output", "json"]),
    ("doctor", &["doctor"]),
];

fn look(hits: &mut Hits, channel: &str, bytes: &[u8]) {
    if let Some(around) = canary::find(bytes) {
        hits.entry(channel.to_owned()).or_insert(around);
    }
}

/// Plays a cell: a run and a second one, all that can be asked afterwards, all that lies around.
fn play(cell: Cell) -> Hits {
    let (alerts, lineage, telemetry) = (
        Recorder::start([]),
        Recorder::start([]),
        Recorder::start([]),
    );
    let urls = Urls {
        alerts: alerts.url("a"),
        lineage: lineage.url(""),
        telemetry: telemetry.url(""),
    };
    let project = Project::with(&cell.yaml(&urls))
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap());
    canary::write_files(&project.path("in"));
    let mut hits = Hits::new();
    // The first receiver of the first run heals before the second.
    alerts.then([Reply::Status(500), Reply::Status(500)]);
    let first = project.odibi(&[
        "run",
        "-vv",
        "--log-format",
        "json",
        "--capture-failures",
        "capsules",
    ]);
    look(&mut hits, "run stdout", first.stdout.as_bytes());
    look(&mut hits, "log as JSON", first.stderr.as_bytes());
    let second = project.odibi(&["run", "-vv", "--output", "json"]);
    look(&mut hits, "run --output json", second.stdout.as_bytes());
    look(&mut hits, "log as text", second.stderr.as_bytes());
    let result: Value = serde_json::from_str(&second.stdout).unwrap_or_default();
    if !result["pipelines"].is_array() {
        let told = format!("{}\n{}", second.stdout, second.stderr);
        return Hits::from([("ANOTHER END".to_owned(), told)]);
    }
    check_end(cell, &result, &mut hits);
    for (name, args) in QUESTIONS {
        let said = project.odibi(args);
        look(&mut hits, name, said.stdout.as_bytes());
        look(&mut hits, &format!("{name} stderr"), said.stderr.as_bytes());
    }
    for (name, words) in [
        ("runs diff", ["runs", "diff"]),
        ("story diff", ["story", "diff"]),
    ] {
        let ids = runs(&project);
        let said = project.odibi(&[&words[..], &[ids[1].as_str(), ids[0].as_str()]].concat());
        look(&mut hits, name, said.stdout.as_bytes());
        look(&mut hits, &format!("{name} stderr"), said.stderr.as_bytes());
    }
    for (name, recorder) in [
        ("alert", &alerts),
        ("lineage event", &lineage),
        ("telemetry", &telemetry),
    ] {
        let recorded = recorder.recorded();
        assert!(!recorded.is_empty(), "{}: no {name}", cell.label());
        for request in recorded {
            look(&mut hits, name, &request.body);
        }
    }
    assert!(!project.text("told/lineage.jsonl").is_empty());
    lying_around(&project, &mut hits);
    hits
}

fn runs(project: &Project) -> Vec<String> {
    let said = project
        .odibi(&["runs", "list", "--output", "json"])
        .exits(0);
    let listed: Value = serde_json::from_str(&said.stdout).unwrap();
    let runs = listed.as_array().unwrap().iter();
    runs.map(|run| run["run_id"].as_str().unwrap().to_owned())
        .collect()
}

/// The node ended as the cell wants it, or the cell says nothing.
fn check_end(cell: Cell, result: &Value, hits: &mut Hits) {
    let pipelines = result["pipelines"].as_array().unwrap();
    let nodes = pipelines
        .iter()
        .flat_map(|p| p["story"]["nodes"].as_array());
    let failure = nodes
        .flatten()
        .map(|node| &node["failure"])
        .find(|failure| !failure.is_null());
    let code = failure.and_then(|failure| failure["code"].as_str());
    if code != cell.end.fails {
        hits.insert(
            "ANOTHER END".to_owned(),
            failure.unwrap_or(result).to_string(),
        );
    }
}

/// Files that are not data of the project: neither what it reads, nor what it is asked to write.
fn lying_around(project: &Project, hits: &mut Hits) {
    let root = project.path("");
    for path in support::files_below(&root) {
        let name = path.strip_prefix(&root).unwrap();
        let top = name.components().next().unwrap().as_os_str();
        if ["in", "out", "mid", "rejects", "evil.wasm"]
            .iter()
            .any(|own| top == *own)
        {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            top == "capsules" || !canary::is_packed(&bytes),
            "{}",
            name.display()
        );
        look(hits, &format!("file {}", kind(name)), &bytes);
        look(hits, "name of a file", name.as_os_str().as_encoded_bytes());
    }
}

/// `stories … .html`: where it lies and how it ends.
fn kind(name: &Path) -> String {
    let top = name.components().next().unwrap().as_os_str().display();
    match (name.file_name(), name.extension()) {
        (Some(file), _) if file.to_string_lossy().starts_with("index") => format!("index of {top}"),
        (Some(file), _) if file.to_string_lossy().ends_with("memo.md") => "memo".to_owned(),
        (_, Some(extension)) => format!("{top} … .{}", extension.display()),
        (_, None) => format!("{top} …"),
    }
}

/// Plays cells, as many at once as there are processors.
fn play_all(cells: &[Cell]) -> BTreeMap<String, Hits> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Relaxed)) {
                    let hits = play(*cell);
                    if !hits.is_empty() {
                        found.lock().unwrap().insert(cell.label(), hits);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Of the cells so many, of each row and column some.
fn some(cells: Vec<Cell>, count: usize) -> Vec<Cell> {
    if support::all_canaries() {
        return cells;
    }
    // A step that shares no divisor with the number of marks and targets goes through all combinations.
    let total = cells.len();
    let step = (total / count..)
        .find(|step| gcd(*step, total) == 1)
        .unwrap();
    (0..count).map(|i| cells[i * step % total]).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[test]
fn no_value_that_must_not_be_seen_is_seen_anywhere() {
    let all = Cell::all(&MARKS);
    assert!(all.len() >= 500, "{}", all.len());
    let cells = some(all, 60);
    let marks: BTreeSet<Mark> = cells.iter().map(|cell| cell.mark).collect();
    let ends: BTreeSet<&str> = cells.iter().map(|cell| cell.end.name).collect();
    let targets: BTreeSet<Target> = cells.iter().map(|cell| cell.target).collect();
    assert_eq!(
        (marks.len(), ends.len(), targets.len()),
        (MARKS.len(), ENDS.len(), TARGETS.len())
    );
    let hits = play_all(&cells);
    assert_eq!(
        hits,
        BTreeMap::new(),
        "in {} of {} cells",
        hits.len(),
        cells.len()
    );
}

/// Where nothing is marked, values are seen in many places: the test above can fail.
#[test]
fn without_a_mark_values_are_seen_in_many_places() {
    let mut cells = Cell::all(&[Nothing]);
    cells.retain(|cell| cell.target == Target::File || cell.end.write.contains("partition_by"));
    let hits = play_all(&cells);
    let channels: BTreeSet<&String> = hits.values().flat_map(BTreeMap::keys).collect();
    assert!(!channels.contains(&"ANOTHER END".to_owned()), "{hits:#?}");
    assert!(channels.len() >= 15, "{channels:#?}");
    // What is not a channel of values at all.
    assert!(
        !channels.iter().any(|channel| channel.contains("telemetry")),
        "{channels:#?}"
    );
}

/// The state of a run that was killed while its plugin worked, and the story that the next one tells of it.
#[test]
fn a_killed_run_leaves_no_value_either() {
    for mark in [Columns, Made, File] {
        let cell = Cell {
            mark,
            end: ENDS.iter().find(|end| end.name == "endless").unwrap(),
            target: Target::File,
        };
        let nowhere = Recorder::start(vec![Reply::Status(503); 1_000]);
        let urls = Urls {
            alerts: nowhere.url("a"),
            lineage: nowhere.url(""),
            telemetry: nowhere.url(""),
        };
        let yaml = cell
            .yaml(&urls)
            .replace("limits: {cpu: 100ms}", "limits: {cpu: 10m, wall: 20m}");
        let project =
            Project::with(&yaml).file("evil.wasm", std::fs::read(support::hostile()).unwrap());
        canary::write_files(&project.path("in"));
        let mut child = Command::new(support::binary())
            .args(["run", "-vv"])
            .current_dir(project.path(""))
            .env("ODIBI_CACHE_DIR", support::cache_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::from(
                std::fs::File::create(project.path("killed.log")).unwrap(),
            ))
            .spawn()
            .unwrap();
        let waited = Instant::now();
        // The rows are in the plugin when the line is there.
        while !project.text("killed.log").contains("\"rows_read\":24") {
            assert!(
                waited.elapsed() < Duration::from_secs(300),
                "{}",
                project.text("killed.log")
            );
            assert_eq!(
                child.try_wait().unwrap(),
                None,
                "{}",
                project.text("killed.log")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Its scratch directory may hold rows until the next run clears it away.
        let project = project
            .file(
                "odibi.yaml",
                yaml.replace("limits: {cpu: 10m, wall: 20m}", "limits: {cpu: 100ms}"),
            )
            .variable("ODIBI_ALERTS_WAIT", "100ms");
        let next = project.odibi(&["run", "-vv"]).exits(1);
        let mut hits = Hits::new();
        look(&mut hits, "next stdout", next.stdout.as_bytes());
        look(&mut hits, "next stderr", next.stderr.as_bytes());
        lying_around(&project, &mut hits);
        assert_eq!(hits, Hits::new(), "{mark:?}");
        let stories: Vec<PathBuf> = support::files_below(&project.path("stories/second"));
        let crashed = stories
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "md"));
        assert!(
            crashed
                .into_iter()
                .any(|path| std::fs::read_to_string(path).unwrap().contains("crashed")),
            "{stories:?}"
        );
    }
}
