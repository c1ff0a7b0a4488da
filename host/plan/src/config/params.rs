//! `params` of a step: YAML to JSON, with the place of every key and value.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};

use super::reader::{Context, ambiguous};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::limits::POINTER_BYTES_MAX;
use crate::operation::schema::escape;
use crate::plan::Params;
use crate::yaml::{Entry, Node, Resolved, Scalar, Value};

/// Params as JSON, and what a check of them needs to know of the file. Keys of the maps are JSON Pointers.
#[derive(Debug, Clone, PartialEq)]
pub struct StepParams {
    /// The params and the places of the values.
    pub params: Params,
    /// Places of the keys.
    pub keys: BTreeMap<String, Span>,
    /// Texts that are booleans where one is wanted: plain `yes`, `no`, `on` and `off`.
    pub booleans: BTreeMap<String, bool>,
}

/// `None` when they were refused and reported. Absent params are an empty mapping at `span`, the place of the operation.
pub(super) fn read(
    context: &Context,
    entry: Option<&Entry>,
    span: Span,
    subject: &str,
) -> Option<StepParams> {
    let mut made = StepParams {
        params: Params {
            value: Json::Object(Map::new()),
            places: BTreeMap::from([(String::new(), span)]),
            written: BTreeMap::new(),
        },
        keys: BTreeMap::new(),
        booleans: BTreeMap::new(),
    };
    let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else {
        return Some(made);
    };
    if matches!(entry.value.value, Value::Scalar(_) | Value::Sequence(_)) {
        let message = format!("{subject} takes a mapping, not {}", entry.value.describe());
        context.report(Diagnostic::error(
            &codes::WRONG_TYPE,
            entry.value.span,
            message,
        ));
        return None;
    }
    let mut walk = Walk {
        context,
        made: &mut made,
        bytes_left: POINTER_BYTES_MAX,
        good: true,
    };
    let value = walk.node(&entry.value, String::new());
    let good = walk.good;
    made.params.value = value?;
    good.then_some(made)
}

struct Walk<'a> {
    context: &'a Context,
    made: &'a mut StepParams,
    bytes_left: usize,
    good: bool,
}

