//! A failure is recorded by a run and seen again without the project: the whole way through the CLI.

use serde_json::Value;
use support::Project;

/// A node for each operation of the hostile plugin; the data has 60 rows.
fn project(operations: &[&str]) -> Project {
    let mut yaml = String::from(
        "project: p\nconnections: {here: {type: local, base_path: .}}\nplugins: {evil: {path: evil.wasm}}\npipelines:\n  - pipeline: p\n    nodes:\n",
    );
    for operation in operations {
        yaml.push_str(&format!(
            "      - name: {operation}\n        read: {{connection: here, format: csv, path: in.csv}}\n        transform: {{steps: [{{operation: limit, params: {{n: 50}}}}, {{operation: evil/{operation}}}]}}\n        write: {{connection: here, format: csv, path: {operation}.csv}}\n"
        ));
    }
    let rows: String = (0..60).map(|i| format!("{i},name {i}\n")).collect();
    Project::with(&yaml)
        .file("in.csv", format!("id,name\n{rows}"))
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

/// Names of the files below `caps`, sorted.
fn capsules(project: &Project) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(project.path("caps")) else {
        return Vec::new();
    };
    let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn what_a_run_records_is_seen_again_without_the_project() {
    let cases = [
        ("panic", "process", "trap/unreachable"),
        ("panic_in_plan", "plan", "trap/unreachable"),
        ("panics_in_finish", "finish", "trap/unreachable"),
        ("per_batch_fails", "process", "guest/data"),
        ("wrong_rows", "process", "contract/rows"),
    ];
    let project = project(&cases.map(|(operation, _, _)| operation));
    let (code, result) = project.run_json(&["--capture-failures", "caps"]);
    assert_eq!(code, 1, "{result:#}");
    let run_id = result["run_id"].as_str().unwrap();
    assert_eq!(
        capsules(&project).len(),
        cases.len(),
        "{:?}",
        capsules(&project)
    );
    let events = std::fs::read_to_string(result["events"].as_str().unwrap()).unwrap();
    std::fs::remove_file(project.path("odibi.yaml")).unwrap();
    std::fs::remove_file(project.path("in.csv")).unwrap();
    for (operation, phase, failure) in cases {
        let file = format!("caps/{run_id}-{operation}-2-1.odibi-replay");
        assert!(project.path(&file).exists(), "{:?}", capsules(&project));
        assert!(events.contains(&format!("\"failure_captured\",\"node\":{{\"pipeline\":\"p\",\"name\":\"{operation}\"}},\"step\":1")), "{events}");
        let again = project
            .odibi(&["plugin", "replay", &file, "--output", "json"])
            .exits(0);
        let again: Value = serde_json::from_str(&again.stdout).unwrap();
        assert_eq!(again["reproduced"], true, "{operation}: {again:#}");
        assert_eq!(again["replayed"]["phase"], phase, "{operation}");
        assert_eq!(again["replayed"]["failure"]["code"], failure, "{operation}");
        assert_eq!(
            again["replayed"]["failure"]["message"], again["recorded"]["failure"]["message"],
            "{operation}"
        );
        assert_eq!(again["session"]["run_id"], run_id, "{operation}");
    }
}

#[test]
fn a_failed_node_says_how_to_see_it_again_and_the_page_shows_what_the_guest_said() {
    let project = project(&["panic"]);
    let run = project
        .odibi(&["run", "--capture-failures", "caps"])
        .exits(1);
    let hint = run
        .stderr
        .lines()
        .find(|l| l.contains("odibi plugin replay"));
    let path = hint.and_then(|l| l.split("replay ").nth(1)).unwrap();
    let path = path.split('`').next().unwrap();
    let page = project.odibi(&["plugin", "replay", path]).exits(0);
    assert!(page.stdout.contains("evil/panic"), "{}", page.stdout);
    assert!(
        page.stdout
            .contains("replayed   the same failure in the same call"),
        "{}",
        page.stdout
    );
    assert!(!page.stdout.contains("a panic with"), "{}", page.stdout);
    let page = project.odibi(&["plugin", "replay", "-v", path]).exits(0);
    assert!(page.stdout.contains("a panic with"), "{}", page.stdout);
    assert!(!page.stdout.contains('\u{1b}'), "{:?}", page.stdout);
}

#[test]
fn nothing_is_recorded_unless_asked_for_and_success_leaves_no_capsule() {
    let project = project(&["panic", "copy"]);
    let _ = project.odibi(&["run"]).exits(1);
    assert_eq!(capsules(&project), Vec::<String>::new());
    let run = ["run", "--node", "copy", "--capture-failures", "caps"];
    let _ = project.odibi(&run).exits(0);
    assert_eq!(capsules(&project), Vec::<String>::new());
}

#[test]
fn a_first_party_operation_is_found_by_its_digest() {
    let project = Project::with(
        r"project: p
connections: {here: {type: local, base_path: .}}
pipelines:
  - pipeline: p
    nodes:
      - name: n
        read: {connection: here, format: csv, path: in.csv}
        transform: {steps: [{operation: select_columns, params: {columns: [nowhere]}}]}
",
    )
    .file("in.csv", "id,name\n1,a\n");
    let _ = project
        .odibi(&["run", "--capture-failures", "caps"])
        .exits(1);
    let file = format!("caps/{}", capsules(&project)[0]);
    let again = project.odibi(&["plugin", "replay", &file]).exits(0);
    assert!(again.stdout.contains("guest/"), "{}", again.stdout);
}

#[test]
fn another_component_or_outcome_and_unusable_files_have_their_exit_codes() {
    let project = project(&["panic"]);
    let _ = project
        .odibi(&["run", "--capture-failures", "caps"])
        .exits(1);
    let file = format!("caps/{}", capsules(&project)[0]);
    // A section of its own at the end makes another component of it that does the same.
    let mut other = std::fs::read(project.path("evil.wasm")).unwrap();
    other.extend([0, 5, 4, b'm', b'o', b'r', b'e']);
    std::fs::write(project.path("other.wasm"), other).unwrap();
    let with = |args: &[&str]| project.odibi(&[&["plugin", "replay", &file], args].concat());
    let refused = with(&["--plugin", "other.wasm"]).exits(3);
    assert!(
        refused.stderr.contains("replay/other-plugin"),
        "{}",
        refused.stderr
    );
    let again = with(&["--plugin", "other.wasm", "--any-version"]).exits(0);
    assert!(
        again.stdout.contains("with another version"),
        "{}",
        again.stdout
    );
    // The example of the flights has no such operation.
    let geo = support::geo().display().to_string();
    let without = with(&["--plugin", &geo, "--any-version"]).exits(3);
    assert!(
        without.stderr.contains("plugin/missing"),
        "{}",
        without.stderr
    );
    std::fs::remove_file(project.path("evil.wasm")).unwrap();
    let nowhere = with(&[]).exits(3);
    assert!(
        nowhere.stderr.contains("replay/no-plugin"),
        "{}",
        nowhere.stderr
    );
    let project = project.file("caps/rubbish", "no capsule");
    let rubbish = project
        .odibi(&["plugin", "replay", "caps/rubbish"])
        .exits(3);
    assert!(
        rubbish.stderr.contains("replay/damaged"),
        "{}",
        rubbish.stderr
    );
    let bad_dir = ["run", "--capture-failures", "caps/rubbish/below"];
    let bad_dir = project.odibi(&bad_dir).exits(3);
    assert!(
        bad_dir.stderr.contains("capture/not-written"),
        "{}",
        bad_dir.stderr
    );
}

#[test]
fn another_outcome_exits_with_one_and_says_what_happened_instead() {
    let project = project(&["per_batch_fails"]);
    let _ = project
        .odibi(&["run", "--capture-failures", "caps"])
        .exits(1);
    let file = format!("caps/{}", capsules(&project)[0]);
    // A build in which the text that it fails on is another.
    let mut other = std::fs::read(project.path("evil.wasm")).unwrap();
    let at: Vec<usize> = (0..other.len() - 7)
        .filter(|at| other[*at..].starts_with(b"name 13"))
        .collect();
    assert!(!at.is_empty());
    at.into_iter().for_each(|at| other[at + 5] = b'x');
    std::fs::write(project.path("repaired.wasm"), other).unwrap();
    let args = [
        "plugin",
        "replay",
        &file,
        "--plugin",
        "repaired.wasm",
        "--any-version",
    ];
    let page = project.odibi(&args).exits(1);
    assert!(
        page.stdout.contains("no failure, all went well: 1 call"),
        "{}",
        page.stdout
    );
}

/// Rewrites the header of a capsule and seals it again, as a stranger could.
fn forge(project: &Project, file: &str, change: impl FnOnce(&mut Value)) {
    use sha2::{Digest as _, Sha256};
    let bytes = std::fs::read(project.path(file)).unwrap();
    let prefix = b"odibi-replay\nH".len();
    let json = prefix + 8;
    let length = u64::from_le_bytes(bytes[prefix..json].try_into().unwrap());
    let rest = json + usize::try_from(length).unwrap();
    let mut header: Value = serde_json::from_slice(&bytes[json..rest]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let mut forged = bytes[..prefix].to_vec();
    forged.extend((header.len() as u64).to_le_bytes());
    forged.extend(header);
    forged.extend(&bytes[rest..bytes.len() - 41]);
    let digest = Sha256::digest(&forged);
    forged.extend(&bytes[bytes.len() - 41..bytes.len() - 32]);
    forged.extend(digest);
    std::fs::write(project.path(file), forged).unwrap();
}

#[test]
fn what_a_stranger_wrote_into_a_capsule_neither_commands_the_terminal_nor_raises_limits() {
    let project = project(&["panic"]);
    let _ = project
        .odibi(&["run", "--capture-failures", "caps"])
        .exits(1);
    let file = format!("caps/{}", capsules(&project)[0]);
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}";
    forge(&project, &file, |header| {
        header["limits"]["memory_bytes_max"] = (1_u64 << 40).into();
        header["operation"]["plugin"] = evil.into();
    });
    let again = ["plugin", "replay", &file, "--output", "json"];
    let again: Value = serde_json::from_str(&project.odibi(&again).exits(0).stdout).unwrap();
    assert_eq!(again["limits"]["memory_bytes_max"], 256 << 20);
    forge(&project, &file, |header| {
        header["operation"]["digest"] = evil.into();
        header["path"] = format!("{evil}.wasm").into();
    });
    let said = project.odibi(&["plugin", "replay", &file]).exits(3).stderr;
    assert!(said.contains("replay/no-plugin"), "{said:?}");
    assert!(said.contains("owned"), "{said:?}");
    let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!said.contains(raw), "{said:?}");
}
