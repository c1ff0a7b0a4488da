//! Sound bytes that say the wrong thing: plans that contradict themselves, rows that do not fit, emits at the wrong time.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_ipc::{
    FieldBuilder, MessageBuilder, MessageHeader, MetadataVersion, SchemaBuilder, Struct_Builder,
    Type,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use flatbuffers::FlatBufferBuilder;

use crate::honest::{self, whole_plan};
use crate::{
    Appetite, Columns, Failure, FailureKind, NodePlan, Origin, PassedColumn, State, emit, failure,
    greed, wire,
};

pub const OPERATIONS: &[&str] = &[
    // Plans.
    "plan_need",
    "plan_twice",
    "plan_passed_type",
    "plan_no_output",
    "plan_no_input",
    "plan_state",
    "plan_columns",
    "plan_bad_schema",
    "plan_big_schema",
    "plan_emits",
    "plan_utf8",
    "plan_random",
    "plan_deep",
    "plan_deeper",
    "plan_million",
    "plan_branching",
    "plan_exploding",
    "plan_long_name",
    "plan_twin_names",
    "plan_metadata",
    "plan_type",
    // Rows and ports.
    "wrong_schema",
    "fewer_columns",
    "wrong_rows",
    "picked_outside",
    "picked_long",
    "kept_short",
    "kept_long",
    "kept_endless",
    "kept_stray",
    "kept_rows",
    "unknown_port",
    "emit_in_open",
    "late_same_rows",
    "late_kept",
    "ignores_refusal",
    "summary_nonsense",
    "fails_after_emit",
];

pub fn plan(operation: &str, inputs: &[SchemaRef]) -> Option<Result<NodePlan, Failure>> {
    let input = inputs[0].as_ref();
    let mut plan = whole_plan(input, input, Columns::All, 0);
    match operation {
        "plan_need" => plan.inputs[0].need = Columns::Only(vec![99]),
        "plan_twice" => plan.inputs[0].need = Columns::Only(vec![0, 0]),
        "plan_passed_type" => {
            let lie = Schema::new(vec![Field::new("lie", DataType::Float64, true)]);
            plan.outputs[0].schema = wire::write_schema(&lie);
            plan.outputs[0].pass_through = vec![PassedColumn {
                output: 0,
                port: 0,
                input: 0,
            }];
        }
        "plan_no_output" => plan.outputs.clear(),
        "plan_no_input" => plan.inputs.clear(),
        "plan_state" => plan.state = vec![7; 2 << 20],
        "plan_columns" => {
            let many: Vec<Field> = (0..5_000)
                .map(|i| Field::new(i.to_string(), DataType::Null, true))
                .collect();
            plan.outputs[0].schema = wire::write_schema(&Schema::new(many));
        }
        "plan_bad_schema" => plan.outputs[0].schema = vec![0xff; 40],
        "plan_big_schema" => plan.outputs[0].schema = vec![0; 8 << 20],
        "plan_emits" => drop(emit(0, &[], Origin::Fresh)),
        "plan_utf8" => {
            let mut text = b"not text: ".to_vec();
            text.push(0xff);
            // Any language can hand over bytes that are not UTF-8.
            let message = unsafe { String::from_utf8_unchecked(text) };
            return Some(Err(Failure {
                message,
                ..failure(FailureKind::Data, "")
            }));
        }
        "plan_random" => {
            let heap = Box::new(0_u8);
            let named = format!(
                "{} {:?} {:p} {}",
                RandomState::new().hash_one(1),
                std::time::SystemTime::now(),
                &raw const *heap,
                crate::odibi::node::logical::seed()
            );
            let guess = Schema::new(vec![Field::new(named, DataType::Null, true)]);
            plan.outputs[0].schema = wire::write_schema(&guess);
        }
        "plan_deep" => plan.outputs[0].schema = wire::write_schema(&nested(17)),
        "plan_deeper" => plan.outputs[0].schema = shared(1_000, 1),
        "plan_million" => plan.outputs[0].schema = shared(1, 1_000_000),
        "plan_branching" => plan.outputs[0].schema = shared(13, 2),
        "plan_exploding" => plan.outputs[0].schema = shared(16, 64),
        "plan_long_name" => {
            let long = Field::new("n".repeat(1_000_000), DataType::Null, true);
            plan.outputs[0].schema = wire::write_schema(&Schema::new(vec![long]));
        }
        "plan_twin_names" => {
            let twin = Field::new("twin", DataType::Null, true);
            let twins = Schema::new(vec![twin.clone(), twin]);
            plan.outputs[0].schema = wire::write_schema(&twins);
        }
        "plan_metadata" => {
            let much = (0..1_000).map(|i| (format!("key {i}"), "v".repeat(1_000)));
            let bomb = input.clone().with_metadata(much.collect());
            plan.outputs[0].schema = wire::write_schema(&bomb);
        }
        "plan_type" => {
            let item = Arc::new(Field::new("item", DataType::Int8, true));
            let list = Field::new("l", DataType::ListView(item), true);
            plan.outputs[0].schema = wire::write_schema(&Schema::new(vec![list]));
        }
        "null_rows" | "null_rows_forever" => plan = greed::null_plan(input),
        "kept_rows" => return Some(honest::plan("kept", "", inputs)),
        // Whole output, but no column is sent.
        "picked_outside" | "picked_long" | "kept_short" | "kept_long" | "kept_endless"
        | "kept_stray" | "wrong_rows" | "late_same_rows" | "late_kept" => {
            plan = whole_plan(input, input, Columns::Only(vec![]), input.fields().len());
        }
        _ => return None,
    }
    Some(Ok(plan))
}