impl Walk<'_> {
    /// `None` when nothing can stand for the value.
    fn node(&mut self, node: &Node, at: String) -> Option<Json> {
        if at.len() > self.bytes_left {
            if self.good {
                let message = format!(
                    "the keys of these params are longer than allowed: {POINTER_BYTES_MAX} bytes"
                );
                self.context
                    .report(Diagnostic::error(&codes::LIMIT, node.span, message));
            }
            self.good = false;
            return None;
        }
        self.bytes_left -= at.len();
        self.made.params.places.insert(at.clone(), node.span);
        match &node.value {
            Value::Missing => {
                self.good = false;
                None
            }
            Value::Scalar(scalar) => self.scalar(scalar, node.span, at),
            Value::Sequence(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .filter_map(|(i, item)| self.node(item, format!("{at}/{i}")));
                Some(Json::Array(items.collect()))
            }
            Value::Mapping(mapping) => {
                self.good &= !mapping.truncated;
                let mut object = Map::new();
                for entry in &mapping.entries {
                    let inner = format!("{at}/{}", escape(&entry.key));
                    let Some(value) = self.node(&entry.value, inner.clone()) else {
                        continue;
                    };
                    self.made.keys.insert(inner, entry.key_span);
                    object.insert(entry.key.clone(), value);
                }
                Some(Json::Object(object))
            }
        }
    }

    fn scalar(&mut self, scalar: &Scalar, span: Span, at: String) -> Option<Json> {
        ambiguous(self.context, scalar, span);
        let number = match scalar.resolve() {
            Resolved::Null => return Some(Json::Null),
            Resolved::Boolean(value) => return Some(Json::Bool(value)),
            Resolved::Integer(value) => i64::try_from(value)
                .map(Number::from)
                .or_else(|_| u64::try_from(value).map(Number::from))
                .ok(),
            Resolved::Float(value) => Number::from_f64(value),
            Resolved::Text => {
                if let Some(written) = &scalar.written {
                    self.made.params.written.insert(at.clone(), written.clone());
                }
                if let Some(value) = scalar.as_boolean() {
                    self.made.booleans.insert(at, value);
                }
                return Some(Json::String(scalar.text.clone()));
            }
        };
        if let Some(written) = &scalar.written {
            self.made.params.written.insert(at, written.clone());
        }
        if number.is_none() {
            let message = format!("a number that cannot be held: {}", quoted(scalar.shown()));
            let made = Diagnostic::error(&codes::BAD_VALUE, span, message);
            self.context
                .report(made.hint("put it in quotes if it is a text"));
            self.good = false;
        }
        number.map(Json::Number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;
    use crate::diagnostic::Sources;
    use crate::yaml;

    fn run(text: &str) -> (Option<StepParams>, Vec<&'static str>) {
        let mut sources = Sources::default();
        let file = sources.add("t.yaml", format!("p: {text}"));
        let (mut tree, _) = yaml::parse(&sources, file);
        let lower = |name: &str| Some(name.to_lowercase());
        yaml::Pass::new(&lower, jiff::Timestamp::UNIX_EPOCH).node(&mut tree.root);
        let Value::Mapping(mapping) = &tree.root.value else {
            panic!("{text}")
        };
        let context = Context::new(true);
        let span = Span {
            file,
            start: 0,
            end: 1,
        };
        let made = read(&context, mapping.get("p"), span, "`params`");
        (made, context.finish().iter().map(|d| d.code.name).collect())
    }

    #[track_caller]
    fn check(text: &str, expect: &Json) {
        let (made, faults) = run(text);
        assert_eq!((&made.unwrap().params.value, faults), (expect, vec![]));
    }

    #[test]
    fn values_become_json() {
        check(
            "{a: 1, b: -2, c: 1.5, d: true, e: ~, f: x, g: '1', h: [1, [2]], i: {}}",
            &json!({
                "a": 1, "b": -2, "c": 1.5, "d": true, "e": null, "f": "x", "g": "1", "h": [1, [2]], "i": {}
            }),
        );
        check(
            "{a: 18446744073709551615, b: yes, c: 2024-01-01, d: 12:30, 1: x}",
            &json!({
                "a": u64::MAX, "b": "yes", "c": "2024-01-01", "d": "12:30", "1": "x"
            }),
        );
        check("", &json!({}));
        check("{a: '${X}', b: \"x${Y}\"}", &json!({"a": "x", "b": "xy"}));
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        assert_eq!(
            run("{a: .inf, b: 99999999999999999999999}"),
            (None, vec!["config/bad-value", "config/bad-value"])
        );
        assert_eq!(run("[a]"), (None, vec!["config/wrong-type"]));
        assert_eq!(run("{a: 010}").1, ["yaml/ambiguous-number"]);
    }

    #[test]
    fn places_cover_keys_and_values() {
        let (made, _) = run("{a: {x/y: [é, on]}, b: '${V}'}");
        let made = made.unwrap();
        let place = |span: &Span| (span.start, span.end);
        let values: Vec<(&str, (u32, u32))> = made
            .params
            .places
            .iter()
            .map(|(k, v)| (k.as_str(), place(v)))
            .collect();
        assert_eq!(
            values,
            [
                ("", (3, 34)),
                ("/a", (7, 22)),
                ("/a/x~1y", (13, 21)),
                ("/a/x~1y/0", (14, 16)),
                ("/a/x~1y/1", (18, 20)),
                ("/b", (27, 33))
            ]
        );
        assert_eq!(made.keys.get("/a/x~1y").map(place), Some((8, 11)));
        assert_eq!(
            made.booleans,
            BTreeMap::from([("/a/x~1y/1".to_owned(), true)])
        );
        assert_eq!(
            made.params.written,
            BTreeMap::from([("/b".to_owned(), "${V}".to_owned())])
        );
    }
}
