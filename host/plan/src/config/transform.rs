//! `transformer` with `params`, and `transform.steps`: the operations of a node.
//!
//! ```yaml
//! transform:
//!   steps:
//!     - operation: rename_columns
//!       params: {mapping: {dep_time: departure}}
//!     - function: geo/great_circle
//!     - SELECT carrier, count(*) AS flights FROM df GROUP BY carrier
//!     - sql_file: sql/delays.sql
//! ```

use super::params::{self, StepParams};
use super::reader::{Context, Reader, asks_for_something, is_name};
use super::sql::{self, SqlSource};
use super::{Text, alias};
use crate::diagnostic::{Diagnostic, Span, codes, quoted};
use crate::yaml::{self, Entry, Resolved, Value};

/// A step of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `operation`, `function` or `transformer`: a name, or `plugin/name`.
    pub operation: Text,
    /// `params`
    pub params: StepParams,
    /// Where the text of a SQL step comes from; [`super::load`] makes params of it.
    pub sql: Option<SqlSource>,
}

/// `transformer` first, then `transform.steps`, as ODIBI runs them.
pub(super) fn read(node: &mut Reader<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let (transformer, params) = (node.optional("transformer"), node.entry("params"));
    match (transformer, params) {
        (Some(entry), params) => {
            let operation = node.as_text(entry);
            let operation = node.filled(operation, "transformer");
            steps.extend(step(
                node.context(),
                operation,
                params,
                &format!("`params` of {}", node.subject()),
            ));
        }
        (None, Some(params)) => {
            let message = format!(
                "{} has `params` and no `transformer` that takes them",
                node.subject()
            );
            let made = Diagnostic::error(&codes::MISSING_KEY, params.key_span, message);
            node.context().report(
                made.hint("add `transformer`, or move `params` into the step it belongs to"),
            );
        }
        (None, None) => {}
    }
    if let Some(mut transform) = node.mapping("transform") {
        let subject = format!("a step of {}", node.subject());
        if let Some(entry) = transform.required("steps") {
            let items = transform.as_list(entry);
            steps.extend(
                items
                    .iter()
                    .filter_map(|item| one(node.context(), item, &subject)),
            );
        }
        transform.finish_with(&[("step", "steps"), ("operation", "steps"), ("sql", "steps")]);
    }
    steps
}

fn one(context: &Context, item: &yaml::Node, subject: &str) -> Option<Step> {
    if let Value::Scalar(_) = item.value {
        return query(context, item, subject);
    }
    let start = Span {
        end: item.span.start,
        ..item.span
    };
    let mut reader = Reader::new(context, item, start, subject)?;
    let named = reader.required_one_of(&["operation", "function", "sql", "sql_file"]);
    let text = named.and_then(|entry| reader.as_text(entry));
    let params = reader.entry("params");
    let made = match named.map(|entry| (entry, entry.key.as_str())) {
        Some((entry, key @ ("sql" | "sql_file"))) => {
            if let Some(params) = params.filter(|params| asks_for_something(&params.value)) {
                reader.exclusive(entry, params);
            }
            let text = reader.filled(text, key);
            let source = if key == "sql" {
                text.map(SqlSource::Text)
            } else {
                text.map(SqlSource::Beside)
            };
            source.map(sql::step)
        }
        Some(_) | None => {
            let operation = reader.filled(text, "operation");
            let made = step(
                context,
                operation,
                params,
                &format!("`params` of {subject}"),
            );
            if named.is_some_and(|entry| entry.key == "operation") {
                made.and_then(|step| alias::lower(context, step))
            } else {
                made
            }
        }
    };
    reader.finish_with(&[
        ("transformer", "operation"),
        ("name", "operation"),
        ("query", "sql"),
        ("columns", "params"),
    ]);
    made
}

fn step(
    context: &Context,
    operation: Option<Text>,
    params: Option<&Entry>,
    subject: &str,
) -> Option<Step> {
    let operation = operation?;
    let params = params::read(context, params, operation.span, subject)?;
    Some(Step {
        operation,
        params,
        sql: None,
    })
}

/// A text among the steps is SQL.
fn query(context: &Context, item: &yaml::Node, subject: &str) -> Option<Step> {
    let Value::Scalar(scalar) = &item.value else {
        return None;
    };
    let text = match scalar.resolve() {
        Resolved::Text if !scalar.text.trim().is_empty() => Text::new(scalar, item.span),
        Resolved::Text => {
            let message = format!("{subject} is an empty text");
            context.report(Diagnostic::error(&codes::BAD_VALUE, item.span, message));
            return None;
        }
        Resolved::Null | Resolved::Boolean(_) | Resolved::Integer(_) | Resolved::Float(_) => {
            let made = context.wrong_type(item, subject, "SQL or a mapping");
            context.report(made.hint("write a query, or `operation: NAME` for an operation"));
            return None;
        }
    };
    if is_name(&text.value) {
        let message = format!(
            "{subject} is SQL, and this is no query: {}",
            quoted(text.shown())
        );
        let hint = format!("write {}", quoted(&format!("operation: {}", text.shown())));
        context.report(Diagnostic::error(&codes::BAD_VALUE, text.span, message).hint(hint));
        return None;
    }
    Some(sql::step(SqlSource::Text(text)))
}
