//! What this process knows of secrets, and the filter in front of everything that it prints and writes.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use odibi_plan::redact::Words;
use odibi_plan::{Redactor, Secret};
use odibi_story::event::Event;
use serde_json::Value;

/// Takes secrets out of texts. All clones know the same ones.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    known: Arc<RwLock<Redactor>>,
    blind: bool,
}

impl Redaction {
    /// One that finds nothing, for tests of tests that look for secrets.
    #[must_use]
    pub fn blind() -> Self {
        Self {
            blind: true,
            ..Self::default()
        }
    }

    /// From here on these are not shown.
    pub fn learn<'a>(&self, secrets: impl IntoIterator<Item = &'a Secret>) {
        if self.blind {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(secrets);
    }

    /// The text without secrets.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.read(|known| known.text(text))
    }

    /// Takes secrets out of every text of a document.
    pub fn json(&self, value: &mut Value) {
        self.read(|known| known.json(value, Words::Redact));
    }

    /// The event without secrets, whatever part of it they came to.
    pub(crate) fn event<'a>(&self, event: &'a Event) -> Cow<'a, Event> {
        self.read(|known| {
            if known.is_empty() {
                return Cow::Borrowed(event);
            }
            let Ok(mut value) = serde_json::to_value(event) else {
                return Cow::Borrowed(event);
            };
            let original = value.clone();
            if !known.json(&mut value, Words::Redact) {
                return Cow::Borrowed(event);
            }
            // A secret that is a word of the format, such as `failed`, must not break it.
            let read = serde_json::from_value(value).or_else(|_| {
                let mut value = original;
                known.json(&mut value, Words::Keep);
                serde_json::from_value(value)
            });
            read.map_or(Cow::Borrowed(event), Cow::Owned)
        })
    }

    fn read<T>(&self, then: impl FnOnce(&Redactor) -> T) -> T {
        then(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the process says when a thread panics: the message may hold anything.
    pub fn panics(&self) -> impl Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync + 'static {
        let redaction = self.clone();
        move |info| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>").to_owned();
            let backtrace = std::backtrace::Backtrace::capture();
            let mut text = format!("thread '{name}' {info}\n");
            if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
                text.push_str(&format!("{backtrace}\n"));
            }
            // The lock may be held by the very thread that panics.
            let shown = match redaction.known.try_read() {
                Ok(known) => known.text(&text).into_owned(),
                Err(_) => format!("thread '{name}' panicked\n"),
            };
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), shown.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use odibi_story::event::RunEvent;

    #[test]
    fn events_lose_secrets_and_stay_events() {
        let redaction = Redaction::default();
        let event = Event {
            seq: 1,
            at: jiff::Timestamp::UNIX_EPOCH,
            kind: RunEvent::ExitDecided { exit_code: 1 },
        };
        assert!(matches!(redaction.event(&event), Cow::Borrowed(_)));
        // Words of the format itself.
        redaction.learn(&[Secret::new("exit-decided"), Secret::new("exit_decided")]);
        assert_eq!(*redaction.event(&event), event);
    }
}
