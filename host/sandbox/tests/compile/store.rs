//! An honest component through the child and the store: once, by many at the same time, and when there is no room.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Trial;
use odibi_sandbox::{CompileLimits, Compiler};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{Loaded, child, load, test, this_program};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an_honest_component_is_compiled_in_the_child", honest),
        test("a_damaged_component_is_refused_with_the_reason", damaged),
        test("two_processes_share_an_empty_store", two_processes),
        test("a_full_disk_means_compiling_again", full_disk),
        test(
            "a_store_that_cannot_be_used_means_compiling_again",
            no_store,
        ),
    ]
}

/// The component of `tests/hostile`, which is well when nothing else is asked of it.
fn component() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile/Cargo.toml");
        // The same folder as in the other tests, so that it is built once; see there.
        let checkout = BuildHasherDefault::<DefaultHasher>::default().hash_one(&manifest);
        let target =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{checkout:016x}"));
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
            .arg("--manifest-path")
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status()
            .unwrap();
        assert!(status.success(), "the hostile component does not build");
        target.join("wasm32-wasip2/release/odibi_hostile.wasm")
    })
}

fn load_file(component: &Path, compiler: Compiler, store: Option<&Path>) -> Loaded {
    load(&std::fs::read(component).unwrap(), compiler, store)
}

fn in_child() -> Compiler {
    child("compile", CompileLimits::default())
}

/// `STORE COMPONENT`: loads it, as one of many processes.
pub(crate) fn load_in_role(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (store, component) = (args.next().unwrap(), args.next().unwrap());
    let loaded = load_file(component.as_ref(), in_child(), Some(store.as_ref()));
    assert_eq!(loaded.end(), "loaded", "{}", loaded.text());
    ExitCode::SUCCESS
}

/// The same where no file can be as long as an artifact.
pub(crate) fn load_without_room(args: impl Iterator<Item = String>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    // With somebody to hear the signal, writing fails as on a full disk, instead of ending the process.
    let too_long =
        tokio::signal::unix::SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    let _heard = tokio::signal::unix::signal(too_long).unwrap();
    let bytes = Some(2 << 20);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: bytes,
            maximum: bytes,
        },
    )
    .unwrap();
    load_in_role(args)
}

fn start(role: &str, store: &Path) -> std::process::Child {
    Command::new(this_program())
        .arg(role)
        .arg(store)
        .arg(component())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn silent_success(child: std::process::Child) {
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn names(store: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(store).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn honest() {
    let dir = tempfile::tempdir().unwrap();
    let mut artifacts = Vec::new();
    for (name, compiler) in [("child", in_child()), ("in process", Compiler::InProcess)] {
        let store = dir.path().join(name);
        let loaded = load_file(component(), compiler, Some(&store));
        assert_eq!(loaded.end(), "loaded", "{name}: {}", loaded.text());
        println!("{name}: {:.2} s", loaded.compiled.unwrap().as_secs_f64());
        let again = load_file(component(), in_child(), Some(&store));
        assert_eq!(
            (again.end(), again.compiled),
            ("loaded", None),
            "{name}: not from the store"
        );
        let artifact = names(&store)
            .into_iter()
            .find(|n| n.ends_with(".cwasm"))
            .unwrap();
        artifacts.push((std::fs::read(store.join(&artifact)).unwrap(), artifact));
    }
    // The same engine here and there: the same name in the store, and the same machine code.
    assert!(
        artifacts[0] == artifacts[1],
        "child and parent compile differently"
    );
}

fn damaged() {
    let mut bytes = std::fs::read(component()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let loaded = load(&bytes, in_child(), None);
    assert_eq!(loaded.end(), "plugin/compile-failed", "{}", loaded.text());
    assert!(loaded.text().contains("offset"), "{}", loaded.text());
}

fn two_processes() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let children = [(); 2].map(|()| start("load-with-store", &store));
    children.into_iter().for_each(silent_success);
    let names = names(&store);
    let endings: Vec<&str> = names.iter().filter_map(|n| n.rsplit('.').next()).collect();
    assert_eq!(endings, ["cwasm", "seal", "key"], "{names:?}");
    let again = load_file(component(), in_child(), Some(&store));
    assert_eq!(
        (again.end(), again.compiled),
        ("loaded", None),
        "not from the store"
    );
}

fn full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    silent_success(start("load-without-room", &store));
    assert_eq!(names(&store), ["key"], "something was left behind");
    // There is room again.
    let loaded = load_file(component(), in_child(), Some(&store));
    assert!(
        loaded.end() == "loaded" && loaded.compiled.is_some(),
        "{}",
        loaded.text()
    );
    assert_eq!(names(&store).len(), 3);
}

fn no_store() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let loaded = load_file(component(), in_child(), Some(&file));
    assert!(
        loaded.end() == "loaded" && loaded.compiled.is_some(),
        "{}",
        loaded.text()
    );
}
