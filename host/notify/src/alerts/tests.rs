//! Receivers that answer badly and heal, that are gone, that hang; who is held up by them, and what is said of it.

use std::sync::Arc;

use odibi_plan::plan::{AlertEvent, Attempts, Secret};
use odibi_run::testing::{self, End, MemoryEngine, Script, SimClock, VecSink};
use odibi_story::render::alert;
use odibi_story::story::fold;

use super::*;
use crate::testing::recorder::{Recorder, Reply};
use crate::testing::{CANARY, Fate, MemoryOutbox, RealClock, channel};

/// Long enough for anything that ends by itself.
const WAIT_MS: u64 = 60_000;

fn terms() -> Terms {
    Terms {
        pause_ms: 1,
        ..Terms::default()
    }
}

/// Sends what is in the outbox to the channels, and waits so long for it.
fn sent(outbox: &Arc<MemoryOutbox>, channels: Vec<AlertChannel>, wait_ms: u64) -> Vec<Settled> {
    let clock = Arc::new(RealClock::new());
    let shared: Arc<dyn Clock> = clock.clone();
    let outbox: Arc<dyn Outbox> = outbox.clone();
    let sender = Sender::start(channels, outbox, shared, terms()).unwrap();
    sender.finish(clock.as_ref(), wait_ms)
}

fn posted(ids: &[&str]) -> Arc<MemoryOutbox> {
    let outbox = Arc::new(MemoryOutbox::default());
    ids.iter().for_each(|id| outbox.post("hook", id));
    outbox
}

fn hook(recorder: &Recorder) -> AlertChannel {
    channel("hook", &recorder.url(CANARY))
}

/// One alert to a receiver that first answers so: it is delivered once, and every try has the same id.
#[track_caller]
fn check_heals(replies: Vec<Reply>, why: &str) {
    let tries = replies.len() + 1;
    let recorder = Recorder::start(replies);
    let outbox = posted(&["a"]);
    let impatient = AlertChannel {
        timeout_ms: 300,
        ..hook(&recorder)
    };
    let settled = sent(&outbox, vec![impatient], WAIT_MS);
    assert_eq!(outbox.fates(), [("a".to_owned(), Fate::Delivered)]);
    assert_eq!(settled.len(), 1);
    assert!(settled[0].delivered);
    assert_eq!(recorder.taken().len(), 1);
    let recorded = recorder.recorded();
    assert_eq!(recorded.len(), tries);
    assert!(recorded.iter().all(|r| r.headers["webhook-id"] == "a"));
    assert!(recorded.iter().all(|r| r.text() == "{\"id\":\"a\"}"));
    let failures = outbox.failures();
    assert_eq!(failures.len(), tries - 1);
    for failure in failures {
        let expected =
            format!("alert/undelivered: the receiver `hook` did not take the alert: {why}");
        assert!(failure.starts_with(&expected), "{failure}");
        assert!(
            !failure.contains(CANARY) && !failure.contains("127.0.0.1"),
            "{failure}"
        );
    }
}

#[test]
fn alert_is_delivered_once_when_the_receiver_has_healed() {
    check_heals(vec![], "");
    check_heals(
        vec![Reply::Status(500), Reply::Status(503)],
        "it answered 50",
    );
    check_heals(vec![Reply::After(429, "0".to_owned())], "it answered 429");
    let past = "Fri, 15 Jan 2021 08:00:00 GMT".to_owned();
    check_heals(vec![Reply::After(429, past)], "it answered 429");
    check_heals(vec![Reply::Reset, Reply::Reset], "the connection was lost");
    check_heals(vec![Reply::Endless(500)], "it answered 500");
    check_heals(vec![Reply::Never], "no answer within 300 ms");
}

#[test]
fn endless_answer_of_success_is_a_success() {
    let recorder = Recorder::start([Reply::Endless(200)]);
    let outbox = posted(&["a"]);
    sent(&outbox, vec![hook(&recorder)], WAIT_MS);
    assert_eq!(outbox.fates(), [("a".to_owned(), Fate::Delivered)]);
    assert_eq!(recorder.recorded().len(), 1);
}

#[test]
fn redirect_is_not_followed() {
    let elsewhere = Recorder::start([]);
    let to = elsewhere.url("elsewhere");
    check_heals(
        vec![Reply::Redirect(to)],
        "it answered 302, and redirects are not followed",
    );
    assert!(elsewhere.recorded().is_empty());
}

#[test]
fn receiver_that_refuses_is_not_asked_again() {
    let recorder = Recorder::start([Reply::Status(404)]);
    let outbox = posted(&["a", "b"]);
    let settled = sent(&outbox, vec![hook(&recorder)], WAIT_MS);
    let expect = [
        ("a".to_owned(), Fate::GivenUp),
        ("b".to_owned(), Fate::Delivered),
    ];
    assert_eq!(outbox.fates(), expect);
    assert_eq!(settled.iter().filter(|one| one.delivered).count(), 1);
    assert_eq!(
        outbox.failures(),
        ["alert/refused: the receiver `hook` did not take the alert: it answered 404"]
    );
}

