//! One request to a receiver, and what its answer means.
//!
//! Redirects are not followed, the proxies of the environment only where they are passed on, answers are thrown away.

use std::time::Duration;

use jiff::Timestamp;
use odibi_plan::plan::Secret;
use odibi_story::failure::{Failure, FailureClass, code};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, NoProxy, Proxy, StatusCode};
use url::Url;

/// Time of making a connection.
const CONNECT_MS_MAX: u64 = 3_000;
/// Of an answer, so much is read before the connection is given up.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Time that reading an answer may take, once it says whether the request was taken.
const ANSWER_MS_MAX: u64 = 1_000;
/// No receiver makes us wait longer.
const RETRY_AFTER_MS_MAX: u64 = 60_000;
/// The longest pause of our own choice.
const PAUSE_MS_MAX: u64 = 60_000;

/// How the outside is reached.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The proxy that requests go through. It may hold a password.
    pub proxy: Option<Secret>,
    /// Hosts that are reached without it, separated by commas.
    pub no_proxy: Option<String>,
}

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Secret,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: String,
    pub(crate) timeout_ms: u64,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The receiver has it.
    Taken,
    /// It may be tried again; not before a time, where the receiver says so.
    Again { why: String, after_ms: Option<u64> },
    /// Trying again would change nothing.
    Refused { why: String },
}

pub(crate) fn client(network: &Network) -> Result<Client, Failure> {
    let refused = |error: reqwest::Error| {
        let what = "the HTTP client could not be made";
        Failure::new(FailureClass::Internal, code::ALERT_UNDELIVERED, what)
            .cause(error.without_url().to_string())
    };
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .no_proxy();
    if let Some(proxy) = &network.proxy {
        let except = network.no_proxy.as_deref().and_then(NoProxy::from_string);
        let proxy = Proxy::all(proxy.expose()).map_err(refused)?;
        builder = builder.proxy(proxy.no_proxy(except));
    }
    builder.build().map_err(refused)
}

/// Sends a request once.
pub(crate) async fn post(client: &Client, request: Request<'_>, now: Timestamp) -> Answer {
    let Ok(url) = Url::parse(request.url.expose()) else {
        let why = "the address is not a URL".to_owned();
        return Answer::Refused { why };
    };
    let headers = match headers(&request.headers) {
        Ok(headers) => headers,
        Err(why) => return Answer::Refused { why },
    };
    let timeout = Duration::from_millis(request.timeout_ms);
    let sent = client
        .post(url)
        .headers(headers)
        .timeout(timeout)
        .body(request.body)
        .send()
        .await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            return Answer::Again {
                why: words(error, request.timeout_ms),
                after_ms: None,
            };
        }
    };
    let status = response.status();
    let after_ms = retry_after_ms(response.headers(), now);
    let _ = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), throw_away(response)).await;
    judge(status, after_ms)
}

fn judge(status: StatusCode, after_ms: Option<u64>) -> Answer {
    let answered = format!("it answered {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Answer::Taken,
        300..=399 => Answer::Again {
            why: format!("{answered}, and redirects are not followed"),
            after_ms,
        },
        408 | 409 | 421 | 425 | 429 | 500.. => Answer::Again {
            why: answered,
            after_ms,
        },
        _ => Answer::Refused { why: answered },
    }
}

/// A pause that doubles with each try, up to a minute, and is shortened by up to a half: by the text, so that many
/// who wait for one receiver do not come back at once.
pub(crate) fn pause_ms(attempt: u32, first_ms: u64, text: &str) -> u64 {
    use sha2::Digest as _;
    let doubled = first_ms.saturating_mul(1 << attempt.saturating_sub(1).min(20));
    let whole = doubled.min(PAUSE_MS_MAX);
    let digest = sha2::Sha256::digest(format!("{text} {attempt}"));
    let share = u64::from(digest[0]) + 1;
    whole - whole / 2 * share / 256
}

/// In seconds, or as a date; at most a minute.
fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            let at = Timestamp::try_from(at).ok()?;
            u64::try_from(at.as_millisecond() - now.as_millisecond()).unwrap_or(0)
        }
    };
    Some(ms.min(RETRY_AFTER_MS_MAX))
}

fn headers(given: &[(&str, &str)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let agent = concat!("odibi/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in given {
        let made = name.parse::<HeaderName>().ok();
        let made = made.zip(HeaderValue::from_str(value).ok());
        let Some((name, mut value)) = made else {
            return Err("a header holds a character that headers cannot".to_owned());
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// So that the connection can be used again, where the answer is short.
async fn throw_away(mut response: reqwest::Response) {
    let mut bytes = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes += chunk.len();
        if bytes > ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// What went wrong below HTTP, in words that hold no address.
fn words(error: reqwest::Error, timeout_ms: u64) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return format!("no answer within {timeout_ms} ms");
    }
    let mut root: &dyn std::error::Error = &error;
    while let Some(source) = root.source() {
        root = source;
    }
    let cause = match root.downcast_ref::<std::io::Error>() {
        Some(error) => error.kind().to_string(),
        None => root.to_string(),
    };
    let what = if error.is_connect() {
        "no connection"
    } else {
        "the connection was lost"
    };
    format!("{what}: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[track_caller]
    fn check_retry_after(text: &str, expect: Option<u64>) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        assert_eq!(retry_after_ms(&headers, at(0)), expect, "{text}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        check_retry_after("0", Some(0));
        check_retry_after(" 7 ", Some(7_000));
        check_retry_after("86400", Some(60_000));
        check_retry_after("18446744073709551615", Some(60_000));
        check_retry_after("Fri, 15 Jan 2027 08:00:05 GMT", Some(5_000));
        check_retry_after("Fri, 15 Jan 2027 09:00:00 GMT", Some(60_000));
        check_retry_after("Fri, 15 Jan 2027 07:00:00 GMT", Some(0));
        check_retry_after("soon", None);
        check_retry_after("-1", None);
    }

    #[test]
    fn answers_are_judged_by_their_status() {
        for (status, expect) in [
            (200, "taken"),
            (202, "taken"),
            (204, "taken"),
            (301, "again"),
            (308, "again"),
            (400, "refused"),
            (403, "refused"),
            (404, "refused"),
            (408, "again"),
            (410, "refused"),
            (413, "refused"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
        ] {
            let answer = judge(StatusCode::from_u16(status).unwrap(), None);
            let word = match answer {
                Answer::Taken => "taken",
                Answer::Again { .. } => "again",
                Answer::Refused { .. } => "refused",
            };
            assert_eq!(word, expect, "{status}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_differ() {
        let mut before = 0;
        for attempt in 1..=8 {
            let pause = pause_ms(attempt, 500, "a");
            let whole = 500 << (attempt - 1);
            assert!(pause <= whole && pause >= whole / 2, "{attempt}: {pause}");
            assert!(pause >= before / 2);
            before = pause;
        }
        for attempt in [9, 100, u32::MAX] {
            let pause = pause_ms(attempt, 500, "a");
            assert!((30_000..=60_000).contains(&pause), "{pause}");
        }
        let pauses: std::collections::BTreeSet<u64> =
            (0..20).map(|n| pause_ms(5, 500, &n.to_string())).collect();
        assert!(pauses.len() > 10);
        assert_eq!(pause_ms(3, 500, "a"), pause_ms(3, 500, "a"));
    }
}
