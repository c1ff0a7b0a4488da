//! What the three forms say, that they stay within the limits of their receivers, and that nothing foreign acts in them.

use expect_test::expect_file;
use odibi_plan::plan::{AlertChannel, AlertEvent, AlertKind, Secret};
use serde_json::Value;

use super::super::testing::{free_places, hostile, with_texts};
use super::*;
use crate::event::{NodeFacts, Outcome};
use crate::example;
use crate::failure::{Failure, FailureClass};
use crate::story::compare::PastRun;

fn channel(kind: AlertKind) -> AlertChannel {
    AlertChannel {
        name: "oncall".to_owned(),
        kind,
        url: Secret::new("https://example.org/hunter2canary"),
        on_events: vec![AlertEvent::Failure],
        pipeline: None,
        throttle_ms: 0,
        hourly_max: 10,
        timeout_ms: 1,
        mention: vec!["anna@example.org".to_owned()],
        mention_on_failure: vec![
            "@here".to_owned(),
            "<@U012AB3CD>".to_owned(),
            "*all* <!x>".to_owned(),
        ],
        slack_channel: Some("#data".to_owned()),
        metadata: vec![("team".to_owned(), "orders & more".to_owned())],
        signing_key: None,
        headers: Vec::new(),
    }
}

const KINDS: [AlertKind; 3] = [AlertKind::Slack, AlertKind::Teams, AlertKind::Webhook];

fn paths(pipeline: &str) -> Vec<String> {
    let base = format!("https://lake.example.org/stories/{pipeline}/run_1");
    ["json", "md", "html"].map(|e| format!("{base}.{e}")).into()
}

fn body(about: AlertEvent, stories: &[&Story]) -> AlertBody {
    AlertBody {
        id: "0123456789abcdef".to_owned(),
        environment: Some("prod".to_owned()),
        held_back: 2,
        ..AlertBody::of(about, stories, &paths)
    }
}

fn rendered(body: &AlertBody, kind: AlertKind) -> Value {
    let text = render(body, &channel(kind));
    assert!(!text.contains("hunter2canary"), "{text}");
    serde_json::from_str(&text).expect("is JSON")
}

#[test]
fn failure_in_the_three_forms() {
    let story = example::story();
    let body = body(AlertEvent::Failure, &[&story]);
    let golden = |kind| format!("{:#}\n", rendered(&body, kind));
    expect_file!["testdata/slack.json"].assert_eq(&golden(AlertKind::Slack));
    expect_file!["testdata/teams.json"].assert_eq(&golden(AlertKind::Teams));
    expect_file!["testdata/webhook.json"].assert_eq(&golden(AlertKind::Webhook));
}

/// What a story gives cause to tell, as words.
#[track_caller]
fn check_occasions(story: &Story, expect: &[&str]) {
    let found = occasions(&[story]);
    let words: Vec<&str> = found.iter().map(|event| event.word()).collect();
    assert_eq!(words, expect);
}

fn with_outcome(outcome: Outcome) -> Story {
    let mut story = example::story();
    story.outcome = outcome.into();
    story.comparison = None;
    story.history.clear();
    for node in &mut story.nodes {
        node.outcome = outcome.into();
        node.facts = None;
        if outcome.is_success() {
            node.failure = None;
        }
    }
    story
}

#[test]
fn occasions_follow_from_the_story() {
    check_occasions(&with_outcome(Outcome::Succeeded), &["on_success"]);
    check_occasions(&with_outcome(Outcome::Recovered), &["on_recovered"]);
    check_occasions(&with_outcome(Outcome::Failed), &["on_failure"]);
    check_occasions(&with_outcome(Outcome::Cancelled), &["on_failure"]);
    check_occasions(&with_outcome(Outcome::Skipped), &["on_failure"]);
    let mut crashed = with_outcome(Outcome::Succeeded);
    crashed.outcome = Status::Crashed;
    check_occasions(&crashed, &["on_failure"]);
    let mut quarantining = with_outcome(Outcome::Succeeded);
    quarantining.nodes[0].facts = Some(NodeFacts {
        rows_unread: 1,
        ..NodeFacts::default()
    });
    check_occasions(&quarantining, &["on_success", "on_quarantine"]);
    let mut blocked = with_outcome(Outcome::Failed);
    blocked.nodes[0].failure = Some(Failure::new(FailureClass::Data, "gate/blocked", "no"));
    check_occasions(&blocked, &["on_failure", "on_gate_block"]);
    let mut odd = with_outcome(Outcome::Succeeded);
    odd.comparison = example::with_history().comparison;
    assert!(!anomalies(&odd).is_empty(), "the example has anomalies");
    check_occasions(&odd, &["on_success", "on_threshold_breach"]);
    assert_eq!(occasions(&[]), []);
}

