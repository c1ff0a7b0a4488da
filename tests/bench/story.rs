//! What a story of many nodes costs: the fold of its events, and each rendering.
//!
//! `cargo bench -p odibi-tests --bench story`; `-- --nodes 200 --rounds 3` makes it short, `-- --write DIR` leaves the
//! pages there, to look at. CPU time and bytes on the heap of this process; each is held against the target of a story of
//! 1,000 nodes, and against a tenth of the nodes in the same round: a rendering that is linear costs ten times as much.

#![allow(clippy::print_stdout, reason = "the table is the result")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod cpu;
#[path = "../fuzz/heap.rs"]
mod heap;
mod measure;
mod noise;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use measure::Spread;
use noise::{Noise, SEED};
use odibi_story::event::{
    Column, ColumnFlow, ColumnProfile, Event, FileFact, InputFact, InputOrigin, InputOutline,
    Ledger, NodeFacts, NodeOutline, NodeRef, OperationFact, OperationIdentity, Outcome,
    PassedColumn, PortFlow, Profile, RunEvent, RunStarted, Sample, StepFlow, ValueCount,
    WriteEffect, WriteFact,
};
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::story::compare::compare;
use odibi_story::{Story, fold, lineage, render};
use serde_json::json;

const PIPELINE: &str = "many";
const COLUMNS: usize = 20;
const STEPS: usize = 3;
const SAMPLE_ROWS: usize = 10;
/// One node in so many fails, and the next but one is skipped for it.
const FAILS_EVERY: usize = 50;
const SECONDS_MAX: f64 = 1.0;
const HEAP_MIB_MAX: f64 = 100.0;

fn main() {
    let Some(asked) = Asked::read() else {
        println!("story: nothing is measured without `cargo bench`");
        return;
    };
    let run = |nodes| -> Run {
        let events = events(nodes);
        let story = story(&events);
        (events, story)
    };
    let (many, few) = (run(asked.nodes), run(asked.nodes / 10));
    println!(
        "a story of {} nodes with {COLUMNS} columns and {STEPS} steps, {} events; {} rounds, CPU time, median (min-max)",
        asked.nodes,
        many.0.len(),
        asked.rounds
    );
    println!(
        "{:<12}  {:>20}  {:>12}  {:>14}  {:>10}  target",
        "what", "ms", "heap, MiB", "to a tenth", "KiB out"
    );
    let mut missed = false;
    for (name, work) in WORKS {
        missed |= !measure(name, work, &many, &few, asked.rounds);
    }
    if let Some(dir) = &asked.write {
        std::fs::create_dir_all(dir).unwrap();
        let story = &many.1;
        std::fs::write(dir.join("many.html"), render::html::render(story)).unwrap();
        std::fs::write(dir.join("many.json"), render::json::render(story)).unwrap();
        std::fs::write(dir.join("many.md"), render::markdown::render(story)).unwrap();
        println!("written to {}", dir.display());
    }
    if missed && asked.nodes <= 1_000 {
        println!("a target was missed");
        std::process::exit(1);
    }
}

/// The events of a run, and their story.
type Run = (Vec<Event>, Story);

/// Of the events of a run and their story; returns the bytes that came out.
type Work = fn(&[Event], &Story) -> usize;

const WORKS: [(&str, Work); 7] = [
    ("fold", |events, _| story(events).nodes.len()),
    ("compare", |_, story| {
        render::json::comparison(&compare(story, story)).len()
    }),
    ("JSON", |_, story| render::json::render(story).len()),
    ("Markdown", |_, story| render::markdown::render(story).len()),
    ("HTML", |_, story| render::html::render(story).len()),
    ("terminal", |_, story| {
        render::terminal::render(story, true).len()
    }),
    ("OpenLineage", |_, story| {
        let said = lineage::events(story, "urn:odibi:bench");
        said.map(|event| event.to_string().len()).sum()
    }),
];

/// False when the target is missed.
fn measure(name: &str, work: Work, many: &Run, few: &Run, rounds: usize) -> bool {
    let (bytes, heap) = heap::peak_bytes(|| work(&many.0, &many.1));
    let mut times = Vec::new();
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let small = seconds(|| work(&few.0, &few.1));
        let large = seconds(|| work(&many.0, &many.1));
        times.push(large);
        ratios.push(large / small);
    }
    let (time, ratio) = (
        Spread::of(times.iter().map(|s| s * 1_000.0)),
        Spread::of(ratios.into_iter()),
    );
    let heap = heap as f64 / f64::from(1 << 20);
    let met = time.median <= SECONDS_MAX * 1_000.0 && heap <= HEAP_MIB_MAX;
    println!(
        "{name:<12}  {:>20}  {heap:>12.1}  {:>14}  {:>10}  {}",
        time.show(1),
        ratio.show(1),
        bytes / 1024,
        if met { "met" } else { "missed" }
    );
    met
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let nanos = cpu::cpu_nanos(|| drop(std::hint::black_box(work())));
    nanos / 1e9
}

