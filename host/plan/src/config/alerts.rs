//! `alerts`: who is told when a run begins and ends, for the project or for one pipeline.
//!
//! ```yaml
//! alerts:
//!   - type: slack
//!     url: "${SLACK_WEBHOOK}"
//!     on_events: [on_failure, on_recovered]
//!     metadata: {throttle_minutes: 15, max_per_hour: 10, mention_on_failure: "@here"}
//! ```

use std::collections::BTreeMap;

use super::attempts::duration;
use super::outside::{host_of, url};
use super::reader::{Context, Reader};
use super::{Text, connection};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::limits::{ALERTS_MAX, ALERTS_PER_HOUR_MAX, SEND_TIMEOUT_MS_MAX, THROTTLE_MINUTES_MAX};
use crate::plan::{AlertChannel, AlertEvent, AlertKind, Secret};
use crate::yaml;

/// As in ODIBI.
const THROTTLE_MINUTES_DEFAULT: usize = 15;
/// As in ODIBI.
const PER_HOUR_DEFAULT: usize = 10;
/// Time of one try when `timeout` is not given, as in ODIBI.
const TIMEOUT_MS_DEFAULT: u64 = 10_000;

/// The words of `type`. `teams` and `teams_workflow` are one: connectors of Office 365 are gone.
pub(super) const KINDS: &[(&str, AlertKind)] = &[
    ("slack", AlertKind::Slack),
    ("teams", AlertKind::Teams),
    ("teams_workflow", AlertKind::Teams),
    ("webhook", AlertKind::Webhook),
];

/// Hosts of the connectors of Office 365, which Microsoft has switched off.
const RETIRED_HOSTS: [&str; 3] = [
    "webhook.office.com",
    "outlook.office.com",
    "outlook.office365.com",
];

/// A channel as its place in the file says it; its name may still be taken by another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Everything but a name that is unique.
    pub channel: AlertChannel,
    /// Its name, when it has one.
    pub name: Option<Text>,
    /// Where it stands.
    pub span: Span,
}

/// Reads `alerts` of the project or of a pipeline.
pub(super) fn read(owner: &mut Reader<'_>, pipeline: Option<&str>) -> Vec<Alert> {
    let context = owner.context();
    owner
        .list("alerts")
        .iter()
        .filter_map(|item| one(context, item, pipeline))
        .collect()
}

