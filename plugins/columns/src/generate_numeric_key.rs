//! `generate_numeric_key`: a whole number that depends on the values of some columns, and on nothing else.

use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
};
use md5::{Digest as _, Md5};
use odibi_sdk::prelude::*;

use crate::joined;

/// Makes a number of the values of some columns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerateNumericKey {
    /// Columns that make the key, in this order. Their texts are those that `hash_columns` hashes; null is the empty text,
    /// so that the key is never null.
    columns: Vec<String>,
    /// What stands between the texts.
    #[serde(default = "bar")]
    separator: String,
    /// Column that receives the key: the first 63 bits of the MD5 of the joined texts, from 1 to 2^63 - 1. Among a million
    /// different rows, two share a key with a chance of one in 18 million.
    #[serde(default = "numeric_key")]
    output_col: String,
    /// A column of whole numbers whose value is the key where it is not null. It may be the output column itself, which is
    /// then replaced.
    #[serde(default)]
    coalesce_with: Option<String>,
}

fn bar() -> String {
    "|".to_owned()
}

fn numeric_key() -> String {
    "numeric_key".to_owned()
}

impl Columns for GenerateNumericKey {
    const NAME: &'static str = "generate_numeric_key";
    const SUMMARY: &'static str = "makes a whole number of the values of some columns";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "makes a key of two columns",
                json!({ "columns": ["shop", "order"] }),
                ["shop,order\nberlin,1\nberlin,2\n"],
                "shop,order,numeric_key\nberlin,1,9005828914321282998\nberlin,2,8330745437477310606\n",
            ),
            Example::new(
                "keeps the numbers that there are",
                json!({ "columns": ["email"], "output_col": "id", "coalesce_with": "id" }),
                ["id,email\n7,a@example.org\n,b@example.org\n"],
                "id,email\n7,a@example.org\n5174889747357086162,b@example.org\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let outline = joined::read(Outline::of(input), &self.columns, input)?;
        let key = Field::new(&self.output_col, DataType::Int64, false);
        let Some(name) = &self.coalesce_with else {
            return outline.add("/output_col", key);
        };
        let fits = |t: &DataType| t.is_integer() && *t != DataType::UInt64;
        let wanted = "a whole number of 64 bits with a sign, or smaller";
        let outline = outline.read_if("/coalesce_with", name, wanted, fits)?;
        if *name == self.output_col {
            return Ok(outline.put(key));
        }
        outline.add("/output_col", key)
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let mut keys: Vec<i64> = Vec::with_capacity(batch.num_rows());
        let parts = batch.columns().get(..self.columns.len());
        let parts = parts.ok_or_else(|| Failure::internal("too few columns were sent"))?;
        joined::for_each(parts, &self.separator, |key| keys.push(number(key)))?;
        if let Some(given) = batch.columns().get(self.columns.len()) {
            for (key, given) in keys.iter_mut().zip(&widened(given)?) {
                *key = given.unwrap_or(*key);
            }
        }
        Ok(vec![Arc::new(Int64Array::from(keys))])
    }
}

fn number(key: &str) -> i64 {
    let digest: [u8; 16] = Md5::digest(key.as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    let bits = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    bits.cast_signed().max(1)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others were refused")]
fn widened(array: &ArrayRef) -> Result<Int64Array> {
    macro_rules! from {
        ($of:ty) => {
            array
                .as_primitive::<$of>()
                .unary::<_, Int64Type>(Into::into)
        };
    }
    Ok(match array.data_type() {
        DataType::Int8 => from!(Int8Type),
        DataType::Int16 => from!(Int16Type),
        DataType::Int32 => from!(Int32Type),
        DataType::Int64 => array.as_primitive::<Int64Type>().clone(),
        DataType::UInt8 => from!(UInt8Type),
        DataType::UInt16 => from!(UInt16Type),
        DataType::UInt32 => from!(UInt32Type),
        other => {
            return Err(Failure::internal(format!(
                "planned a whole number, was sent: {other}"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_csv, check_failure, column};

    const OPERATION: &str = "generate_numeric_key";
    const TABLE: &str = "n,t,f\n1,ä,0.5\n,,\n";

    /// `printf 'abc' | md5sum` begins with 900150983cd24fb0; half of that is the number.
    #[test]
    fn the_number_is_the_upper_63_bits_of_the_digest() {
        assert_eq!(number("abc"), 0x4800_a84c_1e69_27d8);
        let expect = format!("a,numeric_key\nabc,{}\n", 0x4800_a84c_1e69_27d8_i64);
        check_csv(OPERATION, json!({ "columns": ["a"] }), "a\nabc\n", &expect);
    }

    #[test]
    fn given_numbers_win_and_null_is_the_empty_text() {
        let second = number("~");
        check_csv(
            OPERATION,
            json!({ "columns": ["t", "n"], "separator": "~", "coalesce_with": "n", "output_col": "k" }),
            TABLE,
            &format!("n,t,f,k\n1,ä,0.5,1\n,,,{second}\n"),
        );
        check_csv(
            OPERATION,
            json!({ "columns": ["a"] }),
            "a\n",
            "a,numeric_key\n",
        );
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message);
        };
        let near = "unknown column `T`, did you mean `t`?";
        check(
            json!({ "columns": ["T"] }),
            "unknown-column",
            "/columns/0",
            near,
        );
        check(
            json!({ "columns": ["n"], "coalesce_with": "T" }),
            "unknown-column",
            "/coalesce_with",
            near,
        );
        let wrong =
            "column `f` must be a whole number of 64 bits with a sign, or smaller, is: Float64";
        check(
            json!({ "columns": ["n"], "coalesce_with": "f" }),
            "wrong-type",
            "/coalesce_with",
            wrong,
        );
        let exists = "column `t` exists already";
        check(
            json!({ "columns": ["n"], "output_col": "t" }),
            "duplicate-column",
            "/output_col",
            exists,
        );
        let none = "at least one column must be named";
        check(json!({ "columns": [] }), "invalid-param", "/columns", none);
    }

    proptest! {
        #[test]
        fn keys_are_positive_and_equal_for_equal_values(cells in proptest::collection::vec(proptest::option::of("[aß]{0,2}"), 0..20)) {
            let array: ArrayRef = Arc::new(cells.iter().cloned().collect::<StringArray>());
            let params = json!({ "columns": ["c"] });
            let output = harness::run(&crate::plugin(), OPERATION, params, &[column(&array)]).unwrap();
            let mut seen: BTreeMap<i64, &str> = BTreeMap::new();
            for (cell, key) in cells.iter().map(|c| c.as_deref().unwrap_or_default()).zip(output.column(1).as_primitive::<Int64Type>().values()) {
                prop_assert!(*key > 0);
                prop_assert_eq!(*seen.entry(*key).or_insert(cell), cell);
            }
        }
    }
}
