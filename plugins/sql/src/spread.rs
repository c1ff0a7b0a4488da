//! By which columns the host may divide the tables so that each part answers for itself.
//!
//! A query is divided by a *key*: columns of every table it reads, such that rows which meet in the query (in a group, a
//! window's partition, a join) agree in them. The answers of the parts, put behind each other, are then the answer of the
//! whole. Tables that cannot be divided so may be given whole to each part, where a join allows it.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use arrow_schema::{DataType, SchemaRef};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, Union, Window};

use crate::port::PortTable;

/// A key: for each part of it, which column of which port.
pub(crate) type Key = Vec<BTreeMap<usize, usize>>;

/// How a query may be divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Division {
    /// For each port that is divided: its columns, in the order of the key.
    pub(crate) columns: BTreeMap<usize, Vec<usize>>,
    /// Ports that every part gets whole.
    pub(crate) whole: BTreeSet<usize>,
}

/// Tables that may be given whole are tried out in all combinations up to this many tables.
const WHOLE_TABLES_MAX: usize = 5;
/// Keys that are considered at the same time.
const KEYS_MAX: usize = 64;

/// Finds a division of an optimised plan; `None` when the whole query needs one instance.
pub(crate) fn divide(plan: &LogicalPlan, offered: &[SchemaRef]) -> Option<Division> {
    let mut ports = BTreeSet::new();
    collect_ports(plan, &mut ports)?;
    let further: Vec<usize> = ports.iter().copied().filter(|p| *p != 0).collect();
    let combinations = if further.len() <= WHOLE_TABLES_MAX {
        1u32 << further.len()
    } else {
        1
    };
    let mut masks: Vec<u32> = (0..combinations).collect();
    masks.sort_by_key(|mask| mask.count_ones());
    masks.into_iter().find_map(|mask| {
        let chosen = further
            .iter()
            .enumerate()
            .filter(|(at, _)| mask & (1 << at) != 0);
        let whole: BTreeSet<usize> = chosen.map(|(_, port)| *port).collect();
        let divided: BTreeSet<usize> = ports.difference(&whole).copied().collect();
        let Reach::Keyed(keys) = analyse(plan, &whole)?.reach else {
            return None;
        };
        let key = keys
            .into_iter()
            .filter(|key| suits(key, &divided, offered))
            .max_by_key(Vec::len)?;
        let columns = divided
            .iter()
            .map(|port| (*port, key.iter().map(|part| part[port]).collect()));
        Some(Division {
            columns: columns.collect(),
            whole,
        })
    })
}

/// Does every part of the key name a column of every table, of one type that hashes as it compares?
fn suits(key: &Key, divided: &BTreeSet<usize>, offered: &[SchemaRef]) -> bool {
    !key.is_empty()
        && key.iter().all(|part| {
            let mut types = part
                .iter()
                .map(|(port, column)| offered[*port].field(*column).data_type());
            let Some(first) = types.next() else {
                return false;
            };
            part.keys().eq(divided) && hashes(first) && types.all(|other| other == first)
        })
}

/// Floats are not among them: -0 equals 0 and hashes differently.
fn hashes(kind: &DataType) -> bool {
    kind.is_integer()
        || kind.is_temporal()
        || kind.is_string()
        || kind.is_decimal()
        || matches!(
            kind,
            DataType::Boolean | DataType::Binary | DataType::LargeBinary
        )
        || matches!(kind, DataType::Dictionary(_, values) if values.is_string())
}

fn collect_ports(plan: &LogicalPlan, ports: &mut BTreeSet<usize>) -> Option<()> {
    if let LogicalPlan::TableScan(scan) = plan {
        ports.insert(port_of(&scan.source)?);
    }
    plan.inputs()
        .into_iter()
        .try_for_each(|input| collect_ports(input, ports))
}

/// The port that a scan reads, if it reads one.
pub(crate) fn port_of(
    source: &std::sync::Arc<dyn datafusion::logical_expr::TableSource>,
) -> Option<usize> {
    let provider = source_as_provider(source).ok()?;
    let provider: &dyn Any = provider.as_ref();
    provider.downcast_ref::<PortTable>().map(|table| table.port)
}

