//! Delta tables through the command line; the Python package `deltalake` judges what is written and makes what is read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::Project;

fn python(what: &str, table: &Path) -> Value {
    let answer = support::run_python("delta_table.py", &[Path::new(what), table]);
    serde_json::from_str(&answer).unwrap()
}

/// A node that writes `in.csv` to a Delta table below `root`.
fn writer(root: &Path, write: &str) -> String {
    format!(
        "project: p\nconnections:\n  here: {{type: local, base_path: .}}\n  lake: {{type: local, base_path: \"{}\"}}\n\
         pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        read: {{connection: here, format: csv, path: in.csv}}\n        \
         write: {{connection: lake, format: delta, path: t, {write}}}\n",
        root.display()
    )
}

fn rows_of(table: &Value) -> Vec<String> {
    let rows = table["rows"].as_array().unwrap().iter();
    let cells = |row: &Value| {
        let cells = row.as_array().unwrap().iter();
        let cells = cells.map(|cell| cell.as_str().unwrap_or("-").to_owned());
        cells.collect::<Vec<_>>().join(" ")
    };
    rows.map(cells).collect()
}

#[track_caller]
fn run(project: &Project) -> Value {
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    result
}

#[test]
fn what_is_written_in_every_mode_is_what_others_read() {
    let first = "id,t,n,day\n1,a,1.5,2026-01-31\n2,é,,1969-12-31\n,,,\n";
    let second = "id,t,n,day\n2,b,2.5,2026-02-01\n3,c,,\n";
    for (write, wanted) in [
        (
            "mode: overwrite",
            ["2026-02-01 2 2.5 b", "- 3 - c"].as_slice(),
        ),
        (
            "mode: append, partition_by: [t]",
            &[
                "- - - -",
                "- 3 - c",
                "1969-12-31 2 - é",
                "2026-01-31 1 1.5 a",
                "2026-02-01 2 2.5 b",
            ],
        ),
        (
            "mode: append_once, keys: [id], null_keys: equal",
            &[
                "- - - -",
                "- 3 - c",
                "1969-12-31 2 - é",
                "2026-01-31 1 1.5 a",
            ],
        ),
        (
            "mode: upsert, options: {keys: [id]}, null_keys: equal, partition_by: [day]",
            &[
                "- - - -",
                "- 3 - c",
                "2026-01-31 1 1.5 a",
                "2026-02-01 2 2.5 b",
            ],
        ),
    ] {
        let lake = tempfile::tempdir().unwrap();
        let project = Project::with(&writer(lake.path(), write)).file("in.csv", first);
        run(&project);
        let project = project.file("in.csv", second);
        run(&project);
        let table = python("read", &lake.path().join("t"));
        let mut wanted: Vec<String> = wanted.iter().map(|row| (*row).to_owned()).collect();
        let mut rows = rows_of(&table);
        wanted.sort();
        rows.sort();
        assert_eq!(rows, wanted, "{write}");
        assert_eq!(table["version"], 1, "{write}");
        assert_eq!(
            table["columns"],
            json!({"day": "date32[day]", "id": "int64", "n": "double", "t": "string"}),
            "{write}"
        );
        if write.starts_with("mode: append_once") || write.starts_with("mode: upsert") {
            let again = run(&project);
            let table = python("read", &lake.path().join("t"));
            assert_eq!(table["version"], 1, "{write}: {again:#}");
        }
    }
}

#[test]
fn tables_of_others_are_read_at_every_version() {
    let lake = tempfile::tempdir().unwrap();
    let made = python("make", &lake.path().join("t"));
    assert_eq!(made["version"], 4);
    let newest = [
        "2,ü/%=&?,",
        "3,a b,",
        ",,",
        "4,x,7.00",
        "5,x,",
        "6,ü/%=&?,1.00",
    ];
    for (travel, wanted) in [
        ("", &newest[..]),
        (
            ", time_travel: {as_of_version: 0}",
            &["1,a b", "2,ü/%=&?"][..],
        ),
        (
            ", options: {versionAsOf: 1}",
            &["1,a b", "2,ü/%=&?", "3,a b", ","],
        ),
        (", time_travel: {as_of_timestamp: 2999-01-01}", &newest[..]),
    ] {
        let project = Project::with(&format!(
            "project: p\nconnections:\n  here: {{type: local, base_path: .}}\n  lake: {{type: local, base_path: \"{}\"}}\n\
             pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        read: {{connection: lake, format: delta, path: t{travel}}}\n        \
             write: {{connection: here, format: csv, path: out.csv}}\n",
            lake.path().display()
        ));
        run(&project);
        let text = project.text("out.csv");
        let mut rows: Vec<&str> = text.lines().skip(1).collect();
        let mut wanted = wanted.to_vec();
        rows.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(rows, wanted, "{travel}");
    }
}

