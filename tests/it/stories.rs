//! What a run leaves in its story directory: pages, comparison, index, and their end.

use serde_json::Value;
use support::Project;

/// Copies `in.csv`; two nodes, one after the other.
const COPY: &str = r"project: shop
connections: {here: {type: local, base_path: .}}
story: {connection: here}
pipelines:
  - pipeline: orders
    nodes:
      - name: raw
        read: {connection: here, format: csv, path: in.csv}
        write: {connection: here, format: parquet, path: raw.parquet}
      - name: copy
        depends_on: [raw]
        write: {connection: here, format: csv, path: out.csv}
";

fn rows(count: usize) -> String {
    let rows = (1..=count).map(|n| format!("{n},n{n}\n"));
    std::iter::once("id,name\n".to_owned())
        .chain(rows)
        .collect()
}

fn project(yaml: &str) -> Project {
    Project::with(yaml).file("in.csv", rows(100))
}

fn story(result: &Value) -> &Value {
    &result["pipelines"][0]["story"]
}

/// Files below the stories of the pipeline, without those of the index.
fn files(project: &Project) -> Vec<String> {
    let mut found = Vec::new();
    for day in std::fs::read_dir(project.path("stories/orders")).unwrap() {
        let day = day.unwrap().path();
        if day.is_dir() {
            let names = std::fs::read_dir(day).unwrap();
            found.extend(names.map(|e| e.unwrap().file_name().into_string().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn second_run_is_compared_with_the_first_and_both_are_listed() {
    let project = project(COPY);
    let (code, first) = project.run_json(&[]);
    assert_eq!(code, 0, "{first:#}");
    assert_eq!(story(&first)["comparison"], Value::Null);
    assert_eq!(story(&first)["exit_code"], 0);
    let project = project.file("in.csv", rows(10));
    let (_, second) = project.run_json(&[]);
    let comparison = &story(&second)["comparison"];
    assert_eq!(comparison["before"]["run_id"], first["run_id"]);
    assert_eq!(
        comparison["anomalies"][0]["kind"], "rows_fell",
        "{comparison:#}"
    );
    assert_eq!(story(&second)["history"].as_array().unwrap().len(), 1);
    assert_eq!(files(&project).len(), 6);
    let index = project.text("stories/orders/index.md");
    for run in [&first, &second] {
        assert!(index.contains(run["run_id"].as_str().unwrap()), "{index}");
    }
    let page = project.text("stories/orders/index.html");
    assert!(page.starts_with("<!doctype html>"), "{page}");
}

#[test]
fn columns_are_followed_from_what_is_written_to_what_was_read() {
    let (_, result) = project(COPY).run_json(&[]);
    let written = &story(&result)["column_lineage"][1];
    assert_eq!(written["dataset"], "here:out.csv");
    let expect = serde_json::json!([{ "dataset": "here:in.csv", "column": "name" }]);
    assert_eq!(written["columns"][1]["from"], expect, "{written:#}");
    assert_eq!(written["columns"][1]["unchanged"], true);
}

#[test]
fn retention_keeps_so_many_stories_whole() {
    let project = project(&COPY.replace(
        "{connection: here}",
        "{connection: here, retention_count: 2}",
    ));
    let mut ids = Vec::new();
    for _ in 0..4 {
        let (code, result) = project.run_json(&[]);
        assert_eq!(code, 0, "{result:#}");
        ids.push(result["run_id"].as_str().unwrap().to_owned());
    }
    let left = files(&project);
    assert_eq!(left.len(), 6, "{left:?}");
    assert!(
        left.iter()
            .all(|name| ids[2..].iter().any(|id| name.contains(id))),
        "{left:?}"
    );
}

#[test]
fn last_failure_and_last_success_stay() {
    let yaml = COPY.replace(
        "{connection: here}",
        "{connection: here, retention_count: 1}",
    );
    let project = project(&yaml);
    let (_, good) = project.run_json(&[]);
    let project = project.file("in.csv", "id,id\n1,2\n");
    let (code, bad) = project.run_json(&[]);
    assert_eq!((code, &story(&bad)["exit_code"]), (1, &Value::from(1)));
    let (_, worse) = project.run_json(&[]);
    let left = files(&project).concat();
    let there = |result: &Value| left.contains(result["run_id"].as_str().unwrap());
    assert!(there(&good) && !there(&bad) && there(&worse), "{left}");
}

#[test]
fn stories_are_shown_compared_and_written_anew() {
    let project = project(COPY);
    let (_, first) = project.run_json(&[]);
    let (_, second) = project.run_json(&[]);
    let id = |result: &Value| result["run_id"].as_str().unwrap().to_owned();
    let (first, second) = (id(&first), id(&second));
    let list = project.odibi(&["story", "list"]).exits(0).snapshot();
    assert!(list.contains(&first) && list.contains(&second), "{list}");
    let last = project
        .odibi(&["story", "last", "--format", "json"])
        .exits(0)
        .snapshot();
    assert!(last.contains(&second), "{last}");
    let diff = project
        .odibi(&["story", "diff", &first, &second])
        .exits(0)
        .snapshot();
    assert!(diff.contains("are the same"), "{diff}");
    let exported = project.odibi(&["story", "export", &first, "copy.html"]);
    assert_eq!(exported.exits(0).stderr, "");
    assert!(project.text("copy.html").contains(&first));
    let open = project.odibi(&["story", "open"]).exits(0).snapshot();
    assert!(open.contains(&format!("{second}.html")), "{open}");
}

#[test]
fn what_is_no_story_is_named() {
    let project = project(COPY).file("x.json", "{\"format_version\": 1");
    assert_eq!(project.run_json(&[]).0, 0);
    let check = |args: &[&str], code: &str| {
        let told = project.odibi(args).exits(3).snapshot();
        assert!(told.contains(code), "{args:?}: {told}");
    };
    check(&["story", "show", "x.json"], "story/unreadable");
    check(&["story", "show", "nothing"], "story/no-run");
    check(&["story", "show", "no.json"], "story/no-run");
    check(&["story", "export", "x.json", "x.pdf"], "story/no-form");
}

#[test]
fn broken_index_and_broken_stories_keep_no_run_from_its_story() {
    let project = project(COPY);
    assert_eq!(project.run_json(&[]).0, 0);
    let project = project
        .file("stories/orders/index.json", "not json")
        .file("stories/orders/2020-01-01/run_00-00-00_x.json", "{");
    let (code, second) = project.run_json(&[]);
    assert_eq!(code, 0, "{second:#}");
    assert_ne!(story(&second)["comparison"], Value::Null);
    assert_eq!(
        project.text("stories/orders/2020-01-01/run_00-00-00_x.json"),
        "{"
    );
}

#[test]
fn runs_are_compared_by_their_events_without_stories() {
    let project = project(&COPY.replace("story: {connection: here}\n", ""));
    let (_, first) = project.run_json(&[]);
    let project = project.file("in.csv", rows(10));
    let (_, second) = project.run_json(&["--node", "raw"]);
    let id = |result: &Value| result["run_id"].as_str().unwrap().to_owned();
    let (first, second) = (id(&first), id(&second));
    let told = project.odibi(&["runs", "diff", &first, "last"]).exits(0);
    for what in ["pipeline orders", "rows fell from 100 to 10", "copy"] {
        assert!(told.stdout.contains(what), "{what}: {}", told.stdout);
    }
    let json = project.odibi(&["runs", "diff", &first, &second, "--output", "json"]);
    let json: Value = serde_json::from_str(&json.exits(0).stdout).unwrap();
    assert_eq!(json["before"]["run_id"], first);
    let comparison = &json["pipelines"][0]["comparison"];
    assert_eq!(comparison["anomalies"][0]["kind"], "rows_fell", "{json:#}");
    assert_eq!(comparison["nodes_removed"], serde_json::json!(["copy"]));
    let unknown = project.odibi(&["runs", "diff", &first, "nothing"]);
    assert!(unknown.exits(2).stderr.contains("state/no-run"));
    std::fs::remove_dir_all(project.path(&format!(".odibi/runs/{first}"))).unwrap();
    let gone = project.odibi(&["runs", "diff", &first, &second]).exits(3);
    assert!(gone.stderr.contains("story/unreadable"), "{}", gone.stderr);
}

#[test]
fn stories_tell_what_was_read_and_what_proves_the_write() {
    let (code, result) = project(COPY).run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    let facts = &story(&result)["nodes"][0]["facts"];
    let input = &facts["inputs"][0];
    assert_eq!(input["rows"], 100);
    let columns = serde_json::json!(["id", "name"]);
    assert_eq!(input["sample"]["columns"], columns, "{input:#}");
    assert_eq!(input["sample"]["rows"].as_array().unwrap().len(), 10);
    let profile = &facts["profile"]["columns"][0];
    assert_eq!(
        (&profile["min"], &profile["max"]),
        (&"1".into(), &"100".into())
    );
    assert!(facts["sources"][0]["version"].is_string(), "{facts:#}");
    let proof = facts["write"]["evidence"].as_str().unwrap();
    assert!(proof.starts_with("footer odibi.batches "), "{proof}");
    let copied = &story(&result)["nodes"][1]["facts"];
    assert_eq!(copied["inputs"][0]["name"], "df");
}

#[test]
fn without_samples_no_value_of_the_data_is_in_a_story() {
    let yaml = COPY.replace(
        "{connection: here}",
        "{connection: here, max_sample_rows: 0}",
    );
    let project = Project::with(&yaml).file("in.csv", "id,name\n7004001,Zwetschge\n");
    assert_eq!(project.run_json(&[]).0, 0);
    for path in walk(&project.path("stories")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for value in ["7004001", "Zwetschge"] {
            assert!(!text.contains(value), "{value} in {}", path.display());
        }
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path],
        })
        .collect()
}

#[test]
fn who_started_a_run_is_told_only_when_asked() {
    let (_, silent) = project(COPY).run_json(&[]);
    assert_eq!(story(&silent)["user"], Value::Null);
    let yaml = COPY.replace(
        "{connection: here}",
        "{connection: here, record_user: true}",
    ) + "environments: {test: {vars: {a: 1}}}\n";
    let (_, told) = project(&yaml).run_json(&["--env", "test"]);
    assert!(!story(&told)["user"].as_str().unwrap().is_empty());
    assert_eq!(story(&told)["environment"], "test");
}

#[test]
fn documents_are_those_of_the_last_success_and_a_memo_is_of_each_run() {
    let docs = "{connection: here, retention_count: 1, docs: {enabled: true, output_path: docs}}";
    let project = project(&COPY.replace("{connection: here}", docs));
    let (_, good) = project.run_json(&[]);
    let readme = project.text("docs/orders/README.md");
    assert!(
        readme.contains(good["run_id"].as_str().unwrap()),
        "{readme}"
    );
    assert!(
        project
            .text("docs/orders/node_cards/copy.md")
            .contains("# `copy`")
    );
    let memo = |result: &Value| {
        let paths = result["pipelines"][0]["story_paths"].as_array().unwrap();
        let path = paths
            .iter()
            .find_map(|path| path.as_str().filter(|p| p.ends_with("_memo.md")));
        path.unwrap().to_owned()
    };
    assert!(
        project
            .text(&memo(&good))
            .contains("# Run of `orders`: succeeded")
    );
    let project = project.file("in.csv", "id,id\n1,2\n");
    let (code, bad) = project.run_json(&[]);
    assert_eq!(code, 1);
    assert_eq!(project.text("docs/orders/README.md"), readme);
    assert!(project.text(&memo(&bad)).contains("## What failed"));
    // A memo goes with its story.
    assert_eq!(project.run_json(&[]).0, 1);
    assert!(!project.path(&memo(&bad)).exists());
    assert!(project.path(&memo(&good)).exists());
}
