//! Runs on a scripted engine and a simulated clock: order, limits, what falls with what, cancellation, panics.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of event"
)]

use odibi_plan::plan::Attempts;

use super::*;
use crate::testing::{
    self, End, MemoryEngine, Script, SimClock, VecSink, assert_well_formed, block_on, plan_of,
};

mod model;

/// A plan as `plan_of` takes it, and scripts for some of its nodes.
struct Case<'a> {
    nodes: &'a [(&'a str, &'a [&'a str])],
    scripts: &'a [(&'a str, Script)],
    workers: usize,
}

struct Ran {
    summary: Summary,
    events: Vec<Event>,
    engine: MemoryEngine,
    clock: SimClock,
}

impl Case<'_> {
    fn run(&self) -> Ran {
        let clock = SimClock::default();
        let engine = MemoryEngine::new(&clock);
        for (node, script) in self.scripts {
            engine.script(node, [script.clone()]);
        }
        let mut sink = VecSink::default();
        let summary = testing::run(
            &clock,
            &engine,
            &plan_of(self.nodes),
            self.workers,
            &mut sink,
        );
        Ran {
            summary,
            events: sink.events,
            engine,
            clock,
        }
    }
}

/// One line for each event, without what is the same in all tests.
fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| line(&event.kind)).collect()
}

fn line(kind: &RunEvent) -> String {
    match kind {
        RunEvent::RunStarted(_) => "run".to_owned(),
        RunEvent::PipelineStarted { pipeline, .. } => format!("pipeline {pipeline}"),
        RunEvent::AttemptStarted { node, attempt } => format!("{node} #{attempt}"),
        RunEvent::NodeProgress {
            node, rows_read, ..
        } => format!("{node} {rows_read} rows"),
        RunEvent::AttemptFailed {
            node,
            attempt,
            failure,
            retry_in_ms,
        } => {
            format!("{node} #{attempt} {}, again in {retry_in_ms}", failure.code)
        }
        RunEvent::NodeFinished {
            node,
            outcome,
            failure,
            ..
        } => {
            let code = failure
                .as_ref()
                .map(|f| format!(" {}", f.code))
                .unwrap_or_default();
            format!("{node} {}{code}", outcome.word())
        }
        RunEvent::PipelineFinished {
            pipeline, outcome, ..
        } => format!("pipeline {pipeline} {}", outcome.word()),
        RunEvent::StoryWritten { .. } | RunEvent::StoryFailed { .. } => "story".to_owned(),
        RunEvent::AlertSettled { .. } | RunEvent::SendingFailed { .. } => "outside".to_owned(),
        RunEvent::FailureCaptured { .. } | RunEvent::CaptureGivenUp { .. } => "capture".to_owned(),
        RunEvent::RunCrashed { .. } => "crash".to_owned(),
        RunEvent::ExitDecided { exit_code } => format!("exit {exit_code}"),
        RunEvent::RunFinished { outcome, .. } => format!("run {}", outcome.word()),
    }
}

fn failure_of<'a>(events: &'a [Event], name: &str) -> &'a Failure {
    let found = events.iter().find_map(|event| match &event.kind {
        RunEvent::NodeFinished { node, failure, .. } if node.to_string() == name => {
            failure.as_ref()
        }
        _ => None,
    });
    found.expect("the node failed")
}

#[test]
fn nodes_run_in_dependency_order_between_the_brackets_of_their_pipeline() {
    let nodes: &[(&str, &[&str])] = &[
        ("p.a", &[]),
        ("p.b", &["p.a"]),
        ("q.c", &["p.b"]),
        ("q.d", &["q.c", "p.a"]),
    ];
    let ran = Case {
        nodes,
        scripts: &[],
        workers: 4,
    }
    .run();
    assert_eq!(
        lines(&ran.events),
        [
            "run",
            "pipeline p",
            "p.a #1",
            "p.a succeeded",
            "p.b #1",
            "p.b succeeded",
            "pipeline p succeeded",
            "pipeline q",
            "q.c #1",
            "q.c succeeded",
            "q.d #1",
            "q.d succeeded",
            "pipeline q succeeded",
            "run succeeded",
        ]
    );
    assert_eq!(ran.summary.succeeded, 4);
    assert_eq!(ran.summary.outcome, Outcome::Succeeded);
}

