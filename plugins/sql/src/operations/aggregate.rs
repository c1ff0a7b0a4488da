//! `aggregate`: one row for each group.

use odibi_sdk::outline::duplicate_column;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::ordered::Ordered;
use crate::statement::{Columns, column, name};
use crate::thin::Thin;

/// Params of `aggregate`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aggregate {
    /// Columns whose equal values make a group; null is a group of its own. None at all make one group of all rows.
    group_by: Vec<String>,
    /// Column to the function of its values that stands in its place. Null does not count, in no function.
    aggregations: Ordered<Function>,
}

/// A function of the values of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Function {
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// As `avg`.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// How many.
    Count,
    /// How many different ones.
    CountDistinct,
    /// The first, in the order of the rows.
    First,
    /// The last, in the order of the rows.
    Last,
}

impl Function {
    /// Does it depend on the order of the rows?
    pub(super) fn keeps_order(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }

    /// The function over a column, of the rows for which `only` is true.
    pub(super) fn sql(self, pointer: &str, of: &Field, only: Option<&str>) -> Result<String> {
        let kind = of.data_type();
        match self {
            Self::Sum | Self::Avg | Self::Mean if !kind.is_numeric() => {
                return Err(super::wrong_type(pointer, of, "a number"));
            }
            Self::Min | Self::Max | Self::CountDistinct if kind.is_nested() => {
                return Err(super::wrong_type(pointer, of, "a single value"));
            }
            _ => {}
        }
        let of = column(of.name());
        let call = match self {
            Self::Sum => format!("sum({of})"),
            Self::Avg | Self::Mean => format!("avg({of})"),
            Self::Min => format!("min({of})"),
            Self::Max => format!("max({of})"),
            Self::Count => format!("count({of})"),
            Self::CountDistinct => format!("count(DISTINCT {of})"),
            Self::First => format!("first_value({of})"),
            Self::Last => format!("last_value({of})"),
        };
        let has_value = self.keeps_order().then(|| format!("{of} IS NOT NULL"));
        let only: Vec<&str> = only.into_iter().chain(has_value.as_deref()).collect();
        Ok(if only.is_empty() {
            call
        } else {
            format!("{call} FILTER (WHERE {})", only.join(" AND "))
        })
    }
}

/// ` GROUP BY …`, or nothing.
pub(super) fn group_by(keys: &[String]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let keys: Vec<String> = keys.iter().map(|k| column(k)).collect();
    format!(" GROUP BY {}", keys.join(", "))
}

impl Thin for Aggregate {
    const NAME: &'static str = "aggregate";
    const SUMMARY: &'static str = "Makes one row of each group";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "salaries by department",
                json!({ "group_by": ["department"], "aggregations": { "salary": "sum", "id": "count" } }),
                ["id,department,salary\n1,a,10\n2,b,20\n3,a,\n"],
                "department,salary,id\na,10,2\nb,20,1\n",
            ),
            Example::new(
                "one row for the whole table",
                json!({ "group_by": [], "aggregations": { "age": "avg", "name": "count_distinct" } }),
                ["name,age\nann,30\nbo,40\nann,\n"],
                "age,name\n35.0,2\n",
            ),
        ]
    }

    fn keeps_order(&self) -> bool {
        self.aggregations.iter().any(|(_, f)| f.keeps_order())
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        super::not_empty("/aggregations", self.aggregations.is_empty())?;
        let mut columns = Columns::none();
        for (_, key) in super::each_once("/group_by", &self.group_by, input)? {
            columns.put(key.name(), column(key.name()));
        }
        for (of, function) in self.aggregations.iter() {
            let pointer = child("/aggregations", of);
            let field = super::field(&pointer, of, input)?;
            if columns.has(of) {
                return Err(duplicate_column(&pointer, of).hint(
                    "the result has one column for each name: copy it with `derive_columns` first",
                ));
            }
            columns.put(of, function.sql(&pointer, field, None)?);
        }
        let from = name(crate::sql::MAIN);
        let keys = group_by(&self.group_by);
        columns.select(&format!("FROM {from}{keys}"))
    }
}
