//! `pivot`: values of a column become columns.

use arrow_array::StringArray;
use arrow_cast::CastOptions;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use super::aggregate::{Function, group_by};
use crate::statement::{Columns, Scalar, column, name, text};
use crate::thin::Thin;

/// Params of `pivot`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pivot {
    /// Columns whose equal values make a row of the result.
    group_by: Vec<String>,
    /// Column whose values become columns.
    pivot_col: String,
    /// Column whose values stand in them.
    agg_col: String,
    /// What is made of several values that meet; where none meet, `count` gives 0 and the others null.
    #[serde(default = "sum")]
    agg_func: PivotFunction,
    /// The values that become columns, in this order. They must be named: which columns a step gives is known before it
    /// sees data. Rows with another value count for nothing.
    #[serde(default)]
    values: Option<Vec<Scalar>>,
}

/// A function of several values.
#[derive(Debug, Clone, Copy, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PivotFunction {
    Sum,
    Count,
    Avg,
    Max,
    Min,
    First,
}

fn sum() -> PivotFunction {
    PivotFunction::Sum
}

impl PivotFunction {
    fn function(self) -> Function {
        match self {
            Self::Sum => Function::Sum,
            Self::Count => Function::Count,
            Self::Avg => Function::Avg,
            Self::Max => Function::Max,
            Self::Min => Function::Min,
            Self::First => Function::First,
        }
    }
}

impl Thin for Pivot {
    const NAME: &'static str = "pivot";
    const SUMMARY: &'static str = "Turns the values of a column into columns";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "one column for each month",
                json!({ "group_by": ["product"], "pivot_col": "month", "agg_col": "sales", "values": ["jan", "feb"] }),
                ["product,month,sales\na,jan,1\na,feb,2\na,jan,3\nb,feb,4\nb,mar,9\n"],
                "product,jan,feb\na,4,2\nb,,4\n",
            ),
            Example::new(
                "counts by year",
                json!({ "group_by": ["kind"], "pivot_col": "year", "agg_col": "id", "agg_func": "count", "values": [2025, 2026] }),
                ["id,kind,year\n1,x,2025\n2,x,2025\n3,y,2026\n"],
                "kind,2025,2026\nx,2,0\ny,0,1\n",
            ),
        ]
    }

    fn keeps_order(&self) -> bool {
        self.agg_func.function().keeps_order()
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let mut columns = Columns::none();
        for (_, key) in super::each_once("/group_by", &self.group_by, input)? {
            columns.put(key.name(), column(key.name()));
        }
        let pivot = super::field("/pivot_col", &self.pivot_col, input)?;
        let of = super::field("/agg_col", &self.agg_col, input)?;
        let Some(values) = &self.values else {
            let message =
                "`values` is missing: the columns of the result must be known before the data";
            return Err(Failure::param("", message)
                .code("missing-values")
                .hint("name the values that become columns, as in `values: [jan, feb]`"));
        };
        super::not_empty("/values", values.is_empty())?;
        for (i, value) in values.iter().enumerate() {
            let pointer = child("/values", i);
            let shown = value.shown();
            let literal = literal(&pointer, &shown, pivot)?;
            let only = format!("{} = {literal}", column(pivot.name()));
            let made = self.agg_func.function().sql("/agg_col", of, Some(&only))?;
            columns.add(&pointer, &shown, made)?;
        }
        let from = name(crate::sql::MAIN);
        let keys = group_by(&self.group_by);
        columns.select(&format!("FROM {from}{keys}"))
    }
}

/// A value of the column's type.
fn literal(pointer: &str, value: &str, field: &Field) -> Result<String> {
    let kind = match field.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    if kind.is_nested() || kind.is_binary() || kind.is_null() {
        return Err(super::wrong_type(
            "/pivot_col",
            field,
            "text, a number, a date or true or false",
        ));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let one = StringArray::from(vec![value]);
    if arrow_cast::cast_with_options(&one, kind, &options).is_err() {
        let message = format!(
            "column `{}` of type {kind} cannot have the value: {value}",
            field.name()
        );
        return Err(Failure::param(pointer, message).code("unfit-value"));
    }
    Ok(format!(
        "arrow_cast({}, {})",
        text(value),
        text(&kind.to_string())
    ))
}
