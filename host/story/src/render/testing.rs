//! What the tests of several renderings share: hostile texts, and the places of a story where any text may stand.

use serde::Deserialize;
use serde_json::Value;

use crate::story::Story;

/// Texts that would do something in Markdown, HTML, Mermaid or a terminal, and of which more are made.
/// tests/story/pages.mjs shows the same to a browser.
#[derive(Deserialize)]
struct Payloads {
    /// As they stand.
    whole: Vec<String>,
    /// What ends a text, an attribute, an element, a cell or a comment, as a reader sees it.
    ends: Vec<String>,
    /// What would do something once it is out.
    vectors: Vec<String>,
}

impl Payloads {
    fn read() -> Self {
        serde_json::from_str(include_str!("testdata/payloads.json")).expect("payloads")
    }
}

/// A few hostile texts, of every kind.
pub(super) fn hostile() -> Vec<String> {
    Payloads::read().whole
}

/// More than 500 of them: each end with each of what comes behind it.
pub(super) fn payloads() -> Vec<String> {
    let Payloads {
        whole,
        ends,
        vectors,
    } = Payloads::read();
    let made = ends
        .iter()
        .flat_map(|end| vectors.iter().map(move |vector| format!("{end}{vector}")));
    let all: Vec<String> = whole.into_iter().chain(made).collect();
    assert!(all.len() > 500, "{}", all.len());
    all
}

/// JSON Pointers of all strings below a value.
fn strings(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                strings(item, &format!("{at}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// JSON Pointers of the places where any text may stand, found by trying: elsewhere only certain words are read back.
pub(super) fn free_places(story: &Value) -> Vec<String> {
    let mut pointers = Vec::new();
    strings(story, "", &mut pointers);
    pointers.retain(|pointer| {
        serde_json::from_value::<Story>(with_texts(story, std::slice::from_ref(pointer), |_| {
            "any".to_owned()
        }))
        .is_ok()
    });
    pointers
}

pub(super) fn with_texts(
    story: &Value,
    pointers: &[String],
    text: impl Fn(usize) -> String,
) -> Value {
    let mut value = story.clone();
    for (at, pointer) in pointers.iter().enumerate() {
        *value.pointer_mut(pointer).expect("a place of this story") = Value::String(text(at));
    }
    value
}
