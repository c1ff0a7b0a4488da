//! SQL over more rows than an instance may hold: a key that the host can divide by decides.

use support::Project;

const PROJECT: &str = r#"
project: p
connections: {here: {type: local, base_path: data}}
pipelines:
- pipeline: p
  nodes:
  - name: numbers
    read: {connection: here, format: csv, path: one.csv}
    transform: {steps: ["SELECT value AS id, value % 1000 AS k FROM generate_series(1, 1500000)"]}
  - name: whole
    depends_on: [numbers]
    limits: {memory: 64MiB}
    transform: {steps: ["SELECT k, n FROM (SELECT id + 1 AS id, count(*) AS n, min(k) AS k FROM df GROUP BY id + 1) t"]}
    write: {connection: here, format: csv, path: whole.csv, mode: overwrite}
  - name: by_key
    depends_on: [numbers]
    limits: {memory: 64MiB}
    transform: {steps: ["SELECT k, n FROM (SELECT id, count(*) AS n, min(k) AS k FROM df GROUP BY id) t"]}
    write: {connection: here, format: csv, path: by_key.csv, mode: overwrite}
  - name: texts
    read: {connection: here, format: csv, path: one.csv}
    transform: {steps: ["SELECT value AS id, concat('the text of row number ', value) AS t FROM generate_series(1, 1500000)"]}
  - name: joined_whole
    depends_on: [numbers, texts]
    limits: {memory: 64MiB}
    transform: {steps: ["SELECT d.id, t.t FROM df d JOIN texts t ON d.id + 1 = t.id"]}
    write: {connection: here, format: csv, path: joined_whole.csv, mode: overwrite}
  - name: joined
    depends_on: [numbers, texts]
    limits: {memory: 64MiB}
    transform: {steps: ["SELECT d.id, t.t FROM df d JOIN texts t ON d.id = t.id"]}
    write: {connection: here, format: csv, path: joined.csv, mode: overwrite}
"#;

#[test]
fn a_query_that_no_instance_can_hold_is_divided_by_its_key() {
    let project = Project::with(PROJECT).file("data/one.csv", "a\n1\n");
    let (code, document) = project.run_json(&["--memory", "256"]);
    assert_eq!(code, 1, "{document:#}");
    let node = |name: &str| {
        let nodes = document["pipelines"][0]["story"]["nodes"]
            .as_array()
            .unwrap();
        let found = nodes.iter().find(|n| n["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {document:#}"))
    };
    for (name, line) in [("whole", 13), ("joined_whole", 26)] {
        let failure = &node(name)["failure"];
        assert_eq!(failure["code"], "limit/guest-memory", "{failure:#}");
        assert_eq!(failure["step"], 0, "{failure:#}");
        assert_eq!(failure["place"]["line"], line, "{failure:#}");
        assert!(!project.path(&format!("data/{name}.csv")).exists());
    }
    let joined = project.text("data/joined.csv");
    let mut ids = vec![false; 1_500_001];
    for row in joined.lines().skip(1) {
        let (id, text) = row.split_once(',').unwrap();
        assert_eq!(text, format!("the text of row number {id}"));
        let seen = &mut ids[id.parse::<usize>().unwrap()];
        assert!(!std::mem::replace(seen, true), "{row}");
    }
    assert!(ids[1..].iter().all(|seen| *seen));
    assert_eq!(node("by_key")["outcome"], "succeeded", "{document:#}");
    let facts = &node("by_key")["facts"];
    assert_eq!(facts["rows_out"], 1_500_000, "{facts:#}");
    let step = &facts["operations"][0];
    assert!(step["partitions"].as_u64() > Some(1), "{step:#}");
    let written = project.text("data/by_key.csv");
    let mut rows: Vec<&str> = written.lines().skip(1).collect();
    rows.sort_unstable();
    rows.dedup();
    // Every id once: 1,500 of each of the 1,000 values of `k`, all with `n` 1.
    assert_eq!(rows.len(), 1_000);
    assert!(
        rows.iter().all(|row| row.ends_with(",1")),
        "{:?}",
        &rows[..3]
    );
    assert_eq!(written.lines().count(), 1_500_001);
}
