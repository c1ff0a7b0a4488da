//! Operations that put the values they are given into everything that leaves by a side door: messages, codes, hints,
//! params, log lines, notes, counters, panics, names of columns. What an honest but careless plugin does by accident.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use std::sync::Arc;

use crate::odibi::node::types::Location;
use crate::{
    Appetite, Columns, Failure, FailureKind, NodePlan, Origin, Retry, Spread, State, attack,
    failure, greed, honest, report, wire,
};

pub const OPERATIONS: &[&str] = &[
    "leak_error",
    "leak_transient",
    "leak_panic",
    "leak_trap",
    "leak_spin",
    "leak_memory",
    "leak_column",
    "leak_log",
    "leak_row",
];

/// The first column is a number that tells rows apart; all others are copied.
pub fn plan(operation: &str, inputs: &[SchemaRef]) -> Option<NodePlan> {
    if !OPERATIONS.contains(&operation) {
        return None;
    }
    let input = inputs.first()?;
    if operation == "leak_row" {
        let columns = input.fields().len();
        return Some(NodePlan {
            spread: Spread::PerBatch,
            ..honest::whole_plan(input, input, Columns::All, columns)
        });
    }
    Some(honest::whole_plan(input, input, Columns::All, 0))
}

/// A row as Rust shows it.
fn shown(batch: &RecordBatch, row: usize) -> String {
    let row = batch.slice(row, 1);
    let columns = row.columns().iter().map(|column| format!("{column:?}"));
    columns.collect::<Vec<_>>().join(" ").replace('\n', " ")
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
    let row = shown(&batch, 0);
    let told = |kind| Failure {
        code: row.clone(),
        param: Some(format!("/mapping/{row}")),
        at: Some(Location {
            port: 0,
            row: Some(0),
            column: Some(row.clone()),
        }),
        ..failure(kind, &format!("cannot use {row}\nhint: look at {row}"))
    };
    Some(match operation {
        "leak_error" => Err(told(FailureKind::Data)),
        "leak_transient" => Err(Failure {
            retry: Retry::After(1),
            ..told(FailureKind::Transient)
        }),
        "leak_panic" => panic!("cannot use {row}"),
        "leak_trap" => {
            println!("{row}");
            eprintln!("{row}");
            attack::run(attack::number("unreachable"));
            Ok(Appetite::More)
        }
        "leak_spin" => {
            eprintln!("{row}");
            attack::spin();
            Ok(Appetite::More)
        }
        "leak_memory" => {
            eprintln!("{row}");
            greed::memory();
            Ok(Appetite::More)
        }
        "leak_column" => renamed(&batch, &row).map(|()| Appetite::More),
        "leak_row" => {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            match ids.iter().position(|id| id == Some(13)) {
                Some(at) => Err(failure(
                    FailureKind::Data,
                    &format!("a row is unlucky: {}", shown(&batch, at)),
                )),
                None => crate::send(&[], Origin::SameRows).map(|()| Appetite::More),
            }
        }
        _ => {
            log(&row);
            honest::send_batch(state, &batch, Origin::Fresh).map(|()| Appetite::More)
        }
    })
}

fn log(row: &str) {
    report::log(report::Level::Info, row, &[("row", row)]);
    report::note("finding", &format!("{{\"row\":{row:?}}}"));
    report::count(row, 1);
    report::gauge(row, 1.0);
    println!("{row}");
    eprintln!("{row}");
}

/// Sends the batch under a schema whose columns are called as values are.
fn renamed(batch: &RecordBatch, row: &str) -> Result<(), Failure> {
    let field = |at: usize| {
        Field::new(
            format!("{row}{at}"),
            batch.column(at).data_type().clone(),
            true,
        )
    };
    let fields: Vec<Field> = (0..batch.num_columns()).map(field).collect();
    let columns: Vec<ArrayRef> = batch.columns()[..1].to_vec();
    let schema = Arc::new(Schema::new(fields[..1].to_vec()));
    let renamed = RecordBatch::try_new(schema.clone(), columns).expect("one column");
    let parts = wire::Encoder::new(&schema).encode(&renamed);
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
    crate::send(&parts, Origin::Fresh)
}