#[test]
fn independent_nodes_run_side_by_side_up_to_the_limit() {
    let nodes: &[(&str, &[&str])] = &[
        ("p.a", &[]),
        ("p.b", &[]),
        ("p.c", &[]),
        ("p.d", &[]),
        ("p.e", &[]),
    ];
    let each = |name| (name, Script::taking_ms(1_000, End::succeed()));
    let scripts = ["p.a", "p.b", "p.c", "p.d", "p.e"].map(each);
    for (workers, busy, took_ms) in [
        (0, 1, 5_000),
        (1, 1, 5_000),
        (2, 2, 3_000),
        (5, 5, 1_000),
        (99, 5, 1_000),
    ] {
        let ran = Case {
            nodes,
            scripts: &scripts,
            workers,
        }
        .run();
        assert_eq!(ran.engine.busy_max(), busy, "{workers} workers");
        assert_eq!(ran.clock.monotonic_ms(), took_ms, "{workers} workers");
        assert_eq!(ran.summary.succeeded, 5);
    }
}

#[test]
fn pipelines_without_nodes_are_told_too() {
    let mut plan = plan_of(&[]);
    plan.pipelines.push(odibi_plan::plan::PlannedPipeline {
        name: "empty".to_owned(),
        description: Some("nothing".to_owned()),
        nodes: Vec::new(),
    });
    let clock = SimClock::default();
    let mut sink = VecSink::default();
    let summary = testing::run(&clock, &MemoryEngine::new(&clock), &plan, 1, &mut sink);
    assert_eq!(
        lines(&sink.events),
        [
            "run",
            "pipeline empty",
            "pipeline empty succeeded",
            "run succeeded"
        ]
    );
    assert_eq!(summary.outcome, Outcome::Succeeded);
}

#[test]
fn failure_skips_what_depends_on_it_and_nothing_else() {
    let nodes: &[(&str, &[&str])] = &[
        ("p.a", &[]),
        ("p.b", &["p.a"]),
        ("p.c", &["p.b"]),
        ("p.d", &[]),
        ("q.e", &["p.c"]),
        ("q.f", &["p.d"]),
    ];
    let scripts = [("p.a", Script::at_once(End::fail(FailureClass::Data)))];
    let ran = Case {
        nodes,
        scripts: &scripts,
        workers: 1,
    }
    .run();
    assert_eq!(
        lines(&ran.events),
        [
            "run",
            "pipeline p",
            "p.a #1",
            "p.a failed test/failed",
            "p.b skipped run/upstream-failed",
            "p.c skipped run/upstream-failed",
            "pipeline q",
            "q.e skipped run/upstream-failed",
            "p.d #1",
            "p.d succeeded",
            "pipeline p failed",
            "q.f #1",
            "q.f succeeded",
            "pipeline q skipped",
            "run failed",
        ]
    );
    let Summary {
        outcome,
        succeeded,
        recovered,
        failed,
        skipped,
        cancelled,
    } = ran.summary;
    assert_eq!(
        (outcome, succeeded, recovered, failed, skipped, cancelled),
        (Outcome::Failed, 2, 0, 1, 3, 0)
    );
    assert_eq!(
        failure_of(&ran.events, "p.b").message,
        "not tried, because node `p.a` failed"
    );
    assert_eq!(failure_of(&ran.events, "p.b").causes, [""; 0]);
    assert_eq!(
        failure_of(&ran.events, "q.e").message,
        "not tried, because node `p.a` failed"
    );
    assert_eq!(
        failure_of(&ran.events, "q.e").causes,
        ["it depends on node `p.c`, which was not tried"]
    );
}

#[test]
fn panic_ends_its_node_only() {
    let nodes: &[(&str, &[&str])] = &[
        ("p.a", &[]),
        ("p.b", &[]),
        ("p.c", &["p.a"]),
        ("p.d", &["p.b"]),
    ];
    let scripts = [
        ("p.a", Script::at_once(End::PanicInStage("boom"))),
        ("p.b", Script::taking_ms(300, End::succeed())),
    ];
    let ran = Case {
        nodes,
        scripts: &scripts,
        workers: 2,
    }
    .run();
    let failure = failure_of(&ran.events, "p.a");
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Internal, "run/panic")
    );
    assert_eq!(failure.message, "odibi panicked: boom");
    assert_eq!(
        (
            ran.summary.failed,
            ran.summary.skipped,
            ran.summary.succeeded
        ),
        (1, 1, 2)
    );
}

