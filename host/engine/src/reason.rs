//! What may be told of a row that a step failed on: all that files, stories and messages get to see of its failure.

use odibi_story::failure::Failure;
use odibi_story::render::plain;

use crate::limits::REASON_CHARS_MAX;

/// Why a row was rejected, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reason {
    code: String,
    message: String,
}

impl Reason {
    /// The code and the words of the step, without what steers a terminal, and cut.
    pub(crate) fn of(failure: &Failure) -> Self {
        Self {
            code: failure.code.clone(),
            message: plain(&failure.message)
                .chars()
                .take(REASON_CHARS_MAX)
                .collect(),
        }
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
