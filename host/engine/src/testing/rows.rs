//! Rows that a step fails on: found, named, set aside; and what cannot be told of a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch};
use odibi_run::port::{Appetite, Spread};
use odibi_story::failure::{Failure, FailureClass};

use super::fakes::{column, identity, numbers};
use super::{Answer, Build as _, Call, Fake, House, csv_in, csv_out, more, node, plan_like};

const HEADER: &str = "n,k,_rejection_reason,_rejected_at,_source_batch_id,_row";
const REASON: &str = "trap/unreachable: the plugin crashed␛";

fn crash() -> Failure {
    Failure::new(
        FailureClass::Trap,
        "trap/unreachable",
        "the plugin crashed\u{1b}",
    )
}

fn holds(batch: &RecordBatch, bad: &[i64]) -> bool {
    column(batch, 0).iter().flatten().any(|n| bad.contains(&n))
}

/// Crashes at batches that hold one of these `n`.
fn crashing(spread: Spread, bad: &[i64]) -> Arc<Fake> {
    let bad = bad.to_vec();
    Fake::map(spread, move |batch| {
        if holds(batch, &bad) {
            Err(crash())
        } else {
            more(vec![batch.clone()])
        }
    })
}

fn house(batch_rows: usize, instances_max: usize, fake: Arc<Fake>) -> House {
    House::with(|options| {
        options.batch_rows = batch_rows;
        options.instances_max = instances_max;
    })
    .operation("same", identity(Spread::PerBatch))
    .operation("x", fake)
}

fn plain() -> odibi_plan::plan::PlannedNode {
    node()
        .read(csv_in(), "a.csv")
        .step("x")
        .write(csv_out(), "o.csv")
}

/// Lines of a quarantine file: the row, and its number.
fn rejected(rows: &[i64]) -> String {
    let line = |n: &i64| {
        format!(
            "{n},{},{REASON},1970-01-01T00:00:00Z,run,{}\n",
            n % 7,
            n + 1
        )
    };
    let lines: String = rows.iter().map(line).collect();
    format!("{HEADER}\n{lines}")
}

fn without(rows: i64, bad: &[i64]) -> String {
    let text = numbers(rows);
    let kept = text.lines().enumerate().filter(|(line, _)| {
        let n = i64::try_from(*line).unwrap() - 1;
        !bad.contains(&n)
    });
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

/// Runs over so many rows, of which some are bad, in both ways: set aside, and failing with `told`.
#[track_caller]
fn check(rows: i64, bad: &[i64], told: &str) {
    for (batch_rows, instances_max) in [(1, 1), (3, 4), (8, 1), (8, 2), (4_096, 2)] {
        let at = format!("{rows} rows, batches of {batch_rows}, {instances_max} instances");
        let house = house(batch_rows, instances_max, crashing(Spread::PerBatch, bad));
        house.put("a.csv", numbers(rows));
        let facts = house.run(&plain().quarantine("q")).unwrap();
        assert_eq!(house.text("o.csv"), without(rows, bad), "{at}");
        assert_eq!(
            facts.rows_in,
            facts.rows_out + facts.rows_quarantined,
            "{at}"
        );
        assert_eq!(facts.rows_quarantined, bad.len() as u64, "{at}");
        let ledger = &facts.operations[0].ledger;
        assert_eq!(
            (ledger.rows_in, ledger.rows_out),
            (facts.rows_out, facts.rows_out),
            "{at}"
        );
        if bad.is_empty() {
            assert_eq!(house.entries(""), ["a.csv", "o.csv"], "{at}");
            continue;
        }
        assert_eq!(house.entries("q"), ["run-step-1.csv"], "{at}");
        assert_eq!(house.text("q/run-step-1.csv"), rejected(bad), "{at}");
        let fact = &facts.quarantine[0];
        let reason = &fact.reasons[0];
        assert_eq!(
            (fact.step, fact.rows, fact.reasons.len()),
            (0, bad.len() as u64, 1)
        );
        assert_eq!(
            (reason.code.as_str(), reason.message.as_str(), reason.rows),
            ("trap/unreachable", "the plugin crashed␛", bad.len() as u64)
        );
        assert_eq!(reason.rows_first[0], u64::try_from(bad[0]).unwrap() + 1);

        house.put("o.csv", "old");
        let failure = house.run(&plain()).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.step),
            ("trap/unreachable", Some(0))
        );
        assert_eq!(house.text("o.csv"), "old", "{at}");
        if batch_rows == 4_096 {
            assert_eq!(failure.causes, [told], "{at}");
            assert!(failure.hints[0].contains("on_row_error"), "{failure:?}");
        } else {
            let first = format!("row {} of the node's input fails alone", bad[0] + 1);
            let several = "rows of the node's input fail alone: ";
            let told = &failure.causes[0];
            assert!(*told == first || told.contains(several), "{at}: {told}");
        }
    }
}

