//! Batches for a guest: the needed columns only, one record-batch message a call, dictionaries when they change.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType};
use odibi_story::failure::{Failure, FailureClass};

/// Data buffers of views that may be sent although no view points into them.
const SLACK_BYTES: usize = 64 << 10;

/// Encodes the batches of one port.
pub(crate) struct Encoder {
    need: Vec<usize>,
    encoder: Option<StreamEncoder>,
}

/// One `ipc` value: the buffers of the columns as they lie in memory, and between them what frames them.
#[derive(Debug)]
pub(crate) struct Message(Vec<Buffer>);

impl Message {
    pub(crate) fn parts(&self) -> &[Buffer] {
        &self.0
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Buffer::len).sum()
    }

    /// In one piece.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|part| part.as_slice())
            .copied()
            .collect()
    }

    /// Without its first bytes.
    fn skip(&mut self, bytes: usize) {
        let mut left = bytes;
        self.0.retain_mut(|part| {
            let cut = left.min(part.len());
            left -= cut;
            *part = part.slice(cut);
            !part.is_empty()
        });
    }
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
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Message, Failure> {
        let batch = batch.project(&self.need).map_err(|e| failed(&e))?;
        let batch = compact(batch)?;
        let first = self.encoder.is_none();
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(StreamEncoder::try_new(&batch.schema()).map_err(|e| failed(&e))?),
        };
        let mut message = Message(encoder.encode(&batch).map_err(|e| failed(&e))?);
        if first {
            // The encoder begins with the schema, which went to the guest at `open`: its prefix, and metadata of the length
            // that stands in there.
            let prefix: Vec<u8> = message
                .0
                .iter()
                .flat_map(|part| part.as_slice())
                .copied()
                .take(8)
                .collect();
            if let [_, _, _, _, a, b, c, d] = prefix[..] {
                let metadata = u32::from_le_bytes([a, b, c, d]);
                message.skip(8 + usize::try_from(metadata).unwrap_or(usize::MAX - 8));
            }
        }
        Ok(message)
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
