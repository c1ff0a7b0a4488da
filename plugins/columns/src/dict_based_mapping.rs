//! `dict_based_mapping`: looks values up in a mapping that stands in the params.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arrow_array::new_null_array;
use odibi_sdk::arrow::select::interleave::interleave;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::fill_nulls::value::FillValue;
use crate::lookup::{self, Lookup};

/// Looks values up in a mapping.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DictBasedMapping {
    /// Column whose values are looked up.
    column: String,
    /// Value to what it means, or to null. Values are compared by the column's type: for a column of numbers `"1"` means
    /// the number. What they mean is all text, all numbers, or all true or false.
    mapping: BTreeMap<String, Option<FillValue>>,
    /// What null and values that the mapping does not have mean; null when left out.
    #[serde(default)]
    default: Option<FillValue>,
    /// Column that receives the result; the column itself when left out.
    #[serde(default)]
    output_column: Option<String>,
    /// Made of the others with the first batch.
    #[serde(skip)]
    prepared: OnceLock<Prepared>,
}

/// What every batch needs.
#[derive(Debug)]
struct Prepared {
    lookup: Lookup,
    /// The default, and then each entry of the mapping: at the number that the lookup has for it.
    values: ArrayRef,
}

impl Columns for DictBasedMapping {
    const NAME: &'static str = "dict_based_mapping";
    const SUMMARY: &'static str = "looks values up in a mapping that stands in the params";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "gives codes their names",
                json!({ "column": "status", "mapping": { "A": "active", "C": "closed" }, "default": "unknown" }),
                ["id,status\n1,A\n2,X\n3,\n"],
                "id,status\n1,active\n2,unknown\n3,unknown\n",
            ),
            Example::new(
                "writes numbers into a column of their own",
                json!({ "column": "size", "mapping": { "S": 1, "L": 2.5 }, "output_column": "factor" }),
                ["size\nS\nL\nM\n"],
                "size,factor\nS,1.0\nL,2.5\nM,\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let field = input.field(find("/column", &self.column, input)?);
        Lookup::new("/mapping", &self.mapping, field)?;
        let result = self.result()?;
        self.values(&result)?;
        let outline = Outline::of(input).read("/column", &self.column)?;
        if self
            .output_column
            .as_ref()
            .is_some_and(|o| *o != self.column)
        {
            return outline.add("/output_column", result);
        }
        Ok(outline.put(result))
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let Prepared { lookup, values } = self.prepared(batch.schema().field(0))?;
        // Not `take`: it is twice as fast, but this is there anyway, and that makes the component a seventh larger.
        let entries = lookup.of(batch.column(0))?.into_iter();
        let picks: Vec<(usize, usize)> = entries.map(|entry| (0, entry as usize)).collect();
        Ok(vec![interleave(&[values.as_ref()], &picks)?])
    }
}

impl DictBasedMapping {
    fn prepared(&self, field: &Field) -> Result<&Prepared> {
        if let Some(prepared) = self.prepared.get() {
            return Ok(prepared);
        }
        let lookup = Lookup::new("/mapping", &self.mapping, field)?;
        let values = self.values(&self.result()?)?;
        let values: Vec<&dyn Array> = values.iter().map(|a| a.as_ref()).collect();
        let first_of_each: Vec<(usize, usize)> = (0..values.len()).map(|at| (at, 0)).collect();
        let values = interleave(&values, &first_of_each)?;
        let prepared = Prepared { lookup, values };
        Ok(self.prepared.get_or_init(|| prepared))
    }

    /// The type that holds everything a value may mean.
    fn result(&self) -> Result<Field> {
        let name = self.output_column.as_ref().unwrap_or(&self.column);
        let mut found: Option<DataType> = None;
        let mapped = self.mapping.iter();
        let mapped = mapped.map(|(key, value)| (child("/mapping", key), value));
        let default = std::iter::once(("/default".to_owned(), &self.default));
        for (pointer, value) in mapped.chain(default) {
            let Some(value) = value else { continue };
            let next = match value {
                FillValue::Text(_) => DataType::Utf8,
                FillValue::Bool(_) => DataType::Boolean,
                FillValue::Int(_) => DataType::Int64,
                FillValue::Float(_) => DataType::Float64,
            };
            found = Some(match found {
                None => next,
                Some(of) if of == next => of,
                Some(of) if of.is_numeric() && next.is_numeric() => DataType::Float64,
                Some(of) => {
                    let message = format!("values before are of type {of}, this one is: {value}");
                    return Err(Failure::param(pointer, message)
                        .code("unfit-value")
                        .hint("make all of them text, all numbers, or all true or false"));
                }
            });
        }
        // Nothing but nulls: text, as good as any.
        Ok(Field::new(name, found.unwrap_or(DataType::Utf8), true))
    }

