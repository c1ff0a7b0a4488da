//! The one place where what wasmtime or a guest reports becomes a [`Failure`].

use std::collections::BTreeSet;

use odibi_story::failure::{Failure, FailureClass, TextSpan};
use serde_json::Value;
use wasmtime::{Trap, WasmBacktrace};

use crate::contract::{self, FailureKind, GuestFailure, Retry};
use crate::exchange::broken;
use crate::host_api::report::clean;
use crate::host_api::{Guest, Stop};
use crate::limits::exceeded;

/// Frames named in a crash.
const FRAMES_MAX: usize = 8;
/// What the SDK puts between a message and each of its hints.
const HINT: &str = "\nhint: ";
const HINTS_MAX: usize = 4;
const HINT_BYTES_MAX: usize = 1024;
/// A crash this deep in two functions only is recursion.
const FRAMES_OF_RECURSION: usize = 16;

/// Why a call into a guest failed.
pub(crate) fn of_call(error: wasmtime::Error, guest: &mut Guest) -> Failure {
    guest.flush_lines();
    let error = match error.downcast::<Stop>() {
        Ok(Stop::Failure(failure)) => return *failure,
        Ok(Stop::Exit { success }) => {
            let status = if success { "success" } else { "failure" };
            let message = format!("the plugin tried to end the process, reporting {status}");
            return explained(
                Failure::new(FailureClass::Trap, "trap/exit", message),
                guest,
            );
        }
        Err(other) => other,
    };
    // A guest that cannot grow its memory aborts: the refusal is the reason, the trap only its end.
    if let Some(limit) = guest.limiter.failure() {
        return explained(limit, guest);
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => explained(with_frames(of_trap(*trap, recurses(&error)), &error), guest),
        None => of_misfit(&error, guest),
    }
}

/// Compilers keep part of the stack in memory, below everything else: endless recursion may run out of that part first
/// and look like a stray access. Its frames give it away.
fn recurses(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<WasmBacktrace>().is_some_and(|trace| {
        let functions: BTreeSet<u32> = trace
            .frames()
            .iter()
            .map(wasmtime::FrameInfo::func_index)
            .collect();
        trace.frames().len() >= FRAMES_OF_RECURSION && functions.len() <= 2
    })
}

fn of_trap(trap: Trap, recurses: bool) -> Failure {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "wasmtime may add traps; they all crash"
    )]
    let (word, what) = match trap {
        Trap::UnreachableCodeReached => ("unreachable", "it panicked or aborted".to_owned()),
        Trap::StackOverflow => ("stack-overflow", "it used up its stack".to_owned()),
        Trap::MemoryOutOfBounds if recurses => {
            ("stack-overflow", "it used up its stack".to_owned())
        }
        Trap::MemoryOutOfBounds => (
            "memory-out-of-bounds",
            "it reached outside its memory".to_owned(),
        ),
        other => (
            "other",
            other
                .to_string()
                .trim_start_matches("wasm trap: ")
                .to_owned(),
        ),
    };
    Failure::new(
        FailureClass::Trap,
        format!("trap/{word}"),
        format!("the plugin crashed: {what}"),
    )
    .hint("report it to the author of the plugin with its version and digest")
}

/// Values that do not fit the interface: text that is not UTF-8, pointers outside memory, too much data at once.
fn of_misfit(error: &wasmtime::Error, guest: &Guest) -> Failure {
    // wasmtime keeps the types of these errors to itself; the containment suite pins the words.
    let words = format!("{error:#}");
    if words.contains("store handle limit exceeded") {
        let max = guest.limits.handles_max as u64;
        return exceeded("guest-handles", max, max + 1);
    }
    if words.contains("hostcalls has been exhausted") {
        let fuel = guest.limits.hostcall_fuel_bytes() as u64;
        let message = "the plugin handed over more data in one call than it may";
        return Failure::new(FailureClass::Limit, "limit/batch-output", message)
            .of_limit("batch-output", fuel, fuel + 1)
            .hint("emit smaller batches");
    }
    broken(
        "abi",
        "the plugin handed over values that do not fit the interface",
    )
    .cause(clean(&error.root_cause().to_string(), 500))
}

/// The panic message, where the guest printed one, and the frames come as causes.
fn explained(mut failure: Failure, guest: &Guest) -> Failure {
    let tail: Vec<String> = guest.report.stderr_tail().map(str::to_owned).collect();
    tail.into_iter().for_each(|line| failure.causes.push(line));
    failure
}

