//! Tables for tests.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, StringArray};
use odibi_sdk::prelude::*;
use proptest::prelude::ProptestConfig;

/// Each case runs an operation in half a dozen cuts.
const CASES: u32 = 64;

pub(crate) fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    }
}

/// All columns are nullable.
#[track_caller]
pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap_or_else(|e| panic!("not a table: {e}"))
}

/// A column `id` with the numbers of the rows.
pub(crate) fn ids(rows: usize) -> (&'static str, ArrayRef) {
    ("id", Arc::new((0i64..).take(rows).collect::<Int64Array>()))
}

pub(crate) fn words(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[track_caller]
pub(crate) fn int_column(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let column = batch
        .column_by_name(name)
        .unwrap_or_else(|| panic!("no column `{name}`"));
    column.as_primitive::<Int64Type>().iter().collect()
}

#[track_caller]
pub(crate) fn check_csv(operation: &str, params: Value, input: &str, expect: &str) {
    match odibi_sdk::harness::run_csv(&crate::plugin(), operation, params, &[input]) {
        Ok(output) => assert_eq!(output, expect),
        Err(failure) => panic!("`{operation}` fails: {failure}"),
    }
}

#[track_caller]
pub(crate) fn check_failure(
    operation: &str,
    params: Value,
    input: &str,
    code: &str,
    param: &str,
    message: &str,
) {
    let output = odibi_sdk::harness::run_csv(&crate::plugin(), operation, params, &[input]);
    let failure = match output {
        Ok(output) => panic!("`{operation}` should fail, gives: {output}"),
        Err(failure) => failure,
    };
    assert_eq!(
        (
            failure.code.as_str(),
            failure.param.as_deref(),
            failure.message.as_str()
        ),
        (code, Some(param), message)
    );
}
