//! Tables on object stores through the whole program: files, directories and Delta tables on S3 (moto) and Azure
//! (Azurite), read by pyarrow and Python's `deltalake`, which know nothing of odibi.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::Project;
use support::proxy::{Fault, Proxy};

use crate::connect::Servers;

const STORES: [&str; 2] = ["s3", "azure"];
const BEFORE: &str = "id,day,s\n1,mo,x\n2,tu,y\n3,mo,ü\n";
const BATCH: &str = "id,day,s\n2,tu,Y\n4,we,\n";

struct Bench {
    servers: Servers,
    prefix: &'static str,
}

impl Bench {
    fn new(prefix: &'static str) -> Self {
        Self {
            servers: Servers::start(),
            prefix,
        }
    }

    fn project(&self, write: &str) -> Project {
        Project::with(&self.yaml("in.csv", write)).file("in.csv", BEFORE)
    }

    fn yaml(&self, source: &str, write: &str) -> String {
        format!(
            "project: p\nconnections:\n  here: {{type: local, base_path: .}}\n{}pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        \
             read: {{connection: here, format: csv, path: {source}}}\n        write: {{{write}}}\n",
            self.servers.connections(self.prefix)
        )
    }

    fn ask(&self, format: &str, store: &str, path: &str) -> Value {
        let place = format!("{store}/{}/{path}", self.prefix);
        let places = self.servers.1.to_string();
        let said = support::run_python(
            "remote_table.py",
            &[Path::new(format), Path::new(&place), Path::new(&places)],
        );
        serde_json::from_str(&said).unwrap()
    }

    /// Columns, sorted rows and version, as others read them.
    fn read(&self, format: &str, store: &str, path: &str) -> (String, Vec<String>, Value) {
        let mut said = self.ask(format, store, path);
        let cells = |row: &Value| {
            let cells = row.as_array().unwrap().iter();
            let cells = cells.map(|cell| cell.as_str().unwrap_or("-").to_owned());
            cells.collect::<Vec<_>>().join(",")
        };
        let columns = cells(&said["columns"]);
        let rows = said["rows"].as_array().unwrap().iter().map(cells).collect();
        (columns, rows, said["version"].take())
    }
}

fn expected(mode: &str) -> Vec<&'static str> {
    match mode {
        "overwrite" => vec!["2,tu,Y", "4,we,-"],
        "append" | "append_once" => vec!["1,mo,x", "2,tu,Y", "2,tu,y", "3,mo,ü", "4,we,-"],
        "append_once, keys: [id]" => vec!["1,mo,x", "2,tu,y", "3,mo,ü", "4,we,-"],
        _ => vec!["1,mo,x", "2,tu,Y", "3,mo,ü", "4,we,-"],
    }
}

const MODES: [&str; 5] = [
    "overwrite",
    "append",
    "append_once",
    "append_once, keys: [id]",
    "upsert, keys: [id]",
];

#[test]
fn every_mode_makes_tables_that_others_read() {
    let bench = Bench::new("modes");
    for store in STORES {
        for (form, format, path, modes) in [
            ("parquet", "parquet", "t.parquet", &MODES[..]),
            ("parquet", "parquet", "dir/", &MODES[1..3]),
            ("delta", "delta", "table", &MODES[..]),
            ("delta", "delta, partition_by: [day]", "parts", &MODES[..]),
        ] {
            for (number, mode) in modes.iter().enumerate() {
                let (at, slash) = match path.strip_suffix('/') {
                    Some(dir) => (format!("{number}/{dir}"), "/"),
                    None => (format!("{number}/{path}"), ""),
                };
                let write = format!(
                    "connection: {store}, format: {format}, path: {at}{slash}, mode: {mode}"
                );
                let project = bench.project(&write);
                let _ = project.odibi(&["run"]).exits(0);
                let project = project.file("in.csv", BATCH);
                let _ = project.odibi(&["run"]).exits(0);
                let (columns, mut rows, version) = bench.read(form, store, &at);
                // Partition columns come where a reader puts them.
                if columns == "id,s,day" {
                    let turned = |row: &String| {
                        let cells: Vec<&str> = row.split(',').collect();
                        format!("{},{},{}", cells[0], cells[2], cells[1])
                    };
                    rows = rows.iter().map(turned).collect();
                    rows.sort();
                } else {
                    assert_eq!(columns, "id,day,s", "{write}");
                }
                assert_eq!(rows, expected(mode), "{write}");
                // A retry of the same rows changes nothing; an `append` or `overwrite` is another run's.
                if number > 1 {
                    let again = project.odibi(&["run"]).exits(0);
                    let said = again.stdout + &again.stderr;
                    assert!(said.contains("already applied"), "{said}");
                    assert_eq!(bench.read(form, store, &at).2, version, "{write}");
                }
            }
        }
    }
}

