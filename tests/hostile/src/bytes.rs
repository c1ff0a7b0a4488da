//! Malformed IPC: each operation spoils a sound batch in one way.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt8Array};
use arrow_ipc::{
    BodyCompressionBuilder, Buffer, CompressionType, FieldNode, Message, MessageBuilder,
    MessageHeader, MetadataVersion, RecordBatchBuilder, root_as_message,
};
use arrow_schema::{Field, Schema};
use flatbuffers::FlatBufferBuilder;

use crate::{Origin, State, emit, wire};

pub const OPERATIONS: &[&str] = &[
    "empty",
    "rubbish",
    "truncated",
    "trailing",
    "schema_again",
    "two_batches",
    "compressed",
    "tensor",
    "old_version",
    "negative_length",
    "huge_length",
    "negative_offset",
    "offset_outside",
    "misaligned",
    "overlong_buffer",
    "many_rows",
    "null_count_lie",
    "null_in_required",
    "fewer_nodes",
    "fewer_buffers",
    "more_buffers",
    "bad_utf8",
    "decreasing_offsets",
    "offsets_outside",
    "huge_metadata",
    "unknown_dictionary",
    "dictionary_key",
    "body_lie",
];

/// What is written into the metadata instead of the truth.
#[derive(Default)]
struct Spoil {
    compressed: bool,
    rows: Option<i64>,
    body: Option<i64>,
    version: Option<MetadataVersion>,
    header: Option<MessageHeader>,
    node: Option<fn(usize, &FieldNode) -> FieldNode>,
    buffer: Option<fn(usize, &Buffer) -> Buffer>,
    nodes_less: usize,
    buffers_less: usize,
    buffers_more: usize,
}

pub fn process(operation: &str, state: &mut State, batch: &[u8]) -> bool {
    if !OPERATIONS.contains(&operation) {
        return false;
    }
    let sound = wire::decode(&state.inputs[0], batch.to_vec(), &mut state.dictionaries);
    let sound = wire::encode(&sound);
    let spoilt = match operation {
        "empty" => vec![],
        "rubbish" => vec![0xa5; 4_096],
        "truncated" => sound[..sound.len() - 64].to_vec(),
        "trailing" => [sound.as_slice(), &[0; 64]].concat(),
        "schema_again" => [wire::write_schema(&state.inputs[0]), sound].concat(),
        "two_batches" => [sound.as_slice(), &sound].concat(),
        "huge_metadata" => [&[0xff; 4][..], &i32::MAX.to_le_bytes(), &sound[8..]].concat(),
        "bad_utf8" | "decreasing_offsets" | "offsets_outside" => in_body(operation, sound),
        "unknown_dictionary" | "dictionary_key" => dictionary(operation),
        other => rewritten(&sound, &spoil(other)),
    };
    let _ = emit(0, &[&spoilt], Origin::Fresh);
    true
}

fn spoil(operation: &str) -> Spoil {
    let none = Spoil::default();
    match operation {
        "compressed" => Spoil {
            compressed: true,
            ..none
        },
        "tensor" => Spoil {
            header: Some(MessageHeader::Tensor),
            ..none
        },
        "old_version" => Spoil {
            version: Some(MetadataVersion::V4),
            ..none
        },
        "negative_length" => Spoil {
            rows: Some(-1),
            ..none
        },
        "huge_length" => Spoil {
            node: Some(|_, n| FieldNode::new(i64::MAX, n.null_count())),
            ..none
        },
        "negative_offset" => Spoil {
            buffer: Some(|_, b| Buffer::new(-8, b.length())),
            ..none
        },
        "offset_outside" => Spoil {
            buffer: Some(|_, b| Buffer::new(1 << 40, b.length())),
            ..none
        },
        "misaligned" => Spoil {
            buffer: Some(|_, b| Buffer::new(b.offset() + 1, b.length().max(1) - 1)),
            ..none
        },
        "overlong_buffer" => Spoil {
            buffer: Some(|_, b| Buffer::new(b.offset(), i64::MAX - 7)),
            ..none
        },
        "many_rows" => Spoil {
            rows: Some(1 << 60),
            node: Some(|_, _| FieldNode::new(1 << 60, 1 << 60)),
            ..none
        },
        "null_count_lie" => Spoil {
            node: Some(|_, n| FieldNode::new(n.length(), n.length() - 1)),
            ..none
        },
        "null_in_required" => Spoil {
            node: Some(|i, n| FieldNode::new(n.length(), i64::from(i == 0))),
            ..none
        },
        "fewer_nodes" => Spoil {
            nodes_less: 1,
            ..none
        },
        "fewer_buffers" => Spoil {
            buffers_less: 1,
            ..none
        },
        "more_buffers" => Spoil {
            buffers_more: 3,
            ..none
        },
        "body_lie" => Spoil {
            body: Some(i64::MAX - 7),
            ..none
        },
        _ => none,
    }
}

