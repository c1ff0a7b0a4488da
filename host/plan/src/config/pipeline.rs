//! `pipelines`: named groups of nodes.
//!
//! ```yaml
//! pipelines:
//!   - pipeline: flights
//!     nodes: []
//! ```

use super::alerts::{self, Alert};
use super::attempts::{self, AttemptKeys};
use super::node::{self, Node};
use super::reader::{Context, Reader};
use super::{NodeInputSource, Text};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::yaml;

/// Keys of ODIBI that change nothing.
pub(super) const IGNORED: &[&str] = &["auto_cache_threshold"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &["freshness_sla", "freshness_anchor"];

/// A pipeline of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Its name, unique in the project.
    pub name: Text,
    /// `description`
    pub description: Option<Text>,
    /// `layer`: bronze, silver, gold or any other word.
    pub layer: Option<Text>,
    /// `tags`; selecting one selects every node.
    pub tags: Vec<Text>,
    /// `retry`, `timeout`, `on_error` of its nodes
    pub attempts: AttemptKeys,
    /// `alerts` that tell of it alone.
    pub alerts: Vec<Alert>,
    /// Its nodes, in the order of the file.
    pub nodes: Vec<Node>,
}

impl Pipeline {
    /// Position of the node of a name.
    #[must_use]
    pub fn position(&self, node: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.name.value == node)
    }

    /// Names of its nodes, for hints.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.value.as_str())
    }
}

pub(super) fn read_all(project: &mut Reader<'_>) -> Vec<Pipeline> {
    let Some(entry) = project.required("pipelines") else {
        return Vec::new();
    };
    let context = project.context();
    let mut pipelines: Vec<Pipeline> = Vec::new();
    for item in project.as_list(entry) {
        let Some(pipeline) = read(context, item) else {
            continue;
        };
        unique(
            context,
            "pipeline",
            &pipeline.name,
            pipelines.iter().map(|p| &p.name),
        );
        pipelines.push(pipeline);
    }
    pipelines
}

/// Reports a name that is there already.
pub(super) fn unique<'a>(
    context: &Context,
    what: &str,
    name: &Text,
    mut others: impl Iterator<Item = &'a Text>,
) {
    let Some(first) = others.find(|other| other.value == name.value) else {
        return;
    };
    let message = format!("two {what}s have the name {}", quoted(name.shown()));
    let made = Diagnostic::error(&codes::DUPLICATE_NAME, name.span, message);
    context.report(
        made.label("again here")
            .also(first.span, "first here")
            .hint("rename one of them"),
    );
}

fn read(context: &Context, item: &yaml::Node) -> Option<Pipeline> {
    let start = crate::diagnostic::Span {
        end: item.span.start,
        ..item.span
    };
    let mut reader = Reader::new(context, item, start, "a pipeline")?;
    let name = reader
        .required_one_of(&["pipeline", "name"])
        .and_then(|entry| reader.as_text(entry));
    if let Some(name) = &name {
        reader.rename(format!("pipeline {}", quoted(name.shown())));
        reader.check_name(name);
    }
    let description = reader.text("description");
    let layer = reader.text("layer");
    let tags = reader.texts("tags");
    let nodes = node::read_all(&mut reader);
    let attempts = attempts::read(&mut reader);
    let shown = name.as_ref().map_or("", Text::shown).to_owned();
    let alerts = alerts::read(&mut reader, Some(&shown));
    // Said of the author only.
    let _ = reader.text("owner");
    reader.ignored(
        IGNORED,
        "results between nodes are kept as long as they are needed",
    );
    reader.not_yet(LATER);
    reader.finish();
    Some(Pipeline {
        name: name?,
        description,
        layer,
        tags,
        attempts,
        alerts,
        nodes,
    })
}

impl Node {
    /// References to other nodes: `depends_on` and `inputs`.
    pub fn references(&self) -> impl Iterator<Item = &Text> {
        let through_inputs = self.inputs.iter().filter_map(|input| match &input.source {
            NodeInputSource::Node(reference) => Some(reference),
            NodeInputSource::Read(_) => None,
        });
        self.depends_on.iter().chain(through_inputs)
    }
}