#[test]
fn bad_rows_are_named_or_set_aside_wherever_they_stand() {
    check(100, &[0], "row 1 of the node's input fails alone");
    check(100, &[99], "row 100 of the node's input fails alone");
    check(1, &[0], "row 1 of the node's input fails alone");
    check(
        100,
        &[3, 4, 50],
        "3 rows of the node's input fail alone: 4, 5, 51",
    );
    let all: Vec<i64> = (0..10).collect();
    check(
        10,
        &all,
        "10 rows of the node's input fail alone: 1, 2, 3, 4, 5, 6, 7, 8 and 2 more",
    );
    check(100, &[], "");
    check(0, &[], "");
}

#[test]
fn numbers_go_on_over_batches() {
    let house = house(1_000, 2, crashing(Spread::PerBatch, &[2_500, 4_001]));
    house.put("a.csv", numbers(5_000));
    let facts = house.run(&plain().quarantine("q")).unwrap();
    assert_eq!(facts.quarantine[0].reasons[0].rows_first, [2_501, 4_002]);
    let failure = house.run(&plain()).unwrap_err();
    assert_eq!(
        failure.causes,
        ["row 2501 of the node's input fails alone"],
        "the first batch that failed"
    );
}

#[test]
fn rows_of_a_later_step_are_numbered_in_its_input_and_have_its_columns() {
    let thinned = Fake::map(Spread::PerBatch, |batch| {
        more(vec![batch.slice(1, batch.num_rows() - 1)])
    });
    let house = house(4_096, 1, crashing(Spread::PerBatch, &[5])).operation("thin", thinned);
    house.put("a.csv", numbers(10));
    let steps = |quarantine: bool| {
        let steps = node().read(csv_in(), "a.csv").step("thin").step("x");
        let steps = steps.step("same").write(csv_out(), "o.csv");
        if quarantine {
            steps.quarantine("q")
        } else {
            steps
        }
    };
    let failure = house.run(&steps(false)).unwrap_err();
    assert_eq!(failure.step, Some(1));
    assert_eq!(failure.causes, ["row 5 of the input of step 2 fails alone"]);
    let facts = house.run(&steps(true)).unwrap();
    assert_eq!(house.entries("q"), ["run-step-2.csv"]);
    assert_eq!(
        (facts.rows_in, facts.rows_out, facts.rows_quarantined),
        (10, 8, 1)
    );
    assert_eq!((facts.quarantine[0].step, facts.quarantine[0].rows), (1, 1));
}

