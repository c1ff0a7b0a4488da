//! `date_trunc`: the beginning of the year, month, … of a time.

use odibi_sdk::prelude::*;

use super::Moment;
use crate::statement::Columns;
use crate::thin::Thin;

/// Params of `date_trunc`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateTrunc {
    /// Column of dates or timestamps; text is read as a timestamp. A date stays a date.
    col: String,
    /// What to cut off after.
    unit: Unit,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
        }
    }
}

impl Thin for DateTrunc {
    const NAME: &'static str = "date_trunc";
    const SUMMARY: &'static str =
        "Cuts dates or timestamps down to the beginning of a unit, into `<col>_trunc`";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "the first of the month",
                json!({ "col": "day", "unit": "month" }),
                ["id,day\n1,2026-02-17\n2,\n"],
                "id,day,day_trunc\n1,2026-02-17,2026-02-01\n2,,\n",
            ),
            Example::new(
                "the full hour",
                json!({ "col": "at", "unit": "hour" }),
                ["at\n2026-02-17T10:59:59\n"],
                "at,at_trunc\n2026-02-17T10:59:59,2026-02-17T10:00:00\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let moment = Moment::of("/col", &self.col, input)?;
        let word = self.unit.word();
        let mut sql = format!("date_trunc('{word}', {})", moment.timestamp());
        if moment.date {
            sql = format!("CAST({sql} AS DATE)");
        }
        let mut columns = Columns::of(input);
        columns.put(&format!("{}_trunc", self.col), sql);
        columns.over_main()
    }
}
