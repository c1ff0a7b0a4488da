//! The parts that this program plays in processes of its own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, ExitCode};

use odibi_sandbox::{CompileFault, CompileLimits, compile_as_child};

use crate::{bombs, store};

/// What the parent takes for "the component is to blame", and shows the reason.
const EXIT_UNUSABLE: u8 = 10;

/// `None` when the word is no role: then this process runs tests.
pub(crate) fn play(role: &str, args: impl Iterator<Item = String>) -> Option<ExitCode> {
    let compile =
        |output: &mut dyn std::io::Write| compile_as_child(&mut std::io::stdin().lock(), output);
    match role {
        "compile" => Some(code(compile(&mut std::io::stdout().lock()))),
        "compile-and-look-around" => {
            let mut status = File::open("/proc/self/status").unwrap();
            let mut limits = File::open("/proc/self/limits").unwrap();
            let variables = std::env::vars_os().count();
            let mut artifact = Vec::new();
            let ok = compile(&mut artifact).is_ok() && !artifact.is_empty();
            let mut report = format!("compiled: {ok}\nvariables: {variables}\n");
            let mut text = String::new();
            status.read_to_string(&mut text).unwrap();
            limits.read_to_string(&mut text).unwrap();
            for wanted in [
                "NoNewPrivs",
                "Seccomp:",
                "Max cpu",
                "Max file",
                "Max open",
                "Max core",
                "Max address",
            ] {
                let line = text.lines().find(|l| l.starts_with(wanted)).unwrap();
                report.push_str(&line.split_whitespace().collect::<Vec<_>>().join(" "));
                report.push('\n');
            }
            report.push_str(&look_around());
            std::io::stderr().write_all(report.as_bytes()).unwrap();
            Some(ExitCode::from(EXIT_UNUSABLE))
        }
        "parent-of-a-bomb" => {
            let limits = CompileLimits::default();
            let loaded = crate::load(&bombs::slow(), crate::child("compile", limits), None);
            panic!("it was to be killed before this: {}", loaded.text());
        }
        "load-with-store" => Some(store::load_in_role(args)),
        "load-without-room" => Some(store::load_without_room(args)),
        _ => None,
    }
}

fn code(result: Result<(), CompileFault>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "{fault}");
            ExitCode::from(fault.exit_code)
        }
    }
}

/// Tries what a compiler that was taken over would try.
fn look_around() -> String {
    let mut report = String::new();
    let mut tried = |what: &str, refused: bool| {
        let word = if refused { "refused" } else { "ALLOWED" };
        report.push_str(&format!("{what}: {word}\n"));
    };
    tried("read a file", File::open("/etc/passwd").is_err());
    tried("list a directory", std::fs::read_dir("/").is_err());
    tried("make a file", File::create("/tmp/odibi-was-here").is_err());
    tried("remove a file", {
        // Whether it is refused or not there is told apart by the error.
        let error = std::fs::remove_file("/tmp/odibi-was-not-here").err();
        error.is_some_and(|e| e.kind() != std::io::ErrorKind::NotFound)
    });
    tried("connect", {
        let error = TcpStream::connect("127.0.0.1:9").err();
        error.is_some_and(|e| e.kind() != std::io::ErrorKind::ConnectionRefused)
    });
    tried(
        "start a program",
        Command::new("/bin/true").status().is_err(),
    );
    tried("signal another process", {
        let one = rustix::process::Pid::from_raw(1).unwrap();
        rustix::process::test_kill_process(one) == Err(rustix::io::Errno::NOSYS)
    });
    tried("raise a limit", {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let free = Rlimit {
            current: None,
            maximum: None,
        };
        setrlimit(Resource::As, free).is_err()
    });
    tried(
        "start a thread",
        std::thread::Builder::new().spawn(|| ()).is_err(),
    );
    report
}
