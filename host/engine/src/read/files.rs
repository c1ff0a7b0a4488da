//! The files of a read as one table: found, described, put together, and decoded one after the other.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::take::take;
use odibi_plan::plan::{JsonRead, OnBadRow, Read, ReadFormat, SchemaPolicy};
use odibi_story::event::FileFact;
use odibi_story::failure::{Failure, FailureClass, code};

use super::columns::{Filler, plain_type};
use super::csv::CsvFormat;
use super::unify::{Described, check_declared, declared, unify};
use super::{BadRows, Chunk, Decode, FileDecode, Stop, Wanted, bad_file, check_names};
use super::{arrow, avro, json, parquet};
use crate::failure::{During, changed_meanwhile, classify, internal};
use crate::partition;
use crate::prune::Bound;
use crate::store::{Blob, Store};

/// The files of one `read:`.
#[derive(Debug)]
pub(crate) struct Files {
    store: Arc<dyn Store>,
    format: Format,
    on_bad_row: OnBadRow,
    files: Vec<File>,
    pub(crate) schema: SchemaRef,
}

#[derive(Debug)]
enum Format {
    Csv(Arc<CsvFormat>),
    Json(JsonRead),
    Parquet,
    Arrow,
    Avro,
}

#[derive(Debug)]
struct File {
    path: String,
    /// Which version was described: the batch is named after it.
    version: String,
    /// Columns in the file.
    width: usize,
    /// Where the columns of the table come from.
    origins: Vec<Origin>,
}

#[derive(Debug, Clone)]
enum Origin {
    /// The column at this place in the file.
    Place(usize),
    /// One value for all rows of the file.
    Value(ArrayRef),
    /// The file does not have it.
    Absent,
}

/// Values of the directories of a file.
type Partition = Vec<(String, Option<String>)>;

