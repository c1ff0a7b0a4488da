//! Steps in the sandbox against queries in plain DataFusion: the same work on the same tables in memory.
//!
//! Time is CPU time of one thread. The sandboxed side is all that the host does for a step: planning, a fresh instance,
//! the sort that the plan asks for, projection, encoding, the calls, the gate, and bringing back the columns that pass.
//! The native side is `plugins/sql/examples/native.rs`, built with `opt-level = 3`, a process that keeps the tables.
//! Both take turns; a ratio belongs to one round, and the median is printed with the smallest and the largest.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_ord::sort::{SortColumn, SortOptions, lexsort_to_indices};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use odibi_plan::plan::OperationRef;
use odibi_run::port::{Cancel, Operation, OperationPlan, SessionContext, Transforms as _};
use odibi_sandbox::{Compiler, ComponentBytes, ComponentSource, Limits, Options, Sandbox};
use serde_json::Value;

use crate::cpu::cpu_nanos;
use crate::measure::Spread;
use crate::noise::{Noise, SEED};

const ROWS: usize = 5_000_000;
const ROUNDS: usize = 5;
const BATCH_ROWS: usize = 65_536;
const LOW: u64 = 100;
const HIGH: u64 = 500_000;
const CUSTOMERS: u64 = 100_000;
const PAGES_MAX: u64 = 4;

/// One piece of work, both ways.
pub(crate) struct Work {
    /// As the table shows it.
    pub(crate) name: &'static str,
    /// Operation of the step.
    pub(crate) operation: &'static str,
    /// Its params.
    pub(crate) params: Value,
    /// The main input, of this name in the query.
    pub(crate) main: &'static str,
    /// Tables for the ports after the first.
    pub(crate) further: &'static [&'static str],
    /// The same as a query.
    pub(crate) sql: &'static str,
    /// What the ratio should not exceed, where that was settled.
    pub(crate) ratio_max: Option<f64>,
}

/// Measures what the command line asks for and prints the table. `--rows N`, `--rounds N`, `--only NAME` (repeatable).
pub(crate) fn compare(title: &str, works: &[Work]) {
    let mut arguments = std::env::args().skip(1);
    let (mut rows, mut rounds, mut only, mut measured) = (ROWS, ROUNDS, Vec::new(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => measured = true,
            "--rows" => rows = arguments.next().unwrap().parse().unwrap(),
            "--rounds" => rounds = arguments.next().unwrap().parse().unwrap(),
            "--only" => only.push(arguments.next().unwrap()),
            other => panic!("unknown argument `{other}`"),
        }
    }
    if !measured {
        println!("{title}: nothing is measured without `cargo bench`");
        return;
    }
    let asked = |w: &&Work| only.is_empty() || only.iter().any(|name| name == w.name);
    let works: Vec<&Work> = works.iter().filter(asked).collect();
    assert!(!works.is_empty(), "there is no such row in the table");
    let mut tables = BTreeMap::from([("df", orders(rows)), ("customers", customers())]);
    if works.iter().any(|w| w.main == "visits") {
        tables.insert("visits", visits(rows));
    }
    let mut native = Native::start(&tables);
    let steps = Steps::new();
    println!("{rows} rows, {rounds} rounds, CPU time of one thread, median (min-max)");
    println!(
        "{:<24}  {:>22}  {:>22}  {:>20}  target",
        title, "native ns/row", "sandboxed ns/row", "ratio"
    );
    for work in works {
        let operation = steps.operation(work.operation);
        // Both sides take a first pass and must give as many rows.
        let (expect, _) = native.answer(work.sql);
        let (got, _) = sandboxed(&operation, work, &tables);
        assert_eq!(got, expect, "{}", work.name);
        let mut costs = Vec::new();
        for round in 0..rounds {
            let (theirs, ours);
            if round.is_multiple_of(2) {
                theirs = native.answer(work.sql).1;
                ours = sandboxed(&operation, work, &tables).1;
            } else {
                ours = sandboxed(&operation, work, &tables).1;
                theirs = native.answer(work.sql).1;
            }
            costs.push((theirs / rows as f64, ours / rows as f64));
        }
        let ratio = Spread::of(costs.iter().map(|c| c.1 / c.0));
        let target = work.ratio_max.map_or_else(String::new, |max| {
            let met = if ratio.median <= max { "met" } else { "missed" };
            format!("<= {max}: {met}")
        });
        println!(
            "{:<24}  {:>22}  {:>22}  {:>20}  {target}",
            work.name,
            Spread::of(costs.iter().map(|c| c.0)).show(1),
            Spread::of(costs.iter().map(|c| c.1)).show(1),
            ratio.show(2),
        );
    }
}

