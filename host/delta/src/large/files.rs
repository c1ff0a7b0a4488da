//! Files of the table: which of them may hold keys of the batch, and their rows, file by file and in their order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt16Type;
use arrow_array::{Array as _, RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{DataType, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::prelude::DataFrame;
use deltalake::delta_datafusion::{FileSelection, MissingSelectedFilePolicy};
use deltalake::kernel::{Action, LogicalFileView};
use futures::StreamExt as _;
use object_store::path::Path;
use odibi_story::failure::Failure;
use url::Url;

use super::Large;
use crate::batch::column;
use crate::failure::{During, Trouble, classify, internal};

/// Column with the file of a row.
const FILE: &str = "__odibi_file";
/// Values of a partition column that are told apart when files are chosen; beyond, only the least and the greatest.
const VALUES_MAX: usize = 1_000;
/// Files of one scan. Planning one reads the list of all files of the table.
const SCANNED_FILES_MAX: usize = 64;

impl Large {
    /// The files that may hold a key of the batch, by their partitions and by the statistics in the log.
    pub(crate) async fn files(&self, rows: &DataFrame) -> Result<Vec<LogicalFileView>, Trouble> {
        let state = self.table.snapshot()?;
        let log = state.log_data();
        let partitions = state.metadata().partition_columns().to_vec();
        let during = During::Write(&self.shown);
        let bounds = self.bounds(rows, &partitions).await;
        let bounds = bounds.map_err(|e| classify(&e, during))?;
        let kept = bounds.and_then(|bounds| {
            let schema = DFSchema::try_from(SchemaRef::clone(&self.columns.table)).ok()?;
            let bounds = self.context.state().create_physical_expr(bounds, &schema);
            let pruning = PruningPredicateBuilder::new()
                .with_file_schema(SchemaRef::clone(&self.columns.table))
                .with_max_in_list_size(VALUES_MAX)
                .try_build(bounds.ok()?);
            pruning.ok()?.prune(&log).ok()
        });
        let all = log.iter();
        Ok(match kept {
            Some(kept) => all
                .zip(kept)
                .filter_map(|(file, kept)| kept.then_some(file))
                .collect(),
            None => all.collect(),
        })
    }

    /// What holds for all rows of the table whose keys are in the batch.
    async fn bounds(&self, rows: &DataFrame, partitions: &[String]) -> PlanResult<Option<Expr>> {
        let (mut terms, mut ranges) = (Vec::new(), Vec::new());
        for key in &self.columns.keys {
            let is_ordered = |data_type: &DataType| {
                data_type.is_signed_integer()
                    || matches!(data_type, DataType::Date32 | DataType::Utf8)
            };
            let field = self.columns.table.fields().find(key);
            if !field.is_some_and(|(_, field)| is_ordered(field.data_type())) {
                continue;
            }
            if partitions.contains(key)
                && let Some(values) = distinct(rows, key).await?
            {
                terms.push((key, column(key).in_list(values, false)));
            } else {
                ranges.push(key);
            }
        }
        if !ranges.is_empty() {
            let ends = ranges.iter().enumerate().flat_map(|(at, key)| {
                [
                    min(column(key)).alias(format!("min{at}")),
                    max(column(key)).alias(format!("max{at}")),
                ]
            });
            let ends = rows.clone().aggregate(Vec::new(), ends.collect())?;
            let ends = ends.collect().await?;
            let Some(ends) = ends.first().filter(|ends| ends.num_rows() == 1) else {
                return Ok(None);
            };
            for (at, key) in ranges.into_iter().enumerate() {
                let least = ScalarValue::try_from_array(ends.column(2 * at), 0)?;
                let greatest = ScalarValue::try_from_array(ends.column(2 * at + 1), 0)?;
                // Nothing but nulls.
                if least.is_null() || greatest.is_null() {
                    return Ok(None);
                }
                let within = column(key).gt_eq(lit(least));
                terms.push((key, within.and(column(key).lt_eq(lit(greatest)))));
            }
        }
        let terms = terms.into_iter().map(|(key, term)| {
            if self.columns.nulls_equal {
                term.or(column(key).is_null())
            } else {
                term
            }
        });
        Ok(terms.reduce(Expr::and))
    }
}

/// The values of a column, unless there are too many of them. Without nulls.
async fn distinct(rows: &DataFrame, name: &str) -> PlanResult<Option<Vec<Expr>>> {
    let values = rows.clone().select(vec![column(name)])?.distinct()?;
    let values = values.limit(0, Some(VALUES_MAX + 1))?.collect().await?;
    let mut all = Vec::new();
    for batch in values {
        for row in 0..batch.num_rows() {
            if batch.column(0).is_valid(row) {
                all.push(lit(ScalarValue::try_from_array(batch.column(0), row)?));
            }
        }
    }
    Ok((all.len() <= VALUES_MAX).then_some(all))
}

/// Rows of one file that follow each other.
pub(super) struct Stretch {
    /// Which file, by its number.
    pub(super) file: usize,
    /// Which row of it is the first of these.
    pub(super) first: u64,
    pub(super) rows: RecordBatch,
}

/// Reads columns of files, one after the other. Twice gives the same rows in the same order, also when some are left out.
pub(super) struct FileRows<'a> {
    large: &'a Large,
    files: &'a [LogicalFileView],
    schema: SchemaRef,
    scans: std::vec::IntoIter<Vec<usize>>,
    open: Option<Scan>,
    ready: VecDeque<Stretch>,
}

/// A scan of some files.
struct Scan {
    stream: SendableRecordBatchStream,
    /// Files of which nothing has come yet, by their paths.
    left: HashMap<String, usize>,
    now: Option<Now>,
    done: HashSet<String>,
}

/// The file that is read.
struct Now {
    name: String,
    /// `None`: nobody asked for it.
    file: Option<usize>,
    rows: u64,
}

impl<'a> FileRows<'a> {
    /// Reads these of the files, and these columns of the table.
    pub(super) fn new(
        large: &'a Large,
        files: &'a [LogicalFileView],
        which: &[usize],
        schema: SchemaRef,
    ) -> Self {
        // Files with deletion vectors are read otherwise, and both at once would mix their rows.
        let (marked, plain): (Vec<usize>, Vec<usize>) = which
            .iter()
            .partition(|file| files[**file].deletion_vector_descriptor().is_some());
        let scans = plain
            .chunks(SCANNED_FILES_MAX)
            .chain(marked.chunks(SCANNED_FILES_MAX));
        let scans: Vec<Vec<usize>> = scans.map(<[usize]>::to_vec).collect();
        Self {
            large,
            files,
            schema,
            scans: scans.into_iter(),
            open: None,
            ready: VecDeque::new(),
        }
    }

    /// The next rows; a file has none that were not asked for.
    pub(super) async fn next(&mut self) -> Result<Option<Stretch>, Failure> {
        let during = During::Write(&self.large.shown);
        loop {
            if let Some(stretch) = self.ready.pop_front() {
                return Ok(Some(stretch));
            }
            self.large.check()?;
            let Some(scan) = &mut self.open else {
                let Some(which) = self.scans.next() else {
                    return Ok(None);
                };
                self.open = Some(self.scan(&which).await?);
                continue;
            };
            let next = scan.stream.next().await.transpose();
            match next.map_err(|e| classify(&e, during))? {
                Some(batch) => self.ready = scan.split(&batch, &self.schema, during)?,
                None => {
                    let left: Vec<usize> = scan.left.values().copied().collect();
                    self.open = None;
                    if left.iter().any(|file| !is_empty(&self.files[*file])) {
                        return Err(internal("rows of a file of the table were not read"));
                    }
                }
            }
        }
    }

    async fn scan(&self, which: &[usize]) -> Result<Scan, Failure> {
        let during = During::Write(&self.large.shown);
        let failed = |e: DataFusionError| classify(&e, during);
        let (mut paths, mut left) = (Vec::new(), HashMap::new());
        for file in which {
            let view = &self.files[*file];
            paths.extend(logged(view)?);
            left.insert(view.object_store_path().to_string(), *file);
        }
        let state = Arc::new(self.large.context.state());
        let table = &self.large.table;
        let registered = table.update_datafusion_session(state.as_ref());
        registered.map_err(|e| classify(&e, during))?;
        // A path that is written in two ways is there in one of them.
        let selection = FileSelection::from_file_paths(paths)
            .with_missing_file_policy(MissingSelectedFilePolicy::Ignore);
        let provider = table
            .table_provider()
            .with_session(state)
            .with_file_column(FILE)
            .with_file_selection(selection);
        let provider = provider.await.map_err(failed)?;
        let names = self.schema.fields().iter().map(|f| f.name().as_str());
        let wanted: Vec<Expr> = names.chain([FILE]).map(column).collect();
        let rows = self.large.context.read_table(provider);
        let rows = rows.and_then(|rows| rows.select(wanted)).map_err(failed)?;
        Ok(Scan {
            stream: rows.execute_stream().await.map_err(failed)?,
            left,
            now: None,
            done: HashSet::new(),
        })
    }
}

impl Scan {
    /// Cuts a batch where another file begins, and gives it the types of the table.
    fn split(
        &mut self,
        batch: &RecordBatch,
        schema: &SchemaRef,
        during: During<'_>,
    ) -> Result<VecDeque<Stretch>, Failure> {
        let failed = |e| classify(&e, during);
        let width = schema.fields().len();
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options);
        let rows = rows.map_err(failed)?;
        let names = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
        let names = cast(batch.column(width), &names).map_err(failed)?;
        let names = names.as_dictionary_opt::<UInt16Type>();
        let names = names.ok_or_else(|| internal("a row of the table is of no file"))?;
        let (keys, texts) = (names.keys().values(), names.values().as_string::<i32>());
        let mut stretches = VecDeque::new();
        let mut start = 0;
        while start < rows.num_rows() {
            let key = keys[start];
            let run = keys[start..].iter().take_while(|k| **k == key).count();
            let now = self.enter(texts.value(usize::from(key)))?;
            let first = now.rows;
            now.rows += run as u64;
            if let Some(file) = now.file {
                stretches.push_back(Stretch {
                    file,
                    first,
                    rows: rows.slice(start, run),
                });
            }
            start += run;
        }
        Ok(stretches)
    }

    /// The file of this name, which is the one that is read or one of which nothing has come yet.
    fn enter(&mut self, name: &str) -> Result<&mut Now, Failure> {
        if self.now.as_ref().is_none_or(|now| now.name != name) {
            if let Some(before) = self.now.take() {
                self.done.insert(before.name);
            }
            if self.done.contains(name) {
                return Err(internal(
                    "the rows of a file of the table do not come together",
                ));
            }
            self.now = Some(Now {
                name: name.to_owned(),
                file: path(name).and_then(|path| self.left.remove(&path)),
                rows: 0,
            });
        }
        let now = self.now.as_mut();
        now.ok_or_else(|| internal("no file of the table is read"))
    }
}

