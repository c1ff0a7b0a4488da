//! What crossing the sandbox costs: five kernels, natively and in the sandbox, on the same batches.
//!
//! `cargo bench -p odibi-tests --bench boundary`; `-- --rows 200000 --rounds 3` makes it short. Time is CPU time of the
//! one thread that does the work. Native and sandboxed passes over the table take turns; a ratio belongs to one round,
//! and the median of the rounds is printed with the smallest and the largest. Instances are open before the first
//! round, as those of a long run are. The sandboxed side is all that the host does for a batch: projection, encoding, the
//! call, the gate, and bringing back the columns that passed by. Natively the same columns are put together.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::builder::{StringBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use odibi_bench_kernels::{self as kernels, Groups};
use odibi_plan::plan::OperationRef;
use odibi_run::port::{Cancel, Session, SessionContext, Transforms};
use odibi_sandbox::{ComponentSource, Limits, Options, Sandbox};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 2_000_000;
const ROUNDS: usize = 9;
const BATCH_ROWS: [usize; 2] = [8_192, 65_536];
/// The targets are for this size.
const TARGET_BATCH_ROWS: usize = 65_536;
const CATEGORIES: u64 = 40;
const CUSTOMERS: u64 = 1_000;
const SEED: u64 = 42;

/// Kernel and what it may cost.
const KERNELS: [(Kernel, Target); 5] = [
    (Kernel::Identity, Target::NanosPerRow(12.0)),
    (Kernel::Filter, Target::Ratio(1.3)),
    (Kernel::Derive, Target::Ratio(2.1)),
    (Kernel::Parse, Target::Ratio(2.3)),
    (Kernel::Aggregate, Target::Ratio(3.2)),
];

#[derive(Debug, Clone, Copy)]
enum Kernel {
    Identity,
    Filter,
    Derive,
    Parse,
    Aggregate,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    NanosPerRow(f64),
    Ratio(f64),
}

fn main() {
    let Some((rows, rounds)) = arguments() else {
        println!("boundary: nothing is measured without `cargo bench`");
        return;
    };
    let sandbox = Sandbox::new(Options {
        store_dir: None,
        project_dir: PathBuf::from("."),
        first_party: vec![component()],
        plugins: std::collections::BTreeMap::default(),
        limits: Limits::default(),
        on_compile: None,
        capture: None,
    });
    let sandbox = sandbox.unwrap();
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
        let mut contests = KERNELS.map(|(kernel, _)| Contest::open(&sandbox, kernel, &batches));
        for round in 0..rounds {
            for contest in &mut contests {
                contest.round(&batches, round, rows);
            }
        }
        for (mut contest, (kernel, target)) in contests.into_iter().zip(KERNELS) {
            contest.close();
            let target = (batch_rows == TARGET_BATCH_ROWS).then_some(target);
            contest.print(kernel, batch_rows, target);
        }
    }
}

/// Rows and rounds; nothing when `cargo test` runs every target.
fn arguments() -> Option<(usize, usize)> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        Some(arguments.get(at + 1)?.parse::<usize>().unwrap().max(1))
    };
    let (rows, rounds) = (value("--rows"), value("--rounds"));
    let asked = rows.is_some() || rounds.is_some() || arguments.iter().any(|a| a == "--bench");
    asked.then(|| (rows.unwrap_or(ROWS), rounds.unwrap_or(ROUNDS)))
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
            for (got, expect) in out.iter().zip(&expect) {
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

fn name(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Identity => "identity",
        Kernel::Filter => "filter",
        Kernel::Derive => "derive",
        Kernel::Parse => "parse",
        Kernel::Aggregate => "aggregate",
    }
}

fn open(sandbox: &Sandbox, kernel: Kernel) -> Box<dyn Session> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let reference = OperationRef {
        plugin: None,
        name: name(kernel).to_owned(),
    };
    let operation = runtime.block_on(sandbox.resolve(&reference)).unwrap();
    let plan = operation
        .plan(&serde_json::json!({}), &[kernels::table()])
        .unwrap();
    let context = SessionContext {
        run_id: "00000000-0000-7000-8000-000000000000".to_owned(),
        pipeline: "bench".to_owned(),
        node: name(kernel).to_owned(),
        step: 0,
        searching: false,
        partition: 0,
        partitions: 1,
        attempt: 1,
        logical_time: jiff::Timestamp::UNIX_EPOCH,
        cancel: Cancel::default(),
    };
    operation.open(&Arc::new(plan), &context).unwrap()
}

