//! `unit_convert`: converts numbers from one unit to another.

#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;

use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

use units::{Kind, Unit, Unknown};

/// Converts numbers from one unit to another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitConvert {
    /// Column to the units it is converted between. The column holds numbers, or text that reads as numbers.
    conversions: BTreeMap<String, Conversion>,
    /// Pressure of the air, which gauge pressures (`psig`, `barg`, `kPag`) are above: a number and a unit.
    #[serde(default = "standard_air")]
    gauge_pressure_offset: Option<String>,
    /// What becomes of texts that are no numbers, and of results too large for a number. NaN stays NaN, null stays null.
    #[serde(default = "become_null")]
    errors: Option<Errors>,
}

/// From which unit to which.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Conversion {
    /// Unit of the values, such as `degF`, `psig`, `gpm` or `kg/m^3`.
    from: String,
    /// Unit of the result, for the same quantity.
    to: String,
    /// Column that receives the result; the column itself when left out.
    #[serde(default)]
    output: Option<String>,
}

// The param is an option, because `null` in YAML is no text.
/// What becomes of values that cannot be converted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Errors {
    /// They become null.
    #[default]
    Null,
    /// The step fails and names the row.
    Raise,
    /// Numbers stay as they were, without being converted. Not for columns of text.
    Ignore,
}

#[expect(clippy::unnecessary_wraps, reason = "what serde asks for")]
fn standard_air() -> Option<String> {
    Some("14.696 psia".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "what serde asks for")]
fn become_null() -> Option<Errors> {
    Some(Errors::Null)
}

impl Columns for UnitConvert {
    const NAME: &'static str = "unit_convert";
    const SUMMARY: &'static str = "converts numbers from one unit to another";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "converts in place",
                json!({ "conversions": { "temp": { "from": "degF", "to": "degC" } } }),
                ["id,temp\n1,212\n2,32\n3,\n"],
                "id,temp\n1,100.0\n2,0.0\n3,\n",
            ),
            Example::new(
                "writes gauge pressure and a flow into columns of their own",
                json!({ "conversions": {
                    "p_psig": { "from": "psig", "to": "psia", "output": "p_psia" },
                    "q": { "from": "L/min", "to": "m^3/h", "output": "q_m3h" },
                } }),
                ["p_psig,q\n0,100\n20,250\n"],
                "p_psig,q,p_psia,q_m3h\n0,100,14.696,6.0\n20,250,34.696,15.0\n",
            ),
        ]
    }

    fn outline(&self, input: &Schema) -> Result<Outline> {
        let mut outline = Outline::of(input);
        for (name, conversion) in &self.conversions {
            let pointer = child("/conversions", name);
            let field = outline.input_field(&pointer, name)?.clone();
            let text = is_text(field.data_type());
            if text && self.errors() == Errors::Ignore {
                let message = format!("`errors: ignore` needs numbers, column `{name}` is text");
                return Err(Failure::param("/errors", message)
                    .hint("take `null` or `raise`, or cast the column before"));
            }
            outline =
                outline.read_if(&pointer, name, "a number, or text that reads as one", |t| {
                    text || is_number(t)
                })?;
            self.scale(name, conversion)?;
            let output = conversion.output.as_ref().unwrap_or(name);
            let result = Field::new(output, DataType::Float64, true);
            outline = if output == name {
                outline.put(result)
            } else {
                outline.add(&child(&pointer, "output"), result)?
            };
        }
        Ok(outline)
    }

    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.conversions.iter().zip(batch.columns());
        let converted = columns.map(|((name, conversion), column)| {
            let scale = self.scale(name, conversion)?;
            self.converted(name, column, scale)
        });
        converted.collect()
    }
}

/// `(value - before) * numerator / denominator + after`.
#[derive(Debug, Clone, Copy)]
struct Scale {
    before: f64,
    numerator: f64,
    denominator: f64,
    after: f64,
}

impl Scale {
    fn of(&self, value: f64) -> f64 {
        (value - self.before) * self.numerator / self.denominator + self.after
    }
}

impl UnitConvert {
    fn errors(&self) -> Errors {
        self.errors.unwrap_or_default()
    }

    fn scale(&self, name: &str, conversion: &Conversion) -> Result<Scale> {
        let pointer = child("/conversions", name);
        let from = self.unit(&child(&pointer, "from"), &conversion.from)?;
        let to = self.unit(&child(&pointer, "to"), &conversion.to)?;
        let differs = (from.kind == Kind::Difference) != (to.kind == Kind::Difference);
        if from.dimension != to.dimension || differs {
            let message = format!(
                "`{}` cannot be converted to `{}`, they measure different things",
                conversion.from, conversion.to
            );
            return Err(Failure::param(child(&pointer, "to"), message).code("unfit-unit"));
        }
        // Two equal factors cancel, and nothing is lost by multiplying.
        let (mut numerator, mut denominator) = (
            from.numerator * to.denominator,
            from.denominator * to.numerator,
        );
        if numerator == denominator {
            (numerator, denominator) = (1.0, 1.0);
        }
        Ok(Scale {
            before: from.zero,
            numerator,
            denominator,
            after: to.zero,
        })
    }

