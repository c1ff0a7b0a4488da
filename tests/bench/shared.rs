//! What the benchmarks share: the table, the kernels natively and as a component, and the arguments.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::builder::{StringBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use odibi_bench_kernels as kernels;
use odibi_plan::plan::OperationRef;
use odibi_run::port::{Cancel, Session, SessionContext, Transforms};
use odibi_sandbox::{Compiler, ComponentSource, Limits, Options, Sandbox};

use crate::noise::{Noise, SEED};

const ROWS: usize = 2_000_000;
const ROUNDS: usize = 9;
const CATEGORIES: u64 = 40;
const CUSTOMERS: u64 = 1_000;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kernel {
    Identity,
    Filter,
    Derive,
    Parse,
    Aggregate,
}

pub(crate) const KERNELS: [Kernel; 5] = [
    Kernel::Identity,
    Kernel::Filter,
    Kernel::Derive,
    Kernel::Parse,
    Kernel::Aggregate,
];

/// What the command line asks for.
pub(crate) struct Arguments {
    pub(crate) rows: usize,
    pub(crate) rounds: usize,
    pub(crate) kernels: Vec<Kernel>,
}

impl Arguments {
    /// Nothing when `cargo test` runs every target.
    pub(crate) fn read() -> Option<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str| {
            let at = arguments.iter().position(|a| a == name)?;
            arguments.get(at + 1)
        };
        let number = |name: &str| Some(value(name)?.parse::<usize>().unwrap().max(1));
        let (rows, rounds, only) = (number("--rows"), number("--rounds"), value("--only"));
        let picked = |kernel: &Kernel| only.is_none_or(|only| name(*kernel) == only);
        let kernels: Vec<_> = KERNELS.into_iter().filter(picked).collect();
        assert!(!kernels.is_empty(), "there is no such kernel");
        let asked = rows.is_some()
            || rounds.is_some()
            || only.is_some()
            || arguments.iter().any(|a| a == "--bench");
        asked.then(|| Self {
            rows: rows.unwrap_or(ROWS),
            rounds: rounds.unwrap_or(ROUNDS),
            kernels,
        })
    }
}

/// A sandbox that knows the kernels.
pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(options(component())).unwrap()
}

/// What a sandbox is made of that knows one component.
pub(crate) fn options(component: ComponentSource) -> Options {
    Options {
        store_dir: None,
        project_dir: PathBuf::from("."),
        first_party: vec![component],
        plugins: std::collections::BTreeMap::default(),
        grants: std::collections::BTreeMap::default(),
        limits: Limits::default(),
        plugin_limits: std::collections::BTreeMap::new(),
        on_compile: None,
        capture: None,
        compiler: Compiler::InProcess,
    }
}

pub(crate) fn name(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Identity => "identity",
        Kernel::Filter => "filter",
        Kernel::Derive => "derive",
        Kernel::Parse => "parse",
        Kernel::Aggregate => "aggregate",
    }
}

pub(crate) fn open(sandbox: &Sandbox, kernel: Kernel) -> Box<dyn Session> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let reference = OperationRef {
        plugin: None,
        name: name(kernel).to_owned(),
    };
    let operation = runtime
        .block_on(sandbox.resolve(&reference, &odibi_plan::GuestLimits::default()))
        .unwrap();
    let plan = operation
        .plan(&serde_json::json!({}), &[kernels::table()])
        .unwrap();
    let context = SessionContext {
        sensitive: std::sync::Arc::default(),
        run_id: "00000000-0000-7000-8000-000000000000".to_owned(),
        pipeline: "bench".to_owned(),
        node: name(kernel).to_owned(),
        step: 0,
        searching: false,
        memory: odibi_run::MemoryBudget::default(),
        partition: 0,
        partitions: 1,
        attempt: 1,
        logical_time: jiff::Timestamp::UNIX_EPOCH,
        cancel: Cancel::default(),
    };
    operation.open(&Arc::new(plan), &context).unwrap()
}

/// What the SDK's documentation recommends for hot loops, in the step that optimises a component as a whole: a guest looks
/// at the epoch in every turn of every loop, and keeps fewer values in registers for it. Unrolled loops do so less often.
const LAST_RUSTFLAGS: &str = "-C llvm-args=-unroll-count=8 -C llvm-args=-unroll-runtime=false";

/// Builds the kernels as a plugin with hot loops is built; `GUEST_RUSTFLAGS` and `GUEST_LAST_RUSTFLAGS` try other flags.
pub(crate) fn component() -> ComponentSource {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("components");
    let flags = |name: &str, ours: &str| std::env::var(name).unwrap_or_else(|_| ours.to_owned());
    let last = flags("GUEST_LAST_RUSTFLAGS", LAST_RUSTFLAGS);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root);
    cargo.args(["rustc", "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--package", "odibi-bench-kernels"]);
    cargo.args(["--profile", "component", "--target", "wasm32-wasip2"]);
    cargo.arg("--target-dir").arg(&target_dir);
    cargo.arg("--").args(last.split_whitespace());
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(variable);
    }
    let flags = flags("GUEST_RUSTFLAGS", odibi_bundle::GUEST_RUSTFLAGS);
    let status = cargo.env("RUSTFLAGS", flags).status().unwrap();
    assert!(
        status.success(),
        "the kernels do not build; the error stands above"
    );
    let wasm = target_dir.join("wasm32-wasip2/component/odibi_bench_kernels.wasm");
    ComponentSource {
        name: "kernels".to_owned(),
        bytes: std::fs::read(wasm).unwrap().into(),
        manifest: None,
    }
}

/// The table, the same for any size of batch.
pub(crate) fn batches(rows: usize, batch_rows: usize) -> Vec<RecordBatch> {
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

pub(crate) fn bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap())
        .sum()
}

pub(crate) fn per(total: usize, rows: usize) -> f64 {
    total as f64 / rows as f64
}
