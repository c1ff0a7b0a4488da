//! An alert as an Adaptive Card, in the envelope that a workflow of Teams takes.
//!
//! What comes from projects, data and plugins stands in text runs, which know no formatting.

use odibi_plan::plan::AlertChannel;
use serde_json::{Value, json};

use super::super::escape::{cut, plain};
use super::{AlertBody, Tone};

/// Bytes of a message; Teams refuses more than about 28 KB.
pub(super) const BYTES_MAX: usize = 27_000;
/// How much is listed, the most first: failures, characters of each, pipelines. The first that fits is taken.
const SIZES: [(usize, usize, usize); 5] = [
    (10, 1_000, 20),
    (5, 600, 15),
    (3, 300, 10),
    (1, 200, 5),
    (0, 0, 1),
];
const ANOMALIES_MAX: usize = 10;
const PAGES_MAX: usize = 3;
const MENTIONS_MAX: usize = 10;

pub(super) fn payload(body: &AlertBody, channel: &AlertChannel) -> Value {
    let mut sizes = SIZES.into_iter().map(|size| card(body, channel, size));
    let fits = |card: &Value| card.to_string().len() <= BYTES_MAX;
    let smallest = || card(body, channel, (0, 0, 1));
    sizes.find(fits).unwrap_or_else(smallest)
}

fn card(
    body: &AlertBody,
    channel: &AlertChannel,
    (failures, chars, pipelines): (usize, usize, usize),
) -> Value {
    let title = run(
        &body.title(),
        150,
        json!({ "weight": "Bolder", "size": "Large", "color": colour(body.tone()) }),
    );
    let mut content = vec![rich(vec![title])];
    let mut lines = |texts: Vec<String>, chars_max: usize, look: &Value| {
        for text in texts {
            content.push(rich(vec![run(&text, chars_max, look.clone())]));
        }
    };
    let usual = json!({});
    let subtle = json!({ "isSubtle": true, "size": "Small" });
    let mentions = mentions(body, channel);
    lines(
        mentions.iter().map(|(tag, _)| tag.clone()).collect(),
        100,
        &usual,
    );
    lines(body.lines(pipelines), 300, &usual);
    lines(
        body.failures(failures, chars),
        chars,
        &json!({ "color": "Attention" }),
    );
    lines(
        body.anomalies(ANOMALIES_MAX.min(failures)),
        300,
        &json!({ "color": "Warning" }),
    );
    let metadata = channel.metadata.iter().take(4);
    lines(
        metadata
            .map(|(key, value)| format!("{key}: {value}"))
            .collect(),
        150,
        &subtle,
    );
    lines(vec![body.footer().join(" · ")], 400, &subtle);
    lines(body.pages(PAGES_MAX), 400, &subtle);
    // Only text blocks can mention.
    let marked: Vec<&str> = mentions
        .iter()
        .filter(|(_, id)| id.is_some())
        .map(|(tag, _)| tag.as_str())
        .collect();
    if !marked.is_empty() {
        content.retain(|line| !is_one_of(line, &marked));
        content.insert(
            1,
            json!({ "type": "TextBlock", "text": marked.join(" "), "wrap": true }),
        );
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": { "width": "Full" },
        "body": content,
    });
    let entities = mentions.iter().filter_map(|(tag, id)| {
        let id = id.as_ref()?;
        Some(json!({ "type": "mention", "text": tag, "mentioned": { "id": id, "name": id } }))
    });
    let entities: Vec<Value> = entities.collect();
    if !entities.is_empty() {
        card["msteams"]["entities"] = entities.into();
    }
    if let Some(page) = body.pages(1).first().filter(|page| is_web(page)) {
        card["actions"] =
            json!([{ "type": "Action.OpenUrl", "title": "Open the story", "url": page }]);
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}

fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "Good",
        Tone::Bad => "Attention",
        Tone::Odd => "Warning",
        Tone::Neutral => "Accent",
    }
}

fn rich(runs: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

fn run(text: &str, chars_max: usize, mut look: Value) -> Value {
    look["type"] = "TextRun".into();
    look["text"] = cut(&plain(text), chars_max).into();
    look
}

fn is_one_of(line: &Value, texts: &[&str]) -> bool {
    let text = line.pointer("/inlines/0/text").and_then(Value::as_str);
    text.is_some_and(|text| texts.contains(&text))
}

/// Each with the address that Teams knows it by: a mail address is mentioned, anything else is text.
fn mentions(body: &AlertBody, channel: &AlertChannel) -> Vec<(String, Option<String>)> {
    let mentions = body.mentions(channel).into_iter().take(MENTIONS_MAX);
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-' | '+');
    let one = |written: &str| {
        let is_address = written.len() <= 80
            && written.chars().all(known)
            && written.split('@').filter(|part| !part.is_empty()).count() == 2
            && written.matches('@').count() == 1;
        if is_address {
            (format!("<at>{written}</at>"), Some(written.to_owned()))
        } else {
            (written.to_owned(), None)
        }
    };
    mentions.map(one).collect()
}

fn is_web(page: &str) -> bool {
    page.starts_with("https://") || page.starts_with("http://")
}