#[test]
fn nulls_and_columns_that_the_step_does_not_see_are_kept() {
    let blind = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::PerBatch);
            plan.inputs[0].need = vec![0];
            plan.output = Arc::new(inputs[0].project(&[0]).unwrap());
            plan.pass_through = vec![None];
            plan
        },
        |_| {
            Box::new(|call| match call {
                Call::Process(_, batch) if column(batch, 0).null_count() > 0 => Err(crash()),
                Call::Process(_, batch) => more(vec![batch.project(&[0]).unwrap()]),
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    );
    let house = house(4_096, 1, blind);
    house.put("a.csv", "n,_row,s\n1,a,x\n,b,\n3,c,z\n,,w\n");
    house.run(&plain().quarantine("q")).unwrap();
    assert_eq!(house.text("o.csv"), "n\n1\n3\n");
    let tail = format!("{REASON},1970-01-01T00:00:00Z,run");
    assert_eq!(
        house.text("q/run-step-1.csv"),
        format!(
            "n,_row,s,_rejection_reason,_rejected_at,_source_batch_id,__row\n,b,,{tail},2\n,,w,{tail},4\n"
        )
    );
}

#[test]
fn rows_after_enough_are_neither_put_out_nor_set_aside() {
    let fake = Fake::map(Spread::PerBatch, |batch| {
        if holds(batch, &[1, 7]) {
            return Err(crash());
        }
        let appetite = if holds(batch, &[4]) {
            Appetite::Enough
        } else {
            Appetite::More
        };
        Ok((vec![batch.clone()], appetite))
    });
    let house = house(8, 1, fake);
    house.put("a.csv", numbers(8));
    let facts = house.run(&plain().quarantine("q")).unwrap();
    assert_eq!(house.text("o.csv"), "n,k\n0,0\n2,2\n3,3\n4,4\n5,5\n");
    assert_eq!((facts.rows_out, facts.rows_quarantined), (5, 1));
}

/// Fails with a failure that holds `told` among its causes, in both ways, and leaves nothing.
#[track_caller]
fn check_untold(fake: impl Fn() -> Arc<Fake>, code: &str, told: &str) {
    for quarantine in [false, true] {
        let house = house(4, 2, fake());
        house.put("a.csv", numbers(8));
        let node = if quarantine {
            plain().quarantine("q")
        } else {
            plain()
        };
        let failure = house.run(&node).unwrap_err();
        assert_eq!(failure.code, code, "{failure:?}");
        assert!(
            failure.causes.iter().any(|c| c.contains(told)),
            "{failure:?}"
        );
        assert_eq!(house.entries(""), ["a.csv"]);
    }
}

#[test]
fn what_cannot_be_told_of_a_row_says_why() {
    let state = "the rows to blame cannot be told: the operation keeps state between batches";
    for spread in [Spread::Single, Spread::PerPartition] {
        check_untold(|| crashing(spread, &[5]), "trap/unreachable", state);
    }
    for spread in [Spread::Single, Spread::PerBatch] {
        let at_end = move || {
            Fake::new(
                move |inputs| plan_like(inputs, spread),
                |_| {
                    Box::new(|call| match call {
                        Call::Process(_, batch) => more(vec![batch.clone()]),
                        Call::Drain(_) => more(Vec::new()),
                        Call::Finish => Err(crash()),
                    })
                },
            )
        };
        check_untold(
            at_end,
            "trap/unreachable",
            "cannot be told: the operation failed after the last of them",
        );
    }
    let together = || {
        Fake::map(Spread::PerBatch, |batch| {
            if holds(batch, &[4]) && holds(batch, &[7]) {
                Err(crash())
            } else {
                more(vec![batch.clone()])
            }
        })
    };
    check_untold(
        together,
        "trap/unreachable",
        "no single row reproduces it: rows 5 to 8 of the node's input fail together and pass in parts",
    );
    let once = || {
        Fake::new(
            |inputs| plan_like(inputs, Spread::PerBatch),
            |_| {
                let mut batches = 0;
                Box::new(move |call| match call {
                    Call::Process(_, batch) if batch.num_rows() > 1 => Err(crash()),
                    Call::Process(_, batch) => {
                        batches += 1;
                        if batches > 1 {
                            Err(crash())
                        } else {
                            more(vec![batch.clone()])
                        }
                    }
                    Call::Drain(_) | Call::Finish => more(Vec::new()),
                })
            },
        )
    };
    check_untold(
        once,
        "trap/unreachable",
        "no single row reproduces it: row 2 of the node's input passes on a fresh instance",
    );
}

/// Instances opened until the failure.
#[track_caller]
fn check_not_searched(failure: Failure) {
    let opened = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&opened);
    let expect = failure.clone().at_step(0);
    let fake = Fake::new(
        |inputs| plan_like(inputs, Spread::PerBatch),
        move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            let failure = failure.clone();
            Box::new(move |_| Err(failure.clone()))
        },
    );
    let house = house(4_096, 1, fake);
    house.put("a.csv", numbers(100));
    assert_eq!(house.run(&plain().quarantine("q")).unwrap_err(), expect);
    assert_eq!(opened.load(Ordering::Relaxed), 1, "{expect:?}");
}

#[test]
fn failures_that_no_row_causes_start_no_search() {
    use FailureClass::{Contract, Data, Denied, Guest, Internal, Limit};
    for (class, code) in [
        (Guest, "guest/params"),
        (Guest, "guest/schema"),
        (Guest, "guest/denied"),
        (Guest, "guest/transient"),
        (Contract, "contract/ipc"),
        (Denied, "guest/denied"),
        (Internal, "internal/session"),
        (Limit, "limit/instances"),
        (Data, "read/bad-row"),
    ] {
        check_not_searched(Failure::new(class, code, "planted"));
    }
    let mut again = Failure::new(Guest, "guest/failed", "later");
    again.retry_after_ms = Some(5);
    check_not_searched(again);
}

