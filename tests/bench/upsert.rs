//! What an upsert costs: 100,000 rows into 1,000,000, half of them new, into one Parquet file and into a Delta table,
//! against Python's `deltalake` merging the same rows into a Delta table.
//!
//! `cargo bench -p odibi-tests --bench upsert`; `-- --rows 100000 --rounds 3` makes it short, `--batch` says how many rows are
//! merged if not a tenth. Ours is the whole process, with its start, its state and its story; theirs is the merge alone,
//! without Python's start and imports. All take turns on fresh copies of the target, a ratio belongs to one round, and the
//! median is printed with the smallest and the largest.
//!
//! With `--memory MIB` ours has no more for its nodes, and is alone: theirs knows no such limit. An upsert that is larger than
//! its memory is `-- --rows 20000000 --batch 10000000 --memory 512 --rounds 1`. `--only parquet` leaves out the other sides.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark is told by its environment what to try"
)]

mod measure;
mod noise;
mod outside;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use noise::{Noise, SEED};
use outside::{Cost, Outside, done, head, program, row};
use parquet::arrow::ArrowWriter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RATIO_MAX: f64 = 1.2;
const BATCH_ROWS: usize = 65_536;
const SIDES: [&str; 3] = ["parquet", "delta", "deltalake"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut rows, mut rounds, mut measured) = (1_000_000, 5, false);
    let (mut batch, mut memory, mut only) = (None, None, None);
    while let Some(argument) = arguments.next() {
        if argument == "--only" {
            only = arguments.next();
            continue;
        }
        let mut number = || arguments.next().unwrap().parse::<usize>().unwrap();
        match argument.as_str() {
            "--bench" => measured = true,
            "--rows" => rows = number(),
            "--batch" => batch = Some(number()),
            "--rounds" => rounds = number(),
            "--memory" => memory = Some(number()),
            other => panic!("unknown argument `{other}`"),
        }
    }
    if !measured {
        println!("upsert: nothing is measured without `cargo bench`");
        return;
    }
    let batch = batch.unwrap_or(rows / 10);
    let contest = Contest::new(rows, batch, memory);
    let limit = memory.map_or_else(String::new, |mib| format!(" with {mib} MiB"));
    println!("{batch} rows into {rows}{limit}, {rounds} rounds, median (min-max)");
    let takes_part = |side: &str| match &only {
        Some(only) => only == side,
        None => memory.is_none() || side != "deltalake",
    };
    let sides = SIDES.into_iter().filter(|&side| takes_part(side));
    let sides: Vec<&str> = sides.collect();
    if sides.iter().any(|side| *side != "parquet") {
        contest.make_delta();
    }
    let mut costs = vec![Vec::new(); sides.len()];
    // The first round compiles and warms; what takes minutes has no need of it.
    let first = usize::from(memory.is_some());
    for round in first..=rounds {
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            let cost = match sides[side] {
                "deltalake" => contest.theirs(),
                format => contest.ours(format),
            };
            if round > 0 {
                costs[side].push(cost);
            }
        }
    }
    let sums: Vec<String> = sides.iter().map(|side| contest.sum(side)).collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    // Half of the batch is new.
    let count = format!("{} ", rows + batch - batch / 2);
    assert!(sums[0].starts_with(&count), "{count}: {sums:?}");
    println!("{} afterwards, everywhere", sums[0].trim());
    println!("{}", head("side"));
    let theirs = sides.iter().position(|side| *side == "deltalake");
    for (side, taken) in sides.iter().zip(&costs) {
        let name = match *side {
            "parquet" => "odibi, Parquet",
            "delta" => "odibi, Delta",
            _ => "deltalake, the merge",
        };
        println!("{}", row(name, taken, taken, None));
        if let Some(theirs) = theirs
            && *side != "deltalake"
        {
            let against = row(
                "  against deltalake",
                taken,
                &costs[theirs],
                Some(RATIO_MAX),
            );
            println!("{against}");
        }
    }
}

struct Contest {
    outside: Outside,
    program: PathBuf,
    dir: tempfile::TempDir,
    memory_mib: Option<usize>,
}

