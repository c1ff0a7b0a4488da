//! What a source file may say, by the room it is in.

use super::source::{closing, code, code_without_tests, words};

/// Lines of a file, at most.
const LINES_MAX: usize = 800;

/// Rooms that know nothing of the outside. Their tests beside `src/` read fixtures.
const PURE: [&str; 2] = ["host/plan/src/", "host/story/src/"];

/// Rooms that may print: the command line, tests, and build scripts, which speak to cargo that way.
const PRINTING: [&str; 6] = [
    "host/cli/",
    "tests/",
    "host/sandbox/tests/",
    "host/plan/tests/",
    "tests.rs",
    "build.rs",
];

/// Where `Serialize` may stand. Of the host only these (the store names its files after its version); the SDK and plugins
/// speak JSON over the contract.
const SERIALISING: [&str; 12] = [
    "host/story/src/event",
    "host/story/src/failure",
    "host/story/src/story",
    "host/story/src/render/alert",
    "host/cli/src/output",
    "host/sandbox/src/component/store",
    "host/sandbox/src/capsule",
    "host/sandbox/src/limits",
    "host/state/src/shared/",
    "sdk/",
    "plugins/",
    "tests/",
];

/// Files that define a serialised format: each says which version of it it writes.
pub(super) const FORMATS: [&str; 6] = [
    "host/story/src/event.rs",
    "host/story/src/story.rs",
    "host/story/src/story/shelf.rs",
    "host/story/src/render/alert.rs",
    "host/sandbox/src/capsule/header.rs",
    "host/state/src/shared/document.rs",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 10] = [
    "common", "util", "utils", "core", "helper", "helpers", "manager", "misc", "mod", "imp",
];

/// A line that a comment cannot excuse, as a complaint.
fn complain(path: &str, line: usize, what: &str) -> String {
    format!("{path}:{line}: {what}")
}

/// Lines with one of these words.
fn lines_with(path: &str, code: &str, is_bad: impl Fn(&str) -> bool, what: &str) -> Vec<String> {
    let lines = code.lines().enumerate();
    let bad = lines.filter_map(|(i, line)| {
        words(line)
            .into_iter()
            .find(|word| is_bad(word))
            .map(|word| (i, word))
    });
    bad.map(|(i, word)| complain(path, i + 1, &format!("`{word}` {what}")))
        .collect()
}

/// Files, clocks, the environment and async in a room that is to be pure. Test modules are no exception.
pub(super) fn impure(path: &str, text: &str) -> Vec<String> {
    if !PURE.iter().any(|room| path.starts_with(room)) {
        return Vec::new();
    }
    let code = code(text);
    let words_banned = [
        "async",
        "await",
        "tokio",
        "SystemTime",
        "Instant",
        "OpenOptions",
    ];
    let mut complaints = lines_with(
        path,
        &code,
        |word| words_banned.contains(&word),
        "has no place in a pure room",
    );
    for (i, line) in code.lines().enumerate() {
        let dense: String = line.split_whitespace().collect();
        for call in ["Timestamp::now", "Zoned::now", "File::open", "File::create"] {
            if dense.contains(call) {
                complaints.push(complain(
                    path,
                    i + 1,
                    &format!("`{call}` has no place in a pure room"),
                ));
            }
        }
    }
    for (at, _) in code.match_indices("std::") {
        let rest = &code[at + "std::".len()..];
        let named = if rest.starts_with('{') {
            &rest[..closing(rest)]
        } else {
            words(rest).first().copied().unwrap_or("")
        };
        for word in words(named)
            .into_iter()
            .filter(|word| ["fs", "env", "net", "process", "thread"].contains(word))
        {
            let line = code[..at].matches('\n').count() + 1;
            complaints.push(complain(
                path,
                line,
                &format!("`std::{word}` has no place in a pure room"),
            ));
        }
    }
    complaints
}

/// Printing outside the rooms that may.
pub(super) fn prints(path: &str, text: &str) -> Vec<String> {
    if PRINTING
        .iter()
        .any(|room| path.starts_with(room) || path.ends_with(&format!("/{room}")))
    {
        return Vec::new();
    }
    let code = code_without_tests(text);
    let printing = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    let lines = code.lines().enumerate();
    let bad = lines.filter(|(_, line)| {
        line.split_inclusive('!')
            .any(|part| ends_with_any(part, &printing))
    });
    bad.map(|(i, _)| complain(path, i + 1, "a library prints"))
        .collect()
}

