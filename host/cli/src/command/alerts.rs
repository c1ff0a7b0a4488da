//! `odibi alerts`: what became of alerts, sending what waits, and trying the channels.

use std::sync::Arc;
use std::time::Duration;

use odibi_notify::{Sender, Terms, send_once};
use odibi_plan::diagnostic::{Severity, Sources, render};
use odibi_plan::plan::{AlertChannel, AlertEvent};
use odibi_run::port::Clock;
use odibi_state::AlertRecord;
use odibi_story::event::AlertState;
use odibi_story::failure::{Failure, FailureClass, code};
use odibi_story::render::alert::{self, AlertBody};
use odibi_story::render::plain;
use serde_json::{Value, json};

use crate::args::{AlertsCommand, Config, Given, Named, Output};
use crate::clock::SystemClock;
use crate::kept::StatePlace;
use crate::printer::Printer;
use crate::project::{self, Glance};
use crate::source::Source;
use crate::{Surroundings, exit, outside, whereabouts};

/// Alerts that `flush` looks at.
const LISTED_MAX: usize = 10_000;

pub(crate) fn alerts(command: &AlertsCommand, around: &Surroundings, printer: &Printer) -> u8 {
    let done = match command {
        AlertsCommand::Test { named, channel } => test(named, channel, around, printer),
        AlertsCommand::List { named, limit } => list(named, *limit, around, printer),
        AlertsCommand::Flush {
            named,
            failed,
            wait,
        } => flush(named, *failed, *wait, around, printer),
    };
    done.unwrap_or_else(|code| code)
}

/// The channels of a project that has no faults.
struct Channels {
    project: String,
    environment: Option<String>,
    all: Vec<AlertChannel>,
}

fn channels(named: &Named, around: &Surroundings, printer: &Printer) -> Result<Channels, u8> {
    let source = Source::open(&config(named), around, printer)?;
    let mut sources = Sources::default();
    let (project, diagnostics) = source.load(&mut sources);
    let faults = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let faults: Vec<String> = faults
        .map(|fault| render(fault, &sources, printer.colour_stderr()))
        .collect();
    for fault in &faults {
        printer.problem(&format!("{}\n\n", fault.trim_end()));
    }
    if !faults.is_empty() {
        return Err(exit::PROJECT_INVALID);
    }
    let name = project.name.as_ref().map(|name| name.value.clone());
    Ok(Channels {
        project: name.unwrap_or_default(),
        environment: source.selected,
        all: project.alerts,
    })
}

fn config(named: &Named) -> Config {
    Config {
        config: named.config.clone(),
        given: Given {
            env: named.env.clone(),
            as_of: None,
        },
    }
}

