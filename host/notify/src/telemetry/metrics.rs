//! What a run counts: rows, bytes, times, guest CPU and failures.

use std::time::Duration;

use odibi_story::event::{FileFact, NodeFacts, OperationFact};
use odibi_story::story::{NodeStory, Story};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};

/// The reader sends only when it is asked to.
const INTERVAL: Duration = Duration::from_secs(24 * 3_600);

pub(super) fn send(
    exporter: MetricExporter,
    resource: Resource,
    stories: &[&Story],
) -> OTelSdkResult {
    let reader = PeriodicReader::builder(exporter)
        .with_interval(INTERVAL)
        .build();
    let provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(reader)
        .build();
    let instruments = Instruments::new(&provider.meter("odibi"));
    for story in stories {
        instruments.run(story);
        for node in &story.nodes {
            instruments.node(story, node);
        }
    }
    let sent = provider.force_flush();
    // Nothing is left that it could send; what it says then is said already.
    let _ = provider.shutdown();
    sent
}

struct Instruments {
    pipeline_duration: Histogram<f64>,
    node_duration: Histogram<f64>,
    rows_read: Counter<u64>,
    rows_written: Counter<u64>,
    rows_quarantined: Counter<u64>,
    bytes_read: Counter<u64>,
    bytes_written: Counter<u64>,
    guest_cpu: Counter<f64>,
    attempts: Counter<u64>,
    failures: Counter<u64>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let rows = |name, what| {
            let counter = meter.u64_counter(name).with_unit("{row}");
            counter.with_description(what).build()
        };
        let bytes = |name, what| {
            let counter = meter.u64_counter(name).with_unit("By");
            counter.with_description(what).build()
        };
        let counts = |name, unit, what| {
            let counter = meter.u64_counter(name).with_unit(unit);
            counter.with_description(what).build()
        };
        let seconds = |name, what| {
            let histogram = meter.f64_histogram(name).with_unit("s");
            histogram.with_description(what).build()
        };
        Self {
            pipeline_duration: seconds("odibi.pipeline.duration", "time that a pipeline took"),
            node_duration: seconds("odibi.node.duration", "time that a node took"),
            rows_read: rows("odibi.rows.read", "rows of all inputs"),
            rows_written: rows("odibi.rows.written", "rows written to targets"),
            rows_quarantined: rows("odibi.rows.quarantined", "rows set aside"),
            bytes_read: bytes("odibi.bytes.read", "size of the files that were read"),
            bytes_written: bytes("odibi.bytes.written", "size of the files that were written"),
            guest_cpu: meter
                .f64_counter("odibi.guest.cpu")
                .with_unit("s")
                .with_description("CPU time inside plugins")
                .build(),
            attempts: counts("odibi.attempts", "{attempt}", "attempts of nodes"),
            failures: counts("odibi.failures", "{failure}", "failures of attempts"),
        }
    }

    fn run(&self, story: &Story) {
        let attributes = [
            KeyValue::new("odibi.pipeline", story.pipeline.clone()),
            KeyValue::new("odibi.outcome", story.outcome.word()),
        ];
        self.pipeline_duration
            .record(seconds(story.duration_ms), &attributes);
    }

    fn node(&self, story: &Story, node: &NodeStory) {
        if node.started_at.is_none() {
            return;
        }
        let mut attributes = vec![
            KeyValue::new("odibi.pipeline", story.pipeline.clone()),
            KeyValue::new("odibi.node", node.outline.name.clone()),
        ];
        self.attempts.add(node.attempts.len() as u64, &attributes);
        let failures = node.attempts.iter().filter_map(|a| a.failure.as_ref());
        for failure in failures {
            let mut attributes = attributes.clone();
            attributes.push(KeyValue::new("error.type", failure.code.clone()));
            attributes.push(KeyValue::new("odibi.failure.class", failure.class.word()));
            self.failures.add(1, &attributes);
        }
        if let Some(facts) = &node.facts {
            self.facts(facts, &attributes);
        }
        attributes.push(KeyValue::new("odibi.outcome", node.outcome.word()));
        self.node_duration
            .record(seconds(node.duration_ms), &attributes);
    }

    fn facts(&self, facts: &NodeFacts, attributes: &[KeyValue]) {
        let bytes = |files: &[FileFact]| files.iter().map(|file| file.bytes).sum();
        let cpu_ns = |fact: &OperationFact| fact.ledger.guest_cpu_ns;
        self.rows_read.add(facts.rows_in, attributes);
        self.bytes_read.add(bytes(&facts.sources), attributes);
        let rejected = facts.rows_quarantined.saturating_add(facts.rows_unread);
        self.rows_quarantined.add(rejected, attributes);
        if let Some(rows) = facts.rows_written {
            self.rows_written.add(rows, attributes);
        }
        if let Some(target) = &facts.target {
            self.bytes_written.add(target.bytes, attributes);
        }
        let cpu_ns: u64 = facts.operations.iter().map(cpu_ns).sum();
        self.guest_cpu.add(cpu_ns as f64 / 1e9, attributes);
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
