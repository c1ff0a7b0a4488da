//! What a run says of its data: columns, counts, nulls, a sample.

use std::fmt;

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::SchemaRef;
use odibi_run::port::InputPlan;
use odibi_story::event::{Column, ColumnFlow, PassedColumn, PortFlow, Profile, Sample, StepFlow};

use crate::exec::PlannedStep;

use crate::limits::{SAMPLE_BYTES_MAX, SAMPLE_CELL_CHARS_MAX, SAMPLE_COLUMNS_MAX};
use crate::profile::Profiler;

/// Stands in a sample for a value that has no text form.
const UNPRINTABLE: &str = "<unprintable>";

/// Columns as events name them.
pub(crate) fn columns(schema: &SchemaRef) -> Vec<Column> {
    let column = |f: &arrow_schema::FieldRef| Column {
        name: f.name().clone(),
        data_type: f.data_type().to_string(),
        nullable: f.is_nullable(),
    };
    schema.fields().iter().map(column).collect()
}

/// What a step does with columns, as its operation planned it. The plan was checked, so every index is one of a column.
pub(crate) fn flow(index: usize, planned: &PlannedStep) -> StepFlow {
    let plan = &planned.plan;
    let name = |port: usize, column: usize| {
        let offered = plan.inputs.get(port)?.offered.fields();
        Some(offered.get(column)?.name().clone())
    };
    let port = |(at, input): (usize, &InputPlan)| PortFlow {
        input: match at.checked_sub(1) {
            None => (index == 0).then_some(0),
            Some(further) => planned.step.further_inputs.get(further).copied(),
        },
        needed: input
            .need
            .iter()
            .filter_map(|column| name(at, *column))
            .collect(),
    };
    let column = |(field, passed): (&arrow_schema::FieldRef, &Option<(usize, usize)>)| ColumnFlow {
        column: field.name().clone(),
        passed: passed.and_then(|(port, column)| {
            let column = name(port, column)?;
            Some(PassedColumn { port, column })
        }),
    };
    let columns = plan.output.fields().iter().zip(&plan.pass_through);
    StepFlow {
        ports: plan.inputs.iter().enumerate().map(port).collect(),
        columns: columns.map(column).collect(),
    }
}

/// Counts the result as it passes by.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) nulls: Vec<u64>,
    sampler: Sampler,
    /// None where no values may be told.
    profiler: Option<Profiler>,
}

impl Tally {
    /// Keeps the first rows as a sample; 0 of them: no values at all.
    pub(crate) fn new(schema: &SchemaRef, sample_rows_max: usize) -> Self {
        Self {
            rows: 0,
            nulls: vec![0; schema.fields().len()],
            sampler: Sampler::new(schema, |_| true, sample_rows_max),
            profiler: (sample_rows_max > 0).then(|| Profiler::new(schema)),
        }
    }

    /// Takes a batch into account.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (nulls, column) in self.nulls.iter_mut().zip(batch.columns()) {
            *nulls += column.logical_null_count() as u64;
        }
        self.sampler.add(batch);
        if let Some(profiler) = &mut self.profiler {
            profiler.add(batch);
        }
    }

    /// The sample, and what the values are like.
    pub(crate) fn values(self) -> (Sample, Option<Profile>) {
        (self.sampler.sample, self.profiler.map(Profiler::finish))
    }
}

/// Keeps the first rows of what passes by.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    columns: Vec<usize>,
    rows_max: usize,
    bytes: usize,
    pub(crate) sample: Sample,
}

impl Sampler {
    /// Of the columns that are wanted, as many as there is room for.
    pub(crate) fn new(schema: &SchemaRef, wanted: impl Fn(usize) -> bool, rows_max: usize) -> Self {
        if rows_max == 0 {
            return Self::default();
        }
        let mut columns: Vec<usize> = (0..schema.fields().len())
            .filter(|at| wanted(*at))
            .collect();
        let left_out = columns.len().saturating_sub(SAMPLE_COLUMNS_MAX);
        columns.truncate(SAMPLE_COLUMNS_MAX);
        Self {
            rows_max,
            bytes: 0,
            sample: Sample {
                columns: columns
                    .iter()
                    .map(|at| schema.field(*at).name().clone())
                    .collect(),
                rows: Vec::new(),
                columns_left_out: left_out as u64,
            },
            columns,
        }
    }

    /// Takes the first rows of a batch while there is room.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let wanted = self
            .rows_max
            .saturating_sub(self.sample.rows.len())
            .min(batch.num_rows());
        if wanted == 0 {
            return;
        }
        let head: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|at| batch.column(*at).slice(0, wanted))
            .collect();
        let cells: Vec<Cells<'_>> = head.iter().map(Cells::of).collect();
        for row in 0..wanted {
            let row: Vec<Option<String>> = cells.iter().map(|cells| cells.cell(row)).collect();
            self.bytes += row.iter().flatten().map(String::len).sum::<usize>();
            self.sample.rows.push(row);
            if self.bytes > SAMPLE_BYTES_MAX {
                self.rows_max = 0;
                return;
            }
        }
    }
}