/// True when `part` ends with one of `macros`, as a word of its own.
fn ends_with_any(part: &str, macros: &[&str]) -> bool {
    let word_start = part
        .trim_end_matches('!')
        .rfind(|c: char| !c.is_alphanumeric() && c != '_')
        .map_or(0, |i| i + 1);
    part.ends_with('!') && macros.contains(&part[word_start..].trim_start())
}

/// `derive(… Serialize …)` and `impl Serialize for` where no format is.
pub(super) fn serialises(path: &str, text: &str) -> Vec<String> {
    if SERIALISING.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    let code = code_without_tests(text);
    let mut complaints = Vec::new();
    for head in ["derive(", "impl "] {
        for (at, _) in code.match_indices(head) {
            let rest = &code[at..];
            let end = if head == "derive(" {
                head.len() - 1 + closing(&rest[head.len() - 1..])
            } else {
                rest.find('{').unwrap_or(0)
            };
            if words(&rest[..end]).contains(&"Serialize") {
                let line = code[..at].matches('\n').count() + 1;
                complaints.push(complain(
                    path,
                    line,
                    "`Serialize` makes a format: put it with the others, with a version",
                ));
            }
        }
    }
    complaints
}

/// A format without a version.
pub(super) fn unversioned(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let versioned = words(&code)
        .into_iter()
        .any(|word| word.eq_ignore_ascii_case("format_version"));
    if versioned {
        Vec::new()
    } else {
        vec![format!(
            "{path}: a serialised format without a `format_version`"
        )]
    }
}

/// More lines than a reader will take.
pub(super) fn too_long(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines <= LINES_MAX {
        Vec::new()
    } else {
        vec![format!("{path}: {lines} lines, at most {LINES_MAX}")]
    }
}

/// A file that does not begin with what it is for.
pub(super) fn without_duty(path: &str, text: &str) -> Vec<String> {
    let duty = text
        .strip_prefix("//!")
        .and_then(|rest| rest.lines().next())
        .map_or("", str::trim);
    let says_nothing = ["", "Placeholder.", "TODO"].contains(&duty);
    if says_nothing {
        vec![complain(path, 1, "does not begin with `//!` and its duty")]
    } else {
        Vec::new()
    }
}

/// A file, folder or crate with a name that says nothing.
pub(super) fn empty_name(path: &str) -> Vec<String> {
    let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
    let empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    empty
        .map(|part| format!("{path}: `{part}` says nothing about what is inside"))
        .collect()
}

/// Projects among the examples whose folder the text of the tests does not name.
pub(super) fn unexecuted(projects: &[String], tests: &str) -> Vec<String> {
    let folder = |path: &str| {
        let (folder, _) = path.rsplit_once('/').unwrap_or((path, ""));
        folder.to_owned()
    };
    let named = |folder: &str| {
        let below_examples = folder.strip_prefix("examples/").unwrap_or(folder);
        tests.contains(&format!("\"{below_examples}\""))
            || tests.contains(&format!("{folder}\""))
            || tests.contains(&format!("{folder}/"))
    };
    let missing = projects
        .iter()
        .map(|path| folder(path))
        .filter(|folder| !named(folder));
    missing
        .map(|folder| format!("{folder} is run by no test: name it in tests/it/examples.rs"))
        .collect()
}

#[track_caller]
fn check(found: Vec<String>, expect: &[&str]) {
    assert_eq!(found, expect);
}

#[test]
fn impurity_is_found_in_pure_rooms_only() {
    let plan = |text: &str| impure("host/plan/src/a.rs", text);
    check(
        plan("fn a() {}\nasync fn b() {}"),
        &["host/plan/src/a.rs:2: `async` has no place in a pure room"],
    );
    check(
        plan("use tokio::sync;"),
        &["host/plan/src/a.rs:1: `tokio` has no place in a pure room"],
    );
    check(
        plan("use std::fs;"),
        &["host/plan/src/a.rs:1: `std::fs` has no place in a pure room"],
    );
    check(
        plan("use std::{\n  collections, env,\n};"),
        &["host/plan/src/a.rs:1: `std::env` has no place in a pure room"],
    );
    check(
        plan("let t = SystemTime::now();"),
        &["host/plan/src/a.rs:1: `SystemTime` has no place in a pure room"],
    );
    check(
        plan("let t = Instant::now();"),
        &["host/plan/src/a.rs:1: `Instant` has no place in a pure room"],
    );
    check(
        plan("jiff::Timestamp :: now()"),
        &["host/plan/src/a.rs:1: `Timestamp::now` has no place in a pure room"],
    );
    check(
        plan(
            "// async, std::fs\nuse std::{fmt, sync::Arc};\nlet a = \"tokio\"; let b = env!(\"X\");",
        ),
        &[],
    );
    check(impure("host/run/src/a.rs", "async fn b() {}"), &[]);
}

