//! Arrow IPC as the contract uses it: the schema once, then dictionary and record-batch messages, no copies on the way.
//!
//! Format: <https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format>. Dictionary ids count the
//! dictionary-encoded fields of the schema that is sent, depth first from 0.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::UnsafeFlag;
use arrow_ipc::convert::{MessageBuffer, fb_to_schema};
use arrow_ipc::reader::RecordBatchDecoder;
use arrow_ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamEncoder, write_message,
};
use arrow_ipc::{DictionaryBatch, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

/// Continuation marker and length in front of each message.
const PREFIX_BYTES: usize = 8;

/// Flatbuffers refuse to be read elsewhere.
const FLATBUFFER_ALIGN: usize = 8;

/// Buffers up to this size are copied together: a part costs the host more than a short copy.
const SMALL_PART_BYTES_MAX: usize = 512;

/// One encapsulated Schema message.
///
/// # Errors
/// A type that IPC cannot carry.
pub(crate) fn encode_schema(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::default();
    let mut tracker = DictionaryTracker::new(false);
    let data = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &options,
    );
    let mut bytes = Vec::new();
    write_message(&mut bytes, data, &options)?;
    Ok(bytes)
}

/// Reads one encapsulated Schema message. Its fields carry the dictionary ids.
///
/// # Errors
/// The bytes are something else.
pub(crate) fn decode_schema(bytes: &[u8]) -> Result<SchemaRef, ArrowError> {
    let mut rest = Buffer::from(bytes);
    let (message, _body) = next_message(&mut rest)?;
    let schema = message.as_ref().header_as_schema();
    let schema = schema.ok_or_else(|| ArrowError::IpcError("expected a schema message".into()))?;
    Ok(Arc::new(fb_to_schema(schema)))
}

/// Whether the bytes may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// From the host, which has validated them.
    Host,
    #[cfg_attr(
        target_arch = "wasm32",
        allow(dead_code, reason = "a guest hears from nobody but the host")
    )]
    /// From anywhere: offsets, UTF-8 and dictionary keys are checked.
    Nobody,
}

/// A batch, and the message that it came in.
pub(crate) struct Received {
    pub(crate) batch: RecordBatch,
    message: Buffer,
    /// How many dictionaries had come by then.
    dictionaries: u64,
}

impl Received {
    /// The message, if this is the batch that came in it.
    pub(crate) fn message_of(&self, batch: &RecordBatch) -> Option<&Buffer> {
        let (own, theirs) = (self.batch.columns(), batch.columns());
        let same = own.len() == theirs.len()
            && self.batch.num_rows() == batch.num_rows()
            && own
                .iter()
                .zip(theirs)
                .all(|(own, its)| Arc::ptr_eq(own, its));
        same.then_some(&self.message)
    }

    /// Equal for two batches of one decoder if no dictionary came between them.
    pub(crate) fn dictionaries(&self) -> u64 {
        self.dictionaries
    }
}

/// Reads the batches of one schema; remembers the dictionaries.
pub(crate) struct Decoder {
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    dictionaries_read: u64,
    skip_validation: UnsafeFlag,
}

