//! Runs operations natively, through the real encoding in both directions, and does the host's part: projection,
//! partitioning, sorting, re-attaching the columns that pass through, and the checks of the gate.
//!
//! A [`Failure`] that the operation reports comes back as a value. A breach of the contract, or results that depend on
//! how the rows were cut into batches or partitions, is a defect of the operation: the harness panics and says which.

mod compare;
mod host;
mod tables;
#[cfg(test)]
mod tests;

use arrow_array::RecordBatch;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::plan::Spread;
use crate::plugin::Plugin;

pub use tables::{csv, json_lines, table};

/// One row for each batch is tried up to this many rows of input.
const SINGLE_ROW_BATCHES_MAX: usize = 4096;

/// How a run is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Rows of a batch, at most.
    pub batch_rows_max: usize,
    /// Instances; more than one only where the plan's spread allows it.
    pub partitions: usize,
}

impl Cut {
    /// Everything in one batch on one instance.
    pub const WHOLE: Self = Self {
        batch_rows_max: usize::MAX,
        partitions: 1,
    };
}

/// Runs an operation over one table for each port, cut up in several ways that must agree, and returns the result.
///
/// # Errors
/// What the operation reports.
///
/// # Panics
/// When it breaks the contract or its results disagree.
#[track_caller]
pub fn run(
    plugin: &Plugin,
    operation: &str,
    params: Value,
    inputs: &[RecordBatch],
) -> Result<RecordBatch, Failure> {
    let planned = host::Planned::new(plugin, operation, &params, inputs)?;
    let whole = planned.run(Cut::WHOLE, inputs)?;
    let rows = inputs.iter().map(RecordBatch::num_rows).max().unwrap_or(0);
    let mut cuts = vec![Cut {
        batch_rows_max: 7,
        partitions: 1,
    }];
    if rows <= SINGLE_ROW_BATCHES_MAX {
        cuts.push(Cut {
            batch_rows_max: 1,
            partitions: 1,
        });
    }
    if planned.spread() != Spread::Single {
        cuts.push(Cut {
            batch_rows_max: 2,
            partitions: 3,
        });
        cuts.push(Cut {
            batch_rows_max: usize::MAX,
            partitions: 3,
        });
    }
    let ordered = planned.spread() != Spread::PerPartition;
    for cut in cuts {
        let other = planned.run(cut, inputs);
        let other =
            other.unwrap_or_else(|f| panic!("`{operation}` fails only when cut into {cut:?}: {f}"));
        compare::assert_same(
            &whole,
            &other,
            ordered,
            &format!("`{operation}` cut into {cut:?}"),
        );
    }
    Ok(whole)
}

/// As [`run`], in one cut only.
///
/// # Errors
/// What the operation reports.
///
/// # Panics
/// When it breaks the contract.
#[track_caller]
pub fn run_cut(
    plugin: &Plugin,
    operation: &str,
    params: Value,
    inputs: &[RecordBatch],
    cut: Cut,
) -> Result<RecordBatch, Failure> {
    host::Planned::new(plugin, operation, &params, inputs)?.run(cut, inputs)
}

/// As [`run`], with CSV text in and out: column types are inferred, an empty value is null.
///
/// # Errors
/// What the operation reports.
///
/// # Panics
/// As [`run`], or when the text is not CSV.
#[track_caller]
pub fn run_csv(
    plugin: &Plugin,
    operation: &str,
    params: Value,
    inputs: &[&str],
) -> Result<String, Failure> {
    let inputs: Vec<RecordBatch> = inputs.iter().map(|text| table(text)).collect();
    run(plugin, operation, params, &inputs).map(|batch| csv(&batch))
}

/// The indices of the columns that enter the sandbox, for each port: what a test of column minimisation looks at.
///
/// # Errors
/// What the operation reports.
///
/// # Panics
/// When it breaks the contract.
#[track_caller]
pub fn needs(
    plugin: &Plugin,
    operation: &str,
    params: Value,
    inputs: &[RecordBatch],
) -> Result<Vec<Vec<usize>>, Failure> {
    Ok(host::Planned::new(plugin, operation, &params, inputs)?.needs())
}

/// Runs every example of every operation, and checks what the manifest says of them.
///
/// # Panics
/// When an operation has no example, a name or summary is out of form, params do not fit their own schema's shape, or a
/// result differs from the one shown.
#[track_caller]
pub fn check_examples(plugin: &Plugin) {
    for entry in &plugin.operations {
        let name = entry.name;
        let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            !name.is_empty() && name.chars().all(snake),
            "name must be snake_case: `{name}`"
        );
        assert!(
            !entry.summary.is_empty() && !entry.summary.contains('\n'),
            "`{name}` needs a summary of one line"
        );
        assert_eq!(
            entry.params()["type"],
            "object",
            "params of `{name}` must be an object"
        );
        let twins = plugin.operations.iter().filter(|o| o.name == name).count();
        assert_eq!(twins, 1, "two operations are called `{name}`");
        let examples = entry.examples();
        assert!(!examples.is_empty(), "`{name}` has no example");
        for example in examples {
            let what = format!("example `{}` of `{name}`", example.summary);
            let inputs: Vec<RecordBatch> = example.inputs.iter().map(|text| table(text)).collect();
            let planned = host::Planned::new(plugin, name, &example.params, &inputs);
            let ordered = planned.map(|p| p.spread() != Spread::PerPartition);
            let write = if tables::is_json(&example.output) {
                json_lines
            } else {
                csv
            };
            let output = run(plugin, name, example.params, &inputs).map(|batch| write(&batch));
            match (output, ordered) {
                (Ok(output), Ok(ordered)) => {
                    tables::assert_same_text(&example.output, &output, ordered, &what)
                }
                (Err(failure), _) | (_, Err(failure)) => panic!("{what} fails: {failure}"),
            }
        }
    }
}

/// Checks that readers of the schema learn what each param is when it is left out: its default stands there, or it may be
/// null. A default stands there if its type is `Serialize`; otherwise it is dropped without a word.
///
/// `expect` holds all defaults but null, by operation and param: `{"join": {"how": "left"}}`.
///
/// # Panics
/// When a param may be left out and the schema does not say what it is then, or when the defaults are others.
#[track_caller]
pub fn check_defaults(plugin: &Plugin, expect: &Value) {
    let mut defaults = Map::new();
    for entry in &plugin.operations {
        let schema = entry.params();
        let required = schema["required"].as_array();
        let mut shown = Map::new();
        for (name, param) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.is_some_and(|r| r.iter().any(|n| n == name));
            match param.get("default") {
                Some(Value::Null) => {}
                Some(default) => {
                    shown.insert(name.clone(), default.clone());
                }
                None => assert!(
                    is_required || may_be_null(param),
                    "param `{name}` of `{}` may be left out, and the schema does not show its default",
                    entry.name
                ),
            }
        }
        if !shown.is_empty() {
            defaults.insert(entry.name.to_owned(), Value::Object(shown));
        }
    }
    let defaults = Value::Object(defaults);
    assert!(
        defaults == *expect,
        "defaults are {defaults:#}, not {expect:#}"
    );
}

fn may_be_null(param: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    let kinds = param["type"].as_array();
    let variants = param["anyOf"].as_array();
    kinds.is_some_and(|k| k.iter().any(is_null))
        || variants.is_some_and(|v| v.iter().any(|v| is_null(&v["type"])))
}
