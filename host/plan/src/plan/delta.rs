//! How Delta tables are read and written.

/// How a Delta table is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeltaRead {
    /// `time_travel:`
    pub at: TableVersion,
}

/// Which version of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TableVersion {
    /// The newest (default).
    #[default]
    Latest,
    /// By its number: `as_of_version`.
    Number(u64),
    /// The newest that is not younger, in microseconds since 1970: `as_of_timestamp`.
    Time(i64),
}

/// How a Delta table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeltaWrite {
    /// In mode overwrite: the columns of the batch replace those of the table (default false).
    pub overwrite_schema: bool,
}
