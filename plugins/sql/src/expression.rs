//! Expressions that users write into params: each is parsed and planned alone, so that a fault lies in its own text, and
//! then stands in a statement in parentheses.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use arrow_array::{RecordBatch, RecordBatchOptions};
use datafusion::common::DFSchema;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, Value, Visit, Visitor, WindowType,
};
use odibi_sdk::prelude::*;

use crate::database::Database;
use crate::port::PortTable;
use crate::sql::MAIN;
use crate::{fault, parse};

/// Checks expressions over the main input.
pub(crate) struct Expressions {
    schema: SchemaRef,
    database: Database,
}

/// An expression that may stand in a statement.
#[derive(Debug)]
pub(crate) struct Checked {
    /// As SQL, in parentheses.
    pub(crate) sql: String,
    /// What it gives.
    pub(crate) kind: DataType,
}

/// What else than scalar functions may stand in an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Windows {
    Allowed,
    Refused,
}

/// Where an expression is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    Where,
}

impl Expressions {
    /// Over a main input of this schema.
    pub(crate) fn over(schema: &SchemaRef) -> Result<Self> {
        let table = Arc::new(PortTable::offered(0, Arc::clone(schema)));
        let database = Database::new(HashMap::from([(MAIN.to_owned(), table)]));
        Ok(Self {
            schema: Arc::clone(schema),
            database: database.map_err(|e| fault::of_run(&e))?,
        })
    }

    /// A value for each row; window functions may stand in it.
    pub(crate) fn value(&self, pointer: &str, text: &str) -> Result<String> {
        let checked = self.part(pointer, text)?;
        if checked.kind == DataType::Null {
            let message = "the value is always null and has no type";
            return Err(Failure::param(pointer, message)
                .code("no-type")
                .hint("cast it: CAST(NULL AS VARCHAR)"));
        }
        Ok(checked.sql)
    }

    /// As `value`, but it may be null and without a type.
    pub(crate) fn part(&self, pointer: &str, text: &str) -> Result<Checked> {
        self.checked(text, Windows::Allowed, Place::Anywhere)
            .map_err(|f| f.at_param(pointer))
    }

    /// True or false for each row, from that row alone; it may stand anywhere.
    pub(crate) fn condition(&self, pointer: &str, text: &str) -> Result<String> {
        self.truth(pointer, text, Place::Anywhere)
    }

    /// As `condition`, to stand behind WHERE: `IN (SELECT …)` can stand there and nowhere else.
    pub(crate) fn filter(&self, pointer: &str, text: &str) -> Result<String> {
        self.truth(pointer, text, Place::Where)
    }

    fn truth(&self, pointer: &str, text: &str, place: Place) -> Result<String> {
        let checked = self
            .checked(text, Windows::Refused, place)
            .map_err(|f| f.at_param(pointer))?;
        match checked.kind {
            DataType::Boolean => Ok(checked.sql),
            DataType::Null => Ok(format!("CAST({} AS BOOLEAN)", checked.sql)),
            other => {
                let message = format!("the condition must be true or false, is: {other}");
                Err(Failure::param(pointer, message)
                    .code("wrong-type")
                    .hint("compare it with something, as in `amount > 0`"))
            }
        }
    }

    fn checked(&self, text: &str, windows: Windows, place: Place) -> Result<Checked> {
        let parsed = parse::expression(text)?;
        self.look(&parsed, text, windows)?;
        let (mended, kind) = self.plan(parsed, text, place)?;
        let sql = format!("({}\n)", quoted(text, &mended));
        // What stands in the statement must mean what was planned here.
        match parse::expression(&sql) {
            Ok(Expr::Nested(inner)) if *inner == mended => Ok(Checked { sql, kind }),
            _ => Err(not_alone("an expression")),
        }
    }

    /// A window function without its OVER, as SQL.
    pub(crate) fn function(&self, pointer: &str, text: &str) -> Result<String> {
        self.checked_function(text).map_err(|f| f.at_param(pointer))
    }

    fn checked_function(&self, text: &str) -> Result<String> {
        let parsed = parse::expression(text)?;
        let Expr::Function(mut function) = parsed else {
            let message = "a window function is wanted, as in `sum(amount)` or `rank()`";
            return Err(Failure::param("", message).code("sql-syntax"));
        };
        if function.over.is_some() {
            let message = "the function must stand without OVER";
            return Err(Failure::param("", message)
                .code("sql-syntax")
                .hint("write what follows OVER into `partition_by` and `order_by`"));
        }
        self.look(&function, text, Windows::Refused)?;
        let over = parse::expression("rank() OVER ()")?;
        if let Expr::Function(empty) = over {
            function.over = empty.over;
        }
        let (mended, _) = self.plan(Expr::Function(function), text, Place::Anywhere)?;
        let sql = format!("{}\n", quoted(text, &mended));
        match parse::expression(&format!("{sql} OVER ()")) {
            Ok(whole) if whole == mended => Ok(sql),
            _ => Err(not_alone("a function")),
        }
    }

