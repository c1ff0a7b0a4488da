//! Inputs: files of a connection, or the spooled output of an earlier node, as batches in the order of the source.
//!
//! Opening a [`Table`] finds the files and settles the schema; it reads as much as that takes, in constant memory.

pub(crate) mod arrow;
pub(crate) mod avro;
pub(crate) mod columns;
pub(crate) mod csv;
pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod parquet;
pub(crate) mod spool;
pub(crate) mod unify;
pub(crate) mod unpack;
pub(crate) mod value;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, SchemaRef};
use odibi_plan::plan::{OnBadRow, Read, ReadFormat};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use self::files::Files;
use crate::driven;
use crate::driver::{Driver, DriverTable};
use crate::failure::panic_text;
use crate::limits::{COLUMNS_MAX, FILES_MAX};
use crate::prune::Bound;
use crate::store::{Purpose, Store, Stores, join, normal, pattern, with_nearest};
use crate::write::spool::Spool;

/// Says whether to stop.
pub(crate) type Stop<'a> = &'a dyn Fn() -> bool;

/// Reads batches one after the other.
pub(crate) trait Decode: Send {
    /// The next batch, with all columns of the table; `None` at the end.
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure>;

    /// Rows that could not be understood and were set aside since this was last asked.
    fn take_bad_rows(&mut self) -> Vec<BadRows> {
        Vec::new()
    }
}

/// Rows of one file that could not be understood.
#[derive(Debug)]
pub(crate) struct BadRows {
    /// Below the root of the connection.
    pub(crate) path: String,
    pub(crate) rows: Vec<BadRow>,
}

/// A row that could not be understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) line: u64,
    /// What is wrong with it, without its values.
    pub(crate) what: String,
    /// As it stands in the file, more or less.
    pub(crate) text: String,
}

/// Reads the rows of one file.
pub(crate) trait FileDecode: Send {
    /// The next rows; `None` at the end.
    fn next(&mut self) -> Result<Option<Chunk>, Failure>;
}

/// A column that is to be decoded.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its place in the file.
    pub(crate) place: usize,
    /// As it is in the table; a text format decodes to this type, others leave theirs.
    pub(crate) field: FieldRef,
}

/// Some rows of a file: the wanted columns, in their order.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) arrays: Vec<ArrayRef>,
    pub(crate) rows: usize,
    /// Set aside among them.
    pub(crate) bad: Vec<BadRow>,
}

