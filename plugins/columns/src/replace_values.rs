//! `replace_values`: puts other values in the place of some.

use std::collections::BTreeMap;

use arrow_array::new_null_array;
use odibi_sdk::arrow::select::interleave::interleave;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::fill_nulls::value::FillValue;
use crate::lookup::{self, Lookup, NONE};
use crate::named;

/// Puts other values in the place of some.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplaceValues {
    /// Columns to look at.
    columns: Vec<String>,
    /// Old value to new value, or to null. Whole values are compared, by the column's type: for a column of numbers `"1"`
    /// means the number; dates and timestamps are written as ISO 8601 text. All at once, so that two values can change
    /// places. Types stay.
    mapping: BTreeMap<String, Option<FillValue>>,
}

impl Columns for ReplaceValues {
    const NAME: &'static str = "replace_values";
    const SUMMARY: &'static str = "puts other values in the place of some";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "makes two spellings one, and nothing of a placeholder",
                json!({ "columns": ["country"], "mapping": { "USA": "US", "N/A": null } }),
                ["id,country\n1,USA\n2,N/A\n3,DE\n"],
                "id,country\n1,US\n2,\n3,DE\n",
            ),
            Example::new(
                "replaces a number",
                json!({ "columns": ["a", "b"], "mapping": { "-999": null } }),
                ["a,b\n-999,2\n3,-999\n"],
                "a,b\n,2\n3,\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let indices = named::each_once("/columns", &self.columns, input)?;
        let mut outline = Outline::of(input);
        for (i, index) in indices.into_iter().enumerate() {
            let field = input.field(index);
            Replacing::new(&self.mapping, field)?;
            let nullable = field.is_nullable() || self.mapping.values().any(Option::is_none);
            outline = outline
                .read(&child("/columns", i), field.name())?
                .put(field.clone().with_nullable(nullable));
        }
        Ok(outline)
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let replaced = columns.map(|(f, column)| Replacing::new(&self.mapping, f)?.of(column));
        replaced.collect()
    }
}

struct Replacing {
    lookup: Lookup,
    /// For each entry of the mapping, an array of one value.
    new: Vec<ArrayRef>,
}

impl Replacing {
    fn new(mapping: &BTreeMap<String, Option<FillValue>>, field: &Field) -> Result<Self> {
        let lookup = Lookup::new("/mapping", mapping, field)?;
        let values = mapping.iter().map(|(old, new)| match new {
            Some(new) if *field.data_type() != DataType::Null => {
                lookup::typed(&child("/mapping", old), new, field, "a new value")
            }
            Some(_) | None => Ok(new_null_array(field.data_type(), 1)),
        });
        Ok(Self {
            lookup,
            new: values.collect::<Result<_>>()?,
        })
    }

