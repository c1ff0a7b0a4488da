//! From a path on the command line to a plan: finds the file, loads plugins, collects every diagnostic.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use odibi_bundle::COMPONENTS;
use odibi_plan::config::Project;
use odibi_plan::diagnostic::{Diagnostic, Severity, Sources};
use odibi_plan::graph::Selection;
use odibi_plan::plan::{Connection, Grants};
use odibi_plan::{GuestLimits, Manifest, Operations, Plan};
use odibi_sandbox::{
    Capture, CompileLimits, CompileNotice, Compiler, ComponentBytes, ComponentSource, Limits,
    Options, Sandbox,
};
use odibi_story::failure::Failure;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Surroundings;
use crate::args::{Config, Given, Output, Selected};
use crate::kept::StatePlace;
use crate::printer::Printer;
use crate::secrets::{self, Asked};
use crate::source::Source;
use crate::{chosen, command, exit};

/// A project, checked and planned.
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    /// Nodes that the selection asks for, when what they need may be read back: pipeline and name.
    pub(crate) asked: Option<BTreeSet<(String, String)>>,
    /// The selection goes by what is remembered, and would be another one tomorrow.
    pub(crate) asks_state: bool,
    pub(crate) sources: Sources,
    /// The project file.
    pub(crate) path: PathBuf,
    pub(crate) directory: PathBuf,
    /// Where it is kept what is remembered between runs.
    pub(crate) state: StatePlace,
    /// The run's logical time.
    pub(crate) at: Timestamp,
    /// Environment that was selected.
    pub(crate) environment: Option<String>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// All of the project, used or not, but for those that are refused.
    pub(crate) connections: Vec<Connection>,
    /// Secrets of vaults, when they were asked.
    pub(crate) vaults: Vec<Asked>,
}