    /// The default, then each entry of the mapping, as arrays of one value.
    fn values(&self, result: &Field) -> Result<Vec<ArrayRef>> {
        let one = |pointer: &str, value: &Option<FillValue>| match value {
            Some(value) => lookup::typed(pointer, value, result, "a result"),
            None => Ok(new_null_array(result.data_type(), 1)),
        };
        let mut values = vec![one("/default", &self.default)?];
        for (key, value) in &self.mapping {
            values.push(one(&child("/mapping", key), value)?);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_csv, check_failure, run_column};

    const OPERATION: &str = "dict_based_mapping";
    const TABLE: &str = "n,t\n1,ä\n,\n3,x\n";

    #[test]
    fn results_have_the_type_of_the_mapping() {
        let check = |params, expect| check_csv(OPERATION, params, TABLE, expect);
        check(
            json!({ "column": "n", "mapping": { "1": "eins", "3": null }, "default": "🎉" }),
            "n,t\neins,ä\n🎉,\n,x\n",
        );
        check(
            json!({ "column": "t", "mapping": { "ä": 1 }, "output_column": "o" }),
            "n,t,o\n1,ä,1\n,,\n3,x,\n",
        );
        check(
            json!({ "column": "t", "mapping": { "ä": 1 }, "default": 0.5, "output_column": "t" }),
            "n,t\n1,1.0\n,0.5\n3,0.5\n",
        );
        check(
            json!({ "column": "t", "mapping": { "x": true, "ä": false } }),
            "n,t\n1,false\n,\n3,true\n",
        );
        check(json!({ "column": "n", "mapping": {} }), "n,t\n,ä\n,\n,x\n");
        check(
            json!({ "column": "n", "mapping": { "1": null } }),
            "n,t\n,ä\n,\n,x\n",
        );
        check_csv(
            OPERATION,
            json!({ "column": "a", "mapping": {}, "default": 1 }),
            "a\n",
            "a\n",
        );
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, TABLE, code, param, message);
        };
        let near = "unknown column `T`, did you mean `t`?";
        check(
            json!({ "column": "T", "mapping": {} }),
            "unknown-column",
            "/column",
            near,
        );
        let exists = "column `n` exists already";
        check(
            json!({ "column": "t", "mapping": {}, "output_column": "n" }),
            "duplicate-column",
            "/output_column",
            exists,
        );
        let mixed = "values before are of type Utf8, this one is: 1";
        check(
            json!({ "column": "t", "mapping": { "a": "x", "b/c": 1 } }),
            "unfit-value",
            "/mapping/b~1c",
            mixed,
        );
        check(
            json!({ "column": "t", "mapping": { "a": "x" }, "default": 1 }),
            "unfit-value",
            "/default",
            mixed,
        );
        let wrong = "a value of column `n` of type Int64 must be whole numbers from -9223372036854775808 to 9223372036854775807, is: \"x\"";
        check(
            json!({ "column": "n", "mapping": { "x": 1 } }),
            "unfit-value",
            "/mapping/x",
            wrong,
        );
        check(
            json!({ "column": "n" }),
            "invalid-param",
            "",
            "missing field `mapping`",
        );
    }

    proptest! {
        #[test]
        fn result_is_that_of_a_map(
            cells in proptest::collection::vec(proptest::option::of(-3..4i64), 0..30),
            mapping in proptest::collection::btree_map(-3..4i64, proptest::option::of("[aß]{0,2}"), 0..5),
            default in proptest::option::of("[x]{0,1}"),
        ) {
            let column: ArrayRef = Arc::new(cells.iter().copied().collect::<Int64Array>());
            let expect: StringArray = cells.iter().map(|cell| {
                cell.and_then(|c| mapping.get(&c)).cloned().unwrap_or_else(|| default.clone())
            }).collect();
            let words: BTreeMap<String, Option<String>> = mapping.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
            let params = json!({ "column": "c", "mapping": words, "default": default });
            let output = run_column(OPERATION, params, &column).unwrap();
            prop_assert_eq!(output.as_string::<i32>(), &expect);
        }
    }
}
