//! `odibi validate`: every fault of a project. Of data it looks only at what tells the columns.

use serde_json::json;

use super::connections;
use crate::args::{Output, Selected, Validate};
use crate::printer::Printer;
use crate::project::{self, Purpose};
use crate::{Surroundings, exit, forecast, secrets};

pub(crate) fn validate(validate: &Validate, around: &Surroundings, printer: &Printer) -> u8 {
    let everything = Selected {
        config: validate.config.clone(),
        ..Selected::default()
    };
    let purpose = if validate.connect {
        Purpose::Connect
    } else {
        Purpose::Look
    };
    let mut loaded = match project::load_for(&everything, purpose, around, printer) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let known = secrets::code(&loaded.vaults) == exit::DONE;
    forecast::forecast(&mut loaded, validate.connect && known, printer);
    loaded.print_diagnostics(printer);
    let valid = !loaded.has_errors();
    // Without its secrets, what a connection answers says nothing.
    let tried = if validate.connect && known {
        connections::try_all(&loaded)
    } else {
        Vec::new()
    };
    match printer.output {
        Output::Json => {
            let mut said = json!({ "valid": valid, "diagnostics": loaded.diagnostics_json() });
            if validate.connect {
                said["connections"] = connections::as_json(&tried);
                said["secrets"] = secrets::as_json(&loaded.vaults, &loaded.sources);
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
        secrets::print(&loaded.vaults, printer);
        connections::print(&tried, printer);
    }
    if valid && !known {
        exit::NOT_STARTED
    } else if valid {
        connections::code(&tried)
    } else {
        exit::PROJECT_INVALID
    }
}