    /// Keys of an order, as SQL.
    pub(crate) fn order(&self, pointer: &str, text: &str) -> Result<String> {
        self.checked_order(text).map_err(|f| f.at_param(pointer))
    }

    fn checked_order(&self, text: &str) -> Result<String> {
        let mut keys = parse::order(text)?;
        for key in &mut keys {
            if key.with_fill.is_some() {
                let message = "WITH FILL is not supported";
                return Err(Failure::param("", message).code("not-supported"));
            }
            self.look(&key.expr, text, Windows::Refused)?;
            (key.expr, _) = self.plan(key.expr.clone(), text, Place::Anywhere)?;
        }
        let mut sql = text.to_owned();
        for key in keys.iter().rev() {
            sql = quoted(&sql, &key.expr);
        }
        match parse::order(&sql) {
            Ok(whole) if whole == keys => Ok(format!("{sql}\n")),
            _ => Err(not_alone("an order")),
        }
    }

    /// Evaluates SQL that speaks of no column, and gives back what the engine says against it.
    pub(crate) fn constant(&self, sql: &str) -> Result<Option<String>> {
        let text = format!("SELECT {sql}");
        let run = |plan: &LogicalPlan| {
            let expr = match plan {
                LogicalPlan::Projection(projection) => projection.expr.first().cloned(),
                _ => None,
            };
            let expr = expr.ok_or_else(|| crate::database::internal("no expression"))?;
            let expr = expr.unalias_nested().data;
            let physical = self
                .database
                .state()
                .create_physical_expr(expr, &DFSchema::empty())?;
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let row =
                RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
            physical.evaluate(&row).map(|_| ())
        };
        let planned = self.database.logical(parse::query(&text)?);
        let done = planned.and_then(|plan| run(&plan));
        Ok(done.err().map(|e| e.to_string()))
    }

    /// Resolves names and types. Unquoted names come back as the columns that they mean.
    fn plan(&self, expr: Expr, text: &str, place: Place) -> Result<(Expr, DataType)> {
        let mut statement = parse::query("SELECT 1 FROM df")?;
        select(&mut statement)?.projection = vec![SelectItem::UnnamedExpr(expr)];
        parse::fold_case(&mut statement, [(MAIN, self.schema.as_ref())]);
        let mended = match select(&mut statement)?.projection.as_slice() {
            [SelectItem::UnnamedExpr(expr)] => expr.clone(),
            _ => return Err(Failure::internal("another number of expressions")),
        };
        let kind = self
            .database
            .logical(statement.clone())
            .map(|plan| plan.schema().field(0).data_type().clone())
            .map_err(|e| fault::of_query(&e, text))?;
        if place == Place::Where {
            let one = parse::expression("1")?;
            let select = select(&mut statement)?;
            select.projection = vec![SelectItem::UnnamedExpr(one)];
            select.selection = match kind {
                DataType::Boolean => Some(mended.clone()),
                // Refused later, with a better message than the engine's.
                _ => None,
            };
        }
        self.database
            .logical(statement)
            .and_then(|plan| self.database.optimized(&plan))
            // Some faults only show when the operators are made.
            .and_then(|plan| self.database.physical(&plan))
            .map_err(|e| fault::of_query(&e, text))?;
        Ok((mended, kind))
    }

    fn look(&self, at: &impl Visit, text: &str, windows: Windows) -> Result<()> {
        let mut look = Look {
            aggregates: self.database.state().aggregate_functions(),
            text,
            windows,
            depth: 0,
        };
        match at.visit(&mut look) {
            ControlFlow::Break(failure) => Err(failure),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
}

/// The text alone is one thing, in a statement it would be another.
fn not_alone(what: &str) -> Failure {
    let message = format!("this is not {what} that can stand in a statement");
    Failure::param("", message).code("sql-syntax")
}

fn select(statement: &mut Statement) -> Result<&mut Select> {
    if let Statement::Query(query) = statement
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        return Ok(select);
    }
    Err(Failure::internal("not a SELECT"))
}

/// The text, with quotes around the names for which `mended` found a column of other case.
fn quoted(text: &str, mended: &Expr) -> String {
    struct Mended<'a> {
        text: &'a str,
        found: Vec<(Range<usize>, String)>,
    }
    impl Mended<'_> {
        fn take(&mut self, name: &Ident) {
            let (start, end) = (name.span.start, name.span.end);
            if name.quote_style.is_some()
                && let Some(range) = parse::range(self.text, start, end)
                && let Some(written) = self.text.get(range.clone())
                && written.to_lowercase() == name.value.to_lowercase()
            {
                self.found.push((range, name.value.clone()));
            }
        }

