//! What the child cannot do once it has read a component, and that it does not outlive its parent.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use odibi_sandbox::CompileLimits;

use crate::{bombs, child, load, test, this_program};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_compiler_that_was_taken_over_reaches_nothing",
            reaches_nothing,
        ),
        test("a_child_dies_with_its_parent", dies_with_its_parent),
    ]
}

fn reaches_nothing() {
    let limits = CompileLimits::default();
    let loaded = load(
        &bombs::component(&[]),
        child("compile-and-look-around", limits),
        None,
    );
    let text = loaded.text();
    assert_eq!(loaded.end(), "plugin/compile-failed", "{text}");
    for expected in [
        "compiled: true",
        "variables: 0",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "read a file: refused",
        "list a directory: refused",
        "make a file: refused",
        "remove a file: refused",
        "connect: refused",
        "start a program: refused",
        "signal another process: refused",
        "raise a limit: refused",
        "start a thread: ALLOWED",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
}

fn dies_with_its_parent() {
    let mut parent = Command::new(this_program())
        .arg("parent-of-a-bomb")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = until(|| child_of(parent.id()));
    // It compiles: it has put its limits on, and the signal with them.
    until(|| busy(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until(|| ended(child).then_some(()));
}

/// Asks until there is an answer.
#[track_caller]
fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that waits for another process"
    )]
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed().as_secs() < 60,
            "nothing happened for a minute"
        );
        std::thread::yield_now();
    }
}

fn child_of(parent: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .find_map(|children| children.split(' ').next()?.parse().ok())
}

fn stat(process: u32) -> Option<Vec<String>> {
    let path: PathBuf = format!("/proc/{process}/stat").into();
    let text = std::fs::read_to_string(path).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// It has computed for a fifth of a second.
fn busy(process: u32) -> Option<()> {
    let ticks: u64 = stat(process)?.get(11)?.parse().ok()?;
    (ticks >= 20).then_some(())
}

/// Gone, or waiting to be reaped by whoever inherited it.
fn ended(process: u32) -> bool {
    stat(process).is_none_or(|fields| {
        fields
            .first()
            .is_none_or(|state| state == "Z" || state == "X")
    })
}
