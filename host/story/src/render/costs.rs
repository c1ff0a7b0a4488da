//! What a step cost, in words: memory, time, the border of the sandbox.

use super::{plain, words};
use crate::event::{ComponentOrigin, Ledger, OperationFact};

/// `41 MiB of 256`
pub(super) fn memory(ledger: &Ledger) -> String {
    match ledger.memory_bytes_max {
        0 => words::bytes(ledger.memory_bytes_peak),
        max => words::bytes_of(ledger.memory_bytes_peak, max),
    }
}

/// `compiled in 1.24 s`
pub(super) fn origin(origin: ComponentOrigin) -> String {
    match origin {
        ComponentOrigin::Compiled { compile_ms } => {
            format!("compiled in {}", words::duration(compile_ms))
        }
        ComponentOrigin::Stored => "from the store".to_owned(),
        ComponentOrigin::Loaded => "in memory".to_owned(),
    }
}

/// What a plugin was granted, and what that means for its results.
pub(super) fn granted(fact: &OperationFact) -> Option<String> {
    let grants = plain(&fact.grants.join(", "));
    (!grants.is_empty()).then(|| format!("granted {grants}, so its result may differ each time"))
}

/// How the host laid the rows out, and what that took beyond memory: `divided over 16 partitions, 1.2 GiB spilled`.
pub(super) fn layout(fact: &OperationFact) -> Option<String> {
    let divided = match fact.partitions {
        0 => None,
        partitions => Some(format!(
            "divided over {}",
            words::count(partitions, "partition")
        )),
    };
    let spilled = match fact.bytes_spilled {
        0 => None,
        bytes => Some(format!("{} spilled", words::bytes(bytes))),
    };
    let told: Vec<String> = divided.into_iter().chain(spilled).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// Where the costs of a step stand that ran together with others.
pub(super) fn chained(first: usize) -> String {
    format!("in one pass with step {}", first + 1)
}

/// The costs of a step as lines: what it took, and what crossed the border. What did not happen is not told.
pub(super) fn lines(fact: &OperationFact) -> Vec<String> {
    if let Some(first) = fact.chained_to {
        return vec![chained(first)];
    }
    let ledger = &fact.ledger;
    let mut took = vec![
        format!("peak {}", memory(ledger)),
        format!("guest {}", words::duration_ns(ledger.guest_cpu_ns)),
        format!("encode {}", words::duration_ns(ledger.encode_cpu_ns)),
        format!("decode {}", words::duration_ns(ledger.decode_cpu_ns)),
        words::count(u64::from(ledger.instances), "instance"),
    ];
    took.extend(
        fact.component
            .map(|component| format!("component {}", origin(component))),
    );
    took.extend(
        ledger
            .work
            .map(|work| format!("work {}", words::thousands(work))),
    );
    let mut crossed = vec![
        format!(
            "in {}, {}, {}",
            words::count(ledger.rows_in, "row"),
            words::bytes(ledger.bytes_in),
            // The plural of `batch` takes more than an `s`.
            match ledger.batches_in {
                1 => "1 batch".to_owned(),
                batches => format!("{} batches", words::thousands(batches)),
            },
        ),
        format!(
            "out {}, {}, {}",
            words::count(ledger.rows_out, "row"),
            words::bytes(ledger.bytes_out),
            words::count(ledger.emits, "emit"),
        ),
    ];
    if ledger.growths_refused > 0 {
        crossed.push(format!(
            "{} refused",
            words::count(ledger.growths_refused, "growth")
        ));
    }
    if ledger.log_lines_dropped > 0 {
        crossed.push(format!(
            "{} dropped",
            words::count(ledger.log_lines_dropped, "log line")
        ));
    }
    let mut lines = vec![took.join(", "), crossed.join("; ")];
    lines.extend(layout(fact));
    lines.extend(granted(fact));
    lines
}
