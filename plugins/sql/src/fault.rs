//! What the engine says, in our words: whose fault it is, and where in the SQL.

use std::ops::Range;

use arrow_schema::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::tokenizer::Location;
use odibi_sdk::Failure;
use odibi_sdk::failure::Kind;

use crate::parse;

/// What helps where a number does not fit into its type.
const WIDER: &str = "cast to a wider type before: BIGINT, DECIMAL(38, 0), DECIMAL(76, 0) or DOUBLE";

/// A query that cannot be planned. `text` is its SQL.
pub(crate) fn of_query(error: &DataFusionError, text: &str) -> Failure {
    let place = place(error, text);
    let failure = plain(error, text);
    match place {
        Some(range) => failure.at_text(range),
        None => failure,
    }
}

/// A batch that cannot be worked on.
pub(crate) fn of_run(error: &DataFusionError) -> Failure {
    match root(error) {
        DataFusionError::ArrowError(error, _) => {
            use ArrowError as A;
            let (kind, code) = match error.as_ref() {
                A::DivideByZero => (Kind::Data, "divide-by-zero"),
                A::CastError(_) | A::ParseError(_) => (Kind::Data, "bad-value"),
                A::ArithmeticOverflow(said) => return overflow(said),
                A::ComputeError(_) | A::InvalidArgumentError(_) => (Kind::Data, "bad-value"),
                _ => (Kind::Internal, "arrow"),
            };
            Failure::new(kind, code, lowered(&bare(&error.to_string())))
        }
        DataFusionError::Execution(said) => Failure::new(Kind::Data, "bad-value", lowered(said)),
        DataFusionError::Plan(said) => Failure::new(Kind::Params, "invalid-sql", lowered(said)),
        DataFusionError::NotImplemented(said) => {
            Failure::new(Kind::Params, "not-supported", lowered(&bare(said)))
        }
        other => Failure::internal(lowered(&bare(&other.to_string()))),
    }
}

/// A number that does not fit into its type, as met in the data.
pub(crate) fn overflow(said: &str) -> Failure {
    Failure::new(Kind::Data, "overflow", lowered(said)).hint(WIDER)
}

fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, root),
        other => other,
    }
}

fn plain(error: &DataFusionError, text: &str) -> Failure {
    let params = |code: &str, message: String| Failure::param("", message).code(code);
    match root(error) {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => no_column(field, valid_fields),
            SchemaError::AmbiguousReference { field } => params(
                "ambiguous-column",
                format!("more than one table has a column `{}`", field.name),
            )
            .hint(format!("say which: table.{}", field.name)),
            SchemaError::DuplicateUnqualifiedField { name }
            | SchemaError::DuplicateQualifiedField { name, .. } => params(
                "duplicate-column",
                format!("two columns are called `{name}`"),
            )
            .hint("give one of them another name with AS"),
        },
        DataFusionError::Plan(said) => planned(said),
        DataFusionError::NotImplemented(said) => params("not-supported", lowered(&bare(said))),
        DataFusionError::SQL(error, _) => parse::fault(error, text),
        other => {
            if let DataFusionError::ArrowError(error, _) = other
                && let ArrowError::ArithmeticOverflow(said) = error.as_ref()
            {
                return params("overflow", lowered(said)).hint(WIDER);
            }
            params("invalid-sql", lowered(&bare(&other.to_string())))
        }
    }
}

fn planned(said: &str) -> Failure {
    let params = |code: &str, message: String| Failure::param("", message).code(code);
    if let Some(rest) = said.strip_prefix("table '") {
        let name = rest.trim_end_matches("' not found");
        return params("unknown-table", format!("table `{name}` does not exist"));
    }
    if let Some(rest) = said.strip_prefix("Invalid function '") {
        let (name, rest) = rest.split_once('\'').unwrap_or((rest, ""));
        let failure = params(
            "unknown-function",
            format!("function `{name}` does not exist"),
        );
        let nearest = rest
            .split("Did you mean '")
            .nth(1)
            .and_then(|r| r.split('\'').next());
        return match nearest {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        };
    }
    // Projections require unique expression names but the expression "a" at position 0 and "b" at position 1 …
    if said.contains("require unique expression names") {
        let name = said.split('"').nth(1).unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or_default();
        return params(
            "duplicate-column",
            format!("two columns are called `{name}`"),
        )
        .hint("give one of them another name with AS");
    }
    params("invalid-sql", lowered(&bare(said)))
}

