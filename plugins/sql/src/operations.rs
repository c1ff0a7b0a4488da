//! One file for each operation that is one statement, and what they share: looking at the columns they are told of.

pub(crate) mod aggregate;
pub(crate) mod apply_mapping;
pub(crate) mod case_when;
pub(crate) mod cast_columns;
pub(crate) mod coalesce_columns;
pub(crate) mod concat_columns;
pub(crate) mod convert_timezone;
pub(crate) mod cross_check;
pub(crate) mod date_add;
pub(crate) mod date_diff;
pub(crate) mod date_trunc;
pub(crate) mod derive_columns;
pub(crate) mod extract_date_parts;
pub(crate) mod filter_rows;
pub(crate) mod join;
pub(crate) mod pivot;
pub(crate) mod regex_replace;
pub(crate) mod split_part;
pub(crate) mod unpivot;
pub(crate) mod validate_and_flag;
pub(crate) mod window_calculation;

use arrow_schema::TimeUnit;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

use crate::statement;

/// The main input.
fn main(inputs: &[SchemaRef]) -> Result<&SchemaRef> {
    inputs.first().ok_or_else(|| Failure::internal("no input"))
}

/// The main input and the one further table.
fn two(inputs: &[SchemaRef]) -> Result<(&SchemaRef, &SchemaRef)> {
    match inputs {
        [main, other] => Ok((main, other)),
        _ => Err(Failure::internal("not two inputs")),
    }
}

/// A column that must be there.
fn field<'a>(pointer: &str, name: &str, schema: &'a Schema) -> Result<&'a Field> {
    Ok(schema.field(find(pointer, name, schema)?))
}

/// Columns that must be there, at least one, each named once.
fn fields<'a>(
    pointer: &str,
    names: &'a [String],
    schema: &'a Schema,
) -> Result<Vec<(String, &'a Field)>> {
    not_empty(pointer, names.is_empty())?;
    each_once(pointer, names, schema)
}

/// Columns that must be there, each named once.
fn each_once<'a>(
    pointer: &str,
    names: &'a [String],
    schema: &'a Schema,
) -> Result<Vec<(String, &'a Field)>> {
    let mut found: Vec<(String, &Field)> = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let pointer = child(pointer, i);
        let field = field(&pointer, name, schema)?;
        if found.iter().any(|(_, f)| f.name() == name) {
            let failure = Failure::param(pointer, format!("column `{name}` is named twice"));
            return Err(failure
                .code("repeated-column")
                .hint("leave one of the two out"));
        }
        found.push((pointer, field));
    }
    Ok(found)
}

/// There must be something in a list or mapping.
fn not_empty(pointer: &str, empty: bool) -> Result<()> {
    if empty {
        let message = "must not be empty";
        return Err(Failure::param(pointer, message).code("empty-param"));
    }
    Ok(())
}

/// A column has no use for this operation.
fn wrong_type(pointer: &str, field: &Field, wanted: &str) -> Failure {
    let (name, kind) = (field.name(), field.data_type());
    let message = format!("column `{name}` must be {wanted}, is: {kind}");
    Failure::param(pointer, message).code("wrong-type")
}

/// Values of these types can be compared, and stand in one column.
fn alike(a: &DataType, b: &DataType) -> bool {
    let time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Timestamp(_, _));
    a == b
        || (is_text(a) && is_text(b))
        || (a.is_numeric() && b.is_numeric())
        || (time(a) && time(b))
        || a.is_null()
        || b.is_null()
}

/// Columns whose values are to stand in one.
fn must_be_alike(columns: &[(String, &Field)]) -> Result<()> {
    let first = columns[0].1;
    for (pointer, field) in columns {
        if !alike(first.data_type(), field.data_type()) {
            let (name, kind) = (first.name(), first.data_type());
            let wanted = format!("of a type like column `{name}` ({kind})");
            return Err(wrong_type(pointer, field, &wanted)
                .hint("cast one of them with `cast_columns` first"));
        }
    }
    Ok(())
}

