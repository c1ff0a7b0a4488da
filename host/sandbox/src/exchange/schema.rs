//! Planned schemas: a decoder of our own, because arrow's panics on malformed input.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::timezone::Tz;
use arrow_ipc::{DateUnit, Endianness, IntervalUnit, Precision, TimeUnit as FbTimeUnit, Type};
use arrow_schema::{DataType, Field, Fields, IntervalUnit as ArrowInterval, Schema, TimeUnit};
use odibi_run::port::UNKNOWN_SCHEMA;
use odibi_story::failure::Failure;

use super::{broken, frame};
use crate::host_api::report::clean;
use crate::limits::{Limits, exceeded};

/// Items of a list of fixed size, bytes of a binary value of fixed size. A null takes as many; with none at all, arrow's own
/// kernels lose count of the rows.
const FIXED_SIZE_MAX: i32 = 1 << 20;

/// Reads the schema of an output. Metadata is dropped.
///
/// # Errors
/// `contract/ipc`, `contract/schema`, `limit/plan-size`.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<Schema, Failure> {
    let message = frame::schema(bytes, limits)?;
    if message.endianness() != Endianness::Little {
        return Err(broken("schema", "a planned schema is big-endian"));
    }
    let fields = message
        .fields()
        .ok_or_else(|| broken("schema", "a planned schema has no list of columns"))?;
    let mut reader = Reader { limits, fields: 0 };
    let fields: Fields = fields
        .iter()
        .map(|f| reader.field(f, 0))
        .collect::<Result<_, _>>()?;
    if let Some(name) = named_twice(&fields) {
        return Err(broken(
            "schema",
            format!("a planned schema names a column twice: `{name}`"),
        ));
    }
    Ok(Schema::new(fields))
}

/// A name that two columns share, or two fields of one struct at any depth.
fn named_twice(fields: &Fields) -> Option<&str> {
    let mut names = BTreeSet::new();
    fields.iter().find_map(|field| {
        if !names.insert(field.name().as_str()) {
            return Some(field.name().as_str());
        }
        inside_twice(field.data_type())
    })
}

fn inside_twice(data_type: &DataType) -> Option<&str> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other types hold no fields"
    )]
    match data_type {
        DataType::Struct(fields) => named_twice(fields),
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => inside_twice(f.data_type()),
        _ => None,
    }
}

/// A schema as it crosses: one encapsulated Schema message, without metadata.
///
/// # Errors
/// `Internal` when arrow cannot express the schema in IPC.
pub(crate) fn write(schema: &Schema) -> Result<Vec<u8>, Failure> {
    encoded(&plain(schema))
}

fn encoded(schema: &Schema) -> Result<Vec<u8>, Failure> {
    arrow_ipc::writer::StreamWriter::try_new(Vec::new(), schema)
        .map(|writer| writer.get_ref().clone())
        .map_err(|e| super::encode::failed(&e))
}

/// As [`write`], for a schema that an operation is asked about: that nobody knows it yet is said.
///
/// # Errors
/// As `write`.
pub(crate) fn write_offered(schema: &Schema) -> Result<Vec<u8>, Failure> {
    let mut offered = plain(schema);
    if schema.fields().is_empty() && schema.metadata().contains_key(UNKNOWN_SCHEMA) {
        let note = (UNKNOWN_SCHEMA.to_owned(), "true".to_owned());
        offered.metadata = [note].into();
    }
    encoded(&offered)
}

/// The same schema without metadata at any depth.
pub(crate) fn plain(schema: &Schema) -> Schema {
    Schema::new(
        schema
            .fields()
            .iter()
            .map(|f| plain_field(f))
            .collect::<Fields>(),
    )
}

/// Do two types hold the same values, whatever their metadata?
pub(crate) fn same_type(a: &DataType, b: &DataType) -> bool {
    plain_type(a) == plain_type(b)
}

fn plain_field(field: &Field) -> Field {
    Field::new(
        field.name(),
        plain_type(field.data_type()),
        field.is_nullable(),
    )
}

fn plain_type(data_type: &DataType) -> DataType {
    let child = |f: &Arc<Field>| Arc::new(plain_field(f));
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other types hold no fields"
    )]
    match data_type {
        DataType::List(f) => DataType::List(child(f)),
        DataType::LargeList(f) => DataType::LargeList(child(f)),
        DataType::ListView(f) => DataType::ListView(child(f)),
        DataType::LargeListView(f) => DataType::LargeListView(child(f)),
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(child(f), *n),
        DataType::Map(f, sorted) => DataType::Map(child(f), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        other => other.clone(),
    }
}

struct Reader<'a> {
    limits: &'a Limits,
    fields: usize,
}

