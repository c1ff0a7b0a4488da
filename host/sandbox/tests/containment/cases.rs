//! What is tried, and how each must end. Data only.

use crate::spoilt::Spoilt;

/// One thing to try.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) route: Route,
    pub(crate) expect: Expect,
}

impl Case {
    /// It must, or may: a guest that ruined its own memory may do anything, and go on with it.
    pub(crate) fn runs_out_of_cpu(&self) -> bool {
        self.expect == CPU || self.expect == Contained
    }
}

/// How the host meets the attack.
pub(crate) enum Route {
    /// The operation is planned, opened, and fed two batches.
    Session {
        operation: String,
        /// `ATTACK@PLACE` of the operation `attack`.
        params: String,
        /// The run is cancelled before this step.
        cancel_before: Option<&'static str>,
    },
    /// A component of its own is loaded.
    Load(Spoilt),
}

/// How it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// With this code, and this word in the message or its causes.
    Code(&'static str, &'static str),
    /// With the right answer: what was attacked has a cap and no more.
    Answer,
    /// With the right answer or any failure that the guest or the contract is to blame for: the guest ruins its own
    /// memory, and what comes of that is its own affair.
    Contained,
}
use Expect::{Answer, Code, Contained};

const CPU: Expect = Code("limit/guest-cpu", "CPU time");
const MEMORY: Expect = Code("limit/guest-memory", "memory");
/// While the host allocates in a guest, and after it has read an answer, a guest may call nothing.
const WALLED: Expect = Code("trap/other", "cannot leave component");

/// Attacks of the operation `attack`: how they end where a guest may call the host, and where it may not.
const ATTACKS: &[(&str, Expect, Expect)] = &[
    ("spin", CPU, CPU),
    ("spin_fill", CPU, CPU),
    ("spin_log", CPU, WALLED),
    ("spin_cancelled", CPU, WALLED),
    ("stderr_flood", CPU, WALLED),
    ("random_flood", CPU, WALLED),
    ("random_huge", Code("limit/random", "1 TiB"), WALLED),
    ("panic", Code("trap/unreachable", "with [31mcolour"), WALLED),
    (
        "unreachable",
        Code("trap/unreachable", "crashed"),
        Code("trap/unreachable", "crashed"),
    ),
    (
        "abort",
        Code("trap/unreachable", "crashed"),
        Code("trap/unreachable", "crashed"),
    ),
    ("exit_zero", Code("trap/exit", "success"), WALLED),
    ("exit_one", Code("trap/exit", "failure"), WALLED),
    (
        "divide",
        Code("trap/other", "divide by zero"),
        Code("trap/other", "divide by zero"),
    ),
    ("read_outside", OUTSIDE, OUTSIDE),
    ("write_outside", OUTSIDE, OUTSIDE),
    (
        "null_call",
        Code("trap/other", "uninitialized"),
        Code("trap/other", "uninitialized"),
    ),
    (
        "outside_call",
        Code("trap/other", "table"),
        Code("trap/other", "table"),
    ),
    (
        "mismatched_call",
        Code("trap/other", "type mismatch"),
        Code("trap/other", "type mismatch"),
    ),
    (
        "recursion",
        Code("trap/stack-overflow", "stack"),
        Code("trap/stack-overflow", "stack"),
    ),
    ("grow", MEMORY, MEMORY),
    ("reserve", MEMORY, MEMORY),
    (
        "table",
        Code("limit/guest-memory", "table"),
        Code("limit/guest-memory", "table"),
    ),
    ("handles", Code("limit/guest-memory", "handles"), WALLED),
];
const OUTSIDE: Expect = Code("trap/memory-out-of-bounds", "outside");

/// Places where a guest may call the host, and where it may not.
const OPEN_PLACES: &[&str] = &["start", "plan", "open", "process", "drain", "finish"];
const WALLED_PLACES: &[&str] = &[
    "plan.realloc",
    "open.realloc",
    "process.realloc",
    "process.import.realloc",
    "plan.post",
    "open.post",
    "process.post",
    "drain.post",
    "finish.post",
];

/// The allocator's lies, by place. Bytes have no alignment: there a pointer that is off by one is fine.
const LIES: &[(&str, &str, Expect)] = &[
    ("realloc_outside", "plan.realloc", ABI_OUTSIDE),
    ("realloc_outside", "open.realloc", ABI_OUTSIDE),
    ("realloc_outside", "process.realloc", ABI_OUTSIDE),
    ("realloc_outside", "process.import.realloc", ABI_OUTSIDE),
    (
        "realloc_misaligned",
        "plan.realloc",
        Code("contract/abi", "not aligned"),
    ),
    ("realloc_misaligned", "open.realloc", Contained),
    ("realloc_misaligned", "process.realloc", Contained),
    ("realloc_misaligned", "process.import.realloc", Contained),
    ("realloc_zero", "plan.realloc", Contained),
    ("realloc_zero", "open.realloc", Contained),
    ("realloc_zero", "process.realloc", Contained),
    ("realloc_zero", "process.import.realloc", Contained),
    ("realloc_same", "plan.realloc", Contained),
    ("realloc_same", "open.realloc", Contained),
    ("realloc_same", "process.realloc", Contained),
    ("realloc_same", "process.import.realloc", Contained),
];
const ABI_OUTSIDE: Expect = Code("contract/abi", "beyond end of memory");

