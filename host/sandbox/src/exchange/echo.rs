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

use super::compose::ALIGN_BYTES;
use super::encode::Message;
use super::frame::PREFIX_BYTES;

/// A batch that a guest has got: the columns that it needs.
#[derive(Debug)]
pub(crate) struct Sent {
    batch: RecordBatch,
    message: Message,
    known: OnceLock<Arc<Known>>,
}

/// The columns that can come back, and their buffers, sorted by their place in the message.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) columns: Vec<Column>,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) array: ArrayRef,
    pub(super) nulls: i64,
    /// How many of its buffers are pieces.
    pub(super) pieces: usize,
}

/// A buffer in the message by which a column is known: one that says something.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) at: Range<usize>,
    pub(super) bytes: Buffer,
    pub(super) column: usize,
    /// Which of the buffers of its column.
    pub(super) buffer: usize,
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

    /// The same, and what can come back is known.
    pub(super) fn known_by(batch: RecordBatch, message: Message, known: Known) -> Self {
        Self {
            batch,
            message,
            known: OnceLock::from(Arc::new(known)),
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
    pub(super) fn look(&self) -> Option<Known> {
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
        let cut = self.cut(parts);
        let parts = cut.as_deref().unwrap_or(parts);
        match self.echoes(parts) {
            Some(echoes) => Received::of(parts, &echoes, Arc::clone(self.known())),
            None => Received::copied(parts),
        }
    }

    /// The pieces and what lies between them, when the only part is the message itself, in one.
    fn cut<'a>(&self, parts: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
        let [whole] = parts else { return None };
        let landed = self.message.landed() == Some(whole.as_ptr().addr());
        if !landed || whole.len() != self.message.len() {
            return None;
        }
        let pieces = &self.known().pieces;
        let mut cut = Vec::with_capacity(2 * pieces.len() + 1);
        let mut end = 0;
        for piece in pieces {
            cut.push(whole.get(end..piece.at.start)?);
            cut.push(whole.get(piece.at.clone())?);
            end = piece.at.end;
        }
        cut.push(whole.get(end..)?);
        cut.retain(|part| !part.is_empty());
        Some(cut)
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
            // It keeps its place in the message to a multiple of what buffers are aligned to.
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
                dictionary.is_none_or(|dictionary| words(field, dictionary.values()))
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
mod tests;