fn with_frames(mut failure: Failure, error: &wasmtime::Error) -> Failure {
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        let names: Vec<String> = (trace.frames().iter().take(FRAMES_MAX))
            .map(|f| {
                f.func_name()
                    .map_or_else(|| format!("function {}", f.func_index()), |n| clean(n, 200))
            })
            .collect();
        if !names.is_empty() {
            failure.causes.push(format!("in {}", names.join(" < ")));
        }
    }
    failure
}

/// What the plugin itself reported of these params. While it plans it has seen no data, and may name a param that is
/// missing; later it may only name what is there: a pointer made up of values would tell them.
pub(crate) fn of_guest(
    failure: GuestFailure,
    params: &Value,
    has_seen_data: bool,
    guest: &Guest,
) -> Failure {
    let bytes_max = guest.limits.message_bytes_max;
    let word = match failure.kind {
        FailureKind::Params => "params",
        FailureKind::Schema => "schema",
        FailureKind::Data => "data",
        FailureKind::Denied => "denied",
        FailureKind::Transient => "transient",
        FailureKind::Internal => "failed",
    };
    // The contract has no field for hints: the SDK puts them behind the message, a line each.
    let (message, hints) = match failure.message.split_once(HINT) {
        Some((message, hints)) => (message, Some(hints)),
        None => (failure.message.as_str(), None),
    };
    let mut message = clean(message, bytes_max);
    if message.is_empty() {
        message = "the plugin reported a failure without a message".to_owned();
    }
    let mut out = Failure::new(FailureClass::Guest, format!("guest/{word}"), message);
    out.hints.extend(
        hints
            .into_iter()
            .flat_map(|hints| hints.split(HINT))
            .take(HINTS_MAX)
            .map(|hint| clean(hint, HINT_BYTES_MAX)),
    );
    if !failure.code.is_empty() {
        out.causes
            .push(format!("the plugin's code: {}", clean(&failure.code, 128)));
    }
    if let Some(at) = failure.at {
        let row = at
            .row
            .map_or_else(String::new, |row| format!(", row {row} of its batch"));
        let column = at
            .column
            .map_or_else(String::new, |c| format!(", column `{}`", clean(&c, 256)));
        out.causes
            .push(format!("at input {}{row}{column}", at.port));
    }
    out.span = failure
        .span
        .zip(failure.param.as_deref())
        .and_then(|(span, pointer)| span_in(params.pointer(pointer)?.as_str()?, span));
    let named =
        (failure.param).filter(|pointer| !has_seen_data || params.pointer(pointer).is_some());
    out.param = named.map(|pointer| clean(&pointer, 512));
    out.retry_after_ms = match failure.retry {
        Retry::Never => None,
        Retry::FreshInstance => Some(0),
        Retry::After(ms) => Some(u64::from(ms)),
    };
    out
}

