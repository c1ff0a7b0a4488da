//! `date_diff`: how much time lies between two columns.

use odibi_sdk::prelude::*;

use super::Moment;
use crate::statement::Columns;
use crate::thin::Thin;

/// Params of `date_diff`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DateDiff {
    /// Column of dates or timestamps; text is read as a timestamp.
    start_col: String,
    /// Likewise; an end before the start gives a negative difference.
    end_col: String,
    /// `day` counts the midnights in between, a whole number; the others give the time that passed, with its fraction.
    #[serde(default = "day")]
    unit: Unit,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Day,
    Hour,
    Minute,
    Second,
}

fn day() -> Unit {
    Unit::Day
}

impl Thin for DateDiff {
    const NAME: &'static str = "date_diff";
    const SUMMARY: &'static str = "Computes the time between two columns, into `diff_<unit>`";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "days between two dates",
                json!({ "start_col": "ordered", "end_col": "shipped" }),
                ["ordered,shipped\n2026-01-30,2026-02-02\n2026-01-30,\n"],
                "ordered,shipped,diff_day\n2026-01-30,2026-02-02,3\n2026-01-30,,\n",
            ),
            Example::new(
                "hours that passed",
                json!({ "start_col": "a", "end_col": "b", "unit": "hour" }),
                ["a,b\n2026-01-01T10:00:00,2026-01-01T11:30:00\n"],
                "a,b,diff_hour\n2026-01-01T10:00:00,2026-01-01T11:30:00,1.5\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let start = Moment::of("/start_col", &self.start_col, input)?;
        let end = Moment::of("/end_col", &self.end_col, input)?;
        let days = |m: &Moment| format!("CAST(CAST(CAST({} AS DATE) AS INT) AS BIGINT)", m.sql);
        // Since 1970, whatever the time zone; a time that no calendar has is a failure.
        let asked = |m: &Moment| {
            let time = m.timestamp();
            format!(
                "CAST(arrow_cast({time}, 'Timestamp(Microsecond, Some(\"+00:00\"))') AS BIGINT)"
            )
        };
        let passed = |micros_in_unit: &str| {
            let units = |end: String, start: String| {
                format!("CAST({end} - {start} AS DOUBLE) / CAST('{micros_in_unit}' AS DOUBLE)")
            };
            let far = units(asked(&end), asked(&start));
            if start.zoned && end.zoned {
                return far;
            }
            super::by_distance(&[&end, &start], &units(end.ticks(), start.ticks()), &far)
        };
        let (name, sql) = match self.unit {
            Unit::Day => ("diff_day", format!("{} - {}", days(&end), days(&start))),
            Unit::Hour => ("diff_hour", passed("3600000000")),
            Unit::Minute => ("diff_minute", passed("60000000")),
            Unit::Second => ("diff_second", passed("1000000")),
        };
        let mut columns = Columns::of(input);
        columns.put(name, sql);
        columns.over_main()
    }
}
