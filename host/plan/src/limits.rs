//! Every limit of this crate: what a project file or a plugin's description of itself can make grow.

/// Length of a project file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Mappings and lists of a file within each other.
pub const FILE_DEPTH_MAX: usize = 32;
/// Keys and values of a file, counting every copy that an alias makes.
pub const FILE_NODES_MAX: usize = 20_000;
/// Uses of aliases in a file.
pub const ALIASES_MAX: usize = 100;
/// Memory that anchors and aliases may copy, at [`NODE_BYTES`] for each node and its text.
pub const COPIED_BYTES_MAX: usize = 8 << 20;
/// What a node is counted for, besides its text.
pub const NODE_BYTES: usize = 128;
/// Length of a project file and all that it imports, together.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;
/// Files that a project imports.
pub const IMPORTS_MAX: usize = 64;
/// Recipes that extend each other.
pub const RECIPE_CHAIN_MAX: usize = 16;
/// What variables may add to the texts of a file.
pub const SUBSTITUTED_BYTES_MAX: usize = 1 << 20;

/// Length of the name of a pipeline, node, connection, plugin or operation.
pub const NAME_CHARS_MAX: usize = 128;
/// Length of a path below a connection.
pub const PATH_BYTES_MAX: usize = 1024;
/// References to vaults in one project.
pub const SECRETS_MAX: usize = 1000;
/// Length of the SQL of one step, wherever it stands.
pub const SQL_BYTES_MAX: usize = 1 << 20;
/// Attempts of a node, the first included.
pub const ATTEMPTS_MAX: u32 = 100;
/// The longest time that can be set for attempts: 30 days.
pub const DURATION_MS_MAX: u64 = 30 * 86_400_000;
/// Time of one try to send an alert, lineage event or trace.
pub const SEND_TIMEOUT_MS_MAX: u64 = 120_000;
/// Minutes that alerts of one kind can be held back for: a week.
pub const THROTTLE_MINUTES_MAX: usize = 7 * 24 * 60;
/// Channels of a project that alerts go to: each has a connection of its own.
pub const ALERTS_MAX: usize = 64;
/// Alerts of one kind in an hour.
pub const ALERTS_PER_HOUR_MAX: usize = 10_000;
/// Sample rows of each node in a story, as in ODIBI.
pub const SAMPLE_ROWS_MAX: usize = 100;
/// Entries of `logging.metadata`, which stand in every line.
pub const LOG_METADATA_MAX: usize = 32;
/// Length of one of them.
pub const LOG_METADATA_CHARS_MAX: usize = 256;
/// JSON Pointers of the params of one step: their texts together.
pub const POINTER_BYTES_MAX: usize = 1 << 20;

/// Length of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Operations of one manifest.
pub const OPERATIONS_MAX: usize = 1000;
/// Steps of one check against a schema. A schema is written by a plugin and may try to be endless.
pub const SCHEMA_STEPS_MAX: usize = 100_000;
/// Depth of schemas within schemas, counting `$ref`.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Faults reported of the params of one step.
pub const VIOLATIONS_MAX: usize = 50;
/// Length of a list that `uniqueItems` is checked on, since every item is compared with every other.
pub const UNIQUE_ITEMS_MAX: usize = 1000;

/// Diagnostics kept of one phase.
pub const DIAGNOSTICS_MAX: usize = 200;
/// Characters of a name or value that a message repeats.
pub const QUOTED_CHARS_MAX: usize = 80;
/// Longer names are not compared with others: they cost too much and are no slips of the finger.
pub const NEAREST_CHARS_MAX: usize = 64;
/// Candidates that a misspelt name is compared with.
pub const NEAREST_CANDIDATES_MAX: usize = 1000;
/// Keys or names that a hint lists when none is near.
pub const LISTED_MAX: usize = 16;
/// Nodes of a cycle that a message shows.
pub const CYCLE_SHOWN_MAX: usize = 12;
/// Columns of a source line that a snippet shows.
pub const SNIPPET_COLUMNS_MAX: usize = 140;
