//! Formats of files and how they are read and written, with every default filled in.

use std::collections::BTreeMap;

use super::{DeltaRead, DeltaWrite};

/// Formats that can be read.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadFormat {
    /// RFC 4180 text.
    Csv(CsvRead),
    /// JSON objects: one for each line, or the items of one list.
    Json(JsonRead),
    /// Parquet.
    Parquet,
    /// Arrow IPC: the file format (Feather 2) or the stream format, told apart by the first bytes.
    Arrow,
    /// Avro object container files.
    Avro,
    /// A Delta table.
    Delta(DeltaRead),
}

impl ReadFormat {
    /// As people call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Json(json) => match json.layout {
                Some(JsonLayout::Lines) => "json lines",
                Some(JsonLayout::Array) | None => "json",
            },
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Avro => "avro",
            Self::Delta(_) => "delta",
        }
    }

    /// What becomes of rows that cannot be understood; formats without rows of text fail.
    #[must_use]
    pub fn on_bad_row(&self) -> OnBadRow {
        match self {
            Self::Csv(csv) => csv.on_bad_row,
            Self::Json(_) | Self::Parquet | Self::Arrow | Self::Avro | Self::Delta(_) => {
                OnBadRow::Fail
            }
        }
    }
}

/// How a CSV file is read.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvRead {
    /// The first row holds the names (default true). Without it the columns are `column_1`, `column_2`, ….
    pub header: bool,
    /// Names of the columns, in place of those of the header (default none).
    pub names: Vec<String>,
    /// One byte between the fields (default `,`).
    pub delimiter: u8,
    /// One byte around a field (default `"`).
    pub quote: u8,
    /// One byte that makes the next one part of the text (default none).
    pub escape: Option<u8>,
    /// Lines that begin with this byte are no rows (default none).
    pub comment: Option<u8>,
    /// Lines left out at the start of each file, before the header (default 0).
    pub skip_rows: usize,
    /// Field texts that mean null, besides the empty field (default none).
    pub null_values: Vec<String>,
    /// Rows that the column types are inferred from; `None` is the whole file (default).
    pub infer_rows: Option<usize>,
    /// What becomes of rows that cannot be understood (default fail).
    pub on_bad_row: OnBadRow,
    /// How the bytes become text.
    pub text: TextRead,
}

impl Default for CsvRead {
    fn default() -> Self {
        Self {
            header: true,
            names: Vec::new(),
            delimiter: b',',
            quote: b'"',
            escape: None,
            comment: None,
            skip_rows: 0,
            null_values: Vec::new(),
            infer_rows: None,
            on_bad_row: OnBadRow::Fail,
            text: TextRead::default(),
        }
    }
}

/// How a JSON file is read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonRead {
    /// Lines or a list (default: as the first character says).
    pub layout: Option<JsonLayout>,
    /// How the bytes become text.
    pub text: TextRead,
}

/// Where the objects of a JSON file stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonLayout {
    /// One on each line.
    Lines,
    /// In one list.
    Array,
}

/// How bytes become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextRead {
    /// Default UTF-8.
    pub encoding: Encoding,
    /// `None` goes by the name of the file: `.gz` and `.zst` (default).
    pub compression: Option<TextCompression>,
}

/// Encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    Utf8,
    /// ISO 8859-1: each byte is the character of that number.
    Latin1,
    /// UTF-16 that says its byte order by a mark.
    Utf16,
    /// Another one, by its name in the WHATWG Encoding Standard.
    Other(&'static str),
}

/// Compression of a whole file of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextCompression {
    /// No compression.
    #[default]
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl TextCompression {
    /// What the name of a file says.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        let lower = path.to_ascii_lowercase();
        match lower.rsplit_once('.') {
            Some((_, "gz" | "gzip")) => Self::Gzip,
            Some((_, "zst" | "zstd")) => Self::Zstd,
            Some(_) | None => Self::None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// What becomes of a row that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBadRow {
    /// The read fails, and names file and line (default).
    #[default]
    Fail,
    /// It is left out and counted in the story.
    Skip,
    /// It goes to the quarantine of the node, with file, line and reason.
    Quarantine,
}

/// Types that a project declares for columns.
pub type ColumnTypes = BTreeMap<String, ColumnType>;

/// A declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` and `false`.
    Boolean,
    /// A whole number with a sign, of 8, 16, 32 or 64 bits.
    Int(u8),
    /// A whole number without a sign, of 8, 16, 32 or 64 bits.
    UInt(u8),
    /// A number of 32 or 64 bits.
    Float(u8),
    /// A decimal number: digits, and how many of them stand behind the point.
    Decimal(u8, i8),
    /// A day.
    Date,
    /// A date and time without an offset, to the microsecond.
    Timestamp,
    /// A date and time with an offset, kept in UTC, to the microsecond.
    TimestampUtc,
    /// Text as it stands.
    Text,
}

