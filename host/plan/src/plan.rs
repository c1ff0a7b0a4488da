//! The plan: what a run will do, with every name resolved and every default filled in.

mod attempts;
mod build;
mod connection;
mod delta;
mod fingerprint;
mod format;
mod grants;
mod narrow;
mod outside;
mod params;
mod privacy;
mod races;
mod reach;
mod targets;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;

pub use attempts::{Attempts, Backoff, OnError};
pub use build::plan;
pub use connection::{
    AzureAuth, AzureBlob, Connection, ConnectionKind, Gcs, GcsAuth, HttpAuth, HttpFiles, S3,
    S3Auth, Secret,
};
pub use delta::{DeltaRead, DeltaWrite, TableVersion};
pub use format::{
    ArrowCompression, ArrowWrite, ColumnType, ColumnTypes, Compression, CsvRead, CsvWrite,
    Encoding, JsonLayout, JsonRead, JsonWrite, OnBadRow, OnMissingColumns, OnNewColumns,
    ParquetWrite, ReadFormat, SchemaPolicy, TextCompression, TextRead, WriteFormat,
};
pub use grants::Grants;
pub use narrow::{Fate, Narrowed};
pub use outside::{AlertChannel, AlertEvent, AlertKind, LineageTarget, Telemetry};
pub use privacy::{Marks, Privacy, Reach, Writer};
pub use write::{ColumnName, DuplicateKeys, Keys, NullKeys, TargetLayout, WriteMode};

use serde_json::Value;

use crate::diagnostic::{Sources, Span, within};
use crate::guest_limits::GuestLimits;

/// Index of a node in [`Plan::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Everything a run needs to know. Nodes stand in dependency order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `project:` of the YAML.
    pub project: String,
    /// In the order of the file.
    pub pipelines: Vec<PlannedPipeline>,
    /// In dependency order, ties in the order of the file.
    pub nodes: Vec<PlannedNode>,
    /// Where stories go; `None` when the project has no `story:`.
    pub story: Option<Story>,
    /// Third-party components by the name under which `operation: name/…` finds them.
    pub plugins: BTreeMap<String, PluginSource>,
    /// Who is told when a run begins and ends.
    pub alerts: Vec<AlertChannel>,
    /// Where lineage events go.
    pub lineage: Option<LineageTarget>,
    /// Where traces and metrics go.
    pub telemetry: Option<Telemetry>,
    /// SHA-256 of the configuration files, hex.
    pub config_digest: String,
    /// Configuration files that took part, as given.
    pub config_files: Vec<String>,
}

impl Plan {
    /// What the plugin of an operation is granted: nothing, when it comes with odibi.
    #[must_use]
    pub fn grants(&self, operation: &OperationRef) -> Grants {
        let plugin = operation.plugin.as_ref();
        let source = plugin.and_then(|plugin| self.plugins.get(plugin));
        source.map_or_else(Grants::default, |source| source.grants)
    }

    /// True when a column of the run may be sensitive: then free text that has met data is not shown.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.nodes.iter().any(|node| node.privacy.touches)
    }

    /// The node that writes what another one reads, when it does not come after that one. With wildcards, one that may.
    #[must_use]
    pub fn writer_of(&self, reader: &PlannedNode, read: &Read) -> Option<&PlannedNode> {
        races::writer_of(&self.nodes, reader, read)
    }
}

/// One pipeline and the nodes of it that were selected.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedPipeline {
    /// Name.
    pub name: String,
    /// Free text of the author.
    pub description: Option<String>,
    /// In dependency order.
    pub nodes: Vec<NodeId>,
}

/// One node: inputs, steps, and perhaps a write.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedNode {
    /// Its index in [`Plan::nodes`].
    pub id: NodeId,
    /// Name of its pipeline.
    pub pipeline: String,
    /// Name, unique in its pipeline.
    pub name: String,
    /// Where its `name:` stands.
    pub span: Span,
    /// Free text of the author.
    pub description: Option<String>,
    /// `tags:`
    pub tags: Vec<String>,
    /// Nodes that must succeed first: `depends_on` and the nodes read through `inputs`.
    pub depends_on: Vec<NodeId>,
    /// Named tables of the node. The first is the main input, called `df` unless the YAML names it.
    pub inputs: Vec<Input>,
    /// The operations, in order. The output of one is the main input of the next.
    pub steps: Vec<Step>,
    /// Where the result goes; `None` for a node that only feeds others.
    pub write: Option<Write>,
    /// What becomes of rows that a step fails on.
    pub on_row_error: OnRowError,
    /// How often and how long it is tried.
    pub attempts: Attempts,
    /// What its failure means for the run.
    pub on_error: OnError,
    /// True when another planned node reads this node's output.
    pub has_dependents: bool,
    /// Columns that must not be seen.
    pub privacy: Privacy,
}

/// A named table that a node starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The name that params refer to.
    pub name: String,
    /// Where it comes from.
    pub source: InputSource,
    /// Where it is written in the YAML.
    pub span: Span,
}

/// Where an input comes from.
#[expect(
    clippy::large_enum_variant,
    reason = "a project has few inputs, and most are reads"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum InputSource {
    /// A file of a connection.
    Read(Read),
    /// The output of an earlier node of this plan.
    Node(NodeId),
}

impl InputSource {
    /// The read, when it is one.
    #[must_use]
    pub fn read(&self) -> Option<&Read> {
        match self {
            Self::Read(read) => Some(read),
            Self::Node(_) => None,
        }
    }
}

