//! Asks the steps of a plan what they would make of their columns; what they refuse becomes a diagnostic.

use std::sync::Arc;

use odibi_delta::DeltaDriver;
use odibi_engine::driver::Driver;
use odibi_plan::diagnostic::{Refusal, refused, sort, unknown_sensitive, untold_key};
use odibi_plan::plan::{ConnectionKind, PlannedNode, Read};
use odibi_plan::{Diagnostic, Sources};
use odibi_run::Forecast;
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::render::plain;
use odibi_story::withhold::REDACTED;

use crate::printer::Printer;
use crate::project::Loaded;

/// A guest's stack is limited to 512 KiB; the host's frames around it need room as well.
const THREAD_STACK_BYTES: usize = 4 * 1024 * 1024;
/// Text files up to this size are read to learn their columns.
const SCAN_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// One forecast for each node of the plan; none when the project is faulty already, or nobody could be asked. Adds what
/// is refused to the diagnostics. With `connect`, files of other machines are looked into as well.
pub(crate) fn forecast(loaded: &mut Loaded, connect: bool, printer: &Printer) -> Vec<Forecast> {
    if loaded.has_errors() {
        return Vec::new();
    }
    let mut forecasts = match on_thread(loaded, connect) {
        Ok(forecasts) => forecasts,
        Err(error) => {
            printer.warning(&format!("no step was asked for its columns: {error}"));
            return Vec::new();
        }
    };
    for (node, forecast) in loaded.plan.nodes.iter().zip(&forecasts) {
        if let Some(failure) = &forecast.failure {
            let made = diagnostic(&loaded.sources, node, failure);
            loaded.diagnostics.push(made);
        }
        for column in &forecast.missing {
            let columns = (forecast.steps.iter().rev().flatten().flatten())
                .chain(forecast.output.iter().flatten());
            let names: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
            let made = unknown_sensitive(node, column, names);
            loaded.diagnostics.push(made);
        }
        if let (Some(write), Some(schema)) = (&node.write, &forecast.schema)
            && let Some(column) = odibi_engine::untold_key(write, schema)
        {
            loaded.diagnostics.push(untold_key(node, column));
        }
        for note in &forecast.notes {
            let place = format!("{}.{}", node.pipeline, node.name);
            printer.debug(&format!("note: {place}: {}", plain(note)));
        }
    }
    sort(&mut loaded.diagnostics);
    forecasts.iter_mut().for_each(hide);
    forecasts
}

/// Columns that are named after values of sensitive columns are not told by name.
fn hide(forecast: &mut Forecast) {
    let Some(shades) = &forecast.shades else {
        return;
    };
    let columns = forecast.steps.iter_mut().flatten();
    for column in columns.chain(&mut forecast.output).flatten() {
        if shades.of(&column.name).named_by_value {
            REDACTED.clone_into(&mut column.name);
        }
    }
}

fn on_thread(loaded: &Loaded, connect: bool) -> std::io::Result<Vec<Forecast>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()?;
    // Without being asked to, nothing is fetched from another machine.
    let is_near = |read: &Read| matches!(read.connection.kind, ConnectionKind::Local { .. });
    let drivers: [Arc<dyn Driver>; 1] = [Arc::new(DeltaDriver)];
    let schema_of = |read: &Read| {
        if connect || is_near(read) {
            odibi_engine::schema_of(read, &loaded.directory, SCAN_BYTES_MAX, &drivers)
        } else {
            Ok(None)
        }
    };
    let ask = || {
        let asked = odibi_run::forecast(&loaded.plan, loaded.sandbox.as_ref(), &schema_of);
        runtime.block_on(asked)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("odibi-forecast".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, ask)?;
        thread
            .join()
            .map_err(|_| std::io::Error::other("a plugin's host panicked"))
    })
}

fn diagnostic(sources: &Sources, node: &PlannedNode, failure: &Failure) -> Diagnostic {
    let message = match failure.causes.as_slice() {
        // What a plugin says is whole; its code tells people nothing more.
        causes if causes.is_empty() || failure.class == FailureClass::Guest => {
            plain(&failure.message)
        }
        causes => plain(&format!("{}: {}", failure.message, causes.join(": "))),
    };
    let hints: Vec<String> = failure.hints.iter().map(|hint| plain(hint)).collect();
    let refusal = Refusal {
        step: failure.step.unwrap_or_default(),
        message: &message,
        param: failure.param.as_deref(),
        text: failure.span.map(|span| span.start..span.end),
        hints: &hints,
    };
    refused(sources, node, &refusal)
}
