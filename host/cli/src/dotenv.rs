//! `.env` beside the project file: variables for what the environment itself does not set.
//!
//! A line is `NAME=value`, perhaps after `export`. Values may stand in single quotes, where nothing is special, or in
//! double quotes, where `\n`, `\t`, `\"`, `\\` and `\$` are escapes; without quotes, ` #` begins a comment. Nothing is
//! put into values, and a value does not go beyond its line.

use std::collections::BTreeMap;

/// What a file says, or the line (from 1) that it cannot be understood at, and why.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, &'static str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = variable(line).map_err(|why| (index + 1, why))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

fn variable(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("there is no `=`")?;
    let name = name.trim();
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !valid {
        return Err("the name is not made of letters, digits and underscores");
    }
    Ok((name.to_owned(), value_of(value.trim())?))
}

fn value_of(text: &str) -> Result<String, &'static str> {
    let rest_is_comment = |rest: &str| {
        let rest = rest.trim_start();
        rest.is_empty() || rest.starts_with('#')
    };
    if let Some(inner) = text.strip_prefix('\'') {
        let (value, rest) = inner.split_once('\'').ok_or("a quote is not closed")?;
        return if rest_is_comment(rest) {
            Ok(value.to_owned())
        } else {
            Err("something stands behind the closing quote")
        };
    }
    let Some(inner) = text.strip_prefix('"') else {
        let end = text
            .match_indices('#')
            .find(|(at, _)| *at == 0 || text[..*at].ends_with(char::is_whitespace))
            .map_or(text.len(), |(at, _)| at);
        return Ok(text[..end].trim_end().to_owned());
    };
    let mut value = String::new();
    let mut chars = inner.chars();
    loop {
        match chars.next() {
            None => return Err("a quote is not closed"),
            Some('"') => break,
            Some('\\') => match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('"' | '\\' | '$' | '\'')) => value.push(c),
                _ => return Err("an escape that does not exist"),
            },
            Some(c) => value.push(c),
        }
    }
    if rest_is_comment(chars.as_str()) {
        Ok(value)
    } else {
        Err("something stands behind the closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&[(&str, &str)], (usize, &str)>) {
        let found = parse(text);
        let found = found.as_ref().map(|map| {
            let pairs = map.iter().map(|(k, v)| (k.as_str(), v.as_str()));
            pairs.collect::<Vec<_>>()
        });
        let found = found.as_ref().map(Vec::as_slice);
        assert_eq!(found.map_err(|e| *(*e)), expect, "{text:?}");
    }

    #[test]
    fn lines_are_variables() {
        check("", Ok(&[]));
        check(
            "\u{feff}A=1\r\n\n# x\n  B = two words # no\n",
            Ok(&[("A", "1"), ("B", "two words")]),
        );
        check("export A=x=y#z", Ok(&[("A", "x=y#z")]));
        check("A=", Ok(&[("A", "")]));
        check("A= # nothing", Ok(&[("A", "")]));
        check("A='${B} \\n \"' # c", Ok(&[("A", "${B} \\n \"")]));
        check(r#"A="a\n\"b\" \$ \\""#, Ok(&[("A", "a\n\"b\" $ \\")]));
        check("A=1\nA=é", Ok(&[("A", "é")]));
    }

    #[test]
    fn faults_name_their_line() {
        check("A=1\nB", Err((2, "there is no `=`")));
        check(
            "1A=1",
            Err((1, "the name is not made of letters, digits and underscores")),
        );
        check(
            "=1",
            Err((1, "the name is not made of letters, digits and underscores")),
        );
        check("A='x", Err((1, "a quote is not closed")));
        check("A=\"x\\\"", Err((1, "a quote is not closed")));
        check(
            "A=\"x\"y",
            Err((1, "something stands behind the closing quote")),
        );
        check("A=\"\\q\"", Err((1, "an escape that does not exist")));
    }
}
