//! The small WASI 0.2 that the Rust standard library needs to link: empty environment, stdin at its end, stdout and
//! stderr into the report, logical time, seeded randomness. Deterministic, and nothing in it reaches outside, but for the
//! real clock and the real randomness of a plugin that the project grants them.

use odibi_plan::plan::Grants;
use odibi_story::failure::{Failure, FailureClass};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType, WasmList};

use super::meter::{monotonic_ns, real_time_ms};
use super::{Guest, Logical, Stop};
use crate::limits::exceeded;

/// Interfaces that are served, without version. Any version of the track [`TRACK`] links.
pub(crate) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];
/// Major and minor version of the WASI interfaces.
pub(crate) const TRACK: (u64, u64) = (0, 2);
/// The version they are registered under; wasmtime matches others of the track.
const VERSION: &str = "0.2.12";

/// What one write to stdout or stderr may hold, as `check-write` tells the guest.
const WRITE_BYTES_MAX: u64 = 64 << 10;
/// What a granted clock is rounded down to: finer time would help to measure what does not belong to the guest.
const REAL_STEP_NS: u64 = 1_000_000;
/// How far the monotonic clock moves on at each look.
const CLOCK_STEP_NS: u64 = 1_000;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

type Cx<'a> = StoreContextMut<'a, Guest>;
type Written = Result<(), StreamError>;

/// State of the stub for one instance.
#[derive(Debug)]
pub(crate) struct Wasi {
    random: u64,
    monotonic_ns: u64,
    /// Where the real monotonic clock begins, so that it does not tell how long the machine has been up.
    start_ns: u64,
    grants: Grants,
    /// Unfinished lines.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Wasi {
    pub(crate) fn new(logical: Logical) -> Self {
        Self {
            random: logical.seed,
            monotonic_ns: 0,
            start_ns: monotonic_ns(),
            grants: logical.grants,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// The monotonic clock: real, or moving on by a step.
    fn look(&mut self) -> u64 {
        if self.grants.clock {
            return coarse(monotonic_ns().saturating_sub(self.start_ns));
        }
        self.monotonic_ns = self.monotonic_ns.saturating_add(CLOCK_STEP_NS);
        self.monotonic_ns
    }

    /// Eight random bytes: real, or of the seeded stream.
    fn word(&mut self) -> Result<u64, Stop> {
        if self.grants.entropy {
            getrandom::u64().map_err(|e| no_entropy(&e))
        } else {
            Ok(self.next_random())
        }
    }

    /// SplitMix64: small, deterministic, and good enough for hash seeds. Not for secrets, which a guest has none of.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Guest {
    /// Takes what the guest wrote; whole lines go into the report.
    fn write(&mut self, stream: u32, bytes: &[u8]) {
        let held = if stream == STDERR {
            &mut self.wasi.stderr
        } else {
            &mut self.wasi.stdout
        };
        let bytes_max = self.limits.line_bytes_max;
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            // A line without an end must not grow without an end either. A byte too many tells that it was cut.
            let room = bytes_max.saturating_add(1).saturating_sub(held.len());
            held.extend_from_slice(&text[..text.len().min(room)]);
            if part.ends_with(b"\n") {
                let is_cut = held.len() > bytes_max;
                let line = String::from_utf8_lossy(held).into_owned();
                held.clear();
                let line = if is_cut {
                    line.as_str()
                } else {
                    line.trim_end()
                };
                if stream == STDERR {
                    self.report.stderr_line(line)
                } else {
                    self.report.line("stdout", line)
                }
            }
        }
    }

    /// Lines that were begun and not ended.
    pub(crate) fn flush_lines(&mut self) {
        for stream in [STDOUT, STDERR] {
            let unfinished = if stream == STDERR {
                &self.wasi.stderr
            } else {
                &self.wasi.stdout
            };
            if !unfinished.is_empty() {
                self.write(stream, b"\n");
            }
        }
    }
}

/// Resource types; a handle's number says which stream it is.
enum InputStream {}
enum OutputStream {}
enum IoError {}
enum Pollable {}
enum TerminalInput {}
enum TerminalOutput {}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Adds all of [`INTERFACES`].
pub(crate) fn add(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    add_io(linker)?;
    add_streams(linker)?;
    add_cli(linker)?;
    add_terminals(linker)?;
    add_clocks(linker)?;
    add_random(linker)
}

fn versioned(interface: &str) -> String {
    format!("{interface}@{VERSION}")
}

fn ignore_drop(_: Cx<'_>, _: u32) -> wasmtime::Result<()> {
    Ok(())
}

fn add_io(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut error = linker.instance(&versioned("wasi:io/error"))?;
    error.resource("error", ResourceType::host::<IoError>(), ignore_drop)?;
    error.func_wrap(
        "[method]error.to-debug-string",
        |_: Cx<'_>, (_,): (Resource<IoError>,)| Ok((String::new(),)),
    )?;

    // Everything is always ready, so nothing ever waits.
    let mut poll = linker.instance(&versioned("wasi:io/poll"))?;
    poll.resource("pollable", ResourceType::host::<Pollable>(), ignore_drop)?;
    poll.func_wrap(
        "[method]pollable.ready",
        |_: Cx<'_>, (_,): (Resource<Pollable>,)| Ok((true,)),
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_: Cx<'_>, (_,): (Resource<Pollable>,)| Ok(()),
    )?;
    poll.func_wrap(
        "poll",
        |_: Cx<'_>, (list,): (WasmList<Resource<Pollable>>,)| {
            let ready: Vec<u32> = (0..u32::try_from(list.len()).unwrap_or(0))
                .take(64)
                .collect();
            Ok((ready,))
        },
    )
}

