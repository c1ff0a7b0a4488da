//! The parent's side: starts the child, talks with it over pipes, waits no longer than it must, and names how it ended.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use odibi_story::failure::{Failure, FailureClass};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::child::{EXIT_MEMORY, EXIT_PIPE, EXIT_STRANGER, EXIT_UNCONFINED, EXIT_UNUSABLE};
use super::terms::Terms;
use super::{Bytes, unusable};
use crate::host_api::meter::monotonic_ns;
use crate::host_api::report::clean;
use crate::limits::{COMPILE_STDERR_BYTES_MAX, CompileLimits, compile_exceeded};

/// A child that has ended leaves full pipes at most, which are read in no time.
const PIPES_NS_MAX: u64 = 2_000_000_000;
/// Exit code of a Rust program that panicked.
const EXIT_PANIC: i32 = 101;
const CHUNK_BYTES: usize = 64 << 10;
/// A child that computes this part of the time is not hung, only short of processors.
const WALL_PER_CPU: u64 = 30;
/// Of the kernel's counters of CPU time.
const TICK_MS: u64 = 10;

/// What the threads report.
enum Said {
    Ended,
    Artifact(Vec<u8>),
    TooMuch(u64),
    Stderr(Vec<u8>),
}

/// Why the waiting ended.
enum Verdict {
    Ended {
        artifact: Option<Vec<u8>>,
        stderr: Option<Vec<u8>>,
    },
    TooMuch(u64),
    TooLong,
    /// CPU seconds of a child that does not keep to its own limit.
    TooBusy(u64),
}

/// # Errors
/// See [`super::Compiler::compile`].
pub(super) fn compile(
    program: &Path,
    args: &[OsString],
    limits: &CompileLimits,
    settings_hash: u64,
    bytes: &Bytes,
) -> Result<Vec<u8>, Failure> {
    let terms = Terms::new(limits, settings_hash, bytes.len() as u64);
    let mut running = Running::start(program, args).map_err(|e| not_started(program, &e))?;
    let reports = running
        .talk(terms, bytes, limits.artifact_bytes_max)
        .map_err(|e| not_started(program, &e))?;
    let id = Pid::from_child(&running.0);
    let verdict = listen(&reports, limits.wall_ms_max, &terms, || cpu_ms(id));
    // Ended or not: nothing of it is left after this.
    let status = running.end().map_err(|e| not_started(program, &e))?;
    match verdict {
        Verdict::TooLong => Err(compile_exceeded(
            "compile-wall",
            limits.wall_ms_max,
            limits.wall_ms_max.saturating_add(1),
        )),
        Verdict::TooBusy(asked) => Err(compile_exceeded("compile-cpu", terms.cpu_s_max, asked)),
        Verdict::TooMuch(asked) => Err(compile_exceeded(
            "compile-output",
            limits.artifact_bytes_max,
            asked,
        )),
        Verdict::Ended {
            artifact: Some(artifact),
            stderr: _,
        } if status.success() && !artifact.is_empty() => Ok(artifact),
        Verdict::Ended { stderr, .. } => {
            let said = String::from_utf8_lossy(&stderr.unwrap_or_default()).into_owned();
            Err(failed(status, &said, &terms))
        }
    }
}

/// The child, which is killed and reaped however this ends.
struct Running(Child);

