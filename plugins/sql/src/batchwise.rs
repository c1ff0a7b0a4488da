//! A query of projections and filters over one table: each batch answers for itself, and only columns that are computed
//! from or filtered by enter the sandbox. An order that the rows of the table can be given before is no hindrance.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use odibi_sdk::{Appetite, Failure, Output, Result, Session};

use crate::database::Database;
use crate::fault;
use crate::spread::{column, port_of, row_by_row};
use crate::types;

/// The steps of such a query, from the table up.
#[derive(Debug)]
pub(crate) struct Batchwise {
    /// Which port the table is.
    pub(crate) port: usize,
    /// Offered columns of the scan, by its own numbering.
    scanned: Vec<usize>,
    /// What the scan gives.
    schema: DFSchemaRef,
    stages: Vec<Stage>,
    /// How often the rows are sorted in between.
    pub(crate) sorts: usize,
}

/// One step; its columns are numbered as its input's.
#[derive(Debug)]
enum Stage {
    Filter {
        predicate: Expr,
        schema: DFSchemaRef,
    },
    Project {
        exprs: Vec<Expr>,
        input: DFSchemaRef,
    },
}

/// What becomes of an output column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// It is this offered column.
    Passed(usize),
    /// It is computed.
    Made,
}

impl Batchwise {
    /// Reads an optimised plan; `None` when it is anything else.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let columns = scan.projected_schema.fields().len();
                let source = |at: usize| scan.projection.as_ref().map_or(at, |p| p[at]);
                Some(Self {
                    port: port_of(&scan.source)?,
                    scanned: (0..columns).map(source).collect(),
                    schema: Arc::clone(&scan.projected_schema),
                    stages: Vec::new(),
                    sorts: 0,
                })
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let mut below = Self::of(&alias.input)?;
                // Only the names change.
                let names = alias.input.schema().columns();
                below.stages.push(Stage::Project {
                    exprs: names.into_iter().map(Expr::Column).collect(),
                    input: Arc::clone(alias.input.schema()),
                });
                Some(below)
            }
            LogicalPlan::Filter(filter) => {
                row_by_row(&filter.predicate)?;
                let mut below = Self::of(&filter.input)?;
                below.stages.push(Stage::Filter {
                    predicate: filter.predicate.clone(),
                    schema: Arc::clone(filter.input.schema()),
                });
                Some(below)
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let mut below = Self::of(&sort.input)?;
                below.sorts += 1;
                Some(below)
            }
            LogicalPlan::Projection(projection) => {
                projection.expr.iter().try_for_each(row_by_row)?;
                let mut below = Self::of(&projection.input)?;
                below.stages.push(Stage::Project {
                    exprs: projection.expr.clone(),
                    input: Arc::clone(projection.input.schema()),
                });
                Some(below)
            }
            _ => None,
        }
    }

    /// This, and then `next` over what it gives; `result` is the schema of that.
    pub(crate) fn then(
        mut self,
        result: &DFSchemaRef,
        next: Self,
    ) -> datafusion::common::Result<Self> {
        let handed = next.scanned.iter().zip(next.schema.fields());
        let exprs = handed.map(|(at, wanted)| {
            let column = Expr::Column(Column::from(result.qualified_field(*at)));
            // As if it had crossed: views have become what they are views of.
            if result.field(*at).data_type() == wanted.data_type() {
                Ok(column)
            } else {
                column.cast_to(wanted.data_type(), result.as_ref())
            }
        });
        self.stages.push(Stage::Project {
            exprs: exprs.collect::<datafusion::common::Result<_>>()?,
            input: Arc::clone(result),
        });
        self.stages.extend(next.stages);
        Ok(self)
    }

    /// For each output column, where it comes from.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.scanned.iter().map(|c| Slot::Passed(*c)).collect();
        for stage in &self.stages {
            if let Stage::Project { exprs, input } = stage {
                let slot = |e: &Expr| {
                    column(e)
                        .and_then(|c| input.maybe_index_of_column(c))
                        .map_or(Slot::Made, |at| slots[at])
                };
                slots = exprs.iter().map(slot).collect();
            }
        }
        slots
    }

    /// For each stage and at last the result: the columns that must be there, by the numbering of that place.
    fn live(&self, slots: &[Slot]) -> Option<Vec<BTreeSet<usize>>> {
        let made = slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| **slot == Slot::Made);
        let mut live: BTreeSet<usize> = made.map(|(at, _)| at).collect();
        let mut all = vec![live.clone()];
        for stage in self.stages.iter().rev() {
            match stage {
                Stage::Filter { predicate, schema } => {
                    for column in predicate.column_refs() {
                        live.insert(schema.maybe_index_of_column(column)?);
                    }
                }
                Stage::Project { exprs, input } => {
                    let mut below = BTreeSet::new();
                    for column in live.iter().flat_map(|at| exprs[*at].column_refs()) {
                        below.insert(input.maybe_index_of_column(column)?);
                    }
                    live = below;
                }
            }
            all.push(live.clone());
        }
        all.reverse();
        Some(all)
    }

    /// Offered columns that enter the sandbox, in order.
    pub(crate) fn need(&self) -> Option<Vec<usize>> {
        let live = self.live(&self.slots())?;
        Some(live[0].iter().map(|at| self.scanned[*at]).collect())
    }

    /// Compiles it; `computed` is the schema of the columns that are made.
    pub(crate) fn open(
        &self,
        database: &Database,
        computed: SchemaRef,
    ) -> Result<Box<dyn Session>> {
        let live = self
            .live(&self.slots())
            .ok_or_else(|| Failure::internal("a column of the plan is not in its input"))?;
        let mut steps = Vec::new();
        for (at, stage) in self.stages.iter().enumerate() {
            let (here, after) = (&live[at], &live[at + 1]);
            steps.push(match stage {
                Stage::Filter { predicate, schema } => {
                    let narrowed = restrict(schema, here)?;
                    let predicate = compile(database, predicate, &narrowed)?;
                    let places: Vec<usize> = here.iter().copied().collect();
                    let keep = after
                        .iter()
                        .filter_map(|c| places.iter().position(|p| p == c))
                        .collect();
                    Step::Filter { predicate, keep }
                }
                Stage::Project { exprs, input } => {
                    let narrowed = restrict(input, here)?;
                    let exprs = after
                        .iter()
                        .map(|at| compile(database, &exprs[*at], &narrowed))
                        .collect::<Result<_>>()?;
                    Step::Project { exprs }
                }
            });
        }
        let first = restrict(&self.schema, &live[0])?;
        Ok(Box::new(Batches {
            port: self.port,
            first: Arc::new(first.as_arrow().clone()),
            steps,
            computed,
        }))
    }
}

