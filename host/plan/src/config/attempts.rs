//! `retry`, `timeout` and `on_error`, of the project, a pipeline or a node; the nearest wins, key by key.
//!
//! ```yaml
//! retry: {max_attempts: 3, backoff: exponential, delay: 1s, max_delay: 60s, jitter: true, deadline: 1h}
//! timeout: 30m
//! on_error: fail_later
//! ```

use std::ops::RangeInclusive;

use super::reader::{Reader, ambiguous};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::limits::{ATTEMPTS_MAX, DURATION_MS_MAX};
use crate::plan::{Attempts, Backoff, OnError};
use crate::yaml::{Resolved, Scalar, Value};

/// What one level says; `None` is left to the level above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptKeys {
    /// `retry.enabled`
    pub enabled: Option<bool>,
    /// `retry.max_attempts`
    pub attempts_max: Option<u32>,
    /// `retry.backoff`
    pub backoff: Option<Backoff>,
    /// `retry.delay`
    pub delay_ms: Option<u64>,
    /// `retry.max_delay`
    pub delay_ms_max: Option<u64>,
    /// `retry.jitter`
    pub jitter: Option<bool>,
    /// `retry.deadline`
    pub deadline_ms: Option<u64>,
    /// `timeout`
    pub timeout_ms: Option<u64>,
    /// `on_error`
    pub on_error: Option<OnError>,
}

impl AttemptKeys {
    /// These, and where they say nothing, those of a wider level.
    #[must_use]
    pub fn within(self, wider: Self) -> Self {
        Self {
            enabled: self.enabled.or(wider.enabled),
            attempts_max: self.attempts_max.or(wider.attempts_max),
            backoff: self.backoff.or(wider.backoff),
            delay_ms: self.delay_ms.or(wider.delay_ms),
            delay_ms_max: self.delay_ms_max.or(wider.delay_ms_max),
            jitter: self.jitter.or(wider.jitter),
            deadline_ms: self.deadline_ms.or(wider.deadline_ms),
            timeout_ms: self.timeout_ms.or(wider.timeout_ms),
            on_error: self.on_error.or(wider.on_error),
        }
    }

    /// With every default filled in.
    #[must_use]
    pub fn filled(self) -> (Attempts, OnError) {
        let default = Attempts::default();
        let attempts_max = self.attempts_max.unwrap_or(default.attempts_max);
        let attempts = Attempts {
            attempts_max: if self.enabled.unwrap_or(true) {
                attempts_max
            } else {
                1
            },
            backoff: self.backoff.unwrap_or(default.backoff),
            delay_ms: self.delay_ms.unwrap_or(default.delay_ms),
            delay_ms_max: self.delay_ms_max.unwrap_or(default.delay_ms_max),
            jitter: self.jitter.unwrap_or(default.jitter),
            deadline_ms: self.deadline_ms,
            timeout_ms: self.timeout_ms,
        };
        (attempts, self.on_error.unwrap_or_default())
    }
}

/// Reads the three keys of one level.
pub(super) fn read(owner: &mut Reader<'_>) -> AttemptKeys {
    let mut keys = AttemptKeys::default();
    if let Some(mut reader) = owner.mapping("retry") {
        keys.enabled = given(&mut reader, "enabled");
        let most = usize::try_from(ATTEMPTS_MAX).unwrap_or(usize::MAX);
        let attempts = reader.integer("max_attempts", 1..=most);
        keys.attempts_max = attempts.and_then(|n| u32::try_from(n).ok());
        keys.backoff = word(&mut reader, "backoff", BACKOFFS);
        keys.delay_ms = duration(&mut reader, "delay", 0..=DURATION_MS_MAX);
        keys.delay_ms_max = duration(&mut reader, "max_delay", 0..=DURATION_MS_MAX);
        keys.jitter = given(&mut reader, "jitter");
        keys.deadline_ms = duration(&mut reader, "deadline", 1..=DURATION_MS_MAX);
        reader.finish_with(&[
            ("attempts", "max_attempts"),
            ("retries", "max_attempts"),
            (
                "max_retries",
                "`max_attempts` counts all attempts: one more than retries",
            ),
            (
                "backoff_factor",
                "use `backoff: exponential`, `linear` or `constant`",
            ),
            ("initial_delay", "delay"),
            (
                "timeout",
                "`timeout` stands beside `retry`, and limits one attempt",
            ),
        ]);
    }
    keys.timeout_ms = duration(owner, "timeout", 1..=DURATION_MS_MAX);
    keys.on_error = word(owner, "on_error", ON_ERRORS);
    keys
}