#[test]
fn a_guest_that_reports_bad_values_is_searched_and_quoted() {
    let fake = Fake::map(Spread::PerBatch, |batch| {
        if batch.num_rows() > 1 && holds(batch, &[6]) {
            return Err(Failure::new(
                FailureClass::Guest,
                "guest/data",
                "a bad batch",
            ));
        }
        if holds(batch, &[6]) {
            return Err(Failure::new(FailureClass::Guest, "guest/data", "a bad row"));
        }
        more(vec![batch.clone()])
    });
    let house = house(4_096, 1, fake);
    house.put("a.csv", numbers(10));
    let failure = house.run(&plain()).unwrap_err();
    assert_eq!(failure.message, "a bad batch");
    assert_eq!(
        failure.causes,
        [
            "row 7 of the node's input fails alone",
            "row 7 alone: guest/data: a bad row"
        ]
    );
}

#[test]
fn the_search_is_bounded() {
    let rows = 20_000;
    let opened = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&opened);
    let hopeless = Fake::new(
        |inputs| plan_like(inputs, Spread::PerBatch),
        move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
            Box::new(|call| -> Answer {
                match call {
                    Call::Process(..) => Err(crash()),
                    Call::Drain(_) | Call::Finish => more(Vec::new()),
                }
            })
        },
    );
    let house = house(32_768, 1, hopeless);
    house.put("a.csv", numbers(rows));
    let failure = house.run(&plain()).unwrap_err();
    assert!(failure.causes[0].starts_with("at least "), "{failure:?}");
    assert!(
        failure.causes[1].starts_with("the search ended after 256 instances, before row"),
        "{failure:?}"
    );
    assert_eq!(opened.swap(0, Ordering::Relaxed), 257);
    let failure = house.run(&plain().quarantine("q")).unwrap_err();
    assert_eq!(failure.code, "quarantine/too-many", "{failure:?}");
    assert!(failure.causes[0].starts_with("at least "), "{failure:?}");
    assert!(failure.causes.contains(&REASON.to_owned()), "{failure:?}");
    assert_eq!(opened.load(Ordering::Relaxed), 8_193);
    assert_eq!(house.entries(""), ["a.csv"]);
}

#[test]
fn what_the_good_rows_give_is_bounded() {
    // Never touched, so the memory is not there.
    const BYTES: usize = 400 * 1024 * 1024;
    let broad = Fake::map(Spread::PerBatch, |batch| {
        if holds(batch, &[15]) {
            return Err(crash());
        }
        let column: ArrayRef = Arc::new(Int64Array::from(vec![0; BYTES / 8]));
        let columns = vec![column.slice(0, batch.num_rows()); 2];
        more(vec![RecordBatch::try_new(batch.schema(), columns).unwrap()])
    });
    let house = house(4_096, 1, broad);
    house.put("a.csv", numbers(16));
    let failure = house.run(&plain().quarantine("q")).unwrap_err();
    assert_eq!(failure.code, "quarantine/too-many", "{failure:?}");
    assert_eq!(
        failure.causes,
        [
            "the search ended after 3 instances, before rows 15 to 16 of the node's input",
            REASON
        ]
    );
    assert_eq!(house.entries(""), ["a.csv"]);
}

#[test]
fn a_failed_instance_is_gone_before_the_next_is_opened() {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (living, peak) = (Arc::clone(&alive), Arc::clone(&most));
    let fake = Fake::new(
        |inputs| plan_like(inputs, Spread::PerBatch),
        move |_| {
            let now = living.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(now, Ordering::SeqCst);
            let guard = Alive(Arc::clone(&living));
            Box::new(move |call| {
                let _held = &guard;
                match call {
                    Call::Process(_, batch) if holds(batch, &[1, 40, 41]) => Err(crash()),
                    Call::Process(_, batch) => more(vec![batch.clone()]),
                    Call::Drain(_) | Call::Finish => more(Vec::new()),
                }
            })
        },
    );
    let house = house(4_096, 1, fake);
    house.put("a.csv", numbers(100));
    house.run(&plain().quarantine("q")).unwrap();
    house.run(&plain()).unwrap_err();
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_search_ends_when_the_run_is_cancelled() {
    for quarantine in [false, true] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&calls);
        let house = house(4_096, 1, identity(Spread::PerBatch));
        let cancel = house.cancel.clone();
        let house = house.operation(
            "x",
            Fake::map(Spread::PerBatch, move |_| {
                if counting.fetch_add(1, Ordering::SeqCst) == 5 {
                    cancel.cancel();
                }
                Err(crash())
            }),
        );
        house.put("a.csv", numbers(1_000));
        let node = if quarantine {
            plain().quarantine("q")
        } else {
            plain()
        };
        let failure = house.run(&node).unwrap_err();
        assert_eq!(failure.class, FailureClass::Cancelled, "{failure:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 6);
        assert_eq!(house.entries(""), ["a.csv"]);
    }
}

