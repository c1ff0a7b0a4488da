//! A small checker of params against JSON Schema (2020-12): the part that descriptions of operations use.
//!
//! Known keywords: `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `const`, `minimum`,
//! `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `minLength`, `maxLength`, `minItems`, `maxItems`, `uniqueItems`,
//! `minProperties`, `allOf`, `anyOf`, `oneOf` and `$ref` to `#/…`. Others are ignored: the plugin checks its params
//! itself, this is for early and good messages. `oneOf` is satisfied by one or more.

use serde_json::{Map, Value};

use crate::limits::{SCHEMA_DEPTH_MAX, SCHEMA_STEPS_MAX, UNIQUE_ITEMS_MAX, VIOLATIONS_MAX};

/// One place where a value does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// JSON Pointer of the value; for [`Problem::UnknownKey`] and [`Problem::MissingKey`] of the mapping.
    pub pointer: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// Another type.
    Type {
        /// What would fit.
        expected: Vec<Kind>,
        /// What it is.
        found: Kind,
    },
    /// A key that the mapping does not know.
    UnknownKey {
        /// The key.
        key: String,
        /// Those it knows.
        known: Vec<String>,
    },
    /// A key without which it does not work.
    MissingKey {
        /// The key.
        key: String,
    },
    /// Not one of a closed list.
    NotOneOf {
        /// The list.
        allowed: Vec<String>,
    },
    /// A rule about size or range, as a fragment: `must be at least 1`.
    Rule(String),
}

/// A type of JSON, with the word that people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean,
    /// A number without a fraction.
    Integer,
    /// Any number.
    Number,
    /// A string.
    Text,
    /// An array.
    List,
    /// An object.
    Mapping,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "nothing",
            Self::Boolean => "`true` or `false`",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Mapping => "a mapping",
        })
    }
}

impl Kind {
    /// The type of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() != 0.0) => {
                Self::Number
            }
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Mapping,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::List,
            "object" => Self::Mapping,
            _ => return None,
        })
    }

    fn admits(self, found: Self) -> bool {
        self == found || (self == Self::Number && found == Self::Integer)
    }
}

/// Everything in `value` that does not fit `schema`, in the order of the value.
#[must_use]
pub fn check(schema: &Value, value: &Value) -> Vec<Violation> {
    let mut checker = Checker {
        root: schema,
        steps: 0,
    };
    let mut found = Vec::new();
    checker.value(schema, value, "", 0, &mut found);
    found.truncate(VIOLATIONS_MAX);
    found
}

