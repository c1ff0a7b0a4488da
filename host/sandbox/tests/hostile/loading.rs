//! Loading: what is refused before it runs, and the store of compiled components.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use odibi_plan::GuestLimits;
use odibi_plan::plan::OperationRef;
use odibi_run::port::Transforms as _;
use odibi_sandbox::{CompileNotice, Compiler, Options, Sandbox};
use odibi_story::failure::{Failure, FailureClass};

use crate::guest::overwritten;
use crate::{component, limits, options, resolve, sandbox, still_works};

/// A sandbox over one component, and how often it compiled.
fn counting(bytes: Vec<u8>, store: &Path) -> (Sandbox, Arc<AtomicUsize>) {
    let compiled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&compiled);
    let on_compile = move |notice| {
        if let CompileNotice::Finished { .. } = notice {
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let options = Options {
        on_compile: Some(Arc::new(on_compile)),
        capture: None,
        ..options(bytes, Some(store.to_owned()))
    };
    (Sandbox::new(options).unwrap(), compiled)
}

fn patched(from: &str, to: &str) -> Vec<u8> {
    overwritten(component(), from.as_bytes(), to.as_bytes())
}

#[track_caller]
fn refused(bytes: Vec<u8>, class: FailureClass, code: &str, word: &str) {
    let sandbox = Sandbox::new(options(bytes, None)).unwrap();
    let failure = resolve(&sandbox, None, "copy").err().unwrap();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (class, code),
        "{failure} {:?}",
        failure.causes
    );
    assert!(
        failure.message.contains(word),
        "`{word}` is not in: {failure}"
    );
}

#[test]
fn components_that_must_not_run_are_refused_before_they_are_compiled() {
    refused(
        b"not wasm".to_vec(),
        FailureClass::Contract,
        "plugin/not-a-component",
        "component",
    );
    refused(
        b"\0asm\x01\0\0\0".to_vec(),
        FailureClass::Contract,
        "plugin/not-a-component",
        "component",
    );
    let sneaky = patched("wasi:clocks/wall-clock@", "wasi:sneaky/wall-clock@");
    refused(
        sneaky,
        FailureClass::Denied,
        "plugin/denied-import",
        "wasi:sneaky/wall-clock",
    );
    let later = patched("odibi:node/planning@0.2.0", "odibi:node/planning@0.9.0");
    refused(
        later,
        FailureClass::Contract,
        "plugin/interface-version",
        "0.9.0",
    );
    let damaged = {
        let mut bytes = component().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        bytes
    };
    refused(
        damaged,
        FailureClass::Contract,
        "plugin/compile-failed",
        "hostile",
    );
}

#[test]
fn operations_and_files_that_are_not_there_are_missing() {
    let code = |failure: Failure| (failure.class, failure.code);
    let missing = (FailureClass::Missing, "plugin/missing".to_owned());
    assert_eq!(
        resolve(sandbox(), None, "no_such_operation")
            .map(drop)
            .map_err(code),
        Err(missing.clone())
    );
    let plugins = BTreeMap::from([("gone".to_owned(), PathBuf::from("gone.wasm"))]);
    let sandbox = Sandbox::new(Options {
        plugins,
        ..options(component().to_vec(), None)
    })
    .unwrap();
    assert_eq!(
        sandbox.manifest("gone").map(drop).map_err(code),
        Err(missing.clone())
    );
    assert_eq!(
        sandbox.manifest("unheard_of").map(drop).map_err(code),
        Err(missing)
    );
}

#[test]
fn plugins_of_the_project_are_found_by_their_key() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("evil.wasm"), component()).unwrap();
    let sandbox = Sandbox::new(Options {
        store_dir: Some(crate::scratch().join("store")),
        project_dir: dir.path().to_owned(),
        first_party: vec![],
        plugins: BTreeMap::from([("evil".to_owned(), PathBuf::from("evil.wasm"))]),
        grants: std::collections::BTreeMap::default(),
        limits: limits(),
        plugin_limits: BTreeMap::new(),
        compiler: Compiler::InProcess,
        on_compile: None,
        capture: None,
    })
    .unwrap();
    assert_eq!(sandbox.manifest("evil").unwrap().name, "odibi-hostile");
    let reference = OperationRef {
        plugin: Some("evil".into()),
        name: "copy".into(),
    };
    let found = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(sandbox.resolve(&reference, &GuestLimits::default()));
    let identity = found.map(|o| o.identity()).map_err(|f| f.message).unwrap();
    assert_eq!(
        (identity.reference.as_str(), identity.plugin.as_str()),
        ("evil/copy", "odibi-hostile")
    );
    assert_eq!(identity.digest.len(), 64);
}

#[test]
fn a_component_is_compiled_once_and_again_when_its_artifact_was_touched() {
    let store = tempfile::tempdir().unwrap();
    let store = store.path().join("store");
    let (sandbox, compiled) = counting(component().to_vec(), &store);
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| still_works(&sandbox))));
    });
    assert_eq!(compiled.load(Ordering::Relaxed), 1);

    let (sandbox, compiled) = counting(component().to_vec(), &store);
    still_works(&sandbox);
    assert_eq!(
        compiled.load(Ordering::Relaxed),
        0,
        "the store was not used"
    );

    let artifact = std::fs::read_dir(&store)
        .unwrap()
        .flatten()
        .map(|e| e.path());
    let artifact = artifact
        .into_iter()
        .find(|p| p.extension().is_some_and(|x| x == "cwasm"))
        .unwrap();
    let mut bytes = std::fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    // Replaced, not written in place: another sandbox of this process may have it mapped.
    std::fs::remove_file(&artifact).unwrap();
    std::fs::write(&artifact, &bytes).unwrap();
    let (sandbox, compiled) = counting(component().to_vec(), &store);
    still_works(&sandbox);
    assert_eq!(
        compiled.load(Ordering::Relaxed),
        1,
        "a forged artifact was loaded"
    );
}

/// What each of the processes below does.
#[test]
fn one_process_of_two() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the arguments of a test process belong to the test harness"
    )]
    let store = std::env::var_os("ODIBI_TEST_STORE");
    if let Some(store) = store {
        still_works(&Sandbox::new(options(component().to_vec(), Some(store.into()))).unwrap());
    }
}

#[test]
fn two_processes_share_an_empty_store() {
    // Build first: the processes would only wait for each other's cargo.
    component();
    let store = tempfile::tempdir().unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "loading::one_process_of_two", "--quiet"])
            .env("ODIBI_TEST_STORE", store.path().join("store"))
            .spawn()
            .unwrap()
    };
    let processes = [start(), start()];
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let (sandbox, _) = counting(component().to_vec(), &store.path().join("store"));
    still_works(&sandbox);
}
