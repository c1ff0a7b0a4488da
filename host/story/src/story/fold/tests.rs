//! A hand-made run, its prefixes, and any events at all in any order.

use proptest::prelude::*;

use super::*;
use crate::example::{self, PIPELINE, events, node, outline, run_started};
use crate::failure::FailureClass;

fn outcomes(story: &Story) -> Vec<(&str, Status)> {
    story
        .nodes
        .iter()
        .map(|node| (node.outline.name.as_str(), node.outcome))
        .collect()
}

#[test]
fn whole_run_becomes_a_story() {
    let story = example::story();
    assert_eq!(story.outcome, Status::Failed);
    assert_eq!(story.duration_ms, 1_240);
    assert_eq!(story.project, "shop");
    assert_eq!(
        outcomes(&story),
        [
            ("orders_raw", Status::Succeeded),
            ("orders_clean", Status::Recovered),
            ("orders_sum", Status::Failed),
            ("orders_report", Status::Skipped),
        ]
    );
    let clean = &story.nodes[1];
    let attempts: Vec<_> = clean
        .attempts
        .iter()
        .map(|a| (a.attempt, a.outcome, a.retry_in_ms))
        .collect();
    assert_eq!(
        attempts,
        [(1, Status::Failed, Some(200)), (2, Status::Succeeded, None)]
    );
    assert_eq!(
        clean.attempts[0].failure.as_ref().map(|f| f.code.as_str()),
        Some("read/busy")
    );
    assert_eq!(clean.columns.added.len(), 1);
    assert_eq!(clean.columns.removed.len(), 1);
    assert_eq!(clean.columns.changed.len(), 1);
    assert_eq!(clean.progress, None);
    let sum = &story.nodes[2];
    assert_eq!(sum.attempts[0].failure, sum.failure);
}

#[test]
fn lineage_joins_what_one_node_writes_and_another_reads() {
    let lineage = example::story().lineage;
    let names: Vec<_> = lineage
        .vertices
        .iter()
        .map(|v| format!("{}={}", v.id, v.name))
        .collect();
    assert_eq!(
        names,
        [
            "d0=raw:orders/*.csv",
            "d1=lake:orders_raw.parquet",
            "n0=orders_raw",
            "n1=orders_clean",
            "n2=orders_sum",
            "n3=orders_report",
            "x0=bronze.prices",
            "d2=lake:orders.parquet",
        ]
    );
    let edges: Vec<_> = lineage
        .edges
        .iter()
        .map(|e| format!("{}>{}", e.from, e.to))
        .collect();
    assert_eq!(
        edges,
        [
            "d0>n0", "n0>d1", "n0>n1", "x0>n1", "n1>d2", "n0>n2", "d1>n2", "n2>n3"
        ]
    );
}

#[test]
fn truncated_run_is_unfinished_and_keeps_what_was_said() {
    let story = example::unfinished();
    assert_eq!(story.outcome, Status::Unfinished);
    assert_eq!(story.ended_at, None);
    assert_eq!(story.duration_ms, 1_000);
    assert_eq!(
        outcomes(&story),
        [
            ("orders_raw", Status::Succeeded),
            ("orders_clean", Status::Unfinished),
            ("orders_sum", Status::Failed),
            ("orders_report", Status::Skipped),
        ]
    );
    let clean = &story.nodes[1];
    assert_eq!(clean.progress.map(|rows| rows.rows_read), Some(100_000));
    assert_eq!(clean.duration_ms, 600);
    assert_eq!(clean.attempts[1].outcome, Status::Unfinished);
}

