//! `odibi plan`: what a run would do, in order, and the columns that come of it. Of data it looks only at what tells the
//! columns.

use std::fmt::Write as _;

use odibi_plan::plan::{InputSource, OnRowError, PlannedNode, Step};
use odibi_plan::{GuestLimits, Plan};
use odibi_run::Forecast;
use odibi_story::event::Column;
use odibi_story::render::plain;
use serde_json::{Value, json};

use crate::args::{Output, Selected};
use crate::chosen::{self, Told};
use crate::printer::Printer;
use crate::{Surroundings, exit, forecast, project};

/// Columns that are shown of a node, unless asked for more.
const COLUMNS_SHOWN: usize = 40;
/// Characters of a query that are shown, unless asked for more.
const SQL_SHOWN_CHARS: usize = 120;

pub(crate) fn plan(selected: &Selected, around: &Surroundings, printer: &Printer) -> u8 {
    let mut loaded = match project::load(selected, around, printer) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let told = if loaded.has_errors() {
        Vec::new()
    } else {
        match chosen::foresee(&mut loaded) {
            Ok(told) => told,
            Err(failure) => {
                printer.failure(&failure);
                return exit::NOT_STARTED;
            }
        }
    };
    let forecasts = forecast::forecast(&mut loaded, false, printer);
    loaded.print_diagnostics(printer);
    if loaded.has_errors() {
        if printer.output == Output::Json {
            printer.json(&json!({ "valid": false, "diagnostics": loaded.diagnostics_json() }));
        }
        return exit::PROJECT_INVALID;
    }
    if loaded.plan.nodes.is_empty() {
        printer.error("the selection holds no node");
        return exit::NOTHING_SELECTED;
    }
    match printer.output {
        Output::Json => printer.json(&json!({
            "project": loaded.plan.project,
            "selection": told.iter().map(told_json).collect::<Vec<_>>(),
            "nodes": loaded.plan.nodes.iter().map(|n| node_json(&loaded.plan, n, forecasts.get(n.id.0))).collect::<Vec<_>>(),
        })),
        Output::Text => {
            for told in &told {
                printer.result(&format!("{told}\n"));
            }
            printer.result(&text(&loaded.plan, &forecasts, printer.verbose > 0));
        }
    }
    exit::DONE
}

fn told_json(told: &Told) -> Value {
    json!({ "node": told.node.to_string(), "action": told.action, "why": told.why })
}

fn text(plan: &Plan, forecasts: &[Forecast], verbose: bool) -> String {
    let mut text = String::new();
    for pipeline in &plan.pipelines {
        let _ = writeln!(text, "pipeline {}", pipeline.name);
        for id in &pipeline.nodes {
            let node = &plan.nodes[id.0];
            let _ = writeln!(text, "  {}", node.name);
            for input in &node.inputs {
                let _ = writeln!(
                    text,
                    "    reads   {} = {}",
                    input.name,
                    source(plan, &input.source)
                );
            }
            let only_waits: Vec<String> = node
                .depends_on
                .iter()
                .filter(|d| {
                    !node
                        .inputs
                        .iter()
                        .any(|i| i.source == InputSource::Node(**d))
                })
                .map(|d| node_name(plan, node, d.0))
                .collect();
            if !only_waits.is_empty() {
                let _ = writeln!(text, "    after   {}", only_waits.join(", "));
            }
            let forecast = forecasts.get(id.0);
            for (index, step) in node.steps.iter().enumerate() {
                let _ = writeln!(text, "    step    {}", step_text(step, verbose));
                let granted = plan.grants(&step.operation).words();
                if !granted.is_empty() {
                    let _ = writeln!(
                        text,
                        "    grants  {}, so the result may differ each time",
                        granted.join(", ")
                    );
                }
                let limits = limits(&step.limits);
                if verbose && !limits.is_empty() {
                    let _ = writeln!(text, "    limits  {limits}");
                }
                let known = forecast.and_then(|f| f.steps.get(index)?.as_deref());
                if let (true, Some(columns)) = (verbose, known) {
                    let _ = writeln!(text, "    gives   {}", columns_text(columns, verbose));
                }
            }
            let columns = match forecast.and_then(|f| f.output.as_deref()) {
                Some(columns) => columns_text(columns, verbose),
                None => "not known yet".to_owned(),
            };
            let _ = writeln!(text, "    columns {columns}");
            if let Some(write) = &node.write {
                let _ = writeln!(
                    text,
                    "    writes  {}:{} ({}, {})",
                    write.connection.name,
                    write.path,
                    write.format.name(),
                    write.mode.word()
                );
            }
            if let OnRowError::Quarantine(quarantine) = &node.on_row_error {
                let _ = writeln!(
                    text,
                    "    rejects {}:{} ({}, a file for each run)",
                    quarantine.connection.name,
                    quarantine.path,
                    quarantine.format.name()
                );
            }
        }
    }
    text
}

