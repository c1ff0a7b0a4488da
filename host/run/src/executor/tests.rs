//! Attempts of one node: their order, what is tried again and when, what a panic does.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of event"
)]

use odibi_plan::plan::Attempts;
use odibi_story::event::RunEvent;

use super::*;
use crate::testing::{self, End, MemoryEngine, Script, SimClock, VecSink, plan_of};

struct Ran {
    outcome: Outcome,
    attempts: u32,
    duration_ms: u64,
    facts: Option<Box<NodeFacts>>,
    failure: Option<Failure>,
    pauses_ms: Vec<u64>,
    calls: Vec<String>,
}

fn run(policy: &Attempts, attempts: &[Script]) -> Ran {
    let clock = SimClock::default();
    let engine = MemoryEngine::new(&clock);
    engine.script("p.a", attempts.to_vec());
    let mut plan = plan_of(&[("p.a", &[])]);
    plan.nodes[0].attempts = *policy;
    let mut sink = VecSink::default();
    testing::run(&clock, &engine, &plan, 1, &mut sink);
    let pauses_ms = sink.events.iter().filter_map(|event| match &event.kind {
        RunEvent::AttemptFailed { retry_in_ms, .. } => Some(*retry_in_ms),
        _ => None,
    });
    let pauses_ms = pauses_ms.collect();
    let end = sink.events.into_iter().find_map(|event| match event.kind {
        RunEvent::NodeFinished {
            outcome,
            attempts,
            duration_ms,
            facts,
            failure,
            ..
        } => Some((outcome, attempts, duration_ms, facts, failure)),
        _ => None,
    });
    let (outcome, attempts, duration_ms, facts, failure) = end.expect("the node ended");
    Ran {
        outcome,
        attempts,
        duration_ms,
        facts,
        failure,
        pauses_ms,
        calls: engine.calls(),
    }
}

fn policy(attempts_max: u32) -> Attempts {
    Attempts {
        attempts_max,
        delay_ms: 100,
        delay_ms_max: 500,
        ..Attempts::once()
    }
}

fn failing(class: FailureClass) -> Script {
    Script::at_once(End::fail(class))
}

#[test]
fn attempt_stages_then_publishes() {
    let facts = NodeFacts {
        rows_out: 7,
        ..NodeFacts::default()
    };
    let ran = run(
        &policy(1),
        &[Script::taking_ms(30, End::Succeed(Box::new(facts)))],
    );
    assert_eq!(ran.calls, ["stage p.a #1", "publish p.a"]);
    assert_eq!(
        (ran.outcome, ran.attempts, ran.duration_ms),
        (Outcome::Succeeded, 1, 30)
    );
    let facts = ran.facts.expect("has facts");
    assert_eq!(facts.rows_out, 7);
    assert_eq!(
        facts.target.map(|target| target.path),
        Some("p.a".to_owned())
    );
}

#[test]
fn failed_stage_is_neither_published_nor_discarded() {
    let ran = run(&policy(1), &[failing(FailureClass::Data)]);
    assert_eq!(ran.calls, ["stage p.a #1"]);
    assert_eq!(ran.outcome, Outcome::Failed);
    assert!(ran.facts.is_none());
}

#[test]
fn failed_publish_is_discarded() {
    let failure = Failure::new(FailureClass::Denied, "write/denied", "no");
    let ran = run(
        &policy(3),
        &[Script::at_once(End::FailPublish(failure.clone()))],
    );
    assert_eq!(ran.calls, ["stage p.a #1", "publish p.a", "discard p.a"]);
    assert_eq!((ran.outcome, ran.failure), (Outcome::Failed, Some(failure)));
}

#[test]
fn cancel_between_stage_and_publish_discards() {
    let ran = run(&policy(3), &[Script::at_once(End::CancelRun)]);
    assert_eq!(ran.calls, ["stage p.a #1", "discard p.a"]);
    assert_eq!(ran.outcome, Outcome::Cancelled);
    assert_eq!(
        ran.failure.map(|failure| failure.code),
        Some("run/cancelled".to_owned())
    );
}

#[test]
fn cancel_during_publish_does_not_undo_it() {
    let ran = run(&policy(1), &[Script::at_once(End::CancelRunInPublish)]);
    assert_eq!(ran.calls, ["stage p.a #1", "publish p.a"]);
    assert_eq!(ran.outcome, Outcome::Succeeded);
}

#[test]
fn panics_become_internal_failures_and_are_not_tried_again() {
    for (end, calls) in [
        (End::PanicInStage("in stage"), &["stage p.a #1"][..]),
        (
            End::PanicInPublish("in publish"),
            &["stage p.a #1", "publish p.a"],
        ),
    ] {
        let ran = run(&policy(3), &[Script::at_once(end)]);
        let failure = ran.failure.expect("failed");
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Internal, "run/panic")
        );
        assert!(
            failure.message.starts_with("odibi panicked: in "),
            "{}",
            failure.message
        );
        assert_eq!(ran.calls, calls);
        assert_eq!(ran.attempts, 1);
    }
}

#[test]
fn transient_failures_are_tried_again_with_growing_pauses() {
    let busy = || failing(FailureClass::Transient);
    let done = Script::at_once(End::succeed());
    let ran = run(&policy(9), &[busy(), busy(), busy(), busy(), done]);
    assert_eq!(ran.pauses_ms, [100, 200, 400, 500]);
    assert_eq!(
        (ran.outcome, ran.attempts, ran.duration_ms),
        (Outcome::Recovered, 5, 1_200)
    );
    assert_eq!(ran.failure, None);
}