/// Where rows lie.
enum Reach {
    /// Every part has all of them.
    Whole,
    /// Rows of these ports, which nothing has tied to a key yet.
    Free(BTreeSet<usize>),
    /// Each of these keys would do.
    Keyed(Vec<Key>),
}

/// A column of a port.
type Source = (usize, usize);

struct Part {
    reach: Reach,
    /// For each output column: the columns whose values it holds unchanged, one of them in each row. None when computed,
    /// or when an outer join may have put null there.
    origins: Vec<Vec<Source>>,
}

fn analyse(plan: &LogicalPlan, whole: &BTreeSet<usize>) -> Option<Part> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let port = port_of(&scan.source)?;
            if scan.fetch.is_some() {
                return None;
            }
            let columns = scan.projected_schema.fields().len();
            if whole.contains(&port) {
                return Some(Part {
                    reach: Reach::Whole,
                    origins: vec![Vec::new(); columns],
                });
            }
            let source = |at: usize| scan.projection.as_ref().map_or(at, |p| p[at]);
            Some(Part {
                reach: Reach::Free(BTreeSet::from([port])),
                origins: (0..columns).map(|at| vec![(port, source(at))]).collect(),
            })
        }
        LogicalPlan::SubqueryAlias(alias) => analyse(&alias.input, whole),
        LogicalPlan::Filter(filter) => {
            row_by_row(&filter.predicate)?;
            analyse(&filter.input, whole)
        }
        LogicalPlan::Projection(projection) => {
            let input = analyse(&projection.input, whole)?;
            projection.expr.iter().try_for_each(row_by_row)?;
            let origin = |e: &Expr| origin(e, projection.input.schema(), &input.origins);
            let origins = projection.expr.iter().map(origin).collect();
            Some(Part {
                reach: input.reach,
                origins,
            })
        }
        LogicalPlan::Aggregate(aggregate) => group(aggregate, whole),
        LogicalPlan::Window(window) => windows(window, whole),
        LogicalPlan::Join(join) => join_parts(join, whole),
        LogicalPlan::Union(union) => stack(union, whole),
        _ => None,
    }
}

/// An expression over the values of a row alone, the same whenever it is asked.
pub(crate) fn row_by_row(expr: &Expr) -> Option<()> {
    let other = |e: &Expr| {
        matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(..)
        )
    };
    let found = datafusion::common::tree_node::TreeNode::exists(expr, |e| Ok(other(e))).ok()?;
    (!found && !expr.is_volatile()).then_some(())
}

fn origin(expr: &Expr, schema: &DFSchema, origins: &[Vec<Source>]) -> Vec<Source> {
    let at = column(expr).and_then(|c| schema.maybe_index_of_column(c));
    at.map_or_else(Vec::new, |at| origins[at].clone())
}

/// The column that an expression is, under whatever name.
pub(crate) fn column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column(&alias.expr),
        _ => None,
    }
}

/// Do these columns bring together what the key brings together?
fn covers(columns: &[Vec<Source>], key: &Key) -> bool {
    key.iter()
        .all(|part| columns.iter().any(|c| carries(c, part)))
}

fn carries(origins: &[Source], part: &BTreeMap<usize, usize>) -> bool {
    !origins.is_empty()
        && origins
            .iter()
            .all(|(port, column)| part.get(port) == Some(column))
}

/// Keys that these columns offer over rows of `ports`: all of them together, and each alone.
fn keys_from(columns: &[Vec<Source>], ports: &BTreeSet<usize>) -> Vec<Key> {
    let parts = columns.iter().filter_map(|origins| {
        let mut part = BTreeMap::new();
        for (port, column) in origins {
            if *part.entry(*port).or_insert(*column) != *column {
                return None;
            }
        }
        part.keys().eq(ports).then_some(part)
    });
    alone_and_together(parts.collect())
}

fn alone_and_together(parts: Key) -> Vec<Key> {
    let mut keys: Vec<Key> = parts.iter().map(|part| vec![part.clone()]).collect();
    if parts.len() > 1 {
        keys.push(parts);
    }
    keys
}

