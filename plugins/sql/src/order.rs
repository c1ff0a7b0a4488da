//! Which order of the main input spares the query a sort: the host can sort on disk, a guest cannot.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr};
use odibi_sdk::SortKey;

use crate::spread::{column, port_of, window_function};

/// With a limit of so many rows the query keeps the first rows as they come, and no order is asked for.
const FIRST_ROWS_MAX: usize = 100_000;

/// The order asked for, and of which port. Empty keys mean none.
pub(crate) fn wanted(plan: &LogicalPlan) -> Option<(usize, Vec<SortKey>)> {
    let mut at = plan;
    let mut lowest = None;
    let scan = loop {
        match at {
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => break scan,
            LogicalPlan::Projection(p) => at = &p.input,
            LogicalPlan::Filter(f) => at = &f.input,
            LogicalPlan::SubqueryAlias(s) => at = &s.input,
            // Which rows are the first is decided below what is sorted later.
            LogicalPlan::Limit(l) => {
                lowest = None;
                at = &l.input;
            }
            LogicalPlan::Sort(sort) => {
                let all = sort.fetch.is_none_or(|rows| rows > FIRST_ROWS_MAX);
                lowest = all.then_some(at);
                at = &sort.input;
            }
            LogicalPlan::Window(window) => {
                lowest = Some(at);
                at = &window.input;
            }
            _ => return None,
        }
    };
    let port = port_of(&scan.source)?;
    let keys = match lowest? {
        LogicalPlan::Sort(sort) => sort.expr.clone(),
        LogicalPlan::Window(window) => {
            let params = &window_function(window.window_expr.first()?)?.params;
            let partition = params
                .partition_by
                .iter()
                .map(|e| SortExpr::new(e.clone(), true, false));
            partition.chain(params.order_by.iter().cloned()).collect()
        }
        _ => return None,
    };
    let [input] = lowest?.inputs()[..] else {
        return None;
    };
    let mut wanted: Vec<SortKey> = Vec::new();
    for key in keys {
        let column = source(&key.expr, input)?;
        if wanted.iter().any(|k| k.column == column) {
            continue;
        }
        wanted.push(SortKey {
            column,
            descending: !key.asc,
            nulls_first: key.nulls_first,
        });
    }
    (!wanted.is_empty()).then_some((port, wanted))
}

/// The offered column that an expression over `plan` is.
fn source(expr: &Expr, plan: &LogicalPlan) -> Option<usize> {
    let mut at = plan;
    let mut index = index_in(expr, at.schema())?;
    loop {
        match at {
            LogicalPlan::TableScan(scan) => {
                return Some(scan.projection.as_ref().map_or(index, |p| p[index]));
            }
            LogicalPlan::Projection(p) => {
                index = index_in(&p.expr[index], p.input.schema())?;
                at = &p.input;
            }
            LogicalPlan::Filter(f) => at = &f.input,
            LogicalPlan::SubqueryAlias(s) => at = &s.input,
            LogicalPlan::Limit(l) => at = &l.input,
            LogicalPlan::Sort(s) => at = &s.input,
            LogicalPlan::Window(w) => {
                if index >= w.input.schema().fields().len() {
                    return None;
                }
                at = &w.input;
            }
            _ => return None,
        }
    }
}

fn index_in(expr: &Expr, schema: &Arc<DFSchema>) -> Option<usize> {
    schema.maybe_index_of_column(column(expr)?)
}
