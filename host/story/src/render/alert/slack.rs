//! An alert as a message of Slack: Block Kit, and a text for notifications.
//!
//! What comes from projects, data and plugins stands in `plain_text` objects, which know no formatting, with the three
//! characters escaped that Slack acts on everywhere.

use odibi_plan::plan::AlertChannel;
use serde_json::{Value, json};

use super::super::escape::{cut, plain};
use super::{AlertBody, Tone};

/// Blocks of a message.
pub(super) const BLOCKS_MAX: usize = 50;
/// Characters of the text of a section.
pub(super) const TEXT_CHARS_MAX: usize = 3_000;
/// Characters of a header.
pub(super) const HEADER_CHARS_MAX: usize = 150;

/// What is listed, so that a message stays short and within the limits.
const PIPELINES_MAX: usize = 20;
const FAILURES_MAX: usize = 10;
const ANOMALIES_MAX: usize = 10;
const PAGES_MAX: usize = 5;
const MENTIONS_MAX: usize = 20;
/// Characters of one failure before they are escaped, which makes up to five of one.
const FAILURE_CHARS_MAX: usize = 550;

pub(super) fn payload(body: &AlertBody, channel: &AlertChannel) -> Value {
    let title = format!("{} {}", mark(body.tone()), body.title());
    let mut blocks = vec![json!({ "type": "header", "text": text(&title, HEADER_CHARS_MAX) })];
    let lines = body.lines(PIPELINES_MAX);
    if !lines.is_empty() {
        blocks.push(section(&lines.join("\n")));
    }
    let mentions = body.mentions(channel);
    if !mentions.is_empty() {
        let mentions: Vec<String> = mentions
            .iter()
            .take(MENTIONS_MAX)
            .map(|m| mention(m))
            .collect();
        let shown = fit(&mentions.join(" "), TEXT_CHARS_MAX);
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": shown } }));
    }
    for failure in body.failures(FAILURES_MAX, FAILURE_CHARS_MAX) {
        blocks.push(section(&failure));
    }
    let anomalies = body.anomalies(ANOMALIES_MAX);
    if !anomalies.is_empty() {
        blocks.push(section(&anomalies.join("\n")));
    }
    let mut footer: Vec<Value> = vec![text(&body.footer().join(" · "), 500)];
    let metadata = channel.metadata.iter().take(4);
    footer.extend(metadata.map(|(key, value)| text(&format!("{key}: {value}"), 150)));
    footer.extend(body.pages(PAGES_MAX).iter().map(|page| text(page, 400)));
    blocks.push(json!({ "type": "context", "elements": footer }));
    if let Some(button) = button(&body.pages(1)) {
        blocks.push(json!({ "type": "actions", "elements": [button] }));
    }
    blocks.truncate(BLOCKS_MAX);
    let first = body.lines(1).concat();
    let mut payload = json!({
        // Without formatting: notifications show it as it is.
        "text": fit(&escape(&plain(&format!("{title}. {first}"))), TEXT_CHARS_MAX),
        "mrkdwn": false,
        "blocks": blocks,
    });
    if let Some(name) = &channel.slack_channel {
        payload["channel"] = name.as_str().into();
    }
    payload
}

fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "🟢",
        Tone::Bad => "🔴",
        Tone::Odd => "🟡",
        Tone::Neutral => "🔵",
    }
}

fn section(content: &str) -> Value {
    json!({ "type": "section", "text": text(content, TEXT_CHARS_MAX) })
}

fn text(content: &str, chars_max: usize) -> Value {
    let shown = content
        .split('\n')
        .map(plain)
        .collect::<Vec<_>>()
        .join("\n");
    let shown = fit(&escape(&shown), chars_max);
    json!({ "type": "plain_text", "text": shown, "emoji": false })
}

/// A button to the page of the story, where that has an address in the web.
fn button(pages: &[String]) -> Option<Value> {
    let page = pages.first()?;
    let web = page.starts_with("https://") || page.starts_with("http://");
    // Slack refuses the whole message for a longer one.
    let fits = web && page.len() <= 3_000 && !page.contains(|c: char| c.is_whitespace());
    fits.then(|| json!({ "type": "button", "text": text("Open the story", 75), "url": page }))
}

/// The three characters that Slack acts on.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Cuts an escaped text without leaving half an escape at its end.
fn fit(escaped: &str, chars_max: usize) -> String {
    let shown = cut(escaped, chars_max);
    if shown.len() == escaped.len() {
        return shown;
    }
    match shown.rfind('&') {
        Some(at) if !shown[at..].contains(';') => format!("{}…", &shown[..at]),
        _ => shown,
    }
}

/// `@here` as Slack writes it; ids of users and groups as they are; anything else as text.
fn mention(written: &str) -> String {
    let written = written.trim();
    let word = written.trim_start_matches('@');
    if let "here" | "channel" | "everyone" = word {
        return format!("<!{word}>");
    }
    let inside = written
        .strip_prefix('<')
        .and_then(|rest| rest.strip_suffix('>'));
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_reference = inside.is_some_and(|inside| {
        let id = inside
            .strip_prefix('@')
            .or_else(|| inside.strip_prefix("!subteam^"));
        id.is_some_and(is_id) || matches!(inside, "!here" | "!channel" | "!everyone")
    });
    if is_reference {
        return written.to_owned();
    }
    // No character is left that could format.
    let quiet = plain(written).replace(['*', '_', '~', '`'], " ");
    escape(&cut(&quiet, 80))
}
