//! Texts that hold JSON, as a column of a given type. A value that does not fit its type becomes null where it stands;
//! everything around it stays.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{ListArray, MapArray, StructArray};
use odibi_sdk::arrow::buffer::{NullBufferBuilder, OffsetBuffer};
use odibi_sdk::arrow::schema::{FieldRef, Fields};
use odibi_sdk::prelude::*;
use odibi_sdk::{iso, report};

use crate::json::{self, Kind};
use crate::number;
use crate::shape::name_of;

const MICRO_NANOS: i128 = 1_000;
const SECOND_NANOS: i128 = 1_000_000_000;

// A param holds it as an option, because `null` in YAML is no text.
/// What becomes of texts that are not JSON, and of values that do not fit their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Errors {
    /// They become null, and the story counts them.
    Null,
    /// The step fails and names the row.
    Raise,
}

/// Reads each text. Null and blank texts are null.
///
/// # Errors
/// `bad-value` with [`Errors::Raise`].
pub(crate) fn decode(
    texts: &Text<'_>,
    column_name: &str,
    data_type: &DataType,
    errors: Option<Errors>,
) -> Result<ArrayRef> {
    let mut column = column(data_type)?;
    let mut misfits = Misfits {
        count: 0,
        first: None,
        explained: errors == Some(Errors::Raise),
    };
    for (row, text) in texts.iter().enumerate() {
        let text = text.filter(|text| !text.trim_matches([' ', '\t', '\n', '\r']).is_empty());
        match text.map(json::read).transpose() {
            Ok(value) => column.push(value, &Path::Root, &mut misfits),
            Err(fault) => {
                misfits.add(|| format!("the text is not JSON: {fault}"));
                column.push(None, &Path::Root, &mut misfits);
            }
        }
        if let Some(message) = misfits.first.take() {
            return Err(Failure::data(row, column_name, message)
                .hint("set `errors: null` to read what does not fit as null"));
        }
    }
    if misfits.count > 0 {
        report::count("values that did not fit and became null", misfits.count);
    }
    column.finish()
}

/// What did not fit.
struct Misfits {
    count: u64,
    first: Option<String>,
    /// Whether anybody will read `first`.
    explained: bool,
}

impl Misfits {
    fn add(&mut self, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.explained && self.first.is_none() {
            self.first = Some(message());
        }
    }

    /// Says what was found, but not the value: it may be nobody's business.
    fn add_value(&mut self, path: &Path<'_>, wanted: &str, value: &str) {
        self.add(|| match json::kind(value) {
            Kind::Text | Kind::Number => {
                let found = json::kind(value);
                format!("`{path}` must be {wanted}, is {found} that does not fit")
            }
            found @ (Kind::Null | Kind::Boolean | Kind::List | Kind::Object) => {
                format!("`{path}` must be {wanted}, is: {found}")
            }
        });
    }
}

/// Where in a text a value stands: `$.lines[2].price`.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("$"),
            Self::Member(path, name) => write!(f, "{path}.{name}"),
            Self::Element(path, index) => write!(f, "{path}[{index}]"),
        }
    }
}

/// A column that grows by a value for each call of `push`.
trait Column {
    /// `None` is null, as is the value `null`.
    fn push(&mut self, value: Option<&str>, path: &Path<'_>, misfits: &mut Misfits);
    fn finish(&mut self) -> Result<ArrayRef>;
}

fn column(data_type: &DataType) -> Result<Box<dyn Column>> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type is planned")]
    Ok(match data_type {
        DataType::Utf8 => Box::new(Texts(StringBuilder::new())),
        DataType::Boolean => Box::new(Booleans(BooleanBuilder::new())),
        DataType::Int8 => integers::<Int8Type>(data_type),
        DataType::Int16 => integers::<Int16Type>(data_type),
        DataType::Int32 => integers::<Int32Type>(data_type),
        DataType::Int64 => integers::<Int64Type>(data_type),
        DataType::Float32 => scalars::<Float32Type>(data_type, |value| {
            let number = number(value)?.parse::<f32>().ok()?;
            number.is_finite().then_some(number)
        }),
        DataType::Float64 => scalars::<Float64Type>(data_type, |value| {
            let number = number(value)?.parse::<f64>().ok()?;
            number.is_finite().then_some(number)
        }),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, u8::try_from(*scale).unwrap_or(0));
            scalars::<Decimal128Type>(data_type, move |value| match number(value) {
                Some(digits) => number::decimal(digits, precision, scale),
                // Exact numbers are often written as text, lest a reader make binary fractions of them.
                None => number::decimal(&text(value)?, precision, scale),
            })
        }
        DataType::Date32 => {
            scalars::<Date32Type>(data_type, |value| iso::parse_date(&text(value)?))
        }
        DataType::Timestamp(_, zone) => {
            let zoned = zone.is_some();
            scalars::<TimestampMicrosecondType>(data_type, move |value| {
                moment(&text(value)?, zoned)
            })
        }
        DataType::List(item) => Box::new(Lists {
            item: Arc::clone(item),
            values: column(item.data_type())?,
            lengths: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }),
        DataType::Map(entries, _) => maps(entries)?,
        DataType::Struct(fields) => Box::new(structs(fields)?),
        other => {
            return Err(Failure::internal(format!(
                "planned a type that JSON is not read as: {other}"
            )));
        }
    })
}