impl Decoder {
    /// `schema` must come from [`decode_schema`], for its dictionary ids.
    #[must_use]
    pub(crate) fn new(schema: SchemaRef, trust: Trust) -> Self {
        let mut skip_validation = UnsafeFlag::new();
        if trust == Trust::Host {
            #[expect(
                unsafe_code,
                reason = "validating what the host already validated costs 5 ns a row"
            )]
            // SAFETY: the bytes were written by the host from arrays that arrow built and checked; a host that lies
            // owns this instance anyway.
            unsafe {
                skip_validation.set(true);
            }
        }
        Self {
            schema,
            dictionaries: HashMap::new(),
            dictionaries_read: 0,
            skip_validation,
        }
    }

    /// The schema of the batches.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// As [`Self::receive`], the batch alone.
    ///
    /// # Errors
    /// As [`Self::receive`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn decode(&mut self, bytes: Vec<u8>) -> Result<RecordBatch, ArrowError> {
        self.receive(bytes).map(|received| received.batch)
    }

    /// Reads dictionary messages and the record batch. The arrays point into `bytes`; a misaligned buffer is copied.
    ///
    /// # Errors
    /// Bytes that do not follow the format, or anything after the batch.
    pub(crate) fn receive(&mut self, bytes: Vec<u8>) -> Result<Received, ArrowError> {
        let message = Buffer::from_vec(bytes);
        let batch = self.decode_buffer(&mut message.clone())?;
        Ok(Received {
            batch,
            message,
            dictionaries: self.dictionaries_read,
        })
    }

    fn decode_buffer(&mut self, rest: &mut Buffer) -> Result<RecordBatch, ArrowError> {
        loop {
            let (message, body) = next_message(rest)?;
            let message = message.as_ref();
            let version = message.version();
            if message.header_type() == MessageHeader::DictionaryBatch {
                let dictionary = message.header_as_dictionary_batch();
                let dictionary = dictionary
                    .ok_or_else(|| ArrowError::IpcError("empty dictionary message".into()))?;
                self.read_dictionary(&body, dictionary, version)?;
                continue;
            }
            let batch = message.header_as_record_batch();
            let batch = batch
                .ok_or_else(|| ArrowError::IpcError("expected a record batch message".into()))?;
            if !rest.is_empty() {
                return Err(ArrowError::IpcError(format!(
                    "bytes after the record batch: {}",
                    rest.len()
                )));
            }
            let schema = Arc::clone(&self.schema);
            return RecordBatchDecoder::try_new(
                &body,
                batch,
                schema,
                &self.dictionaries,
                &version,
            )?
            .with_skip_validation(self.skip_validation.clone())
            .read_record_batch();
        }
    }
}

impl Decoder {
    /// What `arrow_ipc::reader::read_dictionary` does, less the delta dictionaries: nobody sends them, and the kernel
    /// that joins them is a third of a component.
    fn read_dictionary(
        &mut self,
        body: &Buffer,
        dictionary: DictionaryBatch<'_>,
        version: MetadataVersion,
    ) -> Result<(), ArrowError> {
        let id = dictionary.id();
        if dictionary.isDelta() {
            return Err(ArrowError::IpcError(format!(
                "delta dictionaries are not part of the contract: {id}"
            )));
        }
        #[expect(
            deprecated,
            reason = "fields that came through IPC carry their dictionary id"
        )]
        let fields = self.schema.fields_with_dict_id(id);
        let Some(DataType::Dictionary(_, values)) = fields.first().map(|f| f.data_type()) else {
            return Err(ArrowError::IpcError(format!(
                "dictionary of no field: {id}"
            )));
        };
        let schema = Arc::new(Schema::new(vec![Field::new(
            "",
            values.as_ref().clone(),
            true,
        )]));
        let batch = dictionary
            .data()
            .ok_or_else(|| ArrowError::IpcError("empty dictionary message".into()))?;
        let batch = RecordBatchDecoder::try_new(body, batch, schema, &self.dictionaries, &version)?
            .with_skip_validation(self.skip_validation.clone())
            .read_record_batch()?;
        self.dictionaries.insert(id, Arc::clone(batch.column(0)));
        self.dictionaries_read += 1;
        Ok(())
    }
}

/// Cuts the next message and its body off the front, without copying.
fn next_message(rest: &mut Buffer) -> Result<(MessageBuffer, Buffer), ArrowError> {
    let cut = || ArrowError::IpcError("message is cut off".into());
    let header = prefix_length(rest).ok_or_else(cut)?;
    if rest.len() - PREFIX_BYTES < header {
        return Err(cut());
    }
    let mut head = rest.slice_with_length(PREFIX_BYTES, header);
    if head.as_ptr().align_offset(FLATBUFFER_ALIGN) != 0 {
        head = Buffer::from(head.as_slice());
    }
    let message = MessageBuffer::try_new(head)?;
    let body_bytes = usize::try_from(message.as_ref().bodyLength()).map_err(|_| cut())?;
    rest.advance(PREFIX_BYTES + header);
    if rest.len() < body_bytes {
        return Err(cut());
    }
    let body = rest.slice_with_length(0, body_bytes);
    rest.advance(body_bytes);
    Ok((message, body))
}

