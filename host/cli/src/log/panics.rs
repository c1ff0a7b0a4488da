//! Panics: a line of the log like any other. What they do to the run is decided where they are caught.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use odibi_plan::config::LogLevel;
use odibi_story::render::plain;

use super::{Entry, Log};
use crate::hush;

/// From now on, panics of this process are said here.
pub(super) fn watch(log: Log) {
    std::panic::set_hook(Box::new(move |info| say(info, &log)));
}

fn say(info: &PanicHookInfo<'_>, log: &Log) {
    let message = if hush::is_hushed() {
        "what it says is withheld"
    } else {
        info.payload_as_str().unwrap_or("no message")
    };
    let place = info.location();
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    if log.is_structured() {
        let said = format!("odibi panicked in thread `{name}`: {message}");
        let entry = Entry {
            file: place.map(std::panic::Location::file),
            line: place.map(|place| place.line().into()),
            column: place.map(|place| place.column().into()),
            ..Entry::new("panic", &said)
        };
        log.entry(LogLevel::Error, &entry);
        return;
    }
    let place = place.map_or_else(String::new, |place| format!(" at {place}"));
    let mut text = format!(
        "thread `{name}` of odibi panicked{place}:\n{}\n",
        message.lines().map(plain).collect::<Vec<_>>().join("\n")
    );
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("{trace}\n"));
    }
    log.text(LogLevel::Error, &text);
}
