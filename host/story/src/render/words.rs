//! Numbers as people read them: counts, sizes, durations.

use jiff::Timestamp;

/// `1 row`, `2 rows`, `1,000 rows`. The noun is one that takes an `s`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        thousands(number),
        if number == 1 { "" } else { "s" }
    )
}

/// `1,234,567`
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `0 %`, `< 0.1 %`, `12.5 %`, `100 %`: only none is nothing, and only all is everything.
#[must_use]
pub(super) fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    match (part * 1_000 + whole / 2) / whole {
        0 => "< 0.1 %".to_owned(),
        1_000.. => "> 99.9 %".to_owned(),
        tenths if tenths % 10 == 0 => format!("{} %", tenths / 10),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// `512 B`, `1.5 KiB`, `41 MiB`: powers of 1,024, one decimal below ten.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    // Tenths of the unit, rounded; one unit up as soon as rounding reaches 1,024 of it.
    let mut unit = 0;
    let mut tenths = tenths_of(number, 1024);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        unit += 1;
        tenths = tenths_of(number, 1 << (10 * (unit + 1)));
    }
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", (tenths + 5) / 10, UNITS[unit])
    }
}

/// `41 MiB of 256`: the unit stands once when it is the same.
#[must_use]
pub(super) fn bytes_of(number: u64, max: u64) -> String {
    let (number, max) = (bytes(number), bytes(max));
    let unit = number.find(' ').map_or("", |at| &number[at..]);
    let max = max.strip_suffix(unit).unwrap_or(&max);
    format!("{number} of {max}")
}

fn tenths_of(number: u64, unit: u64) -> u64 {
    u64::try_from((u128::from(number) * 10 + u128::from(unit) / 2) / u128::from(unit))
        .unwrap_or(u64::MAX)
}

/// `820 ms`, `1.24 s`, `12.3 s`, `2 min 05 s`, `3 h 02 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..9_995 => format!("{}.{:02} s", (ms + 5) / 1_000, (ms + 5) % 1_000 / 10),
        9_995..59_950 => format!("{}.{} s", (ms + 50) / 1_000, (ms + 50) % 1_000 / 100),
        59_950..3_599_500 => {
            let s = (ms + 500) / 1_000;
            format!("{} min {:02} s", s / 60, s % 60)
        }
        3_599_500.. => {
            let min = ms / 60_000 + u64::from(ms % 60_000 >= 30_000);
            format!("{} h {:02} min", min / 60, min % 60)
        }
    }
}

/// As [`duration`], and `350 µs` below a millisecond.
#[must_use]
pub(super) fn duration_ns(ns: u64) -> String {
    match ns {
        0 => "0 ms".to_owned(),
        1..1_000 => "1 µs".to_owned(),
        1_000..999_500 => format!("{} µs", (ns + 500) / 1_000),
        999_500..9_950_000 => format!(
            "{}.{} ms",
            (ns + 50_000) / 1_000_000,
            (ns + 50_000) % 1_000_000 / 100_000
        ),
        9_950_000.. => duration(ns / 1_000_000 + u64::from(ns % 1_000_000 >= 500_000)),
    }
}

/// `2026-11-23 08:30:00 UTC`
#[must_use]
pub(super) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_to_nothing_and_everything_only_when_they_are() {
        for (part, whole, expect) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (1, 100_000, "< 0.1 %"),
            (1, 8, "12.5 %"),
            (1, 2, "50 %"),
            (99_999, 100_000, "> 99.9 %"),
            (7, 7, "100 %"),
            (u64::MAX - 1, u64::MAX, "> 99.9 %"),
        ] {
            assert_eq!(share(part, whole), expect, "{part} of {whole}");
        }
    }

    #[test]
    fn counts_have_thousands_and_the_right_number() {
        for (number, expect) in [
            (0, "0 rows"),
            (1, "1 row"),
            (2, "2 rows"),
            (999, "999 rows"),
            (1_000, "1,000 rows"),
            (336_776, "336,776 rows"),
            (1_234_567, "1,234,567 rows"),
            (u64::MAX, "18,446,744,073,709,551,615 rows"),
        ] {
            assert_eq!(count(number, "row"), expect);
        }
    }

    #[test]
    fn sizes_have_two_digits_at_least() {
        for (number, expect) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (10 * 1_024 - 1, "10 KiB"),
            (41 << 20, "41 MiB"),
            ((1 << 20) - 1, "1 MiB"),
            (1_500_000_000, "1.4 GiB"),
            (4 << 30, "4 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(number), expect, "{number}");
        }
    }

    #[test]
    fn unit_of_a_limit_stands_once_when_it_is_the_same() {
        for (number, max, expect) in [
            (41 << 20, 256 << 20, "41 MiB of 256"),
            (41 << 20, 1 << 30, "41 MiB of 1 GiB"),
            (12, 256 << 20, "12 B of 256 MiB"),
            (12, 100, "12 B of 100"),
        ] {
            assert_eq!(bytes_of(number, max), expect);
        }
    }

    #[test]
    fn durations_round_and_carry() {
        for (ms, expect) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.00 s"),
            (1_235, "1.24 s"),
            (9_994, "9.99 s"),
            (9_995, "10.0 s"),
            (12_345, "12.3 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min 00 s"),
            (125_400, "2 min 05 s"),
            (3_599_499, "59 min 59 s"),
            (3_599_500, "1 h 00 min"),
            (10_920_000, "3 h 02 min"),
            (u64::MAX, "5124095576030 h 26 min"),
        ] {
            assert_eq!(duration(ms), expect, "{ms}");
        }
        for (ns, expect) in [
            (0, "0 ms"),
            (1, "1 µs"),
            (350_499, "350 µs"),
            (999_499, "999 µs"),
            (999_500, "1.0 ms"),
            (9_949_999, "9.9 ms"),
            (9_950_000, "10 ms"),
            (1_235_000_000, "1.24 s"),
            (u64::MAX, "5124095 h 35 min"),
        ] {
            assert_eq!(duration_ns(ns), expect, "{ns}");
        }
    }
}
