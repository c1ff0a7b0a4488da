//! `lineage` and `telemetry`, and the URLs and headers that they and `alerts` share.
//!
//! ```yaml
//! lineage: {url: "https://marquez.example.org", endpoint: api/v1/lineage, namespace: shop, api_key: "${KEY}", timeout: 5s}
//! lineage: {file: out/lineage.jsonl}
//! telemetry: {endpoint: "https://collector.example.org:4318", service_name: shop, headers: {x-api-key: "${KEY}"}, timeout: 5s}
//! ```

use super::attempts::duration;
use super::reader::Reader;
use super::{Text, connection};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::limits::SEND_TIMEOUT_MS_MAX;
use crate::plan::{LineageTarget, Secret, Telemetry};

/// Path of events below the URL of a server, as OpenLineage has it.
const ENDPOINT_DEFAULT: &str = "api/v1/lineage";
/// Time of one try when `timeout` is not given.
const TIMEOUT_MS_DEFAULT: u64 = 5_000;

pub(super) fn lineage(project: &mut Reader<'_>) -> Option<LineageTarget> {
    let mut reader = project.mapping("lineage")?;
    let allow_http = reader.boolean("allow_http", false);
    let url = checked_url(&mut reader, "url", allow_http);
    let file = reader.text("file");
    let file = reader.filled(file, "file");
    let file = file.filter(|text| is_file(&reader, text));
    let endpoint = reader.text("endpoint").map(|text| text.value);
    let namespace = reader.text("namespace");
    let namespace = reader.filled(namespace, "namespace");
    let api_key = reader.text("api_key").map(|text| Secret::new(text.value));
    let timeout_ms = duration(&mut reader, "timeout", 1..=SEND_TIMEOUT_MS_MAX);
    reader.finish_with(&[
        ("transport", "url"),
        ("key", "api_key"),
        ("path", "file"),
        ("log_file_path", "file"),
    ]);
    Some(LineageTarget {
        url,
        file: file.map(|text| text.value),
        endpoint: endpoint.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned()),
        namespace: namespace.map(|text| text.value),
        api_key,
        timeout_ms: timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
    })
}

/// True for what can be the path of a file.
fn is_file(reader: &Reader<'_>, text: &Text) -> bool {
    let (what, hint) = if text.value.chars().any(char::is_control) {
        ("holds a control character", "remove it")
    } else if text.value.contains("://") {
        ("is a URL", "name a server in `url`")
    } else if text.value.ends_with('/') {
        ("names no file", "add the name of a file")
    } else {
        return true;
    };
    let message = format!(
        "`file` of {} {what}: {}",
        reader.subject(),
        quoted(text.shown())
    );
    let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
    reader.context().report(made.hint(hint));
    false
}

pub(super) fn telemetry(project: &mut Reader<'_>) -> Option<Telemetry> {
    let mut reader = project.mapping("telemetry")?;
    let allow_http = reader.boolean("allow_http", false);
    let endpoint = checked_url(&mut reader, "endpoint", allow_http);
    let service_name = reader.text("service_name");
    let service_name = reader.filled(service_name, "service_name");
    let headers = connection::headers(&mut reader);
    let timeout_ms = duration(&mut reader, "timeout", 1..=SEND_TIMEOUT_MS_MAX);
    reader.finish_with(&[("url", "endpoint"), ("service", "service_name")]);
    Some(Telemetry {
        endpoint,
        service_name: service_name.map(|text| text.value),
        headers: headers.unwrap_or_default(),
        timeout_ms: timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
    })
}

fn checked_url(reader: &mut Reader<'_>, key: &'static str, allow_http: bool) -> Option<Secret> {
    let text = reader.text(key)?;
    url(reader, &text, key, allow_http).then(|| Secret::new(text.value))
}

/// True for a URL that may be sent to. What is wrong is reported without the URL: it may be a secret as a whole.
pub(super) fn url(reader: &Reader<'_>, text: &Text, key: &str, allow_http: bool) -> bool {
    let report = |what: &str, hint: &str| {
        let message = format!("{} of {} {what}", quoted(key), reader.subject());
        let made = Diagnostic::error(&codes::BAD_VALUE, reader.span(), message);
        reader.context().report(made.hint(hint));
        false
    };
    let whole = || report("is not a URL of the web", "begin with `https://`");
    let Some((scheme, rest)) = text.value.split_once("://") else {
        return whole();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    let host = host(authority);
    if !matches!(scheme, "http" | "https") || host.is_empty() || text.value.contains(odd) {
        return whole();
    }
    if authority.contains('@') {
        return report(
            "holds a name or password before the host",
            "give them in a header, where nothing shows them",
        );
    }
    if scheme == "http" && !allow_http && !connection::is_loopback(host) {
        return report(
            "sends everything unencrypted",
            "write `https://`, or set `allow_http: true`",
        );
    }
    true
}

/// The host of a URL, in lowercase letters.
pub(super) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host(authority).to_ascii_lowercase()
}

fn host(authority: &str) -> &str {
    connection::host(authority)
}
