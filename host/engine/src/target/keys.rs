//! Keys of rows as bytes that are equal exactly when the keys are, and the rules for nulls and types.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, BinaryArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, Schema};
use odibi_plan::plan::{ColumnName, DuplicateKeys, Keys, NullKeys};
use odibi_story::failure::{Failure, FailureClass, code};

use super::dates::DateFormat;
use crate::failure::{During, classify, internal};

/// Which rows keys are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What is in the target.
    Existing,
    /// What is to be written.
    Batch,
}

/// Makes keys.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    fields: Vec<Field>,
    converter: RowConverter,
    nulls: NullKeys,
    order: Option<(Field, RowConverter)>,
    /// How dates and times stand in texts.
    dates: Option<DateFormat>,
    shown: String,
}

impl KeyMaker {
    /// For rows of this schema. Refuses columns that are not there and types that do not compare.
    pub(crate) fn new(keys: &Keys, schema: &Schema, shown: &str) -> Result<Self, Failure> {
        let mut fields = Vec::with_capacity(keys.columns.len());
        for column in &keys.columns {
            let field = find(schema, column, "keys")?;
            check_type(field)?;
            fields.push(field.clone());
        }
        let order = match keys.duplicate_keys.order_by() {
            Some(column) => {
                let field = find(schema, column, "order_by")?.clone();
                let converter = converter(std::slice::from_ref(&field))?;
                Some((field, converter))
            }
            None => None,
        };
        Ok(Self {
            converter: converter(&fields)?,
            fields,
            nulls: keys.null_keys,
            order,
            dates: None,
            shown: shown.to_owned(),
        })
    }

    /// For a file whose dates and times are written with a format.
    pub(crate) fn with_dates(self, dates: Option<DateFormat>) -> Self {
        Self { dates, ..self }
    }

    /// Names of the columns that [`KeyMaker::make`] wants, the one that decides between duplicates last.
    pub(crate) fn names(&self) -> Vec<String> {
        let order = self.order.iter().map(|(field, _)| field);
        let fields = self.fields.iter().chain(order);
        fields.map(|field| field.name().clone()).collect()
    }

    /// Keys, and by what duplicates are told apart. A key that is null equals nothing. Columns that are not of the types of
    /// the batch (text of a CSV file) are read as those.
    pub(crate) fn make(&self, columns: &[ArrayRef], side: Side) -> Result<Made, Failure> {
        if columns.len() < self.fields.len() {
            return Err(internal("a key has too few columns"));
        }
        let (keys, rest) = columns.split_at(self.fields.len());
        let mut typed = Vec::with_capacity(keys.len());
        for (column, field) in keys.iter().zip(&self.fields) {
            typed.push(self.typed(column, field, side)?);
        }
        let rows = typed.first().map_or(0, |column| column.len());
        let converted = self.converter.convert_columns(&typed);
        let converted = converted.map_err(|e| classify(&e, During::Run))?;
        let mut made = BinaryBuilder::with_capacity(rows, rows * 16);
        let mut nulls = 0_u64;
        for row in 0..rows {
            let null = self.nulls != NullKeys::Equal && typed.iter().any(|c| is_null(c, row));
            if null {
                nulls += 1;
                made.append_null();
            } else {
                made.append_value(converted.row(row).data());
            }
        }
        if nulls > 0 && side == Side::Batch && self.nulls == NullKeys::Error {
            return Err(self.null_keys(&typed));
        }
        let order = match (&self.order, rest.first(), side) {
            (Some((field, converter)), Some(column), Side::Batch) => {
                let column = self.typed(column, field, side)?;
                let rows = converter.convert_columns(&[column]);
                let rows = rows.map_err(|e| classify(&e, During::Run))?;
                let binary = rows.try_into_binary();
                Some(binary.map_err(|e| classify(&e, During::Run))?)
            }
            _ => None,
        };
        Ok(Made {
            keys: made.finish(),
            order,
        })
    }

