//! One step: its operation found, its params checked, the tables it names resolved.

use serde_json::Value;

use super::{Input, InputSource, NodeId, OperationRef, Step};
use crate::config::{self, StepParams};
use crate::diagnostic::{Collector, Diagnostic, Span, codes, nearest, quoted};
use crate::guest_limits::GuestLimits;
use crate::operation::schema::{self, Kind, Problem, Violation};
use crate::operation::{FurtherInputs, OperationSpec, Operations};

/// What operations of pandas and of ODIBI's own shorthand are called here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("drop", "drop_columns"),
    ("drop_duplicates", "distinct"),
    ("fillna", "fill_nulls"),
    ("rename", "rename_columns"),
    ("select", "select_columns"),
    ("strip", "trim_whitespace"),
    ("head", "limit"),
    ("concat", "union"),
];

/// Patterns of ODIBI. One that an operation stands behind is never looked up here.
const PATTERNS: [&str; 6] = [
    "aggregation",
    "date_dimension",
    "dimension",
    "fact",
    "merge",
    "scd2",
];

/// Tables a step may name besides the node's inputs.
pub(super) struct Tables<'a> {
    /// What stands in `depends_on`, and the node it means.
    pub(super) upstream: Vec<(&'a str, NodeId)>,
    /// Names that are written, but may mean nothing because of a fault that was reported.
    pub(super) written: Vec<&'a str>,
    /// For hints.
    pub(super) siblings: &'a config::Pipeline,
    /// Those the project names; one that is not loaded was reported as such.
    pub(super) project: &'a config::Project,
    /// `limits` of the node.
    pub(super) limits: &'a GuestLimits,
}

/// `None` when the operation is unknown.
pub(super) fn step(
    step: &config::Step,
    tables: &Tables<'_>,
    inputs: &mut Vec<Input>,
    operations: &Operations,
    faults: &mut Collector,
) -> Option<Step> {
    let reference = match step.operation.value.split_once('/') {
        Some((plugin, name)) => OperationRef {
            plugin: Some(plugin.to_owned()),
            name: name.to_owned(),
        },
        None => OperationRef {
            plugin: None,
            name: step.operation.value.clone(),
        },
    };
    let span = step.operation.span;
    let Some(spec) = operations.find(&reference) else {
        let reported = reference.plugin.as_ref().is_some_and(|key| {
            let named = tables.project.plugins.contains_key(key)
                || tables.project.refused_plugins.contains(key);
            operations.failed_plugins.contains(key)
                || (named && !operations.plugins.contains_key(key))
        });
        if !reported {
            faults.push_with(|| unknown(&step.operation, &reference, operations));
        }
        return None;
    };
    let mut made = step.params.clone();
    check(&mut made, spec, &step.operation, faults);
    let further_inputs = further_inputs(&made, spec, span, tables, inputs, faults);
    let limits = limits(&reference, tables);
    Some(Step {
        limits,
        operation: reference,
        params: made.params,
        further_inputs,
        span,
    })
}

/// The nearest limit of each kind.
fn limits(reference: &OperationRef, tables: &Tables<'_>) -> GuestLimits {
    let plugins = &tables.project.plugins;
    let plugin = reference.plugin.as_ref().and_then(|key| plugins.get(key));
    let wider = match plugin {
        Some(plugin) => &plugin.limits.within(&tables.project.limits),
        None => &tables.project.limits,
    };
    tables.limits.within(wider)
}

fn unknown(
    operation: &config::Text,
    reference: &OperationRef,
    operations: &Operations,
) -> Diagnostic {
    let shown = quoted(operation.shown());
    let made =
        |message: String| Diagnostic::error(&codes::UNKNOWN_OPERATION, operation.span, message);
    let names = operations.names();
    let names = names.iter().map(String::as_str);
    if let Some(plugin) = &reference.plugin
        && !operations.plugins.contains_key(plugin)
    {
        let made = made(format!(
            "operation {shown} names a plugin that the project does not have"
        ));
        let keys = operations.plugins.keys().map(String::as_str);
        if let Some(found) = crate::diagnostic::nearest(plugin, keys) {
            let full = format!("{found}/{}", reference.name);
            return made.hint(format!("did you mean {}?", quoted(&full)));
        }
        return made.hint(format!("add {} to `plugins`", quoted(plugin)));
    }
    if reference.plugin.is_none() && PATTERNS.contains(&reference.name.as_str()) {
        let message = format!("pattern {shown} is not supported yet");
        return Diagnostic::error(&codes::NOT_YET, operation.span, message)
            .hint("write its steps under `transform`");
    }
    let made = made(format!("operation {shown} does not exist"));
    if let Some((_, ours)) = OTHER_NAMES
        .iter()
        .find(|(theirs, _)| *theirs == reference.name)
        && reference.plugin.is_none()
        && names.clone().any(|name| name == *ours)
    {
        return made.hint(format!("did you mean {}?", quoted(ours)));
    }
    let made = made.suggest(&operation.value, names);
    if made.hints.is_empty() {
        made.hint("run `odibi list operations` to see them all")
    } else {
        made
    }
}

