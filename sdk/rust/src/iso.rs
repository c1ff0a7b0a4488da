//! Dates, times and timestamps as ISO 8601 text, both ways. The calendar is the proleptic Gregorian one.
//!
//! The conversions between days and dates are Howard Hinnant's: <https://howardhinnant.github.io/date_algorithms.html>.

use std::fmt::Write as _;

use arrow_schema::TimeUnit;

const DAY_SECONDS: i64 = 86_400;
const SECOND_NANOS: i64 = 1_000_000_000;
const FRACTION_DIGITS_MAX: usize = 9;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_SHIFT_DAYS: i64 = 719_468;
const ERA_DAYS: i64 = 146_097;
const ERA_YEARS: i64 = 400;

/// How many of this unit make a second.
pub fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => SECOND_NANOS,
    }
}

/// `2026-01-31`; years outside 0000 to 9999 have a sign: `+10000-01-01`.
pub fn push_date(out: &mut String, days: i64) {
    let (year, month, day) = date_of(days);
    if (0..=9999).contains(&year) {
        let _ = write!(out, "{year:04}-{month:02}-{day:02}");
    } else {
        let _ = write!(out, "{year:+05}-{month:02}-{day:02}");
    }
}

/// `13:45:00` and, unless it is zero, the fraction without trailing zeros: `13:45:00.25`.
pub fn push_time(out: &mut String, of_day: i64, unit: TimeUnit) {
    let (seconds, fraction) = (
        of_day.div_euclid(per_second(unit)),
        of_day.rem_euclid(per_second(unit)),
    );
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction != 0 {
        let nanos = fraction * (SECOND_NANOS / per_second(unit));
        let _ = write!(out, ".{nanos:09}");
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// `2026-01-31T13:45:00.25`, followed by `Z` when `utc`.
pub fn push_timestamp(out: &mut String, since_epoch: i64, unit: TimeUnit, utc: bool) {
    let day = DAY_SECONDS * per_second(unit);
    push_date(out, since_epoch.div_euclid(day));
    out.push('T');
    push_time(out, since_epoch.rem_euclid(day), unit);
    if utc {
        out.push('Z');
    }
}

/// A point in time as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970-01-01T00:00:00 where it was written.
    pub local_nanos: i128,
    /// East of UTC, when it was written.
    pub offset_seconds: Option<i32>,
}

/// `2026-01-31` as days since 1970-01-01.
pub fn parse_date(text: &str) -> Option<i32> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let days = days_of(year, month, day);
    // A month or day that is out of range becomes another date.
    (rest.is_empty() && date_of(days) == (year, month, day)).then(|| i32::try_from(days).ok())?
}

/// `13:45`, `13:45:00` or `13:45:00.25` as nanoseconds since midnight; up to nine digits of fraction, no leap second.
pub fn parse_time(text: &str) -> Option<i64> {
    let (hour, rest) = digits(text, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = rest
        .strip_prefix(':')
        .map_or(Some((0, rest)), |rest| digits(rest, 2))?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match rest.strip_prefix('.') {
        None if rest.is_empty() => 0,
        Some(fraction) if (1..=FRACTION_DIGITS_MAX).contains(&fraction.len()) => {
            digits(&format!("{fraction:0<9}"), FRACTION_DIGITS_MAX)?.0
        }
        None | Some(_) => return None,
    };
    Some((hour * 3600 + minute * 60 + second) * SECOND_NANOS + nanos)
}

/// A date, or a date and a time with `T` or a blank between them; after a time, `Z` or an offset such as `+01:00`.
pub fn parse_timestamp(text: &str) -> Option<Moment> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut local_nanos = i128::from(parse_date(date)?) * i128::from(DAY_SECONDS * SECOND_NANOS);
    if rest.is_empty() {
        return Some(Moment {
            local_nanos,
            offset_seconds: None,
        });
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, offset) = rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()));
    local_nanos += i128::from(parse_time(time)?);
    let offset_seconds = if offset.is_empty() {
        None
    } else {
        Some(parse_offset(offset)?)
    };
    Some(Moment {
        local_nanos,
        offset_seconds,
    })
}

/// `Z`, `+01:00` or `+0100` in seconds.
fn parse_offset(text: &str) -> Option<i32> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, rest) = digits(text.get(1..)?, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 2)?;
    let fits = rest.is_empty() && hours <= 23 && minutes <= 59;
    fits.then(|| i32::try_from(sign * (hours * 3600 + minutes * 60)).ok())?
}

