//! `fill_nulls`: puts fixed values where nulls are.

pub(crate) mod kernel;
pub(crate) mod value;

use std::collections::BTreeMap;

use arrow_array::new_empty_array;
use odibi_sdk::failure::Kind;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use kernel::Misfit;
use value::FillValue;

/// Puts fixed values where nulls are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FillNulls {
    /// Column to the value that takes the place of its nulls. The value must fit the column's type exactly: text for
    /// text, a number for numbers, true or false for booleans; dates, times and timestamps are written as ISO 8601 text.
    /// Types, and whether nulls are allowed, stay as they are (only a column in which the reader saw no value, and which
    /// thus has no type, takes the value's); NaN is not null.
    values: BTreeMap<String, FillValue>,
}

impl Columns for FillNulls {
    const NAME: &'static str = "fill_nulls";
    const SUMMARY: &'static str = "puts fixed values where nulls are";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "fills text and numbers",
                json!({ "values": { "name": "unknown", "total": 0 } }),
                ["id,name,total\n1,ann,10\n2,,20\n3,bo,\n"],
                "id,name,total\n1,ann,10\n2,unknown,20\n3,bo,0\n",
            ),
            Example::new(
                "fills a date",
                json!({ "values": { "due": "2026-12-31" } }),
                ["id,due\n1,2026-02-01\n2,\n"],
                "id,due\n1,2026-02-01\n2,2026-12-31\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        self.values
            .iter()
            .try_fold(Outline::of(input), |outline, (name, value)| {
                let pointer = child("/values", name);
                let field = outline.input_field(&pointer, name)?.clone();
                let filled = fill(&new_empty_array(field.data_type()), &field, value)?;
                // Nothing to do, and nothing need be sent, where nulls cannot be.
                if !field.is_nullable() {
                    return Ok(outline);
                }
                Ok(outline
                    .read(&pointer, name)?
                    .put(field.with_data_type(filled.data_type().clone())))
            })
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let filled = columns.map(|(field, column)| {
            let value = self.values.get(field.name());
            let value = value.ok_or_else(|| {
                Failure::internal(format!("no value for column `{}`", field.name()))
            })?;
            fill(column, field, value)
        });
        filled.collect()
    }
}

