//! Every way in which a child can end, played by a shell, has its name, and none keeps the host waiting.

use std::path::PathBuf;

use libtest_mimic::Trial;
use odibi_sandbox::{CompileLimits, Compiler};

use crate::{Loaded, bombs, load, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("each_end_of_a_child_has_its_name", ends_have_names),
        test("a_child_that_never_ends_is_killed", never_ends),
        test("a_child_that_computes_has_more_time", computes),
        test(
            "a_child_that_leaves_its_pipes_to_another_is_not_waited_for",
            left_pipes,
        ),
        test("a_program_that_is_not_there_is_named", no_program),
    ]
}

const CPU_S_MAX: u64 = 2;

/// A shell plays the child.
fn shell(script: &str, wall_ms_max: u64) -> Loaded {
    let compiler = Compiler::Child {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        limits: CompileLimits {
            wall_ms_max,
            cpu_s_max: CPU_S_MAX,
            artifact_bytes_max: 1 << 20,
            ..CompileLimits::default()
        },
    };
    load(&bombs::component(&[]), compiler, None)
}

#[track_caller]
fn check(script: &str, code: &str, word: &str) {
    let loaded = shell(script, 20_000);
    assert_eq!(loaded.end(), code, "`{script}`: {}", loaded.text());
    assert!(
        loaded.text().contains(word),
        "`{word}` is not in: {}",
        loaded.text()
    );
    assert!(loaded.text().contains("plugin `bomb`"), "{}", loaded.text());
}

fn ends_have_names() {
    check("kill -XCPU $$", "limit/compile-cpu", "2 s");
    check(
        "echo memory allocation of 9 bytes failed >&2; kill -ABRT $$",
        "limit/compile-memory",
        "4 GiB",
    );
    check(
        "echo The global thread pool has not been initialized >&2; exit 101",
        "limit/compile-memory",
        "memory",
    );
    check("cat /dev/zero", "limit/compile-output", "1 MiB");
    check("kill -SEGV $$", "plugin/compiler-crashed", "SIGSEGV");
    check(
        "echo stack overflow >&2; kill -ABRT $$",
        "plugin/compiler-crashed",
        "stack overflow",
    );
    check("kill -KILL $$", "plugin/compiler-crashed", "out of memory");
    check(
        "echo panicked at x.rs >&2; exit 101",
        "plugin/compiler-crashed",
        "panicked at x.rs",
    );
    check("exit 0", "plugin/compiler-crashed", "exit status: 0");
    check(
        "echo not machine code",
        "plugin/compiler-crashed",
        "machine code",
    );
    check(
        "echo bad magic >&2; exit 10",
        "plugin/compile-failed",
        "bad magic",
    );
    check(
        "echo other settings >&2; exit 11",
        "resources/compiler",
        "other settings",
    );
    // Not INT: where the tests run in the background it may be ignored, and a shell leaves it so.
    check("kill -TERM $$", "run/cancelled", "interrupted");
    // One that does not listen, and one that talks all the time.
    check("exec 0<&-; exit 10", "plugin/compile-failed", "compiled");
    check(
        "yes >&2 & p=$!; sleep 0.2; kill $p; exit 10",
        "plugin/compile-failed",
        "y y y",
    );
}

fn never_ends() {
    for script in ["exec sleep 1000", "exec sleep 1000 0<&- 1<&- 2<&-"] {
        ends_at(script, "limit/compile-wall", 300, 2_300);
    }
    // These set themselves no limit of CPU time, as the compiler does. On the busiest machine they get one part in thirty.
    let took_ms_max = u128::from(CPU_S_MAX) * 30 * 1_000;
    // `exec`, as a shell that waits for another process computes nothing. In two seconds each gets a turn.
    for script in ["trap '' TERM INT; while :; do :; done", "exec yes >&2"] {
        ends_at(script, "limit/compile-cpu", 2_000, took_ms_max);
    }
}

#[track_caller]
fn ends_at(script: &str, code: &str, wall_ms_max: u64, took_ms_max: u128) {
    let loaded = shell(script, wall_ms_max);
    assert_eq!(loaded.end(), code, "`{script}`: {}", loaded.text());
    let took = loaded.compiled.unwrap();
    assert!(took.as_millis() < took_ms_max, "`{script}` took {took:?}");
}

fn computes() {
    let script = "i=0; while [ $i -lt 600000 ]; do i=$((i + 1)); done; echo done >&2; exit 10";
    let loaded = shell(script, 200);
    assert_eq!(loaded.end(), "plugin/compile-failed", "{}", loaded.text());
    let took = loaded.compiled.unwrap();
    assert!(took.as_millis() > 200, "ended within its limit: {took:?}");
}

fn left_pipes() {
    let loaded = shell("sleep 30 & exit 0", 60_000);
    assert_eq!(loaded.end(), "plugin/compiler-crashed", "{}", loaded.text());
    let took = loaded.compiled.unwrap();
    assert!(took.as_secs() < 10, "waited {took:?}");
}

fn no_program() {
    let compiler = Compiler::Child {
        program: PathBuf::from("/nonexistent/odibi"),
        args: vec![],
        limits: CompileLimits::default(),
    };
    let loaded = load(&bombs::component(&[]), compiler, None);
    assert_eq!(loaded.end(), "resources/compiler", "{}", loaded.text());
}