#[test]
fn success_after_a_failed_run_is_a_recovery() {
    let mut story = with_outcome(Outcome::Succeeded);
    let before = |outcome| PastRun {
        outcome,
        ..PastRun::of(&story)
    };
    let (failed, good) = (before(Status::Failed), before(Status::Succeeded));
    story.history = vec![good.clone(), failed.clone()];
    check_occasions(&story, &["on_recovered"]);
    assert_eq!(subject(AlertEvent::Recovered, &[&story]), ["orders"]);
    story.history = vec![failed, good];
    check_occasions(&story, &["on_success"]);
}

#[test]
fn worst_pipeline_decides_for_the_run() {
    let (good, mut bad) = (
        with_outcome(Outcome::Succeeded),
        with_outcome(Outcome::Failed),
    );
    bad.pipeline = "prices".to_owned();
    assert_eq!(occasions(&[&good, &bad]), [AlertEvent::Failure]);
    assert_eq!(subject(AlertEvent::Failure, &[&good, &bad]), ["prices"]);
    assert_eq!(subject(AlertEvent::Success, &[&good, &bad]).len(), 2);
}

#[test]
fn channel_is_told_of_what_it_asks_for() {
    use AlertEvent::{Failure, Quarantine, Recovered, Success};
    for (occasions, asked, expect) in [
        (
            &[Recovered][..],
            &[Recovered, Success][..],
            &[Recovered][..],
        ),
        (&[Recovered], &[Success], &[Success]),
        (&[Recovered], &[Failure], &[]),
        (&[Success], &[Recovered], &[]),
        (&[Failure, Quarantine], &[Failure], &[Failure]),
        (&[Success, Quarantine], &[Quarantine], &[Quarantine]),
    ] {
        assert_eq!(picks(occasions, asked), expect);
    }
}

#[test]
fn titles_say_what_has_happened() {
    let title = |about, story: &Story| body(about, &[story]).title();
    let failed = with_outcome(Outcome::Failed);
    assert_eq!(title(AlertEvent::Failure, &failed), "shop (prod) failed");
    let interrupted = with_outcome(Outcome::Cancelled);
    assert_eq!(
        title(AlertEvent::Failure, &interrupted),
        "shop (prod) was interrupted"
    );
    let mut killed = failed.clone();
    killed.outcome = Status::Crashed;
    assert_eq!(
        title(AlertEvent::Failure, &killed),
        "shop (prod) was killed"
    );
    let mut test = body(AlertEvent::Success, &[&failed]);
    test.test = true;
    assert_eq!(test.title(), "TEST: shop (prod) succeeded");
}

/// A story with many nodes that all failed at length.
fn huge(text: &str) -> Story {
    let mut story = example::story();
    let failing = story.nodes[2].clone();
    assert!(failing.failure.is_some());
    story.nodes = (0..500)
        .map(|n| {
            let mut node = failing.clone();
            node.outline.name = format!("node_{n}");
            if let Some(failure) = &mut node.failure {
                failure.message = text.repeat(5_000 / text.len());
            }
            node
        })
        .collect();
    story
}

#[test]
fn messages_stay_within_the_limits_of_their_receivers() {
    for text in ["a", "&", "\"", "é\u{1}", "🔴", "<!channel> "] {
        let story = huge(text);
        let many: Vec<&Story> = (0..60).map(|_| &story).collect();
        for about in [AlertEvent::Failure, AlertEvent::ThresholdBreach] {
            let body = body(about, &many);
            check_slack(&rendered(&body, AlertKind::Slack));
            check_teams(&rendered(&body, AlertKind::Teams));
        }
    }
}

/// What Slack demands of a message.
fn check_slack(message: &Value) {
    let blocks = message["blocks"].as_array().expect("blocks");
    assert!((1..=slack::BLOCKS_MAX).contains(&blocks.len()));
    let text = |object: &Value, most: usize| {
        let kind = object["type"].as_str().expect("a type");
        assert!(["plain_text", "mrkdwn"].contains(&kind), "{object}");
        assert_eq!(object.get("emoji").is_some(), kind == "plain_text");
        let text = object["text"].as_str().expect("a text");
        let chars = text.chars().count();
        assert!((1..=most).contains(&chars), "{chars} of {most}");
        if kind == "plain_text" {
            check_escaped(text);
        }
    };
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => text(&block["text"], slack::HEADER_CHARS_MAX),
            Some("section") => text(&block["text"], slack::TEXT_CHARS_MAX),
            Some("context") => {
                let elements = block["elements"].as_array().expect("elements");
                assert!((1..=10).contains(&elements.len()));
                elements.iter().for_each(|e| text(e, slack::TEXT_CHARS_MAX));
            }
            Some("actions") => {
                let button = &block["elements"][0];
                text(&button["text"], 75);
                assert!(button["url"].as_str().is_some_and(|url| url.len() <= 3_000));
            }
            other => panic!("block {other:?}"),
        }
    }
    let fallback = message["text"].as_str().expect("a text");
    assert!(!fallback.is_empty());
    check_escaped(fallback);
}

