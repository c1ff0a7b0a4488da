//! `odibi secrets check`: asks vaults for every secret of a project, and prints their names.

use odibi_plan::Severity;
use odibi_plan::diagnostic::{Sources, render};
use serde_json::json;

use crate::args::{Config, Output};
use crate::printer::Printer;
use crate::source::Source;
use crate::{Surroundings, exit, secrets};

pub(crate) fn check(config: &Config, around: &Surroundings, printer: &Printer) -> u8 {
    let source = match Source::open(config, around, printer) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let mut sources = Sources::default();
    let (project, found) = source.load(&mut sources);
    secrets::learn(&project, &source, printer);
    let invalid = found.iter().any(|d| d.severity == Severity::Error);
    if printer.output == Output::Text {
        for diagnostic in &found {
            let text = render(diagnostic, &sources, printer.colour_stderr());
            printer.problem(&format!("{}\n\n", text.trim_end()));
        }
    }
    let asked = match secrets::ask(&project, &source, around, printer) {
        Ok(asked) => asked,
        Err(code) => return code,
    };
    match printer.output {
        Output::Json => printer.json(&json!({
            "valid": !invalid,
            "secrets": secrets::as_json(&asked, &sources),
        })),
        Output::Text if asked.is_empty() => {
            printer.result("the project names no secret of a vault\n");
        }
        Output::Text => secrets::print(&asked, printer),
    }
    if invalid {
        exit::PROJECT_INVALID
    } else {
        secrets::code(&asked)
    }
}