    fn typed(&self, column: &ArrayRef, field: &Field, side: Side) -> Result<ArrayRef, Failure> {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        let dates = self.dates.as_ref();
        let dates = dates.filter(|_| DateFormat::is_for(field.data_type()));
        let typed = if let (Some(dates), Some(texts)) = (dates, column.as_string_opt::<i32>()) {
            dates.read(texts, field.data_type())
        } else {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            // The library's message quotes the value.
            cast_with_options(column, field.data_type(), &options).ok()
        };
        typed.ok_or_else(|| {
            let (what, file) = match side {
                Side::Existing => ("the target", self.shown.as_str()),
                Side::Batch => ("the result", self.shown.as_str()),
            };
            let message = format!(
                "key column `{}` of {what} holds a value that is no {}: `{file}`",
                field.name(),
                field.data_type()
            );
            Failure::new(FailureClass::Data, code::WRITE_SCHEMA_MISMATCH, message)
                .hint("give the column the same type as in the target, or repair the target")
        })
    }

    fn null_keys(&self, typed: &[ArrayRef]) -> Failure {
        let columns = self.fields.iter().zip(typed);
        let named: Vec<String> = columns
            .filter(|(_, column)| column.null_count() > 0)
            .map(|(field, _)| format!("`{}`", field.name()))
            .collect();
        let message = format!(
            "rows to write have a null in their key: {}",
            named.join(", ")
        );
        Failure::new(FailureClass::Data, code::WRITE_NULL_KEY, message).hint(
            "drop such rows in a step before, or say with `null_keys` whether nulls are `equal` or `distinct`",
        )
    }
}

/// What [`KeyMaker::make`] makes.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) keys: BinaryArray,
    pub(crate) order: Option<BinaryArray>,
}

/// The failure of rows with equal keys in one batch. Their values are not named: they are data.
pub(crate) fn duplicate_keys(keys: &Keys, rows: u64) -> Failure {
    let columns: Vec<String> = keys
        .columns
        .iter()
        .map(|c| format!("`{}`", c.name))
        .collect();
    let message = format!(
        "rows to write have the key of another one ({}): {rows}",
        columns.join(", ")
    );
    debug_assert_eq!(keys.duplicate_keys, DuplicateKeys::Error);
    Failure::new(FailureClass::Data, code::WRITE_DUPLICATE_KEY, message).hint(
        "use the operation `deduplicate` before, or say with `duplicate_keys` whether the `first` or the `last` stays",
    )
}

/// The failure of an upsert of a key that the target holds more than once.
pub(crate) fn duplicate_in_target(shown: &str) -> Failure {
    let message = format!("several rows of `{shown}` have the key of one row to write");
    Failure::new(FailureClass::Data, code::WRITE_DUPLICATE_KEY, message)
        .hint("make the keys of the target unique first, or add columns to `keys`")
}

fn is_null(column: &ArrayRef, row: usize) -> bool {
    column.is_null(row) || column.data_type() == &DataType::Null
}

fn find<'a>(schema: &'a Schema, column: &ColumnName, key: &str) -> Result<&'a Field, Failure> {
    let name = column.name.as_str();
    if let Ok(field) = schema.field_with_name(name) {
        return Ok(field);
    }
    let message = format!("the result has no column `{name}`, which `{key}` names");
    let failure = Failure::new(FailureClass::Data, code::WRITE_BAD_KEY, message);
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let nearest = names
        .map(|other| (strsim::normalized_damerau_levenshtein(name, other), other))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Err(match nearest {
        Some((score, other)) if score >= 0.5 => failure.hint(format!("did you mean `{other}`?")),
        Some(_) | None => failure.hint("`odibi plan` shows the columns of the result"),
    })
}

/// Floats do not tell rows apart: what is printed alike may differ. Nested columns have no order that every format keeps.
fn check_type(field: &Field) -> Result<(), Failure> {
    let what = if field.data_type().is_floating() {
        "a floating point number, which is no key"
    } else if field.data_type().is_nested() {
        "nested, which is no key"
    } else {
        return Ok(());
    };
    let message = format!(
        "key column `{}` is {what}: {}",
        field.name(),
        field.data_type()
    );
    let hint =
        "use columns of whole numbers, decimals, text, dates or times; cast it in a step before";
    Err(Failure::new(FailureClass::Data, code::WRITE_BAD_KEY, message).hint(hint))
}

fn converter(fields: &[Field]) -> Result<RowConverter, Failure> {
    let sorts = fields.iter().map(|f| SortField::new(f.data_type().clone()));
    RowConverter::new(sorts.collect()).map_err(|e| {
        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
        let message = format!("these columns cannot be compared: `{}`", names.join("`, `"));
        Failure::new(FailureClass::Data, code::WRITE_BAD_KEY, message).cause(e.to_string())
    })
}
