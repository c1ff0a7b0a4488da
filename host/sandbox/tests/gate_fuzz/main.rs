//! The gate under attack: mutated streams, each of which must be refused in an orderly way or be what was planned.
//!
//! ```text
//! cargo test -p odibi-sandbox --test gate_fuzz                                   20,000 streams
//! cargo test --release -p odibi-sandbox --test gate_fuzz -- --streams 1000000    the figure
//! … -- --seed 0x5eed --only 123                                                  one stream again
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "its figures are what it is for")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "numbers here are wrong on purpose"
)]

#[path = "../../../../tests/fuzz/asked.rs"]
mod asked;
mod exercise;
#[path = "../../../../tests/fuzz/heap.rs"]
mod heap;
mod schemas;

#[path = "../streams/message.rs"]
mod message;
#[path = "../streams/mutate.rs"]
mod mutate;
#[path = "../streams/odd.rs"]
mod odd;
#[path = "../streams/random.rs"]
mod random;
#[path = "../streams/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use odibi_sandbox::Limits;
use odibi_sandbox::testing::{Echo, Gate};
use odibi_story::failure::Failure;

use asked::Asked;
use random::Random;
use seeds::Seed;

const STREAMS: u64 = 20_000;
/// The reference size for times.
const SIZE_BYTES: f64 = 65_536.0;
/// What a stream of that size may take, 99 times in 100.
const P99_MS: f64 = 5.0;
/// How many complaints are printed.
const SHOWN_MAX: usize = 10;

fn main() -> ExitCode {
    let Some(asked) = Asked::read(
        std::env::args().skip(1),
        "gate_fuzz",
        "--streams",
        (getrandom::u64().unwrap(), STREAMS),
    ) else {
        return ExitCode::SUCCESS;
    };
    println!("SEED={:#x}", asked.seed);
    // Panics are counted; of each complaint about one, the words are shown.
    std::panic::set_hook(Box::new(|info| *last_panic() = info.to_string()));
    let Ok(report) = catch_unwind(AssertUnwindSafe(|| fuzz(&asked))) else {
        println!("FAILED: the runner itself panicked: {}", last_panic());
        return ExitCode::FAILURE;
    };
    let complaints = report.print(&asked);
    complaints
        .iter()
        .for_each(|complaint| println!("FAILED: {complaint}"));
    if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn last_panic() -> MutexGuard<'static, String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    LAST.lock().unwrap()
}

/// The type in hand.
pub(crate) fn at_work() -> MutexGuard<'static, String> {
    static TYPE: Mutex<String> = Mutex::new(String::new());
    TYPE.lock().unwrap()
}

fn fuzz(asked: &Asked) -> Report {
    let seeds = seeds::all();
    let sound: Vec<Vec<u8>> = schemas::sound();
    let gates: Vec<Gate> = seeds.iter().map(exercise::planned).collect();
    let echoes: Vec<Echo> = seeds.iter().map(|s| Echo::new(&s.batch).unwrap()).collect();
    let limits = Limits::default();
    let mut report = Report::new(asked, seeds.len());
    for (seed, gate) in seeds.iter().zip(&gates) {
        let taken = gate
            .clone()
            .decode(&Buffer::from(seed.bytes.as_slice()), &limits);
        if taken.as_ref().ok().map(RecordBatch::columns) != Some(seed.batch.columns()) {
            report.wrong(&format!(
                "a sound batch is refused: {}: {taken:?}",
                seed.name
            ));
        }
    }
    for index in 0..asked.count {
        if asked.only.is_some_and(|only| only != index) {
            continue;
        }
        report.index = index;
        let random = &mut Random::new(asked.seed ^ index.wrapping_mul(0x2545_f491_4f6c_dd1d));
        if index % 8 == 7 {
            schemas::one(&sound, &mut report, random, &limits);
        }
        let small = seeds.len() - seeds::LARGE;
        let at = if random.once_in(64) {
            small + random.below(seeds::LARGE)
        } else {
            random.below(small)
        };
        let other = &seeds[random.below(small)];
        let mut gate = gates[at].clone();
        if random.once_in(8) {
            // Dictionaries of an earlier batch are there.
            let earlier = Buffer::from(seeds[at].bytes.as_slice());
            gate.decode(&earlier, &limits).unwrap();
        }
        let bytes = mutate::mutated(&seeds[at].bytes, &other.bytes, random);
        let again = random.once_in(2).then(|| gate.clone());
        let copied = stream(&seeds[at], &mut gate, &bytes, &mut report, random, &limits);
        if let (Some(mut gate), Some(copied)) = (again, copied) {
            let in_one = random.once_in(3);
            let echo = || echoes[at].receive(&mut gate, &bytes, in_one, &limits);
            match catch_unwind(AssertUnwindSafe(echo)) {
                Ok((got, own)) => {
                    report.came_back += own as u64;
                    report.same(&seeds[at], got, copied);
                }
                Err(_) => report.wrong(&format!("a panic crossed the gate: {}", last_panic())),
            }
        }
    }
    report
}

