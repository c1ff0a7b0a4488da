//! The sender of alerts: a thread of its own, beside the run and shortly after its end. A receiver that is slow or gone
//! holds up nobody but the alerts that go to it; what is not delivered stays in the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use odibi_plan::plan::AlertChannel;
use odibi_run::port::{Clock, Outbox, OutboxAlert};
use odibi_story::failure::{Failure, FailureClass, code};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{self, Answer, Network, Request};
use crate::sign;

/// How alerts are sent.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How the outside is reached.
    pub network: Network,
    /// Tries of one alert while this process lives.
    pub attempts_max: u32,
    /// The first pause between two tries; it doubles.
    pub pause_ms: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            network: Network::default(),
            attempts_max: 8,
            pause_ms: 500,
        }
    }
}

/// An alert that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Its id.
    pub id: String,
    /// Run that it tells of.
    pub run_id: String,
    /// It has been delivered; otherwise it was given up.
    pub delivered: bool,
}

/// Sends what is in the outbox, until it is told to come to an end.
#[derive(Debug)]
pub struct Sender {
    orders: watch::Sender<Order>,
    thread: JoinHandle<Vec<Settled>>,
}

/// What the sender is told.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    /// Grows with each alert that was posted.
    posted: u64,
    /// Monotonic time at which it ends, at the latest. It ends before that when nothing is left to be done.
    until_ms: Option<u64>,
}

impl Sender {
    /// Starts the thread. What waits in the outbox for one of the channels is sent at once.
    ///
    /// # Errors
    /// The system refuses a thread, or TLS cannot be set up.
    pub fn start(
        channels: Vec<AlertChannel>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
        terms: Terms,
    ) -> Result<Self, Failure> {
        let client = client::client(&terms.network)?;
        let failed = |error: std::io::Error| {
            let what = "the thread that sends alerts could not be started";
            Failure::new(FailureClass::Limit, code::RESOURCES_THREADS, what)
                .cause(error.to_string())
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (orders, receiver) = watch::channel(Order::default());
        let posts = channels.into_iter().map(|channel| Post {
            channel,
            client: client.clone(),
            outbox: Arc::clone(&outbox),
            clock: Arc::clone(&clock),
            terms: terms.clone(),
            orders: receiver.clone(),
            tries: BTreeMap::new(),
            skipped: Vec::new(),
        });
        let posts: Vec<Post> = posts.collect();
        let thread = std::thread::Builder::new()
            .name("odibi-alerts".to_owned())
            .spawn(move || serve(runtime, posts, clock.as_ref(), receiver))
            .map_err(failed)?;
        Ok(Self { orders, thread })
    }

    /// Says that something was posted.
    pub fn wake(&self) {
        self.orders.send_modify(|order| order.posted += 1);
    }

    /// Waits until everything is delivered or given up, at most so long. Returns what was tried and came to its end.
    #[must_use]
    pub fn finish(self, clock: &dyn Clock, wait_ms: u64) -> Vec<Settled> {
        let until_ms = clock.monotonic_ms().saturating_add(wait_ms);
        self.orders
            .send_modify(|order| order.until_ms = Some(until_ms));
        self.thread.join().unwrap_or_default()
    }
}

/// Sends one text to a channel, once, without an outbox.
///
/// # Errors
/// `alert/undelivered`, `alert/refused`.
pub fn send_once(
    channel: &AlertChannel,
    id: &str,
    body: String,
    network: &Network,
    now: Timestamp,
) -> Result<(), Failure> {
    let client = client::client(network)?;
    let failed = |code: &str, why: &str| failure(&channel.name, code, why);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(code::ALERT_UNDELIVERED.name, &error.to_string()))?;
    let answer = runtime.block_on(send(&client, channel, id, body, now));
    runtime.shutdown_background();
    match answer {
        Answer::Taken => Ok(()),
        Answer::Again { why, .. } => Err(failed(code::ALERT_UNDELIVERED.name, &why)),
        Answer::Refused { why } => Err(failed(code::ALERT_REFUSED.name, &why)),
    }
}

async fn send(
    client: &reqwest::Client,
    channel: &AlertChannel,
    id: &str,
    body: String,
    now: Timestamp,
) -> Answer {
    let second = now.as_second();
    let timestamp = second.to_string();
    let key = channel.signing_key.as_ref();
    let signed = key.map(|key| sign::signature(key, id, second, &body));
    let mut headers = vec![("webhook-id", id), ("webhook-timestamp", &*timestamp)];
    headers.extend(
        signed
            .as_deref()
            .map(|signed| ("webhook-signature", signed)),
    );
    let further = channel.headers.iter();
    headers.extend(further.map(|(name, value)| (name.as_str(), value.expose())));
    let request = Request {
        url: &channel.url,
        headers,
        body,
        timeout_ms: channel.timeout_ms,
    };
    client::post(client, request, now).await
}

fn failure(channel: &str, code: &str, why: &str) -> Failure {
    let message = format!("the receiver `{channel}` did not take the alert: {why}");
    Failure::new(FailureClass::Transient, code, message)
}

