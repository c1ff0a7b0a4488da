//! What is visible when: staging, publishing, discarding, outputs for dependents, cancellation.

use std::sync::Arc;

use odibi_plan::plan::{Connection, ConnectionKind};
use odibi_run::port::Spread;
use odibi_story::failure::FailureClass;

use super::{Build as _, Fake, House, csv_in, csv_out, more, node, parquet_out};

#[test]
fn nothing_is_visible_before_publish_and_nothing_is_left_after_discard() {
    let house = House::new();
    house.put("a.csv", "n\n1\n");
    house.put("o.csv", "old");
    let node = node()
        .read(csv_in(), "a.csv")
        .write(csv_out(), "o.csv")
        .depended_on();
    let staged = house.stage(&node).unwrap();
    assert_eq!(house.text("o.csv"), "old");
    house.discard(&staged);
    assert_eq!(house.entries(""), ["a.csv", "o.csv"]);
    assert_eq!(house.scratch_files(), 0);
    assert_eq!(
        house.publish(&staged).unwrap_err().class,
        FailureClass::Internal
    );
    let staged = house.stage(&node).unwrap();
    house.publish(&staged).unwrap();
    assert_eq!(house.text("o.csv"), "n\n1\n");
    assert_eq!(house.entries(""), ["a.csv", "o.csv"]);
}

#[test]
fn a_node_reads_the_output_of_another_in_order_once_it_is_published() {
    let house = House::new();
    let mut text = String::from("n,s\n");
    for n in 0..5_000 {
        text += &format!("{n},{}\n", if n % 3 == 0 { "x" } else { "" });
    }
    house.put("a.csv", &text);
    let feeding = node().read(csv_in(), "a.csv").number(4).depended_on();
    let reading = node().of_node(4).write(csv_out(), "o.csv");
    let staged = house.stage(&feeding).unwrap();
    assert_eq!(
        house.stage(&reading).unwrap_err().class,
        FailureClass::Internal,
        "not before publish"
    );
    house.publish(&staged).unwrap();
    assert_eq!(
        (staged.facts.rows_written, staged.facts.target.as_ref()),
        (None, None)
    );
    let facts = house.run(&reading).unwrap();
    assert_eq!(house.text("o.csv"), text);
    assert_eq!((facts.rows_in, facts.sources.len()), (5_000, 0));
    let House { engine, .. } = house;
    drop(engine);
}

#[test]
fn the_scratch_directory_is_empty_when_the_engine_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch");
    let engine = crate::DataEngine::new(crate::EngineOptions::new(dir.path(), &scratch)).unwrap();
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
    drop(engine);
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn a_target_may_be_read_by_the_node_that_writes_it() {
    let house = House::new();
    house.put("a.csv", "n\n1\n2\n");
    house
        .run(&node().read(csv_in(), "*.csv").write(csv_out(), "a.csv"))
        .unwrap();
    assert_eq!(house.text("a.csv"), "n\n1\n2\n");
}

#[test]
fn a_cancelled_run_ends_as_cancelled() {
    let house = House::new();
    let cancel = house.cancel.clone();
    let house = house.operation(
        "x",
        Fake::map(Spread::PerBatch, move |batch| {
            cancel.cancel();
            more(vec![batch.clone()])
        }),
    );
    let rows: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    house.put("a.csv", format!("n\n{rows}"));
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
        (FailureClass::Cancelled, "run/cancelled")
    );
    assert_eq!(house.entries(""), ["a.csv"]);
}

#[test]
fn an_attempt_that_nobody_waits_for_stops_and_cleans_up() {
    use odibi_run::port::Engine as _;
    let started = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&started);
    let house = House::new().operation(
        "x",
        Fake::map(Spread::Single, move |batch| {
            told.notify_one();
            more(vec![batch.clone()])
        }),
    );
    let rows: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    house.put("a.csv", format!("n\n{rows}"));
    let node = node()
        .read(csv_in(), "a.csv")
        .step("x")
        .write(csv_out(), "o.csv");
    house.block(async {
        let attempt = odibi_run::port::Attempt {
            node: &node,
            run_id: "run",
            slot: "run",
            attempt: 1,
            logical_time: jiff::Timestamp::UNIX_EPOCH,
            sample_rows_max: 0,
            transforms: Arc::clone(&house.fakes) as Arc<dyn odibi_run::port::Transforms>,
            progress: Arc::default(),
            cancel: house.cancel.clone(),
        };
        tokio::select! {
            staged = house.engine.stage(attempt) => panic!("it was not dropped in time: {staged:?}"),
            () = started.notified() => {}
        }
        while house.entries("") != ["a.csv"] {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn targets_that_cannot_be_written_fail_before_any_work() {
    let house = House::new();
    house.put("a.csv", "n\n1\n");
    house.put("dir/x", "");
    std::os::unix::fs::symlink("../..", house.path("up")).unwrap();
    for (path, code) in [
        ("../o.csv", "write/denied"),
        ("/o.csv", "write/denied"),
        ("up/o.csv", "write/denied"),
        ("dir", "write/bad-target"),
        ("a.csv/o.csv", "write/bad-target"),
    ] {
        let failure = house
            .run(&node().read(csv_in(), "a.csv").write(csv_out(), path))
            .unwrap_err();
        assert_eq!(failure.code, code, "{path}: {failure:?}");
    }
}

#[test]
fn a_result_with_two_columns_of_one_name_is_not_written() {
    use arrow_schema::{Field, Schema};
    let twice = Fake::new(
        |inputs| {
            let mut plan = super::plan_like(inputs, Spread::Single);
            let field = |name: &str| Field::new(name, arrow_schema::DataType::Int64, true);
            plan.output = Arc::new(Schema::new(vec![field("n"), field("n")]));
            plan.pass_through = vec![None, None];
            plan
        },
        |_| Box::new(|_| more(Vec::new())),
    );
    let house = House::new().operation("x", twice);
    house.put("a.csv", "n\n1\n");
    for out in [csv_out(), parquet_out()] {
        let failure = house
            .run(&node().read(csv_in(), "a.csv").step("x").write(out, "o"))
            .unwrap_err();
        assert_eq!(failure.code, "write/duplicate-column");
    }
}

#[test]
fn documents_are_written_atomically_and_shown_as_paths() {
    let house = House::new();
    let kind = ConnectionKind::Local {
        base_path: "data".into(),
    };
    let connection = Connection {
        name: "stories".into(),
        kind,
    };
    for text in ["one", "two"] {
        let shown = house
            .engine
            .write_document(&connection, "stories/run.md", text.as_bytes())
            .unwrap();
        assert_eq!(shown, house.path("stories/run.md").display().to_string());
        assert_eq!(house.text("stories/run.md"), text);
    }
    assert_eq!(house.entries("stories"), ["run.md"]);
    assert_eq!(
        house
            .engine
            .write_document(&connection, "../x", b"")
            .unwrap_err()
            .code,
        "write/denied"
    );
}
