//! Several files as one table: which columns it has, of which types, and where each file has them.
//!
//! Columns are matched by name. The first file says which there are and in which order; what becomes of files that
//! differ is up to the policy. A column has one type: that of all files, a wider one of the same kind, or the declared.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema};
use odibi_plan::plan::{ColumnType, ColumnTypes, OnMissingColumns, OnNewColumns, SchemaPolicy};
use odibi_story::failure::{Failure, FailureClass, code};

use super::check_names;
use super::columns::plain_schema;
use super::json::infer::Shape;
use super::value::Kinds;

/// Similarity (0 to 1) from which a column is offered as a correction.
const SIMILARITY_MIN: f64 = 0.6;

/// What a file says of its columns.
#[derive(Debug, Clone)]
pub(crate) enum Described {
    /// It holds nothing, not even columns.
    Empty,
    Columns(Vec<(String, Seen)>),
}

impl Described {
    /// Of a file that says the types of its columns.
    pub(crate) fn typed(schema: &Schema, shown: &str) -> Result<Self, Failure> {
        let found = plain_schema(schema);
        check_names(found.fields().iter().map(|f| f.name().as_str()), shown)?;
        let typed = |f: &FieldRef| (f.name().clone(), Seen::Typed(Arc::clone(f)));
        Ok(Self::Columns(found.fields().iter().map(typed).collect()))
    }
}

/// What is known of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    /// The file says its type.
    Typed(FieldRef),
    /// What the texts looked like.
    Kinds(Kinds),
    /// What the JSON values were.
    Shape(Shape),
}

impl Seen {
    /// What holds the values of both; `None` when nothing does.
    fn merge(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Kinds(a), Self::Kinds(b)) => Some(Self::Kinds(a.with(*b))),
            (Self::Shape(a), Self::Shape(b)) => {
                let mut both = a.clone();
                both.merge_shape(b).ok()?;
                Some(Self::Shape(both))
            }
            (Self::Typed(a), Self::Typed(b)) => {
                let wide = wider(a.data_type(), b.data_type())?;
                let nullable = a.is_nullable() || b.is_nullable();
                Some(Self::Typed(Arc::new(Field::new(a.name(), wide, nullable))))
            }
            (Self::Typed(_) | Self::Kinds(_) | Self::Shape(_), _) => None,
        }
    }

    fn field(&self, name: &str) -> Field {
        match self {
            Self::Typed(field) => field.as_ref().clone().with_name(name),
            Self::Kinds(kinds) => Field::new(name, kinds.data_type(), true),
            Self::Shape(shape) => Field::new(name, shape.data_type(), true),
        }
    }
}

/// The type that holds the values of both without a loss: whole numbers widen to whole numbers, floating point numbers
/// to such, decimals of one scale to more digits; null is of every type.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "these are the types that widen"
)]
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as T;
    if a.equals_datatype(b) {
        return Some(a.clone());
    }
    let signed = |t: &DataType| match t {
        T::Int8 => Some(8),
        T::Int16 => Some(16),
        T::Int32 => Some(32),
        T::Int64 => Some(64),
        _ => None,
    };
    let unsigned = |t: &DataType| match t {
        T::UInt8 => Some(8),
        T::UInt16 => Some(16),
        T::UInt32 => Some(32),
        T::UInt64 => Some(64),
        _ => None,
    };
    let of_bits = |bits: u8, unsigned: bool| match (bits, unsigned) {
        (8, false) => Some(T::Int8),
        (16, false) => Some(T::Int16),
        (32, false) => Some(T::Int32),
        (64, false) => Some(T::Int64),
        (8, true) => Some(T::UInt8),
        (16, true) => Some(T::UInt16),
        (32, true) => Some(T::UInt32),
        (64, true) => Some(T::UInt64),
        _ => None,
    };
    match (a, b) {
        (T::Null, other) | (other, T::Null) => Some(other.clone()),
        (T::Float32, T::Float64) | (T::Float64, T::Float32) => Some(T::Float64),
        (T::Utf8, T::LargeUtf8) | (T::LargeUtf8, T::Utf8) => Some(T::LargeUtf8),
        (T::Binary, T::LargeBinary) | (T::LargeBinary, T::Binary) => Some(T::LargeBinary),
        (T::Decimal128(p, s), T::Decimal128(q, t)) if s == t => Some(T::Decimal128(*p.max(q), *s)),
        _ => match (signed(a), signed(b), unsigned(a), unsigned(b)) {
            (Some(x), Some(y), _, _) => of_bits(x.max(y), false),
            (_, _, Some(x), Some(y)) => of_bits(x.max(y), true),
            (Some(s), _, _, Some(u)) | (_, Some(s), Some(u), _) if u < 64 => {
                of_bits(s.max(u * 2), false)
            }
            _ => None,
        },
    }
}

