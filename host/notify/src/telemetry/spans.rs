//! Stories as spans. The ids follow from the run, so the same run always has the same trace.

use std::time::SystemTime;

use jiff::Timestamp;
use odibi_story::event::{NodeFacts, OperationFact};
use odibi_story::failure::Failure;
use odibi_story::story::{AttemptStory, NodeStory, Status, Story};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// The span that a run belongs to, as the variable `TRACEPARENT` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    trace: TraceId,
    span: SpanId,
}

impl Parent {
    /// Reads `00-TRACE-SPAN-FLAGS` of the W3C's Trace Context; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [version, trace, span, flags, ..] = parts[..] else {
            return None;
        };
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let fits = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !fits || version == "ff" {
            return None;
        }
        let parent = Self {
            trace: TraceId::from_hex(trace).ok()?,
            span: SpanId::from_hex(span).ok()?,
        };
        (parent.trace != TraceId::INVALID && parent.span != SpanId::INVALID).then_some(parent)
    }
}

/// The spans of a run: its own first, each before those within it.
pub(super) fn of(stories: &[&Story], parent: Option<&Parent>) -> Vec<SpanData> {
    let Some(first) = stories.iter().min_by_key(|story| story.started_at) else {
        return Vec::new();
    };
    let ended_at = stories.iter().map(|story| end(story)).max();
    let mut writer = Writer {
        run_id: &first.run_id,
        trace: parent.map_or_else(|| trace_id(&first.run_id), |parent| parent.trace),
        spans: Vec::new(),
    };
    let failed = stories.iter().find(|story| is_bad(story.outcome));
    let worst = failed.map_or(first.outcome, |story| story.outcome);
    let mut attributes = vec![
        KeyValue::new("odibi.run_id", first.run_id.clone()),
        KeyValue::new("odibi.project", first.project.clone()),
        KeyValue::new("odibi.outcome", worst.word()),
    ];
    if let Some(code) = first.exit_code {
        attributes.push(KeyValue::new("process.exit.code", i64::from(code)));
    }
    let root = writer.span(Span {
        key: "run",
        parent: parent.map_or(SpanId::INVALID, |parent| parent.span),
        is_remote: parent.is_some(),
        name: format!("run {}", first.project),
        started_at: first.started_at,
        ended_at: ended_at.unwrap_or(first.started_at),
        attributes,
        status: status(worst, None),
    });
    for story in stories {
        for node in &story.nodes {
            writer.node(story, node, root);
        }
    }
    writer.spans
}

struct Writer<'a> {
    run_id: &'a str,
    trace: TraceId,
    spans: Vec<SpanData>,
}

/// What is to be said of a span.
struct Span<'a> {
    /// Names it within the run.
    key: &'a str,
    parent: SpanId,
    is_remote: bool,
    name: String,
    started_at: Timestamp,
    ended_at: Timestamp,
    attributes: Vec<KeyValue>,
    status: SpanStatus,
}

impl Writer<'_> {
    /// A node, its attempts, and below the last of them its steps. One that never began has no span.
    fn node(&mut self, story: &Story, node: &NodeStory, parent: SpanId) {
        let Some(started_at) = node.started_at else {
            return;
        };
        let ended_at = node.ended_at.unwrap_or_else(|| end(story)).max(started_at);
        let name = format!("{}.{}", story.pipeline, node.outline.name);
        let mut attributes = named(story, node);
        attributes.push(KeyValue::new("odibi.outcome", node.outcome.word()));
        attributes.push(KeyValue::new(
            "odibi.attempts",
            number(node.attempts.len() as u64),
        ));
        if let Some(facts) = &node.facts {
            attributes.extend(rows(facts));
        }
        attributes.extend(failed(node.failure.as_ref()));
        let key = format!("node\n{name}");
        let span = self.span(Span {
            key: &key,
            parent,
            is_remote: false,
            name: format!("node {name}"),
            started_at,
            ended_at,
            attributes,
            status: status(node.outcome, node.failure.as_ref()),
        });
        for (at, attempt) in node.attempts.iter().enumerate() {
            let starts = attempt.started_at.unwrap_or(started_at);
            let is_last = at + 1 == node.attempts.len();
            let ends = if is_last {
                ended_at
            } else {
                attempt_end(attempt, node.attempts.get(at + 1), ended_at)
            };
            let mut attributes = named(story, node);
            let count = i64::from(attempt.attempt);
            attributes.push(KeyValue::new("odibi.attempt", count));
            attributes.push(KeyValue::new("odibi.outcome", attempt.outcome.word()));
            attributes.extend(failed(attempt.failure.as_ref()));
            let key = format!("{key}\n{count}");
            let span = self.span(Span {
                key: &key,
                parent: span,
                is_remote: false,
                name: format!("attempt {count} of {name}"),
                started_at: starts,
                ended_at: ends.max(starts),
                attributes,
                status: status(attempt.outcome, attempt.failure.as_ref()),
            });
            let steps = node.facts.iter().filter(|_| is_last);
            for (at, fact) in steps.flat_map(|facts| &facts.operations).enumerate() {
                let mut attributes = named(story, node);
                attributes.extend(cost(at, fact));
                self.span(Span {
                    key: &format!("{key}\n{at}"),
                    parent: span,
                    is_remote: false,
                    // Steps of a node work on a stream of batches at the same time: they have the time of their attempt.
                    name: format!("step {} {}", at + 1, fact.operation.reference),
                    started_at: starts,
                    ended_at: ends.max(starts),
                    attributes,
                    status: SpanStatus::Unset,
                });
            }
        }
    }

    fn span(&mut self, span: Span<'_>) -> SpanId {
        let id = span_id(self.run_id, span.key);
        let state = TraceState::default();
        self.spans.push(SpanData {
            span_context: SpanContext::new(self.trace, id, TraceFlags::SAMPLED, false, state),
            parent_span_id: span.parent,
            parent_span_is_remote: span.is_remote,
            span_kind: SpanKind::Internal,
            name: span.name.into(),
            start_time: SystemTime::from(span.started_at),
            end_time: SystemTime::from(span.ended_at),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: InstrumentationScope::builder("odibi")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        });
        id
    }
}

