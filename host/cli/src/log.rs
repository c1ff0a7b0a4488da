//! What goes to stderr: lines for people, or, when it is to be structured, one JSON object a line and nothing else.
//!
//! Structured lines are events of `tracing`; [`layer`] writes them. The text that people see is made where it is said.

mod entry;
mod foreign;
mod guests;
mod layer;
mod panics;
mod settings;
mod told;

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use indicatif::MultiProgress;
use odibi_plan::config::{LogLevel, Logging};
use serde_json::Value;
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt as _;

pub(crate) use entry::{Entry, Joined, joined};
pub(crate) use guests::Guests;
pub(crate) use settings::{Given, LogFormat, LogLevelWord, visible};
pub(crate) use told::Teller;

use crate::redaction::Redaction;

/// The log of one invocation. Cloned freely.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    dispatch: Dispatch,
}

/// What the log and its layer have in common.
struct Shared {
    stderr: Mutex<Box<dyn Write + Send>>,
    /// Somebody may read it as it comes.
    is_terminal: bool,
    given: Given,
    chosen: RwLock<Chosen>,
    run_id: RwLock<Option<String>>,
    bars: Mutex<Option<MultiProgress>>,
    /// Stands before everything.
    redaction: Redaction,
}

/// What holds, once everybody who may say something has said it.
#[derive(Clone, Default)]
struct Chosen {
    level: LogLevel,
    structured: bool,
    metadata: Vec<(String, String)>,
}

impl Log {
    pub(crate) fn new(
        stderr: Box<dyn Write + Send>,
        is_terminal: bool,
        given: Given,
        redaction: Redaction,
    ) -> Self {
        let shared = Arc::new(Shared {
            stderr: Mutex::new(stderr),
            is_terminal,
            given,
            chosen: RwLock::new(given.over(&Logging::default())),
            run_id: RwLock::default(),
            bars: Mutex::default(),
            redaction,
        });
        let layer = layer::Lines::new(Arc::clone(&shared));
        Self {
            dispatch: Dispatch::new(tracing_subscriber::registry().with(layer)),
            shared,
        }
    }

    /// Takes over what the project says, where the command line and the environment say nothing.
    pub(crate) fn configure(&self, logging: &Logging) {
        *write(&self.shared.chosen) = self.shared.given.over(logging);
    }

    /// From now on every line names the run.
    pub(crate) fn of_run(&self, run_id: &str) {
        *write(&self.shared.run_id) = Some(run_id.to_owned());
    }

    pub(crate) fn is_structured(&self) -> bool {
        read(&self.shared.chosen).structured
    }

    pub(crate) fn shows(&self, level: LogLevel) -> bool {
        level <= read(&self.shared.chosen).level
    }

    /// A structured line, unless the level leaves it out.
    pub(crate) fn entry(&self, level: LogLevel, entry: &Entry<'_>) {
        tracing::dispatcher::with_default(&self.dispatch, || entry.emit(level));
    }

    /// Text for people, as it is, unless the level leaves it out. Its lines end with line breaks.
    pub(crate) fn text(&self, level: LogLevel, text: &str) {
        if self.shows(level) {
            self.shared.write(text, true);
        }
    }

    /// While they are drawn, other lines go above them.
    pub(crate) fn set_bars(&self, bars: Option<MultiProgress>) {
        *lock(&self.shared.bars) = bars;
    }

    /// What libraries say anywhere in this process, and panics, belong to this log.
    pub(crate) fn own_process(&self) {
        // Somebody else's subscriber stays: then it is not our process.
        let _ = tracing::dispatcher::set_global_default(self.dispatch.clone());
        panics::watch(self.clone());
    }
}

impl Shared {
    /// Writes a line of JSON.
    fn write_json(&self, mut line: Value) {
        self.redaction.json(&mut line);
        self.put(&layer::written(&line), false);
    }

    /// Writes whole lines of text. `styled`: colours of our own may be in them.
    fn write(&self, text: &str, styled: bool) {
        self.put(&self.redaction.text(text), styled);
    }

    fn put(&self, text: &str, styled: bool) {
        let shown;
        let text: &str = if self.is_terminal {
            shown = visible(text, styled);
            &shown
        } else {
            text
        };
        let put = || {
            let mut stream = lock(&self.stderr);
            // A closed pipe is not an error of ours.
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.flush();
        };
        // Not held while drawing: a bar may be set from another thread meanwhile.
        let bars = lock(&self.bars).clone();
        match bars {
            Some(bars) => bars.suspend(put),
            None => put(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(cell: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    cell.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(cell: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    cell.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