#[test]
fn printing_is_found_outside_the_command_line() {
    check(
        prints("host/run/src/a.rs", "fn a() {\n  println!();\n}"),
        &["host/run/src/a.rs:2: a library prints"],
    );
    check(
        prints("sdk/rust/src/a.rs", "std::eprint!(\"x\")"),
        &["sdk/rust/src/a.rs:1: a library prints"],
    );
    check(
        prints("plugins/rows/src/a.rs", "let x = dbg!(y);"),
        &["plugins/rows/src/a.rs:1: a library prints"],
    );
    check(
        prints(
            "host/run/src/a.rs",
            "/// println!()\nwriteln!(f, \"print!\"); my_print!();",
        ),
        &[],
    );
    check(
        prints(
            "host/run/src/a.rs",
            "#[cfg(test)]\nmod tests { fn a() { println!(); } }",
        ),
        &[],
    );
    check(prints("host/cli/src/a.rs", "println!();"), &[]);
    check(prints("plugins/bundle/build.rs", "println!();"), &[]);
}

#[test]
fn a_format_outside_its_place_is_found() {
    let plan = |text: &str| serialises("host/plan/src/a.rs", text);
    let complaint =
        "host/plan/src/a.rs:2: `Serialize` makes a format: put it with the others, with a version";
    check(
        plan("\n#[derive(Debug, Serialize)]\nstruct A;"),
        &[complaint],
    );
    check(
        plan("\n#[derive(\n  Debug,\n  serde::Serialize,\n)]\nstruct A;"),
        &[complaint],
    );
    check(plan("\nimpl Serialize for A {"), &[complaint]);
    check(
        plan("#[derive(Deserialize)]\nstruct A;\n// derive(Serialize)"),
        &[],
    );
    check(
        serialises("host/story/src/event.rs", "#[derive(Serialize)]"),
        &[],
    );
}

#[test]
fn a_format_without_a_version_is_found() {
    let complaint = "a.rs: a serialised format without a `format_version`";
    check(
        unversioned("a.rs", "// format_version\nstruct A;"),
        &[complaint],
    );
    check(
        unversioned("a.rs", "pub const FORMAT_VERSION: u32 = 1;"),
        &[],
    );
}

#[test]
fn length_duty_and_name_are_judged() {
    check(
        too_long("a.rs", &"\n".repeat(801)),
        &["a.rs: 801 lines, at most 800"],
    );
    check(too_long("a.rs", &"\n".repeat(800)), &[]);
    let complaint = "a.rs:1: does not begin with `//!` and its duty";
    check(without_duty("a.rs", "use std::fmt;\n"), &[complaint]);
    check(without_duty("a.rs", "//!\n"), &[complaint]);
    check(without_duty("a.rs", "//! Placeholder.\n"), &[complaint]);
    check(without_duty("a.rs", "//! Reads it.\n"), &[]);
    check(
        empty_name("host/run/src/util.rs"),
        &["host/run/src/util.rs: `util` says nothing about what is inside"],
    );
    check(
        empty_name("host/core/src/a.rs"),
        &["host/core/src/a.rs: `core` says nothing about what is inside"],
    );
    check(
        empty_name("host/run/src/a/mod.rs"),
        &["host/run/src/a/mod.rs: `mod` says nothing about what is inside"],
    );
    check(empty_name("host/run/src/score.rs"), &[]);
}

#[test]
fn an_example_without_a_test_is_found() {
    let projects = [
        "examples/flights/odibi.yaml".to_owned(),
        "examples/b/odibi.yaml".to_owned(),
    ];
    let complaint = "examples/b is run by no test: name it in tests/it/examples.rs";
    check(
        unexecuted(&projects, "run(\"examples/flights\");"),
        &[complaint],
    );
    check(unexecuted(&projects, "run(\"flights\"); run(\"b\");"), &[]);
}