/// The params that the schema of an operation lists, in its order.
#[must_use]
pub fn property_names(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .map(|p| p.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

struct Checker<'a> {
    root: &'a Value,
    steps: usize,
}

impl<'a> Checker<'a> {
    fn value(
        &mut self,
        schema: &'a Value,
        value: &Value,
        at: &str,
        depth: usize,
        out: &mut Vec<Violation>,
    ) {
        self.steps += 1;
        if self.steps > SCHEMA_STEPS_MAX || depth > SCHEMA_DEPTH_MAX || out.len() >= VIOLATIONS_MAX
        {
            return;
        }
        let report = |problem| Violation {
            pointer: at.to_owned(),
            problem,
        };
        let schema = match schema {
            Value::Bool(false) => {
                return out.push(report(Problem::Rule("must be left out".into())));
            }
            Value::Object(schema) => schema,
            Value::Null
            | Value::Bool(true)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => return,
        };
        if let Some(target) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| self.resolve(r))
        {
            self.value(target, value, at, depth + 1, out);
        }
        let (expected, found) = (kinds(schema), Kind::of(value));
        if !expected.is_empty() && !expected.iter().any(|kind| kind.admits(found)) {
            return out.push(report(Problem::Type { expected, found }));
        }
        if let Some(problem) = closed_list(schema, value).or_else(|| rule(schema, value)) {
            out.push(report(problem));
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            all.iter()
                .for_each(|part| self.value(part, value, at, depth + 1, out));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(forms)) = schema.get(key) {
                self.forms(forms, value, at, depth, out);
            }
        }
        match value {
            Value::Array(items) => {
                if let Some(each) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.value(each, item, &format!("{at}/{index}"), depth + 1, out);
                    }
                }
            }
            Value::Object(object) => self.object(schema, object, at, depth, out),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        object: &Map<String, Value>,
        at: &str,
        depth: usize,
        out: &mut Vec<Violation>,
    ) {
        let report = |problem| Violation {
            pointer: at.to_owned(),
            problem,
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let open = schema.contains_key("patternProperties");
        for (key, value) in object {
            if out.len() >= VIOLATIONS_MAX {
                return;
            }
            let inner = format!("{at}/{}", escape(key));
            match (properties.and_then(|p| p.get(key)), additional) {
                (Some(schema), _) => self.value(schema, value, &inner, depth + 1, out),
                (None, Some(Value::Bool(false))) if !open => {
                    let known = properties
                        .map(|p| p.keys().cloned().collect())
                        .unwrap_or_default();
                    out.push(report(Problem::UnknownKey {
                        key: key.clone(),
                        known,
                    }));
                }
                (None, Some(schema @ Value::Object(_))) => {
                    self.value(schema, value, &inner, depth + 1, out)
                }
                (None, _) => {}
            }
        }
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for key in required
            .filter_map(Value::as_str)
            .filter(|key| !object.contains_key(*key))
        {
            out.push(report(Problem::MissingKey {
                key: key.to_owned(),
            }));
        }
    }

    /// One of several forms has to fit. When none does, the fault of the form that fits best is reported, or the list
    /// of what would have fitted.
    fn forms(
        &mut self,
        forms: &'a [Value],
        value: &Value,
        at: &str,
        depth: usize,
        out: &mut Vec<Violation>,
    ) {
        let mut attempts = Vec::with_capacity(forms.len());
        for form in forms {
            let mut found = Vec::new();
            self.value(form, value, at, depth + 1, &mut found);
            if found.is_empty() {
                return;
            }
            attempts.push(found);
        }
        let mut types = Vec::new();
        let mut words = Vec::new();
        let mut others: Vec<Vec<Violation>> = Vec::new();
        for attempt in attempts {
            match &attempt[..] {
                [
                    Violation {
                        pointer,
                        problem: Problem::Type { expected, .. },
                    },
                ] if pointer == at => {
                    types.extend(
                        expected
                            .iter()
                            .copied()
                            .filter(|kind| !types.contains(kind))
                            .collect::<Vec<_>>(),
                    );
                }
                [
                    Violation {
                        pointer,
                        problem: Problem::NotOneOf { allowed },
                    },
                ] if pointer == at => {
                    words.extend(allowed.iter().cloned());
                }
                _ => others.push(attempt),
            }
        }
        let report = |problem| Violation {
            pointer: at.to_owned(),
            problem,
        };
        if let Some(best) = others.into_iter().min_by_key(Vec::len) {
            out.extend(best);
        } else if !words.is_empty() && (types.is_empty() || value.is_string()) {
            out.push(report(Problem::NotOneOf { allowed: words }));
        } else if !types.is_empty() {
            out.push(report(Problem::Type {
                expected: types,
                found: Kind::of(value),
            }));
        }
    }

    fn resolve(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }
}

fn kinds(schema: &Map<String, Value>) -> Vec<Kind> {
    match schema.get("type") {
        Some(Value::String(one)) => Kind::parse(one).into_iter().collect(),
        Some(Value::Array(many)) => many
            .iter()
            .filter_map(Value::as_str)
            .filter_map(Kind::parse)
            .collect(),
        _ => Vec::new(),
    }
}

