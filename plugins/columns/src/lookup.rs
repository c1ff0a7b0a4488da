//! Values of a column looked up in a mapping of the params, by the column's type.

use std::collections::{BTreeMap, HashMap};

use arrow_array::new_null_array;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_row::{RowConverter, SortField};
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::fill_nulls::kernel::{self, Misfit};
use crate::fill_nulls::value::FillValue;

/// One value as an array of this type; a text is read as a number or as true or false where the type asks for it. `what`
/// says whose value it is.
///
/// # Errors
/// `unfit-value`, `unfit-column`.
pub(crate) fn typed(
    pointer: &str,
    value: &FillValue,
    field: &Field,
    what: &str,
) -> Result<ArrayRef> {
    let read = match value {
        FillValue::Text(text) => read(text, field.data_type()),
        FillValue::Bool(_) | FillValue::Int(_) | FillValue::Float(_) => None,
    };
    let value = read.as_ref().unwrap_or(value);
    let null = new_null_array(field.data_type(), 1);
    kernel::filled(&null, value).map_err(|misfit| {
        let (name, data_type) = (field.name(), field.data_type());
        match misfit {
            Misfit::Takes(wanted) => {
                let message = format!(
                    "{what} of column `{name}` of type {data_type} must be {wanted}, is: {value}"
                );
                let failure = Failure::param(pointer, message).code("unfit-value");
                match value.hint(data_type) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
            Misfit::Unsupported => {
                crate::named::unfit(pointer, field, "has values that a mapping cannot name")
            }
            Misfit::TooLarge | Misfit::KeysFull => crate::text::too_large().at_param(pointer),
            Misfit::Broken(error) => Failure::from(error),
        }
    })
}

/// Keys of a mapping are always text.
fn read(text: &str, data_type: &DataType) -> Option<FillValue> {
    if let DataType::Dictionary(_, values) = data_type {
        return read(text, values);
    }
    if *data_type == DataType::Boolean || data_type.is_numeric() {
        return match serde_json::from_str(text).ok()? {
            FillValue::Text(_) => None,
            value @ (FillValue::Bool(_) | FillValue::Int(_) | FillValue::Float(_)) => Some(value),
        };
    }
    None
}

/// Which entry of a mapping each value of a column is.
pub(crate) struct Lookup {
    converter: RowConverter,
    entries: HashMap<Box<[u8]>, usize>,
}

impl Lookup {
    /// Keys in the order of the mapping; the pointer is the mapping's.
    ///
    /// # Errors
    /// As `typed`, or two keys are one value, like `1` and `1.0`.
    pub(crate) fn new<V>(
        pointer: &str,
        mapping: &BTreeMap<String, V>,
        field: &Field,
    ) -> Result<Self> {
        let sort_field = SortField::new(field.data_type().clone());
        if !RowConverter::supports_fields(std::slice::from_ref(&sort_field)) {
            let wanted = "has values that a mapping cannot name";
            return Err(crate::named::unfit(pointer, field, wanted));
        }
        let converter = RowConverter::new(vec![sort_field])?;
        let mut entries = HashMap::with_capacity(mapping.len());
        // A column without a type holds nothing but nulls.
        if *field.data_type() == DataType::Null {
            return Ok(Self { converter, entries });
        }
        for (entry, key) in mapping.keys().enumerate() {
            let pointer = child(pointer, key);
            let value = typed(&pointer, &FillValue::Text(key.clone()), field, "a value")?;
            let rows = converter.convert_columns(&[one_zero(&value)])?;
            if entries.insert(rows.row(0).data().into(), entry).is_some() {
                let message = format!("the value `{key}` stands in the mapping twice");
                return Err(Failure::param(pointer, message));
            }
        }
        Ok(Self { converter, entries })
    }

    /// The entry of each value; none for null and for values that the mapping does not have.
    ///
    /// # Errors
    /// Arrow refuses.
    pub(crate) fn of(&self, column: &ArrayRef) -> Result<Vec<Option<usize>>> {
        if self.entries.is_empty() {
            return Ok(vec![None; column.len()]);
        }
        let rows = self.converter.convert_columns(&[one_zero(column)])?;
        let entries = rows.iter().map(|row| self.entries.get(row.data()).copied());
        Ok(entries.collect())
    }
}

/// -0 is 0.
fn one_zero(column: &ArrayRef) -> ArrayRef {
    if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        Arc::new(floats.unary::<_, Float64Type>(|v| v + 0.0))
    } else if let Some(floats) = column.as_primitive_opt::<Float32Type>() {
        Arc::new(floats.unary::<_, Float32Type>(|v| v + 0.0))
    } else {
        Arc::clone(column)
    }
}