/// Where a run is cancelled under a guest that goes on, and what the guest does.
const CANCELLED: &[(&str, &str, &str)] = &[
    ("spin", "start", "open"),
    ("spin", "open", "open"),
    ("spin", "open.realloc", "open"),
    ("spin", "open.post", "open"),
    ("spin", "process", "process"),
    ("spin", "process.realloc", "process"),
    ("spin", "process.import.realloc", "process"),
    ("spin", "process.post", "process"),
    ("spin", "drain", "drain"),
    ("spin", "drain.post", "drain"),
    ("spin", "finish", "finish"),
    ("spin", "finish.post", "finish"),
    ("spin_cancelled", "open", "open"),
    ("spin_cancelled", "process", "process"),
    ("spin_log", "process", "process"),
    ("spin_fill", "process", "process"),
];

/// Operations that are an attack each.
const OPERATIONS: &[(&str, Expect)] = &[
    // Greed.
    ("memory", MEMORY),
    ("memory_in_plan", MEMORY),
    // A guest that takes no for an answer reports its own failure.
    ("memory_politely", Code("guest/failed", "not enough memory")),
    ("tricks", Answer),
    ("ansi", Code("guest/data", "]0;title[2Jrow  ::error::fake")),
    ("batch_output", Code("limit/batch-output", "batch")),
    ("emit_flood", Code("contract/ipc", "empty")),
    ("part_flood", Code("contract/ipc", "parts")),
    ("list_flood", Code("limit/batch-output", "data")),
    ("output_flood", Code("contract/ipc", "marker")),
    ("copy_forever", Code("limit/emits", "emitted")),
    ("null_rows", Code("limit/batch-output", "1,000,000,000")),
    ("null_rows_forever", Code("limit/output", "rows")),
    ("retry_now", Code("guest/transient", "come again")),
    ("retry_late", Code("guest/transient", "come again")),
    ("exit_zero", Code("trap/exit", "success")),
    // Plans.
    ("plan_need", Code("contract/plan", "99")),
    ("plan_twice", Code("contract/plan", "twice")),
    ("plan_passed_type", Code("contract/plan", "another type")),
    ("plan_no_output", Code("contract/plan", "one output")),
    ("plan_no_input", Code("contract/plan", "inputs")),
    ("plan_state", Code("limit/plan-size", "plan")),
    ("plan_columns", Code("limit/plan-size", "columns")),
    ("plan_million", Code("contract/ipc", "Too many tables")),
    ("plan_branching", Code("limit/plan-size", "columns")),
    ("plan_exploding", Code("contract/ipc", "Too many tables")),
    ("plan_bad_schema", Code("contract/ipc", "length")),
    ("plan_big_schema", Code("limit/plan-size", "plan")),
    ("plan_emits", Code("contract/port", "planning")),
    ("plan_utf8", Code("contract/abi", "utf-8")),
    ("plan_deep", Code("contract/schema", "nested")),
    ("plan_deeper", Code("contract/ipc", "depth")),
    ("plan_long_name", Code("contract/schema", "1000000")),
    ("plan_twin_names", Code("contract/schema", "twice")),
    ("plan_type", Code("contract/schema", "cannot leave")),
    ("plan_metadata", Answer),
    // Rows and ports.
    ("wrong_schema", Code("contract/ipc", "")),
    ("fewer_columns", Code("contract/ipc", "empty")),
    ("wrong_rows", Code("contract/rows", "1000000")),
    ("picked_outside", Code("contract/rows", "1073741824")),
    ("picked_long", Code("limit/batch-output", "rows")),
    ("kept_short", Code("contract/rows", "bytes")),
    ("kept_long", Code("contract/rows", "bytes")),
    ("kept_endless", Code("contract/rows", "62914560")),
    ("kept_stray", Code("contract/rows", "past the last")),
    ("kept_rows", Code("contract/rows", "origin says")),
    ("unknown_port", Code("contract/port", "9")),
    ("emit_in_open", Code("contract/port", "outside")),
    ("late_same_rows", Code("contract/rows", "none")),
    ("late_kept", Code("contract/rows", "none")),
    // The breach counts, whatever the guest says afterwards.
    ("ignores_refusal", Code("contract/ipc", "cut short")),
    ("fails_after_emit", Code("contract/ipc", "cut short")),
    // Bytes.
    ("empty", Code("contract/ipc", "empty")),
    ("rubbish", Code("contract/ipc", "marker")),
    ("truncated", Code("contract/ipc", "length")),
    ("trailing", Code("contract/ipc", "marker")),
    ("schema_again", Code("contract/ipc", "in front")),
    ("two_batches", Code("contract/ipc", "in front")),
    ("compressed", Code("contract/ipc", "compressed")),
    ("tensor", Code("contract/ipc", "")),
    ("old_version", Code("contract/ipc", "version")),
    ("negative_length", Code("contract/ipc", "-1")),
    ("huge_length", Code("contract/ipc", "cannot have")),
    ("negative_offset", Code("contract/ipc", "outside")),
    ("offset_outside", Code("contract/ipc", "outside")),
    ("misaligned", Code("contract/ipc", "outside")),
    ("overlong_buffer", Code("contract/ipc", "outside")),
    ("many_rows", Code("limit/batch-output", "rows")),
    ("null_count_lie", Code("contract/schema", "without nulls")),
    ("null_in_required", Code("contract/schema", "without nulls")),
    ("fewer_nodes", Code("contract/ipc", "node")),
    ("fewer_buffers", Code("contract/ipc", "values")),
    ("more_buffers", Code("contract/ipc", "more")),
    ("bad_utf8", Code("contract/ipc", "utf-8")),
    ("decreasing_offsets", Code("contract/ipc", "")),
    ("offsets_outside", Code("contract/ipc", "")),
    ("huge_metadata", Code("contract/ipc", "2147483647")),
    ("body_lie", Code("contract/ipc", "body")),
    ("unknown_dictionary", Code("contract/ipc", "no column")),
    // Talk.
    ("leak_log", Answer),
    ("leak_summary", Answer),
    ("leak_schema", Code("contract/ipc", "")),
];