impl Files {
    /// Opens files and settles their columns. `base` is how many directories of each path are no partitions.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        paths: Vec<String>,
        read: &Read,
        base: Option<usize>,
        stop: Stop<'_>,
    ) -> Result<(Self, Vec<FileFact>), Failure> {
        let types = &read.options.types;
        let format = match &read.format {
            ReadFormat::Csv(options) => Format::Csv(Arc::new(CsvFormat::new(options, types))),
            ReadFormat::Json(options) => Format::Json(options.clone()),
            ReadFormat::Parquet => Format::Parquet,
            ReadFormat::Arrow => Format::Arrow,
            ReadFormat::Avro => Format::Avro,
            ReadFormat::Delta(_) => return Err(internal("no driver reads `delta`")),
        };
        let mut facts = Vec::with_capacity(paths.len());
        let mut described = Vec::with_capacity(paths.len());
        let mut versions = Vec::with_capacity(paths.len());
        for path in &paths {
            let (blob, shown) = (store.open(path)?, store.shown(path));
            versions.push(blob.version().to_owned());
            facts.push(FileFact {
                version: Some(blob.version().to_owned()),
                ..blob.fact().clone()
            });
            let found = match &format {
                Format::Csv(csv) => csv.describe(&blob, &shown, stop)?,
                Format::Json(options) => {
                    json::describe(&blob, &shown, options.clone(), types, stop)?
                }
                Format::Parquet => parquet::describe(&blob, &shown)?,
                Format::Arrow => arrow::describe(&blob, &shown)?,
                Format::Avro => avro::describe(&blob, &shown)?,
            };
            described.push((shown, found));
        }
        let usual = match format {
            Format::Json(_) => SchemaPolicy::UNION,
            Format::Csv(_) | Format::Parquet | Format::Arrow | Format::Avro => SchemaPolicy::STRICT,
        };
        let policy = read.options.schema_policy.unwrap_or(usual);
        let Some(unified) = unify(&described, types, policy)? else {
            return Err(empty(&read.format));
        };
        let mut fields = unified.fields;
        let mut files: Vec<File> = paths
            .into_iter()
            .zip(versions)
            .zip(&described)
            .zip(unified.places)
            .map(|(((path, version), (_, described)), places)| File {
                path,
                version,
                width: match described {
                    Described::Empty => 0,
                    Described::Columns(columns) => columns.len(),
                },
                origins: places
                    .into_iter()
                    .map(|place| place.map_or(Origin::Absent, Origin::Place))
                    .collect(),
            })
            .collect();
        if let Some(base) = base {
            let partitions = partitions(store.as_ref(), &files, base)?;
            add_partitions(&mut fields, &mut files, &partitions, read, store.as_ref())?;
        }
        check_declared(&fields, types)?;
        if fields.is_empty() {
            let shown = described.first().map_or("", |(shown, _)| shown.as_str());
            return Err(bad_file(shown, "it has no columns"));
        }
        // Files that hold nothing at all were looked at.
        files.retain(|file| file.width > 0);
        let this = Self {
            store,
            format,
            on_bad_row: read.format.on_bad_row(),
            files,
            schema: Arc::new(Schema::new(fields)),
        };
        Ok((this, facts))
    }

    /// What becomes of rows that cannot be understood.
    pub(crate) fn on_bad_row(&self) -> OnBadRow {
        self.on_bad_row
    }

    /// Begins to read. Rows that are out of `bounds` may be left out.
    pub(crate) fn decode(
        self: &Arc<Self>,
        needed: &[bool],
        bounds: &Arc<[Bound]>,
        batch_rows: usize,
    ) -> Box<dyn Decode> {
        // Which rows are set aside must not depend on what the steps need.
        let (filler, bounds) = match self.on_bad_row {
            OnBadRow::Fail => (Filler::new(&self.schema, needed), Arc::clone(bounds)),
            OnBadRow::Skip | OnBadRow::Quarantine => {
                let all = vec![true; self.schema.fields().len()];
                (Filler::new(&self.schema, &all), Arc::default())
            }
        };
        Box::new(FilesDecoder {
            files: Arc::clone(self),
            filler,
            bounds,
            batch_rows,
            next_file: 0,
            open: None,
            bad: Vec::new(),
        })
    }

    /// Opens a file again. What was described of another version, and what was told of it, would be wrong.
    fn reopened(&self, file: &File, shown: &str) -> Result<Arc<dyn Blob>, Failure> {
        match self.store.open(&file.path) {
            Ok(blob) if blob.version() == file.version => Ok(blob),
            Ok(_) => Err(changed_meanwhile(shown)),
            Err(failure) if failure.class == FailureClass::Missing => Err(changed_meanwhile(shown)),
            Err(failure) => Err(failure),
        }
    }

    fn open_file(
        &self,
        blob: &Arc<dyn Blob>,
        shown: &str,
        width: usize,
        wanted: Vec<Wanted>,
        bounds: &[(usize, &Bound)],
        batch_rows: usize,
    ) -> Result<Box<dyn FileDecode>, Failure> {
        Ok(match &self.format {
            Format::Csv(csv) => csv.open(blob, shown, width, wanted, batch_rows)?,
            Format::Json(options) => Box::new(json::JsonDecoder::open(
                blob,
                shown,
                options.clone(),
                &wanted,
                batch_rows,
            )?),
            Format::Parquet => Box::new(parquet::ParquetDecoder::open(
                blob, shown, &wanted, bounds, batch_rows,
            )?),
            Format::Arrow => Box::new(arrow::ArrowDecoder::open(blob, shown, &wanted, batch_rows)?),
            Format::Avro => Box::new(avro::AvroDecoder::open(blob, shown, &wanted, batch_rows)?),
        })
    }
}

