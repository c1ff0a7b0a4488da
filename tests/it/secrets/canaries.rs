//! Canaries in every text of a project, from vaults and from variables, through every command and every way in which a
//! node, a connection or an alert can fail: nothing that is printed, written or sent may show one.
//!
//! A cell is a place and a command. It counts only where odibi had learned the secret: the vault was asked, or the variable
//! was put in. `cargo test` plays the texts that a project can run with, all at once, and some of the others alone;
//! `ODIBI_CANARIES=all` plays all of them.

mod everything;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aho_corasick::AhoCorasick;
use everything::{ANY, PLAIN};
use serde_json::Value;
use support::recorder::{Recorder, Reply};
use support::{Invocation, Project, base64};

/// Half of them are hard to find once they are encoded. The vaults make the same.
pub(super) fn canary(n: usize) -> String {
    if n % 2 == 1 {
        format!("CNRY{:06}{:09}xQ", n * 7919, n * 104_729)
    } else {
        format!("CnRy/{:06}+Zé {:09}&y", n * 7919, n * 104_729)
    }
}

/// What of a canary survives every way of writing it down: its digits, and their encodings.
pub(super) fn traces(n: usize) -> Vec<Vec<u8>> {
    let value = canary(n);
    let digits = format!("{:06}", n * 7919);
    let core = format!("{:09}", n * 104_729);
    let mut traces = vec![
        value.clone(),
        value.replace('/', "%2F").replace('+', "%2B"),
        // Whatever stands between them.
        digits.clone() + "+Z",
        digits.clone() + "%2BZ",
        digits.clone() + "%2bZ",
        digits + &core,
        core.clone() + "xQ",
        core.clone() + "&y",
        core.clone() + "%26y",
        core + "&amp;y",
        value.bytes().map(|b| format!("{b:02x}")).collect(),
    ];
    traces.extend((0..3).map(|offset| base64(value.as_bytes(), offset)));
    traces.into_iter().map(String::into_bytes).collect()
}

/// Whom a place asks for its canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Vault,
    Variable,
}

/// A canary in its place.
#[derive(Debug)]
struct Planted {
    /// JSON Pointer.
    at: String,
    n: usize,
    /// The whole text, once the canary is put in.
    told: String,
}

/// Whoever is asked refuses everything.
struct Servers {
    /// Stores and web servers.
    stores: Recorder,
    /// Alerts.
    hooks: Recorder,
    /// Lineage events, traces and metrics.
    takers: Recorder,
}

impl Servers {
    fn start() -> Self {
        let refusing = || Recorder::start(vec![Reply::Status(403); 100_000]);
        Self {
            stores: refusing(),
            hooks: refusing(),
            takers: refusing(),
        }
    }
}

/// A project with canaries in it.
struct Bed {
    project: Project,
    planted: Vec<Planted>,
    /// Which of them each of the needles belongs to.
    owners: Vec<usize>,
    needles: AhoCorasick,
    /// Places whose canary is data: a step makes rows of it for a plugin that tells them.
    in_rows: BTreeSet<String>,
}

type Cells = BTreeSet<(String, &'static str)>;
type Hits = BTreeMap<String, BTreeSet<String>>;

/// JSON Pointers of all texts.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                leaves(item, &format!("{at}/{i}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                leaves(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn texts(document: &Value) -> Vec<String> {
    let mut all = Vec::new();
    leaves(document, "", &mut all);
    all
}

fn text<'a>(document: &'a Value, at: &str) -> &'a str {
    document.pointer(at).unwrap().as_str().unwrap()
}

/// The last key of a pointer that is no number.
fn key(at: &str) -> &str {
    let mut parts = at.rsplit('/');
    parts.find(|part| part.parse::<usize>().is_err()).unwrap()
}

/// Where no vault may be asked, and a variable may hold a secret.
fn is_prose(at: &str) -> bool {
    ["description", "owner", "version", "layer", "tags"].contains(&key(at))
}

