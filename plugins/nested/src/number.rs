//! Numbers of JSON as integers and decimals, from their digits: nothing goes through a binary fraction.

/// Digits of the largest decimal type.
pub(crate) const PRECISION_MAX: u8 = 38;

/// The integer that a number is, `1e3` and `2.0` included.
pub(crate) fn integer(number: &str) -> Option<i128> {
    if let Ok(plain) = number.parse::<i64>() {
        return Some(plain.into());
    }
    scaled(number, 0).and_then(|(value, exact)| exact.then_some(value))
}

/// The number times ten to the `scale`, half rounded away from zero, if it has no more digits than `precision`.
pub(crate) fn decimal(number: &str, precision: u8, scale: u8) -> Option<i128> {
    let (value, _) = scaled(number, scale)?;
    let limit = 10u128.pow(u32::from(precision.min(PRECISION_MAX)));
    (value.unsigned_abs() < limit).then_some(value)
}

/// The number times ten to the `scale`, and whether nothing was rounded. `None`: it is no number or has over 38 digits.
fn scaled(number: &str, scale: u8) -> Option<(i128, bool)> {
    let (negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Zeros in front count for nothing.
    let digits = &digits[digits
        .iter()
        .position(|d| *d != b'0')
        .unwrap_or(digits.len())..];
    // How many of the digits stand before the point of the result.
    let kept = i64::try_from(digits.len()).ok()? + exponent + i64::from(scale)
        - i64::try_from(fraction.len()).ok()?;
    if digits.is_empty() || kept < 0 {
        return Some((0, digits.is_empty()));
    }
    let kept = usize::try_from(kept)
        .ok()
        .filter(|kept| *kept <= usize::from(PRECISION_MAX))?;
    let mut value: i128 = 0;
    for place in 0..kept {
        let digit = digits.get(place).map_or(0, |d| i128::from(d - b'0'));
        value = value * 10 + digit;
    }
    let dropped = digits.get(kept..).unwrap_or_default();
    value += i128::from(dropped.first().is_some_and(|d| *d >= b'5'));
    let exact = dropped.iter().all(|d| *d == b'0');
    Some((if negative { -value } else { value }, exact))
}

/// Beyond a billion it only matters which way.
fn exponent_of(text: &str) -> Option<i64> {
    const BEYOND: i64 = 1_000_000_000;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(sign * digits.parse::<i64>().unwrap_or(BEYOND).min(BEYOND))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_integer(text: &str, expect: Option<i128>) {
        assert_eq!(integer(text), expect, "{text}");
    }

    #[test]
    fn integers_may_be_written_as_fractions() {
        check_integer("0", Some(0));
        check_integer("-0", Some(0));
        check_integer("-12", Some(-12));
        check_integer("2.0", Some(2));
        check_integer("1e3", Some(1000));
        check_integer("1200E-2", Some(12));
        check_integer("0e999999999999999999999", Some(0));
        check_integer("9223372036854775808", Some(9_223_372_036_854_775_808));
        check_integer("2.5", None);
        check_integer("1e-1", None);
        check_integer("1e38", None);
        check_integer("1e999999999999999999999", None);
        check_integer("1e-999999999999999999999", None);
    }

    #[track_caller]
    fn check_decimal(text: &str, precision: u8, scale: u8, expect: Option<i128>) {
        assert_eq!(decimal(text, precision, scale), expect, "{text}");
    }

    #[test]
    fn decimals_are_rounded_half_away_from_zero() {
        check_decimal("1.005", 10, 2, Some(101));
        check_decimal("-1.005", 10, 2, Some(-101));
        check_decimal("1.0049999999999999999999", 10, 2, Some(100));
        check_decimal("0.05", 10, 1, Some(1));
        check_decimal("0.04", 10, 1, Some(0));
        check_decimal("0.009", 10, 1, Some(0));
        check_decimal("99.95", 3, 1, None);
        check_decimal("99.94", 3, 1, Some(999));
        check_decimal("1.5e1", 2, 0, Some(15));
        check_decimal(
            "99999999999999999999999999999999999999",
            38,
            0,
            Some(10i128.pow(38) - 1),
        );
        check_decimal("100000000000000000000000000000000000000", 38, 0, None);
        check_decimal("99999999999999999999999999999999999999.5", 38, 0, None);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", ".", "e5", "1e", "1e+", "--1", "1.2.3", "x", " 1", "٣", "Infinity",
        ] {
            check_decimal(text, 10, 2, None);
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases())]

        #[test]
        fn digits_are_those_of_integer_arithmetic(value in -1_000_000_000i64..1_000_000_000, point in 0..6u8, scale in 0..6u8) {
            let text = format!("{value}e-{point}");
            let ten = |power: u8| 10i128.pow(power.into());
            let (exact, unit) = (i128::from(value) * ten(scale), ten(point));
            let rounded = (exact.abs() + unit / 2) / unit * exact.signum();
            prop_assert_eq!(decimal(&text, 38, scale), Some(rounded));
        }
    }
}
