//! One request and its answer, again while the other side asks for patience.

use std::time::Duration;

use odibi_story::failure::{Failure, FailureClass};
use reqwest::{RequestBuilder, Response};

use crate::answer::{chain, refused};

/// Bytes of an answer.
const BODY_BYTES_MAX: usize = 1 << 20;
const ATTEMPTS_MAX: u32 = 6;
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends; waits and repeats when the answer is 429 or 5xx, or there is none. `patience` tells of other answers that ask
/// for it. How long all of it may take is the caller's.
pub(crate) async fn send(
    make: &(dyn Fn() -> Result<RequestBuilder, Failure> + Sync),
    patience: &(dyn Fn(&Answer) -> bool + Sync),
) -> Result<Answer, Failure> {
    let mut pause = PAUSE_FIRST;
    let mut attempt = 1;
    loop {
        let last = attempt >= ATTEMPTS_MAX;
        let wait = match make()?.send().await {
            Ok(response) => {
                let wait = retry_after(&response);
                let answer = read(response).await?;
                let again = answer.status == 429 || answer.status >= 500 || patience(&answer);
                if last || !again {
                    return Ok(answer);
                }
                wait.map_or(pause, |wait| wait.max(pause))
            }
            Err(error)
                if last || !(error.is_connect() || error.is_timeout() || error.is_request()) =>
            {
                return Err(unreachable(&error));
            }
            // A name that is not known, or a certificate that is not believed, stays so.
            Err(error) if attempt >= 3 => return Err(unreachable(&error)),
            Err(_) => pause,
        };
        tokio::time::sleep(wait).await;
        pause *= 2;
        attempt += 1;
    }
}

fn unreachable(error: &reqwest::Error) -> Failure {
    let error_text = chain(error);
    Failure::new(
        FailureClass::Transient,
        "secret/unreachable",
        "the vault cannot be reached",
    )
    .cause(error_text)
}

/// Seconds, or a date by the clock of who says it.
fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let text = header("retry-after")?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = httpdate::parse_http_date(header("date")?).ok()?;
    httpdate::parse_http_date(text)
        .ok()?
        .duration_since(now)
        .ok()
}

async fn read(mut response: Response) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_BYTES_MAX => {
                return Err(refused(
                    status,
                    &format!("its answer is longer than {BODY_BYTES_MAX} bytes"),
                ));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Answer { status, body }),
            Err(error) => return Err(unreachable(&error)),
        }
    }
}
