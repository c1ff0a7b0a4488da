//! Which names of tables occur in a SQL text: whole words and quoted identifiers, outside of literals and comments.

use std::collections::HashSet;

/// Those of the names that occur, in their order. Letter case is ignored, and a name may occur as something else than a
/// table: that one table too many is handed over does no harm.
pub(super) fn mentioned<'a>(sql: &str, names: &'a [String]) -> Vec<&'a str> {
    if names.is_empty() {
        return Vec::new();
    }
    let words = words(sql);
    let occurs = |name: &&str| words.contains(&name.to_lowercase());
    names.iter().map(String::as_str).filter(occurs).collect()
}

fn words(sql: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        rest = if rest.starts_with("--") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            behind_comment(rest)
        } else if first == '\'' {
            behind(rest, '\'').1
        } else if matches!(first, '"' | '`') {
            let (inner, rest) = behind(rest, first);
            let doubled = [first, first].iter().collect::<String>();
            found.insert(inner.replace(&doubled, &first.to_string()).to_lowercase());
            rest
        } else if let Some(rest) = dollar_quoted(rest) {
            rest
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let word = &rest[..end];
            rest = &rest[end..];
            if matches!(word, "e" | "E") && rest.starts_with('\'') {
                behind_escaped(rest)
            } else {
                found.insert(word.to_lowercase());
                rest
            }
        } else {
            &rest[first.len_utf8()..]
        };
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// What stands between the quotes, and the rest. A doubled quote is one of the text.
fn behind(text: &str, quote: char) -> (&str, &str) {
    let mut at = quote.len_utf8();
    while let Some(end) = text[at..].find(quote) {
        let after = at + end + quote.len_utf8();
        if !text[after..].starts_with(quote) {
            return (&text[quote.len_utf8()..at + end], &text[after..]);
        }
        at = after + quote.len_utf8();
    }
    (&text[quote.len_utf8()..], "")
}

/// As [`behind`] for `E'…'`, where a backslash takes the next character with it.
fn behind_escaped(text: &str) -> &str {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\'' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// Comments nest.
fn behind_comment(text: &str) -> &str {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return &text[at..];
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    ""
}

/// What follows `$$…$$` or `$tag$…$tag$`, if the text begins with it.
fn dollar_quoted(text: &str) -> Option<&str> {
    let tag = text.strip_prefix('$')?;
    let end = tag.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    if !tag[end..].starts_with('$') || tag.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let delimiter = &text[..end + 2];
    let inner = &text[delimiter.len()..];
    let close = inner.find(delimiter)?;
    Some(&inner[close + delimiter.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, expect: &[&str]) {
        let names = ["orders", "Customers", "größe", "x y", "a\"b"].map(str::to_owned);
        assert_eq!(mentioned(sql, &names), expect, "{sql}");
    }

    #[test]
    fn names_occur_as_whole_words_in_any_case() {
        check("SELECT * FROM ORDERS", &["orders"]);
        check(
            "SELECT * FROM customers c JOIN orders o",
            &["orders", "Customers"],
        );
        check("SELECT orders_total, my_orders, orders2 FROM df", &[]);
        check("SELECT orders.id FROM df", &["orders"]);
        check("FROM(orders)", &["orders"]);
        check("SELECT * FROM größe, größer", &["größe"]);
        check("", &[]);
    }

    #[test]
    fn literals_and_comments_hold_no_names() {
        check("SELECT 'orders' FROM df", &[]);
        check("SELECT 'it''s orders' FROM customers", &["Customers"]);
        check(r"SELECT E'it\'s orders' FROM customers", &["Customers"]);
        check("SELECT 1 -- orders\nFROM customers", &["Customers"]);
        check(
            "SELECT /* orders /* x */ orders */ 1 FROM customers",
            &["Customers"],
        );
        check(
            "SELECT $$it's orders$$, $q$'$q$ FROM customers",
            &["Customers"],
        );
        check("SELECT $1 FROM orders", &["orders"]);
    }

    #[test]
    fn quoted_identifiers_are_names() {
        check(r#"SELECT * FROM "orders""#, &["orders"]);
        check("SELECT * FROM `orders`", &["orders"]);
        check(r#"SELECT * FROM "x y", "a""b""#, &["x y", "a\"b"]);
        check(r#"SELECT "it's", orders FROM df"#, &["orders"]);
    }

    #[test]
    fn unclosed_texts_end_with_the_text() {
        for sql in [
            "'orders",
            "\"orders",
            "/* orders",
            "-- orders",
            "E'orders\\",
            "$$",
            "`",
            "$",
        ] {
            let names = ["orders".to_owned()];
            assert!(mentioned(sql, &names).len() <= 1, "{sql}");
        }
    }
}
