//! Columns of a batch as a Delta table keeps them, and beside those that a table has.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use odibi_plan::plan::{ColumnName, OnMissingColumns, OnNewColumns, SchemaPolicy};
use odibi_story::failure::{Failure, FailureClass, code};

/// Columns that a message names.
const NAMED_MAX: usize = 8;
/// Digits of a decimal number that Delta has.
const DIGITS_MAX: u8 = 38;

/// The columns of a batch in the types that Delta has; every one may be null.
pub(crate) fn stored(schema: &Schema) -> Result<SchemaRef, Failure> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Some(data_type) = stored_type(field.data_type()) else {
            let message = format!(
                "Delta tables have no type for column `{}`: {}",
                field.name(),
                field.data_type()
            );
            return Err(
                Failure::new(FailureClass::Data, code::WRITE_UNSUPPORTED_TYPE, message)
                    .hint("cast it before the write, for example with `cast_columns`"),
            );
        };
        fields.push(Field::new(field.name(), data_type, true));
    }
    let mut lower: Vec<String> = fields.iter().map(|f| f.name().to_lowercase()).collect();
    lower.sort();
    if let Some(twice) = lower.windows(2).find(|w| w[0] == w[1]) {
        let message = format!("the result has two columns of one name: `{}`", twice[0]);
        return Err(
            Failure::new(FailureClass::Data, code::WRITE_DUPLICATE_COLUMN, message)
                .hint("rename one of them before the write: Delta does not tell case apart"),
        );
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is not listed has no counterpart"
)]
fn stored_type(data_type: &DataType) -> Option<DataType> {
    let nested = |field: &FieldRef| -> Option<FieldRef> {
        let stored = stored_type(field.data_type())?;
        Some(Arc::new(Field::new(field.name(), stored, true)))
    };
    Some(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Utf8
        | DataType::Binary => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale)
            if *digits <= DIGITS_MAX && *scale >= 0 && scale.unsigned_abs() <= *digits =>
        {
            DataType::Decimal128(*digits, *scale)
        }
        DataType::Dictionary(_, value) => stored_type(value)?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            let item = stored_type(item.data_type())?;
            DataType::List(Arc::new(Field::new("element", item, true)))
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            DataType::Struct(fields.iter().map(nested).collect::<Option<Fields>>()?)
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return None;
            };
            let [key, value] = &**fields else {
                return None;
            };
            let entry = [
                Arc::new(Field::new("key", stored_type(key.data_type())?, false)),
                Arc::new(Field::new("value", stored_type(value.data_type())?, true)),
            ];
            let entries = Field::new("key_value", DataType::Struct(entry.into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        _ => return None,
    })
}

/// The same, whatever the items are called and whether they may be null?
fn is_same(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => is_same(a.data_type(), b.data_type()),
        (DataType::Map(a, _), DataType::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|(a, b)| is_same(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && is_same(a.data_type(), b.data_type()))
        }
        _ => a == b,
    }
}

/// What may become of the columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    pub(crate) policy: SchemaPolicy,
    /// In mode overwrite: the columns of the batch replace those of the table.
    pub(crate) overwrite: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            policy: SchemaPolicy::STRICT,
            overwrite: false,
        }
    }
}

/// What a batch and a table have together.
#[derive(Debug, Clone)]
pub(crate) struct Alignment {
    /// The columns of the batch, in the types and the order of the table; new ones behind.
    pub(crate) schema: SchemaRef,
    /// Columns that the table gets.
    pub(crate) added: Vec<String>,
    /// Columns that the batch lacks.
    pub(crate) missing: Vec<String>,
}

