//! Files of a target and of a batch as rows with keys, and rows as a file: the part that knows formats.
//!
//! Parquet comes as columns. CSV and JSON lines come as whole lines, so that rows which are kept are byte by byte what
//! they were; only their keys are understood. The batch lies in a file of the same format, so that both sides are read
//! alike and compare.

pub(crate) mod columns;
pub(crate) mod lines;

use std::fs::File;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use odibi_plan::plan::{Keys, WriteFormat};
use odibi_story::failure::{Failure, FailureClass, code};

use self::columns::ColumnRows;
use self::lines::{Dialect, LineRows, LineWriter};
use super::align::Known;
use super::dates::DateFormat;
use super::keys::{KeyMaker, Side};
use super::merge::KeyedRows;
use super::source::{Piece, Source};
use crate::read::Stop;
use crate::write::WriteTable;

/// How the rows of a format are read and written here.
#[derive(Debug, Clone)]
pub(crate) enum RowFormat {
    Parquet(WriteFormat),
    Lines(Dialect),
}

impl RowFormat {
    /// `None` for a format, or options, that only whole files are written in.
    pub(crate) fn of(format: &WriteFormat) -> Option<Self> {
        match format {
            WriteFormat::Parquet(_) => Some(Self::Parquet(format.clone())),
            WriteFormat::Csv(_) | WriteFormat::Json(_) => Dialect::of(format).map(Self::Lines),
            WriteFormat::Arrow(_) | WriteFormat::Delta(_) => None,
        }
    }

    /// The rows of one or more files of the target.
    pub(crate) fn existing(
        &self,
        sources: &[Source],
        batch: &Batch<'_>,
        shown: &str,
        stop: Stop<'_>,
    ) -> Result<Existing, Failure> {
        match self {
            Self::Parquet(_) => {
                let rows = ColumnRows::existing(sources, batch, shown)?;
                Ok(Existing::Columns(Box::new(rows)))
            }
            Self::Lines(dialect) => {
                let names: Vec<String> = names(&batch.schema);
                let wanted = (&names[..], batch.evolves);
                lines::check_columns(dialect, sources, wanted, shown, stop)?;
                let keys = batch.key_maker(shown)?;
                let rows =
                    LineRows::existing(dialect, sources, keys, names, batch.batch_rows, shown);
                Ok(Existing::Lines(Box::new(rows)))
            }
        }
    }

    /// The rows of the batch. `like` is what is known of the rows of the target.
    pub(crate) fn batch(
        &self,
        batch: &Batch<'_>,
        like: Option<&Existing>,
        shown: &str,
    ) -> Result<Box<dyn KeyedRows>, Failure> {
        match self {
            Self::Parquet(_) => {
                let schema = match like {
                    Some(Existing::Columns(rows)) => Some(rows.file_schema()),
                    Some(Existing::Lines(_)) | None => None,
                };
                Ok(Box::new(ColumnRows::batch(batch, schema, shown)?))
            }
            Self::Lines(dialect) => {
                let (names, keys) = (names(&batch.schema), batch.key_maker(shown)?);
                let pieces = &batch.pieces;
                let rows = LineRows::batch(dialect, pieces, keys, names, batch.batch_rows, shown);
                Ok(Box::new(rows))
            }
        }
    }

    /// Columns of the files of a target, those that only some have last.
    pub(crate) fn known(
        &self,
        sources: &[Source],
        shown: &str,
        stop: Stop<'_>,
    ) -> Result<Vec<Known>, Failure> {
        match self {
            Self::Parquet(_) => {
                let mut schema: Option<SchemaRef> = None;
                for source in sources {
                    let found = columns::file_schema(source, shown)?;
                    schema = Some(match schema {
                        Some(first) => columns::union(&first, &found, shown)?,
                        None => found,
                    });
                }
                let fields = schema.iter().flat_map(|schema| schema.fields().iter());
                Ok(fields
                    .map(|field| (field.name().clone(), Some(field.data_type().clone())))
                    .collect())
            }
            Self::Lines(dialect) => {
                let names = lines::column_names(dialect, sources, shown, stop)?;
                Ok(names.into_iter().map(|name| (name, None)).collect())
            }
        }
    }

    /// Columns of a batch in the types that the format keeps, where it keeps any.
    pub(crate) fn stored(&self, schema: &Schema, shown: &str) -> Result<Option<Schema>, Failure> {
        match self {
            Self::Parquet(_) => columns::stored(schema, shown).map(Some),
            Self::Lines(_) => Ok(None),
        }
    }

