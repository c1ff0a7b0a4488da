//! The JSON Schema of project files, as a validator of JSON Schema understands it: it takes every good project, refuses an
//! unknown key wherever the reader does, and lets a reference stand for any value.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use odibi_plan::config::{FileFault, Outside, load_with};
use odibi_plan::yaml::{self, Node, Resolved, Value as Tree};
use odibi_plan::{Severity, Sources};
use serde_json::{Value, json};

use crate::guide;

/// A key that nothing has.
const UNKNOWN: &str = "no_such_key";

/// A good project.
struct Good {
    name: String,
    /// Where its files lie.
    directory: PathBuf,
    document: Value,
}

/// Fixtures, examples and templates.
fn good() -> Vec<Good> {
    let root = support::root();
    let mut found = Vec::new();
    for (directory, begins) in [
        ("tests/ui", "valid_"),
        ("tests/container", ""),
        ("examples/flights", ""),
        ("examples/production", ""),
        ("host/cli/templates/quickstart", ""),
        ("host/cli/templates/star-schema", ""),
        ("host/cli/templates/azure", ""),
    ] {
        let directory = root.join(directory);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with(begins) || !name.ends_with(".yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let project = text.split("\n#~").next().unwrap();
            found.push(Good {
                name: path.display().to_string(),
                directory: directory.clone(),
                document: document(project),
            });
        }
    }
    assert!(found.len() >= 18, "{}", found.len());
    found
}

/// The JSON of a YAML text. A key without a value is as if it were not there.
fn document(text: &str) -> Value {
    fn of(node: &Node) -> Value {
        match &node.value {
            Tree::Missing => Value::Null,
            Tree::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => Value::Null,
                Resolved::Boolean(value) => value.into(),
                Resolved::Integer(value) => i64::try_from(value).unwrap().into(),
                Resolved::Float(value) => value.into(),
                Resolved::Text => scalar.text.as_str().into(),
            },
            Tree::Sequence(items) => items.iter().map(of).collect(),
            Tree::Mapping(mapping) => {
                let entries = mapping.entries.iter().filter(|e| !e.value.is_null());
                let entries = entries.map(|e| (e.key.clone(), of(&e.value)));
                Value::Object(entries.collect())
            }
        }
    }
    let mut sources = Sources::default();
    let file = sources.add("t.yaml", text);
    let (tree, faults) = yaml::parse(&sources, file);
    assert_eq!(faults, [], "{text}");
    of(&tree.root)
}

/// What the schema says of each document; nothing of those that fit.
fn judged(documents: &[Value]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (schema, lines) = (
        dir.path().join("schema.json"),
        dir.path().join("documents.jsonl"),
    );
    std::fs::write(&schema, odibi_plan::config::schema().to_string()).unwrap();
    let text: String = documents.iter().map(|one| format!("{one}\n")).collect();
    std::fs::write(&lines, text).unwrap();
    let said = support::run_python("project_schema.py", &[&schema, &lines]);
    let said: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(said.len(), documents.len());
    said
}

/// The errors of a project, in every environment that it has. `text` is its YAML, which may be the document itself.
fn errors(text: &str, document: &Value, directory: &Path) -> BTreeSet<String> {
    let environments = document["environments"].as_object();
    let names = environments.into_iter().flatten();
    let names = names.map(|(name, _)| name.as_str());
    let mut found = BTreeSet::new();
    for selected in std::iter::once(None).chain(names.map(Some)) {
        let outside = Outside {
            environment: &|_| Some("acme".to_owned()),
            file: &|path, _| std::fs::read(directory.join(path)).map_err(|_| FileFault::Missing),
            selected,
            ..Outside::default()
        };
        let (_, faults) = load_with("t.yaml", text, &outside, &mut Sources::default());
        let errors = faults.into_iter().filter(|d| d.severity == Severity::Error);
        found.extend(errors.map(|d| format!("{} {}", d.code.name, d.message)));
    }
    found
}