fn closed_list(schema: &Map<String, Value>, value: &Value) -> Option<Problem> {
    let allowed = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(list)), _) => list.iter().collect(),
        (_, Some(one)) => vec![one],
        _ => return None,
    };
    if allowed.contains(&value) {
        return None;
    }
    Some(Problem::NotOneOf {
        allowed: allowed.into_iter().map(plain).collect(),
    })
}

/// A value as it would be written in YAML.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn rule(schema: &Map<String, Value>, value: &Value) -> Option<Problem> {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let count = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    let sized = |size: usize, least: &str, most: &str, what: &str| {
        let short = count(least).filter(|min| size < *min);
        let long = count(most).filter(|max| size > *max);
        let plural = |n: usize| {
            if n == 1 {
                what.to_owned()
            } else {
                format!("{what}s")
            }
        };
        short
            .map(|min| format!("must have at least {min} {}", plural(min)))
            .or_else(|| long.map(|max| format!("must have at most {max} {}", plural(max))))
    };
    let broken = match value {
        Value::Number(n) => {
            let n = n.as_f64()?;
            let least = number("minimum")
                .filter(|min| n < *min)
                .map(|min| format!("must be at least {min}"));
            least
                .or_else(|| {
                    number("maximum")
                        .filter(|max| n > *max)
                        .map(|max| format!("must be at most {max}"))
                })
                .or_else(|| {
                    number("exclusiveMinimum")
                        .filter(|m| n <= *m)
                        .map(|m| format!("must be more than {m}"))
                })
                .or_else(|| {
                    number("exclusiveMaximum")
                        .filter(|m| n >= *m)
                        .map(|m| format!("must be less than {m}"))
                })
        }
        Value::String(text) => sized(text.chars().count(), "minLength", "maxLength", "character"),
        Value::Array(items) => sized(items.len(), "minItems", "maxItems", "item").or_else(|| {
            let unique = schema
                .get("uniqueItems")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            let unique = unique && items.len() <= UNIQUE_ITEMS_MAX;
            let twice = unique
                && items
                    .iter()
                    .enumerate()
                    .any(|(i, item)| items[..i].contains(item));
            twice.then(|| "must not hold the same item twice".to_owned())
        }),
        Value::Object(object) => sized(object.len(), "minProperties", "maxProperties", "key"),
        Value::Null | Value::Bool(_) => None,
    };
    broken.map(Problem::Rule)
}

