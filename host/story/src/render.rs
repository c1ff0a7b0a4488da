//! Stories for readers: JSON for programs, Markdown and HTML for people, lines for the terminal. Pure: nothing is printed or written.
//!
//! Whatever came from data, from a guest or from YAML is escaped on its way out.

use crate::story::Story;

pub mod alert;
mod costs;
pub mod docs;
mod document;
mod escape;
pub mod html;
pub mod index;
pub mod json;
mod layers;
pub mod markdown;
mod section;
pub mod terminal;
#[cfg(test)]
mod testing;
mod words;
mod written;

pub use escape::{is_hidden, plain};
pub use words::{bytes, count, duration, thousands};

/// Longest text of one cell, in characters; what is cut off is replaced by `…`.
const CELL_CHARS_MAX: usize = 160;
/// Longest label of a vertex in the drawn lineage, in characters.
const LABEL_CHARS_MAX: usize = 60;
/// Most edges in the drawn lineage: Mermaid refuses more than 500 by default.
const GRAPH_EDGES_MAX: usize = 400;
/// Longest text of the drawn lineage, in bytes: Mermaid refuses more than 50,000 characters by default.
const GRAPH_BYTES_MAX: usize = 48_000;
/// Most columns of the sample that are shown.
const SAMPLE_COLUMNS_MAX: usize = 40;
/// Most rows of a table that are shown (columns of a schema, files, notes).
const TABLE_ROWS_MAX: usize = 400;
/// Longest params of one operation that are shown, in bytes.
const PARAMS_BYTES_MAX: usize = 8_000;
/// Longest message, cause or hint that is shown, in characters.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// Where the files of a story go, below the story directory and without an extension:
/// `<pipeline>/<YYYY-MM-DD>/run_<HH-MM-SS>_<run id>`, in UTC.
///
/// Each of the three parts is one plain file name whatever the names are: other characters than letters, digits, `-`,
/// `_` and inner `.` are percent-encoded.
#[must_use]
pub fn path(story: &Story) -> String {
    let day = story.started_at.strftime("%Y-%m-%d");
    let time = story.started_at.strftime("%H-%M-%S");
    format!(
        "{}/{day}/run_{time}_{}",
        segment(&story.pipeline),
        segment(&story.run_id)
    )
}

/// The directory of a pipeline below the story directory.
#[must_use]
pub fn directory(pipeline: &str) -> String {
    segment(pipeline)
}

fn segment(name: &str) -> String {
    let mut safe = String::new();
    for (at, c) in name.char_indices() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') || (c == '.' && at > 0) {
            safe.push(c);
        } else {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                safe.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if safe.is_empty() {
        "unnamed".to_owned()
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[track_caller]
    fn check(pipeline: &str, run_id: &str, expect: &str) {
        let story = Story {
            pipeline: pipeline.to_owned(),
            run_id: run_id.to_owned(),
            ..example::story()
        };
        assert_eq!(path(&story), expect);
    }

    #[test]
    fn path_holds_pipeline_day_time_and_run() {
        check(
            "orders",
            "0190-ab",
            "orders/2026-11-23/run_08-30-00_0190-ab",
        );
    }

    #[test]
    fn path_stays_below_the_story_directory_whatever_the_names_are() {
        check("../etc", "..", "%2E.%2Fetc/2026-11-23/run_08-30-00_%2E.");
        check("a/b", "a\\b", "a%2Fb/2026-11-23/run_08-30-00_a%5Cb");
        check("a_b", "a\0\n", "a_b/2026-11-23/run_08-30-00_a%00%0A");
        check(
            "größe v1.2",
            "",
            "größe%20v1.2/2026-11-23/run_08-30-00_unnamed",
        );
        check(".", "%2F", "%2E/2026-11-23/run_08-30-00_%252F");
        check("a\u{202e}b", "x", "a%E2%80%AEb/2026-11-23/run_08-30-00_x");
    }
}