#[test]
fn progress_is_told_four_times_a_second_and_only_when_it_moved() {
    let nodes: &[(&str, &[&str])] = &[("p.a", &[]), ("p.idle", &[])];
    let scripts = [
        ("p.a", Script::taking_ms(620, End::succeed())),
        ("p.idle", Script::at_once(End::succeed())),
    ];
    let ran = Case {
        nodes,
        scripts: &scripts,
        workers: 2,
    }
    .run();
    assert_eq!(
        lines(&ran.events)[2..],
        [
            "p.a #1",
            "p.idle #1",
            "p.idle succeeded",
            "p.a 200 rows",
            "p.a 400 rows",
            "p.a succeeded",
            "pipeline p succeeded",
            "run succeeded"
        ]
    );
    let at: Vec<String> = ran
        .events
        .iter()
        .map(|event| event.at.to_string())
        .collect();
    assert_eq!(at[5], "2026-01-01T00:00:00.25Z");
    let RunEvent::RunFinished { duration_ms, .. } = ran.events[9].kind else {
        panic!("ends with the run")
    };
    assert_eq!(duration_ms, 620);
}

#[test]
fn cancel_stops_running_nodes_and_starts_no_others() {
    let nodes: &[(&str, &[&str])] = &[("p.a", &[]), ("p.b", &[]), ("p.c", &[]), ("q.d", &["p.a"])];
    let scripts = [
        ("p.a", Script::at_once(End::UntilCancelled)),
        ("p.b", Script::taking_ms(50, End::CancelRunInPublish)),
    ];
    let ran = Case {
        nodes,
        scripts: &scripts,
        workers: 2,
    }
    .run();
    assert_eq!(
        lines(&ran.events),
        [
            "run",
            "pipeline p",
            "p.a #1",
            "p.b #1",
            "p.b succeeded",
            "p.c cancelled run/cancelled",
            "pipeline q",
            "q.d cancelled run/cancelled",
            "pipeline q cancelled",
            "p.a cancelled run/cancelled",
            "pipeline p cancelled",
            "run cancelled",
        ]
    );
    assert_eq!(
        ran.engine.calls(),
        ["stage p.a #1", "stage p.b #1", "publish p.b"]
    );
    assert_eq!((ran.summary.succeeded, ran.summary.cancelled), (1, 3));
}

#[test]
fn run_that_is_cancelled_before_it_starts_touches_nothing() {
    let clock = SimClock::default();
    let engine = MemoryEngine::new(&clock);
    let (ports, cancel, mut sink) = (
        testing::ports(&clock, &engine),
        Cancel::default(),
        VecSink::default(),
    );
    cancel.cancel();
    let plan = plan_of(&[("p.a", &[])]);
    let summary = block_on(
        &clock,
        run(&plan, &ports, &Settings::default(), &cancel, &mut sink),
    );
    assert_eq!(summary.cancelled, 1);
    assert_eq!(engine.calls(), [""; 0]);
    assert_eq!(
        lines(&sink.events),
        [
            "run",
            "pipeline p",
            "p.a cancelled run/cancelled",
            "pipeline p cancelled",
            "run cancelled"
        ]
    );
}

#[test]
fn cancel_ends_a_pause_between_attempts_at_once() {
    let clock = SimClock::default();
    let engine = MemoryEngine::new(&clock);
    engine.script("p.a", [Script::at_once(End::fail(FailureClass::Transient))]);
    let (ports, cancel, mut sink) = (
        testing::ports(&clock, &engine),
        Cancel::default(),
        VecSink::default(),
    );
    let settings = Settings::default();
    let mut plan = plan_of(&[("p.a", &[])]);
    plan.nodes[0].attempts = Attempts {
        attempts_max: 3,
        delay_ms: 60_000,
        ..Attempts::once()
    };
    block_on(&clock, async {
        let ask = async {
            clock.sleep_ms(1_000).await;
            cancel.cancel();
        };
        futures::join!(run(&plan, &ports, &settings, &cancel, &mut sink), ask)
    });
    assert_eq!(clock.monotonic_ms(), 1_000);
    assert_eq!(
        lines(&sink.events)[2..5],
        [
            "p.a #1",
            "p.a #1 test/failed, again in 60000",
            "p.a cancelled run/cancelled"
        ]
    );
}

