//! The whole file: `project`, `connections`, `pipelines`, `plugins`, `story` and what describes them.

use std::collections::{BTreeMap, BTreeSet};

use super::alerts;
use super::attempts::{self, AttemptKeys};
use super::connection::{self, Connection};
use super::limits;
use super::logging::{self, Logging};
use super::outside;
use super::pipeline::{self, Pipeline};
use super::plugins;
use super::reader::{Context, Reader};
use super::story::{self, Story};
use super::system::{self, System};
use super::{Node, Text};
use crate::diagnostic::{Diagnostic, Span, codes};
use crate::guest_limits::GuestLimits;
use crate::plan::{AlertChannel, LineageTarget, PluginSource, Telemetry};
use crate::secret::{Secret, SecretRef};
use crate::yaml::Tree;

/// Keys of ODIBI that change nothing: its engine, and what tunes that.
pub(super) const ENGINE_IGNORED: &[&str] = &["engine"];
pub(super) const TUNING_IGNORED: &[&str] = &["performance"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &["semantic"];

/// A project as its file says it. Parts that were refused are left out; diagnostics tell of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Project {
    /// False when the file could not be read to its end: what is missing may be there.
    pub complete: bool,
    /// `project`: its name.
    pub name: Option<Text>,
    /// `description`
    pub description: Option<Text>,
    /// `version` of the project, free text.
    pub version: Option<Text>,
    /// `owner`
    pub owner: Option<Text>,
    /// `connections`, in the order of the file.
    pub connections: Vec<Connection>,
    /// `plugins`, by name.
    pub plugins: BTreeMap<String, PluginSource>,
    /// Names of plugins that were refused and reported: what they export is not complained of.
    pub refused_plugins: BTreeSet<String>,
    /// `limits` of every step.
    pub limits: GuestLimits,
    /// `retry`, `timeout`, `on_error` of every node.
    pub attempts: AttemptKeys,
    /// `pipelines`, in the order of the file.
    pub pipelines: Vec<Pipeline>,
    /// `story`; `None` when absent or switched off with `auto_generate: false`.
    pub story: Option<Story>,
    /// `system`; where state is kept.
    pub system: Option<System>,
    /// `logging`
    pub logging: Logging,
    /// `alerts` of the project and of its pipelines.
    pub alerts: Vec<AlertChannel>,
    /// `lineage`
    pub lineage: Option<LineageTarget>,
    /// `telemetry`
    pub telemetry: Option<Telemetry>,
    /// Names of the files, as given.
    pub files: Vec<String>,
    /// References to vaults, each with its place; the same one may stand at several.
    pub secret_refs: Vec<(SecretRef, Span)>,
    /// Values that nothing may show: credentials, what vaults said, variables with telling names.
    pub secrets: Vec<Secret>,
    /// Places of values whose vault was not asked yet.
    pub unresolved: Vec<Span>,
}

impl Project {
    /// Every node with its pipeline, in the order of the file. The position here is the node's index in a
    /// [`crate::graph::Graph`].
    pub fn nodes(&self) -> impl Iterator<Item = (&Pipeline, &Node)> {
        self.pipelines
            .iter()
            .flat_map(|pipeline| pipeline.nodes.iter().map(move |node| (pipeline, node)))
    }

    /// Takes out errors about values that are not what they will be once their vault was asked.
    pub fn forgive(&self, diagnostics: &mut Vec<Diagnostic>) {
        let open = |d: &Diagnostic| {
            d.code != &codes::MISPLACED_SECRET
                && d.span().is_some_and(|span| self.unresolved.contains(&span))
        };
        diagnostics.retain(|d| !open(d));
    }

    /// The connection of a name.
    #[must_use]
    pub fn connection(&self, name: &str) -> Option<&Connection> {
        self.connections
            .iter()
            .find(|connection| connection.name.value == name)
    }
}

pub(super) fn read(context: &Context, tree: &Tree) -> Project {
    let root = &tree.root;
    if tree.complete && root.is_null() {
        let made = Diagnostic::error(&codes::EMPTY_FILE, root.span, "the file holds no project");
        context.report(made.hint("begin with the keys `project`, `connections` and `pipelines`"));
        return Project::default();
    }
    let mut project = Project {
        complete: tree.complete,
        ..Project::default()
    };
    let start = crate::diagnostic::Span {
        end: root.span.start,
        ..root.span
    };
    let Some(mut reader) = Reader::new(context, root, start, "the project") else {
        project.complete = false;
        return project;
    };
    let name = reader.required_text("project");
    project.name = reader.filled(name, "project");
    project.description = reader.text("description");
    project.version = reader.text("version");
    project.owner = reader.text("owner");
    reader.ignored(ENGINE_IGNORED, "odibi runs its own engine");
    project.connections = connection::read_all(&mut reader);
    (project.plugins, project.refused_plugins) = plugins::read_all(&mut reader);
    project.limits = limits::read(&mut reader);
    project.attempts = attempts::read(&mut reader);
    // Read while the tree was made.
    for key in ["imports", "environments", "vars", "recipes"] {
        let _ = reader.entry(key);
    }
    project.pipelines = pipeline::read_all(&mut reader);
    project.story = story::read(&mut reader);
    project.system = system::read(&mut reader);
    project.logging = logging::read(&mut reader);
    reader.ignored(TUNING_IGNORED, "there is nothing to tune");
    let alerts = alerts::read(&mut reader, None);
    let of_pipelines = project.pipelines.iter().flat_map(|p| &p.alerts);
    project.alerts = alerts::named(context, alerts.iter().chain(of_pipelines));
    project.lineage = outside::lineage(&mut reader);
    project.telemetry = outside::telemetry(&mut reader);
    reader.not_yet(LATER);
    reader.finish_with(&[
        ("name", "project"),
        ("nodes", "pipelines"),
        ("pipeline", "pipelines"),
    ]);
    project
}
