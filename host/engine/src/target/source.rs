//! Files of a target and of a batch, opened one at a time, with the values that their directories stand for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, UInt32Array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{Field, Schema};
use arrow_select::take::take;
use odibi_plan::plan::ColumnName;
use odibi_story::failure::{Failure, FailureClass, code};

use super::rows::{mismatch, unreadable};
use crate::failure::{During, classify};
use crate::partition::{encode, is_partition_type, texts};
use crate::store::{Blob, Store};

/// One file of a target.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    at: At,
    pub(crate) partition: Option<Arc<Partition>>,
}

#[derive(Debug, Clone)]
enum At {
    Open(Arc<dyn Blob>),
    Path(Arc<dyn Store>, String),
}

impl Source {
    /// A file that is open.
    pub(crate) fn of(blob: Arc<dyn Blob>) -> Self {
        Self {
            at: At::Open(blob),
            partition: None,
        }
    }

    /// A file that is opened when it is read.
    pub(crate) fn later(
        store: &Arc<dyn Store>,
        path: String,
        partition: Option<Arc<Partition>>,
    ) -> Self {
        Self {
            at: At::Path(Arc::clone(store), path),
            partition,
        }
    }

    /// Opens it.
    pub(crate) fn open(&self) -> Result<Arc<dyn Blob>, Failure> {
        match &self.at {
            At::Open(blob) => Ok(Arc::clone(blob)),
            At::Path(store, path) => store.open(path),
        }
    }
}

/// One file of a batch, in the scratch directory.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    at: PieceAt,
    pub(crate) partition: Option<Arc<Partition>>,
}

#[derive(Debug, Clone)]
enum PieceAt {
    Open(Arc<File>),
    Path(PathBuf),
}

impl Piece {
    /// The only file of a batch.
    pub(crate) fn of(file: &Arc<File>) -> Self {
        Self {
            at: PieceAt::Open(Arc::clone(file)),
            partition: None,
        }
    }

    /// The rows of one partition.
    pub(crate) fn at(path: &Path, partition: &Arc<Partition>) -> Self {
        Self {
            at: PieceAt::Path(path.to_path_buf()),
            partition: Some(Arc::clone(partition)),
        }
    }

    /// Opens it. Handles of one file may share a position.
    pub(crate) fn open(&self) -> Result<File, Failure> {
        let opened = match &self.at {
            PieceAt::Open(file) => file.try_clone(),
            PieceAt::Path(path) => File::open(path),
        };
        opened.map_err(|e| classify(&e, During::Scratch))
    }
}

/// What the directories of a file stand for.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Below the target: `year=2024/city=x`.
    pub(crate) dir: String,
    /// One row each, in the types of the batch.
    values: Vec<(String, ArrayRef)>,
}

impl Partition {
    /// Of directories that were found, in the spelling of odibi. They must be those of `partition_by`.
    pub(crate) fn found(
        dirs: &[(String, Option<String>)],
        partition_by: &[ColumnName],
        batch: &Schema,
        shown: &str,
    ) -> Result<Self, Failure> {
        let names = dirs.iter().map(|(name, _)| name);
        if !names.eq(partition_by.iter().map(|column| &column.name)) {
            let names: Vec<String> = dirs.iter().map(|(name, _)| format!("`{name}`")).collect();
            let what = format!("its directories are those of {}", names.join(", "));
            return Err(mismatch(shown, &what).hint("say the same in `partition_by`"));
        }
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let mut values = Vec::with_capacity(dirs.len());
        for (name, text) in dirs {
            let field = field(batch, name, shown)?;
            let text: ArrayRef = Arc::new(StringArray::from(vec![text.clone()]));
            // The error of the library quotes the value.
            let value = cast_with_options(&text, field.data_type(), &strict).map_err(|_| {
                let what = format!(
                    "a directory of `{name}` does not hold a value of type {}",
                    field.data_type()
                );
                unreadable(shown, &what)
            })?;
            values.push((name.clone(), value));
        }
        let dir = Dirs::new(&values, shown)?.of(0)?;
        Ok(Self { dir, values })
    }

