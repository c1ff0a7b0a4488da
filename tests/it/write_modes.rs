//! Write modes with the real program: what is said, what is seen, and writers in processes of their own.

use std::process::Command;

use serde_json::{Value, json};
use support::Project;

fn yaml(format: &str, path: &str, write: &str) -> String {
    format!(
        "project: p\nconnections: {{here: {{type: local, base_path: .}}}}\npipelines:\n  - pipeline: p\n    nodes:\n\
         \x20     - name: n\n        read: {{connection: here, format: csv, path: in.csv}}\n\
         \x20       write: {{connection: here, format: {format}, path: {path}, {write}}}\n"
    )
}

/// Exit code and what is printed.
fn run(project: &Project) -> (u8, String) {
    let done = project.odibi(&["run"]);
    (done.code, done.stdout + &done.stderr)
}

#[test]
fn an_upsert_says_what_it_did_and_a_second_run_that_it_was_done() {
    let project = Project::with(&yaml("parquet", "out.parquet", "mode: upsert, keys: [id]"))
        .file("in.csv", "id,s\n1,x\n2,y\n");
    let (code, text) = run(&project);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("upsert: 2 rows inserted"), "{text}");
    let bytes = std::fs::read(project.path("out.parquet")).unwrap();
    let (code, text) = run(&project);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("upsert: already applied"), "{text}");
    let project = project.file("in.csv", "id,s\n2,z\n3,w\n");
    let (code, text) = run(&project);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("upsert: 1 row inserted, 1 row updated"),
        "{text}"
    );
    assert_ne!(std::fs::read(project.path("out.parquet")).unwrap(), bytes);
    let path = project.path("out.parquet");
    let read = support::run_python("read_table.py", &[path.as_path()]);
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read["rows"], json!([["1", "x"], ["2", "z"], ["3", "w"]]));
}

#[test]
fn a_date_format_that_leaves_out_a_part_of_a_key_is_shown_where_the_key_is_named() {
    let write = |format: &str| {
        let write = format!("mode: upsert, keys: [day], options: {{date_format: \"{format}\"}}");
        yaml("csv", "out.csv", &write)
    };
    let project = Project::with(&write("%d/%m")).file("in.csv", "day,v\n2024-02-01,1\n");
    let said = project.odibi(&["validate"]).exits(78).stderr;
    let expected = "error[config/unsupported-write]: node `n` cannot be written: `date_format` leaves out a part of the key `day`\n --> odibi.yaml:8:84\n";
    assert!(said.contains(expected), "{said}");
    let (code, text) = run(&project);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("leaves out a part of the key `day`"),
        "{text}"
    );
    assert!(!project.path("out.csv").exists());
    let project = project.file("odibi.yaml", write("%d/%m/%Y"));
    let _ = project.odibi(&["validate"]).exits(0);
    for rows in ["day,v\n2024-02-01,1\n", "day,v\n2024-02-01,2\n"] {
        std::fs::write(project.path("in.csv"), rows).unwrap();
        let (code, text) = run(&project);
        assert_eq!(code, 0, "{text}");
    }
    let written = std::fs::read_to_string(project.path("out.csv")).unwrap();
    assert_eq!(written, "day,v\n01/02/2024,2\n");
}

/// One of the scripts of `tests/crash`, which judge what is there with readers that know nothing of odibi. They print their
/// seed.
#[track_caller]
fn crash(script: &str, arguments: &[&str]) {
    let done = Command::new(support::python())
        .arg("-B")
        .arg(support::root().join("tests/crash").join(script))
        .arg(support::binary())
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Every tenth point, from a place that is printed.
#[test]
fn a_sample_of_the_crash_sweep_finds_nothing() {
    crash("sweep.py", &["--every", "10"]);
}

/// What a killed run has left is settled by another pipeline that writes the same target, for its own pipeline too.
#[test]
fn another_pipeline_writes_where_a_run_was_killed() {
    for target in ["csv", "parquet-file", "parquet-directory"] {
        crash(
            "sweep.py",
            &["--every", "10", "--between", "--only", target],
        );
    }
}

#[test]
fn two_runs_of_one_pipeline_that_are_killed_lose_nothing() {
    crash("overlap.py", &["--kills", "40"]);
}

#[test]
fn processes_that_write_one_table_leave_it_as_in_some_order() {
    crash("writers.py", &["--writers", "4", "--batches", "3"]);
}

#[test]
fn a_target_that_cannot_be_read_stays_as_it_is() {
    crash("unreadable.py", &[]);
}

/// As [`a_sample_of_the_crash_sweep_finds_nothing`], on moto and Azurite.
#[test]
fn a_sample_of_the_crash_sweep_on_object_stores_finds_nothing() {
    for target in ["parquet-s3", "parquet-azure"] {
        crash("sweep.py", &["--every", "10", "--stores", "--only", target]);
    }
}
