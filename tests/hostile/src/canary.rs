//! Looks for values that it was not given: in all of its memory, byte by byte.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow_schema::SchemaRef;

use crate::honest::whole_plan;
use crate::{Appetite, Columns, Failure, NodePlan, Origin, State, report, send};

/// `scan` counts what it finds after each batch and at the end, `scan_picked` drops every other row, `hoard` also keeps
/// all that it is given. Params: `"COLUMN,…|NEEDLE,…"`, indices of the columns to ask for and hex of what to look for.
pub const OPERATIONS: &[&str] = &["scan", "scan_picked", "hoard"];

/// Needles come disguised, so that what is found is not the needle itself.
const DISGUISE: u8 = 0x5a;

/// How often a session was opened in this memory.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

pub fn plan(operation: &str, params: &str, inputs: &[SchemaRef]) -> Option<NodePlan> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    scan("plan", params);
    let (columns, _) = split(params);
    let need = columns.split(',').filter_map(|c| c.parse().ok()).collect();
    let passed = inputs[0].fields().len();
    Some(whole_plan(
        &inputs[0],
        &inputs[0],
        Columns::Only(need),
        passed,
    ))
}

pub fn process(
    operation: &str,
    state: &mut State,
    batch: &[u8],
) -> Option<Result<Appetite, Failure>> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    if operation == "hoard" {
        black_box(batch.to_vec().leak());
    }
    if state.batches == 1 {
        report::count("sessions", SESSIONS.fetch_add(1, Relaxed) + 1);
    }
    scan("process", &state.params);
    let rows = crate::wire::rows(batch);
    let picked: Vec<u32> = (0..rows).step_by(2).collect();
    let origin = match operation {
        "scan_picked" => Origin::Picked(&picked),
        _ => Origin::SameRows,
    };
    Some(send(&[], origin).map(|()| Appetite::More))
}

pub fn finish(state: &State) {
    if OPERATIONS.contains(&state.operation.as_str()) {
        scan("finish", &state.params);
    }
}

fn split(params: &str) -> (&str, &str) {
    params.trim_matches('"').split_once('|').unwrap_or(("", ""))
}

fn scan(place: &str, params: &str) {
    for (i, hex) in split(params).1.split(',').enumerate() {
        let disguised: Vec<u8> = (0..hex.len() / 2)
            .filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
            .collect();
        report::count(&format!("{place} {i}"), finds(&disguised));
    }
    report::count("scanned", memory().len() as u64);
}

fn memory() -> &'static [u8] {
    let end = core::arch::wasm32::memory_size::<0>() << 16;
    // From 1: a slice must not begin at address 0.
    unsafe { std::slice::from_raw_parts(black_box(1_usize) as *const u8, end - 1) }
}

fn finds(disguised: &[u8]) -> u64 {
    let Some(first) = disguised.first() else {
        return 0;
    };
    let first = first ^ DISGUISE;
    let memory = memory();
    let mut finds = 0;
    for at in 0..=memory.len() - disguised.len() {
        if memory[at] == first
            && (disguised.iter().zip(&memory[at..])).all(|(d, m)| *d == *m ^ DISGUISE)
        {
            finds += 1;
        }
    }
    finds
}
