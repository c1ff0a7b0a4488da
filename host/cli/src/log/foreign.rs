//! What libraries say through `tracing`. They know nothing of secrets and rows, so only warnings and errors are shown,
//! and of them only the message: fields may hold addresses with keys in them.

use odibi_plan::config::LogLevel;
use odibi_story::render::plain;
use serde_json::{Value, json};
use tracing::{Level, Metadata};

use super::layer::{cut, timestamp};
use super::{Shared, read};
use crate::hush;

pub(super) fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() <= Level::WARN
}

pub(super) fn say(shared: &Shared, level: LogLevel, target: &str, message: &str) {
    // A library may quote rows.
    let message = if hush::is_hushed() {
        "what it says is withheld"
    } else {
        message
    };
    let chosen = read(&shared.chosen).clone();
    if !chosen.structured {
        let word = level.word().to_ascii_lowercase();
        let text = format!("{word}: {}: {}\n", plain(target), plain(&cut(message)));
        shared.write(&text, false);
        return;
    }
    let run_id = read(&shared.run_id).clone();
    let line: Value = json!({
        "timestamp": timestamp(),
        "level": level.word(),
        "message": message,
        "event": "library",
        "run_id": run_id,
        "pipeline": null,
        "node": null,
        "attempt": null,
        "library": target,
    });
    shared.write_json(line);
}
