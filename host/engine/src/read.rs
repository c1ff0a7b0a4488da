//! Inputs: files of a connection, or the spooled output of an earlier node, as batches in the order of the source.
//!
//! Opening a [`Table`] finds the files and settles the schema; it reads as much as that takes, in constant memory.

pub(crate) mod columns;
pub(crate) mod csv;
pub(crate) mod jsonl;
pub(crate) mod parquet;
pub(crate) mod spool;
pub(crate) mod value;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use odibi_plan::plan::{Read, ReadFormat};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use crate::driven;
use crate::driver::DriverTable;
use crate::limits::COLUMNS_MAX;
use crate::store::{Purpose, Stores, normal, pattern};
use crate::write::spool::Spool;

/// Says whether to stop.
pub(crate) type Stop<'a> = &'a dyn Fn() -> bool;

/// Reads batches one after the other.
pub(crate) trait Decode: Send {
    /// The next batch, with all columns of the table; `None` at the end.
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure>;
}

/// An input whose schema is known.
#[derive(Debug)]
pub(crate) struct Table {
    /// All columns. Text is `Utf8`, never a view.
    pub(crate) schema: SchemaRef,
    /// Files behind it; none for the output of a node.
    pub(crate) files: Vec<FileFact>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Csv(Arc<csv::CsvFiles>),
    JsonLines(Arc<jsonl::JsonFiles>),
    Parquet(Arc<parquet::ParquetFiles>),
    Spool(Arc<Spool>),
    Driver(Arc<dyn DriverTable>),
}

impl Table {
    /// Finds the files of a `read:` and settles their schema.
    pub(crate) fn open(read: &Read, stores: &Stores, stop: Stop<'_>) -> Result<Self, Failure> {
        let path = normal(&read.path, Purpose::Read)?;
        let store = stores.open(&read.connection, Purpose::Read)?;
        let paths = pattern::expand(store.as_ref(), &path)?;
        let mut files = Vec::with_capacity(paths.len());
        for path in &paths {
            files.push(store.open(path)?.fact().clone());
        }
        let (schema, source) = match &read.format {
            ReadFormat::Csv(options) => {
                let (schema, csv) = csv::CsvFiles::open(store, paths, options, stop)?;
                (schema, Source::Csv(Arc::new(csv)))
            }
            ReadFormat::JsonLines => {
                let (schema, json) = jsonl::JsonFiles::open(store, paths, stop)?;
                (schema, Source::JsonLines(Arc::new(json)))
            }
            ReadFormat::Parquet => {
                let (schema, parquet) = parquet::ParquetFiles::open(store, paths)?;
                (schema, Source::Parquet(Arc::new(parquet)))
            }
            ReadFormat::Delta(_) => {
                return Err(crate::failure::internal("no driver reads `delta`"));
            }
        };
        Ok(Self {
            schema,
            files,
            source,
        })
    }

    /// The output of an earlier node.
    pub(crate) fn of_spool(spool: Arc<Spool>) -> Self {
        let schema = Arc::clone(spool.schema());
        Self {
            schema,
            files: Vec::new(),
            source: Source::Spool(spool),
        }
    }

    /// A table that a driver reads.
    pub(crate) fn of_driver(table: Arc<dyn DriverTable>) -> Self {
        Self {
            schema: columns::plain_schema(table.schema()),
            files: table.facts(),
            source: Source::Driver(table),
        }
    }