impl Running {
    fn start(program: &Path, args: &[OsString]) -> io::Result<Self> {
        let child = Command::new(program)
            .args(args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// A thread for each pipe, so that neither side can block the other; they end with the pipes.
    fn talk(
        &mut self,
        terms: Terms,
        bytes: &Bytes,
        artifact_bytes_max: u64,
    ) -> io::Result<Receiver<Said>> {
        let missing = || io::Error::other("a pipe is missing");
        let mut stdin = self.0.stdin.take().ok_or_else(missing)?;
        let stdout = self.0.stdout.take().ok_or_else(missing)?;
        let stderr = self.0.stderr.take().ok_or_else(missing)?;
        let (sender, reports) = channel();
        let bytes = Arc::clone(bytes);
        spawn("stdin", move || {
            // A child that does not listen will say why, or be caught by a limit.
            let _ = stdin
                .write_all(&terms.to_bytes())
                .and_then(|()| stdin.write_all(&bytes));
        })?;
        let to = sender.clone();
        spawn("stdout", move || {
            read_artifact(stdout, artifact_bytes_max, &to);
        })?;
        let to = sender.clone();
        spawn("stderr", move || read_stderr(stderr, &to))?;
        let id = Pid::from_child(&self.0);
        spawn("wait", move || {
            // Not reaped here: until `end` does, the id means this child and no other.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(WaitId::Pid(id), options).err() == Some(rustix::io::Errno::INTR) {}
            let _ = sender.send(Said::Ended);
        })?;
        Ok(reports)
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        // Too late for one that has ended by itself: its status stands.
        self.0.kill()?;
        self.0.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn spawn(what: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(format!("odibi-compile-{what}"))
        .stack_size(128 << 10)
        .spawn(work)
        .map(drop)
}

fn read_artifact(mut from: impl Read, bytes_max: u64, to: &Sender<Said>) {
    let mut artifact = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(n) = read_some(&mut from, &mut chunk) {
        if n == 0 {
            break;
        }
        let total = (artifact.len() + n) as u64;
        if total > bytes_max {
            let _ = to.send(Said::TooMuch(total));
            return;
        }
        artifact.extend_from_slice(&chunk[..n]);
    }
    let _ = to.send(Said::Artifact(artifact));
}

/// Keeps the beginning and drops the rest; reads to the end, so that the child is not held up.
fn read_stderr(mut from: impl Read, to: &Sender<Said>) {
    let mut kept = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(n) = read_some(&mut from, &mut chunk) {
        if n == 0 {
            break;
        }
        let room = COMPILE_STDERR_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..n.min(room)]);
    }
    let _ = to.send(Said::Stderr(kept));
}

fn read_some(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Waits until the child has ended and its pipes are empty, but not beyond the limit. A child that has computed since gets
/// as much again, up to its limit of CPU time: a busy machine is not its fault.
fn listen(
    reports: &Receiver<Said>,
    wall_ms_max: u64,
    terms: &Terms,
    cpu_ms: impl Fn() -> Option<u64>,
) -> Verdict {
    let wall_ns = wall_ms_max.saturating_mul(1_000_000);
    let mut deadline_ns = monotonic_ns().saturating_add(wall_ns);
    let mut computed_ms = 0;
    let (mut ended, mut artifact, mut stderr) = (false, None, None);
    while !(ended && artifact.is_some() && stderr.is_some()) {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(monotonic_ns()));
        match reports.recv_timeout(left) {
            Ok(Said::Ended) => {
                ended = true;
                deadline_ns = deadline_ns.min(monotonic_ns().saturating_add(PIPES_NS_MAX));
            }
            Ok(Said::Artifact(bytes)) => artifact = Some(bytes),
            Ok(Said::Stderr(bytes)) => stderr = Some(bytes),
            Ok(Said::TooMuch(bytes)) => return Verdict::TooMuch(bytes),
            // Someone else holds its pipes: what came through them does not count.
            Err(_) if ended => break,
            Err(RecvTimeoutError::Timeout) => {
                let now_ms = cpu_ms().unwrap_or(computed_ms);
                if now_ms.saturating_sub(computed_ms) < wall_ms_max.div_ceil(WALL_PER_CPU) {
                    return Verdict::TooLong;
                }
                if now_ms > terms.cpu_s_max.saturating_mul(1_000) {
                    return Verdict::TooBusy(now_ms.div_ceil(1_000));
                }
                computed_ms = now_ms;
                deadline_ns = deadline_ns.saturating_add(wall_ns);
            }
            Err(RecvTimeoutError::Disconnected) => return Verdict::TooLong,
        }
    }
    Verdict::Ended { artifact, stderr }
}

/// CPU time of a process, all threads together.
fn cpu_ms(id: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())).ok()?;
    // The name of the program stands in brackets and may hold anything; `utime` and `stime` are 11 fields behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse);
    let (user, system): (u64, u64) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some(user.saturating_add(system).saturating_mul(TICK_MS))
}

