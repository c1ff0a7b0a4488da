//! What thin operations say of a column that is not there, or is of a type that they have no use for: beside the cases in
//! `values`, those of operations that look at one or two columns.

use odibi_sdk::prelude::*;

use super::operations::Cases;

const TABLE: &str = "n,first name,group,day,at,said\n1,Zoë,x,2024-02-29,2024-02-29T23:30:15,2024-03-01 01:00:00\n2,,,,,\n";

#[test]
fn columns_that_are_not_there() {
    let mut cases = Cases::default();
    let mut c = |operation, params, expect: &str| {
        let expect = format!("unknown-column {expect}");
        cases.fails(operation, params, &[TABLE], &expect);
    };
    c(
        "regex_replace",
        json!({"column": "frist name", "pattern": "a", "replacement": ""}),
        "/column unknown column `frist name`, did you mean `first name`?",
    );
    c(
        "regex_replace",
        json!({"column": "street", "pattern": "a", "replacement": ""}),
        "/column unknown column `street`",
    );
    c(
        "coalesce_columns",
        json!({"columns": ["group", "Group"], "output_col": "x"}),
        "/columns/1 unknown column `Group`, did you mean `group`?",
    );
    c(
        "coalesce_columns",
        json!({"columns": ["nothing"], "output_col": "x", "drop_source": true}),
        "/columns/0 unknown column `nothing`",
    );
    c(
        "date_diff",
        json!({"start_col": "dya", "end_col": "at"}),
        "/start_col unknown column `dya`, did you mean `day`?",
    );
    c(
        "date_diff",
        json!({"start_col": "day", "end_col": "shipped"}),
        "/end_col unknown column `shipped`",
    );
    c(
        "date_trunc",
        json!({"col": "AT", "unit": "day"}),
        "/col unknown column `AT`, did you mean `at`?",
    );
    c(
        "convert_timezone",
        json!({"col": "siad", "target_tz": "UTC"}),
        "/col unknown column `siad`, did you mean `said`?",
    );
    c(
        "extract_date_parts",
        json!({"source_col": "dy"}),
        "/source_col unknown column `dy`, did you mean `day`?",
    );
    // The name in the params is looked at, not the one that the result would have.
    c(
        "extract_date_parts",
        json!({"source_col": "shipped", "prefix": "day", "parts": ["hour"]}),
        "/source_col unknown column `shipped`",
    );
    cases.done();
}

#[test]
fn columns_of_another_type() {
    let mut cases = Cases::default();
    let mut c = |operation, params, expect: &str| {
        let expect = format!("wrong-type {expect}");
        cases.fails(operation, params, &[TABLE], &expect);
    };
    c(
        "extract_date_parts",
        json!({"source_col": "n"}),
        "/source_col column `n` must be a date or timestamp, is: Int64",
    );
    c(
        "date_diff",
        json!({"start_col": "n", "end_col": "at"}),
        "/start_col column `n` must be a date or timestamp, is: Int64",
    );
    c(
        "convert_timezone",
        json!({"col": "n", "target_tz": "UTC"}),
        "/col column `n` must be a date or timestamp, is: Int64",
    );
    cases.done();
}
