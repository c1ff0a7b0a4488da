//! What was let through: is it what was planned, and does nothing later choke on it?

use std::fmt::{self, Write};
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use odibi_sandbox::Limits;
use odibi_sandbox::testing::{self, Gate};

use crate::random::Random;
use crate::seeds::Seed;

/// Rows that are looked at one by one.
const ROWS_MAX: usize = 1_000;

/// The contract, checked again by other means.
pub(crate) fn is_sound(batch: &RecordBatch, seed: &Seed, limits: &Limits) -> Result<(), String> {
    let rows = batch.num_rows();
    if rows as u64 > limits.batch_rows_max {
        return Err(format!("{rows} rows"));
    }
    let planned = seed.batch.schema();
    if batch.num_columns() != planned.fields().len() {
        return Err(format!("{} columns", batch.num_columns()));
    }
    for (field, column) in planned.fields().iter().zip(batch.columns()) {
        let name = field.name();
        if column.data_type() != field.data_type() || column.len() != rows {
            return Err(format!(
                "{name} is {} × {}",
                column.len(),
                column.data_type()
            ));
        }
        column
            .to_data()
            .validate_full()
            .map_err(|e| format!("{name}: {e}"))?;
        no_bare_null(field, column.as_ref(), None).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// No null where none was planned, but under a null parent.
fn no_bare_null(
    field: &Field,
    array: &dyn Array,
    parent: Option<&NullBuffer>,
) -> Result<(), String> {
    if !field.is_nullable()
        && let Some(nulls) = array.logical_nulls()
    {
        let hidden = |i| parent.is_some_and(|parent| parent.is_null(i));
        if (0..array.len()).any(|i| nulls.is_null(i) && !hidden(i)) {
            return Err(format!("a null in `{field}`"));
        }
    }
    let data = array.to_data();
    let fields: Vec<&Field> = match array.data_type() {
        DataType::List(f) | DataType::LargeList(f) | DataType::Map(f, _) => vec![f],
        DataType::FixedSizeList(f, _) => vec![f],
        DataType::Struct(fields) => fields.iter().map(AsRef::as_ref).collect(),
        _ => vec![],
    };
    let around = match array.data_type() {
        DataType::Struct(_) => array.nulls().cloned(),
        DataType::FixedSizeList(_, size) => array
            .nulls()
            .map(|nulls| nulls.expand(usize::try_from(*size).unwrap())),
        _ => None,
    };
    let children = fields.into_iter().zip(data.child_data());
    children
        .map(|(field, child)| (field, arrow_array::make_array(child.clone())))
        .try_for_each(|(field, child)| no_bare_null(field, &child, around.as_ref()))
}

/// Prints, picks, filters, joins and sends a batch on. What panics is caught by the caller.
pub(crate) fn use_it(
    batch: &RecordBatch,
    random: &mut Random,
    limits: &Limits,
) -> Result<(), String> {
    let batch = batch.slice(0, batch.num_rows().min(ROWS_MAX));
    // One by one, so that a complaint can name the type. Arrow cannot pick rows of no columns.
    (0..batch.num_columns()).try_for_each(|i| {
        let one = batch.project(&[i]).map_err(|e| format!("project: {e}"))?;
        let data_type = one.column(0).data_type().to_string();
        *crate::at_work() = data_type.clone();
        use_column(&one, random, limits).map_err(|e| format!("{data_type}: {e}"))
    })
}

fn use_column(batch: &RecordBatch, random: &mut Random, limits: &Limits) -> Result<(), String> {
    let rows = batch.num_rows();
    print(batch);
    let picked = (0..rows.min(50)).map(|_| u32::try_from(random.below(rows)).unwrap());
    let picked = UInt32Array::from_iter_values(picked);
    let taken = take_record_batch(batch, &picked).map_err(|e| format!("take: {e}"))?;
    print(&taken);
    let mask: BooleanArray = (0..rows).map(|_| Some(random.once_in(3))).collect();
    let kept = filter_record_batch(batch, &mask).map_err(|e| format!("filter: {e}"))?;
    let both = [batch, &kept, &taken];
    let both = concat_batches(&batch.schema(), both).map_err(|e| format!("concat: {e}"))?;
    let all = (0..both.num_columns()).collect();
    let bytes = testing::encode(&both, all).map_err(|e| format!("encode: {e}"))?;
    let mut gate = Gate::new(&batch.schema()).map_err(|e| format!("plan: {e}"))?;
    let again = gate
        .decode(&Buffer::from(bytes.as_slice()), limits)
        .map_err(|e| format!("decode: {e} {:?}", e.causes))?;
    if again.columns() != both.columns() {
        return Err("it came back with other values".to_owned());
    }
    Ok(())
}

/// Every cell, as the sample in a story is made.
fn print(batch: &RecordBatch) {
    let options = FormatOptions::new().with_display_error(false);
    for column in batch.columns() {
        let Ok(formatter) = ArrayFormatter::try_new(column.as_ref(), &options) else {
            continue;
        };
        for row in 0..batch.num_rows() {
            // A value without a text form is an error, and fine.
            let _ = formatter.value(row).write(&mut Head(0));
        }
    }
}

/// Has room for the beginning of a text.
struct Head(usize);

impl Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        if self.0 > 1_000 {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// Kept out of the way of the types above.
pub(crate) fn planned(seed: &Seed) -> Gate {
    Gate::new(&Arc::clone(&seed.batch.schema())).unwrap()
}
