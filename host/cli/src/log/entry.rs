//! A structured line before it is one: every field that there is, most of them empty.

use odibi_plan::config::LogLevel;
use odibi_story::event::NodeRef;
use odibi_story::failure::Failure;

/// Fields that are `None` are left out of the line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry<'a> {
    /// What happened: a stable word.
    pub(crate) event: &'static str,
    /// The same for people.
    pub(crate) message: &'a str,
    pub(crate) pipeline: Option<&'a str>,
    pub(crate) node: Option<&'a str>,
    pub(crate) attempt: Option<u32>,
    pub(crate) plugin: Option<&'a str>,
    pub(crate) operation: Option<&'a str>,
    pub(crate) step: Option<u64>,
    /// Of what a guest said: its level, `stderr`, `counter`, …
    pub(crate) kind: Option<&'a str>,
    pub(crate) outcome: Option<&'a str>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) rows_read: Option<u64>,
    pub(crate) rows_out: Option<u64>,
    pub(crate) rows_written: Option<u64>,
    pub(crate) rows_quarantined: Option<u64>,
    /// Of the files that were read.
    pub(crate) bytes_read: Option<u64>,
    /// Of the target, as it was written.
    pub(crate) bytes: Option<u64>,
    pub(crate) failure_class: Option<&'a str>,
    pub(crate) failure_code: Option<&'a str>,
    /// Of a diagnostic.
    pub(crate) code: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) line: Option<u64>,
    pub(crate) column: Option<u64>,
    /// One a line.
    pub(crate) causes: Option<&'a str>,
    /// One a line.
    pub(crate) hints: Option<&'a str>,
    pub(crate) retry_in_ms: Option<u64>,
    pub(crate) path: Option<&'a str>,
    pub(crate) exit_code: Option<u64>,
    pub(crate) nodes_succeeded: Option<u64>,
    pub(crate) nodes_failed: Option<u64>,
    pub(crate) nodes_skipped: Option<u64>,
    pub(crate) nodes_cancelled: Option<u64>,
}

/// Target of everything that odibi itself says.
pub(super) const TARGET: &str = "odibi";

impl<'a> Entry<'a> {
    pub(crate) fn new(event: &'static str, message: &'a str) -> Self {
        Self {
            event,
            message,
            ..Self::default()
        }
    }

    pub(crate) fn of_node(self, node: &'a NodeRef) -> Self {
        Self {
            pipeline: Some(&node.pipeline),
            node: Some(&node.name),
            ..self
        }
    }

    /// Class and code, and the place in the configuration; causes and hints are in `joined`.
    pub(crate) fn of_failure(self, failure: &'a Failure, joined: &'a Joined) -> Self {
        Self {
            failure_class: Some(failure.class.word()),
            failure_code: Some(&failure.code),
            file: failure.place.as_ref().map(|place| place.file.as_str()),
            line: failure.place.as_ref().map(|place| place.line as u64),
            column: failure.place.as_ref().map(|place| place.column as u64),
            step: failure.step.map(|step| step as u64 + 1),
            causes: joined.causes.as_deref(),
            hints: joined.hints.as_deref(),
            ..self
        }
    }

    pub(super) fn emit(&self, level: LogLevel) {
        // The level is part of what `tracing` knows of a place in the code, so there are five of them.
        macro_rules! at {
            ($level:ident) => {
                tracing::event!(
                    target: TARGET,
                    tracing::Level::$level,
                    event = self.event,
                    pipeline = self.pipeline,
                    node = self.node,
                    attempt = self.attempt,
                    outcome = self.outcome,
                    duration_ms = self.duration_ms,
                    rows_read = self.rows_read,
                    rows_out = self.rows_out,
                    rows_written = self.rows_written,
                    rows_quarantined = self.rows_quarantined,
                    bytes_read = self.bytes_read,
                    bytes = self.bytes,
                    nodes_succeeded = self.nodes_succeeded,
                    nodes_failed = self.nodes_failed,
                    nodes_skipped = self.nodes_skipped,
                    nodes_cancelled = self.nodes_cancelled,
                    failure_class = self.failure_class,
                    failure_code = self.failure_code,
                    code = self.code,
                    file = self.file,
                    line = self.line,
                    column = self.column,
                    step = self.step,
                    operation = self.operation,
                    plugin = self.plugin,
                    kind = self.kind,
                    causes = self.causes,
                    hints = self.hints,
                    retry_in_ms = self.retry_in_ms,
                    path = self.path,
                    exit_code = self.exit_code,
                    message = self.message,
                )
            };
        }
        match level {
            LogLevel::Error => at!(ERROR),
            LogLevel::Warning => at!(WARN),
            LogLevel::Info => at!(INFO),
            LogLevel::Debug => at!(DEBUG),
            LogLevel::Trace => at!(TRACE),
        }
    }
}

/// Lists of a failure, each as one text.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    causes: Option<String>,
    hints: Option<String>,
}

impl Joined {
    pub(crate) fn of(failure: &Failure) -> Self {
        Self {
            causes: joined(&failure.causes),
            hints: joined(&failure.hints),
        }
    }
}

/// One a line; `None` when there is none.
pub(crate) fn joined(lines: &[String]) -> Option<String> {
    (!lines.is_empty()).then(|| lines.join("\n"))
}