/// The words of `retry.backoff`.
pub(super) const BACKOFFS: &[(&str, Backoff)] = &[
    ("exponential", Backoff::Exponential),
    ("linear", Backoff::Linear),
    ("constant", Backoff::Constant),
];

/// Units of times, each with its milliseconds.
pub(super) const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The words of `on_error`.
pub const ON_ERRORS: &[(&str, OnError)] = &[
    ("fail_later", OnError::FailLater),
    ("fail_fast", OnError::FailFast),
    ("ignore", OnError::Ignore),
];

fn given(reader: &mut Reader<'_>, key: &'static str) -> Option<bool> {
    reader.optional(key)?;
    Some(reader.boolean(key, true))
}

fn word<T: Copy>(
    reader: &mut Reader<'_>,
    key: &'static str,
    choices: &[(&'static str, T)],
) -> Option<T> {
    let text = reader.text(key)?;
    reader.choice(&text, key, choices, &[])
}

/// A time: `500ms`, `30s`, `5m`, `2h`, `1d`, or a number of seconds.
pub(super) fn duration(
    reader: &mut Reader<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Option<u64> {
    let entry = reader.optional(key)?;
    let subject = format!("{} of {}", quoted(key), reader.subject());
    let context = reader.context();
    let span = entry.value.span;
    let scalar = match &entry.value.value {
        Value::Scalar(scalar) => scalar,
        Value::Missing => return None,
        Value::Sequence(_) | Value::Mapping(_) => {
            context.report(context.wrong_type(&entry.value, &subject, "a time"));
            return None;
        }
    };
    ambiguous(context, scalar, span);
    match milliseconds(scalar) {
        Some(ms) if range.contains(&ms) => Some(ms),
        found => {
            let message = match found {
                None => format!("{subject} takes a time: {}", quoted(scalar.shown())),
                Some(_) => format!(
                    "{subject} must be between {} ms and {}: {}",
                    range.start(),
                    match range.end() / 86_400_000 {
                        0 => format!("{} s", range.end() / 1_000),
                        days => format!("{days} days"),
                    },
                    quoted(scalar.shown())
                ),
            };
            context.report(
                Diagnostic::error(&codes::BAD_VALUE, span, message)
                    .hint("write for example `500ms`, `30s`, `5m`, `2h` or `1d`"),
            );
            None
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked"
)]
fn milliseconds(scalar: &Scalar) -> Option<u64> {
    match scalar.resolve() {
        Resolved::Integer(seconds) => u64::try_from(seconds).ok()?.checked_mul(1_000),
        Resolved::Float(seconds) if (0.0..1e12).contains(&seconds) => Some((seconds * 1e3) as u64),
        Resolved::Text => {
            let text = scalar.text.trim();
            let digits = text.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = text[..digits].parse().ok()?;
            let unit = text[digits..].trim_start();
            let (_, factor) = TIME_UNITS.iter().find(|(word, _)| *word == unit)?;
            number.checked_mul(*factor)
        }
        Resolved::Float(_) | Resolved::Boolean(_) | Resolved::Null => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let read = |text: &str| {
            milliseconds(&Scalar {
                text: text.to_owned(),
                plain: true,
                written: None,
            })
        };
        let good = [
            ("5", 5_000),
            ("0.25", 250),
            ("0", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5 m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ];
        for (text, expect) in good {
            assert_eq!(read(text), Some(expect), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "-1s",
            "1w",
            "1.5h",
            "1e99",
            ".inf",
            "true",
            "99999999999999999999s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn nearest_level_wins_key_by_key() {
        let project = AttemptKeys {
            attempts_max: Some(5),
            delay_ms: Some(10),
            on_error: Some(OnError::FailFast),
            ..AttemptKeys::default()
        };
        let node = AttemptKeys {
            delay_ms: Some(20),
            enabled: Some(true),
            ..AttemptKeys::default()
        };
        let (attempts, on_error) = node.within(project).filled();
        assert_eq!(
            (attempts.attempts_max, attempts.delay_ms, on_error),
            (5, 20, OnError::FailFast)
        );
        let off = AttemptKeys {
            enabled: Some(false),
            ..AttemptKeys::default()
        };
        assert_eq!(off.within(project).filled().0.attempts_max, 1);
        assert_eq!(AttemptKeys::default().filled().0.attempts_max, 3);
    }
}