/// Loads, checks and plans. The exit code says why it could not; everything has been printed then.
pub(crate) fn load(
    selected: &Selected,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Loaded, u8> {
    load_for(selected, Purpose::Look, around, printer)
}

/// What a project is loaded for.
pub(crate) enum Purpose {
    /// To look at it. No vault is asked.
    Look,
    /// To reach its connections: with the secrets of vaults, as far as they can be had.
    Connect,
    /// To run it: with all of its secrets, or not at all.
    Run {
        /// Work is counted.
        metered: bool,
        /// Failures are recorded.
        capture: Option<Capture>,
    },
}

/// As [`load`], for a purpose.
pub(crate) fn load_for(
    selected: &Selected,
    purpose: Purpose,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Loaded, u8> {
    let source = Source::open(&selected.config, around, printer)?;
    let mut sources = Sources::default();
    let (mut project, mut diagnostics) = source.load(&mut sources);
    secrets::learn(&project, &source, printer);
    let mut vaults = Vec::new();
    let valid = !odibi_plan::diagnostic::has_errors(&diagnostics);
    let mut selection = Selection {
        pipelines: selected.pipeline.clone(),
        nodes: selected.node.clone(),
        tags: selected.tag.clone(),
        select: selected.select.clone(),
        exclude: selected.exclude.clone(),
        ..Selection::all()
    };
    let state = StatePlace::of(&project, &source.directory, around);
    // What is remembered may lie behind a secret.
    let reaches = !matches!(purpose, Purpose::Look) || selection.asks_state() && state.is_shared();
    // Who is to fix the project need not wait for vaults.
    if reaches && valid {
        vaults = secrets::ask(&project, &source, around, printer)?;
        if matches!(purpose, Purpose::Run { .. })
            && secrets::print_missing(&vaults, &sources, printer)
        {
            return Err(exit::NOT_STARTED);
        }
    }
    if !vaults.is_empty() {
        let found = secrets::found(&vaults);
        sources = Sources::default();
        (project, diagnostics) = source.load_with(Some(&found), &mut sources);
        secrets::learn(&project, &source, printer);
    }
    let (metered, capture) = match purpose {
        Purpose::Look | Purpose::Connect => (false, None),
        Purpose::Run { metered, capture } => (metered, capture),
    };
    let (path, directory, at) = (source.path.clone(), source.directory.clone(), source.at);
    let options = Options {
        capture,
        grants: project_grants(&project),
        limits: Limits::default().with(&project.limits),
        plugin_limits: plugin_limits(&project),
        ..options(&directory, project_plugins(&project), around, printer)
    };
    let sandbox = if metered {
        metered_sandbox(options, printer)?
    } else {
        sandbox(options, printer)?
    };
    let operations = operations(&project, &sandbox, &mut diagnostics);
    // With the secrets, if there are any.
    let state = StatePlace::of(&project, &directory, around);
    if selection.asks_state() {
        let (whole, _) = odibi_plan::plan::plan(&project, &Selection::all(), &operations);
        let known = chosen::remembered(&whole, &directory, &state).map_err(|failure| {
            printer.failure(&failure);
            exit::NOT_STARTED
        })?;
        selection.remembered = known;
    }
    let asked = odibi_plan::graph::asked(&project, &selection);
    let (mut plan, more) = odibi_plan::plan::plan(&project, &selection, &operations);
    diagnostics.extend(more);
    project.forgive(&mut diagnostics);
    odibi_plan::diagnostic::sort(&mut diagnostics);
    plan.config_digest = config_digest(&sources);
    Ok(Loaded {
        plan,
        asked,
        asks_state: selection.asks_state(),
        sources,
        path,
        state,
        directory,
        at,
        environment: source.selected,
        sandbox,
        diagnostics,
        vaults,
        connections: project
            .connections
            .iter()
            .filter_map(odibi_plan::config::Connection::resolved)
            .collect(),
    })
}

/// What is known of a project without its plugins.
pub(crate) struct Glance {
    /// Its name.
    pub(crate) project: String,
    /// Its file.
    pub(crate) path: PathBuf,
    /// Where it is kept what is remembered between runs.
    pub(crate) state: StatePlace,
}

/// Looks at a project file, whatever its faults are.
pub(crate) fn glance(
    config: &Config,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Glance, u8> {
    let source = Source::open(config, around, printer)?;
    let mut sources = Sources::default();
    let (mut project, _) = source.load(&mut sources);
    secrets::learn(&project, &source, printer);
    let mut state = StatePlace::of(&project, &source.directory, around);
    if state.is_shared() && !project.secret_refs.is_empty() {
        // It may lie behind a secret.
        let vaults = secrets::ask(&project, &source, around, printer)?;
        if secrets::print_missing(&vaults, &sources, printer) {
            return Err(exit::NOT_STARTED);
        }
        let found = secrets::found(&vaults);
        (project, _) = source.load_with(Some(&found), &mut Sources::default());
        secrets::learn(&project, &source, printer);
        state = StatePlace::of(&project, &source.directory, around);
    }
    let name = project.name.as_ref().map(|name| name.value.clone());
    Ok(Glance {
        project: name.unwrap_or_default(),
        path: source.path,
        state,
    })
}

impl Loaded {
    /// True when no node may run.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error)
    }

    /// Prints every diagnostic, in file order, and a closing line when there are errors.
    pub(crate) fn print_diagnostics(&self, printer: &Printer) {
        // The result holds them; but a log is whole.
        if printer.output == Output::Json && !printer.log.is_structured() {
            return;
        }
        for diagnostic in &self.diagnostics {
            printer.diagnostic(diagnostic, &self.sources);
        }
        let errors = self
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        if errors > 0 {
            let plural = if errors == 1 { "" } else { "s" };
            let what = printer.styled("1;31", "invalid project:");
            printer.problem(&format!("{what} {errors} error{plural}; no node was run"));
        }
    }

    /// The diagnostics as data.
    pub(crate) fn diagnostics_json(&self) -> serde_json::Value {
        let one = |d: &Diagnostic| {
            let place = d.labels.first().map(|l| l.span);
            let (line, column) =
                place.map_or((0, 0), |s| self.sources.line_column(s.file, s.start));
            json!({
                "code": d.code.name,
                "severity": match d.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "message": d.message,
                "file": place.map(|s| self.sources.name(s.file)),
                "line": line,
                "column": column,
                "hints": d.hints,
            })
        };
        self.diagnostics.iter().map(one).collect()
    }
}

/// The sandbox of a project when one is given, else of the first-party plugins alone.
pub(crate) fn sandbox_of(
    config: &Config,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Arc<Sandbox>, u8> {
    if config.config.is_none() {
        let none = BTreeMap::new();
        return sandbox(options(&around.current_dir, none, around, printer), printer);
    }
    let source = Source::open(config, around, printer)?;
    let (project, _) = source.load(&mut Sources::default());
    let plugins = project_plugins(&project);
    let options = Options {
        limits: Limits::default().with(&project.limits),
        plugin_limits: plugin_limits(&project),
        ..options(&source.directory, plugins, around, printer)
    };
    sandbox(options, printer)
}

/// Operations of the first-party plugins, and of a project when one is given.
pub(crate) fn all_operations(
    config: Option<&Path>,
    around: &Surroundings,
    printer: &Printer,
) -> Result<Operations, u8> {
    let Some(config) = config else {
        return Ok(Operations {
            first_party: first_party(),
            ..Operations::default()
        });
    };
    let config = Config {
        config: Some(config.to_path_buf()),
        given: Given::default(),
    };
    let source = Source::open(&config, around, printer)?;
    let mut sources = Sources::default();
    let (project, _) = source.load(&mut sources);
    secrets::learn(&project, &source, printer);
    let directory = source.directory;
    let options = Options {
        limits: Limits::default().with(&project.limits),
        plugin_limits: plugin_limits(&project),
        ..options(&directory, project_plugins(&project), around, printer)
    };
    let sandbox = sandbox(options, printer)?;
    let mut diagnostics = Vec::new();
    let operations = operations(&project, &sandbox, &mut diagnostics);
    for diagnostic in &diagnostics {
        printer.diagnostic(diagnostic, &sources);
    }
    if diagnostics.is_empty() {
        Ok(operations)
    } else {
        Err(exit::PROJECT_INVALID)
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Of the project file alone, or of it and the files that it names.
fn config_digest(sources: &Sources) -> String {
    let mut texts = sources.texts().map(str::as_bytes);
    let first = Sha256::digest(texts.next().unwrap_or_default());
    let mut rest = texts.peekable();
    if rest.peek().is_none() {
        return hex(&first);
    }
    let mut all = Sha256::new_with_prefix(first);
    rest.for_each(|text| all.update(Sha256::digest(text)));
    hex(&all.finalize())
}

fn project_plugins(project: &Project) -> BTreeMap<String, PathBuf> {
    project
        .plugins
        .iter()
        .map(|(name, source)| (name.clone(), PathBuf::from(&source.path)))
        .collect()
}

fn project_grants(project: &Project) -> BTreeMap<String, Grants> {
    let plugins = project.plugins.iter();
    plugins
        .map(|(name, source)| (name.clone(), source.grants))
        .collect()
}

fn plugin_limits(project: &Project) -> BTreeMap<String, GuestLimits> {
    let plugins = project.plugins.iter();
    plugins
        .map(|(name, source)| (name.clone(), source.limits.clone()))
        .collect()
}

/// A sandbox, or the exit code when there can be none.
pub(crate) fn sandbox(options: Options, printer: &Printer) -> Result<Arc<Sandbox>, u8> {
    started(Sandbox::new(options), printer)
}

/// As [`sandbox`], on the engine that counts work.
fn metered_sandbox(options: Options, printer: &Printer) -> Result<Arc<Sandbox>, u8> {
    started(Sandbox::metered(options), printer)
}

fn started(sandbox: Result<Sandbox, Failure>, printer: &Printer) -> Result<Arc<Sandbox>, u8> {
    sandbox.map(Arc::new).map_err(|failure| {
        printer.failure(&failure);
        exit::NOT_STARTED
    })
}

/// What the sandbox of a project is made of.
pub(crate) fn options(
    directory: &Path,
    plugins: BTreeMap<String, PathBuf>,
    around: &Surroundings,
    printer: &Printer,
) -> Options {
    let first_party = COMPONENTS
        .iter()
        .map(|c| ComponentSource {
            name: c.name.to_owned(),
            bytes: ComponentBytes::Zstd {
                packed: c.packed,
                sha256: c.digest,
                bytes: c.bytes,
            },
            manifest: Some(c.manifest.to_owned()),
        })
        .collect();
    let notify = {
        let printer = printer.clone();
        move |notice: CompileNotice| match notice {
            CompileNotice::Started { plugin, bytes } => printer.info(&format!(
                "compiling plugin `{plugin}` ({:.1} MiB), once on this machine …",
                bytes as f64 / f64::from(1024 * 1024)
            )),
            CompileNotice::Finished {
                plugin,
                elapsed,
                succeeded,
                bytes: _,
            } => {
                let seconds = elapsed.as_secs_f64();
                printer.info(&if succeeded {
                    format!("compiled plugin `{plugin}` in {seconds:.1} s")
                } else {
                    format!("gave up compiling plugin `{plugin}` after {seconds:.1} s")
                });
            }
        }
    };
    Options {
        store_dir: Some(store_dir(around)),
        project_dir: directory.to_path_buf(),
        first_party,
        plugins,
        grants: BTreeMap::new(),
        limits: Limits::default(),
        plugin_limits: BTreeMap::new(),
        compiler: compiler(around),
        on_compile: Some(Arc::new(notify)),
        capture: None,
    }
}

fn compiler(around: &Surroundings) -> Compiler {
    match &around.program {
        Some(program) => Compiler::Child {
            program: program.clone(),
            args: vec![command::compile::NAME.into()],
            limits: CompileLimits::default(),
        },
        None => Compiler::InProcess,
    }
}

/// `ODIBI_CACHE_DIR`, else the cache directory of the XDG base directory specification.
pub(crate) fn store_dir(around: &Surroundings) -> PathBuf {
    let set = |name: &str| {
        around
            .variable(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("ODIBI_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("odibi")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/odibi")));
    cache
        .unwrap_or_else(|| around.current_dir.join(".odibi/cache"))
        .join("components")
}

fn first_party() -> Vec<Manifest> {
    COMPONENTS
        .iter()
        .filter_map(|c| Manifest::parse(c.manifest).ok())
        .collect()
}

fn operations(
    project: &Project,
    sandbox: &Sandbox,
    diagnostics: &mut Vec<Diagnostic>,
) -> Operations {
    let mut operations = Operations {
        first_party: first_party(),
        ..Operations::default()
    };
    for (name, source) in &project.plugins {
        match sandbox.manifest(name) {
            Ok(manifest) => {
                operations.plugins.insert(name.clone(), manifest);
            }
            Err(failure) => {
                operations.failed_plugins.insert(name.clone());
                diagnostics.push(odibi_plan::diagnostic::plugin(
                    name,
                    source.span,
                    &failure.code,
                    &failure.message,
                    &failure.hints,
                ));
            }
        }
    }
    operations
}
