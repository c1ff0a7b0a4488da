//! `unpivot`: columns become rows.

use odibi_sdk::prelude::*;

use crate::statement::{Columns, column, name, text};
use crate::thin::Thin;

/// Params of `unpivot`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unpivot {
    /// Columns that are repeated in each row.
    id_cols: Vec<String>,
    /// Columns that become a row each, in this order. Their types are all text, all numbers, or all the same.
    value_vars: Vec<String>,
    /// Column that receives the name of the column.
    #[serde(default = "variable")]
    var_name: String,
    /// Column that receives its value; null stays.
    #[serde(default = "value")]
    value_name: String,
}

fn variable() -> String {
    "variable".to_owned()
}

fn value() -> String {
    "value".to_owned()
}

impl Thin for Unpivot {
    const NAME: &'static str = "unpivot";
    const SUMMARY: &'static str = "Turns columns into rows of name and value";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "one row for each month",
                json!({ "id_cols": ["product"], "value_vars": ["jan", "feb"], "var_name": "month", "value_name": "sales" }),
                ["product,jan,feb\na,1,2\nb,,4\n"],
                "product,month,sales\na,jan,1\na,feb,2\nb,jan,\nb,feb,4\n",
            ),
            Example::new(
                "columns that are not named are left out",
                json!({ "id_cols": [], "value_vars": ["x", "y"] }),
                ["id,x,y\n1,a,b\n"],
                "variable,value\nx,a\ny,b\n",
            ),
        ]
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let ids = super::each_once("/id_cols", &self.id_cols, input)?;
        let vars = super::fields("/value_vars", &self.value_vars, input)?;
        super::must_be_alike(&vars)?;
        let mut columns = Columns::none();
        for (_, id) in ids {
            columns.put(id.name(), column(id.name()));
        }
        let cells: Vec<String> = vars
            .iter()
            .map(|(_, f)| {
                let (of, value) = (text(f.name()), column(f.name()));
                format!("named_struct('n', {of}, 'v', {value})")
            })
            .collect();
        // Each row has a list of names and values, and is repeated for each of them.
        let mut inner = columns.clone();
        let mut cell = "cell".to_owned();
        while inner.has(&cell) {
            cell.push('_');
        }
        inner.put(&cell, format!("unnest(make_array({}))", cells.join(", ")));
        let of_cell = format!("{}.{}", name(crate::sql::MAIN), name(&cell));
        columns.add("/var_name", &self.var_name, format!("{of_cell}['n']"))?;
        columns.add("/value_name", &self.value_name, format!("{of_cell}['v']"))?;
        let (rows, main) = (inner.over_main()?, name(crate::sql::MAIN));
        columns.select(&format!("FROM ({rows}) AS {main}"))
    }
}