/// Checks the params and makes booleans of plain `yes` and `no` where a boolean is wanted.
fn check(
    made: &mut StepParams,
    spec: &OperationSpec,
    operation: &config::Text,
    faults: &mut Collector,
) {
    let mut violations = schema::check(&spec.params, &made.params.value);
    let mended = violations
        .iter()
        .filter(|violation| mend(made, violation))
        .count();
    if mended > 0 {
        violations = schema::check(&spec.params, &made.params.value);
    }
    for violation in &violations {
        if !is_misspelt(violation, &violations) {
            faults.push_with(|| describe(made, violation, operation));
        }
    }
}

/// Whether a key only seems to be missing: another one is taken for a slip of it, which is told.
fn is_misspelt(missing: &Violation, all: &[Violation]) -> bool {
    let Problem::MissingKey { key: missing_key } = &missing.problem else {
        return false;
    };
    all.iter().any(|other| match &other.problem {
        Problem::UnknownKey { key, known } if other.pointer == missing.pointer => {
            let known = known.iter().map(String::as_str);
            nearest(key, known).is_some_and(|meant| meant == missing_key)
        }
        Problem::UnknownKey { .. }
        | Problem::MissingKey { .. }
        | Problem::Type { .. }
        | Problem::NotOneOf { .. }
        | Problem::Rule(_) => false,
    })
}

fn mend(made: &mut StepParams, violation: &Violation) -> bool {
    let Problem::Type { expected, .. } = &violation.problem else {
        return false;
    };
    let Some(value) = made
        .booleans
        .get(&violation.pointer)
        .filter(|_| expected.contains(&Kind::Boolean))
    else {
        return false;
    };
    match made.params.value.pointer_mut(&violation.pointer) {
        Some(slot) => {
            *slot = Value::Bool(*value);
            true
        }
        None => false,
    }
}

fn describe(made: &StepParams, violation: &Violation, operation: &config::Text) -> Diagnostic {
    let at = violation.pointer.as_str();
    let span = made.params.place(at).unwrap_or(operation.span);
    let of = quoted(operation.shown());
    let subject = if at.is_empty() {
        format!("`params` of {of}")
    } else {
        format!("param {} of {of}", quoted(&path(at)))
    };
    let bad = |message: String| Diagnostic::error(&codes::BAD_PARAM, span, message);
    match &violation.problem {
        Problem::UnknownKey { key, known } => {
            let inner = format!("{at}/{}", schema::escape(key));
            let span = made.keys.get(&inner).copied().unwrap_or(span);
            let message = match at {
                "" => format!("operation {of} has no param {}", quoted(key)),
                _ => format!("{subject} has no key {}", quoted(key)),
            };
            suggest_key(
                Diagnostic::error(&codes::UNKNOWN_PARAM, span, message),
                key,
                known,
            )
        }
        Problem::MissingKey { key } => {
            let (span, message) = match at {
                "" => (
                    operation.span,
                    format!("operation {of} lacks the param {}", quoted(key)),
                ),
                _ => (span, format!("{subject} lacks the key {}", quoted(key))),
            };
            Diagnostic::error(&codes::MISSING_PARAM, span, message)
        }
        Problem::Type { expected, found } => hint_type(
            bad(format!("{subject} takes {}, not {found}", kinds(expected))),
            expected,
            *found,
        ),
        Problem::NotOneOf { allowed } => {
            let word = made
                .params
                .value
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default();
            bad(format!(
                "{subject} is not one of {}: {}",
                list(allowed),
                shown(made, at)
            ))
            .suggest(word, allowed.iter().map(String::as_str))
        }
        Problem::Rule(rule) => match made.params.value.pointer(at) {
            Some(Value::Array(_) | Value::Object(_)) | None => bad(format!("{subject} {rule}")),
            Some(_) => bad(format!("{subject} {rule}: {}", shown(made, at))),
        },
    }
}

