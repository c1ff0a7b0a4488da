//! A quick look at batches of flat columns, which most are: numbers, times, texts, bytes, and keys into dictionaries that
//! are known already. Where it finds everything in order, arrow need not look at each value by itself, which costs it some
//! 2 ns for a text. Where it does not, or does not know the type, arrow validates and finds the words for what is wrong.

use arrow_data::UnsafeFlag;
use arrow_ipc::{FieldNode, RecordBatch};
use arrow_schema::{DataType, Field, Schema};

/// Whether arrow may skip its validation of a batch whose layout has passed [`super::layout::check`]. `dictionary` knows
/// how many values the dictionary of a field has.
pub(crate) fn skip_validation(
    batch: RecordBatch<'_>,
    schema: &Schema,
    body: &[u8],
    dictionary: impl Fn(&Field) -> Option<usize>,
) -> UnsafeFlag {
    let mut skip = UnsafeFlag::new();
    // Arrow reads numbers in the order of this machine, this module in that of the contract.
    let same_order = cfg!(target_endian = "little");
    if same_order && is_sound(batch, schema, body, dictionary).is_some() {
        #[expect(unsafe_code, reason = "what arrow would look for has been looked for")]
        // SAFETY: every column is flat, its buffers lie in the body and are large enough, it has as many nulls as it says,
        // its offsets rise from zero or more to the end of its values or less, its texts are UTF-8 and begin and end
        // between characters, its keys lead into its dictionary.
        unsafe {
            skip.set(true);
        }
    }
    skip
}

fn is_sound(
    batch: RecordBatch<'_>,
    schema: &Schema,
    body: &[u8],
    dictionary: impl Fn(&Field) -> Option<usize>,
) -> Option<()> {
    let mut walk = Walk {
        nodes: batch.nodes()?.iter(),
        buffers: batch.buffers()?.iter(),
        body,
    };
    let mut fields = schema.fields().iter();
    fields.try_for_each(|field| walk.column(field, &dictionary))
}

struct Walk<'a, N, B> {
    nodes: N,
    buffers: B,
    body: &'a [u8],
}

/// `None` everywhere: something is wrong with it, or it is not known what.
impl<'a, 'b, N, B> Walk<'a, N, B>
where
    N: Iterator<Item = &'b FieldNode>,
    B: Iterator<Item = &'b arrow_ipc::Buffer>,
{
    fn column(
        &mut self,
        field: &Field,
        dictionary: impl Fn(&Field) -> Option<usize>,
    ) -> Option<()> {
        let node = self.nodes.next()?;
        // An empty column may leave its offsets out.
        let rows = usize::try_from(node.length()).ok().filter(|n| *n > 0)?;
        let validity = self.buffer()?;
        let nulls = usize::try_from(node.null_count()).ok()?;
        if nulls > 0 && unset(validity, rows)? != nulls {
            return None;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "arrow knows all others")]
        match field.data_type() {
            DataType::Utf8 => texts(self.offsets::<4>(rows)?, i32::from_le_bytes, self.buffer()?),
            DataType::LargeUtf8 => {
                texts(self.offsets::<8>(rows)?, i64::from_le_bytes, self.buffer()?)
            }
            DataType::Binary => {
                rising(self.offsets::<4>(rows)?, i32::from_le_bytes, self.buffer()?)
            }
            DataType::LargeBinary => {
                rising(self.offsets::<8>(rows)?, i64::from_le_bytes, self.buffer()?)
            }
            DataType::Dictionary(key, _) => within(dictionary(field)?, self.buffer()?, key, rows),
            fixed if fixed.is_primitive() || *fixed == DataType::Boolean => self.buffer().map(drop),
            _ => None,
        }
    }

    fn buffer(&mut self) -> Option<&'a [u8]> {
        let buffer = self.buffers.next()?;
        let start = usize::try_from(buffer.offset()).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        self.body.get(start..start.checked_add(length)?)
    }

    fn offsets<const BYTES: usize>(&mut self, rows: usize) -> Option<&'a [[u8; BYTES]]> {
        let (offsets, _) = self.buffer()?.as_chunks();
        offsets.get(..=rows)
    }
}

/// Bits that are not set among the first `rows`.
fn unset(validity: &[u8], rows: usize) -> Option<usize> {
    let (words, bytes) = validity.get(..rows / 8)?.as_chunks();
    let set: u32 = words
        .iter()
        .map(|word| u64::from_le_bytes(*word).count_ones())
        .sum();
    let rest: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    let last = match rows % 8 {
        0 => 0,
        bits => (validity.get(rows / 8)? & !(u8::MAX << bits)).count_ones(),
    };
    rows.checked_sub(usize::try_from(set + rest + last).ok()?)
}

