//! One cell of the matrix: a project, its run as a process, and all that it leaves.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::Project;

use super::canaries::{Hits, KINDS, Scanner, canary, files};
use super::data::{self, FLAT};

/// What happens in a run.
pub(super) struct Outcome {
    pub(super) name: &'static str,
    /// Steps; `@kind` is the column of that kind.
    steps: &'static str,
    /// Further keys of the node.
    node: &'static str,
    /// Further keys of its write.
    write: &'static str,
    /// Options of the read; with them, or without steps that need more, the rows come from CSV.
    options: &'static str,
    /// Arguments of `odibi run`.
    args: &'static [&'static str],
    exit: i32,
    /// A code that the run must have met.
    code: &'static str,
}

const PLAIN: Outcome = Outcome {
    name: "",
    steps: "{operation: evil/identity}",
    node: "",
    write: "",
    options: "",
    args: &[],
    exit: 0,
    code: "",
};

macro_rules! outcomes {
    ($($name:literal { $($field:ident: $value:expr),* $(,)? })*) => {
        pub(super) const OUTCOMES: &[Outcome] = &[$(Outcome { name: $name, $($field: $value,)* ..PLAIN }),*];
    };
}

outcomes! {
    "succeeds" {}
    "fails" { steps: "{operation: evil/leak_error}", exit: 1, code: "guest/data" }
    "panics" { steps: "{operation: evil/leak_panic}", exit: 1, code: "trap/unreachable" }
    "traps" { steps: "{operation: evil/leak_trap}", exit: 1, code: "trap/unreachable" }
    "spins" {
        steps: "{operation: evil/leak_spin}", node: "limits: {cpu: 200ms}", exit: 1, code: "limit/guest-cpu",
    }
    "hogs" {
        steps: "{operation: evil/leak_memory}", node: "limits: {memory: 64MiB}", exit: 1, code: "limit/guest-memory",
    }
    "renames" { steps: "{operation: evil/leak_column}", exit: 1, code: "contract/" }
    "logs" { steps: "{operation: evil/leak_log}" }
    "rejects" {
        steps: "{operation: evil/leak_row}",
        node: "on_row_error: quarantine, quarantine: {connection: here, path: rejects, format: parquet}",
        code: "guest/data",
    }
    "blames" { steps: "{operation: evil/leak_row}", exit: 1, code: "guest/data" }
    "retries" {
        steps: "{operation: evil/leak_transient}", node: "retry: {max_attempts: 2, delay: 1ms}", exit: 1,
        code: "guest/transient",
    }
    "captured" {
        steps: "{operation: evil/leak_error}", args: &["--capture-failures", "caps"], exit: 1, code: "guest/data",
    }
    "casts" { steps: "'SELECT id, CAST(@text AS BIGINT) AS n FROM df'", exit: 1, code: "guest/" }
    "compares" { steps: "\"SELECT id, grp, @text FROM df WHERE @text <> '$text1' AND @number <> $number1\"" }
    "tops" { steps: "'SELECT max(@text) AS top, min(@number) AS low, count(*) AS n FROM df'" }
    "pivots" {
        steps: "{operation: pivot, params: {group_by: [grp], pivot_col: @text, agg_col: id, values: [$text1, $text2]}}",
    }
    "keys" {
        write: "mode: upsert, keys: [grp]", exit: 1, code: "write/duplicate-key",
    }
    "misread" { options: "schema: {born: date}", exit: 1, code: "read/bad-row" }
    "unread" {
        options: "schema: {born: date}, on_bad_row: quarantine",
        node: "on_row_error: quarantine, quarantine: {connection: here, path: rejects, format: csv}",
        code: "read/bad-row",
    }
    "killed" { steps: "{operation: evil/leak_spin}", node: "limits: {cpu: 2s}", exit: 1, code: "limit/guest-cpu" }
}

/// How the columns are marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// Not at all: the control.
    None,
    /// `sensitive: true` on the node.
    All,
    /// `sensitive: [..]` on the node.
    Listed,
    /// `columns: {..: {pii: true}}` on the node.
    Personal,
    /// `sensitive: [..]` on the read.
    Read,
    /// On the node before.
    Ancestor,
    /// On the read, and renamed by the first step.
    Renamed,
    /// A field of a struct, beside the others.
    Field,
    /// On a node of another pipeline, whose file is read in a run of its own.
    File,
}

pub(super) const MARKS: &[Mark] = &[
    Mark::All,
    Mark::Listed,
    Mark::Personal,
    Mark::Read,
    Mark::Ancestor,
    Mark::Renamed,
    Mark::Field,
    Mark::File,
];

/// Where the rows go. CSV holds the flat kinds only.
pub(super) const SINKS: &[&str] = &["parquet", "csv", "jsonl", "delta"];

pub(super) struct Cell {
    pub(super) outcome: &'static Outcome,
    pub(super) mark: Mark,
    pub(super) sink: &'static str,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {:?} × {}", self.outcome.name, self.mark, self.sink)
    }
}

