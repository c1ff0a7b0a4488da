//! A hand-made run for the tests: one node succeeds, one recovers, one fails, one is skipped.

use jiff::Timestamp;
use serde_json::json;

use crate::event::{
    Column, ColumnFlow, ColumnProfile, ComponentOrigin, Event, FileFact, GuestNote, InputFact,
    InputOrigin, InputOutline, InstanceFact, Ledger, NodeFacts, NodeOutline, NodeRef,
    OperationFact, OperationIdentity, Outcome, PassedColumn, PortFlow, Profile, QuarantineFact,
    RejectionFact, RunEvent, RunStarted, Sample, StepFlow, UnreadFact, ValueCount, WriteEffect,
    WriteFact,
};
use crate::failure::{Failure, FailureClass, Place};
use crate::story::compare::{PastRun, compare};
use crate::story::{Story, fold};

pub(crate) const PIPELINE: &str = "orders";

/// 2026-11-23 08:30:00 UTC and some milliseconds.
fn at(ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).expect("small");
    Timestamp::from_millisecond(1_795_422_600_000 + ms).expect("in range")
}

pub(crate) fn node(name: &str) -> NodeRef {
    NodeRef {
        pipeline: PIPELINE.to_owned(),
        name: name.to_owned(),
    }
}

/// Events 100 ms apart.
pub(crate) fn events(kinds: Vec<RunEvent>) -> Vec<Event> {
    (0..)
        .zip(kinds)
        .map(|(seq, kind)| Event {
            seq,
            at: at(seq * 100),
            kind,
        })
        .collect()
}

pub(crate) fn run_started() -> RunEvent {
    RunEvent::RunStarted(RunStarted {
        format_version: 1,
        run_id: "0190aaaa-0000-7000-8000-000000000001".to_owned(),
        project: "shop".to_owned(),
        odibi_version: "0.1.0".to_owned(),
        logical_time: at(0),
        config_digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            .to_owned(),
        config_files: vec!["odibi.yaml".to_owned(), "pipelines/orders.yaml".to_owned()],
        workers: 2,
        host: Some("build-7".to_owned()),
        git_commit: Some("5f2c1a0b9e8d7c6b5a493827160f0e0d0c0b0a09".to_owned()),
        continues: Some("0190aaaa-0000-7000-8000-000000000000".to_owned()),
        environment: Some("prod".to_owned()),
        user: Some("ada".to_owned()),
    })
}

pub(crate) fn outline(name: &str, depends_on: &[NodeRef]) -> NodeOutline {
    NodeOutline {
        name: name.to_owned(),
        description: None,
        depends_on: depends_on.to_vec(),
        reads: Vec::new(),
        writes: None,
        operations: Vec::new(),
        tags: Vec::new(),
        inputs: Vec::new(),
    }
}

fn input(name: &str, from: InputOrigin) -> InputOutline {
    InputOutline {
        name: name.to_owned(),
        from,
    }
}

fn pipeline_started() -> RunEvent {
    let other = NodeRef {
        pipeline: "bronze".to_owned(),
        name: "prices".to_owned(),
    };
    RunEvent::PipelineStarted {
        pipeline: PIPELINE.to_owned(),
        description: Some("Orders of the *shop*,\ncleaned | daily.".to_owned()),
        nodes: vec![
            NodeOutline {
                reads: vec!["raw:orders/*.csv".to_owned()],
                writes: Some("lake:orders_raw.parquet".to_owned()),
                tags: vec!["daily".to_owned()],
                inputs: vec![input(
                    "orders",
                    InputOrigin::Dataset("raw:orders/*.csv".to_owned()),
                )],
                ..outline("orders_raw", &[])
            },
            NodeOutline {
                description: Some("One row for each order.".to_owned()),
                operations: vec!["clean_text".to_owned(), "geo/great_circle".to_owned()],
                writes: Some("lake:orders.parquet".to_owned()),
                inputs: vec![
                    input("orders_raw", InputOrigin::Node(node("orders_raw"))),
                    input("prices", InputOrigin::Node(other.clone())),
                ],
                ..outline("orders_clean", &[node("orders_raw"), other])
            },
            NodeOutline {
                operations: vec!["sum".to_owned()],
                reads: vec!["lake:orders_raw.parquet".to_owned()],
                ..outline("orders_sum", &[node("orders_raw")])
            },
            outline("orders_report", &[node("orders_sum")]),
        ],
    }
}

