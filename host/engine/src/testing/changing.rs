//! Files that become others between two looks: while an attempt has described them and has not read them yet.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use odibi_plan::plan::WriteMode;
use odibi_run::port::Spread;
use odibi_story::event::WriteEffect;
use odibi_story::failure::FailureClass;

use super::{Build as _, Call, Fake, House, csv_in, csv_out, more, node, plan_like};

/// Hands on what it is given. The first time that it is asked for its plan, and files are described, something happens.
pub(crate) fn interrupted(happens: impl Fn() + Send + Sync + 'static) -> Arc<Fake> {
    let asked = AtomicUsize::new(0);
    Fake::new(
        move |inputs| {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                happens();
            }
            plan_like(inputs, Spread::PerBatch)
        },
        |_| {
            Box::new(|call| match call {
                Call::Process(_, batch) => more(vec![batch.clone()]),
                Call::Drain(_) | Call::Finish => more(Vec::new()),
            })
        },
    )
}

fn replace(path: &Path) {
    let new = path.with_extension("new");
    fs::write(&new, "n\n3\n4\n").unwrap();
    fs::rename(new, path).unwrap();
}

fn overwrite(path: &Path) {
    fs::write(path, "n\n3\n4\n5\n").unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

#[test]
fn a_file_that_changes_between_two_looks_fails_the_attempt_and_not_the_next() {
    type Change = fn(&Path);
    let cases: [(Change, Option<&str>); 3] = [
        (replace, Some("n\n3\n4\n")),
        (overwrite, Some("n\n3\n4\n5\n")),
        (remove, None),
    ];
    for (change, rows) in cases {
        let house = House::new();
        house.put("latest.csv", "n\n1\n2\n");
        let path = house.path("latest.csv");
        let house = house.operation("step", interrupted(move || change(&path)));
        let mut node = node()
            .read(csv_in(), "latest.csv")
            .step("step")
            .write(csv_out(), "t");
        node.write.as_mut().unwrap().mode = WriteMode::AppendOnce(None);
        let failure = house.run_in("1", &node).unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Transient, "read/failed"),
            "{failure:?}"
        );
        assert!(failure.message.contains("latest.csv"), "{failure:?}");
        assert!(!house.path("t").exists(), "nothing is written");
        let Some(rows) = rows else {
            let failure = house.run_in("1", &node).unwrap_err();
            assert_eq!(failure.class, FailureClass::Missing, "{failure:?}");
            continue;
        };
        house.run_in("1", &node).unwrap();
        // The next run sees the same file, and knows its batch.
        let facts = house.run_in("2", &node).unwrap();
        let effect = facts.write.unwrap().effect;
        assert_eq!(effect, WriteEffect::AlreadyApplied);
        assert_eq!(house.text("t"), rows);
    }
}

#[test]
fn a_file_of_many_is_held_to_its_version_too() {
    let house = House::new();
    for n in 0..4 {
        house.put(&format!("in/{n}.csv"), format!("n\n{n}\n"));
    }
    let path = house.path("in/2.csv");
    let house = house.operation("step", interrupted(move || replace(&path)));
    let node = node()
        .read(csv_in(), "in/*.csv")
        .step("step")
        .write(csv_out(), "t");
    let failure = house.run(&node).unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient, "{failure:?}");
    assert!(failure.message.contains("in/2.csv"), "{failure:?}");
    house.run(&node).unwrap();
    assert_eq!(house.text("t"), "n\n0\n1\n3\n4\n3\n");
}