fn empty(format: &ReadFormat) -> Failure {
    let (message, hint) = match format {
        ReadFormat::Csv(_) => (
            "the CSV input is empty: it has no header row".to_owned(),
            "write at least the header row",
        ),
        ReadFormat::Json(_)
        | ReadFormat::Parquet
        | ReadFormat::Arrow
        | ReadFormat::Avro
        | ReadFormat::Delta(_) => (
            format!("the {} input is empty", format.name().to_uppercase()),
            "write at least one row, so that there are columns",
        ),
    };
    Failure::new(FailureClass::Data, code::READ_EMPTY, message).hint(hint)
}

/// The values in the path of each file, behind its first `base` directories. All files must have the same names.
fn partitions(store: &dyn Store, files: &[File], base: usize) -> Result<Vec<Partition>, Failure> {
    let of = |file: &File| -> Partition {
        let mut parts: Vec<&str> = file.path.split('/').collect();
        parts.pop();
        parts
            .into_iter()
            .skip(base)
            .filter_map(partition::decode)
            .collect()
    };
    let all: Vec<Partition> = files.iter().map(of).collect();
    let names = |partition: &Partition| -> Vec<String> {
        partition.iter().map(|(name, _)| name.clone()).collect()
    };
    let Some(first) = all.first() else {
        return Ok(all);
    };
    for (file, partition) in files.iter().zip(&all) {
        if names(partition) != names(first) {
            let message = format!(
                "`{}` does not lie in directories of the same names as `{}`",
                store.shown(&file.path),
                store.shown(&files[0].path)
            );
            return Err(
                Failure::new(FailureClass::Data, code::READ_SCHEMA_MISMATCH, message)
                    .hint("set `hive_partitioning: false` to read no columns from directories"),
            );
        }
    }
    Ok(all)
}

fn add_partitions(
    fields: &mut Vec<Field>,
    files: &mut [File],
    partitions: &[Partition],
    read: &Read,
    store: &dyn Store,
) -> Result<(), Failure> {
    let Some(first) = partitions.first() else {
        return Ok(());
    };
    for (index, (name, _)) in first.iter().enumerate() {
        let value = |p: &Partition| p[index].1.clone();
        let kinds = partitions
            .iter()
            .map(|p| partition::kind_of(p[index].1.as_deref()))
            .fold(super::value::Kinds::NONE, super::value::Kinds::with);
        let data_type = match read.options.types.get(name) {
            Some(wanted) => declared(*wanted),
            None => kinds.data_type(),
        };
        for (file, partition) in files.iter_mut().zip(partitions) {
            let text: ArrayRef = Arc::new(StringArray::from(vec![value(partition)]));
            let strict = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let array = cast_with_options(&text, &data_type, &strict).map_err(|_| {
                let shown = store.shown(&file.path);
                let what =
                    format!("the directory of `{name}` does not hold a value of type {data_type}");
                bad_file(&shown, &what)
            })?;
            file.origins.push(Origin::Value(array));
        }
        fields.push(Field::new(name, data_type, true));
    }
    let shown = store.shown(&files[0].path);
    check_names(fields.iter().map(|f| f.name().as_str()), &shown).map_err(|failure| {
        failure.hint("a directory has the name of a column; set `hive_partitioning: false`")
    })
}

/// Rows of all files, one after the other.
struct FilesDecoder {
    files: Arc<Files>,
    filler: Filler,
    bounds: Arc<[Bound]>,
    batch_rows: usize,
    next_file: usize,
    open: Option<OpenFile>,
    bad: Vec<BadRows>,
}

struct OpenFile {
    decode: Box<dyn FileDecode>,
    shown: String,
    index: usize,
}

