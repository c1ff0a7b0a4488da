//! What ODIBI's guide to production and its reference write, as data: a piece of YAML or a command, and what becomes of it
//! here. Each piece is laid into a small project, which is then run.

use support::recorder::{Recorder, Reply};
use support::{Project, files_below};

use crate::{logs, secrets};

/// Where a piece belongs.
#[derive(Clone, Copy)]
enum At {
    /// The top of the file.
    Top,
    /// Among the connections.
    Connections,
    /// The node.
    Node,
    /// The node's `write`, beside connection, format and path.
    Write,
}

enum Expect {
    /// It runs; this is said or written by the run, and its second run changes nothing of the target.
    Runs(&'static [&'static str]),
    /// It runs, and no report shows these.
    Hides(&'static [&'static str]),
    /// It runs, with this warning.
    Warns(&'static str),
    /// Over a bad file, the receiver is told this.
    Tells(&'static str),
    /// It is refused with these words.
    Refused(&'static [&'static str]),
}

use At::{Connections, Node, Top, Write};
use Expect::{Hides, Refused, Runs, Tells, Warns};

/// The piece, where it belongs, and what is expected.
const SNIPPETS: &[(&str, At, Expect)] = &[
    // Environments.
    (
        "datalake: {type: azure_adls, account_name: \"${ADLS_ACCOUNT_NAME}\", container: \"${ADLS_CONTAINER}\"}",
        Connections,
        Runs(&[]),
    ),
    (
        "environments: {prod: {connections: {outputs: {base_path: prod}}, retry: {max_attempts: 5}, logging: {level: WARNING}}}",
        Top,
        Runs(&["prod/users.parquet"]),
    ),
    (
        "vars: {team: sales}\ndescription: \"${vars.team} ${env:ADLS_CONTAINER} ${date:today}\"",
        Top,
        Runs(&[]),
    ),
    (
        "engine: pandas",
        Top,
        Warns("`engine` of the project has no effect"),
    ),
    (
        "engine: spark",
        Top,
        Warns("`engine` of the project has no effect"),
    ),
    (
        "performance: {use_arrow: true, skip_null_profiling: true}",
        Top,
        Warns("`performance` of the project has no effect"),
    ),
    (
        "system: {connection: local, path: _odibi_system}",
        Top,
        Runs(&[]),
    ),
    (
        "system: {connection: local, environment: prod}",
        Top,
        Warns("`environment` of `system` of the project has no effect"),
    ),
    // Columns that must not be seen.
    ("sensitive: true", Node, Hides(&["ada@", "123-45", "Zug"])),
    (
        "sensitive: [\"email\", \"ssn\"]",
        Node,
        Hides(&["ada@", "123-45"]),
    ),
    (
        "columns: {email: {pii: true, description: whom to write to}}\n        privacy: {method: hash, salt: pepper}",
        Node,
        Hides(&["ada@", "pepper"]),
    ),
    // Credentials.
    (
        "lake: {type: azure_adls, account: acme, container: raw, key_vault_name: acme, secret_name: lake-key}",
        Connections,
        Hides(&["bGFrZS1rZXk"]),
    ),
    (
        "lake: {type: azure_adls, account: acme, container: raw, auth_mode: key_vault, key_vault_name: acme, secret_name: lake-key}",
        Connections,
        Hides(&["bGFrZS1rZXk"]),
    ),
    (
        "lake: {type: azure_blob, account_name: acme, container: raw, auth: {mode: key_vault, key_vault: acme, secret: lake-key}}",
        Connections,
        Hides(&["bGFrZS1rZXk"]),
    ),
    (
        "lake: {type: azure_adls, account: acme, auth_mode: key_vault, key_vault: acme}",
        Connections,
        Refused(&[
            "connection `lake` lacks the key `container`",
            "connection `lake` lacks the key `secret_name`",
        ]),
    ),
    (
        "db: {type: azure_sql, host: db, database: d, password: \"${DB_PASSWORD}\"}",
        Connections,
        Refused(&["`azure_sql`", "not supported yet"]),
    ),
    // Attempts.
    (
        "retry:\n  enabled: true\n  max_attempts: 3\n  backoff: exponential",
        Top,
        Runs(&[]),
    ),
    ("retry: {max_attempts: 2, backoff: linear}", Node, Runs(&[])),
    (
        "retry: {enabled: false, backoff: constant}",
        Node,
        Runs(&[]),
    ),
    ("on_error: fail_fast", Node, Runs(&[])),
    ("on_error: fail_later", Node, Runs(&[])),
    ("on_error: ignore", Node, Runs(&[])),
    // Alerts.
    (
        "alerts:\n  - type: slack\n    url: ${HOOK}\n    on_events: [\"on_failure\"]",
        Top,
        Tells("\"type\":\"header\""),
    ),
    (
        "alerts: [{type: slack, url: \"${HOOK}\"}]",
        Top,
        Tells("guide failed"),
    ),
    (
        "alerts: [{type: slack, url: \"${HOOK}\", metadata: {channel: \"#data\", mention_on_failure: \"@here\", throttle_minutes: 15, max_per_hour: 10}}]",
        Top,
        Tells("<!here>"),
    ),
    (
        "alerts: [{type: teams, url: \"${HOOK}\", on_events: [on_failure, on_success]}]",
        Top,
        Tells("AdaptiveCard"),
    ),
    (
        "alerts: [{type: teams_workflow, url: \"${HOOK}\", on_events: [on_failure]}]",
        Top,
        Tells("AdaptiveCard"),
    ),
    (
        "alerts: [{type: webhook, url: \"${HOOK}\", on_events: [on_failure, on_quarantine, on_gate_block, on_threshold_breach]}]",
        Top,
        Tells("\"event\":\"on_failure\""),
    ),
    (
        "alerts: [{type: webhook, url: \"${HOOK}\", on_events: [on_start]}]",
        Top,
        Tells("\"event\":\"on_start\""),
    ),
    (
        "alerts: [{type: teams, url: \"https://acme.webhook.office.com/x\"}]",
        Top,
        Refused(&["which Microsoft has switched off"]),
    ),
    // Running again.
    (
        "mode: upsert, keys: [\"id\"]",
        Write,
        Runs(&["already applied"]),
    ),
    (
        "mode: append_once, keys: [\"id\"]",
        Write,
        Runs(&["already applied"]),
    ),
    ("mode: append_once", Write, Runs(&["already applied"])),
    (
        "mode: upsert, options: {keys: [id]}",
        Write,
        Runs(&["already applied"]),
    ),
    ("mode: upsert", Write, Refused(&["`keys`"])),
    // Stories.
    (
        "story:\n  connection: outputs\n  path: stories/\n  retention_days: 30   # days\n  retention_count: 100 # runs",
        Top,
        Runs(&["outputs/stories/p/index.html"]),
    ),
    (
        "story: {connection: outputs, path: audit_reports/}",
        Top,
        Runs(&["outputs/audit_reports/p/index.html"]),
    ),
    (
        "story: {connection: outputs, path: stories, max_sample_rows: 0}",
        Top,
        Hides(&["ada@", "123-45", "Zug"]),
    ),
    (
        "story: {connection: outputs, path: stories, async_generation: true, generate_lineage: true}",
        Top,
        Warns("`async_generation` of the story has no effect"),
    ),
    (
        "story: {connection: outputs, path: stories, docs: {enabled: true, outputs: {readme: true}, include: {sql: true}}}",
        Top,
        Runs(&["outputs/docs/generated/p/README.md"]),
    ),
    // Logs and lineage.
    (
        "logging:\n  level: WARNING\n  structured: true  # for a collector",
        Top,
        Runs(&[]),
    ),
    (
        "logging: {level: INFO, structured: true, metadata: {team: sales}}",
        Top,
        Runs(&[
            "\"event\":\"node_finished\"",
            "\"team\":\"sales\"",
            "\"rows_written\":2",
        ]),
    ),
    (
        "lineage: {url: \"${HOOK}\", namespace: shop, api_key: \"${HOOK_KEY}\"}",
        Top,
        Hides(&["hook-canary", "key-canary"]),
    ),
];

