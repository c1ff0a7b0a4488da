//! SQL text to one `SELECT`: what may not stand in it, and names whose case the file decides.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use arrow_schema::Schema;
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableFactor, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token};
use odibi_sdk::{Failure, Result};

/// How deep expressions may be nested.
const DEPTH_MAX: usize = 100;

/// Parses one query. Faults carry their place in `text`.
pub(crate) fn query(text: &str) -> Result<Statement> {
    let mut parser = parser(text)?;
    while parser.consume_token(&Token::SemiColon) {}
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Err(Failure::param("", "the SQL text is empty").code("empty-sql"));
    }
    if let Token::Word(word) = &next.token
        && !matches!(
            word.keyword,
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM
        )
    {
        let word = &word.value;
        let message = format!("a step takes a query, not a statement that begins with `{word}`");
        return Err(at(Failure::param("", message).code("not-a-query"), text, next.span)
            .hint("begin with SELECT or WITH; what to read and write stands in `read`, `inputs` and `write`"));
    }
    let statement = parser.parse_statement().map_err(|e| fault(&e, text))?;
    while parser.consume_token(&Token::SemiColon) {}
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!(
            "a step takes one query; found after its end: `{}`",
            rest.token
        );
        return Err(at(
            Failure::param("", message).code("sql-syntax"),
            text,
            rest.span,
        ));
    }
    let Statement::Query(query) = &statement else {
        return Err(Failure::param("", "a step takes a query").code("not-a-query"));
    };
    refuse(query)?;
    Ok(statement)
}

/// Parses one expression, with nothing behind it. Faults carry their place in `text`.
pub(crate) fn expression(text: &str) -> Result<Expr> {
    whole(text, Parser::parse_expr)
}

/// Parses the keys of an order, separated by commas.
pub(crate) fn order(text: &str) -> Result<Vec<ast::OrderByExpr>> {
    whole(text, |parser| {
        parser.parse_comma_separated(Parser::parse_order_by_expr)
    })
}

fn whole<T>(
    text: &str,
    part: impl FnOnce(&mut Parser<'static>) -> std::result::Result<T, ParserError>,
) -> Result<T> {
    let mut parser = parser(text)?;
    if parser.peek_token().token == Token::EOF {
        return Err(Failure::param("", "the expression is empty").code("empty-sql"));
    }
    let parsed = part(&mut parser).map_err(|e| fault(&e, text))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!("found after the end of the expression: `{}`", rest.token);
        let failure = Failure::param("", message).code("sql-syntax");
        return Err(at(failure, text, rest.span));
    }
    Ok(parsed)
}

fn parser(text: &str) -> Result<Parser<'static>> {
    Parser::new(&GenericDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(text)
        .map_err(|e| fault(&e, text))
}