/// A column of text as SQL of type VARCHAR.
fn text_column(pointer: &str, name: &str, schema: &Schema) -> Result<String> {
    let field = field(pointer, name, schema)?;
    if !is_text(field.data_type()) {
        return Err(wrong_type(pointer, field, "text").hint("cast it with `cast_columns` first"));
    }
    Ok(format!("CAST({} AS VARCHAR)", statement::column(name)))
}

/// How many microseconds from 1970 times may lie, 73,000 years, so that no calendar ends before and no difference of two
/// overflows.
const NEAR_MICROS: i64 = 1 << 61;

/// A column of times as SQL.
#[derive(Debug)]
struct Moment {
    /// Of type DATE or TIMESTAMP.
    sql: String,
    /// Has it days only?
    date: bool,
    /// Does it belong to a time zone?
    zoned: bool,
    /// Is it read from text? Then it lies in the years 0 to 9999.
    text: bool,
}

impl Moment {
    /// A date or timestamp, or text that is read as a timestamp.
    fn of(pointer: &str, name: &str, schema: &Schema) -> Result<Self> {
        let field = field(pointer, name, schema)?;
        let sql = statement::column(name);
        let (date, zoned, text) = (false, false, false);
        match field.data_type() {
            DataType::Date32 => Ok(Self {
                sql,
                date: true,
                zoned,
                text,
            }),
            DataType::Date64 => Ok(Self {
                sql: format!("CAST({sql} AS DATE)"),
                date: true,
                zoned,
                text,
            }),
            DataType::Timestamp(TimeUnit::Nanosecond | TimeUnit::Microsecond, zone) => Ok(Self {
                sql,
                date,
                zoned: zone.is_some(),
                text,
            }),
            DataType::Timestamp(_, Some(zone)) => {
                let kind = format!("Timestamp(Microsecond, Some(\"{zone}\"))");
                Ok(Self {
                    sql: format!("arrow_cast({sql}, {})", statement::text(&kind)),
                    date,
                    zoned: true,
                    text,
                })
            }
            DataType::Timestamp(_, None) => Ok(Self {
                sql: format!("CAST({sql} AS TIMESTAMP(6))"),
                date,
                zoned,
                text,
            }),
            kind if is_text(kind) => Ok(Self {
                sql: format!("CAST(CAST({sql} AS VARCHAR) AS TIMESTAMP(6))"),
                date,
                zoned,
                text: true,
            }),
            _ => Err(wrong_type(pointer, field, "a date or timestamp")),
        }
    }

    /// The same as a timestamp.
    fn timestamp(&self) -> String {
        if self.date {
            format!("CAST({} AS TIMESTAMP(6))", self.sql)
        } else {
            self.sql.clone()
        }
    }

    /// Microseconds since 1970, of a moment without a zone as its own clock shows them; no calendar is asked.
    fn ticks(&self) -> String {
        let time = self.timestamp();
        let micros = if self.zoned {
            format!("arrow_cast({time}, 'Timestamp(Microsecond, Some(\"+00:00\"))')")
        } else {
            format!("CAST({time} AS TIMESTAMP(6))")
        };
        format!("CAST({micros} AS BIGINT)")
    }
}

/// `near` in each row whose moments lie near enough to 1970 for it to be the same as `far`, which asks a calendar for each
/// value: in practice in all.
fn by_distance(moments: &[&Moment], near: &str, far: &str) -> String {
    let limit = |micros: i64| format!("CAST('{micros}' AS BIGINT)");
    let (low, high) = (limit(-NEAR_MICROS), limit(NEAR_MICROS));
    let moments = moments.iter().filter(|m| !m.text);
    let beyond = moments.map(|m| format!("{} NOT BETWEEN {low} AND {high}", m.ticks()));
    let beyond: Vec<String> = beyond.collect();
    if beyond.is_empty() {
        return near.to_owned();
    }
    let beyond = beyond.join(" OR ");
    format!("CASE WHEN {beyond} THEN {far} ELSE {near} END")
}
