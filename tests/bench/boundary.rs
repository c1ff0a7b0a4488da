//! What crossing the sandbox costs: five kernels, natively and in the sandbox, on the same batches.
//!
//! `cargo bench -p odibi-tests --bench boundary`; `-- --rows 200000 --rounds 3` makes it short, `-- --only derive` picks a
//! kernel. Time is CPU time of the one thread that does the work. Native and sandboxed passes over the table take turns; a ratio belongs to one round,
//! and the median of the rounds is printed with the smallest and the largest. Instances are open before the first
//! round, as those of a long run are. The sandboxed side is all that the host does for a batch: projection, encoding, the
//! call, the gate, and bringing back the columns that passed by. Natively the same columns are put together.
//!
//! `two copies` is what the memory of this machine takes for what no boundary can do without: every buffer of a batch is
//! copied in, and from there out again. Nothing is checked.

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

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use odibi_bench_kernels::{self as kernels, Groups};
use odibi_run::port::Session;
use odibi_sandbox::Sandbox;

use cpu::cpu_nanos;
use measure::Spread;
use shared::{Arguments, Kernel, batches, bytes, name, open, per};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH_ROWS: [usize; 2] = [8_192, 65_536];
/// The targets are for this size.
const TARGET_BATCH_ROWS: usize = 65_536;

#[derive(Debug, Clone, Copy)]
enum Target {
    NanosPerRow(f64),
    Ratio(f64),
}

/// What a kernel may cost.
fn target(kernel: Kernel) -> Target {
    match kernel {
        Kernel::Identity => Target::NanosPerRow(11.0),
        Kernel::Filter => Target::Ratio(1.2),
        Kernel::Derive => Target::Ratio(1.9),
        Kernel::Parse => Target::Ratio(2.1),
        Kernel::Aggregate => Target::Ratio(3.0),
    }
}

fn main() {
    let Some(Arguments {
        rows,
        rounds,
        kernels,
    }) = Arguments::read()
    else {
        println!("boundary: nothing is measured without `cargo bench`");
        return;
    };
    let sandbox = shared::sandbox();
    println!("{rows} rows, {rounds} rounds, CPU time of one thread, median (min-max)");
    println!(
        "{:<10} {:>9}  {:>22}  {:>22}  {:>20}  target",
        "kernel", "batch", "native ns/row", "sandboxed ns/row", "ratio"
    );
    for batch_rows in BATCH_ROWS {
        let batches = batches(rows, batch_rows);
        if batch_rows == BATCH_ROWS[0] {
            let bytes: usize = batches.iter().map(bytes).sum();
            println!("{:.1} bytes a row", per(bytes, rows));
        }
        let open = |kernel: &Kernel| Contest::open(&sandbox, *kernel, &batches);
        let mut contests: Vec<Contest> = kernels.iter().map(open).collect();
        for round in 0..rounds {
            for contest in &mut contests {
                contest.round(&batches, round, rows);
            }
        }
        let copies = (0..rounds).map(|_| two_copies(&batches) / rows as f64);
        println!(
            "{:<10} {batch_rows:>9}  {:>22}",
            "two copies",
            Spread::of(copies).show(1)
        );
        for (mut contest, kernel) in contests.into_iter().zip(&kernels) {
            contest.close();
            let target = (batch_rows == TARGET_BATCH_ROWS).then(|| target(*kernel));
            contest.print(*kernel, batch_rows, target);
        }
    }
}

/// Nanoseconds.
fn two_copies(batches: &[RecordBatch]) -> f64 {
    let largest = batches.iter().map(bytes).max().unwrap_or(0);
    let (mut inside, mut outside) = (Vec::with_capacity(largest), Vec::with_capacity(largest));
    cpu_nanos(|| {
        for batch in batches {
            inside.clear();
            for column in batch.columns() {
                let data = column.to_data();
                let buffers = data.buffers().iter();
                buffers.for_each(|buffer| inside.extend_from_slice(buffer));
            }
            outside.clear();
            outside.extend_from_slice(std::hint::black_box(&inside));
            std::hint::black_box(&outside);
        }
    })
}

/// Native and sandboxed, side by side.
struct Contest {
    native: Native,
    session: Box<dyn Session>,
    /// Native and sandboxed, ns a row, one pair for each round.
    costs: Vec<(f64, f64)>,
}

impl Contest {
    /// Both sides take a first pass, must agree on it, and are then warm.
    fn open(sandbox: &Sandbox, kernel: Kernel, batches: &[RecordBatch]) -> Self {
        let mut contest = Self {
            native: Native::new(kernel),
            session: open(sandbox, kernel),
            costs: Vec::new(),
        };
        for batch in batches {
            let expect = contest.native.process(batch);
            let mut out = Vec::new();
            contest.session.process(0, batch, &mut out).unwrap();
            assert_eq!(out.is_empty(), expect.is_none(), "{kernel:?}");
            if let Some(expect) = expect {
                // A wide batch crosses in several parts.
                let got = concat_batches(&expect.schema(), &out).unwrap();
                assert_eq!(got.columns(), expect.columns(), "{kernel:?}");
            }
        }
        contest
    }

