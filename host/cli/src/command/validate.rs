//! `odibi validate`: every fault of a project. Of data it looks only at what tells the columns.

use serde_json::json;

use crate::args::{Config, Output, Selected};
use crate::printer::Printer;
use crate::{Surroundings, exit, forecast, project};

pub(crate) fn validate(config: &Config, around: &Surroundings, printer: &Printer) -> u8 {
    let everything = Selected {
        config: config.clone(),
        ..Selected::default()
    };
    let mut loaded = match project::load(&everything, around, printer) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    forecast::forecast(&mut loaded, printer);
    loaded.print_diagnostics(printer);
    let valid = !loaded.has_errors();
    match printer.output {
        Output::Json => {
            printer.json(&json!({ "valid": valid, "diagnostics": loaded.diagnostics_json() }))
        }
        Output::Text if valid => {
            let (pipelines, nodes) = (loaded.plan.pipelines.len(), loaded.plan.nodes.len());
            let s = |n: usize| if n == 1 { "" } else { "s" };
            printer.result(&format!(
                "`{}` is valid: {pipelines} pipeline{}, {nodes} node{}\n",
                loaded.plan.project,
                s(pipelines),
                s(nodes)
            ));
        }
        Output::Text => {}
    }
    if valid {
        exit::DONE
    } else {
        exit::PROJECT_INVALID
    }
}