#[test]
fn failure_gets_its_place_from_step_and_param() {
    let clock = SimClock::default();
    let engine = MemoryEngine::new(&clock);
    let failure = Failure::new(FailureClass::Guest, "guest/params", "no")
        .at_step(2)
        .at_param("/columns/0");
    engine.script("p.a", [Script::at_once(End::FailStage(failure))]);
    let place: PlaceOf = Arc::new(|node, failure| {
        let param = failure.param.as_deref().unwrap_or("none");
        let file = format!("{}/{:?}/{param}", node.0, failure.step);
        Some(Place {
            file,
            line: 1,
            column: 2,
        })
    });
    let settings = Settings {
        place: Some(place),
        ..Settings::default()
    };
    let mut sink = VecSink::default();
    testing::run_with(
        &clock,
        &engine,
        &plan_of(&[("p.a", &[]), ("p.b", &["p.a"])]),
        &settings,
        &mut sink,
    );
    let place = failure_of(&sink.events, "p.a")
        .place
        .as_ref()
        .expect("has a place");
    assert_eq!(place.to_string(), "0/Some(2)//columns/0:1:2");
    assert_eq!(failure_of(&sink.events, "p.b").place, None);
}

#[test]
fn node_whose_dependencies_can_never_be_met_fails_instead_of_hanging() {
    let nodes: &[(&str, &[&str])] = &[
        ("p.a", &["p.nowhere"]),
        ("p.b", &["p.c"]),
        ("p.c", &["p.b"]),
        ("p.d", &[]),
    ];
    let ran = Case {
        nodes,
        scripts: &[],
        workers: 2,
    }
    .run();
    assert_eq!((ran.summary.failed, ran.summary.succeeded), (3, 1));
    assert_eq!(failure_of(&ran.events, "p.b").code, "run/stuck");
}

#[test]
fn run_whose_future_is_dropped_stops_its_nodes() {
    let clock = SimClock::default();
    let engine = MemoryEngine::new(&clock);
    engine.script("p.a", [Script::taking_ms(10_000, End::succeed())]);
    let (ports, cancel, mut sink) = (
        testing::ports(&clock, &engine),
        Cancel::default(),
        VecSink::default(),
    );
    let plan = plan_of(&[("p.a", &[])]);
    block_on(&clock, async {
        let settings = Settings::default();
        tokio::select! {
            _ = run(&plan, &ports, &settings, &cancel, &mut sink) => panic!("ended"),
            () = clock.sleep_ms(500) => {}
        }
        clock.sleep_ms(60_000).await;
    });
    assert_eq!(engine.calls(), ["stage p.a #1"]);
}

#[test]
fn runs_on_several_threads_too() {
    let names: Vec<String> = (0..120).map(|at| format!("p{}.n{at}", at % 3)).collect();
    let before: Vec<Vec<&str>> = (0..120)
        .map(|at| {
            if at < 10 {
                Vec::new()
            } else {
                vec![&*names[at - 10], &*names[at - 7]]
            }
        })
        .collect();
    let nodes: Vec<(&str, &[&str])> = names
        .iter()
        .zip(&before)
        .map(|(name, b)| (&**name, &**b))
        .collect();
    let clock = SimClock::default();
    let engine = MemoryEngine::new(&clock);
    engine.script(
        "p1.n100",
        [Script::at_once(End::PanicInPublish("as planned"))],
    );
    let (ports, cancel, mut sink) = (
        testing::ports(&clock, &engine),
        Cancel::default(),
        VecSink::default(),
    );
    let settings = Settings {
        workers: 8,
        ..Settings::default()
    };
    let plan = plan_of(&nodes);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .expect("starts");
    let summary = runtime.block_on(run(&plan, &ports, &settings, &cancel, &mut sink));
    assert_eq!(
        (summary.failed, summary.skipped, summary.succeeded),
        (1, 4, 115)
    );
    let by_name = names.iter().zip(&before).map(|(name, before)| {
        (
            name.clone(),
            before.iter().map(|b| (*b).to_owned()).collect(),
        )
    });
    assert_well_formed(&sink.events, &by_name.collect());
}