/// JSON Pointers of everything below a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |key: &str, value: &Value| {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push(at.clone());
        places(value, &at, found);
    };
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                below(&index.to_string(), item);
            }
        }
        Value::Object(map) => map.iter().for_each(|(key, value)| below(key, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn good_projects_fit() {
    let good = good();
    let snippets = guide::good();
    let names = good
        .iter()
        .map(|one| one.name.clone())
        .chain(snippets.clone());
    let documents = good.iter().map(|one| one.document.clone());
    let documents: Vec<Value> = documents
        .chain(snippets.iter().map(|text| document(text)))
        .collect();
    for (said, name) in judged(&documents).iter().zip(names) {
        assert_eq!(said, "", "{name}");
    }
}

/// A key that nothing has, put into every mapping of every good project: the schema refuses what the reader refuses.
#[test]
fn unknown_keys_are_refused_where_the_reader_refuses_them() {
    let (mut cases, mut documents) = (Vec::new(), Vec::new());
    for one in good() {
        let errors = |document: &Value| errors(&format!("{document:#}"), document, &one.directory);
        let before = errors(&one.document);
        let mut all = vec![String::new()];
        places(&one.document, "", &mut all);
        for at in all {
            // Names that recipes give away, and a recipe that nobody uses, are the reader's business alone.
            if at == "/recipes" || at.ends_with("/recipe_vars") {
                continue;
            }
            let mut changed = one.document.clone();
            let Some(map) = changed.pointer_mut(&at).unwrap().as_object_mut() else {
                continue;
            };
            map.insert(UNKNOWN.to_owned(), json!(1));
            let refused = !errors(&changed).is_subset(&before);
            cases.push((format!("{} at {at:?}", one.name), refused));
            documents.push(changed);
        }
    }
    let mut wrong = Vec::new();
    for ((case, refused), said) in cases.iter().zip(judged(&documents)) {
        if *refused == said.is_empty() {
            wrong.push(format!(
                "{case}: the reader refuses it: {refused}, the schema says: {said}"
            ));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let refused = cases.iter().filter(|(_, refused)| *refused).count();
    assert!(
        refused > 200 && cases.len() > refused + 20,
        "{refused} of {}",
        cases.len()
    );
}

#[test]
fn references_stand_for_any_value() {
    let (mut cases, mut documents) = (Vec::new(), Vec::new());
    for one in good() {
        let mut all = Vec::new();
        places(&one.document, "", &mut all);
        for at in all {
            // These are read before references are replaced.
            let parts: Vec<&str> = at.split('/').skip(1).collect();
            let early = match parts[..] {
                ["vars" | "environments" | "recipes"] => true,
                ["environments" | "recipes", _] => true,
                ["environments", _, "vars"] => true,
                ["recipes", _, key] => key != "extends" && key != "description",
                _ => false,
            };
            if early {
                continue;
            }
            let mut changed = one.document.clone();
            *changed.pointer_mut(&at).unwrap() = json!("${ANY}");
            cases.push(format!("{} at {at}", one.name));
            documents.push(changed);
        }
    }
    assert!(documents.len() > 500, "{}", documents.len());
    for (said, case) in judged(&documents).iter().zip(cases) {
        assert_eq!(said, "", "{case}");
    }
}

/// Where a piece belongs.
#[derive(Clone, Copy)]
enum At {
    Top,
    Connection,
    Node,
}

use At::{Connection, Node as InNode, Top};

/// The YAML of a project with a piece.
fn with(at: At, piece: &str) -> String {
    let (mut top, mut connection, mut node) =
        (String::new(), String::new(), "depends_on: [raw]".to_owned());
    match at {
        Top => top = format!("{piece}\n"),
        Connection => connection = format!(", c: {{{piece}}}"),
        InNode => node = piece.to_owned(),
    }
    format!(
        "project: p\n{top}connections: {{lake: {{type: local}}{connection}}}\npipelines:\n  - pipeline: p\n    nodes:\n      \
         - {{name: raw, read: {{connection: lake, format: csv, path: a.csv}}}}\n      - {{name: n, {node}}}\n"
    )
}

/// Both spellings, where there are two; all of it is good.
const FITS: &[(At, &str)] = &[
    (
        Connection,
        "type: local, base_path: data, validation_mode: lazy",
    ),
    (
        Connection,
        "type: azure_adls, account_name: acme, container: raw",
    ),
    (
        Connection,
        "type: azure_blob, account: acme, container_name: raw, auth_mode: direct_key, account_key: a2V5",
    ),
    (
        Connection,
        "type: azure_adls, account: acme, container: raw, key_vault_name: acme, secret_name: key",
    ),
    (
        Connection,
        "type: azure_adls, account: acme, container: raw, auth: {mode: key_vault, key_vault: acme, secret: key}",
    ),
    (
        Connection,
        "type: azure_adls, account: acme, container: raw, auth: {mode: aad_msi, client_id: c}",
    ),
    (
        Connection,
        "type: azure_adls, account: acme, container: raw, tenant_id: t, client_id: c, client_secret: s",
    ),
    (
        Connection,
        "type: azure_adls, container: raw, use_emulator: yes",
    ),
    (
        Connection,
        "type: s3, bucket: acme-raw, region: eu-central-1, auth: {mode: keys, access_key_id: a, secret_access_key: b}",
    ),
    (
        Connection,
        "type: s3, bucket_name: acme-raw, endpoint: 'http://127.0.0.1:9000', auth_mode: none, virtual_hosted: false",
    ),
    (
        Connection,
        "type: gcs, bucket: acme-raw, service_account_file: key.json, path_prefix: a/b",
    ),
    (
        Connection,
        "type: http, base_url: 'https://x.example', headers: {X-A: 1}, auth: {type: basic, username: u, password: p}",
    ),
    (Top, "lineage: {file: out/lineage.jsonl}"),
    (
        Top,
        "timeout: 0.5\nretry: {delay: 500ms, max_delay: 5 m, deadline: 1d}",
    ),
    (Top, "logging: {level: Warning}"),
    (
        Top,
        "limits: {memory: 512 mib, cpu: 500ms, emits: '100', state: 4096}",
    ),
    (
        Top,
        "plugins: {geo: {path: geo.wasm, grants: [clock, entropy]}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a.csv, options: {sep: '\\t', quotechar: \"'\", na_values: NA, dtype: {a: Int32, b: 'DECIMAL(10, 2)'}, encoding: Latin_1, on_bad_lines: warn}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a.csv, options: {delimiter: ;, null_values: [NA, -999, null], on_bad_row: skip, skip_rows: 1}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: delta, path: t, options: {versionAsOf: 3}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: delta, path: t, time_travel: {as_of_timestamp: 2026-01-31}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: json, path: a, table: null, incremental: {}, options: {nrows: false}}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: csv, path: o.csv, mode: upsert, options: {keys: [id], quoting: 1, index: false}}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: delta, path: t, mode: append, merge_schema: true}",
    ),
    (
        InNode,
        "depends_on: [raw], transform: {steps: [SELECT 1, {function: distinct}]}, on_row_error: quarantine, quarantine: {connection: lake, path: r, format: csv, options: {header: no}}",
    ),
    (
        InNode,
        "depends_on: [raw], privacy: {method: mask}, columns: {a: {pii: on}}",
    ),
];

/// What the schema refuses as well as the reader.
const FAULTS: &[(At, &str)] = &[
    (Connection, "type: loca"),
    (Connection, "base_path: data"),
    (Connection, "type: local, account_name: acme"),
    (Connection, "type: azure_adls, account_name: acme"),
    (
        Connection,
        "type: azure_adls, account_name: acme, container: raw, auth_mode: key",
    ),
    (
        Connection,
        "type: azure_adls, account_name: acme, container: raw, auth: {mode: sas, sas_tokn: x}",
    ),
    (
        Connection,
        "type: azure_adls, account_name: acme, container: raw, account_key: k, auth: {}",
    ),
    (Connection, "type: s3, region: eu-central-1"),
    (
        Connection,
        "type: gcs, bucket: acme-raw, service_account: key.json",
    ),
    (Connection, "type: http, url: 'https://x.example'"),
    (
        Connection,
        "type: s3, bucket: acme-raw, virtual_hosted: perhaps",
    ),
    (Top, "retry: {delay: soon}"),
    (Top, "retry: {max_attempts: 101}"),
    (Top, "limits: {memory: 12 parsecs}"),
    (Top, "limits: {cpu: 30}"),
    (Top, "logging: {level: LOUD}"),
    (Top, "plugins: {geo: {path: geo.wasm, grants: [network]}}"),
    (Top, "story: {connection: lake, max_sample_rows: many}"),
    (
        Top,
        "story: {connection: lake, docs: {outputs: {reedme: true}}}",
    ),
    (
        Top,
        "system: {connection: lake, sync_to: {connection: lake}}",
    ),
    (Top, "semantic: {metrics: [{name: a}]}"),
    (
        Top,
        "environments: {prod: {connections: {lake: {base_pth: x}}}}",
    ),
    (InNode, "read: {connection: lake, format: cvs, path: a.csv}"),
    (InNode, "read: {connection: lake, format: csv}"),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, options: {delimeter: ;}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, options: {delimiter: ;;}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, options: {header: maybe}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, options: {infer_rows: few}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, options: {schema: {a: int33}}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, options: {compression: bz2}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: parquet, path: a, options: {delimiter: ;}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, time_travel: {as_of_version: 1}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: delta, path: a, time_travel: {version: 1}}",
    ),
    (
        InNode,
        "read: {connection: lake, format: csv, path: a, incremental: {mode: stateful}}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: csv, path: a, mode: upser, keys: [id]}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: csv, path: a, mode: upsert}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: csv, path: a, keys: id}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: csv, path: a, partition_by: id}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: parquet, path: a, options: {compression: gzipp}}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: csv, path: a, options: {statistics: true}}",
    ),
    (
        InNode,
        "depends_on: [raw], write: {connection: lake, format: avro, path: a}",
    ),
    (InNode, "depends_on: [raw], transform: {steps: [distinct]}"),
    (
        InNode,
        "depends_on: [raw], transform: {steps: [{operation: distinct, function: distinct}]}",
    ),
    (InNode, "depends_on: [raw], transform: {stepz: []}"),
    (InNode, "depends_on: [raw], on_row_error: quarantin"),
    (
        InNode,
        "depends_on: [raw], transform: {steps: [SELECT 1]}, on_row_error: quarantine, quarantine: {connection: lake, path: r, format: delta}",
    ),
    (
        InNode,
        "depends_on: [raw], transform: {steps: [SELECT 1]}, on_row_error: quarantine, quarantine: {connection: lake, path: r, options: {header: no}}",
    ),
    (InNode, "depends_on: [raw], schema_policy: {mode: evolv}"),
    (InNode, "depends_on: [raw], privacy: {method: rot13}"),
    (InNode, "depends_on: [raw], privacy: {salt: x}"),
    (InNode, "depends_on: [raw], columns: {a: {pi: true}}"),
    (InNode, "depends_on: raw"),
];

#[test]
fn both_spellings_fit_and_wrong_values_do_not() {
    let read = |pieces: &[(At, &str)]| -> (Vec<Value>, Vec<BTreeSet<String>>) {
        let texts = pieces.iter().map(|(at, piece)| with(*at, piece));
        let read = texts.map(|text| {
            let document = document(&text);
            let errors = errors(&text, &document, Path::new("/"));
            (document, errors)
        });
        read.unzip()
    };
    let (documents, errors) = read(FITS);
    let said = judged(&documents);
    for ((_, piece), (said, errors)) in FITS.iter().zip(said.iter().zip(errors)) {
        assert_eq!((said.as_str(), errors), ("", BTreeSet::new()), "{piece}");
    }
    let (documents, errors) = read(FAULTS);
    let said = judged(&documents);
    for ((_, piece), (said, errors)) in FAULTS.iter().zip(said.iter().zip(errors)) {
        assert!(!said.is_empty(), "{piece}: {errors:?}");
        assert!(!errors.is_empty(), "{piece}: {said}");
    }
}
