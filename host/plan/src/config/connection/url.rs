//! URLs of servers: `endpoint` and `base_url`.

use super::super::Text;
use super::super::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};

/// A URL of a server, and whether plain HTTP may be spoken with it.
pub(super) struct Server {
    pub(super) url: Option<String>,
    pub(super) allow_http: bool,
}

/// `endpoint` and `allow_http`.
pub(super) fn endpoint(reader: &mut Reader<'_>) -> Option<Server> {
    let asked = reader.boolean("allow_http", false);
    let Some(text) = reader.text("endpoint") else {
        return Some(Server {
            url: None,
            allow_http: asked,
        });
    };
    checked(reader, &text, "endpoint", asked)
}

/// A URL without a query and without a name and password in it.
pub(super) fn checked(
    reader: &Reader<'_>,
    text: &Text,
    key: &str,
    allow_http: bool,
) -> Option<Server> {
    let report = |what: &str, hint: &str| {
        // What was put in by a variable, or stands before the host, may be a secret.
        let shown = text
            .written
            .as_deref()
            .unwrap_or(match text.value.contains('@') {
                true => "…",
                false => &text.value,
            });
        let message = format!("`{key}` of {} {what}: {}", reader.subject(), quoted(shown));
        let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
        reader.context().report(made.hint(hint));
        None
    };
    let Some((scheme, rest)) = text.value.split_once("://") else {
        return report("is not a URL", "begin with `https://`");
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host(authority);
    if !matches!(scheme, "http" | "https") {
        return report("is not a URL of the web", "begin with `https://`");
    }
    if authority.contains('@') {
        return report(
            "holds a name or password",
            "give them under `auth`, where nothing shows them",
        );
    }
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '\\');
    if host.is_empty() || text.value.contains(odd) || path.split('/').any(|part| part == "..") {
        return report(
            "is not the URL of a server",
            "write `https://HOST` or `https://HOST/PATH`, without `?`, `#` and spaces",
        );
    }
    let is_plain = scheme == "http";
    if is_plain && !allow_http && !is_loopback(host) {
        return report(
            "sends everything unencrypted",
            "write `https://`, or set `allow_http: true`",
        );
    }
    Some(Server {
        url: Some(text.value.trim_end_matches('/').to_owned()),
        allow_http: allow_http || is_plain,
    })
}

pub(in crate::config) fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

pub(in crate::config) fn is_loopback(host: &str) -> bool {
    let four: Vec<&str> = host.split('.').collect();
    let is_four = four.len() == 4 && four.iter().all(|part| part.parse::<u8>().is_ok());
    host == "localhost" || host == "::1" || (is_four && four[0] == "127")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (authority, expected) in [
            ("localhost:80", true),
            ("127.0.0.1:9000", true),
            ("[::1]:80", true),
            ("127.0.0.1.example.com", false),
            ("10.0.0.1", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(host(authority)), expected, "{authority}");
        }
    }
}
