//! Rows of both sides on disk, by the hash of their keys.

use std::cell::Cell;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, BinaryArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use odibi_story::failure::Failure;

use super::held::Loaded;
use super::{Keyed, KeyedRows, Stream, Workspace};
use crate::failure::{During, classify, internal};
use crate::parts::{Divider, PartRows, Parts, part_of};

/// Buckets at most.
const BUCKETS_MAX: u64 = 256;
/// Bytes that all buckets of a side collect before they are written.
const COLLECTED_BYTES: usize = 8 * 1024 * 1024;
/// Columns added for the way over the disk.
const KEY: &str = "odibi:key";
const ORDER: &str = "odibi:order";

/// How many buckets, so that a bucket of the batch takes about half of the memory.
pub(super) fn count(bytes: u64, bytes_max: usize) -> usize {
    let each = (bytes_max as u64 / 2).max(1);
    let wanted = bytes.div_ceil(each).clamp(2, BUCKETS_MAX);
    usize::try_from(wanted).unwrap_or(2)
}

/// Both sides, divided.
pub(super) struct Divided {
    batch: Parts,
    existing: Parts,
}

/// Divides what is loaded already, the rest of the batch, and the target.
pub(super) fn divide(
    loaded: Loaded,
    batch: &mut dyn KeyedRows,
    existing: Option<&mut dyn KeyedRows>,
    parts: usize,
    work: &Workspace<'_>,
) -> Result<Divided, Failure> {
    let nulls = Cell::new(0);
    let mut divider = Divider::new(&work.scratch, parts, COLLECTED_BYTES)?;
    for keyed in loaded.chunks {
        push(&mut divider, &keyed, parts, &nulls)?;
    }
    while let Some(keyed) = batch.next()? {
        work.check()?;
        push(&mut divider, &keyed, parts, &nulls)?;
    }
    let batch = divider.finish()?;
    let mut divider = Divider::new(&work.scratch, parts, COLLECTED_BYTES)?;
    if let Some(existing) = existing {
        while let Some(keyed) = existing.next()? {
            work.check()?;
            push(&mut divider, &keyed, parts, &nulls)?;
        }
    }
    let existing = divider.finish()?;
    Ok(Divided { batch, existing })
}

impl Divided {
    /// One bucket of the batch.
    pub(super) fn batch(&self, at: usize) -> Result<Loaded, Failure> {
        let mut loaded = Loaded::default();
        let mut source = Bucket(self.batch.part(at));
        while let Some(keyed) = source.next()? {
            loaded.push(keyed);
        }
        Ok(loaded)
    }

    /// One bucket of the target.
    pub(super) fn existing(&self, at: usize) -> impl Stream {
        Bucket(self.existing.part(at))
    }
}

struct Bucket(PartRows);

impl Stream for Bucket {
    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        self.0.next().map(|batch| unpacked(&batch?)).transpose()
    }
}

/// Rows without a key equal nothing, so any bucket will do; one for all of them would be too large.
fn push(
    divider: &mut Divider,
    keyed: &Keyed,
    parts: usize,
    nulls: &Cell<usize>,
) -> Result<(), Failure> {
    divider.push(&packed(keyed)?, |row| {
        if keyed.keys.is_null(row) {
            nulls.set(nulls.get() + 1);
            nulls.get() % parts
        } else {
            part_of(keyed.keys.value(row), parts)
        }
    })
}

fn packed(keyed: &Keyed) -> Result<RecordBatch, Failure> {
    let mut fields: Vec<_> = keyed.rows.schema().fields().iter().cloned().collect();
    let mut columns: Vec<ArrayRef> = keyed.rows.columns().to_vec();
    fields.push(Arc::new(Field::new(KEY, DataType::Binary, true)));
    columns.push(Arc::new(keyed.keys.clone()));
    if let Some(order) = &keyed.order {
        fields.push(Arc::new(Field::new(ORDER, DataType::Binary, true)));
        columns.push(Arc::new(order.clone()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| classify(&e, During::Run))
}

fn unpacked(batch: &RecordBatch) -> Result<Keyed, Failure> {
    let schema = batch.schema();
    let binary = |column: &ArrayRef| column.as_any().downcast_ref::<BinaryArray>().cloned();
    let ordered = schema.fields().last().is_some_and(|f| f.name() == ORDER);
    let width = batch.num_columns() - 1 - usize::from(ordered);
    let fields: Vec<_> = schema.fields().iter().take(width).cloned().collect();
    let plain: SchemaRef = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(plain, batch.columns()[..width].to_vec());
    let keys = binary(batch.column(width)).ok_or_else(|| internal("a bucket has no keys"))?;
    Ok(Keyed {
        rows: rows.map_err(|e| classify(&e, During::Run))?,
        order: if ordered {
            binary(batch.column(width + 1))
        } else {
            None
        },
        keys,
    })
}