const GOOD: &str =
    "id,email,ssn,city\n1,ada@example.com,123-45-1111,Zug\n2,ben@example.com,123-45-2222,Chur\n";
/// A row too long.
const BAD: &str = "id,email,ssn,city\n1,ada@example.com,123-45-1111,Zug,x\n";

fn yaml(piece: &str, at: At) -> String {
    let of = |wanted: fn(At) -> bool, before: &str, behind: &str| match wanted(at) {
        true => format!("{before}{piece}{behind}"),
        false => String::new(),
    };
    let top = of(|at| matches!(at, Top), "", "\n");
    let connections = of(|at| matches!(at, Connections), "  ", "\n");
    let node = of(|at| matches!(at, Node), "        ", "\n");
    let write = of(|at| matches!(at, Write), ", ", "");
    let story = match piece.contains("story:") {
        true => "",
        false => "story: {connection: outputs, path: stories}\n",
    };
    format!(
        "project: guide\n{top}{story}connections:\n  local: {{type: local, base_path: .}}\n  outputs: {{type: local, base_path: \
         outputs}}\n{connections}pipelines:\n  - pipeline: p\n    nodes:\n      - name: process_users\n{node}        read: \
         {{connection: local, format: csv, path: users.csv}}\n        write: {{connection: outputs, format: parquet, path: \
         users.parquet{write}}}\n"
    )
}

