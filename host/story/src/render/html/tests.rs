//! The whole page against a golden copy, hostile texts in every place a text can stand, and a story of 1,000 nodes.

use std::collections::BTreeMap;

use html5gum::{Token, Tokenizer};

use super::*;
use crate::example;
use crate::render::testing::{free_places, payloads, with_texts};

#[test]
fn page_of_a_run_with_every_outcome() {
    expect_test::expect_file!["testdata/story.html"].assert_eq(&render(&example::with_history()));
}

#[test]
fn digests_are_written_in_base64() {
    assert_eq!(
        sha256_base64(""),
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    );
}

/// Elements and attributes of a page without its texts, as an independent parser sees them; values of attributes that
/// are always ours. Code and line breaks inside a text may be more or fewer.
fn skeleton(page: &str) -> Vec<String> {
    let mut tokens = Tokenizer::new(page);
    let mut pieces = Vec::new();
    for token in tokens.by_ref() {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                let attributes: BTreeMap<String, String> = tag
                    .attributes
                    .iter()
                    .map(|(name, value)| {
                        (
                            String::from_utf8_lossy(name).into_owned(),
                            String::from_utf8_lossy(value).into_owned(),
                        )
                    })
                    .collect();
                if matches!(name.as_str(), "code" | "br") && attributes.is_empty() {
                    continue;
                }
                let shown = attributes.iter().map(|(name, value)| match name.as_str() {
                    "aria-label" => name.clone(),
                    _ => format!("{name}={value}"),
                });
                pieces.push(format!("{name} {}", shown.collect::<Vec<_>>().join(" ")));
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                if name != "code" {
                    pieces.push(format!("/{name}"));
                }
            }
            Token::Comment(_) => pieces.push("comment".to_owned()),
            Token::Doctype(_) => pieces.push("doctype".to_owned()),
            Token::String(_) | Token::Error(_) => {}
        }
    }
    pieces
}

#[test]
fn hostile_text_in_any_place_makes_no_element_and_no_attribute() {
    let mut whole = example::with_history();
    whole.nodes[1].facts = Some(example::quarantining());
    let value = serde_json::to_value(whole).expect("serialises");
    let places = free_places(&value);
    let story = |text: &dyn Fn(usize) -> String| -> Story {
        serde_json::from_value(with_texts(&value, &places, text)).expect("takes a text")
    };
    let expect = skeleton(&render(&story(&|at| format!("benign{at}"))));
    assert!(expect.len() > 500, "{}", expect.len());
    let payloads = payloads();
    // Each page holds as many payloads as it has places; over all pages each payload stands in several.
    for shift in (0..payloads.len()).step_by(40) {
        let page = render(&story(&|at| {
            format!("{}{at}", payloads[(at + shift) % payloads.len()])
        }));
        assert_eq!(skeleton(&page), expect, "shift {shift}");
        let hidden = page.chars().find(|c| *c != '\n' && escape::is_hidden(*c));
        assert_eq!(hidden, None, "shift {shift}");
    }
}

#[test]
fn skeleton_sees_a_planted_break_out() {
    let benign = skeleton("<p title=\"a\">b</p>");
    assert_eq!(benign, skeleton("<p title=\"a\">&lt;b&gt; c</p>"));
    for planted in [
        "<p title=\"a\" x>b</p>",
        "<p title=\"a\"><b>b</p>",
        "<p title=\"a\">b<!-- --></p>",
    ] {
        assert_ne!(benign, skeleton(planted), "{planted}");
    }
}

#[test]
fn nothing_is_asked_from_elsewhere() {
    let page = render(&example::with_history());
    for tag in skeleton(&page) {
        for attribute in ["src=", "srcset=", "style=", "data=", "action=", "on"] {
            assert!(
                !tag.split(' ').any(|word| word.starts_with(attribute)),
                "{tag}"
            );
        }
        let link = tag.split(' ').find_map(|word| word.strip_prefix("href="));
        assert!(link.is_none_or(|link| link.starts_with('#')), "{tag}");
    }
    assert!(
        !page.contains("url(http") && !page.contains("@import"),
        "a style asks for something"
    );
}

#[test]
fn story_of_a_thousand_nodes_stays_small_and_readable() {
    let mut story = example::story();
    let one = story.nodes[1].clone();
    story.nodes = (0..1_000)
        .map(|at| {
            let mut node = one.clone();
            node.outline.name = format!("node_{at}");
            node
        })
        .collect();
    let page = render(&story);
    assert!(page.len() < 12_000_000, "{} bytes", page.len());
    assert_eq!(page.matches("<details class=\"node\" id=").count(), 1_000);
    assert_eq!(page.matches(" open=").count(), 0);
    let bars = page.matches("<svg width=\"100%\" height=\"16\"").count();
    assert_eq!(bars, 60, "the timeline shows the longest");
    assert_eq!(page.matches("id=\"search\"").count(), 1);
}
