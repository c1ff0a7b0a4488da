//! The texts of several columns joined to one key.

use arrow_array::new_empty_array;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::hash_columns::digests;
use crate::named;

/// Reads these columns, whose values must have a text.
///
/// # Errors
/// `unknown-column`, `repeated-column`, `unfit-column`, none at all.
pub(crate) fn read(outline: Outline, columns: &[String], input: &Schema) -> Result<Outline> {
    if columns.is_empty() {
        return Err(Failure::param(
            "/columns",
            "at least one column must be named",
        ));
    }
    let indices = named::each_once("/columns", columns, input)?;
    let mut indices = indices.into_iter().enumerate();
    indices.try_fold(outline, |outline, (i, index)| {
        let field = input.field(index);
        let pointer = child("/columns", i);
        if digests::texts(&new_empty_array(field.data_type()))?.is_none() {
            return Err(named::unfit(&pointer, field, "cannot be part of a key"));
        }
        outline.read(&pointer, field.name())
    })
}

/// Calls with the key of each row.
///
/// # Errors
/// A column was sent that `read` refuses.
pub(crate) fn for_each(
    columns: &[ArrayRef],
    separator: &str,
    mut call: impl FnMut(&str),
) -> Result<()> {
    let mut texts: Vec<StringArray> = Vec::with_capacity(columns.len());
    for column in columns {
        let missing = || Failure::internal(format!("no text: {}", column.data_type()));
        texts.push(digests::texts(column)?.ok_or_else(missing)?);
    }
    let mut key = String::new();
    for row in 0..columns.first().map_or(0, |c| c.len()) {
        key.clear();
        for (i, column) in texts.iter().enumerate() {
            if i > 0 {
                key.push_str(separator);
            }
            // Null has no text, and is thus like the empty one.
            if column.is_valid(row) {
                key.push_str(column.value(row));
            }
        }
        call(&key);
    }
    Ok(())
}
