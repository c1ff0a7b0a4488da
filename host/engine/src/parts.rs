//! Rows on disk in parts: divided once, and read part by part, in any order and as often as they are wanted.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use odibi_story::failure::Failure;

use crate::exec::bucket::spill::{Segment, SegmentReader, SpillFile};
use crate::failure::{During, classify};

/// The part of a key, by its hash: the same for the same bytes in every run.
#[must_use]
pub fn part_of(key: &[u8], parts: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    let at = hasher.finish() % (parts as u64).max(1);
    usize::try_from(at).unwrap_or_default()
}

/// Divides rows. All lie in one file of the scratch directory, which has no name and is gone with the process.
pub struct Divider {
    spill: SpillFile,
    segments: Vec<Vec<Segment>>,
    collected: Vec<Vec<RecordBatch>>,
    bytes: usize,
    collected_bytes_max: usize,
}

impl Divider {
    /// Collects so many bytes of all parts together before it writes them; what is written at once is one batch of each.
    ///
    /// # Errors
    /// The scratch directory cannot be used.
    pub fn new(scratch: &Path, parts: usize, collected_bytes_max: usize) -> Result<Self, Failure> {
        let parts = parts.max(1);
        Ok(Self {
            spill: SpillFile::create(scratch)?,
            segments: vec![Vec::new(); parts],
            collected: vec![Vec::new(); parts],
            bytes: 0,
            collected_bytes_max,
        })
    }

    /// Adds rows, all of one schema. `part` says of each row in which part it is; what is beyond the last is in the last.
    ///
    /// # Errors
    /// The scratch directory cannot be written.
    pub fn push(
        &mut self,
        batch: &RecordBatch,
        part: impl Fn(usize) -> usize,
    ) -> Result<(), Failure> {
        let last = self.collected.len() - 1;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.collected.len()];
        for (at, row) in (0..batch.num_rows()).zip(0_u32..) {
            rows[part(at).min(last)].push(row);
        }
        for (at, rows) in rows.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let some = take_record_batch(batch, &UInt32Array::from(rows));
            let some = some.map_err(|e| classify(&e, During::Run))?;
            self.bytes += some.get_array_memory_size();
            self.collected[at].push(some);
        }
        if self.bytes > self.collected_bytes_max {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        for (collected, segments) in self.collected.iter_mut().zip(&mut self.segments) {
            let batches = std::mem::take(collected);
            if let Some(first) = batches.first() {
                let schema = first.schema();
                // What came in many small pieces is read back as one.
                let whole = concat_batches(&schema, &batches);
                let whole = whole.map_err(|e| classify(&e, During::Run))?;
                segments.push(self.spill.append(&schema, std::iter::once(Ok(whole)))?);
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// All rows are there.
    ///
    /// # Errors
    /// The scratch directory cannot be written.
    pub fn finish(mut self) -> Result<Parts, Failure> {
        self.write()?;
        self.spill.flush()?;
        Ok(Parts {
            file: self.spill.handle(),
            segments: self.segments,
        })
    }
}

impl fmt::Debug for Divider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Divider")
            .field("parts", &self.segments.len())
            .finish_non_exhaustive()
    }
}

/// Divided rows.
#[derive(Debug)]
pub struct Parts {
    file: Arc<File>,
    segments: Vec<Vec<Segment>>,
}

impl Parts {
    /// How many parts there are, empty ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// The rows of one part, in the order in which they came. A part that is not there is empty.
    #[must_use]
    pub fn part(&self, at: usize) -> PartRows {
        let segments = self.segments.get(at).cloned().unwrap_or_default();
        PartRows {
            file: Arc::clone(&self.file),
            segments: segments.into_iter(),
            open: None,
        }
    }
}

/// Batches of one part.
pub struct PartRows {
    file: Arc<File>,
    segments: std::vec::IntoIter<Segment>,
    open: Option<SegmentReader>,
}

impl Iterator for PartRows {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            match SegmentReader::open(&self.file, self.segments.next()?) {
                Ok(open) => self.open = open,
                Err(failure) => return Some(Err(failure)),
            }
        }
    }
}

impl fmt::Debug for PartRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartRows").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    fn numbers(from: i64, rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn every_row_is_in_its_part_in_its_order_and_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        // Written after every batch, and only at the end.
        for collected_bytes_max in [0, usize::MAX] {
            let mut divider = Divider::new(dir.path(), 3, collected_bytes_max).unwrap();
            for from in [0, 100, 7] {
                let batch = numbers(from, 10);
                let column = batch.column(0).as_primitive::<Int64Type>().clone();
                let part = |row: usize| usize::try_from(column.value(row)).unwrap() % 4;
                divider.push(&batch, part).unwrap();
            }
            let parts = divider.finish().unwrap();
            assert_eq!(parts.count(), 3);
            let read = |at: usize| -> Vec<i64> {
                let batches: Vec<_> = parts.part(at).map(Result::unwrap).collect();
                let columns = batches
                    .iter()
                    .map(|b| b.column(0).as_primitive::<Int64Type>());
                columns
                    .flat_map(|column| column.values().to_vec())
                    .collect()
            };
            assert_eq!(read(0), [0, 4, 8, 100, 104, 108, 8, 12, 16]);
            assert_eq!(read(1), [1, 5, 9, 101, 105, 109, 9, 13]);
            // What would be in a fourth part is in the last.
            assert_eq!(read(2), [2, 3, 6, 7, 102, 103, 106, 107, 7, 10, 11, 14, 15]);
            assert_eq!(read(1).len(), 8);
            assert!(read(3).is_empty());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
