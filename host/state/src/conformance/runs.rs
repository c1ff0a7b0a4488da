//! Runs, their nodes, and those that were killed.

use std::collections::BTreeMap;
use std::sync::Arc;

use odibi_story::Outcome;
use odibi_story::event::FileFact;

use super::{Begun, everywhere, id, moment, slot, take};
use crate::testing::{new_run, node};
use crate::{NodeEnd, NodeRecord, RunFilter, RunSelection, State};

fn ended<'a>(node: &'a odibi_story::event::NodeRef, outcome: Outcome) -> NodeEnd<'a> {
    NodeEnd {
        node,
        outcome,
        attempts: 1,
        duration_ms: 1,
        rows_written: None,
        target: None,
        failure_code: None,
    }
}

#[test]
fn run_is_read_back_as_it_was_noted() {
    everywhere(|home| {
        let state = home.open();
        let leases = vec![take(&state, &id(1))];
        let mut new = new_run(&id(1), &id(1));
        new.selection = RunSelection {
            pipelines: vec!["orders".to_owned()],
            nodes: vec!["clean".to_owned(), "load".to_owned()],
            tags: vec!["daily".to_owned()],
            select: vec!["load+".to_owned()],
            exclude: vec!["tag:slow".to_owned()],
            environment: Some("prod".to_owned()),
        };
        let mark = state.start(&new, &leases).unwrap();
        let target = FileFact {
            connection: "lake".to_owned(),
            path: "orders.parquet".to_owned(),
            bytes: 12,
            modified: Some(moment(3)),
            version: None,
        };
        let load = node("load");
        let end = NodeEnd {
            attempts: 2,
            duration_ms: 40,
            rows_written: Some(7),
            target: Some(&target),
            ..ended(&load, Outcome::Recovered)
        };
        state.node_ended(&id(1), &end).unwrap();
        assert_eq!(home.open().run("shop", "last").unwrap().outcome, None);
        state.end(&id(1), Outcome::Failed, 1, moment(9)).unwrap();
        mark.remove().unwrap();
        drop(leases);
        let state = home.open();
        let run = state.run("shop", &id(1)[..6]).unwrap();
        assert_eq!(run.selection, new.selection);
        assert_eq!(
            (run.logical_time, run.started_at, run.ended_at),
            (moment(1), moment(2), Some(moment(9)))
        );
        assert_eq!(
            (run.outcome.as_deref(), run.exit_code, run.pid),
            (Some("failed"), Some(1), std::process::id())
        );
        assert_eq!(run.pipelines, ["orders"]);
        let nodes = state.nodes(&id(1)).unwrap();
        let expected = NodeRecord {
            node: load,
            outcome: Some("recovered".to_owned()),
            attempts: 2,
            duration_ms: 40,
            rows_written: Some(7),
            failure_code: None,
            target_bytes: Some(12),
            target_modified: Some(moment(3)),
        };
        assert_eq!(nodes[0], expected);
        assert!(nodes[0].is_success() && !nodes[1].is_success());
        assert_eq!(nodes[1].outcome, None);
        assert_eq!(state.slots(&id(1)).unwrap()["orders"], id(1));
        assert_eq!(state.nodes(&id(7)).unwrap(), []);
        assert_eq!(state.crashed("shop").unwrap(), []);
    });
}

