//! `coalesce_columns`: the first value that is not null.

use odibi_sdk::prelude::*;

use crate::statement::{Columns, column};
use crate::thin::Thin;

/// Params of `coalesce_columns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoalesceColumns {
    /// Looked at in this order; the first that is not null counts. All are text, all numbers, or all of one type.
    columns: Vec<String>,
    /// Column that receives the value; one of this name is replaced where it stands.
    output_col: String,
    /// Leave `columns` out of the result.
    #[serde(default)]
    drop_source: bool,
}

impl Thin for CoalesceColumns {
    const NAME: &'static str = "coalesce_columns";
    const SUMMARY: &'static str = "Takes the first of several columns that is not null";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "takes the mobile number where there is one",
                json!({ "columns": ["mobile", "phone"], "output_col": "number" }),
                ["id,phone,mobile\n1,p1,m1\n2,p2,\n3,,\n"],
                "id,phone,mobile,number\n1,p1,m1,m1\n2,p2,,p2\n3,,,\n",
            ),
            Example::new(
                "leaves the sources out",
                json!({ "columns": ["a", "b"], "output_col": "c", "drop_source": true }),
                ["id,a,b\n1,,5\n2,3,4\n"],
                "id,c\n1,5\n2,3\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let found = super::fields("/columns", &self.columns, input)?;
        super::must_be_alike(&found)?;
        let mut columns = Columns::of(input);
        let names: Vec<String> = self.columns.iter().map(|c| column(c)).collect();
        columns.put(&self.output_col, format!("coalesce({})", names.join(", ")));
        if self.drop_source {
            for name in self.columns.iter().filter(|n| **n != self.output_col) {
                columns.leave_out(name);
            }
        }
        columns.over_main()
    }
}
