//! What is said when a limit was reached: which, its name in YAML, what was asked for, and how it is raised.

use odibi_plan::guest_limits::{GuestLimit, Unit};
use odibi_run::memory::Refused;
use odibi_story::failure::{Failure, FailureClass};

/// A limit failure. `which` names the limit; the code is `limit/` and its kind.
pub(crate) fn exceeded(which: &'static str, limit: u64, asked: u64) -> Failure {
    let (what, hint) = words(which);
    // Two limits of one kind share a code, and so its explanation.
    let code = match which {
        "batch-rows" | "batch-expanded" | "dictionaries" => "batch-output",
        "output-rows" | "total-output" | "gathered" => "output",
        "plan-columns" | "plan-schema" | "plan-state" => "plan-size",
        "guest-table" | "guest-handles" => "guest-memory",
        other => other,
    };
    let spec = GuestLimit::of_failure(which).map(|limit| (limit, limit.spec()));
    let (called, unit) = match &spec {
        Some((_, spec)) => (format!("its limit `{}`, {what}", spec.key), spec.unit),
        None => (format!("a limit, {what}"), Unit::Bytes),
    };
    let message = format!(
        "the plugin went over {called}: asked for {}, limit {}",
        unit.shown_over(limit, asked),
        unit.shown(limit)
    );
    let failure = Failure::new(FailureClass::Limit, format!("limit/{code}"), message)
        .of_limit(which, limit, asked)
        .hint(hint);
    let raised = spec.and_then(|(set, spec)| set.raised(limit, asked).map(|value| (spec, value)));
    match raised {
        Some((spec, value)) => failure.hint(format!(
            "set `limits: {{{}: {}}}` on the node or its plugin to allow more",
            spec.key,
            spec.unit.written(value)
        )),
        None => failure,
    }
}

/// What was too much, and what can be done besides raising the limit.
fn words(which: &str) -> (&'static str, &'static str) {
    match which {
        "guest-memory" => (
            "memory of one instance",
            "give the step fewer or smaller rows to hold at a time",
        ),
        "guest-cpu" => (
            "CPU time of one call",
            "look for a loop in the plugin, or give it smaller batches",
        ),
        "guest-wall" => (
            "time of one call",
            "run fewer nodes at once, or look for a loop in the plugin",
        ),
        "guest-table" => (
            "elements of a function table",
            "report it to the author of the plugin",
        ),
        "guest-handles" => (
            "resource handles held at once",
            "report it to the author of the plugin",
        ),
        "batch-output" => ("one emitted batch", "emit smaller batches"),
        "batch-rows" => ("rows of one emitted batch", "emit smaller batches"),
        "batch-expanded" => (
            "one emitted batch with repeated values written out",
            "emit smaller batches",
        ),
        "gathered" => (
            "columns that pass through, with repeated rows written out",
            "check whether a join multiplies rows",
        ),
        "dictionaries" => ("dictionaries of one session", "emit smaller dictionaries"),
        "output" => ("output of one call", "check whether a join multiplies rows"),
        "total-output" => (
            "output of one instance",
            "check whether a join multiplies rows",
        ),
        "output-rows" => (
            "rows emitted in one call",
            "check whether a join multiplies rows",
        ),
        "emits" => ("batches emitted in one call", "emit larger batches"),
        "plan-state" => ("state of a plan", "keep the state small"),
        "plan-schema" => ("schema of a plan", "select fewer columns"),
        "plan-columns" => ("columns of a plan", "select fewer columns"),
        "plan-size" => (
            "a manifest or summary",
            "report it to the author of the plugin",
        ),
        "component" => ("the size of a component", "build it in release mode"),
        _ => (
            "random bytes of one request",
            "report it to the author of the plugin",
        ),
    }
}

/// A limit of the compiler. `which` is the code behind `limit/`.
pub(crate) fn compile_exceeded(which: &'static str, limit: u64, asked: u64) -> Failure {
    let hint = if which == "compile-wall" {
        "run it again when the machine is less busy"
    } else {
        "build it in release mode; if it is already, report it to the author of the plugin"
    };
    let (what, shown) = match which {
        "compile-cpu" => ("CPU time", format!("{limit} s")),
        "compile-wall" => ("time", Unit::Milliseconds.shown(limit)),
        "compile-memory" => ("memory", Unit::Bytes.shown(limit)),
        _ => ("machine code", Unit::Bytes.shown(limit)),
    };
    Failure::new(
        FailureClass::Limit,
        format!("limit/{which}"),
        format!("compiling it went over the limit for {what}: {shown}"),
    )
    .of_limit(which, limit, asked)
    .hint(hint)
}

/// The run has no memory left for a guest.
pub(super) fn out_of_budget(refused: Refused) -> Failure {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let message = format!(
        "the plugin needs more memory than the run has left: {} MiB of {} MiB are held by plugins, {} MiB by the data engine, asked for {} MiB more",
        mib(refused.guests),
        mib(refused.bytes_max),
        mib(refused.engine),
        mib(refused.asked),
    );
    Failure::new(FailureClass::Limit, "limit/run-memory", message)
        .of_limit("run-memory", refused.bytes_max, refused.asked)
        .hint("give the run more with `--memory`; fewer nodes at once, with `--workers`, need less")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failure: &Failure, message: &str, hint: Option<&str>) {
        assert_eq!(failure.message, message);
        assert_eq!(failure.hints.get(1).map(String::as_str), hint);
        assert!(failure.limit.is_some());
    }

    #[test]
    fn a_failure_names_the_limit_what_was_asked_and_how_to_allow_it() {
        check(
            &exceeded("guest-memory", 256 << 20, 268 << 20),
            "the plugin went over its limit `memory`, memory of one instance: asked for 268 MiB, limit 256 MiB",
            Some("set `limits: {memory: 512MiB}` on the node or its plugin to allow more"),
        );
        check(
            &exceeded("guest-cpu", 30_000, 30_004),
            "the plugin went over its limit `cpu`, CPU time of one call: asked for 30.1 s, limit 30 s",
            Some("set `limits: {cpu: 1m}` on the node or its plugin to allow more"),
        );
        check(
            &exceeded("emits", 16_384, 16_385),
            "the plugin went over its limit `emits`, batches emitted in one call: asked for 16,385, limit 16,384",
            Some("set `limits: {emits: 32768}` on the node or its plugin to allow more"),
        );
    }

    #[test]
    fn what_cannot_be_allowed_is_not_offered() {
        check(
            &exceeded("random", 1 << 20, 1 << 40),
            "the plugin went over its limit `random`, random bytes of one request: asked for 1 TiB, limit 1 MiB",
            None,
        );
        check(
            &exceeded("component", 64 << 20, (64 << 20) + 1),
            "the plugin went over a limit, the size of a component: asked for 64.1 MiB, limit 64 MiB",
            None,
        );
    }
}
