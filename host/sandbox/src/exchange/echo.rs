//! What a guest sends back as it got it is not copied back: the host still has it.
//!
//! A guest that emits a column unchanged names the bytes of it that the host wrote into its memory. Where they lie is a hint
//! and no more: they are compared with what was sent, and only where nothing differs does the host take its own column, which
//! is sound. All else is copied out, and goes through the gate. What comes of it is what would come of a copy of everything.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::{FieldNode, MessageHeader, RecordBatchBuilder, root_as_message};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use flatbuffers::{FlatBufferBuilder, Vector};

use super::encode::Message;

/// Marker and length in front of the metadata of a message.
const PREFIX_BYTES: usize = 8;
/// What is copied keeps its place in the message to a multiple of this, which is as far as any buffer is aligned.
const ALIGN_BYTES: usize = 64;

/// A batch that a guest has got: the columns that it needs.
#[derive(Debug)]
pub(crate) struct Sent {
    batch: RecordBatch,
    message: Message,
    known: OnceLock<Arc<Known>>,
}

/// The columns that can come back, and their buffers, sorted by their place in the message.
#[derive(Debug, Default)]
struct Known {
    columns: Vec<Column>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Column {
    array: ArrayRef,
    nulls: i64,
    /// How many of its buffers are pieces.
    pieces: usize,
}

/// A buffer in the message by which a column is known: one that says something.
#[derive(Debug)]
struct Piece {
    at: Range<usize>,
    bytes: Buffer,
    column: usize,
    /// Which of the buffers of its column.
    buffer: usize,
}

impl Sent {
    /// `batch` as it is in `message`.
    pub(crate) fn new(batch: RecordBatch, message: Message) -> Self {
        Self {
            batch,
            message,
            known: OnceLock::new(),
        }
    }

    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// How many columns of a batch are the very ones that were sent.
    pub(crate) fn own_columns(&self, batch: &RecordBatch) -> usize {
        let is_own = |column: &&ArrayRef| {
            let mut sent = self.batch.columns().iter();
            sent.any(|sent| Arc::ptr_eq(sent, column))
        };
        batch.columns().iter().filter(is_own).count()
    }

    fn known(&self) -> &Arc<Known> {
        self.known
            .get_or_init(|| Arc::new(self.look().unwrap_or_default()))
    }

    /// `None` when the host's own message is not what this module takes it for: then nothing can come back.
    fn look(&self) -> Option<Known> {
        let parts: Vec<(Range<usize>, &Buffer)> = self.message.placed().collect();
        let from = |start: usize| &parts[parts.partition_point(|(place, _)| place.end <= start)..];
        let within_part = |at: &Range<usize>| {
            let (place, part) = from(at.start).first()?;
            let inside = place.start <= at.start && at.end <= place.end;
            inside.then(|| part.slice_with_length(at.start - place.start, at.len()))
        };
        // What frames a message may lie in several parts.
        let read = |at: Range<usize>| {
            let mut bytes = Vec::with_capacity(at.len());
            for (place, part) in from(at.start) {
                let start = (at.start + bytes.len()).checked_sub(place.start)?;
                let end = at.end.min(place.end).checked_sub(place.start)?;
                bytes.extend_from_slice(part.get(start..end)?);
                if bytes.len() == at.len() {
                    return Some(bytes);
                }
            }
            None
        };
        let mut start = 0;
        let (metadata, body) = loop {
            let prefix = read(start..start + PREFIX_BYTES)?;
            let length = u32::from_le_bytes(*prefix.last_chunk()?);
            let body = start + PREFIX_BYTES + usize::try_from(length).ok()?;
            let metadata = read(start + PREFIX_BYTES..body)?;
            let message = root_as_message(&metadata).ok()?;
            if message.header_type() == MessageHeader::RecordBatch {
                break (metadata, body);
            }
            start = body + usize::try_from(message.bodyLength()).ok()?;
        };
        let batch = root_as_message(&metadata).ok()?.header_as_record_batch()?;
        let schema = self.batch.schema();
        let lists = Lists::of(batch)?;
        let mut known = Known::default();
        let spans = spans(schema.fields(), batch)?;
        for (span, array) in spans.iter().zip(self.batch.columns()) {
            if !can_come_back(array.data_type()) {
                continue;
            }
            let (column, before) = (known.columns.len(), known.pieces.len());
            for (buffer, it) in lists.telling(span) {
                let at = place(it, body)?;
                known.pieces.push(Piece {
                    bytes: within_part(&at)?,
                    at,
                    column,
                    buffer,
                });
            }
            known.columns.push(Column {
                array: Arc::clone(array),
                nulls: lists.node(span).null_count(),
                pieces: known.pieces.len() - before,
            });
        }
        Some(known)
    }

