//! `unpack_struct`: puts the fields of a struct beside it.

use odibi_sdk::prelude::*;

use crate::leaves::{self, Naming};

const LEVELS: usize = 1;

/// Puts the fields of a struct beside it, under their own names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnpackStruct {
    /// Column of structs. It stays; structs inside of it stay structs.
    column: String,
}

impl Columns for UnpackStruct {
    const NAME: &'static str = "unpack_struct";
    const SUMMARY: &'static str = "Puts the fields of a struct beside it, under their own names";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "makes columns of two fields",
                json!({ "column": "user" }),
                ["{\"id\":1,\"user\":{\"name\":\"Ann\",\"age\":31}}\n"],
                "{\"id\":1,\"user\":{\"name\":\"Ann\",\"age\":31},\"name\":\"Ann\",\"age\":31}\n",
            ),
            Example::new(
                "a null struct has null fields; structs inside stay",
                json!({ "column": "s" }),
                ["{\"s\":{\"at\":{\"x\":1}}}\n{\"s\":null}\n"],
                "{\"s\":{\"at\":{\"x\":1}},\"at\":{\"x\":1}}\n{\"s\":null,\"at\":null}\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let (fields, nullable) = leaves::of_struct(input, &self.column)?;
        let naming = Naming {
            prefix: "",
            separator: "",
            depth: LEVELS,
        };
        let mut outline = Outline::of(input).read("/column", &self.column)?;
        for field in leaves::fields(fields, nullable, &naming) {
            outline = outline.add("/column", field).map_err(|f| {
                f.hint("take `flatten_struct`, which puts a prefix before the names")
            })?;
        }
        Ok(outline)
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        leaves::arrays(batch.column(0), LEVELS)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, check_failure, check_json, nested};

    const OPERATION: &str = "unpack_struct";

    #[test]
    fn fields_stand_behind_all_other_columns() {
        check_json(
            OPERATION,
            json!({ "column": "s" }),
            "{\"s\":{\"ä\":\"😀\",\"l\":[1,2]},\"id\":1}\n{\"s\":{\"ä\":null,\"l\":[]},\"id\":2}\n{\"s\":null,\"id\":3}\n",
            "{\"s\":{\"ä\":\"😀\",\"l\":[1,2]},\"id\":1,\"ä\":\"😀\",\"l\":[1,2]}\n\
             {\"s\":{\"ä\":null,\"l\":[]},\"id\":2,\"ä\":null,\"l\":[]}\n\
             {\"s\":null,\"id\":3,\"ä\":null,\"l\":null}\n",
        );
    }

    #[test]
    fn a_table_without_rows_has_the_columns() {
        let empty = harness::table("{\"s\":{\"a\":1}}\n").slice(0, 0);
        let params = json!({ "column": "s" });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[empty]).unwrap();
        assert_eq!((output.num_columns(), output.num_rows()), (2, 0));
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let table = "{\"s\":{\"id\":1},\"id\":1,\"t\":\"{}\"}\n";
        let check = |params, code, param, message| {
            check_failure(OPERATION, params, table, code, param, message);
        };
        let taken = "column `id` exists already";
        check(
            json!({ "column": "s" }),
            "duplicate-column",
            "/column",
            taken,
        );
        let wrong = "column `t` must be a struct, is: Utf8";
        check(json!({ "column": "t" }), "wrong-type", "/column", wrong);
        let unknown = "unknown column `S`, did you mean `s`?";
        check(
            json!({ "column": "S" }),
            "unknown-column",
            "/column",
            unknown,
        );
        check(json!({}), "invalid-param", "", "missing field `column`");
        let unknown = "unknown field `columns`, expected `column`";
        check(
            json!({ "columns": ["s"] }),
            "invalid-param",
            "/columns",
            unknown,
        );
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_walking_each_row(rows in nested::rows()) {
            let params = json!({ "column": "s" });
            let output = harness::run(&crate::plugin(), OPERATION, params, &[nested::table(&rows)]).unwrap();
            let expect: Vec<Value> = rows.iter().map(|row| {
                let mut expect = nested::flat(row, "", "", 1);
                expect["s"] = row.clone();
                expect
            }).collect();
            prop_assert_eq!(nested::read(&output), expect);
        }
    }
}
