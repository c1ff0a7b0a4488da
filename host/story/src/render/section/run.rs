//! What is said of the run as a whole: the closing line, facts, the list of nodes.

use crate::event::AlertFact;
use crate::render::document::{Align, Inline, Table};
use crate::render::words;
use crate::story::{NodeStory, Story};

/// `3 nodes: 1 succeeded, 1 failed, 1 skipped. It took 1.24 s.`
pub(in crate::render) fn closing_line(story: &Story) -> String {
    let counts = counts(story);
    let nodes = words::count(story.nodes.len() as u64, "node");
    let of_which = if counts.is_empty() {
        String::new()
    } else {
        format!(": {counts}")
    };
    format!(
        "{nodes}{of_which}. It took {}.",
        words::duration(story.duration_ms)
    )
}

/// `1 succeeded, 1 failed`
pub(in crate::render) fn counts(story: &Story) -> String {
    let counts: Vec<String> = story
        .counts()
        .iter()
        .map(|(status, count)| format!("{count} {}", status.word()))
        .collect();
    counts.join(", ")
}

/// Who ran what, when.
pub(in crate::render) fn facts(story: &Story) -> Table {
    let instant = |at| Inline::text(words::instant(at));
    let mut table = Table::new([("Run", Align::Left), ("", Align::Left)]);
    let mut fact = |name: &'static str, value: Inline| table.row([Inline::host(name), value]);
    fact("Project", Inline::code(&story.project));
    fact("Run id", Inline::code(&story.run_id));
    fact("Started", instant(story.started_at));
    fact(
        "Ended",
        story.ended_at.map_or(Inline::host("unknown"), instant),
    );
    fact("Duration", Inline::text(words::duration(story.duration_ms)));
    if let Some(code) = story.exit_code {
        fact("Exit code", Inline::text(code.to_string()));
    }
    if let Some(before) = &story.continues {
        fact("Goes on with run", Inline::code(before));
    }
    if let Some(environment) = &story.environment {
        fact("Environment", Inline::code(environment));
    }
    if let Some(host) = &story.host {
        fact("Machine", Inline::code(host));
    }
    if let Some(user) = &story.user {
        fact("User", Inline::code(user));
    }
    if let Some(logical_time) = story.logical_time {
        fact("Logical time", Inline::text(logical_time.to_string()));
    }
    fact(
        "Workers",
        Inline::text(words::thousands(story.workers as u64)),
    );
    fact("Odibi version", Inline::text(&story.odibi_version));
    if !story.alerts.is_empty() {
        let alerts = story.alerts.iter().map(alert);
        fact("Alerts", Inline::list(alerts, "; ", ""));
    }
    let files = story.config_files.iter().map(Inline::code);
    fact("Configuration", Inline::list(files, ", ", "unknown"));
    fact("Configuration digest", digest(&story.config_digest));
    if let Some(commit) = &story.git_commit {
        fact("Git commit", digest(commit));
    }
    table
}

/// `oncall: on_failure delivered`
fn alert(alert: &AlertFact) -> Inline {
    let mut text = format!("{}: {} {}", alert.channel, alert.about, alert.state.word());
    if let Some(failure) = &alert.failure {
        text += &format!(" ({})", failure.message);
    }
    Inline::text(text)
}

/// The first digits of a SHA-256, enough to tell two apart; the JSON holds all of them.
pub(in crate::render) fn digest(hex: &str) -> Inline {
    const DIGITS: usize = 12;
    Inline::code(hex.chars().take(DIGITS).collect::<String>())
}

/// Every node in one line of a table.
pub(in crate::render) fn overview(nodes: &[NodeStory]) -> Table {
    let mut table = Table::new([
        ("Node", Align::Left),
        ("Outcome", Align::Left),
        ("Duration", Align::Right),
        ("Rows in", Align::Right),
        ("Rows out", Align::Right),
        ("Rows written", Align::Right),
    ]);
    for node in nodes {
        let facts = node.facts.as_ref();
        let rows = |number: Option<u64>| {
            number.map_or(Inline::default(), |n| Inline::text(words::thousands(n)))
        };
        table.row([
            Inline::node(&node.outline.name),
            Inline::status(node.outcome),
            if node.attempts.is_empty() {
                Inline::default()
            } else {
                Inline::text(words::duration(node.duration_ms))
            },
            rows(
                facts
                    .map(|f| f.rows_in)
                    .or(node.progress.map(|p| p.rows_read)),
            ),
            rows(
                facts
                    .map(|f| f.rows_out)
                    .or(node.progress.map(|p| p.rows_out)),
            ),
            rows(facts.and_then(|f| f.rows_written)),
        ]);
    }
    table
}