fn story(events: &[Event]) -> Story {
    fold(events, PIPELINE).unwrap()
}

struct Asked {
    nodes: usize,
    rounds: usize,
    write: Option<PathBuf>,
}

impl Asked {
    /// None without `--bench`, which cargo gives to benchmarks that are to be run.
    fn read() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let (mut asked, mut bench) = (
            Self {
                nodes: 1_000,
                rounds: 7,
                write: None,
            },
            false,
        );
        while let Some(word) = arguments.next() {
            match word.as_str() {
                "--bench" => bench = true,
                "--nodes" => asked.nodes = arguments.next()?.parse().ok()?,
                "--rounds" => asked.rounds = arguments.next()?.parse().ok()?,
                "--write" => asked.write = Some(arguments.next()?.into()),
                _ => return None,
            }
        }
        (bench && asked.nodes >= 10 && asked.rounds > 0).then_some(asked)
    }
}

/// A run of so many nodes, each of which reads up to three of those before it.
fn events(nodes: usize) -> Vec<Event> {
    let mut noise = Noise(SEED);
    let start = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000);
    let mut events = Vec::new();
    let mut say = |ms: u64, kind| {
        let seq = events.len() as u64;
        let at = start + SignedDuration::from_millis(i64::try_from(ms).unwrap());
        events.push(Event { seq, at, kind });
    };
    say(0, RunEvent::RunStarted(run_started(start)));
    let outlines: Vec<NodeOutline> = (0..nodes).map(|at| outline(at, &mut noise)).collect();
    say(
        0,
        RunEvent::PipelineStarted {
            pipeline: PIPELINE.to_owned(),
            description: Some("Many nodes.".to_owned()),
            nodes: outlines,
        },
    );
    for at in 0..nodes {
        let (node, ms) = (reference(at), at as u64 * 30);
        let failed = at % FAILS_EVERY == FAILS_EVERY - 1;
        say(
            ms,
            RunEvent::AttemptStarted {
                node: node.clone(),
                attempt: 1,
            },
        );
        if failed {
            say(
                ms + 10,
                RunEvent::AttemptFailed {
                    node: node.clone(),
                    attempt: 1,
                    failure: failure(at),
                    retry_in_ms: 5,
                },
            );
            say(
                ms + 15,
                RunEvent::AttemptStarted {
                    node: node.clone(),
                    attempt: 2,
                },
            );
        }
        say(
            ms + 20 + noise.below(500),
            RunEvent::NodeFinished {
                node,
                outcome: if failed {
                    Outcome::Failed
                } else {
                    Outcome::Succeeded
                },
                attempts: 1 + u32::from(failed),
                duration_ms: 20 + noise.below(500),
                facts: (!failed).then(|| Box::new(facts(at, &mut noise))),
                failure: failed.then(|| failure(at)),
            },
        );
    }
    let duration_ms = nodes as u64 * 30 + 600;
    say(
        duration_ms,
        RunEvent::PipelineFinished {
            pipeline: PIPELINE.to_owned(),
            outcome: Outcome::Failed,
            duration_ms,
        },
    );
    events
}

fn run_started(start: Timestamp) -> RunStarted {
    RunStarted {
        format_version: 1,
        run_id: "0190aaaa-0000-7000-8000-000000000001".to_owned(),
        project: "bench".to_owned(),
        odibi_version: "0".to_owned(),
        logical_time: start,
        config_digest: "ab".repeat(32),
        config_files: vec!["odibi.yaml".to_owned()],
        workers: 2,
        host: None,
        git_commit: None,
        continues: None,
        environment: None,
        user: None,
    }
}

fn name(at: usize) -> String {
    format!("node_{at:04}")
}

fn reference(at: usize) -> NodeRef {
    NodeRef {
        pipeline: PIPELINE.to_owned(),
        name: name(at),
    }
}

fn outline(at: usize, noise: &mut Noise) -> NodeOutline {
    let mut before: Vec<usize> = (0..3)
        .filter(|_| at > 0)
        .map(|_| at - 1 - usize::try_from(noise.below(at.min(40) as u64)).unwrap())
        .collect();
    before.sort_unstable();
    before.dedup();
    let dataset = format!("raw:in/{at}.csv");
    let mut inputs: Vec<InputOutline> = before
        .iter()
        .map(|from| InputOutline {
            name: name(*from),
            from: InputOrigin::Node(reference(*from)),
        })
        .collect();
    if at.is_multiple_of(5) {
        inputs.push(InputOutline {
            name: "read".to_owned(),
            from: InputOrigin::Dataset(dataset.clone()),
        });
    }
    NodeOutline {
        description: Some(format!("Makes table {at} of those before it.")),
        depends_on: before.iter().map(|at| reference(*at)).collect(),
        reads: at
            .is_multiple_of(5)
            .then_some(dataset)
            .into_iter()
            .collect(),
        writes: Some(format!("lake:out/{at}.parquet")),
        operations: (0..STEPS).map(|step| format!("operation_{step}")).collect(),
        tags: vec!["daily".to_owned()],
        inputs,
        ..NodeOutline::named(&name(at))
    }
}

