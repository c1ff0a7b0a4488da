//! Where results go: four ways for rows to relate to the batch being processed.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{Schema, SchemaRef};

use crate::failure::{Failure, Result};
use crate::operation::Appetite;
use crate::wire::{Encoder, Parts, Received};

/// How the rows of an emitted batch relate to the batch being processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    /// New rows with every output column.
    Fresh,
    /// Row i is row i of the input batch.
    SameRows,
    /// Row i is row `picked[i]` of the input batch.
    Picked(&'a [u32]),
    /// The rows of the input batch whose bit is set: ⌈rows / 8⌉ bytes, zeros past the last row.
    Kept(&'a [u8]),
}

/// Why the host would not take a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "the harness panics instead of refusing")
)]
pub(crate) enum Refusal {
    /// Downstream has enough.
    Stop,
    /// Called at the wrong moment.
    Misuse,
    /// Does not match the plan.
    Invalid,
}

/// The other side of [`Output`]: the host, or the harness.
pub(crate) trait Sink {
    /// Takes the parts of one IPC batch.
    ///
    /// # Errors
    /// The host would not have it.
    fn emit(&mut self, port: u32, parts: &[&[u8]], origin: Origin<'_>) -> Result<(), Refusal>;
}

/// Takes results. Each call returns [`Appetite::Enough`] once the host wants no more.
pub struct Output<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) writer: &'a mut Writer,
    /// The batch being processed, and its port.
    pub(crate) input: Option<(u32, &'a Received)>,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("input_rows", &self.input_rows().ok())
            .finish_non_exhaustive()
    }
}

/// What stays from one call to the next: the encoder remembers dictionaries.
pub(crate) struct Writer {
    computed: SchemaRef,
    all_computed: bool,
    encoder: Option<(Shape, Encoder)>,
    /// Port and [`Received::dictionaries`] of what was written last, if that was a whole batch as it came: the host has these
    /// dictionaries.
    returned: Option<(u32, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Computed,
}

impl Writer {
    pub(crate) fn new(computed: SchemaRef, all_computed: bool) -> Self {
        Self {
            computed,
            all_computed,
            encoder: None,
            returned: None,
        }
    }

    fn write(&mut self, shape: Shape, batch: &RecordBatch) -> Result<Parts> {
        self.returned = None;
        Ok(self.encoder(shape, batch.schema_ref())?.encode(batch)?)
    }

    /// One encoder at a time: whole and computed batches number their dictionaries differently, so that a change of
    /// shape sends them anew.
    fn encoder(&mut self, shape: Shape, schema: &Schema) -> Result<&mut Encoder> {
        let shape = if self.all_computed {
            Shape::Whole
        } else {
            shape
        };
        if self.encoder.as_ref().is_none_or(|(s, _)| *s != shape) {
            self.encoder = Some((shape, Encoder::new(schema)?));
        }
        match &mut self.encoder {
            Some((_, encoder)) => Ok(encoder),
            None => Err(Failure::internal("no encoder")),
        }
    }
}

impl Output<'_> {
    /// New rows with every output column, those included that could pass through. A batch without rows is not sent. The batch
    /// being processed is not written anew when it goes out again, as long as the host has its dictionaries from the last time.
    ///
    /// # Errors
    /// `internal` when the batch does not match the plan.
    pub fn fresh(&mut self, batch: &RecordBatch) -> Result<Appetite> {
        if self.writer.all_computed {
            let columns = batch.columns();
            check_columns(&self.writer.computed, columns, batch.num_rows())?;
        }
        if batch.num_rows() == 0 {
            return Ok(Appetite::More);
        }
        let came = self.input.and_then(|(port, received)| {
            let message = received.message_of(batch)?;
            Some(((port, received.dictionaries()), message))
        });
        if let Some((dictionaries, message)) = came
            && self.writer.returned == Some(dictionaries)
        {
            return self.emit(&[message], Origin::Fresh);
        }
        let parts = self.writer.write(Shape::Whole, batch)?;
        self.writer.returned = came.map(|(dictionaries, _)| dictionaries);
        self.emit(&parts.slices(), Origin::Fresh)
    }

