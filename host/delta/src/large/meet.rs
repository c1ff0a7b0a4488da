//! Both sides by the hash of their keys, part by part: which rows of the batch meet which rows of the table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_array::{Array as _, ArrayRef, BinaryArray, RecordBatch, UInt64Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use datafusion::prelude::DataFrame;
use deltalake::kernel::LogicalFileView;
use futures::StreamExt as _;
use odibi_engine::parts::{Divider, Parts, part_of};
use odibi_story::failure::Failure;

use super::files::{FileRows, projected};
use super::places::{PLACE, Placed, Placing};
use super::{Large, PARTS_MAX, ROW_BYTES};
use crate::batch::bytes_of;
use crate::failure::{During, Trouble, classify, internal};

/// Column of keys.
const KEY: &str = "odibi:key";

/// What came of it.
pub(super) struct Met {
    pub(super) files: Vec<LogicalFileView>,
    /// Of each file.
    pub(super) extents: Vec<Extent>,
    /// Rows of the batch that have the key of a row of the table, at its place; none unless rows are updated.
    pub(super) matched: Placed,
    /// The other rows, in the order of the batch.
    pub(super) new: Placed,
    pub(super) rows_batch: u64,
    pub(super) rows_new: u64,
}

/// Where the rows of a file are among those of all files.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) rows: u64,
    /// A row of the batch has the key of one of these.
    pub(super) is_met: bool,
}

/// Divides both sides and lets them meet.
pub(super) async fn meet(
    large: &Large,
    rows: DataFrame,
    files: Vec<LogicalFileView>,
) -> Result<Met, Trouble> {
    let bytes = large.size.bytes + ROW_BYTES * large.size.rows;
    let parts = bytes.div_ceil(large.part_bytes()).clamp(1, PARTS_MAX);
    let parts = usize::try_from(parts).unwrap_or(1);
    let (batch, rows_batch) = divide_batch(large, rows, parts).await?;
    let (table, mut extents, rows_table) = divide_table(large, &files, parts).await?;
    let mut meeting = Meeting {
        large,
        width: large.columns.batch.fields().len(),
        // Rows that are left out need no place.
        matched: Placing::new(large, if large.columns.updates { rows_table } else { 0 })?,
        new: Placing::new(large, rows_batch)?,
        rows_new: 0,
        starts: starts(&extents),
        extents: &mut extents,
    };
    for at in 0..parts {
        meeting.part(&batch, &table, at)?;
    }
    let rows_new = meeting.rows_new;
    Ok(Met {
        matched: meeting.matched.finish()?,
        new: meeting.new.finish()?,
        extents,
        files,
        rows_batch,
        rows_new,
    })
}

/// The batch: its columns, the key, and which row it is.
async fn divide_batch(
    large: &Large,
    rows: DataFrame,
    parts: usize,
) -> Result<(Parts, u64), Trouble> {
    let during = During::Write(&large.shown);
    let keys = KeyMaker::new(large, &large.columns.batch)?;
    let schema = with_key_and_place(large.columns.batch.fields().to_vec());
    let mut divider = Divider::new(&large.lent.scratch_dir, parts, large.collected_bytes())?;
    let mut place = 0;
    let stream = rows.execute_stream().await;
    let mut stream = stream.map_err(|e| classify(&e, during))?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| classify(&e, during))?;
        large.check()?;
        let made = keys.make(&batch)?;
        let end = place + batch.num_rows() as u64;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(made.clone()));
        columns.push(Arc::new(UInt64Array::from_iter_values(place..end)));
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns);
        let rows = rows.map_err(|e| internal(e.to_string()))?;
        divider.push(&rows, |row| part(&made, row, place, parts))?;
        place = end;
    }
    Ok((divider.finish()?, place))
}