#[test]
fn writers_of_one_table_in_processes_of_their_own_lose_nothing() {
    let bench = Bench::new("writers");
    for store in STORES {
        for (form, path) in [("delta", "table"), ("parquet", "t.parquet")] {
            let write = format!(
                "connection: {store}, format: {form}, path: {path}, mode: upsert, keys: [id]"
            );
            let projects: Vec<Project> = (0..3)
                .map(|writer| {
                    let rows: String = (0..8)
                        .map(|n| format!("{},w{writer}\n", n + writer))
                        .collect();
                    let project = Project::with(&bench.yaml("in.csv", &write));
                    project.file("in.csv", format!("id,by\n{rows}"))
                })
                .collect();
            let children: Vec<_> = projects
                .iter()
                .map(|project| {
                    let mut command = Command::new(support::binary());
                    command
                        .arg("run")
                        .current_dir(project.path(""))
                        .env("ODIBI_CACHE_DIR", support::cache_dir());
                    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
                    piped.spawn().unwrap()
                })
                .collect();
            for child in children {
                let done = child.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&done.stderr).into_owned();
                assert!(done.status.success(), "{write}: {said}");
            }
            let (_, rows, _) = bench.read(form, store, path);
            let ids: Vec<&str> = rows
                .iter()
                .map(|row| row.split(',').next().unwrap())
                .collect();
            assert_eq!(
                ids,
                ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
                "{write}"
            );
            // The result of one of the orders: a writer's rows are all of its own, or another's that came later.
            let of = |id: &str| rows.iter().find(|row| row.starts_with(&format!("{id},")));
            assert_eq!(of("0").unwrap(), "0,w0");
            assert_eq!(of("9").unwrap(), "9,w2");
            let middle: Vec<&str> = rows[2..8].iter().map(|row| &row[2..]).collect();
            assert!(
                middle.iter().all(|by| *by == middle[0]),
                "{write}: {rows:?}"
            );
        }
    }
}

#[test]
fn tables_of_others_are_read_from_object_stores() {
    let bench = Bench::new("others");
    for store in STORES {
        let write = format!("connection: {store}, format: delta, path: t, mode: append");
        let project = bench.project(&write);
        let _ = project.odibi(&["run"]).exits(0);
        let project = project.file("in.csv", BATCH);
        let _ = project.odibi(&["run"]).exits(0);
        for (travel, wanted) in [
            ("", "id,day,s\n1,mo,x\n2,tu,Y\n2,tu,y\n3,mo,ü\n4,we,\n"),
            (
                ", time_travel: {as_of_version: 0}",
                "id,day,s\n1,mo,x\n2,tu,y\n3,mo,ü\n",
            ),
        ] {
            let yaml = format!(
                "project: p\nconnections:\n  here: {{type: local, base_path: .}}\n{}pipelines:\n  - pipeline: p\n    nodes:\n      - name: n\n        \
                 read: {{connection: {store}, format: delta, path: t{travel}}}\n        transform: {{steps: [{{operation: sort, params: {{by: [id, s]}}}}]}}\n        \
                 write: {{connection: here, format: csv, path: out.csv}}\n",
                bench.servers.connections(bench.prefix)
            );
            let reader = Project::with(&yaml);
            let _ = reader.odibi(&["run"]).exits(0);
            assert_eq!(reader.text("out.csv"), wanted, "{store}{travel}");
        }
    }
}

/// Whatever it is that a busy store refuses: the log, the data that a merge reads or writes, the commit.
#[test]
fn a_busy_store_leaves_a_delta_table_as_it_is() {
    let bench = Bench::new("busy");
    for store in STORES {
        let url = bench.servers.1[store].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let (address, _) = address.split_once('/').unwrap_or((address, ""));
        for (number, (method, path)) in [
            ("GET", "_delta_log"),
            ("GET", ".parquet"),
            ("PUT", ".parquet"),
            ("PUT", "_delta_log"),
        ]
        .into_iter()
        .enumerate()
        {
            let what = format!("{method} {path} at {store}");
            let at = format!("t{number}");
            let write =
                format!("connection: {store}, format: delta, path: {at}, mode: upsert, keys: [id]");
            let steady = bench.yaml("in.csv", &write);
            let proxy = Proxy::before(address);
            let shaky = steady.replace(address, &proxy.address()).replacen(
                "connections:",
                "retry: {enabled: false}\nconnections:",
                1,
            );
            let project = bench.project(&write);
            let _ = project.odibi(&["run"]).exits(0);
            let before = bench.ask("objects", store, &at);
            assert_eq!(before.as_object().unwrap().len(), 2, "{what}: {before:#}");

            let project = project.file("in.csv", BATCH).file("odibi.yaml", &shaky);
            proxy.fail(method, path, Fault::Status(503), usize::MAX);
            let (code, result) = project.run_json(&[]);
            assert_eq!(code, 1, "{what}: {result:#}");
            let failure = &result["pipelines"][0]["story"]["nodes"][0]["failure"];
            assert_eq!(
                (&failure["class"], &failure["code"]),
                (&"transient".into(), &"write/failed".into()),
                "{what}: {failure:#}"
            );
            assert!(!proxy.failed().is_empty(), "{what}");
            assert_eq!(bench.ask("objects", store, &at), before, "{what}");

            let project = project.file("odibi.yaml", &steady);
            let _ = project.odibi(&["run"]).exits(0);
            let (_, rows, version) = bench.read("delta", store, &at);
            assert_eq!(rows, expected("upsert, keys: [id]"), "{what}");
            assert_eq!(version, 1, "{what}");
        }
    }
}