    /// Row i is row i of the batch being processed: the computed columns, in output order. None when all pass through.
    ///
    /// # Errors
    /// `internal` when the columns do not match the plan, or no batch is being processed.
    pub fn same_rows(&mut self, columns: Vec<ArrayRef>) -> Result<Appetite> {
        let rows = self.input_rows()?;
        self.computed(columns, rows, Origin::SameRows)
    }

    /// Row i is row `rows[i]` of the batch being processed: the computed columns, in output order, of that length.
    /// Nothing is sent when no row is picked.
    ///
    /// # Errors
    /// As [`Output::same_rows`], or an index is out of range.
    pub fn picked(&mut self, columns: Vec<ArrayRef>, rows: &[u32]) -> Result<Appetite> {
        let input_rows = self.input_rows()?;
        if let Some(row) = rows.iter().find(|r| **r as usize >= input_rows) {
            return Err(Failure::internal(format!(
                "picked a row that the batch of {input_rows} does not have: {row}"
            )));
        }
        if rows.is_empty() {
            return Ok(Appetite::More);
        }
        self.computed(columns, rows.len(), Origin::Picked(rows))
    }

    /// The rows of the batch being processed whose bit is set, in order: the computed columns, in output order, with as many
    /// rows. One bit for each row of the batch; for a filter this is cheaper than [`Output::picked`]. Nothing is sent when
    /// no row is kept.
    ///
    /// # Errors
    /// As [`Output::same_rows`], or there are not as many bits as rows.
    pub fn kept(&mut self, columns: Vec<ArrayRef>, rows: &BooleanBuffer) -> Result<Appetite> {
        let input_rows = self.input_rows()?;
        if rows.len() != input_rows {
            return Err(Failure::internal(format!(
                "kept rows need a bit for each of the {input_rows} rows of the batch, given: {}",
                rows.len()
            )));
        }
        match rows.count_set_bits() {
            0 => Ok(Appetite::More),
            count if count == input_rows => self.computed(columns, count, Origin::SameRows),
            count => self.computed(columns, count, Origin::Kept(&bitmap(rows))),
        }
    }

    /// Schema of the columns that the operation makes, in output order.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.writer.computed
    }

    fn input_rows(&self) -> Result<usize> {
        let (_, received) = self.input.ok_or_else(no_input)?;
        Ok(received.batch.num_rows())
    }

    fn computed(
        &mut self,
        columns: Vec<ArrayRef>,
        rows: usize,
        origin: Origin<'_>,
    ) -> Result<Appetite> {
        check_columns(&self.writer.computed, &columns, rows)?;
        if columns.is_empty() {
            return self.emit(&[], origin);
        }
        let schema = Arc::clone(&self.writer.computed);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let parts = self.writer.write(Shape::Computed, &batch)?;
        self.emit(&parts.slices(), origin)
    }

    fn emit(&mut self, parts: &[&[u8]], origin: Origin<'_>) -> Result<Appetite> {
        match self.sink.emit(0, parts, origin) {
            Ok(()) => Ok(Appetite::More),
            Err(Refusal::Stop) => Ok(Appetite::Enough),
            Err(Refusal::Misuse) => {
                Err(Failure::internal("the host takes no batch now").code("emit-misuse"))
            }
            Err(Refusal::Invalid) => {
                Err(Failure::internal("the host refused a batch").code("emit-invalid"))
            }
        }
    }
}

/// The bits as they cross: from the first bit of the first byte, with zeros past the last.
fn bitmap(bits: &BooleanBuffer) -> Cow<'_, [u8]> {
    let length = bits.len().div_ceil(8);
    let past_last = match bits.len() % 8 {
        0 => 0,
        used => u8::MAX << used,
    };
    if bits.offset() == 0
        && let Some(bytes) = bits.values().get(..length)
        && bytes.last().is_none_or(|last| last & past_last == 0)
    {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bits.sliced().as_slice().to_vec();
    bytes.truncate(length);
    if let Some(last) = bytes.last_mut() {
        *last &= !past_last;
    }
    Cow::Owned(bytes)
}