/// The table: keys, and which row of all it is.
async fn divide_table(
    large: &Large,
    files: &[LogicalFileView],
    parts: usize,
) -> Result<(Parts, Vec<Extent>, u64), Trouble> {
    let key_columns = projected(&large.columns.table, large.columns.keys.iter());
    let keys = KeyMaker::new(large, &key_columns)?;
    let schema = with_key_and_place(Vec::new());
    let mut divider = Divider::new(&large.lent.scratch_dir, parts, large.collected_bytes())?;
    let mut extents = vec![Extent::default(); files.len()];
    let all: Vec<usize> = (0..files.len()).collect();
    let mut rows = FileRows::new(large, files, &all, key_columns);
    let mut place = 0;
    while let Some(stretch) = rows.next().await? {
        let extent = &mut extents[stretch.file];
        if stretch.first == 0 {
            extent.start = place;
        }
        let end = place + stretch.rows.num_rows() as u64;
        extent.rows = end - extent.start;
        let made = keys.make(&stretch.rows)?;
        let places = UInt64Array::from_iter_values(place..end);
        let columns: Vec<ArrayRef> = vec![Arc::new(made.clone()), Arc::new(places)];
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns);
        let rows = rows.map_err(|e| internal(e.to_string()))?;
        divider.push(&rows, |row| part(&made, row, place, parts))?;
        place = end;
    }
    Ok((divider.finish()?, extents, place))
}

/// The part of a row. One without a key meets none, wherever it is; `place` is that of the first row.
fn part(keys: &BinaryArray, row: usize, place: u64, parts: usize) -> usize {
    if keys.is_null(row) {
        let at = (place + row as u64) % (parts as u64).max(1);
        usize::try_from(at).unwrap_or_default()
    } else {
        part_of(keys.value(row), parts)
    }
}

fn with_key_and_place(mut fields: Vec<Arc<Field>>) -> SchemaRef {
    fields.push(Arc::new(Field::new(KEY, DataType::Binary, true)));
    fields.push(Arc::new(Field::new(PLACE, DataType::UInt64, false)));
    Arc::new(Schema::new(fields))
}

struct Meeting<'a> {
    large: &'a Large,
    /// Columns of the batch; key and place come behind them.
    width: usize,
    matched: Placing,
    new: Placing,
    rows_new: u64,
    /// Where the rows of files begin, ascending.
    starts: Vec<(u64, usize)>,
    extents: &'a mut [Extent],
}

impl Meeting<'_> {
    /// One part: the rows of the batch in memory, those of the table past them.
    fn part(&mut self, batch: &Parts, table: &Parts, at: usize) -> Result<(), Failure> {
        let reservation = self.large.reservation();
        let mut chunks = Vec::new();
        for chunk in batch.part(at) {
            let chunk = chunk?;
            let bytes = bytes_of(&chunk) + ROW_BYTES * chunk.num_rows() as u64;
            reservation.grow(usize::try_from(bytes).unwrap_or(0));
            chunks.push(chunk);
        }
        let rows = chunks.iter().map(RecordBatch::num_rows).sum();
        let mut index: HashMap<&[u8], (usize, usize)> = HashMap::with_capacity(rows);
        for (chunk, rows) in chunks.iter().enumerate() {
            let keys = binary(rows, self.width)?;
            for row in 0..keys.len() {
                if keys.is_valid(row) && index.insert(keys.value(row), (chunk, row)).is_some() {
                    return Err(internal("two rows of a batch have one key"));
                }
            }
        }
        let mut met: Vec<Vec<bool>> = chunks.iter().map(|c| vec![false; c.num_rows()]).collect();
        for rows in table.part(at) {
            self.large.check()?;
            let rows = rows?;
            let (keys, places) = (binary(&rows, 0)?, numbers(&rows, 1)?);
            let (mut picks, mut found) = (Vec::new(), Vec::new());
            for row in 0..rows.num_rows() {
                let pick = keys.is_valid(row).then(|| index.get(keys.value(row)));
                let Some(pick) = pick.flatten().copied() else {
                    continue;
                };
                met[pick.0][pick.1] = true;
                if self.large.columns.updates {
                    picks.push(pick);
                    found.push(places.value(row));
                }
            }
            if !picks.is_empty() {
                self.note(&found);
                let columns = self.picked(&chunks, &picks)?;
                self.matched.push(columns, UInt64Array::from(found))?;
            }
        }
        let new = met.iter().enumerate().flat_map(|(chunk, met)| {
            let rows = met.iter().enumerate().filter(|(_, met)| !**met);
            rows.map(move |(row, _)| (chunk, row))
        });
        let new: Vec<(usize, usize)> = new.collect();
        self.rows_new += new.len() as u64;
        for picks in new.chunks(self.large.lent.batch_rows.max(1)) {
            self.large.check()?;
            let columns = self.picked(&chunks, picks)?;
            let each = picks.iter().map(|(chunk, row)| {
                let places = numbers(&chunks[*chunk], self.width + 1)?;
                Ok(places.value(*row))
            });
            let each: Vec<u64> = each.collect::<Result<_, Failure>>()?;
            self.new.push(columns, UInt64Array::from(each))?;
        }
        Ok(())
    }

    /// Columns of the batch.
    fn picked(
        &self,
        chunks: &[RecordBatch],
        picks: &[(usize, usize)],
    ) -> Result<Vec<ArrayRef>, Failure> {
        let columns = (0..self.width).map(|column| {
            let values = chunks.iter().map(|rows| rows.column(column).as_ref());
            interleave(&values.collect::<Vec<_>>(), picks)
        });
        let columns: Result<_, _> = columns.collect();
        columns.map_err(|e| classify(&e, During::Write(&self.large.shown)))
    }

    /// Which files have rows at these places.
    fn note(&mut self, places: &[u64]) {
        let mut within = 0..0;
        for place in places {
            if within.contains(place) {
                continue;
            }
            let behind = self.starts.partition_point(|(start, _)| start <= place);
            if let Some((start, file)) = behind.checked_sub(1).map(|at| self.starts[at]) {
                let extent = &mut self.extents[file];
                extent.is_met = true;
                within = start..start + extent.rows;
            }
        }
    }
}

