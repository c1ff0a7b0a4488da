//! What the values of a result are like: the smallest and the largest of each column, and frequent ones where they are few.
//! Bounded in memory; values are counted in the first rows only.

use std::collections::HashMap;

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use odibi_story::event::{ColumnProfile, Profile, ValueCount};

use crate::facts::{Cells, short_text};
use crate::limits::{
    PROFILE_COLUMNS_MAX, PROFILE_ROWS_COUNTED, PROFILE_TOP_MAX, PROFILE_VALUES_MAX,
};

/// Looks at the result as it passes by.
#[derive(Debug)]
pub(crate) struct Profiler {
    columns: Vec<ColumnProfiler>,
    rows_counted: usize,
}

#[derive(Debug)]
struct ColumnProfiler {
    name: String,
    min: Option<MinAccumulator>,
    max: Option<MaxAccumulator>,
    /// None once there are too many, or values without a text.
    counts: Option<HashMap<String, u64>>,
}

impl Profiler {
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        let fields = schema.fields().iter().take(PROFILE_COLUMNS_MAX);
        Self {
            columns: fields.map(|field| ColumnProfiler::new(field)).collect(),
            rows_counted: 0,
        }
    }

    /// Takes a batch into account.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let counted = batch
            .num_rows()
            .min(PROFILE_ROWS_COUNTED - self.rows_counted);
        for (profiler, column) in self.columns.iter_mut().zip(batch.columns()) {
            profiler.compare(column);
            if counted > 0 {
                profiler.count(&column.slice(0, counted));
            }
        }
        self.rows_counted += counted;
    }

    pub(crate) fn finish(self) -> Profile {
        Profile {
            rows_counted: self.rows_counted as u64,
            columns: self
                .columns
                .into_iter()
                .map(ColumnProfiler::finish)
                .collect(),
        }
    }
}

impl ColumnProfiler {
    fn new(field: &Field) -> Self {
        let kind = field.data_type();
        let (min, max) = if has_order(kind) {
            (
                MinAccumulator::try_new(kind).ok(),
                MaxAccumulator::try_new(kind).ok(),
            )
        } else {
            (None, None)
        };
        let countable = has_order(kind) && !kind.is_floating();
        Self {
            name: field.name().clone(),
            min,
            max,
            counts: countable.then(HashMap::new),
        }
    }

    fn compare(&mut self, column: &ArrayRef) {
        if column.null_count() == column.len() {
            return;
        }
        let values = std::slice::from_ref(column);
        // What cannot be compared after all has no profile.
        let compared = self
            .min
            .as_mut()
            .map_or(Ok(()), |min| min.update_batch(values));
        let compared = compared.and_then(|()| {
            self.max
                .as_mut()
                .map_or(Ok(()), |max| max.update_batch(values))
        });
        if compared.is_err() {
            (self.min, self.max) = (None, None);
        }
    }

    fn count(&mut self, head: &ArrayRef) {
        let Some(counts) = &mut self.counts else {
            return;
        };
        let cells = Cells::of(head);
        for row in 0..head.len() {
            if head.is_null(row) {
                continue;
            }
            let value = cells.whole(row);
            if let Some(value) = value
                && (counts.len() < PROFILE_VALUES_MAX || counts.contains_key(&value))
            {
                *counts.entry(value).or_default() += 1;
            } else {
                self.counts = None;
                return;
            }
        }
    }

    fn finish(self) -> ColumnProfile {
        let text = |accumulator: Option<&mut dyn Accumulator>| {
            let value = accumulator?.evaluate().ok()?;
            if value.is_null() {
                return None;
            }
            short_text(&value.to_array().ok()?, 0)
        };
        let (mut min, mut max) = (self.min, self.max);
        let distinct = self.counts.as_ref().map(|counts| counts.len() as u64);
        let mut top: Vec<ValueCount> = self
            .counts
            .into_iter()
            .flatten()
            .map(|(value, rows)| ValueCount { value, rows })
            .collect();
        top.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.value.cmp(&b.value)));
        // Values that all occur once are what a sample shows.
        if top.first().is_none_or(|most| most.rows < 2) {
            top.clear();
        }
        top.truncate(PROFILE_TOP_MAX);
        ColumnProfile {
            column: self.name,
            min: text(min.as_mut().map(|min| min as &mut dyn Accumulator)),
            max: text(max.as_mut().map(|max| max as &mut dyn Accumulator)),
            distinct,
            top,
        }
    }
}

