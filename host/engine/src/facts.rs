//! What a run says of its data: columns, counts, nulls, a sample.

use std::fmt;

use arrow_array::{Array as _, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions, ValueFormatter};
use arrow_schema::SchemaRef;
use odibi_run::port::InputPlan;
use odibi_story::event::{Column, ColumnFlow, PassedColumn, PortFlow, Sample, StepFlow};

use crate::exec::PlannedStep;

use crate::limits::SAMPLE_CELL_CHARS_MAX;

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
    pub(crate) sample: Sample,
    sample_rows_max: usize,
}

impl Tally {
    /// Keeps the first rows as a sample.
    pub(crate) fn new(schema: &SchemaRef, sample_rows_max: usize) -> Self {
        let columns = if sample_rows_max == 0 {
            Vec::new()
        } else {
            schema.fields().iter().map(|f| f.name().clone()).collect()
        };
        Self {
            rows: 0,
            nulls: vec![0; schema.fields().len()],
            sample: Sample {
                columns,
                rows: Vec::new(),
            },
            sample_rows_max,
        }
    }

    /// Takes a batch into account.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (nulls, column) in self.nulls.iter_mut().zip(batch.columns()) {
            *nulls += column.logical_null_count() as u64;
        }
        let wanted = self
            .sample_rows_max
            .saturating_sub(self.sample.rows.len())
            .min(batch.num_rows());
        if wanted == 0 {
            return;
        }
        let options = FormatOptions::new().with_display_error(false);
        let head = batch.slice(0, wanted);
        let formatters: Vec<_> = head
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).ok())
            .collect();
        for row in 0..wanted {
            let cells = head
                .columns()
                .iter()
                .zip(&formatters)
                .map(|(column, formatter)| {
                    if column.is_null(row) || column.data_type().is_null() {
                        return None;
                    }
                    let text = formatter.as_ref().and_then(|f| short(&f.value(row)));
                    Some(text.unwrap_or_else(|| UNPRINTABLE.to_owned()))
                });
            self.sample.rows.push(cells.collect());
        }
    }
}

/// The text of a value, cut; `None` when it has none. What is cut off is never written: a list may have millions of items.
fn short(value: &ValueFormatter<'_>) -> Option<String> {
    let mut head = Head::default();
    match value.write(&mut head) {
        Err(_) if head.is_cut => head.text.push('…'),
        Err(_) => return None,
        Ok(()) => {}
    }
    Some(head.text)
}

/// The beginning of a text; writing on fails.
#[derive(Default)]
struct Head {
    text: String,
    chars: usize,
    is_cut: bool,
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
    use arrow_array::{ArrayRef, Date32Array, ListArray, StringArray};

    use super::*;

    #[test]
    fn a_cell_of_many_items_is_cut_like_any_other() {
        let lists = [Some(vec![Some(7); 5_000]), Some(vec![])];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        let batch = RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef)]).unwrap();
        let mut tally = Tally::new(&batch.schema(), 2);
        tally.add(&batch);
        let cells: Vec<&str> = tally
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
            tally.sample.rows,
            [
                vec![cell("a\u{1b}"), cell("1970-01-01")],
                vec![None, cell(UNPRINTABLE)],
                vec![Some(cut), None],
                vec![cell("a\u{1b}"), cell("1970-01-01")],
            ]
        );
    }
}
