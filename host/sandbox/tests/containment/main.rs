//! The containment suite: every attack in every place, and what it left behind.
//!
//! `cargo test -p odibi-sandbox --test containment` plays one round; `-- --rounds 100` plays many, `-- --only NAME`
//! the cases whose name holds NAME. After each case the process must live and hold what it held before, a session that
//! was open meanwhile and one opened afterwards must give the right answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a test without harness reports itself")]

mod cases;
#[path = "../hostile/guest.rs"]
mod guest;
mod measure;
mod spoilt;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use odibi_story::failure::{Failure, FailureClass};

use crate::cases::{Case, Expect, Route};
use crate::measure::{Held, held};
use crate::stage::{CALL_CPU_MS_MAX, Played, Stage, known_attacks, right_answer};

/// A case may take so much longer than the limit it runs into.
const GRACE: Duration = Duration::from_secs(2);
/// Memory that may remain.
const RSS_GROWTH_BYTES_MAX: u64 = 32 << 20;
/// What one session may keep of what a guest says.
const NOTES_MAX: usize = 1_000 + 64;
const NOTES_BYTES_MAX: usize = 256 << 10;

/// The figures of a run.
#[derive(Default)]
struct Tally {
    cases: usize,
    slowest: (Duration, String),
    /// Cases that were played again because the first time took too long.
    stalls: usize,
    /// Memory over that at the start: most after any case, and after the last.
    growth_bytes: (u64, u64),
    failures: Vec<String>,
}

struct Arguments {
    rounds: usize,
    only: String,
}

/// `None`: nothing is to be run.
fn arguments() -> Option<Arguments> {
    let mut parsed = Arguments {
        rounds: 1,
        only: String::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--rounds" => parsed.rounds = given.next().unwrap().parse().unwrap(),
            "--only" => parsed.only = given.next().unwrap(),
            "--list" => return None,
            // Other flags are for tests with a harness.
            flag if flag.starts_with("--") => {}
            filter => parsed.only = filter.to_owned(),
        }
    }
    Some(parsed)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        return ExitCode::SUCCESS;
    };
    let known = known_attacks();
    let mut tally = Tally::default();
    for name in cases::forgotten(&known) {
        tally
            .failures
            .push(format!("`{name}` is an attack without a case"));
    }
    let mut cases = cases::all(&known);
    cases.retain(|case| case.name.contains(&arguments.only));
    if cases.is_empty() {
        println!("containment: no case is called `{}`", arguments.only);
        return ExitCode::SUCCESS;
    }
    // A crash is reported by its case.
    std::panic::set_hook(Box::new(|_| {}));
    let mut stage = Stage::new(&cases, known);
    warm_up(&mut stage, &cases);
    let before = held();
    let start = now();
    for round in 1..=arguments.rounds {
        for case in &cases {
            let failures = play(&mut stage, case, before, &mut tally);
            let failures = failures.into_iter();
            tally
                .failures
                .extend(failures.map(|f| format!("round {round}, {}: {f}", case.name)));
        }
    }
    report(&arguments, &tally, &stage, before, start.elapsed())
}

/// Whatever is made once is made here: the workers of the compiler, the artifacts of the store, the heap's first pages.
fn warm_up(stage: &mut Stage, cases: &[Case]) {
    let loads = cases
        .iter()
        .filter(|case| matches!(case.route, Route::Load(_)))
        .take(2);
    let cancelled = |case: &&Case| {
        matches!(
            case.route,
            Route::Session {
                cancel_before: Some(_),
                ..
            }
        )
    };
    let cancelled = cases.iter().filter(cancelled).take(1);
    loads
        .chain(cancelled)
        .for_each(|case| drop(stage.play(case)));
    stage.still_works().unwrap();
    let bystander = stage.bystander().unwrap();
    stage.ended_well(bystander).unwrap();
}

fn play(stage: &mut Stage, case: &Case, before: Held, tally: &mut Tally) -> Vec<String> {
    let bystander = match stage.bystander() {
        Ok(session) => session,
        Err(failure) => return vec![format!("no session can be opened: {failure}")],
    };
    // What ends the others is reached at once.
    let limit_ms = if case.runs_out_of_cpu() {
        CALL_CPU_MS_MAX
    } else {
        0
    };
    let limit = Duration::from_millis(limit_ms);
    tally.cases += 1;
    let (mut failures, mut elapsed) = timed(stage, case);
    if elapsed > limit + GRACE {
        // A machine with much to do may stall once, an attack that is not contained stalls again.
        tally.stalls += 1;
        let (again, elapsed_again) = timed(stage, case);
        failures.extend(again);
        elapsed = elapsed_again;
    }
    let over = elapsed.saturating_sub(limit);
    if over > tally.slowest.0 {
        tally.slowest = (over, case.name.clone());
    }
    if over > GRACE {
        failures.push(format!("it took {elapsed:?}, its limit is {limit:?}"));
    }
    failures.extend(stage.ended_well(bystander).err());
    failures.extend(stage.still_works().err());
    let after = settled(before);
    let growth = after.rss_bytes.saturating_sub(before.rss_bytes);
    tally.growth_bytes = (tally.growth_bytes.0.max(growth), growth);
    if !is_back(after, before) {
        failures.push(format!(
            "the process holds {after}, before it held {before}"
        ));
    }
    failures
}

