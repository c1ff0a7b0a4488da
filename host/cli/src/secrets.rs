//! Secrets of vaults: asked for before anything is read, and told by their names alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use odibi_plan::diagnostic::{Sources, excerpt};
use odibi_plan::secret::Secrets;
use odibi_plan::{Project, Secret, SecretRef, Span};
use odibi_story::failure::{Failure, FailureClass};
use odibi_story::render::plain;
use odibi_vault::{Options, Vaults};
use serde_json::{Value, json};

use crate::printer::Printer;
use crate::source::Source;
use crate::{Surroundings, exit};

/// How long one secret may take, unless `ODIBI_SECRETS_TIMEOUT` says otherwise. As in ODIBI.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Variables that let us into vaults.
const KEYS: [&str; 7] = [
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "VAULT_TOKEN",
    "VAULT_SECRET_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "IDENTITY_HEADER",
];

/// What became of one reference.
pub(crate) struct Asked {
    /// The reference.
    pub(crate) reference: SecretRef,
    /// Where it stands.
    pub(crate) places: Vec<Span>,
    /// What the vault said.
    pub(crate) result: Result<Secret, Failure>,
}

/// From here on what the project and the environment hold in secrets is not shown.
pub(crate) fn learn(project: &Project, source: &Source, printer: &Printer) {
    printer.redaction().learn(&project.secrets);
    let ambient = KEYS.iter().filter_map(|name| source.variable(name));
    let ambient: Vec<Secret> = ambient.map(Secret::new).collect();
    printer.redaction().learn(&ambient);
}

/// Asks for every secret that the project names. From here on they are not shown.
///
/// # Errors
/// The exit code when nobody can be asked at all; everything has been printed then.
pub(crate) fn ask(
    project: &Project,
    source: &Source,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Vec<Asked>, u8> {
    let mut places: BTreeMap<SecretRef, Vec<Span>> = BTreeMap::new();
    for (reference, span) in &project.secret_refs {
        places.entry(reference.clone()).or_default().push(*span);
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let found = fetch(places.keys().cloned().collect(), source, around);
    let mut found = found.map_err(|failure| {
        printer.failure(&failure);
        exit::NOT_STARTED
    })?;
    printer
        .redaction()
        .learn(found.values().filter_map(|result| result.as_ref().ok()));
    let asked = places.into_iter().filter_map(|(reference, places)| {
        Some(Asked {
            result: found.remove(&reference)?,
            reference,
            places,
        })
    });
    Ok(asked.collect())
}

fn fetch(
    references: BTreeSet<SecretRef>,
    source: &Source,
    around: &Surroundings,
) -> Result<BTreeMap<SecretRef, Result<Secret, Failure>>, Failure> {
    let variables = source.variables().clone();
    let timeout = match variables.get("ODIBI_SECRETS_TIMEOUT") {
        None => TIMEOUT,
        Some(text) => timeout(text)?,
    };
    let vaults = Vaults::new(Options {
        variable: Arc::new(move |name| variables.get(name).cloned()),
        directory: around.current_dir.clone(),
        timeout,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let message = "cannot start a thread for the vaults";
            Failure::new(FailureClass::Internal, "secret/unavailable", message)
                .cause(error.to_string())
        })?;
    Ok(runtime.block_on(odibi_run::secrets::fetch_all(&vaults, references)))
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    let read: Option<jiff::SignedDuration> = text.parse().ok();
    let read = read.and_then(|read| Duration::try_from(read).ok());
    read.filter(|read| !read.is_zero()).ok_or_else(|| {
        let message = "`ODIBI_SECRETS_TIMEOUT` is not a duration";
        Failure::new(FailureClass::Data, "secret/bad-setting", message)
            .hint("write for example `30s`")
    })
}

/// What was found, for reading the project again.
pub(crate) fn found(asked: &[Asked]) -> Secrets {
    let found = asked.iter().filter_map(|asked| {
        let secret = asked.result.as_ref().ok()?;
        Some((asked.reference.clone(), secret.clone()))
    });
    found.collect()
}

/// Prints what could not be had, with the lines that ask for it. True when there was something.
pub(crate) fn print_missing(asked: &[Asked], sources: &Sources, printer: &Printer) -> bool {
    let mut any = false;
    for asked in asked {
        let Err(failure) = &asked.result else {
            continue;
        };
        any = true;
        let mut text = format!(
            "{} cannot get the secret `{}`: {}\n",
            printer.styled("1;31", &format!("error[{}]:", plain(&failure.code))),
            plain(&asked.reference.to_string()),
            plain(&failure.message)
        );
        for place in &asked.places {
            text.push_str(&excerpt(*place, sources, printer.colour_stderr()));
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        for cause in &failure.causes {
            text.push_str(&format!("  caused by: {}\n", plain(cause)));
        }
        for hint in &failure.hints {
            let word = printer.styled("1;36", "hint:");
            text.push_str(&format!("{word} {}\n", plain(hint)));
        }
        printer.problem(&format!("{text}\n"));
    }
    any
}

/// One line for each: its name, and whether it can be had.
pub(crate) fn print(asked: &[Asked], printer: &Printer) {
    let mut text = String::new();
    for asked in asked {
        let name = plain(&asked.reference.to_string());
        text += &match &asked.result {
            Ok(_) => format!("ok      {name}\n"),
            Err(failure) => format!("failed  {name}: {}\n", said(failure)),
        };
    }
    printer.result(&text);
}

fn said(failure: &Failure) -> String {
    let parts = std::iter::once(&failure.message).chain(&failure.causes);
    let text: Vec<&str> = parts.map(String::as_str).collect();
    let hints: String = failure
        .hints
        .iter()
        .map(|hint| format!("; {hint}"))
        .collect();
    plain(&format!("{}{hints}", text.join(": ")))
}

pub(crate) fn as_json(asked: &[Asked], sources: &Sources) -> Value {
    let one = |asked: &Asked| {
        let places = asked.places.iter().map(|span| {
            let at = sources.position(*span);
            json!({ "file": at.file, "line": at.line, "column": at.column })
        });
        let failure = asked.result.as_ref().err();
        json!({
            "name": asked.reference.to_string(),
            "ok": failure.is_none(),
            "places": places.collect::<Vec<_>>(),
            "code": failure.map(|f| &f.code),
            "message": failure.map(said),
        })
    };
    asked.iter().map(one).collect()
}

/// What tells a script whether all of them can be had.
pub(crate) fn code(asked: &[Asked]) -> u8 {
    if asked.iter().all(|asked| asked.result.is_ok()) {
        exit::DONE
    } else {
        exit::NOT_STARTED
    }
}