#[test]
fn receiver_that_is_gone_keeps_its_alerts_and_nobody_waits_in_vain() {
    // A port that nobody listens on.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let outbox = posted(&["a", "b"]);
    let gone = channel("hook", &format!("http://127.0.0.1:{port}/{CANARY}"));
    assert_eq!(sent(&outbox, vec![gone], WAIT_MS), []);
    let waiting = |id: &str| (id.to_owned(), Fate::Waiting);
    assert_eq!(outbox.fates(), [waiting("a"), waiting("b")]);
    let failures = outbox.failures();
    assert_eq!(failures.len(), 16, "eight tries of each");
    assert!(
        failures[0].contains("no connection: connection refused"),
        "{}",
        failures[0]
    );
}

#[test]
fn receiver_that_hangs_holds_up_nobody_else_and_the_run_only_so_long() {
    let hangs = Recorder::start([Reply::Never]);
    let good = Recorder::start([]);
    let outbox = Arc::new(MemoryOutbox::default());
    outbox.post("hangs", "a");
    outbox.post("good", "b");
    let clock = Arc::new(RealClock::new());
    let shared: Arc<dyn Clock> = clock.clone();
    let channels = vec![
        channel("hangs", &hangs.url("")),
        channel("good", &good.url("")),
    ];
    let sender = Sender::start(channels, outbox.clone(), shared, terms()).unwrap();
    // Both are under way while the run goes on.
    hangs.wait_for(1);
    good.wait_for(1);
    outbox.post("good", "c");
    sender.wake();
    good.wait_for(2);
    let settled = sender.finish(clock.as_ref(), 200);
    assert_eq!(settled.len(), 2);
    let expect = [
        ("a".to_owned(), Fate::Waiting),
        ("b".to_owned(), Fate::Delivered),
        ("c".to_owned(), Fate::Delivered),
    ];
    assert_eq!(outbox.fates(), expect);
}

#[test]
fn receiver_that_asks_for_a_long_pause_is_left_alone_until_then() {
    let recorder = Recorder::start([Reply::After(429, "3600".to_owned())]);
    let outbox = posted(&["a"]);
    // The pause is longer than the wait, so there is none.
    assert_eq!(sent(&outbox, vec![hook(&recorder)], 5_000), []);
    assert_eq!(recorder.recorded().len(), 1);
    let all = outbox.0.lock().unwrap();
    let not_before = all[0].not_before.unwrap();
    let left_ms = not_before.as_millisecond() - RealClock::new().now().as_millisecond();
    assert!(
        (1..=60_000).contains(&left_ms),
        "a minute at most: {left_ms}"
    );
}

#[test]
fn webhook_is_signed_and_carries_its_headers() {
    let recorder = Recorder::start([]);
    let outbox = posted(&["a"]);
    let signed = AlertChannel {
        signing_key: Some(Secret::new("key")),
        headers: vec![("X-Team".to_owned(), Secret::new("orders"))],
        ..hook(&recorder)
    };
    sent(&outbox, vec![signed.clone()], WAIT_MS);
    let recorded = recorder.recorded();
    let headers = &recorded[0].headers;
    let second = headers["webhook-timestamp"].parse().unwrap();
    let expect = sign::signature(&Secret::new("key"), "a", second, &recorded[0].text());
    assert_eq!(headers["webhook-signature"], expect);
    assert_eq!(headers["x-team"], "orders");
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["user-agent"].starts_with("odibi/"));
}

#[test]
fn one_message_can_be_sent_without_an_outbox() {
    let recorder = Recorder::start([Reply::Status(202), Reply::Status(500), Reply::Status(403)]);
    let now = RealClock::new().now();
    let try_one = || {
        let network = Network::default();
        send_once(&hook(&recorder), "a", "{}".to_owned(), &network, now)
    };
    assert_eq!(try_one(), Ok(()));
    assert_eq!(try_one().unwrap_err().code, "alert/undelivered");
    assert_eq!(try_one().unwrap_err().code, "alert/refused");
}

/// What a run of one node gives cause to tell, when its attempts end so.
fn occasions_of(attempts: &[End]) -> Vec<AlertEvent> {
    let sim = SimClock::default();
    let engine = MemoryEngine::new(&sim);
    engine.script("p.a", attempts.iter().cloned().map(Script::at_once));
    let mut plan = testing::plan_of(&[("p.a", &[])]);
    plan.nodes[0].attempts = Attempts::default();
    let mut sink = VecSink::default();
    let _ = testing::run(&sim, &engine, &plan, 1, &mut sink);
    alert::occasions(&[&fold(&sink.events, "p").unwrap()])
}

#[test]
fn run_is_told_of_by_its_end_and_not_by_its_attempts() {
    let transient = || End::fail(FailureClass::Transient);
    let recovered = occasions_of(&[transient(), transient(), End::succeed()]);
    assert_eq!(recovered, [AlertEvent::Recovered]);
    assert_eq!(
        alert::picks(&recovered, &AlertEvent::ALL),
        [AlertEvent::Recovered]
    );
    assert_eq!(alert::picks(&recovered, &[AlertEvent::Failure]), []);
    let failed = occasions_of(&[transient(), transient(), transient()]);
    assert_eq!(failed, [AlertEvent::Failure]);
    let good = occasions_of(&[End::succeed()]);
    assert_eq!(good, [AlertEvent::Success]);
}
