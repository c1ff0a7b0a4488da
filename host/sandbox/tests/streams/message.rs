//! IPC messages taken apart and put together again, so that a lie can be told in any one place and all else stay true.

use arrow_ipc::{
    BodyCompressionBuilder, Buffer, CompressionType, DictionaryBatchBuilder, FieldNode,
    MessageBuilder, MessageHeader, MetadataVersion, RecordBatch, RecordBatchBuilder,
    root_as_message,
};
use flatbuffers::FlatBufferBuilder;

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) version: MetadataVersion,
    pub(crate) header: MessageHeader,
    /// Number, and whether it is a delta: then the message is a dictionary.
    pub(crate) dictionary: Option<(i64, bool)>,
    pub(crate) rows: i64,
    pub(crate) nodes: Vec<(i64, i64)>,
    pub(crate) buffers: Vec<(i64, i64)>,
    pub(crate) variadic: Vec<i64>,
    pub(crate) compression: Option<i8>,
    pub(crate) body: Vec<u8>,
    /// What is said instead of the truth.
    pub(crate) body_length: Option<i64>,
    pub(crate) metadata_length: Option<i32>,
}

/// Takes the bytes of an honest guest apart.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let body = at + 8 + length;
        let message = root_as_message(&bytes[at + 8..body]).unwrap();
        let end = body + usize::try_from(message.bodyLength()).unwrap();
        let dictionary = message.header_as_dictionary_batch();
        let batch: RecordBatch<'_> = match dictionary {
            Some(dictionary) => dictionary.data().unwrap(),
            None => message.header_as_record_batch().unwrap(),
        };
        let nodes = batch.nodes().unwrap().iter();
        let buffers = batch.buffers().unwrap().iter();
        messages.push(Message {
            version: message.version(),
            header: message.header_type(),
            dictionary: dictionary.map(|d| (d.id(), d.isDelta())),
            rows: batch.length(),
            nodes: nodes.map(|n| (n.length(), n.null_count())).collect(),
            buffers: buffers.map(|b| (b.offset(), b.length())).collect(),
            variadic: batch.variadicBufferCounts().into_iter().flatten().collect(),
            compression: None,
            body: bytes[body..end].to_vec(),
            body_length: None,
            metadata_length: None,
        });
        at = end;
    }
    messages
}

pub(crate) fn build(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| message.write(&mut out));
    out
}

impl Message {
    fn write(&self, out: &mut Vec<u8>) {
        let mut fbb = FlatBufferBuilder::new();
        let compression = self.compression.map(|codec| {
            let mut builder = BodyCompressionBuilder::new(&mut fbb);
            builder.add_codec(CompressionType(codec));
            builder.finish()
        });
        let nodes = self
            .nodes
            .iter()
            .map(|(length, nulls)| FieldNode::new(*length, *nulls));
        let nodes = fbb.create_vector(&nodes.collect::<Vec<_>>());
        let buffers = self
            .buffers
            .iter()
            .map(|(offset, length)| Buffer::new(*offset, *length));
        let buffers = fbb.create_vector(&buffers.collect::<Vec<_>>());
        let variadic = (!self.variadic.is_empty()).then(|| fbb.create_vector(&self.variadic));
        let mut builder = RecordBatchBuilder::new(&mut fbb);
        builder.add_length(self.rows);
        builder.add_nodes(nodes);
        builder.add_buffers(buffers);
        if let Some(compression) = compression {
            builder.add_compression(compression);
        }
        if let Some(variadic) = variadic {
            builder.add_variadicBufferCounts(variadic);
        }
        let batch = builder.finish();
        let header = match self.dictionary {
            None => batch.as_union_value(),
            Some((id, delta)) => {
                let mut builder = DictionaryBatchBuilder::new(&mut fbb);
                builder.add_id(id);
                builder.add_data(batch);
                builder.add_isDelta(delta);
                builder.finish().as_union_value()
            }
        };
        let mut builder = MessageBuilder::new(&mut fbb);
        builder.add_version(self.version);
        builder.add_header_type(self.header);
        builder.add_header(header);
        builder.add_bodyLength(self.body_length.unwrap_or(self.body.len() as i64));
        let root = builder.finish();
        fbb.finish(root, None);
        frame(fbb.finished_data(), self.metadata_length, out);
        out.extend_from_slice(&self.body);
    }
}

/// Marker, length and metadata, padded.
pub(crate) fn frame(metadata: &[u8], length: Option<i32>, out: &mut Vec<u8>) {
    let padded = (metadata.len() + 8).next_multiple_of(8) - 8;
    let end = out.len() + 8 + padded;
    out.extend_from_slice(&[0xff; 4]);
    out.extend_from_slice(
        &length
            .unwrap_or(i32::try_from(padded).unwrap())
            .to_le_bytes(),
    );
    out.extend_from_slice(metadata);
    out.resize(end, 0);
}