/// The Arrow type of a declared one.
pub(crate) fn declared(wanted: ColumnType) -> DataType {
    use arrow_schema::TimeUnit::Microsecond;
    match wanted {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Int(8) => DataType::Int8,
        ColumnType::Int(16) => DataType::Int16,
        ColumnType::Int(32) => DataType::Int32,
        ColumnType::Int(_) => DataType::Int64,
        ColumnType::UInt(8) => DataType::UInt8,
        ColumnType::UInt(16) => DataType::UInt16,
        ColumnType::UInt(32) => DataType::UInt32,
        ColumnType::UInt(_) => DataType::UInt64,
        ColumnType::Float(32) => DataType::Float32,
        ColumnType::Float(_) => DataType::Float64,
        ColumnType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => DataType::Timestamp(Microsecond, None),
        ColumnType::TimestampUtc => DataType::Timestamp(Microsecond, Some("UTC".into())),
        ColumnType::Text => DataType::Utf8,
    }
}

/// One table of several files.
#[derive(Debug, PartialEq)]
pub(crate) struct Unified {
    pub(crate) fields: Vec<Field>,
    /// For each file and each column of the table, its place in the file; `None` where the file does not have it, or
    /// has nothing.
    pub(crate) places: Vec<Vec<Option<usize>>>,
}

/// Puts files together. `None` when none of them has columns.
pub(crate) fn unify(
    files: &[(String, Described)],
    types: &ColumnTypes,
    policy: SchemaPolicy,
) -> Result<Option<Unified>, Failure> {
    let mut table: Option<(Vec<(String, Seen)>, &str)> = None;
    let mut required = 0;
    for (shown, described) in files {
        let Described::Columns(found) = described else {
            continue;
        };
        let Some((columns, first)) = &mut table else {
            required = found.len();
            table = Some((found.clone(), shown));
            continue;
        };
        for (index, (name, seen)) in columns.iter_mut().enumerate() {
            let Some((_, other)) = found.iter().find(|(n, _)| n == name) else {
                if index < required && policy.on_missing_columns == OnMissingColumns::Fail {
                    let what = format!("`{shown}` does not have a column of `{first}`: `{name}`");
                    return Err(mismatch(what));
                }
                continue;
            };
            if types.contains_key(name) {
                continue;
            }
            *seen = seen.merge(other).ok_or_else(|| {
                let (have, want) = (other.field(name), seen.field(name));
                mismatch(format!(
                    "column `{name}` is {} in `{first}` and {} in `{shown}`",
                    want.data_type(),
                    have.data_type()
                ))
                .hint("declare its type in `schema` of the read's `options`")
            })?;
        }
        for (name, seen) in found {
            if columns.iter().any(|(n, _)| n == name) {
                continue;
            }
            match policy.on_new_columns {
                OnNewColumns::Ignore => {}
                OnNewColumns::AddNullable => columns.push((name.clone(), seen.clone())),
                OnNewColumns::Fail => {
                    return Err(mismatch(format!(
                        "`{shown}` has a column that `{first}` does not have: `{name}`"
                    )));
                }
            }
        }
    }
    let Some((columns, _)) = table else {
        return Ok(None);
    };
    let places: Vec<Vec<Option<usize>>> = files
        .iter()
        .map(|(_, described)| {
            let place = |name: &String| match described {
                Described::Empty => None,
                Described::Columns(found) => found.iter().position(|(n, _)| n == name),
            };
            columns.iter().map(|(name, _)| place(name)).collect()
        })
        .collect();
    let has_columns = |file: usize| matches!(files[file].1, Described::Columns(_));
    let fields = columns
        .iter()
        .enumerate()
        .map(|(index, (name, seen))| {
            let mut field = seen.field(name);
            if let Some(wanted) = types.get(name) {
                field = field.with_data_type(declared(*wanted));
            }
            let absent =
                |(file, p): (usize, &Vec<Option<usize>>)| has_columns(file) && p[index].is_none();
            let nullable = field.is_nullable() || places.iter().enumerate().any(absent);
            field.with_nullable(nullable)
        })
        .collect();
    Ok(Some(Unified { fields, places }))
}