fn add_streams(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut streams = linker.instance(&versioned("wasi:io/streams"))?;
    streams.resource(
        "input-stream",
        ResourceType::host::<InputStream>(),
        ignore_drop,
    )?;
    streams.resource(
        "output-stream",
        ResourceType::host::<OutputStream>(),
        ignore_drop,
    )?;
    for name in ["read", "blocking-read"] {
        streams.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Cx<'_>, (_, _): (Resource<InputStream>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            },
        )?;
    }
    for name in ["skip", "blocking-skip"] {
        streams.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Cx<'_>, (_, _): (Resource<InputStream>, u64)| {
                Ok((Err::<u64, _>(StreamError::Closed),))
            },
        )?;
    }
    streams.func_wrap(
        "[method]input-stream.subscribe",
        |_: Cx<'_>, (_,): (Resource<InputStream>,)| Ok((ready(),)),
    )?;
    streams.func_wrap(
        "[method]output-stream.subscribe",
        |_: Cx<'_>, (_,): (Resource<OutputStream>,)| Ok((ready(),)),
    )?;
    streams.func_wrap(
        "[method]output-stream.check-write",
        |_: Cx<'_>, (_,): (Resource<OutputStream>,)| Ok((Ok::<u64, StreamError>(WRITE_BYTES_MAX),)),
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        streams.func_wrap(&format!("[method]output-stream.{name}"), write)?;
    }
    for name in ["flush", "blocking-flush"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Cx<'_>, (_,): (Resource<OutputStream>,)| Ok((Written::Ok(()),)),
        )?;
    }
    for name in ["write-zeroes", "blocking-write-zeroes-and-flush"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Cx<'_>, (_, _): (Resource<OutputStream>, u64)| Ok((Written::Ok(()),)),
        )?;
    }
    for name in ["splice", "blocking-splice"] {
        streams.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Cx<'_>, (_, _, _): (Resource<OutputStream>, Resource<InputStream>, u64)| {
                Ok((Err::<u64, _>(StreamError::Closed),))
            },
        )?;
    }
    Ok(())
}

fn write(
    mut cx: Cx<'_>,
    (to, bytes): (Resource<OutputStream>, WasmList<u8>),
) -> wasmtime::Result<(Written,)> {
    let all = bytes.as_le_slice(&cx);
    let taken = usize::try_from(WRITE_BYTES_MAX).map_or(all.len(), |max| all.len().min(max));
    let copy = all[..taken].to_vec();
    cx.data_mut().write(to.rep(), &copy);
    Ok((Ok(()),))
}

