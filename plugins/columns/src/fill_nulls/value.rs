//! A value as it stands in the params, and what it means to a column of a given type. Nothing is rounded, except where
//! a decimal fraction meets a binary one.

use std::fmt;

use odibi_sdk::arrow::schema::TimeUnit;
use odibi_sdk::iso;
use odibi_sdk::prelude::*;
use serde::de::{Deserializer, Error, Visitor};

/// Longer decimals than any type has.
const DECIMAL_DIGITS_MAX: usize = 128;

/// Text, a number, true or false.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FillValue {
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for FillValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;

        impl Visitor<'_> for Kinds {
            type Value = FillValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<FillValue, E> {
                Ok(FillValue::Bool(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<FillValue, E> {
                Ok(FillValue::Int(i128::from(value)))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<FillValue, E> {
                Ok(FillValue::Int(i128::from(value)))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<FillValue, E> {
                Ok(FillValue::Float(value))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<FillValue, E> {
                Ok(FillValue::Text(value.to_owned()))
            }
        }

        deserializer.deserialize_any(Kinds)
    }
}

impl JsonSchema for FillValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FillValue".into()
    }

    fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// As JSON writes it.
impl fmt::Display for FillValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}

impl FillValue {
    pub(super) fn bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self {
            Some(*value)
        } else {
            None
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(value) = self {
            Some(value)
        } else {
            None
        }
    }

    pub(super) fn integer<T: TryFrom<i128>>(&self) -> Option<T> {
        if let Self::Int(value) = self {
            T::try_from(*value).ok()
        } else {
            None
        }
    }

    /// Integers must be representable.
    pub(super) fn float64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            #[expect(clippy::cast_possible_truncation, reason = "compared at once")]
            Self::Int(value) => (*value as f64 as i128 == *value).then_some(*value as f64),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    /// Integers must be representable; fractions take the nearest value.
    pub(super) fn float32(&self) -> Option<f32> {
        match self {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what a 32-bit column means"
            )]
            Self::Float(value) => Some(*value as f32).filter(|v| v.is_finite()),
            #[expect(clippy::cast_possible_truncation, reason = "compared at once")]
            Self::Int(value) => (*value as f32 as i128 == *value).then_some(*value as f32),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    pub(super) fn date(&self) -> Option<i32> {
        iso::parse_date(self.text()?)
    }

    pub(super) fn time(&self, unit: TimeUnit) -> Option<i64> {
        iso::in_unit(i128::from(iso::parse_time(self.text()?)?), unit)
    }

    /// With a zone, the offset must be written, unless the zone is UTC; without one, it must not.
    pub(super) fn timestamp(&self, unit: TimeUnit, zone: Option<&str>) -> Option<i64> {
        let moment = iso::parse_timestamp(self.text()?)?;
        let offset_seconds = match (zone, moment.offset_seconds) {
            (Some(_), Some(offset)) => offset,
            (Some(zone), None) if is_utc(zone) => 0,
            (None, None) => 0,
            (Some(_), None) | (None, Some(_)) => return None,
        };
        iso::in_unit(
            moment.local_nanos - i128::from(offset_seconds) * 1_000_000_000,
            unit,
        )
    }

    /// The digits of value * 10^scale with their sign, when that is a whole number of at most `precision` digits. A
    /// float counts as the shortest decimal that gives it.
    pub(super) fn decimal(&self, precision: u8, scale: i8) -> Option<String> {
        let text = match self {
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Bool(_) => return None,
        };
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text.as_str()),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || text.len() > DECIMAL_DIGITS_MAX {
            return None;
        }
        let mut digits = format!("{whole}{}", fraction.trim_end_matches('0'));
        let shift =
            isize::from(scale) - isize::try_from(fraction.trim_end_matches('0').len()).ok()?;
        if digits.bytes().all(|b| b == b'0') {
            return Some("0".to_owned());
        }
        if shift >= 0 {
            digits.extend(std::iter::repeat_n('0', shift.unsigned_abs()));
        } else {
            let (kept, lost) =
                digits.split_at_checked(digits.len().checked_sub(shift.unsigned_abs())?)?;
            if lost.bytes().any(|b| b != b'0') {
                return None;
            }
            digits = kept.to_owned();
        }
        let significant = digits.trim_start_matches('0');
        (significant.len() <= usize::from(precision)).then(|| format!("{sign}{significant}"))
    }

    /// What to write instead, when it is only a matter of quotes.
    pub(crate) fn hint(&self, data_type: &DataType) -> Option<String> {
        let wants_text = crate::text::is_text(data_type);
        match self {
            Self::Text(text)
                if data_type.is_numeric() && text.parse::<f64>().is_ok_and(f64::is_finite) =>
            {
                Some(format!("write the number without quotes: {text}"))
            }
            Self::Bool(_) | Self::Int(_) | Self::Float(_) if wants_text => {
                Some(format!("put the value in quotes: \"{self}\""))
            }
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => None,
        }
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Etc/UTC" | "Z" | "+00:00" | "+0000" | "+00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_decimal(value: FillValue, precision: u8, scale: i8, expect: Option<&str>) {
        assert_eq!(
            value.decimal(precision, scale).as_deref(),
            expect,
            "{value} as decimal({precision}, {scale})"
        );
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let text = |t: &str| FillValue::Text(t.to_owned());
        check_decimal(FillValue::Int(12), 5, 2, Some("1200"));
        check_decimal(FillValue::Int(-12), 5, 0, Some("-12"));
        check_decimal(FillValue::Int(1000), 5, 2, None);
        check_decimal(FillValue::Int(0), 1, 1, Some("0"));
        check_decimal(FillValue::Float(0.1), 5, 2, Some("10"));
        check_decimal(FillValue::Float(-0.0), 5, 2, Some("0"));
        check_decimal(FillValue::Float(0.125), 5, 2, None);
        check_decimal(
            FillValue::Float(1e30),
            38,
            2,
            Some("100000000000000000000000000000000"),
        );
        check_decimal(text("1.50"), 5, 1, Some("15"));
        check_decimal(text("-0.05"), 5, 2, Some("-5"));
        check_decimal(text("0.005"), 5, 2, None);
        check_decimal(text("1200"), 5, -2, Some("12"));
        check_decimal(text("1250"), 5, -2, None);
        check_decimal(text("50"), 5, -3, None);
        for wrong in [
            "", "-", "1.", ".5", "1e3", "+1", "1,5", "--1", "NaN", "1.5.0", "٣",
        ] {
            check_decimal(text(wrong), 38, 10, None);
        }
        check_decimal(FillValue::Bool(true), 5, 2, None);
    }

    #[test]
    fn integers_become_floats_only_when_they_fit() {
        assert_eq!(
            FillValue::Int(1 << 53).float64(),
            Some(9_007_199_254_740_992.0)
        );
        assert_eq!(FillValue::Int((1 << 53) + 1).float64(), None);
        assert_eq!(FillValue::Int(1 << 24).float32(), Some(16_777_216.0));
        assert_eq!(FillValue::Int((1 << 24) + 1).float32(), None);
        assert_eq!(FillValue::Float(0.1).float32(), Some(0.1));
        assert_eq!(FillValue::Float(1e300).float32(), None);
        assert_eq!(FillValue::Text("1".into()).float64(), None);
    }

    #[track_caller]
    fn check_timestamp(text: &str, unit: TimeUnit, zone: Option<&str>, expect: Option<i64>) {
        assert_eq!(
            FillValue::Text(text.into()).timestamp(unit, zone),
            expect,
            "{text} {zone:?}"
        );
    }

    #[test]
    fn timestamps_say_their_offset_where_it_matters() {
        check_timestamp("1970-01-01T01:00:00", TimeUnit::Second, None, Some(3600));
        check_timestamp("1970-01-01T01:00:00Z", TimeUnit::Second, None, None);
        check_timestamp(
            "1970-01-01T01:00:00",
            TimeUnit::Second,
            Some("UTC"),
            Some(3600),
        );
        check_timestamp(
            "1970-01-01T01:00:00+01:00",
            TimeUnit::Millisecond,
            Some("UTC"),
            Some(0),
        );
        check_timestamp(
            "1970-01-01T01:00:00",
            TimeUnit::Second,
            Some("Europe/Berlin"),
            None,
        );
        check_timestamp(
            "1970-01-01T01:00:00-01:00",
            TimeUnit::Second,
            Some("Europe/Berlin"),
            Some(7200),
        );
        check_timestamp("1970-01-01T00:00:00.5", TimeUnit::Second, None, None);
        check_timestamp(
            "1970-01-01T00:00:00.5",
            TimeUnit::Microsecond,
            None,
            Some(500_000),
        );
        check_timestamp("9999-12-31", TimeUnit::Nanosecond, None, None);
    }
}