/// An operation and its params; SQL in one line.
fn step_text(step: &Step, verbose: bool) -> String {
    let params = &step.params.value;
    let sql = match (
        step.operation.plugin.as_deref(),
        &*step.operation.name,
        params.get("sql"),
    ) {
        (None, "sql", Some(Value::String(sql))) => sql,
        _ => return format!("{} {params}", step.operation),
    };
    let line = plain(&sql.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(SQL_SHOWN_CHARS) {
        Some((end, _)) if !verbose => format!("sql {}…", &line[..end]),
        Some(_) | None => format!("sql {line}"),
    }
}

fn columns_text(columns: &[Column], verbose: bool) -> String {
    let shown = if verbose {
        columns.len()
    } else {
        COLUMNS_SHOWN
    };
    let one = |column: &Column| plain(&format!("{} {}", column.name, column.data_type));
    let mut text = columns
        .iter()
        .take(shown)
        .map(one)
        .collect::<Vec<_>>()
        .join(", ");
    if columns.is_empty() {
        text.push_str("none");
    }
    if columns.len() > shown {
        let _ = write!(text, ", … and {} more", columns.len() - shown);
    }
    text
}

fn columns_json(columns: &[Column]) -> Value {
    let one = |c: &Column| json!({ "name": c.name, "type": c.data_type, "nullable": c.nullable });
    columns.iter().map(one).collect()
}

fn node_name(plan: &Plan, from: &PlannedNode, id: usize) -> String {
    let node = &plan.nodes[id];
    if node.pipeline == from.pipeline {
        node.name.clone()
    } else {
        format!("{}.{}", node.pipeline, node.name)
    }
}

fn source(plan: &Plan, source: &InputSource) -> String {
    match source {
        InputSource::Read(read) => format!(
            "{}:{} ({})",
            read.connection.name,
            read.path,
            read.format.name()
        ),
        InputSource::Node(id) => format!(
            "node {}.{}",
            plan.nodes[id.0].pipeline, plan.nodes[id.0].name
        ),
    }
}

fn node_json(plan: &Plan, node: &PlannedNode, forecast: Option<&Forecast>) -> Value {
    let behind = |index: usize| forecast.and_then(|f| f.steps.get(index)?.as_deref());
    let steps = node.steps.iter().enumerate();
    json!({
        "pipeline": node.pipeline,
        "name": node.name,
        "depends_on": node.depends_on.iter().map(|d| format!("{}.{}", plan.nodes[d.0].pipeline, plan.nodes[d.0].name)).collect::<Vec<_>>(),
        "inputs": node.inputs.iter().map(|i| json!({ "name": i.name, "from": source(plan, &i.source) })).collect::<Vec<_>>(),
        "steps": steps.map(|(i, s)| step_json(plan, s, behind(i))).collect::<Vec<_>>(),
        "columns": forecast.and_then(|f| f.output.as_deref()).map(columns_json),
        "writes": node.write.as_ref().map(|w| json!({ "connection": w.connection.name, "path": w.path, "format": w.format.name(), "mode": "overwrite" })),
        "rejects": rejects_json(&node.on_row_error),
    })
}

fn step_json(plan: &Plan, step: &Step, columns: Option<&[Column]>) -> Value {
    json!({
        "operation": step.operation.to_string(),
        "params": step.params.value,
        "grants": plan.grants(&step.operation).words(),
        "limits": limits_json(&step.limits),
        "columns": columns.map(columns_json),
    })
}

/// Those that differ from their defaults, as YAML has them.
fn limits(limits: &GuestLimits) -> String {
    let changed = limits.changed().map(|(limit, value)| {
        let spec = limit.spec();
        format!("{}: {}", spec.key, spec.unit.written(value))
    });
    changed.collect::<Vec<_>>().join(", ")
}

/// Those that differ from their defaults, as numbers in the units of `odibi list limits`.
fn limits_json(limits: &GuestLimits) -> Value {
    let changed = limits.changed();
    let changed = changed.map(|(limit, value)| (limit.spec().key.to_owned(), json!(value)));
    Value::Object(changed.collect())
}

fn rejects_json(on_row_error: &OnRowError) -> Option<Value> {
    match on_row_error {
        OnRowError::Fail => None,
        OnRowError::Quarantine(q) => Some(
            json!({ "connection": q.connection.name, "path": q.path, "format": q.format.name() }),
        ),
    }
}
