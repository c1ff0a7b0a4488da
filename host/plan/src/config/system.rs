//! `system`: where odibi keeps what it remembers between runs.
//!
//! ```yaml
//! system: {connection: lake, path: _odibi_system}
//! ```

use super::Text;
use super::path::{self, Purpose};
use super::reader::Reader;

/// Directory below the connection when `path` is not given, as in ODIBI.
const PATH_DEFAULT: &str = "_odibi_system";

/// Keys of ODIBI that change nothing.
pub(super) const IGNORED: &[&str] = &[
    "environment",
    "cost_per_compute_hour",
    "databricks_billing_enabled",
    "retention_days",
    "optimize_catalog",
    "sync_timeout_seconds",
    "async_derived_updates",
    "async_lineage",
    "skip_sync_wait_in_databricks",
];
/// Keys of ODIBI that this version does not carry out.
pub(super) const LATER: &[&str] = &["sync_to", "sync_from"];

/// The system section. Below a local connection the state is a database, below an object store it is documents.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Connection below which it lies.
    pub connection: Text,
    /// Directory below its root.
    pub path: String,
}

pub(super) fn read(project: &mut Reader<'_>) -> Option<System> {
    let mut reader = project.mapping("system")?;
    let connection = reader.connection();
    let path = match reader.text("path") {
        Some(text) => {
            let text = reader.filled(Some(text), "path");
            text.and_then(|text| path::check(&reader, text, Purpose::Directory))
                .map(|text| text.value)
        }
        None => Some(PATH_DEFAULT.to_owned()),
    };
    reader.ignored(IGNORED, "odibi keeps its own kind of state");
    reader.not_yet(LATER);
    reader.finish();
    Some(System {
        connection: connection?,
        path: path?,
    })
}
