//! Neighbouring steps that run as one: when they do, what is told of them, and who is to blame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use odibi_run::port::Spread;
use odibi_story::failure::{Failure, FailureClass};

use super::fakes::{column, identity, numbers};
use super::{Build as _, Fake, House, csv_in, csv_out, more, node, plan_like};

/// Adds to `n`, and counts the batches.
fn adds(by: i64, calls: &Arc<AtomicUsize>) -> Arc<Fake> {
    let calls = Arc::clone(calls);
    Fake::map(Spread::PerBatch, move |batch| {
        calls.fetch_add(1, Ordering::Relaxed);
        let n: Int64Array = column(batch, 0).iter().map(|n| n.map(|n| n + by)).collect();
        let columns = vec![Arc::new(n) as _, Arc::clone(batch.column(1))];
        more(vec![RecordBatch::try_new(batch.schema(), columns).unwrap()])
    })
}

fn failing(code: &'static str) -> Arc<Fake> {
    Fake::map(Spread::PerBatch, move |_| {
        Err(Failure::new(FailureClass::Trap, code, "failed"))
    })
}

/// Steps by name over three rows; the first column of the result, and to which step each was chained.
#[track_caller]
fn check(house: &House, steps: &[&str], rows: &str, chained: &[Option<usize>]) {
    house.put("a.csv", numbers(3));
    let read = node().read(csv_in(), "a.csv");
    let steps = steps.iter().fold(read, |node, step| node.step(step));
    let facts = house.run(&steps.write(csv_out(), "o.csv")).unwrap();
    let told: Vec<_> = facts.operations.iter().map(|o| o.chained_to).collect();
    assert_eq!(told, chained);
    let text = house.text("o.csv");
    let column: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(column.join(" "), rows);
}

#[test]
fn neighbours_that_answer_batch_by_batch_run_as_one() {
    let calls = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let house = House::new()
        .operation("add", adds(1, &calls[0]))
        .operation("single", identity(Spread::Single))
        .operation("chain", adds(100, &calls[1]));
    // What the fake chain adds shows that it ran, and how often.
    check(&house, &["add"], "1 2 3", &[None]);
    assert_eq!(calls[1].load(Ordering::Relaxed), 0);
    check(&house, &["add", "add"], "100 101 102", &[None, Some(0)]);
    check(
        &house,
        &["add", "add", "add", "single", "add", "add"],
        "200 201 202",
        &[None, Some(0), Some(0), None, None, Some(4)],
    );
    check(
        &house,
        &["single", "add", "single", "add"],
        "2 3 4",
        &[None; 4],
    );
}

#[test]
fn a_chain_with_other_columns_is_not_used() {
    let calls = Arc::new(AtomicUsize::new(0));
    let other = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::PerBatch);
            let fields = vec![
                Field::new("n", DataType::Utf8, true),
                inputs[0].field(1).clone(),
            ];
            plan.output = Arc::new(Schema::new(fields));
            plan
        },
        |_| Box::new(|_| panic!("it is not used")),
    );
    let house = House::new()
        .operation("add", adds(1, &calls))
        .operation("chain", other);
    check(&house, &["add", "add"], "2 3 4", &[None, None]);
}

#[test]
fn without_a_chain_every_step_runs_by_itself() {
    let calls = Arc::new(AtomicUsize::new(0));
    let house = House::new().operation("add", adds(1, &calls));
    check(&house, &["add", "add"], "2 3 4", &[None, None]);
    let mut house = House::new()
        .operation("add", adds(1, &calls))
        .operation("chain", adds(100, &calls));
    house.engine = house.engine.without_chains();
    check(&house, &["add", "add"], "2 3 4", &[None, None]);
}

#[test]
fn what_fails_in_a_chain_is_laid_at_its_step() {
    let calls = Arc::new(AtomicUsize::new(0));
    let house = House::new()
        .operation("add", adds(1, &calls))
        .operation("bad", failing("trap/of-the-step"))
        .operation("chain", failing("trap/of-the-chain"));
    house.put("a.csv", numbers(3));
    let node = |last: &str| {
        let read = node().read(csv_in(), "a.csv");
        read.step("add")
            .step("add")
            .step(last)
            .write(csv_out(), "o.csv")
    };
    let failure = house.run(&node("bad")).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.step),
        ("trap/of-the-step", Some(2))
    );
    assert!(house.entries("").iter().all(|name| name == "a.csv"));
    // Where only the chain fails, the steps are the answer.
    house.run(&node("add")).unwrap();
    assert!(house.text("o.csv").starts_with("n,k\n3,0\n"));
    assert_eq!(house.progress.rows_out.load(Ordering::Relaxed), 3);
}

#[test]
fn rows_that_are_set_aside_belong_to_a_step() {
    let calls = Arc::new(AtomicUsize::new(0));
    let house = House::new()
        .operation("add", adds(1, &calls))
        .operation("chain", failing("trap/of-the-chain"));
    house.put("a.csv", numbers(3));
    let read = node().read(csv_in(), "a.csv").step("add").step("add");
    let facts = house
        .run(&read.quarantine("rejects").write(csv_out(), "o.csv"))
        .unwrap();
    assert!(facts.operations.iter().all(|o| o.chained_to.is_none()));
}
