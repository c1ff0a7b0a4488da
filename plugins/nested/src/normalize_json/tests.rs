//! `normalize_json` over structs and texts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use arrow_array::DictionaryArray;
use arrow_array::types::Int8Type;
use odibi_sdk::harness;
use proptest::prelude::*;

use super::*;
use crate::testing::{self, check_failure, check_json, nested};

const OPERATION: &str = "normalize_json";

#[test]
fn texts_and_structs_give_the_same_columns() {
    let expect = "\"ä\":\"😀\",\"b→c\":1,\"l\":[{\"x\":1}]}\n";
    let value = "{\"ä\":\"😀\",\"b\":{\"c\":1},\"l\":[{\"x\":1}]}";
    check_json(
        OPERATION,
        json!({ "column": "j", "sep": "→" }),
        &format!("{{\"j\":{value}}}\n"),
        &format!("{{\"j\":{value},{expect}"),
    );
    let text = Value::from(value).to_string();
    check_json(
        OPERATION,
        json!({ "column": "j", "sep": "→", "json_schema": "ä STRING, b STRUCT<c: INT>, l ARRAY<STRUCT<x: INT>>" }),
        &format!("{{\"j\":{text}}}\n"),
        &format!("{{\"j\":{text},{expect}"),
    );
}

#[test]
fn null_blank_and_broken_texts_have_null_fields() {
    let params = json!({ "column": "j", "json_schema": "a INT, b STRUCT<c STRING>" });
    check_json(
        OPERATION,
        params.clone(),
        "{\"j\":null}\n{\"j\":\" \"}\n{\"j\":\"{\"}\n{\"j\":\"[]\"}\n{\"j\":\"{\\\"b\\\":{\\\"c\\\":[1, null]},\\\"a\\\":\\\"x\\\"}\"}\n",
        "{\"j\":null,\"a\":null,\"b_c\":null}\n{\"j\":\" \",\"a\":null,\"b_c\":null}\n{\"j\":\"{\",\"a\":null,\"b_c\":null}\n{\"j\":\"[]\",\"a\":null,\"b_c\":null}\n\
         {\"j\":\"{\\\"b\\\":{\\\"c\\\":[1, null]},\\\"a\\\":\\\"x\\\"}\",\"a\":null,\"b_c\":\"[1, null]\"}\n",
    );
    let empty = harness::table("{\"j\":\"\"}\n").slice(0, 0);
    let output = harness::run(&crate::plugin(), OPERATION, params, &[empty]).unwrap();
    assert_eq!((output.num_columns(), output.num_rows()), (3, 0));
}

#[test]
fn texts_in_a_dictionary_are_read() {
    let texts: DictionaryArray<Int8Type> = [Some("{\"a\":1}"), None, Some("{\"a\":1}")]
        .into_iter()
        .collect();
    let table = testing::batch(vec![("j", Arc::new(texts))]);
    let params = json!({ "column": "j", "json_schema": "a BIGINT" });
    let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
    assert_eq!(testing::int_column(&output, "a"), [Some(1), None, Some(1)]);
}

#[test]
fn wrong_params_are_shown_where_they_stand() {
    let table =
        "{\"id\":1,\"t\":\"{}\",\"s\":{\"a\":{\"b\":1},\"a_b\":2,\"id\":3},\"id_json\":4}\n";
    let check = |params, code, param, message| {
        check_failure(OPERATION, params, table, code, param, message);
    };
    check(
        json!({ "column": "S" }),
        "unknown-column",
        "/column",
        "unknown column `S`, did you mean `s`?",
    );
    check(
        json!({ "column": "id" }),
        "wrong-type",
        "/column",
        "column `id` must be a struct or text that holds JSON, is: Int64",
    );
    check(
        json!({ "column": "t" }),
        "invalid-param",
        "/column",
        "column `t` is text, whose fields must be known before the data is read",
    );
    check(
        json!({ "column": "t", "json_schema": "ARRAY<INT>" }),
        "invalid-param",
        "/json_schema",
        "texts to be taken apart must hold objects with named fields, not: ARRAY",
    );
    check(
        json!({ "column": "s", "json_schema": "a INT" }),
        "invalid-param",
        "/json_schema",
        "column `s` is a struct and has its fields already",
    );
    check(
        json!({ "column": "t", "json_schema": "a NUMBER" }),
        "unknown-type",
        "/json_schema",
        "unknown type `NUMBER`",
    );
    check(
        json!({ "column": "t", "json_schema": 1 }),
        "invalid-param",
        "/json_schema",
        "invalid type: integer `1`, expected DDL such as `a INT, b STRING`, or a JSON Schema",
    );
    check(
        json!({ "column": "s" }),
        "duplicate-column",
        "/column",
        "column `a_b` exists already",
    );
    check(
        json!({ "column": "s", "sep": "." }),
        "duplicate-column",
        "/column",
        "column `id_json` exists already",
    );
}

proptest! {
    #![proptest_config(testing::cases())]

    #[test]
    fn result_is_that_of_walking_each_row(rows in nested::rows(), as_text: bool) {
        let (table, params) = if as_text {
            let texts: StringArray = rows.iter().map(|row| Some(row.to_string())).collect();
            let ddl = "a BIGINT, b STRUCT<c STRING, d STRUCT<e BIGINT>>";
            (testing::batch(vec![("s", Arc::new(texts))]), json!({ "column": "s", "json_schema": ddl, "errors": "raise" }))
        } else {
            (nested::table(&rows), json!({ "column": "s" }))
        };
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        let output = output.project(&[1, 2, 3]).unwrap();
        let expect: Vec<Value> = rows.iter().map(|row| nested::flat(row, "", "_", 3)).collect();
        prop_assert_eq!(nested::read(&output), expect);
    }
}
