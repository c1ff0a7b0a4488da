//! Grants, and what is told of a component by looking at it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use odibi_plan::plan::Grants;
use odibi_run::port::Cancel;
use odibi_sandbox::{Answer, ComponentSource, Inspection, Options, Reach, Sandbox};
use odibi_story::failure::FailureClass;

use crate::guest::{component, context, overwritten, resolve, scratch, table};
use crate::{drive, limits, options};

/// What the guest's own look at its world says, with these grants: value by word.
fn world(grants: Grants) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("evil.wasm"), component()).unwrap();
    let sandbox = Sandbox::new(Options {
        project_dir: dir.path().to_owned(),
        first_party: Vec::new(),
        plugins: BTreeMap::from([("evil".to_owned(), PathBuf::from("evil.wasm"))]),
        grants: BTreeMap::from([("evil".to_owned(), grants)]),
        limits: limits(),
        ..options(Vec::new(), Some(scratch().join("store")))
    })
    .unwrap();
    let operation = resolve(&sandbox, Some("evil"), "environment").unwrap();
    assert_eq!(operation.grants(), grants);
    let input = table(1);
    let plan = operation.plan(&serde_json::json!({}), &[input.schema()]);
    let plan = Arc::new(plan.unwrap());
    let mut session = operation.open(&plan, &context(Cancel::default())).unwrap();
    drive(session.as_mut(), &[input]).unwrap();
    let notes = session.take_notes();
    let pair = |text: &str| {
        let (word, value) = text.split_once(" value=")?;
        Some((word.to_owned(), value.to_owned()))
    };
    notes.iter().filter_map(|note| pair(&note.text)).collect()
}

fn now_ms() -> u128 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test compares with the real time"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_millis()
}

const NOTHING: Grants = Grants {
    clock: false,
    entropy: false,
};

#[test]
fn a_granted_clock_tells_the_real_time_and_gives_no_entropy() {
    let before = now_ms();
    let (plain, granted) = (
        world(NOTHING),
        world(Grants {
            clock: true,
            entropy: false,
        }),
    );
    let time: u128 = granted["time"].parse().unwrap();
    assert!((before..=now_ms()).contains(&time), "{time}");
    // A sleep of an hour returns at once, and the clock does not pretend.
    assert_eq!(granted["slept"], "0");
    assert_eq!(plain["slept"], "3600");
    // The run's logical time is still there, under its own name.
    assert_eq!(plain["time"], plain["logical"]);
    assert_eq!(granted["logical"], plain["logical"]);
    assert_eq!(
        (&granted["hash"], &granted["seed"]),
        (&plain["hash"], &plain["seed"])
    );
}

#[test]
fn granted_entropy_differs_each_time_and_gives_no_clock() {
    let grants = Grants {
        clock: false,
        entropy: true,
    };
    let worlds = [world(NOTHING), world(grants), world(grants), world(grants)];
    let hashes: BTreeSet<&str> = worlds.iter().map(|w| w["hash"].as_str()).collect();
    assert_eq!(hashes.len(), worlds.len(), "{hashes:?}");
    for world in &worlds {
        assert_eq!(world["time"], worlds[0]["time"]);
        assert_eq!(world["seed"], worlds[0]["seed"]);
        assert_eq!(world["slept"], "3600");
    }
}

#[test]
fn no_grant_gives_files_environment_or_threads() {
    let all = Grants {
        clock: true,
        entropy: true,
    };
    let (plain, granted) = (world(NOTHING), world(all));
    for word in ["variables", "arguments", "stdin", "directory", "thread"] {
        assert_eq!(granted[word], plain[word], "{word}");
    }
}