    fn of(&self, column: &ArrayRef) -> Result<ArrayRef> {
        let entries = self.lookup.of(column)?;
        if entries.iter().all(|entry| *entry == NONE) {
            return Ok(Arc::clone(column));
        }
        let mut arrays: Vec<&dyn Array> = vec![column];
        arrays.extend(self.new.iter().map(|a| a.as_ref()));
        let picks = entries.into_iter().enumerate();
        let picks: Vec<(usize, usize)> = picks
            .map(|(row, entry)| match entry {
                NONE => (0, row),
                // The column itself stands before the new values.
                entry => (entry as usize, 0),
            })
            .collect();
        Ok(interleave(&arrays, &picks)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::DictionaryArray;
    use arrow_array::types::Int8Type;
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_csv, check_failure, run_column};

    const OPERATION: &str = "replace_values";
    const TABLE: &str = "n,t,f,b,d\n1,ä,0.5,true,2026-01-01\n,,,,\n2,x,1.0,false,2026-01-02\n";

    #[test]
    fn values_are_compared_by_type() {
        let check = |column: &str, mapping: Value, first: &str, third: &str| {
            let params = json!({ "columns": [column], "mapping": mapping });
            let output = harness::run_csv(&crate::plugin(), OPERATION, params, &[TABLE]).unwrap();
            let at = TABLE
                .lines()
                .next()
                .unwrap()
                .split(',')
                .position(|c| c == column)
                .unwrap();
            let cell = |row: usize| {
                output
                    .lines()
                    .nth(row)
                    .unwrap()
                    .split(',')
                    .nth(at)
                    .unwrap()
                    .to_owned()
            };
            assert_eq!(
                (cell(1), cell(2), cell(3)),
                (first.to_owned(), String::new(), third.to_owned())
            );
        };
        check("n", json!({ "1": 2, "2": "1" }), "2", "1");
        check("t", json!({ "ä": "🎉", "": "y" }), "🎉", "x");
        check("t", json!({ "X": "y", "x": null }), "ä", "");
        check("f", json!({ "1": 0.25, "0.5": null }), "", "0.25");
        check("b", json!({ "true": false }), "false", "false");
        check(
            "d",
            json!({ "2026-01-01": "2025-12-31" }),
            "2025-12-31",
            "2026-01-02",
        );
        check("n", json!({}), "1", "2");
    }

    #[test]
    fn several_columns_empty_tables_and_columns_without_a_type() {
        let params = json!({ "columns": ["b", "a"], "mapping": { "x": null } });
        check_csv(
            OPERATION,
            params.clone(),
            "a,b\nx,y\ny,x\n",
            "a,b\n,y\ny,\n",
        );
        check_csv(OPERATION, params, "a,b\n", "a,b\n");
        let params = json!({ "columns": ["c"], "mapping": { "x": "y" } });
        let nulls = new_null_array(&DataType::Null, 2);
        assert_eq!(
            &run_column(OPERATION, params.clone(), &nulls).unwrap(),
            &nulls
        );
        let words: ArrayRef = Arc::new(
            ["x", "y", "z"]
                .into_iter()
                .collect::<DictionaryArray<Int8Type>>(),
        );
        let output = run_column(OPERATION, params, &words).unwrap();
        let text = Text::of(&output).unwrap();
        assert_eq!(text.iter().flatten().collect::<Vec<_>>(), ["y", "y", "z"]);
    }

    #[test]
    fn both_zeros_are_zero() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, 1.0]));
        let params = json!({ "columns": ["c"], "mapping": { "0": 5 } });
        let expect: ArrayRef = Arc::new(Float64Array::from(vec![5.0, 5.0, 1.0]));
        assert_eq!(&run_column(OPERATION, params, &floats).unwrap(), &expect);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |columns: Value, mapping: Value, code, param, message| {
            let params = json!({ "columns": columns, "mapping": mapping });
            check_failure(OPERATION, params, TABLE, code, param, message);
        };
        let near = "unknown column `T`, did you mean `t`?";
        check(
            json!(["n", "T"]),
            json!({}),
            "unknown-column",
            "/columns/1",
            near,
        );
        let twice = "column `n` is named twice";
        check(
            json!(["n", "n"]),
            json!({}),
            "repeated-column",
            "/columns/1",
            twice,
        );
        let wrong = "a value of column `f` of type Float64 must be numbers, is: \"N/A\"";
        check(
            json!(["f"]),
            json!({ "N/A": null }),
            "unfit-value",
            "/mapping/N~1A",
            wrong,
        );
        let wrong = "a new value of column `t` of type Utf8 must be text, is: 1";
        check(
            json!(["t"]),
            json!({ "x": 1 }),
            "unfit-value",
            "/mapping/x",
            wrong,
        );
        let twice = "the value `1.0` stands in the mapping twice";
        check(
            json!(["f"]),
            json!({ "1": 2, "1.0": 3 }),
            "invalid-param",
            "/mapping/1.0",
            twice,
        );
        let wrong = "invalid type: sequence, expected text, a number, true or false";
        check(
            json!(["t"]),
            json!({ "x": [] }),
            "invalid-param",
            "/mapping/x",
            wrong,
        );
    }

    proptest! {
        #[test]
        fn result_is_that_of_a_map(
            cells in proptest::collection::vec(proptest::option::of("[abß]{0,2}"), 0..30),
            mapping in proptest::collection::btree_map("[abß]{0,2}", proptest::option::of("[xß]{0,2}"), 0..5),
        ) {
            let column: ArrayRef = Arc::new(cells.iter().cloned().collect::<StringArray>());
            let expect: StringArray = cells.iter().map(|cell| {
                let cell = cell.as_ref()?;
                mapping.get(cell).cloned().unwrap_or_else(|| Some(cell.clone()))
            }).collect();
            let params = json!({ "columns": ["c"], "mapping": mapping });
            let output = run_column(OPERATION, params, &column).unwrap();
            prop_assert_eq!(output.as_string::<i32>(), &expect);
        }
    }
}
