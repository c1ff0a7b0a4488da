//! `generate_surrogate_key`: a key that depends on the values of some columns, and on nothing else.

use arrow_array::builder::StringBuilder;
use md5::{Digest as _, Md5};
use odibi_sdk::prelude::*;

use crate::hash_columns::digests::push_hex;
use crate::joined;

const MD5_DIGITS: usize = 32;

/// Makes a key of the values of some columns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerateSurrogateKey {
    /// Columns that make the key, in this order. Their texts are those that `hash_columns` hashes; null is the empty text,
    /// so that the key is never null, and keys that ODIBI has made of texts stay valid.
    columns: Vec<String>,
    /// What stands between the texts.
    #[serde(default = "hyphen")]
    separator: String,
    /// Column that receives the key: the MD5 of the joined texts in 32 lowercase hexadecimal digits, as dbt makes it.
    #[serde(default = "surrogate_key")]
    output_col: String,
}

fn hyphen() -> String {
    "-".to_owned()
}

fn surrogate_key() -> String {
    "surrogate_key".to_owned()
}

impl Columns for GenerateSurrogateKey {
    const NAME: &'static str = "generate_surrogate_key";
    const SUMMARY: &'static str = "makes a text key of the values of some columns";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "makes a key of two columns",
                json!({ "columns": ["shop", "order"] }),
                ["shop,order\nberlin,1\nberlin,2\n"],
                "shop,order,surrogate_key\nberlin,1,aac2e5ad55609a9fdc70c01da21ede81\nberlin,2,528de0874b592d107d02b0cc7e2d3e21\n",
            ),
            Example::new(
                "null is the empty text",
                json!({ "columns": ["email"], "output_col": "key" }),
                ["id,email\n1,a@example.org\n2,\n"],
                "id,email,key\n1,a@example.org,22c2268861a8547b97a84c1c112b9525\n2,,d41d8cd98f00b204e9800998ecf8427e\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        joined::read(Outline::of(input), &self.columns, input)?.add(
            "/output_col",
            Field::new(&self.output_col, DataType::Utf8, false),
        )
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = batch.num_rows();
        let mut keys = StringBuilder::with_capacity(rows, rows * MD5_DIGITS);
        let mut digits = Vec::with_capacity(MD5_DIGITS);
        joined::for_each(batch.columns(), &self.separator, |key| {
            digits.clear();
            push_hex(&mut digits, &Md5::digest(key.as_bytes()));
            keys.append_value(String::from_utf8_lossy(&digits));
        })?;
        Ok(vec![Arc::new(keys.finish())])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::new_empty_array;
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_csv, check_failure, column};

    const OPERATION: &str = "generate_surrogate_key";
    const TABLE: &str = "n,t,d\n1,ä,2026-01-01\n,,\n";

    fn md5(text: &str) -> String {
        let mut digits = Vec::new();
        push_hex(&mut digits, &Md5::digest(text.as_bytes()));
        String::from_utf8(digits).unwrap()
    }

    #[track_caller]
    fn check(params: Value, first: &str, second: &str) {
        let (first, second) = (md5(first), md5(second));
        let expect = format!("n,t,d,surrogate_key\n1,ä,2026-01-01,{first}\n,,,{second}\n");
        check_csv(OPERATION, params, TABLE, &expect);
    }

    #[test]
    fn keys_are_digests_of_joined_texts() {
        check(
            json!({ "columns": ["t", "n", "d"] }),
            "ä-1-2026-01-01",
            "--",
        );
        check(json!({ "columns": ["n", "t"], "separator": "" }), "1ä", "");
        check_csv(
            OPERATION,
            json!({ "columns": ["a"] }),
            "a\n",
            "a,surrogate_key\n",
        );
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message);
        };
        let near = "unknown column `T`, did you mean `t`?";
        check(
            json!({ "columns": ["n", "T"] }),
            "unknown-column",
            "/columns/1",
            near,
        );
        let none = "at least one column must be named";
        check(json!({ "columns": [] }), "invalid-param", "/columns", none);
        let twice = "column `n` is named twice";
        check(
            json!({ "columns": ["n", "n"] }),
            "repeated-column",
            "/columns/1",
            twice,
        );
        let exists = "column `t` exists already";
        check(
            json!({ "columns": ["n"], "output_col": "t" }),
            "duplicate-column",
            "/output_col",
            exists,
        );
        for unfit in [DataType::Binary, DataType::new_list(DataType::Int32, true)] {
            let table = column(&new_empty_array(&unfit));
            let params = json!({ "columns": ["c"] });
            let failure = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap_err();
            assert_eq!(failure.code, "unfit-column");
        }
    }

    proptest! {
        #[test]
        fn equal_values_and_only_they_have_equal_keys(cells in proptest::collection::vec(proptest::option::of("[aß]{0,2}"), 1..20)) {
            let array: ArrayRef = Arc::new(cells.iter().cloned().collect::<StringArray>());
            let params = json!({ "columns": ["c"] });
            let output = harness::run(&crate::plugin(), OPERATION, params, &[column(&array)]).unwrap();
            let keys = output.column(1).as_string::<i32>();
            for i in 0..cells.len() {
                for j in 0..cells.len() {
                    let text = |i: usize| cells[i].as_deref().unwrap_or_default();
                    prop_assert_eq!(text(i) == text(j), keys.value(i) == keys.value(j));
                }
            }
        }
    }
}
