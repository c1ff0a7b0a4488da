//! `split_events_by_period`: an event that lasts becomes one row for each day, hour or shift it touches.
//!
//! Parts are half open: one ends where the next begins, so that durations add up to that of the event. Days have 24 hours:
//! timestamps are those of a clock that is never put back or forward.

mod periods;
#[cfg(test)]
mod tests;

use arrow_array::builder::StringBuilder;
use odibi_sdk::arrow::schema::TimeUnit;
use odibi_sdk::prelude::*;

use crate::ticks;
use periods::Periods;

/// Rows of one emitted batch, at most.
const OUTPUT_ROWS_MAX: usize = 65_536;
const MINUTE_SECONDS: f64 = 60.0;

/// Params of `split_events_by_period`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitEventsByPeriod {
    /// When the event begins: a timestamp without a zone, or in UTC. Becomes the beginning of the part.
    start_col: String,
    /// When the event ends, of the same type. Becomes the end of the part. An event that ends before it begins is an error; one
    /// without a beginning or an end is kept as it is.
    end_col: String,
    /// Where events are cut.
    #[serde(default)]
    period: Period,
    /// Column that receives the minutes of the part; none when left out.
    #[serde(default)]
    duration_col: Option<String>,
    /// The shifts of a day, for `period: shift`. What lies outside of all shifts is a part without a shift.
    #[serde(default)]
    shifts: Option<Vec<Shift>>,
    /// Column that receives the name of the shift, for `period: shift`.
    #[serde(default = "shift_name")]
    shift_col: Option<String>,
}

/// Where events are cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Period {
    /// At midnight.
    #[default]
    Day,
    /// At each full hour.
    Hour,
    /// Where shifts begin and end.
    Shift,
}

/// A shift: the same time every day.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Shift {
    /// What it is called.
    name: String,
    /// When it begins, `06:00`.
    start: String,
    /// When it ends, `14:00`; not after its beginning means on the next day.
    end: String,
}

fn shift_name() -> Option<String> {
    Some("shift_name".to_owned())
}

impl Operation for SplitEventsByPeriod {
    const NAME: &'static str = "split_events_by_period";
    const SUMMARY: &'static str = "Cuts events at the borders of days, hours or shifts";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "a stop over midnight becomes two",
                json!({ "start_col": "from", "end_col": "to", "duration_col": "minutes" }),
                ["id,from,to\n1,2026-01-01T22:00:00,2026-01-02T01:30:00\n"],
                "id,from,to,minutes\n1,2026-01-01T22:00:00,2026-01-02T00:00:00,120.0\n1,2026-01-02T00:00:00,2026-01-02T01:30:00,90.0\n",
            ),
            Example::new(
                "each part belongs to a shift",
                json!({
                    "start_col": "from", "end_col": "to", "period": "shift",
                    "shifts": [
                        { "name": "day", "start": "06:00", "end": "18:00" },
                        { "name": "night", "start": "18:00", "end": "06:00" },
                    ],
                }),
                ["id,from,to\n1,2026-01-01T17:00:00,2026-01-01T19:00:00\n"],
                "id,from,to,shift_name\n1,2026-01-01T17:00:00,2026-01-01T18:00:00,day\n1,2026-01-01T18:00:00,2026-01-01T19:00:00,night\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        let start = ticks::unit_of("/start_col", &self.start_col, schema)?;
        let end = ticks::unit_of("/end_col", &self.end_col, schema)?;
        let utc = |zone: &str| matches!(zone, "UTC" | "Etc/UTC" | "Z" | "+00:00");
        if let Some(zone) = start.1.as_deref().filter(|z| !utc(z)) {
            let message = format!(
                "column `{}` must be in UTC or without a zone, is in: {zone}",
                self.start_col
            );
            return Err(Failure::param("/start_col", message).code("wrong-type"));
        }
        if self.start_col == self.end_col {
            return Err(Failure::param(
                "/end_col",
                "an event begins and ends in different columns",
            ));
        }
        if start != end {
            let of = |name: &str| {
                schema
                    .field_with_name(name)
                    .map(|f| f.data_type().to_string())
            };
            let message = format!(
                "column `{}` must be of the type of `{}`, {}, is: {}",
                self.end_col,
                self.start_col,
                of(&self.start_col)?,
                of(&self.end_col)?
            );
            return Err(Failure::param("/end_col", message).code("wrong-type"));
        }
        self.periods(start.0)?;
        let mut outline = Outline::of(schema);
        for (pointer, name) in [("/start_col", &self.start_col), ("/end_col", &self.end_col)] {
            let field = outline.input_field(pointer, name)?.clone();
            outline = outline.read(pointer, name)?.put(field);
        }
        if let Some(name) = &self.duration_col {
            outline = outline.add("/duration_col", Field::new(name, DataType::Float64, true))?;
        }
        if let Some(name) = self.named() {
            outline = outline.add("/shift_col", Field::new(name, DataType::Utf8, true))?;
        }
        // In the order of the output the end may stand before the start.
        let end_first = schema.index_of(&self.end_col)? < schema.index_of(&self.start_col)?;
        Ok(Plan::from(outline).state([u8::from(end_first)]))
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        let field = start
            .inputs
            .first()
            .and_then(|s| s.fields().first().cloned());
        let Some(DataType::Timestamp(unit, zone)) = field.as_ref().map(|f| f.data_type()) else {
            return Err(Failure::internal(
                "planned a timestamp, was offered another",
            ));
        };
        Ok(Box::new(Splitting {
            periods: self.periods(*unit)?,
            unit: *unit,
            zone: zone.clone(),
            end_first: start.state.first() == Some(&1),
            with_duration: self.duration_col.is_some(),
            with_shift: self.named().is_some(),
            start_col: self.start_col,
        }))
    }
}

