//! `logging`: what of a run is told on stderr, and in which form. The command line and the environment go before it.
//!
//! ```yaml
//! logging: {level: INFO, structured: true, metadata: {team: sales}}
//! ```

use super::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::limits::{LOG_METADATA_CHARS_MAX, LOG_METADATA_MAX};

/// What is told: this and everything that is more serious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What a person should look at, too.
    Warning,
    /// What begins and ends, too.
    #[default]
    Info,
    /// What plugins say and how far nodes are, too.
    Debug,
    /// Everything.
    Trace,
}

/// The words of `level`, in small letters. ODIBI writes them large.
pub const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warning", LogLevel::Warning),
    ("warn", LogLevel::Warning),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

impl LogLevel {
    /// The word of a log line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

/// The logging section. What it leaves out is decided elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// `level`
    pub level: Option<LogLevel>,
    /// `structured`: JSON lines and nothing else.
    pub structured: Option<bool>,
    /// `metadata`: stands in every structured line.
    pub metadata: Vec<(String, String)>,
}

pub(super) fn read(project: &mut Reader<'_>) -> Logging {
    let mut logging = Logging::default();
    let Some(mut reader) = project.mapping("logging") else {
        return logging;
    };
    if let Some(mut text) = reader.text("level") {
        let word = text.value.to_ascii_lowercase();
        if LOG_LEVELS.iter().any(|(known, _)| *known == word) {
            text.value = word;
        }
        logging.level = reader.choice(&text, "level", LOG_LEVELS, &[]);
    }
    if reader.optional("structured").is_some() {
        logging.structured = Some(reader.boolean("structured", false));
    }
    logging.metadata = metadata(&mut reader);
    reader.finish_with(&[
        (
            "format",
            "write `structured: true` for JSON lines, `structured: false` for text",
        ),
        ("json", "structured"),
    ]);
    logging
}

fn metadata(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let Some(entry) = reader.optional("metadata") else {
        return Vec::new();
    };
    let entries = reader.named(entry);
    let mut metadata = Vec::new();
    for entry in entries {
        if metadata.len() == LOG_METADATA_MAX {
            let message = format!(
                "`metadata` of {} has more than {LOG_METADATA_MAX} entries",
                reader.subject()
            );
            let made = Diagnostic::error(&codes::BAD_VALUE, entry.key_span, message);
            reader.context().report(made);
            break;
        }
        let Some(text) = reader.as_text(entry) else {
            continue;
        };
        if text.value.chars().count() > LOG_METADATA_CHARS_MAX {
            let message = format!(
                "{} of `metadata` is longer than {LOG_METADATA_CHARS_MAX} characters",
                quoted(&entry.key)
            );
            let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
            reader.context().report(made);
            continue;
        }
        metadata.push((entry.key.clone(), text.value));
    }
    metadata
}
