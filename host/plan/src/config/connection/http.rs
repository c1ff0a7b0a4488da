//! `type: http`: files of a web server, to be read.
//!
//! ```yaml
//! connections:
//!   open_data: {type: http, base_url: "https://data.example.org/files", auth: {mode: bearer, token: "${TOKEN}"}}
//! ```

use super::super::reader::{Reader, words};
use super::url;
use super::{filled, required, required_secret};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{ConnectionKind, HttpAuth, HttpFiles, Secret};

/// Where the key stands in `value_template`.
const PLACEHOLDER: &str = "{token}";

#[derive(Clone, Copy)]
enum Mode {
    None,
    Basic,
    Bearer,
    ApiKey,
}

const MODES: [(&str, Mode); 4] = [
    ("none", Mode::None),
    ("basic", Mode::Basic),
    ("bearer", Mode::Bearer),
    ("api_key", Mode::ApiKey),
];

/// The words of `mode`.
pub(in crate::config) fn modes() -> Vec<&'static str> {
    words(&MODES)
}

pub(super) fn read(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let allow_http = reader.boolean("allow_http", false);
    let base_url = required(&mut reader, "base_url");
    let server = base_url.and_then(|text| url::checked(&reader, &text, "base_url", allow_http));
    let headers = headers(&mut reader);
    let auth = match reader.mapping("auth") {
        Some(mut under) => {
            let auth = auth(&mut under);
            under.finish_with(&[("user", "username"), ("key", "api_key")]);
            auth
        }
        None => Some(HttpAuth::None),
    };
    reader.finish_with(&[("url", "base_url"), ("endpoint", "base_url")]);
    Some(ConnectionKind::Http(Box::new(HttpFiles {
        base_url: server?.url?,
        headers: headers?,
        auth: auth?,
    })))
}

pub(in crate::config) fn headers(reader: &mut Reader<'_>) -> Option<Vec<(String, Secret)>> {
    let Some(entry) = reader.optional("headers") else {
        return Some(Vec::new());
    };
    let mut headers = Vec::new();
    let mut whole = true;
    for header in reader.named(entry) {
        let subject = format!("header {} of {}", quoted(&header.key), reader.subject());
        let value = reader.node_as_text(&header.value, &subject);
        let Some(value) = value else {
            whole = false;
            continue;
        };
        let name_ok = is_header_name(&header.key);
        if name_ok && is_header_value(&value.value) {
            headers.push((header.key.clone(), Secret::new(value.value)));
            continue;
        }
        whole = false;
        let (span, what) = if name_ok {
            (
                value.span,
                "holds a line break or another character that headers cannot",
            )
        } else {
            (header.key_span, "has no name that a header may have")
        };
        let message = format!("{subject} {what}");
        let made = Diagnostic::error(&codes::BAD_VALUE, span, message);
        reader.context().report(made);
    }
    whole.then_some(headers)
}

fn auth(reader: &mut Reader<'_>) -> Option<HttpAuth> {
    let mode = match reader.one_of(&["mode", "type"]) {
        Some(entry) => {
            let word = reader.as_text(entry)?;
            reader.choice(&word, &entry.key, &MODES, &[])?
        }
        None if reader.optional("api_key").is_some() => Mode::ApiKey,
        None if reader.optional("token").is_some() => Mode::Bearer,
        None if reader.optional("username").is_some() => Mode::Basic,
        None => Mode::None,
    };
    let header = |reader: &Reader<'_>, key: &str, name: String, value: String| {
        if is_header_name(&name) && is_header_value(&value) {
            return Some(HttpAuth::Header {
                name,
                value: Secret::new(value),
            });
        }
        let message = format!(
            "{} of {} makes no header: it holds a character that headers cannot",
            quoted(key),
            reader.subject()
        );
        let made = Diagnostic::error(&codes::BAD_VALUE, reader.span(), message);
        reader.context().report(made);
        None
    };
    match mode {
        Mode::None => Some(HttpAuth::None),
        Mode::Basic => {
            let username = required(reader, "username");
            let password = required_secret(reader, "password");
            Some(HttpAuth::Basic {
                username: username?.value,
                password: password?,
            })
        }
        Mode::Bearer => {
            let token = required(reader, "token")?.value;
            let name = "Authorization".to_owned();
            header(reader, "token", name, format!("Bearer {token}"))
        }
        Mode::ApiKey => {
            let key = required(reader, "api_key");
            let name = filled(reader, "header_name").map(|text| text.value);
            let template = filled(reader, "value_template");
            if let Some(text) = &template
                && text.value.matches(PLACEHOLDER).count() != 1
            {
                let message = format!(
                    "`value_template` of {} does not hold `{PLACEHOLDER}` once: {}",
                    reader.subject(),
                    quoted(text.shown())
                );
                let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
                reader.context().report(made);
                return None;
            }
            let name = name.unwrap_or_else(|| "Authorization".to_owned());
            let template = template.map_or_else(|| "Bearer {token}".to_owned(), |t| t.value);
            let value = template.replace(PLACEHOLDER, &key?.value);
            header(reader, "api_key", name, value)
        }
    }
}

fn is_header_name(name: &str) -> bool {
    let other = "!#$%&'*+-.^_`|~";
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || other.contains(c))
}

fn is_header_value(value: &str) -> bool {
    value
        .bytes()
        .all(|b| (b' '..0x7f).contains(&b) || b == b'\t')
}