/// Offsets of which none is smaller than the one before, from zero or more to the length of the values or less. There is
/// at least one. Without an early end, so that the compiler can compare several at once.
fn rising<const BYTES: usize, T: Copy + Ord + TryInto<usize>>(
    offsets: &[[u8; BYTES]],
    read: impl Fn([u8; BYTES]) -> T,
    values: &[u8],
) -> Option<()> {
    let pairs = offsets.iter().zip(offsets.get(1..)?);
    let rise = pairs.fold(true, |so_far, (low, high)| {
        so_far & (read(*low) <= read(*high))
    });
    let usize_of = |offset: &[u8; BYTES]| read(*offset).try_into().ok();
    let first: Option<usize> = usize_of(offsets.first()?);
    let last = usize_of(offsets.last()?)?;
    (rise && first.is_some() && last <= values.len()).then_some(())
}

fn texts<const BYTES: usize, T: Copy + Ord + TryInto<usize>>(
    offsets: &[[u8; BYTES]],
    read: impl Fn([u8; BYTES]) -> T,
    values: &[u8],
) -> Option<()> {
    rising(offsets, &read, values)?;
    if values.is_ascii() {
        return Some(());
    }
    let text = str::from_utf8(values).ok()?;
    let mut offsets = offsets.iter().map(|offset| read(*offset).try_into().ok());
    offsets
        .all(|offset| offset.is_some_and(|offset: usize| text.is_char_boundary(offset)))
        .then_some(())
}