fn project(piece: &str, at: At, recorder: &Recorder, users: &str) -> Project {
    let project = Project::with(&yaml(piece, at)).file("users.csv", users);
    let variables = secrets::variables().into_iter();
    let others = [
        ("ADLS_ACCOUNT_NAME", "acme".to_owned()),
        ("ADLS_CONTAINER", "raw".to_owned()),
        ("DB_PASSWORD", "password-canary".to_owned()),
        ("HOOK", recorder.url("hook-canary")),
        ("HOOK_KEY", "key-canary".to_owned()),
    ];
    let variables = variables.chain(others);
    variables.fold(project, |project, (name, value)| {
        project.variable(name, &value)
    })
}

/// What `odibi run` says, twice, and what it leaves beside the target: names and texts of files.
fn run(project: &Project, piece: &str) -> String {
    let env: &[&str] = match piece.contains("environments:") {
        true => &["--env", "prod"],
        false => &[],
    };
    let mut all = String::new();
    for _ in 0..2 {
        let said = project.odibi(&[&["run"], env].concat()).exits(0);
        if piece.contains("structured: true") {
            let _ = logs::parsed(&said.stderr);
        }
        all += &said.stdout;
        all += &said.stderr;
    }
    let root = project.path("");
    for path in files_below(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        all += &format!("{name}\n");
        if !matches!(name.as_str(), "odibi.yaml" | "users.csv") && !name.ends_with(".parquet") {
            all += &String::from_utf8_lossy(&std::fs::read(&path).unwrap());
        }
    }
    all
}

/// Projects with the snippets that are not refused.
pub(crate) fn good() -> Vec<String> {
    let snippets = SNIPPETS.iter();
    let good = snippets.filter(|(_, _, expect)| !matches!(expect, Refused(_)));
    good.map(|(piece, at, _)| yaml(piece, *at)).collect()
}

#[test]
fn every_snippet_of_the_guide_works_or_says_why_not() {
    for (piece, at, expect) in SNIPPETS {
        let recorder = Recorder::start([]);
        let good = |words: &[&str], hidden: &[&str]| {
            let project = project(piece, *at, &recorder, GOOD);
            let all = run(&project, piece);
            for word in words {
                assert!(all.contains(word), "no {word}: {piece}\n{all}");
            }
            for word in hidden {
                assert!(!all.contains(word), "{word}: {piece}\n{all}");
            }
            all
        };
        match expect {
            Runs(words) => {
                let all = good(words, &[]);
                assert!(!all.contains("has no effect"), "{piece}\n{all}");
            }
            Hides(words) => {
                good(&[], words);
            }
            Warns(words) => {
                good(&["warning[config/ignored-key]", words], &[]);
            }
            Tells(words) => {
                let project = project(piece, *at, &recorder, BAD);
                let _ = project.odibi(&["run"]).exits(1);
                let told = recorder.taken();
                assert_eq!(told.len(), 1, "{piece}");
                assert!(
                    told[0].text().contains(words),
                    "{piece}: {}",
                    told[0].text()
                );
            }
            Refused(words) => {
                let project = project(piece, *at, &recorder, GOOD);
                let said = project.odibi(&["validate"]).exits(78).stderr;
                for word in *words {
                    assert!(said.contains(word), "no {word}: {piece}\n{said}");
                }
            }
        }
    }
}

