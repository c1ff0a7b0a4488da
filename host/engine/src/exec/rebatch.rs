//! Batches of a good size for a sandbox: small ones put together, big ones cut.

use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use odibi_story::failure::Failure;

use crate::failure::{During, classify};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ROWS_MIN};

/// Collects and cuts.
pub(crate) struct Rebatch {
    schema: SchemaRef,
    rows_max: usize,
    held: Vec<RecordBatch>,
    held_rows: usize,
}

impl Rebatch {
    /// Batches of at most so many rows.
    pub(crate) fn new(schema: &SchemaRef, rows_max: usize) -> Self {
        Self {
            schema: Arc::clone(schema),
            rows_max: rows_max.max(1),
            held: Vec::new(),
            held_rows: 0,
        }
    }

    /// Takes a batch of the schema; returns what is ready, in order.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>, Failure> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        self.held_rows += batch.num_rows();
        self.held.push(batch);
        if self.held_rows >= BATCH_ROWS_MIN.min(self.rows_max) {
            self.flush()
        } else {
            Ok(Vec::new())
        }
    }

    /// What is left.
    pub(crate) fn flush(&mut self) -> Result<Vec<RecordBatch>, Failure> {
        self.held_rows = 0;
        let held = std::mem::take(&mut self.held);
        let whole = match held.as_slice() {
            [] => return Ok(Vec::new()),
            [one] => one.clone(),
            many => concat_batches(&self.schema, many).map_err(|e| classify(&e, During::Run))?,
        };
        Ok(self.cut(&whole))
    }

    fn cut(&self, batch: &RecordBatch) -> Vec<RecordBatch> {
        let rows = batch.num_rows();
        let by_bytes = match bytes(batch).div_ceil(BATCH_BYTES_MAX) {
            0 | 1 => rows,
            parts => rows.div_ceil(parts),
        };
        let step = by_bytes.min(self.rows_max).max(1);
        (0..rows)
            .step_by(step)
            .map(|start| batch.slice(start, step.min(rows - start)))
            .collect()
    }
}

fn bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap_or_default())
        .sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn numbers(from: i64, rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[track_caller]
    fn check(rows_max: usize, sizes: &[i64], expected: &[usize]) {
        let mut rebatch = Rebatch::new(&numbers(0, 0).schema(), rows_max);
        let (mut found, mut from) = (Vec::new(), 0);
        for size in sizes {
            found.extend(rebatch.push(numbers(from, *size)).unwrap());
            from += size;
        }
        found.extend(rebatch.flush().unwrap());
        assert_eq!(
            found.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
            expected
        );
        let whole = concat_batches(&numbers(0, 0).schema(), &found).unwrap();
        assert_eq!(
            whole,
            numbers(0, from),
            "the rows and their order are the same"
        );
    }

    #[test]
    fn small_batches_are_put_together_and_big_ones_cut() {
        check(32_768, &[1, 2, 3], &[6]);
        check(32_768, &[4_095, 1, 5], &[4_096, 5]);
        check(32_768, &[40_000], &[32_768, 7_232]);
        check(2, &[5], &[2, 2, 1]);
        check(1_000, &[999, 2], &[1_000, 1]);
        check(32_768, &[0, 0], &[]);
    }

    #[test]
    fn wide_rows_are_cut_by_their_bytes() {
        let text = "x".repeat(1024 * 1024);
        let column: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(); 20]));
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let mut rebatch = Rebatch::new(&batch.schema(), 32_768);
        rebatch.push(batch).unwrap();
        let found = rebatch.flush().unwrap();
        assert_eq!(
            found.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
            [7, 7, 6]
        );
    }
}
