//! Arrow IPC, spoken correctly.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::writer::{StreamEncoder, StreamWriter};
use arrow_ipc::{MetadataVersion, root_as_message};
use arrow_schema::{Schema, SchemaRef};

pub fn read_schema(bytes: &[u8]) -> SchemaRef {
    Arc::new(
        arrow_ipc::convert::try_schema_from_ipc_buffer(bytes)
            .expect("the host sends sound schemas"),
    )
}

pub fn write_schema(schema: &Schema) -> Vec<u8> {
    StreamWriter::try_new(Vec::new(), schema)
        .expect("a schema of ours")
        .get_ref()
        .clone()
}

/// Start of the body of the message at `at`, and the start of the next message.
pub fn bounds(bytes: &[u8], at: usize) -> (usize, usize) {
    let metadata = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("4 bytes")) as usize;
    let message = root_as_message(&bytes[at + 8..at + 8 + metadata]).expect("a sound message");
    let body = at + 8 + metadata;
    (body, body + message.bodyLength() as usize)
}

/// Rows of a batch, without decoding it.
pub fn rows(bytes: &[u8]) -> u32 {
    let mut at = 0;
    loop {
        let (body, next) = bounds(bytes, at);
        let message = root_as_message(&bytes[at + 8..body]).expect("a sound message");
        if let Some(batch) = message.header_as_record_batch() {
            return batch.length() as u32;
        }
        at = next;
    }
}

pub type Dictionaries = HashMap<i64, ArrayRef>;

/// Decodes what the host sent; dictionaries that it brings are remembered.
pub fn decode(schema: &SchemaRef, bytes: Vec<u8>, dictionaries: &mut Dictionaries) -> RecordBatch {
    let bytes = Buffer::from_vec(bytes);
    let mut at = 0;
    loop {
        let (body, next) = bounds(&bytes, at);
        let message = root_as_message(&bytes[at + 8..body]).expect("a sound message");
        let data = bytes.slice_with_length(body, next - body);
        if let Some(batch) = message.header_as_record_batch() {
            let version = MetadataVersion::V5;
            let decoder =
                RecordBatchDecoder::try_new(&data, batch, schema.clone(), dictionaries, &version);
            return decoder
                .and_then(|d| d.read_record_batch())
                .expect("a sound batch");
        }
        let batch = message
            .header_as_dictionary_batch()
            .expect("dictionaries, then a batch");
        arrow_ipc::reader::read_dictionary(
            &data,
            batch,
            schema,
            dictionaries,
            &MetadataVersion::V5,
        )
        .expect("a sound dictionary");
        at = next;
    }
}

/// Encodes batches of one schema without the schema itself.
pub struct Encoder {
    encoder: StreamEncoder,
    first: bool,
}

impl Encoder {
    pub fn new(schema: &Schema) -> Self {
        Self {
            encoder: StreamEncoder::try_new(schema).expect("a schema of ours"),
            first: true,
        }
    }

    pub fn encode(&mut self, batch: &RecordBatch) -> Vec<Buffer> {
        let mut parts = self.encoder.encode(batch).expect("a batch of ours");
        if std::mem::take(&mut self.first) {
            let mut left = write_schema(&batch.schema()).len();
            parts.retain(|part| {
                let schema = left > 0;
                left = left.saturating_sub(part.len());
                !schema
            });
        }
        parts
    }
}

/// One batch as one stretch of bytes.
pub fn encode(batch: &RecordBatch) -> Vec<u8> {
    Encoder::new(&batch.schema())
        .encode(batch)
        .iter()
        .flat_map(|part| part.iter().copied())
        .collect()
}