/// Without `sensitive`, what the snippets above hide is there to be seen.
#[test]
fn what_the_snippets_hide_is_seen_without_them() {
    let recorder = Recorder::start([]);
    let plain = project("owner: me", Top, &recorder, GOOD);
    let all = run(&plain, "");
    for word in ["ada@", "123-45", "Zug"] {
        assert!(all.contains(word), "no {word}: {all}");
    }
}

/// The guide's retries, seen at work: a web server that fails twice, and then answers.
#[test]
fn attempts_of_the_guide_are_made() {
    let piece = "retry: {enabled: true, max_attempts: 3, backoff: exponential, delay: 10ms}";
    let recorder = Recorder::start(vec![Reply::Status(503); 100]);
    let yaml = yaml(piece, Top).replace(
        "local: {type: local, base_path: .}",
        "local: {type: http, base_url: \"${HOOK}\"}",
    );
    let project = project(piece, Top, &recorder, GOOD).file("odibi.yaml", yaml);
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 1, "{result:#}");
    let node = &result["pipelines"][0]["story"]["nodes"][0];
    assert_eq!(
        node["attempts"].as_array().map(Vec::len),
        Some(3),
        "{node:#}"
    );
}

/// Commands as ODIBI's reference has them: the words, the exit code, and a part of what is said.
const COMMANDS: &[(&[&str], u8, &str)] = &[
    (&["run", "odibi.yaml"], 0, "succeeded"),
    (&["run", "odibi.yaml", "--env", "prod"], 0, "succeeded"),
    (&["run", "odibi.yaml", "--workers", "2"], 0, "succeeded"),
    (
        &["run", "odibi.yaml", "--parallel", "--workers", "2"],
        0,
        "`--parallel` has no effect: nodes always run side by side",
    ),
    (
        &["run", "odibi.yaml", "--dry-run"],
        2,
        "`odibi plan` shows what a run would do",
    ),
    (
        &["run", "odibi.yaml", "--on-error", "fail_fast"],
        0,
        "succeeded",
    ),
    (&["run", "odibi.yaml", "--tag", "daily"], 0, "succeeded"),
    (&["run", "odibi.yaml", "--pipeline", "p"], 0, "succeeded"),
    (
        &["run", "odibi.yaml", "--node", "process_users"],
        0,
        "succeeded",
    ),
    (&["run", "odibi.yaml", "--resume"], 0, ""),
    (&["validate", "odibi.yaml", "--env", "prod"], 0, ""),
    (&["doctor", "odibi.yaml"], 0, "ok      local"),
    (&["secrets", "validate", "odibi.yaml"], 0, "names no secret"),
    (&["story", "list", "-l", "10"], 0, "p"),
    (&["story", "last"], 0, "process_users"),
    (&["list", "operations"], 0, "deduplicate"),
];

#[test]
fn every_command_of_the_guide_works_or_says_why_not() {
    let recorder = Recorder::start([]);
    let piece = "environments: {prod: {vars: {a: b}}}";
    let yaml = yaml(piece, Top).replace(
        "- name: process_users\n",
        "- name: process_users\n        tags: [daily]\n",
    );
    let project = project(piece, Top, &recorder, GOOD).file("odibi.yaml", yaml);
    for (words, code, part) in COMMANDS {
        let said = project.odibi(words).exits(*code);
        let all = said.stdout + &said.stderr;
        assert!(all.contains(part), "no {part}: {words:?}\n{all}");
    }
}