/// Rows of the answer, and CPU nanoseconds.
fn sandboxed(
    operation: &Arc<dyn Operation>,
    work: &Work,
    tables: &BTreeMap<&str, Vec<RecordBatch>>,
) -> (usize, f64) {
    let mut rows = 0;
    let took = cpu_nanos(|| {
        let inputs: Vec<&Vec<RecordBatch>> = std::iter::once(work.main)
            .chain(work.further.iter().copied())
            .map(|name| &tables[name])
            .collect();
        let schemas: Vec<SchemaRef> = inputs.iter().map(|b| b[0].schema()).collect();
        let plan = Arc::new(operation.plan(&work.params, &schemas).unwrap());
        let mut session = operation.open(&plan, &context()).unwrap();
        let mut out = Vec::new();
        let mut ports: Vec<usize> = (0..inputs.len()).collect();
        ports.sort_by_key(|port| !plan.inputs[*port].drained_first);
        for port in ports {
            for batch in &*ordered(inputs[port], &plan, port) {
                session.process(port, batch, &mut out).unwrap();
                rows += drained(&mut out);
            }
            session.drain(port, &mut out).unwrap();
            rows += drained(&mut out);
        }
        session.finish(&mut out).unwrap();
        rows += drained(&mut out);
    });
    (rows, took)
}

fn drained(out: &mut Vec<RecordBatch>) -> usize {
    out.drain(..).map(|b| b.num_rows()).sum()
}

/// The batches in the order that the plan asks for, as the host sorts them.
fn ordered<'a>(
    batches: &'a [RecordBatch],
    plan: &OperationPlan,
    port: usize,
) -> std::borrow::Cow<'a, [RecordBatch]> {
    let input = &plan.inputs[port];
    if input.sorted_by.is_empty() {
        return batches.into();
    }
    // Partitions first, as the engine does before it sorts; here there is one.
    let whole = concat_batches(&input.offered, batches).unwrap();
    let columns: Vec<SortColumn> = input
        .sorted_by
        .iter()
        .map(|key| SortColumn {
            values: Arc::clone(whole.column(key.column)),
            options: Some(SortOptions {
                descending: key.descending,
                nulls_first: key.nulls_first,
            }),
        })
        .collect();
    let order = lexsort_to_indices(&columns, None).unwrap();
    let sorted = take_record_batch(&whole, &order).unwrap();
    let starts = (0..sorted.num_rows()).step_by(BATCH_ROWS);
    starts
        .map(|at| sorted.slice(at, BATCH_ROWS.min(sorted.num_rows() - at)))
        .collect::<Vec<_>>()
        .into()
}

fn context() -> SessionContext {
    SessionContext {
        sensitive: std::sync::Arc::default(),
        run_id: "00000000-0000-7000-8000-000000000000".to_owned(),
        pipeline: "bench".to_owned(),
        node: "sql".to_owned(),
        step: 0,
        searching: false,
        memory: odibi_run::MemoryBudget::default(),
        partition: 0,
        partitions: 1,
        attempt: 1,
        logical_time: jiff::Timestamp::UNIX_EPOCH,
        cancel: Cancel::default(),
    }
}

/// The first-party operations, with memory enough for one instance of everything.
struct Steps {
    sandbox: Sandbox,
    runtime: tokio::runtime::Runtime,
}

impl Steps {
    fn new() -> Self {
        let source = |component: &odibi_bundle::Component| ComponentSource {
            name: component.name.to_owned(),
            bytes: ComponentBytes::Zstd {
                packed: component.packed,
                sha256: component.digest,
                bytes: component.bytes,
            },
            manifest: Some(component.manifest.to_owned()),
        };
        let sandbox = Sandbox::new(Options {
            store_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("components")),
            project_dir: PathBuf::new(),
            first_party: odibi_bundle::COMPONENTS.iter().map(source).collect(),
            plugins: BTreeMap::new(),
            grants: BTreeMap::new(),
            plugin_limits: BTreeMap::new(),
            limits: Limits {
                memory_bytes_max: 4 << 30,
                ..Limits::default()
            },
            compiler: Compiler::InProcess,
            on_compile: None,
            capture: None,
        })
        .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        Self { sandbox, runtime }
    }

    fn operation(&self, name: &str) -> Arc<dyn Operation> {
        let reference = OperationRef {
            plugin: None,
            name: name.to_owned(),
        };
        let unset = odibi_plan::GuestLimits::default();
        self.runtime
            .block_on(self.sandbox.resolve(&reference, &unset))
            .unwrap()
    }
}

