//! Steps and inputs that fail while a node runs: what the failure says, and that nothing is left behind.

use std::sync::atomic::Ordering;

use odibi_run::port::{SortKey, Spread};
use odibi_story::failure::{Failure, FailureClass};
use serde_json::json;

use super::fakes::{breaking, column, first_of_key, identity, numbers};
use super::{Build as _, Call, Fake, House, csv_in, csv_out, more, node, plan_like};

#[test]
fn a_sort_without_memory_is_a_limit() {
    let by_n = vec![SortKey {
        column: 0,
        descending: false,
        nulls_first: false,
    }];
    let house = House::with(|o| o.memory_bytes_max = 1_024).operation("x", first_of_key(by_n));
    house.put("a.csv", numbers(1_000));
    let failure = house
        .run(
            &node()
                .read(csv_in(), "a.csv")
                .step("x")
                .write(csv_out(), "o.csv"),
        )
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Limit, "resources/memory"),
        "{failure:?}"
    );
    assert_eq!(house.entries(""), ["a.csv"]);
}

#[test]
fn a_failing_step_fails_the_node_and_leaves_the_target() {
    for spread in [Spread::Single, Spread::PerBatch, Spread::PerPartition] {
        for panics in [false, true] {
            let house = House::new()
                .operation("same", identity(Spread::PerBatch))
                .operation("key", first_of_key(Vec::new()))
                .operation("x", breaking(spread, 3_000, panics));
            house.put("a.csv", numbers(10_000));
            house.put("o.csv", "old");
            let steps = node()
                .read(csv_in(), "a.csv")
                .step("same")
                .step("x")
                .step("same")
                .depended_on();
            let failure = house.run(&steps.write(csv_out(), "o.csv")).unwrap_err();
            let (class, code) = if panics {
                (FailureClass::Internal, "engine/internal")
            } else {
                (FailureClass::Guest, "guest/planted")
            };
            assert_eq!(
                (failure.class, failure.code.as_str(), failure.step),
                (class, code, Some(1)),
                "{spread:?}"
            );
            assert_eq!(house.text("o.csv"), "old");
            assert_eq!(house.entries(""), ["a.csv", "o.csv"]);
            assert_eq!(house.scratch_files(), 0);
        }
    }
}

#[test]
fn a_failure_in_a_partition_comes_through_the_repartition() {
    let keyed = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::PerPartition);
            plan.inputs[0].partition_by = vec![1];
            plan
        },
        |_| {
            Box::new(|call| match call {
                Call::Process(_, batch)
                    if column(batch, 0).iter().flatten().any(|n| n == 4_000) =>
                {
                    Err(Failure::new(FailureClass::Data, "guest/planted", "planted"))
                }
                Call::Process(_, batch) => more(vec![batch.clone()]),
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    );
    let house = House::new()
        .operation("keyed", keyed)
        .operation("x", breaking(Spread::Single, 4_000, false));
    house.put("a.csv", numbers(10_000));
    let below = node()
        .read(csv_in(), "a.csv")
        .step("x")
        .step("keyed")
        .write(csv_out(), "o.csv");
    assert_eq!(
        house.run(&below).unwrap_err().step,
        Some(0),
        "an error under the repartition"
    );
    let inside = node()
        .read(csv_in(), "a.csv")
        .step("keyed")
        .write(csv_out(), "o.csv");
    assert_eq!(house.run(&inside).unwrap_err().class, FailureClass::Data);
}

#[test]
fn a_bad_row_met_while_running_is_a_failure_with_its_line() {
    let house = House::new().operation("key", first_of_key(Vec::new()));
    let mut text = numbers(5_000);
    text += "x,1\n";
    house.put("a.csv", text);
    let options = odibi_plan::plan::CsvRead {
        infer_rows: Some(10),
        ..super::csv_options()
    };
    let read = node().read(odibi_plan::plan::ReadFormat::Csv(options), "a.csv");
    let failure = house
        .run(&read.step("key").write(csv_out(), "o.csv"))
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.step),
        ("read/bad-row", None)
    );
    assert!(
        failure.message.contains("line 5002: column `n`"),
        "{failure:?}"
    );
}

#[test]
fn a_refused_plan_names_step_and_param_before_any_row_is_read() {
    let house = House::new().operation("x", identity(Spread::Single));
    house.put("a.csv", numbers(10));
    let steps = node()
        .read(csv_in(), "a.csv")
        .step("x")
        .step_with("x", json!({"refuse": 1}), &[]);
    let failure = house.run(&steps.write(csv_out(), "new/o.csv")).unwrap_err();
    assert_eq!(
        (failure.step, failure.param.as_deref()),
        (Some(1), Some("/refuse"))
    );
    assert_eq!(house.entries(""), ["a.csv"]);
    assert_eq!(house.progress.rows_read.load(Ordering::Relaxed), 0);
    let failure = house
        .run(&node().read(csv_in(), "a.csv").step("x").step("unknown"))
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.step),
        (FailureClass::Missing, Some(1))
    );
}

#[test]
fn a_plan_or_table_that_lies_is_a_breach_of_contract() {
    let lying_plan = Fake::new(
        |inputs| {
            let mut plan = plan_like(inputs, Spread::Single);
            plan.inputs[0].need = vec![99];
            plan
        },
        |_| Box::new(|_| more(Vec::new())),
    );
    let lying_table = Fake::map(Spread::Single, |batch| {
        more(vec![batch.project(&[0]).unwrap()])
    });
    for (fake, code) in [
        (lying_plan, "engine/bad-plan"),
        (lying_table, "engine/bad-output"),
    ] {
        let house = House::new().operation("x", fake);
        house.put("a.csv", numbers(10));
        let failure = house
            .run(
                &node()
                    .read(csv_in(), "a.csv")
                    .step("x")
                    .write(csv_out(), "o.csv"),
            )
            .unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str(), failure.step),
            (FailureClass::Contract, code, Some(0))
        );
    }
}
