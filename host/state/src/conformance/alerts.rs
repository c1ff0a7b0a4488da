//! The outbox.

use std::sync::Arc;

use odibi_run::port::Outbox;
use odibi_story::event::AlertState;
use odibi_story::failure::{Failure, FailureClass, code};

use super::{everywhere, moment};
use crate::{NewAlert, Posted, State};

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
        now: moment(0),
        throttle_ms: 0,
        hourly_max: None,
    }
}

fn post(state: &Arc<dyn State>, alert: &NewAlert<'_>) -> Posted {
    let render = |held| format!("{} after {held}", alert.id);
    state.post(alert, &render).unwrap()
}

fn sender(state: &Arc<dyn State>, name: &str) -> Arc<dyn Outbox> {
    Arc::clone(state).sender(name, "shop", "").unwrap()
}

fn claimed(sender: &Arc<dyn Outbox>, second: i64) -> Option<String> {
    let claimed = sender.claim("slack", moment(second), &[]).unwrap();
    claimed.map(|alert| alert.id)
}

fn failure() -> Failure {
    let class = FailureClass::Transient;
    Failure::new(class, code::ALERT_UNDELIVERED, "no answer")
}

#[test]
fn alert_is_posted_once_and_delivered_once() {
    everywhere(|home| {
        let state = home.open();
        assert_eq!(post(&state, &new("a", &[])), Posted::Waiting);
        assert_eq!(post(&home.open(), &new("a", &[])), Posted::Known);
        let sender = sender(&state, "s");
        assert_eq!(claimed(&sender, 1).as_deref(), Some("a"));
        sender.delivered("a", moment(2)).unwrap();
        assert_eq!(claimed(&sender, 3), None);
        assert_eq!(post(&state, &new("a", &[])), Posted::Known);
        let record = home.open().alert("shop", "a").unwrap().unwrap();
        assert_eq!((record.state, record.attempts), (AlertState::Delivered, 1));
        assert_eq!(record.ended_at, Some(moment(2)));
        assert_eq!(state.alert("shop", "b").unwrap(), None);
    });
}

#[test]
fn alerts_go_to_their_channel_project_and_environment_in_order() {
    everywhere(|home| {
        let state = home.open();
        let other = NewAlert {
            channel: "teams",
            run_id: "r2",
            ..new("other", &[])
        };
        let prod = NewAlert {
            environment: "prod",
            ..new("prod", &[])
        };
        for alert in [&new("first", &[]), &other, &prod, &new("second", &[])] {
            assert_eq!(post(&state, alert), Posted::Waiting);
        }
        let sender = sender(&state, "s");
        assert_eq!(claimed(&sender, 1).as_deref(), Some("first"));
        let skipped = ["first".to_owned()];
        let next = sender.claim("slack", moment(1), &skipped).unwrap().unwrap();
        assert_eq!(
            (next.id.as_str(), next.body.as_str()),
            ("second", "second after 0")
        );
        let skipped = ["first".to_owned(), "second".to_owned()];
        assert_eq!(sender.claim("slack", moment(1), &skipped).unwrap(), None);
        assert_eq!(sender.next_due("slack", &skipped).unwrap(), None);
        assert_eq!(state.alerts("shop", None, 10).unwrap().len(), 4);
        assert_eq!(state.alerts("shop", None, 3).unwrap().len(), 3);
        assert_eq!(state.alerts("x", None, 10).unwrap(), []);
        let of_run = state.alerts("shop", Some("r2"), 10).unwrap();
        assert_eq!(of_run.len(), 1);
        assert_eq!(of_run[0].id, "other");
    });
}

#[test]
fn two_senders_never_have_the_same_alert_and_a_gone_ones_claim_is_free() {
    everywhere(|home| {
        let state = home.open();
        post(&state, &new("a", &[]));
        let one = sender(&home.open(), "one");
        let two = sender(&state, "two");
        assert_eq!(claimed(&one, 1).as_deref(), Some("a"));
        assert_eq!(claimed(&two, 1), None);
        assert_eq!(two.next_due("slack", &[]).unwrap(), None);
        drop(one);
        assert_eq!(claimed(&two, 1).as_deref(), Some("a"));
    });
}

#[test]
fn what_comes_too_often_is_held_back_and_counted() {
    everywhere(|home| {
        let state = home.open();
        let subject = ["orders".to_owned()];
        let at = |id, second| NewAlert {
            now: moment(second),
            throttle_ms: 60_000,
            ..new(id, &subject)
        };
        assert_eq!(post(&state, &at("a", 0)), Posted::Waiting);
        assert_eq!(post(&state, &at("b", 10)), Posted::HeldBack);
        assert_eq!(post(&state, &at("c", 59)), Posted::HeldBack);
        // Of other pipelines it is another alert.
        assert_eq!(
            post(
                &state,
                &NewAlert {
                    subject: &[],
                    ..at("d", 59)
                }
            ),
            Posted::Waiting
        );
        assert_eq!(post(&state, &at("e", 60)), Posted::Waiting);
        let sender = sender(&state, "s");
        let skipped = ["a".to_owned(), "d".to_owned()];
        let next = sender
            .claim("slack", moment(61), &skipped)
            .unwrap()
            .unwrap();
        assert_eq!(next.body, "e after 2");
        let hourly = |id, second| NewAlert {
            throttle_ms: 0,
            hourly_max: Some(3),
            ..at(id, second)
        };
        assert_eq!(post(&state, &hourly("f", 61)), Posted::Waiting);
        assert_eq!(post(&state, &hourly("g", 62)), Posted::HeldBack);
        assert_eq!(post(&state, &hourly("h", 3_661)), Posted::Waiting);
    });
}

#[test]
fn alert_is_put_off_given_up_and_sent_again() {
    everywhere(|home| {
        let state = home.open();
        post(&state, &new("a", &[]));
        post(&state, &new("b", &[]));
        let sender = sender(&state, "s");
        assert_eq!(claimed(&sender, 1).as_deref(), Some("a"));
        sender.put_off("a", &failure(), Some(moment(30))).unwrap();
        // What is behind it waits as well.
        assert_eq!(claimed(&sender, 2), None);
        assert_eq!(sender.next_due("slack", &[]).unwrap(), Some(moment(30)));
        assert_eq!(claimed(&sender, 30).as_deref(), Some("a"));
        sender.give_up("a", &failure(), moment(31)).unwrap();
        let record = state.alert("shop", "a").unwrap().unwrap();
        assert_eq!((record.state, record.attempts), (AlertState::Failed, 2));
        assert_eq!(record.failure.unwrap().message, "no answer");
        assert_eq!(claimed(&sender, 32).as_deref(), Some("b"));
        sender.delivered("b", moment(33)).unwrap();
        assert_eq!(state.alerts_again("shop", "", false).unwrap(), 0);
        assert_eq!(state.alerts_again("shop", "prod", true).unwrap(), 0);
        assert_eq!(state.alerts_again("shop", "", true).unwrap(), 1);
        assert_eq!(claimed(&sender, 34).as_deref(), Some("a"));
        // After a week nobody wants it any more.
        let week = 7 * 24 * 3_600;
        assert_eq!(claimed(&sender, week + 1), None);
        let record = state.alert("shop", "a").unwrap().unwrap();
        assert_eq!(record.state, AlertState::Failed);
        assert_eq!(
            state.alerts_again("shop", "", true).unwrap(),
            0,
            "its text is gone"
        );
    });
}
