//! Mutated streams through a real instance: what the fuzz runner does to the gate, done by a guest to the whole way in.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use odibi_run::port::{Cancel, Operation};
use odibi_sandbox::testing::write_schema;
use odibi_sandbox::{Limits, Options, Sandbox};
use odibi_story::failure::Failure;

use crate::mutate::mutated;
use crate::random::Random;
use crate::{component, context, options, resolve, sandbox, scratch, seeds, still_works};

/// From each seed.
const STREAMS: usize = 150;

/// A table whose rows are what the guest shall emit.
fn rows(streams: &[&[u8]]) -> RecordBatch {
    let column = Arc::new(BinaryArray::from_iter_values(streams)) as ArrayRef;
    RecordBatch::try_from_iter([("bytes", column)]).unwrap()
}

/// The guest emits these streams, in a session of its own.
fn emitted(
    operation: &dyn Operation,
    planned: &[u8],
    streams: &[&[u8]],
) -> Result<Vec<RecordBatch>, Failure> {
    let hex: String = planned.iter().map(|b| format!("{b:02x}")).collect();
    let input = rows(streams);
    let plan = operation.plan(&serde_json::json!({ "schema": hex }), &[input.schema()])?;
    let mut session = operation.open(&Arc::new(plan), &context(Cancel::default()))?;
    let mut out = Vec::new();
    session.process(0, &input, &mut out)?;
    session.finish(&mut out)?;
    Ok(out)
}

#[test]
fn crafted_streams_are_valid_or_refused_through_a_real_instance() {
    let operation = resolve(sandbox(), None, "crafted")
        .map_err(|f| f.message)
        .unwrap();
    let seed: u64 = getrandom::u64().unwrap();
    let random = &mut Random::new(seed);
    let seeds = seeds::all();
    let seeds = &seeds[..seeds.len() - seeds::LARGE];
    let (mut taken, mut refused) = (0, 0);
    for (i, from) in seeds.iter().enumerate() {
        let planned = write_schema(&from.batch.schema()).unwrap();
        let sound = emitted(operation.as_ref(), &planned, &[&from.bytes]).unwrap();
        let expect = [from.batch.clone()];
        assert_eq!(
            sound,
            if from.batch.num_rows() > 0 {
                &expect[..]
            } else {
                &[]
            },
            "{}",
            from.name
        );
        for _ in 0..STREAMS {
            let other = &seeds[random.below(seeds.len())].bytes;
            let bytes = mutated(&from.bytes, other, random);
            // One in a few comes after a sound batch, whose dictionaries are known.
            let streams: [&[u8]; 2] = [&from.bytes, &bytes];
            let streams = if random.once_in(4) {
                &streams[..]
            } else {
                &streams[1..]
            };
            match emitted(operation.as_ref(), &planned, streams) {
                Ok(batches) => {
                    taken += 1;
                    for column in batches.iter().flat_map(RecordBatch::columns) {
                        let valid = column.to_data().validate_full();
                        valid.unwrap_or_else(|e| panic!("SEED={seed:#x} {}: {e}", from.name));
                    }
                }
                Err(failure) => {
                    refused += 1;
                    let class = failure.code.split('/').next().unwrap();
                    assert!(
                        ["contract", "limit"].contains(&class)
                            && failure.class.word() == class
                            && !failure.message.contains("panic"),
                        "SEED={seed:#x} {}: {}: {failure} {:?}",
                        from.name,
                        failure.code,
                        failure.causes
                    );
                }
            }
        }
        if i % 5 == 0 {
            still_works(sandbox());
        }
    }
    assert!(
        taken > 100 && refused > 1_000,
        "SEED={seed:#x} {taken} taken, {refused} refused"
    );
    still_works(sandbox());
}

/// The failure of one sound batch of 24 rows, emitted by this operation.
#[track_caller]
fn check(sandbox: &Sandbox, operation: &str, code: &str) {
    let operation = resolve(sandbox, None, operation)
        .map_err(|f| f.message)
        .unwrap();
    let seed = &seeds::all()[0];
    let planned = write_schema(&seed.batch.schema()).unwrap();
    let failure = emitted(operation.as_ref(), &planned, &[&seed.bytes]).unwrap_err();
    assert_eq!(failure.code, code, "{failure}");
}

#[test]
fn sound_bytes_that_are_too_many_are_refused() {
    let limits = Limits {
        batch_output_bytes_max: 1_000,
        ..Limits::default()
    };
    let options = Options {
        limits,
        ..options(component().to_vec(), Some(scratch().join("store")))
    };
    check(
        &Sandbox::new(options).unwrap(),
        "crafted",
        "limit/batch-output",
    );
}

#[test]
fn sound_bytes_of_other_rows_than_said_are_refused() {
    check(sandbox(), "crafted_same_rows", "contract/rows");
}