/// Path of a file in the table, from its URL.
fn path(name: &str) -> Option<String> {
    let url = Url::parse(name).ok()?;
    Some(Path::from_url_path(url.path()).ok()?.to_string())
}

/// The path of a file as the log may have it: as delta-rs writes it, and as others may.
fn logged(view: &LogicalFileView) -> Result<Vec<String>, Failure> {
    let remove = serde_json::to_value(Action::from(view.remove_action(true)));
    let remove = remove.map_err(|e| internal(e.to_string()))?;
    let encoded = remove
        .pointer("/remove/path")
        .and_then(|path| path.as_str());
    let encoded = encoded.ok_or_else(|| internal("a file of the table has no path"))?;
    Ok(vec![
        encoded.to_owned(),
        Path::from(&*view.path()).to_string(),
    ])
}

/// Has it certainly no rows?
fn is_empty(view: &LogicalFileView) -> bool {
    let marked = view.deletion_vector_descriptor();
    let deleted = marked.map_or(0, |marked| marked.cardinality);
    view.num_records()
        .is_some_and(|rows| i64::try_from(rows).is_ok_and(|rows| rows == deleted))
}

/// Columns of a schema, by name and in this order; those that it has not are left out.
pub(super) fn projected<'a>(schema: &Schema, names: impl Iterator<Item = &'a String>) -> SchemaRef {
    let fields = names.filter_map(|name| schema.fields().find(name));
    let fields: Vec<_> = fields.map(|(_, field)| Arc::clone(field)).collect();
    Arc::new(Schema::new(fields))
}