fn starts(extents: &[Extent]) -> Vec<(u64, usize)> {
    let filled = extents
        .iter()
        .enumerate()
        .filter(|(_, extent)| extent.rows > 0);
    let mut starts: Vec<_> = filled.map(|(file, extent)| (extent.start, file)).collect();
    starts.sort_unstable();
    starts
}

fn binary(rows: &RecordBatch, column: usize) -> Result<&BinaryArray, Failure> {
    let keys = rows.column(column).as_binary_opt::<i32>();
    keys.ok_or_else(|| internal("a divided row has no key"))
}

fn numbers(rows: &RecordBatch, column: usize) -> Result<&UInt64Array, Failure> {
    let places = rows.column(column).as_primitive_opt::<UInt64Type>();
    places.ok_or_else(|| internal("a divided row has no place"))
}

/// Makes bytes that are equal exactly when the keys are. Null: it equals nothing.
struct KeyMaker {
    columns: Vec<usize>,
    converter: RowConverter,
    nulls_equal: bool,
    shown: String,
}

impl KeyMaker {
    /// For rows of this schema.
    fn new(large: &Large, schema: &Schema) -> Result<Self, Failure> {
        let (mut columns, mut sorts) = (Vec::new(), Vec::new());
        for key in &large.columns.keys {
            let Some((at, field)) = schema.fields().find(key) else {
                return Err(internal("a key is no column"));
            };
            columns.push(at);
            sorts.push(SortField::new(field.data_type().clone()));
        }
        let converter = RowConverter::new(sorts);
        Ok(Self {
            columns,
            converter: converter.map_err(|e| classify(&e, During::Write(&large.shown)))?,
            nulls_equal: large.columns.nulls_equal,
            shown: large.shown.clone(),
        })
    }

    fn make(&self, rows: &RecordBatch) -> Result<BinaryArray, Failure> {
        let columns = self.columns.iter().map(|at| Arc::clone(rows.column(*at)));
        let columns: Vec<ArrayRef> = columns.collect();
        let converted = self.converter.convert_columns(&columns);
        let converted = converted.map_err(|e| classify(&e, During::Write(&self.shown)))?;
        let mut made = BinaryBuilder::with_capacity(rows.num_rows(), rows.num_rows() * 16);
        for row in 0..rows.num_rows() {
            if !self.nulls_equal && columns.iter().any(|column| column.is_null(row)) {
                made.append_null();
            } else {
                made.append_value(converted.row(row).data());
            }
        }
        Ok(made.finish())
    }
}
