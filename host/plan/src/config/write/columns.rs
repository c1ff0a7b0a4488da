//! What may become of the columns of a target: `schema_policy`, `merge_schema` and `overwrite_schema`.
//!
//! ```yaml
//! write: {…, schema_policy: {mode: evolve, on_new_columns: add_nullable, on_missing_columns: fill_null}}
//! ```

use crate::config::format::policy;
use crate::config::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{SchemaPolicy, WriteMode};
use crate::yaml::Entry;

/// What the keys of a write say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    /// `schema_policy`, or what `merge_schema: true` stands for.
    pub(super) policy: Option<SchemaPolicy>,
    /// `overwrite_schema`
    pub(super) overwrite: bool,
}

/// Reads them; `None` when they contradict each other or the mode.
pub(super) fn columns(reader: &mut Reader<'_>, mode: Option<&WriteMode>) -> Option<Columns> {
    let merge = reader.boolean("merge_schema", false);
    let overwrite = reader.boolean("overwrite_schema", false);
    let entry = reader.optional("schema_policy");
    let policy = policy(reader);
    if policy.is_none() && entry.is_some() {
        return None;
    }
    let merge_entry = reader.optional("merge_schema").filter(|_| merge);
    if let (Some(merge), Some(entry)) = (merge_entry, entry) {
        reader.exclusive(merge, entry);
        return None;
    }
    let of_overwrite = reader.optional("overwrite_schema").filter(|_| overwrite);
    if let Some(at) = of_overwrite {
        let other = merge_entry.or(entry);
        if let Some(other) = other {
            let message = format!(
                "`overwrite_schema` and {} of {} contradict each other",
                quoted(&other.key),
                reader.subject()
            );
            let hint = format!(
                "keep {} to add columns, or `overwrite_schema` to replace them",
                quoted(&other.key)
            );
            wrong(reader, at, message, &hint);
            return None;
        }
        if let Some(mode) = mode.filter(|mode| **mode != WriteMode::Overwrite) {
            let message = format!(
                "`overwrite_schema` of {} has no meaning in mode {}",
                reader.subject(),
                quoted(mode.word())
            );
            wrong(reader, at, message, "use `merge_schema` to add columns");
            return None;
        }
    }
    Some(Columns {
        policy: policy.or(merge.then_some(SchemaPolicy::UNION)),
        overwrite,
    })
}

fn wrong(reader: &Reader<'_>, entry: &Entry, message: String, hint: &str) {
    let made = Diagnostic::error(&codes::WRITE_MODE, entry.key_span, message);
    reader.context().report(made.hint(hint));
}
