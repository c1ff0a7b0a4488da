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
/// One crate below `plugins/` for each component.
const PLUGINS: [&str; 3] = ["columns", "rows", "nested"];

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
        build(&root, &target_dir);
        for plugin in PLUGINS {
            let crate_dir = root.join("plugins").join(plugin);
            println!("cargo::rerun-if-changed={}", crate_dir.display());
            let built = target_dir
                .join(TARGET)
                .join("component")
                .join(format!("odibi_{plugin}.wasm"));
            entry(&mut table, plugin, &built, &crate_dir.join("manifest.json"));
        }
    }
    table.push(']');
    std::fs::write(out.join("components.rs"), table).expect("OUT_DIR is writable");
}

fn entry(table: &mut String, plugin: &str, wasm: &Path, manifest: &Path) {
    let bytes =
        std::fs::read(wasm).unwrap_or_else(|e| panic!("cannot read {}: {e}", wasm.display()));
    let digest = Sha256::digest(&bytes)
        .iter()
        .fold(String::new(), |mut hex, b| {
            write!(hex, "{b:02x}").expect("a String takes it");
            hex
        });
    writeln!(
        table,
        "    Component {{ name: {plugin:?}, wasm: include_bytes!({wasm:?}), digest: {digest:?}, manifest: include_str!({manifest:?}) }},"
    )
    .expect("a String takes it");
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

fn build(root: &Path, target_dir: &Path) {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.current_dir(root).args([
        "build",
        "--locked",
        "--profile",
        "component",
        "--target",
        TARGET,
        "--lib",
    ]);
    for plugin in PLUGINS {
        cargo.args(["-p", &format!("odibi-{plugin}")]);
    }
    cargo.arg("--target-dir").arg(target_dir);
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
    cargo.env("RUSTFLAGS", include_str!("guest.rustflags").trim_end());
    let status = cargo.status().expect("cargo runs cargo");
    assert!(
        status.success(),
        "the first-party plugins do not build for {TARGET}; the error stands above"
    );
}
