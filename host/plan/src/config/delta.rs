//! What only Delta tables have: `time_travel` of a read.
//!
//! ```yaml
//! read: {connection: lake, format: delta, path: orders, time_travel: {as_of_version: 12}}
//! ```

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::Text;
use super::reader::Reader;
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{DeltaRead, TableVersion};

/// Options of ODIBI's writes that this version does not carry out.
pub(super) const WRITE_LATER: &[&str] = &["deep_diagnostics", "diff_keys"];

/// Reads `time_travel`, and `versionAsOf` and `timestampAsOf` of ODIBI's and Spark's `options`.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<DeltaRead> {
    let travel = reader.optional("time_travel");
    let mut found = None;
    let mut good = true;
    if let Some(mut travel) = reader.mapping("time_travel") {
        match version(&mut travel, &["as_of_version"], &["as_of_timestamp"]) {
            Ok(at) => found = at,
            Err(()) => good = false,
        }
        travel.finish_with(&[
            ("version", "as_of_version"),
            ("timestamp", "as_of_timestamp"),
        ]);
    } else if travel.is_some() {
        good = false;
    }
    if let Some(mut options) = reader.mapping("options") {
        let numbers = ["version_as_of", "versionAsOf"];
        match version(
            &mut options,
            &numbers,
            &["timestamp_as_of", "timestampAsOf"],
        ) {
            Ok(Some(at)) if found.is_none() => found = Some(at),
            Ok(Some(_)) => {
                let message = format!(
                    "{} and `time_travel` both say which version is read",
                    options.subject()
                );
                let made = Diagnostic::error(&codes::EXCLUSIVE_KEYS, options.span(), message);
                options.context().report(made.hint("remove one of them"));
                good = false;
            }
            Ok(None) => {}
            Err(()) => good = false,
        }
        options.finish_with(&[]);
    }
    let at = found.unwrap_or_default();
    good.then_some(DeltaRead { at })
}

/// Refuses `options` of a write; the keys among them are read with the mode.
pub(super) fn write_options(reader: &mut Reader<'_>) {
    if let Some(mut options) = reader.mapping("options") {
        let _ = options.entry("keys");
        options.not_yet(WRITE_LATER);
        options.finish_with(&[
            ("mergeSchema", "write `merge_schema: true` beside `options`"),
            (
                "overwriteSchema",
                "write `overwrite_schema: true` beside `options`",
            ),
        ]);
    }
}

/// A table is one directory.
pub(super) fn check_path(reader: &Reader<'_>, path: Option<&Text>) -> bool {
    let Some(path) = path.filter(|path| path.value.contains(['*', '?', '['])) else {
        return true;
    };
    let message = format!(
        "`path` of {} holds a wildcard, and a Delta table is one directory: {}",
        reader.subject(),
        quoted(path.shown())
    );
    let made = Diagnostic::error(&codes::BAD_PATH, path.span, message);
    reader
        .context()
        .report(made.hint("name the directory that holds `_delta_log`"));
    false
}

fn version(
    reader: &mut Reader<'_>,
    numbers: &[&'static str],
    times: &[&'static str],
) -> Result<Option<TableVersion>, ()> {
    let number = reader.one_of(numbers);
    let time = reader.one_of(times);
    match (number, time) {
        (None, None) => Ok(None),
        (Some(number), Some(time)) => {
            reader.exclusive(number, time);
            Err(())
        }
        (Some(entry), None) => {
            let text = reader.as_text(entry).ok_or(())?;
            let number = text
                .value
                .parse::<u64>()
                .ok()
                .filter(|n| i64::try_from(*n).is_ok());
            match number {
                Some(number) => Ok(Some(TableVersion::Number(number))),
                None => bad(reader, &entry.key, &text, "a version, such as 12"),
            }
        }
        (None, Some(entry)) => {
            let text = reader.as_text(entry).ok_or(())?;
            match micros(&text.value) {
                Some(micros) => Ok(Some(TableVersion::Time(micros))),
                None => {
                    let wanted = "a time, such as 2026-01-31T08:00:00Z";
                    bad(reader, &entry.key, &text, wanted)
                }
            }
        }
    }
}

fn bad(
    reader: &Reader<'_>,
    key: &str,
    text: &Text,
    wanted: &str,
) -> Result<Option<TableVersion>, ()> {
    let message = format!(
        "{} of {} must be {wanted}: {}",
        quoted(key),
        reader.subject(),
        quoted(text.shown())
    );
    reader
        .context()
        .report(Diagnostic::error(&codes::BAD_VALUE, text.span, message));
    Err(())
}

/// A date, a date and time, or one with an offset; without an offset it is UTC.
fn micros(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    let civil = text.parse::<DateTime>();
    let civil = civil.or_else(|_| text.parse::<Date>().map(|date| date.at(0, 0, 0, 0)));
    let zoned = civil.ok()?.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_an_offset_are_utc() {
        for (text, wanted) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01T01:00:01+01:00", Some(1_000_000)),
            ("1970-01-01 00:00:01.5", Some(1_500_000)),
            ("1970-01-02", Some(86_400_000_000)),
            ("yesterday", None),
            ("1970-13-01", None),
            ("", None),
        ] {
            assert_eq!(micros(text), wanted, "{text}");
        }
    }
}
