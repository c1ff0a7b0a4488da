//! Quantities as people write and read them: `256MiB`, `30s`, `16,384`.

/// What the values of a limit count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, written as `256MiB`, `64KB` or without a unit.
    Bytes,
    /// Milliseconds, written as `500ms`, `30s` or `5m`.
    Milliseconds,
    /// Things, written as a whole number.
    Count,
}

/// Why a text is no quantity of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not a whole number with or without a unit.
    NotANumber,
    /// A number below zero, or above what fits into 64 bits.
    OutOfRange,
    /// A time needs a unit.
    NoUnit,
    /// A unit that measures something else.
    OtherUnit,
    /// A unit that does not exist.
    UnknownUnit,
}

/// A unit as it is written and shown, and what it stands for.
struct Scale {
    written: &'static str,
    shown: &'static str,
    factor: u64,
}

const fn scale(written: &'static str, shown: &'static str, factor: u64) -> Scale {
    Scale {
        written,
        shown,
        factor,
    }
}

const BYTES: &[Scale] = &[
    scale("B", "bytes", 1),
    scale("KiB", "KiB", 1 << 10),
    scale("MiB", "MiB", 1 << 20),
    scale("GiB", "GiB", 1 << 30),
    scale("TiB", "TiB", 1 << 40),
];
const DECIMAL_BYTES: &[Scale] = &[
    scale("B", "bytes", 1),
    scale("KB", "KB", 1_000),
    scale("MB", "MB", 1_000_000),
    scale("GB", "GB", 1_000_000_000),
    scale("TB", "TB", 1_000_000_000_000),
];
const TIMES: &[Scale] = &[
    scale("ms", "ms", 1),
    scale("s", "s", 1_000),
    scale("m", "min", 60_000),
    scale("h", "h", 3_600_000),
];
const ONE: &Scale = &scale("", "", 1);

impl Unit {
    /// The word for its values in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Milliseconds => "milliseconds",
            Self::Count => "count",
        }
    }

    /// What a value is, for messages.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Bytes => "a size",
            Self::Milliseconds => "a time",
            Self::Count => "a whole number",
        }
    }

    /// Units that may stand behind a number.
    pub fn suffixes(self) -> impl Iterator<Item = &'static str> {
        let families = self.families().iter().enumerate();
        // Bytes stand in both families.
        families
            .flat_map(|(i, family)| family.iter().skip(usize::from(i > 0)))
            .map(|scale| scale.written)
    }

    const fn families(self) -> &'static [&'static [Scale]] {
        match self {
            Self::Bytes => &[BYTES, DECIMAL_BYTES],
            Self::Milliseconds => &[TIMES],
            Self::Count => &[],
        }
    }

    fn factor(self, suffix: &str) -> Option<u64> {
        let mut scales = self.families().iter().copied().flatten();
        let found = scales.find(|scale| match self {
            Self::Bytes => scale.written.eq_ignore_ascii_case(suffix),
            Self::Milliseconds | Self::Count => scale.written == suffix,
        });
        found.map(|scale| scale.factor)
    }

    /// The value of a text.
    ///
    /// # Errors
    /// What keeps it from being one.
    pub fn parse(self, text: &str) -> Result<u64, Unreadable> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let suffix = suffix.trim_start();
        if number.is_empty() || !suffix.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Unreadable::NotANumber);
        }
        let factor = match (self, suffix) {
            (Self::Bytes | Self::Count, "") => 1,
            (Self::Milliseconds, "") => return Err(Unreadable::NoUnit),
            (unit, suffix) => match unit.factor(suffix) {
                Some(factor) => factor,
                None => {
                    let known = |unit: Self| unit.factor(suffix).is_some();
                    let others = [Self::Bytes, Self::Milliseconds].into_iter().any(known);
                    return Err(if others {
                        Unreadable::OtherUnit
                    } else {
                        Unreadable::UnknownUnit
                    });
                }
            },
        };
        let value = number.parse::<u64>().ok();
        let value = value.and_then(|value| value.checked_mul(factor));
        value.filter(|_| !negative).ok_or(Unreadable::OutOfRange)
    }

    /// The largest unit that a value is a whole number of, and its family.
    fn exact(self, value: u64) -> (&'static Scale, &'static [Scale]) {
        let mut best: (&Scale, &[Scale]) = (ONE, &[]);
        for family in self.families() {
            for scale in *family {
                let fits = scale.factor == 1 || (value > 0 && value.is_multiple_of(scale.factor));
                if fits && (scale.factor > best.0.factor || best.1.is_empty()) {
                    best = (scale, family);
                }
            }
        }
        best
    }

    /// As it is written in YAML: `256MiB`.
    #[must_use]
    pub fn written(self, value: u64) -> String {
        let (scale, _) = self.exact(value);
        format!("{}{}", value / scale.factor, scale.written)
    }

    /// As people read it: `256 MiB`, `16,384`.
    #[must_use]
    pub fn shown(self, value: u64) -> String {
        let (scale, _) = self.exact(value);
        with_unit(&grouped(value / scale.factor), scale)
    }

    /// A value that is over a limit, rounded up to one place in a unit near that of the limit, so that it shows that it
    /// is over.
    #[must_use]
    pub fn shown_over(self, limit: u64, value: u64) -> String {
        let (mut scale, family) = self.exact(limit);
        for wider in family {
            if wider.factor > scale.factor && value / scale.factor >= 1_000 {
                scale = wider;
            }
        }
        let tenths = (u128::from(value) * 10).div_ceil(u128::from(scale.factor));
        let whole = grouped(u64::try_from(tenths / 10).unwrap_or(u64::MAX));
        match tenths % 10 {
            0 => with_unit(&whole, scale),
            tenth => with_unit(&format!("{whole}.{tenth}"), scale),
        }
    }
}

