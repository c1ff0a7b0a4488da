//! `${date:EXPRESSION[:FORMAT]}`: dates around the run's logical time, in UTC.
//!
//! | expression | what |
//! |---|---|
//! | `now`, `today`, `yesterday` | as they say |
//! | `start_of_month`, `end_of_month`, `start_of_year` | days of the current month and year |
//! | `7d`, `-2w`, `+1m`, `-1y` | that many days, weeks, months, years from today; the day of a month is clamped |
//!
//! The format is that of `strftime`: `%Y-%m-%d`, and `%Y-%m-%d %H:%M:%S` for `now`.

use jiff::civil::Date;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

const DATE: &str = "%Y-%m-%d";
const DATE_TIME: &str = "%Y-%m-%d %H:%M:%S";

/// The date that the words after `date:` mean, or what is wrong with them.
pub(super) fn date(words: &str, at: Timestamp) -> Result<String, &'static str> {
    let (expression, format) = match words.split_once(':') {
        Some((expression, format)) => (expression, Some(format)),
        None => (words, None),
    };
    let now = at.to_zoned(TimeZone::UTC);
    if expression == "now" {
        return format_of(format.unwrap_or(DATE_TIME), &now);
    }
    let day = day(expression, now.date())?;
    let day = day
        .to_zoned(TimeZone::UTC)
        .map_err(|_| "the date is out of range")?;
    format_of(format.unwrap_or(DATE), &day)
}

fn day(expression: &str, today: Date) -> Result<Date, &'static str> {
    Ok(match expression {
        "today" => today,
        "yesterday" => today.yesterday().map_err(|_| "the date is out of range")?,
        "start_of_month" => today.first_of_month(),
        "end_of_month" => today.last_of_month(),
        "start_of_year" => today.first_of_year(),
        _ => return offset(expression, today),
    })
}

fn offset(expression: &str, today: Date) -> Result<Date, &'static str> {
    let unit = expression.chars().next_back();
    let number = expression
        .get(..expression.len().saturating_sub(1))
        .unwrap_or_default();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("no such date expression");
    }
    let number: i64 = number.parse().map_err(|_| "the number is too large")?;
    let span = match unit {
        Some('d') => Span::new().try_days(number),
        Some('w') => Span::new().try_weeks(number),
        Some('m') => Span::new().try_months(number),
        Some('y') => Span::new().try_years(number),
        _ => return Err("no such date expression"),
    };
    let span = span.map_err(|_| "the number is too large")?;
    today
        .checked_add(span)
        .map_err(|_| "the date is out of range")
}

fn format_of(format: &str, at: &Zoned) -> Result<String, &'static str> {
    strtime::format(format, at).map_err(|_| "the format is none of `strftime`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(at: &str, words: &str, expect: Result<&str, &str>) {
        let at: Timestamp = at.parse().expect("a time");
        let found = date(words, at);
        assert_eq!(found.as_deref().map_err(|e| *e), expect, "{words}");
    }

    #[test]
    fn expressions_are_around_the_logical_time() {
        let at = "2024-02-29T13:14:15Z";
        check(at, "now", Ok("2024-02-29 13:14:15"));
        check(at, "now:%H:%M", Ok("13:14"));
        check(at, "today", Ok("2024-02-29"));
        check(at, "today:%Y/%m/%d", Ok("2024/02/29"));
        check(at, "yesterday", Ok("2024-02-28"));
        check(at, "start_of_month", Ok("2024-02-01"));
        check(at, "end_of_month", Ok("2024-02-29"));
        check(at, "start_of_year", Ok("2024-01-01"));
        check(at, "-7d", Ok("2024-02-22"));
        check(at, "+1w:%j", Ok("067"));
        check(at, "1m", Ok("2024-03-29"));
        check("2024-01-31T00:00:00Z", "1m", Ok("2024-02-29"));
        check(at, "1y", Ok("2025-02-28"));
        check(at, "-4y", Ok("2020-02-29"));
    }

    #[test]
    fn faults_are_told() {
        let at = "2024-02-29T13:14:15Z";
        for words in ["", "tomorow", "7", "d", "-d", "7 d", "1.5d", "7h", "é"] {
            check(at, words, Err("no such date expression"));
        }
        check(at, "99999999999999999999d", Err("the number is too large"));
        check(at, "9999999999999d", Err("the number is too large"));
        check(at, "9000y", Err("the date is out of range"));
        check(at, "today:%!", Err("the format is none of `strftime`"));
    }
}