fn has_order(kind: &DataType) -> bool {
    kind.is_numeric()
        || kind.is_temporal()
        || matches!(
            kind,
            DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8
        )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
    };

    use super::*;

    fn profile(batches: &[RecordBatch]) -> Profile {
        let mut profiler = Profiler::new(&batches[0].schema());
        batches.iter().for_each(|batch| profiler.add(batch));
        profiler.finish()
    }

    #[track_caller]
    fn check(column: ArrayRef, min: Option<&str>, max: Option<&str>, top: Option<&[(&str, u64)]>) {
        let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        let found = profile(&[batch.slice(0, 1), batch.slice(1, batch.num_rows() - 1)]);
        let found = &found.columns[0];
        assert_eq!((found.min.as_deref(), found.max.as_deref()), (min, max));
        let counts: Vec<_> = found
            .top
            .iter()
            .map(|v| (v.value.as_str(), v.rows))
            .collect();
        assert_eq!(found.distinct.map(|_| counts.as_slice()), top);
    }

    #[test]
    fn smallest_largest_and_frequent_values_are_told() {
        let numbers = Int64Array::from(vec![Some(3), None, Some(-7), Some(3)]);
        check(
            Arc::new(numbers),
            Some("-7"),
            Some("3"),
            Some(&[("3", 2), ("-7", 1)]),
        );
        let text = StringArray::from(vec![Some("b"), Some(""), None, Some("ä")]);
        check(Arc::new(text), Some(""), Some("ä"), Some(&[]));
        let float = Float64Array::from(vec![1.5, -0.5]);
        check(Arc::new(float), Some("-0.5"), Some("1.5"), None);
        let bools = BooleanArray::from(vec![true, true, false]);
        check(
            Arc::new(bools),
            Some("false"),
            Some("true"),
            Some(&[("true", 2), ("false", 1)]),
        );
        let dates = Date32Array::from(vec![0, 1]);
        check(
            Arc::new(dates),
            Some("1970-01-01"),
            Some("1970-01-02"),
            Some(&[]),
        );
        let nothing = Int64Array::from(vec![None, None]);
        check(Arc::new(nothing), None, None, Some(&[]));
        let bytes = BinaryArray::from(vec![b"x".as_slice(), b"x"]);
        check(Arc::new(bytes), None, None, None);
    }

    #[test]
    fn values_are_counted_only_while_they_are_few_and_in_the_first_rows() {
        let many: Int64Array = (0..PROFILE_VALUES_MAX as i64 + 1).collect();
        let last = (PROFILE_VALUES_MAX as i64).to_string();
        check(Arc::new(many), Some("0"), Some(&last), None);
        let rows = PROFILE_ROWS_COUNTED + 5;
        let column: Int64Array = (0..rows as i64)
            .map(|n| n / PROFILE_ROWS_COUNTED as i64)
            .collect();
        let batch = RecordBatch::try_from_iter([("c", Arc::new(column) as ArrayRef)]).unwrap();
        let found = profile(&[batch.slice(0, 7), batch.slice(7, rows - 7)]);
        assert_eq!(found.rows_counted, PROFILE_ROWS_COUNTED as u64);
        assert_eq!(found.columns[0].distinct, Some(1));
        assert_eq!(found.columns[0].max.as_deref(), Some("1"), "of all rows");
        let long = "é".repeat(crate::limits::SAMPLE_CELL_CHARS_MAX + 1);
        let cut = format!("{}…", "é".repeat(crate::limits::SAMPLE_CELL_CHARS_MAX));
        let text = StringArray::from(vec![long.as_str(), long.as_str()]);
        check(Arc::new(text), Some(&cut), Some(&cut), None);
    }
}
