//! `parse_json` for each type, for what does not fit, and against serde's reader.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use arrow_array::types::TimestampMicrosecondType;
use odibi_sdk::harness;
use proptest::prelude::*;

use super::*;
use crate::testing::{self, check_failure, check_json, nested};

const OPERATION: &str = "parse_json";

fn run(schema: &str, errors: &str, texts: &[&str]) -> Result<Vec<Value>> {
    let texts: StringArray = texts.iter().copied().map(Some).collect();
    let table = testing::batch(vec![("j", Arc::new(texts))]);
    let params =
        json!({ "column": "j", "json_schema": schema, "output_col": "j", "errors": errors });
    let output = harness::run(&crate::plugin(), OPERATION, params, &[table])?;
    Ok(nested::read(&output)
        .into_iter()
        .map(|row| row["j"].clone())
        .collect())
}

/// A single value of a type; nothing is given up on the way.
#[track_caller]
fn check(data_type: &str, text: &str, expect: Value) {
    assert_eq!(
        run(data_type, "raise", &[text]),
        Ok(vec![expect]),
        "{text} as {data_type}"
    );
}

/// Null, or the message of the failure.
#[track_caller]
fn check_misfit(schema: &str, text: &str, expect: Value, message: &str) {
    assert_eq!(
        run(schema, "null", &[text]),
        Ok(vec![expect]),
        "{text} as {schema}"
    );
    let failure = run(schema, "raise", &["null", text]).unwrap_err();
    let at = failure.at.clone().unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("bad-value", message),
        "{text} as {schema}"
    );
    assert_eq!((at.row, at.column.as_deref()), (Some(1), Some("j")));
}

#[test]
fn values_are_read_as_their_types() {
    check("STRING", "\"\\u00e4 😀\"", json!("ä 😀"));
    check("STRING", " 1.10 ", json!("1.10"));
    check("STRING", "{\"a\": [1]}", json!("{\"a\": [1]}"));
    check("BOOLEAN", "true", json!(true));
    check("TINYINT", "-128", json!(-128));
    check("SMALLINT", "3.2767e4", json!(32767));
    check("INT", "7.0", json!(7));
    check("BIGINT", "9223372036854775807", json!(i64::MAX));
    check("FLOAT", "0.5", json!(0.5));
    check("DOUBLE", "1e-3", json!(0.001));
    check("DECIMAL(5,2)", "1.005", json!(1.01));
    check("DECIMAL(9,3)", "\"-12.5\"", json!(-12.5));
    check("DATE", "\"2026-02-28\"", json!("2026-02-28"));
    check(
        "TIMESTAMP_NTZ",
        "\"1969-12-31T23:59\"",
        json!("1969-12-31T23:59:00"),
    );
    check("ARRAY<INT>", "[1, null, 3]", json!([1, null, 3]));
    check(
        "ARRAY<ARRAY<STRING>>",
        "[[], null, [\"a\", 1]]",
        json!([[], null, ["a", "1"]]),
    );
    check(
        "MAP<STRING, INT>",
        "{\"a\": 1, \"b\": null, \"a\": 2}",
        json!({ "a": 2, "b": null }),
    );
    check(
        "a INT, b STRUCT<c STRING>",
        "{\"b\": {\"c\": \"x\", \"d\": 0}, \"a\": 1, \"e\": {}}",
        json!({ "a": 1, "b": { "c": "x" } }),
    );
    check(
        "a INT, A INT",
        "{\"\\u0061\": 1, \"A\": 2, \"a\": 3}",
        json!({ "a": 3, "A": 2 }),
    );
    for data_type in [
        "STRING",
        "INT",
        "DATE",
        "BOOLEAN",
        "ARRAY<INT>",
        "MAP<STRING, INT>",
        "a INT",
    ] {
        for text in ["null", "", " \n"] {
            check(data_type, text, Value::Null);
        }
    }
    check(
        "a INT, b ARRAY<INT>, c STRUCT<d INT>",
        "{}",
        json!({ "a": null, "b": null, "c": null }),
    );
}