/// `read:` with its connection resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The connection.
    pub connection: Connection,
    /// How the bytes are to be understood.
    pub format: ReadFormat,
    /// Path below the connection's root; may hold `*`, `**`, `?` and `[…]`.
    pub path: String,
    /// Options that do not depend on the format.
    pub options: ReadOptions,
    /// Columns that must not be seen.
    pub sensitive: Marks,
    /// Nodes of the project that write what is read, and of which a column may be sensitive.
    pub writers: Vec<Writer>,
    /// Where `path` stands.
    pub span: Span,
}

/// How the files of a read make one table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadOptions {
    /// Directories called `name=value` are columns. `None` is true where the path names a directory (default).
    pub hive_partitioning: Option<bool>,
    /// Types that are declared; those of other columns come from the files (default none).
    pub types: ColumnTypes,
    /// Where files differ in their columns; `None` is strict, and for JSON the union (default).
    pub schema_policy: Option<SchemaPolicy>,
}

/// One step of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which operation.
    pub operation: OperationRef,
    /// Its params, as JSON, with the place of every value.
    pub params: Params,
    /// Tables for the ports after the first, in port order: indices into [`PlannedNode::inputs`].
    pub further_inputs: Vec<usize>,
    /// Limits that the node, the plugin or the project sets; the nearest of each.
    pub limits: GuestLimits,
    /// Where the operation is named.
    pub span: Span,
}

/// `plugin/operation`, or the bare name of a first-party operation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationRef {
    /// Key of `plugins:`; `None` for a first-party operation.
    pub plugin: Option<String>,
    /// Name inside the plugin's manifest.
    pub name: String,
}

impl std::fmt::Display for OperationRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.plugin {
            Some(plugin) => write!(f, "{plugin}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Step {
    /// Where a param stands, or the bytes `text` of the text that it is; without a param, the step.
    #[must_use]
    pub fn place(
        &self,
        sources: &Sources,
        param: Option<&str>,
        text: Option<Range<usize>>,
    ) -> Span {
        let Some((param, place)) = param.and_then(|p| Some((p, self.params.place(p)?))) else {
            return self.span;
        };
        match (text, self.params.value.pointer(param)) {
            (Some(range), Some(Value::String(value))) => within(sources, place, value, range),
            // Of a whole file the first line says nothing.
            _ if sources.is_verbatim(place.file) => self.span,
            _ => place,
        }
    }
}

/// Params of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params {
    /// Always a JSON object.
    pub value: serde_json::Value,
    /// JSON Pointer to the place of the value. The empty pointer is the whole.
    pub places: BTreeMap<String, Span>,
    /// JSON Pointer to a value that a variable was put into, as it stands in the file. Messages never show the value.
    pub written: BTreeMap<String, String>,
}

impl Params {
    /// The place of `pointer`, or of its nearest parent that has one.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Option<Span> {
        let mut at = pointer;
        loop {
            if let Some(span) = self.places.get(at) {
                return Some(*span);
            }
            at = &at[..at.rfind('/')?];
        }
    }
}

/// `write:` with its connection resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The connection.
    pub connection: Connection,
    /// File format.
    pub format: WriteFormat,
    /// Path of the file or directory, below the connection's root.
    pub path: String,
    /// Which of the two it is.
    pub layout: TargetLayout,
    /// Columns whose values become directories, in order.
    pub partition_by: Vec<ColumnName>,
    /// What happens to what is there.
    pub mode: WriteMode,
    /// What becomes of columns that differ from those of the target; `None`: every difference is a failure, but in mode
    /// overwrite of files, which replaces the columns as well (default).
    pub schema_policy: Option<SchemaPolicy>,
    /// Where `path` stands.
    pub span: Span,
}

/// What becomes of rows that a step fails on.
#[derive(Debug, Clone, PartialEq)]
pub enum OnRowError {
    /// The node fails, and the failure names the rows (default).
    Fail,
    /// They are written elsewhere, and the node goes on.
    Quarantine(Quarantine),
}

/// `quarantine:` with its connection resolved. Each run adds files of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantine {
    /// The connection.
    pub connection: Connection,
    /// File format.
    pub format: WriteFormat,
    /// Directory below the connection's root.
    pub path: String,
    /// Where `path` stands.
    pub span: Span,
}

/// `story:`
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Connection that stories are written to.
    pub connection: Connection,
    /// Directory below its root.
    pub path: String,
    /// Sample rows kept for each node (default 10, at most 100; 0 for none).
    pub sample_rows_max: usize,
    /// Stories of runs that began longer ago are removed.
    pub retention_days: Option<u32>,
    /// So many are kept.
    pub retention_count: Option<usize>,
    /// Who started the run is told.
    pub record_user: bool,
    /// Documents that are written beside the stories.
    pub docs: Option<StoryDocs>,
}

/// `docs:` of a story: Markdown that says what a pipeline is and does, as its last successful run showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryDocs {
    /// Directory below the connection's root; each pipeline has one of its own in it.
    pub path: String,
    /// `README.md`
    pub readme: bool,
    /// `TECHNICAL_DETAILS.md`
    pub technical_details: bool,
    /// `node_cards/NODE.md`
    pub node_cards: bool,
    /// `…_memo.md` beside each story, for failed runs too.
    pub run_memo: bool,
    /// Statements of `sql` steps are shown.
    pub sql: bool,
    /// Params of other steps are shown.
    pub config_snapshot: bool,
    /// Columns are shown.
    pub schema: bool,
}

/// Where a third-party component lies.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSource {
    /// Path as written; relative to the directory of the project file.
    pub path: String,
    /// What it is granted.
    pub grants: Grants,
    /// `limits` of its operations, where a node sets none.
    pub limits: GuestLimits,
    /// Where the path is written.
    pub span: Span,
}