/// What becomes of columns that differ from those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaPolicy {
    /// Of columns that are not known.
    pub on_new_columns: OnNewColumns,
    /// Of columns that are not there.
    pub on_missing_columns: OnMissingColumns,
}

/// What becomes of columns that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNewColumns {
    /// They are left out.
    Ignore,
    /// It is a failure.
    Fail,
    /// They are added, null in older rows.
    AddNullable,
}

/// What becomes of columns that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissingColumns {
    /// It is a failure.
    Fail,
    /// They are null.
    FillNull,
}

impl SchemaPolicy {
    /// What holds where a project says nothing: every difference is a failure.
    pub const STRICT: Self = Self {
        on_new_columns: OnNewColumns::Fail,
        on_missing_columns: OnMissingColumns::Fail,
    };
    /// All columns of all files; what holds for JSON where a project says nothing.
    pub const UNION: Self = Self {
        on_new_columns: OnNewColumns::AddNullable,
        on_missing_columns: OnMissingColumns::FillNull,
    };
}

/// Formats that can be written.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteFormat {
    /// RFC 4180 text.
    Csv(CsvWrite),
    /// JSON objects.
    Json(JsonWrite),
    /// Parquet.
    Parquet(ParquetWrite),
    /// Arrow IPC.
    Arrow(ArrowWrite),
    /// A Delta table.
    Delta(DeltaWrite),
}

impl WriteFormat {
    /// As people call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Json(json) => match json.layout {
                JsonLayout::Lines => "json lines",
                JsonLayout::Array => "json",
            },
            Self::Parquet(_) => "parquet",
            Self::Arrow(_) => "arrow",
            Self::Delta(_) => "delta",
        }
    }

    /// What names of files in this format end with, without the first point: `csv.gz`.
    #[must_use]
    pub fn extension(&self) -> String {
        match self {
            Self::Csv(csv) => format!("csv{}", csv.compression.extension()),
            Self::Json(json) => match json.layout {
                JsonLayout::Lines => format!("jsonl{}", json.compression.extension()),
                JsonLayout::Array => format!("json{}", json.compression.extension()),
            },
            Self::Parquet(_) => "parquet".to_owned(),
            Self::Arrow(arrow) if arrow.stream => "arrows".to_owned(),
            Self::Arrow(_) => "arrow".to_owned(),
            Self::Delta(_) => "delta".to_owned(),
        }
    }
}

/// How CSV is written.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvWrite {
    /// Write the names as the first row (default true).
    pub header: bool,
    /// One byte between the fields (default `,`).
    pub delimiter: u8,
    /// One byte around fields that need it (default `"`).
    pub quote: u8,
    /// Put every field in quotes that is not null (default false).
    pub quote_all: bool,
    /// What null is written as (default nothing).
    pub null_value: String,
    /// Begin with a byte order mark (default false).
    pub mark: bool,
    /// How dates and timestamps are written, after `strftime` (default ISO 8601).
    pub date_format: Option<String>,
    /// Default: as the name of the file says.
    pub compression: TextCompression,
}

impl Default for CsvWrite {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: b'"',
            quote_all: false,
            null_value: String::new(),
            mark: false,
            date_format: None,
            compression: TextCompression::None,
        }
    }
}

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonWrite {
    /// Default lines.
    pub layout: JsonLayout,
    /// Default: as the name of the file says.
    pub compression: TextCompression,
}

impl Default for JsonWrite {
    fn default() -> Self {
        Self {
            layout: JsonLayout::Lines,
            compression: TextCompression::None,
        }
    }
}

/// How Parquet is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetWrite {
    /// Default Snappy.
    pub compression: Compression,
    /// Rows of a row group at most (default 1,048,576).
    pub row_group_rows: usize,
    /// Least and greatest values for each page and row group (default true).
    pub statistics: bool,
}

impl ParquetWrite {
    /// Rows of a row group, unless told otherwise.
    pub const ROW_GROUP_ROWS: usize = 1_048_576;

    /// With this compression, and the other defaults.
    #[must_use]
    pub fn with(compression: Compression) -> Self {
        Self {
            compression,
            ..Self::default()
        }
    }
}

impl Default for ParquetWrite {
    fn default() -> Self {
        Self {
            compression: Compression::Snappy,
            row_group_rows: Self::ROW_GROUP_ROWS,
            statistics: true,
        }
    }
}

/// Compression inside a Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    None,
    /// Snappy.
    Snappy,
    /// Zstandard, level 3.
    Zstd,
    /// Gzip, level 6.
    Gzip,
    /// LZ4, the raw block format.
    Lz4,
}

/// How Arrow IPC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArrowWrite {
    /// The stream format; otherwise the file format, which is Feather 2 (default).
    pub stream: bool,
    /// Of the buffers (default none).
    pub compression: ArrowCompression,
}

/// Compression inside an Arrow IPC file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArrowCompression {
    /// No compression.
    #[default]
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}
