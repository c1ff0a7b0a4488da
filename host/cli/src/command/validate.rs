//! `odibi validate`: every fault of a project. Of data it looks only at what tells the columns.

use serde_json::json;

use super::connections;
use crate::args::{Output, Selected, Validate};
use crate::printer::Printer;
use crate::{Surroundings, exit, forecast, project};

pub(crate) fn validate(validate: &Validate, around: &Surroundings, printer: &Printer) -> u8 {
    let everything = Selected {
        config: validate.config.clone(),
        ..Selected::default()
    };
    let mut loaded = match project::load(&everything, around, printer) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    forecast::forecast(&mut loaded, validate.connect, printer);
    loaded.print_diagnostics(printer);
    let valid = !loaded.has_errors();
    let tried = if validate.connect {
        connections::try_all(&loaded)
    } else {
        Vec::new()
    };
    match printer.output {
        Output::Json => {
            let mut said = json!({ "valid": valid, "diagnostics": loaded.diagnostics_json() });
            if validate.connect {
                said["connections"] = connections::as_json(&tried);
            }
            printer.json(&said);
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
    if printer.output == Output::Text && validate.connect {
        connections::print(&tried, printer);
    }
    if valid {
        connections::code(&tried)
    } else {
        exit::PROJECT_INVALID
    }
}
