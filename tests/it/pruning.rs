//! What a filter in front cannot let through is not read: files by their directories and their statistics, row groups.
//! The rows that are kept are the same.

use std::fs::File;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use support::Project;

/// Runs a node over `read` with these keys, and returns the rows that entered its steps and what it wrote.
#[track_caller]
fn run(project: &Project, read: &str, keys: &str) -> (u64, String) {
    let yaml = format!(
        "project: p\nconnections: {{here: {{type: local, base_path: .}}}}\npipelines:\n  - pipeline: p\n    nodes:\n      \
         - name: n\n        read: {{connection: here, {read}}}\n        {keys}\n        \
         write: {{connection: here, format: csv, path: out.csv}}\n"
    );
    std::fs::write(project.path("odibi.yaml"), yaml).unwrap();
    let (code, result) = project.run_json(&[]);
    assert_eq!(code, 0, "{result:#}");
    let facts = &result["pipelines"][0]["story"]["nodes"][0]["facts"];
    let rows = facts["inputs"][0]["rows"].as_u64();
    (
        rows.unwrap_or_else(|| panic!("{facts:#}")),
        project.text("out.csv"),
    )
}

fn filter(condition: &str) -> String {
    format!(
        "transform: {{steps: [{{operation: filter_rows, params: {{condition: \"{condition}\"}}}}]}}"
    )
}

fn sql(sql: &str) -> String {
    format!("transform: {{steps: [\"{sql}\"]}}")
}

/// Rows 0 to 99, ten to a row group, each with its tens as text.
fn parquet() -> Project {
    let project = Project::with("");
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("tens", DataType::Utf8, true),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from_iter_values(0..100)),
            Arc::new(StringArray::from_iter_values(
                (0..100).map(|id| format!("t{}", id / 10)),
            )),
        ],
    );
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(10))
        .build();
    let file = File::create(project.path("in.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    writer.write(&batch.unwrap()).unwrap();
    writer.close().unwrap();
    project
}

#[test]
fn row_groups_that_cannot_match_are_not_read() {
    let project = parquet();
    let read = "format: parquet, path: in.parquet";
    let check = |keys: &str, read_rows: u64, out: &str| {
        assert_eq!(
            run(&project, read, keys),
            (read_rows, out.to_owned()),
            "{keys}"
        );
    };
    check(&filter("id = 42"), 10, "id,tens\n42,t4\n");
    check(
        &filter("ID >= 19 AND id < 21"),
        20,
        "id,tens\n19,t1\n20,t2\n",
    );
    check(
        &filter("tens = 't3' AND id % 10 = 5"),
        10,
        "id,tens\n35,t3\n",
    );
    check(&filter("id > 500"), 0, "id,tens\n");
    check(&filter("id = 42 OR id = 1"), 100, "id,tens\n1,t0\n42,t4\n");
    check(
        &sql("SELECT max(id) AS id FROM df WHERE id BETWEEN 11 AND 33"),
        30,
        "id\n33\n",
    );
    check(
        &sql("SELECT id, (SELECT count(*) FROM df) AS n FROM df WHERE id = 42"),
        100,
        "id,n\n42,100\n",
    );
    // Another step before it, and rows to be set aside: everything is read.
    let renamed = "transform: {steps: [{operation: rename_columns, params: {mapping: {tens: t}}}, \
                   {operation: filter_rows, params: {condition: \"id = 42\"}}]}";
    check(renamed, 100, "id,t\n42,t4\n");
    let quarantined = format!(
        "on_row_error: quarantine\n        quarantine: {{connection: here, path: bad, format: parquet}}\n        {}",
        filter("id = 42")
    );
    check(&quarantined, 100, "id,tens\n42,t4\n");
}

#[test]
fn directories_and_delta_files_that_cannot_match_are_not_read() {
    let project = Project::with("").file(
        "in.csv",
        "id,day,name\n1,2026-01-01,a\n2,2026-01-02,b\n3,2026-01-02,c\n4,,d\n",
    );
    for (format, path) in [("parquet", "lake/"), ("delta", "table")] {
        let write = format!(
            "project: p\nconnections: {{here: {{type: local, base_path: .}}}}\npipelines:\n  - pipeline: w\n    nodes:\n      \
             - name: w\n        read: {{connection: here, format: csv, path: in.csv}}\n        \
             write: {{connection: here, format: {format}, path: {path}, mode: overwrite, partition_by: [day]}}\n"
        );
        std::fs::write(project.path("odibi.yaml"), write).unwrap();
        let (code, result) = project.run_json(&[]);
        assert_eq!(code, 0, "{result:#}");
        let read = format!("format: {format}, path: {path}");
        let check = |condition: &str, read_rows: u64, ids: &[&str]| {
            let keys = sql(&format!("SELECT id FROM df WHERE {condition} ORDER BY id"));
            let expected = format!(
                "id\n{}",
                ids.iter().map(|id| format!("{id}\n")).collect::<String>()
            );
            assert_eq!(
                run(&project, &read, &keys),
                (read_rows, expected),
                "{format} {condition}"
            );
        };
        check("day > '2026-01-01'", 2, &["2", "3"]);
        check("day IN ('2026-01-01', '2027-01-01')", 1, &["1"]);
        check("day IS NULL", 4, &["4"]);
        check("day <> '2026-01-01'", 4, &["2", "3"]);
    }
}
