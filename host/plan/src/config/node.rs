//! A node: what it reads, what it does, where it writes.
//!
//! ```yaml
//! - name: clean
//!   depends_on: [raw]
//!   transform: {steps: [{operation: distinct}]}
//!   write: {connection: lake, format: parquet, path: clean.parquet}
//! ```

use super::attempts::{self, AttemptKeys};
use super::format;
use super::limits;
use super::pipeline::unique;
use super::privacy::{self, Privacy};
use super::quarantine::{self, OnRowError};
use super::read::{self, Read};
use super::reader::{Context, Reader};
use super::transform::{self, Step};
use super::write::{self, Write};
use super::{Text, reader};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::guest_limits::GuestLimits;
use crate::plan::OnBadRow;
use crate::yaml::{self, Entry, Value};

/// Name of the main input when the file does not name it.
pub const MAIN_INPUT: &str = "df";

/// Keys of ODIBI that tune, and that describe: they change nothing.
pub(super) const TUNING_IGNORED: &[&str] = &["cache", "log_level"];
pub(super) const WORDS_IGNORED: &[&str] = &["explanation", "explanation_file", "runbook_url"];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &[
    "contracts",
    "incremental",
    "materialized",
    "post_sql",
    "pre_sql",
    "streaming",
    "validation",
];

/// A node of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, unique in its pipeline.
    pub name: Text,
    /// `description`
    pub description: Option<Text>,
    /// `tags`
    pub tags: Vec<Text>,
    /// `enabled`, default true. A node that is not, and all that depend on it, are left out of the plan.
    pub enabled: bool,
    /// `depends_on`: nodes of the same pipeline, or `$pipeline.node`.
    pub depends_on: Vec<Text>,
    /// `read` or `inputs`; the main input first. Empty when the first of `depends_on` is the main input.
    pub inputs: Vec<NodeInput>,
    /// Names of all inputs that are written, also of those that were refused and reported.
    pub input_names: Vec<String>,
    /// `transformer` and `transform.steps`, in this order.
    pub steps: Vec<Step>,
    /// `limits` of its steps.
    pub limits: GuestLimits,
    /// `retry`, `timeout`, `on_error`
    pub attempts: AttemptKeys,
    /// `write`
    pub write: Option<Write>,
    /// `on_row_error`, with `quarantine`
    pub on_row_error: OnRowError,
    /// `sensitive`, `columns` and `privacy`
    pub privacy: Privacy,
}

/// A named table a node starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeInput {
    /// The name params use.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// Where it comes from.
    pub source: NodeInputSource,
}

/// Where an input comes from.
#[expect(
    clippy::large_enum_variant,
    reason = "a project has few inputs, and most are reads"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum NodeInputSource {
    /// A file.
    Read(Read),
    /// A node: its name, or `$pipeline.node`.
    Node(Text),
}

pub(super) fn read_all(pipeline: &mut Reader<'_>) -> Vec<Node> {
    let Some(entry) = pipeline.required("nodes") else {
        return Vec::new();
    };
    let context = pipeline.context();
    let mut nodes: Vec<Node> = Vec::new();
    for item in pipeline.as_list(entry) {
        let Some(node) = read(context, item) else {
            continue;
        };
        unique(context, "node", &node.name, nodes.iter().map(|n| &n.name));
        nodes.push(node);
    }
    nodes
}

fn read(context: &Context, item: &yaml::Node) -> Option<Node> {
    let start = Span {
        end: item.span.start,
        ..item.span
    };
    let mut reader = Reader::new(context, item, start, "a node")?;
    let name = reader.required_text("name");
    if let Some(name) = &name {
        reader.rename(format!("node {}", quoted(name.shown())));
        reader.check_name(name);
    }
    let description = reader.text("description");
    let tags = reader.texts("tags");
    let enabled = reader.boolean("enabled", true);
    let depends_on = reader.texts("depends_on");
    let input_names = input_names(&mut reader);
    let inputs = inputs(&mut reader, &depends_on);
    let steps = transform::read(&mut reader);
    let limits = limits::read(&mut reader);
    let attempts = attempts::read(&mut reader);
    let write = write(&mut reader);
    let bad_rows = inputs.iter().find_map(|input| match &input.source {
        NodeInputSource::Read(read) => {
            (read.format.on_bad_row() == OnBadRow::Quarantine).then_some(input.span)
        }
        NodeInputSource::Node(_) => None,
    });
    let on_row_error = quarantine::read(&mut reader, bad_rows);
    let privacy = privacy::read(&mut reader);
    other_keys(&mut reader);
    reader.finish_with(&[
        ("source", "read"),
        ("input", "inputs"),
        ("sink", "write"),
        ("target", "write"),
        ("output", "write"),
        ("outputs", "write"),
        ("sql", "transform"),
        ("steps", "transform"),
        ("operation", "transformer"),
        ("function", "transformer"),
        ("node", "name"),
    ]);
    Some(Node {
        name: name?,
        description,
        tags,
        enabled,
        depends_on,
        inputs,
        input_names,
        steps,
        limits,
        attempts,
        write,
        on_row_error,
        privacy,
    })
}