fn column(name: &str, data_type: &str, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable,
    }
}

fn facts() -> NodeFacts {
    let cell = |text: &str| Some(text.to_owned());
    NodeFacts {
        rows_in: 336_776,
        rows_out: 1_234,
        rows_written: Some(1_234),
        schema_in: vec![
            column("id", "Int64", true),
            column("city", "Utf8", true),
            column("note|s", "Utf8", true),
        ],
        schema_out: vec![
            column("id", "Int64", false),
            column("city", "Utf8", true),
            column("km", "Float64", true),
        ],
        nulls_out: vec![0, 12, 3],
        sample: Sample {
            columns: vec!["id".to_owned(), "city".to_owned(), "km".to_owned()],
            rows: vec![
                vec![cell("1"), cell("Berlin"), cell("12.5")],
                vec![cell("2"), None, cell("-3")],
                vec![cell("3"), cell("a|b\n<b>"), cell("")],
            ],
            columns_left_out: 0,
        },
        profile: Some(profile()),
        inputs: vec![InputFact {
            name: "orders".to_owned(),
            rows: 336_776,
            columns_unread: 2,
            sample: Sample {
                columns: vec!["id".to_owned(), "note|s".to_owned()],
                rows: vec![vec![cell("1"), cell("*late*")], vec![cell("2"), None]],
                columns_left_out: 1,
            },
        }],
        sources: vec![FileFact {
            connection: "raw".to_owned(),
            path: "orders/1.csv".to_owned(),
            bytes: 31_053_892,
            modified: Some(at(0)),
            version: Some("\"0x8DC|1\"".to_owned()),
        }],
        target: Some(FileFact {
            connection: "lake".to_owned(),
            path: "orders.parquet".to_owned(),
            bytes: 10_240,
            modified: None,
            version: None,
        }),
        operations: vec![operation(
            "clean_text",
            json!({"columns": ["city"], "case": "lower"}),
        )],
        ..NodeFacts::default()
    }
}

fn profile() -> Profile {
    let text = |text: &str| Some(text.to_owned());
    let count = |value: &str, rows| ValueCount {
        value: value.to_owned(),
        rows,
    };
    Profile {
        rows_counted: 1_000,
        columns: vec![
            ColumnProfile {
                column: "id".to_owned(),
                min: text("1"),
                max: text("1234"),
                ..ColumnProfile::default()
            },
            ColumnProfile {
                column: "city".to_owned(),
                min: text(""),
                max: text("a|b\n<b>"),
                distinct: Some(3),
                top: vec![count("Berlin", 800), count("`x`", 200)],
            },
            ColumnProfile {
                column: "km".to_owned(),
                min: text("-3"),
                max: text("12.5"),
                ..ColumnProfile::default()
            },
        ],
    }
}

/// What an upsert did.
fn upserting() -> WriteFact {
    WriteFact {
        mode: "upsert".to_owned(),
        batch: "0123456789abcdef0123456789abcdef".to_owned(),
        effect: WriteEffect::Published,
        rows_inserted: 1_000,
        rows_updated: 234,
        rows_unchanged: 1,
        rows_present: 0,
        rows_duplicate: 0,
        files_added: 0,
        files_removed: 0,
        version_before: Some("7".to_owned()),
        version_after: Some("8|9".to_owned()),
        evidence: Some("footer odibi.batches 0123456789abcdef0123456789abcdef".to_owned()),
    }
}

