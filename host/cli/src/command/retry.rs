//! `odibi retry` and `odibi run --resume`: an earlier run once more, but only what it left to be done.

use std::path::PathBuf;

use odibi_engine::DataEngine;
use odibi_plan::Plan;
use odibi_plan::plan::{Fate, Narrowed, NodeId, PlannedNode};
use odibi_state::{NodeRecord, RunFilter, RunRecord, State};
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::{Value, json};

use crate::args::{Config, Given, Options, Output, Retry, Selected};
use crate::command::run::{self, Order};
use crate::command::runs;
use crate::printer::Printer;
use crate::project::Glance;
use crate::remembered::Repeated;
use crate::{Surroundings, exit};

/// What of a run is to be done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Again {
    /// All that did not succeed.
    Unsuccessful,
    /// What failed, or was at work when the run was stopped or killed.
    Failed,
    /// What was skipped.
    Skipped,
    /// This node, `node` or `pipeline.node`, whatever became of it.
    From(String),
}

/// A run that is repeated.
pub(crate) struct Repeat {
    pub(crate) run: RunRecord,
    pub(crate) again: Again,
    /// Only say what would be done.
    pub(crate) dry: bool,
}

pub(crate) fn retry(retry: &Retry, around: &Surroundings, printer: &Printer) -> u8 {
    let again = match (&retry.from, retry.failed, retry.skipped) {
        (Some(node), _, _) => Again::From(node.clone()),
        (None, true, _) => Again::Failed,
        (None, false, true) => Again::Skipped,
        (None, false, false) => Again::Unsuccessful,
    };
    let wanted = Wanted::Named(&retry.run);
    let run = match find(&wanted, &retry.named.config(), around, printer) {
        Ok(run) => run,
        Err(code) => return code,
    };
    repeat(
        Repeat {
            run,
            again,
            dry: retry.dry_run,
        },
        &retry.options,
        around,
        printer,
    )
}

/// Goes on with the last run, or with the last one of the environment that is named, if it left something to be done.
pub(crate) fn resume(
    config: &Config,
    options: &Options,
    around: &Surroundings,
    printer: &Printer,
) -> u8 {
    let environment = config.given.env.as_deref();
    let wanted = environment.map_or(Wanted::Named("last"), Wanted::LastIn);
    let run = match find(&wanted, config, around, printer) {
        Ok(run) => run,
        Err(code) => return code,
    };
    if !run.is_unfinished() {
        printer.info(&format!("nothing to resume: run {} succeeded", run.id));
        if printer.output == Output::Json {
            printer.json(&json!({ "run_id": null, "outcome": null, "exit_code": exit::DONE, "resumed": run.id }));
        }
        return exit::DONE;
    }
    repeat(
        Repeat {
            run,
            again: Again::Unsuccessful,
            dry: false,
        },
        options,
        around,
        printer,
    )
}