    /// Takes what a guest sends, in parts that lie in its memory.
    pub(crate) fn receive(&self, parts: &[&[u8]]) -> Received {
        match self.echoes(parts) {
            Some(echoes) => Received::of(parts, &echoes, Arc::clone(self.known())),
            None => Received::copied(parts),
        }
    }

    /// For each part the piece that it repeats, if any does. Only of columns that come back whole: marks of nulls alone,
    /// which many a result has from a column that it was made of, are sooner copied than put together again.
    fn echoes(&self, parts: &[&[u8]]) -> Option<Vec<Option<usize>>> {
        let (landed, length) = (self.message.landed()?, self.message.len());
        let inside = |part: &[u8]| {
            let at = part.as_ptr().addr().checked_sub(landed)?;
            (at < length).then_some(at)
        };
        if !parts.iter().any(|part| inside(part).is_some()) {
            return None;
        }
        let known = self.known();
        let named = |part: &[u8]| {
            let at = inside(part)?;
            let pieces = &known.pieces;
            let found = pieces.binary_search_by_key(&at, |piece| piece.at.start);
            found.ok().filter(|i| pieces[*i].at.len() == part.len())
        };
        let mut echoes: Vec<Option<usize>> = parts.iter().map(|part| named(part)).collect();
        let mut missing: Vec<usize> = known.columns.iter().map(|column| column.pieces).collect();
        let mut seen = vec![false; known.pieces.len()];
        for piece in echoes.iter().flatten() {
            if !std::mem::replace(&mut seen[*piece], true) {
                missing[known.pieces[*piece].column] -= 1;
            }
        }
        let mut whole: Vec<bool> = missing.iter().map(|missing| *missing == 0).collect();
        for (part, echo) in parts.iter().zip(&echoes) {
            if let Some(piece) = echo.map(|i| &known.pieces[i]) {
                let whole = &mut whole[piece.column];
                *whole = *whole && *part == piece.bytes.as_slice();
            }
        }
        for echo in &mut echoes {
            *echo = echo.filter(|i| whole[known.pieces[*i].column]);
        }
        echoes.iter().any(Option::is_some).then_some(echoes)
    }
}

/// What a guest has sent, but for what it has sent back.
#[derive(Debug)]
pub(crate) struct Received {
    copied: Buffer,
    /// Bytes of all of it.
    length: usize,
    runs: Vec<Run>,
    gaps: Vec<Gap>,
    known: Arc<Known>,
}

/// Bytes that were copied, without a gap between them.
#[derive(Debug)]
struct Run {
    at: Range<usize>,
    copied_at: usize,
}

/// Bytes that were left where they are.
#[derive(Debug)]
struct Gap {
    at: Range<usize>,
    piece: usize,
}

impl Received {
    /// All of it.
    pub(crate) fn copied(parts: &[&[u8]]) -> Self {
        Self::of(parts, &vec![None; parts.len()], Arc::default())
    }

    fn of(parts: &[&[u8]], echoes: &[Option<usize>], known: Arc<Known>) -> Self {
        let sizes = parts.iter().zip(echoes);
        let sizes = sizes.map(|(part, echo)| echo.map_or(part.len(), |_| ALIGN_BYTES));
        let mut copied = MutableBuffer::with_capacity(sizes.sum());
        let (mut runs, mut gaps) = (Vec::<Run>::new(), Vec::new());
        let mut at = 0..0;
        for (part, echo) in parts.iter().zip(echoes) {
            at = at.end..at.end + part.len();
            if let Some(piece) = *echo {
                let at = at.clone();
                gaps.push(Gap { at, piece });
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.at.end == at.start => run.at.end = at.end,
                _ => {
                    let over = copied.len() % ALIGN_BYTES;
                    copied
                        .extend_zeros((at.start % ALIGN_BYTES + ALIGN_BYTES - over) % ALIGN_BYTES);
                    runs.push(Run {
                        at: at.clone(),
                        copied_at: copied.len(),
                    });
                }
            }
            copied.extend_from_slice(part);
        }
        Self {
            copied: copied.into(),
            length: at.end,
            runs,
            gaps,
            known,
        }
    }