fn failure(at: usize) -> Failure {
    let message = format!("column `amount_{at}` is not an input column");
    Failure::new(FailureClass::Data, "guest/params", message)
        .cause("unknown-column")
        .hint("did you mean `amount`?")
}

fn columns() -> Vec<String> {
    (0..COLUMNS).map(|n| format!("column_{n}")).collect()
}

fn sample(noise: &mut Noise) -> Sample {
    let mut row = || -> Vec<Option<String>> {
        let mut cell = || Some(format!("value {}", noise.below(1 << 30)));
        (0..COLUMNS).map(|_| cell()).collect()
    };
    Sample {
        columns: columns(),
        rows: (0..SAMPLE_ROWS).map(|_| row()).collect(),
        columns_left_out: 0,
    }
}

fn facts(at: usize, noise: &mut Noise) -> NodeFacts {
    let schema: Vec<Column> = columns()
        .into_iter()
        .map(|name| Column {
            name,
            data_type: "Utf8".to_owned(),
            nullable: true,
        })
        .collect();
    let rows = noise.below(1_000_000);
    NodeFacts {
        rows_in: rows,
        rows_out: rows,
        rows_written: Some(rows),
        schema_in: schema.clone(),
        schema_out: schema,
        nulls_out: (0..COLUMNS).map(|_| noise.below(10)).collect(),
        sample: sample(noise),
        profile: Some(profile()),
        inputs: vec![InputFact {
            name: "df".to_owned(),
            rows,
            columns_unread: 1,
            sample: sample(noise),
        }],
        sources: vec![file(&format!("in/{at}.csv"))],
        target: Some(file(&format!("out/{at}.parquet"))),
        write: Some(WriteFact {
            mode: "overwrite".to_owned(),
            batch: "cd".repeat(32),
            effect: WriteEffect::Published,
            rows_inserted: rows,
            rows_updated: 0,
            rows_unchanged: 0,
            rows_present: 0,
            rows_duplicate: 0,
            files_added: 0,
            files_removed: 0,
            version_before: None,
            version_after: Some("17".to_owned()),
            evidence: Some("footer odibi.batches cdcd".to_owned()),
        }),
        operations: (0..STEPS).map(operation).collect(),
        ..NodeFacts::default()
    }
}

fn profile() -> Profile {
    let column = |column: String| ColumnProfile {
        column,
        min: Some("a".to_owned()),
        max: Some("z".to_owned()),
        distinct: Some(7),
        top: (0..5)
            .map(|n| ValueCount {
                value: format!("value {n}"),
                rows: 1_000 - n,
            })
            .collect(),
    };
    Profile {
        rows_counted: 10_000,
        columns: columns().into_iter().map(column).collect(),
    }
}

fn file(path: &str) -> FileFact {
    FileFact {
        connection: "lake".to_owned(),
        path: path.to_owned(),
        bytes: 1 << 20,
        modified: Some(Timestamp::UNIX_EPOCH),
        version: Some("\"0x8DC\"".to_owned()),
    }
}

/// Every second column passes.
fn operation(step: usize) -> OperationFact {
    let flow = |(at, column): (usize, String)| ColumnFlow {
        passed: at.is_multiple_of(2).then(|| PassedColumn {
            port: 0,
            column: column.clone(),
        }),
        column,
    };
    OperationFact {
        operation: OperationIdentity {
            reference: format!("operation_{step}"),
            plugin: "columns".to_owned(),
            version: "0.1.0".to_owned(),
            digest: "ef".repeat(32),
        },
        grants: Vec::new(),
        params: json!({ "columns": columns(), "case": "lower" }),
        sensitive: false,
        ledger: Ledger {
            instances: 2,
            guest_cpu_ns: 1_234_567,
            ..Ledger::default()
        },
        instances: Vec::new(),
        partitions: 0,
        chained_to: None,
        bytes_spilled: 0,
        component: None,
        notes: Vec::new(),
        flow: Some(StepFlow {
            ports: vec![PortFlow {
                input: (step == 0).then_some(0),
                needed: columns(),
            }],
            columns: columns().into_iter().enumerate().map(flow).collect(),
        }),
    }
}
