//! What an operation says when it cannot go on: who has to act, a stable code, a message, and the place.

use std::fmt;
use std::ops::Range;

use arrow_schema::{ArrowError, Schema};

/// Result of everything an author writes.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Column names listed in a hint; more are counted.
const HINT_NAMES_MAX: usize = 12;

/// A failure that the plugin reports itself. Traps and limits are the host's to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Who has to act.
    pub kind: Kind,
    /// What the host should do.
    pub retry: Retry,
    /// A stable word that can be searched for, e.g. `unknown-column`.
    pub code: String,
    /// A lowercase fragment without a full stop, names in backticks.
    pub message: String,
    /// Imperative sentences; on the wire they follow the message as lines that begin with `hint: `.
    pub hints: Vec<String>,
    /// JSON Pointer (RFC 6901) into params; the host shows its line of the YAML.
    pub param: Option<String>,
    /// Which bytes of the text at `param` are to blame.
    pub span: Option<Range<usize>>,
    /// Where in the data, as far as known.
    pub at: Option<Location>,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Params are wrong: the author of the pipeline.
    Params,
    /// The input's columns do not fit: the author of the pipeline.
    Schema,
    /// The values are bad: the owner of the data.
    Data,
    /// A capability was refused: the operator.
    Denied,
    /// Something outside was unavailable for a moment.
    Transient,
    /// A defect of the plugin: its author.
    Internal,
}

/// What the host should do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same input fails again.
    Never,
    /// The host may try the same input on a fresh instance.
    FreshInstance,
    /// As above, but not before this many milliseconds.
    AfterMs(u32),
}

/// Where in the data a failure lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The input; the SDK fills it in.
    pub port: u32,
    /// Row of the batch given to `process`, from 0.
    pub row: Option<u64>,
    /// Name of the column.
    pub column: Option<String>,
}

impl Failure {
    /// A failure of any kind, not to be retried.
    #[must_use]
    pub fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            retry: Retry::Never,
            code: code.into(),
            message: message.into(),
            hints: Vec::new(),
            param: None,
            span: None,
            at: None,
        }
    }

    /// A param is wrong. `pointer` is its JSON Pointer, e.g. `/columns/2`. Code `invalid-param`.
    #[must_use]
    pub fn param(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(pointer.into()),
            ..Self::new(Kind::Params, "invalid-param", message)
        }
    }

    /// The input's columns do not fit. Code `unfit-schema`.
    #[must_use]
    pub fn schema(message: impl Into<String>) -> Self {
        Self::new(Kind::Schema, "unfit-schema", message)
    }

    /// A value is bad; `row` counts from 0 in the batch being processed. Code `bad-value`.
    #[must_use]
    pub fn data(row: usize, column: impl Into<String>, message: impl Into<String>) -> Self {
        let at = Location {
            port: 0,
            row: Some(row as u64),
            column: Some(column.into()),
        };
        Self {
            at: Some(at),
            ..Self::new(Kind::Data, "bad-value", message)
        }
    }

    /// Something outside was unavailable; the host may try again after this many milliseconds. Code `unavailable`.
    #[must_use]
    pub fn transient(after_ms: u32, message: impl Into<String>) -> Self {
        Self {
            retry: Retry::AfterMs(after_ms),
            ..Self::new(Kind::Transient, "unavailable", message)
        }
    }

    /// A defect of the plugin. Code `internal`.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, "internal", message)
    }

    /// Gives it another stable code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Names the param to blame.
    #[must_use]
    pub fn at_param(mut self, pointer: impl Into<String>) -> Self {
        self.param = Some(pointer.into());
        self
    }

    /// Names what is to blame inside the text at `param`, in bytes: a word of an SQL text, say. The host keeps it with the
    /// failure; it does not mark it in the YAML yet, so say in the message what is meant.
    #[must_use]
    pub fn at_text(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// The message with its hints, as it crosses the boundary.
    #[must_use]
    pub fn wire_message(&self) -> String {
        let mut text = self.message.clone();
        for hint in &self.hints {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.wire_message())?;
        if let Some(param) = &self.param {
            write!(f, "\n  param: {param}")?;
            if let Some(span) = &self.span {
                write!(f, ", bytes {} to {}", span.start, span.end)?;
            }
        }
        if let Some(at) = &self.at {
            write!(f, "\n  at: port {}", at.port)?;
            if let Some(row) = at.row {
                write!(f, ", row {row}")?;
            }
            if let Some(column) = &at.column {
                write!(f, ", column `{column}`")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An Arrow kernel refused: nothing the user can be blamed for without more knowledge, so a defect.
impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::new(Kind::Internal, "arrow", error.to_string())
    }
}

/// A param names a column that the input does not have. Code `unknown-column`.
#[must_use]
pub fn unknown_column(pointer: impl Into<String>, name: &str, schema: &Schema) -> Failure {
    let names = schema.fields().iter().map(|f| f.name().as_str());
    unknown_name("column", pointer, name, names)
}

/// A param names something that is not there; says the nearest one. Code `unknown-` and `what`.
#[must_use]
pub fn unknown_name<'a>(
    what: &str,
    pointer: impl Into<String>,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Failure {
    let known: Vec<&str> = known.into_iter().collect();
    let message = match nearest(name, &known) {
        Some(near) => format!("unknown {what} `{name}`, did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`"),
    };
    let mut failure = Failure::param(pointer, message).code(format!("unknown-{what}"));
    if !known.is_empty() {
        let shown: Vec<String> = known
            .iter()
            .take(HINT_NAMES_MAX)
            .map(|n| format!("`{n}`"))
            .collect();
        let more = match known.len().saturating_sub(HINT_NAMES_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        failure = failure.hint(format!("use one of {}{more}", shown.join(", ")));
    }
    failure
}

/// The known name that was probably meant.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let distance_max = (name.chars().count() / 3).max(1);
    known
        .iter()
        .map(|k| (strsim::osa_distance(&wanted, &k.to_lowercase()), *k))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, known: &[&str], expect: &str) {
        assert_eq!(
            unknown_name("column", "/c", name, known.iter().copied()).message,
            expect
        );
    }

    #[test]
    fn unknown_names_are_answered_with_the_nearest() {
        check(
            "amnt",
            &["id", "amount", "amt"],
            "unknown column `amnt`, did you mean `amt`?",
        );
        check(
            "ID",
            &["id", "amount"],
            "unknown column `ID`, did you mean `id`?",
        );
        check("price", &["id", "amount"], "unknown column `price`");
        check("x", &[], "unknown column `x`");
    }

    #[test]
    fn hints_follow_the_message_on_lines_of_their_own() {
        let failure = Failure::param("/a", "wrong")
            .hint("do this")
            .hint("or that");
        assert_eq!(
            failure.wire_message(),
            "wrong\nhint: do this\nhint: or that"
        );
        assert_eq!(
            failure.to_string(),
            "[invalid-param] wrong\nhint: do this\nhint: or that\n  param: /a"
        );
        assert_eq!(
            Failure::param("/sql", "wrong").at_text(7..11).to_string(),
            "[invalid-param] wrong\n  param: /sql, bytes 7 to 11"
        );
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        let names: Vec<String> = (0..20).map(|i| format!("c{i:02}")).collect();
        let failure = unknown_name("column", "/c", "zzzzzz", names.iter().map(String::as_str));
        assert!(
            failure.hints[0].ends_with("`c11` and 8 more"),
            "{}",
            failure.hints[0]
        );
    }
}