    fn round(&mut self, batches: &[RecordBatch], round: usize, rows: usize) {
        let Self {
            native,
            session,
            costs,
        } = self;
        let mut natively = || cpu_nanos(|| batches.iter().for_each(|b| drop(native.process(b))));
        let mut sandboxed = || {
            cpu_nanos(|| {
                let mut out = Vec::new();
                for batch in batches {
                    session.process(0, batch, &mut out).unwrap();
                    out.clear();
                }
            })
        };
        let (native, sandboxed) = if round.is_multiple_of(2) {
            let native = natively();
            (native, sandboxed())
        } else {
            let sandboxed = sandboxed();
            (natively(), sandboxed)
        };
        costs.push((native / rows as f64, sandboxed / rows as f64));
    }

    /// What is left at the end must agree as well.
    fn close(&mut self) {
        let mut out = Vec::new();
        self.session.drain(0, &mut out).unwrap();
        self.session.finish(&mut out).unwrap();
        let expect = self.native.finish();
        assert_eq!(out.is_empty(), expect.is_none());
        for (got, expect) in out.iter().zip(&expect) {
            assert_eq!(got.columns(), expect.columns());
        }
    }

    fn print(&self, kernel: Kernel, batch_rows: usize, target: Option<Target>) {
        let native = Spread::of(self.costs.iter().map(|c| c.0));
        let sandboxed = Spread::of(self.costs.iter().map(|c| c.1));
        let ratio = Spread::of(self.costs.iter().map(|c| c.1 / c.0));
        let verdict = |limit: f64, got: f64| if got <= limit { "met" } else { "missed" };
        let target = match target {
            None => String::new(),
            Some(Target::NanosPerRow(limit)) => {
                format!("<= {limit} ns/row: {}", verdict(limit, sandboxed.median))
            }
            Some(Target::Ratio(limit)) => format!("<= {limit}: {}", verdict(limit, ratio.median)),
        };
        // Natively an identity is a reference count: no ratio to speak of.
        let ratio = match kernel {
            Kernel::Identity => "-".to_owned(),
            Kernel::Filter | Kernel::Derive | Kernel::Parse | Kernel::Aggregate => ratio.show(2),
        };
        println!(
            "{:<10} {batch_rows:>9}  {:>22}  {:>22}  {ratio:>20}  {target}",
            name(kernel),
            native.show(1),
            sandboxed.show(1),
        );
    }
}

/// The kernel as the host would do it without a sandbox.
struct Native {
    kernel: Kernel,
    reads: Vec<usize>,
    output: SchemaRef,
    groups: Groups,
}

impl Native {
    fn new(kernel: Kernel) -> Self {
        let table = kernels::table();
        let (reads, adds): (&[&str], Vec<_>) = match kernel {
            Kernel::Identity => (&[], Vec::new()),
            Kernel::Filter => (&kernels::FILTER, Vec::new()),
            Kernel::Derive => (&kernels::DERIVE, kernels::derived().into()),
            Kernel::Parse => (&kernels::PARSE, kernels::parsed().into()),
            Kernel::Aggregate => (&kernels::AGGREGATE, Vec::new()),
        };
        let fields = table
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .chain(adds);
        let output = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let reads = reads
            .iter()
            .map(|name| table.index_of(name).unwrap())
            .collect();
        Self {
            kernel,
            reads,
            output,
            groups: Groups::default(),
        }
    }

    fn process(&mut self, batch: &RecordBatch) -> Option<RecordBatch> {
        let read = batch.project(&self.reads).unwrap();
        match self.kernel {
            Kernel::Identity => Some(batch.clone()),
            Kernel::Filter => Some(filter_record_batch(batch, &kernels::filter(&read)).unwrap()),
            Kernel::Derive => Some(self.with(batch, kernels::derive(&read))),
            Kernel::Parse => Some(self.with(batch, kernels::parse(&read))),
            Kernel::Aggregate => {
                self.groups.add(&read);
                None
            }
        }
    }

    fn with(&self, batch: &RecordBatch, made: Vec<ArrayRef>) -> RecordBatch {
        let columns = batch.columns().iter().cloned().chain(made).collect();
        RecordBatch::try_new(Arc::clone(&self.output), columns).unwrap()
    }

    fn finish(&mut self) -> Option<RecordBatch> {
        matches!(self.kernel, Kernel::Aggregate).then(|| self.groups.finish().unwrap())
    }
}