fn stream(
    seed: &Seed,
    gate: &mut Gate,
    bytes: &[u8],
    report: &mut Report,
    random: &mut Random,
    limits: &Limits,
) -> Option<Result<RecordBatch, Failure>> {
    report.unchanged += u64::from(bytes == seed.bytes);
    #[expect(clippy::disallowed_methods, reason = "a test of speed needs the time")]
    let start = Instant::now();
    let (taken, peak) = heap::peak_bytes(|| {
        // The copy out of the guest's memory counts.
        let bytes = Buffer::from_slice_ref(bytes);
        catch_unwind(AssertUnwindSafe(|| gate.decode(&bytes, limits)))
    });
    report.took(start.elapsed(), bytes.len());
    report.peak.see(peak, bytes.len(), seed.name);
    let batch = match taken {
        Err(_) => {
            report.wrong(&format!(
                "a panic crossed the gate: {}: {}",
                seed.name,
                last_panic()
            ));
            return None;
        }
        Ok(Err(failure)) => {
            report.refused(&failure);
            return Some(Err(failure));
        }
        Ok(Ok(batch)) => batch,
    };
    *report.stages.entry("accepted").or_default() += 1;
    if let Err(why) = exercise::is_sound(&batch, seed, limits) {
        report.wrong(&format!("accepted though not sound: {}: {why}", seed.name));
        return None;
    }
    let used = || exercise::use_it(&batch, random, limits);
    match catch_unwind(AssertUnwindSafe(used)) {
        Ok(Ok(())) => {}
        Ok(Err(why)) => report.wrong(&format!("accepted, then trouble: {}: {why}", seed.name)),
        Err(_) => report.wrong(&format!(
            "accepted, then a panic: {}: {}: {}",
            seed.name,
            at_work(),
            last_panic()
        )),
    }
    Some(Ok(batch))
}

/// Where most memory was held, beyond twice the input.
#[derive(Debug, Default)]
pub(crate) struct Worst {
    over_bytes: usize,
    what: String,
}

impl Worst {
    fn see(&mut self, peak: usize, input: usize, name: &str) {
        let over = peak.saturating_sub(2 * input);
        if over > self.over_bytes {
            self.over_bytes = over;
            self.what = format!("{peak} bytes for {input} of {name}");
        }
    }
}

#[derive(Debug)]
pub(crate) struct Report {
    index: u64,
    seeds: usize,
    unchanged: u64,
    /// Columns that were sent back and not copied.
    came_back: u64,
    stages: BTreeMap<&'static str, u64>,
    peak: Worst,
    schema_peak: Worst,
    schemas_taken: u64,
    schemas_refused: u64,
    /// Microseconds per 64 KiB; what is smaller counts as that much.
    times_us: Vec<f32>,
    wrong: Vec<String>,
}

impl Report {
    fn new(asked: &Asked, seeds: usize) -> Self {
        Self {
            index: 0,
            seeds,
            unchanged: 0,
            came_back: 0,
            stages: BTreeMap::new(),
            peak: Worst::default(),
            schema_peak: Worst::default(),
            schemas_taken: 0,
            schemas_refused: 0,
            times_us: Vec::with_capacity(asked.count as usize),
            wrong: Vec::new(),
        }
    }

    fn wrong(&mut self, what: &str) {
        self.wrong.push(format!("stream {}: {what}", self.index));
    }

    /// What was sent back must be what a copy of it is.
    fn same(
        &mut self,
        seed: &Seed,
        got: Result<RecordBatch, Failure>,
        copied: Result<RecordBatch, Failure>,
    ) {
        let same = match (&got, &copied) {
            (Ok(got), Ok(copied)) => got == copied,
            (Err(got), Err(copied)) => got == copied,
            _ => false,
        };
        if !same {
            let name = seed.name;
            self.wrong(&format!(
                "sent back, it is another: {name}: {got:?} for {copied:?}"
            ));
        }
    }

