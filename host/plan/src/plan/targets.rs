//! Writes that no run could carry out: the mode and the format, or the mode and the kind of store, do not go together.

use super::{ConnectionKind, JsonLayout, PlannedNode, TargetLayout, Write, WriteFormat, WriteMode};
use crate::diagnostic::{Collector, Diagnostic, codes, quoted};

/// Reports the first reason against each write.
pub(super) fn check(nodes: &[PlannedNode], faults: &mut Collector) {
    for node in nodes {
        let Some(write) = &node.write else {
            continue;
        };
        let refused = by_store(write).or_else(|| by_format(write));
        if let Some((what, hint)) = refused {
            let message = format!("node {} cannot be written: {what}", quoted(&node.name));
            let made = Diagnostic::error(&codes::UNSUPPORTED_WRITE, write.span, message);
            faults.push(made.hint(hint));
        }
    }
}

type Refusal = (String, &'static str);

/// What the store cannot do.
fn by_store(write: &Write) -> Option<Refusal> {
    let connection = quoted(&write.connection.name);
    match &write.connection.kind {
        ConnectionKind::Local { .. } => return None,
        ConnectionKind::Http(_) => {
            let what = format!("connection {connection} is a web server and can only be read");
            return Some((what, "write to a connection of another type"));
        }
        ConnectionKind::Azure(_) | ConnectionKind::S3(_) | ConnectionKind::Gcs(_) => {}
    }
    if write.layout == TargetLayout::File || matches!(write.format, WriteFormat::Delta(_)) {
        return None;
    }
    if !write.partition_by.is_empty() {
        let what = format!(
            "connection {connection} is an object store, where the files of several partitions cannot appear in one step"
        );
        return Some((what, "use format `delta`, which takes `partition_by`"));
    }
    match &write.mode {
        WriteMode::Append | WriteMode::AppendOnce(None) => None,
        WriteMode::Overwrite | WriteMode::AppendOnce(Some(_)) | WriteMode::Upsert(_) => {
            let what = format!(
                "connection {connection} is an object store, where mode {} cannot replace a directory in one step",
                quoted(write.mode.word())
            );
            let hint = "use format `delta`, or write one file: a `path` without `/` at its end";
            Some((what, hint))
        }
    }
}

/// What the format cannot do.
fn by_format(write: &Write) -> Option<Refusal> {
    if let WriteFormat::Csv(csv) = &write.format
        && !csv.header
        && write.schema_policy.is_some()
    {
        let what = "CSV without a header does not tell the columns of the target".to_owned();
        return Some((
            what,
            "remove `schema_policy` and `merge_schema`, or `header: false`",
        ));
    }
    let reason = no_rows(&write.format)?;
    if write.mode != WriteMode::Overwrite {
        let what = format!(
            "mode {} cannot be done in {reason}",
            quoted(write.mode.word())
        );
        return Some((what, hint(&write.format)));
    }
    if write.schema_policy.is_some() {
        let what = format!("the columns of the target cannot be looked up in {reason}");
        return Some((
            what,
            "remove `schema_policy` and `merge_schema`, or write `parquet`",
        ));
    }
    None
}

/// Why the rows of a target cannot be looked into, where they cannot.
fn no_rows(format: &WriteFormat) -> Option<&'static str> {
    match format {
        WriteFormat::Json(json) if json.layout == JsonLayout::Array => Some("JSON as one list"),
        WriteFormat::Arrow(_) => Some("format `arrow`"),
        WriteFormat::Csv(_)
        | WriteFormat::Json(_)
        | WriteFormat::Parquet(_)
        | WriteFormat::Delta(_) => None,
    }
}

fn hint(format: &WriteFormat) -> &'static str {
    match format {
        WriteFormat::Json(_) => "use `format: jsonl`, or mode `overwrite`",
        WriteFormat::Csv(_)
        | WriteFormat::Arrow(_)
        | WriteFormat::Parquet(_)
        | WriteFormat::Delta(_) => "use format `parquet` or `delta`, or mode `overwrite`",
    }
}