fn narrow(reach: Reach, columns: &[Vec<Source>]) -> Option<Reach> {
    let keys = match reach {
        Reach::Whole => return Some(Reach::Whole),
        Reach::Free(ports) => keys_from(columns, &ports),
        Reach::Keyed(keys) => keys
            .into_iter()
            .filter(|key| covers(columns, key))
            .collect(),
    };
    (!keys.is_empty()).then_some(Reach::Keyed(keys))
}

fn group(aggregate: &Aggregate, whole: &BTreeSet<usize>) -> Option<Part> {
    let input = analyse(&aggregate.input, whole)?;
    let exprs = || aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    exprs().try_for_each(row_by_row)?;
    if aggregate
        .group_expr
        .iter()
        .any(|e| matches!(e, Expr::GroupingSet(_)))
    {
        return None;
    }
    let schema = aggregate.input.schema();
    let mut origins: Vec<Vec<Source>> = aggregate
        .group_expr
        .iter()
        .map(|e| origin(e, schema, &input.origins))
        .collect();
    let reach = narrow(input.reach, &origins)?;
    origins.resize(aggregate.schema.fields().len(), Vec::new());
    Some(Part { reach, origins })
}

fn windows(window: &Window, whole: &BTreeSet<usize>) -> Option<Part> {
    let input = analyse(&window.input, whole)?;
    let mut reach = input.reach;
    for expr in &window.window_expr {
        row_by_row(expr)?;
        let function = window_function(expr)?;
        let schema = window.input.schema();
        let by = &function.params.partition_by;
        let columns: Vec<_> = by
            .iter()
            .map(|e| origin(e, schema, &input.origins))
            .collect();
        reach = narrow(reach, &columns)?;
    }
    let mut origins = input.origins;
    origins.resize(window.schema.fields().len(), Vec::new());
    Some(Part { reach, origins })
}

/// The window function that an expression is, under whatever name.
pub(crate) fn window_function(
    expr: &Expr,
) -> Option<&datafusion::logical_expr::expr::WindowFunction> {
    match expr {
        Expr::WindowFunction(function) => Some(function),
        Expr::Alias(alias) => window_function(&alias.expr),
        _ => None,
    }
}

fn join_parts(join: &Join, whole: &BTreeSet<usize>) -> Option<Part> {
    use JoinType as J;
    if join.null_aware {
        return None;
    }
    let (left, right) = (analyse(&join.left, whole)?, analyse(&join.right, whole)?);
    let on = || join.on.iter().flat_map(|(l, r)| [l, r]).chain(&join.filter);
    on().try_for_each(row_by_row)?;
    let pairs: Vec<(Vec<Source>, Vec<Source>)> = join
        .on
        .iter()
        .map(|(l, r)| {
            (
                origin(l, join.left.schema(), &left.origins),
                origin(r, join.right.schema(), &right.origins),
            )
        })
        .collect();
    let kind = join.join_type;
    let reach = match (left.reach, right.reach) {
        (Reach::Whole, Reach::Whole) => Reach::Whole,
        (reach, Reach::Whole) => matches!(
            kind,
            J::Inner | J::Left | J::LeftSemi | J::LeftAnti | J::LeftMark
        )
        .then_some(reach)?,
        (Reach::Whole, reach) => matches!(
            kind,
            J::Inner | J::Right | J::RightSemi | J::RightAnti | J::RightMark
        )
        .then_some(reach)?,
        (left, right) => meet(left, right, &pairs)?,
    };
    let (mut l, mut r) = (left.origins, right.origins);
    let forget = |origins: &mut Vec<Vec<Source>>| origins.iter_mut().for_each(Vec::clear);
    let mut origins = match kind {
        J::Inner => [l, r].concat(),
        J::Left => {
            forget(&mut r);
            [l, r].concat()
        }
        J::Right => {
            forget(&mut l);
            [l, r].concat()
        }
        J::Full => {
            forget(&mut l);
            forget(&mut r);
            [l, r].concat()
        }
        J::LeftSemi | J::LeftAnti | J::LeftMark => l,
        J::RightSemi | J::RightAnti | J::RightMark => r,
    };
    origins.resize(join.schema.fields().len(), Vec::new());
    Some(Part { reach, origins })
}

