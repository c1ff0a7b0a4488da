//! A file without a name that grows at its end: segments of Arrow IPC, written once and read back from any thread.
//!
//! It lies in the run's scratch directory and has no entry there, so that it is gone with its last handle, also after a
//! `kill -9`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::MetadataVersion;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::SchemaRef;
use odibi_story::failure::Failure;

use crate::failure::{During, classify};

/// Bytes between the encoder and the file, and between the file and the decoder.
const BUFFER_BYTES: usize = 128 * 1024;
/// Small buffers of small batches are common here: more padding would double them.
const ALIGNMENT: usize = 8;

/// Where a segment lies. One without bytes holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Segment {
    start: u64,
    bytes: u64,
}

/// Appends segments.
#[derive(Debug)]
pub(crate) struct SpillFile {
    file: Arc<File>,
    out: BufWriter<File>,
    written: u64,
}

impl SpillFile {
    /// Creates the file.
    pub(crate) fn create(scratch: &Path) -> Result<Self, Failure> {
        let file = tempfile::tempfile_in(scratch).map_err(|e| classify(&e, During::Scratch))?;
        Self::on(file)
    }

    /// Writes to a file that is open.
    pub(crate) fn on(file: File) -> Result<Self, Failure> {
        let end = file
            .try_clone()
            .map_err(|e| classify(&e, During::Scratch))?;
        Ok(Self {
            file: Arc::new(file),
            out: BufWriter::with_capacity(BUFFER_BYTES, end),
            written: 0,
        })
    }

    /// Appends batches of one schema. They can be read after [`SpillFile::flush`].
    pub(crate) fn append(
        &mut self,
        schema: &SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch, Failure>>,
    ) -> Result<Segment, Failure> {
        let start = self.written;
        let failed = |e| classify(&e, During::Scratch);
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5);
        let options = options.map_err(failed)?;
        let mut writer =
            StreamWriter::try_new_with_options(Counting(self), schema, options).map_err(failed)?;
        for batch in batches {
            writer.write(&batch?).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        drop(writer);
        Ok(Segment {
            start,
            bytes: self.written - start,
        })
    }

    /// Makes what was appended readable.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|e| classify(&e, During::Scratch))
    }

    /// For those who read.
    pub(crate) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.written
    }
}

struct Counting<'a>(&'a mut SpillFile);

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.out.write(bytes)?;
        self.0.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A segment ends in the middle of the buffer.
        Ok(())
    }
}

/// The batches of a segment.
pub(crate) struct SegmentReader(StreamReader<BufReader<Stretch>>);

impl SegmentReader {
    /// `None` for a segment that holds nothing.
    pub(crate) fn open(file: &Arc<File>, segment: Segment) -> Result<Option<Self>, Failure> {
        if segment.bytes == 0 {
            return Ok(None);
        }
        let stretch = Stretch {
            file: Arc::clone(file),
            at: segment.start,
            end: segment.start + segment.bytes,
        };
        let capacity = BUFFER_BYTES.min(usize::try_from(segment.bytes).unwrap_or(BUFFER_BYTES));
        StreamReader::try_new(BufReader::with_capacity(capacity, stretch), None)
            .map(|reader| Some(Self(reader)))
            .map_err(|e| classify(&e, During::Scratch))
    }
}

impl Iterator for SegmentReader {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.next()?;
        Some(next.map_err(|e| classify(&e, During::Scratch)))
    }
}

/// A part of a file as a file.
struct Stretch {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Stretch {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let room = into.len().min(left);
        let read = self.file.read_at(&mut into[..room], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use arrow_array::{ArrayRef, Int64Array};
    use odibi_story::failure::FailureClass;

    use super::*;

    fn numbers(from: i64, rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn segments_come_back_in_any_order_and_leave_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut spill = SpillFile::create(dir.path()).unwrap();
        let schema = numbers(0, 0).schema();
        let segments: Vec<Segment> = (0..50)
            .map(|at| {
                let batches = [numbers(at, at * 100), numbers(-at, 1)];
                spill.append(&schema, batches.into_iter().map(Ok)).unwrap()
            })
            .collect();
        spill.flush().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = spill.handle();
        assert_eq!(file.metadata().unwrap().len(), spill.bytes());
        for at in (0..50_i64).rev() {
            let segment = segments[usize::try_from(at).unwrap()];
            let reader = SegmentReader::open(&file, segment).unwrap().unwrap();
            let found: Vec<_> = reader.map(Result::unwrap).collect();
            assert_eq!(found, [numbers(at, at * 100), numbers(-at, 1)]);
        }
        assert!(
            SegmentReader::open(&file, Segment::default())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_full_disk_is_named() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut spill = SpillFile::on(full).unwrap();
        let schema = numbers(0, 0).schema();
        let failure = std::iter::repeat_with(|| {
            let batch = numbers(0, 10_000);
            spill.append(&schema, std::iter::once(Ok(batch))).err()
        })
        .take(100)
        .flatten()
        .next()
        .unwrap();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::Limit, "resources/disk")
        );
    }
}
