//! Metered runs: the count of work is equal whatever else differs between two runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use support::Project;

/// A step that keeps no state, one that wants its rows by key, one that there is once, one that has enough early.
const YAML: &str = r"project: shop
connections:
  here: {type: local, base_path: .}
story: {connection: here, path: stories}
pipelines:
  - pipeline: orders
    nodes:
      - name: clean
        read: {connection: here, format: csv, path: orders.csv}
        transform:
          steps:
            - {operation: clean_text, params: {columns: [city], case: upper}}
            - {operation: deduplicate, params: {keys: [id], order_by: at DESC}}
        write: {connection: here, format: parquet, path: out/clean.parquet}
      - name: cities
        inputs: {df: clean}
        transform:
          steps:
            - {operation: select_columns, params: {columns: [city]}}
            - {operation: distinct}
            - {operation: limit, params: {n: 5}}
        write: {connection: here, format: json, path: out/cities.jsonl}
      - name: again
        read: {connection: here, format: csv, path: orders.csv}
        transform:
          steps:
            - {operation: clean_text, params: {columns: [note], case: lower}}
        write: {connection: here, format: parquet, path: out/again.parquet}
";

/// Larger than the size below which a step by key runs in one partition anyway.
fn orders() -> String {
    let mut text = "id,city,at,note\n".to_owned();
    for i in 0..90_000_u32 {
        let _ = writeln!(
            text,
            "{},city {},{},an order that somebody made at some time",
            i % 70_001,
            i % 37,
            (i * 7_919) % 90_001
        );
    }
    assert!(text.len() > 4 << 20);
    text
}

/// The work of each step, by node and place.
fn works(run: &(u8, Value)) -> BTreeMap<(String, usize), Option<u64>> {
    assert_eq!(run.0, 0, "{:#}", run.1);
    let mut works = BTreeMap::new();
    for node in run.1["pipelines"][0]["story"]["nodes"].as_array().unwrap() {
        let name = node["name"].as_str().unwrap();
        let operations = node["facts"]["operations"].as_array().unwrap();
        for (at, operation) in operations.iter().enumerate() {
            let work = operation["ledger"].get("work").map(|w| w.as_u64().unwrap());
            // How many there are depends on the machine, so the count may not.
            if work.is_some() {
                assert_eq!(operation["ledger"]["instances"], 1, "{operation:#}");
            }
            works.insert((name.to_owned(), at), work);
        }
    }
    works
}

#[test]
fn work_is_equal_whatever_the_workers_the_memory_and_the_hour() {
    let project = Project::with(YAML).file("orders.csv", orders());
    let first = works(&project.run_json(&["--metered", "--workers", "1"]));
    assert_eq!(first.len(), 6);
    for (step, work) in &first {
        assert!(work.is_some_and(|w| w > 10_000), "{step:?}: {work:?}");
    }
    for options in [
        ["--workers", "1"],
        ["--workers", "4"],
        ["--memory", "16"],
        ["--as-of", "2024-02-29T12:00:00Z"],
    ] {
        let again = works(&project.run_json(&[&["--metered"][..], &options].concat()));
        assert_eq!(again, first, "{options:?}");
    }
    let plain = works(&project.run_json(&[]));
    assert!(plain.values().all(Option::is_none), "{plain:?}");
}

#[test]
fn terminal_and_story_tell_costs_and_work() {
    let rows = "id,city,at,note\n1,Bern,2,a\n1,Bern,3,b\n2,Basel,1,c\n";
    let project = Project::with(YAML).file("orders.csv", rows);
    let run = project.odibi(&["run", "--metered", "-v"]).exits(0);
    for expect in [
        "\n  work: ",
        "clean step 2, deduplicate\n  peak ",
        ", encode ",
        ", component ",
        ", work ",
        "  in 3 rows, ",
        "; out 2 rows, ",
    ] {
        assert!(run.stdout.contains(expect), "`{expect}`\n{}", run.stdout);
    }
    let story = run.stdout.lines().find_map(|l| l.strip_prefix("story: "));
    let story = project.text(story.unwrap());
    assert!(story.contains("#### Sandbox"), "{story}");
    assert!(story.contains(" Work |"), "{story}");
    let run = project.odibi(&["run"]).exits(0);
    for not in ["work", "peak"] {
        assert!(!run.stdout.contains(not), "`{not}`\n{}", run.stdout);
    }
}
