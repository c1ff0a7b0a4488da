//! Events reach the server in order; what it refuses, and what is too slow.

use serde_json::json;

use super::*;
use crate::testing::recorder::{Recorder, Reply};
use crate::testing::{CANARY, RealClock, story};

fn destination(recorder: &Recorder) -> Destination {
    Destination {
        url: Secret::new(recorder.url("")),
        endpoint: "/api/v1/lineage".to_owned(),
        api_key: Some(Secret::new(CANARY)),
        timeout_ms: 10_000,
    }
}

fn sent(destination: &Destination, events: &[Value], wait_ms: u64) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    send(destination, events, &Network::default(), &clock, wait_ms)
}

#[test]
fn events_of_a_story_arrive_in_order_although_the_server_stumbles() {
    let recorder = Recorder::start([
        Reply::Status(201),
        Reply::Status(503),
        Reply::After(429, "0".to_owned()),
        Reply::Status(200),
    ]);
    let story = story();
    let events = odibi_story::lineage::events_in(&story, "urn:odibi:test", "warehouse");
    let events: Vec<Value> = events.collect();
    sent(&destination(&recorder), &events, 60_000).unwrap();
    let taken = recorder.taken();
    let bodies: Vec<Value> = taken
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    assert_eq!(bodies, events);
    assert_eq!(bodies[0]["job"]["namespace"], "warehouse");
    for request in taken {
        assert_eq!(request.path, "/api/v1/lineage");
        assert_eq!(request.headers["authorization"], format!("Bearer {CANARY}"));
    }
}

#[test]
fn server_that_refuses_gets_no_further_events() {
    let recorder = Recorder::start([Reply::Status(201), Reply::Status(401)]);
    let events = [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})];
    let failure = sent(&destination(&recorder), &events, 60_000).unwrap_err();
    assert_eq!(failure.code, "lineage/undelivered");
    assert_eq!(
        failure.message,
        "1 of 3 lineage events were sent: it answered 401"
    );
    assert_eq!(recorder.recorded().len(), 2);
}

#[test]
fn server_that_hangs_holds_nobody_up_for_long() {
    let recorder = Recorder::start([Reply::Never]);
    let failure = sent(&destination(&recorder), &[json!({})], 200).unwrap_err();
    assert_eq!(
        failure.message,
        "0 of 1 lineage events were sent: a run waits no longer"
    );
}