/// `write`, with the `schema_policy` of the node where the write says nothing of columns.
fn write(reader: &mut Reader<'_>) -> Option<Write> {
    let policy = format::policy(reader);
    let Some(entry) = reader.optional("write") else {
        if policy.is_some() && reader.entry("write").is_none() && !reader.truncated() {
            reader.ignored(&["schema_policy"], "the node writes nothing");
        }
        return None;
    };
    let mut write = write::read(reader, entry)?;
    if !write.overwrites_schema {
        write.schema_policy = write.schema_policy.or(policy);
    }
    Some(write)
}

/// What was not written out before, because it is faulty.
fn pattern(reader: &mut Reader<'_>) {
    let transformer = reader.entry("transformer");
    if let (Some(first), Some(second)) = (transformer, reader.optional("pattern")) {
        reader.exclusive(first, second);
    }
    if let Some(mut pattern) = reader.mapping("pattern") {
        let _ = pattern.required_text("type");
        let _ = pattern.entry("params");
        pattern.finish();
    }
    // A recipe was written out, or refused and reported.
    let _ = (reader.entry("recipe"), reader.entry("recipe_vars"));
}

fn other_keys(reader: &mut Reader<'_>) {
    pattern(reader);
    reader.ignored(TUNING_IGNORED, "there is nothing to tune");
    reader.ignored(WORDS_IGNORED, "stories do not show it yet");
    reader.not_yet(LATER);
}

fn input_names(reader: &mut Reader<'_>) -> Vec<String> {
    if reader.optional("read").is_some() {
        return vec![MAIN_INPUT.to_owned()];
    }
    match reader.optional("inputs").map(|entry| &entry.value.value) {
        Some(Value::Mapping(mapping)) => mapping
            .entries
            .iter()
            .map(|entry| entry.key.clone())
            .collect(),
        _ => Vec::new(),
    }
}

/// `read` or `inputs`, with the main input first.
fn inputs(reader: &mut Reader<'_>, depends_on: &[Text]) -> Vec<NodeInput> {
    let (read, inputs) = (reader.optional("read"), reader.optional("inputs"));
    if let (Some(first), Some(second)) = (read, inputs) {
        reader.exclusive(first, second);
    }
    if let Some(entry) = read {
        let made = read::read(
            reader.context(),
            &entry.value,
            entry.key_span,
            &format!("`read` of {}", reader.subject()),
        );
        let input = made.map(|read| NodeInput {
            name: MAIN_INPUT.to_owned(),
            span: entry.key_span,
            source: NodeInputSource::Read(read),
        });
        return input.into_iter().collect();
    }
    let Some(entry) = inputs else {
        // What was refused, or lies beyond the end of what could be read, is not missing.
        if depends_on.is_empty()
            && !reader.truncated()
            && !has_any(reader, &["read", "inputs", "depends_on"])
        {
            let message = format!("{} has no input", reader.subject());
            let made = Diagnostic::error(&codes::NO_INPUT, reader.span(), message);
            reader
                .context()
                .report(made.hint("add `read`, `inputs` or `depends_on`"));
        }
        return Vec::new();
    };
    let mut list: Vec<NodeInput> = reader
        .named(entry)
        .iter()
        .filter_map(|entry| named_input(reader, entry))
        .collect();
    if let Some(main) = list.iter().position(|input| input.name == MAIN_INPUT) {
        let main = list.remove(main);
        list.insert(0, main);
    }
    list
}

fn has_any(reader: &mut Reader<'_>, keys: &[&'static str]) -> bool {
    keys.iter().any(|key| {
        reader
            .entry(key)
            .is_some_and(|entry| entry.value.value == Value::Missing)
    })
}

fn named_input(reader: &Reader<'_>, entry: &Entry) -> Option<NodeInput> {
    let context = reader.context();
    let subject = format!("input {} of {}", quoted(&entry.key), reader.subject());
    if !reader::is_name(&entry.key) {
        let message =
            format!("the name of {subject} is not made of letters, digits and underscores");
        context.report(Diagnostic::error(&codes::BAD_NAME, entry.key_span, message));
    }
    let source = match &entry.value.value {
        Value::Mapping(_) => {
            NodeInputSource::Read(read::read(context, &entry.value, entry.key_span, &subject)?)
        }
        Value::Missing => return None,
        Value::Scalar(_) if !entry.value.is_null() => {
            NodeInputSource::Node(reader.node_as_text(&entry.value, &subject)?)
        }
        Value::Scalar(_) | Value::Sequence(_) => {
            let message = format!(
                "{subject} takes a node or a mapping, not {}",
                entry.value.describe()
            );
            let made = Diagnostic::error(&codes::WRONG_TYPE, entry.value.span, message);
            context.report(
                made.hint("write the name of a node, `$pipeline.node`, or what `read` takes"),
            );
            return None;
        }
    };
    Some(NodeInput {
        name: entry.key.clone(),
        span: entry.key_span,
        source,
    })
}
