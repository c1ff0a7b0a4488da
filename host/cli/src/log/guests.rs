//! What guests say, as lines of the log: plugin and node are named, and nothing they write looks like a line of ours.

use std::borrow::Cow;
use std::fmt;

use odibi_engine::{GuestLog, GuestSaid};
use odibi_plan::config::LogLevel;
use odibi_story::Withhold;
use odibi_story::render::plain;

use super::{Entry, Log};

/// Passes on what guests say.
#[derive(Clone)]
pub(crate) struct Guests {
    pub(crate) log: Log,
    /// Of a run with sensitive columns.
    pub(crate) withhold: Option<Withhold>,
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guests")
    }
}

impl GuestLog for Guests {
    fn say(&self, said: &GuestSaid<'_>) {
        let log = &self.log;
        let text = match &self.withhold {
            Some(withhold) => Cow::Owned(withhold.text(&said.note.text)),
            None => Cow::Borrowed(said.note.text.as_str()),
        };
        let (kind, text) = (said.note.kind.as_str(), &*text);
        let operation = said.operation;
        if log.is_structured() {
            let entry = Entry {
                pipeline: Some(said.pipeline),
                node: Some(said.node),
                attempt: Some(said.attempt),
                step: Some(said.step as u64 + 1),
                operation: Some(&operation.reference),
                plugin: Some(&operation.plugin),
                kind: Some(kind),
                ..Entry::new("guest", text)
            };
            log.entry(level(kind), &entry);
            return;
        }
        // People see how nodes fare; what is inside of them, only when they ask.
        let least = level(kind).max(LogLevel::Debug);
        let line = format!(
            "{}.{}  {}, {}: {}\n",
            said.pipeline,
            said.node,
            plain(&operation.plugin),
            plain(kind),
            plain(text)
        );
        log.text(least, &line);
    }
}

/// Lines have a level of their own; what they print is information, and numbers are for those who search.
fn level(kind: &str) -> LogLevel {
    match kind {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warning,
        "info" | "stdout" | "stderr" => LogLevel::Info,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Debug,
    }
}