fn number(value: &str) -> Option<&str> {
    (json::kind(value) == Kind::Number).then_some(value)
}

fn text(value: &str) -> Option<Cow<'_, str>> {
    (json::kind(value) == Kind::Text).then(|| json::unescaped(value))
}

/// Microseconds; what is finer is cut off. Without an offset the text means UTC, or the clock on the wall.
fn moment(text: &str, zoned: bool) -> Option<i64> {
    let moment = iso::parse_timestamp(text)?;
    if !zoned && moment.offset_seconds.is_some() {
        return None;
    }
    let offset = i128::from(moment.offset_seconds.unwrap_or(0)) * SECOND_NANOS;
    i64::try_from((moment.local_nanos - offset).div_euclid(MICRO_NANOS)).ok()
}

fn integers<T>(data_type: &DataType) -> Box<dyn Column>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    scalars::<T>(data_type, |value| {
        T::Native::try_from(number::integer(number(value)?)?).ok()
    })
}

fn scalars<T: ArrowPrimitiveType>(
    data_type: &DataType,
    read: impl Fn(&str) -> Option<T::Native> + 'static,
) -> Box<dyn Column> {
    Box::new(Scalars::<T, _> {
        builder: PrimitiveBuilder::new().with_data_type(data_type.clone()),
        wanted: name_of(data_type),
        read,
    })
}

struct Scalars<T: ArrowPrimitiveType, F> {
    builder: PrimitiveBuilder<T>,
    wanted: String,
    read: F,
}

impl<T: ArrowPrimitiveType, F: Fn(&str) -> Option<T::Native>> Column for Scalars<T, F> {
    fn push(&mut self, value: Option<&str>, path: &Path<'_>, misfits: &mut Misfits) {
        let read = filled(value).map(|value| (self.read)(value).ok_or(value));
        let read = read.transpose().unwrap_or_else(|value| {
            misfits.add_value(path, &self.wanted, value);
            None
        });
        self.builder.append_option(read);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(self.builder.finish()))
    }
}

/// A value that is not null.
fn filled(value: Option<&str>) -> Option<&str> {
    value.filter(|value| json::kind(value) != Kind::Null)
}

struct Booleans(BooleanBuilder);

impl Column for Booleans {
    fn push(&mut self, value: Option<&str>, path: &Path<'_>, misfits: &mut Misfits) {
        let read = filled(value).and_then(|value| {
            if json::kind(value) != Kind::Boolean {
                misfits.add_value(path, "BOOLEAN", value);
                return None;
            }
            Some(value == "true")
        });
        self.0.append_option(read);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(self.0.finish()))
    }
}

/// Texts without their quotes, and everything else as the JSON that it is.
struct Texts(StringBuilder);

impl Column for Texts {
    fn push(&mut self, value: Option<&str>, _path: &Path<'_>, _misfits: &mut Misfits) {
        let read = filled(value).map(|value| text(value).unwrap_or(Cow::Borrowed(value)));
        self.0.append_option(read);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(self.0.finish()))
    }
}

struct Lists {
    item: FieldRef,
    values: Box<dyn Column>,
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
}

