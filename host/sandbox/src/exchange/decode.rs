//! The gate: bytes of a guest become a batch of the planned schema, or a failure.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::Buffer;
use arrow_data::UnsafeFlag;
use arrow_ipc::MetadataVersion;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary_impl};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use flatbuffers::root;
use odibi_story::failure::{Failure, FailureClass};

use super::echo::{Received, Rest, Split};
use super::{broken, flat, frame, layout, schema, values};
use crate::host_api::report::clean;
use crate::limits::{Limits, exceeded};

/// How many comparisons of words are remembered for a column: the parts of a batch have the same words and follow each other, in
/// turn with those of other ports; a guest may send back other columns in its place.
const COMPARED_MAX: usize = 16;

/// The host's own words, while it has them, and whether a guest's are equal.
type Compared = (Weak<dyn Array>, bool);

/// Decodes the batches of one schema; remembers its dictionaries.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    /// The planned columns, their dictionaries numbered from 0 in depth-first order, as arrow's own writers do.
    schema: SchemaRef,
    dictionary_ids: HashSet<i64>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Bytes of each of them, as sent.
    dictionary_bytes: HashMap<i64, u64>,
    /// With which of the host's own words each of them has been compared, and whether they are equal.
    compared: HashMap<i64, Vec<Compared>>,
}