/// Refuses a type for a column that is not there.
pub(crate) fn check_declared(fields: &[Field], types: &ColumnTypes) -> Result<(), Failure> {
    let Some(name) = types
        .keys()
        .find(|name| !fields.iter().any(|f| f.name() == *name))
    else {
        return Ok(());
    };
    let failure = Failure::new(
        FailureClass::Data,
        code::READ_SCHEMA_MISMATCH,
        format!("`schema` gives a type to a column that is not there: `{name}`"),
    );
    let nearest = fields
        .iter()
        .map(|f| (strsim::normalized_damerau_levenshtein(f.name(), name), f))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Err(match nearest {
        Some((score, field)) if score >= SIMILARITY_MIN => {
            failure.hint(format!("did you mean `{}`?", field.name()))
        }
        Some(_) | None => failure.hint("remove it"),
    })
}

fn mismatch(what: String) -> Failure {
    Failure::new(FailureClass::Data, code::READ_SCHEMA_MISMATCH, what)
        .hint("say with `schema_policy` of the read what becomes of it, or read such files in nodes of their own")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn file(shown: &str, columns: &[(&str, DataType)]) -> (String, Described) {
        let typed = |(name, t): &(&str, DataType)| {
            let field = Arc::new(Field::new(*name, t.clone(), false));
            ((*name).to_owned(), Seen::Typed(field))
        };
        (
            shown.into(),
            Described::Columns(columns.iter().map(typed).collect()),
        )
    }

    /// Columns, and for each file where they are in it; or what is wrong.
    type Expected<'a> = Result<(&'a [&'a str], &'a [&'a [Option<usize>]]), &'a str>;

    #[track_caller]
    fn check(files: &[(String, Described)], policy: SchemaPolicy, expected: Expected<'_>) {
        let found = unify(files, &ColumnTypes::new(), policy);
        let found = found.map(Option::unwrap).map_err(|failure| failure.message);
        match expected {
            Err(message) => assert_eq!(found.unwrap_err(), message),
            Ok((fields, places)) => {
                let found = found.unwrap();
                let shown: Vec<String> = found
                    .fields
                    .iter()
                    .map(|f| {
                        let null = if f.is_nullable() { "?" } else { "" };
                        format!("{} {}{null}", f.name(), f.data_type())
                    })
                    .collect();
                assert_eq!(shown, fields);
                assert_eq!(found.places, places);
            }
        }
    }

    #[test]
    fn files_that_differ_follow_the_policy() {
        use DataType::{Int32, Int64, Utf8};
        let files = [
            file("1", &[("a", Int32), ("b", Utf8)]),
            ("2".to_owned(), Described::Empty),
            file("3", &[("c", Utf8), ("a", Int64)]),
        ];
        let strict = SchemaPolicy::STRICT;
        let of = |on_new_columns, on_missing_columns| SchemaPolicy {
            on_new_columns,
            on_missing_columns,
        };
        use OnMissingColumns::{Fail, FillNull};
        use OnNewColumns::{AddNullable, Ignore};
        let missing = "`3` does not have a column of `1`: `b`";
        let extra = "`3` has a column that `1` does not have: `c`";
        check(&files, strict, Err(missing));
        check(&files, of(AddNullable, Fail), Err(missing));
        check(&files, of(OnNewColumns::Fail, FillNull), Err(extra));
        check(
            &files,
            of(Ignore, FillNull),
            Ok((
                &["a Int64", "b Utf8?"],
                &[&[Some(0), Some(1)], &[None, None], &[Some(1), None]],
            )),
        );
        check(
            &files,
            of(AddNullable, FillNull),
            Ok((
                &["a Int64", "b Utf8?", "c Utf8?"],
                &[
                    &[Some(0), Some(1), None],
                    &[None; 3],
                    &[Some(1), None, Some(0)],
                ],
            )),
        );
        let other = [file("1", &[("a", Int32)]), file("2", &[("a", Utf8)])];
        check(
            &other,
            strict,
            Err("column `a` is Int32 in `1` and Utf8 in `2`"),
        );
    }

    #[test]
    fn types_widen_without_a_loss_or_not_at_all() {
        use DataType as T;
        for (a, b, expected) in [
            (T::Int8, T::Int64, Some(T::Int64)),
            (T::UInt8, T::UInt32, Some(T::UInt32)),
            (T::UInt32, T::Int8, Some(T::Int64)),
            (T::UInt64, T::Int64, None),
            (T::Int32, T::Float64, None),
            (T::Float32, T::Float64, Some(T::Float64)),
            (T::Null, T::Utf8, Some(T::Utf8)),
            (
                T::Decimal128(5, 2),
                T::Decimal128(9, 2),
                Some(T::Decimal128(9, 2)),
            ),
            (T::Decimal128(5, 2), T::Decimal128(9, 3), None),
            (T::Date32, T::Utf8, None),
        ] {
            assert_eq!(wider(&a, &b), expected, "{a} {b}");
            assert_eq!(wider(&b, &a), expected, "{b} {a}");
        }
    }
}