    fn took(&mut self, time: Duration, bytes: usize) {
        let share = (bytes as f64 / SIZE_BYTES).max(1.0);
        self.times_us
            .push((time.as_secs_f64() * 1e6 / share) as f32);
    }

    fn refused(&mut self, failure: &Failure) {
        let stage = stage(failure);
        *self.stages.entry(stage).or_default() += 1;
        if stage == "panic" {
            self.wrong(&format!("arrow panicked inside the gate: {}", last_panic()));
        }
        if !["contract/ipc", "contract/schema", "limit/batch-output"]
            .contains(&failure.code.as_str())
        {
            self.wrong(&format!("refused as {}", failure.code));
        }
    }

    /// Prints the figures, and returns what is wrong with them.
    fn print(mut self, asked: &Asked) -> Vec<String> {
        self.times_us.sort_by(f32::total_cmp);
        let count = self.times_us.len();
        let nth = |part: f64| {
            let at = (count as f64 * part) as usize;
            f64::from(
                self.times_us
                    .get(at.min(count.saturating_sub(1)))
                    .copied()
                    .unwrap_or(0.0),
            ) / 1e3
        };
        let total: u64 = self.stages.values().sum();
        println!(
            "streams: {count} from {} seed schemas, {} of them unchanged",
            self.seeds, self.unchanged
        );
        for stage in STAGES {
            let n = self.stages.get(stage).copied().unwrap_or(0);
            println!(
                "  {stage:<9} {n:>8}  {:>5.1} %",
                n as f64 * 100.0 / total.max(1) as f64
            );
        }
        println!(
            "peak above 2 × input: {} bytes ({})",
            self.peak.over_bytes, self.peak.what
        );
        println!(
            "ms per 64 KiB: p50 {:.3}, p99 {:.3}, most {:.3}",
            nth(0.5),
            nth(0.99),
            nth(1.0)
        );
        println!(
            "planned schemas: {} refused, {} taken, peak above 2 × input: {} bytes ({})",
            self.schemas_refused,
            self.schemas_taken,
            self.schema_peak.over_bytes,
            self.schema_peak.what
        );
        println!("columns sent back and not copied: {}", self.came_back);
        println!("wrong: {}", self.wrong.len());
        let p99 = nth(0.99);
        let mut complaints: Vec<String> = self.wrong.drain(..).take(SHOWN_MAX).collect();
        if !self.peak.is_fine() {
            complaints.push(format!("peak: {}", self.peak.what));
        }
        if !self.schema_peak.is_fine() {
            complaints.push(format!(
                "peak of a planned schema: {}",
                self.schema_peak.what
            ));
        }
        // Unoptimised code is ten times slower, and machines may be busy.
        let p99_max = if cfg!(debug_assertions) {
            P99_MS * 20.0
        } else {
            P99_MS
        };
        if p99 > p99_max {
            complaints.push(format!("p99 is {p99:.3} ms per 64 KiB"));
        }
        if asked.only.is_none() && count >= 5_000 {
            let unreached = STAGES
                .iter()
                .filter(|s| **s != "panic" && !self.stages.contains_key(*s));
            complaints.extend(unreached.map(|stage| format!("no stream reached: {stage}")));
            if self.came_back == 0 {
                complaints.push("nothing was sent back".to_owned());
            }
            if self.schemas_taken == 0 || self.schemas_refused == 0 {
                complaints.push("planned schemas are all taken or all refused".to_owned());
            }
        }
        complaints
    }
}

/// In the order in which the gate asks; where a stream ended.
const STAGES: [&str; 7] = [
    "framing", "messages", "layout", "arrow", "panic", "values", "accepted",
];

fn stage(failure: &Failure) -> &'static str {
    let message = failure.message.as_str();
    let begins = |words: &[&str]| words.iter().any(|w| message.starts_with(w));
    let holds = |words: &[&str]| words.iter().any(|w| message.contains(w));
    if holds(&["made the decoder panic"]) {
        "panic"
    } else if message == "an emitted batch is malformed" {
        "arrow"
    } else if holds(&[
        "no calendar has",
        "not fit its precision",
        "but its dictionary has",
        "written out",
    ]) {
        "values"
    } else if begins(&[
        "an emitted dictionary",
        "only dictionaries",
        "an emitted batch does not end",
    ]) {
        "messages"
    } else if begins(&[
        "a message",
        "the metadata of a message",
        "the body of a message",
        "an emitted batch is empty",
        "a batch has more than",
    ]) {
        "framing"
    } else {
        "layout"
    }
}