    /// Words that change when its rows may have.
    pub(crate) fn identity(&self) -> String {
        match &self.source {
            Source::Spool(spool) => spool.batch().to_owned(),
            Source::Driver(table) => table.version(),
            Source::Csv(_) | Source::JsonLines(_) | Source::Parquet(_) => {
                let file = |f: &FileFact| {
                    let modified = f.modified.map(|at| at.to_string()).unwrap_or_default();
                    format!("{}:{} {} {modified}", f.connection, f.path, f.bytes)
                };
                self.files.iter().map(file).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// What it is, for plans shown to people.
    pub(crate) fn format(&self) -> &'static str {
        match &self.source {
            Source::Csv(_) => "csv",
            Source::JsonLines(_) => "json lines",
            Source::Parquet(_) => "parquet",
            Source::Spool(_) => "node",
            Source::Driver(_) => "table",
        }
    }

    /// Begins to read. Columns that are not `needed` are not decoded and come as nulls, if they may be null.
    pub(crate) fn decode(
        &self,
        needed: &[bool],
        batch_rows: usize,
    ) -> Result<Box<dyn Decode>, Failure> {
        let filler = columns::Filler::new(&self.schema, needed);
        Ok(match &self.source {
            Source::Csv(files) => {
                Box::new(csv::CsvDecoder::new(Arc::clone(files), filler, batch_rows))
            }
            Source::JsonLines(files) => Box::new(jsonl::JsonDecoder::new(
                Arc::clone(files),
                filler,
                batch_rows,
            )?),
            Source::Parquet(files) => Box::new(parquet::ParquetDecoder::new(
                Arc::clone(files),
                filler,
                batch_rows,
            )),
            Source::Spool(spool) => Box::new(spool::SpoolDecoder::new(Arc::clone(spool), filler)?),
            Source::Driver(table) => Box::new(driven::DriverDecoder::new(
                table.as_ref(),
                filler,
                batch_rows,
            )?),
        })
    }
}

/// The columns of a `read:`. `None` when they can only be told by reading more than `scan_bytes_max`.
///
/// # Errors
/// As a run would fail that reads it.
pub fn schema_of(
    read: &Read,
    project_dir: &Path,
    scan_bytes_max: u64,
) -> Result<Option<SchemaRef>, Failure> {
    let scans = match &read.format {
        ReadFormat::Csv(options) => options.infer_rows.is_none(),
        ReadFormat::JsonLines => true,
        ReadFormat::Parquet | ReadFormat::Delta(_) => false,
    };
    if driven::read_word(&read.format).is_some() {
        return Ok(None);
    }
    let stores = Stores::new(project_dir);
    if scans {
        let path = normal(&read.path, Purpose::Read)?;
        let store = stores.open(&read.connection, Purpose::Read)?;
        let mut bytes = 0_u64;
        for path in pattern::expand(store.as_ref(), &path)? {
            bytes = bytes.saturating_add(store.open(&path)?.len());
        }
        if bytes > scan_bytes_max {
            return Ok(None);
        }
    }
    Table::open(read, &stores, &|| false).map(|table| Some(table.schema))
}

/// Refuses names that occur twice and files with too many columns.
pub(crate) fn check_names<'a>(
    names: impl Iterator<Item = &'a str>,
    shown: &str,
) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let message = format!("`{shown}` has two columns of one name: `{name}`");
            return Err(
                Failure::new(FailureClass::Data, code::READ_DUPLICATE_COLUMN, message)
                    .hint("rename one of them at its source"),
            );
        }
    }
    if seen.len() > COLUMNS_MAX {
        let message = format!("`{shown}` has too many columns: {}", seen.len());
        return Err(
            Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message).of_limit(
                "columns",
                COLUMNS_MAX as u64,
                seen.len() as u64,
            ),
        );
    }
    Ok(())
}

/// The failure of a row: file, line, and what is wrong with it, without its values.
pub(crate) fn bad_row(shown: &str, line: u64, what: &str) -> Failure {
    Failure::new(
        FailureClass::Data,
        code::READ_BAD_ROW,
        format!("bad row in `{shown}`, line {line}: {what}"),
    )
}

/// The failure of a file that is not what it should be.
pub(crate) fn bad_file(shown: &str, what: &str) -> Failure {
    Failure::new(
        FailureClass::Data,
        code::READ_BAD_FILE,
        format!("cannot read `{shown}`: {what}"),
    )
}

/// Says what a text file is when its first bytes show that it is none.
pub(crate) fn sniff(shown: &str, head: &[u8]) -> Result<(), Failure> {
    let (what, hint) = match head {
        [0x1f, 0x8b, ..] => ("it is compressed with gzip", "decompress it first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("it is compressed with zstd", "decompress it first"),
        [b'P', b'K', 3, 4, ..] => ("it is a zip archive", "unpack it first"),
        [b'P', b'A', b'R', b'1', ..] => ("it is a Parquet file", "set `format: parquet`"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("it is UTF-16 text", "save it as UTF-8"),
        _ => return Ok(()),
    };
    Err(bad_file(shown, what).hint(hint))
}