/// No character that Slack acts on, but in escapes of it.
fn check_escaped(text: &str) {
    assert!(!text.contains(['<', '>']), "{text}");
    let rest = text
        .replace("&amp;", "")
        .replace("&lt;", "")
        .replace("&gt;", "");
    assert!(!rest.contains('&'), "{text}");
}

/// What Teams and Adaptive Cards 1.4 demand.
fn check_teams(message: &Value) {
    assert!(message.to_string().len() <= teams::BYTES_MAX);
    assert_eq!(message["type"], "message");
    let attachment = &message["attachments"][0];
    assert_eq!(
        attachment["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let card = &attachment["content"];
    assert_eq!(
        (&card["type"], &card["version"]),
        (&"AdaptiveCard".into(), &"1.4".into())
    );
    for element in card["body"].as_array().expect("a body") {
        match element["type"].as_str() {
            Some("RichTextBlock") => {
                for run in element["inlines"].as_array().expect("inlines") {
                    assert_eq!(run["type"], "TextRun");
                    assert!(run["text"].is_string());
                    for (key, allowed) in [
                        ("color", &["Good", "Attention", "Warning", "Accent"][..]),
                        ("weight", &["Bolder"]),
                        ("size", &["Large", "Small"]),
                    ] {
                        let word = run.get(key).and_then(Value::as_str);
                        assert!(word.is_none_or(|word| allowed.contains(&word)), "{run}");
                    }
                }
            }
            // Only mentions, which are mail addresses.
            Some("TextBlock") => {
                let text = element["text"].as_str().expect("a text");
                let rest = text.replace("<at>", "").replace("</at>", "");
                assert!(!rest.contains(['<', '>', '*', '[', '_', '`']), "{text}");
                assert_eq!(card["msteams"]["entities"][0]["type"], "mention");
            }
            other => panic!("element {other:?}"),
        }
    }
    for action in card["actions"].as_array().into_iter().flatten() {
        assert_eq!(action["type"], "Action.OpenUrl");
        assert!(
            action["url"]
                .as_str()
                .is_some_and(|url| url.starts_with("http"))
        );
    }
}

#[test]
fn hostile_texts_do_nothing() {
    let story = serde_json::to_value(example::with_history()).expect("serialises");
    let places = free_places(&story);
    for hostile in hostile() {
        let text = format!("{hostile} <!channel> <@U1> @here");
        let told = with_texts(&story, &places, |_| text.clone());
        let told: Story = serde_json::from_value(told).expect("a story");
        for about in [AlertEvent::Failure, AlertEvent::Quarantine] {
            let body = body(about, &[&told]);
            check_slack(&rendered(&body, AlertKind::Slack));
            check_teams(&rendered(&body, AlertKind::Teams));
            for kind in [AlertKind::Slack, AlertKind::Teams] {
                check_visible(&rendered(&body, kind));
            }
        }
    }
}

/// No character that is not seen, but line breaks of our own.
fn check_visible(value: &Value) {
    match value {
        Value::String(text) => {
            let hidden = |c: char| c != '\n' && super::super::escape::is_hidden(c);
            assert!(!text.contains(hidden), "{text:?}");
        }
        Value::Array(items) => items.iter().for_each(check_visible),
        Value::Object(fields) => fields.values().for_each(check_visible),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn story_without_an_address_in_the_web_has_no_button() {
    let story = example::story();
    let local = |_: &str| vec!["stories/orders/run_1.html".to_owned()];
    let body = AlertBody::of(AlertEvent::Failure, &[&story], &local);
    for kind in KINDS {
        let text = rendered(&body, kind).to_string();
        assert!(text.contains("stories/orders/run_1.html"), "{text}");
        assert!(
            !text.contains("OpenUrl") && !text.contains("\"button\""),
            "{text}"
        );
    }
}

#[test]
fn start_and_test_without_stories_are_whole() {
    for about in AlertEvent::ALL {
        let mut body = body(about, &[]);
        body.project = "shop".to_owned();
        body.test = true;
        check_teams(&rendered(&body, AlertKind::Teams));
        let slack = rendered(&body, AlertKind::Slack);
        check_slack(&slack);
        assert!(
            slack["text"]
                .as_str()
                .is_some_and(|text| text.contains("TEST: shop"))
        );
    }
}
