//! The gate alone, without a guest, for the fuzz runner and the tests of this crate. No part of the interface.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::Schema;
use odibi_story::failure::Failure;

use crate::exchange::decode::Decoder;
use crate::exchange::echo::Sent;
use crate::exchange::encode::Encoder;
use crate::exchange::schema;
use crate::limits::Limits;

/// What stands between the bytes of a guest and a batch of the planned columns.
#[derive(Debug, Clone)]
pub struct Gate(Decoder);

impl Gate {
    /// # Errors
    /// `Internal` when arrow cannot express the schema in IPC.
    pub fn new(planned: &Schema) -> Result<Self, Failure> {
        Decoder::new(planned).map(Self)
    }

    /// One `ipc` value of the data path.
    ///
    /// # Errors
    /// `contract/…` and `limit/…`.
    pub fn decode(&mut self, bytes: &Buffer, limits: &Limits) -> Result<RecordBatch, Failure> {
        self.0.decode(bytes, limits)
    }
}

/// A batch as it was sent to a guest.
#[derive(Debug)]
pub struct Echo(Sent);

impl Echo {
    /// # Errors
    /// `Internal` when arrow cannot express the batch in IPC.
    pub fn new(batch: &RecordBatch) -> Result<Self, Failure> {
        let all = (0..batch.num_columns()).collect();
        Encoder::new(all).encode(batch).map(Self)
    }

    /// What the gate makes of the memory of a guest that sends all of it back in one piece, or in the parts in which it came,
    /// and how many of the columns are those that were sent.
    pub fn receive(
        &self,
        gate: &mut Gate,
        memory: &[u8],
        in_one: bool,
        limits: &Limits,
    ) -> (Result<RecordBatch, Failure>, usize) {
        self.0.message().land(memory.as_ptr());
        let placed = self.0.message().placed();
        let ends = placed.map(|(at, _)| at.end.min(memory.len()));
        let mut start = 0;
        let mut parts: Vec<&[u8]> = ends
            .map(|end| &memory[std::mem::replace(&mut start, end)..end])
            .collect();
        parts.push(&memory[start..]);
        if in_one {
            parts = vec![memory];
        }
        let got = gate.0.receive(self.0.receive(&parts), limits);
        let own = got.as_ref().map_or(0, |got| self.0.own_columns(got));
        (got, own)
    }
}

/// A planned schema, from the bytes of a guest.
///
/// # Errors
/// `contract/…` and `limit/…`.
pub fn read_schema(bytes: &[u8], limits: &Limits) -> Result<Schema, Failure> {
    schema::read(bytes, limits)
}

/// A schema as it crosses.
///
/// # Errors
/// `Internal` when arrow cannot express the schema in IPC.
pub fn write_schema(schema: &Schema) -> Result<Vec<u8>, Failure> {
    schema::write(schema)
}

/// The columns of a batch that a guest asked for, as they cross.
///
/// # Errors
/// `Internal` when arrow cannot express the batch in IPC.
pub fn encode(batch: &RecordBatch, need: Vec<usize>) -> Result<Vec<u8>, Failure> {
    Encoder::new(need)
        .encode(batch)
        .map(|sent| sent.message().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn what_a_guest_did_not_ask_for_is_not_among_its_bytes() {
        let texts = |text: &str| vec![text.repeat(4); 10];
        let columns: [(&str, ArrayRef); 4] = [
            ("secret", Arc::new(StringArray::from(texts("canary-a")))),
            ("wanted", Arc::new(StringArray::from(texts("needle")))),
            (
                "secret_view",
                Arc::new(StringViewArray::from(texts("canary-b"))),
            ),
            (
                "wanted_view",
                Arc::new(StringViewArray::from(texts("thread"))),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let bytes = encode(&batch, vec![3, 1]).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(holds("needle") && holds("thread"));
        assert!(!holds("canary"));
    }
}
