//! `odibi plugin inspect`: what a component is, and what it could reach.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use odibi_plan::Manifest;
use odibi_sandbox::{Answer, ComponentSource, Inspection, Options, Reach, Sandbox};
use odibi_story::failure::Failure;
use odibi_story::render::{bytes, count, plain};
use serde_json::{Value, json};

use crate::args::{Inspect, Output};
use crate::printer::Printer;
use crate::{Surroundings, exit, project};

/// Imports of one kind, or operations, that a page lists; the rest is counted. The JSON has all.
const LISTED_MAX: usize = 100;

/// What the page says, as far as it is known.
struct Page {
    /// A file as given, or the name of a component that comes with odibi.
    subject: String,
    first_party: bool,
    found: Inspection,
    /// What the component says of itself, or why it does not.
    manifest: Result<Manifest, Failure>,
}

pub(crate) fn inspect(args: &Inspect, around: &Surroundings, printer: &Printer) -> u8 {
    let page = match look(args, around, printer) {
        Ok(page) => page,
        Err(failure) => {
            printer.failure(&failure);
            return exit::NOT_STARTED;
        }
    };
    match printer.output {
        Output::Json => printer.json(&page.document()),
        Output::Text => printer.result(&page.text()),
    }
    if let Err(failure) = &page.manifest {
        printer.failure(failure);
    }
    page.exit_code()
}

/// A component that would be refused is looked at and nothing more; of any other, `describe` runs, in the sandbox, unless
/// what it says is known.
fn look(args: &Inspect, around: &Surroundings, printer: &Printer) -> Result<Page, Failure> {
    let options = project::options(&around.current_dir, BTreeMap::new(), around, printer);
    let mut known = options.first_party.iter();
    let known = known.find(|source| args.component == Path::new(&source.name));
    let known = known.cloned();
    let first_party = known.is_some();
    let subject = args.component.display().to_string();
    let source = match known {
        Some(source) => source,
        None => ComponentSource::read(&subject, &around.current_dir.join(&args.component))?,
    };
    let found = Inspection::of(&source)?;
    let manifest = match &found.refusal {
        Some(refusal) => Err(refusal.clone()),
        None => described(source, options),
    };
    Ok(Page {
        subject,
        first_party,
        found,
        manifest,
    })
}

fn described(source: ComponentSource, options: Options) -> Result<Manifest, Failure> {
    let sandbox = Sandbox::new(Options {
        first_party: vec![source],
        ..options
    })?;
    let mut manifests = sandbox.first_party()?;
    manifests.pop().ok_or_else(|| {
        let class = odibi_story::FailureClass::Internal;
        Failure::new(class, "internal/sandbox", "the component was not described")
    })
}

impl Page {
    fn exit_code(&self) -> u8 {
        match &self.manifest {
            Ok(_) => exit::DONE,
            Err(_) => exit::UNUSABLE,
        }
    }

    fn imports(&self, kind: impl Fn(Answer) -> bool) -> Vec<&str> {
        let imports = self.found.imports.iter();
        let imports = imports.filter(|import| kind(import.answer));
        imports.map(|import| import.name.as_str()).collect()
    }

    fn refused(&self) -> Vec<&str> {
        self.imports(|answer| matches!(answer, Answer::Refused(_) | Answer::OtherVersion))
    }

    /// What it can reach, in one line. Only imports decide: a component cannot do what it did not import.
    fn verdict(&self) -> String {
        let reaches = self.found.reaches();
        if !reaches.is_empty() {
            return format!("asks for {}, and is refused for it", listed(&reaches));
        }
        let clean = "cannot reach files, network, environment, clock or entropy";
        match &self.manifest {
            Ok(_) => clean.to_owned(),
            Err(failure) => format!("{clean}; cannot be used: {}", plain(&failure.code)),
        }
    }

