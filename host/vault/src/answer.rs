//! What vaults answer, and the failures that are made of it. Values are never part of a message.

use odibi_plan::Secret;
use odibi_story::failure::{Failure, FailureClass};
use serde_json::Value;

/// Characters of a vault's own words.
const SAID_CHARS_MAX: usize = 300;
/// Names of fields that a hint lists.
const LISTED_MAX: usize = 16;

/// A field of a secret that is a JSON object.
pub(crate) fn field(document: &Secret, field: &str) -> Result<Secret, Failure> {
    let missing =
        |message: String| Failure::new(FailureClass::Missing, "secret/missing-field", message);
    let Ok(Value::Object(entries)) = serde_json::from_str(document.expose()) else {
        let failure = missing(format!(
            "the secret is no JSON object, so it has no field `{field}`"
        ));
        return Err(failure.hint("leave `#FIELD` out to take all of it"));
    };
    match entries.get(field) {
        Some(Value::String(text)) => Ok(Secret::new(text.as_str())),
        Some(Value::Null) => Err(missing(format!(
            "the field `{field}` of the secret is null"
        ))),
        Some(other) => Ok(Secret::new(other.to_string())),
        None => {
            let names: Vec<String> = entries
                .keys()
                .take(LISTED_MAX)
                .map(|name| format!("`{name}`"))
                .collect();
            let failure = missing(format!("the secret has no field `{field}`"));
            Err(if names.is_empty() {
                failure
            } else {
                failure.hint(format!("it has: {}", names.join(", ")))
            })
        }
    }
}

/// The first line of what a vault says, cut short.
pub(crate) fn said(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(SAID_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.trim_end_matches('.').to_owned(),
    }
}

/// A refusal by its status, with the vault's own words.
pub(crate) fn refused(status: u16, words: &str) -> Failure {
    let (class, code, what) = match status {
        401 => (
            FailureClass::Denied,
            "secret/denied",
            "the vault does not know us",
        ),
        403 => (
            FailureClass::Denied,
            "secret/denied",
            "the vault does not let us read it",
        ),
        404 => (
            FailureClass::Missing,
            "secret/missing",
            "the vault has no such secret",
        ),
        429 => (
            FailureClass::Transient,
            "secret/throttled",
            "the vault answers too many requests",
        ),
        500.. => (
            FailureClass::Transient,
            "secret/unavailable",
            "the vault is out of order",
        ),
        _ => (
            FailureClass::Denied,
            "secret/refused",
            "the vault refuses the request",
        ),
    };
    let words = said(words);
    let message = if words.is_empty() {
        format!("{what} (HTTP {status})")
    } else {
        format!("{what} (HTTP {status}): {words}")
    };
    Failure::new(class, code, message)
}

/// A secret that is there, and not to be used.
pub(crate) fn unusable(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Denied, code, message)
}

/// A setting that cannot be used.
pub(crate) fn setting(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Denied, "secret/bad-setting", message)
}

/// An error with what lay under it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(cause) = under {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        under = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_out_and_values_never_shown() {
        let document = Secret::new(r#"{"user":"me","password":"hunter2","port":5432,"none":null}"#);
        let got = |name: &str| field(&document, name).map(|secret| secret.expose().to_owned());
        assert_eq!(got("password").as_deref(), Ok("hunter2"));
        assert_eq!(got("port").as_deref(), Ok("5432"));
        for name in ["none", "pass", ""] {
            let failure =
                got(name).map_or_else(|failure| format!("{failure:?}"), |_| String::new());
            assert!(failure.contains("secret/missing-field"), "{failure}");
            assert!(!failure.contains("hunter2"), "{failure}");
        }
        let plain = field(&Secret::new("hunter2"), "a").map_err(|failure| format!("{failure:?}"));
        assert!(plain.is_err_and(|failure| !failure.contains("hunter2")));
    }
}