fn no_input() -> Failure {
    Failure::internal("no batch is being processed, emit fresh rows").code("emit-misuse")
}

/// The author's slips, in words that name the column.
fn check_columns(planned: &Schema, columns: &[ArrayRef], rows: usize) -> Result<()> {
    if planned.fields().len() != columns.len() {
        let message = format!(
            "planned were {} computed columns, given: {}",
            planned.fields().len(),
            columns.len()
        );
        return Err(Failure::internal(message));
    }
    for (field, column) in planned.fields().iter().zip(columns) {
        let name = field.name();
        if column.len() != rows {
            return Err(Failure::internal(format!(
                "column `{name}` must have {rows} rows, has: {}",
                column.len()
            )));
        }
        if column.data_type() != field.data_type() {
            let message = format!(
                "column `{name}` was planned as {}, is: {}",
                field.data_type(),
                column.data_type()
            );
            return Err(Failure::internal(message));
        }
        if !field.is_nullable() && column.logical_null_count() > 0 {
            return Err(Failure::internal(format!(
                "column `{name}` was planned without nulls, has some"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::Int8Type;
    use arrow_array::{DictionaryArray, Int64Array};
    use arrow_schema::{DataType, Field};

    use super::*;
    use crate::wire::{Decoder, Trust, decode_schema, encode_schema};

    struct Answers(Result<(), Refusal>);

    impl Sink for Answers {
        fn emit(
            &mut self,
            _port: u32,
            _parts: &[&[u8]],
            _origin: Origin<'_>,
        ) -> Result<(), Refusal> {
            self.0
        }
    }

    /// An operation that computes column `n`, processing a batch of two rows.
    fn with_output<T>(answer: Result<(), Refusal>, call: impl FnOnce(&mut Output<'_>) -> T) -> T {
        let computed = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let mut writer = Writer::new(computed, false);
        let mut sink = Answers(answer);
        let batch = RecordBatch::try_from_iter([("of_input", numbers(vec![1, 2]).remove(0))]);
        let batch = batch.unwrap();
        let bytes = Encoder::new(batch.schema_ref()).unwrap().encode(&batch);
        let received = decoder(batch.schema_ref()).receive(bytes.unwrap().concat());
        call(&mut Output {
            sink: &mut sink,
            writer: &mut writer,
            input: Some((0, &received.unwrap())),
        })
    }

    fn decoder(schema: &Schema) -> Decoder {
        let schema = decode_schema(&encode_schema(schema).unwrap()).unwrap();
        Decoder::new(schema, Trust::Nobody)
    }

    fn numbers(values: impl Into<Int64Array>) -> Vec<ArrayRef> {
        vec![Arc::new(values.into())]
    }

    #[track_caller]
    fn check_failure(result: Result<Appetite>, expect: &str) {
        assert_eq!(result.unwrap_err().message, expect);
    }

    #[test]
    fn stop_is_no_failure_but_the_end_of_appetite() {
        let answer = with_output(Err(Refusal::Stop), |out| out.same_rows(numbers(vec![1, 2])));
        assert_eq!(answer, Ok(Appetite::Enough));
        let answer = with_output(Ok(()), |out| out.picked(numbers(vec![1, 2, 3]), &[1, 1, 0]));
        assert_eq!(answer, Ok(Appetite::More));
    }

    /// Each emitted batch: where its first part lies, and the bytes.
    #[derive(Default)]
    struct Emitted(Vec<(*const u8, Vec<u8>)>);

    impl Sink for Emitted {
        fn emit(&mut self, _: u32, parts: &[&[u8]], _: Origin<'_>) -> Result<(), Refusal> {
            self.0.push((parts[0].as_ptr(), parts.concat()));
            Ok(())
        }
    }

    fn words(words: [&str; 2]) -> RecordBatch {
        let column: DictionaryArray<Int8Type> = words.into_iter().collect();
        RecordBatch::try_from_iter([("word", Arc::new(column) as ArrayRef)]).unwrap()
    }

    /// What is emitted when these batches come in, each at its port, and each goes out again; whether as its message.
    #[track_caller]
    fn check_returned(batches: &[(u32, RecordBatch)], expect: &[bool]) {
        let schema = batches[0].1.schema();
        for all_computed in [false, true] {
            let mut hosts = [(); 2].map(|()| Encoder::new(&schema).unwrap());
            let mut inputs = [(); 2].map(|()| decoder(&schema));
            let mut host = decoder(&schema);
            let computed = if all_computed {
                Arc::clone(&schema)
            } else {
                Arc::new(Schema::empty())
            };
            let mut writer = Writer::new(computed, all_computed);
            let mut returned = Vec::new();
            for (port, batch) in batches {
                let at = *port as usize;
                let bytes = hosts[at].encode(batch).unwrap().concat();
                let received = inputs[at].receive(bytes).unwrap();
                let message = received.message_of(&received.batch).unwrap();
                let mut sink = Emitted::default();
                let mut out = Output {
                    sink: &mut sink,
                    writer: &mut writer,
                    input: Some((*port, &received)),
                };
                assert_eq!(out.fresh(&received.batch.clone()), Ok(Appetite::More));
                let [(at, emitted)] = &sink.0[..] else {
                    panic!("emitted {} times", sink.0.len());
                };
                returned.push(*at == message.as_ptr());
                let back = host.decode(emitted.clone()).unwrap();
                assert_eq!(back.columns(), batch.columns());
            }
            assert_eq!(returned, expect);
        }
    }

    #[test]
    fn a_batch_goes_back_as_it_came_once_the_host_has_its_dictionaries() {
        let [one, other] = [words(["a", "b"]), words(["c", "d"])];
        let same = || (0, one.clone());
        check_returned(&[same(), same(), same()], &[false, true, true]);
        let new_words = (0, other.clone());
        let batches = [same(), same(), new_words.clone(), new_words, same()];
        check_returned(&batches, &[false, true, false, true, false]);
        let elsewhere = || (1, other.clone());
        let batches = [
            same(),
            elsewhere(),
            same(),
            same(),
            elsewhere(),
            elsewhere(),
        ];
        check_returned(&batches, &[false, false, false, true, false, true]);
    }

    #[test]
    fn what_is_written_in_between_may_bring_other_dictionaries() {
        let [one, other] = [words(["a", "b"]), words(["c", "d"])];
        let schema = one.schema();
        let mut from_host = Encoder::new(&schema).unwrap();
        let (mut input, mut host) = (decoder(&schema), decoder(&schema));
        let mut writer = Writer::new(Arc::clone(&schema), true);
        for in_between in [None, Some(false), Some(true), None] {
            let bytes = from_host.encode(&one).unwrap().concat();
            let received = input.receive(bytes).unwrap();
            let mut sink = Emitted::default();
            let mut out = Output {
                sink: &mut sink,
                writer: &mut writer,
                input: Some((0, &received)),
            };
            match in_between {
                None => Ok(Appetite::More),
                Some(false) => out.fresh(&other),
                Some(true) => out.same_rows(other.columns().to_vec()),
            }
            .unwrap();
            out.fresh(&received.batch.clone()).unwrap();
            let sent = in_between.map(|_| &other).into_iter().chain([&one]);
            for ((_, bytes), sent) in sink.0.iter().zip(sent) {
                assert_eq!(
                    host.decode(bytes.clone()).unwrap().columns(),
                    sent.columns()
                );
            }
        }
    }

    #[test]
    fn a_batch_like_the_one_that_came_is_written() {
        let batch = words(["a", "b"]);
        let bytes = Encoder::new(batch.schema_ref()).unwrap().encode(&batch);
        let mut input = decoder(batch.schema_ref());
        let received = input.receive(bytes.unwrap().concat()).unwrap();
        let own = &received.batch;
        let is_it = |batch: &RecordBatch| received.message_of(batch).is_some();
        assert!(is_it(own) && is_it(&own.clone()));
        assert!(!is_it(&batch) && !is_it(&own.slice(0, 1)) && !is_it(&own.slice(0, 2)));
        assert!(!is_it(&own.project(&[]).unwrap()));
    }

    /// What crosses for these bits, which stand at every offset of a buffer full of ones.
    #[track_caller]
    fn check_bitmap(rows: &[bool], expect: &[u8]) {
        for offset in 0..17 {
            let ones = std::iter::repeat_n(true, offset);
            let padded: BooleanBuffer = (ones.clone().chain(rows.iter().copied()))
                .chain(std::iter::repeat_n(true, 70))
                .collect();
            let bits = padded.slice(offset, rows.len());
            assert_eq!(bitmap(&bits).as_ref(), expect, "offset {offset}");
        }
        let exact: BooleanBuffer = rows.iter().copied().collect();
        assert!(matches!(bitmap(&exact), Cow::Borrowed(bytes) if bytes == expect));
    }

    #[test]
    fn bitmaps_begin_at_their_first_bit_and_end_with_zeros() {
        check_bitmap(&[], &[]);
        check_bitmap(&[true], &[1]);
        check_bitmap(&[false, true, true], &[0b110]);
        check_bitmap(&[true; 8], &[0xff]);
        check_bitmap(&[true; 9], &[0xff, 1]);
        check_bitmap(&[false; 16], &[0, 0]);
        check_bitmap(&[true; 64], &[0xff; 8]);
    }

    #[test]
    fn kept_rows_say_how_many_they_are() {
        let kept = |columns: Vec<ArrayRef>, bits: &[bool]| {
            let bits = bits.iter().copied().collect();
            with_output(Ok(()), |out| out.kept(columns, &bits))
        };
        assert_eq!(kept(numbers(vec![1]), &[false, true]), Ok(Appetite::More));
        assert_eq!(kept(numbers(vec![1, 2]), &[true; 2]), Ok(Appetite::More));
        // Nothing is sent, so nothing is wrong.
        assert_eq!(kept(Vec::new(), &[false; 2]), Ok(Appetite::More));
        check_failure(
            kept(numbers(vec![1, 2]), &[false, true]),
            "column `n` must have 1 rows, has: 2",
        );
        check_failure(
            kept(numbers(vec![1]), &[true; 3]),
            "kept rows need a bit for each of the 2 rows of the batch, given: 3",
        );
    }

    #[test]
    fn refused_batches_are_defects_with_a_code() {
        for (refusal, code) in [
            (Refusal::Misuse, "emit-misuse"),
            (Refusal::Invalid, "emit-invalid"),
        ] {
            let failure =
                with_output(Err(refusal), |out| out.same_rows(numbers(vec![1, 2]))).unwrap_err();
            assert_eq!(failure.code, code);
        }
    }

    #[test]
    fn slips_are_said_in_terms_of_the_column() {
        let emit = |columns: Vec<ArrayRef>| with_output(Ok(()), |out| out.same_rows(columns));
        check_failure(
            emit(Vec::new()),
            "planned were 1 computed columns, given: 0",
        );
        check_failure(
            emit(numbers(vec![1])),
            "column `n` must have 2 rows, has: 1",
        );
        check_failure(
            emit(numbers(vec![Some(1), None])),
            "column `n` was planned without nulls, has some",
        );
        let text: ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["a", "b"]));
        check_failure(
            emit(vec![text]),
            "column `n` was planned as Int64, is: Utf8",
        );
        let beyond = with_output(Ok(()), |out| out.picked(numbers(vec![1]), &[2]));
        check_failure(beyond, "picked a row that the batch of 2 does not have: 2");
    }
}
