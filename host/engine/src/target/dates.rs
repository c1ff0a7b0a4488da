//! Keys that a CSV target holds as dates or times in a format of the project's: read back with the same format.

use arrow_array::builder::StringBuilder;
use arrow_array::timezone::Tz;
use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_cast::display::ArrayFormatter;
use arrow_schema::{DataType, Schema, TimeUnit};
use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Utc};
use odibi_plan::plan::{ColumnName, Write, WriteFormat};
use odibi_story::failure::{Failure, FailureClass, code};

use crate::write::csv::cell_options;

const DAY_SECONDS: i64 = 86_400;
/// Days on which a format is tried, in seconds since 1970: the noons of 2001-01-15 and 2024-06-16.
const TRIED: [i64; 2] = [979_560_000, 1_718_539_200];

/// How the dates and times of a CSV file are written.
#[derive(Debug, Clone)]
pub(crate) struct DateFormat {
    text: String,
    items: Vec<Item<'static>>,
}

impl DateFormat {
    /// `None` where they are written as ISO 8601 has it.
    pub(crate) fn of(format: &WriteFormat) -> Option<Self> {
        let WriteFormat::Csv(csv) = format else {
            return None;
        };
        let text = csv.date_format.clone()?;
        // What is not known was refused with the project; without items nothing can be read.
        let items = StrftimeItems::new(&text).parse_to_owned();
        let items = items.unwrap_or_default();
        Some(Self { text, items })
    }

    /// Are values of this type written with it?
    pub(crate) fn is_for(data_type: &DataType) -> bool {
        matches!(
            data_type,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _)
        )
    }

    /// Texts as values of such a type; `None` when one is none.
    pub(crate) fn read(&self, texts: &StringArray, data_type: &DataType) -> Option<ArrayRef> {
        let zone = if let DataType::Timestamp(_, Some(zone)) = data_type {
            Some(zone.parse::<Tz>().ok()?)
        } else {
            None
        };
        let value = |text: Option<&str>| match text {
            None => Some(None),
            Some(text) => {
                let mut parsed = Parsed::new();
                parse(&mut parsed, text, self.items.iter()).ok()?;
                number(instant(parsed, zone)?, data_type).map(Some)
            }
        };
        let values: Option<Vec<Option<i64>>> = texts.iter().map(value).collect();
        cast(&Int64Array::from(values?), data_type).ok()
    }

    /// Can values of such a type be read back at all?
    fn tells(&self, data_type: &DataType) -> bool {
        let tried = TRIED.map(|seconds| number(DateTime::from_timestamp(seconds, 0)?, data_type));
        let Ok(tried) = cast(&Int64Array::from(tried.to_vec()), data_type) else {
            return false;
        };
        let texts = self.texts(&tried);
        texts.is_some_and(|texts| self.read(&texts, data_type).is_some())
    }

    /// Is each of these values the same when it is read back? One that has no text is not written at all.
    fn keeps(&self, column: &ArrayRef) -> bool {
        let Some(texts) = self.texts(column) else {
            return true;
        };
        let back = self.read(&texts, column.data_type());
        back.is_some_and(|back| back.as_ref() == column.as_ref())
    }

    /// Values as they are written; `None` when one cannot be.
    fn texts(&self, column: &ArrayRef) -> Option<StringArray> {
        let options = cell_options(Some(&self.text));
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).ok()?;
        let mut texts = StringBuilder::new();
        let mut text = String::new();
        for row in 0..column.len() {
            if column.is_null(row) {
                texts.append_null();
                continue;
            }
            text.clear();
            formatter.value(row).write(&mut text).ok()?;
            texts.append_value(&text);
        }
        Some(texts.finish())
    }
}