/// Compares the columns of a batch with those of a table.
pub(crate) fn align(
    batch: &Schema,
    table: &Schema,
    policy: SchemaPolicy,
    overwrites: bool,
    shown: &str,
) -> Result<Alignment, Failure> {
    let (mut fields, mut missing, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for field in table.fields() {
        match batch.fields().find(field.name()) {
            None => missing.push(field.name().clone()),
            Some((_, own)) => {
                let wanted = stored_type(field.data_type());
                if !wanted.is_some_and(|wanted| is_same(&wanted, own.data_type())) {
                    changed.push(format!(
                        "`{}` is {} in the table and {} in the batch",
                        field.name(),
                        field.data_type(),
                        own.data_type()
                    ));
                }
                fields.push(Arc::clone(field));
            }
        }
    }
    let is_new = |field: &&FieldRef| table.fields().find(field.name()).is_none();
    let new: Vec<&FieldRef> = batch.fields().iter().filter(is_new).collect();
    let mut added: Vec<String> = new.iter().map(|field| field.name().clone()).collect();
    let differs = (policy.on_new_columns == OnNewColumns::Fail && !added.is_empty())
        || (policy.on_missing_columns == OnMissingColumns::Fail && !missing.is_empty());
    if !changed.is_empty() || differs {
        let named = |names: &[String], what: &str| {
            let names: Vec<String> = names
                .iter()
                .take(NAMED_MAX)
                .map(|n| format!("`{n}`"))
                .collect();
            (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
        };
        let hint = if overwrites {
            "set `overwrite_schema: true` to give the table the columns of the batch, or change the steps"
        } else if changed.is_empty() {
            "set `merge_schema: true` to let the table have both, or change the steps"
        } else {
            "cast the columns before the write, for example with `cast_columns`"
        };
        let mut failure = Failure::new(
            FailureClass::Data,
            code::WRITE_SCHEMA,
            format!("the batch has other columns than the Delta table `{shown}`"),
        );
        let parts = [
            named(&added, "not in the table"),
            named(&missing, "not in the batch"),
        ];
        for part in parts.into_iter().flatten() {
            failure = failure.cause(part);
        }
        for part in changed.into_iter().take(NAMED_MAX) {
            failure = failure.cause(part);
        }
        return Err(failure.hint(hint));
    }
    if policy.on_new_columns == OnNewColumns::Ignore {
        added.clear();
    } else {
        fields.extend(new.into_iter().map(Arc::clone));
    }
    Ok(Alignment {
        schema: Arc::new(Schema::new(fields)),
        added,
        missing,
    })
}

/// Refuses columns that do not exist, or whose type cannot be a partition.
pub(crate) fn check_partitions(
    partition_by: &[ColumnName],
    batch: &Schema,
    shown: &str,
) -> Result<(), Failure> {
    for column in partition_by {
        let Some((_, field)) = batch.fields().find(&column.name) else {
            return Err(no_column("partition_by", &column.name, batch));
        };
        let data_type = field.data_type();
        if data_type.is_nested() || matches!(data_type, DataType::Binary) {
            let message = format!(
                "`{shown}` cannot be partitioned by column `{}` of type {data_type}",
                column.name
            );
            return Err(Failure::new(
                FailureClass::Data,
                code::WRITE_UNSUPPORTED_TYPE,
                message,
            ));
        }
    }
    if !batch.fields().is_empty() && batch.fields().len() == partition_by.len() {
        return Err(Failure::new(
            FailureClass::Data,
            code::WRITE_SCHEMA,
            format!("every column of `{shown}` is in `partition_by`, so its files would be empty"),
        ));
    }
    Ok(())
}

/// The failure of a column that the YAML names and the batch has not.
pub(crate) fn no_column(key: &str, name: &str, batch: &Schema) -> Failure {
    let names: Vec<String> = batch
        .fields()
        .iter()
        .take(NAMED_MAX)
        .map(|f| format!("`{}`", f.name()))
        .collect();
    Failure::new(
        FailureClass::Data,
        code::WRITE_SCHEMA,
        format!("`{key}` names a column that the result has not: `{name}`"),
    )
    .hint(format!("its columns are {}", names.join(", ")))
}

/// A batch in the columns of `schema`, by name. What cannot be kept as it is fails.
pub(crate) fn cast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Err(no_column("keys", field.name(), batch.schema_ref()));
        };
        columns.push(cast_column(column, field)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|e| {
        let message = "the batch has nulls where the Delta table allows none";
        Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message).cause(e.to_string())
    })
}