/// Bytes of the message header that follows the prefix.
fn prefix_length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.get(..PREFIX_BYTES)?;
    let length: [u8; 4] = prefix[4..].try_into().ok()?;
    (prefix[..4] == [0xff; 4]).then(|| usize::try_from(u32::from_le_bytes(length)).ok())?
}

/// Writes the batches of one schema as parts that point into the Arrow buffers.
pub(crate) struct Encoder {
    encoder: StreamEncoder,
    schema_sent: bool,
}

impl Encoder {
    /// # Errors
    /// A type that IPC cannot carry.
    pub(crate) fn new(schema: &Schema) -> Result<Self, ArrowError> {
        Ok(Self {
            encoder: StreamEncoder::try_new(schema)?,
            schema_sent: false,
        })
    }

    /// New dictionaries and one record batch.
    ///
    /// # Errors
    /// The batch does not fit the schema.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Parts, ArrowError> {
        let mut buffers = self.encoder.encode(batch)?;
        // arrow's encoder puts the schema in front of the first batch; the contract says it once, in `plan` or `open`.
        if !std::mem::replace(&mut self.schema_sent, true) {
            skip_message(&mut buffers)?;
        }
        Ok(Parts::gather(&buffers))
    }
}

/// Drops the first message, which has no body.
fn skip_message(buffers: &mut Vec<Buffer>) -> Result<(), ArrowError> {
    let header = buffers.first().and_then(|first| prefix_length(first));
    let header = header.ok_or_else(|| ArrowError::IpcError("schema message is cut off".into()))?;
    let mut left = PREFIX_BYTES + header;
    let mut whole = 0;
    for buffer in buffers.iter_mut() {
        if left < buffer.len() {
            buffer.advance(left);
            break;
        }
        left -= buffer.len();
        whole += 1;
    }
    buffers.drain(..whole);
    Ok(())
}

/// Bytes in pieces: large Arrow buffers by reference, the small things between them copied together.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: Vec<Buffer>,
}

impl Parts {
    fn gather(buffers: &[Buffer]) -> Self {
        let mut parts = Vec::with_capacity(buffers.len());
        let mut small: Vec<u8> = Vec::new();
        for buffer in buffers {
            if buffer.len() <= SMALL_PART_BYTES_MAX {
                small.extend_from_slice(buffer);
                continue;
            }
            if !small.is_empty() {
                parts.push(Buffer::from_vec(std::mem::take(&mut small)));
            }
            parts.push(buffer.clone());
        }
        if !small.is_empty() {
            parts.push(Buffer::from_vec(small));
        }
        Self { parts }
    }

    /// The pieces, in order.
    #[must_use]
    pub(crate) fn slices(&self) -> Vec<&[u8]> {
        self.parts.iter().map(Buffer::as_slice).collect()
    }

    /// All in one piece.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub(crate) fn concat(&self) -> Vec<u8> {
        self.slices().concat()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int32Type;
    use arrow_array::{
        Array, Decimal128Array, DictionaryArray, Int64Array, RecordBatchOptions, StringArray,
    };

    use super::*;

