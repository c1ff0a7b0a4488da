//! `window_calculation`: a window function in a column.

use odibi_sdk::prelude::*;

use crate::expression::Expressions;
use crate::statement::{Columns, column};
use crate::thin::Thin;

/// Params of `window_calculation`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowCalculation {
    /// Column that receives the result; one of this name is replaced where it stands.
    target_col: String,
    /// The function without OVER: `sum(amount)`, `rank()`, `lag(price, 1)`.
    function: String,
    /// Columns whose equal values make a partition; all rows are one when left out.
    #[serde(default)]
    partition_by: Vec<String>,
    /// SQL keys of the order inside a partition, as in `day DESC, id`. With an order, an aggregate runs from the first row
    /// to this one; without, over the whole partition.
    #[serde(default)]
    order_by: Option<String>,
}

impl Thin for WindowCalculation {
    const NAME: &'static str = "window_calculation";
    const SUMMARY: &'static str = "Computes a window function over partitions of the rows";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "sums up the sales of a region, day by day",
                json!({ "target_col": "so_far", "function": "sum(sales)", "partition_by": ["region"], "order_by": "day" }),
                ["region,day,sales\nn,1,5\ns,1,1\nn,2,7\n"],
                "region,day,sales,so_far\nn,1,5,5\nn,2,7,12\ns,1,1,1\n",
            ),
            Example::new(
                "ranks all rows",
                json!({ "target_col": "place", "function": "rank()", "order_by": "points DESC" }),
                ["name,points\nann,3\nbo,9\n"],
                "name,points,place\nbo,9,1\nann,3,2\n",
            ),
        ]
    }

    fn expressions(&self) -> Vec<(String, &str)> {
        vec![("/function".to_owned(), &self.function)]
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let expressions = Expressions::over(input)?;
        let function = expressions.function("/function", &self.function)?;
        let keys = super::each_once("/partition_by", &self.partition_by, input)?;
        let mut over = String::new();
        if !keys.is_empty() {
            let keys: Vec<String> = keys.iter().map(|(_, k)| column(k.name())).collect();
            over.push_str(&format!("PARTITION BY {} ", keys.join(", ")));
        }
        if let Some(order) = &self.order_by {
            let keys = expressions.order("/order_by", order)?;
            over.push_str(&format!("ORDER BY {keys}"));
        }
        let mut columns = Columns::of(input);
        columns.put(&self.target_col, format!("{function} OVER ({over})"));
        columns.over_main()
    }
}
