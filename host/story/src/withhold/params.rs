//! Params of a step that was given a sensitive column: names of columns stay, and words that choose a way of working.
//! What else stands in them may be a value to compare with.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{REDACTED, Withhold};
use crate::event::{NodeFacts, PrivacyFact};

/// Words of first-party operations.
const WORDS: [&str; 47] = [
    "anti",
    "asc",
    "avg",
    "count",
    "cross",
    "day",
    "days",
    "desc",
    "first",
    "full",
    "hash",
    "hour",
    "hours",
    "inner",
    "last",
    "left",
    "lower",
    "mask",
    "max",
    "md5",
    "mean",
    "min",
    "minute",
    "minutes",
    "month",
    "months",
    "none",
    "null",
    "preserve",
    "quarter",
    "redact",
    "right",
    "second",
    "seconds",
    "semi",
    "sha256",
    "snake_case",
    "std",
    "sum",
    "upper",
    "var",
    "week",
    "weeks",
    "year",
    "years",
    "false",
    "true",
];

/// Names of columns that a node's params may repeat.
pub(super) fn columns(facts: &NodeFacts, privacy: Option<&PrivacyFact>) -> BTreeSet<String> {
    let Some(privacy) = privacy else {
        return BTreeSet::new();
    };
    let mut known: BTreeSet<String> = (facts.schema_in.iter().chain(&facts.schema_out))
        .map(|column| column.name.clone())
        .collect();
    for flow in facts.operations.iter().filter_map(|o| o.flow.as_ref()) {
        known.extend(flow.ports.iter().flat_map(|port| port.needed.clone()));
        known.extend(flow.columns.iter().map(|column| column.column.clone()));
    }
    for name in &privacy.value_names {
        known.remove(name);
    }
    known
}

impl Withhold {
    pub(super) fn params(&self, reference: &str, params: &mut Value, known: &BTreeSet<String>) {
        let Value::Object(map) = params else {
            *params = Value::from(REDACTED);
            return;
        };
        for (name, value) in map.iter_mut() {
            if let Value::String(text) = value
                && reference == "sql"
                && name == "sql"
            {
                *text = query(text).unwrap_or_else(|| self.text(text));
            } else {
                self.param(value, known);
            }
        }
    }

    fn param(&self, value: &mut Value, known: &BTreeSet<String>) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(_) => *value = Value::from(REDACTED),
            Value::String(text) => {
                if !known.contains(text.as_str()) && !WORDS.contains(&text.as_str()) {
                    *text = self.text(text);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.param(item, known)),
            Value::Object(map) => {
                let entries = std::mem::take(map);
                let mut kept = Map::new();
                for (at, (key, mut inner)) in entries.into_iter().enumerate() {
                    self.param(&mut inner, known);
                    let key = if known.contains(&key) {
                        key
                    } else {
                        format!("{REDACTED} {}", at + 1)
                    };
                    kept.insert(key, inner);
                }
                *map = kept;
            }
        }
    }
}

/// A query without its literals and comments. `None` for quotes that are not understood.
fn query(sql: &str) -> Option<String> {
    let mut out = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    let mut in_word = false;
    if sql.contains('\\') {
        // It may escape a quote.
        return None;
    }
    while let Some(c) = chars.next() {
        let was_in_word = std::mem::replace(&mut in_word, c.is_alphanumeric() || c == '_');
        match c {
            '$' | '`' => return None,
            '\'' => {
                loop {
                    match chars.next()? {
                        '\'' if chars.peek() == Some(&'\'') => drop(chars.next()),
                        '\'' => break,
                        _ => {}
                    }
                }
                out.push_str("'…'");
            }
            '"' => {
                out.push('"');
                loop {
                    let inner = chars.next()?;
                    out.push(inner);
                    if inner == '"' {
                        break;
                    }
                }
            }
            '-' if chars.peek() == Some(&'-') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '/' if chars.peek() == Some(&'*') => return None,
            c if c.is_ascii_digit() && !was_in_word => {
                while chars
                    .peek()
                    .is_some_and(|c| c.is_alphanumeric() || *c == '.')
                {
                    chars.next();
                }
                out.push('…');
            }
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_lose_literals_and_comments() {
        for (sql, expect) in [
            (
                "SELECT a1, 'it''s', 1.5e3 FROM df -- ann\nWHERE x > 10",
                Some("SELECT a1, '…', … FROM df \nWHERE x > …"),
            ),
            ("SELECT \"a b\" FROM df", Some("SELECT \"a b\" FROM df")),
            ("SELECT $$ann$$", None),
            ("SELECT /* ann */ 1", None),
            ("SELECT 'ann", None),
        ] {
            assert_eq!(query(sql).as_deref(), expect, "{sql}");
        }
    }
}