    fn sample(rows: usize) -> RecordBatch {
        let word = |i: usize| (!i.is_multiple_of(7)).then(|| format!("word-{}", i % 5));
        let ids = Int64Array::from_iter_values((0..rows).map(|i| i64::try_from(i).unwrap()));
        let words: StringArray = (0..rows).map(word).collect();
        let owned: Vec<Option<String>> = (0..rows).map(word).collect();
        let kinds: DictionaryArray<Int32Type> = owned.iter().map(Option::as_deref).collect();
        let prices =
            Decimal128Array::from_iter_values((0..rows).map(|i| i128::try_from(i).unwrap() * 100));
        RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            ("word", Arc::new(words)),
            ("kind", Arc::new(kinds)),
            ("price", Arc::new(prices)),
        ])
        .unwrap()
    }

    fn through_wire(schema: &Schema) -> SchemaRef {
        decode_schema(&encode_schema(schema).unwrap()).unwrap()
    }

    #[track_caller]
    fn check(batches: &[RecordBatch]) {
        let schema = batches[0].schema();
        let mut encoder = Encoder::new(&schema).unwrap();
        let mut host = Decoder::new(through_wire(&schema), Trust::Nobody);
        let mut guest = Decoder::new(through_wire(&schema), Trust::Host);
        for batch in batches {
            let bytes = encoder.encode(batch).unwrap().concat();
            for decoder in [&mut host, &mut guest] {
                let back = decoder.decode(bytes.clone()).unwrap();
                assert_eq!(
                    (back.columns(), back.num_rows()),
                    (batch.columns(), batch.num_rows())
                );
            }
        }
    }

    #[test]
    fn batches_come_back_equal() {
        check(&[sample(1000)]);
        check(&[sample(10), sample(0), sample(3000)]);
        check(&[sample(1000).slice(13, 500), sample(1000).slice(999, 1)]);
    }

    #[test]
    fn batches_without_columns_keep_their_rows() {
        let options = RecordBatchOptions::new().with_row_count(Some(17));
        check(&[RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &options,
        )
        .unwrap()]);
    }

    #[test]
    fn schemas_come_back_equal() {
        let schema = sample(1).schema();
        assert_eq!(through_wire(&schema), schema);
        assert_eq!(through_wire(&Schema::empty()).fields().len(), 0);
    }

    #[test]
    fn large_buffers_travel_by_reference() {
        let batch = sample(10_000);
        let mut encoder = Encoder::new(&batch.schema()).unwrap();
        let parts = encoder.encode(&batch).unwrap();
        let ids = batch.column(0).to_data().buffers()[0].as_ptr();
        assert!(parts.slices().iter().any(|part| part.as_ptr() == ids));
        assert!(
            parts.slices().len() < 16,
            "paddings are not gathered: {}",
            parts.slices().len()
        );
    }

    #[test]
    fn arrays_point_into_the_message() {
        let batch = sample(10_000);
        let bytes = Encoder::new(&batch.schema())
            .unwrap()
            .encode(&batch)
            .unwrap()
            .concat();
        let range = bytes.as_ptr_range();
        let back = Decoder::new(through_wire(&batch.schema()), Trust::Host)
            .decode(bytes)
            .unwrap();
        let ids = back.column(0).to_data().buffers()[0].as_ptr();
        // An allocator that gives less than 8-aligned memory makes a copy instead; none of ours does.
        assert!(range.contains(&ids));
    }

    #[test]
    fn misaligned_bytes_are_copied_not_refused() {
        let batch = sample(100);
        let bytes = Encoder::new(&batch.schema())
            .unwrap()
            .encode(&batch)
            .unwrap()
            .concat();
        for shift in [1, 4, 8] {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            let mut rest = Buffer::from_vec(shifted).slice(shift);
            let mut decoder = Decoder::new(through_wire(&batch.schema()), Trust::Host);
            let back = decoder.decode_buffer(&mut rest).unwrap();
            assert_eq!(back.columns(), batch.columns());
        }
    }

    #[test]
    fn cut_or_foreign_bytes_are_refused() {
        let batch = sample(100);
        let schema = through_wire(&batch.schema());
        let bytes = Encoder::new(&schema)
            .unwrap()
            .encode(&batch)
            .unwrap()
            .concat();
        for length in (0..bytes.len()).step_by(97) {
            assert!(
                Decoder::new(Arc::clone(&schema), Trust::Nobody)
                    .decode(bytes[..length].to_vec())
                    .is_err()
            );
        }
        let twice = [bytes.clone(), bytes].concat();
        assert!(
            Decoder::new(Arc::clone(&schema), Trust::Nobody)
                .decode(twice)
                .is_err()
        );
        assert!(decode_schema(b"no schema").is_err());
    }
}