/// Nanoseconds in a unit, when nothing is lost.
pub fn in_unit(nanos: i128, unit: TimeUnit) -> Option<i64> {
    let unit_nanos = i128::from(SECOND_NANOS / per_second(unit));
    (nanos % unit_nanos == 0).then(|| i64::try_from(nanos / unit_nanos).ok())?
}

fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let (head, rest) = text.split_at_checked(count)?;
    let number = head
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| head.parse().ok())?;
    number.map(|number| (number, rest))
}

/// Years begin in March here, so that the leap day is the last.
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH_SHIFT_DAYS;
    let (era, day_of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (
        year_of_era + era * ERA_YEARS + i64::from(month <= 2),
        month,
        day,
    )
}

fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(ERA_YEARS), year.rem_euclid(ERA_YEARS));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_SHIFT_DAYS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_date(days: i32, expect: &str) {
        let mut text = String::new();
        push_date(&mut text, i64::from(days));
        assert_eq!((text.as_str(), parse_date(expect)), (expect, Some(days)));
    }

    #[test]
    fn dates_go_both_ways() {
        check_date(0, "1970-01-01");
        check_date(-1, "1969-12-31");
        check_date(11_016, "2000-02-29");
        check_date(20_484, "2026-01-31");
        check_date(-719_528, "0000-01-01");
        check_date(2_932_896, "9999-12-31");
        let mut text = String::new();
        push_date(&mut text, 2_932_897);
        push_date(&mut text, -719_529);
        push_date(&mut text, i64::MAX / 86_400);
        assert_eq!(text, "+10000-01-01-0001-12-31+292277026596-12-04");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "2025-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "2026-1-01",
            "26-01-01",
            "2026-01-011",
            "2026/01/01",
            "",
            "+026-01-01",
            "٢٠٢٦-01-01",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[track_caller]
    fn check_timestamp(text: &str, local_nanos: i128, offset_seconds: Option<i32>) {
        assert_eq!(
            parse_timestamp(text),
            Some(Moment {
                local_nanos,
                offset_seconds
            }),
            "{text}"
        );
    }

    #[test]
    fn timestamps_are_read() {
        check_timestamp("1970-01-02", 86_400_000_000_000, None);
        check_timestamp("1970-01-01T00:01", 60_000_000_000, None);
        check_timestamp("1970-01-01 00:00:01.000000001", 1_000_000_001, None);
        check_timestamp("1969-12-31T23:59:59.5Z", -500_000_000, Some(0));
        check_timestamp("1970-01-01T00:00:00+01:30", 0, Some(5400));
        check_timestamp("1970-01-01T00:00:00-0800", 0, Some(-28_800));
        for text in [
            "1970-01-01T",
            "1970-01-01T24:00:00",
            "1970-01-01T00:60",
            "1970-01-01T00:00:60",
            "1970-01-01X00:00",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00:00.1234567890",
            "1970-01-01T00:00:00+1",
            "1970-01-01Z",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00ZZ",
            "yesterday",
            "1970-01-0é",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn fractions_have_no_trailing_zeros() {
        let text = |value, unit| {
            let mut text = String::new();
            push_timestamp(&mut text, value, unit, false);
            text
        };
        assert_eq!(text(1, TimeUnit::Second), "1970-01-01T00:00:01");
        assert_eq!(text(1_250, TimeUnit::Millisecond), "1970-01-01T00:00:01.25");
        assert_eq!(
            text(1_250_000, TimeUnit::Microsecond),
            "1970-01-01T00:00:01.25"
        );
        assert_eq!(
            text(-1, TimeUnit::Nanosecond),
            "1969-12-31T23:59:59.999999999"
        );
        assert_eq!(
            text(i64::MIN, TimeUnit::Nanosecond),
            "1677-09-21T00:12:43.145224192"
        );
    }

    proptest! {
        #[test]
        fn timestamps_come_back_as_they_were_written(micros in -62_167_219_200_000_000..=253_402_300_799_999_999_i64) {
            let mut text = String::new();
            push_timestamp(&mut text, micros, TimeUnit::Microsecond, true);
            let moment = parse_timestamp(&text);
            prop_assert_eq!(moment.and_then(|m| in_unit(m.local_nanos, TimeUnit::Microsecond)), Some(micros));
            prop_assert_eq!(moment.and_then(|m| m.offset_seconds), Some(0));
        }
    }
}
