//! `split_part`: one piece of a text that a delimiter cuts up.

use odibi_sdk::prelude::*;

use crate::statement::{Columns, text};
use crate::thin::Thin;

/// Params of `split_part`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitPart {
    /// Column of text.
    col: String,
    /// Where the text is cut, taken literally.
    delimiter: String,
    /// Which piece, from 1; negative counts from the end. A text with fewer pieces gives an empty one.
    index: i64,
}

impl Thin for SplitPart {
    const NAME: &'static str = "split_part";
    const SUMMARY: &'static str =
        "Cuts a text at a delimiter and writes one piece into `<col>_part_<index>`";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "takes the domain of an address",
                json!({ "col": "email", "delimiter": "@", "index": 2 }),
                ["id,email\n1,ann@example.org\n2,bob@home.net\n3,\n"],
                "id,email,email_part_2\n1,ann@example.org,example.org\n2,bob@home.net,home.net\n3,,\n",
            ),
            Example::new(
                "takes the last piece of a path",
                json!({ "col": "path", "delimiter": "/", "index": -1 }),
                ["path\na/b/c.csv\n"],
                "path,path_part_-1\na/b/c.csv,c.csv\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let of = super::text_column("/col", &self.col, input)?;
        if self.index == 0 {
            let failure = Failure::param("/index", "pieces are counted from 1, is: 0");
            return Err(failure.hint("write 1 for the first piece, -1 for the last"));
        }
        super::not_empty("/delimiter", self.delimiter.is_empty())?;
        let delimiter = text(&self.delimiter);
        let index = crate::statement::Scalar::Int(self.index).literal();
        let mut columns = Columns::of(input);
        columns.put(
            &format!("{}_part_{}", self.col, self.index),
            format!("split_part({of}, {delimiter}, {index})"),
        );
        columns.over_main()
    }
}
