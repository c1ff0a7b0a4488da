//! The fields of a struct as columns: their names before there is data, their arrays when there is.

use odibi_sdk::arrow::schema::Fields;
use odibi_sdk::arrow::select::nullif::nullif;
use odibi_sdk::prelude::*;

/// How far structs are taken apart, and what the parts are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming<'a> {
    /// In front of every name.
    pub(crate) prefix: &'a str,
    /// Between the names of nested fields.
    pub(crate) separator: &'a str,
    /// Levels taken apart, at least 1. Structs below stay structs.
    pub(crate) depth: usize,
}

/// A column for each field, in the order of [`arrays`]. Null structs have null fields, so `nullable` is inherited.
pub(crate) fn fields(fields: &Fields, nullable: bool, naming: &Naming<'_>) -> Vec<Field> {
    let mut out = Vec::new();
    collect(
        fields,
        nullable,
        naming.prefix,
        naming,
        naming.depth,
        &mut out,
    );
    out
}

fn collect(
    fields: &Fields,
    nullable: bool,
    prefix: &str,
    naming: &Naming<'_>,
    depth: usize,
    out: &mut Vec<Field>,
) {
    for field in fields {
        let name = format!("{prefix}{}", field.name());
        let nullable = nullable || field.is_nullable();
        let data_type = field.data_type();
        if let DataType::Struct(inner) = data_type
            && depth > 1
        {
            let prefix = name + naming.separator;
            collect(inner, nullable, &prefix, naming, depth - 1, out);
        } else {
            out.push(Field::new(name, data_type.clone(), nullable));
        }
    }
}

/// # Errors
/// `internal` when the column is no struct.
pub(crate) fn arrays(column: &ArrayRef, depth: usize) -> Result<Vec<ArrayRef>> {
    let mut out = Vec::new();
    take_apart(column, depth, &mut out)?;
    Ok(out)
}

fn take_apart(column: &ArrayRef, depth: usize, out: &mut Vec<ArrayRef>) -> Result<()> {
    let structs = column.as_struct_opt().ok_or_else(|| {
        Failure::internal(format!(
            "planned a struct, was sent: {}",
            column.data_type()
        ))
    })?;
    // Anything may lie under a null.
    let hidden = structs.nulls().filter(|nulls| nulls.null_count() > 0);
    let hidden = hidden.map(|nulls| BooleanArray::new(!nulls.inner(), None));
    for child in structs.columns() {
        let child = match &hidden {
            Some(hidden) => nullif(child, hidden)?,
            None => Arc::clone(child),
        };
        if depth > 1 && matches!(child.data_type(), DataType::Struct(_)) {
            take_apart(&child, depth - 1, out)?;
        } else {
            out.push(child);
        }
    }
    Ok(())
}

/// Fields of a struct column.
///
/// # Errors
/// `unknown-column`, `wrong-type`.
pub(crate) fn of_struct<'a>(input: &'a Schema, column: &str) -> Result<(&'a Fields, bool)> {
    let field = input.field(find("/column", column, input)?);
    if let DataType::Struct(fields) = field.data_type() {
        return Ok((fields, field.is_nullable()));
    }
    let message = format!(
        "column `{column}` must be a struct, is: {}",
        field.data_type()
    );
    let failure = Failure::param("/column", message).code("wrong-type");
    Err(if odibi_sdk::text::is_text(field.data_type()) {
        failure.hint("make a struct of the text first, with `parse_json`")
    } else {
        failure
    })
}
