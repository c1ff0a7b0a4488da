//! `protect_columns`: changes personal values so that a person cannot be told from them. What `privacy` of a node runs.
//!
//! What is hashed and masked is the text of a value, as `hash_columns` has it.

use arrow_array::{Array as _, StringArray, new_empty_array};
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::hash_columns::digests;
use crate::named;

/// What stands in place of a value that is redacted.
const REDACTED: &str = "[REDACTED]";
/// Characters at the end of a value that a mask leaves.
const LEFT: usize = 4;

/// Replaces values, as text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProtectColumns {
    /// Columns to change. Their type becomes text.
    columns: Vec<String>,
    /// What becomes of the values.
    method: Method,
    /// What is put behind each value before it is hashed, and keeps others from guessing values. `hash` needs one.
    #[serde(default)]
    salt: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// The SHA-256 digest of the value and the salt, in 64 hexadecimal digits. Null stays null.
    Hash,
    /// All characters but the last four become `*`; of a value of four characters or fewer all do. Null stays null.
    Mask,
    /// `[REDACTED]`, also in place of null.
    Redact,
}

impl Columns for ProtectColumns {
    const NAME: &'static str = "protect_columns";
    const SUMMARY: &'static str = "hashes, masks or redacts personal values";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "hashes with a salt",
                json!({ "columns": ["email"], "method": "hash", "salt": "s3cret" }),
                ["id,email\n1,ann@example.com\n2,\n"],
                "id,email\n\
                1,3e13baa26ba6822b0c781fcb1afb5d9a2d3e8c657faa6d83b996a007285eabd0\n\
                2,\n",
            ),
            Example::new(
                "masks all but the end",
                json!({ "columns": ["card"], "method": "mask" }),
                ["id,card\n1,4111-1111-1111-1234\n2,ab\n"],
                "id,card\n1,***************1234\n2,**\n",
            ),
            Example::new(
                "redacts, also where nothing is",
                json!({ "columns": ["email"], "method": "redact" }),
                ["id,email\n1,ann@example.com\n2,\n"],
                "id,email\n1,[REDACTED]\n2,[REDACTED]\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        if self.method == Method::Hash && self.salt.as_deref().unwrap_or_default().is_empty() {
            let message = "`method: hash` needs a `salt`: without one, values could be guessed";
            return Err(Failure::param("/salt", message).code("missing-salt"));
        }
        let indices = named::each_once("/columns", &self.columns, input)?;
        indices
            .iter()
            .enumerate()
            .try_fold(Outline::of(input), |outline, (i, index)| {
                let field = input.field(*index);
                let pointer = child("/columns", i);
                let has_text = digests::texts(&new_empty_array(field.data_type()))?.is_some();
                if self.method != Method::Redact && !has_text {
                    let wanted = "has no text to hash or mask: use `redact`";
                    return Err(named::unfit(&pointer, field, wanted));
                }
                let nullable = field.is_nullable() && self.method != Method::Redact;
                let changed = Field::new(field.name(), DataType::Utf8, nullable);
                Ok(outline.read(&pointer, field.name())?.put(changed))
            })
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let salt = self.salt.as_deref().unwrap_or_default();
        let changed = batch.columns().iter().map(|column| {
            let changed = match self.method {
                Method::Redact => StringArray::from(vec![REDACTED; column.len()]),
                Method::Hash => each(column, |text| hashed(text, salt))?,
                Method::Mask => each(column, masked)?,
            };
            Ok(Arc::new(changed) as ArrayRef)
        });
        changed.collect()
    }
}

fn each(column: &ArrayRef, change: impl Fn(&str) -> String) -> Result<StringArray> {
    let Some(texts) = digests::texts(column)? else {
        let message = format!(
            "planned something to change, was sent: {}",
            column.data_type()
        );
        return Err(Failure::internal(message));
    };
    Ok(texts.iter().map(|text| text.map(&change)).collect())
}

fn hashed(text: &str, salt: &str) -> String {
    let digest = Sha256::new()
        .chain_update(text.as_bytes())
        .chain_update(salt.as_bytes())
        .finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn masked(text: &str) -> String {
    let all = text.chars().count();
    let hidden = if all > LEFT { all - LEFT } else { all };
    let hide = |(at, c)| if at < hidden { '*' } else { c };
    text.chars().enumerate().map(hide).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::Int64Array;

    use super::*;
    use crate::testing::{check_csv, check_failure, run_column};

    const OPERATION: &str = "protect_columns";
    const TABLE: &str = "id,name,total\n1,,10\n2,ßéö日本,20\n";

    #[test]
    fn values_are_changed_and_no_other_column_is() {
        check_csv(
            OPERATION,
            json!({ "columns": ["name"], "method": "mask" }),
            TABLE,
            "id,name,total\n1,,10\n2,*éö日本,20\n",
        );
        check_csv(
            OPERATION,
            json!({ "columns": ["name", "total"], "method": "redact" }),
            TABLE,
            "id,name,total\n1,[REDACTED],[REDACTED]\n2,[REDACTED],[REDACTED]\n",
        );
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(4_111_111), None]));
        let params = json!({ "columns": ["c"], "method": "mask" });
        let expect: ArrayRef = Arc::new(StringArray::from(vec![Some("***1111"), None]));
        assert_eq!(&run_column(OPERATION, params, &numbers).unwrap(), &expect);
    }

    #[test]
    fn hashes_are_those_of_value_and_salt() {
        // sha256("abcdef")
        let digest = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721";
        check_csv(
            OPERATION,
            json!({ "columns": ["a"], "method": "hash", "salt": "def" }),
            "a\nabc\n",
            &format!("a\n{digest}\n"),
        );
    }

    #[test]
    fn a_hash_without_a_salt_is_refused() {
        for params in [
            json!({ "columns": ["id"], "method": "hash" }),
            json!({ "columns": ["id"], "method": "hash", "salt": "" }),
        ] {
            check_failure(
                OPERATION,
                params,
                TABLE,
                "missing-salt",
                "/salt",
                "`method: hash` needs a `salt`: without one, values could be guessed",
            );
        }
    }

    #[test]
    fn wrong_names_are_shown_where_they_stand() {
        let check = |columns: &[&str], code, param, message| {
            for (method, salt) in [("hash", Some("s")), ("mask", None), ("redact", None)] {
                let params = json!({ "columns": columns, "method": method, "salt": salt });
                check_failure(OPERATION, params, TABLE, code, param, message);
            }
        };
        check(
            &["id", "Name"],
            "unknown-column",
            "/columns/1",
            "unknown column `Name`, did you mean `name`?",
        );
        check(
            &["email"],
            "unknown-column",
            "/columns/0",
            "unknown column `email`",
        );
        check(
            &["name", "id", "name"],
            "repeated-column",
            "/columns/2",
            "column `name` is named twice",
        );
    }
}
