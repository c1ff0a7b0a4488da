//! Rows of both sides on disk, by the hash of their keys.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, BinaryArray, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use odibi_story::failure::Failure;

use super::held::Loaded;
use super::{Keyed, KeyedRows, Stream, Workspace};
use crate::exec::bucket::spill::{Segment, SegmentReader, SpillFile};
use crate::failure::{During, classify, internal};

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
    batch: Side,
    existing: Side,
}

struct Side {
    file: Arc<File>,
    segments: Vec<Vec<Segment>>,
}

/// Divides what is loaded already, the rest of the batch, and the target.
pub(super) fn divide(
    loaded: Loaded,
    batch: &mut dyn KeyedRows,
    existing: Option<&mut dyn KeyedRows>,
    parts: usize,
    work: &Workspace<'_>,
) -> Result<Divided, Failure> {
    let mut writer = Writer::new(&work.scratch, parts)?;
    for keyed in loaded.chunks {
        writer.push(&keyed)?;
    }
    while let Some(keyed) = batch.next()? {
        work.check()?;
        writer.push(&keyed)?;
    }
    let batch = writer.finish()?;
    let mut writer = Writer::new(&work.scratch, parts)?;
    if let Some(existing) = existing {
        while let Some(keyed) = existing.next()? {
            work.check()?;
            writer.push(&keyed)?;
        }
    }
    let existing = writer.finish()?;
    Ok(Divided { batch, existing })
}

impl Divided {
    /// One bucket of the batch.
    pub(super) fn batch(&mut self, at: usize) -> Result<Loaded, Failure> {
        let mut loaded = Loaded::default();
        let mut source = self.batch.bucket(at);
        while let Some(keyed) = source.next()? {
            loaded.push(keyed);
        }
        Ok(loaded)
    }

    /// One bucket of the target.
    pub(super) fn existing(&mut self, at: usize) -> Result<impl Stream, Failure> {
        Ok(self.existing.bucket(at))
    }
}

impl Side {
    fn bucket(&mut self, at: usize) -> Bucket {
        let segments = std::mem::take(&mut self.segments[at]);
        Bucket {
            file: Arc::clone(&self.file),
            segments: segments.into_iter(),
            open: None,
        }
    }
}

struct Bucket {
    file: Arc<File>,
    segments: std::vec::IntoIter<Segment>,
    open: Option<SegmentReader>,
}

impl Stream for Bucket {
    fn next(&mut self) -> Result<Option<Keyed>, Failure> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return unpacked(&batch?).map(Some);
            }
            let Some(segment) = self.segments.next() else {
                return Ok(None);
            };
            self.open = SegmentReader::open(&self.file, segment)?;
        }
    }
}

struct Writer {
    spill: SpillFile,
    segments: Vec<Vec<Segment>>,
    collected: Vec<Vec<RecordBatch>>,
    bytes: usize,
    /// Rows without a key so far.
    nulls: usize,
}

impl Writer {
    fn new(scratch: &Path, parts: usize) -> Result<Self, Failure> {
        Ok(Self {
            spill: SpillFile::create(scratch)?,
            segments: vec![Vec::new(); parts],
            collected: vec![Vec::new(); parts],
            bytes: 0,
            nulls: 0,
        })
    }

    fn push(&mut self, keyed: &Keyed) -> Result<(), Failure> {
        let packed = packed(keyed)?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.collected.len()];
        for (row, key) in (0..).zip(keyed.keys.iter()) {
            let at = match key {
                Some(key) => bucket(key, rows.len()),
                None => {
                    // They equal nothing, so any bucket will do; one for all of them would be too large.
                    self.nulls += 1;
                    self.nulls % rows.len()
                }
            };
            rows[at].push(row);
        }
        for (at, rows) in rows.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let some = take_record_batch(&packed, &UInt32Array::from(rows));
            let some = some.map_err(|e| classify(&e, During::Run))?;
            self.bytes += some.get_array_memory_size();
            self.collected[at].push(some);
        }
        if self.bytes > COLLECTED_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        for (collected, segments) in self.collected.iter_mut().zip(&mut self.segments) {
            let batches = std::mem::take(collected);
            if let Some(first) = batches.first() {
                let schema = first.schema();
                segments.push(self.spill.append(&schema, batches.into_iter().map(Ok))?);
            }
        }
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Side, Failure> {
        self.write()?;
        self.spill.flush()?;
        Ok(Side {
            file: self.spill.handle(),
            segments: self.segments,
        })
    }
}

/// The same for the same bytes in every run.
fn bucket(key: &[u8], parts: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    let at = hasher.finish() % (parts as u64).max(1);
    usize::try_from(at).unwrap_or_default()
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