/// A key as a segment of a JSON Pointer.
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_one(schema: &Value, value: &Value, expect: &[(&str, Problem)]) {
        let expect: Vec<Violation> = expect
            .iter()
            .map(|(at, p)| Violation {
                pointer: (*at).into(),
                problem: p.clone(),
            })
            .collect();
        assert_eq!(check(schema, value), expect);
    }

    fn wrong(expected: &[Kind], found: Kind) -> Problem {
        Problem::Type {
            expected: expected.to_vec(),
            found,
        }
    }

    #[test]
    fn types_are_told_apart() {
        use Kind::{Boolean, Integer, List, Null, Number, Text};
        check_one(&json!({"type": "integer"}), &json!(1), &[]);
        check_one(&json!({"type": "integer"}), &json!(1.0), &[]);
        check_one(
            &json!({"type": "integer"}),
            &json!(1.5),
            &[("", wrong(&[Integer], Number))],
        );
        check_one(&json!({"type": "number"}), &json!(1), &[]);
        check_one(&json!({"type": ["string", "null"]}), &json!(null), &[]);
        check_one(
            &json!({"type": ["string", "null"]}),
            &json!(true),
            &[("", wrong(&[Text, Null], Boolean))],
        );
        check_one(
            &json!({"type": "array", "items": {"type": "string"}}),
            &json!(["a", 1]),
            &[("/1", wrong(&[Text], Integer))],
        );
        check_one(
            &json!({"type": "array"}),
            &json!("a"),
            &[("", wrong(&[List], Text))],
        );
        check_one(&json!(true), &json!("a"), &[]);
        check_one(
            &json!(false),
            &json!("a"),
            &[("", Problem::Rule("must be left out".into()))],
        );
    }

    #[test]
    fn mappings_report_unknown_and_missing_keys() {
        let schema = json!({"type": "object", "required": ["n"], "additionalProperties": false,
            "properties": {"n": {"type": "integer", "minimum": 0}, "offset": {"type": "integer"}}});
        let unknown = Problem::UnknownKey {
            key: "m".into(),
            known: vec!["n".into(), "offset".into()],
        };
        check_one(
            &schema,
            &json!({"m": 1}),
            &[("", unknown), ("", Problem::MissingKey { key: "n".into() })],
        );
        check_one(
            &schema,
            &json!({"n": -1}),
            &[("/n", Problem::Rule("must be at least 0".into()))],
        );
        let map = json!({"additionalProperties": {"type": "string"}});
        check_one(
            &map,
            &json!({"a/b~c": 1}),
            &[("/a~1b~0c", wrong(&[Kind::Text], Kind::Integer))],
        );
    }

    #[test]
    fn closed_lists_name_what_is_allowed() {
        let allowed = Problem::NotOneOf {
            allowed: vec!["sha256".into(), "md5".into()],
        };
        check_one(
            &json!({"type": "string", "enum": ["sha256", "md5"]}),
            &json!("sha1"),
            &[("", allowed.clone())],
        );
        let with_docs =
            json!({"oneOf": [{"const": "sha256", "description": "d"}, {"const": "md5"}]});
        check_one(&with_docs, &json!("sha1"), &[("", allowed)]);
        check_one(&with_docs, &json!("md5"), &[]);
    }

    #[test]
    fn forms_report_the_best_fit() {
        let reference = json!({"$defs": {"C": {"type": "string", "enum": ["lower", "upper"]}},
            "properties": {"case": {"anyOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]}}});
        check_one(&reference, &json!({"case": "lower"}), &[]);
        check_one(&reference, &json!({"case": null}), &[]);
        let allowed = vec!["lower".into(), "upper".into()];
        check_one(
            &reference,
            &json!({"case": "Upper"}),
            &[("/case", Problem::NotOneOf { allowed })],
        );
        check_one(
            &reference,
            &json!({"case": 1}),
            &[("/case", wrong(&[Kind::Text, Kind::Null], Kind::Integer))],
        );
        let either =
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]});
        check_one(
            &either,
            &json!([1]),
            &[("/0", wrong(&[Kind::Text], Kind::Integer))],
        );
        check_one(
            &either,
            &json!(1),
            &[("", wrong(&[Kind::Text, Kind::List], Kind::Integer))],
        );
    }

    #[test]
    fn sizes_and_ranges_are_held() {
        let rule = |text: &str| Problem::Rule(text.into());
        check_one(
            &json!({"minLength": 1}),
            &json!(""),
            &[("", rule("must have at least 1 character"))],
        );
        check_one(
            &json!({"minItems": 2}),
            &json!([1]),
            &[("", rule("must have at least 2 items"))],
        );
        check_one(
            &json!({"maximum": 2.5}),
            &json!(3),
            &[("", rule("must be at most 2.5"))],
        );
        check_one(
            &json!({"exclusiveMinimum": 0}),
            &json!(0),
            &[("", rule("must be more than 0"))],
        );
        check_one(
            &json!({"uniqueItems": true}),
            &json!([1, 2, 1]),
            &[("", rule("must not hold the same item twice"))],
        );
        check_one(
            &json!({"minProperties": 1}),
            &json!({}),
            &[("", rule("must have at least 1 key"))],
        );
    }

    #[test]
    fn endless_schema_ends() {
        let own = json!({"$ref": "#"});
        check_one(&own, &json!(1), &[]);
        let twice = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "string"});
        assert_eq!(check(&twice, &json!(1)).len(), 1);
        let wide = json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]});
        check_one(&wide, &json!(1), &[]);
    }
}
