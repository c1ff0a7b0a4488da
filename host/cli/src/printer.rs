//! The only door to the terminal: results on stdout, everything else on stderr.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::args::{Colour, Global, Output};
use crate::redaction::Redaction;

/// Writes for one invocation. Cloned freely.
#[derive(Clone)]
pub(crate) struct Printer {
    stdout: Stream,
    stderr: Stream,
    /// Print nothing but results and errors.
    pub quiet: bool,
    /// 0, 1 or 2.
    pub verbose: u8,
    /// Format of results.
    pub output: Output,
    /// Use colour on stdout.
    pub colour_stdout: bool,
    /// Use colour on stderr.
    pub colour_stderr: bool,
    /// Draw moving bars on stderr.
    pub bars: bool,
    /// Stands before both streams.
    redaction: Redaction,
}

type Stream = Arc<Mutex<Box<dyn Write + Send>>>;

impl Printer {
    pub(crate) fn new(
        world: crate::Streams,
        global: &Global,
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
                && !global.quiet
                && variable("TERM").as_deref() != Some("dumb"),
            redaction,
            quiet: global.quiet,
            verbose: global.verbose,
            output: global.output,
            stdout: Arc::new(Mutex::new(world.stdout)),
            stderr: Arc::new(Mutex::new(world.stderr)),
        }
    }

    /// What is taken out of everything that is printed. Whoever writes elsewhere asks it too.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// A result. A closed pipe is not an error of ours.
    pub(crate) fn result(&self, text: &str) {
        write(&self.stdout, &self.redaction.text(text));
    }

    /// A JSON document as the result.
    pub(crate) fn json(&self, value: &serde_json::Value) {
        let mut value = value.clone();
        self.redaction.json(&mut value);
        write(&self.stdout, &format!("{value:#}\n"));
    }

    /// An error or warning. Shown even when quiet.
    pub(crate) fn problem(&self, text: &str) {
        write(&self.stderr, &self.redaction.text(text));
    }

    /// Something a person may want to know.
    pub(crate) fn info(&self, text: &str) {
        if !self.quiet {
            write(&self.stderr, &self.redaction.text(text));
        }
    }

    /// `text` in an ANSI style, if stderr has colour.
    pub(crate) fn styled(&self, style: &str, text: &str) -> String {
        if self.colour_stderr {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn write(stream: &Stream, text: &str) {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}
