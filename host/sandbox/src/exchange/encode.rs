//! Batches for a guest: the needed columns only, one record-batch message a call, dictionaries when they change.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType};
use odibi_story::failure::{Failure, FailureClass};

/// Data buffers of views that may be sent although no view points into them.
const SLACK_BYTES: usize = 64 << 10;

/// Encodes the batches of one port.
pub(crate) struct Encoder {
    need: Vec<usize>,
    encoder: Option<StreamEncoder>,
    /// Reused from call to call: a fresh one of some MiB would be page faults.
    message: Arc<Vec<u8>>,
}

impl Encoder {
    pub(crate) fn new(need: Vec<usize>) -> Self {
        Self {
            need,
            encoder: None,
            message: Arc::default(),
        }
    }

    /// Bytes that the needed columns of these rows take, about.
    pub(crate) fn bytes(&self, batch: &RecordBatch) -> u64 {
        let columns = self.need.iter().filter_map(|i| batch.columns().get(*i));
        columns
            .map(|c| c.to_data().get_slice_memory_size().unwrap_or(0) as u64)
            .sum()
    }

    /// One `ipc` value. The returned bytes are given back by dropping them.
    ///
    /// # Errors
    /// `Internal` when arrow cannot encode the batch.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Arc<Vec<u8>>, Failure> {
        let batch = batch.project(&self.need).map_err(|e| failed(&e))?;
        let batch = compact(batch)?;
        let first = self.encoder.is_none();
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(StreamEncoder::try_new(&batch.schema()).map_err(|e| failed(&e))?),
        };
        let parts = encoder.encode(&batch).map_err(|e| failed(&e))?;
        let message = if let Some(held) = Arc::get_mut(&mut self.message) {
            held
        } else {
            self.message = Arc::default();
            Arc::make_mut(&mut self.message)
        };
        message.clear();
        message.reserve(parts.iter().map(|part| part.len()).sum());
        parts
            .iter()
            .for_each(|part| message.extend_from_slice(part));
        if first {
            // The encoder begins with the schema, which went to the guest at `open`.
            let schema = match message.get(4..8) {
                Some([a, b, c, d]) => {
                    8 + usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(0)
                }
                _ => 0,
            };
            message.drain(..schema.min(message.len()));
        }
        Ok(Arc::clone(&self.message))
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
