//! `normalize_json`: makes columns of everything nested in a struct, or in texts that hold JSON.

#[cfg(test)]
mod tests;

use odibi_sdk::arrow::schema::Fields;
use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

use crate::decode::{Errors, decode};
use crate::leaves::{self, Naming};
use crate::shape::Shape;

/// As deep as it goes.
const LEVELS: usize = usize::MAX;
/// Behind a name that the table has already.
const SUFFIX: &str = "_json";

/// Makes columns of everything nested in a struct, or in texts that hold JSON.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NormalizeJson {
    /// Column of structs, or of texts that hold JSON objects. It stays. The new columns stand behind all others; one whose
    /// name is taken gets `_json` behind it. Lists stay lists.
    column: String,
    /// Stands between the names of nested fields.
    #[serde(default = "underscore")]
    sep: String,
    /// For texts, what they hold: DDL such as `id INT, owner STRUCT<name: STRING>`, or a JSON Schema; as in `parse_json`.
    /// Columns must be known before the data is read. A struct has its fields, and needs none.
    #[serde(default)]
    json_schema: Option<Shape>,
    /// What becomes of texts that are not JSON, and of values that do not fit their type: with `null`, the default, they
    /// become null, and the story counts them; with `raise` the step fails and names the row.
    #[serde(default)]
    errors: Option<Errors>,
}

fn underscore() -> String {
    "_".to_owned()
}

impl Columns for NormalizeJson {
    const NAME: &'static str = "normalize_json";
    const SUMMARY: &'static str = "Makes columns of everything nested in a struct or a JSON text";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "takes a struct apart",
                json!({ "column": "data" }),
                ["{\"id\":1,\"data\":{\"user\":{\"name\":\"Ann\"},\"n\":3}}\n"],
                "{\"id\":1,\"data\":{\"user\":{\"name\":\"Ann\"},\"n\":3},\"user_name\":\"Ann\",\"n\":3}\n",
            ),
            Example::new(
                "takes texts apart; a name that is taken gets a suffix",
                json!({
                    "column": "raw",
                    "json_schema": "id INT, user STRUCT<name: STRING, age: INT>",
                    "sep": ".",
                }),
                [
                    "id,raw\n1,\"{\"\"id\"\":9,\"\"user\"\":{\"\"name\"\":\"\"Ann\"\",\"\"age\"\":31}}\"\n2,{}\n3,\n",
                ],
                "id,raw,id_json,user.name,user.age\n1,\"{\"\"id\"\":9,\"\"user\"\":{\"\"name\"\":\"\"Ann\"\",\"\"age\"\":31}}\",9,Ann,31\n2,{},,,\n3,,,,\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let (fields, nullable) = self.fields(input)?;
        let naming = Naming {
            prefix: "",
            separator: &self.sep,
            depth: LEVELS,
        };
        let mut outline = Outline::of(input).read("/column", &self.column)?;
        for field in leaves::fields(&fields, nullable, &naming) {
            let taken = input.index_of(field.name()).is_ok();
            let name = format!("{}{}", field.name(), if taken { SUFFIX } else { "" });
            outline = outline
                .add("/column", field.with_name(name))
                .map_err(|f| f.hint("choose another `sep`, or rename the column before"))?;
        }
        Ok(outline)
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = batch.column(0);
        let Some(shape) = &self.json_schema else {
            return leaves::arrays(column, LEVELS);
        };
        let data_type = shape.data_type("/json_schema")?;
        let structs = decode(&Text::of(column)?, &self.column, &data_type, self.errors)?;
        leaves::arrays(&structs, LEVELS)
    }
}

impl NormalizeJson {
    /// Of the struct that the column is or its texts hold, and whether it can be null.
    fn fields(&self, input: &Schema) -> Result<(Fields, bool)> {
        let field = input.field(find("/column", &self.column, input)?);
        let name = &self.column;
        match (field.data_type(), &self.json_schema) {
            (DataType::Struct(fields), None) => Ok((fields.clone(), field.is_nullable())),
            (DataType::Struct(_), Some(_)) => {
                let message = format!("column `{name}` is a struct and has its fields already");
                Err(Failure::param("/json_schema", message).hint("leave `json_schema` out"))
            }
            (text, Some(shape)) if is_text(text) => {
                let data_type = shape.data_type("/json_schema")?;
                if let DataType::Struct(fields) = data_type {
                    return Ok((fields, true));
                }
                let message = format!(
                    "texts to be taken apart must hold objects with named fields, not: {}",
                    crate::shape::name_of(&data_type)
                );
                Err(Failure::param("/json_schema", message)
                    .hint("read other values with `parse_json`"))
            }
            (text, None) if is_text(text) => {
                let message = format!(
                    "column `{name}` is text, whose fields must be known before the data is read"
                );
                Err(Failure::param("/column", message)
                    .hint("name them, like `json_schema: \"id INT, owner STRUCT<name: STRING>\"`"))
            }
            (other, _) => {
                let message = format!(
                    "column `{name}` must be a struct or text that holds JSON, is: {other}"
                );
                Err(Failure::param("/column", message).code("wrong-type"))
            }
        }
    }
}
