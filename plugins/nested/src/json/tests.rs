//! Against serde's reader.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The same value, put together from the spans.
fn built(value: &str) -> Value {
    match kind(value) {
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Bool(value == "true"),
        Kind::Number => serde_json::from_str(value).unwrap_or(Value::Null),
        Kind::Text => Value::String(unescaped(value).into_owned()),
        Kind::List => elements(value).map(built).collect(),
        Kind::Object => members(value)
            .map(|(name, value)| (name.into_owned(), built(value)))
            .collect(),
    }
}

/// Agrees with serde's reader whether it is JSON, and on what it says.
#[track_caller]
fn check(text: &str) {
    let expect = serde_json::from_str::<Value>(text);
    if matches!(&expect, Err(e) if e.to_string().starts_with("number out of range")) {
        // JSON all the same, which another reader cannot hold.
        return assert!(read(text).is_ok(), "{text:?}");
    }
    let expect = expect.ok();
    assert_eq!(read(text).ok().map(built), expect, "{text:?}");
}

#[test]
fn texts_are_read_as_another_reader_reads_them() {
    for text in [
        "1",
        "-0",
        "0.5e-3",
        "1E+2",
        "01",
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "12a",
        "tru",
        "true",
        "nulll",
        "",
        " ",
        " null ",
        "\"a\"",
        "\"a",
        "\"\\n\\u00e4\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ud83dx\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u+123\"",
        "\"\\\"",
        "\"\\",
        "\"\\ä\"",
        "\"\\u12ä4\"",
        "\"a\tb\"",
        "[]",
        "[ ]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[[],[[]]]",
        "[",
        "]",
        "[1}",
        "{}",
        "{ }",
        "{\"a\":1}",
        "{\"a\" : [ 1 , {\"b\":null} ] , \"ä\":{}}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1]",
        "{\"a\":1,\"a\":2}",
        "{\"\\u0061\":1}",
        "{} {}",
        "\u{feff}1",
        "1\u{a0}",
        "\"\u{7f}\u{2028}\"",
        "NaN",
    ] {
        check(text);
    }
}

#[test]
fn faults_say_where() {
    let fault = |text: &str| read(text).map_err(|f| f.to_string()).err();
    assert_eq!(
        fault("{\"a\": x}").as_deref(),
        Some("expected a value at byte 6")
    );
    assert_eq!(
        fault("[1").as_deref(),
        Some("expected `,` or `]` at byte 2")
    );
    assert_eq!(
        fault("{'a'}").as_deref(),
        Some("expected a name in quotes at byte 1")
    );
    assert_eq!(fault("1 2").as_deref(), Some("expected the end at byte 2"));
}

#[test]
fn nesting_is_not_bounded_by_the_stack() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    assert_eq!(read(&deep).map(str::len), Ok(deep.len()));
    assert!(read(&deep[1..]).is_err());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000..1000i32).prop_map(|n| Value::from(f64::from(n) / 8.0)),
        "[a\"\\\\\n\u{1}ä😀/]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[ab\"ß]{0,2}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn values_come_back(value in value(), pretty: bool) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert_eq!(read(&text).ok().map(built), Some(value));
    }

    #[test]
    fn a_text_cut_or_changed_is_judged_as_another_reader_judges(
        value in value(), at: prop::sample::Index, change in "[\\[\\]{},:\"\\\\0-9eE+.a-f -]?",
    ) {
        let mut chars: Vec<char> = value.to_string().chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..=at, change.chars());
        check(&chars.into_iter().collect::<String>());
    }
}
