//! The columns that a param names: each is there, and named once.

use odibi_sdk::outline::find;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

/// Indices of the named columns; the pointer of the n-th is `pointer/n`.
///
/// # Errors
/// `unknown-column`, `repeated-column`.
pub(crate) fn each_once(pointer: &str, names: &[String], input: &Schema) -> Result<Vec<usize>> {
    let mut indices = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let pointer = child(pointer, i);
        let index = find(&pointer, name, input)?;
        if indices.contains(&index) {
            let failure = Failure::param(pointer, format!("column `{name}` is named twice"));
            return Err(failure
                .code("repeated-column")
                .hint("leave one of the two out"));
        }
        indices.push(index);
    }
    Ok(indices)
}

/// A param names a column whose type the operation has no use for. Code `unfit-column`.
pub(crate) fn unfit(pointer: &str, field: &Field, wanted: &str) -> Failure {
    let message = format!("column `{}` {wanted}: {}", field.name(), field.data_type());
    Failure::param(pointer, message).code("unfit-column")
}