/// Which run.
enum Wanted<'a> {
    /// Of this name: an id, the beginning of one, or `last`.
    Named(&'a str),
    /// The last one of this environment.
    LastIn(&'a str),
}

/// The run as this machine can repeat it.
fn find(
    wanted: &Wanted<'_>,
    config: &Config,
    around: &Surroundings,
    printer: &Printer,
) -> Result<RunRecord, u8> {
    let (glance, state) = runs::open(config, around, printer)?;
    let state = state.as_deref();
    let found = match wanted {
        Wanted::Named(name) => runs::find(name, &glance, state),
        Wanted::LastIn(environment) => last_in(environment, &glance, state),
    };
    let mut run = found.map_err(|failure| {
        printer.failure(&failure);
        exit::USAGE
    })?;
    if glance.state.is_shared() {
        // Where the project lay for that run, it may have been another machine.
        run.config_path = glance.path.display().to_string();
    }
    Ok(run)
}

fn last_in(
    environment: &str,
    glance: &Glance,
    state: Option<&dyn State>,
) -> Result<RunRecord, Failure> {
    let newest = |count_max| {
        let filter = RunFilter {
            project: Some(&glance.project),
            count_max,
            ..RunFilter::default()
        };
        let runs = state.map_or(Ok(Vec::new()), |state| state.runs(&filter))?;
        let mut runs = runs.into_iter();
        Ok(runs.find(|run| run.selection.environment.as_deref() == Some(environment)))
    };
    // It is most often among the newest, and each may be a document of its own on an object store.
    let found = match newest(Some(20))? {
        Some(run) => Some(run),
        None => newest(None)?,
    };
    found.ok_or_else(|| {
        let message = format!(
            "project `{}`, environment `{environment}`: no run yet",
            glance.project
        );
        Failure::new(FailureClass::Missing, code::STATE_NO_RUN, message)
    })
}

fn repeat(repeat: Repeat, options: &Options, around: &Surroundings, printer: &Printer) -> u8 {
    let selection = &repeat.run.selection;
    let selected = Selected {
        config: Config {
            config: Some(PathBuf::from(&repeat.run.config_path)),
            given: Given {
                // Nothing is not the same as what the environment selects today.
                env: Some(selection.environment.clone().unwrap_or_default()),
                as_of: Some(repeat.run.logical_time),
            },
        },
        pipeline: selection.pipelines.clone(),
        node: selection.nodes.clone(),
        tag: selection.tags.clone(),
        select: selection.select.clone(),
        exclude: selection.exclude.clone(),
    };
    let order = Order {
        selected: &selected,
        options,
        repeat: Some(&repeat),
    };
    run::ordered(&order, around, printer)
}

/// The nodes of a plan that are run again, and how the next run remembers the others. The leases are held.
pub(crate) fn narrow(
    repeat: &Repeat,
    plan: &mut Plan,
    state: &dyn State,
    engine: &DataEngine,
    printer: &Printer,
) -> Result<Repeated, Failure> {
    let run = &repeat.run;
    let known = state.nodes(&run.id)?;
    if plan.config_digest != run.config_digest {
        printer.info("the configuration has changed since that run: the new one counts");
    }
    let narrowed = chosen(&repeat.again, plan, &known, &|node, record| {
        is_untouched(node, record, engine)
    });
    say(
        repeat,
        plan,
        &narrowed.fates,
        &|node| record_of(&known, node).and_then(|r| r.outcome.clone()),
        printer,
    );
    let kept = kept(plan, &narrowed.fates, &known);
    *plan = narrowed.plan;
    Ok(Repeated {
        run_id: run.id.clone(),
        slots: state.slots(&run.id)?,
        kept,
    })
}

/// What is run again of a plan after a run that left these records.
fn chosen(
    again: &Again,
    plan: &Plan,
    known: &[NodeRecord],
    is_untouched: &dyn Fn(&PlannedNode, &NodeRecord) -> bool,
) -> Narrowed {
    let asked = |node: &PlannedNode| {
        let record = record_of(known, node);
        let outcome = record.and_then(|r| r.outcome.as_deref());
        match again {
            Again::Unsuccessful => !record.is_some_and(NodeRecord::is_success),
            Again::Failed => matches!(outcome, None | Some("failed" | "cancelled")),
            Again::Skipped => outcome == Some("skipped"),
            Again::From(name) => is_named(node, name),
        }
    };
    let stands = |node: &PlannedNode| {
        record_of(known, node).is_some_and(|r| r.is_success() && is_untouched(node, r))
    };
    plan.narrowed(&asked, &stands)
}

/// How the next run remembers the nodes that it does not run.
fn kept(plan: &Plan, fates: &[Fate], known: &[NodeRecord]) -> Vec<NodeRecord> {
    let kept = plan.nodes.iter().zip(fates);
    let kept = kept.filter(|(_, fate)| !fate.is_again());
    kept.filter_map(|(node, _)| record_of(known, node).cloned())
        .collect()
}

fn record_of<'a>(known: &'a [NodeRecord], node: &PlannedNode) -> Option<&'a NodeRecord> {
    known
        .iter()
        .find(|r| r.node.pipeline == node.pipeline && r.node.name == node.name)
}

/// True when the target of a node is the file that it wrote. What cannot be looked at is taken for changed.
pub(crate) fn is_untouched(node: &PlannedNode, record: &NodeRecord, engine: &DataEngine) -> bool {
    let Some(write) = &node.write else {
        return true;
    };
    let found = engine
        .fact_of(&write.connection, &write.path)
        .ok()
        .flatten();
    found.is_some_and(|file| {
        Some(file.bytes) == record.target_bytes && file.modified == record.target_modified
    })
}

/// `node` or `pipeline.node`.
fn is_named(node: &PlannedNode, name: &str) -> bool {
    node.name == name
        || name
            .split_once('.')
            .is_some_and(|(pipeline, name)| node.pipeline == pipeline && node.name == name)
}

fn say(
    repeat: &Repeat,
    plan: &Plan,
    fates: &[Fate],
    outcome: &dyn Fn(&PlannedNode) -> Option<String>,
    printer: &Printer,
) {
    let name = |node: &PlannedNode| format!("{}.{}", node.pipeline, node.name);
    let named = |id: NodeId| name(&plan.nodes[id.0]);
    let told = |node: &PlannedNode, fate: Fate| match fate {
        Fate::Asked => {
            let was = outcome(node).unwrap_or_else(|| "it did not come to its end".to_owned());
            ("run", was)
        }
        Fate::Follows(id) => ("run", format!("it depends on {}", named(id))),
        Fate::Feeds(id) => (
            "run",
            format!("{} needs its output, which nobody has kept", named(id)),
        ),
        Fate::Read => ("read", "what it wrote is read".to_owned()),
        Fate::Kept => (
            "kept",
            outcome(node).unwrap_or_else(|| "not asked for".to_owned()),
        ),
    };
    let all = plan
        .nodes
        .iter()
        .zip(fates)
        .map(|(node, fate)| (name(node), told(node, *fate)));
    if repeat.dry && printer.output == Output::Json {
        let nodes: Vec<Value> = all
            .map(|(node, (action, why))| json!({ "node": node, "action": action, "why": why }))
            .collect();
        printer.json(&json!({ "retries": repeat.run.id, "nodes": nodes }));
        return;
    }
    let mut text = format!("run {} once more:\n", repeat.run.id);
    for (node, (action, why)) in all {
        text.push_str(&format!("  {action:4}  {node}: {why}\n"));
    }
    if repeat.dry {
        printer.result(&text)
    } else {
        printer.info(&text)
    }
}

#[cfg(test)]
mod tests;
