//! `concat_columns`: several columns as one text.

use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

use crate::statement::{Columns, column, text};
use crate::thin::Thin;

/// Params of `concat_columns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConcatColumns {
    /// Columns to put behind each other; what is not text is written as text. Null is left out, with its separator.
    columns: Vec<String>,
    /// Stands between two values.
    #[serde(default)]
    separator: String,
    /// Column that receives the text, empty where all values are null; one of this name is replaced where it stands.
    output_col: String,
}

impl Thin for ConcatColumns {
    const NAME: &'static str = "concat_columns";
    const SUMMARY: &'static str = "Puts several columns together as one text";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "makes a full name",
                json!({ "columns": ["first", "last"], "separator": " ", "output_col": "name" }),
                ["first,last\nAnn,Lee\n,Bo\n"],
                "first,last,name\nAnn,Lee,Ann Lee\n,Bo,Bo\n",
            ),
            Example::new(
                "numbers and dates are written as text",
                json!({ "columns": ["day", "shift"], "separator": "/", "output_col": "key" }),
                ["day,shift\n2026-01-02,3\n2026-01-03,\n"],
                "day,shift,key\n2026-01-02,3,2026-01-02/3\n2026-01-03,,2026-01-03\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let mut parts = vec![text(&self.separator)];
        for (pointer, field) in super::fields("/columns", &self.columns, input)? {
            if !is_text(field.data_type())
                && (field.data_type().is_nested()
                    || !arrow_cast::can_cast_types(field.data_type(), &DataType::Utf8))
            {
                let wanted = "something that can be written as text";
                return Err(super::wrong_type(&pointer, field, wanted));
            }
            parts.push(format!("CAST({} AS VARCHAR)", column(field.name())));
        }
        let mut columns = Columns::of(input);
        columns.put(&self.output_col, format!("concat_ws({})", parts.join(", ")));
        columns.over_main()
    }
}