impl Reader<'_> {
    fn field(&mut self, field: arrow_ipc::Field<'_>, depth: usize) -> Result<Field, Failure> {
        self.fields += 1;
        if self.fields > self.limits.columns_max {
            return Err(exceeded(
                "plan-columns",
                self.limits.columns_max as u64,
                self.fields as u64,
            ));
        }
        let name = field.name().unwrap_or_default();
        if name.len() > self.limits.column_name_bytes_max {
            let max = self.limits.column_name_bytes_max;
            return Err(broken(
                "schema",
                format!("a column name is longer than {max} bytes: {}", name.len()),
            ));
        }
        if name != clean(name, name.len()) {
            let name = clean(name, name.len());
            return Err(broken(
                "schema",
                format!("a column name holds control characters: `{name}`"),
            ));
        }
        if depth > self.limits.column_depth_max {
            return Err(broken(
                "schema",
                format!("a column is nested deeper than {depth} levels: `{name}`"),
            ));
        }
        let data_type = self.data_type(field, depth).ok_or_else(|| {
            broken(
                "schema",
                format!(
                    "column `{name}` has a type that cannot leave the sandbox: {:?}",
                    field.type_type()
                ),
            )
        })??;
        Ok(Field::new(name, data_type, field.nullable()))
    }

    /// `None`: the type is malformed or not supported.
    fn data_type(
        &mut self,
        field: arrow_ipc::Field<'_>,
        depth: usize,
    ) -> Option<Result<DataType, Failure>> {
        if let Some(dictionary) = field.dictionary() {
            let key = match dictionary.indexType() {
                Some(int) => integer(int)?,
                None => DataType::Int32,
            };
            // Of dictionaries of nulls arrow's own kernels make nonsense.
            let value = scalar(field).filter(|value| *value != DataType::Null)?;
            return Some(Ok(DataType::Dictionary(Box::new(key), Box::new(value))));
        }
        if let Some(scalar) = scalar(field) {
            return Some(Ok(scalar));
        }
        let children = field.children()?;
        let children: Result<Vec<Arc<Field>>, Failure> = children
            .iter()
            .map(|child| self.field(child, depth + 1).map(Arc::new))
            .collect();
        let children = match children {
            Ok(children) => children,
            Err(failure) => return Some(Err(failure)),
        };
        nested(field, children).map(Ok)
    }
}

fn nested(field: arrow_ipc::Field<'_>, children: Vec<Arc<Field>>) -> Option<DataType> {
    let only = (children.len() == 1).then(|| Arc::clone(&children[0]));
    match field.type_type() {
        Type::Struct_ => Some(DataType::Struct(children.into())),
        Type::List => Some(DataType::List(only?)),
        Type::LargeList => Some(DataType::LargeList(only?)),
        Type::FixedSizeList => {
            let size = field.type_as_fixed_size_list()?.listSize();
            (1..=FIXED_SIZE_MAX)
                .contains(&size)
                .then_some(DataType::FixedSizeList(only?, size))
        }
        Type::Map => {
            let entries = only?;
            let fits = matches!(entries.data_type(), DataType::Struct(kv) if kv.len() == 2 && !kv[0].is_nullable());
            (fits && !entries.is_nullable())
                .then_some(DataType::Map(entries, field.type_as_map()?.keysSorted()))
        }
        // Unions, run-end encoding and list views are left out: nothing here needs them, and each is more to guard.
        _ => None,
    }
}

fn integer(int: arrow_ipc::Int<'_>) -> Option<DataType> {
    Some(match (int.bitWidth(), int.is_signed()) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        _ => return None,
    })
}

fn unit(unit: FbTimeUnit) -> Option<TimeUnit> {
    Some(match unit {
        FbTimeUnit::SECOND => TimeUnit::Second,
        FbTimeUnit::MILLISECOND => TimeUnit::Millisecond,
        FbTimeUnit::MICROSECOND => TimeUnit::Microsecond,
        FbTimeUnit::NANOSECOND => TimeUnit::Nanosecond,
        _ => return None,
    })
}

fn scalar(field: arrow_ipc::Field<'_>) -> Option<DataType> {
    Some(match field.type_type() {
        Type::Null => DataType::Null,
        Type::Bool => DataType::Boolean,
        Type::Int => integer(field.type_as_int()?)?,
        Type::Utf8 => DataType::Utf8,
        Type::LargeUtf8 => DataType::LargeUtf8,
        Type::Utf8View => DataType::Utf8View,
        Type::Binary => DataType::Binary,
        Type::LargeBinary => DataType::LargeBinary,
        Type::BinaryView => DataType::BinaryView,
        Type::FixedSizeBinary => {
            let width = field.type_as_fixed_size_binary()?.byteWidth();
            (1..=FIXED_SIZE_MAX)
                .contains(&width)
                .then_some(DataType::FixedSizeBinary(width))?
        }
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::HALF => DataType::Float16,
            Precision::SINGLE => DataType::Float32,
            Precision::DOUBLE => DataType::Float64,
            _ => return None,
        },
        Type::Decimal => decimal(field.type_as_decimal()?)?,
        Type::Date | Type::Time | Type::Timestamp | Type::Interval | Type::Duration => {
            temporal(field)?
        }
        _ => return None,
    })
}