fn refuse(query: &Query) -> Result<()> {
    struct Refuse;
    impl Visitor for Refuse {
        type Break = Failure;

        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Failure> {
            if select.into.is_some() {
                let message = "`SELECT … INTO` would make a table; a step only answers a query";
                return ControlFlow::Break(Failure::param("", message).code("not-a-query"));
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Failure> {
            match statement {
                Statement::Query(_) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(
                    Failure::param("", "a step takes a query and no other statement")
                        .code("not-a-query"),
                ),
            }
        }
    }
    match query.visit(&mut Refuse) {
        ControlFlow::Break(failure) => Err(failure),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Unquoted names fold to lower case. Where no column is called so, and exactly one is but for its case, that one is
/// meant. Names that the query itself gives are left alone.
pub(crate) fn fold_case<'a>(
    statement: &mut Statement,
    tables: impl IntoIterator<Item = (&'a str, &'a Schema)>,
) {
    let mut exact = BTreeSet::new();
    let mut by_fold: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut names = Vec::new();
    for (table, schema) in tables {
        names.push(table.to_owned());
        names.extend(schema.fields().iter().map(|f| f.name().clone()));
    }
    for name in names {
        by_fold
            .entry(name.to_lowercase())
            .or_default()
            .insert(name.clone());
        exact.insert(name);
    }
    let mut given = Given::default();
    let _ = Visit::visit(statement, &mut given);
    let meant = by_fold
        .into_iter()
        .filter(|(fold, names)| {
            names.len() == 1 && !exact.contains(fold) && !given.names.contains(fold)
        })
        .filter_map(|(fold, names)| Some((fold, names.into_iter().next()?)))
        .collect();
    let _ = VisitMut::visit(statement, &mut Quote { meant, exact });
}

/// Names that a query gives to columns and tables.
#[derive(Default)]
struct Given {
    names: BTreeSet<String>,
}

impl Given {
    fn take(&mut self, name: &Ident) {
        self.names.insert(name.value.to_lowercase());
    }

    fn take_alias(&mut self, alias: &ast::TableAlias) {
        self.take(&alias.name);
        for column in &alias.columns {
            self.take(&column.name);
        }
    }
}

impl Visitor for Given {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.take(alias);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.take_alias(&table.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                alias: Some(alias), ..
            }
            | TableFactor::Derived {
                alias: Some(alias), ..
            }
            | TableFactor::NestedJoin {
                alias: Some(alias), ..
            }
            | TableFactor::UNNEST {
                alias: Some(alias), ..
            } => self.take_alias(alias),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct Quote {
    meant: BTreeMap<String, String>,
    /// Names as they are.
    exact: BTreeSet<String>,
}

impl Quote {
    fn mend(&self, name: &mut Ident) {
        if name.quote_style.is_some() {
            return;
        }
        let fold = name.value.to_lowercase();
        // The engine folds letters of ASCII only.
        let folds_otherwise = fold != name.value.to_ascii_lowercase();
        let meant = match self.meant.get(&fold) {
            Some(meant) => meant.clone(),
            None if folds_otherwise && self.exact.contains(&fold) => fold,
            None => return,
        };
        name.value = meant;
        name.quote_style = Some('"');
    }
}

impl VisitorMut for Quote {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.mend(name),
            Expr::CompoundIdentifier(names) => names.iter_mut().for_each(|name| self.mend(name)),
            Expr::QualifiedWildcard(ast::ObjectName(parts), _) => {
                for part in parts {
                    if let ast::ObjectNamePart::Identifier(name) = part {
                        self.mend(name);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ast::ObjectName) -> ControlFlow<()> {
        if let [ast::ObjectNamePart::Identifier(name)] = relation.0.as_mut_slice() {
            self.mend(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
                if let Some(ast::JoinConstraint::Using(columns)) =
                    constraint(&mut join.join_operator)
                {
                    for column in columns {
                        if let [ast::ObjectNamePart::Identifier(name)] = column.0.as_mut_slice() {
                            self.mend(name);
                        }
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn constraint(operator: &mut ast::JoinOperator) -> Option<&mut ast::JoinConstraint> {
    use ast::JoinOperator as J;
    match operator {
        J::Join(c)
        | J::Inner(c)
        | J::Left(c)
        | J::LeftOuter(c)
        | J::Right(c)
        | J::RightOuter(c)
        | J::FullOuter(c)
        | J::Semi(c)
        | J::LeftSemi(c)
        | J::RightSemi(c)
        | J::Anti(c)
        | J::LeftAnti(c)
        | J::RightAnti(c) => Some(c),
        _ => None,
    }
}

/// What the parser says, in our words, with the place it names.
pub(crate) fn fault(error: &ParserError, text: &str) -> Failure {
    let said = match error {
        ParserError::TokenizerError(said) | ParserError::ParserError(said) => said.as_str(),
        ParserError::RecursionLimitExceeded => "the query is nested too deeply",
    };
    // `… at Line: 1, Column: 8`
    let (message, place) = match said.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, location(place)),
        None => (said, None),
    };
    let mut lowered = message.to_owned();
    if let Some(first) = lowered.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    let failure = Failure::param("", lowered).code("sql-syntax");
    match place {
        Some(start) => at(failure, text, Span { start, end: start }),
        None => failure,
    }
}

fn location(place: &str) -> Option<Location> {
    let (line, column) = place.split_once(", Column: ")?;
    let digits = |text: &str| -> Option<u64> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text.get(..end)?.parse().ok()
    };
    Some(Location {
        line: digits(line.trim())?,
        column: digits(column.trim())?,
    })
}

/// Says where in the SQL text.
pub(crate) fn at(failure: Failure, text: &str, span: Span) -> Failure {
    match range(text, span.start, span.end) {
        Some(range) => failure.at_text(range),
        None => failure,
    }
}

/// Lines and columns, which count characters from 1, as bytes. An empty range grows to the word it stands before.
pub(crate) fn range(text: &str, start: Location, end: Location) -> Option<Range<usize>> {
    let from = offset(text, start)?;
    let to = offset(text, end)
        .filter(|to| *to > from)
        .unwrap_or_else(|| word_end(text, from));
    Some(from..to)
}

fn word_end(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let length = match rest.find(|c| !inside(c)) {
        Some(0) => rest.chars().next().map_or(0, char::len_utf8),
        Some(length) => length,
        None => rest.len(),
    };
    from + length
}

fn offset(text: &str, at: Location) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
    let start = text
        .split_inclusive('\n')
        .take(line)
        .map(str::len)
        .sum::<usize>();
    let rest = text.get(start..)?;
    let inside = rest
        .char_indices()
        .nth(column)
        .map_or(rest.len(), |(at, _)| at);
    Some(start + inside)
}