/// What the end of a child without an artifact means.
fn failed(status: ExitStatus, said: &str, terms: &Terms) -> Failure {
    let over_memory = || {
        let limit = terms.memory_bytes_max;
        compile_exceeded("compile-memory", limit, limit.saturating_add(1))
    };
    let over_cpu = || {
        let limit = terms.cpu_s_max;
        compile_exceeded("compile-cpu", limit, limit.saturating_add(1))
    };
    if let Some(signal) = status.signal() {
        return match Signal::from_named_raw(signal) {
            Some(Signal::XCPU) => over_cpu(),
            Some(Signal::ABORT) if said.contains("memory allocation of") => over_memory(),
            Some(Signal::INT | Signal::TERM | Signal::HUP) => Failure::new(
                FailureClass::Cancelled,
                "run/cancelled",
                "the run was interrupted while it was being compiled",
            ),
            _ => crashed(status, said),
        };
    }
    let code = status.code().unwrap_or_default();
    // The pool of threads panics when it is refused the memory for one.
    if code == i32::from(EXIT_MEMORY) || (code == EXIT_PANIC && said.contains("thread pool")) {
        over_memory()
    } else if code == i32::from(EXIT_UNUSABLE) {
        unusable(said.trim())
    } else if [EXIT_STRANGER, EXIT_UNCONFINED, EXIT_PIPE].contains(&u8::try_from(code).unwrap_or(0))
    {
        without_compiler(
            FailureClass::Internal,
            "the process that compiles it gave up",
        )
        .cause(clean(said.trim(), 500))
    } else {
        crashed(status, said)
    }
}

fn crashed(status: ExitStatus, said: &str) -> Failure {
    let message = "the compiler crashed on it";
    let mut failure = Failure::new(FailureClass::Internal, "plugin/compiler-crashed", message)
        .cause(format!("the process that compiled it ended with {status}"));
    let said = clean(said.trim(), 2_000);
    if !said.is_empty() {
        failure = failure.cause(said);
    }
    if status.signal() == Some(Signal::KILL.as_raw()) {
        return failure.hint("look whether the machine ran out of memory");
    }
    failure.hint("report it with the plugin; build the plugin in release mode meanwhile")
}

fn not_started(program: &Path, error: &io::Error) -> Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the cause says the rest")]
    let class = match error.kind() {
        io::ErrorKind::NotFound => FailureClass::Missing,
        io::ErrorKind::PermissionDenied => FailureClass::Denied,
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => FailureClass::Transient,
        _ => FailureClass::Internal,
    };
    let message = format!(
        "the process that compiles it could not be started: {}",
        program.display()
    );
    without_compiler(class, &message).cause(error.to_string())
}

fn without_compiler(class: FailureClass, message: &str) -> Failure {
    Failure::new(class, "resources/compiler", message).hint(
        "start odibi again if its program file was replaced; raise the system's limit of processes",
    )
}

#[cfg(test)]
mod tests {
    use odibi_story::failure::explain;

    use super::*;

    #[test]
    fn explanations_name_the_limits_as_they_are() {
        let limits = CompileLimits::default();
        let minutes = limits.wall_ms_max / 60_000;
        let least_s = limits.wall_ms_max / WALL_PER_CPU / 1_000;
        for (code, words) in [
            (
                "limit/compile-cpu",
                format!(
                    ": {} seconds, and {} more for each MiB of the component.",
                    limits.cpu_s_max, limits.cpu_s_per_mib_max
                ),
            ),
            (
                "limit/compile-memory",
                format!(", {} GiB.", limits.memory_bytes_max >> 30),
            ),
            (
                "limit/compile-wall",
                format!(
                    ": {minutes} minutes, and {minutes} more as often as it got at least {least_s} seconds"
                ),
            ),
            (
                "limit/compile-output",
                format!(", {} MiB.", limits.artifact_bytes_max >> 20),
            ),
        ] {
            let text = explain(code).map_or("", |code| code.explanation);
            assert!(text.contains(&words), "{code}: no `{words}` in: {text}");
        }
    }
}
