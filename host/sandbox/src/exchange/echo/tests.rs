//! What comes back is what a copy of it would be, whatever a guest does.

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
use crate::exchange::random::Random;
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
    memory: Buffer,
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
        Some(Self {
            sent,
            memory,
            columns,
        })
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
    fn receive(&mut self, sent: &Sent, parts: &[Buffer]) -> (Result<RecordBatch, Failure>, usize) {
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
fn a_message_that_goes_back_in_one_piece_is_cut_into_its_columns() {
    for batch in [table(), table().slice(3, 100)] {
        let guest = Guest::new(&batch, |_| {}).unwrap();
        let whole = std::slice::from_ref(&guest.memory);
        let (got, own) = received(&guest.sent, &batch.schema(), whole);
        assert_eq!((got.unwrap(), own), (batch.clone(), FLAT));
        let other = [Buffer::from(guest.memory.as_slice())];
        let (got, own) = received(&guest.sent, &batch.schema(), &other);
        assert_eq!((got.unwrap(), own), (batch.clone(), 0));
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
fn comparisons_are_forgotten_though_the_words_live() {
    let batches: Vec<RecordBatch> = (0..50)
        .map(|_| {
            let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
            RecordBatch::try_from_iter([("k", with_words(table().column(11), words))]).unwrap()
        })
        .collect();
    let mut hosts = Hosts::new(&batches[0].schema());
    for (i, batch) in batches.iter().enumerate() {
        let guest = Guest::new(batch, |_| {}).unwrap();
        let (schema, mut parts) = guest.parts(guest.columns.columns());
        if i > 0 {
            let batch = RecordBatch::try_new(schema, guest.columns.columns().to_vec());
            parts = without_words(&parts, &batch.unwrap());
        }
        assert_eq!(hosts.receive(&guest.sent, &parts).1, 1);
    }
    assert!(
        hosts.sparing.holds(16),
        "what was compared is not forgotten"
    );
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
fn a_buffer_comes_back_as_what_it_was() {
    // Four offsets take as many bytes as the texts.
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["aaaaa", "bbbbb", "cccccc"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("t", texts, true)]).unwrap();
    let guest = Guest::new(&batch, |_| {}).unwrap();
    let (schema, mut parts) = guest.parts(guest.columns.columns());
    let alike = (0..parts.len()).filter(|i| parts[*i].len() == 16);
    let alike: Vec<usize> = alike.collect();
    assert_eq!(alike.len(), 2);
    assert_eq!(received(&guest.sent, &schema, &parts).1, 1);
    parts.swap(alike[0], alike[1]);
    let (got, _) = received(&guest.sent, &schema, &parts);
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

/// Columns in any order, twice, or made anew; memory changed; parts damaged, left out, sent twice, cut and exchanged: what
/// the host gets is what it would get if it copied all of it.
#[test]
fn whatever_is_sent_the_host_gets_the_same_as_from_a_copy() {
    let (mut whole, mut mixed, mut refused) = (0, 0, 0);
    for seed in 0..6_000 {
        let mut random = Random::new(seed);
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
        let (schema, mut parts) = match random.below(6) {
            0 => (batch.schema(), vec![guest.memory.clone()]),
            _ => guest.parts(&columns),
        };
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