impl Decoder {
    /// A decoder for batches of exactly these columns.
    ///
    /// # Errors
    /// `Internal` when arrow cannot express the schema in IPC.
    pub(crate) fn new(planned: &Schema) -> Result<Self, Failure> {
        // Our own bytes, so arrow's own reader will do; it is what gives fields their dictionary numbers.
        let bytes = schema::write(planned)?;
        let numbered = arrow_ipc::convert::try_schema_from_ipc_buffer(&bytes)
            .map_err(|e| super::encode::failed(&e))?;
        let mut dictionary_ids = HashSet::new();
        for field in numbered.flattened_fields() {
            #[expect(
                deprecated,
                reason = "arrow has no other way to tell the numbers in a decoded schema"
            )]
            dictionary_ids.extend(field.dict_id());
        }
        Ok(Self {
            schema: Arc::new(numbered),
            dictionary_ids,
            dictionaries: HashMap::new(),
            dictionary_bytes: HashMap::new(),
            compared: HashMap::new(),
        })
    }

    /// Decodes one `ipc` value of the data path.
    ///
    /// # Errors
    /// `contract/ipc`, `contract/schema`, `limit/batch-output`.
    pub(crate) fn decode(
        &mut self,
        bytes: &Buffer,
        limits: &Limits,
    ) -> Result<RecordBatch, Failure> {
        let messages = frame::split(bytes, bytes.len(), limits)?;
        let (batch, body) = self.last(&messages, bytes, limits)?;
        let body = bytes.slice_with_length(body.start, body.len());
        let decoded = self.read(batch, Arc::clone(&self.schema), &body)?;
        values::check(&decoded, limits)?;
        Ok(decoded)
    }

    /// As [`Self::decode`], but that columns which came back are the host's own.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(crate) fn receive(
        &mut self,
        received: Received,
        limits: &Limits,
    ) -> Result<RecordBatch, Failure> {
        match self.split(&received, limits)? {
            Some(batch) => Ok(batch),
            None => self.decode(&received.fill(), limits),
        }
    }

    /// `None` when nothing came back, or something else is unusual.
    fn split(
        &mut self,
        received: &Received,
        limits: &Limits,
    ) -> Result<Option<RecordBatch>, Failure> {
        let Some(head) = received.head() else {
            return Ok(None);
        };
        let Ok(messages) = frame::split(&head, received.len(), limits) else {
            return Ok(None);
        };
        let (batch, body) = self.last(&messages, &head, limits)?;
        let schema = Arc::clone(&self.schema);
        let words = |field: &Field, own: &ArrayRef| self.are_words(field, own);
        let split = received.split(batch, schema.fields(), body, words);
        let Some(Split { came_back, rest }) = split else {
            return Ok(None);
        };
        let rest = match rest.map(|rest| self.rest(&rest, limits)) {
            // By itself it is less than a batch: it may seem too short, and be enough together with what came back.
            Some(None) => return Ok(None),
            Some(Some(rest)) => Some(rest?),
            None => None,
        };
        let mut others = rest.iter().flat_map(|rest| rest.columns().iter().cloned());
        let columns = came_back
            .into_iter()
            .filter_map(|own| own.or_else(|| others.next()))
            .collect();
        let rows = usize::try_from(batch.length()).unwrap_or_default();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let whole = RecordBatch::try_new_with_options(schema, columns, &options);
        let whole = whole.map_err(|e| refused(&e))?;
        values::check(&whole, limits)?;
        Ok(Some(whole))
    }

    /// `None` when it is not sound by itself.
    fn rest(&self, rest: &Rest, limits: &Limits) -> Option<Result<RecordBatch, Failure>> {
        let batch = root::<arrow_ipc::RecordBatch<'_>>(&rest.metadata).ok()?;
        layout::check(batch, rest.schema.fields(), &(0..rest.body.len()), limits).ok()?;
        Some(self.read(batch, Arc::clone(&rest.schema), &rest.body))
    }

    /// Whether the host's own words are those that have come for a column. The last few are compared once.
    fn are_words(&mut self, field: &Field, own: &ArrayRef) -> bool {
        #[expect(deprecated, reason = "see `new`")]
        let Some((id, words)) = field
            .dict_id()
            .and_then(|id| Some((id, self.dictionaries.get(&id)?)))
        else {
            return false;
        };
        let compared = self.compared.entry(id).or_default();
        compared.retain(|(other, _)| other.strong_count() > 0);
        let mut compared_with = compared.iter();
        let found =
            compared_with.find(|(other, _)| std::ptr::addr_eq(other.as_ptr(), Arc::as_ptr(own)));
        if let Some((_, equal)) = found {
            return *equal;
        }
        let equal = words == own;
        if compared.len() == COMPARED_MAX {
            compared.remove(0);
        }
        compared.push((Arc::downgrade(own), equal));
        equal
    }

    /// Reads the dictionaries in front of a batch, and checks its layout. The bytes may lack the end of its body.
    fn last<'a>(
        &mut self,
        messages: &'a [frame::Framed<'a>],
        bytes: &Buffer,
        limits: &Limits,
    ) -> Result<(arrow_ipc::RecordBatch<'a>, &'a Range<usize>), Failure> {
        let Some((last, before)) = messages.split_last() else {
            return Err(broken("ipc", "an emitted batch is empty"));
        };
        for framed in before {
            self.dictionary(framed, bytes, limits)?;
        }
        let batch = last.message.header_as_record_batch().ok_or_else(|| {
            broken(
                "ipc",
                "an emitted batch does not end with a RecordBatch message",
            )
        })?;
        layout::check(batch, self.schema.fields(), &last.body, limits)?;
        Ok((batch, &last.body))
    }

    /// Reads a batch of these columns whose layout was checked.
    fn read(
        &self,
        batch: arrow_ipc::RecordBatch<'_>,
        schema: SchemaRef,
        body: &Buffer,
    ) -> Result<RecordBatch, Failure> {
        let skip = flat::skip_validation(batch, &schema, body, |field| self.words(field));
        guarded(|| {
            let version = MetadataVersion::V5;
            let decoded =
                RecordBatchDecoder::try_new(body, batch, schema, &self.dictionaries, &version)?
                    .with_skip_validation(skip)
                    .read_record_batch()?;
            // Skipped with the rest: whether the columns make a batch of this schema. That costs nothing.
            let (schema, columns, rows) = decoded.into_parts();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(schema, columns, &options)
        })
    }

    /// Bytes of the dictionaries, with what is held because of them.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        let data = self.dictionaries.values().map(|words| words.to_data());
        let buffers = data.flat_map(|data| data.buffers().to_vec());
        buffers.map(|buffer| buffer.capacity()).sum()
    }

    /// Whether at most so many comparisons of words are remembered.
    #[cfg(test)]
    pub(crate) fn holds(&self, comparisons_max: usize) -> bool {
        self.compared.values().map(Vec::len).sum::<usize>() <= comparisons_max
    }

    /// How many values the dictionary of a column has, when one has come.
    fn words(&self, field: &Field) -> Option<usize> {
        #[expect(deprecated, reason = "see `new`")]
        let id = field.dict_id()?;
        self.dictionaries.get(&id).map(|words| words.len())
    }

    fn dictionary(
        &mut self,
        framed: &frame::Framed<'_>,
        bytes: &Buffer,
        limits: &Limits,
    ) -> Result<(), Failure> {
        let batch = framed.message.header_as_dictionary_batch().ok_or_else(|| {
            broken(
                "ipc",
                "only dictionaries may stand in front of a record batch",
            )
        })?;
        if batch.isDelta() {
            return Err(broken(
                "ipc",
                "an emitted dictionary is a delta, which the contract forbids",
            ));
        }
        let id = batch.id();
        if !self.dictionary_ids.contains(&id) {
            return Err(broken(
                "ipc",
                format!("an emitted dictionary belongs to no column: {id}"),
            ));
        }
        let data = batch
            .data()
            .ok_or_else(|| broken("ipc", "an emitted dictionary holds no data"))?;
        #[expect(deprecated, reason = "see `new`")]
        let columns = self.schema.fields_with_dict_id(id);
        let Some(DataType::Dictionary(key, value)) = columns.first().map(|f| f.data_type()) else {
            return Err(broken("ipc", "an emitted dictionary belongs to no column"));
        };
        check_words(key, data.length())?;
        let value_type = value.as_ref().clone();
        let fields = Fields::from(vec![Field::new("dictionary", value_type, true)]);
        layout::check(data, &fields, &framed.body, limits)?;
        let body = self.kept(id, framed, bytes, limits)?;
        self.compared.remove(&id);
        guarded(|| {
            let version = MetadataVersion::V5;
            let schema = &self.schema;
            read_dictionary_impl(
                &body,
                batch,
                schema,
                &mut self.dictionaries,
                &version,
                false,
                UnsafeFlag::new(),
            )
        })?;
        self.dictionaries
            .get(&id)
            .map_or(Ok(()), |dictionary| values::dictionary(dictionary, limits))
    }

    /// The body of a dictionary, which is kept for later batches. It must not keep the whole of this one, and what is kept
    /// of a session must not grow without end.
    fn kept(
        &mut self,
        id: i64,
        framed: &frame::Framed<'_>,
        bytes: &Buffer,
        limits: &Limits,
    ) -> Result<Buffer, Failure> {
        let length = framed.body.len();
        self.dictionary_bytes.insert(id, length as u64);
        let held = self.dictionary_bytes.values().sum();
        if held > limits.batch_output_bytes_max {
            let max = limits.batch_output_bytes_max;
            return Err(exceeded("dictionaries", max, held));
        }
        let body = bytes.slice_with_length(framed.body.start, length);
        // The bytes may be a part of what would be held.
        Ok(if length < bytes.capacity() / 2 {
            Buffer::from_slice_ref(&body)
        } else {
            body
        })
    }
}