#[test]
fn runs_are_found_by_id_prefix_and_filter() {
    everywhere(|home| {
        let state = home.open();
        let code = |name: &str| state.run("shop", name).map_err(|f| f.code);
        assert_eq!(code("last"), Err("state/no-run".to_owned()));
        assert_eq!(state.runs(&RunFilter::default()).unwrap(), []);
        for (number, outcome) in [
            (1, Outcome::Succeeded),
            (2, Outcome::Failed),
            (0x103, Outcome::Cancelled),
        ] {
            Begun::new(Arc::clone(&state), &id(number)).end(outcome);
        }
        assert_eq!(code("last").unwrap().id, id(0x103));
        assert_eq!(code(&id(2)).unwrap().id, id(2));
        assert_eq!(code("0192f0c1-01").unwrap().id, id(0x103));
        for name in [
            "0192f0c1-00",
            "0192",
            "",
            "c",
            "%",
            "0192f0c1-02",
            "ffff",
            "../x",
        ] {
            assert_eq!(code(name), Err("state/no-run".to_owned()), "{name}");
        }
        let ids = |filter: RunFilter<'_>| -> Vec<String> {
            let found = state.runs(&filter).unwrap();
            found.into_iter().map(|run| run.id).collect()
        };
        let all = RunFilter {
            project: Some("shop"),
            ..RunFilter::default()
        };
        assert_eq!(ids(all.clone()), [id(0x103), id(2), id(1)]);
        let failed = RunFilter {
            failed: true,
            ..all.clone()
        };
        assert_eq!(ids(failed.clone()), [id(0x103), id(2)]);
        let one = |filter| RunFilter {
            count_max: Some(1),
            ..filter
        };
        assert_eq!(ids(one(all.clone())), [id(0x103)]);
        assert_eq!(ids(one(failed)), [id(0x103)]);
        let of = |pipeline| RunFilter {
            pipeline: Some(pipeline),
            ..all.clone()
        };
        assert_eq!(ids(of("orders")).len(), 3);
        assert_eq!(ids(of("x")), Vec::<String>::new());
        let other = RunFilter {
            project: Some("x"),
            ..RunFilter::default()
        };
        assert_eq!(ids(other), Vec::<String>::new());
    });
}

#[test]
fn killed_run_crashed_and_is_gone_on_with_until_one_ends() {
    everywhere(|home| {
        let killed = Begun::new(home.open(), &id(1));
        let state = home.open();
        assert_eq!(state.crashed("shop").unwrap(), [], "it lives");
        drop(killed);
        let crashed = state.crashed("shop").unwrap();
        assert_eq!(crashed.len(), 1);
        assert_eq!(crashed[0].outcome.as_deref(), Some("crashed"));
        assert_eq!(state.crashed("other").unwrap(), []);
        // Until its story is told it is found again.
        assert_eq!(state.crashed("shop").unwrap().len(), 1);
        state.told(&id(1), None).unwrap();
        assert_eq!(state.crashed("shop").unwrap(), []);
        // A chain of crashes keeps the first slot.
        let second = Begun::new(home.open(), &id(2));
        assert_eq!(second.state.slots(&id(2)).unwrap()["orders"], id(1));
        drop(second);
        assert_eq!(state.crashed("shop").unwrap().len(), 1);
        // One that comes to an end, also a bad one, ends the chain.
        let third = Begun::new(home.open(), &id(3));
        third.end(Outcome::Failed);
        let _lease = take(&state, &id(4));
        assert_eq!(slot(&state), None);
        let slots = state.slots(&id(3)).unwrap();
        assert_eq!(slots["orders"], id(1), "which a retry takes up");
    });
}

#[test]
fn killed_run_is_gone_on_with_in_its_own_environment() {
    everywhere(|home| {
        let begin = |number, environment| {
            let run = Begun::within(home.open(), &id(number), environment);
            let slots = run.state.slots(&id(number)).unwrap();
            (run, slots["orders"].clone())
        };
        let (killed, slot) = begin(1, Some("dev"));
        assert_eq!(slot, id(1));
        drop(killed);
        let (killed, slot) = begin(2, Some("prod"));
        assert_eq!(slot, id(2), "not that of dev");
        drop(killed);
        let (run, slot) = begin(3, None);
        assert_eq!(slot, id(3));
        run.end(Outcome::Succeeded);
        let (run, slot) = begin(4, Some("dev"));
        assert_eq!(slot, id(1));
        run.end(Outcome::Succeeded);
        let (killed, slot) = begin(5, Some("prod"));
        assert_eq!(slot, id(2));
        drop(killed);
        let (run, slot) = begin(6, Some("dev"));
        assert_eq!(slot, id(6), "it has ended there");
        run.end(Outcome::Failed);
        let (_run, slot) = begin(7, Some("prod"));
        assert_eq!(slot, id(2), "a chain of crashes keeps the first slot");
    });
}