impl Column for Lists {
    fn push(&mut self, value: Option<&str>, path: &Path<'_>, misfits: &mut Misfits) {
        let list = of_kind(value, Kind::List, "ARRAY", path, misfits);
        let mut length = 0;
        for element in list.into_iter().flat_map(json::elements) {
            let path = Path::Element(path, length);
            self.values.push(Some(element), &path, misfits);
            length += 1;
        }
        self.lengths.push(length);
        self.nulls.append(list.is_some());
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let values = self.values.finish()?;
        let item = Arc::clone(&self.item);
        let lists = ListArray::try_new(item, offsets, values, self.nulls.finish())?;
        Ok(Arc::new(lists))
    }
}

fn of_kind<'a>(
    value: Option<&'a str>,
    kind: Kind,
    wanted: &str,
    path: &Path<'_>,
    misfits: &mut Misfits,
) -> Option<&'a str> {
    let value = filled(value)?;
    if json::kind(value) != kind {
        misfits.add_value(path, wanted, value);
        return None;
    }
    Some(value)
}

/// Members of an object; of those with one name the last counts, and it stands where the first did.
struct Maps {
    entries: FieldRef,
    fields: Fields,
    keys: StringBuilder,
    values: Box<dyn Column>,
    lengths: Vec<usize>,
    nulls: NullBufferBuilder,
}

fn maps(entries: &FieldRef) -> Result<Box<dyn Column>> {
    let data_type = entries.data_type();
    let DataType::Struct(fields) = data_type else {
        return Err(Failure::internal(format!("planned a map of: {data_type}")));
    };
    let value = fields
        .get(1)
        .ok_or_else(|| Failure::internal("planned a map without values"))?;
    Ok(Box::new(Maps {
        entries: Arc::clone(entries),
        values: column(value.data_type())?,
        fields: fields.clone(),
        keys: StringBuilder::new(),
        lengths: Vec::new(),
        nulls: NullBufferBuilder::new(0),
    }))
}

impl Column for Maps {
    fn push(&mut self, value: Option<&str>, path: &Path<'_>, misfits: &mut Misfits) {
        let object = of_kind(value, Kind::Object, "MAP", path, misfits);
        let mut places: BTreeMap<Cow<'_, str>, usize> = BTreeMap::new();
        let mut entries: Vec<(Cow<'_, str>, &str)> = Vec::new();
        for (name, value) in object.into_iter().flat_map(json::members) {
            match places.get(&name) {
                Some(place) => entries[*place].1 = value,
                None => {
                    places.insert(name.clone(), entries.len());
                    entries.push((name, value));
                }
            }
        }
        for (name, value) in &entries {
            self.keys.append_value(name);
            let path = Path::Member(path, name);
            self.values.push(Some(value), &path, misfits);
        }
        self.lengths.push(entries.len());
        self.nulls.append(object.is_some());
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), self.values.finish()?];
        let entries = StructArray::try_new(self.fields.clone(), columns, None)?;
        let field = Arc::clone(&self.entries);
        let maps = MapArray::try_new(field, offsets, entries, self.nulls.finish(), false)?;
        Ok(Arc::new(maps))
    }
}

/// The fields of the type. Members that it does not name are left out; of those with one name the last counts.
struct Structs {
    fields: Fields,
    columns: Vec<Box<dyn Column>>,
    places: BTreeMap<String, usize>,
    nulls: NullBufferBuilder,
}

fn structs(fields: &Fields) -> Result<Structs> {
    let columns = fields.iter().map(|field| column(field.data_type()));
    let places = fields.iter().enumerate();
    Ok(Structs {
        fields: fields.clone(),
        columns: columns.collect::<Result<_>>()?,
        places: places
            .map(|(at, field)| (field.name().clone(), at))
            .collect(),
        nulls: NullBufferBuilder::new(0),
    })
}

impl Column for Structs {
    fn push(&mut self, value: Option<&str>, path: &Path<'_>, misfits: &mut Misfits) {
        let object = of_kind(value, Kind::Object, "STRUCT", path, misfits);
        let mut values: Vec<Option<&str>> = vec![None; self.columns.len()];
        for (name, value) in object.into_iter().flat_map(json::members) {
            if let Some(place) = self.places.get(name.as_ref()) {
                values[*place] = Some(value);
            }
        }
        let columns = self.columns.iter_mut().zip(&self.fields);
        for ((column, field), value) in columns.zip(values) {
            column.push(value, &Path::Member(path, field.name()), misfits);
        }
        self.nulls.append(object.is_some());
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let columns = self.columns.iter_mut().map(|column| column.finish());
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let structs = StructArray::try_new(self.fields.clone(), columns, self.nulls.finish())?;
        Ok(Arc::new(structs))
    }
}