#[test]
fn killed_run_crashed_and_keeps_what_was_said() {
    let mut events = example::unfinished_events();
    let before = fold(&events, PIPELINE).expect("is mentioned");
    let last = events.last().expect("there are some").clone();
    events.push(Event {
        seq: last.seq + 1,
        at: last.at + jiff::SignedDuration::from_hours(9),
        kind: RunEvent::RunCrashed {
            found_by: "0190-b".to_owned(),
        },
    });
    let story = fold(&events, PIPELINE).expect("is mentioned");
    assert_eq!(story.outcome, Status::Crashed);
    assert_eq!(
        (story.ended_at, story.duration_ms),
        (None, before.duration_ms)
    );
    assert_eq!(
        outcomes(&story),
        [
            ("orders_raw", Status::Succeeded),
            ("orders_clean", Status::Crashed),
            ("orders_sum", Status::Failed),
            ("orders_report", Status::Skipped),
        ]
    );
    assert_eq!(story.nodes[1].attempts[1].outcome, Status::Crashed);
    // A pipeline that had ended before keeps its end.
    let mut whole = example::run();
    whole.push(Event {
        seq: 1_000,
        ..events.pop().expect("was pushed")
    });
    assert_eq!(
        fold(&whole, PIPELINE).map(|s| s.outcome),
        Some(Status::Failed)
    );
}

#[test]
fn node_that_never_began_is_not_started() {
    let story = fold(&example::run()[..2], PIPELINE).expect("is mentioned");
    assert!(
        story
            .nodes
            .iter()
            .all(|node| node.outcome == Status::NotStarted)
    );
    assert_eq!(story.counts(), [(Status::NotStarted, 4)]);
}

#[test]
fn unmentioned_pipeline_has_no_story() {
    assert_eq!(fold(&[], PIPELINE), None);
    assert_eq!(fold(&example::run()[..1], PIPELINE), None);
    assert_eq!(fold(&example::run(), "other"), None);
}

#[test]
fn node_cancelled_in_a_pause_keeps_the_failure_of_its_attempt() {
    let cancelled = Failure::new(
        FailureClass::Cancelled,
        "run/cancelled",
        "the run was asked to stop",
    );
    let busy = Failure::new(FailureClass::Transient, "read/busy", "busy");
    let kinds = vec![
        RunEvent::AttemptStarted {
            node: node("a"),
            attempt: 1,
        },
        RunEvent::AttemptFailed {
            node: node("a"),
            attempt: 1,
            failure: busy.clone(),
            retry_in_ms: 5,
        },
        RunEvent::NodeFinished {
            node: node("a"),
            outcome: Outcome::Cancelled,
            attempts: 1,
            duration_ms: 3,
            facts: None,
            failure: Some(cancelled.clone()),
        },
    ];
    let story = fold(&events(kinds), PIPELINE).expect("is mentioned");
    let a = &story.nodes[0];
    assert_eq!(
        (a.outcome, &a.failure),
        (Status::Cancelled, &Some(cancelled))
    );
    assert_eq!(
        (a.attempts[0].outcome, &a.attempts[0].failure),
        (Status::Failed, &Some(busy))
    );
}

#[test]
fn pipelines_stand_in_the_order_of_their_first_mention() {
    let started = |name: &str| RunEvent::PipelineStarted {
        pipeline: name.to_owned(),
        description: None,
        nodes: vec![outline("a", &[])],
    };
    let mut told = Fold::default();
    let mut all = events(vec![
        run_started(),
        started("z"),
        started("a"),
        started("m"),
    ]);
    all.reverse();
    all.iter().for_each(|event| told.push(event));
    assert_eq!(told.pipelines(), ["z", "a", "m"]);
}

fn any_failure() -> impl Strategy<Value = Failure> {
    "[a-z/]{0,8}".prop_map(|code| Failure::new(FailureClass::Transient, code, "m"))
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![
        Outcome::Succeeded,
        Outcome::Recovered,
        Outcome::Failed,
        Outcome::Skipped,
        Outcome::Cancelled,
    ])
}

