//! Which workspace crate may depend on which.

/// Each crate and the crates of ours that its `[dependencies]` may name.
const ARROWS: [(&str, &[&str]); 17] = [
    ("odibi-plan", &[]),
    ("odibi-story", &["odibi-plan"]),
    ("odibi-run", &["odibi-plan", "odibi-story"]),
    ("odibi-sandbox", &["odibi-plan", "odibi-story", "odibi-run"]),
    ("odibi-engine", &["odibi-plan", "odibi-story", "odibi-run"]),
    ("odibi-state", &["odibi-plan", "odibi-story", "odibi-run"]),
    (
        "odibi-delta",
        &["odibi-plan", "odibi-story", "odibi-run", "odibi-engine"],
    ),
    ("odibi-vault", &["odibi-plan", "odibi-story", "odibi-run"]),
    ("odibi-notify", &["odibi-plan", "odibi-story", "odibi-run"]),
    (
        "odibi",
        &[
            "odibi-plan",
            "odibi-story",
            "odibi-run",
            "odibi-sandbox",
            "odibi-engine",
            "odibi-delta",
            "odibi-state",
            "odibi-vault",
            "odibi-notify",
            "odibi-bundle",
        ],
    ),
    ("odibi-sdk", &[]),
    ("odibi-columns", &["odibi-sdk"]),
    ("odibi-rows", &["odibi-sdk"]),
    ("odibi-nested", &["odibi-sdk"]),
    ("odibi-bench-kernels", &["odibi-sdk"]),
    ("odibi-bundle", &[]),
    (
        "odibi-tests",
        &[
            "odibi-plan",
            "odibi-story",
            "odibi-run",
            "odibi-sandbox",
            "odibi-engine",
            "odibi-delta",
            "odibi-state",
            "odibi-vault",
            "odibi-notify",
            "odibi",
            "odibi-sdk",
            "odibi-columns",
            "odibi-rows",
            "odibi-nested",
            "odibi-bench-kernels",
            "odibi-bundle",
        ],
    ),
];

/// Heavy crates and the only crates of ours that may know them.
const HEAVY: [(&str, &[&str]); 5] = [
    ("wasmtime", &["odibi-sandbox", "odibi-tests"]),
    (
        "datafusion",
        &["odibi-engine", "odibi-delta", "odibi-tests"],
    ),
    (
        "object_store",
        &["odibi-engine", "odibi-delta", "odibi-vault", "odibi-tests"],
    ),
    ("deltalake", &["odibi-delta"]),
    ("clap", &["odibi"]),
];

/// Paths of `[workspace] members`.
pub(super) fn members(manifest: &str) -> Vec<String> {
    let list = manifest
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let list = list.map_or("", |(list, _)| list);
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Complaints about the `[dependencies]` of one crate, for every target. Those of tests and build scripts are free.
pub(super) fn wrong_arrows(manifest: &str) -> Vec<String> {
    let name = name(manifest);
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!(
            "crate `{name}` has no row in ARROWS: decide what it may depend on"
        )];
    };
    let mut complaints = Vec::new();
    for dependency in dependencies(manifest) {
        let ours = ARROWS.iter().any(|(from, _)| *from == dependency);
        if ours && !allowed.contains(&dependency.as_str()) {
            complaints.push(format!(
                "`{name}` depends on `{dependency}`, against the arrows of the architecture"
            ));
        }
        let heavy = HEAVY.iter().find(|(heavy, _)| *heavy == dependency);
        if heavy.is_some_and(|(_, knowing)| !knowing.contains(&name.as_str())) {
            complaints.push(format!(
                "`{name}` depends on `{dependency}`, which it must not know"
            ));
        }
    }
    complaints
}

fn name(manifest: &str) -> String {
    let name = manifest
        .lines()
        .find_map(|line| line.strip_prefix("name = \""));
    name.and_then(|rest| rest.split_once('"'))
        .map_or_else(String::new, |(name, _)| name.to_owned())
}

/// Keys of `[dependencies]`, of `[target.….dependencies]`, and `x` of `[dependencies.x]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            inside = section == "dependencies"
                || (section.starts_with("target.") && section.ends_with(".dependencies"));
            found.extend(section.strip_prefix("dependencies.").map(str::to_owned));
        } else if inside && !line.starts_with('#') && line.contains('=') {
            let key = line.split(['=', '.']).next().unwrap_or(line);
            found.push(key.trim().trim_matches('"').to_owned());
        }
    }
    found
}

#[track_caller]
fn check(manifest: &str, expect: &[&str]) {
    assert_eq!(wrong_arrows(manifest), expect);
}

#[test]
fn an_arrow_against_the_rule_is_found() {
    check(
        "[package]\nname = \"odibi-plan\"\n[dependencies]\nserde_json.workspace = true\nodibi-story.workspace = true\n",
        &["`odibi-plan` depends on `odibi-story`, against the arrows of the architecture"],
    );
    check(
        "[package]\nname = \"odibi-engine\"\n[dependencies]\n\"odibi-sandbox\" = { path = \"../sandbox\" }\n",
        &["`odibi-engine` depends on `odibi-sandbox`, against the arrows of the architecture"],
    );
    check(
        "[package]\nname = \"odibi-rows\"\n[target.'cfg(unix)'.dependencies]\nodibi-run = \"0.1\"\n",
        &["`odibi-rows` depends on `odibi-run`, against the arrows of the architecture"],
    );
    check(
        "[package]\nname = \"odibi-sdk\"\n[dependencies.odibi-run]\nworkspace = true\n",
        &["`odibi-sdk` depends on `odibi-run`, against the arrows of the architecture"],
    );
    check(
        "[package]\nname = \"odibi-run\"\n[dependencies]\nwasmtime.workspace = true\n",
        &["`odibi-run` depends on `wasmtime`, which it must not know"],
    );
    check(
        "[package]\nname = \"odibi-common\"\n",
        &["crate `odibi-common` has no row in ARROWS: decide what it may depend on"],
    );
}

#[test]
fn arrows_along_the_rule_and_those_of_tests_are_fine() {
    check(
        "[package]\nname = \"odibi-run\"\n[dependencies]\n# odibi-engine = 1\nodibi-plan.workspace = true\n",
        &[],
    );
    check(
        "[package]\nname = \"odibi-plan\"\n[dependencies]\n[dev-dependencies]\nodibi-run.workspace = true\n",
        &[],
    );
}

#[test]
fn members_are_read_from_the_list() {
    let manifest = "[workspace]\nmembers = [\n    \"host/plan\",\n    \"tests\",\n]\nexclude = [\"examples\"]\n";
    assert_eq!(members(manifest), ["host/plan", "tests"]);
}