    /// Of one row of a batch.
    pub(crate) fn of_row(
        columns: &[(String, ArrayRef)],
        row: u32,
        dir: &str,
    ) -> Result<Self, Failure> {
        let row = UInt32Array::from(vec![row]);
        let values = columns.iter().map(|(name, column)| {
            let value = take(column, &row, None).map_err(|e| classify(&e, During::Run))?;
            Ok((name.clone(), value))
        });
        Ok(Self {
            dir: dir.to_owned(),
            values: values.collect::<Result<_, Failure>>()?,
        })
    }

    /// A column of its value, for so many rows; `None` for a column that is in the file.
    pub(crate) fn column(&self, name: &str, rows: usize) -> Result<Option<ArrayRef>, Failure> {
        let Some((_, value)) = self.values.iter().find(|(own, _)| own == name) else {
            return Ok(None);
        };
        let places = UInt32Array::from(vec![0_u32; rows]);
        let column = take(value, &places, None);
        column.map(Some).map_err(|e| classify(&e, During::Run))
    }

    /// Its directory, for so many rows.
    pub(crate) fn dirs(&self, rows: usize) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
            &self.dir, rows,
        )))
    }
}

/// Directories of the rows of a batch.
pub(crate) struct Dirs<'a> {
    columns: Vec<(&'a str, Vec<Option<String>>)>,
    shown: &'a str,
}

impl<'a> Dirs<'a> {
    pub(crate) fn new(columns: &'a [(String, ArrayRef)], shown: &'a str) -> Result<Self, Failure> {
        let texts = columns.iter().map(|(name, column)| {
            let texts = texts(column).ok_or_else(|| {
                let message = format!("column `{name}` holds a value that no directory can have");
                Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message)
            })?;
            Ok((name.as_str(), texts))
        });
        Ok(Self {
            columns: texts.collect::<Result<_, Failure>>()?,
            shown,
        })
    }

    /// Of one row: `year=2024/city=x`.
    pub(crate) fn of(&self, row: usize) -> Result<String, Failure> {
        let mut dir = String::new();
        for (name, texts) in &self.columns {
            let own = encode(name, texts[row].as_deref()).ok_or_else(|| {
                let message = format!(
                    "a value of `{name}` is too long for a directory of `{}`",
                    self.shown
                );
                Failure::new(FailureClass::Data, code::WRITE_BAD_VALUE, message)
                    .hint("partition by another column, or shorten it in a step before")
            })?;
            if !dir.is_empty() {
                dir.push('/');
            }
            dir.push_str(&own);
        }
        Ok(dir)
    }
}

/// Refuses columns that do not exist, or whose values cannot be names of directories.
pub(crate) fn check_partitions(
    partition_by: &[ColumnName],
    batch: &Schema,
    shown: &str,
) -> Result<(), Failure> {
    for column in partition_by {
        let field = field(batch, &column.name, shown)?;
        if column.name.starts_with(['_', '.']) {
            let message = format!(
                "`{shown}` cannot be partitioned by `{}`: readers leave directories alone whose names begin so",
                column.name
            );
            return Err(
                Failure::new(FailureClass::Data, code::WRITE_SCHEMA, message)
                    .hint("rename the column in a step before"),
            );
        }
        if !is_partition_type(field.data_type()) {
            let message = format!(
                "`{shown}` cannot be partitioned by column `{}` of type {}",
                column.name,
                field.data_type()
            );
            return Err(
                Failure::new(FailureClass::Data, code::WRITE_UNSUPPORTED_TYPE, message).hint(
                    "use whole numbers, decimals, text, booleans, dates or timestamps; cast it in a step before",
                ),
            );
        }
    }
    if !partition_by.is_empty() && batch.fields().len() == partition_by.len() {
        let message =
            format!("every column of `{shown}` is in `partition_by`, so its files would be empty");
        return Err(Failure::new(
            FailureClass::Data,
            code::WRITE_SCHEMA,
            message,
        ));
    }
    Ok(())
}

fn field<'a>(batch: &'a Schema, name: &str, shown: &str) -> Result<&'a Field, Failure> {
    batch.field_with_name(name).map_err(|_| {
        let message =
            format!("`partition_by` of `{shown}` names a column that the result has not: `{name}`");
        Failure::new(FailureClass::Data, code::WRITE_SCHEMA, message)
            .hint("`odibi plan` shows the columns of the result")
    })
}
