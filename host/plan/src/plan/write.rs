//! What a write does to its target.

use crate::diagnostic::Span;

/// A column that the YAML names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnName {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub span: Span,
}

/// One file or a directory of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetLayout {
    /// `path` is one file.
    File,
    /// `path` is a directory of part files: it ends in `/`, or `layout: directory` or `partition_by` says so.
    Directory,
}

/// What a write does to what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteMode {
    /// The target is replaced, in one atomic step.
    Overwrite,
    /// The rows are added, once in each run.
    Append,
    /// The rows are added once: with keys, those whose key is not there yet; without, those of a batch that was not
    /// added yet.
    AppendOnce(Option<Keys>),
    /// Rows whose key is there take the place of those, the others are added.
    Upsert(Keys),
}

impl WriteMode {
    /// The word of the YAML.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Overwrite => "overwrite",
            Self::Append => "append",
            Self::AppendOnce(_) => "append_once",
            Self::Upsert(_) => "upsert",
        }
    }

    /// The keys, where the mode has any.
    #[must_use]
    pub fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Overwrite | Self::Append => None,
            Self::AppendOnce(keys) => keys.as_ref(),
            Self::Upsert(keys) => Some(keys),
        }
    }
}

/// By what rows are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Names of the columns; at least one, each once.
    pub columns: Vec<ColumnName>,
    /// What a null in a key means.
    pub null_keys: NullKeys,
    /// What becomes of rows of one batch that have the same key.
    pub duplicate_keys: DuplicateKeys,
}

/// What a null in a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullKeys {
    /// The write fails (default).
    Error,
    /// It equals nothing, so the row is always a new one.
    Distinct,
    /// It is a value like any other.
    Equal,
}

impl NullKeys {
    /// The word of the YAML.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Distinct => "distinct",
            Self::Equal => "equal",
        }
    }
}

/// What becomes of rows of one batch that have the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// The write fails (default).
    Error,
    /// The first stays: in the order of the rows, or the one with the least value of a column. Null is the least value.
    First(Option<ColumnName>),
    /// The last stays, or the one with the greatest value.
    Last(Option<ColumnName>),
}

impl DuplicateKeys {
    /// The word of the YAML.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::First(_) => "first",
            Self::Last(_) => "last",
        }
    }

    /// The column that decides.
    #[must_use]
    pub fn order_by(&self) -> Option<&ColumnName> {
        match self {
            Self::Error => None,
            Self::First(column) | Self::Last(column) => column.as_ref(),
        }
    }
}