/// Keys under which rows that the pairs make equal lie together.
fn meet(left: Reach, right: Reach, pairs: &[(Vec<Source>, Vec<Source>)]) -> Option<Reach> {
    let merged = |l: &[Source], r: &[Source]| {
        let mut part: BTreeMap<usize, usize> = BTreeMap::new();
        let fits = l
            .iter()
            .chain(r)
            .all(|(port, column)| *part.entry(*port).or_insert(*column) == *column);
        (fits && !l.is_empty() && !r.is_empty()).then_some(part)
    };
    let keys: Vec<Key> = match (left, right) {
        (Reach::Free(l), Reach::Free(r)) => {
            let ports: BTreeSet<usize> = l.union(&r).copied().collect();
            let parts = pairs.iter().filter_map(|(l, r)| merged(l, r));
            alone_and_together(parts.filter(|part| part.keys().eq(&ports)).collect())
        }
        (Reach::Keyed(keys), Reach::Free(ports)) => keys
            .iter()
            .filter_map(|key| extend(key, &ports, pairs.iter().map(|(l, r)| (l, r))))
            .collect(),
        (Reach::Free(ports), Reach::Keyed(keys)) => keys
            .iter()
            .filter_map(|key| extend(key, &ports, pairs.iter().map(|(l, r)| (r, l))))
            .collect(),
        (Reach::Keyed(left), Reach::Keyed(right)) => {
            let both = left.iter().flat_map(|l| right.iter().map(move |r| (l, r)));
            both.filter_map(|(l, r)| align(l, r, pairs))
                .take(KEYS_MAX)
                .collect()
        }
        (Reach::Whole, _) | (_, Reach::Whole) => return None,
    };
    (!keys.is_empty()).then_some(Reach::Keyed(keys))
}

/// The key of one side, with the columns of the other that equal it.
fn extend<'a>(
    key: &Key,
    ports: &BTreeSet<usize>,
    pairs: impl Iterator<Item = (&'a Vec<Source>, &'a Vec<Source>)> + Clone,
) -> Option<Key> {
    key.iter()
        .map(|part| {
            pairs
                .clone()
                .filter(|(keyed, _)| carries(keyed, part))
                .find_map(|(_, free)| {
                    let mut part = part.clone();
                    let mut added = BTreeSet::new();
                    for (port, column) in free {
                        added.insert(*port);
                        if *part.entry(*port).or_insert(*column) != *column {
                            return None;
                        }
                    }
                    (added == *ports).then_some(part)
                })
        })
        .collect()
}

/// One key of two that the pairs make equal, part by part.
fn align(left: &Key, right: &Key, pairs: &[(Vec<Source>, Vec<Source>)]) -> Option<Key> {
    if left.len() != right.len() {
        return None;
    }
    left.iter()
        .zip(right)
        .map(|(l, r)| {
            let equal = pairs
                .iter()
                .any(|(lo, ro)| carries(lo, l) && carries(ro, r));
            let mut part = l.clone();
            let fits = r
                .iter()
                .all(|(port, column)| *part.entry(*port).or_insert(*column) == *column);
            (equal && fits).then_some(part)
        })
        .collect()
}

fn stack(union: &Union, whole: &BTreeSet<usize>) -> Option<Part> {
    let parts: Vec<Part> = union
        .inputs
        .iter()
        .map(|input| analyse(input, whole))
        .collect::<Option<_>>()?;
    let columns = union.schema.fields().len();
    let mut ports = BTreeSet::new();
    let mut origins = vec![Vec::new(); columns];
    let mut known = vec![true; columns];
    for part in &parts {
        let Reach::Free(these) = &part.reach else {
            return None;
        };
        ports.extend(these);
        for at in 0..columns {
            known[at] &= !part.origins[at].is_empty();
            origins[at].extend(&part.origins[at]);
        }
    }
    for (origins, known) in origins.iter_mut().zip(known) {
        if !known {
            origins.clear();
        }
    }
    Some(Part {
        reach: Reach::Free(ports),
        origins,
    })
}