/// Whether the first `rows` keys lead to one of so many values, those of nulls included.
fn within(values: usize, keys: &[u8], key: &DataType, rows: usize) -> Option<()> {
    /// As a number without a sign: a key below zero is one of the upper half.
    fn largest<const BYTES: usize, T: Ord + Into<u64>>(
        keys: &[u8],
        read: impl Fn([u8; BYTES]) -> T,
        rows: usize,
    ) -> Option<u64> {
        let (keys, _) = keys.as_chunks();
        let keys = keys.get(..rows)?.iter();
        keys.map(|key| read(*key)).max().map(T::into)
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is a key")]
    let largest = match key {
        DataType::Int8 | DataType::UInt8 => largest(keys, u8::from_le_bytes, rows),
        DataType::Int16 | DataType::UInt16 => largest(keys, u16::from_le_bytes, rows),
        DataType::Int32 | DataType::UInt32 => largest(keys, u32::from_le_bytes, rows),
        DataType::Int64 | DataType::UInt64 => largest(keys, u64::from_le_bytes, rows),
        _ => None,
    }?;
    let negative = key.is_signed_integer() && largest >> (8 * key.primitive_width()? - 1) != 0;
    (!negative && largest < values as u64).then_some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::ops::Range;
    use std::sync::Arc;

    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Int8Type, UInt8Type, UInt16Type};
    use arrow_array::{
        Array as _, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Int64Array,
        LargeBinaryArray, LargeStringArray, ListArray, StringArray, StringViewArray,
    };
    use arrow_buffer::Buffer;

    use super::*;
    use crate::exchange::encode::Encoder;
    use crate::exchange::frame;
    use crate::limits::Limits;

    /// Whether a column, spoilt on its way, is found sound. Buffers are counted from 0, validity first.
    fn found_sound(column: ArrayRef, spoil: impl FnOnce(&mut [u8], &[Range<usize>])) -> bool {
        let words = column.as_any_dictionary_opt().map(|d| d.values().len());
        let batch =
            arrow_array::RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        let bytes = Encoder::new(vec![0])
            .encode(&batch)
            .unwrap()
            .message()
            .to_vec();
        let bytes = Buffer::from(bytes);
        let messages = frame::split(&bytes, bytes.len(), &Limits::default()).unwrap();
        let last = messages.last().unwrap();
        let message = last.message.header_as_record_batch().unwrap();
        let mut body = bytes[last.body.clone()].to_vec();
        let ranges = message.buffers().unwrap().iter().map(|buffer| {
            let start = usize::try_from(buffer.offset()).unwrap();
            start..start + usize::try_from(buffer.length()).unwrap()
        });
        spoil(&mut body, &ranges.collect::<Vec<_>>());
        is_sound(message, &batch.schema(), &body, |_| words).is_some()
    }

    fn columns() -> Vec<ArrayRef> {
        let words = || vec![Some("äh"), None, Some("b"), Some("")];
        let bytes = || {
            words()
                .into_iter()
                .map(|w| w.map(str::as_bytes))
                .collect::<Vec<_>>()
        };
        let keys = || ["a", "b", "a"].map(Some).into_iter().chain([None]);
        vec![
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(BooleanArray::from(vec![None, Some(true)])),
            Arc::new(StringArray::from(words())),
            Arc::new(LargeStringArray::from(words())),
            Arc::new(BinaryArray::from(bytes())),
            Arc::new(LargeBinaryArray::from(bytes())),
            Arc::new(keys().collect::<DictionaryArray<Int8Type>>()),
            Arc::new(keys().collect::<DictionaryArray<UInt16Type>>()),
        ]
    }

    #[test]
    fn sound_columns_are_found_sound() {
        for column in columns() {
            let data_type = column.data_type().clone();
            assert!(found_sound(column, |_, _| {}), "{data_type}");
        }
    }

    #[test]
    fn nulls_are_counted() {
        for column in columns() {
            let data_type = column.data_type().clone();
            // Behind the last row anything may stand.
            let ends = column.len();
            let flipped = |bit: u8| {
                found_sound(Arc::clone(&column), |body, at| {
                    body[at[0].start] ^= 1 << bit
                })
            };
            assert!(!flipped(0), "{data_type}");
            assert!(flipped(u8::try_from(ends).unwrap()), "{data_type}");
        }
    }

    #[test]
    fn offsets_must_rise_inside_the_values() {
        let numbers = |column: &ArrayRef, at: usize, to: i64| {
            let wide = matches!(
                column.data_type(),
                DataType::LargeUtf8 | DataType::LargeBinary
            );
            let narrow = i32::try_from(to).unwrap().to_le_bytes();
            let bytes = if wide {
                to.to_le_bytes().to_vec()
            } else {
                narrow.to_vec()
            };
            found_sound(Arc::clone(column), |body, ranges| {
                let start = ranges[1].start + at * bytes.len();
                body[start..start + bytes.len()].copy_from_slice(&bytes);
            })
        };
        // "äh", a null, "b", "": 0 3 3 4 4.
        for column in &columns()[2..6] {
            let data_type = column.data_type();
            assert!(numbers(column, 0, 2), "{data_type}: begins late");
            assert!(
                !numbers(column, 0, -1),
                "{data_type}: begins before the values"
            );
            assert!(!numbers(column, 1, 4), "{data_type}: falls");
            assert!(
                !numbers(column, 2, 5),
                "{data_type}: rises too far and falls"
            );
            assert!(
                !numbers(column, 4, 1 << 20),
                "{data_type}: ends behind the values"
            );
            assert!(
                !numbers(column, 4, -1),
                "{data_type}: ends before the values"
            );
            // The second byte of "ä".
            let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
            assert_eq!(
                numbers(column, 0, 1),
                !text,
                "{data_type}: begins in a character"
            );
        }
    }

    #[test]
    fn texts_must_be_utf8() {
        for column in &columns()[2..6] {
            let text = matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8);
            let got = found_sound(Arc::clone(column), |body, at| body[at[2].start + 1] = 0xff);
            assert_eq!(got, !text, "{}", column.data_type());
        }
    }

    #[test]
    fn keys_must_lead_into_the_dictionary() {
        for column in &columns()[6..] {
            for key in [2, 0xff] {
                let got = found_sound(Arc::clone(column), |body, at| body[at[1].start] = key);
                assert!(!got, "{} {key}", column.data_type());
            }
        }
    }

    #[test]
    fn keys_below_zero_are_none_however_many_words_there_are() {
        let words: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..200).map(|i| i.to_string()),
        ));
        let signed = DictionaryArray::<Int8Type>::new(vec![0, 127].into(), Arc::clone(&words));
        let unsigned = DictionaryArray::<UInt8Type>::new(vec![0, 127].into(), words);
        let with = |column: &ArrayRef, key: u8| {
            found_sound(Arc::clone(column), |body, at| body[at[1].start] = key)
        };
        let (signed, unsigned): (ArrayRef, ArrayRef) = (Arc::new(signed), Arc::new(unsigned));
        assert!(with(&signed, 127) && with(&unsigned, 127));
        assert!(!with(&signed, 128) && with(&unsigned, 128));
        assert!(!with(&signed, 199) && with(&unsigned, 199));
        assert!(!with(&signed, 200) && !with(&unsigned, 200));
    }

    #[test]
    fn nulls_of_many_rows_are_counted() {
        for rows in [63, 64, 65, 71, 72, 128, 200] {
            let column: ArrayRef = Arc::new(
                (0..rows)
                    .map(|i| (i % 3 > 0).then_some(i))
                    .collect::<Int64Array>(),
            );
            assert!(found_sound(Arc::clone(&column), |_, _| {}), "{rows}");
            for row in [0, 7, 8, 62, 63, 64, 127, 199] {
                if row < rows {
                    let bit = 1 << (row % 8);
                    let at_byte = usize::try_from(row / 8).unwrap();
                    let got = found_sound(Arc::clone(&column), |body, at| {
                        body[at[0].start + at_byte] ^= bit
                    });
                    assert!(!got, "{row} of {rows}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_is_left_to_arrow() {
        let lists = ListArray::from_iter_primitive::<Int8Type, _, _>([Some([Some(1)])]);
        let views = StringViewArray::from(vec!["a"]);
        let empty = StringArray::from(Vec::<&str>::new());
        let columns: [ArrayRef; 3] = [Arc::new(lists), Arc::new(views), Arc::new(empty)];
        for column in columns {
            let data_type = column.data_type().clone();
            assert!(!found_sound(column, |_, _| {}), "{data_type}");
        }
    }
}