impl Chunk {
    pub(crate) fn new(arrays: Vec<ArrayRef>, rows: usize) -> Self {
        Self {
            arrays,
            rows,
            bad: Vec::new(),
        }
    }
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
    Files(Arc<Files>, &'static str),
    Spool(Arc<Spool>),
    Driver(Arc<dyn DriverTable>),
}

impl Table {
    /// Finds the files of a `read:` and settles their schema.
    pub(crate) fn open(read: &Read, stores: &Stores, stop: Stop<'_>) -> Result<Self, Failure> {
        let store = stores.open(&read.connection, Purpose::Read)?;
        let found = find(store.as_ref(), read)?;
        let (files, facts) = Files::open(store, found.paths, read, found.base, stop)?;
        Ok(Self {
            schema: Arc::clone(&files.schema),
            files: facts,
            source: Source::Files(Arc::new(files), read.format.name()),
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
            Source::Files(_, _) => {
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
            Source::Files(_, name) => name,
            Source::Spool(_) => "node",
            Source::Driver(_) => "table",
        }
    }

    /// What becomes of rows that cannot be understood.
    pub(crate) fn on_bad_row(&self) -> OnBadRow {
        match &self.source {
            Source::Files(files, _) => files.on_bad_row(),
            Source::Spool(_) | Source::Driver(_) => OnBadRow::Fail,
        }
    }

    /// Begins to read. Columns that are not `needed` are not decoded and come as nulls, if they may be null; rows that are
    /// out of `bounds` may be left out.
    pub(crate) fn decode(
        &self,
        needed: &[bool],
        bounds: &Arc<[Bound]>,
        batch_rows: usize,
    ) -> Result<Box<dyn Decode>, Failure> {
        Ok(match &self.source {
            Source::Files(files, _) => files.decode(needed, bounds, batch_rows),
            Source::Spool(spool) => {
                let filler = columns::Filler::new(&self.schema, needed);
                Box::new(spool::SpoolDecoder::new(Arc::clone(spool), filler)?)
            }
            Source::Driver(table) => {
                let filler = columns::Filler::new(&self.schema, needed);
                Box::new(driven::DriverDecoder::new(
                    table.as_ref(),
                    filler,
                    bounds,
                    batch_rows,
                )?)
            }
        })
    }
}

/// The files that a read names.
struct Found {
    paths: Vec<String>,
    /// How many directories of each path are no partitions; `None` when none is one.
    base: Option<usize>,
}

/// A path names a file, a pattern of files, or a directory and all files below it.
fn find(store: &dyn Store, read: &Read) -> Result<Found, Failure> {
    let path = normal(&read.path, Purpose::Read)?;
    let hive = read.options.hive_partitioning;
    let base = || hive.unwrap_or_default().then_some(0);
    if pattern::is_pattern(&path) {
        let paths = pattern::expand(store, &path)?;
        return Ok(Found {
            paths,
            base: base(),
        });
    }
    let at = match store.stat(&path) {
        Ok(at) => at,
        // It may be a directory; a file that is none is refused when it is opened.
        Err(failure) if failure.code == code::READ_BAD_FILE.name => None,
        Err(failure) => return Err(failure),
    };
    let is_dir = at.is_none() && !store.children(&path)?.is_empty();
    if !is_dir {
        let paths = vec![path];
        return Ok(Found {
            paths,
            base: base(),
        });
    }
    let visible = |found: &str| {
        let below = &found[path.len()..];
        !below
            .split('/')
            .any(|part| part.starts_with('.') || part.starts_with('_'))
    };
    let listed = store.list(&path)?;
    let paths: Vec<String> = listed
        .into_iter()
        .map(|stat| stat.path)
        .filter(|found| visible(found))
        .collect();
    if paths.is_empty() {
        let message = format!("the directory `{}` holds no files", store.shown(&path));
        let failure = Failure::new(FailureClass::Missing, code::READ_MISSING, message);
        return Err(with_nearest(store, failure, &join(&path, "*")));
    }
    if paths.len() > FILES_MAX {
        let message = format!("`{}` holds too many files", store.shown(&path));
        let failure = Failure::new(FailureClass::Limit, code::READ_TOO_LARGE, message);
        return Err(failure.of_limit("files", FILES_MAX as u64, paths.len() as u64));
    }
    let base = match hive {
        Some(true) => Some(0),
        Some(false) => None,
        None => Some(path.split('/').count()),
    };
    Ok(Found { paths, base })
}

/// The columns of a `read:`. `None` when they can only be told by reading more than `scan_bytes_max`, or by a driver that is
/// not among these.
///
/// # Errors
/// As a run would fail that reads it.
pub fn schema_of(
    read: &Read,
    project_dir: &Path,
    scan_bytes_max: u64,
    drivers: &[Arc<dyn Driver>],
) -> Result<Option<SchemaRef>, Failure> {
    let scans = match &read.format {
        ReadFormat::Csv(options) => options.infer_rows.is_none(),
        ReadFormat::Json(_) => true,
        ReadFormat::Parquet | ReadFormat::Arrow | ReadFormat::Avro | ReadFormat::Delta(_) => false,
    };
    if let Some(word) = driven::read_word(&read.format) {
        let driver = drivers.iter().find(|driver| driver.format() == word);
        return match driver {
            Some(driver) => driven::schema_of(driver, read, project_dir).map(Some),
            None => Ok(None),
        };
    }
    let stores = Stores::new(project_dir, std::env::temp_dir());
    if scans {
        let store = stores.open(&read.connection, Purpose::Read)?;
        let mut bytes = 0_u64;
        for path in find(store.as_ref(), read)?.paths {
            bytes = bytes.saturating_add(store.open(&path)?.len());
        }
        if bytes > scan_bytes_max {
            return Ok(None);
        }
    }
    Table::open(read, &stores, &|| false).map(|table| Some(table.schema))
}

/// A decoder of a library panics on some damaged files.
pub(crate) fn guarded<T>(
    shown: &str,
    read: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(bad_file(shown, "the file is damaged").cause(panic_text(panic.as_ref())))
    })
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
    .own_message(format!("bad row in `{shown}`, line {line}"))
}

/// The failure of a file that is not what it should be.
pub(crate) fn bad_file(shown: &str, what: &str) -> Failure {
    Failure::new(
        FailureClass::Data,
        code::READ_BAD_FILE,
        format!("cannot read `{shown}`: {what}"),
    )
    .own_message(format!("cannot read `{shown}`"))
}