/// Plans are asked for twice and compared, so they are made without time and entropy whatever is granted.
#[test]
fn planning_is_deterministic_with_every_grant() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("evil.wasm"), component()).unwrap();
    let sandbox = Sandbox::new(Options {
        project_dir: dir.path().to_owned(),
        first_party: Vec::new(),
        plugins: BTreeMap::from([("evil".to_owned(), PathBuf::from("evil.wasm"))]),
        grants: BTreeMap::from([(
            "evil".to_owned(),
            Grants {
                clock: true,
                entropy: true,
            },
        )]),
        ..options(Vec::new(), Some(scratch().join("store")))
    })
    .unwrap();
    let operation = resolve(&sandbox, Some("evil"), "plan_random").unwrap();
    let plan = || operation.plan(&serde_json::json!({}), &[table(1).schema()]);
    assert_eq!(plan().unwrap().output, plan().unwrap().output);
}

fn source(bytes: Vec<u8>) -> ComponentSource {
    ComponentSource {
        name: "planted".into(),
        bytes: bytes.into(),
        manifest: None,
    }
}

#[test]
fn a_component_that_asks_for_nothing_is_told_so() {
    let found = Inspection::of(&source(component().to_vec())).unwrap();
    assert_eq!(found.refusal.map(|f| f.code), None);
    assert_eq!(found.bytes, component().len() as u64);
    assert_eq!(found.digest.len(), 64);
    assert_eq!(
        found.exports,
        ["odibi:node/planning@0.2.0", "odibi:node/execution@0.2.0"]
    );
    let answers: Vec<Answer> = found.imports.iter().map(|i| i.answer).collect();
    assert!(answers.contains(&Answer::Own) && answers.contains(&Answer::StandIn(None)));
    assert!(
        answers
            .iter()
            .all(|a| matches!(a, Answer::Own | Answer::StandIn(_))),
        "{:?}",
        found.imports
    );
}

/// Each of them is refused before it is compiled, and all of them are told, not only the first.
#[test]
fn a_component_that_asks_for_more_is_told_and_never_compiled() {
    let cases: [(&str, &str, Reach); 4] = [
        (
            "wasi:clocks/wall-clock@",
            "wasi:filesystem/types@0",
            Reach::Files,
        ),
        (
            "wasi:clocks/wall-clock@",
            "wasi:sockets/tcp-create",
            Reach::Network,
        ),
        (
            "wasi:clocks/wall-clock@",
            "wasi:http/outgoing-bits",
            Reach::Network,
        ),
        (
            "wasi:clocks/wall-clock@",
            "wasi:cli/arguments-all@",
            Reach::Environment,
        ),
    ];
    for (from, to, reach) in cases {
        let bytes = overwritten(component(), from.as_bytes(), to.as_bytes());
        let found = Inspection::of(&source(bytes.clone())).unwrap();
        assert_eq!(found.reaches(), BTreeSet::from([reach]), "{to}");
        let refusal = found.refusal.unwrap();
        assert_eq!(refusal.code, "plugin/denied-import", "{to}");

        let notices = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&notices);
        let sandbox = Sandbox::new(Options {
            on_compile: Some(Arc::new(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })),
            ..options(bytes, None)
        })
        .unwrap();
        let failure = resolve(&sandbox, None, "copy").err().unwrap();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Denied, "plugin/denied-import")
        );
        assert!(failure.message.contains(to), "{failure}");
        assert_eq!(notices.load(Ordering::Relaxed), 0, "{to}: it was compiled");
    }
}

#[test]
fn another_interface_version_is_told_with_everything_else() {
    let bytes = overwritten(
        component(),
        b"odibi:node/planning@0.2.0",
        b"odibi:node/planning@0.9.0",
    );
    let found = Inspection::of(&source(bytes)).unwrap();
    assert!(
        found
            .exports
            .contains(&"odibi:node/planning@0.9.0".to_owned())
    );
    assert!(found.reaches().is_empty());
    assert_eq!(found.refusal.unwrap().code, "plugin/interface-version");
}

#[test]
fn what_is_no_component_has_nothing_to_tell() {
    for bytes in [
        &b""[..],
        b"hello",
        b"\0asm\x01\0\0\0",
        b"\x7fELF\x02\x01\x01",
    ] {
        let failure = Inspection::of(&source(bytes.to_vec())).unwrap_err();
        assert_eq!(failure.code, "plugin/not-a-component", "{bytes:?}");
        assert!(failure.message.contains("planted"), "{failure}");
    }
}