fn fill(column: &ArrayRef, field: &Field, value: &FillValue) -> Result<ArrayRef> {
    kernel::filled(column, value).map_err(|misfit| {
        let (name, data_type) = (field.name(), field.data_type());
        let pointer = child("/values", name);
        match misfit {
            Misfit::Takes(what) => {
                let message =
                    format!("column `{name}` of type {data_type} takes {what}, not: {value}");
                let failure = Failure::param(pointer, message).code("unfit-value");
                match value.hint(data_type) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
            Misfit::Unsupported => {
                let failure = Failure::param(
                    pointer,
                    format!("column `{name}` cannot be filled: {data_type}"),
                );
                failure.code("unfit-column")
            }
            Misfit::TooLarge => crate::text::too_large().at_param(pointer),
            Misfit::KeysFull => {
                let message = format!("the dictionary of column `{name}` has no room for: {value}");
                Failure::new(Kind::Data, "dictionary-full", message).at_param(pointer)
            }
            Misfit::Broken(error) => Failure::from(error),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::{Int64Array, StringArray};
    use odibi_sdk::harness;

    use super::*;
    use crate::testing::{check_csv, check_failure, column};

    const TABLE: &str = "id,name,total,rate,ok,day,at\n\
        1,ann,10,1.5,true,2026-02-01,2026-02-01T10:00:00\n\
        2,,,,,,\n";
    const OPERATION: &str = "fill_nulls";

    #[track_caller]
    fn check(values: Value, second_row: &str) {
        let expect = TABLE.replace("2,,,,,,", second_row);
        check_csv(OPERATION, json!({ "values": values }), TABLE, &expect);
    }

    #[test]
    fn each_type_takes_its_values() {
        check(json!({ "name": "unknown" }), "2,unknown,,,,,");
        check(
            json!({ "name": "Ünïcode 🎉", "total": -3 }),
            "2,Ünïcode 🎉,-3,,,,",
        );
        check(json!({ "rate": 2, "ok": false }), "2,,,2.0,false,,");
        check(json!({ "rate": 0.25, "ok": true }), "2,,,0.25,true,,");
        check(
            json!({ "day": "2026-12-31", "at": "2026-12-31" }),
            "2,,,,,2026-12-31,2026-12-31T00:00:00",
        );
        check(
            json!({ "at": "2026-12-31 23:59:59" }),
            "2,,,,,,2026-12-31T23:59:59",
        );
        check(json!({ "id": 7 }), "2,,,,,,");
        check(json!({}), "2,,,,,,");
        check_csv(
            OPERATION,
            json!({ "values": { "b": "x" } }),
            "a,b\n",
            "a,b\n",
        );
        check_csv(
            OPERATION,
            json!({ "values": { "b": "x" } }),
            "a,b\n1,\n2,\n",
            "a,b\n1,x\n2,x\n",
        );
        check_csv(
            OPERATION,
            json!({ "values": { "b": 0.5 } }),
            "a,b\n1,\n2,\n",
            "a,b\n1,0.5\n2,0.5\n",
        );
    }

    #[test]
    fn nothing_is_read_that_has_no_nulls() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let names: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x")]));
        let table =
            RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("name", names, true)])
                .unwrap();
        let plugin = crate::plugin();
        let params = json!({ "values": { "id": 0, "name": "" } });
        let needs = harness::needs(
            &plugin,
            OPERATION,
            params.clone(),
            std::slice::from_ref(&table),
        )
        .unwrap();
        assert_eq!(needs, [[1]]);
        let output =
            harness::run(&plugin, OPERATION, params, std::slice::from_ref(&table)).unwrap();
        assert_eq!(output.schema(), table.schema());
        assert_eq!(output.column(1).null_count(), 0);
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |values: Value, code, param, message: &str| {
            check_failure(
                OPERATION,
                json!({ "values": values }),
                TABLE,
                code,
                param,
                message,
            );
        };
        let unknown = "unknown column `nme`, did you mean `name`?";
        check(
            json!({ "nme": "x" }),
            "unknown-column",
            "/values/nme",
            unknown,
        );
        let text = "column `total` of type Int64 takes whole numbers from -9223372036854775808 to 9223372036854775807, not: ";
        check(
            json!({ "total": "0" }),
            "unfit-value",
            "/values/total",
            &format!("{text}\"0\""),
        );
        check(
            json!({ "total": 0.0 }),
            "unfit-value",
            "/values/total",
            &format!("{text}0.0"),
        );
        check(
            json!({ "total": true }),
            "unfit-value",
            "/values/total",
            &format!("{text}true"),
        );
        check(
            json!({ "total": 9_223_372_036_854_775_808_u64 }),
            "unfit-value",
            "/values/total",
            &format!("{text}9223372036854775808"),
        );
        let message = "column `name` of type Utf8 takes text, not: 0";
        check(json!({ "name": 0 }), "unfit-value", "/values/name", message);
        let message = "column `rate` of type Float64 takes numbers, not: \"1.5\"";
        check(
            json!({ "rate": "1.5" }),
            "unfit-value",
            "/values/rate",
            message,
        );
        let message = "column `ok` of type Boolean takes true or false, not: 1";
        check(json!({ "ok": 1 }), "unfit-value", "/values/ok", message);
        let message =
            "column `day` of type Date32 takes dates such as \"2026-01-31\", not: \"31.01.2026\"";
        check(
            json!({ "day": "31.01.2026" }),
            "unfit-value",
            "/values/day",
            message,
        );
        let wrong = "invalid type: null, expected text, a number, true or false";
        check(
            json!({ "name": null }),
            "invalid-param",
            "/values/name",
            wrong,
        );
        let wrong = "invalid type: sequence, expected text, a number, true or false";
        check(
            json!({ "name": ["x"] }),
            "invalid-param",
            "/values/name",
            wrong,
        );
        check_failure(
            OPERATION,
            json!({}),
            TABLE,
            "invalid-param",
            "",
            "missing field `values`",
        );
    }

    #[test]
    fn hints_say_what_to_write() {
        let hints = |values: Value| {
            let params = json!({ "values": values });
            harness::run_csv(&crate::plugin(), OPERATION, params, &[TABLE])
                .unwrap_err()
                .hints
        };
        assert_eq!(
            hints(json!({ "total": "0" })),
            ["write the number without quotes: 0"]
        );
        assert_eq!(
            hints(json!({ "name": 0 })),
            ["put the value in quotes: \"0\""]
        );
        assert!(hints(json!({ "total": "none" })).is_empty());
    }

    #[test]
    fn awkward_names_are_found_again() {
        let array: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        let table = RecordBatch::try_from_iter_with_nullable([("a/b~", array, true)]).unwrap();
        let params = json!({ "values": { "a/b~": 1 } });
        let failure = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap_err();
        assert_eq!(failure.param.as_deref(), Some("/values/a~1b~0"));
    }

    #[test]
    fn types_that_cannot_be_filled_are_refused() {
        let lists: ArrayRef = new_empty_array(&DataType::new_list(DataType::Int32, true));
        let params = json!({ "values": { "c": 1 } });
        let failure =
            harness::run(&crate::plugin(), OPERATION, params, &[column(&lists)]).unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.param.as_deref()),
            ("unfit-column", Some("/values/c"))
        );
    }
}
