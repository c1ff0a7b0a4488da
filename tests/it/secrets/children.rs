//! What a process that odibi starts could see of its secrets: the command line and the environment that it is given.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use support::Project;

use super::{CLIENT_SECRET, canary, traces, variables};

/// The word by which odibi calls itself to compile a component.
const COMPILER: &str = "compile-component";

/// Command lines and environments of the compilers that this process has started, as they are now.
fn compilers(parent: u32, found: &mut BTreeMap<u32, (Vec<u8>, Vec<u8>)>) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else {
            continue;
        };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        // `id (name) state parent …`, and the name may hold anything.
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
        let is_child = fields.is_some_and(|rest| {
            rest.split(' ').nth(1).and_then(|id| id.parse().ok()) == Some(parent)
        });
        if !is_child {
            continue;
        }
        // Before it is another program, a child shows what its parent was given.
        let line = read("cmdline");
        if String::from_utf8_lossy(&line).contains(COMPILER) {
            found.entry(id).or_insert_with(|| (line, read("environ")));
        }
    }
}

#[test]
fn the_compiler_is_given_no_secret() {
    // Of the small component `rows`.
    let yaml = "project: x
connections:
  here: {type: local, base_path: .}
  web: {type: http, base_url: \"https://127.0.0.1:9\", auth: {mode: bearer, token: \"${SHOP_TOKEN}\"}}
pipelines:
  - pipeline: p
    nodes:
      - name: n
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: row_number, params: {output: \"${keyvault:acme/canary-1}\"}}]}
        write: {connection: here, format: csv, path: out.csv}
";
    let project = Project::with(yaml).file("in.csv", "n,s\n1,a\n2,b\n");
    let mut odibi = Command::new(support::binary());
    odibi
        .args(["run", "-vv"])
        .current_dir(project.path(""))
        .env_clear()
        .envs(variables())
        .env("SHOP_TOKEN", canary(3))
        // Nothing is compiled yet.
        .env("ODIBI_CACHE_DIR", project.path("cache"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let odibi = odibi.spawn().unwrap();
    let id = odibi.id();
    let ended = std::thread::spawn(move || odibi.wait_with_output().unwrap());
    let mut found = BTreeMap::new();
    while found.is_empty() && !ended.is_finished() {
        compilers(id, &mut found);
    }
    let output = ended.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!found.is_empty(), "no compiler was seen: {said}");
    let mut traces = [traces(1), traces(3)].concat();
    traces.extend([CLIENT_SECRET, "hvs.right"].map(|word| word.as_bytes().to_vec()));
    assert!(project.text("out.csv").contains(&canary(1)), "it is used");
    for (line, environment) in found.values() {
        assert_eq!(String::from_utf8_lossy(environment), "");
        for trace in &traces {
            let hit = line.windows(trace.len()).any(|window| window == trace);
            assert!(!hit, "{}", String::from_utf8_lossy(line));
        }
    }
}