/// Plain DataFusion in a process of its own: its features are not those of the host's.
struct Native {
    child: Child,
    queries: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Native {
    fn start(tables: &BTreeMap<&str, Vec<RecordBatch>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(native_program());
        for (name, batches) in tables {
            let path = dir.path().join(format!("{name}.arrow"));
            let file = std::fs::File::create(&path).unwrap();
            let schema = batches[0].schema();
            let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &schema).unwrap();
            batches
                .iter()
                .for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
            command.arg(format!("{name}={}", path.display()));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut native = Self {
            queries: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        // It has read the tables when it answers.
        native.answer("SELECT 1");
        native
    }

    /// Rows of the answer, and CPU nanoseconds.
    fn answer(&mut self, sql: &str) -> (usize, f64) {
        writeln!(self.queries, "{sql}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let (rows, nanos) = line.trim().split_once(' ').unwrap();
        (rows.parse().unwrap(), nanos.parse().unwrap())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn native_program() -> PathBuf {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("native-sql");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sql");
    let mut cargo = Command::new(workspace.join("cargo"));
    cargo.arg(target_dir.with_file_name("stubs"));
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--example",
        "native",
        "--target-dir",
    ]);
    cargo.arg(&target_dir);
    // What is small in the component is fast here.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().unwrap();
    assert!(status.success(), "the native side does not build");
    target_dir.join("release/examples/native")
}

fn orders(rows: usize) -> Vec<RecordBatch> {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    let schema = Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("low", DataType::Int32),
        field("high", DataType::Int32),
        field("customer", DataType::Int32),
        field("price", DataType::Float64),
        field("quantity", DataType::Int32),
        field("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("name", DataType::Utf8),
    ]));
    let mut noise = Noise(SEED);
    let mut small = |below: u64, rows: usize| -> Int32Array {
        (0..rows)
            .map(|_| i32::try_from(noise.below(below)).unwrap())
            .collect()
    };
    (0..rows)
        .step_by(BATCH_ROWS)
        .map(|start| {
            let count = BATCH_ROWS.min(rows - start);
            let first = i64::try_from(start).unwrap();
            let cents = small(10_000, count);
            let seconds = small(86_400_000, count);
            let columns: Vec<ArrayRef> = vec![
                Arc::new((first..).take(count).collect::<Int64Array>()),
                Arc::new(small(LOW, count)),
                Arc::new(small(HIGH, count)),
                Arc::new(small(CUSTOMERS, count)),
                Arc::new(
                    cents
                        .values()
                        .iter()
                        .map(|c| f64::from(*c) / 100.0)
                        .collect::<Float64Array>(),
                ),
                Arc::new(small(10, count)),
                Arc::new(
                    seconds
                        .values()
                        .iter()
                        .map(|s| i64::from(*s) * 1_000_000)
                        .map(Some)
                        .collect::<TimestampMicrosecondArray>(),
                ),
                Arc::new(StringArray::from_iter_values(
                    (start..start + count).map(|row| format!("article-{row:07}")),
                )),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect()
}

fn customers() -> Vec<RecordBatch> {
    let count = i32::try_from(CUSTOMERS).unwrap();
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("country", DataType::Utf8, false),
    ]);
    let countries = (0..count).map(|id| format!("country-{}", id % 40));
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..count).collect::<Int32Array>()),
        Arc::new(StringArray::from_iter_values(countries)),
    ];
    vec![RecordBatch::try_new(Arc::new(schema), columns).unwrap()]
}

/// What `df` has not: a second time, and lists.
fn visits(rows: usize) -> Vec<RecordBatch> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let item = Arc::new(Field::new_list_field(DataType::Int32, false));
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("began", time.clone(), false),
        Field::new("ended", time, false),
        Field::new("pages", DataType::List(Arc::clone(&item)), false),
    ]));
    let mut noise = Noise(SEED);
    (0..rows)
        .step_by(BATCH_ROWS)
        .map(|start| {
            let count = BATCH_ROWS.min(rows - start);
            let first = i64::try_from(start).unwrap();
            let mut seconds = |below: u64| i64::try_from(noise.below(below)).unwrap() * 1_000_000;
            let began: Vec<i64> = (0..count).map(|_| seconds(86_400_000)).collect();
            let ended: Vec<i64> = began.iter().map(|b| b + seconds(86_400)).collect();
            let lengths: Vec<usize> = (0..count)
                .map(|_| 1 + usize::try_from(noise.below(PAGES_MAX)).unwrap())
                .collect();
            let all: usize = lengths.iter().sum();
            let pages: Int32Array = (0..all)
                .map(|_| i32::try_from(noise.below(LOW)).unwrap())
                .collect();
            let columns: Vec<ArrayRef> = vec![
                Arc::new((first..).take(count).collect::<Int64Array>()),
                Arc::new(TimestampMicrosecondArray::from(began)),
                Arc::new(TimestampMicrosecondArray::from(ended)),
                Arc::new(ListArray::new(
                    Arc::clone(&item),
                    OffsetBuffer::from_lengths(lengths),
                    Arc::new(pages),
                    None,
                )),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        })
        .collect()
}
