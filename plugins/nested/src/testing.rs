//! Tables for tests.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use arrow_array::types::Int64Type;
use odibi_sdk::harness;
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
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[track_caller]
pub(crate) fn int_column(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let column = batch.column_by_name(name).unwrap();
    column.as_primitive::<Int64Type>().iter().collect()
}

/// Tables are JSON lines, or CSV where they do not begin with a brace.
#[track_caller]
pub(crate) fn check_json(operation: &str, params: Value, input: &str, expect: &str) {
    let input = harness::table(input);
    match harness::run(&crate::plugin(), operation, params, &[input]) {
        Ok(output) => assert_eq!(harness::json_lines(&output), expect),
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
    let input = harness::table(input);
    let failure = match harness::run(&crate::plugin(), operation, params, &[input]) {
        Ok(output) => panic!("`{operation}` should fail, gives: {output:?}"),
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

/// Random structs of one type: `{a: number, b: {c: text, d: {e: number}}}`, null at every level.
pub(crate) mod nested {
    use arrow_array::StructArray;
    use odibi_sdk::arrow::buffer::NullBuffer;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
        Value::Object(
            members
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
        )
    }

    pub(crate) fn rows() -> impl Strategy<Value = Vec<Value>> {
        let number = || of(0..9i64).prop_map(Value::from);
        let text = of("[aß😀]{0,2}").prop_map(Value::from);
        let d = of(number()).prop_map(|e| e.map_or(Value::Null, |e| object([("e", e)])));
        let b = of((text, d));
        let b = b.prop_map(|b| b.map_or(Value::Null, |(c, d)| object([("c", c), ("d", d)])));
        let s = of((number(), b));
        let s = s.prop_map(|s| s.map_or(Value::Null, |(a, b)| object([("a", a), ("b", b)])));
        proptest::collection::vec(s, 0..20)
    }

    /// One column, `s`.
    pub(crate) fn table(rows: &[Value]) -> RecordBatch {
        let at = |path: &[&str]| -> Vec<Value> {
            let step = |value: &Value| path.iter().fold(value.clone(), |v, key| v[*key].clone());
            rows.iter().map(step).collect()
        };
        // What lies under a null is not null.
        let numbers = |values: Vec<Value>, under: Vec<Value>| -> ArrayRef {
            let pairs = values.iter().zip(under);
            let cell = |(v, u): (&Value, Value)| if u.is_null() { Some(77) } else { v.as_i64() };
            Arc::new(pairs.map(cell).collect::<Int64Array>())
        };
        let structs = |fields: Vec<(&str, ArrayRef)>, values: Vec<Value>| -> ArrayRef {
            let nulls: NullBuffer = values.iter().map(|v| !v.is_null()).collect();
            let (names, arrays): (Vec<&str>, Vec<ArrayRef>) = fields.into_iter().unzip();
            let fields: Vec<Field> = names
                .iter()
                .zip(&arrays)
                .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
                .collect();
            Arc::new(StructArray::new(fields.into(), arrays, Some(nulls)))
        };
        let texts = at(&["b", "c"]);
        let c: ArrayRef = Arc::new(texts.iter().map(Value::as_str).collect::<StringArray>());
        let d = structs(
            vec![("e", numbers(at(&["b", "d", "e"]), at(&["b", "d"])))],
            at(&["b", "d"]),
        );
        let b = structs(vec![("c", c), ("d", d)], at(&["b"]));
        let a = numbers(at(&["a"]), at(&[]));
        batch(vec![("s", structs(vec![("a", a), ("b", b)], at(&[])))])
    }

    /// The naive model: the fields of [`rows`]' type, looked up one by one.
    pub(crate) fn flat(row: &Value, prefix: &str, separator: &str, depth: usize) -> Value {
        let paths: &[&[&str]] = match depth {
            1 => &[&["a"], &["b"]],
            2 => &[&["a"], &["b", "c"], &["b", "d"]],
            _ => &[&["a"], &["b", "c"], &["b", "d", "e"]],
        };
        let member = |path: &&[&str]| {
            let value = path.iter().fold(row.clone(), |v, key| v[*key].clone());
            (format!("{prefix}{}", path.join(separator)), value)
        };
        Value::Object(paths.iter().map(member).collect())
    }

    pub(crate) fn read(batch: &RecordBatch) -> Vec<Value> {
        let lines = harness::json_lines(batch);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