fn any_kind() -> impl Strategy<Value = RunEvent> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let pipeline = || prop::sample::select(vec![PIPELINE, "other"]);
    let reference = move || {
        (pipeline(), name()).prop_map(|(pipeline, name)| NodeRef {
            pipeline: pipeline.to_owned(),
            name: name.to_owned(),
        })
    };
    prop_oneof![
        Just(run_started()),
        (
            pipeline(),
            prop::collection::vec((name(), prop::collection::vec(reference(), 0..3)), 0..4)
        )
            .prop_map(|(pipeline, nodes)| RunEvent::PipelineStarted {
                pipeline: pipeline.to_owned(),
                description: None,
                nodes: nodes
                    .into_iter()
                    .map(|(name, before)| outline(name, &before))
                    .collect(),
            }),
        (reference(), 0u32..4)
            .prop_map(|(node, attempt)| RunEvent::AttemptStarted { node, attempt }),
        (reference(), any::<u64>(), any::<u64>()).prop_map(|(node, rows_read, rows_out)| {
            RunEvent::NodeProgress {
                node,
                rows_read,
                rows_out,
            }
        }),
        (reference(), 0u32..4, any_failure(), any::<u64>()).prop_map(
            |(node, attempt, failure, retry_in_ms)| {
                RunEvent::AttemptFailed {
                    node,
                    attempt,
                    failure,
                    retry_in_ms,
                }
            }
        ),
        (
            reference(),
            any_outcome(),
            0u32..4,
            any::<u64>(),
            prop::option::of(any_failure())
        )
            .prop_map(|(node, outcome, attempts, duration_ms, failure)| {
                RunEvent::NodeFinished {
                    node,
                    outcome,
                    attempts,
                    duration_ms,
                    facts: Some(Box::default()),
                    failure,
                }
            }),
        (pipeline(), any_outcome(), any::<u64>()).prop_map(|(pipeline, outcome, duration_ms)| {
            RunEvent::PipelineFinished {
                pipeline: pipeline.to_owned(),
                outcome,
                duration_ms,
            }
        }),
        Just(RunEvent::RunCrashed {
            found_by: "later".to_owned()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_prefix_of_any_events_makes_a_story_that_renders(kinds in prop::collection::vec(any_kind(), 0..24)) {
        let mut told = Fold::default();
        for (at, event) in events(kinds.clone()).iter().enumerate() {
            told.push(event);
            let whole = fold(&events(kinds[..=at].to_vec()), PIPELINE);
            prop_assert_eq!(&told.story(PIPELINE), &whole, "one by one as at once");
            let Some(story) = whole else { continue };
            let mentioned = |id: &str| story.lineage.vertices.iter().any(|v| v.id == id);
            prop_assert!(story.lineage.edges.iter().all(|e| mentioned(&e.from) && mentioned(&e.to)));
            prop_assert_eq!(story.counts().iter().map(|(_, n)| n).sum::<usize>(), story.nodes.len());
            let open = [Status::Unfinished, Status::Crashed];
            prop_assert_eq!(story.ended_at.is_none(), open.contains(&story.outcome));
            for node in &story.nodes {
                let ended = node.outcome != Status::NotStarted && !open.contains(&node.outcome);
                prop_assert_eq!(node.ended_at.is_some(), ended);
            }
            let back: Story = serde_json::from_str(&crate::render::json::render(&story)).expect("reads back");
            prop_assert_eq!(&back, &story);
            prop_assert!(!crate::render::markdown::render(&story).is_empty());
            prop_assert!(!crate::render::terminal::render(&story, true).is_empty());
        }
    }

    #[test]
    fn order_of_arrival_does_not_matter(
        (kinds, order) in prop::collection::vec(any_kind(), 1..30)
            .prop_flat_map(|kinds| {
                let order: Vec<usize> = (0..kinds.len()).collect();
                (Just(kinds), Just(order).prop_shuffle())
            })
    ) {
        let in_order = events(kinds);
        let shuffled: Vec<Event> = order.iter().map(|at| in_order[*at].clone()).collect();
        for pipeline in [PIPELINE, "other"] {
            prop_assert_eq!(fold(&in_order, pipeline), fold(&shuffled, pipeline));
        }
    }

    #[test]
    fn every_prefix_of_a_real_run_agrees_with_what_ended_in_it(end in 0usize..=16) {
        let run = example::run();
        let Some(story) = fold(&run[..end], PIPELINE) else {
            prop_assert!(end < 2);
            return Ok(());
        };
        let ended = run[..end].iter().filter(|e| matches!(e.kind, RunEvent::NodeFinished { .. })).count();
        let told = story.nodes.iter().filter(|n| n.ended_at.is_some()).count();
        prop_assert_eq!(ended, told);
    }
}
