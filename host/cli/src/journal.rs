//! The event log: one JSON object a line, appended as the run goes, so that a crash loses nothing already said.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use odibi_run::port::EventSink;
use odibi_story::Withhold;
use odibi_story::event::{Event, RunEvent};

use crate::progress::Display;
use crate::redaction::Redaction;

/// Writes every event to the log, keeps it for the stories, and shows it.
pub(crate) struct Journal {
    path: PathBuf,
    file: Option<File>,
    write_error: Option<std::io::Error>,
    events: Vec<Event>,
    display: Display,
    withhold: Option<Withhold>,
    redaction: Redaction,
}

impl Journal {
    /// Creates the directory of the run and the log in it.
    pub(crate) fn create(
        run_dir: &Path,
        display: Display,
        redaction: Redaction,
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(run_dir)?;
        let path = run_dir.join("events.jsonl");
        let file = File::options().create_new(true).append(true).open(&path)?;
        Ok(Self {
            path,
            file: Some(file),
            write_error: None,
            events: Vec::new(),
            display,
            withhold: None,
            redaction,
        })
    }

    /// Withholds what it is given to append. What a run says is withheld by the run.
    pub(crate) fn withhold(&mut self, withhold: Withhold) {
        self.withhold = Some(withhold);
    }

    /// Where the log lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything said so far, without progress.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// Says something after the run's own last event.
    pub(crate) fn append(&mut self, at: jiff::Timestamp, mut kind: RunEvent) {
        if let Some(withhold) = &self.withhold {
            withhold.event(&mut kind);
        }
        let seq = self.events.last().map_or(0, |e| e.seq + 1);
        self.emit(&Event { seq, at, kind });
    }

    /// The first error of writing the log, once.
    pub(crate) fn take_write_error(&mut self) -> Option<std::io::Error> {
        self.write_error.take()
    }

    /// Ends the moving part of the display.
    pub(crate) fn close_display(&mut self) {
        self.display.close();
    }

    fn log(&mut self, event: &Event) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_vec(event)
            .map_err(std::io::Error::other)
            .and_then(|mut line| {
                line.push(b'\n');
                file.write_all(&line)
            });
        if let Err(error) = written {
            self.file = None;
            self.write_error = Some(error);
        }
    }
}

impl Journal {
    /// The event as it is written and shown: without secrets.
    pub(crate) fn open(&self, event: &Event) -> Event {
        self.redaction.event(event).into_owned()
    }
}

impl EventSink for Journal {
    fn emit(&mut self, event: &Event) {
        let event = &self.open(event);
        // What a person has seen is in the log, whatever happens next.
        if !matches!(event.kind, RunEvent::NodeProgress { .. }) {
            self.log(event);
            self.events.push(event.clone());
        }
        self.display.show(event);
    }
}
