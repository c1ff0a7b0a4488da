//! `date_add`: a time a while later or earlier.

use odibi_sdk::prelude::*;

use super::Moment;
use crate::statement::{Columns, text};
use crate::thin::Thin;

/// Params of `date_add`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateAdd {
    /// Column of dates or timestamps; text is read as a timestamp.
    col: String,
    /// How many units; negative goes back.
    value: i64,
    /// Unit of `value`. A month later is the same day of the month, or its last day where there is no such day. A date
    /// stays a date unless the unit is smaller than a day.
    unit: Unit,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
        }
    }

    /// So many make a million years at most, or as much as an interval holds.
    fn value_max(self) -> i64 {
        match self {
            Self::Year => 200_000,
            Self::Month => 2_400_000,
            Self::Day => 73_000_000,
            Self::Hour => 2_500_000,
            Self::Minute => 150_000_000,
            Self::Second => 9_000_000_000,
        }
    }

    fn is_day_or_longer(self) -> bool {
        matches!(self, Self::Year | Self::Month | Self::Day)
    }
}

impl Thin for DateAdd {
    const NAME: &'static str = "date_add";
    const SUMMARY: &'static str =
        "Moves dates or timestamps by a number of units, into `<col>_future`";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "a month later",
                json!({ "col": "due", "value": 1, "unit": "month" }),
                ["id,due\n1,2026-01-31\n2,\n"],
                "id,due,due_future\n1,2026-01-31,2026-02-28\n2,,\n",
            ),
            Example::new(
                "two hours earlier",
                json!({ "col": "at", "value": -2, "unit": "hour" }),
                ["at\n2026-01-01T01:30:00\n"],
                "at,at_future\n2026-01-01T01:30:00,2025-12-31T23:30:00\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let moment = Moment::of("/col", &self.col, input)?;
        let value_max = self.unit.value_max();
        if !(-value_max..=value_max).contains(&self.value) {
            let message = format!(
                "must lie between -{value_max} and {value_max} for this unit, is: {}",
                self.value
            );
            return Err(Failure::param("/value", message));
        }
        let of = if self.unit.is_day_or_longer() {
            moment.sql
        } else {
            moment.timestamp()
        };
        let interval = text(&format!("{} {}", self.value, self.unit.word()));
        let mut columns = Columns::of(input);
        columns.put(
            &format!("{}_future", self.col),
            format!("{of} + INTERVAL {interval}"),
        );
        columns.over_main()
    }
}
