//! Batches for a guest: the needed columns only, one record-batch message a call, dictionaries when they change.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::ByteArrayType;
use arrow_array::{Array, ArrayRef, GenericByteArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType};
use odibi_story::failure::{Failure, FailureClass};

use super::compose::{Composer, values_at};
use super::echo::Sent;

/// Data buffers of views that may be sent although no view points into them.
const SLACK_BYTES: usize = 64 << 10;

/// Encodes the batches of one port.
pub(crate) struct Encoder {
    need: Vec<usize>,
    /// For what the composer leaves to it, and for dictionaries.
    encoder: Option<StreamEncoder>,
    composer: Composer,
    /// The dictionaries of the columns that were sent last.
    words: Vec<ArrayRef>,
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
    pub(super) fn new(parts: Vec<Buffer>) -> Self {
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
            composer: Composer::new(),
            words: Vec::new(),
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
        if self.has_words(&batch)
            && let Some((message, known)) = self.composer.compose(&batch)
        {
            return Ok(Sent::known_by(batch, message, known));
        }
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
        self.words = words(&batch).cloned().collect();
        Ok(Sent::new(batch, Message::new(parts)))
    }

    /// Whether the guest has the dictionaries of the columns.
    fn has_words(&mut self, batch: &RecordBatch) -> bool {
        let mut sent = self.words.iter_mut();
        for words in words(batch) {
            let Some(sent) = sent.next() else {
                return false;
            };
            if Arc::ptr_eq(sent, words) {
                continue;
            }
            if sent != words {
                return false;
            }
            // They are compared once for all parts of a batch.
            *sent = Arc::clone(words);
        }
        true
    }
}

/// The dictionaries of the columns.
fn words(batch: &RecordBatch) -> impl Iterator<Item = &ArrayRef> {
    let columns = batch.columns().iter();
    columns.filter_map(|column| Some(column.as_any_dictionary_opt()?.values()))
}

/// Bytes of the buffers of an array, as far as its rows take them.
fn size(array: &dyn Array) -> u64 {
    let rows = array.len();
    let marks = array.nulls().map_or(0, |_| rows.div_ceil(8));
    #[expect(clippy::wildcard_enum_match_arm, reason = "arrow knows all others")]
    let values = match array.data_type() {
        DataType::Boolean => rows.div_ceil(8),
        DataType::Utf8 => in_bytes(array.as_string::<i32>()),
        DataType::LargeUtf8 => in_bytes(array.as_string::<i64>()),
        DataType::Binary => in_bytes(array.as_binary::<i32>()),
        DataType::LargeBinary => in_bytes(array.as_binary::<i64>()),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            return size(dictionary.keys()) + size(dictionary.values());
        }
        other => match other.primitive_width() {
            Some(width) => rows * width,
            None => return array.to_data().get_slice_memory_size().unwrap_or(0) as u64,
        },
    };
    (marks + values) as u64
}

fn in_bytes<T: ByteArrayType>(array: &GenericByteArray<T>) -> usize {
    size_of_val(&**array.offsets()) + values_at(array).len()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int8Type;
    use arrow_array::{
        BooleanArray, DictionaryArray, Int64Array, LargeStringArray, StringArray, StringViewArray,
    };

    use super::*;
    use crate::exchange::decode::Decoder;
    use crate::exchange::frame;
    use crate::limits::Limits;

    /// Two columns of these words.
    fn batch(words: [&[&str]; 2]) -> RecordBatch {
        let columns = words.map(|words| {
            let keys = (0..words.len()).map(|i| i8::try_from(i).unwrap());
            let words = StringArray::from(words.to_vec());
            let column = DictionaryArray::<Int8Type>::new(keys.collect(), Arc::new(words));
            Arc::new(column) as ArrayRef
        });
        RecordBatch::try_from_iter(["a", "b"].into_iter().zip(columns)).unwrap()
    }

    #[test]
    fn sizes_are_those_that_arrow_counts() {
        let numbers = [Some(1), None, Some(3)].repeat(30);
        let flags = numbers.iter().map(|n| n.map(|n| n > 1));
        let texts = |n: &Option<i64>| n.map(|n| "ä".repeat(usize::try_from(n).unwrap()));
        let texts: Vec<Option<String>> = numbers.iter().map(texts).collect();
        let texts = || texts.iter().map(Option::as_deref);
        let columns: [ArrayRef; 6] = [
            Arc::new(Int64Array::from(numbers.clone())),
            Arc::new(flags.collect::<BooleanArray>()),
            Arc::new(texts().collect::<StringArray>()),
            Arc::new(texts().collect::<LargeStringArray>()),
            Arc::new(texts().collect::<DictionaryArray<Int8Type>>()),
            Arc::new(texts().collect::<StringViewArray>()),
        ];
        for column in columns {
            for part in [Arc::clone(&column), column.slice(7, 40), column.slice(3, 0)] {
                let expect = part.to_data().get_slice_memory_size().unwrap();
                assert_eq!(size(part.as_ref()), expect as u64, "{}", part.data_type());
            }
        }
    }

    #[test]
    fn dictionaries_cross_when_they_change() {
        let (xy, zw) = (["x", "y"], ["z", "w"]);
        let steps = [
            (batch([&xy, &zw]), 2),
            (batch([&xy, &zw]), 0),
            (batch([&xy, &zw]), 0),
            (batch([&xy, &xy]), 1),
            (batch([&zw, &xy]), 1),
            (batch([&zw, &xy]).slice(0, 0), 0),
            (batch([&zw, &xy]).slice(1, 1), 0),
            (batch([&xy, &zw]), 2),
        ];
        let mut encoder = Encoder::new(vec![0, 1]);
        let mut decoder = Decoder::new(&steps[0].0.schema()).unwrap();
        let limits = Limits::default();
        for (step, (batch, expect)) in steps.into_iter().enumerate() {
            let sent = encoder.encode(&batch).unwrap();
            let bytes = Buffer::from_vec(sent.message().to_vec());
            let messages = frame::split(&bytes, bytes.len(), &limits).unwrap();
            assert_eq!(messages.len() - 1, expect, "step {step}");
            assert_eq!(
                decoder.decode(&bytes, &limits).unwrap(),
                batch,
                "step {step}"
            );
        }
    }
}