    fn text(&self) -> String {
        let found = &self.found;
        let mut text = String::new();
        // Writing to a string cannot fail.
        if let Ok(manifest) = &self.manifest {
            let (name, version) = (plain(&manifest.name), plain(&manifest.version));
            let _ = writeln!(text, "plugin     {name} {version}");
        } else {
            text.push_str("plugin     name and version are unknown\n");
        }
        let from = if self.first_party {
            "comes with odibi".to_owned()
        } else {
            plain(&self.subject)
        };
        let _ = writeln!(text, "file       {from}");
        let _ = writeln!(text, "digest     {}", found.digest);
        let _ = writeln!(text, "size       {}", bytes(found.bytes));
        let exports = found.exports.join(", ");
        let interface = if exports.is_empty() { "none" } else { &exports };
        let _ = writeln!(text, "interface  {interface}");
        self.operations(&mut text);
        self.import_list(&mut text);
        let _ = writeln!(text, "verdict    {}", self.verdict());
        let grantable = found.grantable();
        if self.manifest.is_ok() && !grantable.is_empty() {
            let words = listed(&grantable);
            let _ = writeln!(
                text,
                "           a project can grant it {words}; until then it gets a logical clock and seeded numbers"
            );
        }
        text
    }

    fn operations(&self, text: &mut String) {
        let Ok(manifest) = &self.manifest else {
            text.push_str("operations unknown: it was not run\n");
            return;
        };
        text.push_str("operations by the component's own words, as are its name and version\n");
        let all = &manifest.operations;
        let width = all.iter().map(|o| o.name.chars().count()).max();
        let width = width.unwrap_or(0);
        for operation in all.iter().take(LISTED_MAX) {
            let (name, summary) = (plain(&operation.name), plain(&operation.summary));
            let _ = writeln!(text, "  {name:width$}  {summary}");
        }
        rest(text, all.len());
    }

    fn import_list(&self, text: &mut String) {
        let stand_in = |answer| matches!(answer, Answer::StandIn(_));
        let groups = [
            (
                "odibi's own: columns in and out, a report",
                self.imports(|answer| answer == Answer::Own),
            ),
            (
                "given a stand-in that reaches nothing",
                self.imports(stand_in),
            ),
            ("refused", self.refused()),
        ];
        let total = found_count(self.found.imports.len());
        let _ = writeln!(text, "imports    {total}");
        for (title, names) in groups {
            if names.is_empty() {
                continue;
            }
            let _ = writeln!(text, "  {title}");
            for name in names.iter().take(LISTED_MAX) {
                let _ = writeln!(text, "    {}", plain(name));
            }
            rest(text, names.len());
        }
    }

    fn document(&self) -> Value {
        let found = &self.found;
        let words =
            |all: BTreeSet<Reach>| -> Vec<&str> { all.into_iter().map(Reach::word).collect() };
        let manifest = self.manifest.as_ref().ok();
        let operations = manifest.map(|manifest| {
            let operations = manifest.operations.iter();
            operations
                .map(|o| json!({ "name": o.name, "summary": o.summary }))
                .collect::<Vec<_>>()
        });
        json!({
            "usable": manifest.is_some(),
            "exit_code": self.exit_code(),
            "file": (!self.first_party).then_some(&self.subject),
            "name": manifest.map(|m| &m.name),
            "version": manifest.map(|m| &m.version),
            "operations": operations,
            "digest": found.digest,
            "bytes": found.bytes,
            "exports": found.exports,
            "imports": {
                "own": self.imports(|answer| answer == Answer::Own),
                "stand_in": self.imports(|answer| matches!(answer, Answer::StandIn(_))),
                "refused": self.refused(),
            },
            "asks_for": words(found.reaches()),
            "grantable": words(found.grantable()),
            "verdict": self.verdict(),
            "failure": self.manifest.as_ref().err(),
        })
    }
}

fn found_count(imports: usize) -> String {
    match imports {
        0 => "none".to_owned(),
        imports => count(imports as u64, "interface"),
    }
}

/// `clock and entropy`
fn listed(reaches: &BTreeSet<Reach>) -> String {
    let words: Vec<&str> = reaches.iter().map(|reach| reach.word()).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

fn rest(text: &mut String, all: usize) {
    if let Some(rest) = all.checked_sub(LISTED_MAX).filter(|rest| *rest > 0) {
        let _ = writeln!(text, "    and {} more", count(rest as u64, "name"));
    }
}