/// Names listed in a hint.
const NAMES_MAX: usize = 12;

fn no_column(field: &Column, valid: &[Column]) -> Failure {
    let shown = match &field.relation {
        Some(table) => format!("{table}.{}", field.name),
        None => field.name.clone(),
    };
    let failure =
        Failure::param("", format!("column `{shown}` does not exist")).code("unknown-column");
    let near = valid
        .iter()
        .find(|c| c.name.eq_ignore_ascii_case(&field.name));
    match near {
        Some(near) => failure.hint(format!("did you mean \"{}\"?", near.name)),
        None if valid.is_empty() => failure,
        None => {
            let names: Vec<&str> = valid
                .iter()
                .take(NAMES_MAX)
                .map(|c| c.name.as_str())
                .collect();
            let more = valid.len().saturating_sub(NAMES_MAX);
            let tail = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            failure.hint(format!("there are: {}{tail}", names.join(", ")))
        }
    }
}

/// The place that the engine names, or else of the name it complains about.
fn place(error: &DataFusionError, text: &str) -> Option<Range<usize>> {
    let mut at = error;
    loop {
        match at {
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let noted = diagnostic.notes.iter().find_map(|n| n.span);
                if let Some(span) = diagnostic.span.or(noted) {
                    let start = Location {
                        line: span.start.line,
                        column: span.start.column,
                    };
                    let end = Location {
                        line: span.end.line,
                        column: span.end.column,
                    };
                    return parse::range(text, start, end);
                }
                at = inner;
            }
            DataFusionError::Context(_, inner) => at = inner,
            DataFusionError::Collection(all) => at = all.first()?,
            DataFusionError::SchemaError(error, _) => {
                return match error.as_ref() {
                    SchemaError::FieldNotFound { field, .. }
                    | SchemaError::AmbiguousReference { field } => find(text, &field.name),
                    SchemaError::DuplicateUnqualifiedField { name }
                    | SchemaError::DuplicateQualifiedField { name, .. } => find(text, name),
                };
            }
            DataFusionError::Plan(said) => return quoted(said).and_then(|name| find(text, name)),
            _ => return None,
        }
    }
}

fn quoted(said: &str) -> Option<&str> {
    said.split('\'').nth(1)
}

/// The first place where the word stands, whatever its case.
fn find(text: &str, word: &str) -> Option<Range<usize>> {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.char_indices().find_map(|(at, _)| {
        let end = at + word.len();
        let found = text.get(at..end)?;
        let before = text[..at].chars().next_back().is_none_or(|c| !inside(c));
        let after = text[end..].chars().next().is_none_or(|c| !inside(c));
        (before && after && found.eq_ignore_ascii_case(word)).then_some(at..end)
    })
}

/// Without the engine's own prefixes.
fn bare(said: &str) -> String {
    const PREFIXES: [&str; 9] = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Internal error: ",
        "Execution error: ",
        "type_coercion\ncaused by\n",
        "Arrow error: ",
        "Invalid argument error: ",
        "Optimizer rule",
    ];
    let mut said = said;
    while let Some(rest) = PREFIXES.iter().find_map(|p| said.strip_prefix(p)) {
        said = rest;
    }
    said.lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned()
}

fn lowered(said: &str) -> String {
    let mut said = said.trim_end_matches('.').to_owned();
    let second_small = said.chars().nth(1).is_some_and(|c| !c.is_uppercase());
    if second_small && let Some(first) = said.get_mut(0..1) {
        first.make_ascii_lowercase();
    }
    said
}
