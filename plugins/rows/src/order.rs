//! The text of an order: `column [ASC|DESC] [NULLS FIRST|LAST]`, separated by commas, as SQL's `ORDER BY` has it.
//!
//! Column names keep their case; one with blanks or commas stands in double quotes, a double quote within is written
//! twice. Nulls come last in both directions unless it says otherwise, so that a row with a value wins.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

/// Reads an order; the pointer is that of the param.
///
/// # Errors
/// `invalid-param`, `unknown-column`.
pub(crate) fn parse(pointer: &str, text: &str, schema: &Schema) -> Result<Vec<SortKey>> {
    parse_or(pointer, text, schema, false)
}

/// One or several orders, behind each other. In a list, and as the whole text, a column's name stands for itself whatever
/// characters it has. Columns whose order does not say `ASC` or `DESC` are `descending` or not.
///
/// # Errors
/// As `parse`, or `unfit-schema` for a type that has no order.
pub(crate) fn of(
    pointer: &str,
    orders: &Orders,
    schema: &Schema,
    descending: bool,
) -> Result<Vec<SortKey>> {
    let texts: Vec<(String, &String)> = match orders {
        Orders::One(text) => vec![(pointer.to_owned(), text)],
        Orders::Many(texts) => {
            let pointers = (0..texts.len()).map(|i| child(pointer, i));
            pointers.zip(texts).collect()
        }
    };
    let mut keys: Vec<SortKey> = Vec::new();
    for (pointer, text) in texts {
        let found = match schema.index_of(text) {
            Ok(column) => vec![SortKey {
                descending,
                ..SortKey::ascending(column)
            }],
            Err(_) => parse_or(&pointer, text, schema, descending)?,
        };
        for key in found {
            crate::keys::must_compare(schema.field(key.column))
                .map_err(|f| f.at_param(&pointer))?;
            if keys.iter().all(|k| k.column != key.column) {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

/// One order or a list of them, each like `updated_at DESC NULLS FIRST`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a column, or a list of columns")]
pub(crate) enum Orders {
    /// One column, or several separated by commas.
    One(String),
    /// One column each.
    Many(Vec<String>),
}

fn parse_or(pointer: &str, text: &str, schema: &Schema, descending: bool) -> Result<Vec<SortKey>> {
    let mut tokens = tokens(text)
        .ok_or_else(|| wrong(pointer, "a quoted name does not end"))?
        .into_iter()
        .peekable();
    let mut keys: Vec<SortKey> = Vec::new();
    loop {
        let name = match tokens.next() {
            Some(Token::Quoted(name) | Token::Word(name)) => name,
            Some(Token::Comma) | None => return Err(wrong(pointer, "a column name is missing")),
        };
        let mut key = SortKey {
            descending,
            ..SortKey::ascending(find(pointer, &name, schema)?)
        };
        if let Some(direction) = tokens.next_if(|t| t.is("asc") || t.is("desc")) {
            key.descending = direction.is("desc");
        }
        if tokens.next_if(|t| t.is("nulls")).is_some() {
            match tokens.next() {
                Some(t) if t.is("first") => key.nulls_first = true,
                Some(t) if t.is("last") => key.nulls_first = false,
                _ => {
                    return Err(wrong(
                        pointer,
                        "`NULLS` must be followed by `FIRST` or `LAST`",
                    ));
                }
            }
        }
        // A column counts where it is named first.
        if keys.iter().all(|k| k.column != key.column) {
            keys.push(key);
        }
        match tokens.next() {
            None => return Ok(keys),
            Some(Token::Comma) => {}
            Some(Token::Quoted(text) | Token::Word(text)) => {
                return Err(wrong(
                    pointer,
                    format!("expected `ASC`, `DESC`, `NULLS` or a comma: `{text}`"),
                ));
            }
        }
    }
}

fn wrong(pointer: &str, message: impl Into<String>) -> Failure {
    Failure::param(pointer, message)
        .hint("write it like `updated_at DESC, \"Order No\" NULLS FIRST`")
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Comma,
}

impl Token {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// None when a quote is open at the end.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            ',' => {
                tokens.push(Token::Comma);
                &rest[1..]
            }
            '"' => {
                let (name, after) = quoted(&rest[1..])?;
                tokens.push(Token::Quoted(name));
                after
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || c == ',' || c == '"')
                    .unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                &rest[end..]
            }
        }
        .trim_start();
    }
    Some(tokens)
}

/// The name up to the closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn schema() -> Schema {
        let names = ["id", "updated_at", "Größe, cm", "say \"hi\"", "desc"];
        Schema::new(names.map(|n| Field::new(n, DataType::Int64, true)).to_vec())
    }

    #[track_caller]
    fn check(text: &str, expect: &[SortKey]) {
        assert_eq!(parse("/order_by", text, &schema()).unwrap(), expect);
    }

    #[track_caller]
    fn check_failure(text: &str, code: &str, message: &str) {
        let failure = parse("/order_by", text, &schema()).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.message.as_str()),
            (code, message)
        );
        assert_eq!(failure.param.as_deref(), Some("/order_by"));
    }

    #[test]
    fn orders_are_read_as_sql_writes_them() {
        check("id", &[SortKey::ascending(0)]);
        check(
            "updated_at DESC, id",
            &[SortKey::descending(1), SortKey::ascending(0)],
        );
        check(
            " updated_at desc nulls first ,id asc Nulls Last",
            &[SortKey::descending(1).nulls_first(), SortKey::ascending(0)],
        );
        check("id NULLS FIRST", &[SortKey::ascending(0).nulls_first()]);
        check(
            "\"Größe, cm\"DESC,\"say \"\"hi\"\"\"",
            &[SortKey::descending(2), SortKey::ascending(3)],
        );
        check("desc desc", &[SortKey::descending(4)]);
        check("id DESC, id ASC", &[SortKey::descending(0)]);
    }

    #[test]
    fn what_is_no_order_is_refused() {
        check_failure("", "invalid-param", "a column name is missing");
        check_failure("id,", "invalid-param", "a column name is missing");
        check_failure(
            "id,,updated_at",
            "invalid-param",
            "a column name is missing",
        );
        check_failure(
            "id NULLS",
            "invalid-param",
            "`NULLS` must be followed by `FIRST` or `LAST`",
        );
        check_failure(
            "id NULLS MAYBE",
            "invalid-param",
            "`NULLS` must be followed by `FIRST` or `LAST`",
        );
        check_failure("\"id", "invalid-param", "a quoted name does not end");
        check_failure(
            "id downwards",
            "invalid-param",
            "expected `ASC`, `DESC`, `NULLS` or a comma: `downwards`",
        );
        check_failure(
            "update_at DESC",
            "unknown-column",
            "unknown column `update_at`, did you mean `updated_at`?",
        );
        check_failure(
            "ID",
            "unknown-column",
            "unknown column `ID`, did you mean `id`?",
        );
    }
}