/// A process that is killed between noting its end and leaving has told nobody of it.
#[test]
fn run_with_an_end_and_a_mark_is_gone_on_with() {
    everywhere(|home| {
        let run = Begun::new(home.open(), &id(1));
        run.state
            .end(&id(1), Outcome::Succeeded, 0, moment(9))
            .unwrap();
        drop(run);
        let state = home.open();
        let _lease = take(&state, &id(2));
        assert_eq!(slot(&state), Some(id(1)));
        assert_eq!(state.crashed("shop").unwrap(), []);
        let run = state.run("shop", &id(1)).unwrap();
        assert_eq!(run.outcome.as_deref(), Some("succeeded"));
    });
}

#[test]
fn events_may_say_that_a_crashed_run_had_ended() {
    everywhere(|home| {
        drop(Begun::new(home.open(), &id(1)));
        let state = home.open();
        assert_eq!(state.crashed("shop").unwrap().len(), 1);
        let load = node("load");
        let end = ended(&load, Outcome::Succeeded);
        state.node_ended(&id(1), &end).unwrap();
        state.told(&id(1), Some(Outcome::Failed)).unwrap();
        let run = state.run("shop", &id(1)).unwrap();
        assert_eq!(run.outcome.as_deref(), Some("failed"));
        assert!(state.nodes(&id(1)).unwrap()[0].is_success());
        assert!(state.made("shop").unwrap().contains_key(&load));
    });
}

#[test]
fn nodes_that_are_kept_stand_in_the_new_run() {
    everywhere(|home| {
        let state = home.open();
        Begun::new(Arc::clone(&state), &id(1)).end(Outcome::Failed);
        let kept = NodeRecord {
            outcome: Some("succeeded".to_owned()),
            target_bytes: Some(5),
            target_modified: Some(moment(4)),
            ..state.nodes(&id(1)).unwrap()[0].clone()
        };
        let mut run = new_run(&id(2), &id(1));
        run.nodes = vec![node("clean")];
        run.kept = vec![kept];
        let leases = vec![take(&state, &id(2))];
        let _mark = state.start(&run, &leases).unwrap();
        let nodes = state.nodes(&id(2)).unwrap();
        assert_eq!(nodes[0].node, node("clean"));
        assert_eq!(
            (nodes[1].outcome.as_deref(), nodes[1].target_bytes),
            (Some("kept"), Some(5))
        );
        assert!(nodes[1].is_success());
    });
}

#[test]
fn last_success_of_a_node_is_known_with_what_it_was() {
    everywhere(|home| {
        let state = home.open();
        let made = |state: &Arc<dyn State>| state.made("shop").unwrap();
        assert_eq!(made(&state), BTreeMap::new());
        let run = |number: u32, ends: &[(&str, &str, Outcome)]| {
            let run = Begun::new(home.open(), &id(number));
            for (name, digest, outcome) in ends {
                let name = node(name);
                let digests = BTreeMap::from([(name.clone(), (*digest).to_owned())]);
                run.state.note_digests(&id(number), &digests).unwrap();
                let end = ended(&name, *outcome);
                run.state.node_ended(&id(number), &end).unwrap();
            }
            run.end(Outcome::Succeeded);
        };
        run(
            1,
            &[
                ("load", "1", Outcome::Succeeded),
                ("clean", "1", Outcome::Failed),
            ],
        );
        run(2, &[("load", "2", Outcome::Recovered)]);
        run(3, &[("load", "3", Outcome::Failed)]);
        let found = made(&state);
        let names: Vec<&str> = found.keys().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["load"]);
        let load = &found[&node("load")];
        assert_eq!(load.digest.as_deref(), Some("2"));
        assert_eq!(load.record.outcome.as_deref(), Some("recovered"));
        assert_eq!(state.made("other").unwrap(), BTreeMap::new());
        run(4, &[("load", "5", Outcome::Succeeded)]);
        assert_eq!(made(&state)[&node("load")].digest.as_deref(), Some("5"));
    });
}