    /// Bytes of all of it.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// All of it in one piece, as if nothing had been left out.
    pub(crate) fn fill(self) -> Buffer {
        if self.gaps.is_empty() {
            return self.copied;
        }
        let mut bytes = MutableBuffer::with_capacity(self.length);
        let runs = self.runs.iter().map(|run| {
            let copied = run.copied_at..run.copied_at + run.at.len();
            (run.at.start, &self.copied[copied])
        });
        let gaps = self.gaps.iter();
        let gaps = gaps.map(|gap| (gap.at.start, &self.known.pieces[gap.piece].bytes[..]));
        let mut all: Vec<(usize, &[u8])> = runs.chain(gaps).collect();
        all.sort_unstable_by_key(|(at, _)| *at);
        all.iter()
            .for_each(|(_, part)| bytes.extend_from_slice(part));
        bytes.into()
    }

    /// What comes before the first gap; `None` when there is no gap.
    pub(crate) fn head(&self) -> Option<Buffer> {
        let gap = self.gaps.first()?;
        Some(self.copied.slice_with_length(0, gap.at.start))
    }

    /// A batch whose body is that of the message and whose layout is sound, with the columns that came back and the others
    /// apart. `None` when the bytes that came back are not what they were: such are taken as any others. `words` says whether
    /// the dictionary of a field is this one.
    pub(crate) fn split(
        &self,
        batch: arrow_ipc::RecordBatch<'_>,
        fields: &Fields,
        body: &Range<usize>,
        mut words: impl FnMut(&Field, &ArrayRef) -> bool,
    ) -> Option<Split> {
        let starts_late = self
            .gaps
            .first()
            .is_some_and(|gap| gap.at.start >= body.start);
        let ends_early = self.gaps.last().is_some_and(|gap| gap.at.end <= body.end);
        if !(starts_late && ends_early) {
            return None;
        }
        let lists = Lists::of(batch)?;
        let mut came_back = Vec::with_capacity(fields.len());
        let mut others = Vec::new();
        for (field, span) in fields.iter().zip(spans(fields, batch)?) {
            let own = self.column(field, &span, lists, body.start);
            let own = own.filter(|own| {
                let dictionary = own.as_any_dictionary_opt();
                dictionary.is_none_or(|dictionary| {
                    let hidden = dictionary.values().is_nullable() && !field.is_nullable();
                    !hidden && words(field, dictionary.values())
                })
            });
            if own.is_none() {
                others.push((Arc::clone(field), span));
            }
            came_back.push(own);
        }
        let rest = if others.is_empty() {
            None
        } else {
            Some(self.rest(batch, lists, others, body.start)?)
        };
        Some(Split { came_back, rest })
    }

    /// The column that came back in this place, if one did, as a column of this field.
    fn column(
        &self,
        field: &Field,
        span: &Span,
        lists: Lists<'_>,
        body: usize,
    ) -> Option<ArrayRef> {
        let mut column: Option<usize> = None;
        let mut pieces = 0;
        for (buffer, it) in lists.telling(span) {
            let at = place(it, body)?;
            let gap = self
                .gaps
                .binary_search_by_key(&at.start, |gap| gap.at.start);
            let gap = &self.gaps[gap.ok()?];
            let piece = &self.known.pieces[gap.piece];
            let same = *column.get_or_insert(piece.column) == piece.column;
            if !same || gap.at != at || piece.buffer != buffer {
                return None;
            }
            pieces += 1;
        }
        let (node, column) = (lists.node(span), &self.known.columns[column?]);
        let same = column.array.data_type() == field.data_type()
            && i64::try_from(column.array.len()) == Ok(node.length())
            && column.nulls == node.null_count()
            && column.pieces == pieces;
        same.then(|| Arc::clone(&column.array))
    }

    /// The columns that did not come back, all of whose bytes were copied.
    fn rest(
        &self,
        batch: arrow_ipc::RecordBatch<'_>,
        lists: Lists<'_>,
        columns: Vec<(Arc<Field>, Span)>,
        body: usize,
    ) -> Option<Rest> {
        let (mut fields, mut nodes, mut buffers) = (Vec::new(), Vec::new(), Vec::new());
        for (field, span) in columns {
            nodes.extend(span.nodes.map(|i| *lists.nodes.get(i)));
            for it in span.buffers.map(|i| lists.buffers.get(i)) {
                let at = place(it, body)?;
                let offset = if at.is_empty() {
                    0
                } else {
                    self.copied_at(&at)?.checked_sub(body)?
                };
                let offset = i64::try_from(offset).ok()?;
                buffers.push(arrow_ipc::Buffer::new(offset, it.length()));
            }
            fields.push(field);
        }
        let views = batch.variadicBufferCounts();
        let views = views.map(|views| views.iter().collect::<Vec<i64>>());
        let mut builder = FlatBufferBuilder::new();
        let nodes = builder.create_vector(&nodes);
        let buffers = builder.create_vector(&buffers);
        let views = views.map(|views| builder.create_vector(&views));
        let mut rest = RecordBatchBuilder::new(&mut builder);
        rest.add_length(batch.length());
        rest.add_nodes(nodes);
        rest.add_buffers(buffers);
        if let Some(views) = views {
            rest.add_variadicBufferCounts(views);
        }
        let rest = rest.finish();
        builder.finish(rest, None);
        Some(Rest {
            schema: Arc::new(Schema::new(fields)),
            metadata: builder.finished_data().to_vec(),
            body: self.copied.slice(body),
        })
    }

