//! What a project grants its plugins, the whole way: plan, run, story.

use serde_json::{Value, json};
use support::Project;

/// One node that runs the hostile plugin's look at its world.
fn project(grants: &str) -> Project {
    let yaml = format!(
        "project: p\nconnections: {{here: {{type: local, base_path: .}}}}\nstory: {{connection: here, path: stories}}\nplugins: {{evil: {{path: evil.wasm{grants}}}}}\npipelines:\n  - pipeline: p\n    nodes:\n      - name: look\n        read: {{connection: here, format: csv, path: in.csv}}\n        transform: {{steps: [{{operation: limit, params: {{n: 5}}}}, {{operation: evil/environment}}]}}\n        write: {{connection: here, format: csv, path: out.csv}}\n"
    );
    Project::with(&yaml)
        .file("in.csv", "id\n1\n2\n")
        .file("evil.wasm", std::fs::read(support::hostile()).unwrap())
}

/// What the guest said under this word, and the facts of its step.
fn look(project: &Project) -> (impl Fn(&str) -> String + use<>, Value) {
    let (code, result) = project.run_json(&["--as-of", "2020-01-01T00:00:00Z"]);
    assert_eq!(code, 0, "{result:#}");
    let events = std::fs::read_to_string(result["events"].as_str().unwrap()).unwrap();
    let facts = events.lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let facts = event.pointer("/facts/operations/1")?;
        Some(facts.clone())
    });
    let facts = facts.unwrap_or_else(|| panic!("no facts in {events}"));
    let notes = facts["notes"].clone();
    let say = move |word: &str| {
        let prefix = format!("{word} value=");
        let texts = notes.as_array().unwrap().iter();
        let mut texts = texts.filter_map(|note| note["text"].as_str()?.strip_prefix(&prefix));
        texts.next().unwrap().to_owned()
    };
    (say, facts)
}

const AS_OF_MS: &str = "1577836800000";

#[test]
fn a_plugin_sees_the_real_time_only_where_the_project_grants_it() {
    let plain = project("");
    let (say, facts) = look(&plain);
    assert_eq!(say("time"), AS_OF_MS);
    assert_eq!(facts.get("grants"), None, "{facts:#}");
    let granted = project(", grants: [clock]");
    let (say, facts) = look(&granted);
    assert!(say("time").as_str() > AS_OF_MS, "{facts:#}");
    assert_eq!(say("logical"), AS_OF_MS);
    assert_eq!(facts["grants"], json!(["clock"]));
}

#[test]
fn seeded_numbers_repeat_and_granted_ones_do_not() {
    let hash = |project: &Project| look(project).0("hash");
    let plain = project("");
    assert_eq!(hash(&plain), hash(&plain));
    let granted = project(", grants: [entropy]");
    assert_ne!(hash(&granted), hash(&granted));
}

#[test]
fn plan_and_story_name_the_grants() {
    let project = project(", grants: [entropy, clock]");
    let plan = project.odibi(&["plan"]).exits(0);
    let line = "    grants  clock, entropy, so the result may differ each time\n";
    assert!(plan.stdout.contains(line), "{}", plan.stdout);
    let plan = project.odibi(&["plan", "--output", "json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let steps = &plan["nodes"][0]["steps"];
    assert_eq!(steps[0]["grants"], json!([]), "{steps:#}");
    assert_eq!(steps[1]["grants"], json!(["clock", "entropy"]));
    let (_, facts) = look(&project);
    assert_eq!(facts["grants"], json!(["clock", "entropy"]));
    let stories = std::fs::read_dir(project.path("stories")).unwrap();
    let mut story = String::new();
    let mut rest: Vec<std::path::PathBuf> = stories.map(|e| e.unwrap().path()).collect();
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "md") {
            story.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    let line =
        "The plugin of step 2 was granted clock, entropy, so its result may differ each time.";
    assert!(story.contains(line), "{story}");
}

#[test]
fn a_replay_grants_what_the_run_did_and_says_so() {
    let project = project(", grants: [clock]");
    let yaml = project
        .text("odibi.yaml")
        .replace("evil/environment", "evil/panic");
    let project = project.file("odibi.yaml", yaml);
    let run = project
        .odibi(&["run", "--capture-failures", "caps"])
        .exits(1);
    let mut capsules = std::fs::read_dir(project.path("caps")).unwrap();
    let capsule = capsules.next().unwrap_or_else(|| panic!("{}", run.stderr));
    let capsule = capsule.unwrap().path().display().to_string();
    let page = project.odibi(&["plugin", "replay", &capsule]).exits(0);
    let line = "grants     clock, so it may end otherwise each time\n";
    assert!(page.stdout.contains(line), "{}", page.stdout);
    let args = ["plugin", "replay", &capsule, "--output", "json"];
    let told: Value = serde_json::from_str(&project.odibi(&args).exits(0).stdout).unwrap();
    assert_eq!(told["grants"], json!(["clock"]));
}

#[test]
fn what_no_plugin_gets_makes_the_project_invalid() {
    let project = project(", grants: [network]");
    let run = project.odibi(&["run"]).exits(78);
    assert!(
        run.stderr
            .contains("error[config/no-such-grant]: plugin `evil` cannot be granted `network`"),
        "{}",
        run.stderr
    );
    assert!(!project.path("out.csv").exists());
}