/// Microseconds since 1970 in UTC; without features, arrow cannot print the name of a zone.
#[test]
fn instants_are_those_of_utc() {
    let check = |text: &str, expect: Option<i64>| {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let table = testing::batch(vec![("j", texts)]);
        // As YAML reads `errors: null`.
        let params = json!({ "column": "j", "json_schema": "TIMESTAMP", "errors": null });
        let output = harness::run(&crate::plugin(), OPERATION, params, &[table]).unwrap();
        let instants = output.column(1).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(instants.timezone(), Some("UTC"));
        assert_eq!(instants.iter().collect::<Vec<_>>(), [expect], "{text}");
    };
    check("\"1970-01-02\"", Some(86_400_000_000));
    check("\"1970-01-01 00:00:01.1234567\"", Some(1_123_456));
    check("\"1969-12-31T23:59:59.9999999Z\"", Some(-1));
    check("\"1970-01-01T01:00:00+01:30\"", Some(-1_800_000_000));
    check("\"yesterday\"", None);
    check("0", None);
}

#[test]
fn what_does_not_fit_becomes_null_where_it_stands_or_fails() {
    let no_json = "the text is not JSON: expected `,` or `}` at byte 7";
    check_misfit("a INT", "{\"a\": 1", Value::Null, no_json);
    let wrong = "`$` must be STRUCT, is: a list";
    check_misfit("a INT", "[1]", Value::Null, wrong);
    let wrong = "`$.a` must be INT, is text that does not fit";
    check_misfit(
        "a INT, b INT",
        "{\"a\": \"1\", \"b\": 2}",
        json!({ "a": null, "b": 2 }),
        wrong,
    );
    let wrong = "`$[1].ä` must be TINYINT, is a number that does not fit";
    check_misfit(
        "ARRAY<STRUCT<ä TINYINT>>",
        "[{\"ä\":127},{\"ä\":128}]",
        json!([{ "ä": 127 }, { "ä": null }]),
        wrong,
    );
    let wrong = "`$.k` must be ARRAY, is: an object";
    check_misfit(
        "MAP<STRING, ARRAY<INT>>",
        "{\"k\": {}}",
        json!({ "k": null }),
        wrong,
    );
    let wrong = "`$` must be MAP, is: true or false";
    check_misfit("MAP<STRING, INT>", "false", Value::Null, wrong);
    let number = |name: &str| format!("`$` must be {name}, is a number that does not fit");
    check_misfit("INT", "1.5", Value::Null, &number("INT"));
    check_misfit(
        "BIGINT",
        "9223372036854775808",
        Value::Null,
        &number("BIGINT"),
    );
    check_misfit("DOUBLE", "1e999", Value::Null, &number("DOUBLE"));
    check_misfit("FLOAT", "1e39", Value::Null, &number("FLOAT"));
    check_misfit("DECIMAL(3,1)", "100", Value::Null, &number("DECIMAL(3,1)"));
    check_misfit("BOOLEAN", "1", Value::Null, &number("BOOLEAN"));
    check_misfit("DATE", "20260101", Value::Null, &number("DATE"));
    let text = |name: &str| format!("`$` must be {name}, is text that does not fit");
    check_misfit("DATE", "\"2026-02-29\"", Value::Null, &text("DATE"));
    check_misfit(
        "DATE",
        "\"2026-02-28T00:00:00\"",
        Value::Null,
        &text("DATE"),
    );
    check_misfit(
        "TIMESTAMP_NTZ",
        "\"2026-01-01T00:00:00Z\"",
        Value::Null,
        &text("TIMESTAMP_NTZ"),
    );
    check_misfit("DECIMAL(3,1)", "\"x\"", Value::Null, &text("DECIMAL(3,1)"));
}

#[test]
fn the_result_has_a_place_of_its_own() {
    let table = "{\"j\":\"1\",\"id\":1}\n";
    let check = |output: Value, expect: &str| {
        let mut params = json!({ "column": "j", "json_schema": "INT" });
        if !output.is_null() {
            params["output_col"] = output;
        }
        check_json(OPERATION, params, table, expect);
    };
    check(Value::Null, "{\"j\":\"1\",\"id\":1,\"j_parsed\":1}\n");
    check(json!("ä"), "{\"j\":\"1\",\"id\":1,\"ä\":1}\n");
    check(json!("j"), "{\"j\":1,\"id\":1}\n");
}

#[test]
fn a_table_without_rows_has_the_column() {
    let empty = harness::table("{\"j\":\"\"}\n").slice(0, 0);
    let params = json!({ "column": "j", "json_schema": "a INT, b MAP<STRING, ARRAY<DATE>>" });
    let output = harness::run(&crate::plugin(), OPERATION, params, &[empty]).unwrap();
    assert_eq!((output.num_columns(), output.num_rows()), (2, 0));
    assert!(matches!(output.column(1).data_type(), DataType::Struct(fields) if fields.len() == 2));
}

