//! `parse_json`: makes structs, lists or maps of texts that hold JSON.

#[cfg(test)]
mod tests;

use odibi_sdk::prelude::*;

use crate::decode::{Errors, decode};
use crate::shape::Shape;

/// Makes structs, lists or maps of texts that hold JSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParseJson {
    /// Column of texts that hold JSON. It stays. Null and blank texts give null.
    column: String,
    /// What the texts hold: DDL such as `id INT, tags ARRAY<STRING>, at STRUCT<x: DOUBLE>`, one type alone such as
    /// `ARRAY<INT>`, or a JSON Schema. Names are compared exactly; what it does not name is left out, what a text does not
    /// have is null. STRING takes any value, texts as they are and others as JSON. Integers are exact, decimals are rounded
    /// half up and may be texts, dates and timestamps are ISO 8601 text. A TIMESTAMP without an offset is UTC.
    json_schema: Shape,
    /// Column that receives the result: the column itself, or a new one. Left out, it is the column's name and `_parsed`.
    #[serde(default)]
    output_col: Option<String>,
    /// What becomes of texts that are not JSON, and of values that do not fit their type: with `null`, the default, they
    /// become null, and the story counts them; with `raise` the step fails and names the row.
    #[serde(default)]
    errors: Option<Errors>,
}

impl Columns for ParseJson {
    const NAME: &'static str = "parse_json";
    const SUMMARY: &'static str = "Makes structs, lists or maps of texts that hold JSON";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "names the fields and their types",
                json!({ "column": "raw", "json_schema": "id INT, tags ARRAY<STRING>", "output_col": "parsed" }),
                [
                    "{\"raw\":\"{\\\"id\\\":1,\\\"tags\\\":[\\\"a\\\",\\\"b\\\"],\\\"more\\\":0}\"}\n{\"raw\":null}\n",
                ],
                "{\"raw\":\"{\\\"id\\\":1,\\\"tags\\\":[\\\"a\\\",\\\"b\\\"],\\\"more\\\":0}\",\"parsed\":{\"id\":1,\"tags\":[\"a\",\"b\"]}}\n{\"raw\":null,\"parsed\":null}\n",
            ),
            Example::new(
                "takes a JSON Schema, and puts the result in the place of the text",
                json!({
                    "column": "at",
                    "json_schema": { "type": "object", "properties": { "x": { "type": "number" } } },
                    "output_col": "at",
                }),
                ["{\"id\":7,\"at\":\"{\\\"x\\\": 1.5}\"}\n"],
                "{\"id\":7,\"at\":{\"x\":1.5}}\n",
            ),
            Example::new(
                "knows dates, decimals and maps",
                json!({
                    "column": "raw",
                    "json_schema": "day DATE, at TIMESTAMP_NTZ, price DECIMAL(8,2), stock MAP<STRING, INT>",
                    "output_col": "raw",
                }),
                [
                    "{\"raw\":\"{\\\"day\\\":\\\"2026-01-31\\\",\\\"at\\\":\\\"2026-01-31 13:45\\\",\\\"price\\\":9.995,\\\"stock\\\":{\\\"tea\\\":3}}\"}\n",
                ],
                "{\"raw\":{\"day\":\"2026-01-31\",\"at\":\"2026-01-31T13:45:00\",\"price\":10.00,\"stock\":{\"tea\":3}}}\n",
            ),
            Example::new(
                "reads a list; what is not JSON becomes null",
                json!({ "column": "l", "json_schema": "ARRAY<INT>" }),
                ["{\"l\":\"[1,2]\"}\n{\"l\":\"[3\"}\n"],
                "{\"l\":\"[1,2]\",\"l_parsed\":[1,2]}\n{\"l\":\"[3\",\"l_parsed\":null}\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let data_type = self.json_schema.data_type("/json_schema")?;
        let outline = Outline::of(input).read_text("/column", &self.column)?;
        let result = |name: &str| Field::new(name, data_type.clone(), true);
        match &self.output_col {
            Some(name) if *name == self.column => Ok(outline.put(result(name))),
            Some(name) => outline.add("/output_col", result(name)),
            None => outline
                .add("/column", result(&format!("{}_parsed", self.column)))
                .map_err(|f| f.hint("name the new column with `output_col`")),
        }
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let data_type = self.json_schema.data_type("/json_schema")?;
        let texts = Text::of(batch.column(0))?;
        Ok(vec![decode(&texts, &self.column, &data_type, self.errors)?])
    }
}