    /// Where bytes of the message were copied to.
    fn copied_at(&self, at: &Range<usize>) -> Option<usize> {
        let next = self.runs.partition_point(|run| run.at.start <= at.start);
        let run = self.runs.get(next.checked_sub(1)?)?;
        (at.end <= run.at.end).then(|| run.copied_at + (at.start - run.at.start))
    }
}

/// A batch in two parts.
#[derive(Debug)]
pub(crate) struct Split {
    /// For each column, what the host has of it.
    pub(crate) came_back: Vec<Option<ArrayRef>>,
    /// The others, if there are any.
    pub(crate) rest: Option<Rest>,
}

/// The columns that did not come back, as a batch of its own.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) schema: SchemaRef,
    /// A flatbuffer of a record batch.
    pub(crate) metadata: Vec<u8>,
    pub(crate) body: Buffer,
}

/// The nodes and buffers of a batch.
#[derive(Clone, Copy)]
struct Lists<'a> {
    nodes: Vector<'a, FieldNode>,
    buffers: Vector<'a, arrow_ipc::Buffer>,
}

impl<'a> Lists<'a> {
    fn of(batch: arrow_ipc::RecordBatch<'a>) -> Option<Self> {
        Some(Self {
            nodes: batch.nodes()?,
            buffers: batch.buffers()?,
        })
    }

    /// The first node of a column, which is its own.
    fn node(&self, span: &Span) -> &'a FieldNode {
        self.nodes.get(span.nodes.start)
    }

    /// The buffers by which a column is known, each with its number among those of the column.
    fn telling(&self, span: &Span) -> impl Iterator<Item = (usize, &'a arrow_ipc::Buffer)> {
        let (lists, node) = (*self, self.node(span));
        let buffers = span.buffers.clone().map(move |i| lists.buffers.get(i));
        // Without nulls, their marks say nothing.
        let tells = |i: usize, length: i64| length > 0 && (i > 0 || node.null_count() > 0);
        buffers
            .enumerate()
            .filter(move |(i, it)| tells(*i, it.length()))
    }
}

/// The nodes and buffers of one column, with what is inside it.
#[derive(Debug)]
struct Span {
    nodes: Range<usize>,
    buffers: Range<usize>,
}

/// The span of each column. `None` when the batch has other nodes and buffers than such columns.
fn spans(fields: &Fields, batch: arrow_ipc::RecordBatch<'_>) -> Option<Vec<Span>> {
    let mut views = batch.variadicBufferCounts().unwrap_or_default().iter();
    let (mut nodes, mut buffers) = (0, 0);
    let mut spans = Vec::with_capacity(fields.len());
    for field in fields {
        let (more_nodes, more_buffers) = count(field.data_type(), &mut views)?;
        let span = Span {
            nodes: nodes..nodes + more_nodes,
            buffers: buffers..buffers + more_buffers,
        };
        (nodes, buffers) = (span.nodes.end, span.buffers.end);
        spans.push(span);
    }
    (batch.nodes()?.len() == nodes && batch.buffers()?.len() == buffers).then_some(spans)
}

/// How many nodes and buffers a column of this type has.
fn count(data_type: &DataType, views: &mut impl Iterator<Item = i64>) -> Option<(usize, usize)> {
    let mut around = |own: usize, children: &[&DataType]| {
        let mut sum = (1, own);
        for child in children {
            let (nodes, buffers) = count(child, views)?;
            sum = (sum.0 + nodes, sum.1 + buffers);
        }
        Some(sum)
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are values of one width"
    )]
    match data_type {
        DataType::Null => Some((1, 0)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
            Some((1, 3))
        }
        DataType::Utf8View | DataType::BinaryView => {
            Some((1, usize::try_from(views.next()?).ok()?.checked_add(2)?))
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            around(2, &[item.data_type()])
        }
        DataType::FixedSizeList(item, _) => around(1, &[item.data_type()]),
        DataType::Struct(children) => {
            let children: Vec<&DataType> = children.iter().map(|child| child.data_type()).collect();
            around(1, &children)
        }
        DataType::Union(_, _) | DataType::RunEndEncoded(_, _) => None,
        _ => Some((1, 2)),
    }
}