/// Values of a column, as text.
pub(crate) struct Cells<'a> {
    formatter: Option<ArrayFormatter<'a>>,
    nulls: Option<NullBuffer>,
}

impl<'a> Cells<'a> {
    pub(crate) fn of(column: &'a ArrayRef) -> Self {
        Self {
            formatter: ArrayFormatter::try_new(column.as_ref(), &OPTIONS).ok(),
            nulls: column.logical_nulls(),
        }
    }

    /// A cell of a sample: cut, and `None` for null.
    fn cell(&self, row: usize) -> Option<String> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let head = self.head(row).map(|head| head.cut());
        Some(head.unwrap_or_else(|| UNPRINTABLE.to_owned()))
    }

    /// The text of a value that is not null, if it has one that need not be cut.
    pub(crate) fn whole(&self, row: usize) -> Option<String> {
        let head = self.head(row)?;
        (!head.is_cut).then_some(head.text)
    }

    /// What is cut off is never written: a list may have millions of items.
    fn head(&self, row: usize) -> Option<Head> {
        let mut head = Head::default();
        match self.formatter.as_ref()?.value(row).write(&mut head) {
            Err(_) if !head.is_cut => None,
            Ok(()) | Err(_) => Some(head),
        }
    }
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

/// The text of a value that is not null, cut; `None` when it has none.
pub(crate) fn short_text(column: &ArrayRef, row: usize) -> Option<String> {
    Cells::of(column).head(row).map(|head| head.cut())
}

/// The beginning of a text; writing on fails.
#[derive(Default)]
struct Head {
    text: String,
    chars: usize,
    is_cut: bool,
}

impl Head {
    fn cut(mut self) -> String {
        if self.is_cut {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SAMPLE_CELL_CHARS_MAX - self.chars;
        match text.char_indices().nth(room) {
            None => {
                self.text.push_str(text);
                self.chars += text.chars().count();
                Ok(())
            }
            Some((end, _)) => {
                self.text.push_str(&text[..end]);
                (self.chars, self.is_cut) = (SAMPLE_CELL_CHARS_MAX, true);
                Err(fmt::Error)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{Date32Array, ListArray, StringArray};

    use super::*;

    #[test]
    fn a_cell_of_many_items_is_cut_like_any_other() {
        let lists = [Some(vec![Some(7); 5_000]), Some(vec![])];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        let batch = RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef)]).unwrap();
        let mut tally = Tally::new(&batch.schema(), 2);
        tally.add(&batch);
        let cells: Vec<&str> = tally
            .sampler
            .sample
            .rows
            .iter()
            .flatten()
            .flatten()
            .map(String::as_str)
            .collect();
        assert!(
            cells[0].starts_with("[7, 7, ") && cells[0].ends_with('…'),
            "{cells:?}"
        );
        assert_eq!(cells[0].chars().count(), SAMPLE_CELL_CHARS_MAX + 1);
        assert_eq!(cells[1], "[]");
    }

    #[test]
    fn rows_nulls_and_the_first_rows_are_kept() {
        let long = "é".repeat(SAMPLE_CELL_CHARS_MAX + 1);
        let text: ArrayRef = Arc::new(StringArray::from(vec![
            Some("a\u{1b}"),
            None,
            Some(long.as_str()),
        ]));
        let date: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), Some(i32::MAX), None]));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("t", text, true), ("d", date, true)])
                .unwrap();
        let mut tally = Tally::new(&batch.schema(), 4);
        tally.add(&batch);
        tally.add(&batch);
        assert_eq!((tally.rows, tally.nulls.as_slice()), (6, &[2, 2][..]));
        let cut = format!("{}…", "é".repeat(SAMPLE_CELL_CHARS_MAX));
        let cell = |t: &str| Some(t.to_owned());
        assert_eq!(
            tally.sampler.sample.rows,
            [
                vec![cell("a\u{1b}"), cell("1970-01-01")],
                vec![None, cell(UNPRINTABLE)],
                vec![Some(cut), None],
                vec![cell("a\u{1b}"), cell("1970-01-01")],
            ]
        );
    }

    #[test]
    fn samples_are_bounded_in_columns_and_bytes() {
        let wide: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(200); 100]));
        let columns = (0..SAMPLE_COLUMNS_MAX + 3).map(|n| (format!("c{n}"), Arc::clone(&wide)));
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut sampler = Sampler::new(&batch.schema(), |at| at > 0, 100);
        sampler.add(&batch);
        sampler.add(&batch);
        let sample = sampler.sample;
        assert_eq!(sample.columns.len(), SAMPLE_COLUMNS_MAX);
        assert_eq!(
            (sample.columns[0].as_str(), sample.columns_left_out),
            ("c1", 2)
        );
        let rows = SAMPLE_BYTES_MAX / (200 * SAMPLE_COLUMNS_MAX) + 1;
        assert_eq!(sample.rows.len(), rows);
    }

    #[test]
    fn without_a_sample_no_value_is_kept() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let batch = RecordBatch::try_from_iter([("t", text)]).unwrap();
        let mut tally = Tally::new(&batch.schema(), 0);
        tally.add(&batch);
        assert_eq!((tally.rows, tally.values()), (1, (Sample::default(), None)));
    }
}