/// Where any value is a secret, whatever the name of its variable.
fn is_credential(at: &str) -> bool {
    const KEYS: [&str; 11] = [
        "account_key",
        "api_key",
        "client_secret",
        "connection_string",
        "password",
        "salt",
        "sas_token",
        "secret",
        "secret_access_key",
        "session_token",
        "token",
    ];
    let of_alert = key(at) == "url" && at.contains("/alerts/");
    KEYS.contains(&key(at)) || at.contains("/headers/") || of_alert
}

impl Bed {
    /// Every free text of a document holds a canary of its own.
    fn house(document: &Value, by: By) -> Self {
        let mut places = Vec::new();
        let (mut plain, mut any) = (1, 2);
        for at in texts(document) {
            let n = match text(document, &at) {
                text if text.contains(PLAIN) => &mut plain,
                text if text.contains(ANY) => &mut any,
                _ => continue,
            };
            let by = if is_prose(&at) { By::Variable } else { by };
            places.push((at, *n, by));
            *n += 2;
        }
        Self::plant(document, &places)
    }

    /// One text that is no free one is a canary.
    fn single(document: &Value, at: &str) -> Self {
        Self::plant(document, &[(at.to_owned(), 1, By::Variable)])
    }

    fn plant(document: &Value, places: &[(String, usize, By)]) -> Self {
        let mut made = document.clone();
        let (mut planted, mut variables) = (Vec::new(), Vec::new());
        for (at, n, by) in places {
            let variable = match is_credential(at) {
                true => format!("CANARY_{n}"),
                false => format!("CANARY_{n}_TOKEN"),
            };
            let reference = match by {
                By::Vault => format!("${{keyvault:acme/canary-{n}}}"),
                By::Variable => format!("${{{variable}}}"),
            };
            let before = text(document, at);
            let put = |text: &str| match before.contains(PLAIN) || before.contains(ANY) {
                true => before.replace(PLAIN, text).replace(ANY, text),
                false => text.to_owned(),
            };
            *made.pointer_mut(at).unwrap() = put(&reference).into();
            planted.push(Planted {
                at: at.clone(),
                n: *n,
                told: put(&canary(*n)),
            });
            variables.push((variable, canary(*n)));
        }
        // What is left of the free texts.
        for at in texts(&made) {
            let plain = text(&made, &at).replace(PLAIN, "word").replace(ANY, "word");
            *made.pointer_mut(&at).unwrap() = plain.into();
        }
        let mut project = super::project(&made.to_string())
            .file("in.csv", "n,s\n1,a\n2,b\n13,\n")
            .file("bad.csv", "n,s\n1,a\nx,b\n")
            .file("blocked", "this is no directory\n")
            .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
            .variable("ODIBI_ENV", "prod")
            .variable("ODIBI_ALERTS_WAIT", "2s");
        for (name, value) in &variables {
            project = project.variable(name, value);
        }
        let (mut needles, mut owners) = (Vec::new(), Vec::new());
        for (owner, one) in planted.iter().enumerate() {
            for trace in traces(one.n) {
                needles.push(trace);
                owners.push(owner);
            }
        }
        let in_rows = planted.iter().map(|one| one.at.clone());
        Self {
            in_rows: in_rows.filter(|at| is_in_rows(document, at)).collect(),
            needles: AhoCorasick::new(needles).unwrap(),
            project,
            planted,
            owners,
        }
    }

