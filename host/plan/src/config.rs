//! Tree to `Project`: every key read once, with its default and its rule, in the file of its section.
//!
//! The keys are ODIBI's. What ODIBI knows and this version does not carry out is `config/not-yet`, an error; what
//! changes no result is a warning. Diagnostics never show the value of a variable, only the `${NAME}` that stands in
//! the file.

mod alerts;
mod alias;
mod assemble;
mod attempts;
mod beside;
mod connection;
mod delta;
mod format;
mod limits;
mod logging;
mod masked;
mod node;
mod outside;
mod params;
mod path;
mod pipeline;
mod plugins;
mod privacy;
mod project;
mod quarantine;
mod read;
mod reader;
mod references;
mod schema;
mod secrets;
mod sql;
mod story;
mod system;
mod transform;
mod write;

pub use alerts::Alert;
pub use assemble::{Assembled, assemble, resolve};
pub use attempts::{AttemptKeys, ON_ERRORS};
pub use beside::{FileFault, ReadBeside};
pub use connection::Connection;
pub use logging::{LOG_LEVELS, LogLevel, Logging};
pub use masked::{MASK, mask};
pub use node::{MAIN_INPUT, Node, NodeInput, NodeInputSource};
pub use params::StepParams;
pub use path::normal_path;
pub use pipeline::Pipeline;
pub use privacy::{OPERATION as PRIVACY_OPERATION, Privacy};
pub use project::Project;
pub use quarantine::{OnRowError, Quarantine};
pub use read::Read;
pub use schema::schema;
pub use sql::SqlSource;
pub use story::Story;
pub use system::System;
pub use transform::Step;
pub use write::Write;

use jiff::Timestamp;

use crate::diagnostic::{Collector, Diagnostic, Sources, Span};
use crate::secret::Secrets;
use crate::yaml::{Scalar, Tree};

/// A text of the file and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text, with variables put in.
    pub value: String,
    /// Its place.
    pub span: Span,
    /// As it stands in the file, when a variable was put in.
    pub written: Option<String>,
}

impl Text {
    fn new(scalar: &Scalar, span: Span) -> Self {
        Self {
            value: scalar.text.clone(),
            span,
            written: scalar.written.clone(),
        }
    }

    /// The text that may be shown in a message: without the values of variables.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.value)
    }
}

/// Lowers a tree. Never fails: what is wrong is left out of the project and reported. SQL steps have no params yet.
#[must_use]
pub fn check(tree: &Tree) -> (Project, Vec<Diagnostic>) {
    check_with(tree, None)
}

fn check_with(tree: &Tree, known: Option<&Secrets>) -> (Project, Vec<Diagnostic>) {
    let context = reader::Context::new(tree.complete).with_secrets(known);
    let mut project = project::read(&context, tree);
    if project.complete {
        references::check(&context, &project);
    }
    project.secret_refs = context.take_secret_refs();
    (project, context.finish())
}

/// Reads a project that has no files beside it. See [`load_with`].
pub fn load(
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    sources: &mut Sources,
) -> (Project, Vec<Diagnostic>) {
    let outside = Outside {
        environment,
        ..Outside::default()
    };
    load_with(name, text, &outside, sources)
}

/// What a project needs besides its text.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The value of a variable, `None` when it is unset.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The bytes of a file below the directory of the project file. Of one that is longer than the number, any more.
    pub file: ReadBeside<'a>,
    /// The environment that is asked for: an entry of `environments`, a file `env.NAME.yaml`, or both.
    pub selected: Option<&'a str>,
    /// Names of the files `env.NAME.yaml` that there are, for hints.
    pub siblings: &'a [String],
    /// The run's logical time, for `${date:…}`.
    pub at: Timestamp,
    /// What the vaults said. `None`: nobody asked, and references to them stay as they are written.
    pub secrets: Option<&'a Secrets>,
}

impl Default for Outside<'_> {
    fn default() -> Self {
        Self {
            environment: &|_| None,
            file: &|_, _| Err(FileFault::Missing),
            selected: None,
            siblings: &[],
            at: Timestamp::UNIX_EPOCH,
            secrets: None,
        }
    }
}

/// Reads a project: parses its files, merges them, puts variables in, lowers and checks it, reads the SQL files that it
/// names. The texts are added to `sources`, that of the project under `name`.
pub fn load_with(
    name: &str,
    text: &str,
    outside: &Outside<'_>,
    sources: &mut Sources,
) -> (Project, Vec<Diagnostic>) {
    let (Assembled { mut tree, files }, found) = assemble(name, text, outside, sources);
    let mut all = Collector::default();
    all.extend(found);
    let (brought, faults) = assemble::bring(&mut tree, outside);
    all.extend(faults);
    all.extend(secrets::misplaced(&tree.root, &brought));
    let (mut project, more) = check_with(&tree, outside.secrets);
    project.files = files;
    all.extend(more);
    sql::fill(&mut project, name, outside.file, sources, &mut all);
    project.secrets = secrets::values(&tree.root, &brought, outside.secrets);
    project.secret_refs.extend(brought.references);
    project.unresolved = brought.unresolved;
    let mut found = all.finish();
    project.forgive(&mut found);
    (project, found)
}
