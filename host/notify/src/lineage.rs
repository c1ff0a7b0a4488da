//! OpenLineage events over HTTP: one request for each, in order, each tried a few times; or to a file, one a line. What does
//! not arrive is not kept: events can be made again from a story.

mod file;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use odibi_plan::plan::Secret;
use odibi_run::port::Clock;
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::Value;

use crate::client::{self, Answer, Network, Request};

/// Tries of one event.
const ATTEMPTS_MAX: u32 = 3;
/// The first pause between two tries.
const PAUSE_MS: u64 = 200;

/// A server that takes events.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its URL.
    pub url: Secret,
    /// Path of events below it.
    pub endpoint: String,
    /// Sent as `Authorization: Bearer`.
    pub api_key: Option<Secret>,
    /// Time of one try.
    pub timeout_ms: u64,
}

/// Sends events, in order; all of them, or up to the first that fails. Blocks, for as long as it is given.
///
/// # Errors
/// `lineage/undelivered`, with the number of events that were sent.
pub fn send(
    destination: &Destination,
    events: &[Value],
    network: &Network,
    clock: &Arc<dyn Clock>,
    wait_ms: u64,
) -> Result<(), Failure> {
    let mut sent = 0;
    client::client(network).and_then(|client| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failure(0, events.len(), &error.to_string()))?;
        let all = async {
            for event in events {
                one(destination, event, &client, clock.as_ref()).await?;
                sent += 1;
            }
            Ok(())
        };
        let limited = async { tokio::time::timeout(Duration::from_millis(wait_ms), all).await };
        let ended = runtime.block_on(limited);
        runtime.shutdown_background();
        match ended {
            Ok(result) => result.map_err(|why: String| failure(sent, events.len(), &why)),
            Err(_) => Err(failure(sent, events.len(), "a run waits no longer")),
        }
    })
}

/// Adds events to a file, one a line: all of them, or none. Makes the file and its directories; waits for others that add
/// to it.
///
/// # Errors
/// `lineage/undelivered`; then the file is as it was.
pub fn append(path: &Path, events: &[Value]) -> Result<(), Failure> {
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    file::append(path, text.as_bytes()).map_err(|error| {
        let message = format!("no event was added to {}: {error}", path.display());
        undelivered(message)
    })
}

async fn one(
    destination: &Destination,
    event: &Value,
    client: &reqwest::Client,
    clock: &dyn Clock,
) -> Result<(), String> {
    let base = destination.url.expose().trim_end_matches('/');
    let url = Secret::new(format!(
        "{base}/{}",
        destination.endpoint.trim_start_matches('/')
    ));
    let key = destination.api_key.as_ref();
    let bearer = key.map(|key| format!("Bearer {}", key.expose()));
    let text = event.to_string();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let bearer = bearer.as_deref().map(|bearer| ("authorization", bearer));
        let request = Request {
            url: &url,
            headers: bearer.into_iter().collect(),
            body: text.clone(),
            timeout_ms: destination.timeout_ms,
        };
        let (why, after_ms) = match client::post(client, request, clock.now()).await {
            Answer::Taken => return Ok(()),
            Answer::Refused { why } => return Err(why),
            Answer::Again { why, after_ms } => (why, after_ms),
        };
        if attempt == ATTEMPTS_MAX {
            return Err(why);
        }
        let pause_ms = client::pause_ms(attempt, PAUSE_MS, &text);
        clock.sleep_ms(after_ms.unwrap_or(pause_ms)).await;
    }
}

fn failure(sent: usize, all: usize, why: &str) -> Failure {
    undelivered(format!("{sent} of {all} lineage events were sent: {why}"))
}

fn undelivered(message: String) -> Failure {
    Failure::new(FailureClass::Transient, code::LINEAGE_UNDELIVERED, message)
        .hint("write them with `odibi story export RUN events.ndjson`")
}

#[cfg(test)]
mod tests;