fn with_unit(number: &str, scale: &Scale) -> String {
    match scale.shown {
        "" => number.to_owned(),
        unit => format!("{number} {unit}"),
    }
}

/// With a comma between each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Unit::{Bytes, Count, Milliseconds};
    use super::Unreadable::{NoUnit, NotANumber, OtherUnit, OutOfRange, UnknownUnit};
    use super::*;

    #[track_caller]
    fn check(unit: Unit, text: &str, expect: Result<u64, Unreadable>) {
        assert_eq!(unit.parse(text), expect, "{text:?}");
    }

    #[test]
    fn quantities_are_read() {
        check(Bytes, "256MiB", Ok(256 << 20));
        check(Bytes, "1GiB", Ok(1 << 30));
        check(Bytes, "64KB", Ok(64_000));
        check(Bytes, "64 kb", Ok(64_000));
        check(Bytes, "12", Ok(12));
        check(Bytes, " 12B ", Ok(12));
        check(Bytes, "0", Ok(0));
        check(Milliseconds, "500ms", Ok(500));
        check(Milliseconds, "30s", Ok(30_000));
        check(Milliseconds, "5m", Ok(300_000));
        check(Milliseconds, "1 h", Ok(3_600_000));
        check(Count, "1000", Ok(1_000));
    }

    #[test]
    fn what_is_no_quantity_says_why() {
        for text in [
            "", "much", "1.5GiB", "1_000", "1,000", "MiB", "0x10", "1e3", "5 m 3", "٣",
        ] {
            check(Bytes, text, Err(NotANumber));
        }
        check(Milliseconds, "30", Err(NoUnit));
        check(Milliseconds, "30MiB", Err(OtherUnit));
        check(Bytes, "30s", Err(OtherUnit));
        check(Count, "30s", Err(OtherUnit));
        check(Milliseconds, "5M", Err(UnknownUnit));
        check(Bytes, "256M", Err(UnknownUnit));
        check(Count, "2k", Err(UnknownUnit));
        check(Bytes, "-1", Err(OutOfRange));
        check(Milliseconds, "-5s", Err(OutOfRange));
        check(Bytes, "18446744073709551616", Err(OutOfRange));
        check(Bytes, "18446744073709551615KiB", Err(OutOfRange));
    }

    #[test]
    fn values_are_shown_in_the_largest_unit_that_is_exact() {
        let both = |unit: Unit, value| (unit.written(value), unit.shown(value));
        let cases = [
            (both(Bytes, 256 << 20), ("256MiB", "256 MiB")),
            (both(Bytes, 64_000), ("64KB", "64 KB")),
            (both(Bytes, 1_024_000), ("1000KiB", "1,000 KiB")),
            (both(Bytes, 100), ("100B", "100 bytes")),
            (both(Bytes, 0), ("0B", "0 bytes")),
            (both(Milliseconds, 30_000), ("30s", "30 s")),
            (both(Milliseconds, 300_000), ("5m", "5 min")),
            (both(Milliseconds, 1_500), ("1500ms", "1,500 ms")),
            (both(Count, 16_384), ("16384", "16,384")),
        ];
        for ((written, shown), expect) in cases {
            assert_eq!((written.as_str(), shown.as_str()), expect);
        }
    }

    #[test]
    fn what_is_over_a_limit_never_looks_like_it() {
        let over = |unit: Unit, limit, value| unit.shown_over(limit, value);
        assert_eq!(over(Bytes, 256 << 20, 268 << 20), "268 MiB");
        assert_eq!(over(Bytes, 256 << 20, (256 << 20) + 1), "256.1 MiB");
        assert_eq!(over(Bytes, 1 << 20, 1 << 40), "1 TiB");
        assert_eq!(over(Bytes, 64_000, 64_001), "64.1 KB");
        assert_eq!(over(Milliseconds, 30_000, 30_005), "30.1 s");
        assert_eq!(over(Milliseconds, 300_000, 300_001), "5.1 min");
        assert_eq!(over(Count, 16_384, 16_385), "16,385");
        assert_eq!(over(Bytes, 1 << 20, u64::MAX), "16,777,216 TiB");
    }
}