        fn take_all(&mut self, names: &ObjectName) {
            for part in &names.0 {
                if let ObjectNamePart::Identifier(name) = part {
                    self.take(name);
                }
            }
        }
    }
    impl Visitor for Mended<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(name) => self.take(name),
                Expr::CompoundIdentifier(names) => names.iter().for_each(|n| self.take(n)),
                _ => {}
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            self.take_all(relation);
            ControlFlow::Continue(())
        }
    }
    let mut mended_names = Mended {
        text,
        found: Vec::new(),
    };
    let _ = mended.visit(&mut mended_names);
    let mut found = mended_names.found;
    found.sort_by_key(|(range, _)| range.start);
    found.dedup();
    let mut sql = text.to_owned();
    for (range, name) in found.into_iter().rev() {
        sql.replace_range(range, &crate::statement::name(&name));
    }
    sql
}

/// Refuses what has no place in an expression over the rows of one table.
struct Look<'a> {
    aggregates: &'a HashMap<String, Arc<datafusion::logical_expr::AggregateUDF>>,
    text: &'a str,
    windows: Windows,
    /// In how many subqueries.
    depth: usize,
}

impl Look<'_> {
    fn refuse(&self, name: Option<&Ident>, code: &str, message: String) -> Failure {
        let failure = Failure::param("", message).code(code);
        match name {
            Some(name) => parse::at(failure, self.text, name.span),
            None => failure,
        }
    }
}

fn last(name: &ObjectName) -> Option<&Ident> {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(name)) => Some(name),
        _ => None,
    }
}

impl Visitor for Look<'_> {
    type Break = Failure;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Failure> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Failure> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Failure> {
        if select.into.is_some() {
            let message = "`SELECT … INTO` would make a table".to_owned();
            return ControlFlow::Break(self.refuse(None, "not-a-query", message));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Failure> {
        let name = match factor {
            TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => {
                return ControlFlow::Continue(());
            }
            TableFactor::Table {
                name, args: None, ..
            } if name.0.len() == 1 => last(name),
            TableFactor::Table { name, .. } => {
                let message = format!("a subquery may read `{MAIN}` and nothing else: `{name}`");
                let failure = self.refuse(last(name), "unknown-table", message);
                return ControlFlow::Break(failure);
            }
            _ => None,
        };
        match name {
            Some(name) if name.value.eq_ignore_ascii_case(MAIN) => ControlFlow::Continue(()),
            name => {
                let of = name.map_or_else(String::new, |n| format!(": `{}`", n.value));
                let message = format!("a subquery may read `{MAIN}` and nothing else{of}");
                ControlFlow::Break(self.refuse(name, "unknown-table", message))
            }
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Failure> {
        match expr {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                let message = format!("a placeholder has no value here: `{}`", value.value);
                let failure = Failure::param("", message).code("sql-syntax");
                ControlFlow::Break(parse::at(failure, self.text, value.span))
            }
            // The engine plans it, and then cannot compute it.
            Expr::JsonAccess { .. } => {
                let message = "access by a colon is not supported".to_owned();
                ControlFlow::Break(self.refuse(None, "not-supported", message))
            }
            Expr::Function(function) => self.function(function),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Look<'_> {
    fn function(&self, function: &Function) -> ControlFlow<Failure> {
        let Some(ident) = last(&function.name) else {
            return ControlFlow::Continue(());
        };
        let name = ident.value.to_lowercase();
        let over = matches!(
            function.over,
            Some(WindowType::WindowSpec(_) | WindowType::NamedWindow(_))
        );
        let refused = if name == "unnest" {
            Some(("not-supported", "would make several rows of one"))
        } else if self.depth > 0 {
            None
        } else if over {
            (self.windows == Windows::Refused)
                .then_some(("window-not-allowed", "looks at other rows"))
        } else {
            self.aggregates
                .contains_key(&name)
                .then_some(("aggregate-not-allowed", "looks at all rows together"))
        };
        match refused {
            Some((code, why)) => {
                let message = format!("`{name}` {why}, which has no place here");
                ControlFlow::Break(self.refuse(Some(ident), code, message))
            }
            None => ControlFlow::Continue(()),
        }
    }
}
