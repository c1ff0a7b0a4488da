//! Builds the first-party plugins for wasm32-wasip2 and writes the table that `lib.rs` includes.
//!
//! A build of its own: another target, another profile, another target directory (the outer cargo holds the lock of its
//! own). `cargo check` and `cargo clippy` run build scripts too; set `ODIBI_BUNDLE=empty` to leave the components out.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told what to do by its environment"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const TARGET: &str = "wasm32-wasip2";
/// Crates below `plugins/`, a component each, that belong to the workspace.
const PLUGINS: [&str; 3] = ["columns", "rows", "nested"];
/// The one that is a workspace of its own: its DataFusion has other features than the host's.
const SQL: &str = "sql";
/// For all crates of all components.
const RUSTFLAGS: &str = include_str!("guest.rustflags");
/// What packing looks for in vain in a debug build, it looks for in a release.
const PACKING: [(&str, i32); 2] = [("debug", 3), ("release", 19)];

fn main() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let root = here.join("../..");
    println!("cargo::rerun-if-env-changed=ODIBI_BUNDLE");
    for watched in [
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain.toml",
        "plugins/bundle/guest.rustflags",
        "wit/odibi-node.wit",
        "sdk/rust/src",
        "sdk/rust/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let mut table = String::from("&[\n");
    if std::env::var("ODIBI_BUNDLE").as_deref() != Ok("empty") {
        add_target();
        let target_dir = target_dir(&out);
        // Other flags in one directory would build everything anew in turns.
        let sql_dir = target_dir.join(SQL);
        // Its DataFusion is compiled once for all clones that share a target directory: see there.
        let mut sql = Command::new(root.join("plugins/sql/cargo"));
        sql.arg(target_dir.with_file_name("stubs"));
        // Side by side: each of the small ones is optimised as a whole, by one thread.
        std::thread::scope(|scope| {
            scope.spawn(|| build(sql, "release", "odibi-sql", &sql_dir));
            for plugin in PLUGINS {
                let mut small = Command::new(cargo());
                small.current_dir(&root);
                let package = format!("odibi-{plugin}");
                build(small, "component", &package, &target_dir);
            }
        });
        for plugin in PLUGINS {
            entry(&mut table, plugin, &root, &target_dir, "component");
        }
        entry(&mut table, SQL, &root, &sql_dir, "release");
    }
    table.push(']');
    std::fs::write(out.join("components.rs"), table).expect("OUT_DIR is writable");
}

fn entry(table: &mut String, plugin: &str, root: &Path, target_dir: &Path, profile: &str) {
    let crate_dir = root.join("plugins").join(plugin);
    println!("cargo::rerun-if-changed={}", crate_dir.display());
    let manifest = crate_dir.join("manifest.json");
    let built = target_dir.join(TARGET).join(profile);
    let wasm = built.join(format!("odibi_{plugin}.wasm"));
    let bytes =
        std::fs::read(&wasm).unwrap_or_else(|e| panic!("cannot read {}: {e}", wasm.display()));
    let digest = Sha256::digest(&bytes)
        .iter()
        .fold(String::new(), |mut hex, b| {
            write!(hex, "{b:02x}").expect("a String takes it");
            hex
        });
    let packed = packed(plugin, &bytes, &digest, &built);
    // Another clone with the same target directory may have packed its own instead.
    println!("cargo::rerun-if-changed={}", packed.display());
    let length = bytes.len();
    writeln!(
        table,
        "    Component {{ name: {plugin:?}, packed: include_bytes!({packed:?}), bytes: {length}, digest: {digest:?}, manifest: include_str!({manifest:?}) }},"
    )
    .expect("a String takes it");
}

/// A file of the bytes compressed with zstd, made once: the best compression of 50 MB takes half a minute.
fn packed(plugin: &str, bytes: &[u8], digest: &str, built: &Path) -> PathBuf {
    let profile = std::env::var("PROFILE").expect("cargo sets it");
    let level = PACKING.iter().find(|(name, _)| *name == profile);
    let level = level.map_or(PACKING[0].1, |(_, level)| *level);
    // A debug and a release build may take turns; of what earlier builds packed nothing stays.
    let dir = built.join(format!("packed-{plugin}-{level}"));
    let path = dir.join(format!("{digest}.zst"));
    if !path.exists() {
        let packed = zstd::bulk::compress(bytes, level).expect("memory takes it");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("the target directory is writable");
        let part = path.with_extension("part");
        std::fs::write(&part, packed).expect("the target directory is writable");
        std::fs::rename(&part, &path).expect("the target directory is writable");
    }
    path
}

/// Beside the outer profiles, so that debug and release builds share the components; in `OUT_DIR` if the layout is another.
fn target_dir(out: &Path) -> PathBuf {
    match out.ancestors().nth(3) {
        Some(profile) if profile.join("build").is_dir() => profile.with_file_name("components"),
        _ => out.join("components"),
    }
}

/// Rust's standard library for the target, added through rustup when it is not there.
fn add_target() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let libdir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let there = libdir.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir());
    if !there {
        let added = Command::new("rustup")
            .args(["target", "add", TARGET])
            .status();
        assert!(
            added.is_ok_and(|s| s.success()),
            "the plugins need Rust's {TARGET} target: run `rustup target add {TARGET}`"
        );
    }
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Of the crate types only the component's: for a library as well, all that it is made of would be compiled to machine
/// code that nothing is linked from.
fn build(mut cargo: Command, profile: &str, package: &str, target_dir: &Path) {
    cargo.args(["rustc", "--locked", "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--package", package, "--profile", profile]);
    cargo.args(["--target", TARGET, "--target-dir"]);
    cargo.arg(target_dir);
    // Only for the last step. A linker leaves room for the longest number wherever it had one to fill in.
    cargo.args(["--", "-C", "link-arg=--compress-relocations"]);
    // What the outer build is told about its own target, wrapper or flags must not reach this one.
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_PROFILE_RELEASE_LTO",
    ] {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", RUSTFLAGS.trim_ascii());
    let status = cargo.status().expect("cargo runs cargo");
    assert!(
        status.success(),
        "the first-party plugins do not build for {TARGET}; the error stands above"
    );
}