/// The moment that was read. A day without a time is its beginning.
fn instant(mut parsed: Parsed, zone: Option<Tz>) -> Option<DateTime<Utc>> {
    if parsed.timestamp().is_none() {
        let hour = parsed.hour_div_12().or(parsed.hour_mod_12());
        if hour.is_none() && parsed.minute().is_none() {
            parsed.set_hour(0).ok()?;
        }
        if parsed.minute().is_none() {
            parsed.set_minute(0).ok()?;
        }
    }
    match zone {
        None => Some(parsed.to_naive_datetime_with_offset(0).ok()?.and_utc()),
        Some(_) if parsed.offset().is_some() => {
            Some(parsed.to_datetime().ok()?.with_timezone(&Utc))
        }
        Some(zone) => {
            let local = parsed.to_datetime_with_timezone(&zone).ok()?;
            Some(local.with_timezone(&Utc))
        }
    }
}

/// A moment as Arrow counts it in a type.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these types are written with a format"
)]
fn number(instant: DateTime<Utc>, data_type: &DataType) -> Option<i64> {
    match data_type {
        DataType::Date32 => Some(instant.timestamp().div_euclid(DAY_SECONDS)),
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Some(instant.timestamp_millis())
        }
        DataType::Timestamp(TimeUnit::Second, _) => Some(instant.timestamp()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(instant.timestamp_micros()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => instant.timestamp_nanos_opt(),
        _ => None,
    }
}

/// The column of `keys` or `order_by` whose values cannot be read back from a CSV target, because `date_format` leaves out
/// what would be needed. `result` are the columns of the node.
#[must_use]
pub fn untold_key<'w>(write: &'w Write, result: &Schema) -> Option<&'w ColumnName> {
    let format = DateFormat::of(&write.format)?;
    let mut untold = dated(write, result).filter(|(_, data_type)| !format.tells(data_type));
    untold.next().map(|(column, _)| column)
}

/// Columns that tell rows apart and are written with a format.
fn dated<'w, 's>(
    write: &'w Write,
    result: &'s Schema,
) -> impl Iterator<Item = (&'w ColumnName, &'s DataType)> {
    let keys = write.mode.keys();
    let columns = keys.into_iter().flat_map(|keys| {
        let order = keys.duplicate_keys.order_by();
        keys.columns.iter().chain(order)
    });
    columns.filter_map(move |column| {
        // Those of partitions are in no file.
        let mut by = write.partition_by.iter();
        let in_file = by.all(|other| other.name != column.name);
        let field = result.field_with_name(&column.name).ok()?;
        let data_type = field.data_type();
        (in_file && DateFormat::is_for(data_type)).then_some((column, data_type))
    })
}

/// Sees to it that keys are told by what is written.
#[derive(Debug)]
pub(crate) struct DatedKeys {
    format: DateFormat,
    columns: Vec<String>,
    shown: String,
}

impl DatedKeys {
    /// `None` where no key is written with a format. Refuses formats that tell nothing of a key.
    pub(crate) fn new(
        write: &Write,
        result: &Schema,
        shown: &str,
    ) -> Result<Option<Self>, Failure> {
        let Some(format) = DateFormat::of(&write.format) else {
            return Ok(None);
        };
        let columns: Vec<String> = dated(write, result)
            .map(|(column, _)| column.name.clone())
            .collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let made = Self {
            format,
            columns,
            shown: shown.to_owned(),
        };
        match untold_key(write, result) {
            Some(column) => Err(made.untold(&column.name)),
            None => Ok(Some(made)),
        }
    }

    /// Refuses rows whose keys would be other ones when they are read back.
    pub(crate) fn check(&self, rows: &RecordBatch) -> Result<(), Failure> {
        for name in &self.columns {
            let column = rows.column_by_name(name);
            if column.is_some_and(|column| !self.format.keeps(column)) {
                return Err(self.untold(name));
            }
        }
        Ok(())
    }

    fn untold(&self, name: &str) -> Failure {
        let message = format!(
            "`date_format` leaves out a part of the key `{name}` of `{}`, so rows could not be told apart: `{}`",
            self.shown, self.format.text
        );
        Failure::new(FailureClass::Data, code::WRITE_BAD_KEY, message).hint(UNTOLD_HINT)
    }
}