    /// A unit; that of a gauge pressure with its zero.
    fn unit(&self, pointer: &str, text: &str) -> Result<Unit> {
        let mut unit = parse(pointer, text)?;
        if unit.kind == Kind::Gauge {
            let (air, of) = self.air(text)?;
            // In terms of the gauge unit.
            let ratio = if of.numerator == unit.numerator {
                1.0
            } else {
                of.numerator / unit.numerator
            };
            unit.zero = -air * ratio;
        }
        Ok(unit)
    }

    fn air(&self, gauge: &str) -> Result<(f64, Unit)> {
        const POINTER: &str = "/gauge_pressure_offset";
        let wrong = |message: String| {
            Failure::param(POINTER, message).hint("write it like `14.696 psia` or `101.325 kPa`")
        };
        let Some(text) = &self.gauge_pressure_offset else {
            return Err(wrong(format!("`{gauge}` needs the pressure of the air")));
        };
        let (number, name) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| wrong(format!("expected a number and a unit: `{text}`")))?;
        let number = number.parse::<f64>().ok().filter(|n| n.is_finite());
        let number =
            number.ok_or_else(|| wrong(format!("expected a number and a unit: `{text}`")))?;
        let unit = parse(POINTER, name)?;
        let pressure = parse(POINTER, "Pa")?;
        if unit.dimension != pressure.dimension || unit.kind != Kind::Plain {
            return Err(wrong(format!("`{name}` is not an absolute pressure")));
        }
        Ok((number, unit))
    }

    fn converted(&self, name: &str, column: &ArrayRef, scale: Scale) -> Result<ArrayRef> {
        let (numbers, unread) = numbers(column)?;
        let errors = self.errors();
        if let (Errors::Raise, Some(row)) = (errors, unread) {
            return Err(Failure::data(row, name, "the text is not a number"));
        }
        let mut values = Vec::with_capacity(numbers.len());
        for (row, value) in numbers.iter().enumerate() {
            let Some(value) = value else {
                values.push(None);
                continue;
            };
            let result = scale.of(value);
            let lost = value.is_finite() && !result.is_finite();
            values.push(match errors {
                _ if !lost => Some(result),
                Errors::Null => None,
                Errors::Ignore => Some(value),
                Errors::Raise => {
                    return Err(Failure::data(
                        row,
                        name,
                        "the result is too large for a number",
                    ));
                }
            });
        }
        Ok(Arc::new(Float64Array::from(values)))
    }
}

fn parse(pointer: &str, text: &str) -> Result<Unit> {
    units::parse(text).map_err(|unknown| {
        let failure = |message: String| Failure::param(pointer, message).code("unknown-unit");
        match unknown {
            Unknown::Name(name, Some(near)) => {
                failure(format!("unknown unit `{name}`, did you mean `{near}`?"))
            }
            Unknown::Name(name, None) => failure(format!("unknown unit `{name}`")),
            Unknown::Offset(name) => failure(format!(
                "`{name}` has a zero of its own and cannot be part of `{text}`"
            ))
            .hint("for a difference of temperatures write `delta_degC` or `delta_degF`"),
            Unknown::Form => failure(format!("expected a unit such as `kg/m^3`: `{text}`")),
        }
    })
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Float32 | DataType::Float64 | DataType::Null
        )
}

/// The numbers of a column, and the first row whose text is none.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others were refused")]
fn numbers(column: &ArrayRef) -> Result<(Float64Array, Option<usize>)> {
    macro_rules! from {
        ($of:ty) => {
            column
                .as_primitive::<$of>()
                .unary::<_, Float64Type>(Into::into)
        };
    }
    macro_rules! rounded {
        ($of:ty) => {
            column
                .as_primitive::<$of>()
                .unary::<_, Float64Type>(|v| v as f64)
        };
    }
    let numbers = match column.data_type() {
        DataType::Null => Float64Array::new_null(column.len()),
        DataType::Int8 => from!(Int8Type),
        DataType::Int16 => from!(Int16Type),
        DataType::Int32 => from!(Int32Type),
        DataType::Int64 => rounded!(Int64Type),
        DataType::UInt8 => from!(UInt8Type),
        DataType::UInt16 => from!(UInt16Type),
        DataType::UInt32 => from!(UInt32Type),
        DataType::UInt64 => rounded!(UInt64Type),
        DataType::Float32 => from!(Float32Type),
        DataType::Float64 => column.as_primitive::<Float64Type>().clone(),
        _ => {
            let texts = Text::of(column)?;
            let read = |text: Option<&str>| text.and_then(|t| t.trim().parse::<f64>().ok());
            let numbers: Float64Array = texts.iter().map(read).collect();
            let unread =
                (0..numbers.len()).find(|r| numbers.is_null(*r) && texts.get(*r).is_some());
            return Ok((numbers, unread));
        }
    };
    Ok((numbers, None))
}
