//! Comparisons in the text of a condition, and of a query over one table.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of dozens of expressions a few are understood"
)]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Ident, ObjectName, ObjectNamePart, Query, SetExpr, Statement,
    TableFactor, TypedString, UnaryOperator, Value, Visit, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::Relation;

/// Longer texts are not looked at: the tree of a long chain of ANDs is deep, and is walked on the stack.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What the main input is always called.
const MAIN: &str = "df";

/// A column is so to one of some literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Name of the column.
    pub(super) column: String,
    /// Was the name in quotes? Otherwise its case does not matter.
    pub(super) exact: bool,
    pub(super) relation: Relation,
    pub(super) literals: Vec<Literal>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Integer(i64),
    Text(String),
    Date(String),
}

/// Of a condition, as it stands behind WHERE.
pub(super) fn of_condition(text: &str) -> Vec<Comparison> {
    let parsed = parser(text).and_then(|mut parser| {
        let condition = parser.parse_expr().ok()?;
        (parser.peek_token().token == Token::EOF).then_some(condition)
    });
    match parsed {
        Some(condition) if relations(&condition) == 0 => comparisons(&condition, &[]),
        _ => Vec::new(),
    }
}

/// Of the WHERE of a query that reads the main input, once, and nothing else. `main` is another name of the main input.
pub(super) fn of_query(sql: &str, main: Option<&str>) -> Vec<Comparison> {
    let statements = parser(sql).and_then(|mut parser| parser.parse_statements().ok());
    match statements.as_deref() {
        Some([Statement::Query(query)]) => of_select(query, main).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn of_select(query: &Query, main: Option<&str>) -> Option<Vec<Comparison>> {
    // With one relation in all, no subquery sees the table.
    if query.with.is_some() || !query.pipe_operators.is_empty() || relations(query) != 1 {
        return None;
    }
    let SetExpr::Select(select) = &*query.body else {
        return None;
    };
    let [from] = &*select.from else {
        return None;
    };
    let TableFactor::Table {
        name,
        alias,
        args: None,
        sample: None,
        ..
    } = &from.relation
    else {
        return None;
    };
    let is_main = |name: &Ident| {
        let mut names = [Some(MAIN), main].into_iter().flatten();
        names.any(|main| main.eq_ignore_ascii_case(&name.value))
    };
    let table = single(name).filter(|name| is_main(name))?;
    if !from.joins.is_empty() || alias.as_ref().is_some_and(|a| !a.columns.is_empty()) {
        return None;
    }
    let table = alias.as_ref().map_or(table, |alias| &alias.name);
    let condition = select.selection.as_ref()?;
    Some(comparisons(condition, &[table]))
}

fn parser(text: &str) -> Option<Parser<'static>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    Parser::new(&GenericDialect {}).try_with_sql(text).ok()
}

fn single(name: &ObjectName) -> Option<&Ident> {
    match &*name.0 {
        [ObjectNamePart::Identifier(name)] => Some(name),
        _ => None,
    }
}

/// Tables that are named, in subqueries too.
fn relations(of: &impl Visit) -> usize {
    let mut count = 0;
    let _: ControlFlow<()> = visit_relations(of, |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    count
}

/// All parts of a conjunction that are understood. `tables` may stand before the name of a column.
fn comparisons(condition: &Expr, tables: &[&Ident]) -> Vec<Comparison> {
    let mut found = Vec::new();
    let mut open = vec![condition];
    while let Some(part) = open.pop() {
        match part {
            Expr::Nested(inner) => open.push(inner),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => open.extend([&**left, &**right]),
            Expr::BinaryOp { left, op, right } => found.extend(comparison(left, op, right, tables)),
            Expr::Between {
                expr,
                negated: false,
                low,
                high,
            } => {
                found.extend(one(expr, Relation::GtEq, low, tables));
                found.extend(one(expr, Relation::LtEq, high, tables));
            }
            Expr::InList {
                expr,
                list,
                negated: false,
            } => {
                let literals: Option<Vec<_>> = list.iter().map(literal).collect();
                found.extend(literals.and_then(|all| of_column(expr, Relation::Eq, all, tables)));
            }
            _ => {}
        }
    }
    found
}

fn comparison(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    tables: &[&Ident],
) -> Option<Comparison> {
    let (relation, turned) = match op {
        BinaryOperator::Eq => (Relation::Eq, Relation::Eq),
        BinaryOperator::Lt => (Relation::Lt, Relation::Gt),
        BinaryOperator::LtEq => (Relation::LtEq, Relation::GtEq),
        BinaryOperator::Gt => (Relation::Gt, Relation::Lt),
        BinaryOperator::GtEq => (Relation::GtEq, Relation::LtEq),
        _ => return None,
    };
    one(left, relation, right, tables).or_else(|| one(right, turned, left, tables))
}

fn one(column: &Expr, relation: Relation, value: &Expr, tables: &[&Ident]) -> Option<Comparison> {
    of_column(column, relation, vec![literal(value)?], tables)
}

fn of_column(
    column: &Expr,
    relation: Relation,
    literals: Vec<Literal>,
    tables: &[&Ident],
) -> Option<Comparison> {
    let name = match column {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match &**parts {
            [table, name] if tables.iter().any(|t| t.value == table.value) => name,
            _ => return None,
        },
        _ => return None,
    };
    Some(Comparison {
        column: name.value.clone(),
        exact: name.quote_style.is_some(),
        relation,
        literals,
    })
}

fn literal(expr: &Expr) -> Option<Literal> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, false) => number.parse().ok().map(Literal::Integer),
            Value::SingleQuotedString(text) => Some(Literal::Text(text.clone())),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match literal(expr)? {
            Literal::Integer(number) => number.checked_neg().map(Literal::Integer),
            Literal::Text(_) | Literal::Date(_) => None,
        },
        Expr::TypedString(TypedString {
            data_type: DataType::Date,
            value,
            uses_odbc_syntax: false,
        }) => match &value.value {
            Value::SingleQuotedString(text) => Some(Literal::Date(text.clone())),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &[(&str, Relation)]) {
        let found = of_query(sql, Some("flights"));
        let found: Vec<_> = found
            .iter()
            .map(|c| (c.column.as_str(), c.relation))
            .collect();
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn the_where_of_a_query_over_the_main_input_alone() {
        let id = [("id", Relation::Gt)];
        check("SELECT * FROM df WHERE id > 5", &id);
        check(
            "select count(*) from DF where (id > 5) group by x order by 1 limit 3;",
            &id,
        );
        check("SELECT d.x FROM df AS d WHERE d.id > 5 AND d.x = d.y", &id);
        check("SELECT * FROM flights WHERE flights.id > 5", &id);
        check("SELECT *, row_number() OVER () FROM df WHERE id > 5", &id);
        check(
            "SELECT * FROM df WHERE a = '1' AND b BETWEEN 1 AND 2",
            &[
                ("b", Relation::GtEq),
                ("b", Relation::LtEq),
                ("a", Relation::Eq),
            ],
        );
    }

    #[test]
    fn what_may_see_other_rows_is_left_alone() {
        check("SELECT id FROM df", &[]);
        check("SELECT id FROM df HAVING id > 5", &[]);
        check(
            "SELECT * FROM df a JOIN df b ON a.id = b.id WHERE a.id > 5",
            &[],
        );
        check("SELECT * FROM df, other WHERE id > 5", &[]);
        check("SELECT * FROM other WHERE id > 5", &[]);
        check("SELECT * FROM df AS d(a, b) WHERE a > 5", &[]);
        check("SELECT x.id FROM df AS d WHERE x.id > 5", &[]);
        check("SELECT (SELECT max(id) FROM df) FROM df WHERE id > 5", &[]);
        check(
            "SELECT * FROM df WHERE id > 5 AND x IN (SELECT y FROM df)",
            &[],
        );
        check(
            "SELECT * FROM df WHERE id > 5 UNION ALL SELECT * FROM df",
            &[],
        );
        check(
            "WITH df AS (SELECT 1 AS id) SELECT * FROM df WHERE id > 5",
            &[],
        );
        check("SELECT * FROM (SELECT * FROM df) df WHERE id > 5", &[]);
        check("SELECT * FROM df WHERE id > 5; SELECT 1", &[]);
        check("SELECT * FROM df WHERE id > ", &[]);
        let long = format!(
            "SELECT * FROM df WHERE id > 5{}",
            " AND 1 = 1".repeat(1_000)
        );
        check(&long, &[]);
    }
}