fn cast_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef, Failure> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let refused = |what: String| {
        let message = format!("column `{}` does not fit the Delta table", field.name());
        Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message).cause(what)
    };
    let stored = cast_with_options(column, field.data_type(), &strict)
        .map_err(|e| refused(e.to_string()))?;
    if let DataType::Timestamp(TimeUnit::Nanosecond, _) = column.data_type() {
        let back = cast_with_options(&stored, column.data_type(), &strict);
        if back.map_err(|e| refused(e.to_string()))?.to_data() != column.to_data() {
            let what = "its times are finer than a microsecond";
            return Err(refused(what.to_owned()).hint("round them before the write"));
        }
    }
    Ok(stored)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use arrow_array::{Int64Array, TimestampNanosecondArray, UInt64Array};

    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        let field =
            |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
        Schema::new(fields.iter().map(field).collect::<Vec<_>>())
    }

    const IGNORING: SchemaPolicy = SchemaPolicy {
        on_new_columns: OnNewColumns::Ignore,
        on_missing_columns: OnMissingColumns::Fail,
    };

    #[track_caller]
    fn check(batch: &[(&str, DataType)], policy: SchemaPolicy, wanted: Result<&str, &str>) {
        let table = schema(&[("id", DataType::Int64), ("t", DataType::Utf8)]);
        let batch = stored(&schema(batch)).unwrap();
        let aligned = align(&batch, &table, policy, false, "t");
        let found = aligned
            .map(|a| {
                let names = a.schema.fields().iter().map(|f| f.name().clone());
                names.collect::<Vec<_>>().join(" ")
            })
            .map_err(|f| f.causes.join("; "));
        assert_eq!(found, wanted.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn columns_are_compared_by_name_and_type() {
        use DataType::{Int64, LargeUtf8, UInt32, Utf8};
        let (strict, union) = (SchemaPolicy::STRICT, SchemaPolicy::UNION);
        check(&[("t", LargeUtf8), ("id", UInt32)], strict, Ok("id t"));
        check(&[("id", Int64)], strict, Err("not in the batch: `t`"));
        check(&[("id", Int64)], union, Ok("id"));
        check(&[("id", Int64)], IGNORING, Err("not in the batch: `t`"));
        let wide = [("id", Int64), ("t", Utf8), ("é", Utf8)];
        check(&wide, strict, Err("not in the table: `é`"));
        check(&wide, IGNORING, Ok("id t"));
        check(&[("é", Utf8), ("id", Int64)], union, Ok("id é"));
        check(
            &[("id", Utf8), ("t", Utf8)],
            union,
            Err("`id` is Int64 in the table and Utf8 in the batch"),
        );
    }

    #[test]
    fn what_delta_cannot_keep_is_refused() {
        let time = DataType::Time64(TimeUnit::Microsecond);
        let failure = stored(&schema(&[("t", time)])).unwrap_err();
        assert_eq!(failure.code, code::WRITE_UNSUPPORTED_TYPE.name);
        let twice = schema(&[("a", DataType::Int64), ("A", DataType::Int64)]);
        let failure = stored(&twice).unwrap_err();
        assert_eq!(failure.code, code::WRITE_DUPLICATE_COLUMN.name);
    }

    #[test]
    fn values_are_kept_whole_or_refused() {
        let of = |array: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
            let wanted = stored(&batch.schema()).unwrap();
            cast(&batch, &wanted)
        };
        assert!(of(Arc::new(UInt64Array::from(vec![u64::MAX]))).is_ok());
        assert!(of(Arc::new(TimestampNanosecondArray::from(vec![1_000]))).is_ok());
        assert!(of(Arc::new(TimestampNanosecondArray::from(vec![1_001]))).is_err());
        let narrow = Arc::new(schema(&[("c", DataType::Int8)]));
        let wide = Arc::new(Int64Array::from(vec![300])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("c", wide)]).unwrap();
        assert!(cast(&batch, &narrow).is_err());
    }
}
