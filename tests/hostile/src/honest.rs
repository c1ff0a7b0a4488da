//! Operations that keep the contract, each in another way.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::{
    Appetite, Columns, Failure, FailureKind, Feed, InputPlan, NodePlan, Origin, OutputPlan,
    PassedColumn, Retry, Spread, State, TextSpan, failure, report, send, wire,
};

/// `identity` passes all through, `copy` sends all back, `returned` as the bytes that came, `alternating` too, every other batch
/// as `same-rows`; `picked` keeps every other row (backwards when the number of rows is odd), `kept` those between with a
/// bitmap, and a column `doubled` of them, `same_rows` adds a column `doubled` from the first, `count` emits one row at the
/// end, `copy_forever` never stops sending, `refuses` reports a failure of its params, `environment` logs what it sees of the
/// world.
pub const OPERATIONS: &[&str] = &[
    "identity",
    "copy",
    "returned",
    "picked",
    "kept",
    "same_rows",
    "count",
    "copy_forever",
    "alternating",
    "refuses",
    "environment",
];

pub fn plan(operation: &str, params: &str, inputs: &[SchemaRef]) -> Result<NodePlan, Failure> {
    match operation {
        "identity" | "picked" => Ok(whole_plan(
            &inputs[0],
            &inputs[0],
            Columns::Only(vec![]),
            inputs[0].fields().len(),
        )),
        "same_rows" | "kept" => {
            let mut fields: Vec<Field> = inputs[0]
                .fields()
                .iter()
                .map(|f| f.as_ref().clone())
                .collect();
            fields.push(Field::new("doubled", DataType::Int64, true));
            Ok(whole_plan(
                &inputs[0],
                &Schema::new(fields),
                Columns::Only(vec![0]),
                inputs[0].fields().len(),
            ))
        }
        "count" => Ok(whole_plan(
            &inputs[0],
            &count_schema(),
            Columns::Only(vec![]),
            0,
        )),
        "refuses" => Err(Failure {
            retry: Retry::After(1_500),
            param: Some("/column".into()),
            span: Some(TextSpan { start: 0, end: 99 }),
            code: "no-such-column".into(),
            ..failure(
                FailureKind::Params,
                &format!("\u{1b}[31mno such column\u{1b}[0m in {params}"),
            )
        }),
        // Everything else plans like `copy` and misbehaves later.
        _ => Ok(whole_plan(&inputs[0], &inputs[0], Columns::All, 0)),
    }
}

/// One input, one output, whose first `passed` columns pass through.
pub fn whole_plan(input: &Schema, output: &Schema, need: Columns, passed: usize) -> NodePlan {
    let further = input.fields().is_empty();
    let passed = (0..passed as u32)
        .map(|i| PassedColumn {
            output: i,
            port: 0,
            input: i,
        })
        .collect();
    NodePlan {
        inputs: vec![InputPlan {
            need,
            feed: Feed::Streamed,
            partition_by: vec![],
            sorted_by: vec![],
            keep_order: further,
        }],
        outputs: vec![OutputPlan {
            schema: wire::write_schema(output),
            pass_through: passed,
        }],
        spread: Spread::Single,
        batch_rows: None,
        state: b"hostile".to_vec(),
    }
}

fn count_schema() -> Schema {
    Schema::new(vec![Field::new("rows", DataType::Int64, false)])
}

