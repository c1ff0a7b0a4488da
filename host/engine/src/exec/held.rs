//! How much memory batches hold that are kept together: what several of them share counts once.

use std::collections::HashSet;
use std::ptr::NonNull;

use arrow_array::{Array as _, RecordBatch};
use arrow_buffer::Buffer;

/// A sum over batches that are all alive.
pub(crate) struct Held {
    counted: HashSet<NonNull<u8>>,
    bytes: usize,
}

impl Held {
    /// What belongs to `batch` is there anyway, and does not count.
    pub(crate) fn beside(batch: &RecordBatch) -> Self {
        let (counted, bytes) = (HashSet::new(), 0);
        let mut held = Self { counted, bytes };
        held.add(batch);
        Self { bytes: 0, ..held }
    }

    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let mut parts: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
        while let Some(part) = parts.pop() {
            self.bytes = self.bytes.saturating_add(size_of_val(&part));
            part.buffers().iter().for_each(|buffer| self.count(buffer));
            if let Some(nulls) = part.nulls() {
                self.count(nulls.buffer());
            }
            parts.extend_from_slice(part.child_data());
        }
    }

    fn count(&mut self, buffer: &Buffer) {
        if self.counted.insert(buffer.data_ptr()) {
            self.bytes = self.bytes.saturating_add(buffer.capacity());
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray, StructArray};
    use arrow_schema::{DataType, Field};

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("c", column)]).unwrap()
    }

    #[test]
    fn shared_memory_counts_once_and_that_of_the_input_not_at_all() {
        let input = batch(Arc::new(Int64Array::from(vec![0; 1_000])));
        let other = batch(Arc::new(Int64Array::from(vec![0; 1_000])));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("x".repeat(5_000)), None]));
        let field = Field::new("s", DataType::Utf8, true);
        let nested = batch(Arc::new(StructArray::from(vec![(
            Arc::new(field),
            Arc::clone(&text),
        )])));
        let mut held = Held::beside(&input);
        for (added, least, most) in [
            (input.slice(3, 10), 0, 1_000),
            (other.slice(0, 1), 8_000, 9_500),
            (other.slice(999, 1), 8_000, 9_500),
            (other, 8_000, 9_500),
            (nested, 13_000, 16_000),
            (batch(text), 13_000, 16_000),
        ] {
            held.add(&added);
            assert!((least..=most).contains(&held.bytes()), "{}", held.bytes());
        }
    }
}