/// Components that are refused, or stopped, while they are loaded.
const LOADED: &[(&str, Spoilt, Expect)] = &[
    ("manifest.nested", Spoilt::Manifest(b'm'), BAD_MANIFEST),
    ("manifest.torn", Spoilt::Manifest(b'j'), BAD_MANIFEST),
    (
        "manifest.big",
        Spoilt::Manifest(b'b'),
        Code("limit/plan-size", "manifest"),
    ),
    ("manifest.name", Spoilt::Manifest(b'o'), BAD_MANIFEST),
    ("manifest.twins", Spoilt::Manifest(b't'), BAD_MANIFEST),
    ("static.memory", Spoilt::MemoryMin(16_384), MEMORY),
    ("static.memories", Spoilt::Memories(1_000), REFUSED),
    (
        "static.table",
        Spoilt::TableMin(200_000),
        Code("limit/guest-memory", "table"),
    ),
    (
        "import.files",
        Spoilt::Files,
        Code("plugin/denied-import", "wasi:filesystem/"),
    ),
    (
        "import.network",
        Spoilt::Network,
        Code("plugin/denied-import", "wasi:sockets/"),
    ),
];
const BAD_MANIFEST: Expect = Code("plugin/bad-manifest", "manifest");
const REFUSED: Expect = Code("plugin/compile-failed", "memor");

/// Every case, in a fixed order. `known` are the attacks that the component has, in its order.
pub(crate) fn all(known: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &(attack, open, walled) in ATTACKS {
        let places = OPEN_PLACES.iter().map(|place| (*place, open));
        for (place, expect) in places.chain(WALLED_PLACES.iter().map(|place| (*place, walled))) {
            cases.push(attacked(attack, place, None, expect));
        }
        let number = known.iter().position(|name| name == attack);
        let code = u8::try_from(number.unwrap_or(0)).unwrap() + b'A';
        for (place, switch, expect) in [
            ("load.start", b's', open),
            ("load.describe", b'd', open),
            ("load.describe.post", b'p', walled),
        ] {
            cases.push(Case {
                name: format!("{attack}@{place}"),
                route: Route::Load(Spoilt::Attack(switch, code)),
                expect,
            });
        }
    }
    let lies = LIES.iter();
    cases.extend(lies.map(|&(lie, place, expect)| attacked(lie, place, None, expect)));
    for &(attack, place, before) in CANCELLED {
        let cancelled = Code("run/cancelled", "interrupted");
        cases.push(attacked(attack, place, Some(before), cancelled));
    }
    for &(operation, expect) in OPERATIONS {
        cases.push(Case {
            name: operation.to_owned(),
            route: Route::Session {
                operation: operation.to_owned(),
                params: String::new(),
                cancel_before: None,
            },
            expect,
        });
    }
    for &(name, spoilt, expect) in LOADED {
        cases.push(Case {
            name: name.to_owned(),
            route: Route::Load(spoilt),
            expect,
        });
    }
    cases
}

fn attacked(
    attack: &str,
    place: &str,
    cancel_before: Option<&'static str>,
    expect: Expect,
) -> Case {
    let cancelled = cancel_before.map_or("", |_| ".cancelled");
    Case {
        name: format!("{attack}@{place}{cancelled}"),
        route: Route::Session {
            operation: "attack".to_owned(),
            params: format!("{attack}@{place}"),
            cancel_before,
        },
        expect,
    }
}

/// Attacks of the component that no case has.
pub(crate) fn forgotten(known: &[String]) -> Vec<&str> {
    let listed = |name: &str| {
        ATTACKS.iter().any(|(attack, _, _)| *attack == name)
            || LIES.iter().any(|(lie, _, _)| *lie == name)
    };
    known
        .iter()
        .map(String::as_str)
        .filter(|name| !listed(name))
        .collect()
}
