//! `cast_columns`: columns as another type.

use arrow_schema::TimeUnit;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;

use crate::ordered::Ordered;
use crate::statement::{Columns, column, text};
use crate::thin::Thin;

/// Params of `cast_columns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CastColumns {
    /// Column to its new type, in any case: `int`, `integer`, `bigint`, `long`, `int64`; `int32`; `smallint`, `int16`;
    /// `tinyint`, `int8`; `float`, `double`, `float64`; `real`, `float32`; `decimal(p, s)`, `numeric(p, s)`; `str`,
    /// `string`, `text`, `varchar`; `bool`, `boolean`; `date`; `timestamp`, `datetime`. `int` has 64 bits. A value that
    /// does not fit the type ends the step.
    casts: Ordered<String>,
}

impl Thin for CastColumns {
    const NAME: &'static str = "cast_columns";
    const SUMMARY: &'static str = "Gives columns another type";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "numbers become text, text becomes a date",
                json!({ "casts": { "zip": "string", "day": "date" } }),
                ["id,zip,day\n1,10115,2026-01-02T00:00:00\n2,,\n"],
                "id,zip,day\n1,10115,2026-01-02\n2,,\n",
            ),
            Example::new(
                "fractions are cut off, amounts are exact",
                json!({ "casts": { "age": "int", "amount": "DECIMAL(10, 2)" } }),
                ["age,amount\n30.9,1.5\n,2\n"],
                "age,amount\n30,1.50\n,2.00\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let input = super::main(inputs)?;
        super::not_empty("/casts", self.casts.is_empty())?;
        let mut columns = Columns::of(input);
        for (name, wanted) in self.casts.iter() {
            let pointer = child("/casts", name);
            let field = super::field(&pointer, name, input)?;
            let kind = named(wanted).ok_or_else(|| unknown(&pointer, wanted))?;
            if field.data_type() == &kind {
                continue;
            }
            if field.data_type().is_nested()
                || !arrow_cast::can_cast_types(field.data_type(), &kind)
            {
                let message = format!(
                    "column `{name}` of type {} cannot become: {wanted}",
                    field.data_type()
                );
                return Err(Failure::param(pointer, message).code("wrong-type"));
            }
            let kind = text(&kind.to_string());
            columns.put(name, format!("arrow_cast({}, {kind})", column(name)));
        }
        columns.over_main()
    }
}

fn unknown(pointer: &str, wanted: &str) -> Failure {
    let message = format!("unknown type: {wanted}");
    Failure::param(pointer, message)
        .code("unknown-type")
        .hint("use int, float, decimal(p, s), string, bool, date, timestamp or another of `odibi show cast_columns`")
}

/// The type that a word means.
fn named(word: &str) -> Option<DataType> {
    let word = word.trim().to_ascii_lowercase();
    if let Some(rest) = ["decimal", "numeric"]
        .iter()
        .find_map(|w| word.strip_prefix(w))
    {
        let inside = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
        let precision: u8 = precision.trim().parse().ok()?;
        let scale: u8 = scale.trim().parse().ok()?;
        let fits = (1..=38).contains(&precision) && scale <= precision;
        return fits.then(|| DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(0)));
    }
    Some(match word.as_str() {
        "int" | "integer" | "bigint" | "long" | "int64" => DataType::Int64,
        "int32" => DataType::Int32,
        "smallint" | "int16" => DataType::Int16,
        "tinyint" | "int8" => DataType::Int8,
        "float" | "double" | "float64" => DataType::Float64,
        "real" | "float32" => DataType::Float32,
        "str" | "string" | "text" | "varchar" => DataType::Utf8,
        "bool" | "boolean" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" | "datetime" => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => return None,
    })
}