/// Gives every channel a name of its own: that which is written, or its type and a number.
pub(super) fn named<'a>(
    context: &Context,
    alerts: impl Iterator<Item = &'a Alert>,
) -> Vec<AlertChannel> {
    let alerts: Vec<&Alert> = alerts.collect();
    let mut written: Vec<&Text> = Vec::new();
    for name in alerts.iter().filter_map(|alert| alert.name.as_ref()) {
        super::pipeline::unique(context, "alert", name, written.iter().copied());
        written.push(name);
    }
    if let Some(alert) = alerts.get(ALERTS_MAX) {
        let message = format!("a project has at most {ALERTS_MAX} alerts");
        context.report(Diagnostic::error(&codes::BAD_VALUE, alert.span, message));
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut made = Vec::new();
    for alert in &alerts {
        let mut channel = alert.channel.clone();
        channel.name = match &alert.name {
            Some(name) => name.value.clone(),
            None => loop {
                let word = channel.kind.word();
                let base = match &channel.pipeline {
                    Some(pipeline) => format!("{pipeline}_{word}"),
                    None => word.to_owned(),
                };
                let count = counts.entry(base.clone()).or_default();
                *count += 1;
                let name = match *count {
                    1 => base,
                    n => format!("{base}_{n}"),
                };
                if written.iter().all(|text| text.value != name) {
                    break name;
                }
            },
        };
        made.push(channel);
    }
    made
}

fn one(context: &Context, item: &yaml::Node, pipeline: Option<&str>) -> Option<Alert> {
    let start = Span {
        end: item.span.start,
        ..item.span
    };
    let mut reader = Reader::new(context, item, start, "an alert")?;
    let name = reader.text("name");
    let name = reader.filled(name, "name");
    if let Some(name) = &name {
        reader.rename(format!("alert {}", quoted(name.shown())));
        reader.check_name(name);
    }
    let word = reader.required_text("type");
    let kind = word.as_ref().and_then(|word| {
        let kind = reader.choice(word, "type", KINDS, &[])?;
        if name.is_none() {
            let of = pipeline.map_or_else(String::new, |p| format!(" of pipeline {}", quoted(p)));
            reader.rename(format!("alert of type {}{of}", quoted(word.shown())));
        }
        Some(kind)
    });
    let allow_http = reader.boolean("allow_http", false);
    let address = reader.required_text("url");
    let address = reader.filled(address, "url");
    let fits = address
        .as_ref()
        .is_some_and(|text| url(&reader, text, "url", allow_http) && !retired(&reader, text));
    let on_events = events(&mut reader);
    let metadata = metadata(&mut reader);
    let timeout_ms = duration(&mut reader, "timeout", 1..=SEND_TIMEOUT_MS_MAX);
    let (signing_key, headers) = of_webhooks(&mut reader, kind);
    reader.finish_with(&[
        ("webhook", "url"),
        ("webhook_url", "url"),
        ("events", "on_events"),
        ("on", "on_events"),
        ("channel", "`channel` stands under `metadata`"),
        ("mention", "`mention` stands under `metadata`"),
        (
            "throttle_minutes",
            "`throttle_minutes` stands under `metadata`",
        ),
        ("max_per_hour", "`max_per_hour` stands under `metadata`"),
    ]);
    if !fits {
        return None;
    }
    Some(Alert {
        channel: AlertChannel {
            name: String::new(),
            kind: kind?,
            url: Secret::new(address?.value),
            on_events: on_events?,
            pipeline: pipeline.map(str::to_owned),
            throttle_ms: metadata.throttle_minutes as u64 * 60_000,
            hourly_max: u32::try_from(metadata.per_hour_max).unwrap_or(u32::MAX),
            timeout_ms: timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
            mention: metadata.mention,
            mention_on_failure: metadata.mention_on_failure,
            slack_channel: metadata.channel,
            metadata: metadata.others,
            signing_key,
            headers,
        },
        name,
        span: start,
    })
}

/// Reports a URL of a connector of Office 365.
fn retired(reader: &Reader<'_>, text: &Text) -> bool {
    let host = host_of(&text.value);
    let is = |retired: &str| host == retired || host.ends_with(&format!(".{retired}"));
    if !RETIRED_HOSTS.iter().any(|retired| is(retired)) {
        return false;
    }
    let message = format!(
        "`url` of {} is a connector of Office 365 (MessageCard), which Microsoft has switched off",
        reader.subject()
    );
    let made = Diagnostic::error(&codes::BAD_VALUE, reader.span(), message).hint(
        "in Teams, make a workflow \"When a Teams webhook request is received\" in the Workflows app, and use its URL",
    );
    reader.context().report(made);
    true
}

/// Which events; those of failures when nothing is said.
fn events(reader: &mut Reader<'_>) -> Option<Vec<AlertEvent>> {
    if reader.optional("on_events").is_none() {
        return Some(vec![AlertEvent::Failure]);
    }
    let choices = AlertEvent::ALL.map(|event| (event.word(), event));
    let mut events = Vec::new();
    let texts = reader.texts("on_events");
    let mut whole = true;
    for text in texts {
        let event = reader.choice(&text, "on_events", &choices, &[]);
        if event == Some(AlertEvent::GateBlock) {
            without_gates(reader, &text);
        }
        match event {
            Some(event) if !events.contains(&event) => events.push(event),
            Some(_) => {}
            None => whole = false,
        }
    }
    whole.then_some(events)
}

/// Says that an event does not come.
fn without_gates(reader: &Reader<'_>, event: &Text) {
    let message = format!(
        "{} in `on_events` of {} has no effect: this version has no gates that keep a result from being written",
        quoted(event.shown()),
        reader.subject()
    );
    let made = Diagnostic::warning(&codes::IGNORED_KEY, event.span, message);
    reader.context().report(made);
}

#[derive(Default)]
struct Metadata {
    throttle_minutes: usize,
    per_hour_max: usize,
    channel: Option<String>,
    mention: Vec<String>,
    mention_on_failure: Vec<String>,
    others: Vec<(String, String)>,
}

/// `metadata`, which is open: what is not known here is sent along.
fn metadata(owner: &mut Reader<'_>) -> Metadata {
    let mut found = Metadata {
        throttle_minutes: THROTTLE_MINUTES_DEFAULT,
        per_hour_max: PER_HOUR_DEFAULT,
        ..Metadata::default()
    };
    let Some(mut reader) = owner.mapping("metadata") else {
        return found;
    };
    if let Some(minutes) = reader.integer("throttle_minutes", 0..=THROTTLE_MINUTES_MAX) {
        found.throttle_minutes = minutes;
    }
    if let Some(most) = reader.integer("max_per_hour", 1..=ALERTS_PER_HOUR_MAX) {
        found.per_hour_max = most;
    }
    found.channel = reader.text("channel").map(|text| text.value);
    found.mention = one_or_many(&mut reader, "mention");
    found.mention_on_failure = one_or_many(&mut reader, "mention_on_failure");
    for entry in reader.rest() {
        if let Some(text) = reader.as_text(entry) {
            found.others.push((entry.key.clone(), text.value));
        }
    }
    reader.finish();
    found
}

fn one_or_many(reader: &mut Reader<'_>, key: &'static str) -> Vec<String> {
    let Some(entry) = reader.optional(key) else {
        return Vec::new();
    };
    let texts = match &entry.value.value {
        yaml::Value::Sequence(_) => reader.texts(key),
        yaml::Value::Missing | yaml::Value::Scalar(_) | yaml::Value::Mapping(_) => {
            reader.text(key).into_iter().collect()
        }
    };
    texts.into_iter().map(|text| text.value).collect()
}

/// `secret` and `headers`, which only a webhook of one's own understands.
fn of_webhooks(
    reader: &mut Reader<'_>,
    kind: Option<AlertKind>,
) -> (Option<Secret>, Vec<(String, Secret)>) {
    let entries = [reader.optional("secret"), reader.optional("headers")];
    let signing_key = reader.text("secret").map(|text| Secret::new(text.value));
    let headers = connection::headers(reader).unwrap_or_default();
    if let Some(AlertKind::Slack | AlertKind::Teams) = kind {
        for entry in entries.into_iter().flatten() {
            let message = format!(
                "{} of {} has no effect: only an alert of type `webhook` sends it",
                quoted(&entry.key),
                reader.subject()
            );
            let made = Diagnostic::warning(&codes::IGNORED_KEY, entry.key_span, message);
            reader.context().report(made);
        }
    }
    (signing_key, headers)
}
