//! `odibi plugin inspect`: what a component is, what it could reach, and what is refused unrun.

use serde_json::{Value, json};
use support::{Invocation, Project};

const NOTHING: &str = "cannot reach files, network, environment, clock or entropy";

fn document(inspected: &Invocation) -> Value {
    serde_json::from_str(&inspected.stdout)
        .unwrap_or_else(|e| panic!("{e}\n{}\n{}", inspected.stdout, inspected.stderr))
}

/// The hostile component with an import, wherever it stands, under another name of the same length.
fn planted(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(support::hostile()).unwrap();
    let at: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from.as_bytes()))
        .collect();
    assert!(!at.is_empty(), "{from} is not in the component");
    for at in at {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[test]
fn each_first_party_component_can_reach_nothing() {
    let project = Project::new();
    let mut seen = 0;
    for component in odibi_bundle::COMPONENTS {
        let page = project
            .odibi(&["plugin", "inspect", component.name])
            .exits(0);
        assert!(
            page.stdout.contains(&format!("verdict    {NOTHING}\n")),
            "{}",
            page.stdout
        );
        assert!(page.stdout.contains(component.digest), "{}", page.stdout);
        // Nothing had to run for it.
        assert_eq!(page.stderr, "");
        let args = ["plugin", "inspect", "--output", "json", component.name];
        let told = document(&project.odibi(&args).exits(0));
        assert_eq!(told["verdict"], NOTHING);
        assert_eq!(told["usable"], true);
        assert_eq!(told["asks_for"], json!([]));
        assert_eq!(told["imports"]["refused"], json!([]));
        assert_eq!(told["digest"], component.digest);
        assert_eq!(told["name"], component.name);
        assert_eq!(told["bytes"], component.wasm.len());
        assert!(told["operations"].as_array().unwrap().len() > 3, "{told:#}");
        seen += 1;
    }
    assert!(seen >= 3, "the bundle is empty or lacks components: {seen}");
}

#[test]
fn a_file_says_by_its_own_words_what_it_offers() {
    let project = Project::new().file("evil.wasm", std::fs::read(support::hostile()).unwrap());
    let page = project.odibi(&["plugin", "inspect", "evil.wasm"]).exits(0);
    for expect in [
        "plugin     odibi-hostile ",
        "file       evil.wasm\n",
        "interface  odibi:node/planning@0.2.0, odibi:node/execution@0.2.0\n",
        "operations by the component's own words",
        "  given a stand-in that reaches nothing\n",
        "    wasi:clocks/wall-clock@0.2.",
        "    odibi:node/output@0.2.0\n",
        NOTHING,
        "a project can grant it clock and entropy",
    ] {
        assert!(
            page.stdout.contains(expect),
            "`{expect}` is not in:\n{}",
            page.stdout
        );
    }
    assert!(!page.stdout.contains('\u{1b}'), "{:?}", page.stdout);
}

#[test]
fn a_component_that_asks_for_more_is_named_and_never_compiled() {
    let clock = "wasi:clocks/wall-clock@";
    for (to, asked) in [
        ("wasi:filesystem/types@0", "files"),
        ("wasi:sockets/tcp-create", "network"),
        ("wasi:cli/arguments-all@", "environment"),
        ("acme:quantum/entangle@0", "something unknown to odibi"),
    ] {
        let project = Project::new().file("p.wasm", planted(clock, to));
        let page = project.odibi(&["plugin", "inspect", "p.wasm"]).exits(1);
        let verdict = format!("verdict    asks for {asked}, and is refused for it\n");
        assert!(page.stdout.contains(&verdict), "{to}: {}", page.stdout);
        assert!(
            page.stdout.contains(&format!("  refused\n    {to}")),
            "{}",
            page.stdout
        );
        assert!(
            page.stderr.contains("error[plugin/denied-import]"),
            "{}",
            page.stderr
        );
        assert!(!page.stderr.contains("compil"), "{}", page.stderr);
        let args = ["plugin", "inspect", "p.wasm", "--output", "json"];
        let told = document(&project.odibi(&args).exits(1));
        assert_eq!(told["usable"], false);
        assert_eq!(told["asks_for"], json!([asked]));
        assert_eq!(told["name"], Value::Null);
        assert_eq!(told["failure"]["code"], "plugin/denied-import");
    }
}

#[test]
fn whatever_cannot_be_used_is_named() {
    let module = b"\0asm\x01\0\0\0".to_vec();
    let later = planted("odibi:node/planning@0.2.0", "odibi:node/planning@0.9.0");
    let project = Project::new()
        .file("text.wasm", "not wasm")
        .file("module.wasm", module)
        .file("empty.wasm", "")
        .file("later.wasm", later);
    for (file, exit, code) in [
        ("text.wasm", 3, "plugin/not-a-component"),
        ("module.wasm", 3, "plugin/not-a-component"),
        ("empty.wasm", 3, "plugin/not-a-component"),
        ("nowhere.wasm", 3, "plugin/missing"),
        (".", 3, "plugin/missing"),
        ("later.wasm", 1, "plugin/interface-version"),
    ] {
        let page = project.odibi(&["plugin", "inspect", file]).exits(exit);
        assert!(
            page.stderr.starts_with(&format!("error[{code}]: ")),
            "{file}: {}",
            page.stderr
        );
        assert_eq!(page.stdout.is_empty(), exit == 3, "{file}: {}", page.stdout);
    }
    let _ = project.odibi(&["plugin", "inspect"]).exits(2);
}
