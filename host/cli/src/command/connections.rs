//! `odibi doctor` and `odibi validate --connect`: each connection of a project, tried; one line for each.

use odibi_engine::probe;
use odibi_plan::plan::{Connection, OnRowError, Plan};
use odibi_story::failure::Failure;
use odibi_story::render::plain;
use serde_json::{Value, json};

use crate::args::{Config, Output, Selected};
use crate::printer::Printer;
use crate::project::{self, Loaded, Purpose};
use crate::{Surroundings, exit, secrets};

/// One connection, and what the try has shown.
pub(crate) struct Tried {
    connection: Connection,
    result: Result<String, Failure>,
}

/// Tries every connection of the project.
pub(crate) fn doctor(config: &Config, around: &Surroundings, printer: &Printer) -> u8 {
    let everything = Selected {
        config: config.clone(),
        ..Selected::default()
    };
    let loaded = match project::load_for(&everything, Purpose::Connect, around, printer) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    loaded.print_diagnostics(printer);
    let known = secrets::code(&loaded.vaults) == exit::DONE;
    let tried = if known { try_all(&loaded) } else { Vec::new() };
    match printer.output {
        Output::Json => printer.json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "valid": !loaded.has_errors(),
            "connections": as_json(&tried),
            "secrets": secrets::as_json(&loaded.vaults, &loaded.sources),
        })),
        Output::Text => {
            secrets::print(&loaded.vaults, printer);
            print(&tried, printer);
        }
    }
    if loaded.has_errors() {
        exit::PROJECT_INVALID
    } else if !known {
        exit::NOT_STARTED
    } else {
        code(&tried)
    }
}

/// Tries those that are written to with a small file, which is removed again.
pub(crate) fn try_all(loaded: &Loaded) -> Vec<Tried> {
    let try_one = |connection: &Connection| {
        let keeps_state = loaded.state.connection() == Some(connection.name.as_str());
        let writes = keeps_state || is_written(&loaded.plan, &connection.name);
        let result = probe(connection, &loaded.directory, writes);
        Tried {
            connection: connection.clone(),
            result: result.map(|probe| {
                let what = match (probe.writes, keeps_state) {
                    (true, true) => "read and write; a second writer is refused; keeps the state",
                    (true, false) => "read and write; a second writer is refused",
                    (false, _) => "read",
                };
                format!("{} ({what})", probe.place)
            }),
        }
    };
    loaded.connections.iter().map(try_one).collect()
}

/// One line for each.
pub(crate) fn print(tried: &[Tried], printer: &Printer) {
    let mut text = String::new();
    for Tried { connection, result } in tried {
        let (name, kind) = (&connection.name, connection.kind.word());
        text += &match result {
            Ok(shown) => format!("ok      {name} [{kind}]: {}\n", plain(shown)),
            Err(failure) => format!("failed  {name} [{kind}]: {}\n", said(failure)),
        };
    }
    printer.result(&text);
}

pub(crate) fn as_json(tried: &[Tried]) -> Value {
    let one = |Tried { connection, result }: &Tried| {
        let failure = result.as_ref().err();
        json!({
            "name": connection.name,
            "type": connection.kind.word(),
            "ok": result.is_ok(),
            "place": result.as_ref().ok(),
            "code": failure.map(|f| &f.code),
            "message": failure.map(said),
        })
    };
    tried.iter().map(one).collect()
}

pub(crate) fn code(tried: &[Tried]) -> u8 {
    if tried.iter().all(|one| one.result.is_ok()) {
        exit::DONE
    } else {
        exit::NOT_STARTED
    }
}

/// What is wrong, and what to do.
fn said(failure: &Failure) -> String {
    let mut text = failure.message.clone();
    for cause in &failure.causes {
        text = format!("{text}: {cause}");
    }
    for hint in &failure.hints {
        text = format!("{text}; {hint}");
    }
    plain(&text)
}

fn is_written(plan: &Plan, name: &str) -> bool {
    let of_story = plan
        .story
        .as_ref()
        .is_some_and(|s| s.connection.name == name);
    of_story
        || plan.nodes.iter().any(|node| {
            let rejected = match &node.on_row_error {
                OnRowError::Quarantine(quarantine) => quarantine.connection.name == name,
                OnRowError::Fail => false,
            };
            let target = node.write.as_ref();
            rejected || target.is_some_and(|write| write.connection.name == name)
        })
}
