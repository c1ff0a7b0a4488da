//! `convert_timezone`: what the clocks of another place show.

use arrow_array::timezone::Tz;
use odibi_sdk::prelude::*;

use super::Moment;
use crate::statement::{Columns, text};
use crate::thin::Thin;

/// Time zones whose clocks show microseconds since 1970 as they are; there may be others.
const UTC: [&str; 3] = ["UTC", "Etc/UTC", "+00:00"];

/// Params of `convert_timezone`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConvertTimezone {
    /// Column of timestamps; text is read as one. A timestamp that belongs to a time zone is a moment already, and
    /// `source_tz` does not count for it.
    col: String,
    /// Time zone of the times in `col`: a name of the IANA database such as `Europe/Berlin`, or an offset such as `+02:00`.
    /// Where clocks are set back, a time that they show twice is the first of the two; a time that they skip is the one an
    /// hour later.
    #[serde(default = "utc")]
    source_tz: String,
    /// Time zone of the result, which is a timestamp without a zone.
    target_tz: String,
    /// Column that receives the result; `<col>_converted` when left out. One of this name is replaced where it stands.
    #[serde(default)]
    output_col: Option<String>,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Thin for ConvertTimezone {
    const NAME: &'static str = "convert_timezone";
    const SUMMARY: &'static str = "Converts timestamps from one time zone to another";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "from UTC to New York, in winter and in summer",
                json!({ "col": "at", "target_tz": "America/New_York" }),
                ["id,at\n1,2026-01-01T12:00:00\n2,2026-07-01T12:00:00\n3,\n"],
                "id,at,at_converted\n1,2026-01-01T12:00:00,2026-01-01T07:00:00\n2,2026-07-01T12:00:00,2026-07-01T08:00:00\n3,,\n",
            ),
            Example::new(
                "from Berlin to UTC, in place",
                json!({ "col": "at", "source_tz": "Europe/Berlin", "target_tz": "UTC", "output_col": "at" }),
                ["at\n2026-01-01T00:30:00\n"],
                "at\n2025-12-31T23:30:00\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        let moment = Moment::of("/col", &self.col, input)?;
        if moment.date {
            let field = super::field("/col", &self.col, input)?;
            return Err(super::wrong_type("/col", field, "a timestamp"));
        }
        let source = zoned("/source_tz", &self.source_tz)?;
        let target = zoned("/target_tz", &self.target_tz)?;
        let instant = if moment.zoned {
            moment.sql
        } else {
            // Three hours before, clocks were not being set: where a time is shown twice or not at all, what it is comes of
            // the time before.
            let naive = format!("CAST({} AS TIMESTAMP(6))", moment.sql);
            let before = format!("{naive} - INTERVAL '3 hours'");
            let asked = format!(
                "coalesce(arrow_try_cast({naive}, {source}), arrow_try_cast({before}, {source}) + INTERVAL '3 hours')"
            );
            if UTC.contains(&self.source_tz.as_str()) {
                let same = format!("arrow_cast({}, {source})", moment.ticks());
                super::by_distance(&[&moment], &same, &asked)
            } else {
                asked
            }
        };
        let sql = format!("to_local_time(arrow_cast({instant}, {target}))");
        let mut columns = Columns::of(input);
        let default = format!("{}_converted", self.col);
        columns.put(self.output_col.as_ref().unwrap_or(&default), sql);
        columns.over_main()
    }
}

/// The type of timestamps of a zone, as a literal.
fn zoned(pointer: &str, zone: &str) -> Result<String> {
    let known: std::result::Result<Tz, _> = zone.parse();
    if known.is_err() || zone.contains(['"', '\\', '\'']) {
        let message = format!("unknown time zone: {zone}");
        return Err(Failure::param(pointer, message)
            .code("unknown-time-zone")
            .hint("use a name such as Europe/Berlin, or an offset such as +02:00"));
    }
    Ok(text(&format!("Timestamp(Microsecond, Some(\"{zone}\"))")))
}