fn restrict(schema: &DFSchema, columns: &BTreeSet<usize>) -> Result<DFSchema> {
    let fields = columns.iter().map(|at| {
        let (qualifier, field) = schema.qualified_field(*at);
        (qualifier.cloned(), Arc::clone(field))
    });
    DFSchema::new_with_metadata(fields.collect(), std::collections::HashMap::new())
        .map_err(|e| fault::of_run(&e))
}

fn compile(database: &Database, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let bare = expr.clone().unalias_nested().data;
    database
        .state()
        .create_physical_expr(bare, schema)
        .map_err(|e| fault::of_run(&e))
}

enum Step {
    Filter {
        predicate: Arc<dyn PhysicalExpr>,
        /// Places, in the batch before, of the columns that are needed after.
        keep: Vec<usize>,
    },
    Project {
        exprs: Vec<Arc<dyn PhysicalExpr>>,
    },
}

struct Batches {
    port: usize,
    /// What the host sends.
    first: SchemaRef,
    steps: Vec<Step>,
    computed: SchemaRef,
}

impl Session for Batches {
    fn process(
        &mut self,
        port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        if port != self.port {
            return Ok(Appetite::Enough);
        }
        let mut batch = rebuilt(&self.first, batch.columns().to_vec(), batch.num_rows())?;
        let mut kept: Option<BooleanArray> = None;
        for step in &self.steps {
            match step {
                Step::Filter { predicate, keep } => {
                    let mask = evaluate(predicate, &batch)?;
                    let mask = truth(&mask)?;
                    let rows = mask.true_count();
                    let narrowed = batch.project(keep)?;
                    if rows == batch.num_rows() {
                        batch = narrowed;
                        continue;
                    }
                    kept = Some(match kept {
                        None => mask.clone(),
                        Some(before) => narrowed_to(&before, &mask),
                    });
                    batch = arrow_select::filter::filter_record_batch(&narrowed, &mask)?;
                }
                Step::Project { exprs } => {
                    let columns = exprs
                        .iter()
                        .map(|e| evaluate(e, &batch))
                        .collect::<Result<Vec<_>>>()?;
                    let fields = columns.iter().enumerate().map(|(at, c)| {
                        arrow_schema::Field::new(at.to_string(), c.data_type().clone(), true)
                    });
                    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                    batch = rebuilt(&schema, columns, batch.num_rows())?;
                }
            }
        }
        let columns = types::crossing(batch.columns(), &self.computed)?;
        match kept {
            None => out.same_rows(columns),
            Some(rows) => out.kept(columns, rows.values()),
        }
    }
}

fn rebuilt(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new()
        .with_row_count(Some(rows))
        .with_match_field_names(false);
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(batch)
        .and_then(|value| value.into_array(batch.num_rows()))
        .map_err(|e| fault::of_run(&e))
}

/// Null is not true.
fn truth(mask: &ArrayRef) -> Result<BooleanArray> {
    let mask = mask
        .as_boolean_opt()
        .ok_or_else(|| Failure::internal("a filter did not give true and false"))?;
    Ok(if mask.null_count() > 0 {
        arrow_select::filter::prep_null_mask_filter(mask)
    } else {
        mask.clone()
    })
}

/// Of the rows that `kept` says, those that `mask` says; `mask` has a place for each of them.
fn narrowed_to(kept: &BooleanArray, mask: &BooleanArray) -> BooleanArray {
    let mut rows = arrow_array::builder::BooleanBufferBuilder::new(kept.len());
    rows.append_n(kept.len(), false);
    let places = kept.values().set_indices();
    for (at, _) in places.zip(mask.values()).filter(|(_, keep)| *keep) {
        rows.set_bit(at, true);
    }
    BooleanArray::new(rows.finish(), None)
}
