//! What a second thread brings: the same batches through one instance, and through two on threads of their own.
//!
//! `cargo bench -p odibi-tests --bench threads`; `-- --rows 200000 --rounds 3` makes it short, `-- --only derive` picks a
//! kernel. Time is wall time, because that is what a second thread is for: it says something on an idle machine only.
//! One and two threads take turns; a ratio belongs to one round, and the median of the rounds is printed with the
//! smallest and the largest. The last column is what opening an instance costs.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]

mod measure;
mod noise;
mod shared;

use std::sync::Barrier;
use std::time::Instant;

use arrow_array::RecordBatch;
use odibi_run::port::Session;

use measure::Spread;
use shared::{Arguments, Kernel, batches, bytes, name, open, per};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: usize = 65_536;
const SPEED_UP_MIN: f64 = 1.7;
const OPENS: usize = 50;

fn main() {
    let Some(Arguments {
        rows,
        rounds,
        kernels,
    }) = Arguments::read()
    else {
        println!("threads: nothing is measured without `cargo bench`");
        return;
    };
    let sandbox = shared::sandbox();
    let batches = batches(rows, BATCH_ROWS);
    let total: usize = batches.iter().map(bytes).sum();
    println!(
        "{rows} rows of {:.1} bytes, {rounds} rounds, wall time, median (min-max)",
        per(total, rows)
    );
    println!(
        "{:<10}  {:>22}  {:>22}  {:>20}  {:<13}  open, microseconds",
        "kernel", "one thread ns/row", "two threads ns/row", "speed-up", "target"
    );
    for kernel in kernels {
        let mut one = [open(&sandbox, kernel)];
        let mut two = [open(&sandbox, kernel), open(&sandbox, kernel)];
        // A first pass warms the instances.
        pass(&mut one, &batches);
        pass(&mut two, &batches);
        let mut costs = Vec::new();
        for round in 0..rounds {
            let (alone, together);
            if round.is_multiple_of(2) {
                alone = pass(&mut one, &batches);
                together = pass(&mut two, &batches);
            } else {
                together = pass(&mut two, &batches);
                alone = pass(&mut one, &batches);
            }
            costs.push((alone / rows as f64, together / rows as f64));
        }
        let speed_up = Spread::of(costs.iter().map(|c| c.0 / c.1));
        let target = match kernel {
            Kernel::Derive | Kernel::Parse if speed_up.median >= SPEED_UP_MIN => ">= 1.7: met",
            Kernel::Derive | Kernel::Parse => ">= 1.7: missed",
            Kernel::Identity | Kernel::Filter | Kernel::Aggregate => "",
        };
        let opens = (0..OPENS).map(|_| {
            let start = Instant::now();
            drop(open(&sandbox, kernel));
            start.elapsed().as_secs_f64() * 1e6
        });
        println!(
            "{:<10}  {:>22}  {:>22}  {:>20}  {target:<13}  {}",
            name(kernel),
            Spread::of(costs.iter().map(|c| c.0)).show(1),
            Spread::of(costs.iter().map(|c| c.1)).show(1),
            speed_up.show(2),
            Spread::of(opens).show(0),
        );
    }
}

/// Wall nanoseconds until every batch went through one of the sessions, each on a thread of its own.
fn pass(sessions: &mut [Box<dyn Session>], batches: &[RecordBatch]) -> f64 {
    let count = sessions.len();
    let start_line = Barrier::new(count + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(at, session)| {
                let start_line = &start_line;
                scope.spawn(move || {
                    let mut out = Vec::new();
                    start_line.wait();
                    for batch in batches.iter().skip(at).step_by(count) {
                        session.process(0, batch, &mut out).unwrap();
                        out.clear();
                    }
                })
            })
            .collect();
        start_line.wait();
        let start = Instant::now();
        threads.into_iter().for_each(|t| t.join().unwrap());
        start.elapsed().as_secs_f64() * 1e9
    })
}
