//! What the tests of the operations have in common: one line for each case.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use odibi_sdk::harness;
use odibi_sdk::prelude::*;

#[track_caller]
pub(crate) fn check_csv(operation: &str, params: Value, input: &str, expect: &str) {
    let output = harness::run_csv(&crate::plugin(), operation, params, &[input]);
    assert_eq!(output.unwrap(), expect);
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
    let failure = harness::run_csv(&crate::plugin(), operation, params, &[input]).unwrap_err();
    assert_eq!(
        (
            failure.code.as_str(),
            failure.param.as_deref(),
            failure.message.as_str()
        ),
        (code, Some(param), message)
    );
}

/// Runs over a table of one column, `c`, that may have nulls.
#[track_caller]
pub(crate) fn run_column(operation: &str, params: Value, input: &ArrayRef) -> Result<ArrayRef> {
    let table = column(input);
    let output = harness::run(&crate::plugin(), operation, params, &[table])?;
    assert_eq!(
        (
            output.num_columns(),
            output.schema().field(0).name().as_str()
        ),
        (1, "c")
    );
    assert!(output.schema().field(0).is_nullable());
    Ok(Arc::clone(output.column(0)))
}

/// A table of one column, `c`, that may have nulls.
pub(crate) fn column(array: &ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("c", Arc::clone(array), true)]).unwrap()
}