fn test(
    named: &Named,
    only: &[String],
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, u8> {
    let channels = channels(named, around, printer)?;
    for name in only {
        if !channels.all.iter().any(|channel| channel.name == *name) {
            return Err(failed(&no_channel(name, &channels.all), printer));
        }
    }
    let chosen = channels.all.iter();
    let chosen = chosen.filter(|channel| only.is_empty() || only.contains(&channel.name));
    let chosen: Vec<&AlertChannel> = chosen.collect();
    if chosen.is_empty() {
        printer.problem("the project has no `alerts`\n");
        return Err(exit::NOTHING_SELECTED);
    }
    let clock = SystemClock::new();
    let network = outside::network(around);
    let mut tried = Vec::new();
    for channel in chosen {
        let body = test_body(&channels, &clock);
        let text = alert::render(&body, channel);
        let result = send_once(channel, &body.id, text, &network, clock.now());
        tried.push((channel, result));
    }
    match printer.output {
        Output::Json => printer.json(&tried.iter().map(tested_json).collect()),
        Output::Text => {
            for (channel, result) in &tried {
                let (name, kind) = (&channel.name, channel.kind.word());
                printer.result(&match result {
                    Ok(()) => format!("ok      {name} [{kind}]: it took the message\n"),
                    Err(failure) => {
                        format!("failed  {name} [{kind}]: {}\n", plain(&failure.message))
                    }
                });
            }
        }
    }
    let all_ok = tried.iter().all(|(_, result)| result.is_ok());
    Ok(if all_ok {
        exit::DONE
    } else {
        exit::NOT_STARTED
    })
}

fn tested_json((channel, result): &(&AlertChannel, Result<(), Failure>)) -> Value {
    let failure = result.as_ref().err();
    json!({
        "channel": channel.name,
        "type": channel.kind.word(),
        "ok": result.is_ok(),
        "code": failure.map(|f| &f.code),
        "message": failure.map(|f| &f.message),
    })
}

fn test_body(channels: &Channels, clock: &SystemClock) -> AlertBody {
    let run_id = uuid::Uuid::now_v7().to_string();
    AlertBody {
        id: run_id.clone(),
        test: true,
        project: channels.project.clone(),
        environment: channels.environment.clone(),
        run_id,
        started_at: clock.now(),
        host: whereabouts::host(),
        odibi_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..AlertBody::of(AlertEvent::Failure, &[], &|_| Vec::new())
    }
}

fn no_channel(name: &str, all: &[AlertChannel]) -> Failure {
    let what = format!("the project has no alert `{name}`");
    let names: Vec<String> = all.iter().map(|c| format!("`{}`", c.name)).collect();
    let failure = Failure::new(FailureClass::Missing, code::ALERT_UNDELIVERED, what);
    match names.is_empty() {
        true => failure,
        false => failure.hint(format!("use one of: {}", names.join(", "))),
    }
}

fn failed(failure: &Failure, printer: &Printer) -> u8 {
    printer.failure(failure);
    exit::NOT_STARTED
}

fn list(named: &Named, limit: usize, around: &Surroundings, printer: &Printer) -> Result<u8, u8> {
    let Glance { project, state, .. } = project::glance(&config(named), around, printer)?;
    let found = state.open_existing().and_then(|state| match state {
        Some(state) => state.alerts(&project, None, limit),
        None => Ok(Vec::new()),
    });
    let found = found.map_err(|failure| failed(&failure, printer))?;
    if printer.output == Output::Json {
        printer.json(&found.iter().map(listed_json).collect());
        return Ok(exit::DONE);
    }
    if found.is_empty() {
        printer.info("no alerts\n");
    }
    for record in &found {
        printer.result(&listed(record));
    }
    Ok(exit::DONE)
}

fn listed(record: &AlertRecord) -> String {
    let at = record.created_at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut text = format!(
        "{at}  {:9}  {}  {}  run {}",
        record.state.word(),
        plain(&record.channel),
        record.about,
        plain(&record.run_id)
    );
    if let (Some(failure), AlertState::Waiting | AlertState::Failed) =
        (&record.failure, record.state)
    {
        let tries = odibi_story::render::count(u64::from(record.attempts), "try");
        let tries = tries.replace("trys", "tries");
        text += &format!("  {tries}: {}", plain(&failure.message));
    }
    text + "\n"
}

fn listed_json(record: &AlertRecord) -> Value {
    json!({
        "id": record.id,
        "channel": record.channel,
        "type": record.kind,
        "environment": record.environment,
        "event": record.about,
        "pipelines": record.subject,
        "run_id": record.run_id,
        "state": record.state.word(),
        "attempts": record.attempts,
        "created_at": record.created_at.to_string(),
        "ended_at": record.ended_at.map(|at| at.to_string()),
        "code": record.failure.as_ref().map(|f| &f.code),
        "message": record.failure.as_ref().map(|f| &f.message),
    })
}

fn flush(
    named: &Named,
    failed_too: bool,
    wait: Duration,
    around: &Surroundings,
    printer: &Printer,
) -> Result<u8, u8> {
    let channels = channels(named, around, printer)?;
    let Glance { state, .. } = project::glance(&config(named), around, printer)?;
    let flushed = flushed(channels, &state, failed_too, wait, around);
    let records = flushed.map_err(|failure| failed(&failure, printer))?;
    if printer.output == Output::Json {
        printer.json(&records.iter().map(listed_json).collect());
    } else if records.is_empty() {
        printer.info("nothing waits\n");
    }
    if printer.output == Output::Text {
        for record in &records {
            printer.result(&listed(record));
        }
    }
    let delivered = |record: &AlertRecord| record.state == AlertState::Delivered;
    let all = records.iter().all(delivered);
    Ok(if all { exit::DONE } else { exit::NOT_STARTED })
}

/// Sends what waits; what became of it.
fn flushed(
    channels: Channels,
    place: &StatePlace,
    failed_too: bool,
    wait: Duration,
    around: &Surroundings,
) -> Result<Vec<AlertRecord>, Failure> {
    let Some(state) = place.open_existing()? else {
        return Ok(Vec::new());
    };
    let environment = channels.environment.unwrap_or_default();
    let project = channels.project;
    state.alerts_again(&project, &environment, failed_too)?;
    let waiting = state.alerts(&project, None, LISTED_MAX)?;
    let waiting = waiting
        .into_iter()
        .rev()
        .filter(|record| record.state == AlertState::Waiting && record.environment == environment);
    let ids: Vec<String> = waiting.map(|record| record.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let clock = Arc::new(SystemClock::new());
    let name = uuid::Uuid::now_v7().to_string();
    let outbox = Arc::clone(&state).sender(&name, &project, &environment)?;
    let terms = Terms {
        network: outside::network(around),
        ..Terms::default()
    };
    let shared: Arc<dyn Clock> = clock.clone();
    let sender = Sender::start(channels.all, outbox, shared, terms)?;
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let _ = sender.finish(clock.as_ref(), wait_ms);
    let mut records = Vec::new();
    for id in ids {
        records.extend(state.alert(&project, &id)?);
    }
    Ok(records)
}