/// The same body under metadata that lies.
fn rewritten(sound: &[u8], spoil: &Spoil) -> Vec<u8> {
    let (body, end) = wire::bounds(sound, 0);
    let message: Message = root_as_message(&sound[8..body]).expect("a sound message");
    let batch = message.header_as_record_batch().expect("a batch");
    let nodes: Vec<FieldNode> = batch
        .nodes()
        .expect("nodes")
        .iter()
        .enumerate()
        .map(|(i, n)| spoil.node.map_or(*n, |f| f(i, n)))
        .collect();
    let mut buffers: Vec<Buffer> = batch
        .buffers()
        .expect("buffers")
        .iter()
        .enumerate()
        .map(|(i, b)| spoil.buffer.map_or(*b, |f| f(i, b)))
        .collect();
    buffers.extend((0..spoil.buffers_more).map(|_| Buffer::new(0, 0)));
    let mut fbb = FlatBufferBuilder::new();
    let compression = spoil.compressed.then(|| {
        let mut builder = BodyCompressionBuilder::new(&mut fbb);
        builder.add_codec(CompressionType::LZ4_FRAME);
        builder.finish()
    });
    let nodes = fbb.create_vector(&nodes[..nodes.len() - spoil.nodes_less]);
    let buffers = fbb.create_vector(&buffers[..buffers.len() - spoil.buffers_less]);
    let mut builder = RecordBatchBuilder::new(&mut fbb);
    builder.add_length(spoil.rows.unwrap_or(batch.length()));
    builder.add_nodes(nodes);
    builder.add_buffers(buffers);
    if let Some(compression) = compression {
        builder.add_compression(compression);
    }
    let header = builder.finish().as_union_value();
    let mut builder = MessageBuilder::new(&mut fbb);
    builder.add_version(spoil.version.unwrap_or(MetadataVersion::V5));
    builder.add_header_type(spoil.header.unwrap_or(MessageHeader::RecordBatch));
    builder.add_header(header);
    builder.add_bodyLength(spoil.body.unwrap_or((end - body) as i64));
    let root = builder.finish();
    fbb.finish(root, None);
    framed(fbb.finished_data(), &sound[body..end])
}

pub fn framed(metadata: &[u8], body: &[u8]) -> Vec<u8> {
    let padded = (metadata.len() + 8).next_multiple_of(64) - 8;
    let mut out = vec![0xff; 4];
    out.extend_from_slice(&(padded as i32).to_le_bytes());
    out.extend_from_slice(metadata);
    out.resize(8 + padded, 0);
    out.extend_from_slice(body);
    out
}

/// Spoils values in the body. The second column of the test's table is text.
fn in_body(operation: &str, mut sound: Vec<u8>) -> Vec<u8> {
    let (body, _) = wire::bounds(&sound, 0);
    let message = root_as_message(&sound[8..body]).expect("a sound message");
    let buffers = message
        .header_as_record_batch()
        .and_then(|b| b.buffers())
        .expect("buffers");
    // Validity and values of the first column, then validity, offsets and values of the second.
    let (offsets, values) = (
        body + buffers.get(3).offset() as usize,
        body + buffers.get(4).offset() as usize,
    );
    match operation {
        "bad_utf8" => sound[values] = 0xff,
        "decreasing_offsets" => {
            sound[offsets + 4..offsets + 8].copy_from_slice(&(-5_i32).to_le_bytes())
        }
        _ => sound[offsets + 8..offsets + 12].copy_from_slice(&i32::MAX.to_le_bytes()),
    }
    sound
}

/// A dictionary that no column asked for; or, when the table is one dictionary column, a key past its end.
fn dictionary(operation: &str) -> Vec<u8> {
    let values = Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
    let keys = UInt8Array::from(vec![0, 1]);
    let column = DictionaryArray::try_new(keys, values).expect("sound keys");
    let field = Field::new("d", column.data_type().clone(), true);
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(vec![field])),
        vec![Arc::new(column) as ArrayRef],
    );
    let mut bytes = wire::encode(&batch.expect("one column"));
    if operation == "dictionary_key" {
        let (_, next) = wire::bounds(&bytes, 0);
        let (body, _) = wire::bounds(&bytes, next);
        bytes[body] = 200;
    }
    bytes
}
