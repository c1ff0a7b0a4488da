//! The gate alone: sound messages in which one thing was changed, and the rule that stops each.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, DictionaryArray, RecordBatch, StringArray, UInt8Array};
use arrow_buffer::Buffer;
use arrow_ipc::MessageHeader;
use arrow_schema::{DataType, Field, Schema};
use odibi_sandbox::Limits;
use odibi_sandbox::testing::{Gate, encode};
use odibi_story::failure::Failure;

use crate::message::{self, Message};
use crate::random::Random;
use crate::{seeds, table};

/// Offers `batch` after `spoil`.
#[track_caller]
fn check(batch: &RecordBatch, code: &str, word: &str, spoil: impl FnOnce(&mut Vec<Message>)) {
    let sound = encode(batch, (0..batch.num_columns()).collect()).unwrap();
    let mut messages = message::parse(&sound);
    let limits = Limits::default();
    let decode = |bytes: &[u8]| {
        let mut gate = Gate::new(&batch.schema()).unwrap();
        gate.decode(&Buffer::from(bytes), &limits)
    };
    // Apart and together again it is still sound.
    let same = decode(&message::build(&messages)).unwrap();
    assert_eq!(same.columns(), batch.columns());
    spoil(&mut messages);
    let failure = decode(&message::build(&messages)).unwrap_err();
    assert_eq!(failure.code, code, "{failure} {:?}", failure.causes);
    assert!(
        failure.message.contains(word),
        "`{word}` is not in: {failure}"
    );
}

/// `id`, without nulls: validity and values. `name`: validity, offsets and values.
#[track_caller]
fn check_table(code: &str, word: &str, spoil: impl FnOnce(&mut Message)) {
    check(&table(10), code, word, |messages| spoil(&mut messages[0]));
}

#[test]
fn messages_come_in_order() {
    let words = DictionaryArray::new(
        UInt8Array::from(vec![0, 1, 0]),
        Arc::new(StringArray::from(vec!["a", "b"])),
    );
    let words = RecordBatch::try_from_iter([("d", Arc::new(words) as ArrayRef)]).unwrap();
    check(&words, "contract/ipc", "in front", |m| m.swap(0, 1));
    check(&words, "contract/ipc", "end with", |m| drop(m.pop()));
    check(&words, "contract/ipc", "empty", Vec::clear);
    check(&words, "contract/ipc", "in front", |m| m.push(m[1].clone()));
    check(&words, "contract/ipc", "delta", |m| {
        m[0].dictionary = Some((0, true))
    });
    check(&words, "contract/ipc", "no column", |m| {
        m[0].dictionary = Some((7, false))
    });
    check(&words, "contract/ipc", "more than 64", |m| {
        m.extend(vec![m[1].clone(); 63])
    });
    check(&words, "contract/ipc", "malformed", |m| m[1].body[0] = 2);
    check(&words, "contract/ipc", "unknown kind", |m| {
        m[1].header = MessageHeader(9)
    });
}

#[test]
fn metadata_that_lies_is_refused() {
    check_table("contract/ipc", "compressed", |m| m.compression = Some(0));
    check_table("contract/ipc", "rows: -1", |m| m.rows = -1);
    check_table("limit/batch-output", "rows", |m| m.rows = 1 << 60);
    check_table("contract/ipc", "10 rows in a batch of 9", |m| m.rows = 9);
    check_table("contract/ipc", "cannot have", |m| m.nodes[1].1 = 11);
    check_table("contract/ipc", "cannot have", |m| m.nodes[1] = (-1, 0));
    check_table("contract/schema", "without nulls", |m| m.nodes[0].1 = 1);
    check_table("contract/ipc", "malformed", |m| m.nodes[1].1 = 2);
    check_table("contract/ipc", "more nodes or buffers", |m| {
        m.nodes.push((10, 0))
    });
    check_table("contract/ipc", "more nodes or buffers", |m| {
        m.buffers.push((0, 0))
    });
    check_table("contract/ipc", "wrong data: node", |m| m.nodes.truncate(1));
    check_table("contract/ipc", "wrong data: values", |m| {
        m.buffers.truncate(4)
    });
    check_table("contract/ipc", "length", |m| {
        m.body_length = Some(i64::MAX - 7)
    });
    check_table("contract/ipc", "length", |m| m.metadata_length = Some(-1));
}

