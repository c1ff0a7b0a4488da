//! The outbox: once each, whoever posts and whoever sends; held back across processes; claims that end with their process.

use super::*;
use crate::testing::{Other, at, open};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn new<'a>(id: &'a str, subject: &'a [String]) -> NewAlert<'a> {
    NewAlert {
        id,
        project: "shop",
        environment: "",
        channel: "slack",
        kind: "slack",
        about: "on_failure",
        subject,
        run_id: "r1",
        now: at(0),
        throttle_ms: 0,
        hourly_max: None,
    }
}

fn post(db: &StateDb, alert: &NewAlert<'_>) -> Posted {
    db.post(alert, &|held| format!("{} after {held}", alert.id))
        .unwrap()
}

fn sender(db: &Arc<StateDb>, name: &str) -> AlertSender {
    AlertSender::new(Arc::clone(db), name, "shop", "").unwrap()
}

fn claimed(sender: &AlertSender, second: i64) -> Option<String> {
    sender
        .claim("slack", at(second), &[])
        .unwrap()
        .map(|alert| alert.id)
}

fn failure() -> Failure {
    Failure::new(
        FailureClass::Transient,
        code::ALERT_UNDELIVERED,
        "no answer",
    )
}

#[test]
fn alert_is_posted_once_and_delivered_once() {
    let dir = directory();
    let db = open(dir.path());
    assert_eq!(post(&db, &new("a", &[])), Posted::Waiting);
    assert_eq!(post(&db, &new("a", &[])), Posted::Known);
    assert!(db.alerts_wait("shop", "").unwrap());
    let sender = sender(&db, "s");
    assert_eq!(claimed(&sender, 1).as_deref(), Some("a"));
    sender.delivered("a", at(2)).unwrap();
    assert_eq!(claimed(&sender, 3), None);
    assert_eq!(post(&db, &new("a", &[])), Posted::Known);
    let record = db.alert("a").unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (AlertState::Delivered, 1));
    assert_eq!(record.ended_at, Some(at(2)));
    assert!(!db.alerts_wait("shop", "").unwrap());
}

#[test]
fn two_senders_never_have_the_same_alert_and_a_dead_ones_claim_is_free() {
    let dir = directory();
    let db = open(dir.path());
    post(&db, &new("a", &[]));
    let one = sender(&db, "one");
    let two = sender(&db, "two");
    assert_eq!(claimed(&one, 1).as_deref(), Some("a"));
    assert_eq!(claimed(&two, 1), None);
    assert_eq!(two.next_due("slack", &[]).unwrap(), None);
    drop(one);
    assert_eq!(claimed(&two, 1).as_deref(), Some("a"));
}

#[test]
fn claim_of_a_killed_process_is_free() {
    let dir = directory();
    let db = open(dir.path());
    post(&db, &new("a", &[]));
    let mut other = Other::start("claim", dir.path());
    assert_eq!(other.hear(), "claimed a");
    let mine = sender(&db, "mine");
    assert_eq!(claimed(&mine, 1), None);
    other.kill();
    assert_eq!(claimed(&mine, 1).as_deref(), Some("a"));
    drop(mine);
    // Its file is gone with the next sender.
    let next = sender(&db, "next");
    assert_eq!(
        std::fs::read_dir(dir.path().join(DIRECTORY))
            .unwrap()
            .count(),
        1
    );
    drop(next);
}

#[test]
fn receiver_that_asks_for_a_pause_is_left_alone_by_everybody() {
    let dir = directory();
    let db = open(dir.path());
    post(&db, &new("a", &[]));
    post(&db, &new("b", &[]));
    let one = sender(&db, "one");
    assert_eq!(claimed(&one, 1).as_deref(), Some("a"));
    one.put_off("a", &failure(), Some(at(30))).unwrap();
    let two = sender(&db, "two");
    assert_eq!(claimed(&two, 29), None);
    assert_eq!(two.next_due("slack", &[]).unwrap(), Some(at(30)));
    assert_eq!(claimed(&two, 30).as_deref(), Some("a"));
    // Without such a wish the next one may try at once.
    two.put_off("a", &failure(), None).unwrap();
    assert_eq!(claimed(&one, 30).as_deref(), Some("a"));
    let record = db.alert("a").unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (AlertState::Waiting, 2));
    assert_eq!(record.failure, Some(failure()));
}

#[test]
fn alerts_of_one_kind_are_held_back_and_counted() {
    let dir = directory();
    let db = open(dir.path());
    let subject = ["orders".to_owned()];
    let at_second = |id, second| {
        let alert = NewAlert {
            now: at(second),
            throttle_ms: 60_000,
            ..new(id, &subject)
        };
        post(&db, &alert)
    };
    assert_eq!(at_second("a", 0), Posted::Waiting);
    assert_eq!(at_second("b", 30), Posted::HeldBack);
    assert_eq!(at_second("c", 59), Posted::HeldBack);
    // Of another pipeline, it is another kind.
    let others = ["prices".to_owned()];
    let other = NewAlert {
        now: at(59),
        throttle_ms: 60_000,
        ..new("other", &others)
    };
    assert_eq!(post(&db, &other), Posted::Waiting);
    assert_eq!(at_second("d", 61), Posted::Waiting);
    let sender = sender(&db, "s");
    let skipped = ["a".to_owned(), "other".to_owned()];
    let alert = sender.claim("slack", at(61), &skipped).unwrap().unwrap();
    assert_eq!(alert.body, "d after 2");
}

#[test]
fn what_was_given_up_holds_nothing_back() {
    let dir = directory();
    let db = open(dir.path());
    let alert = |id| NewAlert {
        throttle_ms: 60_000,
        hourly_max: Some(1),
        ..new(id, &[])
    };
    assert_eq!(post(&db, &alert("a")), Posted::Waiting);
    let sender = sender(&db, "s");
    claimed(&sender, 1);
    sender.give_up("a", &failure(), at(1)).unwrap();
    assert_eq!(post(&db, &alert("b")), Posted::Waiting);
    // It can be sent after all.
    assert_eq!(db.alerts_again("shop", "", false).unwrap(), 1);
    assert_eq!(db.alerts_again("shop", "", true).unwrap(), 2);
    assert_eq!(claimed(&sender, 2).as_deref(), Some("a"));
}

#[test]
fn so_many_in_an_hour() {
    let dir = directory();
    let db = open(dir.path());
    let at_second = |id, second| {
        let alert = NewAlert {
            now: at(second),
            hourly_max: Some(2),
            ..new(id, &[])
        };
        post(&db, &alert)
    };
    assert_eq!(at_second("a", 0), Posted::Waiting);
    assert_eq!(at_second("b", 1), Posted::Waiting);
    assert_eq!(at_second("c", 2), Posted::HeldBack);
    assert_eq!(at_second("d", 3_600), Posted::Waiting);
}

#[test]
fn alert_that_waits_for_a_week_is_given_up() {
    let dir = directory();
    let db = open(dir.path());
    post(&db, &new("a", &[]));
    let sender = sender(&db, "s");
    assert_eq!(claimed(&sender, 7 * 86_400 + 1), None);
    let record = db.alert("a").unwrap().unwrap();
    assert_eq!(record.state, AlertState::Failed);
    assert_eq!(record.failure.unwrap().code, "alert/too-old");
    // And forgotten after a month.
    let later = NewAlert {
        now: at(31 * 86_400),
        ..new("b", &[])
    };
    post(&db, &later);
    assert_eq!(db.alert("a").unwrap(), None);
}
