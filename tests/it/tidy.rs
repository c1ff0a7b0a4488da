//! The invariants of the architecture that reading the checkout can prove: arrows, purity, sizes, names, versions.
//!
//! Every check is a function from texts to complaints, with a test beside it that plants what it must find. The tests
//! here run them over this checkout.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod contract;
mod features;
mod lock;
mod manifest;
mod planted;
mod room;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders with our own Rust code, from the root of the checkout.
const ROOMS: [&str; 5] = ["host", "sdk", "plugins", "tests", "examples"];

/// What builds and runs leave behind; nobody writes there by hand.
const LEFT_BEHIND: [&str; 3] = ["target", "out", "__pycache__"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// Files below `folder`, as paths from the root with `/`, sorted.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder))
            .unwrap_or_else(|e| panic!("cannot list {folder}: {e}"))
        {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            if !entry.file_type().unwrap().is_dir() {
                found.push(path);
            } else if !LEFT_BEHIND.contains(&name.as_str()) && !name.starts_with('.') {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Path and text of every Rust file.
fn sources() -> Vec<(String, String)> {
    let all = ROOMS
        .iter()
        .flat_map(|room| files(room))
        .filter(|path| path.ends_with(".rs"));
    let all: Vec<_> = all.map(|path| (path.clone(), read(&path))).collect();
    assert!(
        all.len() > 50,
        "found only {} Rust files: looking in the wrong place",
        all.len()
    );
    all
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn over_sources(check: impl Fn(&str, &str) -> Vec<String>) {
    none(
        sources()
            .iter()
            .flat_map(|(path, text)| check(path, text))
            .collect(),
    );
}

#[test]
fn crates_depend_on_each_other_only_along_the_arrows() {
    let members = manifest::members(&read("Cargo.toml"));
    assert!(members.len() >= 11, "{members:?}");
    let manifests = members
        .iter()
        .map(|member| read(&format!("{member}/Cargo.toml")));
    none(
        manifests
            .flat_map(|text| manifest::wrong_arrows(&text))
            .collect(),
    );
}

#[test]
fn plan_and_story_know_no_files_clock_environment_or_async() {
    over_sources(room::impure);
}

#[test]
fn no_library_prints() {
    over_sources(room::prints);
}

#[test]
fn only_the_formats_are_serialised() {
    over_sources(room::serialises);
}

#[test]
fn every_format_carries_its_version() {
    none(
        room::FORMATS
            .iter()
            .flat_map(|path| room::unversioned(path, &read(path)))
            .collect(),
    );
}

#[test]
fn no_file_is_too_long() {
    over_sources(room::too_long);
}

#[test]
fn every_module_begins_with_its_duty() {
    over_sources(room::without_duty);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let paths = sources();
    none(
        paths
            .iter()
            .flat_map(|(path, _)| room::empty_name(path))
            .collect(),
    );
}

#[test]
fn every_example_is_run_by_a_test() {
    let projects = files("examples")
        .into_iter()
        .filter(|path| path.ends_with("/odibi.yaml") || path.ends_with("/project.yaml"));
    let projects: Vec<String> = projects.collect();
    for known in ["flights/odibi.yaml", "production/project.yaml"] {
        let known = format!("examples/{known}");
        assert!(projects.contains(&known), "{projects:?}");
    }
    let tests = read("tests/it/examples.rs") + &read("tests/it/production.rs");
    none(room::unexecuted(&projects, &tests));
}

#[test]
fn a_changed_contract_has_a_changed_version() {
    let texts = files("wit")
        .into_iter()
        .filter(|path| path.ends_with(".wit"));
    let texts: Vec<String> = texts.map(|path| read(&path)).collect();
    none(contract::unrecorded(&texts, &read("wit/versions.tsv")));
}

#[test]
fn every_planted_bug_still_has_its_place() {
    let bugs: Vec<String> = files("tests/planted")
        .into_iter()
        .filter(|path| path.ends_with(".bug"))
        .collect();
    assert!(bugs.len() >= 10, "{bugs:?}");
    let source = |path: &str| fs::read_to_string(root().join(path)).ok();
    none(
        bugs.iter()
            .flat_map(|path| planted::rotten(path, &read(path), source))
            .collect(),
    );
}

#[test]
fn the_program_is_compiled_with_the_features_of_the_workspace() {
    let tree = |which: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(root())
            .args(["tree", "--locked", "--prefix", "none"]);
        cargo.args(["--format", "{p} {f}"]).args(which);
        let ran = cargo.output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{said}");
        String::from_utf8(ran.stdout).unwrap()
    };
    let program = tree(&["--edges", "normal,build"]);
    assert!(program.contains("datafusion v"), "{program}");
    none(features::differing(&program, &tree(&["--workspace"])));
}

#[test]
fn heavy_crates_are_locked_once() {
    none(lock::doubled(&read("Cargo.lock")));
}

#[test]
fn no_locked_crate_is_below_its_security_floor() {
    none(lock::below_floor(
        &read("Cargo.lock"),
        &read("security-floors.toml"),
    ));
}
