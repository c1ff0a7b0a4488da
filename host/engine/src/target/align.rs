//! The columns of a batch beside those that its target has, where the project says what becomes of differences.
//!
//! What is written are the columns of the target, in its order, and behind them what is added. A type never changes.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use odibi_plan::plan::{ColumnName, OnMissingColumns, OnNewColumns, SchemaPolicy};
use odibi_story::failure::{Failure, FailureClass, code};

use crate::failure::{During, classify};

/// Columns that a message names.
const NAMED_MAX: usize = 8;

/// A column of a target; text files do not tell types.
pub(crate) type Known = (String, Option<DataType>);

/// How a batch becomes what is written.
#[derive(Debug)]
pub(crate) struct Alignment {
    /// Columns that are written.
    pub(crate) schema: SchemaRef,
    /// Of each, its place in the batch; none for one that is null.
    origins: Vec<Option<usize>>,
}

impl Alignment {
    /// The batch in the columns that are written.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        let rows = batch.num_rows();
        let origins = self.origins.iter().zip(self.schema.fields());
        let columns = origins.map(|(at, field)| match at {
            Some(at) => Arc::clone(batch.column(*at)),
            None => new_null_array(field.data_type(), rows),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = columns.collect();
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| classify(&e, During::Run))
    }
}

/// Compares. `stored` are the columns of the batch as the format keeps them, where it keeps types; `partition_by` are in no
/// file and come last.
pub(crate) fn align(
    batch: &SchemaRef,
    stored: Option<&Schema>,
    target: &[Known],
    partition_by: &[ColumnName],
    policy: SchemaPolicy,
    shown: &str,
) -> Result<Alignment, Failure> {
    let is_partition = |name: &str| partition_by.iter().any(|column| column.name == name);
    let (mut fields, mut origins) = (Vec::new(), Vec::new());
    let (mut missing, mut changed) = (Vec::new(), Vec::new());
    for (name, data_type) in target {
        if let Some((at, field)) = batch.column_with_name(name) {
            let own = stored.and_then(|stored| stored.field_with_name(name).ok());
            if let (Some(there), Some(own)) = (data_type, own)
                && !there.equals_datatype(own.data_type())
            {
                let own = own.data_type();
                changed.push(format!(
                    "`{name}` is {there} in the target and {own} in the result"
                ));
            }
            fields.push(Arc::new(field.clone()));
            origins.push(Some(at));
        } else {
            missing.push(name.clone());
            let data_type = data_type.clone().unwrap_or(DataType::Utf8);
            fields.push(Arc::new(Field::new(name, data_type, true)));
            origins.push(None);
        }
    }
    let mut added = Vec::new();
    for (at, field) in batch.fields().iter().enumerate() {
        let known = target.iter().any(|(name, _)| name == field.name());
        if known || is_partition(field.name()) {
            continue;
        }
        added.push(field.name().clone());
        if policy.on_new_columns != OnNewColumns::Ignore {
            fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
            origins.push(Some(at));
        }
    }
    for column in partition_by {
        if let Some((at, field)) = batch.column_with_name(&column.name) {
            fields.push(Arc::new(field.clone()));
            origins.push(Some(at));
        }
    }
    let new = policy.on_new_columns == OnNewColumns::Fail && !added.is_empty();
    let lost = policy.on_missing_columns == OnMissingColumns::Fail && !missing.is_empty();
    if new || lost || !changed.is_empty() {
        return Err(refused(&added, &missing, changed, shown));
    }
    Ok(Alignment {
        schema: Arc::new(Schema::new(fields)),
        origins,
    })
}

fn refused(added: &[String], missing: &[String], changed: Vec<String>, shown: &str) -> Failure {
    let named = |names: &[String], what: &str| {
        let names = names.iter().take(NAMED_MAX);
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
    };
    let hint = if changed.is_empty() {
        "change the steps, or say in `schema_policy` what becomes of such columns"
    } else {
        "cast the columns before the write, for example with `cast_columns`"
    };
    let message = format!("the result has other columns than `{shown}`");
    let mut failure = Failure::new(FailureClass::Data, code::WRITE_SCHEMA, message);
    let parts = [
        named(added, "not in the target"),
        named(missing, "not in the result"),
    ];
    for part in parts.into_iter().flatten() {
        failure = failure.cause(part);
    }
    for part in changed.into_iter().take(NAMED_MAX) {
        failure = failure.cause(part);
    }
    failure.hint(hint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn schema(names: &[&str]) -> SchemaRef {
        let field = |name: &&str| Field::new(*name, DataType::Int64, true);
        Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
    }

    #[track_caller]
    fn check(
        batch: &[&str],
        new: OnNewColumns,
        missing: OnMissingColumns,
        wanted: Result<&str, &str>,
    ) {
        let target = [
            ("a".to_owned(), Some(DataType::Int64)),
            ("b".to_owned(), None),
        ];
        let policy = SchemaPolicy {
            on_new_columns: new,
            on_missing_columns: missing,
        };
        let batch = schema(batch);
        let found = align(&batch, Some(&batch), &target, &[], policy, "t");
        let found = found.map_err(|failure| failure.causes.join("; ")).map(|a| {
            let names = a.schema.fields().iter().zip(&a.origins);
            let names = names.map(|(f, at)| match at {
                Some(at) => format!("{}{at}", f.name()),
                None => format!("{}-", f.name()),
            });
            names.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found, wanted.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn the_policy_decides() {
        use {OnMissingColumns as M, OnNewColumns as N};
        check(&["b", "a"], N::Fail, M::Fail, Ok("a1 b0"));
        check(&["c", "a"], N::Ignore, M::FillNull, Ok("a1 b-"));
        check(&["c", "a"], N::AddNullable, M::FillNull, Ok("a1 b- c0"));
        check(
            &["c", "a", "b"],
            N::Fail,
            M::FillNull,
            Err("not in the target: `c`"),
        );
        check(
            &["a"],
            N::AddNullable,
            M::Fail,
            Err("not in the result: `b`"),
        );
    }

    #[test]
    fn a_type_never_changes() {
        let batch = schema(&["a"]);
        let target = [("a".to_owned(), Some(DataType::Utf8))];
        let failure = align(&batch, Some(&batch), &target, &[], SchemaPolicy::UNION, "t");
        let failure = failure.unwrap_err();
        assert_eq!(failure.code, code::WRITE_SCHEMA.name);
        assert_eq!(
            failure.causes,
            ["`a` is Utf8 in the target and Int64 in the result"]
        );
    }
}
