//! The only door to the terminal: results on stdout, everything else to the log, which is stderr.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use odibi_plan::config::LogLevel;
use odibi_plan::diagnostic::{Diagnostic, Severity, Sources, render};
use odibi_story::failure::Failure;
use odibi_story::render::plain;

use crate::args::{Colour, Global, Output};
use crate::log::{self, Entry, Joined, Log, joined};
use crate::redaction::Redaction;

/// Writes for one invocation. Cloned freely.
#[derive(Clone)]
pub(crate) struct Printer {
    stdout: Arc<Mutex<Box<dyn Write + Send>>>,
    /// Everything but results.
    pub log: Log,
    /// How much more of a result is wanted: 0, 1 or 2.
    pub verbose: u8,
    /// Format of results.
    pub output: Output,
    /// Use colour on stdout.
    pub colour_stdout: bool,
    colour_stderr: bool,
    stdout_is_terminal: bool,
    bars: bool,
    /// Stands before both streams.
    redaction: Redaction,
}

impl Printer {
    pub(crate) fn new(
        world: crate::Streams,
        global: &Global,
        given: log::Given,
        redaction: Redaction,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name| variable(name).is_some_and(|v| !v.is_empty());
        let colour = |terminal: bool| match global.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                terminal && !set("NO_COLOR") && variable("TERM").as_deref() != Some("dumb")
            }
        };
        Self {
            colour_stdout: colour(world.stdout_is_terminal),
            colour_stderr: colour(world.stderr_is_terminal),
            bars: world.stderr_is_terminal
                && !set("CI")
                && variable("TERM").as_deref() != Some("dumb"),
            stdout_is_terminal: world.stdout_is_terminal,
            verbose: global.verbose,
            output: global.output,
            stdout: Arc::new(Mutex::new(world.stdout)),
            log: Log::new(
                world.stderr,
                world.stderr_is_terminal,
                given,
                redaction.clone(),
            ),
            redaction,
        }
    }

    /// What is taken out of everything that is printed. Whoever writes elsewhere asks it too.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// A result. A closed pipe is not an error of ours.
    pub(crate) fn result(&self, text: &str) {
        self.put(&self.redaction.text(text));
    }

    fn put(&self, text: &str) {
        let text = if self.stdout_is_terminal {
            Cow::Owned(log::visible(text, self.colour_stdout))
        } else {
            Cow::Borrowed(text)
        };
        let mut stream = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.flush();
    }

    /// A JSON document as the result.
    pub(crate) fn json(&self, value: &serde_json::Value) {
        let mut value = value.clone();
        self.redaction.json(&mut value);
        self.put(&format!("{value:#}\n"));
    }

    /// Something that went wrong: a fragment, or lines. Shown even when quiet.
    pub(crate) fn error(&self, message: &str) {
        self.say(LogLevel::Error, ("1;31", "error:"), message);
    }

    /// An error that says by itself that it is one.
    pub(crate) fn problem(&self, message: &str) {
        self.say(LogLevel::Error, ("", ""), message);
    }

    /// Something that may go wrong. Shown even when quiet.
    pub(crate) fn warning(&self, message: &str) {
        self.say(LogLevel::Warning, ("1;33", "warning:"), message);
    }

    /// An error, and what to do about it.
    pub(crate) fn error_with_hint(&self, message: &str, hint: &str) {
        if self.log.is_structured() {
            let entry = Entry {
                hints: Some(hint),
                ..Entry::new("message", message)
            };
            self.log.entry(LogLevel::Error, &entry);
        } else {
            self.error(message);
            self.say(LogLevel::Error, ("1;36", "hint:"), hint);
        }
    }

    /// Something a person may want to know.
    pub(crate) fn info(&self, message: &str) {
        self.say(LogLevel::Info, ("", ""), message);
    }

    /// Something for those who want to know more.
    pub(crate) fn debug(&self, message: &str) {
        self.say(LogLevel::Debug, ("", ""), message);
    }

    fn say(&self, level: LogLevel, (style, word): (&str, &str), message: &str) {
        let message = message.trim_end_matches('\n');
        if self.log.is_structured() {
            self.log.entry(level, &Entry::new("message", message));
        } else if word.is_empty() {
            self.log.text(level, &format!("{message}\n"));
        } else {
            let word = self.styled(style, word);
            self.log.text(level, &format!("{word} {message}\n"));
        }
    }

    /// A failure of what was asked for. It may quote what a plugin or a capsule says.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.log.is_structured() {
            let joined = Joined::of(failure);
            let entry = Entry::new("failure", &failure.message).of_failure(failure, &joined);
            self.log.entry(LogLevel::Error, &entry);
            return;
        }
        let code = self.styled("1;31", &format!("error[{}]:", plain(&failure.code)));
        let mut text = format!("{code} {}\n", plain(&failure.message));
        for cause in &failure.causes {
            text.push_str(&format!("  caused by: {}\n", plain(cause)));
        }
        for hint in &failure.hints {
            text.push_str(&format!(
                "{} {}\n",
                self.styled("1;36", "hint:"),
                plain(hint)
            ));
        }
        self.log.text(LogLevel::Error, &text);
    }

    /// A fault of the project.
    pub(crate) fn diagnostic(&self, diagnostic: &Diagnostic, sources: &Sources) {
        let level = match diagnostic.severity {
            Severity::Error => LogLevel::Error,
            Severity::Warning => LogLevel::Warning,
        };
        if !self.log.is_structured() {
            let text = render(diagnostic, sources, self.colour_stderr());
            self.log.text(level, &format!("{}\n\n", text.trim_end()));
            return;
        }
        let span = diagnostic.labels.first().map(|label| label.span);
        let place = span.map(|span| sources.line_column(span.file, span.start));
        let hints = joined(&diagnostic.hints);
        let entry = Entry {
            code: Some(diagnostic.code.name),
            file: span.map(|span| sources.name(span.file)),
            line: place.map(|(line, _)| line as u64),
            column: place.map(|(_, column)| column as u64),
            hints: hints.as_deref(),
            ..Entry::new("diagnostic", &diagnostic.message)
        };
        self.log.entry(level, &entry);
    }

    /// True when stderr has colour.
    pub(crate) fn colour_stderr(&self) -> bool {
        self.colour_stderr && !self.log.is_structured()
    }

    /// True when bars may move on stderr.
    pub(crate) fn bars(&self) -> bool {
        self.bars && !self.log.is_structured() && self.log.shows(LogLevel::Info)
    }

    /// `text` in an ANSI style, if stderr has colour.
    pub(crate) fn styled(&self, style: &str, text: &str) -> String {
        if self.colour_stderr() {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