impl FilesDecoder {
    fn open_next(&mut self) -> Result<bool, Failure> {
        let out = |file: &File| {
            self.bounds.iter().any(|bound| {
                matches!(&file.origins[bound.column], Origin::Value(v) if v.is_null(0) || !bound.admits(v, v))
            })
        };
        while self.files.files.get(self.next_file).is_some_and(out) {
            self.next_file += 1;
        }
        let Some(file) = self.files.files.get(self.next_file) else {
            return Ok(false);
        };
        let place = |bound: &'_ Bound| match file.origins[bound.column] {
            Origin::Place(place) => Some(place),
            Origin::Value(_) | Origin::Absent => None,
        };
        let bounds: Vec<(usize, &Bound)> = (self.bounds.iter())
            .filter_map(|bound| Some((place(bound)?, bound)))
            .collect();
        let shown = self.files.store.shown(&file.path);
        let blob = self.files.reopened(file, &shown)?;
        let mut wanted = Vec::new();
        for column in self.filler.wanted() {
            if let Origin::Place(place) = file.origins[column] {
                let field = Arc::clone(&self.filler.schema().fields()[column]);
                wanted.push(Wanted { place, field });
            }
        }
        let decode =
            self.files
                .open_file(&blob, &shown, file.width, wanted, &bounds, self.batch_rows)?;
        self.open = Some(OpenFile {
            decode,
            shown,
            index: self.next_file,
        });
        self.next_file += 1;
        Ok(true)
    }

    fn batch(&mut self, chunk: Chunk, index: usize, shown: &str) -> Result<RecordBatch, Failure> {
        let mut decoded = chunk.arrays.into_iter();
        let mut columns = Vec::new();
        for column in self.filler.wanted() {
            let field = &self.filler.schema().fields()[column];
            columns.push(match &self.files.files[index].origins[column] {
                Origin::Place(_) => {
                    let array = decoded
                        .next()
                        .ok_or_else(|| bad_file(shown, "the file changed while it was read"))?;
                    fit(&array, field, shown)?
                }
                Origin::Value(value) => repeated(value, chunk.rows)?,
                Origin::Absent => new_null_array(field.data_type(), chunk.rows),
            });
        }
        self.filler.fill(columns, chunk.rows)
    }
}

/// One value for so many rows.
fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef, Failure> {
    let places = arrow_array::UInt32Array::from(vec![0_u32; rows]);
    take(value, &places, None).map_err(|e| classify(&e, During::Run))
}

/// A column in the type of the table. Where that is not the type of the file, no value may be lost.
fn fit(array: &ArrayRef, field: &FieldRef, shown: &str) -> Result<ArrayRef, Failure> {
    let wanted = field.data_type();
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let lost = || {
        let what = format!(
            "column `{}` holds something that is not of type {wanted}",
            field.name()
        );
        bad_file(shown, &what).hint("declare another type for it in `schema`")
    };
    let plain = plain_type(array.data_type());
    let array = if &plain == array.data_type() {
        Arc::clone(array)
    } else {
        cast_with_options(array, &plain, &strict).map_err(|e| classify(&e, During::Read(shown)))?
    };
    if &plain == wanted {
        return Ok(array);
    }
    // The error of the library may quote the value.
    let fitted = cast_with_options(&array, wanted, &strict).map_err(|_| lost())?;
    let text = matches!(plain, DataType::Utf8 | DataType::LargeUtf8);
    if !text {
        let back = cast_with_options(&fitted, &plain, &strict).map_err(|_| lost())?;
        if back.to_data() != array.to_data() {
            return Err(lost());
        }
    }
    Ok(fitted)
}

impl Decode for FilesDecoder {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(open) = self.open.as_mut() else {
                continue;
            };
            let Some(mut chunk) = open.decode.next()? else {
                self.open = None;
                continue;
            };
            let (index, shown) = (open.index, open.shown.clone());
            if !chunk.bad.is_empty() {
                self.bad.push(BadRows {
                    path: self.files.files[index].path.clone(),
                    rows: std::mem::take(&mut chunk.bad),
                });
            }
            if chunk.rows > 0 {
                return self.batch(chunk, index, &shown).map(Some);
            }
            if !self.bad.is_empty() {
                return Ok(Some(RecordBatch::new_empty(Arc::clone(&self.files.schema))));
            }
        }
    }

    fn take_bad_rows(&mut self) -> Vec<BadRows> {
        std::mem::take(&mut self.bad)
    }
}