#[test]
fn rejected_rows_appear_with_the_target_or_not_at_all() {
    let house = house(4, 2, crashing(Spread::PerBatch, &[5]));
    house.put("a.csv", numbers(10));
    let node = plain().quarantine("q/of/x");
    let staged = house.stage(&node).unwrap();
    assert_eq!(staged.facts.rows_quarantined, 1);
    house.discard(&staged);
    assert_eq!(house.entries(""), ["a.csv"]);

    let staged = house.stage(&node).unwrap();
    // The target cannot be replaced any more.
    house.put("o.csv/in-the-way", "");
    house.publish(&staged).unwrap_err();
    assert_eq!(house.entries(""), ["a.csv", "o.csv"]);
    std::fs::remove_dir_all(house.path("o.csv")).unwrap();

    house.run(&node).unwrap();
    house.run(&node).unwrap();
    assert_eq!(
        house.entries("q/of/x"),
        ["run-step-1.csv"],
        "once for a run"
    );
    assert_eq!(house.text("q/of/x/run-step-1.csv"), rejected(&[5]));
}

#[test]
fn steps_without_rejected_rows_leave_no_directory() {
    for (first, second) in [(&[][..], &[][..]), (&[], &[5]), (&[2], &[]), (&[2], &[5])] {
        let at = format!("{first:?} {second:?}");
        let house = house(4, 2, crashing(Spread::PerBatch, first))
            .operation("y", crashing(Spread::PerBatch, second));
        house.put("a.csv", numbers(10));
        let node = plain().step("y").quarantine("q/of/x");
        let staged = house.stage(&node).unwrap();
        house.discard(&staged);
        assert_eq!(house.entries(""), ["a.csv"], "{at}");

        let staged = house.stage(&node).unwrap();
        house.put("o.csv/in-the-way", "");
        house.publish(&staged).unwrap_err();
        assert_eq!(house.entries(""), ["a.csv", "o.csv"], "{at}");
        std::fs::remove_dir_all(house.path("o.csv")).unwrap();

        house.run(&node).unwrap();
        let names = [(first, "run-step-1.csv"), (second, "run-step-2.csv")];
        let names: Vec<&str> = names
            .iter()
            .filter(|(bad, _)| !bad.is_empty())
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(house.entries("q/of/x"), names, "{at}");
        assert_eq!(
            house.entries("").contains(&"q".to_owned()),
            !names.is_empty(),
            "{at}"
        );
    }
}

#[test]
fn what_a_killed_run_has_left_goes_with_the_next_one() {
    let house = house(4, 2, crashing(Spread::PerBatch, &[5]));
    house.put("a.csv", numbers(10));
    let node = plain().quarantine("q");
    let killed = house.stage_in("one", &node).unwrap();
    // A copy that nobody has locked, as the end of a process would leave it.
    let hidden = house.entries("q").concat();
    let left = hidden.replace(".tmp", "0.tmp");
    std::fs::copy(house.path("q").join(&hidden), house.path("q").join(&left)).unwrap();
    house.discard(&killed);
    assert_eq!(house.entries("q"), [left]);
    let staged = house.stage_in("two", &node).unwrap();
    house.publish(&staged).unwrap();
    assert_eq!(house.entries("q"), ["two-step-1.csv"]);
}

#[test]
fn a_quarantine_that_cannot_be_written_fails_before_any_work() {
    let house = house(4, 2, identity(Spread::PerBatch));
    house.put("a.csv", numbers(10));
    let failure = house.run(&plain().quarantine("a.csv/q")).unwrap_err();
    assert_eq!(failure.code, "write/bad-target", "{failure:?}");
    assert_eq!(house.progress.rows_read.load(Ordering::Relaxed), 0);
}

#[test]
fn rows_that_a_lost_instance_held_fail_the_node() {
    let holding = Fake::new(
        |inputs| plan_like(inputs, Spread::PerBatch),
        |_| {
            let mut held = Vec::new();
            Box::new(move |call| match call {
                Call::Process(_, batch) if holds(batch, &[5]) => Err(crash()),
                Call::Process(_, batch) => {
                    held.push(batch.clone());
                    more(Vec::new())
                }
                Call::Drain(_) => more(Vec::new()),
                Call::Finish => more(std::mem::take(&mut held)),
            })
        },
    );
    let house = house(4, 1, holding);
    house.put("a.csv", numbers(10));
    let failure = house.run(&plain().quarantine("q")).unwrap_err();
    assert_eq!(failure.code, "quarantine/held-rows", "{failure:?}");
    assert_eq!(house.entries(""), ["a.csv"]);
}
