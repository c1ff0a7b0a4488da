//! `odibi runs`: which runs there were, and what became of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use odibi_state::{NodeRecord, RunFilter, RunRecord, State};
use odibi_story::event::Event;
use odibi_story::failure::{Failure, FailureClass, code};
use odibi_story::render;
use odibi_story::story::compare::{Comparison, compare};
use odibi_story::story::{Fold, Story};
use serde_json::{Value, json};

use crate::args::{Config, Given, Named, Output, Runs, RunsCommand, RunsDiff, RunsList, RunsShow};
use crate::printer::Printer;
use crate::project::{self, Glance};
use crate::recovery::read_log;
use crate::{Surroundings, exit};

pub(crate) fn runs(runs: &Runs, around: &Surroundings, printer: &Printer) -> u8 {
    let config = match &runs.command {
        RunsCommand::List(list) => list.named.config(),
        RunsCommand::Show(show) => show.named.config(),
        RunsCommand::Diff(diff) => diff.named.config(),
    };
    let (glance, state) = match open(&config, around, printer) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let done = match &runs.command {
        RunsCommand::List(list) => self::list(list, &glance, state.as_deref(), printer),
        RunsCommand::Show(show) => self::show(show, &glance, state.as_deref(), printer),
        RunsCommand::Diff(diff) => self::diff(diff, &glance, state.as_deref(), printer),
    };
    match done {
        Ok(()) => exit::DONE,
        Err(failure) => {
            printer.failure(&failure);
            if failure.code == code::STATE_NO_RUN.name {
                exit::USAGE
            } else {
                exit::NOT_STARTED
            }
        }
    }
}

impl Named {
    /// As other commands are given it.
    pub(crate) fn config(&self) -> Config {
        Config {
            config: self.config.clone(),
            given: Given {
                env: self.env.clone(),
                as_of: None,
            },
        }
    }
}

/// The project that a path names, and what is remembered of it, if anything is.
pub(crate) fn open(
    config: &Config,
    around: &Surroundings,
    printer: &Printer,
) -> Result<(Glance, Option<Arc<dyn State>>), u8> {
    let glance = project::glance(config, around, printer)?;
    let opened = glance.state.open_existing().and_then(|state| {
        if let Some(state) = &state {
            // Whoever looks shall not see a run at work that was killed.
            state.crashed(&glance.project)?;
        }
        Ok(state)
    });
    match opened {
        Ok(state) => Ok((glance, state)),
        Err(failure) => {
            printer.failure(&failure);
            Err(exit::NOT_STARTED)
        }
    }
}

/// The run of a name; also when there is no state yet.
pub(crate) fn find(
    name: &str,
    glance: &Glance,
    state: Option<&dyn State>,
) -> Result<RunRecord, Failure> {
    match state {
        Some(state) => state.run(&glance.project, name),
        None => {
            let message = format!("project `{}` has no run yet", glance.project);
            Err(Failure::new(
                FailureClass::Missing,
                code::STATE_NO_RUN,
                message,
            ))
        }
    }
}

fn list(
    list: &RunsList,
    glance: &Glance,
    state: Option<&dyn State>,
    printer: &Printer,
) -> Result<(), Failure> {
    let filter = RunFilter {
        project: Some(&glance.project),
        pipeline: list.pipeline.as_deref(),
        failed: list.failed,
        count_max: Some(list.limit),
    };
    let runs = state.map_or(Ok(Vec::new()), |state| state.runs(&filter))?;
    if printer.output == Output::Json {
        printer.json(&Value::Array(runs.iter().map(run_json).collect()));
        return Ok(());
    }
    if runs.is_empty() {
        printer.info("no runs");
    }
    for run in &runs {
        printer.result(&format!("{}\n", line(run)));
    }
    Ok(())
}

/// `0190…  2026-11-26 16:00:00 UTC  failed     1.24 s  orders, prices`
fn line(run: &RunRecord) -> String {
    let took = run
        .ended_at
        .map_or_else(String::new, |end| render::duration(took_ms(run, end)));
    let continues = run
        .continues
        .as_ref()
        .map_or_else(String::new, |id| format!("  (continues {id})"));
    format!(
        "{}  {}  {:9}  {took:>9}  {}{continues}",
        run.id,
        run.started_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        outcome(run),
        render::plain(&run.pipelines.join(", ")),
    )
    .trim_end()
    .to_owned()
}

fn outcome(run: &RunRecord) -> &str {
    run.outcome.as_deref().unwrap_or("running")
}

fn took_ms(run: &RunRecord, end: jiff::Timestamp) -> u64 {
    let ms = end
        .as_millisecond()
        .saturating_sub(run.started_at.as_millisecond());
    u64::try_from(ms).unwrap_or(0)
}

