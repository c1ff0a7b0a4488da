//! Traces and metrics of a run, over OTLP: spans for the run, its nodes, their attempts and steps, and what they cost.
//! Made when the run has ended, of its stories alone; what cannot be sent is not kept.

use std::collections::HashMap;

use odibi_plan::plan::Secret;
use odibi_story::failure::{Failure, FailureClass, code};
use odibi_story::story::Story;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::SpanExporter as _;

mod metrics;
mod spans;

pub use spans::Parent;

/// Spans of one request.
const SPANS_MAX: usize = 512;

/// A collector, and what it is told of the sender.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its URL; `/v1/traces` and `/v1/metrics` are put behind it.
    pub endpoint: Secret,
    /// Further headers.
    pub headers: Vec<(String, Secret)>,
    /// Name of the service.
    pub service_name: String,
    /// Time of one request.
    pub timeout_ms: u64,
    /// Environment that was chosen.
    pub environment: Option<String>,
    /// The span that has started this run, where there is one.
    pub parent: Option<Parent>,
}

/// Sends the traces and metrics of a run. Blocks, for two requests and one more for each 512 spans.
///
/// # Errors
/// `telemetry/undelivered`
pub fn send(destination: &Destination, stories: &[&Story]) -> Result<(), Failure> {
    if stories.is_empty() {
        return Ok(());
    }
    let resource = resource(destination, stories);
    send_spans(destination, stories, &resource)?;
    send_metrics(destination, stories, resource)
}

fn send_spans(
    destination: &Destination,
    stories: &[&Story],
    resource: &Resource,
) -> Result<(), Failure> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(url(destination, "traces"))
        .with_timeout(std::time::Duration::from_millis(destination.timeout_ms))
        .with_headers(headers(destination))
        .build()
        .map_err(|error| failure("traces", &error))?;
    exporter.set_resource(resource);
    let mut spans = spans::of(stories, destination.parent.as_ref());
    while !spans.is_empty() {
        let rest = spans.split_off(spans.len().min(SPANS_MAX));
        let batch = std::mem::replace(&mut spans, rest);
        let sent = futures::executor::block_on(exporter.export(batch));
        sent.map_err(|error| failure("traces", &error))?;
    }
    Ok(())
}

fn send_metrics(
    destination: &Destination,
    stories: &[&Story],
    resource: Resource,
) -> Result<(), Failure> {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_endpoint(url(destination, "metrics"))
        .with_timeout(std::time::Duration::from_millis(destination.timeout_ms))
        .with_headers(headers(destination))
        // A run counts from nothing to its end.
        .with_temporality(Temporality::Delta)
        .build()
        .map_err(|error| failure("metrics", &error))?;
    metrics::send(exporter, resource, stories).map_err(|error| failure("metrics", &error))
}

fn url(destination: &Destination, signal: &str) -> String {
    let base = destination.endpoint.expose().trim_end_matches('/');
    format!("{base}/v1/{signal}")
}

fn headers(destination: &Destination) -> HashMap<String, String> {
    let headers = destination.headers.iter();
    headers
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

fn resource(destination: &Destination, stories: &[&Story]) -> Resource {
    let mut attributes = vec![
        KeyValue::new("telemetry.sdk.language", "rust"),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
    ];
    if let Some(story) = stories.first() {
        attributes.push(KeyValue::new(
            "service.version",
            story.odibi_version.clone(),
        ));
        attributes.push(KeyValue::new("odibi.project", story.project.clone()));
        if let Some(host) = &story.host {
            attributes.push(KeyValue::new("host.name", host.clone()));
        }
    }
    if let Some(environment) = &destination.environment {
        let name = "deployment.environment.name";
        attributes.push(KeyValue::new(name, environment.clone()));
    }
    Resource::builder_empty()
        .with_service_name(destination.service_name.clone())
        .with_attributes(attributes)
        .build()
}

/// Messages of the exporter hold the address, so that only the kind of the error is told.
fn failure(what: &str, error: &dyn std::fmt::Display) -> Failure {
    let text = error.to_string().to_lowercase();
    let why = if text.contains("timed out") || text.contains("timeout") {
        "no answer in time"
    } else if text.contains("status") {
        "the collector refused them"
    } else {
        "no connection"
    };
    let message = format!("the {what} of the run could not be sent: {why}");
    Failure::new(
        FailureClass::Transient,
        code::TELEMETRY_UNDELIVERED,
        message,
    )
    .hint("the collector must speak OTLP over HTTP, usually on port 4318")
}

#[cfg(test)]
mod tests;