/// The span in this text: cut at its end, and widened to whole characters. None of what lies past the end, or is reversed.
fn span_in(text: &str, span: contract::TextSpan) -> Option<TextSpan> {
    let start = usize::try_from(span.start).ok()?;
    let end = usize::try_from(span.end).ok()?;
    (start <= end && start <= text.len()).then(|| TextSpan {
        start: text.floor_char_boundary(start),
        end: text.ceil_char_boundary(end),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use odibi_run::port::Cancel;

    use super::*;
    use crate::contract::Location;
    use crate::host_api::Logical;
    use crate::limits::Limits;

    fn guest() -> Guest {
        Guest::new(
            Arc::new(Limits::default()),
            Logical::default(),
            Cancel::default(),
            odibi_run::MemoryBudget::default(),
        )
    }

    #[test]
    fn guest_failures_keep_what_a_person_needs_and_lose_what_steers_a_terminal() {
        let failure = GuestFailure {
            kind: FailureKind::Params,
            retry: Retry::After(250),
            code: "unknown-column".to_owned(),
            message: "no such column: \u{1b}[31m`x`".to_owned(),
            param: Some("/columns/0".to_owned()),
            span: Some(contract::TextSpan { start: 1, end: 2 }),
            at: Some(Location {
                port: 1,
                row: Some(3),
                column: Some("x".to_owned()),
            }),
        };
        let got = of_guest(failure, &json!({"columns": ["xyz"]}), true, &guest());
        assert_eq!(got.span, Some(TextSpan { start: 1, end: 2 }));
        assert_eq!(
            (got.class, got.code.as_str()),
            (FailureClass::Guest, "guest/params")
        );
        assert_eq!(got.message, "no such column: [31m`x`");
        assert_eq!(
            got.causes,
            [
                "the plugin's code: unknown-column",
                "at input 1, row 3 of its batch, column `x`"
            ]
        );
        assert_eq!(
            (got.param.as_deref(), got.retry_after_ms),
            (Some("/columns/0"), Some(250))
        );
    }

    #[test]
    fn hints_behind_the_message_become_hints() {
        let failure = GuestFailure {
            kind: FailureKind::Params,
            retry: Retry::Never,
            code: String::new(),
            message: "no column `x`\nhint: did you mean `y`?\nhint: look again".into(),
            param: None,
            span: Some(contract::TextSpan { start: 0, end: 1 }),
            at: None,
        };
        let got = of_guest(failure, &json!("x"), true, &guest());
        // Without a param there is no text.
        assert_eq!(got.span, None);
        assert_eq!(got.message, "no column `x`");
        assert_eq!(got.hints, ["did you mean `y`?", "look again"]);
    }

    #[test]
    fn pointers_that_lead_nowhere_are_dropped_once_data_was_seen() {
        let failure = |pointer: &str| GuestFailure {
            kind: FailureKind::Data,
            retry: Retry::Never,
            code: String::new(),
            message: "bad".to_owned(),
            param: Some(pointer.to_owned()),
            span: None,
            at: None,
        };
        let params = json!({"columns": ["a"]});
        for (has_seen_data, pointer, told) in [
            (false, "/missing", true),
            (true, "/missing", false),
            (true, "/columns/1", false),
            (true, "/columns/0", true),
        ] {
            let got = of_guest(failure(pointer), &params, has_seen_data, &guest());
            assert_eq!(got.param.is_some(), told, "{has_seen_data} {pointer}");
        }
    }

    #[track_caller]
    fn check_span(value: &Value, (start, end): (u32, u32), expect: Option<(usize, usize)>) {
        let failure = GuestFailure {
            kind: FailureKind::Params,
            retry: Retry::Never,
            code: String::new(),
            message: "bad".to_owned(),
            param: Some("/sql".to_owned()),
            span: Some(contract::TextSpan { start, end }),
            at: None,
        };
        let got = of_guest(failure, &json!({ "sql": value }), false, &guest());
        let expect = expect.map(|(start, end)| TextSpan { start, end });
        assert_eq!((got.span, got.param.as_deref()), (expect, Some("/sql")));
    }

    #[test]
    fn spans_lie_in_the_text_and_between_characters() {
        let text = json!("aé€b"); // 1, 2, 3 and 1 bytes
        check_span(&text, (0, 7), Some((0, 7)));
        check_span(&text, (1, 3), Some((1, 3)));
        check_span(&text, (7, 7), Some((7, 7)));
        // Cut at the end.
        check_span(&text, (6, u32::MAX), Some((6, 7)));
        // Widened to whole characters.
        check_span(&text, (2, 4), Some((1, 6)));
        check_span(&text, (4, 5), Some((3, 6)));
        check_span(&text, (5, 5), Some((3, 6)));
        // Dropped.
        check_span(&text, (8, 9), None);
        check_span(&text, (u32::MAX, u32::MAX), None);
        check_span(&text, (3, 1), None);
        check_span(&json!(""), (0, 9), Some((0, 0)));
        check_span(&json!(["text"]), (0, 1), None);
        check_span(&json!(null), (0, 1), None);
    }

    #[test]
    fn traps_have_their_codes() {
        let cases = [
            (Trap::UnreachableCodeReached, "trap/unreachable"),
            (Trap::StackOverflow, "trap/stack-overflow"),
            (Trap::MemoryOutOfBounds, "trap/memory-out-of-bounds"),
            (Trap::IntegerDivisionByZero, "trap/other"),
        ];
        for (trap, code) in cases {
            let mut guest = guest();
            guest.report.stderr_line("thread panicked at src/lib.rs:1");
            let advice =
                "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
            guest.report.stderr_line(advice);
            let got = of_call(wasmtime::Error::new(trap), &mut guest);
            assert_eq!(got.code, code);
            assert_eq!(got.causes, ["thread panicked at src/lib.rs:1"]);
        }
    }

    #[test]
    fn exit_is_a_crash_even_with_success() {
        let got = of_call(
            wasmtime::Error::new(Stop::Exit { success: true }),
            &mut guest(),
        );
        assert_eq!(
            (got.class, got.code.as_str()),
            (FailureClass::Trap, "trap/exit")
        );
    }
}