/// Plays a case: what is wrong with how it ended, and what time it took.
fn timed(stage: &mut Stage, case: &Case) -> (Vec<String>, Duration) {
    let start = now();
    let played = catch_unwind(AssertUnwindSafe(|| stage.play(case)));
    let elapsed = start.elapsed();
    let failures = match &played {
        Ok(played) => wrong(case, played),
        Err(_) => vec!["the host panicked".to_owned()],
    };
    (failures, elapsed)
}

fn is_back(after: Held, before: Held) -> bool {
    after.rss_bytes <= before.rss_bytes + RSS_GROWTH_BYTES_MAX
        && after.threads <= before.threads
        && after.files <= before.files
}

/// Threads end a moment after they are let go.
fn settled(before: Held) -> Held {
    let start = now();
    loop {
        let after = held();
        // Memory that is still held stays held.
        let settled = after.threads <= before.threads && after.files <= before.files;
        if settled || start.elapsed() > Duration::from_secs(10) {
            return after;
        }
        std::thread::yield_now();
    }
}

fn wrong(case: &Case, played: &Played) -> Vec<String> {
    let mut wrong = Vec::new();
    let bytes: usize = played.notes.iter().map(String::len).sum();
    if played.notes.len() > NOTES_MAX || bytes > NOTES_BYTES_MAX + 64 * 300 {
        wrong.push(format!("{} notes of {bytes} bytes", played.notes.len()));
    }
    let steers = |text: &str| {
        text.chars()
            .any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
    };
    if let Some(note) = played.notes.iter().find(|note| steers(note)) {
        wrong.push(format!("a note can steer a terminal: {note:?}"));
    }
    match (&played.result, case.expect) {
        (Ok(batches), Expect::Answer | Expect::Contained) => {
            if !right_answer(batches) {
                wrong.push(format!("a wrong answer came through: {batches:?}"));
            }
        }
        (Ok(batches), Expect::Code(code, _)) => {
            wrong.push(format!(
                "it ended with {} batches, not {code}",
                batches.len()
            ));
        }
        (Err(failure), Expect::Answer) => wrong.push(format!("it failed: {}", said(failure))),
        (Err(failure), expect) => wrong.extend(wrong_failure(failure, expect)),
    }
    wrong
}

fn wrong_failure(failure: &Failure, expect: Expect) -> Vec<String> {
    let said = said(failure);
    let mut wrong = Vec::new();
    let contained = match expect {
        Expect::Code(code, word) => failure.code == code && said.contains(word),
        Expect::Contained => matches!(
            failure.class,
            FailureClass::Trap | FailureClass::Contract | FailureClass::Guest | FailureClass::Limit
        ),
        Expect::Answer => false,
    };
    if !contained {
        wrong.push(format!("it ended with {said}, expected {expect:?}"));
    }
    let (prefix, _) = failure.code.split_once('/').unwrap_or_default();
    if prefix != "plugin" && prefix != "run" && prefix != failure.class.word() {
        wrong.push(format!("class and code disagree: {said}"));
    }
    if said.chars().any(char::is_control) {
        wrong.push(format!("its message can steer a terminal: {said:?}"));
    }
    if failure.limit.is_some() != (failure.class == FailureClass::Limit) {
        wrong.push(format!(
            "a limit without figures, or figures without a limit: {said}"
        ));
    }
    wrong
}

fn said(failure: &Failure) -> String {
    format!("{}: {failure} {}", failure.code, failure.causes.join("; "))
}

fn report(
    arguments: &Arguments,
    tally: &Tally,
    stage: &Stage,
    before: Held,
    elapsed: Duration,
) -> ExitCode {
    for failure in &tally.failures {
        println!("containment: {failure}");
    }
    let (over, slowest) = &tally.slowest;
    let mib = |bytes| bytes as f64 / f64::from(1 << 20);
    let (most, last) = (mib(tally.growth_bytes.0), mib(tally.growth_bytes.1));
    println!(
        "containment: {} cases in {} rounds, {} calls, {:.1} s; slowest over its limit {:.3} s (`{slowest}`); {} \
         stalls; largest growth {most:.1} MiB, at the end {last:.1} MiB, over {before}; {} failures",
        tally.cases,
        arguments.rounds,
        stage.calls,
        elapsed.as_secs_f64(),
        over.as_secs_f64(),
        tally.stalls,
        tally.failures.len()
    );
    if tally.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
fn now() -> Instant {
    Instant::now()
}
