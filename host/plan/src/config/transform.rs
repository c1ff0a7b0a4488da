//! `transformer` with `params`, and `transform.steps`: the operations of a node.
//!
//! ```yaml
//! transform:
//!   steps:
//!     - operation: rename_columns
//!       params: {mapping: {dep_time: departure}}
//!     - function: geo/great_circle
//! ```

use super::Text;
use super::params::{self, StepParams};
use super::reader::{Context, Reader};
use crate::diagnostic::{Diagnostic, Span, codes};
use crate::yaml::{self, Entry, Value};

/// A step of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `operation`, `function` or `transformer`: a name, or `plugin/name`.
    pub operation: Text,
    /// `params`
    pub params: StepParams,
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
        let message = format!("{subject} is SQL, which is not supported yet");
        let made = Diagnostic::error(&codes::NOT_YET, item.span, message);
        context.report(made.hint("write `operation: NAME` for an operation"));
        return None;
    }
    let start = Span {
        end: item.span.start,
        ..item.span
    };
    let mut reader = Reader::new(context, item, start, subject)?;
    let sql = reader.not_yet(&["sql", "sql_file"]);
    let named = if sql {
        reader.one_of(&["operation", "function"])
    } else {
        reader.required_one_of(&["operation", "function"])
    };
    let operation = named.and_then(|entry| reader.as_text(entry));
    let operation = reader.filled(operation, "operation");
    let params = reader.entry("params");
    let made = step(
        context,
        operation,
        params,
        &format!("`params` of {subject}"),
    );
    reader.finish_with(&[
        ("transformer", "operation"),
        ("name", "operation"),
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
    Some(Step { operation, params })
}
