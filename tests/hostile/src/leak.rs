//! Operations that tell what they are given, in every way that a guest can speak. All columns enter and all pass through.

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

use crate::honest::whole_plan;
use crate::odibi::node::types::Location;
use crate::{
    Appetite, Columns, Failure, FailureKind, NodePlan, Origin, Retry, Spread, State, attack, emit,
    failure, greed, report, send, wire,
};

/// `leak_log` says all and does its work, `leak_error` and `leak_again` fail with it, `leak_panic`, `leak_trap`,
/// `leak_spin` and `leak_memory` say it and then come to a bad end, `leak_schema` sends a column that is named after it,
/// `leak_summary` ends with it, `leak_row` fails on rows whose first column is 13.
pub const OPERATIONS: &[&str] = &[
    "leak_log",
    "leak_error",
    "leak_again",
    "leak_panic",
    "leak_trap",
    "leak_spin",
    "leak_memory",
    "leak_schema",
    "leak_summary",
    "leak_row",
];

const UNLUCKY: i64 = 13;

pub fn plan(operation: &str, inputs: &[SchemaRef]) -> Option<NodePlan> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    let input = inputs.first()?;
    let spread = match operation {
        "leak_row" => Spread::PerBatch,
        _ => Spread::Single,
    };
    Some(NodePlan {
        spread,
        ..whole_plan(input, input, Columns::All, input.fields().len())
    })
}

pub fn process(
    operation: &str,
    state: &mut State,
    bytes: &[u8],
) -> Option<Result<Appetite, Failure>> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    let batch = wire::decode(&state.inputs[0], bytes.to_vec(), &mut state.dictionaries);
    let told = told(&batch);
    let failing = |retry| Failure {
        retry,
        code: told.chars().take(60).collect(),
        param: Some(format!("/{told}")),
        at: Some(Location {
            port: 0,
            row: Some(1),
            column: Some(told.clone()),
        }),
        ..failure(FailureKind::Data, &told)
    };
    match operation {
        "leak_log" => say(&told),
        "leak_error" => return Some(Err(failing(Retry::Never))),
        "leak_again" => {
            return Some(Err(Failure {
                kind: FailureKind::Transient,
                ..failing(Retry::After(1))
            }));
        }
        "leak_panic" => panic!("{told}"),
        "leak_trap" => {
            say(&told);
            core::arch::wasm32::unreachable();
        }
        "leak_spin" => {
            say(&told);
            attack::spin();
        }
        "leak_memory" => {
            say(&told);
            greed::memory();
        }
        "leak_schema" => {
            let name: String = told.chars().take(200).collect();
            let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]));
            let column = Arc::new(Int64Array::from(vec![1; batch.num_rows()]));
            let lie = RecordBatch::try_new(schema, vec![column]).expect("one column");
            let _ = emit(0, &[&wire::encode(&lie)], Origin::SameRows);
        }
        "leak_row" => {
            let ids = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(
                batch.column(0),
            );
            if ids.iter().flatten().any(|id| id == UNLUCKY) {
                say(&told);
                return Some(Err(failing(Retry::Never)));
            }
        }
        // At the end.
        _ => state.params = told,
    }
    Some(send(&[], Origin::SameRows).map(|()| Appetite::More))
}

pub fn finish(state: &State) -> Option<String> {
    (state.operation == "leak_summary").then(|| {
        let word: String = state.params.escape_default().collect();
        format!(r#"{{"told":"{word}"}}"#)
    })
}

/// The first rows, on one line.
fn told(batch: &RecordBatch) -> String {
    let few = batch.slice(0, batch.num_rows().min(3));
    let columns = few.columns().iter();
    let text = columns
        .map(|column| format!("{column:?}"))
        .collect::<Vec<_>>()
        .join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Over everything that leads out.
fn say(told: &str) {
    let short: String = told.chars().take(100).collect();
    println!("{told}");
    eprintln!("{told}");
    for level in [report::Level::Error, report::Level::Warn, report::Level::Trace] {
        report::log(level, told, &[(&short, told)]);
    }
    report::count(&short, 1);
    report::gauge(&short, 1.0);
    report::note(&short, &format!("{told:?}"));
}
