//! The message of a batch of flat columns, from the buffers as they lie in memory.
//!
//! Arrow's encoder writes the same bytes for any batch, and takes arrays apart into a form that fits every type. That is most
//! of what it costs to encode a batch. What is written here is known column by column, and so is where each buffer has come to
//! lie, which [`super::echo`] asks for.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::ByteArrayType;
use arrow_array::{Array, GenericByteArray, RecordBatch, downcast_primitive_array};
use arrow_buffer::{ArrowNativeType as _, Buffer};
use arrow_ipc::{FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::DataType;
use flatbuffers::FlatBufferBuilder;

use super::echo::{Column, Known, Piece};
use super::encode::Message;
use super::frame::{MARKER, PREFIX_BYTES};
use super::lower::in_turn;

/// Where buffers begin: on a multiple of this, as with arrow.
pub(super) const ALIGN_BYTES: usize = 64;
/// How many offsets are made anew at once.
const OFFSETS_BLOCK: usize = 256;

/// Composes one message after the other.
pub(super) struct Composer {
    metadata: FlatBufferBuilder<'static>,
    padding: Buffer,
}

impl Composer {
    pub(super) fn new() -> Self {
        Self {
            metadata: FlatBufferBuilder::new(),
            padding: Buffer::from(&[0; ALIGN_BYTES]),
        }
    }

    /// The record batch alone: the dictionaries of its columns have to be known. `None` for columns of other types than those
    /// that [`buffers`] knows, and for no rows.
    pub(super) fn compose(&mut self, batch: &RecordBatch) -> Option<(Message, Known)> {
        if batch.num_rows() == 0 {
            return None;
        }
        let count = batch.num_columns();
        let mut nodes = Vec::with_capacity(count);
        let mut places = Vec::with_capacity(3 * count);
        let mut columns = Vec::with_capacity(count);
        let mut pieces = Vec::with_capacity(3 * count);
        let mut end = 0;
        for (column, array) in batch.columns().iter().enumerate() {
            let nulls = array.null_count();
            nodes.push(FieldNode::new(long(array.len())?, long(nulls)?));
            let marks = array.nulls().filter(|_| nulls > 0);
            let marks = marks.map_or_else(Buffer::default, |marks| marks.inner().sliced());
            let (first, second) = buffers(array.as_ref())?;
            let before = pieces.len();
            let all = [Some(marks), Some(first), second];
            for (buffer, bytes) in all.into_iter().flatten().enumerate() {
                let at = end..end + bytes.len();
                places.push(arrow_ipc::Buffer::new(long(at.start)?, long(bytes.len())?));
                end = at.end.next_multiple_of(ALIGN_BYTES);
                if !bytes.is_empty() {
                    pieces.push(Piece {
                        at,
                        bytes,
                        column,
                        buffer,
                    });
                }
            }
            columns.push(Column {
                array: Arc::clone(array),
                nulls: long(nulls)?,
                pieces: pieces.len() - before,
            });
        }
        let head = self.head(batch.num_rows(), &nodes, &places, end)?;
        let mut parts = Vec::with_capacity(1 + 2 * pieces.len());
        let body = head.len();
        parts.push(head);
        for piece in &mut pieces {
            parts.push(piece.bytes.clone());
            let over = piece.at.end.next_multiple_of(ALIGN_BYTES) - piece.at.end;
            if over > 0 {
                parts.push(self.padding.slice_with_length(0, over));
            }
            piece.at = piece.at.start + body..piece.at.end + body;
        }
        Some((Message::new(parts), Known { columns, pieces }))
    }

    /// All in front of the body.
    fn head(
        &mut self,
        rows: usize,
        nodes: &[FieldNode],
        buffers: &[arrow_ipc::Buffer],
        body: usize,
    ) -> Option<Buffer> {
        let builder = &mut self.metadata;
        builder.reset();
        let buffers = builder.create_vector(buffers);
        let nodes = builder.create_vector(nodes);
        let mut batch = RecordBatchBuilder::new(builder);
        batch.add_length(long(rows)?);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        let batch = batch.finish().as_union_value();
        let mut message = MessageBuilder::new(builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(long(body)?);
        message.add_header(batch);
        let message = message.finish();
        builder.finish(message, None);
        let metadata = builder.finished_data();
        let length = (PREFIX_BYTES + metadata.len()).next_multiple_of(ALIGN_BYTES);
        let mut head = Vec::with_capacity(length);
        head.extend_from_slice(&MARKER);
        head.extend_from_slice(&u32::try_from(length - PREFIX_BYTES).ok()?.to_le_bytes());
        head.extend_from_slice(metadata);
        head.resize(length, 0);
        Some(Buffer::from_vec(head))
    }
}

fn long(number: usize) -> Option<i64> {
    i64::try_from(number).ok()
}

/// The buffers of a column but for its marks of nulls: one, or offsets and values. `None` for a type that is left to arrow.
fn buffers(array: &dyn Array) -> Option<(Buffer, Option<Buffer>)> {
    let one = downcast_primitive_array!(
        array => array.values().inner().clone(),
        DataType::Boolean => array.as_boolean().values().sliced(),
        DataType::Utf8 => return in_bytes(array.as_string::<i32>()),
        DataType::LargeUtf8 => return in_bytes(array.as_string::<i64>()),
        DataType::Binary => return in_bytes(array.as_binary::<i32>()),
        DataType::LargeBinary => return in_bytes(array.as_binary::<i64>()),
        DataType::Dictionary(_, _) => return buffers(array.as_any_dictionary().keys()),
        _ => return None,
    );
    Some((one, None))
}

/// Offsets that begin with 0, and the values that they lead to.
fn in_bytes<T: ByteArrayType>(array: &GenericByteArray<T>) -> Option<(Buffer, Option<Buffer>)> {
    let offsets = array.offsets();
    let first = *offsets.first()?;
    let at = values_at(array);
    let values = array.values().slice_with_length(at.start, at.len());
    let offsets = if at.start == 0 {
        offsets.inner().inner().clone()
    } else {
        let mut from_zero = vec![T::Offset::default(); offsets.len()];
        in_turn::<_, OFFSETS_BLOCK>(&mut from_zero, offsets, |to, from| {
            let pairs = to.iter_mut().zip(from);
            pairs.for_each(|(to, from)| *to = *from - first);
        });
        Buffer::from_vec(from_zero)
    };
    Some((offsets, Some(values)))
}

/// Which of the bytes that an array holds are those of its rows.
pub(super) fn values_at<T: ByteArrayType>(array: &GenericByteArray<T>) -> Range<usize> {
    let at = |offset: Option<&T::Offset>| offset.map_or(0, |offset| offset.as_usize());
    let offsets = array.offsets();
    at(offsets.first())..at(offsets.last())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::{Int16Type, IntervalMonthDayNano};
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
        Float64Array, Int8Array, Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray,
        LargeStringArray, ListArray, NullArray, StringArray, StringViewArray,
        TimestampMicrosecondArray,
    };
    use arrow_ipc::writer::StreamEncoder;

    use super::*;
    use crate::exchange::echo::Sent;
    use crate::exchange::encode::skip_schema;
    use crate::exchange::random::Random;

    const ROWS: i64 = 400;

    /// A column of every layout that is composed, without nulls and with some.
    fn columns() -> Vec<ArrayRef> {
        let all = || 0..ROWS;
        let some = || all().map(|i| (i % 7 != 3).then_some(i));
        let byte = |i: i64| i8::try_from(i % 100).unwrap();
        let text = |i: i64| format!("{i} ä").repeat(usize::try_from(i % 4).unwrap());
        let texts = || some().map(|i| i.map(text)).collect::<Vec<_>>();
        let bytes: Vec<_> = texts()
            .into_iter()
            .map(|t| t.map(String::into_bytes))
            .collect();
        let words = texts()
            .into_iter()
            .map(|t| t.map(|t| t.chars().take(1).collect()));
        let words: Vec<Option<String>> = words.collect();
        let intervals = some().map(|i| i.map(|i| IntervalMonthDayNano::new(1, 2, i)));
        vec![
            Arc::new(Int64Array::from_iter_values(all())),
            Arc::new(some().collect::<Int64Array>()),
            Arc::new(some().map(|i| i.map(byte)).collect::<Int8Array>()),
            Arc::new(Float64Array::from_iter_values(
                all().map(|i| i as f64 / 3.0),
            )),
            Arc::new(
                some()
                    .map(|i| i.map(i128::from))
                    .collect::<Decimal128Array>(),
            ),
            Arc::new(Date32Array::from_iter_values(
                0..i32::try_from(ROWS).unwrap(),
            )),
            Arc::new(
                some()
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            Arc::new(intervals.collect::<IntervalMonthDayNanoArray>()),
            Arc::new(
                some()
                    .map(|i| i.map(|i| i % 3 == 0))
                    .collect::<BooleanArray>(),
            ),
            Arc::new(StringArray::from(texts())),
            Arc::new(StringArray::from_iter_values(all().map(text))),
            Arc::new(LargeStringArray::from(texts())),
            Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>()),
            Arc::new(
                bytes
                    .iter()
                    .map(Option::as_deref)
                    .collect::<LargeBinaryArray>(),
            ),
            Arc::new(
                words
                    .iter()
                    .map(Option::as_deref)
                    .collect::<DictionaryArray<Int16Type>>(),
            ),
        ]
    }

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let names = (0..).map(|i: usize| i.to_string());
        let columns = names
            .zip(columns)
            .map(|(name, column)| (name, column, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_arrow_and_lie_where_it_is_said() {
        let table = batch(columns());
        let mut encoder = StreamEncoder::try_new(&table.schema()).unwrap();
        encoder.encode(&table).unwrap();
        let mut composer = Composer::new();
        let mut random = Random::new(1);
        for round in 0..500 {
            let rows = 1 + random.below(200);
            let batch = match round {
                0 => table.clone(),
                _ => table.slice(random.below(200), rows),
            };
            let expect = encoder.encode(&batch).unwrap();
            let expect: Vec<u8> = expect.iter().flat_map(|part| part.to_vec()).collect();
            let (message, known) = composer.compose(&batch).unwrap();
            let got = message.to_vec();
            assert!(got == expect, "{rows} rows");
            for piece in &known.pieces {
                assert_eq!(got[piece.at.clone()], *piece.bytes);
            }
            let looked = Sent::new(batch, message).look().unwrap();
            let columns = |known: &Known| {
                let columns = known.columns.iter();
                columns.map(|c| (c.nulls, c.pieces)).collect::<Vec<_>>()
            };
            assert_eq!(columns(&known), columns(&looked));
            let pieces = |known: &Known| {
                let pieces = known.pieces.iter();
                let pieces = pieces.map(|p| (p.at.clone(), p.column, p.buffer, p.bytes.clone()));
                pieces.collect::<Vec<_>>()
            };
            assert_eq!(pieces(&known), pieces(&looked));
        }
    }

    #[test]
    fn long_offsets_begin_with_0() {
        let texts = || (0..20_000).map(|i| format!("{i}").repeat(i % 3));
        let columns: [ArrayRef; 2] = [
            Arc::new(StringArray::from_iter_values(texts())),
            Arc::new(LargeStringArray::from_iter_values(texts())),
        ];
        let table = batch(columns.into());
        let mut encoder = StreamEncoder::try_new(&table.schema()).unwrap();
        encoder.encode(&table).unwrap();
        for (at, rows) in [(1, 4_095), (1, 4_096), (77, 5_461), (3, 19_997)] {
            let batch = table.slice(at, rows);
            let expect = encoder.encode(&batch).unwrap();
            let expect: Vec<u8> = expect.iter().flat_map(|part| part.to_vec()).collect();
            let (message, _) = Composer::new().compose(&batch).unwrap();
            assert!(message.to_vec() == expect, "{rows} rows from {at}");
        }
    }

    #[test]
    fn one_column_and_none_are_composed_as_well() {
        let columns = columns().into_iter().map(|column| vec![column]);
        for columns in columns.chain([Vec::new()]) {
            let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(400));
            let schema = match &columns[..] {
                [] => arrow_schema::Schema::empty().into(),
                _ => batch(columns.clone()).schema(),
            };
            let batch = RecordBatch::try_new_with_options(schema, columns, &options).unwrap();
            let mut encoder = StreamEncoder::try_new(&batch.schema()).unwrap();
            let mut expect = encoder.encode(&batch).unwrap();
            skip_schema(&mut expect);
            let expect: Vec<u8> = expect.iter().flat_map(|part| part.to_vec()).collect();
            let (message, _) = Composer::new().compose(&batch).unwrap();
            let got = message.to_vec();
            // A dictionary stands in front.
            assert!(expect.ends_with(&got), "{}", batch.schema());
        }
    }

    #[test]
    fn other_columns_and_empty_ones_are_left_to_arrow() {
        let lists = ListArray::from_iter_primitive::<Int16Type, _, _>([Some([Some(1)])]);
        let others: [ArrayRef; 4] = [
            Arc::new(lists),
            Arc::new(StringViewArray::from(vec!["a"])),
            Arc::new(NullArray::new(1)),
            Arc::new(Int64Array::from(Vec::<i64>::new())),
        ];
        for column in others {
            assert!(Composer::new().compose(&batch(vec![column])).is_none());
        }
    }
}