    /// Runs commands, and looks at whatever comes of it. Returns what they said.
    fn play(
        &self,
        commands: &[Command],
        hits: &mut Hits,
        cells: &mut Cells,
    ) -> BTreeMap<&'static str, Invocation> {
        let mut all = BTreeMap::new();
        for (name, args) in commands {
            let said = self.project.odibi(args);
            self.look(&format!("{name} stdout"), said.stdout.as_bytes(), hits);
            self.look(&format!("{name} stderr"), said.stderr.as_bytes(), hits);
            for one in self.planted.iter().filter(|one| said.knows(&one.told)) {
                cells.insert((one.at.clone(), *name));
            }
            all.insert(*name, said);
        }
        self.look_at_files(hits);
        all
    }

    fn look(&self, sink: &str, bytes: &[u8], hits: &mut Hits) {
        self.look_for(sink, bytes, &|_| true, hits);
    }

    fn look_for(&self, sink: &str, bytes: &[u8], of: &dyn Fn(&str) -> bool, hits: &mut Hits) {
        for found in self.needles.find_iter(bytes) {
            let at = &self.planted[self.owners[found.pattern().as_usize()]].at;
            if of(at) {
                hits.entry(sink.to_owned()).or_default().insert(at.clone());
            }
        }
    }

    fn look_at_files(&self, hits: &mut Hits) {
        let root = self.project.path("");
        for path in support::files_below(&root) {
            let name = path.strip_prefix(&root).unwrap();
            self.look("name of a file", name.as_os_str().as_encoded_bytes(), hits);
            let top = name.components().next().unwrap().as_os_str();
            // The project itself, and what it was asked to write.
            let own = ["odibi.yaml", "out", "rejects", "evil.wasm"];
            if own.iter().any(|own| top == *own) {
                continue;
            }
            let sink = format!("file {}", kind(name));
            // A recording is of rows.
            let told = |at: &str| top != "capsules" || !self.in_rows.contains(at);
            self.look_for(&sink, &std::fs::read(&path).unwrap(), &told, hits);
        }
    }

    /// What went out: bodies may show nothing.
    fn look_at_bodies(&self, servers: &Servers, hits: &mut Hits) {
        for (sink, server) in [
            ("store", &servers.stores),
            ("alert", &servers.hooks),
            ("lineage or telemetry", &servers.takers),
        ] {
            for request in server.recorded() {
                self.look(sink, &request.body, hits);
            }
        }
    }

    fn canary_at(&self, at: &str) -> String {
        let found = self.planted.iter().find(|one| one.at == at);
        canary(found.unwrap_or_else(|| panic!("nothing at {at}")).n)
    }
}

/// `state … .db`: where it lies and how it ends.
fn kind(name: &Path) -> String {
    let top = name.components().next().unwrap().as_os_str().display();
    let ending = name.extension().map(|ending| ending.display().to_string());
    format!("{top} … .{}", ending.unwrap_or_default())
}

/// True for a step of a node with a plugin that tells its rows.
fn is_in_rows(document: &Value, at: &str) -> bool {
    let Some((node, _)) = at.split_once("/transform/") else {
        return false;
    };
    let node = document.pointer(node).unwrap();
    let mut operations = node["transform"]["steps"].as_array().unwrap().iter();
    operations.any(|step| {
        let name = step["operation"].as_str();
        name.is_some_and(|name| name.starts_with("evil/leak"))
    })
}

