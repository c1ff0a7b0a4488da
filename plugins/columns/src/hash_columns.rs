//! `hash_columns`: replaces values by their digests.
//!
//! What is hashed is the UTF-8 text of the value, so that equal values of different types hash alike where their texts
//! are alike. Text: as it is. Integers: decimal. Floats: the shortest decimal that reads back as the same value, without
//! exponent, `1` for 1.0, `NaN`, `inf`, `-inf`. Decimals: with all digits of their scale. Booleans: `true`, `false`.
//! Dates, times, timestamps: ISO 8601, the fraction of a second without trailing zeros; timestamps with a zone in UTC with
//! `Z`. Binary: its bytes.

pub(crate) mod digests;

use arrow_array::new_empty_array;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::named;

/// Replaces values by their digests, as text. Null stays null.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HashColumns {
    /// Columns to replace by the digests of their values, in lowercase hexadecimal digits; null stays null. What is
    /// hashed is the value's text: integers in decimal, floats in their shortest form, dates and timestamps in ISO 8601
    /// (with a zone: in UTC); binary values are hashed as they are.
    columns: Vec<String>,
    /// How to hash.
    #[serde(default)]
    algorithm: Algorithm,
}

/// A digest of a guessable value can be looked up; neither makes personal data anonymous.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    /// 64 digits.
    #[default]
    Sha256,
    /// 32 digits. Broken as a cryptographic hash; for comparison with systems that use it.
    Md5,
}

impl Columns for HashColumns {
    const NAME: &'static str = "hash_columns";
    const SUMMARY: &'static str = "replaces values by their digests";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "hashes a text; null stays null",
                json!({ "columns": ["email"] }),
                ["id,email,total\n1,ann@example.com,10\n2,,20\n"],
                "id,email,total\n\
                1,71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476,10\n\
                2,,20\n",
            ),
            Example::new(
                "hashes a number with MD5",
                json!({ "columns": ["id"], "algorithm": "md5" }),
                ["id,total\n1,10\n42,20\n"],
                "id,total\nc4ca4238a0b923820dcc509a6f75849b,10\na1d0c6e83f027327d8461063f4ac58a6,20\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let indices = named::each_once("/columns", &self.columns, input)?;
        indices
            .iter()
            .enumerate()
            .try_fold(Outline::of(input), |outline, (i, index)| {
                let field = input.field(*index);
                let pointer = child("/columns", i);
                if digests::of(&new_empty_array(field.data_type()), self.algorithm)?.is_none() {
                    return Err(named::unfit(&pointer, field, "cannot be hashed"));
                }
                let digests = Field::new(field.name(), DataType::Utf8, field.is_nullable());
                Ok(outline.read(&pointer, field.name())?.put(digests))
            })
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let digests =
            batch
                .columns()
                .iter()
                .map(|column| match digests::of(column, self.algorithm)? {
                    Some(digests) => Ok(Arc::new(digests) as ArrayRef),
                    None => Err(Failure::internal(format!(
                        "planned something to hash, was sent: {}",
                        column.data_type()
                    ))),
                });
        digests.collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{Int32Array, StringArray};
    use odibi_sdk::harness;

    use super::*;
    use crate::testing::{check_csv, check_failure, column, run_column};

    const TABLE: &str = "id,name,total\n1,,10\n2,ß,20\n";
    const OPERATION: &str = "hash_columns";

    #[test]
    fn values_become_digests_and_types_text() {
        let md5 = "id,name,total\n1,,10\n2,e11ce22edb052b40813b1e145b704775,20\n";
        check_csv(
            OPERATION,
            json!({ "columns": ["name"], "algorithm": "md5" }),
            TABLE,
            md5,
        );
        let sha256 = "a\n\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\
            cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34\n";
        check_csv(
            OPERATION,
            json!({ "columns": ["a"] }),
            "a\nabc\ndef\n",
            sha256,
        );
        check_csv(OPERATION, json!({ "columns": [] }), TABLE, TABLE);
        check_csv(
            OPERATION,
            json!({ "columns": ["b", "a"] }),
            "a,b\n",
            "a,b\n",
        );
        let nulls: ArrayRef = Arc::new(Int32Array::new_null(3));
        let expect: ArrayRef = Arc::new(StringArray::new_null(3));
        assert_eq!(
            &run_column(OPERATION, json!({ "columns": ["c"] }), &nulls).unwrap(),
            &expect
        );
    }

    #[test]
    fn only_touched_columns_enter() {
        let params = json!({ "columns": ["total", "id"] });
        let needs = harness::needs(
            &crate::plugin(),
            OPERATION,
            params,
            &[harness::table(TABLE)],
        )
        .unwrap();
        assert_eq!(needs, [[2, 0]]);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message)
        };
        let unknown = "unknown column `nme`, did you mean `name`?";
        check(
            json!({ "columns": ["id", "nme"] }),
            "unknown-column",
            "/columns/1",
            unknown,
        );
        let twice = "column `id` is named twice";
        check(
            json!({ "columns": ["id", "id"] }),
            "repeated-column",
            "/columns/1",
            twice,
        );
        let algorithm = "unknown variant `sha1`, expected `sha256` or `md5`";
        check(
            json!({ "columns": ["id"], "algorithm": "sha1" }),
            "invalid-param",
            "/algorithm",
            algorithm,
        );
        let lists = new_empty_array(&DataType::new_list(DataType::Int32, true));
        let params = json!({ "columns": ["c"] });
        let failure =
            harness::run(&crate::plugin(), OPERATION, params, &[column(&lists)]).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.param.as_deref()),
            ("unfit-column", Some("/columns/0"))
        );
    }
}