/// Facts of an upsert whose first step rejected rows.
pub(crate) fn quarantining() -> NodeFacts {
    let reason = |code: &str, message: &str, rows, rows_first: &[u64]| RejectionFact {
        code: code.to_owned(),
        message: message.to_owned(),
        rows,
        rows_first: rows_first.to_vec(),
    };
    NodeFacts {
        write: Some(upserting()),
        rows_quarantined: 1_013,
        quarantine: vec![QuarantineFact {
            step: 0,
            rows: 1_013,
            reasons: vec![
                reason(
                    "trap/unreachable",
                    "the plugin crashed: it panicked or aborted",
                    1_000,
                    &[17, 40, 1_041],
                ),
                reason("guest/data", "no |date|: `<b>`", 1, &[99]),
            ],
            rows_of_other_reasons: 12,
            file: FileFact {
                connection: "lake".to_owned(),
                path: "rejects/orders/0190aaaa-step-1.parquet".to_owned(),
                bytes: 2_048,
                modified: None,
                version: None,
            },
        }],
        rows_unread: 2,
        unread: vec![UnreadFact {
            input: "df".to_owned(),
            rows: 2,
            reasons: vec![reason(
                "read/bad-row",
                "3 fields where 2 are expected",
                2,
                &[7, 9],
            )],
            rows_of_other_reasons: 0,
            file: None,
        }],
        ..facts()
    }
}

fn operation(reference: &str, params: serde_json::Value) -> OperationFact {
    OperationFact {
        operation: OperationIdentity {
            reference: reference.to_owned(),
            plugin: "columns".to_owned(),
            version: "0.1.0".to_owned(),
            digest: "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789".to_owned(),
        },
        grants: Vec::new(),
        params,
        ledger: Ledger {
            instances: 2,
            guest_cpu_ns: 85_400_000,
            exchange_cpu_ns: 1_000_000,
            encode_cpu_ns: 700_000,
            decode_cpu_ns: 300_000,
            memory_bytes_peak: 41 << 20,
            memory_bytes_max: 256 << 20,
            growths_refused: 0,
            batches_in: 42,
            emits: 42,
            rows_in: 336_776,
            rows_out: 1_234,
            bytes_in: 1_000_000,
            bytes_out: 10_000,
            log_lines_dropped: 3,
            work: Some(1_234_567_890),
        },
        instances: vec![instance(0, 41 << 20), instance(1, 29 << 20)],
        partitions: 2,
        chained_to: None,
        bytes_spilled: 3 << 20,
        component: Some(ComponentOrigin::Compiled { compile_ms: 1_240 }),
        notes: vec![GuestNote {
            kind: "warn".to_owned(),
            text: "12 values were empty".to_owned(),
        }],
        flow: Some(flow()),
        sensitive: false,
    }
}

/// `id` passes, `km` is made of `id` and a price, `city` is rewritten.
fn flow() -> StepFlow {
    let port = |input, needed: &[&str]| PortFlow {
        input,
        needed: needed.iter().map(|name| (*name).to_owned()).collect(),
    };
    let column = |column: &str, passed| ColumnFlow {
        column: column.to_owned(),
        passed,
    };
    StepFlow {
        ports: vec![port(Some(0), &["city", "km"]), port(Some(1), &["price"])],
        columns: vec![
            column(
                "id",
                Some(PassedColumn {
                    port: 0,
                    column: "id".to_owned(),
                }),
            ),
            column("city", None),
            column("km", None),
        ],
    }
}

/// Half of what the operation cost.
fn instance(partition: u32, memory_bytes_peak: u64) -> InstanceFact {
    InstanceFact {
        partition,
        ledger: Ledger {
            instances: 1,
            guest_cpu_ns: 42_700_000,
            exchange_cpu_ns: 500_000,
            encode_cpu_ns: 350_000,
            decode_cpu_ns: 150_000,
            memory_bytes_peak,
            memory_bytes_max: 256 << 20,
            growths_refused: 0,
            batches_in: 21,
            emits: 21,
            rows_in: 168_388,
            rows_out: 617,
            bytes_in: 500_000,
            bytes_out: 5_000,
            log_lines_dropped: u64::from(partition) * 3,
            work: Some(617_283_945),
        },
    }
}

fn guest_failure() -> Failure {
    let mut failure = Failure::new(
        FailureClass::Guest,
        "guest/params",
        "column `amuont` is not an input column",
    )
    .cause("unknown-column")
    .hint("did you mean `amount`?")
    .at_step(0)
    .at_param("/columns/0");
    failure.place = Some(Place {
        file: "pipelines/orders.yaml".to_owned(),
        line: 14,
        column: 20,
    });
    failure
}