#[test]
fn buffers_lie_in_the_body_and_do_not_share_it() {
    check_table("contract/ipc", "outside", |m| m.buffers[1].0 = -8);
    check_table("contract/ipc", "outside", |m| m.buffers[1].0 = 4);
    check_table("contract/ipc", "outside", |m| m.buffers[1].0 = 1 << 40);
    check_table("contract/ipc", "outside", |m| m.buffers[4].1 = i64::MAX - 7);
    check_table("contract/ipc", "wrong data: values", |m| {
        m.buffers[1].1 = 72
    });
    check_table("contract/ipc", "wrong data: offsets", |m| {
        m.buffers[3].1 = 41
    });
    check_table("contract/ipc", "overlap", |m| {
        let all = i64::try_from(m.body.len()).unwrap();
        m.buffers[4] = (0, all);
    });
}

#[test]
fn values_are_what_their_type_says() {
    let at = |m: &Message, buffer: usize| usize::try_from(m.buffers[buffer].0).unwrap();
    check_table("contract/ipc", "malformed", |m| {
        let text = at(m, 4);
        m.body[text] = 0xff;
    });
    for offset in [-5, 200] {
        check_table("contract/ipc", "malformed", |m| {
            let second = at(m, 3) + 4;
            m.body[second..second + 4].copy_from_slice(&i32::to_le_bytes(offset));
        });
    }
}

#[test]
fn few_bytes_cannot_claim_very_many_values() {
    let random = &mut Random::new(3);
    let mut table =
        |data_type: &DataType| seeds::table(std::slice::from_ref(data_type), 8, Some(true), random);
    let item = |t, nullable| Arc::new(Field::new("item", t, nullable));
    check(&table(&DataType::Null), "limit/batch-output", "rows", |m| {
        m[0].rows = 1 << 30;
        m[0].nodes[0] = (1 << 30, 1 << 30);
    });
    let nulls = DataType::List(item(DataType::Null, true));
    check(&table(&nulls), "contract/ipc", "cannot have", |m| {
        m[0].nodes[1] = (1 << 28, 1 << 28)
    });
}

/// Bytes of `sent`, read as a column of type `planned`.
fn taken_for(sent: &RecordBatch, planned: DataType) -> Result<RecordBatch, Failure> {
    let bytes = encode(sent, vec![0]).unwrap();
    let schema = Schema::new(vec![Field::new("c0", planned, true)]);
    let mut gate = Gate::new(&schema).unwrap();
    gate.decode(&Buffer::from(bytes.as_slice()), &Limits::default())
}

#[test]
fn a_null_list_of_many_items_without_bytes_is_not_written_out() {
    // Arrow would mark a million items for each list that is null.
    let wide = |nullable| {
        let empty = DataType::Struct(Vec::<Field>::new().into());
        DataType::FixedSizeList(Arc::new(Field::new("item", empty, nullable)), 1 << 20)
    };
    let batch = seeds::table(&[wide(false)], 64, Some(true), &mut Random::new(3));
    assert!(batch.column(0).null_count() > 0);
    assert_eq!(taken_for(&batch, wide(true)).unwrap().num_rows(), 64);
    let failure = taken_for(&batch, wide(false)).unwrap_err();
    assert!(failure.message.contains("items"), "{failure}");
}

#[test]
fn what_can_only_be_null_is_not_free_of_nulls() {
    let of = |nullable| DataType::List(Arc::new(Field::new("n", DataType::Null, nullable)));
    let batch = seeds::table(&[of(true)], 8, Some(true), &mut Random::new(4));
    let failure = taken_for(&batch, of(false)).unwrap_err();
    assert_eq!(failure.code, "contract/schema", "{failure}");
}