impl Contest {
    fn new(rows: usize, batch_rows: usize, memory_mib: Option<usize>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let outside = Outside::new();
        let [target, batch] = ["target.parquet", "batch.parquet"].map(|f| dir.path().join(f));
        write(&target, 0, rows, 0);
        // The half of it that is there already.
        let known = batch_rows / 2;
        write(&batch, rows - known, batch_rows, 1);
        Self {
            outside,
            program: program(),
            dir,
            memory_mib,
        }
    }

    fn make_delta(&self) {
        let [target, delta] = ["target.parquet", "target.delta"].map(|name| self.at(name));
        self.outside
            .says(&[Path::new("make-delta"), &target, &delta]);
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A project of its own, so that nothing is known of the batch, with a fresh target.
    fn ours(&self, format: &str) -> Cost {
        let project = self.at(format);
        let _ = std::fs::remove_dir_all(&project);
        std::fs::create_dir(&project).unwrap();
        let target = project.join(format!("table.{format}"));
        copy(&self.at(&format!("target.{format}")), &target);
        let yaml = format!(
            "project: upsert
connections: {{here: {{type: local, base_path: ..}}}}
pipelines:
- pipeline: upsert
  nodes:
  - name: rows
    read: {{connection: here, format: parquet, path: batch.parquet}}
    write: {{connection: here, format: {format}, path: {format}/table.{format}, mode: upsert, keys: [id]}}
"
        );
        std::fs::write(project.join("odibi.yaml"), yaml).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["run", "-q"]).current_dir(&project);
        if let Some(mib) = self.memory_mib {
            command.args(["--memory", &mib.to_string()]);
        }
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("program-cache");
        command.env("ODIBI_CACHE_DIR", cache);
        self.outside.measure(&command)
    }

    fn theirs(&self) -> Cost {
        let (project, table) = (self.at("deltalake"), self.at("deltalake/table.delta"));
        let _ = std::fs::remove_dir_all(&project);
        std::fs::create_dir(&project).unwrap();
        copy(&self.at("target.delta"), &table);
        let batch = self.at("batch.parquet");
        let said = self.outside.says(&[Path::new("deltalake"), &table, &batch]);
        let (wall, cpu) = said.trim().split_once(' ').unwrap();
        Cost {
            wall_s: wall.parse().unwrap(),
            cpu_s: cpu.parse().unwrap(),
            peak_bytes: f64::NAN,
        }
    }

    fn sum(&self, side: &str) -> String {
        let table = match side {
            "parquet" => self.at("parquet/table.parquet"),
            other => self.at(&format!("{other}/table.delta")),
        };
        self.outside.says(&[Path::new("count"), &table])
    }
}

fn copy(from: &Path, to: &Path) {
    done(Command::new("cp").arg("-r").arg(from).arg(to));
}

/// Rows with the ids from `first` on; texts and numbers differ with `version`.
fn write(path: &Path, first: usize, rows: usize, version: i32) {
    let mut noise = Noise(SEED + u64::from(version.unsigned_abs()));
    let mut writer = None;
    for start in (first..first + rows).step_by(BATCH_ROWS) {
        let ids = start..(start + BATCH_ROWS).min(first + rows);
        let prices: Float64Array = ids
            .clone()
            .map(|_| noise.below(1_000_000) as f64 / 4.0)
            .collect();
        let quantities: Int32Array = ids
            .clone()
            .map(|_| i32::try_from(noise.below(100)).unwrap())
            .collect();
        let names = ids.clone().map(|id| format!("article-{id:08}-{version}"));
        let names = StringArray::from_iter_values(names);
        let numbers: Int64Array = ids.map(|id| i64::try_from(id).unwrap()).collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(numbers)),
            ("name", Arc::new(names)),
            ("price", Arc::new(prices)),
            ("quantity", Arc::new(quantities)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        writer
            .get_or_insert_with(|| {
                ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap()
            })
            .write(&batch)
            .unwrap();
    }
    writer.unwrap().close().unwrap();
}
