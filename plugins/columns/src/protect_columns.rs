//! `protect_columns`: changes personal values so that a person cannot be told from them. What `privacy` of a node runs.
//!
//! What is hashed and masked is the text of a value, as `hash_columns` has it.

use arrow_array::{Array as _, StringArray, new_empty_array};
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::hash_columns::digests::{self, push_hex};
use crate::named;

/// What stands in place of a value that is redacted.
const REDACTED: &str = "[REDACTED]";
/// Characters at the end of a value that a mask leaves.
const LEFT: usize = 4;
/// Digits of a digest.
const DIGITS: usize = 64;

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
                Method::Redact => StringArray::new_repeated(REDACTED, column.len()),
                Method::Hash => each(column, DIGITS, &|text, out| hash(text, salt, out))?,
                Method::Mask => each(column, 0, &mask)?,
            };
            Ok(Arc::new(changed) as ArrayRef)
        });
        changed.collect()
    }
}

fn each(
    column: &ArrayRef,
    bytes_each: usize,
    push: &dyn Fn(&[u8], &mut Vec<u8>),
) -> Result<StringArray> {
    digests::changed(column, bytes_each, push)?.ok_or_else(|| {
        let message = format!(
            "planned something to change, was sent: {}",
            column.data_type()
        );
        Failure::internal(message)
    })
}

fn hash(text: &[u8], salt: &str, out: &mut Vec<u8>) {
    let digest = Sha256::new().chain_update(text).chain_update(salt);
    push_hex(out, &digest.finalize());
}

/// Works on bytes, of which all but the first of a character begin with the bits 10.
fn mask(text: &[u8], out: &mut Vec<u8>) {
    let begins = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let mut starts = (0..text.len()).rev().filter(|at| begins(&text[*at]));
    let shown = match starts.nth(LEFT - 1) {
        Some(at) if at > 0 => at,
        Some(_) | None => text.len(),
    };
    let (hidden, shown) = text.split_at(shown);
    let hidden = hidden.iter().filter(|byte| begins(byte)).count();
    out.resize(out.len() + hidden, b'*');
    out.extend_from_slice(shown);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int8Type;
    use arrow_array::{
        Date32Array, Decimal128Array, DictionaryArray, Float32Array, Int64Array, LargeStringArray,
        NullArray, TimestampMillisecondArray, UInt8Array,
    };
    use proptest::prelude::*;

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

    /// As it is documented, character by character and digit by digit.
    fn plainly(method: &str, text: &str, salt: &str) -> String {
        if method == "hash" {
            let digest = Sha256::digest(format!("{text}{salt}").as_bytes());
            return digest.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        let all = text.chars().count();
        let hidden = if all > LEFT { all - LEFT } else { all };
        let hide = |(at, c)| if at < hidden { '*' } else { c };
        text.chars().enumerate().map(hide).collect()
    }

    /// The texts of the column, each changed by itself.
    #[track_caller]
    fn check(column: &ArrayRef, texts: &[Option<&str>]) {
        for method in ["hash", "mask"] {
            let params = json!({ "columns": ["c"], "method": method, "salt": "s→" });
            let changed = texts.iter().map(|t| t.map(|t| plainly(method, t, "s→")));
            let expect: ArrayRef = Arc::new(changed.collect::<StringArray>());
            let got = run_column(OPERATION, params, column).unwrap();
            assert_eq!(&got, &expect, "{method} of {}", column.data_type());
        }
        let params = json!({ "columns": ["c"], "method": "redact" });
        let table = crate::testing::column(column);
        let redacted = odibi_sdk::harness::run(&crate::plugin(), OPERATION, params, &[table]);
        let expect = StringArray::from(vec![REDACTED; column.len()]);
        assert_eq!(redacted.unwrap().column(0).as_string::<i32>(), &expect);
    }

    #[test]
    fn every_type_is_changed_as_its_text() {
        let words = [
            Some("ann"),
            None,
            Some(""),
            Some("ßéö日本 👩‍🔬"),
            Some("12345"),
        ];
        check(
            &(Arc::new(StringArray::from_iter(words)) as ArrayRef),
            &words,
        );
        check(
            &(Arc::new(LargeStringArray::from_iter(words)) as ArrayRef),
            &words,
        );
        let dictionary: DictionaryArray<Int8Type> = words.into_iter().collect();
        check(&(Arc::new(dictionary) as ArrayRef), &words);
        let column: ArrayRef = Arc::new(UInt8Array::from(vec![Some(255), None, Some(7)]));
        check(&column, &[Some("255"), None, Some("7")]);
        let column: ArrayRef = Arc::new(Float32Array::from(vec![Some(-0.125), None, Some(1e9)]));
        check(&column, &[Some("-0.125"), None, Some("1000000000")]);
        let column: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        check(&column, &[Some("true"), None, Some("false")]);
        let column = Decimal128Array::from(vec![Some(150), None]);
        let column = column.with_precision_and_scale(20, 2).unwrap();
        check(&(Arc::new(column) as ArrayRef), &[Some("1.50"), None]);
        let column: ArrayRef = Arc::new(Date32Array::from(vec![Some(20_484), None]));
        check(&column, &[Some("2026-01-31"), None]);
        let column = TimestampMillisecondArray::from(vec![Some(1_250), None]);
        let column: ArrayRef = Arc::new(column.with_timezone("Europe/Berlin"));
        check(&column, &[Some("1970-01-01T00:00:01.25Z"), None]);
        check(&(Arc::new(NullArray::new(2)) as ArrayRef), &[None, None]);
    }

    proptest! {
        #[test]
        fn texts_are_changed_as_documented(texts in proptest::collection::vec(proptest::option::of("[a-z0-9@ßé日🎉\u{301}]{0,90}"), 0..20)) {
            let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
            let column: ArrayRef = Arc::new(texts.iter().copied().collect::<StringArray>());
            check(&column, &texts);
        }
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
