//! Rows by the directory that they go to: collected in memory up to a bound, then in one file of the scratch directory, so
//! that however many partitions there are, one file of the target is open at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use odibi_story::failure::{Failure, FailureClass, code};

use crate::exec::bucket::spill::{Segment, SegmentReader, SpillFile};
use crate::limits::PARTITIONS_MAX;

/// Bytes that all directories collect before they are written.
const COLLECTED_BYTES: usize = 16 * 1024 * 1024;

/// Takes rows.
pub(crate) struct Spread {
    spill: SpillFile,
    parts: BTreeMap<String, Part>,
    bytes: usize,
    shown: String,
}

#[derive(Default)]
struct Part {
    segments: Vec<Segment>,
    collected: Vec<RecordBatch>,
}

impl Spread {
    pub(crate) fn new(scratch: &Path, shown: &str) -> Result<Self, Failure> {
        Ok(Self {
            spill: SpillFile::create(scratch)?,
            parts: BTreeMap::new(),
            bytes: 0,
            shown: shown.to_owned(),
        })
    }

    /// Adds rows of one directory. All rows have one schema.
    pub(crate) fn push(&mut self, dir: &str, rows: RecordBatch) -> Result<(), Failure> {
        self.bytes += rows.get_array_memory_size();
        match self.parts.get_mut(dir) {
            Some(part) => part.collected.push(rows),
            None => {
                let found = self.parts.len() as u64 + 1;
                if found > PARTITIONS_MAX {
                    return Err(too_many(&self.shown, found));
                }
                let part = Part {
                    segments: Vec::new(),
                    collected: vec![rows],
                };
                self.parts.insert(dir.to_owned(), part);
            }
        }
        if self.bytes > COLLECTED_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        for part in self.parts.values_mut() {
            let batches = std::mem::take(&mut part.collected);
            if let Some(first) = batches.first() {
                let schema = first.schema();
                let batches = batches.into_iter().map(Ok);
                part.segments.push(self.spill.append(&schema, batches)?);
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// The directories, sorted, each with its rows in the order in which they came.
    pub(crate) fn finish(mut self) -> Result<impl Iterator<Item = (String, PartRows)>, Failure> {
        self.spill.flush()?;
        let file = self.spill.handle();
        Ok(self.parts.into_iter().map(move |(dir, part)| {
            let rows = PartRows {
                file: Arc::clone(&file),
                segments: part.segments.into_iter(),
                open: None,
                collected: part.collected.into_iter(),
            };
            (dir, rows)
        }))
    }
}

fn too_many(shown: &str, found: u64) -> Failure {
    let message = format!("the rows for `{shown}` have too many partitions");
    Failure::new(
        FailureClass::Limit,
        code::WRITE_TOO_MANY_PARTITIONS,
        message,
    )
    .of_limit("partitions", PARTITIONS_MAX, found)
    .hint("partition by a column with fewer values, such as a month in place of a time")
}

/// Rows of one directory.
pub(crate) struct PartRows {
    file: Arc<File>,
    segments: std::vec::IntoIter<Segment>,
    open: Option<SegmentReader>,
    collected: std::vec::IntoIter<RecordBatch>,
}

impl Iterator for PartRows {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            let Some(segment) = self.segments.next() else {
                return self.collected.next().map(Ok);
            };
            match SegmentReader::open(&self.file, segment) {
                Ok(open) => self.open = open,
                Err(failure) => return Some(Err(failure)),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn rows_keep_their_order_inside_a_directory_however_often_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut spread = Spread::new(dir.path(), "t").unwrap();
        for at in 0..100_i64 {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![at]));
            let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
            spread.push(&format!("n={}", at % 7), rows).unwrap();
            if at % 13 == 0 {
                spread.write().unwrap();
            }
        }
        let mut seen = 0;
        for (at, (name, rows)) in (0_i64..).zip(spread.finish().unwrap()) {
            assert_eq!(name, format!("n={at}"));
            let column = |batch: RecordBatch| {
                let column = batch.column(0).clone();
                column
                    .as_any()
                    .downcast_ref::<Int64Array>()
                    .unwrap()
                    .value(0)
            };
            let found: Vec<i64> = rows.map(|rows| column(rows.unwrap())).collect();
            assert_eq!(found, (0..100).filter(|n| n % 7 == at).collect::<Vec<_>>());
            seen += found.len();
        }
        assert_eq!(seen, 100);
    }
}