impl Cell {
    /// Text files hold no lists.
    fn flat(&self) -> bool {
        self.sink != "parquet" || !self.outcome.options.is_empty()
    }

    fn kinds(&self) -> &'static [&'static str] {
        if self.flat() { &FLAT } else { &KINDS }
    }

    fn column(&self, kind: &str) -> String {
        match self.mark {
            Mark::Renamed => format!("of_{kind}"),
            _ => kind.to_owned(),
        }
    }

    fn read(&self) -> String {
        let file = match (self.outcome.options, self.flat()) {
            ("", true) => "format: csv, path: in/flat.csv".to_owned(),
            ("", false) => "format: arrow, path: in/all.arrow".to_owned(),
            (options, _) => format!("format: csv, path: in/broken.csv, options: {{{options}}}"),
        };
        let marked = match self.mark {
            Mark::Read | Mark::Renamed => format!(", sensitive: [{}]", self.kinds().join(", ")),
            _ => String::new(),
        };
        format!("read: {{connection: here, {file}{marked}}}")
    }

    /// The keys of a node that mark columns there.
    fn marks(&self) -> String {
        let listed = self.kinds().join(", ");
        match self.mark {
            Mark::None | Mark::Read | Mark::Renamed => String::new(),
            Mark::All => "sensitive: true".to_owned(),
            Mark::Listed | Mark::Ancestor | Mark::File => format!("sensitive: [{listed}]"),
            Mark::Field => format!("sensitive: [{}]", listed.replace("person", "person.email")),
            Mark::Personal => {
                let columns = self
                    .kinds()
                    .iter()
                    .map(|kind| format!("{kind}: {{pii: true}}"));
                format!("columns: {{{}}}", columns.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn steps(&self) -> String {
        let mut step = self.outcome.steps.to_owned();
        for kind in KINDS {
            step = step.replace(&format!("@{kind}"), &self.column(kind));
            for row in [1, 2] {
                step = step.replace(&format!("${kind}{row}"), &canary(kind, row));
            }
        }
        if self.mark != Mark::Renamed {
            return step;
        }
        let renamed = self.kinds().iter().map(|kind| format!("{kind}: of_{kind}"));
        let renamed = renamed.collect::<Vec<_>>().join(", ");
        format!("{{operation: rename_columns, params: {{mapping: {{{renamed}}}}}}}, {step}")
    }

    fn node(name: &str, keys: &[&str]) -> String {
        let keys = keys.iter().filter(|key| !key.is_empty());
        let keys = keys.map(|key| format!(", {key}")).collect::<String>();
        format!("      - {{name: {name}{keys}}}\n")
    }

    fn yaml(&self) -> String {
        let write = format!(
            "write: {{connection: here, format: {}, path: out/{}, {}}}",
            self.sink,
            if self.sink == "delta" { "t" } else { "t.x" },
            if self.outcome.write.is_empty() {
                "mode: overwrite"
            } else {
                self.outcome.write
            },
        );
        let steps = format!("transform: {{steps: [{}]}}", self.steps());
        let (marks, read) = (self.marks(), self.read());
        let keep = "write: {connection: here, format: parquet, path: mid/t.parquet}";
        let handed = "read: {connection: here, format: parquet, path: mid/t.parquet}";
        let more = self.outcome.node;
        let nodes = match self.mark {
            // What cannot be read fails where it is read.
            Mark::Ancestor | Mark::File if !self.outcome.options.is_empty() => {
                Self::node("work", &[&read, &marks, &steps, &write, more])
            }
            Mark::Ancestor => {
                Self::node("before", &[&read, &marks])
                    + &Self::node("work", &["inputs: {df: before}", &steps, &write, more])
            }
            Mark::File => {
                Self::node("before", &[&read, &marks, keep])
                    + "  - pipeline: q\n    nodes:\n"
                    + &Self::node("work", &[handed, &steps, &write, more])
            }
            _ => Self::node("work", &[&read, &marks, &steps, &write, more]),
        };
        format!(
            "project: p\nconnections: {{here: {{type: local, base_path: .}}}}\nplugins: {{evil: {{path: evil.wasm}}}}\nstory: {{connection: here, path: stories, max_sample_rows: 100}}\npipelines:\n  - pipeline: p\n    nodes:\n{nodes}"
        )
    }

    /// Runs it.
    pub(super) fn play(&self) -> Played {
        let project = Project::with(&self.yaml())
            .file("in/all.arrow", data::arrow())
            .file("in/flat.csv", data::csv())
            .file("in/broken.csv", data::broken_csv())
            .file("evil.wasm", std::fs::read(support::hostile()).unwrap());
        let mut played = Played {
            project,
            said: Vec::new(),
        };
        let two = self.mark == Mark::File && self.outcome.options.is_empty();
        if two {
            let code = played.odibi(&["run", "--pipeline", "p"]);
            assert_eq!(code, 0, "{self}: {}", played.text());
        }
        let mut run = vec!["run"];
        if two {
            run.extend(["--pipeline", "q"]);
        }
        if self.outcome.name == "killed" {
            played.killed(&run);
        }
        run.extend(["-vv"]);
        run.extend(self.outcome.args);
        let code = played.odibi(&run);
        assert_eq!(code, self.outcome.exit, "{self}: {}", played.text());
        let events = played.events();
        assert!(events.contains(self.outcome.code), "{self}: {events}");
        // A second time as JSON, and what looks at it afterwards.
        let at = run.len();
        run.extend(["--output", "json"]);
        played.odibi(&run);
        run.truncate(at);
        for look in [
            &["validate"][..],
            &["plan"],
            &["runs", "list"],
            &["runs", "show"],
            &["story", "last"],
            &["story", "last", "--format", "md"],
        ] {
            played.odibi(look);
        }
        played
    }
}

/// What a run has left.
pub(super) struct Played {
    project: Project,
    said: Vec<(String, Vec<u8>)>,
}

/// What holds data by its purpose, or was there before. What plugins are compiled to lies elsewhere.
const OUTSIDE: &[&str] = &[
    "in/",
    "in",
    "out",
    "mid",
    "rejects",
    "evil.wasm",
    "odibi.yaml",
];

impl Played {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(support::binary());
        command
            .args(args)
            .current_dir(self.project.path(""))
            .env("ODIBI_CACHE_DIR", support::cache_dir())
            .env("RUST_BACKTRACE", "1");
        command
    }

    fn odibi(&mut self, args: &[&str]) -> i32 {
        let output = self.command(args).output().unwrap();
        let name = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        self.said.push((format!("{name}: stdout"), output.stdout));
        self.said.push((format!("{name}: stderr"), output.stderr));
        output.status.code().unwrap_or(-1)
    }

    /// Begins a run and kills it while a node works.
    fn killed(&mut self, args: &[&str]) {
        let mut child = self
            .command(args)
            .args(["--workers", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let works = |line: &str| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|node| node.ends_with(".work"))
                && words.next() == Some("started")
        };
        while !said.lines().any(works) {
            let before = said.len();
            stderr.read_line(&mut said).unwrap();
            assert_ne!(before, said.len(), "it ended: {said}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        stderr.read_to_end(&mut rest).unwrap();
        self.said.push(("killed: stderr".to_owned(), rest));
    }

    fn text(&self) -> String {
        let said = self.said.iter();
        said.map(|(name, text)| format!("{name}\n{}\n", String::from_utf8_lossy(text)))
            .collect()
    }

    /// Every log of events.
    fn events(&self) -> String {
        let logs = files(&self.project.path(".odibi/runs"), &[]);
        logs.iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
    }

    /// Where anything sensitive was found.
    pub(super) fn hits(&self, scanner: &Scanner) -> Hits {
        let root = self.project.path("");
        let mut hits = Hits::new();
        for path in files(&root, OUTSIDE) {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            let mut found = scanner.found(&std::fs::read(&path).unwrap());
            found.extend(scanner.found(name.as_bytes()));
            if !found.is_empty() {
                hits.insert(name, found);
            }
        }
        let told = self.lineage();
        let said = self
            .said
            .iter()
            .map(|(name, text)| (name.clone(), text.clone()));
        for (name, text) in said.chain([("openlineage".to_owned(), told.into_bytes())]) {
            let found = scanner.found(&text);
            if !found.is_empty() {
                hits.insert(name, found);
            }
        }
        hits
    }

    /// The stories as OpenLineage events.
    fn lineage(&self) -> String {
        let mut told = String::new();
        for path in files(&self.project.path("stories"), &[]) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            if let Ok(story) = serde_json::from_str::<odibi_story::Story>(&text) {
                let events = odibi_story::lineage::events(&story, "urn:test");
                told.push_str(&serde_json::to_string(&events).unwrap());
            }
        }
        told
    }

    /// Names of the places where something was found: of events the path of the field, else the kind of the artefact.
    pub(super) fn channels(&self, scanner: &Scanner) -> BTreeSet<String> {
        let mut channels = BTreeSet::new();
        for name in self.hits(scanner).into_keys() {
            let kind = match name.rsplit_once('.') {
                Some((_, extension)) if name.contains('/') => format!("file {extension}"),
                _ => name,
            };
            channels.insert(kind);
        }
        for line in self.events().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let kind = event["event"].as_str().unwrap().to_owned();
            paths(&event, &kind, &mut |path, text| {
                if !scanner.found(text.as_bytes()).is_empty() {
                    channels.insert(format!("event {path}"));
                }
            });
        }
        channels
    }
}

/// Every text of a document, with the keys that lead to it.
fn paths(value: &Value, at: &str, tell: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => tell(at, text),
        Value::Number(number) => tell(at, &number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| paths(item, at, tell)),
        Value::Object(map) => {
            for (key, inner) in map {
                tell(&format!("{at} key"), key);
                // Params have keys of their own.
                let place = if at.ends_with("params") {
                    at.to_owned()
                } else {
                    format!("{at}.{key}")
                };
                paths(inner, &place, tell);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}
