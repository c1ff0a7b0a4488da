//! How an outcome looks: a sign and its word, so that neither needs colour.

use super::markup::Markup;
use crate::story::Status;

/// Writes the sign and the word.
pub(super) fn status(status: Status, page: &mut Markup) -> &mut Markup {
    page.element("span", &[("class", class(status))], |inside| {
        inside
            .leaf(
                "span",
                &[("aria-hidden", "true"), ("class", "sign")],
                sign(status),
            )
            .text(status.word());
    })
}

/// One character.
pub(super) fn sign(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "✓",
        Status::Recovered => "↻",
        Status::Failed => "✕",
        Status::Skipped => "–",
        Status::Cancelled => "■",
        Status::Unfinished => "…",
        Status::Crashed => "!",
        Status::NotStarted => "○",
    }
}

/// Classes that give the colour: of texts, and of shapes inside drawings.
pub(super) fn class(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "status good",
        Status::Recovered | Status::Cancelled | Status::Unfinished => "status warn",
        Status::Failed | Status::Crashed => "status bad",
        Status::Skipped | Status::NotStarted => "status calm",
    }
}

/// As [`class`], for what stands in the background.
pub(super) fn faded(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "status good past",
        Status::Recovered | Status::Cancelled | Status::Unfinished => "status warn past",
        Status::Failed | Status::Crashed => "status bad past",
        Status::Skipped | Status::NotStarted => "status calm past",
    }
}
