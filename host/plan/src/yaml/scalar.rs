//! Scalars: the text as written, and what it means.

/// A scalar value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its text, after escapes, folding and substitution.
    pub text: String,
    /// True when it stands without quotes and is no block text, so that it may be a number, boolean or null.
    pub plain: bool,
    /// The text before substitution, when a variable was put in. Diagnostics show this and never the value.
    pub written: Option<String>,
}

/// What a scalar means by the YAML 1.2 core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number that fits.
    Integer(i128),
    /// A number with a fraction or exponent; may be infinite or not a number.
    Float(f64),
    /// Anything else.
    Text,
}

impl Scalar {
    /// What it means. Quoted scalars are texts. A plain scalar into which a variable was put is a number or boolean
    /// only when the variable is all of it, and never null.
    #[must_use]
    pub fn resolve(&self) -> Resolved {
        if !self.plain {
            return Resolved::Text;
        }
        let resolved = resolve(&self.text);
        match &self.written {
            None => resolved,
            Some(written) if resolved == Resolved::Null || !is_one_reference(written) => {
                Resolved::Text
            }
            Some(_) => resolved,
        }
    }

    /// The boolean it means where a boolean is wanted: also `yes`, `no`, `on` and `off`.
    #[must_use]
    pub fn as_boolean(&self) -> Option<bool> {
        match self.resolve() {
            Resolved::Boolean(value) => Some(value),
            Resolved::Text if self.plain => match self.text.to_ascii_lowercase().as_str() {
                "yes" | "on" => Some(true),
                "no" | "off" => Some(false),
                _ => None,
            },
            Resolved::Null | Resolved::Integer(_) | Resolved::Float(_) | Resolved::Text => None,
        }
    }

    /// A number with a leading zero, which YAML 1.1 reads otherwise than YAML 1.2.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        let digits = self.text.trim_start_matches(['+', '-']);
        matches!(self.resolve(), Resolved::Integer(_))
            && digits.len() > 1
            && digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    }

    /// The text that may be shown: as it stands in the file.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }

    /// The words for its type that people read.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.resolve() {
            Resolved::Null => "nothing",
            Resolved::Boolean(_) => "`true` or `false`",
            Resolved::Integer(_) => "a whole number",
            Resolved::Float(_) => "a number",
            Resolved::Text => "a text",
        }
    }
}

fn is_one_reference(written: &str) -> bool {
    written.starts_with("${") && written.find('}') == Some(written.len() - 1)
}

fn resolve(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Boolean(true),
        "false" | "False" | "FALSE" => return Resolved::Boolean(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        _ => {}
    }
    let (negative, digits) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Resolved::Float(if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    let integer = |digits: &str, radix| {
        let value = i128::from_str_radix(digits, radix).ok()?;
        Some(Resolved::Integer(if negative { -value } else { value }))
    };
    let all = |digits: &str, good: fn(&u8) -> bool| {
        !digits.is_empty() && digits.as_bytes().iter().all(good)
    };
    let signed = digits.len() != text.len();
    let whole = if all(digits, u8::is_ascii_digit) {
        integer(digits, 10)
    } else if let Some(hex) = digits
        .strip_prefix("0x")
        .filter(|d| !signed && all(d, u8::is_ascii_hexdigit))
    {
        integer(hex, 16)
    } else if let Some(octal) = digits
        .strip_prefix("0o")
        .filter(|d| !signed && all(d, |b| (b'0'..=b'7').contains(b)))
    {
        integer(octal, 8)
    } else {
        None
    };
    // Rust's grammar of numbers, without its words `inf`, `infinity` and `nan`, is the core schema's.
    let number = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    whole.unwrap_or_else(|| match text.parse::<f64>() {
        Ok(value) if number => Resolved::Float(value),
        _ => Resolved::Text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar {
            text: text.into(),
            plain: true,
            written: None,
        }
    }

    #[track_caller]
    fn check(text: &str, expect: Resolved) {
        assert_eq!(plain(text).resolve(), expect, "{text:?}");
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for text in ["", "~", "null", "Null", "NULL"] {
            check(text, Resolved::Null);
        }
        check("true", Resolved::Boolean(true));
        check("False", Resolved::Boolean(false));
        check("12", Resolved::Integer(12));
        check("-12", Resolved::Integer(-12));
        check("+3", Resolved::Integer(3));
        check("010", Resolved::Integer(10));
        check("0o10", Resolved::Integer(8));
        check("0x1F", Resolved::Integer(31));
        check("18446744073709551616", Resolved::Integer(1 << 64));
        check("1.5", Resolved::Float(1.5));
        check(".5", Resolved::Float(0.5));
        check("1.", Resolved::Float(1.0));
        check("-1e3", Resolved::Float(-1000.0));
        check("-.inf", Resolved::Float(f64::NEG_INFINITY));
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "tRue",
            "12:30",
            "1_000",
            "2024-01-01",
            "1.2.3",
            "inf",
            "nan",
            "infinity",
            "-",
            "+",
            ".",
            "e5",
            "0x",
            "-0x1",
            "0o8",
            "--1",
            "1e",
            "é",
            "1 2",
            "-.",
            "+-1",
        ] {
            check(text, Resolved::Text);
        }
    }

    #[test]
    fn quoted_scalar_is_a_text() {
        let scalar = Scalar {
            plain: false,
            ..plain("12")
        };
        assert_eq!(
            (scalar.resolve(), scalar.as_boolean()),
            (Resolved::Text, None)
        );
        assert_eq!(
            Scalar {
                plain: false,
                ..plain("yes")
            }
            .as_boolean(),
            None
        );
    }

    #[test]
    fn booleans_of_yaml_1_1_count_where_one_is_wanted() {
        let read = |text| plain(text).as_boolean();
        assert_eq!(
            ["yes", "On", "NO", "off", "true", "y", "1"].map(read),
            [
                Some(true),
                Some(true),
                Some(false),
                Some(false),
                Some(true),
                None,
                None
            ]
        );
    }

    #[test]
    fn substituted_scalar_is_a_number_only_as_a_whole() {
        let put = |text: &str, written: &str| {
            Scalar {
                written: Some(written.into()),
                ..plain(text)
            }
            .resolve()
        };
        assert_eq!(put("12", "${N}"), Resolved::Integer(12));
        assert_eq!(put("12", "${A}${B}"), Resolved::Text);
        assert_eq!(put("12", "1${B}"), Resolved::Text);
        assert_eq!(put("", "${N}"), Resolved::Text);
        assert_eq!(put("null", "${N}"), Resolved::Text);
        assert_eq!(put("true", "${N}"), Resolved::Boolean(true));
    }

    #[test]
    fn leading_zero_is_ambiguous() {
        let ambiguous = |text| plain(text).is_ambiguous();
        assert_eq!(
            ["010", "-08", "0", "00", "0o7", "0.5", "10", "0x1"].map(ambiguous),
            [true, true, false, true, false, false, false, false]
        );
    }
}