fn decimal(decimal: arrow_ipc::Decimal<'_>) -> Option<DataType> {
    let precision = u8::try_from(decimal.precision()).ok()?;
    let scale = i8::try_from(decimal.scale()).ok()?;
    let (max, data_type) = match decimal.bitWidth() {
        32 => (9, DataType::Decimal32(precision, scale)),
        64 => (18, DataType::Decimal64(precision, scale)),
        128 => (38, DataType::Decimal128(precision, scale)),
        256 => (76, DataType::Decimal256(precision, scale)),
        _ => return None,
    };
    let fits =
        (1..=max).contains(&precision) && i16::from(scale).unsigned_abs() <= u16::from(precision);
    fits.then_some(data_type)
}

fn temporal(field: arrow_ipc::Field<'_>) -> Option<DataType> {
    Some(match field.type_type() {
        Type::Date => match field.type_as_date()?.unit() {
            DateUnit::DAY => DataType::Date32,
            DateUnit::MILLISECOND => DataType::Date64,
            _ => return None,
        },
        Type::Time => {
            let time = field.type_as_time()?;
            match (time.bitWidth(), unit(time.unit())?) {
                (32, unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
                (64, unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => {
                    DataType::Time64(unit)
                }
                _ => return None,
            }
        }
        Type::Timestamp => {
            let timestamp = field.type_as_timestamp()?;
            let zone = timestamp.timezone();
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-:_/".contains(c);
            if zone.is_some_and(|z| z.len() > 64 || !z.chars().all(plain)) {
                return None;
            }
            // What arrow does not know it can neither print nor convert.
            if zone.is_some_and(|z| z.parse::<Tz>().is_err()) {
                return None;
            }
            DataType::Timestamp(unit(timestamp.unit())?, zone.map(Into::into))
        }
        Type::Duration => DataType::Duration(unit(field.type_as_duration()?.unit())?),
        Type::Interval => DataType::Interval(match field.type_as_interval()?.unit() {
            IntervalUnit::YEAR_MONTH => ArrowInterval::YearMonth,
            IntervalUnit::DAY_TIME => ArrowInterval::DayTime,
            IntervalUnit::MONTH_DAY_NANO => ArrowInterval::MonthDayNano,
            _ => return None,
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::HashMap;

    use super::*;

    fn every_type() -> Schema {
        let item = |t| Arc::new(Field::new("item", t, true));
        let entries = Field::new(
            "entries",
            DataType::Struct(
                vec![
                    Field::new("key", DataType::Utf8, false),
                    Field::new("value", DataType::Int8, true),
                ]
                .into(),
            ),
            false,
        );
        let types = vec![
            DataType::Null,
            DataType::Boolean,
            DataType::UInt64,
            DataType::Float16,
            DataType::Decimal128(38, 10),
            DataType::Decimal256(76, -3),
            DataType::Utf8View,
            DataType::LargeBinary,
            DataType::FixedSizeBinary(16),
            DataType::Date64,
            DataType::Time32(TimeUnit::Millisecond),
            DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into())),
            DataType::Duration(TimeUnit::Second),
            DataType::Interval(ArrowInterval::MonthDayNano),
            DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8)),
            DataType::List(item(DataType::LargeUtf8)),
            DataType::FixedSizeList(item(DataType::Float32), 3),
            DataType::Struct(vec![Field::new("a", DataType::Date32, false)].into()),
            DataType::Map(Arc::new(entries), false),
        ];
        let fields = types
            .into_iter()
            .enumerate()
            .map(|(i, t)| Field::new(format!("c{i}"), t, i % 2 == 0));
        Schema::new(fields.collect::<Vec<_>>())
    }

    #[test]
    fn every_supported_type_survives() {
        let schema = every_type();
        assert_eq!(
            read(&write(&schema).unwrap(), &Limits::default()).unwrap(),
            schema
        );
    }

    #[test]
    fn metadata_is_stripped_at_every_depth() {
        let note = || HashMap::from([("k".to_owned(), "v".to_owned())]);
        let item = Arc::new(Field::new("item", DataType::Int8, true).with_metadata(note()));
        let field = Field::new("l", DataType::List(item), true).with_metadata(note());
        let schema = Schema::new_with_metadata(vec![field], note());
        let back = read(&write(&schema).unwrap(), &Limits::default()).unwrap();
        assert_eq!(back, plain(&schema));
        assert!(same_type(
            back.field(0).data_type(),
            schema.field(0).data_type()
        ));
        assert_ne!(back, schema);
    }

    #[track_caller]
    fn refused(schema: &Schema, limits: &Limits, code: &str, word: &str) {
        let failure = read(&write(schema).unwrap(), limits).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(word), "{failure}");
    }

    #[test]
    fn schemas_that_go_too_far_are_refused() {
        let limits = Limits {
            columns_max: 3,
            column_depth_max: 2,
            ..Limits::default()
        };
        let column = |name: &str| Field::new(name, DataType::Int8, true);
        let many: Vec<Field> = (0..4).map(|i| column(&i.to_string())).collect();
        refused(&Schema::new(many), &limits, "limit/plan-size", "columns");
        refused(
            &Schema::new(vec![column("a"), column("a")]),
            &limits,
            "contract/schema",
            "twice",
        );
        refused(
            &Schema::new(vec![column(&"x".repeat(257))]),
            &limits,
            "contract/schema",
            "longer",
        );
        refused(
            &Schema::new(vec![column("a\u{1b}[2J")]),
            &limits,
            "contract/schema",
            "control",
        );
        let inside = DataType::Struct(vec![column("a"), column("a")].into());
        refused(
            &Schema::new(vec![Field::new("s", inside, true)]),
            &limits,
            "contract/schema",
            "twice",
        );
        let mut deep = DataType::Int8;
        for _ in 0..3 {
            deep = DataType::List(Arc::new(Field::new("item", deep, true)));
        }
        refused(
            &Schema::new(vec![Field::new("d", deep, true)]),
            &Limits {
                columns_max: 9,
                ..limits.clone()
            },
            "contract/schema",
            "nested",
        );
        let union = arrow_schema::UnionFields::from_fields(vec![column("u")]);
        let union = DataType::Union(union, arrow_schema::UnionMode::Sparse);
        refused(
            &Schema::new(vec![Field::new("u", union, true)]),
            &limits,
            "contract/schema",
            "cannot leave",
        );
    }

    #[test]
    fn types_that_would_do_harm_later_are_refused() {
        let limits = Limits::default();
        let item = |t| Arc::new(Field::new("item", t, true));
        let zone = |z: &str| DataType::Timestamp(TimeUnit::Second, Some(z.into()));
        let word = |value| DataType::Dictionary(Box::new(DataType::Int8), Box::new(value));
        for bad in [
            zone("nowhere"),
            zone("+99:99"),
            word(zone("Europe/Nowhere")),
            word(DataType::Null),
            DataType::FixedSizeBinary(0),
            DataType::FixedSizeBinary(i32::MAX),
            DataType::FixedSizeList(item(DataType::Int8), 0),
            DataType::FixedSizeList(item(DataType::Int8), i32::MAX),
            DataType::ListView(item(DataType::Int8)),
            DataType::RunEndEncoded(
                Arc::new(Field::new("run_ends", DataType::Int32, false)),
                item(DataType::Int8),
            ),
        ] {
            let schema = Schema::new(vec![Field::new("c", bad, true)]);
            refused(&schema, &limits, "contract/schema", "cannot leave");
        }
    }

    #[test]
    fn columns_may_be_nested_16_deep_and_no_deeper() {
        let nested = |levels| {
            let deeper = |t, _| DataType::Struct(vec![Field::new("f", t, true)].into());
            let deep = (0..levels).fold(DataType::Int8, deeper);
            Schema::new(vec![Field::new("d", deep, true)])
        };
        let limits = Limits::default();
        let deepest = nested(limits.column_depth_max);
        assert_eq!(read(&write(&deepest).unwrap(), &limits).unwrap(), deepest);
        for levels in [17, 20] {
            refused(&nested(levels), &limits, "contract/schema", "nested deeper");
        }
    }

    #[test]
    fn damaged_schemas_are_refused_and_never_panic() {
        let bytes = write(&every_type()).unwrap();
        let mut state = 0x5eed_u64;
        let mut refused = 0;
        for round in 0..4_000 {
            let mut copy = bytes.clone();
            for _ in 0..=(round % 3) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % copy.len();
                copy[at] = copy[at].wrapping_add(state.to_le_bytes()[3] | 1);
            }
            refused += usize::from(read(&copy, &Limits::default()).is_err());
        }
        assert!(
            refused > 1_000,
            "only {refused} of 4000 damaged schemas were refused"
        );
    }
}