impl SplitEventsByPeriod {
    fn periods(&self, unit: TimeUnit) -> Result<Periods> {
        let second = ticks::per_second(unit);
        match (self.period, &self.shifts) {
            (Period::Day, None) => Ok(Periods::every(86_400 * second)),
            (Period::Hour, None) => Ok(Periods::every(3_600 * second)),
            (Period::Shift, Some(shifts)) => Periods::of_shifts(shifts, second),
            (Period::Shift, None) => Err(Failure::param(
                "/period",
                "`period: shift` needs `shifts`, a list of `name`, `start` and `end`",
            )),
            (Period::Day | Period::Hour, Some(_)) => Err(Failure::param(
                "/shifts",
                "`shifts` are only for `period: shift`",
            )),
        }
    }

    fn named(&self) -> Option<&String> {
        self.shift_col
            .as_ref()
            .filter(|_| self.period == Period::Shift)
    }
}

struct Splitting {
    periods: Periods,
    unit: TimeUnit,
    zone: Option<Arc<str>>,
    end_first: bool,
    with_duration: bool,
    with_shift: bool,
    start_col: String,
}

/// Rows to be emitted.
#[derive(Default)]
struct Parts {
    rows: Vec<u32>,
    starts: Vec<Option<i64>>,
    ends: Vec<Option<i64>>,
    shifts: Vec<Option<usize>>,
}

impl Parts {
    fn push(&mut self, row: u32, start: Option<i64>, end: Option<i64>, shift: Option<usize>) {
        self.rows.push(row);
        self.starts.push(start);
        self.ends.push(end);
        self.shifts.push(shift);
    }
}

impl Session for Splitting {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let (starts, _) = ticks::of(batch.column(0))?;
        let (ends, _) = ticks::of(batch.column(1))?;
        let mut parts = Parts::default();
        for (row, (start, end)) in starts.iter().zip(&ends).enumerate() {
            let at = u32::try_from(row)
                .map_err(|_| Failure::internal("batch has more than 2^32 rows"))?;
            let (Some(start), Some(end)) = (start, end) else {
                parts.push(at, start, end, None);
                continue;
            };
            if end < start {
                let message = "the event ends before it begins";
                return Err(Failure::data(row, &self.start_col, message));
            }
            let mut from = start;
            loop {
                let (border, shift) = self.periods.around(from);
                let to = end.min(border);
                parts.push(at, Some(from), Some(to), shift);
                if parts.rows.len() == OUTPUT_ROWS_MAX
                    && self.emit(std::mem::take(&mut parts), out)? == Appetite::Enough
                {
                    return Ok(Appetite::Enough);
                }
                if to == end {
                    break;
                }
                from = to;
            }
        }
        self.emit(parts, out)
    }
}

impl Splitting {
    fn emit(&self, parts: Parts, out: &mut Output<'_>) -> Result<Appetite> {
        let array = |ticks: &[Option<i64>]| {
            ticks::back(
                &ticks.iter().copied().collect(),
                self.unit,
                self.zone.clone(),
            )
        };
        let mut columns = vec![array(&parts.starts), array(&parts.ends)];
        if self.end_first {
            columns.reverse();
        }
        if self.with_duration {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a duration in minutes is a float"
            )]
            let per_minute = ticks::per_second(self.unit) as f64 * MINUTE_SECONDS;
            let minutes = parts.starts.iter().zip(&parts.ends).map(|(start, end)| {
                let ticks = i128::from((*end)?) - i128::from((*start)?);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a duration in minutes is a float"
                )]
                let minutes = ticks as f64 / per_minute;
                Some(minutes)
            });
            columns.push(Arc::new(minutes.collect::<Float64Array>()));
        }
        if self.with_shift {
            let mut names = StringBuilder::new();
            for shift in &parts.shifts {
                names.append_option(shift.and_then(|s| self.periods.name(s)));
            }
            columns.push(Arc::new(names.finish()));
        }
        out.picked(columns, &parts.rows)
    }
}
