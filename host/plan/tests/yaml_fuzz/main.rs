//! Project files under attack: whatever stands in a file, loading and planning it ends, and holds no more memory than it may.
//!
//! ```text
//! cargo test -p odibi-plan --test yaml_fuzz                                     2,000 files
//! cargo test --release -p odibi-plan --test yaml_fuzz -- --inputs 1000000       the figure
//! … -- --seed 0x5eed --only 123                                                 one file again
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

#[path = "../../../../tests/fuzz/asked.rs"]
mod asked;
#[path = "../../../../tests/bench/cpu.rs"]
mod cpu;
#[path = "../../../../tests/fuzz/heap.rs"]
mod heap;
#[path = "../yaml/pieces.rs"]
mod pieces;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use asked::Asked;
use cpu::cpu_nanos;
use odibi_plan::config::{FileFault, Outside, load_with};
use odibi_plan::diagnostic::{render, render_json};
use odibi_plan::{Operations, Selection, Sources};
use pieces::PIECES;

const SEED: u64 = 0x0d1b1;
const INPUTS: u64 = 2_000;
/// What one file may hold at any time, from its text to the rendered faults.
const HEAP_BYTES_MAX: usize = 32 << 20;
/// CPU time that one file may take in a release build, from its text to the rendered faults.
const CPU_MS_MAX: f64 = if cfg!(debug_assertions) {
    f64::INFINITY
} else {
    50.0
};
/// A busy machine makes a file slow once, not every time.
const TRIES: usize = 3;

const SEEDS: [&str; 8] = [
    include_str!("../../../../tests/ui/valid_full.yaml"),
    include_str!("../../../../tests/ui/valid_imports.yaml"),
    include_str!("../../../../tests/ui/everything_at_once.yaml"),
    include_str!("../../../../tests/ui/billion_laughs.yaml"),
    include_str!("../../../../tests/ui/recipes.yaml"),
    include_str!("../../../../tests/ui/variables.yaml"),
    include_str!("../../../../tests/ui/merge_keys.yaml"),
    include_str!("../../../../tests/ui/deep_block.yaml"),
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    fn pieces(&mut self, most: usize) -> String {
        (0..self.below(most))
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect()
    }
}

/// The file of a number: always the same for one seed.
fn input(seed: u64, number: u64) -> String {
    let mut random = Random(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    match random.below(60) {
        0..=9 => random.pieces(200),
        10 => random.pieces(6).repeat(random.below(3_000)),
        11 => {
            // A stretch of a sound file, many times.
            let text = SEEDS[random.below(SEEDS.len())];
            let lines: Vec<&str> = text.lines().collect();
            let from = random.below(lines.len());
            let some = lines[from..].iter().take(1 + random.below(8));
            let block = some.fold(String::new(), |all, line| all + line + "\n");
            block.repeat(1 + random.below(400))
        }
        _ => {
            let mut text = SEEDS[random.below(SEEDS.len())].to_owned();
            for _ in 0..=random.below(4) {
                let place = |at: usize, text: &str| {
                    (0..=at.min(text.len()))
                        .rev()
                        .find(|at| text.is_char_boundary(*at))
                        .unwrap()
                };
                let start = place(random.below(text.len() + 1), &text);
                let end = place(start + random.below(40), &text).max(start);
                let put = random.pieces(8);
                text.replace_range(start..end, &put);
            }
            text
        }
    }
}

/// Loads, plans and renders; `Err` says what is wrong with the result.
fn exercise(text: &str) -> Result<(), String> {
    let environment = |name: &str| {
        name.len()
            .is_multiple_of(2)
            .then(|| format!("${{{name}}}: [*x"))
    };
    let file = |path: &str, _: usize| match path.len() % 4 {
        0 => Ok(SEEDS[path.len() % SEEDS.len()].as_bytes().to_vec()),
        1 => Ok(text.as_bytes().to_vec()),
        2 => Err(FileFault::Outside),
        _ => Err(FileFault::Missing),
    };
    let outside = Outside {
        environment: &environment,
        file: &file,
        selected: Some("prod"),
        ..Outside::default()
    };
    let mut sources = Sources::default();
    let (project, mut found) = load_with("r.yaml", text, &outside, &mut sources);
    found.extend(odibi_plan::plan::plan(&project, &Selection::all(), &Operations::default()).1);
    for diagnostic in &found {
        for label in &diagnostic.labels {
            let (start, end) = (label.span.start as usize, label.span.end as usize);
            if sources.text(label.span.file).get(start..end).is_none() {
                return Err(format!("a place outside of its file: {diagnostic:?}"));
            }
        }
        let plain = render(diagnostic, &sources, false);
        if plain.chars().any(|c| c != '\n' && c.is_control()) {
            return Err(format!("a control character is shown: {plain:?}"));
        }
        if !render_json(diagnostic, &sources).is_object() {
            return Err("no JSON".to_owned());
        }
    }
    Ok(())
}

/// How [`exercise`] ended, the most bytes it held, and its CPU time in milliseconds.
fn measured(text: &str) -> (std::thread::Result<Result<(), String>>, usize, f64) {
    let (mut done, mut bytes) = (Ok(Ok(())), 0);
    let cpu_ns = cpu_nanos(|| {
        (done, bytes) = heap::peak_bytes(|| catch_unwind(AssertUnwindSafe(|| exercise(text))));
    });
    (done, bytes, cpu_ns / 1e6)
}

fn main() -> ExitCode {
    let Some(asked) = Asked::read(
        std::env::args().skip(1),
        "yaml_fuzz",
        "--inputs",
        (SEED, INPUTS),
    ) else {
        return ExitCode::SUCCESS;
    };
    println!("SEED={:#x}", asked.seed);
    let numbers = match asked.only {
        Some(only) => only..only + 1,
        None => 0..asked.count,
    };
    let (mut peak, mut slowest, mut complaints) = ((0, 0), (0.0, 0), 0);
    for number in numbers {
        let text = input(asked.seed, number);
        let (done, bytes, mut cpu_ms) = measured(&text);
        for _ in 1..TRIES {
            if cpu_ms > CPU_MS_MAX {
                cpu_ms = cpu_ms.min(measured(&text).2);
            }
        }
        peak = peak.max((bytes, number));
        if cpu_ms > slowest.0 {
            slowest = (cpu_ms, number);
        }
        let complaint = match done {
            Ok(Ok(())) if bytes > HEAP_BYTES_MAX => format!("held {bytes} bytes"),
            Ok(Ok(())) if cpu_ms > CPU_MS_MAX => {
                format!("took {cpu_ms:.1} ms of CPU time")
            }
            Ok(Ok(())) => continue,
            Ok(Err(what)) => what,
            Err(_) => "panicked".to_owned(),
        };
        complaints += 1;
        println!("FAILED: file {number}: {complaint}");
        if complaints == 10 {
            break;
        }
    }
    println!(
        "{} files; the most that one held: {} KiB (file {}); the most CPU time of one: {:.1} ms (file {})",
        asked.count,
        peak.0 >> 10,
        peak.1,
        slowest.0,
        slowest.1
    );
    if complaints == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