fn finished(
    name: &str,
    outcome: Outcome,
    attempts: u32,
    facts: Option<NodeFacts>,
    failure: Option<Failure>,
) -> RunEvent {
    RunEvent::NodeFinished {
        node: node(name),
        outcome,
        attempts,
        duration_ms: if attempts == 0 { 0 } else { 1_235 },
        facts: facts.map(Box::new),
        failure,
    }
}

/// The whole run.
pub(crate) fn run() -> Vec<Event> {
    let attempt = |name, attempt| RunEvent::AttemptStarted {
        node: node(name),
        attempt,
    };
    let raw = NodeFacts {
        operations: Vec::new(),
        ..facts()
    };
    events(vec![
        run_started(),
        pipeline_started(),
        attempt("orders_raw", 1),
        RunEvent::NodeProgress {
            node: node("orders_raw"),
            rows_read: 1_000,
            rows_out: 900,
        },
        finished("orders_raw", Outcome::Succeeded, 1, Some(raw), None),
        attempt("orders_clean", 1),
        attempt("orders_sum", 1),
        RunEvent::AttemptFailed {
            node: node("orders_clean"),
            attempt: 1,
            failure: Failure::new(
                FailureClass::Transient,
                "read/busy",
                "the store did not answer in time",
            ),
            retry_in_ms: 200,
        },
        finished(
            "orders_sum",
            Outcome::Failed,
            1,
            None,
            Some(guest_failure()),
        ),
        finished(
            "orders_report",
            Outcome::Skipped,
            0,
            None,
            Some(Failure::new(
                FailureClass::Cancelled,
                "run/upstream-failed",
                "not tried because `orders.orders_sum` failed",
            )),
        ),
        attempt("orders_clean", 2),
        RunEvent::NodeProgress {
            node: node("orders_clean"),
            rows_read: 100_000,
            rows_out: 99,
        },
        finished("orders_clean", Outcome::Recovered, 2, Some(facts()), None),
        RunEvent::PipelineFinished {
            pipeline: PIPELINE.to_owned(),
            outcome: Outcome::Failed,
            duration_ms: 1_240,
        },
        RunEvent::ExitDecided { exit_code: 1 },
        RunEvent::StoryWritten {
            pipeline: PIPELINE.to_owned(),
            paths: vec!["stories/a.md".to_owned()],
        },
        RunEvent::RunFinished {
            outcome: Outcome::Failed,
            duration_ms: 1_400,
        },
    ])
}

/// The story of the whole run.
pub(crate) fn story() -> Story {
    let mut story = fold(&run(), PIPELINE).expect("is mentioned");
    // Tests of file names want a round time.
    story.started_at = at(0);
    story
}

/// The story of the whole run with earlier runs, the last of which wrote more.
pub(crate) fn with_history() -> Story {
    let mut before = story();
    before.run_id = "0190aaaa-0000-7000-8000-000000000000".to_owned();
    before.started_at = at(0) - jiff::SignedDuration::from_hours(24);
    before.outcome = crate::story::Status::Succeeded;
    before.duration_ms = 350;
    before.config_digest = "00".repeat(32);
    let facts = before.nodes[1].facts.as_mut().expect("it ran");
    facts.rows_out = 4_000;
    facts.nulls_out = vec![0, 0, 3];
    facts.schema_out.pop();
    facts.operations[0].operation.digest = "12".repeat(32);
    let mut story = story();
    let past = |n: u64| PastRun {
        started_at: at(0)
            - jiff::SignedDuration::from_hours(24 * i64::try_from(9 - n).unwrap_or(0)),
        duration_ms: 300 + n * n * 13 % 200,
        outcome: match n {
            3 => crate::story::Status::Failed,
            5 => crate::story::Status::Recovered,
            _ => crate::story::Status::Succeeded,
        },
        ..PastRun::of(&before)
    };
    story.history = (0..8).map(past).chain([PastRun::of(&before)]).collect();
    story.comparison = Some(compare(&before, &story));
    story
}

/// The story of the run up to the second attempt of `orders_clean`.
pub(crate) fn unfinished() -> Story {
    fold(&unfinished_events(), PIPELINE).expect("is mentioned")
}

/// The events of that.
pub(crate) fn unfinished_events() -> Vec<Event> {
    run()[..12].to_vec()
}