/// Whether a column of this type can come back. Nested ones and views are read.
fn can_come_back(data_type: &DataType) -> bool {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "numbers and times are primitive"
    )]
    match data_type {
        DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::Dictionary(_, _) => true,
        other => other.is_primitive(),
    }
}

/// Where a buffer of a body lies in the message.
fn place(buffer: &arrow_ipc::Buffer, body: usize) -> Option<Range<usize>> {
    let start = usize::try_from(buffer.offset()).ok()?.checked_add(body)?;
    let length = usize::try_from(buffer.length()).ok()?;
    Some(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_array::types::{Int8Type, Int64Type};
    use arrow_array::{
        BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, LargeStringArray,
        ListArray, NullArray, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
    };
    use arrow_ipc::writer::StreamEncoder;
    use odibi_story::failure::Failure;

    use super::*;
    use crate::exchange::decode::Decoder;
    use crate::exchange::encode::Encoder;
    use crate::limits::Limits;

    const ROWS: i64 = 300;

    /// A column of each kind, most of them with nulls.
    fn table() -> RecordBatch {
        let some = |i: i64| (i % 7 != 3).then_some(i);
        let text = |i: i64| some(i).map(|i| format!("ä{i}"));
        let list = |i: i64| some(i).map(|i| vec![Some(i), None]);
        let words = ["a", "b"].iter().cycle().copied();
        let columns: [(&str, ArrayRef); 14] = [
            ("plain", Arc::new(Int64Array::from_iter_values(0..ROWS))),
            (
                "nulls",
                Arc::new((0..ROWS).map(some).collect::<Int64Array>()),
            ),
            (
                "other",
                Arc::new(Int64Array::from_iter_values(ROWS..2 * ROWS)),
            ),
            (
                "real",
                Arc::new(Float64Array::from_iter_values((0..ROWS).map(|i| i as f64))),
            ),
            (
                "bits",
                Arc::new(
                    (0..ROWS)
                        .map(|i| Some(i % 3 == 0))
                        .collect::<BooleanArray>(),
                ),
            ),
            (
                "text",
                Arc::new((0..ROWS).map(text).collect::<StringArray>()),
            ),
            (
                "long",
                Arc::new((0..ROWS).map(text).collect::<LargeStringArray>()),
            ),
            (
                "bytes",
                Arc::new((0..ROWS).map(text).collect::<BinaryArray>()),
            ),
            (
                "empty",
                Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| ""))),
            ),
            (
                "time",
                Arc::new(TimestampMicrosecondArray::from_iter_values(0..ROWS)),
            ),
            ("nothing", Arc::new(NullArray::new(300))),
            (
                "key",
                Arc::new(words.take(300).collect::<DictionaryArray<Int8Type>>()),
            ),
            (
                "view",
                Arc::new((0..ROWS).map(text).collect::<StringViewArray>()),
            ),
            (
                "list",
                Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                    (0..ROWS).map(list),
                )),
            ),
        ];
        let mut columns: Vec<(&str, ArrayRef, bool)> =
            columns.map(|(name, column)| (name, column, true)).into();
        let child = |i: usize| {
            let (name, column, _) = &columns[i];
            (
                Arc::new(Field::new(*name, column.data_type().clone(), true)),
                Arc::clone(column),
            )
        };
        let nested = StructArray::from(vec![child(1), child(5)]);
        columns.push(("struct", Arc::new(nested), true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    /// How many columns of [`table`] can come back.
    const FLAT: usize = 11;

    /// A guest: what it was sent, and the columns that lie in its memory.
    struct Guest {
        sent: Sent,
        columns: RecordBatch,
    }

    impl Guest {
        /// `None` when what it has made of its memory is no batch any more.
        fn new(batch: &RecordBatch, change: impl FnOnce(&mut [u8])) -> Option<Self> {
            let sent = Encoder::new((0..batch.num_columns()).collect())
                .encode(batch)
                .unwrap();
            let mut memory = sent.message().to_vec();
            change(&mut memory);
            let memory = Buffer::from_vec(memory);
            sent.message().land(memory.as_ptr());
            let mut decoder = Decoder::new(&batch.schema()).unwrap();
            let columns = decoder.decode(&memory, &Limits::default()).ok()?;
            Some(Self { sent, columns })
        }

        /// The parts that it sends back of these columns.
        fn parts(&self, columns: &[ArrayRef]) -> (SchemaRef, Vec<Buffer>) {
            let names = (0..).map(|i: usize| i.to_string());
            let columns = names.zip(columns).map(|(n, c)| (n, Arc::clone(c), true));
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let mut encoder = StreamEncoder::try_new(&batch.schema()).unwrap();
            let mut parts = encoder.encode(&batch).unwrap();
            crate::exchange::encode::skip_schema(&mut parts);
            (batch.schema(), parts)
        }
    }

    /// A host that copies, and one that does not.
    struct Hosts {
        copying: Decoder,
        sparing: Decoder,
        limits: Limits,
    }

    impl Hosts {
        fn new(schema: &SchemaRef) -> Self {
            let [copying, sparing] = [(); 2].map(|()| Decoder::new(schema).unwrap());
            Self {
                copying,
                sparing,
                limits: Limits::default(),
            }
        }

        /// What they make of these parts, which is the same, and how many columns of it are the host's own.
        fn receive(
            &mut self,
            sent: &Sent,
            parts: &[Buffer],
        ) -> (Result<RecordBatch, Failure>, usize) {
            let parts: Vec<&[u8]> = parts.iter().map(Buffer::as_slice).collect();
            let copied = Received::copied(&parts).fill();
            let copied = self.copying.decode(&copied, &self.limits);
            let received = sent.receive(&parts);
            let bytes: usize = parts.iter().map(|part| part.len()).sum();
            assert_eq!(received.len(), bytes);
            let got = self.sparing.receive(received, &self.limits);
            match (&got, &copied) {
                (Ok(got), Ok(copied)) => assert_eq!(got, copied),
                (Err(got), Err(copied)) => assert_eq!(got, copied),
                _ => panic!("{got:?} for {copied:?}"),
            }
            let own = got.as_ref().map_or(0, |got| sent.own_columns(got));
            (got, own)
        }
    }

    fn received(
        sent: &Sent,
        schema: &SchemaRef,
        parts: &[Buffer],
    ) -> (Result<RecordBatch, Failure>, usize) {
        Hosts::new(schema).receive(sent, parts)
    }

    #[test]
    fn flat_columns_come_back_and_others_are_read() {
        for batch in [table(), table().slice(64, 128), table().slice(3, 100)] {
            let guest = Guest::new(&batch, |_| {}).unwrap();
            let (schema, parts) = guest.parts(guest.columns.columns());
            let (got, own) = received(&guest.sent, &schema, &parts);
            assert_eq!(got.unwrap().columns(), batch.columns());
            assert_eq!(own, FLAT);
        }
    }

    #[test]
    fn what_a_guest_has_changed_where_it_lies_is_what_it_sends() {
        let batch = table();
        // The last byte of 299 in the first column, which stands before those of the others.
        let last = i64::to_le_bytes(ROWS - 1);
        let guest = Guest::new(&batch, |memory| {
            let at = memory.windows(8).position(|window| window == last).unwrap();
            memory[at + 1] = 2;
        });
        let guest = guest.unwrap();
        let (schema, parts) = guest.parts(guest.columns.columns());
        let (got, own) = received(&guest.sent, &schema, &parts);
        let numbers = got.unwrap();
        let numbers = numbers.column(0).as_primitive::<Int64Type>();
        assert_eq!(numbers.value(299), 2 * 256 + 43);
        assert_eq!(own, FLAT - 1);
    }

    #[test]
    fn a_new_column_that_shares_marks_or_offsets_is_copied() {
        let guest = Guest::new(&table(), |_| {}).unwrap();
        let numbers = guest.columns.column(1).as_primitive::<Int64Type>();
        let doubled = numbers.unary::<_, Int64Type>(|n| n * 2);
        let texts = guest.columns.column(5).as_string::<i32>();
        let (offsets, bytes, nulls) = texts.clone().into_parts();
        let louder: Vec<u8> = bytes
            .iter()
            .map(|b| if *b == b'1' { b'7' } else { *b })
            .collect();
        let louder = Buffer::from_vec(louder);
        let texts = StringArray::new(offsets, louder, nulls);
        let columns: [ArrayRef; 2] = [Arc::new(doubled), Arc::new(texts)];
        let (schema, parts) = guest.parts(&columns);
        let parts: Vec<&[u8]> = parts.iter().map(Buffer::as_slice).collect();
        assert!(guest.sent.echoes(&parts).is_none());
        let (got, own) = received(&guest.sent, &schema, &guest.parts(&columns).1);
        assert_eq!(got.unwrap().columns(), columns);
        assert_eq!(own, 0);
    }

    /// A dictionary of these words, with keys that lie where those of another lie.
    fn with_words(keys_of: &ArrayRef, words: ArrayRef) -> ArrayRef {
        let keys = keys_of.as_dictionary::<Int8Type>().keys().clone();
        Arc::new(DictionaryArray::new(keys, words))
    }

    #[test]
    fn keys_come_back_only_with_the_words_that_they_were_sent_with() {
        let batch = table().project(&[11]).unwrap();
        let guest = Guest::new(&batch, |_| {}).unwrap();
        for (words, expect) in [(["a", "b"], 1), (["a", "c"], 0)] {
            let words = Arc::new(StringArray::from_iter_values(words));
            let column = with_words(guest.columns.column(0), words);
            let (schema, parts) = guest.parts(&[Arc::clone(&column)]);
            let (got, own) = received(&guest.sent, &schema, &parts);
            assert_eq!(got.unwrap().column(0), &column);
            assert_eq!(own, expect);
        }
    }

    #[test]
    fn a_null_among_the_words_cannot_hide_where_none_may_be() {
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let column = with_words(table().column(11), words);
        let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        let guest = Guest::new(&batch, |_| {}).unwrap();
        let (schema, parts) = guest.parts(guest.columns.columns());
        assert_eq!(received(&guest.sent, &schema, &parts).1, 1);
        let strict = schema.field(0).clone().with_nullable(false);
        let strict: SchemaRef = Arc::new(Schema::new(vec![strict]));
        let (got, _) = received(&guest.sent, &strict, &parts);
        assert_eq!(got.unwrap_err().code, "contract/schema");
    }

    /// What a guest sends for a column of words, when it has sent these words before.
    fn without_words(parts: &[Buffer], batch: &RecordBatch) -> Vec<Buffer> {
        let mut encoder = StreamEncoder::try_new(&batch.schema()).unwrap();
        encoder.encode(batch).unwrap();
        let parts_again = encoder.encode(batch).unwrap();
        assert!(parts_again.len() < parts.len());
        parts_again
    }

    #[test]
    fn words_that_came_before_are_those_that_keys_lead_to() {
        let words = |words: [&str; 2]| Arc::new(StringArray::from_iter_values(words)) as ArrayRef;
        let sent_with = |these: [&str; 2]| {
            let column = with_words(table().column(11), words(these));
            let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
            Guest::new(&batch, |_| {}).unwrap()
        };
        let (guest, other) = (sent_with(["a", "b"]), sent_with(["a", "c"]));
        let (schema, first) = guest.parts(guest.columns.columns());
        let later = |guest: &Guest| {
            let columns = guest.columns.columns().to_vec();
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            without_words(&first, &batch)
        };
        let mut hosts = Hosts::new(&schema);
        assert_eq!(hosts.receive(&guest.sent, &first).1, 1);
        assert_eq!(hosts.receive(&guest.sent, &later(&guest)).1, 1);
        // It has got other words since, and sends none: its keys lead to the old ones.
        let (got, own) = hosts.receive(&other.sent, &later(&other));
        let got = got.unwrap();
        assert_eq!(
            got.column(0).as_any_dictionary().values(),
            &words(["a", "b"])
        );
        assert_eq!(own, 0);
        // Now it sends them.
        assert_eq!(
            hosts
                .receive(&other.sent, &other.parts(other.columns.columns()).1)
                .1,
            1
        );
        assert_eq!(hosts.receive(&guest.sent, &later(&guest)).1, 0);
        assert_eq!(hosts.receive(&other.sent, &later(&other)).1, 1);
        assert!(hosts.sparing.holds(2), "what was compared is not forgotten");
    }

    #[test]
    fn words_do_not_hold_the_batch_they_came_in_nor_those_of_the_host() {
        let long = "x".repeat(50_000);
        let big: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); 300]));
        // More than half of what stands before the first column that comes back.
        let words = Arc::new(StringArray::from(vec![long.as_str(), "y"]));
        let keyed = with_words(table().column(11), words);
        let numbers = Arc::clone(table().column(0));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("k", keyed)]).unwrap();
        let guest = Guest::new(&batch, |_| {}).unwrap();
        let columns = [
            Arc::clone(guest.columns.column(0)),
            big,
            Arc::clone(guest.columns.column(1)),
        ];
        let (schema, parts) = guest.parts(&columns);
        let mut hosts = Hosts::new(&schema);
        assert_eq!(hosts.receive(&guest.sent, &parts).1, 2);
        let held = hosts.sparing.held_bytes();
        assert!(held < 200_000, "{held}");
        let own = Arc::downgrade(batch.column(1).as_any_dictionary().values());
        drop((batch, guest));
        assert_eq!(own.strong_count(), 0);
    }

    #[test]
    fn times_that_no_calendar_has_are_refused_whoever_made_them() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, i64::MAX]));
        let batch = RecordBatch::try_from_iter([("t", times)]).unwrap();
        let sent = Encoder::new(vec![0]).encode(&batch).unwrap();
        let memory = sent.message().parts().to_vec();
        let memory = Buffer::from_vec(
            memory
                .iter()
                .flat_map(|part| part.as_slice())
                .copied()
                .collect(),
        );
        sent.message().land(memory.as_ptr());
        let mut end = 0;
        let parts: Vec<Buffer> = sent
            .message()
            .parts()
            .iter()
            .map(|part| {
                end += part.len();
                memory.slice_with_length(end - part.len(), part.len())
            })
            .collect();
        let slices: Vec<&[u8]> = parts.iter().map(Buffer::as_slice).collect();
        assert!(sent.receive(&slices).head().is_some());
        let (got, _) = received(&sent, &batch.schema(), &parts);
        assert_eq!(got.unwrap_err().code, "contract/ipc");
    }

    #[test]
    fn nothing_comes_back_that_was_not_sent() {
        let guest = Guest::new(&table(), |_| {}).unwrap();
        let (schema, parts) = guest.parts(guest.columns.columns());
        let other = Encoder::new((0..15).collect()).encode(&table()).unwrap();
        // It lies nowhere, and somewhere else.
        assert_eq!(received(&other, &schema, &parts).1, 0);
        other.message().land(b"elsewhere".as_ptr());
        assert_eq!(received(&other, &schema, &parts).1, 0);
    }

    /// SplitMix64, so that a failure can be repeated from its seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
        }
    }

    /// Columns in any order, twice, or made anew; memory changed; parts damaged, left out, sent twice, cut and exchanged: what
    /// the host gets is what it would get if it copied all of it.
    #[test]
    fn whatever_is_sent_the_host_gets_the_same_as_from_a_copy() {
        let (mut whole, mut mixed, mut refused) = (0, 0, 0);
        for seed in 0..6_000 {
            let mut random = Random(seed);
            let rows = 1 + random.below(128);
            let batch = table().slice(random.below(150), rows);
            let changes = [0, 0, 1, 3][random.below(4)];
            let guest = Guest::new(&batch, |memory| {
                for _ in 0..changes {
                    let at = random.below(memory.len());
                    memory[at] ^= 1 << random.below(8);
                }
            });
            let Some(guest) = guest else { continue };
            let columns: Vec<ArrayRef> = (0..1 + random.below(20))
                .map(|_| {
                    let column = guest.columns.column(random.below(15));
                    if random.below(4) > 0 {
                        return Arc::clone(column);
                    }
                    let rows: Vec<u32> = (0..).take(rows).collect();
                    arrow_select::take::take(column, &arrow_array::UInt32Array::from(rows), None)
                        .unwrap()
                })
                .collect();
            let (schema, mut parts) = guest.parts(&columns);
            for _ in 0..[0, 0, 1, 2][random.below(4)] {
                let (i, j) = (random.below(parts.len()), random.below(parts.len()));
                match random.below(6) {
                    0 => drop(parts.remove(i)),
                    1 => parts.insert(i, parts[j].clone()),
                    2 => parts.swap(i, j),
                    3 => parts[i] = parts[i].slice(random.below(parts[i].len() + 1)),
                    4 => {
                        let at = random.below(parts[i].len() + 1);
                        let behind = parts[i].slice(at);
                        parts[i] = parts[i].slice_with_length(0, at);
                        parts.insert(i + 1, behind);
                    }
                    _ => {
                        let mut bytes = parts[i].to_vec();
                        if let Some(at) = (!bytes.is_empty()).then(|| random.below(bytes.len())) {
                            bytes[at] ^= 1 << random.below(8);
                        }
                        parts[i] = bytes.into();
                    }
                }
                if parts.is_empty() {
                    break;
                }
            }
            let mut hosts = Hosts::new(&schema);
            if random.below(4) == 0 {
                hosts.limits.gathered_bytes_max = 2_000;
            }
            let _ = hosts.receive(&guest.sent, &parts);
            match hosts.receive(&guest.sent, &parts) {
                (Ok(batch), own) => {
                    for column in batch.columns() {
                        let sound = column.to_data().validate_full();
                        sound.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    }
                    whole += usize::from(own == batch.num_columns());
                    mixed += usize::from(own > 0 && own < batch.num_columns());
                }
                (Err(_), _) => refused += 1,
            }
        }
        let all = [whole, mixed, refused];
        assert!(all.iter().all(|n| *n > 100), "{all:?}");
    }
}
