//! Batches for a guest: the needed columns only, one record-batch message a call, dictionaries when they change.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType};
use odibi_story::failure::{Failure, FailureClass};

use super::echo::Sent;

/// Data buffers of views that may be sent although no view points into them.
const SLACK_BYTES: usize = 64 << 10;

/// Encodes the batches of one port.
pub(crate) struct Encoder {
    need: Vec<usize>,
    encoder: Option<StreamEncoder>,
}

/// One `ipc` value: the buffers of the columns as they lie in memory, and between them what frames them.
#[derive(Debug, Clone)]
pub(crate) struct Message(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    parts: Vec<Buffer>,
    /// Address of the copy in a guest; 0 before there is one.
    landed: AtomicUsize,
}

impl Message {
    fn new(parts: Vec<Buffer>) -> Self {
        let landed = AtomicUsize::new(0);
        Self(Arc::new(Parts { parts, landed }))
    }

    pub(crate) fn parts(&self) -> &[Buffer] {
        &self.0.parts
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.parts().iter().map(Buffer::len).sum()
    }

    /// In one piece.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.parts()
            .iter()
            .flat_map(|part| part.as_slice())
            .copied()
            .collect()
    }

    /// It was copied to this address.
    pub(crate) fn land(&self, at: *const u8) {
        self.0.landed.store(at.addr(), Ordering::Relaxed);
    }

    /// Where it was copied to.
    pub(crate) fn landed(&self) -> Option<usize> {
        let at = self.0.landed.load(Ordering::Relaxed);
        (at != 0).then_some(at)
    }

    /// Its parts, each with its place.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (Range<usize>, &Buffer)> {
        let mut end = 0;
        self.parts().iter().map(move |part| {
            let at = end..end + part.len();
            end = at.end;
            (at, part)
        })
    }
}

/// An encoder of arrow begins with the schema, which went to the guest at `open`: its prefix, and metadata of the length that
/// stands in there.
pub(crate) fn skip_schema(parts: &mut Vec<Buffer>) {
    let bytes = parts.iter().flat_map(|part| part.as_slice());
    let prefix: Vec<u8> = bytes.copied().take(8).collect();
    let [_, _, _, _, a, b, c, d] = prefix[..] else {
        return;
    };
    let metadata = usize::try_from(u32::from_le_bytes([a, b, c, d]));
    let mut left = 8 + metadata.unwrap_or(usize::MAX - 8);
    parts.retain_mut(|part| {
        let cut = left.min(part.len());
        left -= cut;
        *part = part.slice(cut);
        !part.is_empty()
    });
}

impl Encoder {
    pub(crate) fn new(need: Vec<usize>) -> Self {
        Self {
            need,
            encoder: None,
        }
    }

    /// Bytes that the needed columns of these rows take, about.
    pub(crate) fn bytes(&self, batch: &RecordBatch) -> u64 {
        self.needed(batch).map(|column| size(column.as_ref())).sum()
    }

    /// The same without the words of dictionaries, which cross once; `None` when rows share other bytes: parts of them would
    /// bring these along, each of them.
    pub(crate) fn divisible_bytes(&self, batch: &RecordBatch) -> Option<u64> {
        let sizes = self.needed(batch).map(|column| {
            if let Some(dictionary) = column.as_any_dictionary_opt() {
                return Some(size(dictionary.keys()));
            }
            (!shares(column.data_type())).then(|| size(column.as_ref()))
        });
        sizes.sum()
    }

    fn needed<'a>(&'a self, batch: &'a RecordBatch) -> impl Iterator<Item = &'a ArrayRef> {
        let needed = self.need.iter();
        needed.filter_map(|i| batch.columns().get(*i))
    }

    /// One `ipc` value.
    ///
    /// # Errors
    /// `Internal` when arrow cannot encode the batch.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Sent, Failure> {
        let all = self.need.iter().copied().eq(0..batch.num_columns());
        let batch = if all {
            batch.clone()
        } else {
            batch.project(&self.need).map_err(|e| failed(&e))?
        };
        let batch = compact(batch)?;
        let first = self.encoder.is_none();
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(StreamEncoder::try_new(&batch.schema()).map_err(|e| failed(&e))?),
        };
        let mut parts = encoder.encode(&batch).map_err(|e| failed(&e))?;
        if first {
            skip_schema(&mut parts);
        }
        Ok(Sent::new(batch, Message::new(parts)))
    }
}

fn size(array: &dyn Array) -> u64 {
    array.to_data().get_slice_memory_size().unwrap_or(0) as u64
}

/// Whether values of the type may lie in bytes that other values lie in too.
fn shares(data_type: &DataType) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are flat")]
    match data_type {
        DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(_, _) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => shares(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| shares(field.data_type())),
        _ => false,
    }
}

/// Arrow could not encode what the host itself holds.
pub(crate) fn failed(error: &ArrowError) -> Failure {
    Failure::new(
        FailureClass::Internal,
        "internal/encode",
        "a batch could not be encoded for the plugin",
    )
    .cause(error.to_string())
}

/// A filtered column of views still holds the data of all rows; the guest would be sent it.
fn compact(batch: RecordBatch) -> Result<RecordBatch, Failure> {
    let is_view = |t: &DataType| matches!(t, DataType::Utf8View | DataType::BinaryView);
    if !batch
        .schema()
        .fields()
        .iter()
        .any(|f| is_view(f.data_type()))
    {
        return Ok(batch);
    }
    let columns: Vec<ArrayRef> = batch.columns().iter().map(compact_column).collect();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options).map_err(|e| failed(&e))
}

fn compact_column(column: &ArrayRef) -> ArrayRef {
    let wasteful =
        |held: usize, used: usize| held > used.saturating_mul(2).saturating_add(SLACK_BYTES);
    if let Some(views) = column.as_string_view_opt() {
        let held = views.data_buffers().iter().map(|b| b.len()).sum();
        if wasteful(held, views.total_buffer_bytes_used()) {
            return Arc::new(views.gc());
        }
    } else if let Some(views) = column.as_binary_view_opt() {
        let held = views.data_buffers().iter().map(|b| b.len()).sum();
        if wasteful(held, views.total_buffer_bytes_used()) {
            return Arc::new(views.gc());
        }
    }
    Arc::clone(column)
}
