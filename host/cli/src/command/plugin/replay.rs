//! `odibi plugin replay`: runs a recorded failure again and says whether it is the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use odibi_sandbox::{Capsule, Header, Limits, Options, Phase, Replayed, Sandbox};
use odibi_story::failure::Failure;
use odibi_story::render::{count, plain};
use serde_json::{Value, json};

use crate::args::{Output, Replay};
use crate::printer::Printer;
use crate::{Surroundings, exit, project};

pub(crate) fn replay(args: &Replay, around: &Surroundings, printer: &Printer) -> u8 {
    match again(args, around, printer) {
        Ok((capsule, replayed)) => {
            match printer.output {
                Output::Json => printer.json(&document(&capsule, &replayed)),
                Output::Text => printer.result(&page(&capsule, &replayed, printer.verbose)),
            }
            if replayed.same {
                exit::DONE
            } else {
                exit::NOT_REPRODUCED
            }
        }
        Err(failure) => {
            printer.failure(&failure);
            exit::NOT_STARTED
        }
    }
}

fn again(
    args: &Replay,
    around: &Surroundings,
    printer: &Printer,
) -> Result<(Capsule, Replayed), Failure> {
    let capsule = Capsule::read(&around.current_dir.join(&args.file))?;
    let options = project::options(&around.current_dir, BTreeMap::new(), around, printer);
    let file = args.plugin.as_ref().map(|p| around.current_dir.join(p));
    let component = capsule.component(&options.first_party, file.as_deref(), args.any_version)?;
    let sandbox = Sandbox::new(Options {
        first_party: vec![component],
        limits: capsule.limits(),
        ..options
    })?;
    let replayed = sandbox.replay(&capsule)?;
    Ok((capsule, replayed))
}

fn page(capsule: &Capsule, replayed: &Replayed, verbose: u8) -> String {
    let header = capsule.header();
    let (operation, session) = (&header.operation, &header.session);
    let mut page = String::new();
    // Writing to a string cannot fail. What a capsule says is as strange as what a plugin says.
    let _ = writeln!(
        page,
        "operation  {} of plugin {} {}, digest {:.12}",
        plain(&operation.reference),
        plain(&operation.plugin),
        plain(&operation.version),
        plain(&operation.digest),
    );
    let _ = writeln!(
        page,
        "session    run {}, node {}.{}, step {}, partition {} of {}, attempt {}",
        plain(&session.run_id),
        plain(&session.pipeline),
        plain(&session.node),
        session.step.saturating_add(1),
        session.partition.saturating_add(1),
        session.partitions,
        session.attempt,
    );
    let _ = writeln!(
        page,
        "recorded   {}\nbatches    {}",
        told(header.phase, &header.failure),
        capsule.batches(),
    );
    if !header.grants.is_empty() {
        let _ = writeln!(
            page,
            "grants     {}, so it may end otherwise each time",
            plain(&header.grants.join(", "))
        );
    }
    for (name, value, default) in unusual_limits(capsule) {
        let _ = writeln!(page, "limit      {name}: {value} (default {default})");
    }
    let outcome = match &replayed.ended {
        Some(_) if replayed.same => "the same failure in the same call".to_owned(),
        Some((phase, failure)) => format!(
            "another failure: {}, after {}",
            told(*phase, failure),
            count(replayed.calls.saturating_sub(1) as u64, "good call"),
        ),
        None => format!(
            "no failure, all went well: {}",
            count(replayed.calls as u64, "call")
        ),
    };
    let _ = writeln!(page, "replayed   {outcome}");
    if replayed.operation.digest != operation.digest {
        let _ = writeln!(
            page,
            "           with another version: {} {}, digest {:.12}",
            plain(&replayed.operation.plugin),
            plain(&replayed.operation.version),
            replayed.operation.digest,
        );
    }
    if verbose > 0 {
        for cause in replayed.ended.iter().flat_map(|(_, f)| &f.causes) {
            let _ = writeln!(page, "  caused by: {}", plain(cause));
        }
        for note in &replayed.notes {
            let _ = writeln!(page, "  {}: {}", plain(&note.kind), plain(&note.text));
        }
    }
    page
}

/// Limits below the default: it is replayed under these.
fn unusual_limits(capsule: &Capsule) -> Vec<(String, Value, Value)> {
    let fields = |limits: &Limits| match serde_json::to_value(limits) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let defaults = fields(&Limits::default());
    fields(&capsule.limits())
        .into_iter()
        .filter_map(|(name, value)| {
            let default = defaults.get(&name).cloned().unwrap_or_default();
            (value != default).then_some((name, value, default))
        })
        .collect()
}

fn told(phase: Phase, failure: &Failure) -> String {
    format!(
        "error[{}] in `{}`: {}",
        plain(&failure.code),
        phase.word(),
        plain(&failure.message)
    )
}

fn document(capsule: &Capsule, replayed: &Replayed) -> Value {
    let header: &Header = capsule.header();
    let failed =
        |phase: Phase, failure: &Failure| json!({ "phase": phase.word(), "failure": failure });
    json!({
        "reproduced": replayed.same,
        "exit_code": if replayed.same { exit::DONE } else { exit::NOT_REPRODUCED },
        "operation": header.operation,
        "grants": header.grants,
        "params": header.params,
        "session": header.session,
        "limits": capsule.limits(),
        "batches": capsule.batches(),
        "recorded": failed(header.phase, &header.failure),
        "replayed": replayed.ended.as_ref().map(|(phase, failure)| failed(*phase, failure)),
        "replayed_with": replayed.operation,
        "calls": replayed.calls,
        "notes": replayed.notes,
        "ledger": replayed.ledger,
    })
}
