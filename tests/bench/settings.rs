//! Settings of the engine that could be otherwise: how often the epoch moves on, and whether the first content of a memory
//! is copied on write. Each against the settings of odibi, on the same batches.
//!
//! `cargo bench -p odibi-tests --bench settings`; `-- --rows 200000 --rounds 3` makes it short, `-- --only derive` picks a
//! kernel. Time is CPU time of the thread that does the work; the sandboxes take turns, a ratio belongs to one round, and
//! the median is printed with the smallest and the largest.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]

mod cpu;
mod measure;
mod noise;
mod shared;

use std::time::Duration;

use arrow_array::RecordBatch;
use odibi_run::port::Session;
use odibi_sandbox::{Sandbox, Tuning};

use cpu::cpu_nanos;
use measure::Spread;
use shared::{Arguments, Kernel, batches, bytes, component, name, open, options, per};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: usize = 65_536;
/// Instances opened in each round.
const OPENS: usize = 50;

/// The first is what odibi has.
const SETTINGS: [(&str, Tuning); 4] = [
    ("10 ms, copy on write", tuning(10, true)),
    ("10 ms, copied when opened", tuning(10, false)),
    ("5 ms, copy on write", tuning(5, true)),
    ("20 ms, copy on write", tuning(20, true)),
];

const fn tuning(tick_millis: u64, copy_on_write: bool) -> Tuning {
    Tuning {
        tick: Duration::from_millis(tick_millis),
        copy_on_write,
    }
}

fn main() {
    let Some(Arguments {
        rows,
        rounds,
        kernels,
    }) = Arguments::read()
    else {
        println!("settings: nothing is measured without `cargo bench`");
        return;
    };
    let tuned = |at: usize| Sandbox::tuned(SETTINGS[at].1, options(component())).unwrap();
    let sandboxes = [shared::sandbox(), tuned(1), tuned(2), tuned(3)];
    let batches = batches(rows, BATCH_ROWS);
    let total: usize = batches.iter().map(bytes).sum();
    println!(
        "{rows} rows of {:.1} bytes, {rounds} rounds, CPU time of one thread, median (min-max)",
        per(total, rows)
    );
    println!(
        "{:<10}  {:<26}  {:>22}  {:>20}  {:>24}  {:>20}",
        "kernel", "settings", "ns/row", "ratio", "open, microseconds", "ratio"
    );
    for kernel in kernels {
        compare(kernel, &sandboxes, &batches, rounds, rows);
    }
}

/// Rows of the table, and what they cost as things are.
fn compare(
    kernel: Kernel,
    sandboxes: &[Sandbox; 4],
    batches: &[RecordBatch],
    rounds: usize,
    rows: usize,
) {
    let mut sessions = sandboxes.each_ref().map(|sandbox| open(sandbox, kernel));
    for session in &mut sessions {
        pass(session.as_mut(), batches);
    }
    let mut costs = Vec::new();
    for round in 0..rounds {
        let mut cost = [(0.0, 0.0); SETTINGS.len()];
        // Whoever comes first in a round comes last in another.
        for at in (0..SETTINGS.len()).map(|at| (at + round) % SETTINGS.len()) {
            let work = pass(sessions[at].as_mut(), batches) / rows as f64;
            let opening = cpu_nanos(|| (0..OPENS).for_each(|_| drop(open(&sandboxes[at], kernel))));
            cost[at] = (work, opening / 1e3 / OPENS as f64);
        }
        costs.push(cost);
    }
    for (at, (shown, _)) in SETTINGS.iter().enumerate() {
        let of = |value: fn(&(f64, f64)) -> f64| {
            let all = costs.iter().map(move |c| value(&c[at]));
            let ratios = costs.iter().map(move |c| value(&c[at]) / value(&c[0]));
            (Spread::of(all), Spread::of(ratios))
        };
        let (work, work_ratio) = of(|c| c.0);
        let (opening, opening_ratio) = of(|c| c.1);
        println!(
            "{:<10}  {shown:<26}  {:>22}  {:>20}  {:>24}  {:>20}",
            name(kernel),
            work.show(1),
            work_ratio.show(2),
            opening.show(0),
            opening_ratio.show(2),
        );
    }
}

/// CPU nanoseconds until every batch went through the session.
fn pass(session: &mut dyn Session, batches: &[RecordBatch]) -> f64 {
    cpu_nanos(|| {
        let mut out = Vec::new();
        for batch in batches {
            session.process(0, batch, &mut out).unwrap();
            out.clear();
        }
    })
}