/// A name, and the arguments.
type Command = (&'static str, &'static [&'static str]);
type Commands = &'static [Command];

const LOOK: Commands = &[
    ("validate", &["validate", "--output", "json"]),
    ("secrets", &["secrets", "check"]),
    ("plan", &["plan", "-vv"]),
    ("config", &["config", "show", "--resolved"]),
];
const CONNECT: Commands = &[
    ("validate connected", &["validate", "--connect"]),
    ("doctor", &["doctor"]),
    ("doctor as data", &["doctor", "--output", "json"]),
    ("alerts tested", &["alerts", "test"]),
];
const RUN: Commands = &[
    ("run", &["run", "-vv", "--capture-failures", "capsules"]),
    ("story", &["story", "last"]),
    ("page", &["story", "last", "--format", "html"]),
    ("markdown", &["story", "last", "--format", "md"]),
    ("story as data", &["story", "last", "--format", "json"]),
    ("lineage", &["story", "last", "--format", "openlineage"]),
    ("run as data", &["run", "--output", "json"]),
    (
        "run as log",
        &["run", "--log-format", "json", "--log-level", "trace"],
    ),
    ("retry", &["retry", "--failed"]),
    ("runs", &["runs", "show", "--output", "json"]),
    ("runs compared", &["runs", "diff", "last", "last"]),
    ("alerts", &["alerts", "list", "--output", "json"]),
];
/// For texts that most projects cannot run with.
const ALONE: Commands = &[
    ("doctor", &["doctor"]),
    ("validate", &["validate", "--output", "json"]),
    ("plan", &["plan", "-vv"]),
    ("config", &["config", "show", "--resolved"]),
    ("run as data", &["run", "-vv", "--output", "json"]),
    ("story as data", &["story", "last", "--format", "json"]),
];

/// How nodes fail that are to fail.
const ENDS: [&str; 11] = [
    "contract/ipc",
    "guest/data",
    "guest/transient",
    "limit/guest-cpu",
    "limit/guest-memory",
    "read/bad-row",
    "read/denied",
    "run/upstream-failed",
    "trap/unreachable",
    "write/bad-target",
    "write/duplicate-key",
];

/// Every node of everything failed as it was to.
fn check_ends(said: &Invocation) {
    let result: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let pipelines = result["pipelines"].as_array();
    let pipelines = pipelines.unwrap_or_else(|| panic!("{}\n{}", said.stdout, said.stderr));
    let nodes = pipelines
        .iter()
        .flat_map(|p| p["story"]["nodes"].as_array().unwrap());
    let mut codes = BTreeSet::new();
    for node in nodes {
        let code = node["failure"]["code"].as_str();
        let fails = node["name"].as_str().unwrap().starts_with("fails_");
        assert_eq!(code.is_some(), fails, "{node:#}");
        codes.extend(code);
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ENDS);
    let alerts = pipelines[0]["story"]["alerts"].as_array().unwrap();
    assert!(!alerts.is_empty(), "no alert failed");
    for alert in alerts {
        assert_eq!(alert["state"], "failed", "{alert:#}");
    }
}

/// Credentials were not only known, but used.
fn check_use(bed: &Bed, servers: &Servers) {
    let sent = servers.stores.recorded();
    let has = |name: &str, value: &str| {
        sent.iter()
            .any(|r| r.headers.get(name).is_some_and(|v| v == value))
    };
    let token = bed.canary_at("/connections/bearer/auth/token");
    assert!(has("authorization", &format!("Bearer {token}")));
    let header = bed.canary_at("/connections/basic/headers/X-A");
    assert!(has("x-a", &header));
    let session = bed.canary_at("/connections/s3/session_token");
    assert!(has("x-amz-security-token", &session));
    let signature = bed.canary_at("/connections/sas/auth/sas_token");
    assert!(sent.iter().any(|request| request.path.contains(&signature)));
    let hooks = servers.hooks.recorded();
    let url = bed.canary_at("/alerts/0/url");
    let header = bed.canary_at("/alerts/0/headers/X-Sign");
    assert!(
        hooks
            .iter()
            .any(|r| r.path.contains(&url) && r.headers.get("x-sign") == Some(&header))
    );
    let takers = servers.takers.recorded();
    for at in ["/lineage/url", "/telemetry/endpoint"] {
        let url = bed.canary_at(at);
        assert!(takers.iter().any(|r| r.path.contains(&url)), "{at}");
    }
}

/// What is played together.
enum Job {
    /// All free texts, with everything that can fail.
    House(By),
    /// All free texts of a project whose stores nobody may ask, and with columns that must not be seen.
    Apart(By),
    /// One other text, through some commands.
    Alone(Value, String, Commands),
}

impl Job {
    fn play(&self, hits: &mut Hits, cells: &mut Cells) {
        match self {
            Self::House(by) => {
                let servers = Servers::start();
                let bed = Bed::house(&everything::everything(&servers), *by);
                let said = bed.play(&[LOOK, CONNECT, RUN].concat(), hits, cells);
                bed.look_at_bodies(&servers, hits);
                check_ends(&said["run as data"]);
                check_use(&bed, &servers);
                bed.check_known(&said["run"]);
            }
            Self::Apart(by) => {
                let bed = Bed::house(&everything::apart(), *by);
                let said = bed.play(&[LOOK, RUN].concat(), hits, cells);
                assert_eq!(said["run"].code, 0, "{}", said["run"].stderr);
                bed.check_known(&said["run"]);
            }
            Self::Alone(document, at, commands) => {
                let _ = Bed::single(document, at).play(commands, hits, cells);
            }
        }
    }
}

impl Bed {
    /// A run learns all of them.
    fn check_known(&self, run: &Invocation) {
        for one in &self.planted {
            assert!(run.knows(&one.told), "{} is not known", one.at);
        }
    }
}

/// Plays jobs, as many at once as there are processors.
fn play_all(jobs: &[Job]) -> (Hits, Cells) {
    let (next, all) = (AtomicUsize::new(0), Mutex::new((Hits::new(), Cells::new())));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Relaxed)) {
                    let (mut hits, mut cells) = (Hits::new(), Cells::new());
                    job.play(&mut hits, &mut cells);
                    let mut all = all.lock().unwrap();
                    for (sink, places) in hits {
                        all.0.entry(sink).or_default().extend(places);
                    }
                    all.1.append(&mut cells);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

/// Of commands, at so many places.
const CELLS_MIN: usize = 1_000;
const CELLS_MIN_ALL: usize = 3_000;
/// Places whose canary odibi had learned.
const PLACES_MIN: usize = 40;

#[test]
fn no_canary_is_seen_anywhere() {
    let mut jobs = vec![
        Job::House(By::Vault),
        Job::House(By::Variable),
        Job::Apart(By::Vault),
        Job::Apart(By::Variable),
    ];
    let servers = Servers::start();
    let mut alone = Vec::new();
    for (document, commands) in [
        (everything::everything(&servers), ALONE),
        // Nobody may ask its stores.
        (everything::apart(), &ALONE[1..]),
    ] {
        let is_free = |at: &String| {
            let text = text(&document, at);
            text.contains(PLAIN) || text.contains(ANY)
        };
        let all = texts(&document).into_iter().filter(|at| !is_free(at));
        alone.extend(all.map(|at| Job::Alone(document.clone(), at, commands)));
    }
    assert!(alone.len() > 200, "{}", alone.len());
    let step = if support::all_canaries() { 1 } else { 13 };
    jobs.extend(alone.into_iter().step_by(step));
    let (hits, cells) = play_all(&jobs);
    assert_eq!(hits, BTreeMap::new(), "of {} cells", cells.len());
    let least = match support::all_canaries() {
        true => CELLS_MIN_ALL,
        false => CELLS_MIN,
    };
    assert!(cells.len() >= least, "{} cells", cells.len());
    let places: BTreeSet<&String> = cells.iter().map(|(at, _)| at).collect();
    assert!(places.len() >= PLACES_MIN, "{} places", places.len());
}

/// Where the filter is switched off, canaries are seen: the test above can fail.
#[test]
fn without_the_filter_canaries_are_seen_in_many_places() {
    let servers = Servers::start();
    let mut bed = Bed::house(&everything::everything(&servers), By::Variable);
    bed.project = bed.project.blind();
    let (mut hits, mut cells) = (Hits::new(), Cells::new());
    let _ = bed.play(&[LOOK, CONNECT, RUN].concat(), &mut hits, &mut cells);
    bed.look_at_bodies(&servers, &mut hits);
    assert_eq!(cells, Cells::new(), "nothing is learned");
    let sinks: Vec<&String> = hits.keys().collect();
    assert!(sinks.len() >= 10, "{sinks:?}");
    let places: BTreeSet<&String> = hits.values().flatten().collect();
    assert!(places.len() >= 10, "{places:?}");
}