/// Builds the kernels as odibi's own plugins are built.
fn component() -> ComponentSource {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("components");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args([
        "build",
        "--profile",
        "component",
        "--target",
        "wasm32-wasip2",
    ]);
    cargo
        .args(["--lib", "-p", "odibi-bench-kernels", "--target-dir"])
        .arg(&target_dir);
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(variable);
    }
    let status = cargo
        .env("RUSTFLAGS", "-C target-feature=+simd128")
        .status()
        .unwrap();
    assert!(
        status.success(),
        "the kernels do not build; the error stands above"
    );
    let wasm = target_dir.join("wasm32-wasip2/component/odibi_bench_kernels.wasm");
    ComponentSource {
        name: "kernels".to_owned(),
        bytes: std::fs::read(wasm).unwrap().into(),
        digest: None,
        manifest: None,
    }
}

/// The table, the same for any size of batch.
fn batches(rows: usize, batch_rows: usize) -> Vec<RecordBatch> {
    let mut noise = Noise(SEED);
    let starts = (0..rows).step_by(batch_rows);
    starts
        .map(|start| batch(start, batch_rows.min(rows - start), &mut noise))
        .collect()
}

fn batch(start: usize, rows: usize, noise: &mut Noise) -> RecordBatch {
    let first = i64::try_from(start).unwrap();
    let mut customer = Vec::with_capacity(rows);
    let mut at = Vec::with_capacity(rows);
    let mut price = Vec::with_capacity(rows);
    let mut quantity = Vec::with_capacity(rows);
    let mut category = StringDictionaryBuilder::<Int32Type>::new();
    // All words in a fixed order: the dictionary is the same in every batch.
    for word in 0..CATEGORIES {
        category.append_value(format!("category {word}"));
    }
    let words = category.finish().values().clone();
    let mut keys = Vec::with_capacity(rows);
    let mut name = StringBuilder::new();
    let mut amount = StringBuilder::new();
    for row in 0..rows {
        customer.push(i32::try_from(noise.below(CUSTOMERS)).unwrap());
        at.push(1_700_000_000_000_000 + i64::try_from(noise.below(86_400_000_000_000)).unwrap());
        price.push(noise.below(10_000) as f64 / 100.0);
        quantity.push(1 + i32::try_from(noise.below(10)).unwrap());
        keys.push(i32::try_from(noise.below(CATEGORIES)).unwrap());
        name.append_value(format!("article-{:07}", start + row));
        let cents = noise.below(1_000_000);
        match noise.below(33) {
            0 => amount.append_null(),
            _ => amount.append_value(format!("{}.{:02}", cents / 100, cents % 100)),
        }
    }
    let category = arrow_array::DictionaryArray::<Int32Type>::try_new(keys.into(), words).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new((first..).take(rows).collect::<Int64Array>()),
        Arc::new(Int32Array::from(customer)),
        Arc::new(TimestampMicrosecondArray::from(at)),
        Arc::new(Float64Array::from(price)),
        Arc::new(Int32Array::from(quantity)),
        Arc::new(category),
        Arc::new(name.finish()),
        Arc::new(amount.finish()),
    ];
    RecordBatch::try_new(kernels::table(), columns).unwrap()
}

/// `SplitMix64`.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self {
            min: values[0],
            median,
            max: values[values.len() - 1],
        }
    }

    fn show(&self, digits: usize) -> String {
        let Self { min, median, max } = self;
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}

fn bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap())
        .sum()
}

fn per(total: usize, rows: usize) -> f64 {
    total as f64 / rows as f64
}

fn cpu_nanos(work: impl FnOnce()) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
    };
    let start = now();
    work();
    now() - start
}