fn show(
    show: &RunsShow,
    glance: &Glance,
    state: Option<&dyn State>,
    printer: &Printer,
) -> Result<(), Failure> {
    let run = find(&show.run, glance, state)?;
    let Some(state) = state else { return Ok(()) };
    let nodes = state.nodes(&run.id)?;
    let log = state.events_shown(&run.id);
    let stories = stories(state, &run.id, printer);
    if printer.output == Output::Json {
        let mut shown = run_json(&run);
        shown["nodes"] = nodes.iter().map(node_json).collect();
        shown["events"] = log.into();
        let story =
            |s: &Story| serde_json::from_str(&render::json::render(s)).unwrap_or(Value::Null);
        shown["stories"] = stories.iter().map(story).collect();
        printer.json(&shown);
        return Ok(());
    }
    let mut text = format!("run {}: {}\n", run.id, outcome(&run));
    let mut fact =
        |name: &str, value: &str| text.push_str(&format!("  {name:9} {}\n", render::plain(value)));
    let instant = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    fact("project", &format!("{} ({})", run.project, run.config_path));
    fact("started", &instant(run.started_at));
    if let Some(at) = run.ended_at {
        fact("ended", &instant(at));
    }
    if let Some(code) = run.exit_code {
        fact("exit code", &code.to_string());
    }
    if let Some(before) = &run.continues {
        fact("continues", before);
    }
    if run.outcome.is_none() {
        fact("process", &run.pid.to_string());
    }
    let kept: Vec<String> = nodes
        .iter()
        .filter(|node| node.outcome.as_deref() == Some("kept"))
        .map(|node| node.node.to_string())
        .collect();
    if !kept.is_empty() {
        fact("kept", &kept.join(", "));
    }
    fact("events", &log);
    printer.result(&text);
    for story in &stories {
        printer.result(&render::terminal::render(story, printer.colour_stdout));
    }
    Ok(())
}

/// Compares each pipeline that both runs had.
fn diff(
    diff: &RunsDiff,
    glance: &Glance,
    state: Option<&dyn State>,
    printer: &Printer,
) -> Result<(), Failure> {
    let (before, after) = (
        find(&diff.before, glance, state)?,
        find(&diff.after, glance, state)?,
    );
    let Some(state) = state else { return Ok(()) };
    let told = |run: &RunRecord| -> Result<BTreeMap<String, Story>, Failure> {
        let events = events(state, &run.id).map_err(|cause| {
            let (id, log) = (&run.id, state.events_shown(&run.id));
            let what = format!("the event log of run {id} cannot be read: {log}");
            Failure::new(FailureClass::Missing, "story/unreadable", what).cause(cause)
        })?;
        let stories = folded(&events).into_iter();
        Ok(stories
            .map(|story| (story.pipeline.clone(), story))
            .collect())
    };
    let (old, mut new) = (told(&before)?, told(&after)?);
    let mut only_before = Vec::new();
    let mut both = Vec::new();
    for (pipeline, was) in old {
        match new.remove(&pipeline) {
            Some(is) => both.push((pipeline, compare(&was, &is))),
            None => only_before.push(pipeline),
        }
    }
    let only_after: Vec<String> = new.into_keys().collect();
    if printer.output == Output::Json {
        let compared = |(pipeline, comparison): &(String, Comparison)| json!({ "pipeline": pipeline, "comparison": comparison });
        printer.json(&json!({
            "before": run_json(&before),
            "after": run_json(&after),
            "pipelines": both.iter().map(compared).collect::<Vec<_>>(),
            "only_before": only_before,
            "only_after": only_after,
        }));
        return Ok(());
    }
    for (pipeline, comparison) in &both {
        let text = render::markdown::comparison(comparison);
        printer.result(&format!("pipeline {}\n\n{text}\n", render::plain(pipeline)));
    }
    for (names, which) in [(only_before, "earlier"), (only_after, "later")] {
        for name in names {
            let name = render::plain(&name);
            printer.result(&format!("pipeline {name}: only in the {which} run\n"));
        }
    }
    Ok(())
}

fn folded(events: &[Event]) -> Vec<Story> {
    let mut fold = Fold::default();
    events.iter().for_each(|event| fold.push(event));
    let pipelines = fold.pipelines().into_iter();
    pipelines.filter_map(|name| fold.story(name)).collect()
}

/// As far as the events tell. Without them, what is noted of the nodes has to do.
fn stories(state: &dyn State, run_id: &str, printer: &Printer) -> Vec<Story> {
    match events(state, run_id) {
        Ok(events) => folded(&events),
        Err(cause) => {
            let log = state.events_shown(run_id);
            printer.warning(&format!("the event log cannot be read: {log}: {cause}"));
            Vec::new()
        }
    }
}

/// What a run said; or why that cannot be read.
fn events(state: &dyn State, run_id: &str) -> Result<Vec<Event>, String> {
    let bytes = match state.events(run_id) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err("it is not there".to_owned()),
        Err(failure) => {
            let causes = failure.causes.into_iter();
            return Err(causes.fold(failure.message, |all, cause| format!("{all}: {cause}")));
        }
    };
    read_log(&bytes).map_err(|error| error.to_string())
}

fn run_json(run: &RunRecord) -> Value {
    json!({
        "run_id": run.id,
        "project": run.project,
        "config": run.config_path,
        "pipelines": run.pipelines,
        "outcome": outcome(run),
        "exit_code": run.exit_code,
        "started_at": run.started_at.to_string(),
        "ended_at": run.ended_at.map(|at| at.to_string()),
        "logical_time": run.logical_time.to_string(),
        "continues": run.continues,
        "odibi_version": run.odibi_version,
        "process": run.pid,
    })
}

fn node_json(node: &NodeRecord) -> Value {
    json!({
        "pipeline": node.node.pipeline,
        "node": node.node.name,
        "outcome": node.outcome,
        "attempts": node.attempts,
        "duration_ms": node.duration_ms,
        "rows_written": node.rows_written,
        "failure": node.failure_code,
    })
}