    /// Begins a file of rows of this schema.
    pub(crate) fn begin(
        &self,
        schema: &SchemaRef,
        batch: &Batch<'_>,
        file: File,
        shown: &str,
    ) -> Result<Box<dyn WriteTable>, Failure> {
        match self {
            Self::Parquet(format) => crate::write::begin(format, schema, file, shown),
            Self::Lines(dialect) => {
                let header = match batch.pieces.first() {
                    Some(piece) => dialect.header_of(&piece.open()?, shown)?,
                    None => None,
                };
                let header = header.as_deref();
                Ok(Box::new(LineWriter::new(dialect, file, header, shown)?))
            }
        }
    }
}

/// What a batch consists of.
pub(crate) struct Batch<'a> {
    /// In the format of the target; none where there are no rows for any partition.
    pub(crate) pieces: Vec<Piece>,
    /// Columns of its files.
    pub(crate) schema: SchemaRef,
    /// Those and the ones that are directories.
    pub(crate) whole: &'a SchemaRef,
    pub(crate) keys: Option<&'a Keys>,
    pub(crate) batch_rows: usize,
    /// The target may lack columns of the batch.
    pub(crate) evolves: bool,
    /// How dates and times are written, where that is not as ISO 8601 has it.
    pub(crate) dates: Option<DateFormat>,
}

impl Batch<'_> {
    pub(super) fn key_maker(&self, shown: &str) -> Result<Option<KeyMaker>, Failure> {
        let make = |keys: &Keys| {
            let made = KeyMaker::new(keys, self.whole, shown)?;
            Ok::<_, Failure>(made.with_dates(self.dates.clone()))
        };
        self.keys.map(make).transpose()
    }
}

/// Rows of the target.
pub(crate) enum Existing {
    Columns(Box<ColumnRows>),
    Lines(Box<LineRows>),
}

impl Existing {
    pub(crate) fn rows(&mut self) -> &mut dyn KeyedRows {
        match self {
            Self::Columns(rows) => rows.as_mut(),
            Self::Lines(rows) => rows.as_mut(),
        }
    }

    /// Hash of the bytes that were read, when all were; hex.
    pub(crate) fn digest(&mut self) -> Option<String> {
        match self {
            Self::Columns(_) => None,
            Self::Lines(rows) => rows.digest(),
        }
    }
}

fn names(schema: &SchemaRef) -> Vec<String> {
    let fields = schema.fields().iter();
    fields.map(|field| field.name().clone()).collect()
}

/// Name of the column that tells the directory of a row, where a target has partitions.
pub(crate) const DIRECTORY: &str = "odibi:directory";

fn directory_field() -> Arc<Field> {
    Arc::new(Field::new(DIRECTORY, DataType::Utf8, false))
}

/// The failure of columns that are not those of the target.
pub(crate) fn mismatch(shown: &str, what: &str) -> Failure {
    let message = format!("the columns of the result are not those of `{shown}`: {what}");
    Failure::new(FailureClass::Data, code::WRITE_SCHEMA_MISMATCH, message)
        .own_message(format!(
            "the columns of the result are not those of `{shown}`"
        ))
        .hint(
            "bring the columns in line in a step before, overwrite the target once, or set `merge_schema: true`",
        )
}

/// The failure of a target that cannot be understood. It is never taken for an empty one.
pub(crate) fn unreadable(shown: &str, what: &str) -> Failure {
    let message = format!("the target `{shown}` cannot be read, so nothing was written: {what}");
    Failure::new(FailureClass::Data, code::WRITE_UNREADABLE_TARGET, message)
        .own_message(format!(
            "the target `{shown}` cannot be read, so nothing was written"
        ))
        .hint("repair or move the target; an overwrite replaces it")
}

/// As [`unreadable`], with what was found when it was read.
pub(crate) fn unreadable_for(shown: &str, failure: Failure) -> Failure {
    if matches!(
        failure.class,
        FailureClass::Cancelled | FailureClass::Limit | FailureClass::Internal
    ) {
        return failure;
    }
    let message = format!("the target `{shown}` cannot be read, so nothing was written");
    let passes = failure.class == FailureClass::Transient;
    let made = Failure::new(
        failure.class,
        code::WRITE_UNREADABLE_TARGET,
        message.clone(),
    );
    let mut made = made.own_message(message);
    made = made.cause(failure.message);
    for cause in failure.causes {
        made = made.cause(cause);
    }
    if passes {
        // Nothing is wrong with it.
        return made;
    }
    made.hint("repair or move the target; an overwrite replaces it")
}

/// Which side rows are of.
fn side(existing: bool) -> Side {
    if existing {
        Side::Existing
    } else {
        Side::Batch
    }
}
