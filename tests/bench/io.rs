//! What a whole run costs: read TPC-H's `lineitem` from Parquet, filter, derive three columns, write Parquet. Ours with the
//! steps in the sandbox, against the same work in plain DataFusion, Polars and DuckDB.
//!
//! `cargo bench -p odibi-tests --bench io`; `-- --scale 0.1 --rounds 3` makes it short, `-- --memory-scale 5` adds the peak
//! of our memory at that scale beside the one at `--scale`, both under a limit of 512 MiB. Each side is a process, all
//! take turns, a ratio belongs to one round, and the median is printed with the smallest and the largest. Times are of the
//! whole process, with its start. One round before the first is not counted: it compiles components and fills the cache.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]

mod lineitem;
mod measure;
mod outside;

use std::path::{Path, PathBuf};
use std::process::Command;

use datafusion::prelude::{SessionConfig, SessionContext};
use measure::Spread;
use outside::{Cost, Outside, head, program, row};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RATIO_MAX: f64 = 1.3;
/// By how much the peak may differ between the scales.
const MEMORY_MAX: f64 = 0.15;
const MEMORY_MIB: &str = "512";

const CONDITION: &str = "l_quantity > 10 AND l_shipmode <> 'AIR'";
const DERIVED: [(&str, &str); 3] = [
    ("charge", "l_extendedprice * (1 - l_discount) * (1 + l_tax)"),
    (
        "days",
        "CAST(l_receiptdate AS INT) - CAST(l_shipdate AS INT)",
    ),
    ("loud", "upper(l_comment)"),
];

struct Asked {
    scale: f64,
    memory_scale: Option<f64>,
    rounds: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [side, source, target] = &arguments[..]
        && side == "--datafusion"
    {
        return datafusion(source, target);
    }
    let Some(asked) = asked(&arguments) else {
        println!("io: nothing is measured without `cargo bench`");
        return;
    };
    let (outside, program, dir) = (Outside::new(), program(), tempfile::tempdir().unwrap());
    let source = dir.path().join("in/lineitem.parquet");
    let rows = lineitem::write(&source, asked.scale);
    println!(
        "{rows} rows of lineitem, scale {}, {} rounds, median (min-max)",
        asked.scale, asked.rounds
    );
    let out = dir.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    let sides: [(&str, Command); 4] = [
        ("odibi", odibi(&program, dir.path(), &[])),
        ("datafusion", {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg("--datafusion").arg(&source);
            command.arg(out.join("datafusion.parquet"));
            command
        }),
        ("polars", {
            let target = out.join("polars.parquet");
            outside.command(&[Path::new("polars"), &source, &target])
        }),
        ("duckdb", {
            let target = out.join("duckdb.parquet");
            outside.command(&[Path::new("duckdb"), &source, &target])
        }),
    ];
    let costs = measured(&outside, &sides, asked.rounds);
    let answers: Vec<String> = sides
        .iter()
        .map(|(name, _)| outside.says(&[Path::new("count"), &out.join(format!("{name}.parquet"))]))
        .collect();
    assert!(
        answers.iter().all(|a| rows_of(a) == rows_of(&answers[0])),
        "{answers:?}"
    );
    println!("{}", head("side"));
    for ((name, _), side) in sides.iter().zip(&costs) {
        let target = (*name == "datafusion").then_some(RATIO_MAX);
        println!("{}", row(name, &costs[0], side, target));
    }
    if let Some(scale) = asked.memory_scale {
        memory(&outside, &program, [asked.scale, scale]);
    }
}

fn rows_of(answer: &str) -> &str {
    answer.split_whitespace().next().unwrap()
}

fn asked(arguments: &[String]) -> Option<Asked> {
    let mut asked = Asked {
        scale: 1.0,
        memory_scale: None,
        rounds: 5,
    };
    let (mut measured, mut words) = (false, arguments.iter());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => measured = true,
            "--scale" => asked.scale = words.next().unwrap().parse().unwrap(),
            "--memory-scale" => asked.memory_scale = Some(words.next().unwrap().parse().unwrap()),
            "--rounds" => asked.rounds = words.next().unwrap().parse().unwrap(),
            other => panic!("unknown argument `{other}`"),
        }
    }
    measured.then_some(asked)
}

/// Costs of each side, round by round; which side begins changes with the round.
fn measured(outside: &Outside, sides: &[(&str, Command)], rounds: usize) -> Vec<Vec<Cost>> {
    let mut costs = vec![Vec::new(); sides.len()];
    for round in 0..=rounds {
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            let cost = outside.measure(&sides[side].1);
            if round > 0 {
                costs[side].push(cost);
            }
        }
    }
    costs
}

/// A project of one node below `dir`, which reads `in/lineitem.parquet`.
fn odibi(program: &Path, dir: &Path, more: &[&str]) -> Command {
    let derivations: Vec<String> = DERIVED
        .iter()
        .map(|(name, expression)| format!("{name}: \"{expression}\""))
        .collect();
    let yaml = format!(
        r#"project: io
connections:
  in: {{type: local, base_path: in}}
  out: {{type: local, base_path: out}}
pipelines:
- pipeline: io
  nodes:
  - name: lineitem
    read: {{connection: in, format: parquet, path: lineitem.parquet}}
    transform:
      steps:
      - {{operation: filter_rows, params: {{condition: "{CONDITION}"}}}}
      - {{operation: derive_columns, params: {{derivations: {{{}}}}}}}
    write: {{connection: out, format: parquet, path: odibi.parquet, mode: overwrite, options: {{compression: snappy}}}}
"#,
        derivations.join(", ")
    );
    std::fs::write(dir.join("odibi.yaml"), yaml).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "-q"]).args(more).current_dir(dir);
    command.env("ODIBI_CACHE_DIR", cache());
    command
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("program-cache")
}

fn datafusion(source: &str, target: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new());
        let options = Default::default();
        context
            .register_parquet("lineitem", source, options)
            .await
            .unwrap();
        let derived: Vec<String> = DERIVED
            .iter()
            .map(|(name, expression)| format!("{expression} AS {name}"))
            .collect();
        let sql = format!(
            "COPY (SELECT *, {} FROM lineitem WHERE {CONDITION}) TO '{target}' STORED AS PARQUET \
             OPTIONS ('format.compression' 'snappy')",
            derived.join(", ")
        );
        let frame = context.sql(&sql).await.unwrap();
        frame.collect().await.unwrap();
    });
}

/// The peak of our memory at two scales, under the same limit.
fn memory(outside: &Outside, program: &Path, scales: [f64; 2]) {
    println!("peak memory of odibi with `--memory {MEMORY_MIB}`");
    let peaks = scales.map(|scale| {
        let dir = tempfile::tempdir().unwrap();
        let rows = lineitem::write(&dir.path().join("in/lineitem.parquet"), scale);
        let command = odibi(program, dir.path(), &["--memory", MEMORY_MIB]);
        let peaks = (0..3).map(|_| outside.measure(&command).peak_bytes / 1_048_576.0);
        let peak = Spread::of(peaks);
        println!("scale {scale:>4}, {rows:>9} rows: {} MiB", peak.show(0));
        peak.median
    });
    let apart = peaks[1] / peaks[0] - 1.0;
    let met = if apart.abs() <= MEMORY_MAX {
        "met"
    } else {
        "missed"
    };
    println!(
        "apart by {:+.1} %, within {:.0} %: {met}",
        apart * 100.0,
        MEMORY_MAX * 100.0
    );
}