fn ready() -> Resource<Pollable> {
    Resource::new_own(0)
}

fn add_cli(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut environment = linker.instance(&versioned("wasi:cli/environment"))?;
    environment.func_wrap("get-environment", |_: Cx<'_>, (): ()| {
        Ok((Vec::<(String, String)>::new(),))
    })?;
    environment.func_wrap("get-arguments", |_: Cx<'_>, (): ()| {
        Ok((Vec::<String>::new(),))
    })?;
    environment.func_wrap("initial-cwd", |_: Cx<'_>, (): ()| Ok((None::<String>,)))?;

    let mut exit = linker.instance(&versioned("wasi:cli/exit"))?;
    exit.func_wrap(
        "exit",
        |_: Cx<'_>, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            Err(Stop::Exit {
                success: status.is_ok(),
            }
            .into())
        },
    )?;
    exit.func_wrap(
        "exit-with-code",
        |_: Cx<'_>, (code,): (u8,)| -> wasmtime::Result<()> {
            Err(Stop::Exit { success: code == 0 }.into())
        },
    )?;

    linker
        .instance(&versioned("wasi:cli/stdin"))?
        .func_wrap("get-stdin", |_: Cx<'_>, (): ()| {
            Ok((Resource::<InputStream>::new_own(0),))
        })?;
    for (interface, name, stream) in [
        ("wasi:cli/stdout", "get-stdout", STDOUT),
        ("wasi:cli/stderr", "get-stderr", STDERR),
    ] {
        linker
            .instance(&versioned(interface))?
            .func_wrap(name, move |_: Cx<'_>, (): ()| {
                Ok((Resource::<OutputStream>::new_own(stream),))
            })?;
    }
    Ok(())
}

fn add_terminals(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker
        .instance(&versioned("wasi:cli/terminal-input"))?
        .resource(
            "terminal-input",
            ResourceType::host::<TerminalInput>(),
            ignore_drop,
        )?;
    linker
        .instance(&versioned("wasi:cli/terminal-output"))?
        .resource(
            "terminal-output",
            ResourceType::host::<TerminalOutput>(),
            ignore_drop,
        )?;
    linker
        .instance(&versioned("wasi:cli/terminal-stdin"))?
        .func_wrap("get-terminal-stdin", |_: Cx<'_>, (): ()| {
            Ok((None::<Resource<TerminalInput>>,))
        })?;
    for (interface, name) in [
        ("wasi:cli/terminal-stdout", "get-terminal-stdout"),
        ("wasi:cli/terminal-stderr", "get-terminal-stderr"),
    ] {
        linker
            .instance(&versioned(interface))?
            .func_wrap(name, |_: Cx<'_>, (): ()| {
                Ok((None::<Resource<TerminalOutput>>,))
            })?;
    }
    Ok(())
}

fn add_clocks(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut wall = linker.instance(&versioned("wasi:clocks/wall-clock"))?;
    wall.func_wrap("now", |cx: Cx<'_>, (): ()| {
        let logical = cx.data().logical;
        let ms = if logical.grants.clock {
            real_time_ms()
        } else {
            logical.run_time_ms
        };
        let nanoseconds = u32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000;
        Ok((Datetime {
            seconds: ms / 1_000,
            nanoseconds,
        },))
    })?;
    wall.func_wrap("resolution", |_: Cx<'_>, (): ()| {
        Ok((Datetime {
            seconds: 0,
            nanoseconds: 1_000_000,
        },))
    })?;

    let mut monotonic = linker.instance(&versioned("wasi:clocks/monotonic-clock"))?;
    monotonic.func_wrap("now", |mut cx: Cx<'_>, (): ()| {
        Ok((cx.data_mut().wasi.look(),))
    })?;
    monotonic.func_wrap("resolution", |cx: Cx<'_>, (): ()| {
        let real = cx.data().logical.grants.clock;
        Ok((if real { REAL_STEP_NS } else { CLOCK_STEP_NS },))
    })?;
    // A sleep takes no time. The logical clock says that it did, the real one does not lie.
    monotonic.func_wrap("subscribe-instant", |mut cx: Cx<'_>, (when,): (u64,)| {
        let wasi = &mut cx.data_mut().wasi;
        wasi.monotonic_ns = wasi.monotonic_ns.max(when);
        Ok((ready(),))
    })?;
    monotonic.func_wrap(
        "subscribe-duration",
        |mut cx: Cx<'_>, (duration,): (u64,)| {
            let wasi = &mut cx.data_mut().wasi;
            wasi.monotonic_ns = wasi.monotonic_ns.saturating_add(duration);
            Ok((ready(),))
        },
    )
}

