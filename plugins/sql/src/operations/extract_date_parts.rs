//! `extract_date_parts`: year, month, day, … as numbers.

use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use super::Moment;
use crate::statement::Columns;
use crate::thin::Thin;

/// Params of `extract_date_parts`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtractDateParts {
    /// Column of dates or timestamps; text is read as a timestamp.
    source_col: String,
    /// The parts go into `<prefix>_year` and so on; the name of the column when left out.
    #[serde(default)]
    prefix: Option<String>,
    /// Which parts.
    #[serde(default = "parts")]
    parts: Vec<Part>,
}

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Part {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

fn parts() -> Vec<Part> {
    vec![Part::Year, Part::Month, Part::Day]
}

impl Part {
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

impl Thin for ExtractDateParts {
    const NAME: &'static str = "extract_date_parts";
    const SUMMARY: &'static str = "Writes parts of dates or timestamps into columns of numbers";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "year, month and day",
                json!({ "source_col": "day" }),
                ["id,day\n1,2026-02-17\n2,\n"],
                "id,day,day_year,day_month,day_day\n1,2026-02-17,2026,2,17\n2,,,,\n",
            ),
            Example::new(
                "chosen parts under another name",
                json!({ "source_col": "created_at", "prefix": "created", "parts": ["year", "hour"] }),
                ["created_at\n2026-02-17T10:59:59\n"],
                "created_at,created_year,created_hour\n2026-02-17T10:59:59,2026,10\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let moment = Moment::of("/source_col", &self.source_col, input)?;
        super::not_empty("/parts", self.parts.is_empty())?;
        let prefix = self.prefix.as_ref().unwrap_or(&self.source_col);
        let mut columns = Columns::of(input);
        for (i, part) in self.parts.iter().enumerate() {
            let word = part.word();
            if self.parts[..i].contains(part) {
                let message = format!("`{word}` is named twice");
                return Err(Failure::param(child("/parts", i), message));
            }
            let sql = format!("CAST(date_part('{word}', {}) AS INT)", moment.timestamp());
            columns.put(&format!("{prefix}_{word}"), sql);
        }
        columns.over_main()
    }
}