/// Runs the channels side by side until all have ended, or until time is up.
fn serve(
    runtime: Runtime,
    posts: Vec<Post>,
    clock: &dyn Clock,
    mut orders: watch::Receiver<Order>,
) -> Vec<Settled> {
    let settled = runtime.block_on(async move {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for post in posts {
            tasks.spawn(post.serve(tell.clone()));
        }
        drop(tell);
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = time_is_up(clock, &mut orders) => {}
        }
        // What is still under way ends here, and stays in the outbox.
        drop(tasks);
        let mut settled = Vec::new();
        while let Ok(one) = told.try_recv() {
            settled.push(one);
        }
        settled
    });
    // A look-up of a name may hang; nobody waits for it.
    runtime.shutdown_background();
    settled
}

async fn time_is_up(clock: &dyn Clock, orders: &mut watch::Receiver<Order>) {
    let Ok(order) = orders.wait_for(|order| order.until_ms.is_some()).await else {
        return;
    };
    let until_ms = order.until_ms.unwrap_or_default();
    drop(order);
    clock
        .sleep_ms(until_ms.saturating_sub(clock.monotonic_ms()))
        .await;
}

/// One channel.
struct Post {
    channel: AlertChannel,
    client: reqwest::Client,
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    terms: Terms,
    orders: watch::Receiver<Order>,
    /// Tries of each alert in this process.
    tries: BTreeMap<String, u32>,
    /// Alerts that were tried often enough.
    skipped: Vec<String>,
}

impl Post {
    async fn serve(mut self, tell: tokio::sync::mpsc::UnboundedSender<Settled>) {
        // An outbox that cannot be used is complained of by the run itself.
        while let Ok(true) = self.step(&tell).await {}
    }

    /// One alert, or one pause. False when there is nothing left to be done.
    async fn step(
        &mut self,
        tell: &tokio::sync::mpsc::UnboundedSender<Settled>,
    ) -> Result<bool, Failure> {
        let order = *self.orders.borrow_and_update();
        let now = self.clock.now();
        let name = &self.channel.name;
        if let Some(alert) = self.outbox.claim(name, now, &self.skipped)? {
            return match self.deliver(&alert, now, tell).await? {
                None => Ok(true),
                Some(pause_ms) => Ok(self.pause(pause_ms).await),
            };
        }
        match self.outbox.next_due(name, &self.skipped)? {
            Some(due) => {
                let left_ms = due.as_millisecond() - now.as_millisecond();
                let left_ms = u64::try_from(left_ms).unwrap_or(0);
                Ok(self.pause(left_ms.max(1)).await)
            }
            None if order.until_ms.is_some() => Ok(false),
            None => Ok(self.orders.changed().await.is_ok()),
        }
    }

    /// Tries once. `Some` is the pause before anything else is sent to this receiver.
    async fn deliver(
        &mut self,
        alert: &OutboxAlert,
        now: Timestamp,
        tell: &tokio::sync::mpsc::UnboundedSender<Settled>,
    ) -> Result<Option<u64>, Failure> {
        let settled = |delivered| Settled {
            id: alert.id.clone(),
            run_id: alert.run_id.clone(),
            delivered,
        };
        let body = alert.body.clone();
        match send(&self.client, &self.channel, &alert.id, body, now).await {
            Answer::Taken => {
                self.outbox.delivered(&alert.id, self.clock.now())?;
                let _ = tell.send(settled(true));
                Ok(None)
            }
            Answer::Refused { why } => {
                let failure = failure(&self.channel.name, code::ALERT_REFUSED.name, &why);
                self.outbox.give_up(&alert.id, &failure, self.clock.now())?;
                let _ = tell.send(settled(false));
                Ok(None)
            }
            Answer::Again { why, after_ms } => {
                let failure = failure(&self.channel.name, code::ALERT_UNDELIVERED.name, &why);
                let tries = self.tries.entry(alert.id.clone()).or_default();
                *tries += 1;
                if *tries >= self.terms.attempts_max {
                    self.skipped.push(alert.id.clone());
                }
                let pause_ms = client::pause_ms(*tries, self.terms.pause_ms, &alert.id);
                let now = self.clock.now();
                let not_before = after_ms.and_then(|ms| later(now, ms));
                self.outbox.put_off(&alert.id, &failure, not_before)?;
                Ok(Some(after_ms.map_or(pause_ms, |ms| ms.max(1))))
            }
        }
    }

    /// Waits, unless that would outlast the sender; false then.
    async fn pause(&mut self, ms: u64) -> bool {
        let until_ms = self.clock.monotonic_ms().saturating_add(ms);
        loop {
            let end_ms = self.orders.borrow_and_update().until_ms;
            if end_ms.is_some_and(|end_ms| until_ms > end_ms) {
                return false;
            }
            let left_ms = until_ms.saturating_sub(self.clock.monotonic_ms());
            tokio::select! {
                () = self.clock.sleep_ms(left_ms) => return true,
                changed = self.orders.changed() => if changed.is_err() {
                    return false;
                },
            }
        }
    }
}

fn later(now: Timestamp, ms: u64) -> Option<Timestamp> {
    let ms = i64::try_from(ms).ok()?;
    Timestamp::from_millisecond(now.as_millisecond().saturating_add(ms)).ok()
}

#[cfg(test)]
mod tests;