fn add_random(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for (interface, bytes, word) in [
        ("wasi:random/random", "get-random-bytes", "get-random-u64"),
        (
            "wasi:random/insecure",
            "get-insecure-random-bytes",
            "get-insecure-random-u64",
        ),
    ] {
        let mut random = linker.instance(&versioned(interface))?;
        random.func_wrap(bytes, |cx: Cx<'_>, (len,): (u64,)| {
            Ok((random_bytes(cx, len)?,))
        })?;
        random.func_wrap(word, |mut cx: Cx<'_>, (): ()| {
            Ok((cx.data_mut().wasi.word()?,))
        })?;
    }
    linker
        .instance(&versioned("wasi:random/insecure-seed"))?
        .func_wrap("insecure-seed", |mut cx: Cx<'_>, (): ()| {
            let wasi = &mut cx.data_mut().wasi;
            Ok(((wasi.word()?, wasi.word()?),))
        })
}

fn random_bytes(mut cx: Cx<'_>, len: u64) -> Result<Vec<u8>, Stop> {
    let max = cx.data().limits.random_bytes_max;
    if len > max {
        return Err(exceeded("random", max, len).into());
    }
    let len = usize::try_from(len).unwrap_or(0);
    let wasi = &mut cx.data_mut().wasi;
    if wasi.grants.entropy {
        let mut bytes = vec![0; len];
        getrandom::fill(&mut bytes).map_err(|e| no_entropy(&e))?;
        return Ok(bytes);
    }
    let words = std::iter::repeat_with(|| wasi.next_random().to_le_bytes());
    Ok(words.flatten().take(len).collect())
}

fn coarse(ns: u64) -> u64 {
    ns - ns % REAL_STEP_NS
}

fn no_entropy(why: &getrandom::Error) -> Stop {
    let message = "this machine gives no random numbers";
    Failure::new(FailureClass::Internal, "internal/sandbox", message)
        .cause(why.to_string())
        .into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use odibi_run::port::Cancel;

    use super::*;
    use crate::limits::Limits;

    fn guest() -> Guest {
        let limits = Arc::new(Limits {
            line_bytes_max: 8,
            ..Limits::default()
        });
        Guest::new(
            limits,
            Logical {
                run_time_ms: 0,
                seed: 7,
                grants: Grants::default(),
            },
            Cancel::default(),
            odibi_run::MemoryBudget::default(),
        )
    }

    #[test]
    fn written_bytes_become_lines_however_they_are_cut() {
        let mut guest = guest();
        guest.write(STDOUT, b"one\ntw");
        guest.write(STDOUT, b"o\nthree is far too long\n\xff");
        guest.flush_lines();
        let texts: Vec<String> = guest.report.take().into_iter().map(|n| n.text).collect();
        assert_eq!(texts, ["one", "two", "three…", "\u{fffd}"]);
    }

    #[test]
    fn randomness_repeats_for_a_seed() {
        let (mut a, mut b) = (guest(), guest());
        let first: Vec<u64> = (0..4).map(|_| a.wasi.next_random()).collect();
        let second: Vec<u64> = (0..4).map(|_| b.wasi.next_random()).collect();
        assert_eq!(first, second);
        assert_ne!(first[0], first[1]);
    }
}