fn suggest_key(made: Diagnostic, key: &str, known: &[String]) -> Diagnostic {
    let made = made.suggest(key, known.iter().map(String::as_str));
    if !made.hints.is_empty() {
        made
    } else if known.is_empty() {
        made.hint("remove it, there are none")
    } else {
        made.hint(format!("use one of: {}", list(known)))
    }
}

fn hint_type(made: Diagnostic, expected: &[Kind], found: Kind) -> Diagnostic {
    let number = matches!(found, Kind::Integer | Kind::Number);
    if expected.contains(&Kind::Text) && (number || found == Kind::Boolean) {
        made.hint("put it in quotes to make it a text")
    } else if expected.contains(&Kind::List) && (number || found == Kind::Text) {
        made.hint("put it in brackets: `[…]`")
    } else {
        made
    }
}

fn list(words: &[String]) -> String {
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(", ")
}

fn kinds(expected: &[Kind]) -> String {
    let words = expected
        .iter()
        .filter(|kind| **kind != Kind::Null)
        .map(ToString::to_string);
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        Kind::Null.to_string()
    } else {
        words.join(" or ")
    }
}

/// A value as the file shows it.
fn shown(made: &StepParams, at: &str) -> String {
    match (made.params.written.get(at), made.params.value.pointer(at)) {
        (Some(written), _) => quoted(written),
        (None, Some(Value::String(text))) => quoted(text),
        (None, Some(other)) => quoted(&other.to_string()),
        (None, None) => "``".to_owned(),
    }
}

/// `/cases/0/value` as `cases[0].value`.
fn path(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').skip(1) {
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&format!("[{part}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&part.replace("~1", "/").replace("~0", "~"));
        }
    }
    out
}

/// Tables for the ports after the first, as indices into the inputs. A node of `depends_on` becomes an input when it is
/// named.
fn further_inputs(
    made: &StepParams,
    spec: &OperationSpec,
    span: Span,
    tables: &Tables<'_>,
    inputs: &mut Vec<Input>,
    faults: &mut Collector,
) -> Vec<usize> {
    let param = match &spec.further_inputs {
        FurtherInputs::None => return Vec::new(),
        FurtherInputs::One { param } | FurtherInputs::Many { param } => param,
    };
    let pointer = format!("/{}", schema::escape(param));
    let named: Vec<(String, &str)> = match made.params.value.get(param) {
        Some(Value::String(one)) => vec![(pointer, one.as_str())],
        Some(Value::Array(many)) => many
            .iter()
            .enumerate()
            .filter_map(|(i, item)| Some((format!("{pointer}/{i}"), item.as_str()?)))
            .collect(),
        // Another type, or none where one is needed, is a matter of the schema.
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (at, name) in named {
        let place = made.params.place(&at).unwrap_or(span);
        if let Some(index) = inputs.iter().position(|input| input.name == name) {
            found.push(index);
        } else if let Some((_, id)) = tables
            .upstream
            .iter()
            .find(|(upstream, _)| *upstream == name)
        {
            inputs.push(Input {
                name: name.to_owned(),
                source: InputSource::Node(*id),
                span: place,
            });
            found.push(inputs.len() - 1);
        } else if !tables.written.contains(&name) {
            let from_variable = made.params.written.contains_key(&at);
            faults.push_with(|| {
                let fault = Diagnostic::error(
                    &codes::UNKNOWN_TABLE,
                    place,
                    format!("the node has no table {}", shown(made, &at)),
                );
                if from_variable {
                    fault
                } else {
                    suggest_table(fault, name, tables, inputs)
                }
            });
        }
    }
    found
}

fn suggest_table(
    made: Diagnostic,
    name: &str,
    tables: &Tables<'_>,
    inputs: &[Input],
) -> Diagnostic {
    if tables.siblings.position(name).is_some() {
        return made.hint(format!("add {} to `depends_on`", quoted(name)));
    }
    let own = inputs.iter().map(|input| input.name.as_str());
    let mut all: Vec<&str> = Vec::new();
    for name in own.chain(tables.upstream.iter().map(|(name, _)| *name)) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let listed = all
        .iter()
        .map(|name| quoted(name))
        .collect::<Vec<_>>()
        .join(", ");
    let made = made.suggest(name, all.iter().copied());
    match (made.hints.is_empty(), all.is_empty()) {
        (true, false) => made.hint(format!("use one of: {listed}")),
        (true, true) | (false, _) => made,
    }
}