pub fn process(
    operation: &str,
    state: &mut State,
    port: u32,
    bytes: Vec<u8>,
) -> Result<Appetite, Failure> {
    if operation == "returned" {
        send(&[&bytes], Origin::Fresh)?;
        return Ok(Appetite::More);
    }
    let batch = wire::decode(&state.inputs[port as usize], bytes, &mut state.dictionaries);
    let rows = batch.num_rows();
    state.rows += rows as i64;
    match operation {
        "identity" => send(&[], Origin::SameRows)?,
        "picked" if rows % 2 == 0 => {
            let picked: Vec<u32> = (0..rows as u32).step_by(2).collect();
            send(&[], Origin::Picked(&picked))?;
        }
        "picked" => {
            let picked: Vec<u32> = (0..rows as u32).rev().step_by(2).collect();
            send(&[], Origin::Picked(&picked))?;
        }
        "same_rows" => {
            let doubled = doubled(batch.column(0).as_primitive());
            send_batch(state, &doubled, Origin::SameRows)?;
        }
        "kept" => {
            let numbers = batch.column(0).as_primitive::<Int64Type>();
            let kept: Int64Array = numbers.iter().skip(1).step_by(2).collect();
            let bitmap = every_other(rows);
            send_batch(state, &doubled(&kept), Origin::Kept(&bitmap))?;
        }
        "alternating" if state.batches % 2 == 0 => send_batch(state, &batch, Origin::SameRows)?,
        "count" => {}
        "copy_forever" => loop {
            send_batch(state, &batch, Origin::Fresh)?;
        },
        "environment" => {
            environment();
            send_batch(state, &batch, Origin::Fresh)?;
        }
        _ => send_batch(state, &batch, Origin::Fresh)?,
    }
    Ok(Appetite::More)
}

fn doubled(numbers: &Int64Array) -> RecordBatch {
    let doubled: Int64Array = numbers.unary(|v| v.wrapping_mul(2));
    let field = Field::new("doubled", DataType::Int64, true);
    let schema = Arc::new(Schema::new(vec![field]));
    RecordBatch::try_new(schema, vec![Arc::new(doubled) as ArrayRef]).expect("one column")
}

/// A bitmap of rows 1, 3, 5, …
pub fn every_other(rows: usize) -> Vec<u8> {
    let mut bitmap = vec![0b1010_1010; rows.div_ceil(8)];
    if let (Some(last), used @ 1..) = (bitmap.last_mut(), rows % 8) {
        *last &= (1 << used) - 1;
    }
    bitmap
}

pub fn finish(state: &mut State) -> Result<Option<String>, Failure> {
    if state.operation == "count" {
        let rows = Arc::new(Int64Array::from(vec![state.rows])) as ArrayRef;
        let batch = RecordBatch::try_new(Arc::new(count_schema()), vec![rows]).expect("one column");
        send_batch(state, &batch, Origin::Fresh)?;
        return Ok(Some(format!(
            r#"{{"rows":{},"batches":{}}}"#,
            state.rows, state.batches
        )));
    }
    Ok(None)
}

pub fn send_batch(
    state: &mut State,
    batch: &RecordBatch,
    origin: Origin<'_>,
) -> Result<(), Failure> {
    let encoder = state
        .encoder
        .get_or_insert_with(|| wire::Encoder::new(&batch.schema()));
    let parts = encoder.encode(batch);
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
    send(&parts, origin)
}

/// All that a guest can learn of the world, as log lines.
fn environment() {
    use std::hash::{BuildHasher, RandomState};
    let say = |what: &str, value: String| {
        report::log(report::Level::Info, what, &[("value", value.as_str())])
    };
    say("variables", std::env::vars().count().to_string());
    say("arguments", std::env::args().count().to_string());
    say(
        "stdin",
        format!(
            "{:?}",
            std::io::read_to_string(std::io::stdin()).map(|text| text.len())
        ),
    );
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    say(
        "time",
        since.map(|d| d.as_millis()).unwrap_or_default().to_string(),
    );
    let start = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_secs(3_600));
    say("slept", start.elapsed().as_secs().to_string());
    let thread = std::thread::Builder::new().spawn(|| {});
    say(
        "thread",
        format!("{:?}", thread.map(drop).map_err(|e| e.kind())),
    );
    say("directory", format!("{:?}", std::env::current_dir()));
    say("hash", RandomState::new().hash_one(1).to_string());
    say(
        "logical",
        crate::odibi::node::logical::run_time_ms().to_string(),
    );
    say("seed", crate::odibi::node::logical::seed().to_string());
    println!("a line on stdout");
    eprintln!("a line on stderr");
    report::count("honest", 2);
    report::count("honest", 3);
    report::gauge("level", 0.5);
    report::note("finding", r#"{"a":1}"#);
}