#[test]
fn a_table_of_others_is_upserted_and_stays_theirs() {
    let lake = tempfile::tempdir().unwrap();
    python("make", &lake.path().join("t"));
    let write = "mode: upsert, keys: [id], merge_schema: true";
    let project = Project::with(&writer(lake.path(), write)).file("in.csv", "id,p\n2,moved\n9,x\n");
    run(&project);
    let table = python("read", &lake.path().join("t"));
    let mut rows = rows_of(&table);
    rows.sort();
    let wanted = [
        "- - -",
        "2 - moved",
        "3 - a b",
        "4 7.00 x",
        "5 - x",
        "6 1.00 ü/%=&?",
        "9 - x",
    ];
    assert_eq!(rows, wanted);
    assert_eq!(table["partitions"], json!(["p"]));
}

fn start(project: &Path) -> std::process::Child {
    let mut command = Command::new(support::binary());
    let command = command.arg("run").current_dir(project);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command
        .env("ODIBI_CACHE_DIR", support::cache_dir())
        .spawn()
        .unwrap()
}

/// `ODIBI_DELTA_WRITERS=8x10` for the long form.
fn writers() -> (usize, usize) {
    let asked = std::env::var("ODIBI_DELTA_WRITERS").ok();
    let asked = asked.and_then(|text| {
        let (writers, batches) = text.split_once('x')?;
        Some((writers.parse().ok()?, batches.parse().ok()?))
    });
    asked.unwrap_or((4, 2))
}

#[test]
fn processes_side_by_side_leave_what_some_order_of_them_would() {
    let (writers, batches) = writers();
    let lake = tempfile::tempdir().unwrap();
    let project = |writer: usize| {
        let yaml = writer_yaml(lake.path(), writer);
        Project::with(&yaml)
    };
    let mut projects: Vec<Project> = (0..writers).map(project).collect();
    for batch in 0..batches {
        let running: Vec<_> = projects
            .iter_mut()
            .enumerate()
            .map(|(writer, project)| {
                let own = 100 + writer * 100 + batch;
                let text: String = [0, 1, 2, own]
                    .iter()
                    .map(|id| format!("{id},{writer}.{batch}\n"))
                    .collect();
                std::fs::write(project.path("in.csv"), format!("id,t\n{text}")).unwrap();
                start(project.path("").as_path())
            })
            .collect();
        for mut child in running {
            assert!(child.wait().unwrap().success());
        }
    }
    let table = python("read", &lake.path().join("t"));
    let rows = rows_of(&table);
    assert_eq!(rows.len(), 3 + writers * batches, "{rows:?}");
    let common: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.split_once(' ').filter(|(id, _)| id.len() == 1))
        .map(|(_, text)| text)
        .collect();
    assert!(
        common.len() == 3 && common.iter().all(|text| *text == common[0]),
        "{rows:?}"
    );
    assert_eq!(table["version"], writers * batches - 1);
}

fn writer_yaml(root: &Path, writer: usize) -> String {
    let yaml = self::writer(root, "mode: upsert, keys: [id]");
    yaml.replace("pipeline: p\n", &format!("pipeline: p{writer}\n"))
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the seed of a failing run must be known"
)]
fn killed_runs_lose_nothing_and_double_nothing() {
    const ROUNDS: u64 = 8;
    let lake = tempfile::tempdir().unwrap();
    let project = Project::with(&writer(lake.path(), "mode: append_once"));
    let table: PathBuf = lake.path().join("t");
    let seed = std::env::var("ODIBI_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("ODIBI_SEED={seed}");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for round in 0..ROUNDS {
        let rows: String = (0..500).map(|row| format!("{round},{row}\n")).collect();
        std::fs::write(project.path("in.csv"), format!("id,t\n{rows}")).unwrap();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = start(project.path("").as_path());
        // Not a wait for something: the moment of the kill is the input of the test.
        std::thread::park_timeout(Duration::from_millis(300 + random % 1_200));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(
            start(project.path("").as_path()).wait().unwrap().success(),
            "round {round}"
        );
        let read = python("read", &table);
        let rows = read["rows"].as_array().unwrap().len() as u64;
        assert_eq!(
            rows,
            (round + 1) * 500,
            "round {round}: {}",
            read["batches"]
        );
    }
}
