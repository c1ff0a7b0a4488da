//! What the tests of several renderings share: hostile texts, and the places of a story where any text may stand.

use serde_json::Value;

use crate::story::Story;

/// Texts that would do something in Markdown, HTML, Mermaid or a terminal.
pub(super) const HOSTILE: [&str; 34] = [
    "|",
    "\\|",
    "\\\\|",
    "a | b | c",
    "`",
    "``",
    "```",
    "a\n```\n# b",
    "~~~\n# b",
    "\n\n# heading",
    "\r\n\r\n- item",
    "\n|---|---|\n| a | b |",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "--><b>",
    "<!-- ",
    "</code></pre><b>",
    "&lt;b&gt;",
    "[a](javascript:alert(1))",
    "![a](http://example.org/a.png)",
    "<http://example.org>",
    "*bold* _em_ **strong** ~~gone~~",
    "`|`",
    "\\`|\\`<b>",
    "\"]; click vn0 \"javascript:alert(1)\"",
    "end\"] --> x[\"",
    "%%{init: {}}%%",
    "\u{1b}[31mred\u{1b}]8;;http://x\u{7}",
    "\u{202e}dcba\u{2066}",
    "\u{0}\u{7f}\u{9b}\u{85}\u{2028}",
    "# h\n===\n1. x\n> q",
    "[^1]: note\n[a]: http://x",
    "    indented\n\ttab",
    " ` ",
];

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