/// The start of the next attempt, less the pause before it.
fn attempt_end(attempt: &AttemptStory, next: Option<&AttemptStory>, last: Timestamp) -> Timestamp {
    let Some(next) = next.and_then(|next| next.started_at) else {
        return last;
    };
    let pause_ms = attempt.retry_in_ms.unwrap_or(0);
    let pause_ms = i64::try_from(pause_ms).unwrap_or(0);
    Timestamp::from_millisecond(next.as_millisecond() - pause_ms).unwrap_or(next)
}

fn named(story: &Story, node: &NodeStory) -> Vec<KeyValue> {
    vec![
        KeyValue::new("odibi.pipeline", story.pipeline.clone()),
        KeyValue::new("odibi.node", node.outline.name.clone()),
    ]
}

fn rows(facts: &NodeFacts) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("odibi.rows.in", number(facts.rows_in)),
        KeyValue::new("odibi.rows.out", number(facts.rows_out)),
        KeyValue::new("odibi.rows.quarantined", number(facts.rows_quarantined)),
    ];
    let written = facts.rows_written;
    attributes.extend(written.map(|rows| KeyValue::new("odibi.rows.written", number(rows))));
    attributes
}

fn cost(at: usize, fact: &OperationFact) -> Vec<KeyValue> {
    let ledger = &fact.ledger;
    vec![
        KeyValue::new("odibi.step", number(at as u64 + 1)),
        KeyValue::new("odibi.operation", fact.operation.reference.clone()),
        KeyValue::new("odibi.plugin", fact.operation.plugin.clone()),
        KeyValue::new("odibi.plugin.version", fact.operation.version.clone()),
        KeyValue::new("odibi.instances", i64::from(ledger.instances)),
        KeyValue::new("odibi.rows.in", number(ledger.rows_in)),
        KeyValue::new("odibi.rows.out", number(ledger.rows_out)),
        KeyValue::new("odibi.bytes.in", number(ledger.bytes_in)),
        KeyValue::new("odibi.bytes.out", number(ledger.bytes_out)),
        KeyValue::new("odibi.guest.cpu_ns", number(ledger.guest_cpu_ns)),
        KeyValue::new("odibi.guest.memory_peak", number(ledger.memory_bytes_peak)),
    ]
}

/// Class and code; what the message says may be data.
fn failed(failure: Option<&Failure>) -> Vec<KeyValue> {
    let attributes = |failure: &Failure| {
        [
            KeyValue::new("error.type", failure.code.clone()),
            KeyValue::new("odibi.failure.class", failure.class.word()),
        ]
    };
    failure.map(attributes).into_iter().flatten().collect()
}

fn status(outcome: Status, failure: Option<&Failure>) -> SpanStatus {
    match outcome {
        Status::Succeeded | Status::Recovered => SpanStatus::Ok,
        Status::Skipped | Status::NotStarted => SpanStatus::Unset,
        Status::Failed | Status::Cancelled | Status::Unfinished | Status::Crashed => {
            let word = failure.map_or(outcome.word(), |failure| failure.code.as_str());
            SpanStatus::error(word.to_owned())
        }
    }
}

fn is_bad(status: Status) -> bool {
    !matches!(status, Status::Succeeded | Status::Recovered)
}

fn end(story: &Story) -> Timestamp {
    let last = i64::try_from(story.duration_ms).unwrap_or(0);
    let reckoned = Timestamp::from_millisecond(story.started_at.as_millisecond() + last);
    story.ended_at.or(reckoned.ok()).unwrap_or(story.started_at)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The run's id, which is as long as a trace's. Where it is no UUID, its hash.
fn trace_id(run_id: &str) -> TraceId {
    let hex: String = run_id.chars().filter(|c| *c != '-').collect();
    let own = (hex.len() == 32)
        .then(|| TraceId::from_hex(&hex).ok())
        .flatten();
    own.filter(|id| *id != TraceId::INVALID).unwrap_or_else(|| {
        let digest = digest(run_id, "trace");
        TraceId::from_bytes(std::array::from_fn(|at| digest[at] | u8::from(at == 0)))
    })
}

fn span_id(run_id: &str, key: &str) -> SpanId {
    let digest = digest(run_id, key);
    SpanId::from_bytes(std::array::from_fn(|at| digest[at] | u8::from(at == 0)))
}

fn digest(run_id: &str, key: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(format!("{run_id}\n{key}")).into()
}
