//! The small traits: new columns batch by batch, and row filters. Everything they do not name passes through without
//! entering the sandbox.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{Schema, SchemaRef};

use crate::failure::{Failure, Result};
use crate::operation::{Appetite, Session, Start};
use crate::outline::Outline;
use crate::output::Output;
use crate::params::Params;
use crate::plan::Plan;
use crate::plugin::Example;

/// Adds, replaces, renames or drops columns; each batch by itself, rows stay as they are.
///
/// The type that implements it is its params: what stands in the YAML arrives in its fields.
pub trait Columns: Params {
    /// What the YAML calls it, `snake_case`.
    const NAME: &'static str;
    /// One line for lists.
    const SUMMARY: &'static str;

    /// Worked examples; documentation and tests.
    #[must_use]
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// Which columns are read, and how the output differs from the input. Pure.
    ///
    /// # Errors
    /// Params or columns that do not fit.
    fn outline(&self, input: &Schema) -> Result<Outline>;

    /// One array for each column that the outline `put` or `add`ed, in that order; `batch` has the columns that it
    /// `read`, in that order.
    ///
    /// # Errors
    /// Values that do not fit.
    fn compute(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let _ = batch;
        Ok(Vec::new())
    }
}

/// Keeps some rows; each batch by itself.
///
/// The type that implements it is its params.
pub trait Rows: Params {
    /// What the YAML calls it, `snake_case`.
    const NAME: &'static str;
    /// One line for lists.
    const SUMMARY: &'static str;

    /// Worked examples; documentation and tests.
    #[must_use]
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// Which columns are read. May also drop, rename or reorder, but not add. Pure.
    ///
    /// # Errors
    /// Params or columns that do not fit.
    fn outline(&self, input: &Schema) -> Result<Outline>;

    /// True for each row that stays; null is false. `batch` has the columns that the outline `read`, in that order.
    ///
    /// # Errors
    /// Values that do not fit.
    fn keep(&self, batch: &RecordBatch) -> Result<BooleanArray>;
}

/// The turns of the computed columns travel from plan to session in the state.
pub(crate) fn plan_columns<T: Columns>(params: &T, inputs: &[SchemaRef]) -> Result<Plan> {
    let outline = params.outline(first(inputs)?)?;
    let turns = outline
        .turns()
        .into_iter()
        .flat_map(|t| u32::try_from(t).unwrap_or(u32::MAX).to_le_bytes());
    let state: Vec<u8> = turns.collect();
    Ok(Plan::from(outline).state(state))
}

pub(crate) fn open_columns<T: Columns>(params: T, start: &Start) -> Box<dyn Session> {
    let turns = start
        .state
        .as_chunks::<4>()
        .0
        .iter()
        .map(|c| u32::from_le_bytes(*c) as usize);
    Box::new(ColumnsSession {
        params,
        turns: turns.collect(),
    })
}

pub(crate) fn plan_rows<T: Rows>(params: &T, inputs: &[SchemaRef]) -> Result<Plan> {
    let plan = Plan::from(params.outline(first(inputs)?)?);
    match plan.computed_schema().fields().first() {
        Some(field) => Err(Failure::internal(format!(
            "a row filter cannot compute a column: `{}`",
            field.name()
        ))),
        None => Ok(plan),
    }
}

pub(crate) fn open_rows<T: Rows>(params: T) -> Box<dyn Session> {
    Box::new(RowsSession { params })
}

fn first(inputs: &[SchemaRef]) -> Result<&Schema> {
    inputs
        .first()
        .map(Arc::as_ref)
        .ok_or_else(|| Failure::internal("no input"))
}

struct ColumnsSession<T> {
    params: T,
    /// For each computed output column, which of the arrays of `compute` it is.
    turns: Vec<usize>,
}

impl<T: Columns> Session for ColumnsSession<T> {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        if self.turns.is_empty() {
            return out.same_rows(Vec::new());
        }
        let arrays = self.params.compute(&batch)?;
        let columns = self.turns.iter().map(|turn| {
            let missing = || {
                Failure::internal(format!(
                    "`compute` returned too few columns: {}",
                    arrays.len()
                ))
            };
            arrays.get(*turn).cloned().ok_or_else(missing)
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        out.same_rows(columns)
    }
}

struct RowsSession<T> {
    params: T,
}

impl<T: Rows> Session for RowsSession<T> {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let mask = self.params.keep(&batch)?;
        if mask.len() != batch.num_rows() {
            let message = format!(
                "`keep` must answer for {} rows, answered for: {}",
                batch.num_rows(),
                mask.len()
            );
            return Err(Failure::internal(message));
        }
        match mask.nulls().filter(|n| n.null_count() > 0) {
            None => out.kept(Vec::new(), mask.values()),
            Some(nulls) => out.kept(Vec::new(), &(mask.values() & nulls.inner())),
        }
    }
}