/// Arrow cannot put together dictionaries of as many words as a key has values, and panics: the largest key must be free.
fn check_words(key: &DataType, words: i64) -> Result<(), Failure> {
    let bits = key.primitive_width().unwrap_or(8) * 8 - usize::from(key.is_signed_integer());
    let most = u64::MAX >> (64 - bits);
    if words.unsigned_abs() <= most {
        return Ok(());
    }
    let why =
        format!("an emitted dictionary has more words than {most}, with keys of {key}: {words}");
    Err(broken("ipc", why))
}

/// Runs arrow's decoder. It is known to panic on some malformed input; the layout check leaves it no known occasion.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(broken("ipc", "an emitted batch made the decoder panic")),
    }
}

/// What arrow says may quote the guest's bytes, so it is cleaned and cut.
fn refused(error: &ArrowError) -> Failure {
    let text = clean(&error.to_string(), 500);
    // Arrow's words for a null where the schema forbids it.
    let rule = if text.contains("non-nullable") {
        "schema"
    } else {
        "ipc"
    };
    broken(rule, "an emitted batch is malformed").cause(text)
}

/// Rows that were planned one way and came another.
pub(crate) fn mismatch(error: &ArrowError) -> Failure {
    Failure::new(
        FailureClass::Contract,
        "contract/schema",
        "an emitted batch does not match the planned schema",
    )
    .cause(clean(&error.to_string(), 500))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int8Type;
    use arrow_array::{
        BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
        Int64Array, ListArray, NullArray, StringArray, StringViewArray, StructArray,
        TimestampMillisecondArray,
    };

    use super::*;
    use crate::exchange::encode::Encoder;
    use crate::exchange::random::Random;

    fn batches() -> Vec<RecordBatch> {
        let numbers =
            Arc::new(Int64Array::from(vec![Some(1), None, Some(-3), Some(4)])) as ArrayRef;
        let texts = Arc::new(StringArray::from(vec![
            Some("a"),
            None,
            Some("ccc"),
            Some("ä"),
        ])) as ArrayRef;
        let lists = ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(7)]),
        ]);
        let nested = StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::clone(&numbers),
        )]);
        let views = StringViewArray::from(vec![
            Some("short"),
            None,
            Some("a text too long to be inlined"),
            Some(""),
        ]);
        let words: DictionaryArray<Int8Type> = ["a", "b", "a", "c"].into_iter().collect();
        let decimals = Decimal128Array::from(vec![1, 2, 3, 4])
            .with_precision_and_scale(10, 2)
            .unwrap();
        let fixed =
            FixedSizeBinaryArray::try_from_iter(vec![[1; 3], [2; 3], [3; 3], [4; 3]].into_iter())
                .unwrap();
        let columns: Vec<ArrayRef> = vec![
            numbers,
            texts,
            Arc::new(BooleanArray::from(vec![
                Some(true),
                None,
                Some(false),
                Some(true),
            ])),
            Arc::new(lists),
            Arc::new(nested),
            Arc::new(views),
            Arc::new(words),
            Arc::new(decimals),
            Arc::new(fixed),
            Arc::new(BinaryArray::from(vec![
                Some(&b"x"[..]),
                None,
                Some(b""),
                Some(b"yyyy"),
            ])),
            Arc::new(TimestampMillisecondArray::from(vec![0, 1, 2, 3])),
            Arc::new(NullArray::new(4)),
        ];
        let one = |(i, c): (usize, ArrayRef)| {
            RecordBatch::try_from_iter_with_nullable(vec![(format!("c{i}"), c, true)]).unwrap()
        };
        let mut batches: Vec<RecordBatch> = columns.iter().cloned().enumerate().map(one).collect();
        let all = columns
            .into_iter()
            .enumerate()
            .map(|(i, c)| (format!("c{i}"), c, i != 7));
        batches.push(RecordBatch::try_from_iter_with_nullable(all).unwrap());
        batches
    }

    fn encoded(batch: &RecordBatch) -> Vec<u8> {
        let all = (0..batch.num_columns()).collect();
        Encoder::new(all).encode(batch).unwrap().message().to_vec()
    }

    #[test]
    fn sound_batches_pass_unchanged() {
        for batch in batches() {
            let mut decoder = Decoder::new(&batch.schema()).unwrap();
            let decoded = decoder
                .decode(
                    &Buffer::from(encoded(&batch).as_slice()),
                    &Limits::default(),
                )
                .unwrap();
            assert_eq!(decoded.columns(), batch.columns());
        }
    }

    #[test]
    fn a_batch_of_another_schema_is_refused() {
        let batches = batches();
        for (i, planned) in batches.iter().enumerate() {
            let mut decoder = Decoder::new(&planned.schema()).unwrap();
            let other = &batches[(i + 1) % batches.len()];
            let bytes = Buffer::from(encoded(other).as_slice());
            // Some types share a layout; then the bytes are taken for what was planned.
            if let Ok(decoded) = decoder.decode(&bytes, &Limits::default()) {
                assert_eq!(decoded.schema(), planned.schema());
            }
        }
    }

    /// Batches of two dictionary columns, of which each brings its own words.
    fn with_words(words: &[&str]) -> RecordBatch {
        let column = || Arc::new(words.iter().copied().collect::<DictionaryArray<Int8Type>>());
        let columns = ["a", "b"].map(|name| (name, column() as ArrayRef));
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn dictionaries_are_kept_without_the_batch_they_came_in_and_not_without_end() {
        let long = "x".repeat(3_000);
        let batch = with_words(&[&long]);
        let bytes = Buffer::from(encoded(&batch).as_slice());
        let mut decoder = Decoder::new(&batch.schema()).unwrap();
        let limits = Limits {
            batch_output_bytes_max: 7_000,
            ..Limits::default()
        };
        decoder.decode(&bytes, &limits).unwrap();
        // Two buffers each: of its own copy of half of what was sent, not of all of it.
        let held = |d: &ArrayRef| d.get_buffer_memory_size();
        let held: usize = decoder.dictionaries.values().map(held).sum();
        assert!(held < 2 * bytes.len(), "{held} bytes are held");
        assert_eq!(
            decoder.decode(&bytes, &limits).unwrap().columns(),
            batch.columns()
        );
        let more = with_words(&[&long, &long[1..]]);
        let bytes = Buffer::from(encoded(&more).as_slice());
        let failure = decoder.decode(&bytes, &limits).unwrap_err();
        assert_eq!(failure.code, "limit/batch-output", "{failure}");
    }

    #[test]
    fn a_dictionary_has_fewer_words_than_its_keys_have_values() {
        for (words, expect) in [(127, true), (128, false), (129, false)] {
            let values = StringArray::from_iter_values((0..words).map(|word| word.to_string()));
            let column = DictionaryArray::<Int8Type>::new(vec![0, 126].into(), Arc::new(values));
            let batch = RecordBatch::try_from_iter([("c", Arc::new(column) as ArrayRef)]).unwrap();
            let mut decoder = Decoder::new(&batch.schema()).unwrap();
            let bytes = Buffer::from(encoded(&batch).as_slice());
            let got = decoder.decode(&bytes, &Limits::default());
            assert_eq!(got.is_ok(), expect, "{words}");
            if let Err(failure) = got {
                assert_eq!(failure.code, "contract/ipc");
                assert!(
                    failure.message.contains("127, with keys of Int8"),
                    "{failure}"
                );
            }
        }
        for (key, most) in [
            (DataType::UInt8, 255),
            (DataType::Int16, 32_767),
            (DataType::UInt16, 65_535),
        ] {
            assert!(check_words(&key, most).is_ok(), "{key}");
            assert!(check_words(&key, most + 1).is_err(), "{key}");
        }
        assert!(check_words(&DataType::Int64, i64::MAX).is_ok());
        assert!(check_words(&DataType::UInt64, i64::MAX).is_ok());
    }

    /// Flips bytes, writes extreme numbers, cuts, and repeats: what random damage and a patient attacker have in common.
    fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(6) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => bytes[at..].iter_mut().take(8).for_each(|b| *b = 0xff),
                3 => bytes[at..].iter_mut().take(4).for_each(|b| *b = 0),
                4 if at > 8 => bytes.truncate(at),
                _ => bytes[at] = bytes[at].wrapping_add(8),
            }
        }
    }

    #[test]
    fn damaged_batches_are_refused_or_still_valid_and_never_panic() {
        let seeds: Vec<(RecordBatch, Vec<u8>)> = batches()
            .into_iter()
            .map(|b| (b.clone(), encoded(&b)))
            .collect();
        let limits = Limits::default();
        let (mut refused, mut taken) = (0, 0);
        for seed in 0..8_000 {
            let mut random = Random::new(seed);
            let (planned, sound) = &seeds[random.below(seeds.len())];
            let mut bytes = sound.clone();
            spoil(&mut bytes, &mut random);
            let mut decoder = Decoder::new(&planned.schema()).unwrap();
            match decoder.decode(&Buffer::from(bytes.as_slice()), &limits) {
                Err(failure) => {
                    assert!(!failure.message.contains("panic"), "seed {seed}: {failure}");
                    refused += 1;
                }
                Ok(decoded) => {
                    for column in decoded.columns() {
                        column
                            .to_data()
                            .validate_full()
                            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    }
                    taken += 1;
                }
            }
        }
        assert!(
            refused > 2_000 && taken > 500,
            "{refused} refused, {taken} taken"
        );
    }
}