const UNTOLD_HINT: &str = "write all of it, for example `%Y-%m-%d`, and for times `%Y-%m-%d %H:%M:%S.%f`, or leave out `date_format`";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Date32Array, TimestampMicrosecondArray};
    use odibi_plan::plan::CsvWrite;

    use super::*;

    fn format(text: &str) -> DateFormat {
        let csv = CsvWrite {
            date_format: Some(text.to_owned()),
            ..CsvWrite::default()
        };
        DateFormat::of(&WriteFormat::Csv(csv)).unwrap()
    }

    fn micros(zone: Option<&str>) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
    }

    #[test]
    fn formats_tell_days_and_times_or_do_not() {
        for (text, date, time, zoned) in [
            ("%d/%m/%Y", true, true, true),
            ("%m/%d/%y", true, true, true),
            ("%Y%m%d", true, true, true),
            ("%d%m%Y%H%M%S", false, true, true),
            ("%G-W%V-%u", true, true, true),
            ("%A, %e %B %Y", true, true, true),
            ("%Y.%j 100%%", true, true, true),
            ("%D %R", false, true, true),
            ("%F %I:%M %p", false, true, true),
            ("%F %T.%f", false, true, true),
            ("%F %T %z", false, false, true),
            ("%s", false, true, true),
            ("%F %I:%M", false, false, false),
            ("%d/%m", false, false, false),
            ("%B %Y", false, false, false),
            ("%H:%M:%S", false, false, false),
            ("a day", false, false, false),
        ] {
            let format = format(text);
            assert_eq!(format.tells(&DataType::Date32), date, "{text}: dates");
            assert_eq!(format.tells(&micros(None)), time, "{text}: times");
            let zone = micros(Some("+01:30"));
            assert_eq!(format.tells(&zone), zoned, "{text}: times with an offset");
        }
    }

    #[test]
    fn values_that_would_come_back_as_others_are_found() {
        let dates = |days: Vec<Option<i32>>| -> ArrayRef { Arc::new(Date32Array::from(days)) };
        let times = |seconds: i64, micros: i64| -> ArrayRef {
            let values = vec![Some(seconds * 1_000_000 + micros), None];
            Arc::new(TimestampMicrosecondArray::from(values))
        };
        let (midnight, noon) = (1_706_745_600, 1_706_788_800);
        for (text, column, keeps) in [
            (
                "%d/%m/%Y",
                dates(vec![Some(-719_528), None, Some(2_932_896)]),
                true,
            ),
            ("%d/%m/%y", dates(vec![Some(19_754)]), true),
            // 1950 would be 2050.
            ("%d/%m/%y", dates(vec![Some(-7_305)]), false),
            ("%d/%m/%Y", times(midnight, 0), true),
            ("%d/%m/%Y", times(noon, 0), false),
            ("%F %H", times(noon, 0), true),
            ("%F %R", times(noon, 0), true),
            ("%F %R", times(noon + 1, 0), false),
            ("%F %T", times(noon + 1, 0), true),
            ("%F %T", times(noon + 1, 1), false),
            ("%F %T.%f", times(noon + 1, 1), true),
            ("%s", times(noon + 1, 0), true),
        ] {
            assert_eq!(format(text).keeps(&column), keeps, "{text}: {column:?}");
        }
    }

    #[test]
    fn texts_of_others_are_read_as_people_write_them() {
        let texts = |texts: &[&str]| StringArray::from(texts.to_vec());
        let read = |found: &[&str]| format("%d.%m.%Y").read(&texts(found), &DataType::Date32);
        let expected: ArrayRef = Arc::new(Date32Array::from(vec![19_754, 19_754]));
        assert_eq!(read(&["01.02.2024", "1.2.2024"]), Some(expected));
        for odd in ["2024-02-01", "30.02.2024", "01.02.2024 ", "", "x"] {
            assert_eq!(read(&[odd]), None, "{odd:?}");
        }
        let offsets = format("%F %T %z").read(
            &texts(&["2024-02-01 13:30:00 +0130", "2024-02-01 12:00:00 +00:00"]),
            &micros(Some("+01:30")),
        );
        let noon = vec![1_706_788_800_000_000; 2];
        let noon = TimestampMicrosecondArray::from(noon).with_timezone("+01:30");
        assert_eq!(offsets, Some(Arc::new(noon) as ArrayRef));
    }
}
