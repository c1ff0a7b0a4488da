//! What can go wrong in a run: the closed classes, and a failure with all that is known of it.

use serde::{Deserialize, Serialize};

pub mod code;
mod open;

pub use code::{FailureCode, all_codes, explain};
pub(crate) use open::is_open;

/// The closed list of what can go wrong. Retry policy, exit code and story text hang on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// Rows break a contract or cannot be parsed.
    Data,
    /// The plugin returned an error.
    Guest,
    /// The plugin crashed.
    Trap,
    /// A limit was reached; [`Failure::limit`] says which.
    Limit,
    /// The plugin broke the interface.
    Contract,
    /// Credentials, permissions, capability.
    Denied,
    /// Object, plugin or connection is not there.
    Missing,
    /// Another writer, or a lost precondition.
    Conflict,
    /// Timeout, throttling, 5xx, reset.
    Transient,
    /// The run was interrupted.
    Cancelled,
    /// A bug in odibi.
    Internal,
}

impl FailureClass {
    /// The word that events and stories show.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Guest => "guest",
            Self::Trap => "trap",
            Self::Limit => "limit",
            Self::Contract => "contract",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LimitReached {
    /// `guest-memory`, `guest-cpu`, …
    pub which: String,
    /// The limit, in the unit that its name ends with.
    pub limit: u64,
    /// What was asked for or used.
    pub asked: u64,
}

/// A place in the configuration, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Place {
    /// File, as given on the command line.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A stretch of a text, in bytes; both ends lie between characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TextSpan {
    /// First byte.
    pub start: usize,
    /// Behind the last byte; equal to `start` for a place between two characters.
    pub end: usize,
}

/// Something that went wrong in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// A stable word: `read/bad-row`, `limit/guest-memory`. `odibi explain` knows it.
    pub code: String,
    /// A lowercase fragment without a full stop, names in backticks.
    pub message: String,
    /// What lay under it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Imperative sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// JSON Pointer into the params of the step, when a param is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// What is to blame inside the text of that param.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<TextSpan>,
    /// Index of the step, when one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Where in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// For class `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitReached>,
    /// The guest asks to be called again, not before this many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What may be said of it where free text is withheld.
    #[serde(skip)]
    pub own: OwnWords,
}

/// What odibi itself says of a failure, without anything that comes from data or from a plugin. It is part of the message,
/// the causes and the hints; failures that differ in it alone are equal.
#[derive(Debug, Clone, Default)]
pub struct OwnWords(Option<Box<Words>>);

#[derive(Debug, Clone, Default)]
struct Words {
    message: Option<String>,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl OwnWords {
    /// What stands in place of the message.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.as_ref()?.message.as_deref()
    }

    /// Those of the causes.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |words| &words.causes)
    }

    /// Those of the hints.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |words| &words.hints)
    }

    /// Says that these causes are odibi's own words.
    pub fn add_causes(&mut self, causes: impl IntoIterator<Item = String>) {
        self.words().causes.extend(causes);
    }

    fn words(&mut self) -> &mut Words {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for OwnWords {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OwnWords {}

impl Failure {
    /// A failure with a class, a code and a message.
    #[must_use]
    pub fn new(class: FailureClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.into(),
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            param: None,
            span: None,
            step: None,
            place: None,
            limit: None,
            retry_after_ms: None,
            own: OwnWords::default(),
        }
    }

    /// Adds what lay under it.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what the message is where nothing that comes from data may be told.
    #[must_use]
    pub fn own_message(mut self, message: impl Into<String>) -> Self {
        self.own.words().message = Some(message.into());
        self
    }

    /// What may be said of it in one line where nothing that comes from data may be told.
    #[must_use]
    pub fn openly(&self) -> String {
        match self.own.message() {
            Some(own) => own.to_owned(),
            None if is_open(&self.code) && self.class != FailureClass::Guest => {
                self.message.clone()
            }
            None => self.code.clone(),
        }
    }

    /// Adds a cause in odibi's own words, which may be told of any data.
    #[must_use]
    pub fn own_cause(mut self, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        self.own.words().causes.push(cause.clone());
        self.causes.push(cause);
        self
    }

    /// Adds a hint in odibi's own words, which may be told of any data.
    #[must_use]
    pub fn own_hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.own.words().hints.push(hint.clone());
        self.hints.push(hint);
        self
    }

    /// Names the step to blame.
    #[must_use]
    pub fn at_step(mut self, step: usize) -> Self {
        self.step = Some(step);
        self
    }

    /// Names the param to blame.
    #[must_use]
    pub fn at_param(mut self, pointer: impl Into<String>) -> Self {
        self.param = Some(pointer.into());
        self
    }

    /// Names the part of the param's text that is to blame.
    #[must_use]
    pub fn at_text(mut self, span: TextSpan) -> Self {
        self.span = Some(span);
        self
    }

    /// Names the limit.
    #[must_use]
    pub fn of_limit(mut self, which: impl Into<String>, limit: u64, asked: u64) -> Self {
        self.limit = Some(LimitReached {
            which: which.into(),
            limit,
            asked,
        });
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure as it was written before there were spans.
    const WITHOUT_SPAN: &str =
        r#"{"class":"guest","code":"guest/params","message":"bad","param":"/sql"}"#;

    #[test]
    fn failures_are_read_with_a_span_and_without() -> serde_json::Result<()> {
        let plain = Failure::new(FailureClass::Guest, "guest/params", "bad").at_param("/sql");
        assert_eq!(serde_json::from_str::<Failure>(WITHOUT_SPAN)?, plain);
        assert_eq!(serde_json::to_string(&plain)?, WITHOUT_SPAN);
        let pointed = plain.at_text(TextSpan { start: 7, end: 11 });
        let text = serde_json::to_string(&pointed)?;
        assert!(text.contains(r#""span":{"start":7,"end":11}"#), "{text}");
        assert_eq!(serde_json::from_str::<Failure>(&text)?, pointed);
        Ok(())
    }
}