#[test]
fn retry_stops_after_the_last_attempt_and_reports_each() {
    let ran = run(&policy(3), &[failing(FailureClass::Transient)]);
    assert_eq!(ran.pauses_ms, [100, 200]);
    assert_eq!((ran.outcome, ran.attempts), (Outcome::Failed, 3));
    assert_eq!(ran.calls, ["stage p.a #1", "stage p.a #2", "stage p.a #3"]);
}

#[test]
fn conflict_is_tried_again_once_at_once_whatever_the_policy() {
    let lost = |n: usize| vec![failing(FailureClass::Conflict); n];
    let done = Script::at_once(End::succeed());
    let ran = run(&policy(1), &[lost(1), vec![done.clone()]].concat());
    assert_eq!((ran.outcome, ran.pauses_ms), (Outcome::Recovered, vec![0]));
    let ran = run(&policy(9), &[lost(2), vec![done]].concat());
    assert_eq!((ran.outcome, ran.attempts), (Outcome::Failed, 2));
}

#[test]
fn no_attempt_starts_after_the_deadline() {
    let busy = || Script::taking_ms(50, End::fail(FailureClass::Transient));
    let limited = |deadline_ms| Attempts {
        deadline_ms: Some(deadline_ms),
        ..policy(9)
    };
    // They start at 0, 150, 400 and 850.
    for (deadline_ms, attempts) in [(1, 1), (149, 1), (150, 2), (399, 2), (400, 3), (850, 4)] {
        let ran = run(&limited(deadline_ms), &[busy()]);
        assert_eq!(
            (ran.outcome, ran.attempts),
            (Outcome::Failed, attempts),
            "{deadline_ms}"
        );
    }
}

#[test]
fn attempt_that_takes_too_long_is_stopped_and_tried_again() {
    let limited = Attempts {
        timeout_ms: Some(1_000),
        ..policy(2)
    };
    let slow = Script::taking_ms(600_000, End::UntilCancelled);
    let done = Script::taking_ms(999, End::succeed());
    let ran = run(&limited, &[slow.clone(), done]);
    assert_eq!((ran.outcome, ran.attempts), (Outcome::Recovered, 2));
    assert_eq!(
        ran.calls,
        ["stage p.a #1", "stage p.a #2", "publish p.a"],
        "the first leaves nothing"
    );
    // One that does not listen is dropped, after a while.
    let deaf = Script::taking_ms(600_000, End::succeed());
    let ran = run(&limited, &[deaf]);
    assert_eq!(
        (ran.outcome, ran.duration_ms),
        (Outcome::Failed, 2 * (1_000 + GRACE_MS) + 100)
    );
    assert_eq!(
        ran.failure.map(|failure| failure.code),
        Some("run/timeout".to_owned())
    );
    // What is done too late is not published.
    let late = Script::taking_ms(1_001, End::succeed());
    let ran = run(&limited, &[late]);
    assert_eq!(
        ran.calls,
        ["stage p.a #1", "discard p.a", "stage p.a #2", "discard p.a"]
    );
}

#[track_caller]
fn check_pause(
    class: FailureClass,
    retry_after_ms: Option<u64>,
    attempt: u32,
    expect: Option<u64>,
) {
    let failure = Failure {
        retry_after_ms,
        ..Failure::new(class, "test/failed", "no")
    };
    assert_eq!(
        pauses::pause_ms(
            &policy(3),
            "",
            &failure,
            attempt,
            u32::from(class == FailureClass::Conflict)
        ),
        expect,
        "{class}"
    );
}

#[test]
fn guest_is_called_again_when_it_asks_for_it_and_the_policy_allows() {
    check_pause(FailureClass::Guest, None, 1, None);
    check_pause(FailureClass::Guest, Some(0), 1, Some(100));
    check_pause(FailureClass::Guest, Some(250), 1, Some(250));
    check_pause(FailureClass::Guest, Some(250), 2, Some(250));
    check_pause(FailureClass::Guest, Some(250), 3, None);
    check_pause(FailureClass::Guest, Some(500), 1, Some(500));
    check_pause(FailureClass::Guest, Some(501), 1, None);
    check_pause(FailureClass::Transient, Some(400), 1, Some(400));
    check_pause(FailureClass::Data, Some(0), 1, Some(100));
}

#[test]
fn other_classes_are_never_tried_again() {
    for class in [
        FailureClass::Trap,
        FailureClass::Limit,
        FailureClass::Contract,
        FailureClass::Denied,
        FailureClass::Missing,
        FailureClass::Cancelled,
        FailureClass::Internal,
    ] {
        check_pause(class, None, 1, None);
        check_pause(class, Some(1), 1, None);
    }
    check_pause(FailureClass::Data, None, 1, None);
}

#[test]
fn pause_never_overflows() {
    let policy = Attempts {
        attempts_max: u32::MAX,
        delay_ms: 7,
        delay_ms_max: 5_000,
        ..Attempts::once()
    };
    let failure = Failure::new(FailureClass::Transient, "test/failed", "no");
    assert_eq!(
        pauses::pause_ms(&policy, "", &failure, u32::MAX - 1, 0),
        Some(5_000)
    );
}