fn nested(depth: usize) -> Schema {
    let innermost = Field::new("f", DataType::Null, true);
    let wrap = |inner, _| Field::new("f", DataType::Struct(vec![inner].into()), true);
    Schema::new(vec![(0..depth).fold(innermost, wrap)])
}

/// A schema that says one column `width` times, and below it, at each of `depth` levels, again: a few bytes that read as
/// very many.
fn shared(depth: usize, width: usize) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let name = fbb.create_string("f");
    let mut field = None;
    for level in 0..depth {
        let below: Vec<_> = field
            .into_iter()
            .cycle()
            .take(if level == 0 { 0 } else { width })
            .collect();
        let below = fbb.create_vector(&below);
        let kind = Struct_Builder::new(&mut fbb).finish();
        let mut builder = FieldBuilder::new(&mut fbb);
        builder.add_name(name);
        builder.add_nullable(true);
        builder.add_type_type(Type::Struct_);
        builder.add_type_(kind.as_union_value());
        builder.add_children(below);
        field = Some(builder.finish());
    }
    let fields: Vec<_> = field.into_iter().cycle().take(width).collect();
    let fields = fbb.create_vector(&fields);
    let mut builder = SchemaBuilder::new(&mut fbb);
    builder.add_fields(fields);
    let schema = builder.finish().as_union_value();
    let mut builder = MessageBuilder::new(&mut fbb);
    builder.add_version(MetadataVersion::V5);
    builder.add_header_type(MessageHeader::Schema);
    builder.add_header(schema);
    let root = builder.finish();
    fbb.finish(root, None);
    crate::bytes::framed(fbb.finished_data(), &[])
}

pub fn open(operation: &str) {
    if operation == "emit_in_open" {
        let _ = emit(0, &[], Origin::SameRows);
    }
}

pub fn process(
    operation: &str,
    state: &mut State,
    batch: &[u8],
) -> Option<Result<Appetite, Failure>> {
    let bitmap = |rows: u32| vec![0xff_u8; rows.div_ceil(8) as usize];
    match operation {
        // As many bytes as the batch needs, and one less, one more, or very many more.
        "kept_short" => {
            let bitmap = bitmap(wire::rows(batch));
            let _ = emit(0, &[], Origin::Kept(&bitmap[1..]));
        }
        "kept_long" => drop(emit(0, &[], Origin::Kept(&bitmap(wire::rows(batch) + 8)))),
        "kept_endless" => drop(emit(0, &[], Origin::Kept(&vec![0xff; 60 << 20]))),
        // No row of the batch, but one behind the last. A batch whose bits fill their bytes leaves no room for it.
        "kept_stray" => {
            let rows = wire::rows(batch);
            let mut bitmap = vec![0; rows.div_ceil(8) as usize];
            assert!(rows % 8 != 0, "send another number of rows");
            *bitmap.last_mut()? = 0x80;
            let _ = emit(0, &[], Origin::Kept(&bitmap));
        }
        // Rows 1, 3, 5 …, but a computed column with one row more.
        "kept_rows" => {
            let field = Field::new("doubled", DataType::Int64, true);
            let rows = wire::rows(batch) as usize;
            let column = Arc::new(Int64Array::from(vec![1; rows / 2 + 1])) as ArrayRef;
            let schema = Arc::new(Schema::new(vec![field]));
            let more = RecordBatch::try_new(schema, vec![column]).expect("one column");
            let bitmap = honest::every_other(rows);
            let _ = emit(0, &[&wire::encode(&more)], Origin::Kept(&bitmap));
        }
        "wrong_schema" => {
            let other = Schema::new(vec![Field::new("other", DataType::Int64, true)]);
            let column = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
            let batch = RecordBatch::try_new(Arc::new(other), vec![column]).expect("one column");
            let _ = emit(0, &[&wire::encode(&batch)], Origin::Fresh);
        }
        "fewer_columns" => drop(emit(0, &[], Origin::Fresh)),
        "wrong_rows" => {
            let none = Arc::new(Schema::empty());
            let rows = arrow_array::RecordBatchOptions::new().with_row_count(Some(1_000_000));
            let batch = RecordBatch::try_new_with_options(none, vec![], &rows).expect("no columns");
            let _ = emit(0, &[&wire::encode(&batch)], Origin::SameRows);
        }
        "picked_outside" => drop(emit(0, &[], Origin::Picked(&[0, 1 << 30]))),
        "picked_long" => drop(emit(0, &[], Origin::Picked(&vec![0; 2 << 20]))),
        "unknown_port" => drop(emit(9, &[], Origin::SameRows)),
        "late_same_rows" | "late_kept" => {}
        "ignores_refusal" => {
            for _ in 0..10 {
                let _ = emit(0, &[b"rubbish"], Origin::Fresh);
            }
        }
        "fails_after_emit" => {
            let _ = emit(0, &[b"rubbish"], Origin::Fresh);
            return Some(Err(failure(FailureKind::Transient, "it was not me")));
        }
        "summary_nonsense" => {}
        _ => return None,
    }
    state.batches += 1;
    Some(Ok(Appetite::More))
}

pub fn finish(operation: &str) {
    match operation {
        "late_same_rows" => drop(emit(0, &[], Origin::SameRows)),
        "late_kept" => drop(emit(0, &[], Origin::Kept(&[0xff]))),
        _ => {}
    }
}