#[test]
fn texts_nested_too_deep_for_a_stack_are_read() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let output = run("STRING", "raise", &[&deep]).unwrap();
    assert!(output == [json!(deep)]);
    let object = format!("{{\"b\":{deep},\"a\":1}}");
    assert_eq!(
        run("a INT", "raise", &[&object]),
        Ok(vec![json!({ "a": 1 })])
    );
}

#[test]
fn wrong_params_are_shown_where_they_stand() {
    let table = "{\"größe\":\"{}\",\"n\":1,\"n_parsed\":\"{}\",\"größe_parsed\":1}\n";
    let check = |params, code, param, message| {
        check_failure(OPERATION, params, table, code, param, message);
    };
    check(
        json!({ "column": "grösse", "json_schema": "INT" }),
        "unknown-column",
        "/column",
        "unknown column `grösse`, did you mean `größe`?",
    );
    check(
        json!({ "column": "n", "json_schema": "INT" }),
        "wrong-type",
        "/column",
        "column `n` must be text, is: Int64",
    );
    check(
        json!({ "column": "größe" }),
        "invalid-param",
        "",
        "missing field `json_schema`",
    );
    check(
        json!({ "column": "größe", "json_schema": "a INT b" }),
        "invalid-param",
        "/json_schema",
        "the DDL should have `,` or the end in place of `b`, at character 7",
    );
    check(
        json!({ "column": "größe", "json_schema": { "properties": { "a": { "type": "int" } } } }),
        "unknown-type",
        "/json_schema/properties/a/type",
        "unknown type `int`",
    );
    check(
        json!({ "column": "größe", "json_schema": "INT", "errors": "ignore" }),
        "invalid-param",
        "/errors",
        "unknown variant `ignore`, expected `null` or `raise`",
    );
    check(
        json!({ "column": "größe", "json_schema": "INT", "output_col": "n" }),
        "duplicate-column",
        "/output_col",
        "column `n` exists already",
    );
    check(
        json!({ "column": "größe", "json_schema": "INT" }),
        "duplicate-column",
        "/column",
        "column `größe_parsed` exists already",
    );
}

/// The naive model: what of a value fits `a BIGINT, b STRUCT<c STRING, l ARRAY<DOUBLE>>, m MAP<STRING, BOOLEAN>`.
fn model(value: &Value) -> Value {
    let Value::Object(object) = value else {
        return Value::Null;
    };
    let b = match object.get("b") {
        Some(Value::Object(b)) => {
            let c = b.get("c").cloned().unwrap_or_default();
            let c = if c.is_null() || c.is_string() {
                c
            } else {
                Value::from(c.to_string())
            };
            let number = |v: &Value| v.as_f64().map_or(Value::Null, Value::from);
            let l = b.get("l").and_then(Value::as_array);
            let l = l.map_or(Value::Null, |l| l.iter().map(number).collect());
            json!({ "c": c, "l": l })
        }
        _ => Value::Null,
    };
    let m = object
        .get("m")
        .and_then(Value::as_object)
        .map_or(Value::Null, |m| {
            let boolean = |v: &Value| v.as_bool().map_or(Value::Null, Value::from);
            Value::Object(
                m.iter()
                    .map(|(name, v)| (name.clone(), boolean(v)))
                    .collect(),
            )
        });
    let a = object.get("a").and_then(Value::as_i64);
    json!({ "a": a, "b": b, "m": m })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..1000i32).prop_map(|n| Value::from(f64::from(n) + 0.5)),
        "[a\"\\\\ß😀\n]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[abclm]", inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(testing::cases())]

    #[test]
    fn result_is_what_of_the_value_fits(
        rows in proptest::collection::vec((proptest::collection::hash_map("[abm]", value(), 0..4), any::<bool>(), any::<bool>()), 0..12),
    ) {
        let (mut texts, mut expect) = (Vec::new(), Vec::new());
        for (object, pretty, cut) in rows {
            let object = Value::Object(object.into_iter().collect());
            let text = if pretty { format!(" {object:#}\n") } else { object.to_string() };
            // A nested value becomes text as it was written, blanks included: the model knows only one way.
            let nested = object["b"]["c"].is_object() || object["b"]["c"].is_array();
            let text = if pretty && nested { object.to_string() } else { text };
            expect.push(if cut { Value::Null } else { model(&object) });
            texts.push(if cut { text.trim_end().trim_end_matches('}').to_owned() + "]" } else { text });
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let ddl = "a BIGINT, b STRUCT<c STRING, l ARRAY<DOUBLE>>, m MAP<STRING, BOOLEAN>";
        prop_assert_eq!(run(ddl, "null", &texts), Ok(expect));
    }
}
