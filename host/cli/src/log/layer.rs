//! The layer of `tracing` that writes events as JSON lines.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use odibi_plan::config::LogLevel;
use odibi_run::port::Clock as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::entry::TARGET;
use super::{Shared, foreign, read};
use crate::clock::SystemClock;

/// Characters of one text in a line; the rest is cut off.
const TEXT_CHARS_MAX: usize = 8 * 1024;

/// Writes what odibi says as JSON lines, and what libraries warn of.
pub(super) struct Lines {
    shared: Arc<Shared>,
}

impl Lines {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn own(&self, level: LogLevel, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let chosen = read(&self.shared.chosen).clone();
        let run_id = read(&self.shared.run_id).clone();
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
        put("timestamp", timestamp().into());
        put("level", level.word().into());
        // What every line has comes first, and is never missing.
        put("message", fields.take("message"));
        put("event", fields.take("event"));
        put("run_id", run_id.into());
        for name in ["pipeline", "node", "attempt"] {
            put(name, fields.take(name));
        }
        line.append(&mut fields.0);
        if !chosen.metadata.is_empty() {
            let entries = chosen.metadata.into_iter();
            let metadata: Map<String, Value> = entries.map(|(k, v)| (k, v.into())).collect();
            line.insert("metadata".to_owned(), metadata.into());
        }
        self.shared.write_json(line.into());
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked once for each place in the code: what libraries say below a warning costs nothing.
        if metadata.target() == TARGET || foreign::may_be_shown(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let chosen = read(&self.shared.chosen);
        let shown = level(metadata) <= chosen.level;
        if metadata.target() == TARGET {
            return shown && chosen.structured;
        }
        shown
            && foreign::may_be_shown(metadata)
            && (chosen.structured || chosen.level >= LogLevel::Debug)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            self.own(level(metadata), event);
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.take("message");
        let message = message.as_str().unwrap_or_default();
        foreign::say(&self.shared, level(metadata), metadata.target(), message);
    }
}

fn level(metadata: &Metadata<'_>) -> LogLevel {
    match *metadata.level() {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warning,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Now, in milliseconds.
pub(super) fn timestamp() -> String {
    format!("{:.3}", SystemClock::new().now())
}

/// One line of JSON, its line break included. Characters that steer a terminal, or that some reader takes for the end of
/// a line, are escaped even where JSON lets them stand.
pub(super) fn written(line: &Value) -> String {
    let mut text = String::new();
    for c in line.to_string().chars() {
        // JSON has them inside of texts only.
        if odibi_story::render::is_hidden(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text.push('\n');
    text
}

/// The fields of an event that hold something.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Value {
        self.0.shift_remove(name).unwrap_or(Value::Null)
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, cut(value).into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, cut(&format!("{value:?}")).into());
    }
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
