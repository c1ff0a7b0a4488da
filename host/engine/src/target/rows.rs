//! Files of a target and of a batch as rows with keys, and rows as a file: the part that knows formats.
//!
//! Parquet comes as columns. CSV and JSON lines come as whole lines, so that rows which are kept are byte by byte what
//! they were; only their keys are understood. The batch lies in a file of the same format, so that both sides are read
//! alike and compare.

pub(crate) mod columns;
pub(crate) mod lines;

use std::fs::File;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use odibi_plan::plan::{Keys, WriteFormat};
use odibi_story::failure::{Failure, FailureClass, code};

use self::columns::ColumnRows;
use self::lines::{Dialect, LineRows, LineWriter};
use super::keys::{KeyMaker, Side};
use super::merge::KeyedRows;
use crate::read::Stop;
use crate::store::Blob;
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

    /// The rows of one or more files of the target. `schema` is that of the result, before it was written.
    pub(crate) fn existing(
        &self,
        blobs: &[Arc<dyn Blob>],
        batch: &Batch<'_>,
        shown: &str,
        stop: Stop<'_>,
    ) -> Result<Existing, Failure> {
        match self {
            Self::Parquet(_) => {
                let keys = batch.key_maker(shown)?;
                let rows = ColumnRows::existing(blobs, batch.file, keys, batch.batch_rows, shown)?;
                Ok(Existing::Columns(Box::new(rows)))
            }
            Self::Lines(dialect) => {
                let names: Vec<String> = names(batch.schema);
                lines::check_columns(dialect, blobs, &names, shown, stop)?;
                let keys = batch.key_maker(shown)?;
                let blobs = blobs.to_vec();
                let rows = LineRows::existing(dialect, blobs, keys, names, batch.batch_rows, shown);
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
        let keys = batch.key_maker(shown)?;
        match self {
            Self::Parquet(_) => {
                let schema = match like {
                    Some(Existing::Columns(rows)) => Some(rows.schema()),
                    Some(Existing::Lines(_)) | None => None,
                };
                let rows = ColumnRows::batch(batch.file, schema, keys, batch.batch_rows, shown)?;
                Ok(Box::new(rows))
            }
            Self::Lines(dialect) => {
                let names = names(batch.schema);
                let rows =
                    LineRows::batch(dialect, batch.file, keys, names, batch.batch_rows, shown)?;
                Ok(Box::new(rows))
            }
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
                let header = dialect.header_of(batch.file, shown)?;
                Ok(Box::new(LineWriter::new(file, header.as_deref(), shown)?))
            }
        }
    }
}

/// What a batch consists of.
pub(crate) struct Batch<'a> {
    /// In the format of the target.
    pub(crate) file: &'a File,
    /// Columns of the result.
    pub(crate) schema: &'a SchemaRef,
    pub(crate) keys: Option<&'a Keys>,
    pub(crate) batch_rows: usize,
}

impl Batch<'_> {
    fn key_maker(&self, shown: &str) -> Result<Option<KeyMaker>, Failure> {
        let make = |keys: &Keys| KeyMaker::new(keys, self.schema, shown);
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

/// The failure of columns that are not those of the target.
pub(crate) fn mismatch(shown: &str, what: &str) -> Failure {
    let message = format!("the columns of the result are not those of `{shown}`: {what}");
    Failure::new(FailureClass::Data, code::WRITE_SCHEMA_MISMATCH, message)
        .own_message(format!(
            "the columns of the result are not those of `{shown}`"
        ))
        .hint("bring the columns in line in a step before, or overwrite the target once")
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
